import html
from datetime import timedelta

from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse

from certs.models import User
from portal import clock

PASSWORD = "a long pass phrase"


def test_log_in_by_e_mail_and_log_out_by_post(stranger: Client, alice: User) -> None:
    page = stranger.post(reverse("account_login"), {"login": alice.email, "password": PASSWORD}, follow=True)
    assert page.redirect_chain[-1][0] == reverse("home")
    assert stranger.get(reverse("account_logout")).status_code == 200  # asks first
    assert stranger.get(reverse("home")).status_code == 200
    stranger.post(reverse("account_logout"))
    assert stranger.get(reverse("home")).status_code == 302


def test_log_in_goes_on_to_a_page_of_this_portal_only(stranger: Client, alice: User) -> None:
    given = {"login": alice.email, "password": PASSWORD}
    assert stranger.post(f"{reverse('account_login')}?next=/help/", given)["Location"] == "/help/"
    stranger.post(reverse("account_logout"))
    assert stranger.post(f"{reverse('account_login')}?next=https://evil.example/", given)["Location"] == "/"


def test_a_wrong_password_says_no_more_than_that(stranger: Client, alice: User) -> None:
    known = stranger.post(reverse("account_login"), {"login": alice.email, "password": "wrong"}).content.decode()
    unknown = stranger.post(reverse("account_login"), {"login": "no@example.com", "password": "wrong"}).content.decode()
    message = "The email address and/or password you specified are not correct."
    assert message in known
    assert message in unknown


def test_guessing_is_throttled_even_with_the_right_password_at_last(stranger: Client, alice: User) -> None:
    for number in range(8):
        stranger.post(reverse("account_login"), {"login": alice.email, "password": f"guess {number}"})
    response = stranger.post(reverse("account_login"), {"login": alice.email, "password": PASSWORD})
    assert response.status_code in (200, 429)
    assert "Too many failed attempts, so even the right password is refused for five minutes" in html.unescape(
        response.content.decode()
    )
    assert stranger.get(reverse("home")).status_code == 302


def test_other_names_by_the_thousand_do_not_wipe_out_the_guesses(stranger: Client, alice: User) -> None:
    for number in range(8):
        stranger.post(reverse("account_login"), {"login": alice.email, "password": f"guess {number}"})
    rows = [(f"z{number:04}", "x", clock.real() + timedelta(hours=1)) for number in range(2000)]
    with connection.cursor() as cursor:  # sorted behind them: what is too much is thrown away from the front
        cursor.executemany("INSERT INTO portal_cache (cache_key, value, expires) VALUES (%s, %s, %s)", rows)
    cache.set("another", True, 60)
    stranger.post(reverse("account_login"), {"login": alice.email, "password": PASSWORD})
    assert stranger.get(reverse("home")).status_code == 302


def test_a_disabled_account_loses_its_session(client: Client, alice: User) -> None:
    assert client.get(reverse("home")).status_code == 200
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get(reverse("home")).status_code == 302


def test_the_password_is_changed_with_the_old_one_and_the_session_kept(client: Client, alice: User) -> None:
    address = reverse("account_change_password")
    wrong = client.post(address, {"oldpassword": "no", "password1": "another phrase", "password2": "another phrase"})
    assert wrong.status_code == 200
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    client.post(address, {"oldpassword": PASSWORD, "password1": "another phrase", "password2": "another phrase"})
    alice.refresh_from_db()
    assert alice.check_password("another phrase")
    assert client.get(reverse("home")).status_code == 200


def test_the_reset_page_promises_no_mail(stranger: Client) -> None:
    page = stranger.get(reverse("account_reset_password")).content.decode()
    assert "sends no mail" in page
    assert "manage.py changepassword" in page

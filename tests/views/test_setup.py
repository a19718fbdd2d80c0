import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from certs.models import User
from certs.services.links import session_link_make, setup_is_open, setup_link_make
from certs.services.portal_state import state_get

GOOD = {
    "email": "ann@example.com",
    "password": "correct horse battery",
    "again": "correct horse battery",
    "public_url": "https://portal.example.com:8443",
}


@pytest.fixture
def visitor(db: None) -> Client:
    """Somebody at a portal that has no administrator yet."""
    return Client()


def _setup_page() -> str:
    return reverse("setup", args=[setup_link_make()])


def test_until_there_is_an_administrator_every_page_says_how_to_go_on(visitor: Client) -> None:
    for path in ("/", "/certificates/", "/accounts/login/", "/admin/", "/nowhere/"):
        response = visitor.get(path)
        assert response.status_code == 503, path
        assert "manage.py setup_link" in response.content.decode()


def test_the_link_makes_the_first_administrator_logs_in_and_closes_the_set_up(visitor: Client) -> None:
    address = _setup_page()
    assert visitor.get(address).status_code == 200
    response = visitor.post(address, GOOD)
    assert response["Location"] == reverse("home")
    user = User.objects.get()
    assert user.is_superuser
    assert user.check_password(GOOD["password"])
    assert state_get().public_url == GOOD["public_url"]
    assert "Welcome to Bindery" in visitor.get("/").content.decode()
    assert not setup_is_open()


def test_over_plain_http_it_leads_to_the_same_link_over_https_before_a_password_is_typed(visitor: Client) -> None:
    address = _setup_page()
    page = visitor.get(address, headers={"host": "192.0.2.7:8000"}).content.decode()
    assert f'href="https://192.0.2.7:{settings.HTTPS_PORT}{address}"' in page
    assert "Compare the SHA-256" in page
    assert page.index("Set up over HTTPS") < page.index('name="password"')
    assert "Set up over HTTPS" not in visitor.get(address, secure=True).content.decode()


def test_a_used_link_does_nothing_more(visitor: Client) -> None:
    address = _setup_page()
    visitor.post(address, GOOD)
    other = Client()
    response = other.post(address, {**GOOD, "email": "eve@example.com"})
    assert response.status_code == 410
    assert "The set-up is finished" in response.content.decode()
    assert User.objects.count() == 1


def test_a_made_up_link_says_how_to_print_a_new_one(visitor: Client) -> None:
    response = visitor.get("/setup/made-up/")
    assert response.status_code == 410
    assert "manage.py setup_link" in response.content.decode()


@pytest.mark.parametrize(
    "changed",
    [
        {"email": "not an address"},
        {"email": ""},
        {"password": "short", "again": "short"},
        {"password": "1234567890123", "again": "1234567890123"},
        {"again": "something else entirely"},
        {"public_url": "portal.example.com"},
        {"public_url": "ftp://portal.example.com"},
        {"public_url": "https://portal.example.com/path"},
        {"public_url": "https://portal.example.com:99999"},
        {"public_url": "https://user@portal.example.com"},
        {"public_url": "https://[::1"},
        {"public_url": "https://a b"},
        {"public_url": "javascript:alert(1)"},
    ],
)
def test_bad_input_is_said_stores_nothing_and_leaves_the_link_usable(visitor: Client, changed: dict[str, str]) -> None:
    address = _setup_page()
    response = visitor.post(address, {**GOOD, **changed})
    assert response.status_code == 200
    assert "field-error" in response.content.decode()
    assert not User.objects.exists()
    assert visitor.post(address, GOOD).status_code == 302


def test_the_address_is_guessed_from_the_request(visitor: Client) -> None:
    page = visitor.get(_setup_page(), secure=True, headers={"host": "some.host.example:8443"})
    assert 'value="https://some.host.example:8443"' in page.content.decode()


def test_any_host_is_taken_while_the_set_up_is_open_and_stays_accepted_for_who_used_it(visitor: Client) -> None:
    address, host = _setup_page(), "by-this-name.example:8000"
    assert visitor.post(address, GOOD, headers={"host": host}).status_code == 302
    assert visitor.get("/", headers={"host": host}).status_code == 200
    assert visitor.get("/", headers={"host": "another.example"}).status_code == 400


def test_a_disabled_administrator_does_not_open_the_set_up_again(client: Client, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert Client().get("/accounts/login/").status_code == 200


class TestSessionLink:
    def test_it_logs_in_once_and_goes_to_its_page(self, stranger: Client, alice: User) -> None:
        address = reverse("session", args=[session_link_make(alice, "/help/")])
        assert stranger.get(address)["Location"] == "/help/"
        assert stranger.get("/help/").status_code == 200
        late = Client()
        response = late.get(address, follow=True)
        assert response.redirect_chain[-1][0] == reverse("account_login")
        assert "not valid any more" in response.content.decode()
        assert late.get("/help/").status_code == 302

    def test_the_session_that_was_there_before_is_not_carried_on(self, onlooker: Client, alice: User) -> None:
        before = onlooker.cookies["bindery_session"].value
        onlooker.get(reverse("session", args=[session_link_make(alice, "/")]))
        assert onlooker.cookies["bindery_session"].value != before
        assert "alice@example.com" in onlooker.get("/").content.decode()

    def test_a_disabled_person_gets_nowhere(self, stranger: Client, alice: User, bob: User) -> None:
        token = session_link_make(bob, "/")
        User.objects.filter(pk=bob.pk).update(is_active=False)
        assert stranger.get(reverse("session", args=[token]))["Location"] == reverse("account_login")

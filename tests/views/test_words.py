"""The words of the template tags."""

from datetime import timedelta

import pytest
from django import forms
from django.http import QueryDict
from django.template import Context, Template

from certs.forms.base import ConfirmForm, PortalForm, SecretTextarea
from certs.templatetags import bindery
from portal import clock


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (timedelta(days=12, hours=1), "expires in 12 days"),
        (timedelta(hours=36, minutes=1), "expires in 36 hours"),
        (timedelta(minutes=90, seconds=5), "expires in 90 minutes"),
        (timedelta(seconds=61), "expires in 1 minute"),
        (timedelta(seconds=20), "expires in less than a minute"),
        (timedelta(days=-3, minutes=-1), "expired 3 days ago"),
        (timedelta(seconds=-5), "expired less than a minute ago"),
    ],
)
def test_expiry_in_words(left: timedelta, words: str) -> None:
    assert bindery.expires_in(clock.now() + left) == words


def test_dates_are_for_people_and_programs() -> None:
    moment = clock.now()
    shown = bindery.when(moment)
    assert f'datetime="{moment.isoformat()}"' in shown
    assert "UTC" in shown
    assert bindery.when(None) == "never"


def test_a_state_always_has_its_words_and_escapes_them() -> None:
    assert bindery.state("ok", "<b>") == '<span class="state state-ok">&lt;b&gt;</span>'
    assert "state-unknown" in bindery.state('x" onload="', "words")


@pytest.mark.parametrize(
    ("issuer", "short"),
    [
        ("CN=R11,O=Let's Encrypt,C=US", "R11"),
        ("O=Acme,C=US", "Acme"),
        ("", ""),
        ("odd", "odd"),
        (r"CN=a\,b,O=x", r"a\,b"),
    ],
)
def test_the_short_name_of_an_issuer(issuer: str, short: str) -> None:
    assert bindery.issuer_short(issuer) == short


class _Form(forms.Form):
    text = forms.CharField(help_text="Some help.")
    tick = forms.BooleanField(required=False)
    one = forms.ChoiceField(choices=[("a", "A"), ("b", "B")], widget=forms.RadioSelect)
    key = forms.CharField(widget=SecretTextarea(attrs={"rows": 3}))


def _render(form: forms.Form) -> str:
    source = "{% load bindery %}{% form_errors form %}{% for part in form %}{% field part %}{% endfor %}"
    return Template(source).render(Context({"form": form}))


def test_fields_are_labelled_and_their_errors_tied_to_them() -> None:
    page = _render(_Form({"key": "the secret"}))
    assert 'for="id_text"' in page
    assert 'id="id_text_error"' in page
    assert 'aria-describedby="id_text_helptext id_text_error"' in page
    assert 'aria-invalid="true"' in page
    assert 'class="form-check-input"' in page
    assert page.count("This field is required.") == 2
    assert "the secret" not in page
    assert 'role="alert"' in page


def test_a_typed_confirmation_is_exact() -> None:
    assert ConfirmForm(QueryDict("typed=www.example.com"), expected="www.example.com").is_valid()
    assert ConfirmForm(QueryDict("typed=+www.example.com+"), expected="www.example.com").is_valid()
    form = ConfirmForm(QueryDict("typed=www"), expected="www.example.com")
    assert not form.is_valid()
    assert "Type www.example.com exactly." in str(form.errors)


class _Bounded(PortalForm):
    days = forms.IntegerField(min_value=1, max_value=9)
    own = forms.IntegerField(min_value=1, max_value=9, error_messages={"max_value": "Fewer."})
    code = forms.CharField(max_length=2)


@pytest.mark.parametrize("days", ["0", "10", "x", "1.5", "9" * 40])
def test_a_bound_is_said_with_both_ends(days: str) -> None:
    errors = _Bounded({"days": days, "own": "10", "code": "abc"}).errors
    assert errors["days"] == ["Type a whole number from 1 to 9."]
    assert errors["own"] == ["Fewer."]
    assert errors["code"] == ["It is too long: at most 2 characters fit."]

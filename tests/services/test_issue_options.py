"""How a certificate is asked for: what fits together, what changes, and what is left alone."""

from dataclasses import replace
from typing import Any

import pytest

from certs.domain.errors import InputError, NameRefused
from certs.domain.names import names_parse
from certs.models import AuditEvent, Certificate, ChallengeMethod, FallbackIssuer
from certs.services.accounts import account_get_or_create
from certs.services.certificate_changes import certificate_options_change
from certs.services.certificates import certificate_new
from certs.services.issue_options import IssueOptions, issue_options_of, name_rules
from certs.services.methods import NewMethod
from portal import clock
from tests import stock

pytestmark = pytest.mark.django_db


def other(number: int = 1) -> Any:
    return account_get_or_create(directory_url=f"https://other{number}.example/dir", email="", actor="test")


def make(*names: str, **options: Any) -> Certificate:
    return certificate_new(
        name="", names=names or ["a.example"], account=stock.account(), actor="test", options=IssueOptions(**options)
    )


def test_all_options_are_kept_in_their_order() -> None:
    options = IssueOptions(
        key_type="rsa-3072",
        profile="shortlived",
        preferred_chain="ISRG Root X1",
        reuse_key=True,
        challenge_method=stock.method(),
        fallbacks=(other(2), other(1)),
    )
    certificate = certificate_new(
        name="", names=["*.a.example", "a.example"], account=stock.account(), actor="test", options=options
    )
    assert issue_options_of(Certificate.objects.get(pk=certificate.pk)) == options


@pytest.mark.parametrize(
    ("names", "options", "code"),
    [
        (["a.example"], {"key_type": "ed25519"}, "key_type"),
        (["a.example"], {"key_type": "rsa-1024"}, "key_type"),
        (["*.a.example"], {}, "challenge"),
        (["*.a.example"], {"method": "http01"}, "challenge"),
        (["192.0.2.1"], {"method": "dns01_rfc2136"}, "challenge"),
        (["a.example"], {"fallbacks": "own"}, "fallbacks"),
        (["a.example"], {"fallbacks": "twice"}, "fallbacks"),
        (["a.example"], {"fallbacks": "gone"}, "fallbacks"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_stored(
    names: list[str], options: dict[str, Any], code: str
) -> None:
    if "method" in options:
        options = {"challenge_method": stock.method(options["method"])}
    if "fallbacks" in options:
        gone = other(9)
        gone.deactivated_at = clock.now()
        gone.save()
        options = {
            "fallbacks": {"own": (stock.account(),), "twice": (other(), other()), "gone": (gone,)}[options["fallbacks"]]
        }
    with pytest.raises(InputError) as refused:
        make(*names, **options)
    assert refused.value.code == code
    assert not Certificate.objects.exists()


def test_a_change_is_audited_and_leaves_the_rest() -> None:
    certificate = make(profile="tlsserver", fallbacks=(other(),))
    certificate.auto_renew = False
    certificate.save()
    assert certificate_options_change(certificate, IssueOptions(fallbacks=(other(2),)), actor="test")
    certificate.refresh_from_db()
    assert (certificate.profile, certificate.auto_renew) == ("", False)
    assert [row.account for row in FallbackIssuer.objects.all()] == [other(2)]
    event = AuditEvent.objects.get(action="certificate.options")
    assert (event.before["profile"], event.after["profile"]) == ("tlsserver", "")
    assert not certificate_options_change(certificate, IssueOptions(fallbacks=(other(2),)), actor="test")
    assert AuditEvent.objects.filter(action="certificate.options").count() == 1


def test_what_no_ca_gives_has_nothing_to_choose() -> None:
    with pytest.raises(InputError):
        certificate_options_change(stock.uploaded(), IssueOptions(profile="x"), actor="test")


def test_names_follow_the_challenge_and_the_profile() -> None:
    by_dns = name_rules("dns01_rfc2136", "")
    assert names_parse("*.a.example, a.example", by_dns) == ["*.a.example", "a.example"]
    for text, rules in (
        ("*.a.example", name_rules("", "")),
        ("192.0.2.1", name_rules("", "")),
        ("192.0.2.1", name_rules("dns01_rfc2136", "shortlived")),
    ):
        with pytest.raises(NameRefused):
            names_parse(text, rules)
    assert names_parse("192.0.2.1, [2001:DB8::1]", name_rules("", "shortlived")) == ["192.0.2.1", "2001:db8::1"]


def rfc2136(server: str = "ns.example.com") -> NewMethod:
    return NewMethod("dns01_rfc2136", {"server": server, "key": "bindery", "secret": "c2VjcmV0LW9mLXRoaXMtdGVzdA=="})


def test_a_new_challenge_is_set_up_with_what_uses_it() -> None:
    first = make("*.a.example", new_method=rfc2136())
    second = make("*.a.example", new_method=rfc2136("ns2.example.com"))
    methods = [issue_options_of(each).challenge_method for each in (first, second)]
    assert [method.name for method in methods if method] == [
        "DNS (dynamic update), *.a.example",
        "DNS (dynamic update), *.a.example 2",
    ]
    assert issue_options_of(first).new_method is None


def test_of_a_kind_without_options_one_is_enough() -> None:
    first, second = (make("a.example", new_method=NewMethod("tlsalpn01", {})) for _ in range(2))
    assert first.challenge_method is not None
    assert first.challenge_method == second.challenge_method
    options = replace(issue_options_of(first), challenge_method=None, new_method=NewMethod("tlsalpn01", {}))
    assert not certificate_options_change(first, options, actor="test")
    assert not AuditEvent.objects.filter(action="certificate.options").exists()


@pytest.mark.parametrize(
    ("names", "new"),
    [(["*.a.example"], NewMethod("http01_webroot", {"directory": "/tmp"})), (["*.a.example"], rfc2136("not a host"))],
)
def test_a_refusal_leaves_neither_certificate_nor_challenge(names: list[str], new: NewMethod) -> None:
    with pytest.raises(InputError):
        make(*names, new_method=new)
    assert not Certificate.objects.exists()
    assert not ChallengeMethod.objects.exists()

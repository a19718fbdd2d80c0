"""How a certificate is asked for: what fits together, what changes, and what is left alone."""

from typing import Any

import pytest

from certs.domain.errors import InputError, NameRefused
from certs.domain.names import names_parse
from certs.models import AuditEvent, Certificate, FallbackIssuer
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_new, certificate_options_change
from certs.services.issue_options import IssueOptions, issue_options_of, name_rules
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

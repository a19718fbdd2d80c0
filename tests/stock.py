"""Rows that tests of services, commands and the admin start from."""

from datetime import timedelta

from certs.models import AcmeAccount, Certificate, ChallengeMethod, User
from certs.services.accounts import account_get_or_create
from certs.services.certificates import certificate_import, certificate_new
from certs.services.issue_options import IssueOptions
from certs.services.keys import key_import
from certs.services.versions import version_add
from portal import clock
from tests.harness import pki

DIRECTORY = "https://acme.example/directory"
CA = pki.authority("A Root")


def account(directory_url: str = DIRECTORY) -> AcmeAccount:
    return account_get_or_create(
        directory_url=directory_url, email="", terms_url="https://acme.example/t", actor="test"
    )


def method(kind: str = "dns01_rfc2136", name: str = "") -> ChallengeMethod:
    return ChallengeMethod.objects.get_or_create(kind=kind, name=name or kind)[0]


def wanted(*names: str, at: AcmeAccount | None = None) -> Certificate:
    """A certificate of a CA that has brought no version yet."""
    return certificate_new(name="", names=names or ("a.example",), account=at or account(), actor="test")


def issued(*names: str, days: float = 90, age: float = 0, name: str = "", is_test: bool = False) -> Certificate:
    """An ACME certificate whose current version has lived `age` days of its life of `days`."""
    names = names or ("a.example",)
    by_dns = any(one.startswith("*.") for one in names)
    options = IssueOptions(challenge_method=method() if by_dns else None)
    certificate = certificate_new(name=name, names=names, account=account(), actor="test", options=options)
    renewed(certificate, days=days, age=age, is_test=is_test)
    return certificate


def renewed(certificate: Certificate, *, days: float = 90, age: float = 0, is_test: bool = False) -> None:
    start = clock.now() - timedelta(days=age)
    pair = pki.leaf(CA, certificate.names, days=days, start=start)
    row = key_import(pair.key)  # type: ignore[arg-type] # an EC key
    if age < days:
        version_add(certificate, leaf=pair.certificate, chain=[], key=row, is_test=is_test)
        return
    # What has expired is never taken in, so it is made valid first and aged in the database.
    renewed(certificate, days=days, is_test=is_test)
    assert certificate.current is not None
    type(certificate.current).objects.filter(pk=certificate.current.pk).update(
        not_before=start, not_after=start + timedelta(days=days)
    )
    Certificate.objects.filter(pk=certificate.pk).update(expires_at=start + timedelta(days=days))
    certificate.refresh_from_db()


def uploaded(*names: str, days: float = 90, pair: pki.Pair | None = None) -> Certificate:
    pair = pair or pki.leaf(CA, list(names) or ["own.example"], days=days)
    return certificate_import(chain=pair.pem.encode(), key=pair.key_pem.encode(), actor="test")


def administrator(email: str = "admin@example.com") -> User:
    return User.objects.create_superuser(email, "a long pass phrase")

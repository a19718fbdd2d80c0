"""Client certificates: what is trusted, the mode with its trial, and whom a certificate logs in."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.client_auth import Mode
from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.pem import Chain, certificates_read, chain_order
from certs.domain.roles import Role
from certs.domain.wishes import Wish
from certs.models import (
    AuditEvent,
    Authority,
    Certificate,
    CertificateVersion,
    IssuedCertificate,
    Organization,
    PortalState,
    RoleGrant,
    TrustedAuthority,
    User,
)
from certs.services import client_auth, trusted
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_take
from certs.services.client_auth import (
    Presented,
    client_auth_change,
    client_auth_confirm,
    client_auth_mode,
    client_auth_read,
    client_auth_tidy,
    client_log_in,
    client_still_logs_in,
)
from certs.services.deletion import certificate_delete
from certs.services.issued import Item, authority_issue, authority_issue_many
from certs.services.portal_state import generation_wanted, state_get
from certs.services.trusted import trusted_candidates, trusted_pem, trusted_set
from certs.transports import roots
from portal import clock
from tests.harness import own_ca, pki

pytestmark = pytest.mark.django_db


def kept(pair: pki.Pair) -> Certificate:
    certificate, _ = certificate_take(Chain(pair.certificate), None, actor="test")
    return certificate


@pytest.fixture
def root() -> pki.Pair:
    return pki.authority("People CA")


@pytest.fixture
def people(root: pki.Pair) -> Certificate:
    """Trusted for clients, and to log people in."""
    certificate = kept(root)
    trusted_set(certificate, clients=True, log_in=True, actor="test")
    return certificate


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice@example.com", "x")


def shown(issuer: pki.Pair | None, *names: str) -> Presented:
    return Presented.of(pki.leaf(issuer, list(names)).certificate.public_bytes(Encoding.DER))


def test_what_is_trusted_is_a_ca_and_leaves_its_trace(root: pki.Pair) -> None:
    certificate, leaf = kept(root), kept(pki.leaf(root, ["a.test"]))
    assert list(trusted_candidates()) == [certificate]
    trusted_set(certificate, outbound=True, actor="test")
    assert list(trusted_candidates()) == []
    assert trusted_pem(outbound=True) == root.pem
    assert trusted_pem(clients=True) == ""
    with pytest.raises(InputError, match="no CA certificate"):
        trusted_set(leaf, outbound=True, actor="test")
    with pytest.raises(InputError, match="not accepted"):
        trusted_set(certificate, log_in=True, actor="test")
    trusted_set(certificate, actor="test")
    assert not TrustedAuthority.objects.exists()
    after = [event.after for event in AuditEvent.objects.filter(action="trust.change").order_by("id")]
    assert [entry["outbound"] for entry in after] == [True, False]


def test_a_trusted_ca_is_not_deleted(people: Certificate) -> None:
    with pytest.raises(ConflictError, match=r"(?i)trust"):
        certificate_delete(people, actor="test")


def test_what_goes_out_trusts_it_within_seconds(root: pki.Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted.outbound.forget()
    roots.roots_follow(trusted.outbound.pem)
    try:
        assert root.pem not in roots.own_pem()
        trusted_set(kept(root), outbound=True, actor="test")
        assert root.pem not in roots.own_pem()  # asked a moment ago
        monkeypatch.setattr(trusted, "KEEP_SECONDS", 0)
        assert root.pem in roots.own_pem()
        assert root.pem in roots.roots_pem()
    finally:
        roots.roots_follow(None)
        trusted.outbound.forget()


def test_nobody_is_asked_before_an_authority_is_chosen() -> None:
    with pytest.raises(InputError, match="No CA is trusted"):
        client_auth_change(Mode.WANT, secure=True, presented=None, actor="test")
    assert client_auth_read()[0].mode is Mode.OFF


def test_stricter_is_on_trial_and_returns_by_the_clock(people: Certificate, root: pki.Pair) -> None:
    generation = generation_wanted()
    assert client_auth_change(Mode.WANT, secure=True, presented=None, actor="test")
    assert generation_wanted() == generation + 1
    clients, until = client_auth_read()
    assert (clients.mode, clients.authorities_pem) == (Mode.WANT, root.pem)
    assert until is not None
    PortalState.objects.update(client_auth_confirm_by=clock.now())
    assert client_auth_read()[0].mode is Mode.OFF  # whether or not anything has tidied up
    assert client_auth_mode() is Mode.OFF
    with pytest.raises(ConflictError, match="nothing to confirm"):
        client_auth_confirm(secure=True, presented=None, actor="test")
    client_auth_tidy()
    assert state_get().client_auth == Mode.OFF
    assert generation_wanted() == generation + 2
    client_auth_tidy()
    assert generation_wanted() == generation + 2


def test_required_needs_a_request_that_shows_one(people: Certificate, root: pki.Pair) -> None:
    mine = shown(root, "alice@example.com")
    with pytest.raises(NotAllowed, match="without a client certificate"):
        client_auth_change(Mode.REQUIRED, secure=True, presented=None, actor="test")
    with pytest.raises(NotAllowed, match="did not come by HTTPS"):
        client_auth_change(Mode.WANT, secure=False, presented=None, actor="test")
    assert client_auth_change(Mode.REQUIRED, secure=True, presented=mine, actor="test")
    with pytest.raises(NotAllowed, match="without a client certificate"):
        client_auth_confirm(secure=True, presented=None, actor="test")
    client_auth_confirm(secure=True, presented=mine, actor="test")
    assert client_auth_read() == (client_auth_read()[0], None)
    assert client_auth_mode() is Mode.REQUIRED
    # What is less strict needs no trial, from anywhere.
    assert client_auth_change(Mode.OFF, secure=False, presented=None, actor="test")
    assert state_get().client_auth_confirm_by is None
    assert not client_auth_change(Mode.OFF, secure=False, presented=None, actor="test")


def test_a_second_step_within_a_trial_returns_to_what_was_kept(people: Certificate, root: pki.Pair) -> None:
    client_auth_change(Mode.WANT, secure=True, presented=None, actor="test")
    client_auth_change(Mode.REQUIRED, secure=True, presented=shown(root, "a@b.test"), actor="test")
    PortalState.objects.update(client_auth_confirm_by=clock.now() - timedelta(seconds=1))
    assert client_auth_mode() is Mode.OFF  # nobody has ever kept "optional"


def test_the_last_authority_stays_while_clients_are_asked(people: Certificate) -> None:
    client_auth_change(Mode.WANT, secure=True, presented=None, actor="test")
    with pytest.raises(ConflictError, match="only CA"):
        trusted_set(people, outbound=True, actor="test")
    other = kept(pki.authority("Second CA"))
    trusted_set(other, clients=True, actor="test")
    generation = generation_wanted()
    trusted_set(people, outbound=True, actor="test")
    assert generation_wanted() == generation + 1


def test_no_authority_is_taken_away_while_certificates_are_required(people: Certificate, root: pki.Pair) -> None:
    """Another is accepted too, but nobody has shown that anybody has a certificate of that one."""
    trusted_set(kept(pki.authority("Second CA")), clients=True, actor="test")
    mine = shown(root, "alice@example.com")
    client_auth_change(Mode.REQUIRED, secure=True, presented=mine, actor="test")
    with pytest.raises(ConflictError, match="locked out"):
        trusted_set(people, outbound=True, actor="test")
    client_auth_confirm(secure=True, presented=mine, actor="test")
    with pytest.raises(ConflictError, match="locked out"):
        trusted_set(people, actor="test")
    trusted_set(people, clients=True, actor="test")  # what they may do is another thing
    client_auth_change(Mode.WANT, secure=True, presented=None, actor="test")
    trusted_set(people, actor="test")


def test_a_confirmation_keeps_what_it_has_seen(people: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what another administrator has put on trial in the same moment."""
    client_auth_change(Mode.WANT, secure=True, presented=None, actor="test")
    seen = state_get()
    PortalState.objects.update(client_auth=Mode.REQUIRED)
    monkeypatch.setattr(client_auth, "state_get", lambda: seen)
    client_auth_confirm(secure=True, presented=None, actor="test")
    assert state_get().client_auth_confirm_by is not None


def test_a_ca_that_was_revoked_logs_nobody_in(people: Certificate, root: pki.Pair, alice: User) -> None:
    mine = shown(root, "alice@example.com")
    CertificateVersion.objects.filter(certificate=people).update(revoked_at=clock.now())
    with pytest.raises(NotAllowed, match="may not log people in"):
        client_log_in(mine)


def test_a_session_stays_that_of_its_person(people: Certificate, root: pki.Pair, alice: User) -> None:
    """Whose address is another's by now."""
    mine = shown(root, "alice@example.com")
    alice.email = "alice@example.org"
    alice.save()
    bob = User.objects.create_user("alice@example.com", "x")
    assert client_log_in(mine) == bob
    assert not client_still_logs_in(mine, mine.fingerprint, alice)


def test_whom_a_certificate_logs_in(people: Certificate, root: pki.Pair, alice: User) -> None:
    assert client_log_in(shown(root, "Alice@Example.com")) == alice
    assert client_log_in(shown(root, "someone.test", "alice@example.com")) == alice
    refused = {
        "nobody here": shown(root, "bob@example.com"),
        "no e-mail address": shown(root, "alice.test"),
        "may not log people in": shown(pki.authority("People CA"), "alice@example.com"),  # the same name, another key
    }
    for words, presented in refused.items():
        with pytest.raises(NotAllowed, match=words):
            client_log_in(presented)
    alice.is_active = False
    alice.save()
    with pytest.raises(NotAllowed, match="nobody here"):
        client_log_in(shown(root, "alice@example.com"))


def test_an_authority_that_is_accepted_only_logs_nobody_in(people: Certificate, root: pki.Pair, alice: User) -> None:
    mine = shown(root, "alice@example.com")
    assert client_still_logs_in(mine, mine.fingerprint, alice)
    trusted_set(people, clients=True, actor="test")
    with pytest.raises(NotAllowed, match="may not log people in"):
        client_log_in(mine)
    assert not client_still_logs_in(mine, mine.fingerprint, alice)


def test_a_session_needs_the_very_certificate(people: Certificate, root: pki.Pair, alice: User) -> None:
    mine, again = shown(root, "alice@example.com"), shown(root, "alice@example.com")
    assert client_still_logs_in(mine, mine.fingerprint, alice)
    assert not client_still_logs_in(again, mine.fingerprint, alice)
    assert not client_still_logs_in(None, mine.fingerprint, alice)


def test_the_register_of_our_own_ca_ends_it(people: Certificate, root: pki.Pair, alice: User) -> None:
    mine = shown(root, "alice@example.com")
    authority = Authority.objects.create(certificate=people)
    row = IssuedCertificate.objects.create(
        authority=authority, serial=mine.serial, not_after=clock.now() + timedelta(days=1)
    )
    assert client_log_in(mine) == alice
    row.revoked_at = clock.now()
    row.save()
    with pytest.raises(NotAllowed, match="revoked"):
        client_log_in(mine)
    # Another authority's certificate may have the same serial number.
    other = kept(pki.authority("Other CA"))
    IssuedCertificate.objects.update(authority=Authority.objects.create(certificate=other))
    assert client_log_in(mine) == alice


def test_what_the_store_knows_to_be_revoked_ends_it(people: Certificate, root: pki.Pair, alice: User) -> None:
    pair = pki.leaf(root, ["alice@example.com"])
    certificate = kept(pair)
    mine = Presented.of(pair.certificate.public_bytes(Encoding.DER))
    assert client_log_in(mine) == alice
    CertificateVersion.objects.filter(certificate=certificate).update(revoked_at=clock.now())
    with pytest.raises(NotAllowed, match="revoked"):
        client_log_in(mine)


def test_who_is_no_administrator_issues_nothing_that_logs_in(alice: User) -> None:
    """An operator could ask for a certificate with the administrator's address."""
    authority = own_ca.root()
    operator = User.objects.create_user("operator@example.com", "x")
    RoleGrant.objects.filter(user=operator).update(role=Role.OPERATOR)
    wish = Wish(profile="client", subject="CN=alice", hosts=("alice@example.com",))
    assert authority_issue(authority, wish, actor=operator)
    trusted_set(authority.certificate, clients=True, actor="test")
    assert authority_issue(authority, wish, actor=operator)
    trusted_set(authority.certificate, clients=True, log_in=True, actor="test")
    with pytest.raises(NotAllowed, match="Administrator"):
        authority_issue(authority, wish, actor=operator)
    with pytest.raises(NotAllowed, match="Administrator"):
        list(authority_issue_many(authority, [Item(wish)], actor=operator))
    assert authority_issue(authority, wish, actor="command line")
    # Its certificate a second time in the store: it is the same CA.
    trusted_set(authority.certificate, clients=True, actor="test")
    copy, _ = certificate_take(
        chain_order(certificates_read(own_ca.pem_of(authority).encode())),
        None,
        properties=Properties(organization=Organization.objects.create(name="Another")),
        actor="test",
    )
    assert copy != authority.certificate
    trusted_set(copy, clients=True, log_in=True, actor="test")
    with pytest.raises(NotAllowed, match="Administrator"):
        authority_issue(authority, wish, actor=operator)

"""What becomes of what is given: for whom, beside what is there, and never by halves."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certs.domain.bundle_items import GivenFile
from certs.domain.csr import csr_read
from certs.domain.errors import ConflictError, InputError, NotAllowed
from certs.domain.roles import Role
from certs.models import AuditEvent, Certificate, CertificateVersion, Organization, PrivateKey, RoleGrant, User
from certs.services import intake
from certs.services.access import Actor
from certs.services.bindings import binding_set
from certs.services.certificate_properties import Properties
from certs.services.intake import Choice, Preview, Verdict, intake_claim, intake_keep, intake_read, intake_save
from certs.services.organizations import certificate_move, organization_create
from certs.services.signing_requests import request_answer, request_create, request_renew
from portal import clock
from tests import stock
from tests.harness import pki

pytestmark = pytest.mark.django_db


@pytest.fixture
def elsewhere() -> Organization:
    return organization_create("Elsewhere", actor="test")


def operator(organization: Organization | None = None, email: str = "bob@example.com") -> User:
    user = User.objects.create_user(email, "x", role=Role.OPERATOR)
    if organization is not None:
        RoleGrant.objects.filter(user=user).update(organization=organization)
    return user


def read(*pairs: pki.Pair, actor: Actor = "test", keys: bool = True) -> Preview:
    files = [GivenFile("x.pem", (one.pem + (one.key_pem if keys else "")).encode()) for one in pairs]
    return intake_read(files, actor=actor)


def verdicts(preview: Preview) -> list[Verdict]:
    return [proposal.verdict for proposal in preview.proposals]


def test_who_only_looks_may_not_even_have_it_read() -> None:
    viewer = User.objects.create_user("eve@example.com", "x")
    with pytest.raises(NotAllowed):
        read(pki.leaf(stock.CA, ["a.example"]), actor=viewer)


def test_what_others_have_is_neither_told_nor_changed(elsewhere: Organization) -> None:
    pair = pki.leaf(stock.CA, ["a.example"], days=20)
    theirs = stock.uploaded(pair=pair)
    certificate_move(theirs, elsewhere, actor="test")
    bob = operator()
    assert verdicts(read(pair, actor=bob)) == [Verdict.NEW]
    later = read(pki.leaf(stock.CA, ["a.example"]), actor=bob)
    assert verdicts(later) == [Verdict.NEW]
    (outcome,) = intake_save(later, actor=bob)
    assert outcome.certificate is not None
    assert outcome.certificate.pk != theirs.pk
    assert theirs.versions.count() == 1


def test_a_preview_made_by_hand_changes_nothing_of_others(elsewhere: Organization) -> None:
    theirs = stock.uploaded("a.example", days=20)
    later = read(pki.leaf(stock.CA, ["a.example"]))
    assert verdicts(later) == [Verdict.VERSION]
    into = later.proposals[0].certificate
    assert into is not None
    certificate_move(into, elsewhere, actor="test")
    (outcome,) = intake_save(later, actor=operator())
    assert isinstance(outcome.error, NotAllowed)
    assert theirs.versions.count() == 1


def test_a_preview_is_saved_by_its_giver_and_once() -> None:
    alice, bob = stock.administrator(), operator()
    row = intake_keep(read(pki.leaf(stock.CA, ["a.example"]), actor=alice), actor=alice)
    with pytest.raises(InputError, match="not kept any more"):
        intake_claim(row.pk, actor=bob)
    preview = intake_claim(row.pk, actor=alice)
    with pytest.raises(InputError, match="not kept any more"):
        intake_claim(row.pk, actor=alice)
    assert intake_save(preview, actor=alice)[0].certificate is not None


def test_everything_comes_back_from_the_sealed_form() -> None:
    alice = stock.administrator()
    root = pki.authority("R")
    middle = pki.authority("M", root)
    leaf, stray = pki.leaf(middle, ["a.example"]), pki.leaf(None, ["b.example"])
    text = (
        leaf.pem
        + leaf.key_pem
        + middle.pem
        + root.pem
        + stray.key_pem
        + "-----BEGIN X509 CRL-----\nAA\n-----END X509 CRL-----"
    )
    given = intake_read([GivenFile("ä.pem", text.encode())], actor=alice)
    back = intake.intake_open(intake_keep(given, actor=alice).pk, actor=alice)
    assert back.left_over == given.left_over
    for one, other in zip(back.proposals, given.proposals, strict=True):
        assert (one.verdict, one.item.chain, one.item.remarks) == (other.verdict, other.item.chain, other.item.remarks)
        assert one.item.key is not None
        assert one.item.spki_sha256 == other.item.spki_sha256


@pytest.mark.parametrize("fails", ["audit_record", "hsts_guard"])
def test_a_new_version_is_taken_wholly_or_not_at_all(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    certificate = stock.uploaded("a.example", days=20)
    binding_set("", certificate, actor="test")
    preview = read(pki.leaf(stock.CA, ["a.example"]))

    def refuse(*_: object, **__: object) -> None:
        raise ConflictError("Not now.")

    monkeypatch.setattr(intake, fails, refuse)
    before = CertificateVersion.objects.count()
    (outcome,) = intake_save(preview, actor="test")
    assert isinstance(outcome.error, ConflictError)
    assert CertificateVersion.objects.count() == before
    certificate.refresh_from_db()
    assert certificate.current is not None
    assert certificate.current.names == ["a.example"]
    assert certificate.versions.count() == 1


def test_a_certificate_of_other_names_is_no_next_version() -> None:
    stock.uploaded("a.example", "b.example", days=20)
    assert verdicts(read(pki.leaf(stock.CA, ["a.example"]))) == [Verdict.NEW]
    assert verdicts(read(pki.leaf(stock.CA, ["b.example", "a.example"]))) == [Verdict.VERSION]


def test_one_without_its_key_never_replaces_one_that_has_it() -> None:
    stock.uploaded("a.example", days=20)
    assert verdicts(read(pki.leaf(stock.CA, ["a.example"]), keys=False)) == [Verdict.NEW]


def test_an_earlier_one_and_one_of_a_ca_are_left_alone() -> None:
    stock.uploaded("a.example", days=80)
    stock.issued("b.example")
    assert verdicts(read(pki.leaf(stock.CA, ["a.example"], days=20))) == [Verdict.NEW]
    assert verdicts(read(pki.leaf(stock.CA, ["b.example"], days=300))) == [Verdict.NEW]


def test_nothing_new_is_kept_with_a_compromised_key() -> None:
    pair = pki.leaf(stock.CA, ["a.example"], days=20)
    stock.uploaded(pair=pair)
    PrivateKey.objects.update(compromised_at=clock.now())
    again = pki.leaf(stock.CA, ["a.example"], key=pair.key)
    (outcome,) = intake_save(read(again), actor="test")
    assert outcome.error is not None
    assert outcome.error.code == "key-compromised"
    assert Certificate.objects.count() == 1


def test_programs_save_all_that_is_wanted_at_once() -> None:
    pairs = [pki.leaf(stock.CA, [f"{name}.example"]) for name in "ab"]
    outcomes = intake_save(read(*pairs), actor="test")
    assert [outcome.verdict for outcome in outcomes] == [Verdict.NEW, Verdict.NEW]
    with pytest.raises(InputError, match="Nothing was chosen"):
        intake_save(read(*pairs), actor="test")
    with pytest.raises(InputError, match="not among"):
        intake_save(read(*pairs), [Choice(7)], actor="test")
    (outcome,) = intake_save(
        read(pki.leaf(stock.CA, ["c.example"])), [Choice(0, properties=Properties(api_id="c"))], actor="test"
    )
    assert outcome.certificate is not None
    assert outcome.certificate.api_id == "c"


class TestAnswers:
    def _answer(self, certificate: Certificate, *names: str) -> list[GivenFile]:
        key = csr_read(certificate.request_pem.encode()).public_key
        made = pki.certificate(stock.CA, list(names), key, days=90, start=clock.now())
        return [GivenFile("answer.pem", made.public_bytes(Encoding.PEM))]

    def test_names_that_differ_are_accepted_only_by_word(self) -> None:
        certificate = request_create(hosts=["a.example", "b.example"], actor="test")
        answer = self._answer(certificate, "a.example")
        with pytest.raises(ConflictError, match=r"not in the certificate: b\.example") as refused:
            request_answer(certificate, answer, actor="test")
        assert refused.value.code == "names"
        request_answer(certificate, answer, actor="test", accept_differences=True)
        assert certificate.current is not None
        assert certificate.current.key is not None
        assert AuditEvent.objects.filter(action="certificate.answer").count() == 1

    def test_an_answer_that_a_binding_could_not_serve_changes_nothing(self) -> None:
        certificate = stock.uploaded("a.example", days=20)
        binding_set("a.example", certificate, actor="test")
        request_renew(certificate, actor="test")
        with pytest.raises(InputError, match=r"does not hold a\.example"):
            request_answer(certificate, self._answer(certificate, "c.example"), actor="test", accept_differences=True)
        certificate.refresh_from_db()
        assert certificate.versions.count() == 1
        assert certificate.request_pem

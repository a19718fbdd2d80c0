"""Missing issuers: named, fetched where that is allowed, and never believed without their signature."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from certs.domain.bundle_items import GivenFile
from certs.domain.pem import Chain
from certs.models import Certificate
from certs.services import missing_issuers
from certs.services.intake import Proposal, intake_read, intake_save
from certs.services.missing_issuers import DEPTH, fetch_issuers_change
from certs.services.posting import certificate_foresee, certificate_post, chain_complete
from certs.transports.outbound import fetch
from tests.harness import pki

pytestmark = pytest.mark.django_db


class Place:
    """An HTTP server on loopback that answers with what was put there, and counts what it is asked."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.asked: list[str] = []
        place = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place.asked.append(self.path)
                body = place.bodies.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback counts as the Internet; everything else is what is asked in earnest."""
    monkeypatch.setattr(missing_issuers, "fetch", partial(fetch, allow_private=True))


def signed(name: str, issuer: pki.Pair, url: str, *, is_ca: bool = True) -> pki.Pair:
    """By `issuer`, whose certificate it says to be at `url`."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.now(UTC) - timedelta(hours=1)
    where = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.AuthorityInformationAccess([where]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example.com")]), critical=False)
    )
    return pki.Pair(builder.sign(issuer.key, hashes.SHA256()), key)


def read(pair: pki.Pair) -> Proposal:
    (proposal,) = intake_read([GivenFile("x.pem", (pair.pem + pair.key_pem).encode())], actor="test").proposals
    return proposal


def codes(proposal: Proposal) -> set[str]:
    return {remark.code for remark in proposal.item.remarks}


FORMS: dict[str, Callable[[x509.Certificate], bytes]] = {
    "DER": lambda one: one.public_bytes(Encoding.DER),
    "PEM": lambda one: one.public_bytes(Encoding.PEM),
    "PKCS#7": lambda one: pkcs7.serialize_certificates([one], Encoding.DER),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_chain_is_completed_up_to_its_root_and_saved_so(place: Place, reachable: None, form: str) -> None:
    root = pki.authority("Far Root")
    middle = signed("Far Intermediate", root, f"{place.url}/root")
    leaf = signed("leaf", middle, f"{place.url}/middle", is_ca=False)
    place.bodies = {"/root": FORMS[form](root.certificate), "/middle": FORMS[form](middle.certificate)}
    proposal = read(leaf)
    chain = proposal.item.chain
    assert chain is not None
    assert chain.intermediates == (middle.certificate,)
    assert chain.root == root.certificate
    assert not proposal.item.missing
    assert codes(proposal) == {"completed"}
    preview = intake_read([GivenFile("x.pem", leaf.pem.encode())], actor="test")
    intake_save(preview, actor="test")
    version = Certificate.objects.get().current
    assert version is not None
    assert version.chain_pem == middle.pem


def test_what_a_program_posts_is_completed_too(place: Place, reachable: None) -> None:
    root = pki.authority("Far Root")
    middle = signed("Far Intermediate", root, f"{place.url}/root")
    leaf = signed("leaf", middle, f"{place.url}/middle", is_ca=False)
    given = {"chain": leaf.pem, "privateKey": leaf.key_pem}
    place.bodies = {"/root": root.certificate.public_bytes(Encoding.DER)}
    assert "“Far Intermediate” is not in it" in certificate_foresee(given, actor="test")
    assert place.asked == []
    place.bodies["/middle"] = middle.certificate.public_bytes(Encoding.DER)
    row, _ = certificate_post(given, actor="test")
    assert row.current is not None
    assert row.current.chain_pem == middle.pem
    renewed = signed("renewed", middle, f"{place.url}/middle", is_ca=False)
    longer = chain_complete(Chain(renewed.certificate), row)
    assert longer is not None
    assert longer.intermediates == (middle.certificate,)
    fetch_issuers_change(on=False, actor="test")
    place.asked.clear()
    other = signed("other", middle, f"{place.url}/middle", is_ca=False)
    alone, _ = certificate_post({"chain": other.pem, "privateKey": other.key_pem}, actor="test")
    assert alone.current is not None
    assert (alone.current.chain_pem, place.asked) == ("", [])


def test_addresses_that_are_not_on_the_internet_are_not_asked(place: Place) -> None:
    root = pki.authority("Near Root")
    proposal = read(signed("leaf", root, f"{place.url}/root", is_ca=False))
    assert proposal.item.missing == "Near Root"
    assert codes(proposal) == {"incomplete", "not-fetched"}
    assert "not on the Internet" in " ".join(remark.text for remark in proposal.item.remarks)
    assert not place.asked


def test_nothing_is_fetched_where_that_is_switched_off(place: Place, reachable: None) -> None:
    fetch_issuers_change(on=False, actor="test")
    assert not fetch_issuers_change(on=False, actor="test")
    proposal = read(signed("leaf", pki.authority("Far Root"), f"{place.url}/root", is_ca=False))
    assert proposal.item.missing == "Far Root"
    assert not place.asked


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (pki.authority("Far Root").certificate.public_bytes(Encoding.DER), ""),  # of the same name, another key
        (b"<html>not here</html>", "web page"),
        (b"", "Nothing was given"),
        (b"\x30\x82" + b"x" * 70_000, "more than"),
        (None, "404"),
    ],
)
def test_what_did_not_sign_it_is_not_believed(place: Place, reachable: None, body: bytes | None, says: str) -> None:
    leaf = signed("leaf", pki.authority("Far Root"), f"{place.url}/root", is_ca=False)
    place.bodies = {} if body is None else {"/root": body}
    proposal = read(leaf)
    assert proposal.item.missing == "Far Root"
    assert proposal.item.chain is not None
    assert not proposal.item.chain.intermediates
    assert says in " ".join(remark.text for remark in proposal.item.remarks)


def test_a_chain_without_end_ends(place: Place, reachable: None) -> None:
    top = pki.authority("Top 0")
    pairs = [top]
    for number in range(1, DEPTH + 4):
        pairs.append(signed(f"Top {number}", pairs[-1], f"{place.url}/{number - 1}"))
        place.bodies[f"/{number - 1}"] = FORMS["DER"](pairs[-2].certificate)
    proposal = read(pairs[-1])
    assert proposal.item.chain is not None
    assert len(proposal.item.chain.intermediates) == DEPTH
    assert proposal.item.missing
    assert len(place.asked) == DEPTH


def test_an_answer_that_does_not_come_is_waited_for_briefly(
    place: Place, reachable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing_issuers, "SECONDS", 0.3)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:  # listens, and answers nobody
        url = f"http://127.0.0.1:{silent.server_port}/root"
        proposal = read(signed("leaf", pki.authority("Far Root"), url, is_ca=False))
    assert proposal.item.missing == "Far Root"
    assert "did not answer" in " ".join(remark.text for remark in proposal.item.remarks)

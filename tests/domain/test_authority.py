"""What is signed, judged by openssl; what is refused, by its sentence."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given, settings
from hypothesis import strategies as some

from certs.domain.constraints import ConstraintBroken, constraint_parse, constraints_check, constraints_parse
from certs.domain.errors import BinderyError, InputError
from certs.domain.hosts import hosts_parse
from certs.domain.issuer import Issuer, public_key_of
from certs.domain.keys import Key, key_generate
from certs.domain.lint import lint, throwaway
from certs.domain.pem import certificate_pem
from certs.domain.plans import certificate_plan
from certs.domain.profiles import BUILT_IN, Profile
from certs.domain.signing import certificate_build, certificate_sign, serial_new, signing_digest
from certs.domain.wishes import Wish
from tests.harness.own_ca import openssl_verify_pem

NOW = datetime.now(UTC)


def made(wish: Wish, issuer: Issuer | None = None, key: Key | None = None, profile: str = "") -> x509.Certificate:
    """Signed by the issuer, or by `key` itself."""
    own = key or throwaway("ec-p256")
    plan = certificate_plan(wish, BUILT_IN[profile or wish.profile], issuer, now=NOW)
    builder = certificate_build(plan, own.public_key(), issuer, serial=serial_new())
    return certificate_sign(builder, issuer.key if issuer else own, wish)


def root_of(key: Key, **wished: object) -> Issuer:
    wish = Wish(profile="root", subject="CN=R", days=3650, **wished)  # type: ignore[arg-type]
    return Issuer(made(wish, key=key), key)


ROOT = root_of(throwaway("ec-p256"), permitted=("dns:example.com", "ip:10.0.0.0/8", "email:example.com"))
BELOW = Issuer(
    made(Wish(profile="intermediate", subject="CN=B"), ROOT, throwaway("ec-p384")),
    throwaway("ec-p384"),
    (ROOT.certificate,),
    "http://pki.example.com/a.cer",
    "http://pki.example.com/a.crl",
    "http://pki.example.com/ocsp",
)


@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "ec-p521", "ed25519", "rsa-2048"])
def test_openssl_and_the_lint_accept_every_kind_of_ca_key(kind: str, tmp_path: Path) -> None:
    issuer = root_of(throwaway(kind))
    for profile in ("server", "client", "both", "custom", "responder"):
        subject = "CN=someone" if profile in ("client", "responder") else ""
        hosts = () if profile == "responder" else ("a.example.com",)
        leaf = made(Wish(profile=profile, subject=subject, hosts=hosts), issuer)
        said = openssl_verify_pem(tmp_path, certificate_pem(leaf), "", certificate_pem(issuer.certificate))
        assert said == "ok"
        assert not [finding for finding in lint(leaf) if finding.stops]


def test_the_lint_has_nothing_against_cas_and_public_style() -> None:
    assert not [finding for finding in (*lint(ROOT.certificate), *lint(BELOW.certificate)) if finding.stops]
    leaf = made(Wish(profile="public", hosts=("www.example.com",)), BELOW)
    assert not [finding for finding in lint(leaf, public_style=True) if finding.severity <= 2]


def test_pss_is_what_was_asked_for(tmp_path: Path) -> None:
    issuer = root_of(throwaway("rsa-2048"))
    leaf = made(Wish(profile="server", hosts=("a.example.com",), pss=True, digest="sha384"), issuer)
    assert isinstance(leaf.signature_algorithm_parameters, padding.PSS)
    assert leaf.signature_hash_algorithm is not None
    assert leaf.signature_hash_algorithm.name == "sha384"
    anchor = certificate_pem(issuer.certificate)
    assert openssl_verify_pem(tmp_path, certificate_pem(leaf), "", anchor) == "ok"


def test_the_digest_is_as_strong_as_the_key_and_never_weaker() -> None:
    for kind, name in (("ec-p256", "sha256"), ("ec-p384", "sha384"), ("ec-p521", "sha512"), ("rsa-2048", "sha256")):
        found = signing_digest(throwaway(kind))
        assert found is not None
        assert found.name == name
    assert signing_digest(throwaway("ed25519")) is None
    for kind, wanted in (("ec-p384", "sha256"), ("ec-p521", "sha384"), ("ed25519", "sha256"), ("ec-p256", "sha1")):
        with pytest.raises(InputError):
            signing_digest(throwaway(kind), wanted)


def test_serials_are_positive_long_and_all_different() -> None:
    found = {serial_new() for _ in range(2000)}
    assert len(found) == 2000
    assert all(0 < serial < 2**159 for serial in found)
    assert max(serial.bit_length() for serial in found) > 150


def test_an_empty_subject_makes_the_hosts_critical() -> None:
    leaf = made(Wish(profile="public", hosts=("www.example.com",)), BELOW)
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert not leaf.subject.rdns
    assert found.critical


def test_a_wish_survives_its_json() -> None:
    wish = Wish(
        profile="custom",
        subject="CN=x",
        hosts=("a.example", "10.0.0.1"),
        days=7,
        usages=("client",),
        is_ca=True,
        path_length=0,
        include_aia=False,
        permitted=("dns:a",),
    )
    assert Wish.from_json(wish.as_json()) == wish
    for broken in ({"days": "7"}, {"hosts": "a"}, {"is_ca": 1}, {"nope": 1}, {"not_after": "soon"}, {"usages": [1]}):
        with pytest.raises(InputError):
            Wish.from_json(broken)


@pytest.mark.parametrize(
    "text", ["*.example.com", ".example.com", "10.0.0.1/8", "300.1.1.1/8", "a b", "email:", "uri:https://x", "dns:"]
)
def test_a_constraint_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(BinderyError):
        constraint_parse(text)


def test_where_uris_are_constrained_openssl_sees_the_same_host() -> None:
    """To it a host ends at the first colon or slash."""
    for sets in (constraints_parse(["uri:a.example.com"], []), constraints_parse([], ["uri:b.example.com"])):
        for end in ("/", ":8443/x"):
            constraints_check([sets], hosts_parse([f"https://a.example.com{end}"]), x509.Name([]))
        for end in ("@a.example.com/", "?x=1", "#x"):
            with pytest.raises(ConstraintBroken):
                constraints_check([sets], hosts_parse([f"https://a.example.com{end}"]), x509.Name([]))


def test_the_same_name_cannot_be_permitted_and_excluded() -> None:
    with pytest.raises(BinderyError, match="both"):
        constraints_parse(["example.com"], ["dns:example.com"])


def test_a_profile_survives_its_json() -> None:
    for profile in BUILT_IN.values():
        again = Profile.from_json(profile.name, profile.label, profile.as_json())
        assert again.as_json() == profile.as_json()
    for broken in ({"usages": ["coffee"]}, {"longest_days": 0}, {"nope": 1}, {"key_types": "x"}, {"hosts": ["*.x"]}):
        with pytest.raises(InputError):
            Profile.from_json("p", "P", {"usages": ["server"], **broken})


def test_a_lifetime_counts_both_ends() -> None:
    leaf = made(Wish(profile="server", hosts=("a.example.com",), days=90), BELOW)
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc + timedelta(seconds=1)
    assert lifetime == timedelta(days=90)


_LABELS = some.from_regex(r"[a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True)
_NAMES = some.builds(".".join, some.lists(_LABELS, min_size=1, max_size=3))
_HOSTS = some.one_of(
    _NAMES.map("{}.example.com".format),
    _NAMES.map("*.{}.example.com".format),
    _NAMES,
    some.ip_addresses().map(str),
    some.integers(0, 2**24 - 1).map(lambda low: f"10.{low >> 16}.{low >> 8 & 255}.{low & 255}"),
    _LABELS.map("{}@example.com".format),
    _LABELS.map("{}@sub.example.com".format),
    _NAMES.map("https://{}.example.com/x".format),
    some.just("urn:uuid:1"),
    some.text(max_size=20),
)
_SUBJECTS = some.one_of(
    some.just(""),
    some.text(some.characters(exclude_categories=("Cs",)), max_size=70).map(lambda text: f"CN={text}"),
    _NAMES.map("CN={},O=Example\\, Ltd,C=DE".format),
    _NAMES.map("CN={}.example.org".format),
    _LABELS.map("CN=x,E={}@example.com".format),
    _LABELS.map("CN=x,E={}@example.org".format),
)


def _is_near(host: str) -> bool:
    return "example.com" in host or host.startswith("10.")


_PLAIN_WISHES = some.builds(
    Wish,
    profile=some.sampled_from(["server", "client", "both", "custom", "public"]),
    subject=some.one_of(some.just("CN=x"), _SUBJECTS),
    hosts=some.lists(
        _HOSTS.filter(lambda host: "example.com" in host or host[:3] == "10."), min_size=1, max_size=4
    ).map(tuple),
    days=some.sampled_from([0, 1, 47]),
    include_aia=some.sampled_from([None, True, False]),
)
_WISHES = some.builds(
    Wish,
    profile=some.sampled_from(sorted(BUILT_IN)),
    subject=_SUBJECTS,
    hosts=some.lists(_HOSTS, max_size=4).map(tuple),
    days=some.sampled_from([0, 1, 47, 365, 825, 3650, 36525, 99999]),
    digest=some.sampled_from(["", "", "sha384", "sha512", "sha256", "md5"]),
    pss=some.sampled_from([False, False, False, True]),
    usages=some.lists(some.sampled_from(["server", "client", "email", "code", "ocsp", "time"]), max_size=2).map(tuple),
    is_ca=some.sampled_from([False, False, True]),
    path_length=some.sampled_from([None, None, 0, 3, -1]),
    permitted=some.sampled_from([(), (), ("example.com",), ("nonsense name",)]),
    include_aia=some.sampled_from([None, True, False]),
)


def _attempt(wish: Wish) -> tuple[x509.Certificate | None, str]:
    try:
        return made(wish, BELOW), ""
    except BinderyError as error:
        return None, error.message


def _judge(wish: Wish) -> None:
    """Whatever is accepted verifies; whatever is refused has a sentence."""
    leaf, refusal = _attempt(wish)
    if leaf is None:
        assert refusal
        assert refusal[-1] in ".”!?"
        return
    if any(finding.stops for finding in lint(leaf, public_style=BUILT_IN[wish.profile].public_style)):
        return  # it would have been stopped here, with its finding's explanation
    with tempfile.TemporaryDirectory() as place:
        chain, anchor = certificate_pem(BELOW.certificate), certificate_pem(ROOT.certificate)
        said = openssl_verify_pem(Path(place), certificate_pem(leaf), chain, anchor)
    assert said == "ok", (wish, said)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(_PLAIN_WISHES | _WISHES)
def test_whatever_is_accepted_verifies(wish: Wish) -> None:
    _judge(wish)


@pytest.mark.proof
@settings(max_examples=3000, deadline=None)
@given(_PLAIN_WISHES | _WISHES)
def test_whatever_is_accepted_verifies_at_length(wish: Wish) -> None:
    _judge(wish)


def test_the_wishes_above_are_often_accepted() -> None:
    """Else they would prove nothing."""
    found: list[bool] = []

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(_PLAIN_WISHES)
    def count(wish: Wish) -> None:
        found.append(_attempt(wish)[0] is not None)

    count()
    assert 10 <= sum(found) <= len(found) - 10


def test_a_key_of_another_kind_is_no_key_to_sign_for() -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import dsa

    key = dsa.generate_private_key(1024)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(BinderyError):
        public_key_of(csr)
    assert key_generate("ec-p521")

"""The client against a scripted server: what goes out signed how, and what it makes of strange answers."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from josepy.b64 import b64decode, b64encode

from certs.acme.client import AcmeClient, ExternalAccount
from certs.acme.directories import DirectoryInfo, directory_read
from certs.acme.network import Network, jwk_of
from certs.domain.errors import AcmeRefused, AcmeRetry, BinderyError, KeyRefused
from tests.acme.scripted import Answer, Scripted, document, part, problem

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
META = {"termsOfService": "https://ca/terms", "profiles": {"classic": "90 days", "short": "a week"}}
ORDER = {"status": "pending", "identifiers": [{"type": "dns", "value": "a.example"}], "finalize": "https://ca/f"}
PEM = b"-----BEGIN CERTIFICATE-----\n"


@contextmanager
def talking(*answers: Answer | None, account: bool = True, **directory: Any) -> Iterator[tuple[AcmeClient, Scripted]]:
    with Scripted(*answers) as server:
        network = Network(jwk_of(KEY), label="Our CA", version="9", ca_bundle=server.authority.pem, allow_private=True)
        fields = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
        stated = {**{name: f"{server.url}/{name}" for name in fields}, "meta": META, **directory}
        client = AcmeClient(directory_read(stated, server.url, sent="", now=NOW), network)
        if account:
            client.account_use(f"{server.url}/account/1")
        try:
            yield client, server
        finally:
            network.close()


def order(**fields: Any) -> Answer:
    return 201, {"Location": "https://ca/order/1"}, json.dumps({**ORDER, **fields}).encode()


def sent(server: Scripted, number: int = -1) -> tuple[dict[str, Any], Any]:
    """(protected header, payload) of a POST."""
    return part(server.signed[number], "protected"), part(server.signed[number], "payload")


# -- accounts


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_an_external_account_signs_our_key_and_no_nonce(algorithm: str) -> None:
    eab = ExternalAccount("kid-1", b"k" * 40, algorithm)
    with talking(document({}, Location="https://ca/account/9"), account=False) as (client, server):
        assert client.account_register(email="a@b.example", terms_agreed=True, eab=eab) == "https://ca/account/9"
        header, payload = sent(server)
    binding = payload["externalAccountBinding"]
    inner = part(binding, "protected")
    assert inner == {"alg": algorithm, "kid": "kid-1", "url": f"{server.url}/newAccount"}
    assert part(binding, "payload") == header["jwk"]
    signed = f"{binding['protected']}.{binding['payload']}".encode()
    digest = hmac.digest(eab.hmac_key, signed, {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[algorithm])
    assert b64decode(binding["signature"]) == digest
    assert payload["contact"] == ["mailto:a@b.example"]
    assert "kid-1" in repr(eab)
    assert "kkkk" not in repr(eab)


def test_an_account_is_looked_for_without_making_one() -> None:
    with talking(document({}, Location="https://ca/account/9"), account=False) as (client, server):
        assert client.account_find() == "https://ca/account/9"
        assert sent(server)[1] == {"onlyReturnExisting": True}
        assert "jwk" in sent(server)[0]
    with talking(problem("accountDoesNotExist")) as (client, _):
        assert client.account_find() == ""
    with talking(problem("unauthorized", 401)) as (client, _), pytest.raises(AcmeRefused):
        client.account_find()


def test_contacts_and_the_end_are_signed_as_the_account() -> None:
    with talking(document({"status": "valid", "contact": ["mailto:n@b.example", 7]})) as (client, server):
        client.account_update(email="n@b.example")
        assert sent(server)[0]["kid"] == f"{server.url}/account/1"
        assert sent(server)[1] == {"contact": ["mailto:n@b.example"]}
        client.account_update(email="")
        assert sent(server)[1] == {"contact": []}
        client.account_deactivate()
        assert sent(server)[1] == {"status": "deactivated"}
        assert client.account_read().contacts == ("mailto:n@b.example",)
        assert sent(server)[1] is None
    with talking(document({}), account=False) as (client, _), pytest.raises(AcmeRefused, match="not registered"):
        client.account_read()


@pytest.mark.parametrize(
    "new",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
)
def test_a_change_of_key_is_signed_by_both(new: Any) -> None:
    with talking(document({})) as (client, server):
        client.account_rollover(new)
        header, change = sent(server)
        assert header["kid"] == f"{server.url}/account/1"
        inner = part(change, "protected")
        assert "nonce" not in inner
        assert inner["url"] == header["url"] == f"{server.url}/keyChange"
        assert inner["jwk"] == jwk_of(new).public_key().to_partial_json() | {"kty": inner["jwk"]["kty"]}
        old = jwk_of(KEY).public_key().to_partial_json()
        assert part(change, "payload") == {"account": header["kid"], "oldKey": {**old, "kty": "EC"}}
        client.account_read()
        assert sent(server)[0]["alg"] == inner["alg"], "the session goes on with the new key"


def test_a_refused_change_of_key_leaves_the_old_one() -> None:
    with talking(problem("badPublicKey"), document({})) as (client, server):
        with pytest.raises(AcmeRefused):
            client.account_rollover(rsa.generate_private_key(public_exponent=65537, key_size=2048))
        client.account_read()
        assert sent(server)[0]["alg"] == "ES256"


def test_a_new_resource_without_a_usable_address_is_refused() -> None:
    for headers in ({}, {"Location": f"https://ca/{'x' * 500}"}, {"Location": "https://ca/a b"}):
        with talking(document({}, **headers), account=False) as (client, _), pytest.raises(AcmeRefused):
            client.account_register(email="", terms_agreed=True)


# -- orders


def test_addresses_and_wildcards_are_asked_for_as_what_they_are() -> None:
    names = ["*.a.example", "192.0.2.7", "2001:DB8:0::1"]
    answered = [
        {"type": "ip", "value": "2001:db8::1"},
        {"type": "dns", "value": "*.A.example"},
        {"type": "ip", "value": "192.0.2.7"},
    ]
    with talking(order(identifiers=answered)) as (client, server):
        view = client.order_new(names)
        asked = sent(server)[1]["identifiers"]
    assert asked == [
        {"type": "dns", "value": "*.a.example"},
        {"type": "ip", "value": "192.0.2.7"},
        {"type": "ip", "value": "2001:db8::1"},
    ]
    assert sorted(view.names) == ["*.a.example", "192.0.2.7", "2001:db8::1"]


@pytest.mark.parametrize(
    "answered",
    [
        [],
        [{"type": "dns", "value": "b.example"}],
        [{"type": "dns", "value": "a.example"}, {"type": "dns", "value": "b.example"}],
        [{"type": "dns", "value": "a.example"}, {"type": "dns", "value": "a.example"}],
        [{"type": "email", "value": "a.example"}],
        "a.example",
    ],
)
def test_an_order_for_other_names_is_refused(answered: Any) -> None:
    with talking(order(identifiers=answered)) as (client, _), pytest.raises(AcmeRefused, match="other names"):
        client.order_new(["a.example"])


def test_a_profile_is_one_of_the_cas_own_list_and_asked_for() -> None:
    with talking(order(profile="short")) as (client, server):
        assert client.order_new(["a.example"], profile="short").profile == "short"
        assert sent(server)[1]["profile"] == "short"
        with pytest.raises(AcmeRefused, match="It offers classic, short") as caught:
            client.order_new(["a.example"], profile="long")
        assert caught.value.code == "acme-invalidProfile"
        assert len(server.posts()) == 1, "no order was spent on it"


def test_a_lost_new_order_is_not_sent_twice() -> None:
    with talking(None) as (client, server), pytest.raises(AcmeRetry):
        client.order_new(["a.example"])
    assert len(server.posts()) == 1


def test_an_order_shows_what_it_says_and_nothing_else() -> None:
    said = {
        "status": "a-status-from-2031",
        "expires": "2026-12-01T10:00:00+02:00",
        "replaces": "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
        "notAfter": "no date",
        "notBefore": 12,
        "profile": ["x"],
        "authorizations": ["https://ca/authz/1"],
        "extra": {"deep": [1]},
    }
    with talking(order(**said)) as (client, _):
        view = client.order_new(["a.example"])
    assert view.status == "a-status-from-2031"
    assert view.expires == datetime(2026, 12, 1, 8, tzinfo=UTC)
    assert view.replaces.startswith("aYhb")
    assert (view.not_after, view.not_before, view.profile) == (None, None, "")


@pytest.mark.parametrize("field", ["finalize", "certificate", "authorizations"])
@pytest.mark.parametrize("value", ["https://ca/" + "x" * 500, "https://ca/a\nb", 7])
def test_an_address_that_could_not_be_kept_is_refused(field: str, value: Any) -> None:
    given = [value] if field == "authorizations" else value
    with talking(order(**{field: given})) as (client, _), pytest.raises(AcmeRefused, match="cannot be used") as caught:
        client.order_new(["a.example"])
    assert caught.value.code == "acme-address"


def test_what_no_database_keeps_never_comes_in() -> None:
    said = document(
        {"status": "val\0id", "identifier": {"type": "dns", "value": "a\0\ud800.example"}, "x": float("nan")}
    )
    with talking(said) as (client, server):
        view = client.authorization_read(f"{server.url}/authz")
    for text in (view.status, view.name):
        assert "\0" not in text
        text.encode()


# -- authorizations


def authorization(*challenges: dict[str, Any], **fields: Any) -> Answer:
    base = {"status": "pending", "identifier": {"type": "dns", "value": "a.example"}}
    return document({**base, "challenges": list(challenges), **fields})


def read(answer: Answer) -> Any:
    with talking(answer) as (client, server):
        return client.authorization_read(f"{server.url}/authz")


def test_a_wildcard_is_told_by_its_flag_or_by_its_name() -> None:
    flagged = read(authorization(wildcard=True, expires="2026-12-01T00:00:00Z"))
    assert (flagged.name, flagged.wildcard) == ("a.example", True)
    assert flagged.expires == datetime(2026, 12, 1, tzinfo=UTC)
    named = read(authorization(identifier={"type": "dns", "value": "*.a.example"}))
    assert (named.name, named.wildcard) == ("a.example", True)
    assert not read(authorization(wildcard="yes")).wildcard


def test_new_kinds_of_challenges_are_kept_with_what_they_need() -> None:
    persist = {
        "type": "dns-persist-01",
        "url": "https://ca/c/1",
        "issuer-domain-names": ["ca.example", "other.example"],
    }
    future = {"type": "quantum-01", "url": "https://ca/c/2", "token": "x/../y", "status": "pondering"}
    alpn = {"type": "tls-alpn-01", "url": "https://ca/c/3", "token": "abc-_9"}
    view = read(authorization(persist, future, alpn, "nonsense"))  # type: ignore[arg-type]
    assert view.challenge("dns-persist-01").issuers == ("ca.example", "other.example")
    assert view.challenge("tls-alpn-01").token == "abc-_9"
    assert [one.status for one in view.challenges] == ["pending", "pondering", "pending"]
    assert view.challenge("dns-01") is None


@pytest.mark.parametrize(
    "fields", [{"token": "../../etc"}, {"token": "t" * 129}, {"token": "a.b"}, {"url": "https://ca/" + "c" * 500}]
)
def test_a_challenge_that_cannot_be_kept_is_refused_when_it_is_chosen(fields: dict[str, str]) -> None:
    view = read(authorization({"type": "http-01", "url": "https://ca/c", "token": "good", **fields}))
    with pytest.raises(AcmeRefused):
        view.challenge("http-01")


# -- certificates


def test_alternate_chains_are_fetched_only_when_one_is_wanted() -> None:
    links = '</cert/1>;rel="alternate", </directory>;rel="index", </cert/2>; rel="alternate"'
    first = 200, {"Link": links}, PEM + b"0"
    with talking(first) as (client, server):
        assert client.certificate_read(f"{server.url}/cert").default == PEM + b"0"
        assert len(server.posts()) == 1
    with talking(first, (200, {}, PEM + b"1"), (200, {}, PEM + b"2")) as (client, server):
        chains = client.certificate_read(f"{server.url}/cert", alternates=True)
        assert server.posts() == ["/cert", "/cert/1", "/cert/2"]
    assert chains.alternates == (PEM + b"1", PEM + b"2")


def test_an_alternate_that_cannot_be_had_costs_nothing() -> None:
    first = 200, {"Link": '</cert/1>;rel="alternate", <http://10.0.0.1/>;rel="alternate"'}, PEM
    with talking(first, problem("serverInternal", 500)) as (client, server):
        chains = client.certificate_read(f"{server.url}/cert", alternates=True)
    assert (chains.default, chains.alternates) == (PEM, ())


def test_the_key_of_the_certificate_revokes_without_an_account() -> None:
    own = ec.generate_private_key(ec.SECP384R1())
    with talking((200, {}, b"")) as (client, server):
        client.certificate_revoke(b"der", 1, key=own)
        header, payload = sent(server)
        assert "kid" not in header
        assert header["alg"] == "ES384"
        assert payload == {"certificate": b64encode(b"der").decode(), "reason": 1}
        client.certificate_revoke(b"der", 4)
        header, payload = sent(server)
        assert (header["kid"], payload["reason"]) == (f"{server.url}/account/1", 4)
        with pytest.raises(KeyRefused):
            client.certificate_revoke(b"der", key=ed25519.Ed25519PrivateKey.generate())
        client.authorization_deactivate(f"{server.url}/authz")
        assert sent(server)[0]["kid"] == f"{server.url}/account/1", "the account signs again after an error too"


def test_a_certificate_that_was_revoked_already_is_told_by_its_code() -> None:
    with talking(problem("alreadyRevoked")) as (client, _), pytest.raises(BinderyError) as caught:
        client.certificate_revoke(b"der")
    assert caught.value.code == "acme-alreadyRevoked"


# -- directories


def info(sent_at: str = "", **meta: Any) -> DirectoryInfo:
    fields = dict.fromkeys(("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"), "https://ca/x")
    found = directory_read(
        {**fields, "renewalInfo": "https://ca/ari", "meta": meta}, "https://ca", sent=sent_at, now=NOW
    )
    return found.info


def test_a_directory_tells_all_that_we_ask_of_it() -> None:
    said = info(
        "Sat, 21 Nov 2026 11:58:30 GMT",
        caaIdentities=["ca.example"],
        website="https://ca",
        externalAccountRequired=True,
        **META,
    )
    assert said == DirectoryInfo(
        terms_url="https://ca/terms",
        website="https://ca",
        profiles={"classic": "90 days", "short": "a week"},
        eab_required=True,
        caa_identities=("ca.example",),
        has_renewal_info=True,
        clock_skew=90.0,
    )


@pytest.mark.parametrize("date", ["", "yesterday", "Sat, 99 Nov 2026 11:58:30 GMT"])
def test_a_clock_that_the_ca_does_not_show_is_not_judged(date: str) -> None:
    assert info(date).clock_skew is None


def test_meta_data_of_another_shape_is_as_if_it_were_not_there() -> None:
    said = info(profiles=["classic"], caaIdentities="ca.example", externalAccountRequired="yes")
    assert (said.profiles, said.caa_identities, said.eab_required) == ({}, (), False)


def test_terms_that_could_not_be_kept_are_refused() -> None:
    with pytest.raises(AcmeRefused, match="longer than 500"):
        info(termsOfService="https://ca/" + "t" * 500)


def test_times_asked_for_go_out_in_utc() -> None:
    start = datetime(2026, 12, 1, 12, tzinfo=UTC)
    with talking(order()) as (client, server):
        client.order_new(["a.example"], not_before=start, not_after=start + timedelta(days=7))
        payload = sent(server)[1]
    assert (payload["notBefore"], payload["notAfter"]) == ("2026-12-01T12:00:00Z", "2026-12-08T12:00:00Z")


def test_the_key_authorization_is_the_rfcs() -> None:
    with talking(document({})) as (client, _):
        token, thumbprint = client.key_authorization("tok").split(".")
    public = jwk_of(KEY).public_key().to_partial_json()
    canonical = json.dumps(
        {"crv": public["crv"], "kty": "EC", "x": public["x"], "y": public["y"]}, separators=(",", ":")
    )
    assert token == "tok"
    assert b64decode(thumbprint) == hashlib.sha256(canonical.encode()).digest()

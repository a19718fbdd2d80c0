"""A store of certificates as rows only, made at random, and the search told anew in plain Python over all of it."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from certs.domain.names import name_reversed
from certs.models import Authority, Certificate, CertificateName, CertificateTag, CertificateVersion, PrivateKey
from certs.selectors import SOON, responders
from certs.services import search
from certs.services.filters import KINDS, SORTS, STATES, Filters
from portal import clock

_HOSTS = ("a", "b", "web", "web-1", "mail", "xn--bcher-kva", "a-b", "under_score", "100%", '"q"')
_DOMAINS = ("example.com", "example-x.com", "example.org", "sub.example.com", "com", "test")
_LABELS = ("Main site", "main SITE", "Bücher", "web", "zebra", "İ", "a.example.com", "100%_x")
_TAGS = ("production", "test", "team a")
_ISSUERS = ("R11", "Our CA", "")
_WORDS = (
    "web",
    "ma",
    "%",
    "_",
    "example.com",
    "bücher",
    "Bücher",
    "ebr",
    '"q"',
    "nothing",
    "x",
    "site",
    "A.EXAMPLE",
    "İ",
)


def fill(count: int, seed: int = 0) -> None:
    """Certificates of every state and kind, many with equal names, dates and issuers."""
    dice, now = random.Random(seed), clock.now().replace(microsecond=0)
    key = PrivateKey.objects.create(key_type="ec-p256", spki_sha256=f"{seed:064}", sealed="x")
    for _ in range(count):
        name = dice.choice(_LABELS)
        certificate = Certificate(
            name=name,
            source=dice.choice(Certificate.Source.values),
            created_at=now - timedelta(hours=dice.randrange(5), microseconds=dice.choice((0, 5))),
            failures=dice.choice((0, 0, 2)),
            key_type=dice.choice(("ec-p256", "rsa-2048")),
            deleted_at=dice.choice((None, None, None, None, now)),
            exposed=dice.random() < 0.3,
        )
        names = sorted({f"{dice.choice(_HOSTS)}.{dice.choice(_DOMAINS)}" for _ in range(dice.randrange(1, 4))})
        version = None
        if dice.random() < 0.2:
            certificate.key = dice.choice((None, key))
            certificate.request_pem = dice.choice(("", "x")) if certificate.key else ""
            names = []
        else:
            version = CertificateVersion(
                certificate=certificate,
                key=dice.choice((None, key)),
                fingerprint_sha256=uuid4().hex * 2,
                serial="1",
                issuer_name=dice.choice(_ISSUERS),
                names=names,
                key_type=dice.choice(("ec-p256", "rsa-2048", "ed25519")),
                is_ca=dice.random() < 0.2,
                is_client=dice.random() < 0.3,
                is_test=dice.random() < 0.2,
                not_before=now - timedelta(days=30),
                not_after=now + timedelta(days=dice.choice((-40, -1, 5, 20, 60, 400)), seconds=dice.choice((0, 7))),
                revoked_at=dice.choice((None, None, None, now)),
            )
            certificate.expires_at, certificate.issuer_name = version.not_after, version.issuer_name
        certificate.save(force_insert=True)
        if version is not None:
            version.save(force_insert=True)
            certificate.current = version
            certificate.save(update_fields=["current"])
        if certificate.deleted_at is None:
            labels = [CertificateName(certificate=certificate, kind="label", name=name.lower(), reversed="")]
            sans = [CertificateName(certificate=certificate, name=one, reversed=name_reversed(one)) for one in names]
            CertificateName.objects.bulk_create(labels + sans)
        chosen = [tag for tag in _TAGS if dice.random() < 0.4]
        CertificateTag.objects.bulk_create(CertificateTag(certificate=certificate, tag=tag) for tag in chosen)
    some = Certificate.objects.filter(own_authority=None).exclude(current=None).order_by("pk")[:10]
    for own, responder in zip(some[:5], some[5:], strict=True):
        Authority.objects.create(certificate=own, responder=responder)


def filters_random(dice: random.Random) -> Filters:
    """Few of them at once, so that most find something."""
    now = clock.now()
    some: dict[str, Any] = {
        "text": dice.choice(_WORDS),
        "domain": dice.choice(_DOMAINS),
        "name": f"{dice.choice(_HOSTS)}.{dice.choice(_DOMAINS)}",
        "tags": tuple(dice.sample(_TAGS, dice.randrange(1, 3))),
        "issuer": dice.choice(_ISSUERS),
        "state": dice.choice(list(STATES)),
        "kind": dice.choice(list(KINDS)),
        "key_type": dice.choice(("ec-p256", "ed25519")),
        "source": dice.choice(Certificate.Source.values),
        "expires_before": now + timedelta(days=dice.choice((-10, 10, 100))),
        "expires_after": now + timedelta(days=dice.choice((-10, 10, 100))),
    }
    chosen = dice.sample(list(some), dice.choice((0, 1, 1, 1, 2, 2, 3)))
    return Filters(**{name: some[name] for name in chosen}, sort=dice.choice(SORTS), size=dice.choice((1, 2, 7, 50)))


def fits(row: Certificate, filters: Filters, *, answers: bool) -> bool:
    """The filters' meaning, told of one certificate; `answers`: it is an OCSP responder's."""
    now, version = clock.now(), row.current
    names = version.names if version else []
    words = [filters.text.lower()] + ([search.name_stored(filters.text)] if filters.text else [])
    searched = [row.name.lower(), *names]
    root = filters.domain
    states = {
        "": True,
        "valid": version is not None and version.not_after > now and version.revoked_at is None,
        "soon": version is not None and now < version.not_after <= now + SOON,
        "expired": version is not None and version.not_after <= now,
        "revoked": version is not None and version.revoked_at is not None,
        "failing": row.failures > 0,
        "pending": version is None and row.key is None,
        "waiting": version is None and bool(row.request_pem),
        "test": version is not None and version.is_test,
    }
    kinds = {
        "": True,
        "ca": version is not None and version.is_ca,
        "client": version is not None and version.is_client,
        "trusted": version is not None and version.key is None,
        "key-pair": version is None and row.key is not None and not row.request_pem,
        "exposed": row.exposed,
        "responder": answers,
    }
    key_type = version.key_type if version else row.key_type
    return (
        row.deleted_at is None
        and answers == (filters.kind == "responder")
        and any(word in one for word in words if word or not filters.text for one in searched)
        and (not root or any(one == root or one.endswith(f".{root}") for one in names))
        and (not filters.name or filters.name in names)
        and set(filters.tags) <= {tag.tag for tag in row.tag_rows.all()}
        and filters.issuer in ("", row.issuer_name)
        and states[filters.state]
        and kinds[filters.kind]
        and filters.key_type in ("", key_type)
        and filters.source in ("", row.source)
        and (not filters.expires_before or (version is not None and version.not_after <= filters.expires_before))
        and (not filters.expires_after or (version is not None and version.not_after > filters.expires_after))
    )


def compare(filters: Filters) -> int:
    """Walk all pages forward and back, and hold them against all rows; how many there were. Raises AssertionError."""
    rows = Certificate.objects.select_related("current__key", "key").prefetch_related("tag_rows")
    answering = set(responders().values_list("responder", flat=True))
    expected = {row.pk: row for row in rows if fits(row, filters, answers=row.pk in answering)}
    forward: list[UUID] = []
    page = search.certificates_search("test", filters)
    total = page.total
    assert not page.previous
    while True:
        keys = [row.pk for row in page.rows]
        assert len(keys) <= filters.size
        forward += keys
        if not page.next:
            break
        assert len(keys) == filters.size, filters
        page = search.certificates_search("test", replace(filters, cursor=page.next))
    backward = [row.pk for row in page.rows]
    while page.previous:
        page = search.certificates_search("test", replace(filters, cursor=page.previous))
        backward = [row.pk for row in page.rows] + backward
    assert len(forward) == len(set(forward)), f"twice: {filters}"
    assert set(forward) == expected.keys(), (filters, [row.name for row in expected.values()])
    assert backward == forward, filters
    assert total.number == len(forward) if total.is_exact else total.number <= len(forward), (filters, total)
    _in_order([expected[key] for key in forward], filters.sort)
    return len(forward)


def _in_order(rows: list[Certificate], sort: str) -> None:
    """By the database's own order of text, which need not be Python's: equal values stand together."""
    column = {"name": "name", "expiry": "expires_at", "created": "created_at", "issuer": "issuer_name"}[
        sort.lstrip("-")
    ]
    values = [getattr(row, column) for row in rows]
    if column.endswith("_at"):
        far = clock.now() + timedelta(days=9999)
        moments = [value or far for value in values]
        assert moments == sorted(moments, reverse=sort.startswith("-")), sort
    else:
        runs = [value for number, value in enumerate(values) if number == 0 or values[number - 1] != value]
        assert len(runs) == len(set(runs)), sort


def compare_many(seed: int, rounds: int, *, rows: int = 60, few: int = 10_000) -> int:
    """`few` below the number of rows has the index walked instead; how many rows were found in all."""
    dice = random.Random(seed)
    if not Certificate.objects.exists():
        fill(rows, seed)
    before = search.COUNT_LIMIT, search.FEW
    search.COUNT_LIMIT, search.FEW = few, min(search.FEW, few // 3)
    try:
        return sum(compare(filters_random(dice)) for _ in range(rounds))
    finally:
        search.COUNT_LIMIT, search.FEW = before

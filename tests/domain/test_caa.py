"""RFC 8659 and RFC 8657, as a CA must read them."""

from dataclasses import dataclass

import pytest

from certs.domain import caa
from certs.domain.caa import caa_judge, caa_record, property_parse

ACCOUNT = "https://ca.example/acct/1"


@dataclass(frozen=True)
class Record:
    flags: int
    tag: str
    value: str


def judge(*records: tuple[int, str, str], wildcard: bool = False, **options: object) -> caa.Verdict:
    given: dict[str, object] = {
        "identities": ["ca.example"],
        "account_url": ACCOUNT,
        "methods": ["http-01", "tls-alpn-01"],
        **options,
    }
    return caa_judge([Record(*record) for record in records], wildcard=wildcard, **given)  # type: ignore[arg-type]


OURS, OTHER, NOT_ANY = (0, "issue", "ca.example"), (0, "issue", "other.example"), (0, "issue", ";")
WILD, OTHER_WILD = (0, "issuewild", "ca.example"), (0, "issuewild", "other.example")


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ((), caa.NO_RECORDS),
        (((0, "iodef", "mailto:me@a.example"),), caa.NO_RECORDS),
        ((OTHER_WILD,), caa.NO_RECORDS),
        ((OURS,), caa.NAMED),
        ((OTHER, OURS), caa.NAMED),
        ((NOT_ANY, OURS), caa.NAMED),
        (((128, "issue", "ca.example"),), caa.NAMED),
        (((0, "issue", " CA.example. ;"),), caa.NAMED),
        (((128, "issuemail", "x.example"), OURS), caa.NAMED),
        ((OTHER,), caa.OTHER_CA),
        ((NOT_ANY,), caa.NOBODY),
        (((0, "issue", ""),), caa.NOBODY),
        (((0, "issue", "%%%%%"),), caa.NOBODY),
        (((0, "issue", "ca.example; broken"),), caa.NOBODY),
        (((128, "future", "x"), OURS), caa.CRITICAL_TAG),
        (((0, "future", "x"), OURS), caa.NAMED),
    ],
)
def test_who_may_issue(records: tuple[tuple[int, str, str], ...], why: str) -> None:
    verdict = judge(*records)
    assert verdict.why == why
    assert verdict.permitted == (why in {caa.NO_RECORDS, caa.NAMED})


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ((OURS,), caa.NAMED),  # issue holds for wildcards where there is no issuewild
        ((OTHER, WILD), caa.NAMED),
        ((OURS, OTHER_WILD), caa.OTHER_CA),
        ((OURS, (0, "issuewild", ";")), caa.NOBODY),
        ((OTHER,), caa.OTHER_CA),
    ],
)
def test_a_wildcard_is_under_issuewild_where_there_is_one(records: tuple[tuple[int, str, str], ...], why: str) -> None:
    assert judge(*records, wildcard=True).why == why


def of(text: str) -> tuple[int, str, str]:
    return 0, "issue", f"ca.example; {text}"


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ((of(f"accounturi={ACCOUNT}"),), caa.NAMED),
        ((of(f"accounturi = {ACCOUNT}"),), caa.NAMED),
        ((of(f"AccountURI={ACCOUNT}"),), caa.NAMED),
        ((of(f"accounturi={ACCOUNT}0"),), caa.OTHER_ACCOUNT),
        ((of(f"accounturi={ACCOUNT.upper()}"),), caa.OTHER_ACCOUNT),
        ((of("accounturi="),), caa.OTHER_ACCOUNT),
        ((of(f"accounturi={ACCOUNT}; accounturi={ACCOUNT}"),), caa.OTHER_ACCOUNT),
        ((of("accounturi=https://ca.example/acct/2"), of(f"accounturi={ACCOUNT}")), caa.NAMED),
        ((of("accounturi=https://ca.example/acct/2"), OURS), caa.NAMED),
        ((of("unknown=1"),), caa.NAMED),
    ],
)
def test_only_the_account_named(records: tuple[tuple[int, str, str], ...], why: str) -> None:
    assert judge(*records).why == why


def test_an_account_without_address_is_none_of_those_named() -> None:
    assert judge(of(f"accounturi={ACCOUNT}"), account_url="").why == caa.OTHER_ACCOUNT
    assert judge(of("accounturi="), account_url="").why == caa.OTHER_ACCOUNT
    assert judge(OURS, account_url="").permitted


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("validationmethods=http-01", {"http-01"}),
        ("validationmethods=dns-01,tls-alpn-01,http-01", {"http-01", "tls-alpn-01"}),
        ("validationmethods=dns-01", set()),
        ("validationmethods=", set()),
        ("validationmethods=http-01; validationmethods=http-01", set()),
        (f"accounturi={ACCOUNT}; validationmethods=tls-alpn-01", {"tls-alpn-01"}),
    ],
)
def test_only_by_the_methods_named(text: str, left: set[str]) -> None:
    verdict = judge(of(text))
    assert verdict.methods == left
    assert verdict.why == (caa.NAMED if left else caa.OTHER_METHOD)


def test_several_records_add_up() -> None:
    records = of("validationmethods=http-01"), of("validationmethods=tls-alpn-01")
    assert judge(*records).methods == {"http-01", "tls-alpn-01"}


def test_any_name_of_the_ca_will_do_and_one_that_gives_none_cannot_be_judged() -> None:
    assert judge(OURS, identities=["old.example", "CA.Example"]).permitted
    assert judge(OURS, identities=[]).why == caa.UNKNOWN_CA
    assert judge(NOT_ANY, identities=[]).why == caa.NOBODY
    assert judge(identities=[]).permitted


def test_the_record_that_is_advised_lets_us_in_and_nobody_else() -> None:
    line = caa_record("a.example", "ca.example", account_url=ACCOUNT, methods=["tls-alpn-01", "http-01"])
    assert line == (f'a.example. CAA 0 issue "ca.example; accounturi={ACCOUNT}; validationmethods=http-01,tls-alpn-01"')
    value = line.split('"')[1]
    assert judge((0, "issue", value)).permitted
    assert not judge((0, "issue", value), account_url="https://ca.example/acct/2").permitted
    assert not judge((0, "issue", value), identities=["other.example"]).permitted
    wild = caa_record("a.example", "ca.example", wildcard=True)
    assert wild == 'a.example. CAA 0 issuewild "ca.example"'


@pytest.mark.parametrize("text", ["", ";", " ; ", "a b", "ca.example; x", "ca.example; =x", "-a.example", "é.example"])
def test_what_follows_no_grammar_names_nobody(text: str) -> None:
    assert property_parse(text).issuer == ""

import pytest

from certs.domain.preflight import (
    CODES,
    NOBODY,
    OTHERS,
    OURS,
    Finding,
    Level,
    Seen,
    findings_elsewhere,
    findings_sorted,
    reach_judge,
    worst_level,
)

V4, V6 = "192.0.2.1", "2001:db8::1"


def judged(v4: str = "", v6: str = "") -> dict[str, tuple[Level, str]]:
    seen = [Seen(address, who, "seen") for address, who in ((V4, v4), (V6, v6)) if who]
    return {one.code: (one.level, one.record) for one in reach_judge("a.example", seen, 80, here="here")}


@pytest.mark.parametrize(
    ("v4", "v6", "levels"),
    [
        (OURS, "", {"ipv4": Level.OK}),
        ("", OURS, {"ipv6": Level.OK}),
        (OURS, OURS, {"ipv6": Level.OK, "ipv4": Level.OK}),
        (OURS, OTHERS, {"ipv6": Level.ERROR, "ipv4": Level.OK}),
        (OTHERS, OURS, {"ipv6": Level.OK, "ipv4": Level.WARNING}),
        (OTHERS, "", {"ipv4": Level.ERROR}),
        (OTHERS, NOBODY, {"ipv6": Level.UNKNOWN, "ipv4": Level.ERROR}),
        (OURS, NOBODY, {"ipv6": Level.UNKNOWN, "ipv4": Level.OK}),
        (NOBODY, "", {"ipv4": Level.UNKNOWN}),
    ],
)
def test_what_the_addresses_mean(v4: str, v6: str, levels: dict[str, Level]) -> None:
    assert {code: level for code, (level, _) in judged(v4, v6).items()} == levels


def test_the_record_in_the_way_is_named_verbatim() -> None:
    assert judged(OURS, OTHERS)["ipv6"][1] == "a.example. AAAA 2001:db8::1"


def test_an_aaaa_that_is_not_ours_comes_first() -> None:
    found = reach_judge("a.example", [Seen(V4, OTHERS, ""), Seen(V6, OTHERS, "")], 80, here="here")
    assert [one.code for one in findings_sorted(found, ["a.example"])] == ["ipv6", "ipv4"]


def test_the_worst_comes_first_and_then_the_order_of_the_names() -> None:
    found = [
        Finding("caa", Level.OK, "a.example", ""),
        Finding("caa", Level.ERROR, "b.example", ""),
        Finding("caa", Level.ERROR, "a.example", ""),
        Finding("clock", Level.UNKNOWN, "", ""),
        Finding("resolve", Level.WARNING, "b.example", ""),
        Finding("directory", Level.ERROR, "", ""),
    ]
    ordered = findings_sorted(found, ["b.example", "a.example"])
    assert [(one.code, one.name) for one in ordered] == [
        ("directory", ""),
        ("caa", "b.example"),
        ("caa", "a.example"),
        ("resolve", "b.example"),
        ("clock", ""),
        ("caa", "a.example"),
    ]


def test_the_worst_level() -> None:
    assert worst_level([]) == Level.OK
    assert worst_level([Finding("caa", level, "", "") for level in (Level.OK, Level.WARNING, Level.UNKNOWN)]) == (
        Level.WARNING
    )


def test_no_code_twice() -> None:
    assert len(set(CODES)) == len(CODES)


@pytest.mark.parametrize(
    ("who", "port", "elsewhere"),
    [
        (OURS, 80, []),
        (OTHERS, 80, ["a.example"]),
        (NOBODY, 80, ["a.example"]),
        (OTHERS, 443, []),  # no line on a web server brings a TLS challenge here
    ],
)
def test_a_name_whose_port_80_is_not_ours_leads_elsewhere(who: str, port: int, elsewhere: list[str]) -> None:
    found = reach_judge("a.example", [Seen(V4, who, "seen"), Seen(V6, who, "seen")], port, here="here")
    assert findings_elsewhere(found) == elsewhere

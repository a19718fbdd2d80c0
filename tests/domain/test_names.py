import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.errors import NameRefused
from certs.domain.names import (
    LIMIT,
    SELF_SIGNED,
    SERVER_NAME,
    name_covers,
    name_display,
    name_parse,
    name_reversed,
    names_cover,
    names_parse,
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("portal.example.com", ["portal.example.com"]),
        ("  Portal.EXAMPLE.com. ", ["portal.example.com"]),
        ("b.example, a.example,\na.example\r\n", ["a.example", "b.example"]),
        ("a.example,,b.example,", ["a.example", "b.example"]),
        ("bücher.example", ["xn--bcher-kva.example"]),
        ("BÜCHER.example", ["xn--bcher-kva.example"]),
        ("xn--bcher-kva.example", ["xn--bcher-kva.example"]),
        ("faß.example", ["xn--fa-hia.example"]),
        ("例え。テスト", ["xn--r8jz45g.xn--zckzah"]),
        ("a-b.1.example", ["a-b.1.example"]),
        (f"{'a' * 63}.example", [f"{'a' * 63}.example"]),
    ],
)
def test_names_are_stored_as_sorted_lower_case_a_labels(text: str, names: list[str]) -> None:
    assert names_parse(text) == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "No DNS name was given. Type one, for example portal.example.com."),
        (" ,\n", "No DNS name was given."),
        ("http://portal.test.example", "Type just the name, for example portal.test.example, without http://."),
        ("https://portal.test.example/x", "Type just the name, for example portal.test.example, without https://."),
        ("HTTPS://Portal.test.example", "for example portal.test.example, without HTTPS://."),
        ("ftp://portal.test.example", "without ftp://."),
        ("http:portal.test.example", "without http:."),
        ("https://", "Type just the name"),
        ("portal.test.example/login", "contains a path. Type just the name, for example portal.test.example"),
        ("portal.test.example?x", "contains a query"),
        ("portal.test.example#x", "contains a fragment"),
        ("me@test.example", "contains an @. Type just the name, for example test.example"),
        ("portal.test.example:443", "ends with a port. Type just the name, for example portal.test.example."),
        ("a.example b.example", "contains a space. Type just the name"),
        ("a.example\tb.example", "contains a space"),
        ("*.test.example", "DNS challenge"),
        ("*", "has a * where none can be"),
        ("a*.test.example", "has a * where none can be"),
        ("a.*.example", "has a * where none can be"),
        ("*.*.example", "has a * where none can be"),
        ("192.0.2.7", "profile with IP names"),
        ("[2001:db8::1]", "profile with IP names"),
        ("2001:DB8:0::1", "2001:db8::1 is an IP address"),
        ("fe80::1%eth0", "cannot be a DNS name"),
        ("portal", "is not a full DNS name. Type the whole name with its domain"),
        ("localhost", "is not a full DNS name"),
        (".example.com", "has an empty part"),
        ("a..example", "has an empty part"),
        (".", "empty part"),
        ("my_host.example", "the part “my_host” has an underscore"),
        ("-a.example", "begins or ends with a hyphen"),
        ("a-.example", "begins or ends with a hyphen"),
        ("ab--cd.example", "two hyphens"),
        ("a!.example", "other than letters, digits and hyphens"),
        (f"{'a' * 64}.example", "longer than 63 characters"),
        (".".join(["a" * 60] * 5), "at most 253"),
        ("xn--a.example", "cannot be a DNS name"),
        ("xn--.example", "cannot be a DNS name"),
        ("☃️\u200d.example", "cannot be a DNS name"),
        ("a\x00b.example", "cannot be a DNS name"),
        (",".join(f"h{number}.example" for number in range(LIMIT + 1)), "These are 101 names"),
    ],
)
def test_what_is_no_name_is_refused_with_what_to_type(text: str, says: str) -> None:
    with pytest.raises(NameRefused) as refusal:
        names_parse(text)
    assert says in str(refusal.value)


def test_the_offending_piece_of_a_list_is_named() -> None:
    with pytest.raises(NameRefused, match=r"“https://b\.example”"):
        names_parse("a.example, https://b.example, c.example")


def test_a_hundred_names_are_accepted() -> None:
    assert len(names_parse("\n".join(f"h{number}.example" for number in range(LIMIT)))) == LIMIT


def test_looser_rules_where_no_public_ca_is_asked() -> None:
    assert names_parse("localhost, *.Test.example, 2001:DB8::0:1, 192.0.2.7", SELF_SIGNED) == [
        "*.test.example",
        "192.0.2.7",
        "2001:db8::1",
        "localhost",
    ]
    assert name_parse("*.test.example", SERVER_NAME) == "*.test.example"
    for text in ("*.local", "192.0.2.7"):
        with pytest.raises(NameRefused):
            name_parse(text, SERVER_NAME)


_labels = st.text("abcxyzäöß例012-_*.:/@, \n\t%[]?#。\u200d\x00", max_size=40) | st.text(max_size=30)


@given(st.lists(_labels, max_size=5).map(".".join) | _labels)
def test_any_text_gives_names_or_a_refusal_and_names_stay_as_they_are(text: str) -> None:
    for rules in (SELF_SIGNED, SERVER_NAME):
        try:
            names = names_parse(text, rules)
        except NameRefused:
            continue
        assert names_parse(",".join(names), rules) == names
        assert all(name.isascii() and name == name.lower() and len(name) <= 253 for name in names)
        for name in names:
            assert name_reversed(name_reversed(name)) == name
            assert name_display(name)
            assert names_cover(names, name)


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("a.example", "a.example", True),
        ("A.Example", "a.eXample.", True),
        ("a.example", "b.a.example", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "b.a.example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "*.example.com", False),
        ("a*.example.com", "ab.example.com", False),
        ("*", "localhost", False),
        ("192.0.2.7", "192.0.2.7", True),
        ("2001:db8::1", "2001:DB8:0::1", True),
        ("*.0.2.7", "192.0.2.7", False),
        ("192.0.2.7", "192.0.2.8", False),
        ("a.example", "", False),
        ("", "", False),
    ],
)
def test_a_wildcard_is_one_whole_leftmost_label(pattern: str, host: str, fits: bool) -> None:
    assert name_covers(pattern, host) is fits


def test_names_are_shown_in_their_own_script() -> None:
    assert name_display("xn--bcher-kva.example") == "bücher.example"
    assert name_display("*.xn--bcher-kva.example") == "*.bücher.example"
    assert name_display("xn--a.example") == "xn--a.example"

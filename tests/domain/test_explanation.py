"""Why an order failed: the cause that explains the others, its proof, and the one thing to do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.domain.explanation import RULES, Failure, explain

NAME = "www.example.com"


def problem(kind: str, detail: str = "", **more: Any) -> dict[str, Any]:
    return {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, **more}


def seen(text: str, **more: Any) -> list[dict[str, Any]]:
    url = f"http://{NAME}/.well-known/acme-challenge/t"
    return [{"name": NAME, "url": url, "curl": f"curl -i {url}", "seen": text, **more}]


def finding(code: str, sentence: str = "It is so.", advice: str = "Do it.", level: str = "error") -> dict[str, Any]:
    return {
        "code": code,
        "level": level,
        "name": NAME,
        "sentence": sentence,
        "advice": advice,
        "proof": "2001:db8::1 answered",
    }


@pytest.mark.parametrize(
    ("failure", "cause", "action"),
    [
        (
            Failure("acme-unauthorized", evidence=seen("HTTP 404 with something else: nginx")),
            f"Something else answers on port 80 of {NAME}: HTTP 404 with something else: nginx",
            "/.well-known/acme-challenge/",
        ),
        (
            Failure("acme-unauthorized", evidence=seen("HTTP 301, a redirect to https://elsewhere.example/")),
            f"Port 80 of {NAME} leads elsewhere: https://elsewhere.example/",
            "before any redirect",
        ),
        (
            Failure("acme-unauthorized", evidence=seen("HTTP 200 with the answer of another account: t.x")),
            "Another ACME client",
            "Switch that client off",
        ),
        (Failure("acme-connection", evidence=seen("no answer: Connection refused")), "Nothing answers", "port 80"),
        (Failure("acme-connection", evidence=seen("no answer within 5 s")), "a firewall is in the way", "port 80"),
        (
            Failure(
                "acme-connection", evidence=seen("HTTP 200 with the right answer: from here the portal is reached")
            ),
            "From here the portal answers rightly",
            "from outside, too",
        ),
        (
            Failure(
                "acme-connection",
                ca="Our CA",
                problem=problem(
                    "connection", 'Get "http://x/": dial tcp [2001:db8::1]:80: connect: connection refused'
                ),
                evidence=seen("HTTP 200 with the right answer: from here the portal is reached"),
            ),
            f"Our CA found {NAME} at 2001:db8::1, and nothing answered there",
            "correct the A or AAAA record",
        ),
        (
            Failure(
                "acme-connection",
                problem=problem("connection", f"192.0.2.7: Fetching http://{NAME}/t: Timeout during connect"),
                evidence=seen("this server cannot find the name in its DNS"),
            ),
            f"found {NAME} at 192.0.2.7",
            "If 192.0.2.7 is this portal's",
        ),
        (
            Failure(
                "acme-connection",
                problem=problem("connection", "could not resolve"),
                evidence=seen("this server cannot find the name in its DNS"),
            ),
            f"cannot find {NAME} in its DNS",
            "the public DNS",
        ),
        (
            Failure(
                "acme-connection",
                evidence=seen("HTTP 200 with the right answer"),
                findings=[finding("ipv6", "Its IPv6 address is another machine's.", "Remove the AAAA record.")],
            ),
            "Its IPv6 address is another machine's.",
            "Remove the AAAA record.",
        ),
        (
            Failure(
                "acme-dns", problem=problem("dns", f"DNS problem: NXDOMAIN looking up A for {NAME}"), names=(NAME,)
            ),
            f"The public DNS does not know {NAME}.",
            "A or AAAA record",
        ),
        (
            Failure("acme-dns", problem=problem("dns", "SERVFAIL looking up CAA"), names=(NAME,)),
            "its DNSSEC does not hold",
            "DNS provider",
        ),
        (
            Failure(
                "acme-unauthorized", challenge="dns01_rfc2136", problem=problem("u", "No TXT record found at _acme")
            ),
            "did not find the TXT record",
            "every name server",
        ),
        (
            Failure(
                "acme-unauthorized", challenge="dns01_hook", problem=problem("u", 'Incorrect TXT record "x" found')
            ),
            "another value",
            "Remove old values",
        ),
        (
            Failure("acme-caa", ca="Let's Encrypt", names=(NAME,), advice="Change the CAA record."),
            f"A CAA record of {NAME} does not allow Let's Encrypt.",
            "Change the CAA record.",
        ),
        (
            Failure("acme-caa", findings=[finding("caa", "CAA allows only other.example.", 'Add: CAA 0 issue "x"')]),
            "CAA allows only other.example.",
            'Add: CAA 0 issue "x"',
        ),
        (
            Failure("acme-rateLimited", ca="Let's Encrypt", problem=problem("rateLimited", "too many certificates")),
            "A limit of Let's Encrypt is reached: too many certificates",
            "Nothing",
        ),
        (Failure("acme-tls", challenge="tlsalpn01", evidence=seen("a certificate of nginx")), "Port 443", "ends TLS"),
        (Failure("acme-proxy", message="The proxy p:3128 refuses."), "The proxy p:3128 refuses.", "HTTPS_PROXY"),
        (Failure("acme-untrusted", message="Issued by X."), "Issued by X.", "BINDERY_CA_BUNDLE"),
        (Failure("acme-unreachable", ca="Our CA"), "Our CA could not be reached", "by itself"),
        (Failure("names"), "not what was ordered", "Report this"),
        (Failure("never-heard-of", message="Something odd.", advice="Do this."), "Something odd.", "Do this."),
        (Failure("never-heard-of", message="Something odd."), "Something odd.", "answer below"),
    ],
)
def test_the_cause_is_named_with_the_one_thing_to_do(failure: Failure, cause: str, action: str) -> None:
    told = explain(failure)
    assert cause in told.cause
    assert action in told.action
    assert "{" not in told.cause + told.action


def test_what_is_proven_comes_from_the_ca_and_from_here() -> None:
    failure = Failure(
        "acme-unauthorized",
        ca="Let's Encrypt",
        problem=problem("unauthorized", "Invalid response from http://www…: 404"),
        evidence=seen("HTTP 404 with something else: nginx"),
        findings=[finding("ipv6"), finding("fine", level="ok")],
    )
    assert [(proof.who, proof.says, proof.command) for proof in explain(failure).proofs] == [
        ("Let's Encrypt", "Invalid response from http://www…: 404", ""),
        (
            "This server",
            f"http://{NAME}/.well-known/acme-challenge/t: HTTP 404 with something else: nginx",
            f"curl -i http://{NAME}/.well-known/acme-challenge/t",
        ),
        ("This server", f"{NAME}: 2001:db8::1 answered", ""),
    ]


def test_each_name_keeps_what_the_ca_says_of_it() -> None:
    told = explain(
        Failure(
            "acme-rejectedIdentifier",
            problem=problem(
                "rejectedIdentifier",
                "some names",
                subproblems=[
                    problem("rejectedIdentifier", "not that one", identifier={"type": "dns", "value": "a.example"}),
                    problem("caa", identifier={"type": "dns", "value": "b.example"}),
                    "senseless",
                    {"identifier": 7},
                ],
            ),
        )
    )
    assert told.names[:2] == (("a.example", "not that one"), ("b.example", "caa"))
    assert "a.example" in told.cause


def test_only_what_mends_itself_asks_for_nothing() -> None:
    assert explain(Failure("acme-rateLimited")).by_itself
    assert not explain(Failure("acme-caa")).by_itself
    assert all(rule.action.startswith("Nothing:") == rule.by_itself for rule in RULES)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.sampled_from([code for rule in RULES for code in rule.codes] + ["", "odd"]),
    st.dictionaries(st.sampled_from(["type", "detail", "subproblems", "status", "identifier"]), json),
    st.text(max_size=60),
    st.sampled_from(["http01", "tlsalpn01", "dns01_rfc2136"]),
)
def test_whatever_a_ca_sends_there_is_something_to_say(
    code: str, document: dict[str, Any], text: str, how: str
) -> None:
    told = explain(
        Failure(code, message="It failed.", challenge=how, problem=document, evidence=seen(text), names=(NAME,))
    )
    assert told.cause
    assert told.action


def test_the_record_that_mends_it_is_told_verbatim() -> None:
    record = f'{NAME}. CAA 0 issue "ca.example"'
    told = explain(Failure("acme-caa", findings=[{**finding("caa"), "record": record}]))
    assert (told.action, told.record) == ("Do it.", record)
    assert told.proofs[-1].says == f"{NAME}: 2001:db8::1 answered"
    assert explain(Failure("acme-caa", message="No.")).record == ""


@pytest.mark.parametrize(("code", "shown"), [("acme-caa", True), ("acme-connection", False)])
def test_records_of_which_nobody_knows_whom_they_mean_are_told_where_the_ca_names_them(code: str, shown: bool) -> None:
    told = explain(Failure(code, findings=[finding("caa", level="unknown")]))
    assert any("answered" in proof.says for proof in told.proofs) is shown


@pytest.mark.parametrize(
    ("failure", "names"),
    [
        (Failure("acme-unauthorized", names=(NAME,), evidence=seen("HTTP 404 with something else: nginx")), (NAME,)),
        (Failure("acme-tls", challenge="tlsalpn01", names=(NAME,)), (NAME,)),
        (Failure("acme-unauthorized", challenge="dns01_rfc2136", names=(NAME,)), ()),
        (Failure("acme-rateLimited", names=(NAME,)), ()),
        (Failure("acme-connection", names=("*.a.example",), challenge="dns01_hook"), ()),
        (
            Failure(
                "acme-connection",
                names=(NAME, "b.example", "c.example"),
                findings=[
                    {**finding("ipv4"), "name": "b.example", "elsewhere": True},
                    {**finding("ipv6"), "name": "b.example", "elsewhere": True},
                    {**finding("ipv4"), "name": "c.example", "elsewhere": False},
                    finding("caa"),  # as stored before there was such a thing
                ],
            ),
            ("b.example",),
        ),
    ],
)
def test_names_that_may_lead_elsewhere_are_told(failure: Failure, names: tuple[str, ...]) -> None:
    assert explain(failure).elsewhere == names

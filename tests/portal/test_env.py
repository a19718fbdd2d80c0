import ssl
from pathlib import Path

import pytest

from portal import env
from tests.harness import pki


def test_text_reads_the_variable_or_the_file_it_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("X", " value ")
    assert env.text("X") == "value"
    monkeypatch.delenv("X")
    file = tmp_path / "secret"
    file.write_text("from file\n")
    monkeypatch.setenv("X_FILE", str(file))
    assert env.text("X") == "from file"
    assert env.is_set("X")


def test_naming_both_the_variable_and_its_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "1")
    monkeypatch.setenv("X_FILE", "/somewhere")
    with pytest.raises(env.EnvError, match="Both X and X_FILE"):
        env.text("X")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("X_FILE", str(file))
    with pytest.raises(env.EnvError, match="X_FILE names"):
        env.text("X")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("eighty", "must be a whole number"),
        ("0", "between 1 and 65535"),
        ("70000", "between"),
        ("80.5", "whole number"),
    ],
)
def test_a_bad_port_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch, raw: str, sentence: str) -> None:
    monkeypatch.setenv("X", raw)
    with pytest.raises(env.EnvError, match=f"X .*{sentence}"):
        env.port("X", 8000)


def test_defaults_answer_for_what_is_unset_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "")
    assert env.port("X", 8000) == 8000
    assert env.boolean("X", default=True)
    assert env.words("X") == []
    assert env.choice("X", "text", ("text", "json")) == "text"


@pytest.mark.parametrize(("raw", "value"), [("1", True), ("YES", True), ("off", False), ("0", False)])
def test_booleans(monkeypatch: pytest.MonkeyPatch, raw: str, value: bool) -> None:
    monkeypatch.setenv("X", raw)
    assert env.boolean("X") is value


def test_other_words_are_no_boolean_and_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "maybe")
    with pytest.raises(env.EnvError, match="X must be 1 or 0"):
        env.boolean("X")
    with pytest.raises(env.EnvError, match="one of text, json"):
        env.choice("X", "text", ("text", "json"))


def test_words_drop_empty_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "a, b,,c ")
    assert env.words("X") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("raw", "value"), [("", "UTC"), ("Europe/Berlin", "Europe/Berlin"), (":Asia/Tokyo", "Asia/Tokyo")]
)
def test_time_zones(monkeypatch: pytest.MonkeyPatch, raw: str, value: str) -> None:
    monkeypatch.setenv("X", raw)
    assert env.zone("X", "UTC") == value


@pytest.mark.parametrize("raw", ["Nowhere/Land", "../../etc/passwd", "\x00", "/etc/passwd"])
def test_what_is_no_time_zone(monkeypatch: pytest.MonkeyPatch, raw: str) -> None:
    monkeypatch.setattr(env, "text", lambda _name: raw)
    with pytest.raises(env.EnvError, match="X must be a time zone such as Europe/Berlin"):
        env.zone("X", "UTC")


def test_servers_are_read_and_one_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "192.0.2.53, [2001:db8::53]:5353,dns.example.com")
    assert env.servers("X") == ["192.0.2.53", "[2001:db8::53]:5353", "dns.example.com"]
    monkeypatch.setenv("X", "192.0.2.53 192.0.2.54")
    with pytest.raises(env.EnvError, match=r"^X: .* is not a server"):
        env.servers("X")


def test_certificates_come_from_a_file_or_from_the_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = pki.authority("Wurzel für alle")
    pem, der = root.pem, ssl.PEM_cert_to_DER_cert(root.pem)
    file = tmp_path / "roots"
    assert env.certificates("X") == ""
    for content in (pem.encode(), f"\ufeffÜber uns\r\n{pem}{pem}".encode(), der):
        file.write_bytes(content)
        monkeypatch.setenv("X", str(file))
        assert "-----BEGIN CERTIFICATE-----" in env.certificates("X")
    monkeypatch.setenv("X", pem)
    assert pem.strip() in env.certificates("X")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x30\x82", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe\x00"],
)
def test_a_bundle_that_cannot_be_used_names_variable_and_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "roots"
    file.write_bytes(content)
    monkeypatch.setenv("BINDERY_CA_BUNDLE", str(file))
    with pytest.raises(env.EnvError, match=f"{file}.* BINDERY_CA_BUNDLE") as caught:
        env.certificates("BINDERY_CA_BUNDLE")
    assert "PEM" in str(caught.value)


def test_a_bundle_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value in (str(tmp_path / "absent"), str(tmp_path)):
        monkeypatch.setenv("BINDERY_CA_BUNDLE", value)
        with pytest.raises(env.EnvError, match=f"BINDERY_CA_BUNDLE names {value}, which cannot be read"):
            env.certificates("BINDERY_CA_BUNDLE")


def test_addresses_are_written_with_or_without_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "0.0.0.0, [::1],::1,2001:DB8:0::1")
    assert env.addresses("X") == ["0.0.0.0", "::1", "2001:db8::1"]


@pytest.mark.parametrize("value", ["localhost", "eth0", "fe80::1%eth0", "127.0.0.1:8000", "::1,x", "300.1.1.1"])
def test_what_is_no_address_to_listen_on_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("BINDERY_HTTP_ADDRESS", value)
    with pytest.raises(env.EnvError, match="BINDERY_HTTP_ADDRESS: '"):
        env.addresses("BINDERY_HTTP_ADDRESS")


@pytest.mark.parametrize(
    ("given", "read"), [("", (1200, 60)), ("5/s", (5, 1)), ("600/h", (600, 3600)), ("0", (0, 60)), ("7", (7, 60))]
)
def test_a_rate_is_a_number_and_a_period(monkeypatch: pytest.MonkeyPatch, given: str, read: tuple[int, int]) -> None:
    monkeypatch.setenv("BINDERY_API_RATE", given)
    assert env.rate("BINDERY_API_RATE", "1200/m") == read


@pytest.mark.parametrize("given", ["many", "-1/m", "5/d", "1e3/m", "٣/m"])
def test_a_rate_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("BINDERY_API_RATE", given)
    with pytest.raises(env.EnvError, match="BINDERY_API_RATE"):
        env.rate("BINDERY_API_RATE", "1200/m")

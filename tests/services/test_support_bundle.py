"""No secret leaves: planted wherever one can be, looked for in every spelling, in bundle, page, JSON and text."""

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from certs.domain.diagnosis import Line, Look, Situation, bad, look
from certs.models import Alarm, AuditEvent, Challenge, ChallengeMethod, Channel, JobEvent, NodeDiagnosis, Order
from certs.services import diagnoses
from certs.services.links import setup_link_make
from certs.services.secrets import ring, secret_seal
from certs.services.support_bundle import TABLES, bundle_write, support_bundle
from tests import stock
from tests.commands.running import run
from tests.harness import pki

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

SECRETS = {
    "proxy password": "pr0xy-Pa55-planted",
    "database password": "d4tabase-planted",
    "secret of a file": "f1le-secret-planted",
    "smtp password": "smtp-Pa55-planted",
    "hook token": "h00k-token-planted-XYZ",
    "dns credential": "dns-cr3dential-planted",
    "eab key": "eab-hm4c-planted",
    "session": "sess10nplantedkey",
    "challenge token": "ch4llenge-token-planted-abcdefghij",
    "audit secret": "aud1t-planted-secret",
    "bearer": "b3arer-planted",
}
PEOPLE = {"administrator": "ann.planted", "contact": "carl.planted", "colleague": "dora.planted"}


def spelt(secret: str) -> Iterator[str]:
    """Not by the code that is tested."""
    yield secret
    yield quote(secret)
    yield secret.encode().hex()
    for before in range(3):
        encoded = base64.b64encode(b"_" * before + secret.encode() + b"__")
        yield encoded[4 if before else 0 : -4].decode()


@look("settings", database=False)
def careless(situation: Situation) -> Iterator[Line]:
    """Whether a check may quote what it was given."""
    words = "postgresql://u:d4tabase-planted@db/x and http://u:pr0xy-Pa55-planted@proxy:1 and f1le-secret-planted"
    yield bad("careless", words, "see /setup/abcdefghijklmnopqrstuvwxyz/", evidence=f"ring {_ring()} {_ring(hex=True)}")


def _ring(*, hex: bool = False) -> str:
    key = next(iter(ring().keys.values()))
    return key.hex() if hex else base64.b64encode(key).decode()


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings) -> dict[str, str]:
    """Everything that must not be seen, by what it is."""
    file = tmp_path / "token"
    file.write_text(SECRETS["secret of a file"])
    monkeypatch.setenv("HTTPS_PROXY", f"http://u:{SECRETS['proxy password']}@127.0.0.1:9")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{SECRETS['database password']}@db/x")
    monkeypatch.setenv("BINDERY_API_TOKEN_FILE", str(file))
    ann = stock.administrator(f"{PEOPLE['administrator']}@example.com")
    account = stock.account()
    type(account).objects.filter(pk=account.pk).update(
        email=f"{PEOPLE['contact']}@example.com",
        eab_kid=SECRETS["eab key"],
        eab_sealed=secret_seal("account-eab", account.pk, SECRETS["eab key"].encode()),
    )
    pair = pki.leaf(stock.CA, ["own.example"])
    stock.uploaded(pair=pair)
    method = ChallengeMethod.objects.create(
        kind="dns01_provider",
        name=SECRETS["dns credential"],
        options={"user": SECRETS["dns credential"]},
        sealed=secret_seal("challenge-method", uuid4(), SECRETS["dns credential"].encode()),
        test_words=f"The provider answers: api_key={SECRETS['dns credential']} is wrong",
    )
    channel = Channel.objects.create(
        kind="webhook",
        name="Chat",
        options={"url": f"https://hooks.example/services/{SECRETS['hook token']}"},
        sealed=secret_seal("channel", uuid4(), SECRETS["smtp password"].encode()),
        last_trouble=f"POST https://hooks.example/x/{SECRETS['hook token']}: 403; password={SECRETS['smtp password']}",
        last_answer=SECRETS["hook token"],
    )
    certificate = stock.issued("shop.example.com")
    type(certificate).objects.filter(pk=certificate.pk).update(auto_renew=False, account=None)
    token = SECRETS["challenge token"]
    order = Order.objects.create(
        certificate=certificate,
        account=account,
        names=["shop.example.com"],
        reason="asked",
        error_message=f"http://shop.example.com/.well-known/acme-challenge/{token}: 404. {pair.key_pem}",
        error_advice=f"Authorization: Bearer {SECRETS['bearer']}",
        evidence=[{"url": f"http://shop.example.com/.well-known/acme-challenge/{token}"}],
    )
    Challenge.objects.create(
        token=token, order=order, name="shop.example.com", key_authorization=f"{token}.x", authorization_url="https://x"
    )
    link = setup_link_planted(ann.email)
    for message in (
        f"asked http://shop.example.com/.well-known/acme-challenge/{token}",
        f"key authorization {token}.{'A1b2' * 10}",
        f"the link is https://portal.example/setup/{link}/",
        f"mail to {PEOPLE['colleague']}@example.com was refused",
        pair.key_pem,
    ):
        JobEvent.objects.create(job=order.pk, message=message, data={"token": token})
    AuditEvent.objects.create(
        actor=ann,
        actor_text=ann.email,
        action="channel.change",
        target=f"{PEOPLE['contact']}@example.com",
        before={"url": SECRETS["audit secret"]},
        after={"url": SECRETS["audit secret"]},
    )
    Alarm.objects.create(
        key=f"directory:https://ca.example/{SECRETS['hook token']}",
        subject=f"{PEOPLE['colleague']}@example.com",
        happened=f"https://hooks.example/{SECRETS['hook token']} does not answer",
        tried=f"token: {SECRETS['audit secret']}",
    )
    NodeDiagnosis.objects.create(node="elsewhere", lines=[{"sentence": SECRETS["audit secret"]}])
    Session.objects.create(
        session_key=SECRETS["session"],
        session_data=SECRETS["session"],
        expire_date=timezone.now() + timezone.timedelta(1),
    )
    monkeypatch.setattr(diagnoses, "declared", lambda *_: (*_harmless(), careless))
    sealed = [method.sealed, channel.sealed, json.loads(method.sealed)["wrap"]]
    return {
        **SECRETS,
        **PEOPLE,
        "ring": _ring(),
        "ring in hex": _ring(hex=True),
        "secret key": settings.SECRET_KEY,
        "link": link,
        "private key": "".join(pair.key_pem.splitlines()[1:-1])[20:60],
        **{f"sealed {number}": text[:60] for number, text in enumerate(sealed)},
    }


def setup_link_planted(email: str) -> str:
    """As it would be while there is no administrator."""
    from certs.models import User

    User.objects.filter(email=email).update(is_superuser=False)
    link = setup_link_make()
    User.objects.filter(email=email).update(is_superuser=True)
    return link


_LOOKS = diagnoses.declared(diagnoses.PACKAGE, Look)


def _harmless() -> list[Look]:
    """Those that ask nobody outside."""
    return [each for each in _LOOKS if each.topic not in {"names", "public-url", "cas", "network"}]


def found_in(text: str, planted: dict[str, str]) -> list[str]:
    return [f"{what}: {form}" for what, secret in planted.items() for form in spelt(secret) if form in text]


def test_the_plants_are_found_where_they_are(planted: dict[str, str]) -> None:
    """Else the tests below prove nothing."""
    raw = " ".join(row.message for row in JobEvent.objects.all()) + str(careless(Situation("n", Path("/"), 1)))
    assert {one.split(":")[0] for one in found_in(raw, planted)} >= {"challenge token", "link", "private key", "ring"}


def test_no_secret_is_in_the_bundle(planted: dict[str, str]) -> None:
    with zipfile.ZipFile(io.BytesIO(support_bundle())) as bundle:
        content = {name: bundle.read(name).decode() for name in bundle.namelist()}
    for name, text in content.items():
        assert found_in(name + text, planted) == [], name
        assert "@example.com" not in text.replace("•••@example.com", ""), name
    assert set(content) >= {
        "doctor.json",
        "versions.json",
        "settings.json",
        *(f"records/{name}.json" for name in TABLES),
    }
    assert "shop.example.com" in content["records/certificates.json"]
    assert "acme-challenge" in content["records/jobs.json"]
    assert json.loads(content["settings.json"])["proxies"] == {"HTTPS_PROXY": "http://127.0.0.1:9"}
    assert "DATABASE_URL" in json.loads(content["settings.json"])["environment"]
    assert json.loads(content["doctor.json"])["result"] == "bad"


def test_no_secret_is_on_the_page_or_told_by_the_doctor(planted: dict[str, str]) -> None:
    from certs.models import User
    from portal.middleware import SecureCookies

    browser = Client()
    browser.force_login(User.objects.get(email__startswith=PEOPLE["administrator"]))
    for name in list(browser.cookies):
        browser.cookies[SecureCookies.PREFIX + name] = browser.cookies[name].value
    page = browser.get("/configuration/diagnosis/?whole").content.decode()
    assert "careless" in page
    # Her own menu, and the banner that tells every page's reader of the open alarm.
    own = {what: secret for what, secret in planted.items() if what not in {"administrator", "colleague"}}
    assert found_in(page, own) == []
    for words in (["doctor"], ["doctor", "--json"], ["doctor", "-v", "2"]):
        ran = run(*words)
        assert "careless" in ran.out
        assert found_in(ran.out + ran.err, planted) == []


def test_every_column_of_a_bundle_is_there_and_every_table_can_be_read() -> None:
    for name, table in TABLES.items():
        list(table.model._default_manager.values(*table.facts.split(), *table.texts.split())[:1])
        assert not {"sealed", "email", "token", "password"} & {*table.facts.split(), *table.texts.split()}, name


def test_a_bundle_overwrites_nothing_and_is_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnoses, "declared", lambda *_: ())
    file = tmp_path / "out.zip"
    ran = run("doctor", "--bundle", file)
    assert ran.code == 0
    assert zipfile.is_zipfile(file)
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert run("doctor", "--bundle", file).code == 4
    link = tmp_path / "link.zip"
    link.symlink_to(tmp_path / "elsewhere")
    assert run("doctor", "--bundle", link).code == 4
    assert run("doctor", "--bundle", tmp_path / "no" / "where.zip").code == 4
    assert file.read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(Exception, match="cannot be written"):
        bundle_write(file, b"")


def test_without_a_database_the_bundle_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    from certs.services import support_bundle as module

    def away(*_: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(module, "_rows", away)
    monkeypatch.setattr(module, "_migrations", away)
    with zipfile.ZipFile(io.BytesIO(support_bundle([]))) as bundle:
        assert json.loads(bundle.read("records/jobs.json")) == {"error": "the database cannot be used"}
        assert json.loads(bundle.read("versions.json"))["bindery"]


def test_it_is_written_down_who_took_a_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    from portal.middleware import SecureCookies

    monkeypatch.setattr(diagnoses, "declared", lambda *_: ())
    browser = Client()
    browser.force_login(stock.administrator())
    for name in list(browser.cookies):
        browser.cookies[SecureCookies.PREFIX + name] = browser.cookies[name].value
    response = browser.post("/configuration/diagnosis/bundle/")
    assert response["Content-Type"] == "application/zip"
    assert AuditEvent.objects.filter(action="support-bundle.make").exists()

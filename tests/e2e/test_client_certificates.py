"""Client certificates on the real listener: trial, log-in, revocation and the way back, with curl and with sessions."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from tests.harness import pki
from tests.harness.person import PASSWORD
from tests.harness.portal import Portal
from tests.harness.ports import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore:Unverified HTTPS request")]

EMAIL = "alice@example.com"
LOGIN, BY_CERTIFICATE, TRUST, HOME = "/accounts/login/", "/accounts/certificate/", "/configuration/trust/", "/"
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
ROOT = pki.authority("People CA")


class Browser:
    """One person's cookies; each visit is a connection of its own, with a client certificate or without."""

    def __init__(self, portal: Portal, folder: Path) -> None:
        self.portal = portal
        self.folder = folder
        self.cookies: dict[str, str] = {}

    def ask(self, path: str, *, shows: pki.Pair | None = None) -> requests.Response:
        with self._session(shows) as session:
            return session.get(self.portal.https_url + path, allow_redirects=False)

    def post(
        self, path: str, data: dict[str, str] | None = None, *, of: str = TRUST, shows: pki.Pair | None = None
    ) -> requests.Response:
        """Send a form of the page `of`."""
        url = self.portal.https_url
        with self._session(shows) as session:
            token = TOKEN.search(session.get(url + of).text)
            assert token, f"no form on {of}"
            given = {**(data or {}), "csrfmiddlewaretoken": token[1]}
            return session.post(url + path, given, headers={"Referer": url + of}, allow_redirects=False)

    @contextmanager
    def _session(self, shows: pki.Pair | None) -> Iterator[requests.Session]:
        with requests.Session() as session:
            session.verify, session.trust_env = False, False
            session.cookies.update(self.cookies)
            session.cert = self._files(shows) if shows else None
            yield session
            self.cookies = session.cookies.get_dict()

    def _files(self, pair: pki.Pair) -> tuple[str, str]:
        certificate, key = self.folder / f"{pair.fingerprint}.pem", self.folder / f"{pair.fingerprint}.key"
        certificate.write_text(pair.pem)
        key.write_text(pair.key_pem)
        return str(certificate), str(key)


class Program(Browser):
    """One with an API token."""

    def __init__(self, portal: Portal, folder: Path, secret: str) -> None:
        super().__init__(portal, folder)
        self.headers = {"Authorization": f"Bearer {secret}"}

    def require(self, *, shows: pki.Pair | None) -> requests.Response:
        url = f"{self.portal.https_url}/api/client-auth"
        with self._session(shows) as session:
            return session.patch(url, json={"mode": "required"}, headers=self.headers)


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    with Portal() as running:
        running.hold_schedule()  # nothing but the serving processes themselves ends a trial
        running.run(
            "from certs.models import User\n"
            "from certs.services.certificates import certificate_take\n"
            "from certs.services.trusted import trusted_set\n"
            "from certs.domain.pem import Chain, certificates_read\n"
            f"User.objects.create_superuser({EMAIL!r}, {PASSWORD!r})\n"
            f"chain = Chain(certificates_read({ROOT.pem!r}.encode())[0])\n"
            "ca, _ = certificate_take(chain, None, actor='test')\n"
            "trusted_set(ca, clients=True, log_in=True, actor='test')"
        )
        yield running


@pytest.fixture(scope="module")
def mine() -> pki.Pair:
    return pki.leaf(ROOT, [EMAIL])


def get_in(portal: Portal) -> bool:
    """Whether clients without a certificate get an answer, whichever process takes them."""
    return all(_gets_in(portal) for _ in range(6))


def _gets_in(portal: Portal) -> bool:
    try:
        return portal.get("/healthz", scheme="https").status_code == 200
    except requests.RequestException:
        return False


def all_follow(portal: Portal) -> bool:
    """Whether every serving process has what was last changed."""
    (wanted,) = portal.rows("SELECT generation FROM certs_portalstate")
    return all(each == wanted for each in portal.rows("SELECT generation FROM certs_nodeprocess"))


def wait_for_all(portal: Portal) -> None:
    wait_until(lambda: all_follow(portal), timeout=8, what="every process to follow")


def test_from_off_to_required_and_back(portal: Portal, mine: pki.Pair, tmp_path: Path) -> None:
    alice = Browser(portal, tmp_path)
    stranger = pki.leaf(pki.authority("Stranger"), [EMAIL])
    assert alice.post(LOGIN, {"login": EMAIL, "password": PASSWORD}, of=LOGIN).status_code == 302
    assert "shows no client certificate" in alice.ask(TRUST, shows=mine).text  # nobody is asked yet

    # Optional, kept from an ordinary connection.
    assert "Choose Optional first" in alice.post(f"{TRUST}clients/", {"mode": "required"}).text
    assert alice.post(f"{TRUST}clients/", {"mode": "want"}).status_code == 302
    wait_for_all(portal)
    assert "shows a client certificate" in alice.ask(TRUST, shows=mine).text
    assert "Client certificates on trial" in alice.ask(TRUST).text
    assert alice.post(f"{TRUST}confirm/").status_code == 302
    assert "Client certificates on trial" not in alice.ask(TRUST).text
    with pytest.raises(requests.RequestException):
        alice.ask(TRUST, shows=stranger)
    assert get_in(portal)

    # Logged in by it, on connections that show it only.
    by_certificate = Browser(portal, tmp_path)
    page = by_certificate.ask(LOGIN, shows=mine)
    assert f"Your browser shows a client certificate for {EMAIL}" in page.text
    assert by_certificate.post(BY_CERTIFICATE, of=LOGIN, shows=mine).headers["Location"] == HOME
    assert by_certificate.ask(TRUST, shows=mine).status_code == 200
    kept = dict(by_certificate.cookies)
    again = pki.leaf(ROOT, [EMAIL])  # the same person's other certificate is another
    for shows in (None, again):
        by_certificate.cookies = dict(kept)
        assert by_certificate.ask(TRUST, shows=shows).status_code == 302
    by_certificate.cookies = dict(kept)
    assert by_certificate.ask(TRUST, shows=mine).status_code == 302  # that log-out was for good

    # Required, by a program that gets in itself: on trial, and nobody keeps it.
    make = "from certs.services.tokens import token_create\nresult = token_create('ci', 'admin', actor='test')[1]"
    program = Program(portal, tmp_path, portal.run(make))
    assert program.require(shows=None).json()["code"] == "arrival"
    assert program.require(shows=mine).json()["returnsTo"] == "want"
    wait_for_all(portal)
    assert not _gets_in(portal)
    curl = [
        *("curl", "-sk", "--max-time", "10", f"{portal.https_url}/healthz"),
        *("--cert", str(tmp_path / f"{mine.fingerprint}.pem"), "--key", str(tmp_path / f"{mine.fingerprint}.key")),
    ]
    assert subprocess.run(curl, check=True, capture_output=True).stdout
    assert subprocess.run(curl[:5], check=False, capture_output=True).returncode != 0
    portal.move_clock(timedelta(minutes=4))  # nothing changes in the database
    wait_until(lambda: get_in(portal), timeout=8, what="the end of the trial")

    # Kept, and off by the shell.
    assert alice.post(f"{TRUST}clients/", {"mode": "required"}, shows=mine).status_code == 302
    wait_for_all(portal)
    assert not _gets_in(portal)
    assert alice.post(f"{TRUST}confirm/", shows=mine).status_code == 302
    assert portal.manage("break_glass").returncode == 0
    wait_for_all(portal)
    assert get_in(portal)


def test_one_that_was_revoked_gets_nothing(portal: Portal, tmp_path: Path) -> None:
    pair = pki.leaf(ROOT, [EMAIL])
    portal.run(
        "from certs.models import PortalState\n"
        "from certs.services.portal_state import generation_bump\n"
        "PortalState.objects.update(client_auth='want', client_auth_confirm_by=None)\n"
        "generation_bump()"
    )
    browser = Browser(portal, tmp_path)
    wait_for_all(portal)
    assert browser.post(BY_CERTIFICATE, of=LOGIN, shows=pair).headers["Location"] == HOME
    assert browser.ask(TRUST, shows=pair).status_code == 200
    portal.run(
        "from certs.models import Authority, Certificate, IssuedCertificate\n"
        "from portal import clock\n"
        "ours = Authority.objects.create(certificate=Certificate.objects.get(name='People CA'))\n"
        f"IssuedCertificate.objects.create(authority=ours, serial='{pair.certificate.serial_number:x}', "
        "not_after=clock.now(), revoked_at=clock.now())"
    )
    wait_until(  # each process has known it for good for some seconds
        lambda: all(browser.ask(LOGIN, shows=pair).status_code == 403 for _ in range(6)),
        timeout=15,
        what="the end of its welcome",
    )
    assert "was revoked" in browser.ask(LOGIN, shows=pair).text
    assert browser.ask(LOGIN).status_code == 200  # without it the person gets in as ever

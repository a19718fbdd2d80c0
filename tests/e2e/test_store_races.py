"""Several processes at the same certificates, each doing what people, programs and the sweep do, in any order: no
certificate is there twice, key and certificate always fit, and what is bound is there. On SQLite and PostgreSQL;
tests/services/test_races.py has the single steps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certs.domain.envelope import KeyRing
from tests.harness.need import need
from tests.harness.portal import Portal
from tests.harness.postgres import Postgres

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

_RACE = """
import os, random, time, traceback
from datetime import timedelta
from collections import Counter
from certs.domain.bundle import GivenFile
from certs.domain.csr import Subject, csr_make, csr_read
from certs.domain.errors import BinderyError
from certs.domain.keys import key_generate, spki_sha256
from certs.domain.pem import Chain, certificates_read, pair_check
from certs.domain.wishes import Wish
from certs.models import Authority, Binding, Certificate, CertificateVersion, IssuedCertificate
from certs.services.authorities import authority_create, authority_retire
from certs.services.issued import authority_issue
from certs.services.bindings import binding_remove, binding_set
from certs.services.certificates import certificate_take
from certs.services.deletion import KEPT, certificate_delete, certificate_restore, certificates_prune
from certs.services.keys import key_import, key_is_here, key_open
from certs.services.pki import pki_base_url_confirm
from certs.services.posting import certificate_put, material_read
from certs.services.reissue import certificate_reissue
from certs.services.revocations import version_release, version_revoke
from certs.services.signing_requests import request_answer, request_create, request_renew, request_withdraw
from certs.services.trusted import trusted_set
from certs.services.version_history import version_use
from django.db import connections
from portal import clock
from tests.harness import pki

pki_base_url_confirm("http://pki.example.com", actor="test")
root = authority_create(Wish(profile="root", subject="CN=Race Root", days=3650), actor="test")
outside = pki.authority("Outside CA")
pairs = [pki.leaf(outside, [f"up{number % 3}.example"]) for number in range(24)]
cas = [pki.authority(f"A CA {number}") for number in range(4)]
shared = [authority_issue(root, Wish(hosts=(f"own{n}.example",), days=90), actor="test").pk for n in range(3)]
waiting = request_create(hosts=["asked.example"], actor="test").pk

requests = [csr_read(csr_make(key_generate("ec-p256"), [f"csr{n}.example"], Subject()).encode()) for n in range(40)]

def some(dice, **where):
    return dice.choice(list(Certificate.objects.filter(**where).select_related("current", "key")) or [None])

def take(dice):
    pair = dice.choice(pairs + cas)
    certificate_take(Chain(pair.certificate), key_import(pair.key), actor="test")

def put(dice):
    row = some(dice, source="uploaded", deleted_at=None, own_authority=None)
    pair = pki.leaf(outside, row.names or ["put.example"])
    given = {"chain": pair.pem, "privateKey": pair.key_pem}
    certificate_put(row, {}, *material_read(given), actor="test")

def bind(dice):
    row = some(dice, deleted_at=None)
    binding_set(dice.choice([*row.names, ""]), row, actor="test")

def unbind(dice):
    binding_remove(dice.choice(list(Binding.objects.values_list("server_name", flat=True))), actor="test")

def delete(dice):
    certificate_delete(some(dice, deleted_at=None), actor="test")

def restore(dice):
    certificate_restore(some(dice, deleted_at__isnull=False), actor="test")

def prune(dice):
    rows = Certificate.objects.exclude(deleted_at=None).exclude(pk__in=[waiting, *shared])
    rows.filter(pk=dice.choice(list(rows)).pk).update(deleted_at=clock.now() - KEPT - KEPT)
    certificates_prune(clock.now())

def back(dice):
    row = some(dice, deleted_at=None, current__isnull=False)
    version_use(row, dice.choice(list(row.versions.all())), actor="test")

def renew(dice):
    certificate_reissue(Certificate.objects.get(pk=dice.choice(shared)), actor="test")

def revoke(dice):
    version = Certificate.objects.select_related("current").get(pk=dice.choice(shared)).current
    version_revoke(version, dice.choice(["superseded", "certificateHold"]), actor="test")

def release(dice):
    version = Certificate.objects.select_related("current").get(pk=dice.choice(shared)).current
    version_release(version, actor="test")

def trust(dice):
    row = some(dice, deleted_at=None, current__is_ca=True)
    trusted_set(row, clients=dice.random() < 0.5, outbound=True, actor="test")

def distrust(dice):
    trusted_set(some(dice, current__is_ca=True), actor="test")

def ask(dice):
    row = Certificate.objects.get(pk=waiting)
    request_withdraw(row, actor="test") if dice.random() < 0.2 else request_renew(row, key_type="ec-p256", actor="test")

def answer(dice):
    row = Certificate.objects.select_related("key").get(pk=waiting)
    key = csr_read(row.request_pem.encode()).public_key
    made = pki.certificate(outside, ["asked.example"], key, days=90, start=clock.now() - timedelta(minutes=5))
    for _ in range(dice.choice([1, 2])):
        row = Certificate.objects.select_related("key").get(pk=waiting) if dice.random() < 0.3 else row
        request_answer(row, [GivenFile("", pki.Pair(made, outside.key).pem.encode())], actor="test")

def issue(dice):
    authority_issue(root, Wish(days=9), csr=requests[int(time.time() / 2) % 40], actor="test", auto_renew=False)

ACTS = [issue, issue, take, take, put, put, bind, bind, unbind, delete, delete, restore, prune, back, back, renew,
        revoke, release, trust, distrust, ask, answer]

def work(number):
    dice, until = random.Random(number), time.monotonic() + SECONDS
    while time.monotonic() < until:
        act = dice.choice(ACTS)
        word = "done"
        try:
            act(dice)
        except (BinderyError, Certificate.DoesNotExist, CertificateVersion.DoesNotExist) as error:
            word = f"refused: {error}"
        except (IndexError, AttributeError, TypeError) as error:  # nothing there to do it to
            known = "NoneType" in str(error) or "empty sequence" in str(error)
            word = "nothing" if known else traceback.format_exc()
        except Exception:
            word = traceback.format_exc()
        with open("FILE", "a") as file:
            file.write(repr((act.__name__, word)) + "\\n")

connections.close_all()
children = []
for number in range(PROCESSES):
    child = os.fork()
    if child == 0:
        try:
            work(number)
        finally:
            os._exit(0)
    children.append(child)
ends = [os.waitpid(child, 0)[1] for child in children]

def fits(version):
    (leaf, *_) = certificates_read(version.leaf_pem.encode())
    if version.key is not None and key_is_here(version.key):
        pair_check(leaf, key_open(version.key))
    return version.key is None or spki_sha256(leaf.public_key()) == version.key.spki_sha256

came = Counter(eval(line) for line in open("FILE"))
faults = {word for (_, word), _ in came.items() if not word.startswith(("done", "refused", "nothing"))}
prints = CertificateVersion.objects.filter(current_of__deleted_at=None, current_of__isnull=False)
twice = [p for p, n in Counter(prints.values_list("fingerprint_sha256", flat=True)).items() if n > 1]
request = Certificate.objects.select_related("key", "current").get(pk=waiting)
result = {
    "faults": sorted(faults),
    "done": {name: n for (name, word), n in sorted(came.items()) if word == "done"},
    "refused": {f"{name} {word[:100]}": n for (name, word), n in sorted(came.items()) if word[:7] == "refused"},
    "twice": twice,
    "fit": all(map(fits, CertificateVersion.objects.select_related("key"))),
    "own": all(row.current.certificate_id == row.pk for row in Certificate.objects.exclude(current=None)),
    "in use": CertificateVersion.objects.filter(current_of__isnull=False, retired_at__isnull=False).count(),
    "left": CertificateVersion.objects.filter(current_of=None, retired_at=None).count(),
    "bound to nothing": Binding.objects.exclude(certificate__deleted_at=None).count(),
    "trusted and gone": Certificate.objects.filter(trusted__isnull=False, deleted_at__isnull=False).count(),
    "asked with its key": not request.request_pem
    or (request.key is not None and csr_read(request.request_pem.encode()).spki_sha256 == request.key.spki_sha256),
    "serials": IssuedCertificate.objects.count() - IssuedCertificate.objects.values("serial").distinct().count(),
    "unregistered": sum(
        not IssuedCertificate.objects.filter(serial=version.serial).exists()
        for version in CertificateVersion.objects.filter(issuer="CN=Race Root", self_signed=False)
    ),
}
"""


def race(portal: Portal, file: Path, processes: int, seconds: int) -> None:
    code = _RACE.replace("PROCESSES", str(processes)).replace("SECONDS", str(seconds)).replace("FILE", str(file))
    seen = portal.run(code)
    print(seen["done"], seen["refused"])
    assert seen["faults"] == [], "\n".join(seen["faults"])
    assert len(seen["done"]) >= 12, seen["done"]
    assert seen["fit"]
    assert seen["own"]
    assert seen["asked with its key"]
    none = {"twice": [], "in use": 0, "left": 0, "bound to nothing": 0, "trusted and gone": 0}
    assert {name: seen[name] for name in none} == none
    assert (seen["serials"], seen["unregistered"]) == (0, 0)


def test_on_sqlite(tmp_path: Path) -> None:
    portal = Portal()
    try:
        race(portal, tmp_path / "acts.txt", 4, 40)
    finally:
        portal._end(failed=False)


@pytest.fixture
def server() -> Iterator[Postgres]:
    need("postgresql")
    with Postgres() as running:
        yield running


def test_on_postgresql(server: Postgres, tmp_path: Path) -> None:
    home = tmp_path / "node"
    home.mkdir()
    secrets = {"BINDERY_SECRET_KEY": "x" * 50, "BINDERY_KEY_RING": KeyRing("test", {"test": b"0" * 32}).to_json()}
    portal = Portal(home=home, environment={"DATABASE_URL": server.url, **secrets})
    portal.manage("migrate", "--verbosity", "0")
    try:
        race(portal, tmp_path / "acts.txt", 6, 60)
    except AssertionError as error:
        error.add_note("\n".join(line for line in server.log.splitlines() if "LOG:" not in line)[-6000:])
        raise
    finally:
        portal._end(failed=False)

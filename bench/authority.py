"""Our own CA: how fast it signs, and how fast it issues into the store.

    python -m bench.authority [COUNT]

Signing is of one core: a new P-256 key, the certificate built from a wish and signed with our key, PEM of it; beside it
in the same run Python's `cryptography` alone with the fewest extensions that a server certificate needs (what the
library allows), and what pkilint adds. Then COUNT (10,000) certificates are issued into a fresh SQLite database
(DATABASE_URL for another) through `authority_issue_many`: each weighed, linted, registered, signed, stored. The
settings are the real ones, on a throw-away data directory.
"""

# Django is set up only once the data directory is known.
# ruff: noqa: PLC0415

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

AIM_SIGN, AIM_STORE = 4000.0, 400.0
ROUNDS, EACH = 5, 2000


def main(count: int) -> int:
    with tempfile.TemporaryDirectory(prefix="bindery-bench-") as home:
        os.environ |= {
            "BINDERY_HOME": home,
            "BINDERY_LOG_LEVEL": "warning",
            "DJANGO_SETTINGS_MODULE": "portal.settings",
        }
        from portal import home as own

        own.prepare()
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        signed = signing()
        stored = storing(count)
    return int(signed < AIM_SIGN or stored < AIM_STORE)


def signing() -> float:
    """Certificates a second of CPU, ours; the library alone and the lint are printed beside it."""
    from certs.domain.issuer import Issuer
    from certs.domain.keys import key_generate
    from certs.domain.lint import lint
    from certs.domain.pem import certificate_pem
    from certs.domain.plans import certificate_plan
    from certs.domain.profiles import BUILT_IN
    from certs.domain.signing import certificate_build, certificate_sign, serial_new
    from certs.domain.wishes import Wish

    now, key = datetime.now(UTC), key_generate("ec-p256")
    root = Wish(profile="root", subject="CN=Bench Root", days=3650)
    plan = certificate_plan(root, BUILT_IN["root"], None, now=now)
    own = certificate_build(plan, key.public_key(), None, serial=serial_new())
    base = "http://pki.example.com"
    issuer = Issuer(certificate_sign(own, key, root), key, (), f"{base}/a.cer", f"{base}/a.crl", f"{base}/ocsp")

    def ours(number: int) -> Any:
        wish = Wish(hosts=(f"host{number}.example.com",))
        leaf_key = key_generate("ec-p256")
        made = certificate_plan(wish, BUILT_IN["server"], issuer, now=now)
        builder = certificate_build(made, leaf_key.public_key(), issuer, serial=serial_new())  # type: ignore[arg-type]
        certificate = certificate_sign(builder, key, wish)
        certificate_pem(certificate)
        return certificate

    def library(number: int) -> Any:
        return _bare(number, key, now)

    rates: dict[str, list[float]] = {"ours": [], "library alone": []}
    for _ in range(ROUNDS):  # by turns, so that both meet the same machine
        for name, sign in (("ours", ours), ("library alone", library)):
            rates[name].append(EACH / _cpu(sign, EACH))
    sample = [ours(number) for number in range(200)]
    lint(sample[0])
    milliseconds = _cpu(lambda number: lint(sample[number]), len(sample)) / len(sample) * 1000
    for name, found in rates.items():
        print(f"sign, {name}: {statistics.median(found):,.0f}/s of one core")
    print(f"lint: {milliseconds:.2f} ms CPU each")
    print(f"aim: sign {AIM_SIGN:,.0f}/s")
    return statistics.median(rates["ours"])


def storing(count: int) -> float:
    from django.db import connection

    from certs.domain.wishes import Wish
    from certs.models import Certificate, IssuedCertificate
    from certs.services.authorities import authority_create
    from certs.services.issued import Item, authority_issue_many
    from certs.services.pki import pki_base_url_confirm

    pki_base_url_confirm("http://pki.example.com", actor="bench")
    authority = authority_create(Wish(subject="CN=Bench", days=3650, key_type="ec-p256"), actor="bench")
    items = (Item(Wish(hosts=(f"host{number}.example.com",))) for number in range(count))
    began, cpu = time.perf_counter(), time.process_time()
    failed = sum(1 for one in authority_issue_many(authority, items, actor="bench") if one.certificate is None)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    there = Certificate.objects.filter(authority=authority, wish__profile="server").count()
    registered = IssuedCertificate.objects.filter(authority=authority).count()
    if failed or there != count or registered < count:
        print(f"{failed} failed, {there} stored, {registered} registered")
        return 0.0
    print(f"issue {count:,} into {connection.vendor}: {count / seconds:,.0f}/s, {cpu / count * 1000:.2f} ms CPU each")
    print(f"aim: {AIM_STORE:,.0f}/s, every one linted")
    return count / seconds


def _bare(number: int, key: Any, now: datetime) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    leaf, name = ec.generate_private_key(ec.SECP256R1()), f"host{number}.example.com"
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bench Root")]))
        .public_key(leaf.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    made.public_bytes(Encoding.PEM)
    return made


def _cpu(work: Callable[[int], Any], count: int) -> float:
    began = time.process_time()
    for number in range(count):
        work(number)
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 10_000))

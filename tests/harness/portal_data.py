"""Certificates and bindings in the database of a portal that runs elsewhere, through a child process on its home.

`PortalData(home).call("bind", "a.test")` runs the function of that name below in the child and returns what it returns.
"""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.harness.web import ROOT, python_env


class PortalData:
    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.portal_data"],
            cwd=ROOT,
            env=python_env(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, command: str, *args: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([command, *args]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{command} failed; see standard error")
        return json.loads(answer)

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> "PortalData":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main() -> None:
    import django

    django.setup()
    from certs.domain.keys import key_generate
    from certs.models import Binding, Listener, NodeProcess, PrivateKey
    from certs.services import served, serving
    from certs.services.bindings import binding_set
    from certs.services.certificates import certificate_import
    from certs.services.keys import key_import
    from certs.services.nodes import node_name
    from certs.services.portal_state import generation_bump, generation_wanted
    from tests.harness import pki

    def bind(server_name: str, name: str = "") -> str:
        """An uploaded certificate for the name, bound to it; "" binds the default."""
        pair = pki.leaf(None, [name or server_name or "default.test"])
        certificate = certificate_import(chain=pair.pem.encode(), key=pair.key_pem.encode(), actor="test")
        binding_set(server_name, certificate, actor="test")
        return pair.fingerprint

    def renew(server_name: str) -> str:
        """Another version of what is bound there."""
        certificate = Binding.objects.get(server_name=server_name).certificate
        pair = pki.leaf(None, certificate.names)
        certificate_import(chain=pair.pem.encode(), key=pair.key_pem.encode(), actor="test", into=certificate)
        return pair.fingerprint

    def wait(server_name: str, timeout: float) -> dict[str, Any]:
        result = served.served_await(Binding.objects.get(server_name=server_name).certificate, timeout=timeout)
        return {"ok": result.ok, "detail": result.detail, "fingerprint": result.fingerprint}

    def spoil(server_name: str) -> None:
        """Give the bound version a key that does not fit."""
        version = Binding.objects.get(server_name=server_name).certificate.current
        assert version is not None
        version.key = key_import(key_generate("ec-p256"))
        version.save()
        generation_bump()

    def mend(server_name: str) -> None:
        version = Binding.objects.get(server_name=server_name).certificate.current
        assert version is not None
        from certs.domain.keys import spki_sha256
        from certs.domain.pem import certificates_read

        wanted = spki_sha256(certificates_read(version.leaf_pem.encode())[0].public_key())
        version.key = PrivateKey.objects.get(spki_sha256=wanted)
        version.save()
        generation_bump()

    def listen(port: int) -> None:
        """Where served_await asks, as the supervisor notes it."""
        Listener.objects.create(node=node_name(), protocol="https", addresses=["127.0.0.1"], port=port)

    def rows() -> list[dict[str, Any]]:
        return list(NodeProcess.objects.values("pid", "generation", "error", "fingerprints"))

    def generation() -> int:
        return generation_wanted()

    def placeholder() -> str:
        current = serving.placeholder_ensure().current
        assert current is not None
        return current.fingerprint_sha256

    commands = {
        each.__name__: each
        for each in (
            bind,
            renew,
            wait,
            spoil,
            mend,
            listen,
            rows,
            generation,
            placeholder,
            order,
            orders,
            renewals,
            rebind,
            confirm,
            lapse,
            challenge,
            challenge_end,
            plan,
        )
    }
    for line in sys.stdin:
        command, *args = json.loads(line)
        print(json.dumps(commands[command](*args)), flush=True)


def order(directory_url: str, bundle_file: str, name: str, bind: bool = False) -> str:
    """An order for a new certificate, for the portal's own workers; its id as SQLite writes it."""
    return str(_order(_account(directory_url, bundle_file), name, bind=bind).hex)


def orders(directory_url: str, bundle_file: str, names: list[str]) -> None:
    """One for each of the names."""
    account = _account(directory_url, bundle_file)
    for name in names:
        _order(account, name)


def renewals() -> int:
    """Of every certificate that comes from a CA; returns how many these are."""
    from certs.models import Certificate
    from certs.services.orders import order_create

    rows = list(Certificate.objects.filter(source=Certificate.Source.ACME))
    for row in rows:
        order_create(row, reason="forced", actor="test")
    return len(rows)


def _account(directory_url: str, bundle_file: str) -> Any:
    from certs.services.accounts import account_get_or_create

    return account_get_or_create(
        directory_url=directory_url,
        email="",
        ca_bundle=Path(bundle_file).read_text(),
        allow_private=True,
        terms_url="data:text/plain,Do%20what%20thou%20wilt",
        actor="test",
    )


def _order(account: Any, name: str, *, bind: bool = False) -> Any:
    from certs.services.certificates import certificate_new
    from certs.services.orders import order_create

    certificate = certificate_new(name=name, names=[name], account=account, actor="test")
    return order_create(certificate, reason="asked", actor="test", bind=bind).pk


def plan(wanted: dict[str, Any]) -> str:
    """An order as planned, for the portal's own workers; the id of its certificate as SQLite writes it.

    `certificate`: renew that one. Else `names` at the CA `at`, with `fallbacks` (each a directory's address and the
    file of its roots) by `method`, a kind and its options; `rehearse_at`: it failed before, so that directory first.
    """
    from certs.models import AcmeDirectory, Certificate
    from certs.services.certificates import certificate_new
    from certs.services.issue_options import IssueOptions
    from certs.services.orders import order_create
    from certs.services.rehearsals import AFTER_FAILURE, rehearsal_account

    if wanted.get("certificate"):
        certificate = Certificate.objects.get(pk=wanted["certificate"])
        return str(order_create(certificate, reason="forced", actor="test").certificate_id.hex)
    account = _account(*wanted["at"])
    options = IssueOptions(
        challenge_method=_method(*wanted["method"]), fallbacks=tuple(_account(*each) for each in wanted["fallbacks"])
    )
    names = wanted["names"]
    certificate = certificate_new(name=names[0], names=names, account=account, actor="test", options=options)
    rehearsal = None
    if url := wanted["rehearse_at"]:
        AcmeDirectory.objects.update_or_create(directory_url=account.directory_url, defaults={"rehearsal_url": url})
        rehearsal = rehearsal_account(account, actor="test")
    reason = AFTER_FAILURE if rehearsal else "asked"
    order_create(certificate, reason=reason, actor="test", rehearsal=rehearsal)
    return str(certificate.pk.hex)


def _method(kind: str, options: dict[str, Any]) -> Any:
    """The one of that kind; None for "", as where nobody chose."""
    from uuid import uuid4

    from certs.models import ChallengeMethod
    from certs.services.challenges import solver_kinds
    from certs.services.options import options_store

    if not kind:
        return None
    uid = uuid4()
    shown, sealed = options_store(solver_kinds()[kind].Options(**options), purpose=ChallengeMethod.PURPOSE, uid=uid)
    defaults = {"id": uid, "name": kind, "options": shown, "sealed": sealed}
    return ChallengeMethod.objects.get_or_create(kind=kind, defaults=defaults)[0]


def rebind(addresses: list[str], port: int) -> str:
    """The wish for another listener, for the portal's own supervisor; its id as SQLite writes it."""
    from certs.services.rebinds import rebind_request

    return rebind_request(addresses=addresses, port=port, actor="test").pk.hex


def confirm(pk: str) -> str:
    from certs.models import Rebind
    from certs.services.rebinds import rebind_confirm

    return rebind_confirm(Rebind.objects.get(pk=pk), actor="test").state


def lapse(pk: str) -> None:
    """The time to confirm it is over: real time, which no test can move."""
    from certs.models import Rebind
    from portal import clock

    Rebind.objects.filter(pk=pk, state="awaiting").update(deadline=clock.real())


def challenge(name: str, key_authorization: str) -> None:
    """A TLS challenge that waits for its CA, of an order that nobody works on."""
    from django.utils import timezone

    from certs.models import AcmeAccount, Certificate, Challenge, Order
    from certs.services.keys import key_create

    account = AcmeAccount.objects.first() or AcmeAccount.objects.create(
        directory_url="https://ca.test/dir", key=key_create("ec-p256")
    )
    certificate = Certificate.objects.create(name=name, names=[name], source=Certificate.Source.ACME, account=account)
    held = Order.objects.create(
        certificate=certificate, account=account, names=[name], next_attempt_at=timezone.now() + timedelta(days=9)
    )
    Challenge.objects.filter(name=name).exclude(token=key_authorization).delete()
    Challenge.objects.update_or_create(
        token=key_authorization,
        defaults={
            "order": held,
            "name": name,
            "authorization_url": "https://ca.test/authz",
            "challenge_url": "https://ca.test/challenge",
            "key_authorization": key_authorization,
            "kind": "tlsalpn01",
            "type": "tls-alpn-01",
        },
    )


def challenge_end(name: str) -> None:
    from certs.models import Challenge

    Challenge.objects.filter(name=name).delete()


if __name__ == "__main__":
    main()

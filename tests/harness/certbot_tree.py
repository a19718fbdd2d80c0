"""A directory laid out as certbot leaves it, made by hand in a moment: for what is broken, rare or in great numbers.
What certbot itself makes is in tests/e2e/test_certbot_takeover.py."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from tests.harness import pki

ROOT = pki.authority("A Public Root")
CA = pki.authority("An Issuing CA", ROOT)
SERVER = "https://acme.example/directory"
ACCOUNT = "0123456789abcdef0123456789abcdef"


class CertbotTree:
    """`home` is what /etc/letsencrypt is elsewhere."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for name in ("renewal", "archive", "live", "accounts"):
            (home / name).mkdir(parents=True)

    def account(self, *, server: str = SERVER, id: str = ACCOUNT, email: str = "") -> Path:
        folder = self.home / "accounts" / server.removeprefix("https://") / id
        folder.mkdir(parents=True)
        contact = {"contact": [f"mailto:{email}"]} if email else {}
        (folder / "private_key.json").write_text(json.dumps(jwk(ec.generate_private_key(ec.SECP256R1()))))
        (folder / "regr.json").write_text(json.dumps({"body": contact, "uri": f"{server}/acct/1"}))
        (folder / "meta.json").write_text("{}")
        return folder

    def lineage(
        self,
        name: str,
        names: list[str],
        *,
        versions: int = 1,
        params: str = "authenticator = standalone\n",
        top: str = "",
        days: float = 90,
        age: float = 0,
        account: str = ACCOUNT,
    ) -> None:
        """The last version is `age` days old; each one before it 60 days more."""
        archive, live = self.home / "archive" / name, self.home / "live" / name
        archive.mkdir()
        live.mkdir()
        for number in range(1, versions + 1):
            start = datetime.now(UTC) - timedelta(days=age + 60 * (versions - number), minutes=1)
            pair = pki.leaf(CA, names, days=days, start=start)
            written = {"cert": pair.pem, "chain": CA.pem, "fullchain": pair.pem + CA.pem, "privkey": pair.key_pem}
            for kind, text in written.items():
                (archive / f"{kind}{number}.pem").write_text(text)
        for kind in ("cert", "chain", "fullchain", "privkey"):
            (live / f"{kind}.pem").symlink_to(f"../../archive/{name}/{kind}{versions}.pem")
        lines = [f"archive_dir = /etc/letsencrypt/archive/{name}", f"cert = /etc/letsencrypt/live/{name}/cert.pem"]
        lines += [top, "[renewalparams]", f"account = {account}", f"server = {SERVER}", params]
        (self.home / "renewal" / f"{name}.conf").write_text("\n".join(lines))


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.private_numbers()
    public = numbers.public_numbers
    parts = {"x": public.x, "y": public.y, "d": numbers.private_value}
    coded = {name: urlsafe_b64encode(part.to_bytes(32, "big")).decode().rstrip("=") for name, part in parts.items()}
    return {"kty": "EC", "crv": "P-256", **coded}

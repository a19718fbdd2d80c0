"""A directory laid out as acme.sh leaves it, by its documentation: Debian has no package of it."""

from base64 import b64encode
from pathlib import Path

from tests.harness import pki
from tests.harness.certbot_tree import CA

API = "https://acme-v02.api.letsencrypt.org/directory"


def wrapped(text: str) -> str:
    return f"__ACME_BASE64__START_{b64encode(text.encode()).decode()}__ACME_BASE64__END_"


class AcmeshTree:
    def __init__(self, home: Path) -> None:
        self.home = home
        account = home / "ca" / API.removeprefix("https://")
        account.mkdir(parents=True)
        (account / "account.key").write_text(pki.leaf(None, ["account.test"]).key_pem)
        (account / "account.json").write_text('{"contact": ["mailto:ops@example.com"], "status": "valid"}')
        (account / "ca.conf").write_text("ACCOUNT_URL='https://acme.example/acct/7'\nCA_KEY_HASH='x='\n")
        (home / "account.conf").write_text("SAVED_CF_Token='cf-token'\nUPGRADE_HASH='x'\n")

    def certificate(self, folder: str, *lines: str) -> None:
        name = folder.removesuffix("_ecc")
        place = self.home / folder
        place.mkdir()
        pair = pki.leaf(CA, [name])
        conf = [f"Le_Domain='{name}'", "Le_Alt='no'", f"Le_API='{API}'", *lines]
        (place / f"{name}.conf").write_text("\n".join(conf))
        for suffix, text in ((".cer", pair.pem), (".key", pair.key_pem)):
            (place / f"{name}{suffix}").write_text(text)
        (place / "ca.cer").write_text(CA.pem)

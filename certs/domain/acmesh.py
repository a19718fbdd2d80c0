"""The home directory of acme.sh (~/.acme.sh), read into our terms.

Its layout is that of its own documentation (github.com/acmesh-official/acme.sh/wiki): `DOMAIN/` or `DOMAIN_ecc/` with
`DOMAIN.conf`, `DOMAIN.cer`, `DOMAIN.key`, `ca.cer` and `fullchain.cer`; `ca/HOST/PATH/` with `account.key`,
`account.json` and `ca.conf`; `account.conf` with the saved credentials of DNS providers. It keeps no earlier versions.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from certs.domain.dns_credentials import ACMESH, PROVIDER, RFC2136, provider_given, rfc2136_given, tsig_key_read
from certs.domain.errors import BinderyError
from certs.domain.keys import key_from_pem
from certs.domain.migration import (
    BY_PORTAL,
    EXPORT_INSTEAD,
    Found,
    FoundAccount,
    FoundLineage,
    Left,
    Proof,
    Tree,
    email_of,
    json_read,
    key_type_ordered,
    left_of,
    lefts_sorted,
    text_of,
    version_read,
)

CLIENT = "acme.sh"
HOME = "/root/.acme.sh"
_WRAPPED = re.compile(r"__ACME_BASE64__START_([A-Za-z0-9+/=]*)__ACME_BASE64__END_")
_LINE = re.compile(r"""(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(['"]?)(.*)\2""")
_HOOKS = {
    "Le_PreHook": "pre-hook",
    "Le_PostHook": "post-hook",
    "Le_RenewHook": "renew-hook",
    "Le_ReloadCmd": "reload command",
}
_INSTALLED = ("Le_RealCertPath", "Le_RealCACertPath", "Le_RealKeyPath", "Le_RealFullChainPath")
_KEY_TYPES = {"ec-256": "ec-p256", "ec-384": "ec-p384", "2048": "rsa-2048", "3072": "rsa-3072", "4096": "rsa-4096"}


def conf_read(text: str) -> dict[str, str]:
    """NAME='value' of a file that a shell reads; what acme.sh has wrapped in base64 is opened. Nothing is run."""
    found = {}
    for raw in text.splitlines():
        if match := _LINE.fullmatch(raw.strip()):
            found[match[1]] = _unwrapped(match[3])
    return found


def credentials_named(tree: Tree) -> list[str]:
    """Absolute paths of key files that dynamic updates are signed with, which stand outside of the tree."""
    saved = _saved(tree)
    paths = [
        path
        for _, conf in _confs(tree)
        if _ways(conf) == ["dns_nsupdate"] and (path := {**saved, **_plain(conf)}.get("NSUPDATE_KEY", ""))
    ]
    return list(dict.fromkeys(paths))


def acmesh_read(tree: Tree, credentials: Mapping[str, bytes | str] | None = None) -> Found:
    """`credentials` are the files that `credentials_named` names: their content, or as text why they were not read."""
    saved, lefts = _saved(tree), []
    lineages = []
    for folder, conf in _confs(tree):
        found = _lineage(tree, folder, conf, saved, credentials or {})
        if isinstance(found, FoundLineage):
            lineages.append(found)
        else:
            lefts.append(found)
    accounts, more = _accounts(tree, [each.directory_url for each in lineages], saved.get("ACCOUNT_EMAIL", ""))
    lefts += [*more, *(Left(path, f"It was not read: {why}.") for path, why in tree.unread.items())]
    return Found(CLIENT, tree.place, tuple(accounts), tuple(lineages), lefts_sorted(lefts))


def _unwrapped(value: str) -> str:
    wrapped = _WRAPPED.fullmatch(value)
    if wrapped is None:
        return value
    try:
        return b64decode(wrapped[1], validate=True).decode("utf-8", "replace").strip()
    except (binascii.Error, ValueError):
        return ""


def _saved(tree: Tree) -> dict[str, str]:
    """What holds for all certificates: the credentials of providers stand there as SAVED_NAME."""
    return _plain(conf_read(text_of(tree.read("account.conf") or b"")))


def _plain(conf: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("SAVED_"): value for name, value in conf.items()}


def _confs(tree: Tree) -> Iterator[tuple[str, dict[str, str]]]:
    """(directory, settings) of each certificate."""
    for path in tree.below(""):
        place = PurePosixPath(path)
        if len(place.parts) == 2 and place.name == f"{place.parts[0].removesuffix('_ecc')}.conf":
            conf = conf_read(text_of(tree.read(path) or b""))
            if conf.get("Le_Domain"):
                yield place.parts[0], conf


def _lineage(
    tree: Tree, folder: str, conf: Mapping[str, str], saved: Mapping[str, str], credentials: Mapping[str, bytes | str]
) -> FoundLineage | Left:
    name = folder.removesuffix("_ecc")
    files = [f"{folder}/{name}.cer", f"{folder}/{name}.key"]
    certificate, key = (tree.read(path) for path in files)
    for data, path in zip((certificate, key), files, strict=True):
        if data is None:
            return Left(folder, f"{path} was not read: {tree.why_unread(path)}.", kind="certificate")
    chain = tree.read(f"{folder}/ca.cer") or tree.read(f"{folder}/fullchain.cer") or b""
    try:
        version = version_read("1", certificate or b"", chain, key or b"")
    except BinderyError as error:
        return left_of(folder, error, "certificate")
    return FoundLineage(
        name=folder,
        versions=(version,),
        current=version,
        directory_url=conf.get("Le_API", ""),
        account=_account_id(conf.get("Le_API", "")),
        proof=_proof(conf, {**saved, **_plain(conf)}, credentials),
        key_type=_KEY_TYPES.get(conf.get("Le_Keylength", ""), key_type_ordered(version.key)),
        reuse_key=conf.get("Le_ForceNewDomainKey", "") != "1",  # it keeps the key unless told otherwise
        preferred_chain=conf.get("Le_Preferred_Chain", ""),
        profile=conf.get("Le_Certificate_Profile", ""),
        left=tuple(_lefts(folder, conf)),
    )


def _lefts(folder: str, conf: Mapping[str, str]) -> Iterator[Left]:
    for word, hook in _HOOKS.items():
        if conf.get(word):
            yield Left(f"{hook} of {folder}", f"“{conf[word]}” is not run by the portal.", EXPORT_INSTEAD)
    if places := [conf[word] for word in _INSTALLED if conf.get(word)]:
        yield Left(f"installed files of {folder}", f"{', '.join(places)} are not written any more.", EXPORT_INSTEAD)


def _accounts(tree: Tree, directories: list[str], email: str) -> tuple[list[FoundAccount], list[Left]]:
    """acme.sh keeps them by host and path without the port, which the certificates know."""
    known = {_account_id(url): url for url in directories}
    accounts, lefts = [], []
    for path in tree.below("ca"):
        if not path.endswith("/account.key"):
            continue
        folder = str(PurePosixPath(path).parent)
        place = folder.removeprefix("ca/")
        conf = conf_read(text_of(tree.read(f"{folder}/ca.conf") or b""))
        url = conf.get("ACCOUNT_URL", "")
        try:
            key = key_from_pem(tree.read(path) or b"")
        except BinderyError as error:
            lefts.append(left_of(f"account at {place}", error, "account"))
            continue
        accounts.append(
            FoundAccount(
                id=place,
                directory_url=known.get(place, f"https://{place}"),
                url=url if url.startswith("https://") else "",
                email=(
                    conf.get("CA_EMAIL") or email_of(json_read(tree.read(f"{folder}/account.json"))) or email
                ).lower(),
                key=key,
            )
        )
    return accounts, lefts


def _account_id(directory_url: str) -> str:
    """HOST/PATH of a directory, as the folders below ca/ are called."""
    host, _, path = directory_url.partition("://")[2].partition("/")
    return f"{host.partition(':')[0]}/{path}".rstrip("/")


def _ways(conf: Mapping[str, str]) -> list[str]:
    """How each name is proven, each way once."""
    return list(dict.fromkeys(word.strip() for word in conf.get("Le_Webroot", "").split(",") if word.strip()))


def _proof(conf: Mapping[str, str], values: Mapping[str, str], credentials: Mapping[str, bytes | str]) -> Proof:
    ways = _ways(conf)
    if len(ways) != 1:
        advice = "One certificate has one challenge method. Choose one that proves all its names."
        return Proof(None, was=", ".join(ways) or "no webroot", advice=advice)
    way = ways[0]
    if way in {"no", "alpn", "apache"} or way.startswith("nginx"):
        was = {"no": "standalone"}.get(way, way.partition(":")[0])
        return Proof("", was=was, advice=BY_PORTAL)
    if way.startswith("/"):
        return Proof("http01_webroot", {"webroot": way}, was=f"webroot {way}")
    return _nsupdate(values, credentials) if way == "dns_nsupdate" else _provider(way, values)


def _provider(way: str, values: Mapping[str, str]) -> Proof:
    known = ACMESH.get(way.removeprefix("dns_"), ()) if way.startswith("dns_") else ()
    given = provider_given(known, values)
    if given is not None:
        return Proof(PROVIDER, given, was=way)
    advice = "Its saved credentials are incomplete." if known else "There is no method of ours for it."
    return Proof(None, was=way, advice=f"{advice} Set up a challenge method.")


def _nsupdate(values: Mapping[str, str], credentials: Mapping[str, bytes | str]) -> Proof:
    content = credentials.get(values.get("NSUPDATE_KEY", ""), "no key file is named")
    key = tsig_key_read(text_of(content)) if isinstance(content, bytes) else {}
    server, port = values.get("NSUPDATE_SERVER", ""), values.get("NSUPDATE_SERVER_PORT", "")
    given = rfc2136_given({**key, "server": server, "port": port})
    if given is None or not key:
        why = content if isinstance(content, str) else "it holds no key, or no server is named"
        return Proof(None, was="dns_nsupdate", advice=f"Its key was not read: {why}. Set up a challenge method.")
    zone = {"zone": values["NSUPDATE_ZONE"]} if values.get("NSUPDATE_ZONE") else {}
    return Proof(RFC2136, {**given, **zone}, was="dns_nsupdate")

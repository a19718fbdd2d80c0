"""A configuration directory of certbot (/etc/letsencrypt), read into our terms.

Its layout is that of certbot's user guide ("Where are my certificates?") and of its renewal files:
`renewal/NAME.conf`, `archive/NAME/{cert,chain,fullchain,privkey}N.pem`, `live/NAME/*.pem` as links to the version in
use, `accounts/HOST/PATH/ID/{private_key,regr,meta}.json`.
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs.domain.dns_credentials import CERTBOT, PROVIDER, RFC2136, provider_given, rfc2136_given
from certs.domain.errors import BinderyError, KeyRefused
from certs.domain.keys import Key, key_type_of
from certs.domain.migration import (
    BY_PORTAL,
    EXPORT_INSTEAD,
    Found,
    FoundAccount,
    FoundLineage,
    FoundVersion,
    Left,
    Proof,
    Tree,
    days_of,
    email_of,
    json_read,
    key_type_ordered,
    left_of,
    lefts_sorted,
    text_of,
    version_read,
)

CLIENT = "certbot"
HOME = "/etc/letsencrypt"
_SECTION = re.compile(r"(\[+)\s*(.*?)\s*(\]+)")
_VERSION = re.compile(r"cert(\d{1,6})\.pem")
_CURVES = {"secp256r1": "ec-p256", "secp384r1": "ec-p384"}
_HOOKS = {"pre_hook": "pre-hook", "post_hook": "post-hook", "renew_hook": "deploy-hook"}
_JWK_CURVES: dict[str, Callable[[], ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}


@dataclass(frozen=True)
class Conf:
    """A renewal file: what stands before the first section, `[renewalparams]` and `[[webroot_map]]` below it."""

    top: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    webroots: dict[str, str] = field(default_factory=dict)


def credentials_named(tree: Tree) -> list[str]:
    """Absolute paths of the credentials files that the lineages name, whether or not they are inside the tree."""
    found = [path for _, conf in _confs(tree) if (path := _credentials(conf))]
    return list(dict.fromkeys(found))


def certbot_read(tree: Tree, credentials: Mapping[str, bytes | str] | None = None) -> Found:
    """`credentials` are the files that `credentials_named` names: their content, or as text why they were not read."""
    # A directory of accounts may carry the name of an earlier API of the same CA: the lineages know the one in use.
    servers = {
        params.get("account"): params["server"] for _, conf in _confs(tree) if "server" in (params := conf.params)
    }
    accounts, lefts = _accounts(tree, servers)
    lineages = []
    for name, conf in _confs(tree):
        found = _lineage(tree, name, conf, credentials or {})
        if isinstance(found, FoundLineage):
            lineages.append(found)
        else:
            lefts += found
    named = {name for name, _ in _confs(tree)}
    for folder in sorted({PurePosixPath(path).parts[1] for path in tree.below("archive") if path.count("/") >= 2}):
        if folder not in named:
            why = "It has no file below renewal/: certbot renews it no more."
            lefts.append(Left(f"archive/{folder}", why, "Upload it by hand if it is still needed."))
    lefts += [
        Left(f"renewal-hooks/{path.split('/', 1)[1]}", "The portal runs no hooks of certbot.", EXPORT_INSTEAD)
        for path in tree.below("renewal-hooks")
        if path.count("/") >= 2
    ]
    lefts += [Left(path, f"It was not read: {why}.") for path, why in tree.unread.items() if not _is_known(path)]
    return Found(CLIENT, tree.place, tuple(accounts), tuple(lineages), lefts_sorted(lefts))


def conf_read(text: str) -> Conf:
    """The ini form with nested sections that certbot writes; what it does not understand is skipped."""
    conf = Conf()
    target: dict[str, str] | None = conf.top
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if section := _SECTION.fullmatch(line):
            target = {"renewalparams": conf.params, "webroot_map": conf.webroots}.get(section[2])
        elif target is not None and "=" in line:
            name, _, value = line.partition("=")
            target[name.strip()] = _value(value)
    return conf


def _value(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] in "\"'" and text[-1] == text[0]:
        return text[1:-1]
    return "" if text == "None" else text


def _confs(tree: Tree) -> Iterator[tuple[str, Conf]]:
    for path in tree.below("renewal"):
        place = PurePosixPath(path)
        if place.suffix == ".conf" and len(place.parts) == 2 and (data := tree.read(path)) is not None:
            yield place.stem, conf_read(text_of(data))


def _is_known(path: str) -> bool:
    """What a lineage tells of itself where it cannot be read."""
    return path.startswith(("archive/", "live/"))


# Accounts


def _accounts(tree: Tree, servers: Mapping[str | None, str]) -> tuple[list[FoundAccount], list[Left]]:
    """A directory that is a link to another CA's (certbot keeps its accounts across API versions) is not looked into:
    its lineages find the account by its id."""
    found: dict[str, FoundAccount] = {}
    lefts = []
    for path in tree.below("accounts"):
        if not path.endswith("/private_key.json"):
            continue
        folder = PurePosixPath(path).parent
        where = "/".join(folder.parts[1:-1])
        try:
            found.setdefault(folder.name, _account(tree, folder, servers.get(folder.name, f"https://{where}")))
        except BinderyError as error:
            lefts.append(left_of(f"account {folder.name} at {where}", error, "account"))
    unread = [path for path in tree.unread if path.startswith("accounts/")]
    lefts += [Left(path, f"It was not read: {tree.unread[path]}.") for path in unread]
    return list(found.values()), lefts


def _account(tree: Tree, folder: PurePosixPath, directory_url: str) -> FoundAccount:
    key = key_from_jwk(tree.read(f"{folder}/private_key.json") or b"")
    registration = json_read(tree.read(f"{folder}/regr.json"))
    uri = registration.get("uri")
    return FoundAccount(
        id=folder.name,
        directory_url=directory_url,
        url=uri if isinstance(uri, str) and uri.startswith("https://") else "",
        email=email_of(registration.get("body")),
        key=key,
    )


def key_from_jwk(data: bytes) -> Key:
    """A private JSON Web Key (RFC 7517, RFC 7518 §6.2 and §6.3) of RSA, P-256 or P-384. Raises KeyRefused."""
    jwk = json_read(data)
    try:
        key = _rsa_of(jwk) if jwk.get("kty") == "RSA" else _ec_of(jwk)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise KeyRefused("Its key is no JSON Web Key that can be read.", advice="Copy the file again.") from error
    key_type_of(key)
    return key


def _rsa_of(jwk: Mapping[str, Any]) -> Key:
    n, e, d = (_number(jwk[name]) for name in ("n", "e", "d"))
    if n.bit_length() > 16384:
        raise ValueError("an RSA modulus that nobody uses")
    p, q = (_number(jwk[name]) for name in "pq") if "p" in jwk else rsa.rsa_recover_prime_factors(n, e, d)
    more = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *more, rsa.RSAPublicNumbers(e, n)).private_key()


def _ec_of(jwk: Mapping[str, Any]) -> Key:
    curve = _JWK_CURVES[jwk["crv"]]()
    public = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve)
    return ec.EllipticCurvePrivateNumbers(_number(jwk["d"]), public).private_key()


def _number(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


# Lineages


def _lineage(tree: Tree, name: str, conf: Conf, credentials: Mapping[str, bytes | str]) -> FoundLineage | list[Left]:
    versions, lefts = _versions(tree, name, conf)
    current = _current(tree, name, conf, versions)
    if isinstance(current, Left):
        return [*lefts, replace(current, kind="certificate")]
    params = conf.params
    proof = _proof(conf, credentials)
    for param, hook in _HOOKS.items():
        if params.get(param):
            lefts.append(Left(f"{hook} of {name}", f"“{params[param]}” is not run by the portal.", EXPORT_INSTEAD))
    if params.get("installer"):
        why = f"certbot's {params['installer']} plugin put it into that server's configuration; the portal does not."
        lefts.append(Left(f"installer of {name}", why, EXPORT_INSTEAD))
    if params.get("must_staple") == "True":
        lefts.append(Left(f"must-staple of {name}", "The portal does not ask for it.", "CAs give it no more either."))
    return FoundLineage(
        name=name,
        versions=tuple(versions),
        current=current,
        directory_url=params.get("server", ""),
        account=params.get("account", ""),
        proof=proof,
        key_type=_key_type(params, current),
        reuse_key=params.get("reuse_key") == "True",
        preferred_chain=params.get("preferred_chain", ""),
        profile=params.get("required_profile") or params.get("preferred_profile", ""),
        renew_before_days=days_of(conf.top.get("renew_before_expiry", "")),
        auto_renew="False" not in (conf.top.get("autorenew"), params.get("autorenew")),
        left=tuple(lefts),
    )


def _versions(tree: Tree, name: str, conf: Conf) -> tuple[list[FoundVersion], list[Left]]:
    """Those in the archive, the oldest first."""
    folder = _archive(name, conf)
    numbers = sorted(
        int(found[1])
        for path in tree.below(folder)
        if (found := _VERSION.fullmatch(path.removeprefix(f"{folder}/"))) is not None
    )
    versions, lefts = [], []
    for number in numbers:
        files = [f"{folder}/{kind}{number}.pem" for kind in ("cert", "chain", "privkey")]
        read = _version(tree, f"version {number} of {name}", str(number), files)
        if isinstance(read, Left):
            lefts.append(read)
        else:
            versions.append(read)
    return versions, lefts


def _version(tree: Tree, what: str, label: str, files: list[str]) -> FoundVersion | Left:
    certificate, chain, key = (tree.read(path) for path in files)
    for data, path in ((certificate, files[0]), (key, files[2])):
        if data is None:
            return Left(what, f"{path} was not read: {tree.why_unread(path)}.")
    try:
        return version_read(label, certificate or b"", chain or b"", key or b"")
    except BinderyError as error:
        return left_of(what, error)


def _current(tree: Tree, name: str, conf: Conf, versions: list[FoundVersion]) -> FoundVersion | Left:
    """What `live/` leads to; a copy that has no links is compared."""
    folder = f"live/{PurePosixPath(conf.top.get('cert') or f'x/{name}/cert.pem').parent.name}"
    target = PurePosixPath(tree.resolve(f"{folder}/cert.pem")).name
    linked = _VERSION.fullmatch(target)
    if linked is None:
        files = [f"{folder}/{kind}.pem" for kind in ("cert", "chain", "privkey")]
        live = _version(tree, name, "live", files)
        if isinstance(live, FoundVersion):
            same = [each for each in versions if each.chain.leaf == live.chain.leaf]
            versions += [] if same else [live]
            return same[0] if same else live
        return live
    found = next((each for each in versions if each.label == linked[1]), None)
    if found is not None:
        return found
    return Left(name, f"Version {linked[1]}, the one in use, could not be taken, so it was left out as a whole.")


def _archive(name: str, conf: Conf) -> str:
    """The tree may have been moved: of the absolute path only the last part counts."""
    return f"archive/{PurePosixPath(conf.top.get('archive_dir') or name).name}"


def _key_type(params: Mapping[str, str], current: FoundVersion) -> str:
    kind = params.get("key_type", "")
    if kind == "rsa" and params.get("rsa_key_size") in {"2048", "3072", "4096"}:
        return f"rsa-{params['rsa_key_size']}"
    if kind == "ecdsa" and params.get("elliptic_curve") in _CURVES:
        return _CURVES[params["elliptic_curve"]]
    return key_type_ordered(current.key)


# How the names are proven


def _proof(conf: Conf, credentials: Mapping[str, bytes | str]) -> Proof:
    how = conf.params.get("authenticator", "")
    if how == "webroot":
        return _webroot(conf)
    if how in {"standalone", "nginx", "apache"}:
        return Proof("", was=how, advice=BY_PORTAL)
    if how.startswith("dns-"):
        return _dns(how, credentials.get(_credentials(conf), "none is named"))
    if how == "manual":
        advice = "Put its hook into the portal's hooks directory and make a challenge method “DNS (script)” of it."
        return Proof(None, was="manual", advice=advice)
    return Proof(None, was=how or "no authenticator", advice="Choose a challenge method for it.")


def _webroot(conf: Conf) -> Proof:
    named = [path.strip() for path in conf.params.get("webroot_path", "").split(",") if path.strip()]
    paths = list(dict.fromkeys(conf.webroots.values())) or list(dict.fromkeys(named))
    if len(paths) == 1:
        return Proof("http01_webroot", {"webroot": paths[0]}, was=f"webroot {paths[0]}")
    advice = "One method has one webroot. Let all names answer from one, or let the portal answer by itself."
    return Proof(None, was=f"webroots {', '.join(paths) or 'none'}", advice=advice)


def _dns(how: str, content: bytes | str) -> Proof:
    plugin = how.removeprefix("dns-")
    if plugin != "rfc2136" and plugin not in CERTBOT:
        return Proof(None, was=how, advice="Choose a challenge method for it.")
    if isinstance(content, str):
        return Proof(None, was=how, advice=f"Its credentials were not read: {content}. Set up a challenge method.")
    prefix = f"dns_{plugin}_"
    top = conf_read(text_of(content)).top
    values = {name.replace("-", "_").removeprefix(prefix): value for name, value in top.items()}
    rfc = plugin == "rfc2136"
    given = rfc2136_given(values) if rfc else provider_given(CERTBOT[plugin], values)
    if given is None:
        advice = "Its credentials file does not hold what such a method needs. Set up a challenge method."
        return Proof(None, was=how, advice=advice)
    return Proof(RFC2136 if rfc else PROVIDER, given, was=how)


def _credentials(conf: Conf) -> str:
    plugin = conf.params.get("authenticator", "").replace("-", "_")
    return conf.params.get(f"{plugin}_credentials", "")

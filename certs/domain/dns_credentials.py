"""Credentials of DNS providers as certbot's plugins and acme.sh name them, in the terms of our own challenge methods.

The names on the left are from the documentation of certbot's plugins (certbot-dns-*.readthedocs.io) and of acme.sh
(github.com/acmesh-official/acme.sh/wiki/dnsapi); those on the right are the parameters of dns-lexicon.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

PROVIDER, RFC2136 = "dns01_provider", "dns01_rfc2136"
_KEY_NAME = re.compile(r'key\s+"?([A-Za-z0-9._-]+)"?\s*\{')
_KEY_SECRET = re.compile(r'secret\s+"([A-Za-z0-9+/=\s]+)"')
_KEY_ALGORITHM = re.compile(r'algorithm\s+"?([A-Za-z0-9-]+)"?')


@dataclass(frozen=True)
class Mapped:
    """One way to sign in. It fits where all names on the left have a value, but for those that `may` be missing."""

    provider: str
    names: Mapping[str, str]  # theirs -> ours
    may: frozenset[str] = frozenset()


# By the plugin's name without "dns-"; certbot puts dns_NAME_ before each of the words.
CERTBOT: dict[str, tuple[Mapped, ...]] = {
    "cloudflare": (
        Mapped("cloudflare", {"api_token": "auth_token"}),
        Mapped("cloudflare", {"email": "auth_username", "api_key": "auth_token"}),
    ),
    "digitalocean": (Mapped("digitalocean", {"token": "auth_token"}),),
    "dnsimple": (Mapped("dnsimple", {"token": "auth_token"}),),
    "dnsmadeeasy": (Mapped("dnsmadeeasy", {"api_key": "auth_username", "secret_key": "auth_token"}),),
    "gandi": (Mapped("gandi", {"token": "auth_token"}), Mapped("gandi", {"api_key": "auth_token"})),
    "gehirn": (Mapped("gehirn", {"api_token": "auth_token", "api_secret": "auth_secret"}),),
    "hetzner": (Mapped("hetzner", {"api_token": "auth_token"}),),
    "linode": (Mapped("linode4", {"key": "auth_token"}),),
    "luadns": (Mapped("luadns", {"email": "auth_username", "token": "auth_token"}),),
    "nsone": (Mapped("nsone", {"api_key": "auth_token"}),),
    "ovh": (
        Mapped(
            "ovh",
            {
                "endpoint": "auth_entrypoint",
                "application_key": "auth_application_key",
                "application_secret": "auth_application_secret",
                "consumer_key": "auth_consumer_key",
            },
        ),
    ),
    "sakuracloud": (Mapped("sakuracloud", {"api_token": "auth_token", "api_secret": "auth_secret"}),),
}
# By the name of acme.sh's script without "dns_".
ACMESH: dict[str, tuple[Mapped, ...]] = {
    "aws": (
        Mapped("route53", {"AWS_ACCESS_KEY_ID": "auth_access_key", "AWS_SECRET_ACCESS_KEY": "auth_access_secret"}),
    ),
    "cf": (
        Mapped("cloudflare", {"CF_Token": "auth_token", "CF_Zone_ID": "zone_id"}, frozenset({"CF_Zone_ID"})),
        Mapped("cloudflare", {"CF_Email": "auth_username", "CF_Key": "auth_token"}),
    ),
    "desec": (Mapped("desec", {"DEDYN_TOKEN": "auth_token"}),),
    "dgon": (Mapped("digitalocean", {"DO_API_KEY": "auth_token"}),),
    "dnsimple": (Mapped("dnsimple", {"DNSimple_OAUTH_TOKEN": "auth_token"}),),
    "duckdns": (Mapped("duckdns", {"DuckDNS_Token": "auth_token"}),),
    "gandi_livedns": (
        Mapped("gandi", {"GANDI_LIVEDNS_TOKEN": "auth_token"}),
        Mapped("gandi", {"GANDI_LIVEDNS_KEY": "auth_token"}),
    ),
    "gd": (Mapped("godaddy", {"GD_Key": "auth_key", "GD_Secret": "auth_secret"}),),
    "hetzner": (Mapped("hetzner", {"HETZNER_Token": "auth_token"}),),
    "infomaniak": (Mapped("infomaniak", {"INFOMANIAK_API_TOKEN": "auth_token"}),),
    "linode_v4": (Mapped("linode4", {"LINODE_V4_API_KEY": "auth_token"}),),
    "lua": (Mapped("luadns", {"LUA_Email": "auth_username", "LUA_Key": "auth_token"}),),
    "me": (Mapped("dnsmadeeasy", {"ME_Key": "auth_username", "ME_Secret": "auth_token"}),),
    "nsone": (Mapped("nsone", {"NS1_Key": "auth_token"}),),
    "ovh": (
        Mapped(
            "ovh",
            {
                "OVH_END_POINT": "auth_entrypoint",
                "OVH_AK": "auth_application_key",
                "OVH_AS": "auth_application_secret",
                "OVH_CK": "auth_consumer_key",
            },
            frozenset({"OVH_END_POINT"}),
        ),
    ),
    "pdns": (
        Mapped(
            "powerdns",
            {"PDNS_Url": "pdns_server", "PDNS_ServerId": "pdns_server_id", "PDNS_Token": "auth_token"},
            frozenset({"PDNS_ServerId"}),
        ),
    ),
    "porkbun": (Mapped("porkbun", {"PORKBUN_API_KEY": "auth_key", "PORKBUN_SECRET_API_KEY": "auth_secret"}),),
    "vultr": (Mapped("vultr", {"VULTR_API_KEY": "auth_token"}),),
}


def provider_given(known: tuple[Mapped, ...], values: Mapping[str, str]) -> dict[str, str] | None:
    """The options of a DNS provider's method, the first way to sign in that is complete; None where none is."""
    for way in known:
        missing = {theirs for theirs in way.names if not values.get(theirs)}
        if missing <= way.may:
            there = {ours: values[theirs] for theirs, ours in way.names.items() if theirs not in missing}
            return {"provider": way.provider, **there}
    return None


def rfc2136_given(values: Mapping[str, str]) -> dict[str, str] | None:
    """From the words of certbot's dns-rfc2136: server, port, name, secret, algorithm."""
    if not values.get("server"):
        return None
    given = {
        "server": values["server"],
        "port": values.get("port", ""),
        "key": values.get("name", "").rstrip("."),
        "secret": values.get("secret", ""),
        "algorithm": values.get("algorithm", "hmac-md5").lower(),  # certbot's default
    }
    return {name: value for name, value in given.items() if value}


def tsig_key_read(text: str) -> dict[str, str]:
    """name, secret and algorithm of a key file of BIND (`key "NAME" { algorithm …; secret "…"; };`)."""
    found = {"name": _KEY_NAME, "secret": _KEY_SECRET, "algorithm": _KEY_ALGORITHM}
    return {word: match[1].strip() for word, pattern in found.items() if (match := pattern.search(text))}

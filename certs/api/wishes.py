"""What our own CAs are asked to sign, in the names of the reference."""

from collections.abc import Mapping
from typing import Any

from certs.api.documents import KEY_TYPES, Owned
from certs.api.fields import Text, Whole, Word, words
from certs.domain.profiles import CLIENT
from certs.domain.signing import DIGESTS
from certs.domain.wishes import Wish


class Wished(Owned):
    """Of a certificate and of a CA alike."""

    profile = Text(required=False, max_length=60)
    keyType = Word(required=False, choices=[*KEY_TYPES, "RSA", "EC", "Ed25519"])
    keySize = Whole(required=False, min_value=256, max_value=16384, help_text="With RSA or EC.")
    digestAlgorithm = Word(required=False, choices=["", *DIGESTS])
    days = Whole(required=False, min_value=1, max_value=36525, help_text="Validity.")
    pathLength = Whole(required=False, allow_null=True, min_value=0, max_value=20)
    permitted = words(required=False, max_length=100, help_text="Names that a CA may certify.")
    excluded = words(required=False, max_length=100)


def wish_read(given: Mapping[str, Any]) -> Wish:
    """Of a body that was read; what is left out is as the profile says."""
    usages = tuple(given.get("usages", ()))
    if given.get("client") and not usages and not given.get("profile"):
        usages = (CLIENT,)
    return Wish(
        profile=given.get("profile") or ("client" if given.get("client") and not given.get("hosts") else ""),
        subject=given.get("subject", ""),
        hosts=tuple(given.get("hosts", ())),
        days=given.get("days", 0),
        key_type=_key_type(given),
        digest=given.get("digestAlgorithm", ""),
        pss=given.get("signatureAlgorithm", "") == "RSASSA-PSS",
        usages=usages,
        is_ca=given.get("ca", False),
        path_length=given.get("pathLength"),
        include_aia=given.get("includeAia"),
        permitted=tuple(given.get("permitted", ())),
        excluded=tuple(given.get("excluded", ())),
    )


def _key_type(given: Mapping[str, Any]) -> str:
    kind, size = given.get("keyType", "ec-p256"), given.get("keySize")
    if kind == "RSA":
        return f"rsa-{size or 2048}"
    return f"ec-p{size or 256}" if kind == "EC" else str(kind).lower()

"""Certificates that people and programs bring, whichever door they come through.

One that a CA of our own has signed is known as such: it is given its authority and what the register says of its
revocation. Where its key came along and the actor may have it signed again, it renews like what was issued here. The
key is what shows that it is theirs: the certificate alone is public, and nobody becomes an owner by importing it.
"""

from dataclasses import replace

from django.db import transaction

from certs.domain.certinfo import certificate_info
from certs.domain.errors import BinderyError, InputError, KeyRefused
from certs.domain.pem import Chain
from certs.domain.profiles import CUSTOM
from certs.domain.roles import Right
from certs.domain.wishes import Wish
from certs.models import Authority, Certificate, PrivateKey
from certs.services.access import Actor, may, needs, require
from certs.services.authorities import authority_of
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_take
from certs.services.issued import authority_preview
from certs.services.register import revocation_note
from certs.services.reissue import wish_again
from certs.services.versions import version_known


@needs(Right.CERTIFICATE_ADD, of="properties")
def certificate_receive(
    chain: Chain,
    key: PrivateKey | None,
    *,
    actor: Actor,
    properties: Properties | None = None,
    auto_renew: bool = False,
) -> tuple[Certificate, bool]:
    """As `certificate_take`, whose words hold; whether it is new.

    Raises InputError, KeyRefused and NotAllowed also where it shall renew by itself, and the CA of ours that signed it
    could not do so.
    """
    signer = authority_of(chain.leaf)
    if signer is None:
        return certificate_take(chain, key, actor=actor, properties=properties, auto_renew=auto_renew)
    home = properties.organization if properties else None
    # What is here already stays as it is, whatever is sent along.
    fingerprint = certificate_info(chain.leaf).fingerprint_sha256
    must = auto_renew and version_known(fingerprint, organization=home.pk if home else None) is None
    wish = renewal_foresee(chain, signer, has_key=key is not None, must=must, actor=actor)
    with transaction.atomic():
        row, is_new = certificate_take(
            chain,
            key,
            actor=actor,
            properties=properties,
            source=Certificate.Source.INTERNAL if wish else Certificate.Source.UPLOADED,
            auto_renew=auto_renew,
            # Who may not have it signed by that CA cannot have it renewed by it either.
            authority=signer if may(actor, Right.CERTIFICATE_ADD, signer) else None,
            wish=wish.as_json() if wish else None,
        )
        if is_new and row.current is not None:
            revocation_note(row.current)
    return row, is_new


def renewal_foresee(chain: Chain, signer: Authority, *, has_key: bool, must: bool, actor: Actor) -> Wish | None:
    """What would make it again; None where `signer` does not renew it. Raises BinderyError saying why not, where it
    `must`."""
    try:
        wish = _wish(chain, signer, has_key, actor)
        return _weighed(signer, wish) if must else wish
    except BinderyError:
        if must:
            raise
        return None


def _wish(chain: Chain, signer: Authority, has_key: bool, actor: Actor) -> Wish:
    require(actor, Right.CERTIFICATE_ADD, signer)
    if not has_key:
        raise KeyRefused(
            "Without its private key it cannot be renewed.",
            advice="Send the key as well, or leave `autoRenew` out.",
            code="key-missing",
        )
    if certificate_info(chain.leaf).is_ca:
        raise InputError(
            "A CA is renewed as an authority.", advice="Import it under Authorities, or leave `autoRenew` out."
        )
    return wish_again(chain.leaf)


def _weighed(signer: Authority, wish: Wish) -> Wish:
    """By its usual profile, else by the one without limits, where the CA signs by that. Raises what stands against the
    first."""
    issuer = signer.following
    try:
        authority_preview(issuer, wish)
    except InputError:
        custom = replace(wish, profile=CUSTOM)
        try:
            authority_preview(issuer, custom)
        except BinderyError:
            pass
        else:
            return custom
        raise
    return wish

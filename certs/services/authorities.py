"""Our own CAs: made, imported, renewed, retired. What they sign is in `issued`."""

from dataclasses import replace

from django.db import transaction

from certs.domain.authority import Wish
from certs.domain.pem import Chain
from certs.domain.roles import Right
from certs.models import Authority, Certificate
from certs.services.access import Actor, require
from certs.services.authority_keys import chain_below, key_row_lock
from certs.services.certificates import Properties, certificate_take
from certs.services.issued import (
    authority_issue,
    authority_issuer,
    prepare,
    profile_of,
    register,
    sign,
)
from certs.services.keys import key_new, key_open
from certs.services.pki import pki_base_url_required

__all__ = ["authority_create", "authority_issue"]


def authority_create(
    wish: Wish,
    *,
    actor: Actor,
    parent: Authority | None = None,
    passphrase: str = "",
    parent_passphrase: str = "",
    properties: Properties | None = None,
    crl_days: int = 7,
    include_aia: bool = True,
) -> Authority:
    """A root, or below `parent` an intermediate, with a new key. With a passphrase it is offline: the passphrase is
    stored nowhere, and nothing is signed without it.

    Raises InputError, KeyRefused (of the parent's passphrase, or a weak one), NotAllowed.
    """
    require(actor, Right.AUTHORITY, parent)
    pki_base_url_required()
    wish = replace(wish, is_ca=True)
    profile = profile_of(parent, wish)
    issuer = authority_issuer(parent, parent_passphrase) if parent else None
    row = key_new(wish.key_type)
    key = key_open(row)
    if passphrase:
        key_row_lock(row, key, passphrase)
    prepared = prepare(wish, profile, issuer or key, key=row, public_key=key.public_key())
    if parent is not None:
        register(parent, [prepared])
    else:
        row.save(force_insert=True)
    certificate = sign(prepared, issuer.key if issuer else key)
    with transaction.atomic():
        made, _ = certificate_take(
            Chain(certificate, tuple(chain_below(issuer)) if issuer else ()),
            row,
            actor=actor,
            properties=properties,
            source=Certificate.Source.INTERNAL,
            auto_renew=not passphrase,
            authority=parent,
            wish=prepared.wish.as_json(),
            action="authority.create",
        )
        return Authority.objects.create(
            certificate=made, offline=bool(passphrase), crl_days=crl_days, include_aia=include_aia
        )

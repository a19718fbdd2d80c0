"""Certificates that sign themselves, by the same rules as those of a CA: weighed by a profile, and linted.

The placeholder of the first start is not: it is made in `certificates`, at once and without loading the lint.
"""

from dataclasses import replace

from certs.domain.errors import InputError
from certs.domain.pem import Chain
from certs.domain.roles import Right
from certs.domain.wishes import Wish
from certs.models import Certificate
from certs.services.access import Actor, needs
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_take
from certs.services.issued import prepare, profile_of, sign
from certs.services.keys import key_new, key_open


@needs(Right.CERTIFICATE_ADD, of="properties")
def certificate_self_issue(
    wish: Wish, *, actor: Actor, properties: Properties | None = None, auto_renew: bool = False
) -> Certificate:
    """A new certificate that signs itself; a CA is made by `authority_create`.

    Raises InputError (a field, a profile's limit; LintRefused), KeyRefused, ConflictError (its id).
    """
    profile = profile_of(None, wish)
    if wish.is_ca or profile.is_ca:
        raise InputError("A CA that signs itself is a root.", advice="Make it under Authorities.")
    row = key_new(wish.key_type)
    key = key_open(row)
    prepared = prepare(replace(wish, include_aia=None), profile, key, key=row, public_key=key.public_key())
    row.save(force_insert=True)
    made, _ = certificate_take(
        Chain(sign(prepared, key)),
        row,
        actor=actor,
        properties=properties,
        source=Certificate.Source.SELF_SIGNED,
        auto_renew=auto_renew,
        wish=prepared.wish.as_json(),
        action="certificate.self-sign",
    )
    return made

"""A certificate as a program describes it: the properties of the reference, checked for their types by the API.

`given` holds the names of the reference: id, name, description, chain, privateKey, password, exposed, autoRenew, tags,
metadata. What is missing, null or empty has its default. Nothing of it is kept but what a service takes.
"""

from collections.abc import Mapping
from typing import Any

from certs.domain.certinfo import certificate_info
from certs.domain.errors import InputError
from certs.domain.keys import Key, key_from_pem
from certs.domain.pem import Chain, certificates_read, chain_order, pair_check
from certs.domain.roles import Right
from certs.models import Certificate, Department, Organization
from certs.services.access import Actor, home_for, needs
from certs.services.authorities import authority_of
from certs.services.certificate_changes import certificate_update
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_keypair_add, certificate_take
from certs.services.intake import version_take
from certs.services.keys import key_import
from certs.services.missing_issuers import Completion, completion
from certs.services.receiving import certificate_receive, renewal_foresee
from certs.services.version_history import version_use
from certs.services.versions import refuse_expired, version_known

Given = Mapping[str, Any]
_FIELDS = {
    "name": "name",
    "description": "description",
    "exposed": "exposed",
    "autoRenew": "auto_renew",
    "tags": "tags",
    "metadata": "metadata",
}
_EMPTY: Given = {"description": "", "exposed": False, "autoRenew": False, "tags": [], "metadata": {}}


def certificate_post(given: Given, *, actor: Actor, search: Completion | None = None) -> tuple[Certificate, bool]:
    """Take it into the store where the actor may add one; whether it is new there. Missing issuers are fetched where
    that is allowed (network); of many, `search` remembers what was. Raises NotAllowed, and what `material_read` and
    `certificate_receive` raise."""
    properties = properties_read(given, actor=actor)
    chain, key = material_read(given)
    row = key_import(key) if key is not None else None
    if chain is not None:
        chain, _ = (search or completion()).completed(chain)
        auto_renew = given.get("autoRenew", False)
        return certificate_receive(chain, row, actor=actor, properties=properties, auto_renew=auto_renew)
    if row is None:
        raise _nothing()
    return certificate_keypair_add(row, actor=actor, properties=properties)


def certificate_foresee(given: Given, *, actor: Actor) -> str:
    """What `certificate_post` would do, as a sentence; nothing is stored. Raises what it raises, as far as that can be
    told."""
    properties = properties_read(given, actor=actor)
    chain, key = material_read(given)
    if chain is None:
        if key is None:
            raise _nothing()
        return "A key pair would be kept."
    info = certificate_info(chain.leaf)
    refuse_expired(info)
    home = properties.organization
    if known := version_known(info.fingerprint_sha256, organization=home.pk if home else None):
        return f"It is here already: {known.certificate.name}."
    signer = authority_of(chain.leaf)
    if signer is not None:
        renewal_foresee(chain, signer, has_key=key is not None, must=given.get("autoRenew", False), actor=actor)
    _, missing = Completion(fetching=False).completed(chain)
    lacking = f" The certificate of its issuer “{missing}” is not in it." if missing else ""
    return f"A certificate for {', '.join(info.names[:3]) or info.subject} would be taken in.{lacking}"


def chain_complete(chain: Chain | None, certificate: Certificate) -> Chain | None:
    """With its missing issuers, as `certificate_post` finds them; what is a version of it already needs none."""
    if chain is None:
        return None
    fingerprint = certificate_info(chain.leaf).fingerprint_sha256
    if certificate.versions.filter(fingerprint_sha256=fingerprint).exists():
        return chain
    return completion().completed(chain)[0]


@needs(Right.CERTIFICATE_CHANGE)
def certificate_put(
    certificate: Certificate, given: Given, chain: Chain | None, key: Key | None, *, actor: Actor
) -> None:
    """Change it to what is given; `chain` and `key` come from `material_read`. Name, chain and key stay where they are
    not given, everything else gets its default. Raises InputError, CertificateRefused, ConflictError."""
    if chain is not None:
        _chain_put(certificate, chain, key, actor)
    elif key is not None:
        raise InputError(
            "There is no certificate that the key could belong to.", advice="Send the chain as well.", code="pair"
        )
    said = {name: value for name, value in given.items() if name in _FIELDS and value is not None}
    if not said.get("name"):
        said.pop("name", None)
    fields = {_FIELDS[name]: value for name, value in {**_EMPTY, **said}.items()}
    certificate_update(certificate, actor=actor, **fields)


def _chain_put(certificate: Certificate, chain: Chain, key: Key | None, actor: Actor) -> None:
    """The same chain completes a key that was missing, an earlier version is used again, another becomes the next."""
    here = certificate.current.key if certificate.current else certificate.key
    row = key_import(key) if key is not None else here
    fingerprint = certificate_info(chain.leaf).fingerprint_sha256
    version = certificate.versions.filter(fingerprint_sha256=fingerprint).first()
    if version is None:
        version_take(certificate, chain, row, actor=actor)
        return
    if key is not None and version.key_id is None:
        place = Properties(organization=certificate.organization, department=certificate.department)
        certificate_take(chain, row, actor=actor, properties=place)
    if version.pk != certificate.current_id:
        version_use(certificate, version, actor=actor)


def material_read(given: Given, certificate: Certificate | None = None) -> tuple[Chain | None, Key | None]:
    """The chain in order and the key, fitted together. A key alone is held against the chain of `certificate`. Takes
    its time with an encrypted key. Raises CertificateRefused, KeyRefused."""
    key = None
    if given.get("privateKey"):
        key = key_from_pem(given["privateKey"].encode(), (given.get("password") or "").encode() or None)
    text = given.get("chain") or ""
    if not text and key is not None and certificate is not None and certificate.current is not None:
        text = certificate.current.fullchain_pem
    if not text:
        return None, key
    chain = chain_order(certificates_read(text.encode()), key.public_key() if key else None)
    if key is not None:
        pair_check(chain.leaf, key)
    return chain, key


def properties_read(given: Given, *, actor: Actor) -> Properties:
    """Where and as what the actor's new certificate goes. Raises NotAllowed."""
    home = home_for(actor, tags=given.get("tags") or ())
    return Properties(
        name=given.get("name") or "",
        description=given.get("description") or "",
        tags=home.tags,
        metadata=given.get("metadata") or {},
        exposed=given.get("exposed", False),
        api_id=given.get("id") or "",
        organization=Organization.objects.get(pk=home.organization_id),
        department=Department.objects.get(pk=home.department_id) if home.department_id else None,
    )


def _nothing() -> InputError:
    return InputError(
        "There is neither a certificate nor a key in it.",
        advice="Send `chain`, `privateKey` or both; POST /api/certificates/_keypair makes a key pair.",
        code="chain-missing",
    )

"""What a person changes of a certificate that is there: how it is described, and how it renews."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db import transaction

from certs.domain.errors import InputError
from certs.domain.properties import description_check, metadata_check, name_check, tags_check
from certs.domain.roles import Place, Right
from certs.models import (
    Certificate,
    CertificateName,
)
from certs.models.statements import row_delete, row_insert
from certs.services.access import Actor, needs, require
from certs.services.certificate_properties import (
    account_belongs,
    certificate_summary,
    certificate_tags,
    department_check,
    tags_write,
)
from certs.services.events import audit_record
from certs.services.issue_options import (
    IssueOptions,
    issue_options_check,
    issue_options_of,
    issue_options_set,
    issue_options_shown,
)
from certs.services.versions import label_row
from portal import clock

_RENEWAL = frozenset({"account", "key_type", "auto_renew", "renew_before_days", "check_hours"})
_DESCRIBING = frozenset({"name", "description", "metadata", "tags", "exposed", "department"})
# Not its names: who wishes for others asks for another certificate, and this one stays as long as it is bound.
_EDITABLE = _RENEWAL | _DESCRIBING
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": name_check,
    "description": description_check,
    "metadata": metadata_check,
    "tags": tags_check,
}


@needs(Right.CERTIFICATE_CHANGE)
def certificate_update(certificate: Certificate, *, actor: Actor, **fields: Any) -> bool:
    """Change what a person may: name, description, metadata, tags, exposed, department; account, key_type, auto_renew,
    renew_before_days, check_hours. False where nothing changes.

    A change of the renewal is weighed by the next tick: the certificate is looked at again at once. One audit event
    holds what changed. Raises InputError naming what cannot be stored; then nothing is.
    """
    unknown = fields.keys() - _EDITABLE
    if unknown:
        raise InputError(
            f"{', '.join(sorted(unknown))} cannot be changed by hand.",
            advice="Ask for a new certificate for other names." if "names" in unknown else "",
        )
    wanted = _checked(certificate, fields)
    before = certificate_summary(certificate, certificate_tags(certificate) if "tags" in wanted else None)
    tags = wanted.pop("tags", None)
    changed = {name for name, value in wanted.items() if getattr(certificate, name) != value}
    retagged = tags is not None and tags != before["tags"]
    if not changed and not retagged:
        return False
    if retagged or "department" in changed:
        department = wanted.get("department", certificate.department)
        held = frozenset(certificate_tags(certificate) if tags is None else tags)
        # Nobody moves one to where they may not change it, which is what a token's tags are for.
        place = Place(certificate.organization_id, department.pk if department else None, held)
        require(actor, Right.CERTIFICATE_CHANGE, place)
    for name in changed:
        setattr(certificate, name, wanted[name])
    if changed & _RENEWAL:
        certificate.next_check_at = clock.now()
        changed.add("next_check_at")
    with transaction.atomic():
        if changed:
            certificate.save(update_fields=changed)
        if "name" in changed:
            row_delete(CertificateName, {"certificate": certificate, "kind": CertificateName.Kind.LABEL})
            row_insert(label_row(certificate))
        if retagged:
            tags_write(certificate, tags or [])
        audit_record(
            actor, "certificate.change", certificate, before=before, after=certificate_summary(certificate, tags)
        )
    return True


@needs(Right.CERTIFICATE_CHANGE)
def certificate_tags_set(certificate: Certificate, tags: Sequence[str], *, actor: Actor) -> bool:
    """These and no others; False where they are the same already. Raises InputError."""
    return certificate_update(certificate, actor=actor, tags=tags)


@needs(Right.CERTIFICATE_CHANGE)
def certificate_options_change(certificate: Certificate, options: IssueOptions, *, actor: Actor) -> bool:
    """For the orders to come; the version in use stays. False where nothing changes. Raises InputError, and what
    `method_settle` raises for a new challenge method."""
    before = issue_options_of(certificate)
    if options == before:
        return False
    if certificate.account is None or certificate.source != Certificate.Source.ACME:
        raise InputError(f"{certificate.name} does not come from a CA.", advice="There is nothing to choose for it.")
    issue_options_check(options, names=certificate.names, account=certificate.account)
    with transaction.atomic():
        kept = issue_options_set(certificate, options, actor=actor)
        if kept != before:
            was, now = issue_options_shown(before), issue_options_shown(kept)
            audit_record(actor, "certificate.options", certificate, before=was, after=now)
    return kept != before


def _checked(certificate: Certificate, fields: Mapping[str, Any]) -> dict[str, Any]:
    wanted = {name: _CHECKS[name](value) if name in _CHECKS else value for name, value in fields.items()}
    department_check(wanted.get("department"), certificate.organization_id)
    account_belongs(wanted.get("account"), certificate.organization_id)
    renewable = certificate.source != Certificate.Source.UPLOADED or certificate.authority_id is not None
    if wanted.get("auto_renew") and not certificate.auto_renew and not renewable:
        raise InputError(
            f"{certificate.name} was brought from outside: nobody here can renew it.",
            advice="Get one for the same names from a CA, or issue one from an authority of your own.",
            code="auto_renew",
        )
    return wanted

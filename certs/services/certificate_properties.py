"""What its owner says of a certificate: checked, stored beside it, and written into the audit trail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from certs.domain.errors import ConflictError, InputError
from certs.domain.properties import NAME_LIMIT, api_id_check, description_check, metadata_check, name_check, tags_check
from certs.models import (
    AcmeAccount,
    Certificate,
    CertificateTag,
    Department,
    Organization,
)
from certs.models.statements import row_delete
from certs.services.access import Actor, home_for


@dataclass(frozen=True)
class Properties:
    """What its owner says of a certificate. An empty name: its first DNS name; no organization: the default one."""

    name: str = ""
    description: str = ""
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    exposed: bool = False
    api_id: str = ""  # chosen by a program; one that is a UUID becomes the primary key
    organization: Organization | None = None
    department: Department | None = None


def certificate_tags(certificate: Certificate) -> list[str]:
    return sorted(row.tag for row in certificate.tag_rows.all())


def api_id_refuse_taken(api_id: str) -> None:
    """Raises ConflictError (code "id"). For whoever signs or orders first, and stores after."""
    taken = Certificate.objects.filter(api_id=api_id).first() if api_id else None
    if taken is None and api_id and isinstance(uid := api_id_check(api_id), UUID):
        taken = Certificate.objects.filter(pk=uid).first()
    if taken is not None:
        raise ConflictError(
            # Not whose: it may be another organization's.
            f"The id {api_id} is taken{', by a certificate that was deleted' if taken.deleted_at else ''}.",
            advice="Restore it, or choose another id."
            if taken.deleted_at
            else "Change that one, or choose another id.",
            code="id",
        )


@dataclass(frozen=True)
class Fields:
    """Properties that were checked: `columns` of the new row."""

    columns: dict[str, Any]
    tags: list[str]
    organization_id: UUID
    api_id: str


def fields_of(given: Properties, actor: Actor, *, fallback: str) -> Fields:
    """Raises InputError, NotAllowed where the actor may add nothing there. Whether the id is taken is told when the row
    is made: the same certificate again may come under its own."""
    chosen = api_id_check(given.api_id) if given.api_id else ""
    tags = tags_check(given.tags)
    home = home_for(actor, organization=given.organization, department=given.department, tags=tags)
    if given.organization is not None:
        department_check(given.department, given.organization.pk)
    columns = {
        **({"pk": chosen} if isinstance(chosen, UUID) else {"api_id": chosen}),
        "name": name_check(given.name) if given.name.strip() else _printable(fallback),
        "description": description_check(given.description),
        "metadata": metadata_check(given.metadata),
        "exposed": given.exposed,
        "organization_id": home.organization_id,
        "department_id": home.department_id,
    }
    return Fields(columns, tags_check(home.tags), home.organization_id, given.api_id)


def account_belongs(account: AcmeAccount | None, organization: UUID | None) -> None:
    """Names that an account has proven are proven for all who order with it. Raises InputError."""
    if account is not None and account.organization_id != organization:
        raise InputError(
            f"The account {account} belongs to another organization.",
            advice="Choose one of the organization of the certificate.",
            code="account",
        )


def department_check(department: Department | None, organization: UUID | None) -> None:
    if department is not None and department.organization_id != organization:
        raise InputError(
            f"{department} belongs to another organization.", advice="Choose one of its own.", code="department"
        )


def tags_write(certificate: Certificate, tags: Sequence[str]) -> None:
    row_delete(CertificateTag, {"certificate": certificate})
    if tags:
        CertificateTag.objects.bulk_create(CertificateTag(certificate=certificate, tag=tag) for tag in tags)


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in name)[:NAME_LIMIT].strip() or "unnamed"


def certificate_summary(certificate: Certificate, tags: Sequence[str] | None = None) -> dict[str, Any]:
    """As the audit trail has it; with tags where they are given."""
    return {
        "name": certificate.name,
        "source": str(certificate.source),
        "names": certificate.names,
        "directory": certificate.account.directory_url if certificate.account else "",
        "key_type": certificate.key_type,
        "auto_renew": certificate.auto_renew,
        "renew_before_days": certificate.renew_before_days,
        "check_hours": certificate.check_hours,
        "description": certificate.description,
        "metadata": certificate.metadata,
        "exposed": certificate.exposed,
        "department": str(certificate.department_id or ""),
        **({} if tags is None else {"tags": list(tags)}),
    }

"""Organizations and departments: where certificates belong, and where roles are held."""

from django.db import IntegrityError, transaction

from certs.domain.errors import ConflictError, InputError
from certs.domain.properties import name_check
from certs.domain.roles import Place, Right
from certs.models import (
    AcmeAccount,
    Authority,
    Certificate,
    CertificateTag,
    Department,
    Order,
    Organization,
)
from certs.services.access import Actor, needs, require
from certs.services.events import audit_record
from certs.services.portal_state import state_lock
from certs.services.versions import certificate_lock, refuse_taken_again
from portal import clock

LONGEST_NAME = 200


@needs(Right.PERSON)
def organization_create(name: str, *, actor: Actor) -> Organization:
    """Raises InputError, ConflictError for a name that is taken."""
    row = Organization(name=name_check(name, most=LONGEST_NAME))
    _save(row, actor, "organization.create")
    return row


@needs(Right.PERSON)
def organization_rename(organization: Organization, name: str, *, actor: Actor) -> None:
    """Raises InputError, ConflictError for a name that is taken."""
    organization.name = name_check(name, most=LONGEST_NAME)
    _save(organization, actor, "organization.rename")


@needs(Right.PERSON)
def department_create(organization: Organization, name: str, *, actor: Actor) -> Department:
    """Raises InputError, ConflictError for a name that is taken within the organization."""
    row = Department(organization=organization, name=name_check(name, most=LONGEST_NAME))
    _save(row, actor, "department.create")
    return row


@needs(Right.PERSON)
def department_rename(department: Department, name: str, *, actor: Actor) -> None:
    """Raises InputError, ConflictError for a name that is taken within the organization."""
    department.name = name_check(name, most=LONGEST_NAME)
    _save(department, actor, "department.rename")


@needs(Right.CERTIFICATE_CHANGE)
def certificate_move(
    certificate: Certificate,
    organization: Organization,
    *,
    department: Department | None = None,
    account: AcmeAccount | None = None,
    actor: Actor,
) -> None:
    """To another organization; the actor needs rights on both sides.

    One that a CA renews goes to an `account` of the new organization, and its challenge is chosen by itself again:
    proven names and credentials stay where they are. Raises InputError, NotAllowed, ConflictError while an order is
    under way.
    """
    if department is not None and department.organization_id != organization.pk:
        raise InputError(f"{department} belongs to another organization.", advice="Choose one of its own.")
    if organization.pk == certificate.organization_id:
        raise InputError(f"{certificate.name} belongs to {organization} already.", advice="Choose another one.")
    tags = frozenset(CertificateTag.objects.filter(certificate=certificate).values_list("tag", flat=True))
    require(actor, Right.CERTIFICATE_ADD, Place(organization.pk, department.pk if department else None, tags))
    if Authority.objects.filter(certificate=certificate).exists():
        require(actor, Right.AUTHORITY, Place(certificate.organization_id))
        require(actor, Right.AUTHORITY, Place(organization.pk))
    _account_check(certificate, organization, account)
    with transaction.atomic():
        state_lock()
        row = certificate_lock(certificate)
        refuse_taken_again(row, organization.pk)
        if Order.objects.filter(certificate=row, finished_at=None).exists():
            raise ConflictError(f"An order for {row.name} is under way.", advice="Wait for it, or cancel it first.")
        before = {"organization": row.organization.name, "account": str(row.account or "")}
        row.organization, row.department, row.next_check_at = organization, department, clock.now()
        if row.account is not None:
            row.account, row.challenge_method = account, None
            row.fallbacks.all().delete()
        row.save(update_fields=["organization", "department", "account", "challenge_method", "next_check_at"])
        after = {"organization": organization.name, "account": str(row.account or "")}
        audit_record(actor, "certificate.move", row, before=before, after=after)
    certificate.refresh_from_db()


def _account_check(certificate: Certificate, organization: Organization, account: AcmeAccount | None) -> None:
    if certificate.account is not None and (account is None or account.organization_id != organization.pk):
        raise InputError(
            f"{certificate.name} is renewed by an account of its own organization.",
            advice=f"Choose an account of {organization}.",
            code="account",
        )
    if account is not None and (certificate.account is None or account.deactivated_at is not None):
        raise InputError(f"The account {account} cannot renew it.", advice="Choose another one.", code="account")
    signer = certificate.authority
    if signer is not None and signer.certificate.organization_id != organization.pk:
        raise InputError(
            f"{certificate.name} is issued by the authority {signer} of its own organization.",
            advice="Issue a new one from an authority of the other organization.",
            code="authority",
        )


def _save(row: Organization | Department, actor: Actor, action: str) -> None:
    kind = type(row)
    before = kind.objects.filter(pk=row.pk).values_list("name", flat=True).first()
    try:
        with transaction.atomic():
            row.save()
            audit_record(actor, action, row, before={"name": before} if before else {}, after={"name": row.name})
    except IntegrityError as error:
        raise ConflictError(f"The name “{row.name}” is taken.", advice="Choose another one.", code="name") from error


def organization_find(word: str) -> Organization:
    """By its name or id. Raises InputError."""
    found = next((row for row in Organization.objects.all() if word in (row.name, str(row.pk))), None)
    if found is None:
        names = ", ".join(Organization.objects.order_by("name").values_list("name", flat=True)[:10])
        raise InputError(f"No organization is called “{word}”.", advice=f"There is {names}.", code="organization")
    return found


def department_find(word: str, organization: Organization | None = None) -> Department:
    """By its name or id, where it is the only one so called. Raises InputError."""
    rows = Department.objects.select_related("organization")
    rows = rows.filter(organization=organization) if organization else rows
    found = [row for row in rows if word in (row.name, str(row.pk))]
    if len(found) != 1:
        how = "No department is" if not found else "Several departments are"
        raise InputError(f"{how} called “{word}”.", advice="Name its organization, too.", code="department")
    return found[0]

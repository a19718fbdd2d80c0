"""Asking a CA for certificates by name: which account, which Certificate, and whether an order is needed at all."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from certs.acme.directories import directory_label
from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed
from certs.domain.renewal import Code, Decision
from certs.models import AcmeAccount, Certificate, Order, User
from certs.services.accounts import account_get_or_create, directory_read
from certs.services.certificates import certificate_new
from certs.services.orders import order_create
from certs.services.portal_state import state_get
from certs.services.sweeps import FAILED, FORCED, SweepLine, renewal_decision


@dataclass(frozen=True)
class CaChoice:
    """Which CA, as a person says it. An empty directory means the one that Configuration ➜ Let's Encrypt uses."""

    directory_url: str = ""
    email: str = ""
    ca_bundle: str = ""  # PEM
    allow_private: bool = False
    terms_accepted: bool = False


def portal_account() -> AcmeAccount | None:
    """The account that renews the portal's own certificate."""
    certificate = state_get().portal_certificate
    return certificate.account if certificate else None


def account_for(choice: CaChoice, *, actor: User | str | None) -> AcmeAccount:
    """The account to order with: one that is known, else a new one, after the CA's directory was read (network).

    Raises InputError, NotAllowed naming the terms that were not accepted, AcmeFailure.
    """
    if choice.email:
        _email_check(choice.email)
    known = _known_account(choice)
    if known is not None and known.terms_agreed_at is not None and not (choice.ca_bundle or choice.allow_private):
        return known
    bundle = choice.ca_bundle or (known.ca_bundle if known else "")
    private = choice.allow_private or (known is not None and known.allow_private)
    url = choice.directory_url
    terms_url = ""
    if known is None or known.terms_agreed_at is None:
        directory = directory_read(url, ca_bundle=bundle, allow_private=private)
        terms_url = directory.terms_url
        if directory.eab_required:
            raise InputError(
                f"{directory_label(url)} wants an external account binding, which cannot be given here yet.",
                advice="Choose another CA.",
            )
        if terms_url and not choice.terms_accepted:
            raise NotAllowed(
                f"The terms of {directory_label(url)} have not been accepted.",
                advice=f"Read them at {terms_url}, then add --accept-terms.",
                code="terms",
            )
    return account_get_or_create(
        directory_url=url,
        email=known.email if known else choice.email,
        ca_bundle=bundle,
        allow_private=private,
        terms_url=terms_url,
        actor=actor,
    )


def certificate_order(
    names: Sequence[str],
    account: AcmeAccount,
    *,
    actor: User | str | None,
    key_type: str = "ec-p256",
    bind: bool = False,
    force: bool = False,
) -> SweepLine:
    """Order a certificate for exactly these names unless a good one is there or an order is under way.

    The certificate of the same names and account gets the new version; otherwise a new one is made, together with its
    order or not at all. What stands against a known one is in the line; for a new one it is raised (BinderyError).
    """
    known = _known_certificate(names, account)
    if known is not None:
        decision = renewal_decision(known)
        if known.current is not None and not decision.due and not force and decision.code == Code.NOT_DUE:
            return _line(known, decision, text=f"A good one is there. {decision.text}")
    try:
        with transaction.atomic():
            certificate = known or certificate_new(
                name=names[0], names=names, account=account, actor=actor, key_type=key_type
            )
            decision = renewal_decision(certificate, asked=True, force=force)
            if not decision.due and known is None:
                raise NotAllowed(decision.text)  # and the new certificate is not kept
            if not decision.due:
                return _line(certificate, decision)
            order = order_create(certificate, reason=FORCED if force else str(Code.ASKED), actor=actor, bind=bind)
    except ConflictError as error:
        if known is None:
            raise
        return _line(known, decision, code=str(Code.BUSY), text=str(error))
    except BinderyError as error:
        if known is None:
            raise
        return _line(known, decision, code=FAILED, text=str(error))
    return _line(certificate, decision, order=order)


def _known_account(choice: CaChoice) -> AcmeAccount | None:
    own = portal_account()
    if own is not None and own.directory_url == choice.directory_url and choice.email in {"", own.email}:
        return own
    rows = AcmeAccount.objects.filter(directory_url=choice.directory_url)
    if choice.email:
        return rows.filter(email=choice.email).first()
    return rows.exclude(terms_agreed_at=None).order_by("created_at").first()


def _known_certificate(names: Sequence[str], account: AcmeAccount) -> Certificate | None:
    rows = Certificate.objects.filter(
        source=Certificate.Source.ACME, deleted_at=None, account=account, names=sorted(names)
    )
    return rows.select_related("current__key", "account").order_by("-created_at").first()


def _line(
    certificate: Certificate, decision: Decision, *, code: str = "", text: str = "", order: Order | None = None
) -> SweepLine:
    return SweepLine(
        certificate=certificate.pk,
        name=certificate.name,
        names=tuple(certificate.names),
        code=code or str(decision.code),
        text=text or decision.text,
        due=order is not None,
        not_after=certificate.current.not_after if certificate.current else None,
        next_check_at=decision.next_check_at,
        order=order.pk if order else None,
    )


def _email_check(email: str) -> None:
    try:
        validate_email(email)
    except ValidationError as error:
        raise InputError(f"“{email}” is no e-mail address.", advice="Type it like you@example.com.") from error

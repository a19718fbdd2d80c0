"""Asking a CA because a person wants it: which account, which Certificate, and whether an order may be made at all.

What a person asks for goes past much of what holds the schedule back, but never past what the CA asks for itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from certs.acme.directories import KNOWN, directory_label
from certs.domain.budget import Budget
from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed
from certs.domain.preflight import Finding
from certs.domain.renewal import Code, Decision
from certs.domain.roles import Right
from certs.models import AcmeAccount, Certificate, ChallengeMethod, Order
from certs.selectors import accounts_usable, certificates_wanted, visible
from certs.services.access import Actor, needs, require
from certs.services.accounts import account_get_or_create, directory_read
from certs.services.certificate_changes import certificate_options_change
from certs.services.certificates import certificate_new
from certs.services.directories import directory_named
from certs.services.issue_options import IssueOptions, issue_options_of
from certs.services.ledger import budgets_shown
from certs.services.orders import order_create
from certs.services.portal_state import state_get, state_lock
from certs.services.preflight import preflight_run
from certs.services.preflight_names import Target
from certs.services.rehearsals import rehearsal_ask
from certs.services.sweeps import FAILED, FORCED, SweepLine, renewal_decision, sweep_run

ON_DEMAND = "on-demand"  # the reason of such an order


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
    account = certificate.account if certificate else None
    return account if account is not None and account.deactivated_at is None else None


def directory_usual() -> str:
    """The address of the directory that is asked where nobody says which: the portal's own CA."""
    own = portal_account()
    return own.directory_url if own else KNOWN["letsencrypt"].url


def account_fallback(word: str) -> AcmeAccount:
    """The account to fall back on, by the key or the address of its CA: one that is there and can order.

    Raises InputError.
    """
    found = accounts_usable().filter(directory_url=directory_named(word)).first()
    if found is None:
        raise InputError(
            f"There is no account at {word} to fall back on.", advice="Make one first: manage.py accounts."
        )
    return found


@needs(Right.CERTIFICATE_ADD)
def account_for(choice: CaChoice, *, actor: Actor) -> AcmeAccount:
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
        if directory.eab_required and not (known and (known.account_url or known.eab_sealed)):
            raise InputError(
                f"{directory_label(url)} wants an external account binding.",
                advice="Register there first: manage.py accounts register, with --eab-kid.",
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


@needs(Right.CERTIFICATE_ADD)
def certificate_order(
    names: Sequence[str],
    account: AcmeAccount,
    *,
    actor: Actor,
    wanted: Mapping[str, Any] | None = None,
    bind: bool = False,
    force: bool = False,
    use_last: bool = False,
    on_demand: bool = False,
) -> SweepLine:
    """Order a certificate for exactly these names unless a good one is there or an order is under way.

    The certificate of the same names and account gets the new version; otherwise a new one is made, together with its
    order or not at all. `wanted` are fields of IssueOptions; a known certificate keeps the others. What stands against
    a known one is in the line; for a new one it is raised (BinderyError). Where the order would spend the last that a
    limit of the CA leaves, `use_last` has to say that it may (else ConflictError, code "last-token"). `on_demand`: a
    visitor brought it about, not a person.
    """
    require(actor, Right.READ, account)
    known = _known_certificate(names, account, actor)
    with transaction.atomic():
        if known is None:
            state_lock()  # of two who ask for the same names at once, the second finds what the first has made
            known = _known_certificate(names, account, actor)
        if known is not None:
            certificate_options_change(known, replace(issue_options_of(known), **wanted or {}), actor=actor)
            decision = renewal_decision(known)
            if known.current is not None and not decision.due and not force and decision.code == Code.NOT_DUE:
                return _line(known, decision, text=f"A good one is there. {decision.text}")
        try:
            with transaction.atomic():
                certificate = known or certificate_new(
                    name=names[0],
                    names=names,
                    account=account,
                    actor=actor,
                    options=IssueOptions(**wanted or {}),
                    on_demand=on_demand,
                )
                decision = renewal_decision(certificate, asked=True, force=force, use_last=use_last)
                if not decision.due and known is None:  # and the new certificate is not kept
                    raise _asks_first(decision) if decision.code == Code.LAST_ONE else NotAllowed(decision.text)
                if not decision.due:
                    return _line(certificate, decision)
                reason = ON_DEMAND if on_demand else FORCED if force else str(Code.ASKED)
                order = order_create(certificate, reason=reason, actor=actor, bind=bind)
        except ConflictError as error:
            if known is None:
                raise
            return _line(known, decision, code=str(Code.BUSY), text=str(error))
        except BinderyError as error:
            if known is None:
                raise
            return _line(known, decision, code=FAILED, text=str(error))
        return _line(certificate, decision, order=order)


@needs(Right.CERTIFICATE_CHANGE)
def certificate_renew(certificate: Certificate, *, actor: Actor, use_last: bool = False) -> Order:
    """Renew now, within the same limits as the schedule, but before it is due; an order under way is returned.

    Raises ConflictError saying why it does not go now; its code is "last-token" where only `use_last` is missing.
    """
    line = sweep_run(only=[certificate], actor=actor, use_last=use_last)[0]
    order = Order.objects.filter(pk=line.order).first() if line.order else None
    if order is None and line.code == Code.LAST_ONE:
        raise _asks_first(line)
    if order is None:
        raise ConflictError(f"It is not renewed now: {line.text}")
    return order


@needs(Right.CERTIFICATE_CHANGE)
def order_ask(
    certificate: Certificate,
    *,
    actor: Actor,
    bind: bool = False,
    bind_address: str = "",
    bind_port: int | None = None,
    use_last: bool = False,
) -> Order:
    """An order because somebody has changed something: at once, unless the CA itself is to be spared.

    Raises ConflictError where its Retry-After, its rate limits or the tries of this hour stand against it (code
    "last-token" where only `use_last` is missing), and what `order_create` does.
    """
    known = Certificate.objects.select_related("current__key", "account").get(pk=certificate.pk)
    decision = renewal_decision(known, asked=True, force=True, use_last=use_last)
    if decision.code == Code.LAST_ONE:
        raise _asks_first(decision)
    if decision.code == Code.HELD_BACK:
        raise ConflictError(decision.text, advice="Asking the CA earlier would gain nothing.", code=str(decision.code))
    return order_create(
        certificate, reason=str(Code.ASKED), actor=actor, bind=bind, bind_address=bind_address, bind_port=bind_port
    )


@needs(Right.CERTIFICATE_CHANGE)
def order_retry(order: Order, *, actor: Actor, use_last: bool = False) -> Order:
    """The same wish once more, binding included, as a new order; a rehearsal is rehearsed again. Raises what
    `order_ask` raises."""
    if order.rehearsal:
        return rehearsal_ask(order.certificate, actor=actor)
    return order_ask(
        order.certificate,
        actor=actor,
        bind=order.bind,
        bind_address=order.bind_address,
        bind_port=order.bind_port,
        use_last=use_last,
    )


def preflight_ahead(
    ca: CaChoice | AcmeAccount,
    names: Sequence[str],
    *,
    method: ChallengeMethod | None = None,
    method_kind: str = "",
) -> list[Finding]:
    """What a look before the order that `certificate_order` would make finds, the worst first. Network, about 15 s at
    most; nothing is stored."""
    account = ca if isinstance(ca, AcmeAccount) else _known_account(ca)
    certificate = _known_certificate(names, account) if account else None
    target = Target.of(account or AcmeAccount(directory_url=ca.directory_url))
    if isinstance(ca, CaChoice):
        bundle, private = ca.ca_bundle or target.ca_bundle, ca.allow_private or target.allow_private
        target = replace(target, ca_bundle=bundle, allow_private=private)
    return preflight_run(names, target, method=method, method_kind=method_kind, certificate=certificate)


def budgets_ahead(directory_url: str, email: str, names: Sequence[str]) -> list[Budget]:
    """What an order for these names would meet at this CA, before anything of it is stored; the worst first."""
    account = _known_account(CaChoice(directory_url=directory_url, email=email))
    if account is None:
        return budgets_shown(AcmeAccount(directory_url=directory_url), names)
    return budgets_shown(account, names, certificate=_known_certificate(names, account))


def _asks_first(decision: Decision | SweepLine) -> ConflictError:
    advice = "Confirm that it may be used, or wait until there is more."
    return ConflictError(decision.text, advice=advice, code=str(Code.LAST_ONE))


def _known_account(choice: CaChoice) -> AcmeAccount | None:
    own = portal_account()
    if own is not None and own.directory_url == choice.directory_url and choice.email in {"", own.email}:
        return own
    here = {"directory_url": choice.directory_url}
    if choice.email:
        return AcmeAccount.objects.filter(**here, email=choice.email, deactivated_at=None).first()
    return accounts_usable().filter(**here).first()


def _known_certificate(names: Sequence[str], account: AcmeAccount, actor: Actor = "") -> Certificate | None:
    """Among those that the actor may see."""
    rows = certificates_wanted(names).filter(visible(actor), account=account)
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

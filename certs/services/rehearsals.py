"""Rehearsals: the whole order at the CA's staging directory, whose limits are wide, before the real one is tried again.

What a rehearsal brings is proven like any certificate and then dropped: it is never stored, bound or counted.
"""

import logging

from certs.acme.directories import KNOWN, directory_label
from certs.domain.errors import BinderyError, ConflictError
from certs.domain.roles import Right
from certs.models import AcmeAccount, AcmeDirectory, Certificate, Order
from certs.services.access import Actor, OnBehalf, needs
from certs.services.accounts import account_get_or_create
from certs.services.challenges import solver_kinds
from certs.services.orders import order_create
from portal import clock

log = logging.getLogger("bindery.order")
AFTER_FAILURE = "after-failure"
ASKED = "rehearsal"
REHEARSED = "rehearsed"


def rehearsal_directory(account: AcmeAccount) -> str:
    """The address of the directory to rehearse at; "" where none is known."""
    set_by_hand = AcmeDirectory.objects.filter(directory_url=account.directory_url).exclude(rehearsal_url="").first()
    if set_by_hand is not None:
        return set_by_hand.rehearsal_url
    known = next((one for one in KNOWN.values() if one.url == account.directory_url), None)
    return KNOWN[known.rehearsal].url if known is not None and known.rehearsal else ""


def rehearsal_account(account: AcmeAccount, *, actor: Actor) -> AcmeAccount | None:
    """The account at the staging directory, made on first use with the terms that were accepted for the CA itself:
    where staging names other terms, its registration refuses. None where no staging directory is known. No network."""
    url = rehearsal_directory(account)
    if not url:
        return None
    found = account.rehearsal_account
    if found is not None and found.directory_url == url and found.deactivated_at is None:
        return found
    made = account_get_or_create(
        directory_url=url,
        email=account.email,
        ca_bundle=account.ca_bundle,
        allow_private=account.allow_private,
        terms_url=account.terms_url,
        organization=account.organization,
        actor=OnBehalf(actor),
    )
    AcmeAccount.objects.filter(pk=account.pk).update(rehearsal_account=made)
    account.rehearsal_account = made
    return made


@needs(Right.CERTIFICATE_CHANGE)
def rehearsal_ask(certificate: Certificate, *, actor: Actor) -> Order:
    """The button: nothing follows but its result. Raises ConflictError where there is no staging directory, or an
    order under way."""
    account = rehearsal_account(certificate.account, actor=actor) if certificate.account else None
    if account is None:
        label = directory_label(certificate.account.directory_url) if certificate.account else certificate.name
        raise ConflictError(
            f"No staging directory is known for {label}.",
            advice="Set one for its directory under Configuration ➜ CA accounts, or order at once.",
            code="no-staging",
        )
    return order_create(certificate, reason=ASKED, actor=actor, rehearsal=account)


def rehearsal_needed(certificate: Certificate) -> bool:
    """After a failure, while there is time: an expiring certificate is not held up by a rehearsal, and no person is
    asked to prove the same twice."""
    version, method = certificate.current, certificate.challenge_method
    if method is not None and (solver := solver_kinds().get(method.kind)) is not None and solver.by_hand:
        return False
    if not certificate.failures or certificate.account is None or not rehearsal_directory(certificate.account):
        return False
    return version is None or version.not_after - clock.now() > version.lifetime / 20


def rehearsal_follow(order: Order) -> None:
    """The real order, after the rehearsal that a failure called for; inside that one's last transaction."""
    if order.reason != AFTER_FAILURE:
        return
    try:
        order_create(
            Certificate.objects.get(pk=order.certificate_id),
            reason=REHEARSED,
            actor=OnBehalf(order.requested_by or "schedule"),
            bind=order.bind,
            bind_address=order.bind_address,
            bind_port=order.bind_port,
        )
    except BinderyError as error:  # deleted, or asked for by somebody else meanwhile
        log.warning("The order after the rehearsal of %s was not made: %s", order, error)

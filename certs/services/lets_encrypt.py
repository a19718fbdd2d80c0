"""What stands behind Configuration ➜ Let's Encrypt: the one certificate that the portal gets for itself.

A change of names or directory is a certificate of its own: the one before stays bound and renewed until the new one is
bound (`lets_encrypt_settle`), so that a name with a typing error never stops the renewal of what works.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from django.conf import settings
from django.core.cache import cache
from django.db import transaction

from certs.acme.client import ExternalAccount
from certs.domain import states
from certs.domain.addresses import address_parse, addresses_collide, addresses_meant
from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed
from certs.domain.names import is_address
from certs.domain.roles import Right
from certs.models import AcmeAccount, Binding, Certificate, Listener, Order, PortalState
from certs.selectors import certificates_wanted
from certs.services.access import Actor, needs
from certs.services.accounts import account_get_or_create
from certs.services.bindings import binding_check, binding_remove, binding_set
from certs.services.certificate_changes import certificate_options_change, certificate_update
from certs.services.certificates import certificate_new
from certs.services.container import addresses_are_published
from certs.services.events import audit_record
from certs.services.https import hsts_guard
from certs.services.issue_options import IssueOptions
from certs.services.issuing import certificate_renew, order_ask
from certs.services.listeners import address_is_local, address_usable, listener_get
from certs.services.orders import order_cancel
from certs.services.portal_state import state_get, state_lock, state_update
from certs.services.rebinds import rebind_listener

log = logging.getLogger("bindery.lets-encrypt")
_FORM_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Wish:
    """What the form asks for. `address` and `port` empty leave the listener as it is; "0.0.0.0" is every address.

    `form_id` names one showing of the form: sent twice, it makes one order.
    """

    directory_url: str
    names: Sequence[str]  # A-labels
    email: str
    terms_url: str  # the terms that were accepted
    ca_bundle: str = ""
    allow_private: bool = False
    address: str = ""
    port: int | None = None
    form_id: str = ""
    options: IssueOptions = field(default_factory=IssueOptions)
    eab: ExternalAccount | None = None
    use_last: bool = False  # the order may spend the last that a rate limit leaves


@needs(Right.SETTING)
def lets_encrypt_register(wish: Wish, *, actor: Actor) -> Order:
    """Account, certificate and order for the portal itself; returns the order, an open one where there is one already.

    The same names at the same account are the same certificate. Raises InputError, ConflictError, NotAllowed; nothing
    is stored then.
    """
    listener_wish_check(wish.address, wish.port)
    account = account_get_or_create(
        directory_url=wish.directory_url,
        email=wish.email,
        ca_bundle=wish.ca_bundle,
        allow_private=wish.allow_private,
        terms_url=wish.terms_url,
        eab=wish.eab,
        actor=actor,
    )
    with transaction.atomic():
        state = state_lock()  # of two presses of the button one waits here and then finds what the other made
        made = _order_of_form(wish.form_id)
        if made is not None:
            return made
        certificate = _certificate(account, sorted(wish.names), wish.options, state, actor)
        order = Order.objects.filter(certificate=certificate, finished_at=None).first()
        if order is None:
            address, port = _listener_wish(wish.address, wish.port)
            order = order_ask(
                certificate, actor=actor, bind=True, bind_address=address, bind_port=port, use_last=wish.use_last
            )
        _take_over(state, certificate, actor)
        if wish.form_id:
            cache.set(_form_key(wish.form_id), str(order.pk), _FORM_SECONDS)
    return order


@needs(Right.CERTIFICATE_CHANGE)
def lets_encrypt_renew(*, actor: Actor, use_last: bool = False) -> Order:
    """Renew now, within the limits that keep the CA content. Raises ConflictError saying why it does not go now."""
    return certificate_renew(_configured(), actor=actor, use_last=use_last)


@needs(Right.SETTING)
def lets_encrypt_stop(*, instead: Certificate | None, keep: bool, actor: Actor) -> None:
    """No more renewals. With `keep` the certificate stays bound until it expires; otherwise `instead` takes its
    bindings, or the placeholder where that is None. Raises CertificateRefused, ConflictError."""
    certificate = _configured()
    managed = [one for one in (certificate, state_get().portal_replaces) if one is not None]
    if not keep:
        bound = Binding.objects.filter(certificate__in=managed).values_list("server_name", flat=True)
        hsts_guard({name: None if name else instead for name in bound})
        if instead is not None:
            binding_check("", instead)
    with transaction.atomic():
        for one in managed:
            _retire(one, actor)
        state_update(portal_certificate=None, portal_replaces=None)
        if not keep:
            _give_back(managed, instead, actor)
        audit_record(actor, "lets-encrypt.stop", certificate, after={"instead": _instead_words(instead, keep)})


@needs(Right.SETTING)
def lets_encrypt_settle(*, actor: Actor = "schedule") -> None:
    """Called by the tick. A certificate that came only with a later try is bound as it was wished; once the new one is
    bound, the one it took over from is renewed no longer. Cheap, and safe to repeat."""
    state = state_get()
    certificate, replaced = state.portal_certificate, state.portal_replaces
    if certificate is None:
        return
    if _wish_is_open(certificate):
        _bind(certificate, actor)
    if replaced is None or not Binding.objects.filter(certificate=certificate).exists():
        return
    if not Binding.objects.filter(certificate=replaced).exists():
        _retire(replaced, actor)
    PortalState.objects.filter(pk=1, portal_replaces=replaced).update(portal_replaces=None)


def listener_wish_check(address: str, port: int | None) -> None:
    """Whether the listener could go there now. Raises InputError, ConflictError (code `port`), NotAllowed."""
    address, port = _listener_wish(address, port)
    if not address and port is None:
        return
    rebind_listener()
    listener, plain = listener_get("https"), listener_get("http")
    wanted = addresses_meant(address) or listener.addresses
    number = listener.port if port is None else port
    if not 1 <= number <= 65535:
        raise InputError(f"{number} is not a port.", advice="Type a number from 1 to 65535.", code="port")
    for one in wanted:
        if not address_is_local(address_parse(one)):
            raise InputError(f"{one} is not an address of this machine.", code="address")
        if _collides(plain, one, number):
            raise ConflictError(
                f"Port {number} is the portal's own port for plain HTTP.", advice="Choose another.", code="port"
            )
        if _collides(listener, one, number):
            continue  # our own listener would fail the trial; the rebind looks closer
        try:
            address_usable(one, number)
        except (ConflictError, NotAllowed) as error:
            error.code = "port"
            raise


def _listener_wish(address: str, port: int | None) -> tuple[str, int | None]:
    """Without what is the case already, and without what another server or the environment decides."""
    listener = listener_get("https")
    if not listener.managed or addresses_are_published():
        return "", None
    if settings.HTTPS_ADDRESS_LOCKED or set(addresses_meant(address)) == set(listener.addresses):
        address = ""
    if settings.HTTPS_PORT_LOCKED or port == listener.port:
        port = None
    return address, port


def _collides(listener: Listener, address: str, port: int) -> bool:
    return port == listener.port and any(addresses_collide(address, other) for other in listener.addresses)


def _certificate(
    account: AcmeAccount, names: list[str], options: IssueOptions, state: PortalState, actor: Actor
) -> Certificate:
    found = certificates_wanted(names).filter(account=account).order_by("-created_at")
    certificate = next((one for one in found if one.pk == state.portal_certificate_id), None) or found.first()
    if certificate is None:
        return certificate_new(name=names[0], names=names, account=account, actor=actor, options=options)
    certificate_options_change(certificate, options, actor=actor)
    if not certificate.auto_renew:
        certificate_update(certificate, actor=actor, auto_renew=True)
    return certificate


def _take_over(state: PortalState, certificate: Certificate, actor: Actor) -> None:
    """`certificate` is the portal's from now on; what works stays until it is bound, what never worked goes."""
    before = state.portal_certificate
    if before is None or before.pk == certificate.pk:
        state_update(portal_certificate=certificate)
        return
    replaces = state.portal_replaces
    if Binding.objects.filter(certificate=before).exists():
        replaces = before
    else:
        _retire(before, actor)
    if replaces is not None and replaces.pk == certificate.pk:
        replaces = None  # back to what is bound anyway
    state_update(portal_certificate=certificate, portal_replaces=replaces)
    audit_record(
        actor,
        "lets-encrypt.change",
        certificate,
        before={"names": before.names, "directory": before.account.directory_url if before.account else ""},
        after={
            "names": certificate.names,
            "directory": certificate.account.directory_url if certificate.account else "",
        },
    )


def _give_back(managed: list[Certificate], instead: Certificate | None, actor: Actor) -> None:
    """The default goes to `instead`; the names are let go, so that the default answers for them."""
    for binding in Binding.objects.filter(certificate__in=managed):
        if instead is not None and not binding.server_name:
            binding_set("", instead, actor=actor)
        else:
            binding_remove(binding.server_name, actor=actor)


def _wish_is_open(certificate: Certificate) -> bool:
    """Register asked for the binding, that order failed, a later one brought the certificate; and nobody has chosen
    another default since, which would be the newer wish."""
    version = certificate.current
    if version is None or Binding.objects.filter(certificate=certificate).exists():
        return False
    wish = Order.objects.filter(certificate=certificate, bind=True).order_by("-created_at").first()
    if wish is None or wish.state not in (states.FAILED, states.CANCELLED) or version.created_at < wish.created_at:
        return False
    default = Binding.objects.filter(server_name="").first()
    return default is None or default.updated_at < wish.created_at


def _bind(certificate: Certificate, actor: Actor) -> None:
    try:
        for name in ["", *(name for name in certificate.names if not is_address(name))]:
            binding_set(name, certificate, actor=actor)
    except BinderyError as error:
        log.warning("the certificate could not be bound: %s", error, extra={"certificate": certificate.name})


def _retire(certificate: Certificate, actor: Actor) -> None:
    order = Order.objects.filter(certificate=certificate, finished_at=None).first()
    if order is not None:
        with suppress(ConflictError):  # it is being issued already, which does no harm
            order_cancel(order, actor=actor)
    if certificate.auto_renew:
        certificate_update(certificate, actor=actor, auto_renew=False)


def _configured() -> Certificate:
    certificate = state_get().portal_certificate
    if certificate is None or certificate.deleted_at is not None:
        raise ConflictError("Let's Encrypt is not configured.", advice="Press Configure first.")
    return certificate


def _order_of_form(form_id: str) -> Order | None:
    made = cache.get(_form_key(form_id)) if form_id else None
    return Order.objects.filter(pk=made).first() if made else None


def _form_key(form_id: str) -> str:
    return f"lets-encrypt-form:{form_id}"


def _instead_words(instead: Certificate | None, keep: bool) -> str:
    if keep:
        return "kept"
    return instead.name if instead else "placeholder"

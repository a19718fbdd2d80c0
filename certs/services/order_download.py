"""The certificate: asked to be issued, proven to be what was asked for, and kept for good."""

from contextlib import suppress

from django.db import transaction

from certs.acme.directories import is_test_directory
from certs.domain import states
from certs.domain.certinfo import CertInfo, certificate_info
from certs.domain.errors import AcmeFailure, CertificateRefused
from certs.domain.pem import Chain, certificates_read, chain_order, chain_prefer
from certs.models import PrivateKey
from certs.services.keys import key_open
from certs.services.ledger import ledger_issued
from certs.services.order_finish import end_unbound, is_to_bind
from certs.services.order_flow import Flow
from certs.services.order_views import order_await, order_follow, order_look, order_refused
from certs.services.rehearsals import rehearsal_follow
from certs.services.versions import version_add


def step_finalize(flow: Flow) -> None:
    """ready → finalized."""
    order = flow.order
    view = order_look(flow)
    if view.status != "ready" and order_follow(flow, view):
        return
    try:
        flow.view = flow.client.order_finalize(order.order_url, order.finalize_url, order.csr_pem)
    except AcmeFailure as error:
        if error.code != "acme-orderNotReady":
            raise
        flow.view = None  # an earlier request may have arrived: the order tells
    flow.move(states.FINALIZED, f"Asked {flow.ca} to issue.")


def step_download(flow: Flow) -> None:
    """finalized → issued: the certificate is proven to be what was asked for, then kept for good. Where it is not to be
    bound, that is all, and saved as such."""
    order = flow.order
    view = order_await(flow, {"ready", "valid", "invalid"})
    if view.status == "ready":
        # The request to issue did not arrive.
        flow.view = flow.client.order_finalize(order.order_url, order.finalize_url, order.csr_pem)
        view = order_await(flow, {"valid", "invalid"})
    if view.status != "valid" or not view.certificate:
        order_refused(flow, view)
    chain = _chain_wanted(flow, view.certificate)
    info = certificate_info(chain.leaf)
    if order.rehearsal:
        _rehearsed(flow, info)
        return
    bind = is_to_bind(order)
    with transaction.atomic():
        version = version_add(
            order.certificate,
            leaf=chain.leaf,
            chain=chain.intermediates,
            key=order.key,
            is_test=is_test_directory(order.account.directory_url),
        )
        flow.move(
            states.ISSUED,
            f"Issued by {info.issuer}, valid until {info.not_after:%Y-%m-%d %H:%M} UTC.",
            also=lambda: ledger_issued(order),
            at_once=bind,
            certificate_url=view.certificate,
            version=version,
        )
        if not bind:
            end_unbound(flow)
    flow.client_return()


def _rehearsed(flow: Flow, info: CertInfo) -> None:
    def follow() -> None:
        ledger_issued(flow.order)
        rehearsal_follow(flow.order)

    flow.move(
        states.DONE,
        f"The rehearsal succeeded: {info.issuer} issued until {info.not_after:%Y-%m-%d %H:%M} UTC. "
        "That certificate is dropped.",
        also=follow,
        key=None,
        csr_pem="",
    )


def _chain_wanted(flow: Flow, url: str) -> Chain:
    """With the chain that is preferred, where the CA offers it; every other case is the CA's default."""
    preferred = flow.order.certificate.preferred_chain
    sent = flow.client.certificate_read(url, alternates=bool(preferred))
    chains = [chain_proven(flow, sent.default, flow.order.key)]
    for pem in sent.alternates:
        with suppress(CertificateRefused):  # what does not fit is no choice; the default is
            chains.append(chain_proven(flow, pem, flow.order.key))
    return chain_prefer(chains, preferred)


def chain_proven(flow: Flow, pem: bytes, key: PrivateKey | None) -> Chain:
    """Leaf and intermediates as the CA sent them. Raises CertificateRefused when they are not what was asked for."""
    order = flow.order
    if key is None:
        raise CertificateRefused("The order has lost its key.", code="pair")
    sent = certificates_read(pem)
    chain = chain_order(sent, key_open(key).public_key())
    if len(sent) > 1 and not chain.intermediates and chain.root is None:
        raise CertificateRefused(
            f"None of the certificates that {flow.ca} sent beside the one issued is its issuer.",
            advice="It was not taken: browsers would not trust it. Report this to the CA.",
            code="chain",
        )
    names = certificate_info(chain.leaf).names
    if sorted(names) != sorted(order.names):
        raise CertificateRefused(
            f"{flow.ca} issued for {', '.join(names) or 'no name'}, not for {', '.join(order.names)}.",
            advice="It was not taken; report this to the CA.",
            code="names",
        )
    return chain

"""One file per noun. Rules for one row are methods that do not save; everything else is a service."""

from certs.models.account import AcmeAccount
from certs.models.audit import AuditEvent, JobEvent
from certs.models.certificate import Certificate, CertificateName, CertificateVersion
from certs.models.keyring import KeyRingCanary
from certs.models.listener import Binding, Listener, NodeProcess, Rebind
from certs.models.order import Challenge, Order
from certs.models.organization import Department, Organization
from certs.models.portal import OneTimeLink, PortalState
from certs.models.privatekey import PrivateKey
from certs.models.queue import QueueTicket, WorkerBeat
from certs.models.user import User

__all__ = [
    "AcmeAccount",
    "AuditEvent",
    "Binding",
    "Certificate",
    "CertificateName",
    "CertificateVersion",
    "Challenge",
    "Department",
    "JobEvent",
    "KeyRingCanary",
    "Listener",
    "NodeProcess",
    "OneTimeLink",
    "Order",
    "Organization",
    "PortalState",
    "PrivateKey",
    "QueueTicket",
    "Rebind",
    "User",
    "WorkerBeat",
]

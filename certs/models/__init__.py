"""One file per noun. Rules for one row are methods that do not save; everything else is a service."""

from certs.models.access import ApiToken, RoleGrant
from certs.models.account import AcmeAccount, AcmeDirectory
from certs.models.alarm import Alarm, AlarmDelivery, Channel
from certs.models.api import BulkJob, IdempotencyKey
from certs.models.audit import AuditEvent, JobEvent
from certs.models.authority import Authority, IssuanceProfile, IssuedCertificate
from certs.models.certificate import (
    Certificate,
    CertificateName,
    CertificateTag,
    CertificateVersion,
    FallbackIssuer,
)
from certs.models.diagnosis import NodeDiagnosis
from certs.models.endpoint import Endpoint, Installation, InstallationStep, Node
from certs.models.identity import PortalIdentity
from certs.models.intake import Intake
from certs.models.keyring import KeyRingCanary
from certs.models.ledger import LedgerEntry
from certs.models.listener import Binding, Listener, NodeProcess, Rebind
from certs.models.method import ChallengeMethod
from certs.models.order import Challenge, Order
from certs.models.organization import Department, Organization
from certs.models.portal import NodeExport, OneTimeLink, PortalState
from certs.models.privatekey import PrivateKey
from certs.models.queue import QueueTicket, WorkerBeat
from certs.models.trust import TrustedAuthority
from certs.models.user import User

__all__ = [
    "AcmeAccount",
    "AcmeDirectory",
    "Alarm",
    "AlarmDelivery",
    "ApiToken",
    "AuditEvent",
    "Authority",
    "Binding",
    "BulkJob",
    "Certificate",
    "CertificateName",
    "CertificateTag",
    "CertificateVersion",
    "Challenge",
    "ChallengeMethod",
    "Channel",
    "Department",
    "Endpoint",
    "FallbackIssuer",
    "IdempotencyKey",
    "Installation",
    "InstallationStep",
    "Intake",
    "IssuanceProfile",
    "IssuedCertificate",
    "JobEvent",
    "KeyRingCanary",
    "LedgerEntry",
    "Listener",
    "Node",
    "NodeDiagnosis",
    "NodeExport",
    "NodeProcess",
    "OneTimeLink",
    "Order",
    "Organization",
    "PortalIdentity",
    "PortalState",
    "PrivateKey",
    "QueueTicket",
    "Rebind",
    "RoleGrant",
    "TrustedAuthority",
    "User",
    "WorkerBeat",
]

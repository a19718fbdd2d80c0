"""What answers HTTPS for a host, and whether browsers would trust it."""

import logging
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from django.conf import settings

from certs.domain.certinfo import covers
from certs.domain.hsts import Answering
from certs.domain.names import is_address
from certs.domain.pem import roots_of
from certs.models import Binding, CertificateVersion
from certs.transports.roots import system_file
from portal import clock

log = logging.getLogger("bindery.trust")


def server_names(host: str) -> list[str]:
    """Under which names a binding answers for this host, the first that is there wins: its own, its domain's wildcard,
    the default."""
    return [host, f"*.{host.partition('.')[2]}", ""]


def version_answering(host: str) -> CertificateVersion | None:
    """The version bound for this server name; None where nothing but the placeholder answers."""
    names = server_names(host)
    bound = {
        binding.server_name: binding.certificate.current
        for binding in Binding.objects.filter(server_name__in=names).select_related("certificate__current")
    }
    return next((bound[name] for name in names if name in bound), None)


def answering_of(version: CertificateVersion, host: str) -> Answering:
    """As `domain.hsts` judges it."""
    return Answering(version.self_signed, version.not_before, version.not_after, covers(version.names, host))


def version_is_public(version: CertificateVersion, host: str) -> bool:
    """Whether the chain verifies now for this DNS name against BINDERY_PUBLIC_ROOTS or the system's store."""
    if version.self_signed or version.is_test or is_address(host):
        return False
    file = roots_file()
    try:
        store = _store(str(file), file.stat().st_mtime)
        leaf, *issuers = x509.load_pem_x509_certificates(version.fullchain_pem.encode())
        verifier = PolicyBuilder().store(store).time(clock.now()).build_server_verifier(x509.DNSName(host))
        verifier.verify(leaf, issuers)
    except OSError as error:
        log.warning("the public roots cannot be read", extra={"file": str(file), "error": str(error)})
        return False
    except (ValueError, VerificationError):
        return False
    return True


def browser_warning(version: CertificateVersion | None, host: str) -> str:
    """One sentence on why a browser will warn at https://host, or empty when it should not."""
    if version is None:
        return "Your browser will warn: only the placeholder certificate answers there."
    checks = (
        (version.is_test, "this is a test certificate, which no browser trusts"),
        (version.self_signed, "the certificate signs itself"),
        (not covers(version.names, host), f"the certificate is not for {host}"),
        (not version.is_valid_at(clock.now()), "the certificate has expired or is not valid yet"),
    )
    reason = next((words for applies, words in checks if applies), "")
    if reason:
        return f"Your browser will warn: {reason}."
    if version_is_public(version, host):
        return ""
    return "Your browser will warn unless it knows this CA: its root is not among those that this machine trusts."


def roots_file() -> Path:
    """The operator's file, else the system's bundle, else Mozilla's roots as requests ships them."""
    if settings.PUBLIC_ROOTS:
        return Path(settings.PUBLIC_ROOTS)
    return system_file()


def public_roots(subject: x509.Name) -> list[x509.Certificate]:
    """The public roots of this name; none where the file cannot be read."""
    file = roots_file()
    try:
        roots = _roots(str(file), file.stat().st_mtime)
    except OSError as error:
        log.warning("the public roots cannot be read", extra={"file": str(file), "error": str(error)})
        return []
    return [root for root in roots if root.subject == subject]


@lru_cache(maxsize=2)
def _store(file: str, changed_at: float) -> Store:
    """Raises ValueError where there is no root at all."""
    return Store(list(_roots(file, changed_at)))


@lru_cache(maxsize=2)
def _roots(file: str, _changed_at: float) -> tuple[x509.Certificate, ...]:
    return roots_of(Path(file).read_text(errors="replace"))

"""What a CA is shown that validates a name by the TLS challenge (RFC 8737).

Each of its handshakes asks the database, so that any process of any node answers, as often and for as long as the
challenge is pending, and not once longer. Ordinary clients never come here (connection.py).
"""

import logging
import ssl
from collections import OrderedDict
from threading import Lock

from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from certs.domain.alpn import PROTOCOL, challenge_certificate, name_of
from certs.domain.keys import Key, key_generate, key_to_pem
from certs.domain.pem import certificate_pem
from certs.services.challenges import tls_challenge_answer
from portal import clock
from portal.server.contexts import context_load, context_make_bare

log = logging.getLogger("bindery.challenges")
KEPT = 256  # contexts: a CA asks for the same one from several places at once


class ChallengeAnswers:
    """Used by several threads. What is kept is only the work of signing, never whether there is an answer."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[str, str], ssl.SSLContext] = OrderedDict()
        self._lock = Lock()
        self._key: Key | None = None

    def context(self, server_name: str) -> ssl.SSLContext | None:
        """For one handshake of a CA; None where no challenge waits for that name, or the database is away."""
        name = name_of(server_name)
        try:
            close_old_connections()
            answer = tls_challenge_answer(name) if name and name.isprintable() else None  # a NUL would be a fault
        except (DatabaseError, InterfaceError) as error:
            log.error("A CA wants to validate %s, but the database cannot be asked: %s", name, error)
            connection.close()
            return None
        if answer is None:
            return None
        with self._lock:
            found = self._contexts.pop((name, answer), None) or self._make(name, answer)
            self._contexts[name, answer] = found
            if len(self._contexts) > KEPT:
                self._contexts.popitem(last=False)
        log.info("A CA validates %s by the TLS challenge.", name)
        return found

    def _make(self, name: str, answer: str) -> ssl.SSLContext:
        """The key proves nothing to anybody, so one serves for all; it never leaves this process."""
        self._key = self._key or key_generate("ec-p256")
        leaf = challenge_certificate(name, answer, self._key, now=clock.real())
        context = context_make_bare([PROTOCOL.decode()])
        context.num_tickets = 0  # nobody comes back
        context_load(context, certificate_pem(leaf).encode(), key_to_pem(self._key))
        return context

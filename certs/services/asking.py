"""The gate that every request passes which makes a CA do something: orders, revocations, changes of accounts, and what
our own CAs sign and revoke.

Closed where this portal may be a copy of another (`services/identity.py`), and in a process of an older version than
the one that changed the tables. What is closed waits as it is: no order is made, claimed, counted or ended, and no
session with a CA is opened as an account. Reading from a CA (its directory, renewal information, lists of revoked
certificates) stays possible, and so does serving.
"""

from certs.domain.errors import AcmeRetry, NotAllowed
from certs.services.identity import identity_held
from certs.services.migrations import schema_is_newer

HELD = "portal-held"
_ADVICE = "Say which portal goes on: under Configuration ➜ Take over, or by `manage.py take_over`."
_NEWER = "A newer version of Bindery has changed the database; this process is of the older one."


def asking_held() -> str:
    """Why nothing is asked of a CA now, in a sentence; "" where it may be. Three queries at most."""
    return _NEWER if schema_is_newer() else identity_held()


def asking_require() -> None:
    """Before something is made that a CA is to be asked for. Raises NotAllowed."""
    if why := asking_held():
        raise NotAllowed(f"{why} Nothing is ordered, signed or changed at a CA.", advice=_advice(why), code=HELD)


def asking_still() -> None:
    """Before a session with a CA is opened as an account. Raises AcmeRetry: an order under way waits."""
    if why := asking_held():
        raise AcmeRetry(f"{why} Nothing is ordered, signed or changed at a CA.", advice=_advice(why), code=HELD)


def _advice(why: str) -> str:
    return "Start this node anew with the newer version." if why == _NEWER else _ADVICE

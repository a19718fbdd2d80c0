"""The database, its schema, and the key ring that opens what lies in it."""

from collections.abc import Iterator

from django.db import connection

from certs.domain.diagnosis import Line, Situation, bad, bad_for, fine, look, note, unknown
from certs.domain.errors import BinderyError
from certs.models import KeyRingCanary
from certs.services.database import database_lock_problem
from certs.services.identity import identity_held
from certs.services.migrations import migrations_pending
from certs.services.portal_state import state_get
from certs.services.search_index import search_index_is_whole
from certs.services.secrets import canary_prove
from portal import home


@look("database", database=False)
def database(situation: Situation) -> Iterator[Line]:
    """Whether the database can be read and written."""
    if situation.database is not None:
        yield bad_for("database", situation.database)
    elif (locked := database_lock_problem()) is not None:
        yield bad_for("database-locked", locked)
    else:
        kind = "PostgreSQL" if connection.vendor == "postgresql" else "SQLite"
        yield fine("database", f"The database answers and can be written ({kind}).")


@look("database")
def migrations(situation: Situation) -> Iterator[Line]:
    """Whether the database fits this version."""
    try:
        pending = migrations_pending()
    except BinderyError as error:
        yield bad_for("migrations", error)
        return
    if pending:
        sentence = f"The database is older than this version: {len(pending)} migrations are pending."
        mend = "Restart the portal: `manage.py up` brings the database up to date, after a copy of it was made."
        yield bad("migrations", sentence, mend, evidence=", ".join(pending[:5]))
    else:
        yield fine("migrations", "The database fits this version.")


@look("database")
def search_index(situation: Situation) -> Iterator[Line]:
    """Whether parts of names are found by an index."""
    if search_index_is_whole():
        yield fine("search-index", "Parts of names are found by an index.")
        return
    sentence = "A search for a part of a name reads every name: at a million of them for seconds. All else is as quick."
    mend = "Restart the portal, which makes the index; its log says why the database refuses."
    if connection.vendor == "postgresql":
        mend = "Let an administrator of the database run CREATE EXTENSION pg_trgm there, then restart the portal."
    yield note("search-index", sentence, mend)


@look("database")
def held(situation: Situation) -> Iterator[Line]:
    """Whether this is the portal that orders, and no copy of it."""
    if why := identity_held():
        mend = (
            "If the other one is gone, say so under Configuration ➜ Take over, or by `manage.py take_over`; "
            "if this one is for trying, it stays held."
        )
        yield bad("held", f"{why} It serves, and orders nothing.", mend)
    else:
        yield fine("held", "The database is where it belongs.")


@look("database", database=False)
def key_ring(situation: Situation) -> Iterator[Line]:
    """Whether the key ring is there and can be read."""
    try:
        ring = home.key_ring()
    except BinderyError as error:
        yield bad_for("key-ring", error)
        return
    place = home.key_ring_place() or "BINDERY_KEY_RING"
    keys = "1 key" if len(ring.keys) == 1 else f"{len(ring.keys)} keys"
    yield fine("key-ring", "The key ring is there and can be read.", evidence=f"{place}, {keys}")


@look("database")
def key_ring_fits(situation: Situation) -> Iterator[Line]:
    """Whether the key ring opens what is sealed in this database."""
    if not KeyRingCanary.objects.exists():
        yield note("key-ring-fits", "No key ring is tied to this database yet.", "The first `manage.py up` does it.")
        return
    try:
        home.key_ring()
    except BinderyError:
        yield unknown("key-ring-fits", "Whether the key ring opens what is sealed here: it cannot be read.")
        return
    try:
        canary_prove()
    except BinderyError as error:
        yield bad_for("key-ring-fits", error)
        return
    yield fine("key-ring-fits", "The key ring opens what is sealed in this database.")


@look("database")
def key_ring_copy(situation: Situation) -> Iterator[Line]:
    """Whether a copy of the key ring is kept apart."""
    if not home.key_ring_place():
        return
    if state_get().ring_saved_at is None:
        sentence = "Nobody has said that a copy of the key ring is kept apart from this machine."
        mend = f"Copy {home.key_ring_place()} to a safe place, then press “I have a safe copy” in the portal."
        yield note("key-ring-copy", sentence, mend)
    else:
        yield fine("key-ring-copy", "A copy of the key ring is kept, as an administrator said.")


@look("database", database=False)
def secret_key(situation: Situation) -> Iterator[Line]:
    """Whether the secret key is there."""
    if home.secret_key():
        yield fine("secret-key", "The secret key is there and can be read.")
    else:
        sentence = f"The secret key is missing, or this user may not read it: {home.secret_key_file()}."
        mend = "Put the saved copy back, or name it with BINDERY_SECRET_KEY_FILE; is BINDERY_HOME the portal's?"
        yield bad("secret-key", sentence, mend)

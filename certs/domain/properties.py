"""What its owner says of a certificate: name, description, tags, metadata, and the id that a program chose for it."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from uuid import UUID

from certs.domain.errors import InputError

NAME_LIMIT = 255
DESCRIPTION_LIMIT = 10_000
TAG_LIMIT, TAGS_LIMIT = 100, 50
METADATA_KEY_LIMIT, METADATA_VALUE_LIMIT, METADATA_LIMIT = 100, 4_000, 100
_API_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


def name_check(name: str, *, most: int = NAME_LIMIT, example: str = "") -> str:
    """Of a certificate, or of whatever else people set up: as it is stored, on one line. Raises InputError (code
    "name")."""
    shown = " ".join(unicodedata.normalize("NFC", name).split())
    if not shown or len(shown) > most or not shown.isprintable():
        such = f", such as “{example}”" if example else ""
        raise InputError(f"A name is one line of 1 to {most} characters.", advice=f"Choose another{such}.", code="name")
    return shown


def description_check(description: str) -> str:
    """Raises InputError (code "description")."""
    if len(description) > DESCRIPTION_LIMIT or "\0" in description:
        raise InputError(
            f"The description is {len(description)} characters long; at most {DESCRIPTION_LIMIT} are kept, none of "
            "them NUL.",
            advice="Shorten it.",
            code="description",
        )
    return description.strip()


def tags_check(tags: Iterable[str]) -> list[str]:
    """In lower case, each once, sorted. Raises InputError (code "tags")."""
    found = sorted({tag for tag in map(tag_normalize, tags) if tag})
    for tag in found:
        if len(tag) > TAG_LIMIT or "," in tag or not tag.isprintable():
            raise InputError(
                f"“{tag[:40]}” cannot be a tag.",
                advice=f"A tag has at most {TAG_LIMIT} characters and no comma.",
                code="tags",
            )
    if len(found) > TAGS_LIMIT:
        raise InputError(f"These are {len(found)} tags; at most {TAGS_LIMIT} are kept.", code="tags")
    return found


def tag_normalize(tag: str) -> str:
    """As it is stored and looked for: two tags that look alike are one."""
    return " ".join(unicodedata.normalize("NFKC", tag).lower().split())


def metadata_check(metadata: Mapping[str, str]) -> dict[str, str]:
    """Text by text, in the order of its keys. Raises InputError (code "metadata")."""
    if not isinstance(metadata, Mapping):
        raise _metadata("Metadata is a list of keys, each with a text.")
    if len(metadata) > METADATA_LIMIT:
        raise _metadata(f"These are {len(metadata)} keys of metadata; at most {METADATA_LIMIT} are kept.")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise _metadata(f"The metadata “{str(key)[:40]}” is no text.")
        if not key.strip() or len(key) > METADATA_KEY_LIMIT or not key.isprintable():
            raise _metadata(f"“{key[:40]}” cannot be a key of metadata: it has 1 to {METADATA_KEY_LIMIT} characters.")
        if len(value) > METADATA_VALUE_LIMIT or "\0" in value:
            raise _metadata(f"The metadata “{key[:40]}” is longer than {METADATA_VALUE_LIMIT} characters.")
    return dict(sorted(metadata.items()))


def api_id_check(api_id: str) -> UUID | str:
    """The primary key itself where the id is a UUID. Raises InputError (code "id")."""
    try:
        return UUID(api_id)
    except ValueError:
        pass
    if not _API_ID.fullmatch(api_id):
        raise InputError(
            "An id has 1 to 200 letters, digits, dots, colons, hyphens and underscores, a letter or digit first.",
            advice="Leave it out and one is made.",
            code="id",
        )
    return api_id


def _metadata(message: str) -> InputError:
    return InputError(message, code="metadata")

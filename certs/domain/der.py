"""What a binary file is, by the outermost elements of its ASN.1 (X.690): enough to choose its reader, no more."""

from enum import Enum

_SEQUENCE, _SET, _INTEGER, _OID, _BITS, _OCTETS = 0x30, 0x31, 0x02, 0x06, 0x03, 0x04
_VERSIONED = 0xA0  # [0], the version of a certificate
_TIMES = (0x17, 0x18)
_OPEN = -1  # of indefinite length, BER only


class Kind(Enum):
    CERTIFICATE = "certificate"
    REQUEST = "request"
    CRL = "crl"
    KEY = "key"
    ENCRYPTED_KEY = "encrypted key"
    PUBLIC_KEY = "public key"
    PKCS7 = "pkcs7"
    PKCS12 = "pkcs12"
    CUT_OFF = "cut off"
    UNKNOWN = "unknown"


def kind_of(data: bytes) -> Kind:
    """Of what begins with a SEQUENCE. Nothing in it is judged; that is its reader's matter."""
    try:
        tag, start, end = _header(data, 0)
    except IndexError:
        return Kind.CUT_OFF
    if tag != _SEQUENCE:
        return Kind.UNKNOWN
    if end > len(data):
        return Kind.CUT_OFF
    try:
        return _by_first(data, start)
    except IndexError:  # an element that is not there
        return Kind.UNKNOWN


def length_of(data: bytes) -> int:
    """Of the first element, with its header. Raises ValueError where that has none."""
    try:
        _, _, end = _header(data, 0)
    except IndexError:
        end = _OPEN
    if end == _OPEN:
        raise ValueError("an element without a length")
    return end


def _by_first(data: bytes, start: int) -> Kind:
    tag, inside, end = _header(data, start)
    if tag == _OID:
        return Kind.PKCS7
    following = data[end]
    if tag == _INTEGER and following in _AFTER_VERSION:
        is_store = data[inside:end] == b"\x03" and following == _SEQUENCE
        return Kind.PKCS12 if is_store else Kind.KEY
    if tag == _SEQUENCE and following == _SEQUENCE:
        return _signed(data, inside)
    return _AFTER_SEQUENCE.get(following, Kind.UNKNOWN) if tag == _SEQUENCE else Kind.UNKNOWN


_AFTER_VERSION = {_SEQUENCE, _INTEGER, _OCTETS}  # PKCS#8, PKCS#1, SEC1
_AFTER_SEQUENCE = {_OCTETS: Kind.ENCRYPTED_KEY, _BITS: Kind.PUBLIC_KEY}


def _signed(data: bytes, place: int) -> Kind:
    """A certificate, a request or a list: told by the first elements of what is signed."""
    tag, _, end = _header(data, place)
    if tag == _VERSIONED:
        return Kind.CERTIFICATE
    if tag == _SEQUENCE:
        return Kind.CRL  # of version 1
    if tag != _INTEGER:
        return Kind.UNKNOWN
    _, inside, end = _header(data, end)
    if inside == end or data[inside] == _SET:
        return Kind.REQUEST  # a name, where the others have an algorithm
    _, _, end = _header(data, end)
    return Kind.CRL if data[end] in _TIMES else Kind.CERTIFICATE


def _header(data: bytes, place: int) -> tuple[int, int, int]:
    """Tag, where the content starts, where it ends (or _OPEN). Raises IndexError."""
    tag, length = data[place], data[place + 1]
    start = place + 2
    if length < 0x80:
        return tag, start, start + length
    if length == 0x80:
        return tag, start, _OPEN
    size = length & 0x7F
    octets = data[start : start + size]
    if size > 4 or len(octets) < size:
        raise IndexError("a length that no file has")
    return tag, start + size, start + size + int.from_bytes(octets, "big")

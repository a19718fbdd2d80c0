"""RC2 in CBC mode, for reading only (RFC 2268): the certificates of old PKCS#12 files are hidden by it.

`openssl pkcs12 -legacy` and Windows until 2016 write it with 40 bits, which no library that we stand on opens.
"""

_TABLE = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2"
    "179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82"
    "54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7"
    "08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec"
    "c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9"
    "0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad"
)
_ROTATE = (1, 2, 3, 5)
_BLOCK = 8  # bytes


def rc2_cbc_decrypt(key: bytes, vector: bytes, data: bytes) -> bytes:
    """The padded plain text. The effective bits are those of the key. Raises ValueError for impossible lengths."""
    if not 1 <= len(key) <= 128 or len(vector) != _BLOCK or len(data) % _BLOCK:
        raise ValueError("RC2: key, vector or data of an impossible length")
    words = _expand(key)
    plain, before = bytearray(), vector
    for place in range(0, len(data), _BLOCK):
        block = data[place : place + _BLOCK]
        plain += bytes(one ^ other for one, other in zip(_decrypt(words, block), before, strict=True))
        before = block
    return bytes(plain)


def _expand(key: bytes) -> list[int]:
    """RFC 2268 §2; with as many effective bits as the key has."""
    octets, size = bytearray(key), len(key)
    while len(octets) < 128:
        octets.append(_TABLE[(octets[-1] + octets[-size]) & 255])
    octets[128 - size] = _TABLE[octets[128 - size]]
    for place in range(127 - size, -1, -1):
        octets[place] = _TABLE[octets[place + 1] ^ octets[place + size]]
    return [octets[place] | octets[place + 1] << 8 for place in range(0, 128, 2)]


def _decrypt(words: list[int], block: bytes) -> bytes:
    """RFC 2268 §4: five mixing rounds, a mash, six, a mash, five; all of it backwards."""
    part = [block[place] | block[place + 1] << 8 for place in range(0, _BLOCK, 2)]
    for turn in range(15, -1, -1):
        for place in range(3, -1, -1):
            one, two, three = part[place - 1], part[place - 2], part[place - 3]
            rotated = part[place]
            count = _ROTATE[place]
            rotated = (rotated >> count | rotated << (16 - count)) & 0xFFFF
            part[place] = (rotated - words[4 * turn + place] - (one & two) - (~one & three)) & 0xFFFF
        if turn in (5, 11):
            for place in range(3, -1, -1):
                part[place] = (part[place] - words[part[place - 1] & 63]) & 0xFFFF
    return b"".join(word.to_bytes(2, "little") for word in part)

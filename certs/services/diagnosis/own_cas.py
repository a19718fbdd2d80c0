"""Our own CAs: whether what they publish is in force, and comes from the address that certificates hold."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from certs.domain.diagnosis import Line, Situation, State, look
from certs.services.crls import authorities_publishing
from certs.services.pki import pki_base_url, pki_base_url_check
from certs.services.pki_addresses import addresses_earlier
from certs.services.publication import list_check, list_question
from portal import clock

_MOST = 8  # authorities
_STATES = {True: State.OK, None: State.UNKNOWN, False: State.BAD}


@look("certificates", seconds=12)
def lists(situation: Situation) -> Iterator[Line]:
    """Whether the revocation lists of our own CAs are in force at the address that certificates hold."""
    rows = list(authorities_publishing(clock.now())[:_MOST])
    if not rows:
        return
    if not pki_base_url():
        mend = "Confirm it under Configuration ➜ PKI addresses."
        yield Line("lists", State.BAD, "The address under which the CAs publish is not confirmed.", mend)
        return
    earlier = addresses_earlier(pki_base_url())[:_MOST]
    with ThreadPoolExecutor(max_workers=2 * _MOST, thread_name_prefix="diagnosis-crl") as pool:
        found = pool.map(list_check, [list_question(row) for row in rows])
        base, *bases = pool.map(pki_base_url_check, [pki_base_url(), *(each.address.url for each in earlier)])
    mend = "" if base.ok else "Let that address lead to the portal's plain HTTP port: Configuration ➜ PKI addresses."
    yield Line("pki-address", _STATES[base.ok], base.text, mend)
    for each, seen in zip(earlier, bases, strict=True):
        sentence = f"{each.count} certificates in force may hold the earlier address {each.address.url}. {seen.text}"
        mend = "" if seen.ok else f"Let it lead to this portal until {each.until:%Y-%m-%d}, when the last of them ends."
        yield Line("pki-earlier", _STATES[seen.ok], sentence, mend)
    for one in found:
        mend = "" if one.ok else "The page of the CA says when it was last signed, and signs one at once."
        yield Line("lists", _STATES[one.ok], one.text, mend, evidence=one.url)

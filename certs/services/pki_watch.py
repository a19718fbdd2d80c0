"""Whether the addresses that certificates of our own CAs hold lead to this portal: asked by the tick and on demand."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from certs.services.pki import pki_base_url, pki_base_url_check
from certs.services.pki_addresses import Address, addresses_earlier, addresses_note, addresses_noted
from portal import clock

EVERY = timedelta(hours=1)  # what led here is asked again; anything else at each tick
_MOST = 8


def pki_watch() -> int:
    """A step of the tick: note the address in use, ask those whose turn it is; returns how many were asked."""
    due = [each for each in _held() if not each.ok or each.asked_at is None or clock.now() >= each.asked_at + EVERY]
    return _look(due)


def pki_look() -> int:
    """Ask all of them now. Network, no transaction."""
    return _look(_held())


def _held() -> list[Address]:
    """The one in use first."""
    url = pki_base_url()
    if not url:
        return []
    return [addresses_noted(url)[-1], *(each.address for each in addresses_earlier(url))][:_MOST]


def _look(asked: list[Address]) -> int:
    if asked:
        with ThreadPoolExecutor(max_workers=_MOST, thread_name_prefix="pki-address") as pool:
            addresses_note(pki_base_url(), list(pool.map(_answered, asked)))
    return len(asked)


def _answered(address: Address) -> Address:
    seen = pki_base_url_check(address.url)
    return replace(address, asked_at=clock.now(), ok=seen.ok, text=seen.text)

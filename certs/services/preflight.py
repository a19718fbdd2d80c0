"""A look before an order: would the CA find what it asks for? Advice with proof, side by side for all names.

Everything from the database is read first; the threads then only ask: the CA's directory, the authoritative name
servers of each name, and each address of each name for our own signed token. Nothing is stored, nothing is blocked.
What we see is one vantage point: where it says nothing about the CA's, the finding is "could not check".
"""

import logging
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from django.conf import settings

from certs.acme.directories import KNOWN, DirectoryInfo, directory_label
from certs.domain.errors import AcmeFailure, AcmeRetry, InputError
from certs.domain.preflight import Finding, Level, findings_sorted
from certs.models import AcmeAccount, Certificate, ChallengeMethod
from certs.services.accounts import directory_look
from certs.services.challenges import AUTOMATIC, solver_kinds
from certs.services.holds import directory_free, directory_obey
from certs.services.ledger import budgets_shown
from certs.services.preflight_names import Plan, Target, name_look
from certs.services.serving import processes_live
from certs.transports.dns import Resolver

log = logging.getLogger("bindery.preflight")
SECONDS = 15.0  # for everything
DNS_SECONDS = 6.0  # for one question to all servers of a zone
NAMES_AT_ONCE, QUESTIONS_AT_ONCE = 16, 32
SKEW_WARNING, SKEW_ERROR = 60.0, 3600.0  # seconds
_PORTS = {"http-01": 80, "tls-alpn-01": 443}


def preflight_run(
    names: Sequence[str],
    target: Target,
    *,
    method: ChallengeMethod | None = None,
    method_kind: str = "",
    certificate: Certificate | None = None,
    seconds: float = SECONDS,
) -> list[Finding]:
    """What stands between these names and a certificate, the worst first. Network, at most about `seconds`.

    `method`, or only its kind where it is not set up yet; without both, as the portal chooses by itself. With the
    `certificate` that is to be renewed, limits that do not count renewals are left out. Never raises for what it finds.
    """
    until = time.monotonic() + seconds
    whole: list[Finding] = _budget(target.account, names, certificate)
    kinds = solver_kinds()
    wanted = method.kind if method else method_kind
    chosen = [kinds[kind] for kind in ((wanted,) if wanted else AUTOMATIC) if kind in kinds]
    own = {kind for solver in chosen if solver.by_portal for kind in solver.challenge_types}
    fingerprints = {mark for process in processes_live() for mark in dict(process.fingerprints).values()}
    ca = ThreadPoolExecutor(1, thread_name_prefix="preflight-ca")
    each = ThreadPoolExecutor(min(NAMES_AT_ONCE, max(len(names), 1)), thread_name_prefix="preflight")
    ask = ThreadPoolExecutor(QUESTIONS_AT_ONCE, thread_name_prefix="preflight-ask")
    plan = Plan(
        target=target,
        label=directory_label(target.directory_url),
        methods=frozenset(kind for solver in chosen for kind in solver.challenge_types),
        ports=tuple(port for kind, port in _PORTS.items() if kind in own),
        resolver=Resolver(tuple(settings.DNS_RESOLVERS), tuple(settings.DNS_AUTHORITIES), DNS_SECONDS),
        fingerprints=frozenset(fingerprints),
        private=target.allow_private or (settings.ALLOW_PRIVATE_CA and not _is_public_ca(target)),
        directory=_ask_directory(ca, target),
        until=until,
        ask=ask,
    )
    # Each adds to a list as it goes, so that what is found in time is kept where the rest is not.
    found: dict[str, list[Finding]] = {name: [] for name in names}
    work = {name: each.submit(name_look, plan, name, found[name]) for name in found}
    pending: list[Future[Any]] = [plan.directory, *work.values()]
    wait(pending, timeout=plan.left())
    unfinished = [name for name, future in work.items() if not future.done()]
    for pool in (ca, each, ask):
        pool.shutdown(wait=False, cancel_futures=True)
    whole += _directory(plan)
    for name, future in work.items():
        whole += list(found[name])
        if name in unfinished:
            whole.append(_unfinished(name, seconds))
        elif (fault := future.exception()) is not None:
            log.error("%s could not be looked at", name, exc_info=fault)
            whole.append(_unfinished(name, seconds))
    return findings_sorted(whole, list(names))


def _is_public_ca(target: Target) -> bool:
    return any(known.url == target.directory_url for known in KNOWN.values())


def _unfinished(name: str, seconds: float) -> Finding:
    sentence = f"Not everything about {name} could be looked at within {seconds:g} seconds."
    return Finding("time", Level.UNKNOWN, name, sentence, advice="Check again; order anyway if you know better.")


# The CA.


def _ask_directory(pool: ThreadPoolExecutor, target: Target) -> Future[DirectoryInfo]:
    try:
        directory_free(target.directory_url)
    except AcmeRetry as error:
        held: Future[DirectoryInfo] = Future()
        held.set_exception(error)
        return held
    bundle, private = target.ca_bundle, target.allow_private
    return pool.submit(directory_look, target.directory_url, ca_bundle=bundle, allow_private=private)


def _directory(plan: Plan) -> list[Finding]:
    url, label = plan.target.directory_url, plan.label
    if not plan.directory.done():
        return [Finding("directory", Level.ERROR, "", f"{label} did not answer in time.", url)]
    try:
        info = plan.directory.result()
    except (AcmeFailure, InputError) as error:
        if isinstance(error, AcmeRetry):
            directory_obey(url, error)
        return [Finding("directory", Level.ERROR, "", error.message, url, error.advice)]
    except Exception:  # a look is advice: a fault in it must not keep anybody from ordering
        log.exception("The directory %s could not be looked at", url)
        return [Finding("directory", Level.UNKNOWN, "", f"{label} could not be looked at.", url)]
    return [
        Finding("directory", Level.OK, "", f"{label} answers.", url),
        *_terms(plan, info),
        *clock_findings(label, info),
    ]


def _terms(plan: Plan, info: DirectoryInfo) -> list[Finding]:
    account = plan.target.account
    if account is None or account.terms_agreed_at is None or not info.terms_url:
        return []
    if account.terms_url == info.terms_url:
        return [Finding("terms", Level.OK, "", "Its terms are those that were accepted.", info.terms_url)]
    return [
        Finding(
            "terms",
            Level.WARNING,
            "",
            f"The terms of {plan.label} have changed since they were accepted.",
            f"accepted: {account.terms_url or 'none'}; now: {info.terms_url}",
            "Read them, and accept them anew; until then the CA may refuse orders.",
        )
    ]


def clock_findings(label: str, info: DirectoryInfo) -> list[Finding]:
    """This machine's clock against the CA's; nothing where the CA does not say what time it is."""
    skew = info.clock_skew
    if skew is None:
        return []
    proof = f"the Date header of {label} and this server's clock are {abs(skew):.0f} s apart"
    if abs(skew) < SKEW_WARNING:
        return [Finding("clock", Level.OK, "", "The clock of this server is right.", proof)]
    level = Level.ERROR if abs(skew) >= SKEW_ERROR else Level.WARNING
    way = "ahead of" if skew > 0 else "behind"
    sentence = f"The clock of this server is {_span(abs(skew))} {way} that of {label}."
    return [Finding("clock", level, "", sentence, proof, "Set the clock, and let NTP keep it.")]


def _span(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _budget(account: AcmeAccount | None, names: Collection[str], certificate: Certificate | None) -> list[Finding]:
    budgets = budgets_shown(account, names, certificate=certificate) if account else []
    findings = []
    for budget in budgets:
        if budget.refuses:
            advice = "It is asked for by itself as soon as the limit allows."
            findings.append(Finding("budget", Level.ERROR, "", "A limit of the CA is used up.", budget.text, advice))
        elif budget.is_last:
            advice = "Be sure that the rest is in order, or rehearse first."
            sentence = "This order takes the last that a limit of the CA leaves."
            findings.append(Finding("budget", Level.WARNING, "", sentence, budget.text, advice))
    if budgets and not findings:
        findings.append(Finding("budget", Level.OK, "", "The limits of the CA leave enough.", budgets[0].text))
    return findings

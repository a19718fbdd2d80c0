"""What the CAs suggest about renewals (ARI, RFC 9773): asked before a sweep decides, kept with each certificate.

The CA that issued the current version is asked, also where the next one will come from another. A thread per directory
asks, one certificate after the other; the database is this thread's alone. No trouble here stops a renewal.
"""

import logging
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet

from certs.acme.directories import directory_label
from certs.acme.renewal_info import RETRY_LOW, NoRenewalInfo, RenewalInfo, RenewalInfoReader
from certs.domain.ari import Suggestion
from certs.domain.certinfo import certificate_info
from certs.domain.errors import CertificateRefused, InputError
from certs.domain.pem import certificates_read
from certs.models import AcmeAccount, Certificate, CertificateVersion, Order
from certs.selectors import certificates_all, certificates_due_for_check
from certs.services.events import audit_record
from certs.services.holds import directories_held
from portal import clock

log = logging.getLogger("bindery.renewal-info")
SECONDS = 30.0  # for all that one tick asks
MOST = 2000  # certificates of one tick
_dice = random.SystemRandom()
_NEVER = datetime.min.replace(tzinfo=UTC)
Answer = RenewalInfo | NoRenewalInfo


@dataclass(frozen=True)
class _Directory:
    url: str
    ca_bundle: str
    allow_private: bool

    @classmethod
    def of(cls, account: AcmeAccount) -> "_Directory":
        return cls(account.directory_url, account.ca_bundle, account.allow_private)

    def reader(self) -> RenewalInfoReader:
        return RenewalInfoReader(
            self.url,
            version=settings.VERSION,
            ca_bundle=self.ca_bundle,
            allow_private=self.allow_private or settings.ALLOW_PRIVATE_CA,
        )


@dataclass(frozen=True)
class _Question:
    certificate: UUID
    version: UUID
    name: str
    known: Suggestion
    ari_id: str = ""


_Answers = SimpleQueue[tuple[_Directory, _Question | None, Answer | None]]


def renewal_info_refresh(*, everything: bool = False, seconds: float = SECONDS) -> int:
    """Ask for the certificates that the next sweep will look at and whose answer is old; how many were answered.

    `everything`: for all certificates, since that sweep looks at all.

    Network, at most `seconds` in all. A directory that fails is left for an hour, with the rest of its certificates.
    """
    moment = clock.now()
    wanted = _wanted(certificates_all() if everything else certificates_due_for_check(moment), moment)
    if not wanted:
        return 0
    unasked = {directory: {question.certificate for question in questions} for directory, questions in wanted.items()}
    answers: _Answers = SimpleQueue()
    until = time.monotonic() + seconds
    for directory, questions in wanted.items():
        # Daemons: one whose CA drips its answer is not waited for.
        threading.Thread(target=_ask, args=(directory, questions, answers, until, moment), daemon=True).start()
    at_work, answered = len(wanted), 0
    while at_work and (left := until - time.monotonic()) > 0:
        try:
            directory, question, answer = answers.get(timeout=left)
        except Empty:
            break
        if question is None or answer is None:
            at_work -= 1
            continue
        _store(directory, question, answer)
        answered += isinstance(answer, RenewalInfo)
        unasked[directory].discard(question.certificate)
        if isinstance(answer, NoRenewalInfo) and answer.directory_wide:
            unasked[directory].clear()
    for directory, left_over in unasked.items():
        if len(left_over) == len(wanted[directory]):
            reason = f"{directory_label(directory.url)} did not answer in time."
            _store_directory(directory, NoRenewalInfo(reason, moment + RETRY_LOW, directory_wide=True))
        else:
            # Those never asked are looked at again as soon as those whose answer is old.
            never = Certificate.objects.filter(pk__in=left_over, ari={})
            never.update(ari=Suggestion(retry_at=moment).as_json())
    return answered


def _wanted(looked_at: QuerySet[Certificate], moment: datetime) -> dict[_Directory, list[_Question]]:
    """What to ask whom. Expired, self-signed and uploaded certificates are nobody's, nor is what no order brought."""
    due = looked_at.filter(source=Certificate.Source.ACME, current__self_signed=False, current__not_after__gt=moment)
    found = [
        _Question(row.pk, row.current_id, row.name, Suggestion.from_json(row.ari))
        for row in due.select_related(None).only("name", "ari", "current_id")
        if row.current_id is not None
    ]
    # Time may not be enough for all: those never asked come first, then those that waited longest.
    old = sorted(
        (question for question in found if question.known.is_old(moment)),
        key=lambda question: question.known.retry_at or _NEVER,
    )[:MOST]
    if not old:
        return {}
    issuers = _issuers([question.version for question in old], moment)
    leaves = dict(CertificateVersion.objects.filter(pk__in=list(issuers)).values_list("pk", "leaf_pem"))
    wanted: dict[_Directory, list[_Question]] = defaultdict(list)
    for question in old:
        if ari_id := _ari_id(leaves.get(question.version, "")):
            wanted[issuers[question.version]].append(replace(question, ari_id=ari_id))
    return wanted


def _ari_id(pem: str) -> str:
    try:
        return certificate_info(certificates_read(pem.encode())[0]).ari_id
    except CertificateRefused:
        return ""


def _issuers(versions: list[UUID], moment: datetime) -> dict[UUID, _Directory]:
    """By version: the directory that issued it, where it may be asked now."""
    accounts = AcmeAccount.objects.filter(Q(ari_retry_at=None) | Q(ari_retry_at__lte=moment))
    accounts = accounts.exclude(directory_url__in=directories_held().values("directory_url"))
    directories = {account.pk: _Directory.of(account) for account in accounts}
    orders = Order.objects.filter(version__in=versions, account__in=list(directories))
    return {version: directories[account] for version, account in orders.values_list("version_id", "account_id")}


def _ask(
    directory: _Directory,
    questions: list[_Question],
    answers: _Answers,
    until: float,
    moment: datetime,
) -> None:
    """In a thread of its own: no database here. Ends with an entry without a question."""
    try:
        with directory.reader() as reader:
            for question in questions:
                if time.monotonic() >= until:
                    break
                answer = reader.read(question.ari_id, moment)
                answers.put((directory, question, answer))
                if isinstance(answer, NoRenewalInfo) and answer.directory_wide:
                    break
    except InputError as error:  # a bundle that cannot be read
        failed = NoRenewalInfo(error.message, moment + RETRY_LOW, directory_wide=True)
        answers.put((directory, questions[0], failed))
    except Exception:  # the outermost frame of a thread: the directory counts as failed, the sweep goes on
        log.exception("The renewal information of %s could not be asked", directory_label(directory.url))
        failed = NoRenewalInfo("An unexpected fault; the log tells more.", moment + RETRY_LOW, directory_wide=True)
        answers.put((directory, questions[0], failed))
    answers.put((directory, None, None))


def _store(directory: _Directory, question: _Question, answer: Answer) -> None:
    if isinstance(answer, NoRenewalInfo) and answer.directory_wide:
        _store_directory(directory, answer)
        return
    _trouble_over(directory)
    known = question.known
    if isinstance(answer, NoRenewalInfo):
        after = known.failed(answer.reason, answer.retry_at, unknown=answer.unknown)
    else:
        given = Suggestion(answer.start, answer.end, None, answer.retry_at, answer.explanation_url)
        after = known.answered(given, _dice.random)
    # A version that came meanwhile is not given the window of the one before.
    rows = Certificate.objects.filter(pk=question.certificate, current=question.version)
    if rows.update(ari=after.as_json()):
        _tell(question, after)


def _tell(question: _Question, after: Suggestion) -> None:
    """Only what is new."""
    before = question.known
    if after.trouble and after.trouble != before.trouble:
        log.warning("%s: no renewal information: %s", question.name, after.trouble)
    if after.start is None or (after.window, after.explanation) == (before.window, before.explanation):
        return
    log.info("%s: the CA suggests renewal from %s to %s", question.name, after.start, after.end)
    if before.start is not None:
        audit_record(
            "schedule",
            "certificate.renewal-window",
            question.name,
            before=_window_shown(before),
            after=_window_shown(after),
        )


def _window_shown(suggestion: Suggestion) -> dict[str, str]:
    return {name: text for name, text in suggestion.as_json().items() if name in {"start", "end", "explanation"}}


def _accounts(directory: _Directory) -> Q:
    return Q(directory_url=directory.url, ca_bundle=directory.ca_bundle, allow_private=directory.allow_private)


def _store_directory(directory: _Directory, answer: NoRenewalInfo) -> None:
    accounts = AcmeAccount.objects.filter(_accounts(directory))
    if accounts.exclude(ari_trouble=answer.reason).update(ari_trouble=answer.reason):
        log.log(logging.INFO if answer.unknown else logging.WARNING, "No renewal information: %s", answer.reason)
    accounts.update(ari_retry_at=answer.retry_at)


def _trouble_over(directory: _Directory) -> None:
    if AcmeAccount.objects.filter(_accounts(directory)).exclude(ari_trouble="").update(ari_trouble=""):
        log.info("%s gives renewal information again", directory_label(directory.url))

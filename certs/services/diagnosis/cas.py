"""The CAs in use: whether each answers, holds us back or has changed its terms, and what time it is there."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from certs.acme.directories import DirectoryInfo, directory_label
from certs.domain.diagnosis import Line, Situation, bad, fine, look, note, unknown
from certs.domain.errors import AcmeFailure, BinderyError
from certs.models import AcmeAccount
from certs.services.accounts import directory_look
from certs.services.diagnosis.names import line_of
from certs.services.directories import directories_used
from certs.services.holds import directory_held
from certs.services.preflight import clock_findings

_MOST = 8  # directories


@look("cas", seconds=16)
def directories(situation: Situation) -> Iterator[Line]:
    """Whether each CA in use answers, and what its clock says."""
    accounts = {
        account.directory_url: account
        for account in AcmeAccount.objects.filter(deactivated_at=None, directory_url__in=set(directories_used()))
    }
    asked = []
    for url, account in list(accounts.items())[:_MOST]:
        if wait := directory_held(url):
            sentence = (
                f"{directory_label(url)} wants to be left alone for {wait.total_seconds() / 60:.0f} minutes more."
            )
            yield note("directories", sentence, "Nothing to do: the portal asks again by itself.", evidence=url)
        else:
            asked.append(account)
    if not accounts:
        yield unknown("directories", "No CA is in use yet, so none was asked.")
        return
    with ThreadPoolExecutor(max_workers=_MOST, thread_name_prefix="diagnosis-ca") as pool:
        answers = list(pool.map(_ask, asked))
    clocks: list[Line] = []
    for account, answer in zip(asked, answers, strict=True):
        yield from _told(account, answer)
        if isinstance(answer, DirectoryInfo) and not clocks:
            clocks = [line_of(finding) for finding in clock_findings(directory_label(account.directory_url), answer)]
    yield from clocks or [unknown("clock", "No CA said what time it is, so the clock could not be compared.")]


def _ask(account: AcmeAccount) -> DirectoryInfo | BinderyError:
    try:
        return directory_look(account.directory_url, ca_bundle=account.ca_bundle, allow_private=account.allow_private)
    except BinderyError as error:
        return error


def _told(account: AcmeAccount, answer: DirectoryInfo | BinderyError) -> Iterator[Line]:
    url = account.directory_url
    label = directory_label(url)
    if not isinstance(answer, DirectoryInfo):
        mend = answer.advice or "Is it up, and may this server reach it? A proxy is told under “The way out”."
        kind = "answers, but refuses" if isinstance(answer, AcmeFailure) and answer.problem else "does not answer"
        yield bad("directories", f"{label} {kind}: {answer.message}", mend, evidence=url)
    elif account.terms_agreed_at and answer.terms_url and answer.terms_url != account.terms_url:
        sentence = f"The terms of {label} have changed since they were accepted."
        mend = "Read them and accept them anew under Configuration ➜ CA accounts; until then it may refuse orders."
        yield note("directories", sentence, mend, evidence=f"accepted: {account.terms_url}; now: {answer.terms_url}")
    else:
        yield fine("directories", f"{label} answers.", evidence=url)

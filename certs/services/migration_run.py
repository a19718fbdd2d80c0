"""Carrying out the plan of `migration.py`: each account and each certificate in a transaction of its own.

What was decided is decided again under the lock, so that two at once, or one twice, take nothing twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

from django.db import transaction

from certs.acme.directories import is_test_directory
from certs.domain.certinfo import certificate_info
from certs.domain.errors import BinderyError, InputError
from certs.domain.migration import FoundAccount, FoundVersion, Proof
from certs.domain.roles import Right
from certs.models import AcmeAccount, Certificate, CertificateVersion, ChallengeMethod
from certs.services.access import PORTAL, Actor, needs
from certs.services.certificate_changes import certificate_update
from certs.services.certificate_properties import Properties
from certs.services.certificates import certificate_new, certificate_take
from certs.services.challenges import solver_kinds
from certs.services.events import audit_record
from certs.services.issue_options import IssueOptions
from certs.services.keys import key_import
from certs.services.methods import LONGEST_NAME, method_create
from certs.services.migration import (
    Deed,
    Line,
    Plan,
    PlannedAccount,
    PlannedCertificate,
    account_at,
    account_email,
    account_known,
    fingerprint_of,
    known_version,
    options_judged,
)
from certs.services.options import options_load
from certs.services.portal_state import state_lock, state_update
from certs.services.versions import version_add
from certs.transports.connections import trust_context
from portal import clock

Progress = Callable[[int, int], None]  # how many are done, and of how many


@dataclass(frozen=True)
class Trust:
    """What an account needs to reach its CA, where that is not a public one."""

    ca_bundle: str = ""  # PEM
    allow_private: bool = False


@dataclass(frozen=True)
class Done:
    """A line of the plan as it came out; `failed` with the reason in the line."""

    line: Line
    certificate: Certificate | None = None
    failed: bool = False


@needs(Right.ACCOUNT, of=PORTAL)
def migration_run(
    plan: Plan, *, actor: Actor, trust: Trust | None = None, progress: Progress = lambda done, total: None
) -> list[Done]:
    """What came out of each account and certificate of the plan. One that cannot be taken never stops the others.

    Raises InputError for an unusable bundle of roots, before anything is taken.
    """
    run = _Run(plan, trust or Trust(), actor)
    trust_context(run.trust.ca_bundle)
    total, done = len(plan.accounts) + len(plan.certificates), list[Done]()
    for account in plan.accounts:
        done.append(run.account(account))
        progress(len(done), total)
    for certificate in plan.certificates:
        done.append(run.certificate(certificate))
        progress(len(done), total)
    if any(each.line.deed != Deed.LEFT for each in done):
        with transaction.atomic():
            moved = state_lock().moved_from
            state_update(moved_from={**moved, plan.found.client: clock.now().isoformat()})
    return done


@dataclass(frozen=True)
class _Run:
    plan: Plan
    trust: Trust
    actor: Actor
    accounts: dict[str, AcmeAccount] = field(default_factory=dict)  # as the other client calls them

    def account(self, planned: PlannedAccount) -> Done:
        found = planned.found
        try:
            row = self._account_take(found) if planned.deed == Deed.TAKE else planned.account or _same_address(found)
        except BinderyError as error:
            return Done(replace(planned.line, deed=Deed.LEFT, text=str(error)), failed=True)
        if row is not None:
            self.accounts[found.id] = row
        return Done(planned.line)

    def certificate(self, planned: PlannedCertificate) -> Done:
        line = planned.line
        if planned.deed in {Deed.HERE, Deed.LEFT}:
            return Done(line, planned.certificate)
        try:
            # Outside of the transaction: a method that fits is of use even where the certificate is refused.
            method = self._method(planned.proof) if planned.deed == Deed.TAKE else None
            with transaction.atomic():
                state_lock()
                known = known_version(planned.found)
                if known is None:
                    take = self._upload(planned) if planned.deed == Deed.UPLOAD else self._take(planned, method)
                    return Done(line, take)
                if planned.deed == Deed.NEWER:
                    return Done(line, self._newer(planned, known.certificate))
        except BinderyError as error:
            return Done(replace(line, deed=Deed.LEFT, text=str(error)), failed=True)
        # Another was quicker.
        return Done(replace(line, deed=Deed.HERE, text=f"As {known.certificate.name}."), known.certificate)

    def _account_take(self, found: FoundAccount) -> AcmeAccount:
        """Its terms were accepted there; which ones is not known, so those that the CA names next count as new."""
        with transaction.atomic():
            state_lock()
            known = account_known(found) or _same_address(found)
            if known is not None:
                return known
            row = AcmeAccount.objects.create(
                directory_url=found.directory_url,
                email=account_email(found),
                account_url=found.url,
                terms_agreed_at=clock.now(),
                key=key_import(found.key),
                ca_bundle=self.trust.ca_bundle,
                allow_private=self.trust.allow_private,
            )
            audit_record(self.actor, "account.import", row, after={**self._origin(), "url": found.url})
        return row

    def _upload(self, planned: PlannedCertificate) -> Certificate:
        found = planned.found
        taken, _ = certificate_take(
            found.current.chain,
            key_import(found.current.key),
            properties=Properties(name=found.name),
            actor=self.actor,
            allow_expired=True,
        )
        return taken

    def _newer(self, planned: PlannedCertificate, certificate: Certificate) -> Certificate:
        version = planned.found.current
        _version_keep(certificate, version, is_test=is_test_directory(planned.found.directory_url))
        audit_record(self.actor, "certificate.import", certificate, after=self._origin(version))
        return certificate

    def _take(self, planned: PlannedCertificate, method: ChallengeMethod | None) -> Certificate:
        found = planned.found
        account = self.accounts.get(planned.account) or account_at(found.directory_url)
        if account is None:
            raise InputError("Its account could not be taken.", advice="What stands against the account is told above.")
        options = IssueOptions(
            key_type=found.key_type,
            profile=found.profile,
            preferred_chain=found.preferred_chain,
            reuse_key=found.reuse_key,
            challenge_method=method,
        )
        certificate = certificate_new(
            name=found.name, names=found.names, account=account, actor=self.actor, options=options
        )
        versions = [*(each for each in found.versions if each is not found.current), found.current]
        is_test = is_test_directory(found.directory_url)
        rows = [_version_keep(certificate, version, is_test=is_test) for version in versions]
        for row, follower in pairwise(rows):
            CertificateVersion.objects.filter(pk=row.pk).update(retired_at=follower.not_before)
        renewal = {"auto_renew": planned.auto_renew, "renew_before_days": found.renew_before_days}
        certificate_update(certificate, actor=self.actor, **renewal)
        audit_record(self.actor, "certificate.import", certificate, after=self._origin(*versions))
        return certificate

    def _method(self, proof: Proof) -> ChallengeMethod | None:
        """One that is the same already, else a new one. None: the portal answers by itself."""
        if not proof.kind:
            return None
        wanted = options_judged(proof)
        rows = ChallengeMethod.objects.filter(kind=proof.kind)
        same = next((row for row in rows if _options_of(row) == wanted), None)
        return same or method_create(kind=proof.kind, name=self._free(proof.was), given=proof.given, actor=self.actor)

    def _free(self, was: str) -> str:
        taken = {name.casefold() for name in ChallengeMethod.objects.values_list("name", flat=True)}
        name = f"{was} (from {self.plan.found.client})"[: LONGEST_NAME - 6]
        numbered = (name if number == 1 else f"{name} {number}" for number in range(1, len(taken) + 2))
        return next(each for each in numbered if each.casefold() not in taken)

    def _origin(self, *versions: FoundVersion) -> dict[str, object]:
        found = {"from": f"{self.plan.found.client} {self.plan.found.place}"}
        return {**found, "fingerprints": [fingerprint_of(version) for version in versions]} if versions else {**found}


def _same_address(found: FoundAccount) -> AcmeAccount | None:
    here = {"directory_url": found.directory_url, "email": account_email(found), "deactivated_at": None}
    return AcmeAccount.objects.filter(**here).first()


def _version_keep(certificate: Certificate, version: FoundVersion, *, is_test: bool) -> CertificateVersion:
    """As the current version, which the last one stays; made when the CA made it."""
    leaf, chain = version.chain.leaf, version.chain.intermediates
    key = key_import(version.key)
    row = version_add(certificate, leaf=leaf, chain=chain, key=key, is_test=is_test, allow_expired=True)
    moment = min(certificate_info(leaf).not_before, clock.now())
    CertificateVersion.objects.filter(pk=row.pk).update(created_at=moment)
    Certificate.objects.filter(pk=certificate.pk).update(last_renewed_at=moment)
    return row


def _options_of(row: ChallengeMethod) -> object:
    kind = solver_kinds()[row.kind].options_for(row.options)
    try:
        return options_load(kind, row.options, row.sealed, purpose=ChallengeMethod.PURPOSE, uid=row.pk)
    except BinderyError:
        return None

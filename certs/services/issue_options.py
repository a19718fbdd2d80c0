"""How a certificate is asked for: key, profile, chain, challenge and fallback issuers. All optional."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from certs.domain.errors import InputError
from certs.domain.keys import KEY_TYPES
from certs.domain.names import NameRules, is_address
from certs.models import AcmeAccount, Certificate, ChallengeMethod, FallbackIssuer
from certs.models.organization import DEFAULT_ORGANIZATION
from certs.services.access import Actor
from certs.services.challenges import AUTOMATIC, solver_kinds
from certs.services.methods import NewMethod, method_settle
from certs.solvers.base import Solver

# What public CAs take (CA/B baseline requirements §6.1.5).
CA_KEY_TYPES = tuple(kind for kind in KEY_TYPES if kind != "ed25519")


@dataclass(frozen=True)
class IssueOptions:
    """`challenge_method` None: chosen by itself, http-01 first, unless there is a `new_method`, which is set up with
    the certificate. `fallbacks` in the order in which they are asked."""

    key_type: str = "ec-p256"
    profile: str = ""
    preferred_chain: str = ""
    reuse_key: bool = False
    challenge_method: ChallengeMethod | None = None
    fallbacks: tuple[AcmeAccount, ...] = ()
    new_method: NewMethod | None = None

    @property
    def kind(self) -> str:
        """Of the challenge; "" where the portal chooses."""
        method = self.new_method or self.challenge_method
        return method.kind if method else ""


def issue_options_of(certificate: Certificate) -> IssueOptions:
    rows = certificate.fallbacks.select_related("account")
    return IssueOptions(
        key_type=certificate.key_type,
        profile=certificate.profile,
        preferred_chain=certificate.preferred_chain,
        reuse_key=certificate.reuse_key,
        challenge_method=certificate.challenge_method,
        fallbacks=tuple(row.account for row in rows),
    )


def name_rules(kind: str, profile: str) -> NameRules:
    """What may be named: a wildcard where the kind of challenge ("": the portal chooses) can prove one, an address
    where a profile is named with it."""
    chosen = _solvers(kind)
    return NameRules(
        wildcard=any(kind.wildcards for kind in chosen),
        address=bool(profile) and any(kind.addresses for kind in chosen),
    )


def issue_options_check(options: IssueOptions, *, names: Sequence[str], account: AcmeAccount) -> None:
    """Raises InputError where they do not fit each other; its code names the field."""
    if options.key_type not in CA_KEY_TYPES:
        raise InputError(
            f"A CA does not certify a key of the type “{options.key_type}”.",
            advice=f"Choose {', '.join(CA_KEY_TYPES)}.",
            code="key_type",
        )
    rules = name_rules(options.kind, options.profile)
    wildcard = next((name for name in names if name.startswith("*.")), "")
    if wildcard and not rules.wildcard:
        raise InputError(
            f"{wildcard} is a wildcard, which a CA gives only after a DNS challenge.",
            advice="Choose a DNS challenge, or name each host by itself.",
            code="challenge",
        )
    address = next((name for name in names if is_address(name)), "")
    if address and not any(solver.addresses for solver in _solvers(options.kind)):
        raise InputError(
            f"{address} is an address, which a DNS challenge cannot prove.",
            advice="Choose the HTTP or the TLS challenge.",
            code="challenge",
        )
    if account in options.fallbacks or len(set(options.fallbacks)) != len(options.fallbacks):
        raise InputError("A fallback issuer is named twice.", advice="Name each CA account once.", code="fallbacks")
    used = [one for one in (*options.fallbacks, options.challenge_method) if one is not None]
    foreign = next((one for one in used if one.organization_id != account.organization_id), None)
    if foreign is not None:  # its account may have proven names, its method holds credentials
        raise InputError(
            f"{foreign} belongs to another organization than the account.",
            advice="Choose one of the same organization.",
            code="fallbacks" if isinstance(foreign, AcmeAccount) else "challenge",
        )
    gone = next((one for one in (account, *options.fallbacks) if one.deactivated_at is not None), None)
    if gone is not None:
        raise InputError(f"The account {gone} is deactivated.", advice="Choose another account.", code="fallbacks")


def issue_options_set(certificate: Certificate, options: IssueOptions, *, actor: Actor) -> IssueOptions:
    """As they are kept, a new challenge method set up. Inside the caller's transaction, which audits it.

    Raises what `method_settle` raises.
    """
    if options.new_method is not None:
        place = certificate.organization_id or DEFAULT_ORGANIZATION
        made = method_settle(options.new_method, certificate.names, organization=place, actor=actor)
        options = replace(options, challenge_method=made, new_method=None)
    for name in ("key_type", "profile", "preferred_chain", "reuse_key", "challenge_method"):
        setattr(certificate, name, getattr(options, name))
    certificate.save(update_fields=["key_type", "profile", "preferred_chain", "reuse_key", "challenge_method"])
    with transaction.atomic():
        certificate.fallbacks.all().delete()
        FallbackIssuer.objects.bulk_create(
            FallbackIssuer(certificate=certificate, account=account, position=position)
            for position, account in enumerate(options.fallbacks)
        )
    return options


def issue_options_shown(options: IssueOptions) -> dict[str, Any]:
    """As JSON, for the audit trail and --json."""
    return {
        "key_type": options.key_type,
        "profile": options.profile,
        "preferred_chain": options.preferred_chain,
        "reuse_key": options.reuse_key,
        "challenge": options.challenge_method.name if options.challenge_method else "automatic",
        "fallbacks": [str(account) for account in options.fallbacks],
    }


def _solvers(kind: str) -> list[type[Solver]]:
    """Those that may prove the names; "" is the portal's own choice."""
    kinds = solver_kinds()
    return [kinds[one] for one in ((kind,) if kind else AUTOMATIC) if one in kinds]

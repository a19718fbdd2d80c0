"""Taking over from certbot or acme.sh: first a plan that says of everything whether it is taken, then the deed
(`migration_run.py`).

Nothing is ordered and no CA is asked: accounts come with their key and address, certificates with all their versions.
Whether something is due is for the next check, by our own rules.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from certs.acme.directories import directory_label
from certs.domain import acmesh, certbot
from certs.domain.certinfo import certificate_info
from certs.domain.errors import BinderyError, InputError, NotAllowed
from certs.domain.keys import spki_sha256
from certs.domain.migration import Found, FoundAccount, FoundLineage, FoundVersion, Proof, Tree
from certs.domain.options import options_read
from certs.models import AcmeAccount, Certificate, CertificateVersion
from certs.selectors import accounts_usable
from certs.services.challenges import site_get, solver_kinds
from certs.services.other_clients import other_client_look
from certs.transports.outbound import url_check
from certs.transports.schedules import Schedule
from certs.transports.trees import archive_read, file_read, tree_read

BY_HAND = "dns01_manual"
_WEBROOT = "http01_webroot"
_UNWANTED = ("csr/", "keys/", "logs/", "backup/", "deploy/", "dnsapi/", "notify/")  # neither has what is taken there
_READERS: dict[str, tuple[Callable[..., Found], Callable[[Tree], list[str]], str]] = {
    certbot.CLIENT: (certbot.certbot_read, certbot.credentials_named, certbot.HOME),
    acmesh.CLIENT: (acmesh.acmesh_read, acmesh.credentials_named, acmesh.HOME),
}
HOMES = {client: home for client, (_, _, home) in _READERS.items()}


class Deed(StrEnum):
    TAKE = "take"
    NEWER = "newer"  # it is here, and the other client has renewed it since
    HERE = "here"
    UPLOAD = "upload"  # without its account: nobody here can renew it
    LEFT = "left"

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Deed.TAKE: "to take",
    Deed.NEWER: "newer version to take",
    Deed.HERE: "here already",
    Deed.UPLOAD: "to take without renewal",
    Deed.LEFT: "not taken",
}


@dataclass(frozen=True)
class Line:
    """What a person reads of one thing; `kind` is account, certificate or other."""

    kind: str
    name: str
    deed: Deed
    text: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        return {"kind": self.kind, "name": self.name, "deed": str(self.deed), "text": self.text, "advice": self.advice}


@dataclass(frozen=True)
class PlannedAccount:
    """`account` is the one that is here, and used instead where `deed` is LEFT."""

    found: FoundAccount
    deed: Deed
    text: str
    account: AcmeAccount | None = None

    @property
    def line(self) -> Line:
        name = f"{self.found.email or 'no e-mail'} at {directory_label(self.found.directory_url)}"
        return Line("account", name, self.deed, self.text)


@dataclass(frozen=True)
class PlannedCertificate:
    """`account` is how the other client calls it, a key of the planned accounts; `certificate` is the one here."""

    found: FoundLineage
    deed: Deed
    text: str
    proof: Proof
    auto_renew: bool
    advice: str = ""
    account: str = ""
    certificate: Certificate | None = None

    @property
    def line(self) -> Line:
        return Line("certificate", self.found.name, self.deed, self.text, self.advice)


@dataclass(frozen=True)
class Plan:
    found: Found
    accounts: tuple[PlannedAccount, ...]
    certificates: tuple[PlannedCertificate, ...]
    schedules: tuple[Schedule, ...]

    @property
    def lines(self) -> list[Line]:
        return [*(each.line for each in self.accounts), *(each.line for each in self.certificates), *self.left_lines]

    @property
    def left_lines(self) -> list[Line]:
        """What could not even be planned, and what goes along with no certificate."""
        lefts = [*self.found.left, *(left for each in self.found.lineages for left in each.left)]
        return [Line(left.kind, left.what, Deed.LEFT, left.why, left.advice) for left in lefts]

    @property
    def is_empty(self) -> bool:
        """Whether carrying it out would change nothing."""
        deeds = {each.deed for each in self.accounts} | {each.deed for each in self.certificates}
        return not deeds & {Deed.TAKE, Deed.NEWER, Deed.UPLOAD}

    @property
    def digest(self) -> str:
        """Of what was shown and of every certificate in it: what is carried out is what was seen."""
        parts = [repr(line) for line in self.lines]
        parts += [fingerprint_of(version) for each in self.found.lineages for version in each.versions]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def tree_of_place(place: Path) -> Tree:
    """Raises InputError, with what to do where the portal's user may not read it."""
    try:
        return tree_read(place, _is_wanted)
    except InputError as error:
        error.advice = error.advice or (
            f"Run `manage.py certs import` as root, or give it an archive on standard input, which a page takes too: "
            f"sudo tar -C {place.parent} -cz {place.name}. A container sees what is mounted: -v {place}:{place}:ro"
        )
        raise


def tree_of_archive(client: str, data: bytes, name: str) -> Tree:
    """Of the client's directory alone, or from the root of the machine: then other files, as those with credentials,
    may stand beside it. Raises InputError."""
    return archive_read(data, name, _is_wanted).below_home(HOMES[client])


def migration_plan(client: str, tree: Tree, *, credentials_in: Collection[Path] | None = None) -> Plan:
    """What would be taken of it. `credentials_in`: files with credentials that the lineages name outside of the tree
    are read only below these directories; None: anywhere.

    Raises InputError where the tree is none of this client's.
    """
    read, named, _ = _READERS[client]
    contents = {path: _credentials(client, tree, path, credentials_in) for path in named(tree)}
    found = read(tree, contents)
    if not found.accounts and not found.lineages and not found.left:
        raise InputError(
            f"Nothing of {client} was found in {tree.place}.",
            advice=f"Give its own directory, which is {HOMES[client]} most often.",
            code="tree-empty",
        )
    accounts = {each.found.id: each for each in _accounts(found)}
    certificates = tuple(_certificate(each, accounts) for each in found.lineages)
    return Plan(found, tuple(accounts.values()), certificates, tuple(other_client_look(client)))


def place_allowed(place: Path, allowed: Collection[Path]) -> Path:
    """Of a path that somebody typed into a page. Raises NotAllowed unless it is one of these directories or below."""
    real = place.resolve()
    if not place.is_absolute() or not any(real.is_relative_to(each.resolve()) for each in allowed):
        listed = ", ".join(map(str, allowed)) or "none"
        raise NotAllowed(
            f"The page reads only below these directories: {listed}.",
            advice="Upload an archive, use `manage.py certs import`, or let the operator of the machine set "
            "BINDERY_IMPORT_DIRS.",
            code="tree-not-allowed",
        )
    return place


def fingerprint_of(version: FoundVersion) -> str:
    return certificate_info(version.chain.leaf).fingerprint_sha256


def known_version(lineage: FoundLineage) -> CertificateVersion | None:
    """The newest version of it that is here, in whichever certificate that is not deleted."""
    prints = [fingerprint_of(each) for each in lineage.versions]
    rows = CertificateVersion.objects.filter(fingerprint_sha256__in=prints, certificate__deleted_at=None)
    return rows.select_related("certificate__current").order_by("-not_before").first()


def account_known(found: FoundAccount) -> AcmeAccount | None:
    """By its key and directory, given up or not."""
    spki = spki_sha256(found.key.public_key())
    return AcmeAccount.objects.filter(key__spki_sha256=spki, directory_url=found.directory_url).first()


def account_email(found: FoundAccount) -> str:
    try:
        validate_email(found.email)
    except ValidationError:
        return ""
    return found.email


def _is_wanted(path: str) -> bool:
    return not f"{path}/".startswith(_UNWANTED)


def _credentials(client: str, tree: Tree, path: str, allowed: Collection[Path] | None) -> bytes | str:
    """Its content, or why it was not read. One inside the other client's own directory is inside the tree."""
    home = PurePosixPath(HOMES[client])
    for base in (home, PurePosixPath(tree.place)):
        if PurePosixPath(path).is_relative_to(base):
            inside = tree.read(str(PurePosixPath(path).relative_to(base)))
            if inside is not None:
                return inside
    if path in tree.beside:
        return tree.beside[path]
    try:
        if not path.startswith("/"):
            return f"{path} is no absolute path"
        if allowed is not None:
            place_allowed(Path(path), allowed)
        return file_read(Path(path))
    except NotAllowed:
        return f"{path} is outside of the directories that the page may read"
    except InputError as error:
        return f"{path}: {error.message}"


# Accounts


def _accounts(found: Found) -> Iterator[PlannedAccount]:
    """Those that lineages use come first: of two for one address only one can be kept."""
    used = [each.account for each in found.lineages]
    taken: dict[tuple[str, str], FoundAccount] = {}
    for each in sorted(found.accounts, key=lambda one: -used.count(one.id)):
        planned = _account(each)
        first = taken.setdefault((each.directory_url, account_email(each)), each)
        if planned.deed == Deed.TAKE and first is not each:
            text = (
                "Another of its accounts has the same CA and address, and is taken: its certificates renew with that."
            )
            planned = replace(planned, deed=Deed.LEFT, text=text)
        yield planned


def _account(found: FoundAccount) -> PlannedAccount:
    try:
        url_check(found.directory_url)
    except InputError as error:
        return PlannedAccount(found, Deed.LEFT, str(error))
    known = account_known(found)
    if known is not None and known.deactivated_at is not None:
        return PlannedAccount(found, Deed.LEFT, "It was given up here.")
    if known is not None:
        return PlannedAccount(found, Deed.HERE, "The same key and the same CA.", known)
    email = account_email(found)
    other = AcmeAccount.objects.filter(directory_url=found.directory_url, email=email, deactivated_at=None).first()
    if other is not None:
        text = (
            "There is an account with another key for the same CA and address here: its certificates renew with that."
        )
        return PlannedAccount(found, Deed.LEFT, text, other)
    known_as = f"The CA calls it {found.url}." if found.url else "The CA tells its address at the first order."
    return PlannedAccount(found, Deed.TAKE, f"With its key; nothing is registered anew. {known_as}")


# Certificates


def _certificate(found: FoundLineage, accounts: Mapping[str, PlannedAccount]) -> PlannedCertificate:
    proof, auto_renew, advice = proof_settled(found)
    account = _account_of(found, accounts)
    plan = PlannedCertificate(found, Deed.TAKE, "", proof, auto_renew, advice, account)
    known = known_version(found)
    if known is not None:
        return _known(plan, known)
    info = certificate_info(found.current.chain.leaf)
    count = len(found.versions)
    kept = f"{count} versions" if count > 1 else "1 version"
    about = f"{', '.join(found.names[:3])}{' …' if len(found.names) > 3 else ''}; {kept}, until {info.not_after:%F}."
    if not found.names:
        return replace(plan, deed=Deed.LEFT, text="It holds no DNS name.", advice="Upload it by hand.")
    if not account:
        label = directory_label(found.directory_url) or "its CA"
        advice = f"Get a new one for the same names from {label} when it is due."
        return replace(plan, deed=Deed.UPLOAD, text=f"{about} Its account was not found.", advice=advice)
    return replace(plan, text=f"{about} {_proof_words(proof, auto_renew)}")


def _known(plan: PlannedCertificate, known: CertificateVersion) -> PlannedCertificate:
    certificate = known.certificate
    here = replace(plan, deed=Deed.HERE, certificate=certificate, advice="")
    newest = certificate.current
    leaf = plan.found.current.chain.leaf
    if newest is None or leaf.not_valid_before_utc <= newest.not_before:
        return replace(here, text=f"As {certificate.name}.")
    if certificate.source != Certificate.Source.ACME:
        advice = f"Delete {certificate.name} first to take this one with its account."
        return replace(here, text=f"An earlier version is here as {certificate.name}, uploaded.", advice=advice)
    return replace(here, deed=Deed.NEWER, text=f"It was renewed there after {certificate.name} was taken.")


def _account_of(found: FoundLineage, accounts: Mapping[str, PlannedAccount]) -> str:
    """A key of the planned accounts whose account will be here; "" where there is none for its CA."""
    named = accounts.get(found.account)
    usable = [key for key, each in accounts.items() if each.found.directory_url == found.directory_url]
    if named is not None and (named.deed != Deed.LEFT or named.account is not None):
        return found.account
    other = next((key for key in usable if accounts[key].deed != Deed.LEFT or accounts[key].account), "")
    return other or ("*" if account_at(found.directory_url) is not None else "")


def account_at(directory_url: str) -> AcmeAccount | None:
    """One of ours at this CA that can order."""
    return accounts_usable().filter(directory_url=directory_url).first() if directory_url else None


def proof_settled(found: FoundLineage) -> tuple[Proof, bool, str]:
    """How it is proven here, whether it renews by itself, and what a person should do.

    Where nothing of ours fits, nothing is tried in the dark: automatic renewal is off, and a wildcard or what was
    proven by DNS gets the method by hand.
    """
    proof, why = found.proof, ""
    if proof.kind:
        try:
            options_judged(proof)
        except BinderyError as error:
            proof, why = replace(proof, kind=None, given={}), str(error)
    wildcard = any(name.startswith("*.") for name in found.names)
    if proof.kind is not None and wildcard and not _wildcards(proof.kind):
        proof, why = replace(proof, kind=None, given={}), "A wildcard is proven by DNS only."
    if proof.kind is not None:
        return proof, found.auto_renew, _proof_advice(proof) if found.auto_renew else "It was not renewed there either."
    by_hand = wildcard or proof.was.startswith("dns") or proof.was == "manual"
    advice = f"Nothing here does what {proof.was} did, so automatic renewal is off. {why or proof.advice}"
    return replace(proof, kind=BY_HAND if by_hand else "", given={}), False, advice.strip()


def options_judged(proof: Proof) -> Any:
    """The options of its solver. Raises InputError, OptionRefused."""
    solver = solver_kinds()[str(proof.kind)]
    options = options_read(solver.options_for(proof.given), proof.given)
    solver(options, site_get())
    return options


def _wildcards(kind: str) -> bool:
    return bool(kind) and solver_kinds()[kind].wildcards


def _proof_advice(proof: Proof) -> str:
    if proof.kind == _WEBROOT:
        place = proof.given["webroot"]
        return f"The portal's user has to be able to write below {place}: Configuration ➜ Challenges ➜ Test tells."
    return proof.advice


def _proof_words(proof: Proof, auto_renew: bool) -> str:
    way = solver_kinds()[proof.kind].label if proof.kind else "HTTP by the portal"
    was = f", there {proof.was}" if proof.was else ""
    return f"Proven by {way}{was}{'' if auto_renew else '; not renewed by itself'}."

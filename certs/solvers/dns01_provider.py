"""TXT records through the API of a DNS provider, by the library dns-lexicon.

Each provider has parameters of its own; the fields come from the library's own list of them. Calls run in a process of
their own (`provider_call`) with a time limit, credentials on its stdin, and what it says freed of them.
"""

import json
import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, quote_plus

from certs.domain.errors import BinderyError, Unavailable
from certs.domain.options import option, options_of, options_split
from certs.solvers.base import Site
from certs.solvers.dns import DnsSolver, challenge_option, ttl_option
from certs.transports.local import run
from certs.transports.roots import roots_pem
from portal import logs

SECONDS = 50
TTL = 600  # what the strictest providers take at least; only resolvers on the way keep it
PROGRAM = Path(__file__).with_name("provider_call.py")
_KEPT = tuple(form for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY") for form in (name, name.lower()))
# Guesses the provider from the servers of the domain, with the parameters of all of them.
_LEFT_OUT = frozenset({"auto"})
# A parameter is a secret unless it ends in one of these words and has none of the others: in doubt it is hidden.
_HARMLESS = re.compile(
    r"(^|_)(username|user|subuser|id|subid|region|endpoint|entrypoint|server|port|weight|account|email|protocol|host|view"
    r"|filename|sandbox|zone|type|profile|tenancy|fingerprint|group|notify|time|ip)$"
)
_SECRET = re.compile(r"token|secret|pass|psw|key|totp|2fa|credential")
_SECRET_HELP = re.compile(r"specify (the |your )?(api|access|secret)[-_ ]?(key|token)", re.IGNORECASE)
_SHORT = {"api": "API", "id": "ID", "ip": "IP", "url": "URL", "totp": "TOTP", "2fa": "2FA", "pdns": "PowerDNS"}
_REFUSED, _LIMITED, _BROKEN = (401, 403), 429, 500
# Errors of the way to the provider, and what to do about them.
_AWAY = {
    "ConnectionError": "Look at the status page of the provider, and at the way from here to the internet.",
    "Timeout": "Look at the status page of the provider, and at the way from here to the internet.",
    "ProxyError": "Check HTTPS_PROXY, and that the proxy permits the way to the provider.",
    "SSLError": "If your company inspects TLS, give its root certificate by BINDERY_CA_BUNDLE.",
}
# What the providers' code runs into before it asks anybody, where a parameter is missing or looks otherwise.
_FAULTS = frozenset({"AssertionError", "AttributeError", "IndexError", "KeyError", "TypeError", "ValueError"})


class ProviderRefused(BinderyError):
    """The provider was reached and will not do it."""

    code = "dns-provider"


class Dns01Provider(DnsSolver):
    """The record is set through the API of your DNS provider, with credentials that are typed once and kept sealed."""

    label: ClassVar[str] = "DNS (provider)"
    put_by: ClassVar[tuple[str, ...]] = ("provider",)
    chooser: ClassVar[str] = "provider"

    @dataclass(frozen=True)
    class Options:
        provider: str = option("Provider", help="As the library dns-lexicon calls it.")

    @classmethod
    def options_for(cls, given: Mapping[str, Any]) -> type[Any]:
        return _options(str(given.get("provider") or ""))

    def __init__(self, options: Any, site: Site | None = None) -> None:
        super().__init__(options, site)
        about = {each.name for each in parameters(options.provider)}
        self._parameters = {name: getattr(options, name) for name in about}
        self._secrets = [str(value) for value in options_split(options)[1].values()]

    def record_add(self, zone: str, name: str, value: str, ttl: int) -> dict[str, Any]:
        zone = self.zone_chosen(zone, name)
        self._call("add", zone, name, value)
        return {"zone": zone}

    def record_remove(self, zone: str, name: str, value: str, data: Mapping[str, Any]) -> None:
        self._call("remove", str(data.get("zone") or self.zone_chosen(zone, name)), name, value)

    def _call(self, action: str, zone: str, name: str, value: str) -> None:
        """Raises ProviderRefused, Unavailable."""
        provider = self.options.provider
        task = {"provider": provider, "options": self._parameters, "zone": zone, "ttl": self.options.ttl}
        task |= {"action": action, "name": name, "value": value, "roots": roots_pem()}
        try:
            # -I: neither variables nor files of the portal's user change what it does.
            command: list[str | Path] = [sys.executable, "-I", PROGRAM]
            # Many providers have no call for one value: the library reads the whole set, or zone, and writes it back.
            with self.site.alone(f"dns-provider:{provider}:{zone}"):
                ran = run(command, env=_environment(), seconds=SECONDS, stdin=json.dumps(task).encode())
        except OSError as error:
            raise Unavailable(f"The library for DNS providers could not be run: {error.strerror}.") from None
        if ran.code is None:
            raise Unavailable(
                f"{provider} did not {action} the record {name} within {SECONDS} s.",
                advice="It is tried again; look at the status page of the provider.",
                code="dns-provider-time",
            )
        try:
            said = json.loads(ran.stdout)
        except ValueError:
            last = (ran.stderr.strip().splitlines() or [f"exit code {ran.code}"])[-1]
            said = {"error": "Fault", "message": last, "status": 0}
        if said:
            raise self._explained(said, zone)

    def _explained(self, said: Mapping[str, Any], zone: str) -> BinderyError:
        provider, status = self.options.provider, said["status"]
        words = masked(str(said["message"]), self._secrets)
        if status in _REFUSED or said["error"] == "AuthenticationError":
            return ProviderRefused(
                f"{provider} refuses these credentials for the zone {zone}: {words}",
                advice=f"Check the credentials of this method, and that they may change records of {zone}.",
                code="dns-provider-credentials",
            )
        if status == _LIMITED or status >= _BROKEN or said["error"] in _AWAY:
            return Unavailable(
                f"{provider} could not be asked just now: {words}",
                advice=_AWAY.get(said["error"], _AWAY["ConnectionError"]),
            )
        if said["error"] in _FAULTS and not status:
            return ProviderRefused(
                f"{provider} cannot be asked with these parameters: {words}",
                advice="One that it needs is missing, or is written otherwise: fill in what its help names.",
                code="dns-provider-parameters",
            )
        return ProviderRefused(
            f"{provider} did not take the record: {words}",
            advice="Check the parameters of this method against the provider's own documentation.",
        )


@dataclass(frozen=True)
class Parameter:
    """One that a provider wants, as the library lists it."""

    name: str
    type: type
    field: Any


@cache
def providers() -> tuple[str, ...]:
    """Those whose own requirements are installed too."""
    from lexicon._private.discovery import find_providers  # noqa: PLC0415 - loaded when it is wanted

    return tuple(name for name, there in find_providers().items() if there and name not in _LEFT_OUT)


@cache
def parameters(provider: str) -> tuple[Parameter, ...]:
    """Empty for one that is not there."""
    if provider not in providers():
        return ()
    return tuple(_parameter(action) for action in _parser(provider)._actions)


@cache
def _parser(provider: str) -> ArgumentParser:
    from lexicon._private.discovery import load_provider_module  # noqa: PLC0415 - loaded when it is wanted

    parser = ArgumentParser(add_help=False)
    load_provider_module(provider).Provider.configure_parser(parser)
    return parser


@cache
def _options(provider: str) -> type[Any]:
    """One chosen: its parameters, and what holds for all. None: the choice only."""
    known = provider in providers()
    about = (_description(provider) if known else "") or "As the library dns-lexicon calls it."
    choice = option("Provider", choices=[(name, name) for name in providers()], help=about)
    fields: list[tuple[str, type, Any]] = [("provider", str, choice)]
    if known:
        fields += [(each.name, each.type, each.field) for each in parameters(provider)]
        fields += [
            ("zone", str, option("Zone", default="", help="Only if the provider calls it otherwise than DNS does.")),
            ("ttl", int, ttl_option(TTL)),
            ("challenge", str, challenge_option()),
        ]
    return make_dataclass("Options", fields, frozen=True)


def _parameter(action: Any) -> Parameter:
    help_text = _sentence(action.help or "")
    if action.nargs == 0:  # a switch
        return Parameter(action.dest, bool, option(_label(action.dest), default=False, help=help_text))
    field = option(
        _label(action.dest),
        default="",
        help=help_text,
        choices=[("", "not set"), *((str(each), str(each)) for each in action.choices)] if action.choices else (),
        secret=not action.choices and is_secret(action.dest, action.help or ""),
        lines="PEM" in (action.help or "") or action.dest.endswith("_content"),
    )
    return Parameter(action.dest, str, field)


def is_secret(name: str, about: str) -> bool:
    return not _HARMLESS.search(name) or bool(_SECRET.search(name)) or bool(_SECRET_HELP.search(about))


def masked(text: str, secrets: Iterable[str]) -> str:
    """Without the secrets, in any form in which a URL or a document may hold them."""
    forms = {form for secret in secrets for each in (secret, *secret.split()) for form in _forms(each) if len(each) > 3}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, logs.MASK)
    return logs.mask("".join(each if each.isprintable() else " " for each in text))


def _forms(secret: str) -> tuple[str, ...]:
    return secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]


def _label(name: str) -> str:
    words = [_SHORT.get(word, word) for word in name.removeprefix("auth_").split("_")]
    label = " ".join(words)
    return label[:1].upper() + label[1:]


def _sentence(text: str) -> str:
    text = " ".join(text.split()).removeprefix("specify ").removeprefix("Specify ")
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _description(provider: str) -> str:
    """What the library says of the provider, in the words of the page: flags are fields here."""
    text = " ".join((_parser(provider).description or "").split())
    text = re.sub(r"--([a-z0-9_-]+)", lambda flag: f"“{_label(flag[1].replace('-', '_'))}”", text)
    return re.sub(r"`([^`<]+?) <([^>]+)>`_", r"\1 (\2)", text.replace("” flags", "”").replace("” flag", "”"))


def _environment() -> dict[str, str]:
    """No home: a ~/.netrc would win over the credentials."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent", **kept}


def option_names(provider: str) -> list[str]:
    """For the documentation and its test."""
    return [each.name for each in options_of(_options(provider))]

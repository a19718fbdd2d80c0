"""Options of a plugin: a frozen dataclass whose fields say everything a form, a flag, a schema and the docs need.

    @dataclass(frozen=True)
    class Options:
        server: str = option("Name server", help="Where updates are sent: host or host:port.")
        secret: str = option("TSIG secret", secret=True, help="base64")
        ttl: int = option("TTL", default=60, low=30, high=86400)

Fields are str, int or bool. A field without a default must be given; text is stripped unless it is `verbatim`, as
passwords are that somebody else will type again. Secrets are kept apart by
`options_split`, so that they go to an encrypted column and never come back to a page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from certs.domain.errors import InputError

T = TypeVar("T")
LONGEST = 64 * 1024  # characters of one value
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off", ""})


@dataclass(frozen=True)
class Option:
    """What is known of one field. `choices` are (value, label); `lines` asks for a box of several lines."""

    name: str
    type: type
    label: str
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    secret: bool = False
    verbatim: bool = False
    lines: bool = False
    low: int | None = None
    high: int | None = None
    longest: int = LONGEST
    required: bool = False
    default: Any = None

    @property
    def may_be_empty(self) -> bool:
        """Whether it may be left out. What has a default is there already, and is not called optional."""
        return not self.required and (self.type is bool or self.default in (None, ""))


@dataclass(frozen=True)
class NoOptions:
    """For plugins that need to be told nothing."""


class OptionRefused(InputError):
    """`field` names the option."""

    code = "option"

    def __init__(self, message: str, *, field: str, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.field = field


def option(
    label: str,
    *,
    default: Any = MISSING,
    help: str = "",
    choices: Sequence[tuple[str, str]] = (),
    secret: bool = False,
    verbatim: bool = False,
    lines: bool = False,
    low: int | None = None,
    high: int | None = None,
    longest: int = LONGEST,
) -> Any:
    """A field of an Options dataclass; without a default it must be given."""
    about = {
        "label": label,
        "help": help,
        "choices": tuple(choices),
        "secret": secret,
        "verbatim": verbatim,
        "lines": lines,
        "low": low,
        "high": high,
        "longest": longest,
    }
    return field(metadata=about) if default is MISSING else field(default=default, metadata=about)


def options_of(kind: type[Any]) -> tuple[Option, ...]:
    """The options of an Options dataclass, in the order of its fields."""
    hints = get_type_hints(kind)
    return tuple(_option(each, hints[each.name]) for each in fields(kind))


def options_read(kind: type[T], given: Mapping[str, Any]) -> T:
    """The dataclass from what a form, a flag, JSON or the database gives. Raises OptionRefused naming the field.

    What it does not know is refused too, so that a misspelt option of a command is not silently left out.
    """
    known = {each.name: each for each in options_of(kind)}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise OptionRefused(
            f"There is no option “{unknown[0]}”.",
            field=unknown[0],
            advice=f"Known are {', '.join(known)}." if known else "It takes no options.",
        )
    return kind(**{name: _value(each, given.get(name)) for name, each in known.items()})


def options_split(options: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what may be shown, the secrets that were given), both JSON."""
    about = options_of(type(options))
    shown = {each.name: getattr(options, each.name) for each in about if not each.secret}
    hidden = {each.name: value for each in about if each.secret and (value := getattr(options, each.name))}
    return shown, hidden


def _option(each: Field[Any], hint: type) -> Option:
    if hint not in (str, int, bool):
        raise TypeError(f"The option {each.name} is neither str, int nor bool.")
    required = each.default is MISSING
    return Option(
        name=each.name,
        type=hint,
        required=required,
        default=None if required else each.default,
        **{"label": each.name, **each.metadata},
    )


def _value(about: Option, given: Any) -> Any:
    if about.type is bool:
        return _flag(about, given)
    if given is None or (isinstance(given, str) and not given.strip()):
        if about.required:
            raise OptionRefused(f"{about.label} is needed.", field=about.name)
        return about.default
    return _number(about, given) if about.type is int else _text(about, given)


def _flag(about: Option, given: Any) -> bool:
    if given is None:
        return bool(about.default)
    if isinstance(given, bool):
        return given
    word = str(given).strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise OptionRefused(f"{about.label}: “{word}” is neither yes nor no.", field=about.name, advice="Write yes or no.")


def _number(about: Option, given: Any) -> int:
    try:
        number = int(str(given).strip())
    except ValueError:
        raise OptionRefused(f"{about.label}: “{str(given)[:40]}” is not a number.", field=about.name) from None
    if (about.low is not None and number < about.low) or (about.high is not None and number > about.high):
        bounds = f"{about.low if about.low is not None else '…'} to {about.high if about.high is not None else '…'}"
        raise OptionRefused(f"{about.label}: {number} is out of range.", field=about.name, advice=f"Give {bounds}.")
    return number


def _text(about: Option, given: Any) -> str:
    text = str(given) if about.verbatim else str(given).strip()
    if len(text) > about.longest < LONGEST:
        raise OptionRefused(
            f"{about.label} is {len(text)} characters long.", field=about.name, advice=f"Give {about.longest} at most."
        )
    if len(text) > LONGEST or "\0" in text or (not about.lines and "\n" in text):
        raise OptionRefused(f"{about.label} cannot be used: too long, or more than one line.", field=about.name)
    if about.choices and text not in {value for value, _ in about.choices}:
        raise OptionRefused(
            f"{about.label}: “{text[:40]}” is not one of the choices.",
            field=about.name,
            advice=f"Choose {', '.join(value for value, _ in about.choices)}.",
        )
    return text

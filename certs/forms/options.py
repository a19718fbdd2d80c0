"""Form fields made from the Options of a plugin, and back: nobody writes a form for a solver or a channel."""

from collections.abc import Collection, Mapping
from typing import Any

from django import forms

from certs.domain.options import Option, options_of
from certs.forms.base import SecretTextarea

_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
_KEPT = "Leave it empty to keep what is stored."


def option_fields(
    kind: type[Any],
    *,
    prefix: str = "",
    stored: Mapping[str, Any] | None = None,
    kept: Collection[str] | None = None,
) -> dict[str, Any]:
    """Fields by name (`prefix` before each). `stored` is the JSON of a row that is there; its secrets stay hidden.
    `kept` names the secrets that the row has; None: all of them.

    No field is required for the browser: only the chosen kind's fields count, and `options_read` judges them.
    """
    return {
        f"{prefix}{each.name}": _field(each, stored, stored is not None and (kept is None or each.name in kept))
        for each in options_of(kind)
    }


def option_values(kind: type[Any], cleaned: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """What was typed for this kind, for `options_read` or `options_merge`."""
    return {each.name: cleaned.get(f"{prefix}{each.name}") for each in options_of(kind)}


def _field(about: Option, stored: Mapping[str, Any] | None, kept: bool) -> forms.Field:
    initial = about.default if stored is None else stored.get(about.name, about.default)
    common: dict[str, Any] = {"label": about.label, "help_text": about.help, "required": False, "initial": initial}
    if about.type is bool:
        return forms.BooleanField(**common)
    if about.type is int:
        return forms.IntegerField(min_value=about.low, max_value=about.high, **common)
    if about.choices:
        return forms.ChoiceField(choices=about.choices, **common)
    if about.secret:
        common |= {"initial": None, "help_text": f"{about.help} {_KEPT}".strip() if kept else about.help}
    return forms.CharField(max_length=about.longest, widget=_widget(about), strip=not about.verbatim, **common)


def _widget(about: Option) -> forms.Widget:
    if about.lines:
        return (SecretTextarea if about.secret else forms.Textarea)(attrs={**_PLAIN, "rows": 3})
    if about.secret:
        return forms.PasswordInput(attrs={**_PLAIN, "autocomplete": "new-password"})
    return forms.TextInput(attrs=_PLAIN)

"""What the templates need to speak plainly: states, dates, names, form fields, breadcrumbs."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

from django import forms, template
from django.forms import BoundField
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

from certs import selectors
from certs.domain import names, preflight, states
from certs.domain.alarms import Level
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.profiles import USAGES
from certs.forms.base import PortalForm, SecretTextarea
from certs.models import Certificate, Order
from certs.services.challenges import solver_kinds
from portal import clock

register = template.Library()

_KINDS = ("ok", "warning", "danger", "unknown")
_UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


@register.simple_tag
def state(kind: str, words: object) -> SafeString:
    """A state colour (ok, warning, danger, unknown) with its words beside it; colour alone says nothing."""
    return format_html('<span class="state state-{}">{}</span>', kind if kind in _KINDS else "unknown", words)


@register.filter
def level_kind(level: preflight.Level) -> str:
    """The kind of a state for what a look has found."""
    return {"ok": "ok", "warning": "warning", "error": "danger"}.get(level, "unknown")


@register.filter
def when(moment: datetime | None) -> SafeString | str:
    """A date that people and programs can read, in the portal's time zone; "never" for None."""
    if moment is None:
        return "never"
    local = timezone.localtime(moment)
    shown = date_format(local, "j M Y, H:i")
    return format_html(
        '<time datetime="{}" title="{}">{} {}</time>', moment.isoformat(), ago(moment), shown, local.tzname() or ""
    )


@register.filter
def ago(moment: datetime | None) -> str:
    """ "in 3 hours", "12 minutes ago", "just now"."""
    if moment is None:
        return "never"
    distance = moment - clock.now()
    words = _span(abs(distance))
    if not words:
        return "just now"
    return f"in {words}" if distance > timedelta(0) else f"{words} ago"


@register.filter
def is_to_come(moment: datetime | None) -> bool:
    return moment is not None and moment > clock.now()


@register.filter
def expires_in(moment: datetime | None) -> str:
    """ "expires in 12 days", "expired 3 days ago"; empty for None."""
    if moment is None:
        return ""
    left = moment - clock.now()
    words = _span(abs(left)) or "less than a minute"
    return f"expires in {words}" if left > timedelta(0) else f"expired {words} ago"


def _span(length: timedelta) -> str:
    for unit, word in _UNITS:
        count = int(length / unit)
        # One and a bit is said in the smaller unit: "36 hours" rather than "1 day".
        if count >= 2 or (count == 1 and unit == _UNITS[-1][0]):
            return f"{count} {word}{'' if count == 1 else 's'}"
    return ""


@register.filter
def name_display(name: str) -> str:
    """A DNS name as people write it; an A-label is followed to its Unicode form."""
    return names.name_display(name)


@register.filter
def fingerprint(digest: str) -> str:
    """A hexadecimal digest in the pairs that browsers show."""
    pairs = digest.upper()
    return ":".join(pairs[i : i + 2] for i in range(0, len(pairs), 2))


@register.filter
def names_shown(found: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    return selectors.names_shown(found)


@register.filter
def issuer_short(issuer: str) -> str:
    """The common name of an issuer, or its organization, where the whole is too long for a table."""
    parts = dict(part.strip().split("=", 1) for part in re.split(r"(?<!\\),", issuer) if "=" in part)
    return parts.get("CN") or parts.get("O") or issuer


@register.filter
def action_words(action: str) -> str:
    """An audit action such as `binding.set` in words."""
    return action.replace(".", ": ").replace("-", " ").capitalize()


@register.filter
def key_label(kind: str) -> str:
    """The word for a key type, "EC P-256"; the kind itself where it is not known here."""
    found = OWN_KEY_TYPES.get(kind)
    return found.label if found else kind


@register.filter
def usage_label(usage: str) -> str:
    return USAGES.get(usage, usage)


@register.filter
def json_shown(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True)


@register.simple_tag
def certificate_state(certificate: Certificate) -> SafeString:
    shown = selectors.certificate_shown(certificate)
    return state(shown.kind, shown.words)


@register.simple_tag
def alarm_state(level: int) -> SafeString:
    found = Level(level)
    kind = "ok" if found == Level.WELL else "danger" if found >= Level.URGENT else "warning"
    return state(kind, found.words.lower())


@register.simple_tag
def order_state(order: Order) -> SafeString:
    """Green only for an order that did all it was asked for."""
    label = states.ORDER.states[order.state].label
    if order.state == states.DONE:
        if order.served is False:
            return state("warning", "issued, not served")
        unproven = order.served is None and (order.bind or order.error_code)
        return state("unknown", "issued, not checked") if unproven else state("ok", label)
    if order.state == states.FAILED:
        return state("danger", label)
    return state("unknown", label)


@register.inclusion_tag("includes/field.html")
def field(bound: BoundField, *, say_optional: bool = True) -> dict[str, Any]:
    """A form field with label, help and errors, in the kit's classes; works for any form, allauth's too.

    `say_optional` is off where one of several fields is needed.
    """
    widget = bound.field.widget
    kind, css = _widget_kind(widget)
    if bound.errors:
        css += " is-invalid"
    # Attributes of the widget itself win, so that a form can still say autocomplete, rows and the like.
    return {
        "field": bound,
        "kind": kind,
        "widget": bound.as_widget(attrs={**widget.attrs, "class": css}),
        # A list always has something chosen.
        "optional": say_optional and not bound.field.required and not isinstance(widget, forms.Select),
        "lost": _lost(bound),
    }


def _lost(bound: BoundField) -> str:
    """What to say of a field that the person filled in, and that comes back empty beside the errors of its form."""
    if not (isinstance(bound.form, PortalForm) and bound.form.is_bound and bound.data):
        return ""
    if isinstance(bound.field.widget, forms.FileInput) and bound.name not in bound.form.kept_files:
        return "Choose the file again: it was not kept."
    if isinstance(bound.field.widget, (forms.PasswordInput, SecretTextarea)):
        return "Type it again: what is secret is not sent back."
    return ""


def _widget_kind(widget: forms.Widget) -> tuple[str, str]:
    if isinstance(widget, forms.CheckboxInput):
        return "check", "form-check-input"
    if isinstance(widget, (forms.RadioSelect, forms.CheckboxSelectMultiple)):
        widget.attrs["class"] = "form-check-input"
        return "group", "form-check-input"
    if isinstance(widget, forms.Select):
        return "input", "form-select"
    return "input", "form-control"


@register.inclusion_tag("includes/form_errors.html")
def form_errors(form: forms.BaseForm) -> dict[str, Any]:
    """What is wrong with the whole form, above its fields."""
    return {"form": form}


@register.inclusion_tag("includes/breadcrumbs.html")
def breadcrumbs(*trail: str) -> dict[str, Any]:
    """Label and URL name in turns, the last label without one: `{% breadcrumbs "Home" "home" "Help" %}`.

    A part that begins with / is taken as an address.
    """
    pairs: list[tuple[str, str]] = []
    for i in range(0, len(trail), 2):
        target = trail[i + 1] if i + 1 < len(trail) else ""
        pairs.append((trail[i], target if not target or target.startswith("/") else reverse(target)))
    return {"crumbs": pairs}


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: object) -> str:
    """The query string of this page with some parameters changed; an empty value drops one."""
    parameters = context["request"].GET.copy()
    for name, value in changes.items():
        if value in ("", None):
            parameters.pop(name, None)
        else:
            parameters[name] = str(value)
    return f"?{parameters.urlencode()}"


@register.filter
def challenge_label(kind: str) -> str:
    """The word for a kind of challenge, as in "the … challenge"; the kind itself where it is not known here."""
    found = solver_kinds().get(kind)
    return found.label if found else kind

"""How long a replaced key stays in the JWK Set."""

from typing import ClassVar

from django import forms

from certs.forms.base import PortalForm
from certs.services.jwks import OVERLAP_DAYS


class OverlapForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"days": "days"}

    days = forms.IntegerField(
        label="A replaced key stays for (days)",
        min_value=OVERLAP_DAYS[0],
        max_value=OVERLAP_DAYS[1],
        help_text="Longer than what is signed with it is valid. 0: it goes at once.",
        error_messages=dict.fromkeys(
            ("min_value", "max_value", "invalid", "required"),
            f"Type a whole number of days from {OVERLAP_DAYS[0]} to {OVERLAP_DAYS[1]}.",
        ),
        widget=forms.NumberInput(attrs={"autocomplete": "off"}),
    )

"""The two upper bounds of renewal, for all certificates or for one."""

from typing import Any, ClassVar

from django import forms

from certs.forms.base import PortalForm
from certs.services.renewal_settings import DAYS, HOURS


def _number(
    label: str, bounds: tuple[int, int], unit: str, *, required: bool, help_text: str = ""
) -> forms.IntegerField:
    low, high = bounds
    sentence = f"Type a whole number of {unit} from {low} to {high}."
    return forms.IntegerField(
        label=label,
        min_value=low,
        max_value=high,
        required=required,
        help_text=help_text,
        error_messages=dict.fromkeys(("min_value", "max_value", "invalid", "required"), sentence),
        widget=forms.NumberInput(attrs={"autocomplete": "off"}),
    )


class RenewalForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {
        "renew_before_days": "renew_before_days",
        "check_hours": "check_hours",
    }

    renew_before_days = _number(
        "Renew when it expires within (days)",
        DAYS,
        "days",
        required=True,
        help_text="At most half of a life counts: a certificate of 6 days is renewed 3 days before its end.",
    )
    check_hours = _number(
        "Check every (hours)",
        HOURS,
        "hours",
        required=True,
        help_text="At most. Certificates with a short life are looked at more often.",
    )


class OverrideForm(RenewalForm):
    """For one certificate; an empty field goes back to what holds for all."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.required = False
            field.help_text = "Left empty: as for all certificates."

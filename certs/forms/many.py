"""What is to be done with many certificates at once; which ones was chosen on the list."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms

from certs.domain.revocation import OWN_REASONS
from certs.forms.base import ConfirmForm, PortalForm

_TAGS = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "placeholder": "production, shop"}
ASKED = {"tag": ("add", "remove"), "revoke": ("reason",)}  # what an action has to know


class ManyForm(PortalForm):
    """The fields of ASKED; `options` are those that `bulk_preview` and `bulk_ask` take."""

    error_fields: ClassVar[dict[str, str]] = {"tags": "add"}

    add = forms.CharField(
        label="Tags to add",
        required=False,
        max_length=6000,
        help_text="Words separated by commas. They are kept in lower case.",
        widget=forms.TextInput(attrs=_TAGS),
    )
    remove = forms.CharField(
        label="Tags to take away", required=False, max_length=6000, widget=forms.TextInput(attrs=_TAGS)
    )
    reason = forms.ChoiceField(
        label="Reason",
        choices=[(name, f"{label} ({name})") for name, (_, label) in OWN_REASONS.items()],
        help_text="CAs outside know fewer reasons than your own: the result says which certificate was refused.",
    )

    def __init__(self, data: Mapping[str, Any] | None, *, action: str) -> None:
        super().__init__(data)
        wanted = ASKED.get(action, ())
        self.fields = {name: field for name, field in self.fields.items() if name in wanted}

    @property
    def options(self) -> dict[str, Any]:
        given = self.cleaned_data
        return {name: _words(text) if name in ASKED["tag"] else text for name, text in given.items()}


def _words(text: str) -> list[str]:
    return list(filter(None, map(str.strip, text.split(","))))


class SureForm(ConfirmForm):
    """The word after the preview; where it is `typed`, the number of certificates stands for what cannot be undone."""

    def __init__(self, data: Mapping[str, Any] | None, *, expected: str, typed: bool) -> None:
        super().__init__(data, expected=expected)
        if not typed:
            del self.fields["typed"]

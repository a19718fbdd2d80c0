"""Why a certificate is revoked, who signs the request, and its name typed."""

from typing import Any

from django import forms
from django.http import QueryDict

from certs.domain.revocation import OWN_REASONS, REASONS
from certs.forms.base import ConfirmForm


class RevokeForm(ConfirmForm):
    reason = forms.ChoiceField(
        label="Reason",
        choices=[(name, f"{label} ({name})") for name, (_, label) in REASONS.items()],
        help_text="A key that is known to somebody else is never used again here.",
    )
    by = forms.ChoiceField(
        label="Signed by",
        choices=[("account", "The account at the CA"), ("key", "The certificate's own key, which also proves that")],
    )

    def __init__(self, data: QueryDict | None = None, *, expected: str, key_here: bool, own: bool = False) -> None:
        """`own`: one of our own CAs revokes it, which knows more reasons and asks nobody's signature."""
        super().__init__(data, expected=expected)
        self.order_fields(["reason", "by", "typed"])
        if own:
            self.offer("reason", [(name, f"{label} ({name})") for name, (_, label) in OWN_REASONS.items()])
            del self.fields["by"]
        elif not key_here:
            self.offer("by", [("account", "The account at the CA")])

    @property
    def given(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("reason", "by") if name in self.fields}

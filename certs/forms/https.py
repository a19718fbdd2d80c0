"""The typed host name that HSTS asks for."""

from typing import ClassVar

from django import forms

from certs.forms.base import PortalForm


class HostTypedForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"typed-host": "typed_host"}

    typed_host = forms.CharField(
        label="Host name", required=False, max_length=255, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def for_host(self, host: str) -> "HostTypedForm":
        self.fields["typed_host"].label = f"Type {host} to confirm"
        return self

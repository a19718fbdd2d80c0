"""Configuration ➜ PKI addresses, and what an authority publishes."""

from typing import ClassVar

from django import forms
from django.http import QueryDict

from certs.domain.revocation import OWN_REASONS
from certs.forms.base import PortalForm


class PkiAddressForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"pki-https": "url", "input": "url", "name-refused": "url"}

    url = forms.CharField(
        label="Address",
        max_length=300,
        help_text="http:// and a name that you keep for years, such as http://pki.example.com. Without a port where "
        "port 80 leads to the portal.",
        widget=forms.URLInput(attrs={"spellcheck": "false", "autocapitalize": "none"}),
    )

    although_living = forms.BooleanField(
        label="The earlier address goes on leading to this portal",
        required=False,
        help_text="Certificates that are still valid hold it, and cannot be changed.",
    )

    def __init__(self, data: QueryDict | None = None, *, url: str, living: bool) -> None:
        super().__init__(data, initial={"url": url})
        if not living:
            del self.fields["although_living"]


class PublishForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"passphrase-needed": "passphrase", "passphrase-wrong": "passphrase"}

    passphrase = forms.CharField(
        label="Passphrase of the CA",
        strip=False,
        help_text="It is used for this one time and stored nowhere.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: QueryDict | None = None, *, offline: bool) -> None:
        super().__init__(data)
        if not offline:
            del self.fields["passphrase"]


class LifeForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"input": "days"}

    days = forms.IntegerField(label="Life of a list in days", min_value=1, max_value=3650)

    def __init__(self, data: QueryDict | None = None, *, days: int, offline: bool) -> None:
        super().__init__(data, initial={"days": days})
        self.fields["days"].help_text = (
            "Of the next list that you sign, and of the OCSP responder."
            if offline
            else "It is signed again at half of it."
        )


class SerialForm(PortalForm):
    """Revoke what is not stored here any more."""

    error_fields: ClassVar[dict[str, str]] = {"serial-unknown": "serial"}

    serial = forms.CharField(
        label="Serial number",
        max_length=100,
        help_text="In hexadecimal digits, as openssl x509 -noout -serial prints it.",
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocapitalize": "none"}),
    )
    reason = forms.ChoiceField(
        label="Reason", choices=[(name, f"{label} ({name})") for name, (_, label) in OWN_REASONS.items()]
    )

"""Bringing one's own certificate, and making a self-signed one."""

from typing import Any, ClassVar

from django import forms
from django.core.files.uploadedfile import UploadedFile

from certs.domain.errors import NameRefused
from certs.domain.keys import KEY_TYPES
from certs.domain.names import SELF_SIGNED, names_parse
from certs.forms.base import PortalForm, SecretTextarea
from certs.forms.issue_options import IssueOptionsForm
from certs.forms.volume import VolumeForm
from certs.issuers.self_signed import MAX_DAYS
from certs.models import AcmeAccount
from certs.services.issue_options import name_rules

LARGEST = 256 * 1024  # bytes of a PEM file; a chain of ten certificates is a tenth of it
_AREA = {"rows": 5, "spellcheck": "false", "autocomplete": "off", "autocapitalize": "off"}


class UploadForm(PortalForm):
    """Chain and key, each as a file or as pasted text; `chain` and `key` in the cleaned data are bytes."""

    error_fields: ClassVar[dict[str, str]] = {
        "key-refused": "key_text",
        "certificate-refused": "chain_text",
        "pair": "key_text",
        "password-needed": "password",
        "password-wrong": "password",
    }

    chain_file = forms.FileField(
        label="Certificate file", required=False, help_text="PEM: the certificate and its intermediates, in any order."
    )
    chain_text = forms.CharField(
        label="… or its text",
        required=False,
        max_length=LARGEST,
        widget=forms.Textarea(attrs={**_AREA, "placeholder": "-----BEGIN CERTIFICATE-----"}),
    )
    key_file = forms.FileField(label="Private key file", required=False, help_text="PEM. It is stored encrypted.")
    key_text = forms.CharField(
        label="… or its text",
        required=False,
        max_length=LARGEST,
        widget=SecretTextarea(attrs={**_AREA, "placeholder": "-----BEGIN PRIVATE KEY-----"}),
    )
    password = forms.CharField(
        label="Password of the key",
        required=False,
        strip=False,
        max_length=1000,
        help_text="Only where the key file has one.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    name = forms.CharField(
        label="Name in Bindery",
        required=False,
        max_length=255,
        help_text="Left empty, it takes the certificate's first name.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for part in ("chain", "key"):
            cleaned[part] = self._given(part, cleaned)
        return cleaned

    def _given(self, part: str, cleaned: dict[str, Any]) -> bytes:
        file: UploadedFile[bytes] | None = cleaned.get(f"{part}_file")
        text: str = cleaned.get(f"{part}_text") or ""
        if file and text.strip():
            self.add_error(f"{part}_text", "Both a file and text were given. Leave one of them empty.")
        elif file is not None and (file.size or 0) > LARGEST:
            self.add_error(f"{part}_file", "This file is too large for a PEM file. Was another one meant?")
        elif file is not None:
            return bytes(file.read())
        elif not text.strip() and not self.has_error(f"{part}_file") and not self.has_error(f"{part}_text"):
            self.add_error(f"{part}_file", "Choose a file, or paste its text below.")
        return text.encode()


def _key_choices() -> list[tuple[str, str]]:
    return [(kind, f"{key_type.label} — {key_type.help}") for kind, key_type in KEY_TYPES.items()]


class SelfSignedForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"name-refused": "names"}

    names = forms.CharField(
        label="Host names",
        max_length=20_000,
        help_text="What browsers use to reach this portal: names and IP addresses, separated by commas.",
        widget=forms.Textarea(attrs={**_AREA, "rows": 3}),
    )
    days = forms.IntegerField(label="Valid for (days)", min_value=1, max_value=MAX_DAYS, initial=365)
    key_type = forms.ChoiceField(label="Key", initial="rsa-2048", choices=_key_choices)

    def clean_names(self) -> list[str]:
        try:
            return names_parse(str(self.cleaned_data["names"]), SELF_SIGNED)
        except NameRefused as error:
            raise forms.ValidationError(str(error)) from error


class RequestForm(VolumeForm, IssueOptionsForm):
    """A certificate from a CA for any names: an account that is there, and all that is under “More”."""

    error_fields: ClassVar[dict[str, str]] = {
        "name-refused": "names",
        "wildcard": "names",
        "challenge": "challenge",
        "key_type": "key_type",
        "fallbacks": "fallback_1",
    }

    names = forms.CharField(
        label="DNS names",
        max_length=30_000,
        error_messages={"required": "Type at least one DNS name, for example www.example.com."},
        help_text="Several are separated by commas or lines. All of them go into one certificate.",
        widget=forms.Textarea(attrs={**_AREA, "rows": 3, "placeholder": "www.example.com"}),
    )
    account = forms.ChoiceField(label="Certificate authority")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer("account", self.account_choices())

    def clean_names(self) -> list[str]:
        try:
            return names_parse(
                str(self.cleaned_data["names"]), name_rules(self.kind, str(self.cleaned_data.get("profile", "")))
            )
        except NameRefused as error:
            raise forms.ValidationError(str(error)) from error

    @property
    def chosen_account(self) -> AcmeAccount:
        return self.accounts[self.cleaned_data["account"]]

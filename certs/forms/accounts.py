"""An account at a CA: made, and changed in one thing at a time."""

from typing import Any, ClassVar

from django import forms
from django.conf import settings

from certs.acme.client import MAC_ALGORITHMS, ExternalAccount
from certs.acme.directories import KNOWN, DirectoryInfo, directory_label
from certs.domain.budget import Limit, limit_parse
from certs.domain.errors import AcmeFailure, InputError
from certs.domain.keys import SIZE_LIMIT
from certs.forms.base import PortalForm
from certs.services.accounts import directory_read, external_account

OTHER = "other"
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class EabForm(PortalForm):
    """What the CA shows on its own site; the key is never rendered back."""

    eab_kid = forms.CharField(label="Key ID", max_length=255, widget=forms.TextInput(attrs=_PLAIN))
    eab_hmac = forms.CharField(
        label="HMAC key",
        max_length=1024,
        help_text="Used once, when the account is registered, then dropped.",
        widget=forms.PasswordInput(attrs={**_PLAIN, "autocomplete": "new-password"}),
    )
    eab_algorithm = forms.ChoiceField(
        label="Algorithm",
        required=False,
        choices=[(name, name) for name in MAC_ALGORITHMS],
        help_text="HS256 unless the CA says otherwise.",
    )

    def eab(self) -> ExternalAccount | None:
        """Raises InputError."""
        given = self.cleaned_data
        if not given["eab_kid"] and not given["eab_hmac"]:
            return None
        return external_account(given["eab_kid"], given["eab_hmac"], given["eab_algorithm"])


class AccountForm(EabForm):
    error_fields: ClassVar[dict[str, str]] = {
        "private-address": "allow_private_ca",
        "acme-untrusted": "ca_bundle",
        "ca-bundle": "ca_bundle",
        "acme-terms": "accept_terms",
    }
    field_order = ("directory", "directory_url", "ca_bundle", "allow_private_ca", "email")

    directory = forms.ChoiceField(
        label="CA", choices=[*((key, known.label) for key, known in KNOWN.items()), (OTHER, "Another ACME server")]
    )
    directory_url = forms.CharField(
        label="Directory of another ACME server",
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "url", "placeholder": "https://ca.example.com/directory"}),
    )
    ca_bundle = forms.CharField(
        label="Roots to trust for it",
        required=False,
        max_length=SIZE_LIMIT,
        help_text="PEM, where this machine does not know the CA of the directory's own address.",
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 4, "placeholder": "-----BEGIN CERTIFICATE-----"}),
    )
    allow_private_ca = forms.BooleanField(
        label="The directory is on a private address",
        required=False,
        help_text="Allow a directory in your own network. Otherwise such an address is refused.",
    )
    email = forms.EmailField(
        label="E-mail address",
        required=False,
        max_length=254,
        help_text="The CA may write to it about the account.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    accept_terms = forms.BooleanField(label="I have read and accept the terms of service of this CA", required=False)
    terms_seen = forms.CharField(required=False, max_length=500, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.info: DirectoryInfo | None = None
        self.fields["eab_kid"].required = self.fields["eab_hmac"].required = False
        if settings.ALLOW_PRIVATE_CA:
            field = self.fields["allow_private_ca"]
            field.initial, field.disabled = True, True
            field.help_text = "Set by BINDERY_ALLOW_PRIVATE_CA."

    @property
    def url(self) -> str:
        given = self.cleaned_data
        known = KNOWN.get(given["directory"])
        return known.url if known else str(given["directory_url"]).strip()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("directory") == OTHER and not cleaned.get("directory_url"):
            self.add_error("directory_url", "Type the address of its directory.")
        return cleaned

    def read_ca(self) -> bool:
        """Ask the directory (network), which is what the terms are accepted of; False with the errors filled."""
        given = self.cleaned_data
        try:
            self.info = directory_read(self.url, ca_bundle=given["ca_bundle"], allow_private=given["allow_private_ca"])
        except (AcmeFailure, InputError) as error:
            self.refuse(error)
            return False
        terms, label = self.info.terms_url, directory_label(self.url)
        if self.info.eab_required and not given["eab_kid"]:
            self.add_error("eab_kid", f"{label} needs an external account: copy key ID and HMAC key from its site.")
        if terms and given["terms_seen"] not in {"", terms}:
            self.add_error("accept_terms", f"The terms have changed meanwhile. Read them again: {terms}")
        elif terms and not given["accept_terms"]:
            self.add_error("accept_terms", f"Read the terms at {terms}, then tick this box to accept them.")
        return not self.errors


class ContactsForm(PortalForm):
    email = forms.EmailField(
        label="E-mail address",
        required=False,
        max_length=254,
        help_text="Left empty: the CA has no address to write to.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )


class TermsForm(PortalForm):
    """`terms` are those that the page has shown, and no others are accepted."""

    terms = forms.CharField(max_length=500, widget=forms.HiddenInput)


class LimitsForm(PortalForm):
    """Of the account's directory, so of all accounts there."""

    limits = forms.CharField(
        label="Your own limits",
        required=False,
        max_length=500,
        help_text=(
            "One in a line: scope=count/hours, as set=5/168. Scopes are set and domain (certificates), account "
            "(orders), name (failed authorizations), server (new accounts). The others are as the CA publishes them."
        ),
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 3}),
    )

    def clean_limits(self) -> list[Limit]:
        try:
            return [limit_parse(line) for line in self.cleaned_data["limits"].splitlines() if line.strip()]
        except InputError as error:
            raise forms.ValidationError(str(error)) from error


class StagingForm(PortalForm):
    staging = forms.CharField(
        label="Staging directory",
        required=False,
        max_length=500,
        help_text="Where this CA lets orders be rehearsed. Left empty: the one that is known, if any.",
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "url", "placeholder": "https://"}),
    )

"""Making a self-signed certificate, and asking a CA for one."""

from typing import Any, ClassVar

from django import forms

from certs.domain.errors import NameRefused
from certs.domain.keys import KEY_TYPES, OWN_KEY_TYPES
from certs.domain.names import SELF_SIGNED, names_parse
from certs.domain.profiles import BUILT_IN
from certs.forms.base import PortalForm
from certs.forms.issue_options import IssueOptionsForm
from certs.forms.volume import VolumeForm
from certs.issuers.self_signed import MAX_DAYS
from certs.models import AcmeAccount
from certs.services.issue_options import name_rules

_AREA = {"rows": 5, "spellcheck": "false", "autocomplete": "off", "autocapitalize": "off"}


def _key_choices() -> list[tuple[str, str]]:
    return [(kind, f"{key_type.label} — {key_type.help}") for kind, key_type in KEY_TYPES.items()]


def _own_key_choices() -> list[tuple[str, str]]:
    return [(kind, f"{key_type.label} — {key_type.help}") for kind, key_type in OWN_KEY_TYPES.items()]


def _profile_choices() -> list[tuple[str, str]]:
    return [(name, BUILT_IN[name].label) for name in ("server", "client", "both")]


class SelfSignedForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"name-refused": "names"}

    names = forms.CharField(
        label="Host names",
        max_length=20_000,
        help_text="What browsers use to reach this portal: names and IP addresses, separated by commas.",
        widget=forms.Textarea(attrs={**_AREA, "rows": 3}),
    )
    days = forms.IntegerField(label="Valid for (days)", min_value=1, max_value=MAX_DAYS, initial=365)
    key_type = forms.ChoiceField(label="Key", initial="rsa-2048", choices=_own_key_choices)
    profile = forms.ChoiceField(label="For", initial="server", required=False, choices=_profile_choices)
    auto_renew = forms.BooleanField(label="Renew it by itself", required=False)

    def clean_profile(self) -> str:
        return str(self.cleaned_data["profile"]) or "server"

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

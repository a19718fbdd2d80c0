from typing import Any, ClassVar

from django import forms

from certs.domain.errors import InputError
from certs.forms.base import PortalForm
from certs.services.addresses import url_parse


class SetupForm(PortalForm):
    """The first administrator, and the address that links will carry."""

    error_fields: ClassVar[dict[str, str]] = {"password": "password"}

    email = forms.EmailField(label="E-mail address", widget=forms.EmailInput(attrs={"autocomplete": "username"}))
    password = forms.CharField(
        label="Password",
        strip=False,
        help_text="At least 10 characters; not a common one, not only digits.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label="Password again", strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )
    public_url = forms.CharField(
        label="Address of this portal",
        max_length=300,
        help_text="What people type to reach it. It can be changed later; BINDERY_PUBLIC_URL wins over it.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "url", "spellcheck": "false"}),
    )

    def clean_public_url(self) -> str:
        try:
            return url_parse(str(self.cleaned_data["public_url"]))
        except InputError as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("password") and cleaned.get("again") and cleaned["password"] != cleaned["again"]:
            self.add_error("again", "The two passwords are not the same.")
        return cleaned

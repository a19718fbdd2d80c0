"""Configuration ➜ TLS in front: whether it ends there, and which proxies are believed."""

from typing import ClassVar

from django import forms
from django.conf import settings
from django.http import QueryDict

from certs.forms.base import PortalForm
from certs.services.front import Front

_LOCKED = "Set by {} in the environment of the portal."


class FrontForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"proxies": "proxies"}

    on = forms.BooleanField(label="TLS ends in front of the portal", required=False)
    proxies = forms.CharField(
        label="Proxies that are believed",
        required=False,
        max_length=4000,
        help_text="One address or network per line, as the portal sees it: 127.0.0.1 for a server on this machine, "
        "10.1.2.3 for another, 10.42.0.0/16 for the pods of a cluster. Nobody else is believed.",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "autocapitalize": "none"}),
    )

    def __init__(self, data: QueryDict | None = None, *, front: Front) -> None:
        super().__init__(data, initial={"on": front.on, "proxies": "\n".join(front.shown)})
        for name, variable, locked in (
            ("on", "BINDERY_TLS_IN_FRONT", settings.TLS_IN_FRONT_LOCKED),
            ("proxies", "BINDERY_TRUSTED_PROXIES", settings.TRUSTED_PROXIES_LOCKED),
        ):
            if locked:
                self.fields[name].disabled = True
                self.fields[name].help_text = _LOCKED.format(variable)

    def clean_proxies(self) -> list[str]:
        return [line.strip() for line in str(self.cleaned_data["proxies"]).replace(",", "\n").split("\n")]

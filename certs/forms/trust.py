"""Configuration ➜ Trust: what a CA is trusted for, and whether clients are asked for a certificate."""

from collections.abc import Iterable
from typing import ClassVar

from django import forms
from django.http import QueryDict

from certs.domain.client_auth import Mode
from certs.forms.base import PortalForm
from certs.models import Certificate

_MODES = {
    Mode.OFF: "Off — clients are not asked",
    Mode.WANT: "Optional — asked for; who has none gets in all the same",
    Mode.REQUIRED: "Required — who has none gets no connection",
}


class TrustForm(PortalForm):
    """`certificates` are those that may be added; none where one on the list is changed."""

    error_fields: ClassVar[dict[str, str]] = {"log-in": "log_in", "last-authority": "clients", "required": "clients"}

    certificate = forms.ChoiceField(label="CA certificate", required=False)
    outbound = forms.BooleanField(
        label="The portal's own calls",
        required=False,
        help_text="To ACME CAs, webhooks, DNS providers and mail servers, besides the system's roots.",
    )
    clients = forms.BooleanField(
        label="Client certificates",
        required=False,
        help_text="The listener accepts clients whose certificate it signed.",
    )
    log_in = forms.BooleanField(
        label="… log in the person they name",
        required=False,
        help_text="By e-mail address, without a password. Only for a CA that gives such certificates to nobody else.",
    )

    def __init__(self, data: QueryDict | None = None, *, certificates: Iterable[Certificate] = ()) -> None:
        super().__init__(data)
        self.offer("certificate", [(str(each.pk), each.name) for each in certificates])


class ClientAuthForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"no-authority": "mode", "arrival": "mode"}

    mode = forms.ChoiceField(
        label="Ask clients", choices=[(mode.value, _MODES[mode]) for mode in Mode], widget=forms.RadioSelect
    )

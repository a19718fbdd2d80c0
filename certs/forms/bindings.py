"""Where the portal listens, what answers there, and its public URL."""

from typing import Any, ClassVar

from django import forms
from django.conf import settings

from certs.domain.addresses import address_is_any
from certs.domain.errors import NameRefused
from certs.domain.names import SERVER_NAME, name_parse
from certs.forms.base import PortalForm
from certs.models import Certificate, Listener
from certs.selectors import OFFERED, responders
from certs.services.listeners import local_addresses

_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
_LOCKED = "Set by {} in the portal's environment; change it there and restart."
_PORT_ERROR = "A port is a number from 1 to 65535."


class ListenerForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"port": "port"}

    addresses = forms.MultipleChoiceField(
        label="Addresses",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one address; 0.0.0.0 and :: are all of them."},
    )
    port = forms.IntegerField(
        label="HTTPS port",
        min_value=1,
        max_value=65535,
        error_messages={"min_value": _PORT_ERROR, "max_value": _PORT_ERROR, "invalid": _PORT_ERROR},
    )

    def __init__(self, *args: Any, listener: Listener, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        every = [("0.0.0.0", "0.0.0.0, every IPv4 address"), ("::", "::, every IPv6 address")]
        own = [(address, address) for address in local_addresses()]
        known = dict(every + own)
        gone = [(one, f"{one}, not on this machine now") for one in listener.addresses if one not in known]
        field = self.fields["addresses"]
        if isinstance(field, forms.MultipleChoiceField):
            field.choices = every + own + gone
        for name, value, locked, variable in (
            ("addresses", listener.addresses, settings.HTTPS_ADDRESS_LOCKED, "BINDERY_HTTPS_ADDRESS"),
            ("port", listener.port, settings.HTTPS_PORT_LOCKED, "BINDERY_HTTPS_PORT"),
        ):
            self.fields[name].initial = value
            self.fields[name].disabled = locked
            if locked:
                self.fields[name].help_text = _LOCKED.format(variable)

    def clean_addresses(self) -> list[str]:
        """All of a family covers each of that family: 0.0.0.0 with 127.0.0.1 is 0.0.0.0."""
        chosen: list[str] = self.cleaned_data["addresses"]
        families = {":" in one for one in chosen if address_is_any(one)}
        return [one for one in chosen if address_is_any(one) or (":" in one) not in families]


class BindingForm(PortalForm):
    """An empty name is the default."""

    error_fields: ClassVar[dict[str, str]] = {
        "certificate-refused": "certificate",
        "expired": "certificate",
        "not-yet-valid": "certificate",
        "names": "certificate",
        "name-refused": "server_name",
        "hsts": "certificate",
    }

    server_name = forms.CharField(
        label="Server name",
        required=False,
        max_length=255,
        help_text="Left empty: the default, for every name that has no certificate of its own here.",
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "portal.example.com"}),
    )
    certificate = forms.ModelChoiceField(
        label="Certificate", queryset=Certificate.objects.none(), empty_label="Choose a certificate"
    )

    def __init__(self, *args: Any, certificates: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["certificate"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = certificates
            # The first by name are offered, any may be given: there may be a million.
            offered = certificates.exclude(current=None).exclude(pk__in=responders())
            named = offered.order_by("name", "id").values_list("pk", "name")
            first = list(named[: OFFERED + 1])
            field.choices = [("", field.empty_label), *first[:OFFERED]]
            if len(first) > OFFERED:
                field.help_text = (
                    f"The first {OFFERED} by name. Any other is bound on its own page, under Certificates."
                )

    def clean_server_name(self) -> str:
        name = str(self.cleaned_data["server_name"]).strip()
        if not name:
            return ""
        try:
            return name_parse(name, SERVER_NAME)
        except NameRefused as error:
            raise forms.ValidationError(str(error)) from error


class PublicUrlForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"input": "public_url", "name-refused": "public_url", "hsts": "public_url"}

    public_url = forms.CharField(
        label="Public URL",
        max_length=300,
        help_text="As people type it: https://name, with the port where it is not 443. Every link is built from it.",
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "url", "placeholder": "https://portal.example.com"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if settings.PUBLIC_URL:
            self.fields["public_url"].disabled = True
            self.fields["public_url"].help_text = _LOCKED.format("BINDERY_PUBLIC_URL")


class HostForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"name-refused": "host", "input": "host"}

    host = forms.CharField(
        label="Another host name or address",
        max_length=255,
        help_text="Under which the portal's pages may be opened too.",
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "portal.internal"}),
    )

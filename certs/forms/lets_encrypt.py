"""The form behind Configure: which CA, which names, which address. What the CA must say is asked in `read_ca`."""

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict

from certs.acme.client import ExternalAccount
from certs.acme.directories import KNOWN, DirectoryInfo, directory_label
from certs.domain.addresses import EVERY_ADDRESS, address_is_any
from certs.domain.certinfo import certificate_info
from certs.domain.errors import AcmeFailure, BinderyError, CertificateRefused, InputError, NameRefused
from certs.domain.names import names_parse
from certs.domain.pem import certificates_read
from certs.forms.base import PortalForm
from certs.forms.issue_options import IssueOptionsForm
from certs.forms.volume import VolumeForm
from certs.models import AcmeAccount, Listener
from certs.services.accounts import directory_read, external_account
from certs.services.container import addresses_are_published
from certs.services.front import front_is_on
from certs.services.issue_options import name_rules
from certs.services.lets_encrypt import Wish
from certs.services.listeners import local_addresses

OTHER = "other"
KEEP = "keep"
EVERY = EVERY_ADDRESS[0]
LARGEST = 256 * 1024  # bytes of a bundle of roots
_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
_LOCKED = "Set by {} in the portal's environment; change it there and restart."


class LetsEncryptForm(VolumeForm, IssueOptionsForm):
    """`info` is what the CA's directory said, once `read_ca` has asked it."""

    # A browser would not send a form whose required field a script has hidden.
    use_required_attribute = False

    kept_files = frozenset({"ca_bundle_file"})
    error_fields: ClassVar[dict[str, str]] = {
        "name-refused": "dns_names",
        "wildcard": "dns_names",
        "address": "ip_address",
        "port": "port",
        "private-address": "allow_private_ca",
        "challenge": "challenge",
        "key_type": "key_type",
        "fallbacks": "fallback_1",
        "eab": "eab_hmac",
    }

    directory = forms.ChoiceField(
        label="Certificate authority",
        choices=lambda: [*((key, known.label) for key, known in KNOWN.items()), (OTHER, "Another ACME directory")],
    )
    directory_url = forms.CharField(
        label="Address of the directory",
        max_length=500,
        help_text="For another directory: https://…, as its operator gives it (RFC 8555).",
        error_messages={"required": "Type the address of the directory, for example https://ca.example.com/acme."},
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "url", "placeholder": "https://ca.example.com/directory"}),
    )
    ca_bundle = forms.CharField(
        label="Roots to trust for it",
        required=False,
        max_length=LARGEST,
        help_text="PEM, where this machine does not know the CA of the directory's own address. "
        "It is trusted for this directory only.",
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 4, "placeholder": "-----BEGIN CERTIFICATE-----"}),
    )
    ca_bundle_file = forms.FileField(label="… or a file", required=False)
    allow_private_ca = forms.BooleanField(
        label="The directory is on a private address",
        required=False,
        help_text="Allow a directory in your own network. Otherwise such an address is refused.",
    )
    dns_names = forms.CharField(
        label="DNS names",
        error_messages={"required": "Type at least one DNS name, for example portal.example.com."},
        max_length=30_000,
        help_text="The names of this portal, without http:// or https://. Several are separated by commas or lines.",
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 2, "placeholder": "portal.example.com"}),
    )
    email = forms.EmailField(
        label="Registration e-mail address",
        required=False,
        max_length=254,
        help_text="The CA may write to it about your account. Few CAs still warn of expiry: Bindery looks after that.",
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    eab_kid = forms.CharField(
        label="Key ID of an external account",
        required=False,
        max_length=255,
        help_text="Only for CAs that want an account on their own site first, such as ZeroSSL, Google or SSL.com.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    eab_hmac = forms.CharField(
        label="HMAC key of it",
        required=False,
        max_length=1024,
        help_text="Used once, when the account is registered, then dropped.",
        widget=forms.PasswordInput(attrs={**_PLAIN, "autocomplete": "new-password"}),
    )
    accept_terms = forms.BooleanField(label="I have read and accept the terms of service of this CA", required=False)
    terms_seen = forms.CharField(required=False, max_length=500, widget=forms.HiddenInput)
    ip_address = forms.ChoiceField(label="Address to bind to")
    port = forms.IntegerField(
        label="HTTPS port",
        min_value=1,
        max_value=65535,
        error_messages={
            "min_value": "A port is a number from 1 to 65535.",
            "max_value": "A port is a number from 1 to 65535.",
        },
        widget=forms.NumberInput(attrs={"autocomplete": "off"}),
    )
    form_id = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, listener: Listener, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.info: DirectoryInfo | None = None
        self.tls_in_front = front_is_on()  # then where the portal itself listens is nobody's concern here
        self._address_field(listener)
        self._port_field(listener)
        if settings.ALLOW_PRIVATE_CA:
            field = self.fields["allow_private_ca"]
            field.initial, field.disabled = True, True
            field.help_text = _LOCKED.format("BINDERY_ALLOW_PRIVATE_CA")

    @property
    def ca_label(self) -> str:
        return directory_label(self.url)

    @property
    def url(self) -> str:
        """The address of the directory as far as the form knows it, cleaned or not."""
        known = KNOWN.get(str(self["directory"].value() or ""))
        return known.url if known else str(self["directory_url"].value() or "").strip()

    def read_ca(self, *, ask_terms: bool = True) -> bool:
        """Ask the CA's directory for its terms (network); False with the form's errors filled where it cannot be.

        With `ask_terms` they must have been accepted as they are now. Nothing is stored.
        """
        given = self.cleaned_data
        try:
            self.info = directory_read(self.url, ca_bundle=given["ca_bundle"], allow_private=given["allow_private_ca"])
        except (AcmeFailure, InputError) as error:
            self._refuse_directory(error)
            return False
        if ask_terms and self.info.eab_required and not self._is_registered and not given["eab_kid"]:
            self.add_error(
                "eab_kid",
                f"{self.ca_label} gives certificates only to accounts that were made on its own site: "
                "copy the key ID and the HMAC key that it shows there.",
            )
        if ask_terms:
            self._check_profile(self.info.profiles)
        if ask_terms and self.info.terms_url:
            self._check_terms(self.info.terms_url)
        return not self.errors

    def wish(self) -> Wish:
        given = self.cleaned_data
        return Wish(
            directory_url=self.url,
            names=given["dns_names"],
            email=given["email"].lower(),
            terms_url=self.info.terms_url if self.info else "",
            ca_bundle=given["ca_bundle"],
            allow_private=given["allow_private_ca"],
            address="" if given["ip_address"] == KEEP else given["ip_address"],
            port=given["port"],
            form_id=given["form_id"],
            options=self.issue_options,
            eab=self._eab(),
        )

    def _eab(self) -> ExternalAccount | None:
        given = self.cleaned_data
        if not given["eab_kid"] and not given["eab_hmac"]:
            return None
        return external_account(given["eab_kid"], given["eab_hmac"])

    def clean_dns_names(self) -> list[str]:
        # The fields under “More” are cleaned before: they stand in the class that this one extends.
        rules = name_rules(self.kind, str(self.cleaned_data.get("profile", "")))
        try:
            return names_parse(self.cleaned_data["dns_names"], rules)
        except NameRefused as error:
            raise forms.ValidationError(str(error)) from error

    def clean_directory_url(self) -> str:
        url = str(self.cleaned_data["directory_url"]).strip()
        if self.data.get(self.add_prefix("directory")) == OTHER and not url.lower().startswith("https://"):
            raise forms.ValidationError("The address must begin with https://: a directory is asked over https only.")
        return url

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        cleaned["ca_bundle"] = self._bundle(cleaned)
        if cleaned.get("directory") in KNOWN:
            # What was typed for another directory does not belong to this one.
            self.errors.pop("directory_url", None)
            cleaned |= {"directory_url": "", "ca_bundle": "", "allow_private_ca": bool(settings.ALLOW_PRIVATE_CA)}
        return cleaned

    def keep_file(self) -> None:
        """A browser does not send a file twice: show its text in the form that is shown again."""
        if self.files and self.cleaned_data.get("ca_bundle") and isinstance(self.data, QueryDict):
            kept = self.data.copy()
            kept["ca_bundle"] = self.cleaned_data["ca_bundle"]
            self.data = kept

    @property
    def _directory_field(self) -> str:
        return "directory_url" if self.cleaned_data.get("directory") == OTHER else "directory"

    def _refuse_directory(self, error: BinderyError) -> None:
        bundle_needed = error.code == "acme-untrusted" and self.cleaned_data.get("directory") == OTHER
        mapped = "ca_bundle" if bundle_needed else self.error_fields.get(error.code, "")
        self.add_error(mapped or self._directory_field, str(error))

    def _check_terms(self, terms_url: str) -> None:
        given = self.cleaned_data
        if given["terms_seen"] and given["terms_seen"] != terms_url:
            self.add_error("accept_terms", "The terms have changed since this form was shown. Read them again.")
        elif not given["accept_terms"]:
            self.add_error("accept_terms", f"Read the terms at {terms_url}, then tick this box to accept them.")

    @property
    def _is_registered(self) -> bool:
        """Whether the CA knows our account there already: then it asks for no external one."""
        rows = AcmeAccount.objects.filter(directory_url=self.url, email=self.cleaned_data["email"].lower())
        return rows.exclude(account_url="").filter(deactivated_at=None).exists()

    def _check_profile(self, offered: dict[str, str]) -> None:
        profile = self.cleaned_data["profile"]
        if profile and profile not in offered:
            known = f"It offers {', '.join(sorted(offered))}." if offered else "It offers none: leave this empty."
            self.add_error("profile", f"{self.ca_label} has no profile “{profile}”. {known}")

    def _bundle(self, cleaned: dict[str, Any]) -> str:
        file: UploadedFile[bytes] | None = cleaned.get("ca_bundle_file")
        text = str(cleaned.get("ca_bundle") or "").strip()
        if file is not None and (file.size or 0) > LARGEST:
            self.add_error("ca_bundle_file", "This file is too large for a bundle of roots.")
            return ""
        given = file.read() if file is not None else text.encode()
        if not given.strip() or self.has_error("ca_bundle"):
            return ""
        field = "ca_bundle_file" if file is not None else "ca_bundle"
        try:
            found = certificates_read(given)
        except CertificateRefused as error:
            self.add_error(field, str(error))
            return ""
        if not any(certificate_info(one).is_ca for one in found):
            self.add_error(field, "There is no CA's certificate in it: a root is needed, not a server's certificate.")
        return given.decode("ascii", "ignore").strip() + "\n"

    def _address_field(self, listener: Listener) -> None:
        """Every address, or one of this machine's; a listener on several keeps them unless something is chosen."""
        choices = [(EVERY, "All addresses (0.0.0.0 and ::)"), *((one, one) for one in local_addresses())]
        current = listener.addresses[0] if len(listener.addresses) == 1 else ""
        if any(address_is_any(one) for one in listener.addresses):
            current = EVERY
        if current not in dict(choices):
            choices.insert(0, (KEEP, f"As it is: {', '.join(listener.addresses)}"))
            current = KEEP
        self.offer("ip_address", choices)
        self._fix("ip_address", current, listener, settings.HTTPS_ADDRESS_LOCKED, "BINDERY_HTTPS_ADDRESS")

    def _port_field(self, listener: Listener) -> None:
        self._fix("port", listener.port, listener, settings.HTTPS_PORT_LOCKED, "BINDERY_HTTPS_PORT")

    def _fix(self, name: str, current: object, listener: Listener, locked: bool, variable: str) -> None:
        field = self.fields[name]
        field.initial = current
        published = addresses_are_published()
        field.disabled = locked or published or self.tls_in_front or not listener.managed
        if not listener.managed:
            field.help_text = "Another server owns the listener and sets this."
        elif published:
            field.help_text = "In a container the published ports choose this: see Configuration ➜ Bindings."
        elif locked:
            field.help_text = _LOCKED.format(variable)
        if field.disabled:
            self.initial.pop(name, None)


class StopForm(PortalForm):
    """What answers from now on: the certificate as long as it lasts, one of one's own, or the placeholder."""

    KEEP, PLACEHOLDER = "keep", "placeholder"

    instead = forms.ChoiceField(label="From now on", widget=forms.RadioSelect, initial=KEEP)

    def __init__(self, *args: Any, own: list[tuple[str, str]], **kwargs: Any) -> None:
        """`own`: id and label of certificates that could take its place."""
        super().__init__(*args, **kwargs)
        kept = (self.KEEP, "Keep the certificate until it expires, without renewing it")
        back = [(pk, f"Go back to {label}") for pk, label in own]
        self.offer("instead", [kept, *back, (self.PLACEHOLDER, "Go back to the placeholder, of which browsers warn")])

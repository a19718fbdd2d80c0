"""Making, importing and renewing our own CAs, issuing from them, and the profiles they issue by."""

import re
from typing import Any, ClassVar

from django import forms
from django.http import QueryDict

from certs.domain.csr import CsrInfo, csr_read
from certs.domain.errors import InputError
from certs.domain.hosts import HostKind
from certs.domain.keys import OWN_KEY_TYPES
from certs.domain.profiles import LONGEST_DAYS, OCSP, USAGES, Profile
from certs.domain.signing import DIGESTS
from certs.domain.wishes import Wish
from certs.forms.base import PortalForm, SecretTextarea
from certs.models import Authority
from certs.services.certificate_properties import Properties
from certs.services.profiles import profiles_all

_AREA = {"rows": 3, "spellcheck": "false", "autocomplete": "off", "autocapitalize": "off"}
_PLAIN = {"autocomplete": "off", "spellcheck": "false"}
_CSR_BYTES = 256 * 1024


def _keys() -> list[tuple[str, str]]:
    return [(kind, f"{key_type.label} — {key_type.help}") for kind, key_type in OWN_KEY_TYPES.items()]


def _digests() -> list[tuple[str, str]]:
    return [("", "by the strength of the CA's key"), *((name, name.upper()) for name in DIGESTS)]


def _lines(text: str) -> tuple[str, ...]:
    return tuple(piece.strip() for piece in re.split(r"[,\r\n]", text) if piece.strip())


def _passphrase(label: str, help_text: str) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    return forms.CharField(
        label=label, required=False, strip=False, max_length=1024, help_text=help_text, widget=widget
    )


class NamesForm(PortalForm):
    """What a CA may refuse, and the field that it is said at."""

    error_fields: ClassVar[dict[str, str]] = {
        "subject": "subject",
        "name-refused": "hosts",
        "name-constraint": "hosts",
        "passphrase-needed": "parent_passphrase",
        "passphrase-wrong": "parent_passphrase",
        "passphrase-weak": "passphrase",
        "path-length": "path_length",
    }


class AuthorityForm(NamesForm):
    """A root or an intermediate."""

    common_name = forms.CharField(
        label="Name", max_length=64, help_text="Stands in every certificate that it signs; it never changes."
    )
    organization = forms.CharField(label="Organization", max_length=64, required=False)
    country = forms.CharField(label="Country", max_length=2, required=False, help_text="Two letters, such as DE.")
    parent = forms.ChoiceField(label="Signed by", required=False)
    parent_passphrase = _passphrase("Passphrase of that CA", "Only where it is offline. It is used now and not kept.")
    key_type = forms.ChoiceField(label="Key", initial="ec-p384", choices=_keys)
    days = forms.IntegerField(label="Valid for (days)", min_value=1, max_value=LONGEST_DAYS, required=False)
    path_length = forms.IntegerField(
        label="CAs below it",
        min_value=0,
        max_value=10,
        required=False,
        help_text="How many may stand one below the other under it; 0 lets it sign leaf certificates only.",
    )
    permitted = forms.CharField(
        label="Only these names",
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={**_AREA, "placeholder": "example.com, 10.0.0.0/8, email:example.com"}),
        help_text="Name constraints: domains with all below them, networks, email: and uri: hosts. A kind that is not "
        "named here stays free.",
    )
    excluded = forms.CharField(
        label="Never these names", required=False, max_length=10_000, widget=forms.Textarea(attrs=_AREA)
    )
    passphrase = _passphrase(
        "Passphrase",
        "With one, the CA is offline: nothing is signed without a person who types it. It is stored nowhere; who loses "
        "it loses the CA.",
    )
    passphrase_again = _passphrase("Passphrase again", "")
    crl_days = forms.IntegerField(
        label="Revocation list good for (days)",
        min_value=1,
        max_value=3650,
        initial=7,
        help_text="Of an offline CA, until a person signs the next: many choose 180.",
    )

    def __init__(self, data: QueryDict | None = None, *, authorities: list[Authority], **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.authorities = {str(row.pk): row for row in authorities}
        self.offer("parent", [("", "itself: a root CA"), *((pk, str(row)) for pk, row in self.authorities.items())])

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("passphrase") != given.get("passphrase_again"):
            self.add_error("passphrase_again", "The two passphrases differ.")
        return given

    @property
    def parent_row(self) -> Authority | None:
        return self.authorities.get(self.cleaned_data["parent"])

    @property
    def wish(self) -> Wish:
        given = self.cleaned_data
        return Wish(
            subject=_dn(CN=given["common_name"], O=given["organization"], C=given["country"].upper()),
            days=given["days"] or 0,
            key_type=given["key_type"],
            is_ca=True,
            path_length=given["path_length"],
            permitted=_lines(given["permitted"]),
            excluded=_lines(given["excluded"]),
        )


class ImportForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {
        "certificate-refused": "chain",
        "key-refused": "key_text",
        "pair": "key_text",
        "password-needed": "password",
        "password-wrong": "password",
        "passphrase-weak": "passphrase",
    }

    chain = forms.CharField(
        label="Certificate of the CA",
        max_length=1024 * 1024,
        widget=forms.Textarea(attrs={**_AREA, "rows": 6}),
        help_text="PEM text, with those of the CAs above it.",
    )
    key_text = forms.CharField(
        label="Its private key", max_length=1024 * 1024, widget=SecretTextarea(attrs={**_AREA, "rows": 6})
    )
    password = forms.CharField(
        label="Password of the key",
        required=False,
        strip=False,
        max_length=1000,
        widget=forms.PasswordInput(attrs=_PLAIN),
        help_text="Only where it is encrypted. It is used now and not kept.",
    )
    passphrase = AuthorityForm.base_fields["passphrase"]
    crl_days = AuthorityForm.base_fields["crl_days"]


class IssueForm(NamesForm):
    """Everything that a certificate of our own CA can say."""

    error_fields: ClassVar[dict[str, str]] = {
        **NamesForm.error_fields,
        "csr": "csr_text",
        "passphrase-needed": "passphrase",
        "passphrase-wrong": "passphrase",
    }

    authority = forms.ChoiceField(label="Issuer")
    profile = forms.ChoiceField(label="Profile")
    hosts = forms.CharField(
        label="Hosts",
        required=False,
        max_length=100_000,
        widget=forms.Textarea(attrs={**_AREA, "placeholder": "www.example.com, 10.0.0.7"}),
        help_text="DNS names, IP addresses, e-mail addresses and URIs, separated by commas or lines.",
    )
    subject = forms.CharField(
        label="Subject",
        required=False,
        max_length=1000,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "CN=www.example.com,O=Example Ltd,C=DE"}),
        help_text="Left empty, the first host becomes the common name.",
    )
    days = forms.IntegerField(label="Valid for (days)", min_value=1, max_value=LONGEST_DAYS, required=False)
    key_type = forms.ChoiceField(label="Key", initial="ec-p256", choices=_keys)
    csr_text = forms.CharField(
        label="Request (CSR)",
        required=False,
        max_length=_CSR_BYTES,
        widget=forms.Textarea(attrs={**_AREA, "rows": 5, "placeholder": "-----BEGIN CERTIFICATE REQUEST-----"}),
        help_text="For a key that was made elsewhere and stays there. What is left empty above is taken from it.",
    )
    csr_file = forms.FileField(label="… or its file", required=False)
    client = forms.BooleanField(label="Also for TLS clients", required=False)
    is_ca = forms.BooleanField(label="It is a CA itself", required=False)
    path_length = AuthorityForm.base_fields["path_length"]
    permitted = AuthorityForm.base_fields["permitted"]
    excluded = AuthorityForm.base_fields["excluded"]
    usages = forms.MultipleChoiceField(
        label="For",
        required=False,
        choices=[(usage, label) for usage, label in USAGES.items() if usage != OCSP],
        widget=forms.CheckboxSelectMultiple,
        help_text="Nothing ticked: as the profile says.",
    )
    include_aia = forms.BooleanField(
        label="Include where to ask for its issuer and whether it was revoked (AIA, OCSP, CRL)",
        required=False,
        initial=True,
    )
    digest = forms.ChoiceField(label="Digest", required=False, choices=_digests)
    pss = forms.BooleanField(label="RSASSA-PSS signature (the CA's key is RSA)", required=False)
    auto_renew = forms.BooleanField(label="Renew it by itself", required=False, initial=True)
    name = forms.CharField(label="Name in Bindery", required=False, max_length=255)
    tags = forms.CharField(label="Tags", required=False, max_length=2000, help_text="Separated by commas.")
    passphrase = _passphrase("Passphrase of the CA", "Only where it is offline. It is used now and not kept.")

    def __init__(self, data: Any = None, files: Any = None, *, authorities: list[Authority], **kwargs: Any) -> None:
        super().__init__(data, files, **kwargs)
        self.authorities = {str(row.pk): row for row in authorities}
        self.offer("authority", [(pk, str(row)) for pk, row in self.authorities.items()])
        self.offer("profile", [(name, profile.label) for name, profile in _issuable().items()])

    def clean_csr_file(self) -> bytes:
        given = self.cleaned_data["csr_file"]
        if given and given.size > _CSR_BYTES:
            raise forms.ValidationError("The file is larger than 256 KiB, too large for a request.")
        return given.read() if given else b""

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        text = given.get("csr_file") or str(given.get("csr_text") or "").encode()
        given["csr"] = None
        if text.strip():
            try:
                given["csr"] = csr_read(text)
            except InputError as error:
                self.add_error("csr_text", str(error))
        return given

    @property
    def csr(self) -> CsrInfo | None:
        found: CsrInfo | None = self.cleaned_data["csr"]
        return found

    @property
    def authority_row(self) -> Authority:
        return self.authorities[self.cleaned_data["authority"]]

    @property
    def wish(self) -> Wish:
        given = self.cleaned_data
        usages = tuple(given["usages"])
        if given["client"]:
            profile = profiles_all()[given["profile"]]
            usages = tuple(dict.fromkeys((*(usages or profile.usages), "client")))
        return Wish(
            profile=given["profile"],
            subject=given["subject"].strip(),
            hosts=_lines(given["hosts"]),
            days=given["days"] or 0,
            key_type=given["key_type"],
            digest=given["digest"],
            pss=given["pss"],
            usages=usages,
            is_ca=given["is_ca"],
            path_length=given["path_length"],
            include_aia=None if given["include_aia"] else False,
            permitted=_lines(given["permitted"]),
            excluded=_lines(given["excluded"]),
        )

    @property
    def properties(self) -> Properties:
        return Properties(name=self.cleaned_data["name"], tags=_lines(self.cleaned_data["tags"]))


class RenewForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {
        "passphrase-needed": "passphrase",
        "passphrase-wrong": "passphrase",
    }

    days = forms.IntegerField(
        label="Valid for (days)",
        min_value=1,
        max_value=LONGEST_DAYS,
        required=False,
        help_text="Left empty: as long as before.",
    )
    passphrase = _passphrase("Passphrase", "It is used now and not kept.")


class UnlockForm(PortalForm):
    """The passphrase of an offline CA, for one signature."""

    error_fields = RenewForm.error_fields
    passphrase = _passphrase("Passphrase of the CA", "It is used now and not kept.")


class RetireForm(PortalForm):
    successor = forms.ChoiceField(
        label="Its certificates move to", required=False, help_text="Each by its next renewal, which begins at once."
    )

    def __init__(self, data: QueryDict | None = None, *, authorities: list[Authority]) -> None:
        super().__init__(data)
        self.authorities = {str(row.pk): row for row in authorities}
        self.offer(
            "successor", [("", "no other: they expire"), *((pk, str(row)) for pk, row in self.authorities.items())]
        )


class SignsForm(PortalForm):
    """By which profiles an authority signs, and whether it tells of its addresses."""

    profiles = forms.MultipleChoiceField(
        label="Signs by these profiles",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: by all.",
    )
    include_aia = forms.BooleanField(label=IssueForm.base_fields["include_aia"].label, required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer("profiles", [(name, profile.label) for name, profile in _issuable().items()])


class ProfileForm(PortalForm):
    label = forms.CharField(label="Name", max_length=120)
    usages = forms.MultipleChoiceField(
        label="For",
        required=False,
        choices=[(usage, label) for usage, label in USAGES.items() if usage != OCSP],
        widget=forms.CheckboxSelectMultiple,
    )
    is_ca = forms.BooleanField(label="It makes CAs", required=False)
    path_length = AuthorityForm.base_fields["path_length"]
    usual_days = forms.IntegerField(label="Usual validity (days)", min_value=1, max_value=LONGEST_DAYS, initial=90)
    longest_days = forms.IntegerField(label="Longest validity (days)", min_value=1, max_value=LONGEST_DAYS, initial=365)
    key_types = forms.MultipleChoiceField(
        label="Keys",
        required=False,
        choices=[(kind, key_type.label) for kind, key_type in OWN_KEY_TYPES.items()],
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: any.",
    )
    host_kinds = forms.MultipleChoiceField(
        label="Kinds of host",
        required=False,
        choices=[(kind.value, kind.label) for kind in HostKind],
        initial=["dns", "ip"],
        widget=forms.CheckboxSelectMultiple,
    )
    hosts = forms.CharField(
        label="Only these hosts",
        required=False,
        max_length=10_000,
        widget=forms.Textarea(attrs={**_AREA, "placeholder": "example.com, 10.0.0.0/8"}),
        help_text="Domains with all below them, networks, email: and uri: hosts. Empty: any.",
    )
    needs_host = forms.BooleanField(label="A host is required", required=False, initial=True)
    subject_required = forms.CharField(
        label="Parts that the subject must have", required=False, max_length=200, help_text="For example CN, O."
    )
    subject_fixed = forms.CharField(
        label="Parts that the subject always has",
        required=False,
        max_length=1000,
        widget=forms.Textarea(attrs={**_AREA, "rows": 2, "placeholder": "O=Example Ltd"}),
        help_text="One in each line; added where missing.",
    )
    public_style = forms.BooleanField(label="Hold it to the rules for public CAs (CA/Browser Forum)", required=False)

    @property
    def rules(self) -> dict[str, Any]:
        given = dict(self.cleaned_data)
        given.pop("label")
        given["hosts"] = list(_lines(given["hosts"]))
        given["subject_required"] = [part.upper() for part in _lines(given["subject_required"])]
        given["subject_fixed"] = [line.strip() for line in given["subject_fixed"].splitlines() if line.strip()]
        return given

    @staticmethod
    def initial_of(profile: Profile) -> dict[str, Any]:
        shown: dict[str, Any] = {**profile.as_json(), "label": profile.label}
        shown["hosts"] = "\n".join(profile.hosts)
        shown["subject_required"] = ", ".join(profile.subject_required)
        shown["subject_fixed"] = "\n".join(profile.subject_fixed)
        return shown


def _issuable() -> dict[str, Profile]:
    """Roots sign themselves and responders are the portal's own: neither is issued by a person."""
    return {name: profile for name, profile in profiles_all().items() if name not in ("root", "responder")}


def _dn(**parts: str) -> str:
    """RFC 4514 of the parts that are there."""
    escaped = {label: re.sub(r'([,+"\\<>;=]|^#)', r"\\\1", value.strip()) for label, value in parts.items()}
    return ",".join(f"{label}={value}" for label, value in escaped.items() if value)

"""Adding what people have: files or text, then what to save of it; key pairs, requests for outside CAs."""

from typing import Any, ClassVar

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict

from certs.domain.bundle import FILE_LIMIT, SIZE_LIMIT
from certs.domain.bundle_items import GivenFile
from certs.domain.csr import Subject
from certs.domain.keys import KEY_TYPES, key_kind
from certs.forms.base import PortalForm, SecretTextarea
from certs.services.certificate_properties import Properties
from certs.services.intake import Choice, Proposal, Verdict

_AREA = {"rows": 6, "spellcheck": "false", "autocomplete": "off", "autocapitalize": "off"}
_PLAIN = {"autocomplete": "off"}
_SHOWN = 12  # names of one certificate


class ManyFilesInput(forms.FileInput):
    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """Cleans to a list of GivenFile; the first byte too many of a file is kept, so that it is seen to be too large."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[GivenFile]:
        files: list[UploadedFile[bytes]] = [data] if isinstance(data, UploadedFile) else list(data or [])
        if len(files) > FILE_LIMIT:
            raise forms.ValidationError(f"These are {len(files)} files; at most {FILE_LIMIT} are read at once.")
        if large := next((each for each in files if (each.size or 0) > SIZE_LIMIT), None):
            raise forms.ValidationError(f"{large.name} is larger than 1 MiB, too large for certificates.")
        return [GivenFile(each.name or "", each.read()) for each in files]


class GiveForm(PortalForm):
    """`given` in the cleaned data are the files and the text, `passwords` what was typed."""

    error_fields: ClassVar[dict[str, str]] = {
        "password-needed": "password",
        "password-wrong": "password",
    }

    uploads = ManyFilesField(
        label="Files",
        required=False,
        help_text="PEM, DER, PKCS#7, PKCS#12 (.p12, .pfx) or Java key store, at most 1 MiB each, in any order.",
    )
    text = forms.CharField(
        label="… or text",
        required=False,
        max_length=SIZE_LIMIT,
        help_text="Certificates and keys as PEM text, in any order.",
        widget=SecretTextarea(attrs={**_AREA, "placeholder": "-----BEGIN CERTIFICATE-----"}),
    )
    password = forms.CharField(
        label="Password",
        required=False,
        strip=False,
        max_length=1000,
        help_text="Only where a file or a key has one. It is used now and not kept.",
        widget=forms.PasswordInput(attrs=_PLAIN),
    )
    key_password = forms.CharField(
        label="Password of the key",
        required=False,
        strip=False,
        max_length=1000,
        help_text="Only where the key has another one than its file.",
        widget=forms.PasswordInput(attrs=_PLAIN),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        text = cleaned.get("text") or ""
        given = [*(cleaned.get("uploads") or []), *([GivenFile("", text.encode())] if text.strip() else [])]
        if not given and not self.errors:
            self.add_error("uploads", "Choose a file, or paste its text below.")
        cleaned["given"] = given
        cleaned["passwords"] = [word for name in ("password", "key_password") if (word := cleaned.get(name))]
        return cleaned


class _Described(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"name": "name", "tags": "tags"}

    name = forms.CharField(
        label="Name in Bindery", required=False, max_length=255, widget=forms.TextInput(attrs=_PLAIN)
    )
    tags = forms.CharField(
        label="Tags",
        required=False,
        max_length=2000,
        help_text="Separated by commas.",
        widget=forms.TextInput(attrs=_PLAIN),
    )

    @property
    def properties(self) -> Properties:
        tags = [tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()]
        return Properties(name=self.cleaned_data["name"].strip(), tags=tags)


class ItemForm(_Described):
    """What to do with one item of a preview."""

    save = forms.BooleanField(label="Save it", required=False)
    own = forms.ChoiceField(label="Save it as", required=False, widget=forms.RadioSelect)

    def __init__(self, data: QueryDict | None = None, *, proposal: Proposal) -> None:
        initial = {"save": proposal.wanted, "name": proposal.item.title, "own": ""}
        super().__init__(data, prefix=f"item{proposal.number}", initial=initial)
        self.proposal = proposal
        self.fields["save"].widget.attrs["aria-label"] = f"Save {proposal.item.title}"
        into = proposal.certificate
        if into is not None and proposal.verdict in {Verdict.VERSION, Verdict.ANSWER}:
            first = f"the next version of {into.name}"
            if proposal.verdict == Verdict.ANSWER:
                first = f"the certificate that {into.name} waits for"
            self.offer("own", [("", first), ("own", "a certificate of its own")])
        else:
            del self.fields["own"]

    @property
    def names(self) -> list[str]:
        info = self.proposal.item.info
        return [*info.names, *info.other_names][:_SHOWN] if info else []

    @property
    def more_names(self) -> int:
        info = self.proposal.item.info
        return max(len(info.names) + len(info.other_names) - _SHOWN, 0) if info else 0

    @property
    def key_type(self) -> str:
        return key_kind(self.proposal.item.public_key)

    @property
    def bound(self) -> list[str]:
        """Where the certificate that it belongs to answers."""
        into = self.proposal.certificate
        return [] if into is None else [str(binding) for binding in into.bindings.all()]

    @property
    def can_be_saved(self) -> bool:
        return self.proposal.verdict not in {Verdict.SAME, Verdict.REFUSED}

    @property
    def choice(self) -> Choice:
        return Choice(self.proposal.number, own=self.cleaned_data.get("own") == "own", properties=self.properties)


def _key_choices() -> list[tuple[str, str]]:
    return [(kind, f"{key_type.label} — {key_type.help}") for kind, key_type in KEY_TYPES.items()]


class _Keyed(_Described):
    key_type = forms.ChoiceField(label="Key", initial="ec-p256", choices=_key_choices)


class KeyPairForm(_Keyed):
    """Its kind, and what it is called here."""


class CsrForm(_Keyed):
    error_fields: ClassVar[dict[str, str]] = {
        "name-refused": "hosts",
        "name": "name",
        "tags": "tags",
        "country": "country",
    }

    hosts = forms.CharField(
        label="For",
        required=False,
        max_length=50_000,
        help_text="DNS names, IP addresses, e-mail addresses and URIs, separated by commas or line breaks.",
        widget=forms.Textarea(attrs={**_AREA, "rows": 3}),
    )
    common_name = forms.CharField(
        label="Common name", required=False, max_length=64, widget=forms.TextInput(attrs=_PLAIN)
    )
    organization = forms.CharField(label="Organization", required=False, max_length=64)
    organizational_unit = forms.CharField(label="Organizational unit", required=False, max_length=64)
    locality = forms.CharField(label="Locality", required=False, max_length=128)
    state = forms.CharField(label="State or province", required=False, max_length=128)
    country = forms.CharField(label="Country", required=False, max_length=2, help_text="Two letters, like US or DE.")

    @property
    def subject(self) -> Subject:
        fields = ("common_name", "organization", "organizational_unit", "locality", "state", "country")
        return Subject(**{field: self.cleaned_data[field].strip() for field in fields})

    @property
    def host_list(self) -> list[str]:
        return [part for line in self.cleaned_data["hosts"].splitlines() for part in line.split(",") if part.strip()]


class KeyCsrForm(CsrForm):
    """For a key that is here: it has its name and tags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("name", "tags", "key_type"):
            del self.fields[name]


class RenewalRequestForm(PortalForm):
    key_type = forms.ChoiceField(label="Key", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.offer(
            "key_type", [("", "the same key"), *((kind, f"a new one: {label}") for kind, label in _key_choices())]
        )


class StoreForm(PortalForm):
    fetch_issuers = forms.BooleanField(
        label="Fetch missing issuers",
        required=False,
        help_text="Where a certificate comes without its issuer's, that is fetched from the address that stands in the "
        "certificate (AIA). It is taken only if its signature fits. Addresses that are not on the Internet are not "
        "asked.",
    )

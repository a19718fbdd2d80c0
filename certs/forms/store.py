"""Searching the store, and what its owner says of a certificate."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from django import forms

from certs.domain.errors import InputError
from certs.domain.keys import KEY_TYPES
from certs.domain.properties import DESCRIPTION_LIMIT, NAME_LIMIT, metadata_check, tags_check
from certs.forms.base import PortalForm
from certs.models import Certificate, Department
from certs.services.certificate_properties import certificate_tags
from certs.services.filters import KINDS, STATES, Filters, filters_read
from certs.services.reissue import is_signed_here

T = TypeVar("T")
_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
_ANY = [("", "Any")]


class FilterForm(PortalForm):
    """The filters of an address; `found` are those, None where one of them cannot be read."""

    error_fields: ClassVar[dict[str, str]] = {
        name: name
        for name in ("q", "state", "domain", "tag", "issuer", "kind", "key_type", "expires_after", "expires_before")
    }

    q = forms.CharField(
        label="Part of a name", required=False, widget=forms.TextInput(attrs={**_PLAIN, "type": "search"})
    )
    state = forms.ChoiceField(label="State", required=False, choices=[("", "All"), *STATES.items()])
    domain = forms.CharField(
        label="Below a domain",
        required=False,
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "example.com"}),
    )
    tag = forms.CharField(label="Tag", required=False, widget=forms.TextInput(attrs=_PLAIN))
    issuer = forms.CharField(
        label="Issuer", required=False, help_text="Its whole common name.", widget=forms.TextInput(attrs=_PLAIN)
    )
    kind = forms.ChoiceField(label="Kind", required=False, choices=[*_ANY, *KINDS.items()])
    key_type = forms.ChoiceField(
        label="Key", required=False, choices=[*_ANY, *((kind.id, kind.label) for kind in KEY_TYPES.values())]
    )
    source = forms.ChoiceField(label="Source", required=False, choices=[*_ANY, *Certificate.Source.choices])
    expires_after = forms.CharField(
        label="Expires after", required=False, widget=forms.TextInput(attrs={**_PLAIN, "type": "date"})
    )
    expires_before = forms.CharField(
        label="Expires before", required=False, widget=forms.TextInput(attrs={**_PLAIN, "type": "date"})
    )
    MORE = ("domain", "tag", "issuer", "kind", "key_type", "source", "expires_after", "expires_before")

    def __init__(self, data: Mapping[str, Any]) -> None:
        super().__init__(data)
        self.found: Filters | None = self.attempt(lambda: filters_read(data)) if self.is_valid() else None

    @property
    def more(self) -> list[forms.BoundField]:
        return [self[name] for name in self.MORE]

    @property
    def more_used(self) -> bool:
        return any(self[name].data for name in self.MORE)


class EditForm(PortalForm):
    """Name, description, tags, metadata and automatic renewal; `wanted` is what `certificate_update` takes."""

    error_fields: ClassVar[dict[str, str]] = {
        "name": "name",
        "description": "description",
        "tags": "tags",
        "metadata": "metadata",
        "department": "department",
        "auto_renew": "auto_renew",
    }

    name = forms.CharField(label="Name in Bindery", max_length=NAME_LIMIT, widget=forms.TextInput(attrs=_PLAIN))
    description = forms.CharField(
        label="Description", required=False, max_length=DESCRIPTION_LIMIT, widget=forms.Textarea(attrs={"rows": 4})
    )
    tags = forms.CharField(
        label="Tags",
        required=False,
        max_length=6000,
        help_text="Words separated by commas. They are kept in lower case.",
        widget=forms.TextInput(attrs={**_PLAIN, "placeholder": "production, shop"}),
    )
    metadata = forms.CharField(
        label="Metadata",
        required=False,
        max_length=500_000,
        help_text="A line for each: key = value.",
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 4, "placeholder": "cost-centre = 4711"}),
    )
    department = forms.ChoiceField(label="Department", required=False)
    auto_renew = forms.BooleanField(label="Renew it by itself", required=False)

    def __init__(self, data: Mapping[str, Any] | None, certificate: Certificate) -> None:
        initial = {
            "name": certificate.name,
            "description": certificate.description,
            "tags": ", ".join(certificate_tags(certificate)),
            "metadata": _lines(certificate.metadata),
            "department": str(certificate.department_id or ""),
            "auto_renew": certificate.auto_renew,
        }
        super().__init__(data, initial=initial)
        if hasattr(certificate, "own_authority") or not (certificate.account_id or is_signed_here(certificate)):
            del self.fields["auto_renew"]  # nobody here can, or it is a matter of the authority
        self._departments = {
            str(row.pk): row for row in Department.objects.filter(organization=certificate.organization_id)
        }
        named = [(key, row.name) for key, row in self._departments.items()]
        self.offer("department", [("", "None"), *named])
        self._before = certificate.metadata

    def clean_tags(self) -> list[str]:
        return _checked(lambda: tags_check(str(self.cleaned_data["tags"]).split(",")))

    def clean_metadata(self) -> dict[str, str]:
        text = str(self.cleaned_data["metadata"])
        if text.replace("\r\n", "\n").strip() == _lines(self._before).strip():
            return dict(self._before)  # values of several lines, which a program wrote, stay as they are
        return _checked(lambda: metadata_check(_pairs(text)))

    @property
    def wanted(self) -> dict[str, Any]:
        given = self.cleaned_data
        return {**given, "department": self._departments.get(given["department"])}


def _checked(read: Callable[[], T]) -> T:
    """A refusal becomes the field's."""
    try:
        return read()
    except InputError as error:
        raise forms.ValidationError(str(error)) from error


def _lines(metadata: Mapping[str, str]) -> str:
    return "\n".join(f"{key} = {value}" for key, value in metadata.items())


def _pairs(text: str) -> dict[str, str]:
    """Raises InputError."""
    found: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, sign, value = line.partition("=")
        if not sign:
            raise InputError(f"“{line[:60]}” has no equals sign.", advice="Write key = value.", code="metadata")
        if key.strip() in found:
            raise InputError(f"“{key.strip()[:60]}” stands there twice.", code="metadata")
        found[key.strip()] = value.strip()
    return found

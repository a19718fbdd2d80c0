"""Taking over from another ACME client: which one, and where its files are."""

from typing import Any, ClassVar

from django import forms

from certs.domain.keys import SIZE_LIMIT
from certs.forms.base import PortalForm
from certs.services.migration import HOMES
from certs.services.migration_kept import ARCHIVE_BYTES, Given, places_allowed

_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class MigrationForm(PortalForm):
    """`given` in the cleaned data is the Given."""

    error_fields: ClassVar[dict[str, str]] = {
        "tree-unreadable": "place",
        "tree-not-allowed": "place",
        "tree-empty": "place",
        "tree-large": "place",
        "archive": "archive",
        "ca-bundle": "ca_bundle",
    }

    client = forms.ChoiceField(label="ACME client", choices=[(name, name) for name in HOMES])
    place = forms.CharField(
        label="Directory on this server",
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs=_PLAIN),
    )
    archive = forms.FileField(
        label="… or an archive of it",
        required=False,
        help_text=f"A .tar.gz of at most {ARCHIVE_BYTES // 1024**2} MiB, made as root on the machine where it is: "
        "tar -C /etc -czf letsencrypt.tar.gz letsencrypt",
    )
    ca_bundle = forms.CharField(
        label="Roots to trust for them",
        required=False,
        max_length=SIZE_LIMIT,
        help_text="PEM, where this machine does not know who signed the address of the CA.",
        widget=forms.Textarea(attrs={**_PLAIN, "rows": 4, "placeholder": "-----BEGIN CERTIFICATE-----"}),
    )
    allow_private_ca = forms.BooleanField(
        label="They are on private addresses",
        required=False,
        help_text="Allow CAs in your own network. Otherwise such an address is refused.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        usual = ", ".join(f"{home} ({client})" for client, home in HOMES.items())
        allowed = ", ".join(map(str, places_allowed()))
        self.fields["place"].help_text = f"Usually {usual}. The page reads only below {allowed}."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        place, archive = str(cleaned.get("place") or "").strip(), cleaned.get("archive")
        if self.errors:
            return cleaned
        if bool(place) == bool(archive):
            raise forms.ValidationError("Give a directory, or an archive.")
        data = archive.read(ARCHIVE_BYTES + 1) if archive else b""
        name = archive.name[:200] if archive else ""
        roots, private = cleaned["ca_bundle"], cleaned["allow_private_ca"]
        cleaned["given"] = Given(cleaned["client"], place, data, name, roots, private)
        return cleaned

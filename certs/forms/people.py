"""People with their roles, organizations, and the tokens of the API."""

from typing import Any, ClassVar

from django import forms

from certs.domain.roles import Role
from certs.forms.base import PortalForm
from certs.models import AcmeAccount, Department, Organization

_PLAIN = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
EVERYWHERE = ""


class PlaceForm(PortalForm):
    """Has a field `place`: everywhere, an organization or one of its departments."""

    everywhere: ClassVar[str] = "Everywhere"

    def __init__(self, *args: Any, organizations: list[Organization], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        departments = Department.objects.filter(organization__in=organizations).select_related("organization")
        self._places: dict[str, Organization | Department] = {}
        rows: list[Organization | Department] = [*organizations, *departments]
        for row in sorted(rows, key=str):
            self._places[f"{type(row).__name__.lower()}:{row.pk}"] = row
        self.offer("place", [(EVERYWHERE, self.everywhere), *((key, str(row)) for key, row in self._places.items())])

    @property
    def organization(self) -> Organization | None:
        found = self._places.get(self.cleaned_data["place"])
        return found if isinstance(found, Organization) else None

    @property
    def department(self) -> Department | None:
        found = self._places.get(self.cleaned_data["place"])
        return found if isinstance(found, Department) else None


class TokenForm(PlaceForm):
    everywhere = "Everything that its maker may"
    error_fields: ClassVar[dict[str, str]] = {"name": "name", "role": "role", "days": "days", "tags": "tags"}

    name = forms.CharField(
        label="Name", max_length=120, help_text="What it is for.", widget=forms.TextInput(attrs=_PLAIN)
    )
    role = forms.ChoiceField(label="Role", choices=[(role.value, role.label) for role in Role], initial="viewer")
    place = forms.ChoiceField(label="Where", required=False)
    tags = forms.CharField(
        label="Only certificates with one of these tags",
        required=False,
        max_length=2200,
        help_text="Separated by commas. Empty: all.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    days = forms.TypedChoiceField(
        label="Works for",
        choices=[("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "until it is revoked")],
        initial="90",
        required=False,
        coerce=int,
        empty_value=None,
    )
    can_export = forms.BooleanField(
        label="It may read private keys", required=False, help_text="Each time is kept in the list of changes."
    )

    def __init__(self, *args: Any, may_export: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not may_export:
            del self.fields["can_export"]

    def clean_tags(self) -> list[str]:
        return [tag for part in str(self.cleaned_data["tags"]).split(",") if (tag := part.strip())]


class PersonForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"email": "email", "password": "password"}

    email = forms.EmailField(label="E-mail address", widget=forms.EmailInput(attrs=_PLAIN))
    name = forms.CharField(label="Name", required=False, max_length=200, widget=forms.TextInput(attrs=_PLAIN))
    password = forms.CharField(
        label="First password",
        strip=False,
        help_text="At least 10 characters. Tell it in person; it can be changed from the account menu.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class GrantForm(PlaceForm):
    role = forms.ChoiceField(label="Role", choices=[(role.value, role.label) for role in Role], initial="viewer")
    place = forms.ChoiceField(label="Where", required=False)


class OrganizationForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"name": "name"}

    name = forms.CharField(label="Name", max_length=200, widget=forms.TextInput(attrs=_PLAIN))


class WhereForm(PortalForm):
    """To which organization something new belongs; there is nothing to choose where it can be one only."""

    organization = forms.ChoiceField(label="Organization", help_text="Whose certificates it serves.")

    def __init__(self, *args: Any, organizations: list[Organization], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._organizations = {str(row.pk): row for row in organizations}
        if len(organizations) > 1:
            self.offer("organization", [(pk, row.name) for pk, row in self._organizations.items()])
        else:
            del self.fields["organization"]

    @property
    def chosen(self) -> Organization | None:
        """None: the default one, to which the service may say no."""
        only = next(iter(self._organizations.values()), None)
        return self._organizations.get(self.cleaned_data.get("organization", ""), only)


class MoveForm(PortalForm):
    """A certificate to another organization."""

    error_fields: ClassVar[dict[str, str]] = {"account": "account"}

    organization = forms.ChoiceField(label="Organization")
    account = forms.ChoiceField(label="Renewed with the account", required=False)

    def __init__(
        self, *args: Any, organizations: list[Organization], accounts: list[AcmeAccount], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._organizations = {str(row.pk): row for row in organizations}
        self._accounts = {str(row.pk): row for row in accounts}
        self.offer("organization", [(pk, row.name) for pk, row in self._organizations.items()])
        choices = [(pk, f"{row} ({row.organization})") for pk, row in self._accounts.items()]
        self.offer("account", [("", "choose one"), *choices])

    @property
    def chosen(self) -> Organization:
        return self._organizations[self.cleaned_data["organization"]]

    @property
    def chosen_account(self) -> AcmeAccount | None:
        return self._accounts.get(self.cleaned_data["account"])

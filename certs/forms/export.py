"""Configuration ➜ Export: whether certificates are written to files, and whose these are."""

from typing import ClassVar

from django import forms
from django.conf import settings
from django.http import QueryDict

from certs.forms.base import PortalForm
from certs.models import PortalState

_LOCKED = "Set by {} in the environment of the portal."
_PLAIN = {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}


class ExportForm(PortalForm):
    error_fields: ClassVar[dict[str, str]] = {"owner": "owner", "group": "group", "mode": "mode"}

    on = forms.BooleanField(label="Write certificates and keys to files", required=False)
    owner = forms.CharField(
        label="Owner",
        required=False,
        max_length=64,
        help_text="A user by name or number. Left empty: the portal's own. Another one takes a portal that root runs.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    group = forms.CharField(
        label="Group",
        required=False,
        max_length=64,
        help_text="A group by name or number, such as that of the web server.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    mode = forms.CharField(
        label="Mode",
        max_length=4,
        help_text="0600 for the owner alone, 0640 for the group too.",
        widget=forms.TextInput(attrs={**_PLAIN, "inputmode": "numeric"}),
    )

    def __init__(self, data: QueryDict | None = None, *, state: PortalState) -> None:
        given = {
            "on": state.export,
            "owner": state.export_owner,
            "group": state.export_group,
            "mode": state.export_mode,
        }
        super().__init__(data, initial=given)
        if settings.EXPORT_LOCKED:
            self._lock("on", "BINDERY_EXPORT")
        for name in settings.EXPORT_ACCESS:
            self._lock(name.removeprefix("export_"), f"BINDERY_{name.upper()}")

    def _lock(self, name: str, variable: str) -> None:
        self.fields[name].disabled = True
        self.fields[name].help_text = _LOCKED.format(variable)

"""One format of a download: its options, with a random password on offer where it has one."""

from typing import Any

from django import forms

from certs.domain.errors import BinderyError
from certs.domain.formats.base import Format, password_suggest
from certs.domain.options import OptionRefused
from certs.forms.base import PortalForm
from certs.forms.options import option_fields, option_values

_PASSWORDS = ("password", "key_password")


class DownloadForm(PortalForm):
    """Bound to what was sent for this format; otherwise with a password that nobody has seen before."""

    def __init__(self, wanted: Format, data: Any = None) -> None:
        super().__init__(data, auto_id=f"{wanted.id}-%s")
        self.wanted = wanted
        self.fields.update(option_fields(wanted.options))
        if "password" in self.fields:
            self.suggestion = password_suggest()
            self.fields["suggested"] = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
            self.fields["use_suggested"] = forms.BooleanField(
                required=False,
                label="Take the random password",
                help_text="It is shown only here and stored nowhere: copy it first.",
            )

    @property
    def values(self) -> dict[str, Any]:
        """For `download_make`."""
        given = option_values(self.wanted.options, self.cleaned_data)
        if self.cleaned_data.get("use_suggested"):
            given["password"] = self.cleaned_data["suggested"]
        return given

    @property
    def option_names(self) -> list[Any]:
        """The bound fields of the options, in their order."""
        return [self[name] for name in self.fields if name not in {"suggested", "use_suggested"}]

    def refuse(self, error: BinderyError) -> None:
        if isinstance(error, OptionRefused) and error.field in self.fields:
            self.add_error(error.field, str(error))
        else:
            super().refuse(error)


class TrustStoreForm(DownloadForm):
    """A trust store of chosen CA certificates: which of the chain does not come into it."""

    def __init__(self, wanted: Format, data: Any = None) -> None:
        super().__init__(wanted, data)
        self.fields.pop("what", None)

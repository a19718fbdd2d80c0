"""One channel of a kind: its name, its options, and whether it may be on a private address."""

from typing import Any, ClassVar

from django import forms

from certs.channels.base import Channel as Sender
from certs.domain.errors import BinderyError
from certs.domain.options import OptionRefused, options_of
from certs.forms.base import PortalForm
from certs.forms.options import option_fields, option_values
from certs.models import Channel


class ChannelForm(PortalForm):
    """`row` is the channel that is changed; without one it is new."""

    error_fields: ClassVar[dict[str, str]] = {
        "name": "name",
        "private-address": "allow_private",
        **{code: code for code in ("sender", "to", "security", "password", "url")},
    }

    name = forms.CharField(label="Name", max_length=100, help_text="As it is called on these pages.")

    def __init__(self, *args: Any, kind: type[Sender], row: Channel | None = None, **more: Any) -> None:
        super().__init__(*args, **more)
        self._kind = kind.Options
        self.fields["name"].initial = row.name if row else kind.label
        self.fields.update(option_fields(kind.Options, stored=row.options if row else None))
        for each in options_of(kind.Options):
            kept = row is not None and each.secret  # an empty one stays as it is
            self.fields[each.name].required = bool((each.required and not kept) or each.choices or each.type is int)
        self.fields["allow_private"] = forms.BooleanField(
            label="It may be on a private address",
            required=False,
            initial=bool(row and row.allow_private),
            help_text="Tick it for a server in your own network; without it, only public addresses are asked.",
        )

    @property
    def given(self) -> dict[str, Any]:
        """For `channel_create` and `channel_change`."""
        cleaned = self.cleaned_data
        values = option_values(self._kind, cleaned)
        return {"name": cleaned["name"], "values": values, "allow_private": cleaned["allow_private"]}

    def refuse(self, error: BinderyError) -> None:
        if isinstance(error, OptionRefused) and error.field in self.fields:
            self.add_error(error.field, str(error))
        else:
            super().refuse(error)

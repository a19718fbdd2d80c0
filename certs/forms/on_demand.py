"""Configuration ➜ On demand: which names a first visitor may have ordered, and where."""

from typing import ClassVar

from django import forms
from django.conf import settings
from django.http import QueryDict

from certs.acme.directories import directory_label
from certs.forms.volume import VolumeForm
from certs.models import AcmeAccount, PortalState
from certs.selectors import accounts_usable
from certs.services.on_demand import on_demand_orders

_LOCKED = "Set by {} in the environment of the portal."


class AccountField(forms.ModelChoiceField):  # type: ignore[type-arg]  # the stubs' class takes no arguments at run time
    def label_from_instance(self, obj: AcmeAccount) -> str:
        label = directory_label(obj.directory_url)
        return f"{label} ({obj.email})" if obj.email else label


class OnDemandForm(VolumeForm):
    error_fields: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("hosts", "input", "name-refused", "address"), "hosts"),
        "account": "account",
        "volume": "without_volume",
    }

    on = forms.BooleanField(label="Order at the first visit", required=False)
    hosts = forms.CharField(
        label="Host names",
        required=False,
        help_text="One per line. *.example.com stands for its direct children, whatever their name: list a name by "
        "itself where you can.",
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "autocapitalize": "none"}),
    )
    account = AccountField(
        label="CA account",
        queryset=AcmeAccount.objects.none(),
        required=False,
        empty_label="Choose an account",
        help_text="Those that are registered, or whose terms of service are accepted. They are made under "
        "Configuration ➜ CA accounts.",
    )

    def __init__(self, data: QueryDict | None = None, *, state: PortalState) -> None:
        given = {
            "on": state.on_demand,
            "hosts": "\n".join(state.on_demand_hosts),
            "account": state.on_demand_account_id,
        }
        super().__init__(data, initial=given)
        if on_demand_orders(state):
            self.spare_volume()
        account = self.fields["account"]
        if isinstance(account, AccountField):
            account.queryset = accounts_usable()
        for name, variable, locked in (
            ("on", "BINDERY_ON_DEMAND", settings.ON_DEMAND_LOCKED),
            ("hosts", "BINDERY_ON_DEMAND_HOSTS", settings.ON_DEMAND_HOSTS_LOCKED),
        ):
            if locked:
                self.fields[name].disabled = True
                self.fields[name].help_text = _LOCKED.format(variable)

    def clean_hosts(self) -> list[str]:
        return str(self.cleaned_data["hosts"]).replace(",", "\n").split("\n")

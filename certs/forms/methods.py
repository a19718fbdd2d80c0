"""Challenge methods: the form of one kind, made from its Options, and what a test needs."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import QueryDict

from certs.domain.errors import BinderyError
from certs.domain.options import OptionRefused, options_of
from certs.forms.base import PortalForm
from certs.forms.options import option_fields, option_values
from certs.services.methods import LONGEST_NAME
from certs.solvers.base import Solver

PREFIX, FORGET = "option_", "forget_"


class MethodForm(PortalForm):
    """`stored` are the options of a method that is there, `secrets` the names of those it has. What the `chooser` of
    the kind says is settled before this form is shown."""

    name = forms.CharField(
        label="Name",
        max_length=LONGEST_NAME,
        help_text="As certificates are to call it, for example “DNS at Cloudflare”.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(
        self,
        data: QueryDict | None = None,
        *,
        solver: type[Solver],
        chosen: Mapping[str, Any],
        stored: Mapping[str, Any] | None = None,
        secrets: Sequence[str] = (),
        initial: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data, initial=initial)
        self.about_choice = ""
        self._chosen = dict(chosen)
        self._kind = solver.options_for(chosen)
        self.fields |= option_fields(self._kind, prefix=PREFIX, stored=stored, kept=secrets)
        for about in options_of(self._kind):
            field = self.fields[f"{PREFIX}{about.name}"]
            field.required = about.name not in secrets and not about.may_be_empty
            if about.name == solver.chooser:
                self.about_choice = about.help
                del self.fields[f"{PREFIX}{about.name}"]
            elif about.secret and about.name in secrets and not about.required:
                self.fields[f"{FORGET}{about.name}"] = forms.BooleanField(
                    label=f"Forget what is stored as {about.label}", required=False
                )

    @property
    def given(self) -> dict[str, Any]:
        return {**option_values(self._kind, self.cleaned_data, prefix=PREFIX), **self._chosen}

    @property
    def forget(self) -> list[str]:
        return [
            name.removeprefix(FORGET) for name in self.fields if name.startswith(FORGET) and self.cleaned_data[name]
        ]

    def refuse(self, error: BinderyError) -> None:
        name = f"{PREFIX}{error.field}" if isinstance(error, OptionRefused) else error.code
        self.add_error(name if name in self.fields else None, str(error))


class TestForm(PortalForm):
    __test__ = False  # for pytest, which looks for tests by such names

    dns_name = forms.CharField(
        label="Name to test with",
        max_length=255,
        help_text="One that this method can prove. Nothing is asked of a CA.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )

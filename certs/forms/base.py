"""The base of every form: a refusal of a service becomes a message of the form, here and nowhere else."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, cast

from django import forms

from certs.domain.errors import BinderyError, ConflictError, InputError, NotAllowed, Unavailable
from certs.domain.renewal import Code

T = TypeVar("T")


class SecretTextarea(forms.Textarea):
    """What was typed is never rendered back, as with a password."""

    def format_value(self, value: object) -> str | None:
        return None


def _bounds_say(field: forms.Field) -> None:
    """One sentence that names both bounds, in place of Django's several; a field's own sentences stay."""
    said = field.error_messages
    if type(field) is forms.IntegerField and field.min_value is not None and field.max_value is not None:
        for code in ("min_value", "max_value", "invalid"):
            if said.get(code) in (None, field.default_error_messages["invalid"]):
                said[code] = f"Type a whole number from {field.min_value} to {field.max_value}."
    elif isinstance(field, forms.CharField) and field.max_length is not None:
        said.setdefault("max_length", f"It is too long: at most {field.max_length} characters fit.")


class PortalForm(forms.Form):
    """`error_fields` says which field a refusal belongs to, by the error's code; others stand above the form."""

    error_fields: ClassVar[dict[str, str]] = {}
    kept_files: ClassVar[frozenset[str]] = frozenset()  # fields of files whose content comes back in another field

    def full_clean(self) -> None:
        for field in self.fields.values():
            _bounds_say(field)
        super().full_clean()

    def attempt(self, action: Callable[[], T]) -> T | None:
        """What `action` returns, or None with the form's errors filled when a service refused it.

        Faults of the portal itself (SecretError, ServingError) are no matter of the form and pass through.
        """
        try:
            return action()
        except (InputError, ConflictError, NotAllowed, Unavailable) as error:
            self.refuse(error)
            return None

    def offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        """`choices`, value and label, for a field that knows them only now."""
        cast(forms.ChoiceField, self.fields[name]).choices = choices

    asks_first = False  # the service wants a word before the last that a limit leaves is spent

    def refuse(self, error: BinderyError) -> None:
        self.asks_first = error.code == Code.LAST_ONE
        name = self.error_fields.get(error.code)
        self.add_error(name if name in self.fields else None, str(error))


class ConfirmForm(PortalForm):
    """A typed confirmation: the person writes `expected`, so that no stray press does what cannot be undone."""

    typed = forms.CharField(label="Confirm", widget=forms.TextInput(attrs={"autocomplete": "off"}))

    def __init__(self, data: Mapping[str, Any] | None = None, *, expected: str) -> None:
        super().__init__(data)
        self.expected = expected
        self.fields["typed"].label = f"Type {expected} to confirm"

    def clean_typed(self) -> str:
        typed = str(self.cleaned_data["typed"]).strip()
        if typed != self.expected:
            raise forms.ValidationError(f"This is not the same. Type {self.expected} exactly.")
        return typed

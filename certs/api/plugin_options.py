"""Options of a plugin (a challenge method, a channel, a format): what there is to be set, and what a body may say.

What is told of a row that has them is `options`, all but the secrets, and `secrets`, the names of those that are kept.
"""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from certs.domain.options import LONGEST, Option, options_of

_MOST = 100
_TYPES = {str: "string", int: "integer", bool: "boolean"}
_VALUE = {"type": ["string", "integer", "boolean", "null"], "maxLength": LONGEST}


@extend_schema_field({"type": "object", "additionalProperties": _VALUE, "maxProperties": _MOST})
class OptionValues(serializers.DictField):
    """By name. In a change null takes the stored one away, a secret too; what is not named stays."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping) or len(data) > _MOST:
            raise serializers.ValidationError(f"Give an object of at most {_MOST} options.")
        wrong = {name: ["Give a text, a whole number, true or false."] for name, one in data.items() if not _fits(one)}
        if wrong:
            raise serializers.ValidationError(wrong)
        return dict(data)


def _fits(value: Any) -> bool:
    return value is None or (isinstance(value, str | int) and (not isinstance(value, str) or len(value) <= LONGEST))


@extend_schema_field(_VALUE)
class OptionValue(serializers.JSONField):
    pass


class Choice(serializers.Serializer[Any]):
    value = serializers.CharField(allow_blank=True)
    name = serializers.CharField()


class OptionDocument(serializers.Serializer[Any]):
    name = serializers.CharField()
    type = serializers.ChoiceField(choices=list(_TYPES.values()))
    title = serializers.CharField()
    help = serializers.CharField()
    choices = Choice(many=True, help_text="Empty: any.")
    secret = serializers.BooleanField(help_text="Write-only.")
    needed = serializers.BooleanField()
    usual = OptionValue(help_text="What holds where it is left out.")


class KindDocument(serializers.Serializer[Any]):
    kind = serializers.CharField()
    name = serializers.CharField()
    help = serializers.CharField()
    options = OptionDocument(many=True)


class KindList(serializers.Serializer[Any]):
    items = KindDocument(many=True)


def kind_document(kind: str, label: str, plugin: type[Any], options: type[Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": label,
        "help": " ".join((plugin.__doc__ or "").split()),
        "options": [option_document(each) for each in options_of(options)],
    }


def option_document(about: Option) -> dict[str, Any]:
    return {
        "name": about.name,
        "type": _TYPES[about.type],
        "title": about.label,
        "help": about.help,
        "choices": [{"value": value, "name": label} for value, label in about.choices],
        "secret": about.secret,
        "needed": about.required,
        "usual": None if about.secret else about.default,
    }

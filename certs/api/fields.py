"""What a body may hold: JSON types as they are, no name that is not known. A misspelt one would be lost silently."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request


class Text(serializers.CharField):
    """A text as it is: no number in its place, no blanks cut off."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_blank", True)
        options.setdefault("trim_whitespace", False)
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Give a text.")
        return str(super().to_internal_value(data))


class Flag(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("Give true or false.")
        return data


class Whole(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            raise serializers.ValidationError("Give a whole number.")
        return int(super().to_internal_value(data))


class Word(serializers.ChoiceField):
    """One of a few."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            raise serializers.ValidationError("Give a text.")
        return super().to_internal_value(data)


class Moment(serializers.DateTimeField):
    """RFC 3339, with its zone."""

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str) or not value.rstrip("0123456789:").endswith(("Z", "z", "+", "-")):
            raise serializers.ValidationError("Give a time with its zone, such as 2026-05-01T12:00:00Z.")
        return super().to_internal_value(value)


def words(**options: Any) -> serializers.ListField:
    return serializers.ListField(child=Text(allow_blank=False), **options)


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class Table(serializers.DictField):
    """Text by text."""

    child = Text()


@extend_schema_field(OpenApiTypes.OBJECT)
class AnyObject(serializers.JSONField):
    pass


class Strict(serializers.Serializer[Any]):
    """Refuses what it does not know, naming what may have been meant; `ignored` may be there and is not looked at."""

    ignored: ClassVar[frozenset[str]] = frozenset()

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = {name for name, field in self.fields.items() if not field.read_only}
            unknown = sorted(map(str, data.keys() - known - self.ignored))
            if unknown:
                raise serializers.ValidationError({name: [_unknown(name, known)] for name in unknown[:20]})
        return super().to_internal_value(data)


def _unknown(name: str, known: set[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"This is not known; “{near[0]}” is." if near else "This is not known here."


class Query(Strict):
    """Parameters of an address: texts that are read as what they stand for."""

    size = serializers.IntegerField(required=False, min_value=1, max_value=500, help_text="How many at once; 50.")
    cursor = serializers.CharField(
        required=False, max_length=2000, help_text="Where the next page begins, from `next` of the page before."
    )


def query_read(request: Request, kind: type[Strict]) -> dict[str, Any]:
    """Raises ValidationError. What may be given several times is a list; of anything else the last one counts."""
    lists = {name for name, field in kind().fields.items() if isinstance(field, serializers.ListField)}
    given = {
        name: request.query_params.getlist(name) if name in lists else value
        for name, value in request.query_params.items()
    }
    query = kind(data={name: value for name, value in given.items() if value != ""})
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


def body_read(data: Any, kind: type[Strict]) -> dict[str, Any]:
    """Raises ValidationError."""
    body = kind(data=data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)

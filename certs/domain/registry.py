"""Plugins are found by walking their package: a new kind is one new file, and the file's name is the kind."""

import importlib
import inspect
import pkgutil
from functools import cache
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


@cache
def plugins(package: str, base: type[T]) -> dict[str, type[T]]:
    """Kind -> class, sorted by kind. Each module holds at most one concrete subclass of `base`; others are skipped.

    Raises TypeError for a module with two of them, since its name could only mean one.
    """
    found: dict[str, type[T]] = {}
    for entry in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__), key=lambda item: item.name):
        classes = _subclasses(importlib.import_module(f"{package}.{entry.name}"), base)
        if len(classes) > 1:
            raise TypeError(f"{package}.{entry.name} holds more than one {base.__name__}.")
        if classes:
            found[entry.name] = classes[0]
    return found


def _subclasses(module: ModuleType, base: type[T]) -> list[type[T]]:
    return [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, base)
        and not inspect.isabstract(member)
        and member.__module__ == module.__name__
    ]

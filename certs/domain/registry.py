"""Plugins are found by walking their package: a new kind is one new file, and the file's name is the kind."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
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
    for name, module in _modules(package):
        classes = _subclasses(module, base)
        if len(classes) > 1:
            raise TypeError(f"{package}.{name} holds more than one {base.__name__}.")
        if classes:
            found[name] = classes[0]
    return found


@cache
def declared(package: str, kind: type[T]) -> tuple[T, ...]:
    """Every instance of `kind` at the top of a module, in the order in which it stands there, by modules' names."""
    return tuple(member for _, module in _modules(package) for member in vars(module).values() if type(member) is kind)


def _modules(package: str) -> Iterator[tuple[str, ModuleType]]:
    place = importlib.import_module(package).__path__
    for entry in sorted(pkgutil.iter_modules(place), key=lambda item: item.name):
        yield entry.name, importlib.import_module(f"{package}.{entry.name}")


def _subclasses(module: ModuleType, base: type[T]) -> list[type[T]]:
    return [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, base)
        and not inspect.isabstract(member)
        and member.__module__ == module.__name__
    ]

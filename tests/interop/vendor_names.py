"""The public names of the vendor's SDK, by looking at it, as tab-separated lines on standard output.

``tests/data/vendor_names.tsv`` is what this prints, and ``make interop`` checks that it still is. To write
it again: ``.venv-interop/bin/python tests/interop/vendor_names.py > tests/data/vendor_names.tsv``.

Columns: module, name (``Class.member`` for what a class has), kind, signature. Kinds and what stands in the
last column: ``function`` and ``method`` (arguments), ``class`` (arguments of its constructor), ``exception``
(the same, and its base), ``constant`` and ``class attribute`` (value, or its type where that is no plain
one), ``property`` (nothing), ``attribute`` (the method that sets it), ``import`` (where it comes from).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

PACKAGE = "smarkets.streaming_api"
MODULES = [
    *(f"{PACKAGE}.{name}" for name in ("api", "client", "exceptions", "framing", "session", "utils")),
    "smarkets.signal",
]
#: ``from __future__ import ...`` leaves these behind.
FUTURE = {"absolute_import", "division", "print_function", "unicode_literals"}

Line = tuple[str, str, str, str]


def is_public(name: str) -> bool:
    """Whether a program is meant to use it; operators of a class are among them."""
    operators = ("__call__", "__iadd__", "__isub__", "__len__", "__iter__")
    return not name.startswith("_") or name in operators


def arguments(function: Any) -> str:
    """The arguments that a caller gives."""
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name == "self":
        del parameters[0]
    return str(inspect.Signature(parameters))


def value_of(thing: Any) -> str:
    """A plain value as it is, a list of texts sorted, anything else by its type."""
    if isinstance(thing, (int, str)):
        return repr(thing)
    if isinstance(thing, list):
        return " ".join(sorted(thing))
    return f"a {type(thing).__module__}.{type(thing).__name__}"


def of_class(module: str, name: str, cls: type) -> Iterator[Line]:
    """A class and what it has; what it inherits is its base's."""
    kind, note = "class", arguments(cls) if "__init__" in vars(cls) else "()"
    if issubclass(cls, Exception):
        own = arguments(cls) if "__init__" in vars(cls) else "(*args)"
        kind, note = "exception", f"{own} < {cls.__mro__[1].__module__}.{cls.__mro__[1].__name__}"
    elif issubclass(cls, tuple):
        fields = next(base._fields for base in cls.__mro__ if hasattr(base, "_fields"))
        note = f"({', '.join(fields)})"
    yield module, name, kind, note
    for member, thing in vars(cls).items():
        if not is_public(member):
            continue
        if isinstance(thing, property):
            yield module, f"{name}.{member}", "property", "-"
        elif inspect.isfunction(thing):
            yield module, f"{name}.{member}", "method", arguments(thing)
        else:
            yield module, f"{name}.{member}", "class attribute", value_of(thing)
    for attribute, where in attributes_of(cls).items():
        yield module, f"{name}.{attribute}", "attribute", where


def attributes_of(cls: type) -> dict[str, str]:
    """Public attributes that methods set on ``self``, and the first method that does."""
    found: dict[str, str] = {}
    for method in vars(cls).values():
        if not inspect.isfunction(method) or method.__module__ != cls.__module__:
            continue
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(method)))):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
                and is_public(node.attr)
            ):
                found.setdefault(node.attr, f"set in {method.__name__}")
    return found


def of_module(name: str) -> Iterator[Line]:
    """Everything public in a module."""
    module = importlib.import_module(name)
    for member, thing in sorted(vars(module).items()):
        if not is_public(member) or member in FUTURE:
            continue
        home = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None)
        if isinstance(home, str) and home != name:
            # The SDK's own names may be taken from here by a program; the standard library's are not meant.
            if home.split(".")[0] == "smarkets":
                origin = home if isinstance(thing, types.ModuleType) else f"{home}.{member}"
                yield name, member, "import", origin
        elif inspect.isclass(thing):
            yield from of_class(name, member, thing)
        elif inspect.isfunction(thing):
            yield name, member, "function", arguments(thing)
        elif isinstance(thing, (int, str)):
            yield name, member, "constant", value_of(thing)


def main() -> int:
    """Print all of it."""
    print("module\tname\tkind\tsignature")
    for module in MODULES:
        for line in of_module(module):
            print("\t".join(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())

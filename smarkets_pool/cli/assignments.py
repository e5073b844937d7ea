"""``NAME=VALUE`` options: the fields of a settings class, each read by its type."""

from __future__ import annotations

import dataclasses
import decimal
import typing
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from smarkets_pool.config.keys import field_texts
from smarkets_pool.config.problems import suggestion
from smarkets_pool.exceptions import ConfigError

__all__ = ["assigned", "described"]

_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def assigned(settings: type[Any], texts: Iterable[str], what: str) -> dict[str, Any]:
    """What ``NAME=VALUE`` texts say about the fields of a settings class.

    Raises:
        ConfigError: one or more are no assignment, name no field or have a value that cannot be read; with
            a sentence for each, in which ``what`` is the name of the option.
    """
    kinds = typing.get_type_hints(settings)
    found: dict[str, Any] = {}
    problems = []
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals:
            problems.append(f"{what} {text!r}: write NAME=VALUE")
        elif name not in kinds:
            problems.append(f"{what} {name!r}: there is none of that name{_near(name, kinds)}")
        elif name in found:
            problems.append(f"{what} {name!r}: it is there twice")
        else:
            try:
                found[name] = _read(value.strip(), kinds[name])
            except ValueError as error:
                problems.append(f"{what} {name}: {value.strip()!r} is not {error}")
    if problems:
        raise ConfigError(problems)
    return found


def _near(name: str, known: Iterable[str]) -> str:
    near = suggestion(name, list(known))
    # All of them would be a page.
    return near if "did you mean" in near else "; --list-settings shows all"


def _read(text: str, kind: Any) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        return _one_of(text, {choice: choice for choice in typing.get_args(kind)})
    if kind is bool:
        return _one_of(text.lower(), _FLAGS)
    if kind is str:
        return text
    reader, words = _READERS[kind]
    try:
        return reader(text)
    except (ValueError, decimal.InvalidOperation):
        raise ValueError(words) from None


def _one_of(text: str, choices: dict[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(" or ".join(choices))
    return choices[text]


_READERS: dict[type, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    Decimal: (Decimal, "a number"),
}


def described(settings: type[Any]) -> list[tuple[str, str]]:
    """Each field as ``name=default``, and what it does."""
    texts = field_texts(settings.__doc__ or "")  # empty under ``python -OO``
    rows = []
    for field in dataclasses.fields(settings):
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        rows.append((f"{field.name}={default}", texts.get(field.name, "").replace("``", "")))
    return rows

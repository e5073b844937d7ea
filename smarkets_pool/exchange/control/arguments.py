"""Arguments of commands: read from a text, fitted to what a function takes.

A command in writing is its name and ``key=value`` words: ``settle market_id=100000 winners=[200000]``. What
looks like a whole number, ``true``, ``false``, ``none`` or JSON's lists, tables and quoted texts is that;
everything else is the text as it stands. A number with a point stays a text too, because money must not
pass through a float; who takes a float makes it one.
"""

from __future__ import annotations

import difflib
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from smarkets_pool.exceptions import UsageError

__all__ = ["fit", "near", "parse", "parse_value", "shown", "signature_text", "some"]

_KEY = re.compile(r"(\w+)=")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,39})")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "none": None, "null": None}
_DECODER = json.JSONDecoder()
#: How many names a sentence lists.
_SHOWN = 8


# --- from a text -------------------------------------------------------------------------------


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a command in writing.

    Raises:
        UsageError: it has no name, a word is no ``key=value``, a key is there twice, or a list does not end.
    """
    name, _, rest = text.strip().partition(" ")
    if not name or "=" in name:
        raise UsageError(f"a command begins with its name, as in 'drop account=ann', not with {name!r}")
    arguments: dict[str, Any] = {}
    rest = rest.strip()
    while rest:
        found = _KEY.match(rest)
        if found is None:
            raise UsageError(f"after {name} come words of the form key=value, not {rest.split()[0]!r}")
        key = found[1]
        if key in arguments:
            raise UsageError(f"{name} has {key} twice")
        arguments[key], rest = _value(rest[found.end() :], key)
    return name, arguments


def _value(text: str, key: str) -> tuple[Any, str]:
    """The value at the beginning of a text, and what follows it."""
    if text[:1] in ('"', "[", "{"):
        try:
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the value of {key} is no JSON: {error}") from error
        if text[end : end + 1].strip():
            raise UsageError(f"after the value of {key} a space is missing, before {text[end:].split()[0]!r}")
        return value, text[end:].strip()
    word, _, rest = text.partition(" ")
    return parse_value(word), rest.strip()


def parse_value(word: str) -> Any:
    """A single value without spaces: what it looks like."""
    if word in _WORDS:
        return _WORDS[word]
    if _WHOLE.fullmatch(word):
        return int(word)
    return word


# --- to a function -----------------------------------------------------------------------------


#: What a function is given by whoever calls it, and not by who asks.
_NOT_ASKED = ("self", "work")


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What may be asked of a function: its parameters without its object and its surroundings."""
    parameters = inspect.signature(function).parameters
    return {key: parameter for key, parameter in parameters.items() if key not in _NOT_ASKED}


def fit(function: Callable[..., Any], name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``arguments`` as ``function`` takes them by its annotations.

    Raises:
        UsageError: one is missing, unknown or of the wrong kind; names it and what there is.
    """
    kinds = typing.get_type_hints(function)
    parameters = parameters_of(function)
    for key in arguments:
        if key not in parameters:
            raise UsageError(f"{name} has no argument {key!r}{near(key, parameters)}")
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in arguments]
    if missing:
        raise UsageError(f"{name} needs {' and '.join(missing)}: {signature_text(function, name)}")
    return {key: _fitted(value, kinds[key], f"{name}: {key}") for key, value in arguments.items()}


def _fitted(value: Any, kind: Any, what: str) -> Any:
    choices = typing.get_args(kind)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):  # the second is Python 3.10's
        if value is None and type(None) in choices:
            return None
        (kind,) = (choice for choice in choices if choice is not type(None))
        return _fitted(value, kind, what)
    if typing.get_origin(kind) is list:
        if not isinstance(value, list):
            raise UsageError(f"{what} is {value!r} and must be a list, as in [1, 2]")
        return [_fitted(each, choices[0], f"{what}, each of it") for each in value]
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise UsageError(f'{what} is {value!r} and must be a table, as in {{"seq": 1}}')
        return value
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # a text that looks like a number
    if kind is float and isinstance(value, (str, int)) and not isinstance(value, bool):
        try:
            value = float(value)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{what} is {value!r} and must be a number") from error
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{what} is {value} and must be a number with an end")
    # True is an int to Python, and no number to anybody who asks for one.
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise UsageError(f"{what} is {value!r} and must be {_KIND_NAMES.get(kind, kind.__name__)}")
    return value


_KIND_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def signature_text(function: Callable[..., Any], name: str = "") -> str:
    """How a command is written: ``events account=... [after=0]``."""
    words = [name] if name else []
    for key, parameter in parameters_of(function).items():
        if parameter.default is parameter.empty:
            words.append(f"{key}=...")
        else:
            words.append(f"[{key}={shown(parameter.default)}]")
    return " ".join(words)


def shown(value: object) -> str:
    """A value as it would be written in a command."""
    for word, meant in _WORDS.items():
        if value is meant:
            return word
    return value if isinstance(value, str) and value else json.dumps(value, default=str)


def near(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or what there is."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {some(known)}"


def some(names: Iterable[object]) -> str:
    """A list for a sentence, not longer than a line."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more if texts else "none"

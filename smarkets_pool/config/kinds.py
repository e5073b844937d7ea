"""The kinds of values a key can have: what is accepted, and what it becomes.

A converter returns the value or raises ``ValueError`` with the rest of a sentence ("... is to be X, not Y").
It never quotes what may be a secret.
"""

from __future__ import annotations

import difflib
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

from smarkets_pool.config.problems import in_toml, suggestion
from smarkets_pool.config.secrets import (
    EnvSecret,
    FileSecret,
    LiteralSecret,
    SecretSource,
    private_file_problem,
)
from smarkets_pool.exceptions import ConfigError

__all__ = ["KINDS"]

_UINT32 = 2**32 - 1
_SOURCES = ("env", "file")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _refuse(expected: str, value: object) -> ValueError:
    return ValueError(f"is to be {expected}, not {in_toml(value)}")


def _text(value: object, folder: pathlib.Path) -> str:
    if not isinstance(value, str) or not value:
        raise _refuse("a text that is not empty", value)
    return value


def _host(value: object, folder: pathlib.Path) -> str:
    host = _text(value, folder)
    if "/" in host or host.count(":") == 1 or host != host.strip(" []"):
        said = "a name or an address alone; the port is a key of its own"
        raise _refuse(said, value)
    return host


def _flag(value: object, folder: pathlib.Path) -> bool:
    if not isinstance(value, bool):
        raise _refuse("true or false, without quotes", value)
    return value


def _port(value: object, folder: pathlib.Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise _refuse("a number from 1 to 65535", value)
    return value


def _numbers(value: object, folder: pathlib.Path) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise _refuse("a list of ids, such as [100000]", value)
    for number in value:
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _UINT32:
            said = f"is to hold ids, whole numbers from 0 to {_UINT32}, and holds {in_toml(number)}"
            raise ValueError(said)
    return tuple(dict.fromkeys(value))


def _file(value: object, folder: pathlib.Path) -> str:
    """A file to read, relative to the configuration's folder."""
    path = folder / os.path.expanduser(_text(value, folder))
    try:
        with path.open("rb"):
            return str(path)
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        why = getattr(error, "strerror", error)
        raise ValueError(f"names {str(path)!r}, which cannot be read: {why}") from error


def _secret_file(value: object, folder: pathlib.Path) -> str:
    path = _file(value, folder)
    if problem := private_file_problem(pathlib.Path(path)):
        raise ValueError(f"names a file that holds a secret: {problem}")
    return path


def _secret(value: object, folder: pathlib.Path) -> SecretSource:
    """Checked by asking for it once; the source is what is kept."""
    source: SecretSource
    if isinstance(value, str):
        if not value:
            raise ValueError("is empty")
        return LiteralSecret(value)
    # What was found is not told: it may be the secret in the wrong place.
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError('is to be a text, { env = "NAME" } or { file = "path" }')
    ((kind, name),) = value.items()
    if kind not in _SOURCES:
        near = suggestion(kind, _SOURCES) if difflib.get_close_matches(kind, _SOURCES, n=1) else ""
        raise ValueError(f'is to be a text, {{ env = "NAME" }} or {{ file = "path" }}{near}')
    if not isinstance(name, str) or not name:
        raise ValueError(f"is to be a text that is not empty behind {kind} =")
    if kind == "env" and not _VARIABLE.fullmatch(name):
        raise ValueError("is to be a variable's name behind env =, made of letters, digits and _")
    source = EnvSecret(name) if kind == "env" else FileSecret(str(folder / os.path.expanduser(name)))
    try:
        source()
    except ConfigError as error:
        raise ValueError(f"cannot be had: {error}") from error
    return source


#: Kind -> how its values are taken in. "table" and "policy" are the reader's own.
KINDS: dict[str, Callable[[object, pathlib.Path], Any]] = {
    "text": _text,
    "host": _host,
    "flag": _flag,
    "port": _port,
    "numbers": _numbers,
    "file": _file,
    "secret file": _secret_file,
    "secret": _secret,
}

"""The kinds of values a key can have: what is accepted, and what it becomes.

A converter returns the value or raises ``ValueError`` with the rest of a sentence ("... is to be X, not Y").
It never quotes what may be a secret.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

from smarkets_pool.config.problems import suggestion
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


def _refuse(expected: str, value: object) -> ValueError:
    return ValueError(f"is to be {expected}, not {value!r}")


def _text(value: object, folder: pathlib.Path) -> str:
    if not isinstance(value, str) or not value:
        raise _refuse("a text that is not empty", value)
    return value


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
            raise ValueError(f"is to hold ids, whole numbers from 0 to {_UINT32}, and holds {number!r}")
    return tuple(dict.fromkeys(value))


def _file(value: object, folder: pathlib.Path) -> str:
    """A file to read, relative to the configuration's folder."""
    path = folder / os.path.expanduser(_text(value, folder))
    try:
        with path.open("rb"):
            return str(path)
    except OSError as error:
        raise ValueError(f"names {str(path)!r}, which cannot be read: {error.strerror}") from error


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
    if not isinstance(value, dict) or len(value) != 1:
        # Not what was found: it may be the secret in the wrong quotes.
        raise ValueError('is to be a text, { env = "NAME" } or { file = "path" }')
    (kind, name), *_ = value.items()
    if kind not in ("env", "file"):
        raise ValueError(f"has {kind!r}{suggestion(kind, ('env', 'file'))}")
    if not isinstance(name, str) or not name:
        raise ValueError(f"has {kind} = {name!r}, which is to be a name")
    source = EnvSecret(name) if kind == "env" else FileSecret(str(folder / os.path.expanduser(name)))
    try:
        source()
    except ConfigError as error:
        raise ValueError(f"cannot be had: {error}") from error
    return source


#: Kind -> how its values are taken in. "table" and "policy" are the reader's own.
KINDS: dict[str, Callable[[object, pathlib.Path], Any]] = {
    "text": _text,
    "flag": _flag,
    "port": _port,
    "numbers": _numbers,
    "file": _file,
    "secret file": _secret_file,
    "secret": _secret,
}

"""Secrets of a configuration: where they are, and that nobody else can read them there.

A secret is asked for at each login, so one that was replaced in its file is picked up by the next. It is in
no ``repr`` and in no error; and where an error is raised, no local variable holds it: some show tracebacks
with those.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import stat

from smarkets_pool.exceptions import ConfigError

__all__ = [
    "EnvSecret",
    "FileSecret",
    "LiteralSecret",
    "SecretSource",
    "private_file_problem",
    "who_else_reads",
]


@dataclasses.dataclass(frozen=True, slots=True)
class EnvSecret:
    """The value of an environment variable."""

    name: str

    def __call__(self) -> str:
        """The secret.

        Raises:
            ConfigError: the variable is not set, empty, or no text.
        """
        value, problem = _from_environment(self.name)
        if problem:
            raise ConfigError(f"the environment variable {self.name} {problem}")
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class FileSecret:
    """The text of a file, without the line's end."""

    path: str

    def __call__(self) -> str:
        """The secret.

        Raises:
            ConfigError: the file cannot be read, others can read it, or one line of text is not what it has.
        """
        value, problem = _from_file(self.path)
        if problem:
            raise ConfigError(f"the secret file {self.path!r} {problem}")
        return value


class LiteralSecret:
    """A secret that stands in the configuration itself.

    No dataclass, unlike the others: ``dataclasses.asdict`` of a configuration would have it in plain. Nor is
    it pickled.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "LiteralSecret()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LiteralSecret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __deepcopy__(self, memo: object) -> LiteralSecret:
        return self

    def __reduce__(self) -> str:
        raise TypeError('a secret is not pickled: say { env = "NAME" } or { file = "path" } instead')

    def __call__(self) -> str:
        """The secret."""
        return self._value


#: Bytes of a file that can be one.
_LONGEST = 1 << 16


def _from_environment(name: str) -> tuple[str, str]:
    """The secret, or what is wrong with it."""
    value = os.environ.get(name, "")
    if not value:
        return "", "is not set, or empty"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "", "is no UTF-8 text"
    return value, ""


def _from_file(path: str) -> tuple[str, str]:
    """The secret, or what is wrong with it."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            # A pipe gives what it has once, and a secret is asked for at each login.
            return "", "is no file that can be read again and again"
        with open(path, "rb") as file:
            who, remedy = who_else_reads(os.fstat(file.fileno()))
            data = file.read(_LONGEST + 1)
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        return "", f"cannot be read: {getattr(error, 'strerror', error)}"
    if who:
        return "", f"can be read by {who}: {remedy}"
    if len(data) > _LONGEST:
        return "", f"has more than {_LONGEST} bytes, which is no secret"
    try:
        value = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        return "", "is no UTF-8 text"
    if "\n" in value:
        return "", "has several lines, and a secret is one"
    return value, "" if value else "is empty"


SecretSource = EnvSecret | FileSecret | LiteralSecret


def who_else_reads(status: os.stat_result) -> tuple[str, str]:
    """Who can read a file beside us and root, and what to do about it; both empty if nobody can."""
    if status.st_uid not in (0, os.geteuid()):
        return f"its owner, user {status.st_uid}, who is not us", "chown it to us"
    others = [
        who
        for bits, who in ((stat.S_IRGRP, "its group"), (stat.S_IROTH, "everybody"))
        if status.st_mode & bits
    ]
    if not others:
        return "", ""
    return f"{' and '.join(others)} (mode {stat.S_IMODE(status.st_mode):04o})", "chmod 600 it"


def private_file_problem(path: pathlib.Path) -> str | None:
    """Why a file is not fit to hold a secret, or None."""
    try:
        who, remedy = who_else_reads(path.stat())
    except OSError as error:
        return f"{str(path)!r} cannot be read: {error.strerror}"
    return f"{str(path)!r} can be read by {who}: {remedy}" if who else None

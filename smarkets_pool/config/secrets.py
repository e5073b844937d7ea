"""Secrets of a configuration: where they are, and that nobody else can read them there.

A secret is asked for at each login, so one that was replaced in its file is picked up by the next. It is in
no ``repr`` and in no error.
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
            ConfigError: the variable is not set, or empty.
        """
        value = os.environ.get(self.name, "")
        if not value:
            raise ConfigError(f"the environment variable {self.name} is not set, or empty")
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class FileSecret:
    """The text of a file, without the line's end."""

    path: str

    def __call__(self) -> str:
        """The secret.

        Raises:
            ConfigError: the file cannot be read, is empty, or others can read it.
        """
        try:
            with open(self.path, encoding="utf-8") as file:
                others = who_else_reads(os.fstat(file.fileno()))
                value = file.read().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigError(f"the secret file {self.path!r} is no UTF-8 text") from None
        except OSError as error:
            raise ConfigError(f"the secret file {self.path!r} cannot be read: {error.strerror}") from error
        if others:
            raise ConfigError(f"the secret file {self.path!r} can be read by {others}: chmod 600 it")
        if not value:
            raise ConfigError(f"the secret file {self.path!r} is empty")
        return value


@dataclasses.dataclass(frozen=True, slots=True)
class LiteralSecret:
    """A secret that stands in the configuration itself."""

    value: str = dataclasses.field(repr=False)

    def __call__(self) -> str:
        """The secret."""
        return self.value


SecretSource = EnvSecret | FileSecret | LiteralSecret


def who_else_reads(status: os.stat_result) -> str:
    """Who can read a file beside us and root, as words of a sentence; empty if nobody."""
    if status.st_uid not in (0, os.geteuid()):
        return f"its owner, user {status.st_uid}, who is not us"
    others = [
        who
        for bits, who in ((stat.S_IRGRP, "its group"), (stat.S_IROTH, "everybody"))
        if status.st_mode & bits
    ]
    return f"{' and '.join(others)} (mode {stat.S_IMODE(status.st_mode):04o})" if others else ""


def private_file_problem(path: pathlib.Path) -> str | None:
    """Why a file is not fit to hold a secret, or None."""
    try:
        others = who_else_reads(path.stat())
    except OSError as error:
        return f"{str(path)!r} cannot be read: {error.strerror}"
    return f"{str(path)!r} can be read by {others}: chmod 600 it" if others else None

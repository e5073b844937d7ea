"""What is wrong with a file, and on which line.

The TOML parser gives values without lines. But it also reads a file's statements one at a time: lines are
added up until they are TOML, and what they then say belongs to the first of them. So the lines come from
the parser's own understanding of the file, and none of ours.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Collection, Iterator
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Locator", "Path", "Problem", "Problems", "parse", "suggestion"]

#: Where a value stands: the names of its tables, the last one its own.
Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. ``line`` counts from 1; None if the file as a whole is meant."""

    line: int | None
    path: str
    text: str

    def __str__(self) -> str:
        where = ([f"line {self.line}"] if self.line is not None else []) + ([self.path] if self.path else [])
        return f"{', '.join(where)}: {self.text}" if where else self.text


def parse(text: str) -> tuple[dict[str, Any], Problem | None]:
    """What TOML makes of a text; an empty table and the problem if it is none."""
    try:
        return tomllib.loads(text), None
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        line = None
        if "(at line " in said:
            line = int(said.rpartition("(at line ")[2].partition(",")[0])
        elif "at end of document" in said:
            line = text.count("\n") + 1
        return {}, Problem(line, "", f"this is no TOML: {said}")


class Locator:
    """Finds the lines of the values in a text that TOML can read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: dict[Path, int] | None = None

    def line_of(self, path: Path) -> int | None:
        """The line, from 1, where the value at ``path`` or its nearest table begins; None for the file."""
        if self._lines is None:
            self._lines = dict(_statements(self._text))
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None


def _statements(text: str) -> Iterator[tuple[Path, int]]:
    """Path and line of everything a text says; the last ones first, so that the first ones stay."""
    found: list[tuple[Path, int]] = []
    table: Path = ()
    statement, start = "", 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not statement:
            if line.strip()[:1] in ("", "#"):
                continue
            start = number
        statement += line
        try:
            said = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # it goes on over the next line
        paths = list(_paths(said))
        if statement.lstrip().startswith("["):
            table, paths = paths[-1], [paths[-1][:length] for length in range(1, len(paths[-1]) + 1)]
            found += [(path, start) for path in paths]
        else:
            found += [(table + path, start) for path in paths]
        statement = ""
    return reversed(found)


def _paths(said: Any, path: Path = ()) -> Iterator[Path]:
    """Every path in a value, outer ones first."""
    if path:
        yield path
    if isinstance(said, list) and len(said) == 1:
        said = said[0]  # the header of an array of tables
    if isinstance(said, dict):
        for name, value in said.items():
            yield from _paths(value, (*path, name))


class Problems:
    """Collects problems of one file."""

    def __init__(self, text: str) -> None:
        self._locator = Locator(text)
        self.found: list[Problem] = []

    def add(self, path: Path, text: str) -> None:
        """Something is wrong with the value at ``path``."""
        self.found.append(Problem(self._locator.line_of(path), ".".join(map(_quoted, path)), text))

    def in_order(self) -> tuple[Problem, ...]:
        """All of them, by line."""
        return tuple(sorted(self.found, key=lambda problem: problem.line or 0))


def suggestion(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or all of them if few."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(known)}" if known else ""


def _quoted(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isalnum() and plain.isascii() else f'"{name}"'

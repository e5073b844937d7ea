"""What is wrong with a file, and on which line.

The TOML parser gives values without lines. But it also reads a file's statements one at a time: lines are
added up until they are TOML, and what they then say belongs to the first of them. So the lines come from
the parser's own understanding of the file, and none of ours.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Collection, Iterator
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Locator", "Path", "Problem", "Problems", "in_toml", "in_words", "parse", "suggestion"]

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


#: What the parser says -> what a person has most likely done.
_LIKELY = {
    "Invalid value": "a text needs quotes",
    "Illegal character '\\n'": "a closing quote may be missing",
    "Cannot overwrite a value": "this key stands here twice",
    "twice": "put it all under one of the two headings",
    "Unescaped '\\'": "in single quotes a backslash is just that",
}


def parse(text: str) -> tuple[dict[str, Any], Problem | None]:
    """What TOML makes of a text; an empty table and the problem if it is none."""
    try:
        return tomllib.loads(text), None
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, brackets 1,000 deep
        said = str(error)
        line = None
        if "(at line " in said:
            line = int(said.rpartition("(at line ")[2].partition(",")[0])
        elif "at end of document" in said:
            line = _unfinished(text) or text.count("\n") + 1
        likely = next((f"; {hint}" for what, hint in _LIKELY.items() if what in said), "")
        return {}, Problem(line, "", f"this is no TOML: {said}{likely}")


def _unfinished(text: str) -> int | None:
    """Where the statement begins that goes on to the end of the file."""
    if text.count("\n") > _SHORT:
        return None
    return next((start for start, _, said in _statements(text) if said is None), None)


#: Characters of a value in a sentence.
_LONG = 60


def in_toml(value: object) -> str:
    """A value fit for a sentence: single ones as they stand in a file, others only by what they are."""
    if isinstance(value, (dict, list)):
        # What stands in them may be a secret that slipped.
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    said = repr(value) if isinstance(value, str) else str(value)
    return said if len(said) <= _LONG else f"{said[:_LONG]}..."


class Locator:
    """Finds the lines of the values in a text that TOML can read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: dict[Path, int] | None = None

    def line_of(self, path: Path) -> int | None:
        """The line, from 1, where the value at ``path`` or its nearest table begins; None for the file."""
        if self._lines is None:
            self._lines = _lines(self._text)
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None


#: Up to so many lines one looks for the beginning of a statement without an end, which is tried at each.
_SHORT = 500
#: With one of these ends every statement of several lines. To try at each of their lines would cost the
#: square of their number.
_ENDS = ("]", "}", '"""', "'''")


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    """Every statement of a text: its first line, itself, and what it says; None if it never ends."""
    statement, start = "", 0
    # Not ``splitlines``: TOML's lines end with nothing else, and texts and comments can hold the rest.
    for number, line in enumerate(text.split("\n"), 1):
        if not statement:
            if line.strip()[:1] in ("", "#"):
                continue
            start = number
        begins = not statement
        statement += line + "\n"
        if not begins and not any(end in line for end in _ENDS):
            continue
        try:
            said = tomllib.loads(statement)
        except (ValueError, RecursionError):
            continue  # it goes on over the next line
        yield start, statement, said
        statement = ""
    if statement:
        yield start, statement, None


def _lines(text: str) -> dict[Path, int]:
    """The first line of everything a text says."""
    found: dict[Path, int] = {}
    table: Path = ()
    for start, statement, said in _statements(text):
        paths = list(_paths(said))
        if statement.lstrip().startswith("["):
            table = paths[-1]
            paths = [table[:length] for length in range(1, len(table) + 1)]
        else:
            paths = [table + path for path in paths]
        for path in paths:
            found.setdefault(path, start)
    return found


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
        self.found.append(Problem(self._locator.line_of(path), in_words(path), text))

    def in_order(self) -> tuple[Problem, ...]:
        """All of them, by line."""
        return tuple(sorted(self.found, key=lambda problem: problem.line or 0))


def suggestion(name: str, known: Collection[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, or all of them if few."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there are {', '.join(known)}" if known else ""


def in_words(path: Path) -> str:
    """A path as it would stand in a heading."""
    return ".".join(map(_quoted, path))


def _quoted(name: str) -> str:
    plain = name.replace("-", "").replace("_", "")
    return name if plain.isalnum() and plain.isascii() else json.dumps(name, ensure_ascii=False)

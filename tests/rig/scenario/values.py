"""What stands behind the ``=`` of a field: words, texts, lists, groups, and the marks of a pattern.

=================  =============================================================================
``2500``           this value; an enum by its short name: ``side=BUY``
``"two words"``    a text; a ``*`` in it stands for anything
``[a, b]``         a list of exactly these; ``[a, ...]`` of these and then anything
``{x=1 y=2}``      a message with these fields
``5000:100000``    the same by position: the fields in the order of the schema
``*``              there, whatever it is
``absent``         not there
``$order``         the first time: keep what came; later: what was kept. ``$order+1`` is one more
=================  =============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "ABSENT",
    "ANYTHING",
    "Group",
    "ListOf",
    "Mistake",
    "Value",
    "Word",
    "fields_of",
    "parse_value",
    "split_words",
    "without_comment",
]

ANYTHING = "*"
ABSENT = "absent"
_CLOSES = {"[": "]", "{": "}"}
_CAPTURE = re.compile(r"\$(\w+(?:\.\w+)?)([+-]\d+)?$")
_KEY = re.compile(r"([A-Za-z_][\w.]*)=")


class Mistake(ValueError):
    """Something that a script writes and that means nothing there."""


@dataclass(frozen=True)
class Word:
    """One value; ``quoted`` ones are texts and nothing else."""

    text: str
    quoted: bool = False

    def __str__(self) -> str:
        return f'"{self.text}"' if self.quoted else self.text

    @property
    def capture(self) -> tuple[str, int] | None:
        """``("order", 1)`` for ``$order+1``."""
        found = None if self.quoted else _CAPTURE.match(self.text)
        return (found[1], int(found[2] or 0)) if found else None


@dataclass(frozen=True)
class ListOf:
    """A list of values."""

    items: tuple[Value, ...]

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.items))}]"


@dataclass(frozen=True)
class Group:
    """The fields of a message inside a message."""

    fields: dict[str, Value]

    def __str__(self) -> str:
        return "{" + " ".join(f"{name}={value}" for name, value in self.fields.items()) + "}"


Value = Word | ListOf | Group


def split_words(text: str, separators: str = " \t") -> list[str]:
    """Cut at separators outside of quotes and brackets; empty pieces are left out.

    Raises:
        Mistake: a bracket or quote without its other half.
    """
    words, word, open_ = [], "", ""
    quoted = False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in _CLOSES:
            open_ += _CLOSES[letter]
        elif not quoted and open_ and letter == open_[-1]:
            open_ = open_[:-1]
        elif not quoted and letter in "]}":
            raise Mistake(f"a {letter} that nothing opened")
        if letter in separators and not quoted and not open_:
            words.append(word)
            word = ""
        else:
            word += letter
    if quoted or open_:
        raise Mistake('a " without its other half' if quoted else f"a {open_[-1]} is missing")
    return [piece.strip() for piece in [*words, word] if piece.strip()]


def without_comment(line: str) -> str:
    """The line up to a ``#`` that stands at its beginning or behind a space, and in no text."""
    quoted = False
    for index, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif letter == "#" and not quoted and (index == 0 or line[index - 1].isspace()):
            return line[:index].rstrip()
    return line.rstrip()


def parse_value(text: str) -> Value:
    """One value.

    Raises:
        Mistake: it is none.
    """
    if text.startswith("[") and text.endswith("]"):
        return ListOf(tuple(parse_value(item) for item in split_words(text[1:-1], ", \t")))
    if text.startswith("{") and text.endswith("}"):
        return Group(dict(_fields(split_words(text[1:-1], ", \t"))))
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        return Word(text[1:-1], quoted=True)
    if not text or any(letter in text for letter in '"[]{}='):
        raise Mistake(f"{text!r} is no value")
    return Word(text)


def fields_of(words: list[str]) -> tuple[list[str], dict[str, Value]]:
    """Split words into those that stand alone and the fields among them.

    Raises:
        Mistake: a field is there twice or has no value.
    """
    alone = [word for word in words if not _KEY.match(word)]
    pairs = list(_fields([word for word in words if _KEY.match(word)]))
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Mistake("a field is written twice")
    return alone, fields


def _fields(words: list[str]) -> Iterator[tuple[str, Value]]:
    for word in words:
        key = _KEY.match(word)
        if key is None:
            raise Mistake(f"{word!r} is no field: write name=value")
        yield key[1], parse_value(word[key.end() :])

"""The talk of a scenario, written down as it goes; a failure shows all of it beside what was expected."""

from __future__ import annotations

import itertools
import textwrap
from dataclasses import dataclass, field

from tests.rig.scenario.matching import Difference

__all__ = ["ScenarioFailed", "TalkRecord"]

_WIDTH = 58


class ScenarioFailed(AssertionError):
    """What happened is not what the script says; the text is the diff."""


@dataclass
class _Entry:
    at: float
    line: int
    expected: str
    happened: str
    differences: list[Difference] = field(default_factory=list)


class TalkRecord:
    """What was expected and what happened, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._entries: list[_Entry] = []

    def add(self, at: float, line: int, expected: str, happened: str) -> None:
        """Note what went as the script has it."""
        self._entries.append(_Entry(at, line, expected, happened))

    def failure(
        self,
        at: float,
        line: int,
        expected: str,
        happened: str,
        why: str,
        *,
        differences: list[Difference] | None = None,
        unread: list[str] | None = None,
    ) -> ScenarioFailed:
        """The error to raise for what did not."""
        self._entries.append(_Entry(at, line, expected, happened, differences or []))
        head = f"{self.name}, line {line}: {why}"
        rows = [
            f"  {'second':>9} {'line':>4}   {'expected':<{_WIDTH}} | happened",
            *itertools.chain.from_iterable(self._rows(entry) for entry in self._entries),
        ]
        if unread:
            rows += ["", "  not read yet:", *(f"    {one}" for one in unread)]
        return ScenarioFailed("\n".join([head, "", *rows]))

    def _rows(self, entry: _Entry) -> list[str]:
        is_last = entry is self._entries[-1]
        left = textwrap.wrap(entry.expected, _WIDTH) or [""]
        right = textwrap.wrap(entry.happened, _WIDTH) or [""]
        rows = []
        for index, (mine, theirs) in enumerate(itertools.zip_longest(left, right, fillvalue="")):
            place = f"{entry.at:9.3f} {entry.line:4d}" if index == 0 else " " * 14
            rows.append(f"{'*' if is_last else ' '} {place}   {mine:<{_WIDTH}} | {theirs}".rstrip())
        for difference in entry.differences:
            rows += [
                f"  {'':14} - {difference.what}: {difference.expected}",
                f"  {'':14} + {difference.what}: {difference.found}",
            ]
        return rows

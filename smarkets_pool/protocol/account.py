"""The account's own numbers: which events were seen, which were missed while away.

Beside the numbers of a session, every event of an account carries the next number of one counter that
outlives sessions. A login names the last handled one, P, and the exchange sends what came after it
(whether it starts at P or at P + 1 is not documented; both are served here). Rules, in the order tried:

=====================================  ==================================================
number                                 verdict
=====================================  ==================================================
the next one, or the first ever        IN_ORDER
not above the last seen, a replay      DUPLICATE: drop it; it proves the history reaches back
not above the last seen, live          REGRESSED: the exchange lost its state; deliver, announced
further on, a replay while resuming    HOLE: it cannot be had any more; deliver, announced
further on, otherwise                  LOST: reconnect and resume; the event comes again then
=====================================  ==================================================
"""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["AccountSequence", "AccountVerdict", "Verdict"]


class Verdict(enum.Enum):
    """What to do with an event of an account; the table is in the module's text."""

    IN_ORDER = "in order"
    DUPLICATE = "duplicate"
    REGRESSED = "regressed"
    HOLE = "hole"
    LOST = "lost"


@dataclasses.dataclass(frozen=True, slots=True)
class AccountVerdict:
    """A verdict with the bounds of what is missing (HOLE, LOST) or in doubt (REGRESSED), else 0."""

    verdict: Verdict
    first: int = 0
    last: int = 0


_IN_ORDER = AccountVerdict(Verdict.IN_ORDER)
_DUPLICATE = AccountVerdict(Verdict.DUPLICATE)


class AccountSequence:
    """Follows one account's numbers over all its sessions in this process."""

    __slots__ = ("_resuming", "last_seen")

    def __init__(self, position: int | None = None) -> None:
        #: The highest number let through, or None before the first.
        self.last_seen = position
        self._resuming = False

    def __repr__(self) -> str:
        mode = "resuming" if self._resuming else "live"
        return f"<AccountSequence {mode}, last seen {self.last_seen}>"

    def begin_resume(self, asked: int | None) -> None:
        """A login went out that asks for events from ``asked`` (None: it asks for none)."""
        self._resuming = asked is not None
        if asked is not None and self.last_seen is None:
            # Asked from the start: number 1 is the next one expected.
            self.last_seen = asked - 1

    def end_resume(self) -> None:
        """Everything the exchange still had has arrived."""
        self._resuming = False

    def check(self, number: int, *, is_replay: bool) -> AccountVerdict:
        """Judge an event and, unless it is to be dropped or fetched again, count it as seen."""
        seen = self.last_seen
        if seen is None or number == seen + 1:
            self.last_seen = number
            return _IN_ORDER
        if number <= seen:
            if is_replay:
                return _DUPLICATE
            self.last_seen = number
            return AccountVerdict(Verdict.REGRESSED, number, seen)
        if not (self._resuming and is_replay):
            return AccountVerdict(Verdict.LOST, seen + 1, number - 1)
        self.last_seen = number
        return AccountVerdict(Verdict.HOLE, seen + 1, number - 1)

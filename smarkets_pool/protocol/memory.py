"""What one side of a session remembers of what it sent, for the peer's replay requests."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

__all__ = ["Journal", "JournalEntry", "SessionMemory"]

#: How many sent payloads are kept; the vendor's Erlang client keeps 20, an exchange must keep more.
DEFAULT_LIMIT = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class JournalEntry:
    """One sent number. ``data`` is None for what is never sent again (login, heartbeat, ...)."""

    name: str
    data: bytes | None
    sent_at: float


class Journal:
    """The last ``limit`` sent payloads by number. A login is remembered only as a number: no secret here."""

    __slots__ = ("_entries", "_limit")

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._entries: OrderedDict[int, JournalEntry] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Journal {len(self)} of {self._limit}>"

    def add(self, seq: int, entry: JournalEntry) -> None:
        """Remember what went out as ``seq``; the oldest entry leaves when there are too many."""
        self._entries[seq] = entry
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def get(self, seq: int) -> JournalEntry | None:
        """The entry of ``seq``, or None if it has left the journal or was never used."""
        return self._entries.get(seq)


@dataclasses.dataclass(slots=True)
class SessionMemory:
    """What a session needs to go on over a new connection: both next numbers and the journal."""

    inseq: int = 1
    outseq: int = 1
    journal: Journal = dataclasses.field(default_factory=Journal)

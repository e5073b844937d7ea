"""What one side of a session remembers of what it sent, for the peer's replay requests."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import NamedTuple

__all__ = ["Journal", "JournalEntry", "SessionMemory"]

#: How many sent payloads are kept; the vendor's Erlang client keeps 20, an exchange must keep more.
DEFAULT_LIMIT = 1000
#: And how many bytes of them, whatever their number: a peer may have asked for a thousand large ones.
DEFAULT_BYTES = 1 << 20


class JournalEntry(NamedTuple):
    """One sent number. ``data`` is None for what is never sent again (login, heartbeat, ...)."""

    name: str
    data: bytes | None
    sent_at: float


class Journal:
    """The last ``limit`` sent payloads by number, or as many of them as have ``most_bytes`` together.

    The very last is there whatever its size. A login is remembered only as a number: no secret here.
    """

    __slots__ = ("_bytes", "_entries", "_limit", "_most_bytes")

    def __init__(self, limit: int = DEFAULT_LIMIT, most_bytes: int = DEFAULT_BYTES) -> None:
        self._entries: OrderedDict[int, JournalEntry] = OrderedDict()
        self._limit = limit
        self._most_bytes = most_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Journal {len(self)} of {self._limit}>"

    def add(self, seq: int, entry: JournalEntry) -> None:
        """Remember what went out as ``seq``, a new number; the oldest entries leave when it is too much."""
        entries = self._entries
        entries[seq] = entry
        self._bytes += len(entry.data or b"")
        while len(entries) > self._limit or (self._bytes > self._most_bytes and len(entries) > 1):
            _, gone = entries.popitem(last=False)
            self._bytes -= len(gone.data or b"")

    def get(self, seq: int) -> JournalEntry | None:
        """The entry of ``seq``, or None if it has left the journal or was never used."""
        return self._entries.get(seq)


@dataclasses.dataclass(slots=True)
class SessionMemory:
    """What a session needs to go on over a new connection: both next numbers and the journal."""

    inseq: int = 1
    outseq: int = 1
    journal: Journal = dataclasses.field(default_factory=Journal)

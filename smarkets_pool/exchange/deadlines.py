"""``Deadlines``: which connection wants to be called next, without looking at all of them.

A heap that may hold a time that is too early, never one that is too late: most of what happens on a
connection only puts its deadline off, and that costs nothing until the old one has come.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smarkets_pool.exchange.peer import Peer

__all__ = ["Deadlines"]


class Deadlines:
    """The deadlines of one exchange's connections."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Peer]] = []
        self._count = 0
        #: The one entry of the heap that counts for a connection; others of it are left over.
        self._noted: dict[Peer, float] = {}

    def __repr__(self) -> str:
        return f"<Deadlines of {len(self._noted)} connections>"

    def note(self, peer: Peer, due: float | None) -> bool:
        """A connection's deadline may have changed; whether it is now the earliest of all."""
        if due is None:
            return False
        noted = self._noted.get(peer)
        if noted is None or due < noted:
            self._noted[peer] = due
            self._count += 1
            heapq.heappush(self._heap, (due, self._count, peer))
            return self._heap[0][0] == due
        return False

    def forget(self, peer: Peer) -> None:
        """A connection has no deadline any more."""
        self._noted.pop(peer, None)

    def take_due(self, now: float) -> list[Peer]:
        """The connections whose time has come, in order; each is to be noted again afterwards."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            when, _, peer = heapq.heappop(self._heap)
            if self._noted.get(peer) == when:
                del self._noted[peer]
                due.append(peer)
        return due

    def earliest(self) -> float | None:
        """The earliest deadline; exact, since those that were put off are set right on the way."""
        while self._heap:
            when, _, peer = self._heap[0]
            if self._noted.get(peer) != when:
                heapq.heappop(self._heap)
                continue
            due = peer.next_deadline()
            if due == when:
                return when
            heapq.heappop(self._heap)
            del self._noted[peer]
            self.note(peer, due)
        return None

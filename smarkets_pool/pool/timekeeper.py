"""``Timekeeper``: one timer for every deadline of every member.

Whoever has deadlines says when the next one is (``next_deadline``). Most of them only ever move away
(each frame postpones the peer's silence), so nobody reports that: when a time comes that has moved,
the timekeeper asks again and goes back to sleep.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

from smarkets_pool.pool.runtime import Runtime, Timer

__all__ = ["HasDeadlines", "Timekeeper"]


class HasDeadlines(Protocol):
    """Something with deadlines, called in the hub: it must not block, log or raise."""

    def next_deadline(self) -> float | None: ...
    def on_deadline(self, now: float) -> None: ...


class Timekeeper:
    """Serves deadlines in order of time; ``on_error`` hears of one that raised."""

    def __init__(self, runtime: Runtime, on_error: Callable[[HasDeadlines, BaseException], None]) -> None:
        self._runtime = runtime
        self._on_error = on_error
        self._heap: list[tuple[float, int, HasDeadlines]] = []
        self._scheduled: dict[HasDeadlines, tuple[float, int]] = {}
        self._order = itertools.count()
        self._timer: Timer | None = None
        self._timer_at = float("inf")

    def __len__(self) -> int:
        """How many are being watched."""
        return len(self._scheduled)

    def watch(self, client: HasDeadlines) -> None:
        """Look at ``client``'s next deadline; needed when it may have come nearer."""
        when = client.next_deadline()
        if when is None:
            return
        known = self._scheduled.get(client)
        if known is not None and known[0] <= when:
            return
        self._schedule(client, when)
        self._arm()

    def forget(self, client: HasDeadlines) -> None:
        """Serve this one no more."""
        self._scheduled.pop(client, None)

    def stop(self) -> None:
        """Serve nobody any more."""
        self._scheduled.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, client: HasDeadlines, when: float) -> None:
        entry = (when, next(self._order), client)
        self._scheduled[client] = entry[:2]
        heapq.heappush(self._heap, entry)

    def _arm(self) -> None:
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._runtime.call_later(when - self._runtime.now(), self._fire)

    def _fire(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._runtime.now()
        # All that is due now, then a turn of the loop: one that asks again for a moment that has passed
        # may wait for a callback, which would never come if it was served here again and again.
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap))
        for when, order, client in due:
            if self._scheduled.get(client) != (when, order):
                continue  # moved nearer, or forgotten
            del self._scheduled[client]
            self._serve(client, now)
        self._arm()

    def _serve(self, client: HasDeadlines, now: float) -> None:
        try:
            due = client.next_deadline()
            if due is not None and due <= now:
                client.on_deadline(now)
                due = client.next_deadline()
        except BaseException as error:  # noqa: BLE001 - an error must not stop everybody's clock
            self._on_error(client, error)
            due = now + 1.0  # whatever is wrong with it, its other deadlines go on
        if due is not None and client not in self._scheduled:
            # Never in the past: a client that cannot meet its deadline must not spin the hub.
            self._schedule(client, max(due, now + 0.001))

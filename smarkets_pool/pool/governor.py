"""``Governor``: paces logins over the whole pool.

A token bucket (rate and burst of the pool's ``ReconnectPolicy``) limits how many members connect at
once, however many lost their connections together. While the exchange says DOWNTIME, one member (the
canary) probes and the others wait; when it is UP the rest follow at the bucket's pace.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.pool.timekeeper import Timekeeper

if TYPE_CHECKING:
    from smarkets_pool.pool.member import Member

__all__ = ["Governor"]


class Governor:
    """Admits members to their next login attempt, first come first served."""

    def __init__(self, runtime: Runtime, timekeeper: Timekeeper, *, rate: float, burst: int) -> None:
        self._runtime = runtime
        self._timekeeper = timekeeper
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._filled_at = runtime.now()
        self._queue: deque[tuple[Member, Callable[[], None]]] = deque()
        self._paused = False
        self._canary: Member | None = None
        self.admitted = 0

    def __repr__(self) -> str:
        paused = ", paused" if self._paused else ""
        return f"<Governor {len(self._queue)} waiting{paused}>"

    def ask(self, member: Member, admit: Callable[[], None]) -> None:
        """Queue a member; ``admit`` is called, in the hub or at once, when it may connect."""
        self._queue.append((member, admit))
        self._admit(self._runtime.now())
        self._timekeeper.watch(self)

    def withdraw(self, member: Member) -> None:
        """Forget a member that no longer wants to connect."""
        self._queue = deque(entry for entry in self._queue if entry[0] is not member)
        if self._canary is member:
            self._canary = None
            self._timekeeper.watch(self)

    def failed(self, member: Member, *, downtime: bool) -> None:
        """A member's attempt or session ended; ``downtime`` if the exchange said so."""
        if downtime:
            self._paused = True
        if self._canary is member:
            self._canary = None
            self._timekeeper.watch(self)

    def succeeded(self, member: Member) -> None:
        """A member logged in: whatever downtime there was is over."""
        self._paused = False
        if self._canary is member:
            self._canary = None
        self._timekeeper.watch(self)

    def snapshot(self) -> dict[str, Any]:
        """Plain data for ``stats()``."""
        return {
            "waiting": len(self._queue),
            "paused": self._paused,
            "canary": self._canary.account.name if self._canary is not None else None,
            "admitted_total": self.admitted,
        }

    # --- time ------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When the next member may be admitted, or None if none waits or all wait for the canary."""
        if not self._queue or (self._paused and self._canary is not None):
            return None
        return self._filled_at + max(0.0, 1.0 - self._tokens) / self._rate

    def on_deadline(self, now: float) -> None:
        """Admit whom the bucket allows."""
        self._admit(now)

    def _admit(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        # A hair under one token is one: the deadline above is computed in floats too.
        while self._queue and self._tokens >= 1.0 - 1e-9:
            if self._paused:
                if self._canary is not None:
                    return
                self._canary = self._queue[0][0]
            _, admit = self._queue.popleft()
            self._tokens -= 1.0
            self.admitted += 1
            admit()

"""``Governor``: paces logins over the whole pool.

A token bucket (rate and burst of the pool's ``ReconnectPolicy``) limits how many members connect at
once, however many lost their connections together. While the exchange says DOWNTIME the pool pauses:
one member at a time (the canary) probes, with growing delays between the probes, and the others wait;
when a canary gets in, the rest follow at the bucket's pace.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from smarkets_pool.account import Account
from smarkets_pool.policies import Backoff
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.pool.timekeeper import Timekeeper

__all__ = ["Candidate", "Governor"]


class Candidate(Protocol):
    """Who wants to log in."""

    account: Account


class Governor:
    """Admits members to their next login attempt, first come first served."""

    def __init__(
        self, runtime: Runtime, timekeeper: Timekeeper, *, rate: float, burst: int, backoff: Backoff
    ) -> None:
        self._runtime = runtime
        self._timekeeper = timekeeper
        self._rate = rate
        self._burst = float(burst)
        self._tokens = float(burst)
        self._filled_at = runtime.now()
        self._queue: deque[tuple[Candidate, Callable[[], None]]] = deque()
        self._backoff = backoff
        self._downtimes = 0
        self._paused_until = 0.0
        self._canary: Candidate | None = None
        self.admitted = 0

    def __repr__(self) -> str:
        paused = ", paused" if self._downtimes else ""
        return f"<Governor {len(self._queue)} waiting{paused}>"

    def ask(self, candidate: Candidate, admit: Callable[[], None]) -> None:
        """Queue a member; ``admit`` is called, in the hub or at once, when it may connect."""
        self._queue.append((candidate, admit))
        self._admit(self._runtime.now())
        self._timekeeper.watch(self)

    def withdraw(self, candidate: Candidate) -> None:
        """Forget a member that no longer wants to connect."""
        self._queue = deque(entry for entry in self._queue if entry[0] is not candidate)
        if self._canary is candidate:
            self._canary = None
            self._timekeeper.watch(self)

    def failed(self, candidate: Candidate, *, downtime: bool) -> None:
        """A member's attempt or session ended; ``downtime`` if the exchange said so."""
        now = self._runtime.now()
        probe_failed = self._downtimes > 0 and self._canary is candidate
        if (downtime or probe_failed) and now >= self._paused_until:
            # One step per probe, however many sessions the downtime ended together.
            self._downtimes += 1
            self._paused_until = now + self._backoff.delay(self._downtimes, self._runtime.random)
        if self._canary is candidate:
            self._canary = None
            self._timekeeper.watch(self)

    def succeeded(self, candidate: Candidate) -> None:
        """A member logged in: whatever downtime there was is over."""
        self._downtimes = 0
        self._paused_until = 0.0
        if self._canary is candidate:
            self._canary = None
        self._timekeeper.watch(self)

    def snapshot(self) -> dict[str, Any]:
        """Plain data for ``stats()``."""
        return {
            "waiting": len(self._queue),
            "paused": self._downtimes > 0,
            "canary": self._canary.account.name if self._canary is not None else None,
            "admitted_total": self.admitted,
        }

    # --- time ------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When the next member may be admitted, or None if none waits or all wait for the canary."""
        if not self._queue or (self._downtimes and self._canary is not None):
            return None
        return max(self._paused_until, self._filled_at + max(0.0, 1.0 - self._tokens) / self._rate)

    def on_deadline(self, now: float) -> None:
        """Admit whom the bucket allows."""
        self._admit(now)

    def _admit(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        # A hair under one token is one: the deadline above is computed in floats too.
        while self._queue and self._tokens >= 1.0 - 1e-9:
            if self._downtimes:
                if self._canary is not None or now < self._paused_until:
                    return
                self._canary = self._queue[0][0]
            _, admit = self._queue.popleft()
            self._tokens -= 1.0
            self.admitted += 1
            admit()

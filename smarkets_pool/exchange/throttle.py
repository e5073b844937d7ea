"""How much a session may send: the token bucket that ``throttle_limits_changed`` announces.

Each tick adds ``rate * tick`` tokens up to ``burst``, each message takes one (fact sheet 3.6). What only
keeps a session going (heartbeats, replays, gapfills, login, logout) takes none.
"""

from __future__ import annotations

import dataclasses

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["FREE", "Throttle", "ThrottleLimits"]

#: Payload names that take no token.
FREE = frozenset({"eto.heartbeat", "eto.replay", "eto.gapfill", "seto.login", "eto.login", "eto.logout"})
#: Parts of a token, so that a refill is a whole number of them: a tick of one millisecond at one a second.
_PARTS = 1000
#: A tick counts from a billionth before its time: sums of floats fall short of it by less.
_EARLY = 1e-9
_HIGHEST = 2**32 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class ThrottleLimits:
    """The announced figures: messages per second on average, at once, and milliseconds between refills.

    Raises:
        UsageError: one of them is no whole number from 1 that fits the wire.
    """

    rate: int
    burst: int
    tick_ms: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _HIGHEST:
                raise UsageError(
                    f"the throttle's {field.name} is a whole number from 1 to {_HIGHEST}, not {value!r}"
                )

    @classmethod
    def of(cls, settings: ExchangeSettings) -> ThrottleLimits:
        """Those an exchange begins with."""
        return cls(settings.throttle_rate, settings.throttle_burst, settings.throttle_tick_ms)

    def announcement(self) -> seto.ThrottleLimitsChanged:
        """What clients are told."""
        return seto.ThrottleLimitsChanged(
            average_rate_ps=self.rate, burst_size=self.burst, tick_ms=self.tick_ms
        )


class Throttle:
    """One session's bucket; it begins full."""

    __slots__ = ("_began", "_level", "_ticks", "limits")

    def __init__(self, limits: ThrottleLimits, now: float) -> None:
        self.limits = limits
        self._began = now
        self._ticks = 0
        self._level = limits.burst * _PARTS

    def __repr__(self) -> str:
        return f"<Throttle {self._level / _PARTS:g} of {self.limits.burst} left>"

    def take(self, now: float) -> bool:
        """Take a token for a message; False if there is none."""
        limits = self.limits
        if self._level < limits.burst * _PARTS:
            self._refill(now)
        if self._level < _PARTS:
            return False
        if self._level == limits.burst * _PARTS:
            # Ticks of a full bucket add nothing: the next refill is a tick after this message's tick.
            self._ticks = self._ticks_at(now)
        self._level -= _PARTS
        return True

    def change(self, limits: ThrottleLimits, now: float) -> None:
        """Other figures from now on; what is in the bucket stays, as far as it fits."""
        self._refill(now)
        self.limits = limits
        self._level = min(self._level, limits.burst * _PARTS)
        self._began, self._ticks = now, 0

    def _ticks_at(self, now: float) -> int:
        return int((now - self._began + _EARLY) * 1000 / self.limits.tick_ms)

    def _refill(self, now: float) -> None:
        limits, ticks = self.limits, self._ticks_at(now)
        added = (ticks - self._ticks) * limits.rate * limits.tick_ms
        self._ticks = ticks
        self._level = min(limits.burst * _PARTS, self._level + added)

"""Policies: immutable values that answer "what next", shared by a pool or given to one account.

Times are lengths in seconds. A policy keeps no history: the caller passes in what happened and gets a
decision, so one value serves any number of accounts at once.

What a cause leads to (``ReconnectPolicy.classify``):

=======================================================================  ========================
cause                                                                    decision
=======================================================================  ========================
network errors, refused, DNS, timeouts, the logout reasons               retry
SERVICE_TEMPORARILY_UNAVAILABLE, HEARTBEAT_TIMEOUT, LOGIN_TIMEOUT, NONE,
CONFIRMATION unasked, UNKNOWN_SESSION, no reason, an unknown one
logout DOWNTIME                                                          the pool pauses, one probes
LOGIN_NOT_FIRST_SEQ, protocol errors                                     retry 3 times, then give up
UNAUTHORISED, UNVERIFIED, certificates                                   final for that account
=======================================================================  ========================
"""

from __future__ import annotations

import dataclasses
import enum
import random as _random
from collections.abc import Callable

from smarkets_pool.exceptions import (
    ConfigError,
    LoginError,
    ProtocolError,
    SequenceGapError,
    TlsError,
    UsageError,
)
from smarkets_pool.protocol.timing import Timing
from smarkets_pool.wire.schema import eto_pb2 as eto

__all__ = ["Attempts", "Backoff", "Deadline", "Decision", "ReconnectPolicy", "TimeoutPolicy", "Trouble"]


def _require(holder: object, field: str, ok: bool, expected: str) -> None:
    if not ok:
        value = getattr(holder, field)
        raise ConfigError(f"{type(holder).__name__}({field}={value!r}): expected {expected}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that grow: attempt n waits up to ``min(cap, initial * factor ** (n - 1))`` seconds.

    ``jitter`` is the random share of it, taken off *after* the cap, so that many clients that all sit
    at the cap still do not act at once: with 1.0 ("full jitter", the default) the delay is anything
    between 0 and that length, with 0 it is exactly that length.

    >>> [Backoff(jitter=0).delay(n) for n in (1, 2, 3, 8, 100)]
    [0.5, 1.0, 2.0, 60.0, 60.0]
    """

    initial: float = 0.5
    cap: float = 60.0
    factor: float = 2.0
    jitter: float = 1.0

    def __post_init__(self) -> None:
        _require(self, "initial", _is_number(self.initial) and self.initial >= 0, "seconds, 0 or more")
        _require(self, "cap", _is_number(self.cap) and self.cap >= self.initial, "seconds, initial or more")
        _require(self, "factor", _is_number(self.factor) and self.factor >= 1, "1 or more")
        _require(self, "jitter", _is_number(self.jitter) and 0 <= self.jitter <= 1, "a share from 0 to 1")

    def ceiling(self, attempt: int) -> float:
        """The longest delay before attempt ``attempt`` (from 1)."""
        if attempt < 1:
            raise UsageError(f"attempts are numbered from 1, not {attempt}")
        length = self.initial
        # Multiplying step by step stops at the cap, where a power would overflow on a long outage.
        for _ in range(attempt - 1):
            if length >= self.cap or self.factor == 1 or length == 0:
                break
            length *= self.factor
        return min(length, self.cap)

    def delay(self, attempt: int, random: Callable[[], float] = _random.random) -> float:
        """The delay before attempt ``attempt``; ``random`` gives numbers in [0, 1)."""
        return self.ceiling(attempt) * (1 - self.jitter * random())


class Trouble(enum.Enum):
    """What kind of trouble ended a connection or kept one from being made."""

    RETRY = "trying again can help"
    DOWNTIME = "the exchange is down on purpose"
    BROKEN = "the two sides disagree about the rules; a few tries may show it was chance"
    FINAL = "nothing changes by trying again"


@dataclasses.dataclass(frozen=True, slots=True)
class Attempts:
    """What happened so far to one account since it was last UP for long enough."""

    failures: int = 0
    broken: int = 0

    def after(self, trouble: Trouble) -> Attempts:
        """This history with one more failure of that kind."""
        return Attempts(self.failures + 1, self.broken + (trouble is Trouble.BROKEN))


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """``delay`` seconds until the next attempt, or None and why this account is given up."""

    trouble: Trouble
    delay: float | None
    give_up_because: str | None = None

    @property
    def final(self) -> bool:
        """Whether there will be no further attempt."""
        return self.delay is None


_FINAL_REASONS = frozenset({int(eto.LOGOUT_UNAUTHORISED), int(eto.LOGOUT_UNVERIFIED)})


@dataclasses.dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """Whether and when an account connects again.

    backoff: the delays.
    stable_after: seconds of being UP after which the history of failures is forgotten, so that a
        session that flaps is slowed down and one that ran for an hour is not.
    max_attempts: give up after this many failures in a row; None never does.
    max_broken: retry this many failures that break the protocol, give up at the next one; counted
        since the account was last UP for ``stable_after``.
    login_rate, login_burst: the pool's login governor: logins per second over all its accounts, and
        how many may start at once. Only the pool's own policy counts for these two.
    """

    backoff: Backoff = dataclasses.field(default_factory=Backoff)
    stable_after: float = 30.0
    max_attempts: int | None = None
    max_broken: int = 3
    login_rate: float = 100.0
    login_burst: int = 50

    def __post_init__(self) -> None:
        _require(self, "backoff", isinstance(self.backoff, Backoff), "a Backoff")
        _require(self, "stable_after", _is_number(self.stable_after) and self.stable_after >= 0, "seconds")
        _require(
            self,
            "max_attempts",
            self.max_attempts is None or _is_count(self.max_attempts),
            "a whole number from 1, or None for no limit",
        )
        _require(self, "max_broken", _is_count(self.max_broken), "a whole number from 1")
        _require(self, "login_rate", _is_number(self.login_rate) and self.login_rate > 0, "logins per second")
        _require(self, "login_burst", _is_count(self.login_burst), "a whole number from 1")

    def classify(self, error: BaseException) -> Trouble:
        """The kind of trouble an error is; see the table in the module's text."""
        if isinstance(error, LoginError):
            if error.reason in _FINAL_REASONS:
                return Trouble.FINAL
            if error.reason == eto.LOGOUT_DOWNTIME:
                return Trouble.DOWNTIME
            if error.reason == eto.LOGOUT_LOGIN_NOT_FIRST_SEQ:
                return Trouble.BROKEN
            return Trouble.RETRY
        if isinstance(error, (TlsError, UsageError)):
            return Trouble.FINAL
        if isinstance(error, SequenceGapError):
            # A replay that never came: the new session resumes by the account's numbers instead.
            return Trouble.RETRY
        if isinstance(error, ProtocolError):
            return Trouble.BROKEN
        return Trouble.RETRY

    def decide(
        self, error: BaseException, history: Attempts, random: Callable[[], float] = _random.random
    ) -> Decision:
        """What to do after ``error``; ``history`` counts it already."""
        trouble = self.classify(error)
        if trouble is Trouble.FINAL:
            return Decision(trouble, None, f"trying again cannot help: {error}")
        if trouble is Trouble.BROKEN and history.broken > self.max_broken:
            return Decision(trouble, None, f"the protocol broke {history.broken} times: {error}")
        if self.max_attempts is not None and history.failures >= self.max_attempts:
            return Decision(trouble, None, f"{history.failures} attempts failed: {error}")
        return Decision(trouble, self.backoff.delay(max(history.failures, 1), random))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """How long each wait of a member may be, in seconds.

    connect: resolve, connect and TLS handshake together.
    login: from the connection to the exchange's answer.
    logout: from our logout to its confirmation.
    probe_after: a peer that sent no whole frame for this long is asked with a ping ...
    give_up_after: ... and given up after this long.
    heartbeat_after: we send a heartbeat when nothing else was sent for this long.
    send: how long the peer may take nothing off a full socket.
    replay: how long a replay may bring nothing.
    replay_orders: an order create older than this is not repeated to the exchange inside a session.
    """

    connect: float = 10.0
    login: float = 10.0
    logout: float = 5.0
    probe_after: float = 15.0
    give_up_after: float = 30.0
    heartbeat_after: float = 5.0
    send: float = 30.0
    replay: float = 5.0
    replay_orders: float = 2.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _require(self, field.name, _is_number(value) and value > 0, "seconds, more than 0")
        _require(
            self,
            "give_up_after",
            self.give_up_after > self.probe_after,
            f"more than probe_after ({self.probe_after}), or a silent peer is never asked",
        )

    def timing(self) -> Timing:
        """The same waits as the protocol needs them."""
        return Timing(
            heartbeat_after=self.heartbeat_after,
            probe_after=self.probe_after,
            give_up_after=self.give_up_after,
            login=self.login,
            logout=self.logout,
            replay=self.replay,
            replay_orders=self.replay_orders,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Deadline:
    """One moment for all the steps of one promise: "10 seconds to stop" are ten, not ten each.

    ``at`` is on the clock that ``now`` comes from; None is no deadline.
    """

    at: float | None

    @classmethod
    def after(cls, seconds: float | None, now: float) -> Deadline:
        """``seconds`` from now; None for never."""
        return cls(None if seconds is None else now + seconds)

    def left(self, now: float) -> float | None:
        """Seconds left, never below 0; None for no deadline."""
        return None if self.at is None else max(0.0, self.at - now)

    def passed(self, now: float) -> bool:
        """Whether the moment is here."""
        return self.at is not None and now >= self.at

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
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

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


#: Seconds; beyond that, timers of the system give up.
_LONGEST = 1e9

#: What a field must satisfy, and that in words.
Rule = tuple[Callable[[Any], bool], str]


class _Policy:
    """Checks the fields of a policy, each by its rule."""

    __slots__ = ()
    RULES: ClassVar[Mapping[str, Rule]] = {}

    def __post_init__(self) -> None:
        fields = {name: getattr(self, name) for name in self.RULES}
        for name, value in fields.items():
            self.check_field(name, value)
        misfit = self.misfit(fields)
        if misfit is not None:
            raise self._refusal(misfit[0], fields[misfit[0]], misfit[1])

    @classmethod
    def check_field(cls, name: str, value: object) -> None:
        """Refuse a value that this field could never have, whatever the other fields are.

        Raises:
            ConfigError: naming policy, field, value and what was expected.
        """
        fits, expected = cls.RULES[name]
        if not fits(value):
            raise cls._refusal(name, value, expected)

    @classmethod
    def misfit(cls, fields: Mapping[str, Any]) -> tuple[str, str] | None:
        """The field whose value does not go with the others, and what was expected; None if all do.

        ``fields`` are all there are, each with a value that is good by itself.
        """
        return None

    @classmethod
    def _refusal(cls, name: str, value: object, expected: str) -> ConfigError:
        return ConfigError(f"{cls.__name__}({name}={value!r}): expected {expected}")


def _is_number(value: object) -> bool:
    # An int that no float can hold would fail in the middle of a calculation.
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (isinstance(value, float) or abs(value) <= sys.float_info.max)
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _from(least: float) -> Callable[[Any], bool]:
    return lambda value: _is_number(value) and value >= least


def _above_zero(value: Any) -> bool:
    return _is_number(value) and value > 0


def _a_wait(value: Any) -> bool:
    return _is_number(value) and 0 < value <= _LONGEST


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff(_Policy):
    """Delays that grow: attempt n waits up to ``min(cap, initial * factor ** (n - 1))`` seconds.

    initial: seconds, the longest first delay.
    cap: seconds, the longest delay of all.
    factor: how much longer each next delay may be.
    jitter: the random share, taken off *after* the cap, so that many clients that all sit at the cap still
        do not act at once: with 1.0 ("full jitter") the delay is anything between 0 and that length, with
        0 it is exactly that length.

    >>> [Backoff(jitter=0).delay(n) for n in (1, 2, 3, 8, 100)]
    [0.5, 1.0, 2.0, 60.0, 60.0]
    """

    initial: float = 0.5
    cap: float = 60.0
    factor: float = 2.0
    jitter: float = 1.0

    RULES: ClassVar[Mapping[str, Rule]] = {
        "initial": (_from(0), "seconds, 0 or more"),
        "cap": (_from(0), "seconds, 0 or more"),
        "factor": (_from(1), "1 or more"),
        "jitter": (lambda value: _is_number(value) and 0 <= value <= 1, "a share from 0 to 1"),
    }

    @classmethod
    def misfit(cls, fields: Mapping[str, Any]) -> tuple[str, str] | None:
        """A cap below the first delay."""
        return ("cap", "seconds, initial or more") if fields["cap"] < fields["initial"] else None

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
class ReconnectPolicy(_Policy):
    """Whether and when an account connects again.

    backoff: the delays.
    stable_after: seconds of being UP after which the history of failures is forgotten, so that a session that
        flaps is slowed down and one that ran for an hour is not.
    max_attempts: give up after this many failures in a row, the loss of a connection being the first; None
        never does.
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

    RULES: ClassVar[Mapping[str, Rule]] = {
        "backoff": (lambda value: isinstance(value, Backoff), "a Backoff"),
        "stable_after": (_from(0), "seconds, 0 or more"),
        "max_attempts": (
            lambda value: value is None or _is_count(value),
            "a whole number from 1; with none at all there is no limit",
        ),
        "max_broken": (_is_count, "a whole number from 1"),
        "login_rate": (_above_zero, "logins per second, more than 0"),
        "login_burst": (_is_count, "a whole number from 1"),
    }

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
            return Decision(trouble, None, f"{history.failures} failures in a row: {error}")
        return Decision(trouble, self.backoff.delay(max(history.failures, 1), random))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy(_Policy):
    """How long each wait of a member may be, in seconds.

    connect: seconds for resolving, connecting and the TLS handshake together.
    login: seconds from the connection to the exchange's answer.
    logout: seconds from our logout to its confirmation.
    probe_after: seconds without a whole frame after which the peer is asked with a ping.
    give_up_after: seconds without a whole frame after which the connection is given up.
    heartbeat_after: seconds without anything sent after which we send a heartbeat.
    send: seconds that the peer may take nothing off a full socket.
    replay: seconds that a replay may bring nothing.
    replay_orders: age in seconds from which an order create is not repeated to the exchange in a session.
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

    RULES: ClassVar[Mapping[str, Rule]] = dict.fromkeys(
        (
            "connect",
            "login",
            "logout",
            "probe_after",
            "give_up_after",
            "heartbeat_after",
            "send",
            "replay",
            "replay_orders",
        ),
        (_a_wait, f"seconds, more than 0 and no more than {_LONGEST:,.0f}"),
    )

    @classmethod
    def misfit(cls, fields: Mapping[str, Any]) -> tuple[str, str] | None:
        """An end of patience that comes before the question."""
        if fields["give_up_after"] > fields["probe_after"]:
            return None
        expected = f"more than probe_after ({fields['probe_after']}), or a silent peer is never asked"
        return "give_up_after", expected

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

"""``FakeClock``: time that stands still until a test moves it, for pools and embedded exchanges together.

Everything that waits for a moment waits here: a pool's timers by the clock's ``runtime``, an exchange's by
``next_deadline`` and ``tick``. ``advance`` goes from one moment to the next, in order, and lets the loop
run after each until nothing in the process can go on by itself.

Nothing about the bytes is fake: the pool and the exchange speak over a socket pair, through the same code
and the same TLS as ever. A socket pair, because its bytes are at the other end when the sender's call
returns; of TCP one can never know whether there is still something under way.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gevent
import gevent.event

from smarkets_pool.exceptions import ConfigError, ConnectionError, UsageError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.pool.runtime import Runtime, Timer
from smarkets_pool.session import SessionSocket
from smarkets_pool.session.addresses import Resolve, connect_first
from smarkets_pool.session.settings import SessionSettings

__all__ = ["FakeClock"]

_T = TypeVar("_T")

#: Where the clocks begin: seconds of ``now``, and 2024-01-01 12:00 UTC.
_START = 1_000.0
_UNIX_START = 1_704_110_400.0
#: Seconds that a wait without an end may take, on this clock.
_LONGEST = 3_600.0
#: Real seconds after which a loop that does not become quiet never will.
_PATIENCE = 10.0
#: Turns of the loop in a row without any event, until it counts as quiet. One says that no socket had
#: anything; what sleeps for a microsecond to let others have a turn shows in the next.
_QUIET_TURNS = 3
#: Deadlines served at one moment, until it is clear that one of them never ends.
_AT_ONCE = 100_000
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class _Timer:
    """A callback that waits for its moment; ``cancel`` takes it out."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not fire."""
        self.callback = None


class _Passed(Exception):
    """A wait's time is over."""


class FakeClock:
    """Time that stands still unless ``advance`` moves it.

    Make it in the test's own greenlet: only that one moves the time, with ``advance``, ``advance_until`` and
    ``sleep``, and by waiting for a pool (``wait_until_up``, ``join`` with a timeout, ``stop``). In all other
    greenlets such waits and ``sleep`` wait until the time has come.

    Give ``runtime`` to pools; make exchanges with ``clock=clock.now, wall_clock=clock.time_us`` and
    ``attach`` them. The fixtures do that.

    Raises:
        UsageError: gevent runs on libuv, which cannot tell when nothing is left to do.

    Attributes:
        runtime: for ``Pool(runtime=...)``. Jitter is drawn from a generator with a fixed seed.
    """

    def __init__(self) -> None:
        if "libuv" in type(gevent.get_hub().loop).__module__:
            raise UsageError("the fake clock needs gevent's libev loop, and this is libuv: GEVENT_LOOP=libev")
        self._now = _START
        self._owner = gevent.getcurrent()
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._exchanges: list[EmbeddedExchange] = []
        self._moving = False
        #: How much time has passed in waits without an end, one after the other.
        self._endless = 0.0
        self.runtime: Runtime = _FakeRuntime(self)

    def __repr__(self) -> str:
        return f"<FakeClock at {self._now - _START:.3f} s>"

    # --- what time it is -------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds that never go back: what ``time.monotonic`` is to a program."""
        return self._now

    def time(self) -> float:
        """Seconds since the epoch: what ``time.time`` is to a program. It begins in 2024."""
        return self._now - _START + _UNIX_START

    def time_us(self) -> int:
        """The same in microseconds."""
        return round(self.time() * 1e6)

    # --- moving it -------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass; returns when everything that was due has been done and delivered.

        Deadlines of pools and exchanges, and sleepers, have their turns in order of time, each at its very
        moment. What a handler does by real waiting (a thread, a real ``gevent.sleep``) is not waited for.

        Raises:
            UsageError: called by another greenlet than the test's own; there use ``sleep``.
        """
        if not seconds >= 0 or math.isinf(seconds):
            raise UsageError(f"time advances by seconds from 0, not by {seconds!r}")
        self._must_be_owner("advance")
        self._run(lambda: False, self._now + seconds)

    def advance_until(self, condition: Callable[[], _T], at_most: float = _LONGEST) -> _T:
        """Let time pass, from one deadline to the next, until ``condition`` is true; return its answer.

        Raises:
            AssertionError: it was not, ``at_most`` seconds later.
            UsageError: called by another greenlet than the test's own.
        """
        self._must_be_owner("advance_until")
        answer: list[_T] = []

        def is_true() -> bool:
            answer[:] = [condition()]
            return bool(answer[0])

        if not self._run(is_true, self._now + at_most):
            said = getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"not true within {at_most} s of the fake clock: {said}; {answer[0]!r}")
        return answer[0]

    def settle(self) -> None:
        """Let everything go on that can without time passing: bytes, handlers, logins under way."""
        self.advance(0.0)

    def sleep(self, seconds: float) -> None:
        """What ``gevent.sleep`` is to a program: put it there, and the program sleeps by this clock.

        In the test's own greenlet it is ``advance``.
        """
        if gevent.getcurrent() is self._owner:
            self.advance(seconds)
            return
        awake = gevent.event.Event()
        timer = self.call_later(seconds, awake.set)
        try:
            awake.wait()
        finally:
            timer.cancel()

    # --- for pools and exchanges -----------------------------------------------------------------

    def attach(self, exchange: EmbeddedExchange) -> None:
        """Serve this exchange's deadlines, and bring pools with ``runtime`` to it.

        Raises:
            UsageError: it keeps another time.
        """
        if exchange.now() != self._now:
            raise UsageError(
                "the exchange has a clock of its own: make it with "
                "EmbeddedExchange(clock=clock.now, wall_clock=clock.time_us)"
            )
        self._exchanges.append(exchange)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback`` in the hub when so many seconds have passed."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._now + max(0.0, seconds), next(self._order), timer))
        return timer

    def run_until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Let up to ``seconds`` pass until it is true; whether it is. For the test's own waits.

        Raises:
            UsageError: waits without an end have lasted for an hour, and nothing else was asked of the clock.
        """
        if seconds is not None:
            self._endless = 0.0
            return self._run(condition, self._now + seconds)
        # What waits for a pool is woken by every change of it, and waits again.
        began = self._now
        is_true = self._run(condition, began + _LONGEST - self._endless)
        self._endless += self._now - began
        if self._endless >= _LONGEST:
            raise UsageError(f"waited for {_LONGEST:.0f} s of the fake clock in vain; give it a timeout")
        return is_true

    @property
    def is_mine(self) -> bool:
        """Whether the caller is the test's own greenlet, whose waits move the time."""
        return gevent.getcurrent() is self._owner and not self._moving

    def reach(
        self, host: str, port: int, /, *, resolve: Resolve, timeout: float, nodelay: bool
    ) -> socket.socket:
        """A connection to an attached exchange, or whatever else listens there."""
        exchange = next((each for each in self._exchanges if _is_at(each, host, port)), None)
        if exchange is None:
            return connect_first(host, port, resolve=resolve, timeout=timeout, nodelay=nodelay)
        ours, theirs = socket.socketpair()
        try:
            exchange.adopt(theirs)
        except BaseException as error:
            ours.close()
            theirs.close()
            if isinstance(error, ConfigError):
                raise ConnectionError(f"no connection to {host}:{port}: {error}") from error
            raise
        return ours

    # --- how time passes -------------------------------------------------------------------------

    def _must_be_owner(self, what: str) -> None:
        if gevent.getcurrent() is not self._owner:
            raise UsageError(
                f"{what}() is for the greenlet that made the clock; in a handler, or whatever else was "
                "spawned, use sleep()"
            )
        if self._moving:
            raise UsageError(f"{what}() was called while time is passing already, by what it waits for")
        self._endless = 0.0

    def _run(self, condition: Callable[[], bool], end: float) -> bool:
        """Serve what is due until ``end``, or until the condition is true; whether it is."""
        self._moving = True
        try:
            self._quieten()
            served = 0
            while not condition():
                step = self._next_step()
                if step is None or step[0] > end:
                    if self._now >= end:
                        return False
                    self._now = end
                    self._quieten()
                    continue
                when, serve = step
                served = 0 if when > self._now else served + 1
                if served > _AT_ONCE:
                    raise AssertionError(f"what is due at {when - _START:.6f} s never ends: {serve!r}")
                self._now = max(self._now, when)
                serve()
                self._quieten()
            return True
        finally:
            self._moving = False

    def _next_step(self) -> tuple[float, Callable[[], object]] | None:
        """The next moment at which something is due, and how it is served: timers before exchanges."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        due = self._timers[0][0] if self._timers else math.inf
        serve: Callable[[], object] = self._fire
        for exchange in self._exchanges:
            when = exchange.next_deadline()
            if when is not None and when < due:
                due, serve = when, exchange.tick
        return None if math.isinf(due) else (due, serve)

    def _fire(self) -> None:
        """Have the hub call the first timer."""
        callback = heapq.heappop(self._timers)[2].callback
        if callback is not None:
            self.runtime.call_soon(callback)

    def _quieten(self) -> None:
        """Let the loop turn until a few turns in a row had nothing to do.

        Waiting for the loop to be idle comes back from the first turn in which no socket and no timer had
        anything; the turns are counted, because others may have had something in between.
        """
        loop: Any = gevent.get_hub().loop
        give_up = time.monotonic() + _PATIENCE
        quiet, last = 0, -1
        while quiet < _QUIET_TURNS:
            with gevent.Timeout(_PATIENCE, self._never_quiet()):
                gevent.idle(loop.MINPRI)
            turn = loop.iteration
            quiet = quiet + 1 if turn == last + 1 else 1
            last = turn
            if time.monotonic() > give_up:
                raise self._never_quiet()

    @staticmethod
    def _never_quiet() -> AssertionError:
        return AssertionError(
            f"something has been busy for {_PATIENCE:.0f} real seconds while no time passes"
        )


class _FakeRuntime(Runtime):
    """The real loop, with this clock's time and its way to an exchange."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        self._chance = random.Random(0)

    def now(self) -> float:
        return self._clock.now()

    def random(self) -> float:
        return self._chance.random()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_later(seconds, callback)

    @contextlib.contextmanager
    def limit(self, seconds: float | None, error: Exception) -> Iterator[None]:
        if seconds is None:
            yield
            return
        # Never started: it is only what is thrown, since whoever is interrupted knows that it is no error.
        passed = gevent.Timeout(seconds)
        greenlet = gevent.getcurrent()
        timer = self._clock.call_later(seconds, lambda: greenlet.throw(passed))
        try:
            yield
        except gevent.Timeout as caught:
            if caught is not passed:
                raise
            raise error from passed
        finally:
            timer.cancel()

    def wait(self, event: gevent.event.Event, seconds: float | None) -> bool:
        if self._clock.is_mine:
            # As a real wait is woken: whoever else waits for it may have cleared it since.
            wakings: list[object] = []
            event.rawlink(wakings.append)
            try:
                return self._clock.run_until(lambda: bool(wakings) or event.is_set(), seconds)
            finally:
                event.unlink(wakings.append)
        with contextlib.suppress(_Passed), self.limit(seconds, _Passed()):
            event.wait()
        return event.is_set()

    def join(self, greenlets: list[gevent.Greenlet[..., Any]], seconds: float) -> None:
        if self._clock.is_mine:
            self._clock.run_until(lambda: all(greenlet.dead for greenlet in greenlets), seconds)
            return
        with contextlib.suppress(_Passed), self.limit(seconds, _Passed()):
            gevent.joinall(greenlets)

    def session_socket(self, settings: SessionSettings) -> SessionSocket:
        return SessionSocket(settings, resolve=self._resolver.resolve, reach=self._clock.reach)


def _is_at(exchange: EmbeddedExchange, host: str, port: int) -> bool:
    return port == exchange.port and (host == exchange.host or host in _LOOPBACK)

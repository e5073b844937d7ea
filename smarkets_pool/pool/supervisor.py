"""``Supervisor``: the only place of a pool that spawns, and the only one that hears of a death.

It also writes the log lines of the hub: logging may wait for a lock or a disk, which a hub callback
must not, so such lines go through a queue to a greenlet here.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent

from smarkets_pool.logs import PlaceLog
from smarkets_pool.pool.runtime import Runtime

__all__ = ["Supervisor"]

_log = PlaceLog("pool.supervisor")

#: Log lines of the hub that may wait; beyond that they are counted instead of kept.
_LOG_LIMIT = 10_000


class Supervisor:
    """Owns a pool's greenlets: spawn, name, death notice, join, kill."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._greenlets: set[gevent.Greenlet[..., Any]] = set()
        self._lines: deque[tuple[PlaceLog, int, str | None, str, tuple[object, ...]]] = deque()
        self._lost_lines = 0
        self._writer: gevent.Greenlet[..., Any] | None = None
        self.deaths = 0

    def __repr__(self) -> str:
        return f"<Supervisor of {sorted(greenlet.name for greenlet in self._greenlets)}>"

    def spawn(self, name: str, function: Callable[..., object], *args: object) -> gevent.Greenlet[..., Any]:
        """Run a function in a greenlet with a name; an error in it is logged under that name."""
        greenlet = self._runtime.spawn(function, *args)
        greenlet.name = name
        self._greenlets.add(greenlet)
        greenlet.link(self._ended)
        return greenlet

    def log(self, place: PlaceLog, level: int, account: str | None, text: str, *args: object) -> None:
        """Write a log line of ``place`` soon, from a greenlet; callable from the hub."""
        if len(self._lines) >= _LOG_LIMIT:
            self._lost_lines += 1
            return
        self._lines.append((place, level, account, text, args))
        if self._writer is None:
            self._writer = self.spawn("log writer", self._write_lines)

    def close(self, timeout: float) -> list[str]:
        """Wait up to ``timeout`` seconds for all to end, kill the rest and return their names."""
        current = gevent.getcurrent()
        mine = [greenlet for greenlet in self._greenlets if greenlet is not current]
        self._runtime.join(mine, timeout)
        killed = [greenlet for greenlet in mine if not greenlet.dead]
        gevent.killall(killed, block=False)
        gevent.joinall(killed, timeout=1.0)  # killall's own timeout would raise
        return sorted(greenlet.name for greenlet in killed)

    def _write_lines(self) -> None:
        try:
            while self._lines or self._lost_lines:
                while self._lines:
                    place, level, account, text, args = self._lines.popleft()
                    place.log(level, account, text, *args)
                if self._lost_lines:
                    lost, self._lost_lines = self._lost_lines, 0
                    _log.warning(None, "%d log lines of the hub were dropped, too many at once", lost)
        finally:
            self._writer = None

    def _ended(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        # Runs in the hub. gevent has printed the traceback; here it gets a name in the log.
        self._greenlets.discard(greenlet)
        if isinstance(greenlet.exception, (KeyboardInterrupt, SystemExit)):
            return  # the program's own end; the hub has passed it on
        if not greenlet.successful():
            self.deaths += 1
            self.log(_log, logging.ERROR, None, "greenlet %r died: %r", greenlet.name, greenlet.exception)

"""``Signals``: what SIGTERM, Ctrl-C and SIGHUP ask of a running command, whatever its handlers do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import gevent
import gevent.monkey

__all__ = ["Signals", "ignore_hangup"]

_STOPS = (signal.SIGTERM, signal.SIGINT)
#: Seconds after a second signal until the process ends without having been able to put anything in order.
_PATIENCE = 3.0

#: The real ones, for a thread that runs beside a loop that does not.
_start_thread: Callable[..., int] = gevent.monkey.get_original("_thread", "start_new_thread")
_sleep: Callable[[float], None] = gevent.monkey.get_original("time", "sleep")


class Signals:
    """A context in which signals lead to calls, made in the hub: they must not wait.

    Python's own signal handlers, and not the loop's: those of the loop are not called while a handler of the
    user computes without end, and then nothing short of SIGKILL would stop the process. When the context
    ends the signals are ignored, because the process is about to end.

    Args:
        stop: for the first SIGTERM or SIGINT.
        stop_now: for the second one. If the process is still there 3 seconds later, it is ended with
            ``status``.
        reload: for each SIGHUP.
    """

    def __init__(
        self,
        *,
        stop: Callable[[], None],
        stop_now: Callable[[], None],
        reload: Callable[[], None],
        status: int,
    ) -> None:
        self._loop: Any = gevent.get_hub().loop
        self._stop = stop
        self._stop_now = stop_now
        self._reload = reload
        self._status = status
        self._stops = 0

    def __enter__(self) -> Signals:
        for number in _STOPS:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hangup)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number in (*_STOPS, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        # Anywhere in the main thread, perhaps in the middle of a handler: nothing but a note to the hub.
        self._stops += 1
        if self._stops == 1:
            self._loop.run_callback_threadsafe(self._stop)
        elif self._stops == 2:
            self._loop.run_callback_threadsafe(self._stop_now)
            _start_thread(self._end_process, ())

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        self._loop.run_callback_threadsafe(self._reload)

    def _end_process(self) -> None:
        _sleep(_PATIENCE)
        os._exit(self._status)


def ignore_hangup() -> None:
    """Until there is something that could be read again, SIGHUP must not end the process."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

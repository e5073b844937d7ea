"""``Runtime``: clock, timers, connections and spawn as one value.

A pool touches gevent's loop only through this, so that a second ``Runtime`` (a simulation, or the fake
clock of ``smarkets_pool.testing``) can stand in for it.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import gevent
import gevent.event
import gevent.monkey
import gevent.select
import gevent.socket
import gevent.ssl
from gevent.hub import Hub, get_hub

from smarkets_pool.exceptions import NotPatchedError, UsageError
from smarkets_pool.pool.resolver import Resolver
from smarkets_pool.pool.transport import HubTransport
from smarkets_pool.session import SessionSocket
from smarkets_pool.session.settings import SessionSettings
from smarkets_pool.session.tls import context_for

__all__ = ["Runtime", "Timer", "Transport"]


#: The real one: after monkey-patching ``threading`` tells greenlets apart, and a hub is a thread's.
_thread_id: Callable[[], int] = gevent.monkey.get_original("_thread", "get_ident")


class Timer(Protocol):
    """A one-shot timer."""

    def cancel(self) -> None:
        """Do not fire; after firing it does nothing."""


class Transport(Protocol):
    """A connected socket, used without blocking from the hub; see ``HubTransport``."""

    def read(self, size: int) -> bytes | None: ...
    def write(self, data: bytes) -> int | None: ...
    def pending(self) -> int: ...
    def start_reading(self, callback: Callable[[], None]) -> None: ...
    def stop_reading(self) -> None: ...
    def start_writing(self, callback: Callable[[], None]) -> None: ...
    def stop_writing(self) -> None: ...
    def close(self) -> None: ...


class _HubTimer:
    __slots__ = ("_watcher",)

    def __init__(self, hub: Hub, seconds: float, callback: Callable[[], None]) -> None:
        self._watcher: Any = hub.loop.timer(max(0.0, seconds))
        self._watcher.start(callback)

    def cancel(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None


class Runtime:
    """The real one: the monotonic clock and this thread's gevent hub."""

    def __init__(self) -> None:
        self._hub = get_hub()
        self._thread = _thread_id()
        self._resolver = Resolver()

    # --- time and chance -------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def random(self) -> float:
        """A number in [0, 1), for jitter."""
        return random.random()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Run ``callback`` in the hub after ``seconds``."""
        return _HubTimer(self._hub, seconds, callback)

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Run ``callback(*args)`` in the hub, in this loop turn or the next."""
        self._hub.loop.run_callback(callback, *args)

    @contextlib.contextmanager
    def limit(self, seconds: float | None, error: Exception) -> Iterator[None]:
        """A context that raises ``error`` in the current greenlet when ``seconds`` have passed."""
        with gevent.Timeout(seconds) as limit:
            try:
                yield
            except gevent.Timeout as passed:
                # What interrupts is no Exception: ``error`` itself, an OSError perhaps, would be taken
                # for one of the socket's by whoever is interrupted, and the next address be tried.
                if passed is not limit:
                    raise
                raise error from passed

    def wait(self, event: gevent.event.Event, seconds: float | None) -> bool:
        """Wait until ``event`` is set, ``seconds`` at most; return whether it is."""
        return event.wait(seconds)

    # --- greenlets -------------------------------------------------------------------------------

    def spawn(self, function: Callable[..., object], *args: object) -> gevent.Greenlet[..., Any]:
        """Run ``function(*args)`` in a greenlet of its own; only the supervisor calls this."""
        return gevent.spawn(function, *args)

    def join(self, greenlets: list[gevent.Greenlet[..., Any]], seconds: float) -> None:
        """Wait until all of these have ended, ``seconds`` at most."""
        gevent.joinall(greenlets, timeout=seconds)

    def in_hub(self) -> bool:
        """Whether the caller runs in the hub, where nothing may block."""
        return gevent.getcurrent() is self._hub

    def park(self) -> None:
        """Give the loop back until somebody switches to this greenlet."""
        self._hub.switch()

    def breathe(self) -> None:
        """Let the loop poll its sockets and timers once, then go on."""
        # sleep(0) only runs callbacks and may come back before any socket was polled.
        gevent.sleep(1e-6)

    def check_thread(self) -> None:
        """Refuse a call from another thread than the one whose hub this is.

        Raises:
            UsageError: nothing was done.
        """
        if _thread_id() != self._thread:
            raise UsageError(
                "this pool belongs to the thread that made it; have that thread make the call, "
                "and wait for it there"
            )

    def escalate(self, error: BaseException) -> None:
        """Bring Ctrl-C or SystemExit that struck in the hub to the main greenlet."""
        self._hub.handle_system_error(type(error), error)

    # --- connections -----------------------------------------------------------------------------

    def session_socket(self, settings: SessionSettings) -> SessionSocket:
        """The blocking socket with which a member connects and logs in."""
        return SessionSocket(settings, resolve=self._resolver.resolve)

    def transport(self, connected: SessionSocket) -> Transport:
        """Take over a connected socket for use from the hub."""
        return HubTransport(self._hub, connected.detach())

    def check(self, settings: SessionSettings) -> None:
        """Refuse sockets and contexts that would block the whole process.

        The very classes that will be used are looked at: asking gevent whether a module was patched
        is not enough when a name had been imported from it earlier.

        Raises:
            NotPatchedError: naming the class and the first lines a program needs.
        """
        how = "put `from gevent import monkey; monkey.patch_all()` before every other import"
        if not issubclass(socket.socket, gevent.socket.socket):
            raise NotPatchedError(f"socket.socket is {socket.socket!r} and would block the process: {how}")
        poll: object = select.poll
        if poll is not gevent.select.poll:
            raise NotPatchedError(f"select.poll is {poll!r} and would block the process: {how}")
        if settings.ssl:
            context = context_for(settings)
            if not isinstance(context, gevent.ssl.SSLContext):
                raise NotPatchedError(
                    f"the TLS context for {settings.host} is a {type(context).__module__}."
                    f"{type(context).__name__}, made before monkey-patching (ssl.SSLContext is "
                    f"{ssl.SSLContext!r} now), and would block the process: {how}"
                )

"""From a host's addresses to one connection: all are tried, each with a head start over the next.

The rule is that of RFC 8305 ("Happy Eyeballs"): families alternate, an attempt that has not answered
after a quarter of a second gets company, the first to connect wins and the others are closed. An address
that refuses is followed by the next at once. So a dead address, or a family that leads nowhere, costs a
moment instead of the whole timeout.

Waiting is done with ``select.poll``, which gevent's monkey-patching makes cooperative: one greenlet or
thread runs the whole race, and nothing is spawned.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from smarkets_pool.exceptions import ConnectionError, ConnectTimeout

__all__ = ["ATTEMPT_DELAY", "Address", "Reach", "Resolve", "connect_first", "look_up", "numeric"]

#: What ``socket.getaddrinfo`` gives for one address: family, kind, protocol, name, socket address.
Address = tuple[Any, Any, int, str, tuple[Any, ...]]
#: A way to find a host's addresses; raises OSError or ValueError (a name that no DNS could hold).
Resolve = Callable[[str, int], list[Address]]


class Reach(Protocol):
    """A way to get a connected socket to a host; raises what ``connect_first`` does."""

    def __call__(
        self, host: str, port: int, /, *, resolve: Resolve, timeout: float, nodelay: bool
    ) -> socket.socket: ...


#: Seconds that an attempt has for itself (RFC 8305, section 5: "Connection Attempt Delay").
ATTEMPT_DELAY = 0.25

#: The longest wait in one call, in seconds: the system's own limit is a number of milliseconds.
_LONGEST_POLL = 3600.0

_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY)

#: (host, port) -> the family that won last: a family that leads nowhere costs its delay once.
_winners: dict[tuple[str, int], int] = {}


def look_up(host: str, port: int) -> list[Address]:
    """Every address of a host, in the system's order of preference (RFC 6724)."""
    found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return found


def numeric(host: str, port: int) -> list[Address]:
    """The address itself if ``host`` is one, otherwise nothing: an address needs no DNS."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    if "%" in host:  # an interface's name stands behind it, and that is for the system to look up
        return []
    if version == 4:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    return [(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))]


def in_order(addresses: Iterable[Address], first: int | None = None) -> list[Address]:
    """The order in which to try: families in turn, ``first`` (or the system's first) leading.

    An address that was found twice is tried once.
    """
    families: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address[0], []).append(address)
    lead = sorted(families, key=lambda family: family != first)  # stable: the rest keeps its order
    rounds = itertools.zip_longest(*(families[family] for family in lead))
    return [address for turn in rounds for address in turn if address is not None]


def connect_first(
    host: str,
    port: int,
    *,
    resolve: Resolve = look_up,
    timeout: float,
    nodelay: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> socket.socket:
    """A connected socket to one of the host's addresses.

    Args:
        timeout: seconds for all attempts together, without the lookup.

    Raises:
        ConnectTimeout: no address answered in time.
        ConnectionError: the name does not resolve, or every address refused; it names each with why.
    """
    try:
        found = numeric(host, port) or resolve(host, port)
    except (OSError, ValueError) as error:
        # A name that no DNS could hold is a UnicodeError (a ValueError), not an OSError.
        raise ConnectionError(f"the host {host!r} cannot be resolved: {error}") from error
    race = _Race(in_order(found, _winners.get((host, port))), nodelay, clock)
    try:
        winner = race.run(timeout)
        if winner is None:
            raise race.error(f"no connection to {host}:{port}", timeout)
    finally:
        race.close()
    _winners[(host, port)] = winner.family
    return winner


class _Race:
    """Attempts under way, by descriptor; ``close`` ends those that did not win."""

    def __init__(self, addresses: list[Address], nodelay: bool, clock: Callable[[], float]) -> None:
        self._left = deque(addresses)
        self._nodelay = nodelay
        self._clock = clock
        self._running: dict[int, tuple[socket.socket, Address]] = {}
        self._poll = select.poll()
        self._failures: list[tuple[Address, OSError]] = []
        self._next_start = clock()

    @property
    def waiting(self) -> bool:
        """Whether an attempt is still without an answer."""
        return bool(self._running or self._left)

    def error(self, what: str, timeout: float) -> ConnectionError:
        """Why nobody won: a sentence that begins with ``what`` and says what each address answered."""
        said = [f"{_text(address)}: {error.strerror or error}" for address, error in self._failures]
        said += [f"{_text(address)}: no answer" for _, address in self._running.values()]
        said += [f"{_text(address)}: not tried yet" for address in self._left]
        kind = ConnectTimeout if self.waiting else ConnectionError
        limit = f" within {timeout} s" if self.waiting else ""
        made = kind(f"{what}{limit}: {'; '.join(said) or 'it has no address'}")
        made.__cause__ = self._failures[-1][1] if self._failures else None
        return made

    def run(self, timeout: float) -> socket.socket | None:
        """The winner, or None when all have failed or the time is over."""
        end = self._clock() + timeout
        # Every address has its turn in the first quarter of the time, however many there are.
        head_start = min(ATTEMPT_DELAY, timeout / (4 * max(1, len(self._left))))
        while self.waiting:
            now = self._clock()
            if now >= end and self._running:
                return None
            if self._left and now >= self._next_start:
                self._next_start = now + head_start
                winner = self._begin(self._left.popleft())
            else:
                wake = min(end, self._next_start) if self._left else end
                winner = self._await(wake - now)
            if winner is not None:
                return winner
        return None

    def close(self) -> None:
        """Close every attempt under way."""
        running, self._running = self._running, {}
        for connection, _ in running.values():
            connection.close()

    def _begin(self, address: Address) -> socket.socket | None:
        family, kind, protocol, _, place = address
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as error:
            self._fail(address, error)
            return None
        try:
            connection.setblocking(False)
            if self._nodelay:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = connection.connect_ex(place)
        except OSError as error:
            connection.close()
            self._fail(address, error)
            return None
        except BaseException:
            connection.close()
            raise
        self._running[connection.fileno()] = (connection, address)
        if code in _UNDER_WAY:
            self._poll.register(connection.fileno(), select.POLLOUT)
            return None
        return self._decide(connection.fileno(), code)

    def _await(self, seconds: float) -> socket.socket | None:
        # Rounded up: a poll that wakes a little early would spin.
        milliseconds = int(min(max(0.0, seconds), _LONGEST_POLL) * 1000) + 1
        for descriptor, _ in self._poll.poll(milliseconds):
            connection, _ = self._running[descriptor]
            self._poll.unregister(descriptor)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            winner = self._decide(descriptor, code)
            if winner is not None:
                return winner
        return None

    def _decide(self, descriptor: int, code: int) -> socket.socket | None:
        connection, address = self._running.pop(descriptor)
        if not code:
            return connection
        connection.close()
        self._fail(address, OSError(code, os.strerror(code)))
        return None

    def _fail(self, address: Address, error: OSError) -> None:
        self._failures.append((address, error))
        self._next_start = self._clock()  # it needs no head start any more: the next one goes at once


def _text(address: Address) -> str:
    host, port = address[4][:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"

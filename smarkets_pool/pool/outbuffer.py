"""``OutBuffer``: bytes on their way to a socket that may be full.

The sender tries at once and never waits; a watcher takes over only while the socket is full. Bytes
that were offered to the socket are offered again exactly as they were: after a TLS write that would
have blocked, OpenSSL sends the old bytes and reports success for whatever it is given.
"""

from __future__ import annotations

from collections.abc import Callable

from smarkets_pool.pool.runtime import Transport

__all__ = ["OutBuffer"]


class OutBuffer:
    """Bytes for one connection, in order.

    ``full_since`` is the time of the first try since the socket last took anything, or None.
    """

    __slots__ = ("_clock", "_offered", "_on_writable", "_queue", "_queued", "_transport", "full_since")

    def __init__(
        self, transport: Transport, clock: Callable[[], float], on_writable: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._on_writable = on_writable
        self._offered = b""
        self._queue: list[bytes] = []
        self._queued = 0
        self.full_since: float | None = None

    def __len__(self) -> int:
        """Bytes not yet taken by the socket."""
        return len(self._offered) + self._queued

    def write(self, data: bytes) -> None:
        """Add bytes and try to send.

        Raises:
            ConnectionError: the connection broke.
        """
        if not data:
            return
        if self._offered:
            self._queue.append(data)
            self._queued += len(data)
            return
        self._offered = data
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes; have the watcher call if that was not all.

        Raises:
            ConnectionError: the connection broke.
        """
        while self._offered:
            count = self._transport.write(self._offered)
            if count is None:
                if self.full_since is None:
                    self.full_since = self._clock()
                self._transport.start_writing(self._on_writable)
                return
            self.full_since = None
            self._offered = self._offered[count:]
            if not self._offered and self._queue:
                self._offered = b"".join(self._queue)
                self._queue.clear()
                self._queued = 0
        self._transport.stop_writing()

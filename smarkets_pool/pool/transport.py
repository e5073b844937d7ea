"""``HubTransport``: one connected socket, read and written from the hub without blocking.

Two persistent watchers, each made once per connection; no timer, no ``Timeout`` and no waiting. For
TLS the SSL object is used directly: its "want" errors become None, as a full or empty socket does.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smarkets_pool.exceptions import ConnectionError

if TYPE_CHECKING:
    from gevent.hub import Hub

__all__ = ["HubTransport"]

_READ = 1
_WRITE = 2


class HubTransport:
    """Owns ``connection``, a gevent socket, plain or TLS with the handshake done."""

    def __init__(self, hub: Hub, connection: socket.socket) -> None:
        self._socket = connection
        raw: Any = connection
        tls = getattr(raw, "_sslobj", None)
        if tls is not None:
            self._recv, self._send = tls.read, tls.write
            self._pending: Callable[[], int] = tls.pending
        else:
            self._recv, self._send = raw._sock.recv, raw._sock.send
            self._pending = int
        self._reader: Any = hub.loop.io(connection.fileno(), _READ)
        self._writer: Any = hub.loop.io(connection.fileno(), _WRITE)
        self._writing = False

    def __repr__(self) -> str:
        return f"<HubTransport {self._socket!r}>"

    def read(self, size: int) -> bytes | None:
        """Up to ``size`` bytes; None if there are none now; empty if the peer closed.

        For TLS ask for 16,384 or more: less could leave a part of a record inside the SSL object,
        where no watcher sees it.

        Raises:
            ConnectionError: the connection broke.
        """
        try:
            data: bytes = self._recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        except OSError as error:
            raise ConnectionError(f"reading failed: {error}") from error
        return data

    def write(self, data: bytes) -> int | None:
        """Write what fits; None if nothing does, and then the same bytes must be offered again.

        Raises:
            ConnectionError: the connection broke.
        """
        try:
            count: int = self._send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            return None
        except OSError as error:
            raise ConnectionError(f"sending failed: {error}") from error
        return count or None

    def pending(self) -> int:
        """Decrypted bytes that no watcher will report."""
        return self._pending()

    def start_reading(self, callback: Callable[[], None]) -> None:
        """Call back in every loop turn in which there is something to read."""
        self._reader.start(callback)

    def stop_reading(self) -> None:
        """No more calls until started again."""
        self._reader.stop()

    def start_writing(self, callback: Callable[[], None]) -> None:
        """Call back in every loop turn in which something can be written."""
        if not self._writing:
            self._writing = True
            self._writer.start(callback)

    def stop_writing(self) -> None:
        """No more calls until started again."""
        if self._writing:
            self._writing = False
            self._writer.stop()

    def close(self) -> None:
        """Stop both watchers, then close the socket: in this order, since its number is used again."""
        for watcher in (self._reader, self._writer):
            watcher.stop()
            watcher.close()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()

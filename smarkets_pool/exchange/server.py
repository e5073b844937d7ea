"""``ExchangeServer``: the exchange on a socket, over TLS or plain.

Greenlets and what they own: one accepts, one keeps time for all peers, and each connection has one that
reads (and closes, it is the connection's owner) and one that writes. Nobody else touches the socket.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.pool
import gevent.socket
import gevent.ssl

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.exchange.exchange import Exchange
from smarkets_pool.exchange.peer import Peer
from smarkets_pool.logs import PlaceLog

__all__ = ["ExchangeServer"]

_log = PlaceLog("exchange.server")

#: Small, so that a client that never pauses has little to say in each turn of the loop.
_READ_SIZE = 8_192
_BACKLOG = 4096
#: How often the peers' deadlines are looked at, in seconds.
_TICK = 0.05
_HANDSHAKE_TIMEOUT = 10.0
#: How long a closing connection may go on sending before it is closed on it: an early close would
#: reset the connection and take our last words with it.
_LINGER = 1.0


class _ServedConnection:
    """One accepted socket with its peer."""

    def __init__(self, server: ExchangeServer, accepted: Any) -> None:
        self._server = server
        self._socket = accepted
        self._wake = gevent.event.Event()
        self._waiting: list[bytes] = []
        self._size = 0
        self._finishing = False
        self._ended = gevent.event.Event()

    # --- the reader: owns the socket --------------------------------------------------------------

    def run(self) -> None:
        """The connection's life: handshake, read until the end, close."""
        peer: Peer | None = None
        writer: Any = None
        try:
            if not self._handshake():
                return
            peer = self._server.exchange.connect(self._server.now(), self._on_wake)
            writer = self._server.spawn(self._write)
            # Once the peer is closing, what still comes is read and thrown away until the client has
            # closed too: closing over unread bytes would reset the connection and take our last words.
            while data := self._recv():
                peer.receive(data, self._server.now())
                # sleep(0) would only run callbacks: others' sockets must be polled in between.
                gevent.sleep(1e-6)
        finally:
            if peer is not None:
                peer.lost(self._server.now())
            if writer is not None:
                writer.kill(block=False)
            self.close()
            self._ended.set()

    def _handshake(self) -> bool:
        context = self._server.context
        if context is None:
            return True
        try:
            self._socket.settimeout(_HANDSHAKE_TIMEOUT)
            self._socket = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._socket.do_handshake()
            self._socket.settimeout(None)
        except OSError as error:
            _log.info(None, "TLS handshake failed: %s", error)
            return False
        return True

    def _recv(self) -> bytes:
        try:
            data: bytes = self._socket.recv(_READ_SIZE)
        except OSError:
            return b""
        return data

    def close(self) -> None:
        """Close the socket; again is fine."""
        with contextlib.suppress(OSError):
            self._socket.close()

    # --- the writer ------------------------------------------------------------------------------

    def _on_wake(self, peer: Peer) -> None:
        data = peer.data_to_send()
        if data:
            self._waiting.append(data)
            self._size += len(data)
            self._wake.set()
        if self._size > self._server.exchange.settings.out_buffer_limit and not peer.closing:
            peer.abort(self._server.now(), f"it does not read: {self._size} bytes wait")
        if peer.closing and not self._finishing:
            self._finishing = True
            self._server.spawn(self._finish, peer)

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                data = b"".join(self._waiting)
                self._waiting.clear()
                try:
                    self._socket.sendall(data)
                except OSError:
                    self.close()  # wakes the reader, which ends the connection
                    return
                self._size -= len(data)

    # --- the end, when it is ours ----------------------------------------------------------------

    def _finish(self, peer: Peer) -> None:
        """Write what is left, say that nothing follows, give the client a moment, close."""
        with gevent.Timeout(_LINGER, False):  # type: ignore[arg-type]
            while not peer.aborted and self._size:
                gevent.sleep(0.002)
            if not peer.aborted:
                with contextlib.suppress(OSError):
                    # On the socket below TLS: shutting down TLS itself would break the reader.
                    self._socket._sock.shutdown(gevent.socket.SHUT_WR)
                self._ended.wait()
        self.close()


class ExchangeServer:
    """Serves an ``Exchange`` on a TCP port.

    Args:
        host, port: where to listen; port 0 takes a free one.
        context: TLS, or None for plain TCP.
        clock: seconds that never go back; the only source of ``now``.

    Raises:
        ConfigError: the address cannot be listened on (from ``start``).
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        context: gevent.ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.exchange = exchange
        self.context = context
        self._clock = clock
        self.host = host
        self.port = port
        self._listener: Any = None
        self._greenlets = gevent.pool.Group()

    def __repr__(self) -> str:
        return f"<ExchangeServer {self.host}:{self.port} {self.exchange!r}>"

    def now(self) -> float:
        """Seconds on the clock that the exchange is given."""
        return self._clock()

    def tick(self) -> None:
        """Serve what is due now; with a clock that jumps call it after each jump."""
        self.exchange.handle_timers(self.now())

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do next, on this clock."""
        return self.exchange.next_deadline()

    def spawn(self, function: Callable[..., object], *args: object) -> Any:
        """Run a function in a greenlet that ``stop`` ends."""
        return self._greenlets.spawn(function, *args)

    def start(self) -> None:
        """Listen; connections are served from now on."""
        if self._listener is not None:
            return
        family = gevent.socket.AF_INET6 if ":" in self.host else gevent.socket.AF_INET
        listener: Any = None
        try:
            listener = gevent.socket.socket(family, gevent.socket.SOCK_STREAM)
            listener.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(_BACKLOG)
        except (OSError, ValueError, OverflowError) as error:
            if listener is not None:
                listener.close()
            raise ConfigError(f"cannot listen on {self.host}:{self.port}: {error}") from error
        self.port = listener.getsockname()[1]
        self._listener = listener
        self.spawn(self._accept, listener)
        self.spawn(self._keep_time)

    def stop(self) -> None:
        """Close the listener and every connection; again is fine."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        self._greenlets.kill(timeout=5.0)

    def _accept(self, listener: Any) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError as error:
                if self._listener is None:
                    return
                # Out of descriptors, or the client has gone again: those that are here go on.
                _log.warning(None, "accepting failed: %s", error)
                gevent.sleep(0.1)
                continue
            accepted.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
            self.adopt(accepted)

    def adopt(self, accepted: Any) -> None:
        """Serve a connected stream socket, whoever accepted it; it is the server's from here.

        Raises:
            ConfigError: the server does not listen.
        """
        if self._listener is None:
            raise ConfigError(f"nobody listens on {self.host}:{self.port}: start the exchange first")
        connection = _ServedConnection(self, accepted)
        # A greenlet that is killed before its first switch runs no ``finally``, but its links.
        self.spawn(connection.run).rawlink(lambda _, connection=connection: connection.close())

    def _keep_time(self) -> None:
        while True:
            gevent.sleep(_TICK)
            self.tick()

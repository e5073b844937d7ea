"""``ExchangeServer``: the exchange on a socket, over TLS or plain.

Greenlets and what they own: one accepts, one keeps time for all peers, and each connection has one that
reads (and closes, it is the connection's owner) and one that writes. Nobody else touches the socket.
Time is kept by waiting for the earliest deadline, whoever's it is; whoever makes an earlier one says so.
"""

from __future__ import annotations

import contextlib
import struct
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

__all__ = ["ExchangeServer", "Served"]

_log = PlaceLog("exchange.server")

#: Small, so that a client that never pauses has little to say in each turn of the loop.
_READ_SIZE = 8_192
_BACKLOG = 4096
#: The shortest and the longest pause between two looks at the deadlines, in seconds: the clock may be
#: another than that of the greenlets.
_SHORTEST = 0.001
_LONGEST = 1.0
_HANDSHAKE_TIMEOUT = 10.0
#: A pause in which others have their turn; sleep(0) would only run callbacks, and poll no sockets.
_TURN = 1e-6
#: How long a connection that is over waits for its client to close too: an
#: early close would reset the connection and take our last words with it.
_LINGER = 1.0
#: How long it may take nothing at all of what is left.
_PATIENCE = 5.0
#: Bytes that are written at once; after each the client has shown that it reads.
_WRITE_SIZE = 65_536


class Served:
    """An accepted socket and what is said on it; a server has one per connection."""

    def __init__(self, server: ExchangeServer, accepted: Any) -> None:
        self._server = server
        self._socket = accepted

    def run(self) -> None:
        """The connection's life, to its end."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the socket; again is fine."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _handshake(self) -> bool:
        context = self._server.context
        if context is None:
            return True
        self._server.on_handshake()
        try:
            # Of a client that has gone again gevent would make a TLS socket that nobody closes.
            self._socket.getpeername()
            self._socket.settimeout(_HANDSHAKE_TIMEOUT)
            self._socket = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._socket.do_handshake()
            self._socket.settimeout(None)
        except OSError as error:
            _log.info(None, "TLS handshake failed: %s", error)
            return False
        return True

    def _say_that_nothing_follows(self) -> None:
        with contextlib.suppress(OSError):
            # On the socket below TLS: shutting down TLS itself would break the reader.
            self._socket._sock.shutdown(gevent.socket.SHUT_WR)


class _ServedConnection(Served):
    """One with its peer."""

    def __init__(self, server: ExchangeServer, accepted: Any) -> None:
        super().__init__(server, accepted)
        self._peer: Peer | None = None
        self._wake = gevent.event.Event()
        self._waiting: list[bytes] = []
        self._size = 0
        #: How many of these the writer is writing.
        self._in_hand = 0
        #: Set when the client has taken something.
        self._progress = gevent.event.Event()
        self._finishing = False
        self._may_read = gevent.event.Event()
        self._may_read.set()
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
                gevent.sleep(_TURN)
        except Exception:  # noqa: BLE001 - whatever a client brings about costs its own connection alone
            number = peer.number if peer is not None else 0
            _log.exception(None, "connection %d: closed for what it sent", number)
        finally:
            if peer is not None:
                peer.lost(self._server.now())
            if writer is not None:
                writer.kill(block=False)
            self.close()
            self._ended.set()

    def _recv(self) -> bytes:
        self._may_read.wait()
        try:
            data: bytes = self._socket.recv(_READ_SIZE)
        except OSError:
            return b""
        return data

    def close(self) -> None:
        """Close the socket; again is fine."""
        self._may_read.set()
        super().close()

    # --- the writer ------------------------------------------------------------------------------

    def _on_wake(self, peer: Peer) -> None:
        self._peer = peer
        data = peer.data_to_send()
        if data:
            self._waiting.append(data)
            self._size += len(data)
            self._count()
            self._wake.set()
        if peer.aborted:
            self._progress.set()
        if peer.reads or peer.closing:
            self._may_read.set()
        else:
            self._may_read.clear()
        if peer.finished and not self._finishing:
            self._finishing = True
            self._server.spawn(self._finish, peer)

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                data = memoryview(b"".join(self._waiting))
                self._waiting.clear()
                self._in_hand = len(data)
                self._count()
                try:
                    for offset in range(0, len(data), _WRITE_SIZE):
                        part = data[offset : offset + _WRITE_SIZE]
                        self._socket.sendall(part)
                        self._size -= len(part)
                        self._in_hand -= len(part)
                        self._count()
                        self._progress.set()
                except OSError:
                    self.close()  # wakes the reader, which ends the connection
                    return

    def _count(self) -> None:
        """What is in hand was all there was when its turn came; what waits behind it has no turn yet."""
        if self._peer is not None:
            self._peer.unwritten = self._size
            self._peer.stuck = self._size - self._in_hand if self._in_hand else 0

    # --- the end, when it is ours ----------------------------------------------------------------

    def _finish(self, peer: Peer) -> None:
        """Write what is left as long as the client takes any of it, say that nothing follows, close."""
        taking = True
        while taking and self._size and not peer.aborted:
            self._progress.clear()
            taking = self._progress.wait(_PATIENCE)
        if taking and not peer.aborted:
            self._say_that_nothing_follows()
            self._ended.wait(_LINGER)
        self.close()


class ExchangeServer:
    """Serves an ``Exchange`` on a TCP port.

    Args:
        host, port: where to listen; port 0 takes a free one.
        context: TLS, or None for plain TCP; another one counts for the next connection.
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
        self.context = context
        #: Called before each TLS handshake.
        self.on_handshake: Callable[[], None] = _nothing
        self._clock = clock
        self.host = host
        self.port = port
        self._listener: Any = None
        self._acceptor: Any = None
        #: When it listens again, while it is away.
        self._back_at: float | None = None
        self._alarm = gevent.event.Event()
        self._greenlets = gevent.pool.Group()
        self._connections: set[Served] = set()
        self.exchange = exchange

    def __repr__(self) -> str:
        return f"<ExchangeServer {self.host}:{self.port} {self.exchange!r}>"

    @property
    def exchange(self) -> Exchange:
        """What is served. Another one serves the next connections; those of the old one should be over."""
        return self._exchange

    @exchange.setter
    def exchange(self, exchange: Exchange) -> None:
        self._exchange = exchange
        exchange.alarm = self._alarm.set
        self._alarm.set()

    def now(self) -> float:
        """Seconds on the clock that the exchange is given."""
        return self._clock()

    def tick(self) -> None:
        """Serve what is due now; with a clock that jumps call it after each jump."""
        now = self.now()
        if self._back_at is not None and now >= self._back_at:
            self._come_back()
        self.exchange.handle_timers(now)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do next, on this clock."""
        deadlines = (self.exchange.next_deadline(), self._back_at)
        return min((due for due in deadlines if due is not None), default=None)

    def spawn(self, function: Callable[..., object], *args: object) -> Any:
        """Run a function in a greenlet that ``stop`` ends."""
        return self._greenlets.spawn(function, *args)

    def start(self) -> None:
        """Listen; connections are served from now on."""
        if self._listener is not None:
            return
        self._listen()
        self.spawn(self._keep_time)

    def _listen(self) -> None:
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
        self._acceptor = self.spawn(self._accept, listener)

    def stop(self) -> None:
        """Close the listener and every connection; again is fine."""
        listener, self._listener = self._listener, None
        was_away, self._back_at = self._back_at is not None, None
        if listener is None and not was_away:
            return
        if listener is not None:
            listener.close()
        self._greenlets.kill(timeout=5.0)

    def go_away(self, seconds: float) -> None:
        """Break every connection and listen on the same port again ``seconds`` later, on this clock."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._acceptor.kill(block=False)
            listener.close()
        for peer in self.exchange.peers:
            peer.cut(self.now(), inside=False)
        for connection in list(self._connections):
            connection.close()  # also those that were still shaking hands
        self._back_at = self.now() + seconds
        self._alarm.set()

    def _come_back(self) -> None:
        try:
            self._listen()
        except ConfigError as error:
            # Somebody else has the port for the moment; clients go on trying too.
            _log.warning(None, "%s", error)
            self._back_at = self.now() + 0.1
        else:
            self._back_at = None

    def _accept(self, listener: Any) -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError as error:
                if self._listener is not listener:
                    return
                # Out of descriptors, or the client has gone again: those that are here go on.
                _log.warning(None, "accepting failed: %s", error)
                gevent.sleep(0.1)
                continue
            try:
                accepted.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
                self.adopt(accepted)
            except Exception:  # noqa: BLE001 - the next client is innocent
                _log.exception(None, "a connection could not be served")
                accepted.close()
            # A crowd at the door does not keep those waiting who are in.
            gevent.sleep(_TURN)

    def adopt(self, accepted: Any) -> None:
        """Serve a connected stream socket, whoever accepted it; it is the server's from here.

        Raises:
            ConfigError: the server does not listen.
        """
        if self._listener is None:
            raise ConfigError(f"nobody listens on {self.host}:{self.port}: start the exchange first")
        if self.exchange.faults.refuses_connection():
            _reset(accepted)
            return
        connection = self.serve(accepted)
        self._connections.add(connection)
        # A greenlet that is killed before its first switch runs no ``finally``, but its links.
        self.spawn(connection.run).rawlink(lambda _, connection=connection: self._over(connection))

    def serve(self, accepted: Any) -> Served:
        """What has the connection from here."""
        return _ServedConnection(self, accepted)

    def _over(self, connection: Served) -> None:
        self._connections.discard(connection)
        connection.close()

    def _keep_time(self) -> None:
        while True:
            try:
                due = self.next_deadline()
                pause = _LONGEST if due is None else min(_LONGEST, max(_SHORTEST, due - self.now()))
                self._alarm.wait(pause)
                self._alarm.clear()
                self.tick()
            except Exception:  # noqa: BLE001 - whatever it is, everybody's time goes on
                _log.exception(None, "a moment's deadlines could not all be served")
                gevent.sleep(_SHORTEST)


def _nothing() -> None:
    """Nothing has to be done before a handshake."""


def _reset(connection: Any) -> None:
    """Close so that the other side sees a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

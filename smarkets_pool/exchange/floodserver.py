"""``FloodServer``: a flood source on the exchange's port, with the exchange's accounts and certificates.

A client connects and logs in as ever. From its login on it is sent the bytes of a ``FloodStream``, which are
the same for all, as fast as its socket takes them. What it sends is read and, but for a logout, without
effect: nothing is matched, subscribed to or replayed.

Each connection has a greenlet that reads and a watcher that writes. The watcher is called once in each
turn of the loop in which the socket has room, and writes one piece: so nobody is served twice before
everybody with room was served once, and who does not read costs nothing.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gevent
import gevent.event

from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.exchange import Exchange
from smarkets_pool.exchange.flood import BLOCK, Flood, FloodStream, offset_behind
from smarkets_pool.exchange.server import ExchangeServer, Served
from smarkets_pool.logs import PlaceLog
from smarkets_pool.protocol import Event, Failed, LoginReceived, LogoutReceived, SessionProtocol
from smarkets_pool.wire.schema import eto_pb2 as eto

__all__ = ["FloodServer"]

_log = PlaceLog("exchange.flood")

_WRITE = 2
_READ_SIZE = 16_384
#: One piece: what a TLS record holds, and on a plain socket enough to make the call's own cost small.
_TLS_PIECE = 16_384
_PLAIN_PIECE = 65_536
#: Bytes that the system keeps for a connection; left to itself it takes megabytes for each of a thousand.
_SEND_BUFFER = 128 << 10
#: How often connections with a rate are given their next frames, in seconds.
_TICK = 0.01
_LINGER = 1.0


class _Outlet:
    """The stream's bytes on their way to one socket.

    ``on_end`` is called, once, when the last byte is written or the connection broke. All of this runs to
    its end without switching; most of it in the hub, so it must not raise there.
    """

    def __init__(self, stream: FloodStream, connection: Any, on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end
        tls = getattr(connection, "_sslobj", None)
        self._send: Callable[[memoryview], int] = tls.write if tls is not None else connection._sock.send
        self._piece = _TLS_PIECE if tls is not None else _PLAIN_PIECE
        self._watcher: Any = gevent.get_hub().loop.io(connection.fileno(), _WRITE)
        self._is_open = True
        # Of the block: its bytes, how many of them are written, and how many may be, which is up to the
        # end of frame ``_number``.
        self._index = 0
        self._data = stream.block(0)
        self._view = memoryview(self._data)
        self._written = 0
        self._until = 0
        self._number = 0
        #: The last frame that may be written so far, and the last one at all.
        self._allowed = 0
        self._last = stream.flood.frames
        self._reason = int(eto.LOGOUT_NONE)
        self._saying_goodbye = False

    @property
    def frames(self) -> int:
        """How many frames are written, beside a logout."""
        if self._saying_goodbye:
            return self._number
        before, offset = max(0, self._index * BLOCK - 1), 0
        while offset < self._written and (behind := offset_behind(self._data, offset, 1)) <= self._written:
            before, offset = before + 1, behind
        return before

    def allow(self, number: int | None) -> None:
        """Let everything up to frame ``number`` be written, or all there is."""
        self._allowed = (1 << 63) if number is None else number
        if self._is_open:
            self._watcher.start(self._on_writable)

    def end(self, reason: int) -> None:
        """Write what was begun, then a logout, and no more."""
        if not self._saying_goodbye and (self._last is None or self._last > self._number):
            self._last, self._reason = max(self._number, 1), reason
            self.allow(self._last)

    def close(self) -> None:
        """Write nothing more; again is fine."""
        if self._is_open:
            self._is_open = False
            self._watcher.stop()
            self._watcher.close()

    def _on_writable(self) -> None:
        try:
            if self._written < self._until or self._advance():
                piece = self._view[self._written : min(self._written + self._piece, self._until)]
                self._written += self._send(piece)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
        except BaseException as error:  # noqa: BLE001 - an error that left here would stop the watcher for good
            self._break_off(error)

    def _advance(self) -> bool:
        """Everything that may be written is: see what may be now."""
        if self._saying_goodbye:
            self.close()
            self._on_end()
            return False
        if self._number == self._last:
            self._saying_goodbye = True
            self._load(self._stream.logout(self._number + 1, self._reason))
            self._until = len(self._data)
            return True
        last_of_block = (self._index + 1) * BLOCK - 1
        if self._number == last_of_block:
            self._index += 1
            last_of_block += BLOCK
            self._load(self._stream.block(self._index))
        goal = min(last_of_block, self._allowed, last_of_block if self._last is None else self._last)
        if goal <= self._number:
            self._watcher.stop()
            return False
        self._until = (
            len(self._data)
            if goal == last_of_block
            else offset_behind(self._data, self._until, goal - self._number)
        )
        self._number = goal
        return True

    def _load(self, data: bytes) -> None:
        self._data, self._view = data, memoryview(data)
        self._written = self._until = 0

    def _break_off(self, error: BaseException) -> None:
        self.close()
        self._on_end()
        if not isinstance(error, OSError):
            gevent.get_hub().handle_error(self, type(error), error, error.__traceback__)


class _FloodedConnection(Served):
    """One that is flooded from its login to its end."""

    _server: FloodServer

    def __init__(self, server: FloodServer, accepted: Any) -> None:
        super().__init__(server, accepted)
        self._ended = gevent.event.Event()
        self._account: ExchangeAccount | None = None
        self._protocol = SessionProtocol(
            max_frame_size=server.exchange.settings.max_frame_size, says_is_replay=True
        )
        self._began_at: float | None = None
        #: Where the flood leaves, once logged in.
        self.outlet: _Outlet | None = None

    def run(self) -> None:
        """The connection's life: handshake, login, flood, close."""
        try:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            if self._handshake() and self._log_in():
                self._read()
        except Exception:  # noqa: BLE001 - whatever a client brings about costs its own connection alone
            _log.exception(self._account.username if self._account else None, "closed for what it sent")
        finally:
            if self.outlet is not None:
                self.outlet.close()
                self._server.left(self)
            if self._account is not None:
                self._account.online -= 1
            self._ended.set()
            self.close()

    def start(self, now: float) -> None:
        """Send the flood behind the beginning."""
        self._began_at = now
        if self._server.stream.flood.rate is None and self.outlet is not None:
            self.outlet.allow(None)

    def pace(self, now: float) -> None:
        """Send what is due by now, of a flood that has a rate."""
        stream = self._server.stream
        if self._began_at is not None and stream.flood.rate is not None and self.outlet is not None:
            self.outlet.allow(stream.head + int((now - self._began_at) * stream.flood.rate))

    # --- the login, as at any exchange ---

    def _log_in(self) -> bool:
        refusal: int | None = eto.LOGOUT_LOGIN_TIMEOUT
        with gevent.Timeout(self._server.exchange.settings.login_timeout, False):  # type: ignore[arg-type]
            event = self._first_event()
            if event is None:
                return False
            refusal = self._judge(event)
        if refusal is not None:
            self._refuse(refusal)
        return refusal is None

    def _first_event(self) -> Event | None:
        """What the client says first; None if it is gone, or speaks another language."""
        event = None
        while event is None:
            data = self._recv()
            if not data:
                return None
            self._protocol.receive_data(data)
            event = self._protocol.next_event(self._server.now())
        if isinstance(event, Failed):
            _log.info(None, "%s", event.error)
            return None
        return event

    def _judge(self, event: Event) -> int | None:
        """Why there is no session (a LogoutReason), or None: then there is one."""
        if not isinstance(event, LoginReceived):
            return int(eto.LOGOUT_LOGIN_NOT_FIRST_SEQ)
        exchange, now = self._server.exchange, self._server.now()
        account = exchange.authenticate(event.login)
        if account is None:
            return int(eto.LOGOUT_UNAUTHORISED)
        refusal = exchange.refusal(account, now)
        if refusal is None:
            self._account = account
            account.online += 1
            self._protocol.accept_login("flood", now, login_seq=event.seq)
        return refusal

    def _refuse(self, reason: int) -> None:
        self._protocol.logout(self._server.now(), reason)
        with contextlib.suppress(OSError), gevent.Timeout(_LINGER, False):  # type: ignore[arg-type]
            self._socket.sendall(self._protocol.data_to_send())
            self._say_that_nothing_follows()
            while self._recv():
                pass

    # --- the flood ---

    def _read(self) -> None:
        """Start the flood and read until the client has closed; all that counts is its logout."""
        protocol, server = self._protocol, self._server
        outlet = self.outlet = _Outlet(server.stream, self._socket, self._on_written)
        server.joined(self)
        while data := self._recv():
            protocol.receive_data(data)
            while (event := protocol.next_event(server.now())) is not None:
                if isinstance(event, LogoutReceived):
                    outlet.end(eto.LOGOUT_CONFIRMATION)
                elif isinstance(event, Failed):
                    _log.info(self._account.username if self._account else None, "%s", event.error)
                    return
            # The stream's numbers are given; what the rules would answer has no place in it.
            protocol.data_to_send()
            gevent.sleep(1e-6)

    def _recv(self) -> bytes:
        try:
            data: bytes = self._socket.recv(_READ_SIZE)
        except OSError:
            return b""
        return data

    # --- the end ---

    def _on_written(self) -> None:
        self._server.spawn(self._linger)

    def _linger(self) -> None:
        """Let the client read the last bytes and close; an early close could take them away."""
        self._say_that_nothing_follows()
        self._ended.wait(_LINGER)
        self.close()


class FloodServer(ExchangeServer):
    """Serves a flood instead of the exchange's life, to whoever logs in.

    Args:
        exchange: whose accounts may log in; its settings for logins count too.
        contract_ids: the contracts of each market that the flood is about.

    Raises:
        ConfigError: no market has a contract; the address cannot be listened on (from ``start``).
    """

    def __init__(
        self,
        exchange: Exchange,
        flood: Flood,
        contract_ids: Mapping[int, Iterable[int]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(exchange, host=host, port=port, context=context, clock=clock)
        self.stream = FloodStream(flood, contract_ids)
        self._flooded: dict[_FloodedConnection, None] = {}
        self._starting = self._flooding = False
        self._frames_of_left = 0

    def __repr__(self) -> str:
        return f"<FloodServer {self.host}:{self.port} {len(self._flooded)} connections, {self.stream.flood}>"

    @property
    def connections(self) -> int:
        """How many are logged in."""
        return len(self._flooded)

    @property
    def frames_sent(self) -> int:
        """Frames of the flood that were written so far, to all connections together."""
        running = (c.outlet.frames for c in self._flooded if c.outlet is not None)
        return self._frames_of_left + sum(running)

    def serve(self, accepted: Any) -> Served:
        """What has the connection from here."""
        return _FloodedConnection(self, accepted)

    def start(self) -> None:
        """Listen; connections are served from now on."""
        if self._listener is None:
            super().start()
            if self.stream.flood.rate is not None:
                self.spawn(self._pace)

    def joined(self, connection: _FloodedConnection) -> None:
        """A connection has logged in: it gets its beginning, and the rest when everybody is there."""
        self._flooded[connection] = None
        assert connection.outlet is not None
        connection.outlet.allow(self.stream.head)
        if self._flooding:
            connection.start(self.now())
        elif len(self._flooded) >= self.stream.flood.start_at and not self._starting:
            self._starting = True
            self.spawn(self._start)

    def _start(self) -> None:
        gevent.sleep(self.stream.flood.pause)
        self._flooding = True
        for connection in self._flooded:
            connection.start(self.now())

    def left(self, connection: _FloodedConnection) -> None:
        """A connection is over."""
        self._flooded.pop(connection, None)
        if connection.outlet is not None:
            self._frames_of_left += connection.outlet.frames

    def _pace(self) -> None:
        while True:
            gevent.sleep(_TICK)
            now = self.now()
            for connection in self._flooded:
                connection.pace(now)

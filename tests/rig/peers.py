"""Peers over real sockets whose every byte a test decides, and an exchange without sockets.

* ``Scripted``: a server on loopback that plays a function with each client that connects;
* ``session_with``: such a server and a ``Session`` that belongs to it;
* ``Line``: one end of a connection, whole payloads in, any bytes out;
* ``Floor``: an ``Exchange`` without I/O, on a manual clock, and clients that talk to it.

Frames are made and cut by ``tests.rig.ends``, not by the package.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import gevent

from smarkets_pool import seto
from smarkets_pool.exchange import Exchange, ExchangeSettings
from smarkets_pool.exchange.accounts import Accounts, ExchangeAccount
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.peer import Peer
from smarkets_pool.protocol import Event, SessionProtocol, Timing
from smarkets_pool.session import Frame, Session, SessionSettings
from tests.rig.ends import START, brief, cut, login_response, told

# The hub's own descriptors are made at its first switch: now, so that no test is blamed for them.
gevent.sleep(0)

LIMIT = 10.0
USERNAME = "u@example.com"
PASSWORD = "pw"


# --- one end of a connection ----------------------------------------------------------------------


def _frame_size(data: bytes) -> int | None:
    """The length of the first frame in ``data``, None while its header is cut short."""
    size = 0
    for index, digit in enumerate(data):
        size += (digit % 128) * 128**index
        if digit < 128:
            return max(4, index + 1 + size)
    return None


class Line:
    """One end of a connection in the hands of a test."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket: Any = connection
        self._data = b""

    def send(self, *frames: bytes) -> None:
        """Write these bytes."""
        self.socket.sendall(b"".join(frames))

    def payload(self) -> seto.Payload:
        """Wait for the next whole payload; ``EOFError`` if the other side closed."""
        while (size := _frame_size(self._data)) is None or len(self._data) < size:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(f"closed with {len(self._data)} bytes of a frame")
            self._data += more
        whole, self._data = self._data[:size], self._data[size:]
        return seto.Payload.FromString(cut(whole)[0])

    def take(self, count: int) -> list[str]:
        """Wait for so many payloads; return them in brief."""
        return [brief(self.payload()) for _ in range(count)]

    def payloads_until_closed(self) -> list[seto.Payload]:
        """Everything until the other side closes (or resets)."""
        found = []
        with contextlib.suppress(EOFError, OSError):
            while True:
                found.append(self.payload())
        return found

    def until_closed(self) -> list[str]:
        """The same in brief."""
        return [brief(payload) for payload in self.payloads_until_closed()]

    def accept(self) -> seto.Payload:
        """Read the login, accept it and return it."""
        login = self.payload()
        self.send(login_response())
        return login

    def reset(self) -> None:
        """Close so that the other side sees a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def hang_up(self) -> None:
        """Say that nothing follows, without a reset, and wait until the other side has closed too."""
        with contextlib.suppress(OSError):
            getattr(self.socket, "_sock", self.socket).shutdown(socket.SHUT_WR)
            while self.socket.recv(65536):
                pass

    def close(self) -> None:
        """Close; again is fine."""
        with contextlib.suppress(OSError):
            self.socket.close()


@contextlib.contextmanager
def dialled(host: str, port: int, *, receive_buffer: int | None = None) -> Iterator[Line]:
    """A plain connection to a server, as a client whose bytes the test makes."""
    connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(LIMIT)
    try:
        connection.connect((host, port))
        yield Line(connection)
    finally:
        connection.close()


# --- a server that plays a script -----------------------------------------------------------------

Script = Callable[[Line], object]


def hold(line: Line) -> None:
    """A script: accept the login and wait until the client closes."""
    line.accept()
    line.until_closed()


def mute(line: Line) -> None:
    """A script: read whatever comes and never say a word."""
    with contextlib.suppress(OSError):
        while line.socket.recv(65536):
            pass


class Scripted:
    """Listens on loopback; the n-th client meets the n-th script, later ones the last.

    When a script returns, the connection is closed without a reset. What a script raised is raised
    again when the context ends, unless the test failed already.
    """

    def __init__(
        self,
        *scripts: Script,
        context: Any = None,
        host: str = "127.0.0.1",
        receive_buffer: int | None = None,
    ) -> None:
        self.scripts = scripts
        self.accepted = 0
        self.results: list[object] = []
        self._context = context
        self._errors: list[BaseException] = []
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((host, 0))
        self._listener.listen(16)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._greenlets = [gevent.spawn(self._accept)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self.scripts[min(self.accepted, len(self.scripts) - 1)]
            self.accepted += 1
            self._greenlets.append(gevent.spawn(self._play, connection, script))

    def _play(self, connection: Any, script: Script) -> None:
        line = Line(connection)
        try:
            if self._context is not None:
                try:
                    line.socket = self._context.wrap_socket(connection, server_side=True)
                except OSError:
                    return  # the handshake is the client's matter; it will tell
            self.results.append(script(line))
            line.hang_up()
        except Exception as error:
            self._errors.append(error)
        finally:
            line.close()

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._listener.close()
        gevent.joinall(self._greenlets, timeout=0.05)
        gevent.killall(self._greenlets)
        if kind is None and self._errors:
            raise self._errors[0]


@contextlib.contextmanager
def session_with(
    *scripts: Script,
    context: Any = None,
    options: dict[str, Any] | None = None,
    receive_buffer: int | None = None,
    **settings: Any,
) -> Iterator[Session]:
    """A session, not yet connected, whose peer plays ``scripts``; ``options`` are for ``Session``."""
    with (
        gevent.Timeout(LIMIT, AssertionError(f"the conversation took more than {LIMIT} s")),
        Scripted(*scripts or (hold,), context=context, receive_buffer=receive_buffer) as server,
    ):
        values = {
            "username": USERNAME,
            "password": PASSWORD,
            "host": server.host,
            "port": server.port,
            "ssl": context is not None,
            "socket_timeout": 5,
        }
        session = Session(SessionSettings(**{**values, **settings}), **options or {})
        try:
            yield session
        finally:
            session.disconnect()


def buffered(session: Session) -> list[Frame]:
    """What ``next_frame`` gives without another read."""
    found = []
    while (frame := session.next_frame()) is not None:
        found.append(frame)
    return found


def read_until(session: Session, count: int) -> list[str]:
    """Read until ``count`` frames came; return them in brief."""
    found: list[str] = []
    while True:
        found += [brief(frame.protobuf) for frame in buffered(session)]
        if len(found) >= count:
            return found
        session.read()


# --- an exchange without sockets ------------------------------------------------------------------

#: A client that does nothing by itself.
PASSIVE = Timing(
    heartbeat_after=None, probe_after=None, give_up_after=None, login=None, logout=None, replay=None
)


class Caller:
    """A client's end of one connection to a ``Floor``, without a network.

    ``call`` and ``login`` use a real ``SessionProtocol``; ``feed`` sends bytes made by hand.
    """

    def __init__(self, floor: Floor, timing: Timing = PASSIVE) -> None:
        self.floor = floor
        self.woken = 0
        self.peer: Peer = floor.exchange.connect(floor.now, self._wake)
        self.side = SessionProtocol(timing=timing)
        self.payloads: list[seto.Payload] = []
        self.events: list[Event] = []

    def _wake(self, peer: Peer) -> None:
        self.woken += 1

    def feed(self, *frames: bytes) -> list[str]:
        """Send bytes; return in brief what came back. Nothing of it reaches ``side``."""
        self.peer.receive(b"".join(frames), self.floor.now)
        return self.heard()

    def heard(self) -> list[str]:
        """What the exchange has written since the last look, in brief."""
        return [brief(payload) for payload in self.heard_payloads()]

    def heard_payloads(self) -> list[seto.Payload]:
        """The same as payloads."""
        found = [seto.Payload.FromString(data) for data in cut(self.peer.data_to_send())]
        self.payloads += found
        return found

    def login(self, number: int = 0, *, session: str | None = None, **fields: Any) -> list[str]:
        """Log in as the floor's account of that number; return in brief what came."""
        account = self.floor.accounts[number]
        values = {"username": account.username, "password": "pw-" + account.username, **fields}
        self.side.login(seto.Login(**values), self.floor.now, session=session)
        return self.exchange_bytes()

    def send(self, message: Any) -> list[str]:
        """Send a message; return in brief what came back."""
        self.side.send(message, self.floor.now)
        return self.exchange_bytes()

    def exchange_bytes(self) -> list[str]:
        """Carry bytes both ways until both are quiet; return in brief what the client received."""
        seen = len(self.payloads)
        while True:
            out = self.side.data_to_send()
            if out:
                self.peer.receive(out, self.floor.now)
            back = self.peer.data_to_send()
            self.payloads += [seto.Payload.FromString(data) for data in cut(back)]
            self.side.receive_data(back)
            while (event := self.side.next_event(self.floor.now)) is not None:
                self.events.append(event)
            if not out and not back:
                return [brief(payload) for payload in self.payloads[seen:]]

    @property
    def reason(self) -> int:
        """The reason of the last logout that came, 0 if the last payload is none."""
        last = self.payloads[-1]
        return int(last.eto_payload.logout.reason) if last.eto_payload.HasField("logout") else 0

    def told(self) -> list[object]:
        """The client's events, as ``ends.told`` compares them."""
        return [told(event) for event in self.events]


class Floor:
    """An exchange with accounts ``ann`` and ``bob`` and market 1 with contract 2, on a manual clock."""

    def __init__(self, *, seed: int = 0, **settings: Any) -> None:
        self.now = START
        values = ExchangeSettings(**settings)
        registry = Accounts(values)
        self.accounts: list[ExchangeAccount] = [
            registry.add(name, "pw-" + name, "token-" + name) for name in ("ann", "bob")
        ]
        self.exchange = Exchange(
            accounts=registry,
            markets=[Market(1, (2,)), Market(3, (4,))],
            wall_clock=lambda: int(self.now * 1_000_000),
            settings=values,
            clock=lambda: self.now,
            seed=seed,
        )

    def caller(self, number: int | None = None, timing: Timing = PASSIVE, **login: Any) -> Caller:
        """A new connection, logged in if an account's number is given."""
        caller = Caller(self, timing)
        if number is not None:
            caller.login(number, **login)
            assert caller.side.logged_in
        return caller

    def wait(self, seconds: float) -> None:
        """Let time pass and have the exchange serve its timers."""
        self.now += seconds
        self.exchange.handle_timers(self.now)


def buy(price: int = 2500, quantity: int = 400_000, **fields: Any) -> seto.OrderCreate:
    """An order for market 1, contract 2."""
    values: dict[str, Any] = {"side": seto.SIDE_BUY, "market_id": 1, "contract_id": 2, **fields}
    return seto.OrderCreate(price=price, quantity=quantity, **values)


def sell(price: int = 2500, quantity: int = 400_000, **fields: Any) -> seto.OrderCreate:
    """The other side of ``buy``."""
    return buy(price, quantity, side=seto.SIDE_SELL, **fields)


class Unanswering:
    """An address that answers no connection attempt, as a firewall that drops packets.

    A listener whose queue is full: the system ignores what comes then. Use as a context manager.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=0
        )
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._queued: list[socket.socket] = []

    def __enter__(self) -> Unanswering:
        self._queued.append(socket.create_connection((self.host, self.port)))
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._queued:
            connection.close()
        self._listener.close()

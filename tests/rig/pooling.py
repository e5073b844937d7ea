"""What the pool's tests stand on: records, events on demand, raw servers, a clock moved by hand.

* ``pool_on`` and ``Record``: a pool on an embedded exchange, and everything its handlers were given.
* ``execute``: an execution that simply happens to an account, logged in or not.
* ``RawServer`` and ``Talk``: a peer that does whatever a script says, for peers that misbehave.
* ``ManualRuntime`` and ``Simulated``: the pool's second ``Runtime``, without sockets or real time.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Any

import gevent
import gevent.event
import gevent.hub
import gevent.socket

from smarkets_pool import (
    Account,
    Backoff,
    Delivery,
    Pool,
    ReconnectPolicy,
    StopReport,
    TimeoutPolicy,
    eto,
    seto,
)
from smarkets_pool.exceptions import SocketDisconnected
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.protocol import LoginReceived, SessionProtocol, Timing
from smarkets_pool.session.settings import SessionSettings
from smarkets_pool.wire.framing import FrameBuffer
from smarkets_pool.wire.payloads import payload_name
from tests.rig.waiting import eventually

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")
#: Tries again at once, so that a test does not wait for it.
AT_ONCE = ReconnectPolicy(backoff=Backoff(initial=0.01, cap=0.02, jitter=0))
#: An answer to a login that never comes.
SILENCE = "no answer"
#: An exchange that hears nothing after the login.
DEAF = "deaf"


# The loop's own descriptors come with its first turn: let them be there before a test counts.
gevent.get_hub().threadpool.apply(int)


# --- pools and what their handlers saw --------------------------------------------------------------


class Record:
    """A global handler that keeps every delivery."""

    def __init__(self, pool: Pool | None = None) -> None:
        self.all: list[Delivery] = []
        if pool is not None:
            pool.add_global_handler(self)

    def __call__(self, delivery: Delivery) -> None:
        self.all.append(delivery)

    def of(self, name: str, account: str = "alice") -> list[Delivery]:
        """The deliveries of one name to one account."""
        return [d for d in self.all if d.name == name and d.account == account]

    def names(self, account: str = "alice", *, only: str = "") -> list[str]:
        """The names in order; ``only`` keeps those that begin so."""
        return [d.name for d in self.all if d.account == account and d.name.startswith(only)]

    def numbers(self, account: str = "alice") -> list[int]:
        """The account's own numbers in the order in which they were handled."""
        return [d.account_sequence for d in self.all if d.account == account and d.account_sequence]

    def wait(self, name: str, count: int = 1, account: str = "alice") -> Delivery:
        """Wait for the ``count``-th delivery of that name and return it."""
        eventually(lambda: len(self.of(name, account)) >= count)
        return self.of(name, account)[count - 1]


def pool_on(
    exchange: EmbeddedExchange,
    accounts: int = 1,
    *,
    reconnect: ReconnectPolicy = AT_ONCE,
    each: dict[str, Any] | None = None,
    **options: Any,
) -> Pool:
    """A pool with the exchange's first accounts, called alice, bob, ...; not started."""
    return Pool(
        [
            Account(NAMES[number], **{**exchange.settings_for(number), **(each or {})})
            for number in range(accounts)
        ],
        reconnect=reconnect,
        **options,
    )


def user(exchange: EmbeddedExchange, number: int = 0) -> str:
    """The user name of an account of the exchange."""
    return exchange.logins[number].username


def execute(exchange: EmbeddedExchange, number: int = 0, times: int = 1) -> None:
    """Let the account's (imagined) order be executed so many times; it need not be logged in."""
    name = user(exchange, number)
    account = exchange.exchange.accounts[name]
    for _ in range(times):
        fields = {
            "price": 5000,
            "quantity": account.next_account_sequence,
            "order_id": 7,
            "side": "SIDE_BUY",
            "market_id": exchange.market_ids[0],
            "contract_id": exchange.contract_ids[exchange.market_ids[0]][0],
        }
        exchange.operate("tell", account=name, name="seto.order_executed", fields=fields)


def order(exchange: EmbeddedExchange, *, side: int = seto.SIDE_BUY, price: int = 5000) -> seto.OrderCreate:
    """A small order on the exchange's first contract."""
    market_id = exchange.market_ids[0]
    return seto.OrderCreate(
        side=side,  # type: ignore[arg-type]
        quantity=10_000,
        price=price,
        market_id=market_id,
        contract_id=exchange.contract_ids[market_id][0],
    )


def peer_of(exchange: EmbeddedExchange, number: int = 0) -> Any:
    """The exchange's end of the account's connection."""
    name = user(exchange, number)
    return eventually(
        lambda: next((p for p in exchange.exchange.peers if p.account and p.account.username == name), None)
    )


def greenlets(pool: Pool) -> list[str]:
    """The names of the pool's greenlets that live."""
    return sorted(g.name for g in pool._supervisor._greenlets if not g.dead)


# --- raw servers ------------------------------------------------------------------------------------


class Talk:
    """The server's side of one connection, for scripts."""

    def __init__(self, connection: Any) -> None:
        self.socket = connection
        self.seen: list[seto.Payload] = []
        self._frames = FrameBuffer()

    def send(self, *frames: bytes) -> None:
        """Write everything."""
        self.socket.sendall(b"".join(frames))

    def read(self) -> seto.Payload | None:
        """The client's next payload, or None at the end."""
        while (data := self._frames.next_payload()) is None:
            more = self.socket.recv(65_536)
            if not more:
                return None
            self._frames.feed(more)
        payload = seto.Payload.FromString(data)
        self.seen.append(payload)
        return payload

    def until(self, name: str) -> seto.Payload:
        """Read up to the first payload of that name."""
        while (payload := self.read()) is not None:
            if payload_name(payload) == name:
                return payload
        raise ConnectionError(f"no {name} came")

    def say_nothing(self) -> None:
        """Take bytes of any kind until the client closes."""
        while self.socket.recv(65_536):
            pass

    def to_the_end(self) -> None:
        """Read and throw away until the client closes."""
        while self.read() is not None:
            pass


class RawServer:
    """A listener on a free port; connection n is served by script n, the last one by all further ones.

    A script is ``script(talk)``; when it returns the connection is closed.
    """

    def __init__(self, *scripts: Callable[[Talk], object], context: Any = None) -> None:
        self._scripts = scripts
        self._context = context
        self._listener = gevent.socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.talks: list[Talk] = []
        self.accepted = 0
        self.accepted_at: list[float] = []
        self._sockets: list[Any] = []
        self._greenlets = [gevent.spawn(self._accept)]

    def account(self, name: str = "alice", **changes: Any) -> Account:
        """An account that logs in here."""
        settings: dict[str, Any] = {
            "username": f"{name}@example.com",
            "password": "pw-" + name,
            "host": "127.0.0.1",
            "port": self.port,
            "ssl": self._context is not None,
        }
        return Account(name, **{**settings, **changes})

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        gevent.killall(self._greenlets)
        for connection in self._sockets:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            script = self._scripts[min(self.accepted, len(self._scripts) - 1)]
            self.accepted += 1
            self.accepted_at.append(time.monotonic())
            self._greenlets.append(gevent.spawn(self._serve, connection, script))

    def _serve(self, connection: Any, script: Callable[[Talk], object]) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._sockets.append(connection)
            talk = Talk(connection)
            self.talks.append(talk)
            script(talk)
        except OSError:
            pass
        finally:
            connection.close()


# --- time moved by hand -----------------------------------------------------------------------------


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualRuntime(Runtime):
    """The real loop and sockets with a clock that only ``advance`` moves; jitter is ``chance``."""

    def __init__(self, chance: float = 0.0) -> None:
        super().__init__()
        self.clock = 1000.0
        self.chance = chance
        self.timers_made = 0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _ManualTimer]] = []

    def now(self) -> float:
        return self.clock

    def random(self) -> float:
        return self.chance

    def call_later(self, seconds: float, callback: Callable[[], None]) -> _ManualTimer:
        self.timers_made += 1
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (self.clock + max(0.0, seconds), next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at each timer; after each, the loop turns until it is quiet."""
        self.settle()
        end = self.clock + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self.clock = max(self.clock, when)
                self.call_soon(timer.callback)
                self.settle()
        self.clock = end
        self.settle()

    def settle(self, turns: int = 30) -> None:
        """Let everything that can run without time or bytes do so."""
        for _ in range(turns):
            turned = gevent.event.Event()
            self.call_soon(turned.set)
            turned.wait()


class Simulated(ManualRuntime):
    """No sockets either: ``answers(attempt)`` decides about each login, over all members.

    It gives an exception that connecting raises, a logout reason with which the login is refused, None
    to log in, ``SILENCE`` for no answer, or ``DEAF`` to log in and then hear nothing until
    ``end.listen()``. ``ends`` are the exchange's sides, ``attempts`` the times of the attempts by user.
    """

    def __init__(self, answers: Callable[[int], Any] = lambda attempt: None, chance: float = 0.0) -> None:
        super().__init__(chance)
        self._answers = answers
        self.ends: list[End] = []
        self.attempts: list[tuple[float, str]] = []

    def check(self, settings: SessionSettings) -> None:
        """Nothing here can block."""

    def session_socket(self, settings: SessionSettings) -> Any:
        return End(self, settings)

    def transport(self, connected: Any) -> Any:
        return connected

    def answer(self, settings: SessionSettings) -> Any:
        self.attempts.append((self.clock, settings.login_name))
        return self._answers(len(self.attempts))

    def times(self) -> list[float]:
        """Seconds from the start of the clock to each attempt."""
        return [round(at - 1000.0, 6) for at, _ in self.attempts]

    def gaps(self) -> list[float]:
        """Seconds between attempts."""
        times = self.times()
        return [round(b - a, 6) for a, b in itertools.pairwise(times)]


class End:
    """A connection in memory: to the member its socket and transport, inside it the exchange's side."""

    def __init__(self, runtime: Simulated, settings: SessionSettings) -> None:
        self.settings = settings
        self.connected = False
        self.raw_socket = None
        self.calls: list[str] = []
        self.wrote: list[bytes] = []
        #: What ``write`` takes: a number of bytes per call, None for a full socket; all when used up.
        self.room: list[int | None] = []
        #: At most so many bytes come with one read.
        self.chunk = 65_536
        self.exchange = SessionProtocol(
            timing=Timing(heartbeat_after=None, probe_after=None, give_up_after=None), says_is_replay=True
        )
        self.logins: list[seto.Login] = []
        self._runtime = runtime
        self._answer: Any = None
        self.deaf = False
        self._unheard = b""
        self._incoming = bytearray()
        self._ended = False
        self._arrived = gevent.event.Event()
        self._on_readable: Callable[[], None] | None = None
        self._on_writable: Callable[[], None] | None = None

    # --- a SessionSocket ---

    def connect(self) -> bool:
        self._answer = self._runtime.answer(self.settings)
        if isinstance(self._answer, BaseException):
            raise self._answer
        self.connected = True
        self._runtime.ends.append(self)
        self.exchange.expect_login(self._runtime.now())
        return True

    def send(self, data: Any) -> int:
        self._take(bytes(data))
        return len(data)

    def recv(self) -> bytes:
        self._arrived.wait()
        data = self.read(65_536)
        if not data:
            raise SocketDisconnected("the simulated peer closed the connection")
        return data

    def disconnect(self) -> None:
        self.connected = False

    def detach(self) -> Any:
        return self

    # --- a Transport ---

    def read(self, size: int) -> bytes | None:
        size = min(size, self.chunk)
        data = bytes(self._incoming[:size])
        del self._incoming[:size]
        if not self._incoming and not self._ended:
            self._arrived.clear()
        return data or (b"" if self._ended else None)

    def write(self, data: bytes) -> int | None:
        self.wrote.append(data)
        count = self.room.pop(0) if self.room else len(data)
        if count is None:
            return None
        self._take(data[:count])
        return min(count, len(data))

    def pending(self) -> int:
        return 0

    def start_reading(self, callback: Callable[[], None]) -> None:
        self.calls.append("start_reading")
        self._on_readable = callback
        self._poll()

    def stop_reading(self) -> None:
        self.calls.append("stop_reading")
        self._on_readable = None

    def start_writing(self, callback: Callable[[], None]) -> None:
        self._on_writable = callback

    def stop_writing(self) -> None:
        self._on_writable = None

    def close(self) -> None:
        self.calls.append("close")
        self.connected = False
        self._on_readable = self._on_writable = None

    # --- the exchange's side, for tests ---

    def say(self, *messages: Any, is_replay: bool = False) -> None:
        """Have the exchange send these."""
        for message in messages:
            self.exchange.send(message, self._runtime.now(), is_replay=is_replay)
        self.flush()

    def log_out(self, reason: int) -> None:
        """Have the exchange log the member out."""
        self.exchange.logout(self._runtime.now(), reason)
        self.flush()

    def hang_up(self) -> None:
        """Close the exchange's side."""
        self._ended = True
        self._arrived.set()
        self._poll()

    def push(self, data: bytes) -> None:
        """Bytes of any kind to the member."""
        self._incoming += data
        self._arrived.set()
        self._poll()

    def flush(self) -> None:
        """Carry what the exchange has to say."""
        if data := self.exchange.data_to_send():
            self.push(data)

    def writable(self) -> None:
        """Tell the member that its socket has room."""
        if self._on_writable is not None:
            self._runtime.call_soon(self._on_writable)
        self._runtime.settle()

    def _poll(self) -> None:
        if self._on_readable is not None and (self._incoming or self._ended):
            self._runtime.call_soon(self._readable)

    def _readable(self) -> None:
        if self._on_readable is not None and (self._incoming or self._ended):
            self._on_readable()
            self._poll()

    def listen(self) -> None:
        """Hear again, beginning with what was not heard."""
        self.deaf = False
        unheard, self._unheard = self._unheard, b""
        self._take(unheard)

    def _take(self, data: bytes) -> None:
        if self.deaf:
            self._unheard += data
            return
        now = self._runtime.now()
        self.exchange.receive_data(data)
        while (event := self.exchange.next_event(now)) is not None:
            if isinstance(event, LoginReceived):
                self.logins.append(event.login)
                if self._answer is None or self._answer is DEAF:
                    self.exchange.accept_login("S", now, email="x", account_id=1)
                    self.deaf = self._answer is DEAF
                elif self._answer is not SILENCE:
                    self.exchange.logout(now, self._answer)
        if self.exchange.state.name == "LOGOUT_RECEIVED":
            self.exchange.logout(now, eto.LOGOUT_CONFIRMATION)
        self.flush()


class SimulatedPool(Pool):
    """Entered, its members have logged in. Its clock stands still in ``stop``, which must not hang."""

    def __enter__(self) -> SimulatedPool:
        super().__enter__()
        self._runtime.settle()  # type: ignore[attr-defined]
        return self

    def stop(self, timeout: float = 10.0) -> StopReport:
        with gevent.Timeout(3, AssertionError("the pool does not stop")):
            return super().stop(timeout)


def simulated_pool(
    runtime: Simulated,
    accounts: int = 1,
    *,
    reconnect: ReconnectPolicy | None = None,
    timeouts: TimeoutPolicy | None = None,
    **options: Any,
) -> Pool:
    """A pool on a simulated runtime; not started."""
    return SimulatedPool(
        [
            Account(f"m{number}", username=f"m{number}", password="pw", host="sim", port=1 + number)
            for number in range(accounts)
        ],
        reconnect=reconnect,
        timeouts=timeouts,
        runtime=runtime,
        **options,
    )


def execution(number: int, *, market_id: int = 1) -> seto.OrderExecuted:
    """The account's event of that number."""
    return seto.OrderExecuted(
        price=5000,
        quantity=number,
        order_id=7,
        side=seto.SIDE_BUY,
        market_id=market_id,
        contract_id=2,
        account_sequence_64=number,
    )

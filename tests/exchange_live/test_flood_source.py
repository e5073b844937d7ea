"""A flood source on a socket: who gets what, when it begins and how it ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

import gevent
import pytest

from smarkets_pool import Account, Pool, eto, seto
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.flood import BLOCK, Flood
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.protocol import LoggedIn, LogoutReceived, Received, SessionProtocol
from tests.rig.ends import framed, heartbeat, inner, ping
from tests.rig.waiting import eventually

HEAD = 4  # the login response, the throttle limits, a pong and one market's quotes


def flooding(text: str = "", **options: object) -> EmbeddedExchange:
    """An exchange of one market that answers logins with this flood; plain unless told otherwise."""
    settings = {"accounts": 2, "markets": 1, "tls": False, "flood": Flood.parse(text), **options}
    return EmbeddedExchange(**settings)


def refusal(reason: int) -> bytes:
    """The logout that answers a login, as captured: number 1 and no replay."""
    payload = inner(1, eto.PAYLOAD_LOGOUT, is_replay=False)
    payload.eto_payload.logout.reason = reason
    return framed(payload)


class Reader:
    """A client that reads what it is sent, with the package's rules and its own socket."""

    def __init__(self, exchange: EmbeddedExchange, number: int = 0, *, password: str | None = None) -> None:
        self.socket = socket.create_connection((exchange.host, exchange.port), timeout=10)
        if exchange.tls:
            context = ssl.create_default_context(cafile=exchange.ca_file)
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.protocol = SessionProtocol()
        login = exchange.logins[number]
        self.protocol.login(seto.Login(username=login.username, password=password or login.password), 0.0)
        self.socket.sendall(self.protocol.data_to_send())
        self.names: list[str] = []
        self.logout: str | None = None
        self.logged_in = False

    @property
    def frames(self) -> int:
        """How many frames have come."""
        return self.protocol.frames_received

    def read(self, *, until: int | None = None) -> Reader:
        """Read so many frames at least, or everything until the exchange has closed."""
        while until is None or self.frames < until:
            data = self.socket.recv(16_384)
            if not data:
                break
            self.protocol.receive_data(data)
            while (event := self.protocol.next_event(0.0)) is not None:
                if isinstance(event, Received):
                    self.names.append(event.name)
                elif isinstance(event, LoggedIn):
                    self.logged_in = True
                elif isinstance(event, LogoutReceived):
                    self.logout = event.reason_name
                else:
                    pytest.fail(f"a flood without gaps brought {event!r}")
        return self

    def close(self) -> None:
        """Be gone."""
        self.socket.close()


@contextlib.contextmanager
def readers(exchange: EmbeddedExchange, count: int) -> Iterator[list[Reader]]:
    """So many clients, closed at the end."""
    found = [Reader(exchange, number % len(exchange.logins)) for number in range(count)]
    try:
        yield found
    finally:
        for reader in found:
            reader.close()


# --- how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("frames", [3, BLOCK - 1, BLOCK, 3 * BLOCK + 100])
def test_a_flood_of_so_many_frames(frames: int, tls: bool) -> None:
    """Each connection gets exactly that many, in order and without a gap, then a logout, then the end."""
    with flooding(f"frames={frames}", tls=tls) as exchange, readers(exchange, 2) as clients:
        for client in clients:
            client.read()
            assert client.logged_in
            assert client.names[0] == "eto.login_response"
            assert client.names[-1] == "eto.logout"
            assert client.frames == frames + 1
            assert client.logout == "LOGOUT_NONE"
            client.close()
        eventually(lambda: exchange.flood_server.connections == 0)
        assert exchange.flood_server.frames_sent == 2 * frames


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_ends_an_endless_flood(tls: bool) -> None:
    """Its logout is confirmed under the next number, and the connection closed."""
    with flooding(tls=tls) as exchange, readers(exchange, 1) as [client]:
        client.read(until=5000)
        client.protocol.logout(0.0)
        client.socket.sendall(client.protocol.data_to_send())
        client.read()
        assert client.logout == "LOGOUT_CONFIRMATION"
        assert client.protocol.inseq == client.frames + 1


def test_what_a_client_sends_changes_nothing() -> None:
    """Orders, subscriptions, pings and heartbeats are read, and the stream goes on as it was."""
    with flooding() as exchange, readers(exchange, 1) as [client]:
        client.read(until=10)
        market_id = exchange.market_ids[0]
        contract_id = exchange.contract_ids[market_id][0]
        client.protocol.send(seto.MarketSubscribe(market_id=market_id), 0.0)
        client.protocol.send(
            seto.OrderCreate(
                side=seto.SIDE_BUY, quantity=1, price=1, market_id=market_id, contract_id=contract_id
            ),
            0.0,
        )
        client.socket.sendall(client.protocol.data_to_send() + ping(4) + heartbeat(5) + ping(9))
        client.read(until=20_000)
        assert client.names.count("eto.pong") == 1
        assert not exchange.truth.events(exchange.logins[0].username)


# --- who -----------------------------------------------------------------------------------------


def test_a_wrong_password_is_refused() -> None:
    """There is no flood without a login."""
    with flooding() as exchange:
        client = Reader(exchange, password="wrong")
        client.read()
        assert (client.logged_in, client.logout) == (False, "LOGOUT_UNAUTHORISED")
        client.close()
        assert exchange.flood_server.frames_sent == 0


def test_an_account_that_is_kept_out_is_refused() -> None:
    """The faults of logins count here too."""
    with flooding() as exchange:
        exchange.faults.refuse_login(exchange.logins[0].username, eto.LOGOUT_UNVERIFIED)
        with readers(exchange, 1) as [client]:
            client.read()
            assert (client.logged_in, client.logout) == (False, "LOGOUT_UNVERIFIED")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (ping(1), refusal(eto.LOGOUT_LOGIN_NOT_FIRST_SEQ)),
        (b"\xff\xff\xff\xff\xff\xff", b""),
        (framed(b"no payload"), b""),
    ],
    ids=["another frame", "no frame", "no payload"],
)
def test_something_else_than_a_login(sent: bytes, answer: bytes) -> None:
    """It ends that connection: a frame by LOGIN_NOT_FIRST_SEQ, anything else without a word."""
    with flooding() as exchange, readers(exchange, 1) as [client]:
        with socket.create_connection((exchange.host, exchange.port), timeout=10) as stranger:
            stranger.sendall(sent)
            said = b""
            while data := stranger.recv(100):
                said += data
        assert said == answer
        client.read(until=2000)


def test_silence_instead_of_a_login() -> None:
    """It ends by LOGIN_TIMEOUT."""
    with (
        flooding(settings=ExchangeSettings(login_timeout=0.05)) as exchange,
        socket.create_connection((exchange.host, exchange.port), timeout=10) as stranger,
    ):
        assert stranger.recv(100) == refusal(eto.LOGOUT_LOGIN_TIMEOUT)
        assert stranger.recv(100) == b""


def test_garbage_in_a_flood_ends_that_connection_alone() -> None:
    """The others go on."""
    with flooding() as exchange, readers(exchange, 2) as [one, other]:
        one.read(until=1000)
        other.read(until=1000)
        one.socket.sendall(b"\xff" * 8)
        with contextlib.suppress(ConnectionResetError):
            one.read()
        assert one.logout is None
        before = other.frames
        other.read(until=before + 50_000)
        assert exchange.flood_server.connections == 1


# --- fairness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_everybody_is_served(tls: bool) -> None:
    """Of many endless floods none starves another, and a client that never reads holds up nobody."""
    with flooding(tls=tls) as exchange, readers(exchange, 25) as [lazy, *clients]:
        greenlets = [gevent.spawn(client.read, until=3000) for client in clients]
        gevent.joinall(greenlets, timeout=30, raise_error=True)
        assert min(client.frames for client in clients) >= 3000
        assert lazy.frames == 0


def test_blocks_are_shared() -> None:
    """Ten connections that read alike cost the making of one."""
    with flooding(f"frames={10 * BLOCK} start_at=10") as exchange, readers(exchange, 10) as clients:
        for client in clients:
            client.read()
            assert client.frames == 10 * BLOCK + 1
        assert exchange.flood_server.stream.blocks_made == 11


# --- when ----------------------------------------------------------------------------------------


def test_a_flood_waits_for_everybody() -> None:
    """Until enough are logged in there is only the beginning of a session; then all get the rest."""
    with flooding("start_at=2") as exchange, readers(exchange, 1) as [first]:
        first.read(until=HEAD)
        eventually(lambda: exchange.flood_server.frames_sent == HEAD)
        with readers(exchange, 1) as [second]:
            second.read(until=2000)
            first.read(until=2000)
            assert first.names[:3] == ["eto.login_response", "seto.throttle_limits_changed", "eto.pong"]


def test_a_client_may_leave_before_a_flood_begins() -> None:
    """Its logout is confirmed under the next number."""
    with flooding("start_at=2") as exchange, readers(exchange, 1) as [client]:
        client.read(until=HEAD)
        client.protocol.logout(0.0)
        client.socket.sendall(client.protocol.data_to_send())
        client.read()
        assert (client.frames, client.logout) == (HEAD + 1, "LOGOUT_CONFIRMATION")


def test_a_flood_keeps_its_rate() -> None:
    """Of a flood with a rate exactly so many frames have come as its clock allows."""
    now = [1000.0]
    with flooding("rate=1000", clock=lambda: now[0]) as exchange, readers(exchange, 1) as [client]:
        client.read(until=HEAD)
        eventually(lambda: exchange.flood_server.connections == 1)
        for seconds in (0.1, 1.0, 5.0):
            now[0] = 1000.0 + seconds
            expected = HEAD + int(seconds * 1000)
            client.read(until=expected)
            assert client.frames == exchange.flood_server.frames_sent == expected


# --- a pool --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_a_pool_under_a_flood(tls: bool) -> None:
    """Members come up and stay so, their handlers see every event once and in order, and stop in order."""
    executed: dict[str, list[int]] = {"0": [], "1": []}
    troubles = []
    with flooding("contract_quotes=8 order_executed=8", tls=tls) as exchange:
        pool = Pool(Account(str(number), **exchange.settings_for(number)) for number in range(2))

        @pool.on(seto.OrderExecuted)
        def on_executed(delivery) -> None:
            executed[delivery.account].append(delivery.account_sequence)

        for name in ("member.gap", "member.down", "member.stalled"):
            pool.add_handler(name, troubles.append)
        with pool:
            pool.wait_until_up(timeout=10)
            eventually(lambda: min(len(numbers) for numbers in executed.values()) > 5000, timeout=30)
            assert troubles == []
        for numbers in executed.values():
            assert numbers == list(range(1, len(numbers) + 1))

"""Faults over real sockets: what a Session or a Pool sees of them, and what stays behind (nothing)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from smarkets_pool import TimeoutPolicy, eto, seto
from smarkets_pool.exceptions import (
    CertificateExpired,
    CertificateNotYetValid,
    CertificateUntrusted,
    CertificateWrongName,
    ConnectionError,
    DecodeError,
    FrameTooLarge,
    LoginError,
    ParseError,
    ReceiveTimeout,
    SendTimeout,
    UsageError,
)
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
from smarkets_pool.session import Session, SessionSettings
from tests.rig.ends import framed, subscribe
from tests.rig.peers import dialled, read_until
from tests.rig.pooling import Record, execute, order, pool_on, user
from tests.rig.waiting import eventually


@contextlib.contextmanager
def exchange_with(*, tls: bool = False, accounts: int = 2, **settings: Any) -> Iterator[EmbeddedExchange]:
    """An exchange that has let go of everything at the end."""
    values = ExchangeSettings(**settings)
    with EmbeddedExchange(accounts=accounts, tls=tls, settings=values) as exchange:
        yield exchange


def session_on(exchange: EmbeddedExchange, number: int = 0, **settings: Any) -> Session:
    """A session of one of the exchange's accounts, not yet connected."""
    return Session(SessionSettings(**{**exchange.settings_for(number), "socket_timeout": 5, **settings}))


@contextlib.contextmanager
def logged_in(exchange: EmbeddedExchange, number: int = 0, **settings: Any) -> Iterator[Session]:
    """A session that is up and has read its welcome."""
    session = session_on(exchange, number, **settings)
    session.log_in()
    try:
        read_until(session, 1)
        yield session
    finally:
        session.disconnect()


def happened(exchange: EmbeddedExchange) -> list[str]:
    """The kinds of the faults that the truth has."""
    return [fault.kind for fault in exchange.truth.faults]


def settled(exchange: EmbeddedExchange) -> bool:
    """Whether no connection is left, nor any greenlet of one: accepting and keeping time remain."""
    server = exchange._server
    return not exchange.exchange.peers and not server._connections and len(server._greenlets) == 2


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("size", [1, 7])
def test_a_dripped_frame_arrives_whole(tls: bool, size: int) -> None:
    """Byte by byte; what is behind it comes behind it."""
    with exchange_with(tls=tls) as exchange, logged_in(exchange) as session:
        exchange.faults.drip(user(exchange), size, 0.001)
        session.send(subscribe(exchange.market_ids[0]))
        session.ping()
        session.flush()
        assert read_until(session, 3) == ["3 market_quotes", "4 market_state", "5 pong"]
        assert happened(exchange) == ["drip"]


def test_a_delayed_frame_holds_what_is_behind_it() -> None:
    """The order of the numbers stays."""
    with exchange_with() as exchange, logged_in(exchange) as session:
        exchange.faults.delay(user(exchange), 0.05)
        session.send(subscribe(exchange.market_ids[0]))
        session.ping()
        session.flush()
        assert read_until(session, 3) == ["3 market_quotes", "4 market_state", "5 pong"]
        assert happened(exchange) == ["delay"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("garbage account=* size=20000", DecodeError | ParseError),
        ("oversize account=*", FrameTooLarge),
        ("unparsable account=*", ParseError),
    ],
)
def test_bytes_that_cannot_be_read_end_a_session(fault: str, error: type[Exception]) -> None:
    """The client says what they are; the exchange goes on for it and for others."""
    with exchange_with() as exchange, logged_in(exchange) as session, logged_in(exchange, 1) as other:
        exchange.faults.apply(fault.replace("*", user(exchange)))
        with pytest.raises(Exception) as caught:
            while True:
                session.read()
                session.next_frame()
        assert isinstance(caught.value, error)
        session.disconnect()
        session.log_in()
        other.ping()
        other.flush()
        assert read_until(other, 1)[-1].endswith("pong")
        assert happened(exchange) == [fault.split()[0]]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(("where", "frames", "unread"), [("before", 0, 0), ("inside", 0, 1), ("after", 1, 0)])
def test_a_cut_at_a_frame(tls: bool, where: str, frames: int, unread: int) -> None:
    """The client has what was sent before it, and knows whether it was left with half a frame."""
    with exchange_with(tls=tls) as exchange, logged_in(exchange) as session:
        exchange.faults.cut(user(exchange), where, names=["seto.market_quotes"])
        session.send(subscribe(exchange.market_ids[0]))
        session.flush()
        seen = 0
        with pytest.raises(ConnectionError) as caught:
            while True:
                session.read()
                while session.next_frame() is not None:
                    seen += 1
        assert seen == frames
        assert (getattr(caught.value, "unread", 0) > 0) == bool(unread)
        assert happened(exchange) == ["cut"]
        eventually(lambda: settled(exchange))


# --- connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_stop_reading_fills_the_clients_sends(tls: bool) -> None:
    """The client's socket takes no more; the exchange goes on sending to it, and reads again later."""
    with exchange_with(tls=tls, throttle_enforced=False) as exchange:
        with logged_in(exchange, socket_timeout=0.2) as session:
            exchange.faults.stop_reading(user(exchange))
            big = order(exchange)
            big.label = "x" * 1000
            with pytest.raises(SendTimeout):
                while True:
                    for _ in range(1000):
                        session.send(big)
                    session.flush()
            assert exchange.truth.orders_accepted == 0
        assert happened(exchange) == ["stop_reading"]
        exchange.exchange.peers_of(user(exchange))[0].go_on(exchange.now())
        eventually(lambda: settled(exchange))
        assert exchange.truth.orders_accepted > 0


def test_stop_reading_for_a_while() -> None:
    """What was sent meanwhile is carried out then."""
    with exchange_with() as exchange, logged_in(exchange) as session:
        exchange.faults.stop_reading(user(exchange), seconds=0.1)
        session.ping()
        session.flush()
        assert read_until(session, 1) == ["3 pong"]
        assert happened(exchange) == ["stop_reading"]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_half_open_connection_is_silent(tls: bool) -> None:
    """Nothing comes, not even a heartbeat, and sending raises nothing; the exchange lets go at its end."""
    with exchange_with(tls=tls, heartbeat_after=0.02, silence_limit=0.3) as exchange:
        with logged_in(exchange, socket_timeout=0.6) as session:
            read_until(session, 1)
            exchange.faults.half_open(user(exchange))
            session.ping()
            session.flush()
            with pytest.raises(ReceiveTimeout):
                while True:  # there may be something on its way
                    session.read()
            assert exchange.exchange.accounts[user(exchange)].online == 0
        assert happened(exchange) == ["half_open"]


def test_a_pool_notices_a_half_open_connection() -> None:
    """It asks, gives up and comes back over a new connection; nothing that happened is missing."""
    with exchange_with() as exchange:
        pool = pool_on(exchange, timeouts=TimeoutPolicy(probe_after=0.1, give_up_after=0.3))
        record = Record(pool)
        with pool:
            record.wait("member.up")
            exchange.faults.half_open(user(exchange))
            execute(exchange, times=3)
            record.wait("member.down")
            record.wait("member.up", 2)
            execute(exchange)
            record.wait("seto.order_executed", 4)
            assert record.numbers() == [1, 2, 3, 4]
        assert happened(exchange) == ["half_open"]


def test_half_open_ends_with_a_broken_connection_if_the_session_did() -> None:
    """The client finds out when the line is there again."""
    with exchange_with(heartbeat_after=0.02, silence_limit=0.05) as exchange, logged_in(exchange) as session:
        exchange.faults.half_open(user(exchange), seconds=0.2)
        with pytest.raises(ConnectionError):
            while True:
                session.read()
        eventually(lambda: settled(exchange))


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_refuse_connection(tls: bool) -> None:
    """Accepted and reset at once, so many times; then clients are served."""
    with exchange_with(tls=tls) as exchange:
        exchange.faults.refuse_connection(2)
        for _ in range(2):
            with pytest.raises(ConnectionResetError), dialled(exchange.host, exchange.port) as line:
                line.socket.recv(1)
        with logged_in(exchange):
            assert happened(exchange) == ["refuse_connection"] * 2


def test_refuse_connection_for_a_while() -> None:
    """A session fails to connect until then."""
    with exchange_with(accounts=1) as exchange:
        exchange.faults.refuse_connection(seconds=0.1)
        with pytest.raises(ConnectionError):
            session_on(exchange).log_in()

        def served() -> bool:
            try:
                with logged_in(exchange):
                    return True
            except ConnectionError:
                return False

        eventually(served)


def test_a_pool_survives_refused_connections() -> None:
    """It tries again until it is let in."""
    with exchange_with() as exchange:
        exchange.faults.refuse_connection(3)
        with pool_on(exchange, 2) as pool:
            pool.wait_until_up(timeout=5)
        assert happened(exchange) == ["refuse_connection"] * 3


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("expired", CertificateExpired),
        ("not_yet", CertificateNotYetValid),
        ("wrong_name", CertificateWrongName),
        ("untrusted", CertificateUntrusted),
    ],
)
def test_certificate(kind: str, error: type[Exception]) -> None:
    """New connections fail, recorded each; those that are there go on; good is good again."""
    with exchange_with(tls=True) as exchange, logged_in(exchange) as before:
        exchange.faults.certificate(kind)
        assert happened(exchange) == []
        for _ in range(2):
            with pytest.raises(error):
                session_on(exchange, 1).log_in()
        assert [(fault.kind, fault.detail) for fault in exchange.truth.faults] == [("certificate", kind)] * 2
        before.ping()
        before.flush()
        assert read_until(before, 1)[-1].endswith("pong")
        exchange.faults.certificate("good")
        with logged_in(exchange, 1):
            assert len(happened(exchange)) == 2


def test_a_certificate_is_not_resumed_around() -> None:
    """A client that has been there before does not take the old certificate's word for the new one."""
    with exchange_with(tls=True) as exchange:
        session = session_on(exchange)
        for _ in range(2):
            session.log_in()
            read_until(session, 1)
            session.disconnect()
        exchange.faults.certificate("expired")
        with pytest.raises(CertificateExpired):
            session.log_in()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "own context"])
def test_no_certificate_of_ours_to_replace(tls: bool) -> None:
    """Plain TCP, or a context of the caller's: the error says which."""
    with EmbeddedExchange(accounts=1) as other:
        context = other._server.context if tls else None
        with EmbeddedExchange(accounts=1, tls=tls, context=context) as exchange:
            with pytest.raises(UsageError, match="a TLS context of the caller's" if tls else "plain TCP"):
                exchange.faults.certificate("expired")
            assert happened(exchange) == []


def test_mass_disconnect() -> None:
    """Everybody loses the connection, comes back and misses nothing."""
    with exchange_with(accounts=3) as exchange:
        pool = pool_on(exchange, 3)
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=5)
            assert exchange.faults.mass_disconnect() == 3
            for number in range(3):
                execute(exchange, number, 2)
            for name in ("alice", "bob", "carol"):
                record.wait("member.up", 2, name)
                record.wait("seto.order_executed", 2, name)
                assert record.numbers(name) == [1, 2]
        assert happened(exchange) == ["mass_disconnect"] * 3


# --- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_restart_that_keeps_everything(tls: bool) -> None:
    """Same port, CA and credentials; the books are there, sessions come back, and nothing is missing."""
    with exchange_with(tls=tls) as exchange:
        where, trust = exchange.port, exchange.ca_file
        pool = pool_on(exchange, 2)
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=5)
            pool["alice"].send(order(exchange))
            record.wait("seto.order_accepted")
            exchange.faults.restart(keep="all")
            execute(exchange, times=2)
            record.wait("member.up", 2)
            record.wait("member.up", 2, "bob")
            record.wait("seto.order_executed", 2)
            assert record.numbers() == [1, 2, 3]
            assert not record.of("member.gap")
            assert len(exchange.exchange.accounts[user(exchange)].live_orders) == 1
        assert (exchange.port, exchange.ca_file) == (where, trust)
        assert [(fault.kind, fault.detail) for fault in exchange.truth.faults] == [("restart", "keeping all")]
        eventually(lambda: settled(exchange))


def test_a_restart_that_keeps_sessions_lets_them_be_resumed() -> None:
    """By the session's id, with the numbers going on."""
    with exchange_with() as exchange:
        with logged_in(exchange) as session:
            name, number = session.session, exchange.exchange.peers[0].protocol.outseq
            exchange.faults.restart()
            eventually(lambda: exchange._server._listener is not None)
        login = seto.Payload(type=seto.PAYLOAD_LOGIN)
        login.login.username = exchange.logins[0].username
        login.login.password = exchange.logins[0].password
        login.eto_payload.seq = 2
        login.eto_payload.type = eto.PAYLOAD_LOGIN
        login.eto_payload.login.session = name
        with dialled(exchange.host, exchange.port) as line:
            line.send(framed(login))
            assert line.take(1) == [f"{number} login_response"]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_restart_that_keeps_nothing(tls: bool) -> None:
    """Port, CA and credentials stay; books, balances and counters are as at the beginning; truth goes on."""
    with exchange_with(tls=tls) as exchange:
        with logged_in(exchange) as session:
            session.send(order(exchange))
            session.flush()
            assert read_until(session, 1) == ["3 order_accepted"]
            before = exchange.exchange
            exchange.faults.drop(user(exchange, 1))
            exchange.faults.restart(keep="nothing")
        assert exchange.exchange is not before
        assert exchange.faults is before.faults
        eventually(lambda: exchange._server._listener is not None)
        with logged_in(exchange) as session:
            session.send(order(exchange))
            session.flush()
            frame = None
            while frame is None:
                session.read()
                frame = session.next_frame()
            assert frame.protobuf.order_accepted.account_sequence_64 == 1
        account = exchange.exchange.accounts[user(exchange)]
        assert len(account.live_orders) == 1
        assert [event.account_sequence for event in exchange.truth.events(user(exchange))] == [1, 1]
        assert exchange.faults.waiting() == [f"drop account={user(exchange, 1)}"]


def test_a_pool_after_an_exchange_that_forgot_everything() -> None:
    """It is up again, and what comes with a number it has had is announced and handled."""
    with exchange_with() as exchange:
        pool = pool_on(exchange)
        record = Record(pool)
        with pool:
            record.wait("member.up")
            execute(exchange, times=5)
            record.wait("seto.order_executed", 5)
            exchange.faults.restart(keep="nothing")
            record.wait("member.up", 2)
            execute(exchange)
            record.wait("seto.order_executed", 6)
            assert record.numbers() == [1, 2, 3, 4, 5, 1]
            assert [gap.message.kind for gap in record.of("member.gap")] == ["regressed"]


def test_while_the_exchange_is_away_nobody_listens() -> None:
    """Connections are refused by the system, the port stays ours, and then clients are served."""
    with exchange_with() as exchange:
        exchange.faults.restart(away=0.3)
        with pytest.raises(ConnectionRefusedError), dialled(exchange.host, exchange.port):
            raise AssertionError("somebody listens")

        def served() -> bool:
            try:
                with dialled(exchange.host, exchange.port):
                    return True
            except ConnectionRefusedError:
                return False

        eventually(served)
        eventually(lambda: settled(exchange))


def test_a_port_that_somebody_took_meanwhile_is_tried_again() -> None:
    """The exchange waits for it, and is back when it is free."""
    with exchange_with() as exchange:
        exchange.faults.restart(away=0.05)
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((exchange.host, exchange.port))
            taken.listen(1)
            eventually(lambda: (exchange._server._back_at or 0) > exchange.now() + 0.06)
            assert exchange._server._listener is None
        eventually(lambda: exchange._server._listener is not None)
        with logged_in(exchange):
            assert happened(exchange) == ["restart"]


def test_an_exchange_that_is_away_can_be_stopped_and_started() -> None:
    """It does not come back by itself after that."""
    with gevent.Timeout(5):
        exchange = EmbeddedExchange(accounts=1, tls=False)
        exchange.start()
        exchange.faults.restart(away=60)
        exchange.stop()
        assert exchange.next_deadline() is None
        exchange.start()
        with logged_in(exchange):
            pass
        exchange.stop()


# --- logins ---------------------------------------------------------------------------------------


def test_a_slow_login_over_a_socket() -> None:
    """Slower than the client waits: it gives up; less slow: a login."""
    with exchange_with() as exchange:
        exchange.faults.slow_login(user(exchange), 5.0)
        session = session_on(exchange, socket_timeout=0.1)
        with pytest.raises(ReceiveTimeout):
            session.log_in()
        session.disconnect()
        exchange.faults.slow_login(user(exchange), 0.05)
        with logged_in(exchange):
            assert happened(exchange) == ["slow_login"] * 2


@pytest.mark.parametrize("name", ["SERVICE_TEMPORARILY_UNAVAILABLE", "UNVERIFIED", "LOGIN_TIMEOUT"])
def test_a_refused_login_over_a_socket(name: str) -> None:
    """The error has the reason."""
    with exchange_with() as exchange:
        exchange.faults.refuse_login(user(exchange), name)
        with pytest.raises(LoginError, match=name):
            session_on(exchange).log_in()
        exchange.faults.admit_login(user(exchange))
        with logged_in(exchange):
            assert happened(exchange) == ["refuse_login"]


# --- replays and numbers, through a pool ----------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "duplicate account=* frames=3",
        "reorder account=* frames=2",
        "skip account=* numbers=4",
        "unknown_type account=*",
        "delay account=* seconds=0.05",
        "replay_late account=* seconds=0.05",
        "replay_wrong account=*",
        "replay_partial account=*",
        "replay_never account=*",
        "ask_replay account=* back=2",
        "cut account=* where=inside",
    ],
)
def test_a_pool_misses_nothing(fault: str) -> None:
    """Every event is handled once and in order, whatever became of the frames; the truth knows what did."""
    with exchange_with() as exchange:
        pool = pool_on(exchange, timeouts=TimeoutPolicy(replay=0.2))
        record = Record(pool)
        with pool:
            record.wait("member.up")
            name = fault.split()[0]
            if name.startswith("replay_"):
                exchange.faults.drop(user(exchange), 2)
            exchange.faults.apply(fault)
            for _ in range(6):
                execute(exchange)
            eventually(lambda: record.numbers() == [1, 2, 3, 4, 5, 6])
        assert name in happened(exchange)


# --- a clock of one's own -------------------------------------------------------------------------


def test_an_exchange_on_another_clock_does_nothing_until_it_is_told() -> None:
    """A frame that is delayed by an hour comes when that clock says so, and ``tick`` is called."""
    now = [1000.0]
    with (
        EmbeddedExchange(accounts=1, tls=False, clock=lambda: now[0]) as exchange,
        logged_in(exchange) as session,
    ):
        exchange.faults.delay(user(exchange), 3600.0, names=["eto.pong"])
        session.ping()
        session.flush()
        eventually(lambda: happened(exchange) == ["delay"])
        assert exchange.next_deadline() == 1005.0
        now[0] += 4.0
        exchange.tick()
        assert exchange.next_deadline() == 1005.0
        peer = exchange.exchange.peers[0]
        peer.protocol.timing = peer.protocol.timing.__class__(
            heartbeat_after=None, probe_after=None, give_up_after=None
        )
        assert exchange.next_deadline() == 4600.0
        now[0] = 4600.0
        exchange.tick()
        assert read_until(session, 1)[-1].endswith("pong")

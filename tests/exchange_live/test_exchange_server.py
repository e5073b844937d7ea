"""The embedded exchange on real sockets: serving, ends of connections, faults, and leaving nothing behind."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import socket
import tempfile

import gevent
import pytest

from smarkets_pool import eto, seto
from smarkets_pool.client import StreamingAPIClient
from smarkets_pool.exceptions import ConfigError, ConnectionError, LoginError, SocketDisconnected
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
from smarkets_pool.exchange import server as server_module
from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.engine import ToRequester
from smarkets_pool.session import Session, SessionSettings
from tests.rig.ends import brief, framed, inner, logout, market, ping
from tests.rig.peers import Line, dialled, read_until
from tests.rig.waiting import eventually

WELCOME = ["1 login_response", "2 throttle_limits_changed"]


def plain(**changes: object) -> EmbeddedExchange:
    """An exchange without TLS; keywords are its settings."""
    return EmbeddedExchange(accounts=2, tls=False, settings=ExchangeSettings(**changes))  # type: ignore[arg-type]


def session_on(exchange: EmbeddedExchange, number: int = 0) -> Session:
    """A session of one of the exchange's accounts, not yet connected."""
    return Session(SessionSettings(**exchange.settings_for(number), socket_timeout=5))


def log_in(exchange: EmbeddedExchange, line: Line, number: int = 0) -> None:
    """Log in by hand over a raw connection and take the welcome."""
    payload = inner(1, eto.PAYLOAD_LOGIN)
    payload.type = seto.PAYLOAD_LOGIN
    payload.login.username = exchange.logins[number].username
    payload.login.password = exchange.logins[number].password
    line.send(framed(payload))
    assert line.take(2) == WELCOME


def online(exchange: EmbeddedExchange, number: int = 0) -> int:
    """How many sessions of an account are logged in."""
    return exchange.exchange.accounts[exchange.logins[number].username].online


def settled(exchange: EmbeddedExchange) -> bool:
    """Whether no connection is left, nor any greenlet of one: accepting and keeping time remain."""
    return not exchange.exchange.peers and len(exchange._server._greenlets) == 2


# --- serving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_serves_both_families_with_and_without_tls(host: str, tls: bool) -> None:
    """A session logs in with nothing but ``settings_for``."""
    with EmbeddedExchange(accounts=1, tls=tls, host=host) as exchange:
        session = session_on(exchange)
        session.log_in()
        assert online(exchange) == 1
        session.disconnect()
        eventually(lambda: settled(exchange))
        assert online(exchange) == 0


def test_settings_for_and_description_hold_what_a_client_needs() -> None:
    """Both name address, trust and credentials; the description is plain data."""
    with EmbeddedExchange(accounts=2, markets=2, contracts=3) as exchange:
        assert exchange.settings_for(1) == {
            "username": "trader-2@example.com",
            "password": exchange.logins[1].password,
            "host": "127.0.0.1",
            "port": exchange.port,
            "ssl": True,
            "ca_file": exchange.ca_file,
        }
        description = exchange.description()
        assert description["port"] == exchange.port
        assert [account["token"] for account in description["accounts"]] == [
            login.token for login in exchange.logins
        ]
        assert [len(found["contract_ids"]) for found in description["markets"]] == [3, 3]
        assert len({number for ids in exchange.contract_ids.values() for number in ids}) == 6


def test_credentials_are_in_no_repr() -> None:
    """Neither the exchange nor a login shows password or token."""
    exchange = EmbeddedExchange(accounts=1, tls=False)
    shown = repr(exchange) + repr(exchange.logins) + repr(exchange.exchange) + repr(exchange._server)
    assert exchange.logins[0].password not in shown
    assert exchange.logins[0].token not in shown


def test_every_exchange_has_credentials_and_an_authority_of_its_own() -> None:
    """Two exchanges do not accept each other's clients."""
    with EmbeddedExchange(accounts=1) as first, EmbeddedExchange(accounts=1) as second:
        assert first.port != second.port
        assert first.logins[0].password != second.logins[0].password
        values = {**first.settings_for(0), "ca_file": second.ca_file}
        with pytest.raises(ConnectionError, match="could not prove"):
            Session(SessionSettings(**values)).connect()


def test_many_clients_are_served_side_by_side() -> None:
    """Forty sessions at once each get their own answers."""
    with plain() as exchange:
        sessions = [session_on(exchange, number % 2) for number in range(40)]
        jobs = [gevent.spawn(session.log_in) for session in sessions]
        gevent.joinall(jobs, timeout=5, raise_error=True)
        assert (online(exchange, 0), online(exchange, 1)) == (20, 20)
        assert len({session.session for session in sessions}) == 40
        for session in sessions:
            session.disconnect()
        eventually(lambda: settled(exchange))
        assert (online(exchange, 0), online(exchange, 1)) == (0, 0)


def test_timers_run_on_real_time() -> None:
    """Heartbeats come, and a silent client is logged out with HEARTBEAT_TIMEOUT."""
    with plain(heartbeat_after=0.1, silence_limit=0.5) as exchange:
        with dialled(exchange.host, exchange.port) as line:
            log_in(exchange, line)
            payloads = line.payloads_until_closed()
        assert brief(payloads[0]) == "3 heartbeat"
        assert payloads[-1].eto_payload.logout.reason == eto.LOGOUT_HEARTBEAT_TIMEOUT
        assert online(exchange) == 0


def test_a_connection_that_never_logs_in_is_closed() -> None:
    """LOGIN_TIMEOUT over a socket: the logout arrives, then the end."""
    with plain(login_timeout=0.1) as exchange, dialled(exchange.host, exchange.port) as line:
        (payload,) = line.payloads_until_closed()
        assert payload.eto_payload.logout.reason == eto.LOGOUT_LOGIN_TIMEOUT


def test_a_refused_login_is_told_and_closed() -> None:
    """The reason arrives before the end of the stream."""
    with plain() as exchange:
        exchange.faults.refuse_login(exchange.logins[0].username, eto.LOGOUT_DOWNTIME)
        session = session_on(exchange)
        with pytest.raises(LoginError, match="DOWNTIME"):
            session.log_in()
        eventually(lambda: settled(exchange))


# --- bad company ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: exchange.example\r\nAccept: text/html, application/json\r\n\r\n",
        b"\xff" * 64,
        b"\x04\xff\xff\xff\xff",
        b"\x82\xfe\xff\x7f",
    ],
    ids=["http", "endless header", "no protobuf", "oversize"],
)
def test_garbage_closes_that_connection_only(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said to it, the log has a line, and a session beside it goes on."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    with plain() as exchange:
        session = session_on(exchange)
        session.log_in()
        with dialled(exchange.host, exchange.port) as line:
            line.send(data)
            assert line.until_closed() == []
        assert "connection 2: " in caplog.text
        session.ping()
        session.flush()
        assert read_until(session, 2)[-1].endswith("pong")
        session.disconnect()


def test_a_plain_client_of_a_tls_exchange_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Its handshake fails with a line in the log; the next client is served."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    with EmbeddedExchange(accounts=1) as exchange:
        with dialled(exchange.host, exchange.port) as line:
            line.send(b"\x1d" + b"x" * 200)
            line.hang_up()
        eventually(lambda: "TLS handshake failed" in caplog.text)
        session = session_on(exchange)
        session.log_in()
        session.disconnect()


def test_a_client_that_resets_is_simply_gone() -> None:
    """A reset in the middle of a session ends it and costs nobody else anything."""
    with plain() as exchange:
        with dialled(exchange.host, exchange.port) as line:
            log_in(exchange, line)
            line.send(*(ping(seq) for seq in range(2, 200)))
            line.reset()
        eventually(lambda: settled(exchange))
        assert online(exchange) == 0


def test_a_client_that_does_not_read_is_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """More than out_buffer_limit waiting bytes close its connection; the log says why."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    with plain(out_buffer_limit=65_536, visible_depth=0) as exchange:
        other = session_on(exchange, 1)
        other.log_in()
        with dialled(exchange.host, exchange.port, receive_buffer=4096) as line:
            log_in(exchange, line)

            def pester() -> bool:
                exchange.exchange.carry(
                    [_notice(exchange.market_ids[0])] * 200, exchange.exchange.peers[-1], exchange.now()
                )
                gevent.sleep(0)
                return "it does not read" in caplog.text

            eventually(pester)
            eventually(lambda: online(exchange) == 0)
        other.ping()
        other.flush()
        assert read_until(other, 2)[-1].endswith("pong")
        other.disconnect()
        eventually(lambda: settled(exchange))


def _notice(market_id: int) -> ToRequester:
    return ToRequester(seto.MarketState(market_id=market_id, state=seto.MARKET_STATE_OPEN, reason="x" * 1000))


# --- ends -----------------------------------------------------------------------------------------


def test_the_confirmation_reaches_a_client_that_is_still_sending() -> None:
    """Frames behind the logout are read and thrown away, so that no reset takes the confirmation."""
    with plain() as exchange, dialled(exchange.host, exchange.port) as line:
        log_in(exchange, line)
        line.send(logout(2), *(market(seq, 1) for seq in range(3, 2000)))
        sender = gevent.spawn(line.send, *(market(seq, 1) for seq in range(2000, 20_000)))
        payload = line.payload()
        assert payload.eto_payload.logout.reason == eto.LOGOUT_CONFIRMATION
        sender.kill()
        line.send(market(20_000, 1))
        assert line.socket.recv(1) == b""  # the end of the stream, and no reset


def test_a_client_that_never_closes_is_closed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a logout the exchange waits a moment for the client's end, then ends by itself."""
    monkeypatch.setattr(server_module, "_LINGER", 0.1)
    with plain() as exchange, dialled(exchange.host, exchange.port) as line:
        log_in(exchange, line)
        line.send(logout(2))
        assert line.take(1) == ["3 logout"]
        eventually(lambda: settled(exchange))


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize(("inside", "unread"), [(False, 0), (True, 2)])
def test_a_cut_breaks_the_connection(inside: bool, unread: int, tls: bool) -> None:
    """Between frames or inside one; the client counts what it was left with."""
    with EmbeddedExchange(accounts=1, tls=tls) as exchange:
        session = session_on(exchange)
        session.log_in()
        read_until(session, 1)
        assert exchange.cut(exchange.logins[0].username, inside=inside) == 1
        with pytest.raises(ConnectionError) as caught:
            while True:
                session.read()
                assert session.next_frame() is None
        assert getattr(caught.value, "unread", 0) == unread
        eventually(lambda: settled(exchange))
        assert [fault.kind for fault in exchange.truth.faults] == ["cut"]
        session.log_in()
        session.disconnect()


def test_a_cut_can_keep_an_account_away() -> None:
    """``away`` refuses logins until that many seconds have passed."""
    with plain() as exchange:
        exchange.cut(exchange.logins[0].username, away=0.15)
        with pytest.raises(LoginError, match="SERVICE_TEMPORARILY_UNAVAILABLE"):
            session_on(exchange).log_in()
        session = session_on(exchange)

        def admitted() -> bool:
            try:
                session.log_in()
            except LoginError:
                return False
            return True

        eventually(admitted)
        session.disconnect()


def test_downtime_reaches_clients_and_ends() -> None:
    """A running client is logged out with DOWNTIME and can log in again afterwards."""
    with plain() as exchange:
        client = StreamingAPIClient(session_on(exchange))
        reasons = []
        client.add_handler("eto.logout", lambda message: reasons.append(message.eto_payload.logout.reason))
        client.login()
        exchange.exchange.begin_downtime(exchange.now())
        while client.session.connected:
            client.read()
        with pytest.raises(LoginError, match="DOWNTIME"):
            client.login()
        exchange.exchange.end_downtime()
        client.login()
        client.logout()
        assert reasons == [eto.LOGOUT_DOWNTIME] * 2 + [eto.LOGOUT_CONFIRMATION]


# --- starting and stopping ------------------------------------------------------------------------


def _ca_folders() -> set[str]:
    return set(glob.glob(os.path.join(tempfile.gettempdir(), "smarkets-pool-ca-*")))


def test_stopping_closes_every_connection() -> None:
    """Clients see the end, nobody is online, the port is free again."""
    exchange = plain()
    exchange.start()
    sessions = [session_on(exchange, number) for number in (0, 1)]
    for session in sessions:
        session.log_in()
        read_until(session, 1)
    exchange.stop()
    for session in sessions:
        with pytest.raises(ConnectionError):
            session.read()
    assert exchange.exchange.peers == []
    assert (online(exchange, 0), online(exchange, 1)) == (0, 0)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((exchange.host, exchange.port))


def test_stopping_while_clients_arrive_leaves_nothing() -> None:
    """Connections in every stage of their beginning are closed too."""
    for turns in range(6):
        exchange = plain()
        exchange.start()
        clients = [socket.create_connection((exchange.host, exchange.port)) for _ in range(5)]
        for _ in range(turns):
            gevent.sleep(0)
        exchange.stop()
        assert exchange.exchange.peers == []
        for client in clients:
            client.settimeout(2)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
            client.close()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_stopping_in_the_middle_of_traffic_leaves_nothing(tls: bool) -> None:
    """Orders on their way do not keep ``stop`` waiting."""
    with gevent.Timeout(4, AssertionError("stop takes too long")):
        exchange = EmbeddedExchange(accounts=1, tls=tls)
        exchange.start()
        session = session_on(exchange)
        session.log_in()
        session.send(seto.Settings(cancel_all_on_failure=True))
        market_id = exchange.market_ids[0]
        for price in range(1, 200):
            session.send(
                seto.OrderCreate(
                    side=seto.SIDE_BUY,
                    quantity=1,
                    price=price,
                    market_id=market_id,
                    contract_id=exchange.contract_ids[market_id][0],
                )
            )
        session.flush()
        session.read()
        exchange.stop()
        assert online(exchange) == 0
        session.disconnect()


def test_starting_and_stopping_again_is_fine() -> None:
    """A second start or stop does nothing."""
    exchange = plain()
    exchange.stop()
    exchange.start()
    port = exchange.port
    exchange.start()
    assert exchange.port == port
    exchange.stop()
    exchange.stop()


def test_the_authoritys_file_is_there_while_it_runs_and_removed_afterwards() -> None:
    """Nothing of the throw-away CA stays on disk."""
    before = _ca_folders()
    with EmbeddedExchange(accounts=1) as exchange:
        assert exchange.ca_file is not None
        with open(exchange.ca_file, encoding="ascii") as file:
            text = file.read()
        assert "BEGIN CERTIFICATE" in text
        assert "PRIVATE" not in text
    assert not os.path.exists(exchange.ca_file)
    assert _ca_folders() == before


def test_a_port_that_is_taken_is_a_config_error_and_leaves_nothing() -> None:
    """The text names the address; the CA's file of the exchange that did not start is removed."""
    before = _ca_folders()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}"),
            EmbeddedExchange(accounts=1, port=port),
        ):
            raise AssertionError("it started")
    assert _ca_folders() == before


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("127.0.0.1", -1), ("192.0.2.1", 0)])
def test_an_address_that_cannot_be_listened_on_is_a_config_error(host: str, port: int) -> None:
    """An impossible port or another machine's address is named."""
    with pytest.raises(ConfigError, match="cannot listen on"):
        EmbeddedExchange(accounts=1, tls=False, host=host, port=port).start()


def test_a_client_of_a_stopped_exchange_is_refused() -> None:
    """Nobody listens any more."""
    with plain() as exchange:
        session = session_on(exchange)
    with pytest.raises(ConnectionError, match="no connection"):
        session.connect()


def test_frames_that_were_on_their_way_arrive_before_the_end() -> None:
    """A logout at the end of much traffic is not overtaken by the close."""
    with plain(throttle_enforced=False) as exchange:
        session = session_on(exchange)
        session.log_in()
        for _ in range(3000):
            session.ping()
        session.logout()
        names = read_until(session, 3002)
        assert names[-1].endswith("logout")
        assert sum(name.endswith("pong") for name in names) == 3000
        with pytest.raises(SocketDisconnected):
            session.read()


def test_a_mistake_of_ours_costs_one_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a request brings about in the exchange: the log has it, others do not notice."""
    with plain() as exchange:
        unlucky, other = session_on(exchange, 0), session_on(exchange, 1)
        for session in (unlucky, other):
            session.log_in()
        engine = exchange.exchange.engine
        handle = engine.handle

        def mistaken(account: ExchangeAccount, *args: object, **keywords: object) -> object:
            if account.username == exchange.logins[0].username:
                raise RuntimeError("a mistake of ours")
            return handle(account, *args, **keywords)  # type: ignore[arg-type]

        monkeypatch.setattr(engine, "handle", mistaken)
        for session in (unlucky, other):
            session.send(seto.OrderCancel(order_id=1))
            session.flush()
        with pytest.raises(ConnectionError):
            while True:
                unlucky.read()
        assert read_until(other, 2)[-1].endswith("order_cancel_rejected")
        assert "connection 1: closed for what it sent" in caplog.text
        assert "a mistake of ours" in caplog.text
        other.disconnect()
        eventually(lambda: settled(exchange))

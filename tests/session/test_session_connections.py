"""How a connection is made and how it ends: names, families, timeouts, resets, two readers, log lines."""

from __future__ import annotations

import base64
import builtins
import logging
import os
import socket

import gevent
import pytest

from smarkets_pool import eto
from smarkets_pool.client import StreamingAPIClient
from smarkets_pool.exceptions import (
    ConcurrentUseError,
    ConnectionError,
    ConnectTimeout,
    Error,
    LoginError,
    ReceiveTimeout,
    SendTimeout,
    SocketDisconnected,
    TlsError,
)
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.session import Session, SessionSettings, SessionSocket
from tests.rig.ends import logout, order, ping, subscribe
from tests.rig.peers import Line, Scripted, Unanswering, hold, read_until, session_with
from tests.rig.waiting import eventually


def _settings(**changes: object) -> SessionSettings:
    values = {"username": "u", "password": "p", "host": "127.0.0.1", "port": 1, "ssl": False, **changes}
    return SessionSettings(**values)  # type: ignore[arg-type]


#: The state of a socket whose peer has reset it (linux/tcp_states.h).
TCP_CLOSE = b"\x07"


def _unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# --- making one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64 + ".example", "nul\0byte"])
def test_a_name_that_cannot_be_resolved_is_named(host: str) -> None:
    """An unknown or impossible host is a ConnectionError that quotes it; nothing stays open."""
    session = Session(_settings(host=host))
    with pytest.raises(ConnectionError, match="cannot be resolved") as caught:
        session.connect()
    assert repr(host) in str(caught.value)
    assert not session.connected


def test_nobody_listening_is_a_connection_error() -> None:
    """A refused connection names the address and has the system's error as its cause."""
    port = _unused_port()
    session = Session(_settings(port=port))
    with pytest.raises(ConnectionError, match=f"no connection to 127.0.0.1:{port}") as caught:
        session.connect()
    assert isinstance(caught.value.__cause__, OSError)
    assert not session.connected


def test_an_address_that_does_not_answer_times_out() -> None:
    """A connect that takes longer than socket_timeout is a ConnectTimeout that names the address."""
    with Unanswering() as place:
        session = Session(_settings(host=place.host, port=place.port, socket_timeout=0.05))
        with pytest.raises(ConnectTimeout, match=rf"within 0\.05 s: 127\.0\.0\.1:{place.port}: no answer"):
            session.connect()


def test_ipv6_loopback_works() -> None:
    """4.1 row 4: an address of the other family is served as well."""
    with Scripted(hold, host="::1") as server:
        session = Session(_settings(host="::1", port=server.port))
        session.log_in()
        assert session.raw_socket is not None
        assert session.raw_socket.family == socket.AF_INET6
        session.disconnect()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_address_of_a_name_is_tried(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """4.1 row 4: a name with both families connects whichever of them is served."""
    found = {
        "127.0.0.1": (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1",)),
        "::1": (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1",)),
    }

    def both(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(*entry[:4], (*entry[4], port)) for entry in found.values()]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with Scripted(hold, host=host) as server:
        session = Session(_settings(host="exchange.example", port=server.port))
        session.log_in()
        assert session.raw_socket is not None
        assert session.raw_socket.getpeername()[0] == host
        session.disconnect()


def test_a_login_that_cannot_be_written_leaves_nothing_open() -> None:
    """If the first flush fails, the session is closed again."""

    class Broken(SessionSocket):
        def send(self, data: object) -> int:
            self.disconnect()
            raise ConnectionError("broken")

    with Scripted(lambda line: line.until_closed()) as server:
        settings = _settings(port=server.port)
        session = Session(settings, socket=Broken(settings))
        with pytest.raises(ConnectionError, match="broken"):
            session.connect()
        assert not session.connected
        assert session.output_buffer_size == 0


# --- the ends, and logging in again ---------------------------------------------------------------


def _silent(line: Line) -> None:
    line.accept()
    line.until_closed()


def _closing(line: Line) -> None:
    line.accept()


def _resetting(line: Line) -> None:
    line.accept()
    line.take(1)
    line.reset()


@pytest.mark.parametrize(
    ("end", "error"),
    [(_silent, ReceiveTimeout), (_closing, SocketDisconnected), (_resetting, ConnectionError)],
    ids=["silence", "end of stream", "reset"],
)
def test_a_connection_that_ended_is_closed_and_a_login_works_again(end, error) -> None:  # type: ignore[no-untyped-def]
    """4.1 rows 10 and 11: after any end ``connected`` is False, and the next login really logs in."""
    with session_with(end, hold, socket_timeout=0.2) as session:
        session.log_in()
        session.send(subscribe())
        session.flush()
        with pytest.raises(error) as caught:
            session.read()
        assert isinstance(caught.value, builtins.ConnectionError)
        assert not session.connected
        assert not session.logged_in
        assert session.raw_socket is None
        session.log_in()
        assert session.logged_in


def test_a_client_logs_in_again_after_the_connection_ended() -> None:
    """4.1 row 11: ``StreamingAPIClient.login`` after an end sends a login and waits for its answer."""
    with session_with(_closing, hold) as session:
        client = StreamingAPIClient(session)
        client.login()
        with pytest.raises(SocketDisconnected):
            client.read()
        client.login()
        assert session.logged_in


@pytest.mark.parametrize("verb", ["read", "flush"])
def test_what_a_closed_session_cannot_do_is_said(verb: str) -> None:
    """Reading without a connection raises; flushing nothing is fine."""
    session = Session(_settings())
    if verb == "flush":
        session.flush()
    else:
        with pytest.raises(SocketDisconnected, match="not connected"):
            session.read()


def test_a_server_that_stops_reading_ends_in_a_send_timeout() -> None:
    """A peer that takes nothing for socket_timeout seconds is given up and the connection closed."""

    def script(line: Line) -> None:
        line.accept()
        eventually(lambda: not session.connected)

    with session_with(script, socket_timeout=0.1, receive_buffer=4096) as session:
        session.log_in()
        for _ in range(12):
            message = order()
            message.label = "x" * 1_000_000
            session.send(message)
        with pytest.raises(SendTimeout, match="took no bytes"):
            session.flush()
        assert not session.connected
        assert session.output_buffer_size == 0


def test_writing_to_a_connection_that_was_reset_closes_it() -> None:
    """A flush that meets a reset raises ConnectionError and leaves nothing behind."""

    def script(line: Line) -> None:
        line.accept()
        line.take(1)
        line.reset()

    with session_with(script) as session:
        session.log_in()

        def until_broken() -> None:
            while True:
                session.send(subscribe())
                session.flush()
                gevent.sleep(0)

        with pytest.raises(ConnectionError):
            until_broken()
        assert not session.connected
        assert session.output_buffer_size == 0


def test_disconnecting_after_a_reset_closes_the_descriptor() -> None:
    """4.1 row 28: a peer that has reset the connection cannot make ``disconnect`` leak it."""

    def script(line: Line) -> None:
        line.accept()
        line.reset()

    with session_with(script) as session:
        session.connect()
        raw = session.raw_socket
        assert raw is not None
        descriptor = raw.fileno()
        eventually(lambda: raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == TCP_CLOSE)
        session.disconnect()
        assert raw.fileno() == -1
        with pytest.raises(OSError):
            os.fstat(descriptor)


def test_disconnecting_again_is_fine() -> None:
    """``disconnect`` of a closed or never connected session does nothing."""
    session = Session(_settings())
    session.disconnect()
    session.disconnect()
    assert not session.connected


def test_every_failure_of_the_network_is_also_the_builtin_one() -> None:
    """4.1 row 26: ``except ConnectionError`` without any import catches ours, and ``Error`` does too."""
    for kind in (SocketDisconnected, ConnectTimeout, ReceiveTimeout, SendTimeout, TlsError):
        assert issubclass(kind, builtins.ConnectionError)
        assert issubclass(kind, OSError)
        assert issubclass(kind, Error)


def test_the_apis_connection_error_is_the_one_that_is_raised() -> None:
    """4.1 row 26: the name that the vendor's module exported catches a refused connection."""
    from smarkets_pool import api

    with pytest.raises(api.ConnectionError):
        api.Session(_settings(port=_unused_port())).connect()


# --- two at once ----------------------------------------------------------------------------------


def test_a_second_reader_is_refused() -> None:
    """4.1 row 24: two greenlets that read from one session find out; the first goes on."""
    seen = []

    def script(line: Line) -> None:
        line.accept()
        line.take(1)
        line.send(ping(2))
        line.until_closed()

    with session_with(script) as session:
        session.log_in()
        reader = gevent.spawn(lambda: seen.extend(read_until(session, 1)))
        eventually(lambda: session._reading)
        with pytest.raises(ConcurrentUseError, match="one reader"):
            session.read()
        session.send(subscribe())
        session.flush()
        reader.get(timeout=5)
    assert seen == ["2 ping"]


def test_a_failed_read_does_not_count_as_reading() -> None:
    """After an error the session can be read again by whoever reconnects it."""
    with session_with(_closing, hold) as session:
        session.log_in()
        with pytest.raises(SocketDisconnected):
            session.read()
        with pytest.raises(SocketDisconnected, match="not connected"):
            session.read()


# --- what is logged -------------------------------------------------------------------------------

PASSWORD = "hunter2-hunter2"
TOKEN = "t0ken-of-somebody"


def _spellings(secret: str) -> list[str]:
    raw = secret.encode()
    coded = base64.b64encode(raw).decode().rstrip("=")
    return [secret, raw.hex(), raw.hex(" "), raw.hex(":"), coded, repr(raw)[2:-1]]


@pytest.mark.parametrize("secrets", [{"password": PASSWORD}, {"token": TOKEN}], ids=["password", "token"])
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_debug_logs_hold_no_secret(
    secrets: dict[str, str], tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """4.1 row 25: with everything logged, a whole conversation leaves no secret in any spelling."""
    caplog.set_level(logging.DEBUG)
    with EmbeddedExchange(accounts=1, tls=tls) as exchange:
        exchange.exchange.accounts.add("u@example.com", PASSWORD, TOKEN)
        settings = SessionSettings(
            **{**exchange.settings_for(0), "username": "u@example.com", "password": "wrong", **secrets}
        )
        client = StreamingAPIClient(Session(settings))
        client.login()
        client.ping()
        client.flush()
        client.read()
        client.logout()
        client.session.disconnect()
    assert any(record.name.startswith("smarkets_pool") for record in caplog.records)
    texts = [record.getMessage() + repr(record.args) + str(record.exc_text) for record in caplog.records]
    for spelling in [*_spellings(PASSWORD), *_spellings(TOKEN)]:
        assert not [text for text in texts if spelling in text]


def test_debug_logs_hold_no_secret_when_things_go_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """4.1 row 25: refusal, garbage and a reset in the middle of the login log no secret either."""
    caplog.set_level(logging.DEBUG)

    def refuse(line: Line) -> None:
        line.payload()
        line.send(logout(1, eto.LOGOUT_UNAUTHORISED))

    def garbage(line: Line) -> None:
        line.send(b"\x04\xff\xff\xff\xff" + line.payload().SerializeToString())

    def reset(line: Line) -> None:
        line.payload()
        line.reset()

    texts = []
    with session_with(refuse, garbage, reset, password=PASSWORD) as session:
        for _ in range(3):
            with pytest.raises(Error) as caught:
                session.log_in()
            texts.append(str(caught.value) + repr(caught.value))
            session.disconnect()
    texts += [record.getMessage() for record in caplog.records]
    for spelling in _spellings(PASSWORD):
        assert not [text for text in texts if spelling in text]


def test_each_logger_of_the_vendor_has_ours(caplog: pytest.LogCaptureFixture) -> None:
    """session, .flush, .socket and .wire exist, so that each can be switched on by itself."""
    caplog.set_level(logging.DEBUG)

    def script(line: Line) -> None:
        line.accept()
        line.send(ping(4))
        line.until_closed()

    with session_with(script) as session:
        session.log_in()
        while "missing" not in caplog.text:
            if session.next_frame() is None and "missing" not in caplog.text:
                session.read()
    names = {record.name for record in caplog.records}
    for end in ("", ".flush", ".socket", ".wire"):
        assert "smarkets_pool.session" + end in names


def test_login_errors_are_no_connection_errors() -> None:
    """A refusal is not a fault of the network: retry loops must tell them apart."""
    assert not issubclass(LoginError, ConnectionError)

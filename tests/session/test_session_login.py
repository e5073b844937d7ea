"""Logging in with a ``Session``: what is sent, what is held back, and each way it can end."""

from __future__ import annotations

import inspect
import socket

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import (
    ConfigError,
    ConnectionError,
    LoginError,
    LoginTimeout,
    ProtocolError,
    ReceiveTimeout,
    SocketDisconnected,
    UsageError,
)
from smarkets_pool.session import Frame, Session, SessionSettings, SessionSocket
from tests.rig.ends import SESSION, brief, gapfill, heartbeat, login_response, logout, ping, pong, subscribe
from tests.rig.peers import Line, Scripted, buffered, read_until, session_with


def _parameters(function: object) -> list[tuple[str, object]]:
    return [
        (name, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()  # type: ignore[arg-type]
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]


# --- the vendor's shapes --------------------------------------------------------------------------


def test_settings_take_the_vendors_arguments_in_the_vendors_order() -> None:
    """A program written for the vendor's SDK constructs SessionSettings the same way."""
    assert _parameters(SessionSettings) == [
        ("username", None),
        ("password", None),
        ("token", None),
        ("host", "stream.smarkets.com"),
        ("port", 3801),
        ("ssl", True),
        ("socket_timeout", 30),
        ("ssl_kwargs", None),
        ("tcp_nodelay", True),
    ]


def test_settings_keep_their_arguments_as_plain_attributes() -> None:
    """Every argument can be read back and changed, as in the vendor's SDK."""
    settings = SessionSettings("u", "p", "t", "h", 1, False, 2, {"ciphers": "ALL"}, False)
    assert (settings.username, settings.password, settings.token) == ("u", "p", "t")
    assert (settings.host, settings.port, settings.ssl, settings.socket_timeout) == ("h", 1, False, 2)
    assert settings.ssl_kwargs == {"ciphers": "ALL"}
    assert settings.tcp_nodelay is False
    assert settings.read_chunksize == 65536


def test_a_session_takes_the_vendors_arguments() -> None:
    """Session(settings, inseq, outseq, account_sequence) is the vendor's signature."""
    shape = _parameters(Session)
    assert [name for name, _ in shape] == ["settings", "inseq", "outseq", "account_sequence"]
    assert shape[1:] == [("inseq", 1), ("outseq", 1), ("account_sequence", None)]


def test_a_frame_is_the_vendors_named_tuple() -> None:
    """Frame(bytes, protobuf) can be unpacked and read by name."""
    assert Frame._fields == ("bytes", "protobuf")


def test_a_new_session_has_the_vendors_attributes() -> None:
    """What the vendor's programs read from a session is there before it connects."""
    settings = SessionSettings("u", "p")
    session = Session(settings, 3, 4, 5)
    assert session.settings is settings
    assert (session.inseq, session.init_inseq) == (3, 3)
    assert (session.outseq, session.init_outseq, session.buf_outseq) == (4, 4, 4)
    assert session.account_sequence == 5
    assert isinstance(session.socket, SessionSocket)
    assert isinstance(session.out_payload, seto.Payload)
    assert (session.connected, session.raw_socket, session.output_buffer_size) == (False, None, 0)
    assert session.session is None


@pytest.mark.parametrize("wrong", [None, {}, "host"])
def test_a_socket_wants_session_settings(wrong: object) -> None:
    """Anything else is refused with a ValueError, as by the vendor."""
    with pytest.raises(ValueError, match="SessionSettings") as caught:
        SessionSocket(wrong)  # type: ignore[arg-type]
    assert isinstance(caught.value, UsageError)


def test_connect_of_a_socket_tells_whether_it_did_anything() -> None:
    """SessionSocket.connect is True the first time and False while it stands, as the vendor's."""
    with Scripted(lambda line: line.until_closed()) as server:
        connection = SessionSocket(SessionSettings("u", "p", host="127.0.0.1", port=server.port, ssl=False))
        assert connection.connect() is True
        assert connection.connect() is False
        connection.disconnect()
        connection.disconnect()
        assert connection.connected is False


@pytest.mark.parametrize("nodelay", [True, False])
def test_tcp_nodelay_is_set_as_asked(nodelay: bool) -> None:
    """Nagle's algorithm is off by default and stays on if wanted."""
    with session_with(tcp_nodelay=nodelay) as session:
        session.connect()
        assert session.raw_socket is not None
        option = session.raw_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert bool(option) is nodelay


# --- what a login carries -------------------------------------------------------------------------


def test_the_login_frame_is_the_vendors_byte_for_byte() -> None:
    """User name and password leave as SDK 9.4.4 writes them."""
    received = []

    def script(line: Line) -> None:
        received.append(line.socket.recv(100))

    with session_with(script) as session:
        session.connect()
        with pytest.raises(SocketDisconnected):
            session.read()
    assert received == [
        bytes.fromhex("1d 0802 1204 0801 1007 1a13 0a0d") + b"u@example.com" + bytes.fromhex("1202") + b"pw"
    ]


def _login_of(**settings: object) -> seto.Payload:
    logins = []

    def script(line: Line) -> None:
        logins.append(line.accept())
        line.until_closed()

    with session_with(script, **settings) as session:
        session.log_in()
    return logins[0]


@pytest.mark.parametrize("token", ["tøken", "tøken".encode()])
def test_a_token_travels_as_the_cookie_and_wins(token: str | bytes) -> None:
    """With a token, text or bytes, neither user name nor password is sent."""
    login = _login_of(token=token).login
    assert login.cookie == "tøken".encode()
    assert not login.HasField("username")
    assert not login.HasField("password")


def test_a_password_may_be_bytes() -> None:
    """A password that comes as bytes is sent as the text it encodes."""
    assert _login_of(password="påss".encode()).login.password == "påss"


def test_callable_secrets_are_asked_at_each_login() -> None:
    """A password that was rotated between two logins is picked up by the second."""
    passwords = iter(["first", "second"])
    logins = []

    def script(line: Line) -> None:
        logins.append(line.accept().login.password)
        line.until_closed()

    with session_with(script, password=lambda: next(passwords)) as session:
        for _ in range(2):
            session.log_in()
            session.disconnect()
    assert logins == ["first", "second"]


def test_the_position_is_sent_in_both_fields() -> None:
    """A position goes into the 64-bit field with a 0 in the 32-bit one, as the vendor sends it."""
    logins = []

    def script(line: Line) -> None:
        logins.append(line.accept().login)
        line.until_closed()

    with session_with(script, options={"account_sequence": 2**40}) as session:
        session.log_in()
    assert logins[0].account_sequence_64 == 2**40
    assert logins[0].HasField("account_sequence")
    assert logins[0].account_sequence == 0


def test_without_a_position_none_is_sent() -> None:
    """A login that asks for no history carries neither field."""
    login = _login_of().login
    assert not login.HasField("account_sequence")
    assert not login.HasField("account_sequence_64")


# --- settings that cannot work --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"username": None, "password": None}, "no credentials"),
        ({"username": None, "password": "p"}, "no credentials"),
        ({"username": "", "password": "p"}, "no credentials"),
        ({"username": "u", "password": None}, "no password for 'u'"),
        ({"password": lambda: None}, "password is to be a non-empty text"),
        ({"token": lambda: ""}, "token is to be a non-empty text"),
        ({"token": b""}, "the token is empty"),
        ({"host": ""}, "host"),
        ({"host": None}, "host"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": True}, "port"),
        ({"port": "3801"}, "port"),
        ({"socket_timeout": 0}, "socket_timeout"),
        ({"socket_timeout": None}, "socket_timeout"),
        ({"socket_timeout": float("nan")}, "socket_timeout"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_socket(
    settings: dict[str, object], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.1 row 30: no user name, or anything else senseless, is a ConfigError and opens nothing."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket, "socket", never)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    values = {"username": "u", "password": "p", "host": "127.0.0.1", "port": 1, "ssl": False, **settings}
    with pytest.raises(ConfigError, match=named):
        Session(SessionSettings(**values)).connect()  # type: ignore[arg-type]


def test_the_refused_secret_itself_is_in_no_text() -> None:
    """A callable that gives something that is no text is named by its type alone."""
    settings = SessionSettings("u", lambda: ["hunter2"])  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigError) as caught:
        settings.login_message()
    assert "hunter2" not in str(caught.value)
    assert "list" in str(caught.value)


def test_settings_and_session_show_no_secret() -> None:
    """Neither repr holds password or token; a token alone has a stand-in for the name."""
    settings = SessionSettings("u", "hunter2", "tok3n")
    assert "hunter2" not in repr(settings) + repr(Session(settings))
    assert "tok3n" not in repr(settings) + repr(Session(settings))
    assert SessionSettings(token="tok3n").login_name == "(by token)"


# --- the answer -----------------------------------------------------------------------------------


def test_a_response_that_arrives_byte_by_byte_logs_in() -> None:
    """4.1 row 13: a login is not over because its answer came in pieces."""

    def script(line: Line) -> None:
        line.payload()
        for byte in login_response():
            line.send(bytes([byte]))
        line.until_closed()

    with session_with(script) as session:
        session.connect()
        session.raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # type: ignore[union-attr]
        session.settings.read_chunksize = 1
        frames = session.log_in()
        assert [frame.name for frame in frames] == ["eto.login_response"]
        assert session.logged_in
        assert session.session == SESSION


def test_frames_behind_the_response_wait_for_next_frame() -> None:
    """What arrived along with the login's answer is not lost."""

    def script(line: Line) -> None:
        line.payload()
        line.send(login_response(), ping(2), pong(3))
        line.until_closed()

    with session_with(script) as session:
        assert [brief(frame.payload) for frame in session.log_in()] == ["1 login_response"]
        assert read_until(session, 2) == ["2 ping", "3 pong"]


def test_a_refused_login_raises_with_the_reason_and_closes() -> None:
    """LoginError has the number and the name of the reason."""

    def script(line: Line) -> None:
        line.payload()
        line.send(logout(1, eto.LOGOUT_UNAUTHORISED))

    with session_with(script) as session:
        with pytest.raises(LoginError, match="LOGOUT_UNAUTHORISED") as caught:
            session.log_in()
        assert (caught.value.reason, caught.value.reason_msg) == (7, "LOGOUT_UNAUTHORISED")
        assert not session.connected


def test_a_login_without_an_answer_is_a_disconnect() -> None:
    """A server that closes instead of answering is reported as such, and the session is closed."""
    with session_with(lambda line: line.payload()) as session:
        with pytest.raises(SocketDisconnected):
            session.log_in()
        assert not session.connected


def test_a_silent_server_ends_the_login_at_the_socket_timeout() -> None:
    """Nothing at all for socket_timeout seconds is a ReceiveTimeout."""
    with session_with(lambda line: line.until_closed(), socket_timeout=0.05) as session:
        with pytest.raises(ReceiveTimeout):
            session.log_in()
        assert not session.connected


def test_a_dripping_server_cannot_keep_a_login_waiting() -> None:
    """Bytes that never become an answer do not prolong the login beyond socket_timeout."""
    clock = iter(range(0, 10_000, 2))

    def script(line: Line) -> None:
        line.payload()
        for byte in login_response():
            line.send(bytes([byte]))
        line.until_closed()

    with session_with(script, options={"clock": lambda: float(next(clock))}) as session:
        session.settings.read_chunksize = 1
        with pytest.raises(LoginTimeout):
            session.log_in()
        assert not session.connected


@pytest.mark.parametrize("reset", [None, 2])
def test_after_a_login_the_next_number_is_two(reset: int | None) -> None:
    """4.1 row 18: a response without reset does not make the next number 0."""
    sent = []

    def script(line: Line) -> None:
        line.payload()
        line.send(login_response(reset=reset))
        sent.extend(line.take(1))
        line.until_closed()

    with session_with(script) as session:
        session.log_in()
        assert session.outseq == 2
        assert session.send(subscribe()) == 2
        session.flush()
    assert sent == ["2 market_subscribe"]


def test_the_exchange_may_set_the_next_number() -> None:
    """``reset`` is obeyed."""

    def script(line: Line) -> None:
        line.payload()
        line.send(login_response(reset=9))
        line.until_closed()

    with session_with(script) as session:
        session.log_in()
        assert session.send(subscribe()) == 9
        assert (session.outseq, session.buf_outseq) == (10, 10)


def test_messages_sent_before_the_answer_are_held_and_numbered_after_it() -> None:
    """4.1 row 18: nothing that was sent between connect and the answer is thrown away."""
    heard = []

    def script(line: Line) -> None:
        line.payload()
        line.send(login_response(reset=5))
        heard.extend(line.take(2))
        line.until_closed()

    with session_with(script) as session:
        session.connect()
        message = subscribe(1)
        assert session.send(message) is None
        message.market_id = 77  # the session has its own copy
        assert session.send(subscribe(2)) is None
        session.flush()
        assert session.outseq == 2
        read_until(session, 1)
        assert session.outseq == 7
        assert session.output_buffer_size == 0
    assert heard == ["5 market_subscribe", "6 market_subscribe"]


def test_what_was_held_leaves_before_what_is_sent_in_answer_to_the_login() -> None:
    """A message sent on seeing the login response does not overtake one sent before it."""
    markets = []

    def script(line: Line) -> None:
        line.accept()
        markets.extend(line.payload().market_subscribe.market_id for _ in range(2))
        line.until_closed()

    with session_with(script) as session:
        session.connect()
        session.send(subscribe(1))
        session.read()
        assert session.next_frame() is not None
        session.send(subscribe(2))
        buffered(session)
    assert markets == [1, 2]


def test_the_session_id_is_there_when_the_response_is() -> None:
    """Whoever sees the login response can read ``session.session``, as in the vendor's SDK."""
    with session_with() as session:
        session.connect()
        session.read()
        assert session.next_frame() is not None
        assert session.session == SESSION


@pytest.mark.parametrize("message", [seto.Quote(price=1, quantity=1), seto.OrderCancel()])
def test_a_message_that_cannot_be_sent_is_refused_before_it_is_held(message: object) -> None:
    """The mistake is reported by the ``send`` that made it, not by a later read."""
    with session_with() as session:
        session.connect()
        with pytest.raises(UsageError):
            session.send(message)  # type: ignore[arg-type]
        assert read_until(session, 1) == ["1 login_response"]
        assert session.outseq == 2


def test_only_the_answer_may_follow_a_login() -> None:
    """A peer that sends something else in its place has broken the rules; the session closes."""

    def script(line: Line) -> None:
        line.payload()
        line.send(heartbeat(1))
        line.until_closed()

    with session_with(script) as session:
        with pytest.raises(ProtocolError, match="heartbeat"):
            session.log_in()
        assert not session.connected


def test_a_gapfill_may_come_before_the_answer() -> None:
    """A number that stands for nothing is no reason to give up a login."""

    def script(line: Line) -> None:
        line.payload()
        line.send(gapfill(1), login_response(2))
        line.until_closed()

    with session_with(script) as session:
        names = [brief(frame.payload) for frame in session.log_in()]
        assert names == ["1 gapfill replay", "2 login_response"]


# --- again ----------------------------------------------------------------------------------------


def test_connecting_twice_sends_one_login() -> None:
    """A session that is connected does not log in again."""
    heard = []

    def script(line: Line) -> None:
        line.accept()
        heard.extend(line.until_closed())

    with session_with(script) as session:
        session.log_in()
        session.connect()
        session.disconnect()
    assert heard == []


def test_a_second_session_starts_from_the_first_numbers() -> None:
    """4.1 row 27: numbers are honest and belong to one connection."""
    with session_with() as session:
        session.log_in()
        session.send(subscribe())
        session.flush()
        assert (session.inseq, session.outseq, session.buf_outseq) == (2, 3, 3)
        session.disconnect()
        session.connect()
        assert (session.inseq, session.outseq, session.session) == (1, 2, None)
        session.log_in()
        assert (session.inseq, session.outseq) == (2, 2)


def test_the_constructors_numbers_are_used() -> None:
    """4.1 row 27: ``outseq`` of the constructor is not overridden at connect."""
    with session_with(lambda line: line.payload(), options={"outseq": 7, "inseq": 4}) as session:
        session.connect()
        assert (session.inseq, session.outseq) == (4, 8)


# --- sending --------------------------------------------------------------------------------------


def test_nothing_is_written_before_flush() -> None:
    """``send`` numbers and buffers; ``flush`` writes."""
    with session_with() as session:
        session.log_in()
        session.send(subscribe())
        assert session.output_buffer_size == 11
        assert bytes(session.send_buffer[:1]) == b"\x0a"
        session.flush()
        assert session.output_buffer_size == 0


def test_the_vendors_way_to_send_is_to_fill_out_payload() -> None:
    """``send()`` without argument sends what stands in out_payload."""
    heard = []

    def script(line: Line) -> None:
        line.accept()
        heard.append(line.payload())
        line.until_closed()

    with session_with(script) as session:
        session.log_in()
        session.out_payload.type = seto.PAYLOAD_MARKET_SUBSCRIBE
        session.out_payload.market_subscribe.market_id = 5
        assert session.send() == 2
        session.flush()
        read = session.outseq
    assert heard[0].market_subscribe.market_id == 5
    assert read == 3


def test_an_empty_out_payload_is_refused() -> None:
    """``send()`` with nothing to send says so."""
    with session_with() as session:
        session.log_in()
        with pytest.raises(UsageError, match="out_payload holds no message"):
            session.send()


@pytest.mark.parametrize("verb", ["send", "ping", "logout"])
def test_nothing_can_be_sent_without_a_connection(verb: str) -> None:
    """The vendor's error for it, which names host and port and what to do."""
    session = Session(SessionSettings("u", "p", host="127.0.0.1", port=9, ssl=False))
    arguments = [subscribe()] if verb == "send" else []
    with pytest.raises(SocketDisconnected, match=r"127\.0\.0\.1:9: call connect\(\) first"):
        getattr(session, verb)(*arguments)


def test_a_ping_before_the_answer_is_a_usage_error() -> None:
    """A ping has no place before the login is answered; it consumes no number."""
    with session_with() as session:
        session.connect()
        with pytest.raises(UsageError, match="ping cannot be sent"):
            session.ping()
        assert session.outseq == 2


def test_a_connection_can_be_handed_over() -> None:
    """``detach`` gives socket and protocol away and leaves a session that can connect anew."""
    with session_with() as session:
        session.log_in()
        connection, protocol = session.detach()
        try:
            assert protocol.logged_in
            assert connection.connected
            assert not session.connected
            assert (session.inseq, session.outseq) == (1, 1)
        finally:
            raw = connection.detach()
            raw.close()
        with pytest.raises(ConnectionError):
            connection.detach()
        session.log_in()
        assert session.logged_in


def test_repr_tells_who_and_where() -> None:
    """A session in a log line shows its user and state, its socket the address."""
    with session_with() as session:
        session.log_in()
        assert repr(session) == "<Session 'u@example.com' UP>"
        assert repr(session.socket) == f"<SessionSocket connected 127.0.0.1:{session.settings.port}>"

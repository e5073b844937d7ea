"""``StreamingAPIClient``: the vendor's client, its calling conventions, and whole conversations."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys

import gevent
import pytest

from smarkets_pool import api, eto, seto
from smarkets_pool.client import (
    READ_MODE_BUFFER_AND_DISPATCH,
    READ_MODE_BUFFER_FROM_SOCKET,
    READ_MODE_DISPATCH_FROM_BUFFER,
    StreamingAPIClient,
)
from smarkets_pool.exceptions import (
    ConfigError,
    ConnectionError,
    InvalidCallbackError,
    LoginError,
    LoginTimeout,
    SocketDisconnected,
    UsageError,
)
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.session import Frame, Session, SessionSettings
from tests.rig.ends import brief, framed, heartbeat, login_response, logout, market, ping, pong, subscribe
from tests.rig.peers import Line, hold, session_with

LOGOUT_REASONS = list(eto.LogoutReason.items())

#: The vendor's list of names (SDK 9.4.4), in its order.
VENDOR_ETO = [
    "none",
    "ping",
    "pong",
    "gapfill",
    "heartbeat",
    "replay",
    "login",
    "login_response",
    "logout",
    "throttle_exceeded",
]
VENDOR_SETO = [
    "eto",
    "login",
    "order_create",
    "order_rejected",
    "order_accepted",
    "order_executed",
    "order_cancel",
    "order_cancelled",
    "order_invalid",
    "market_subscribe",
    "market_unsubscribe",
    "market_quotes",
    "contract_quotes",
    "order_cancel_rejected",
    "order_execute_voided",
    "market_state",
    "event_subscribe",
    "event_unsubscribe",
    "runningball_notification",
    "market_managed_state",
    "price_feed_subscribe",
    "price_feed_unsubscribe",
    "order_execute_confirmed",
    "market_feed_subscribe",
    "market_feed_unsubscribe",
    "order_quantity_reduce",
    "order_quantity_reduced",
    "order_quantity_reduce_rejected",
    "order_reduced",
    "order_cancel_all",
    "order_cancel_all_accepted",
    "order_cancel_all_rejected",
    "throttle_limits_changed",
    "settings",
    "settings_accepted",
    "balance_changed",
    "order_voided",
    "order_cancel_replace",
    "order_pending_replace",
    "order_cancel_replace_accepted",
    "order_cancel_replace_rejected",
]


class Heard:
    """Handlers that note what they are called with."""

    def __init__(self, client: StreamingAPIClient) -> None:
        self.names: list[str] = []
        client.add_global_handler(self.everything)

    def everything(self, name: str, message: Frame) -> None:
        self.names.append(name)


# --- the vendor's shapes --------------------------------------------------------------------------


def test_callbacks_are_the_vendors_51_and_two_of_ours() -> None:
    """Every name of SDK 9.4.4 can be registered; unknown types have names of their own."""
    expected = [f"eto.{name}" for name in VENDOR_ETO] + [f"seto.{name}" for name in VENDOR_SETO]
    assert sorted(StreamingAPIClient.CALLBACKS) == sorted([*expected, "eto.unknown", "seto.unknown"])
    assert StreamingAPIClient.CALLBACKS[:10] == expected[:10]
    assert len(expected) == 51


def test_the_vendors_signatures_are_kept() -> None:
    """Each method takes the vendor's arguments with the vendor's defaults."""
    shapes = {
        "login": ["receive=True"],
        "check_login": [],
        "logout": ["receive=True"],
        "read": ["read_mode=3", f"limit={sys.maxsize}"],
        "flush": [],
        "send": ["message"],
        "ping": [],
        "add_handler": ["name", "callback"],
        "del_handler": ["name", "callback"],
        "add_global_handler": ["callback"],
        "del_global_handler": ["callback"],
    }
    for name, expected in shapes.items():
        signature = inspect.signature(getattr(StreamingAPIClient, name))
        found = [
            p.name if p.default is p.empty else f"{p.name}={p.default}" for p in signature.parameters.values()
        ]
        assert found == ["self", *expected], name


def test_read_modes_are_the_vendors_bits() -> None:
    """1 reads, 2 dispatches, 3 does both."""
    assert READ_MODE_BUFFER_FROM_SOCKET == 1
    assert READ_MODE_DISPATCH_FROM_BUFFER == 2
    assert READ_MODE_BUFFER_AND_DISPATCH == 3


def test_the_api_module_exports_what_the_vendors_did() -> None:
    """``smarkets_pool.api`` replaces ``smarkets.streaming_api.api`` by a changed import."""
    names = [
        "ConnectionError",
        "DecodeError",
        "GOOD_TIL_CANCELLED",
        "IMMEDIATE_OR_CANCEL",
        "InvalidCallbackError",
        "ParseError",
        "SIDE_BID",
        "SIDE_OFFER",
        "Session",
        "SessionSettings",
        "SocketDisconnected",
        "StreamingAPIClient",
        "eto",
        "seto",
    ]
    assert sorted(api.__all__) == sorted(names)
    assert all(hasattr(api, name) for name in names)
    assert (api.SIDE_BID, api.SIDE_OFFER) == (seto.SIDE_BUY, seto.SIDE_SELL)
    assert (api.GOOD_TIL_CANCELLED, api.IMMEDIATE_OR_CANCEL) == (1, 2)


def test_a_new_client_has_the_vendors_attributes() -> None:
    """session, callbacks, global_callback, last_login, raw_socket, output_buffer_size."""
    session = Session(SessionSettings("u", "p"))
    client = StreamingAPIClient(session)
    assert client.session is session
    assert set(client.callbacks) == set(StreamingAPIClient.CALLBACKS)
    assert len(client.global_callback) == 0
    assert client.last_login is None
    assert client.raw_socket is None
    assert client.output_buffer_size == 0


def test_handlers_belong_to_one_client() -> None:
    """Two clients share no handlers."""
    first = StreamingAPIClient(Session(SessionSettings("u", "p")))
    second = StreamingAPIClient(Session(SessionSettings("u", "p")))
    first.add_handler("eto.pong", lambda message: None)
    assert (len(first.callbacks["eto.pong"]), len(second.callbacks["eto.pong"])) == (1, 0)


# --- handlers -------------------------------------------------------------------------------------


def _idle_client() -> StreamingAPIClient:
    return StreamingAPIClient(Session(SessionSettings("u", "p")))


def test_a_named_handler_gets_the_payload_and_a_global_one_the_frame() -> None:
    """4.1 row 21, kept: named ones ``message=Payload``, global ones ``name=..., message=Frame``."""
    calls: list[object] = []
    with session_with(lambda line: _after_a_frame(line, market(2, 7))) as session:
        client = StreamingAPIClient(session)
        client.login()
        client.add_handler("seto.market_subscribe", functools.partial(_note_message, calls))
        client.add_global_handler(lambda name, message: calls.append((name, message)))
        client.ping()
        client.flush()
        _read_until(client, calls, 2)
    payload, (name, frame) = calls  # type: ignore[misc]
    assert isinstance(payload, seto.Payload)
    assert payload.market_subscribe.market_id == 7
    assert name == "seto.market_subscribe"
    assert isinstance(frame, Frame)
    assert frame.protobuf == payload
    assert framed(frame.bytes) == market(2, 7)


def _note_message(calls: list[object], message: seto.Payload) -> None:
    calls.append(message)


def _read_until(client: StreamingAPIClient, seen: list[object], count: int) -> None:
    while len(seen) < count:
        client.read()


def test_handlers_run_in_the_order_of_registration_global_ones_last() -> None:
    """4.1 row 20: the vendor's set had no order; ours is the order in which they were added."""
    calls: list[object] = []
    with session_with(lambda line: _after_a_frame(line, pong(2))) as session:
        client = StreamingAPIClient(session)
        client.login()
        client.add_global_handler(lambda name, message: calls.append("global"))
        for number in range(8):
            client.add_handler("eto.pong", functools.partial(_note, calls, number))
        client.ping()
        client.flush()
        _read_until(client, calls, 9)
    assert calls == [*range(8), "global"]


def _note(calls: list[object], what: object, message: object) -> None:
    calls.append(what)


def _after_a_frame(line: Line, *frames: bytes) -> None:
    """A script: accept the login, wait for a frame, say this, wait for the end."""
    line.accept()
    line.take(1)
    line.send(*frames)
    line.until_closed()


def test_plus_equals_on_a_callback_adds_a_handler() -> None:
    """``client.callbacks[name] += handler`` is the vendor's other way to register."""
    client = _idle_client()

    def handler(message: seto.Payload) -> None:
        pass

    client.callbacks["eto.pong"] += handler
    client.global_callback += lambda name, message: None
    assert list(client.callbacks["eto.pong"]) == [handler]
    assert len(client.global_callback) == 1
    client.callbacks["eto.pong"] -= handler
    assert len(client.callbacks["eto.pong"]) == 0


def test_a_handler_is_called_once_however_often_it_was_added() -> None:
    """Adding a handler again changes nothing, as with the vendor's set."""
    client = _idle_client()

    def handler(message: seto.Payload) -> None:
        pass

    client.add_handler("eto.pong", handler)
    client.add_handler("eto.pong", handler)
    assert len(client.callbacks["eto.pong"]) == 1
    client.del_handler("eto.pong", handler)
    assert len(client.callbacks["eto.pong"]) == 0


@pytest.mark.parametrize("name", ["seto.order_acepted", "order_accepted", "", "seto.quote"])
def test_an_unknown_name_is_an_invalid_callback(name: str) -> None:
    """InvalidCallbackError is also a ValueError and quotes the name."""
    for method in ("add_handler", "del_handler"):
        with pytest.raises(InvalidCallbackError, match=repr(name)) as caught:
            getattr(_idle_client(), method)(name, lambda message: None)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("callback", [None, 1, "print"])
def test_what_is_not_callable_is_a_value_error(callback: object) -> None:
    """The vendor raised ValueError for it; so do we, for named and global handlers."""
    with pytest.raises(ValueError, match="is not callable"):
        _idle_client().add_handler("eto.pong", callback)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not callable"):
        _idle_client().add_global_handler(callback)  # type: ignore[arg-type]


def test_a_named_handler_must_take_message() -> None:
    """The vendor calls by keyword, so the argument's name counts; the mistake shows at registration."""
    with pytest.raises(InvalidCallbackError, match=r"handler\(message=\.\.\.\)"):
        _idle_client().add_handler("eto.pong", lambda msg: None)


def test_a_global_handler_must_take_name_and_message() -> None:
    """A handler for one message cannot be registered for all."""
    with pytest.raises(InvalidCallbackError, match=r"handler\(name=\.\.\., message=\.\.\.\)"):
        _idle_client().add_global_handler(lambda message: None)


def test_deleting_an_absent_handler_is_an_invalid_callback() -> None:
    """4.1 row 20: not a KeyError."""
    with pytest.raises(InvalidCallbackError, match="was not registered"):
        _idle_client().del_handler("eto.pong", lambda message: None)
    with pytest.raises(InvalidCallbackError, match="was not registered"):
        _idle_client().del_global_handler(lambda name, message: None)


def test_a_handler_may_remove_itself() -> None:
    """Handlers that change the list while it is being called disturb nobody."""
    calls: list[object] = []
    with session_with(lambda line: _after_a_frame(line, pong(2), pong(3))) as session:
        client = StreamingAPIClient(session)
        client.login()

        def once(message: seto.Payload) -> None:
            calls.append("once")
            client.del_handler("eto.pong", once)

        client.add_handler("eto.pong", once)
        client.add_handler("eto.pong", lambda message: calls.append("always"))
        client.ping()
        client.flush()
        _read_until(client, calls, 3)
    assert calls == ["once", "always", "always"]


# --- errors in handlers ---------------------------------------------------------------------------


def test_all_handlers_of_a_frame_run_although_one_raises() -> None:
    """4.1 row 19: the frame's other handlers and the global ones have their turn; the first error leaves."""
    calls: list[object] = []

    def bad(message: seto.Payload) -> None:
        calls.append("bad")
        raise KeyError("mine")

    def worse(message: seto.Payload) -> None:
        raise RuntimeError("second")

    with session_with(lambda line: _after_a_frame(line, pong(2))) as session:
        client = StreamingAPIClient(session)
        client.login()
        for handler in (bad, worse, functools.partial(_note, calls, "good")):
            client.add_handler("eto.pong", handler)
        client.add_global_handler(lambda name, message: calls.append("global"))
        client.ping()
        client.flush()
        with pytest.raises(KeyError, match="mine"):
            client.read()
    assert calls == ["bad", "good", "global"]


def test_frames_behind_one_whose_handler_raised_are_kept() -> None:
    """4.1 row 19, kept: they come with the next read, which does not wait for the socket."""
    calls: list[object] = []

    def bad(message: seto.Payload) -> None:
        raise KeyError("mine")

    with session_with(lambda line: _after_a_frame(line, ping(2), pong(3), pong(4))) as session:
        client = StreamingAPIClient(session)
        client.login()
        client.add_handler("eto.ping", bad)
        client.add_handler("eto.pong", lambda message: calls.append(brief(message)))
        client.ping()
        client.flush()
        with pytest.raises(KeyError, match="mine"):
            client.read()
        assert calls == []
        assert client.read() == 2
    assert calls == ["3 pong", "4 pong"]


# --- reading --------------------------------------------------------------------------------------


def test_read_modes_read_dispatch_or_both() -> None:
    """1 fills the buffer and dispatches nothing, 2 dispatches and does not touch the socket."""
    with session_with(lambda line: _after_a_frame(line, pong(2), pong(3))) as session:
        client = StreamingAPIClient(session)
        client.login()
        heard = Heard(client)
        client.ping()
        client.flush()
        assert client.read(READ_MODE_DISPATCH_FROM_BUFFER) == 0
        assert client.read(READ_MODE_BUFFER_FROM_SOCKET) == 0
        assert heard.names == []
        assert client.read(READ_MODE_DISPATCH_FROM_BUFFER) == 2
        assert client.read(READ_MODE_DISPATCH_FROM_BUFFER) == 0
        assert heard.names == ["eto.pong", "eto.pong"]


def test_limit_bounds_the_frames_of_one_read() -> None:
    """No more than ``limit`` frames are dispatched; the rest comes first next time."""
    with session_with(lambda line: _after_a_frame(line, *(pong(seq) for seq in range(2, 7)))) as session:
        client = StreamingAPIClient(session)
        client.login()
        heard = Heard(client)
        client.ping()
        client.flush()
        assert client.read(limit=2) == 2
        assert client.read(READ_MODE_DISPATCH_FROM_BUFFER, 1) == 1
        assert client.read(limit=100) == 2
        assert heard.names == ["eto.pong"] * 5


def test_limited_reads_still_answer_heartbeats() -> None:
    """4.1 row 9: a program that takes one frame at a time stays logged in."""
    answers = []

    def script(line: Line) -> None:
        line.accept()
        line.send(heartbeat(2), heartbeat(3))
        answers.extend(line.take(2))
        line.send(pong(4))
        line.until_closed()

    with session_with(script) as session:
        client = StreamingAPIClient(session)
        client.login()
        while session.inseq < 5:
            client.read(limit=1)
    assert answers == ["2 heartbeat", "3 heartbeat"]


def test_a_read_without_a_connection_says_so() -> None:
    """Reading from a client that never logged in is a ConnectionError."""
    with pytest.raises(ConnectionError, match="not connected"):
        _idle_client().read()


def test_payloads_newer_than_the_schema_have_handlers_of_their_own() -> None:
    """Unknown outer and inner types reach seto.unknown and eto.unknown, not eto.none."""
    names: list[object] = []
    outer = framed(b"\x08\x7f\x12\x02\x08\x02")  # type 127, seq 2
    within = framed(b"\x08\x01\x12\x04\x08\x03\x10\x63")  # ETO, seq 3, inner type 99
    with session_with(lambda line: _after_a_frame(line, outer, within)) as session:
        client = StreamingAPIClient(session)
        client.login()
        for name in ("seto.unknown", "eto.unknown", "eto.none"):
            client.add_handler(name, functools.partial(_note, names, name))
        client.ping()
        client.flush()
        _read_until(client, names, 2)
    assert names == ["seto.unknown", "eto.unknown"]


# --- writing --------------------------------------------------------------------------------------


def test_send_copies_the_message() -> None:
    """A message may be changed and sent again right after ``send``."""
    markets = []

    def script(line: Line) -> None:
        line.accept()
        markets.extend(line.payload().market_subscribe.market_id for _ in range(2))
        line.until_closed()

    with session_with(script) as session:
        client = StreamingAPIClient(session)
        client.login()
        message = subscribe(1)
        assert client.send(message) == 2
        message.market_id = 2
        assert client.send(message) == 3
        assert client.output_buffer_size == 22
        client.flush()
        assert client.output_buffer_size == 0
        with pytest.raises(SocketDisconnected):
            client.raw_socket.shutdown(1)  # type: ignore[union-attr]
            client.read()
    assert markets == [1, 2]


@pytest.mark.parametrize("message", [seto.Quote(price=1, quantity=1), seto.OrderCancel(), seto.Payload()])
def test_what_cannot_be_sent_is_refused_and_numbered_nothing(message: object) -> None:
    """4.1 row 31: not an AttributeError; and no number is lost by it."""
    with session_with(hold) as session:
        client = StreamingAPIClient(session)
        client.login()
        with pytest.raises(UsageError):
            client.send(message)  # type: ignore[arg-type]
        assert session.outseq == 2


# --- login ----------------------------------------------------------------------------------------


def test_login_dispatches_the_response() -> None:
    """Handlers see the login response; last_login keeps it."""
    with session_with(hold) as session:
        client = StreamingAPIClient(session)
        heard = Heard(client)
        client.login()
        assert heard.names == ["eto.login_response"]
        assert client.last_login is not None
        assert client.check_login() is True


def test_login_in_pieces_succeeds() -> None:
    """4.1 row 13: a response that takes many reads is no LoginTimeout."""

    def script(line: Line) -> None:
        line.payload()
        for byte in login_response():
            line.send(bytes([byte]))
        line.until_closed()

    with session_with(script) as session:
        session.settings.read_chunksize = 1
        StreamingAPIClient(session).login()
        assert session.logged_in


def test_login_can_be_left_to_the_callers_own_reading() -> None:
    """With ``receive=False`` check_login raises LoginTimeout until the answer was read."""
    with session_with(hold) as session:
        client = StreamingAPIClient(session)
        client.login(receive=False)
        with pytest.raises(LoginTimeout):
            client.check_login()
        client.read()
        assert client.check_login() is True


@pytest.mark.parametrize(("name", "reason"), LOGOUT_REASONS)
def test_a_refused_login_tells_the_reason(name: str, reason: int) -> None:
    """LoginError carries number and name of each reason and says both."""

    def script(line: Line) -> None:
        line.payload()
        line.send(logout(1, reason))

    with session_with(script) as session:
        client = StreamingAPIClient(session)
        heard = Heard(client)
        with pytest.raises(LoginError) as caught:
            client.login()
        assert (caught.value.reason, caught.value.reason_msg) == (reason, name)
        assert str(caught.value).startswith(f"the exchange refused the login: {name} (reason {reason})")
        assert heard.names == ["eto.logout"]
        assert not session.connected


@pytest.mark.parametrize(("reason", "name"), [(99, "UNKNOWN(99)"), (None, "ABSENT")])
def test_a_refusal_without_a_known_reason_is_no_logout_none(reason: int | None, name: str) -> None:
    """A reason newer than the schema, or none at all, is not read as the first of the list."""

    def script(line: Line) -> None:
        line.payload()
        line.send(logout(1, reason))

    with session_with(script) as session:
        with pytest.raises(LoginError) as caught:
            StreamingAPIClient(session).login()
        assert (caught.value.reason, caught.value.reason_msg) == (0, name)


def test_last_login_of_one_session_says_nothing_about_the_next() -> None:
    """4.1 row 14: after a clean logout a slow login is not taken for refused."""

    def clean(line: Line) -> None:
        line.accept()
        line.take(1)
        line.send(logout(2, eto.LOGOUT_CONFIRMATION))

    def slow(line: Line) -> None:
        line.payload()
        for byte in login_response():
            line.send(bytes([byte]))
        line.until_closed()

    with session_with(clean, slow) as session:
        client = StreamingAPIClient(session)
        client.login()
        client.logout()
        assert client.last_login is None
        with pytest.raises(LoginTimeout):
            client.check_login()
        session.settings.read_chunksize = 1
        client.login()
        assert client.check_login() is True


def test_logging_in_again_while_logged_in_changes_nothing() -> None:
    """A second ``login`` on a live session returns at once, as the vendor's did."""
    with session_with(hold) as session:
        client = StreamingAPIClient(session)
        client.login()
        with gevent.Timeout(2, AssertionError("it waits for an answer that never comes")):
            client.login()
        assert client.check_login() is True


def test_login_after_one_that_was_not_received_waits_for_its_answer() -> None:
    """``login(receive=False)`` and then ``login()`` send one login and see its answer."""
    with session_with(hold) as session:
        client = StreamingAPIClient(session)
        client.login(receive=False)
        client.login()
        assert session.logged_in


def test_credentials_that_are_missing_are_a_config_error() -> None:
    """4.1 row 30: ``login`` of a client without credentials opens no socket."""
    client = StreamingAPIClient(Session(SessionSettings(host="127.0.0.1", port=1)))
    with pytest.raises(ConfigError, match="no credentials"):
        client.login()


# --- logout ---------------------------------------------------------------------------------------


def test_logout_waits_for_the_confirmation_behind_other_traffic() -> None:
    """4.1 row 15: frames that come first are dispatched, the confirmation is seen."""

    def script(line: Line) -> None:
        line.accept()
        line.take(1)
        for seq in range(2, 6):
            line.send(market(seq))
            gevent.sleep(0)
        line.send(logout(6, eto.LOGOUT_CONFIRMATION))

    with session_with(script) as session:
        client = StreamingAPIClient(session)
        client.login()
        heard = Heard(client)
        session.settings.read_chunksize = 8  # less than a frame: it takes many reads
        client.logout()
        assert heard.names == ["seto.market_subscribe"] * 4 + ["eto.logout"]
        assert not session.connected


def test_logout_ends_when_the_exchange_closes_without_a_word() -> None:
    """No confirmation is needed once the connection is gone."""
    with session_with(lambda line: (line.accept(), line.take(1))) as session:
        client = StreamingAPIClient(session)
        client.login()
        client.logout()
        assert not session.connected


def test_logout_need_not_wait() -> None:
    """With ``receive=False`` the logout is written and the connection closed."""
    heard = []

    def script(line: Line) -> None:
        line.accept()
        heard.extend(line.until_closed())

    with session_with(script) as session:
        client = StreamingAPIClient(session)
        client.login()
        client.logout(receive=False)
        assert not session.connected
    assert heard == ["2 logout"]


def test_handlers_see_a_logout_before_the_session_is_closed() -> None:
    """4.1 row 17: numbers are honest; what had come before it and behind it is dispatched."""
    seen: list[object] = []
    frames = (ping(2), logout(3, eto.LOGOUT_DOWNTIME), pong(4))
    with session_with(lambda line: _after_a_frame(line, *frames)) as session:
        client = StreamingAPIClient(session)
        client.login()
        heard = Heard(client)
        client.add_handler(
            "eto.logout", lambda message: seen.append((session.connected, session.inseq, heard.names[:]))
        )
        client.ping()
        client.flush()
        while session.connected:
            client.read()
        assert client.read(READ_MODE_DISPATCH_FROM_BUFFER) == 0
    assert seen == [(True, 4, ["eto.ping"])]
    assert heard.names == ["eto.ping", "eto.logout", "eto.pong"]


def test_a_handler_that_fails_on_a_logout_cannot_keep_the_session_open() -> None:
    """The session is closed although the handler raised."""

    def bad(message: seto.Payload) -> None:
        raise KeyError("mine")

    with session_with(lambda line: _after_a_frame(line, logout(2, eto.LOGOUT_DOWNTIME))) as session:
        client = StreamingAPIClient(session)
        client.login()
        client.add_handler("eto.logout", bad)
        client.ping()
        client.flush()
        with pytest.raises(KeyError, match="mine"):
            client.read()
        assert not session.connected


# --- whole conversations --------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["tcp", "tls"])
def exchange(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    with (
        gevent.Timeout(20, AssertionError("the conversation took more than 20 s")),
        EmbeddedExchange(accounts=2, tls=request.param) as running,
    ):
        yield running


def _wait_for(client: StreamingAPIClient, name: str) -> seto.Payload:
    """Read until a payload of that name comes; return it."""
    found: list[seto.Payload] = []

    def handler(message: seto.Payload) -> None:
        found.append(message)

    client.add_handler(name, handler)
    while not found:
        client.read()
    client.del_handler(name, handler)
    return found[0]


def _order(exchange: EmbeddedExchange, side: seto.Side) -> seto.OrderCreate:
    market_id = exchange.market_ids[0]
    return seto.OrderCreate(
        market_id=market_id,
        contract_id=exchange.contract_ids[market_id][0],
        side=side,
        quantity=400_000,
        price=2500,
        quantity_type=seto.QUANTITY_PAYOFF_CURRENCY,
        price_type=seto.PRICE_PERCENT_ODDS,
    )


def test_getting_started(exchange: EmbeddedExchange) -> None:
    """The README's first steps: login, ping, flush, read, logout."""
    client = StreamingAPIClient(Session(SessionSettings(**exchange.settings_for(0))))
    client.login()
    client.ping()
    client.flush()
    pong_payload = _wait_for(client, "eto.pong")
    assert pong_payload.eto_payload.type == eto.PAYLOAD_PONG
    client.logout()
    assert not client.session.connected
    assert client.raw_socket is None


def test_logging_in_by_token(exchange: EmbeddedExchange) -> None:
    """A token alone opens a session of its account."""
    values = {**exchange.settings_for(1), "username": None, "password": None}
    client = StreamingAPIClient(Session(SessionSettings(**values, token=exchange.logins[1].token)))
    client.login()
    assert client.last_login is not None
    assert client.last_login.eto_payload.login_response.email == exchange.logins[1].username
    client.logout()


def test_a_wrong_password(exchange: EmbeddedExchange) -> None:
    """The exchange's refusal arrives as LoginError with UNAUTHORISED."""
    values = {**exchange.settings_for(0), "password": "wrong"}
    client = StreamingAPIClient(Session(SessionSettings(**values)))
    with pytest.raises(LoginError) as caught:
        client.login()
    assert caught.value.reason == eto.LOGOUT_UNAUTHORISED
    assert not client.session.connected


def test_placing_matching_and_cancelling(exchange: EmbeddedExchange) -> None:
    """Two clients: one places, the other meets half of it, the first cancels the rest, both leave."""
    buyer, seller = (
        StreamingAPIClient(Session(SessionSettings(**exchange.settings_for(number)))) for number in (0, 1)
    )
    buyer.login()
    seller.login()

    number = buyer.send(_order(exchange, api.SIDE_BID))
    buyer.flush()
    accepted = _wait_for(buyer, "seto.order_accepted").order_accepted
    assert accepted.seq == number

    half = _order(exchange, api.SIDE_OFFER)
    half.quantity = 100_000
    seller.send(half)
    seller.flush()
    executed = [_wait_for(client, "seto.order_executed").order_executed for client in (seller, buyer)]
    assert [(fill.price, fill.quantity) for fill in executed] == [(2500, 100_000)] * 2
    assert executed[1].order_id == accepted.order_id

    buyer.send(seto.OrderCancel(order_id=accepted.order_id))
    buyer.flush()
    cancelled = _wait_for(buyer, "seto.order_cancelled").order_cancelled
    assert cancelled.order_id == accepted.order_id
    assert cancelled.reason == seto.ORDER_CANCELLED_MEMBER_REQUESTED

    buyer.send(seto.OrderCancel(order_id=accepted.order_id))
    buyer.flush()
    rejected = _wait_for(buyer, "seto.order_cancel_rejected").order_cancel_rejected
    assert rejected.reason == seto.ORDER_CANCEL_REJECTED_NOT_LIVE

    buyer.logout()
    seller.logout()
    assert exchange.truth.executions == 2


def test_quotes_arrive_with_the_subscription(exchange: EmbeddedExchange) -> None:
    """A subscriber gets the snapshot, then a delta when somebody else places an order."""
    watcher, trader = (
        StreamingAPIClient(Session(SessionSettings(**exchange.settings_for(number)))) for number in (0, 1)
    )
    watcher.login()
    trader.login()
    watcher.send(seto.MarketSubscribe(market_id=exchange.market_ids[0]))
    watcher.flush()
    assert not _wait_for(watcher, "seto.market_quotes").market_quotes.contract_quotes
    trader.send(_order(exchange, api.SIDE_OFFER))
    trader.flush()
    delta = _wait_for(watcher, "seto.contract_quotes").contract_quotes
    assert [(quote.price, quote.quantity) for quote in delta.offers] == [(2500, 400_000)]
    watcher.logout()
    trader.logout()


def test_a_dropped_frame_is_recovered(exchange: EmbeddedExchange) -> None:
    """4.1 row 5, whole: a fill that was lost on the way arrives by replay, in order."""
    client = StreamingAPIClient(Session(SessionSettings(**exchange.settings_for(0))))
    client.login()
    exchange.faults.drop(exchange.logins[0].username)
    heard = Heard(client)
    client.send(_order(exchange, api.SIDE_BID))
    client.ping()
    client.flush()
    while "eto.pong" not in heard.names:
        client.read()
    assert heard.names[-2:] == ["seto.order_accepted", "eto.pong"]
    client.logout()
    assert [fault.kind for fault in exchange.truth.faults] == ["drop"]


# --- a peer that talks and never answers ----------------------------------------------------------


def chatter(line: Line) -> None:
    """Heartbeats for ever, out of turn: numbers that are always duplicates."""
    line.payload()
    with contextlib.suppress(OSError):
        while True:
            line.send(framed(seto.Payload(type=seto.PAYLOAD_ETO, eto_payload=eto.Payload(seq=0, type=5))))
            gevent.sleep(0.005)


def test_a_login_ends_however_much_the_peer_talks_beside_the_point() -> None:
    """The socket's timeout starts anew with every byte; the wait for the answer does not."""
    with session_with(chatter, socket_timeout=0.2) as session:
        with pytest.raises(LoginTimeout, match=r"no answer to the login within 0\.2 s"):
            StreamingAPIClient(session).login()
        assert not session.connected


def test_a_logout_ends_however_much_the_peer_talks_beside_the_point() -> None:
    """Without a confirmation we leave all the same."""

    def accept_and_chatter(line: Line) -> None:
        line.accept()
        chatter(line)

    with session_with(accept_and_chatter, socket_timeout=0.2) as session:
        client = StreamingAPIClient(session)
        client.login()
        client.logout()
        assert not session.connected


def test_a_client_may_go_on_with_a_session_that_is_logged_in() -> None:
    """There is no second answer to wait for."""
    with EmbeddedExchange(accounts=1, tls=False) as exchange:
        session = Session(SessionSettings(**exchange.settings_for(0)))
        session.log_in()
        client = StreamingAPIClient(session)
        client.login()
        client.logout()

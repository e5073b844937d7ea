"""The embedded exchange's side of logging in and out, without sockets and on a manual clock."""

from __future__ import annotations

import logging

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.protocol import Timing
from tests.rig.ends import brief, cut, framed, heartbeat, inner, logout, market, ping, replay, subscribe
from tests.rig.peers import Floor, buy

WELCOME = ["1 login_response", "2 throttle_limits_changed"]


# --- yes ------------------------------------------------------------------------------------------


def test_a_password_opens_a_session() -> None:
    """The response has number 1, a session id, reset 2, and the account's address and id."""
    caller = Floor().caller(0)
    details = caller.payloads[0].eto_payload.login_response
    assert brief(caller.payloads[0]) == "1 login_response"
    assert len(details.session) == 18
    assert details.session.isalnum()
    assert (details.reset, details.email, details.id) == (2, "ann", 1)


def test_a_token_opens_a_session_and_wins() -> None:
    """A login with both is judged by its token."""
    floor = Floor()
    assert floor.caller().login(cookie=b"token-bob", username="ann", password="wrong") == WELCOME
    assert [account.online for account in floor.accounts] == [0, 1]


def test_session_ids_differ() -> None:
    """No two sessions have the same id."""
    floor = Floor()
    ids = {floor.caller(0).payloads[0].eto_payload.login_response.session for _ in range(20)}
    assert len(ids) == 20


def test_the_throttle_is_announced_right_after_the_response() -> None:
    """The captured traffic has it there, with these figures."""
    caller = Floor().caller()
    assert caller.login() == WELCOME
    limits = caller.payloads[1].throttle_limits_changed
    assert (limits.average_rate_ps, limits.burst_size, limits.tick_ms) == (500, 1000, 200)


def test_the_response_comes_first_and_in_one_piece() -> None:
    """SDK 9.4.4 reads once: response and limits are written together, the response first."""
    floor = Floor()
    caller = floor.caller()
    caller.peer.receive(login_frame("ann", "pw-ann"), floor.now)
    data = caller.peer.data_to_send()
    assert [brief(seto.Payload.FromString(payload)) for payload in cut(data)] == WELCOME
    assert caller.peer.data_to_send() == b""


def login_frame(username: str, password: str, *, seq: int = 1, session: str | None = None) -> bytes:
    """A login made by hand."""
    payload = inner(seq, eto.PAYLOAD_LOGIN)
    payload.type = seto.PAYLOAD_LOGIN
    payload.login.username = username
    payload.login.password = password
    if session is not None:
        payload.eto_payload.login.session = session
    return framed(payload)


def test_frames_have_the_captured_style() -> None:
    """is_replay is written as false, and what is not of the session layer has no inner type."""
    caller = Floor().caller(0)
    for payload in caller.payloads:
        assert payload.eto_payload.HasField("is_replay")
        assert not payload.eto_payload.is_replay
    assert caller.payloads[0].eto_payload.HasField("type")
    assert not caller.payloads[1].eto_payload.HasField("type")


def test_a_login_may_arrive_in_any_chunking() -> None:
    """Byte by byte is as good as at once."""
    caller = Floor().caller()
    heard = []
    for byte in login_frame("ann", "pw-ann"):
        heard += caller.feed(bytes([byte]))
    assert heard == WELCOME


def test_what_comes_along_with_the_login_waits_for_its_answer() -> None:
    """A frame behind the login is looked at after the decision, in the same read."""
    caller = Floor().caller()
    assert caller.feed(login_frame("ann", "pw-ann"), ping(2)) == [*WELCOME, "3 pong"]


# --- no -------------------------------------------------------------------------------------------


def _refused(floor: Floor, caller, heard: list[str], reason: int) -> None:  # type: ignore[no-untyped-def]
    """A logout with that reason as number 1, and the connection is to be closed."""
    assert heard == ["1 logout"]
    assert caller.reason == reason
    assert caller.peer.closing
    assert not caller.peer.aborted
    assert floor.exchange.peers == []
    assert [account.online for account in floor.accounts] == [0, 0]


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "wrong"},
        {"username": "nobody"},
        {"username": "", "password": ""},
        {"cookie": b"wrong"},
        {"cookie": b""},
        {"username": "ann", "password": "pw-bob"},
    ],
)
def test_wrong_credentials_are_unauthorised(fields: dict[str, object]) -> None:
    """Unknown users, wrong passwords and unknown tokens are told apart by nobody."""
    floor = Floor()
    caller = floor.caller()
    heard = caller.login(0, **fields)
    _refused(floor, caller, heard, eto.LOGOUT_UNAUTHORISED)


def test_an_account_without_a_password_cannot_log_in_by_an_empty_one() -> None:
    """No password means no login by password."""
    floor = Floor()
    floor.exchange.accounts.add("carl", token="token-carl")
    caller = floor.caller()
    heard = caller.login(0, username="carl", password="")
    _refused(floor, caller, heard, eto.LOGOUT_UNAUTHORISED)


def test_an_account_that_is_not_verified() -> None:
    """UNVERIFIED for right credentials only."""
    floor = Floor()
    floor.accounts[0].is_verified = False
    caller = floor.caller()
    heard = caller.login(0)
    _refused(floor, caller, heard, eto.LOGOUT_UNVERIFIED)


def test_a_wrong_password_of_an_unverified_account_is_unauthorised() -> None:
    """What an account's state is, is told to nobody who cannot prove who he is."""
    floor = Floor()
    floor.accounts[0].is_verified = False
    caller = floor.caller()
    heard = caller.login(0, password="wrong")
    _refused(floor, caller, heard, eto.LOGOUT_UNAUTHORISED)


def test_downtime_refuses_logins_until_it_ends() -> None:
    """DOWNTIME for everybody, then logins again."""
    floor = Floor()
    floor.exchange.begin_downtime(floor.now)
    caller = floor.caller()
    heard = caller.login(0)
    _refused(floor, caller, heard, eto.LOGOUT_DOWNTIME)
    floor.exchange.end_downtime()
    assert floor.caller().login(0) == WELCOME


def test_downtime_logs_everybody_out() -> None:
    """Sessions that are up get a logout with DOWNTIME; the rest of the world is left alone."""
    floor = Floor()
    callers = [floor.caller(0), floor.caller(1)]
    floor.exchange.begin_downtime(floor.now)
    assert [caller.heard() for caller in callers] == [["3 logout"], ["3 logout"]]
    assert {caller.reason for caller in callers} == {eto.LOGOUT_DOWNTIME}
    assert floor.exchange.peers == []


@pytest.mark.parametrize("frame", [ping(1), heartbeat(1), market(1), replay(1, 1), market(2)])
def test_something_else_than_a_login_first(frame: bytes) -> None:
    """LOGIN_NOT_FIRST_SEQ for whatever comes before a login."""
    floor = Floor()
    caller = floor.caller()
    _refused(floor, caller, caller.feed(frame, login_frame("ann", "pw-ann")), eto.LOGOUT_LOGIN_NOT_FIRST_SEQ)


@pytest.mark.parametrize("seq", [0, 2, 40])
def test_a_new_session_whose_login_is_not_number_one(seq: int) -> None:
    """LOGIN_NOT_FIRST_SEQ for a login with another number."""
    floor = Floor()
    caller = floor.caller()
    heard = caller.feed(login_frame("ann", "pw-ann", seq=seq))
    _refused(floor, caller, heard, eto.LOGOUT_LOGIN_NOT_FIRST_SEQ)


def test_a_second_login_on_a_connection() -> None:
    """LOGIN_NOT_FIRST_SEQ, and the first session ends with it."""
    floor = Floor()
    caller = floor.caller(0)
    assert caller.feed(login_frame("bob", "pw-bob", seq=2)) == ["3 logout"]
    assert caller.reason == eto.LOGOUT_LOGIN_NOT_FIRST_SEQ
    assert [account.online for account in floor.accounts] == [0, 0]


def test_nothing_is_taken_from_a_connection_that_is_closing() -> None:
    """After a refusal the same connection cannot log in."""
    floor = Floor()
    caller = floor.caller()
    caller.feed(login_frame("ann", "wrong"))
    assert caller.feed(login_frame("ann", "pw-ann")) == []


def test_nobody_logs_in_in_time() -> None:
    """LOGIN_TIMEOUT after login_timeout seconds, not before."""
    floor = Floor(login_timeout=3.0)
    caller = floor.caller()
    floor.wait(2.9)
    assert caller.heard() == []
    floor.wait(0.1)
    _refused(floor, caller, caller.heard(), eto.LOGOUT_LOGIN_TIMEOUT)


def test_the_log_says_whose_patience_ended(caplog: pytest.LogCaptureFixture) -> None:
    """What was waited for, and how long."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    floor = Floor(login_timeout=3.0, silence_limit=12.0)
    floor.caller()
    floor.caller(0)
    floor.wait(12.0)
    assert "connection 1: no login within 12.0 s" in caplog.text
    assert "account ann: connection 2: nothing came for 12.0 s" in caplog.text


def test_half_a_login_is_no_login() -> None:
    """Bytes alone do not stop the login's clock."""
    floor = Floor(login_timeout=3.0)
    caller = floor.caller()
    floor.wait(2.9)
    caller.feed(login_frame("ann", "pw-ann")[:-1])
    floor.wait(0.2)
    _refused(floor, caller, caller.heard(), eto.LOGOUT_LOGIN_TIMEOUT)


def test_a_session_that_nobody_knows() -> None:
    """UNKNOWN_SESSION for an id that was never given."""
    floor = Floor()
    caller = floor.caller()
    heard = caller.login(0, session="no such session")
    _refused(floor, caller, heard, eto.LOGOUT_UNKNOWN_SESSION)


def test_another_accounts_session_is_unknown() -> None:
    """Right credentials and somebody else's id are not enough."""
    floor = Floor()
    first = floor.caller(0)
    first.peer.lost(floor.now)
    caller = floor.caller()
    heard = caller.login(1, session=first.peer.session_id)
    _refused(floor, caller, heard, eto.LOGOUT_UNKNOWN_SESSION)


# --- while it lasts -------------------------------------------------------------------------------


def test_a_heartbeat_after_five_seconds_without_sending() -> None:
    """Only a silent exchange sends one; it takes a number; a client that answers changes nothing."""
    floor = Floor()
    caller = floor.caller(0)
    floor.wait(4.9)
    assert caller.heard() == []
    floor.wait(0.1)
    assert caller.heard() == ["3 heartbeat"]
    floor.wait(3.0)
    assert caller.feed(ping(2)) == ["4 pong"]
    floor.wait(4.9)
    assert caller.heard() == []
    floor.wait(0.1)
    assert caller.heard() == ["5 heartbeat"]


def test_no_heartbeat_before_the_login() -> None:
    """A connection without a session gets none."""
    floor = Floor(login_timeout=60.0)
    caller = floor.caller()
    floor.wait(20.0)
    assert caller.heard() == []


def test_heartbeat_interval_is_a_setting() -> None:
    """``heartbeat_after`` shortens it."""
    floor = Floor(heartbeat_after=0.5)
    caller = floor.caller(0)
    floor.wait(0.5)
    assert caller.heard() == ["3 heartbeat"]


def test_a_client_that_falls_silent() -> None:
    """HEARTBEAT_TIMEOUT after silence_limit seconds without a frame, heartbeats until then."""
    floor = Floor(silence_limit=12.0)
    caller = floor.caller(0)
    heard = []
    for _ in range(3):
        floor.wait(4.0)
        heard += caller.heard()
    assert heard == ["3 heartbeat", "4 logout"]
    assert caller.reason == eto.LOGOUT_HEARTBEAT_TIMEOUT
    assert floor.accounts[0].online == 0


@pytest.mark.parametrize("frame", [heartbeat(2), ping(2), market(2), heartbeat(1)])
def test_any_frame_is_a_sign_of_life(frame: bytes) -> None:
    """Even a duplicate moves the clock of silence."""
    floor = Floor(silence_limit=12.0)
    caller = floor.caller(0)
    floor.wait(11.0)
    caller.feed(frame)
    floor.wait(11.0)
    assert "logout" not in " ".join(caller.heard())


def test_heartbeats_are_not_answered_by_heartbeats() -> None:
    """Else two ends would never stop."""
    assert Floor().caller(0).feed(heartbeat(2), heartbeat(3)) == []


def test_pings_are_answered_in_order() -> None:
    """One pong per ping, numbered on."""
    caller = Floor().caller(0)
    assert caller.feed(*(ping(seq) for seq in range(2, 7))) == [f"{seq} pong" for seq in range(3, 8)]


def test_a_clients_gap_is_asked_for() -> None:
    """A number that is too high: one replay request; the early frame is not carried out."""
    floor = Floor()
    caller = floor.caller(0)
    assert caller.feed(market(4, 1)) == ["3 replay"]
    assert caller.payloads[-1].eto_payload.replay.seq == 2
    assert caller.peer.subscriptions == set()
    replayed = [market(seq, 1, is_replay=True) for seq in (2, 3, 4)]
    assert "market_quotes" in " ".join(caller.feed(*replayed))
    assert caller.peer.subscriptions == {1}


def test_a_clients_duplicate_is_ignored() -> None:
    """A number that is too low is no new request: no second order comes of it."""
    floor = Floor()
    caller = floor.caller(0)
    payload = seto.Payload(type=seto.PAYLOAD_ORDER_CREATE)
    payload.order_create.CopyFrom(buy())
    payload.eto_payload.seq = 2
    assert caller.feed(framed(payload)) == ["3 order_accepted"]
    payload.eto_payload.is_replay = True
    assert caller.feed(framed(payload)) == []
    assert floor.exchange.truth.orders_accepted == 1


def test_a_gap_can_be_answered_with_a_logout() -> None:
    """gap_answer="logout" is for clients that cannot replay, such as SDK 9.4.4."""
    floor = Floor(gap_answer="logout")
    caller = floor.caller(0)
    heard = caller.feed(market(4, 1))
    assert heard[-1].endswith("logout")
    assert caller.reason == eto.LOGOUT_NONE
    assert caller.peer.closing


def test_a_gap_that_is_never_filled_ends_the_session() -> None:
    """A client that does not answer the replay request is logged out."""
    floor = Floor()
    caller = floor.caller(0)
    caller.feed(market(4, 1))
    floor.wait(5.0)
    assert caller.heard()[-1].endswith("logout")
    assert caller.peer.closing


def test_a_client_may_ask_for_a_replay() -> None:
    """What was sent comes again under its number; response and heartbeats as gapfills."""
    floor = Floor()
    caller = floor.caller(0)
    caller.feed(market(2, 1))
    assert caller.feed(replay(3, 1)) == [
        "1 gapfill replay",
        "2 throttle_limits_changed replay",
        "3 market_quotes replay",
        "4 market_state replay",
    ]


# --- out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [None, eto.LOGOUT_NONE, eto.LOGOUT_DOWNTIME])
def test_a_clients_logout_is_confirmed(reason: int | None) -> None:
    """CONFIRMATION whatever reason the client gave or left out; then the connection ends."""
    floor = Floor()
    caller = floor.caller(0)
    assert caller.feed(logout(2, reason)) == ["3 logout"]
    assert caller.reason == eto.LOGOUT_CONFIRMATION
    assert caller.peer.closing
    assert floor.accounts[0].online == 0


@pytest.mark.parametrize("number", [1, 7])
def test_a_logout_before_any_login_is_no_login(number: int) -> None:
    """As any first frame that is none (choice 4)."""
    caller = Floor().caller()
    assert caller.feed(logout(number)) == ["1 logout"]
    assert caller.reason == eto.LOGOUT_LOGIN_NOT_FIRST_SEQ


def test_what_came_before_the_logout_is_carried_out() -> None:
    """An order and a logout in one read: the order is answered before the confirmation."""
    floor = Floor()
    caller = floor.caller(0)
    caller.side.send(buy(), floor.now)
    caller.side.logout(floor.now)
    assert caller.exchange_bytes() == ["3 order_accepted", "4 logout"]


def test_a_session_that_was_logged_out_in_order_cannot_be_resumed() -> None:
    """Its id is forgotten at once."""
    floor = Floor()
    first = floor.caller(0)
    session = first.peer.session_id
    first.feed(logout(2))
    caller = floor.caller()
    caller.login(0, session=session)
    assert caller.reason == eto.LOGOUT_UNKNOWN_SESSION


# --- what is broken -------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["before", "after"])
@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 8,
        b"\x82\xfe\xff\x7f",
        b"\x04\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        framed(b"\x08\x03\x12\x02\x08\x02"),
    ],
    ids=["endless header", "oversize", "no protobuf", "empty", "member missing"],
)
def test_garbage_closes_that_connection_only(
    stage: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no payload that says so: a line in the log, nothing on the wire, the others go on."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    floor = Floor()
    other = floor.caller(1)
    caller = floor.caller(0 if stage == "after" else None)
    assert caller.feed(data) == []
    assert caller.peer.closing
    assert floor.exchange.peers == [other.peer]
    who = "account ann: " if stage == "after" else " "
    assert f"{who}connection 2: " in caplog.text
    assert other.feed(ping(2)) == ["3 pong"]


def test_the_frame_limit_is_a_setting() -> None:
    """A frame above max_frame_size is refused by its header alone."""
    floor = Floor(max_frame_size=64)
    caller = floor.caller()
    caller.feed(b"\x41\x00\x00\x00")
    assert caller.peer.closing


def test_payload_types_of_the_exchange_have_no_effect_when_a_client_sends_them() -> None:
    """An order_accepted from a client is taken and ignored."""
    caller = Floor().caller(0)
    caller.side.send(seto.MarketQuotes(market_id=1), caller.floor.now)
    assert caller.exchange_bytes() == []
    assert not caller.peer.closing


def test_a_payload_newer_than_the_schema_is_ignored() -> None:
    """An unknown type takes its number and nothing happens."""
    caller = Floor().caller(0)
    assert caller.feed(framed(b"\x08\x7f\x12\x02\x08\x02")) == []
    assert caller.feed(ping(3)) == ["3 pong"]


# --- bookkeeping ----------------------------------------------------------------------------------


def test_online_counts_the_sessions_of_an_account() -> None:
    """Each login adds one, each end takes one, however it ends and however often it is reported."""
    floor = Floor()
    first, second, third = (floor.caller(0) for _ in range(3))
    assert floor.accounts[0].online == 3
    first.feed(logout(2))
    assert floor.accounts[0].online == 2
    second.peer.lost(floor.now)
    second.peer.lost(floor.now)
    assert floor.accounts[0].online == 1
    third.peer.abort(floor.now, "because")
    third.peer.lost(floor.now)
    assert floor.accounts[0].online == 0
    assert floor.exchange.peers == []


def test_a_refused_login_counts_for_nobody() -> None:
    """Neither wrong credentials nor an unknown session make an account look online."""
    floor = Floor()
    floor.caller().login(0, password="wrong")
    floor.caller().login(0, session="nothing")
    assert floor.accounts[0].online == 0


def test_a_client_with_timers_and_the_exchange_keep_each_other_alive() -> None:
    """Two minutes without a request: heartbeats both ways, no logout, no gap."""
    floor = Floor()
    caller = floor.caller(0, timing=Timing())
    for _ in range(240):
        floor.wait(0.5)
        caller.side.handle_timer(floor.now)
        caller.exchange_bytes()
    names = {brief(payload).split()[1] for payload in caller.payloads[2:]}
    assert names == {"heartbeat"}
    assert caller.side.logged_in
    assert caller.side.replays_requested == 0
    caller.send(subscribe(1))
    assert caller.peer.subscriptions == {1}


def test_reprs_show_who_is_there() -> None:
    """A log line of an exchange or a peer tells the account and the state."""
    floor = Floor()
    caller = floor.caller(0)
    assert repr(caller.peer) == "<Peer 1 ann UP>"
    assert "1 connections" in repr(floor.exchange)

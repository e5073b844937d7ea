"""The session layer's answers to what the documentation leaves open: each choice has its effect."""

from __future__ import annotations

import logging

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.truth import TruthFault
from tests.exchange_live.test_exchange_logins import login_frame
from tests.rig.ends import brief, logout, market, ping, subscribe
from tests.rig.peers import Caller, Floor, buy

WELCOME = ["1 login_response", "2 throttle_limits_changed"]


def _resume(floor: Floor, first: Caller) -> Caller:
    """Another connection that goes on with the first one's session."""
    second = Caller(floor)
    second.side.memory = first.side.memory
    second.login(0, session=first.peer.session_id)
    return second


# --- heartbeats -----------------------------------------------------------------------------------


def test_heartbeats_may_come_at_a_fixed_rate() -> None:
    """Every five seconds, however much is sent in between."""
    floor = Floor(heartbeat_style="fixed")
    caller = floor.caller(0)
    heard = []
    for number in range(12):
        floor.wait(1.0)
        heard += caller.feed(ping(2 + number))
    assert [line.split()[1] for line in heard].index("heartbeat") == 4
    assert sum(line.endswith("heartbeat") for line in heard) == 2


def test_heartbeats_at_a_fixed_rate_do_not_come_in_bunches() -> None:
    """After a jump of the clock there is one, not one for each that was missed."""
    floor = Floor(heartbeat_style="fixed", silence_limit=100.0)
    caller = floor.caller(0)
    floor.wait(23.0)
    assert caller.heard() == ["3 heartbeat"]
    floor.wait(4.9)
    assert caller.heard() == []


def test_no_heartbeat_at_a_fixed_rate_before_the_login() -> None:
    """The count begins there."""
    floor = Floor(heartbeat_style="fixed", login_timeout=60.0)
    caller = floor.caller()
    floor.wait(7.0)
    caller.login(0)
    floor.wait(4.9)
    assert caller.heard() == []
    floor.wait(0.1)
    assert caller.heard() == ["3 heartbeat"]


# --- logins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [ping(1), market(1), login_frame("ann", "pw-ann", seq=2)])
def test_what_should_have_been_a_first_login_may_be_closed_on_without_a_word(
    frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """login_not_first="close" leaves a line in the log and nothing on the wire."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    caller = Floor(login_not_first="close").caller()
    assert caller.feed(frame) == []
    assert caller.peer.finished
    assert "connection 1: " in caplog.text


def test_a_second_login_may_be_ignored() -> None:
    """The session goes on as the one who logged in first."""
    floor = Floor(second_login="ignore")
    caller = floor.caller(0)
    assert caller.feed(login_frame("bob", "pw-bob", seq=2), ping(3)) == ["3 pong"]
    assert [account.online for account in floor.accounts] == [1, 0]


@pytest.mark.parametrize(("number", "seq"), [(None, 1), (0, 3)])
@pytest.mark.parametrize("data", [b"\xff" * 8, b"\x04\xff\xff\xff\xff", b"\x00\x00\x00\x00"])
def test_what_cannot_be_read_may_be_answered_with_a_logout(number: int | None, seq: int, data: bytes) -> None:
    """unreadable_frame="logout": one without a reason, numbered, and the end."""
    caller = Floor(unreadable_frame="logout").caller(number)
    assert caller.feed(data) == [f"{seq} logout"]
    assert caller.payloads[-1].eto_payload.HasField("logout")
    assert not caller.payloads[-1].eto_payload.logout.HasField("reason")
    assert caller.peer.finished


def test_resumed_events_may_come_without_the_mark() -> None:
    """resume_marks_replay=False sends them as if they were new."""
    floor = Floor(resume_marks_replay=False)
    first = floor.caller(0)
    first.send(buy())
    first.peer.lost(floor.now)
    assert floor.caller().login(0, account_sequence_64=1) == [*WELCOME, "3 order_accepted"]


# --- sessions that are remembered -----------------------------------------------------------------


def test_without_memory_nobody_resumes_by_id() -> None:
    """session_memory=0: UNKNOWN_SESSION at once, also while the session is still held."""
    floor = Floor(session_memory=0)
    first = floor.caller(0)
    assert _resume(floor, first).reason == eto.LOGOUT_UNKNOWN_SESSION
    assert first.side.logged_in
    first.peer.lost(floor.now)
    assert _resume(floor, first).reason == eto.LOGOUT_UNKNOWN_SESSION


def test_only_so_many_sessions_that_were_left_are_remembered() -> None:
    """The oldest go first; those that are held do not count."""
    floor = Floor(session_limit=2)
    callers = [floor.caller(0) for _ in range(4)]
    held = floor.caller(1)
    for caller in callers[:3]:
        caller.peer.lost(floor.now)
        floor.wait(1)
    assert _resume(floor, callers[0]).reason == eto.LOGOUT_UNKNOWN_SESSION
    assert _resume(floor, callers[1]).side.logged_in
    assert _resume(floor, callers[2]).side.logged_in
    assert _resume(floor, callers[3]).side.logged_in
    assert held.side.logged_in


def test_a_session_can_be_taken_over_although_none_is_remembered() -> None:
    """session_limit=0 is about sessions that were left."""
    floor = Floor(session_limit=0)
    first = floor.caller(0)
    second = _resume(floor, first)
    assert second.side.logged_in
    second.peer.lost(floor.now)
    assert _resume(floor, second).reason == eto.LOGOUT_UNKNOWN_SESSION


def test_a_session_that_is_taken_over_keeps_its_setting() -> None:
    """Being taken over is no failure, and the next loss is one."""
    floor = Floor()
    first = floor.caller(0)
    first.send(seto.Settings(cancel_all_on_failure=True))
    first.send(buy())
    second = _resume(floor, first)
    assert len(floor.accounts[0].live_orders) == 1
    second.peer.lost(floor.now)
    assert not floor.accounts[0].live_orders


# --- cancelling on failure ------------------------------------------------------------------------


def test_cancelling_on_failure_may_be_the_default() -> None:
    """A session that said nothing has it, is told so, and can switch it off."""
    floor = Floor(cancel_all_by_default=True)
    first, second = floor.caller(0), floor.caller(0)
    first.send(seto.Settings())
    assert first.payloads[-1].settings_accepted.cancel_all_on_failure
    first.send(buy())
    second.send(seto.Settings(cancel_all_on_failure=False))
    second.peer.lost(floor.now)
    assert len(floor.accounts[0].live_orders) == 1
    first.peer.lost(floor.now)
    assert not floor.accounts[0].live_orders


@pytest.mark.parametrize(("scope", "left"), [("account", 0), ("session", 1)])
def test_a_failure_may_cancel_the_sessions_own_orders_only(scope: str, left: int) -> None:
    """cancel_all_scope="session" leaves what another session of the account made."""
    floor = Floor(cancel_all_scope=scope)
    first, second = floor.caller(0), floor.caller(0)
    first.send(buy(price=1000))
    second.send(buy(price=1100))
    first.send(seto.Settings(cancel_all_on_failure=True))
    first.peer.lost(floor.now)
    assert len(floor.accounts[0].live_orders) == left
    assert [order.price for order in floor.accounts[0].live_orders.values()] == [1100][:left]


# --- logouts and downtimes ------------------------------------------------------------------------


@pytest.mark.parametrize("name", eto.LogoutReason.keys())
def test_every_reason_can_be_sent(name: str) -> None:
    """By its name, with or without LOGOUT_, and by its number; to all of the account's sessions."""
    number = eto.LogoutReason.Value(name)
    for spelling in (name, name.removeprefix("LOGOUT_").lower(), number):
        floor = Floor()
        first, second, other = floor.caller(0), floor.caller(0), floor.caller(1)
        assert floor.exchange.log_out("ann", spelling, floor.now) == 2
        for caller in (first, second):
            assert caller.exchange_bytes() == ["3 logout"]
            assert caller.reason == number
            assert caller.peer.finished
        assert other.exchange_bytes() == []


@pytest.mark.parametrize(
    ("username", "reason", "sentence"),
    [
        ("nobody", "NONE", "no account here has the user name 'nobody'"),
        ("ann", "TIRED", "a logout's reason is one of NONE, .*, not 'TIRED'"),
        ("ann", 99, "not 99"),
        ("ann", True, "not True"),
    ],
)
def test_a_logout_that_cannot_be(username: str, reason: object, sentence: str) -> None:
    """The error names what was asked and what there is."""
    floor = Floor()
    caller = floor.caller(0)
    with pytest.raises(UsageError, match=sentence):
        floor.exchange.log_out(username, reason, floor.now)
    assert caller.side.logged_in


def test_a_downtime_may_begin_later(caplog: pytest.LogCaptureFixture) -> None:
    """Until then everything goes on; then everybody is logged out and nobody let in."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    floor = Floor()
    caller = floor.caller(0)
    floor.exchange.begin_downtime(floor.now, after=3.0)
    assert "downtime in 3 s" in caplog.text
    assert floor.exchange.downtime_at == floor.now + 3.0
    floor.wait(2.9)
    assert caller.send(subscribe(1))
    assert floor.caller().login(1) == WELCOME
    floor.wait(0.1)
    assert caller.exchange_bytes()[-1].endswith("logout")
    assert caller.reason == eto.LOGOUT_DOWNTIME
    late = floor.caller()
    late.login(1)
    assert late.reason == eto.LOGOUT_DOWNTIME
    floor.exchange.end_downtime()
    assert floor.caller().login(1) == WELCOME


def test_an_announced_downtime_can_be_called_off() -> None:
    """Ending it before it began is never having announced it."""
    floor = Floor()
    caller = floor.caller(0)
    floor.exchange.begin_downtime(floor.now, after=3.0)
    floor.exchange.end_downtime()
    floor.wait(4.0)
    assert caller.side.logged_in
    assert not floor.exchange.downtime


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf")])
def test_a_downtime_begins_at_some_time(after: float) -> None:
    """Neither before now nor never."""
    floor = Floor()
    with pytest.raises(UsageError, match="a downtime begins after 0 or more seconds"):
        floor.exchange.begin_downtime(floor.now, after=after)
    assert floor.exchange.downtime_at is None


# --- time -----------------------------------------------------------------------------------------


def test_the_next_deadline_is_the_earliest_of_all() -> None:
    """Of every connection's and the exchange's own; exact, though most of what happens only puts it off."""
    floor = Floor(heartbeat_after=5.0, login_timeout=10.0)
    assert floor.exchange.next_deadline() is None
    floor.caller()
    assert floor.exchange.next_deadline() == floor.now + 10.0
    ann, bob = floor.caller(0), floor.caller(1)
    assert floor.exchange.next_deadline() == floor.now + 5.0
    began = floor.now
    floor.now += 2.0
    ann.feed(ping(2))
    assert floor.exchange.next_deadline() == began + 5.0
    floor.now += 1.0
    bob.feed(ping(2))
    assert floor.exchange.next_deadline() == began + 7.0
    floor.exchange.begin_downtime(floor.now, after=1.5)
    assert floor.exchange.next_deadline() == began + 4.5
    floor.exchange.end_downtime()
    for caller in (ann, bob):
        caller.feed(logout(3))
        caller.peer.lost(floor.now)
    assert repr(floor.exchange._deadlines) == "<Deadlines of 1 connections>"
    assert floor.exchange.next_deadline() == began + 10.0


def test_pending_executions_are_confirmed_in_time() -> None:
    """Nobody has to ask: the exchange's own timer does it."""
    floor = Floor(managed_pending_ms=2_000)
    ann, bob = floor.caller(0), floor.caller(1)
    floor.exchange.operate("set_managed", floor.now, market_id=1, managed=True)
    ann.send(buy())
    bob.send(buy(side=seto.SIDE_SELL))
    ann.exchange_bytes()
    due = floor.exchange.next_deadline()
    assert due == pytest.approx(floor.now + 2.0)
    floor.wait(2.0)
    assert [line.split()[1] for line in ann.exchange_bytes()] == ["order_execute_confirmed"]
    assert [line.split()[1] for line in bob.exchange_bytes()] == ["order_execute_confirmed"]


def test_a_timer_that_fails_costs_one_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others get their heartbeats; the log has the error."""
    floor = Floor()
    broken, other = floor.caller(0), floor.caller(1)

    def fail(now: float) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(broken.peer.protocol, "handle_timer", fail)
    floor.wait(5.0)
    assert broken.peer.aborted
    assert other.heard() == ["3 heartbeat"]
    assert "a mistake of ours" in caplog.text


def test_only_who_is_due_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many connections those whose time has come, and no other is looked at."""
    floor = Floor(login_timeout=60.0, silence_limit=1e6)
    idle = [floor.caller() for _ in range(30)]
    caller = floor.caller(0)
    asked = []
    for silent in idle:
        monkeypatch.setattr(silent.peer, "next_deadline", lambda silent=silent: asked.append(silent))
    for _ in range(20):
        floor.wait(1.0)
        assert floor.exchange.next_deadline() is not None
    assert asked == []
    assert [brief(payload) for payload in caller.heard_payloads()] == [f"{n} heartbeat" for n in range(3, 7)]


def test_what_was_injected_is_no_ones_choice() -> None:
    """Without a fault the truth has none, whatever the settings are."""
    floor = Floor(heartbeat_style="fixed", sessions_per_account="newest", unreadable_frame="logout")
    floor.caller(0)
    floor.caller(0).feed(b"\xff" * 8)
    assert floor.exchange.truth.faults == []
    floor.exchange.faults.apply("mass_disconnect")
    floor.caller(1)
    floor.exchange.faults.apply("mass_disconnect")
    assert floor.exchange.truth.faults == [TruthFault("mass_disconnect", "bob", "between frames")]

"""Every fault as a client sees it and as the truth has it: an exchange without sockets, on a manual clock."""

from __future__ import annotations

import logging

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import DecodeError, FrameTooLarge, ParseError, UsageError
from smarkets_pool.exchange.faults import FAULTS
from smarkets_pool.exchange.truth import TruthFault
from smarkets_pool.protocol import (
    Failed,
    GapFilled,
    GapFound,
    ReplayAnswered,
    State,
    TimedOut,
    Timing,
)
from tests.rig.ends import brief, cut, logout, ping, replay, subscribe
from tests.rig.peers import Caller, Floor, buy, sell

WELCOME = ["1 login_response", "2 throttle_limits_changed"]


def armed(*faults: str, **settings: object) -> tuple[Floor, Caller]:
    """A floor with ann logged in, and then these faults."""
    floor = Floor(**settings)
    caller = floor.caller(0)
    for fault in faults:
        floor.exchange.faults.apply(fault)
    return floor, caller


def truth(floor: Floor) -> list[tuple[str, str, str]]:
    """The faults that happened."""
    return [(fault.kind, fault.account, fault.detail) for fault in floor.exchange.truth.faults]


def failure(caller: Caller) -> Exception:
    """What broke the client's session."""
    (failed,) = (event for event in caller.events if isinstance(event, Failed))
    return failed.error


# --- frames ---------------------------------------------------------------------------------------


def test_drop() -> None:
    """The client finds the gap with the next frame and gets the lost one by replay."""
    floor, caller = armed("drop account=ann")
    assert caller.send(buy()) == []
    assert caller.send(buy(price=1000)) == ["4 order_accepted", "3 order_accepted replay", *_replayed(4)]
    assert caller.side.state is State.UP
    assert [event for event in caller.events if isinstance(event, GapFound | GapFilled)] == [
        GapFound(3, 3),
        GapFilled(3, 4),
    ]
    assert truth(floor) == [("drop", "ann", "seto.order_accepted")]


def _replayed(number: int) -> list[str]:
    return [f"{number} order_accepted replay"]


def test_answers_to_replay_requests_are_left_alone() -> None:
    """A fault that waits for any frame does not hit one that is sent again."""
    floor, caller = armed("drop account=ann", "drop account=ann names=seto.order_cancelled")
    caller.send(buy())
    order_id = next(iter(floor.accounts[0].live_orders))
    caller.send(seto.OrderCancel(order_id=order_id))
    assert caller.feed(replay(4, 3)) == [*_replayed(3), "4 order_cancelled replay"]
    assert len(truth(floor)) == 2


def test_what_is_on_its_way_before_an_answer_to_a_replay_request_is_not_left_alone() -> None:
    """A pong and a replay in one read: the one is a frame for the first time, the other is not."""
    floor, caller = armed("drop account=ann names=eto.pong frames=5")
    assert caller.feed(ping(2), replay(3, 3)) == ["3 pong replay"]
    assert truth(floor) == [("drop", "ann", "eto.pong")]


def test_drop_can_be_about_the_session_layer() -> None:
    """A lost heartbeat is stood in for by a gapfill."""
    floor, caller = armed("drop account=ann names=eto.heartbeat")
    floor.wait(5.0)
    assert caller.exchange_bytes() == []
    assert caller.send(subscribe(1))[-3:] == [
        "3 gapfill replay",
        "4 market_quotes replay",
        "5 market_state replay",
    ]
    assert truth(floor) == [("drop", "ann", "eto.heartbeat")]


def test_duplicate() -> None:
    """The client drops the second copy by its number."""
    floor, caller = armed("duplicate account=ann")
    assert caller.send(buy()) == ["3 order_accepted"] * 2
    assert caller.side.duplicates == 1
    assert truth(floor) == [("duplicate", "ann", "seto.order_accepted")]


def test_reorder() -> None:
    """The client sees a gap, and then what it thought was missing; the replay closes it."""
    floor, caller = armed("reorder account=ann")
    assert caller.send(buy()) == []
    assert caller.send(buy(price=1000)) == [
        "4 order_accepted",
        "3 order_accepted",
        "3 order_accepted replay",
        "4 order_accepted replay",
    ]
    assert caller.side.state is State.UP
    assert truth(floor) == [("reorder", "ann", "seto.order_accepted")]


def test_delay() -> None:
    """The answer comes late, and what was sent behind it too; in order."""
    floor, caller = armed("delay account=ann seconds=3")
    assert caller.send(buy()) == []
    assert caller.send(buy(price=1000)) == []
    floor.wait(2.9)
    assert caller.exchange_bytes() == []
    floor.wait(0.1)
    assert caller.exchange_bytes() == ["3 order_accepted", "4 order_accepted"]
    assert truth(floor) == [("delay", "ann", "seto.order_accepted by 3 s")]


def test_the_exchanges_deadline_is_that_of_a_delayed_frame() -> None:
    """Who serves its timers is told when, and called when nothing else would have him look."""
    floor, caller = armed("delay account=ann seconds=0.25")
    alarms = []
    floor.exchange.alarm = lambda: alarms.append(floor.exchange.next_deadline())
    caller.send(buy())
    assert alarms == [floor.now + 0.25]


def test_the_deadline_of_a_frame_that_somebody_else_caused_counts_too() -> None:
    """A delayed quote: its receiver has done nothing, and the timers are told all the same."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    ann.send(subscribe(1))
    floor.exchange.faults.delay("ann", 0.25)
    alarms = []
    floor.exchange.alarm = lambda: alarms.append(floor.exchange.next_deadline())
    bob.send(buy())
    assert alarms == [floor.now + 0.25]


@pytest.mark.parametrize("name", ["stop_reading", "half_open"])
def test_the_end_of_a_pause_is_a_deadline(name: str) -> None:
    """Who serves the timers is told of it."""
    floor, _ = armed()
    floor.caller(1)
    alarms = []
    floor.exchange.alarm = lambda: alarms.append(floor.exchange.next_deadline())
    floor.exchange.faults.apply(f"{name} account=ann seconds=0.5")
    assert alarms == [floor.now + 0.5]


def test_drip() -> None:
    """Pieces arrive one after the other; the client has the frame with the last."""
    floor, caller = armed("drip account=ann size=5 seconds=0.1")
    caller.side.send(buy(), floor.now)
    caller.peer.receive(caller.side.data_to_send(), floor.now)
    pieces = []
    while (data := caller.peer.data_to_send()) or floor.exchange.next_deadline() < floor.now + 1:
        pieces.append(data)
        caller.side.receive_data(data)
        if caller.side.next_event(floor.now) is not None:
            break
        floor.wait(0.1)
    assert {len(piece) for piece in pieces[:-1]} == {5}
    assert len(pieces) > 5
    assert caller.side.inseq == 4
    assert truth(floor) == [("drip", "ann", "seto.order_accepted, 5 bytes every 0.1 s")]


def test_a_logout_behind_a_delay_waits_with_it() -> None:
    """The connection ends when everything has come out, not before."""
    floor, caller = armed("delay account=ann seconds=3")
    caller.send(buy())
    assert caller.feed(logout(3)) == []
    assert caller.peer.closing and not caller.peer.finished
    floor.wait(3)
    assert caller.heard() == ["3 order_accepted", "4 logout"]
    assert caller.peer.finished


def test_skip() -> None:
    """Numbers that were never used: gapfills stand in for them."""
    floor, caller = armed("skip account=ann numbers=2", "skip account=*")
    assert caller.send(buy()) == [
        "6 order_accepted",
        "3 gapfill replay",
        "4 gapfill replay",
        "5 gapfill replay",
        "6 order_accepted replay",
    ]
    assert truth(floor) == [("skip", "ann", "3 numbers")]


def test_a_fault_for_everybody_names_whom_it_hit() -> None:
    """``*`` counts over all accounts; the truth has the account."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    floor.exchange.faults.drop("*", 2)
    assert (ann.send(buy()), bob.send(buy())) == ([], [])
    assert ann.send(buy(price=1000))[0] == "4 order_accepted"
    assert [account for _, account, _ in truth(floor)] == ["ann", "bob"]


def test_a_fault_may_wait_for_the_login_itself() -> None:
    """The login's answer is a frame of the account, by its name."""
    floor = Floor()
    floor.exchange.faults.apply("delay account=ann seconds=2 names=eto.login_response")
    caller = floor.caller()
    assert caller.login(0) == []
    floor.wait(2)
    assert caller.exchange_bytes() == WELCOME


def test_quotes_that_go_to_many_are_hit_one_by_one() -> None:
    """A message that was serialised once is lost to the one account alone."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    for caller in (ann, bob):
        caller.send(subscribe(1))
    floor.exchange.faults.drop("ann", names=["seto.contract_quotes"])
    bob.send(buy())
    assert ann.exchange_bytes() == []
    assert "5 contract_quotes" in [brief(payload) for payload in bob.payloads]
    assert truth(floor) == [("drop", "ann", "seto.contract_quotes")]


# --- bytes that nobody expects --------------------------------------------------------------------


def test_garbage() -> None:
    """Random bytes, the same for the same seed; the client cannot read on."""
    floor, caller = armed("garbage account=ann size=20000")
    data = caller.peer.data_to_send()
    assert len(data) == 20_000
    _, again = armed("garbage account=ann size=20000")
    assert again.peer.data_to_send() == data
    caller.side.receive_data(data)
    caller.exchange_bytes()
    assert isinstance(failure(caller), DecodeError | ParseError)
    assert truth(floor) == [("garbage", "ann", "20000 bytes")]


def test_garbage_differs_each_time() -> None:
    """A second time is other garbage."""
    _, caller = armed("garbage account=ann", "garbage account=ann")
    data = caller.peer.data_to_send()
    assert data[:64] != data[64:]


def test_garbage_stands_between_two_frames() -> None:
    """Behind what was sent, before what follows."""
    floor, caller = armed()
    caller.peer.receive(ping(2), floor.now)
    floor.exchange.faults.garbage("ann", 3)
    caller.peer.receive(ping(3), floor.now)
    data = caller.peer.data_to_send()
    size = data[0] + 1
    assert [brief(seto.Payload.FromString(p)) for p in cut(data[:size])] == ["3 pong"]
    assert [brief(seto.Payload.FromString(p)) for p in cut(data[size + 3 :])] == ["4 pong"]


def test_oversize() -> None:
    """A header that announces 16 GiB; the client refuses it by the header alone."""
    floor, caller = armed("oversize account=ann")
    data = caller.peer.data_to_send()
    assert len(data) == 5
    caller.side.receive_data(data)
    caller.exchange_bytes()
    error = failure(caller)
    assert isinstance(error, FrameTooLarge)
    assert error.size == 2**34
    assert truth(floor) == [("oversize", "ann", "16 GiB announced")]


def test_unparsable() -> None:
    """A good frame with no payload in it."""
    floor, caller = armed("unparsable account=ann")
    caller.side.receive_data(caller.peer.data_to_send())
    caller.exchange_bytes()
    assert isinstance(failure(caller), ParseError)
    assert truth(floor) == [("unparsable", "ann", "4 bytes of 255")]


def test_unknown_type() -> None:
    """It takes a number and the client goes on; asked for again it is a gapfill."""
    floor, caller = armed("unknown_type account=ann")
    data = caller.peer.data_to_send()
    (payload,) = (seto.Payload.FromString(body) for body in cut(data))
    assert not payload.HasField("type")
    assert (payload.eto_payload.seq, payload.eto_payload.is_replay) == (3, False)
    assert payload.eto_payload.HasField("is_replay")  # as on whatever the exchange sends
    caller.side.receive_data(data)
    assert caller.side.next_event(floor.now).name == "seto.unknown"
    assert caller.send(buy()) == ["4 order_accepted"]
    assert caller.feed(replay(3, 3)) == ["3 gapfill replay", "4 order_accepted replay"]
    assert truth(floor) == [("unknown_type", "ann", "type 127")]


def test_an_unknown_type_puts_the_heartbeat_off() -> None:
    """It is a payload like any other in that."""
    floor, caller = armed()
    floor.wait(3.0)
    floor.exchange.faults.unknown_type("ann")
    caller.peer.data_to_send()
    floor.wait(4.9)
    assert caller.heard() == []
    floor.wait(0.1)
    assert caller.heard() == ["4 heartbeat"]


@pytest.mark.parametrize("name", ["garbage", "oversize", "unparsable", "unknown_type"])
def test_without_a_connection_nothing_is_written(name: str) -> None:
    """These happen at once or not at all; the number of connections says so."""
    floor = Floor()
    assert floor.exchange.faults.apply(f"{name} account=ann") == 0
    floor.caller(0)
    assert floor.exchange.faults.apply(f"{name} account=ann") == 1
    floor.caller(0)
    assert floor.exchange.faults.apply(f"{name} account=*") == 2
    assert len(truth(floor)) == 3


# --- connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "heard"),
    [("before", ["3 pong"]), ("inside", ["3 pong"]), ("after", ["3 pong", "4 order_accepted"])],
)
def test_cut_at_a_frame(where: str, heard: list[str]) -> None:
    """What was sent before it arrives; the session ends where the frame is."""
    floor, caller = armed(f"cut account=ann where={where}")
    caller.side.ping(floor.now)
    caller.side.send(buy(), floor.now)
    caller.side.ping(floor.now)
    caller.peer.receive(caller.side.data_to_send(), floor.now)
    caller.side.receive_data(caller.peer.data_to_send())
    assert caller.peer.finished and not caller.peer.aborted
    seen = []
    while (event := caller.side.next_event(floor.now)) is not None:
        seen.append(brief(event.payload))
    assert seen == heard
    assert (caller.side.unread > 0) == (where == "inside")
    assert floor.accounts[0].online == 0
    assert len(floor.exchange.truth.events("ann")) == 1
    assert truth(floor) == [("cut", "ann", f"{where} seto.order_accepted")]


def test_cut_now() -> None:
    """All of the account's connections, at once."""
    floor = Floor()
    first, second, other = floor.caller(0), floor.caller(0), floor.caller(1)
    assert floor.exchange.faults.cut("ann") == 2
    assert first.peer.aborted and second.peer.aborted
    assert other.side.logged_in
    assert truth(floor) == [("cut", "ann", "between frames")] * 2


def test_cut_and_away() -> None:
    """From the moment of the cut logins are refused, and then no more."""
    floor, caller = armed("cut account=ann where=before names=seto.market_quotes away=4")
    assert caller.send(buy()) == ["3 order_accepted"]
    caller.send(subscribe(1))
    assert caller.peer.finished
    assert floor.caller().login(0) == ["1 logout"]
    floor.wait(4)
    assert floor.caller().login(0) == WELCOME
    assert [kind for kind, _, _ in truth(floor)] == ["cut", "refuse_login"]


def test_mass_disconnect() -> None:
    """Everybody, also who has not logged in yet."""
    floor = Floor()
    callers = [floor.caller(0), floor.caller(1), floor.caller()]
    assert floor.exchange.faults.mass_disconnect() == 3
    assert all(caller.peer.aborted for caller in callers)
    assert floor.exchange.peers == []
    assert truth(floor) == [("mass_disconnect", who, "between frames") for who in ("ann", "bob", "")]


def test_stop_reading() -> None:
    """What the client sends has no effect until then; its silence is not counted against it."""
    floor, caller = armed("stop_reading account=ann seconds=40")
    assert not caller.peer.reads
    caller.side.send(buy(), floor.now)
    caller.peer.receive(caller.side.data_to_send(), floor.now)
    for _ in range(39):
        floor.wait(1)
    assert [line.split()[1] for line in caller.exchange_bytes()] == ["heartbeat"] * 7
    assert floor.exchange.truth.orders_accepted == 0
    floor.wait(1)
    assert "order_accepted" in " ".join(caller.exchange_bytes())
    assert caller.peer.reads
    assert truth(floor) == [("stop_reading", "ann", "for 40 s")]


def test_what_was_not_read_is_read_once() -> None:
    """Two pauses, and each byte counts a single time."""
    floor, caller = armed()
    for _ in range(2):
        floor.exchange.faults.stop_reading("ann", 1.0)
        caller.side.send(buy(), floor.now)
        caller.peer.receive(caller.side.data_to_send(), floor.now)
        floor.wait(1)
    assert caller.exchange_bytes() == ["3 order_accepted", "4 order_accepted"]
    assert caller.peer.protocol.duplicates == 0


def test_stop_reading_for_good() -> None:
    """It stays so; the client gives up in its own time."""
    floor, caller = armed("stop_reading account=ann")
    floor.wait(1000)
    caller.side.ping(floor.now)
    assert "pong" not in " ".join(caller.exchange_bytes())
    assert not caller.peer.closing


def test_half_open() -> None:
    """No byte either way; the exchange's own patience ends, and the client is told nothing."""
    floor, caller = armed("half_open account=ann")
    caller.side.send(buy(), floor.now)
    assert caller.exchange_bytes() == []
    for _ in range(31):
        floor.wait(1)
    assert caller.exchange_bytes() == []
    assert caller.peer.closing and not caller.peer.finished
    assert floor.accounts[0].online == 0
    assert floor.exchange.truth.orders_accepted == 0
    assert truth(floor) == [("half_open", "ann", "for good")]


def test_half_open_and_back() -> None:
    """Soon enough, everything goes on: what waited on both sides is carried out and told."""
    floor, caller = armed("half_open account=ann seconds=8")
    caller.side.send(buy(), floor.now)
    caller.exchange_bytes()
    floor.wait(6)
    assert caller.exchange_bytes() == []
    floor.wait(2)
    assert caller.exchange_bytes() == ["3 heartbeat", "4 order_accepted"]
    assert truth(floor) == [("half_open", "ann", "for 8 s")]


def test_half_open_and_too_late(caplog: pytest.LogCaptureFixture) -> None:
    """A session that ended meanwhile is closed on when the line is open again, without a word."""
    floor, caller = armed("half_open account=ann seconds=60")
    for _ in range(59):
        floor.wait(1)
    assert not caller.peer.finished
    floor.wait(1)
    assert caller.peer.aborted and caller.peer.finished
    assert "failed" not in caplog.text


def test_half_open_after_not_reading() -> None:
    """The exchange's patience counts again: a dead line is no stuck exchange."""
    floor, caller = armed("stop_reading account=ann")
    floor.wait(100)
    assert not caller.peer.closing
    floor.exchange.faults.half_open("ann")
    floor.wait(31)
    assert caller.peer.closing


@pytest.mark.parametrize("inside", [False, True])
def test_a_cut_takes_what_waits_with_it(inside: bool) -> None:
    """Delayed frames, and those of a half-open line, are never written."""
    floor, caller = armed("delay account=ann seconds=3")
    caller.side.send(buy(), floor.now)
    caller.peer.receive(caller.side.data_to_send(), floor.now)
    floor.exchange.faults.half_open("ann", 5.0)
    floor.exchange.cut("ann", floor.now, inside=inside)
    assert len(caller.peer.data_to_send()) == (2 if inside else 0)
    assert caller.peer.finished
    assert caller.peer.next_deadline() is None
    floor.wait(10)
    assert caller.peer.data_to_send() == b""


def test_half_open_can_be_cut() -> None:
    """The connection that stayed is broken after all."""
    floor, caller = armed("half_open account=ann", "cut account=ann")
    assert caller.peer.finished
    assert [kind for kind, _, _ in truth(floor)] == ["half_open", "cut"]


# --- logins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", eto.LogoutReason.keys())
def test_refuse_login(name: str) -> None:
    """With each reason there is; the truth names it."""
    floor = Floor()
    floor.exchange.faults.apply(f"refuse_login account=ann reason={name} times=1")
    caller = floor.caller()
    assert caller.login(0) == ["1 logout"]
    assert caller.reason == eto.LogoutReason.Value(name)
    assert floor.caller().login(0) == WELCOME
    assert truth(floor) == [("refuse_login", "ann", name)]


def test_refuse_login_for_a_while() -> None:
    """``seconds`` from now on the exchange's clock."""
    floor = Floor()
    floor.exchange.faults.refuse_login("*", "DOWNTIME", seconds=3)
    for number in (0, 1):
        assert floor.caller().login(number) == ["1 logout"]
    floor.wait(3)
    assert floor.caller().login(0) == WELCOME


def test_the_newest_refusal_counts() -> None:
    """A second one takes the place of the first."""
    floor = Floor()
    floor.exchange.faults.refuse_login("ann", "DOWNTIME")
    floor.exchange.faults.refuse_login("ann", "UNVERIFIED", seconds=1)
    caller = floor.caller()
    caller.login(0)
    assert caller.reason == eto.LOGOUT_UNVERIFIED
    floor.wait(1)
    assert floor.caller().login(0) == WELCOME


def test_slow_login() -> None:
    """The answer comes late; what the client sent meanwhile is carried out behind it."""
    floor = Floor()
    floor.exchange.faults.slow_login("ann", 3.0)
    caller = floor.caller()
    assert caller.login(0) == []
    assert not caller.peer.reads
    caller.peer.receive(ping(2), floor.now)
    floor.wait(2.9)
    assert caller.heard() == []
    floor.wait(0.1)
    assert caller.heard() == [*WELCOME, "3 pong"]
    assert floor.caller().login(0) == WELCOME
    assert truth(floor) == [("slow_login", "ann", "3 s")]


def test_a_slow_login_is_not_too_late_for_the_exchange() -> None:
    """Its own time limit for logins ended when the login came."""
    floor = Floor(login_timeout=1.0)
    floor.exchange.faults.slow_login("ann", 20.0)
    caller = floor.caller()
    caller.login(0)
    floor.wait(20.0)
    assert caller.exchange_bytes() == WELCOME


def test_a_client_runs_out_of_patience_with_a_slow_login() -> None:
    """Its own limit ends it; the exchange forgets about the login."""
    floor = Floor()
    floor.exchange.faults.slow_login("ann", 20.0)
    caller = floor.caller(timing=Timing(login=5.0))
    caller.login(0)
    floor.wait(5.0)
    caller.side.handle_timer(floor.now)
    caller.exchange_bytes()
    assert TimedOut("login", 5.0) in caller.events
    caller.peer.lost(floor.now)
    floor.wait(20.0)
    assert floor.accounts[0].online == 0


def test_a_slow_login_can_be_refused() -> None:
    """Late, with what counts then."""
    floor = Floor()
    floor.exchange.faults.slow_login("ann", 2.0)
    caller = floor.caller()
    caller.login(0)
    floor.exchange.begin_downtime(floor.now)
    assert caller.heard() == ["1 logout"]
    assert caller.reason == eto.LOGOUT_DOWNTIME


# --- replays --------------------------------------------------------------------------------------


def _lost(floor: Floor, caller: Caller, orders: int = 3) -> list[str]:
    """Lose some orders' answers, and let the client find out."""
    floor.exchange.faults.drop("ann", orders)
    for number in range(orders):
        caller.send(buy(price=1000 + number))
    return caller.send(buy(price=2000))


def test_replay_late() -> None:
    """The gap stays open so long, then it is filled."""
    floor, caller = armed("replay_late account=ann seconds=2")
    assert _lost(floor, caller, 1) == ["4 order_accepted"]
    assert caller.side.state is State.RECOVERING
    floor.wait(2)
    assert caller.exchange_bytes() == [*_replayed(3), *_replayed(4)]
    assert caller.side.state is State.UP
    floor.wait(3)
    assert caller.exchange_bytes() == []  # it is answered once
    assert truth(floor)[-1] == ("replay_late", "ann", "asked for 3")


def test_replay_never() -> None:
    """A client gives up; asked again, the exchange answers."""
    floor, caller = armed("replay_never account=ann")
    assert _lost(floor, caller, 1) == ["4 order_accepted"]
    floor.wait(60 - 31)
    assert caller.side.state is State.RECOVERING
    assert caller.feed(replay(5, 3))[:2] == ["5 heartbeat", *_replayed(3)]
    assert truth(floor)[-1] == ("replay_never", "ann", "asked for 3")


def test_replay_wrong() -> None:
    """Everything but the asked number comes; the client asks once more and gets it."""
    floor, caller = armed("replay_wrong account=ann")
    heard = _lost(floor, caller, 2)
    assert heard[:3] == ["5 order_accepted", *_replayed(4), *_replayed(5)]
    assert heard[3:] == [line for number in (3, 4, 5) for line in _replayed(number)]
    assert caller.side.state is State.UP
    assert truth(floor)[-1] == ("replay_wrong", "ann", "asked for 3")


def test_replay_wrong_and_nothing_else() -> None:
    """With nothing behind the asked number nothing comes at all."""
    _, caller = armed("replay_wrong account=ann")
    assert caller.feed(replay(2, 2)) == []


def test_replay_partial() -> None:
    """Only the first numbers come; the gap stays open with the rest."""
    floor, caller = armed("replay_partial account=ann numbers=2")
    assert _lost(floor, caller, 3) == ["6 order_accepted", *_replayed(3), *_replayed(4)]
    assert caller.side.state is State.RECOVERING
    assert caller.side.inseq == 5
    assert truth(floor)[-1] == ("replay_partial", "ann", "asked for 3")


@pytest.mark.parametrize("name", ["replay_late", "replay_wrong", "replay_partial", "replay_never"])
def test_replays_go_wrong_so_many_times(name: str) -> None:
    """Twice, then a request is answered at once and whole."""
    floor, caller = armed(f"{name} account=ann times=2")
    caller.send(buy())
    whole = ["2 throttle_limits_changed replay", *_replayed(3)]
    answers = [caller.feed(replay(seq, 2)) for seq in (3, 4, 5)]
    assert answers[2] == whole
    assert whole not in answers[:2]
    assert [kind for kind, _, _ in truth(floor)] == [name] * 2


def test_a_late_replay_that_asks_for_too_much_ends_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The limit on replays counts then as well; the log says why."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    floor, caller = armed("replay_late account=ann seconds=1")
    caller.peer.protocol.memory.outseq = 20_000
    caller.feed(replay(2, 1))
    floor.wait(1)
    assert caller.peer.finished
    assert "asks for 19999 payloads again" in caplog.text


def test_ask_replay() -> None:
    """The client sends its last numbers again; for the exchange they are duplicates."""
    floor, caller = armed()
    for number in range(3):
        caller.send(buy(price=1000 + number))
    floor.exchange.faults.ask_replay("ann", 2)
    assert caller.exchange_bytes() == ["6 replay"]
    assert caller.payloads[-1].eto_payload.replay.seq == 3
    assert [event for event in caller.events if isinstance(event, ReplayAnswered)] == [
        ReplayAnswered(3, 2, 0, ())
    ]
    assert caller.peer.protocol.duplicates == 2
    assert floor.exchange.truth.orders_accepted == 3
    assert truth(floor) == [("ask_replay", "ann", "2 back")]


def test_ask_replay_from_the_beginning() -> None:
    """Further back than there is means from number 1; a login is stood in for."""
    _, caller = armed("ask_replay account=ann back=100")
    caller.exchange_bytes()
    assert caller.payloads[-1].eto_payload.replay.seq == 1
    assert caller.peer.protocol.duplicates == 1


# --- history --------------------------------------------------------------------------------------


def test_shorten_history() -> None:
    """Who resumes gets what is left; new events are kept again."""
    floor, caller = armed()
    for number in range(5):
        caller.send(buy(price=1000 + number))
    floor.exchange.faults.shorten_history("ann", 2)
    caller.peer.lost(floor.now)
    assert floor.caller().login(0, account_sequence_64=1) == [
        *WELCOME,
        "3 order_accepted replay",
        "4 order_accepted replay",
    ]
    floor.caller(1).send(sell(price=1004))
    assert len(floor.accounts[0].history) == 3
    assert truth(floor) == [("shorten_history", "ann", "3 events forgotten")]


def test_shorten_everybodys_history() -> None:
    """``*`` is each account, also one that has none."""
    floor, caller = armed()
    caller.send(buy())
    floor.exchange.faults.apply("shorten_history account=*")
    assert [len(account.history) for account in floor.accounts] == [0, 0]
    assert truth(floor) == [
        ("shorten_history", "ann", "1 events forgotten"),
        ("shorten_history", "bob", "0 events forgotten"),
    ]


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["certificate", "restart"])
def test_without_a_socket_there_is_no_house(name: str) -> None:
    """An exchange without a server says so."""
    floor = Floor()
    with pytest.raises(UsageError, match=f"this exchange has no socket, and so no {name}"):
        floor.exchange.faults.apply(name)
    assert truth(floor) == []


def test_nothing_is_recorded_before_it_happens() -> None:
    """What waits is in ``waiting``, not in the truth."""
    floor, _ = armed()
    for name, kind in FAULTS.items():
        if name in {"drop", "duplicate", "reorder", "delay", "drip", "skip", "slow_login"} or name.startswith(
            ("refuse_", "replay_")
        ):
            floor.exchange.faults.apply(
                name + (" account=ann" if kind.parameters[0].name == "account" else "")
            )
    assert len(floor.exchange.faults.waiting()) == 13
    assert truth(floor) == []


def test_the_same_seed_gives_the_same_bytes() -> None:
    """A conversation with faults by chance is the same byte for byte, session ids apart."""

    def conversation(seed: int) -> list[bytes]:
        floor = Floor(seed=seed)
        caller = floor.caller(0)
        faults = floor.exchange.faults
        faults.apply("drop account=ann frames=100 probability=0.2")
        faults.apply("duplicate account=ann frames=100 probability=0.2")
        heard = []
        for number in range(60):
            caller.side.send(buy(price=1000 + number), floor.now)
            caller.peer.receive(caller.side.data_to_send(), floor.now)
            heard.append(caller.peer.data_to_send())
        faults.garbage("ann", 99)
        return [*heard, caller.peer.data_to_send()]

    assert conversation(1) == conversation(1) != conversation(2)


def test_truth_faults_are_plain() -> None:
    """Kind, account and detail, all texts."""
    floor, caller = armed("drop account=ann")
    caller.send(buy())
    assert floor.exchange.truth.faults == [TruthFault("drop", "ann", "seto.order_accepted")]
    assert floor.exchange.truth.as_plain()["faults"] == [
        {"kind": "drop", "account": "ann", "detail": "seto.order_accepted"}
    ]


def test_sessions_without_faults_are_never_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing waits for the account, no frame is parsed on its way out."""
    _, caller = armed("drop account=bob")
    monkeypatch.setattr(
        "smarkets_pool.exchange.line.parse_payload", lambda data: pytest.fail("a frame was looked into")
    )
    assert caller.send(buy()) == ["3 order_accepted"]

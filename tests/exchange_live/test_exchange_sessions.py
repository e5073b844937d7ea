"""Sessions of the embedded exchange without sockets: events, quotes, resuming, failure, faults by name."""

from __future__ import annotations

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.truth import TruthFault
from smarkets_pool.protocol import GapFilled, GapFound, State
from tests.rig.ends import brief, logout, replay, subscribe
from tests.rig.peers import Caller, Floor, buy, sell

WELCOME = ["1 login_response", "2 throttle_limits_changed"]


def _sequences(caller: Caller) -> list[int]:
    """The account sequences of the events a client received, in order."""
    found = []
    for payload in caller.payloads:
        for _, message in payload.ListFields():
            if hasattr(message, "account_sequence_64") and message.HasField("account_sequence_64"):
                found.append(message.account_sequence_64)
    return found


def _with_history(count: int = 4, **settings: object) -> Floor:
    """A floor on which ann has events 1 to ``count`` and nobody is logged in."""
    floor = Floor(**settings)
    caller = floor.caller(0)
    for number in range(count):
        caller.send(buy(price=1000 + number))
    caller.peer.lost(floor.now)
    return floor


# --- events ---------------------------------------------------------------------------------------


def test_an_order_is_answered() -> None:
    """The answer names the request's number and carries account sequence 1 in both fields."""
    caller = Floor().caller(0)
    assert caller.send(buy()) == ["3 order_accepted"]
    accepted = caller.payloads[-1].order_accepted
    assert (accepted.seq, accepted.account_sequence, accepted.account_sequence_64) == (2, 1, 1)


def test_a_match_is_told_to_both_accounts() -> None:
    """The resting side hears of it without having asked; the truth has both."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    ann.send(buy())
    assert bob.send(sell()) == ["3 order_accepted", "4 order_executed"]
    assert ann.exchange_bytes() == ["4 order_executed"]
    assert ann.woken > 0
    assert floor.exchange.truth.executions == 2
    assert floor.exchange.truth.executions_away == 0


def test_all_sessions_of_an_account_get_its_events() -> None:
    """An order of one session is told to the other, with the same account sequence."""
    floor = Floor()
    first, second, stranger = floor.caller(0), floor.caller(0), floor.caller(1)
    first.send(buy())
    assert second.exchange_bytes() == ["3 order_accepted"]
    assert _sequences(first) == _sequences(second) == [1]
    assert stranger.exchange_bytes() == []


def test_an_invalid_order_is_told_to_the_asking_session_alone() -> None:
    """order_invalid has no account sequence and is nobody else's business."""
    floor = Floor()
    first, second = floor.caller(0), floor.caller(0)
    assert first.send(buy(price=10_000)) == ["3 order_invalid"]
    assert second.exchange_bytes() == []


def test_an_event_while_nobody_is_logged_in_is_kept_as_away() -> None:
    """The truth says that no session could be told."""
    floor = Floor()
    ann = floor.caller(0)
    ann.send(buy())
    ann.peer.lost(floor.now)
    floor.caller(1).send(sell())
    events = floor.exchange.truth.events("ann")
    assert [(event.name, event.away) for event in events] == [
        ("seto.order_accepted", False),
        ("seto.order_executed", True),
    ]


# --- quotes ---------------------------------------------------------------------------------------


def test_a_subscriber_gets_the_snapshot_and_the_state_then_deltas() -> None:
    """Quotes of a change come before the messages about the order."""
    floor = Floor()
    floor.caller(1).send(buy(price=2000, quantity=7))
    ann = floor.caller(0)
    assert ann.send(subscribe(1)) == ["3 market_quotes", "4 market_state"]
    quotes = ann.payloads[-2].market_quotes
    assert [(quote.price, quote.quantity) for quote in quotes.contract_quotes[0].bids] == [(2000, 7)]
    assert ann.payloads[-1].market_state.state == seto.MARKET_STATE_OPEN
    assert ann.send(buy(price=2000, quantity=5)) == ["5 contract_quotes", "6 order_accepted"]
    delta = ann.payloads[-2].contract_quotes
    assert [(quote.price, quote.quantity) for quote in delta.bids] == [(2000, 12)]


def test_another_market_is_not_told() -> None:
    """Only subscribers of the market get its deltas."""
    floor = Floor()
    ann = floor.caller(0)
    ann.send(subscribe(3))
    floor.caller(1).send(buy())
    assert ann.exchange_bytes() == []


def test_unsubscribing_stops_the_deltas() -> None:
    """It has no answer, and no delta follows it."""
    floor = Floor()
    ann = floor.caller(0)
    ann.send(subscribe(1))
    assert ann.send(seto.MarketUnsubscribe(market_id=1)) == []
    floor.caller(1).send(buy())
    assert ann.exchange_bytes() == []


def test_unsubscribing_from_what_was_not_subscribed_is_harmless() -> None:
    """No answer and no error."""
    caller = Floor().caller(0)
    assert caller.send(seto.MarketUnsubscribe(market_id=1)) == []
    assert not caller.peer.closing


def test_an_unknown_market_has_an_empty_snapshot() -> None:
    """No error message exists; who waits for the snapshot does not wait for ever."""
    caller = Floor().caller(0)
    assert caller.send(subscribe(999)) == ["3 market_quotes"]
    quotes = caller.payloads[-1].market_quotes
    assert quotes.market_id == 999
    assert not quotes.contract_quotes


def test_subscribing_twice_gives_the_snapshot_again_and_one_delta() -> None:
    """A second subscription is a fresh snapshot, not a second stream."""
    floor = Floor()
    ann = floor.caller(0)
    ann.send(subscribe(1))
    assert ann.send(subscribe(1)) == ["5 market_quotes", "6 market_state"]
    floor.caller(1).send(buy())
    assert ann.exchange_bytes() == ["7 contract_quotes"]


def test_a_market_that_changes_state_is_told_to_its_subscribers() -> None:
    """The announcement, then what became of the orders."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    ann.send(subscribe(1))
    bob.send(buy())
    ann.exchange_bytes()
    floor.exchange.set_market_state(1, seto.MARKET_STATE_HALTED, floor.now)
    assert [line.split()[1] for line in ann.exchange_bytes()] == ["market_state", "contract_quotes"]
    assert bob.exchange_bytes() == ["4 order_cancelled"]


def test_a_subscription_belongs_to_its_session() -> None:
    """Another session of the same account is not told."""
    floor = Floor()
    first, second = floor.caller(0), floor.caller(0)
    first.send(subscribe(1))
    floor.caller(1).send(buy())
    assert first.exchange_bytes() == ["5 contract_quotes"]
    assert second.exchange_bytes() == []


# --- settings -------------------------------------------------------------------------------------


def test_settings_are_answered_with_the_state_after_them() -> None:
    """An empty message is a query; the default is off."""
    caller = Floor().caller(0)
    answers = []
    for message in (
        seto.Settings(),
        seto.Settings(cancel_all_on_failure=True),
        seto.Settings(),
        seto.Settings(cancel_all_on_failure=False),
    ):
        assert caller.send(message)[0].endswith("settings_accepted")
        answers.append(caller.payloads[-1].settings_accepted.cancel_all_on_failure)
    assert answers == [False, True, True, False]


def _resting(floor: Floor) -> Caller:
    caller = floor.caller(0)
    caller.send(buy())
    return caller


def test_a_failing_session_that_asked_for_it_cancels_all_orders() -> None:
    """A broken connection counts; the account's other session is told."""
    floor = Floor()
    caller, other = _resting(floor), floor.caller(0)
    caller.send(seto.Settings(cancel_all_on_failure=True))
    other.exchange_bytes()
    caller.peer.lost(floor.now)
    assert other.exchange_bytes() == ["3 order_cancelled"]
    assert not floor.accounts[0].live_orders


def test_a_silent_session_that_asked_for_it_cancels_all_orders() -> None:
    """A heartbeat timeout counts as well; it happens away."""
    floor = Floor()
    caller = _resting(floor)
    caller.send(seto.Settings(cancel_all_on_failure=True))
    floor.wait(30.0)
    assert caller.heard()[-1].endswith("logout")
    assert not floor.accounts[0].live_orders
    assert floor.exchange.truth.events("ann")[-1].away


def test_logging_out_in_order_cancels_nothing() -> None:
    """Orders stay when the client says goodbye."""
    floor = Floor()
    caller = _resting(floor)
    caller.send(seto.Settings(cancel_all_on_failure=True))
    caller.feed(logout(4))
    assert len(floor.accounts[0].live_orders) == 1


def test_cancelling_on_failure_is_the_sessions_own_choice() -> None:
    """A session that did not ask may fail without harm to the orders."""
    floor = Floor()
    caller, other = _resting(floor), floor.caller(0)
    caller.send(seto.Settings(cancel_all_on_failure=True))
    other.peer.lost(floor.now)
    assert len(floor.accounts[0].live_orders) == 1


# --- resuming by account sequence -----------------------------------------------------------------


def test_resuming_sends_what_came_after_the_position_and_itself() -> None:
    """Right after the throttle, marked as replays, under new numbers, in order."""
    floor = _with_history(4)
    caller = floor.caller()
    assert caller.login(0, account_sequence_64=2) == [
        *WELCOME,
        "3 order_accepted replay",
        "4 order_accepted replay",
        "5 order_accepted replay",
    ]
    assert _sequences(caller) == [2, 3, 4]


def test_resuming_may_exclude_the_position() -> None:
    """The other reading of the documentation is a setting."""
    floor = _with_history(4, resume_includes_position=False)
    caller = floor.caller(0, account_sequence_64=2)
    assert _sequences(caller) == [3, 4]


def test_the_64_bit_position_wins_over_the_zero_beside_it() -> None:
    """SDK 9.4.4 sends a 0 in the 32-bit field together with the real position."""
    floor = _with_history(4)
    caller = floor.caller(0, account_sequence=0, account_sequence_64=3)
    assert _sequences(caller) == [3, 4]


def test_the_32_bit_position_alone_counts() -> None:
    """Older clients know only that field; 0 is from the start."""
    floor = _with_history(4)
    assert _sequences(floor.caller(0, account_sequence=4)) == [4]
    assert _sequences(floor.caller(0, account_sequence=0)) == [1, 2, 3, 4]


def test_without_a_position_nothing_is_sent_again() -> None:
    """A plain login gets no history."""
    floor = _with_history(4)
    assert floor.caller().login(0) == WELCOME


def test_a_position_ahead_of_the_account_is_no_error() -> None:
    """There is nothing to send, and events go on."""
    floor = _with_history(2)
    caller = floor.caller(0, account_sequence_64=50)
    assert _sequences(caller) == []
    caller.send(buy(price=3000))
    assert _sequences(caller) == [3]


def test_history_is_bounded() -> None:
    """What has left it cannot be had: what is left is sent, and no error exists."""
    floor = _with_history(6, history_limit=3)
    assert _sequences(floor.caller(0, account_sequence_64=1)) == [4, 5, 6]


def test_live_events_go_on_behind_the_replayed_ones() -> None:
    """Nothing gets between response, throttle and history; what follows is no replay."""
    floor = _with_history(2)
    caller = floor.caller(0, account_sequence_64=1)
    assert caller.send(buy(price=3000)) == ["5 order_accepted"]
    assert _sequences(caller) == [1, 2, 3]
    assert not caller.payloads[-1].eto_payload.is_replay


def test_replayed_events_are_no_new_ones() -> None:
    """Neither the truth nor the account's counter moves when history is sent."""
    floor = _with_history(3)
    for _ in range(2):
        floor.caller(0, account_sequence_64=1)
    assert len(floor.exchange.truth.events("ann")) == 3
    assert floor.accounts[0].next_account_sequence == 4


# --- resuming by session id -----------------------------------------------------------------------


def _resume(floor: Floor, first: Caller) -> Caller:
    """Another connection that goes on with the first one's session."""
    second = Caller(floor)
    second.side.memory = first.side.memory
    second.login(0, session=first.peer.session_id)
    return second


def test_a_lost_session_is_resumed_by_its_id() -> None:
    """The numbers go on on both sides, under the same id."""
    floor = Floor()
    first = floor.caller(0)
    first.send(buy())
    first.peer.lost(floor.now)
    second = _resume(floor, first)
    assert [brief(payload) for payload in second.payloads] == [
        "4 login_response",
        "5 throttle_limits_changed",
    ]
    assert second.payloads[0].eto_payload.login_response.session == first.peer.session_id
    assert second.send(buy(price=1000)) == ["6 order_accepted"]
    assert second.payloads[-1].order_accepted.seq == 4


def test_a_resumed_session_keeps_its_subscriptions() -> None:
    """Deltas go on without subscribing again."""
    floor = Floor()
    first = floor.caller(0)
    first.send(subscribe(1))
    first.peer.lost(floor.now)
    second = _resume(floor, first)
    floor.caller(1).send(buy())
    assert second.exchange_bytes() == ["7 contract_quotes"]


def test_what_was_lost_on_the_way_is_replayed_after_resuming() -> None:
    """The client asks for it because the response's number is too high; the documented example."""
    floor = Floor()
    first = floor.caller(0)
    first.side.send(buy(), floor.now)
    first.peer.receive(first.side.data_to_send(), floor.now)
    first.peer.cut(floor.now, inside=False)
    second = _resume(floor, first)
    assert [brief(payload) for payload in second.payloads] == [
        "4 login_response",
        "5 throttle_limits_changed",
        "3 order_accepted replay",
        "4 gapfill replay",
        "5 throttle_limits_changed replay",
    ]
    assert second.side.state is State.UP


def test_a_resumed_session_keeps_its_settings() -> None:
    """cancel_all_on_failure set before the loss counts after it, and the loss itself had its effect."""
    floor = Floor()
    first = floor.caller(0)
    first.send(seto.Settings(cancel_all_on_failure=True))
    first.peer.lost(floor.now)
    second = _resume(floor, first)
    second.send(buy())
    second.peer.lost(floor.now)
    assert not floor.accounts[0].live_orders


def test_resuming_takes_the_session_from_who_held_it() -> None:
    """A half-open connection is closed; the account is online once."""
    floor = Floor()
    first = floor.caller(0)
    second = _resume(floor, first)
    assert first.peer.aborted
    assert floor.exchange.peers == [second.peer]
    assert floor.accounts[0].online == 1


def test_a_session_is_forgotten_after_a_while() -> None:
    """UNKNOWN_SESSION once session_memory seconds have passed."""
    floor = Floor(session_memory=100.0)
    first = floor.caller(0)
    first.peer.lost(floor.now)
    floor.wait(100.0)
    second = _resume(floor, first)
    assert second.side.logged_in
    second.peer.lost(floor.now)
    floor.wait(100.5)
    third = _resume(floor, second)
    assert third.reason == eto.LOGOUT_UNKNOWN_SESSION


def test_a_resuming_login_with_a_low_number_is_told_where_to_go_on() -> None:
    """``reset`` names the next number the exchange expects."""
    floor = Floor()
    first = floor.caller(0)
    for _ in range(3):
        first.send(subscribe(1))
    first.peer.lost(floor.now)
    second = Caller(floor)
    second.side.memory.inseq = first.side.inseq
    second.login(0, session=first.peer.session_id)
    assert second.payloads[0].eto_payload.login_response.reset == 5
    assert second.side.outseq == 5


# --- faults ---------------------------------------------------------------------------------------


def test_a_dropped_frame_is_numbered_and_never_written() -> None:
    """The client finds the gap with the next frame, asks, and gets it by replay."""
    floor = Floor()
    caller = floor.caller(0)
    floor.exchange.faults.drop("ann")
    assert caller.send(buy()) == []
    assert caller.send(buy(price=1000))[0] == "4 order_accepted"
    assert caller.events.count(GapFound(3, 3)) == 1
    assert GapFilled(3, 4) in caller.events
    assert caller.side.inseq == 5
    assert floor.exchange.truth.faults == [TruthFault("drop", "ann", "seto.order_accepted")]


def test_drops_add_up_and_end() -> None:
    """So many frames are lost, then none."""
    floor = Floor()
    caller = floor.caller(0)
    floor.exchange.faults.drop("ann", 2)
    floor.exchange.faults.drop("ann")
    heard = [caller.send(buy(price=1000 + number)) for number in range(3)]
    assert heard == [[], [], []]
    assert caller.send(buy(price=2000))[0] == "6 order_accepted"
    assert len(floor.exchange.truth.faults) == 3


def test_only_the_named_account_suffers() -> None:
    """Another account's frames are left alone."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    floor.exchange.faults.drop("ann")
    assert bob.send(buy()) == ["3 order_accepted"]
    assert ann.send(buy()) == []


def test_skipped_numbers_are_stood_in_for_by_gapfills() -> None:
    """Numbers that were never used make a gap that a replay closes."""
    floor = Floor()
    caller = floor.caller(0)
    floor.exchange.faults.skip("ann", 2)
    assert caller.send(buy()) == [
        "5 order_accepted",
        "3 gapfill replay",
        "4 gapfill replay",
        "5 order_accepted replay",
    ]
    assert caller.side.state is State.UP
    assert floor.exchange.truth.faults == [TruthFault("skip", "ann", "2 numbers")]


@pytest.mark.parametrize("fault", ["drop", "skip"])
def test_a_fault_needs_a_positive_number(fault: str) -> None:
    """Nothing can be lost minus once."""
    with pytest.raises(UsageError, match="whole number from 1"):
        getattr(Floor().exchange.faults, fault)("ann", 0)


def test_logins_are_refused_for_a_while() -> None:
    """SERVICE_TEMPORARILY_UNAVAILABLE by default, until then; each refusal is recorded."""
    floor = Floor()
    floor.exchange.faults.refuse_login("ann", until=floor.now + 10)
    caller = floor.caller()
    assert caller.login(0) == ["1 logout"]
    assert caller.reason == eto.LOGOUT_SERVICE_TEMPORARILY_UNAVAILABLE
    assert floor.caller().login(1) == WELCOME
    floor.wait(10)
    assert floor.caller().login(0) == WELCOME
    assert [(fault.kind, fault.account) for fault in floor.exchange.truth.faults] == [("refuse_login", "ann")]


def test_logins_are_refused_with_any_reason_until_taken_back() -> None:
    """A chosen reason, for ever, and ``admit_login`` ends it."""
    floor = Floor()
    floor.exchange.faults.refuse_login("ann", eto.LOGOUT_UNVERIFIED)
    caller = floor.caller()
    caller.login(0)
    assert caller.reason == eto.LOGOUT_UNVERIFIED
    floor.exchange.faults.admit_login("ann")
    floor.exchange.faults.admit_login("ann")
    assert floor.caller().login(0) == WELCOME


def test_a_cut_ends_every_connection_of_the_account() -> None:
    """Nothing is said, the truth knows, others stay."""
    floor = Floor()
    first, second, other = floor.caller(0), floor.caller(0), floor.caller(1)
    assert floor.exchange.cut("ann", floor.now) == 2
    assert (first.peer.aborted, second.peer.aborted, other.peer.aborted) == (True, True, False)
    assert first.heard() == []
    assert floor.exchange.truth.faults == [TruthFault("cut", "ann", "between frames")] * 2
    assert floor.accounts[0].online == 0


def test_a_cut_inside_a_frame_leaves_its_beginning() -> None:
    """The client has bytes of a frame whose end never comes."""
    floor = Floor()
    caller = floor.caller(0)
    floor.exchange.cut("ann", floor.now, inside=True)
    data = caller.peer.data_to_send()
    assert 0 < len(data) < 4
    assert caller.peer.closing
    assert not caller.peer.aborted
    caller.side.receive_data(data)
    assert caller.side.next_event(floor.now) is None
    assert caller.side.unread == len(data)
    assert floor.exchange.truth.faults == [TruthFault("cut", "ann", "inside a frame")]


def test_a_cut_can_keep_the_account_away() -> None:
    """Logins are refused for so long, so that things can happen meanwhile."""
    floor = Floor()
    ann = floor.caller(0)
    ann.send(buy())
    floor.exchange.cut("ann", floor.now, away=5.0)
    floor.caller(1).send(sell())
    assert floor.exchange.truth.executions_away == 1
    assert floor.caller().login(0) == ["1 logout"]
    floor.wait(5.0)
    again = floor.caller(0, account_sequence_64=1)
    assert _sequences(again) == [1, 2]


def test_a_cut_of_nobody_is_none() -> None:
    """An account without a connection has nothing to cut."""
    floor = Floor()
    assert floor.exchange.cut("ann", floor.now) == 0
    assert floor.exchange.truth.faults == []


def test_a_replay_from_before_the_first_number_is_served_from_the_first() -> None:
    """There is no number 0; asking for it is asking for everything."""
    caller = Floor().caller(0)
    assert caller.feed(replay(2, 0)) == ["1 gapfill replay", "2 throttle_limits_changed replay"]


# --- what one client does is not paid for by others ------------------------------------------------


def test_a_label_too_long_to_come_back_is_invalid() -> None:
    """It would be on every message about the order, the other side's fills included."""
    caller = Floor().caller(0)
    assert caller.send(buy(label="x" * 1024)) == ["3 order_accepted"]
    assert caller.send(buy(price=2600, label="x" * 1025)) == ["4 order_invalid"]


def test_a_message_that_cannot_be_sent_costs_only_its_receiver_the_connection() -> None:
    """The one whose quotes do not fit is closed; the order that moved them stands."""
    floor = Floor(max_frame_size=200, visible_depth=0)
    watcher, maker = floor.caller(0), floor.caller(1)
    watcher.send(subscribe(1))
    for price in range(1000, 1040):
        maker.send(buy(price=price))
    again = floor.caller(0)
    again.send(subscribe(1))
    assert again.peer.closing
    assert maker.side.logged_in and not maker.peer.closing


def test_sessions_that_are_due_are_forgotten_however_many_others_live() -> None:
    """Looking only at the oldest would keep all behind one that lives long."""
    floor = Floor(session_memory=10)
    floor.caller(1)
    for _ in range(200):
        floor.caller(0).peer.lost(floor.now)
        floor.wait(1)
    assert len(floor.exchange._sessions) < 100

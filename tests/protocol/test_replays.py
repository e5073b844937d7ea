"""Gaps: asking for a replay, answering one, and doing both at once."""

import contextlib
import pickle

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import FrameTooLarge, ProtocolError, UsageError
from smarkets_pool.protocol import (
    Failed,
    GapFilled,
    GapFound,
    GapUnfilled,
    Journal,
    Received,
    ReplayAnswered,
    SessionMemory,
    State,
    TimedOut,
    Timing,
)
from smarkets_pool.protocol.machine import MAX_REPLAY, REPLAY_REFILL
from smarkets_pool.protocol.memory import DEFAULT_LIMIT, JournalEntry
from tests.rig.ends import (
    LOGIN,
    Ends,
    Fault,
    client_up,
    exchange_up,
    gapfill,
    login_response,
    logout,
    market,
    new_client,
    order,
    ping,
    replay,
    subscribe,
    told,
)

QUIET = Timing(heartbeat_after=None, probe_after=None, give_up_after=None)


def markets(record):
    """The market ids of the subscriptions that were reported."""
    return [
        event.payload.market_subscribe.market_id
        for event in record
        if isinstance(event, Received) and event.name == "seto.market_subscribe"
    ]


# --- asking ---------------------------------------------------------------------------------------


def test_a_gap_is_asked_for_once_while_the_request_is_outstanding():
    """More early live payloads add no request; they only move the end of the gap."""
    peer = client_up()
    assert peer.feed(market(4), market(5), ping(6)) == [GapFound(2, 3)]
    assert peer.sent() == ["2 replay"]
    assert peer.side.replays_requested == 1
    seen = peer.feed(*(market(n, is_replay=True) for n in range(2, 7)))
    assert seen[-1] == GapFilled(2, 6)


def test_late_frames_of_the_live_stream_count_too():
    """A missing number that turns up live is progress like any other."""
    peer = client_up()
    peer.feed(market(3))
    assert peer.feed(market(2), market(3, is_replay=True))[-1] == GapFilled(2, 3)


def test_a_replay_that_is_cut_into_is_asked_for_again():
    """An early number that is itself a replay shows that the replay lost something."""
    peer = client_up()
    peer.feed(market(6))
    assert peer.sent() == ["2 replay"]
    assert peer.feed(market(3, is_replay=True)) == []
    assert peer.sent() == ["3 replay"]


def test_a_replay_that_is_cut_into_is_asked_for_again_once_per_run():
    """Within one run the numbers rise; the rest of the run adds no request."""
    peer = client_up()
    peer.feed(market(9))
    peer.sent()
    peer.feed(*(market(n, is_replay=True) for n in range(3, 9)))
    assert peer.sent() == ["3 replay"]
    assert peer.side.replays_requested == 2


def test_a_second_run_that_is_cut_into_is_asked_for_again():
    """A number that does not rise starts a new run, and that run gets its own request."""
    peer = client_up()
    peer.feed(market(9))
    peer.feed(*(market(n, is_replay=True) for n in range(3, 9)))
    peer.sent()
    peer.feed(*(market(n, is_replay=True) for n in range(3, 9)))
    assert peer.sent() == ["4 replay"]


def test_a_run_cut_into_after_progress_is_asked_for_again():
    """Progress inside a run does not use up the request for what the same run loses later."""
    peer = client_up()
    peer.feed(market(9))
    peer.feed(market(2, is_replay=True), market(4, is_replay=True), market(5, is_replay=True))
    requests = peer.sent_payloads()
    assert [request.eto_payload.replay.seq for request in requests] == [2, 3]


def test_the_second_of_two_gaps_is_asked_for_too():
    """Once one gap is filled, the next one is a gap of its own."""
    peer = client_up()
    peer.feed(market(3), market(2, is_replay=True), market(3, is_replay=True))
    assert peer.feed(market(5)) == [GapFound(4, 4)]
    assert peer.sent() == ["2 replay", "3 replay"]


def test_gapfills_fill_gaps():
    """A gapfill stands for its number: reported, counted, and progress."""
    peer = client_up()
    peer.feed(market(3))
    assert peer.feed(gapfill(2), gapfill(3)) == ["2 gapfill replay", "3 gapfill replay", GapFilled(2, 3)]


def test_what_follows_a_filled_gap_is_live_again():
    """The next number after the highest early one is in order."""
    peer = client_up()
    peer.feed(market(3), gapfill(2), gapfill(3))
    assert peer.feed(market(4)) == ["4 market_subscribe"]


def test_a_gap_then_close_is_unfilled():
    """Closing announces what is still missing, with its bounds."""
    peer = client_up()
    peer.feed(market(6), market(2, is_replay=True))
    peer.side.close()
    assert peer.events() == [GapUnfilled(3, 6)]


def test_a_gap_then_bytes_that_are_no_frame():
    """First what is missing, then why nothing more can come."""
    peer = client_up()
    seen = peer.feed(market(6), b"\xff" * 5)
    assert seen[:2] == [GapFound(2, 5), GapUnfilled(2, 6)]
    assert isinstance(seen[2], Failed)


def test_a_gap_that_is_filled_after_our_logout_is_reported_filled():
    """Logging out does not forget the gap; the frames that arrive still close it."""
    peer = client_up()
    peer.feed(market(3))
    peer.side.logout(peer.now)
    assert peer.feed(gapfill(2), gapfill(3))[-1] == GapFilled(2, 3)
    assert peer.side.state is State.LOGOUT_SENT


def test_after_our_logout_nothing_is_asked_for():
    """A gap that shows after our logout, or a run cut into then, leads to no request."""
    peer = client_up()
    peer.feed(market(3))
    peer.side.logout(peer.now)
    peer.sent()
    assert peer.feed(market(4, is_replay=True), market(7)) == []
    other = client_up()
    other.side.logout(other.now)
    other.sent()
    assert other.feed(market(9)) == []
    assert peer.sent() == other.sent() == []


def test_the_repr_tells_the_gap():
    """The state, both numbers and the start of the gap can be read off the repr."""
    peer = client_up()
    assert repr(peer.side) == "<SessionProtocol UP, next in 2, next out 2>"
    peer.feed(market(4))
    assert repr(peer.side) == "<SessionProtocol RECOVERING, next in 2, next out 3, missing 2..>"


# --- the replay's deadline ------------------------------------------------------------------------


def test_a_replay_that_never_comes_times_out():
    """The wait is that of Timing.replay, from the request."""
    peer = client_up(timing=Timing(heartbeat_after=None))
    peer.feed(market(4))
    assert peer.side.next_deadline() == peer.now + 5
    assert peer.wait(4.5) == []
    assert peer.wait(0.5) == [TimedOut("replay", 5.0)]
    assert peer.side.state is State.RECOVERING
    assert peer.side.next_deadline() != peer.now


def test_progress_restarts_the_deadline():
    """Each number the replay brings gives it another five seconds."""
    peer = client_up(timing=Timing(heartbeat_after=None))
    peer.feed(market(4))
    peer.wait(4)
    peer.feed(market(2, is_replay=True))
    assert peer.side.next_deadline() == peer.now + 5
    assert peer.wait(4) == []
    assert peer.wait(1) == [TimedOut("replay", 5.0)]


def test_a_second_request_does_not_restart_the_deadline():
    """A replay that is cut into again and again without progress ends all the same."""
    peer = client_up(timing=Timing(heartbeat_after=None))
    peer.feed(market(6))
    peer.wait(4)
    peer.feed(market(3, is_replay=True))
    assert peer.side.next_deadline() == peer.now + 1


def test_early_payloads_are_no_progress():
    """Whatever is dropped does not prolong the wait."""
    peer = client_up(timing=Timing(heartbeat_after=None))
    peer.feed(market(6))
    peer.wait(4)
    peer.feed(market(7))
    assert peer.side.next_deadline() == peer.now + 1


def test_a_filled_gap_has_no_deadline():
    """Only silence is left to wait for."""
    peer = client_up(timing=QUIET)
    peer.feed(market(3))
    assert peer.side.next_deadline() is not None
    peer.feed(gapfill(2), gapfill(3))
    assert peer.side.next_deadline() is None


def test_without_a_replay_wait_a_gap_stays_open():
    """None switches the deadline off; progress and filling work without it."""
    peer = client_up(timing=Timing(heartbeat_after=None, probe_after=None, give_up_after=None, replay=None))
    peer.feed(market(4))
    assert peer.side.next_deadline() is None
    assert peer.feed(gapfill(2), gapfill(3), gapfill(4))[-1] == GapFilled(2, 4)


# --- answering ------------------------------------------------------------------------------------


def test_what_only_served_the_session_becomes_a_gapfill():
    """login, replay request, heartbeat: each its own gapfill, none of them reported as withheld."""
    peer = client_up()
    peer.side.heartbeat(peer.now)  # 2
    peer.feed(market(3))  # our replay request is 3
    peer.sent()
    assert peer.feed(replay(4, 1)) == [ReplayAnswered(1, 0, 3, ())]
    assert peer.sent() == ["1 gapfill replay", "2 gapfill replay", "3 gapfill replay"]


def test_a_login_response_becomes_a_gapfill():
    """The exchange's own administrative payload is stood in for too."""
    peer = exchange_up()
    assert peer.feed(replay(2, 1)) == ["2 replay", ReplayAnswered(1, 0, 1, ())]
    assert peer.sent() == ["1 gapfill replay"]


def test_everything_else_is_sent_again_under_its_number():
    """ping, pong, throttle warnings and seto payloads are resent, marked, unchanged otherwise."""
    peer = exchange_up()
    peer.side.ping(peer.now)
    peer.feed(ping(2))
    peer.side.throttle_exceeded(peer.now)
    peer.side.send(subscribe(7), peer.now)
    originals = peer.sent_payloads()
    assert peer.feed(replay(3, 2)) == ["3 replay", ReplayAnswered(2, 4, 0, ())]
    again = peer.sent_payloads()
    for payload in originals:
        payload.eto_payload.is_replay = True
    assert again == originals
    assert [payload.eto_payload.seq for payload in again] == [2, 3, 4, 5]


def test_the_logout_is_sent_again_in_a_resumed_session():
    """A logout in the journal is resent like any payload, should the session be resumed."""
    peer = client_up()
    peer.side.send(subscribe(), peer.now)
    peer.side.logout(peer.now)
    resumed = new_client(memory=peer.side.memory)
    resumed.side.login(LOGIN, resumed.now)
    resumed.feed(login_response(2, reset=5))
    resumed.sent()
    resumed.feed(replay(3, 2))
    assert resumed.sent() == ["2 market_subscribe replay", "3 logout replay", "4 gapfill replay"]


def test_a_replay_takes_no_numbers():
    """Resent payloads and gapfills keep theirs; the next fresh one goes on where it was."""
    peer = exchange_up()
    peer.side.send(subscribe(), peer.now)
    peer.feed(replay(2, 1))
    assert peer.side.outseq == 3
    assert peer.side.ping(peer.now) == 3


def test_answering_counts_as_sent_frames():
    """frames_sent counts what went out, again or not."""
    peer = exchange_up()
    peer.feed(replay(2, 1))
    assert peer.side.frames_sent == 2


@pytest.mark.parametrize("first", [0, 1])
def test_a_replay_from_zero_starts_at_one(first):
    """There is no number 0."""
    peer = exchange_up()
    assert peer.feed(replay(2, first)) == ["2 replay", ReplayAnswered(first, 0, 1, ())]
    assert peer.sent() == ["1 gapfill replay"]


def test_a_replay_from_beyond_the_latest_is_empty():
    """Nothing that was not sent can be sent again."""
    peer = exchange_up()
    assert peer.feed(replay(2, 50)) == ["2 replay", ReplayAnswered(50, 0, 0, ())]
    assert peer.sent() == []


def test_a_replay_is_not_answered_after_a_logout():
    """Before and after a session there is nothing to send again."""
    peer = exchange_up()
    peer.side.logout(peer.now)
    peer.sent()
    assert peer.feed(replay(2, 1)) == ["2 replay"]
    assert peer.sent() == []


def test_a_fresh_order_is_sent_again():
    """An order create that is not older than replay_orders is the same order under the same number."""
    peer = client_up()
    peer.side.send(order(), peer.now)
    peer.sent()
    peer.now += 2.0
    assert peer.feed(replay(2, 2)) == ["2 replay", ReplayAnswered(2, 1, 0, ())]
    assert peer.sent() == ["2 order_create replay"]


def test_an_old_order_is_withheld_and_reported():
    """An order create older than replay_orders goes out as a gapfill; its number is named."""
    peer = client_up()
    peer.side.send(order(), peer.now)
    peer.side.send(subscribe(), peer.now)
    peer.sent()
    peer.now += 2.25
    assert peer.feed(replay(2, 2)) == ["2 replay", ReplayAnswered(2, 1, 1, (2,))]
    assert peer.sent() == ["2 gapfill replay", "3 market_subscribe replay"]


def test_without_replay_orders_no_order_is_too_old():
    """None sends every order again that the journal has."""
    peer = client_up(timing=Timing(replay_orders=None))
    peer.side.send(order(), peer.now)
    peer.sent()
    peer.now += 3600
    peer.feed(replay(2, 2))
    assert peer.sent() == ["2 order_create replay"]


def test_only_orders_grow_old():
    """A cancel of an hour ago is sent again: it cannot do harm twice."""
    peer = client_up()
    peer.side.send(seto.OrderCancel(order_id=5), peer.now)
    peer.sent()
    peer.now += 3600
    peer.feed(replay(2, 2))
    assert peer.sent() == ["2 order_cancel replay"]


def test_what_left_the_journal_is_stood_in_for_and_reported():
    """The journal keeps the last thousand; an older number becomes a gapfill that is named."""
    peer = client_up()
    for n in range(1001):  # with the login 1002 numbers: 1 and 2 have left
        peer.side.send(subscribe(n), peer.now)
    peer.sent()
    assert len(peer.side.memory.journal) == DEFAULT_LIMIT == 1000
    assert peer.feed(replay(2, 2)) == ["2 replay", ReplayAnswered(2, 1000, 1, (2,))]
    sent = peer.sent()
    assert sent[:2] == ["2 gapfill replay", "3 market_subscribe replay"]
    assert sent[-1] == "1002 market_subscribe replay"


def test_the_longest_replay_is_answered():
    """Exactly MAX_REPLAY numbers are still served."""
    peer = client_up(memory=SessionMemory(journal=Journal(limit=1)))
    peer.side.memory.outseq = MAX_REPLAY + 1
    seen = peer.feed(replay(2, 1))
    assert seen[0] == "2 replay"
    assert seen[1].gapfilled == MAX_REPLAY
    assert peer.side.frames_sent == MAX_REPLAY + 1  # and the login


def test_a_longer_replay_is_a_broken_peer():
    """One number more closes the session instead."""
    peer = client_up()
    peer.side.memory.outseq = MAX_REPLAY + 2
    seen = peer.feed(replay(2, 1))
    assert isinstance(seen[-1], Failed)
    assert type(seen[-1].error) is ProtocolError
    assert str(MAX_REPLAY) in str(seen[-1].error)
    assert peer.sent() == []
    assert peer.side.state is State.CLOSED


def test_replay_requests_in_a_row_are_bounded_together():
    """A request is a few bytes and its answer is not: a flood of them must not hold a hub or fill memory."""
    peer = client_up(memory=SessionMemory(journal=Journal(limit=1)))
    peer.side.memory.outseq = MAX_REPLAY // 4 + 1
    seen = peer.feed(*[replay(number, 1) for number in range(2, 12)])
    assert sum(isinstance(event, ReplayAnswered) for event in seen) == 4
    assert isinstance(seen[-1], Failed)
    assert peer.side.frames_sent < MAX_REPLAY + 10


def test_the_allowance_for_replays_comes_back_with_time():
    """A peer that loses frames now and then is served for ever."""
    peer = client_up(timing=QUIET, memory=SessionMemory(journal=Journal(limit=1)))
    peer.side.memory.outseq = MAX_REPLAY // 2 + 1
    for number in range(2, 12):
        assert not [event for event in peer.feed(replay(number, 1)) if isinstance(event, Failed)]
        peer.wait(MAX_REPLAY / 2 / REPLAY_REFILL)
    assert peer.side.logged_in


def test_an_order_that_replaces_is_not_repeated_late_either():
    """It makes a new order as much as a create does."""
    peer = client_up(timing=QUIET)
    replacing = seto.OrderCancelReplace(orig_order_id=1, price=2500, quantity=400000)
    number = peer.side.send(replacing, peer.now)
    peer.wait(2.5)
    peer.sent()
    seen = peer.feed(replay(2, number))
    assert seen[-1] == ReplayAnswered(number, 0, 1, (number,))


def test_the_largest_payload_can_be_sent_again():
    """The mark of a replay adds bytes; a payload that just fitted must not end the session for it."""
    peer = client_up(max_frame_size=100)
    for size in range(100, 0, -1):
        message = order()
        message.label = "x" * size
        with contextlib.suppress(FrameTooLarge):
            number = peer.side.send(message, peer.now)
            break
    peer.sent()
    seen = peer.feed(replay(2, number))
    assert not [event for event in seen if isinstance(event, Failed)]
    assert peer.side.logged_in
    assert len(peer.sent()) == 1


def test_the_password_is_nowhere_in_memory():
    """The journal knows the login only as a number, whatever is asked of it later."""
    peer = new_client()
    peer.side.login(seto.Login(username="someone", password="s3cr3t", cookie=b"t0k3n"), peer.now)
    peer.feed(login_response())
    peer.side.send(seto.Login(username="someone", password="s3cr3t"), peer.now)
    peer.sent()
    memory = peer.side.memory
    assert memory.journal.get(1) == JournalEntry("seto.login", None, peer.now)
    assert memory.journal.get(2) == JournalEntry("seto.login", None, peer.now)
    for everything in (pickle.dumps(memory), repr(memory).encode(), repr(peer.side).encode()):
        assert b"s3cr3t" not in everything and b"t0k3n" not in everything
    peer.feed(replay(2, 1))
    assert b"s3cr3t" not in peer.side.data_to_send()


# --- both sides at once ---------------------------------------------------------------------------


def test_crossing_replay_requests_do_not_wait_for_each_other():
    """Each side misses something and asks; both are answered and both are whole again."""
    ends = Ends(timing=QUIET).login().forget()
    ends.to_exchange.next(Fault.DROP)
    ends.to_client.next(Fault.DROP)
    for n in (1, 2):
        ends.client.send(subscribe(n), ends.now)
        ends.exchange.send(subscribe(n), ends.now)
    ends.pump()
    for record in (ends.client_events, ends.exchange_events):
        assert markets(record) == [1, 2]
        assert any(isinstance(event, GapFilled) for event in record)
    assert ends.client.state is ends.exchange.state is State.UP
    assert ends.client.inseq == ends.exchange.outseq
    assert ends.exchange.inseq == ends.client.outseq


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.TWICE, Fault.HOLD])
@pytest.mark.parametrize("direction", ["to_client", "to_exchange"])
@pytest.mark.parametrize("index", range(6))
def test_one_fault_is_always_healed(fault, direction, index):
    """Whichever single frame is lost, repeated or late: all is reported once, in order, without a timeout."""
    ends = Ends().login().forget()
    getattr(ends, direction).next(*[Fault.PASS] * index, fault)
    for n in range(1, 5):
        ends.client.send(subscribe(n), ends.now)
        ends.exchange.send(subscribe(n), ends.now)
        ends.pump()
    ends.advance(5)
    getattr(ends, direction).release()
    ends.advance(20)
    for record in (ends.client_events, ends.exchange_events):
        assert markets(record) == [1, 2, 3, 4]
        assert not [event for event in record if isinstance(event, (TimedOut, Failed))]
    assert ends.client.state is ends.exchange.state is State.UP


def test_frames_that_overtake_each_other():
    """Two held frames that arrive backwards are put right."""
    ends = Ends(timing=QUIET).login().forget()
    ends.to_client.next(Fault.HOLD, Fault.HOLD)
    for n in (1, 2, 3):
        ends.exchange.send(subscribe(n), ends.now)
    ends.to_exchange.hook = lambda frame: Fault.HOLD  # the request is slow too
    ends.pump()
    ends.to_client.release(backwards=True)
    ends.pump()
    ends.to_exchange.heal()
    ends.to_exchange.release()
    ends.pump()
    assert [told(event) for event in ends.client_events] == [
        GapFound(2, 3),
        "2 market_subscribe",
        "3 market_subscribe replay",
        "4 market_subscribe replay",
        GapFilled(2, 4),
    ]


def test_a_lost_request_times_out():
    """A replay request that never arrives is not waited for in silence."""
    ends = Ends().login().forget()
    ends.to_client.next(Fault.DROP)
    ends.to_exchange.next(Fault.DROP)
    ends.exchange.send(subscribe(1), ends.now)
    ends.exchange.send(subscribe(2), ends.now)
    ends.pump()
    ends.advance(5)
    assert TimedOut("replay", 5.0) in ends.client_events


# --- the journal ----------------------------------------------------------------------------------


def test_a_journal_forgets_the_oldest():
    """It holds ``limit`` entries and its repr says how full it is."""
    journal = Journal(limit=2)
    assert len(journal) == 0
    entries = {seq: JournalEntry("eto.ping", b"x", float(seq)) for seq in (1, 2, 3)}
    for seq, entry in entries.items():
        journal.add(seq, entry)
    assert repr(journal) == "<Journal 2 of 2>"
    assert [journal.get(seq) for seq in (1, 2, 3)] == [None, entries[2], entries[3]]


def test_a_journal_forgets_what_is_too_large_together():
    """It holds ``most_bytes`` of payloads, but always the last one; numbers without payload take none."""
    journal = Journal(limit=10, most_bytes=10)
    entries = {
        seq: JournalEntry("eto.ping", b"x" * size, 0.0) for seq, size in enumerate((4, 4, 2, 1, 11), 1)
    }
    for seq in (1, 2, 3):
        journal.add(seq, entries[seq])
    journal.add(9, JournalEntry("eto.heartbeat", None, 0.0))
    assert len(journal) == 4
    journal.add(4, entries[4])
    assert [journal.get(seq) for seq in (1, 2, 3, 4)] == [None, entries[2], entries[3], entries[4]]
    journal.add(5, entries[5])
    assert len(journal) == 1
    assert journal.get(5) == entries[5]


def test_a_new_memory_starts_at_one():
    """Both numbers start at 1 and two sessions share no journal."""
    memory = SessionMemory()
    assert (memory.inseq, memory.outseq) == (1, 1)
    assert memory.journal is not SessionMemory().journal


def test_a_refused_send_is_not_in_the_journal():
    """What was never sent cannot be asked for."""
    peer = client_up()
    with pytest.raises(UsageError):
        peer.side.send(seto.OrderCreate(), peer.now)
    assert peer.side.memory.journal.get(2) is None


def test_a_logout_in_the_journal_is_whole():
    """The entry of a payload that may be repeated holds its bytes and time."""
    peer = client_up()
    peer.side.logout(peer.now)
    entry = peer.side.memory.journal.get(2)
    assert (entry.name, entry.sent_at) == ("eto.logout", peer.now)
    assert entry.data == peer.sent_payloads()[0].SerializeToString()


def test_logout_by_hand_is_understood():
    """The rig's frames and the package's are the same bytes."""
    peer = client_up()
    peer.side.logout(peer.now)
    assert peer.side.data_to_send() == logout(2, eto.LOGOUT_NONE)

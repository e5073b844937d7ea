"""Time: heartbeats, liveness, the waits of login and logout, and when the next of them is due."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarkets_pool import eto
from smarkets_pool.protocol import Probed, State, TimedOut, Timing
from tests.rig.ends import (
    LOGIN,
    SESSION,
    START,
    Ends,
    client_up,
    exchange_up,
    heartbeat,
    login,
    login_response,
    logout,
    market,
    new_client,
    new_exchange,
    ping,
    replay,
    subscribe,
)

NEVER = Timing(
    heartbeat_after=None,
    probe_after=None,
    give_up_after=None,
    login=None,
    logout=None,
    replay=None,
    replay_orders=None,
)
SILENT = Timing(heartbeat_after=None)


# --- heartbeats -----------------------------------------------------------------------------------


def test_the_default_waits():
    """The defaults are the design's: heartbeat 5, silence 15 and 30, login 10, logout 5, orders 2."""
    assert Timing() == Timing(
        heartbeat_after=5.0,
        probe_after=15.0,
        give_up_after=30.0,
        login=10.0,
        logout=5.0,
        replay=5.0,
        replay_orders=2.0,
    )


@pytest.mark.parametrize("up", [client_up, exchange_up])
def test_a_heartbeat_is_sent_when_idle(up):
    """Five seconds after the last sending, on either side, and then every five."""
    peer = up()
    assert peer.side.next_deadline() == peer.now + 5
    peer.wait(4.75)
    assert peer.sent() == []
    peer.wait(0.25)
    assert peer.sent() == ["2 heartbeat"]
    assert peer.side.next_deadline() == peer.now + 5
    peer.wait(5)
    assert peer.sent() == ["3 heartbeat"]


@pytest.mark.parametrize(
    "action",
    [
        lambda peer: peer.side.send(subscribe(), peer.now),
        lambda peer: peer.side.ping(peer.now),
        lambda peer: peer.side.heartbeat(peer.now),
        lambda peer: peer.side.throttle_exceeded(peer.now),
        lambda peer: peer.feed(ping(2)),
        lambda peer: peer.feed(market(4)),
        lambda peer: peer.feed(replay(2, 1)),
    ],
    ids=["send", "ping", "heartbeat", "throttle_exceeded", "pong", "replay request", "replay answer"],
)
def test_any_sending_postpones_the_heartbeat(action):
    """Whatever leaves the socket shows that we live."""
    peer = client_up(timing=Timing(replay=None, probe_after=None, give_up_after=None))
    peer.now += 3
    action(peer)
    assert peer.side.next_deadline() == peer.now + 5
    peer.sent()
    peer.wait(4.5)
    assert peer.sent() == []


def test_a_received_heartbeat_does_not_postpone_ours():
    """Receiving is not sending."""
    peer = client_up()
    peer.now += 3
    peer.feed(heartbeat(2))
    assert peer.side.next_deadline() == START + 5


def test_heartbeats_go_on_inside_a_gap():
    """RECOVERING is logged in."""
    peer = client_up(timing=Timing(replay=None))
    peer.feed(market(4))
    peer.sent()
    peer.wait(5)
    assert peer.sent() == ["3 heartbeat"]


def test_no_heartbeat_before_the_login_or_after_the_logout():
    """Only a session that is logged in has heartbeats."""
    waiting = new_client(timing=Timing(login=None))
    waiting.side.login(LOGIN, waiting.now)
    assert waiting.side.next_deadline() is None
    leaving = client_up(timing=Timing(logout=None, probe_after=None, give_up_after=None))
    leaving.side.logout(leaving.now)
    assert leaving.side.next_deadline() is None
    for peer in (waiting, leaving):
        peer.sent()
        peer.wait(60)
        assert peer.sent() == []


def test_two_idle_sides_keep_each_other_alive():
    """An hour of silence: heartbeats both ways, nobody asks and nobody gives up."""
    ends = Ends().login().forget()
    ends.advance(3600)
    assert len(ends.to_client.sent) == len(ends.to_exchange.sent) == 720
    assert {text.split()[1] for text in ends.to_client.sent + ends.to_exchange.sent} == {"heartbeat"}
    assert not [event for event in ends.client_events if isinstance(event, TimedOut)]


# --- silence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [client_up, exchange_up])
def test_a_silent_peer_is_asked_and_then_given_up(up):
    """A ping after 15 s, TimedOut after 30 s, each announced once."""
    peer = up(timing=SILENT)
    assert peer.side.next_deadline() == peer.now + 15
    assert peer.wait(14.75) == []
    assert peer.sent() == []
    assert peer.wait(0.25) == [Probed(15.0)]
    assert peer.sent() == ["2 ping"]
    assert peer.side.next_deadline() == peer.now + 15
    assert peer.wait(14.75) == []
    assert peer.wait(0.25) == [TimedOut("silence", 30.0)]
    assert peer.side.next_deadline() is None
    assert peer.wait(100) == []
    assert peer.sent() == []


def test_giving_up_is_left_to_the_caller():
    """The machine reports; the session is still logged in."""
    peer = client_up(timing=SILENT)
    assert peer.wait(30) == [TimedOut("silence", 30.0)]
    assert peer.side.state is State.UP


def test_a_timer_called_late_says_how_long_it_was():
    """``waited`` is the time that really passed; nobody who is given up is asked first."""
    peer = client_up(timing=SILENT)
    assert peer.wait(47) == [TimedOut("silence", 47.0)]
    assert peer.sent() == []


def test_an_answer_to_the_probe_starts_the_wait_anew():
    """After a frame the peer is asked again before it is given up."""
    peer = client_up(timing=SILENT)
    peer.wait(15)
    peer.wait(1)
    peer.feed(heartbeat(2))
    assert peer.side.next_deadline() == peer.now + 15
    peer.sent()
    peer.wait(15)
    assert peer.sent() == ["3 ping"]


def test_a_peer_that_speaks_after_it_was_given_up_is_watched_again():
    """The report is not final unless the caller makes it so."""
    peer = client_up(timing=SILENT)
    peer.wait(30)
    peer.feed(heartbeat(2))
    assert peer.side.next_deadline() == peer.now + 15
    assert peer.wait(30) == [TimedOut("silence", 30.0)]


@pytest.mark.parametrize("frame", [market(1), market(9)], ids=["duplicate", "early"])
def test_any_whole_frame_counts_as_life(frame):
    """Even one that is dropped."""
    peer = client_up(timing=Timing(heartbeat_after=None, replay=None))
    peer.now += 10
    peer.feed(frame)
    assert peer.side.next_deadline() == peer.now + 15


def test_bytes_are_no_life():
    """A peer that drips a frame without ever ending it is asked and given up all the same."""
    peer = client_up(timing=SILENT)
    seen = []
    for byte in market(2)[:-1]:
        peer.side.receive_data(bytes([byte]))
        seen += peer.wait(3)
    assert seen == [Probed(15.0), TimedOut("silence", 30.0)]
    assert peer.side.unread == len(market(2)) - 1


def test_without_a_probe_a_silent_peer_is_only_given_up():
    """probe_after None: nobody is asked."""
    peer = client_up(timing=Timing(heartbeat_after=None, probe_after=None))
    assert peer.side.next_deadline() == peer.now + 30
    assert peer.wait(30) == [TimedOut("silence", 30.0)]
    assert peer.sent() == []


def test_without_giving_up_a_silent_peer_is_only_asked():
    """give_up_after None: one ping and no end."""
    peer = client_up(timing=Timing(heartbeat_after=None, give_up_after=None))
    assert peer.wait(15) == [Probed(15.0)]
    assert peer.sent() == ["2 ping"]
    assert peer.side.next_deadline() is None
    assert peer.wait(100) == []


def test_a_probe_counts_as_sending():
    """A heartbeat that is due in the same moment is saved by the ping."""
    peer = client_up(timing=Timing(heartbeat_after=15.0))
    peer.wait(15)
    assert peer.sent() == ["2 ping"]


def test_a_peer_that_owes_us_a_confirmation_is_watched_but_not_asked():
    """After our logout no ping may be sent; silence is still reported."""
    peer = client_up(timing=Timing(heartbeat_after=None, logout=None))
    peer.side.logout(peer.now)
    peer.sent()
    assert peer.side.next_deadline() == peer.now + 15
    assert peer.wait(15) == []
    assert peer.sent() == []
    assert peer.wait(15) == [TimedOut("silence", 30.0)]


def test_silence_does_not_count_before_the_login():
    """Then the login's own wait decides."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    assert peer.wait(60) == [TimedOut("login", 60.0)]
    assert peer.wait(60) == []


def test_silence_counts_from_the_last_frame_of_the_login():
    """A slow answer does not shorten the first wait."""
    peer = new_client(timing=SILENT)
    peer.side.login(LOGIN, peer.now)
    peer.wait(8)
    peer.feed(login_response())
    assert peer.side.next_deadline() == peer.now + 15


# --- holding the clock of silence -----------------------------------------------------------------


def test_while_we_do_not_read_silence_is_ours():
    """hold_silence takes the deadline away for as long as it lasts."""
    peer = client_up(timing=SILENT)
    peer.wait(10)
    peer.side.hold_silence(peer.now)
    assert peer.side.next_deadline() is None
    assert peer.wait(1000) == []
    assert peer.sent() == []


def test_released_silence_goes_on_where_it_was_held():
    """Ten seconds before the hold and five after it are fifteen."""
    peer = client_up(timing=SILENT)
    peer.wait(10)
    peer.side.hold_silence(peer.now)
    peer.wait(1000)
    peer.side.release_silence(peer.now)
    assert peer.side.next_deadline() == peer.now + 5
    peer.wait(5)
    assert peer.sent() == ["2 ping"]


def test_a_second_hold_does_not_move_the_first():
    """Holding twice and releasing once, or releasing what is not held, is harmless."""
    peer = client_up(timing=SILENT)
    peer.side.release_silence(peer.now)
    peer.wait(10)
    peer.side.hold_silence(peer.now)
    peer.wait(100)
    peer.side.hold_silence(peer.now)
    peer.wait(100)
    peer.side.release_silence(peer.now)
    peer.side.release_silence(peer.now + 50)
    assert peer.side.next_deadline() == peer.now + 5


def test_a_frame_during_the_hold_counts_from_its_own_moment():
    """The clock is at zero from the frame on, held until the release."""
    peer = client_up(timing=SILENT)
    peer.wait(10)
    peer.side.hold_silence(peer.now)
    peer.wait(20)
    peer.feed(heartbeat(2))
    peer.wait(20)
    peer.side.release_silence(peer.now)
    assert peer.side.next_deadline() == peer.now + 15


def test_heartbeats_go_on_during_the_hold():
    """A full inbox must not cost us the session."""
    peer = client_up()
    peer.side.hold_silence(peer.now)
    assert peer.side.next_deadline() == peer.now + 5
    peer.wait(5)
    assert peer.sent() == ["2 heartbeat"]


# --- login and logout -----------------------------------------------------------------------------


def test_an_unanswered_login_times_out():
    """Ten seconds after our login, once."""
    peer = new_client()
    assert peer.side.next_deadline() is None
    peer.now += 7
    peer.side.login(LOGIN, peer.now)
    assert peer.side.next_deadline() == peer.now + 10
    assert peer.wait(9.75) == []
    assert peer.wait(0.25) == [TimedOut("login", 10.0)]
    assert peer.side.next_deadline() is None
    assert peer.wait(10) == []


def test_a_login_that_never_comes_times_out():
    """The exchange waits from expect_login on."""
    peer = new_exchange()
    assert peer.side.next_deadline() == peer.now + 10
    assert peer.wait(10) == [TimedOut("login", 10.0)]
    assert peer.side.next_deadline() is None


def test_bytes_that_are_no_whole_login_do_not_prolong_the_wait():
    """A dripping login is no login."""
    peer = new_exchange()
    for byte in login()[:20]:
        peer.side.receive_data(bytes([byte]))
        peer.now += 0.5
    peer.side.handle_timer(peer.now)
    assert peer.events() == [TimedOut("login", 10.0)]


def test_an_answered_login_is_not_waited_for():
    """Once UP, the next thing due is a heartbeat, on both sides."""
    ends = Ends().login()
    assert ends.client.next_deadline() == ends.exchange.next_deadline() == ends.now + 5


def test_a_refused_login_is_not_waited_for():
    """A refusal ends the client's wait and starts the exchange's wait for the end."""
    ends = Ends()
    ends.client.login(LOGIN, ends.now)
    ends.pump()
    ends.exchange.logout(ends.now, eto.LOGOUT_UNAUTHORISED)
    ends.pump()
    assert ends.client.next_deadline() is None
    assert ends.exchange.next_deadline() == ends.now + 5


def test_an_unconfirmed_logout_times_out():
    """Five seconds after our logout, once; the caller closes then."""
    peer = client_up(timing=Timing(probe_after=None, give_up_after=None))
    peer.side.logout(peer.now)
    assert peer.side.next_deadline() == peer.now + 5
    assert peer.wait(4.75) == []
    assert peer.wait(0.25) == [TimedOut("logout", 5.0)]
    assert peer.side.next_deadline() is None
    assert peer.wait(5) == []


def test_a_confirmed_logout_is_not_waited_for():
    """A closed session has no deadlines."""
    peer = client_up()
    peer.side.logout(peer.now)
    peer.feed(logout(2, eto.LOGOUT_CONFIRMATION))
    assert peer.side.next_deadline() is None


def test_a_logout_ends_the_wait_for_a_replay():
    """What is still missing will be announced as unfilled; nobody waits for it."""
    peer = client_up(timing=Timing(replay=1.0))
    peer.feed(market(4))
    peer.side.logout(peer.now)
    assert peer.side.next_deadline() == peer.now + 5


@pytest.mark.parametrize("make", [new_client, new_exchange, client_up, exchange_up])
def test_every_wait_can_be_switched_off(make):
    """With all of Timing None nothing is ever due, in any state on the way to the end."""
    peer = make(timing=NEVER)
    if make is new_client:
        peer.side.login(LOGIN, peer.now)
    assert peer.side.next_deadline() is None
    assert peer.wait(10_000) == []
    peer.feed(market(5))
    assert peer.wait(10_000) == []
    peer.side.logout(peer.now)
    assert peer.side.next_deadline() is None
    assert peer.wait(10_000) == []


def test_the_earliest_deadline_is_the_next():
    """Heartbeat, replay and silence are watched at once."""
    peer = client_up(timing=Timing(heartbeat_after=7.0, replay=6.0, probe_after=5.5))
    peer.feed(market(4))
    assert peer.side.next_deadline() == peer.now + 5.5
    peer.wait(5.5)
    assert peer.side.next_deadline() == peer.now + 0.5
    assert peer.wait(0.5) == [TimedOut("replay", 6.0)]
    assert peer.side.next_deadline() == peer.now + 6.5


def test_a_timer_called_early_does_nothing():
    """handle_timer may be called at any time."""
    peer = client_up()
    peer.feed(market(4))
    peer.sent()
    assert peer.wait(0) == []
    assert peer.sent() == []


@settings(database=None, deadline=None, max_examples=50)
@given(
    start=st.floats(0, 1e9),
    wait=st.floats(0.001, 100),
    longer=st.floats(0.001, 100),
    beats=st.none() | st.floats(0.001, 100),
)
def test_what_was_due_is_done(start, wait, longer, beats):
    """A caller that sleeps until exactly next_deadline gets on: the same moment is not due again."""
    timing = Timing(heartbeat_after=beats, probe_after=wait, give_up_after=wait + longer)
    peer = new_client(timing=timing)
    peer.now = start
    peer.side.login(LOGIN, peer.now)
    peer.feed(login_response())
    for _ in range(5):
        due = peer.side.next_deadline()
        if due is None:
            break
        assert due > peer.now
        peer.now = due
        peer.side.handle_timer(due)
        peer.events()
        after = peer.side.next_deadline()
        assert after is None or after > due


def test_a_peer_is_given_up_at_the_very_deadline():
    """At the moment that next_deadline named the peer is given up, however the sum was rounded."""
    peer = new_client(timing=SILENT)
    peer.now = 0.1
    peer.side.login(LOGIN, peer.now)
    for tenths in range(1, 200):
        peer.now = tenths / 10
        peer.feed(heartbeat(tenths - 1) if tenths > 1 else login_response())
        for expected in (Probed, TimedOut):
            peer.now = peer.side.next_deadline()
            peer.side.handle_timer(peer.now)
            (event,) = peer.events()
            assert type(event) is expected


def test_accepting_a_login_starts_the_exchanges_clocks():
    """The heartbeat is due five seconds after the response."""
    peer = new_exchange()
    peer.feed(login())
    peer.now += 2
    peer.side.accept_login(SESSION, peer.now)
    assert peer.side.next_deadline() == peer.now + 5


def test_the_wait_for_a_replay_stands_still_while_we_do_not_read() -> None:
    """What it brings lies in the socket; that is not the peer's fault."""
    peer = client_up(timing=Timing(heartbeat_after=None, probe_after=None, give_up_after=None, replay=5))
    peer.feed(market(4))
    peer.side.hold_silence(peer.now)
    assert peer.side.next_deadline() is None
    assert peer.wait(100) == []
    peer.side.release_silence(peer.now)
    assert peer.side.next_deadline() == peer.now + 5
    assert [type(event) for event in peer.wait(5)] == [TimedOut]

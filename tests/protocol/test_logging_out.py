"""Logging out and closing: who starts, who confirms, and what still counts afterwards."""

import pytest

from smarkets_pool import eto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.protocol import GapFound, GapUnfilled, LogoutReceived, State
from tests.rig.ends import (
    LOGIN,
    Ends,
    client_up,
    exchange_up,
    login_response,
    logout,
    market,
    new_client,
    new_exchange,
    ping,
    replay,
    subscribe,
    told,
)

NONE = LogoutReceived(eto.LOGOUT_NONE, "LOGOUT_NONE")
CONFIRMATION = LogoutReceived(eto.LOGOUT_CONFIRMATION, "LOGOUT_CONFIRMATION")


def test_a_logout_is_the_vendors_bytes():
    """LOGOUT_NONE with the next number, as the vendor's client writes it."""
    peer = client_up()
    peer.side.heartbeat(peer.now)
    peer.side.heartbeat(peer.now)
    peer.side.data_to_send()
    assert peer.side.logout(peer.now) == 4
    assert peer.side.data_to_send().hex() == "0c08011208080410093a020801"


def test_a_client_logs_out():
    """The exchange hears it and confirms; both are closed."""
    ends = Ends().login().forget()
    ends.client.logout(ends.now)
    ends.pump()
    assert [told(event) for event in ends.exchange_events] == ["2 logout", NONE]
    assert ends.exchange.state is State.LOGOUT_RECEIVED
    assert not ends.exchange.close_expected
    assert ends.exchange.logout(ends.now, eto.LOGOUT_CONFIRMATION) == 2
    assert ends.exchange.close_expected
    ends.pump()
    assert [told(event) for event in ends.client_events] == ["2 logout", CONFIRMATION]
    assert ends.client.close_expected
    assert ends.client.state is ends.exchange.state is State.CLOSED


def test_the_confirmation_leaves_before_the_close():
    """A side that is closed by its confirmation still has it to write, once."""
    peer = exchange_up()
    peer.feed(logout(2))
    peer.side.logout(peer.now, eto.LOGOUT_CONFIRMATION)
    assert peer.side.close_expected
    assert peer.sent() == ["2 logout"]
    assert peer.sent() == []


def test_the_exchange_logs_the_client_out():
    """The reason arrives, and the client may confirm."""
    ends = Ends().login().forget()
    ends.exchange.logout(ends.now, eto.LOGOUT_DOWNTIME)
    ends.pump()
    assert ends.client_events[-1] == LogoutReceived(eto.LOGOUT_DOWNTIME, "LOGOUT_DOWNTIME")
    assert not ends.client.logged_in
    ends.client.logout(ends.now, eto.LOGOUT_CONFIRMATION)
    ends.pump()
    assert ends.client.state is ends.exchange.state is State.CLOSED


def test_crossing_logouts_close_both_sides():
    """Each takes the other's logout for the end."""
    ends = Ends().login().forget()
    ends.client.logout(ends.now)
    ends.exchange.logout(ends.now, eto.LOGOUT_HEARTBEAT_TIMEOUT)
    ends.pump()
    assert [told(event) for event in ends.exchange_events] == ["2 logout", NONE]
    assert ends.client_events[-1] == LogoutReceived(eto.LOGOUT_HEARTBEAT_TIMEOUT, "LOGOUT_HEARTBEAT_TIMEOUT")
    assert ends.client.state is ends.exchange.state is State.CLOSED


def test_a_logout_without_a_reason():
    """Documentation and one vendor client leave it out: it is not NONE."""
    peer = exchange_up()
    assert peer.feed(logout(2, None)) == ["2 logout", LogoutReceived(0, "ABSENT")]


def test_a_logout_for_a_reason_newer_than_the_schema():
    """An unknown number has a name of its own and the reason 0."""
    peer = client_up()
    assert peer.feed(logout(2, 77)) == ["2 logout", LogoutReceived(0, "UNKNOWN(77)")]


def test_frames_behind_a_received_logout_are_still_reported():
    """What comes in order behind a logout is not lost."""
    peer = client_up()
    assert peer.feed(logout(2), market(3), ping(4)) == ["2 logout", NONE, "3 market_subscribe", "4 ping"]
    assert peer.sent() == []


def test_frames_between_our_logout_and_its_confirmation_are_reported():
    """The exchange may have sent more before it read our logout."""
    peer = client_up()
    peer.side.logout(peer.now)
    peer.sent()
    assert peer.feed(market(2), ping(3), logout(4, eto.LOGOUT_CONFIRMATION)) == [
        "2 market_subscribe",
        "3 ping",
        "4 logout",
        CONFIRMATION,
    ]
    assert peer.sent() == []


def test_an_early_frame_behind_a_received_logout_is_dropped():
    """Nothing can be asked for any more."""
    peer = client_up()
    peer.feed(logout(2))
    assert peer.feed(market(5), replay(6, 1), login_response(7)) == []
    assert peer.sent() == []


def test_a_second_logout_is_only_a_frame():
    """The peer can log out once."""
    peer = client_up()
    assert peer.feed(logout(2), logout(3, eto.LOGOUT_DOWNTIME)) == ["2 logout", NONE, "3 logout"]


def test_an_early_confirmation_announces_what_was_lost():
    """Numbers before the confirmation that never came are named."""
    peer = client_up()
    peer.side.logout(peer.now)
    seen = peer.feed(logout(4, eto.LOGOUT_CONFIRMATION))
    assert seen[0] == GapUnfilled(2, 3)
    assert seen[1:] == ["4 logout", CONFIRMATION]
    assert peer.side.state is State.CLOSED


def test_a_logout_before_any_login():
    """The exchange may refuse a connection before it is asked, the client may leave before it asks."""
    peer = new_client()
    assert peer.feed(logout(1, eto.LOGOUT_DOWNTIME))[-1].reason == eto.LOGOUT_DOWNTIME
    assert peer.side.state is State.LOGOUT_RECEIVED
    other = new_exchange()
    other.side.logout(other.now, eto.LOGOUT_LOGIN_TIMEOUT)
    assert other.sent() == ["1 logout"]
    assert other.side.state is State.LOGOUT_SENT


def test_a_logout_before_the_answer_to_the_login():
    """A client may change its mind while it waits."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    assert peer.side.logout(peer.now) == 2
    assert peer.feed(login_response(1)) == ["1 login_response"]
    assert peer.side.state is State.LOGOUT_SENT
    assert peer.feed(logout(2, eto.LOGOUT_CONFIRMATION))[-1] == CONFIRMATION


@pytest.mark.parametrize("make", [new_client, new_exchange, client_up, exchange_up])
def test_after_close_nothing_is_read_sent_or_due(make):
    """close() ends everything, and a second one changes nothing."""
    peer = make()
    peer.side.close()
    peer.side.close()
    assert peer.side.state is State.CLOSED
    assert peer.side.close_expected
    assert not peer.side.logged_in
    assert peer.side.next_deadline() is None
    assert peer.feed(market(2), logout(3), b"\xff" * 50) == []
    assert peer.side.unread == 0
    assert peer.wait(1000) == []
    assert peer.sent() == []
    for verb in ("ping", "heartbeat", "throttle_exceeded", "logout"):
        with pytest.raises(UsageError):
            getattr(peer.side, verb)(peer.now)
    assert peer.sent() == []


def test_after_the_confirmation_nothing_is_read():
    """Frames behind the logout that closed us are not looked at."""
    peer = client_up()
    peer.side.logout(peer.now)
    assert peer.feed(logout(2, eto.LOGOUT_CONFIRMATION), market(3))[-1] == CONFIRMATION
    assert peer.side.inseq == 3


def test_close_drops_the_frames_not_yet_looked_at():
    """Events already made are still taken; bytes behind them are not read."""
    peer = client_up()
    peer.side.receive_data(market(4) + market(5))
    assert peer.side.next_event(peer.now) == GapFound(2, 3)
    peer.side.close()
    assert peer.events() == [GapUnfilled(2, 4)]


def test_what_was_sent_before_the_close_can_still_be_written():
    """The bytes of a numbered payload are never taken back."""
    peer = client_up()
    peer.side.send(subscribe(), peer.now)
    peer.side.close()
    assert peer.sent() == ["2 market_subscribe"]

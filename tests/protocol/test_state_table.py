"""The table of states: every change in it happens, every other is refused."""

import itertools

import pytest

from smarkets_pool.exceptions import UsageError
from smarkets_pool.protocol import TRANSITIONS, Cause, State
from smarkets_pool.protocol.states import change
from tests.rig.ends import (
    LOGIN,
    SESSION,
    client_up,
    login,
    login_response,
    logout,
    market,
    new_client,
    new_exchange,
)

PAIRS = list(itertools.product(State, Cause))
LEGAL = [(state, cause) for state, cause in PAIRS if cause in TRANSITIONS[state]]
ILLEGAL = [pair for pair in PAIRS if pair not in LEGAL]


def name(value):
    """``UP`` for the test's id."""
    return value.name


def login_sent():
    """A client that waits for its answer."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    return peer


def login_received():
    """An exchange that has not decided."""
    peer = new_exchange()
    peer.feed(login())
    return peer


def recovering():
    """A side that misses one number and saw the next."""
    peer = client_up()
    peer.feed(market(3))
    return peer


def logout_sent():
    """A side that waits for the confirmation."""
    peer = client_up()
    peer.side.logout(peer.now)
    return peer


def logout_received():
    """A side whose peer has logged out."""
    peer = client_up()
    peer.feed(logout(2))
    return peer


def closed():
    """A side that is done."""
    peer = client_up()
    peer.side.close()
    return peer


MAKE = {
    State.NEW: new_client,
    State.LOGIN_SENT: login_sent,
    State.LOGIN_RECEIVED: login_received,
    State.UP: client_up,
    State.RECOVERING: recovering,
    State.LOGOUT_SENT: logout_sent,
    State.LOGOUT_RECEIVED: logout_received,
    State.CLOSED: closed,
}
DO = {
    Cause.SEND_LOGIN: lambda peer: peer.side.login(LOGIN, peer.now),
    Cause.RECEIVE_LOGIN: lambda peer: peer.feed(login(1)),
    Cause.SEND_LOGIN_RESPONSE: lambda peer: peer.side.accept_login(SESSION, peer.now),
    Cause.RECEIVE_LOGIN_RESPONSE: lambda peer: peer.feed(login_response(1)),
    Cause.GAP_FOUND: lambda peer: peer.feed(market(3)),
    Cause.GAP_FILLED: lambda peer: peer.feed(market(2), market(3)),
    Cause.SEND_LOGOUT: lambda peer: peer.side.logout(peer.now),
    Cause.RECEIVE_LOGOUT: lambda peer: peer.feed(logout(peer.side.inseq)),
    Cause.CLOSE: lambda peer: peer.side.close(),
}
SENDING = [Cause.SEND_LOGIN, Cause.SEND_LOGIN_RESPONSE, Cause.SEND_LOGOUT]


@pytest.mark.parametrize("state", State, ids=name)
def test_every_state_can_be_reached(state):
    """By calls and frames alone, and the table has a row for it."""
    assert MAKE[state]().side.state is state
    assert state in TRANSITIONS


@pytest.mark.parametrize(("state", "cause"), LEGAL, ids=name)
def test_every_change_of_the_table_happens(state, cause):
    """The call or frame that stands for the cause leads where the table says."""
    peer = MAKE[state]()
    DO[cause](peer)
    assert peer.side.state is TRANSITIONS[state][cause]
    assert change(state, cause) is peer.side.state


@pytest.mark.parametrize(("state", "cause"), ILLEGAL, ids=name)
def test_every_other_change_is_refused(state, cause):
    """The error names the state and the cause."""
    with pytest.raises(UsageError) as caught:
        change(state, cause)
    assert state.name in str(caught.value)
    assert cause.value in str(caught.value)


@pytest.mark.parametrize(("state", "cause"), [pair for pair in ILLEGAL if pair[1] in SENDING], ids=name)
def test_a_call_that_the_table_does_not_allow_does_nothing(state, cause):
    """The call raises; state, numbers and bytes stay."""
    peer = MAKE[state]()
    peer.sent()
    before = peer.side.outseq
    with pytest.raises(UsageError):
        DO[cause](peer)
    assert peer.side.state is state
    assert peer.side.outseq == before
    assert peer.sent() == []


@pytest.mark.parametrize("state", State, ids=name)
def test_who_is_logged_in(state):
    """UP and RECOVERING only; only CLOSED wants the connection closed."""
    side = MAKE[state]().side
    assert side.logged_in is (state in (State.UP, State.RECOVERING))
    assert side.close_expected is (state is State.CLOSED)
    assert state.name in repr(side)


def test_closed_is_the_end():
    """No cause leads out of CLOSED, and every state can be closed."""
    assert set(TRANSITIONS[State.CLOSED].values()) == {State.CLOSED}
    assert all(row[Cause.CLOSE] is State.CLOSED for row in TRANSITIONS.values())

"""The states of one side of a session, and which change is legal.

A change that is not in ``TRANSITIONS`` does not happen: ``change`` is the only place that decides.
The table is role-free: a client sends the login and an exchange receives it.
"""

from __future__ import annotations

import enum

from smarkets_pool.exceptions import UsageError

__all__ = ["Cause", "State", "TRANSITIONS", "change"]


class State(enum.Enum):
    """Where one side of a session is."""

    NEW = "connected, nobody has logged in"
    LOGIN_SENT = "our login is on its way"
    LOGIN_RECEIVED = "the peer's login waits for our decision"
    UP = "every number so far is here"
    RECOVERING = "numbers are missing and were asked for"
    LOGOUT_SENT = "our logout is on its way"
    LOGOUT_RECEIVED = "the peer has logged out"
    CLOSED = "nothing more is read or sent"


class Cause(enum.Enum):
    """What changes a state."""

    SEND_LOGIN = "login sent"
    RECEIVE_LOGIN = "login received"
    SEND_LOGIN_RESPONSE = "login response sent"
    RECEIVE_LOGIN_RESPONSE = "login response received"
    GAP_FOUND = "gap found"
    GAP_FILLED = "gap filled"
    SEND_LOGOUT = "logout sent"
    RECEIVE_LOGOUT = "logout received"
    CLOSE = "closed"


TRANSITIONS: dict[State, dict[Cause, State]] = {
    State.NEW: {
        Cause.SEND_LOGIN: State.LOGIN_SENT,
        Cause.RECEIVE_LOGIN: State.LOGIN_RECEIVED,
        Cause.SEND_LOGOUT: State.LOGOUT_SENT,
        Cause.RECEIVE_LOGOUT: State.LOGOUT_RECEIVED,
        Cause.CLOSE: State.CLOSED,
    },
    State.LOGIN_SENT: {
        Cause.RECEIVE_LOGIN_RESPONSE: State.UP,
        Cause.SEND_LOGOUT: State.LOGOUT_SENT,
        Cause.RECEIVE_LOGOUT: State.LOGOUT_RECEIVED,
        Cause.CLOSE: State.CLOSED,
    },
    State.LOGIN_RECEIVED: {
        Cause.SEND_LOGIN_RESPONSE: State.UP,
        Cause.SEND_LOGOUT: State.LOGOUT_SENT,
        Cause.CLOSE: State.CLOSED,
    },
    State.UP: {
        Cause.GAP_FOUND: State.RECOVERING,
        Cause.SEND_LOGOUT: State.LOGOUT_SENT,
        Cause.RECEIVE_LOGOUT: State.LOGOUT_RECEIVED,
        Cause.CLOSE: State.CLOSED,
    },
    State.RECOVERING: {
        Cause.GAP_FILLED: State.UP,
        Cause.SEND_LOGOUT: State.LOGOUT_SENT,
        Cause.RECEIVE_LOGOUT: State.LOGOUT_RECEIVED,
        Cause.CLOSE: State.CLOSED,
    },
    State.LOGOUT_SENT: {
        Cause.RECEIVE_LOGOUT: State.CLOSED,
        Cause.CLOSE: State.CLOSED,
    },
    State.LOGOUT_RECEIVED: {
        Cause.SEND_LOGOUT: State.CLOSED,
        Cause.CLOSE: State.CLOSED,
    },
    State.CLOSED: {
        Cause.CLOSE: State.CLOSED,
    },
}


def change(state: State, cause: Cause) -> State:
    """The state after ``cause``.

    Raises:
        UsageError: the table has no such change; the text names both.
    """
    try:
        return TRANSITIONS[state][cause]
    except KeyError:
        raise UsageError(
            f"a session that is {state.name} ({state.value}) cannot have {cause.value}"
        ) from None

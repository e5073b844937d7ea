"""One side of one session as a pure state machine: bytes and ``now`` in, events and bytes out."""

from smarkets_pool.protocol.account import AccountSequence, AccountVerdict, Verdict
from smarkets_pool.protocol.events import (
    Event,
    Failed,
    GapFilled,
    GapFound,
    GapUnfilled,
    LoggedIn,
    LoginReceived,
    LogoutReceived,
    Probed,
    Received,
    ReplayAnswered,
    TimedOut,
)
from smarkets_pool.protocol.machine import SessionProtocol
from smarkets_pool.protocol.memory import Journal, SessionMemory
from smarkets_pool.protocol.states import TRANSITIONS, Cause, State
from smarkets_pool.protocol.timing import Timing

__all__ = [
    "AccountSequence",
    "AccountVerdict",
    "Cause",
    "Event",
    "Failed",
    "GapFilled",
    "GapFound",
    "GapUnfilled",
    "Journal",
    "LoggedIn",
    "LoginReceived",
    "LogoutReceived",
    "Probed",
    "Received",
    "ReplayAnswered",
    "SessionMemory",
    "SessionProtocol",
    "State",
    "TRANSITIONS",
    "TimedOut",
    "Timing",
    "Verdict",
]

"""Errors travel: a delivery that holds one can be copied, and one can be sent to another process."""

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from smarkets_pool import exceptions
from smarkets_pool.pool import MemberDownEvent

MADE = [
    exceptions.InvalidCallbackError(["one", "two"]),
    exceptions.SocketDisconnected(unread=2),
    exceptions.HeartbeatTimeout(3.0),
    exceptions.FrameTooLarge(2, 1),
    exceptions.SequenceGapError(4, 6, 1.5),
    exceptions.LoginError(7, "LOGOUT_UNAUTHORISED"),
    exceptions.LoggedOut(9, "LOGOUT_DOWNTIME"),
    exceptions.MemberDown("alice", "DOWN", "the peer closed"),
    exceptions.SendBufferFull("alice", 2, 1),
    exceptions.PoolError("1 account is not up", {"alice": "the peer closed"}),
]
WAYS = [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", WAYS, ids=["copy", "deepcopy", "pickle"])
def test_an_error_is_copied_as_it_is(error: exceptions.Error, way: Callable[[Any], Any]) -> None:
    """The same class, sentence and figures come out of a copy and a pickle."""
    copied = way(error)
    assert type(copied) is type(error)
    assert (str(copied), vars(copied)) == (str(error), vars(error))


def test_a_lifecycle_message_with_an_error_becomes_plain_data() -> None:
    """``dataclasses.asdict``, which copies deeply, gives member.down with its error intact."""
    error = exceptions.SequenceGapError(4, 6, 1.5)
    plain = dataclasses.asdict(MemberDownEvent(str(error), error, None))
    assert (plain["reason"], str(plain["error"]), plain["error"].first) == (str(error), str(error), 4)

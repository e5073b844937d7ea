"""What a session reports: plain values, in the order in which things happened."""

from __future__ import annotations

import dataclasses

from smarkets_pool.exceptions import ProtocolError
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = [
    "Event",
    "Failed",
    "GapFilled",
    "GapFound",
    "GapUnfilled",
    "LoggedIn",
    "LoginReceived",
    "LogoutReceived",
    "Probed",
    "Received",
    "ReplayAnswered",
    "TimedOut",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """One payload, every number before which has been reported (a logout may come early).

    ``data`` is the payload's bytes without header; ``received_at`` is the ``now`` of its last byte.
    """

    name: str
    # Neither is in the repr: a login's has the secret, and any is long.
    payload: seto.Payload = dataclasses.field(repr=False)
    data: bytes = dataclasses.field(repr=False)
    seq: int
    is_replay: bool
    received_at: float


@dataclasses.dataclass(frozen=True, slots=True)
class LoginReceived:
    """The peer wants to log in; answer with ``accept_login`` or ``logout(reason)`` before going on.

    ``session`` is the id of a session it wants to resume, ``first`` whether the number is 1.
    """

    login: seto.Login = dataclasses.field(repr=False)
    session: str | None
    seq: int

    @property
    def first(self) -> bool:
        """Whether the login may open a new session: its number is 1."""
        return self.seq == 1


@dataclasses.dataclass(frozen=True, slots=True)
class LoggedIn:
    """Our login was accepted; ``session`` is the session's id."""

    session: str
    email: str
    account_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class LogoutReceived:
    """The peer logged out: ``reason`` 0 stands for a logout without one or with an unknown one."""

    reason: int
    reason_name: str


@dataclasses.dataclass(frozen=True, slots=True)
class GapFound:
    """Numbers ``first`` to ``last`` did not arrive; a replay was asked for."""

    first: int
    last: int


@dataclasses.dataclass(frozen=True, slots=True)
class GapFilled:
    """Everything since ``first`` has been reported, up to ``last``, the highest number seen early."""

    first: int
    last: int


@dataclasses.dataclass(frozen=True, slots=True)
class GapUnfilled:
    """The session ended with numbers ``first`` to ``last`` still missing."""

    first: int
    last: int


@dataclasses.dataclass(frozen=True, slots=True)
class ReplayAnswered:
    """The peer asked for everything from ``first``.

    ``resent`` payloads went out again, ``gapfilled`` numbers were stood in for. ``withheld`` lists
    those of the latter that carried something: order creates too old to send again, and payloads
    that had left the journal.
    """

    first: int
    resent: int
    gapfilled: int
    withheld: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Probed:
    """No whole frame came for ``silence`` seconds; a ping was sent to ask."""

    silence: float


@dataclasses.dataclass(frozen=True, slots=True)
class TimedOut:
    """A wait of ``Timing`` ended: ``what`` is its name: login, logout, replay or silence."""

    what: str
    waited: float


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """The peer broke a rule; the session is closed and nothing after this can be read."""

    error: ProtocolError


Event = (
    Received
    | LoginReceived
    | LoggedIn
    | LogoutReceived
    | GapFound
    | GapFilled
    | GapUnfilled
    | ReplayAnswered
    | Probed
    | TimedOut
    | Failed
)

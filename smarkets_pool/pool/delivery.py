"""What handlers receive: frames and the life of a member, in one form and one order."""

from __future__ import annotations

import dataclasses
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic

from smarkets_pool.wire.payloads import MESSAGE_CLASSES, PAYLOAD_NAMES, REQUEST_NAMES
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    # Checkers know it, so nobody has to install it: a default is not in typing's own before Python 3.13.
    from typing_extensions import TypeVar

    from smarkets_pool.pool.member import Member

    #: With the default a bare ``Delivery`` is ``Delivery[Any]``, under strict settings too.
    M_co = TypeVar("M_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    M_co = TypeVar("M_co", covariant=True)

__all__ = [
    "DELIVERY_NAMES",
    "Delivery",
    "LIFECYCLE",
    "MARKET_NAMES",
    "NEVER_DELIVERED",
    "MemberDownEvent",
    "MemberGap",
    "MemberRecovering",
    "MemberSlowHandler",
    "MemberStalled",
    "MemberUp",
]


@dataclasses.dataclass(frozen=True, slots=True)
class MemberRecovering:
    """The member is true but incomplete. ``cause`` is "login" or "gap".

    After a login, ``resumed_from`` is the account's number the exchange was asked to go on from (None:
    it was asked for nothing). Until ``member.up`` only cancels are accepted by ``send``.
    """

    cause: str
    resumed_from: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class MemberUp:
    """The member is complete. ``cause`` is "login" or "gap"; ``session`` is the session's id."""

    cause: str
    session: str


@dataclasses.dataclass(frozen=True, slots=True)
class MemberDownEvent:
    """The connection was lost or could not be made.

    ``reason`` is a sentence, ``error`` what it was made from. ``retry_in`` is in seconds; None means
    there will be no further attempt until ``restart`` or ``update``.
    """

    reason: str
    error: BaseException
    retry_in: float | None

    @property
    def final(self) -> bool:
        """Whether this account is given up."""
        return self.retry_in is None


@dataclasses.dataclass(frozen=True, slots=True)
class MemberGap:
    """Numbers ``first`` to ``last`` are missing; delivered before anything that came after them.

    kind "stream": payloads of this session; ``recoverable`` while a replay is awaited, and once more
        with False if the session ended before it came (the resume then brings the account's events).
    kind "account": events of the account that the exchange no longer has; never recoverable.
    kind "sent": what we sent as ``first`` to ``last`` did not reach the exchange, which asked for it again;
        some of it was not repeated because it was too old (orders) or no longer kept. Never recoverable.
    kind "regressed": the exchange counts again from ``first`` although ``last`` was seen: it lost its
        state, and what it lost cannot be had.
    """

    kind: str
    first: int
    last: int
    recoverable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class MemberStalled:
    """The exchange has sent nothing for ``silence`` seconds; it was asked with a ping."""

    silence: float


@dataclasses.dataclass(frozen=True, slots=True)
class MemberSlowHandler:
    """The inbox is full, so reading stopped: ``frames`` and ``size`` (bytes) wait for the handlers.

    ``handler`` is the one that was running then, for ``running_for`` seconds. Delivered once until the
    handlers caught up, and logged at once. Heartbeats go on.
    """

    frames: int
    size: int
    handler: str
    running_for: float


#: Lifecycle name -> what its delivery carries as ``message``.
LIFECYCLE: dict[str, type] = {
    "member.recovering": MemberRecovering,
    "member.up": MemberUp,
    "member.down": MemberDownEvent,
    "member.gap": MemberGap,
    "member.stalled": MemberStalled,
    "member.slow_handler": MemberSlowHandler,
}
LIFECYCLE_NAMES = {cls: name for name, cls in LIFECYCLE.items()}

#: What only a client sends.
NEVER_DELIVERED = frozenset({*REQUEST_NAMES, "seto.login", "eto.login"})
#: Every name a pool's handler can be registered for: what can arrive.
DELIVERY_NAMES: tuple[str, ...] = (
    *(name for name in PAYLOAD_NAMES if name not in NEVER_DELIVERED),
    *LIFECYCLE,
)

#: Names whose message says which market it is about.
MARKET_NAMES = frozenset(
    name for name, cls in MESSAGE_CLASSES.items() if "market_id" in cls.DESCRIPTOR.fields_by_name
)


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery(Generic[M_co]):
    """One frame or one event of a member's life, as a handler gets it.

    For type checkers it is ``Delivery[seto.OrderExecuted]``, after its ``message``; ``pool.on`` with a class
    wants a handler that takes just that, or more. A bare ``Delivery`` says nothing about the message.

    account: our name of the account. member: the same as ``pool[account]``.
    name: such as ``seto.order_executed`` or ``member.up``.
    message: the typed message (``seto.OrderExecuted``), None for eto payloads without one, a plain
        dataclass of this module for ``member.*``.
    protobuf, bytes: the whole payload, parsed and as it came; None for ``member.*``.
    seq: its number in the session, 0 for ``member.*``. account_sequence: its number in the account's
        history, if it has one.
    is_replay: sent again by the exchange, though perhaps never seen here: what happened while the account
        was away arrives for the first time with it. Never skip a delivery for it.
    received_at: seconds on the monotonic clock.
    """

    account: str
    member: Member
    name: str
    message: M_co
    protobuf: seto.Payload | None
    bytes: bytes | None
    seq: int
    account_sequence: int | None
    is_replay: bool
    received_at: float

    if not TYPE_CHECKING:
        # typing's own would try to note the parameter on each ``Delivery[X](...)``, and a frozen dataclass
        # with slots answers that with a TypeError before Python 3.13.
        __class_getitem__ = classmethod(GenericAlias)

"""Rejections: each request about orders has its own, each rejection its own reasons and fields.

``RejectionForm`` says which, so that one can be made for any request, with the fields that link it to that
(fact sheet 3.2): for what is wrong with the request, because it is over a limit, or forced on purpose.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.message import Message

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.engine.answers import identity, optional
from smarkets_pool.exchange.engine.desk import Desk
from smarkets_pool.exchange.engine.effects import ToRequester, Work
from smarkets_pool.exchange.orders import Order
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["REJECTIONS", "Refusals"]


# --- one rejection per request -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RejectionForm:
    """How a request is refused: the message's class, the prefix and enum of its reasons, its fields."""

    message: type[Message]
    prefix: str
    reasons: Any
    fields: Callable[[Any, int, Order | None], dict[str, Any]]

    def number(self, reason: str) -> int:
        """The number of a reason's short name; UsageError names what there is."""
        names = [name.removeprefix(self.prefix) for name in self.reasons.keys()]  # noqa: SIM118
        if reason not in names:
            raise UsageError(f"{self.message.__name__} has no reason {reason!r}; it has {', '.join(names)}")
        return int(self.reasons.Value(self.prefix + reason))

    def name(self, number: int) -> str:
        """The short name of a reason's number, as ``order_next`` takes it."""
        name: str = self.reasons.Name(number).removeprefix(self.prefix)
        return f"replacement:{name}" if self.message is seto.OrderCancelReplaceRejected else name


def _create(message: seto.OrderCreate, seq: int, _order: Order | None) -> dict[str, Any]:
    return {
        "seq": seq,
        "reference": optional(message, "reference"),
        "label": optional(message, "label"),
    }


def _invalid(message: seto.OrderCreate, seq: int, _order: Order | None) -> dict[str, Any]:
    return {"seq": seq, "reference": optional(message, "reference")}


def _cancel(message: seto.OrderCancel, _seq: int, order: Order | None) -> dict[str, Any]:
    return {
        "order_id": message.order_id,
        "reference": optional(message, "reference"),
        **identity(order),
    }


def _replace(message: seto.OrderCancelReplace, _seq: int, order: Order | None) -> dict[str, Any]:
    return {
        "orig_order_id": message.orig_order_id,
        "reference": optional(message, "reference"),
        **identity(order),
    }


def _reduce(message: seto.OrderQuantityReduce, _seq: int, order: Order | None) -> dict[str, Any]:
    return {
        "order_id": message.order_id,
        "new_quantity": message.new_quantity,
        "reference": optional(message, "reference"),
        "label": None if order is None else order.label,
    }


def _cancel_all(message: seto.OrderCancelAll, _seq: int, _order: Order | None) -> dict[str, Any]:
    return {"reference": optional(message, "reference")}


#: Payload name without layer -> how it is refused.
REJECTIONS: dict[str, RejectionForm] = {
    "order_create": RejectionForm(seto.OrderRejected, "ORDER_REJECTED_", seto.OrderRejectedReason, _create),
    "order_cancel": RejectionForm(
        seto.OrderCancelRejected, "ORDER_CANCEL_REJECTED_", seto.OrderCancelRejectedReason, _cancel
    ),
    "order_cancel_all": RejectionForm(
        seto.OrderCancelAllRejected,
        "ORDER_CANCEL_ALL_REJECTED_",
        seto.OrderCancelAllRejectedReason,
        _cancel_all,
    ),
    "order_quantity_reduce": RejectionForm(
        seto.OrderQuantityReduceRejected,
        "ORDER_QUANTITY_REDUCE_REJECTED_",
        seto.OrderQuantityReduceRejectedReason,
        _reduce,
    ),
    "order_cancel_replace": RejectionForm(
        seto.OrderCancelRejected, "ORDER_CANCEL_REJECTED_", seto.OrderCancelRejectedReason, _replace
    ),
}
#: Validity is answered with a message of its own.
_INVALID = RejectionForm(seto.OrderInvalid, "ORDER_INVALID_", seto.OrderInvalidReason, _invalid)
#: Not the request is refused but what comes of it: the original is gone by then.
_REPLACEMENT = RejectionForm(
    seto.OrderCancelReplaceRejected,
    "ORDER_CANCEL_REPLACE_REJECTED_",
    seto.OrderCancelReplaceRejectedReason,
    _replace,
)
_REQUESTS: dict[type[Message], str] = {
    seto.OrderCreate: "order_create",
    seto.OrderCancel: "order_cancel",
    seto.OrderCancelAll: "order_cancel_all",
    seto.OrderQuantityReduce: "order_quantity_reduce",
    seto.OrderCancelReplace: "order_cancel_replace",
}


# --- those that wait ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Ordered:
    """A refusal that waits for its requests, so many times."""

    form: RejectionForm
    reason: int
    times: int


class Refusals:
    """Says no: to what is wrong, to what is too much, and to what an operator has ordered it to."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: dict[tuple[str, str], deque[_Ordered]] = {}

    def order_next(self, account: ExchangeAccount, request: str, reason: str, times: int) -> None:
        """Refuse the account's next ``times`` requests of that kind for that reason.

        ``reason`` is a short name of the request's rejection; an order's may be one of ``order_invalid``
        too, a replacement's ``replacement:REASON``, which lets the original go.
        """
        form = REJECTIONS.get(request)
        if form is None:
            raise UsageError(f"{request!r} is never refused; these are: {', '.join(REJECTIONS)}")
        if times < 1:
            raise UsageError(f"times is a whole number from 1, not {times}")
        if request == "order_create" and reason.startswith("INVALID_"):
            form = _INVALID
        elif request == "order_cancel_replace" and reason.startswith("replacement:"):
            form, reason = _REPLACEMENT, reason.removeprefix("replacement:")
        ordered = _Ordered(form, form.number(reason), times)
        self._waiting.setdefault((account.username, request), deque()).append(ordered)

    def waiting(self, account: ExchangeAccount) -> list[tuple[str, str, int]]:
        """What waits for the account: request, reason and how often, in the words of ``order_next``."""
        return [
            (request, ordered.form.name(ordered.reason), ordered.times)
            for request in REJECTIONS
            for ordered in self._waiting.get((account.username, request), ())
        ]

    def refuse(self, account: ExchangeAccount, message: Message, seq: int, work: Work) -> bool:
        """Answer a request with the refusal that waits for it, if one does."""
        ordered = self._take(account, _REQUESTS.get(type(message), ""), of_replacement=False)
        if ordered is None:
            return False
        if ordered.form is _INVALID:
            fields = _INVALID.fields(message, seq, None)
            invalid = seto.OrderInvalid(reasons=[seto.OrderInvalidReason.Name(ordered.reason)], **fields)
            work.messages.append(ToRequester(invalid))
        else:
            self.reject(account, message, seq, ordered.reason, work)
        return True

    def replacement_reason(self, account: ExchangeAccount) -> seto.OrderCancelReplaceRejectedReason | None:
        """The refusal that waits for a new order in place of an old one."""
        ordered = self._take(account, "order_cancel_replace", of_replacement=True)
        return None if ordered is None else cast("seto.OrderCancelReplaceRejectedReason", ordered.reason)

    def _take(self, account: ExchangeAccount, request: str, *, of_replacement: bool) -> _Ordered | None:
        waiting = self._waiting.get((account.username, request))
        if not waiting or (waiting[0].form is _REPLACEMENT) != of_replacement:
            return None
        waiting[0].times -= 1
        return waiting[0] if waiting[0].times else waiting.popleft()

    def throttled(self, account: ExchangeAccount, message: Message, seq: int, work: Work) -> bool:
        """Reject a request as over the limit; False if it has no rejection at all.

        ``order_cancel_all_rejected`` has only UNKNOWN_ERROR to say.
        """
        form = REJECTIONS.get(_REQUESTS.get(type(message), ""))
        if form is None:
            return False
        known = form.message is not seto.OrderCancelAllRejected
        reason = "THROTTLE_EXCEEDED" if known else "UNKNOWN_ERROR"
        self.reject(account, message, seq, form.number(reason), work)
        return True

    def reject(self, account: ExchangeAccount, message: Message, seq: int, reason: int, work: Work) -> None:
        """Answer a request with its rejection, for the reason of that number."""
        form = REJECTIONS[_REQUESTS[type(message)]]
        named: Any = message
        order_id = getattr(named, "order_id", 0) or getattr(named, "orig_order_id", 0)
        order = account.orders.get(order_id)
        fields = form.fields(message, seq, order)
        if (
            reason == seto.ORDER_REJECTED_SERVICE_TEMPORARILY_UNAVAILABLE
            and form is REJECTIONS["order_create"]
        ):
            # Whoever answers for a backend that is away does not know the request's number (fact sheet 3.5).
            del fields["seq"]
        rejection = form.message(reason=reason, **fields)
        self._desk.tell(work, account, rejection)

"""Orders that come in: created or put in place of others, then matched (fact sheet 3.3).

Cancel-replace (choice 31): the new order takes over what the original executed, so ``quantity``,
``total_executed_quantity`` and the average price go on counting, and ``quantity_left`` is what is open.
Refusals that leave the original alone are ``order_cancel_rejected`` (a filled original: TOO_LATE);
those that come after it was taken out are ``order_cancel_replace_rejected``. A price outside 1..9999 has
no reason in either and is answered with ``order_invalid``.
"""

from __future__ import annotations

from typing import Any

from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.engine.answers import identity, optional
from smarkets_pool.exchange.engine.desk import Desk
from smarkets_pool.exchange.engine.effects import ToRequester, Work
from smarkets_pool.exchange.engine.judging import Judge
from smarkets_pool.exchange.engine.refusing import Refusals
from smarkets_pool.exchange.orders import Order
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Placing"]


class Placing:
    """Answers ``order_create`` and ``order_cancel_replace``."""

    def __init__(self, desk: Desk, judge: Judge, refusals: Refusals) -> None:
        self._desk = desk
        self._judge = judge
        self._refusals = refusals

    # --- order_create ---

    def create(self, account: ExchangeAccount, message: seto.OrderCreate, seq: int, work: Work) -> None:
        """Invalid, rejected, or accepted and matched."""
        reference = optional(message, "reference")
        reasons = self._judge.invalid(account, message)
        if reasons is not None:
            invalid = seto.OrderInvalid(seq=seq, reasons=reasons, reference=reference)
            work.messages.append(ToRequester(invalid))
            return
        order = Order(
            order_id=self._desk.next_order_id(),
            account=account,
            market_id=message.market_id,
            contract_id=message.contract_id,
            side=message.side,
            price=message.price,
            quantity=message.quantity,
            tif=message.tif,
            seq=seq,
            label=optional(message, "label"),
            reference=reference,
            session=work.session,
        )
        reason = self._judge.order(order)
        if reason is not None:
            self._refusals.reject(account, message, seq, reason, work)
            return
        self._desk.admit(order)
        self._desk.tell_owner(work, order, self._desk.answers.accepted(order))
        self._match(order, message.maq, work)

    # --- matching ---

    def _match(self, order: Order, maq: int, work: Work) -> None:
        """Let an accepted order meet the book; the rest comes to rest or is cancelled."""
        desk = self._desk
        market = desk.markets[order.market_id]
        book = market.books[order.contract_id]
        desk.touch(work, market, order.contract_id)
        if desk.settings.crossed_self == "cancel_resting":
            self._cancel_own(order, work)
        fills = book.fills_for(order)
        if desk.settings.honours_maq and sum(quantity for _resting, quantity in fills) < maq:
            desk.cancel_rest(order, seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY, None, work)
            return
        for resting, quantity in fills:
            desk.trade(order, resting, quantity, work)
        if order.state != "live":
            return
        if order.tif == seto.IMMEDIATE_OR_CANCEL:
            desk.cancel_rest(order, seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY, None, work)
        else:
            desk.rest(order)

    def _cancel_own(self, order: Order, work: Work) -> None:
        """Take out the account's own orders that this one would meet; behind them may be more."""
        book = self._desk.markets[order.market_id].books[order.contract_id]
        while own := [resting for resting, _ in book.fills_for(order) if resting.account is order.account]:
            for resting in own:
                self._desk.cancel_resting(resting, seto.ORDER_CANCELLED_MEMBER_REQUESTED, None, work)

    # --- order_cancel_replace ---

    def replace(
        self, account: ExchangeAccount, message: seto.OrderCancelReplace, seq: int, work: Work
    ) -> None:
        """Invalid, rejected with the original left alone, or the original's end."""
        desk = self._desk
        reasons = self._judge.invalid_replacement(message)
        if reasons is not None:
            invalid = seto.OrderInvalid(seq=seq, reasons=reasons, reference=optional(message, "reference"))
            work.messages.append(ToRequester(invalid))
            return
        original = account.orders.get(message.orig_order_id)
        reason = self._judge.replacing(original, message)
        if reason is not None:
            self._refusals.reject(account, message, seq, reason, work)
            return
        assert original is not None
        desk.take_out(original, work)
        desk.end(original, "replaced")
        self._place_replacement(self._replacement(original, message, seq, work), original, work)

    def _replacement(self, original: Order, message: seto.OrderCancelReplace, seq: int, work: Work) -> Order:
        """The new order; it goes on counting from the original's executions, and keeps its label."""
        return Order(
            order_id=self._desk.next_order_id(),
            account=original.account,
            market_id=original.market_id,
            contract_id=original.contract_id,
            side=original.side,
            price=message.price,
            quantity=self._judge.replacing_quantity(original, message),
            tif=original.tif,
            seq=seq,
            label=message.label if message.HasField("label") else original.label,
            reference=optional(message, "reference"),
            session=work.session,
            executed_quantity=original.executed_quantity,
            executed_points=original.executed_points,
        )

    def _place_replacement(self, order: Order, original: Order, work: Work) -> None:
        """Pending, then accepted and its executions, or rejected; never order_cancelled."""
        desk, account = self._desk, order.account
        counts_executed = desk.settings.replace_counts_executed
        terms: dict[str, Any] = {
            "price": order.price,
            "quantity": order.quantity if counts_executed else order.available_quantity,
        }
        common: dict[str, Any] = {
            "order_id": order.order_id,
            "orig_order_id": original.order_id,
            "reference": order.reference,
            **identity(order),
        }
        desk.tell_owner(work, order, seto.OrderPendingReplace(**terms, **common))
        reason = self._refusals.replacement_reason(account) or self._judge.replacement(order)
        if reason is not None:
            order.state = "cancelled"
            desk.tell_owner(work, order, seto.OrderCancelReplaceRejected(reason=reason, **common))
            return
        desk.admit(order)
        account.hand_over(original, order)
        accepted = seto.OrderCancelReplaceAccepted(quantity_left=order.available_quantity, **terms, **common)
        desk.tell_owner(work, order, accepted)
        self._match(order, 0, work)

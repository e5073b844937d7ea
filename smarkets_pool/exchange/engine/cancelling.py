"""Orders that go, or become smaller, because somebody asks."""

from __future__ import annotations

from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.engine.answers import optional
from smarkets_pool.exchange.engine.desk import Desk
from smarkets_pool.exchange.engine.effects import Work
from smarkets_pool.exchange.engine.judging import Judge
from smarkets_pool.exchange.engine.refusing import Refusals
from smarkets_pool.exchange.money import liability_points
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Cancelling"]


class Cancelling:
    """Answers ``order_cancel``, ``order_cancel_all`` and ``order_quantity_reduce``."""

    def __init__(self, desk: Desk, judge: Judge, refusals: Refusals) -> None:
        self._desk = desk
        self._judge = judge
        self._refusals = refusals

    def cancel(self, account: ExchangeAccount, message: seto.OrderCancel, seq: int, work: Work) -> None:
        """One order, if it is live."""
        desk = self._desk
        order = account.orders.get(message.order_id)
        reference = optional(message, "reference")
        reason = self._judge.cancelling(order)
        if order is not None and reason is None:
            desk.cancel_resting(order, seto.ORDER_CANCELLED_MEMBER_REQUESTED, reference, work)
            return
        assert reason is not None
        self._refusals.reject(account, message, seq, reason, work)

    def cancel_all(
        self, account: ExchangeAccount, message: seto.OrderCancelAll, seq: int, work: Work
    ) -> None:
        """Accepted, and one order_cancelled per order; which comes first is choice 32."""
        desk = self._desk
        reference = optional(message, "reference")
        if not desk.backend_up:
            reason = seto.ORDER_CANCEL_ALL_REJECTED_UNKNOWN_ERROR
            self._refusals.reject(account, message, seq, reason, work)
            return
        first = desk.settings.cancel_all_accepted_first
        if first:
            desk.tell(work, account, seto.OrderCancelAllAccepted(reference=reference))
        self.cancel_all_of(
            account,
            seto.ORDER_CANCELLED_MEMBER_REQUESTED,
            market_id=optional(message, "market_id"),
            reference=reference,
            work=work,
        )
        if not first:
            desk.tell(work, account, seto.OrderCancelAllAccepted(reference=reference))

    def cancel_all_of(
        self,
        account: ExchangeAccount,
        reason: seto.OrderCancelledReason,
        *,
        market_id: int | None = None,
        reference: int | None = None,
        session: str = "",
        work: Work,
    ) -> None:
        """The account's open orders, oldest first; of one market or session if that is named."""
        for order in list(account.live_orders.values()):
            if market_id is not None and order.market_id != market_id:
                continue
            if session and order.session != session:
                continue
            self._desk.cancel_resting(order, reason, reference, work)

    def reduce(
        self, account: ExchangeAccount, message: seto.OrderQuantityReduce, seq: int, work: Work
    ) -> None:
        """Choice 30: the new total lies above what was executed and below the old total."""
        desk = self._desk
        order = account.orders.get(message.order_id)
        reference = optional(message, "reference")
        new_quantity = message.new_quantity
        if order is not None and not desk.settings.reduce_counts_executed:
            new_quantity += order.executed_quantity
        reason = self._judge.reducing(order, new_quantity)
        if reason is not None:
            self._refusals.reject(account, message, seq, reason, work)
            return
        assert order is not None
        market = desk.markets[order.market_id]
        freed = order.quantity - new_quantity
        market.books[order.contract_id].reduce(order, new_quantity)
        desk.touch(work, market, order.contract_id)
        account.release(liability_points(order.side, order.price, freed))
        desk.tell_owner(work, order, desk.answers.quantity_reduced(order, reference))

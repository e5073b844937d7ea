"""The messages about an order, with every field the schema has for them (fact sheet 3.4)."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.money import told_available, told_exposure
from smarkets_pool.exchange.orders import Order, Trade
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Answers", "identity", "optional"]


def optional(message: Message, field: str) -> Any:
    """The value of an optional field, None if it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def identity(order: Order | None) -> dict[str, Any]:
    """The fields that say which order a message is about, as far as the optional ones go."""
    if order is None:
        return {}
    return {
        "market_id": order.market_id,
        "contract_id": order.contract_id,
        "side": order.side,
        "label": order.label,
    }


class Answers:
    """Builds messages; what they say is what the order and its account are at that moment."""

    def __init__(self, settings: ExchangeSettings) -> None:
        self._settings = settings

    # --- parts ---

    def _balances(self, account: ExchangeAccount) -> dict[str, Any]:
        return {
            "available_balance": told_available(account.available_points, self._settings),
            "exposure": told_exposure(account.exposure_points, self._settings),
        }

    def _executed_so_far(self, order: Order) -> dict[str, Any]:
        return {
            "orig_price": order.price,
            "executed_quantity": order.executed_quantity,
            "executed_avg_price": order.executed_avg_price,
        }

    def _open(self, order: Order) -> int:
        return order.available_quantity if order.state == "live" else 0

    # --- orders ---

    def accepted(self, order: Order) -> seto.OrderAccepted:
        """The order stands."""
        return seto.OrderAccepted(
            seq=order.seq,
            order_id=order.order_id,
            price=order.price,
            quantity=order.quantity,
            reference=order.reference,
            **identity(order),
            **self._balances(order.account),
        )

    def cancelled(
        self, order: Order, reason: seto.OrderCancelledReason, reference: int | None
    ) -> seto.OrderCancelled:
        """What was open of it is gone."""
        return seto.OrderCancelled(
            order_id=order.order_id,
            reason=reason,
            reference=reference,
            **self._executed_so_far(order),
            **identity(order),
            **self._balances(order.account),
        )

    def quantity_reduced(self, order: Order, reference: int | None) -> seto.OrderQuantityReduced:
        """It is smaller now; ``new_quantity`` as the request counts (choice 30)."""
        counts_executed = self._settings.reduce_counts_executed
        return seto.OrderQuantityReduced(
            order_id=order.order_id,
            reason=seto.ORDER_QUANTITY_REDUCED_MEMBER_REQUESTED,
            reference=reference,
            new_quantity=order.quantity if counts_executed else order.available_quantity,
            **self._executed_so_far(order),
            **identity(order),
        )

    def reduced(self, order: Order, source_quantity: int) -> seto.OrderReduced:
        """A reduction factor changed what it executed."""
        return seto.OrderReduced(
            order_id=order.order_id,
            price=order.executed_avg_price,
            quantity=order.executed_quantity,
            source_quantity=source_quantity,
            available_quantity=self._open(order),
            **self._executed_so_far(order),
            **identity(order),
        )

    def voided(self, order: Order, source_quantity: int) -> seto.OrderVoided:
        """``quantity`` is what is left of it, ``source_quantity`` what it was."""
        return seto.OrderVoided(
            order_id=order.order_id,
            quantity=order.quantity,
            source_quantity=source_quantity,
            **self._executed_so_far(order),
            **identity(order),
        )

    # --- executions ---

    def executed(self, order: Order, trade: Trade) -> seto.OrderExecuted:
        """One fill."""
        return seto.OrderExecuted(
            order_id=order.order_id,
            price=trade.price,
            quantity=trade.quantity,
            pending_timeout=self._pending_timeout(trade),
            total_executed_quantity=order.executed_quantity,
            executed_avg_price=order.executed_avg_price,
            available_quantity=order.available_quantity,
            orig_price=order.price,
            **identity(order),
            **self._balances(order.account),
        )

    def _pending_timeout(self, trade: Trade) -> int | None:
        if trade.state != "pending":
            return None
        pending = self._settings.managed_pending_ms
        return pending if self._settings.pending_timeout_unit == "ms" else -(-pending // 1000)

    def execute_confirmed(self, order: Order, trade: Trade) -> seto.OrderExecuteConfirmed:
        """A pending fill is final."""
        return seto.OrderExecuteConfirmed(
            order_id=order.order_id, price=trade.price, quantity=trade.quantity, label=order.label
        )

    def execute_voided(self, order: Order, trade: Trade) -> seto.OrderExecutedVoid:
        """A fill was undone."""
        return seto.OrderExecutedVoid(
            order_id=order.order_id,
            price=trade.price,
            quantity=trade.quantity,
            available_quantity=self._open(order),
            **self._executed_so_far(order),
            **identity(order),
            **self._balances(order.account),
        )

    # --- accounts ---

    def balance_changed(self, account: ExchangeAccount, reason: str) -> seto.BalanceChanged:
        """The balance as it is now."""
        return seto.BalanceChanged(reason=reason, **self._balances(account))

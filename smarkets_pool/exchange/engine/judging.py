"""Why a request is refused: decisions alone, nothing is changed here.

How an order is judged, the first objection wins (fact sheet 3.4 and 3.5): validity (quantity, then
price), the exchange's own condition (backend, room), the account, the market, the contract, their
states, the limits, the funds, own resting orders. An enum number that this schema does not know is not
read as its default: the order is invalid, without a reason, since the protocol has none for it. So is
one whose label is too long to come back on every message about it.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.engine.desk import Desk
from smarkets_pool.exchange.money import liability_points
from smarkets_pool.exchange.orders import Order
from smarkets_pool.wire.payloads import enum_name
from smarkets_pool.wire.schema import seto_pb2 as seto
from smarkets_pool.wire.units import MAX_PRICE, MIN_PRICE

__all__ = ["Judge"]

#: What a market's state, or a contract's, has against new orders, and against those that replace others.
#: The numbers of both kinds of states are the same.
_MARKET_STATE_REJECTS: dict[int, seto.OrderRejectedReason] = {
    seto.MARKET_STATE_NEW: seto.ORDER_REJECTED_MARKET_NOT_OPEN,
    seto.MARKET_STATE_HALTED: seto.ORDER_REJECTED_MARKET_HALTED,
    seto.MARKET_STATE_SETTLED: seto.ORDER_REJECTED_MARKET_SETTLED,
    seto.MARKET_STATE_VOIDED: seto.ORDER_REJECTED_MARKET_SETTLED,
}
_CONTRACT_STATE_REJECTS: dict[int, seto.OrderRejectedReason] = {
    seto.CONTRACT_STATE_NEW: seto.ORDER_REJECTED_MARKET_NOT_OPEN,
    seto.CONTRACT_STATE_HALTED: seto.ORDER_REJECTED_MARKET_HALTED,
    seto.CONTRACT_STATE_SETTLED: seto.ORDER_REJECTED_CONTRACT_SETTLED,
    seto.CONTRACT_STATE_VOIDED: seto.ORDER_REJECTED_CONTRACT_SETTLED,
}
#: The same objections in the words of a replacement's rejection.
_REPLACE_REJECTS: dict[int, seto.OrderCancelReplaceRejectedReason] = {
    seto.ORDER_REJECTED_MARKET_NOT_OPEN: seto.ORDER_CANCEL_REPLACE_REJECTED_MARKET_NOT_OPEN,
    seto.ORDER_REJECTED_MARKET_HALTED: seto.ORDER_CANCEL_REPLACE_REJECTED_MARKET_HALTED,
    seto.ORDER_REJECTED_MARKET_SETTLED: seto.ORDER_CANCEL_REPLACE_REJECTED_MARKET_SETTLED,
    seto.ORDER_REJECTED_CONTRACT_SETTLED: seto.ORDER_CANCEL_REPLACE_REJECTED_CONTRACT_SETTLED,
}


class Judge:
    """Says what is wrong with a request, or None."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._settings = desk.settings

    # --- validity ---

    def invalid(
        self, account: ExchangeAccount, message: seto.OrderCreate
    ) -> list[seto.OrderInvalidReason] | None:
        """The reasons for which an order is invalid (there may be none that has a name), or None."""
        settings = self._settings
        reasons: list[seto.OrderInvalidReason] = []
        if not settings.min_quantity <= message.quantity <= settings.max_quantity:
            reasons.append(seto.ORDER_INVALID_INVALID_QUANTITY)
        # An absent price reads as 0. The schema allows it, for order types that never came.
        if self._bad_price(message.price):
            reasons.append(seto.ORDER_INVALID_INVALID_PRICE)
        unknown = _has_unknown_enum(message, ("type", "side", "quantity_type", "price_type", "tif"))
        repeated = message.HasField("reference") and self._reference_taken(account, message.reference)
        if reasons or unknown or repeated or self._too_long(message.label):
            return reasons
        return None

    def invalid_replacement(self, message: seto.OrderCancelReplace) -> list[seto.OrderInvalidReason] | None:
        """The same for a replacement: no reason of its own answers fits a bad price."""
        bad_price = self._bad_price(message.price)
        unknown = _has_unknown_enum(message, ("price_type", "quantity_type"))
        if bad_price or unknown or self._too_long(message.label):
            return [seto.ORDER_INVALID_INVALID_PRICE] if bad_price else []
        return None

    def _bad_price(self, price: int) -> bool:
        return not MIN_PRICE <= price <= MAX_PRICE or price % self._settings.price_step != 0

    def _too_long(self, label: str) -> bool:
        return len(label.encode()) > self._settings.max_label

    def _reference_taken(self, account: ExchangeAccount, reference: int) -> bool:
        return self._settings.unique_references and any(
            order.reference == reference for order in account.live_orders.values()
        )

    # --- new orders ---

    def order(self, order: Order) -> seto.OrderRejectedReason | None:
        """Why a valid order is rejected."""
        desk, settings, account = self._desk, self._settings, order.account
        if not desk.backend_up:
            return seto.ORDER_REJECTED_SERVICE_TEMPORARILY_UNAVAILABLE
        if settings.max_live_orders and desk.live_orders >= settings.max_live_orders:
            return seto.ORDER_REJECTED_CAPACITY_REACHED
        if account.is_suspended:
            return seto.ORDER_REJECTED_ACCOUNT_SUSPENDED
        if desk.trading_suspended or account.trading_suspended:
            return seto.ORDER_REJECTED_TRADING_SUSPENDED
        if order.market_id not in desk.markets:
            return seto.ORDER_REJECTED_MARKET_NOT_FOUND
        if order.contract_id not in desk.markets[order.market_id].books:
            return seto.ORDER_REJECTED_CONTRACT_NOT_FOUND
        return self._state_objection(order) or self._money_objection(order) or self._own_objection(order)

    def _state_objection(self, order: Order) -> seto.OrderRejectedReason | None:
        market = self._desk.markets[order.market_id]
        return _MARKET_STATE_REJECTS.get(market.state) or _CONTRACT_STATE_REJECTS.get(
            market.contract_state(order.contract_id)
        )

    def _money_objection(self, order: Order) -> seto.OrderRejectedReason | None:
        account, needed = order.account, order.open_liability
        if account.stake_limit is not None and needed > account.stake_limit:
            return seto.ORDER_REJECTED_STAKE_LIMIT_EXCEEDED
        limit = account.exposure_limit
        if limit is not None and account.liability_points + needed > limit:
            return seto.ORDER_REJECTED_LIMIT_EXCEEDED
        if needed > account.available_points:
            return seto.ORDER_REJECTED_INSUFFICIENT_FUNDS
        return None

    def _own_objection(self, order: Order) -> seto.OrderRejectedReason | None:
        if self._settings.crossed_self == "reject" and self._would_cross_own(order):
            return seto.ORDER_REJECTED_CROSSED_SELF
        return None

    def _would_cross_own(self, order: Order) -> bool:
        return self._desk.markets[order.market_id].books[order.contract_id].would_cross_own(order)

    # --- replacements ---

    def replacing(
        self, original: Order | None, message: seto.OrderCancelReplace
    ) -> seto.OrderCancelRejectedReason | None:
        """Why the original is left alone."""
        desk = self._desk
        if not desk.backend_up:
            return seto.ORDER_CANCEL_REJECTED_SERVICE_TEMPORARILY_UNAVAILABLE
        if original is None:
            return seto.ORDER_CANCEL_REJECTED_NOT_FOUND
        if original.state == "filled":
            return seto.ORDER_CANCEL_REJECTED_TOO_LATE
        if original.state != "live":
            return seto.ORDER_CANCEL_REJECTED_NOT_LIVE
        account = original.account
        if account.is_suspended:
            return seto.ORDER_CANCEL_REJECTED_ACCOUNT_SUSPENDED
        if desk.trading_suspended or account.trading_suspended:
            return seto.ORDER_CANCEL_REJECTED_TRADING_SUSPENDED
        if message.HasField("market_id") and message.market_id != original.market_id:
            return seto.ORDER_CANCEL_REJECTED_MARKET_NOT_FOUND
        quantity = self.replacing_quantity(original, message)
        if not self._replaceable_quantity(original, quantity):
            return seto.ORDER_CANCEL_REJECTED_INVALID_QUANTITY
        return self._replacing_money(original, message.price, quantity)

    def replacing_quantity(self, original: Order, message: seto.OrderCancelReplace) -> int:
        """The total of the new order, which goes on counting from the original's executions (choice 31)."""
        counted = 0 if self._settings.replace_counts_executed else original.executed_quantity
        return message.quantity + counted

    def _replaceable_quantity(self, original: Order, quantity: int) -> bool:
        lowest = max(self._settings.min_quantity, original.executed_quantity + 1)
        return lowest <= quantity <= self._settings.max_quantity

    def _replacing_money(
        self, original: Order, price: int, quantity: int
    ) -> seto.OrderCancelRejectedReason | None:
        account = original.account
        needed = liability_points(original.side, price, quantity - original.executed_quantity)
        if account.stake_limit is not None and needed > account.stake_limit:
            return seto.ORDER_CANCEL_REJECTED_STAKE_LIMIT_EXCEEDED
        freed = original.open_liability
        limit = account.exposure_limit
        if limit is not None and account.liability_points - freed + needed > limit:
            return seto.ORDER_CANCEL_REJECTED_LIMIT_EXCEEDED
        if needed > account.available_points + freed:
            return seto.ORDER_CANCEL_REJECTED_INSUFFICIENT_FUNDS
        return None

    def replacement(self, order: Order) -> seto.OrderCancelReplaceRejectedReason | None:
        """Why the new order cannot stand, now that the original is gone."""
        objection = self._state_objection(order)
        if objection is not None:
            return _REPLACE_REJECTS[objection]
        if self._settings.crossed_self == "reject" and self._would_cross_own(order):
            return seto.ORDER_CANCEL_REPLACE_REJECTED_CROSSED_SELF
        return None

    # --- the rest ---

    def cancelling(self, order: Order | None) -> seto.OrderCancelRejectedReason | None:
        """Why an order is not cancelled."""
        if not self._desk.backend_up:
            return seto.ORDER_CANCEL_REJECTED_SERVICE_TEMPORARILY_UNAVAILABLE
        if order is None:
            return seto.ORDER_CANCEL_REJECTED_NOT_FOUND
        return None if order.state == "live" else seto.ORDER_CANCEL_REJECTED_NOT_LIVE

    def reducing(
        self, order: Order | None, new_quantity: int
    ) -> seto.OrderQuantityReduceRejectedReason | None:
        """Why an order stays as large as it is; ``new_quantity`` is a total (choice 30)."""
        if not self._desk.backend_up:
            return seto.ORDER_QUANTITY_REDUCE_REJECTED_CAPACITY_REACHED
        if order is None:
            return seto.ORDER_QUANTITY_REDUCE_REJECTED_NOT_FOUND
        if order.state != "live":
            return seto.ORDER_QUANTITY_REDUCE_REJECTED_NOT_LIVE
        if not order.executed_quantity < new_quantity < order.quantity:
            return seto.ORDER_QUANTITY_REDUCE_REJECTED_INVALID_NEW_QUANTITY
        return None


def _has_unknown_enum(message: Message, fields: Iterable[str]) -> bool:
    return any(
        not message.HasField(field) and enum_name(message, field).startswith("UNKNOWN") for field in fields
    )

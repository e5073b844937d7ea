"""Orders, and the trades between them: what the exchange knows of each, and nothing that it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from smarkets_pool.exchange.money import liability_points
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    from smarkets_pool.exchange.accounts import ExchangeAccount

__all__ = ["Order", "OrderState", "Trade"]

#: ``replaced`` is what a cancel-replace leaves of the original; its executions go on in the new order.
OrderState = Literal["live", "filled", "cancelled", "voided", "replaced"]


@dataclass(slots=True, eq=False, kw_only=True)
class Order:
    """One order. ``quantity`` is its total; what it executed so far is part of it.

    ``executed_points`` is the sum of price times quantity over its executions, ``seq`` the number of
    the request that made it, ``session`` the session that sent that.
    """

    order_id: int
    account: ExchangeAccount
    market_id: int
    contract_id: int
    side: seto.Side
    price: int
    quantity: int
    tif: seto.TimeInForceType
    seq: int
    label: str | None = None
    reference: int | None = None
    session: str = ""
    executed_quantity: int = 0
    executed_points: int = 0
    state: OrderState = "live"
    trades: list[Trade] = field(default_factory=list)

    @property
    def available_quantity(self) -> int:
        """What is still open."""
        return self.quantity - self.executed_quantity

    @property
    def open_liability(self) -> int:
        """What the open part would risk at its limit, in points."""
        return liability_points(self.side, self.price, self.available_quantity)

    @property
    def executed_avg_price(self) -> int:
        """Mean price of the executions, half up to a whole price; 0 if there were none."""
        if not self.executed_quantity:
            return 0
        return (2 * self.executed_points + self.executed_quantity) // (2 * self.executed_quantity)

    def execute(self, price: int, quantity: int) -> None:
        """Count one execution."""
        self.executed_quantity += quantity
        self.executed_points += price * quantity
        if not self.available_quantity:
            self.state = "filled"

    def undo(self, price: int, quantity: int) -> None:
        """Take an execution back; its quantity is gone and does not open again."""
        self.quantity -= quantity
        self.executed_quantity -= quantity
        self.executed_points -= price * quantity

    def reprice(self, price: int, quantity: int, new_price: int, new_quantity: int) -> None:
        """Change an execution, as a reduction factor does."""
        self.quantity += new_quantity - quantity
        self.executed_quantity += new_quantity - quantity
        self.executed_points += new_price * new_quantity - price * quantity


@dataclass(slots=True, eq=False, kw_only=True)
class Trade:
    """One match of two orders. ``liquidity`` is the side of the one that rested.

    ``pending`` until ``pending_until_us`` (microseconds since the epoch) in managed markets.
    """

    trade_id: int
    market_id: int
    contract_id: int
    price: int
    quantity: int
    buy: Order
    sell: Order
    liquidity: seto.Side
    pending_until_us: int | None = None
    state: Literal["final", "pending", "voided"] = "final"

    @property
    def orders(self) -> tuple[Order, Order]:
        """Who entered it later first: the taker, then the order that rested."""
        return (self.sell, self.buy) if self.liquidity == seto.SIDE_BUY else (self.buy, self.sell)

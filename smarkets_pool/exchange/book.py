"""The order book of one contract: resting orders, best price first, oldest first within a price.

Rules (fact sheet 3.3):

* An incoming buy meets the resting sells at its price or lower, cheapest first; a sell meets the buys
  at its price or higher, dearest first. Within a price the oldest order comes first.
* The resting order's price is the price of the execution.
* An order that loses quantity keeps its place; one that comes again goes to the end.

:meth:`OrderBook.fills_for` decides and changes nothing, so that whoever asks can still refuse. The book
never matches by itself and knows no money.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sortedcontainers import SortedDict

from smarkets_pool.exchange.orders import Order
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["OrderBook"]


def _opposite(side: seto.Side) -> seto.Side:
    return seto.SIDE_SELL if side == seto.SIDE_BUY else seto.SIDE_BUY


class _Level:
    """The resting orders at one price, oldest first, and their open quantity together."""

    __slots__ = ("orders", "price", "quantity")

    def __init__(self, price: int) -> None:
        self.price = price
        self.quantity = 0
        self.orders: dict[int, Order] = {}


class OrderBook:
    """The resting orders of one contract. ``version`` is another one after each change of its levels."""

    def __init__(self) -> None:
        self.version = 0
        # Keys are ranks, not prices, so that the best level is the first one on either side.
        self._sides: dict[int, Any] = {seto.SIDE_BUY: SortedDict(), seto.SIDE_SELL: SortedDict()}

    def __repr__(self) -> str:
        return f"<OrderBook best bid {self.best(seto.SIDE_BUY)}, best offer {self.best(seto.SIDE_SELL)}>"

    @staticmethod
    def _rank(side: int, price: int) -> int:
        return -price if side == seto.SIDE_BUY else price

    def _level(self, side: int, price: int) -> _Level | None:
        level: _Level | None = self._sides[side].get(self._rank(side, price))
        return level

    # --- reading ---

    def best(self, side: seto.Side) -> int | None:
        """The highest resting buy or the lowest resting sell."""
        for price, _quantity in self.levels(side, 1):
            return price
        return None

    def levels(self, side: seto.Side, depth: int) -> list[tuple[int, int]]:
        """(price, open quantity) of the best ``depth`` levels, best first; 0 means all."""
        return [(level.price, level.quantity) for level in islice(self._sides[side].values(), depth or None)]

    def quantity_at(self, side: seto.Side, price: int) -> int:
        """Open quantity at one price, 0 if there is none."""
        level = self._level(side, price)
        return level.quantity if level is not None else 0

    def orders(self) -> list[Order]:
        """All resting orders: buys, then sells, in the order in which they would be matched."""
        return [
            order
            for side in (seto.SIDE_BUY, seto.SIDE_SELL)
            for level in self._sides[side].values()
            for order in level.orders.values()
        ]

    def fills_for(self, order: Order) -> list[tuple[Order, int]]:
        """The resting orders that ``order`` would meet now, and how much of each."""
        fills = []
        left = order.available_quantity
        for resting in self._within_reach(order):
            if not left:
                break
            quantity = min(left, resting.available_quantity)
            fills.append((resting, quantity))
            left -= quantity
        return fills

    def _within_reach(self, order: Order) -> Iterator[Order]:
        side = _opposite(order.side)
        limit = self._rank(side, order.price)
        for rank, level in self._sides[side].items():
            if rank > limit:
                return
            yield from level.orders.values()

    def would_cross_own(self, order: Order) -> bool:
        """Whether any part of ``order`` would meet a resting order of its own account (choice 23).

        One that stands behind enough orders of others is not met and does not count.
        """
        return any(resting.account is order.account for resting, _quantity in self.fills_for(order))

    # --- changing ---

    def add(self, order: Order) -> None:
        """Let ``order`` rest, behind those that are at its price already."""
        rank = self._rank(order.side, order.price)
        level: _Level = self._sides[order.side].setdefault(rank, _Level(order.price))
        level.orders[order.order_id] = order
        level.quantity += order.available_quantity
        self.version += 1

    def remove(self, order: Order) -> None:
        """Take a resting order out.

        Raises:
            KeyError: it does not rest here.
        """
        rank = self._rank(order.side, order.price)
        level: _Level = self._sides[order.side][rank]
        del level.orders[order.order_id]
        level.quantity -= order.available_quantity
        if not level.orders:
            del self._sides[order.side][rank]
        self.version += 1

    def apply_fill(self, resting: Order, quantity: int) -> None:
        """Execute ``quantity`` of a resting order at its price; a filled one leaves the book."""
        if quantity == resting.available_quantity:
            self.remove(resting)
        else:
            self._shrink(resting, quantity)
        resting.execute(resting.price, quantity)

    def reduce(self, order: Order, new_quantity: int) -> None:
        """Lower the total of a resting order, which keeps its place (choice 30)."""
        self._shrink(order, order.quantity - new_quantity)
        order.quantity = new_quantity

    def _shrink(self, order: Order, quantity: int) -> None:
        level: _Level = self._sides[order.side][self._rank(order.side, order.price)]
        level.quantity -= quantity
        self.version += 1

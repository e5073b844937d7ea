"""Markets: the books of their contracts, what was traded, and what is published of it.

The snapshot (``market_quotes``) is everything visible; between two snapshots a subscriber gets *deltas*
(``contract_quotes``). Rules of a delta (fact sheet 3.8):

* Only levels that changed, each with its new quantity, not the difference; 0 removes a level.
* Only the best ``visible_depth`` levels of a side are visible. A level that a better one pushes out is
  **not** reported as 0. One that comes back in is sent with the quantity it has by then.
* ``executions`` are the trades behind the change; ``liquidity`` is the side of the *resting* order.
* ``last_execution`` and the high and low price are for the snapshot: executions tell a subscriber how
  they move (choice 37).

So at every visible level a subscriber is always right; at levels that left the window he may keep
"ghosts". One delta covers all that one request changed in a contract.
"""

from __future__ import annotations

from collections.abc import Iterable

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.exchange.book import OrderBook
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Market", "Window"]


class Window:
    """One contract: its trades so far, and the levels that were published last."""

    def __init__(self, market_id: int, contract_id: int, book: OrderBook) -> None:
        self.market_id = market_id
        self.contract_id = contract_id
        self.last_execution: seto.Execution | None = None
        self.high_price: int | None = None
        self.low_price: int | None = None
        self._book = book
        self._executions: list[seto.Execution] = []
        self._published: dict[int, dict[int, int]] = {seto.SIDE_BUY: {}, seto.SIDE_SELL: {}}

    def record_execution(self, price: int, quantity: int, liquidity: seto.Side, now_us: int) -> None:
        """Note a trade, for the next delta and for snapshots."""
        execution = seto.Execution(price=price, quantity=quantity, liquidity=liquidity, microseconds=now_us)
        self._executions.append(execution)
        self.last_execution = execution
        self.high_price = price if self.high_price is None else max(self.high_price, price)
        self.low_price = price if self.low_price is None else min(self.low_price, price)

    def delta(self, visible_depth: int) -> seto.ContractQuotes | None:
        """What changed since the last delta, or None if nothing visible did. It counts as published."""
        bids = self._changes(seto.SIDE_BUY, visible_depth)
        offers = self._changes(seto.SIDE_SELL, visible_depth)
        executions, self._executions = self._executions, []
        if not bids and not offers and not executions:
            return None
        return seto.ContractQuotes(
            market_id=self.market_id,
            contract_id=self.contract_id,
            bids=bids,
            offers=offers,
            executions=executions,
        )

    def _changes(self, side: seto.Side, visible_depth: int) -> list[seto.Quote]:
        before = self._published[side]
        now = dict(self._book.levels(side, visible_depth))
        self._published[side] = now
        changes = {price: quantity for price, quantity in now.items() if before.get(price) != quantity}
        for price in before.keys() - now.keys():
            # Gone from view is not gone: only an empty level is reported.
            if not self._book.quantity_at(side, price):
                changes[price] = 0
        best_first = sorted(changes, reverse=side == seto.SIDE_BUY)
        return [seto.Quote(price=price, quantity=changes[price]) for price in best_first]

    def snapshot(self, visible_depth: int) -> seto.ContractQuotes | None:
        """All that is visible now, or None if there are neither quotes nor a last execution."""
        bids = self._book.levels(seto.SIDE_BUY, visible_depth)
        offers = self._book.levels(seto.SIDE_SELL, visible_depth)
        if not bids and not offers and self.last_execution is None:
            return None
        return seto.ContractQuotes(
            market_id=self.market_id,
            contract_id=self.contract_id,
            bids=[seto.Quote(price=price, quantity=quantity) for price, quantity in bids],
            offers=[seto.Quote(price=price, quantity=quantity) for price, quantity in offers],
            last_execution=self.last_execution,
            high_price=self.high_price,
            low_price=self.low_price,
        )


class Market:
    """A market with its contracts. ``executed_volume`` counts every trade once (choice 38)."""

    def __init__(
        self,
        market_id: int,
        contract_ids: Iterable[int],
        state: seto.MarketStateType = seto.MARKET_STATE_OPEN,
    ) -> None:
        self.market_id = market_id
        self.state = state
        self.executed_volume = 0
        self.books: dict[int, OrderBook] = {}
        self.windows: dict[int, Window] = {}
        for contract_id in contract_ids:
            if contract_id in self.books:
                raise ConfigError(f"market {market_id} has contract {contract_id} twice")
            self.books[contract_id] = OrderBook()
            self.windows[contract_id] = Window(market_id, contract_id, self.books[contract_id])

    def __repr__(self) -> str:
        return (
            f"<Market {self.market_id} {seto.MarketStateType.Name(self.state)} contracts={list(self.books)}>"
        )

    def record_execution(
        self, contract_id: int, price: int, quantity: int, liquidity: seto.Side, now_us: int
    ) -> None:
        """Note a trade; ``liquidity`` is the side of the resting order."""
        self.executed_volume += quantity
        self.windows[contract_id].record_execution(price, quantity, liquidity, now_us)

    def delta(self, contract_id: int, visible_depth: int) -> seto.ContractQuotes | None:
        """What is to be published of a contract after a request, or None."""
        return self.windows[contract_id].delta(visible_depth)

    def snapshot(self, visible_depth: int) -> seto.MarketQuotes:
        """Everything visible of the market now. Contracts with nothing to show are left out."""
        found = (window.snapshot(visible_depth) for window in self.windows.values())
        return seto.MarketQuotes(
            market_id=self.market_id,
            contract_quotes=[quotes for quotes in found if quotes is not None],
            executed_volume=self.executed_volume,
        )

    def market_state(self) -> seto.MarketState:
        """The message that tells the present state."""
        return seto.MarketState(market_id=self.market_id, state=self.state)

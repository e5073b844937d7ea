"""Markets: the books of their contracts, what was traded, and what is published of it.

The snapshot (``market_quotes``) is everything visible; between two snapshots a subscriber gets *deltas*
(``contract_quotes``). Rules of a delta (fact sheet 3.8):

* Only levels that changed, each with its new quantity, not the difference; 0 removes a level.
* Only the best ``visible_depth`` levels of a side are visible. A level that a better one pushes out is
  **not** reported as 0. One that comes back in is sent with the quantity it has by then.
* ``executions`` are the trades behind the change; ``liquidity`` is the side of the *resting* order.
* ``last_execution`` and the high and low price are for the snapshot: executions tell a subscriber how
  they move (choice 37; a setting puts the last execution into deltas too).

So at every visible level a subscriber is always right; at levels that left the window he may keep
"ghosts", unless ``reports_leaving_levels`` says otherwise. One delta covers all that one request changed
in a contract.

A contract is in the state of its market unless it was given one of its own, such as SETTLED or REDUCED;
only those stand in ``market_state``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.exchange.book import OrderBook
from smarkets_pool.exchange.orders import Trade
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["ContractCondition", "Market", "Window"]

#: A contract in one of these is over: it is not traded and cannot win.
_OVER = frozenset({seto.CONTRACT_STATE_SETTLED, seto.CONTRACT_STATE_VOIDED})


@dataclasses.dataclass(frozen=True, slots=True)
class ContractCondition:
    """The state of a contract that is not simply its market's."""

    state: seto.ContractStateType
    reduce_type: seto.ReduceType | None = None
    reduce_factor: int | None = None


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

    def delta(
        self, visible_depth: int, *, reports_leaving: bool = False, with_last_execution: bool = False
    ) -> seto.ContractQuotes | None:
        """What changed since the last delta, or None if nothing visible did. It counts as published."""
        bids = self._changes(seto.SIDE_BUY, visible_depth, reports_leaving)
        offers = self._changes(seto.SIDE_SELL, visible_depth, reports_leaving)
        executions, self._executions = self._executions, []
        if not bids and not offers and not executions:
            return None
        return seto.ContractQuotes(
            market_id=self.market_id,
            contract_id=self.contract_id,
            bids=bids,
            offers=offers,
            executions=executions,
            last_execution=self.last_execution if with_last_execution and executions else None,
        )

    def _changes(self, side: seto.Side, visible_depth: int, reports_leaving: bool) -> list[seto.Quote]:
        before = self._published[side]
        now = dict(self._book.levels(side, visible_depth))
        self._published[side] = now
        changes = {price: quantity for price, quantity in now.items() if before.get(price) != quantity}
        for price in before.keys() - now.keys():
            # Gone from view is not gone: only an empty level is reported.
            if reports_leaving or not self._book.quantity_at(side, price):
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
    """A market with its contracts.

    ``executed_volume`` counts every trade once (choice 38). ``trades`` are those whose bets are still on.
    In a ``managed`` market executions are pending for a while.
    """

    def __init__(
        self,
        market_id: int,
        contract_ids: Iterable[int],
        state: seto.MarketStateType = seto.MARKET_STATE_OPEN,
    ) -> None:
        self.market_id = market_id
        self.state = state
        self.reason = ""
        self.managed = False
        self.executed_volume = 0
        self.trades: dict[int, Trade] = {}
        self.books: dict[int, OrderBook] = {}
        self.windows: dict[int, Window] = {}
        self.conditions: dict[int, ContractCondition] = {}
        for contract_id in contract_ids:
            if contract_id in self.books:
                raise ConfigError(f"market {market_id} has contract {contract_id} twice")
            self.books[contract_id] = OrderBook()
            self.windows[contract_id] = Window(market_id, contract_id, self.books[contract_id])

    def __repr__(self) -> str:
        return (
            f"<Market {self.market_id} {seto.MarketStateType.Name(self.state)} contracts={list(self.books)}>"
        )

    @property
    def is_over(self) -> bool:
        """Settled or voided: nothing happens here any more."""
        return self.state in (seto.MARKET_STATE_SETTLED, seto.MARKET_STATE_VOIDED)

    @property
    def version(self) -> tuple[object, ...]:
        """Another one after each change of what a new subscriber is told."""
        books = (book.version for book in self.books.values())
        return self.state, self.reason, self.managed, tuple(self.conditions.items()), *books

    def contract_state(self, contract_id: int) -> int:
        """A ContractStateType; the numbers of the market's states are the same."""
        condition = self.conditions.get(contract_id)
        if condition is None or (self.is_over and condition.state not in _OVER):
            return self.state
        return condition.state

    def open_contracts(self) -> list[int]:
        """The contracts that can still win."""
        return [] if self.is_over else self.undecided_contracts()

    def undecided_contracts(self) -> list[int]:
        """The contracts that were not settled or voided by themselves, whatever the market is."""
        decided = {number for number, condition in self.conditions.items() if condition.state in _OVER}
        return [contract_id for contract_id in self.books if contract_id not in decided]

    def record_execution(
        self, contract_id: int, price: int, quantity: int, liquidity: seto.Side, now_us: int
    ) -> None:
        """Note a trade; ``liquidity`` is the side of the resting order."""
        self.executed_volume += quantity
        self.windows[contract_id].record_execution(price, quantity, liquidity, now_us)

    def delta(
        self,
        contract_id: int,
        visible_depth: int,
        *,
        reports_leaving: bool = False,
        with_last_execution: bool = False,
    ) -> seto.ContractQuotes | None:
        """What is to be published of a contract after a request, or None."""
        return self.windows[contract_id].delta(
            visible_depth, reports_leaving=reports_leaving, with_last_execution=with_last_execution
        )

    def snapshot(self, visible_depth: int, *, counts_both_sides: bool = False) -> seto.MarketQuotes:
        """Everything visible of the market now. Contracts with nothing to show are left out."""
        found = (window.snapshot(visible_depth) for window in self.windows.values())
        return seto.MarketQuotes(
            market_id=self.market_id,
            contract_quotes=[quotes for quotes in found if quotes is not None],
            executed_volume=self.executed_volume * (2 if counts_both_sides else 1),
        )

    def market_state(self) -> seto.MarketState:
        """The message that tells the present state."""
        return seto.MarketState(
            market_id=self.market_id,
            state=self.state,
            reason=self.reason or None,
            contracts=[
                seto.ContractState(
                    contract_id=contract_id,
                    state=condition.state,
                    reduce_type=condition.reduce_type,
                    reduce_factor=condition.reduce_factor,
                )
                for contract_id, condition in self.conditions.items()
            ],
        )

    def managed_state(self) -> seto.MarketManagedState:
        """The message that tells whether executions are pending for a while."""
        return seto.MarketManagedState(
            market_id=self.market_id,
            managed_state=seto.MARKET_MANAGED if self.managed else seto.MARKET_UNMANAGED,
        )

"""What becomes of executed bets: confirmed, voided, reduced, settled. Money moves only here.

* A contract's winner is paid: the buyer of ``quantity`` at ``price`` wins ``quantity * (10000 - price)``
  points from its seller, or loses ``quantity * price`` to him. Nothing is created, nothing vanishes.
* A voided trade gives both sides their risk back; the voided quantity does not open again.
* A reduction factor takes ``factor / whole`` of what was executed (fact sheet 3.8, choice 34).
  QUANTITY: of every fill's quantity. PRICE: the fill's decimal odds shrink by it, that is, its price
  grows and its quantity shrinks so that the buyer's stake stays. Either way nobody risks more than
  before: what does not divide is left away.
* Settling and voiding a market confirms what was pending before it, and ends with ``balance_changed``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from smarkets_pool.exchange.engine.desk import Desk
from smarkets_pool.exchange.engine.effects import Work
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.money import PRICE_WHOLE, liability_points, winnings_points
from smarkets_pool.exchange.orders import Order, Trade
from smarkets_pool.wire.schema import seto_pb2 as seto
from smarkets_pool.wire.units import MAX_PRICE

__all__ = ["Bookkeeping"]

_VOID = "void"
_REDUCTION = "reduction"


class Bookkeeping:
    """Carries out what happens to trades."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # --- pending ---

    def confirm(self, trade: Trade, work: Work) -> None:
        """A pending trade is final; one that is not pending stays as it is."""
        if trade.state != "pending":
            return
        trade.state, trade.pending_until_us = "final", None
        for order in trade.orders:
            self._desk.tell_owner(work, order, self._desk.answers.execute_confirmed(order, trade))

    # --- voiding ---

    def void(self, trade: Trade, work: Work) -> None:
        """Undo one trade: both sides hear ``order_execute_voided``."""
        market = self._desk.markets[trade.market_id]
        self._undo(trade, market)
        for order in trade.orders:
            self._desk.tell_owner(work, order, self._desk.answers.execute_voided(order, trade))

    def void_order(self, order: Order, work: Work) -> None:
        """Undo an order: its own side hears ``order_voided``, those it traded with of each fill."""
        desk = self._desk
        source_quantity = order.quantity
        trades = list(order.trades)
        if order.state == "live":
            desk.take_out(order, work)
            open_quantity = order.available_quantity
            desk.end(order, "voided")
            order.quantity -= open_quantity
            # order_voided says nothing of the money that is free now.
            work.balances[order.account] = _VOID
        order.state = "voided"
        for trade in trades:
            self._undo(trade, desk.markets[trade.market_id])
        desk.tell_owner(work, order, desk.answers.voided(order, source_quantity))
        for trade in trades:
            other = trade.sell if trade.buy is order else trade.buy
            desk.tell_owner(work, other, desk.answers.execute_voided(other, trade))
        self._tell_balances(trades, _VOID, work)

    def void_all(self, market: Market, contracts: Collection[int], work: Work) -> None:
        """Undo every trade of these contracts: each order that had any hears ``order_voided`` once."""
        trades = self._trades_of(market, contracts)
        source = {order: order.quantity for trade in trades for order in trade.orders}
        for trade in trades:
            self._undo(trade, market)
        for order, source_quantity in source.items():
            self._desk.tell_owner(work, order, self._desk.answers.voided(order, source_quantity))
        self._tell_balances(trades, _VOID, work)

    def _undo(self, trade: Trade, market: Market) -> None:
        trade.state = "voided"
        for order in trade.orders:
            order.account.bet(market, order, trade.price, -trade.quantity)
            order.undo(trade.price, trade.quantity)
            if order.state == "filled" and not order.executed_quantity:
                order.state = "voided"
        self._desk.drop_trade(trade, market)

    # --- reducing ---

    def reduce(
        self, market: Market, contract_id: int, factor: int, kind: seto.ReduceType, work: Work
    ) -> None:
        """Apply a reduction factor to every trade of a contract."""
        trades = self._trades_of(market, [contract_id])
        source = {order: order.executed_quantity for trade in trades for order in trade.orders}
        for trade in trades:
            price, quantity = self.reduced(trade.price, trade.quantity, factor, kind)
            for order in trade.orders:
                order.account.bet(market, order, trade.price, -trade.quantity)
                order.account.bet(market, order, price, quantity)
                order.reprice(trade.price, trade.quantity, price, quantity)
            trade.price, trade.quantity = price, quantity
        for order, source_quantity in source.items():
            self._desk.tell_owner(work, order, self._desk.answers.reduced(order, source_quantity))
        self._tell_balances(trades, _REDUCTION, work)

    def reduced(self, price: int, quantity: int, factor: int, kind: seto.ReduceType) -> tuple[int, int]:
        """Price and quantity of a fill after a reduction factor."""
        whole = self._desk.settings.reduce_factor_whole
        left = quantity * (whole - factor) // whole
        if kind == seto.REDUCE_TYPE_QUANTITY:
            return price, left
        # Nothing is left of it: the price is of no account, and must stay one.
        new_price = MAX_PRICE if factor == whole else min(MAX_PRICE, price * whole // (whole - factor))
        stake, risk_of_seller = price * quantity, (PRICE_WHOLE - price) * quantity
        return new_price, min(left, stake // new_price, risk_of_seller // (PRICE_WHOLE - new_price))

    # --- settling ---

    def settle(
        self, market: Market, contracts: Collection[int], winners: Collection[int], work: Work
    ) -> None:
        """Pay all bets of these contracts."""
        trades = self._trades_of(market, contracts)
        for trade in trades:
            self.confirm(trade, work)
        for trade in trades:
            self._pay(trade, market, won=trade.contract_id in winners)
        for account in self._desk.accounts:
            for contract_id in contracts:
                account.close_bets(market.market_id, contract_id)
        self._tell_balances(trades, self._desk.settings.settlement_reason, work)

    def _pay(self, trade: Trade, market: Market, *, won: bool) -> None:
        for order in trade.orders:
            gains = won == (order.side == seto.SIDE_BUY)
            points = (
                winnings_points(order.side, trade.price, trade.quantity)
                if gains
                else -liability_points(order.side, trade.price, trade.quantity)
            )
            order.account.bet(market, order, trade.price, -trade.quantity)
            order.account.cash_points += points
        self._desk.drop_trade(trade, market)

    # --- what they share ---

    def _trades_of(self, market: Market, contracts: Collection[int]) -> list[Trade]:
        return [trade for trade in market.trades.values() if trade.contract_id in contracts]

    def _tell_balances(self, trades: Iterable[Trade], reason: str, work: Work) -> None:
        for trade in trades:
            for order in trade.orders:
                work.balances[order.account] = reason

"""``Desk``: what all parts of the engine work on, and the few moves that they share.

Each of these moves keeps accounts, books and markets in step: an order that leaves a book is released
in its account, a fill changes both orders, both accounts and the market.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count

from google.protobuf.message import Message

from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.exchange.accounts import Accounts, ExchangeAccount
from smarkets_pool.exchange.engine.answers import Answers
from smarkets_pool.exchange.engine.effects import Effect, ToAccount, ToMarket, Work
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.money import liability_points
from smarkets_pool.exchange.orders import Order, OrderState, Trade
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.wire.payloads import message_name
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["FIRST_ORDER_ID", "Desk"]

# Above 32 bits, so that a client that keeps order ids in 32 finds out here.
FIRST_ORDER_ID = 1_000_000_000_001


class Desk:
    """Accounts, markets, and the conditions they trade under.

    Raises:
        ConfigError: two markets have the same id.
    """

    def __init__(
        self,
        settings: ExchangeSettings,
        truth: Truth,
        accounts: Accounts,
        markets: Iterable[Market],
        first_order_id: int,
    ) -> None:
        self.settings = settings
        self.truth = truth
        self.accounts = accounts
        self.answers = Answers(settings)
        self.markets: dict[int, Market] = {}
        for market in markets:
            self.add_market(market)
        #: Whether whatever keeps the books answers at all.
        self.backend_up = True
        self.trading_suspended = False
        self.live_orders = 0
        self._order_ids = count(first_order_id)
        self._trade_ids = count(1)
        self._pending: list[tuple[int, int, Trade]] = []

    # --- finding ---

    def add_market(self, market: Market) -> None:
        """Take a market in."""
        if market.market_id in self.markets:
            raise ConfigError(f"market {market.market_id} is there twice")
        self.markets[market.market_id] = market

    def market(self, market_id: int) -> Market:
        """The market, for an operator's verb; UsageError if there is none."""
        market = self.markets.get(market_id)
        if market is None:
            raise UsageError(f"there is no market {market_id!r}; there are {_some(self.markets)}")
        return market

    def contract(self, market_id: int, contract_id: int) -> Market:
        """The market that has this contract; UsageError if there is none."""
        market = self.market(market_id)
        if contract_id not in market.books:
            raise UsageError(
                f"market {market_id} has no contract {contract_id!r}; it has {_some(market.books)}"
            )
        return market

    def account(self, username: str) -> ExchangeAccount:
        """The account; UsageError if there is none."""
        try:
            return self.accounts[username]
        except KeyError:
            names = _some(account.username for account in self.accounts)
            raise UsageError(f"no account here has the user name {username!r}; there are {names}") from None

    def order(self, order_id: int) -> Order:
        """The order; UsageError if nobody has it."""
        for account in self.accounts:
            if order_id in account.orders:
                return account.orders[order_id]
        raise UsageError(f"there is no order {order_id!r}")

    # --- telling ---

    def tell(self, work: Work, account: ExchangeAccount, message: Message, session: str = "") -> None:
        """Make ``message`` the account's next event: number it, keep it, record it."""
        sequence = account.stamp(message)
        name = message_name(type(message)) or type(message).__name__
        self.truth.record_event(account.username, sequence, name, message, away=account.online == 0)
        sessions = tuple(dict.fromkeys(name for name in (session, work.session) if name))
        work.messages.append(ToAccount(account, message, sessions))

    def tell_owner(self, work: Work, order: Order, message: Message) -> None:
        """The same for an event of an order."""
        self.tell(work, order.account, message, order.session)

    def touch(self, work: Work, market: Market, contract_id: int) -> None:
        """Quotes of a contract may have changed."""
        work.touched[market, contract_id] = None

    def effects(self, work: Work) -> list[Effect]:
        """What was announced, then quotes and messages (choice 24), then balances."""
        settings = self.settings
        quotes: list[Effect] = []
        for market, contract_id in work.touched:
            delta = market.delta(
                contract_id,
                settings.visible_depth,
                reports_leaving=settings.reports_leaving_levels,
                with_last_execution=settings.deltas_carry_last_execution,
            )
            if delta is not None:
                quotes.append(ToMarket(market.market_id, delta))
        ordered = [quotes, work.messages] if settings.quotes_first else [work.messages, quotes]
        balances = [
            ToAccount(account, self.answers.balance_changed(account, reason))
            for account, reason in work.balances.items()
        ]
        return [*work.announced, *ordered[0], *ordered[1], *balances]

    # --- orders ---

    def next_order_id(self) -> int:
        """The number of a new order."""
        return next(self._order_ids)

    def admit(self, order: Order) -> None:
        """Take an order in: its money is set aside."""
        order.account.reserve(order.open_liability)
        order.account.admit(order)
        self.live_orders += 1

    def rest(self, order: Order) -> None:
        """Let an order come to rest in its book."""
        self.markets[order.market_id].books[order.contract_id].add(order)

    def take_out(self, order: Order, work: Work) -> None:
        """Out of its book."""
        market = self.markets[order.market_id]
        market.books[order.contract_id].remove(order)
        self.touch(work, market, order.contract_id)

    def end(self, order: Order, state: OrderState) -> None:
        """End an order that is in no book (any more): the money of its open part is free again."""
        order.account.release(order.open_liability)
        order.state = state
        order.account.retire(order)
        self.live_orders -= 1

    def cancel_rest(
        self, order: Order, reason: seto.OrderCancelledReason, reference: int | None, work: Work
    ) -> None:
        """End an order that is in no book; only the open rest goes, executions stand."""
        self.end(order, "cancelled")
        self.tell_owner(work, order, self.answers.cancelled(order, reason, reference))

    def cancel_resting(
        self, order: Order, reason: seto.OrderCancelledReason, reference: int | None, work: Work
    ) -> None:
        """Take an order out of its book and end it."""
        self.take_out(order, work)
        self.cancel_rest(order, reason, reference, work)

    # --- trades ---

    def trade(self, taker: Order, resting: Order, quantity: int, work: Work) -> None:
        """One fill between ``taker`` and a resting order, at the latter's price."""
        market, price = self.markets[taker.market_id], resting.price
        pending_ms = self.settings.managed_pending_ms if market.managed else 0
        buy, sell = (taker, resting) if taker.side == seto.SIDE_BUY else (resting, taker)
        trade = Trade(
            trade_id=next(self._trade_ids),
            market_id=market.market_id,
            contract_id=taker.contract_id,
            price=price,
            quantity=quantity,
            buy=buy,
            sell=sell,
            liquidity=resting.side,
        )
        if pending_ms:
            trade.state, trade.pending_until_us = "pending", work.now_us + pending_ms * 1000
            heapq.heappush(self._pending, (trade.pending_until_us, trade.trade_id, trade))
        market.trades[trade.trade_id] = trade
        market.books[taker.contract_id].apply_fill(resting, quantity)
        taker.execute(price, quantity)
        market.record_execution(taker.contract_id, price, quantity, resting.side, work.now_us)
        for order in trade.orders:
            self._book_fill(order, trade, market)
            self.tell_owner(work, order, self.answers.executed(order, trade))

    def _book_fill(self, order: Order, trade: Trade, market: Market) -> None:
        """The order had its limit set aside; now it risks the trade's price, which may be better."""
        account = order.account
        account.release(liability_points(order.side, order.price, trade.quantity))
        account.bet(market, order, trade.price, trade.quantity)
        order.trades.append(trade)
        if order.state == "filled":
            account.retire(order)
            self.live_orders -= 1

    def drop_trade(self, trade: Trade, market: Market) -> None:
        """The bets of a trade are over, paid or given back."""
        del market.trades[trade.trade_id]
        for order in trade.orders:
            order.account.drop_trade(order, trade)

    def pending_due_us(self) -> int | None:
        """When the next pending trade is to be confirmed."""
        while self._pending and self._pending[0][2].state != "pending":
            heapq.heappop(self._pending)
        return self._pending[0][0] if self._pending else None

    def take_due(self, now_us: int) -> list[Trade]:
        """The pending trades whose time has come, in order."""
        due = []
        while (when := self.pending_due_us()) is not None and when <= now_us:
            due.append(heapq.heappop(self._pending)[2])
        return due


def _some(names: Iterable[object]) -> str:
    """A list for an error's sentence, not longer than a line."""
    all_names = [str(name) for name in names]
    shown = ", ".join(all_names[:8]) or "none"
    return shown if len(all_names) <= 8 else f"{shown} and {len(all_names) - 8} more"

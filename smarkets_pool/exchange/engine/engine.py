"""The exchange's rules: a request goes in, what has to be sent to whom comes out.

The engine is pure. It reads no clock (``now_us``, microseconds since the epoch, comes in), sends nothing
and knows no session but by its name; it returns *effects* (``effects.py``). The same calls in the same
order give the same books and the same effects.

The effects of one request come in the order in which they are to be sent: quote deltas, at most one per
contract, then the events (choice 24), ``order_accepted`` before the executions of that order (fact sheet
3.4). A market's new state comes before both, balances after a settlement behind them.

Where to look: ``judging`` says what is wrong with a request, ``placing`` and ``cancelling`` answer it,
``operating`` has the verbs of the exchange's staff, ``bets`` moves money, ``answers`` builds messages, and
``desk`` is what they all work on.

Not here: throttles, settings of sessions and subscriptions are the sessions' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import Message

from smarkets_pool.exchange.accounts import Accounts, ExchangeAccount
from smarkets_pool.exchange.engine.bets import Bookkeeping
from smarkets_pool.exchange.engine.cancelling import Cancelling
from smarkets_pool.exchange.engine.changes import Change, Operated, Requested
from smarkets_pool.exchange.engine.desk import FIRST_ORDER_ID, Desk
from smarkets_pool.exchange.engine.effects import Effect, ToRequester, Work
from smarkets_pool.exchange.engine.judging import Judge
from smarkets_pool.exchange.engine.operating import Operating
from smarkets_pool.exchange.engine.placing import Placing
from smarkets_pool.exchange.engine.refusing import Refusals
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Engine"]

_Handler = Callable[[ExchangeAccount, Any, int, Work], None]


class Engine:
    """Accounts, markets and the rules between them.

    ``on_change`` is called with each change that was carried out, in order: what alters books or
    accounts, asked by a session or by an operator.

    Raises:
        ConfigError: two markets have the same id.
    """

    def __init__(
        self,
        settings: ExchangeSettings,
        truth: Truth,
        accounts: Accounts,
        markets: Iterable[Market],
        *,
        first_order_id: int = FIRST_ORDER_ID,
    ) -> None:
        self.settings = settings
        self.truth = truth
        self.accounts = accounts
        self.on_change: Callable[[Change], None] | None = None
        self._desk = desk = Desk(settings, truth, accounts, markets, first_order_id)
        self.markets = desk.markets
        judge, self._refusals = Judge(desk), Refusals(desk)
        placing, cancelling = Placing(desk, judge, self._refusals), Cancelling(desk, judge, self._refusals)
        self._operating = Operating(desk, cancelling, Bookkeeping(desk), self._refusals)
        self._handlers: dict[type[Message], _Handler] = {
            seto.OrderCreate: placing.create,
            seto.OrderCancel: cancelling.cancel,
            seto.OrderCancelAll: cancelling.cancel_all,
            seto.OrderQuantityReduce: cancelling.reduce,
            seto.OrderCancelReplace: placing.replace,
        }

    def __repr__(self) -> str:
        return f"<Engine: {len(self.accounts)} accounts, {len(self.markets)} markets>"

    # --- requests of sessions ---

    def handle(
        self, account: ExchangeAccount, message: Message, *, seq: int, now_us: int, session: str = ""
    ) -> list[Effect]:
        """Carry out a request of a logged-in session; ``seq`` is the request's number in that session.

        Messages without effect here (unsubscribing, event subscriptions, feeds) and those that are no
        requests give an empty list.
        """
        if isinstance(message, seto.MarketSubscribe):
            return [ToRequester(part) for part in self.snapshot(message.market_id)]
        handler = self._handlers.get(type(message))
        if handler is None:
            return []
        work = Work(now_us, session)
        if not self._refusals.refuse(account, message, seq, work):
            handler(account, message, seq, work)
        self._changes(Requested(account.username, message, seq, now_us, session))
        return self._desk.effects(work)

    def refuse_throttled(
        self, account: ExchangeAccount, message: Message, *, seq: int, now_us: int, session: str = ""
    ) -> list[Effect] | None:
        """Reject a request as over the session's limit; None if the message has no rejection."""
        if type(message) not in self._handlers:
            return None
        work = Work(now_us, session)
        self._refusals.throttled(account, message, seq, work)
        self._changes(Requested(account.username, message, seq, now_us, session, throttled=True))
        return self._desk.effects(work)

    def snapshot(self, market_id: int) -> list[Message]:
        """What a new subscriber gets: all quotes, then the state (choice 28), and that it is managed.

        An unknown market has one empty ``market_quotes``, so that nobody waits for it (choice 26).
        """
        market, settings = self.markets.get(market_id), self.settings
        if market is None:
            return [seto.MarketQuotes(market_id=market_id)] if settings.unknown_market == "empty" else []
        quotes = market.snapshot(settings.visible_depth, counts_both_sides=settings.volume_counts_both_sides)
        if not settings.state_after_snapshot:
            return [quotes]
        managed = [market.managed_state()] if market.managed else []
        return [quotes, market.market_state(), *managed]

    # --- operators ---

    def operate(self, verb: str, *, now_us: int, **arguments: object) -> list[Effect]:
        """Carry out an operator's verb; see ``operating.VERBS``. The arguments are plain data.

        Raises:
            UsageError: no such verb, wrong arguments, or something they name is not there. Nothing was
                changed.
        """
        work = Work(now_us)
        self._operating.carry_out(verb, arguments, work)
        self._changes(Operated(verb, arguments, now_us))
        return self._desk.effects(work)

    def refusals_of(self, account: ExchangeAccount) -> list[tuple[str, str, int]]:
        """The refusals that wait for the account's requests: request, reason and how often."""
        return self._refusals.waiting(account)

    def may_trade(self, account: ExchangeAccount) -> bool:
        """Whether trading is suspended neither for the account nor for everybody."""
        return not (self._desk.trading_suspended or account.trading_suspended)

    def due_us(self) -> int | None:
        """When ``operate("confirm_due")`` has something to do, in microseconds since the epoch."""
        return self._desk.pending_due_us()

    def _changes(self, change: Change) -> None:
        if self.on_change is not None:
            self.on_change(change)

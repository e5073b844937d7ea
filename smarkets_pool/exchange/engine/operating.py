"""What the exchange's own staff does: markets open, halt and settle, accounts are suspended.

Each is a *verb* with arguments of plain data, so that a test in Python, a scenario, the command line and
a log on disk say it the same way. ``VERBS`` is the list. Times and chance do not occur here.

What a market's state does to resting orders (choice 20): a halt ends GOOD_TIL_CANCELLED (unless
``gtc_survives_halt``) and GOOD_TILL_HALTED orders, KEEP_IN_PLAY ones stay; SETTLED and VOIDED end those too,
and so does a reduction factor, in its contract (fact sheet 3.3). All with MARKET_HALTED, the only reason the
schema has for it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import EncodeError, Message

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.engine.bets import Bookkeeping
from smarkets_pool.exchange.engine.cancelling import Cancelling
from smarkets_pool.exchange.engine.desk import Desk
from smarkets_pool.exchange.engine.effects import ToAccount, ToMarket, Work
from smarkets_pool.exchange.engine.refusing import Refusals
from smarkets_pool.exchange.market import ContractCondition, Market
from smarkets_pool.exchange.money import points_from_currency
from smarkets_pool.exchange.orders import Order, Trade
from smarkets_pool.exchange.settings import is_text
from smarkets_pool.wire.payloads import MESSAGE_CLASSES, REQUEST_NAMES
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["VERBS", "Operating"]

_MAX_ID = 2**32 - 1
#: More than anybody has; beyond it a double would not carry what is told.
_MAX_AMOUNT = Decimal(10**12)


class Operating:
    """One method per verb. Every one of them raises ``UsageError`` for what there is not."""

    def __init__(self, desk: Desk, cancelling: Cancelling, bets: Bookkeeping, refusals: Refusals) -> None:
        self._desk = desk
        self._cancelling = cancelling
        self._bets = bets
        self._refusals = refusals

    def carry_out(self, verb: str, arguments: Mapping[str, object], work: Work) -> None:
        """Do it.

        Raises:
            UsageError: there is no such verb, its arguments are others, or something they name is not
                there. Nothing was changed.
        """
        method = VERBS.get(verb)
        if method is None:
            raise UsageError(f"there is no verb {verb!r}; there are {', '.join(VERBS)}")
        try:
            bound = inspect.signature(method).bind(self, work, **arguments)
        except TypeError as error:
            raise UsageError(f"{verb}: {error}; it takes {_arguments_of(method)}") from None
        for name, value in arguments.items():
            if not _is_a(_KINDS[verb][name], value):
                kind = bound.signature.parameters[name].annotation
                raise UsageError(f"{verb}: {name} is {value!r} and must be {kind}")
        method(*bound.args, **bound.kwargs)

    # --- markets ---

    def add_market(self, work: Work, market_id: int, contracts: list[int], state: str = "OPEN") -> None:
        """A new market."""
        number = _number(seto.MarketStateType, "MARKET_STATE_", state)
        if market_id in self._desk.markets:
            raise UsageError(f"market {market_id} is there already")
        for some_id in (market_id, *contracts):
            if not 0 <= some_id <= _MAX_ID:
                raise UsageError(f"{some_id} is no id of a market or contract: those are 0 to {_MAX_ID}")
        market = Market(market_id, contracts, number)
        self._desk.add_market(market)
        work.announced.append(ToMarket(market_id, market.market_state()))

    def remove_market(self, work: Work, market_id: int) -> None:
        """Forget a market that is settled or voided."""
        market = self._desk.market(market_id)
        if not market.is_over:
            raise UsageError(f"market {market_id} is not over: settle or void it first")
        if market.trades:
            raise UsageError(
                f"market {market_id} has {len(market.trades)} bets that are still on: settle or void it first"
            )
        self._close(market)
        del self._desk.markets[market_id]

    def set_market_state(self, work: Work, market_id: int, state: str, reason: str = "") -> None:
        """NEW, OPEN, LIVE or HALTED; entering the state it is in changes and announces nothing.

        SETTLED and VOIDED end the orders alone: to move money too, settle or void the market, before or
        after.
        """
        market = self._desk.market(market_id)
        number = _number(seto.MarketStateType, "MARKET_STATE_", state)
        if market.state == number:
            return
        if market.is_over:
            raise UsageError(f"market {market_id} is over, and stays so")
        market.state, market.reason = number, reason
        self._announce(market, work)
        self._end_orders(market, list(market.books), number, work)

    def set_contract_state(self, work: Work, market_id: int, contract_id: int, state: str) -> None:
        """A state of its own for one contract: NEW, OPEN, LIVE or HALTED."""
        market = self._desk.contract(market_id, contract_id)
        number = _number(seto.ContractStateType, "CONTRACT_STATE_", state)
        if contract_id not in market.open_contracts():
            raise UsageError(f"contract {contract_id} is over, and stays so")
        if number in (seto.CONTRACT_STATE_SETTLED, seto.CONTRACT_STATE_VOIDED, seto.CONTRACT_STATE_REDUCED):
            raise UsageError(f"{state} moves money: use settle_contract, void_contract or reduce")
        market.conditions[contract_id] = ContractCondition(number)
        self._announce(market, work)
        self._end_orders(market, [contract_id], number, work)

    def set_managed(self, work: Work, market_id: int, managed: bool = True) -> None:
        """Whether executions of the market are pending for a while before they count."""
        market = self._desk.market(market_id)
        if market.managed != managed:
            market.managed = managed
            work.announced.append(ToMarket(market_id, market.managed_state()))

    def reduce(self, work: Work, market_id: int, contract_id: int, factor: int, kind: str = "PRICE") -> None:
        """Reduce what a contract has executed by a part: factor 2500 of 10000 takes a quarter off.

        Open orders of the contract end, KEEP_IN_PLAY ones too.
        """
        market = self._open_contract(market_id, contract_id)
        number = _number(seto.ReduceType, "REDUCE_TYPE_", kind)
        whole = self._desk.settings.reduce_factor_whole
        if not 0 < factor <= whole:
            raise UsageError(f"factor is a whole number from 1 to {whole}, not {factor}")
        market.conditions[contract_id] = ContractCondition(
            seto.CONTRACT_STATE_REDUCED, reduce_type=number, reduce_factor=factor
        )
        self._announce(market, work)
        self._cancel_all_in(market, [contract_id], lambda order: True, work)
        self._bets.reduce(market, contract_id, factor, number, work)

    # --- the end of markets ---

    def settle(self, work: Work, market_id: int, winners: list[int]) -> None:
        """The market is over: these contracts won, the others lost, and everybody is paid.

        All its orders end, KEEP_IN_PLAY ones too; so they do where a market or a contract is voided.
        """
        market = self._unpaid_market(market_id)
        undecided = market.undecided_contracts()
        for contract_id in winners:
            if contract_id not in self._desk.contract(market_id, contract_id).undecided_contracts():
                raise UsageError(f"contract {contract_id} of market {market_id} is over already")
        if self._desk.settings.netting == "market" and len(set(winners)) != 1:
            raise UsageError(
                f"bets are netted against one winner of market {market_id}, not {len(set(winners))}"
            )
        market.state, market.reason = seto.MARKET_STATE_SETTLED, ""
        self._announce(market, work)
        self._end_orders(market, undecided, market.state, work)
        self._bets.settle(market, undecided, winners, work)
        self._close(market)

    def settle_contract(self, work: Work, market_id: int, contract_id: int, won: bool) -> None:
        """One contract is decided before the others."""
        market = self._open_contract(market_id, contract_id)
        if won and self._desk.settings.netting == "market":
            raise UsageError("bets are netted against one winner: settle the market with it")
        if self._desk.settings.netting == "market" and len(market.open_contracts()) == 1:
            raise UsageError(f"bets are netted against one winner, and only {contract_id} is left to be it")
        market.conditions[contract_id] = ContractCondition(seto.CONTRACT_STATE_SETTLED)
        self._announce(market, work)
        self._end_orders(market, [contract_id], seto.CONTRACT_STATE_SETTLED, work)
        self._bets.settle(market, [contract_id], [contract_id] if won else [], work)

    def void_market(self, work: Work, market_id: int) -> None:
        """The market never was: every bet that was not paid yet is given back."""
        market = self._unpaid_market(market_id)
        market.state, market.reason = seto.MARKET_STATE_VOIDED, ""
        self._announce(market, work)
        self._end_orders(market, list(market.books), market.state, work)
        self._bets.void_all(market, list(market.books), work)
        self._close(market)

    def void_contract(self, work: Work, market_id: int, contract_id: int) -> None:
        """The same for one contract."""
        market = self._open_contract(market_id, contract_id)
        market.conditions[contract_id] = ContractCondition(seto.CONTRACT_STATE_VOIDED)
        self._announce(market, work)
        self._end_orders(market, [contract_id], seto.CONTRACT_STATE_VOIDED, work)
        self._bets.void_all(market, [contract_id], work)
        for account in self._desk.accounts:
            account.close_bets(market_id, contract_id)

    # --- single bets and orders ---

    def void_trade(self, work: Work, trade_id: int) -> None:
        """Undo one execution of two orders."""
        self._bets.void(self._trade(trade_id), work)

    def void_order(self, work: Work, order_id: int) -> None:
        """Undo an order with all its executions."""
        order = self._desk.order(order_id)
        if order.state != "live" and not order.trades:
            raise UsageError(f"order {order_id} is {order.state} and has no bet that is still on")
        self._bets.void_order(order, work)

    def confirm_trade(self, work: Work, trade_id: int) -> None:
        """Make a pending execution final now."""
        trade = self._trade(trade_id)
        if trade.state != "pending":
            raise UsageError(f"trade {trade_id} is {trade.state} and not pending")
        self._bets.confirm(trade, work)

    def confirm_due(self, work: Work) -> None:
        """Make those executions final whose time has come."""
        for trade in self._desk.take_due(work.now_us):
            self._bets.confirm(trade, work)

    def cancel_order(self, work: Work, order_id: int) -> None:
        """Take an order out, as the staff may."""
        order = self._desk.order(order_id)
        if order.state != "live":
            raise UsageError(f"order {order_id} is {order.state} and not live")
        self._desk.cancel_resting(order, seto.ORDER_CANCELLED_ADMIN_REQUESTED, None, work)

    def cancel_all(
        self,
        work: Work,
        account: str,
        market_id: int | None = None,
        reason: str = "MEMBER_REQUESTED",
        session: str = "",
    ) -> None:
        """Cancel the account's open orders, oldest first; those of one market or session, or all."""
        number = _number(seto.OrderCancelledReason, "ORDER_CANCELLED_", reason)
        whose = self._desk.account(account)
        if market_id is not None:
            self._desk.market(market_id)
        self._cancelling.cancel_all_of(whose, number, market_id=market_id, session=session, work=work)

    # --- accounts and the exchange itself ---

    def suspend_account(self, work: Work, account: str) -> None:
        """ACCOUNT_SUSPENDED for all its new orders."""
        self._desk.account(account).is_suspended = True

    def restore_account(self, work: Work, account: str) -> None:
        """Take suspend_account back."""
        self._desk.account(account).is_suspended = False

    def suspend_trading(self, work: Work, account: str | None = None) -> None:
        """TRADING_SUSPENDED for an account, or for everybody."""
        if account is None:
            self._desk.trading_suspended = True
        else:
            self._desk.account(account).trading_suspended = True

    def resume_trading(self, work: Work, account: str | None = None) -> None:
        """Take suspend_trading back; orders from before are cancelled, for fairness (fact sheet 3.5)."""
        suspended = [whose for whose in self._desk.accounts if account in (None, whose.username)]
        if account is None:
            was, self._desk.trading_suspended = self._desk.trading_suspended, False
        else:
            whose = self._desk.account(account)
            was, whose.trading_suspended = whose.trading_suspended, False
        if was:
            for whose in suspended:
                self._cancelling.cancel_all_of(whose, seto.ORDER_CANCELLED_TRADING_SUSPENDED, work=work)

    def set_backend(self, work: Work, up: bool) -> None:
        """Whether whatever keeps the books answers; if not: SERVICE_TEMPORARILY_UNAVAILABLE."""
        self._desk.backend_up = bool(up)

    def set_limits(
        self, work: Work, account: str, exposure: str | None = None, stake: str | None = None
    ) -> None:
        """Bound what an account may risk in all and per order, in currency units; None lifts a bound."""
        whose = self._desk.account(account)
        limits = [None if text is None else _points(text) for text in (exposure, stake)]
        whose.exposure_limit, whose.stake_limit = limits

    def refuse_next(self, work: Work, account: str, request: str, reason: str, times: int = 1) -> None:
        """Refuse the account's next requests of a kind, whatever they say."""
        self._refusals.order_next(self._desk.account(account), request, reason, times)

    def deposit(self, work: Work, account: str, amount: str) -> None:
        """Add to an account's cash, or with an amount below 0 take from it what is available."""
        whose, points = self._desk.account(account), _points(amount)
        if points < 0 and -points > whose.available_points:
            raise UsageError(f"{account!r} has {whose.available_points} points available, not {-points}")
        whose.cash_points += points

    # --- anything else ---

    def tell(self, work: Work, account: str, name: str, fields: dict[str, Any]) -> None:
        """Tell an account something that nobody did: a message by its name, its fields as JSON has them.

        If it is an event of the account it is numbered and kept like any other; no order, bet or balance
        changes.
        """
        whose, message = self._desk.account(account), _message(name, fields)
        if "account_sequence_64" in message.DESCRIPTOR.fields_by_name:
            self._desk.tell(work, whose, message)
        else:
            work.messages.append(ToAccount(whose, message))

    # --- what they share ---

    def _open_market(self, market_id: int) -> Market:
        market = self._desk.market(market_id)
        if market.is_over:
            raise UsageError(f"market {market_id} is over already")
        return market

    def _unpaid_market(self, market_id: int) -> Market:
        """One that is not over, or was only said to be: its bets are still on."""
        market = self._desk.market(market_id)
        return market if market.trades else self._open_market(market_id)

    def _open_contract(self, market_id: int, contract_id: int) -> Market:
        market = self._desk.contract(market_id, contract_id)
        if contract_id not in market.open_contracts():
            raise UsageError(f"contract {contract_id} of market {market_id} is over already")
        return self._open_market(market_id)

    def _trade(self, trade_id: int) -> Trade:
        for market in self._desk.markets.values():
            if trade_id in market.trades:
                return market.trades[trade_id]
        raise UsageError(f"there is no trade {trade_id!r} whose bets are still on")

    def _announce(self, market: Market, work: Work) -> None:
        work.announced.append(ToMarket(market.market_id, market.market_state()))

    def _end_orders(self, market: Market, contracts: list[int], state: int, work: Work) -> None:
        ended = self._ended_by(state)
        self._cancel_all_in(market, contracts, lambda order: order.tif in ended, work)

    def _ended_by(self, state: int) -> frozenset[int]:
        if state in (seto.MARKET_STATE_SETTLED, seto.MARKET_STATE_VOIDED):
            return frozenset(seto.TimeInForceType.values())
        if state != seto.MARKET_STATE_HALTED:
            return frozenset()
        survives = self._desk.settings.gtc_survives_halt
        return frozenset(
            {seto.GOOD_TILL_HALTED} if survives else {seto.GOOD_TIL_CANCELLED, seto.GOOD_TILL_HALTED}
        )

    def _cancel_all_in(
        self, market: Market, contracts: list[int], which: Callable[[Order], bool], work: Work
    ) -> None:
        for contract_id in contracts:
            for order in market.books[contract_id].orders():
                if which(order):
                    self._desk.cancel_resting(order, seto.ORDER_CANCELLED_MARKET_HALTED, None, work)

    def _close(self, market: Market) -> None:
        for account in self._desk.accounts:
            account.close_bets(market.market_id)


def _number(enum: Any, prefix: str, name: str) -> Any:
    names = [full.removeprefix(prefix) for full in enum.keys()]  # noqa: SIM118
    if name not in names:
        raise UsageError(f"{name!r} is none of {', '.join(names)}")
    return enum.Value(prefix + name)


def _message(name: str, fields: dict[str, Any]) -> Message:
    answers = {each: cls for each, cls in MESSAGE_CLASSES.items() if each not in REQUEST_NAMES}
    message_class = answers.get(name)
    if message_class is None or not name.startswith("seto."):
        raise UsageError(f"{name!r} is no message that an exchange sends, such as seto.order_executed")
    message = message_class()
    try:
        json_format.ParseDict(fields, message)
        message.SerializeToString()
    except (json_format.ParseError, EncodeError, UnicodeEncodeError) as error:
        raise UsageError(f"{name}: {error}") from None
    return message


def _points(amount: str) -> int:
    try:
        value = Decimal(amount)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value) > _MAX_AMOUNT:
        raise UsageError(f"{amount!r} is no amount of currency such as '12.50', not beyond {_MAX_AMOUNT}")
    return points_from_currency(value)


def _is_a(kind: Any, value: object) -> bool:
    """Whether a value is what an annotation says, as far as plain data goes."""
    parts = typing.get_args(kind)
    # The second is what Python 3.10 makes of an argument whose default is None.
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return any(_is_a(part, value) for part in parts)
    if isinstance(value, str) and not is_text(value):
        return False
    if typing.get_origin(kind) is dict:
        return isinstance(value, dict) and all(_is_a(parts[0], each) for each in value)
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(_is_a(parts[0], each) for each in value)
    # True is an int to Python, and no number to whoever asks for one.
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _arguments_of(method: Callable[..., object]) -> str:
    parameters = list(inspect.signature(method).parameters.values())[2:]
    told = [str(p).split(":")[0] + ("" if p.default is p.empty else "=...") for p in parameters]
    return ", ".join(told) or "no arguments"


#: Verb -> what carries it out.
VERBS: dict[str, Callable[..., None]] = {
    name: method
    for name, method in vars(Operating).items()
    if not name.startswith("_") and name != "carry_out"
}
#: Verb -> argument -> what it has to be.
_KINDS = {verb: typing.get_type_hints(method) for verb, method in VERBS.items()}

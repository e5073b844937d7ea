"""The exchange's rules: a request goes in, what has to be sent to whom comes out.

The engine is pure. It reads no clock (``now_us``, microseconds since the epoch, comes in), sends nothing
and knows no session; it returns *effects*:

* :class:`ToRequester` - an answer for the asking session alone, without account sequence;
* :class:`ToAccount` - an event of an account, numbered, kept in its history and recorded as truth
  already, for all its sessions (choice 12);
* :class:`ToMarket` - for the subscribers of a market.

The effects of one request come in the order in which they are to be sent: quote deltas, at most one per
contract, then the events (choice 24), ``order_accepted`` before the executions of that order (fact sheet
3.4).

How an order is judged, the first objection wins (fact sheet 3.4 and 3.5): validity (quantity, then
price), account, market, contract, state of the market, funds, own resting orders. An enum number that
this schema does not know is not read as its default: the order is invalid, without a reason, since the
protocol has none for it. So is one whose label is too long to come back on every message about it.

What a halt does (choice 20): GOOD_TIL_CANCELLED and GOOD_TILL_HALTED orders go, KEEP_IN_PLAY orders stay.
SETTLED and VOIDED end those too. All with MARKET_HALTED, the only reason the schema has for it.

Cancel-replace (choice 31): the new order takes over what the original executed, so ``quantity``,
``total_executed_quantity`` and the average price go on counting, and ``quantity_left`` is what is open.
Refusals that leave the original alone are ``order_cancel_rejected`` (a filled original: TOO_LATE);
those that come after it was taken out are ``order_cancel_replace_rejected``. A price outside 1..9999 has
no reason in either and is answered with ``order_invalid``.

Not here: throttling, settings and subscriptions (the sessions' matter), event subscriptions and feeds
(accepted and without effect), pending executions, reduction factors, and settlement: executions keep
their liability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any

from google.protobuf.message import Message

from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.exchange.accounts import Accounts, ExchangeAccount, currency, liability_points
from smarkets_pool.exchange.book import Order
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.wire.payloads import enum_name, message_name
from smarkets_pool.wire.schema import seto_pb2 as seto
from smarkets_pool.wire.units import MAX_PRICE, MIN_PRICE

__all__ = ["Effect", "Engine", "ToAccount", "ToMarket", "ToRequester"]


# --- effects -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ToRequester:
    """Send to the session that asked."""

    message: Message


@dataclass(frozen=True, slots=True)
class ToAccount:
    """Send to all sessions of ``account``; stamped and recorded already."""

    account: ExchangeAccount
    message: Message


@dataclass(frozen=True, slots=True)
class ToMarket:
    """Send to the subscribers of a market."""

    market_id: int
    message: Message


Effect = ToRequester | ToAccount | ToMarket


class _Work:
    """One request under way: the contracts it touched and the messages it caused, in order."""

    __slots__ = ("messages", "now_us", "touched")

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self.messages: list[Effect] = []
        # A dict for its order.
        self.touched: dict[tuple[Market, int], None] = {}


_Handler = Callable[[ExchangeAccount, Any, int, _Work], None]

# --- rules as tables ---------------------------------------------------------------------------

#: What a market's state has against new orders, and against orders that replace others.
_REJECTED_IN_STATE: dict[int, seto.OrderRejectedReason] = {
    seto.MARKET_STATE_NEW: seto.ORDER_REJECTED_MARKET_NOT_OPEN,
    seto.MARKET_STATE_HALTED: seto.ORDER_REJECTED_MARKET_HALTED,
    seto.MARKET_STATE_SETTLED: seto.ORDER_REJECTED_MARKET_SETTLED,
    seto.MARKET_STATE_VOIDED: seto.ORDER_REJECTED_MARKET_SETTLED,
}
_REPLACE_REJECTED_IN_STATE: dict[int, seto.OrderCancelReplaceRejectedReason] = {
    seto.MARKET_STATE_NEW: seto.ORDER_CANCEL_REPLACE_REJECTED_MARKET_NOT_OPEN,
    seto.MARKET_STATE_HALTED: seto.ORDER_CANCEL_REPLACE_REJECTED_MARKET_HALTED,
    seto.MARKET_STATE_SETTLED: seto.ORDER_CANCEL_REPLACE_REJECTED_MARKET_SETTLED,
    seto.MARKET_STATE_VOIDED: seto.ORDER_CANCEL_REPLACE_REJECTED_MARKET_SETTLED,
}

#: State -> kinds of orders that end when a market enters it.
_ENDED_BY_STATE: dict[int, frozenset[int]] = {
    seto.MARKET_STATE_HALTED: frozenset({seto.GOOD_TIL_CANCELLED, seto.GOOD_TILL_HALTED}),
    seto.MARKET_STATE_SETTLED: frozenset(seto.TimeInForceType.values()),
    seto.MARKET_STATE_VOIDED: frozenset(seto.TimeInForceType.values()),
}

# Above 32 bits, so that a client that keeps order ids in 32 finds out here.
_FIRST_ORDER_ID = 1_000_000_000_001


def _optional(message: Message, field: str) -> Any:
    """The value of an optional field, None if it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def _has_unknown_enum(message: Message, fields: Iterable[str]) -> bool:
    return any(
        not message.HasField(field) and enum_name(message, field).startswith("UNKNOWN") for field in fields
    )


def _identity(order: Order) -> dict[str, Any]:
    """The fields that say which order a message is about, as far as the optional ones go."""
    return {
        "market_id": order.market_id,
        "contract_id": order.contract_id,
        "side": order.side,
        "label": order.label,
    }


def _balances(account: ExchangeAccount) -> dict[str, Any]:
    return {
        "available_balance": currency(account.available_points),
        "exposure": currency(account.exposure_points),
    }


# --- the engine --------------------------------------------------------------------------------


class Engine:
    """Accounts, markets and the rules between them.

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
        first_order_id: int = _FIRST_ORDER_ID,
    ) -> None:
        self.settings = settings
        self.truth = truth
        self.accounts = accounts
        self.markets: dict[int, Market] = {}
        for market in markets:
            if market.market_id in self.markets:
                raise ConfigError(f"market {market.market_id} is there twice")
            self.markets[market.market_id] = market
        self._order_ids = count(first_order_id)
        self._handlers: dict[type[Message], _Handler] = {
            seto.OrderCreate: self._order_create,
            seto.OrderCancel: self._order_cancel,
            seto.OrderCancelAll: self._order_cancel_all,
            seto.OrderQuantityReduce: self._order_quantity_reduce,
            seto.OrderCancelReplace: self._order_cancel_replace,
            seto.MarketSubscribe: self._market_subscribe,
        }

    def __repr__(self) -> str:
        return f"<Engine: {len(self.accounts)} accounts, {len(self.markets)} markets>"

    # --- what others call ---

    def handle(self, account: ExchangeAccount, message: Message, *, seq: int, now_us: int) -> list[Effect]:
        """Carry out a request of a logged-in session; ``seq`` is the request's number in that session.

        Messages without effect here (unsubscribing, event subscriptions, feeds) and those that are no
        requests give an empty list.
        """
        handler = self._handlers.get(type(message))
        work = _Work(now_us)
        if handler is not None:
            handler(account, message, seq, work)
        return self._effects(work)

    def snapshot(self, market_id: int) -> list[Message]:
        """What a new subscriber gets: all quotes, then the state (choice 28).

        An unknown market has one empty ``market_quotes``, so that nobody waits for it (choice 26).
        """
        market = self.markets.get(market_id)
        if market is None:
            return [seto.MarketQuotes(market_id=market_id)]
        return [market.snapshot(self.settings.visible_depth), market.market_state()]

    def set_market_state(self, market_id: int, state: seto.MarketStateType, *, now_us: int) -> list[Effect]:
        """Move a market into a state: the announcement, then what became of its orders.

        Entering the state it is in changes and announces nothing.

        Raises:
            UsageError: there is no such market.
        """
        market = self.markets.get(market_id)
        if market is None:
            raise UsageError(f"there is no market {market_id}")
        if market.state == state:
            return []
        market.state = state
        work = _Work(now_us)
        ended = _ENDED_BY_STATE.get(state, frozenset())
        for book in market.books.values():
            for order in book.orders():
                if order.tif in ended:
                    self._cancel_resting(order, seto.ORDER_CANCELLED_MARKET_HALTED, None, work)
        return [ToMarket(market_id, market.market_state()), *self._effects(work)]

    def cancel_all_of(
        self,
        account: ExchangeAccount,
        reason: seto.OrderCancelledReason,
        *,
        market_id: int | None = None,
        reference: int | None = None,
        now_us: int,
    ) -> list[Effect]:
        """Cancel the account's resting orders, oldest first, in one market or in all."""
        work = _Work(now_us)
        self._cancel_all(account, reason, market_id, reference, work)
        return self._effects(work)

    def tell(self, account: ExchangeAccount, message: Message) -> ToAccount:
        """Make ``message`` the account's next event: number it, keep it, record it.

        For those who refuse a request before it gets here, as a throttle does.
        """
        sequence = account.stamp(message)
        name = message_name(type(message)) or type(message).__name__
        self.truth.record_event(account.username, sequence, name, message, away=account.online == 0)
        return ToAccount(account, message)

    # --- between requests and effects ---

    def _tell(self, work: _Work, account: ExchangeAccount, message: Message) -> None:
        work.messages.append(self.tell(account, message))

    def _effects(self, work: _Work) -> list[Effect]:
        """Quotes first: see the head of this file."""
        quotes: list[Effect] = []
        for market, contract_id in work.touched:
            delta = market.delta(contract_id, self.settings.visible_depth)
            if delta is not None:
                quotes.append(ToMarket(market.market_id, delta))
        return quotes + work.messages

    # --- order_create ---

    def _order_create(
        self, account: ExchangeAccount, message: seto.OrderCreate, seq: int, work: _Work
    ) -> None:
        reference = _optional(message, "reference")
        reasons = self._invalid_reasons(message)
        unknown = _has_unknown_enum(message, ("type", "side", "quantity_type", "price_type", "tif"))
        too_long = len(message.label.encode()) > self.settings.max_label
        if reasons or unknown or too_long:
            invalid = seto.OrderInvalid(seq=seq, reasons=reasons, reference=reference)
            work.messages.append(ToRequester(invalid))
            return
        order = Order(
            order_id=next(self._order_ids),
            account=account,
            market_id=message.market_id,
            contract_id=message.contract_id,
            side=message.side,
            price=message.price,
            quantity=message.quantity,
            tif=message.tif,
            seq=seq,
            label=_optional(message, "label"),
            reference=reference,
        )
        reason = self._reject_reason(order)
        if reason is not None:
            rejected = seto.OrderRejected(seq=seq, reason=reason, reference=reference, label=order.label)
            self._tell(work, account, rejected)
            return
        self._admit(order)
        self._tell(work, account, self._accepted(order))
        self._match(order, message.maq, work)

    def _invalid_reasons(self, message: seto.OrderCreate) -> list[seto.OrderInvalidReason]:
        reasons: list[seto.OrderInvalidReason] = []
        if not self.settings.min_quantity <= message.quantity <= self.settings.max_quantity:
            reasons.append(seto.ORDER_INVALID_INVALID_QUANTITY)
        # An absent price reads as 0. The schema allows it, for order types that never came.
        if not MIN_PRICE <= message.price <= MAX_PRICE:
            reasons.append(seto.ORDER_INVALID_INVALID_PRICE)
        return reasons

    def _reject_reason(self, order: Order) -> seto.OrderRejectedReason | None:
        market = self.markets.get(order.market_id)
        if order.account.is_suspended:
            return seto.ORDER_REJECTED_ACCOUNT_SUSPENDED
        if market is None:
            return seto.ORDER_REJECTED_MARKET_NOT_FOUND
        if order.contract_id not in market.books:
            return seto.ORDER_REJECTED_CONTRACT_NOT_FOUND
        if market.state in _REJECTED_IN_STATE:
            return _REJECTED_IN_STATE[market.state]
        if _open_liability(order) > order.account.available_points:
            return seto.ORDER_REJECTED_INSUFFICIENT_FUNDS
        if market.books[order.contract_id].would_cross_own(order):
            return seto.ORDER_REJECTED_CROSSED_SELF
        return None

    def _admit(self, order: Order) -> None:
        order.account.reserve(_open_liability(order))
        order.account.admit(order)

    def _accepted(self, order: Order) -> seto.OrderAccepted:
        return seto.OrderAccepted(
            seq=order.seq,
            order_id=order.order_id,
            price=order.price,
            quantity=order.quantity,
            reference=order.reference,
            **_identity(order),
            **_balances(order.account),
        )

    # --- matching ---

    def _match(self, order: Order, maq: int, work: _Work) -> None:
        """Let an accepted order meet the book; the rest comes to rest or is cancelled."""
        market = self.markets[order.market_id]
        book = market.books[order.contract_id]
        work.touched[market, order.contract_id] = None
        fills = book.fills_for(order)
        if sum(quantity for _resting, quantity in fills) < maq:
            self._cancel_rest(order, seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY, None, work)
            return
        for resting, quantity in fills:
            self._execute(order, resting, quantity, market, work)
        if order.state != "live":
            return
        if order.tif == seto.IMMEDIATE_OR_CANCEL:
            self._cancel_rest(order, seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY, None, work)
        else:
            book.add(order)

    def _execute(self, order: Order, resting: Order, quantity: int, market: Market, work: _Work) -> None:
        """One fill between ``order`` and a resting one, at the latter's price."""
        price = resting.price
        market.books[order.contract_id].apply_fill(resting, quantity)
        order.execute(price, quantity)
        market.record_execution(order.contract_id, price, quantity, resting.side, work.now_us)
        # The order had its limit set aside and pays the better price.
        order.account.release(
            liability_points(order.side, order.price, quantity)
            - liability_points(order.side, price, quantity)
        )
        for side in (order, resting):
            if side.state == "filled":
                side.account.retire(side)
            self._tell(work, side.account, self._executed(side, price, quantity))

    def _executed(self, order: Order, price: int, quantity: int) -> seto.OrderExecuted:
        return seto.OrderExecuted(
            order_id=order.order_id,
            price=price,
            quantity=quantity,
            total_executed_quantity=order.executed_quantity,
            executed_avg_price=order.executed_avg_price,
            available_quantity=order.available_quantity,
            orig_price=order.price,
            **_identity(order),
            **_balances(order.account),
        )

    # --- cancelling ---

    def _order_cancel(
        self, account: ExchangeAccount, message: seto.OrderCancel, seq: int, work: _Work
    ) -> None:
        order = account.orders.get(message.order_id)
        reference = _optional(message, "reference")
        if order is not None and order.state == "live":
            self._cancel_resting(order, seto.ORDER_CANCELLED_MEMBER_REQUESTED, reference, work)
            return
        rejected = seto.OrderCancelRejected(
            order_id=message.order_id,
            reason=seto.ORDER_CANCEL_REJECTED_NOT_FOUND
            if order is None
            else seto.ORDER_CANCEL_REJECTED_NOT_LIVE,
            reference=reference,
            **(_identity(order) if order is not None else {}),
        )
        self._tell(work, account, rejected)

    def _order_cancel_all(
        self, account: ExchangeAccount, message: seto.OrderCancelAll, seq: int, work: _Work
    ) -> None:
        """Accepted first, then one order_cancelled per order (choice 32)."""
        reference = _optional(message, "reference")
        self._tell(work, account, seto.OrderCancelAllAccepted(reference=reference))
        market_id = _optional(message, "market_id")
        self._cancel_all(account, seto.ORDER_CANCELLED_MEMBER_REQUESTED, market_id, reference, work)

    def _cancel_all(
        self,
        account: ExchangeAccount,
        reason: seto.OrderCancelledReason,
        market_id: int | None,
        reference: int | None,
        work: _Work,
    ) -> None:
        for order in list(account.live_orders.values()):
            if market_id is None or order.market_id == market_id:
                self._cancel_resting(order, reason, reference, work)

    def _cancel_resting(
        self, order: Order, reason: seto.OrderCancelledReason, reference: int | None, work: _Work
    ) -> None:
        self._take_out(order, work)
        self._cancel_rest(order, reason, reference, work)

    def _take_out(self, order: Order, work: _Work) -> None:
        market = self.markets[order.market_id]
        market.books[order.contract_id].remove(order)
        work.touched[market, order.contract_id] = None

    def _cancel_rest(
        self, order: Order, reason: seto.OrderCancelledReason, reference: int | None, work: _Work
    ) -> None:
        """End an order that is in no book (any more); only the open rest goes, executions stand."""
        self._end(order)
        cancelled = seto.OrderCancelled(
            order_id=order.order_id,
            reason=reason,
            reference=reference,
            executed_quantity=order.executed_quantity,
            executed_avg_price=order.executed_avg_price,
            orig_price=order.price,
            **_identity(order),
            **_balances(order.account),
        )
        self._tell(work, order.account, cancelled)

    def _end(self, order: Order) -> None:
        order.account.release(_open_liability(order))
        order.account.retire(order)
        order.state = "cancelled"

    # --- order_quantity_reduce ---

    def _order_quantity_reduce(
        self, account: ExchangeAccount, message: seto.OrderQuantityReduce, seq: int, work: _Work
    ) -> None:
        """Choice 30: the new total lies above what was executed and below the old total."""
        order = account.orders.get(message.order_id)
        reference = _optional(message, "reference")
        reason = _reduce_reject_reason(order, message.new_quantity)
        if order is None or reason is not None:
            rejected = seto.OrderQuantityReduceRejected(
                order_id=message.order_id,
                reason=reason,
                reference=reference,
                new_quantity=message.new_quantity,
                label=order.label if order is not None else None,
            )
            self._tell(work, account, rejected)
            return
        market = self.markets[order.market_id]
        freed = order.quantity - message.new_quantity
        market.books[order.contract_id].reduce(order, message.new_quantity)
        work.touched[market, order.contract_id] = None
        account.release(liability_points(order.side, order.price, freed))
        reduced = seto.OrderQuantityReduced(
            order_id=order.order_id,
            reason=seto.ORDER_QUANTITY_REDUCED_MEMBER_REQUESTED,
            reference=reference,
            new_quantity=order.quantity,
            orig_price=order.price,
            executed_quantity=order.executed_quantity,
            executed_avg_price=order.executed_avg_price,
            **_identity(order),
        )
        self._tell(work, account, reduced)

    # --- order_cancel_replace ---

    def _order_cancel_replace(
        self, account: ExchangeAccount, message: seto.OrderCancelReplace, seq: int, work: _Work
    ) -> None:
        reference = _optional(message, "reference")
        bad_price = not MIN_PRICE <= message.price <= MAX_PRICE
        too_long = len(message.label.encode()) > self.settings.max_label
        if bad_price or too_long or _has_unknown_enum(message, ("price_type", "quantity_type")):
            reasons = [seto.ORDER_INVALID_INVALID_PRICE] if bad_price else []
            invalid = seto.OrderInvalid(seq=seq, reasons=reasons, reference=reference)
            work.messages.append(ToRequester(invalid))
            return
        original = account.orders.get(message.orig_order_id)
        reason = self._replace_obstacle(account, original, message)
        if original is None or reason is not None:
            rejected = seto.OrderCancelRejected(
                orig_order_id=message.orig_order_id,
                reason=reason,
                reference=reference,
                **(_identity(original) if original is not None else {}),
            )
            self._tell(work, account, rejected)
            return
        self._take_out(original, work)
        self._end(original)
        self._place_replacement(self._replacement(original, message, seq), original, work)

    def _replace_obstacle(
        self, account: ExchangeAccount, original: Order | None, message: seto.OrderCancelReplace
    ) -> seto.OrderCancelRejectedReason | None:
        """Why the original is left alone, if so."""
        if original is None:
            return seto.ORDER_CANCEL_REJECTED_NOT_FOUND
        if original.state == "filled":
            return seto.ORDER_CANCEL_REJECTED_TOO_LATE
        if original.state == "cancelled":
            return seto.ORDER_CANCEL_REJECTED_NOT_LIVE
        if account.is_suspended:
            return seto.ORDER_CANCEL_REJECTED_ACCOUNT_SUSPENDED
        if message.HasField("market_id") and message.market_id != original.market_id:
            return seto.ORDER_CANCEL_REJECTED_MARKET_NOT_FOUND
        lowest = max(self.settings.min_quantity, original.executed_quantity + 1)
        if not lowest <= message.quantity <= self.settings.max_quantity:
            return seto.ORDER_CANCEL_REJECTED_INVALID_QUANTITY
        quantity_left = message.quantity - original.executed_quantity
        needed = liability_points(original.side, message.price, quantity_left)
        if needed > account.available_points + _open_liability(original):
            return seto.ORDER_CANCEL_REJECTED_INSUFFICIENT_FUNDS
        return None

    def _replacement(self, original: Order, message: seto.OrderCancelReplace, seq: int) -> Order:
        """The new order; it goes on counting from the original's executions, and keeps its label."""
        return Order(
            order_id=next(self._order_ids),
            account=original.account,
            market_id=original.market_id,
            contract_id=original.contract_id,
            side=original.side,
            price=message.price,
            quantity=message.quantity,
            tif=original.tif,
            seq=seq,
            label=message.label if message.HasField("label") else original.label,
            reference=_optional(message, "reference"),
            executed_quantity=original.executed_quantity,
            executed_points=original.executed_points,
        )

    def _place_replacement(self, order: Order, original: Order, work: _Work) -> None:
        """Pending, then accepted and its executions, or rejected; never order_cancelled."""
        terms: dict[str, Any] = {"price": order.price, "quantity": order.quantity}
        common: dict[str, Any] = {
            "order_id": order.order_id,
            "orig_order_id": original.order_id,
            "reference": order.reference,
            **_identity(order),
        }
        self._tell(work, order.account, seto.OrderPendingReplace(**terms, **common))
        reason = self._replace_reject_reason(order)
        if reason is not None:
            order.state = "cancelled"
            self._tell(work, order.account, seto.OrderCancelReplaceRejected(reason=reason, **common))
            return
        self._admit(order)
        accepted = seto.OrderCancelReplaceAccepted(quantity_left=order.available_quantity, **terms, **common)
        self._tell(work, order.account, accepted)
        self._match(order, 0, work)

    def _replace_reject_reason(self, order: Order) -> seto.OrderCancelReplaceRejectedReason | None:
        market = self.markets[order.market_id]
        if market.state in _REPLACE_REJECTED_IN_STATE:
            return _REPLACE_REJECTED_IN_STATE[market.state]
        if market.books[order.contract_id].would_cross_own(order):
            return seto.ORDER_CANCEL_REPLACE_REJECTED_CROSSED_SELF
        return None

    # --- the rest ---

    def _market_subscribe(
        self, account: ExchangeAccount, message: seto.MarketSubscribe, seq: int, work: _Work
    ) -> None:
        work.messages.extend(ToRequester(part) for part in self.snapshot(message.market_id))


def _open_liability(order: Order) -> int:
    return liability_points(order.side, order.price, order.available_quantity)


def _reduce_reject_reason(
    order: Order | None, new_quantity: int
) -> seto.OrderQuantityReduceRejectedReason | None:
    if order is None:
        return seto.ORDER_QUANTITY_REDUCE_REJECTED_NOT_FOUND
    if order.state != "live":
        return seto.ORDER_QUANTITY_REDUCE_REJECTED_NOT_LIVE
    if not order.executed_quantity < new_quantity < order.quantity:
        return seto.ORDER_QUANTITY_REDUCE_REJECTED_INVALID_NEW_QUANTITY
    return None

"""``Readings``: what an exchange knows, as plain data for tests and people.

Each public method is a reading; its name, arguments and first sentence are what the control's index shows.
Everything that comes out goes through JSON unchanged: enum values by their names without the prefix, sides
as ``BUY`` and ``SELL``, **money as exact decimal texts** and never as floats. Prices and quantities are the
wire's whole numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import Message

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.control.arguments import near, some
from smarkets_pool.exchange.embedded import EmbeddedExchange
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.orders import Order
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor

__all__ = ["Readings", "message_data", "money_text"]

_POINT_DIGITS = 8
_SIDES = {seto.SIDE_BUY: "BUY", seto.SIDE_SELL: "SELL"}


def money_text(points: int) -> str:
    """Points of 1/10**8 currency unit as an exact decimal text: ``-150000000`` -> ``"-1.50"``."""
    whole, rest = divmod(abs(points), 10**_POINT_DIGITS)
    digits = f"{rest:0{_POINT_DIGITS}d}".rstrip("0").ljust(2, "0")
    return f"{'-' if points < 0 else ''}{whole}.{digits}"


def _limit_text(points: int | None) -> str | None:
    return None if points is None else money_text(points)


def message_data(message: Message) -> dict[str, Any]:
    """A message's fields as plain data: enums by name, doubles as texts; what is absent is left out."""
    return {field.name: _field_data(field, value) for field, value in message.ListFields()}


def _field_data(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        return message_data(value)
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if isinstance(value, int) and field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    if isinstance(value, (bool, int, str)):
        return value
    return [_field_data(field, each) for each in value]


class Readings:
    """Reads one exchange; changes nothing."""

    def __init__(self, exchange: EmbeddedExchange) -> None:
        # Not its parts: after a restart they are others.
        self._front = exchange

    def __repr__(self) -> str:
        return f"<Readings of {self._front!r}>"

    # --- accounts ---

    def accounts(self, account: str | None = None) -> list[dict[str, Any]]:
        """Every account: its sessions, what is suspended, its limits, its resting orders, what it is refused.

        ``refusals`` are those that the verb ``refuse_next`` has ordered and that have not happened yet.
        """
        engine = self._front.exchange.engine
        return [
            {
                "account": each.username,
                "online": each.online,
                "suspended": each.is_suspended,
                "trading_suspended": not engine.may_trade(each),
                "exposure_limit": _limit_text(each.exposure_limit),
                "stake_limit": _limit_text(each.stake_limit),
                "next_account_sequence": each.next_account_sequence,
                "live_orders": len(each.live_orders),
                "refusals": [
                    {"request": request, "reason": reason, "times": times}
                    for request, reason, times in engine.refusals_of(each)
                ],
            }
            for each in self._accounts(account)
        ]

    def balances(self, account: str | None = None) -> list[dict[str, Any]]:
        """The money of every account, or of one, to the last digit."""
        return [
            {
                "account": each.username,
                "cash": money_text(each.cash_points),
                "exposure": money_text(each.exposure_points),
                "available": money_text(each.available_points),
            }
            for each in self._accounts(account)
        ]

    def orders(
        self, account: str | None = None, live: bool = False, market_id: int | None = None
    ) -> list[dict[str, Any]]:
        """The remembered orders of every account, or of one, oldest first; ``live``: only the resting."""
        if market_id is not None:
            self._market(market_id)
        return [
            _order(order)
            for each in self._accounts(account)
            for order in (each.live_orders if live else each.orders).values()
            if market_id is None or order.market_id == market_id
        ]

    def events(self, account: str, after: int = 0, limit: int = 0) -> list[dict[str, Any]]:
        """What happened to an account behind number ``after``, oldest first; ``limit`` 0 means all.

        With the message that told it, as long as the exchange remembers that for clients that resume.
        """
        (found,) = self._accounts(account)
        if after < 0 or limit < 0:
            raise UsageError(f"after and limit are whole numbers from 0, not {after} and {limit}")
        events = [
            event for event in self._front.truth.events(found.username) if event.account_sequence > after
        ]
        told = dict(found.history)
        return [
            {
                **dataclasses.asdict(event),
                "message": message_data(told[event.account_sequence])
                if event.account_sequence in told
                else None,
            }
            for event in (events[:limit] if limit else events)
        ]

    def truth(self) -> dict[str, Any]:
        """Events by account, each [number, name, order id, quantity, away], counters, and faults that hit."""
        return self._front.truth.as_plain()

    # --- markets ---

    def markets(self, market_id: int | None = None) -> list[dict[str, Any]]:
        """Every market with its state, its contracts and theirs, and what was traded."""
        return [
            {
                "market_id": market.market_id,
                "state": market_state_name(market.state),
                "reason": market.reason,
                "managed": market.managed,
                "contracts": [
                    {"contract_id": number, "state": _contract_state_name(market.contract_state(number))}
                    for number in market.books
                ],
                "executed_volume": market.executed_volume,
                "trades": len(market.trades),
            }
            for market in self._markets(market_id)
        ]

    def books(
        self, market_id: int | None = None, contract_id: int | None = None, depth: int = 0
    ) -> list[dict[str, Any]]:
        """The levels of every book, whatever quotes show of them: best first, ``depth`` per side (0: all)."""
        if depth < 0:
            raise UsageError(f"depth is a whole number from 0, not {depth}")
        books = [
            {
                "market_id": market.market_id,
                "contract_id": number,
                "bids": _levels(book.levels(seto.SIDE_BUY, depth)),
                "offers": _levels(book.levels(seto.SIDE_SELL, depth)),
            }
            for market in self._markets(market_id)
            for number, book in market.books.items()
            if contract_id is None or number == contract_id
        ]
        if contract_id is not None and not books:
            raise UsageError(f"there is no contract {contract_id}" + _in_market(market_id))
        return books

    def trades(self, market_id: int | None = None, account: str | None = None) -> list[dict[str, Any]]:
        """The trades whose bets are still on, oldest first, with both orders and their accounts."""
        accounts = {each.username for each in self._accounts(account)}
        return [
            {
                "trade_id": trade.trade_id,
                "market_id": trade.market_id,
                "contract_id": trade.contract_id,
                "price": trade.price,
                "quantity": trade.quantity,
                "state": trade.state,
                "pending_until_us": trade.pending_until_us,
                "liquidity": _SIDES[trade.liquidity],
                "buyer": trade.buy.account.username,
                "buy_order_id": trade.buy.order_id,
                "seller": trade.sell.account.username,
                "sell_order_id": trade.sell.order_id,
            }
            for market in self._markets(market_id)
            for trade in market.trades.values()
            if {trade.buy.account.username, trade.sell.account.username} & accounts
        ]

    # --- sessions and faults ---

    def connections(self, account: str | None = None) -> list[dict[str, Any]]:
        """Who is connected: since when, the next numbers both ways, subscriptions, and bytes that wait."""
        wanted = {each.username for each in self._accounts(account)}
        now = self._front.now()
        return [
            {
                "connection": peer.number,
                "account": peer.account.username if peer.account is not None else None,
                "session": peer.protocol.state.name,
                "seconds": round(now - peer.since, 3),
                "next_in": peer.protocol.memory.inseq,
                "next_out": peer.protocol.memory.outseq,
                "subscriptions": {
                    "markets": sorted(peer.interests.markets),
                    "events": sorted(peer.interests.events),
                    "price_feed": peer.interests.price_feed,
                    "market_feed": peer.interests.market_feed,
                },
                "bytes_waiting": peer.bytes_waiting,
            }
            for peer in self._front.exchange.peers
            if account is None or (peer.account is not None and peer.account.username in wanted)
        ]

    def armed(self) -> list[str]:
        """The faults that wait to happen, as they would be asked for."""
        return self._front.faults.waiting()

    def counters(self) -> dict[str, int]:
        """Numbers over everything: accounts, connections, markets, orders, events and faults."""
        exchange, truth = self._front.exchange, self._front.truth
        accounts = list(exchange.accounts)
        return {
            "accounts": len(accounts),
            "connections": len(exchange.peers),
            "markets": len(exchange.engine.markets),
            "live_orders": sum(len(account.live_orders) for account in accounts),
            "remembered_orders": sum(len(account.orders) for account in accounts),
            "trades": sum(len(market.trades) for market in exchange.engine.markets.values()),
            "events": sum(account.next_account_sequence - 1 for account in accounts),
            "orders_accepted": truth.orders_accepted,
            "executions": truth.executions,
            "executions_away": truth.executions_away,
            "events_forgotten": truth.forgotten,
            "faults": len(truth.faults),
        }

    def settings(self) -> dict[str, Any]:
        """Every setting of this exchange with its value."""
        fields = dataclasses.asdict(self._front.exchange.settings)
        return {
            name: value if isinstance(value, (int, float, str)) else str(value)  # a Decimal
            for name, value in fields.items()
        }

    # --- finding ---

    def _accounts(self, username: str | None) -> list[ExchangeAccount]:
        accounts = self._front.exchange.accounts
        if username is None:
            return list(accounts)
        found = [account for account in accounts if account.username == username]
        if not found:
            known = [account.username for account in accounts]
            raise UsageError(f"no account here has the user name {username!r}{near(username, known)}")
        return found

    def _markets(self, market_id: int | None) -> Iterable[Market]:
        if market_id is None:
            return list(self._front.exchange.engine.markets.values())
        return [self._market(market_id)]

    def _market(self, market_id: int) -> Market:
        markets = self._front.exchange.engine.markets
        if market_id not in markets:
            raise UsageError(f"there is no market {market_id}; there are {some(markets)}")
        return markets[market_id]


def _order(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "account": order.account.username,
        "market_id": order.market_id,
        "contract_id": order.contract_id,
        "side": _SIDES[order.side],
        "price": order.price,
        "quantity": order.quantity,
        "executed_quantity": order.executed_quantity,
        "executed_avg_price": order.executed_avg_price,
        "available_quantity": order.available_quantity,
        "state": order.state,
        "tif": seto.TimeInForceType.Name(order.tif),
        "label": order.label,
        "reference": order.reference,
    }


def _levels(levels: Iterable[tuple[int, int]]) -> list[dict[str, int]]:
    return [{"price": price, "quantity": quantity} for price, quantity in levels]


def _in_market(market_id: int | None) -> str:
    return f" in market {market_id}" if market_id is not None else ""


def market_state_name(state: seto.MarketStateType) -> str:
    """``MARKET_STATE_OPEN`` -> ``OPEN``."""
    return seto.MarketStateType.Name(state).removeprefix("MARKET_STATE_")


def _contract_state_name(state: int) -> str:
    # A contract that has no state of its own is in its market's: the numbers are the same.
    return seto.ContractStateType.Name(cast("seto.ContractStateType", state)).removeprefix("CONTRACT_STATE_")

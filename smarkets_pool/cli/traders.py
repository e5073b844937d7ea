"""The demo's bots: makers that quote, takers that take, and a record of everything handlers saw."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Mapping
from typing import Any

from smarkets_pool import Delivery, Pool, seto
from smarkets_pool.exceptions import Error, MemberDown, SendBufferFull
from smarkets_pool.pool import UP, Member

__all__ = ["Record", "Traders"]

#: What makers bid and ask, in 1/100 %: never crossing each other, so that only takers trade.
_BIDS = range(4000, 4900)
_OFFERS = range(5100, 6000)
_QUANTITY = 200_000
_TAKEN = 50_000


class Record:
    """What the handlers were given, per account and in order: ``[number, name, order id, quantity]``."""

    def __init__(self, names: Iterable[str]) -> None:
        self.events: dict[str, list[tuple[int, str, int, int]]] = {name: [] for name in names}
        self.gaps_found = 0
        self.holes = 0
        self.handler_errors = 0

    def note(self, delivery: Delivery) -> None:
        """The global handler: keep every event of an account, count what went missing."""
        if delivery.account_sequence is not None:
            message = delivery.message
            self.events[delivery.account].append(
                (
                    delivery.account_sequence,
                    delivery.name,
                    _field(message, "order_id"),
                    _field(message, "quantity"),
                )
            )
        elif delivery.name == "member.gap":
            if delivery.message.recoverable:
                self.gaps_found += 1
            elif delivery.message.kind != "stream":
                self.holes += 1

    def note_error(self, delivery: Delivery, error: BaseException) -> None:
        """A handler raised."""
        self.handler_errors += 1


class Traders:
    """Quotes for every even account, takes for every odd one.

    All of it happens through handlers and ``member.send``, as in any bot.
    """

    def __init__(
        self, pool: Pool, contracts: Mapping[int, list[int]], names: list[str], chance: random.Random
    ) -> None:
        self.makers = names[0::2]
        self.takers = names[1::2]
        self.orders = 0
        self.executions = 0
        self.accepted_labels: set[str] = set()
        self.executed_labels: set[str] = set()
        self.trading = True
        self._pool = pool
        self._chance = chance
        self._places = [(market, contract) for market, ids in contracts.items() for contract in ids]
        self._quoted: set[str] = set()
        pool.on("member.up", accounts=self.makers)(self.quote_first)
        pool.on(seto.OrderAccepted)(self.accepted)
        pool.on(seto.OrderExecuted)(self.executed)

    # --- handlers --------------------------------------------------------------------------------

    def quote_first(self, delivery: Delivery) -> None:
        """A maker that is up for the first time subscribes to a market and quotes in it."""
        if delivery.account in self._quoted:
            return
        market, contract = self._chance.choice(self._places)
        try:
            delivery.member.subscribe(market)
        except MemberDown:
            return  # gone again already; it will be up another time
        self._quoted.add(delivery.account)
        self._quote(delivery.member, market, contract, seto.SIDE_BUY)
        self._quote(delivery.member, market, contract, seto.SIDE_SELL)

    def accepted(self, delivery: Delivery) -> None:
        """Count, and remember which of the story's orders stand."""
        self.orders += 1
        self.accepted_labels.add(delivery.message.label)

    def executed(self, delivery: Delivery) -> None:
        """Count; a maker whose order is used up quotes again."""
        message = delivery.message
        self.executions += 1
        self.executed_labels.add(message.label)
        if message.label == "quote" and message.available_quantity == 0 and self.trading:
            self._quote(delivery.member, message.market_id, message.contract_id, message.side)

    # --- what they do ----------------------------------------------------------------------------

    def take_once(self) -> None:
        """One taker hits whatever is best somewhere, once."""
        taker = self._pool[self._chance.choice(self.takers)]
        market, contract = self._chance.choice(self._places)
        side = self._chance.choice((seto.SIDE_BUY, seto.SIDE_SELL))
        price = _OFFERS[-1] if side == seto.SIDE_BUY else _BIDS[0]
        self.place(taker, market, contract, side, price, _TAKEN, "take", seto.IMMEDIATE_OR_CANCEL)

    def ask_for_frames(self) -> None:
        """Have the exchange send something to every maker: the snapshot of a market."""
        for name in self.makers:
            with contextlib.suppress(Error):
                self._pool[name].subscribe(self._places[0][0])

    def place(
        self,
        member: Member,
        market: int,
        contract: int,
        side: seto.Side,
        price: int,
        quantity: int,
        label: str,
        tif: seto.TimeInForceType = seto.GOOD_TIL_CANCELLED,
    ) -> bool:
        """Send an order; False if the account cannot now."""
        if member.state is not UP:
            return False
        order = seto.OrderCreate(
            side=side,
            price=price,
            quantity=quantity,
            market_id=market,
            contract_id=contract,
            label=label,
            tif=tif,
        )
        try:
            member.send(order)
        except (MemberDown, SendBufferFull, Error):
            return False
        return True

    def _quote(self, member: Member, market: int, contract: int, side: seto.Side) -> None:
        price = self._chance.choice(_BIDS if side == seto.SIDE_BUY else _OFFERS)
        self.place(member, market, contract, side, price, _QUANTITY, "quote")


def _field(message: Any, name: str) -> int:
    return int(getattr(message, name, 0) or 0)

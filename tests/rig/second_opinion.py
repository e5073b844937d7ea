"""The exchange a second time, slowly: no running totals, every figure is a sum over all there is.

``SecondOpinion`` shares no rule and no arithmetic with the package, only the schema and the names of
states. It keeps *tickets* (orders) and *bets* (executions) in plain lists. Who must be matched is found by
looking through all tickets, what somebody has at risk by going through every outcome of every bet. Each of
its methods is one thing that a customer or the staff does; ``heard`` has what every account must be told
then, message by message, with every number in it.

Written from the fact sheet, sections 3 and 6, and from the docstring of ``ExchangeSettings``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

from google.protobuf.message import Message

from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.wire.schema import seto_pb2 as seto

BUY, SELL = seto.SIDE_BUY, seto.SIDE_SELL
#: Of these states the numbers are the same for markets and contracts.
NEW, HALTED = seto.MARKET_STATE_NEW, seto.MARKET_STATE_HALTED
SETTLED, VOIDED = seto.MARKET_STATE_SETTLED, seto.MARKET_STATE_VOIDED
CERTAIN = 10_000
LARGEST_QUANTITY = 2**31 - 1
UNITS_PER_CURRENCY_UNIT = 10**8


# --- what there is -----------------------------------------------------------------------------


@dataclass(eq=False)
class Ticket:
    """An order. It lives while ``end`` is empty; ``total`` counts what was executed too."""

    order_id: int
    owner: str
    market_id: int
    contract_id: int
    side: int
    price: int
    total: int
    tif: int
    label: str | None
    bets: list[Bet] = field(default_factory=list)
    end: str = ""

    def executed(self) -> int:
        return sum(bet.quantity for bet in self.bets)

    def open(self) -> int:
        return 0 if self.end else self.total - self.executed()

    def average(self) -> int:
        """Half up; 0 if nothing was executed."""
        paid = sum(Fraction(bet.price) * bet.quantity for bet in self.bets)
        return int(paid / self.executed() + Fraction(1, 2)) if self.executed() else 0


@dataclass(eq=False)
class Bet:
    """An execution whose outcome is open. ``maker`` rested, ``taker`` came later."""

    number: int
    market_id: int
    contract_id: int
    price: int
    quantity: int
    taker: Ticket
    maker: Ticket
    due_us: int | None = None

    def of(self, owner: str) -> Iterable[Ticket]:
        return (ticket for ticket in (self.taker, self.maker) if ticket.owner == owner)

    def result(self, side: int, won: bool) -> int:
        """What a side of it gains; the other side loses the same."""
        buyer_gains = self.quantity * (CERTAIN - self.price) if won else -self.quantity * self.price
        return buyer_gains if side == BUY else -buyer_gains

    def stake(self, side: int) -> int:
        """What a side of it may lose."""
        return -min(self.result(side, True), self.result(side, False))


@dataclass
class Place:
    """A market. ``own`` are the states that contracts have of their own."""

    market_id: int
    contracts: list[int]
    state: int = seto.MARKET_STATE_OPEN
    managed: bool = False
    own: dict[int, int] = field(default_factory=dict)
    #: Every execution there ever was, per contract: price, quantity, side of the maker, time.
    history: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    def over(self) -> bool:
        return self.state in (SETTLED, VOIDED)

    def can_win(self) -> list[int]:
        return [each for each in self.contracts if self.own.get(each) not in (SETTLED, VOIDED)]


@dataclass
class Purse:
    """What an account paid in and what its bets brought, one entry each."""

    entries: list[int]
    suspended: bool = False
    no_trading: bool = False
    stake_limit: int | None = None
    exposure_limit: int | None = None
    events: int = 0


# --- the exchange ------------------------------------------------------------------------------


class SecondOpinion:
    """What must be, according to the fact sheet."""

    def __init__(self, settings: ExchangeSettings, names: Collection[str]) -> None:
        self.settings = settings
        opening = int(settings.opening_balance * UNITS_PER_CURRENCY_UNIT)
        self.purses = {name: Purse([opening]) for name in names}
        self.places: dict[int, Place] = {}
        self.tickets: list[Ticket] = []
        self._perhaps_live: list[Ticket] = []
        self.bets: list[Bet] = []
        self.bets_made = 0
        self.now_us = 0
        self.no_trading = False
        #: Account -> what it must have been told since this was last taken.
        self.heard: dict[str, list[Message]] = {}
        #: What the one that asked must have been told apart from that.
        self.answered: list[Message] = []

    def take_heard(self) -> tuple[dict[str, list[Message]], list[Message]]:
        heard, answered = self.heard, self.answered
        self.heard, self.answered = {}, []
        return heard, answered

    # --- figures ---

    def live(self) -> list[Ticket]:
        # No order comes to life again, so the ended ones need not be looked at again.
        self._perhaps_live = [ticket for ticket in self._perhaps_live if not ticket.end]
        return self._perhaps_live

    def cash(self, name: str) -> int:
        return sum(self.purses[name].entries)

    def at_risk(self, name: str) -> int:
        """Open orders at their limits, and bets: each for itself, or against a market's worst winner."""
        risk = sum(self.worst(ticket, ticket.open()) for ticket in self.live() if ticket.owner == name)
        mine = [(bet, ticket.side) for bet in self.bets for ticket in bet.of(name)]
        if self.settings.netting == "none":
            return risk + sum(bet.stake(side) for bet, side in mine)
        for market_id, place in self.places.items():
            here = [(bet, side) for bet, side in mine if bet.market_id == market_id]
            outcomes = [
                sum(bet.result(side, bet.contract_id == winner) for bet, side in here)
                for winner in place.can_win()
            ]
            risk += max(0, -min(outcomes, default=0))
        return risk

    @staticmethod
    def worst(ticket: Ticket, quantity: int) -> int:
        return quantity * (ticket.price if ticket.side == BUY else CERTAIN - ticket.price)

    def available(self, name: str) -> int:
        return self.cash(name) - self.at_risk(name)

    def queue(self, market_id: int, contract_id: int, side: int) -> list[Ticket]:
        """Who rests on a side: best price first, oldest first."""
        here = [
            ticket
            for ticket in self.live()
            if (ticket.market_id, ticket.contract_id, ticket.side) == (market_id, contract_id, side)
        ]
        return sorted(here, key=lambda ticket: (ticket.price * (-1 if side == BUY else 1), ticket.order_id))

    def levels(self, market_id: int, contract_id: int, side: int) -> list[tuple[int, int]]:
        levels: dict[int, int] = {}
        for ticket in self.queue(market_id, contract_id, side):
            levels[ticket.price] = levels.get(ticket.price, 0) + ticket.open()
        return list(levels.items())

    def quotes(self, market_id: int) -> seto.MarketQuotes:
        """The snapshot of a market: what is visible, what was executed last and between which prices."""
        place, depth = self.places[market_id], self.settings.visible_depth or None
        found = []
        for contract_id in place.contracts:
            bids, offers = (
                [
                    seto.Quote(price=price, quantity=quantity)
                    for price, quantity in self.levels(market_id, contract_id, side)[:depth]
                ]
                for side in (BUY, SELL)
            )
            executions = [each for each in place.history if each[0] == contract_id]
            quotes = seto.ContractQuotes(
                market_id=market_id, contract_id=contract_id, bids=bids, offers=offers
            )
            if executions:
                _, price, quantity, side, when = executions[-1]
                last = seto.Execution(price=price, quantity=quantity, liquidity=side, microseconds=when)
                quotes.last_execution.CopyFrom(last)
                quotes.high_price = max(each[1] for each in executions)
                quotes.low_price = min(each[1] for each in executions)
            if bids or offers or executions:
                found.append(quotes)
        volume = sum(each[2] for each in place.history)
        return seto.MarketQuotes(market_id=market_id, contract_quotes=found, executed_volume=volume)

    # --- what is told ---

    def _money(self, name: str) -> dict[str, float]:
        """Rounded so that nobody hears of money that is not there."""
        step = Decimal(1).scaleb(-self.settings.balance_decimals)

        def told(units: int) -> float:
            return float((Decimal(units) / UNITS_PER_CURRENCY_UNIT).quantize(step, ROUND_FLOOR))

        return {"available_balance": told(self.available(name)), "exposure": told(-self.at_risk(name))}

    @staticmethod
    def _which(ticket: Ticket | None) -> dict[str, Any]:
        if ticket is None:
            return {}
        return {
            "market_id": ticket.market_id,
            "contract_id": ticket.contract_id,
            "side": ticket.side,
            "label": ticket.label,
        }

    @staticmethod
    def _so_far(ticket: Ticket) -> dict[str, int]:
        return {
            "orig_price": ticket.price,
            "executed_quantity": ticket.executed(),
            "executed_avg_price": ticket.average(),
        }

    def _tell(self, name: str, message: Any) -> None:
        """An event: it has the account's next number."""
        self.purses[name].events += 1
        message.account_sequence = message.account_sequence_64 = self.purses[name].events
        self.heard.setdefault(name, []).append(message)

    def _tell_balances(self, bets: Iterable[Bet], reason: str, first: Iterable[str] = ()) -> None:
        owners = [*first, *(ticket.owner for bet in bets for ticket in (bet.taker, bet.maker))]
        for name in dict.fromkeys(owners):
            changed = seto.BalanceChanged(reason=reason, **self._money(name))
            self.heard.setdefault(name, []).append(changed)

    # --- placing ---

    def create(self, name: str, order: seto.OrderCreate, seq: int, told_id: int) -> None:
        reference = order.reference if order.HasField("reference") else None
        label = order.label if order.HasField("label") else None
        wrong = [
            reason
            for reason, fine in (
                (seto.ORDER_INVALID_INVALID_QUANTITY, 1 <= order.quantity <= LARGEST_QUANTITY),
                (seto.ORDER_INVALID_INVALID_PRICE, 1 <= order.price < CERTAIN),
            )
            if not fine
        ]
        if wrong:
            self.answered.append(seto.OrderInvalid(seq=seq, reasons=wrong, reference=reference))
            return
        ticket = Ticket(
            told_id,
            name,
            order.market_id,
            order.contract_id,
            order.side,
            order.price,
            order.quantity,
            order.tif,
            label,
        )
        reason = self._account_objection(name) or self._place_objection(ticket)
        reason = reason or self._money_objection(ticket) or self._own_objection(ticket)
        if reason:
            number = seto.OrderRejectedReason.Value(f"ORDER_REJECTED_{reason}")
            self._tell(name, seto.OrderRejected(seq=seq, reason=number, reference=reference, label=label))
            return
        self._arrive(ticket)
        accepted = seto.OrderAccepted(
            seq=seq,
            order_id=ticket.order_id,
            price=ticket.price,
            quantity=ticket.total,
            reference=reference,
            **self._which(ticket),
            **self._money(name),
        )
        self._tell(name, accepted)
        self._match(ticket, order.maq)

    def _arrive(self, ticket: Ticket) -> None:
        # A later order has a larger number, and that is its place in the queue.
        assert all(ticket.order_id > other.order_id for other in self.tickets)
        self.tickets.append(ticket)
        self._perhaps_live.append(ticket)

    def _account_objection(self, name: str) -> str:
        purse = self.purses[name]
        if purse.suspended:
            return "ACCOUNT_SUSPENDED"
        return "TRADING_SUSPENDED" if purse.no_trading or self.no_trading else ""

    def _place_objection(self, ticket: Ticket) -> str:
        place = self.places.get(ticket.market_id)
        if place is None:
            return "MARKET_NOT_FOUND"
        if ticket.contract_id not in place.contracts:
            return "CONTRACT_NOT_FOUND"
        words = {NEW: "MARKET_NOT_OPEN", HALTED: "MARKET_HALTED", SETTLED: "SETTLED", VOIDED: "SETTLED"}
        for state, whose in ((place.state, "MARKET_"), (place.own.get(ticket.contract_id), "CONTRACT_")):
            if state in words:
                return words[state] if "MARKET" in words[state] else whose + words[state]
        return ""

    def _money_objection(self, ticket: Ticket, freed: int = 0) -> str:
        purse, needed = self.purses[ticket.owner], self.worst(ticket, ticket.total - ticket.executed())
        if purse.stake_limit is not None and needed > purse.stake_limit:
            return "STAKE_LIMIT_EXCEEDED"
        if (
            purse.exposure_limit is not None
            and self.at_risk(ticket.owner) - freed + needed > purse.exposure_limit
        ):
            return "LIMIT_EXCEEDED"
        return "INSUFFICIENT_FUNDS" if needed > self.available(ticket.owner) + freed else ""

    def _own_objection(self, ticket: Ticket) -> str:
        if self.settings.crossed_self == "cancel_resting":
            return ""
        return "CROSSED_SELF" if any(other.owner == ticket.owner for other, _ in self.meets(ticket)) else ""

    def meets(self, ticket: Ticket) -> list[tuple[Ticket, int]]:
        """Whom an order must meet, one after the other, and with how much."""
        left, met = ticket.total - ticket.executed(), []
        other_side = SELL if ticket.side == BUY else BUY
        for other in self.queue(ticket.market_id, ticket.contract_id, other_side):
            agreeable = other.price <= ticket.price if ticket.side == BUY else other.price >= ticket.price
            if left and agreeable and other is not ticket:
                met.append((other, min(left, other.open())))
                left -= met[-1][1]
        return met

    def _match(self, ticket: Ticket, at_least: int) -> None:
        place = self.places[ticket.market_id]
        while own := [other for other, _ in self.meets(ticket) if other.owner == ticket.owner]:
            self._cancel(own[0], seto.ORDER_CANCELLED_MEMBER_REQUESTED)
        met = self.meets(ticket)
        if sum(quantity for _, quantity in met) < at_least:
            self._cancel(ticket, seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY)
            return
        for other, quantity in met:
            self.bets_made += 1
            pending_us = self.settings.managed_pending_ms * 1000 if place.managed else 0
            due_us = self.now_us + pending_us if pending_us else None
            bet = Bet(
                self.bets_made,
                ticket.market_id,
                ticket.contract_id,
                other.price,
                quantity,
                taker=ticket,
                maker=other,
                due_us=due_us,
            )
            self.bets.append(bet)
            place.history.append((bet.contract_id, bet.price, quantity, other.side, self.now_us))
            for each in (ticket, other):
                each.bets.append(bet)
                if not each.open():
                    each.end = "filled"
            for each in (ticket, other):
                self._tell(each.owner, self._executed(each, bet))
        if ticket.tif == seto.IMMEDIATE_OR_CANCEL and not ticket.end:
            self._cancel(ticket, seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY)

    def _executed(self, ticket: Ticket, bet: Bet) -> seto.OrderExecuted:
        return seto.OrderExecuted(
            order_id=ticket.order_id,
            price=bet.price,
            quantity=bet.quantity,
            pending_timeout=None if bet.due_us is None else self.settings.managed_pending_ms,
            total_executed_quantity=ticket.executed(),
            executed_avg_price=ticket.average(),
            available_quantity=ticket.open(),
            orig_price=ticket.price,
            **self._which(ticket),
            **self._money(ticket.owner),
        )

    # --- cancelling, reducing, replacing ---

    def _of(self, name: str, order_id: int) -> Ticket | None:
        """Somebody else's order is as unknown as none."""
        return next((each for each in self.tickets if (each.owner, each.order_id) == (name, order_id)), None)

    def _cancel(
        self, ticket: Ticket, reason: seto.OrderCancelledReason, reference: int | None = None
    ) -> None:
        ticket.end = "cancelled"
        cancelled = seto.OrderCancelled(
            order_id=ticket.order_id,
            reason=reason,
            reference=reference,
            **self._so_far(ticket),
            **self._which(ticket),
            **self._money(ticket.owner),
        )
        self._tell(ticket.owner, cancelled)

    def cancel(self, name: str, order_id: int, reference: int) -> None:
        ticket = self._of(name, order_id)
        if ticket is not None and not ticket.end:
            self._cancel(ticket, seto.ORDER_CANCELLED_MEMBER_REQUESTED, reference)
            return
        unknown = ticket is None
        rejected = seto.OrderCancelRejected(
            order_id=order_id,
            reason=seto.ORDER_CANCEL_REJECTED_NOT_FOUND if unknown else seto.ORDER_CANCEL_REJECTED_NOT_LIVE,
            reference=reference,
            **self._which(ticket),
        )
        self._tell(name, rejected)

    def cancel_all(self, name: str, market_id: int | None, reference: int) -> None:
        self._tell(name, seto.OrderCancelAllAccepted(reference=reference))
        for ticket in self.live():
            if ticket.owner == name and market_id in (None, ticket.market_id):
                self._cancel(ticket, seto.ORDER_CANCELLED_MEMBER_REQUESTED, reference)

    def reduce_quantity(self, name: str, order_id: int, new_quantity: int, reference: int) -> None:
        ticket = self._of(name, order_id)
        reason = ""
        if ticket is None:
            reason = "NOT_FOUND"
        elif ticket.end:
            reason = "NOT_LIVE"
        elif not ticket.executed() < new_quantity < ticket.total:
            reason = "INVALID_NEW_QUANTITY"
        if ticket is None or reason:
            rejected = seto.OrderQuantityReduceRejected(
                order_id=order_id,
                reason=seto.OrderQuantityReduceRejectedReason.Value(
                    f"ORDER_QUANTITY_REDUCE_REJECTED_{reason}"
                ),
                new_quantity=new_quantity,
                reference=reference,
                label=ticket.label if ticket else None,
            )
            self._tell(name, rejected)
            return
        ticket.total = new_quantity
        reduced = seto.OrderQuantityReduced(
            order_id=order_id,
            reason=seto.ORDER_QUANTITY_REDUCED_MEMBER_REQUESTED,
            reference=reference,
            new_quantity=new_quantity,
            **self._so_far(ticket),
            **self._which(ticket),
        )
        self._tell(name, reduced)

    def replace(self, name: str, request: seto.OrderCancelReplace, seq: int, told_id: int) -> None:
        reference = request.reference
        if not 1 <= request.price < CERTAIN:
            wrong = [seto.ORDER_INVALID_INVALID_PRICE]
            self.answered.append(seto.OrderInvalid(seq=seq, reasons=wrong, reference=reference))
            return
        original = self._of(name, request.orig_order_id)
        reason = self._replace_objection(original, request)
        if original is None or reason:
            rejected = seto.OrderCancelRejected(
                orig_order_id=request.orig_order_id,
                reason=seto.OrderCancelRejectedReason.Value(f"ORDER_CANCEL_REJECTED_{reason}"),
                reference=reference,
                **self._which(original),
            )
            self._tell(name, rejected)
            return
        original.end = "replaced"
        ticket = self._wanted(original, request, told_id)
        common: dict[str, Any] = {
            "order_id": told_id,
            "orig_order_id": original.order_id,
            "reference": reference,
            **self._which(ticket),
        }
        terms = {"price": ticket.price, "quantity": ticket.total}
        self._tell(name, seto.OrderPendingReplace(**terms, **common))
        reason = self._place_objection(ticket) or self._own_objection(ticket)
        if reason:
            number = seto.OrderCancelReplaceRejectedReason.Value(f"ORDER_CANCEL_REPLACE_REJECTED_{reason}")
            self._tell(name, seto.OrderCancelReplaceRejected(reason=number, **common))
            return
        self._arrive(ticket)
        original.bets = []
        for bet in ticket.bets:
            if bet.taker is original:
                bet.taker = ticket
            else:
                bet.maker = ticket
        accepted = seto.OrderCancelReplaceAccepted(quantity_left=ticket.open(), **terms, **common)
        self._tell(name, accepted)
        self._match(ticket, 0)

    def _wanted(self, original: Ticket, request: seto.OrderCancelReplace, told_id: int) -> Ticket:
        return Ticket(
            told_id,
            original.owner,
            original.market_id,
            original.contract_id,
            original.side,
            request.price,
            request.quantity,
            original.tif,
            request.label if request.HasField("label") else original.label,
            bets=list(original.bets),
        )

    def _replace_objection(self, original: Ticket | None, request: seto.OrderCancelReplace) -> str:
        if original is None:
            return "NOT_FOUND"
        if original.end:
            return "TOO_LATE" if original.end == "filled" else "NOT_LIVE"
        if objection := self._account_objection(original.owner):
            return objection
        if request.HasField("market_id") and request.market_id != original.market_id:
            return "MARKET_NOT_FOUND"
        if not max(original.executed() + 1, 1) <= request.quantity <= LARGEST_QUANTITY:
            return "INVALID_QUANTITY"
        freed = self.worst(original, original.open())
        return self._money_objection(self._wanted(original, request, 0), freed)

    # --- the staff and markets ---

    def _end_orders(
        self, place: Place, contracts: Collection[int], state: int | None, *, every: bool = False
    ) -> None:
        """A halt ends what does not survive it, the end of all and a reduction factor everything."""
        goes = {seto.GOOD_TIL_CANCELLED, seto.GOOD_TILL_HALTED}
        if self.settings.gtc_survives_halt:
            goes.remove(seto.GOOD_TIL_CANCELLED)
        if every or state in (SETTLED, VOIDED):
            goes = set(seto.TimeInForceType.values())
        elif state != HALTED:
            return
        for contract_id in contracts:
            for side in (BUY, SELL):
                for ticket in self.queue(place.market_id, contract_id, side):
                    if ticket.tif in goes:
                        self._cancel(ticket, seto.ORDER_CANCELLED_MARKET_HALTED)

    def set_market_state(self, market_id: int, state: int) -> None:
        place = self.places[market_id]
        if place.state != state:
            place.state = state
            self._end_orders(place, place.contracts, state)

    def set_contract_state(self, market_id: int, contract_id: int, state: int) -> None:
        self.places[market_id].own[contract_id] = state
        self._end_orders(self.places[market_id], [contract_id], state)

    def confirm(self, bet: Bet) -> None:
        if bet.due_us is None:
            return
        bet.due_us = None
        for ticket in (bet.taker, bet.maker):
            confirmed = seto.OrderExecuteConfirmed(
                order_id=ticket.order_id, price=bet.price, quantity=bet.quantity, label=ticket.label
            )
            self._tell(ticket.owner, confirmed)

    def confirm_due(self) -> None:
        due = [bet for bet in self.bets if bet.due_us is not None and bet.due_us <= self.now_us]
        for bet in sorted(due, key=lambda bet: (bet.due_us, bet.number)):
            self.confirm(bet)

    def next_due(self) -> int | None:
        return min((bet.due_us for bet in self.bets if bet.due_us is not None), default=None)

    # --- voids ---

    def _undo(self, bet: Bet) -> None:
        self.bets.remove(bet)
        for ticket in (bet.taker, bet.maker):
            ticket.bets.remove(bet)
            ticket.total -= bet.quantity
            if ticket.end == "filled" and not ticket.executed():
                ticket.end = "voided"

    def _execution_voided(self, ticket: Ticket, bet: Bet) -> seto.OrderExecutedVoid:
        return seto.OrderExecutedVoid(
            order_id=ticket.order_id,
            price=bet.price,
            quantity=bet.quantity,
            available_quantity=ticket.open(),
            **self._so_far(ticket),
            **self._which(ticket),
            **self._money(ticket.owner),
        )

    def _order_voided(self, ticket: Ticket, was: int) -> seto.OrderVoided:
        return seto.OrderVoided(
            order_id=ticket.order_id,
            quantity=ticket.total,
            source_quantity=was,
            **self._so_far(ticket),
            **self._which(ticket),
        )

    def void_bet(self, bet: Bet) -> None:
        self._undo(bet)
        for ticket in (bet.taker, bet.maker):
            self._tell(ticket.owner, self._execution_voided(ticket, bet))

    def void_ticket(self, ticket: Ticket) -> None:
        was, bets, was_live = ticket.total, list(ticket.bets), not ticket.end
        if was_live:
            ticket.total = ticket.executed()
        ticket.end = "voided"
        for bet in bets:
            self._undo(bet)
        self._tell(ticket.owner, self._order_voided(ticket, was))
        for bet in bets:
            other = bet.maker if bet.taker is ticket else bet.taker
            self._tell(other.owner, self._execution_voided(other, bet))
        self._tell_balances(bets, "void", [ticket.owner] if was_live else [])

    def _void_all(self, bets: list[Bet]) -> None:
        was = {ticket: ticket.total for bet in bets for ticket in (bet.taker, bet.maker)}
        for bet in bets:
            self._undo(bet)
        for ticket, total in was.items():
            self._tell(ticket.owner, self._order_voided(ticket, total))
        self._tell_balances(bets, "void")

    def void_contract(self, market_id: int, contract_id: int) -> None:
        place = self.places[market_id]
        bets = self._bets_in(market_id, [contract_id])
        self._end_orders(place, [contract_id], VOIDED)
        # Until now it could win, as far as what is told of cancelled orders goes.
        place.own[contract_id] = VOIDED
        self._void_all(bets)

    def void_market(self, market_id: int) -> None:
        place = self.places[market_id]
        place.state = VOIDED
        self._end_orders(place, place.contracts, VOIDED)
        self._void_all(self._bets_in(market_id, place.contracts))

    def _bets_in(self, market_id: int, contracts: Collection[int]) -> list[Bet]:
        return [bet for bet in self.bets if bet.market_id == market_id and bet.contract_id in contracts]

    # --- reduction factors ---

    def reduction(self, market_id: int, contract_id: int, factor: int, kind: str) -> None:
        place = self.places[market_id]
        place.own[contract_id] = seto.CONTRACT_STATE_REDUCED
        self._end_orders(place, [contract_id], None, every=True)
        left = 1 - Fraction(factor, self.settings.reduce_factor_whole)
        bets = self._bets_in(market_id, [contract_id])
        was = {ticket: ticket.executed() for bet in bets for ticket in (bet.taker, bet.maker)}
        for bet in bets:
            before = bet.quantity
            bet.price, bet.quantity = self.reduced(bet, left, kind)
            for ticket in (bet.taker, bet.maker):
                ticket.total -= before - bet.quantity
        for ticket, executed in was.items():
            told = seto.OrderReduced(
                order_id=ticket.order_id,
                price=ticket.average(),
                quantity=ticket.executed(),
                source_quantity=executed,
                available_quantity=0,
                **self._so_far(ticket),
                **self._which(ticket),
            )
            self._tell(ticket.owner, told)
        self._tell_balances(bets, "reduction")

    @staticmethod
    def reduced(bet: Bet, left: Fraction, kind: str) -> tuple[int, int]:
        """The largest bet at the new odds for which nobody risks more and the payout is not above its share.

        Odds are certainty by price; whatever does not divide goes.
        """
        share = int(bet.quantity * left)
        if kind == "QUANTITY":
            return bet.price, share
        price = min(CERTAIN - 1, int(bet.price / left)) if left else CERTAIN - 1
        by_buyer = bet.stake(BUY) // price
        by_seller = bet.stake(SELL) // (CERTAIN - price)
        return price, min(share, by_buyer, by_seller)

    # --- settling ---

    def settle(self, market_id: int, winners: Collection[int]) -> None:
        place = self.places[market_id]
        place.state = SETTLED
        self._end_orders(place, place.can_win(), SETTLED)
        self._pay(self._bets_in(market_id, place.can_win()), winners, lambda: None)

    def settle_contract(self, market_id: int, contract_id: int, won: bool) -> None:
        place = self.places[market_id]
        self._end_orders(place, [contract_id], SETTLED)

        def close() -> None:
            place.own[contract_id] = SETTLED

        bets = self._bets_in(market_id, [contract_id])
        self._pay(bets, [contract_id] if won else [], close)

    def _pay(self, bets: list[Bet], winners: Collection[int], close: Callable[[], None]) -> None:
        for bet in bets:
            self.confirm(bet)
        close()
        for bet in bets:
            for ticket in (bet.taker, bet.maker):
                gain = bet.result(ticket.side, bet.contract_id in winners)
                self.purses[ticket.owner].entries.append(gain)
            self.bets.remove(bet)
        self._tell_balances(bets, self.settings.settlement_reason)

    def remove_market(self, market_id: int) -> None:
        del self.places[market_id]

    # --- accounts ---

    def resume_trading(self, name: str | None) -> None:
        """Of one account or, with None, of the exchange: orders from before are cancelled."""
        whom = self if name is None else self.purses[name]
        if whom.no_trading:
            whom.no_trading = False
            for whose in self.purses if name is None else [name]:
                for ticket in self.live():
                    if ticket.owner == whose:
                        self._cancel(ticket, seto.ORDER_CANCELLED_TRADING_SUSPENDED)

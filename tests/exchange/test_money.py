"""Money, matching and everything told of them, in random play against a slow second opinion.

A play goes through orders of every kind, cancellations, reductions, replacements, halts, managed markets,
voids, reduction factors, settlements, deposits and suspensions. After every step every message, every
balance, every order, bet and quote is what ``tests/rig/second_opinion.py`` says it must be. ``make property``
plays for minutes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from google.protobuf.message import Message
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.accounts import Accounts
from smarkets_pool.exchange.engine import Change, Effect, Engine, Operated, ToAccount, ToMarket
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.wire.schema import seto_pb2 as seto
from tests.rig.second_opinion import HALTED, NEW, Bet, Place, SecondOpinion, Ticket
from tests.rig.trading import BUY, GTC, GTH, IOC, KIP, SELL, picture, spoken

NAMES = ("ann", "bob", "cyd", "dan")
#: Each step takes so long.
TICK_US = 1000
#: Few prices, so that orders meet.
PRICES = [5000, 5000, 4999, 5001, 4900, 5100, 4000, 6000, 4800, 5200, 2500, 7500, 1, 9999]
WHO = st.sampled_from(NAMES)
#: Which one of those there are, whatever their number.
WHICH = st.integers(0, 2**16)
#: What to do, and its terms.
Request = tuple[str, dict[str, Any]]


def some_request(chance: random.Random) -> Request:
    """A customer's request: what to do, and its terms."""
    price = chance.choice(PRICES) if chance.random() < 0.97 else chance.choice([0, 10_000])
    quantity = chance.randint(1, 60) if chance.random() < 0.95 else chance.choice([0, 1000, 10**7])
    kind = chance.choice(["create"] * 6 + ["replace", "reduce_quantity", "cancel"])
    if kind == "create":
        return kind, {
            "who": chance.choice(NAMES),
            "side": chance.choice([BUY, SELL]),
            "price": price,
            "quantity": quantity,
            "tif": chance.choice([GTC, KIP, GTC, KIP, GTC, KIP, GTH, IOC]),
            "maq": chance.choice([0] * 12 + [1, 30]),
            "label": chance.choice([None, None, "l"]),
        }
    terms: dict[str, Any] = {"which": chance.randrange(2**16)}
    if kind != "cancel":
        terms |= {"aim": chance.randrange(6), "quantity": quantity}
    if kind == "replace":
        terms |= {"price": price, "label": chance.choice([None, None, "n"])}
        terms["market_id"] = chance.choice([None, None, None, 1, 2, 3])
    return kind, terms


def some_requests(seed: int, many: int) -> list[Request]:
    """Drawn by a seed: hypothesis takes longer to draw a request than the exchange to carry it out."""
    chance = random.Random(seed)
    return [some_request(chance) for _ in range(many)]


REQUESTS = st.builds(some_requests, seed=st.integers(0, 2**32), many=st.integers(0, 12))
LIMITS = st.tuples(*[st.none() | st.integers(0, 1_000_000)] * 2)
STATES = ["HALTED", "LIVE", "HALTED", "OPEN", "NEW"]


def act(**drawn: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule before which there is some trading, so that what it does meets orders and bets."""

    def decorate(function: Callable[..., None]) -> Any:
        def carry_out(self: Play, before: tuple[int, list[Request]], **values: Any) -> None:
            self.trade(*before)
            function(self, **values)

        carry_out.__name__, carry_out.__doc__ = function.__name__, function.__doc__
        return rule(before=st.tuples(WHICH, REQUESTS), **drawn)(carry_out)

    return decorate


class Follower:
    """A subscriber of all markets from the first moment on, who knows what deltas told him."""

    def __init__(self) -> None:
        self._levels: dict[tuple[int, int, int], dict[int, int]] = {}
        self.executions: list[tuple[int, int, int, int, int]] = []

    def hear(self, delta: seto.ContractQuotes) -> None:
        for side, changes in ((BUY, delta.bids), (SELL, delta.offers)):
            levels = self._levels.setdefault((delta.market_id, delta.contract_id, side), {})
            for quote in changes:
                levels[quote.price] = quote.quantity
                if not quote.quantity:
                    del levels[quote.price]
        self.executions += [
            (delta.contract_id, each.price, each.quantity, each.liquidity, each.microseconds)
            for each in delta.executions
        ]

    def levels(self, market_id: int, contract_id: int, side: int) -> dict[int, int]:
        return self._levels.get((market_id, contract_id, side), {})


class Play(RuleBasedStateMachine):
    """Random requests of four customers, and of the staff, in three markets with seven contracts."""

    #: What all plays together did.
    figures: ClassVar[Counter[str]] = Counter()

    @initialize(
        netting=st.sampled_from(["none", "market"]),
        visible_depth=st.sampled_from([0, 1, 5]),
        balance_decimals=st.sampled_from([8, 2]),
        crossed_self=st.sampled_from(["reject", "reject", "cancel_resting"]),
        gtc_survives_halt=st.booleans(),
        opening_balance=st.sampled_from(["0.006", "0.02", "1000"]),
    )
    def begin(self, opening_balance: str, **settings: Any) -> None:
        self.settings = ExchangeSettings(opening_balance=Decimal(opening_balance), **settings)
        self.engine = self._new_engine()
        self.changes: list[Change] = []
        self.effects: list[Effect] = []
        self.engine.on_change = self.changes.append
        self.opinion = SecondOpinion(self.settings, NAMES)
        self.follower = Follower()
        self.now_us = self.opinion.now_us = 1_000_000
        self.references = 0
        self.last_market_id = 0
        #: The contract in which most orders come at present.
        self.busy = (1, 1)
        self.deposited = int(self.settings.opening_balance * 10**8) * len(NAMES)
        for contracts in (2, 2, 3):
            self._add_market(contracts)
        self.figures["examples"] += 1

    def _new_engine(self) -> Engine:
        accounts = Accounts(self.settings)
        for name in NAMES:
            accounts.add(name)
        return Engine(self.settings, Truth(), accounts, [])

    def _add_market(self, contracts: int) -> None:
        self.last_market_id += 1
        arguments = {"market_id": self.last_market_id, "contracts": list(range(1, contracts + 1))}
        self.opinion.places[self.last_market_id] = Place(**arguments)
        self._staff("add_market", lambda: None, **arguments)

    # --- one step, and what must hold behind it ---

    def _ask(self, name: str, message: Any, answer: Callable[[int, int], None]) -> None:
        """A customer's request; ``answer`` gets its number and the order id that was told."""
        self._tick()
        self.references += 1
        message.reference = seq = self.references
        account = self.engine.accounts[name]
        effects = self.engine.handle(account, message, seq=seq, now_us=self.now_us, session=name)
        told = [
            effect.message.order_id
            for effect in effects
            if isinstance(effect.message, (seto.OrderAccepted, seto.OrderPendingReplace))
        ]
        answer(seq, told[0] if told else 0)
        self._check(effects)

    def _staff(
        self, verb: str, answer: Callable[[], None], *, excuses: bool = False, **arguments: Any
    ) -> None:
        """A verb of the staff. ``excuses``: where bets cover each other it may uncover some."""
        self._tick()
        effects = self.engine.operate(verb, now_us=self.now_us, **arguments)
        answer()
        self._check(effects, excused=excuses and self.settings.netting == "market")

    def _tick(self) -> None:
        self.now_us = self.opinion.now_us = self.now_us + TICK_US
        self.before = {account.username: account.available_points for account in self.engine.accounts}
        self.executed_before = {
            market_id: len(place.history) for market_id, place in self.opinion.places.items()
        }

    def _check(self, effects: list[Effect], *, excused: bool = False) -> None:
        self.figures["steps"] += 1
        self.effects += effects
        self._check_told(effects)
        self._check_accounts(excused)
        self._check_orders()
        self._check_markets(effects)
        assert self.engine.due_us() == self.opinion.next_due()

    def _check_told(self, effects: list[Effect]) -> None:
        """Every message to every account, with every number in it, in its order."""
        told: dict[str, list[Message]] = {}
        answered = []
        for effect in effects:
            if isinstance(effect, ToAccount):
                told.setdefault(effect.account.username, []).append(effect.message)
            elif not isinstance(effect, ToMarket):
                answered.append(effect.message)
            self.figures[type(effect.message).__name__] += 1
            self.figures["messages"] += 1
        assert (told, answered) == self.opinion.take_heard()

    def _check_accounts(self, excused: bool) -> None:
        """Money is where it must be, none was made, and nobody has more at risk than he has.

        With bets that are netted, undoing one of two that cover each other, or paying one before the
        other, puts more at risk than there was, and what is available may fall below 0. Nothing else may
        lower it there.
        """
        accounts = list(self.engine.accounts)
        assert sum(account.cash_points for account in accounts) == self.deposited
        for account in accounts:
            name = account.username
            assert account.cash_points == self.opinion.cash(name)
            assert account.liability_points == -account.exposure_points == self.opinion.at_risk(name)
            assert account.available_points == self.opinion.available(name)
            assert account.next_account_sequence == self.opinion.purses[name].events + 1
            assert excused or account.available_points >= min(0, self.before[name])
            if self.settings.netting == "none":
                assert account.available_points >= 0

    def _check_orders(self) -> None:
        """Each order is as it must be, none executed more than it is, none met its own account's."""
        for account in self.engine.accounts:
            live = [ticket.order_id for ticket in self.opinion.live() if ticket.owner == account.username]
            assert list(account.live_orders) == live
        for ticket in self.opinion.tickets:
            order = self.engine.accounts[ticket.owner].orders[ticket.order_id]
            assert order.state == (ticket.end or "live")
            if order.state == "live":
                assert 0 <= order.executed_quantity < order.quantity
                assert (order.quantity, order.available_quantity) == (ticket.total, ticket.open())
                assert (order.side, order.price, order.tif) == (ticket.side, ticket.price, ticket.tif)
                assert order.executed_avg_price == ticket.average()
        trades = {
            number: trade
            for market in self.engine.markets.values()
            for number, trade in market.trades.items()
        }
        assert sorted(trades) == [bet.number for bet in self.opinion.bets]
        for bet in self.opinion.bets:
            trade = trades[bet.number]
            assert (trade.price, trade.quantity) == (bet.price, bet.quantity)
            assert [order.order_id for order in trade.orders] == [bet.taker.order_id, bet.maker.order_id]
            assert trade.buy.account is not trade.sell.account
            assert trade.pending_until_us == bet.due_us
            assert all(order.executed_quantity <= order.quantity for order in trade.orders)

    def _check_markets(self, effects: list[Effect]) -> None:
        """Books, quotes, snapshots and executions; no book is crossed at rest.

        Of the markets that nothing was told of, one is looked at per step.
        """
        touched = {getattr(effect.message, "market_id", 0) for effect in effects}
        for effect in effects:
            if isinstance(effect.message, seto.ContractQuotes):
                self.follower.hear(effect.message)
        executed = []
        for market_id, place in self.opinion.places.items():
            executed += place.history[self.executed_before.get(market_id, 0) :]
            if market_id in touched or (market_id + self.now_us // TICK_US) % 3 == 0:
                self._check_market(place)
        assert sorted(executed) == sorted(self.follower.executions)
        self.follower.executions.clear()

    def _check_market(self, place: Place) -> None:
        market_id, depth = place.market_id, self.settings.visible_depth
        market = self.engine.markets[market_id]
        assert market.state == place.state
        assert self.engine.snapshot(market_id)[0] == self.opinion.quotes(market_id)
        for contract_id, book in market.books.items():
            best_bid, best_offer = book.best(BUY), book.best(SELL)
            assert best_bid is None or best_offer is None or best_bid < best_offer
            queues = [self.opinion.queue(market_id, contract_id, side) for side in (BUY, SELL)]
            in_order = [ticket.order_id for queue in queues for ticket in queue]
            assert [order.order_id for order in book.orders()] == in_order
            for side in (BUY, SELL):
                levels = self.opinion.levels(market_id, contract_id, side)
                assert book.levels(side, 0) == levels
                seen = self.follower.levels(market_id, contract_id, side)
                visible = dict(levels[: depth or None])
                assert {price: seen.get(price) for price in visible} == visible
                assert depth or seen == visible

    # --- customers ---

    def trade(self, where: int, requests: list[Request]) -> None:
        """Several requests, the new orders in one contract, or now and then all over."""
        if where % 4:
            self._lift()
        for index, (kind, terms) in enumerate(requests):
            if kind == "create":
                self._create(self._somewhere(where + index if where % 6 == 5 else where), **terms)
            elif self.opinion.tickets:
                getattr(self, f"_{kind}")(**terms)

    @act()
    def go_on(self) -> None:
        """Nothing but trading."""

    @act()
    def go_on_and_on(self) -> None:
        """And more of it."""

    def _create(self, where: tuple[int, int], who: str, **terms: Any) -> None:
        message = seto.OrderCreate(market_id=where[0], contract_id=where[1], **terms)
        self._ask(who, message, lambda seq, told: self.opinion.create(who, message, seq, told))

    def _somewhere(self, where: int) -> tuple[int, int]:
        """Mostly a contract that is open, sometimes one that is over or gone, or none at all."""
        if where % 61 == 60:
            return (where // 61 % (self.last_market_id + 2), 1 + where % 5)
        place = self.opinion.places.get(self.busy[0])
        if where % 5 < 3 and place and not place.over() and self.busy[1] in place.can_win():
            return self.busy
        places = [place for place in self._open_places() if place.can_win()]
        if where % 17 == 16 or not places:
            places = list(self.opinion.places.values())
        place = places[where % len(places)]
        contracts = place.contracts if where % 19 == 18 else place.can_win() or place.contracts
        self.busy = place.market_id, contracts[where // 7 % len(contracts)]
        return self.busy

    def _some_order(self, which: int) -> tuple[str, Ticket]:
        """Mostly a live order, often one that has been executed in part, sometimes an ended one.

        The name is its owner's, or sometimes somebody else's.
        """
        tickets = self.opinion.live()
        if which % 3 == 1:
            tickets = [ticket for ticket in tickets if ticket.bets] or tickets
        if which % 6 == 5 or not tickets:
            tickets = self.opinion.tickets
        ticket = tickets[which // 6 % len(tickets)]
        return (NAMES[which % 4] if which % 11 == 10 else ticket.owner), ticket

    def _cancel(self, which: int) -> None:
        name, ticket = self._some_order(which)
        order_id = which if which % 37 == 36 else ticket.order_id
        message = seto.OrderCancel(order_id=order_id)
        self._ask(name, message, lambda seq, _: self.opinion.cancel(name, order_id, seq))

    def _reduce_quantity(self, which: int, aim: int, quantity: int) -> None:
        name, ticket = self._some_order(which)
        quantity = self._aimed(ticket, aim, quantity)
        order_id = which if which % 37 == 36 else ticket.order_id
        message = seto.OrderQuantityReduce(order_id=order_id, new_quantity=quantity)
        answer = self.opinion.reduce_quantity
        self._ask(name, message, lambda seq, _: answer(name, order_id, quantity, seq))

    def _replace(self, which: int, aim: int, quantity: int, **terms: Any) -> None:
        name, ticket = self._some_order(which)
        quantity = self._aimed(ticket, aim, quantity)
        order_id = which if which % 37 == 36 else ticket.order_id
        message = seto.OrderCancelReplace(orig_order_id=order_id, quantity=quantity, **terms)
        self._ask(name, message, lambda seq, told: self.opinion.replace(name, message, seq, told))

    @staticmethod
    def _aimed(ticket: Ticket, aim: int, quantity: int) -> int:
        """A quantity, often one just inside or outside what an order can be made."""
        executed, total = ticket.executed(), ticket.total
        return [executed + quantity, executed + 1, max(0, total - 1), total, executed, quantity][aim]

    @precondition(lambda self: self.opinion.live())
    @act(who=WHO, where=st.none() | WHICH)
    def cancel_all(self, who: str, where: int | None) -> None:
        market_id = None if where is None else self._somewhere(where)[0]
        message = seto.OrderCancelAll(market_id=market_id)
        self._ask(who, message, lambda seq, _: self.opinion.cancel_all(who, market_id, seq))

    # --- states ---

    def _open_places(self) -> list[Place]:
        return [place for place in self.opinion.places.values() if not place.over()]

    def _open_contract(self, where: int) -> tuple[Place, int]:
        """One that can win, mostly one with bets."""
        places = [(place, contract_id) for place in self._open_places() for contract_id in place.can_win()]
        betted = {(bet.market_id, bet.contract_id) for bet in self.opinion.bets}
        if where % 4:
            places = [each for each in places if (each[0].market_id, each[1]) in betted] or places
        return places[where // 4 % len(places)]

    def has_contract(self) -> bool:
        return any(place.can_win() for place in self._open_places())

    @act(what=st.integers(0, 5), who=WHO, where=WHICH, state=st.sampled_from(STATES), limit=LIMITS)
    def hinder(
        self, what: int, who: str, where: int, state: str, limit: tuple[int | None, int | None]
    ) -> None:
        """Whatever keeps orders out, or ends them."""
        if what == 0:
            self._set_limits(who, *limit)
        elif what == 1:
            self._suspend(who, where % 4 < 3)
        elif what == 2:
            self._suspend_trading(who if where % 3 else None)
        elif what == 3 and self.has_contract():
            place, contract_id = self._open_contract(where)
            self._set_contract_state(place.market_id, contract_id, state)
        elif self._open_places():
            places = self._open_places()
            self._set_market_state(places[where % len(places)].market_id, state)

    def _set_market_state(self, market_id: int, state: str) -> None:
        number = seto.MarketStateType.Value(f"MARKET_STATE_{state}")
        answer = self.opinion.set_market_state
        self._staff("set_market_state", lambda: answer(market_id, number), market_id=market_id, state=state)

    def _set_contract_state(self, market_id: int, contract_id: int, state: str) -> None:
        number = seto.ContractStateType.Value(f"CONTRACT_STATE_{state}")
        answer = self.opinion.set_contract_state
        arguments = {"market_id": market_id, "contract_id": contract_id, "state": state}
        self._staff("set_contract_state", lambda: answer(market_id, contract_id, number), **arguments)

    @precondition(_open_places)
    @act(where=WHICH, managed=st.booleans())
    def set_managed(self, where: int, managed: bool) -> None:
        places = self._open_places()
        place = places[where % len(places)]
        place.managed = managed
        self._staff("set_managed", lambda: None, market_id=place.market_id, managed=managed)

    # --- bets ---

    @precondition(lambda self: any(bet.due_us for bet in self.opinion.bets))
    @act(seconds=st.none() | st.integers(0, 10))
    def wait(self, seconds: int | None) -> None:
        """So long, or exactly until the next execution is due."""
        due = self.opinion.next_due()
        assert due is not None
        self.now_us = max(self.now_us, due - TICK_US) if seconds is None else self.now_us + seconds * 10**6
        self._staff("confirm_due", self.opinion.confirm_due)

    @precondition(lambda self: any(bet.due_us for bet in self.opinion.bets))
    @act(which=WHICH)
    def confirm_trade(self, which: int) -> None:
        pending = [bet for bet in self.opinion.bets if bet.due_us]
        bet = pending[which % len(pending)]
        self._staff("confirm_trade", lambda: self.opinion.confirm(bet), trade_id=bet.number)

    @precondition(lambda self: self.opinion.bets)
    @act(which=WHICH)
    def void_trade(self, which: int) -> None:
        bet: Bet = self.opinion.bets[which % len(self.opinion.bets)]
        answer = self.opinion.void_bet
        self._staff("void_trade", lambda: answer(bet), excuses=True, trade_id=bet.number)

    def _voidable(self) -> list[Ticket]:
        on = set(self.opinion.bets)
        return [ticket for ticket in self.opinion.tickets if not ticket.end or on.intersection(ticket.bets)]

    @precondition(_voidable)
    @act(which=WHICH)
    def void_order(self, which: int) -> None:
        tickets = self._voidable()
        if tickets:
            ticket = tickets[which % len(tickets)]
            answer = self.opinion.void_ticket
            self._staff("void_order", lambda: answer(ticket), excuses=True, order_id=ticket.order_id)

    @precondition(has_contract)
    @act(where=WHICH, factor=st.integers(1, 10_000), kind=st.sampled_from(["PRICE", "QUANTITY"]))
    def reduce(self, where: int, factor: int, kind: str) -> None:
        place, contract_id = self._open_contract(where)
        stakes = {bet.number: (bet.stake(BUY), bet.stake(SELL)) for bet in self.opinion.bets}
        self._staff(
            "reduce",
            lambda: self.opinion.reduction(place.market_id, contract_id, factor, kind),
            excuses=True,
            market_id=place.market_id,
            contract_id=contract_id,
            factor=factor,
            kind=kind,
        )
        for bet in self.opinion.bets:
            before = stakes[bet.number]
            assert bet.stake(BUY) <= before[0]
            assert bet.stake(SELL) <= before[1]

    @precondition(has_contract)
    @act(where=WHICH)
    def void_contract(self, where: int) -> None:
        place, contract_id = self._open_contract(where)
        self._staff(
            "void_contract",
            lambda: self.opinion.void_contract(place.market_id, contract_id),
            excuses=True,
            market_id=place.market_id,
            contract_id=contract_id,
        )

    @precondition(has_contract)
    @act(where=WHICH, won=st.booleans())
    def settle_contract(self, where: int, won: bool) -> None:
        place, contract_id = self._open_contract(where)
        arguments = {"market_id": place.market_id, "contract_id": contract_id, "won": won}
        if self.settings.netting == "market" and (won or len(place.can_win()) == 1):
            with pytest.raises(UsageError, match="netted against one winner"):
                self.engine.operate("settle_contract", now_us=self.now_us, **arguments)
            return
        self.figures["settlements of contracts"] += 1
        answer = self.opinion.settle_contract
        self._staff(
            "settle_contract", lambda: answer(place.market_id, contract_id, won), excuses=True, **arguments
        )

    @precondition(_open_places)
    @act(where=WHICH, winners=st.none() | WHICH, stays=st.booleans())
    def end_market(self, where: int, winners: int | None, stays: bool) -> None:
        """Settled or voided, and then gone or, for a while, still there."""
        places = self._open_places()
        place = places[where % len(places)]
        if winners is None:
            self._void(place)
        else:
            self._settle(place, winners)
        if not stays:
            self._renew()

    def _settle(self, place: Place, winners: int) -> None:
        can_win = place.can_win()
        won = [contract_id for index, contract_id in enumerate(can_win) if winners >> index & 1]
        if self.settings.netting == "market":
            won = can_win[winners % len(can_win) :][:1] if can_win else []
        if self.settings.netting == "market" and not won:
            self._void(place)
            return
        self.figures["settlements of markets"] += 1
        answer = self.opinion.settle
        self._staff("settle", lambda: answer(place.market_id, won), market_id=place.market_id, winners=won)

    def _void(self, place: Place) -> None:
        answer, market_id = self.opinion.void_market, place.market_id
        self._staff("void_market", lambda: answer(market_id), excuses=True, market_id=market_id)

    @precondition(lambda self: any(place.over() for place in self.opinion.places.values()))
    @act()
    def renew(self) -> None:
        self._renew()

    def _renew(self) -> None:
        """A market that is over goes, another one comes."""
        for place in list(self.opinion.places.values()):
            if place.over():
                self._remove(place.market_id)
                self._add_market(len(place.contracts))

    def _remove(self, market_id: int) -> None:
        self._staff("remove_market", lambda: self.opinion.remove_market(market_id), market_id=market_id)

    # --- accounts ---

    @act(who=WHO, units=st.integers(-2_000_000, 2_000_000))
    def deposit(self, who: str, units: int) -> None:
        amount = str(Decimal(units).scaleb(-8))
        if units < 0 and -units > self.opinion.available(who):
            with pytest.raises(UsageError, match="points available"):
                self.engine.operate("deposit", now_us=self.now_us, account=who, amount=amount)
            return
        self.deposited += units
        # Whoever takes money out has less available afterwards, and never less than nothing.
        entries = self.opinion.purses[who].entries
        self._staff("deposit", lambda: entries.append(units), account=who, amount=amount)

    def _set_limits(self, who: str, stake: int | None, exposure: int | None) -> None:
        purse = self.opinion.purses[who]
        purse.stake_limit, purse.exposure_limit = stake, exposure
        texts = [None if units is None else str(Decimal(units).scaleb(-8)) for units in (stake, exposure)]
        self._staff("set_limits", lambda: None, account=who, stake=texts[0], exposure=texts[1])

    def _suspend(self, who: str, suspended: bool) -> None:
        self.opinion.purses[who].suspended = suspended
        self._staff("suspend_account" if suspended else "restore_account", lambda: None, account=who)

    def _suspend_trading(self, who: str | None) -> None:
        whom: Any = self.opinion if who is None else self.opinion.purses[who]
        whom.no_trading = True
        self._staff("suspend_trading", lambda: None, account=who)

    @act(who=st.none() | WHO)
    def resume_trading(self, who: str | None) -> None:
        self._resume_trading(who)

    def _resume_trading(self, who: str | None) -> None:
        self._staff("resume_trading", lambda: self.opinion.resume_trading(who), account=who)

    def _lift(self) -> None:
        """Take back whatever keeps orders out, so that not everything is refused most of the time."""
        for who, purse in self.opinion.purses.items():
            if purse.suspended:
                self._suspend(who, False)
            if purse.no_trading:
                self._resume_trading(who)
            if purse.stake_limit is not None or purse.exposure_limit is not None:
                self._set_limits(who, None, None)
        if self.opinion.no_trading:
            self._resume_trading(None)
        for place in self._open_places():
            if not place.can_win():
                self._void(place)
        self._renew()
        for place in self._open_places():
            if place.state in (NEW, HALTED):
                self._set_market_state(place.market_id, "LIVE")
            for contract_id, state in list(place.own.items()):
                if state in (NEW, HALTED):
                    self._set_contract_state(place.market_id, contract_id, "LIVE")

    # --- the end ---

    def teardown(self) -> None:
        """In the end everything is paid, nobody risks anything, and the same changes lead to the same."""
        if not hasattr(self, "opinion"):
            return
        for place in self._open_places():
            self._settle(place, winners=1)
        for account in self.engine.accounts:
            assert (account.liability_points, account.live_orders) == (0, {})
            assert account.available_points == account.cash_points
        self.engine.on_change = None
        second = self._new_engine()
        assert spoken(self._again(second)) == spoken(self.effects)
        for engine in (self.engine, second):
            # Whatever is kept of answers is kept by both.
            for market_id in engine.markets:
                engine.snapshot(market_id)
        assert picture(second) == picture(self.engine)
        self.figures["trades"] += self.opinion.bets_made
        self.figures["orders"] += len(self.opinion.tickets)

    def _again(self, engine: Engine) -> list[Effect]:
        effects: list[Effect] = []
        for change in self.changes:
            if isinstance(change, Operated):
                effects += engine.operate(change.verb, now_us=change.now_us, **change.arguments)
            else:
                account = engine.accounts[change.username]
                effects += engine.handle(
                    account, change.message, seq=change.seq, now_us=change.now_us, session=change.session
                )
            # Whoever asks what is due has it forget what is not any more.
            engine.due_us()
        return effects


@pytest.mark.timeout(600)  # It takes seconds, unless something is found, which is then made smaller.
class TestMoney(Play.TestCase):
    """A short play, the same each time."""

    settings = hypothesis_settings(max_examples=30, stateful_step_count=20)

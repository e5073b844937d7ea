"""House traders: seeded makers and takers, so that whoever subscribes to a market sees it move.

``Activity`` decides and does nothing: ``step(now)`` gives requests of the house's accounts and verbs of the
exchange's staff. ``HouseTraders`` carries them out whenever the exchange serves its timers.

A market's contracts have fair prices that wander and add up to certainty. Makers quote a ladder on both
sides of them and follow; takers hit what rests, also orders of the users. A market goes its way: NEW, OPEN,
HALTED, LIVE with halts in between, HALTED, SETTLED with a winner that chance chooses by the prices; a new
one has opened in its place by then, and the old one is removed. Where somebody else has changed a market's
state, the house leaves it alone until it is changed back.

What happens is decided by the seed, the times ``step`` is called at and the books alone. Memory stays flat:
markets end with all their orders and bets, and the house's accounts remember next to nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from google.protobuf.message import Message

from smarkets_pool.exceptions import ConfigError, Error
from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.engine import Engine
from smarkets_pool.exchange.market import Market
from smarkets_pool.logs import PlaceLog
from smarkets_pool.wire.schema import seto_pb2 as seto
from smarkets_pool.wire.units import MAX_PRICE, MIN_PRICE

__all__ = ["Activity", "ActivitySettings", "HouseTraders", "Request", "Verb"]

_log = PlaceLog("exchange.activity")

#: What a house account remembers of its events and ended orders.
_REMEMBERS = 16
#: Points that a house account has left when it is given more, and how much it is given.
_LOW_POINTS = 10_000 * 10**8
_DEPOSIT = "100000.00"
#: What one market may get in one step; when it is behind, the rest is left out.
_MOST_PER_STEP = 8
#: How far the fair prices stay away from impossible and certain.
_EDGE = 150
#: How much of its distance from the middle a fair price keeps with each move.
_MEMORY = 0.995
#: Seconds until a market that somebody else has changed is looked at again.
_PATIENCE = 1.0
_TRADING = (seto.MARKET_STATE_OPEN, seto.MARKET_STATE_LIVE)

_YEAR = 366 * 86_400.0
_RANGES: dict[str, tuple[float, float]] = {
    "quotes": (0.0, 1000.0),
    "takes": (0.0, 1000.0),
    "makers": (0, 100),
    "takers": (0, 100),
    "levels": (1, 100),
    "spread": (2, 5000),
    "volatility": (0.0, 10.0),
    "quantity": (1, 10**9),
    "new_seconds": (0.0, _YEAR),
    "open_seconds": (0.0, _YEAR),
    "halt_seconds": (0.0, _YEAR),
    "live_seconds": (0.0, _YEAR),
    "halts": (0, 1000),
    "settled_seconds": (0.0, _YEAR),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivitySettings:
    """How lively the markets are.

    quotes: How often per second and market a maker looks at its quotes and moves them.
    takes: How often per second and market a taker hits what rests.
    makers: Accounts that quote.
    takers: Accounts that take.
    levels: Prices on each side that a maker quotes.
    spread: Distance of a maker's best bid and best offer, in hundredths of a percent; its other prices are
        half of that apart.
    volatility: How far fair odds move with each look of a maker; 0.01 is about 1 % of them.
    quantity: The usual quantity of an order; each is between a quarter of it and twice as much.
    lifecycle: Whether markets go live, halt, settle and are replaced; else they stay as they are, and their
        bets pile up.
    new_seconds: How long about a market is NEW.
    open_seconds: How long about it is OPEN before it goes live.
    halt_seconds: How long about a halt is.
    live_seconds: How long about it is LIVE in all.
    halts: How often it is halted meanwhile.
    settled_seconds: How long about it can be seen when it is settled, before it is removed.

    Raises:
        ConfigError: a value of the wrong type or outside its range.
    """

    quotes: float = 4.0
    takes: float = 1.0
    makers: int = 2
    takers: int = 2
    levels: int = 4
    spread: int = 60
    volatility: float = 0.01
    quantity: int = 200_000
    lifecycle: bool = True
    new_seconds: float = 2.0
    open_seconds: float = 120.0
    halt_seconds: float = 4.0
    live_seconds: float = 180.0
    halts: int = 2
    settled_seconds: float = 5.0

    def __post_init__(self) -> None:
        if not isinstance(self.lifecycle, bool):
            raise ConfigError(f"lifecycle is {self.lifecycle!r} and must be True or False")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            whole = isinstance(low, int)
            kinds = (int,) if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                kind = "a whole number" if whole else "a number"
                raise ConfigError(f"{name} is {value!r} and must be {kind} from {low} to {high}")


@dataclass(frozen=True, slots=True)
class Request:
    """A house account asks for this."""

    account: ExchangeAccount
    message: Message


@dataclass(frozen=True, slots=True)
class Verb:
    """The exchange's staff does this."""

    name: str
    arguments: dict[str, Any]


Action = Request | Verb
_State = Literal["NEW", "OPEN", "LIVE", "HALTED", "SETTLED"]


@dataclass(slots=True)
class _Place:
    """A market as the house sees it: what is next and when, and its contracts' odds as logarithms."""

    market_id: int
    views: dict[int, float]
    #: The state the house has brought it into, and what comes behind that, each with its seconds.
    state: int
    plan: list[tuple[_State, float]]
    next_phase: float
    next_quote: float
    next_take: float
    replaced: bool = False


class Activity:
    """What the house does next.

    It reads the engine it is given and changes nothing but its accounts' register: the house's accounts
    are added when they are not there. They have no credentials, so nobody can log in as one of them.
    """

    def __init__(self, engine: Engine, settings: ActivitySettings | None = None, seed: int = 0) -> None:
        self.settings = settings if settings is not None else ActivitySettings()
        self._engine = engine
        self._chance = random.Random(f"activity {seed}")
        self._makers = [self._account(f"house-maker-{n}") for n in range(1, self.settings.makers + 1)]
        self._takers = [self._account(f"house-taker-{n}") for n in range(1, self.settings.takers + 1)]
        self._places: dict[int, _Place] | None = None
        self._highest_market = 0
        self._highest_contract = 0

    def __repr__(self) -> str:
        return f"<Activity in {len(self._places or ())} markets>"

    def _account(self, name: str) -> ExchangeAccount:
        accounts = self._engine.accounts
        known = any(account.username == name for account in accounts)
        account = accounts[name] if known else accounts.add(name, remembers=_REMEMBERS)
        account.online = 1  # it sits in the house: nothing ever happens while it is away
        self._engine.truth.limit_events(name, _REMEMBERS)
        return account

    # --- when ---

    def next_deadline(self) -> float:
        """When ``step`` has something to do."""
        if self._places is None:
            return 0.0  # at once
        times = ((place.next_phase, place.next_quote, place.next_take) for place in self._places.values())
        return min((min(each) for each in times), default=math.inf)

    def step(self, now: float) -> Iterator[Action]:
        """What is to be done at ``now``, one at a time: carry each out before you ask for the next."""
        if self._places is None:
            self._places = {}
            for found in list(self._engine.markets.values()):
                self._take_up(found, now)
        elif now < self.next_deadline():
            return
        yield from self._rich_enough()
        for place in list(self._places.values()):
            market: Market | None = self._engine.markets.get(place.market_id)
            if market is None:
                del self._places[place.market_id]
                yield from self._replace(place, now)
                continue
            if now >= place.next_phase or (market.is_over and place.plan and self.settings.lifecycle):
                yield from self._go_on(place, market, now)
            yield from self._trade(place, market, now)

    def _rich_enough(self) -> Iterator[Action]:
        for account in (*self._makers, *self._takers):
            if account.available_points < _LOW_POINTS:
                yield Verb("deposit", {"account": account.username, "amount": _DEPOSIT})

    # --- the way of a market ---

    def _take_up(self, market: Market, now: float) -> None:
        """A market that was there before the house: somewhere on the part of its way that it is on."""
        plan = self._plan()
        while plan and plan[0][0] != _state_name(market.state):
            plan.pop(0)
        seconds = plan.pop(0)[1] * self._chance.random() if plan else 0.0
        self._note(market.market_id, list(market.books), market.state, plan, now + seconds, now)

    def _note(
        self,
        market_id: int,
        contracts: list[int],
        state: int,
        plan: list[tuple[_State, float]],
        next_phase: float,
        now: float,
    ) -> None:
        assert self._places is not None
        self._highest_market = max(self._highest_market, market_id)
        self._highest_contract = max([self._highest_contract, *contracts])
        settings = self.settings
        self._places[market_id] = _Place(
            market_id=market_id,
            views={contract_id: self._chance.gauss(0.0, 0.7) for contract_id in contracts},
            state=state,
            plan=plan,
            next_phase=next_phase if settings.lifecycle else math.inf,
            next_quote=self._after(now, settings.quotes if self._makers else 0.0),
            next_take=self._after(now, settings.takes if self._takers else 0.0),
        )

    def _plan(self) -> list[tuple[_State, float]]:
        """The states of a market in their order, each with how long about it lasts."""
        settings = self.settings
        parts = settings.halts + 1
        plan: list[tuple[_State, float]] = [("NEW", settings.new_seconds), ("OPEN", settings.open_seconds)]
        for _ in range(parts):
            plan += [("HALTED", settings.halt_seconds), ("LIVE", settings.live_seconds / parts)]
        plan += [("HALTED", settings.halt_seconds), ("SETTLED", settings.settled_seconds)]
        # Markets that opened together do not stay together.
        return [(state, seconds * self._chance.uniform(0.5, 1.5)) for state, seconds in plan]

    def _go_on(self, place: _Place, market: Market, now: float) -> Iterator[Action]:
        """The next state, or the end."""
        if not place.plan:
            assert self._places is not None
            del self._places[market.market_id]
            yield from self._replace(place, now)
            if market.trades:
                yield self._end(place, market)
            yield Verb("remove_market", {"market_id": market.market_id})
        elif market.is_over or place.plan[0][0] == "SETTLED":
            _, seconds = place.plan[-1]
            place.plan, place.next_phase = [], now + seconds
            yield from self._replace(place, now)
            if not market.is_over or market.trades:  # it may have been called settled, and nobody paid
                yield self._end(place, market)
        elif market.state != place.state:
            place.next_phase = now + _PATIENCE  # somebody else's doing
        else:
            state, seconds = place.plan.pop(0)
            place.next_phase = now + seconds
            yield Verb("set_market_state", {"market_id": market.market_id, "state": state})
            place.state = market.state

    def _end(self, place: _Place, market: Market) -> Verb:
        """Settled with one winner, likelier the higher its price is; voided if no contract can win."""
        contracts = market.undecided_contracts()
        if not contracts or market.state == seto.MARKET_STATE_VOIDED:
            return Verb("void_market", {"market_id": market.market_id})
        weights = [math.exp(place.views[contract_id]) for contract_id in contracts]
        if len(place.views) == 1 and self._engine.settings.netting == "none":
            contracts, weights = [*contracts, 0], [*weights, 1.0]  # 0: it may lose against all the rest
        (winner,) = self._chance.choices(contracts, weights)
        return Verb("settle", {"market_id": market.market_id, "winners": [winner] if winner else []})

    def _replace(self, place: _Place, now: float) -> Iterator[Action]:
        """A new market in the place of one that ends."""
        if place.replaced or not self.settings.lifecycle:
            return
        place.replaced = True
        known = self._engine.markets
        market_id = max([self._highest_market, *known]) + 1
        taken = (number for market in known.values() for number in market.books)
        first = max([self._highest_contract, *taken]) + 1
        numbers = list(range(first, first + len(place.views)))
        yield Verb("add_market", {"market_id": market_id, "contracts": numbers, "state": "NEW"})
        plan = self._plan()
        _, seconds = plan.pop(0)
        self._note(market_id, numbers, seto.MARKET_STATE_NEW, plan, now + seconds, now)

    # --- trading ---

    def _trade(self, place: _Place, market: Market, now: float) -> Iterator[Action]:
        contracts = [
            contract_id
            for contract_id in place.views
            if market.state in _TRADING and market.contract_state(contract_id) in _TRADING
        ]
        for _ in range(_MOST_PER_STEP):
            if now < place.next_quote:
                break
            place.next_quote = self._after(place.next_quote, self.settings.quotes)
            if contracts:
                yield from self._quote(place, market, self._chance.choice(contracts))
        else:
            place.next_quote = max(place.next_quote, now)
        for _ in range(_MOST_PER_STEP):
            if now < place.next_take:
                break
            place.next_take = self._after(place.next_take, self.settings.takes)
            if contracts:
                yield from self._take(market, self._chance.choice(contracts))
        else:
            place.next_take = max(place.next_take, now)

    def _quote(self, place: _Place, market: Market, contract_id: int) -> Iterator[Action]:
        """One maker's ladder in one contract: what is out of place goes, what is missing comes."""
        maker = self._chance.choice(self._makers)
        for each, view in place.views.items():
            place.views[each] = view * _MEMORY + self._chance.gauss(0.0, self.settings.volatility)
        wanted = self._ladder(_fair_price(place.views, contract_id))
        for order in market.books[contract_id].orders():
            if order.account is maker:
                if order.price in wanted.get(order.side, ()):
                    wanted[order.side].remove(order.price)
                else:
                    yield Request(maker, seto.OrderCancel(order_id=order.order_id))
        # The first maker's orders stay through a halt, the second's do not.
        stays = self._makers.index(maker) % 2 == 0
        tif = seto.KEEP_IN_PLAY if stays else seto.GOOD_TIL_CANCELLED
        for side, prices in wanted.items():
            for price in prices:
                yield self._order(maker, market, contract_id, side, price, tif)

    def _ladder(self, fair: int) -> dict[seto.Side, list[int]]:
        """The prices of a maker, best first; all of them multiples of half the spread.

        So a fair price that moves a little changes one rung on each side, and not the whole ladder.
        """
        step = self._engine.settings.price_step
        rung = -(-max(1, self.settings.spread // 2) // step) * step
        middle = round(fair / rung) * rung
        numbers = range(1, self.settings.levels + 1)
        return {
            seto.SIDE_BUY: _possible(middle - rung * number for number in numbers),
            seto.SIDE_SELL: _possible(middle + rung * number for number in numbers),
        }

    def _take(self, market: Market, contract_id: int) -> Iterator[Action]:
        """One taker hits the best price or, now and then, the one behind it."""
        taker = self._chance.choice(self._takers)
        side = self._chance.choice((seto.SIDE_BUY, seto.SIDE_SELL))
        resting = seto.SIDE_SELL if side == seto.SIDE_BUY else seto.SIDE_BUY
        levels = market.books[contract_id].levels(resting, self._chance.choice((1, 1, 2)))
        if levels:
            yield self._order(taker, market, contract_id, side, levels[-1][0], seto.IMMEDIATE_OR_CANCEL)

    def _order(
        self,
        account: ExchangeAccount,
        market: Market,
        contract_id: int,
        side: seto.Side,
        price: int,
        tif: seto.TimeInForceType,
    ) -> Request:
        limits, usual = self._engine.settings, self.settings.quantity
        quantity = self._chance.randint(max(1, usual // 4), 2 * usual)
        message = seto.OrderCreate(
            market_id=market.market_id,
            contract_id=contract_id,
            side=side,
            price=price,
            quantity=min(max(quantity, limits.min_quantity), limits.max_quantity),
            tif=tif,
        )
        return Request(account, message)

    def _after(self, time: float, rate: float) -> float:
        """When something that happens ``rate`` times a second happens next."""
        return time + self._chance.expovariate(rate) if rate else math.inf


def _state_name(state: seto.MarketStateType) -> str:
    return seto.MarketStateType.Name(state).removeprefix("MARKET_STATE_")


def _fair_price(views: dict[int, float], contract_id: int) -> int:
    """A contract's share of all, as a price; one that is alone has nothing against it but the rest."""
    odds = {each: math.exp(view) for each, view in views.items()}
    whole = sum(odds.values()) if len(odds) > 1 else 1.0 + odds[contract_id]
    return min(max(round(10_000 * odds[contract_id] / whole), _EDGE), 10_000 - _EDGE)


def _possible(prices: Iterable[int]) -> list[int]:
    return [price for price in prices if MIN_PRICE <= price <= MAX_PRICE]


# --- carrying it out ---------------------------------------------------------------------------


class Stage(Protocol):
    """Where the house trades: the exchange with its sessions."""

    @property
    def engine(self) -> Engine:
        """Its rules."""

    def request_without_session(
        self, account: ExchangeAccount, message: Message, seq: int, now: float
    ) -> object:
        """Carry out a request of somebody who is not connected."""

    def operate(self, verb: str, now: float, **arguments: object) -> object:
        """Carry out a verb of the staff."""


class HouseTraders:
    """Has an exchange do what an ``Activity`` decides, whenever its timers are served."""

    def __init__(self, stage: Stage, settings: ActivitySettings | None = None, seed: int = 0) -> None:
        self.activity = Activity(stage.engine, settings, seed)
        self._stage = stage
        self._requests = 0

    def __repr__(self) -> str:
        return f"<HouseTraders {self.activity!r}>"

    def next_deadline(self) -> float | None:
        """When there is something to do, if ever."""
        due = self.activity.next_deadline()
        return due if due < math.inf else None

    def handle_timer(self, now: float) -> None:
        """Do what is due."""
        for action in self.activity.step(now):
            try:
                self._carry_out(action, now)
            except Error as error:
                _log.warning(None, "the house traders could not do what they wanted: %s", error)

    def _carry_out(self, action: Action, now: float) -> None:
        if isinstance(action, Verb):
            self._stage.operate(action.name, now, **action.arguments)
        else:
            self._requests += 1
            self._stage.request_without_session(action.account, action.message, self._requests, now)

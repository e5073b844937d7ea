"""The house traders: deterministic under a seed, flat, and polite to whoever changes a market by hand."""

import collections
import itertools
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.exchange.accounts import Accounts
from smarkets_pool.exchange.activity import Activity, ActivitySettings, HouseTraders, Verb
from smarkets_pool.exchange.engine import Effect, Engine, ToAccount, ToMarket
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.wire.schema import seto_pb2 as seto

#: A market lives for about 20 seconds.
SHORT = ActivitySettings(
    new_seconds=1, open_seconds=8, halt_seconds=0.5, live_seconds=8, halts=1, settled_seconds=1
)
STILL = ActivitySettings(lifecycle=False)


class House:
    """An engine with house traders on a clock that is moved by hand."""

    def __init__(
        self,
        settings: ActivitySettings = SHORT,
        *,
        seed: int = 1,
        markets: int = 1,
        contracts: int = 2,
        exchange: ExchangeSettings | None = None,
    ) -> None:
        exchange = exchange or ExchangeSettings()
        numbers = itertools.count(200_000)
        self.accounts = Accounts(exchange)
        self.user = self.accounts.add("user", "password")
        self.engine = Engine(
            exchange,
            Truth(),
            self.accounts,
            [Market(100_000 + n, list(itertools.islice(numbers, contracts))) for n in range(markets)],
        )
        self.traders = HouseTraders(self, settings, seed)
        self.now = 1000.0
        self.effects: list[Effect] = []
        self.verbs: list[Verb] = []
        self.requests: collections.Counter[str] = collections.Counter()

    def operate(self, verb: str, now: float, **arguments: Any) -> None:
        """As an exchange does it."""
        self.verbs.append(Verb(verb, arguments))
        self.effects += self.engine.operate(verb, now_us=int(now * 1e6), **arguments)

    def request_without_session(self, account: Any, message: Any, seq: int, now: float) -> None:
        """As an exchange does it."""
        self.requests[type(message).__name__] += 1
        self.effects += self.engine.handle(account, message, seq=seq, now_us=int(now * 1e6))

    def run(self, steps: int, seconds: float = 0.05) -> "House":
        """So many steps of so many seconds each."""
        for _ in range(steps):
            self.now += seconds
            self.traders.handle_timer(self.now)
        return self

    def told(self) -> list[tuple[str, str, bytes]]:
        """Every effect as plain data."""
        return [
            (type(each).__name__, _whose(each), each.message.SerializeToString(deterministic=True))
            for each in self.effects
        ]

    def kinds(self) -> set[str]:
        """The types of the messages that were sent."""
        return {type(effect.message).__name__ for effect in self.effects}

    def states(self, market_id: int) -> list[str]:
        """The states a market was brought into, in order."""
        return [
            seto.MarketStateType.Name(effect.message.state).removeprefix("MARKET_STATE_")
            for effect in self.effects
            if isinstance(effect.message, seto.MarketState) and effect.message.market_id == market_id
        ]


def _whose(effect: Effect) -> str:
    if isinstance(effect, ToAccount):
        return effect.account.username
    return str(effect.market_id) if isinstance(effect, ToMarket) else ""


def by_house(effects: Iterable[Effect]) -> set[str]:
    """The accounts that anything happened to."""
    return {effect.account.username for effect in effects if isinstance(effect, ToAccount)}


# --- chance ---------------------------------------------------------------------------------------


def test_two_runs_with_one_seed_are_the_same():
    """2,000 steps: the same effects, to the last byte and in the same order; another seed has others."""
    first, second = House(seed=7).run(2_000).told(), House(seed=7).run(2_000).told()
    assert len(first) > 2_000
    assert first == second
    other = House(seed=8).run(100).told()
    assert other != first[: len(other)]


def test_it_never_asks_for_what_is_refused():
    """Thousands of requests, and each is carried out; every verb too."""
    house = House(markets=2, contracts=3).run(3000)
    assert sum(house.requests.values()) > 3000
    refused = [kind for kind in house.kinds() if "Rejected" in kind or "Invalid" in kind]
    assert refused == []


@pytest.mark.parametrize(
    "settings",
    [
        {"price_step": 50},
        {"min_quantity": 300_000, "max_quantity": 300_000},
        {"opening_balance": Decimal(0)},
        {"crossed_self": "cancel_resting"},
        {"gtc_survives_halt": True},
        {"netting": "market"},
        {"managed_pending_ms": 0},
        {"visible_depth": 0},
    ],
    ids=lambda each: next(iter(each)),
)
def test_it_trades_whatever_the_exchange_is_set_to(settings):
    """Price steps, least quantities, accounts without money, netting: orders and fills all the same."""
    house = House(exchange=ExchangeSettings(**settings)).run(1500)
    assert {"OrderAccepted", "OrderExecuted", "ContractQuotes", "BalanceChanged"} <= house.kinds()
    assert not {"OrderRejected", "OrderInvalid"} & house.kinds()


# --- flat -----------------------------------------------------------------------------------------


def test_memory_stays_flat():
    """After 20,000 steps and many markets there is no more of anything than after the first few."""
    house = House()
    most: collections.Counter[str] = collections.Counter()
    for _ in range(20):
        house.run(1000, seconds=0.02)
        house.effects.clear()
        house.verbs.clear()
        for what, count in _census(house).items():
            most[what] = max(most[what], count)
    ended = house.engine.markets.keys() - {100_000}
    assert min(ended) > 100_007  # so many were removed
    assert most["markets"] <= 3
    assert most["live orders"] <= 3 * 2 * 2 * 2 * SHORT.levels  # markets, contracts, makers, sides
    assert most["history"] <= most["accounts"] * 16
    assert most["truth"] <= most["accounts"] * 16
    # A market's bets last as long as it does: 20 seconds with four looks and one take a second.
    assert most["orders"] < 600
    assert most["trades"] < 400
    print(f"\nthe most there ever was in {20_000} steps: {dict(most)}")


def _census(house: House) -> dict[str, int]:
    accounts, engine = list(house.accounts), house.engine
    return {
        "accounts": len(accounts),
        "markets": len(engine.markets),
        "live orders": sum(len(account.live_orders) for account in accounts),
        "orders": sum(len(account.orders) for account in accounts),
        "history": sum(len(account.history) for account in accounts),
        "truth": sum(len(engine.truth.events(account.username)) for account in accounts),
        "trades": sum(len(market.trades) for market in engine.markets.values()),
    }


def test_when_it_is_behind_it_does_not_catch_up():
    """An hour in one step costs no more than a few requests per market."""
    house = House(STILL, markets=2)
    house.run(20)
    before = sum(house.requests.values())
    house.run(1, seconds=3600.0)
    assert sum(house.requests.values()) - before < 2 * 8 * (2 * 2 * STILL.levels + 1)


# --- the way of a market ----------------------------------------------------------------------------


def test_a_market_goes_its_way_and_another_one_takes_its_place():
    """Live through a halt, halted again, settled with one winner and removed; a new one is open."""
    house = House().run(1200)
    old, new = house.states(100_000), house.states(100_001)
    assert old == ["HALTED", "LIVE", "HALTED", "LIVE", "HALTED", "SETTLED"]
    assert new[:4] == ["NEW", "OPEN", "HALTED", "LIVE"]
    (settled,) = [v for v in house.verbs if v.name == "settle" and v.arguments["market_id"] == 100_000]
    (winner,) = settled.arguments["winners"]
    assert winner in (200_000, 200_001)
    (added,) = [v for v in house.verbs if v.name == "add_market" and v.arguments["market_id"] == 100_001]
    assert added.arguments["contracts"] == [200_002, 200_003]
    assert 100_000 not in house.engine.markets


def test_a_market_of_one_contract_can_be_lost():
    """It is won or lost as the seed has it, and both happen."""
    house = House(contracts=1).run(12_000)
    winners = [len(verb.arguments["winners"]) for verb in house.verbs if verb.name == "settle"]
    assert {0, 1} == set(winners)


def test_a_market_of_one_contract_is_won_where_bets_are_netted():
    """There, somebody has to win."""
    house = House(contracts=1, exchange=ExchangeSettings(netting="market")).run(6000)
    winners = [len(verb.arguments["winners"]) for verb in house.verbs if verb.name == "settle"]
    assert {1} == set(winners)


def test_without_a_lifecycle_markets_stay_as_they_are():
    """They trade, and no state changes."""
    house = House(STILL).run(2000)
    assert house.states(100_000) == []
    assert house.requests["OrderCreate"] > 100


def test_a_market_that_somebody_halts_is_left_alone():
    """No orders and no changes while it is halted by hand; when it is open again it goes on."""
    house = House().run(40)
    house.operate("set_market_state", house.now, market_id=100_000, state="HALTED")
    before = (house.requests.copy(), len(house.verbs))
    house.run(2000)
    assert (house.requests, len(house.verbs)) == before
    house.operate("set_market_state", house.now, market_id=100_000, state="OPEN")
    house.run(400)
    assert house.requests["OrderCreate"] > before[0]["OrderCreate"]
    assert house.states(100_000)[1:4] == ["OPEN", "HALTED", "LIVE"]


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("settle", {"winners": [200_001]}),
        ("void_market", {}),
        ("set_market_state", {"state": "SETTLED"}),
        ("set_market_state", {"state": "VOIDED"}),
    ],
    ids=["settled", "voided", "called settled", "called voided"],
)
def test_a_market_that_somebody_ends_is_replaced(verb, arguments):
    """Settled or voided by hand, or only called so, it makes room for a new one, is paid and removed."""
    house = House().run(100)
    house.operate(verb, house.now, market_id=100_000, **arguments)
    house.run(20)
    assert list(house.engine.markets) == [100_000, 100_001]
    house.run(20)
    assert list(house.engine.markets) == [100_001]
    ends = [v.name for v in house.verbs if v.name in ("settle", "void_market")]
    called = {"SETTLED": "settle", "VOIDED": "void_market"}
    assert ends == [called.get(arguments.get("state"), verb)]
    assert {account.liability_points for account in house.accounts if not account.live_orders} == {0}


def test_a_market_that_somebody_removes_is_replaced():
    """Its place does not stay empty."""
    house = House().run(40)
    house.operate("void_market", house.now, market_id=100_000)
    house.operate("remove_market", house.now, market_id=100_000)
    house.run(200)
    assert list(house.engine.markets) == [100_001]


def test_a_market_that_somebody_adds_is_not_the_houses():
    """A test that opens a market of its own has it for itself; its numbers are not taken again."""
    house = House().run(40)
    house.operate("add_market", house.now, market_id=100_005, contracts=[200_050], state="OPEN")
    house.run(1200)
    market = house.engine.markets[100_005]
    assert (market.state, market.executed_volume) == (seto.MARKET_STATE_OPEN, 0)
    assert min(house.engine.markets.keys() - {100_005}) > 100_005
    assert min(number for m in house.engine.markets.values() for number in m.books) == 200_050


def test_a_market_in_which_no_contract_can_win_is_voided():
    """All contracts voided by hand: there is nobody to settle it for."""
    house = House().run(40)
    for contract_id in (200_000, 200_001):
        house.operate("void_contract", house.now, market_id=100_000, contract_id=contract_id)
    house.run(1200)
    assert house.states(100_000)[-1] == "VOIDED"
    assert 100_000 not in house.engine.markets


def test_markets_that_were_over_before_make_room():
    """A house that comes to a market that was called settled, with bets on, pays it and opens a new one."""
    house = House().run(200)
    assert house.engine.markets[100_000].trades
    house.operate("set_market_state", house.now, market_id=100_000, state="SETTLED")
    house.traders = HouseTraders(house, SHORT, 2)
    house.run(50)
    assert list(house.engine.markets) == [100_001]


# --- traders --------------------------------------------------------------------------------------


def test_takers_hit_what_users_quote():
    """An order of a user that is better than the house's is executed."""
    house = House(STILL).run(400)
    book = house.engine.markets[100_000].books[200_000]
    best = book.best(seto.SIDE_BUY)
    assert best is not None
    order = seto.OrderCreate(
        market_id=100_000, contract_id=200_000, side=seto.SIDE_BUY, price=best + 1, quantity=10_000
    )
    house.effects += house.engine.handle(house.user, order, seq=1, now_us=0)
    house.run(1000)
    assert "user" in by_house(e for e in house.effects if isinstance(e.message, seto.OrderExecuted))


def test_prices_wander():
    """The best bid is somewhere else again and again."""
    house = House(STILL).run(4000)
    seen = set()
    for _ in range(100):
        house.run(20)
        seen.add(house.engine.markets[100_000].books[200_000].best(seto.SIDE_BUY))
    assert len(seen) > 5


def test_house_accounts_are_nobodys():
    """They have no password and no token, are never away, and get more money before they run out."""
    house = House().run(1000)
    names = {account.username for account in house.accounts} - {"user"}
    assert names == {"house-maker-1", "house-maker-2", "house-taker-1", "house-taker-2"}
    for name in names:
        assert house.accounts.by_password(name, "") is None
        assert house.accounts.by_token(b"") is None
        assert house.accounts[name].available_points > 0
    assert house.engine.truth.executions > house.engine.truth.executions_away == 0
    assert Verb("deposit", {"account": "house-maker-1", "amount": "100000.00"}) in house.verbs


def test_another_house_takes_over_the_accounts():
    """Nobody is added twice, and those that came from a file are the house's."""
    house = House()
    house.accounts.add("house-taker-3", remembers=16)
    Activity(house.engine, ActivitySettings(takers=3))
    assert len(house.accounts) == 6
    assert [account.online for account in house.accounts] == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("rate", ["quotes", "takes"])
def test_rates_are_kept(rate):
    """Ten a second and market are some 1,000 occasions in 100 seconds, neither in step nor all at once."""
    house = House(ActivitySettings(lifecycle=False, **{"quotes": 0.0, "takes": 0.0, rate: 10.0})).run(1)
    occasions = 0
    end = house.now + 100.0
    while (due := house.traders.activity.next_deadline()) < end:
        occasions += 1
        house.now = due
        house.run(1, seconds=0.0)
    assert 850 < occasions < 1150
    assert bool(house.requests) == (rate == "quotes")  # there was nothing to take


def test_a_rate_of_nothing_is_nothing():
    """No quotes and no takes: nothing happens, and there is nothing to wait for."""
    house = House(ActivitySettings(lifecycle=False, quotes=0.0, takes=0.0)).run(100)
    assert not house.requests
    assert house.traders.next_deadline() is None


def test_nobody_there_is_nothing_either():
    """Without makers and takers only the states change."""
    settings = ActivitySettings(makers=0, takers=0, new_seconds=1, open_seconds=1, live_seconds=1, halts=0)
    house = House(settings).run(200)
    assert not house.requests
    assert house.states(100_000)[:2] == ["HALTED", "LIVE"]


def test_between_deadlines_there_is_nothing_to_do():
    """Called before its deadline it does nothing, at the deadline it does something."""
    house = House(STILL)
    assert house.traders.next_deadline() == 0.0
    house.run(1)
    for _ in range(50):
        due = house.traders.activity.next_deadline()
        done = (sum(house.requests.values()), len(house.verbs))
        house.now = (house.now + due) / 2
        house.run(1, seconds=0.0)
        assert (sum(house.requests.values()), len(house.verbs)) == done
        house.now = due
        house.run(1, seconds=0.0)
        assert house.traders.activity.next_deadline() > due


def test_what_cannot_be_done_is_logged_and_goes_on(caplog):
    """A verb that is refused costs a line in the log; the next one is asked for."""
    house = House()
    done = house.engine.operate

    def refuse(verb: str, **arguments: Any) -> list[Effect]:
        if verb == "deposit":
            arguments["account"] = "nobody"
        return done(verb, **arguments)

    house.engine.operate = refuse  # type: ignore[method-assign]
    for name in ("house-maker-1", "house-taker-2"):
        house.accounts[name].cash_points = 0
    house.run(1)
    assert "could not do what they wanted" in caplog.text
    assert "'nobody'" in caplog.text
    assert any(v.name == "deposit" and v.arguments["account"] == "house-taker-2" for v in house.verbs)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quotes", -1.0),
        ("quotes", float("nan")),
        ("takes", "1"),
        ("makers", 1.5),
        ("makers", True),
        ("levels", 0),
        ("spread", 1),
        ("quantity", 0),
        ("halts", -1),
        ("live_seconds", float("inf")),
        ("lifecycle", 1),
    ],
)
def test_settings_that_cannot_be_are_refused(name, value):
    """The sentence names the field, the value and what it may be."""
    with pytest.raises(ConfigError, match=f"^{name} is .* and must be "):
        ActivitySettings(**{name: value})

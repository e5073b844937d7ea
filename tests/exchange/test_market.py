"""What is published of a market: snapshots, and deltas exactly as the vendor documents them."""

from __future__ import annotations

import pytest

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.orders import Order
from smarkets_pool.wire.schema import seto_pb2 as seto

BUY, SELL = seto.SIDE_BUY, seto.SIDE_SELL
MAKER = ExchangeAccount("maker", "", b"", cash_points=0, history_limit=0)
DEPTH = 5


class Floor:
    """One contract of one market, traded without accounts and money."""

    def __init__(self) -> None:
        self.market = Market(10, [20])
        self.book = self.market.books[20]
        self._last_id = 0

    def trade(self, side: seto.Side, price: int, quantity: int, now_us: int = 0) -> Order:
        self._last_id += 1
        order = Order(
            order_id=self._last_id,
            account=MAKER,
            market_id=10,
            contract_id=20,
            side=side,
            price=price,
            quantity=quantity,
            tif=seto.GOOD_TIL_CANCELLED,
            seq=2,
        )
        for resting, filled in self.book.fills_for(order):
            self.book.apply_fill(resting, filled)
            order.execute(resting.price, filled)
            self.market.record_execution(20, resting.price, filled, resting.side, now_us)
        if order.state == "live":
            self.book.add(order)
        return order

    def delta(self, depth: int = DEPTH) -> seto.ContractQuotes | None:
        return self.market.delta(20, depth)


@pytest.fixture
def documented() -> Floor:
    """The documented book: bids 49 to 45 %, offers 51 to 55 %, 100000 each, published."""
    floor = Floor()
    for percent in range(45, 50):
        floor.trade(BUY, percent * 100, 100_000)
    for percent in range(51, 56):
        floor.trade(SELL, percent * 100, 100_000)
    floor.delta()
    return floor


def quotes(*levels: tuple[int, int]) -> list[seto.Quote]:
    return [seto.Quote(price=price, quantity=quantity) for price, quantity in levels]


def contract_quotes(
    bids: list[seto.Quote] | None = None,
    offers: list[seto.Quote] | None = None,
    executions: list[seto.Execution] | None = None,
) -> seto.ContractQuotes:
    return seto.ContractQuotes(
        market_id=10, contract_id=20, bids=bids or [], offers=offers or [], executions=executions or []
    )


# --- the documented sequence of fact sheet 3.8 -------------------------------------------------


def test_documented_delta_1_a_level_is_pushed_out_in_silence(documented: Floor) -> None:
    """A new buy at 50 % shows alone, though 45 % leaves the window."""
    documented.trade(BUY, 5000, 100_000)
    assert documented.delta() == contract_quotes(bids=quotes((5000, 100_000)))


def test_documented_delta_2_a_level_comes_back_with_its_present_quantity(documented: Floor) -> None:
    """Selling 400000 at 50 % takes the bid, rests as an offer, and 45 % returns as it is by now."""
    documented.trade(BUY, 5000, 100_000)
    documented.delta()
    documented.trade(BUY, 4500, 300_000)
    assert documented.delta() is None
    documented.trade(SELL, 5000, 400_000, now_us=77)
    execution = seto.Execution(price=5000, quantity=100_000, liquidity=BUY, microseconds=77)
    assert documented.delta() == contract_quotes(
        bids=quotes((5000, 0), (4500, 400_000)),
        offers=quotes((5000, 300_000)),
        executions=[execution],
    )


def test_documented_delta_3_one_order_takes_two_levels(documented: Floor) -> None:
    """The mechanism of the third row; its documented figures do not add up (fact sheet 3.8)."""
    documented.trade(SELL, 5000, 300_000)
    documented.trade(SELL, 5100, 200_000)
    documented.delta()
    documented.trade(BUY, 5100, 580_000, now_us=78)
    assert documented.delta() == contract_quotes(
        offers=quotes((5000, 0), (5100, 20_000), (5500, 100_000)),
        executions=[
            seto.Execution(price=5000, quantity=300_000, liquidity=SELL, microseconds=78),
            seto.Execution(price=5100, quantity=100_000, liquidity=SELL, microseconds=78),
            seto.Execution(price=5100, quantity=180_000, liquidity=SELL, microseconds=78),
        ],
    )


def test_documented_delta_4_a_cancelled_level_lets_the_next_one_in(documented: Floor) -> None:
    """All of 48 % goes and 40 %, outside so far, enters."""
    documented.trade(BUY, 4000, 30_000)
    assert documented.delta() is None
    (order,) = (order for order in documented.book.orders() if order.price == 4800)
    documented.book.remove(order)
    assert documented.delta() == contract_quotes(bids=quotes((4800, 0), (4000, 30_000)))


# --- deltas, rule by rule ----------------------------------------------------------------------


def test_a_delta_has_new_quantities_not_differences() -> None:
    """Two orders at one price make the sum."""
    floor = Floor()
    floor.trade(BUY, 5000, 10)
    floor.delta()
    floor.trade(BUY, 5000, 5)
    assert floor.delta() == contract_quotes(bids=quotes((5000, 15)))


def test_nothing_changed_is_no_delta() -> None:
    """Not an empty one either."""
    floor = Floor()
    assert floor.delta() is None
    floor.trade(BUY, 5000, 10)
    assert floor.delta() is not None
    assert floor.delta() is None


def test_what_was_replaced_within_one_request_is_not_reported() -> None:
    """A delta compares two moments, it does not tell the story between them."""
    floor = Floor()
    order = floor.trade(BUY, 5000, 10)
    floor.delta()
    floor.book.remove(order)
    floor.trade(BUY, 5000, 10)
    assert floor.delta() is None


def test_a_level_that_vanishes_outside_the_window_is_never_reported(documented: Floor) -> None:
    """The documented ghost (choice 25): 45 % was pushed out, then cancelled."""
    documented.trade(BUY, 5000, 100_000)
    documented.delta()
    (order,) = (order for order in documented.book.orders() if order.price == 4500)
    documented.book.remove(order)
    assert documented.delta() is None


def test_unlimited_depth_leaves_no_ghosts() -> None:
    """With depth 0 every level is visible, so none leaves in silence."""
    floor = Floor()
    orders = [floor.trade(BUY, price, 10) for price in range(4000, 4020)]
    delta = floor.delta(depth=0)
    assert delta is not None
    assert len(delta.bids) == 20
    floor.book.remove(orders[0])
    assert floor.delta(depth=0) == contract_quotes(bids=quotes((4000, 0)))


def test_deltas_carry_executions_but_no_statistics() -> None:
    """Last execution, high and low are the snapshot's (choice 37)."""
    floor = Floor()
    floor.trade(BUY, 5000, 10)
    floor.trade(SELL, 4000, 4)
    delta = floor.delta()
    assert delta is not None
    assert len(delta.executions) == 1
    assert not any(delta.HasField(field) for field in ("last_execution", "high_price", "low_price"))


# --- snapshots ---------------------------------------------------------------------------------


def test_the_snapshot_of_a_silent_market_is_empty() -> None:
    """No quotes and no last executions anywhere (fact sheet 3.8)."""
    assert Market(10, [20, 21]).snapshot(DEPTH) == seto.MarketQuotes(market_id=10, executed_volume=0)


def test_the_snapshot_shows_the_window_and_the_last_execution(documented: Floor) -> None:
    """Five levels a side, best first; the executions list stays empty."""
    documented.trade(BUY, 5000, 50)
    documented.trade(SELL, 4900, 60, now_us=5)
    documented.trade(BUY, 5100, 10, now_us=6)
    snapshot = documented.market.snapshot(DEPTH)
    (contract,) = snapshot.contract_quotes
    assert contract.bids[:] == quotes(
        (4900, 99_990), (4800, 100_000), (4700, 100_000), (4600, 100_000), (4500, 100_000)
    )
    assert [quote.price for quote in contract.offers] == [5100, 5200, 5300, 5400, 5500]
    assert not contract.executions
    assert contract.last_execution == seto.Execution(price=5100, quantity=10, liquidity=SELL, microseconds=6)
    assert (contract.high_price, contract.low_price) == (5100, 4900)
    assert snapshot.executed_volume == 70


def test_a_contract_that_traded_stays_in_the_snapshot() -> None:
    """Its last execution is worth telling though its book is empty."""
    floor = Floor()
    floor.trade(BUY, 5000, 10)
    floor.trade(SELL, 5000, 10)
    (contract,) = floor.market.snapshot(DEPTH).contract_quotes
    assert not contract.bids
    assert contract.last_execution.quantity == 10


def test_a_snapshot_does_not_disturb_the_deltas() -> None:
    """A new subscriber takes nothing from the others."""
    floor = Floor()
    floor.trade(BUY, 5000, 10)
    floor.market.snapshot(DEPTH)
    assert floor.delta() == contract_quotes(bids=quotes((5000, 10)))


def test_a_market_tells_its_state() -> None:
    """In the message of that name."""
    market = Market(10, [20], seto.MARKET_STATE_LIVE)
    assert market.market_state() == seto.MarketState(market_id=10, state=seto.MARKET_STATE_LIVE)
    assert repr(market) == "<Market 10 MARKET_STATE_LIVE contracts=[20]>"


def test_a_market_cannot_have_a_contract_twice() -> None:
    """Its orders would be in two books."""
    with pytest.raises(ConfigError, match="contract 20 twice"):
        Market(10, [20, 20])

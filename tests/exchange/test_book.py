"""The order book: priority, fills as a decision, quantities per level."""

from __future__ import annotations

from itertools import count

import pytest

from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.book import OrderBook
from smarkets_pool.exchange.orders import Order
from smarkets_pool.wire.schema import seto_pb2 as seto

BUY, SELL = seto.SIDE_BUY, seto.SIDE_SELL
ANN = ExchangeAccount("ann", "", b"", cash_points=0, history_limit=0)
BOB = ExchangeAccount("bob", "", b"", cash_points=0, history_limit=0)
_ids = count(1)


def make_order(side: seto.Side, price: int, quantity: int, account: ExchangeAccount = ANN) -> Order:
    return Order(
        order_id=next(_ids),
        account=account,
        market_id=1,
        contract_id=2,
        side=side,
        price=price,
        quantity=quantity,
        tif=seto.GOOD_TIL_CANCELLED,
        seq=2,
    )


def resting(
    book: OrderBook, side: seto.Side, price: int, quantity: int, account: ExchangeAccount = ANN
) -> Order:
    order = make_order(side, price, quantity, account)
    book.add(order)
    return order


def test_an_empty_book_has_nothing() -> None:
    """No best price, no levels, nothing to meet."""
    book = OrderBook()
    assert book.best(BUY) is None
    assert book.levels(SELL, 5) == []
    assert book.fills_for(make_order(BUY, 9999, 1)) == []
    assert repr(book) == "<OrderBook best bid None, best offer None>"


def test_the_best_bid_is_the_highest_and_the_best_offer_the_lowest() -> None:
    """Levels come best first on either side, orders at one price add up."""
    book = OrderBook()
    for price in (4800, 5000, 4900, 5000):
        resting(book, BUY, price, 10)
    for price in (5300, 5100, 5200):
        resting(book, SELL, price, 10)
    assert (book.best(BUY), book.best(SELL)) == (5000, 5100)
    assert book.levels(BUY, 2) == [(5000, 20), (4900, 10)]
    assert book.levels(SELL, 0) == [(5100, 10), (5200, 10), (5300, 10)]


def test_an_incoming_order_meets_the_best_price_first_and_the_oldest_within_it() -> None:
    """Price-time priority (fact sheet 3.3)."""
    book = OrderBook()
    dear = resting(book, SELL, 5200, 10)
    first = resting(book, SELL, 5100, 10)
    second = resting(book, SELL, 5100, 10)
    assert book.fills_for(make_order(BUY, 5200, 25)) == [(first, 10), (second, 10), (dear, 5)]


def test_an_incoming_order_meets_nothing_beyond_its_limit() -> None:
    """A price that is just equal still meets."""
    book = OrderBook()
    bid = resting(book, BUY, 5000, 10)
    resting(book, BUY, 4999, 10)
    assert book.fills_for(make_order(SELL, 5000, 20)) == [(bid, 10)]
    assert book.fills_for(make_order(SELL, 5001, 20)) == []


def test_fills_for_changes_nothing() -> None:
    """It is a decision; asking twice gives the same answer."""
    book = OrderBook()
    resting(book, SELL, 5100, 10)
    order = make_order(BUY, 5100, 4)
    assert book.fills_for(order) == book.fills_for(order)
    assert book.levels(SELL, 0) == [(5100, 10)]
    assert order.available_quantity == 4


def test_a_partly_filled_order_keeps_its_place() -> None:
    """It is still the oldest with what is left."""
    book = OrderBook()
    first = resting(book, SELL, 5100, 10)
    second = resting(book, SELL, 5100, 10)
    book.apply_fill(first, 4)
    assert (first.state, first.available_quantity) == ("live", 6)
    assert book.levels(SELL, 0) == [(5100, 16)]
    assert book.fills_for(make_order(BUY, 5100, 8)) == [(first, 6), (second, 2)]


def test_a_filled_order_leaves_the_book() -> None:
    """And takes an empty level with it."""
    book = OrderBook()
    order = resting(book, SELL, 5100, 10)
    book.apply_fill(order, 10)
    assert (order.state, order.available_quantity) == ("filled", 0)
    assert book.best(SELL) is None
    assert book.quantity_at(SELL, 5100) == 0


def test_a_removed_order_is_gone() -> None:
    """Only it: others at the price stay; removing it again is an error."""
    book = OrderBook()
    first = resting(book, BUY, 5000, 10)
    second = resting(book, BUY, 5000, 3)
    book.remove(first)
    assert book.orders() == [second]
    assert book.quantity_at(BUY, 5000) == 3
    with pytest.raises(KeyError):
        book.remove(first)


def test_a_reduced_order_keeps_its_place() -> None:
    """Choice 30: the new total, not the new rest."""
    book = OrderBook()
    first = resting(book, BUY, 5000, 10)
    second = resting(book, BUY, 5000, 10)
    book.apply_fill(first, 2)
    book.reduce(first, 6)
    assert first.available_quantity == 4
    assert book.quantity_at(BUY, 5000) == 14
    assert book.fills_for(make_order(SELL, 5000, 5)) == [(first, 4), (second, 1)]


def test_an_order_crosses_its_own_only_if_it_would_meet_it() -> None:
    """Orders of others that stand before and suffice protect it (choice 23)."""
    book = OrderBook()
    resting(book, SELL, 5100, 10, BOB)
    resting(book, SELL, 5100, 10, ANN)
    assert not book.would_cross_own(make_order(BUY, 5100, 10, ANN))
    assert book.would_cross_own(make_order(BUY, 5100, 11, ANN))
    assert not book.would_cross_own(make_order(BUY, 5000, 11, ANN))
    assert book.would_cross_own(make_order(BUY, 5100, 1, BOB))


@pytest.mark.parametrize(
    ("fills", "average"),
    [([], 0), ([(5000, 3)], 5000), ([(5000, 1), (5001, 1)], 5001), ([(5000, 2), (5001, 1)], 5000)],
)
def test_the_average_price_is_rounded_half_up(fills: list[tuple[int, int]], average: int) -> None:
    """It is a whole price on the wire, weighted by quantity; 0 without executions."""
    order = make_order(BUY, 6000, 100)
    for price, quantity in fills:
        order.execute(price, quantity)
    assert order.executed_avg_price == average


def test_orders_come_in_the_order_in_which_they_would_be_matched() -> None:
    """Buys, then sells: what a halt cancels comes in a fixed order."""
    book = OrderBook()
    low, high = resting(book, BUY, 4000, 1), resting(book, BUY, 5000, 1)
    dear, cheap, cheap_later = (resting(book, SELL, price, 1) for price in (5200, 5100, 5100))
    assert book.orders() == [high, low, cheap, cheap_later, dear]

"""The counterparty trades without a session, and a bot meets its orders like anybody's."""

from __future__ import annotations

import pytest

from smarkets_pool import Pool, seto
from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.testing import Counterparty, FakeClock, Record


def names(exchange: EmbeddedExchange) -> list[str]:
    """What happened to the counterparty."""
    return [event.name.removeprefix("seto.") for event in exchange.truth.events("counterparty")]


@pytest.mark.exchange(markets=2, contracts=2)
def test_its_orders_are_in_the_book(pool: Pool, exchange: EmbeddedExchange, record: Record) -> None:
    """In the first contract of the first market, or where it is told; a subscriber sees them."""
    counterparty = Counterparty(exchange)
    first, second = exchange.market_ids
    contract_id = exchange.contract_ids[second][1]
    assert counterparty.buy(4000, 20_000) != counterparty.sell(6000, 10_000)
    counterparty.buy(3000, 7_000, market_id=second)
    counterparty.sell(7000, 8_000, market_id=second, contract_id=contract_id)
    with pool:
        pool.wait_until_up(timeout=5)
        for market_id in (first, second):
            pool["trader-1"].subscribe(market_id)
        seen = [record.wait(seto.MarketQuotes, n).message for n in (1, 2)]
    book = {
        quotes.contract_id: (
            [(quote.price, quote.quantity) for quote in quotes.bids],
            [(quote.price, quote.quantity) for quote in quotes.offers],
        )
        for market in seen
        for quotes in market.contract_quotes
    }
    assert book == {
        exchange.contract_ids[first][0]: ([(4000, 20_000)], [(6000, 10_000)]),
        exchange.contract_ids[second][0]: ([(3000, 7_000)], []),
        contract_id: ([], [(7000, 8_000)]),
    }


def test_what_it_asked_for_has_happened_on_return(exchange: EmbeddedExchange) -> None:
    """Orders, cancels, executions between two of them: the truth has each at once."""
    one, other = Counterparty(exchange), Counterparty(exchange, "other")
    order_id = one.buy(4000, 20_000)
    one.cancel(order_id)
    one.buy(4100, 10_000)
    one.buy(4200, 10_000)
    other.sell(4200, 10_000)
    one.cancel_all()
    assert names(exchange) == [
        "order_accepted",
        "order_cancelled",
        "order_accepted",
        "order_accepted",
        "order_executed",
        "order_cancel_all_accepted",
        "order_cancelled",
    ]
    assert repr(other) == "<Counterparty 'other'>"


def test_a_refusal_is_an_error_with_the_reason(exchange: EmbeddedExchange) -> None:
    """A test that goes on with an order that there is not would be about nothing."""
    counterparty = Counterparty(exchange)
    with pytest.raises(UsageError, match=r"refused OrderCreate of .*seto\.order_invalid .*INVALID_QUANTITY"):
        counterparty.buy(4000, 0)
    with pytest.raises(UsageError, match=r"seto\.order_rejected .*INSUFFICIENT_FUNDS"):
        counterparty.buy(9999, 2_000_000_000)
    with pytest.raises(UsageError, match=r"seto\.order_cancel_rejected .*NOT_FOUND"):
        counterparty.cancel(12345)
    with pytest.raises(UsageError, match="which contract of market 1 "):
        counterparty.buy(4000, 1, market_id=1)


def test_a_name_that_somebody_has_is_refused(exchange: EmbeddedExchange) -> None:
    """It would be somebody's money."""
    with pytest.raises(ConfigError, match="taken"):
        Counterparty(exchange, "trader-1")


def test_it_trades_on_after_a_restart_without_books(
    exchange: EmbeddedExchange, faults: Faults, counterparty: Counterparty, fake_clock: FakeClock
) -> None:
    """The exchange has forgotten it, with everybody's orders; it is a customer again."""
    counterparty.buy(4000, 20_000)
    faults.restart(keep="nothing", away=1)
    fake_clock.advance(1)
    counterparty.buy(4000, 20_000)
    assert names(exchange) == ["order_accepted", "order_accepted"]

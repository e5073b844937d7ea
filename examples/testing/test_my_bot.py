"""Tests of a bot on the embedded exchange, with the fixtures of ``smarkets_pool.testing.plugin``.

Run them with ``python -m pytest examples/testing``; ``pytest.ini`` loads the plugin. docs/testing.md explains
every fixture.
"""

from collections.abc import Iterator

import gevent
import my_bot
import pytest
from my_bot import BID, OFFER, QUANTITY, Bot

from smarkets_pool import DOWN, UP, Pool, seto
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.pool import MemberDownEvent
from smarkets_pool.testing import Counterparty, FakeClock, Record

# Every exchange of this module has one account; its user name is also what the pool calls it.
pytestmark = pytest.mark.exchange(accounts=["alice"])


@pytest.fixture
def bot(pool: Pool, exchange: EmbeddedExchange) -> Bot:
    """The bot has registered its handlers, and nothing is connected yet."""
    market_id = exchange.market_ids[0]
    return Bot(pool, market_id, exchange.contract_ids[market_id][0])


def test_it_sells_on_what_it_bought(bot: Bot, pool: Pool, record: Record, counterparty: Counterparty) -> None:
    """In real time: wait for deliveries, then compare them with what happened at the exchange."""
    with pool:
        bid = record.wait(seto.OrderAccepted)
        assert (bid.message.price, bid.message.quantity) == (BID, QUANTITY)
        counterparty.sell(BID, 5_000)
        offer = record.wait(seto.OrderAccepted, count=2)
        assert (offer.message.side, offer.message.price, offer.message.quantity) == (
            seto.SIDE_SELL,
            OFFER,
            5_000,
        )
        assert bot.bids == {"alice": bid.message.order_id}
        record.check()


def test_a_lost_frame_is_not_a_lost_fill(
    bot: Bot, pool: Pool, record: Record, counterparty: Counterparty, faults: Faults
) -> None:
    """The frame with the fill never arrives; the next one shows the gap, and the fill is sent again."""
    with pool:
        record.wait(seto.OrderAccepted)
        faults.drop("alice")
        counterparty.sell(BID, 5_000)
        counterparty.sell(BID, 3_000)
        record.wait(seto.OrderExecuted, count=2)
        assert [delivery.message.quantity for delivery in record.of(seto.OrderExecuted)] == [5_000, 3_000]
        assert record.of("member.gap")
        record.check()


# --- with a clock that stands still until it is moved --------------------------------------------------


@pytest.fixture
def renewing(bot: Bot, pool: Pool, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bot]:
    """The bot runs, its pool is up, and it sleeps by the fake clock."""
    monkeypatch.setattr(my_bot, "sleep", fake_clock.sleep)
    renewal = gevent.spawn(bot.renew_bids)
    with pool:
        pool.wait_until_up(timeout=10)
        yield bot
        renewal.kill()


def test_bids_are_renewed_every_minute(renewing: Bot, record: Record, fake_clock: FakeClock) -> None:
    """Ten minutes take a moment: the time of the pool, the exchange and the bot jumps together."""
    fake_clock.advance(59.9)
    assert len(record.of(seto.OrderAccepted)) == 1
    fake_clock.advance(0.1)
    assert len(record.of(seto.OrderAccepted)) == 2
    fake_clock.advance(9 * 60)
    assert len(record.of(seto.OrderAccepted)) == 11
    assert record.differences() == []


def test_what_was_bought_while_it_was_away_is_sold_on(
    renewing: Bot,
    pool: Pool,
    record: Record,
    counterparty: Counterparty,
    faults: Faults,
    fake_clock: FakeClock,
) -> None:
    """Half an hour without the exchange: the attempts become rare, and the fill is handled on return."""
    faults.cut("alice", away=1800)
    fake_clock.advance(60)
    assert pool["alice"].state is DOWN
    counterparty.sell(BID, QUANTITY)
    fake_clock.advance(1740)
    fake_clock.advance_until(lambda: pool["alice"].state is UP, at_most=60)
    attempts = record.of(MemberDownEvent)
    assert 30 < len(attempts) < 100
    assert [d.message.quantity for d in record.of(seto.OrderExecuted)] == [QUANTITY]
    placed = [(d.message.side, d.message.quantity) for d in record.of(seto.OrderAccepted)]
    assert placed == [(seto.SIDE_BUY, QUANTITY), (seto.SIDE_BUY, QUANTITY), (seto.SIDE_SELL, QUANTITY)]
    assert record.differences() == []


@pytest.mark.exchange(settings={"history_limit": 1})
def test_it_halts_when_events_are_lost_for_good(
    renewing: Bot,
    pool: Pool,
    record: Record,
    counterparty: Counterparty,
    faults: Faults,
    fake_clock: FakeClock,
) -> None:
    """The exchange has only one of three fills when the account is back: that is told, and the bot stops."""
    faults.cut("alice", away=60)
    for _ in range(3):
        counterparty.sell(BID, 1_000)
    fake_clock.advance(60)
    fake_clock.advance_until(lambda: pool["alice"].state is UP, at_most=60)
    assert renewing.halted == {"alice"}
    assert record.differences() == []

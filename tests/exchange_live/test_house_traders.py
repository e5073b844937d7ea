"""House traders on a served exchange: what subscribed clients see of them, and what they survive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from smarkets_pool import seto
from smarkets_pool.exchange import ActivitySettings, EmbeddedExchange
from smarkets_pool.session import Session, SessionSettings
from smarkets_pool.wire.payloads import message_of
from tests.rig.waiting import eventually

#: Everything within a second or two.
QUICK = ActivitySettings(
    quotes=60,
    takes=20,
    new_seconds=0.05,
    open_seconds=0.3,
    halt_seconds=0.05,
    live_seconds=0.3,
    halts=1,
    settled_seconds=0.1,
)


class Watcher:
    """A client that follows every market, and the account's own events."""

    def __init__(self, exchange: EmbeddedExchange) -> None:
        self.session = Session(SessionSettings(**exchange.settings_for(0), socket_timeout=5))
        self.session.log_in()
        self.seen: list[Any] = []

    def follow(self, *messages: Any) -> None:
        """Send subscriptions."""
        for message in messages:
            self.session.send(message)
        self.session.flush()

    def until(self, condition: Callable[[], bool]) -> None:
        """Read until something is true of what was seen."""

        def found() -> bool:
            self.session.read()
            while (frame := self.session.next_frame()) is not None:
                self.seen.append(message_of(frame.protobuf))
            return condition()

        eventually(found, timeout=20)

    def of(self, kind: type[Any], market_id: int | None = None) -> list[Any]:
        """The messages of a type, of one market or of all."""
        return [m for m in self.seen if isinstance(m, kind) and market_id in (None, m.market_id)]


def test_a_subscriber_sees_quotes_move_and_the_market_end() -> None:
    """Deltas with new prices and executions, every state on the way, and a new market in its place."""
    with EmbeddedExchange(accounts=1, markets=1, tls=False, activity=QUICK, seed=3) as exchange:
        market_id = exchange.market_ids[0]
        watcher = Watcher(exchange)
        watcher.follow(seto.MarketFeedSubscribe(), seto.MarketSubscribe(market_id=market_id))
        ended = seto.MARKET_STATE_SETTLED

        def states(of: int) -> list[int]:
            return [message.state for message in watcher.of(seto.MarketState, of)]

        watcher.until(lambda: ended in states(market_id) and ended in states(market_id + 1))
        deltas = watcher.of(seto.ContractQuotes, market_id)
        prices = {quote.price for delta in deltas for quote in (*delta.bids, *delta.offers)}
        assert len(prices) > 4
        assert any(delta.executions for delta in deltas)
        assert {seto.MARKET_STATE_HALTED, seto.MARKET_STATE_LIVE} <= set(states(market_id))
        assert states(market_id + 1)[:2] == [seto.MARKET_STATE_NEW, seto.MARKET_STATE_OPEN]
        assert watcher.of(seto.ContractQuotes, market_id + 1) == []  # it follows that one's states alone
        watcher.session.disconnect()


def test_an_order_of_a_client_is_taken() -> None:
    """Who quotes better than the house is executed by its takers."""
    still = ActivitySettings(quotes=0.0, takes=100.0, lifecycle=False)
    with EmbeddedExchange(accounts=1, markets=1, contracts=1, tls=False, activity=still) as exchange:
        market_id = exchange.market_ids[0]
        watcher = Watcher(exchange)
        watcher.follow(
            seto.OrderCreate(
                market_id=market_id,
                contract_id=exchange.contract_ids[market_id][0],
                side=seto.SIDE_BUY,
                price=5000,
                quantity=10_000,
            )
        )
        watcher.until(lambda: bool(watcher.of(seto.OrderExecuted)))
        assert watcher.of(seto.OrderExecuted)[0].price == 5000
        watcher.session.disconnect()


@pytest.mark.parametrize("keep", ["all", "nothing"])
def test_the_house_goes_on_after_a_restart(keep: str) -> None:
    """With the books or without them, there is trading again."""
    with EmbeddedExchange(accounts=1, markets=1, tls=False, activity=QUICK) as exchange:

        def executed() -> int:
            return exchange.truth.executions

        eventually(lambda: executed() > 10)
        before = exchange.exchange.engine
        exchange.faults.restart(keep)
        assert (exchange.exchange.engine is before) == (keep == "all")
        count = executed()
        eventually(lambda: executed() > count + 10)


def test_without_it_nobody_trades() -> None:
    """An exchange is as still as its clients, unless it is told otherwise."""
    exchange = EmbeddedExchange(accounts=1, tls=False)
    assert exchange.exchange.chores == []
    assert [account.username for account in exchange.exchange.accounts] == ["trader-1@example.com"]


def test_a_chore_that_fails_is_the_end_of_that_chore_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback and not called again; the exchange serves on."""
    with EmbeddedExchange(accounts=1, tls=False, activity=QUICK) as exchange:
        (chore,) = exchange.exchange.chores
        chore.activity.step = lambda now: 1 / 0  # type: ignore[attr-defined]
        eventually(lambda: exchange.exchange.chores == [])
        assert "ZeroDivisionError" in caplog.text
        watcher = Watcher(exchange)
        watcher.session.disconnect()

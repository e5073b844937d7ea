"""What a session that sends too much is told, without sockets and on a manual clock."""

from __future__ import annotations

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import UsageError
from tests.rig.ends import gapfill, heartbeat, logout, replay, subscribe
from tests.rig.peers import Caller, Floor, buy


def at_the_limit(messages: int = 2, **settings: object) -> tuple[Floor, Caller]:
    """A floor where a session may send so many messages, and one that has sent them."""
    floor = Floor(throttle_burst=messages, throttle_rate=1, throttle_tick_ms=1000, **settings)
    caller = floor.caller(0)
    for number in range(messages):
        caller.send(buy(price=1000 + number))
    return floor, caller


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (buy(), "order_rejected"),
        (seto.OrderCancel(order_id=1), "order_cancel_rejected"),
        (seto.OrderQuantityReduce(order_id=1, new_quantity=1), "order_quantity_reduce_rejected"),
        (seto.OrderCancelReplace(orig_order_id=1, price=1, quantity=1), "order_cancel_rejected"),
        (seto.OrderCancelAll(), "order_cancel_all_rejected"),
        (subscribe(1), "throttle_exceeded"),
        (seto.MarketUnsubscribe(market_id=1), "throttle_exceeded"),
        (seto.EventSubscribe(event_id=1), "throttle_exceeded"),
        (seto.PriceFeedSubscribe(), "throttle_exceeded"),
        (seto.MarketFeedSubscribe(), "throttle_exceeded"),
        (seto.Settings(), "throttle_exceeded"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_over_the_limit(message: object, answer: str) -> None:
    """A request is rejected where it has a rejection; anything else is answered by throttle_exceeded."""
    floor, caller = at_the_limit()
    assert caller.send(message) == [f"5 {answer}"]
    assert caller.side.logged_in
    floor.wait(1)
    caller.exchange_bytes()
    assert "throttle" not in " ".join(caller.send(subscribe(3)))


def test_the_reason_is_throttle_exceeded() -> None:
    """And the rejection is an event of the account, with the request's number."""
    _, caller = at_the_limit()
    caller.send(buy())
    rejected = caller.payloads[-1].order_rejected
    assert rejected.reason == seto.ORDER_REJECTED_THROTTLE_EXCEEDED
    assert (rejected.seq, rejected.account_sequence_64) == (4, 3)


def test_a_ping_over_the_limit_has_no_pong() -> None:
    """throttle_exceeded instead of it."""
    _, caller = at_the_limit()
    caller.side.ping(caller.floor.now)
    assert caller.exchange_bytes() == ["5 throttle_exceeded"]


def test_over_the_limit_nothing_takes_effect() -> None:
    """Neither a subscription nor a setting nor an order."""
    floor, caller = at_the_limit()
    caller.send(subscribe(1))
    caller.send(seto.Settings(cancel_all_on_failure=True))
    caller.send(buy())
    assert caller.peer.subscriptions == set()
    assert not caller.peer.cancel_on_failure
    assert floor.exchange.truth.orders_accepted == 2


def test_what_keeps_a_session_going_is_free() -> None:
    """Heartbeats, replays, gapfills and the logout take no token."""
    _, caller = at_the_limit()
    heard = caller.feed(heartbeat(4), replay(5, 4), gapfill(6), logout(7))
    assert heard == ["4 order_accepted replay", "5 logout"]


def test_the_login_is_free() -> None:
    """Of a burst of one the first order still has it."""
    caller = Floor(throttle_burst=1).caller(0)
    assert caller.send(buy()) == ["3 order_accepted"]


def test_pings_take_tokens() -> None:
    """Two pings, and the order behind them is one too many."""
    caller = Floor(throttle_burst=2, throttle_rate=1).caller(0)
    caller.side.ping(caller.floor.now)
    caller.side.ping(caller.floor.now)
    assert caller.exchange_bytes() == ["3 pong", "4 pong"]
    assert caller.send(buy()) == ["5 order_rejected"]


def test_it_may_stay_silent() -> None:
    """``throttle_unanswered="silence"`` is for what has no rejection; orders are rejected all the same."""
    _, caller = at_the_limit(throttle_unanswered="silence")
    assert caller.send(subscribe(1)) == []
    assert caller.send(buy()) == ["5 order_rejected"]


def test_it_may_be_announced_only() -> None:
    """``throttle_enforced=False`` lets everything pass."""
    _, caller = at_the_limit(throttle_enforced=False)
    assert caller.send(buy()) == ["5 order_accepted"]


def test_every_session_has_a_bucket_of_its_own() -> None:
    """Another session of the same account may go on."""
    floor, caller = at_the_limit()
    assert floor.caller(0).send(buy(price=1)) == ["3 order_accepted"]
    assert caller.send(buy()) == ["5 order_accepted", "6 order_rejected"]


def test_limits_can_be_changed_for_everybody() -> None:
    """Who is logged in is told, who logs in later is told, and they count."""
    floor, caller = at_the_limit()
    floor.exchange.change_limits(floor.now, rate=100, tick_ms=10)
    assert caller.exchange_bytes() == ["5 throttle_limits_changed"]
    limits = caller.payloads[-1].throttle_limits_changed
    assert (limits.average_rate_ps, limits.burst_size, limits.tick_ms) == (100, 2, 10)
    floor.wait(0.01)
    assert caller.send(buy()) == ["6 order_accepted"]
    assert floor.caller(1).payloads[1].throttle_limits_changed == limits


def test_limits_can_be_changed_for_one_account() -> None:
    """Others keep theirs; a change for all takes it back."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    floor.exchange.change_limits(floor.now, burst=1, account="ann")
    assert ann.exchange_bytes() == ["3 throttle_limits_changed"]
    assert bob.exchange_bytes() == []
    assert floor.caller(0).payloads[1].throttle_limits_changed.burst_size == 1
    floor.exchange.change_limits(floor.now, rate=7)
    assert floor.caller(0).payloads[1].throttle_limits_changed.burst_size == 1000


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"burst": 0}, "burst is a whole number from 1"), ({"account": "nobody"}, "no account here")],
)
def test_limits_that_cannot_be(change: dict[str, object], sentence: str) -> None:
    """Nothing is changed and nobody told."""
    floor = Floor()
    caller = floor.caller(0)
    with pytest.raises(UsageError, match=sentence):
        floor.exchange.change_limits(floor.now, **change)
    assert caller.exchange_bytes() == []


def test_throttle_exceeded_is_of_the_session_layer() -> None:
    """Its inner type says so."""
    _, caller = at_the_limit()
    caller.send(subscribe(1))
    assert caller.payloads[-1].eto_payload.type == eto.PAYLOAD_THROTTLE_EXCEEDED

"""Who is told what: markets, feeds, events, sessions of an account; without sockets."""

from __future__ import annotations

import logging

import pytest

from smarkets_pool import seto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.peer import Peer
from tests.rig.ends import subscribe
from tests.rig.peers import Caller, Floor, buy

PRICES, STATES = seto.PriceFeedSubscribe(), seto.MarketFeedSubscribe()
NO_PRICES, NO_STATES = seto.PriceFeedUnsubscribe(), seto.MarketFeedUnsubscribe()


def kinds(caller: Caller) -> list[str]:
    """What has come since the last look, without numbers."""
    return [line.split()[1] for line in caller.exchange_bytes()]


def _in_market(market_id: int) -> seto.OrderCreate:
    return buy(market_id=market_id, contract_id=market_id + 1)


# --- feeds ----------------------------------------------------------------------------------------


def test_the_price_feed_has_the_quotes_of_every_market() -> None:
    """No snapshot, no answer; deltas of all markets, and no states."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    assert ann.send(PRICES) == []
    bob.send(_in_market(1))
    bob.send(_in_market(3))
    floor.exchange.set_market_state(3, seto.MARKET_STATE_LIVE, floor.now)
    assert kinds(ann) == ["contract_quotes", "contract_quotes"]
    assert [p.contract_quotes.market_id for p in ann.payloads[-2:]] == [1, 3]


def test_the_price_feed_may_begin_with_snapshots() -> None:
    """One of every market, without their states."""
    ann = Floor(price_feed_snapshots=True).caller(0)
    assert [line.split()[1] for line in ann.send(PRICES)] == ["market_quotes", "market_quotes"]
    assert [p.market_quotes.market_id for p in ann.payloads[-2:]] == [1, 3]


def test_the_market_feed_has_the_states_of_every_market() -> None:
    """States and being managed; no quotes."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    assert ann.send(STATES) == []
    bob.send(_in_market(1))
    floor.exchange.set_market_state(3, seto.MARKET_STATE_LIVE, floor.now)
    floor.exchange.operate("set_managed", floor.now, market_id=1, managed=True)
    assert kinds(ann) == ["market_state", "market_managed_state"]


def test_who_follows_market_and_feed_is_told_once() -> None:
    """A subscriber of both gets each message a single time."""
    floor = Floor()
    ann = floor.caller(0)
    for message in (subscribe(1), PRICES, STATES):
        ann.send(message)
    floor.caller(1).send(buy())
    floor.exchange.set_market_state(1, seto.MARKET_STATE_LIVE, floor.now)
    assert kinds(ann) == ["contract_quotes", "market_state"]


def test_unsubscribing_from_a_feed_leaves_the_markets() -> None:
    """The subscription to the market goes on; the feed's other markets stop."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    for message in (subscribe(1), PRICES, NO_PRICES, STATES, NO_STATES):
        ann.send(message)
    bob.send(_in_market(1))
    bob.send(_in_market(3))
    floor.exchange.set_market_state(3, seto.MARKET_STATE_LIVE, floor.now)
    assert kinds(ann) == ["contract_quotes"]


@pytest.mark.parametrize("message", [NO_PRICES, NO_STATES, seto.EventUnsubscribe(event_id=1)])
def test_ending_what_never_began_is_harmless(message: object) -> None:
    """No answer and no error."""
    caller = Floor().caller(0)
    assert caller.send(message) == []
    assert not caller.peer.closing


# --- events ---------------------------------------------------------------------------------------


def test_events_are_told_to_their_subscribers() -> None:
    """With all that is known, to nobody else, and no more after unsubscribing."""
    floor = Floor()
    ann, bob = floor.caller(0), floor.caller(1)
    assert ann.send(seto.EventSubscribe(event_id=7)) == []
    bob.send(seto.EventSubscribe(event_id=8))
    told = floor.exchange.notify_event(
        7,
        "danger",
        "corner",
        floor.now,
        period="SECONDHALF",
        playtime=2_800_000,
        score_home=1,
        score_away=0,
    )
    assert told == 1
    assert kinds(ann) == ["runningball_notification"]
    notification = ann.payloads[-1].runningball_notification
    assert (notification.event_id, notification.state) == (7, seto.RUNNINGBALL_STATE_DANGER)
    assert (notification.details, notification.period) == ("corner", seto.RUNNINGBALL_PERIOD_SECONDHALF)
    assert (notification.playtime, notification.score_home, notification.score_away) == (2_800_000, 1, 0)
    assert kinds(bob) == []
    ann.send(seto.EventUnsubscribe(event_id=7))
    assert floor.exchange.notify_event(7, seto.RUNNINGBALL_STATE_SAFE, "", floor.now) == 0
    assert kinds(ann) == []


def test_what_is_not_known_of_an_event_is_left_out() -> None:
    """Only state, details and event are required."""
    floor = Floor()
    ann = floor.caller(0)
    ann.send(seto.EventSubscribe(event_id=7))
    floor.exchange.notify_event(7, "SAFE", "kick-off", floor.now)
    kinds(ann)
    notification = ann.payloads[-1].runningball_notification
    assert not any(notification.HasField(f) for f in ("period", "playtime", "score_home", "score_away"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"state": "CALM"}, "'CALM' is none of SAFE, DANGER, ALERT, FINISHED"),
        ({"state": 99}, "99"),
        ({"period": "THIRD"}, "'THIRD' is none of FIRSTHALF, PAUSE, SECONDHALF, FINISHED"),
        ({"event_id": -1}, "-1"),
        ({"playtime": 2**32}, "4294967296"),
        ({"details": 7}, "the event cannot be told: "),
    ],
)
def test_an_event_that_cannot_be_told(arguments: dict[str, object], sentence: str) -> None:
    """The error names what was asked and what there is; nobody is told."""
    floor = Floor()
    values = {"event_id": 7, "state": "SAFE", "details": "", **arguments}
    with pytest.raises(UsageError) as caught:
        floor.exchange.notify_event(**values, now=floor.now)
    assert sentence in str(caught.value)


# --- markets --------------------------------------------------------------------------------------


def test_an_unknown_market_may_be_answered_with_silence(caplog: pytest.LogCaptureFixture) -> None:
    """The log says so; once the market is there, its subscriber is told."""
    caplog.set_level(logging.INFO, logger="smarkets_pool.exchange")
    floor = Floor(unknown_market="silence")
    ann = floor.caller(0)
    assert ann.send(subscribe(99)) == []
    assert "account ann: connection 1: no market 99" in caplog.text
    floor.exchange.operate("add_market", floor.now, market_id=99, contracts=[100])
    kinds(ann)
    floor.caller(1).send(buy(market_id=99, contract_id=100))
    assert kinds(ann) == ["contract_quotes"]


def test_a_second_subscription_may_be_answered_with_silence() -> None:
    """After unsubscribing the next one is a first one again."""
    ann = Floor(double_subscribe="silence").caller(0)
    assert len(ann.send(subscribe(1))) == 2
    assert ann.send(subscribe(1)) == []
    ann.send(seto.MarketUnsubscribe(market_id=1))
    assert len(ann.send(subscribe(1))) == 2


def test_a_snapshot_may_come_without_the_state() -> None:
    """The choice is the engine's; the session sends what it gets."""
    ann = Floor(state_after_snapshot=False).caller(0)
    assert ann.send(subscribe(1)) == ["3 market_quotes"]


# --- sessions of an account -----------------------------------------------------------------------


def test_events_may_go_to_the_session_that_made_the_order() -> None:
    """While it lasts; when it is gone, to all of the account's others."""
    floor = Floor(order_events_to="session")
    first, second, third = (floor.caller(0) for _ in range(3))
    first.send(buy(price=2000))
    order_id = first.payloads[-1].order_accepted.order_id
    assert (kinds(second), kinds(third)) == ([], [])
    second.send(seto.OrderCancel(order_id=order_id))
    assert kinds(first) == ["order_cancelled"]
    assert (kinds(second), kinds(third)) == ([], [])
    first.send(buy(price=2100))
    order_id = first.payloads[-1].order_accepted.order_id
    first.peer.lost(floor.now)
    floor.exchange.operate("cancel_order", floor.now, order_id=order_id)
    assert (kinds(second), kinds(third)) == (["order_cancelled"], ["order_cancelled"])


def test_a_resumed_session_is_still_the_one_that_made_the_order() -> None:
    """Its id is the same over the next connection."""
    floor = Floor(order_events_to="session")
    other, first = floor.caller(0), floor.caller(0)
    first.send(buy(price=2000))
    order_id = first.payloads[-1].order_accepted.order_id
    first.peer.lost(floor.now)
    second = Caller(floor)
    second.side.memory = first.side.memory
    second.login(0, session=first.peer.session_id)
    floor.exchange.operate("cancel_order", floor.now, order_id=order_id)
    assert kinds(second) == ["order_cancelled"]
    assert kinds(other) == []


def test_only_the_newest_session_of_an_account_may_stay() -> None:
    """The others are logged out, and have not failed: their orders stay."""
    floor = Floor(sessions_per_account="newest")
    first = floor.caller(0)
    first.send(seto.Settings(cancel_all_on_failure=True))
    first.send(buy())
    stranger = floor.caller(1)
    second = floor.caller(0)
    assert kinds(first) == ["logout"]
    assert first.peer.closing
    assert floor.accounts[0].online == 1
    assert len(floor.accounts[0].live_orders) == 1
    assert second.send(buy(price=1000))[-1] == "3 order_accepted"
    assert not stranger.peer.closing


def test_a_resumed_session_keeps_feeds_and_events() -> None:
    """As it keeps its markets."""
    floor = Floor()
    first = floor.caller(0)
    for message in (PRICES, STATES, seto.EventSubscribe(event_id=7)):
        first.send(message)
    first.peer.lost(floor.now)
    assert floor.exchange.notify_event(7, "SAFE", "", floor.now) == 0
    second = Caller(floor)
    second.side.memory = first.side.memory
    second.login(0, session=first.peer.session_id)
    floor.caller(1).send(buy())
    floor.exchange.set_market_state(1, seto.MARKET_STATE_LIVE, floor.now)
    floor.exchange.notify_event(7, "SAFE", "", floor.now)
    assert kinds(second) == ["contract_quotes", "market_state", "runningball_notification"]


def test_nobody_else_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Carrying effects asks nothing of connections that are not concerned, however many there are."""
    floor = Floor()
    bystanders = {floor.caller(1).peer for _ in range(50)}
    watcher, maker = floor.caller(0), floor.caller(0)
    watcher.send(subscribe(1))
    asked: list[Peer] = []
    for name in ("send", "wake", "next_deadline"):
        plain = getattr(Peer, name)

        def noted(peer: Peer, *args: object, plain: object = plain, **keywords: object) -> object:
            asked.append(peer)
            return plain(peer, *args, **keywords)  # type: ignore[operator]

        monkeypatch.setattr(Peer, name, noted)
    for number in range(10):
        maker.send(buy(price=1000 + number))
    floor.exchange.notify_event(7, "SAFE", "", floor.now)
    assert watcher.peer in asked
    assert not bystanders & set(asked)


def test_what_nobody_follows_any_more_is_forgotten() -> None:
    """No list is left behind of connections that are gone."""
    floor = Floor()
    for _ in range(3):
        caller = floor.caller(0)
        for message in (subscribe(1), PRICES, STATES, seto.EventSubscribe(event_id=7)):
            caller.send(message)
        caller.peer.lost(floor.now)
    audiences = floor.exchange.audiences
    assert repr(audiences) == "<Audiences of 0 accounts and 0 markets>"
    assert not any(vars(audiences).values())

"""The same changes make the same engine, and an engine keeps nothing of what has come and gone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from smarkets_pool.exchange.engine import Change, Effect, Operated, Requested
from smarkets_pool.wire.schema import seto_pb2 as seto
from tests.rig.trading import (
    BUY,
    CONTRACT,
    GTC,
    GTH,
    IOC,
    KIP,
    MARKET,
    NOW,
    OTHER_CONTRACT,
    SELL,
    Rig,
    messages,
    picture,
    spoken,
)


@pytest.fixture
def rig() -> Rig:
    return Rig()


# --- on_change ---------------------------------------------------------------------------------


def test_every_request_is_told_as_it_came(rig: Rig) -> None:
    """Also one that was refused: it has used up a number of the account."""
    changes: list[Change] = []
    rig.engine.on_change = changes.append
    requests: list[Message] = [
        seto.OrderCreate(side=BUY, price=5000, quantity=10, market_id=MARKET, contract_id=CONTRACT),
        seto.OrderCreate(side=BUY, price=0, quantity=10, market_id=MARKET, contract_id=CONTRACT),
        seto.OrderCancel(order_id=1),
        seto.OrderQuantityReduce(order_id=1, new_quantity=1),
        seto.OrderCancelReplace(orig_order_id=1, price=1, quantity=1),
        seto.OrderCancelAll(),
    ]
    for seq, request in enumerate(requests):
        rig.handle(rig.ann, request, seq=seq, session="s")
    assert changes == [Requested("ann", request, seq, NOW, "s") for seq, request in enumerate(requests)]


def test_what_changes_nothing_is_not_told(rig: Rig) -> None:
    """Subscriptions are the sessions' matter."""
    changes: list[Change] = []
    rig.engine.on_change = changes.append
    for message in (seto.MarketSubscribe(market_id=MARKET), seto.MarketUnsubscribe(market_id=MARKET)):
        rig.handle(rig.ann, message)
        assert rig.engine.refuse_throttled(rig.ann, message, seq=2, now_us=NOW) is None
    rig.engine.snapshot(MARKET)
    assert changes == []


def test_a_request_over_the_limit_is_told_as_such(rig: Rig) -> None:
    """The refusal is an event of the account, and has to be there again."""
    changes: list[Change] = []
    rig.engine.on_change = changes.append
    request = seto.OrderCancelAll()
    rig.engine.refuse_throttled(rig.ann, request, seq=9, now_us=NOW, session="s")
    assert changes == [Requested("ann", request, 9, NOW, "s", throttled=True)]


# --- the same again ----------------------------------------------------------------------------


def again(rig: Rig, change: Change) -> list[Effect]:
    """Ask the same of another engine."""
    engine = rig.engine
    if isinstance(change, Operated):
        return engine.operate(change.verb, now_us=change.now_us, **change.arguments)
    ask: Callable[..., Any] = engine.refuse_throttled if change.throttled else engine.handle
    account = rig.accounts[change.username]
    effects: list[Effect] = ask(
        account, change.message, seq=change.seq, now_us=change.now_us, session=change.session
    )
    return effects


class Play:
    """Random requests and verbs of every kind, from a seed."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self._chance = random.Random(seed)
        self._ids: list[int] = [77]
        self.effects: list[Effect] = []

    def go(self, steps: int) -> None:
        for _ in range(steps):
            self.rig.now_us += self._chance.randrange(3_000_000)
            act = self._chance.choice([self._create] * 8 + [self._request] * 4 + [self._operate] * 3)
            self.effects += act()

    def _place(self) -> dict[str, Any]:
        return {"market_id": MARKET, "contract_id": self._chance.choice([CONTRACT, OTHER_CONTRACT])}

    def _create(self) -> list[Effect]:
        chance = self._chance
        effects = self.rig.create(
            chance.choice(list(self.rig.accounts)),
            chance.choice([BUY, SELL]),
            chance.choice([4000, 5000, 6000]),
            chance.randrange(1, 50),
            seq=chance.randrange(2, 1000),
            session=chance.choice(["s1", "s2"]),
            tif=chance.choice([GTC, GTH, IOC, KIP]),
            maq=chance.choice([0, 0, 20]),
            **self._place(),
        )
        self._ids += [message.order_id for message in messages(effects, seto.OrderAccepted)]
        return effects

    def _request(self) -> list[Effect]:
        chance, order_id = self._chance, self._chance.choice(self._ids[-30:])
        account = next((each for each in self.rig.accounts if order_id in each.orders), self.rig.ann)
        request = chance.choice(
            [
                seto.OrderCancel(order_id=order_id),
                seto.OrderQuantityReduce(order_id=order_id, new_quantity=chance.randrange(40)),
                seto.OrderCancelReplace(orig_order_id=order_id, price=4500, quantity=chance.randrange(60)),
                seto.OrderCancelAll(),
            ]
        )
        if chance.random() < 0.1:
            return self.rig.engine.refuse_throttled(account, request, seq=2, now_us=self.rig.now_us) or []
        return self.rig.handle(account, request)

    def _operate(self) -> list[Effect]:
        chance, trades = self._chance, list(self.rig.market.trades)
        live = [order_id for account in self.rig.accounts for order_id in account.live_orders]
        verbs: list[tuple[str, dict[str, Any]]] = [
            ("set_managed", {"market_id": MARKET, "managed": chance.random() < 0.5}),
            ("set_market_state", {"market_id": MARKET, "state": chance.choice(["HALTED", "LIVE", "LIVE"])}),
            ("confirm_due", {}),
            ("deposit", {"account": "ann", "amount": "1.00"}),
            ("refuse_next", {"account": "bob", "request": "order_create", "reason": "LIMIT_EXCEEDED"}),
            ("reduce", {"factor": 1000, "kind": chance.choice(["PRICE", "QUANTITY"]), **self._place()}),
            ("suspend_trading", {"account": "cyd"}),
            ("resume_trading", {"account": "cyd"}),
            ("cancel_all", {"account": "ann", "session": "s1"}),
        ]
        if trades:
            verbs += [("void_trade", {"trade_id": chance.choice(trades)})] * 2
        if live:
            verbs += [("void_order", {"order_id": chance.choice(live)})] * 2
        verb, arguments = chance.choice(verbs)
        return self.rig.operate(verb, **arguments)


def played(rig: Rig, seed: int) -> tuple[list[Change], list[Effect]]:
    """What was done in a random play up to the settlement, and what came of it."""
    changes: list[Change] = []
    rig.engine.on_change = changes.append
    play = Play(rig, seed)
    play.go(300)
    play.effects += rig.operate("settle", market_id=MARKET, winners=[CONTRACT])
    rig.engine.on_change = None
    return changes, play.effects


@pytest.mark.parametrize("netting", ["none", "market"])
def test_the_same_changes_give_the_same_state_and_the_same_effects(netting: str) -> None:
    """Everything an engine has is looked at, and every byte it told."""
    first, second = Rig(netting=netting), Rig(netting=netting)
    changes, effects = played(first, seed=1)
    assert len(changes) > 300
    replayed = [effect for change in changes for effect in again(second, change)]
    assert spoken(replayed) == spoken(effects)
    assert picture(second.engine) == picture(first.engine)


def test_any_beginning_of_the_changes_can_be_gone_on_from() -> None:
    """As somebody does who kept them: first all that was, then on."""
    first, second = Rig(), Rig()
    changes, effects = played(first, seed=2)
    half = len(changes) // 2
    head = [effect for change in changes[:half] for effect in again(second, change)]
    told: list[Change] = []
    second.engine.on_change = told.append
    tail = [effect for change in changes[half:] for effect in again(second, change)]
    assert told == changes[half:]
    assert spoken(head + tail) == spoken(effects)


def test_plays_differ(rig: Rig) -> None:
    """So that the comparison above compares something: another seed, another picture."""
    other = Rig()
    played(rig, seed=1)
    played(other, seed=2)
    assert picture(other.engine) != picture(rig.engine)


def test_the_sequences_of_the_accounts_have_no_holes(rig: Rig) -> None:
    """Whatever was done, each account's events count 1, 2, 3."""
    _changes, effects = played(rig, seed=3)
    for account in rig.accounts:
        numbers = [
            m.account_sequence_64
            for m in messages(effects, Message, account)
            if "account_sequence_64" in m.DESCRIPTOR.fields_by_name
        ]
        assert numbers == list(range(1, account.next_account_sequence))
        assert len(numbers) > 50


# --- what has gone -----------------------------------------------------------------------------


def size(thing: object) -> int:
    """How much hangs on an object, without the counters and texts in it."""
    return _count(picture(thing))


def _count(part: object) -> int:
    return 1 + sum(map(_count, part)) if isinstance(part, (list, tuple)) else 1


def season(rig: Rig, market_id: int) -> None:
    """A market that comes, is traded in every way, and goes."""
    place = {"market_id": market_id, "contract_id": 1}
    rig.operate("add_market", market_id=market_id, contracts=[1, 2, 3])
    rig.operate("set_managed", market_id=market_id)
    rig.trade(rig.ann, rig.bob, 5000, 10, **place)
    voided = rig.trade(rig.bob, rig.cyd, 5000, 10, **place)
    rig.rest(rig.cyd, BUY, 1000, 10, tif=KIP, **place)
    replaced = rig.rest(rig.ann, BUY, 5000, 10, **place)
    rig.rest(rig.bob, SELL, 5000, 4, **place)
    rig.replace(rig.ann, replaced, 4000, 10)
    rig.operate("void_trade", trade_id=voided.trade_id)
    rig.operate("refuse_next", account="ann", request="order_create", reason="LIMIT_EXCEEDED")
    rig.create(rig.ann, BUY, 5000, 10, **place)
    rig.operate("reduce", factor=1000, **place)
    rig.operate("settle_contract", market_id=market_id, contract_id=2, won=False)
    if market_id % 3 == 0:
        rig.operate("settle", market_id=market_id, winners=[1])
    elif market_id % 3 == 1:
        rig.operate("void_market", market_id=market_id)
    else:
        for trade_id in list(rig.engine.markets[market_id].trades):
            rig.operate("void_trade", trade_id=trade_id)
        rig.operate("set_market_state", market_id=market_id, state="VOIDED")
    rig.operate("remove_market", market_id=market_id)
    rig.now_us += 10_000_000
    rig.operate("confirm_due")


@pytest.mark.parametrize("netting", ["none", "market"])
def test_nothing_grows_when_markets_come_and_go(netting: str) -> None:
    """All that an engine has is the same size after 6 markets and after 60."""
    rig = Rig(netting=netting, finished_orders=5, history_limit=5, truth_limit=5)
    sizes = []
    for market_id in range(100, 160):
        season(rig, market_id)
        sizes.append(size(rig.engine))
    assert sizes[5] == sizes[-1]
    assert rig.risks() == [0, 0, 0]
    assert sum(rig.cash()) == 0


def test_pending_executions_of_an_ended_market_are_let_go(rig: Rig) -> None:
    """Also before their time has come, as soon as somebody asks what is due."""
    rig.operate("set_managed", market_id=MARKET)
    for _ in range(5):
        rig.trade(rig.ann, rig.bob, 5000, 10)
    assert repr(picture(rig.engine)).count("'Trade'") == 5
    rig.operate("void_market", market_id=MARKET)
    assert rig.engine.due_us() is None
    assert "'Trade'" not in repr(picture(rig.engine))

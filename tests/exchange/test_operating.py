"""What the exchange's staff may do to markets and accounts, and everything it is told when it may not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.engine import VERBS, Change, Operated
from smarkets_pool.exchange.engine.desk import FIRST_ORDER_ID
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
    OTHER_MARKET,
    SELL,
    Rig,
    fields,
    messages,
    only,
    picture,
    shape,
)

# --- any verb, right or wrong ------------------------------------------------------------------

SOLD, BOUGHT, LIVE, DEAD = range(FIRST_ORDER_ID, FIRST_ORDER_ID + 4)
FINAL, PENDING = 1, 2
SETTLED_MARKET, LOST = 12, 22

#: Every verb with arguments that will do in ``scene``.
GOOD: dict[str, dict[str, Any]] = {
    "add_market": {"market_id": 13, "contracts": [20], "state": "NEW"},
    "remove_market": {"market_id": SETTLED_MARKET},
    "set_market_state": {"market_id": MARKET, "state": "HALTED", "reason": "rain"},
    "set_contract_state": {"market_id": MARKET, "contract_id": CONTRACT, "state": "HALTED"},
    "set_managed": {"market_id": MARKET, "managed": False},
    "reduce": {"market_id": MARKET, "contract_id": CONTRACT, "factor": 2500, "kind": "QUANTITY"},
    "settle": {"market_id": MARKET, "winners": [CONTRACT]},
    "settle_contract": {"market_id": MARKET, "contract_id": CONTRACT, "won": True},
    "void_market": {"market_id": MARKET},
    "void_contract": {"market_id": MARKET, "contract_id": CONTRACT},
    "void_trade": {"trade_id": FINAL},
    "void_order": {"order_id": LIVE},
    "confirm_trade": {"trade_id": PENDING},
    "confirm_due": {},
    "cancel_order": {"order_id": LIVE},
    "cancel_all": {"account": "ann", "market_id": MARKET, "reason": "ADMIN_REQUESTED", "session": ""},
    "suspend_account": {"account": "ann"},
    "restore_account": {"account": "ann"},
    "suspend_trading": {"account": "ann"},
    "resume_trading": {"account": "ann"},
    "set_backend": {"up": False},
    "set_limits": {"account": "ann", "exposure": "100.00", "stake": None},
    "refuse_next": {"account": "ann", "request": "order_create", "reason": "LIMIT_EXCEEDED", "times": 2},
    "deposit": {"account": "ann", "amount": "-12.50"},
    "tell": {
        "account": "ann",
        "name": "seto.order_execute_confirmed",
        "fields": {"order_id": "7", "price": 1, "quantity": "2"},
    },
}


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def scene() -> Rig:
    """Orders sold, bought, live and dead, a trade final and one pending, and what is settled already."""
    rig = Rig()
    rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.rest(rig.ann, BUY, 3000, 10)
    rig.cancel(rig.ann, rig.rest(rig.ann, BUY, 3000, 10))
    rig.operate("set_managed", market_id=MARKET)
    rig.trade(rig.ann, rig.bob, 6000, 10)
    rig.operate("add_market", market_id=SETTLED_MARKET, contracts=[20])
    rig.operate("settle", market_id=SETTLED_MARKET, winners=[])
    rig.operate("add_market", market_id=14, contracts=[20, LOST])
    rig.operate("settle_contract", market_id=14, contract_id=LOST, won=False)
    return rig


def test_the_table_here_has_every_verb() -> None:
    """So what holds for all of them is tested for all of them."""
    assert list(GOOD) == list(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_told_as_one_change(scene: Rig, verb: str) -> None:
    """With its arguments as they came, for whoever keeps the changes."""
    changes: list[Change] = []
    scene.engine.on_change = changes.append
    scene.operate(verb, **GOOD[verb])
    assert changes == [Operated(verb, GOOD[verb], NOW)]


def refused(rig: Rig, verb: str, arguments: dict[str, Any]) -> str:
    """The error's sentence; nothing has changed, and no change was told."""
    changes: list[Change] = []
    rig.engine.on_change = changes.append
    before = picture(rig.engine)
    with pytest.raises(UsageError) as caught:
        rig.operate(verb, **arguments)
    assert picture(rig.engine) == before
    assert not changes
    return str(caught.value)


def test_an_unknown_verb_is_told_all_verbs(scene: Rig) -> None:
    """Whoever mistyped one finds it there; what the engine has besides is none."""
    for verb in ("setle", "carry_out", "_close", ""):
        sentence = refused(scene, verb, {})
        assert sentence == f"there is no verb {verb!r}; there are {', '.join(VERBS)}"


@pytest.mark.parametrize("verb", VERBS)
def test_an_argument_too_many_is_named_with_those_there_are(scene: Rig, verb: str) -> None:
    """Also one that only the inside knows."""
    for name in ("colour", "work"):
        sentence = refused(scene, verb, {**GOOD[verb], name: 1})
        assert sentence.startswith(f"{verb}: ")
        assert f"'{name}'" in sentence
        assert all(known in sentence for known in GOOD[verb])


@pytest.mark.parametrize("verb", [verb for verb, arguments in GOOD.items() if arguments])
def test_a_missing_argument_is_named(scene: Rig, verb: str) -> None:
    """Those with a default may be left out."""
    first, *_rest = GOOD[verb]
    if verb in ("suspend_trading", "resume_trading"):
        scene.operate(verb)
        return
    assert f"missing a required argument: '{first}'" in refused(scene, verb, {})


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb in GOOD for name in GOOD[verb]])
def test_an_argument_of_the_wrong_kind_is_refused_before_anything_changes(
    scene: Rig, verb: str, name: str
) -> None:
    """What a message could not carry would otherwise be found out half-way."""
    good = GOOD[verb][name]
    for value in ({1: 2} if isinstance(good, dict) else {}, 1.5, [None], ["1", 1], b"10"):
        sentence = refused(scene, verb, {**GOOD[verb], name: value})
        assert sentence.startswith(f"{verb}: {name} is {value!r} and must be ")


@pytest.mark.parametrize(
    ("verb", "name", "value", "kind"),
    [
        ("set_managed", "managed", 1, "bool"),
        ("settle", "market_id", True, "int"),
        ("settle", "winners", [False], "list[int]"),
        ("settle", "winners", CONTRACT, "list[int]"),
        ("deposit", "amount", 5, "str"),
        ("set_market_state", "reason", "half a smile: \ud83d", "str"),
        ("deposit", "account", None, "str"),
        ("set_limits", "stake", 5, "str | None"),
        ("cancel_all", "market_id", "10", "int | None"),
    ],
)
def test_near_misses_are_wrong_kinds_too(scene: Rig, verb: str, name: str, value: Any, kind: str) -> None:
    """True is no number, 1 is no yes, and money is written as text."""
    sentence = refused(scene, verb, {**GOOD[verb], name: value})
    assert sentence == f"{verb}: {name} is {value!r} and must be {kind}"


UNKNOWN: dict[str, tuple[object, str]] = {
    "market_id": (99, "there is no market 99; there are 10, 11, 12, 14"),
    "contract_id": (99, "market 10 has no contract 99; it has 20, 21"),
    "winners": ([99], "market 10 has no contract 99; it has 20, 21"),
    "account": ("eve", "no account here has the user name 'eve'; there are ann, bob, cyd"),
    "order_id": (99, "there is no order 99"),
    "trade_id": (99, "there is no trade 99 whose bets are still on"),
}


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        (verb, name)
        for verb, arguments in GOOD.items()
        for name in arguments
        if name in UNKNOWN and verb != "add_market"
    ],
)
def test_what_there_is_not_is_told_with_what_there_is(scene: Rig, verb: str, name: str) -> None:
    """Markets, contracts, accounts, orders and trades, whichever verb names them."""
    value, sentence = UNKNOWN[name]
    assert refused(scene, verb, {**GOOD[verb], name: value}) == sentence


def test_of_many_markets_some_are_named(rig: Rig) -> None:
    """An error is a sentence, not a list."""
    for market_id in range(100, 110):
        rig.operate("add_market", market_id=market_id, contracts=[1])
    assert refused(rig, "void_market", {"market_id": 1}) == (
        "there is no market 1; there are 10, 11, 100, 101, 102, 103, 104, 105 and 4 more"
    )


NO_STATE = "'SHUT' is none of NEW, OPEN, LIVE, HALTED, SETTLED, VOIDED"


@pytest.mark.parametrize(
    ("verb", "changes", "sentence"),
    [
        ("add_market", {"market_id": MARKET}, "market 10 is there already"),
        ("add_market", {"state": "SHUT"}, NO_STATE),
        ("add_market", {"contracts": [20, 21, 20]}, "market 13 has contract 20 twice"),
        ("add_market", {"market_id": -1}, "-1 is no id of a market or contract: those are 0 to 4294967295"),
        (
            "add_market",
            {"contracts": [2**32]},
            "4294967296 is no id of a market or contract: those are 0 to 4294967295",
        ),
        ("remove_market", {"market_id": MARKET}, "market 10 is not over: settle or void it first"),
        ("set_market_state", {"state": "SHUT"}, NO_STATE),
        ("set_market_state", {"market_id": SETTLED_MARKET}, "market 12 is over, and stays so"),
        ("set_contract_state", {"state": "SHUT"}, NO_STATE + ", REDUCED"),
        (
            "set_contract_state",
            {"state": "REDUCED"},
            "REDUCED moves money: use settle_contract, void_contract or reduce",
        ),
        (
            "set_contract_state",
            {"state": "VOIDED"},
            "VOIDED moves money: use settle_contract, void_contract or reduce",
        ),
        (
            "set_contract_state",
            {"market_id": 14, "contract_id": LOST},
            "contract 22 is over, and stays so",
        ),
        (
            "set_contract_state",
            {"market_id": SETTLED_MARKET},
            "contract 20 is over, and stays so",
        ),
        ("reduce", {"kind": "HALF"}, "'HALF' is none of QUANTITY, PRICE"),
        ("reduce", {"factor": 0}, "factor is a whole number from 1 to 10000, not 0"),
        ("reduce", {"factor": 10_001}, "factor is a whole number from 1 to 10000, not 10001"),
        ("reduce", {"market_id": 14, "contract_id": LOST}, "contract 22 of market 14 is over already"),
        ("settle", {"market_id": SETTLED_MARKET}, "market 12 is over already"),
        ("settle", {"market_id": 14, "winners": [20, LOST]}, "contract 22 of market 14 is over already"),
        (
            "settle_contract",
            {"market_id": 14, "contract_id": LOST},
            "contract 22 of market 14 is over already",
        ),
        ("settle_contract", {"market_id": SETTLED_MARKET}, "contract 20 of market 12 is over already"),
        ("void_market", {"market_id": SETTLED_MARKET}, "market 12 is over already"),
        ("void_contract", {"market_id": 14, "contract_id": LOST}, "contract 22 of market 14 is over already"),
        (
            "void_order",
            {"order_id": DEAD},
            f"order {DEAD} is cancelled and has no bet that is still on",
        ),
        ("confirm_trade", {"trade_id": FINAL}, "trade 1 is final and not pending"),
        ("cancel_order", {"order_id": DEAD}, f"order {DEAD} is cancelled and not live"),
        ("cancel_order", {"order_id": BOUGHT}, f"order {BOUGHT} is filled and not live"),
        (
            "cancel_all",
            {"reason": "BORED"},
            "'BORED' is none of MEMBER_REQUESTED, MARKET_HALTED, INSUFFICIENT_LIQUIDITY, ADMIN_REQUESTED, "
            "TRADING_SUSPENDED",
        ),
        ("deposit", {"amount": "0.000000001"}, "1E-9 currency units have more than eight digits"),
        ("deposit", {"amount": "ten"}, "'ten' is no amount of currency such as '12.50'"),
        ("deposit", {"amount": "NaN"}, "'NaN' is no amount of currency"),
        ("deposit", {"amount": "Infinity"}, "'Infinity' is no amount of currency"),
        ("deposit", {"amount": "1e999999"}, "'1e999999' is no amount of currency"),
        ("deposit", {"amount": "1000000000000.01"}, "'1000000000000.01' is no amount of currency"),
        ("deposit", {"amount": "-10000.00"}, "'ann' has 999999880000 points available, not 1000000000000"),
        ("set_limits", {"stake": "much"}, "'much' is no amount of currency such as '12.50'"),
        (
            "refuse_next",
            {"request": "ping"},
            "'ping' is never refused; these are: order_create, order_cancel, order_cancel_all, "
            "order_quantity_reduce, order_cancel_replace",
        ),
        ("refuse_next", {"reason": "TOO_LATE"}, "OrderRejected has no reason 'TOO_LATE'; it has INSUFF"),
        ("refuse_next", {"reason": "INVALID_"}, "OrderInvalid has no reason 'INVALID_'; it has INVALID_PR"),
        ("refuse_next", {"times": 0}, "times is a whole number from 1, not 0"),
        (
            "tell",
            {"name": "seto.order_create"},
            "'seto.order_create' is no message that an exchange sends, such as seto.order_executed",
        ),
        ("tell", {"name": "eto.logout"}, "'eto.logout' is no message that an exchange sends"),
        ("tell", {"name": "seto.gossip"}, "'seto.gossip' is no message that an exchange sends"),
        ("tell", {"fields": {"price": 1, "quantity": 2}}, "seto.order_execute_confirmed: "),
        ("tell", {"fields": {"order_id": 7, "colour": 2}}, "seto.order_execute_confirmed: "),
        ("tell", {"fields": {"order_id": "seven"}}, "seto.order_execute_confirmed: "),
    ],
)
def test_what_cannot_be_done_is_said_and_not_done(
    scene: Rig, verb: str, changes: dict[str, Any], sentence: str
) -> None:
    """One case per objection there is."""
    assert refused(scene, verb, {**GOOD[verb], **changes}).startswith(sentence)


# --- markets -----------------------------------------------------------------------------------


def test_an_added_market_is_announced_and_traded(rig: Rig) -> None:
    """In the state it was added in; OPEN unless it is said."""
    effects = rig.operate("add_market", market_id=15, contracts=[1, 2])
    assert shape(effects) == ["*:MarketState"]
    assert effects[0].message == seto.MarketState(market_id=15, state=seto.MARKET_STATE_OPEN)
    rig.rest(rig.ann, BUY, 5000, 10, market_id=15, contract_id=2)
    (state,) = messages(rig.operate("add_market", market_id=16, contracts=[1], state="NEW"), seto.MarketState)
    assert state.state == seto.MARKET_STATE_NEW
    refusal = only(rig.create(rig.ann, BUY, 5000, 10, market_id=16, contract_id=1), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_MARKET_NOT_OPEN


def test_a_removed_market_is_unknown(rig: Rig) -> None:
    """Nobody is told; its id can be used again, for other contracts."""
    rig.operate("void_market", market_id=MARKET)
    assert rig.operate("remove_market", market_id=MARKET) == []
    refusal = only(rig.create(rig.ann, BUY, 5000, 10), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_MARKET_NOT_FOUND
    assert rig.engine.snapshot(MARKET) == [seto.MarketQuotes(market_id=MARKET)]
    rig.operate("add_market", market_id=MARKET, contracts=[77])
    rig.rest(rig.ann, BUY, 5000, 10, contract_id=77)


@pytest.mark.parametrize("netting", ["none", "market"])
def test_a_market_that_comes_again_begins_anew(netting: str) -> None:
    """Bets in the contracts it has now count, whatever contracts it had before."""
    rig = Rig(netting=netting)
    rig.operate("void_trade", trade_id=rig.trade(rig.ann, rig.bob, 5000, 10).trade_id)
    rig.operate("set_market_state", market_id=MARKET, state="SETTLED")
    rig.operate("remove_market", market_id=MARKET)
    rig.operate("add_market", market_id=MARKET, contracts=[77, 78])
    rig.trade(rig.ann, rig.bob, 2500, 10, contract_id=77)
    assert rig.risks() == [10 * 7500, 10 * 2500, 0]


def test_a_market_with_bets_is_not_removed(rig: Rig) -> None:
    """Calling it settled pays nobody."""
    rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.operate("set_market_state", market_id=MARKET, state="SETTLED")
    assert refused(rig, "remove_market", {"market_id": MARKET}) == (
        "market 10 has 1 bets that are still on: settle or void it first"
    )
    rig.operate("void_market", market_id=MARKET)
    rig.operate("remove_market", market_id=MARKET)
    assert rig.risks() == [0, 0, 0]


@pytest.mark.parametrize("said", ["SETTLED", "VOIDED"])
def test_a_market_that_was_only_called_over_can_still_be_paid(rig: Rig, said: str) -> None:
    """Once: then it has no bets and is over."""
    rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.operate("set_market_state", market_id=MARKET, state=said)
    rig.operate("settle", market_id=MARKET, winners=[CONTRACT])
    assert rig.cash() == [-50_000, 50_000, 0]
    assert rig.market.state == seto.MARKET_STATE_SETTLED
    assert refused(rig, "settle", {"market_id": MARKET, "winners": []}) == "market 10 is over already"


def test_a_market_state_may_have_a_reason(rig: Rig) -> None:
    """It is told with the state, to later subscribers too, until the next state."""
    effects = rig.operate("set_market_state", market_id=MARKET, state="HALTED", reason="a goal")
    told = seto.MarketState(market_id=MARKET, state=seto.MARKET_STATE_HALTED, reason="a goal")
    assert [effect.message for effect in effects] == [told]
    assert rig.engine.snapshot(MARKET)[-1] == told
    assert not only(rig.state(seto.MARKET_STATE_LIVE), seto.MarketState).HasField("reason")
    rig.operate("set_market_state", market_id=MARKET, state="HALTED", reason="a goal")
    settled = only(rig.operate("settle", market_id=MARKET, winners=[]), seto.MarketState)
    assert not settled.HasField("reason")


def test_a_halted_contract_takes_no_orders_while_its_neighbour_does(rig: Rig) -> None:
    """It says so in the market's state, and loses the orders that a halt ends."""
    gone = [rig.rest(rig.ann, BUY, 5000, 10, tif=tif) for tif in (GTC, GTH)]
    rig.rest(rig.ann, BUY, 4000, 10, tif=KIP)
    kept = rig.rest(rig.ann, BUY, 5000, 10, contract_id=OTHER_CONTRACT)
    effects = rig.operate("set_contract_state", market_id=MARKET, contract_id=CONTRACT, state="HALTED")
    assert shape(effects) == ["*:MarketState", "*:ContractQuotes", *["ann:OrderCancelled"] * 2]
    halted = seto.ContractState(contract_id=CONTRACT, state=seto.CONTRACT_STATE_HALTED)
    assert effects[0].message == seto.MarketState(
        market_id=MARKET, state=seto.MARKET_STATE_OPEN, contracts=[halted]
    )
    assert [m.order_id for m in messages(effects, seto.OrderCancelled)] == gone
    assert kept in rig.ann.live_orders
    refusal = only(rig.create(rig.bob, BUY, 5000, 10), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_MARKET_HALTED
    rig.rest(rig.bob, BUY, 5000, 10, contract_id=OTHER_CONTRACT)


def test_a_contract_opens_again(rig: Rig) -> None:
    """Its own state stays told; the market's, if it takes no orders, goes before it."""
    rig.operate("set_contract_state", market_id=MARKET, contract_id=CONTRACT, state="HALTED")
    rig.operate("set_contract_state", market_id=MARKET, contract_id=CONTRACT, state="LIVE")
    rig.rest(rig.ann, BUY, 5000, 10)
    assert rig.market.contract_state(CONTRACT) == seto.CONTRACT_STATE_LIVE
    assert rig.market.contract_state(OTHER_CONTRACT) == seto.CONTRACT_STATE_OPEN
    rig.state(seto.MARKET_STATE_HALTED)
    refusal = only(rig.create(rig.bob, BUY, 5000, 10), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_MARKET_HALTED


def test_a_contract_that_is_not_open_yet_takes_no_orders(rig: Rig) -> None:
    """NEW is its own reason; what rests stays."""
    rig.rest(rig.ann, BUY, 5000, 10)
    rig.operate("set_contract_state", market_id=MARKET, contract_id=CONTRACT, state="NEW")
    refusal = only(rig.create(rig.bob, BUY, 5000, 10), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_MARKET_NOT_OPEN
    assert rig.book.levels(BUY, 0) == [(5000, 10)]


def test_the_end_of_a_market_is_the_end_of_its_contracts(rig: Rig) -> None:
    """Whatever state they had of their own; one that was settled before stays it."""
    rig.operate("set_contract_state", market_id=MARKET, contract_id=CONTRACT, state="LIVE")
    rig.operate("settle_contract", market_id=MARKET, contract_id=OTHER_CONTRACT, won=False)
    rig.operate("void_market", market_id=MARKET)
    assert rig.market.contract_state(CONTRACT) == seto.CONTRACT_STATE_VOIDED
    assert rig.market.contract_state(OTHER_CONTRACT) == seto.CONTRACT_STATE_SETTLED
    assert rig.market.open_contracts() == []


def test_managing_a_market_is_announced_once(rig: Rig) -> None:
    """And taken back with False; a new subscriber hears of it after the state."""
    managed = seto.MarketManagedState(market_id=MARKET, managed_state=seto.MARKET_MANAGED)
    effects = rig.operate("set_managed", market_id=MARKET)
    assert shape(effects) == ["*:MarketManagedState"]
    assert effects[0].message == managed
    assert rig.operate("set_managed", market_id=MARKET) == []
    snapshot = rig.engine.snapshot(MARKET)
    assert [type(message).__name__ for message in snapshot] == [
        "MarketQuotes",
        "MarketState",
        "MarketManagedState",
    ]
    assert snapshot[-1] == managed
    (taken_back,) = rig.operate("set_managed", market_id=MARKET, managed=False)
    assert taken_back.message == seto.MarketManagedState(
        market_id=MARKET, managed_state=seto.MARKET_UNMANAGED
    )
    assert len(rig.engine.snapshot(MARKET)) == 2


# --- orders ------------------------------------------------------------------------------------


def test_the_staff_may_cancel_an_order(rig: Rig) -> None:
    """ADMIN_REQUESTED, without a reference: nobody asked."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10, reference=4)
    rig.rest(rig.ann, BUY, 5000, 5)
    effects = rig.operate("cancel_order", order_id=order_id)
    assert shape(effects) == ["*:ContractQuotes", "ann:OrderCancelled"]
    cancelled = only(effects, seto.OrderCancelled)
    assert (cancelled.order_id, cancelled.reason) == (order_id, seto.ORDER_CANCELLED_ADMIN_REQUESTED)
    assert not cancelled.HasField("reference")
    assert rig.book.levels(BUY, 0) == [(5000, 5)]


def test_cancel_all_takes_those_of_one_market_or_one_session(rig: Rig) -> None:
    """And of nobody else; MEMBER_REQUESTED unless it is said."""
    first = rig.rest(rig.ann, BUY, 5000, 10, session="s1")
    elsewhere = rig.rest(rig.ann, BUY, 5000, 10, session="s1", market_id=OTHER_MARKET)
    other = rig.rest(rig.ann, BUY, 4000, 10, session="s2")
    rig.rest(rig.bob, BUY, 3000, 10, session="s1")
    effects = rig.operate("cancel_all", account="ann", session="s1", market_id=MARKET)
    assert [m.order_id for m in messages(effects, seto.OrderCancelled)] == [first]
    assert effects[-1].message.reason == seto.ORDER_CANCELLED_MEMBER_REQUESTED  # type: ignore[attr-defined]
    effects = rig.operate("cancel_all", account="ann", session="s1")
    assert [m.order_id for m in messages(effects, seto.OrderCancelled)] == [elsewhere]
    effects = rig.operate("cancel_all", account="ann")
    assert [m.order_id for m in messages(effects, seto.OrderCancelled)] == [other]
    assert len(rig.bob.live_orders) == 1


# --- accounts ----------------------------------------------------------------------------------


def test_a_suspended_account_cancels_and_reduces_but_neither_places_nor_replaces(rig: Rig) -> None:
    """Until it is restored."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10)
    other = rig.rest(rig.ann, BUY, 4000, 10)
    rig.operate("suspend_account", account="ann")
    assert only(rig.create(rig.ann, BUY, 5000, 10), seto.OrderRejected).reason == (
        seto.ORDER_REJECTED_ACCOUNT_SUSPENDED
    )
    assert only(rig.replace(rig.ann, order_id, 4000, 10), seto.OrderCancelRejected).reason == (
        seto.ORDER_CANCEL_REJECTED_ACCOUNT_SUSPENDED
    )
    assert messages(rig.reduce(rig.ann, order_id, 5), seto.OrderQuantityReduced)
    assert messages(rig.cancel(rig.ann, other), seto.OrderCancelled)
    rig.rest(rig.bob, BUY, 5000, 10)
    rig.operate("restore_account", account="ann")
    rig.rest(rig.ann, BUY, 5000, 10)


def test_a_suspended_accounts_resting_orders_are_still_met(rig: Rig) -> None:
    """Only new ones are refused."""
    rig.rest(rig.ann, BUY, 5000, 10)
    rig.operate("suspend_account", account="ann")
    assert messages(rig.create(rig.bob, SELL, 5000, 10), seto.OrderExecuted, rig.ann)


@pytest.mark.parametrize("whose", ["ann", None])
def test_when_trading_resumes_older_orders_are_cancelled(rig: Rig, whose: str | None) -> None:
    """For fairness (fact sheet 3.5); nobody else's, and only if it was suspended."""
    named = {} if whose is None else {"account": whose}
    anns = rig.rest(rig.ann, BUY, 5000, 10)
    bobs = rig.rest(rig.bob, BUY, 4000, 10)
    assert rig.operate("resume_trading", **named) == []
    assert rig.operate("suspend_trading", **named) == []
    refusal = only(rig.create(rig.ann, BUY, 5000, 10), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_TRADING_SUSPENDED
    refusal = only(rig.replace(rig.ann, anns, 4000, 10), seto.OrderCancelRejected)
    assert refusal.reason == seto.ORDER_CANCEL_REJECTED_TRADING_SUSPENDED
    others = rig.create(rig.cyd, BUY, 3000, 10)
    assert bool(messages(others, seto.OrderAccepted)) == (whose is not None)
    effects = rig.operate("resume_trading", **named)
    cancelled = messages(effects, seto.OrderCancelled)
    assert [m.order_id for m in cancelled] == ([anns] if whose else [anns, bobs])
    assert {m.reason for m in cancelled} == {seto.ORDER_CANCELLED_TRADING_SUSPENDED}
    rig.rest(rig.ann, BUY, 5000, 10)


def test_an_account_and_everybody_are_suspended_apart(rig: Rig) -> None:
    """Resuming one says nothing of the other."""
    assert rig.engine.may_trade(rig.ann)
    rig.operate("suspend_trading")
    rig.operate("suspend_trading", account="ann")
    rig.operate("resume_trading")
    assert messages(rig.create(rig.ann, BUY, 5000, 10), seto.OrderRejected)
    assert (rig.engine.may_trade(rig.ann), rig.engine.may_trade(rig.bob)) == (False, True)
    rig.rest(rig.bob, BUY, 5000, 10)
    rig.operate("resume_trading", account="ann")
    rig.rest(rig.ann, BUY, 5000, 10)


def test_a_deposit_can_be_risked_at_once() -> None:
    """And taken out again, as far as it is available; nobody is told, as with payments elsewhere."""
    rig = Rig(opening_balance=Decimal(0))
    assert messages(rig.create(rig.ann, BUY, 5000, 10_000), seto.OrderRejected)
    assert rig.operate("deposit", account="ann", amount="0.75") == []
    rig.rest(rig.ann, BUY, 5000, 10_000)
    assert rig.ann.cash_points == 75_000_000
    assert refused(rig, "deposit", {"account": "ann", "amount": "-0.25000001"}).startswith(
        "'ann' has 25000000"
    )
    rig.operate("deposit", account="ann", amount="-0.25")
    assert rig.ann.available_points == 0


def test_limits_bound_an_order_and_all_there_is(rig: Rig) -> None:
    """To the point; a stake is what one order risks, the exposure everything (fact sheet 3.5)."""
    rig.operate("set_limits", account="ann", exposure="1.00", stake="0.60")
    refusal = only(rig.create(rig.ann, BUY, 6001, 10_000), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_STAKE_LIMIT_EXCEEDED
    rig.rest(rig.ann, BUY, 6000, 10_000)
    refusal = only(rig.create(rig.ann, BUY, 4001, 10_000), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_LIMIT_EXCEEDED
    rig.rest(rig.ann, BUY, 4000, 10_000)
    rig.rest(rig.bob, BUY, 7000, 10_000)


def test_executed_bets_count_for_the_exposure_limit_too(rig: Rig) -> None:
    """They are at risk like what is open."""
    rig.trade(rig.ann, rig.bob, 5000, 10_000)
    rig.operate("set_limits", account="bob", exposure="0.60")
    refusal = only(rig.create(rig.bob, BUY, 5000, 2001), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_LIMIT_EXCEEDED
    rig.rest(rig.bob, BUY, 5000, 2000)


def test_limits_are_lifted_by_naming_none(rig: Rig) -> None:
    """Each call sets both bounds."""
    rig.operate("set_limits", account="ann", exposure="0.00", stake="0.00")
    assert messages(rig.create(rig.ann, BUY, 1, 1), seto.OrderRejected)
    rig.operate("set_limits", account="ann", stake="1.00")
    assert rig.ann.exposure_limit is None
    rig.operate("set_limits", account="ann")
    rig.rest(rig.ann, BUY, 9999, 1_000_000)


def test_an_account_can_be_told_anything(rig: Rig) -> None:
    """An event of the account is numbered, kept and recorded like any other; nothing else changes."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10)
    before = (rig.risks(), rig.cash(), rig.book.levels(BUY, 0), list(rig.ann.live_orders))
    told = {"order_id": order_id, "quantity": 1, "source_quantity": "3"}
    (effect,) = rig.operate("tell", account="ann", name="seto.order_voided", fields=told)
    assert shape([effect]) == ["ann:OrderVoided"]
    assert fields(effect.message) == {
        "order_id": order_id,
        "quantity": 1,
        "source_quantity": 3,
        "account_sequence": 2,
        "account_sequence_64": 2,
    }
    assert rig.ann.history_from(2, inclusive=True) == [effect.message]
    assert rig.truth.events("ann")[-1].name == "seto.order_voided"
    assert (rig.risks(), rig.cash(), rig.book.levels(BUY, 0), list(rig.ann.live_orders)) == before


def test_what_has_no_number_is_told_without_one(rig: Rig) -> None:
    """A balance, say."""
    told = {"reason": "gift", "available_balance": 5.5}
    (effect,) = rig.operate("tell", account="ann", name="seto.balance_changed", fields=told)
    assert shape([effect]) == ["ann:BalanceChanged"]
    assert fields(effect.message) == told
    assert rig.ann.next_account_sequence == 1


# --- the backend -------------------------------------------------------------------------------


def test_while_the_backend_is_away_everything_is_refused(rig: Rig) -> None:
    """Each request in the words its rejection has; an order's without the number (fact sheet 3.5)."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10)
    rig.operate("set_backend", up=False)
    before = rig.book.levels(BUY, 0)
    rejected = only(rig.create(rig.ann, BUY, 5000, 10, reference=3, label="l"), seto.OrderRejected)
    assert fields(rejected, "account_sequence", "account_sequence_64") == {
        "reason": seto.ORDER_REJECTED_SERVICE_TEMPORARILY_UNAVAILABLE,
        "reference": 3,
        "label": "l",
    }
    reasons = [
        only(rig.cancel(rig.ann, order_id), seto.OrderCancelRejected).reason,
        only(rig.replace(rig.ann, order_id, 4000, 10), seto.OrderCancelRejected).reason,
        only(rig.reduce(rig.ann, order_id, 5), seto.OrderQuantityReduceRejected).reason,
        only(rig.handle(rig.ann, seto.OrderCancelAll(reference=4)), seto.OrderCancelAllRejected).reason,
    ]
    assert reasons == [
        seto.ORDER_CANCEL_REJECTED_SERVICE_TEMPORARILY_UNAVAILABLE,
        seto.ORDER_CANCEL_REJECTED_SERVICE_TEMPORARILY_UNAVAILABLE,
        seto.ORDER_QUANTITY_REDUCE_REJECTED_CAPACITY_REACHED,
        seto.ORDER_CANCEL_ALL_REJECTED_UNKNOWN_ERROR,
    ]
    assert rig.book.levels(BUY, 0) == before
    rig.operate("set_backend", up=True)
    assert messages(rig.cancel(rig.ann, order_id), seto.OrderCancelled)


def test_validity_is_judged_before_the_backend(rig: Rig) -> None:
    """An invalid order never gets there."""
    rig.operate("set_backend", up=False)
    assert messages(rig.create(rig.ann, BUY, 0, 10, tif=IOC), seto.OrderInvalid)

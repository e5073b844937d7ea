"""The exchange's rules for orders and markets, one test per rule."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message

from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.exchange.engine import Engine, ToRequester
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.money import currency
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
    OTHER_MARKET,
    SELL,
    Rig,
    fields,
    messages,
    only,
    shape,
)


@pytest.fixture
def rig() -> Rig:
    return Rig()


# --- accepting ---------------------------------------------------------------------------------


def test_an_accepted_order_rests_and_is_answered_in_full(rig: Rig) -> None:
    """Every field the schema offers, the quotes first."""
    effects = rig.create(rig.ann, BUY, 2500, 400_000, seq=9, reference=5, label="x", tif=KIP)
    assert shape(effects) == ["*:ContractQuotes", "ann:OrderAccepted"]
    accepted = only(effects, seto.OrderAccepted)
    assert fields(accepted, "order_id") == {
        "seq": 9,
        "account_sequence": 1,
        "account_sequence_64": 1,
        "reference": 5,
        "price": 2500,
        "quantity": 400_000,
        "available_balance": 9990.0,
        "exposure": -10.0,
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "side": BUY,
        "label": "x",
    }
    assert rig.book.levels(BUY, 0) == [(2500, 400_000)]


def test_what_the_client_left_out_stays_out(rig: Rig) -> None:
    """No reference and no label are not 0 and empty."""
    accepted = only(rig.create(rig.ann, BUY, 2500, 10), seto.OrderAccepted)
    assert not accepted.HasField("reference")
    assert not accepted.HasField("label")


def test_order_ids_count_from_a_number_that_needs_more_than_32_bits(rig: Rig) -> None:
    """So that a client that truncates them finds out; the start can be chosen."""
    assert rig.rest(rig.ann, BUY, 2500, 10) > 2**32
    engine = Engine(rig.settings, rig.truth, rig.accounts, [Market(1, [1])], first_order_id=2**64 - 1)
    create = seto.OrderCreate(side=BUY, quantity=1, price=1, market_id=1, contract_id=1)
    accepted = only(engine.handle(rig.bob, create, seq=2, now_us=0), seto.OrderAccepted)
    assert accepted.order_id == 2**64 - 1


@pytest.mark.parametrize("state", [seto.MARKET_STATE_OPEN, seto.MARKET_STATE_LIVE])
def test_orders_are_taken_while_a_market_is_open_or_in_play(rig: Rig, state: seto.MarketStateType) -> None:
    """LIVE is in play."""
    rig.state(state)
    assert messages(rig.create(rig.ann, BUY, 2500, 10), seto.OrderAccepted)


# --- invalid and rejected ----------------------------------------------------------------------

BAD_PRICE, BAD_QUANTITY = seto.ORDER_INVALID_INVALID_PRICE, seto.ORDER_INVALID_INVALID_QUANTITY


@pytest.mark.parametrize(
    ("price", "quantity", "reasons"),
    [
        (0, 10, [BAD_PRICE]),
        (10_000, 10, [BAD_PRICE]),
        (None, 10, [BAD_PRICE]),
        (1, 0, [BAD_QUANTITY]),
        (1, 2**31, [BAD_QUANTITY]),
        (10_000, 0, [BAD_QUANTITY, BAD_PRICE]),
    ],
)
def test_an_invalid_order_is_told_the_requester_alone(
    rig: Rig, price: int | None, quantity: int, reasons: list[seto.OrderInvalidReason]
) -> None:
    """It has no account sequence; quantity comes before price (fact sheet 3.4)."""
    effects = rig.create(rig.ann, BUY, price, quantity, seq=4, reference=8)
    assert effects == [ToRequester(seto.OrderInvalid(seq=4, reasons=reasons, reference=8))]
    assert rig.ann.next_account_sequence == 1


@pytest.mark.parametrize(("price", "quantity"), [(1, 1), (9999, 2**31 - 1)])
def test_the_limits_themselves_are_valid(price: int, quantity: int) -> None:
    """1..9999 and 1..2**31 - 1, any whole price (choices 18 and 19)."""
    rig = Rig(opening_balance=Decimal(10**9))
    assert messages(rig.create(rig.ann, BUY, price, quantity), seto.OrderAccepted)


@pytest.mark.parametrize(("number", "name"), [(4, "side"), (10, "tif"), (1, "type")])
def test_an_enum_newer_than_the_schema_is_not_read_as_its_default(rig: Rig, number: int, name: str) -> None:
    """An unknown side would read as BUY, an unknown time in force as GOOD_TIL_CANCELLED."""
    order = seto.OrderCreate(side=SELL, quantity=1, price=5000, market_id=MARKET, contract_id=CONTRACT)
    order.ClearField(name)
    order.MergeFromString(bytes([number << 3, 99]))
    assert rig.handle(rig.ann, order, seq=3) == [ToRequester(seto.OrderInvalid(seq=3))]


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"market_id": 99}, seto.ORDER_REJECTED_MARKET_NOT_FOUND),
        ({"contract_id": 0}, seto.ORDER_REJECTED_CONTRACT_NOT_FOUND),
        ({"quantity": 40_000_001, "price": 2500, "side": SELL}, seto.ORDER_REJECTED_INSUFFICIENT_FUNDS),
        ({"price": 5001, "side": BUY}, seto.ORDER_REJECTED_CROSSED_SELF),
    ],
)
def test_reasons_to_reject(terms: dict[str, Any], reason: int) -> None:
    """The rejection is an event of the account and carries seq, reference and label."""
    rig = Rig(opening_balance=Decimal(3000))
    rig.rest(rig.ann, SELL, 5001, 1)
    order = {"side": BUY, "price": 10, "quantity": 10, "market_id": MARKET, "contract_id": CONTRACT, **terms}
    effects = rig.handle(rig.ann, seto.OrderCreate(reference=6, label="l", **order), seq=7)
    assert shape(effects) == ["ann:OrderRejected"]
    assert fields(effects[0].message) == {
        "seq": 7,
        "reason": reason,
        "reference": 6,
        "label": "l",
        "account_sequence": 2,
        "account_sequence_64": 2,
    }


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (seto.MARKET_STATE_NEW, seto.ORDER_REJECTED_MARKET_NOT_OPEN),
        (seto.MARKET_STATE_HALTED, seto.ORDER_REJECTED_MARKET_HALTED),
        (seto.MARKET_STATE_SETTLED, seto.ORDER_REJECTED_MARKET_SETTLED),
        (seto.MARKET_STATE_VOIDED, seto.ORDER_REJECTED_MARKET_SETTLED),
    ],
)
def test_a_market_that_is_not_open_takes_no_orders(
    rig: Rig, state: seto.MarketStateType, reason: int
) -> None:
    """Its state is the reason."""
    rig.state(state)
    assert only(rig.create(rig.ann, BUY, 2500, 10), seto.OrderRejected).reason == reason


def test_a_suspended_account_places_no_orders(rig: Rig) -> None:
    """But may cancel those it has."""
    order_id = rig.rest(rig.ann, BUY, 2500, 10)
    rig.ann.is_suspended = True
    rejected = only(rig.create(rig.ann, BUY, 2500, 10), seto.OrderRejected)
    assert rejected.reason == seto.ORDER_REJECTED_ACCOUNT_SUSPENDED
    assert messages(rig.handle(rig.ann, seto.OrderCancel(order_id=order_id)), seto.OrderCancelled)


# --- matching ----------------------------------------------------------------------------------


def test_a_match_is_told_quotes_first_then_accepted_then_both_sides(rig: Rig) -> None:
    """Choice 24; the acceptance also precedes the aggressor's own executions."""
    rig.rest(rig.ann, SELL, 5000, 10)
    effects = rig.create(rig.bob, BUY, 5000, 10)
    assert shape(effects) == [
        "*:ContractQuotes",
        "bob:OrderAccepted",
        "bob:OrderExecuted",
        "ann:OrderExecuted",
    ]


def test_an_execution_is_told_in_full(rig: Rig) -> None:
    """One fill of each side, at the resting price, with the totals so far; not pending."""
    ann_order = rig.rest(rig.ann, SELL, 5000, 100, label="ann's")
    effects = rig.create(rig.bob, BUY, 6000, 40, reference=3)
    bobs, anns = messages(effects, seto.OrderExecuted)
    assert fields(anns, "available_balance", "exposure") == {
        "order_id": ann_order,
        "price": 5000,
        "quantity": 40,
        "side": SELL,
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "total_executed_quantity": 40,
        "executed_avg_price": 5000,
        "available_quantity": 60,
        "orig_price": 5000,
        "label": "ann's",
        "account_sequence": 2,
        "account_sequence_64": 2,
    }
    assert (bobs.price, bobs.orig_price, bobs.available_quantity) == (5000, 6000, 0)
    assert bobs.HasField("available_quantity")
    assert not bobs.HasField("pending_timeout")


def test_price_improvement_frees_the_difference(rig: Rig) -> None:
    """The quantity stays and the liability shrinks; the acceptance still shows the limit's."""
    rig.rest(rig.ann, SELL, 4000, 10_000)
    effects = rig.create(rig.bob, BUY, 6000, 10_000)
    assert only(effects, seto.OrderAccepted).exposure == -0.6
    bobs, anns = messages(effects, seto.OrderExecuted)
    assert (bobs.exposure, bobs.available_balance) == (-0.4, 9999.6)
    assert (anns.exposure, anns.available_balance) == (-0.6, 9999.4)
    assert rig.bob.liability_points == 40_000_000


def test_a_seller_improves_upwards(rig: Rig) -> None:
    """Selling at 40 % into a bid of 60 % risks 40 of 100, not 60."""
    rig.rest(rig.ann, BUY, 6000, 10_000)
    rig.create(rig.bob, SELL, 4000, 10_000)
    assert (rig.ann.liability_points, rig.bob.liability_points) == (60_000_000, 40_000_000)


def test_nothing_is_netted(rig: Rig) -> None:
    """A bought and sold position risks both halves (choice 16)."""
    rig.rest(rig.ann, SELL, 5000, 10_000)
    rig.create(rig.bob, BUY, 5000, 10_000)
    rig.rest(rig.ann, BUY, 5000, 10_000)
    rig.create(rig.bob, SELL, 5000, 10_000)
    assert currency(rig.bob.exposure_points) == -1.0


def test_all_the_money_can_be_risked_and_not_a_point_more() -> None:
    """The limit counts, not the better price that an order might get."""
    rig = Rig(opening_balance=Decimal("0.00005000"))
    rejected = only(rig.create(rig.ann, BUY, 5001, 1), seto.OrderRejected)
    assert rejected.reason == seto.ORDER_REJECTED_INSUFFICIENT_FUNDS
    rig.rest(rig.ann, BUY, 5000, 1)
    assert rig.ann.available_points == 0


def test_the_average_price_goes_over_all_fills(rig: Rig) -> None:
    """5000 and 5101 make 5050.5, rounded half up."""
    rig.rest(rig.ann, SELL, 5000, 10)
    rig.rest(rig.ann, SELL, 5101, 10)
    first, second = (
        m for m in messages(rig.create(rig.bob, BUY, 6000, 20), seto.OrderExecuted) if m.side == BUY
    )
    assert (first.total_executed_quantity, first.executed_avg_price) == (10, 5000)
    assert (second.total_executed_quantity, second.executed_avg_price) == (20, 5051)


def test_the_rest_of_a_partly_matched_order_rests_at_its_limit(rig: Rig) -> None:
    """And one delta tells of both: what it took and what it left."""
    rig.rest(rig.ann, SELL, 5000, 10)
    effects = rig.create(rig.bob, BUY, 5500, 25)
    assert only(effects, seto.ContractQuotes) == seto.ContractQuotes(
        market_id=MARKET,
        contract_id=CONTRACT,
        bids=[seto.Quote(price=5500, quantity=15)],
        offers=[seto.Quote(price=5000, quantity=0)],
        executions=[seto.Execution(price=5000, quantity=10, liquidity=SELL, microseconds=NOW)],
    )
    assert rig.book.levels(BUY, 0) == [(5500, 15)]


def test_crossing_oneself_refuses_the_whole_order(rig: Rig) -> None:
    """Even the part that others would have taken (choice 23)."""
    rig.rest(rig.ann, SELL, 5000, 10)
    rig.rest(rig.bob, SELL, 5001, 10)
    rejected = only(rig.create(rig.bob, BUY, 5001, 11), seto.OrderRejected)
    assert rejected.reason == seto.ORDER_REJECTED_CROSSED_SELF
    assert rig.book.levels(SELL, 0) == [(5000, 10), (5001, 10)]
    assert messages(rig.create(rig.bob, BUY, 5001, 10), seto.OrderExecuted)


# --- immediate or cancel, minimum accepted quantity --------------------------------------------


def test_ioc_takes_what_is_there_and_cancels_the_rest(rig: Rig) -> None:
    """Accepted, executed, cancelled for INSUFFICIENT_LIQUIDITY (choice 22)."""
    rig.rest(rig.ann, SELL, 5000, 10)
    effects = rig.create(rig.bob, BUY, 5500, 25, tif=IOC, reference=4, label="l")
    assert shape(effects) == [
        "*:ContractQuotes",
        "bob:OrderAccepted",
        "bob:OrderExecuted",
        "ann:OrderExecuted",
        "bob:OrderCancelled",
    ]
    order_id = only(effects, seto.OrderAccepted).order_id
    assert fields(only(effects, seto.OrderCancelled), "available_balance", "exposure") == {
        "order_id": order_id,
        "reason": seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY,
        "executed_quantity": 10,
        "executed_avg_price": 5000,
        "orig_price": 5500,
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "side": BUY,
        "label": "l",
        "account_sequence": 3,
        "account_sequence_64": 3,
    }
    assert rig.book.levels(BUY, 0) == []
    assert rig.bob.liability_points == 50_000


def test_ioc_that_meets_nothing_changes_no_quotes(rig: Rig) -> None:
    """It was never in the book."""
    effects = rig.create(rig.bob, BUY, 5500, 25, tif=IOC)
    assert shape(effects) == ["bob:OrderAccepted", "bob:OrderCancelled"]
    assert rig.bob.liability_points == 0


def test_ioc_that_is_filled_is_not_cancelled(rig: Rig) -> None:
    """There is no rest."""
    rig.rest(rig.ann, SELL, 5000, 10)
    assert not messages(rig.create(rig.bob, BUY, 5000, 10, tif=IOC), seto.OrderCancelled)


@pytest.mark.parametrize("tif", [GTC, IOC])
def test_below_its_minimum_an_order_is_not_executed_at_all(rig: Rig, tif: int) -> None:
    """Accepted, then cancelled (choice 21)."""
    rig.rest(rig.ann, SELL, 5000, 10)
    effects = rig.create(rig.bob, BUY, 5000, 25, maq=11, tif=tif)
    assert shape(effects) == ["bob:OrderAccepted", "bob:OrderCancelled"]
    assert only(effects, seto.OrderCancelled).executed_quantity == 0
    assert rig.book.levels(SELL, 0) == [(5000, 10)]


def test_at_its_minimum_an_order_is_executed_and_its_rest_may_rest(rig: Rig) -> None:
    """The minimum is about what can be executed at once."""
    rig.rest(rig.ann, SELL, 5000, 10)
    assert messages(rig.create(rig.bob, BUY, 5000, 25, maq=10), seto.OrderExecuted)
    assert rig.book.levels(BUY, 0) == [(5000, 15)]


# --- cancelling --------------------------------------------------------------------------------


def test_a_cancelled_order_is_told_in_full_and_frees_its_money(rig: Rig) -> None:
    """Only the open part goes; the reference is the cancelling request's."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10_000, reference=1)
    rig.create(rig.bob, SELL, 5000, 4000)
    effects = rig.handle(rig.ann, seto.OrderCancel(order_id=order_id, reference=2))
    assert shape(effects) == ["*:ContractQuotes", "ann:OrderCancelled"]
    assert fields(only(effects, seto.OrderCancelled)) == {
        "order_id": order_id,
        "reason": seto.ORDER_CANCELLED_MEMBER_REQUESTED,
        "reference": 2,
        "executed_quantity": 4000,
        "executed_avg_price": 5000,
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "side": BUY,
        "orig_price": 5000,
        "available_balance": 9999.8,
        "exposure": -0.2,
        "account_sequence": 3,
        "account_sequence_64": 3,
    }


@pytest.mark.parametrize("whose", ["nobody's", "bob's"])
def test_an_unknown_order_cannot_be_cancelled(rig: Rig, whose: str) -> None:
    """Somebody else's is as unknown as none."""
    order_id = rig.rest(rig.bob, BUY, 5000, 10) if whose == "bob's" else 12345
    effects = rig.handle(rig.ann, seto.OrderCancel(order_id=order_id, reference=3))
    assert shape(effects) == ["ann:OrderCancelRejected"]
    assert fields(effects[0].message, "account_sequence", "account_sequence_64") == {
        "order_id": order_id,
        "reason": seto.ORDER_CANCEL_REJECTED_NOT_FOUND,
        "reference": 3,
    }


@pytest.mark.parametrize("end", ["filled", "cancelled"])
def test_a_dead_order_cannot_be_cancelled(rig: Rig, end: str) -> None:
    """It is known, so the answer can say which order it was."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10, label="l")
    if end == "filled":
        rig.create(rig.bob, SELL, 5000, 10)
    else:
        rig.handle(rig.ann, seto.OrderCancel(order_id=order_id))
    rejected = only(rig.handle(rig.ann, seto.OrderCancel(order_id=order_id)), seto.OrderCancelRejected)
    assert rejected.reason == seto.ORDER_CANCEL_REJECTED_NOT_LIVE
    assert (rejected.market_id, rejected.side, rejected.label) == (MARKET, BUY, "l")


def test_cancel_all_answers_first_and_then_per_order(rig: Rig) -> None:
    """With the request's reference on each, oldest order first (choice 32)."""
    ids = [rig.rest(rig.ann, BUY, price, 10) for price in (5000, 4000)]
    ids.append(rig.rest(rig.ann, BUY, 3000, 10, market_id=OTHER_MARKET))
    rig.rest(rig.bob, BUY, 2000, 10)
    effects = rig.handle(rig.ann, seto.OrderCancelAll(reference=7))
    assert shape(effects) == [
        "*:ContractQuotes",
        "*:ContractQuotes",
        "ann:OrderCancelAllAccepted",
        *["ann:OrderCancelled"] * 3,
    ]
    assert only(effects, seto.OrderCancelAllAccepted).reference == 7
    cancels = messages(effects, seto.OrderCancelled)
    assert [(m.order_id, m.reference, m.reason) for m in cancels] == [
        (order_id, 7, seto.ORDER_CANCELLED_MEMBER_REQUESTED) for order_id in ids
    ]
    assert rig.book.levels(BUY, 0) == [(2000, 10)]


def test_cancel_all_of_one_market_leaves_the_others(rig: Rig) -> None:
    """An unknown market has no orders and is no error: the schema has no reason for it."""
    rig.rest(rig.ann, BUY, 5000, 10)
    other = rig.rest(rig.ann, BUY, 5000, 10, market_id=OTHER_MARKET)
    effects = rig.handle(rig.ann, seto.OrderCancelAll(market_id=OTHER_MARKET))
    assert only(effects, seto.OrderCancelled).order_id == other
    assert shape(rig.handle(rig.ann, seto.OrderCancelAll(market_id=99))) == ["ann:OrderCancelAllAccepted"]
    assert rig.book.levels(BUY, 0) == [(5000, 10)]


def test_the_exchange_itself_can_cancel_all_orders_of_an_account(rig: Rig) -> None:
    """As after a broken connection (choice 35): no acceptance, the reason is the caller's."""
    rig.rest(rig.ann, BUY, 5000, 10)
    rig.rest(rig.ann, BUY, 5000, 10, market_id=OTHER_MARKET)
    effects = rig.operate("cancel_all", account="ann", reason="ADMIN_REQUESTED", market_id=MARKET)
    assert shape(effects) == ["*:ContractQuotes", "ann:OrderCancelled"]
    assert effects[1].message.reason == seto.ORDER_CANCELLED_ADMIN_REQUESTED  # type: ignore[attr-defined]
    assert len(rig.ann.live_orders) == 1


# --- reducing ----------------------------------------------------------------------------------


def test_a_reduced_order_keeps_its_place_and_frees_money(rig: Rig) -> None:
    """The new quantity is the total, with what was executed (choice 30)."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10_000, label="l")
    later = rig.rest(rig.cyd, BUY, 5000, 10)
    rig.create(rig.bob, SELL, 5000, 2000)
    request = seto.OrderQuantityReduce(order_id=order_id, new_quantity=6000, reference=9)
    effects = rig.handle(rig.ann, request)
    assert shape(effects) == ["*:ContractQuotes", "ann:OrderQuantityReduced"]
    assert fields(effects[1].message, "account_sequence", "account_sequence_64") == {
        "order_id": order_id,
        "reason": seto.ORDER_QUANTITY_REDUCED_MEMBER_REQUESTED,
        "reference": 9,
        "new_quantity": 6000,
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "side": BUY,
        "orig_price": 5000,
        "executed_quantity": 2000,
        "executed_avg_price": 5000,
        "label": "l",
    }
    assert rig.ann.liability_points == 6000 * 5000
    filled = messages(rig.create(rig.bob, SELL, 5000, 4010), seto.OrderExecuted)
    assert [(m.order_id, m.quantity) for m in filled if m.side == BUY] == [(order_id, 4000), (later, 10)]


@pytest.mark.parametrize("new_quantity", [0, 4, 10, 11])
def test_a_reduction_must_leave_something_and_take_something(rig: Rig, new_quantity: int) -> None:
    """4 of 10 are executed: only 5 to 9 will do."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10, label="l")
    rig.create(rig.bob, SELL, 5000, 4)
    request = seto.OrderQuantityReduce(order_id=order_id, new_quantity=new_quantity, reference=9)
    effects = rig.handle(rig.ann, request)
    assert shape(effects) == ["ann:OrderQuantityReduceRejected"]
    assert fields(effects[0].message, "account_sequence", "account_sequence_64") == {
        "order_id": order_id,
        "reason": seto.ORDER_QUANTITY_REDUCE_REJECTED_INVALID_NEW_QUANTITY,
        "reference": 9,
        "new_quantity": new_quantity,
        "label": "l",
    }


def test_an_unknown_or_dead_order_cannot_be_reduced(rig: Rig) -> None:
    """NOT_FOUND and NOT_LIVE, as with cancelling."""
    dead = rig.rest(rig.ann, BUY, 5000, 10)
    rig.handle(rig.ann, seto.OrderCancel(order_id=dead))
    reasons = [
        only(
            rig.handle(rig.ann, seto.OrderQuantityReduce(order_id=order_id, new_quantity=5)),
            seto.OrderQuantityReduceRejected,
        ).reason
        for order_id in (12345, dead)
    ]
    assert reasons == [
        seto.ORDER_QUANTITY_REDUCE_REJECTED_NOT_FOUND,
        seto.ORDER_QUANTITY_REDUCE_REJECTED_NOT_LIVE,
    ]


# --- markets -----------------------------------------------------------------------------------


def test_a_halt_cancels_all_but_keep_in_play(rig: Rig) -> None:
    """The announcement first, then the quotes, then the owners (choice 20)."""
    gone = [rig.rest(rig.ann, BUY, 5000, 10), rig.rest(rig.bob, BUY, 4000, 10, tif=GTH)]
    rig.rest(rig.cyd, BUY, 3000, 10, tif=KIP)
    effects = rig.state(seto.MARKET_STATE_HALTED)
    assert shape(effects) == [
        "*:MarketState",
        "*:ContractQuotes",
        "ann:OrderCancelled",
        "bob:OrderCancelled",
    ]
    cancels = messages(effects, seto.OrderCancelled)
    assert [(m.order_id, m.reason) for m in cancels] == [
        (order_id, seto.ORDER_CANCELLED_MARKET_HALTED) for order_id in gone
    ]
    assert rig.book.levels(BUY, 0) == [(3000, 10)]


def test_keep_in_play_survives_a_halt_into_play(rig: Rig) -> None:
    """And is matched there."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10, tif=KIP)
    rig.state(seto.MARKET_STATE_HALTED)
    rig.state(seto.MARKET_STATE_LIVE)
    executed = messages(rig.create(rig.bob, SELL, 5000, 10), seto.OrderExecuted)
    assert order_id in [m.order_id for m in executed]


@pytest.mark.parametrize("state", [seto.MARKET_STATE_SETTLED, seto.MARKET_STATE_VOIDED])
def test_the_end_of_a_market_ends_every_order(rig: Rig, state: seto.MarketStateType) -> None:
    """KEEP_IN_PLAY too."""
    rig.rest(rig.ann, BUY, 5000, 10, tif=KIP)
    assert only(rig.state(state), seto.OrderCancelled).reason == seto.ORDER_CANCELLED_MARKET_HALTED
    assert rig.book.levels(BUY, 0) == []


def test_entering_the_state_it_is_in_announces_nothing(rig: Rig) -> None:
    """market_state tells changes."""
    assert rig.state(seto.MARKET_STATE_OPEN) == []
    assert shape(rig.state(seto.MARKET_STATE_LIVE)) == ["*:MarketState"]


def test_an_unknown_market_has_no_state_to_change(rig: Rig) -> None:
    """That is the scenario's mistake, not a client's."""
    with pytest.raises(UsageError, match="no market 99"):
        rig.operate("set_market_state", market_id=99, state="LIVE")


def test_two_markets_cannot_have_the_same_id(rig: Rig) -> None:
    """An order could not say which it means."""
    with pytest.raises(ConfigError, match="market 1 is there twice"):
        Engine(rig.settings, rig.truth, rig.accounts, [Market(1, []), Market(1, [])])


def test_subscribing_sends_the_snapshot_and_the_state(rig: Rig) -> None:
    """To the requester alone (choice 28)."""
    rig.rest(rig.ann, BUY, 5000, 10)
    effects = rig.handle(rig.bob, seto.MarketSubscribe(market_id=MARKET))
    assert shape(effects) == ["?:MarketQuotes", "?:MarketState"]
    assert [effect.message for effect in effects] == rig.engine.snapshot(MARKET)


def test_subscribing_to_an_unknown_market_sends_one_empty_snapshot(rig: Rig) -> None:
    """So that nobody waits for it (choice 26)."""
    effects = rig.handle(rig.bob, seto.MarketSubscribe(market_id=99))
    assert effects == [ToRequester(seto.MarketQuotes(market_id=99))]


# --- the rest ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        seto.MarketUnsubscribe(market_id=MARKET),
        seto.EventSubscribe(event_id=1),
        seto.PriceFeedSubscribe(),
        seto.MarketFeedUnsubscribe(),
        seto.OrderAccepted(seq=1, order_id=1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_has_no_effect_here_gives_none(rig: Rig, message: Message) -> None:
    """Neither does what is no request at all."""
    assert rig.handle(rig.ann, message) == []


def test_truth_and_history_know_what_was_told(rig: Rig) -> None:
    """Also what happened while nobody of the account was logged in."""
    rig.ann.online = 1
    order_id = rig.rest(rig.ann, SELL, 5000, 10)
    rig.ann.online = 0
    rig.bob.online = 2
    rig.create(rig.bob, BUY, 5000, 10)
    anns = [(e.account_sequence, e.name, e.order_id, e.away) for e in rig.truth.events("ann")]
    assert anns == [(1, "seto.order_accepted", order_id, False), (2, "seto.order_executed", order_id, True)]
    assert (rig.truth.orders_accepted, rig.truth.executions, rig.truth.executions_away) == (2, 2, 1)
    assert [type(m) for m in rig.ann.history_from(1, inclusive=True)] == [
        seto.OrderAccepted,
        seto.OrderExecuted,
    ]


def test_a_throttle_can_have_a_request_rejected(rig: Rig) -> None:
    """It refuses before the engine sees the request, and the refusal is numbered all the same."""
    create = seto.OrderCreate(side=BUY, quantity=1, price=1, market_id=MARKET, contract_id=CONTRACT)
    effects = rig.engine.refuse_throttled(rig.ann, create, seq=5, now_us=NOW)
    rejected = only(effects or [], seto.OrderRejected)
    assert (rejected.seq, rejected.reason) == (5, seto.ORDER_REJECTED_THROTTLE_EXCEEDED)
    assert rejected.account_sequence_64 == 1
    assert rig.truth.events("ann")[0].name == "seto.order_rejected"


def test_what_has_no_rejection_is_not_rejected(rig: Rig) -> None:
    """The session answers it in its own way."""
    subscribe = seto.MarketSubscribe(market_id=MARKET)
    assert rig.engine.refuse_throttled(rig.ann, subscribe, seq=5, now_us=NOW) is None


def test_the_engine_says_how_much_it_has(rig: Rig) -> None:
    """The repr is for failing tests."""
    assert repr(rig.engine) == "<Engine: 3 accounts, 2 markets>"

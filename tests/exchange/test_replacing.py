"""Cancel-replace: what the new order takes over, and what becomes of the old one (choice 31)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.engine import Effect, ToRequester
from smarkets_pool.exchange.orders import Trade
from smarkets_pool.wire.schema import seto_pb2 as seto
from tests.rig.trading import (
    BUY,
    CONTRACT,
    KIP,
    MARKET,
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


# --- replacing ---------------------------------------------------------------------------------


BAD_PRICE = seto.ORDER_INVALID_INVALID_PRICE


def replace(rig: Rig, order_id: int, price: int, quantity: int, **more: Any) -> list[Effect]:
    request = seto.OrderCancelReplace(orig_order_id=order_id, price=price, quantity=quantity, **more)
    return rig.handle(rig.ann, request, seq=5)


def test_a_replaced_order_is_told_pending_then_accepted(rig: Rig) -> None:
    """The new quantity is a total that counts the original's executions (choice 31)."""
    old = rig.rest(rig.ann, BUY, 5000, 100, label="old")
    rig.create(rig.bob, SELL, 5000, 30)
    effects = replace(rig, old, 4000, 90, reference=6, label="new")
    assert shape(effects) == [
        "*:ContractQuotes",
        "ann:OrderPendingReplace",
        "ann:OrderCancelReplaceAccepted",
    ]
    accepted = only(effects, seto.OrderCancelReplaceAccepted)
    common = {
        "order_id": accepted.order_id,
        "orig_order_id": old,
        "price": 4000,
        "quantity": 90,
        "reference": 6,
        "label": "new",
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "side": BUY,
    }
    stamps = ("account_sequence", "account_sequence_64")
    assert accepted.order_id != old
    assert fields(only(effects, seto.OrderPendingReplace), *stamps) == common
    assert fields(accepted, *stamps) == {**common, "quantity_left": 60}
    assert rig.book.levels(BUY, 0) == [(4000, 60)]
    assert rig.ann.liability_points == 30 * 5000 + 60 * 4000


def test_a_replacement_goes_on_counting(rig: Rig) -> None:
    """Totals and average include the original's executions; the label is kept unless a new one comes."""
    old = rig.rest(rig.ann, BUY, 5000, 100, label="l")
    rig.create(rig.bob, SELL, 5000, 30)
    replace(rig, old, 4000, 90)
    executed = messages(rig.create(rig.bob, SELL, 4000, 10), seto.OrderExecuted)[-1]
    assert (executed.total_executed_quantity, executed.available_quantity) == (40, 50)
    assert (executed.executed_avg_price, executed.label) == (4750, "l")


def test_a_replacement_goes_to_the_end_of_the_queue(rig: Rig) -> None:
    """Even at the same price and quantity."""
    old = rig.rest(rig.ann, BUY, 5000, 10)
    other = rig.rest(rig.cyd, BUY, 5000, 10)
    replace(rig, old, 5000, 10)
    executed = messages(rig.create(rig.bob, SELL, 5000, 10), seto.OrderExecuted)
    assert [m.order_id for m in executed if m.side == BUY] == [other]


def test_a_replacement_can_match_at_once(rig: Rig) -> None:
    """After its acceptance; the original is not reported as cancelled."""
    old = rig.rest(rig.ann, BUY, 4000, 10)
    rig.rest(rig.bob, SELL, 5000, 10)
    effects = replace(rig, old, 5000, 10)
    assert shape(effects) == [
        "*:ContractQuotes",
        "ann:OrderPendingReplace",
        "ann:OrderCancelReplaceAccepted",
        "ann:OrderExecuted",
        "bob:OrderExecuted",
    ]


def test_a_replaced_order_is_no_longer_live(rig: Rig) -> None:
    """Nor can it be replaced again."""
    old = rig.rest(rig.ann, BUY, 5000, 10)
    replace(rig, old, 4000, 10)
    rejected = only(replace(rig, old, 4000, 10), seto.OrderCancelRejected)
    assert rejected.reason == seto.ORDER_CANCEL_REJECTED_NOT_LIVE
    assert (rejected.orig_order_id, rejected.HasField("order_id")) == (old, False)


Prepare = Callable[[Rig, int], None]


def _fill(rig: Rig, order_id: int) -> None:
    rig.create(rig.bob, SELL, 5000, 100)


def _suspend(rig: Rig, order_id: int) -> None:
    rig.ann.is_suspended = True


def _nothing(rig: Rig, order_id: int) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "terms", "reason"),
    [
        (_nothing, {"orig_order_id": 12345}, seto.ORDER_CANCEL_REJECTED_NOT_FOUND),
        (_fill, {}, seto.ORDER_CANCEL_REJECTED_TOO_LATE),
        (_suspend, {}, seto.ORDER_CANCEL_REJECTED_ACCOUNT_SUSPENDED),
        (_nothing, {"market_id": OTHER_MARKET}, seto.ORDER_CANCEL_REJECTED_MARKET_NOT_FOUND),
        (_nothing, {"quantity": 0}, seto.ORDER_CANCEL_REJECTED_INVALID_QUANTITY),
        (_nothing, {"quantity": 2**31}, seto.ORDER_CANCEL_REJECTED_INVALID_QUANTITY),
        (_nothing, {"quantity": 2**31 - 1}, seto.ORDER_CANCEL_REJECTED_INSUFFICIENT_FUNDS),
    ],
)
def test_obstacles_that_leave_the_original_alone(
    rig: Rig, prepare: Prepare, terms: dict[str, Any], reason: int
) -> None:
    """They are answered with order_cancel_rejected, and no new order id is told."""
    order_id = rig.rest(rig.ann, BUY, 5000, 100)
    prepare(rig, order_id)
    before = rig.book.levels(BUY, 0)
    request = seto.OrderCancelReplace(**{"orig_order_id": order_id, "price": 4000, "quantity": 90, **terms})
    effects = rig.handle(rig.ann, request)
    assert shape(effects) == ["ann:OrderCancelRejected"]
    assert effects[0].message.reason == reason  # type: ignore[attr-defined]
    assert rig.book.levels(BUY, 0) == before


def test_a_replacement_must_leave_something_open(rig: Rig) -> None:
    """30 are executed, so a total of 30 leaves nothing."""
    old = rig.rest(rig.ann, BUY, 5000, 100)
    rig.create(rig.bob, SELL, 5000, 30)
    rejected = only(replace(rig, old, 5000, 30), seto.OrderCancelRejected)
    assert rejected.reason == seto.ORDER_CANCEL_REJECTED_INVALID_QUANTITY
    assert only(replace(rig, old, 5000, 31), seto.OrderCancelReplaceAccepted).quantity_left == 1


def test_a_replacement_can_use_the_money_of_the_original() -> None:
    """What the original has set aside counts as available."""
    rig = Rig(opening_balance=Decimal(1))
    old = rig.rest(rig.ann, BUY, 5000, 20_000)
    assert rig.ann.available_points == 0
    assert messages(replace(rig, old, 4000, 25_000), seto.OrderCancelReplaceAccepted)
    assert rig.ann.available_points == 0


def test_a_replacement_with_a_bad_price_is_invalid(rig: Rig) -> None:
    """No reason of the replace answers fits."""
    old = rig.rest(rig.ann, BUY, 5000, 10)
    expected = seto.OrderInvalid(seq=5, reasons=[BAD_PRICE], reference=3)
    assert replace(rig, old, 10_000, 10, reference=3) == [ToRequester(expected)]
    assert rig.book.levels(BUY, 0) == [(5000, 10)]


def test_a_replacement_that_would_cross_its_own_account_loses_the_original(rig: Rig) -> None:
    """The old order is gone, the new one could not be added (fact sheet 3.4)."""
    rig.rest(rig.ann, SELL, 6000, 10)
    old = rig.rest(rig.ann, BUY, 5000, 10)
    effects = replace(rig, old, 6000, 10)
    assert shape(effects) == [
        "*:ContractQuotes",
        "ann:OrderPendingReplace",
        "ann:OrderCancelReplaceRejected",
    ]
    pending = only(effects, seto.OrderPendingReplace)
    rejected = only(effects, seto.OrderCancelReplaceRejected)
    assert rejected.reason == seto.ORDER_CANCEL_REPLACE_REJECTED_CROSSED_SELF
    assert (rejected.order_id, rejected.orig_order_id) == (pending.order_id, old)
    assert rig.book.levels(BUY, 0) == []
    assert rig.ann.liability_points == 10 * 4000


def test_a_replacement_in_a_halted_market_loses_the_original(rig: Rig) -> None:
    """Only a KEEP_IN_PLAY order can be there to be replaced."""
    old = rig.rest(rig.ann, BUY, 5000, 10, tif=KIP)
    rig.state(seto.MARKET_STATE_HALTED)
    rejected = only(replace(rig, old, 4000, 10), seto.OrderCancelReplaceRejected)
    assert rejected.reason == seto.ORDER_CANCEL_REPLACE_REJECTED_MARKET_HALTED


def test_a_replacement_keeps_its_time_in_force(rig: Rig) -> None:
    """It is not asked for again."""
    old = rig.rest(rig.ann, BUY, 5000, 10, tif=KIP)
    replace(rig, old, 4000, 10)
    rig.state(seto.MARKET_STATE_HALTED)
    assert rig.book.levels(BUY, 0) == [(4000, 10)]


def test_a_replacement_belongs_to_the_session_that_asked_for_it(rig: Rig) -> None:
    """From its pending on; what is told of the original before belongs to whoever made that."""
    old = rig.rest(rig.ann, BUY, 5000, 10, session="first")
    request = seto.OrderCancelReplace(orig_order_id=old, price=4000, quantity=10)
    effects = rig.handle(rig.ann, request, session="second")
    assert [effect.sessions for effect in effects[1:]] == [("second",), ("second",)]  # type: ignore[union-attr]
    (effect,) = rig.handle(rig.ann, request, session="second")
    assert effect.sessions == ("second",)  # type: ignore[union-attr]


def test_a_replacement_can_be_replaced(rig: Rig) -> None:
    """Executions are handed on and on."""
    first = rig.rest(rig.ann, BUY, 5000, 100)
    rig.create(rig.bob, SELL, 5000, 10)
    second = only(replace(rig, first, 4000, 100), seto.OrderCancelReplaceAccepted)
    rig.create(rig.bob, SELL, 4000, 10)
    third = only(replace(rig, second.order_id, 3000, 100), seto.OrderCancelReplaceAccepted)
    assert (second.quantity_left, third.quantity_left) == (90, 80)
    order = rig.ann.orders[third.order_id]
    assert (order.executed_quantity, order.executed_avg_price, len(order.trades)) == (20, 4500, 2)
    assert [rig.ann.orders[each].state for each in (first, second.order_id)] == ["replaced", "replaced"]
    assert [rig.ann.orders[each].trades for each in (first, second.order_id)] == [[], []]


def test_a_replacement_needs_the_money_of_what_is_open_of_it() -> None:
    """What it needs is what is open of it at its own price, next to what was executed."""
    rig = Rig(opening_balance=Decimal("0.01"))
    old = rig.rest(rig.ann, BUY, 5000, 200)
    rig.create(rig.bob, SELL, 5000, 100)
    refused = only(replace(rig, old, 5001, 200), seto.OrderCancelRejected)
    assert refused.reason == seto.ORDER_CANCEL_REJECTED_INSUFFICIENT_FUNDS
    assert only(replace(rig, old, 2500, 300), seto.OrderCancelReplaceAccepted).quantity_left == 200
    assert rig.ann.available_points == 0


def test_under_a_limit_a_replacement_may_use_what_the_original_had_at_risk(rig: Rig) -> None:
    """To the point; a stake is bounded by itself."""
    rig.operate("set_limits", account="ann", exposure="0.01", stake="0.006")
    rig.rest(rig.ann, BUY, 4000, 100)
    old = rig.rest(rig.ann, BUY, 5000, 100)
    refused = only(replace(rig, old, 6001, 100), seto.OrderCancelRejected)
    assert refused.reason == seto.ORDER_CANCEL_REJECTED_STAKE_LIMIT_EXCEEDED
    assert messages(replace(rig, old, 6000, 100), seto.OrderCancelReplaceAccepted)
    (first, second) = rig.ann.live_orders
    refused = only(replace(rig, first, 4001, 100), seto.OrderCancelRejected)
    assert refused.reason == seto.ORDER_CANCEL_REJECTED_LIMIT_EXCEEDED
    assert messages(replace(rig, second, 6000, 100), seto.OrderCancelReplaceAccepted)


# --- the bets it took over ---------------------------------------------------------------------


def handed_over(rig: Rig) -> tuple[int, int, Trade]:
    """An order of ann's with one execution, replaced; old id, new id, the trade."""
    old = rig.rest(rig.ann, BUY, 5000, 100, label="l")
    rig.create(rig.bob, SELL, 5000, 30)
    new = only(replace(rig, old, 4000, 90), seto.OrderCancelReplaceAccepted).order_id
    (trade,) = rig.market.trades.values()
    return old, new, trade


def test_an_execution_from_before_is_confirmed_under_the_new_id(rig: Rig) -> None:
    """The old one is gone for good."""
    rig.operate("set_managed", market_id=MARKET)
    _old, new, trade = handed_over(rig)
    effects = rig.operate("confirm_trade", trade_id=trade.trade_id)
    assert only(effects, seto.OrderExecuteConfirmed, rig.ann).order_id == new


def test_an_execution_from_before_is_voided_under_the_new_id(rig: Rig) -> None:
    """And leaves what is open of it as it is."""
    _old, new, trade = handed_over(rig)
    effects = rig.operate("void_trade", trade_id=trade.trade_id)
    voided = only(effects, seto.OrderExecutedVoid, rig.ann)
    assert (voided.order_id, voided.price, voided.quantity) == (new, 5000, 30)
    assert (voided.executed_quantity, voided.available_quantity, voided.orig_price) == (0, 60, 4000)
    assert rig.risks() == [60 * 4000, 0, 0]
    assert rig.book.levels(BUY, 0) == [(4000, 60)]


def test_a_seller_hands_over_like_a_buyer(rig: Rig) -> None:
    """Whichever side of the execution it is."""
    rig.rest(rig.bob, BUY, 5000, 30)
    old = rig.rest(rig.ann, SELL, 5000, 100)
    new = only(replace(rig, old, 6000, 90), seto.OrderCancelReplaceAccepted).order_id
    (trade,) = rig.market.trades.values()
    assert (trade.sell, trade.buy.account) == (rig.ann.orders[new], rig.bob)
    effects = rig.operate("void_trade", trade_id=trade.trade_id)
    assert only(effects, seto.OrderExecutedVoid, rig.ann).order_id == new
    assert rig.risks() == [60 * 4000, 0, 0]


def test_voiding_the_new_order_voids_what_it_took_over(rig: Rig) -> None:
    """The old one has no bet any more."""
    old, new, _trade = handed_over(rig)
    with pytest.raises(UsageError, match=f"order {old} is replaced and has no bet that is still on"):
        rig.operate("void_order", order_id=old)
    effects = rig.operate("void_order", order_id=new)
    assert only(effects, seto.OrderVoided).source_quantity == 90
    assert only(effects, seto.OrderExecutedVoid, rig.bob).quantity == 30
    assert rig.risks() == [0, 0, 0]


def test_what_was_taken_over_is_reduced_and_settled_with_the_rest(rig: Rig) -> None:
    """One order, one message."""
    _old, new, _trade = handed_over(rig)
    rig.create(rig.bob, SELL, 4000, 10)
    effects = rig.operate("reduce", market_id=MARKET, contract_id=CONTRACT, factor=5000, kind="QUANTITY")
    reduced = only(effects, seto.OrderReduced, rig.ann)
    assert (reduced.order_id, reduced.source_quantity, reduced.quantity) == (new, 40, 20)
    assert reduced.executed_avg_price == 4750
    rig.operate("settle", market_id=MARKET, winners=[CONTRACT])
    gain = 15 * 5000 + 5 * 6000
    assert rig.cash() == [gain, -gain, 0]


def test_when_the_new_order_is_refused_the_old_one_keeps_its_bets(rig: Rig) -> None:
    """Somebody has to have them; what was open of it is gone."""
    rig.rest(rig.ann, SELL, 6000, 10)
    old = rig.rest(rig.ann, BUY, 5000, 100)
    rig.create(rig.bob, SELL, 5000, 30)
    (trade,) = rig.market.trades.values()
    assert messages(replace(rig, old, 6000, 90), seto.OrderCancelReplaceRejected)
    assert rig.risks() == [30 * 5000 + 10 * 4000, 30 * 5000, 0]
    voided = only(rig.operate("void_trade", trade_id=trade.trade_id), seto.OrderExecutedVoid, rig.ann)
    assert (voided.order_id, voided.executed_quantity, voided.available_quantity) == (old, 0, 0)
    assert rig.ann.orders[old].state == "replaced"


def test_a_refused_new_order_is_unknown(rig: Rig) -> None:
    """Its id was told, and it never was."""
    rig.rest(rig.ann, SELL, 6000, 10)
    old = rig.rest(rig.ann, BUY, 5000, 10)
    new = only(replace(rig, old, 6000, 10), seto.OrderCancelReplaceRejected).order_id
    assert only(rig.cancel(rig.ann, new), seto.OrderCancelRejected).reason == (
        seto.ORDER_CANCEL_REJECTED_NOT_FOUND
    )


def test_with_own_orders_giving_way_a_replacement_stands() -> None:
    """The resting one is cancelled, and so is nothing else."""
    rig = Rig(crossed_self="cancel_resting")
    own = rig.rest(rig.ann, SELL, 6000, 10)
    old = rig.rest(rig.ann, BUY, 5000, 10)
    effects = replace(rig, old, 6000, 10)
    assert shape(effects) == [
        "*:ContractQuotes",
        "ann:OrderPendingReplace",
        "ann:OrderCancelReplaceAccepted",
        "ann:OrderCancelled",
    ]
    assert only(effects, seto.OrderCancelled).order_id == own
    assert (rig.book.levels(SELL, 0), rig.book.levels(BUY, 0)) == ([], [(6000, 10)])

"""What the settings change in the rules: the other answer to each question, beside the default one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.engine import Effect
from smarkets_pool.wire.schema import seto_pb2 as seto
from tests.rig.trading import (
    BUY,
    CONTRACT,
    GTC,
    GTH,
    KIP,
    MARKET,
    NOW,
    OTHER_CONTRACT,
    OTHER_MARKET,
    SELL,
    Rig,
    messages,
    only,
    shape,
)

# --- new orders --------------------------------------------------------------------------------


def test_own_orders_may_give_way_instead_of_refusing_the_new_one() -> None:
    """crossed_self: those it would meet are cancelled, then it meets the others (choice 23)."""
    rig = Rig(crossed_self="cancel_resting")
    own = [rig.rest(rig.ann, SELL, price, 10, reference=7) for price in (4000, 5000, 6000)]
    rig.rest(rig.bob, SELL, 5000, 10)
    effects = rig.create(rig.ann, BUY, 5000, 25)
    assert shape(effects) == [
        "*:ContractQuotes",
        "ann:OrderAccepted",
        "ann:OrderCancelled",
        "ann:OrderCancelled",
        "ann:OrderExecuted",
        "bob:OrderExecuted",
    ]
    cancelled = messages(effects, seto.OrderCancelled)
    assert [m.order_id for m in cancelled] == own[:2]
    assert {(m.reason, m.HasField("reference")) for m in cancelled} == {
        (seto.ORDER_CANCELLED_MEMBER_REQUESTED, False)
    }
    assert rig.book.levels(BUY, 0) == [(5000, 15)]
    assert rig.book.levels(SELL, 0) == [(6000, 10)]


def test_own_orders_behind_what_is_met_stay() -> None:
    """Only those that would be met stand in the way; taking one out may bring the next within reach."""
    rig = Rig(crossed_self="cancel_resting")
    rig.rest(rig.bob, SELL, 4000, 10)
    kept = rig.rest(rig.ann, SELL, 5000, 10)
    assert not messages(rig.create(rig.ann, BUY, 5000, 10), seto.OrderCancelled)
    rig.rest(rig.bob, SELL, 5000, 10)
    rig.rest(rig.ann, SELL, 5000, 10)
    effects = rig.create(rig.ann, BUY, 5000, 10)
    assert [m.order_id for m in messages(effects, seto.OrderCancelled)] == [kept]
    assert rig.book.levels(SELL, 0) == [(5000, 10)]


def test_a_reference_may_have_to_be_unique_among_live_orders() -> None:
    """unique_references: invalid, without a reason, for the protocol has none (choice 39)."""
    rig = Rig(unique_references=True)
    order_id = rig.rest(rig.ann, BUY, 5000, 10, reference=7)
    effects = rig.create(rig.ann, BUY, 5000, 10, seq=4, reference=7)
    assert [effect.message for effect in effects] == [seto.OrderInvalid(seq=4, reference=7)]
    rig.rest(rig.bob, BUY, 5000, 10, reference=7)
    rig.rest(rig.ann, BUY, 5000, 10, reference=8)
    rig.rest(rig.ann, BUY, 5000, 10)
    rig.rest(rig.ann, BUY, 5000, 10)
    rig.cancel(rig.ann, order_id)
    rig.rest(rig.ann, BUY, 5000, 10, reference=7)


def test_a_reference_may_be_used_again_by_default() -> None:
    """It is echoed and means nothing to the exchange."""
    rig = Rig()
    rig.rest(rig.ann, BUY, 5000, 10, reference=7)
    rig.rest(rig.ann, BUY, 5000, 10, reference=7)


@pytest.mark.parametrize(("price", "valid"), [(50, True), (75, False), (9950, True), (1, False)])
def test_prices_may_have_steps(price: int, valid: bool) -> None:
    """price_step: for new orders and for those that replace them (choice 19)."""
    rig = Rig(price_step=50)
    old = rig.rest(rig.ann, BUY, 100, 10)
    wanted = seto.OrderAccepted if valid else seto.OrderInvalid
    told = only(rig.create(rig.bob, BUY, price, 10, contract_id=OTHER_CONTRACT), wanted)
    effects = rig.replace(rig.ann, old, price, 10)
    assert bool(messages(effects, seto.OrderCancelReplaceAccepted)) == valid
    if not valid:
        assert told.reasons == [seto.ORDER_INVALID_INVALID_PRICE]
        assert effects[0].message.reasons == [seto.ORDER_INVALID_INVALID_PRICE]  # type: ignore[attr-defined]
        assert rig.book.levels(BUY, 0) == [(100, 10)]


@pytest.mark.parametrize(("quantity", "valid"), [(999, False), (1000, True), (5000, True), (5001, False)])
def test_quantities_have_bounds_that_can_be_chosen(quantity: int, valid: bool) -> None:
    """min_quantity and max_quantity, for new orders and replacements (choice 18)."""
    rig = Rig(min_quantity=1000, max_quantity=5000)
    old = rig.rest(rig.ann, BUY, 100, 2000)
    effects = rig.create(rig.bob, BUY, 200, quantity)
    assert bool(messages(effects, seto.OrderAccepted)) == valid
    if not valid:
        assert only(effects, seto.OrderInvalid).reasons == [seto.ORDER_INVALID_INVALID_QUANTITY]
    effects = rig.replace(rig.ann, old, 100, quantity)
    assert bool(messages(effects, seto.OrderCancelReplaceAccepted)) == valid
    if not valid:
        assert only(effects, seto.OrderCancelRejected).reason == seto.ORDER_CANCEL_REJECTED_INVALID_QUANTITY


def test_a_label_must_not_be_too_long_to_come_back() -> None:
    """max_label counts bytes; for replacements too."""
    rig = Rig(max_label=4)
    old = rig.rest(rig.ann, BUY, 5000, 10, label="äö")
    assert only(rig.create(rig.ann, BUY, 5000, 10, label="äöü"), seto.OrderInvalid).reasons == []
    assert only(rig.replace(rig.ann, old, 5000, 10, label="abcde"), seto.OrderInvalid).reasons == []
    assert messages(rig.replace(rig.ann, old, 5000, 10, label="abcd"), seto.OrderCancelReplaceAccepted)


def test_a_minimum_may_count_for_nothing() -> None:
    """honours_maq off: the order takes what is there (choice 21)."""
    rig = Rig(honours_maq=False)
    rig.rest(rig.ann, SELL, 5000, 10)
    effects = rig.create(rig.bob, BUY, 5000, 25, maq=25)
    assert [m.quantity for m in messages(effects, seto.OrderExecuted)] == [10, 10]
    assert rig.book.levels(BUY, 0) == [(5000, 15)]


@pytest.mark.parametrize(("survives", "left"), [(False, [3000]), (True, [5000, 3000])])
def test_good_til_cancelled_may_survive_a_halt(survives: bool, left: list[int]) -> None:
    """gtc_survives_halt: GOOD_TILL_HALTED goes all the same, KEEP_IN_PLAY stays (choice 20)."""
    rig = Rig(gtc_survives_halt=survives)
    for price, tif in ((5000, GTC), (4000, GTH), (3000, KIP)):
        rig.rest(rig.ann, BUY, price, 10, tif=tif)
    rig.state(seto.MARKET_STATE_HALTED)
    assert [price for price, _ in rig.book.levels(BUY, 0)] == left
    rig.state(seto.MARKET_STATE_SETTLED)
    assert rig.book.levels(BUY, 0) == []


# --- reducing, replacing, cancelling -----------------------------------------------------------


def test_a_new_quantity_may_mean_what_is_open() -> None:
    """reduce_counts_executed off: in the request, its answer and its refusal (choice 30)."""
    rig = Rig(reduce_counts_executed=False)
    order_id = rig.rest(rig.ann, BUY, 5000, 100)
    rig.create(rig.bob, SELL, 5000, 60)
    for new_quantity in (0, 40, 41):
        rejected = only(rig.reduce(rig.ann, order_id, new_quantity), seto.OrderQuantityReduceRejected)
        assert rejected.reason == seto.ORDER_QUANTITY_REDUCE_REJECTED_INVALID_NEW_QUANTITY
        assert rejected.new_quantity == new_quantity
    reduced = only(rig.reduce(rig.ann, order_id, 1), seto.OrderQuantityReduced)
    assert (reduced.new_quantity, reduced.executed_quantity) == (1, 60)
    assert rig.book.levels(BUY, 0) == [(5000, 1)]
    assert rig.ann.orders[order_id].quantity == 61


def test_a_replacements_quantity_may_mean_what_is_open() -> None:
    """replace_counts_executed off: in the request and in every answer (choice 31)."""
    rig = Rig(replace_counts_executed=False)
    old = rig.rest(rig.ann, BUY, 5000, 100)
    rig.create(rig.bob, SELL, 5000, 60)
    assert only(rig.replace(rig.ann, old, 4000, 0), seto.OrderCancelRejected).reason == (
        seto.ORDER_CANCEL_REJECTED_INVALID_QUANTITY
    )
    effects = rig.replace(rig.ann, old, 4000, 1)
    assert only(effects, seto.OrderPendingReplace).quantity == 1
    accepted = only(effects, seto.OrderCancelReplaceAccepted)
    assert (accepted.quantity, accepted.quantity_left) == (1, 1)
    assert rig.book.levels(BUY, 0) == [(4000, 1)]
    executed = only(rig.create(rig.bob, SELL, 4000, 1), seto.OrderExecuted, rig.ann)
    assert (executed.total_executed_quantity, executed.available_quantity) == (61, 0)


@pytest.mark.parametrize("first", [True, False])
def test_cancel_all_may_be_answered_before_or_behind_the_cancellations(first: bool) -> None:
    """cancel_all_accepted_first (choice 32)."""
    rig = Rig(cancel_all_accepted_first=first)
    rig.rest(rig.ann, BUY, 5000, 10)
    names = [name.removeprefix("ann:") for name in shape(rig.handle(rig.ann, seto.OrderCancelAll()))[1:]]
    expected = ["OrderCancelAllAccepted", "OrderCancelled"]
    assert names == (expected if first else expected[::-1])


# --- quotes ------------------------------------------------------------------------------------


def test_quotes_may_come_behind_the_messages() -> None:
    """quotes_first off; a new state stays in front of everything, balances at the end (choice 24)."""
    rig = Rig(quotes_first=False)
    rig.rest(rig.ann, SELL, 5000, 10)
    effects = rig.create(rig.bob, BUY, 5000, 10)
    assert shape(effects)[0] == "bob:OrderAccepted"
    assert shape(effects)[-1] == "*:ContractQuotes"
    rig.rest(rig.cyd, BUY, 4000, 10)
    assert shape(rig.operate("settle", market_id=MARKET, winners=[])) == [
        "*:MarketState",
        "cyd:OrderCancelled",
        "*:ContractQuotes",
        "bob:BalanceChanged",
        "ann:BalanceChanged",
    ]


@pytest.mark.parametrize("carried", [True, False])
def test_a_delta_may_carry_the_last_execution(carried: bool) -> None:
    """deltas_carry_last_execution: only where something was executed (choice 37)."""
    rig = Rig(deltas_carry_last_execution=carried)
    assert not only(rig.create(rig.ann, SELL, 5000, 10), seto.ContractQuotes).HasField("last_execution")
    delta = only(rig.create(rig.bob, BUY, 5000, 4), seto.ContractQuotes)
    assert delta.HasField("last_execution") == carried
    if carried:
        assert delta.last_execution == delta.executions[-1]
    assert not only(rig.create(rig.cyd, SELL, 6000, 1), seto.ContractQuotes).HasField("last_execution")


@pytest.mark.parametrize("reported", [True, False])
def test_a_level_that_leaves_the_window_may_be_reported(reported: bool) -> None:
    """reports_leaving_levels: then no ghost is left with anybody (choice 25)."""
    rig = Rig(reports_leaving_levels=reported, visible_depth=2)
    for price in (4000, 5000):
        rig.rest(rig.ann, BUY, price, 10)
    delta = only(rig.create(rig.ann, BUY, 6000, 10), seto.ContractQuotes)
    gone = [seto.Quote(price=4000, quantity=0)] if reported else []
    assert delta.bids == [seto.Quote(price=6000, quantity=10), *gone]
    back = only(rig.create(rig.bob, SELL, 6000, 10), seto.ContractQuotes)
    assert back.bids == [seto.Quote(price=6000, quantity=0), seto.Quote(price=4000, quantity=10)]


@pytest.mark.parametrize(("both", "volume"), [(False, 14), (True, 28)])
def test_the_volume_may_count_a_trade_twice(both: bool, volume: int) -> None:
    """volume_counts_both_sides; what is voided later was executed all the same (choice 38)."""
    rig = Rig(volume_counts_both_sides=both)
    trade = rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.trade(rig.ann, rig.bob, 5000, 4, contract_id=OTHER_CONTRACT)
    rig.operate("void_trade", trade_id=trade.trade_id)
    quotes: Any = rig.engine.snapshot(MARKET)[0]
    assert quotes.executed_volume == volume


@pytest.mark.parametrize(("answer", "messages_told"), [("empty", 1), ("silence", 0)])
def test_an_unknown_market_may_be_answered_with_silence(answer: str, messages_told: int) -> None:
    """unknown_market (choice 26)."""
    rig = Rig(unknown_market=answer)
    effects = rig.handle(rig.ann, seto.MarketSubscribe(market_id=99))
    assert [effect.message for effect in effects] == [seto.MarketQuotes(market_id=99)] * messages_told


def test_the_state_may_not_follow_the_snapshot() -> None:
    """state_after_snapshot off: nor does whether it is managed (choice 28)."""
    rig = Rig(state_after_snapshot=False)
    rig.operate("set_managed", market_id=MARKET)
    assert [type(message) for message in rig.engine.snapshot(MARKET)] == [seto.MarketQuotes]


def test_the_documented_sequence_of_deltas() -> None:
    """Fact sheet 3.8 from end to end: what orders and cancellations publish of a book of five levels."""
    rig = Rig(opening_balance=Decimal(10**6))
    bids = {percent: rig.rest(rig.ann, BUY, percent * 100, 100_000) for percent in range(45, 50)}
    for percent in range(51, 56):
        rig.rest(rig.bob, SELL, percent * 100, 100_000)

    def delta(effects: list[Effect]) -> dict[str, list[tuple[int, ...]]]:
        quotes = only(effects, seto.ContractQuotes)
        found = {
            "bids": [(quote.price, quote.quantity) for quote in quotes.bids],
            "offers": [(quote.price, quote.quantity) for quote in quotes.offers],
            "executions": [(each.price, each.quantity, each.liquidity) for each in quotes.executions],
        }
        return {name: sorted(values) for name, values in found.items() if values}

    assert delta(rig.create(rig.ann, BUY, 5000, 100_000)) == {"bids": [(5000, 100_000)]}
    outside = rig.create(rig.ann, BUY, 4500, 300_000)
    assert not messages(outside, seto.ContractQuotes)
    assert delta(rig.create(rig.bob, SELL, 5000, 400_000)) == {
        "bids": [(4500, 400_000), (5000, 0)],
        "offers": [(5000, 300_000)],
        "executions": [(5000, 100_000, BUY)],
    }
    rig.create(rig.bob, SELL, 5100, 200_000)
    assert delta(rig.create(rig.cyd, BUY, 5100, 580_000)) == {
        "offers": [(5000, 0), (5100, 20_000), (5500, 100_000)],
        "executions": [(5000, 300_000, SELL), (5100, 100_000, SELL), (5100, 180_000, SELL)],
    }
    assert not messages(rig.create(rig.ann, BUY, 4000, 30_000), seto.ContractQuotes)
    assert delta(rig.cancel(rig.ann, bids[48])) == {"bids": [(4000, 30_000), (4800, 0)]}


# --- money and numbers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decimals", "available", "exposure"),
    [(8, 9999.66666667, -0.33333333), (4, 9999.6666, -0.3334), (2, 9999.66, -0.34), (0, 9999.0, -1.0)],
)
def test_balances_are_told_to_so_many_digits(decimals: int, available: float, exposure: float) -> None:
    """balance_decimals: never more than there is (choice 17); inside nothing is rounded."""
    rig = Rig(balance_decimals=decimals)
    accepted = only(rig.create(rig.ann, BUY, 3333, 10_001), seto.OrderAccepted)
    assert (accepted.available_balance, accepted.exposure) == (available, exposure)
    assert rig.ann.liability_points == 33_333_333


def test_the_exposure_may_be_told_as_a_positive_number() -> None:
    """exposure_sign; none is 0, and no -0 (choice 15)."""
    rig = Rig(exposure_sign="positive", balance_decimals=2)
    effects = rig.create(rig.ann, BUY, 3333, 10_001)
    accepted = only(effects, seto.OrderAccepted)
    assert (accepted.available_balance, accepted.exposure) == (9999.66, 0.34)
    cancelled = only(rig.cancel(rig.ann, accepted.order_id), seto.OrderCancelled)
    assert str(cancelled.exposure) == "0.0"


def test_a_negative_balance_is_told_rounded_down() -> None:
    """Further from 0: nobody is told of money that is not there."""
    rig = Rig(netting="market", opening_balance=Decimal("0.009"), balance_decimals=2)
    cover = rig.trade(rig.ann, rig.bob, 3000, 100)
    rig.rest(rig.cyd, BUY, 4000, 100)
    rig.rest(rig.bob, SELL, 4000, 100)
    rig.rest(rig.bob, BUY, 9000, 100, market_id=OTHER_MARKET)
    voided = messages(rig.operate("void_trade", trade_id=cover.trade_id), seto.OrderExecutedVoid, rig.bob)
    assert (voided[0].available_balance, voided[0].exposure) == (-0.01, -0.02)


def test_the_narrow_account_sequence_may_be_left_out() -> None:
    """account_sequence_32 off (choice 14)."""
    rig = Rig(account_sequence_32=False)
    accepted = only(rig.create(rig.ann, BUY, 5000, 10), seto.OrderAccepted)
    assert not accepted.HasField("account_sequence")
    assert accepted.account_sequence_64 == 1


@pytest.mark.parametrize(
    ("pending_ms", "unit", "told"),
    [(8000, "ms", 8000), (8000, "s", 8), (8001, "s", 9), (1, "s", 1), (1, "ms", 1)],
)
def test_a_pending_timeout_may_count_seconds(pending_ms: int, unit: str, told: int) -> None:
    """pending_timeout_unit: rounded up, for 0 would be final (choice 33)."""
    rig = Rig(managed_pending_ms=pending_ms, pending_timeout_unit=unit)
    rig.operate("set_managed", market_id=MARKET)
    rig.rest(rig.ann, SELL, 5000, 10)
    executed = messages(rig.create(rig.bob, BUY, 5000, 10), seto.OrderExecuted)
    assert [m.pending_timeout for m in executed] == [told, told]
    assert rig.engine.due_us() == NOW + pending_ms * 1000


def test_a_reduction_factor_may_be_a_percentage() -> None:
    """reduce_factor_whole: what stands for all (choice 34)."""
    rig = Rig(reduce_factor_whole=100)
    trade = rig.trade(rig.ann, rig.bob, 2500, 400)
    place = {"market_id": MARKET, "contract_id": CONTRACT}
    with pytest.raises(UsageError, match="from 1 to 100, not 101"):
        rig.operate("reduce", factor=101, kind="QUANTITY", **place)
    rig.operate("reduce", factor=25, kind="QUANTITY", **place)
    assert (trade.price, trade.quantity) == (2500, 300)
    effects = rig.operate("reduce", factor=50, kind="PRICE", **place)
    assert (trade.price, trade.quantity) == (5000, 150)
    assert only(effects, seto.MarketState).contracts[0].reduce_factor == 50


def test_the_reason_of_a_settlement_can_be_chosen() -> None:
    """settlement_reason (choice 36); voids and reductions have their own."""
    rig = Rig(settlement_reason="paid out")
    rig.trade(rig.ann, rig.bob, 5000, 10)
    effects = rig.operate("settle", market_id=MARKET, winners=[])
    assert {m.reason for m in messages(effects, seto.BalanceChanged)} == {"paid out"}


# --- what is remembered ------------------------------------------------------------------------


def known(rig: Rig, order_id: int) -> bool:
    """Whether the exchange can tell a dead order from none."""
    reason = only(rig.cancel(rig.ann, order_id), seto.OrderCancelRejected).reason
    return bool(reason == seto.ORDER_CANCEL_REJECTED_NOT_LIVE)


def test_so_many_ended_orders_are_remembered() -> None:
    """finished_orders: of each account the last ones, in the order in which they ended."""
    rig = Rig(finished_orders=2)
    ids = [rig.rest(rig.ann, BUY, 5000, 10) for _ in range(4)]
    for order_id in reversed(ids):
        rig.cancel(rig.ann, order_id)
    assert [known(rig, order_id) for order_id in ids] == [True, True, False, False]
    assert len(rig.ann.orders) == 2


def test_with_none_remembered_an_ended_order_is_unknown_at_once() -> None:
    """NOT_FOUND for everything that is over."""
    rig = Rig(finished_orders=0)
    order_id = rig.rest(rig.ann, BUY, 5000, 10)
    rig.cancel(rig.ann, order_id)
    assert not known(rig, order_id)


@pytest.mark.parametrize("end", ["settle", "void_market"])
def test_orders_with_bets_are_remembered_whatever_their_number(end: str) -> None:
    """Until those are paid or given back; a live order is no ended one."""
    rig = Rig(finished_orders=1)
    live = rig.rest(rig.ann, BUY, 1000, 10, tif=KIP, market_id=OTHER_MARKET)
    trades = [rig.trade(rig.ann, rig.bob, 5000, 10) for _ in range(3)]
    sold = [trade.sell.order_id for trade in trades]
    assert [known(rig, order_id) for order_id in sold] == [True, True, True]
    rig.operate("void_trade", trade_id=trades[0].trade_id)
    assert [known(rig, order_id) for order_id in sold] == [True, True, True]
    rig.operate(end, market_id=MARKET, **({"winners": []} if end == "settle" else {}))
    assert [known(rig, order_id) for order_id in sold] == [False, False, True]
    assert live in rig.ann.orders


def test_a_replaced_order_is_forgotten_like_any_other() -> None:
    """Its bets are the new order's."""
    rig = Rig(finished_orders=0)
    old = rig.rest(rig.ann, BUY, 5000, 10)
    rig.create(rig.bob, SELL, 5000, 4)
    new = only(rig.replace(rig.ann, old, 4000, 10), seto.OrderCancelReplaceAccepted).order_id
    assert list(rig.ann.orders) == [new]
    rig.cancel(rig.ann, new)
    assert list(rig.ann.orders) == [new]
    rig.operate("settle", market_id=MARKET, winners=[])
    assert not rig.ann.orders


def test_a_live_order_is_no_ended_one_when_its_bet_is_voided() -> None:
    """It is remembered as long as it lives, and once when it has ended."""
    rig = Rig(finished_orders=1)
    order_id = rig.rest(rig.ann, BUY, 5000, 30)
    for _ in range(2):
        rig.rest(rig.bob, SELL, 5000, 10)
        (trade_id,) = rig.market.trades
        rig.operate("void_trade", trade_id=trade_id)
    assert list(rig.ann.orders) == [order_id]
    rig.cancel(rig.ann, order_id)
    assert known(rig, order_id)

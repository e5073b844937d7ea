"""What becomes of executed bets: pending, confirmed, voided, reduced, settled; and the money they move."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.orders import Trade
from smarkets_pool.wire.schema import seto_pb2 as seto
from tests.rig.trading import (
    BUY,
    CONTRACT,
    KIP,
    MARKET,
    NOW,
    OTHER_CONTRACT,
    OTHER_MARKET,
    SELL,
    STAMPS,
    Rig,
    fields,
    messages,
    only,
    shape,
)

PENDING_US = 8_000_000


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def managed() -> Rig:
    """The first market is managed: what is executed there is pending for 8 seconds."""
    rig = Rig()
    rig.operate("set_managed", market_id=MARKET)
    return rig


# --- pending -----------------------------------------------------------------------------------


def test_an_execution_in_a_managed_market_is_told_as_pending(managed: Rig) -> None:
    """Both sides; at once it counts like any other, in the money and in the quotes."""
    managed.rest(managed.ann, SELL, 5000, 10)
    effects = managed.create(managed.bob, BUY, 5000, 10)
    assert [m.pending_timeout for m in messages(effects, seto.OrderExecuted)] == [8000, 8000]
    assert only(effects, seto.ContractQuotes).executions[0].quantity == 10
    assert managed.risks() == [50_000, 50_000, 0]
    (trade,) = managed.market.trades.values()
    assert (trade.state, trade.pending_until_us) == ("pending", NOW + PENDING_US)
    assert managed.engine.due_us() == NOW + PENDING_US


def test_elsewhere_executions_are_final(managed: Rig) -> None:
    """Nothing is due, and no timeout is told."""
    managed.rest(managed.ann, SELL, 5000, 10, market_id=OTHER_MARKET)
    effects = managed.create(managed.bob, BUY, 5000, 10, market_id=OTHER_MARKET)
    assert not any(m.HasField("pending_timeout") for m in messages(effects, seto.OrderExecuted))
    assert managed.engine.due_us() is None


def test_with_no_time_to_wait_a_managed_market_is_like_any_other() -> None:
    """0 is final (choice 33)."""
    rig = Rig(managed_pending_ms=0)
    rig.operate("set_managed", market_id=MARKET)
    assert rig.trade(rig.ann, rig.bob, 5000, 10).state == "final"
    assert rig.engine.due_us() is None


def test_a_market_that_is_managed_later_leaves_its_executions_alone(rig: Rig) -> None:
    """And one that is no longer managed leaves pending ones pending."""
    final = rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.operate("set_managed", market_id=MARKET)
    pending = rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.operate("set_managed", market_id=MARKET, managed=False)
    assert (final.state, pending.state) == ("final", "pending")
    assert rig.trade(rig.ann, rig.bob, 5000, 10).state == "final"


def test_what_is_due_is_confirmed_in_time_and_in_order(managed: Rig) -> None:
    """Each once, to both its owners; not a microsecond early."""
    first = managed.trade(managed.ann, managed.bob, 5000, 10, label="l")
    managed.now_us = NOW + 1000
    second = managed.trade(managed.bob, managed.cyd, 6000, 20)
    managed.now_us = NOW + PENDING_US - 1
    assert managed.operate("confirm_due") == []
    assert managed.engine.due_us() == NOW + PENDING_US
    managed.now_us = NOW + PENDING_US
    effects = managed.operate("confirm_due")
    assert shape(effects) == ["bob:OrderExecuteConfirmed", "ann:OrderExecuteConfirmed"]
    assert [fields(effect.message, *STAMPS) for effect in effects] == [
        {"order_id": order.order_id, "price": 5000, "quantity": 10, "label": "l"}
        for order in (first.buy, first.sell)
    ]
    assert managed.engine.due_us() == NOW + PENDING_US + 1000
    managed.now_us *= 100
    confirmed = messages(managed.operate("confirm_due"), seto.OrderExecuteConfirmed)
    assert {m.order_id for m in confirmed} == {second.buy.order_id, second.sell.order_id}
    assert managed.operate("confirm_due") == []
    assert managed.engine.due_us() is None
    assert (first.state, second.pending_until_us) == ("final", None)


def test_the_staff_may_confirm_before_time(managed: Rig) -> None:
    """Then nothing is due any more."""
    trade = managed.trade(managed.ann, managed.bob, 5000, 10)
    effects = managed.operate("confirm_trade", trade_id=trade.trade_id)
    assert shape(effects) == ["bob:OrderExecuteConfirmed", "ann:OrderExecuteConfirmed"]
    assert managed.engine.due_us() is None
    assert managed.risks() == [50_000, 50_000, 0]


def test_a_pending_execution_that_is_voided_is_never_confirmed(managed: Rig) -> None:
    """How a pending period ends badly (fact sheet 3.4)."""
    trade = managed.trade(managed.ann, managed.bob, 5000, 10)
    managed.operate("void_trade", trade_id=trade.trade_id)
    managed.now_us += PENDING_US
    assert managed.engine.due_us() is None
    assert managed.operate("confirm_due") == []
    assert managed.risks() == [0, 0, 0]


# --- voiding one execution ---------------------------------------------------------------------


def test_a_voided_execution_is_told_both_sides_in_full(rig: Rig) -> None:
    """The quantity is gone and does not open again; each side has its risk back."""
    anns = rig.order(rig.ann, SELL, 5000, 100, label="l")
    rig.create(rig.bob, BUY, 6000, 30)
    rig.create(rig.bob, BUY, 5000, 20)
    first, _second = rig.market.trades.values()
    before = rig.book.levels(SELL, 0)
    effects = rig.operate("void_trade", trade_id=first.trade_id)
    assert shape(effects) == ["bob:OrderExecutedVoid", "ann:OrderExecutedVoid"]
    common = {"market_id": MARKET, "contract_id": CONTRACT, "price": 5000, "quantity": 30}
    assert fields(effects[1].message, *STAMPS, "available_balance", "exposure") == {
        "order_id": anns.order_id,
        "side": SELL,
        "orig_price": 5000,
        "executed_quantity": 20,
        "executed_avg_price": 5000,
        "available_quantity": 50,
        "label": "l",
        **common,
    }
    assert fields(effects[0].message, *STAMPS, "available_balance", "exposure") == {
        "order_id": first.buy.order_id,
        "side": BUY,
        "orig_price": 6000,
        "executed_quantity": 0,
        "executed_avg_price": 0,
        "available_quantity": 0,
        **common,
    }
    assert [getattr(effect.message, "exposure") for effect in effects] == [-0.001, -0.0035]  # noqa: B009
    assert rig.risks() == [70 * 5000, 20 * 5000, 0]
    assert rig.book.levels(SELL, 0) == before == [(5000, 50)]
    assert (first.state, first.buy.state, anns.state) == ("voided", "voided", "live")
    assert anns.quantity == 70


def test_a_voided_execution_is_not_there_to_be_voided_again(rig: Rig) -> None:
    """Nor settled."""
    trade = rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.operate("void_trade", trade_id=trade.trade_id)
    with pytest.raises(UsageError, match="no trade 1 whose bets are still on"):
        rig.operate("void_trade", trade_id=trade.trade_id)
    rig.operate("settle", market_id=MARKET, winners=[CONTRACT])
    assert rig.cash() == [0, 0, 0]


def test_a_filled_order_stays_filled_while_anything_of_it_is_left(rig: Rig) -> None:
    """With nothing left it is voided."""
    bobs = rig.order(rig.bob, BUY, 5000, 30)
    for quantity in (10, 20):
        rig.rest(rig.ann, SELL, 5000, quantity)
    states = [bobs.state]
    for trade in list(bobs.trades):
        rig.operate("void_trade", trade_id=trade.trade_id)
        states.append(bobs.state)
    assert states == ["filled", "filled", "voided"]
    assert (bobs.quantity, bobs.executed_points) == (0, 0)


# --- voiding an order --------------------------------------------------------------------------


def test_a_voided_order_is_told_its_owner_and_its_fills_the_others(rig: Rig) -> None:
    """The open part leaves the book; everybody's balance follows."""
    anns = rig.order(rig.ann, SELL, 5000, 100, label="l")
    rig.create(rig.bob, BUY, 5000, 30)
    rig.create(rig.cyd, BUY, 5000, 20)
    effects = rig.operate("void_order", order_id=anns.order_id)
    assert shape(effects) == [
        "*:ContractQuotes",
        "ann:OrderVoided",
        "bob:OrderExecutedVoid",
        "cyd:OrderExecutedVoid",
        "ann:BalanceChanged",
        "bob:BalanceChanged",
        "cyd:BalanceChanged",
    ]
    assert fields(effects[1].message, *STAMPS) == {
        "order_id": anns.order_id,
        "quantity": 0,
        "source_quantity": 100,
        "executed_quantity": 0,
        "executed_avg_price": 0,
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "side": SELL,
        "orig_price": 5000,
        "label": "l",
    }
    balances = messages(effects, seto.BalanceChanged)
    told = {"reason": "void", "available_balance": 10_000.0, "exposure": 0.0}
    assert [fields(m) for m in balances] == [told] * 3
    assert rig.risks() == [0, 0, 0]
    assert anns.state == "voided"
    assert rig.ann.live_orders == {}
    assert rig.market.trades == {}


def test_an_order_that_met_nobody_is_voided_too(rig: Rig) -> None:
    """Its owner hears what money is free now."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10)
    effects = rig.operate("void_order", order_id=order_id)
    assert shape(effects) == ["*:ContractQuotes", "ann:OrderVoided", "ann:BalanceChanged"]
    assert rig.risks() == [0, 0, 0]
    rejected = only(rig.cancel(rig.ann, order_id), seto.OrderCancelRejected)
    assert rejected.reason == seto.ORDER_CANCEL_REJECTED_NOT_LIVE


@pytest.mark.parametrize("ended", ["filled", "cancelled"])
def test_an_ended_order_with_bets_can_be_voided(rig: Rig, ended: str) -> None:
    """Its bets go; what it had left open went before."""
    bobs = rig.order(rig.bob, BUY, 5000, 10 if ended == "filled" else 50)
    rig.rest(rig.ann, SELL, 5000, 10)
    if ended == "cancelled":
        rig.cancel(rig.bob, bobs.order_id)
    assert bobs.state == ended
    effects = rig.operate("void_order", order_id=bobs.order_id)
    assert shape(effects) == [
        "bob:OrderVoided",
        "ann:OrderExecutedVoid",
        "ann:BalanceChanged",
        "bob:BalanceChanged",
    ]
    assert rig.risks() == [0, 0, 0]
    with pytest.raises(UsageError, match="is voided and has no bet that is still on"):
        rig.operate("void_order", order_id=bobs.order_id)


# --- voiding contracts and markets -------------------------------------------------------------


def test_a_voided_contract_gives_everything_back_in_it(rig: Rig) -> None:
    """Each order with bets hears order_voided once, open ones are cancelled; its neighbour goes on."""
    anns = rig.order(rig.ann, SELL, 5000, 100)
    rig.create(rig.bob, BUY, 5000, 30)
    rig.create(rig.bob, BUY, 5000, 20)
    rig.rest(rig.cyd, BUY, 4000, 10, tif=KIP)
    elsewhere = rig.trade(rig.ann, rig.bob, 5000, 10, contract_id=OTHER_CONTRACT)
    effects = rig.operate("void_contract", market_id=MARKET, contract_id=CONTRACT)
    assert shape(effects) == [
        "*:MarketState",
        "*:ContractQuotes",
        "cyd:OrderCancelled",
        "ann:OrderCancelled",
        "bob:OrderVoided",
        "ann:OrderVoided",
        "bob:OrderVoided",
        "bob:BalanceChanged",
        "ann:BalanceChanged",
    ]
    voided = seto.ContractState(contract_id=CONTRACT, state=seto.CONTRACT_STATE_VOIDED)
    assert effects[0].message == seto.MarketState(
        market_id=MARKET, state=seto.MARKET_STATE_OPEN, contracts=[voided]
    )
    (told,) = messages(effects, seto.OrderVoided, rig.ann)
    assert (told.order_id, told.source_quantity, told.quantity) == (anns.order_id, 100, 50)
    assert list(rig.market.trades.values()) == [elsewhere]
    assert rig.risks() == [50_000, 50_000, 0]
    refusal = only(rig.create(rig.ann, BUY, 5000, 10), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_CONTRACT_SETTLED


def test_a_voided_market_never_was(rig: Rig) -> None:
    """All money is where it was; pending executions go too, without a confirmation."""
    rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.operate("set_managed", market_id=MARKET)
    rig.trade(rig.bob, rig.cyd, 6000, 10, contract_id=OTHER_CONTRACT)
    other = rig.trade(rig.ann, rig.bob, 5000, 10, market_id=OTHER_MARKET)
    effects = rig.operate("void_market", market_id=MARKET)
    state = only(effects, seto.MarketState)
    assert (state.state, state.contracts[:]) == (seto.MARKET_STATE_VOIDED, [])
    assert len(messages(effects, seto.OrderVoided)) == 4
    assert not messages(effects, seto.OrderExecuteConfirmed)
    assert {m.reason for m in messages(effects, seto.BalanceChanged)} == {"void"}
    assert rig.cash() == [0, 0, 0]
    assert rig.risks() == [50_000, 50_000, 0]
    assert rig.engine.due_us() is None
    assert other.state == "final"


def test_what_was_paid_before_a_market_is_voided_stays_paid(rig: Rig) -> None:
    """Voiding gives back what is still on."""
    rig.trade(rig.ann, rig.bob, 5000, 10)
    rig.trade(rig.ann, rig.bob, 5000, 10, contract_id=OTHER_CONTRACT)
    rig.operate("settle_contract", market_id=MARKET, contract_id=CONTRACT, won=True)
    rig.operate("void_market", market_id=MARKET)
    assert rig.cash() == [-50_000, 50_000, 0]
    assert rig.risks() == [0, 0, 0]


# --- settling ----------------------------------------------------------------------------------


def test_settling_pays_winners_from_losers(rig: Rig) -> None:
    """A buyer of a winner gains quantity * (10000 - price), of a loser he loses quantity * price."""
    rig.trade(rig.ann, rig.bob, 2500, 400_000)
    rig.trade(rig.bob, rig.cyd, 6000, 10_000, contract_id=OTHER_CONTRACT)
    effects = rig.operate("settle", market_id=MARKET, winners=[CONTRACT])
    lost, won = 10_000 * 6000, 400_000 * 7500
    assert rig.cash() == [-won, won + lost, -lost]
    assert rig.risks() == [0, 0, 0]
    assert only(effects, seto.MarketState).state == seto.MARKET_STATE_SETTLED
    assert rig.market.trades == {}
    told = {effect.account.username: fields(effect.message) for effect in effects[1:]}  # type: ignore[union-attr]
    assert told == {
        "ann": {"reason": "settlement", "available_balance": 9970.0, "exposure": 0.0},
        "bob": {"reason": "settlement", "available_balance": 10_030.6, "exposure": 0.0},
        "cyd": {"reason": "settlement", "available_balance": 9999.4, "exposure": 0.0},
    }


@pytest.mark.parametrize("winners", [[], [CONTRACT], [CONTRACT, OTHER_CONTRACT], [CONTRACT, CONTRACT]])
def test_any_number_of_contracts_may_win(rig: Rig, winners: list[int]) -> None:
    """As in a market for places; what is paid is what was lost."""
    rig.trade(rig.ann, rig.bob, 2500, 10)
    rig.trade(rig.ann, rig.bob, 2500, 10, contract_id=OTHER_CONTRACT)
    rig.operate("settle", market_id=MARKET, winners=winners)
    won = len(set(winners))
    bobs = won * 75_000 - (2 - won) * 25_000
    assert rig.cash() == [-bobs, bobs, 0]


def test_settling_confirms_what_is_pending_and_ends_every_order(managed: Rig) -> None:
    """The state first, then quotes, cancellations, confirmations, and at last the balances."""
    managed.trade(managed.ann, managed.bob, 5000, 10)
    managed.rest(managed.cyd, BUY, 4000, 10, tif=KIP)
    effects = managed.operate("settle", market_id=MARKET, winners=[])
    assert shape(effects) == [
        "*:MarketState",
        "*:ContractQuotes",
        "cyd:OrderCancelled",
        "bob:OrderExecuteConfirmed",
        "ann:OrderExecuteConfirmed",
        "bob:BalanceChanged",
        "ann:BalanceChanged",
    ]
    assert managed.engine.due_us() is None
    assert managed.risks() == [0, 0, 0]


@pytest.mark.parametrize("won", [True, False])
def test_one_contract_can_be_settled_before_the_others(rig: Rig, won: bool) -> None:
    """It is told in the market's state, takes no orders any more, and the others go on."""
    rig.trade(rig.ann, rig.bob, 2500, 10)
    rig.trade(rig.ann, rig.bob, 5000, 10, contract_id=OTHER_CONTRACT)
    effects = rig.operate("settle_contract", market_id=MARKET, contract_id=CONTRACT, won=won)
    assert shape(effects) == ["*:MarketState", "bob:BalanceChanged", "ann:BalanceChanged"]
    settled = seto.ContractState(contract_id=CONTRACT, state=seto.CONTRACT_STATE_SETTLED)
    assert only(effects, seto.MarketState).contracts[:] == [settled]
    bobs = 75_000 if won else -25_000
    assert rig.cash() == [-bobs, bobs, 0]
    assert rig.risks() == [50_000, 50_000, 0]
    refusal = only(rig.create(rig.ann, BUY, 5000, 10), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_CONTRACT_SETTLED
    rig.operate("settle", market_id=MARKET, winners=[OTHER_CONTRACT])
    assert rig.cash() == [-bobs - 50_000, bobs + 50_000, 0]


def test_who_had_no_bet_hears_no_balance(rig: Rig) -> None:
    """Nothing of his has changed."""
    rig.rest(rig.cyd, BUY, 1000, 10)
    rig.trade(rig.ann, rig.bob, 5000, 10)
    effects = rig.operate("settle", market_id=MARKET, winners=[])
    assert not messages(effects, seto.BalanceChanged, rig.cyd)


# --- reduction factors -------------------------------------------------------------------------


def test_a_reduction_factor_is_announced_and_ends_open_orders(rig: Rig) -> None:
    """All of the contract, also KEEP_IN_PLAY (fact sheet 3.3); the factor stays in the state."""
    rig.rest(rig.ann, BUY, 5000, 10, tif=KIP)
    kept = rig.rest(rig.ann, BUY, 5000, 10, contract_id=OTHER_CONTRACT)
    effects = rig.operate("reduce", market_id=MARKET, contract_id=CONTRACT, factor=2500)
    assert shape(effects) == ["*:MarketState", "*:ContractQuotes", "ann:OrderCancelled"]
    reduced = seto.ContractState(
        contract_id=CONTRACT,
        state=seto.CONTRACT_STATE_REDUCED,
        reduce_type=seto.REDUCE_TYPE_PRICE,
        reduce_factor=2500,
    )
    assert only(effects, seto.MarketState).contracts[:] == [reduced]
    assert rig.engine.snapshot(MARKET)[1].contracts[:] == [reduced]  # type: ignore[attr-defined]
    assert only(effects, seto.OrderCancelled).reason == seto.ORDER_CANCELLED_MARKET_HALTED
    assert list(rig.ann.live_orders) == [kept]
    rig.rest(rig.ann, BUY, 5000, 10)


def test_a_reduced_quantity_is_told_each_order_once(rig: Rig) -> None:
    """With what it was and what it is; the odds stay, and so does the average."""
    anns = rig.order(rig.ann, SELL, 5000, 100, label="l")
    rig.create(rig.bob, BUY, 5000, 40)
    rig.create(rig.bob, BUY, 5000, 20)
    kind = {"kind": "QUANTITY"}
    effects = rig.operate("reduce", market_id=MARKET, contract_id=CONTRACT, factor=2500, **kind)
    assert shape(effects) == [
        "*:MarketState",
        "*:ContractQuotes",
        "ann:OrderCancelled",
        "bob:OrderReduced",
        "ann:OrderReduced",
        "bob:OrderReduced",
        "bob:BalanceChanged",
        "ann:BalanceChanged",
    ]
    assert fields(messages(effects, seto.OrderReduced, rig.ann)[0], *STAMPS) == {
        "order_id": anns.order_id,
        "price": 5000,
        "quantity": 45,
        "source_quantity": 60,
        "available_quantity": 0,
        "orig_price": 5000,
        "executed_quantity": 45,
        "executed_avg_price": 5000,
        "market_id": MARKET,
        "contract_id": CONTRACT,
        "side": SELL,
        "label": "l",
    }
    assert {m.reason for m in messages(effects, seto.BalanceChanged)} == {"reduction"}
    assert rig.risks() == [45 * 5000, 45 * 5000, 0]


def test_a_reduced_price_shrinks_the_odds_and_keeps_the_stake(rig: Rig) -> None:
    """Odds of 4 less a quarter are 3: 25 % becomes 33.33 %."""
    trade = rig.trade(rig.ann, rig.bob, 2500, 400_000)
    rig.operate("reduce", market_id=MARKET, contract_id=CONTRACT, factor=2500, kind="PRICE")
    assert (trade.price, trade.quantity) == (3333, 300_000)
    assert rig.risks() == [300_000 * 6667, 300_000 * 3333, 0]
    rig.operate("settle", market_id=MARKET, winners=[CONTRACT])
    assert rig.cash() == [-300_000 * 6667, 300_000 * 6667, 0]


def test_all_of_it_can_be_reduced(rig: Rig) -> None:
    """A factor of 100 % leaves nothing to pay."""
    for kind in ("QUANTITY", "PRICE"):
        trade = rig.trade(rig.ann, rig.bob, 2500, 10)
        rig.operate("reduce", market_id=MARKET, contract_id=CONTRACT, factor=10_000, kind=kind)
        assert trade.quantity == 0
        assert 1 <= trade.price <= 9999
    assert rig.risks() == [0, 0, 0]
    rig.operate("settle", market_id=MARKET, winners=[CONTRACT])
    assert rig.cash() == [0, 0, 0]


def test_a_reduced_bet_can_be_confirmed_and_voided(managed: Rig) -> None:
    """As it is by then."""
    first = managed.trade(managed.ann, managed.bob, 2500, 40)
    second = managed.trade(managed.ann, managed.bob, 2500, 40)
    managed.operate("reduce", market_id=MARKET, contract_id=CONTRACT, factor=5000, kind="QUANTITY")
    confirmed = messages(
        managed.operate("confirm_trade", trade_id=first.trade_id), seto.OrderExecuteConfirmed
    )
    assert [(m.price, m.quantity) for m in confirmed] == [(2500, 20)] * 2
    voided = messages(managed.operate("void_trade", trade_id=second.trade_id), seto.OrderExecutedVoid)
    assert [(m.price, m.quantity) for m in voided] == [(2500, 20)] * 2
    assert managed.risks() == [20 * 7500, 20 * 2500, 0]


@given(
    price=st.integers(1, 9999),
    quantity=st.integers(1, 10**6),
    factors=st.lists(st.tuples(st.integers(1, 10_000), st.sampled_from(["PRICE", "QUANTITY"])), max_size=3),
)
@hypothesis_settings(database=None, deadline=None)
def test_nobody_risks_more_after_a_reduction(
    price: int, quantity: int, factors: list[tuple[int, str]]
) -> None:
    """Whatever does not divide is left away; what the buyer can win shrinks at least as much as said."""
    rig = Rig()
    rig.operate("deposit", account="ann", amount="1000000")
    rig.operate("deposit", account="bob", amount="1000000")
    trade = rig.trade(rig.ann, rig.bob, price, quantity)
    for factor, kind in factors:
        risks, pays = rig.risks(), Fraction(trade.quantity)
        rig.operate("reduce", market_id=MARKET, contract_id=CONTRACT, factor=factor, kind=kind)
        assert all(now <= before for now, before in zip(rig.risks(), risks, strict=True))
        assert trade.quantity <= pays * (10_000 - factor) / 10_000
        assert rig.risks() == [trade.quantity * (10_000 - trade.price), trade.quantity * trade.price, 0]


# --- netting (choice 16) -----------------------------------------------------------------------


@pytest.fixture
def netted() -> Rig:
    """Three contracts in a market whose bets are held against its worst winner."""
    rig = Rig(netting="market")
    rig.operate("add_market", market_id=50, contracts=[1, 2, 3])
    return rig


def back(rig: Rig, contract_id: int, price: int, quantity: int, **more: Any) -> Trade:
    """Bob backs a contract with ann."""
    return rig.trade(rig.ann, rig.bob, price, quantity, market_id=50, contract_id=contract_id, **more)


def test_the_worst_winner_decides_what_is_at_risk(netted: Rig) -> None:
    """Backing all three at 30 % each cannot lose: one of them pays 100 %."""
    back(netted, 1, 3000, 100)
    assert netted.risks() == [70 * 10_000, 30 * 10_000, 0]
    back(netted, 2, 3000, 100)
    assert netted.risks() == [40 * 10_000, 60 * 10_000, 0]
    back(netted, 3, 3000, 100)
    assert netted.risks() == [10 * 10_000, 0, 0]


def test_buying_and_selling_the_same_frees_money(netted: Rig) -> None:
    """The difference of the prices is sure."""
    back(netted, 1, 3000, 100)
    netted.rest(netted.cyd, BUY, 4000, 100, market_id=50, contract_id=1)
    netted.rest(netted.bob, SELL, 4000, 100, market_id=50, contract_id=1)
    assert netted.bob.liability_points == 0
    netted.operate("settle", market_id=50, winners=[2])
    assert netted.cash() == [300_000, 100_000, -400_000]


def test_open_orders_are_not_netted(netted: Rig) -> None:
    """They may be met one without the other."""
    for contract_id in (1, 2, 3):
        netted.rest(netted.bob, BUY, 3000, 100, market_id=50, contract_id=contract_id)
    assert netted.bob.liability_points == 90 * 10_000


def test_markets_are_not_netted_with_each_other(netted: Rig) -> None:
    """Nothing says that not both may go wrong."""
    back(netted, 1, 3000, 100)
    netted.trade(netted.bob, netted.ann, 3000, 100)
    assert netted.bob.liability_points == (30 + 70) * 10_000


def test_a_lost_contract_leaves_the_others_netted(netted: Rig) -> None:
    """What it cost is paid, and it cannot win any more."""
    back(netted, 1, 3000, 100)
    back(netted, 2, 3000, 100)
    netted.operate("settle_contract", market_id=50, contract_id=1, won=False)
    assert netted.cash() == [300_000, -300_000, 0]
    assert netted.risks() == [70 * 10_000, 30 * 10_000, 0]
    netted.operate("settle", market_id=50, winners=[2])
    assert netted.cash() == [-400_000, 400_000, 0]
    assert netted.risks() == [0, 0, 0]


def test_a_voided_contract_leaves_the_others_netted(netted: Rig) -> None:
    """It cannot win either; this can put more at risk than there was."""
    back(netted, 1, 3000, 100)
    netted.trade(netted.bob, netted.ann, 3000, 100, market_id=50, contract_id=2)
    assert netted.bob.liability_points == 100 * 10_000
    netted.operate("void_contract", market_id=50, contract_id=1)
    assert netted.risks() == [30 * 10_000, 70 * 10_000, 0]


def test_voiding_a_bet_can_lower_what_is_available_below_nothing() -> None:
    """Two bets that covered each other, the money they freed risked again, and one of them never was."""
    rig = Rig(netting="market", opening_balance=Decimal("0.009"))
    cover = rig.trade(rig.ann, rig.bob, 3000, 100)
    rig.rest(rig.cyd, BUY, 4000, 100)
    rig.rest(rig.bob, SELL, 4000, 100)
    rig.rest(rig.bob, BUY, 9000, 100, market_id=OTHER_MARKET)
    assert (rig.bob.liability_points, rig.bob.available_points) == (900_000, 0)
    effects = rig.operate("void_trade", trade_id=cover.trade_id)
    assert messages(effects, seto.OrderExecutedVoid, rig.bob)[0].available_balance == -0.006
    assert (rig.bob.liability_points, rig.bob.available_points) == (1_500_000, -600_000)
    refusal = only(rig.create(rig.bob, BUY, 1, 1), seto.OrderRejected)
    assert refusal.reason == seto.ORDER_REJECTED_INSUFFICIENT_FUNDS
    with pytest.raises(UsageError, match="has -600000 points available"):
        rig.operate("deposit", account="bob", amount="-0.001")


@pytest.mark.parametrize("winners", [[], [1, 2]])
def test_a_netted_market_has_exactly_one_winner(netted: Rig, winners: list[int]) -> None:
    """Otherwise somebody might lose more than he had at risk."""
    with pytest.raises(UsageError, match=f"one winner of market 50, not {len(winners)}"):
        netted.operate("settle", market_id=50, winners=winners)
    netted.operate("settle", market_id=50, winners=[1, 1])


def test_a_netted_contract_is_not_settled_as_won_alone(netted: Rig) -> None:
    """The others have lost then; nor can the last one lose."""
    with pytest.raises(UsageError, match="settle the market with it"):
        netted.operate("settle_contract", market_id=50, contract_id=1, won=True)
    for contract_id in (1, 2):
        netted.operate("settle_contract", market_id=50, contract_id=contract_id, won=False)
    with pytest.raises(UsageError, match="only 3 is left to be it"):
        netted.operate("settle_contract", market_id=50, contract_id=3, won=False)
    netted.operate("settle", market_id=50, winners=[3])

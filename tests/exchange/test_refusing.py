"""Every reason of every rejection: where a condition leads to it, and on purpose."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message

from smarkets_pool.exchange.engine import Effect
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
    picture,
    shape,
)


@pytest.fixture
def rig() -> Rig:
    return Rig(opening_balance=Decimal(1000))


def reasons_of(enum: Any, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in enum.keys()]  # noqa: SIM118


ORDER = reasons_of(seto.OrderRejectedReason, "ORDER_REJECTED_")
INVALID = reasons_of(seto.OrderInvalidReason, "ORDER_INVALID_")
CANCEL = reasons_of(seto.OrderCancelRejectedReason, "ORDER_CANCEL_REJECTED_")
CANCEL_ALL = reasons_of(seto.OrderCancelAllRejectedReason, "ORDER_CANCEL_ALL_REJECTED_")
REDUCE = reasons_of(seto.OrderQuantityReduceRejectedReason, "ORDER_QUANTITY_REDUCE_REJECTED_")
REPLACE = reasons_of(seto.OrderCancelReplaceRejectedReason, "ORDER_CANCEL_REPLACE_REJECTED_")


def told_reason(effects: list[Effect], enum: Any, prefix: str) -> str:
    """The short name of the reason in the only rejection among these effects."""
    reasons = [effect.message.reason for effect in effects if "Rejected" in type(effect.message).__name__]  # type: ignore[attr-defined]
    (reason,) = reasons
    name: str = enum.Name(reason)
    return name.removeprefix(prefix)


# --- an order: what leads to each reason -------------------------------------------------------

Trouble = Callable[[Rig], dict[str, Any]]


def operated(verb: str, **arguments: object) -> Trouble:
    """An operator does something; the order itself is a good one."""

    def trouble(rig: Rig) -> dict[str, Any]:
        rig.operate(verb, **arguments)
        return {}

    return trouble


def terms(**changed: Any) -> Trouble:
    """The order itself is at fault."""
    return lambda rig: changed


def own_offer(rig: Rig) -> dict[str, Any]:
    rig.rest(rig.ann, SELL, 5000, 10)
    return {}


def throttled(rig: Rig) -> dict[str, Any]:
    """What a session over its limit has the engine do."""
    rig.handle = lambda account, message, seq=2, session="": (  # type: ignore[method-assign]
        rig.engine.refuse_throttled(account, message, seq=seq, now_us=NOW, session=session) or []
    )
    return {}


ORDER_TROUBLES: dict[str, Trouble] = {
    "INSUFFICIENT_FUNDS": terms(quantity=20_000_001),
    "LIMIT_EXCEEDED": operated("set_limits", account="ann", exposure="0.00001"),
    "MARKET_NOT_OPEN": operated("set_market_state", market_id=MARKET, state="NEW"),
    "MARKET_SETTLED": operated("settle", market_id=MARKET, winners=[]),
    "MARKET_HALTED": operated("set_market_state", market_id=MARKET, state="HALTED"),
    "CROSSED_SELF": own_offer,
    "MARKET_NOT_FOUND": terms(market_id=99),
    "SERVICE_TEMPORARILY_UNAVAILABLE": operated("set_backend", up=False),
    "CONTRACT_NOT_FOUND": terms(contract_id=0),
    "ACCOUNT_SUSPENDED": operated("suspend_account", account="ann"),
    "CONTRACT_SETTLED": operated("settle_contract", market_id=MARKET, contract_id=CONTRACT, won=True),
    "THROTTLE_EXCEEDED": throttled,
    "TRADING_SUSPENDED": operated("suspend_trading", account="ann"),
    "STAKE_LIMIT_EXCEEDED": operated("set_limits", account="ann", stake="0.00001"),
}


@pytest.mark.parametrize("reason", [name for name in ORDER if name != "CAPACITY_REACHED"])
def test_every_reason_to_reject_an_order_has_its_condition(rig: Rig, reason: str) -> None:
    """And one rejection, and nothing else happens."""
    changed = ORDER_TROUBLES[reason](rig)
    before = (rig.risks(), rig.book.levels(SELL, 0))
    order = {"side": BUY, "price": 5000, "quantity": 10, **changed}
    effects = rig.create(rig.ann, **order)
    assert shape(effects) == ["ann:OrderRejected"]
    assert told_reason(effects, seto.OrderRejectedReason, "ORDER_REJECTED_") == reason
    assert (rig.risks(), rig.book.levels(SELL, 0)) == before
    assert rig.book.levels(BUY, 0) == []


def test_an_exchange_that_is_full_takes_no_more_orders() -> None:
    """CAPACITY_REACHED, whoever asks, until one is gone."""
    rig = Rig(max_live_orders=2)
    first = rig.rest(rig.ann, BUY, 5000, 10)
    rig.rest(rig.bob, BUY, 4000, 10, market_id=OTHER_MARKET)
    effects = rig.create(rig.cyd, SELL, 5000, 10)
    assert told_reason(effects, seto.OrderRejectedReason, "ORDER_REJECTED_") == "CAPACITY_REACHED"
    replacing = messages(rig.replace(rig.ann, first, 4500, 10), seto.OrderCancelReplaceAccepted)
    rig.cancel(rig.ann, replacing[0].order_id)
    rig.rest(rig.cyd, SELL, 5000, 10)


def test_what_is_filled_makes_room_again() -> None:
    """Both sides of it."""
    rig = Rig(max_live_orders=2)
    rig.rest(rig.ann, BUY, 5000, 10)
    rig.rest(rig.bob, SELL, 5000, 10)
    rig.rest(rig.ann, BUY, 5000, 10)
    rig.rest(rig.ann, BUY, 5000, 10)
    assert messages(rig.create(rig.ann, BUY, 5000, 10), seto.OrderRejected)


@pytest.mark.parametrize(
    ("troubles", "reason"),
    [
        (["SERVICE_TEMPORARILY_UNAVAILABLE", "ACCOUNT_SUSPENDED"], "SERVICE_TEMPORARILY_UNAVAILABLE"),
        (["TRADING_SUSPENDED", "ACCOUNT_SUSPENDED"], "ACCOUNT_SUSPENDED"),
        (["TRADING_SUSPENDED", "MARKET_NOT_FOUND"], "TRADING_SUSPENDED"),
        (["CONTRACT_NOT_FOUND", "MARKET_HALTED"], "CONTRACT_NOT_FOUND"),
        (["CONTRACT_SETTLED", "MARKET_HALTED"], "MARKET_HALTED"),
        (["CONTRACT_SETTLED", "STAKE_LIMIT_EXCEEDED"], "CONTRACT_SETTLED"),
        (["INSUFFICIENT_FUNDS", "STAKE_LIMIT_EXCEEDED"], "STAKE_LIMIT_EXCEEDED"),
        (["INSUFFICIENT_FUNDS", "LIMIT_EXCEEDED"], "LIMIT_EXCEEDED"),
        (["CROSSED_SELF", "INSUFFICIENT_FUNDS"], "INSUFFICIENT_FUNDS"),
    ],
)
def test_of_several_reasons_the_first_is_told(rig: Rig, troubles: list[str], reason: str) -> None:
    """The exchange, the account, the place, its state, limits, funds, own orders: in that order."""
    changed: dict[str, Any] = {}
    for trouble in troubles:
        changed |= ORDER_TROUBLES[trouble](rig)
    effects = rig.create(rig.ann, **{"side": BUY, "price": 5000, "quantity": 10, **changed})
    assert told_reason(effects, seto.OrderRejectedReason, "ORDER_REJECTED_") == reason


# --- cancelling, replacing, reducing: what leads to each reason --------------------------------


def filled(rig: Rig) -> dict[str, Any]:
    rig.rest(rig.bob, SELL, 5000, 10)
    return {}


def dead(rig: Rig) -> dict[str, Any]:
    (order_id,) = rig.ann.live_orders
    rig.cancel(rig.ann, order_id)
    return {}


REPLACING_TROUBLES: dict[str, Trouble] = {
    "NOT_FOUND": terms(order_id=77),
    "NOT_LIVE": dead,
    "THROTTLE_EXCEEDED": throttled,
    "SERVICE_TEMPORARILY_UNAVAILABLE": operated("set_backend", up=False),
    "LIMIT_EXCEEDED": operated("set_limits", account="ann", exposure="0.00049999"),
    "INSUFFICIENT_FUNDS": terms(quantity=20_000_001),
    "ACCOUNT_SUSPENDED": operated("suspend_account", account="ann"),
    "TRADING_SUSPENDED": operated("suspend_trading"),
    "MARKET_NOT_FOUND": terms(market_id=OTHER_MARKET),
    "INVALID_QUANTITY": terms(quantity=0),
    "TOO_LATE": filled,
    "STAKE_LIMIT_EXCEEDED": operated("set_limits", account="ann", stake="0.00049999"),
}


@pytest.mark.parametrize("reason", [name for name in CANCEL if name != "CAPACITY_REACHED"])
def test_every_reason_that_leaves_an_original_alone_has_its_condition(rig: Rig, reason: str) -> None:
    """No reason of the enum says that the exchange is full; nothing leads to CAPACITY_REACHED here."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10)
    request = {"order_id": order_id, "price": 5000, "quantity": 10, **REPLACING_TROUBLES[reason](rig)}
    before = (rig.risks(), rig.book.levels(BUY, 0))
    effects = rig.replace(rig.ann, **request)
    assert shape(effects) == ["ann:OrderCancelRejected"]
    assert told_reason(effects, seto.OrderCancelRejectedReason, "ORDER_CANCEL_REJECTED_") == reason
    assert (rig.risks(), rig.book.levels(BUY, 0)) == before


@pytest.mark.parametrize(
    ("reason", "trouble"),
    [
        ("NOT_FOUND", terms(order_id=77)),
        ("NOT_LIVE", dead),
        ("NOT_LIVE", filled),
        ("THROTTLE_EXCEEDED", throttled),
        ("SERVICE_TEMPORARILY_UNAVAILABLE", operated("set_backend", up=False)),
    ],
)
def test_reasons_not_to_cancel(rig: Rig, reason: str, trouble: Trouble) -> None:
    """The others of that enum are for replacing alone."""
    request = {"order_id": rig.rest(rig.ann, BUY, 5000, 10), **trouble(rig)}
    effects = rig.cancel(rig.ann, **request)
    assert shape(effects) == ["ann:OrderCancelRejected"]
    assert told_reason(effects, seto.OrderCancelRejectedReason, "ORDER_CANCEL_REJECTED_") == reason


REDUCING_TROUBLES: dict[str, Trouble] = {
    "NOT_FOUND": terms(order_id=77),
    "NOT_LIVE": filled,
    "CAPACITY_REACHED": operated("set_backend", up=False),
    "THROTTLE_EXCEEDED": throttled,
    "INVALID_NEW_QUANTITY": terms(total=10),
}


@pytest.mark.parametrize("reason", REDUCE)
def test_every_reason_not_to_reduce_has_its_condition(rig: Rig, reason: str) -> None:
    """CAPACITY_REACHED is the nearest to a backend that is away."""
    order_id = rig.rest(rig.ann, BUY, 5000, 10)
    request = {"order_id": order_id, "total": 5, **REDUCING_TROUBLES[reason](rig)}
    effects = rig.reduce(rig.ann, **request)
    assert shape(effects) == ["ann:OrderQuantityReduceRejected"]
    enum = seto.OrderQuantityReduceRejectedReason
    assert told_reason(effects, enum, "ORDER_QUANTITY_REDUCE_REJECTED_") == reason


REPLACED_TROUBLES: dict[str, Trouble] = {
    "CROSSED_SELF": lambda rig: own_offer(rig) | {"price": 5000},
    "MARKET_HALTED": operated("set_market_state", market_id=MARKET, state="HALTED"),
    "MARKET_NOT_OPEN": operated("set_contract_state", market_id=MARKET, contract_id=CONTRACT, state="NEW"),
}


@pytest.mark.parametrize("reason", REPLACED_TROUBLES)
def test_conditions_that_the_new_order_meets_when_the_old_one_is_gone(rig: Rig, reason: str) -> None:
    """The other reasons of that enum cannot come about here, and can be had on purpose."""
    old = rig.rest(rig.ann, BUY, 3000, 10, tif=KIP)
    request = {"price": 2000, "quantity": 10, **REPLACED_TROUBLES[reason](rig)}
    effects = rig.replace(rig.ann, old, **request)
    assert shape(effects)[-2:] == ["ann:OrderPendingReplace", "ann:OrderCancelReplaceRejected"]
    enum = seto.OrderCancelReplaceRejectedReason
    assert told_reason(effects, enum, "ORDER_CANCEL_REPLACE_REJECTED_") == reason
    assert rig.book.levels(BUY, 0) == []


# --- on purpose --------------------------------------------------------------------------------

REQUESTS: dict[str, Callable[[int], Message]] = {
    "order_create": lambda order_id: seto.OrderCreate(
        side=BUY, price=5000, quantity=10, market_id=MARKET, contract_id=CONTRACT, reference=8, label="n"
    ),
    "order_cancel": lambda order_id: seto.OrderCancel(order_id=order_id, reference=8),
    "order_cancel_all": lambda order_id: seto.OrderCancelAll(reference=8),
    "order_quantity_reduce": lambda order_id: seto.OrderQuantityReduce(
        order_id=order_id, new_quantity=5, reference=8
    ),
    "order_cancel_replace": lambda order_id: seto.OrderCancelReplace(
        orig_order_id=order_id, price=4000, quantity=10, reference=8, label="n"
    ),
}
#: What links each refusal to its request, besides the reason (fact sheet 3.2).
PLACE = {"market_id": MARKET, "contract_id": CONTRACT, "side": BUY, "label": "l"}
LINKS: dict[str, tuple[type[Message], dict[str, Any]]] = {
    "order_create": (seto.OrderRejected, {"seq": 6, "reference": 8, "label": "n"}),
    "order_cancel": (seto.OrderCancelRejected, {"order_id": ..., "reference": 8, **PLACE}),
    "order_cancel_all": (seto.OrderCancelAllRejected, {"reference": 8}),
    "order_quantity_reduce": (
        seto.OrderQuantityReduceRejected,
        {"order_id": ..., "new_quantity": 5, "reference": 8, "label": "l"},
    ),
    "order_cancel_replace": (seto.OrderCancelRejected, {"orig_order_id": ..., "reference": 8, **PLACE}),
}
PREFIXES = {
    "order_create": (seto.OrderRejectedReason, "ORDER_REJECTED_", ORDER),
    "order_cancel": (seto.OrderCancelRejectedReason, "ORDER_CANCEL_REJECTED_", CANCEL),
    "order_cancel_all": (seto.OrderCancelAllRejectedReason, "ORDER_CANCEL_ALL_REJECTED_", CANCEL_ALL),
    "order_quantity_reduce": (
        seto.OrderQuantityReduceRejectedReason,
        "ORDER_QUANTITY_REDUCE_REJECTED_",
        REDUCE,
    ),
    "order_cancel_replace": (seto.OrderCancelRejectedReason, "ORDER_CANCEL_REJECTED_", CANCEL),
}


@pytest.mark.parametrize(
    ("request_name", "reason"),
    [(request, reason) for request, (_, _, reasons) in PREFIXES.items() for reason in reasons],
)
def test_any_request_can_be_refused_for_any_reason_it_has(rig: Rig, request_name: str, reason: str) -> None:
    """The refusal is an event, with every field that links it to its request; nothing else happens."""
    order_id = rig.rest(rig.ann, BUY, 3000, 10, label="l")
    rig.operate("refuse_next", account="ann", request=request_name, reason=reason)
    before = (rig.risks(), rig.book.levels(BUY, 0))
    request = REQUESTS[request_name](order_id)
    effects = rig.handle(rig.ann, request, seq=6)
    message_class, links = LINKS[request_name]
    assert shape(effects) == [f"ann:{message_class.__name__}"]
    links = {name: order_id if value is ... else value for name, value in links.items()}
    if (request_name, reason) == ("order_create", "SERVICE_TEMPORARILY_UNAVAILABLE"):
        del links["seq"]  # who says so does not know it
    enum, prefix, _ = PREFIXES[request_name]
    assert fields(effects[0].message, *STAMPS) == {"reason": enum.Value(prefix + reason), **links}
    assert fields(effects[0].message)["account_sequence_64"] == 2
    assert (rig.risks(), rig.book.levels(BUY, 0)) == before
    again = rig.handle(rig.ann, request, seq=7)
    assert not [effect for effect in again if isinstance(effect.message, message_class)]


@pytest.mark.parametrize("reason", INVALID)
def test_an_order_can_be_called_invalid(rig: Rig, reason: str) -> None:
    """To the requester alone, as if it were."""
    rig.operate("refuse_next", account="ann", request="order_create", reason=reason)
    effects = rig.create(rig.ann, BUY, 5000, 10, seq=6, reference=8)
    assert shape(effects) == ["?:OrderInvalid"]
    number = seto.OrderInvalidReason.Value("ORDER_INVALID_" + reason)
    assert effects[0].message == seto.OrderInvalid(seq=6, reasons=[number], reference=8)
    rig.rest(rig.ann, BUY, 5000, 10)


@pytest.mark.parametrize("reason", REPLACE)
def test_a_replacement_can_be_refused_when_the_original_is_gone(rig: Rig, reason: str) -> None:
    """For every reason of its own enum; the original's money is free."""
    old = rig.rest(rig.ann, BUY, 3000, 10, label="l")
    rig.operate("refuse_next", account="ann", request="order_cancel_replace", reason=f"replacement:{reason}")
    effects = rig.replace(rig.ann, old, 4000, 10, reference=8)
    assert shape(effects) == [
        "*:ContractQuotes",
        "ann:OrderPendingReplace",
        "ann:OrderCancelReplaceRejected",
    ]
    pending, rejected = (effect.message for effect in effects[1:])
    assert fields(rejected, *STAMPS) == {
        "order_id": fields(pending)["order_id"],
        "orig_order_id": old,
        "reason": seto.OrderCancelReplaceRejectedReason.Value("ORDER_CANCEL_REPLACE_REJECTED_" + reason),
        "reference": 8,
        **PLACE,
    }
    assert (rig.risks(), rig.book.levels(BUY, 0)) == ([0, 0, 0], [])
    kept = rig.rest(rig.ann, BUY, 3000, 10)
    assert messages(rig.replace(rig.ann, kept, 4000, 10), seto.OrderCancelReplaceAccepted)


def test_what_waits_can_be_read(rig: Rig) -> None:
    """In the words in which it was ordered; what was used up is gone."""
    ordered = [
        ("order_create", "INVALID_PRICE", 1),
        ("order_create", "LIMIT_EXCEEDED", 3),
        ("order_cancel_replace", "replacement:TOO_LATE", 2),
    ]
    for request, reason, times in ordered:
        rig.operate("refuse_next", account="ann", request=request, reason=reason, times=times)
    assert rig.engine.refusals_of(rig.ann) == ordered
    assert rig.engine.refusals_of(rig.bob) == []
    rig.create(rig.ann, BUY, 5000, 10)
    rig.create(rig.ann, BUY, 5000, 10)
    assert rig.engine.refusals_of(rig.ann) == [("order_create", "LIMIT_EXCEEDED", 2), ordered[2]]


def test_a_replacements_refusal_waits_for_one_that_gets_so_far(rig: Rig) -> None:
    """A request that leaves its original alone does not use it up."""
    old = rig.rest(rig.ann, BUY, 3000, 10)
    reason = "replacement:TOO_LATE"
    rig.operate("refuse_next", account="ann", request="order_cancel_replace", reason=reason)
    assert messages(rig.replace(rig.ann, 77, 4000, 10), seto.OrderCancelRejected)
    assert messages(rig.replace(rig.ann, old, 4000, 10), seto.OrderCancelReplaceRejected)


def test_refusals_are_used_up_in_the_order_they_were_given(rig: Rig) -> None:
    """So many times each, by this account and this kind of request alone."""
    for reason, times in (("TRADING_SUSPENDED", 2), ("INVALID_PRICE", 1), ("LIMIT_EXCEEDED", 1)):
        rig.operate("refuse_next", account="ann", request="order_create", reason=reason, times=times)
    rig.rest(rig.bob, BUY, 5000, 10)
    assert messages(rig.cancel(rig.ann, 77), seto.OrderCancelRejected)
    told = [rig.create(rig.ann, BUY, 5000, 10) for _ in range(5)]
    assert [shape(effects)[-1] for effects in told] == [
        "ann:OrderRejected",
        "ann:OrderRejected",
        "?:OrderInvalid",
        "ann:OrderRejected",
        "ann:OrderAccepted",
    ]
    reasons = [only(told[index], seto.OrderRejected).reason for index in (0, 1, 3)]
    assert reasons == [
        seto.ORDER_REJECTED_TRADING_SUSPENDED,
        seto.ORDER_REJECTED_TRADING_SUSPENDED,
        seto.ORDER_REJECTED_LIMIT_EXCEEDED,
    ]


@pytest.mark.parametrize("request_name", ["order_cancel", "order_quantity_reduce", "order_cancel_replace"])
def test_a_refusal_tells_nothing_of_somebody_elses_order(rig: Rig, request_name: str) -> None:
    """It is as unknown as none."""
    bobs = rig.rest(rig.bob, BUY, 3000, 10, label="secret")
    rig.operate("refuse_next", account="ann", request=request_name, reason="THROTTLE_EXCEEDED")
    (effect,) = rig.handle(rig.ann, REQUESTS[request_name](bobs), seq=6)
    assert not {"label", "side", "market_id"} & set(fields(effect.message))


def test_a_refusal_goes_to_the_session_that_asked(rig: Rig) -> None:
    """Whoever made the order has nothing to do with it."""
    order_id = rig.rest(rig.ann, BUY, 3000, 10, session="maker")
    for named in (order_id, 77):
        rig.operate("refuse_next", account="ann", request="order_cancel", reason="THROTTLE_EXCEEDED")
        (effect,) = rig.handle(rig.ann, seto.OrderCancel(order_id=named), session="asker")
        assert effect.sessions == ("asker",)  # type: ignore[union-attr]


# --- over the limit ----------------------------------------------------------------------------


@pytest.mark.parametrize("request_name", REQUESTS)
def test_over_the_limit_a_request_is_refused_in_its_own_words(rig: Rig, request_name: str) -> None:
    """THROTTLE_EXCEEDED wherever there is that reason; cancel-all knows one reason only."""
    order_id = rig.rest(rig.ann, BUY, 3000, 10, label="l")
    before = (rig.risks(), rig.book.levels(BUY, 0))
    request = REQUESTS[request_name](order_id)
    effects = rig.engine.refuse_throttled(rig.ann, request, seq=6, now_us=NOW)
    assert effects is not None
    message_class, links = LINKS[request_name]
    assert shape(effects) == [f"ann:{message_class.__name__}"]
    links = {name: order_id if value is ... else value for name, value in links.items()}
    enum, prefix, reasons = PREFIXES[request_name]
    reason = "THROTTLE_EXCEEDED" if "THROTTLE_EXCEEDED" in reasons else "UNKNOWN_ERROR"
    assert fields(effects[0].message, *STAMPS) == {"reason": enum.Value(prefix + reason), **links}
    assert (rig.risks(), rig.book.levels(BUY, 0)) == before


def test_what_has_no_rejection_is_no_change(rig: Rig) -> None:
    """Nothing was asked that alters anything."""
    before = picture(rig.engine)
    for message in (seto.MarketUnsubscribe(market_id=MARKET), seto.Settings(), seto.PriceFeedSubscribe()):
        assert rig.engine.refuse_throttled(rig.ann, message, seq=6, now_us=NOW) is None
    assert picture(rig.engine) == before


def test_a_request_over_the_limit_uses_up_no_refusal(rig: Rig) -> None:
    """The engine has not seen it."""
    rig.operate("refuse_next", account="ann", request="order_create", reason="LIMIT_EXCEEDED")
    create = REQUESTS["order_create"](0)
    rig.engine.refuse_throttled(rig.ann, create, seq=6, now_us=NOW)
    (effect,) = rig.handle(rig.ann, create)
    assert effect.message.reason == seto.ORDER_REJECTED_LIMIT_EXCEEDED  # type: ignore[attr-defined]


def test_other_contracts_have_nothing_to_do_with_it(rig: Rig) -> None:
    """Own orders cross only in the same contract."""
    rig.rest(rig.ann, SELL, 5000, 10)
    rig.rest(rig.ann, BUY, 6000, 10, contract_id=OTHER_CONTRACT)

"""Chapters of ``vendor_program.py``: orders, what ends and changes them, and everything that refuses them."""

from smarkets.streaming_api import seto_pb2 as seto
from vendor_trader import BUY, SELL, Trader, balances, check, must, short_names


def orders(place):
    """Every time in force, maq, label, reference; fills and balances as the exchange has them."""
    market, contracts = place.market()
    ann, bob = Trader(place, 0).login(), Trader(place, 1).login()
    resting = ann.place_order(market, contracts[0], BUY, 2500, 400_000, label="ann's")
    balance, exposure = balances(place, ann)
    place_of = {"market_id": market, "contract_id": contracts[0]}

    sold = bob.place_order(market, contracts[0], SELL, 2400, 100_000)
    executed = {"price": 2500, "quantity": 100_000, "pending_timeout": None, **place_of}
    bob.expect(
        "seto.order_executed", order_id=sold, side=SELL, available_quantity=0, orig_price=2400, **executed
    )
    bought = ann.expect(
        "seto.order_executed",
        order_id=resting,
        side=BUY,
        label="ann's",
        total_executed_quantity=100_000,
        executed_avg_price=2500,
        available_quantity=300_000,
        **executed,
    )
    found = bought.available_balance, bought.exposure
    check("the resting order's price is the execution's, for both sides", True)
    check(
        "balances are told as the exchange has them", found == (balance, exposure), found, balance, exposure
    )

    tifs = short_names(seto.TimeInForceType, "")
    for number, name in tifs.items():
        order = bob.place_order(market, contracts[1], SELL, 6000, 50_000, tif=number, label=name)
        if number == seto.IMMEDIATE_OR_CANCEL:
            reason = seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY
            bob.expect("seto.order_cancelled", order_id=order, reason=reason, label=name, executed_quantity=0)
    place.control("set_market_state", market_id=market, state="HALTED")
    halted = [
        bob.expect("seto.order_cancelled", reason=seto.ORDER_CANCELLED_MARKET_HALTED).label for _ in "12"
    ]
    ann.expect("seto.order_cancelled", order_id=resting, reason=seto.ORDER_CANCELLED_MARKET_HALTED)
    place.control("set_market_state", market_id=market, state="OPEN")
    expected = ["GOOD_TIL_CANCELLED", "GOOD_TILL_HALTED"]
    check("each time in force does what it says at a halt", sorted(halted) == sorted(expected), halted)

    too_much = ann.place_order(market, contracts[1], BUY, 6000, 90_000, maq=60_000)
    reason = seto.ORDER_CANCELLED_INSUFFICIENT_LIQUIDITY
    ann.expect("seto.order_cancelled", order_id=too_much, reason=reason)
    enough = ann.place_order(market, contracts[1], BUY, 6000, 50_000, maq=50_000)
    ann.expect("seto.order_executed", order_id=enough, quantity=50_000, price=6000)
    bob.expect("seto.order_executed", quantity=50_000, label="KEEP_IN_PLAY")
    check("maq is a minimum for what is executed at once", True)
    ann.logout()
    bob.logout()


def cancels(place):
    """Cancel, cancel-all of the account and of one market, and by everybody else."""
    market, contracts = place.market()
    other, other_contracts = place.market()
    ann = Trader(place, 0).login()
    order = ann.place_order(market, contracts[0], BUY, 2500, 10_000, label="one")
    ann.send(seto.OrderCancel(order_id=order, reference=5))
    cancelled = {"reason": seto.ORDER_CANCELLED_MEMBER_REQUESTED, "executed_quantity": 0, "orig_price": 2500}
    ann.expect("seto.order_cancelled", order_id=order, reference=5, label="one", side=BUY, **cancelled)
    ann.send(seto.OrderCancel(order_id=order, reference=6))
    not_live = seto.ORDER_CANCEL_REJECTED_NOT_LIVE
    ann.expect("seto.order_cancel_rejected", order_id=order, reference=6, label="one", reason=not_live)
    ann.send(seto.OrderCancel(order_id=1, reference=7))
    not_found = seto.ORDER_CANCEL_REJECTED_NOT_FOUND
    ann.expect("seto.order_cancel_rejected", order_id=1, reference=7, label=None, reason=not_found)
    check("an order is cancelled; a second time it is not live, and another is not found", True)

    here = [ann.place_order(market, contracts[0], BUY, 2500 + n, 10_000) for n in range(3)]
    there = [ann.place_order(other, other_contracts[0], BUY, 2500 + n, 10_000) for n in range(2)]
    ann.send(seto.OrderCancelAll(market_id=market, reference=8))
    ann.expect("seto.order_cancel_all_accepted", reference=8)
    gone = [ann.expect("seto.order_cancelled", reference=8, market_id=market).order_id for _ in here]
    must("nothing else is cancelled", "seto.order_cancelled" not in ann.forget() and gone == here, gone)
    ann.send(seto.OrderCancelAll(reference=9))
    ann.expect("seto.order_cancel_all_accepted", reference=9)
    gone = [ann.expect("seto.order_cancelled", reference=9, market_id=other).order_id for _ in there]
    check("cancel-all takes one market's orders, then the account's", gone == there, gone)

    by_staff = ann.place_order(market, contracts[0], BUY, 2500, 10_000)
    place.control("cancel_order", order_id=by_staff)
    ann.expect("seto.order_cancelled", order_id=by_staff, reason=seto.ORDER_CANCELLED_ADMIN_REQUESTED)
    resting = ann.place_order(market, contracts[0], BUY, 2500, 10_000)
    place.control("suspend_trading", account=ann.username)
    place.control("resume_trading", account=ann.username)
    ann.expect("seto.order_cancelled", order_id=resting, reason=seto.ORDER_CANCELLED_TRADING_SUSPENDED)
    place.control("refuse_next", account=ann.username, request="order_cancel_all", reason="UNKNOWN_ERROR")
    ann.send(seto.OrderCancelAll(reference=10))
    ann.expect(
        "seto.order_cancel_all_rejected", reference=10, reason=seto.ORDER_CANCEL_ALL_REJECTED_UNKNOWN_ERROR
    )
    check("orders are cancelled by staff, and after a suspension; cancel-all can be refused", True)
    ann.logout()


def reductions_by_members(place):
    """order_quantity_reduce."""
    market, contracts = place.market()
    ann = Trader(place, 0).login()
    order = ann.place_order(market, contracts[0], BUY, 2500, 100_000, label="r")
    ann.send(seto.OrderQuantityReduce(order_id=order, new_quantity=40_000, reference=3))
    ann.expect(
        "seto.order_quantity_reduced",
        order_id=order,
        new_quantity=40_000,
        reference=3,
        label="r",
        reason=seto.ORDER_QUANTITY_REDUCED_MEMBER_REQUESTED,
    )
    refused = short_names(seto.OrderQuantityReduceRejectedReason, "ORDER_QUANTITY_REDUCE_REJECTED_")
    by_itself = {
        "INVALID_NEW_QUANTITY": (order, 40_000),
        "NOT_FOUND": (1, 10),
    }
    for number, reason in refused.items():
        if reason == "NOT_LIVE":
            continue
        order_id, quantity = by_itself.get(reason, (order, 10_000))
        if reason not in by_itself:
            place.control("refuse_next", account=ann.username, request="order_quantity_reduce", reason=reason)
        ann.send(seto.OrderQuantityReduce(order_id=order_id, new_quantity=quantity, reference=number))
        ann.expect(
            "seto.order_quantity_reduce_rejected",
            order_id=order_id,
            new_quantity=quantity,
            reference=number,
            reason=number,
        )
    ann.send(seto.OrderCancel(order_id=order))
    ann.expect("seto.order_cancelled", order_id=order)
    ann.send(seto.OrderQuantityReduce(order_id=order, new_quantity=10_000))
    ann.expect("seto.order_quantity_reduce_rejected", reason=seto.ORDER_QUANTITY_REDUCE_REJECTED_NOT_LIVE)
    check(f"an order is made smaller; not doing so has {len(refused)} reasons, all seen", True)
    ann.logout()


def replacements(place):
    """order_cancel_replace and both its rejections, with each reason."""
    market, contracts = place.market()
    ann, bob = Trader(place, 0).login(), Trader(place, 1).login()
    old = ann.place_order(market, contracts[0], BUY, 2500, 100_000, label="old")
    bob.place_order(market, contracts[0], SELL, 2500, 30_000)
    ann.expect("seto.order_executed", order_id=old, quantity=30_000)
    bob.expect("seto.order_executed", quantity=30_000)
    bob.logout()
    ann.send(
        seto.OrderCancelReplace(orig_order_id=old, price=2450, quantity=80_000, reference=4, label="new")
    )
    common = {"orig_order_id": old, "price": 2450, "quantity": 80_000, "reference": 4, "label": "new"}
    place_of = {"market_id": market, "contract_id": contracts[0], "side": BUY}
    pending = ann.expect("seto.order_pending_replace", **common, **place_of)
    accepted = ann.expect("seto.order_cancel_replace_accepted", quantity_left=50_000, **common, **place_of)
    check("an order is replaced; what it executed counts", accepted.order_id == pending.order_id != old)
    current = accepted.order_id

    reasons = short_names(seto.OrderCancelRejectedReason, "ORDER_CANCEL_REJECTED_")
    for number, reason in reasons.items():
        place.control("refuse_next", account=ann.username, request="order_cancel_replace", reason=reason)
        ann.send(
            seto.OrderCancelReplace(orig_order_id=current, price=2450, quantity=80_000, reference=number)
        )
        ann.expect(
            "seto.order_cancel_rejected",
            orig_order_id=current,
            order_id=None,
            reference=number,
            reason=number,
            label="new",
            **place_of,
        )
    natural = {
        "NOT_FOUND": {"orig_order_id": 1},
        "NOT_LIVE": {"orig_order_id": old},
        "INVALID_QUANTITY": {"quantity": 30_000},
        "INSUFFICIENT_FUNDS": {"quantity": 2**31 - 1, "price": 9_000},
        "MARKET_NOT_FOUND": {"market_id": market + 1},
    }
    for reason, fields in natural.items():
        values = {"orig_order_id": current, "price": 2450, "quantity": 80_000, **fields}
        ann.send(seto.OrderCancelReplace(**values))
        number = seto.OrderCancelRejectedReason.Value("ORDER_CANCEL_REJECTED_" + reason)
        ann.expect("seto.order_cancel_rejected", reason=number, orig_order_id=values["orig_order_id"])
    check(f"the old order stays for each of {len(reasons)} reasons", True)

    offer = ann.place_order(market, contracts[0], SELL, 9000, 10_000)
    ann.send(seto.OrderCancelReplace(orig_order_id=current, price=9100, quantity=80_000, reference=6))
    ann.expect("seto.order_pending_replace")
    ann.expect(
        "seto.order_cancel_replace_rejected",
        orig_order_id=current,
        reference=6,
        reason=seto.ORDER_CANCEL_REPLACE_REJECTED_CROSSED_SELF,
        **place_of,
    )
    reasons = short_names(seto.OrderCancelReplaceRejectedReason, "ORDER_CANCEL_REPLACE_REJECTED_")
    for number, reason in reasons.items():
        order = ann.place_order(market, contracts[0], BUY, 2000, 10_000)
        place.control(
            "refuse_next",
            account=ann.username,
            request="order_cancel_replace",
            reason="replacement:" + reason,
        )
        ann.send(seto.OrderCancelReplace(orig_order_id=order, price=2100, quantity=10_000))
        ann.expect("seto.order_pending_replace", orig_order_id=order)
        ann.expect("seto.order_cancel_replace_rejected", orig_order_id=order, reason=number)
        ann.send(seto.OrderCancel(order_id=order))
        ann.expect("seto.order_cancel_rejected", order_id=order)
    check(f"the old order is gone and the new one refused for each of {len(reasons)} reasons", True)
    ann.send(seto.OrderCancelReplace(orig_order_id=offer, price=10_000, quantity=10_000))
    must("its price", list(ann.expect("seto.order_invalid").reasons) == [seto.ORDER_INVALID_INVALID_PRICE])
    ann.send(seto.OrderCancel(order_id=offer))
    ann.expect("seto.order_cancelled", order_id=offer)
    ann.logout()


def refusals(place):
    """order_invalid and order_rejected, each reason; those that a client alone can bring about first."""
    market, contracts = place.market()
    ann = Trader(place, 0).login()
    number, reference = ann.create(market, contracts[0], BUY, 10_000, 0)
    invalid = ann.expect("seto.order_invalid", seq=number, reference=reference)
    both = [seto.ORDER_INVALID_INVALID_QUANTITY, seto.ORDER_INVALID_INVALID_PRICE]
    check("a bad order is invalid, quantity before price", list(invalid.reasons) == both)

    own = ann.place_order(market, contracts[0], SELL, 6000, 10_000)
    huge = 2**31 - 1
    seen = {
        refused(ann, market, contracts[0], 9_000, huge),
        refused(ann, market + 10**6, contracts[0], 2_500, 10_000),
        refused(ann, market, contracts[0] + 10**6, 2_500, 10_000),
        refused(ann, market, contracts[0], 6_100, 10_000),
    }
    names = short_names(seto.OrderRejectedReason, "ORDER_REJECTED_")
    alone = {"INSUFFICIENT_FUNDS", "MARKET_NOT_FOUND", "CONTRACT_NOT_FOUND", "CROSSED_SELF"}
    check("refused for what a client brings about itself", {names[n] for n in seen} == alone, seen)

    def after(reason, *commands):
        for command, arguments in commands:
            place.control(command, **arguments)
        found = names[refused(ann, market, contracts[0], 2_500, 10_000)]
        must("refused as " + reason, found == reason, found)
        return reason

    user = {"account": ann.username}
    state = {"market_id": market}
    told = {
        after("MARKET_HALTED", ("set_market_state", {"state": "HALTED", **state})),
        after("MARKET_NOT_OPEN", ("set_market_state", {"state": "NEW", **state})),
        after(
            "LIMIT_EXCEEDED",
            ("set_market_state", {"state": "OPEN", **state}),
            ("set_limits", {"exposure": "0.00", **user}),
        ),
        after("STAKE_LIMIT_EXCEEDED", ("set_limits", {"stake": "0.01", **user})),
        after("ACCOUNT_SUSPENDED", ("set_limits", user), ("suspend_account", user)),
        after("TRADING_SUSPENDED", ("restore_account", user), ("suspend_trading", user)),
        after("SERVICE_TEMPORARILY_UNAVAILABLE", ("resume_trading", user), ("set_backend", {"up": False})),
        after(
            "CONTRACT_SETTLED",
            ("set_backend", {"up": True}),
            ("settle_contract", {"contract_id": contracts[0], "won": True, **state}),
        ),
        after("MARKET_SETTLED", ("settle", {"winners": [contracts[1]], **state})),
    }
    for reason in set(names.values()) - told - alone:
        place.control("refuse_next", request="order_create", reason=reason, **user)
        told.add(after(reason))
    check(f"orders are rejected for each of {len(names)} reasons", told | alone == set(names.values()))
    must("the own order went at the halt", ann.expect("seto.order_cancelled").order_id == own)
    ann.logout()


def refused(trader, market, contract, price, quantity):
    """The reason for which an order to buy is rejected."""
    number, reference = trader.create(market, contract, BUY, price, quantity, label="x")
    rejected = trader.expect("seto.order_rejected", reference=reference, label="x")
    unknown = rejected.reason == seto.ORDER_REJECTED_SERVICE_TEMPORARILY_UNAVAILABLE
    must("the rejection names its request", unknown or rejected.seq == number, rejected)
    return rejected.reason

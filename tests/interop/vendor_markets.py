"""Chapters of ``vendor_program.py``: market data, states, event news, and what becomes of bets."""

from smarkets.streaming_api import seto_pb2 as seto
from vendor_trader import BUY, SELL, Trader, balances, check, must, short_names

#: What ``run.py`` starts the exchange with.
PENDING_MS = 4_000


# --- markets --------------------------------------------------------------------------------------


def quotes(place):
    """A snapshot, deltas with executions, and nothing after unsubscribing; the feeds."""
    market, contracts = place.market()
    ann, bob = Trader(place, 0).login(), Trader(place, 1).login()
    ann.send(seto.MarketSubscribe(market_id=market))
    empty = ann.expect("seto.market_quotes", market_id=market)
    must("the snapshot is empty", not empty.contract_quotes and not empty.executed_volume, empty)
    ann.expect("seto.market_state", market_id=market, state=seto.MARKET_STATE_OPEN)
    bid = bob.place_order(market, contracts[0], BUY, 2500, 30_000)
    delta = ann.expect("seto.contract_quotes", market_id=market, contract_id=contracts[0])
    must("a bid", levels(delta.bids) == {2500: 30_000} and not delta.offers and not delta.executions, delta)
    carl = Trader(place, 2).login()
    carl.place_order(market, contracts[0], SELL, 2500, 50_000)
    delta = ann.expect("seto.contract_quotes")
    must("sold", (levels(delta.bids), levels(delta.offers)) == ({2500: 0}, {2500: 20_000}), delta)
    (execution,) = delta.executions
    found = execution.price, execution.quantity, execution.liquidity
    must("the execution", found == (2500, 30_000, BUY) and execution.microseconds > 0, execution)
    bob.expect("seto.order_executed", order_id=bid)
    ann.send(seto.MarketSubscribe(market_id=market))
    (full,) = ann.expect("seto.market_quotes", executed_volume=30_000).contract_quotes
    must("the whole book", levels(full.offers) == {2500: 20_000} and not full.bids, full)
    found = full.last_execution.price, full.high_price, full.low_price
    must("what was traded", found == (2500, 2500, 2500), full)
    check("a snapshot, deltas with executions, and the whole again", True)

    ann.send(seto.MarketSubscribe(market_id=1))
    ann.expect("seto.market_quotes", market_id=1)
    ann.send(seto.MarketUnsubscribe(market_id=market))
    ann.forget()
    carl.send(seto.OrderCancelAll())
    carl.expect("seto.order_cancelled")
    check("nothing more after unsubscribing", ann.forget() == [])

    ann.send(seto.PriceFeedSubscribe())
    ann.barrier()
    bob.place_order(market, contracts[1], BUY, 1000, 10_000)
    ann.expect("seto.contract_quotes", contract_id=contracts[1])
    ann.send(seto.PriceFeedUnsubscribe())
    ann.barrier()
    bob.send(seto.OrderCancelAll())
    bob.expect("seto.order_cancelled")
    must("the price feed has ended", ann.forget() == [])
    ann.send(seto.MarketFeedSubscribe())
    ann.barrier()
    place.control("set_market_state", market_id=market, state="LIVE", reason="kick-off")
    ann.expect("seto.market_state", market_id=market, state=seto.MARKET_STATE_LIVE, reason="kick-off")
    ann.send(seto.MarketFeedUnsubscribe())
    ann.barrier()
    place.control("set_market_state", market_id=market, state="OPEN")
    check("the price feed and the market feed, until they are left", ann.forget() == [])
    for trader in (ann, bob, carl):
        trader.logout()


def levels(found):
    """Price to quantity."""
    return {quote.price: quote.quantity for quote in found}


def states(place):
    """Every state of a market and of a contract, with reductions."""
    market, contracts = place.market()
    ann = Trader(place, 0).login()
    ann.send(seto.MarketSubscribe(market_id=market))
    ann.expect("seto.market_state", state=seto.MARKET_STATE_OPEN)
    seen = {seto.MARKET_STATE_OPEN}
    for name in ("NEW", "LIVE", "HALTED", "OPEN"):
        place.control("set_market_state", market_id=market, state=name, reason=name.lower())
        number = seto.MarketStateType.Value("MARKET_STATE_" + name)
        seen.add(ann.expect("seto.market_state", state=number, reason=name.lower()).state)
    of_contract = []
    for name in ("NEW", "OPEN", "LIVE", "HALTED"):
        place.control("set_contract_state", market_id=market, contract_id=contracts[0], state=name)
        of_contract.append(contract_state(ann, contracts[0]))
    place.control("reduce", market_id=market, contract_id=contracts[0], factor=2_000, kind="PRICE")
    reduced = contract_state(ann, contracts[0])
    must("reduced", (reduced.reduce_type, reduced.reduce_factor) == (seto.REDUCE_TYPE_PRICE, 2_000), reduced)
    place.control("reduce", market_id=market, contract_id=contracts[0], factor=1, kind="QUANTITY")
    by_quantity = contract_state(ann, contracts[0])
    must("by quantity", by_quantity.reduce_type == seto.REDUCE_TYPE_QUANTITY, by_quantity)
    place.control("settle_contract", market_id=market, contract_id=contracts[0], won=False)
    settled = contract_state(ann, contracts[0])
    place.control("void_contract", market_id=market, contract_id=contracts[1])
    voided = contract_state(ann, contracts[1])
    found = {state.state for state in (*of_contract, reduced, settled, voided)}
    check("every state of a contract", found == set(seto.ContractStateType.values()), found)
    place.control("settle", market_id=market, winners=[contracts[2]])
    seen.add(ann.expect("seto.market_state").state)
    other, _ = place.market()
    ann.send(seto.MarketSubscribe(market_id=other))
    ann.expect("seto.market_state", market_id=other)
    place.control("void_market", market_id=other)
    seen.add(ann.expect("seto.market_state", market_id=other).state)
    check("every state of a market", seen == set(seto.MarketStateType.values()), seen)
    ann.logout()


def contract_state(trader, contract):
    """The contract's part of the next market_state."""
    message = trader.expect("seto.market_state")
    return next(state for state in message.contracts if state.contract_id == contract)


def events(place):
    """The scouting feed: every state and every period, to who has subscribed."""
    ann = Trader(place, 0).login()
    ann.send(seto.EventSubscribe(event_id=77))
    ann.barrier()
    for number, state in short_names(seto.RunningballState, "RUNNINGBALL_STATE_").items():
        place.control("notify_event", event_id=77, state=state, details="here")
        ann.expect(
            "seto.runningball_notification",
            event_id=77,
            state=number,
            details="here",
            period=None,
            playtime=None,
        )
    for number, period in short_names(seto.RunningballPeriod, "RUNNINGBALL_PERIOD_").items():
        place.control(
            "notify_event",
            event_id=77,
            state="SAFE",
            details="",
            period=period,
            playtime=45 * 60_000,
            score_home=2,
            score_away=1,
        )
        ann.expect(
            "seto.runningball_notification",
            period=number,
            playtime=45 * 60_000,
            score_home=2,
            score_away=1,
        )
    ann.send(seto.EventUnsubscribe(event_id=77))
    ann.barrier()
    place.control("notify_event", event_id=77, state="SAFE", details="")
    check("an event's news, in every state and period, until it is left", ann.forget() == [])
    ann.logout()


# --- bets -----------------------------------------------------------------------------------------


def managed_markets(place):
    """Executions that are pending, then confirmed by time, confirmed by hand, or voided."""
    market, contracts = place.market()
    ann, bob = Trader(place, 0).login(), Trader(place, 1).login()
    ann.send(seto.MarketSubscribe(market_id=market))
    ann.expect("seto.market_state")
    place.control("set_managed", market_id=market, managed=True)
    ann.expect("seto.market_managed_state", market_id=market, managed_state=seto.MARKET_MANAGED)
    pairs = []
    for _ in range(3):
        bought = ann.place_order(market, contracts[0], BUY, 2500, 40_000, label="b")
        sold = bob.place_order(market, contracts[0], SELL, 2500, 40_000)
        for trader, order in ((ann, bought), (bob, sold)):
            fill = trader.expect("seto.order_executed", order_id=order, price=2500, quantity=40_000)
            must("the fill is pending", fill.pending_timeout == PENDING_MS, fill)
        pairs.append((bought, sold))
    by_hand, voided, _ = place.control("trades", market_id=market)
    place.control("confirm_trade", trade_id=by_hand["trade_id"])
    ann.expect("seto.order_execute_confirmed", order_id=pairs[0][0], price=2500, quantity=40_000, label="b")
    bob.expect("seto.order_execute_confirmed", order_id=pairs[0][1], price=2500, quantity=40_000)
    place.control("void_trade", trade_id=voided["trade_id"])
    undone = {"price": 2500, "quantity": 40_000, "market_id": market, "contract_id": contracts[0]}
    undone.update(executed_quantity=0, available_quantity=0, orig_price=2500)
    found = ann.expect("seto.order_execute_voided", order_id=pairs[1][0], side=BUY, label="b", **undone)
    must("its money is back", (found.available_balance, found.exposure) == balances(place, ann), found)
    bob.expect("seto.order_execute_voided", order_id=pairs[1][1], side=SELL, **undone)
    ann.expect("seto.order_execute_confirmed", order_id=pairs[2][0])
    bob.expect("seto.order_execute_confirmed", order_id=pairs[2][1])
    check("pending executions are confirmed by hand, by time, and voided", True)
    place.control("set_managed", market_id=market, managed=False)
    ann.expect("seto.market_managed_state", managed_state=seto.MARKET_UNMANAGED)
    ann.logout()
    bob.logout()


def settlements(place):
    """What reductions, voids and settlements do to bets and balances."""
    market, contracts = place.market()
    ann, bob = Trader(place, 0).login(), Trader(place, 1).login()
    bought = ann.place_order(market, contracts[0], BUY, 2500, 40_000, label="s")
    sold = bob.place_order(market, contracts[0], SELL, 2500, 40_000)
    ann.expect("seto.order_executed", order_id=bought)
    bob.expect("seto.order_executed", order_id=sold)
    place.control("reduce", market_id=market, contract_id=contracts[0], factor=5_000, kind="QUANTITY")
    for trader, order, side in ((ann, bought, BUY), (bob, sold, SELL)):
        trader.expect(
            "seto.order_reduced",
            order_id=order,
            price=2500,
            quantity=20_000,
            source_quantity=40_000,
            side=side,
            executed_quantity=20_000,
            available_quantity=0,
            market_id=market,
        )
        balance_is(place, trader, "reduction")
    check("a reduction factor changes what was executed", True)

    before = balances(place, ann)[0]
    place.control("settle", market_id=market, winners=[contracts[0]])
    after = balance_is(place, ann, "settlement")
    balance_is(place, bob, "settlement")
    # 20,000 at 25 % had risked 0.50 and pays 2.00.
    check("a settlement pays, and tells the balance", round(after - before, 4) == 2.0, before, after)

    other, other_contracts = place.market()
    bought = ann.place_order(other, other_contracts[0], BUY, 2500, 40_000, label="v")
    sold = bob.place_order(other, other_contracts[0], SELL, 2500, 40_000)
    ann.expect("seto.order_executed", order_id=bought)
    place.control("void_market", market_id=other)
    for trader, order in ((ann, bought), (bob, sold)):
        trader.expect(
            "seto.order_voided",
            order_id=order,
            quantity=0,
            source_quantity=40_000,
            executed_quantity=0,
            market_id=other,
            contract_id=other_contracts[0],
        )
        balance_is(place, trader, "void")
    check("a void gives back, order by order", True)
    ann.logout()
    bob.logout()


def balance_is(place, trader, reason):
    """balance_changed for that reason, with what the exchange has; the available balance."""
    message = trader.expect("seto.balance_changed", reason=reason)
    found = message.available_balance, message.exposure
    must("the balance after a " + reason, found == balances(place, trader), found, balances(place, trader))
    return message.available_balance

"""Chapters of ``vendor_program.py``: logins and logouts, the session layer, limits, coming back."""

import time

from smarkets.streaming_api import eto_pb2 as eto
from smarkets.streaming_api import seto_pb2 as seto
from smarkets.streaming_api.exceptions import ConnectionError, LoginError, SocketDisconnected
from vendor_trader import BUY, SELL, Trader, check, must, short_names

PINGS = 100
#: What ``run.py`` starts the exchange with.
SILENCE_LIMIT = 8.0
HEARTBEAT = 1.0


# --- logging in and out ---------------------------------------------------------------------------


def logins(place):
    """By password and by token; refused for each reason."""
    try:
        Trader(place, 0, password="not the password").client.login()
    except LoginError as error:
        check("a wrong password is refused", error.reason == eto.LOGOUT_UNAUTHORISED)
    else:
        check("a wrong password is refused", False)

    ann, bob = Trader(place, 0), Trader(place, 1, token=True)
    for trader, how in ((ann, "password"), (bob, "token")):
        trader.first_event = 1
        trader.client.login()
        response = trader.expect("eto.login_response", email=trader.username, reset=2)
        limits = trader.expect("seto.throttle_limits_changed")
        found = limits.average_rate_ps, limits.burst_size, limits.tick_ms
        check(
            "logged in by " + how, trader.client.check_login() and trader.session.session == response.session
        )
        must("the throttle's limits are told", found == (500, 1000, 200), found)
        trader.logout()
    check("both logouts are confirmed", not ann.session.connected and not bob.session.connected)

    reasons = short_names(eto.LogoutReason, "LOGOUT_")
    for number, reason in reasons.items():
        place.control("refuse_login", account=ann.username, reason=reason, times=1)
        trader = Trader(place, 0)
        try:
            trader.client.login()
        except LoginError as error:
            must("the login is refused with " + reason, error.reason == number, error)
        else:
            must("the login is refused with " + reason, False)
    check(f"logins are refused with each of {len(reasons)} reasons", True)

    for number, reason in reasons.items():
        trader = Trader(place, 0).login()
        place.control("log_out", account=ann.username, reason=reason)
        logout = trader.expect("eto.logout")
        must("logged out with " + reason, logout.reason == number, logout)
        must("the SDK has hung up", not trader.session.connected)
    check("sessions are logged out with each of them", True)


def bad_logins(place):
    """What a session must not begin with, said by hand."""
    silent = Trader(place, 0)
    silent.session.socket.connect()
    logout = silent.expect("eto.logout")
    check("no login at all is a login timeout", logout.reason == eto.LOGOUT_LOGIN_TIMEOUT)

    early = Trader(place, 0)
    early.session.socket.connect()
    early.client.ping()
    early.flush()
    logout = early.expect("eto.logout")
    check("a ping before the login is not the first number", logout.reason == eto.LOGOUT_LOGIN_NOT_FIRST_SEQ)

    late = Trader(place, 0)
    late.session.socket.connect()
    late.session.buf_outseq = 2
    say_login(late)
    logout = late.expect("eto.logout")
    check("a login with number 2 is not the first", logout.reason == eto.LOGOUT_LOGIN_NOT_FIRST_SEQ)

    twice = Trader(place, 0).login()
    say_login(twice)
    logout = twice.expect("eto.logout")
    check("a second login is not the first", logout.reason == eto.LOGOUT_LOGIN_NOT_FIRST_SEQ)

    stranger = Trader(place, 0)
    stranger.session.socket.connect()
    say_login(stranger, session="nobody's")
    logout = stranger.expect("eto.logout")
    check("a session that nobody has cannot be resumed", logout.reason == eto.LOGOUT_UNKNOWN_SESSION)


def say_login(trader, session=None):
    """A login by hand."""
    payload = trader.session.out_payload
    payload.Clear()
    payload.type = seto.PAYLOAD_LOGIN
    payload.eto_payload.type = eto.PAYLOAD_LOGIN
    payload.login.username = trader.session.settings.username
    payload.login.password = trader.session.settings.password
    if session is not None:
        payload.eto_payload.login.session = session
    trader.session.send()
    trader.flush()


def old_resumption(place):
    """A session goes on over another connection under its id, with its numbers and subscriptions."""
    market, contracts = place.market()
    ann = Trader(place, 0).login()
    ann.send(seto.MarketSubscribe(market_id=market))
    ann.expect("seto.market_quotes")
    ann.expect("seto.market_state")
    ann.barrier()
    name, next_in, next_out = ann.session.session, ann.session.inseq, ann.session.buf_outseq
    place.control("cut", account=ann.username)
    try:
        while True:
            ann.read()
    except (SocketDisconnected, ConnectionError):
        ann.session.disconnect()
    again = Trader(place, 0)
    again.first_event = ann.first_event
    again.session.inseq = next_in
    again.session.socket.connect()
    again.session.buf_outseq = next_out
    say_login(again, session=name)
    response = again.expect("eto.login_response", session=name)
    must("the client's next number is told", response.reset == next_out + 1, response)
    again.expect("seto.throttle_limits_changed")
    bob = Trader(place, 1).login()
    order = bob.place_order(market, contracts[0], BUY, 3000, 10_000)
    again.expect("seto.contract_quotes", market_id=market)
    check("a session resumed by its id keeps its subscription and numbers", True)
    bob.send(seto.OrderCancel(order_id=order))
    bob.expect("seto.order_cancelled")
    bob.logout()
    again.logout()


# --- the session layer ----------------------------------------------------------------------------


def session_layer(place):
    """Pings, heartbeats both ways, silence, what is missing, and what nobody knows."""
    ann = Trader(place, 0).login()
    for _ in range(PINGS):
        ann.client.ping()
        ann.flush()
    for _ in range(PINGS):
        ann.expect("eto.pong")
    check(f"{PINGS} pings, {PINGS} pongs", True)

    until = time.monotonic() + SILENCE_LIMIT + HEARTBEAT
    while time.monotonic() < until:
        ann.read()
    ann.barrier()
    check(f"{ann.beats} heartbeats, each answered, keep an idle session going", ann.beats > 1)

    place.control("drop", account=ann.username, frames=1, names=["eto.heartbeat"])
    # The one behind it is too high: the SDK drops it and all that follows, and asks for nothing.
    while ann.client.read():
        ann.flush()
    missing = ann.session.inseq
    ann.client.ping()
    ann.flush()
    ann.send_by_hand(eto.PAYLOAD_REPLAY, replay={"seq": missing})
    gapfill = ann.expect("eto.gapfill")
    must("a gapfill has the lost number", gapfill.seq == missing and gapfill.is_replay, gapfill)
    pong = ann.expect("eto.pong")
    check("a replay request brings what was lost, a gapfill for a heartbeat", pong.is_replay)

    place.control("unknown_type", account=ann.username)
    ann.expect("eto.none")
    check("a type newer than the schema comes as eto.none", True)
    place.control("ask_replay", account=ann.username, back=1)
    asked = ann.expect("eto.replay")
    check("the exchange's replay request arrives", asked.seq == ann.session.buf_outseq - 1, asked)
    ann.logout()

    mute = Trader(place, 0).login()
    mute.is_mute = True
    time.sleep(SILENCE_LIMIT + HEARTBEAT)
    logout = mute.expect("eto.logout")
    check("a client that says nothing is logged out", logout.reason == eto.LOGOUT_HEARTBEAT_TIMEOUT)


def throttle(place):
    """Limits change; what is over them is rejected, or answered with throttle_exceeded."""
    market, contracts = place.market()
    ann = Trader(place, 0).login()
    order = ann.place_order(market, contracts[0], BUY, 2500, 10_000)
    ann.barrier()
    place.control("change_limits", account=ann.username, rate=1, burst=1, tick_ms=3_600_000)
    ann.expect("seto.throttle_limits_changed", average_rate_ps=1, burst_size=1, tick_ms=3_600_000)
    ann.client.ping()
    ann.flush()
    ann.expect("eto.pong")
    number, reference = ann.create(market, contracts[0], BUY, 2500, 10_000, label="l")
    ann.expect(
        "seto.order_rejected",
        seq=number,
        reference=reference,
        label="l",
        reason=seto.ORDER_REJECTED_THROTTLE_EXCEEDED,
    )
    ann.send(seto.OrderCancel(order_id=order, reference=7))
    ann.expect(
        "seto.order_cancel_rejected",
        order_id=order,
        reference=7,
        reason=seto.ORDER_CANCEL_REJECTED_THROTTLE_EXCEEDED,
    )
    ann.send(seto.OrderQuantityReduce(order_id=order, new_quantity=5_000))
    ann.expect(
        "seto.order_quantity_reduce_rejected", reason=seto.ORDER_QUANTITY_REDUCE_REJECTED_THROTTLE_EXCEEDED
    )
    ann.send(seto.OrderCancelReplace(orig_order_id=order, price=2400, quantity=10_000))
    ann.expect(
        "seto.order_cancel_rejected",
        orig_order_id=order,
        reason=seto.ORDER_CANCEL_REJECTED_THROTTLE_EXCEEDED,
    )
    ann.send(seto.OrderCancelAll(reference=9))
    ann.expect(
        "seto.order_cancel_all_rejected", reference=9, reason=seto.ORDER_CANCEL_ALL_REJECTED_UNKNOWN_ERROR
    )
    ann.client.ping()
    ann.send(seto.Settings())
    ann.expect("eto.throttle_exceeded")
    ann.expect("eto.throttle_exceeded")
    check("what is over the limit is rejected by its own rejection, or throttle_exceeded", True)
    place.control("change_limits", account=ann.username, rate=500, burst=1000, tick_ms=200)
    ann.expect("seto.throttle_limits_changed", average_rate_ps=500)
    # The bucket is empty; its first refill comes with the next tick.
    time.sleep(0.3)
    ann.send(seto.OrderCancelAll())
    ann.expect("seto.order_cancelled", order_id=order)
    ann.logout()


def failing_sessions(place):
    """Settings, and what they do when the session fails."""
    market, contracts = place.market()
    ann = Trader(place, 0).login()
    watcher = Trader(place, 0).login()
    ann.send(seto.Settings())
    ann.expect("seto.settings_accepted", cancel_all_on_failure=False)
    ann.send(seto.Settings(cancel_all_on_failure=True))
    ann.expect("seto.settings_accepted", cancel_all_on_failure=True)
    ann.send(seto.Settings())
    ann.expect("seto.settings_accepted", cancel_all_on_failure=True)
    order = ann.place_order(market, contracts[0], BUY, 2500, 10_000)
    watcher.expect("seto.order_accepted", order_id=order)
    ann.session.socket.disconnect()
    watcher.expect("seto.order_cancelled", order_id=order, reason=seto.ORDER_CANCELLED_MEMBER_REQUESTED)
    check("settings are told back; a session that fails takes the orders with it", True)
    watcher.logout()


# --- coming back ----------------------------------------------------------------------------------


def resuming(place):
    """A login with an account sequence brings what happened from there on, and only that."""
    market, contracts = place.market()
    ann = Trader(place, 0).login()
    order = ann.place_order(market, contracts[0], BUY, 2500, 40_000)
    last = ann.events[-1][1].account_sequence_64
    ann.logout()
    bob = Trader(place, 1).login()
    bob.place_order(market, contracts[0], SELL, 2500, 10_000)
    bob.logout()
    again = Trader(place, 0, position=last)
    again.client.login()
    again.first_event = last
    again.expect("eto.login_response")
    again.expect("seto.throttle_limits_changed")
    accepted = again.expect("seto.order_accepted", order_id=order, account_sequence_64=last)
    executed = again.expect("seto.order_executed", order_id=order, quantity=10_000)
    missed = executed.account_sequence_64 - accepted.account_sequence_64
    check("a resumed login brings what was missed, from the number that was given", missed == 1)
    again.send(seto.OrderCancel(order_id=order))
    again.expect("seto.order_cancelled", order_id=order, executed_quantity=10_000)
    again.logout()

    everything = Trader(place, 0, position=1)
    everything.first_event = 1
    everything.client.login()
    everything.barrier()
    check(f"a resume from 1 brings all {len(everything.events)} events of the account", True)
    everything.logout()


def downtime(place):
    """Downtime: announced, begun, refused, over."""
    ann = Trader(place, 0).login()
    place.control("begin_downtime", after=0.2)
    logout = ann.expect("eto.logout")
    must("logged out for it", logout.reason == eto.LOGOUT_DOWNTIME, logout)
    try:
        Trader(place, 0).client.login()
    except LoginError as error:
        must("refused for it", error.reason == eto.LOGOUT_DOWNTIME, error)
    else:
        must("refused for it", False)
    place.control("end_downtime")
    Trader(place, 0).login().logout()
    check("a downtime begins, keeps everybody out, and ends", True)

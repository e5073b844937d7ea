"""A program written for the vendor's SDK, run by its own interpreter against the embedded exchange.

Two accounts log in (one by password, one by token), ping a hundred times, place, match, cancel and log
out. Usage: ``python vendor_program.py READY_FILE``. It knows nothing of smarkets_pool.
"""

import json
import sys

from smarkets.streaming_api import eto_pb2, seto_pb2
from smarkets.streaming_api.client import StreamingAPIClient
from smarkets.streaming_api.exceptions import LoginError
from smarkets.streaming_api.session import Session, SessionSettings

PINGS = 100


class Trader:
    """One account: a client of the SDK and what its handlers saw."""

    def __init__(self, where, **credentials):
        settings = SessionSettings(
            host=where["host"], port=where["port"], ssl=False, socket_timeout=15, **credentials
        )
        self.client = StreamingAPIClient(Session(settings))
        self.seen = []
        self.client.add_global_handler(self.note)

    def note(self, name, message):
        """Global handler: name and payload of everything."""
        self.seen.append((name, message.protobuf))

    def until(self, *names):
        """Read until each of the names was seen after the call began; return the last payload."""
        start = len(self.seen)
        wanted = set(names)
        while wanted:
            self.client.read()
            self.client.flush()
            wanted -= {name for name, _ in self.seen[start:]}
        return next(payload for name, payload in reversed(self.seen) if name == names[-1])

    def send(self, message):
        """Send at once; the SDK may write only a part, so until nothing is left."""
        self.client.send(message)
        while self.client.output_buffer_size:
            self.client.flush()

    def ping(self, times):
        """Ping so many times and await as many pongs, in order and counted."""
        before = sum(name == "eto.pong" for name, _ in self.seen)
        for _ in range(times):
            self.client.ping()
            self.client.flush()
        while sum(name == "eto.pong" for name, _ in self.seen) - before < times:
            self.client.read()
            self.client.flush()
        return sum(name == "eto.pong" for name, _ in self.seen) - before


def order(side, where, price, quantity):
    """A limit order in the first contract of the first market."""
    message = seto_pb2.OrderCreate()
    message.type = seto_pb2.ORDER_CREATE_LIMIT
    message.market_id = where["markets"][0]["market_id"]
    message.contract_id = where["markets"][0]["contract_ids"][0]
    message.side = side
    message.quantity_type = seto_pb2.QUANTITY_PAYOFF_CURRENCY
    message.quantity = quantity
    message.price_type = seto_pb2.PRICE_PERCENT_ODDS
    message.price = price
    message.reference = 77
    return message


def check(what, condition):
    """Say what held, or stop."""
    if not condition:
        sys.exit("FAILED: " + what)
    print("ok: " + what)


def main():
    """The whole program."""
    with open(sys.argv[1]) as file:
        where = json.load(file)
    first, second = where["accounts"][:2]

    wrong = Trader(where, username=first["username"], password="not the password")
    try:
        wrong.client.login()
    except LoginError as error:
        check("a wrong password is refused", error.reason == eto_pb2.LOGOUT_UNAUTHORISED)
    else:
        check("a wrong password is refused", False)

    ann = Trader(where, username=first["username"], password=first["password"])
    bob = Trader(where, token=second["token"])
    ann.client.login()
    bob.client.login()
    check("logged in by password", ann.client.check_login() and ann.client.session.session)
    check("logged in by token", bob.client.check_login() and bob.client.session.session)

    check(f"{PINGS} pings, {PINGS} pongs", ann.ping(PINGS) == PINGS)

    subscribe = seto_pb2.MarketSubscribe()
    subscribe.market_id = where["markets"][0]["market_id"]
    ann.send(subscribe)
    quotes = ann.until("seto.market_quotes").market_quotes
    check("the snapshot is of the market", quotes.market_id == subscribe.market_id)

    ann.send(order(seto_pb2.SIDE_BUY, where, 2500, 400000))
    accepted = ann.until("seto.contract_quotes", "seto.order_accepted").order_accepted
    check("an order is placed", accepted.reference == 77 and accepted.order_id > 0)

    bob.send(order(seto_pb2.SIDE_SELL, where, 2400, 100000))
    sold = bob.until("seto.order_accepted", "seto.order_executed").order_executed
    bought = ann.until("seto.order_executed").order_executed
    check("the resting order's price is the execution's", (sold.price, bought.price) == (2500, 2500))
    check("both sides have the quantity", (sold.quantity, bought.quantity) == (100000, 100000))
    check("what is left is reported", bought.available_quantity == 300000)

    cancel = seto_pb2.OrderCancel()
    cancel.order_id = accepted.order_id
    ann.send(cancel)
    cancelled = ann.until("seto.order_cancelled").order_cancelled
    check("the rest is cancelled", cancelled.reason == seto_pb2.ORDER_CANCELLED_MEMBER_REQUESTED)
    ann.send(cancel)
    refused = ann.until("seto.order_cancel_rejected").order_cancel_rejected
    check("a second cancel is refused", refused.reason == seto_pb2.ORDER_CANCEL_REJECTED_NOT_LIVE)

    ann.send(order(seto_pb2.SIDE_BUY, where, 10000, 0))
    reasons = list(ann.until("seto.order_invalid").order_invalid.reasons)
    check(
        "a bad order is invalid, quantity before price",
        reasons == [seto_pb2.ORDER_INVALID_INVALID_QUANTITY, seto_pb2.ORDER_INVALID_INVALID_PRICE],
    )

    for trader, name in ((ann, "first"), (bob, "second")):
        trader.client.logout()
        last_name, last = trader.seen[-1]
        check(
            f"the {name} account's logout is confirmed",
            last_name == "eto.logout" and last.eto_payload.logout.reason == eto_pb2.LOGOUT_CONFIRMATION,
        )

    resumed = Trader(where, username=first["username"], password=first["password"])
    resumed.client.session.account_sequence = 1
    resumed.client.login()
    names = [name for name, _ in resumed.seen]
    while "seto.order_cancelled" not in names:
        resumed.client.read()
        names = [name for name, _ in resumed.seen]
    check("a resumed login brings the account's events again", "seto.order_executed" in names)
    resumed.client.logout()


if __name__ == "__main__":
    main()

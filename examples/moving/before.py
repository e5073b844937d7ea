"""A small trading program, once for ``smk_python_sdk`` 9.4.4 and once for ``smarkets_pool``.

``before.py`` is the program as it was, ``after.py`` the same program moved: compare the two, only their
import lines differ. Start an exchange and give either of them its ready file::

    smarkets-pool exchange --no-tls --ready-file ready.json
    python before.py ready.json     # in an environment with smk_python_sdk 9.4.4
    python after.py ready.json      # in an environment with smarkets_pool

A buyer watches a market and places an order, a seller takes a part of it, the buyer cancels the rest. Both
programs print the same lines.
"""

import json
import sys

from smarkets.streaming_api.api import SIDE_BID, SIDE_OFFER, eto, seto
from smarkets.streaming_api.client import StreamingAPIClient
from smarkets.streaming_api.exceptions import LoginError
from smarkets.streaming_api.session import Session, SessionSettings

PRICE = 2500  # 25.00 %, decimal odds 4
QUANTITY = 400_000  # pays 40.00 if it wins, so the buyer risks 10.00 and the seller 30.00
TAKEN = 150_000


class Trader:
    """One account: a client, and what arrived and nobody has asked for yet."""

    def __init__(self, name, where, login):
        self.name = name
        self.arrived = {}
        settings = SessionSettings(
            login["username"], login["password"], host=where["host"], port=where["port"], ssl=where["tls"]
        )
        self.client = StreamingAPIClient(Session(settings))
        self.client.add_handler("seto.order_rejected", self.refused)
        self.client.add_handler("seto.order_invalid", self.refused)
        self.client.add_global_handler(self.keep)

    def keep(self, name, message):
        """A global handler gets a name and a frame."""
        self.arrived.setdefault(name, []).append(message.protobuf)

    def refused(self, message):
        """A named handler gets the payload."""
        sys.exit(f"{self.name}: order refused, {message}")

    def log_in(self):
        """Log in, however many reads the answer takes."""
        self.client.login(receive=False)
        while self.client.last_login is None:
            self.client.read()
        try:
            self.client.check_login()
        except LoginError as error:
            sys.exit(f"{self.name}: not admitted, {eto.LogoutReason.Name(error.reason)}")
        print(f"{self.name}: logged in")

    def send(self, message):
        """Send now; a flush may write only a part, so until nothing is left."""
        self.client.send(message)
        while self.client.output_buffer_size:
            self.client.flush()

    def next(self, name):
        """The next payload of that name; reads until it is here."""
        while not self.arrived.get(name):
            self.client.read()
            self.client.flush()  # the answers to heartbeats
        return self.arrived[name].pop(0)

    def log_out(self):
        """Log out and disconnect."""
        self.client.logout()
        print(f"{self.name}: logged out")


def order(market, side, quantity):
    """A limit order in the market's first contract."""
    message = seto.OrderCreate()
    message.market_id = market["market_id"]
    message.contract_id = market["contract_ids"][0]
    message.side = side
    message.price = PRICE
    message.quantity = quantity
    return message


def levels(quotes):
    """Prices and quantities, as text."""
    return ", ".join(f"{quote.quantity} at {quote.price}" for quote in quotes) or "nothing"


def main():
    """The whole story."""
    with open(sys.argv[1]) as ready_file:
        where = json.load(ready_file)
    market = where["markets"][-1]

    buyer = Trader("buyer", where, where["accounts"][0])
    seller = Trader("seller", where, where["accounts"][1])
    buyer.log_in()
    seller.log_in()

    subscribe = seto.MarketSubscribe()
    subscribe.market_id = market["market_id"]
    buyer.send(subscribe)
    snapshot = buyer.next("seto.market_quotes").market_quotes
    print("buyer: the market bids", levels(bid for book in snapshot.contract_quotes for bid in book.bids))

    buyer.send(order(market, SIDE_BID, QUANTITY))
    accepted = buyer.next("seto.order_accepted").order_accepted
    print(f"buyer: accepted, {accepted.quantity} at {accepted.price}")
    print("buyer: the market bids", levels(buyer.next("seto.contract_quotes").contract_quotes.bids))

    seller.send(order(market, SIDE_OFFER, TAKEN))
    seller.next("seto.order_accepted")
    for trader in (seller, buyer):
        executed = trader.next("seto.order_executed").order_executed
        print(f"{trader.name}: executed, {executed.quantity} at {executed.price}")
    print("buyer: the market bids", levels(buyer.next("seto.contract_quotes").contract_quotes.bids))

    cancel = seto.OrderCancel()
    cancel.order_id = accepted.order_id
    buyer.send(cancel)
    cancelled = buyer.next("seto.order_cancelled").order_cancelled
    print(f"buyer: cancelled, {cancelled.executed_quantity} had been executed")

    buyer.log_out()
    seller.log_out()


if __name__ == "__main__":
    main()

"""The program of ``before.py`` and ``after.py`` as the next step: both accounts in one ``Pool``.

It takes the same ready file and prints the same lines::

    smarkets-pool exchange --no-tls --ready-file ready.json
    python pooled.py ready.json

What went away: ``read``, ``flush``, and every worry about heartbeats, numbers and connections. A lost one
comes back by itself, with its subscription and with whatever happened meanwhile. What came: the first two
lines, and handlers that get a ``Delivery``, which says whose it is.
"""

from gevent import monkey

monkey.patch_all()  # before every other import

import json
import sys

from gevent.queue import Queue

from smarkets_pool import Account, Pool, seto
from smarkets_pool.exceptions import PoolError

PRICE = 2500  # 25.00 %, decimal odds 4
QUANTITY = 400_000  # pays 40.00 if it wins, so the buyer risks 10.00 and the seller 30.00
TAKEN = 150_000

#: Seconds that an answer may take.
PATIENCE = 10


class Trader:
    """One account: a member of the pool, and what arrived and nobody has asked for yet."""

    NAMES = (
        "seto.market_quotes",
        "seto.contract_quotes",
        "seto.order_accepted",
        "seto.order_executed",
        "seto.order_cancelled",
    )

    def __init__(self, pool, name, where, login):
        self.name = name
        self.pool = pool
        self.arrived = {name: Queue() for name in self.NAMES}
        pool.add(
            Account(
                name,
                username=login["username"],
                password=login["password"],
                host=where["host"],
                port=where["port"],
                ssl=where["tls"],
                ca_file=where["ca_file"],
            )
        )
        for arrived in self.NAMES:
            pool.add_handler(arrived, self.keep, accounts=[name])
        for refused in ("seto.order_rejected", "seto.order_invalid"):
            pool.add_handler(refused, self.refused, accounts=[name])

    def keep(self, delivery):
        """A handler gets a delivery; its ``message`` is the typed one."""
        self.arrived[delivery.name].put(delivery.message)

    def refused(self, delivery):
        """SystemExit leaves a handler and ends the program."""
        sys.exit(f"{delivery.account}: order refused, {delivery.message}")

    def send(self, message):
        """Sent at once; raises MemberDown if there is no connection now."""
        self.pool[self.name].send(message)

    def next(self, name):
        """The next message of that name; other greenlets run while this one waits."""
        return self.arrived[name].get(timeout=PATIENCE)


def order(market, side, quantity):
    """A limit order in the market's first contract."""
    return seto.OrderCreate(
        market_id=market["market_id"],
        contract_id=market["contract_ids"][0],
        side=side,
        price=PRICE,
        quantity=quantity,
    )


def levels(quotes):
    """Prices and quantities, as text."""
    return ", ".join(f"{quote.quantity} at {quote.price}" for quote in quotes) or "nothing"


def main():
    """The whole story."""
    with open(sys.argv[1]) as ready_file:
        where = json.load(ready_file)
    market = where["markets"][-1]

    pool = Pool()
    buyer = Trader(pool, "buyer", where, where["accounts"][0])
    seller = Trader(pool, "seller", where, where["accounts"][1])

    with pool:
        try:
            pool.wait_until_up(timeout=PATIENCE)
        except PoolError as error:
            sys.exit(f"not admitted, {error}")
        for member in pool:
            print(f"{member.name}: logged in")

        pool["buyer"].subscribe(market["market_id"])
        snapshot = buyer.next("seto.market_quotes")
        print("buyer: the market bids", levels(bid for book in snapshot.contract_quotes for bid in book.bids))

        buyer.send(order(market, seto.SIDE_BUY, QUANTITY))
        accepted = buyer.next("seto.order_accepted")
        print(f"buyer: accepted, {accepted.quantity} at {accepted.price}")
        print("buyer: the market bids", levels(buyer.next("seto.contract_quotes").bids))

        seller.send(order(market, seto.SIDE_SELL, TAKEN))
        seller.next("seto.order_accepted")
        for trader in (seller, buyer):
            executed = trader.next("seto.order_executed")
            print(f"{trader.name}: executed, {executed.quantity} at {executed.price}")
        print("buyer: the market bids", levels(buyer.next("seto.contract_quotes").bids))

        buyer.send(seto.OrderCancel(order_id=accepted.order_id))
        cancelled = buyer.next("seto.order_cancelled")
        print(f"buyer: cancelled, {cancelled.executed_quantity} had been executed")
    report = pool.stop()  # the with block has stopped it already; this is its report
    for name in report.logged_out:
        print(f"{name}: logged out")


if __name__ == "__main__":
    main()

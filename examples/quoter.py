"""A quoter on several accounts: both sides around the middle of the book, moved when the book moves.

Runs offline, on the embedded exchange::

    python examples/quoter.py

Three accounts quote one contract each, so they never trade with each other. Somebody else (another pool)
has orders further out, moves the book and takes from the quotes. One quoter loses a frame, another its
connection, and its order is executed meanwhile.

What to look at:

* ``Quoter.act`` is the whole strategy: compare what should stand with what stands, cancel what is wrong, and
  place what is missing once the cancels are confirmed. Every handler notes what it was told and calls it.
* ``Quoter.live`` and ``Quoter.asked`` are the account's own book: orders by ``order_id`` once the exchange
  has accepted them, by our ``reference`` before that. The middle is that of *other people's* orders.
* Nothing is placed between ``member.down`` or ``member.recovering`` and ``member.up``. After a login
  everything is cancelled and begun anew, so that an order in doubt (sent just before a cut) does no harm.
* Stopping a pool cancels nothing: ``Quoter.finish`` does, whatever happened before, and ``cleared`` is set
  when the exchange has confirmed.

The handlers of one account run one at a time and ``send`` never waits, so nothing here needs a lock.
"""

from gevent import monkey

monkey.patch_all()

import dataclasses
import itertools
import logging
import sys

import gevent
import gevent.event

from smarkets_pool import Account, Backoff, Pool, ReconnectPolicy, seto
from smarkets_pool.exceptions import MemberDown, SendBufferFull
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.wire import units

#: Prices are in 1/100 of a percent: this is one percent on either side of the middle.
HALF_SPREAD = 100
#: Quantities are in 1/10,000 of a currency unit of payout: this one pays 40.00 if it wins.
QUANTITY = units.quantity_from_currency("40")
BUY, SELL = seto.SIDE_BUY, seto.SIDE_SELL


def in_words(side, price, quantity):
    """An order in units that people use."""
    word = "buy" if side == BUY else "sell"
    odds = units.decimal_odds(price, places=2)
    payout = units.quantity_in_currency(quantity)
    risk = units.liability(side, price, quantity)
    return f"{word} {quantity} at {price}: {units.percent(price)} %, odds {odds}, pays {payout}, risks {risk}"


@dataclasses.dataclass
class Order:
    """One of our orders; ``left`` is what is not executed yet."""

    side: int
    price: int
    left: int
    order_id: int = 0
    is_touched: bool = False  # a part of it was executed
    is_cancelling: bool = False


class Book:
    """What the exchange shows of one contract: price -> quantity, per side.

    Enough for a book whose levels are all in view. A level that better ones push out of view is not reported
    as gone, so in a deep market this would have to forget it.
    """

    def __init__(self):
        self.levels = {BUY: {}, SELL: {}}

    def take(self, quotes):
        """Apply a change: each quantity is the new total at its price, and 0 removes the level."""
        for side, levels in ((BUY, quotes.bids), (SELL, quotes.offers)):
            for level in levels:
                self.levels[side].pop(level.price, None)
                if level.quantity:
                    self.levels[side][level.price] = level.quantity

    def middle(self, without):
        """Half-way between best bid and best offer, ``without`` these orders; None if one side is empty."""
        ours = {BUY: {}, SELL: {}}
        for order in without:
            ours[order.side][order.price] = ours[order.side].get(order.price, 0) + order.left
        bids, offers = (
            [price for price, total in self.levels[side].items() if total > ours[side].get(price, 0)]
            for side in (BUY, SELL)
        )
        return (max(bids) + min(offers)) // 2 if bids and offers else None


class Quoter:
    """One account that quotes one contract."""

    _references = itertools.count(1)

    def __init__(self, pool, name, market_id, contract_id):
        self.pool = pool
        self.name = name
        self.market_id = market_id
        self.contract_id = contract_id
        self.live = {}  # order_id -> Order: accepted, neither filled nor cancelled
        self.asked = {}  # reference -> Order: sent, not answered yet
        self.book = None  # unknown before the snapshot, and again after a loss of the connection
        self.is_ready = False  # between member.up and what ends it
        self.is_clearing = False  # a cancel of everything is not answered yet
        self.is_finishing = False
        self.placed = self.cancels = self.fills = self.replayed = 0
        self.cleared = gevent.event.Event()
        handlers = {
            "member.up": self.up,
            "member.recovering": self.not_up,
            "member.down": self.not_up,
            "member.gap": self.gap,
            seto.MarketQuotes: self.snapshot,
            seto.ContractQuotes: self.change,
            seto.OrderAccepted: self.accepted,
            seto.OrderRejected: self.refused,
            seto.OrderInvalid: self.refused,
            seto.OrderExecuted: self.executed,
            seto.OrderCancelled: self.cancelled,
            seto.OrderCancelRejected: self.not_cancelled,
            seto.OrderCancelAllAccepted: self.clearing,
            seto.OrderCancelAllRejected: self.not_clearing,
        }
        for what, handler in handlers.items():
            pool.add_handler(what, handler, accounts=[name])
        pool[name].subscribe(market_id)  # remembered, and renewed after each login

    def say(self, text):
        print(f"{self.name}: {text}")

    # --- the strategy ----------------------------------------------------------------------------

    def act(self):
        """Make what stands what should stand; called whenever something has changed."""
        if not self.is_ready or self.is_clearing or self.is_finishing:
            return
        if self.asked or any(order.is_cancelling for order in self.live.values()):
            return  # the answer brings us back here
        wanted = self.wanted_prices()
        wrong = [o for o in self.live.values() if o.is_touched or o.price != wanted.get(o.side)]
        if wrong:
            for order in wrong:
                self.cancel(order)
            return
        standing = {order.side for order in self.live.values()}
        for side, price in wanted.items():
            if side not in standing:
                self.place(side, price)

    def wanted_prices(self):
        """Side -> our price; empty if the book gives no middle."""
        middle = self.book.middle(without=self.live.values()) if self.book is not None else None
        if middle is None or not HALF_SPREAD < middle <= units.MAX_PRICE - HALF_SPREAD:
            return {}
        return {BUY: middle - HALF_SPREAD, SELL: middle + HALF_SPREAD}

    def stands(self):
        """Whether both sides are quoted as wanted and nothing is under way."""
        wanted = self.wanted_prices()
        quotes = {o.side: o.price for o in self.live.values() if not (o.is_touched or o.is_cancelling)}
        is_quiet = self.is_ready and not self.is_clearing and not self.asked
        return is_quiet and bool(wanted) and quotes == wanted

    # --- what we ask for -------------------------------------------------------------------------

    def send(self, message):
        """Send if that can be done now; if not, a change that brings us back to it is on its way."""
        try:
            self.pool[self.name].send(message)
        except (MemberDown, SendBufferFull):
            return False
        return True

    def place(self, side, price):
        others = [o.price for o in (*self.live.values(), *self.asked.values()) if o.side != side]
        if any(price >= other if side == BUY else price <= other for other in others):
            raise AssertionError(f"{price} would meet our own order")  # the exchange would refuse it, too
        reference = next(self._references)
        order = seto.OrderCreate(
            side=side,
            price=price,
            quantity=QUANTITY,
            market_id=self.market_id,
            contract_id=self.contract_id,
            reference=reference,
        )
        if self.send(order):
            self.asked[reference] = Order(side, price, QUANTITY)

    def cancel(self, order):
        order.is_cancelling = self.send(seto.OrderCancel(order_id=order.order_id))

    def cancel_everything(self):
        """Ask for the end of all this account's orders in the market, whether known here or not."""
        self.cleared.clear()
        self.is_clearing = self.send(seto.OrderCancelAll(market_id=self.market_id))

    def finish(self):
        """Quote no more and cancel everything; ``cleared`` is set when that is confirmed."""
        self.is_finishing = True
        self.cancel_everything()

    # --- handlers: the life of the account -------------------------------------------------------

    def up(self, delivery):
        self.is_ready = True
        if delivery.message.cause == "login":
            # What happened meanwhile has been delivered; what is unanswered now never will be answered.
            self.asked.clear()
            self.say(f"up, knows of {len(self.live)} orders of its own; cancels everything to begin anew")
            self.cancel_everything()
        else:
            self.say("up, nothing is missing")
        self.act()

    def not_up(self, delivery):
        if self.is_ready:
            self.say(f"{delivery.name}, does not quote")
        self.is_ready = False
        if delivery.name == "member.down":
            self.book = None
            for order in self.live.values():
                order.is_cancelling = False  # the answer may never come

    def gap(self, delivery):
        if delivery.message.kind == "sent":
            # Something we sent did not arrive, came to be too old, and will not be answered: begin anew.
            self.asked.clear()
            self.cancel_everything()

    # --- handlers: the market --------------------------------------------------------------------

    def snapshot(self, delivery):
        self.book = Book()
        for quotes in delivery.message.contract_quotes:
            if quotes.contract_id == self.contract_id:
                self.book.take(quotes)
        self.act()

    def change(self, delivery):
        if self.book is not None and delivery.message.contract_id == self.contract_id:
            self.book.take(delivery.message)
            self.act()

    # --- handlers: our orders --------------------------------------------------------------------

    def accepted(self, delivery):
        message = delivery.message
        # One that nobody waits for was in doubt, and stands all the same.
        order = self.asked.pop(message.reference, None)
        if order is None:
            order = Order(message.side, message.price, message.quantity)
        order.order_id = message.order_id
        self.live[message.order_id] = order
        self.placed += 1
        self.say(f"quotes, {in_words(order.side, order.price, order.left)}")
        self.act()

    def refused(self, delivery):
        """Somebody has to look at this: quoting on would only repeat it."""
        self.say(f"refused, {delivery.message}")
        self.asked.pop(delivery.message.reference, None)
        self.finish()

    def executed(self, delivery):
        fill = delivery.message
        self.fills += 1
        self.replayed += delivery.is_replay  # sent again by the exchange, and new to us all the same
        self.say(f"executed, {in_words(fill.side, fill.price, fill.quantity)}")
        order = self.live.get(fill.order_id)
        if order is not None:
            order.left -= fill.quantity
            order.is_touched = True
            if order.left <= 0:
                del self.live[fill.order_id]
        self.settle()

    def cancelled(self, delivery):
        if self.live.pop(delivery.message.order_id, None) is not None:
            self.cancels += 1
        self.settle()

    def not_cancelled(self, delivery):
        message = delivery.message
        if message.reason in (seto.ORDER_CANCEL_REJECTED_NOT_FOUND, seto.ORDER_CANCEL_REJECTED_NOT_LIVE):
            self.live.pop(message.order_id, None)
            self.settle()
        elif message.order_id in self.live:
            # The exchange is too busy. Not at once again: the next change brings us back to it.
            self.live[message.order_id].is_cancelling = False

    def clearing(self, delivery):
        """The cancel of everything was accepted; one order_cancelled per order follows."""
        self.is_clearing = False
        for order in self.live.values():
            order.is_cancelling = True
        self.settle()

    def not_clearing(self, delivery):
        self.say("the cancel of everything was refused; asks again in a second")
        gevent.sleep(1)  # a handler may wait; nothing else is to be done for this account meanwhile
        self.cancel_everything()

    def settle(self):
        if not self.live and not self.asked and not self.is_clearing:
            self.cleared.set()
        self.act()


class SomebodyElse:
    """The rest of the market, with a pool of its own."""

    def __init__(self, settings, market_id):
        self.market_id = market_id
        self.pool = Pool([Account("somebody", **settings)])
        self.pool.add_handler(seto.OrderRejected, self.refused)

    def refused(self, delivery):
        raise RuntimeError(f"the story does not go on: {delivery.message}")

    def send(self, contract_id, side, price, quantity, tif=seto.GOOD_TIL_CANCELLED):
        order = seto.OrderCreate(
            side=side,
            price=price,
            quantity=quantity,
            market_id=self.market_id,
            contract_id=contract_id,
            tif=tif,
        )
        self.pool["somebody"].send(order)

    def take(self, quoter, side, quantity):
        """Sell to its bid or buy its offer: at any price, at once or not at all."""
        price = units.MAX_PRICE if side == BUY else units.MIN_PRICE
        print(f"somebody takes {units.quantity_in_currency(quantity)} of payout from {quoter.name}")
        self.send(quoter.contract_id, side, price, quantity, seto.IMMEDIATE_OR_CANCEL)


def wait_for(what, condition, timeout=10):
    with gevent.Timeout(timeout, RuntimeError(f"waited {timeout} s for {what}, in vain")):
        while not condition():
            gevent.sleep(0.005)


def tell(exchange, quoters, somebody):
    """What happens to them."""
    first, second, third = quoters
    usernames = {f"quoter-{n}": login.username for n, login in enumerate(exchange.logins)}

    def all_stand():
        wait_for("the quotes to stand", lambda: all(quoter.stands() for quoter in quoters))

    print("--- somebody makes a book of 40 % to 60 % in each contract")
    for quoter in quoters:
        somebody.send(quoter.contract_id, BUY, 4000, QUANTITY)
        somebody.send(quoter.contract_id, SELL, 6000, QUANTITY)
    all_stand()

    print(f"--- somebody takes a part of a quote of {first.name}: it is cancelled and made anew")
    somebody.take(first, SELL, units.quantity_from_currency("15"))
    wait_for("the execution", lambda: first.fills == 1)
    all_stand()

    print(f"--- somebody bids 44 % in the contract of {second.name}: the middle moves, and the quotes too")
    somebody.send(second.contract_id, BUY, 4400, QUANTITY)
    wait_for("the new quotes", lambda: second.placed == 4)
    all_stand()

    print(f"--- a frame to {third.name} is lost: it pauses until the exchange has sent it again")
    exchange.faults.drop(usernames[third.name])
    somebody.take(third, BUY, units.quantity_from_currency("5"))
    wait_for("the execution", lambda: third.fills == 1)
    all_stand()

    print(f"--- {first.name} loses its connection, and somebody takes its whole offer meanwhile")
    exchange.cut(usernames[first.name], away=60)
    wait_for("the loss", lambda: not first.is_ready)
    somebody.take(first, BUY, QUANTITY)
    wait_for("the trade", lambda: exchange.truth.executions_away == 1)
    exchange.faults.admit_login(usernames[first.name])
    wait_for("its return", lambda: first.is_ready)
    all_stand()


def main():
    # The pool's warnings (connections lost, attempts to come) belong into a log; here they are in the story.
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="  log: %(message)s")
    with EmbeddedExchange(accounts=4, contracts=3) as exchange:
        market_id = exchange.market_ids[0]
        contract_ids = exchange.contract_ids[market_id]
        names = ["quoter-0", "quoter-1", "quoter-2"]
        pool = Pool(
            [Account(name, **exchange.settings_for(n)) for n, name in enumerate(names)],
            reconnect=ReconnectPolicy(backoff=Backoff(initial=0.05, cap=0.2)),
        )
        quoters = [Quoter(pool, name, market_id, contract_ids[n]) for n, name in enumerate(names)]
        somebody = SomebodyElse(exchange.settings_for(3), market_id)
        with somebody.pool, pool:
            somebody.pool.wait_until_up(timeout=10)
            pool.wait_until_up(timeout=10)
            try:
                tell(exchange, quoters, somebody)
            finally:
                print("--- the end: everything is cancelled, then the pool is stopped")
                for quoter in quoters:
                    quoter.finish()
                finished = [quoter.cleared.wait(timeout=5) for quoter in quoters]

        print("the exchange has confirmed that nothing is left:", all(finished))
        # A bot cannot look behind the counter; an example can.
        accounts = [exchange.exchange.accounts[exchange.logins[n].username] for n in range(3)]
        left = sum(len(account.live_orders) for account in accounts)
        print("orders of ours on the exchange:", left)
        print(
            f"{sum(q.placed for q in quoters)} orders placed, {sum(q.cancels for q in quoters)} cancelled; "
            f"{sum(q.fills for q in quoters)} executions, {sum(q.replayed for q in quoters)} by a replay; "
            f"{pool.stats()['handler_errors_total']} handler errors"
        )
        if left or not all(finished):
            sys.exit(1)


if __name__ == "__main__":
    main()

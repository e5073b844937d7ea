"""Accounts come and go while the pool runs: add, update, restart, remove, and out of quarantine.

Runs offline, on the embedded exchange::

    python examples/add_and_remove.py

Every delivery about the life of an account is printed, below the call that led to it. What to look at:

* An account that is added connects at once, and every handler without a filter works for it, too.
* ``restart`` and ``update`` log the account out and in again. A logout that *we* wanted is no
  ``member.down``: what is delivered is ``member.recovering`` and ``member.up``. Position and subscriptions
  are kept, so the market's snapshot arrives anew.
* Both make a new member. Ask the pool for it (``pool["bob"]``) or take ``delivery.member``; one that was
  kept from before stays DOWN for ever.
* A refused password is final: ``member.down`` with ``retry_in`` None, the reason in ``member.given_up``, and
  no further attempt, since more of them could lock the account. ``update`` with a better one lifts that. A
  password may also be a function; it is asked at each login.
* ``remove`` logs out and forgets the account; its orders stay at the exchange if nobody cancels them.
"""

from gevent import monkey

monkey.patch_all()

import logging
import sys

import gevent

from smarkets_pool import Account, Pool, seto
from smarkets_pool.exceptions import ConfigError, MemberDown, PoolError
from smarkets_pool.exchange import EmbeddedExchange


def main():
    # An account that is given up is logged as an error, too; here the log is in the story.
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="  log: %(message)s")
    with EmbeddedExchange(accounts=3) as exchange:
        market_id = exchange.market_ids[0]
        alice, bob, carol = (exchange.settings_for(n) for n in range(3))
        pool = Pool([Account("alice", **alice)])
        told = []

        def tell(delivery):
            message, words = delivery.message, f"{delivery.name} to {delivery.account}"
            if delivery.name == "member.recovering":
                asked = "nothing" if message.resumed_from is None else f"event {message.resumed_from}"
                words += f", resumed from {asked}"
            elif delivery.name == "member.down":
                words += f", retry_in {message.retry_in}"
            print("   delivered:", words)
            told.append((delivery.account, delivery.name))

        for name in ("member.recovering", "member.up", "member.down"):
            pool.add_handler(name, tell)
        for name in (seto.MarketQuotes, seto.OrderAccepted, seto.OrderCancelled):
            pool.add_handler(name, tell)

        def wait_until_told(account, *names):
            """A state changes at once, its delivery waits for its turn; here the story waits for that."""
            with gevent.Timeout(10, RuntimeError(f"{account} was not told {names}, only {told}")):
                while not all((account, name) in told for name in names):
                    gevent.sleep(0.005)
            told.clear()

        with pool:
            print("the pool is started with alice")
            wait_until_told("alice", "member.up")

            print("add bob, subscribe him to a market, place an order")
            bobs_first = pool.add(Account("bob", **bob))
            bobs_first.subscribe(market_id)  # still DOWN: it is sent after the login
            pool.wait_until_up(timeout=10)
            bobs_first.send(
                seto.OrderCreate(
                    side=seto.SIDE_BUY,
                    price=2500,
                    quantity=400_000,
                    market_id=market_id,
                    contract_id=exchange.contract_ids[market_id][0],
                )
            )
            wait_until_told("bob", "member.up", "seto.market_quotes", "seto.order_accepted")

            print("restart bob")
            pool.restart("bob")
            wait_until_told("bob", "member.up", "seto.market_quotes")
            try:
                bobs_first.send(seto.OrderCancelAll())
            except MemberDown as error:
                print("   the member from before:", error)

            print("add a name twice, or one login under two names")
            for account in (Account("bob", **carol), Account("robert", **bob)):
                try:
                    pool.add(account)
                except ConfigError as error:
                    print("   refused:", error)

            print("add carol with a wrong password")
            pool.add(Account("carol", **{**carol, "password": "a typing error"}))
            try:
                pool.wait_until_up(timeout=10)
            except PoolError as error:
                print("   wait_until_up raised PoolError about", ", ".join(error.reasons))
            wait_until_told("carol", "member.down")
            print("   given_up:", pool["carol"].given_up)

            print("update carol's password")
            pool.update("carol", password=carol["password"])
            wait_until_told("carol", "member.up")
            print("   given_up:", pool["carol"].given_up)

            print("remove alice")
            pool.remove("alice")
            print("   the pool has", ", ".join(member.name for member in pool))

            print("cancel bob's order, which has outlived a session, and stop")
            pool["bob"].send(seto.OrderCancelAll())
            wait_until_told("bob", "seto.order_cancelled")
        report = pool.stop()  # the with block has stopped it already; this is its report
        print("logged out:", ", ".join(report.logged_out))


if __name__ == "__main__":
    main()

"""Many accounts in one process, one handler per message type.

Runs offline, on the embedded exchange::

    python examples/many_accounts.py

Nine accounts buy, the tenth sells to all of them. Every handler gets a ``Delivery``: which account, which
message, its number in the account's history. Handlers of one account run in order, accounts side by side.
"""

from gevent import monkey

monkey.patch_all()

import gevent.event

from smarkets_pool import Account, Pool, seto
from smarkets_pool.exchange import EmbeddedExchange

ACCOUNTS = 10


def main() -> None:
    with EmbeddedExchange(accounts=ACCOUNTS) as exchange:
        market_id = exchange.market_ids[0]
        contract_id = exchange.contract_ids[market_id][0]
        pool = Pool(Account(f"account-{n}", **exchange.settings_for(n)) for n in range(ACCOUNTS))
        seller = pool["account-0"]
        standing, bought = set(), set()
        all_standing, all_bought = gevent.event.Event(), gevent.event.Event()

        @pool.on("member.up")
        def up(delivery):
            if delivery.member is not seller:
                order = seto.OrderCreate(
                    side=seto.SIDE_BUY,
                    price=5000,
                    quantity=20_000,
                    market_id=market_id,
                    contract_id=contract_id,
                )
                delivery.member.send(order)

        @pool.on(seto.OrderAccepted)
        def accepted(delivery):
            standing.add(delivery.account)
            if len(standing - {"account-0"}) == ACCOUNTS - 1:
                all_standing.set()

        @pool.on(seto.OrderExecuted)
        def executed(delivery):
            fill = delivery.message
            print(f"{delivery.account}: {fill.quantity} at {fill.price}, event {delivery.account_sequence}")
            bought.add(delivery.account)
            if len(bought) == ACCOUNTS:
                all_bought.set()

        @pool.on("seto.order_rejected")
        def rejected(delivery):
            print(f"{delivery.account}: rejected, reason {delivery.message.reason}")

        with pool:
            pool.wait_until_up(timeout=10)
            assert all_standing.wait(5), "not every order was accepted"
            seller.send(
                seto.OrderCreate(
                    side=seto.SIDE_SELL,
                    price=5000,
                    quantity=20_000 * (ACCOUNTS - 1),
                    market_id=market_id,
                    contract_id=contract_id,
                )
            )
            assert all_bought.wait(5), "not every order was executed"
            stats = pool.stats()
            print(f"{stats['up']} accounts up, {stats['frames_received_total']} frames received")


if __name__ == "__main__":
    main()

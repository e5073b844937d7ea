"""Stopping in order: SIGTERM or Ctrl-C cancels what rests, logs every account out, lets handlers finish.

Runs offline, on the embedded exchange, and sends itself the signal after a second, in the middle of its
handlers' work::

    python examples/clean_shutdown.py

What to look at:

* The main greenlet blocks in ``pool.join()`` for as long as the bot trades. It returns when the pool was
  stopped, and also when every account is given up: then there is nothing left to wait for.
* A signal runs ``shut_down`` in a greenlet of its own. Nothing new is placed from there on. ``pool.stop``
  does not cancel orders, so that comes first, to every account that has a connection; the confirmations are
  waited for, with a limit. An account that is DOWN keeps its orders, unless it has ``cancel_on_failure``.
* ``pool.stop`` has one deadline for everything: logouts and their confirmations, handlers that still run,
  sockets. Its report names what had to be cut or killed; a second call returns the same report.
"""

from gevent import monkey

monkey.patch_all()

import os
import signal

import gevent
import gevent.event

from smarkets_pool import DOWN, Account, Pool, seto
from smarkets_pool.exceptions import Error
from smarkets_pool.exchange import EmbeddedExchange

ACCOUNTS = 5


def main() -> None:
    with EmbeddedExchange(accounts=ACCOUNTS) as exchange:
        market_id = exchange.market_ids[0]
        contract_id = exchange.contract_ids[market_id][0]
        pool = Pool(Account(f"account-{n}", **exchange.settings_for(n)) for n in range(ACCOUNTS))
        live, unconfirmed, done = set(), set(), []
        stopping = gevent.event.Event()

        @pool.on("member.up")
        def up(delivery):
            if not stopping.is_set():  # or an account that comes back meanwhile would place again
                order = seto.OrderCreate(
                    side=seto.SIDE_BUY,
                    price=2500,
                    quantity=400_000,
                    market_id=market_id,
                    contract_id=contract_id,
                )
                delivery.member.send(order)

        @pool.on(seto.OrderAccepted)
        def accepted(delivery):
            live.add((delivery.account, delivery.message.order_id))
            gevent.sleep(1.5)  # a handler may block, and it is in the middle of that when the signal comes
            done.append(delivery.account)

        @pool.on(seto.OrderCancelled)
        def cancelled(delivery):
            live.discard((delivery.account, delivery.message.order_id))

        @pool.on(seto.OrderCancelAllAccepted)
        def cancelling(delivery):
            unconfirmed.discard(delivery.account)

        def cancel_everything(timeout):
            for member in pool:
                if member.state is not DOWN:
                    try:
                        member.send(seto.OrderCancelAll())
                        unconfirmed.add(member.name)
                    except Error as error:  # one account's trouble must not keep the others from it
                        print(f"{member.name}: nothing cancelled, {error}")
            with gevent.Timeout(timeout, False):
                while unconfirmed or live:
                    gevent.sleep(0.01)

        def shut_down():
            stopping.set()
            print(f"asked to stop; {len(live)} orders rest, {ACCOUNTS - len(done)} handlers run")
            try:
                cancel_everything(timeout=5)
                print(f"cancelled; {len(live)} orders rest")
            finally:
                pool.stop(timeout=10)

        # gevent runs it in a new greenlet: a handler of the signal module itself may not wait.
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, shut_down)

        with pool:
            gevent.spawn_later(1, os.kill, os.getpid(), signal.SIGTERM)
            print("running; SIGTERM or Ctrl-C ends it")
            pool.join()

        report = pool.stop()  # it has stopped already; this is its report
        print(f"stopped in {report.took:.2f} s, cleanly: {report.clean}")
        print("logged out:", ", ".join(report.logged_out))
        print("handlers finished for:", ", ".join(sorted(done)))


if __name__ == "__main__":
    main()

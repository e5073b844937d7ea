"""Stopping in order: SIGTERM or Ctrl-C logs every account out, lets handlers finish, and says what it did.

Runs offline, on the embedded exchange, and sends itself the signal after two seconds::

    python examples/clean_shutdown.py
"""

from gevent import monkey

monkey.patch_all()

import os
import signal

import gevent
import gevent.event

from smarkets_pool import Account, Pool
from smarkets_pool.exchange import EmbeddedExchange


def main() -> None:
    with EmbeddedExchange(accounts=5) as exchange:
        pool = Pool(Account(f"account-{n}", **exchange.settings_for(n)) for n in range(5))
        done = []

        @pool.on("member.up")
        def up(delivery):
            gevent.sleep(0.2)  # a handler may block; stop() waits for it
            done.append(delivery.account)

        # The signal only asks: the main greenlet below does the work.
        asked = gevent.event.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, asked.set)

        pool.start()
        pool.wait_until_up(timeout=10)
        gevent.spawn_later(2, os.kill, os.getpid(), signal.SIGTERM)
        print("running; waiting for SIGTERM")
        asked.wait()

        report = pool.stop(timeout=10)  # one deadline for everything
        print(f"stopped in {report.took:.2f} s, cleanly: {report.clean}")
        print("logged out:", ", ".join(report.logged_out))
        print("handlers finished for:", ", ".join(sorted(done)))


if __name__ == "__main__":
    main()

"""Handlers that wait, compute and fail: what they cost their own account, and what they cost the others.

Runs offline, on the embedded exchange and a small web server of its own::

    python examples/blocking_handlers.py

What to look at:

* A handler may wait: sleep, ask a web server, wait for an event of another account. It holds up its own
  account's deliveries and nothing else: heartbeats go on (one handler here sleeps longer than this exchange
  puts up with silence) and the other accounts' handlers run. ``monkey.patch_all()`` is what makes this so.
* A handler that computes holds up *everything*, since nothing in it waits. Moved to the hub's thread pool it
  is a wait like any other.
* A handler that raises is logged and reported to ``pool.on_error``; the next delivery is handled as usual.
* An account whose handlers do not keep up is read no further once 10,000 of its deliveries wait. The
  exchange is told by TCP, the program by ``member.slow_handler``.
"""

from gevent import monkey

monkey.patch_all()  # without it, each wait below would stop the whole process

import http.client
import logging
import time

import gevent
import gevent.event
from gevent.pywsgi import WSGIServer

from smarkets_pool import Account, Pool, TimeoutPolicy, seto
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings

#: Shorter than the sleep below, so that a session whose heartbeats waited for handlers would be ended.
SILENCE_LIMIT = 0.9
SLEEP = 1.1
#: A thousand more than may wait for the handlers of one account.
CHANGES = 11_000


def slow_service(environ, start_response):
    """A web server that takes its time, as the risk service of some bots does."""
    gevent.sleep(0.4)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"within the limits"]


def compute():
    """Work for the processor, in which nothing waits."""
    end, rounds = time.perf_counter() + 0.2, 0
    while time.perf_counter() < end:
        rounds += sum(range(100))
    return rounds


class Pulse:
    """Looks at how long the program is held up: every greenlet is late by that much."""

    def __init__(self):
        self.worst = 0.0
        self.greenlet = gevent.spawn(self.run)

    def run(self):
        while True:
            began = time.monotonic()
            gevent.sleep(0.005)
            self.worst = max(self.worst, time.monotonic() - began - 0.005)

    def read(self):
        """The longest hold-up since the last reading."""
        gevent.sleep(0.02)  # let it wake up and see what has just been
        worst, self.worst = self.worst, 0.0
        return worst


class Waiting:
    """Three accounts that wait, each in its way, and one that goes on, computes, and fails."""

    def __init__(self, exchange, service):
        self.exchange = exchange
        self.service = service
        self.market_id = exchange.market_ids[0]
        self.answered = gevent.event.Event()
        self.jobs = {  # by the label of the order that was accepted
            "compute here": compute,
            "compute in a thread": lambda: gevent.get_hub().threadpool.apply(compute),
            "fail": self.fail,
        }
        self.done = []
        names = ("sleeper", "asker", "waiter", "other")
        timeouts = TimeoutPolicy(heartbeat_after=0.15)
        self.pool = Pool(
            [Account(name, **exchange.settings_for(n)) for n, name in enumerate(names)], timeouts=timeouts
        )
        self.pool.add_handler("member.up", self.sleep, accounts=["sleeper"])
        self.pool.add_handler("member.up", self.ask, accounts=["asker"])
        self.pool.add_handler("member.up", self.wait, accounts=["waiter"])
        self.pool.add_handler(seto.OrderAccepted, self.accepted, accounts=["other"])
        self.pool.on_error(self.failed)

    # --- handlers that wait ----------------------------------------------------------------------

    def sleep(self, delivery):
        time.sleep(SLEEP)  # patched: other greenlets run meanwhile
        self.tell("sleeper", f"has slept for {SLEEP} s")
        self.done.append("sleep")

    def ask(self, delivery):
        connection = http.client.HTTPConnection(*self.service, timeout=10)
        connection.request("GET", "/limit")
        self.tell("asker", f"the service says {connection.getresponse().read().decode()!r}")
        connection.close()
        self.answered.set()

    def wait(self, delivery):
        if self.answered.wait(timeout=10):
            self.tell("waiter", "has heard of the asker's answer")

    # --- handlers that compute, and one that fails -----------------------------------------------

    def accepted(self, delivery):
        label = delivery.message.label
        if label in self.jobs:
            self.jobs[label]()
        self.done.append(label)

    def fail(self):
        raise ValueError("a mistake in a handler")

    def failed(self, delivery, error):
        self.tell(delivery.account, f"a handler of {delivery.name} raised {error!r}")

    # --- the story -------------------------------------------------------------------------------

    def tell(self, who, what):
        print(f"   {who}: {what}")

    def order(self, label):
        self.pool["other"].send(
            seto.OrderCreate(
                side=seto.SIDE_BUY,
                price=2500,
                quantity=10_000,
                market_id=self.market_id,
                contract_id=self.exchange.contract_ids[self.market_id][0],
                label=label,
            )
        )

    def run(self):
        pulse = Pulse()
        with self.pool:
            self.pool.wait_until_up(timeout=10)
            print("three accounts wait in their handlers; the other one trades on")
            trades = 0
            with gevent.Timeout(10, RuntimeError("the sleeper sleeps on and on")):
                while "sleep" not in self.done:
                    self.order("trade")
                    trades += 1
                    gevent.sleep(0.05)
            wait_for("the last trade", lambda: self.done.count("trade") == trades)
            sleeper = self.pool["sleeper"].stats()
            print(
                f"   other: {trades} orders placed and handled meanwhile; sleeper: "
                f"{sleeper['frames_sent_total']} frames sent, {sleeper['disconnects_total']} disconnects"
            )

            for label in ("compute here", "compute in a thread"):
                pulse.read()
                self.order(label)
                wait_for(label, lambda label=label: label in self.done)
                print(f"{label}: longest hold-up of everything {pulse.read():.2f} s")

            print("a handler fails; the next delivery is handled all the same")
            self.order("fail")
            self.order("after the failure")
            wait_for("the order after it", lambda: "after the failure" in self.done)
            errors, lost = (self.pool.stats()[key] for key in ("handler_errors_total", "disconnects_total"))
        pulse.greenlet.kill()
        print(f"   handler errors: {errors}, disconnects: {lost}")


class NotKeepingUp:
    """One account whose handler has something else to do while the exchange goes on."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.market_id = exchange.market_ids[0]
        self.pool = Pool([Account("slow", **exchange.settings_for(0))])
        self.states = 0
        self.told = False
        self.pool.add_handler(seto.MarketState, self.market_state)
        self.pool.add_handler("member.slow_handler", self.slow_handler)

    def market_state(self, delivery):
        self.states += 1
        if self.states == 2:  # the first came with the subscription
            while delivery.member.stats()["inbox_frames"] < 10_000:
                time.sleep(0.01)

    def slow_handler(self, delivery):
        """It stands behind the deliveries that waited; the log has a line as soon as it happens."""
        slow = delivery.message
        print(f"   {slow.frames} deliveries waited for {slow.handler}; reading was paused")
        self.told = True

    def run(self):
        print(f"a handler does not keep up with {CHANGES} changes of a market")
        with self.pool:
            self.pool["slow"].subscribe(self.market_id)
            wait_for("the subscription", lambda: self.states == 1)
            for n in range(CHANGES):
                state = seto.MARKET_STATE_LIVE if n % 2 == 0 else seto.MARKET_STATE_OPEN
                self.exchange.exchange.set_market_state(self.market_id, state, self.exchange.now())
                if n % 200 == 0:
                    gevent.sleep(0.001)  # let it be sent
            wait_for("all changes", lambda: self.states == CHANGES + 1 and self.told, timeout=20)
            stats = self.pool.stats()
        print(f"   then all {self.states - 1} were handled; disconnects: {stats['disconnects_total']}")


def wait_for(what, condition, timeout=10):
    with gevent.Timeout(timeout, RuntimeError(f"waited {timeout} s for {what}, in vain")):
        while not condition():
            gevent.sleep(0.005)


def main():
    # The log has the traceback of every handler that failed; here the story tells of it.
    logging.getLogger("smarkets_pool").setLevel(logging.CRITICAL)
    server = WSGIServer(("127.0.0.1", 0), slow_service, log=None)
    server.start()
    settings = ExchangeSettings(silence_limit=SILENCE_LIMIT)
    with EmbeddedExchange(accounts=4, settings=settings) as exchange:
        Waiting(exchange, server.address).run()
    server.stop()
    with EmbeddedExchange(accounts=1) as exchange:
        NotKeepingUp(exchange).run()


if __name__ == "__main__":
    main()

"""What an account is told when frames and connections are lost, and that nothing is missing afterwards.

Runs offline, on the embedded exchange, whose faults lose frames, leave numbers out and cut connections::

    python examples/lifecycle_and_gaps.py

Every ``member.*`` delivery is printed with its fields, and every execution. What to look at:

* A lost frame: ``member.gap`` with the missing numbers comes before anything that came after them; the
  exchange sends them again (``is_replay``), and ``member.up`` says that nothing is missing any more.
* A lost connection: ``member.down`` with the reason and the seconds to the next attempt;
  ``member.recovering`` with the number of the account's event after which the exchange was asked to go on;
  then what happened meanwhile, with ``is_replay`` although it is new to us; then ``member.up``.
* A history that is too short: what the exchange has no more is announced, with its bounds, as a gap that is
  not recoverable. It comes before the first event behind it.
* An exchange that is silent for too long is asked, and that is ``member.stalled``.

At the end what the handlers were given is compared with what the exchange knows to have happened.
"""

from gevent import monkey

monkey.patch_all()

import dataclasses
import logging
import sys

import gevent

from smarkets_pool import Account, Backoff, Pool, ReconnectPolicy, TimeoutPolicy, seto
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings

LIFE = ("member.recovering", "member.up", "member.down", "member.gap", "member.stalled")
#: Events per account that this exchange keeps for those who come back; the real one's number is not public.
HISTORY = 6


def wait_for(what, condition, timeout=10):
    with gevent.Timeout(timeout, RuntimeError(f"waited {timeout} s for {what}, in vain")):
        while not condition():
            gevent.sleep(0.005)


class Story:
    """Two accounts and what their handlers were given."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.market_id = exchange.market_ids[0]
        self.contract_id = exchange.contract_ids[self.market_id][0]
        self.usernames = {"buyer": exchange.logins[0].username, "seller": exchange.logins[1].username}
        self.handled = {"buyer": [], "seller": []}  # account -> (its number, name) of every event
        self.missing = {"buyer": [], "seller": []}  # account -> the numbers that were announced as lost
        self.life = []  # the buyer's member.* deliveries
        reconnect = ReconnectPolicy(backoff=Backoff(initial=0.05, cap=0.2))
        # A heartbeat of the exchange every five seconds is normal; the buyer asks after a quarter of one.
        impatient = TimeoutPolicy(probe_after=0.25, give_up_after=5.0)
        self.pool = Pool(
            [
                Account("buyer", **exchange.settings_for(0), timeouts=impatient),
                Account("seller", **exchange.settings_for(1)),
            ],
            reconnect=reconnect,
        )
        for name in LIFE:
            self.pool.add_handler(name, self.tell, accounts=["buyer"])
        self.pool.add_handler(seto.OrderExecuted, self.executed, accounts=["buyer"])
        self.pool.add_handler("member.gap", self.gap)
        self.pool.add_global_handler(self.note)

    # --- handlers --------------------------------------------------------------------------------

    def tell(self, delivery):
        """A lifecycle message is a plain dataclass; the error in it has its figures as attributes."""
        fields = dataclasses.asdict(delivery.message)
        if "error" in fields:
            fields["error"] = type(fields["error"]).__name__
        shown = {key: f"{value:.2f}" if isinstance(value, float) else value for key, value in fields.items()}
        print(f"   {delivery.name}:", ", ".join(f"{key}={value}" for key, value in shown.items()))
        self.life.append(delivery)

    def executed(self, delivery):
        print(f"   executed: event {delivery.account_sequence}, is_replay={delivery.is_replay}")

    def gap(self, delivery):
        """Only kind "account" means that events are lost for good; the others have their own meanings."""
        if delivery.message.kind == "account":
            self.missing[delivery.account].extend(range(delivery.message.first, delivery.message.last + 1))

    def note(self, delivery):
        if delivery.account_sequence is not None:
            self.handled[delivery.account].append((delivery.account_sequence, delivery.name))

    # --- what happens ----------------------------------------------------------------------------

    def send(self, name, side, quantity):
        self.pool[name].send(
            seto.OrderCreate(
                side=side,
                price=5000,
                quantity=quantity,
                market_id=self.market_id,
                contract_id=self.contract_id,
            )
        )

    def told(self, name):
        return [delivery.message for delivery in self.life if delivery.name == name]

    def truth(self, name):
        """What really happened to an account, in the form of ``handled``."""
        return [(e.account_sequence, e.name) for e in self.exchange.truth.events(self.usernames[name])]

    def wait_until_handled(self, name):
        """Until the account was given (or told to be without) the last thing that happened to it."""
        wait_for(f"the last event of {name}", lambda: self.handled[name][-1:] == self.truth(name)[-1:])

    def lose_a_frame(self):
        print("a frame is lost")
        self.exchange.faults.drop(self.usernames["buyer"])
        ups = len(self.told("member.up"))
        self.send("seller", seto.SIDE_SELL, 10_000)  # the lost frame is the execution
        wait_for("the execution", lambda: self.exchange.truth.executions == 2)
        self.send("seller", seto.SIDE_SELL, 10_000)  # with the next one the gap shows
        wait_for("the end of the gap", lambda: len(self.told("member.up")) > ups)
        self.wait_until_handled("buyer")

    def leave_numbers_out(self):
        print("three numbers are left out")
        self.exchange.faults.skip(self.usernames["buyer"], numbers=3)
        ups = len(self.told("member.up"))
        self.send("seller", seto.SIDE_SELL, 10_000)
        wait_for("the end of the gap", lambda: len(self.told("member.up")) > ups)
        self.wait_until_handled("buyer")

    def lose_the_connection(self, executions, inside):
        where = "in the middle of a frame" if inside else "between two frames"
        print(f"the connection is cut {where}; {executions} executions before it is back")
        user, truth = self.usernames["buyer"], self.exchange.truth
        downs, ups, away = len(self.told("member.down")), len(self.told("member.up")), truth.executions_away
        self.exchange.cut(user, inside=inside, away=60)
        wait_for("the loss", lambda: len(self.told("member.down")) > downs)
        for _ in range(executions):
            self.send("seller", seto.SIDE_SELL, 10_000)
        wait_for("the executions", lambda: truth.executions_away == away + executions)
        self.exchange.faults.admit_login(user)
        wait_for("the return", lambda: len(self.told("member.up")) > ups)
        self.wait_until_handled("buyer")

    def run(self):
        with self.pool:
            print("the first login")
            self.pool.wait_until_up(timeout=10)
            wait_for("member.up", lambda: self.told("member.up"))
            self.send("buyer", seto.SIDE_BUY, 1_000_000)
            wait_for("the buyer's order", lambda: self.handled["buyer"])

            self.lose_a_frame()
            self.leave_numbers_out()
            self.lose_the_connection(executions=2, inside=True)
            print(f"(this exchange keeps the last {HISTORY} events of an account)")
            self.lose_the_connection(executions=HISTORY + 2, inside=False)

            print("a quarter of a second without a frame")
            stalls = len(self.told("member.stalled"))
            wait_for("member.stalled", lambda: len(self.told("member.stalled")) > stalls)
            self.wait_until_handled("seller")
            stats = self.pool.stats()

        print()
        gaps = f"{stats['gaps_found_total']} found, {stats['gaps_filled_total']} filled"
        print(f"gaps in sessions: {gaps}; connections lost: {stats['disconnects_total']}")
        is_true = True
        for name in self.pool:
            handled, lost, truth = self.handled[name.name], self.missing[name.name], self.truth(name.name)
            expected = [event for event in truth if event[0] not in lost]
            is_true = is_true and handled == expected
            print(
                f"{name.name}: {len(truth)} events happened, {len(handled)} handled, "
                f"{len(lost)} announced as lost" + (f" {lost}" if lost else "")
            )
        print("every event was handled once and in order, or announced as lost:", is_true)
        return is_true


def main():
    logging.getLogger("smarkets_pool").setLevel(logging.ERROR)  # its warnings would tell the same again
    with EmbeddedExchange(accounts=2, settings=ExchangeSettings(history_limit=HISTORY)) as exchange:
        if not Story(exchange).run():
            sys.exit(1)


if __name__ == "__main__":
    main()

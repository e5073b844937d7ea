"""``smarkets-pool demo``: fifty accounts log in, trade, lose their connections and come back."""

from __future__ import annotations

import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import gevent

from smarkets_pool import Account, Backoff, Pool, ReconnectPolicy, seto
from smarkets_pool.cli.process import ExchangeProcess
from smarkets_pool.cli.traders import Record, Traders
from smarkets_pool.cli.verdict import Comparison, compare
from smarkets_pool.cli.watch import Figures, View, open_view
from smarkets_pool.exceptions import Error
from smarkets_pool.pool import DOWN, UP

__all__ = ["demo"]

CUTS = 10
DROPS = 20
_ORDERS_PER_SECOND = 60
_QUANTITY = 100_000
#: The first price of the orders that are executed while their owners are away.
_AWAY_PRICE = 5000


@click.command()
@click.option("--accounts", default=50, show_default=True, type=click.IntRange(4), help="How many trade.")
@click.option(
    "--seconds", default=15.0, show_default=True, type=click.FloatRange(2.0), help="How long they trade."
)
@click.option("--seed", type=int, help="Of the traders' choices; a new one is made up and shown otherwise.")
@click.option("--json", "how", flag_value="json", help="One JSON object per line on standard output.")
@click.option("--lines", "how", flag_value="lines", help="Plain lines, also on a terminal.")
def demo(accounts: int, seconds: float, seed: int | None, how: str | None) -> None:
    """Run many accounts against the embedded exchange (a second process, TLS on loopback).

    Half-way ten connections are cut, and while each is down another account executes one of its orders;
    twenty frames are dropped. At the end what the handlers saw is compared with what the exchange knows
    to have happened; the exit status is 0 only if nothing was lost and nothing was handled twice.
    """
    seed = secrets.randbelow(10**6) if seed is None else seed
    # Python's own way would strike whichever greenlet runs, and leave the exchange and the cursor behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)
    try:
        with open_view(how) as view:
            view.say(f"demo: {accounts} accounts for {seconds:g} s, seed {seed}", event="demo", seed=seed)
            with ExchangeProcess(accounts=accounts, contracts=3, heartbeat=1.0) as exchange:
                passed = _Demo(exchange, seconds, random.Random(seed), view).run()
            view.say("passed" if passed else "FAILED", event="verdict", passed=passed)
    except Error as error:
        raise click.ClickException(str(error)) from error
    sys.exit(0 if passed else 1)


class _Demo:
    def __init__(self, exchange: ExchangeProcess, seconds: float, chance: random.Random, view: View) -> None:
        self._exchange = exchange
        self._view = view
        self._seconds = seconds
        self._began_trading = 0.0
        self._chance = chance
        where = exchange.description
        self._usernames = {
            f"account-{number}": login["username"] for number, login in enumerate(where["accounts"], 1)
        }
        names = list(self._usernames)
        self._pool = Pool(
            [
                Account(
                    name,
                    username=login["username"],
                    password=login["password"],
                    host=where["host"],
                    port=where["port"],
                    ca_file=where["ca_file"],
                )
                for name, login in zip(names, where["accounts"], strict=True)
            ],
            reconnect=ReconnectPolicy(backoff=Backoff(initial=0.25, cap=2.0)),
        )
        contracts = {market["market_id"]: market["contract_ids"] for market in where["markets"]}
        # The first contract of all is kept for the orders that are executed while their owners are away.
        first = next(iter(contracts))
        self._away_market, self._away_contract = first, contracts[first][0]
        contracts[first] = contracts[first][1:]
        self._record = Record(names)
        self._traders = Traders(self._pool, contracts, names, chance)
        self._figures = Figures(self._pool)
        self._pool.add_global_handler(self._record.note)
        self._pool.on_error(self._record.note_error)
        self._dropped = 0

    # --- the story -------------------------------------------------------------------------------

    def run(self) -> bool:
        """Tell the story and judge it."""
        self._say(f"exchange: process {self._exchange.pid}, TLS on port {self._exchange.description['port']}")
        self._view.watch(self._figures)
        with self._pool:
            self._pool.wait_until_up(timeout=60)
            self._say(f"all {len(self._pool)} accounts are up")
            began = self._began_trading = time.monotonic()
            half = began + self._seconds / 2
            self._trade_until(half - 0.2 * self._seconds)
            self._trade_until(half, drops=DROPS // 2)
            self._cut_some()
            # However long the cuts took, there is time left in which frames can be dropped.
            end = max(began + self._seconds, time.monotonic() + 0.2 * self._seconds)
            self._trade_until(end, drops=DROPS - self._dropped)
            self._traders.trading = False
            truth = self._settle()
            self._view.done = 1.0
            self._view.look(self._figures)
            self._view.unwatch()  # what stays on the screen is the end of the story, not of the pool
            stats = self._pool.stats()
        return self._summary(truth, stats, compare(truth, self._record, self._usernames))

    def _trade_until(self, end: float, drops: int = 0) -> None:
        """Takers take; now and then a frame is dropped, spread evenly over the time there is."""
        start = time.monotonic()
        pause = max(0.001, (end - start) / max(1, drops))
        next_drop = start + pause / 2 if drops else end
        while (now := time.monotonic()) < end:
            self._traders.take_once()
            self._view.done = min(0.95, (now - self._began_trading) / self._seconds)
            if drops and now >= next_drop:
                drops -= 1
                next_drop += pause
                self._drop_one()
            gevent.sleep(1 / _ORDERS_PER_SECOND)
        for _ in range(drops):
            self._drop_one()

    def _drop_one(self) -> None:
        # A maker watches a market, so its next frame comes soon; an away one would only lose its login's.
        up = [name for name in self._traders.makers if self._pool[name].state is UP]
        if up:
            self._dropped += 1
            self._exchange.command("drop", account=self._usernames[self._chance.choice(up)])

    def _cut_some(self) -> None:
        """Cut connections, and while each is down have another account execute one of its orders."""
        left = CUTS
        while left:
            victims = self._chance.sample(self._traders.makers, min(left, len(self._traders.makers)))
            self._cut_round(victims, CUTS - left)
            left -= len(victims)

    def _cut_round(self, victims: list[str], number: int) -> None:
        self._wait("the accounts to be up", lambda: all(self._pool[name].state is UP for name in victims))
        labels = [f"away-{number + index}" for index in range(len(victims))]
        place = (self._away_market, self._away_contract)
        for index, (name, label) in enumerate(zip(victims, labels, strict=True)):
            self._until_sent(name, *place, seto.SIDE_BUY, _AWAY_PRICE + index, _QUANTITY, label)
        self._wait("their orders to be accepted", lambda: self._traders.accepted_labels.issuperset(labels))
        for name in victims:
            self._exchange.command("cut", account=self._usernames[name], away=60.0)
        self._wait(
            "the connections to be down", lambda: all(self._pool[name].state is DOWN for name in victims)
        )
        self._say(f"{len(victims)} connections cut; other accounts execute their orders meanwhile")
        # Orders over different connections arrive in any order, so each is ready to meet any of theirs.
        taken = []
        for index in range(len(victims)):
            taker = self._traders.takers[index % len(self._traders.takers)]
            taken.append(f"taken-{number + index}")
            self._until_sent(taker, *place, seto.SIDE_SELL, _AWAY_PRICE, _QUANTITY, taken[-1])
        self._wait("the executions", lambda: self._traders.executed_labels.issuperset(taken), seconds=20.0)
        for name in victims:
            self._exchange.command("admit", account=self._usernames[name])
        self._wait("the accounts to come back", lambda: all(self._pool[name].state is UP for name in victims))
        self._say(f"{len(victims)} accounts are back")

    def _until_sent(self, name: str, *order: Any) -> None:
        self._wait(f"{name} to be able to send", lambda: self._traders.place(self._pool[name], *order))

    def _settle(self) -> dict[str, Any]:
        """Wait until every account has handled what the exchange has for it; return the truth."""
        truth: dict[str, Any] = {}

        def quiet() -> bool:
            nonlocal truth
            truth = self._exchange.command("truth")
            events, stats = truth["accounts"], self._pool.stats()
            gaps_closed = stats["gaps_found_total"] == stats["gaps_filled_total"]
            all_dropped = _count(truth, "drop") >= self._dropped
            if not all_dropped:
                self._traders.ask_for_frames()  # a drop that waits for a frame to lose gets one
            return (gaps_closed and all_dropped) and all(
                self._pool[name].state is UP
                and (self._pool[name].position or 0) == (events[user][-1][0] if events.get(user) else 0)
                for name, user in self._usernames.items()
            )

        try:
            self._wait("everything to arrive", quiet, seconds=15.0, pause=0.2)
        except Error as error:
            self._say(str(error))  # the comparison will say what is missing
        return truth

    # --- words -----------------------------------------------------------------------------------

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 30.0, pause: float = 0.01) -> None:
        with gevent.Timeout(seconds, Error(f"waited {seconds:g} s for {what}, in vain")):
            while not ready():
                gevent.sleep(pause)

    def _say(self, text: str) -> None:
        self._view.say(text)

    def _summary(self, truth: dict[str, Any], stats: dict[str, Any], seen: Comparison) -> bool:
        dropped, cut = _count(truth, "drop"), _count(truth, "cut")
        away = truth["counters"]["executions_away"]
        found, filled = stats["gaps_found_total"], stats["gaps_filled_total"]
        reconnects = stats["logins_total"] - len(self._usernames)
        checks = [
            ("all accounts up at the end", stats["up"], stats["up"] == len(self._usernames)),
            ("frames received", stats["frames_received_total"], stats["frames_received_total"] > 0),
            ("orders accepted", truth["counters"]["orders_accepted"], self._traders.orders > 0),
            ("executions", truth["counters"]["executions"], self._traders.executions > 0),
            ("events compared with the truth", seen.events, seen.events > 0),
            ("connections cut", cut, cut >= CUTS),
            ("reconnects", reconnects, reconnects >= CUTS),
            ("executions while away", away, away >= CUTS),
            ("frames dropped", dropped, dropped >= DROPS),
            ("gaps found", found, found > 0),
            ("gaps filled", filled, filled == found),
            ("holes", self._record.holes, self._record.holes == 0),
            ("events lost", seen.lost, seen.lost == 0),
            ("events handled twice", seen.twice, seen.twice == 0),
            ("events out of order", seen.unordered, seen.unordered == 0),
            ("events with other contents", seen.different, seen.different == 0),
            ("handler errors", self._record.handler_errors, self._record.handler_errors == 0),
        ]
        self._view.summary("summary, against the exchange's own truth", checks)
        return all(good for _, _, good in checks)


def _count(truth: dict[str, Any], kind: str) -> int:
    return sum(fault["kind"] == kind for fault in truth["faults"])

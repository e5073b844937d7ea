"""Harm over real connections, beside clients that must notice nothing: ``python -m tests.fuzz.siege``.

An exchange, half of the time over TLS; a pool of good accounts that trade with each other all the time; and
hostile visits, many at once, each of a kind that has its own function in ``visitors``. At the end the good
accounts have had every event there was, in order, without a gap or a reconnect, and of the visitors nothing
is left.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence

from gevent import monkey

monkey.patch_all()

import itertools
import json
import subprocess
from typing import Any

import gevent

from smarkets_pool import Account, Delivery, Pool, seto
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
from tests.fuzz.invariants import Finding, check_books, check_money
from tests.fuzz.visitors import KINDS
from tests.rig.waiting import eventually

__all__ = ["Siege", "Tally"]

GOOD = 4
HOSTILE = 3
#: Short, so that visits that wait for it end.
LOGIN_TIMEOUT = 1.0
OUT_BUFFER = 512 << 10
#: A handshake is given ten seconds, and then some for a slow machine.
GONE_SECONDS = 30.0
GROWTH = 96 << 20
ALL = tuple(kind.__name__ for kind in KINDS)
_TROUBLE = ("member.down", "member.gap", "member.stalled")


@dataclasses.dataclass
class Tally:
    """What was done."""

    visits: Counter[str] = dataclasses.field(default_factory=Counter)
    orders: int = 0
    events: int = 0
    executions: int = 0
    lines: int = 0
    grown: int = 0
    #: Seconds from an order to its answer, at worst.
    slowest: float = 0.0

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.visits.items()))
        return (
            f"{sum(self.visits.values())} hostile visits ({kinds}); the good accounts sent {self.orders} "
            f"orders and had {self.events} events ({self.executions} executions), all in order and none "
            f"missing, the slowest answer after {self.slowest:.3f} s; {self.lines} log lines; memory grew by "
            f"{self.grown >> 20} MiB"
        )


# --- the whole ------------------------------------------------------------------------------------


class _Lines(logging.Handler):
    """Counts what is logged, and keeps what should not be."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.count = 0
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        if record.levelno >= logging.ERROR:
            self.errors.append(self.format(record))


class Siege:
    """One exchange, its good clients and its visitors; a context manager."""

    def __init__(self, seed: int = 0, *, tls: bool = True) -> None:
        self.seed = seed
        self.tally = Tally()
        self.exchange = EmbeddedExchange(
            accounts=GOOD + HOSTILE,
            tls=tls,
            settings=ExchangeSettings(login_timeout=LOGIN_TIMEOUT, out_buffer_limit=OUT_BUFFER),
        )
        self.heard: dict[str, list[int]] = {}
        self.trouble: list[Delivery] = []
        self.refused: list[Delivery] = []
        self._asked: dict[tuple[str, int], float] = {}
        self._lines = _Lines()
        self._traders: list[Any] = []

    # --- life ---

    def __enter__(self) -> Siege:
        logger = logging.getLogger("smarkets_pool")
        self._before = logger.level, logger.propagate
        logger.level, logger.propagate = logging.INFO, False
        logger.addHandler(self._lines)
        self.exchange.start()
        self.pool = Pool(Account(f"good-{n}", **self.exchange.settings_for(n)) for n in range(GOOD))
        self.pool.add_global_handler(self._on_delivery)
        self.pool.start()
        self.pool.wait_until_up(timeout=20)
        self._descriptors = _descriptors()
        return self

    def __exit__(self, *_: object) -> None:
        gevent.killall(self._traders)
        self.pool.stop()
        self.exchange.stop()
        logger = logging.getLogger("smarkets_pool")
        logger.removeHandler(self._lines)
        logger.level, logger.propagate = self._before

    def _on_delivery(self, delivery: Delivery) -> None:
        if delivery.account_sequence:
            self.heard.setdefault(delivery.account, []).append(delivery.account_sequence)
        if delivery.name == "seto.order_accepted":
            asked = self._asked.pop((delivery.account, delivery.message.reference))
            self.tally.slowest = max(self.tally.slowest, time.monotonic() - asked)
        if delivery.name in _TROUBLE:
            self.trouble.append(delivery)
        if delivery.name in ("seto.order_rejected", "seto.order_invalid"):
            self.refused.append(delivery)

    # --- the good ones ---

    def trade(self) -> None:
        """Have the good accounts trade until the end."""
        self._traders = [gevent.spawn(self._trade, number) for number in range(GOOD)]

    def _trade(self, number: int) -> None:
        market_id = self.exchange.market_ids[-1]
        member = self.pool[f"good-{number}"]
        for reference in itertools.count(1):
            self._asked[member.name, reference] = time.monotonic()
            member.send(
                seto.OrderCreate(
                    # Odd ones buy from even ones: none meets himself.
                    side=seto.SIDE_BUY if number % 2 else seto.SIDE_SELL,
                    price=2500,
                    quantity=1_000,
                    reference=reference,
                    market_id=market_id,
                    contract_id=self.exchange.contract_ids[market_id][0],
                )
            )
            self.tally.orders += 1
            gevent.sleep(0.05)

    # --- the others ---

    def assault(self, seconds: float, kinds: Sequence[str] = ALL) -> None:
        """Let visitors come for so long, at least one of each kind; then wait until all are gone."""
        market_id = self.exchange.market_ids[0]
        place = {
            "host": self.exchange.host,
            "port": self.exchange.port,
            "tls": self.exchange.tls,
            "market_id": market_id,
            "logins": [
                [login.username, login.password, login.token] for login in self.exchange.logins[GOOD:]
            ],
            "seconds": seconds,
            "seed": self.seed,
            "kinds": list(kinds),
        }
        program = [sys.executable, "-m", "tests.fuzz.visitors"]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as visitors:
            try:
                said = self._watch(visitors, json.dumps(place), seconds)
            finally:
                visitors.kill()
        if visitors.returncode:
            raise AssertionError(f"the visitors ended with status {visitors.returncode}")
        self.tally.visits.update(json.loads(said))

    def _watch(self, visitors: Any, place: str, seconds: float) -> str:
        """Look whether everything holds until the visitors are gone; what they said."""
        talk = gevent.spawn(visitors.communicate, place)
        began, at_first = time.monotonic(), 0
        while not talk.ready():
            talk.join(0.1)
            self.look()
            # What is grown is seen from the first third on: before that things are made that stay.
            if not at_first and time.monotonic() > began + seconds / 3:
                at_first = _memory()
        self.tally.grown = max(0, _memory() - at_first) if at_first else 0
        said: str = talk.get()[0]
        return said

    # --- what must hold ---

    def look(self) -> None:
        """What must hold at any time."""
        if self.trouble or self.refused:
            raise Finding(f"a good account noticed: {[*self.trouble, *self.refused][0]}")
        if self._lines.errors:
            raise Finding(f"logged as an error: {self._lines.errors[0]}")

    def settle_accounts(self) -> None:
        """What must hold at the end: nothing is missing, and nobody is left."""
        gevent.killall(self._traders)
        truth = self.exchange.truth
        names = [self.exchange.logins[number].username for number in range(GOOD)]
        eventually(
            lambda: all(
                len(self.heard.get(f"good-{number}", [])) == len(truth.events(name))
                for number, name in enumerate(names)
            ),
            timeout=20,
        )
        for number, name in enumerate(names):
            told = [event.account_sequence for event in truth.events(name)]
            if self.heard[f"good-{number}"] != told:
                raise Finding(f"{name} was not told everything in order")
            self.tally.events += len(told)
            self.tally.executions += sum(e.name == "seto.order_executed" for e in truth.events(name))
        eventually(lambda: len(self.exchange.exchange.peers) == GOOD, timeout=GONE_SECONDS)
        eventually(lambda: _descriptors() <= self._descriptors, timeout=GONE_SECONDS)
        self.tally.lines = self._lines.count
        self.look()
        engine = self.exchange.exchange
        check_books(engine)
        points = int(engine.settings.opening_balance.scaleb(8)) * (GOOD + HOSTILE)
        check_money(engine, points)
        if self.tally.grown > GROWTH:
            raise Finding(f"memory grew by {self.tally.grown >> 20} MiB")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _memory() -> int:
    """Bytes of this process in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main() -> int:
    """Read the arguments and go."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for tls in (True, False):
        with Siege(arguments.seed, tls=tls) as siege:
            siege.trade()
            siege.assault(arguments.seconds / 2)
            siege.settle_accounts()
            print(f"siege {'over TLS' if tls else 'without TLS'}: {siege.tally}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

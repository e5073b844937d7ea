"""Plays ``test_money`` for minutes, each round from another seed, and prints what was played.

python -m tests.exchange.property --minutes 4
python -m tests.exchange.property --seed 123 --rounds 1    # a round that failed, again
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from tests.exchange.test_money import Play

EXAMPLES, STEPS = 60, 40
#: Figure -> what the plays counted under that name.
SHOWN = {
    "examples": "examples",
    "steps": "steps",
    "orders": "orders",
    "trades": "trades",
    "voided executions": "OrderExecutedVoid",
    "confirmed executions": "OrderExecuteConfirmed",
    "reduced orders": "OrderReduced",
    "voided orders": "OrderVoided",
    "replacements": "OrderCancelReplaceAccepted",
    "settlements of markets": "settlements of markets",
    "settlements of contracts": "settlements of contracts",
    "messages compared": "messages",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=4.0, help="no new round begins after these")
    parser.add_argument("--rounds", type=int, default=10_000, help=f"at most so many, of {EXAMPLES} examples")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    begun = time.monotonic()
    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    rounds = 0
    while rounds < arguments.rounds and time.monotonic() - begun < arguments.minutes * 60:
        seed = arguments.seed + rounds
        print(f"round {rounds + 1}: seed {seed}, {Play.figures['steps']:,} steps so far", flush=True)
        hypothesis.seed(seed)(Play)
        run_state_machine_as_test(Play, settings=settings)
        rounds += 1
    print(f"{rounds} rounds in {time.monotonic() - begun:,.0f} s, nothing found:")
    for name, counted in SHOWN.items():
        print(f"{Play.figures[counted]:>12,} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

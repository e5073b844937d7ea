"""Faults that wait for their moment, in the order in which they were asked for.

A *plan* waits for something of one account (or of any): a frame on its way out, a login, a replay request,
a connection. Whoever is about to do that asks ``take``, which finds the oldest plan that applies and counts
it down. Chance comes from a generator of the plan's own, seeded with the exchange's seed and the plan's
number, so that what one account's traffic does to its plans changes nothing for another's.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection
from typing import Any

from smarkets_pool.exchange.faults.table import ANYBODY, Fault

__all__ = ["Armed", "FRAME_FAULTS", "Plan"]

#: Those that happen to a frame on its way out.
FRAME_FAULTS = frozenset({"drop", "duplicate", "reorder", "delay", "drip", "cut"})


@dataclasses.dataclass(slots=True)
class Plan:
    """One fault that waits; ``left`` is how often it still happens, ``until`` when it is over."""

    number: int
    fault: Fault
    account: str
    left: int | None
    until: float | None
    chance: random.Random

    @property
    def name(self) -> str:
        """The fault's name."""
        return self.fault.kind.name

    def __getitem__(self, parameter: str) -> Any:
        return self.fault.values[parameter]

    def __str__(self) -> str:
        return str(self.fault)

    def matches(self, frame: str) -> bool:
        """Whether it is about frames of this payload name, and chance has it hit this one."""
        values = self.fault.values
        if not any(_matches(name, frame) for name in values["names"]):
            return False
        probability = values.get("probability", 1.0)
        return bool(probability >= 1.0 or self.chance.random() < probability)


def _matches(name: str, frame: str) -> bool:
    if name.endswith("*"):
        return frame.startswith(name[:-1])
    return name == frame


class Armed:
    """The plans of one exchange."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._numbers = 0
        self._plans: dict[str, list[Plan]] = {}

    def __repr__(self) -> str:
        return f"<Armed {[str(plan) for plan in self.plans()]}>"

    def add(self, fault: Fault, *, left: int | None = None, until: float | None = None) -> Plan:
        """Let a fault wait, ``left`` times, ``until`` then; without both for good."""
        self._numbers += 1
        account = fault.values.get("account", ANYBODY)
        chance = random.Random(f"{self._seed}/{self._numbers}")
        plan = Plan(self._numbers, fault, account, left, until, chance)
        self._plans.setdefault(account, []).append(plan)
        return plan

    def plans(self, account: str | None = None) -> list[Plan]:
        """What waits, oldest first: all of it, or what applies to one account."""
        if account is None:
            found = [plan for plans in self._plans.values() for plan in plans]
        else:
            # A set: asked for everybody, nobody's plans are there twice.
            found = [plan for whose in {account, ANYBODY} for plan in self._plans.get(whose, ())]
        return sorted(found, key=lambda plan: plan.number)

    def may_hit(self, account: str) -> bool:
        """Whether anything at all waits that could apply to the account."""
        return bool(self._plans) and (account in self._plans or ANYBODY in self._plans)

    def take(self, names: Collection[str], account: str, now: float, *, frame: str = "") -> Plan | None:
        """The oldest plan of one of these faults that happens now, counted down; or None.

        For a fault that happens to frames, ``frame`` is the payload name of the one on its way out.
        """
        if not self.may_hit(account):
            return None
        for plan in self.plans(account):
            if plan.until is not None and now >= plan.until:
                self.remove(plan)
            elif plan.name in names and (not frame or plan.matches(frame)):
                if plan.left is not None:
                    plan.left -= 1
                    if plan.left <= 0:
                        self.remove(plan)
                return plan
        return None

    def expire(self, now: float) -> None:
        """Forget those that are over."""
        for plan in self.plans():
            if plan.until is not None and now >= plan.until:
                self.remove(plan)

    def remove(self, plan: Plan) -> None:
        """Take one back."""
        plans = self._plans[plan.account]
        plans.remove(plan)
        if not plans:
            del self._plans[plan.account]

    def clear(self, account: str | None = None, names: Collection[str] | None = None) -> int:
        """Take back what waits for the account (None: for any) under one of these names; return how many."""
        gone = [
            plan
            for plan in self.plans()
            if (account is None or plan.account == account) and (names is None or plan.name in names)
        ]
        for plan in gone:
            self.remove(plan)
        return len(gone)

"""``Figures``: what there is to show about a pool, as plain data, whoever shows it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any

from smarkets_pool import Delivery, Pool

__all__ = ["Figures", "Row", "Totals"]


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One account: rates in frames per second since the last look, ages in seconds."""

    account: str
    state: str
    frames_in: float
    frames_out: float
    last_frame: float | None
    reconnects: int
    orders: int
    executions: int
    gaps: int
    remark: str


@dataclasses.dataclass(frozen=True, slots=True)
class Totals:
    """The pool as a whole."""

    accounts: int
    up: int
    recovering: int
    down: int
    frames_in: float
    frames_out: float
    frames: int
    reconnects: int
    orders: int
    executions: int
    gaps: int


#: The worst first: that is what a person looks for.
_ORDER = {"DOWN": 0, "RECOVERING": 1, "UP": 2}


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts account-2 before account-10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name)]


class Figures:
    """Counts orders and executions as they are delivered, and reads the rest off ``pool.stats()``."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._orders: Counter[str] = Counter()
        self._executions: Counter[str] = Counter()
        self._before: tuple[float, dict[str, tuple[int, int]]] | None = None
        pool.add_handler("seto.order_accepted", self._note_order)
        pool.add_handler("seto.order_executed", self._note_execution)

    def _note_order(self, delivery: Delivery[Any]) -> None:
        self._orders[delivery.account] += 1

    def _note_execution(self, delivery: Delivery[Any]) -> None:
        self._executions[delivery.account] += 1

    def look(self, now: float) -> tuple[Totals, list[Row]]:
        """Totals and rows, the worst first; rates are since the look before."""
        stats = self._pool.stats()
        frames = {
            name: (member["frames_received_total"], member["frames_sent_total"])
            for name, member in stats["members"].items()
        }
        rows = [
            self._row(name, member, self._rates(name, frames[name], now))
            for name, member in stats["members"].items()
        ]
        self._before = (now, frames)
        rows.sort(key=lambda row: (_ORDER[row.state], _natural(row.account)))
        totals = Totals(
            accounts=len(rows),
            up=stats["up"],
            recovering=stats["recovering"],
            down=stats["down"],
            frames_in=sum(row.frames_in for row in rows),
            frames_out=sum(row.frames_out for row in rows),
            frames=sum(received for received, _ in frames.values()),
            reconnects=sum(row.reconnects for row in rows),
            orders=self._orders.total(),
            executions=self._executions.total(),
            gaps=sum(row.gaps for row in rows),
        )
        return totals, rows

    def _rates(self, name: str, frames: tuple[int, int], now: float) -> tuple[float, float]:
        if self._before is None:
            return 0.0, 0.0
        then, before = self._before
        received, sent = before.get(name, frames)
        seconds = now - then
        if seconds <= 0:
            return 0.0, 0.0
        # A member that was replaced counts from 0 again.
        return max(0, frames[0] - received) / seconds, max(0, frames[1] - sent) / seconds

    def _row(self, name: str, member: dict[str, Any], rates: tuple[float, float]) -> Row:
        if member["given_up"] is not None:
            remark = member["given_up"]
        elif member["why_down"] is not None:
            wait = member["retry_in_seconds"]
            soon = f"; next attempt in {wait:.1f} s" if wait is not None else ""
            remark = f"{member['why_down']}{soon}"
        else:
            remark = ""
        return Row(
            account=name,
            state=member["state"],
            frames_in=rates[0],
            frames_out=rates[1],
            last_frame=member["last_frame_age_seconds"],
            reconnects=max(0, member["logins_total"] - 1),
            orders=self._orders[name],
            executions=self._executions[name],
            gaps=member["gaps_found_total"] + member["holes_total"],
            remark=remark,
        )

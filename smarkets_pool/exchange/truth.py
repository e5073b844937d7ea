"""The record of what really happened, to compare with what clients believe.

Append-only: every event of every account in the order it happened, whether or not anybody was
logged in to hear it, and every fault that was injected; as far back as the limit goes. Clients never
see it; tests and scenarios read it afterwards and ask "is this what your handlers were given?".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.message import Message

__all__ = ["Truth", "TruthEvent", "TruthFault"]

_ACCEPTED = "seto.order_accepted"
_EXECUTED = "seto.order_executed"


@dataclass(frozen=True, slots=True)
class TruthEvent:
    """One event of one account.

    ``name`` is the payload name, ``order_id`` and ``quantity`` are the message's fields of that name (0
    where it has none), ``away`` says that no session of the account was logged in when it happened.
    """

    account: str
    account_sequence: int
    name: str
    order_id: int
    quantity: int
    away: bool


@dataclass(frozen=True, slots=True)
class TruthFault:
    """One fault that was injected on purpose; ``account`` is empty if it hit none in particular."""

    kind: str
    account: str
    detail: str


class Truth:
    """What happened, per account, with counters over all of them.

    ``executions`` counts one per fill and side, so a match of two orders counts twice. ``limit`` events
    are kept per account, the newest; 0 keeps all. ``forgotten`` counts the others.
    """

    def __init__(self, limit: int = 0) -> None:
        self.forgotten = 0
        self._limit = limit
        self.orders_accepted = 0
        self.executions = 0
        self.executions_away = 0
        self.faults: list[TruthFault] = []
        self._events: dict[str, deque[TruthEvent]] = {}

    def __repr__(self) -> str:
        return (
            f"<Truth of {len(self._events)} accounts: {self.orders_accepted} orders accepted, "
            f"{self.executions} executions ({self.executions_away} away), {len(self.faults)} faults>"
        )

    def record_event(
        self, account: str, account_sequence: int, name: str, message: Message, *, away: bool
    ) -> None:
        """Add the event ``message`` that ``account`` was (or, ``away``, could not be) told."""
        event = TruthEvent(
            account=account,
            account_sequence=account_sequence,
            name=name,
            order_id=_number(message, "order_id"),
            quantity=_number(message, "quantity"),
            away=away,
        )
        events = self._events.get(account)
        if events is None:
            events = self._events[account] = deque(maxlen=self._limit or None)
        self.forgotten += len(events) == events.maxlen
        events.append(event)
        self.orders_accepted += name == _ACCEPTED
        if name == _EXECUTED:
            self.executions += 1
            self.executions_away += away

    def limit_events(self, account: str, events: int) -> None:
        """Keep only the newest ``events`` of an account, whatever is kept of others; 0 keeps none."""
        self._events[account] = deque(self._events.get(account, ()), maxlen=events)

    def record_fault(self, kind: str, account: str, detail: str) -> None:
        """Add a fault that was injected."""
        self.faults.append(TruthFault(kind, account, detail))

    def events(self, account: str) -> list[TruthEvent]:
        """The events of an account so far, oldest first; empty for one that had none."""
        return list(self._events.get(account, ()))

    def as_plain(self) -> dict[str, Any]:
        """All of it as data that ``json.dumps`` takes.

        An event is the list ``[account sequence, name, order id, quantity, away]``.
        """
        return {
            "accounts": {
                account: [[e.account_sequence, e.name, e.order_id, e.quantity, e.away] for e in events]
                for account, events in self._events.items()
            },
            "counters": {
                "orders_accepted": self.orders_accepted,
                "executions": self.executions,
                "executions_away": self.executions_away,
                "forgotten": self.forgotten,
            },
            "faults": [{"kind": f.kind, "account": f.account, "detail": f.detail} for f in self.faults],
        }


def _number(message: Message, field: str) -> int:
    if field not in message.DESCRIPTOR.fields_by_name:
        return 0
    return cast("int", getattr(message, field))

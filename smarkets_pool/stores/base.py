"""The contract of a store of positions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

__all__ = ["Position", "SequenceStore"]


@dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """How far an account's events were handled: ``account_sequence`` is the last one's number."""

    account_sequence: int


class SequenceStore(Protocol):
    """Keeps positions between connections, and if it can between runs.

    A pool calls ``load`` once per account before its first login and ``save_many`` after handlers
    returned, never from the hub.
    """

    def load(self, account: str) -> Position | None:
        """The position saved last, or None if there is none."""

    def save_many(self, positions: Iterable[tuple[str, Position]]) -> None:
        """Save these; the later of two for one account counts."""

    def forget(self, account: str) -> None:
        """Drop an account's position; none is fine."""

    def close(self) -> None:
        """Release what the store holds; again is fine."""

"""Positions in memory: they outlive connections and pools of this process, not the process."""

from __future__ import annotations

from collections.abc import Iterable

from smarkets_pool.stores.base import Position

__all__ = ["MemoryStore"]


class MemoryStore:
    """The default store; give one to several pools in turn to resume where the last one stopped."""

    def __init__(self) -> None:
        self._positions: dict[str, Position] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._positions)} accounts>"

    def load(self, account: str) -> Position | None:
        """The position saved last, or None."""
        return self._positions.get(account)

    def save_many(self, positions: Iterable[tuple[str, Position]]) -> None:
        """Save these."""
        self._positions.update(positions)

    def forget(self, account: str) -> None:
        """Drop an account's position."""
        self._positions.pop(account, None)

    def close(self) -> None:
        """Nothing to release; what was saved stays."""

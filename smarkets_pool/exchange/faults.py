"""Faults by name: what the embedded exchange does wrong on purpose.

Each is asked for by account and happens to that account's connections; each is recorded in the truth
when it happens. ``drop`` loses frames that were numbered, ``skip`` leaves numbers out, ``cut`` breaks the
connection (between frames or inside one) and can keep the account away for a while.
"""

from __future__ import annotations

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.wire.schema import eto_pb2 as eto

__all__ = ["Faults"]


class Faults:
    """The faults that wait to happen. Times are on the clock that the exchange is given."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._drops: dict[str, int] = {}
        self._skips: dict[str, int] = {}
        self._refusals: dict[str, tuple[int, float | None]] = {}

    def __repr__(self) -> str:
        return f"<Faults drop={self._drops} skip={self._skips} refuse={sorted(self._refusals)}>"

    def drop(self, account: str, frames: int = 1) -> None:
        """Lose the next ``frames`` seto frames to the account: numbered, but never written."""
        self._drops[account] = self._drops.get(account, 0) + _positive(frames, "frames")

    def skip(self, account: str, numbers: int = 1) -> None:
        """Leave ``numbers`` sequence numbers out before the next seto frame to the account."""
        self._skips[account] = self._skips.get(account, 0) + _positive(numbers, "numbers")

    def refuse_login(
        self,
        account: str,
        reason: int = eto.LOGOUT_SERVICE_TEMPORARILY_UNAVAILABLE,
        until: float | None = None,
    ) -> None:
        """Answer the account's logins with a logout of that reason, ``until`` then or for ever."""
        self._refusals[account] = (reason, until)

    def admit_login(self, account: str) -> None:
        """Take ``refuse_login`` back."""
        self._refusals.pop(account, None)

    # --- asked by the peers ----------------------------------------------------------------------

    def takes_drop(self, account: str, name: str) -> bool:
        """Whether the frame that is about to be sent is lost."""
        left = self._drops.get(account, 0)
        if not left:
            return False
        self._drops[account] = left - 1
        self._truth.record_fault("drop", account, name)
        return True

    def takes_skip(self, account: str) -> int:
        """How many numbers are left out before the frame that is about to be sent."""
        numbers = self._skips.pop(account, 0)
        if numbers:
            self._truth.record_fault("skip", account, f"{numbers} numbers")
        return numbers

    def refusal(self, account: str, now: float) -> int | None:
        """The reason with which the login that has come is refused, or None."""
        found = self._refusals.get(account)
        if found is None:
            return None
        reason, until = found
        if until is not None and now >= until:
            del self._refusals[account]
            return None
        self._truth.record_fault("refuse_login", account, f"reason {reason}")
        return reason


def _positive(number: int, what: str) -> int:
    if number < 1:
        raise UsageError(f"{what} is a whole number from 1, not {number}")
    return number

"""Money of the exchange: units, what a bet risks, and what is told of balances.

Money is counted in *points* of 1/10**8 currency unit, the unit of ``quantity * price``: whole numbers all
the way, so nothing inside is ever rounded. Doubles appear only on the wire.

* A buyer risks ``quantity * price``, a seller ``quantity * (10000 - price)`` (fact sheet 3.1).
* ``available = cash + exposure`` and ``exposure = -liability`` (choice 15).
* On the wire the exposure is rounded away from zero and the available balance down, to
  ``balance_decimals`` digits, so that nobody is told of money that is not there (choice 17).

What executed bets of an account in one market risk is a ``Bets``: each for itself, or netted against the
market's worst outcome (choice 16).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = [
    "Bets",
    "NettedBets",
    "PRICE_WHOLE",
    "SeparateBets",
    "currency",
    "liability_points",
    "points_from_currency",
    "told_available",
    "told_exposure",
    "winnings_points",
]

_POINTS = 10**8
_POINT_DIGITS = 8
#: The price that stands for certainty, 100 %.
PRICE_WHOLE = 10_000


def currency(points: int) -> float:
    """Points as the double that ``available_balance`` and ``exposure`` carry: 10**8 -> 1.0."""
    return points / _POINTS


def points_from_currency(amount: Decimal) -> int:
    """``Decimal("1.50")`` currency units -> 150000000 points.

    Raises:
        UsageError: more than eight digits after the point.
    """
    points = int(amount.scaleb(_POINT_DIGITS))
    if Decimal(points).scaleb(-_POINT_DIGITS) != amount:
        raise UsageError(f"{amount} currency units have more than eight digits after the point")
    return points


def liability_points(side: int, price: int, quantity: int) -> int:
    """What the owner of ``quantity`` at ``price`` risks, in points."""
    return quantity * (price if side == seto.SIDE_BUY else PRICE_WHOLE - price)


def winnings_points(side: int, price: int, quantity: int) -> int:
    """What the owner of ``quantity`` at ``price`` may win, in points: what the other side risks."""
    return quantity * (PRICE_WHOLE - price if side == seto.SIDE_BUY else price)


# --- what is told ------------------------------------------------------------------------------


def told_available(points: int, settings: ExchangeSettings) -> float:
    """The double for ``available_balance``, rounded down."""
    step = 10 ** (_POINT_DIGITS - settings.balance_decimals)
    return currency(points // step * step)


def told_exposure(points: int, settings: ExchangeSettings) -> float:
    """The double for ``exposure``, rounded away from zero; ``points`` are never above 0."""
    step = 10 ** (_POINT_DIGITS - settings.balance_decimals)
    told = points // step * step
    # The sign is the whole number's: there is no -0 among those.
    return currency(-told if settings.exposure_sign == "positive" else told)


# --- executed bets -----------------------------------------------------------------------------


class Bets(Protocol):
    """The executed bets of one account in one market. Quantities below 0 undo."""

    @property
    def risk(self) -> int:
        """What they risk together, in points."""

    def add(self, contract_id: int, side: int, price: int, quantity: int) -> None:
        """Count an execution, or, with a negative quantity, take one back."""

    def close(self, contract_id: int) -> None:
        """The contract is over: it cannot win any more."""


class SeparateBets:
    """Each execution risks what it risks alone."""

    __slots__ = ("risk",)

    def __init__(self) -> None:
        self.risk = 0

    def add(self, contract_id: int, side: int, price: int, quantity: int) -> None:
        """Count an execution."""
        self.risk += liability_points(side, price, quantity)

    def close(self, contract_id: int) -> None:
        """Nothing here depends on which contracts can win."""


class NettedBets:
    """All executions together against the worst outcome: exactly one contract of the market wins."""

    __slots__ = ("_if_lost", "_if_won", "_lost_together")

    def __init__(self, contract_ids: Iterable[int]) -> None:
        self._if_won = dict.fromkeys(contract_ids, 0)
        self._if_lost = dict.fromkeys(self._if_won, 0)
        self._lost_together = 0

    def add(self, contract_id: int, side: int, price: int, quantity: int) -> None:
        """Count an execution; one in a contract that is closed counts for nothing."""
        if contract_id not in self._if_won:
            return
        won, lost = winnings_points(side, price, quantity), -liability_points(side, price, quantity)
        if side == seto.SIDE_SELL:
            won, lost = lost, won
        self._if_won[contract_id] += won
        self._if_lost[contract_id] += lost
        self._lost_together += lost

    def close(self, contract_id: int) -> None:
        """Forget the contract's bets: they were paid, or given back."""
        self._if_won.pop(contract_id, None)
        self._lost_together -= self._if_lost.pop(contract_id, 0)

    @property
    def risk(self) -> int:
        """What the worst winner would cost, never below 0."""
        together = self._lost_together
        outcomes = (together - self._if_lost[winner] + won for winner, won in self._if_won.items())
        return max(0, -min(outcomes, default=0))

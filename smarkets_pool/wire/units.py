"""Prices, quantities and money: the only place that knows what the wire's integers mean.

==========  =============================================  =====================================
on wire     unit                                           example
==========  =============================================  =====================================
price       1/100 of a percent, 1..9999                    2500 = 25.00 % = decimal odds 4
quantity    1/10,000 of a currency unit of *payout*        400000 = 40.00 paid if it wins
==========  =============================================  =====================================

The payout is what the backer's stake and the layer's liability make together. At price p the buyer
(backer) risks ``quantity * p / 10**8`` and the seller (layer) ``quantity * (10000 - p) / 10**8``
currency units: 400000 at 2500 is 10.00 against 30.00. Source: the vendor's quick start and order
documentation.

Everything is an ``int`` or a ``Decimal``, exact; a float is refused, and so is a value that the wire
could only carry rounded. Where rounding is wanted, say so with a ``decimal`` rounding mode.
"""

from __future__ import annotations

from decimal import (
    ROUND_05UP,
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Decimal,
)
from decimal import InvalidOperation as _InvalidOperation
from fractions import Fraction

from smarkets_pool.exceptions import UsageError
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = [
    "MAX_PRICE",
    "MAX_QUANTITY",
    "MIN_PRICE",
    "decimal_odds",
    "liability",
    "percent",
    "price_from_decimal_odds",
    "price_from_percent",
    "quantity_from_currency",
    "quantity_from_liability",
    "quantity_from_stake",
    "quantity_in_currency",
    "stake",
]

MIN_PRICE = 1
MAX_PRICE = 9999
#: The field is a uint64; exchanges set lower limits of their own.
MAX_QUANTITY = 2**64 - 1

_PRICE_SCALE = 10_000
_QUANTITY_SCALE = 10_000

Number = Decimal | int | str

#: Digits before or after the point that an amount may have; far more than the wire's fields hold.
_MAX_DIGITS = 40


def _exact(value: Number, what: str) -> Fraction:
    """A number from 0 as a fraction, whatever the caller's decimal context."""
    if isinstance(value, (float, bool)):
        kind = type(value).__name__
        raise UsageError(f"{what} {value!r} is a {kind}; give a Decimal, an int or a string such as '2.5'")
    if not isinstance(value, (Decimal, int, str)):
        raise UsageError(f"{what} {value!r} is not a number")
    try:
        # An int skips the text: turning a huge one into digits is refused by Python itself.
        number = Decimal(value)
    except (_InvalidOperation, ValueError) as error:
        raise UsageError(f"{what} {value!r} is not a number") from error
    if not number.is_finite():
        raise UsageError(f"{what} {value!r} is not a finite number")
    if number.is_signed() and number:
        raise UsageError(f"{what} is 0 or more, not {_shown(value)}")
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)  # it is finite
    if number and (number.adjusted() >= _MAX_DIGITS or exponent < -_MAX_DIGITS):
        # Before anything is multiplied out: the text of such a number can be short.
        raise UsageError(f"{what} has more than {_MAX_DIGITS} digits before or after the point")
    return Fraction(number)


def _integer(value: Fraction, rounding: str | None, what: str) -> int:
    if value.denominator == 1:
        return value.numerator
    floor = value.numerator // value.denominator
    if rounding is None:
        raise UsageError(
            f"the wire carries {what} as a whole number and this is {_about(value)}; "
            f"the nearest are {floor} and {floor + 1}, or pass rounding="
        )
    rest = value - floor
    half = Fraction(1, 2)
    up = {
        ROUND_FLOOR: False,
        ROUND_DOWN: False,
        ROUND_CEILING: True,
        ROUND_UP: True,
        ROUND_HALF_UP: rest >= half,
        ROUND_HALF_DOWN: rest > half,
        ROUND_HALF_EVEN: rest > half or (rest == half and floor % 2 == 1),
        ROUND_05UP: floor % 10 in (0, 5),
    }.get(rounding)
    if up is None:
        raise UsageError(f"unknown rounding {rounding!r}; use one of decimal's, such as decimal.ROUND_FLOOR")
    return floor + up


def _shifted(number: int, digits: int) -> Decimal:
    """``number / 10**digits``, exact: unlike arithmetic, this does not look at the decimal context."""
    return Decimal((0, tuple(map(int, str(number))), -digits))


def _about(value: Fraction) -> Decimal:
    """Six places of a number, for a sentence."""
    return _shifted(_integer(value * 10**6, ROUND_HALF_EVEN, ""), 6)


def _decimal(value: Fraction, places: int | None, what: str) -> Decimal:
    """Exact if it ends; otherwise half-even to ``places``."""
    rest = value.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    if rest == 1:
        digits = 0
        while (value * 10**digits).denominator != 1:
            digits += 1
        return _shifted((value * 10**digits).numerator, digits)
    if places is None:
        raise UsageError(f"{what} does not end as a decimal ({_about(value)}...); pass places=")
    if not isinstance(places, int) or places < 0:
        raise UsageError(f"places is a whole number from 0, not {places!r}")
    return _shifted(_integer(value * 10**places, ROUND_HALF_EVEN, what), places)


def _check_price(price: int) -> int:
    if not isinstance(price, int) or isinstance(price, bool) or not MIN_PRICE <= price <= MAX_PRICE:
        shown = _shown(price)
        raise UsageError(f"a price is a whole number from {MIN_PRICE} to {MAX_PRICE} (1/100 %), not {shown}")
    return price


def _check_quantity(quantity: int) -> int:
    if not isinstance(quantity, int) or isinstance(quantity, bool) or not 0 <= quantity <= MAX_QUANTITY:
        shown = _shown(quantity)
        raise UsageError(f"a quantity is a whole number from 0 to 2**64 - 1 (1/10,000), not {shown}")
    return quantity


def _shown(value: object) -> str:
    """A value fit for a sentence: Python refuses to write out a huge integer."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    return repr(value)


# --- prices ------------------------------------------------------------------------------------


def price_from_percent(value: Number, *, rounding: str | None = None) -> int:
    """``"25"`` (percent) -> 2500.

    Raises:
        UsageError: outside 0.01..99.99, or between two prices and no ``rounding`` given.
    """
    return _check_price(_integer(_exact(value, "percent") * 100, rounding, "a price"))


def percent(price: int) -> Decimal:
    """2500 -> ``Decimal("25")``."""
    return _decimal(Fraction(_check_price(price), 100), None, "a percentage")


def price_from_decimal_odds(odds: Number, *, rounding: str | None = None) -> int:
    """``4`` -> 2500; ``3`` lies between 3333 and 3334 and needs ``rounding``.

    Raises:
        UsageError: odds of 1 or less, outside the range of prices, or between two of them.
    """
    value = _exact(odds, "decimal odds")
    if value <= 1:
        raise UsageError(f"decimal odds are above 1, not {_shown(odds)}")
    return _check_price(_integer(_PRICE_SCALE / value, rounding, "a price"))


def decimal_odds(price: int, *, places: int | None = None) -> Decimal:
    """2500 -> ``Decimal(4)``; 3333 does not end as a decimal and needs ``places``."""
    return _decimal(Fraction(_PRICE_SCALE, _check_price(price)), places, "decimal odds")


# --- quantities and money ----------------------------------------------------------------------


def quantity_from_currency(payout: Number, *, rounding: str | None = None) -> int:
    """Payout in currency units -> quantity: ``"40"`` -> 400000."""
    return _check_quantity(_integer(_exact(payout, "payout") * _QUANTITY_SCALE, rounding, "a quantity"))


def quantity_in_currency(quantity: int) -> Decimal:
    """Quantity -> payout in currency units: 400000 -> ``Decimal(40)``."""
    return _decimal(Fraction(_check_quantity(quantity), _QUANTITY_SCALE), None, "a payout")


def _share(side: int, price: int) -> int:
    if isinstance(side, bool):
        raise UsageError(f"a side is seto.SIDE_BUY (1) or seto.SIDE_SELL (2), not {side!r}")
    if side == seto.SIDE_BUY:
        return price
    if side == seto.SIDE_SELL:
        return _PRICE_SCALE - price
    raise UsageError(f"a side is seto.SIDE_BUY (1) or seto.SIDE_SELL (2), not {side!r}")


def stake(price: int, quantity: int) -> Decimal:
    """The backer's stake in currency units: what the buyer risks. 400000 at 2500 -> ``Decimal(10)``."""
    return liability(seto.SIDE_BUY, price, quantity)


def liability(side: int, price: int, quantity: int) -> Decimal:
    """What the order's owner risks in currency units, exact to eight places."""
    share = _share(side, _check_price(price))
    return _decimal(
        Fraction(_check_quantity(quantity) * share, _QUANTITY_SCALE * _PRICE_SCALE), None, "a liability"
    )


def quantity_from_stake(value: Number, price: int, *, rounding: str | None = None) -> int:
    """The quantity whose backer's stake is ``value`` currency units: 10 at 2500 -> 400000."""
    return quantity_from_liability(seto.SIDE_BUY, value, price, rounding=rounding)


def quantity_from_liability(side: int, value: Number, price: int, *, rounding: str | None = None) -> int:
    """The quantity at which ``side`` risks ``value`` currency units: selling, 30 at 2500 -> 400000."""
    share = _share(side, _check_price(price))
    payout = _exact(value, "liability") * _QUANTITY_SCALE * _PRICE_SCALE / share
    return _check_quantity(_integer(payout, rounding, "a quantity"))

"""Prices, quantities and money: exact both ways, or refused."""

from __future__ import annotations

import decimal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarkets_pool import seto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.wire.units import (
    MAX_PRICE,
    MAX_QUANTITY,
    MIN_PRICE,
    decimal_odds,
    liability,
    percent,
    price_from_decimal_odds,
    price_from_percent,
    quantity_from_currency,
    quantity_from_liability,
    quantity_from_stake,
    quantity_in_currency,
    stake,
)

ALL_PRICES = range(MIN_PRICE, MAX_PRICE + 1)
ROUNDINGS = [
    decimal.ROUND_CEILING,
    decimal.ROUND_DOWN,
    decimal.ROUND_FLOOR,
    decimal.ROUND_HALF_DOWN,
    decimal.ROUND_HALF_EVEN,
    decimal.ROUND_HALF_UP,
    decimal.ROUND_UP,
    decimal.ROUND_05UP,
]

prices = st.integers(MIN_PRICE, MAX_PRICE)
quantities = st.integers(0, MAX_QUANTITY)
sides = st.sampled_from([seto.SIDE_BUY, seto.SIDE_SELL])

#: Every function that takes an amount, with the rest of its arguments filled in.
FROM_AMOUNT: dict[str, Callable[..., int]] = {
    "price_from_percent": price_from_percent,
    "price_from_decimal_odds": price_from_decimal_odds,
    "quantity_from_currency": quantity_from_currency,
    "quantity_from_stake": lambda value, **options: quantity_from_stake(value, 2500, **options),
    "quantity_from_liability": lambda value, **options: quantity_from_liability(
        seto.SIDE_SELL, value, 2500, **options
    ),
}
#: Every function that takes a price, with the rest of its arguments filled in.
WITH_PRICE: dict[str, Callable[[Any], object]] = {
    "percent": percent,
    "decimal_odds": lambda price: decimal_odds(price, places=4),
    "stake": lambda price: stake(price, 400000),
    "liability": lambda price: liability(seto.SIDE_SELL, price, 400000),
    "quantity_from_stake": lambda price: quantity_from_stake(10, price, rounding=decimal.ROUND_FLOOR),
    "quantity_from_liability": lambda price: quantity_from_liability(
        seto.SIDE_SELL, 10, price, rounding=decimal.ROUND_FLOOR
    ),
}
#: Every function that takes a quantity, with the rest of its arguments filled in.
WITH_QUANTITY: dict[str, Callable[[Any], object]] = {
    "quantity_in_currency": quantity_in_currency,
    "stake": lambda quantity: stake(2500, quantity),
    "liability": lambda quantity: liability(seto.SIDE_SELL, 2500, quantity),
}
#: Every function that takes a side, with the rest of its arguments filled in.
WITH_SIDE: dict[str, Callable[[Any], object]] = {
    "liability": lambda side: liability(side, 2500, 400000),
    "quantity_from_liability": lambda side: quantity_from_liability(side, 10, 2500),
}

for_each_amount = pytest.mark.parametrize("convert", FROM_AMOUNT.values(), ids=FROM_AMOUNT.keys())
for_each_rounding = pytest.mark.parametrize("rounding", ROUNDINGS)


def in_range(number: int, lowest: int, highest: int) -> int | None:
    """The number, or None where a UsageError is due."""
    return number if lowest <= number <= highest else None


def or_none(convert: Callable[..., int], *arguments: object, **options: object) -> int | None:
    """The result, or None for a UsageError."""
    try:
        return convert(*arguments, **options)
    except UsageError:
        return None


def quantized(value: Fraction, rounding: str) -> int:
    """The value rounded to a whole number by ``decimal`` itself, with digits to spare."""
    with decimal.localcontext() as context:
        context.prec = 120
        number = Decimal(value.numerator) / Decimal(value.denominator)
        return int(number.quantize(Decimal(1), rounding=rounding))


# --- the documented example ----------------------------------------------------------------------


def test_documented_example() -> None:
    """400000 at 2500: a payout of 40.00 at odds of 4, the buyer risks 10.00 and the seller 30.00."""
    assert price_from_percent("25.00") == 2500
    assert percent(2500) == Decimal("25.00")
    assert price_from_decimal_odds(4) == 2500
    assert decimal_odds(2500) == Decimal(4)
    assert quantity_from_currency("40.00") == 400000
    assert quantity_in_currency(400000) == Decimal("40.00")
    assert stake(2500, 400000) == Decimal("10.00")
    assert liability(seto.SIDE_BUY, 2500, 400000) == Decimal("10.00")
    assert liability(seto.SIDE_SELL, 2500, 400000) == Decimal("30.00")
    assert quantity_from_stake("10.00", 2500) == 400000
    assert quantity_from_liability(seto.SIDE_SELL, "30.00", 2500) == 400000


def test_limits() -> None:
    """Prices lie strictly between 0 and 100 %; a quantity is what 64 bits hold."""
    assert (MIN_PRICE, MAX_PRICE) == (1, 9999)
    assert MAX_QUANTITY == 18446744073709551615


# --- prices --------------------------------------------------------------------------------------


def test_percent_of_every_price() -> None:
    """A price is its percentage with the point moved two places."""
    wrong = [price for price in ALL_PRICES if percent(price) != Decimal(f"{price // 100}.{price % 100:02}")]
    assert wrong == []


def test_every_price_from_its_percentage() -> None:
    """Every price comes back from its percentage."""
    assert [price for price in ALL_PRICES if price_from_percent(percent(price)) != price] == []


def test_percent_is_a_decimal() -> None:
    """A percentage is a Decimal even where it is whole."""
    assert type(percent(2500)) is Decimal


@pytest.mark.parametrize("value", [25, "25", "25.000", "2.5e1", Decimal(25), Decimal("25.00")])
def test_kinds_of_amounts(value: Decimal | int | str) -> None:
    """An int, a Decimal and text give the same price."""
    price = price_from_percent(value)
    assert type(price) is int
    assert price == 2500


@pytest.mark.parametrize(("value", "price"), [("0.01", MIN_PRICE), ("99.99", MAX_PRICE)])
def test_percent_at_the_limits(value: str, price: int) -> None:
    """The lowest and the highest price can be given."""
    assert price_from_percent(value) == price


@pytest.mark.parametrize("value", ["0", "100", "100.01", 2500])
def test_percent_outside_the_limits(value: str) -> None:
    """Nothing, everything and more is no price."""
    with pytest.raises(UsageError, match="a price is a whole number from 1 to 9999"):
        price_from_percent(value)


def test_percent_between_two_prices() -> None:
    """A percentage between two prices is refused, with both of them and the way out."""
    with pytest.raises(UsageError) as caught:
        price_from_percent("25.005")
    assert "2500.500000" in str(caught.value)
    assert "the nearest are 2500 and 2501, or pass rounding=" in str(caught.value)


@for_each_rounding
@given(value=st.decimals("-1", "101", places=5))
def test_percent_rounded(rounding: str, value: Decimal) -> None:
    """With a rounding mode the price is the one that decimal's own quantize gives."""
    expected = in_range(quantized(Fraction(value) * 100, rounding), MIN_PRICE, MAX_PRICE)
    assert or_none(price_from_percent, value, rounding=rounding) == expected


@pytest.mark.parametrize(
    ("price", "odds"), [(1, "10000"), (2500, "4"), (5000, "2"), (8000, "1.25"), (1024, "9.765625")]
)
def test_decimal_odds_that_end(price: int, odds: str) -> None:
    """Odds that end as a decimal are exact, both ways."""
    assert decimal_odds(price) == Decimal(odds)
    assert price_from_decimal_odds(odds) == price


def test_every_price_from_its_rounded_odds() -> None:
    """Every price comes back from its odds at eight places if rounding is allowed."""
    rounding = decimal.ROUND_HALF_EVEN
    found = [
        price_from_decimal_odds(decimal_odds(price, places=8), rounding=rounding) for price in ALL_PRICES
    ]
    assert found == list(ALL_PRICES)


def test_decimal_odds_of_every_price() -> None:
    """Odds are exact where they end and half-even to the places asked for where they do not."""
    for price in ALL_PRICES:
        odds = Fraction(10_000, price)
        try:
            found = decimal_odds(price)
        except UsageError:
            rounded = Fraction(quantized(odds * 10**4, decimal.ROUND_HALF_EVEN), 10**4)
            assert Fraction(decimal_odds(price, places=4)) == rounded, price
        else:
            assert Fraction(found) == odds, price


def test_decimal_odds_that_do_not_end() -> None:
    """Odds that do not end are refused, with what to pass."""
    with pytest.raises(UsageError, match=r"decimal odds does not end as a decimal \(3\.0003.*pass places="):
        decimal_odds(3333)


@pytest.mark.parametrize(
    ("places", "odds"), [(0, "3"), (1, "3.0"), (2, "3.00"), (4, "3.0003"), (8, "3.00030003")]
)
def test_decimal_odds_places(places: int, odds: str) -> None:
    """Odds that do not end have exactly the places asked for."""
    assert str(decimal_odds(3333, places=places)) == odds


def test_decimal_odds_places_beyond_the_default_precision() -> None:
    """All the places asked for are right, beyond the 28 digits of decimal's default context too."""
    assert str(decimal_odds(3333, places=40)) == "3." + "0003" * 10


def test_decimal_odds_that_end_ignore_places() -> None:
    """Exact odds are not rounded, however few places were asked for."""
    assert decimal_odds(1024, places=2) == Decimal("9.765625")


@pytest.mark.parametrize("odds", [1, "1.0", "0.5", 0])
def test_decimal_odds_of_one_or_less(odds: int | str) -> None:
    """No bet pays less than its stake."""
    with pytest.raises(UsageError, match="decimal odds are above 1"):
        price_from_decimal_odds(odds)


@pytest.mark.parametrize(
    ("odds", "rounding"), [("1.00001", decimal.ROUND_UP), ("10001", decimal.ROUND_DOWN), ("20000", None)]
)
def test_decimal_odds_outside_the_limits(odds: str, rounding: str | None) -> None:
    """Odds whose price would be 0 or 100 % are refused even rounded."""
    with pytest.raises(UsageError):
        price_from_decimal_odds(odds, rounding=rounding)


def test_decimal_odds_between_two_prices() -> None:
    """Odds between two prices are refused, with both of them."""
    with pytest.raises(UsageError, match="the nearest are 3333 and 3334"):
        price_from_decimal_odds(3)


@for_each_rounding
@given(odds=st.decimals("1.0001", "20000", places=4))
def test_decimal_odds_rounded(rounding: str, odds: Decimal) -> None:
    """With a rounding mode the price is the one that decimal's own quantize gives."""
    expected = in_range(quantized(10_000 / Fraction(odds), rounding), MIN_PRICE, MAX_PRICE)
    assert or_none(price_from_decimal_odds, odds, rounding=rounding) == expected


# --- quantities and money ------------------------------------------------------------------------


@given(quantities)
def test_quantity_round_trip(quantity: int) -> None:
    """Every quantity comes back from its payout."""
    assert quantity_from_currency(quantity_in_currency(quantity)) == quantity


@given(quantities)
def test_quantity_in_currency_is_exact(quantity: int) -> None:
    """A payout is the quantity with the point moved four places."""
    payout = quantity_in_currency(quantity)
    assert type(payout) is Decimal
    assert Fraction(payout) == Fraction(quantity, 10_000)


@pytest.mark.parametrize(("payout", "quantity"), [("0", 0), ("1844674407370955.1615", MAX_QUANTITY)])
def test_quantity_at_the_limits(payout: str, quantity: int) -> None:
    """Nothing and the most that 64 bits hold can be given."""
    assert quantity_from_currency(payout) == quantity
    assert quantity_in_currency(quantity) == Decimal(payout)


@pytest.mark.parametrize("payout", ["1844674407370955.1616", "1e30"])
def test_quantity_outside_the_limits(payout: str) -> None:
    """A payout below nothing or beyond 64 bits is refused."""
    with pytest.raises(UsageError, match=r"a quantity is a whole number from 0 to 2\*\*64 - 1"):
        quantity_from_currency(payout)


def test_quantity_between_two() -> None:
    """A payout finer than the wire is refused, with what it lies between."""
    with pytest.raises(UsageError, match=r"a quantity as a whole number.*the nearest are 400000 and 400001"):
        quantity_from_currency("40.00005")


@for_each_rounding
@given(payout=st.decimals(0, 1000, places=7))
def test_quantity_rounded(rounding: str, payout: Decimal) -> None:
    """With a rounding mode the quantity is the one that decimal's own quantize gives."""
    expected = quantized(Fraction(payout) * 10_000, rounding)
    assert quantity_from_currency(payout, rounding=rounding) == expected


@pytest.mark.parametrize("rounding", [decimal.ROUND_UP, decimal.ROUND_HALF_UP, decimal.ROUND_FLOOR])
def test_negative_amount_is_not_rounded_into_range(rounding: str) -> None:
    """Half a unit below nothing goes away from zero by these modes and is refused, not made 0."""
    assert quantized(Fraction(-1, 2), rounding) == -1
    with pytest.raises(UsageError):
        quantity_from_currency("-0.00005", rounding=rounding)


@given(prices, quantities)
def test_both_sides_make_the_payout(price: int, quantity: int) -> None:
    """What buyer and seller risk together is what is paid out."""
    buyer = liability(seto.SIDE_BUY, price, quantity)
    seller = liability(seto.SIDE_SELL, price, quantity)
    assert Fraction(buyer) + Fraction(seller) == Fraction(quantity_in_currency(quantity))


def test_both_sides_make_the_payout_at_every_price() -> None:
    """And so they do at every price there is."""
    for price in ALL_PRICES:
        buyer = liability(seto.SIDE_BUY, price, 123457)
        assert buyer + liability(seto.SIDE_SELL, price, 123457) == Decimal("12.3457"), price


@given(prices, quantities)
def test_liability_is_exact(price: int, quantity: int) -> None:
    """The buyer risks the price's share of the payout and the seller the rest."""
    buyer = liability(seto.SIDE_BUY, price, quantity)
    seller = liability(seto.SIDE_SELL, price, quantity)
    assert Fraction(buyer) == Fraction(quantity * price, 10**8)
    assert Fraction(seller) == Fraction(quantity * (10_000 - price), 10**8)


@given(prices, quantities)
def test_stake_is_what_the_buyer_risks(price: int, quantity: int) -> None:
    """The backer's stake has a name of its own."""
    assert stake(price, quantity) == liability(seto.SIDE_BUY, price, quantity)


@given(sides, prices, quantities)
def test_liability_round_trip(side: int, price: int, quantity: int) -> None:
    """Every quantity comes back from what either side risks."""
    assert quantity_from_liability(side, liability(side, price, quantity), price) == quantity


@given(prices, quantities)
def test_stake_round_trip(price: int, quantity: int) -> None:
    """Every quantity comes back from its stake."""
    assert quantity_from_stake(stake(price, quantity), price) == quantity


@for_each_rounding
@given(side=sides, value=st.decimals(0, 1000, places=4), price=prices)
def test_quantity_from_liability_rounded(rounding: str, side: int, value: Decimal, price: int) -> None:
    """With a rounding mode the quantity is the one that decimal's own quantize gives."""
    share = price if side == seto.SIDE_BUY else 10_000 - price
    expected = quantized(Fraction(value) * 10**8 / share, rounding)
    assert quantity_from_liability(side, value, price, rounding=rounding) == expected


def test_quantity_from_stake_between_two() -> None:
    """A stake that no quantity has exactly is refused."""
    with pytest.raises(UsageError, match="the nearest are 300030 and 300031"):
        quantity_from_stake(10, 3333)


def test_quantity_from_stake_rounded() -> None:
    """Rounded down, the stake is not exceeded; rounded up, it is reached."""
    assert stake(3333, quantity_from_stake(10, 3333, rounding=decimal.ROUND_FLOOR)) == Decimal("9.99999990")
    assert stake(3333, quantity_from_stake(10, 3333, rounding=decimal.ROUND_CEILING)) == Decimal(
        "10.00003323"
    )


# --- refusals ------------------------------------------------------------------------------------


@for_each_amount
@pytest.mark.parametrize("value", [2.5, 25.0, float("nan"), float("inf")])
def test_amount_that_is_a_float(convert: Callable[..., int], value: float) -> None:
    """A float is refused even where it is exact, with what to give instead."""
    with pytest.raises(UsageError, match=r"is a float; give a Decimal, an int or a string such as '2\.5'"):
        convert(value)


@for_each_amount
@pytest.mark.parametrize("value", ["NaN", "sNaN", "inf", "-Infinity"])
@pytest.mark.parametrize("kind", [str, Decimal], ids=["text", "Decimal"])
def test_amount_that_is_not_finite(
    convert: Callable[..., int], value: str, kind: Callable[[str], Any]
) -> None:
    """What is no number or no finite one is refused."""
    with pytest.raises(UsageError, match="is not a finite number"):
        convert(kind(value))


@for_each_amount
@pytest.mark.parametrize("value", ["", "ten", "2,5", "1/4", "0x10", None, b"25", [25], Fraction(25), 25j])
def test_amount_that_is_no_number(convert: Callable[..., int], value: object) -> None:
    """Text that is no number, and things of other types, are refused."""
    with pytest.raises(UsageError, match="is not a number"):
        convert(value)


@for_each_amount
@pytest.mark.parametrize("value", [True, False])
def test_amount_that_is_a_bool(convert: Callable[..., int], value: bool) -> None:
    """A truth value is no amount, though Python counts with it."""
    with pytest.raises(UsageError):
        convert(value)


@for_each_amount
def test_unknown_rounding(convert: Callable[..., int]) -> None:
    """A rounding mode that decimal does not have is refused."""
    with pytest.raises(UsageError, match="unknown rounding 'ROUND_NICELY'; use one of decimal's"):
        convert(Decimal(7) / 3, rounding="ROUND_NICELY")


@pytest.mark.parametrize("price", [0, -1, 10_000, 2500.0, Decimal(2500), "2500", None, True])
@pytest.mark.parametrize("use", WITH_PRICE.values(), ids=WITH_PRICE.keys())
def test_price_refused(use: Callable[[Any], object], price: object) -> None:
    """A price is an int from 1 to 9999 and nothing that looks like one."""
    with pytest.raises(UsageError, match="a price is a whole number from 1 to 9999"):
        use(price)


@pytest.mark.parametrize("quantity", [-1, 2**64, 400000.0, Decimal(400000), "400000", None, True])
@pytest.mark.parametrize("use", WITH_QUANTITY.values(), ids=WITH_QUANTITY.keys())
def test_quantity_refused(use: Callable[[Any], object], quantity: object) -> None:
    """A quantity is an int that 64 bits hold and nothing that looks like one."""
    with pytest.raises(UsageError, match=r"a quantity is a whole number from 0 to 2\*\*64 - 1"):
        use(quantity)


@pytest.mark.parametrize("side", [0, 3, -1, "SIDE_BUY", None])
@pytest.mark.parametrize("use", WITH_SIDE.values(), ids=WITH_SIDE.keys())
def test_side_refused(use: Callable[[Any], object], side: object) -> None:
    """There are two sides."""
    with pytest.raises(UsageError, match=r"a side is seto\.SIDE_BUY"):
        use(side)


@for_each_amount
@pytest.mark.parametrize("value", ["1e5000", "-1e5000", "9" * 5000 + ".5"], ids=["high", "low", "uneven"])
def test_amount_far_out_of_range(convert: Callable[..., int], value: str) -> None:
    """An amount with thousands of digits is refused like any other out of range."""
    with pytest.raises(UsageError):
        convert(value)


def test_stake_too_large_for_a_float() -> None:
    """The sentence about an uneven quantity can be written however large that is."""
    with pytest.raises(UsageError):
        quantity_from_stake("1e400", 3333)


def test_short_text_cannot_stop_the_process() -> None:
    """A few characters with a huge exponent are refused at once, not after computing all their digits."""
    program = (
        "from smarkets_pool.exceptions import UsageError\n"
        "from smarkets_pool.wire.units import price_from_percent\n"
        "for value in '1e99999999', '1e-99999999':\n"
        "    try:\n"
        "        price_from_percent(value)\n"
        "    except UsageError:\n"
        "        print('refused')\n"
    )
    # In a process of its own, because a computation with so many digits cannot be interrupted.
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout == "refused\nrefused\n"


# --- whatever the program has set for its own decimals -------------------------------------------


@given(sides, prices, quantities)
def test_results_do_not_depend_on_the_context(side: int, price: int, quantity: int) -> None:
    """A low precision in the caller's decimal context does not round what is exact."""
    with decimal.localcontext() as context:
        context.prec = 3
        found = [percent(price), quantity_in_currency(quantity), liability(side, price, quantity)]
    expected = [Fraction(price, 100), Fraction(quantity, 10_000)]
    expected.append(Fraction(quantity * (price if side == seto.SIDE_BUY else 10_000 - price), 10**8))
    assert [Fraction(number) for number in found] == expected


def test_rounded_odds_do_not_depend_on_the_context() -> None:
    """Nor does it round odds to fewer places than asked for."""
    with decimal.localcontext() as context:
        context.prec = 3
        assert str(decimal_odds(3333, places=8)) == "3.00030003"


@given(prices)
def test_amounts_are_read_whatever_the_context(price: int) -> None:
    """Nor does it round what is given."""
    text = f"{price // 100}.{price % 100:02}"
    with decimal.localcontext() as context:
        context.prec = 1
        assert price_from_percent(cast("Decimal", text)) == price


# --- what no amount can be -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        price_from_percent,
        price_from_decimal_odds,
        quantity_from_currency,
        lambda value: quantity_from_stake(value, 2500),
    ],
)
def test_a_negative_amount_is_refused_by_name(convert: Callable[[str], int]) -> None:
    """Below nothing there is neither a price nor money; the text shows what was given."""
    with pytest.raises(UsageError, match=r"0 or more, not '-0\.00005'"):
        convert("-0.00005")


@pytest.mark.parametrize("places", [-1, "2"])
def test_places_that_are_none(places: object) -> None:
    """Places are counted from 0."""
    with pytest.raises(UsageError, match="places is a whole number from 0"):
        decimal_odds(3333, places=places)  # type: ignore[arg-type]


def test_a_bool_is_no_side() -> None:
    """True is not silently read as SIDE_BUY."""
    with pytest.raises(UsageError, match="a side is"):
        liability(True, 2500, 400000)


def test_an_object_is_no_number() -> None:
    """Anything but a Decimal, an int or a text is refused."""
    with pytest.raises(UsageError, match="is not a number"):
        quantity_from_currency(object())  # type: ignore[arg-type]


def test_a_huge_integer_is_described_not_written_out() -> None:
    """Python refuses to print such a number; the error must be ours all the same."""
    with pytest.raises(UsageError, match="a number of 19932 bits"):
        quantity_in_currency(10**6000)

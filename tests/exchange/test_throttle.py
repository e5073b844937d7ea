"""The token bucket of a session: pure, on a manual clock."""

from __future__ import annotations

import pytest

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import ExchangeSettings
from smarkets_pool.exchange.throttle import Throttle, ThrottleLimits
from tests.rig.ends import START


def taken(throttle: Throttle, now: float, wanted: int = 10_000) -> int:
    """How many of so many messages pass at once."""
    return sum(throttle.take(now) for _ in range(wanted))


def test_a_full_bucket_lets_the_burst_pass() -> None:
    """The captured figures: a thousand at once, then none."""
    throttle = Throttle(ThrottleLimits.of(ExchangeSettings()), START)
    assert taken(throttle, START) == 1000
    assert not throttle.take(START)


def test_each_tick_adds_rate_times_tick() -> None:
    """A hundred every 200 ms, none in between."""
    throttle = Throttle(ThrottleLimits(500, 1000, 200), START)
    taken(throttle, START)
    assert taken(throttle, START + 0.199) == 0
    assert taken(throttle, START + 0.2) == 100
    assert taken(throttle, START + 0.399) == 0
    assert taken(throttle, START + 1.0) == 400


def test_the_bucket_never_holds_more_than_the_burst() -> None:
    """A long pause fills it and no more."""
    throttle = Throttle(ThrottleLimits(500, 10, 200), START)
    taken(throttle, START)
    assert taken(throttle, START + 1000) == 10


def test_fractions_of_a_token_add_up() -> None:
    """One a second in ticks of 100 ms: the tenth tick brings a token."""
    throttle = Throttle(ThrottleLimits(1, 1, 100), START)
    assert throttle.take(START)
    passed = [tick for tick in range(1, 31) if throttle.take(START + tick * 0.1)]
    assert passed == [10, 20, 30]


@pytest.mark.parametrize("tick_ms", [1, 7, 200, 1500])
def test_the_average_is_the_announced_rate(tick_ms: int) -> None:
    """Over ten seconds of asking as often as one can, burst and rate come out exactly."""
    throttle = Throttle(ThrottleLimits(40, 100, tick_ms), START)
    passed = sum(taken(throttle, START + step * 0.005, 200) for step in range(2_001))
    ticks = 10_000 // tick_ms
    assert passed == 100 + ticks * 40 * tick_ms // 1000


def test_a_full_bucket_does_not_save_ticks_up() -> None:
    """What a tick would have added to a full bucket is not there later."""
    throttle = Throttle(ThrottleLimits(10, 5, 1000), START)
    assert taken(throttle, START + 100.5) == 5
    assert taken(throttle, START + 100.9) == 0
    assert taken(throttle, START + 101) == 5


def test_other_limits_keep_what_fits() -> None:
    """A smaller burst cuts the bucket, a larger one does not fill it."""
    throttle = Throttle(ThrottleLimits(10, 100, 100), START)
    throttle.change(ThrottleLimits(20, 30, 100), START)
    assert taken(throttle, START) == 30
    throttle.change(ThrottleLimits(20, 500, 100), START + 0.05)
    assert taken(throttle, START + 0.1) == 0
    assert taken(throttle, START + 0.15) == 2


def test_what_has_ticked_before_a_change_counts_at_the_old_rate() -> None:
    """Time that has passed is paid for as it was announced then."""
    throttle = Throttle(ThrottleLimits(10, 100, 100), START)
    taken(throttle, START)
    throttle.change(ThrottleLimits(1000, 100, 100), START + 0.3)
    assert taken(throttle, START + 0.3) == 3


@pytest.mark.parametrize("figure", [0, -1, 2**32, True, 1.5])
@pytest.mark.parametrize("name", ["rate", "burst", "tick_ms"])
def test_figures_fit_the_wire(name: str, figure: object) -> None:
    """Each is a whole number from 1 that fits in 32 bits; the error names it."""
    with pytest.raises(UsageError, match=f"the throttle's {name} is a whole number from 1"):
        ThrottleLimits(**{"rate": 1, "burst": 1, "tick_ms": 1, name: figure})

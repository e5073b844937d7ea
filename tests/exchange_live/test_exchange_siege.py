"""A short siege: hostile visits over real connections beside good accounts, a part of ``make fuzz``."""

import pytest

from tests.fuzz.invariants import Finding
from tests.fuzz.siege import GOOD, Siege
from tests.fuzz.visitors import KINDS


def test_good_accounts_notice_nothing_of_a_siege():
    """One visit of each hostile kind costs the good accounts no event, no order and no connection."""
    with Siege() as siege:
        siege.trade()
        siege.assault(0)
        siege.settle_accounts()
    assert dict(siege.tally.visits) == {kind.__name__: 1 for kind in KINDS}
    assert siege.tally.orders > GOOD
    assert siege.tally.events >= 2 * siege.tally.executions > 0
    assert siege.tally.lines > 0


def test_a_siege_sees_what_happens_to_the_good():
    """It fails if a good account loses its connection."""
    with Siege() as siege:
        siege.exchange.cut(siege.exchange.logins[0].username)
        with pytest.raises(Finding, match="a good account noticed"):
            siege.assault(0, ("plain_text",))


def test_a_siege_sees_what_is_missing():
    """It fails if a good account was not told everything in order."""
    with Siege() as siege:
        siege.trade()
        siege.assault(0, ("plain_text",))
        siege.heard["good-0"][:2] = reversed(siege.heard["good-0"][:2])
        with pytest.raises(Finding, match="was not told everything in order"):
            siege.settle_accounts()

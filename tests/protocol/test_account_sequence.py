"""The account's own numbers, over sessions: what is seen, dropped, missing or in doubt."""

import pytest

from smarkets_pool.protocol import AccountSequence, AccountVerdict
from smarkets_pool.protocol.account import Verdict

IN_ORDER = AccountVerdict(Verdict.IN_ORDER)
DUPLICATE = AccountVerdict(Verdict.DUPLICATE)


@pytest.mark.parametrize("is_replay", [False, True])
def test_the_first_number_ever_is_in_order(is_replay):
    """Whatever it is: there is nothing to compare it with."""
    sequence = AccountSequence()
    assert sequence.last_seen is None
    assert sequence.check(4711, is_replay=is_replay) == IN_ORDER
    assert sequence.last_seen == 4711


@pytest.mark.parametrize("is_replay", [False, True])
def test_the_next_number_is_in_order(is_replay):
    """Live or resent."""
    sequence = AccountSequence(10)
    assert sequence.check(11, is_replay=is_replay) == IN_ORDER
    assert sequence.last_seen == 11


@pytest.mark.parametrize("number", [1, 9, 10])
@pytest.mark.parametrize("resuming", [False, True])
def test_a_replayed_number_that_was_seen_is_a_duplicate(number, resuming):
    """It is dropped and moves nothing."""
    sequence = AccountSequence(10)
    sequence.begin_resume(10 if resuming else None)
    assert sequence.check(number, is_replay=True) == DUPLICATE
    assert sequence.last_seen == 10


@pytest.mark.parametrize("number", [1, 9, 10])
def test_a_live_number_that_was_seen_has_regressed(number):
    """The exchange lost its state: the event counts, and the numbers in doubt are named."""
    sequence = AccountSequence(10)
    assert sequence.check(number, is_replay=False) == AccountVerdict(Verdict.REGRESSED, number, 10)
    assert sequence.last_seen == number
    assert sequence.check(number + 1, is_replay=False) == IN_ORDER


def test_a_replayed_number_further_on_while_resuming_is_a_hole():
    """What lies between cannot be had any more; the bounds are named and the event counts."""
    sequence = AccountSequence(10)
    sequence.begin_resume(10)
    assert sequence.check(15, is_replay=True) == AccountVerdict(Verdict.HOLE, 11, 14)
    assert sequence.last_seen == 15
    assert sequence.check(16, is_replay=True) == IN_ORDER


def test_a_live_number_further_on_while_resuming_is_lost():
    """The history may still be on its way behind it; calling it a hole would drop it as duplicates."""
    sequence = AccountSequence(10)
    sequence.begin_resume(10)
    assert sequence.check(15, is_replay=False) == AccountVerdict(Verdict.LOST, 11, 14)
    assert sequence.check(11, is_replay=True) == IN_ORDER


@pytest.mark.parametrize("is_replay", [False, True])
def test_a_number_further_on_while_live_is_lost(is_replay):
    """It does not count: a new session resumes from the last seen and brings it again."""
    sequence = AccountSequence(10)
    lost = AccountVerdict(Verdict.LOST, 11, 14)
    assert sequence.check(15, is_replay=is_replay) == lost
    assert sequence.last_seen == 10
    assert sequence.check(15, is_replay=is_replay) == lost


def test_a_lost_number_comes_with_the_resume():
    """LOST, a new login from the last seen, and everything is there."""
    sequence = AccountSequence(10)
    sequence.check(13, is_replay=False)
    sequence.begin_resume(10)
    assert [sequence.check(n, is_replay=True) for n in (11, 12, 13)] == [IN_ORDER] * 3


def test_an_inclusive_resume():
    """An exchange that starts at P itself: P is a duplicate, the rest in order."""
    sequence = AccountSequence(10)
    sequence.begin_resume(10)
    assert [sequence.check(n, is_replay=True) for n in (10, 11, 12)] == [DUPLICATE, IN_ORDER, IN_ORDER]


def test_an_exclusive_resume():
    """An exchange that starts behind P: all in order."""
    sequence = AccountSequence(10)
    sequence.begin_resume(10)
    assert [sequence.check(n, is_replay=True) for n in (11, 12)] == [IN_ORDER, IN_ORDER]


def test_a_resume_from_the_start_with_nothing_seen():
    """begin_resume(1) expects number 1 next."""
    sequence = AccountSequence()
    sequence.begin_resume(1)
    assert sequence.last_seen == 0
    assert sequence.check(1, is_replay=True) == IN_ORDER


def test_a_resume_from_the_start_that_comes_too_late():
    """If the exchange no longer has number 1, the hole starts there."""
    sequence = AccountSequence()
    sequence.begin_resume(1)
    assert sequence.check(6, is_replay=True) == AccountVerdict(Verdict.HOLE, 1, 5)


def test_a_resume_moves_no_known_position():
    """What was seen stays the measure, whatever was asked for."""
    sequence = AccountSequence(10)
    sequence.begin_resume(1)
    assert sequence.last_seen == 10


def test_a_login_that_asks_for_nothing_is_live():
    """begin_resume(None): a number further on is LOST, not a hole."""
    sequence = AccountSequence(10)
    sequence.begin_resume(10)
    sequence.begin_resume(None)
    assert sequence.check(12, is_replay=False).verdict is Verdict.LOST
    fresh = AccountSequence()
    fresh.begin_resume(None)
    assert fresh.last_seen is None


def test_after_the_resume_a_jump_is_lost_again():
    """end_resume() makes the sequence live."""
    sequence = AccountSequence(10)
    sequence.begin_resume(10)
    sequence.end_resume()
    assert sequence.check(12, is_replay=False) == AccountVerdict(Verdict.LOST, 11, 11)


def test_live_events_during_the_resume_are_in_order():
    """The exchange may mix live events into what it resends."""
    sequence = AccountSequence(10)
    sequence.begin_resume(10)
    assert sequence.check(11, is_replay=True) == IN_ORDER
    assert sequence.check(12, is_replay=False) == IN_ORDER


def test_numbers_beyond_32_bits():
    """The 64-bit field exists because the old one overflows."""
    sequence = AccountSequence(2**32 - 1)
    assert sequence.check(2**32, is_replay=False) == IN_ORDER


def test_the_repr_tells_mode_and_position():
    """Both can be read off it."""
    sequence = AccountSequence(10)
    assert repr(sequence) == "<AccountSequence live, last seen 10>"
    sequence.begin_resume(10)
    assert repr(sequence) == "<AccountSequence resuming, last seen 10>"


def test_a_verdict_without_bounds_has_zeros():
    """Only what is missing or in doubt has bounds."""
    assert (IN_ORDER.first, IN_ORDER.last) == (DUPLICATE.first, DUPLICATE.last) == (0, 0)

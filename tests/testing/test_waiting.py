"""``eventually``: what it gives, what it says when it was in vain."""

from __future__ import annotations

import gevent
import pytest

from smarkets_pool.testing import eventually


def test_it_gives_the_first_true_answer() -> None:
    """Asked again and again; an AssertionError is as good as no answer."""
    answers = iter([0, None, "yes", "never asked"])

    def condition() -> object:
        answer = next(answers)
        assert answer is not None
        return answer

    assert eventually(condition) == "yes"
    assert next(answers) == "never asked"


def test_it_is_asked_once_without_any_time() -> None:
    """What is true already needs no time."""
    assert eventually(lambda: 1, timeout=0.0) == 1


def test_in_vain_it_says_what_was_waited_for() -> None:
    """The condition's name or the caller's words, and the last answer."""
    with pytest.raises(
        AssertionError, match=r"^not true within 0\.02 s: .*<lambda>; the last answer was ''$"
    ):
        eventually(lambda: "", timeout=0.02)
    with pytest.raises(
        AssertionError, match=r"^not true within 0\.02 s: the order; the last answer was None$"
    ):
        eventually(lambda: None, timeout=0.02, what="the order")


def test_in_vain_it_shows_the_last_assertion() -> None:
    """As its sentence and as its cause."""

    def condition() -> bool:
        raise AssertionError("five are four")

    with pytest.raises(AssertionError, match=r"condition; its last error: five are four$") as caught:
        eventually(condition, timeout=0.02)
    assert str(caught.value.__cause__) == "five are four"


def test_a_condition_that_hangs_is_interrupted() -> None:
    """The limit is for the whole; a limit of somebody else's goes through."""
    with pytest.raises(AssertionError, match=r"the last answer was None$"):
        eventually(gevent.event.Event().wait, timeout=0.02)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        eventually(lambda: False, timeout=30.0)


def test_other_errors_are_errors() -> None:
    """They say that the condition is wrong, and waiting would not help."""
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 // 0)

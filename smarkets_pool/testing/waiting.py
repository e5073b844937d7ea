"""``eventually``: waiting for what other greenlets bring about, with a deadline and without a bare sleep."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent

__all__ = ["eventually"]

_T = TypeVar("_T")

#: Seconds between two looks.
_PAUSE = 0.002


def eventually(condition: Callable[[], _T], timeout: float = 5.0, *, what: str | None = None) -> _T:
    """Ask ``condition`` again and again until its answer is true, and return that answer.

    A condition that raises AssertionError is not true yet. The seconds are real ones, whatever a fake clock
    says: with such a clock ``FakeClock.advance_until`` lets its time pass instead.

    Args:
        what: for the error's sentence; by default the condition's own name.

    Raises:
        AssertionError: it was not true within ``timeout`` seconds; with its last answer, or its last error.
    """
    said = what if what is not None else getattr(condition, "__qualname__", repr(condition))
    last: object = None
    problem: AssertionError | None = None
    # The limit is for a condition that waits itself; it is looked at between two looks as well.
    over = gevent.Timeout(timeout)
    try:
        with over:
            while True:
                try:
                    value = condition()
                except AssertionError as error:
                    problem, last = error, error
                else:
                    problem = None
                    if value:
                        return value
                    last = value
                gevent.sleep(_PAUSE)
    except gevent.Timeout as passed:
        if passed is not over:
            raise
    answer = f"its last error: {problem}" if problem is not None else f"the last answer was {last!r}"
    raise AssertionError(f"not true within {timeout} s: {said}; {answer}") from problem

"""Waiting for something to become true, with a deadline and never a bare sleep."""

from collections.abc import Callable
from typing import Any

import gevent


def eventually(condition: Callable[[], Any], timeout: float = 5.0) -> Any:
    """The first true value of ``condition``, asked again and again until ``timeout`` seconds are over."""
    with gevent.Timeout(timeout, AssertionError(f"not true within {timeout} s: {condition!r}")):
        while not (value := condition()):
            gevent.sleep(0.002)
    return value

"""Patched sockets for every test, and the promise that each test cleans up behind itself."""

from gevent import monkey

monkey.patch_all()

import gc
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import gevent
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("default")

HERE = pathlib.Path(__file__).parent
#: Folders (and a file) whose tests open sockets or spawn greenlets.
LIVE = {
    "config",
    "pool",
    "session",
    "exchange_live",
    "testing",
    "cli",
    "examples",
    "scenarios",
    "secrets",
    "test_logs.py",
    "vendor",
}


@pytest.fixture(scope="session", autouse=True)
def warm() -> None:
    """What gevent opens once per process (loop, resolver's threads, child watcher) is open already."""
    gevent.sleep(0)
    socket.getaddrinfo("localhost", 1)
    subprocess.run([sys.executable, "-c", ""], check=True)
    # What was imported stays, and nobody has to look through it again after each test.
    gc.collect()
    gc.freeze()


def _greenlets() -> set[int]:
    return {id(thing) for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet) and not thing.dead}


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


#: The living greenlets when the last checked test was over: looking through the heap is most of the cost.
_known: list[set[int]] = []


@pytest.fixture(autouse=True)
def no_leftovers(request: pytest.FixtureRequest) -> Iterator[None]:
    """No greenlet and no descriptor outlives the test that made it."""
    if request.path.relative_to(HERE).parts[0] not in LIVE:
        _known.clear()
        yield
        return
    greenlets, descriptors = _known.pop() if _known else _greenlets(), _descriptors()
    yield
    with gevent.Timeout(5, AssertionError("greenlets or descriptors are left over")):
        while (now := _greenlets()) - greenlets or _descriptors() > descriptors:
            gc.collect()
            gevent.sleep(0.005)
    _known[:] = [now]

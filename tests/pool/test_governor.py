"""The login governor alone: a bucket of tokens, a queue, and one canary."""

from types import SimpleNamespace

import pytest

from smarkets_pool.policies import Backoff
from smarkets_pool.pool.governor import Governor
from smarkets_pool.pool.timekeeper import Timekeeper
from tests.rig.pooling import ManualRuntime


class Bench:
    """A governor with members that are only names."""

    def __init__(self, rate: float = 10, burst: int = 3) -> None:
        self.runtime = ManualRuntime()
        self.errors = []
        timekeeper = Timekeeper(self.runtime, lambda *error: self.errors.append(error))
        self.governor = Governor(self.runtime, timekeeper, rate=rate, burst=burst, backoff=Backoff(jitter=0))
        self.admitted = []
        self.members = {}

    def ask(self, *names: str) -> None:
        """Have these wait for admission."""
        for name in names:
            member = self.members.setdefault(name, SimpleNamespace(account=SimpleNamespace(name=name)))
            self.governor.ask(member, lambda name=name: self.admitted.append((name, self.runtime.clock)))

    def names(self) -> list[str]:
        """Who was admitted, in order."""
        return [name for name, _ in self.admitted]


def test_a_burst_is_admitted_at_once_and_the_rest_at_the_rate():
    """First come, first served."""
    bench = Bench()
    bench.ask(*"abcdef")
    assert bench.names() == ["a", "b", "c"]
    bench.runtime.advance(0.05)
    assert bench.names() == ["a", "b", "c"]
    bench.runtime.advance(1)
    assert bench.names() == list("abcdef")
    assert [round(at - 1000, 3) for _, at in bench.admitted[3:]] == [0.1, 0.2, 0.3]


def test_tokens_come_back_up_to_the_burst_and_no_further():
    """An hour of quiet is worth one burst."""
    bench = Bench()
    bench.ask(*"abc")
    bench.runtime.advance(3600)
    bench.ask(*"defgh")
    assert bench.names() == list("abcdef")
    assert bench.governor.snapshot()["waiting"] == 2


def test_a_rate_below_one_admits_one_at_a_time():
    """Every ten seconds."""
    bench = Bench(rate=0.1, burst=1)
    bench.ask(*"abc")
    bench.runtime.advance(19.9)
    assert bench.names() == ["a", "b"]
    bench.runtime.advance(0.2)
    assert bench.names() == ["a", "b", "c"]


def test_nobody_waiting_needs_no_timer():
    """An idle governor is asleep."""
    bench = Bench()
    assert bench.governor.next_deadline() is None
    bench.ask("a")
    assert bench.governor.next_deadline() is None


def test_one_who_withdrew_is_not_admitted():
    """And costs the others no token."""
    bench = Bench(burst=1)
    bench.ask("a", "b", "c")
    bench.governor.withdraw(bench.members["b"])
    bench.runtime.advance(0.1)
    assert bench.names() == ["a", "c"]


def paused(burst: int = 3) -> Bench:
    """A governor that has just heard of a downtime from "a", with three more waiting."""
    bench = Bench(burst=burst)
    bench.ask("a")
    bench.governor.failed(bench.members["a"], downtime=True)
    bench.ask("b", "c", "d")
    return bench


def test_during_downtime_only_a_canary_is_admitted_and_not_at_once():
    """Tokens or not: the first probe waits for the backoff's first delay, the others for the probe."""
    bench = paused()
    bench.runtime.advance(0.49)
    assert bench.names() == ["a"]
    bench.runtime.advance(0.02)
    assert bench.names() == ["a", "b"]
    assert bench.governor.snapshot() == {
        "waiting": 2,
        "paused": True,
        "canary": "b",
        "admitted_total": 2,
    }
    bench.runtime.advance(100)
    assert bench.names() == ["a", "b"]


def test_probes_come_at_growing_intervals_whoever_makes_them():
    """A thousand waiting accounts must not probe one after the other as fast as they are refused."""
    bench = paused()
    times = []
    for name in "bcd":
        while name not in bench.names():
            bench.runtime.advance(0.05)
        times.append(bench.runtime.clock)
        bench.governor.failed(bench.members[name], downtime=True)
    assert times[1] - times[0] == pytest.approx(1.0, abs=0.06)
    assert times[2] - times[1] == pytest.approx(2.0, abs=0.06)


def test_sessions_that_one_downtime_ended_together_are_one_step():
    """The pause does not grow with the number of accounts that were logged in."""
    bench = Bench(burst=5)
    bench.ask(*"abcd")
    for name in "abcd":
        bench.governor.failed(bench.members[name], downtime=True)
    bench.ask("e")
    bench.runtime.advance(0.51)
    assert bench.names()[-1] == "e"


def test_a_canary_that_fails_otherwise_makes_the_next_probe_wait_too():
    """Down is down: connections that are refused then are no reason to hurry."""
    bench = paused()
    bench.runtime.advance(0.51)
    bench.governor.failed(bench.members["b"], downtime=False)
    bench.runtime.advance(0.9)
    assert bench.names() == ["a", "b"]
    bench.runtime.advance(0.2)
    assert bench.names() == ["a", "b", "c"]
    assert bench.governor.snapshot()["paused"]


def test_a_canary_that_withdraws_is_followed_by_the_next():
    """It was removed, say."""
    bench = paused()
    bench.runtime.advance(0.51)
    bench.governor.withdraw(bench.members["b"])
    bench.runtime.advance(0.1)
    assert bench.names() == ["a", "b", "c"]


def test_a_canary_that_is_in_ends_the_pause():
    """The rest follow at the bucket's pace."""
    bench = paused(burst=1)
    bench.runtime.advance(0.51)
    assert bench.names() == ["a", "b"]
    bench.governor.succeeded(bench.members["b"])
    bench.runtime.advance(0.1)
    assert bench.names() == ["a", "b", "c"]
    bench.runtime.advance(0.1)
    assert bench.names() == ["a", "b", "c", "d"]


def test_probes_are_spaced_by_the_backoff_of_the_downtime():
    """However many accounts wait, and each with a backoff of its own."""
    bench = Bench(rate=1000, burst=100)
    bench.ask("first")
    bench.governor.failed(bench.members["first"], downtime=True)
    bench.ask(*"abcde")
    for _ in range(200):
        bench.runtime.advance(0.1)
        if (name := bench.governor.snapshot()["canary"]) is not None:
            bench.governor.failed(bench.members[name], downtime=True)
    times = [round(at - 1000, 1) for _, at in bench.admitted[1:]]
    assert bench.names()[1:] == list("abcde")
    gaps = [b - a for a, b in zip([0, *times], times, strict=False)]
    assert gaps == pytest.approx([0.5, 1, 2, 4, 8], abs=0.15)


def test_sessions_that_a_downtime_ends_together_are_one_step_of_its_backoff():
    """A thousand logouts are one outage."""
    bench = Bench()
    bench.ask(*"abc")
    for name in "abc":
        bench.governor.failed(bench.members[name], downtime=True)
    bench.ask("d")
    bench.runtime.advance(0.6)
    assert bench.names() == ["a", "b", "c", "d"]


def test_a_failure_of_somebody_else_leaves_the_canary_alone():
    """Only its own end makes way for another."""
    bench = Bench()
    bench.ask("a", "b")
    bench.governor.failed(bench.members["a"], downtime=True)
    bench.ask("c", "d")
    bench.governor.failed(bench.members["b"], downtime=False)
    bench.runtime.advance(1)
    assert bench.names() == ["a", "b", "c"]
    assert bench.governor.snapshot()["canary"] == "c"


def test_its_repr_tells_how_many_wait():
    """Log and debugger agree."""
    bench = Bench(burst=1)
    bench.ask("a", "b")
    assert repr(bench.governor) == "<Governor 1 waiting>"
    bench.governor.failed(bench.members["a"], downtime=True)
    assert repr(bench.governor) == "<Governor 1 waiting, paused>"
    assert bench.errors == []

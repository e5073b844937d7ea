"""Who is to be called next: a heap that may be early and never late; pure."""

from __future__ import annotations

import random

import pytest

from smarkets_pool.exchange.deadlines import Deadlines


class Client:
    """What stands for a connection: it knows when it wants to be called."""

    def __init__(self, due: float | None = None) -> None:
        self.due = due
        self.asked = 0

    def next_deadline(self) -> float | None:
        """When it wants to be called."""
        self.asked += 1
        return self.due


def noted(*dues: float | None) -> tuple[Deadlines, list[Client]]:
    """Clients with these deadlines, noted in this order."""
    deadlines, clients = Deadlines(), [Client(due) for due in dues]
    for client in clients:
        deadlines.note(client, client.due)
    return deadlines, clients


def test_nobody_is_due() -> None:
    """Without a deadline there is no earliest and nobody to call."""
    deadlines, _ = noted(None, None)
    assert deadlines.earliest() is None
    assert deadlines.take_due(1e9) == []
    assert repr(deadlines) == "<Deadlines of 0 connections>"


def test_those_whose_time_has_come_are_taken_once_and_in_order() -> None:
    """At their time, not before it; equal times in the order of noting."""
    deadlines, (late, early, equal) = noted(5.0, 3.0, 5.0)
    assert deadlines.take_due(2.9) == []
    assert deadlines.take_due(3.0) == [early]
    assert deadlines.take_due(9.0) == [late, equal]
    assert deadlines.take_due(9.0) == []


def test_noting_says_whether_it_is_the_earliest_now() -> None:
    """Who waits for the earliest has to wait for another then."""
    deadlines = Deadlines()
    first, second = Client(), Client()
    assert deadlines.note(first, 5.0)
    assert not deadlines.note(second, 6.0)
    assert deadlines.note(second, 4.0)
    assert not deadlines.note(first, None)
    assert not deadlines.note(first, 7.0)


def test_an_earlier_deadline_counts_at_once() -> None:
    """The later one is left over and means nothing, even if its time comes first for somebody else."""
    deadlines, (client, other) = noted(9.0, 8.0)
    client.due = 2.0
    deadlines.note(client, 2.0)
    assert deadlines.earliest() == 2.0
    assert deadlines.take_due(2.0) == [client]
    assert deadlines.take_due(20.0) == [other]


def test_a_deadline_that_was_put_off_costs_nothing_until_its_old_time() -> None:
    """Nobody is asked until the old time is the earliest; then the new one counts."""
    deadlines, (client, other) = noted(3.0, 4.0)
    client.due = 10.0
    deadlines.note(client, 10.0)
    assert client.asked == 0
    assert deadlines.earliest() == 4.0
    assert (client.asked, other.asked) == (1, 1)
    assert deadlines.take_due(9.0) == [other]
    assert deadlines.take_due(10.0) == [client]


def test_a_deadline_that_is_none_any_more_is_found_out() -> None:
    """Somebody who has nothing to wait for is no earliest."""
    deadlines, (client, other) = noted(3.0, 4.0)
    client.due = None
    assert deadlines.earliest() == 4.0
    assert deadlines.take_due(5.0) == [other]


def test_who_is_forgotten_is_never_called() -> None:
    """Nor kept; again is fine."""
    deadlines, (client, other) = noted(3.0, 4.0)
    for _ in range(2):
        deadlines.forget(client)
    assert deadlines.earliest() == 4.0
    assert deadlines.take_due(5.0) == [other]
    assert repr(deadlines) == "<Deadlines of 0 connections>"


@pytest.mark.parametrize("seed", range(20))
def test_it_agrees_with_looking_at_everybody(seed: int) -> None:
    """Whatever is noted, put off, brought forward, taken and forgotten: the earliest is that of all."""
    chance = random.Random(seed)
    deadlines, clients, now = Deadlines(), [Client() for _ in range(8)], 0.0
    for _ in range(300):
        client = chance.choice(clients)
        what = chance.random()
        if what < 0.6:
            client.due = now + chance.randint(1, 6)
            deadlines.note(client, client.due)
        elif what < 0.7:
            client.due = None
            deadlines.forget(client)
        elif what < 0.8:
            client.due = None  # and nobody says so
        else:
            now += chance.randint(0, 3)
            due = [c for c in clients if c.due is not None and c.due <= now]
            taken = deadlines.take_due(now)
            # Those that were put off may be among them, those that are due must be.
            assert set(due) <= set(taken)
            for client in taken:
                client.due = None if client in due else client.due
                deadlines.note(client, client.due)
        assert deadlines.earliest() == min((c.due for c in clients if c.due is not None), default=None)

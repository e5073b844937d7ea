"""One clock for all members: it serves what is due and never holds the loop."""

from __future__ import annotations

from smarkets_pool.pool.timekeeper import Timekeeper
from tests.rig.pooling import ManualRuntime, Record, Simulated, execution, simulated_pool


class Late:
    """Stays due until the loop has turned, and asks to be watched meanwhile."""

    def __init__(self, runtime: ManualRuntime, timekeeper: Timekeeper) -> None:
        self.due: float | None = runtime.now()
        self.served = 0
        self._runtime = runtime
        self._timekeeper = timekeeper

    def next_deadline(self) -> float | None:
        return self.due

    def on_deadline(self, now: float) -> None:
        self.served += 1
        self._runtime.call_soon(self._turned)
        if self.served == 100:
            self.due = None  # or the loop would never turn again, and this test never end
        self._timekeeper.watch(self)

    def _turned(self) -> None:
        self.due = None


def test_a_client_that_stays_due_does_not_hold_the_loop() -> None:
    """What it waits for may be a callback of the loop: the loop turns between two services."""
    runtime = ManualRuntime()
    timekeeper = Timekeeper(runtime, lambda *_: None)
    late = Late(runtime, timekeeper)
    timekeeper.watch(late)
    runtime.advance(0.0)
    assert late.served == 1
    timekeeper.stop()


def test_everybody_that_is_due_is_served_in_one_turn() -> None:
    """In the order in which they were due, each once; who was forgotten meanwhile is not."""
    runtime = ManualRuntime()
    errors: list[object] = []
    timekeeper = Timekeeper(runtime, lambda *error: errors.append(error))
    order: list[str] = []

    class Client:
        def __init__(self, name: str, due: float) -> None:
            self.name = name
            self.due: float | None = runtime.now() + due

        def next_deadline(self) -> float | None:
            return self.due

        def on_deadline(self, now: float) -> None:
            order.append(self.name)
            self.due = None
            if self.name == "a":
                timekeeper.forget(clients["c"])
                clients["d"].due = runtime.now() - 1.0
                timekeeper.watch(clients["d"])

    clients = {name: Client(name, due) for name, due in (("b", 2.0), ("a", 1.0), ("c", 3.0), ("d", 9.0))}
    for client in clients.values():
        timekeeper.watch(client)
    runtime.clock += 5.0
    runtime.advance(0.0)
    assert order == ["a", "b", "d"]
    assert errors == []
    assert len(timekeeper) == 0
    timekeeper.stop()


def test_a_dispatcher_that_was_woken_is_not_idle() -> None:
    """Between the wake and its turn of the loop there is no deadline that nothing can meet."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        inbox = pool["m0"].inbox
        assert inbox.idle_deadline() is not None
        runtime.clock += 5.0  # long past it; no timer has fired yet
        runtime.ends[0].say(execution(1))
        inbox.put(record.of("member.up", "m0")[0])
        assert inbox.idle_deadline() is None
        inbox.wake()
        assert inbox.idle_deadline() is None
        runtime.settle()
        assert len(record.of("member.up", "m0")) == 2
        assert len(record.of("seto.order_executed", "m0")) == 1
        # Then it is idle again, and ends in its time.
        assert inbox.idle_deadline() == runtime.now() + 1.0
        runtime.advance(1.0)
        assert inbox.greenlet is None

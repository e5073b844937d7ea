"""``Inbox``: a member's deliveries on their way to its handlers, one at a time and in order.

The dispatcher greenlet belongs to one member, so a handler may block, and what it forgets behind it (a
running ``gevent.Timeout``, a ``gevent.local``) cannot reach another account. It is switched to once per
read, not once per frame, and ends when nothing came for a second: most accounts are quiet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent

from smarkets_pool.dispatcher import Dispatcher, describe_handler
from smarkets_pool.logs import PlaceLog
from smarkets_pool.pool.delivery import Delivery
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.pool.supervisor import Supervisor

__all__ = ["Inbox"]

_log = PlaceLog("pool.handlers")

MAX_FRAMES = 10_000
MAX_SIZE = 4 << 20
#: An idle dispatcher greenlet ends after this many seconds.
IDLE = 1.0
#: After so many deliveries without a pause the loop is polled, or a backlog would starve the others.
TURN = 200

ErrorHandler = Callable[[Delivery, BaseException], object]


class Inbox:
    """Bounded queue and dispatcher greenlet of one member.

    Args:
        after: called with each delivery once its handlers returned (the position moves on).
        drained: called when the queue has become empty, and now and then before (positions are saved).
        parked: called when the dispatcher greenlet begins to wait; it must not switch.
        on_room: called when a full inbox has fallen to half.
    """

    def __init__(
        self,
        account: str,
        dispatcher: Dispatcher,
        runtime: Runtime,
        supervisor: Supervisor,
        *,
        after: Callable[[Delivery], None],
        drained: Callable[[], None],
        parked: Callable[[], None],
        on_room: Callable[[], None],
        on_error: Callable[[Delivery, BaseException], None],
    ) -> None:
        self._account = account
        self._dispatcher = dispatcher
        self._runtime = runtime
        self._supervisor = supervisor
        self._after = after
        self._drained = drained
        self._parked = parked
        self._on_room = on_room
        self._on_error = on_error
        self._queue: deque[Delivery] = deque()
        self._size = 0
        self._greenlet: gevent.Greenlet[..., Any] | None = None
        self._parked_since: float | None = None
        self._waking = False
        self._busy = False
        self._running: tuple[object, float] | None = None
        self._was_full = False
        self._closed = False
        self.delivered = 0
        self.handler_errors = 0

    def __len__(self) -> int:
        """Deliveries that wait."""
        return len(self._queue)

    @property
    def size(self) -> int:
        """Payload bytes that wait."""
        return self._size

    @property
    def full(self) -> bool:
        """Whether reading should stop until the handlers have caught up."""
        return len(self._queue) >= MAX_FRAMES or self._size >= MAX_SIZE

    @property
    def current(self) -> tuple[str, float]:
        """The handler that runs and for how many seconds; an empty name if none does."""
        if self._running is None:
            return "", 0.0
        handler, since = self._running
        return describe_handler(handler), self._runtime.now() - since

    @property
    def idle(self) -> bool:
        """Whether nothing waits and no handler runs."""
        return not self._queue and not self._busy

    @property
    def greenlet(self) -> gevent.Greenlet[..., Any] | None:
        """The dispatcher greenlet, while there is one."""
        return self._greenlet

    def put(self, delivery: Delivery) -> None:
        """Add a delivery; ``wake`` once after the last of a batch."""
        self._queue.append(delivery)
        if delivery.bytes is not None:
            self._size += len(delivery.bytes)
        if self.full:
            self._was_full = True

    def wake(self) -> None:
        """Let the dispatcher run: at once from the hub, otherwise in the loop's next turn."""
        if not self._queue or self._closed:
            return
        if self._greenlet is None:
            self._greenlet = self._supervisor.spawn(f"dispatcher of {self._account}", self._run)
        else:
            self._unpark(self._greenlet)

    def idle_deadline(self) -> float | None:
        """When a parked dispatcher greenlet is to end, or None if there is none, or it is about to work."""
        if self._parked_since is None or self._waking or self._queue:
            return None
        return self._parked_since + IDLE

    def end_idle(self, now: float) -> None:
        """End the dispatcher greenlet if it has been parked long enough (called in the hub)."""
        due = self.idle_deadline()
        if due is not None and now >= due:
            self.end()

    def end(self) -> None:
        """End the dispatcher greenlet if it is parked; one that works goes on to the end of the queue."""
        if self._greenlet is not None:
            self._unpark(self._greenlet)

    def close(self) -> int:
        """Deliver nothing more; return how many deliveries were dropped."""
        self._closed = True
        dropped = len(self._queue)
        self._queue.clear()
        self._size = 0
        self.end()
        return dropped

    def _unpark(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        if self._parked_since is None or self._waking:
            return
        self._waking = True
        if self._runtime.in_hub():
            greenlet.switch()
        else:
            self._runtime.call_soon(greenlet.switch)

    # --- the dispatcher greenlet -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                self._work()
                if self._closed:
                    return
                self._park()
                if not self._queue:
                    return  # woken to end
        finally:
            self._greenlet = None
            self._busy = False
            if self._queue:
                # Killed from outside, or an error of ours: the deliveries behind it still count.
                self.wake()

    def _park(self) -> None:
        self._parked_since = self._runtime.now()
        self._parked()
        try:
            self._runtime.park()
        finally:
            self._parked_since = None
            self._waking = False

    def _work(self) -> None:
        turn = 0
        while self._queue:
            delivery = self._queue.popleft()
            if delivery.bytes is not None:
                self._size -= len(delivery.bytes)
            self._busy = True
            self._deliver(delivery)
            self._busy = False
            self.delivered += 1
            self._after(delivery)
            if self._was_full and len(self._queue) <= MAX_FRAMES // 2 and self._size <= MAX_SIZE // 2:
                self._was_full = False
                self._on_room()
            turn += 1
            if turn % TURN == 0:
                self._drained()  # under steady load the queue is never empty
                self._runtime.breathe()
        self._drained()

    def _deliver(self, delivery: Delivery) -> None:
        for route in self._dispatcher.routes_for(delivery.name):
            if not route.wants(delivery.account, delivery.message):
                continue
            self._running = (route.handler, self._runtime.now())
            try:
                route.handler(delivery)
            except (KeyboardInterrupt, SystemExit):
                raise  # meant for the program: out of this greenlet it reaches the main one
            except BaseException as error:
                if self._closed and isinstance(error, gevent.GreenletExit):
                    raise  # killed because it did not end; otherwise it is the handler's own
                self.handler_errors += 1
                _log.exception(
                    delivery.account,
                    "handler %s failed on %s",
                    describe_handler(route.handler),
                    delivery.name,
                )
                self._on_error(delivery, error)
            finally:
                self._running = None

"""``Retirement``: how members end, in order or at once."""

from __future__ import annotations

from collections.abc import Callable, Collection

import gevent
import gevent.event

from smarkets_pool.policies import Deadline
from smarkets_pool.pool.member import Member
from smarkets_pool.pool.runtime import Runtime

__all__ = ["Loss", "Retirement"]

#: Names of those whose connection had to be cut, and account -> deliveries that its handlers did not get.
Loss = tuple[list[str], dict[str, int]]


class Retirement:
    """Ends members: their sessions, then their inboxes; each then saves its position for the last time.

    Args:
        changed: set whenever something has happened to a member.
    """

    def __init__(self, runtime: Runtime, changed: gevent.event.Event) -> None:
        self._runtime = runtime
        self._changed = changed

    def in_order(self, members: Collection[Member], deadline: Deadline) -> Loss:
        """Log out, finish inboxes, close."""
        for member in members:
            member.stop()
        self._wait_for(lambda: all(member.finished for member in members), deadline)
        cut = [member.name for member in members if not member.finished or member.logged_out is False]
        for member in members:
            member.close()
        current = gevent.getcurrent()
        others = [member for member in members if member.inbox.greenlet is not current]
        self._wait_for(lambda: all(member.inbox.idle for member in others), deadline)
        return cut, self._close(members)

    def at_once(self, members: Collection[Member]) -> Loss:
        """Close everything without waiting for anything."""
        cut = [member.name for member in members if not member.finished]
        for member in members:
            member.close()
        return cut, self._close(members)

    def with_handler(self, member: Member, timeout: float) -> None:
        """One in order, and in the end its handler if that still runs: it must not overlap with those of a
        member that takes this one's place.
        """
        self.in_order([member], Deadline.after(timeout, self._runtime.now()))
        self._end_handler(member)

    def with_handler_at_once(self, member: Member) -> None:
        """The same without waiting for the logout."""
        self.at_once([member])
        self._end_handler(member)

    @staticmethod
    def _close(members: Collection[Member]) -> dict[str, int]:
        undelivered = {}
        for member in members:
            dropped = member.inbox.close()
            if dropped:
                undelivered[member.name] = dropped
            member.retire()
        return undelivered

    @staticmethod
    def _end_handler(member: Member) -> None:
        stuck = member.inbox.greenlet
        if stuck is not None and stuck is not gevent.getcurrent():
            stuck.kill(timeout=1.0)

    def _wait_for(self, done: Callable[[], bool], deadline: Deadline) -> None:
        while not done():
            left = deadline.left(self._runtime.now())
            if left is not None and left <= 0:
                return
            self._changed.clear()
            self._runtime.wait(self._changed, left)

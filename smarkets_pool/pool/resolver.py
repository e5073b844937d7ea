"""``Resolver``: a pool's lookups, off the hub and one at a time per host.

A lookup is a blocking call of the system, so gevent gives it to a thread. After an outage a thousand
members would ask for the same name at once, and the few threads there are would serve them one after the
other; here those who come while a lookup is under way share its answer.
"""

from __future__ import annotations

from typing import Any

import gevent.event
import gevent.socket

from smarkets_pool.session.addresses import Address, Resolve

__all__ = ["Resolver"]


def _in_a_thread(host: str, port: int) -> list[Address]:
    # gevent's own function: it leaves the hub alone even where ``socket`` was patched without DNS.
    found: list[Any] = gevent.socket.getaddrinfo(host, port, type=gevent.socket.SOCK_STREAM)
    return found


class Resolver:
    """Finds the addresses of hosts for many members; ``look_up`` is how."""

    def __init__(self, look_up: Resolve = _in_a_thread) -> None:
        self._look_up = look_up
        self._under_way: dict[tuple[str, int], gevent.event.AsyncResult[list[Address] | None]] = {}

    def resolve(self, host: str, port: int) -> list[Address]:
        """Every address of a host.

        Raises:
            OSError, ValueError: it has none, or cannot be looked up.
        """
        place = (host, port)
        while (shared := self._under_way.get(place)) is not None:
            found = shared.get()
            if found is not None:
                return found
            # Whoever was looking was interrupted, which says nothing about the name.
        return self._lead(place)

    def _lead(self, place: tuple[str, int]) -> list[Address]:
        answer: gevent.event.AsyncResult[list[Address] | None] = gevent.event.AsyncResult()
        self._under_way[place] = answer
        try:
            found = self._look_up(*place)
        except Exception as error:
            self._under_way.pop(place)
            answer.set_exception(error)
            raise
        except BaseException:
            self._under_way.pop(place)
            answer.set(None)
            raise
        self._under_way.pop(place)
        answer.set(found)
        return found

"""``FrameLog``: the frames of one session at DEBUG, by name, number and size, never by content.

A login's frame is a line like any other: what it holds is never formatted, so it cannot be logged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from smarkets_pool.logs import PlaceLog
from smarkets_pool.protocol import Received
from smarkets_pool.wire.framing import FrameBuffer
from smarkets_pool.wire.payloads import parse_payload, payload_name

__all__ = ["FrameLog"]

_log = PlaceLog("session.wire")


class FrameLog:
    """Writes a line per frame while ``enabled``.

    Args:
        write: takes place, level, account, text and arguments; in the hub it must not be the log itself.
    """

    __slots__ = ("_account", "_write")

    def __init__(self, account: str, write: Callable[..., None] = PlaceLog.log) -> None:
        self._account = account
        self._write = write

    @property
    def enabled(self) -> bool:
        """Whether somebody wants to see frames; ask once per read, not per frame."""
        return _log.debugging

    def received(self, frame: Received) -> None:
        """A frame arrived in order."""
        replay = ", a replay" if frame.is_replay else ""
        self._line("in  %s seq %d, %d bytes%s", frame.name, frame.seq, len(frame.data), replay)

    def sent(self, data: bytes) -> None:
        """Whole frames are on their way out."""
        frames = _described(data)
        del data  # a login must not be a variable of whoever logs: some show the whole stack with those
        for frame in frames:
            self._line("out %s seq %d, %d bytes", *frame)

    def _line(self, text: str, *args: object) -> None:
        self._write(_log, logging.DEBUG, self._account, text, *args)


def _described(data: bytes) -> list[tuple[str, int, int]]:
    """Name, number and size of each frame."""
    found = []
    frames = FrameBuffer()
    frames.feed(data)
    while (payload := frames.next_payload()) is not None:
        parsed = parse_payload(payload)
        found.append((payload_name(parsed), parsed.eto_payload.seq, len(payload)))
    return found

"""``Output``: a stream that nobody waits for.

A terminal that was stopped (Ctrl-S), or a pager that is not scrolled, takes no bytes, and a plain write to it
would hold up the whole process: no heartbeats, no handlers. So text is queued here and written by a thread;
if the queue is full, the oldest text is dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

import gevent
import gevent.event
import gevent.monkey

__all__ = ["Output", "OutputHandler", "words_for_dropped"]

_LIMIT = 4_000

#: The real ones: after monkey-patching the first tells greenlets apart, and the second waits with a hub.
_thread_id: Callable[[], int] = gevent.monkey.get_original("_thread", "get_ident")
_poll: Callable[[], Any] = gevent.monkey.get_original("select", "poll")


class Output:
    """Writes text to a stream's descriptor in a thread; looks like a text file to whoever prints.

    Any thread may write. Close it from the one that made it.

    Args:
        stream: such as ``sys.stdout``; text that is not from here must not be written to it meanwhile. None
            if the process was started without it.
        limit: pieces of text that may wait.
    """

    def __init__(self, stream: TextIO | None, *, limit: int = _LIMIT) -> None:
        self._stream = stream
        self._descriptor = -1 if stream is None else stream.fileno()
        self._limit = limit
        self._waiting: deque[str] = deque()
        self._writer: gevent.Greenlet[..., None] | None = None
        self._idle = gevent.event.Event()
        self._idle.set()
        self._hub = gevent.get_hub()
        self._thread = _thread_id()
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        #: Pieces that were dropped since it was last told.
        self.dropped = 0
        #: How it is told: the text that comes before the rest.
        self.words_for_dropped: Callable[[int], str] = words_for_dropped
        #: Whether there is nobody to write for: the reader has gone.
        self.broken = stream is None

    def write(self, text: str) -> int:
        """Queue a text; never waits."""
        if self.broken or not text:
            return len(text)
        if len(self._waiting) >= self._limit:
            with contextlib.suppress(IndexError):  # another thread may have taken it
                self._waiting.popleft()
                self.dropped += 1
        self._waiting.append(text)
        if _thread_id() == self._thread:
            self._begin()
        else:
            self._hub.loop.run_callback_threadsafe(self._begin)
        return len(text)

    def line(self, text: str) -> None:
        """Queue a line."""
        self.write(text + "\n")

    def flush(self) -> None:
        """Nothing: it is written as soon as it can be."""

    def isatty(self) -> bool:
        """Whether a person watches."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._descriptor

    @property
    def waiting(self) -> int:
        """Pieces of text that are not written yet."""
        return len(self._waiting)

    def close(self, timeout: float = 2.0) -> None:
        """Give what waits up to ``timeout`` seconds."""
        self._begin()
        self._idle.wait(timeout)
        if self._writer is not None:
            self._writer.kill(block=False)

    def _begin(self) -> None:
        if self._writer is None and self._waiting:
            self._idle.clear()
            self._writer = gevent.spawn(self._write)
            self._writer.name = "output"

    def _write(self) -> None:
        try:
            while self._waiting:
                text = self._take()
                # Names may hold what the terminal's encoding has not; that must not cost the line.
                data = text.encode(self.encoding, errors="replace")
                self.broken = gevent.get_hub().threadpool.apply(_write_all, (self._descriptor, data))
                if self.broken:
                    self._waiting.clear()
        finally:
            self._writer = None
            self._idle.set()

    def _take(self) -> str:
        pieces = []
        dropped, self.dropped = self.dropped, 0
        if dropped:
            pieces.append(self.words_for_dropped(dropped))
        while self._waiting:
            pieces.append(self._waiting.popleft())
        return "".join(pieces)


def words_for_dropped(pieces: int) -> str:
    """A line that stands where pieces of output are missing."""
    return f"... {pieces} pieces of output were dropped: nobody took them\n"


def _write_all(descriptor: int, data: bytes) -> bool:
    """Write everything, in a thread; True if the reader has gone (an error here would be printed)."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # Somebody who has the same terminal or pipe made it so; it is as full as one that blocks.
            poll = _poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
        except OSError:
            return True
    return False


class OutputHandler(logging.Handler):
    """Log records as lines of an ``Output``."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Format and queue; never waits."""
        try:
            self._output.line(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own way with a record that cannot be formatted
            self.handleError(record)

"""``Output``: a stream that nobody waits for.

A terminal that was stopped (Ctrl-S), or a pager that is not scrolled, takes no bytes, and a plain write to it
would hold up the whole process: no heartbeats, no handlers. So text is queued here and written by a thread;
if the queue is full, the oldest text is dropped and counted.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import TextIO

import gevent
import gevent.event

__all__ = ["Output", "OutputHandler"]

_LIMIT = 4_000


class Output:
    """Writes text to a stream's descriptor in a thread; looks like a text file to whoever prints.

    Args:
        stream: such as ``sys.stdout``; text that is not from here must not be written to it meanwhile.
        limit: pieces of text that may wait.
    """

    def __init__(self, stream: TextIO, *, limit: int = _LIMIT) -> None:
        self._stream = stream
        self._descriptor = stream.fileno()
        self._limit = limit
        self._waiting: deque[str] = deque()
        self._writer: gevent.Greenlet[..., None] | None = None
        self._idle = gevent.event.Event()
        self._idle.set()
        self.encoding = stream.encoding or "utf-8"
        self.dropped = 0
        #: Whether the reader has gone: there is nobody to write for any more.
        self.broken = False

    def write(self, text: str) -> int:
        """Queue a text; never waits."""
        if self.broken or not text:
            return len(text)
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(text)
        if self._writer is None:
            self._idle.clear()
            self._writer = gevent.spawn(self._write)
            self._writer.name = "output"
        return len(text)

    def line(self, text: str) -> None:
        """Queue a line."""
        self.write(text + "\n")

    def flush(self) -> None:
        """Nothing: it is written as soon as it can be."""

    def isatty(self) -> bool:
        """Whether a person watches."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._descriptor

    @property
    def waiting(self) -> int:
        """Pieces of text that are not written yet."""
        return len(self._waiting)

    def close(self, timeout: float = 2.0) -> None:
        """Give what waits up to ``timeout`` seconds."""
        self._idle.wait(timeout)
        if self._writer is not None:
            self._writer.kill(block=False)

    def _write(self) -> None:
        try:
            while self._waiting:
                text = "".join(self._waiting)
                self._waiting.clear()
                if self.dropped:
                    text = f"... {self.dropped} pieces of output were dropped: nobody took them\n{text}"
                    self.dropped = 0
                gevent.get_hub().threadpool.apply(_write_all, (self._descriptor, text.encode(self.encoding)))
        except OSError:
            self.broken = True
            self._waiting.clear()
        finally:
            self._writer = None
            self._idle.set()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


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

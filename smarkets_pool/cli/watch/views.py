"""Views: the same story for a person at a terminal, for a file, and for a program.

A program tells its story with ``say`` and the figures of its pool; what that looks like is the view's.
"""

from __future__ import annotations

import abc
import io
import json
import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

import gevent

from smarkets_pool.cli.watch.figures import Figures, Totals
from smarkets_pool.cli.watch.output import Output, OutputHandler

__all__ = ["JsonView", "LineView", "View", "one_line"]

#: Seconds between two lines about the figures.
_PAUSE = 1.0


def one_line(text: str) -> str:
    """A text that stays on its line and does nothing to a terminal, whatever is in it.

    What comes from a peer or from a user's file may hold line ends and worse: spaces and escapes stand for
    them.
    """
    if text.isprintable():
        return text
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()


class _Printed(io.TextIOBase):
    """Takes the place of standard output or error: a plain ``print`` would wait for whoever reads it, and the
    whole process with it, or raise in the middle of a handler when the reader has gone.
    """

    def __init__(self, output: Output, write: Callable[[str], object]) -> None:
        self._output = output
        self._write = write

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._output.encoding

    def write(self, text: str) -> int:
        self._write(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._output.isatty()

    def fileno(self) -> int:
        return self._output.fileno()


class View(abc.ABC):
    """A story on standard output; logs go to standard error, and what anybody prints to either goes the
    same ways. Use as a context manager.
    """

    #: Seconds between two looks at the figures.
    pause = _PAUSE

    def __init__(self, output: Output, errors: Output) -> None:
        self.output = output
        self._errors = errors
        self._began = time.monotonic()
        self._watcher: gevent.Greenlet[..., None] | None = None
        self._handler: logging.Handler | None = None
        self._former: list[logging.Handler] = []
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        #: How far the story is, from 0 to 1; None if it has no end.
        self.done: float | None = None

    # --- life ------------------------------------------------------------------------------------

    def __enter__(self) -> View:
        root = logging.getLogger()
        self._former = root.handlers[:]
        self._handler = self.log_handler()
        formatters = [handler.formatter for handler in self._former if handler.formatter is not None]
        self._handler.setFormatter(formatters[0] if formatters else None)
        self._handler.setLevel(min((handler.level for handler in self._former), default=logging.NOTSET))
        root.handlers[:] = [self._handler]
        self._streams = (sys.stdout, sys.stderr)
        sys.stdout = _Printed(self.output, self.show_printed)
        sys.stderr = _Printed(self._errors, self._errors.write)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unwatch()
        sys.stdout, sys.stderr = self._streams
        logging.getLogger().handlers[:] = self._former
        self.output.close()
        self._errors.close()

    def watch(self, figures: Figures) -> None:
        """Show these figures until ``unwatch``."""
        self.unwatch()
        self._watcher = gevent.spawn(self._keep_looking, figures)

    def unwatch(self) -> None:
        """Show no more figures."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.kill()

    def _keep_looking(self, figures: Figures) -> None:
        while True:
            self.look(figures)
            gevent.sleep(self.pause)

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return time.monotonic() - self._began

    # --- what each view says in its own way ------------------------------------------------------

    def log_handler(self) -> logging.Handler:
        """Where log records go while this view is open."""
        return OutputHandler(self._errors)

    def show_printed(self, text: str) -> None:
        """Somebody printed this piece of text."""
        self.output.write(text)

    @abc.abstractmethod
    def say(self, text: str, **data: Any) -> None:
        """Something happened: a sentence for people, its data for programs."""

    @abc.abstractmethod
    def look(self, figures: Figures) -> None:
        """Time to show the figures again."""

    @abc.abstractmethod
    def summary(self, title: str, checks: list[tuple[str, Any, bool]]) -> None:
        """The last word: name, value and whether it is as it should be."""


class LineView(View):
    """Lines with the seconds since the start, for files and pipes."""

    def say(self, text: str, **data: Any) -> None:
        """One line."""
        self.output.line(f"{self.seconds:6.2f} s  {one_line(text)}")

    def look(self, figures: Figures) -> None:
        """One line about the pool as a whole."""
        totals, _ = figures.look(time.monotonic())
        self.say(_in_words(totals))

    def summary(self, title: str, checks: list[tuple[str, Any, bool]]) -> None:
        """A line per check."""
        self.output.line(f"\n{title}")
        for name, value, good in checks:
            self.output.line(f"  {name:32} {value!s:>9}  {'ok' if good else 'NOT AS IT SHOULD BE'}")


class JsonView(View):
    """One JSON object per line, each with ``event`` and ``seconds``; docs/logging.md lists the events."""

    def __init__(self, output: Output, errors: Output) -> None:
        super().__init__(output, errors)
        output.words_for_dropped = lambda pieces: self._line({"event": "dropped", "lines": pieces}) + "\n"
        self._printed = ""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._printed:
            self.show_printed("\n")
        super().__exit__(kind, error, traceback)

    def show_printed(self, text: str) -> None:
        """``{"event": "printed", "text": ...}`` for each whole line."""
        *lines, self._printed = f"{self._printed}{text}".split("\n")
        for line in lines:
            self.say(line, event="printed")

    def say(self, text: str, **data: Any) -> None:
        """``{"event": "said", "text": ...}``, or the event named in the data."""
        self._object({"event": "said", **data, "text": text})

    def look(self, figures: Figures) -> None:
        """``{"event": "figures", ...}`` with the totals and a list of accounts."""
        totals, rows = figures.look(time.monotonic())
        self._object({"event": "figures", **_plain(totals), "members": [_plain(row) for row in rows]})

    def summary(self, title: str, checks: list[tuple[str, Any, bool]]) -> None:
        """``{"event": "summary", "checks": [...]}``."""
        listed = [{"name": name, "value": value, "ok": good} for name, value, good in checks]
        self._object({"event": "summary", "text": title, "checks": listed})

    def _object(self, data: dict[str, Any]) -> None:
        self.output.line(self._line(data))

    def _line(self, data: dict[str, Any]) -> str:
        return json.dumps({"seconds": round(self.seconds, 3), **data}, default=str)


def _in_words(totals: Totals) -> str:
    return (
        f"{totals.up} up, {totals.recovering} recovering, {totals.down} down; "
        f"{totals.frames} frames ({totals.frames_in:.0f}/s), {totals.orders} orders, "
        f"{totals.executions} executions, {totals.reconnects} reconnects, {totals.gaps} gaps"
    )


def _plain(figures: Any) -> dict[str, Any]:
    return {name: getattr(figures, name) for name in figures.__slots__}

"""``LiveView``: a table of the accounts, a progress bar and the latest lines, on a terminal."""

from __future__ import annotations

import logging
import time
from collections import deque
from types import TracebackType
from typing import Any, TextIO, cast

import gevent
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from smarkets_pool.cli.watch.figures import Figures, Row, Totals
from smarkets_pool.cli.watch.output import Output
from smarkets_pool.cli.watch.views import View

__all__ = ["LiveView"]

_STYLES = {"UP": "green", "RECOVERING": "yellow", "DOWN": "red"}
_LINES = 8
#: Lines of the screen that are not rows of the table.
_FRAME = _LINES + 9
_MANY = 200
_PAUSE = 0.25
#: Pieces of output that wait when there is nobody who takes them.
_WAITING = 20


class LiveView(View):
    """Repaints itself; everything printed stays on the screen when it ends."""

    pause = _PAUSE

    def __init__(self, output: Output, errors: Output, console: Console | None = None) -> None:
        super().__init__(output, errors)
        # Rich writes to whatever has write(); the output's thread does the writing.
        self._console = console or Console(file=cast("TextIO", output), force_terminal=True)
        self._lines: deque[Text] = deque(maxlen=_LINES)
        self._live = Live(console=self._console, auto_refresh=False, screen=False, transient=False)
        self._totals: Totals | None = None
        self._rows: list[Row] = []
        self._last_words: list[Table] = []
        self._stale = True
        self._painter: gevent.Greenlet[..., None] | None = None

    def __enter__(self) -> View:
        super().__enter__()
        self._live.start()
        self._painter = gevent.spawn(self._keep_painting)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unwatch()
        if self._painter is not None:
            self._painter.kill()
        self._live.update(self._picture(), refresh=True)
        self._live.stop()
        for table in self._last_words:
            self._console.print(table)
        super().__exit__(kind, error, traceback)

    def log_handler(self) -> logging.Handler:
        """Log records go into the pane of lines."""
        return _Pane(self)

    def say(self, text: str, **data: Any) -> None:
        """A line of the pane."""
        self.add_line(Text(f"{self.seconds:6.2f} s  {text}"))

    def add_line(self, line: Text) -> None:
        """Show a line, and forget the oldest."""
        line.no_wrap, line.overflow = True, "ellipsis"
        self._lines.append(line)
        self._stale = True

    def add_above(self, text: str) -> None:
        """Print what is longer than a line above the picture, where it scrolls away."""
        self._console.print(Text(text))

    def look(self, figures: Figures) -> None:
        """Repaint with new figures."""
        self._totals, self._rows = figures.look(time.monotonic())
        # Looking at very many accounts costs time that they need themselves.
        self.pause = _PAUSE if len(self._rows) <= _MANY else 8 * _PAUSE
        self._stale = True

    def summary(self, title: str, checks: list[tuple[str, Any, bool]]) -> None:
        """A table of its own, below the picture when that has ended."""
        table = Table(title=title, title_justify="left", box=None)
        table.add_column()
        table.add_column(justify="right")
        table.add_column()
        for name, value, good in checks:
            verdict = Text("ok", "green") if good else Text("NOT AS IT SHOULD BE", "bold red")
            table.add_row(name, str(value), verdict)
        self._last_words.append(table)

    # --- the picture -----------------------------------------------------------------------------

    def _keep_painting(self) -> None:
        while True:
            # What waits is not taken: another picture on top of it would only make it more.
            if self._stale and self.output.waiting < _WAITING:
                self._stale = False
                self._live.update(self._picture(), refresh=True)
            gevent.sleep(_PAUSE)

    def _picture(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._totals is not None:
            parts += [self._table(), self._bar(self._totals)]
        parts.append(Panel(Group(*self._lines), title="log", title_align="left", height=_LINES + 2))
        return Group(*parts)

    def _table(self) -> Table:
        table = Table(expand=True, box=None, pad_edge=False)
        table.add_column("account", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for heading in ("in/s", "out/s", "last frame", "reconnects", "orders", "executions", "gaps"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
        room = max(3, self._console.height - _FRAME)
        for row in self._rows[:room]:
            table.add_row(
                row.account,
                Text(row.state, _STYLES[row.state]),
                f"{row.frames_in:.0f}",
                f"{row.frames_out:.0f}",
                "" if row.last_frame is None else f"{row.last_frame:.1f} s",
                *(str(count) for count in (row.reconnects, row.orders, row.executions, row.gaps)),
                Text(row.remark, "dim"),
            )
        if len(self._rows) > room:
            rest = self._rows[room:]
            up = sum(row.state == "UP" for row in rest)
            table.add_row(Text(f"and {len(rest)} more, {up} of them UP", "dim"))
        return table

    def _bar(self, totals: Totals) -> RenderableType:
        share = self.done if self.done is not None else totals.up / max(1, totals.accounts)
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        what = f"{share:.0%} of the story" if self.done is not None else "up"
        grid.add_row(
            ProgressBar(total=1.0, completed=share),
            f"{totals.up}/{totals.accounts} up, {what}; {totals.frames_in:.0f} frames/s in, "
            f"{totals.frames_out:.0f} out; {totals.orders} orders, {totals.executions} executions, "
            f"{totals.gaps} gaps",
        )
        return grid


class _Pane(logging.Handler):
    """Log records as lines of the view."""

    def __init__(self, view: LiveView) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        """Add one line; a traceback goes above the picture."""
        try:
            style = "red" if record.levelno >= logging.ERROR else "yellow"
            text = f"{self._view.seconds:6.2f} s  {record.levelname} {record.getMessage()}"
            self._view.add_line(Text(text, style if record.levelno >= logging.WARNING else "dim"))
            if record.exc_info:
                self._view.add_above(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own way with a record that cannot be formatted
            self.handleError(record)

"""``LiveView``: a table of the accounts, a progress bar and the latest lines, on a terminal.

Painting holds up the sessions, so it is to be cheap: the table is put together here, line by line (rich's own
takes many times as long), and painted once for however much is printed above it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from types import TracebackType
from typing import Any, TextIO, cast

import gevent
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from smarkets_pool.cli.watch.figures import Figures, Row, Totals
from smarkets_pool.cli.watch.output import Output, words_for_dropped
from smarkets_pool.cli.watch.views import View, one_line

__all__ = ["LiveView"]

_STYLES = {"UP": "green", "RECOVERING": "yellow", "DOWN": "red"}
_HEADINGS = (
    "account",
    "state",
    "in/s",
    "out/s",
    "last frame",
    "reconnects",
    "orders",
    "executions",
    "gaps",
)
_LINES = 8
#: Lines of the screen that are neither rows of the table nor of the log: heading, "and more", bar, words,
#: the log's frame, and one that stays free.
_FRAME = 7
#: Rows that stay however low the terminal is, before the log becomes shorter.
_ROWS = 7
#: Cells that the name of an account has at least, however narrow the terminal is.
_SHORTEST = 12
_MANY = 200
_PAUSE = 0.25
#: Pieces of output that wait when there is nobody who takes them.
_WAITING = 20
#: Texts that are printed above the picture with one painting; of more, the first ones are dropped.
_ABOVE = 20


class LiveView(View):
    """Repaints itself; everything printed stays on the screen when it ends."""

    pause = _PAUSE

    def __init__(self, output: Output, errors: Output, console: Console | None = None) -> None:
        super().__init__(output, errors)
        # Rich writes to whatever has write(); the output's thread does the writing.
        self._console = console or Console(file=cast("TextIO", output), force_terminal=True)
        self._lines: deque[Text] = deque(maxlen=_LINES)
        self._above: deque[str] = deque(maxlen=_ABOVE)
        self._not_shown = 0
        self._live = Live(console=self._console, auto_refresh=False, screen=False, transient=False)
        self._totals: Totals | None = None
        self._rows: list[Row] = []
        self._last_words: list[Table] = []
        self._stale = True
        self._painter: gevent.Greenlet[..., None] | None = None
        output.words_for_dropped = self._note_dropped

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
        try:
            self.unwatch()
            if self._painter is not None:
                self._painter.kill()
            self._paint()
        finally:
            self._live.stop()
            for table in self._last_words:
                self._console.print(table)
            super().__exit__(kind, error, traceback)

    def log_handler(self) -> logging.Handler:
        """Log records go into the pane of lines."""
        return _Pane(self)

    def say(self, text: str, **data: Any) -> None:
        """A line of the pane."""
        self.add_line(f"{self.seconds:6.2f} s  {text}")

    def add_line(self, line: str, style: str = "") -> None:
        """Show a line, and forget the oldest."""
        self._lines.append(Text(one_line(line), style, no_wrap=True, overflow="ellipsis"))
        self._stale = True

    def add_above(self, text: str) -> None:
        """Print what is longer than a line above the picture, where it scrolls away."""
        if len(self._above) == _ABOVE:
            self._not_shown += 1
        self._above.append("\n".join(map(one_line, text.rstrip("\n").split("\n"))))
        self._stale = True

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
            table.add_row(Text(name), Text(str(value)), verdict)
        self._last_words.append(table)

    def _note_dropped(self, pieces: int) -> str:
        # In the pane: a line between two pictures would put the second one in the wrong place.
        self.add_line(words_for_dropped(pieces).rstrip(), "yellow")
        return ""

    # --- the picture -----------------------------------------------------------------------------

    def _keep_painting(self) -> None:
        while True:
            # What waits is not taken: another picture on top of it would only make it more.
            if self._stale and self.output.waiting < _WAITING:
                self._paint()
            gevent.sleep(_PAUSE)

    def _paint(self) -> None:
        self._stale = False
        above = [f"... {self._not_shown} more before this\n"] if self._not_shown else []
        above += [f"{text}\n" for text in self._above]
        self._above.clear()
        self._not_shown = 0
        if above:
            self._console.print(Text("".join(above), end=""), soft_wrap=True)
        painted = _Painted(self._console.render_lines(self._picture(), pad=False))
        self._live.update(painted, refresh=True)

    def _picture(self) -> RenderableType:
        height = self._console.height
        lines = max(1, min(_LINES, height - _FRAME - _ROWS))
        parts: list[RenderableType] = []
        if self._totals is not None:
            parts += [
                *_table(self._rows, max(1, height - _FRAME - lines), self._console.width),
                self._bar(self._totals),
                _words(self._totals),
            ]
        latest = list(self._lines)[-lines:]
        parts.append(Panel(Group(*latest), title="log", title_align="left", height=lines + 2))
        # Room for what a terminal shows of its own, such as ^C: behind a full line it would begin another.
        parts.append(Text(""))
        return Group(*parts)

    def _bar(self, totals: Totals) -> RenderableType:
        if self.done is not None:
            share, what = self.done, f"{self.done:.0%} of the story"
        else:
            share = totals.up / max(1, totals.accounts)
            what = f"{share:.0%} up"
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        grid.add_row(ProgressBar(total=1.0, completed=share), Text(what))
        return grid


class _Painted:
    """A picture as it was painted, however often it is shown."""

    def __init__(self, lines: list[list[Segment]]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, line in enumerate(self._lines):
            if number:
                yield Segment.line()
            yield from line


def _words(totals: Totals) -> Text:
    return Text(
        f"{totals.up}/{totals.accounts} up; {totals.frames_in:.0f} frames/s in, {totals.frames_out:.0f} out; "
        f"{totals.orders} orders, {totals.executions} executions, {totals.gaps} gaps",
        no_wrap=True,
        overflow="ellipsis",
    )


# --- the table -------------------------------------------------------------------------------------


def _table(rows: list[Row], room: int, width: int) -> list[Text]:
    """A heading, at most ``room`` rows, and a line about the others."""
    shown = [_cells(row, max(_SHORTEST, width // 3)) for row in rows[:room]]
    widths = [max(map(cell_len, column)) for column in zip(_HEADINGS, *shown, strict=True)]
    gap = " " if width < 100 else "  "
    lines = [_line(_HEADINGS, widths, gap)]
    lines[0].stylize("bold")
    for row, cells in zip(rows, shown, strict=False):
        line = _line(cells, widths, gap)
        # Counted in characters: a wide one of the name takes two cells.
        start = line.plain.index(row.state, len(cells[0]))
        line.stylize(_STYLES[row.state], start, start + len(row.state))
        line.append(gap + one_line(row.remark), "dim")
        lines.append(line)
    if rest := rows[room:]:
        up = sum(row.state == "UP" for row in rest)
        lines.append(Text(f"and {len(rest)} more, {up} of them UP", "dim", no_wrap=True, overflow="ellipsis"))
    return lines


def _cells(row: Row, longest: int) -> tuple[str, ...]:
    account = one_line(row.account)
    if cell_len(account) > longest:
        account = set_cell_size(account, longest - 1) + "…"
    return (
        account,
        row.state,
        f"{row.frames_in:.0f}",
        f"{row.frames_out:.0f}",
        "" if row.last_frame is None else f"{row.last_frame:.1f} s",
        *(str(count) for count in (row.reconnects, row.orders, row.executions, row.gaps)),
    )


def _line(cells: tuple[str, ...], widths: list[int], gap: str) -> Text:
    """Texts to the left, numbers to the right."""
    aligned = [
        set_cell_size(cell, width) if number < 2 else cell.rjust(width)
        for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return Text(gap.join(aligned), no_wrap=True, overflow="ellipsis")


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
            self._view.add_line(text, style if record.levelno >= logging.WARNING else "dim")
            if record.exc_info:
                self._view.add_above(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own way with a record that cannot be formatted
            self.handleError(record)

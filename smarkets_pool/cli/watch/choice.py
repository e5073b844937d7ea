"""Which view a process has."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from smarkets_pool.cli.watch.output import Output
from smarkets_pool.cli.watch.views import JsonView, LineView, View

__all__ = ["open_view"]

_DUMB = ("", "dumb", "unknown")


def open_view(how: str | None = None) -> View:
    """The view for this process: ``"live"``, ``"lines"`` or ``"json"``; None chooses by the terminal."""
    output, errors = Output(sys.stdout), Output(sys.stderr)
    if how is None:
        # On a terminal that cannot move its cursor a table could not be painted over.
        how = "live" if output.isatty() and os.environ.get("TERM", "dumb") not in _DUMB else "lines"
    views: dict[str, Callable[[Output, Output], View]] = {"lines": LineView, "json": JsonView}
    if how == "live":
        # Imported only here: the lines for a pipe need no rich.
        from smarkets_pool.cli.watch.live import LiveView

        return LiveView(output, errors)
    return views[how](output, errors)

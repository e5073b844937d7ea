"""Programs on a terminal, for tests of what a person sees.

``Terminal`` runs a program on a pseudo-terminal of its own, with it as the controlling one, so that Ctrl-C is
what it is at a desk. ``Screen`` is as much of a terminal as our programs use: it knows what is shown in the
end, after all the moving and erasing, and refuses sequences it does not know.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping

import gevent
import gevent.os
from rich.cells import cell_len

from tests.rig.waiting import eventually

__all__ = ["Screen", "Terminal"]

#: Makes standard input the controlling terminal, then becomes the program.
_BECOME = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
_SEQUENCE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")


class Terminal:
    """A program on a terminal; a greenlet reads what it shows, unless ``reads`` is False.

    Standard error is the terminal too, or goes into a file at ``errors``.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        reads: bool = True,
        errors: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.columns, self.rows = columns, rows
        self.shown = b""
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        gevent.os.make_nonblocking(self._master)
        told = slave if errors is None else os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BECOME, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=told,
            env={**os.environ, "TERM": "xterm-256color", **(env or {})},
        )
        for descriptor in {slave, told}:
            os.close(descriptor)
        self._reader = gevent.spawn(self._read) if reads else None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self._reader is not None:
            self._reader.join(5)
            self._reader.kill()
        os.close(self._master)

    def press(self, keys: bytes) -> None:
        """As if typed."""
        os.write(self._master, keys)

    def wait_for(self, text: str, timeout: float = 20.0) -> None:
        """Wait until a text was shown."""
        eventually(lambda: text.encode() in self.shown, timeout)

    def end(self, timeout: float = 40.0) -> int:
        """Wait for the program's end and all it showed; return its status."""
        status = self.process.wait(timeout)
        if self._reader is not None:
            self._reader.join(5)
        return status

    @property
    def text(self) -> str:
        """Everything it wrote, sequences and all."""
        return self.shown.decode()

    def screen(self) -> Screen:
        """What is to be seen, with what has scrolled away."""
        screen = Screen(self.columns, self.rows)
        screen.feed(self.text)
        return screen

    def _read(self) -> None:
        while True:
            try:
                data = gevent.os.nb_read(self._master, 65_536)
            except OSError:  # the program has closed its end
                return
            if not data:
                return
            self.shown += data


class Screen:
    """A terminal's memory: ``lines`` from the first one that scrolled away to the last one shown."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.cursor_hidden = False
        self._lines: list[list[str]] = [[]]
        self._row = self._column = 0

    @property
    def lines(self) -> list[str]:
        """Each without the spaces at its end; a wide character takes one place here."""
        return ["".join(line).rstrip() for line in self._lines]

    def feed(self, text: str) -> None:
        """Take what a program wrote."""
        at = 0
        while at < len(text):
            character = text[at]
            if character == "\x1b":
                found = _SEQUENCE.match(text, at)
                assert found is not None, f"unknown sequence {text[at : at + 10]!r}"
                self._act(found[1], found[2])
                at = found.end()
                continue
            at += 1
            if character == "\n":
                self._feed_line()
            elif character == "\r":
                self._column = 0
            else:
                assert character.isprintable(), f"{character!r} at {text[max(0, at - 40) : at]!r}"
                self._put(character)

    def _act(self, argument: str, kind: str) -> None:
        actions: dict[tuple[str, str], Callable[[], object]] = {
            ("?25", "l"): lambda: setattr(self, "cursor_hidden", True),
            ("?25", "h"): lambda: setattr(self, "cursor_hidden", False),
            ("2", "K"): self._lines[self._row].clear,
            ("1", "A"): self._up,
        }
        if kind != "m":
            actions[argument, kind]()

    def _up(self) -> None:
        # What has scrolled away cannot be reached any more.
        self._row = max(self._row - 1, len(self._lines) - self.rows, 0)

    def _feed_line(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append([])

    def _put(self, character: str) -> None:
        width = cell_len(character)
        if width == 0:  # an accent upon what stands there
            self._lines[self._row][-1] += character
            return
        if self._column + width > self.columns:
            self._feed_line()
            self._column = 0
        line = self._lines[self._row]
        line += " " * (self._column + width - len(line))
        line[self._column] = character
        for follows in range(1, width):
            line[self._column + follows] = ""
        self._column += width

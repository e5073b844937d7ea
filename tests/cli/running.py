"""``smarkets-pool run`` as a process of its own, and configurations for it."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
from types import TracebackType
from typing import Any

import gevent

from smarkets_pool.exchange import EmbeddedExchange
from tests.rig.waiting import eventually

COMMAND = [sys.executable, "-m", "smarkets_pool"]
#: Seconds for anything a process is to do.
LIMIT = 30.0
#: Handlers that do nothing.
QUIET = "def setup(pool):\n    pass\n"
#: Tries again at once, and notices soon what happens.
POLICIES = """
[reconnect.backoff]
initial = 0.05
cap = 0.1
"""


def write(path: pathlib.Path, text: str, mode: int = 0o600) -> pathlib.Path:
    """A file with that text and mode, replaced as a whole."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(textwrap.dedent(text))
    partial.chmod(mode)
    return partial.rename(path)


def quoted(value: object) -> str:
    """A text, number or list as TOML; JSON's are TOML's too."""
    return json.dumps(value)


def account(exchange: EmbeddedExchange, number: int, *more: str, name: str = "", **changes: str) -> str:
    """``[accounts.NAME]`` that logs in as the exchange's account of that number; ``more`` are its lines."""
    login = exchange.logins[number]
    said = {"username": login.username, "password": login.password, **changes}
    lines = [f"[accounts.{name or 'abcdefgh'[number]}]"]
    lines += [f"{key} = {quoted(value)}" for key, value in said.items()]
    return "\n".join([*lines, *more]) + "\n"


def defaults(exchange: EmbeddedExchange, *more: str) -> str:
    """``[defaults]`` that lead to this exchange; ``more`` are further lines."""
    lines = ["[defaults]", f"host = {quoted(exchange.host)}", f"port = {exchange.port}"]
    lines.append(f"ca_file = {quoted(exchange.ca_file)}" if exchange.ca_file else "ssl = false")
    return "\n".join([*lines, *more]) + "\n"


def checked(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``run`` with these arguments in that folder, to its end."""
    return subprocess.run(
        [*COMMAND, "run", *arguments], cwd=folder, capture_output=True, text=True, timeout=LIMIT
    )


class Running:
    """A process of ``run``; what it says is kept in ``out`` and ``err``, line by line.

    Use as a context manager: the process is gone afterwards, whatever happened.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        *arguments: str,
        config: str = "pool.toml",
        handlers: str = "bot",
        before: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *before, "run", config, "--handlers", handlers, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            gevent.spawn(self._read, self.process.stdout, self.out),
            gevent.spawn(self._read, self.process.stderr, self.err),
        ]

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.decode())

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT)
        gevent.joinall(self._readers, timeout=LIMIT)
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()
        if error is not None:
            print("".join(self.out), "".join(self.err), sep="\n--- standard error\n")

    def wait_for(self, *words: str, times: int = 1) -> list[str]:
        """Wait until so many lines of standard output have all these words; return them."""

        def found() -> list[str]:
            lines = [line for line in self.out if all(word in line for word in words)]
            if len(lines) < times and self.process.poll() is not None:
                raise AssertionError(f"it has ended before it said {words}")
            return lines if len(lines) >= times else []

        return eventually(found, timeout=LIMIT)

    def says(self, *words: str) -> bool:
        """Whether a line of standard output has all these words."""
        return any(all(word in line for word in words) for line in self.out)

    def wait_until_up(self, *names: str) -> None:
        """Wait until these accounts have been up."""
        for name in names:
            self.wait_for(f"{name}: up")

    def send(self, number: int) -> None:
        """A signal."""
        self.process.send_signal(number)

    def end(self, number: int | None = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and for the last line, return the exit status."""
        if number is not None:
            self.send(number)
        status = self.process.wait(LIMIT)
        gevent.joinall(self._readers, timeout=LIMIT)
        return status

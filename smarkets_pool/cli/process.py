"""``ExchangeProcess``: an embedded exchange in a second process, with its controls."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

import gevent

from smarkets_pool.exceptions import Error

__all__ = ["ExchangeProcess"]

_START_LIMIT = 30.0
_STOP_LIMIT = 10.0


class ExchangeProcess:
    """Starts ``python -m smarkets_pool exchange`` on a free loopback port; a context manager.

    ``description`` is what its ready file said. Raises ``Error`` if it does not come up.
    """

    def __init__(self, *, accounts: int, contracts: int, heartbeat: float) -> None:
        self._arguments = [
            *("--accounts", str(accounts), "--contracts", str(contracts)),
            *("--heartbeat", str(heartbeat), "--port", "0", "--control-stdin"),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.description: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        """Its process number, 0 if it does not run."""
        return self._process.pid if self._process is not None else 0

    def __enter__(self) -> ExchangeProcess:
        with tempfile.TemporaryDirectory(prefix="smarkets-pool-demo-") as folder:
            ready = pathlib.Path(folder) / "ready.json"
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "smarkets_pool", "exchange"),
                    *self._arguments,
                    *("--ready-file", str(ready)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Ctrl-C is for us: the accounts log out before there is nobody to log out from.
                start_new_session=True,
            )
            try:
                with gevent.Timeout(_START_LIMIT, Error(f"the exchange was not ready in {_START_LIMIT} s")):
                    while not ready.exists():
                        if self._process.poll() is not None:
                            assert self._process.stderr is not None
                            said = self._process.stderr.read().decode(errors="replace").strip()
                            raise Error(f"the exchange ended at once: {said}")
                        gevent.sleep(0.02)
                self.description = json.loads(ready.read_text())
            except BaseException:
                self._stop()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def command(self, do: str, **arguments: Any) -> Any:
        """Have the exchange do something; return what it answers.

        Raises:
            Error: it refused, or is gone.
        """
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError as error:
            raise Error(f"the exchange process has ended: {error.strerror}") from error
        if not line:
            raise Error("the exchange process has ended")
        answer = json.loads(line)
        if not answer["ok"]:
            raise Error(f"the exchange refused {do}: {answer['error']}")
        return answer["value"]

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

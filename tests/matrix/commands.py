"""Run commands for the matrix: within a limit, into a log file, with nothing of this process's Python."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shlex
import signal
import subprocess
from collections.abc import Sequence

__all__ = ["Failed", "output_of", "run"]

#: Lines of a log that are shown when its command failed.
TAIL = 30
#: Would lead a command to other packages than those of its own venv.
_HIDDEN = {"PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "MYPYPATH", "VIRTUAL_ENV"}


class Failed(Exception):
    """Something is not as it should be; the text says what."""


def run(
    command: Sequence[str | os.PathLike[str]],
    log: pathlib.Path,
    *,
    folder: pathlib.Path,
    limit: float = 600.0,
    expect: int = 0,
) -> str:
    """A command to its end in ``folder``; return what it said, which is also added to ``log``.

    Raises:
        Failed: it took longer than ``limit`` seconds or did not give ``expect``; with its last words.
    """
    shown = shlex.join(map(str, command))
    environment = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
    with log.open("a+") as file:
        print("$", shown, file=file, flush=True)
        began = file.tell()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # What it started goes with it, also when Ctrl-C ends this program.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        file.seek(began)
        said = file.read()
    if code != expect:
        how = (
            f"was not done after {limit:.0f} s" if code is None else f"gave {code} and {expect} was expected"
        )
        raise Failed("\n".join([f"{shown} {how}:", *said.splitlines()[-TAIL:]]))
    return said


def output_of(python: pathlib.Path, program: str, log: pathlib.Path, *, folder: pathlib.Path) -> str:
    """What a small program says, without the last line's end.

    Raises:
        Failed: as ``run``.
    """
    return run([python, "-c", program], log, folder=folder, limit=60.0).rstrip("\n")

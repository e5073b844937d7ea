"""Short demos of every view, run once for all tests that look at what they say.

The passwords and tokens of their exchange are not made up but planted, with characters that have to be
escaped in every form of writing, so that a test can look for them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import subprocess
import sys
import tempfile

from tests.rig.terminals import Terminal

__all__ = ["DEMO", "Demo", "demos", "planted", "planting"]

DEMO = ("-m", "smarkets_pool", "demo", "--accounts", "4", "--seconds", "2")
#: Sooner at its end: more of them can be cut at a time.
LARGER = (*DEMO[:4], "12", *DEMO[5:])

#: Loaded by every Python of the run: it gives the exchange its secrets, and writes down that it did.
_SITE = """
import itertools, os, secrets
_numbers = itertools.count()

def token_urlsafe(size=None):
    text = os.environ["TEST_PLANTED"].replace("NUMBER", f"{next(_numbers):03d}")
    with open(os.environ["TEST_PLANTED_NOTE"], "a") as note:
        note.write("x")
    return text

secrets.token_urlsafe = token_urlsafe
"""
_PLANTED = "secret-NUMBER-\"'\\%s{0}<&>;é€$(x)`"


@dataclasses.dataclass(frozen=True)
class Demo:
    """What one demo left: its status, standard output (or what the terminal was sent), standard error."""

    status: int
    output: str
    errors: str
    terminal: Terminal | None
    #: How many secrets its exchange was given.
    secrets: int


def planted(count: int) -> list[str]:
    """The secrets of an exchange that was started with ``planting``."""
    return [_PLANTED.replace("NUMBER", f"{number:03d}") for number in range(count)]


def planting(folder: pathlib.Path) -> dict[str, str]:
    """Environment of a process whose exchange gets planted secrets; each leaves a mark in ``folder/note``."""
    (folder / "sitecustomize.py").write_text(_SITE)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONIOENCODING": "utf-8",
        "TEST_PLANTED": _PLANTED,
        "TEST_PLANTED_NOTE": str(folder / "note"),
    }


@functools.cache
def demos() -> dict[str, Demo]:
    """Side by side: "lines" (``-X dev``), "json" (``-vv``), "live", and "stuck": its terminal is not read."""
    with tempfile.TemporaryDirectory(prefix="smarkets-pool-demos-") as name:
        folders = {view: pathlib.Path(name, view) for view in ("lines", "json", "live", "stuck")}
        for folder in folders.values():
            folder.mkdir()
        piped = {
            view: subprocess.Popen(
                [sys.executable, *options, *LARGER[:2], *verbose, *LARGER[2:], *more],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=planting(folders[view]),
                text=True,
                encoding="utf-8",
            )
            for view, options, verbose, more in (
                ("lines", ("-X", "dev"), (), ()),
                ("json", (), ("-vv",), ("--json",)),
            )
        }
        shown = {
            view: Terminal(
                *(sys.executable, *command),
                columns=140,
                rows=40,
                reads=view == "live",
                errors=str(folders[view] / "errors"),
                env=planting(folders[view]),
            )
            for view, command in (("live", DEMO), ("stuck", LARGER))
        }
        found = {}
        for view, terminal in shown.items():
            with terminal:
                errors = folders[view] / "errors"
                status = terminal.end()
                found[view] = Demo(status, terminal.text, errors.read_text(), terminal, _noted(folders[view]))
        for view, process in piped.items():
            output, said = process.communicate(timeout=40)
            found[view] = Demo(process.returncode, output, said, None, _noted(folders[view]))
    return found


def _noted(folder: pathlib.Path) -> int:
    return len((folder / "note").read_text())

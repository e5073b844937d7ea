"""Every Python program of every document runs as printed, in a fresh process."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tests.documents.reading import Block, blocks_in, document


def programs() -> list[list[Block]]:
    """The blocks of each program: one, and those behind it that continue it."""
    found: list[list[Block]] = []
    for block in blocks_in("python"):
        if block.mark == "continues":
            assert found and found[-1][0].document == block.document, f"{block} continues nothing"
            found[-1].append(block)
        elif block.mark != "fragment":
            found.append([block])
    return found


def run(program: list[Block], folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """One program to its end, in an empty folder."""
    path = folder / "program.py"
    path.write_text("\n".join(block.text for block in program))
    return subprocess.run([sys.executable, str(path)], cwd=folder, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("program", programs(), ids=lambda program: str(program[0]))
def test_a_program_runs_as_printed(program: list[Block], tmp_path: pathlib.Path) -> None:
    """It ends by itself and without a complaint: a greenlet that died would print one."""
    said = run(program, tmp_path)
    assert (said.returncode, said.stderr) == (0, "")


def test_the_readme_program_says_what_it_promises(tmp_path: pathlib.Path) -> None:
    """Three accounts have an order each."""
    first = next(program for program in programs() if program[0].document == document("README.md"))
    said = run(first, tmp_path)
    assert sorted(line.split()[0] for line in said.stdout.splitlines()) == [
        "account-0",
        "account-1",
        "account-2",
    ]

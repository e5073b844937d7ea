"""Every script beside this file is played, against each side that it tests."""

from __future__ import annotations

import ast
import pathlib

import pytest

from tests.rig import scenario
from tests.rig.scenario.language import script_at, sides_tested
from tests.rig.scenario.playing import play

HERE = pathlib.Path(__file__).parent
#: Read in their tests: a misspelt one fails there, and all others are played.
SCRIPTS = sorted(HERE.glob("*.session"))
RIG = pathlib.Path(scenario.__file__).parent
#: What both ends of a session share, directly or by way of another part of the rig.
SHARED = ("smarkets_pool.protocol", "smarkets_pool.wire", "tests.rig")
#: What the runner may know of that: the schema, and what waits.
KNOWN = ("smarkets_pool.wire.schema", "tests.rig.scenario", "tests.rig.waiting")


@pytest.mark.parametrize(
    ("path", "tested"),
    [
        pytest.param(path, tested, id=f"{path.stem}-{tested}")
        for path in SCRIPTS
        for tested in sides_tested(path.read_text())
    ],
)
def test_a_scenario_holds(path: pathlib.Path, tested: str) -> None:
    """What is said leads to what the script says is answered, line by line, and to nothing else."""
    play(script_at(path), tested)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_is_about(path: pathlib.Path) -> None:
    """It begins with a comment of a sentence, and its head names what it shows."""
    script = script_at(path)
    assert len(script.title) > 20
    assert script.head.shows


@pytest.mark.parametrize("path", sorted(RIG.glob("*.py")), ids=lambda path: path.name)
def test_the_runner_shares_nothing_with_the_ends(path: pathlib.Path) -> None:
    """It imports neither the protocol nor the framing: a mistake that both ends make must not pass here."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    assert [name for name in names if name.startswith(SHARED) and not name.startswith(KNOWN)] == []

"""docs/testing.md: what it shows passes, and what it lists is there."""

from __future__ import annotations

import inspect
import pathlib

import pytest

from smarkets_pool.testing import plugin
from tests.documents.reading import document
from tests.rig.userpytest import QUIET, run_users_tests


def test_its_tests_pass(tmp_path: pathlib.Path) -> None:
    """Its Python blocks, one behind the other, are a user's file of tests."""
    blocks = [block for block in document("docs/testing.md").blocks if block.language == "python"]
    text = "\n".join(block.text for block in blocks)
    said = run_users_tests(tmp_path, {"pytest.ini": QUIET, "test_documented.py": text})
    assert said.returncode == 0, said.stdout
    assert f"{text.count('def test_')} passed" in said.stdout


def test_its_fixtures_are_the_plugins() -> None:
    """The table has every fixture of the plugin, and no other."""
    table = next(table for table in document("docs/testing.md").tables if table.head[0] == "fixture")
    assert sorted(row[0].strip("`") for row in table.rows) == plugin.__all__


@pytest.mark.parametrize("name", plugin.__all__)
def test_every_fixture_says_what_it_is(name: str) -> None:
    """``pytest --fixtures`` shows the first line."""
    assert inspect.getdoc(getattr(plugin, name))

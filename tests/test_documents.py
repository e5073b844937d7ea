"""The README's program runs as printed, and what the documents link to is there."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def test_the_readme_program_runs_as_printed(tmp_path: pathlib.Path) -> None:
    """The one Python block of the README, in a fresh process: three accounts have an order each."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    program = tmp_path / "program.py"
    program.write_text(blocks[0])
    said = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=30)
    assert said.returncode == 0, said.stderr
    assert sorted(line.split()[0] for line in said.stdout.splitlines()) == [
        "account-0",
        "account-1",
        "account-2",
    ]


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_lead_somewhere(document: pathlib.Path) -> None:
    """Every relative link of every document names a file of this checkout."""
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_make_targets_named_in_the_readme_exist() -> None:
    """Whatever the README tells to ``make`` can be made."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+) ", (ROOT / "README.md").read_text())) <= targets

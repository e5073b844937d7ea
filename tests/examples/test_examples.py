"""Every example runs offline, in a fresh process, within five seconds of its own time."""

import pathlib
import subprocess
import sys

import pytest

EXAMPLES = sorted((pathlib.Path(__file__).parent.parent.parent / "examples").glob("*.py"))

#: What each must have said at the end; a new example needs a line here.
LAST_WORDS = {
    "clean_shutdown": "handlers finished for: account-0, account-1, account-2, account-3, account-4",
    "many_accounts": "10 accounts up",
    "one_account": "logged out",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: pathlib.Path) -> None:
    """It ends by itself, without a complaint, having said its last words."""
    said = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=30)
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""
    assert said.stdout.splitlines()[-1].startswith(LAST_WORDS[path.stem])

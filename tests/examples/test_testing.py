"""The example for tests of a bot runs as its head says."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent.parent


def test_the_tests_of_a_bot_pass() -> None:
    """``python -m pytest examples/testing``, from the checkout: its own configuration loads the plugin."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/testing"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert "5 passed" in ran.stdout
    assert "warning" not in ran.stdout

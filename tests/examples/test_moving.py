"""The program that moves from the vendor's SDK: nothing but imports differs, and it says the same."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from smarkets_pool.exchange import EmbeddedExchange

MOVING = pathlib.Path(__file__).parent.parent.parent / "examples" / "moving"

#: What each of the three programs says, word for word. ``make interop`` runs before.py on the vendor's SDK.
LINES = """\
buyer: logged in
seller: logged in
buyer: the market bids nothing
buyer: accepted, 400000 at 2500
buyer: the market bids 400000 at 2500
seller: executed, 150000 at 2500
buyer: executed, 150000 at 2500
buyer: the market bids 250000 at 2500
buyer: cancelled, 150000 had been executed
buyer: logged out
seller: logged out
"""


@pytest.fixture
def ready_file(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A plain exchange, and the file that says where it is."""
    with EmbeddedExchange(tls=False) as exchange:
        path = tmp_path / "ready.json"
        path.write_text(json.dumps(exchange.description()))
        yield path


def run(name: str, ready_file: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """One of the programs, to its end."""
    command = [sys.executable, str(MOVING / name), str(ready_file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_before_and_after_differ_in_imports_only() -> None:
    """Line by line the same, but for imports of the vendor's modules that became ours."""
    before = (MOVING / "before.py").read_text().splitlines()
    after = (MOVING / "after.py").read_text().splitlines()
    assert len(before) == len(after)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed
    for old, new in changed:
        assert old.startswith("from smarkets.streaming_api.")
        assert new == old.replace("from smarkets.streaming_api.", "from smarkets_pool.", 1)
    assert not any("smarkets.streaming_api" in line for line in after)


@pytest.mark.parametrize("name", ["after.py", "pooled.py"])
def test_a_moved_program_says_what_it_said(name: str, ready_file: pathlib.Path) -> None:
    """Both print the same lines, on a fresh exchange as on one that has seen the program before."""
    for _ in range(2):
        ran = run(name, ready_file)
        assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", LINES)


@pytest.mark.parametrize("name", ["after.py", "pooled.py"])
def test_a_refused_login_ends_the_program(name: str, ready_file: pathlib.Path) -> None:
    """A wrong password: a sentence with the reason, exit status 1, no traceback."""
    where = json.loads(ready_file.read_text())
    where["accounts"][0]["password"] = "not the password"
    ready_file.write_text(json.dumps(where))
    ran = run(name, ready_file)
    assert ran.returncode == 1
    assert "LOGOUT_UNAUTHORISED" in ran.stderr
    assert "Traceback" not in ran.stderr

"""The vendor's defects stay fixed: each row of ``defects.py`` passes here (and fails in ``make interop``)."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess
import sys

import gevent
import pytest

from tests.interop import vendor_defects
from tests.vendor import defects, peer
from tests.vendor.certificates import make_certificates

#: The rows of the list of the SDK's behaviours that are defects, and those that have a check beside them:
#: 20 (the order of handlers is ours to choose) and 21 (kept).
DEFECTS = {*range(1, 8), *range(9, 20), 22, 23, *range(25, 29), 30, 31}
BESIDE = {20, 21}

WHOLE_ROW = 30.0
ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with the certificates of the rows."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="module")
def api(certificates: pathlib.Path) -> defects.Api:
    """Our package, as a program would import it."""
    return defects.Api("smarkets_pool", certificates)


@pytest.mark.parametrize("row", defects.ROWS, ids=lambda row: row.name)
def test_what_the_vendor_got_wrong_is_right(row: defects.Row, api: defects.Api) -> None:
    """The row's behaviour is as its docstring says."""
    try:
        with gevent.Timeout(WHOLE_ROW, AssertionError(f"{row.name} took more than {WHOLE_ROW} s")):
            row.check(api)
    except defects.NotHereError as error:
        pytest.skip(str(error))


#: All rows one after the other; the output is the names of those that ran.
PLAIN = """
import pathlib, sys
from tests.vendor import defects
api = defects.Api("smarkets_pool", pathlib.Path(sys.argv[1]))
for row in defects.ROWS:
    try:
        row.check(api)
    except defects.NotHereError:
        pass
    print(row.name)
assert "gevent" not in sys.modules
"""


def test_it_is_right_without_gevent_too(certificates: pathlib.Path) -> None:
    """A program of the vendor's SDK is not monkey-patched, and need not be after its move."""
    said = subprocess.run(
        [sys.executable, "-c", PLAIN, str(certificates)], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == [row.name for row in defects.ROWS]


def _row(fails: str | None) -> defects.Row:
    return defects.Row(1, lambda api: None, fails, newer=False)


@pytest.mark.parametrize(
    ("row", "failure", "expected"),
    [
        (_row("AssertionError: lost"), "builtins.AssertionError: lost", "lost"),
        (_row("AssertionError: lost"), "builtins.AssertionError: found", "WRONG: .*found instead of .*lost"),
        (_row("AssertionError: lost"), None, "WRONG: it passes, so the row proves nothing"),
        (_row(None), None, "kept: it passes"),
        (_row(None), "builtins.KeyError: 1", "WRONG: it is kept, and fails: builtins.KeyError: 1"),
    ],
)
def test_interop_accepts_only_the_expected_failure(
    row: defects.Row, failure: str | None, expected: str
) -> None:
    """A row that passes on the SDK, or fails for another reason, is called wrong."""
    assert re.fullmatch(expected, vendor_defects.verdict(row, failure))


def test_every_defect_has_a_row() -> None:
    """No number is forgotten, and every function is registered and named for its number."""
    assert {row.number for row in defects.ROWS} == DEFECTS | BESIDE
    written = [name for name in vars(defects) if name.startswith("row_")]
    assert written == [row.name for row in defects.ROWS]
    assert [row for row in defects.ROWS if not row.name.startswith(f"row_{row.number:02}_")] == []


@pytest.mark.parametrize("module", [defects, peer], ids=lambda module: module.__name__)
def test_the_rows_know_neither_package(module: object) -> None:
    """What is tested is not used to test it: both files import the standard library and each other."""
    imported = set()
    for node in ast.walk(ast.parse(pathlib.Path(str(module.__file__)).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert not imported & {"smarkets", "smarkets_pool", "gevent", "google"}

"""The vendor's defects stay fixed: each row of ``defects.py`` passes here (and fails in ``make interop``)."""

from __future__ import annotations

import ast
import pathlib

import gevent
import pytest

from tests.vendor import defects, peer
from tests.vendor.certificates import make_certificates

#: The rows of the list of the SDK's behaviours that are defects, and those that have a check beside them:
#: 20 (the order of handlers is ours to choose) and 21 (kept).
DEFECTS = {*range(1, 8), *range(9, 20), 22, 23, *range(25, 29), 30, 31}
BESIDE = {20, 21}

WHOLE_ROW = 30.0


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> defects.Api:
    """Our package, as a program would import it."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return defects.Api("smarkets_pool", folder)


@pytest.mark.parametrize("row", defects.ROWS, ids=lambda row: row.name)
def test_what_the_vendor_got_wrong_is_right(row: defects.Row, api: defects.Api) -> None:
    """The row's behaviour is as its docstring says."""
    try:
        with gevent.Timeout(WHOLE_ROW, AssertionError(f"{row.name} took more than {WHOLE_ROW} s")):
            row.check(api)
    except defects.NotHereError as error:
        pytest.skip(str(error))


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

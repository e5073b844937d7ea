"""docs/migration.md names everything the vendor's SDK has, and what it says is here is here."""

from __future__ import annotations

import csv
import importlib
import inspect
import re
from typing import Any

import pytest

from smarkets_pool.client import StreamingAPIClient
from smarkets_pool.exceptions import LoginError
from smarkets_pool.session import Session, SessionSettings, SessionSocket
from tests.documents.reading import ROOT, code_in, document
from tests.vendor.defects import ROWS

MIGRATION = document("docs/migration.md")
VENDOR = "smarkets.streaming_api."


def _instances() -> dict[type, object]:
    """One of each class with attributes that only instances have."""
    settings = SessionSettings("u", "p")
    session = Session(settings)
    made = (settings, session, SessionSocket(settings), StreamingAPIClient(session), LoginError(7))
    return {type(thing): thing for thing in made}


INSTANCES = _instances()


def resolve(name: str, home: str) -> Any:
    """What a name of the document stands for; relative to ``home`` unless it says where it lives."""
    dotted = name if name.startswith("smarkets_pool.") else f"{home}.{name}"
    parts = dotted.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            if not hasattr(found, part) and isinstance(found, type):
                found = INSTANCES.get(found, found)
            found = getattr(found, part)
        return found
    raise AssertionError(f"no module in {dotted}")


def tables() -> list[tuple[str, str, list[list[str]]]]:
    """The tables of names: the SDK's module, ours, and the rows."""
    found = []
    for table in MIGRATION.tables:
        theirs, ours = code_in(table.head[0]), code_in(table.head[1]) if len(table.head) > 1 else []
        if theirs and theirs[0].startswith("smarkets."):
            found.append((theirs[0], ours[0], table.rows))
    return found


def documented() -> set[tuple[str, str]]:
    """Every name of the SDK in the tables, with its module."""
    return {(theirs, name) for theirs, _, rows in tables() for row in rows for name in code_in(row[0])}


def _rows_of(path: str) -> list[dict[str, str]]:
    with open(ROOT / path, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_every_name_of_the_sdk_is_in_the_tables() -> None:
    """Those of its modules as introspection found them, no more and no less."""
    theirs = {(row["module"], row["name"]) for row in _rows_of("tests/data/vendor_names.tsv")}
    schema = {f"{VENDOR}eto", f"{VENDOR}seto"}
    ours = {entry for entry in documented() if entry[0] not in schema}
    assert sorted(theirs - ours) == []
    assert sorted(ours - theirs) == []


@pytest.mark.parametrize("layer", ["eto", "seto"])
def test_every_name_of_the_schema_is_in_the_tables(layer: str) -> None:
    """Messages, enums and constants of the schema that the SDK was built from, no more and no less."""
    rows = [row for row in _rows_of("tests/data/schema.tsv") if row["package"] == layer]
    named = {row["type_name"] for row in rows}
    named |= {row["entry_name"] for row in rows if row["kind"] == "enum"}
    # Messages without a field have no row in the table of fields.
    empty = {name for module, name in documented() if module == VENDOR + layer} - named - {"DESCRIPTOR"}
    assert {name for name in empty if not name.endswith(("Subscribe", "Unsubscribe"))} == set()
    assert named <= {name for module, name in documented() if module == VENDOR + layer}


@pytest.mark.parametrize(
    ("home", "row"),
    [(ours, row) for _, ours, rows in tables() for row in rows],
    ids=lambda value: value if isinstance(value, str) else value[0][:60],
)
def test_what_is_here_is_here(home: str, row: list[str]) -> None:
    """ "The same" and every name of the second column exist; for "none" the third says what to do instead."""
    theirs, here, differs = row
    if here == "none":
        assert differs
    else:
        names = code_in(theirs) if here == "the same" else code_in(here)
        assert names
        for name in names:
            resolve(name, home)


@pytest.mark.parametrize(
    "home", ["smarkets_pool.client", "smarkets_pool.session", "smarkets_pool.exceptions"]
)
def test_the_same_means_the_same_arguments(home: str) -> None:
    """Nothing that the document calls the same takes less than the SDK's takes."""
    vendor = home.replace("smarkets_pool.", VENDOR)
    signatures = {
        row["name"]: row["signature"]
        for row in _rows_of("tests/data/vendor_names.tsv")
        if row["module"] == vendor
    }
    same = {
        name
        for theirs, _, rows in tables()
        if theirs == vendor
        for row in rows
        if row[1] == "the same"
        for name in code_in(row[0])
    }
    checked = 0
    for name, signature in signatures.items():
        if name in same and signature.startswith("(") and "*" not in signature:
            ours = _parameters(resolve(name, home))
            for wanted in re.findall(r"(\w+)(?:=[^,)]*)?[,)]", signature):
                checked += 1
                assert wanted in ours or wanted == "byte_array", f"{name} takes no {wanted}"
    assert checked


def _parameters(thing: Any) -> set[str]:
    return set(inspect.signature(thing).parameters)


def test_the_table_of_defects_has_the_rows_that_are_proven() -> None:
    """Each number of ``tests/vendor/defects.py`` that fails with the SDK has its line, 21 its sentence."""
    table = next(table for table in MIGRATION.tables if table.head[0] == "row")
    assert [int(row[0]) for row in table.rows] == sorted({row.number for row in ROWS if row.fails})
    kept = {row.number for row in ROWS} - {row.number for row in ROWS if row.fails}
    assert all(f"row {number}" in MIGRATION.text for number in kept)


def test_imports_of_the_first_table_can_be_made() -> None:
    """Each module of the second column is there."""
    table = next(table for table in MIGRATION.tables if table.head[0] == "import from")
    for row in table.rows:
        for name in code_in(row[1]):
            resolve(name, "smarkets_pool.exceptions")

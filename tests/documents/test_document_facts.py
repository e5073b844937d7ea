"""What the documents say about defaults, reasons, proofs, rooms and words agrees with the code."""

from __future__ import annotations

import ast
import dataclasses
import re

import pytest

from smarkets_pool import eto
from smarkets_pool.exceptions import LoginError
from smarkets_pool.policies import Backoff, ReconnectPolicy, TimeoutPolicy, Trouble
from tests.documents.reading import DOCUMENTS, ROOT, Document, code_in, document
from tests.documents.test_document_migration import resolve

POLICIES = {policy.__name__: policy() for policy in (Backoff, ReconnectPolicy, TimeoutPolicy)}
#: What a document writes for a default, from its number to the policy's field.
DEFAULT = re.compile(r"(?<![\d.,])([\d,.]+) (?:s|seconds) \(`(\w+)\.(\w+)`\)")


@pytest.mark.parametrize("source", DOCUMENTS, ids=str)
def test_defaults_are_as_the_policies_have_them(source: Document) -> None:
    """Wherever a document writes ``5 s (`TimeoutPolicy.replay`)``, that is the default."""
    wrong = [
        (said, policy, field)
        for said, policy, field in DEFAULT.findall("\n".join(source.prose))
        if getattr(POLICIES[policy], field) != float(said.replace(",", ""))
    ]
    assert wrong == []


@pytest.mark.parametrize("source", DOCUMENTS, ids=str)
def test_fields_of_policies_exist(source: Document) -> None:
    """A policy's field that stands in backticks is one of its fields."""
    for policy, field in re.findall(r"`(TimeoutPolicy|ReconnectPolicy|Backoff)\.(\w+)`", source.text):
        assert field in {field.name for field in dataclasses.fields(POLICIES[policy])}, f"{policy}.{field}"


def test_protocol_names_every_default_wait() -> None:
    """Each wait of a session that is not about connecting stands in docs/protocol.md with its default."""
    said = {field for _, _, field in DEFAULT.findall(document("docs/protocol.md").text)}
    assert said == {field.name for field in dataclasses.fields(TimeoutPolicy)} - {"connect", "login", "send"}


def test_the_table_of_reasons_is_the_policys() -> None:
    """Every logout reason has a line: its number, and what a pool does then."""
    table = next(table for table in document("docs/protocol.md").tables if table.head[0] == "reason")
    words = {
        Trouble.RETRY: "retries",
        Trouble.BROKEN: "retries three times",
        Trouble.FINAL: "gives the account up",
        Trouble.DOWNTIME: "waits for the downtime to end",
    }
    assert [(code_in(row[0])[0], int(row[1]), row[3]) for row in table.rows] == [
        (name, number, words[ReconnectPolicy().classify(LoginError(number, name))])
        for name, number in eto.LogoutReason.items()
    ]
    assert ReconnectPolicy().max_broken == 3


def test_the_demos_checks_that_prove_something_exist() -> None:
    """docs/guarantees.md names lines of the demo's summary."""
    source = (ROOT / "smarkets_pool" / "cli" / "demo.py").read_text()
    lines = {
        node.elts[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Tuple) and len(node.elts) == 3 and isinstance(node.elts[0], ast.Constant)
    }
    named = [
        name
        for line in document("docs/guarantees.md").prose
        for part in re.findall(r"demo: ((?:`[^`]*`(?:, )?)+)", line)
        for name in code_in(part)
    ]
    assert named
    assert set(named) <= lines


def test_every_guarantee_has_a_proof() -> None:
    """Each line of its tables names a test, a make target or a check of the demo."""
    unproven = [
        row[0]
        for table in document("docs/guarantees.md").tables
        if table.head[-1] == "proven by"
        for row in table.rows
        if not re.search(r"`tests/[^`]+`|`make \w+`|demo: `", row[-1])
    ]
    assert unproven == []


def test_the_rooms_are_all_there() -> None:
    """docs/architecture.md lists every module and folder of the package, and no other."""
    table = next(table for table in document("docs/architecture.md").tables if table.head[0] == "room")
    package = ROOT / "smarkets_pool"
    rooms = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    rooms |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert sorted(name for row in table.rows for name in code_in(row[0])) == sorted(rooms)


def test_words_are_sorted_and_there_once() -> None:
    """A reader finds a word where the alphabet has it."""
    words = [row[0].lower() for row in document("docs/glossary.md").tables[0].rows]
    assert words == sorted(set(words))


def test_words_of_the_code_are_in_the_code() -> None:
    """Where a word is said to live, it lives."""
    for row in document("docs/glossary.md").tables[0].rows:
        for name in code_in(row[2]):
            resolve(name, "smarkets_pool")


#: The loggers that there are: their names look like modules and are none.
LOGGERS = {
    f"smarkets_pool.{place}"
    for path in (ROOT / "smarkets_pool").rglob("*.py")
    for place in re.findall(r'PlaceLog\("([\w.]+)"\)', path.read_text())
}


@pytest.mark.parametrize("source", DOCUMENTS, ids=str)
def test_dotted_names_in_prose_exist(source: Document) -> None:
    """A name in backticks that begins with our package's can be imported, or is a logger."""
    for name in re.findall(r"`(smarkets_pool(?:\.\w+)+)`", "\n".join(source.prose)):
        if name not in LOGGERS:
            resolve(name, "smarkets_pool")

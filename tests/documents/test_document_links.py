"""What the documents link to is there, and the index knows them all."""

from __future__ import annotations

import pathlib

import pytest

from tests.documents.reading import DOCUMENTS, ROOT, Document, document


@pytest.mark.parametrize("source", DOCUMENTS, ids=str)
def test_links_lead_somewhere(source: Document) -> None:
    """Every relative link names a file of this checkout, every ``#anchor`` a heading of it."""
    broken = []
    for target in source.links:
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (source.path.parent / path).resolve() if path else source.path
        if not place.exists() or (anchor and anchor not in Document(place).anchors):
            broken.append(target)
    assert broken == []


def test_the_index_names_every_document() -> None:
    """docs/README.md links to each document of its folder, and to the decisions as a folder."""
    index = document("docs/README.md")
    linked = {(index.path.parent / target.partition("#")[0]).resolve() for target in index.links}
    assert {path for path in (ROOT / "docs").glob("*.md") if path != index.path} <= linked
    assert ROOT / "docs" / "adr" in linked


def test_each_decision_is_a_numbered_note() -> None:
    """Notes are found by their numbers, so no two have the same."""
    notes = sorted(path.name for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert [name[:5] for name in notes] == [f"{number:04}-" for number in range(1, len(notes) + 1)]


def test_the_reader_finds_what_is_there(tmp_path: pathlib.Path) -> None:
    """Blocks with their marks, headings as anchors, links and tables; nothing out of code is a link."""
    path = tmp_path / "a.md"
    path.write_text(
        "# One `Two`, three\n\n# One `Two`, three\n\n<!-- fragment -->\n\n```python\n[a](b)\n```\n"
        "[c](d#e) `[f](g)`\n\n| h \\| i | j |\n|---|---|\n| `k` | l |\n"
    )
    found = Document(path)
    assert [(block.line, block.language, block.text, block.mark) for block in found.blocks] == [
        (7, "python", "[a](b)\n", "fragment")
    ]
    assert found.anchors == {"one-two-three", "one-two-three-1"}
    assert found.links == ["d#e"]
    assert [(table.head, table.rows) for table in found.tables] == [(["h \\| i", "j"], [["`k`", "l"]])]

"""Reading Markdown: the documents of this checkout, their code blocks, headings, links and tables.

Only what our documents use is understood: fenced blocks, headings with ``#``, inline links and tables with
pipes. A comment on the line above a block (one empty line between is fine) says something about it, such
as ``<!-- fragment -->``.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import pathlib
import re
import textwrap
from typing import Any

ROOT = pathlib.Path(__file__).parent.parent.parent

_FENCE = re.compile(r"^ *(`{3,})(\S*)")
_COMMENT = re.compile(r"^<!-- *(.*?) *-->$")
_HEADING = re.compile(r"^(#{1,6}) +(.*?) *$")
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block: ``line`` is the one of its fence, ``mark`` the comment above it or empty."""

    document: Document
    line: int
    language: str
    text: str
    mark: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Table:
    """One table: the cells of its head and of its rows, as they are written."""

    head: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Document:
    """One Markdown file."""

    path: pathlib.Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @functools.cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text()

    @functools.cached_property
    def _split(self) -> tuple[list[Block], list[str]]:
        """The blocks, and the lines outside of them (empty where a block stands)."""
        blocks: list[Block] = []
        outside: list[str] = []
        fence, start, body = "", 0, []
        opened: re.Match[str] | None = None
        for number, line in enumerate(self.text.splitlines(), 1):
            if opened is None:
                opened = _FENCE.match(line)
                if opened is None:
                    outside.append(line)
                    continue
                fence, start, body = opened[1], number, []
            elif line.strip() == fence:
                mark = _mark(outside[: start - 1])
                blocks.append(Block(self, start, opened[2], textwrap.dedent("\n".join(body)) + "\n", mark))
                opened = None
            else:
                body.append(line)
            outside.append("")
        assert opened is None, f"{self}:{start}: the block that begins here has no end"
        return blocks, outside

    @property
    def blocks(self) -> list[Block]:
        """Its fenced blocks."""
        return self._split[0]

    @property
    def prose(self) -> list[str]:
        """Its lines outside of blocks."""
        return self._split[1]

    @functools.cached_property
    def anchors(self) -> set[str]:
        """What ``#anchor`` may be, as GitHub makes it from the headings."""
        found: list[str] = []
        for line in self.prose:
            if heading := _HEADING.match(line):
                slug = re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-")
                found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
        return set(found)

    @functools.cached_property
    def links(self) -> list[str]:
        """Where its links lead, as written."""
        return [target for line in self.prose for target in _LINK.findall(_CODE.sub("", line))]

    @functools.cached_property
    def tables(self) -> list[Table]:
        """Its tables."""
        found: list[Table] = []
        lines: list[list[str]] = []
        for line in [*self.prose, ""]:
            if line.startswith("|"):
                lines.append([cell.strip() for cell in _CELL.split(line.strip().strip("|"))])
            elif lines:
                found.append(Table(lines[0], lines[2:]))
                lines = []
        return found


def _mark(above: list[str]) -> str:
    lines = above[-2:]
    if lines and not lines[-1]:
        lines.pop()
    comment = _COMMENT.match(lines[-1]) if lines else None
    return comment[1] if comment else ""


def code_in(cell: str) -> list[str]:
    """The names in a cell: what stands in backticks."""
    return [piece.strip("`") for piece in _CODE.findall(cell)]


def all_documents() -> list[Document]:
    """Every Markdown file of this checkout, hidden folders and builds left out."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "build", "dist")) and "egg" not in name
        )
        found += [Document(pathlib.Path(folder, name)) for name in sorted(files) if name.endswith(".md")]
    return found


DOCUMENTS = all_documents()
BLOCKS = [block for document in DOCUMENTS for block in document.blocks]


def blocks_in(language: str) -> list[Block]:
    """The blocks of one language, of all documents."""
    return [block for block in BLOCKS if block.language == language]


def document(path: str) -> Document:
    """The document at a path of this checkout."""
    return Document(ROOT / path)


def generator() -> Any:
    """The module ``docs/generate.py``."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Every code block of every document is checked; programs run in ``test_document_programs.py``.

What a block must be, by its language:

========  ==================================================================================
python    a program; with ``<!-- continues -->`` above it a part of the one before; with
          ``<!-- fragment -->`` only compiled, and what it takes from our package must exist
sh        commands that exist, with options that exist
toml      a configuration without a problem; with ``<!-- fragment -->`` only TOML
json      JSON
session   a scenario script that holds, for each side that it tests
mermaid   made by docs/generate.py
========  ==================================================================================

Any other language is an error: a block that nothing checks does not stay true.
"""

from __future__ import annotations

import ast
import collections
import importlib
import json
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
import pytest
import trustme

from smarkets_pool.cli.main import cli
from smarkets_pool.config import read_text
from tests.documents.reading import BLOCKS, DOCUMENTS, ROOT, Block, blocks_in, generator
from tests.rig.scenario.language import read_script
from tests.rig.scenario.playing import play

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LANGUAGES = ("python", "sh", "toml", "json", "session", "mermaid")
MARKS = {"python": {"", "continues", "fragment"}, "toml": {"", "fragment"}}


# --- all of them ----------------------------------------------------------------------------------


def test_every_block_has_a_check() -> None:
    """Each is of a known language and has no mark that nobody reads; the count is shown with ``-s``."""
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []
    unread = [
        f"{block}: {block.mark}"
        for block in BLOCKS
        if block.language in MARKS and block.mark not in MARKS[block.language]
    ]
    assert unread == []
    kinds = collections.Counter(block.language for block in BLOCKS)
    listed = ", ".join(f"{kinds[language]} {language}" for language in LANGUAGES if kinds[language])
    fragments = sum(block.mark == "fragment" for block in BLOCKS)
    print(f"\n{len(BLOCKS)} code blocks in {len(DOCUMENTS)} documents: {listed} ({fragments} fragments)")
    assert len(BLOCKS) == sum(kinds[language] for language in LANGUAGES)


def test_no_block_is_overlooked() -> None:
    """Counted without the reader, there are as many fences as its blocks have."""
    fences = sum(len(re.findall(r"^ *```", document.text, re.MULTILINE)) for document in DOCUMENTS)
    assert fences == 2 * len(BLOCKS)


# --- python -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [b for b in blocks_in("python") if b.mark == "fragment"], ids=str)
def test_a_fragment_compiles_and_names_what_exists(block: Block) -> None:
    """What it imports from our package, and what it uses of that by a dot, is there."""
    tree = ast.parse(block.text, filename=str(block))
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "smarkets_pool":
                    importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "smarkets_pool":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                known[alias.asname or alias.name] = getattr(module, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
            assert hasattr(known[node.value.id], node.attr), f"{block}: {node.value.id}.{node.attr}"


# --- sh ---------------------------------------------------------------------------------------------


def _commands() -> Iterator[tuple[Block, str]]:
    for block in blocks_in("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            yield from ((block, part.strip()) for part in re.split(r"&&|[;|&]", _without_comment(line)))


def _without_comment(line: str) -> str:
    return re.sub(r"(^|\s)#.*", "", line)


COMMANDS = [(block, command) for block, command in _commands() if command]
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
#: Commands of the system that documents may use; what they are given is not looked at.
ELSEWHERE = {"cd", "diff", "git", "kill"}


@pytest.mark.parametrize(
    ("block", "command"), COMMANDS, ids=[f"{block}: {command[:40]}" for block, command in COMMANDS]
)
def test_a_command_exists(block: Block, command: str) -> None:
    """Make targets, our own commands with their options, scripts, tests and extras are there."""
    words = shlex.split(command)
    while "=" in words[0]:  # VARIABLE=value before a command
        words.pop(0)
    name, arguments = words[0], words[1:]
    if name in ("python", "python3") and arguments[:2] == ["-m", "smarkets_pool"]:
        name, arguments = "smarkets-pool", arguments[2:]
    if name == "smarkets-pool":
        _check_our_command(arguments)
    elif name == "make":
        targets = {word for word in arguments if "=" not in word and not word.startswith("-")}
        assert targets and targets <= MAKE_TARGETS
    elif name in ("python", "python3"):
        _check_python(arguments, block.document.path.parent)
    elif name == "pip":
        _check_pip(arguments)
    else:
        assert name in ELSEWHERE, f"{block}: nobody here knows whether {name} exists"


def _check_our_command(arguments: list[str]) -> None:
    """Parsed as click parses it, without being run: unknown commands, options and values raise."""
    command: click.Command = cli
    name, parent = "smarkets-pool", None
    while isinstance(command, click.Group):
        parent = click.Context(command, info_name=name, parent=parent)
        _, arguments, _ = command.make_parser(parent).parse_args(list(arguments))
        if not arguments:
            return
        found, subcommand, arguments = command.resolve_command(parent, arguments)
        assert found is not None and subcommand is not None
        name, command = found, subcommand
    try:
        command.make_context(name, list(arguments), parent=parent)
    except click.exceptions.Exit:
        pass  # --help
    except click.BadParameter as error:
        # A file that the reader has and we do not is no mistake of the document.
        if not isinstance(getattr(error.param, "type", None), (click.Path, click.File)):
            raise


def _check_python(arguments: list[str], folder: pathlib.Path) -> None:
    """A program lies where the checkout begins, or beside the document."""
    if arguments[:2] == ["-m", "pytest"]:
        paths = [word.split("::")[0] for word in arguments[2:] if not word.startswith("-")]
    elif arguments[:2] == ["-m", "pip"]:
        _check_pip(arguments[2:])
        return
    else:
        assert arguments and arguments[0].endswith(".py"), arguments
        paths = arguments[:1]
    assert [path for path in paths if not ((ROOT / path).exists() or (folder / path).exists())] == []


def _check_pip(arguments: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
    assert arguments[0] == "install"
    assert {extra for names in named for extra in names.split(",")} <= set(extras)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_make_targets_named_in_prose_exist(document: Any) -> None:
    """Whatever a document tells to ``make`` can be made."""
    prose = "\n".join(document.prose)
    assert set(re.findall(r"`make ([a-z]+)`", prose)) <= MAKE_TARGETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_paths_named_in_prose_exist(document: Any) -> None:
    """Files and tests of this checkout that stand in backticks are there, ``path.py::test`` too."""
    missing = []
    for name in re.findall(r"`((?:smarkets_pool|tests|docs|examples)/[\w./:]+)`", "\n".join(document.prose)):
        path, _, test = name.partition("::")
        place = ROOT / path
        defined = f"\ndef {test}(" if test else ""
        if not place.exists() or (test and defined not in place.read_text()):
            missing.append(name)
    assert missing == []


# --- toml, json, mermaid ----------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks_in("toml"), ids=str)
def test_a_configuration_has_no_problem(
    block: Block, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read as a file of a pool would be, with the files and variables that it names."""
    data = tomllib.loads(block.text)
    if block.mark == "fragment":
        return
    _make_files(data, tmp_path)
    for name in re.findall(r'\benv = "(\w+)"', block.text):
        monkeypatch.setenv(name, "a secret")
    assert read_text(block.text, folder=tmp_path).problems == ()


def _make_files(table: Mapping[str, Any], folder: pathlib.Path) -> None:
    """Authorities, certificates and secrets, under the names that a configuration gives them."""
    authority = trustme.CA()
    certificate = authority.issue_cert("client.example.com")
    contents = {
        "ca_file": authority.cert_pem.bytes(),
        "cert_file": certificate.cert_chain_pems[0].bytes(),
        "key_file": certificate.private_key_pem.bytes(),
        "file": b"a secret\n",
    }
    for key, value in table.items():
        if isinstance(value, dict):
            _make_files(value, folder)
        elif key in contents:
            path = folder / value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(contents[key])


@pytest.mark.parametrize("block", blocks_in("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    """It can be read."""
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks_in("session"), ids=str)
def test_a_scenario_holds_as_printed(block: Block) -> None:
    """It is played against each side that it tests, as the scripts of ``tests/scenarios`` are."""
    script = read_script(block.text, str(block))
    for tested in script.head.tests:
        play(script, tested)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_made_parts_are_what_the_code_says(document: Any) -> None:
    """``make docs`` would change nothing."""
    assert document.text == generator().with_parts(document.text)


def test_every_diagram_is_made() -> None:
    """A diagram is drawn from the code: each stands in a made part, and each part stands in a document."""
    made = generator()
    named = [name for document in DOCUMENTS for name in made.parts_of(document.text)]
    assert sorted(named) == sorted(made.PARTS)
    parts = "".join(part() for part in made.PARTS.values())
    assert [str(block) for block in blocks_in("mermaid") if block.text not in parts] == []

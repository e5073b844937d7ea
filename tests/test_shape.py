"""Guards of the package's shape: who may import whom, who may spawn, what is exported."""

import ast
import importlib
import pathlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import smarkets_pool

ROOT = pathlib.Path(smarkets_pool.__file__).parent

#: Room -> the rooms it may import. The order of docs/architecture.md, written out.
ALLOWED: dict[str, set[str]] = {
    "exceptions": set(),
    "logs": set(),
    "wire": {"exceptions"},
    "eto": {"wire"},
    "seto": {"wire"},
    "protocol": {"exceptions", "wire"},
    "policies": {"exceptions", "wire", "protocol"},
    "session": {"exceptions", "logs", "wire", "protocol", "policies"},
    "dispatcher": {"exceptions", "wire", "protocol", "policies", "session"},
    "client": {"exceptions", "wire", "protocol", "policies", "session", "dispatcher"},
    "api": {"exceptions", "eto", "seto", "session", "client", "smarkets_pool"},
    "stores": {"exceptions"},
    "account": {"exceptions", "policies", "session"},
    "config": {"exceptions", "wire", "policies", "session", "account", "stores"},
    "pool": {
        "exceptions",
        "logs",
        "wire",
        "protocol",
        "policies",
        "session",
        "dispatcher",
        "stores",
        "account",
        "config",
    },
    "exchange": {"exceptions", "logs", "wire", "protocol", "policies"},
}
#: What users import in their tests: above all of these, below the command line.
ALLOWED["testing"] = set(ALLOWED)
#: These stand on top and may use everything.
ON_TOP = {"cli", "__main__", "smarkets_pool"}
PURE = {"wire", "protocol"}
IMPURE_MODULES = {"gevent", "socket", "ssl", "time", "threading", "select", "asyncio", "logging", "random"}
MAY_SPAWN = {"exchange", "testing", "cli", "pool/runtime.py"}
MAY_PATCH = {"__main__", "testing/patching.py"}


def modules() -> list[pathlib.Path]:
    """Every hand-written module of the package."""
    return sorted(path for path in ROOT.rglob("*.py") if not path.name.endswith("_pb2.py"))


def room_of(path: pathlib.Path) -> str:
    """The folder or top-level module a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "smarkets_pool" if parts == ("__init__",) else parts[0]


def imports_of(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            if node.module == "smarkets_pool":
                for alias in node.names:
                    yield node.lineno, f"smarkets_pool.{alias.name}"
            else:
                yield node.lineno, node.module or ""


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: pathlib.Path) -> None:
    """A room imports only rooms below it."""
    room = room_of(path)
    assert room in ALLOWED or room in ON_TOP, f"{room} is a new room: give it its place in ALLOWED"
    if room in ON_TOP:
        return
    for line, name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "smarkets_pool" and len(parts) > 1 and parts[1] != room:
            assert parts[1] in ALLOWED[room], f"{path}:{line}: {room} must not import {parts[1]}"


@pytest.mark.parametrize(
    "path", [p for p in modules() if room_of(p) in PURE], ids=lambda path: str(path.relative_to(ROOT))
)
def test_wire_and_protocol_are_pure(path: pathlib.Path) -> None:
    """They know no socket, clock, greenlet, log or chance."""
    used = {name.split(".")[0] for _, name in imports_of(path)}
    assert not used & IMPURE_MODULES


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_ssl_and_socket_are_looked_up_late(path: pathlib.Path) -> None:
    """``from ssl import X`` would keep what was there before monkey-patching."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.module not in ("ssl", "socket"), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_named_places_spawn_and_patch(path: pathlib.Path) -> None:
    """Greenlets have owners, and importing the library never patches a process."""
    relative = str(path.relative_to(ROOT))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = f"{node.value.id}.{node.attr}"
            if used in ("gevent.spawn", "gevent.spawn_raw", "gevent.spawn_later"):
                assert room_of(path) in MAY_SPAWN or relative in MAY_SPAWN, f"{path}:{node.lineno}"
            if used == "monkey.patch_all":
                assert room_of(path) in MAY_PATCH or relative in MAY_PATCH, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_drawers(path: pathlib.Path) -> None:
    """A module is named for what it holds."""
    assert path.stem not in ("utils", "util", "common", "helpers", "misc", "tools")


def all_modules() -> list[str]:
    """Dotted names of every module that can be imported."""
    found = pkgutil.walk_packages([str(ROOT)], "smarkets_pool.")
    return sorted(info.name for info in found if not info.name.endswith("__main__"))


@pytest.mark.parametrize("name", all_modules())
def test_exports_exist(name: str) -> None:
    """Every name in ``__all__`` is there, once."""
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    assert [entry for entry in exported if not hasattr(module, entry)] == []


def test_the_front_door_is_complete() -> None:
    """Every name of the front door resolves, is listed by dir(), and an unknown one is refused."""
    for name in smarkets_pool.__all__:
        assert getattr(smarkets_pool, name) is not None
    assert set(smarkets_pool.__all__) <= set(dir(smarkets_pool))
    with pytest.raises(AttributeError, match="no attribute 'Poool'"):
        _ = smarkets_pool.Poool


def test_importing_the_package_loads_nothing_that_patching_would_miss() -> None:
    """``import smarkets_pool`` leaves sockets, TLS and gevent alone."""
    code = (
        "import sys, smarkets_pool; "
        "print([m for m in ('socket', 'ssl', 'gevent', 'google.protobuf') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_every_error_hangs_on_the_tree_drawn_at_its_head() -> None:
    """``exceptions`` exports exactly the errors whose names stand in its drawing."""
    module = importlib.import_module("smarkets_pool.exceptions")
    defined = {
        name
        for name, thing in vars(module).items()
        if isinstance(thing, type) and issubclass(thing, Exception)
    }
    assert set(module.__all__) == defined
    assert [name for name in defined if name not in (module.__doc__ or "")] == []

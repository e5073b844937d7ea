"""Build wheel and sdist of this checkout, and look whether they hold what they should and nothing else."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable

from tests.matrix.commands import Failed, run

__all__ = ["Distribution", "build", "copy_checkout"]

PACKAGE = "smarkets_pool"
#: Beside the package's modules; each was missing from somebody's wheel once.
NEEDED = {
    f"{PACKAGE}/py.typed",
    f"{PACKAGE}/wire/schema/eto.proto",
    f"{PACKAGE}/wire/schema/eto_pb2.pyi",
    f"{PACKAGE}/wire/schema/seto.proto",
    f"{PACKAGE}/wire/schema/seto_pb2.pyi",
}
#: What stands beside the package in a wheel's ``.dist-info`` and in an sdist.
WHEEL_METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
SDIST_FILES = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
#: File names in one sentence.
_NAMED = 5
#: Where there is no git to say what belongs to the checkout.
_LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "*.egg-info")


@dataclasses.dataclass(frozen=True)
class Distribution:
    """What was built: the wheel, and a sentence about both."""

    wheel: pathlib.Path
    version: str
    summary: str


def build(root: pathlib.Path, folder: pathlib.Path, python: pathlib.Path, log: pathlib.Path) -> Distribution:
    """Build both from a copy of the checkout, then a wheel from the sdist; compare and check them.

    A copy, because setuptools takes files of an earlier build along that are gone since.

    Raises:
        Failed: a build failed, a file is missing or one too many.
    """
    source = folder / "source"
    copy_checkout(root, source)
    files = _files(source / PACKAGE, source)
    run(
        [python, "-m", "build", "--sdist", "--wheel", "--outdir", folder / "dist", source], log, folder=folder
    )
    sdist, wheel = _only(folder / "dist", "*.tar.gz"), _only(folder / "dist", "*.whl")
    with tarfile.open(sdist) as archive:
        # Not an argument: early releases of 3.10 and 3.11 do not have it.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder / "unpacked")
    unpacked = _only(folder / "unpacked", "*")
    in_sdist = _files(unpacked, unpacked)
    run([python, "-m", "build", "--wheel", "--outdir", folder / "again", unpacked], log, folder=folder)

    inside = _wheel_files(wheel)
    _compare("the wheel of the sdist", _wheel_files(_only(folder / "again", "*.whl")), inside)
    stem = "-".join(wheel.name.split("-")[:2])
    _compare("the wheel", inside, files | {f"{stem}.dist-info/{name}" for name in WHEEL_METADATA})
    beside = {name for name in in_sdist if not name.startswith(f"{PACKAGE}.egg-info/")}
    _compare("the sdist", beside, files | SDIST_FILES)
    _compare("the wheel", inside & NEEDED, NEEDED)
    version = stem.partition("-")[2]
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{stem}.dist-info/METADATA").decode()
    for line in (f"Version: {version}", "Requires-Python: >=3.10", "License-Expression: MIT"):
        if line not in metadata.splitlines():
            raise Failed(f"the wheel's METADATA has no line {line!r}:\n{metadata[:1000]}")
    return Distribution(wheel, version, f"{len(inside)} files in the wheel, {len(in_sdist)} in the sdist")


def required(root: pathlib.Path, name: str) -> str:
    """How pyproject.toml asks for a package, such as ``mypy==1.2.3``.

    Raises:
        Failed: it does not.
    """
    found = re.search(rf'"({re.escape(name)}\b[^"]*)"', (root / "pyproject.toml").read_text())
    if found is None:
        raise Failed(f"pyproject.toml does not ask for {name}")
    return found[1]


def supported(root: pathlib.Path) -> list[tuple[int, int]]:
    """The versions of Python that pyproject.toml promises, oldest first."""
    text = (root / "pyproject.toml").read_text()
    return sorted(
        (3, int(minor)) for minor in re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', text)
    )


def copy_checkout(root: pathlib.Path, target: pathlib.Path) -> None:
    """The checkout as it would be committed now, into a new folder."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        said = subprocess.run(listing, cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        said = None
    if said is None or said.returncode != 0:
        shutil.copytree(root, target, ignore=_LEFT_OUT)
        return
    for name in filter(None, said.stdout.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target / name)


def _files(folder: pathlib.Path, root: pathlib.Path) -> set[str]:
    return {str(path.relative_to(root)) for path in folder.rglob("*") if path.is_file()}


def _wheel_files(wheel: pathlib.Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def _only(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise Failed(f"{folder.name} was to hold one {pattern} and holds {[path.name for path in found]}")
    return found[0]


def _compare(what: str, found: Iterable[str], wanted: Iterable[str]) -> None:
    for names, how in (
        (set(wanted) - set(found), "lacks"),
        (set(found) - set(wanted), "has, and should not,"),
    ):
        if names:
            first = ", ".join(sorted(names)[:_NAMED])
            raise Failed(f"{what} {how} {first}{f' and {len(names) - _NAMED} more' * (len(names) > _NAMED)}")

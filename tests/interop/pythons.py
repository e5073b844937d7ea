"""Find interpreters on this machine, for the venvs of ``make interop``.

Usage: ``python pythons.py below 3.12`` or ``python pythons.py from 3.12``: prints the path of the newest
one that fits and can make venvs, or nothing. Looked at are this one, ``python3`` and ``python3.N`` in every
folder of PATH, and the versions that pyenv has installed, if it is there.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

#: An interpreter says its version, or fails: pyenv's stand-ins for versions that are not chosen do.
ASK = "import ensurepip, ssl, sys, venv; print(*sys.version_info[:3])"
ANSWER_LIMIT = 30.0
NAME = re.compile(r"python3(\.\d+)?")

Version = tuple[int, ...]

#: What the programs of this folder are written for.
OLDEST: Version = (3, 9)


def candidates() -> Iterator[pathlib.Path]:
    """Everything that may be an interpreter."""
    yield pathlib.Path(sys.executable)
    folders = [pathlib.Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for root in pyenv_roots():
        folders += sorted(root.glob("versions/*/bin"))
    for folder in folders:
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def pyenv_roots() -> Iterator[pathlib.Path]:
    """Where pyenv keeps its versions; nothing without pyenv."""
    if root := os.environ.get("PYENV_ROOT"):
        yield pathlib.Path(root)
    elif command := shutil.which("pyenv"):
        said = subprocess.run([command, "root"], capture_output=True, text=True, timeout=ANSWER_LIMIT)
        if said.returncode == 0:
            yield pathlib.Path(said.stdout.strip())


def version_of(python: pathlib.Path) -> Version | None:
    """The version it says it has; None if it cannot be used."""
    try:
        said = subprocess.run([python, "-c", ASK], capture_output=True, text=True, timeout=ANSWER_LIMIT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(map(int, said.stdout.split())) if said.returncode == 0 else None


def newest(*, below: Version = (4,), at_least: Version = OLDEST) -> pathlib.Path | None:
    """The newest interpreter in that range; of two alike, the one found first."""
    found: dict[Version, pathlib.Path] = {}
    for python in dict.fromkeys(candidates()):
        version = version_of(python)
        if version is not None and at_least <= version < below:
            found.setdefault(version, python)
    return found[max(found)] if found else None


def main() -> int:
    """Print the path, or nothing."""
    which, text = sys.argv[1:]
    limit = tuple(map(int, text.split(".")))
    python = newest(below=limit) if which == "below" else newest(at_least=limit)
    if python is not None:
        print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A user's tests: files in a folder of their own, run by a pytest of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

#: What this process's own pytest would pass on.
_OURS = {"PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER"}

INI = "[pytest]\naddopts = -p smarkets_pool.testing.plugin --strict-markers\nfilterwarnings =\n    error\n"
#: gevent warns about itself on interpreters newer than its release.
QUIET = INI + "    ignore::DeprecationWarning:gevent.*\n"


def run_users_tests(
    folder: pathlib.Path, files: Mapping[str, str], *, python: str = sys.executable, limit: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Write the files, run pytest on them, and give what it said."""
    for name, text in files.items():
        (folder / name).write_text(text)
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "."],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in _OURS},
        capture_output=True,
        text=True,
        timeout=limit,
    )

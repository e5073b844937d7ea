"""The wheel, installed elsewhere, and a user's tests run with it."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

from tests.matrix.distribution import copy_checkout

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def run(*command: object, folder: pathlib.Path) -> str:
    """A command to its end, which must be good; what it said."""
    ran = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=150)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.timeout(300)  # it waits for pip
def test_a_users_tests_run_with_the_installed_wheel(tmp_path: pathlib.Path) -> None:
    """The example's folder, copied elsewhere, passes in a fresh venv that has the wheel and not the checkout.

    Dependencies are those of this environment, which takes seconds; ``make matrix`` installs them from the
    index, with the extra ``testing``, on every Python.
    """
    copy_checkout(ROOT, tmp_path / "source")
    run(*PIP, "wheel", "--no-deps", "--wheel-dir", "dist", "./source", folder=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", folder=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel, folder=tmp_path)
    site = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path
    ).strip()
    # A line in it is one more place to import from, behind the wheel's own, and nothing in there is run.
    pathlib.Path(site, "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")

    where = run(python, "-c", "import smarkets_pool.testing as t; print(t.__file__)", folder=tmp_path)
    assert where.startswith(str(tmp_path / "venv")), where
    bot = tmp_path / "a bot"
    shutil.copytree(ROOT / "examples" / "testing", bot, ignore=shutil.ignore_patterns("__pycache__"))
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=bot)
    assert "5 passed" in said
    assert "warning" not in said

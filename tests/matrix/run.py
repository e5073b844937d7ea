"""``make matrix``: this package on every Python it promises, and as its users install it.

Usage: ``python -m tests.matrix.run [--python 3.12 ...] [--only suite ...] [--suite tests/wire ...]``

For each version of Python that pyproject.toml names and this machine has:

suite     the test suite, in a venv of the checkout and its ``dev`` extra under ``.venv-matrix/``
core      the wheel alone in a clean venv elsewhere: it imports, and says what the command line lacks
testing   the same with its extra: a user's tests of a bot, on our fixtures
commands  the same with all extras: the demo, by both of its names
typed     mypy and pyright on ``tests/typed``, against that venv

Before the last four wheel and sdist are built and their contents compared with the checkout. A table ends
it; the exit status is 0 only if nothing failed. What the commands said is in ``.venv-matrix/logs``.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from tests.interop.pythons import newest
from tests.matrix.commands import Failed, output_of, run
from tests.matrix.distribution import Distribution, build, required, supported

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
VENVS = ROOT / ".venv-matrix"
LOGS = VENVS / "logs"
CHECKS = ("suite", "core", "testing", "commands", "typed")
SUITE_LIMIT = 1800.0
DEMO = ("demo", "--accounts", "12", "--seconds", "3")

#: Run by the core alone: every name of the front door, and whose file it comes from.
FRONT_DOOR = """
import importlib.util, sys, smarkets_pool, smarkets_pool.api, smarkets_pool.wire.units
assert smarkets_pool.__file__.startswith(sys.prefix), smarkets_pool.__file__
for name in smarkets_pool.__all__:
    getattr(smarkets_pool, name)
found = [name for name in ("click", "trustme", "sortedcontainers") if importlib.util.find_spec(name)]
assert not found, f"the core alone has {found}"
print(smarkets_pool.__version__)
"""


class Venv:
    """A venv of one Python, with a note of what was installed into it."""

    def __init__(self, python: pathlib.Path, folder: pathlib.Path, log: pathlib.Path) -> None:
        self._made_by = python
        self._folder = folder
        self._log = log
        self.python = folder / "bin" / "python"

    def program(self, name: str) -> pathlib.Path:
        """A command that was installed."""
        return self._folder / "bin" / name

    def install(self, *wanted: str, state: str = "") -> None:
        """Have these, as ``pip install`` writes them; ``state`` is what they hang on beside their names."""
        note = self._folder / "installed.txt"
        text = "\n".join([str(self._made_by), *wanted, state])
        if note.exists() and note.read_text() == text:
            return
        if not self.python.exists() or not note.exists():
            shutil.rmtree(self._folder, ignore_errors=True)
            run([self._made_by, "-m", "venv", self._folder], self._log, folder=ROOT)
        run([self.python, "-m", "pip", "install", "-q", *wanted], self._log, folder=ROOT)
        note.write_text(text)


class Column:
    """One version of Python and the checks on it."""

    def __init__(self, version: str, python: pathlib.Path, room: pathlib.Path) -> None:
        self.version = version
        self._python = python
        self._elsewhere = room / f"python {version}"
        self._elsewhere.mkdir()
        self._log = LOGS / f"{version}.log"
        self._log.unlink(missing_ok=True)
        self._clean = Venv(python, self._elsewhere / "clean venv", self._log)

    def suite(self, paths: Sequence[str]) -> str:
        """The tests of the checkout; return what pytest counted."""
        venv = Venv(self._python, VENVS / self.version, self._log)
        venv.install("-e", f"{ROOT}[dev]", state=(ROOT / "pyproject.toml").read_text())
        try:
            said = run([venv.python, "-m", "pytest", *paths], self._log, folder=ROOT, limit=SUITE_LIMIT)
        except Failed as failure:
            counted = re.findall(r"^(\d+ (?:failed|error).*?)(?: in [\d.]+s.*)?$", str(failure), re.MULTILINE)
            raise Failed(f"{counted[-1]}\n{failure}" if counted else str(failure)) from None
        counted = re.findall(r"^(\d+ passed.*?)(?: in [\d.]+s.*)?$", said, re.MULTILINE)
        if not counted:
            raise Failed("pytest did not say how many tests passed")
        return counted[-1]

    def core(self, distribution: Distribution) -> str:
        """The wheel without extras."""
        self._clean.install(str(distribution.wheel))
        said = output_of(self._clean.python, FRONT_DOOR, self._log, folder=self._elsewhere)
        if said != distribution.version:
            raise Failed(f"the wheel is {distribution.version} and says that it is {said}")
        module = [self._clean.python, "-m", "smarkets_pool"]
        for command in (module, [self._clean.program("smarkets-pool")]):
            said = run([*command, "demo"], self._log, folder=self._elsewhere, limit=60.0, expect=1)
            if len(said.splitlines()) != 1 or not re.search(r"needs \w+, .*pip install '.*\[cli,", said):
                raise Failed(
                    f"without its packages the command line is to say what to install, and said:\n{said}"
                )
        no_exchange = [self._clean.python, "-c", "import smarkets_pool.exchange"]
        said = run(no_exchange, self._log, folder=self._elsewhere, limit=60.0, expect=1)
        if not re.search(r"needs \w+: .*pip install '.*\[exchange\]'", said):
            raise Failed(f"without its packages the exchange is to say what to install, and said:\n{said}")
        return "ok"

    def testing(self, distribution: Distribution) -> str:
        """The wheel with the extra for tests: a user's folder of tests."""
        self._clean.install(f"{distribution.wheel}[testing]")
        folder = self._elsewhere / "bot"
        shutil.copytree(ROOT / "examples" / "testing", folder, ignore=shutil.ignore_patterns("__pycache__"))
        said = run([self._clean.python, "-m", "pytest", "-q"], self._log, folder=folder, limit=120.0)
        counted = re.findall(r"^(\d+ passed) in ", said, re.MULTILINE)
        if not counted:
            raise Failed(f"a user's tests are to pass without a warning, and said:\n{said}")
        return counted[-1]

    def commands(self, distribution: Distribution) -> str:
        """The wheel with all extras: its commands."""
        self._complete(distribution)
        run([self._clean.python, "-m", "pip", "check"], self._log, folder=self._elsewhere)
        for command in ([self._clean.python, "-m", "smarkets_pool"], [self._clean.program("smarkets-pool")]):
            said = run([*command, "--version"], self._log, folder=self._elsewhere, limit=60.0)
            if distribution.version not in said:
                raise Failed(f"--version is to name {distribution.version} and said {said!r}")
            said = run([*command, *DEMO], self._log, folder=self._elsewhere, limit=120.0)
            if said.split()[-1:] != ["passed"]:
                raise Failed(f"the demo's last word is to be 'passed', and it said:\n{said}")
        return "ok"

    def typed(self, distribution: Distribution, checkers: Venv) -> str:
        """The typed programs, as a user's checker sees them."""
        self._complete(distribution)
        version = ".".join(self.version.split(".")[:2])
        asked = (
            "--python",
            self._clean.python,
            "--pyright",
            checkers.program("pyright"),
            "--target",
            version,
        )
        check = ROOT / "tests" / "typed" / "check.py"
        run([checkers.python, check, *asked], self._log, folder=self._elsewhere)
        return "ok"

    def _complete(self, distribution: Distribution) -> None:
        self._clean.install(f"{distribution.wheel}[all,types]")


class Report:
    """What came of each check, and the table of it."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str], str] = {}
        self._failures: list[str] = []

    def note(self, row: str, column: str, check: Callable[[], str]) -> None:
        """Run a check and remember what it said; a failure is shown at once and again at the end."""
        print(f"{column:>10}  {row:<9}", end=" ", flush=True)
        began = time.monotonic()
        try:
            said = check()
        except Exception as failure:
            # One of ours does not keep the others from being run, nor the table from being shown.
            self.fail(row, column, str(failure) if isinstance(failure, Failed) else repr(failure))
            said = "FAILED"
        self._cells[row, column] = said
        print(f"{said}  ({time.monotonic() - began:.0f} s)", flush=True)
        if said == "FAILED":
            print(self._failures[-1], flush=True)

    def fail(self, row: str, column: str, sentence: str) -> None:
        """Something failed."""
        self._failures.append(f"FAILED: {row} on {column}: {sentence}")

    def table(self, rows: Sequence[str], columns: Sequence[str]) -> str:
        """Rows of checks, columns of versions."""
        lines = [["", *columns]]
        lines += [[row, *(self._cells.get((row, column), "-") for column in columns)] for row in rows]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    @property
    def failures(self) -> list[str]:
        """What failed: the first line of each, and the tests that pytest names."""
        found = []
        for failure in self._failures:
            first, *others = failure.splitlines()
            found += [first, *(f"  {line}" for line in others if line.startswith(("FAILED ", "ERROR ")))]
        return found


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="This package on every Python, and as its users install it.")
    parser.add_argument("--python", nargs="+", metavar="3.N", help="only these versions")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=CHECKS, help="only these checks")
    parser.add_argument("--suite", nargs="+", metavar="PATH", default=[], help="only these tests")
    return parser.parse_args()


def interpreters(report: Report, wanted: Sequence[str] | None) -> dict[str, pathlib.Path]:
    """Version -> interpreter, of those that are wanted; what is missing is said."""
    found = {}
    for major, minor in supported(ROOT):
        short = f"{major}.{minor}"
        if wanted and short not in wanted:
            continue
        python = newest(at_least=(major, minor), below=(major, minor + 1))
        if python is None:
            print(f"MISSING: no Python {short} that runs was found on PATH or under pyenv")
            if wanted:
                report.fail("python", short, "it was asked for by name and is missing")
            continue
        print(f"Python {short}: {python}")
        found[short] = python
    unknown = set(wanted or ()) - {f"{major}.{minor}" for major, minor in supported(ROOT)}
    for version in sorted(unknown):
        report.fail("python", version, "pyproject.toml does not promise it")
    return found


def main() -> int:
    """All of it, and the table."""
    asked = parse()
    # Like Ctrl-C: what was started ends, the folder elsewhere is removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    report = Report()
    LOGS.mkdir(parents=True, exist_ok=True)
    pythons = interpreters(report, asked.python)
    if not pythons:
        report.fail("python", "any", "none was found")
    with tempfile.TemporaryDirectory(prefix="clean room ") as place:
        room = pathlib.Path(place).resolve()
        columns = [Column(version, python, room) for version, python in pythons.items()]
        if "suite" in asked.only:
            for column in columns:
                report.note("suite", column.version, lambda column=column: column.suite(asked.suite))
        rows = [check for check in CHECKS if check in asked.only and check != "suite"]
        if rows and columns:
            on_wheel(report, columns, rows, room)
    promised = [f"{major}.{minor}" for major, minor in supported(ROOT)]
    shown = [version for version in promised if version in (asked.python or promised)]
    print(f"\n{report.table([check for check in CHECKS if check in asked.only], shown)}")
    missing = [version for version in shown if version not in pythons]
    if missing:
        print(f"MISSING: Python {', '.join(missing)}")
    for failure in report.failures:
        print(failure)
    return 1 if report.failures else 0


def on_wheel(report: Report, columns: Sequence[Column], rows: Sequence[str], room: pathlib.Path) -> None:
    """Build, then the checks of what was built."""
    log = LOGS / "build.log"
    log.unlink(missing_ok=True)
    tools = Venv(pathlib.Path(sys.executable), VENVS / "tools", log)
    made: list[Distribution] = []

    def build_both() -> str:
        checkers = ROOT / "tests" / "typed" / "requirements.txt"
        tools.install("build", required(ROOT, "mypy"), "-r", str(checkers), state=checkers.read_text())
        made.append(build(ROOT, room, tools.python, log))
        return made[0].summary

    report.note("build", "checkout", build_both)
    if not made:
        return
    checks: dict[str, Callable[[Column], str]] = {
        "core": lambda column: column.core(made[0]),
        "testing": lambda column: column.testing(made[0]),
        "commands": lambda column: column.commands(made[0]),
        "typed": lambda column: column.typed(made[0], tools),
    }
    for column in columns:
        for row in rows:
            report.note(row, column.version, lambda check=checks[row], column=column: check(column))


if __name__ == "__main__":
    sys.exit(main())

"""Show the typed programs to mypy and pyright, as a user of the package would, and run the good one.

Usage: ``python check.py [--python PYTHON] [--pyright PYRIGHT] [--target 3.10] [--checkout]``

``PYTHON`` has the package installed (this one by default); mypy is the one of the Python that runs this. With
``--pyright`` that program is asked too. ``user_program.py`` must pass without a word and run to its end; in
``wrong_program.py`` each checker must refuse exactly the lines that say so. The programs are copied to a
folder of their own first, so that nothing of this checkout is in reach unless it is installed;
``--checkout`` lays a copy of its package beside them, which is quicker to have than an installed one.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

HERE = pathlib.Path(__file__).parent
GOOD, WRONG = "user_program.py", "wrong_program.py"
MARK = "# refused"
LIMIT = 300.0
#: Problems that are shown; a package that cannot be found is a problem of every line.
SHOWN = 40

#: What a checker has to say: line -> its first sentence about it.
Findings = Mapping[int, str]


def environment() -> dict[str, str]:
    """Ours without what would lead a program to other packages."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "MYPYPATH", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def run(command: Sequence[str], folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """A command to its end, in ``folder``."""
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=LIMIT
    )


def program_at(text: str) -> str:
    """A program's absolute path, from a path or a name on PATH: it is run in another folder."""
    found = shutil.which(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"there is no program {text!r}")
    return os.path.abspath(found)


def mypy(program: str, folder: pathlib.Path, python: str, target: str) -> Findings:
    """What ``mypy --strict`` says."""
    said = run(
        [
            *(
                sys.executable,
                "-m",
                "mypy",
                "--strict",
                "--config-file=",
                "--no-pretty",
                "--hide-error-context",
            ),
            *(
                "--python-executable",
                python,
                "--python-version",
                target,
                "--cache-dir",
                str(folder / "cache"),
            ),
            program,
        ],
        folder,
    )
    findings: dict[int, str] = {}
    for line in said.stdout.splitlines():
        found = re.match(r"(.+?):(\d+): error: (.*)", line)
        if found and found[1] == program:  # how the package itself is typed is not asked here
            findings.setdefault(int(found[2]), found[3])
    if said.returncode not in (0, 1) or said.stderr:
        raise SystemExit(f"mypy gave {said.returncode}:\n{said.stdout}{said.stderr}")
    return findings


def pyright(command: str, program: str, folder: pathlib.Path, python: str, target: str) -> Findings:
    """What pyright says: anything at all of the good program, errors of the other."""
    strict = program == GOOD
    config = folder / "pyrightconfig.json"
    config.write_text(
        json.dumps(
            {
                "include": [program],
                "pythonVersion": target,
                # The wrong program's lines are to be refused for what they do, not for their style.
                "typeCheckingMode": "strict" if strict else "standard",
            }
        )
    )
    said = run([command, "--outputjson", "--pythonpath", python, "--project", str(config)], folder)
    try:
        answer = json.loads(said.stdout)
    except json.JSONDecodeError:
        raise SystemExit(f"pyright gave {said.returncode}:\n{said.stdout}{said.stderr}") from None
    if answer["summary"]["filesAnalyzed"] != 1:
        raise SystemExit(
            f"pyright read {answer['summary']['filesAnalyzed']} files instead of {program} alone"
        )
    findings: dict[int, str] = {}
    for entry in answer["generalDiagnostics"]:
        if entry["severity"] == "error" or (strict and entry["severity"] == "warning"):
            findings.setdefault(entry["range"]["start"]["line"] + 1, entry["message"].splitlines()[0])
    return findings


def marked(program: pathlib.Path) -> set[int]:
    """Numbers of the lines that are to be refused."""
    lines = program.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}


def problems(checker: str, program: str, findings: Findings) -> list[str]:
    """Lines that were refused and should not have been, and the reverse."""
    wanted = marked(HERE / program)
    return [
        *(f"{checker}: {program}:{line}: {text}" for line, text in findings.items() if line not in wanted),
        *(f"{checker}: {program}:{line}: accepted" for line in sorted(wanted - findings.keys())),
    ]


def main() -> int:
    """Ask, compare, say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=program_at, default=sys.executable)
    parser.add_argument("--pyright", type=program_at)
    parser.add_argument("--checkout", action="store_true")
    parser.add_argument("--target", default="3.10", help="the Python version to check for")
    asked = parser.parse_args()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="typed programs ") as place:
        folder = pathlib.Path(place).resolve()
        for program in (GOOD, WRONG):
            shutil.copy(HERE / program, folder)
        if asked.checkout:
            shutil.copytree(HERE.parent.parent / "smarkets_pool", folder / "smarkets_pool")
        for program in (GOOD, WRONG):
            wrong += problems("mypy", program, mypy(program, folder, asked.python, asked.target))
            if asked.pyright:
                found = pyright(asked.pyright, program, folder, asked.python, asked.target)
                wrong += problems("pyright", program, found)
        ran = run([asked.python, GOOD], folder)
        if ran.returncode or ran.stderr or ran.stdout.splitlines()[-1:] != ["every promise kept"]:
            wrong.append(f"{GOOD} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    checkers = "mypy and pyright" if asked.pyright else "mypy"
    for sentence in wrong[:SHOWN]:
        print(sentence)
    if len(wrong) > SHOWN:
        print(f"and {len(wrong) - SHOWN} more")
    print(
        f"typed programs for Python {asked.target}, {checkers}: {GOOD} accepted, "
        f"{len(marked(HERE / WRONG))} lines of {WRONG} refused"
        if not wrong
        else f"typed programs for Python {asked.target}: {len(wrong)} problems"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

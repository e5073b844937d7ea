"""``make fuzz``: bad input for so many seconds, by cases without sockets and by visits over real ones.

Usage: ``python -m tests.fuzz.run SECONDS [FUZZER]``. FUZZER is an interpreter with atheris, if there is one;
it plays the cases, this one lays siege, both at the same time. Then the cases that reached something new are
played once more to measure which lines they reach. The exit status is 0 only if nothing was found.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDER = pathlib.Path(".fuzz")
#: For the end of the last case or visit, and for shortening a finding.
PATIENCE = 180
MEASURED_SECONDS = 60


def start(python: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a part of it."""
    return subprocess.Popen([python, "-m", *arguments], cwd=ROOT)


def wait(part: subprocess.Popen[bytes], deadline: float) -> int:
    """Wait for a part; one that does not end is a finding."""
    try:
        return part.wait(max(1.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        print(f"FINDING: {part.args} did not end", flush=True)
        part.kill()
        return part.wait() or 1


def measure(python: str) -> int:
    """Play the kept cases again, and print how much of the exchange they reach."""
    data, settings = f"--data-file={FOLDER / 'coverage'}", f"--rcfile={HERE / 'coverage.cfg'}"
    play = ("-m", "tests.fuzz.pure", "--seconds", str(MEASURED_SECONDS), "--play", str(FOLDER / "corpus"))
    played = subprocess.run([python, "-m", "coverage", "run", data, settings, *play], cwd=ROOT)
    subprocess.run([python, "-m", "coverage", "report", data, settings], cwd=ROOT)
    return played.returncode


def main() -> int:
    """All of it."""
    seconds = float(sys.argv[1])
    fuzzer = sys.argv[2] if len(sys.argv) > 2 else sys.executable
    seed = os.environ.get("FUZZ_SEED") or str(int(time.time()))
    print(f"fuzz: {seconds:g} s, seed {seed}", flush=True)
    deadline = time.monotonic() + seconds + PATIENCE
    common = ("--seconds", str(seconds), "--seed", seed)
    parts = {
        "cases": start(fuzzer, "tests.fuzz.pure", *common, "--folder", str(FOLDER)),
        "siege": start(sys.executable, "tests.fuzz.siege", *common),
    }
    try:
        results = {name: wait(part, deadline) for name, part in parts.items()}
    finally:
        for part in parts.values():
            part.kill()
    if (FOLDER / "corpus").is_dir():
        results["cases again"] = measure(fuzzer)
    failed = [name for name, status in results.items() if status]
    print("fuzz: nothing was found" if not failed else f"fuzz: FOUND SOMETHING by {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

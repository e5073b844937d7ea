"""Cases without sockets: ``python -m tests.fuzz.pure --seconds 60``.

Where atheris is installed it makes the cases: it watches which lines of the package a case reaches and goes
on from those that reach new ones. Elsewhere they come from a seed alone. What fails is written to the
folder of findings, made as short as is quickly done, and played again by ``--play FILE...``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import pathlib
import random
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from gevent import monkey

monkey.patch_all()

try:
    import atheris
except ModuleNotFoundError:
    atheris = None

# What a fuzzer watches has to be told before it is imported; it says of each module that it does so.
watched: Any = contextlib.nullcontext()
if atheris is not None and "--play" not in sys.argv:
    watched = atheris.instrument_imports(include=["smarkets_pool"])
with contextlib.redirect_stderr(io.StringIO()), watched:
    from tests.fuzz.case import Figures, play

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of a case: some end early, some fill all their steps.
LENGTHS = (40, 150, 400, 1000)
LONGEST = LENGTHS[-1]
FIRST_CASES = 64
#: A case that takes longer, or memory beyond this, is a finding of its own (with atheris).
CASE_SECONDS = 30
MEGABYTES = 1024
REPORT_EVERY = 30.0
SHORTEN_SECONDS = 60.0
SHOWN_FAILURES = 3


def case_of(seed: int) -> bytes:
    """The bytes of a seed's case."""
    chance = random.Random(seed)
    return chance.randbytes(chance.choice(LENGTHS))


class Runner:
    """Plays cases, counts, and says now and then how far it is."""

    def __init__(self, findings: pathlib.Path) -> None:
        self.figures = Figures()
        self._findings = findings
        self._said = time.monotonic()

    def __call__(self, data: bytes) -> None:
        """Play one case; what fails is kept and raised."""
        try:
            play(data, self.figures)
        except Exception:
            self._keep(data)
            raise
        if time.monotonic() - self._said > REPORT_EVERY:
            self._said = time.monotonic()
            print(f"pure: {self.figures}", flush=True)

    def _keep(self, data: bytes) -> None:
        short = shortened(data, fails)
        self._findings.mkdir(parents=True, exist_ok=True)
        path = self._findings / f"case-{hashlib.sha256(short).hexdigest()[:12]}"
        path.write_bytes(short)
        print(f"FINDING: python -m tests.fuzz.pure --play {path}", flush=True)


def fails(data: bytes) -> bool:
    """Whether a case fails."""
    try:
        play(data, Figures())
    except Exception:
        return True
    return False


def shortened(data: bytes, is_wanted: Callable[[bytes], bool]) -> bytes:
    """A shorter case that fails too: pieces are left out as long as that goes well and time lasts."""
    end = time.monotonic() + SHORTEN_SECONDS
    size = len(data) // 2
    while size and time.monotonic() < end:
        at = 0
        while at < len(data) and time.monotonic() < end:
            without = data[:at] + data[at + size :]
            if is_wanted(without):
                data = without
            else:
                at += size
        size //= 2
    return data


def seeded(runner: Runner, seconds: float, seed: int) -> None:
    """Cases of one seed after the other."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        runner(case_of(seed))
        seed += 1


def guided(runner: Runner, seconds: float, seed: int, corpus: pathlib.Path) -> None:
    """Cases of atheris; the process ends in here."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number in range(FIRST_CASES):
        (corpus / f"seed-{seed + number}").write_bytes(case_of(seed + number))

    end = time.monotonic() + seconds

    def one(data: bytes) -> None:
        runner(data)
        if time.monotonic() > end:
            kept = sum(1 for _ in corpus.iterdir())
            print(f"pure: {runner.figures}; {kept} of the cases reached something new", flush=True)
            os._exit(0)  # Fuzz() does not come back, and whoever it ends with is not asked for a last word

    flags: list[Any] = [sys.argv[0], f"-max_total_time={int(seconds) + CASE_SECONDS}", f"-seed={seed + 1}"]
    flags += [f"-max_len={LONGEST}", "-len_control=0", f"-timeout={CASE_SECONDS}"]
    flags += [f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={corpus}/../", "-verbosity=0"]
    atheris.Setup([*flags, str(corpus)], one)
    atheris.Fuzz()


def replay(paths: list[pathlib.Path], seconds: float) -> int:
    """Play cases again, all of a folder; the exit status."""
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    end, figures, failed = time.monotonic() + seconds, Figures(), 0
    for file in files:
        if time.monotonic() > end:
            break
        try:
            play(file.read_bytes(), figures)
        except Exception:
            failed += 1
            if failed <= SHOWN_FAILURES:
                print(f"FAILED: {file}")
                traceback.print_exc()
    print(f"played again: {figures}; {failed} failed")
    return 1 if failed else 0


def main() -> int:
    """Read the arguments and go."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("fuzzing"))
    parser.add_argument("--play", type=pathlib.Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.play:
        return replay(arguments.play, arguments.seconds)
    runner = Runner(arguments.folder)
    how = f"guided by {atheris.__name__}" if atheris else "by seed, since there is no atheris here"
    print(f"pure: cases for {arguments.seconds:g} s, {how}", flush=True)
    if atheris:
        guided(runner, arguments.seconds, arguments.seed, arguments.folder / "corpus")
    seeded(runner, arguments.seconds, arguments.seed)
    print(f"pure: {runner.figures}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

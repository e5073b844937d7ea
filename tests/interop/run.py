"""``make interop``: the vendor's SDK, in venvs of its own, beside this package.

Usage: ``python run.py VENDOR_PYTHON NEWER_PYTHON``, run by the interpreter that has smarkets_pool.
VENDOR_PYTHON is of a venv with what the SDK was made for, NEWER_PYTHON of one with a newer protobuf and, if
the machine has one, Python >= 3.12. The steps:

* a program of the SDK that says all its API can say, against ``smarkets-pool exchange``, plain and over TLS;
* the program of ``examples/moving``, before and after it was moved: the same lines;
* the SDK's public names are those of ``tests/data/vendor_names.tsv``;
* the SDK fails every row of ``tests/vendor/defects.py``, so that each of them proves something.

The exit status is 0 only if all of it held.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

from tests.vendor.certificates import make_certificates

START_LIMIT = 30.0
STOP_LIMIT = 10.0
RUN_LIMIT = 180.0

NAMES = ROOT / "tests" / "data" / "vendor_names.tsv"
SCHEMA = ROOT / "tests" / "data" / "schema.tsv"
MOVING = ROOT / "examples" / "moving"
#: How the exchange of the whole program is started; it knows these figures.
WHOLE = (
    *("--control", "0", "--accounts", "4", "--markets", "24", "--contracts", "3", "--heartbeat", "1"),
    *("--setting", "silence_limit=8", "--setting", "login_timeout=2"),
    *("--setting", "managed_pending_ms=4000"),
)
#: Ends with 1 if TLS as the SDK does it is there.
HAS_WRAP_SOCKET = "import ssl; raise SystemExit(hasattr(ssl, 'wrap_socket'))"

#: A newer protobuf runs the SDK's code only this way; how it fails otherwise is row 3.
PURE_PYTHON = {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}


# --- the exchange ---------------------------------------------------------------------------------


@contextlib.contextmanager
def exchange(*options: str) -> Iterator[pathlib.Path]:
    """An exchange in a process of its own; gives its ready file.

    Raises:
        RuntimeError: it did not come up, or did not end in order.
    """
    folder = tempfile.TemporaryDirectory()
    ready = pathlib.Path(folder.name) / "ready.json"
    program = [sys.executable, "-m", "smarkets_pool", "exchange"]
    process = subprocess.Popen([*program, "--port", "0", "--ready-file", str(ready), *options])
    try:
        deadline = time.monotonic() + START_LIMIT
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the exchange did not come up")
            time.sleep(0.02)
        yield ready
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise RuntimeError(f"the exchange did not end within {STOP_LIMIT} s") from None
        finally:
            folder.cleanup()
    if status:
        raise RuntimeError(f"the exchange ended with status {status}")


# --- steps ----------------------------------------------------------------------------------------


def whole_program(vendor: str, *options: str) -> bool | None:
    """The SDK's program runs through; None over TLS if the SDK cannot do that on this Python."""
    if "--no-tls" not in options and not subprocess.run([vendor, "-c", HAS_WRAP_SOCKET]).returncode:
        print("*** NOT SHOWN: no Python < 3.12 was found, and from there on the SDK's TLS cannot start ***")
        return None
    with exchange(*WHOLE, *options) as ready:
        program = [vendor, HERE / "vendor_program.py", ready, SCHEMA]
        return subprocess.run(program, timeout=RUN_LIMIT).returncode == 0


def moved_program(vendor: str) -> bool | None:
    """``before.py`` with the SDK and its successors with this package say the same; None without them."""
    with exchange("--no-tls") as ready:
        return all_moved(vendor, ready)


def all_moved(vendor: str, ready: pathlib.Path) -> bool | None:
    """The same with an exchange that is there."""
    said: dict[str, list[str]] = {}
    for name, python in (("before.py", vendor), ("after.py", sys.executable), ("pooled.py", sys.executable)):
        program = MOVING / name
        if not program.exists():
            print(f"*** NOT SHOWN: there is no {program.relative_to(ROOT)} ***")
            continue
        done = subprocess.run([python, program, ready], timeout=RUN_LIMIT, capture_output=True, text=True)
        if done.returncode or not done.stdout:
            print(f"FAILED: {name} ended with status {done.returncode}\n{done.stdout}{done.stderr}")
            return False
        said[name] = done.stdout.splitlines()
        print(f"ok: {name} said {len(said[name])} lines")
    before = said.pop("before.py", None)
    if before is None or not said:
        return None
    return all(same("before.py", before, name, lines) for name, lines in said.items())


def names(vendor: str) -> bool:
    """The SDK has the names that are written down."""
    found = subprocess.run(
        [vendor, HERE / "vendor_names.py"], timeout=RUN_LIMIT, check=True, capture_output=True, text=True
    )
    lines = found.stdout.splitlines()
    if not same(NAMES.name, NAMES.read_text().splitlines(), "the SDK", lines):
        return False
    print(f"ok: {len(lines) - 1} names")
    return True


def defects(python: str, which: str, environment: dict[str, str]) -> bool:
    """The SDK has the defects of the rows for that venv."""
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(pathlib.Path(folder))
        program = [python, HERE / "vendor_defects.py", folder, which]
        return subprocess.run(program, timeout=RUN_LIMIT, env={**os.environ, **environment}).returncode == 0


def same(left: str, left_lines: list[str], right: str, right_lines: list[str]) -> bool:
    """Whether both are equal; what differs is printed."""
    found = list(difflib.unified_diff(left_lines, right_lines, left, right, lineterm=""))
    if found:
        print(f"FAILED: {left} and {right} differ", *found, sep="\n")
    return not found


# --- all of it ------------------------------------------------------------------------------------


def versions(python: str) -> str:
    """An interpreter's version and its protobuf's."""
    code = (
        "import sys, google.protobuf as p; "
        "print('Python', sys.version.split()[0] + ', protobuf', p.__version__)"
    )
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def attempt(title: str, step: Callable[..., bool | None], *arguments: Any) -> bool | None:
    """Run a step under its heading; one that cannot be run has failed, and does not hide the next."""
    print(f"\n=== {title} ===", flush=True)
    try:
        return step(*arguments)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"FAILED: {error}")
        return False


def main() -> int:
    """Run the steps one after the other."""
    vendor, newer = sys.argv[1:]
    results: dict[str, bool | None] = {}
    title = f"the SDK's program against the exchange ({versions(vendor)})"
    results["program"] = attempt(title, whole_program, vendor, "--no-tls")
    results["program over TLS"] = attempt("the same over TLS", whole_program, vendor)
    results["moving"] = attempt("a program before and after its move", moved_program, vendor)
    results["names"] = attempt("the SDK's public names", names, vendor)
    for name, python, which, environment in (
        ("defects", vendor, "old", {}),
        ("newer", newer, "newer", PURE_PYTHON),
    ):
        title = f"the SDK's defects ({versions(python)})"
        results[name] = attempt(title, defects, python, which, environment)
    words = {True: "ok", False: "FAILED", None: "NOT SHOWN"}
    print("\ninterop:", ", ".join(f"{name} {words[result]}" for name, result in results.items()))
    return 1 if False in results.values() else 0


if __name__ == "__main__":
    sys.exit(main())

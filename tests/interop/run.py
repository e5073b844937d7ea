"""``make interop``: the vendor's SDK, in its own venv, against ``smarkets-pool exchange --no-tls``.

Usage: ``python run.py VENDOR_PYTHON``; exit status 0 only if its whole program ran through.
"""

import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
START_LIMIT = 30.0
RUN_LIMIT = 120.0


def main() -> int:
    """Start the exchange, run the program, stop the exchange."""
    vendor_python = sys.argv[1]
    versions = (
        "import sys, google.protobuf as p; print('Python', sys.version.split()[0], 'protobuf', p.__version__)"
    )
    subprocess.run([vendor_python, "-c", versions], check=True)
    with tempfile.TemporaryDirectory() as folder:
        ready = pathlib.Path(folder) / "ready.json"
        exchange = subprocess.Popen(
            [
                *(sys.executable, "-m", "smarkets_pool", "exchange"),
                *("--no-tls", "--port", "0", "--ready-file", str(ready)),
            ]
        )
        try:
            deadline = time.monotonic() + START_LIMIT
            while not ready.exists():
                if exchange.poll() is not None or time.monotonic() > deadline:
                    print("FAILED: the exchange did not come up")
                    return 1
                time.sleep(0.02)
            program = [vendor_python, str(HERE / "vendor_program.py"), str(ready)]
            code = subprocess.run(program, timeout=RUN_LIMIT).returncode
        finally:
            exchange.send_signal(signal.SIGTERM)
            left = exchange.wait(10)
    print(f"interop: program {code}, exchange {left}")
    return 1 if code or left else 0


if __name__ == "__main__":
    sys.exit(main())

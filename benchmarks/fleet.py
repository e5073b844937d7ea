"""How much many accounts cost: time until all are UP, memory per member, CPU while idle.

Usage::

    python benchmarks/fleet.py [--accounts 1000] [--seconds 10] [--repeats 3]

One process has the pool, a second one the embedded exchange; TLS on loopback. Each repeat is a fresh pair of
processes. Two rows: with the pool's default login governor (100 logins a second after a burst of 50), and
with the governor out of the way, where the two processes' CPU is the limit. Memory is the growth of the
pool's own process, divided by the accounts; idle means that nothing but heartbeats goes to and fro.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

FAST = 1_000_000.0
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run the repeats in processes of their own and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of idling")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=("governed", "open"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.accounts, arguments.seconds, arguments.one)))
        return
    found: dict[str, list[dict[str, Any]]] = {"governed": [], "open": []}
    for _ in range(arguments.repeats):
        for kind, results in found.items():  # interleaved, so that a busy minute meets both
            results.append(_repeat(arguments, kind))
    print(f"{arguments.accounts} accounts over TLS, {arguments.repeats} repeats each: median (least to most)")
    for kind, results in found.items():
        print(f"\n{'default governor' if kind == 'governed' else 'governor out of the way'}")
        for key, unit in FIGURES.items():
            values = [result[key] for result in results]
            print(
                f"  {key:34} {statistics.median(values):9.2f} {unit:8}"
                f" ({min(values):.2f} to {max(values):.2f})"
            )


FIGURES = {
    "all UP after": "s",
    "CPU of the pool until then": "s",
    "CPU of the exchange until then": "s",
    "memory per member": "KB",
    "memory of the pool's process": "MB",
    "CPU of the idle pool": "%",
    "frames per second while idle": "/s",
    "TLS sessions resumed": "%",
}


def _repeat(arguments: argparse.Namespace, kind: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", kind]
    command += ["--accounts", str(arguments.accounts), "--seconds", str(arguments.seconds)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        sys.exit(said.stderr)
    result: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return result


def measure(accounts: int, seconds: float, kind: str) -> dict[str, float]:
    """One pool, one exchange, from nothing to idle."""
    from gevent import monkey

    monkey.patch_all()

    import gc
    import time

    import gevent

    from smarkets_pool import Account, Pool, ReconnectPolicy
    from smarkets_pool.cli.process import ExchangeProcess

    _allow_descriptors(accounts * 2 + 200)
    with ExchangeProcess(accounts=accounts, contracts=2, heartbeat=5.0) as exchange:
        where = exchange.description
        place = {"host": where["host"], "port": where["port"], "ca_file": where["ca_file"]}
        policy = (
            ReconnectPolicy()
            if kind == "governed"
            else ReconnectPolicy(login_rate=FAST, login_burst=accounts)
        )
        gc.collect()
        before = _memory()
        pool = Pool(
            [
                Account(f"account-{number}", username=login["username"], password=login["password"], **place)
                for number, login in enumerate(where["accounts"], 1)
            ],
            reconnect=policy,
        )
        cpu, exchange_cpu, began = time.process_time(), _cpu_of(exchange.pid), time.monotonic()
        with pool:
            pool.wait_until_up(timeout=300)
            took = time.monotonic() - began
            login_cpu = time.process_time() - cpu
            exchange_login_cpu = _cpu_of(exchange.pid) - exchange_cpu
            gevent.sleep(2)  # what ends a second after a login has ended
            gc.collect()
            memory = _memory()
            frames, cpu, began = _frames(pool), time.process_time(), time.monotonic()
            gevent.sleep(seconds)
            idle = time.monotonic() - began
            idle_cpu, idle_frames = time.process_time() - cpu, _frames(pool) - frames
            assert pool.stats()["up"] == accounts
            resumed = sum(
                member._connection._transport._socket.session_reused  # type: ignore[union-attr, attr-defined]
                for member in pool
            )
    return {
        "all UP after": took,
        "CPU of the pool until then": login_cpu,
        "CPU of the exchange until then": exchange_login_cpu,
        "memory per member": (memory - before) / accounts / 1000,
        "memory of the pool's process": memory / 1e6,
        "CPU of the idle pool": 100 * idle_cpu / idle,
        "frames per second while idle": idle_frames / idle,
        "TLS sessions resumed": 100 * resumed / accounts,
    }


def _memory() -> int:
    """Resident bytes of this process."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _frames(pool: Any) -> int:
    stats = pool.stats()
    return int(stats["frames_received_total"] + stats["frames_sent_total"])


def _allow_descriptors(count: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


if __name__ == "__main__":
    main()

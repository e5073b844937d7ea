"""Whether the exchange's memory stays flat while its house traders trade, and what they cost.

Usage::

    python benchmarks/activity.py [--seconds 600] [--quotes 20] [--takes 5]

The exchange is a process of its own; a pool in this one follows every market over TLS. Markets live for
half a minute, so that dozens of them come and go. Its memory is read twenty times; the exit status is 0 if
the largest of the second half is no more than 5 % above the largest of the first.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.parse
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
READINGS = 20
ALLOWED = 1.05


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--quotes", type=float, default=20.0, help="a second and market")
    parser.add_argument("--takes", type=float, default=5.0, help="a second and market")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="smarkets-pool-activity-") as folder:
        ready = pathlib.Path(folder, "ready.json")
        command = [sys.executable, "-m", "smarkets_pool", "exchange", "--port", "0", "--control", "0"]
        command += ["--ready-file", str(ready), "--rate", "open_seconds=10", "--rate", "live_seconds=10"]
        command += ["--rate", f"quotes={arguments.quotes}", "--rate", f"takes={arguments.takes}"]
        exchange = subprocess.Popen(command)
        try:
            while not ready.exists():
                if exchange.poll() is not None:
                    sys.exit("the exchange did not come up")
                time.sleep(0.05)
            flat = _watch(exchange.pid, ready, arguments.seconds)
        finally:
            exchange.terminate()
            exchange.wait()
    print("flat" if flat else "NOT FLAT")
    sys.exit(0 if flat else 1)


def _watch(pid: int, ready: pathlib.Path, seconds: float) -> bool:
    from gevent import monkey

    monkey.patch_all()
    import gevent

    from smarkets_pool import Account, Pool, seto

    where = json.loads(ready.read_text())
    place = {"host": where["host"], "port": where["port"], "ca_file": where["ca_file"]}
    pool = Pool(
        Account(f"account-{number}", username=login["username"], password=login["password"], **place)
        for number, login in enumerate(where["accounts"], 1)
    )
    seen: collections.Counter[str] = collections.Counter()
    pool.add_global_handler(lambda delivery: seen.update([delivery.name]))
    memory: list[float] = []
    with pool:
        pool.wait_until_up(timeout=30)
        for member in pool:
            member.send(seto.PriceFeedSubscribe())
            member.send(seto.MarketFeedSubscribe())
        began = time.monotonic()
        for number in range(1, READINGS + 1):
            gevent.sleep(max(0.0, began + seconds * number / READINGS - time.monotonic()))
            memory.append(_memory(pid))
            counters = _counters(where["control"])
            figures = ", ".join(f"{counters[name]} {name}" for name in ("markets", "live_orders", "trades"))
            print(f"{time.monotonic() - began:6.0f} s  {memory[-1]:7.1f} MB  {figures}", flush=True)
        took, cpu = time.monotonic() - began, _cpu(pid)
    accepted, executed = counters["orders_accepted"], counters["executions"] // 2
    settled = seen["seto.market_state"]
    print(f"{accepted} orders and {executed} trades; {sum(seen.values())} frames, {settled} of them states")
    print(f"CPU of the exchange: {100 * cpu / took:.1f} % of a core, {len(where['accounts'])} subscribers")
    half = READINGS // 2
    before, after = max(memory[:half]), max(memory[half:])
    print(f"memory at most: {before:.1f} MB in the first half, {after:.1f} MB in the second")
    return after <= before * ALLOWED


def _counters(place: dict[str, str]) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(place["url"]).netloc, timeout=30)
    connection.request("GET", "/counters", headers={"Authorization": f"Bearer {place['token']}"})
    found: dict[str, Any] = json.loads(connection.getresponse().read())["value"]
    connection.close()
    return found


def _memory(pid: int) -> float:
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * PAGE / 2**20


def _cpu(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()

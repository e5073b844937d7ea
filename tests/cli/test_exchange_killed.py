"""An exchange process with a state file, killed under a pool: its accounts go on with the next one."""

from __future__ import annotations

import json
import pathlib
import signal
import socket
import subprocess
import sys
from typing import Any

from smarkets_pool import Account, Pool, ReconnectPolicy, TimeoutPolicy, seto
from smarkets_pool.policies import Backoff
from tests.exchange_live.test_state_file import written
from tests.rig.waiting import eventually


class Process:
    """``smarkets-pool exchange --state`` on a port; killed at the end, unless it is already."""

    def __init__(self, folder: pathlib.Path, port: int) -> None:
        ready = folder / "ready.json"
        command = ["exchange", "--port", str(port), "--state", str(folder / "books"), "--markets", "1"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "smarkets_pool", *command, "--ready-file", str(ready)],
            stderr=subprocess.DEVNULL,
        )
        eventually(ready.exists, timeout=20)
        self.where: dict[str, Any] = json.loads(ready.read_text())
        ready.unlink()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


def free_port() -> int:
    """One that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_a_pool_goes_on_with_the_exchange_that_comes_after_a_killed_one(tmp_path: pathlib.Path) -> None:
    """It logs in with what it has, over TLS with the same CA; each event is handled once, none is lost."""
    port, books = free_port(), tmp_path / "books"
    seen: dict[str, list[int]] = {"0": [], "1": []}
    gaps: list[object] = []
    with Process(tmp_path, port) as first:
        place = {"host": "127.0.0.1", "port": port, "ca_file": first.where["ca_file"]}
        pool = Pool(
            [
                Account(str(number), username=login["username"], password=login["password"], **place)
                for number, login in enumerate(first.where["accounts"][:2])
            ],
            reconnect=ReconnectPolicy(backoff=Backoff(initial=0.05, cap=0.2)),
            timeouts=TimeoutPolicy(logout=0.5),
        )

        def order(side: seto.Side) -> seto.OrderCreate:
            market = first.where["markets"][0]
            return seto.OrderCreate(
                side=side,
                price=5000,
                quantity=10_000,
                market_id=market["market_id"],
                contract_id=market["contract_ids"][0],
            )

        @pool.on("seto.order_accepted")
        @pool.on("seto.order_executed")
        def on_event(delivery) -> None:
            seen[delivery.account].append(delivery.account_sequence)

        pool.add_handler("member.gap", gaps.append)
        pool.start()
        pool.wait_until_up(timeout=20)
        for number in range(1, 4):
            pool["0"].send(order(seto.SIDE_BUY))
            eventually(lambda number=number: seen["0"][-1:] == [number])
        eventually(lambda: written(books) == 3)
    try:
        with Process(tmp_path, port):
            eventually(lambda: pool.stats()["up"] == 2, timeout=20)
            pool["1"].send(order(seto.SIDE_SELL))
            eventually(lambda: seen == {"0": [1, 2, 3, 4], "1": [1, 2]})
            pool.stop()
    finally:
        pool.stop()
    assert gaps == []

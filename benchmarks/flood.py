"""How fast the embedded exchange can talk, beside how fast one pool process can listen.

Usage::

    python benchmarks/flood.py [--connections 1 1000] [--seconds 4] [--repeats 5] [--json FILE]

Whoever measures a pool against the embedded exchange must not measure the exchange. So, for each number
of connections, plain and over TLS, and interleaved:

* ``pool``: frames per second that a real pool with real handlers takes from a flood source;
* ``sink``: the same from a reader that looks at no byte of it, so the source's own rate;
* ``live``: frames per second that the live exchange (no flood) gives to such a reader while orders match
  and every connection is subscribed to their market.

Every figure is from a fresh pair of processes, the exchange on one core and the reader on another, after a
second of running in. ``sink / pool`` is what matters: at 3 and more the pool is what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from typing import Any

GOAL = 3.0
WARM_UP = 1.0
#: Seconds between the last login and the flood, in which a pool gets done with its logins.
PAUSE = 2.0
READERS = ("pool", "sink", "live")
MIX = "contract_quotes=14 order_executed=1 heartbeat=1"


def main() -> None:
    """Run the repeats in processes of their own and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 1000])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--mix", default=MIX, help=f"of the flood, {MIX!r} if not given")
    parser.add_argument("--json", type=pathlib.Path, help="a file for the figures")
    parser.add_argument("--role", choices=("source", *READERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role:
        _play(arguments.role)
        return
    cases = [(connections, tls) for connections in arguments.connections for tls in (False, True)]
    found: dict[tuple[int, bool], dict[str, list[dict[str, float]]]] = {
        case: {reader: [] for reader in READERS} for case in cases
    }
    for _ in range(arguments.repeats):
        for case, readers in found.items():  # interleaved, so that a busy minute meets everybody
            for reader, results in readers.items():
                results.append(_measure(reader, *case, arguments.seconds, arguments.mix))
    rows = [_row(connections, tls, found[connections, tls]) for connections, tls in cases]
    _print(rows, arguments)
    if arguments.json is not None:
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
        whole = {"mix": arguments.mix, "repeats": arguments.repeats, "machine": machine, "rows": rows}
        arguments.json.write_text(json.dumps(whole, indent=2) + "\n")


def _row(connections: int, tls: bool, found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """The medians of one case, with their extremes."""
    row: dict[str, Any] = {"connections": connections, "tls": tls}
    for reader, results in found.items():
        row[reader] = {
            key: {
                "median": statistics.median(result[key] for result in results),
                "least": min(result[key] for result in results),
                "most": max(result[key] for result in results),
            }
            for key in results[0]
        }
    pairs = zip(found["sink"], found["pool"], strict=True)
    ratios = [sink["frames_per_second"] / pool["frames_per_second"] for sink, pool in pairs]
    row["ratio"] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return row


def _print(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    print(
        f"median of {arguments.repeats} (least to most), frames per second; in brackets the CPU of exchange "
        f"and reader in percent of a core\nmix: {arguments.mix}\n"
    )
    for row in rows:
        print(f"{row['connections']} connections, {'TLS' if row['tls'] else 'plain'}")
        for reader in READERS:
            rate, cpu = row[reader]["frames_per_second"], row[reader]
            print(
                f"  {reader:5} {rate['median']:12,.0f}  ({rate['least']:,.0f} to {rate['most']:,.0f})"
                f"  [{cpu['cpu_of_exchange']['median']:.0f} and {cpu['cpu_of_reader']['median']:.0f}]"
            )
        orders = row["live"]["orders_per_second"]["median"]
        print(f"  live takes {orders:,.0f} orders per second meanwhile")
        ratio = row["ratio"]
        verdict = "reached" if ratio["median"] >= GOAL else "NOT reached"
        print(
            f"  sink / pool {ratio['median']:6.2f}  ({ratio['least']:.2f} to {ratio['most']:.2f})"
            f"  goal {GOAL:g}: {verdict}"
        )


def _measure(reader: str, connections: int, tls: bool, seconds: float, mix: str) -> dict[str, float]:
    """One fresh pair of processes."""
    wanted = {"reader": reader, "connections": connections, "tls": tls, "mix": mix, "seconds": seconds}
    command = [sys.executable, __file__, "--role"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "source"], **pipes) as source:
        assert source.stdin is not None and source.stdout is not None
        source.stdin.write(json.dumps(wanted) + "\n")
        source.stdin.flush()
        where = json.loads(source.stdout.readline() or "null")
        if where is None:
            sys.exit("the exchange did not start")
        wanted["where"], wanted["pid"] = where, source.pid
        said = subprocess.run(
            [*command, reader],
            input=json.dumps(wanted) + "\n",
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if said.returncode:
        sys.exit(said.returncode)
    result: dict[str, float] = json.loads(said.stdout)
    return result


# --- the processes -----------------------------------------------------------------------------


def _play(role: str) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0] if role == "source" else cores[-1]})
    if role == "source":
        _serve(json.loads(sys.stdin.readline()))
        return
    wanted = json.loads(sys.stdin.readline())
    _allow_descriptors(wanted["connections"] * 2 + 200)
    print(json.dumps({"pool": _read_by_pool, "sink": _read_flood, "live": _read_life}[role](wanted)))


def _serve(wanted: dict[str, Any]) -> None:
    """An exchange until the standard input ends; what clients have to know is said first."""
    from gevent import monkey

    monkey.patch_all()

    from decimal import Decimal

    from gevent.fileobject import FileObject

    from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
    from smarkets_pool.exchange.flood import Flood

    connections = wanted["connections"]
    _allow_descriptors(connections + 200)
    flood = None
    if wanted["reader"] != "live":
        flood = Flood.parse(f"{wanted['mix']} start_at={connections} pause={PAUSE}")
    settings = ExchangeSettings(
        throttle_enforced=False,
        opening_balance=Decimal(10**12),
        history_limit=100,
        finished_orders=100,
        truth_limit=100,
    )
    exchange = EmbeddedExchange(
        accounts=connections + 2, markets=1, tls=wanted["tls"], flood=flood, settings=settings
    )
    with exchange:
        sys.stdout.write(json.dumps(exchange.description()) + "\n")
        sys.stdout.flush()
        FileObject(sys.stdin.fileno(), "rb", close=False).read()


class _Window:
    """The seconds that count, and what they cost both sides."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._pid = wanted["pid"]
        self._began = time.monotonic()
        self._cpu = time.process_time()
        self._exchange_cpu = _cpu_of(self._pid)

    def result(self, frames: float) -> dict[str, float]:
        """The figures of a reader that took so many frames since."""
        seconds = time.monotonic() - self._began
        return {
            "frames_per_second": frames / seconds,
            "cpu_of_exchange": 100 * (_cpu_of(self._pid) - self._exchange_cpu) / seconds,
            "cpu_of_reader": 100 * (time.process_time() - self._cpu) / seconds,
        }


def _cpu_of(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _allow_descriptors(count: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


# --- readers -----------------------------------------------------------------------------------


def _read_by_pool(wanted: dict[str, Any]) -> dict[str, float]:
    """A pool as users have it: handlers by message class, everything checked and counted."""
    from gevent import monkey

    monkey.patch_all()

    import logging

    import gevent

    from smarkets_pool import Account, Pool, ReconnectPolicy, TimeoutPolicy, seto
    from smarkets_pool.pool.state import UP

    logging.disable(logging.WARNING)  # that handlers are behind is what a flood is for

    where, connections = wanted["where"], wanted["connections"]
    place = {"host": where["host"], "port": where["port"], "ssl": where["tls"], "ca_file": where["ca_file"]}
    pool = Pool(
        [
            Account(f"account-{number}", username=login["username"], password=login["password"], **place)
            for number, login in enumerate(where["accounts"][:connections])
        ],
        reconnect=ReconnectPolicy(login_rate=1e6, login_burst=connections),
        # A read of 16 KB from each of a thousand is seconds of work, on a busy machine many of them.
        timeouts=TimeoutPolicy(connect=120, login=120, probe_after=300, give_up_after=600),
    )
    levels = executed = 0

    @pool.on(seto.ContractQuotes)
    def on_quotes(delivery: Any) -> None:
        nonlocal levels
        levels += len(delivery.message.bids)

    @pool.on(seto.OrderExecuted)
    def on_executed(delivery: Any) -> None:
        nonlocal executed
        executed += delivery.message.quantity

    with pool:
        pool.wait_until_up(timeout=300)
        gevent.sleep(PAUSE + WARM_UP)
        window, frames = _Window(wanted), pool.stats()["frames_received_total"]
        gevent.sleep(wanted["seconds"])
        result = window.result(pool.stats()["frames_received_total"] - frames)
        lost = {member.account.name: member.stats()["why_down"] for member in pool if member.state != UP}
        assert not lost, f"members were lost under the flood: {lost}"
        assert levels or executed, "the handlers were not called"
        # Stopping in order would mean reading what is on its way to a thousand connections.
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        os._exit(0)


class _Sink:
    """Connections that are logged in, read with nothing but the system's calls."""

    def __init__(self, wanted: dict[str, Any], connections: int, first: int = 0) -> None:
        import select
        import socket
        import ssl

        from smarkets_pool import seto
        from smarkets_pool.protocol import SessionProtocol

        where = wanted["where"]
        context = ssl.create_default_context(cafile=where["ca_file"]) if where["tls"] else None
        self.poll = select.epoll()
        self.sockets: dict[int, Any] = {}
        self.protocols: dict[int, SessionProtocol] = {}
        self.read: dict[int, int] = {}
        for login in where["accounts"][first : first + connections]:
            connection: Any = socket.create_connection((where["host"], where["port"]))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                connection = context.wrap_socket(connection, server_hostname="localhost")
            protocol = SessionProtocol()
            protocol.login(seto.Login(username=login["username"], password=login["password"]), 0.0)
            connection.sendall(protocol.data_to_send())
            connection.setblocking(False)
            number = connection.fileno()
            self.sockets[number], self.protocols[number], self.read[number] = connection, protocol, 0
            self.poll.register(number, select.EPOLLIN)
        self._nothing_now = (ssl.SSLWantReadError, BlockingIOError)

    def turn(self, take: Any = None) -> None:
        """Read once from every connection that has something; for TLS all that is decrypted."""
        for number, _ in self.poll.poll(0.1):
            connection = self.sockets[number]
            try:
                data = connection.recv(65_536)
                while data:
                    self.read[number] += len(data)
                    if take is not None:
                        take(number, data)
                    if not (pending := getattr(connection, "pending", int)()):
                        break
                    data = connection.recv(pending)
            except self._nothing_now:
                continue
            if not data:
                raise SystemExit("the exchange has closed a connection")


def _read_flood(wanted: dict[str, Any]) -> dict[str, float]:
    """The flood into nowhere."""
    sink = _Sink(wanted, wanted["connections"])
    over = time.monotonic() + PAUSE + WARM_UP
    while time.monotonic() < over:
        sink.turn()
    window, before = _Window(wanted), dict(sink.read)
    over = time.monotonic() + wanted["seconds"]
    while time.monotonic() < over:
        sink.turn()
    result = window.result(1)
    frames = _frames_behind(wanted, before, sink.read)
    result["frames_per_second"] *= frames
    return result


def _frames_behind(wanted: dict[str, Any], before: dict[int, int], after: dict[int, int]) -> int:
    """How many frames of the flood lie between two counts of bytes, to a block of frames exactly."""
    import bisect

    from smarkets_pool.exchange.flood import BLOCK, Flood, FloodStream

    markets = wanted["where"]["markets"]
    stream = FloodStream(
        Flood.parse(wanted["mix"]), {market["market_id"]: market["contract_ids"] for market in markets}
    )
    ends, size = [], 0
    while size <= max(after.values()):
        size += len(stream.block(len(ends)))
        ends.append(size)
    blocks = sum(bisect.bisect(ends, after[n]) - bisect.bisect(ends, before[n]) for n in after)
    return blocks * BLOCK


def _read_life(wanted: dict[str, Any]) -> dict[str, float]:
    """Everybody is subscribed; two more accounts send orders that match, as fast as they are answered."""
    import itertools

    from smarkets_pool import seto

    market = wanted["where"]["markets"][0]
    market_id, contract_id = market["market_id"], market["contract_ids"][0]
    sink = _Sink(wanted, wanted["connections"] + 2)
    counts = dict.fromkeys(sink.sockets, 0)
    rests = dict.fromkeys(sink.sockets, b"")
    frames = 0

    def take(number: int, data: bytes) -> None:
        """Count frames by their headers alone."""
        nonlocal frames
        data = rests[number] + data
        offset, size, count = 0, len(data), 0
        while offset < size:
            length, body = data[offset], offset + 1
            if length > 0x7F:
                if body == size:
                    break
                length, body = (length & 0x7F) | data[body] << 7, body + 1
            if body + length > size:
                break
            offset, count = body + length, count + 1
        rests[number] = data[offset:]
        counts[number] += count
        frames += count

    while min(counts.values()) < 2:  # the login response and the throttle limits
        sink.turn(take)
    *subscribers, buyer, seller = sink.sockets
    for number, protocol in sink.protocols.items():
        protocol.memory.inseq, protocol.state = 3, type(protocol.state).UP
        protocol.memory.outseq = 2
        if number not in (buyer, seller):
            protocol.send(seto.MarketSubscribe(market_id=market_id), 0.0)
            sink.sockets[number].sendall(protocol.data_to_send())
    while min(counts[number] for number in subscribers) < 4:  # the snapshot and the state
        sink.turn(take)

    sent = dict.fromkeys((buyer, seller), 0)
    waiting = dict.fromkeys(sent, b"")
    prices = itertools.cycle(range(4000, 6000, 10))

    def trade() -> None:
        """Keep some orders of each trader on the way; each is accepted and executed: two frames."""
        while min(sent[number] - (counts[number] - 2) // 2 for number in sent) < 50:
            price = next(prices)
            for number, side in ((seller, seto.SIDE_SELL), (buyer, seto.SIDE_BUY)):
                order = seto.OrderCreate(
                    side=side, price=price, quantity=10_000, market_id=market_id, contract_id=contract_id
                )
                sink.protocols[number].send(order, 0.0)
                sent[number] += 1
                waiting[number] += sink.protocols[number].data_to_send()
        for number, data in waiting.items():
            if data:
                try:
                    waiting[number] = data[sink.sockets[number].send(data) :]
                except sink._nothing_now:
                    continue

    over = time.monotonic() + WARM_UP
    while time.monotonic() < over:
        trade()
        sink.turn(take)
    window, before, orders = _Window(wanted), frames, sum(sent.values())
    over = time.monotonic() + wanted["seconds"]
    while time.monotonic() < over:
        trade()
        sink.turn(take)
    result = window.result(frames - before)
    result["orders_per_second"] = (sum(sent.values()) - orders) / wanted["seconds"]
    return result


if __name__ == "__main__":
    main()

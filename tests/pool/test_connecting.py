"""What connecting survives: peers of every bad manner, dead addresses, an exchange that is killed."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest
import trustme

from smarkets_pool import DOWN, Account, Backoff, Pool, ReconnectPolicy, TimeoutPolicy
from smarkets_pool.exceptions import ConnectionError, ConnectTimeout, LoginTimeout, TlsError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.pool.resolver import Resolver
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.session.addresses import Address
from tests.rig.peers import Unanswering
from tests.rig.pooling import AT_ONCE, RawServer, Record, Talk
from tests.rig.waiting import eventually

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("127.0.0.1")


@pytest.fixture
def trusted(tmp_path: pathlib.Path) -> str:
    """The authority's certificate."""
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


def serving(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    CERTIFICATE.configure_cert(context)
    return context


# --- peers of every bad manner ----------------------------------------------------------------------


def flight(talk: Talk, version: ssl.TLSVersion) -> bytes:
    """What a real server would answer to this client's hello."""
    hello, answer = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving(version).wrap_bio(hello, answer, server_side=True)
    hello.write(talk.socket.recv(65536))
    with contextlib.suppress(ssl.SSLWantReadError):
        server.do_handshake()
    return answer.read()


def garbage(talk: Talk) -> None:
    """Bytes that are no TLS."""
    talk.socket.recv(65536)
    talk.send(bytes(range(256)) * 20)


def alert(talk: Talk) -> None:
    """An internal error, in the words of TLS."""
    talk.socket.recv(65536)
    talk.send(bytes([21, 3, 3, 0, 2, 2, 80]))


def reset(talk: Talk) -> None:
    """A reset instead of an answer."""
    talk.socket.recv(65536)
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up(talk: Talk) -> None:
    """An end instead of an answer."""
    talk.socket.recv(65536)


def half(version: ssl.TLSVersion) -> Callable[[Talk], None]:
    """The first half of the right answer, then the end."""

    def script(talk: Talk) -> None:
        answer = flight(talk, version)
        talk.send(answer[: len(answer) // 2])

    return script


def half_and_silence(version: ssl.TLSVersion) -> Callable[[Talk], None]:
    """The first half of the right answer, then nothing."""

    def script(talk: Talk) -> None:
        half(version)(talk)
        talk.say_nothing()

    return script


V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("manner", "error"),
    [
        (garbage, ConnectionError),
        (alert, ConnectionError),
        (reset, ConnectionError),
        (hang_up, ConnectionError),
        (half(V1_2), ConnectionError),
        (half(V1_3), ConnectionError),
        (half_and_silence(V1_2), ConnectTimeout),
        (half_and_silence(V1_3), ConnectTimeout),
        (Talk.say_nothing, ConnectTimeout),
    ],
    ids=[
        "garbage",
        "alert",
        "reset",
        "end",
        "half-1.2",
        "half-1.3",
        "half-silent-1.2",
        "half-silent-1.3",
        "silent",
    ],
)
def test_a_peer_that_does_not_shake_hands_is_tried_again(
    manner: Callable[[Talk], None], error: type[Exception], trusted: str
) -> None:
    """It is no proof of anything, so no account is given up for it, and the others are untouched."""
    with EmbeddedExchange(accounts=1) as exchange, RawServer(manner) as bad:
        pool = Pool(
            [
                Account("bob", **exchange.settings_for(0)),
                bad.account(ssl=True, ca_file=trusted, timeouts=TimeoutPolicy(connect=0.05)),
            ],
            reconnect=AT_ONCE,
        )
        record = Record(pool)
        with pool:
            record.wait("member.up", account="bob")
            down = record.wait("member.down", 3).message
            assert type(down.error) is error
            assert not isinstance(down.error, TlsError)
            assert down.retry_in is not None
            assert pool["alice"].given_up is None
        assert bad.accepted >= 3
        assert record.names("bob", only="member.down") == []


@pytest.mark.parametrize("version", [V1_2, V1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_a_peer_that_shakes_hands_and_is_silent_is_tried_again(version: ssl.TLSVersion, trusted: str) -> None:
    """The login has a limit of its own."""
    with RawServer(Talk.say_nothing, context=serving(version)) as bad:
        account = bad.account(ca_file=trusted, timeouts=TimeoutPolicy(login=0.05))
        pool = Pool([account], reconnect=AT_ONCE)
        record = Record(pool)
        with pool:
            down = record.wait("member.down", 3).message
            assert type(down.error) is LoginTimeout
            assert down.retry_in is not None


# --- dead addresses ---------------------------------------------------------------------------------


class Resolving(Runtime):
    """The real runtime, except for how names are looked up."""

    def __init__(self, look_up: Callable[[str, int], list[Address]]) -> None:
        super().__init__()
        self._resolver = Resolver(look_up)


def test_dead_addresses_cost_a_pool_neither_members_nor_descriptors() -> None:
    """Every member gets through, although two of three addresses are silent, and no attempt is left open."""
    count = 40
    with (
        Unanswering() as first,
        Unanswering() as second,
        EmbeddedExchange(accounts=count, tls=False) as exchange,
    ):
        dead = {(first.host, first.port), (second.host, second.port)}
        found: list[Address] = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", place)
            for place in (*sorted(dead), (exchange.host, exchange.port))
        ]
        accounts = [
            Account(f"m{number}", **{**exchange.settings_for(number), "host": "exchange.example"})
            for number in range(count)
        ]
        with Pool(accounts, runtime=Resolving(lambda *_: found)) as pool:
            pool.wait_until_up(timeout=20)
            assert sum(member.stats()["connection_number"] for member in pool) == count
            eventually(lambda: not dead & set(unanswered()))


def unanswered() -> Iterator[tuple[str, int]]:
    """Where connection attempts without an answer lead, by the system's own table."""
    with open("/proc/self/net/tcp") as table:
        for line in list(table)[1:]:
            remote, state = line.split()[2:4]
            if state == "02":  # SYN_SENT
                address, port = remote.split(":")
                yield socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)


# --- an exchange that is killed ---------------------------------------------------------------------

_EXCHANGE = """
    from gevent import monkey; monkey.patch_all()
    import sys, gevent.socket, gevent.ssl
    from smarkets_pool.exchange import EmbeddedExchange

    certificate, port, accounts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    exchange = EmbeddedExchange(accounts=0, context=context, port=port)
    for number in range(accounts):
        exchange.exchange.accounts.add(f"u{number}@example.com", "pw", f"token-{number}")
    with exchange:
        print(exchange.port, flush=True)
        gevent.socket.wait_read(0)  # until whoever started it is gone
"""


class Process:
    """An exchange in a process of its own, which knows the same accounts each time."""

    def __init__(self, certificate: pathlib.Path, accounts: int, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_EXCHANGE), str(certificate), str(port), str(accounts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """End it as the system does when memory is short; again is fine."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def test_an_exchange_that_is_killed_is_come_back_to(trusted: str, tmp_path: pathlib.Path) -> None:
    """All connections end at once, also in the middle of the logins; every member comes back each time."""
    count = 40
    certificate = tmp_path / "exchange.pem"
    CERTIFICATE.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    policy = ReconnectPolicy(backoff=Backoff(initial=0.02, cap=0.1), login_rate=1000.0)
    exchange = Process(certificate, count)
    try:
        pool = Pool(
            [
                Account(
                    f"m{number}",
                    username=f"u{number}@example.com",
                    password="pw",
                    host="127.0.0.1",
                    port=exchange.port,
                    ca_file=trusted,
                )
                for number in range(count)
            ],
            reconnect=policy,
        )
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=20)
            exchange.kill()
            eventually(lambda: all(member.state is DOWN for member in pool))
            exchange = Process(certificate, count, exchange.port)
            eventually(lambda: any(member.state is not DOWN for member in pool))
            exchange.kill()
            exchange = Process(certificate, count, exchange.port)
            pool.wait_until_up(timeout=20)
            assert all(len(record.of("member.up", f"m{number}")) >= 2 for number in range(count))
            assert [member.given_up for member in pool] == [None] * count
    finally:
        exchange.kill()

"""Hostile visits over real connections, many at once: a process of its own, which ``siege`` starts.

Usage: ``python -m tests.fuzz.visitors``, with what there is to know as JSON on standard input. It prints how
many visits of each kind there were, as JSON. Being another process, it takes no time from those inside.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable

from gevent import monkey

monkey.patch_all()

import socket
import ssl
from typing import Any

import gevent
import gevent.pool

from smarkets_pool import seto
from tests.fuzz.choices import Choices
from tests.fuzz.frames import Forger, Known, field, framed, varint

__all__ = ["KINDS"]

AT_ONCE = 24
#: A visit that has not ended by itself by then is ended.
VISIT_SECONDS = 4.0
_RESET = struct.pack("ii", 1, 0)


# --- visits ---------------------------------------------------------------------------------------


class Visitor:
    """What a visit may use: the way to the exchange, a login, and chance."""

    def __init__(self, place: dict[str, Any], context: ssl.SSLContext, chance: random.Random) -> None:
        self.place = place
        self.context = context
        self.chance = chance
        self.known = Known()
        self.known.logins = [tuple(chance.choice(place["logins"]))]
        self._opened: list[Any] = []

    def connect(self, *, receive_buffer: int | None = None) -> Any:
        """A connection without TLS."""
        connection = socket.socket()
        self._opened.append(connection)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect((self.place["host"], self.place["port"]))
        return connection

    def connect_tls(self, **options: Any) -> Any:
        """A connection with its handshake done, if the exchange wants any."""
        if not self.place["tls"]:
            return self.connect(**options)
        connection = self.context.wrap_socket(self.connect(**options))
        self._opened.append(connection)
        return connection

    def logged_in(self, **options: Any) -> Any:
        """A connection whose login was sent."""
        connection = self.connect_tls(**options)
        connection.sendall(framed(self.login()))
        return connection

    def forger(self) -> Forger:
        """A maker of frames."""
        return Forger(Choices(self.chance.randbytes(2000)), self.known)

    def login(self) -> bytes:
        """A good login."""
        username, password, _ = self.known.logins[0]
        login = seto.Payload(type=seto.PAYLOAD_LOGIN)
        login.eto_payload.seq = 1
        login.login.username, login.login.password = username, password
        return login.SerializeToString()

    def until_closed(self, connection: Any) -> None:
        """Read until the exchange has closed."""
        while connection.recv(65536):
            pass

    def close(self) -> None:
        """Leave, in one of two ways."""
        for connection in self._opened:
            with contextlib.suppress(OSError):
                if self.chance.random() < 0.5:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.close()


def garbage(visitor: Visitor) -> None:
    """Bytes that are no TLS."""
    connection = visitor.connect()
    connection.sendall(visitor.chance.randbytes(visitor.chance.choice((1, 5, 300, 20_000))))
    visitor.until_closed(connection)


def garbage_in_records(visitor: Visitor) -> None:
    """Bytes that begin as TLS does."""
    connection = visitor.connect()
    size = visitor.chance.choice((0, 1, 300, 16_384, 65_535))
    kind = visitor.chance.choice((20, 21, 22, 23, 24, 99))
    connection.sendall(bytes([kind, 3, visitor.chance.randrange(6)]) + struct.pack(">H", size))
    connection.sendall(visitor.chance.randbytes(size))
    visitor.until_closed(connection)


def plain_text(visitor: Visitor) -> None:
    """A good login without TLS, and a request of another protocol."""
    connection = visitor.connect()
    connection.sendall(visitor.chance.choice((framed(visitor.login()), b"GET / HTTP/1.1\r\n\r\n")))
    visitor.until_closed(connection)


def half_a_handshake(visitor: Visitor) -> None:
    """The beginning of a handshake, and then nothing."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = visitor.context.wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    hello = outgoing.read()
    connection = visitor.connect()
    connection.sendall(hello[: visitor.chance.randrange(1, len(hello) + 1)])
    gevent.sleep(visitor.chance.random())


def no_handshake(visitor: Visitor) -> None:
    """Nothing at all."""
    visitor.connect()
    gevent.sleep(visitor.chance.random())


def crowd(visitor: Visitor) -> None:
    """Many connections, gone at once."""
    for _ in range(30):
        visitor.connect()


def no_login(visitor: Visitor) -> None:
    """A handshake, and no login."""
    visitor.until_closed(visitor.connect_tls())


def dripping_login(visitor: Visitor) -> None:
    """A login, one byte after the other."""
    connection = visitor.connect_tls()
    for byte in framed(visitor.login()):
        connection.sendall(bytes([byte]))
        gevent.sleep(0.05)
    visitor.until_closed(connection)


def endless_frame(visitor: Visitor) -> None:
    """The length of a frame, as long as is allowed or longer, and then as much of it as is taken."""
    connection = visitor.connect_tls()
    if visitor.chance.random() < 0.5:
        connection.sendall(framed(visitor.login()))
    connection.sendall(varint(visitor.chance.choice((2**20, 2**20 + 1, 2**34, 2**63, 2**70))))
    for _ in range(200):
        connection.sendall(visitor.chance.randbytes(8_192))


def broken_record(visitor: Visitor) -> None:
    """Bytes under the TLS of a connection that was good."""
    connection = visitor.logged_in()
    with contextlib.suppress(OSError):
        os.write(connection.fileno(), b"\x17\x03\x03\x00\x20" + visitor.chance.randbytes(32))
    visitor.until_closed(connection)


def half_closed(visitor: Visitor) -> None:
    """A login by somebody who says at once that nothing follows."""
    connection = visitor.logged_in()
    getattr(connection, "_sock", connection).shutdown(socket.SHUT_WR)
    visitor.until_closed(connection)


def early_leave(visitor: Visitor) -> None:
    """A login, and a reset while it is answered."""
    connection = visitor.logged_in()
    connection.sendall(b"".join(framed(visitor.forger().ping(seq)) for seq in range(2, 50)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def conversation(visitor: Visitor) -> None:
    """Forged frames under good numbers."""
    connection, forger = visitor.logged_in(), visitor.forger()
    reader = gevent.spawn(_quietly, visitor.until_closed, connection)
    try:
        for seq in range(2, 60):
            connection.sendall(framed(forger.payload(seq)))
            gevent.sleep(0.005)
    finally:
        reader.kill()


def deaf_flood(visitor: Visitor) -> None:
    """Cheap requests with large answers, by somebody who reads none of them."""
    connection = visitor.logged_in(receive_buffer=4_096)
    flood(visitor, connection)


def flood_that_reads(visitor: Visitor) -> None:
    """The same by somebody who reads them all."""
    connection = visitor.logged_in()
    reader = gevent.spawn(_quietly, visitor.until_closed, connection)
    try:
        flood(visitor, connection)
    finally:
        reader.kill()


def flood(visitor: Visitor, connection: Any) -> None:
    """Subscriptions, each with a request for everything once more."""
    forger = Forger(Choices(b""), visitor.known)
    subscription = field(11, field(2, visitor.place["market_id"]))
    seq = 2
    while True:
        chunk = b""
        while len(chunk) < 8_192:
            chunk += framed(field(1, seto.PAYLOAD_MARKET_SUBSCRIBE) + field(2, field(1, seq)) + subscription)
            chunk += framed(forger.replay_request(seq + 1, 1))
            seq += 2
        connection.sendall(chunk)
        gevent.sleep(0.001)


def _quietly(function: Callable[..., object], *arguments: object) -> None:
    with contextlib.suppress(OSError):
        function(*arguments)


KINDS: tuple[Callable[[Visitor], None], ...] = (
    *(garbage, garbage_in_records, plain_text, half_a_handshake, no_handshake, crowd, no_login),
    *(dripping_login, endless_frame, broken_record, half_closed, early_leave, conversation, deaf_flood),
    flood_that_reads,
)


# --- all of them ----------------------------------------------------------------------------------


def visit(
    kind: Callable[[Visitor], None], place: dict[str, Any], context: Any, chance: random.Random
) -> None:
    """One visit from its beginning to its end."""
    visitor = Visitor(place, context, chance)
    try:
        with gevent.Timeout(VISIT_SECONDS, False), contextlib.suppress(OSError):
            kind(visitor)
    finally:
        visitor.close()


def main() -> int:
    """Visit for as long as is asked, at least once in each way."""
    place = json.load(sys.stdin)
    chance, end = random.Random(place["seed"]), time.monotonic() + place["seconds"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    kinds = [kind for kind in KINDS if kind.__name__ in place["kinds"]]
    visits: Counter[str] = Counter()
    running = gevent.pool.Pool(AT_ONCE)
    waiting = list(kinds)
    while waiting or time.monotonic() < end:
        kind = waiting.pop() if waiting else chance.choice(kinds)
        visits[kind.__name__] += 1
        running.spawn(visit, kind, place, context, random.Random(chance.random()))
    running.join()
    print(json.dumps(visits))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The other end of a connection, for programs of two packages: the vendor's SDK and ``smarkets_pool``.

It imports neither: frames are cut and put together here, and payloads are bytes written out by hand.
Only what arrives is parsed, with the schema modules of whoever is under test. A row moves both ends by
itself, one step after the other: the kernel's buffers hold what the other end has yet to read, so there
is nothing to race. Only a TLS handshake needs both ends at once and runs in a thread.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

#: Seconds that any wait of either end may take.
LIMIT = 5.0

PING, PONG, HEARTBEAT, REPLAY, LOGIN_RESPONSE, LOGOUT = 2, 3, 5, 6, 8, 9
LOGOUT_CONFIRMATION, LOGOUT_DOWNTIME = 3, 9


# --- bytes ----------------------------------------------------------------------------------------


def uleb128(value: int) -> bytes:
    """A number in base 128, lowest digit first; protobuf's varints are written the same way."""
    digits = []
    while value > 127:
        digits.append(value % 128 + 128)
        value //= 128
    return bytes([*digits, value])


def framed(payload: bytes) -> bytes:
    """Length, payload, zeros up to four bytes."""
    return (uleb128(len(payload)) + payload).ljust(4, b"\0")


def cut(data: bytes) -> tuple[bytes | None, bytes]:
    """The first whole payload (None if its end is missing), and the bytes behind it."""
    size = 0
    for index, digit in enumerate(data):
        size += digit % 128 * 128**index
        if digit < 128:
            end = max(4, index + 1 + size)
            return (data[index + 1 : index + 1 + size], data[end:]) if len(data) >= end else (None, data)
    return None, data


def _member(number: int, body: bytes) -> bytes:
    """A field that holds a message or text."""
    return bytes([number * 8 + 2]) + uleb128(len(body)) + body


def eto(seq: int, kind: int, member: bytes = b"", *, is_replay: bool = False) -> bytes:
    """A frame of the session layer."""
    mark = b"\x18\x01" if is_replay else b""
    return framed(b"\x08\x01" + _member(2, b"\x08" + uleb128(seq) + bytes([0x10, kind]) + mark + member))


def pong(seq: int, *, is_replay: bool = False) -> bytes:
    """A pong: the payload that needs nothing and changes nothing."""
    return eto(seq, PONG, is_replay=is_replay)


def heartbeat(seq: int) -> bytes:
    """A heartbeat."""
    return eto(seq, HEARTBEAT)


def replay_request(seq: int, first: int) -> bytes:
    """The exchange asks for everything from ``first``."""
    return eto(seq, REPLAY, _member(4, b"\x08" + uleb128(first)))


def login_response(seq: int = 1, *, session: bytes = b"first", reset: int | None = 2) -> bytes:
    """The exchange's yes; ``reset`` None leaves it out."""
    based = b"" if reset is None else b"\x10" + uleb128(reset)
    return eto(seq, LOGIN_RESPONSE, _member(6, _member(1, session) + based))


def logout(seq: int, reason: int) -> bytes:
    """The exchange logs us out, or confirms that we did."""
    return eto(seq, LOGOUT, _member(7, bytes([8, reason])))


def throttle_limits(seq: int) -> bytes:
    """A message of the exchange layer: 500 orders a second, 1000 at once, ticks of 200 ms."""
    limits = b"\x08\xf4\x03\x10\xe8\x07\x18\xc8\x01"
    return framed(b"\x08\x24" + _member(2, b"\x08" + uleb128(seq)) + b"\xaa\x02" + uleb128(9) + limits)


# --- the other end over TCP -----------------------------------------------------------------------


class Peer:
    """Listens on loopback and holds the latest connection; every step is the row's."""

    def __init__(self, seto: Any, host: str = "127.0.0.1") -> None:
        self._seto = seto
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._listener.bind((host, 0))
        except OSError:
            self._listener.close()
            raise
        self._listener.listen(4)
        self.host = host
        self.port: int = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        self._unread = b""

    def accept(self, patience: float = LIMIT) -> None:
        """Take the connection that the client has made."""
        self.close_connection()
        self._listener.settimeout(patience)
        try:
            self._connection, _ = self._listener.accept()
        except OSError as error:
            raise AssertionError("no connection was made") from error
        self._connection.settimeout(LIMIT)
        self._unread = b""

    def send(self, *frames: bytes) -> None:
        """Write frames in one piece."""
        self._connected.sendall(b"".join(frames))

    def take(self) -> Any:
        """Wait for the next whole payload and parse it; None if the client has closed."""
        while True:
            payload, self._unread = cut(self._unread)
            if payload is not None:
                return self._seto.Payload.FromString(payload)
            more = self._connected.recv(65536)
            if not more:
                return None
            self._unread += more

    def take_until(self, last: Callable[[Any], bool]) -> list[Any]:
        """Everything up to and without the payload that ``last`` accepts."""
        found = []
        while not last(payload := self.take()):
            assert payload is not None, "the connection was closed"
            found.append(payload)
        return found

    def take_all(self) -> list[Any]:
        """Everything until the client closes."""
        return self.take_until(lambda payload: payload is None)

    def reset(self) -> None:
        """Close so that the client sees a reset."""
        self._connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection()

    def close_connection(self) -> None:
        """Close this connection and go on listening."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close everything."""
        self.close_connection()
        self._listener.close()

    @property
    def _connected(self) -> socket.socket:
        assert self._connection is not None, "nobody is connected"
        return self._connection


# --- the other end over TLS -----------------------------------------------------------------------


class TlsPeer:
    """Shakes hands with one client in a thread and keeps the name it asked for and its first bytes."""

    def __init__(self, certificate: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.sni_callback = self._note_name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LIMIT)
        self.port: int = self._listener.getsockname()[1]
        self.server_name: str | None = None
        self._first_bytes = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _note_name(self, connection: Any, name: str | None, context: Any) -> None:
        self.server_name = name

    def _serve(self) -> None:
        # A handshake that fails is the client's matter: it raises there, and no bytes come here.
        with contextlib.suppress(OSError):
            plain, _ = self._listener.accept()
            with plain:
                plain.settimeout(LIMIT)
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self._first_bytes = connection.recv(65536)

    def first_bytes(self) -> bytes:
        """What the client said first, nothing if it refused to; call it when the client is done."""
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "the handshake neither ended nor failed"
        return self._first_bytes

    def close(self) -> None:
        """Close, and wait for the thread."""
        self._listener.close()
        self._thread.join(LIMIT)


# --- a connection without a network ---------------------------------------------------------------


class Canned:
    """Stands where a session's socket stands: reads are given, writes are kept, a few bytes each."""

    def __init__(self, *reads: bytes, takes: int = 1 << 30) -> None:
        self.reads = list(reads)
        self.takes = takes
        self.sent = b""
        self.connected = False

    def connect(self) -> bool:
        """Connect, as both packages' sockets do: False if that was so already."""
        was, self.connected = self.connected, True
        return not was

    def disconnect(self) -> None:
        """Close."""
        self.connected = False

    def send(self, data: Any) -> int:
        """Take the front of ``data``."""
        piece = bytes(memoryview(data)[: self.takes])
        self.sent += piece
        return len(piece)

    def recv(self) -> bytes:
        """The next piece."""
        return self.reads.pop(0)

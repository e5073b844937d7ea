"""``SessionSocket``: the one client file that knows TCP, TLS and errno.

Foreign errors are translated here, always ``from`` their cause, and any of them closes the socket: a
socket that failed once is never "connected" again. Names of ``socket`` and ``ssl`` are looked up in
their modules at each use, so that monkey-patching counts whenever it ran.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

from smarkets_pool.exceptions import (
    ConfigError,
    ConnectionError,
    ConnectTimeout,
    ReceiveTimeout,
    SendTimeout,
    SocketDisconnected,
    TlsError,
    UsageError,
)
from smarkets_pool.logs import PlaceLog
from smarkets_pool.session.addresses import Reach, Resolve, connect_first, look_up
from smarkets_pool.session.settings import SessionSettings
from smarkets_pool.session.tls import (
    certificate_error,
    context_for,
    forget_session,
    known_session,
    made_before,
    remember_session,
)

__all__ = ["SessionSocket"]

_log = PlaceLog("session.socket")


class SessionSocket:
    """A TCP or TLS connection to the exchange, made and closed any number of times.

    Args:
        resolve: how to find the host's addresses; the system's way by default.
        reach: how to get a plain connection to the host; by TCP to one of its addresses by default.

    Raises:
        UsageError: ``settings`` are not ``SessionSettings`` (also a ``ValueError``).
    """

    def __init__(
        self, settings: SessionSettings, *, resolve: Resolve = look_up, reach: Reach = connect_first
    ) -> None:
        if not isinstance(settings, SessionSettings):
            raise UsageError(f"settings are to be SessionSettings, not {type(settings).__name__}")
        self.settings = settings
        self._resolve = resolve
        self._reach = reach
        self._socket: socket.socket | None = None
        self._handshaken = False

    def __repr__(self) -> str:
        state = "connected" if self.connected else "closed"
        return f"<SessionSocket {state} {self.settings.host}:{self.settings.port}>"

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as this side has noticed."""
        return self._socket is not None

    @property
    def raw_socket(self) -> socket.socket | None:
        """The socket underneath, or None."""
        return self._socket

    def connect(self) -> bool:
        """Connect, and shake hands if TLS is on; False if already connected.

        Every address the name resolves to is tried, each with a head start over the next, both
        families; a TLS session of an earlier connection is resumed if the exchange agrees.

        Raises:
            ConnectTimeout: no address answered within ``socket_timeout``, or the handshake took longer.
            TlsError: the peer's certificate does not prove that it is the host asked for; the subclass
                says how.
            ConnectionError: the name does not resolve, nobody listens, or TLS failed.
            ConfigError: the TLS settings cannot be used, and never could.
        """
        if self._socket is not None:
            return False
        context = self._context() if self.settings.ssl else None
        self._socket = self._reach(
            self.settings.host,
            self.settings.port,
            resolve=self._resolve,
            timeout=self.settings.socket_timeout,
            nodelay=self.settings.tcp_nodelay,
        )
        self._socket.settimeout(self.settings.socket_timeout)
        if context is not None:
            self._start_tls(context)
        _log.debug(self.settings.log_name, "connected to %s:%s", self.settings.host, self.settings.port)
        return True

    def disconnect(self) -> None:
        """Close the connection; again is fine."""
        connection, self._socket = self._socket, None
        if connection is None:
            return
        self._keep_session(connection)
        # Each step on its own: a peer that has reset makes the first raise, and must not leak the rest.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            connection.close()

    def detach(self) -> socket.socket:
        """Hand the socket over; this object is closed then and the caller owns the socket."""
        connection, self._socket = self._socket, None
        if connection is None:
            raise ConnectionError(f"not connected to {self._peer}")
        self._keep_session(connection)
        return connection

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Write what fits; return how many bytes that was.

        Raises:
            SendTimeout: the peer took nothing for ``socket_timeout`` seconds.
            SocketDisconnected: not connected.
            ConnectionError: the connection broke.
        """
        connection = self._connection()
        try:
            return connection.send(data)
        except TimeoutError as error:
            self.disconnect()
            raise SendTimeout(
                f"{self._peer} took no bytes for {self.settings.socket_timeout} s, so it was closed"
            ) from error
        except OSError as error:
            proof = self._last_words()
            self.disconnect()
            if proof is not None:
                raise proof from error
            raise ConnectionError(f"sending to {self._peer} failed: {error}") from error

    def recv(self) -> bytes:
        """Wait for bytes and return them, never empty.

        Raises:
            SocketDisconnected: not connected, or the peer closed.
            ReceiveTimeout: nothing came for ``socket_timeout`` seconds; the connection is closed.
            ConnectionError: the connection broke.
        """
        connection = self._connection()
        try:
            data = connection.recv(self.settings.read_chunksize)
        except TimeoutError as error:
            self.disconnect()
            raise ReceiveTimeout(
                f"nothing came from {self._peer} for {self.settings.socket_timeout} s, so it was closed"
            ) from error
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            self.disconnect()
            raise SocketDisconnected(f"{self._peer} closed the connection") from error
        except OSError as error:
            self.disconnect()
            # With TLS 1.3 the exchange's refusal of our certificate arrives behind the handshake.
            if (proof := certificate_error(error, self.settings)) is not None:
                raise proof from error
            raise ConnectionError(f"reading from {self._peer} failed: {error}") from error
        if not data:
            self.disconnect()
            raise SocketDisconnected(f"{self._peer} closed the connection")
        return data

    def _keep_session(self, connection: socket.socket) -> None:
        handshaken, self._handshaken = self._handshaken, False
        if handshaken:
            remember_session(connection, self.settings)

    # --- how a connection is made ----------------------------------------------------------------

    @property
    def _peer(self) -> str:
        return f"{self.settings.host}:{self.settings.port}"

    def _connection(self) -> socket.socket:
        if self._socket is None:
            # The vendor's error for it: its programs log in again when they see it.
            raise SocketDisconnected(f"not connected to {self._peer}")
        return self._socket

    def _context(self) -> ssl.SSLContext:
        try:
            return context_for(self.settings)
        except ConfigError as error:
            if not made_before(self.settings):
                raise
            # Certificate and key are two files: whoever renews them cannot replace both at once.
            raise ConnectionError(f"{error}; it was fine before, so somebody may be replacing it") from error

    def _last_words(self) -> TlsError | None:
        """What a peer that takes no more bytes had to say about certificates."""
        connection = self._socket
        if not isinstance(connection, ssl.SSLSocket):
            return None
        try:
            connection.settimeout(0)
            connection.recv(self.settings.read_chunksize)
        except OSError as error:
            return certificate_error(error, self.settings)
        return None

    def _start_tls(self, context: ssl.SSLContext) -> None:
        plain = self._connection()
        settings = self.settings
        offered = known_session(context, settings)
        try:
            # The handshake is a step of its own, so that the socket is ours to close while it runs.
            wrapped = context.wrap_socket(
                plain,
                server_hostname=settings.host,
                do_handshake_on_connect=False,
                session=offered,
            )
            self._socket = wrapped
            wrapped.do_handshake()
            self._handshaken = True
        except TimeoutError as error:
            forget_session(context, settings, offered)
            self.disconnect()
            raise ConnectTimeout(
                f"{self._peer} did not finish the TLS handshake within {self.settings.socket_timeout} s"
            ) from error
        except OSError as error:
            forget_session(context, settings, offered)
            # With a session offered a cipher is known before the peer has said a word: the next attempt,
            # without one, will show what this failure is about.
            tls = self._socket
            asked_us = isinstance(tls, ssl.SSLSocket) and offered is None and tls.cipher() is not None
            self.disconnect()
            if (proof := certificate_error(error, settings, asked_us=asked_us)) is not None:
                raise proof from error
            raise ConnectionError(
                f"the TLS handshake with {self._peer} failed: {error}; "
                "if that is a plain server, use ssl=False"
            ) from error
        except BaseException:
            forget_session(context, settings, offered)  # a limit of the pool's ran out, perhaps because of it
            self.disconnect()
            raise

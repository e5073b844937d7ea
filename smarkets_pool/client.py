"""``StreamingAPIClient``: the vendor's client, one session driven by its caller.

A program written for ``smk_python_sdk`` 9.4.4 moves here by changing its imports. What differs is
listed in docs/migration.md: the SDK's defects are gone, its names and calls are the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from smarkets_pool.dispatcher import BY_KEYWORD, Dispatcher, Handler, HandlerList
from smarkets_pool.exceptions import LoginError, LoginTimeout, SocketDisconnected
from smarkets_pool.policies import Deadline
from smarkets_pool.session import Frame, Session
from smarkets_pool.wire.payloads import ETO_NAMES, SETO_NAMES, enum_name, payload_name
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    import socket

__all__ = [
    "READ_MODE_BUFFER_AND_DISPATCH",
    "READ_MODE_BUFFER_FROM_SOCKET",
    "READ_MODE_DISPATCH_FROM_BUFFER",
    "StreamingAPIClient",
]

READ_MODE_BUFFER_FROM_SOCKET = 1
READ_MODE_DISPATCH_FROM_BUFFER = 2
READ_MODE_BUFFER_AND_DISPATCH = 3


class StreamingAPIClient:
    """Send messages and dispatch what arrives to handlers, one session at a time.

    Named handlers are called ``handler(message=payload)`` with the ``seto.Payload``, global ones
    ``handler(name=..., message=frame)`` with the ``Frame`` (the vendor's convention, kept).
    """

    #: Every name a handler can have: the vendor's, by number, with ours for newer types at the end.
    CALLBACKS = [*ETO_NAMES, *SETO_NAMES, "eto.unknown", "seto.unknown"]  # noqa: RUF012 - vendor's type

    def __init__(self, session: Session) -> None:
        self.session = session
        self._dispatcher = Dispatcher(self.CALLBACKS, BY_KEYWORD)
        #: name -> its handlers; ``client.callbacks["seto.order_accepted"] += handler`` works.
        self.callbacks: dict[str, HandlerList] = self._dispatcher.handlers
        self.global_callback: HandlerList = self._dispatcher.global_handlers
        #: The last login response or logout that arrived, or None.
        self.last_login: seto.Payload | None = None

    # --- session ---------------------------------------------------------------------------------

    def login(self, receive: bool = True) -> None:
        """Connect and log in; with ``receive`` wait for the answer and dispatch what came.

        Raises:
            LoginError: refused, with the reason.
            SocketDisconnected: the exchange closed without an answer.
            ReceiveTimeout, LoginTimeout: nothing came, or no answer, within ``socket_timeout``.
            ConnectionError, ProtocolError, ConfigError: as ``Session.connect`` and ``read``.
        """
        if not self.session.connected:
            # What is known of this connection stays: a second login on it has no answer of its own.
            self.last_login = None
        self.session.connect()
        if not receive or self.session.logged_in:
            return
        if not self._read_until(lambda: self.last_login is not None):
            self.session.disconnect()
            raise LoginTimeout(f"no answer to the login within {self.session.settings.socket_timeout} s")
        self.check_login()
        self.flush()

    def _read_until(self, done: Callable[[], bool]) -> bool:
        """Read and dispatch until ``done``; False if that took longer than one wait may.

        The socket's own timeout starts anew with every byte, so a talkative peer could keep us for ever.
        """
        deadline = Deadline.after(self.session.settings.socket_timeout, time.monotonic())
        while not done():
            if deadline.passed(time.monotonic()):
                return False
            self.read()
        return True

    def check_login(self) -> bool:
        """True if the last answer to a login was yes.

        Raises:
            LoginTimeout: there was no answer yet.
            LoginError: it was a logout.
        """
        if self.last_login is None:
            raise LoginTimeout("the exchange has not answered the login yet")
        inner = self.last_login.eto_payload
        if payload_name(self.last_login) == "eto.logout":
            raise LoginError(
                int(inner.logout.reason) if inner.logout.HasField("reason") else 0,
                enum_name(inner.logout, "reason"),
            )
        return True

    def logout(self, receive: bool = True) -> None:
        """Log out; with ``receive`` go on until the exchange confirms or closes; then disconnect.

        The wait for the confirmation is limited by ``socket_timeout``.
        """
        self.session.logout()
        try:
            if receive:
                self._read_until(lambda: not self.session.connected)
        except SocketDisconnected:
            pass  # it closed without the confirmation: we are out all the same
        finally:
            self.session.disconnect()
            self.last_login = None

    # --- out -------------------------------------------------------------------------------------

    def send(self, message: Message) -> int | None:
        """Put a seto message into the buffer; the message may be changed and sent again afterwards.

        Returns its sequence number (None while the login is unanswered: it is numbered then).
        """
        return self.session.send(message)

    def ping(self) -> int:
        """Put a ping into the buffer; return its sequence number."""
        return self.session.ping()

    def flush(self) -> None:
        """Write the buffer to the socket, all of it."""
        self.session.flush()

    # --- in --------------------------------------------------------------------------------------

    def read(self, read_mode: int = READ_MODE_BUFFER_AND_DISPATCH, limit: int = sys.maxsize) -> int:
        """Read from the socket (bit 1), dispatch up to ``limit`` frames (bit 2); return how many.

        Frames that were left over by an earlier call go first, without waiting for the socket. If a
        handler raises, the frame's other handlers still run and the error leaves this method; the
        frames behind it wait for the next call.
        """
        dispatched = 0
        if read_mode & READ_MODE_DISPATCH_FROM_BUFFER:
            dispatched = self._dispatch(limit)
        if read_mode & READ_MODE_BUFFER_FROM_SOCKET and not dispatched:
            self.session.read()
            if read_mode & READ_MODE_DISPATCH_FROM_BUFFER:
                dispatched = self._dispatch(limit)
        return dispatched

    def _dispatch(self, limit: int) -> int:
        count = 0
        while count < limit:
            frame = self.session.next_frame()
            if frame is None:
                if self.session.logged_out:
                    self.session.disconnect()
                break
            count += 1
            self._handle(frame)
        return count

    def _handle(self, frame: Frame) -> None:
        payload = frame.protobuf
        name = payload_name(payload)
        if name in ("eto.login_response", "eto.logout"):
            self.last_login = payload
        first: Exception | None = None
        for handlers, keywords in (
            (self.callbacks[name], {"message": payload}),
            (self.global_callback, {"name": name, "message": frame}),
        ):
            try:
                handlers.fire(**keywords)
            except Exception as error:  # noqa: BLE001 - raised below, when the others had their turn
                first = first or error
        if self.session.logged_out and not self.session.has_buffered:
            # Handlers saw the logout first, and whatever had arrived behind it.
            self.session.disconnect()
        if first is not None:
            raise first

    # --- handlers --------------------------------------------------------------------------------

    def add_handler(self, name: str, callback: Handler) -> None:
        """Call ``callback(message=payload)`` for payloads of that name.

        Raises:
            InvalidCallbackError: unknown name (with near ones), not callable, wrong arguments, async.
        """
        self._dispatcher.add(name, callback)

    def del_handler(self, name: str, callback: Handler) -> None:
        """Stop calling ``callback`` for that name.

        Raises:
            InvalidCallbackError: unknown name, or not registered.
        """
        self._dispatcher.remove(name, callback)

    def add_global_handler(self, callback: Handler) -> None:
        """Call ``callback(name=..., message=frame)`` for every payload, after the named ones."""
        self._dispatcher.add_global(callback)

    def del_global_handler(self, callback: Handler) -> None:
        """Stop calling it."""
        self._dispatcher.remove_global(callback)

    # --- state -----------------------------------------------------------------------------------

    @property
    def raw_socket(self) -> socket.socket | None:
        """The socket underneath, or None."""
        return self.session.raw_socket

    @property
    def output_buffer_size(self) -> int:
        """Bytes that ``flush`` has still to write."""
        return self.session.output_buffer_size

"""``Connection``: one connection of a member while it is logged in.

Everything here runs to its end without switching greenlets, in the hub or in whichever greenlet sends.
A hub callback that raised would stop its watcher for good, so each catches everything and turns it
into ``disconnect``. ``disconnect`` may be called by anyone, works once, and is the only way out.
"""

from __future__ import annotations

from typing import Protocol

from google.protobuf.message import Message

from smarkets_pool.exceptions import Error, SendTimeout, SocketDisconnected
from smarkets_pool.pool.outbuffer import OutBuffer
from smarkets_pool.pool.runtime import Runtime, Transport
from smarkets_pool.protocol import Event, Received, SessionProtocol, State
from smarkets_pool.session.framelog import FrameLog

__all__ = ["Connection", "ConnectionOwner", "READ_SIZE"]

#: One read per loop turn: a flooding account cannot starve the others, and a whole TLS record fits.
READ_SIZE = 16_384


class ConnectionOwner(Protocol):
    """Who hears of what happens on a connection; called without switching, often in the hub."""

    def on_event(self, connection: Connection, event: Event) -> None: ...
    def on_batch(self, connection: Connection) -> None: ...
    def on_disconnect(self, connection: Connection, error: BaseException) -> None: ...


class Connection:
    """Socket, protocol and out buffer of one logged-in session.

    Args:
        number: counts the member's connections; a late callback of an older one is told apart by it.
        send_timeout: seconds that a full socket may stay full.
    """

    def __init__(
        self,
        number: int,
        owner: ConnectionOwner,
        runtime: Runtime,
        transport: Transport,
        protocol: SessionProtocol,
        *,
        send_timeout: float,
        frame_log: FrameLog,
    ) -> None:
        self.number = number
        self.protocol = protocol
        self.opened_at = runtime.now()
        self.last_frame_at = self.opened_at
        self.closed = False
        self._owner = owner
        self._runtime = runtime
        self._transport = transport
        self._send_timeout = send_timeout
        self._frame_log = frame_log
        self._out = OutBuffer(transport, runtime.now, self._on_writable)
        self._reading = False

    def __repr__(self) -> str:
        return f"<Connection {self.number} {'closed' if self.closed else self.protocol.state.name}>"

    @property
    def waiting(self) -> int:
        """Bytes that the socket has not taken yet."""
        return len(self._out)

    # --- reading ---------------------------------------------------------------------------------

    def start_reading(self) -> None:
        """Take what arrived already, then read whenever there is something."""
        if self.closed or self._reading:
            return
        self._reading = True
        self.protocol.release_silence(self._runtime.now())
        self._transport.start_reading(self._on_readable)
        # Bytes behind the login response, and decrypted ones, are seen by no watcher.
        self._runtime.call_soon(self._on_leftover)

    def pause_reading(self) -> None:
        """Read no more, so that TCP slows the exchange; its silence is ours from here."""
        if self.closed or not self._reading:
            return
        self._reading = False
        self._transport.stop_reading()
        self.protocol.hold_silence(self._runtime.now())

    def _on_readable(self) -> None:
        if self.closed or not self._reading:
            return
        try:
            data = self._transport.read(READ_SIZE)
            if data is None:
                return
            if not data:
                raise SocketDisconnected(unread=self.protocol.unread)
            self.protocol.receive_data(data)
            self._pump()
            if self._transport.pending():
                self._runtime.call_soon(self._on_readable)
        except BaseException as error:  # noqa: BLE001 - see the module's text
            self._broken(error)

    def _on_leftover(self) -> None:
        if self.closed or not self._reading:
            return
        try:
            self._pump()
            if self._transport.pending():
                self._runtime.call_soon(self._on_readable)
        except BaseException as error:  # noqa: BLE001 - see the module's text
            self._broken(error)

    def _pump(self) -> None:
        """Hand over every event there is, then send what the rules answered."""
        now = self._runtime.now()
        frames = self.protocol.frames_received
        log = self._frame_log if self._frame_log.enabled else None
        while not self.closed and (event := self.protocol.next_event(now)) is not None:
            if log is not None and isinstance(event, Received):
                log.received(event)
            self._owner.on_event(self, event)
        if self.protocol.frames_received != frames:
            self.last_frame_at = now
        if not self.closed:
            self._write()
        self._owner.on_batch(self)

    # --- sending ---------------------------------------------------------------------------------

    def send(self, message: Message) -> int:
        """Number a message and offer it to the socket; never waits. Return its number.

        Raises:
            UsageError, FrameTooLarge: the message cannot be sent; nothing was numbered.
            ConnectionError: the connection broke; the message may have left in part.
        """
        number = self.protocol.send(message, self._runtime.now())
        self._write_now()
        return number

    def ping(self) -> int:
        """Send a ping; return its number."""
        number = self.protocol.ping(self._runtime.now())
        self._write_now()
        return number

    def logout(self) -> None:
        """Send a logout, unless the session is beyond it."""
        if not self.closed and self.protocol.logged_in:
            self.protocol.logout(self._runtime.now())
            self._write_now()

    def _write_now(self) -> None:
        try:
            self._write()
        except Error as error:
            self.disconnect(error)
            raise

    def _write(self) -> None:
        data = self.protocol.data_to_send()
        if data and self._frame_log.enabled:
            self._frame_log.sent(data)
        self._out.write(data)

    def _on_writable(self) -> None:
        if self.closed:
            return
        try:
            self._out.flush()
        except BaseException as error:  # noqa: BLE001 - see the module's text
            self._broken(error)

    # --- time ------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """The protocol's next deadline, or the end of patience with a full socket."""
        if self.closed:
            return None
        due = self.protocol.next_deadline()
        if self._out.full_since is not None:
            stuck = self._out.full_since + self._send_timeout
            due = stuck if due is None else min(due, stuck)
        return due

    def on_deadline(self, now: float) -> None:
        """Do what is due; called in the hub."""
        if self.closed:
            return
        try:
            if self._out.full_since is not None and now >= self._out.full_since + self._send_timeout:
                raise SendTimeout(f"the exchange took no bytes for {self._send_timeout} s")
            self.protocol.handle_timer(now)
            self._pump()
        except BaseException as error:  # noqa: BLE001 - see the module's text
            self._broken(error)

    # --- the end ---------------------------------------------------------------------------------

    def _broken(self, error: BaseException) -> None:
        """An error in a hub callback: this connection's end; Ctrl-C and SystemExit are the program's too."""
        self.disconnect(error)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self._runtime.escalate(error)

    def disconnect(self, error: BaseException) -> None:
        """Close, once; ``error`` says why. Watchers stop before the socket closes."""
        if self.closed:
            return
        self.closed = True
        self._transport.close()
        if self.protocol.state is not State.CLOSED:
            self.protocol.close()
        now = self._runtime.now()
        while (event := self.protocol.next_event(now)) is not None:
            self._owner.on_event(self, event)
        self._owner.on_disconnect(self, error)

"""``Session``: the vendor's blocking session, driven by its caller.

Messages sent are numbered at once and leave at ``flush``. What the rules ask for in answer to what
arrives (a heartbeat for a heartbeat, a replay request for a gap) leaves by itself, when everything
that was read has been taken. One session belongs to one greenlet or thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import Message

from smarkets_pool.exceptions import (
    ConcurrentUseError,
    Error,
    LoginError,
    LoginTimeout,
    SequenceGapError,
    SocketDisconnected,
    UsageError,
)
from smarkets_pool.logs import PlaceLog
from smarkets_pool.protocol import (
    Event,
    Failed,
    GapFound,
    GapUnfilled,
    LoggedIn,
    LogoutReceived,
    Received,
    SessionMemory,
    SessionProtocol,
    State,
    TimedOut,
    Timing,
)
from smarkets_pool.session.framelog import FrameLog
from smarkets_pool.session.settings import SessionSettings
from smarkets_pool.session.tcp import SessionSocket
from smarkets_pool.wire.framing import encode_frame
from smarkets_pool.wire.payloads import message_of, payload_for, payload_name, serialize
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    import socket

__all__ = ["Frame", "Session"]

_log = PlaceLog("session")
_flush_log = PlaceLog("session.flush")

_Bytes = bytes

#: Nobody runs timers for a session alone: its socket's timeout is the limit on silence, and it answers
#: heartbeats instead of sending its own. The wait for a replay is checked when frames are taken.
_ALONE = Timing(heartbeat_after=None, probe_after=None, give_up_after=None, login=None, logout=None)


class Frame(NamedTuple):
    """One payload: its bytes without header, and the same parsed."""

    bytes: _Bytes
    protobuf: seto.Payload


class Session:
    """One session with the exchange, over one connection at a time.

    Args:
        settings: where and who.
        inseq, outseq: the first numbers in each direction; 1 for every new session.
        account_sequence: the account's number of the last handled event; the login then asks the
            exchange to send what came after it.
        timing: the protocol's waits, where somebody (a pool) runs its timers.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        settings: SessionSettings,
        inseq: int = 1,
        outseq: int = 1,
        account_sequence: int | None = None,
        *,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        socket: SessionSocket | None = None,
    ) -> None:
        self.settings = settings
        self.account_sequence = account_sequence
        self.socket = socket if socket is not None else SessionSocket(settings)
        self.init_inseq = inseq
        self.init_outseq = outseq
        #: Fill this and call ``send()`` without argument: the vendor's way.
        self.out_payload = seto.Payload()
        #: The id the exchange gave this session, once logged in.
        self.session: str | None = None
        self.send_buffer = bytearray()
        self._timing = timing if timing is not None else _ALONE
        self._clock = clock
        self._protocol = self._new_protocol()
        self._held: list[Message] = []
        self._frame_log = FrameLog(settings.log_name)
        self._reading = False

    def __repr__(self) -> str:
        return f"<Session {self.settings.login_name!r} {self._protocol.state.name}>"

    def _new_protocol(self) -> SessionProtocol:
        return SessionProtocol(
            timing=self._timing, memory=SessionMemory(inseq=self.init_inseq, outseq=self.init_outseq)
        )

    # --- what others may read --------------------------------------------------------------------

    @property
    def inseq(self) -> int:
        """The next number expected from the exchange."""
        return self._protocol.inseq

    @property
    def outseq(self) -> int:
        """The next number to be sent."""
        return self._protocol.outseq

    @property
    def buf_outseq(self) -> int:
        """The same; the vendor has two names for it."""
        return self._protocol.outseq

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as this side has noticed."""
        return self.socket.connected

    @property
    def logged_in(self) -> bool:
        """Whether the exchange accepted our login and nobody has logged out since."""
        return self.socket.connected and self._protocol.logged_in

    @property
    def logged_out(self) -> bool:
        """Whether the exchange has logged us out, or confirmed our logout, and only closing is left."""
        return self.socket.connected and self._protocol.state in (State.LOGOUT_RECEIVED, State.CLOSED)

    @property
    def raw_socket(self) -> socket.socket | None:
        """The socket underneath, or None."""
        return self.socket.raw_socket

    @property
    def output_buffer_size(self) -> int:
        """Bytes that ``flush`` has still to write."""
        return len(self.send_buffer)

    @property
    def has_buffered(self) -> bool:
        """Whether ``next_frame`` may give something without another ``read``."""
        return self._protocol.unread > 0

    # --- connection, login, logout ---------------------------------------------------------------

    def connect(self) -> None:
        """Connect and send the login, unless connected already.

        Nothing is carried over from an earlier connection: numbers start again, buffers are empty.

        Raises:
            ConfigError, ConnectionError: as ``SessionSocket.connect``; nothing stays open.
        """
        if self.socket.connected:
            return
        send_login = self._prepared_login()
        self._protocol = self._new_protocol()
        self._held.clear()
        self.send_buffer.clear()
        self.session = None
        self.socket.connect()
        send_login()
        self.flush()

    def _prepared_login(self) -> Callable[[], int]:
        """Ask for the secret now, send the login when called.

        A function, because the login must not be a local variable while connecting can fail: an error
        keeps the frames it went through, and some show tracebacks with their variables.
        """
        login = self.settings.login_message()
        if self.account_sequence is not None:
            # Both fields, as the vendor sends them: the exchange prefers the 64-bit one.
            login.account_sequence = 0
            login.account_sequence_64 = self.account_sequence
        return lambda: self._protocol.login(login, self._clock())

    def log_in(self) -> list[Received]:
        """Connect, log in and wait for the answer; return the frames read so far, in order.

        Raises:
            LoginError: the exchange refused, with its reason.
            LoginTimeout: no answer within ``socket_timeout`` seconds altogether.
            ConnectionError, ProtocolError: the connection or the peer failed first.
        """
        self.connect()
        started = self._clock()
        seen: list[Received] = []
        while True:
            for event in self._take_events():
                if isinstance(event, Received):
                    seen.append(event)
                elif isinstance(event, LoggedIn):
                    return seen
                elif isinstance(event, LogoutReceived):
                    self.disconnect()
                    raise LoginError(event.reason, event.reason_name)
            if self._clock() - started > self.settings.socket_timeout:
                self.disconnect()
                raise LoginTimeout(f"no answer to the login within {self.settings.socket_timeout} s")
            self.read()

    def logout(self) -> None:
        """Send a logout and flush; the exchange confirms it and closes."""
        self._must_be_connected()
        self._send_held()
        self._protocol.logout(self._clock())
        self.flush()

    def disconnect(self) -> None:
        """Close the connection; frames that ``next_frame`` has not given yet are dropped with it."""
        self.socket.disconnect()
        self._protocol.close()
        if self.send_buffer or self._held:
            _log.warning(
                self.settings.log_name,
                "closed with %d bytes and %d messages unsent; they are dropped, not kept for later",
                len(self.send_buffer),
                len(self._held),
            )
        self.send_buffer.clear()
        self._held.clear()

    def detach(self) -> tuple[SessionSocket, SessionProtocol]:
        """Hand connection and protocol over to an owner that runs them from now on (the pool)."""
        handed = (self.socket, self._protocol)
        self.socket = SessionSocket(self.settings)
        self._protocol = self._new_protocol()
        return handed

    # --- out -------------------------------------------------------------------------------------

    def send(self, message: Message | None = None) -> int | None:
        """Number a message and put it into the send buffer; ``flush`` writes it. Return its number.

        Without argument the message in ``out_payload`` is sent. Before the login is answered a
        message is held back, numbered when the answer comes, and None is returned.

        Raises:
            SocketDisconnected: not connected.
            UsageError: no payload carries such a message, or a required field is missing.
            FrameTooLarge: it is over the size limit.
        """
        if message is None:
            message = message_of(self.out_payload)
            if message is None:
                raise UsageError(f"out_payload holds no message ({payload_name(self.out_payload)})")
        self._must_be_connected()
        if self._protocol.state is State.LOGIN_SENT:
            _check_sendable(message)
            kept = type(message)()
            kept.CopyFrom(message)
            self._held.append(kept)
            return None
        self._send_held()
        number = self._protocol.send(message, self._clock())
        self._collect()
        return number

    def ping(self) -> int:
        """Put a ping into the send buffer; return its number."""
        self._must_be_connected()
        self._send_held()
        number = self._protocol.ping(self._clock())
        self._collect()
        return number

    def flush(self) -> None:
        """Write everything that waits.

        Raises:
            SendTimeout, ConnectionError: the connection is closed then and the rest dropped.
        """
        self._collect()
        if not self.send_buffer:
            return
        _flush_log.debug(self.settings.log_name, "flushing %d bytes", len(self.send_buffer))
        written = 0
        try:
            with memoryview(self.send_buffer) as view:
                while written < len(view):
                    with view[written:] as rest:
                        written += self.socket.send(rest)
        except BaseException:
            # Bytes that were offered cannot be taken back, so nothing may follow them on this connection.
            self.disconnect()
            raise
        self.send_buffer.clear()

    def _send_held(self) -> None:
        """Number what was sent before the login was answered; nothing may overtake it."""
        if not self._held or not self._protocol.logged_in:
            return
        held, self._held = self._held, []
        for message in held:
            self._protocol.send(message, self._clock())

    def _collect(self) -> None:
        begin = len(self.send_buffer)
        self.send_buffer += self._protocol.data_to_send()
        if len(self.send_buffer) > begin and self._frame_log.enabled:
            self._frame_log.sent(bytes(self.send_buffer[begin:]))

    def _must_be_connected(self) -> None:
        if not self.socket.connected:
            # The vendor's error for it: its programs log in again when they see it.
            raise SocketDisconnected(
                f"not connected to {self.settings.host}:{self.settings.port}: call connect() first"
            )

    # --- in --------------------------------------------------------------------------------------

    def read(self) -> None:
        """Wait for bytes once and keep them; ``next_frame`` gives what they complete.

        Raises:
            SocketDisconnected, ReceiveTimeout, ConnectionError: the connection is closed.
            ConcurrentUseError: another greenlet or thread is reading from this session.
        """
        if self._reading:
            raise ConcurrentUseError(f"{self!r} is being read by somebody else; a session has one reader")
        self._must_be_connected()
        self._reading = True
        try:
            data = self.socket.recv()
        except SocketDisconnected as error:
            raise SocketDisconnected(str(error), unread=self._protocol.unread) from error
        finally:
            self._reading = False
        self._protocol.receive_data(data)

    def next_frame(self) -> Frame | None:
        """The next payload in order, or None when another ``read`` is needed.

        Duplicates are dropped. A gap is asked for and filled in order; None never stands for it.

        Raises:
            ProtocolError: the peer broke a rule, or a gap was not filled in time
                (``SequenceGapError``); the connection is closed.
        """
        for event in self._take_events():
            if isinstance(event, Received):
                if event.name == "eto.heartbeat" and self._protocol.logged_in and self._timing is _ALONE:
                    self._protocol.heartbeat(self._clock())
                return Frame(event.data, event.payload)
        return None

    def _take_events(self) -> Iterator[Event]:
        now = self._clock()
        self._protocol.handle_timer(now)
        while (event := self._protocol.next_event(now)) is not None:
            self._note(event)
            yield event
        self._collect()
        if self.send_buffer and self.socket.connected:
            self.flush()

    def _note(self, event: Event) -> None:
        if isinstance(event, Received):
            if self._frame_log.enabled:
                self._frame_log.received(event)
            if event.name == "eto.login_response" and self.session is None:
                # Whoever sees the response may look for the id before the next event is taken.
                self.session = event.payload.eto_payload.login_response.session
        elif isinstance(event, LoggedIn):
            self.session = event.session
            self._send_held()
        elif isinstance(event, GapFound):
            _log.warning(
                self.settings.log_name,
                "payloads %d to %d are missing; asked for a replay",
                event.first,
                event.last,
            )
        elif isinstance(event, GapUnfilled):
            _log.warning(self.settings.log_name, "payloads %d to %d never came", event.first, event.last)
        elif isinstance(event, (Failed, TimedOut)):
            error: Error
            if isinstance(event, Failed):
                error = event.error
            elif event.what == "login":
                error = LoginTimeout(f"no answer to the login within {event.waited:.1f} s")
            else:
                error = SequenceGapError(self.inseq, self.inseq, event.waited)
            self.disconnect()
            raise error


def _check_sendable(message: Message) -> None:
    """Raise now what numbering and framing the message would raise later."""
    payload = payload_for(message)
    payload.eto_payload.seq = 2**64 - 1
    encode_frame(serialize(payload))

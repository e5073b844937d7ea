"""``Peer``: one client's connection as the exchange sees it, without I/O.

Bytes come in by ``receive``, what is to be written is taken by ``data_to_send``, and time by
``handle_timer``. When ``finished`` is true the connection is to be closed.

What goes out passes the peer's ``Line``, where faults happen to frames. What faults do to the connection
itself happens here: a peer that is *paused* takes no bytes (``stop_reading``), or neither takes nor gives any
(``half_open``), a login or a replay may have to wait for its answer, and ``cut`` ends it all.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from smarkets_pool.exceptions import FrameTooLarge, ProtocolError
from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.exchange.audiences import Interests
from smarkets_pool.exchange.line import Line, frames_in
from smarkets_pool.exchange.session import ExchangeSession
from smarkets_pool.exchange.throttle import FREE, Throttle, ThrottleLimits
from smarkets_pool.logs import PlaceLog
from smarkets_pool.protocol import (
    Event,
    Failed,
    GapFound,
    Journal,
    LoginReceived,
    LogoutReceived,
    Received,
    ReplayAnswered,
    SessionMemory,
    State,
    TimedOut,
    Timing,
)
from smarkets_pool.wire.payloads import PreparedMessage, message_of
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    from smarkets_pool.exchange.exchange import Exchange

__all__ = ["Peer"]

_log = PlaceLog("exchange.peer")

#: Enough of a frame to be its beginning and not its end: a length header and one byte of twenty.
_HALF_A_FRAME = b"\x14\x08"


class _Pause(enum.Enum):
    """Why a peer takes no bytes."""

    NOT_READING = "stop_reading"
    HALF_OPEN = "half_open"


class Peer:
    """One connection, from accept to close."""

    def __init__(self, exchange: Exchange, number: int, now: float, wake: Callable[[Peer], None]) -> None:
        settings = exchange.settings
        self.number = number
        #: When it connected.
        self.since = now
        self.account: ExchangeAccount | None = None
        self.session_id = ""
        self.interests = Interests()
        self.cancel_on_failure = settings.cancel_all_by_default
        #: The session is over; the connection ends once everything is written.
        self.closing = False
        #: It ends now, written or not.
        self.aborted = False
        #: Bytes that were taken and are not written yet, and of these the ones that wait behind others of
        #: which the client has not read enough; whoever writes keeps both.
        self.unwritten = 0
        self.stuck = 0
        self.line = Line(exchange.faults)
        self.throttle = Throttle(ThrottleLimits.of(settings), now)
        self._beats = settings.heartbeat_after if settings.heartbeat_style == "fixed" else None
        self.protocol = ExchangeSession(
            timing=Timing(
                heartbeat_after=settings.heartbeat_after if self._beats is None else None,
                probe_after=None,
                give_up_after=settings.silence_limit,
                login=settings.login_timeout,
                replay_orders=None,
            ),
            max_frame_size=settings.max_frame_size,
            memory=SessionMemory(journal=Journal(settings.replay_limit)),
            replay_asked=self._on_replay_asked,
        )
        self.protocol.expect_login(now)
        self._exchange = exchange
        self._wake = wake
        self._gone = False
        #: What waited when it was last read from.
        self._waiting_before = 0
        self._unread: list[bytes] = []
        self._next_beat: float | None = None
        self._pause: tuple[_Pause, float | None] | None = None
        #: A login that is answered late, and replays that are, each with when.
        self._slow_login: tuple[float, ExchangeAccount, LoginReceived] | None = None
        self._late_replays: list[tuple[float, int]] = []

    def __repr__(self) -> str:
        return f"<Peer {self.number} {self.username or 'nobody'} {self.protocol.state.name}>"

    @property
    def username(self) -> str:
        """Whose connection it is, empty before the login."""
        return self.account.username if self.account is not None else ""

    @property
    def subscriptions(self) -> set[int]:
        """The markets it is subscribed to."""
        return self.interests.markets

    @property
    def bytes_waiting(self) -> int:
        """Bytes that are on their way to the client and not written."""
        return self.line.size + self.unwritten

    @property
    def reads(self) -> bool:
        """Whether bytes should be read for it now; those that come all the same are kept."""
        return self._pause is None and self._slow_login is None

    @property
    def finished(self) -> bool:
        """Whether the connection is to be closed, once what was taken is written."""
        return self.aborted or (self.closing and self.line.empty and not self.line.held)

    # --- bytes and time --------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of the client."""
        if self.closing:
            return
        if not self.reads:
            self._unread.append(data)
            return
        self.protocol.receive_data(data)
        self._pump(now)

    @property
    def _asks_too_much(self) -> bool:
        """Whether what it asked for in one go is more than may wait for it."""
        return self.bytes_waiting - self._waiting_before > self._exchange.settings.out_buffer_limit

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` wants to be called."""
        deadlines = [self.line.next_deadline(), self._pause[1] if self._pause is not None else None]
        if not self.closing:
            deadlines += [self.protocol.next_deadline(), self._next_beat]
            deadlines += [due for due, _ in self._late_replays]
            if self._slow_login is not None:
                deadlines.append(self._slow_login[0])
        return min((due for due in deadlines if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Heartbeat, the ends of patience, and what faults made late."""
        due = self.next_deadline()
        if due is None or now < due:
            return
        if self._pause is not None and self._pause[1] is not None and now >= self._pause[1]:
            self.go_on(now)
        if not self.closing:
            self._answer_late(now)
        if not self.closing:
            self.protocol.handle_timer(now)
            self._beat(now)
        self._pump(now)

    def data_to_send(self) -> bytes:
        """Take the bytes to write next."""
        return self.line.take()

    def wake(self) -> None:
        """Have the server write what there is."""
        # Sending puts deadlines off and makes none, but for what a fault holds back.
        if self.line.next_deadline() is not None:
            self._exchange.note_deadline(self)
        self._wake(self)

    def _collect(self, now: float) -> None:
        """Put what the session has written on the line, and let out what is due."""
        data = self.protocol.data_to_send()
        if data:
            self.line.write(data, now)
        self.line.advance(now)
        if self.line.broken and not self._gone:
            self._say("cut on purpose")
            self._end(now, in_order=False)
        # What one request causes may be large and is written as soon as the turn is over: it is not counted.
        stuck = self.stuck + self.line.held_back
        if stuck > self._exchange.settings.out_buffer_limit and not self.closing:
            self.abort(now, f"it does not read: {stuck} bytes wait")

    def _pump(self, now: float) -> None:
        self._waiting_before = self.bytes_waiting
        while not self.closing and (event := self.protocol.next_event(now)) is not None:
            if self._asks_too_much:
                self.abort(now, f"it does not read: {self.bytes_waiting} bytes wait")
                break
            self._on_event(event, now)
        self._collect(now)
        self._exchange.note_deadline(self)
        self.wake()

    def _beat(self, now: float) -> None:
        """A heartbeat at a fixed rate, whatever else is sent."""
        if self._beats is None or self._next_beat is None or now < self._next_beat:
            return
        if self.protocol.logged_in:
            self.protocol.heartbeat(now)
        # Those that were missed are not made up for.
        missed = self._next_beat + self._beats <= now
        self._next_beat = (now if missed else self._next_beat) + self._beats

    def _answer_late(self, now: float) -> None:
        if self._slow_login is not None and now >= self._slow_login[0]:
            _, account, event = self._slow_login
            self._slow_login = None
            self._decide(account, event, now)
            self._take_unread()
        due = [first for when, first in self._late_replays if now >= when]
        self._late_replays = [late for late in self._late_replays if now < late[0]]
        try:
            for first in due:
                self._answer_replay(first, now)
        except ProtocolError as error:  # it asked for too much; here nobody else catches that
            self._say(str(error))
            self._end(now, in_order=False)

    def _take_unread(self) -> None:
        if self.reads:
            for data in self._unread:
                self.protocol.receive_data(data)
            self._unread.clear()

    # --- events ----------------------------------------------------------------------------------

    def _on_event(self, event: Event, now: float) -> None:
        if isinstance(event, Received):
            self._on_received(event, now)
        elif isinstance(event, LoginReceived):
            self._on_login(event, now)
        elif isinstance(event, LogoutReceived) and self.account is None:
            self._say("a logout first")
            self._not_first(now)
        elif isinstance(event, LogoutReceived):
            self._say("the client logged out")
            if self.protocol.state is State.LOGOUT_RECEIVED:
                self.protocol.logout(now, eto.LOGOUT_CONFIRMATION)
            self._end(now, in_order=True)
        elif isinstance(event, GapFound):
            if self._exchange.settings.gap_answer == "logout":
                self._say(f"numbers {event.first} to {event.last} are missing")
                self.log_out(eto.LOGOUT_NONE, now)
        elif isinstance(event, ReplayAnswered):
            if event.withheld:
                self._say(f"{len(event.withheld)} payloads are not kept any more; gapfills stand for them")
        elif isinstance(event, TimedOut):
            self._on_timeout(event, now)
        elif isinstance(event, Failed):
            self._on_failed(event, now)

    def _on_failed(self, event: Failed, now: float) -> None:
        """There is no payload that says so (choice 6): a line for whoever looks, and the end."""
        self._say(str(event.error))
        if self._exchange.settings.unreadable_frame == "logout":
            self.protocol.last_words(now)
        self._end(now, in_order=False)

    def _on_timeout(self, event: TimedOut, now: float) -> None:
        if event.what == "silence":
            self._say(f"nothing came for {event.waited:.1f} s")
        else:
            self._say(f"no {event.what} within {event.waited:.1f} s")
        reasons = {
            "login": eto.LOGOUT_LOGIN_TIMEOUT,
            "silence": eto.LOGOUT_HEARTBEAT_TIMEOUT,
            "replay": eto.LOGOUT_NONE,
        }
        reason = reasons.get(event.what)
        if reason is None:
            self._end(now, in_order=False)
        else:
            self.log_out(reason, now)

    def _on_received(self, received: Received, now: float) -> None:
        name = received.name
        if self.protocol.state is State.NEW:
            self._say(f"{name} first")
            self._not_first(now)
            return
        if name == "seto.login":
            self._say(f"{name} where no login was due")
            if self._exchange.settings.second_login == "logout":
                self.log_out(eto.LOGOUT_LOGIN_NOT_FIRST_SEQ, now)
            return
        account = self.account
        if account is None or not self.protocol.logged_in:
            return
        message = message_of(received.payload)
        if name not in FREE and self._exchange.settings.throttle_enforced and not self.throttle.take(now):
            if not (message is not None and self._exchange.refuse(self, account, message, received.seq, now)):
                self._on_unanswered(now)
        elif name == "eto.ping":
            self.protocol.pong(now)
        elif message is None or not name.startswith("seto."):
            return
        elif isinstance(message, seto.Settings):
            self._on_settings(message, now)
        else:
            self._exchange.request(self, account, message, received.seq, now)

    def _not_first(self, now: float) -> None:
        """Choice 4: neither may anything come before a login, nor a new login have another number than 1."""
        if self._exchange.settings.login_not_first == "logout":
            self.log_out(eto.LOGOUT_LOGIN_NOT_FIRST_SEQ, now)
        else:
            self._end(now, in_order=False)

    def _on_unanswered(self, now: float) -> None:
        """Over the limit, and the message has no rejection of its own (choice 13)."""
        if self._exchange.settings.throttle_unanswered == "throttle_exceeded":
            self.protocol.throttle_exceeded(now)

    def _on_settings(self, message: seto.Settings, now: float) -> None:
        """Settings are the session's (choice 35); the answer is the state after it, always."""
        if message.HasField("cancel_all_on_failure"):
            self.cancel_on_failure = message.cancel_all_on_failure
        self.send(seto.SettingsAccepted(cancel_all_on_failure=self.cancel_on_failure), now)

    # --- login -----------------------------------------------------------------------------------

    def _on_login(self, event: LoginReceived, now: float) -> None:
        account = self._exchange.authenticate(event.login)
        if account is None:
            self.log_out(eto.LOGOUT_UNAUTHORISED, now)
            return
        late = self._exchange.faults.login_delay(account.username)
        if late is None:
            self._decide(account, event, now)
        else:
            self._slow_login = (now + late, account, event)

    def _decide(self, account: ExchangeAccount, event: LoginReceived, now: float) -> None:
        refusal = self._exchange.refusal(account, now)
        if refusal is not None:
            self.log_out(refusal, now)
        elif event.session is not None:
            self._resume(account, event.session, event, now)
        elif event.first:
            self._open(account, event, now)
        else:
            self._say(f"a new login with number {event.seq}")
            self._not_first(now)

    def _open(self, account: ExchangeAccount, event: LoginReceived, now: float) -> None:
        self.session_id = self._exchange.open_session(self, account, now)
        self._enter(account, now)
        self.protocol.accept_login(self.session_id, now, email=account.username, account_id=account.id)
        self.send(self.throttle.limits.announcement(), now)
        position = _position(event.login)
        if position is not None:
            settings = self._exchange.settings
            for message in account.history_from(position, inclusive=settings.resume_includes_position):
                self.send(message, now, is_replay=settings.resume_marks_replay)

    def _resume(self, account: ExchangeAccount, session_id: str, event: LoginReceived, now: float) -> None:
        session = self._exchange.resume_session(session_id, account, now)
        if session is None:
            self.log_out(eto.LOGOUT_UNKNOWN_SESSION, now)
            return
        self.session_id = session_id
        self.interests = session.interests
        self.cancel_on_failure = session.cancel_on_failure
        self._enter(account, now)
        self.protocol.accept_login(
            session_id,
            now,
            email=account.username,
            account_id=account.id,
            login_seq=event.seq,
            memory=session.memory,
        )
        self.send(self.throttle.limits.announcement(), now)

    def _enter(self, account: ExchangeAccount, now: float) -> None:
        self.account = account
        self.line.account = account.username
        self.throttle = Throttle(self._exchange.limits_for(account.username), now)
        if self._beats is not None:
            self._next_beat = now + self._beats
        self._exchange.entered(self, account, now)

    # --- replays ---------------------------------------------------------------------------------

    def _on_replay_asked(self, first: int, now: float) -> None:
        """The client wants everything from ``first`` again; faults may have something against it."""
        plan = self._exchange.faults.take_replay(self.username, first)
        if plan is None:
            self._answer_replay(first, now)
        elif plan.name == "replay_late":
            self._late_replays.append((now + plan["seconds"], first))
        elif plan.name == "replay_wrong":
            self._answer_replay(first + 1, now)
        elif plan.name == "replay_partial":
            self._answer_replay(first, now, frames=plan["numbers"])

    def _answer_replay(self, first: int, now: float, *, frames: int | None = None) -> None:
        """No frame fault happens to the answer: there are faults of its own for it."""
        self._collect(now)
        if self._gone:
            return
        self.protocol.answer_replay(first, now)
        data = self.protocol.data_to_send()
        if frames is not None:
            data = b"".join(frame for frame, _ in itertools.islice(frames_in(data), frames))
        self.line.write_as_is(data, now)
        self._collect(now)

    # --- out -------------------------------------------------------------------------------------

    def tell(self, message: Message | PreparedMessage, now: float) -> None:
        """Send what others have brought about; a mistake of ours costs this connection alone."""
        try:
            self.send(message, now)
        except Exception:  # noqa: BLE001 - others are still to be told, and the one who asked is innocent
            _log.exception(self.username or None, "connection %d: could not be told", self.number)
            self.abort(now, "closed for that")

    def send(self, message: Message | PreparedMessage, now: float, *, is_replay: bool = False) -> None:
        """Send a message, unless a fault has it otherwise; nothing if the session is not up."""
        if not self.protocol.logged_in or self.account is None:
            return
        self.protocol.memory.outseq += self._exchange.faults.takes_skip(self.account.username)
        try:
            if isinstance(message, PreparedMessage):
                self.protocol.send_prepared(message, now, is_replay=is_replay)
            else:
                self.protocol.send(message, now, is_replay=is_replay)
        except FrameTooLarge as error:
            # Costs this client its connection and nobody else anything.
            self.abort(now, f"cannot be told: {error}")
            return
        self._collect(now)

    def log_out(self, reason: int, now: float) -> None:
        """Send a logout with that reason and close."""
        if self.closing:
            return
        self._say(f"logged out, {eto.LogoutReason.Name(reason)}")
        if self.protocol.state not in (State.LOGOUT_SENT, State.CLOSED):
            self.protocol.logout(now, reason)
        self._end(now, in_order=False)
        self.wake()

    def change_limits(self, limits: ThrottleLimits, now: float) -> None:
        """Give the session other limits, and tell it."""
        self.throttle.change(limits, now)
        self.send(limits.announcement(), now)
        self.wake()

    # --- what faults do --------------------------------------------------------------------------

    def write_raw(self, data: bytes, now: float) -> None:
        """Write bytes that need be no frame, behind what was written so far."""
        self._collect(now)
        self.line.write_as_is(data, now)
        self._collect(now)
        self.wake()

    def send_unknown_type(self, now: float) -> None:
        """Send a numbered payload whose type no schema has."""
        if self.protocol.logged_in:
            self._collect(now)
            self.protocol.send_unknown_type(now)
            self._collect(now)
            self.wake()

    def ask_replay(self, back: int, now: float) -> None:
        """Ask for the last ``back`` numbers again."""
        if self.protocol.logged_in:
            self.protocol.ask_replay(max(1, self.protocol.inseq - back), now)
            self._collect(now)
            self.wake()

    def stop_reading(self, now: float, seconds: float | None) -> None:
        """Take no bytes for so long; its silence is ours meanwhile."""
        self._pause = (_Pause.NOT_READING, None if seconds is None else now + seconds)
        self.protocol.hold_silence(now)
        self._exchange.note_deadline(self)
        self.wake()

    def half_open(self, now: float, seconds: float | None) -> None:
        """Neither take nor give bytes for so long; what times out meanwhile ends without a word."""
        self._pause = (_Pause.HALF_OPEN, None if seconds is None else now + seconds)
        self.protocol.release_silence(now)
        self.line.held = True
        self._exchange.note_deadline(self)
        self.wake()

    def go_on(self, now: float) -> None:
        """Take and give bytes again; a session that ended meanwhile is closed on now."""
        if self._pause is None:
            return
        was_half_open = self._pause[0] is _Pause.HALF_OPEN
        self._pause = None
        self.line.held = False
        if self.closing:
            self.aborted |= was_half_open
        else:
            self.protocol.release_silence(now)
            self._take_unread()
        self._pump(now)

    def cut(self, now: float, *, inside: bool) -> None:
        """Break the connection without a word, after the beginning of a frame if ``inside``."""
        self._pause = None
        self.line.discard()
        self.line.held = False
        if inside:
            self.line.end_with(_HALF_A_FRAME)
            self._end(now, in_order=False)
            self.wake()
        else:
            self.abort(now, "cut on purpose")

    # --- the end ---------------------------------------------------------------------------------

    def abort(self, now: float, why: str) -> None:
        """Close at once, written or not."""
        self._say(why)
        self.aborted = True
        self._end(now, in_order=False)
        self.wake()

    def lost(self, now: float) -> None:
        """The connection is gone; called by the server, again is fine."""
        self.line.discard()
        self._pause = None
        self._end(now, in_order=False)
        self._exchange.forget_deadline(self)

    def _end(self, now: float, *, in_order: bool) -> None:
        self.closing = True
        if self._gone:
            return
        self._gone = True
        self._collect(now)
        self._slow_login = None
        self._late_replays.clear()
        self._unread.clear()
        if self.protocol.state is not State.CLOSED:
            self.protocol.close()
        self._exchange.left(self, now, in_order=in_order)

    def _say(self, what: str) -> None:
        _log.info(self.username or None, "connection %d: %s", self.number, what)


def _position(login: seto.Login) -> int | None:
    """Where to resume: the 64-bit field whenever it is there, since a 0 may stand in the other one."""
    if login.HasField("account_sequence_64"):
        return login.account_sequence_64
    return login.account_sequence if login.HasField("account_sequence") else None

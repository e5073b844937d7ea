"""``SessionProtocol``: the rules of one session, for either side, without I/O.

Theory of operation
-------------------
The caller owns the socket and the clock. It feeds what arrives (``receive_data``), takes events one by
one (``next_event``) until there is none, sends what ``data_to_send`` returns, and calls
``handle_timer`` no later than ``next_deadline``. Every call gets ``now``, seconds on any clock that
never goes back. Nothing here blocks, logs, or switches greenlets, so a caller needs no lock.

Events are pulled, one frame at a time, because the exchange must decide about a login before it may
look at the frame behind it.

Each direction numbers its payloads from 1. What a received number means:

==========================  ======================================================================
expected                    report it; expect the next
lower                       a duplicate: count and drop
higher, replay request      answer at once (else both sides wait for each other), then as below
higher, logout              act on it at once; the open gap is reported as unfilled
higher, login response      (resumption by session id) apply it first, then as below
higher                      drop it and ask for a replay, once; the replay brings it again
==========================  ======================================================================

A replay sends every number from the asked one up to the latest again, marked ``is_replay``. What only
served the session (login, login response, replay, heartbeat) and what is not to be repeated becomes a
gapfill of the same number. Source: the exchange's documentation of eto replay and login, the vendor's
Erlang client; ``docs/protocol.md`` has the table with the source of each rule.

Before the login is answered a client sends nothing else: the vendor's SDK and the documentation agree
that the answer re-bases its numbers. So a number missing there is not asked for; the login's own
deadline decides.
"""

from __future__ import annotations

from collections import deque
from typing import cast

from google.protobuf.message import Message

from smarkets_pool.exceptions import Error, ProtocolError, UsageError
from smarkets_pool.protocol.events import (
    Event,
    Failed,
    GapFilled,
    GapFound,
    GapUnfilled,
    LoggedIn,
    LoginReceived,
    LogoutReceived,
    Probed,
    Received,
    ReplayAnswered,
    TimedOut,
)
from smarkets_pool.protocol.memory import JournalEntry, SessionMemory
from smarkets_pool.protocol.states import Cause, State, change
from smarkets_pool.protocol.timing import Timing
from smarkets_pool.wire.framing import MAX_FRAME_SIZE, FrameBuffer, encode_frame
from smarkets_pool.wire.payloads import (
    PreparedMessage,
    enum_name,
    eto_payload,
    parse_payload,
    payload_for,
    payload_name,
    serialize,
)
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["MAX_REPLAY", "SessionProtocol"]

#: Frames that replay requests may cost us at once, and again per second. A peer that asks for more is
#: better served by a new session: a request is a few bytes and every number of its answer a frame.
MAX_REPLAY = 10_000
REPLAY_REFILL = 1_000

#: No session lives to see this number. A peer that names a higher one would drive ours over the edge of
#: the wire's 64 bits.
MAX_SEQ = 2**63

#: What only serves the session: it becomes a gapfill when its number is asked for again.
_NOT_REPLAYED = frozenset(
    {"seto.login", "eto.login", "eto.login_response", "eto.replay", "eto.heartbeat", "eto.gapfill"}
)
#: What makes an order: repeated late, it would surprise whoever sent it.
_NEW_ORDERS = frozenset({"seto.order_create", "seto.order_cancel_replace"})
#: Bytes that ``is_replay`` adds to a payload (its tag and a bool); the eto part's own length stays one byte.
_REPLAY_MARK = 2
_SILENCE_COUNTS = frozenset({State.UP, State.RECOVERING, State.LOGOUT_SENT})


class _Gap:
    """The open gap: what is missing, and what the replay has brought so far."""

    __slots__ = ("first", "highest_replay", "target")

    def __init__(self, first: int, target: int) -> None:
        self.first = first
        #: The highest number seen early. It was dropped, so it too must come again.
        self.target = target
        #: The highest early number of the running replay, to tell a second run from the first.
        self.highest_replay = 0


class SessionProtocol:
    """One side of one session.

    Args:
        timing: the waits; see ``Timing``.
        memory: numbers and journal to go on from; a new session without it.
        max_frame_size: the largest payload accepted or sent, in bytes.
        says_is_replay: write ``is_replay = false`` explicitly, as the real exchange does and clients
            do not.
    """

    def __init__(
        self,
        *,
        timing: Timing | None = None,
        memory: SessionMemory | None = None,
        max_frame_size: int = MAX_FRAME_SIZE,
        says_is_replay: bool = False,
    ) -> None:
        self.timing = timing if timing is not None else Timing()
        self.memory = memory if memory is not None else SessionMemory()
        self.state = State.NEW
        self.duplicates = 0
        self.frames_received = 0
        self.frames_sent = 0
        self.replays_requested = 0
        self._max_frame_size = max_frame_size
        self._says_is_replay = says_is_replay
        self._incoming = FrameBuffer(max_frame_size)
        self._outgoing: list[bytes] = []
        self._events: deque[Event] = deque()
        self._gap: _Gap | None = None
        self._last_sent = 0.0
        self._last_received = 0.0
        self._login_seq = 1
        self._probed = False
        self._silence_held_since: float | None = None
        self._silence_reported = False
        # One deadline at a time: of the login, or of the logout; and one of the replay.
        self._waiting: tuple[str, float, float] | None = None
        self._replay_due: tuple[float, float] | None = None
        self._replay_allowance = float(MAX_REPLAY)
        self._replay_counted_at = 0.0

    def __repr__(self) -> str:
        gap = f", missing {self._gap.first}.." if self._gap else ""
        return f"<SessionProtocol {self.state.name}, next in {self.inseq}, next out {self.outseq}{gap}>"

    # --- what others may read --------------------------------------------------------------------

    @property
    def inseq(self) -> int:
        """The next number expected from the peer."""
        return self.memory.inseq

    @property
    def outseq(self) -> int:
        """The next number to be sent."""
        return self.memory.outseq

    @property
    def logged_in(self) -> bool:
        """Whether the login was accepted and nobody has logged out or closed since."""
        # Asked for each frame that is sent, and the hash of an enum's member is not free.
        return self.state is State.UP or self.state is State.RECOVERING

    @property
    def unread(self) -> int:
        """Bytes of a frame whose end has not arrived."""
        return len(self._incoming)

    @property
    def close_expected(self) -> bool:
        """Whether the connection should be closed once ``data_to_send`` is empty."""
        return self.state is State.CLOSED

    # --- time ------------------------------------------------------------------------------------

    def expect_login(self, now: float) -> None:
        """Start the peer's time to log in (the exchange's side)."""
        self._last_received = self._last_sent = now
        self._wait_for("login", now, self.timing.login)

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` wants to be called, or None if only bytes can change anything."""
        deadlines = [due for due in (self._heartbeat_due(), self._silence_due()) if due is not None]
        if self._waiting is not None:
            deadlines.append(self._waiting[2])
        if self._replay_due is not None and self._silence_held_since is None:
            deadlines.append(self._replay_due[1])
        return min(deadlines, default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``: heartbeat, probe, and reports of waits that ended."""
        if self.state is State.CLOSED:
            return
        if self._waiting is not None and now >= self._waiting[2]:
            what, since, _ = self._waiting
            self._waiting = None
            self._events.append(TimedOut(what, now - since))
        held = self._silence_held_since is not None
        if self._replay_due is not None and not held and now >= self._replay_due[1]:
            since = self._replay_due[0]
            self._replay_due = None
            self._events.append(TimedOut("replay", now - since))
        silence_due = self._silence_due()
        if silence_due is not None and now >= silence_due:
            self._answer_silence(now)
        heartbeat_due = self._heartbeat_due()
        if heartbeat_due is not None and now >= heartbeat_due:
            self.heartbeat(now)

    def hold_silence(self, now: float) -> None:
        """We stopped reading, so the peer's silence is ours: stop its clocks until ``release_silence``."""
        if self._silence_held_since is None:
            self._silence_held_since = now

    def release_silence(self, now: float) -> None:
        """We read again: the clocks of the peer's silence and replay go on from where they were held."""
        if self._silence_held_since is not None:
            held = now - self._silence_held_since
            self._last_received += held
            if self._replay_due is not None:
                since, due = self._replay_due
                self._replay_due = (since + held, due + held)
            self._silence_held_since = None

    def _wait_for(self, what: str, now: float, seconds: float | None) -> None:
        self._waiting = None if seconds is None else (what, now, now + seconds)

    def _heartbeat_due(self) -> float | None:
        if self.timing.heartbeat_after is None or not self.logged_in:
            return None
        return self._last_sent + self.timing.heartbeat_after

    def _silence_due(self) -> float | None:
        if (
            self.state not in _SILENCE_COUNTS
            or self._silence_held_since is not None
            or self._silence_reported
        ):
            return None
        wait = self.timing.probe_after
        if wait is None or self._probed:
            wait = self.timing.give_up_after
        return None if wait is None else self._last_received + wait

    def _answer_silence(self, now: float) -> None:
        silence = now - self._last_received
        give_up = self.timing.give_up_after
        # The same sum as in the deadline: a difference could fall short of it by a rounding.
        if give_up is not None and now >= self._last_received + give_up:
            self._silence_reported = True
            self._events.append(TimedOut("silence", silence))
            return
        self._probed = True
        if self.logged_in:
            self.ping(now)
            self._events.append(Probed(silence))

    # --- out -------------------------------------------------------------------------------------

    def data_to_send(self) -> bytes:
        """Take the bytes to write next; in this order, each once."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def login(self, login: seto.Login, now: float, *, session: str | None = None) -> int:
        """Send the login, with ``session`` to resume one by its id; return its number."""
        payload = eto_payload(eto.PAYLOAD_LOGIN)
        payload.type = seto.PAYLOAD_LOGIN
        payload.login.CopyFrom(login)
        payload.login.SetInParent()
        if session is not None:
            payload.eto_payload.login.session = session
        state = change(self.state, Cause.SEND_LOGIN)
        number = self._transmit(payload, now)
        self.state = state
        self._last_received = now
        self._wait_for("login", now, self.timing.login)
        return number

    def accept_login(
        self,
        session: str,
        now: float,
        *,
        email: str | None = None,
        account_id: int | None = None,
        login_seq: int = 1,
        memory: SessionMemory | None = None,
    ) -> int:
        """Accept the peer's login (the exchange's side); return the number of the response.

        ``memory`` and ``login_seq`` belong to resumption by session id: the numbers go on where that
        session was. A login above what that session expects opens a gap, which is asked for; for one
        below it, ``reset`` tells the peer where to go on.
        """
        state = change(self.state, Cause.SEND_LOGIN_RESPONSE)
        mine = self.memory
        if memory is not None:
            self.memory = memory
        expected = self.inseq
        response = eto_payload(eto.PAYLOAD_LOGIN_RESPONSE)
        details = response.eto_payload.login_response
        details.session = session
        details.reset = max(login_seq + 1, expected)
        if email is not None:
            details.email = email
        if account_id is not None:
            details.id = account_id
        try:
            number = self._transmit(response, now)
        except Error:
            self.memory = mine
            raise
        self.state = state
        # Its silence while the decision was made was ours.
        self._last_received = now
        if login_seq == expected:
            self.memory.inseq = expected + 1
        elif login_seq > expected:
            self._open_gap(login_seq, now)
        return number

    def send(self, message: Message, now: float, *, is_replay: bool = False) -> int:
        """Number, journal and frame a seto message in one step; return its number.

        ``is_replay`` marks an event of the account's history that is sent again under a new number.

        Raises:
            UsageError: no payload carries this class, a required field is missing, or the session is
                not logged in. Nothing was numbered.
            FrameTooLarge: nothing was numbered.
        """
        payload = payload_for(message)
        if not self.logged_in:
            raise self._not_logged_in(payload_name(payload))
        if is_replay:
            payload.eto_payload.is_replay = True
        return self._transmit(payload, now)

    def send_prepared(self, prepared: PreparedMessage, now: float, *, is_replay: bool = False) -> int:
        """The same as ``send`` for a message that goes to many sessions and was serialised once.

        Raises:
            UsageError: the session is not logged in. Nothing was numbered.
            FrameTooLarge: nothing was numbered.
        """
        self._must_be_logged_in(prepared.name)
        mark = is_replay or (False if self._says_is_replay else None)
        data = prepared.payload(self.memory.outseq, mark)
        return self._put_out(prepared.name, data, now, has_mark=mark is not None)

    def ping(self, now: float) -> int:
        """Send a ping; pongs come back in order and name no number."""
        self._must_be_logged_in("ping")
        return self._transmit(eto_payload(eto.PAYLOAD_PING), now)

    def heartbeat(self, now: float) -> int:
        """Send a heartbeat now."""
        self._must_be_logged_in("heartbeat")
        return self._transmit(eto_payload(eto.PAYLOAD_HEARTBEAT), now)

    def throttle_exceeded(self, now: float) -> int:
        """Tell the peer that it sends too much (the exchange's side)."""
        self._must_be_logged_in("throttle_exceeded")
        return self._transmit(eto_payload(eto.PAYLOAD_THROTTLE_EXCEEDED), now)

    def logout(self, now: float, reason: int = eto.LOGOUT_NONE) -> int:
        """Send a logout: ours, the refusal of a login, or (after the peer's) its confirmation."""
        if reason not in eto.LogoutReason.values():
            raise UsageError(f"{reason!r} is no LogoutReason")
        state = change(self.state, Cause.SEND_LOGOUT)
        payload = eto_payload(eto.PAYLOAD_LOGOUT)
        payload.eto_payload.logout.reason = cast("eto.LogoutReason", reason)
        number = self._transmit(payload, now)
        if self.state is State.LOGIN_RECEIVED:
            # A login that was refused was received all the same.
            self.memory.inseq = self._login_seq + 1
        self.state = state
        self._replay_due = self._waiting = None
        if state is State.LOGOUT_SENT:
            self._wait_for("logout", now, self.timing.logout)
        return number

    def close(self) -> None:
        """Stop: nothing more is read, sent or due."""
        self._change(Cause.CLOSE)
        self._waiting = self._replay_due = None
        self._report_unfilled()

    def _must_be_logged_in(self, what: str) -> None:
        if not self.logged_in:
            raise self._not_logged_in(what)

    def _not_logged_in(self, what: str) -> UsageError:
        return UsageError(f"{what} cannot be sent: the session is {self.state.name} ({self.state.value})")

    def _transmit(self, payload: seto.Payload, now: float) -> int:
        inner = payload.eto_payload
        inner.seq = self.memory.outseq
        if self._says_is_replay and not inner.HasField("is_replay"):
            inner.is_replay = False
        return self._put_out(
            payload_name(payload), serialize(payload), now, has_mark=inner.HasField("is_replay")
        )

    def _put_out(self, name: str, data: bytes, now: float, *, has_mark: bool) -> int:
        """Frame, number and journal a payload that was serialised with the next number."""
        seq = self.memory.outseq
        # What is sent must also fit when it is sent again, with the mark of a replay on it.
        room = 0 if has_mark else _REPLAY_MARK
        frame = encode_frame(data, max_size=self._max_frame_size - room)
        # From here nothing can fail: number, journal and bytes change together.
        self.memory.outseq = seq + 1
        self.memory.journal.add(seq, JournalEntry(name, None if name in _NOT_REPLAYED else data, now))
        self._outgoing.append(frame)
        self.frames_sent += 1
        self._last_sent = now
        return seq

    # --- in --------------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Add what arrived; then take events until there is none."""
        if self.state is not State.CLOSED:
            self._incoming.feed(data)

    def next_event(self, now: float) -> Event | None:
        """The next thing that happened, or None until more bytes or a deadline come.

        While a login waits for a decision, nothing behind it is looked at.
        """
        while not self._events:
            if self.state in (State.CLOSED, State.LOGIN_RECEIVED):
                return None
            try:
                data = self._incoming.next_payload()
                if data is None:
                    return None
                self._take(data, parse_payload(data), now)
            except ProtocolError as error:
                self._fail(error)
        return self._events.popleft()

    def _fail(self, error: ProtocolError) -> None:
        self.close()
        self._events.append(Failed(error))

    def _take(self, data: bytes, payload: seto.Payload, now: float) -> None:
        self.frames_received += 1
        self._last_received = now
        self._probed = self._silence_reported = False
        if self._silence_held_since is not None:
            self._silence_held_since = now
        name = payload_name(payload)
        seq = payload.eto_payload.seq
        if seq > MAX_SEQ:
            raise ProtocolError(f"{name} has the impossible number {seq}")
        received = Received(name, payload, data, seq, payload.eto_payload.is_replay, now)
        if self.state is State.NEW and name != "eto.logout":
            self._take_first(received)
        elif self.state is State.LOGIN_SENT and name == "eto.logout":
            # A refusal opens no session, so it has number 1 whatever session we wanted to resume.
            self._events.append(received)
            self._apply_logout(received)
        elif seq == self.memory.inseq:
            self._take_in_order(received, now)
        elif seq < self.memory.inseq:
            self.duplicates += 1
        else:
            self._take_early(received, now)

    def _take_first(self, received: Received) -> None:
        """Before any login numbers mean nothing yet: the caller decides about whatever comes."""
        if received.name != "seto.login":
            self._events.append(received)
            return
        inner = received.payload.eto_payload
        session = inner.login.session if inner.HasField("login") else None
        self._change(Cause.RECEIVE_LOGIN)
        self._waiting = None
        self._login_seq = received.seq
        self._events.append(LoginReceived(received.payload.login, session, received.seq))

    def _take_in_order(self, received: Received, now: float) -> None:
        if self.state is State.LOGIN_SENT and received.name not in (
            "eto.login_response",
            "eto.logout",
            "eto.gapfill",
        ):
            raise ProtocolError(f"expected the answer to our login and found {received.name}")
        self.memory.inseq = received.seq + 1
        self._events.append(received)
        self._note_progress(now)
        if received.name == "eto.login_response":
            self._apply_login_response(received)
        elif received.name == "eto.replay":
            self._answer_replay(received.payload.eto_payload.replay.seq, now)
        elif received.name == "eto.ping":
            self._answer_ping(now)
        elif received.name == "eto.logout":
            self._apply_logout(received)

    def _answer_ping(self, now: float) -> None:
        if self.logged_in:
            self._transmit(eto_payload(eto.PAYLOAD_PONG), now)

    def _take_early(self, received: Received, now: float) -> None:
        if received.name == "eto.replay":
            self._answer_replay(received.payload.eto_payload.replay.seq, now)
        elif received.name == "eto.login_response":
            self._apply_login_response(received)
        elif received.name == "eto.logout":
            missing_to = received.seq - 1
            if self._gap is None:
                self._gap = _Gap(self.inseq, missing_to)
            self._gap.target = max(self._gap.target, missing_to)
            self._report_unfilled()
            self._events.append(received)
            self._apply_logout(received)
            return
        if self._gap is not None:
            self._extend_gap(self._gap, received, now)
        elif self.logged_in:
            # A marked one is an event of the account's history under a new number: no replay runs yet.
            self._open_gap(received.seq, now, marked=received.seq if received.is_replay else 0)

    # --- login and logout ------------------------------------------------------------------------

    def _apply_login_response(self, received: Received) -> None:
        if self.state is not State.LOGIN_SENT:
            return
        details = received.payload.eto_payload.login_response
        if details.reset > MAX_SEQ:
            raise ProtocolError(f"the exchange wants our next number to be the impossible {details.reset}")
        self._change(Cause.RECEIVE_LOGIN_RESPONSE)
        self._waiting = None
        if details.reset > 0:
            self.memory.outseq = details.reset
        self._events.append(LoggedIn(details.session, details.email, details.id))

    def _apply_logout(self, received: Received) -> None:
        logout = received.payload.eto_payload.logout
        name = enum_name(logout, "reason")
        reason = int(logout.reason) if logout.HasField("reason") else 0
        self._report_unfilled()
        self._waiting = self._replay_due = None
        if self.state is not State.LOGOUT_RECEIVED:
            self._change(Cause.RECEIVE_LOGOUT)
            self._events.append(LogoutReceived(reason, name))

    # --- gaps in what we receive -----------------------------------------------------------------

    def _open_gap(self, early: int, now: float, *, marked: int = 0) -> None:
        self._gap = _Gap(self.inseq, early)
        self._gap.highest_replay = marked
        self._change(Cause.GAP_FOUND)
        self._events.append(GapFound(self.inseq, early - 1))
        self._ask_for_replay(now)

    def _extend_gap(self, gap: _Gap, received: Received, now: float) -> None:
        gap.target = max(gap.target, received.seq)
        if not received.is_replay or not self.logged_in:
            return
        # A replayed number that is itself early: the replay was cut into. Ask again, but once per run
        # of the replay, not once per frame of it: within one run the numbers rise.
        if received.seq <= gap.highest_replay or gap.highest_replay == 0:
            self._ask_for_replay(now)
        gap.highest_replay = received.seq

    def _ask_for_replay(self, now: float) -> None:
        request = eto_payload(eto.PAYLOAD_REPLAY)
        request.eto_payload.replay.seq = self.inseq
        self.replays_requested += 1
        if self._replay_due is None and self.timing.replay is not None:
            self._replay_due = (now, now + self.timing.replay)
        self._transmit(request, now)

    def _note_progress(self, now: float) -> None:
        gap = self._gap
        if gap is None:
            return
        gap.highest_replay = 0
        if self.inseq > gap.target:
            self._gap = None
            self._replay_due = None
            if self.state is State.RECOVERING:
                self._change(Cause.GAP_FILLED)
            self._events.append(GapFilled(gap.first, gap.target))
        elif self._replay_due is not None and self.timing.replay is not None:
            self._replay_due = (now, now + self.timing.replay)

    def _report_unfilled(self) -> None:
        gap, self._gap = self._gap, None
        if gap is not None:
            self._events.append(GapUnfilled(self.inseq, gap.target))

    # --- gaps in what we sent --------------------------------------------------------------------

    def _answer_replay(self, first: int, now: float) -> None:
        """Send every number from ``first`` to the latest again, under its old number."""
        if not self.logged_in:
            return
        latest = self.outseq - 1
        self._spend_on_replay(latest - max(first, 1) + 1, now)
        resent = gapfilled = 0
        withheld = []
        for seq in range(max(first, 1), latest + 1):
            entry = self.memory.journal.get(seq)
            if entry is not None and entry.data is not None and not self._too_old(entry, now):
                payload = seto.Payload.FromString(entry.data)
                resent += 1
            else:
                payload = eto_payload(eto.PAYLOAD_GAPFILL)
                payload.eto_payload.seq = seq
                gapfilled += 1
                if entry is None or entry.data is not None:
                    withheld.append(seq)
            payload.eto_payload.is_replay = True
            self._outgoing.append(encode_frame(serialize(payload), max_size=self._max_frame_size))
            self.frames_sent += 1
            self._last_sent = now
        self._events.append(ReplayAnswered(first, resent, gapfilled, tuple(withheld)))

    def _spend_on_replay(self, frames: int, now: float) -> None:
        refill = max(0.0, now - self._replay_counted_at) * REPLAY_REFILL
        self._replay_counted_at = now
        self._replay_allowance = min(float(MAX_REPLAY), self._replay_allowance + refill) - max(frames, 1)
        if self._replay_allowance < 0:
            raise ProtocolError(
                f"the peer asks for {frames} payloads again; the limit is {MAX_REPLAY} at once "
                f"and {REPLAY_REFILL} a second"
            )

    def _too_old(self, entry: JournalEntry, now: float) -> bool:
        limit = self.timing.replay_orders
        return entry.name in _NEW_ORDERS and limit is not None and now - entry.sent_at > limit

    def _change(self, cause: Cause) -> None:
        self.state = change(self.state, cause)

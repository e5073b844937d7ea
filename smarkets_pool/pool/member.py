"""``Member``: one account's life in a pool, over many connections.

The life, and who runs each step::

    wanted --timekeeper--> queued --governor--> life greenlet: connect, login --+--> hub: UP
      ^                                                                         |     |
      +------------------- backoff <------- on_disconnect, attempt failed <-----+-----+

A member owns at most one life greenlet (only while it connects), one connection (only while logged
in) and one dispatcher greenlet (in its inbox). ``state`` is what a user may assume: UP complete,
RECOVERING true but incomplete, DOWN nothing new.
"""

from __future__ import annotations

import copy
import enum
import logging
from collections.abc import Callable
from typing import Any, cast

import gevent
from google.protobuf.message import Message

from smarkets_pool.dispatcher import Dispatcher
from smarkets_pool.exceptions import (
    ConnectTimeout,
    Error,
    HeartbeatTimeout,
    LoggedOut,
    LoginTimeout,
    MemberDown,
    ReceiveTimeout,
    SendBufferFull,
    SequenceGapError,
    UsageError,
)
from smarkets_pool.policies import Attempts, Decision, ReconnectPolicy, TimeoutPolicy, Trouble
from smarkets_pool.pool.account import Account
from smarkets_pool.pool.connection import Connection
from smarkets_pool.pool.delivery import (
    LIFECYCLE_NAMES,
    Delivery,
    MemberDownEvent,
    MemberGap,
    MemberRecovering,
    MemberSlowHandler,
    MemberStalled,
    MemberUp,
)
from smarkets_pool.pool.governor import Governor
from smarkets_pool.pool.inbox import Inbox
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.pool.subscriptions import Subscriptions
from smarkets_pool.pool.supervisor import Supervisor
from smarkets_pool.pool.timekeeper import Timekeeper
from smarkets_pool.protocol import (
    AccountSequence,
    Event,
    Failed,
    GapFilled,
    GapFound,
    GapUnfilled,
    LogoutReceived,
    Probed,
    Received,
    TimedOut,
    Verdict,
)
from smarkets_pool.session import Session
from smarkets_pool.stores import Position, SequenceStore
from smarkets_pool.wire.payloads import account_sequence_of, message_name, message_of
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["DOWN", "Member", "MemberState", "RECOVERING", "UP"]

_logger = logging.getLogger("smarkets_pool.pool.member")

#: Bytes that may wait for a socket before ``send`` refuses more.
SEND_LIMIT = 1 << 20

#: What ``send`` accepts while RECOVERING: nothing that could make a new exposure.
_HARMLESS = frozenset({"seto.order_cancel", "seto.order_cancel_all", "seto.settings"})


class MemberState(enum.Enum):
    """What a user may assume about an account now."""

    UP = "complete"
    RECOVERING = "true but incomplete"
    DOWN = "nothing new arrives"

    def __str__(self) -> str:
        return self.name


UP, RECOVERING, DOWN = MemberState.UP, MemberState.RECOVERING, MemberState.DOWN


class Member:
    """One account of a pool; made by the pool, had by ``pool[name]``."""

    def __init__(
        self,
        account: Account,
        *,
        reconnect: ReconnectPolicy,
        timeouts: TimeoutPolicy,
        runtime: Runtime,
        supervisor: Supervisor,
        timekeeper: Timekeeper,
        governor: Governor,
        dispatcher: Dispatcher,
        store: SequenceStore,
        on_change: Callable[[], None],
        on_error: Callable[[Delivery, BaseException], None],
    ) -> None:
        self.account = account
        self._reconnect = account.reconnect or reconnect
        self._timeouts = account.timeouts or timeouts
        self._runtime = runtime
        self._supervisor = supervisor
        self._timekeeper = timekeeper
        self._governor = governor
        self._dispatcher = dispatcher
        self._store = store
        self._on_change = on_change
        self._state = DOWN
        self._why_down = "not started"
        self._final: str | None = None
        self._stopping = False
        self._session_id = ""
        self._connection: Connection | None = None
        self._connections = 0
        self._life: gevent.Greenlet[..., Any] | None = None
        self._retry_at: float | None = None
        self._resume_due: float | None = None
        self._resuming = False
        self._up_since: float | None = None
        self._history = Attempts()
        self._ever_ordered = False
        self._slow = False
        self._refetched: int | None = None
        self._parting: bool | None = None
        self._position: int | None = None
        self._saved: int | None = None
        self._sequence = AccountSequence()
        self._subscriptions = Subscriptions()
        if account.cancel_on_failure:
            self._subscriptions.note(seto.Settings(cancel_all_on_failure=True))
        self._inbox = Inbox(
            account.name,
            dispatcher,
            runtime,
            supervisor,
            after=self._handled,
            drained=self._save_position,
            parked=self._watch_time,
            on_room=self._on_room,
            on_error=on_error,
        )
        self._counts = dict.fromkeys(
            (
                "frames_received",
                "frames_sent",
                "duplicates",
                "replayed",
                "gaps_found",
                "gaps_filled",
                "holes",
                "logins",
                "login_failures",
                "disconnects",
            ),
            0,
        )

    def __repr__(self) -> str:
        why = f": {self._why_down}" if self._state is DOWN else ""
        return f"<Member {self.account.name!r} {self._state}{why}>"

    # --- what users ask --------------------------------------------------------------------------

    @property
    def state(self) -> MemberState:
        """UP, RECOVERING or DOWN."""
        return self._state

    @property
    def position(self) -> int | None:
        """The account's number of the last event whose handlers returned, or None before the first."""
        return self._position

    @property
    def given_up(self) -> str | None:
        """Why there will be no further attempt, or None."""
        return self._final

    @property
    def why_down(self) -> str:
        """The last reason for being DOWN, a sentence."""
        return self._why_down

    def send(self, message: Message) -> int:
        """Send a seto message now and return its sequence number; never waits.

        ``*_subscribe`` and ``settings`` messages are remembered and sent again after each login, until
        the matching ``*_unsubscribe``.

        Raises:
            MemberDown: not logged in, or RECOVERING and this is more than a cancel; nothing was sent.
            SendBufferFull: the exchange is not reading; nothing was sent.
            UsageError: such a message cannot be sent; nothing was.
            ConnectionError: the connection broke while sending: the message may have left.
        """
        name = message_name(type(message)) or ""
        connection = self._require(name)
        if connection.waiting > SEND_LIMIT:
            raise SendBufferFull(self.account.name, connection.waiting, SEND_LIMIT)
        if name.startswith("seto.order_"):
            self._ever_ordered = True  # before it is: a send that breaks may have left all the same
        number = connection.send(message)
        self._subscriptions.note(message)
        self._watch_time()
        return number

    def subscribe(self, what: int | Message) -> int | None:
        """Subscribe to a market id, or with any ``*_subscribe`` message, from now on over reconnects.

        Returns the sequence number, or None while DOWN: it is sent after the login then.
        """
        return self._wish(what, seto.MarketSubscribe)

    def unsubscribe(self, what: int | Message) -> int | None:
        """Undo ``subscribe``; same arguments (a market id or an ``*_unsubscribe`` message)."""
        return self._wish(what, seto.MarketUnsubscribe)

    def _wish(self, what: int | Message, market_class: type[Message]) -> int | None:
        message = what if isinstance(what, Message) else market_class(market_id=what)
        if not Subscriptions.is_wish(message):
            raise UsageError(f"{type(message).__name__} is neither a subscription nor the end of one")
        if self._state is DOWN:
            if missing := cast("Any", message).FindInitializationErrors():
                raise UsageError(f"{type(message).__name__} cannot be sent without {', '.join(missing)}")
            self._subscriptions.note(message)
            return None
        return self.send(message)

    def stats(self) -> dict[str, Any]:
        """A snapshot as plain data; times in seconds, ``*_total`` since the member was added."""
        now = self._runtime.now()
        counts = dict(self._counts)
        connection = self._connection
        if connection is not None:
            self._add_protocol_counts(counts, connection)
        return {
            "state": self._state.name,
            "why_down": self._why_down if self._state is DOWN else None,
            "given_up": self._final,
            "retry_in_seconds": None if self._retry_at is None else max(0.0, self._retry_at - now),
            "connection_number": self._connections,
            "last_frame_age_seconds": None if connection is None else now - connection.last_frame_at,
            "position": self._position,
            "inbox_frames": len(self._inbox),
            "inbox_bytes": self._inbox.size,
            "out_buffer_bytes": 0 if connection is None else connection.waiting,
            "deliveries_total": self._inbox.delivered,
            "handler_errors_total": self._inbox.handler_errors,
            **{f"{name}_total": value for name, value in counts.items()},
        }

    def _require(self, name: str) -> Connection:
        connection = self._connection
        if connection is None or connection.closed or not connection.protocol.logged_in:
            raise MemberDown(self.account.name, "DOWN", f"{self._why_down}; nothing was sent")
        if self._state is RECOVERING and name not in _HARMLESS and not name.endswith("subscribe"):
            raise MemberDown(
                self.account.name,
                "RECOVERING",
                f"only cancels are accepted until it is complete, not {name}; nothing was sent",
            )
        return connection

    # --- for the pool ----------------------------------------------------------------------------

    @property
    def inbox(self) -> Inbox:
        """The member's deliveries and dispatcher greenlet."""
        return self._inbox

    @property
    def finished(self) -> bool:
        """Whether the connection is closed and no attempt is under way."""
        return self._connection is None and self._life is None

    @property
    def logged_out(self) -> bool | None:
        """After ``stop``: whether the exchange confirmed the logout; None if there was no session."""
        return self._parting

    def load(self) -> None:
        """Take the position from the store; once, before ``start``."""
        position = self._store.load(self.account.name)
        if position is not None:
            self._position = self._saved = position.account_sequence
            self._sequence = AccountSequence(self._position)

    def start(self) -> None:
        """Want to be connected from now on."""
        self._why_down = "connecting for the first time"
        self._ask_to_connect()

    def stop(self) -> None:
        """Want to be connected no longer: no further attempt, and a logout if logged in.

        The logout's confirmation, or the end of patience with it, closes the connection.
        """
        self._stopping = True
        self._retry_at = None
        self._governor.withdraw(self)
        if self._life is not None:
            self._life.kill(block=False)
        if self._connection is not None:
            try:
                self._connection.logout()
            except Error as error:
                self._connection.disconnect(error)
            self._watch_time()

    def save(self) -> None:
        """Put the position into the store if it moved."""
        self._save_position()

    def inherit(self, former: Member) -> None:
        """Go on for a member that was replaced: its subscriptions, settings, and whether it traded."""
        for message in former._subscriptions:
            self._subscriptions.note(message)
        self._ever_ordered = former._ever_ordered

    def close(self) -> None:
        """Close the connection now, whatever is open."""
        if self._connection is not None:
            self._connection.disconnect(Error("the pool closed it"))
        self._timekeeper.forget(self)

    # --- life: wanting, queueing, connecting -----------------------------------------------------

    def _ask_to_connect(self) -> None:
        self._retry_at = None
        if not self._stopping:
            self._governor.ask(self, self._begin_attempt)

    def _begin_attempt(self) -> None:
        if not self._stopping and self._life is None:
            self._life = self._supervisor.spawn(f"life of {self.account.name}", self._attempt)
            self._life.link(self._attempt_ended)

    def _attempt_ended(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        # A link, because a greenlet killed before it ran executes neither its body nor a finally.
        if self._life is greenlet:
            self._life = None
            self._on_change()

    def _attempt(self) -> None:
        """Connect and log in; ends with a connection handed over or the next attempt planned."""
        self._connections += 1
        asked = self._asked()
        limits = self._timeouts
        settings = copy.copy(self.account.settings)
        # Per wait; the two limits below are for the whole and come first.
        settings.socket_timeout = limits.connect + limits.login
        session = Session(
            settings,
            account_sequence=asked,
            timing=limits.timing(),
            clock=self._runtime.now,
            socket=self._runtime.session_socket(settings),
        )
        try:
            where = f"{settings.host}:{settings.port}"
            no_connection = ConnectTimeout(f"no connection to {where} within {limits.connect} s")
            with self._runtime.limit(limits.connect, no_connection):
                session.connect()
            no_answer = LoginTimeout(f"{where} did not answer the login within {limits.login} s")
            with self._runtime.limit(limits.login, no_answer):
                frames = session.log_in()
        except BaseException as error:  # a secret's callable may raise anything, a Timeout for one
            session.disconnect()
            if self._stopping and isinstance(error, gevent.GreenletExit):
                raise
            self._counts["login_failures"] += 1
            self._life = None
            self._plan_after(error)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
        else:
            self._life = None
            self._take_over(session, frames, asked)

    def _asked(self) -> int | None:
        """The account number to resume from: the last *handled* one, never the one after it.

        Whether the exchange sends it again is not documented; if it does, it is dropped and proves
        that the history reaches back. With orders out and no event seen, everything is asked for; with
        events that still wait for their first handler to return, what comes after those.
        """
        if self._position is not None:
            return self._position
        return 1 if self._ever_ordered else self._sequence.last_seen

    def _take_over(self, session: Session, frames: list[Received], asked: int | None) -> None:
        """From a blocking session to a connection of the hub, without a switch in between."""
        self._session_id = session.session or ""
        socket, protocol = session.detach()
        connection = Connection(
            self._connections,
            self,
            self._runtime,
            self._runtime.transport(socket),
            protocol,
            send_timeout=self._timeouts.send,
        )
        self._connection = connection
        self._counts["logins"] += 1
        self._governor.succeeded(self)
        self._sequence.begin_resume(asked)
        self._resuming = True
        self._resume_due = self._runtime.now() + self._timeouts.give_up_after
        self._set_state(RECOVERING)
        self._post(MemberRecovering("login", asked))
        for received in frames:
            self.on_event(connection, received)
        if self._stopping:
            self.stop()
            return
        try:
            for message in self._subscriptions:
                connection.send(message)
            # The end of the resume has no mark of its own; pongs come in order, so this one's is it.
            connection.ping()
        except Error:
            return  # it has disconnected, and that has been dealt with
        connection.start_reading()
        self._inbox.wake()
        self._watch_time()

    def _plan_after(self, error: BaseException) -> None:
        """Decide what comes after a failed attempt or a lost connection, and tell everybody."""
        self._why_down = str(error) or repr(error)
        if self._stopping:
            self._set_state(DOWN)
            return
        if self._up_since is not None:
            if self._runtime.now() - self._up_since >= self._reconnect.stable_after:
                self._history = Attempts()
            self._up_since = None
        self._history = self._history.after(self._reconnect.classify(error))
        decision = self._reconnect.decide(error, self._history, self._runtime.random)
        self._governor.failed(self, downtime=decision.trouble is Trouble.DOWNTIME)
        self._post(MemberDownEvent(self._why_down, error, decision.delay))
        self._log_decision(decision)
        if decision.delay is None:
            self._final = decision.give_up_because
        else:
            self._retry_at = self._runtime.now() + decision.delay
        self._set_state(DOWN)
        self._inbox.wake()
        self._timekeeper.watch(self)

    def _log_decision(self, decision: Decision) -> None:
        if decision.delay is None:
            self._supervisor.log(
                logging.ERROR, "account %s: given up, %s", self.account.name, decision.give_up_because
            )
        else:
            self._supervisor.log(
                logging.WARNING,
                "account %s: down, next attempt in %.2f s: %s",
                self.account.name,
                decision.delay,
                self._why_down,
            )

    # --- what happens on the connection (hub, or the life greenlet at hand-over) ------------------

    def on_event(self, connection: Connection, event: Event) -> None:
        """One event of the protocol, in order."""
        if isinstance(event, Received):
            self._on_received(connection, event)
        elif isinstance(event, GapFound):
            self._counts["gaps_found"] += 1
            self._post(MemberGap("stream", event.first, event.last, recoverable=True))
            if self._state is UP:
                self._set_state(RECOVERING)
                self._post(MemberRecovering("gap"))
        elif isinstance(event, GapFilled):
            self._counts["gaps_filled"] += 1
            self._become_up("gap")
        elif isinstance(event, GapUnfilled):
            self._post(MemberGap("stream", event.first, event.last, recoverable=False))
        elif isinstance(event, LogoutReceived):
            connection.disconnect(LoggedOut(event.reason, event.reason_name))
        elif isinstance(event, Probed):
            self._post(MemberStalled(event.silence))
        elif isinstance(event, TimedOut):
            connection.disconnect(self._error_of(event, connection))
        elif isinstance(event, Failed):
            connection.disconnect(event.error)

    def on_batch(self, connection: Connection) -> None:
        """A read's worth of events is over: one hop to the handlers."""
        if self._inbox.full and not connection.closed:
            connection.pause_reading()
        if self._inbox.full and not self._slow:
            self._slow = True
            self._post(MemberSlowHandler(len(self._inbox), self._inbox.size))
        self._watch_time()
        self._inbox.wake()

    def on_disconnect(self, connection: Connection, error: BaseException) -> None:
        """The connection is closed, for whatever reason; called once per connection."""
        if connection is not self._connection:
            return
        self._connection = None
        self._resuming = False
        self._resume_due = None
        if self._stopping:
            self._parting = isinstance(error, LoggedOut)
        self._counts["disconnects"] += 1
        self._add_protocol_counts(self._counts, connection)
        self._plan_after(error)

    def _error_of(self, event: TimedOut, connection: Connection) -> Error:
        if event.what == "silence":
            return HeartbeatTimeout(event.waited)
        if event.what == "replay":
            missing = connection.protocol.inseq
            return SequenceGapError(missing, missing, event.waited)
        return ReceiveTimeout(f"the exchange did not confirm our logout within {event.waited:.1f} s")

    def _on_received(self, connection: Connection, received: Received) -> None:
        message = message_of(received.payload)
        number = account_sequence_of(received.name, message)
        if number is not None and not self._admit(connection, number, received):
            return
        if received.is_replay:
            self._counts["replayed"] += 1
        if number is not None or self._dispatcher.routes_for(received.name):
            self._inbox.put(
                Delivery(
                    self.account.name,
                    self,
                    received.name,
                    message,
                    received.payload,
                    received.data,
                    received.seq,
                    number,
                    received.is_replay,
                    received.received_at,
                )
            )
        if received.name == "eto.pong" and self._resuming:
            self._resuming = False
            self._resume_due = None
            self._sequence.end_resume()
            self._become_up("login")

    def _admit(self, connection: Connection, number: int, received: Received) -> bool:
        """Judge an event by the account's own numbers; announce what is missing before it."""
        verdict = self._sequence.check(number, is_replay=received.is_replay)
        if verdict.verdict is Verdict.DUPLICATE:
            self._counts["duplicates"] += 1
            return False
        if verdict.verdict is Verdict.LOST and self._refetched != verdict.first:
            # Not delivered: the resume brings it again, behind what is missing now.
            self._refetched = verdict.first
            connection.disconnect(SequenceGapError(verdict.first, verdict.last))
            return False
        if verdict.verdict in (Verdict.LOST, Verdict.HOLE):
            # Lost again after a resume from there: the exchange does not have it any more.
            self._sequence.last_seen = number
            self._counts["holes"] += 1
            self._post(MemberGap("account", verdict.first, verdict.last, recoverable=False))
        elif verdict.verdict is Verdict.REGRESSED:
            self._counts["holes"] += 1
            self._post(MemberGap("regressed", verdict.first, verdict.last, recoverable=False))
        return True

    def _become_up(self, cause: str) -> None:
        connection = self._connection
        if self._resuming or self._state is not RECOVERING or connection is None:
            return
        if connection.protocol.state.name != "UP":
            return  # a gap is still open: its filling comes back here
        if self._up_since is None:
            self._up_since = self._runtime.now()
        self._set_state(UP)
        self._post(MemberUp(cause, self._session_id))

    def _set_state(self, state: MemberState) -> None:
        self._state = state
        self._on_change()

    def _post(self, message: Any) -> None:
        self._inbox.put(
            Delivery(
                self.account.name,
                self,
                LIFECYCLE_NAMES[type(message)],
                message,
                None,
                None,
                0,
                None,
                False,
                self._runtime.now(),
            )
        )

    # --- handled deliveries (the dispatcher greenlet) --------------------------------------------

    def _handled(self, delivery: Delivery) -> None:
        if delivery.account_sequence is not None:
            self._position = delivery.account_sequence

    def _save_position(self) -> None:
        self._on_change()
        position = self._position
        if position is None or position == self._saved:
            return
        try:
            self._store.save_many([(self.account.name, Position(position))])
        except Exception as error:  # noqa: BLE001 - tried again when the next event was handled, and at the end
            self._supervisor.log(
                logging.ERROR, "account %s: position %d was not saved: %s", self.account.name, position, error
            )
        else:
            self._saved = position

    def _on_room(self) -> None:
        self._slow = False
        if self._resume_due is not None:
            self._resume_due = self._runtime.now() + self._timeouts.give_up_after
        if self._connection is not None:
            self._connection.start_reading()
            self._watch_time()

    # --- time (hub) ------------------------------------------------------------------------------

    def _watch_time(self) -> None:
        self._timekeeper.watch(self)

    def next_deadline(self) -> float | None:
        """The nearest of: connection, end of the resume, next attempt, idle dispatcher."""
        due = self._retry_at
        for other in (
            self._connection.next_deadline() if self._connection is not None else None,
            None if self._slow else self._resume_due,
            self._inbox.idle_deadline(),
        ):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def on_deadline(self, now: float) -> None:
        """Do what is due; called in the hub."""
        if self._retry_at is not None and now >= self._retry_at:
            self._ask_to_connect()
        self._inbox.end_idle(now)
        connection = self._connection
        if connection is None:
            return
        if self._resume_due is not None and now >= self._resume_due and not self._slow:
            self._resume_due = None
            connection.disconnect(
                ReceiveTimeout(
                    f"the ping behind the login was not answered within {self._timeouts.give_up_after} s"
                )
            )
            return
        connection.on_deadline(now)

    def _add_protocol_counts(self, counts: dict[str, int], connection: Connection) -> None:
        protocol = connection.protocol
        counts["frames_received"] += protocol.frames_received
        counts["frames_sent"] += protocol.frames_sent
        counts["duplicates"] += protocol.duplicates

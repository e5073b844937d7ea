"""``Member``: one account of a pool, over many connections.

It joins four parts, each with one concern: ``Life`` (connecting and coming back), ``Connection`` (one
logged-in session on a socket), ``Intake`` (events to deliveries, what is missing, what may be assumed)
and ``Inbox`` (handlers). What is left here is what users call, the hand-over between the parts, and the
account's position. At any time there is at most one life greenlet (while it connects), one connection
(while logged in) and one dispatcher greenlet (while there is something to handle).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, cast

from google.protobuf.message import Message

from smarkets_pool.account import Account
from smarkets_pool.dispatcher import Dispatcher
from smarkets_pool.exceptions import Error, LoggedOut, MemberDown, SendBufferFull, UsageError
from smarkets_pool.logs import PlaceLog
from smarkets_pool.policies import Decision, ReconnectPolicy, TimeoutPolicy
from smarkets_pool.pool.connection import Connection
from smarkets_pool.pool.delivery import Delivery, MemberDownEvent
from smarkets_pool.pool.governor import Governor
from smarkets_pool.pool.inbox import Inbox
from smarkets_pool.pool.intake import Intake
from smarkets_pool.pool.life import Life
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.pool.state import DOWN, RECOVERING, MemberState
from smarkets_pool.pool.subscriptions import Subscriptions
from smarkets_pool.pool.supervisor import Supervisor
from smarkets_pool.pool.timekeeper import Timekeeper
from smarkets_pool.protocol import Event, Received, SessionProtocol
from smarkets_pool.session import Session
from smarkets_pool.session.framelog import FrameLog
from smarkets_pool.stores import Position, SequenceStore
from smarkets_pool.wire.payloads import REQUEST_NAMES, message_name
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Member", "Surroundings"]

_log = PlaceLog("pool.member")

#: Bytes that may wait for a socket before ``send`` refuses more.
SEND_LIMIT = 1 << 20

#: What ``send`` accepts while RECOVERING, beside subscriptions: nothing that could make a new exposure.
_HARMLESS = frozenset({"seto.order_cancel", "seto.order_cancel_all", "seto.settings"})


@dataclasses.dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Surroundings:
    """What the members of a pool have in common.

    reconnect, timeouts: policies of those that have none of their own. on_change: called when something has
    happened to a member. on_error: called when one of its handlers raised.
    """

    reconnect: ReconnectPolicy
    timeouts: TimeoutPolicy
    runtime: Runtime
    supervisor: Supervisor
    timekeeper: Timekeeper
    governor: Governor
    dispatcher: Dispatcher
    store: SequenceStore
    on_change: Callable[[], None]
    on_error: Callable[[Delivery, BaseException], None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Traffic:
    """Frames that were read and sent, and what came twice."""

    received: int = 0
    sent: int = 0
    duplicates: int = 0

    def with_that_of(self, protocol: SessionProtocol) -> _Traffic:
        """The sum with what went through a connection."""
        return _Traffic(
            self.received + protocol.frames_received,
            self.sent + protocol.frames_sent,
            self.duplicates + protocol.duplicates,
        )


class Member:
    """One account of a pool; made by the pool, had by ``pool[name]``."""

    def __init__(self, account: Account, around: Surroundings) -> None:
        self.account = account
        self._timeouts = account.timeouts or around.timeouts
        self._runtime = around.runtime
        self._supervisor = around.supervisor
        self._timekeeper = around.timekeeper
        self._store = around.store
        self._on_change = around.on_change
        self._connection: Connection | None = None
        self._parting: bool | None = None
        self._known = False
        self._retired = False
        self._position: int | None = None
        self._saved: int | None = None
        self._subscriptions = Subscriptions()
        if account.cancel_on_failure:
            self._subscriptions.note(seto.Settings(cancel_all_on_failure=True))
        self._inbox = Inbox(
            account.name,
            around.dispatcher,
            around.runtime,
            around.supervisor,
            after=self._handled,
            drained=self._save_position,
            parked=self._watch_time,
            on_room=self._on_room,
            on_error=around.on_error,
        )
        self._intake = Intake(
            self,
            self._inbox,
            around.dispatcher,
            clock=around.runtime.now,
            patience=self._timeouts.give_up_after,
            changed=self._state_changed,
            log=around.supervisor.log,
        )
        self._life = Life(
            self,
            reconnect=account.reconnect or around.reconnect,
            timeouts=self._timeouts,
            runtime=around.runtime,
            supervisor=around.supervisor,
            governor=around.governor,
            changed=around.on_change,
        )
        self._logins = 0
        self._disconnects = 0
        #: Of connections that are gone; the present one's is added when somebody asks.
        self._traffic = _Traffic()

    def __repr__(self) -> str:
        why = f": {self.why_down}" if self.state is DOWN else ""
        return f"<Member {self.account.name!r} {self.state}{why}>"

    # --- what users ask --------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Our name of the account, the same as ``account.name``."""
        return self.account.name

    @property
    def state(self) -> MemberState:
        """UP, RECOVERING or DOWN."""
        return self._intake.state

    @property
    def position(self) -> int | None:
        """The account's number of the last event whose handlers returned, or None before the first."""
        return self._position

    @property
    def given_up(self) -> str | None:
        """Why there will be no further attempt, or None."""
        return self._life.given_up

    @property
    def why_down(self) -> str:
        """The last reason for being DOWN, a sentence."""
        return self._life.why_down

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
        if name not in REQUEST_NAMES:
            raise UsageError(
                f"{type(message).__name__} is not what a client asks of an exchange; nothing was sent"
            )
        connection = self._require(name)
        if connection.waiting > SEND_LIMIT:
            raise SendBufferFull(self.account.name, connection.waiting, SEND_LIMIT)
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

    def stats(self) -> dict[str, Any]:
        """A snapshot as plain data; times in seconds, ``*_total`` since the member was added."""
        now = self._runtime.now()
        life, intake, inbox, connection = self._life, self._intake, self._inbox, self._connection
        traffic = self._traffic if connection is None else self._traffic.with_that_of(connection.protocol)
        return {
            "state": self.state.name,
            "why_down": self.why_down if self.state is DOWN else None,
            "given_up": self.given_up,
            "retry_in_seconds": None if life.retry_at is None else max(0.0, life.retry_at - now),
            "connection_number": life.attempts,
            "last_frame_age_seconds": None if connection is None else now - connection.last_frame_at,
            "position": self._position,
            "inbox_frames": len(inbox),
            "inbox_bytes": inbox.size,
            "out_buffer_bytes": 0 if connection is None else connection.waiting,
            "deliveries_total": inbox.delivered,
            "handler_errors_total": inbox.handler_errors,
            "frames_received_total": traffic.received,
            "frames_sent_total": traffic.sent,
            "duplicates_total": traffic.duplicates + intake.duplicates,
            "replayed_total": intake.replayed,
            "gaps_found_total": intake.gaps_found,
            "gaps_filled_total": intake.gaps_filled,
            "holes_total": intake.holes,
            "withheld_total": intake.withheld,
            "logins_total": self._logins,
            "login_failures_total": life.failures,
            "disconnects_total": self._disconnects,
        }

    def _wish(self, what: int | Message, market_class: type[Message]) -> int | None:
        if not isinstance(what, (int, Message)) or isinstance(what, bool):
            raise UsageError(f"a subscription is a market id or a *_subscribe message, not {what!r}")
        message = what if isinstance(what, Message) else market_class(market_id=what)
        if not Subscriptions.is_wish(message):
            raise UsageError(f"{type(message).__name__} is neither a subscription nor the end of one")
        if self.state is DOWN:
            if missing := cast("Any", message).FindInitializationErrors():
                raise UsageError(f"{type(message).__name__} cannot be sent without {', '.join(missing)}")
            self._subscriptions.note(message)
            return None
        return self.send(message)

    def _require(self, name: str) -> Connection:
        connection = self._connection
        if connection is None or connection.closed or not connection.protocol.logged_in:
            raise MemberDown(self.account.name, "DOWN", f"{self.why_down}; nothing was sent")
        if self.state is RECOVERING and name not in _HARMLESS and not name.endswith("subscribe"):
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
        return self._connection is None and not self._life.connecting

    @property
    def logged_out(self) -> bool | None:
        """After ``stop``: whether the exchange confirmed the logout; None if there was no session."""
        return self._parting

    def load(self) -> None:
        """Take the position from the store; once, before ``start``."""
        position = self._store.load(self.account.name)
        if position is not None:
            self._position = self._saved = position.account_sequence
            self._intake.begin_after(self._position)

    def start(self) -> None:
        """Want to be connected from now on."""
        self._life.start()

    def stop(self) -> None:
        """Want to be connected no longer: no further attempt, and a logout if logged in.

        The logout's confirmation, or the end of patience with it, closes the connection.
        """
        self._life.stop()
        if self._connection is not None:
            try:
                self._connection.logout()
                # A full inbox had stopped the reading; the confirmation is to be read all the same.
                self._connection.start_reading()
            except Error as error:
                self._connection.disconnect(error)
            self._watch_time()

    def close(self) -> None:
        """Close the connection now, whatever is open."""
        if self._connection is not None:
            self._connection.disconnect(Error("the pool closed it"))
        self._timekeeper.forget(self)

    def retire(self) -> None:
        """Save the position, for the last time: another member may own the account from here."""
        self._save_position()
        self._retired = True

    def inherit(self, former: Member) -> None:
        """Go on for a member that was replaced: its subscriptions, settings, and whether it traded."""
        for message in former._subscriptions:
            self._subscriptions.note(message)
        if self.account.is_customer(former.account.customer):
            self._known = former._known or former._logins > 0
            # What the former had seen and not handled comes again: it begins where that one ended.
            self._position, self._saved = former._position, former._saved
            begun = former._position if former._position is not None else former._intake.baseline
            self._intake.begin_after(begun)
        former._life.why_down = f"it was replaced: take it from the pool anew, pool[{self.name!r}]"

    # --- from one part to the next ---------------------------------------------------------------

    def position_to_resume(self) -> int | None:
        """The account number to resume from: the last *handled* one, never the one after it.

        Whether the exchange sends it again is not documented; if it does, it is dropped and proves
        that the history reaches back. Before any was handled it is the one before the first seen; and if
        none was seen although we were logged in before, everything: an order of an earlier program may
        have been executed while the connection was down.
        """
        if self._position is not None:
            return self._position
        if self._intake.baseline is not None:
            return max(1, self._intake.baseline)
        return 1 if self._known or self._logins else None

    def take_over(self, session: Session, frames: list[Received], asked: int | None) -> None:
        """From a blocking session to a connection of the hub, without a switch in between."""
        session_id = session.session or ""
        socket, protocol = session.detach()
        connection = Connection(
            self._life.attempts,
            self,
            self._runtime,
            self._runtime.transport(socket),
            protocol,
            send_timeout=self._timeouts.send,
            frame_log=FrameLog(self.account.name, self._supervisor.log),
        )
        self._connection = connection
        self._logins += 1
        self._intake.begin(session_id, asked)
        for received in frames:
            self._intake.on_event(connection, received)
        connection.start_reading()
        if self._life.stopping:
            self.stop()
            return
        try:
            for message in self._subscriptions:
                connection.send(message)
            # The end of the resume has no mark of its own; pongs come in order, so this one's is it.
            connection.ping()
        except Error as error:
            connection.disconnect(error)  # most have disconnected already; then this does nothing
            return
        self._inbox.wake()
        self._watch_time()

    def on_event(self, connection: Connection, event: Event) -> None:
        """One event of the protocol, in order."""
        self._intake.on_event(connection, event)

    def on_batch(self, connection: Connection) -> None:
        """A read's worth of events is over: one hop to the handlers."""
        self._watch_time()
        self._intake.on_batch(connection)

    def on_disconnect(self, connection: Connection, error: BaseException) -> None:
        """The connection is closed, for whatever reason; called once per connection."""
        if connection is not self._connection:
            return
        self._connection = None
        self._intake.end()
        if self._life.stopping:
            self._parting = isinstance(error, LoggedOut)
        self._disconnects += 1
        self._traffic = self._traffic.with_that_of(connection.protocol)
        self._life.lost(error)

    def down(self, error: BaseException, decision: Decision | None) -> None:
        """The life has decided what comes after a loss; None: it was stopped."""
        if decision is not None:
            self._intake.post(MemberDownEvent(self.why_down, error, decision.delay))
        self._intake.set_down()
        self._inbox.wake()
        self._watch_time()

    def _state_changed(self) -> None:
        if self.state is MemberState.UP:
            self._life.is_up()
        self._on_change()

    # --- handled deliveries (the dispatcher greenlet) --------------------------------------------

    def _handled(self, delivery: Delivery) -> None:
        if delivery.account_sequence is not None:
            self._position = delivery.account_sequence

    def _save_position(self) -> None:
        self._on_change()
        position = self._position
        if position is None or position == self._saved or self._retired:
            return
        try:
            self._store.save_many([(self.account.name, Position(position))])
        except Exception as error:  # noqa: BLE001 - tried again when the next event was handled, and at the end
            text = "position %d was not saved: %s"
            self._supervisor.log(_log, logging.ERROR, self.account.name, text, position, error)
        else:
            self._saved = position

    def _on_room(self) -> None:
        self._intake.on_room(self._connection)
        self._watch_time()

    # --- time (hub) ------------------------------------------------------------------------------

    def _watch_time(self) -> None:
        self._timekeeper.watch(self)

    def next_deadline(self) -> float | None:
        """The nearest of: next attempt, end of the resume, connection, idle dispatcher."""
        deadlines = (
            self._life.next_deadline(),
            self._intake.next_deadline(),
            self._connection.next_deadline() if self._connection is not None else None,
            self._inbox.idle_deadline(),
        )
        return min((due for due in deadlines if due is not None), default=None)

    def on_deadline(self, now: float) -> None:
        """Do what is due; called in the hub."""
        self._life.on_deadline(now)
        self._inbox.end_idle(now)
        connection = self._connection
        if connection is not None:
            self._intake.on_deadline(connection, now)
            connection.on_deadline(now)

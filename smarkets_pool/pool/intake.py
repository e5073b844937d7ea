"""``Intake``: from a session's events to a member's deliveries, and to what may be assumed.

Runs in the hub (or in the life greenlet at hand-over) and never switches. Two things make a member
RECOVERING: a resume, from the login until the pong of the ping behind it, and an open gap in the
session's numbers. What is missing is delivered as ``member.gap`` before whatever came after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smarkets_pool.dispatcher import Dispatcher
from smarkets_pool.exceptions import Error, HeartbeatTimeout, LoggedOut, ReceiveTimeout, SequenceGapError
from smarkets_pool.logs import PlaceLog
from smarkets_pool.pool.connection import Connection
from smarkets_pool.pool.delivery import (
    LIFECYCLE_NAMES,
    Delivery,
    MemberGap,
    MemberRecovering,
    MemberSlowHandler,
    MemberStalled,
    MemberUp,
)
from smarkets_pool.pool.inbox import Inbox
from smarkets_pool.pool.state import DOWN, RECOVERING, UP, MemberState
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
    ReplayAnswered,
    State,
    TimedOut,
    Verdict,
)
from smarkets_pool.wire.payloads import account_sequence_of, message_of

if TYPE_CHECKING:
    from smarkets_pool.pool.member import Member

__all__ = ["Intake"]

_log = PlaceLog("pool.intake")


class Intake:
    """One member's arrivals, over all its connections.

    Args:
        patience: seconds that a resume may bring nothing; a full inbox holds this clock.
        changed: called with every change of ``state``.
        log: writes a log line from a greenlet, since this may run in the hub.
    """

    def __init__(
        self,
        member: Member,
        inbox: Inbox,
        dispatcher: Dispatcher,
        *,
        clock: Callable[[], float],
        patience: float,
        changed: Callable[[], None],
        log: Callable[..., None],
    ) -> None:
        self._member = member
        self._name = member.account.name
        self._inbox = inbox
        self._dispatcher = dispatcher
        self._clock = clock
        self._patience = patience
        self._changed = changed
        self._session_id = ""
        self._resuming = False
        self._resume_due: float | None = None
        self._slow = False
        self._refetched: int | None = None
        self._write_log = log
        #: The account's number before the first event seen here, or None before there was one.
        self.baseline: int | None = None
        self.state = DOWN
        self.sequence = AccountSequence()
        self.duplicates = 0
        self.replayed = 0
        self.gaps_found = 0
        self.gaps_filled = 0
        self.holes = 0
        self.withheld = 0

    def begin_after(self, position: int | None) -> None:
        """The next event expected is the one after ``position``; None: whichever comes."""
        self.baseline = position
        self.sequence = AccountSequence(position)

    # --- a connection begins and ends ------------------------------------------------------------

    def begin(self, session_id: str, asked: int | None) -> None:
        """A login succeeded that asked for the account's events from ``asked`` on."""
        self._session_id = session_id
        if asked is not None and self.sequence.last_seen is None:
            self.baseline = asked - 1
        self.sequence.begin_resume(asked)
        self._resuming = True
        self._resume_due = self._clock() + self._patience
        self._set_state(RECOVERING)
        self.post(MemberRecovering("login", asked))

    def end(self) -> None:
        """The connection is gone."""
        self._resuming = False
        self._resume_due = None

    def set_down(self) -> None:
        """Nothing new arrives."""
        self._set_state(DOWN)

    # --- events ----------------------------------------------------------------------------------

    def on_event(self, connection: Connection, event: Event) -> None:
        """One event of the protocol, in order."""
        if isinstance(event, Received):
            self._on_received(connection, event)
        elif isinstance(event, GapFound):
            self.gaps_found += 1
            self.post(MemberGap("stream", event.first, event.last, recoverable=True))
            if self.state is UP:
                self._set_state(RECOVERING)
                self.post(MemberRecovering("gap"))
        elif isinstance(event, GapFilled):
            self.gaps_filled += 1
            self._become_up(connection, "gap")
        elif isinstance(event, GapUnfilled):
            self.post(MemberGap("stream", event.first, event.last, recoverable=False))
        elif isinstance(event, LogoutReceived):
            connection.disconnect(LoggedOut(event.reason, event.reason_name))
        elif isinstance(event, ReplayAnswered):
            self._on_replay_answered(event)
        elif isinstance(event, Probed):
            self.post(MemberStalled(event.silence))
        elif isinstance(event, TimedOut):
            connection.disconnect(_error_of(event, connection))
        elif isinstance(event, Failed):
            connection.disconnect(event.error)

    def on_batch(self, connection: Connection) -> None:
        """A read's worth of events is over: stop reading if the handlers are behind, and wake them."""
        # After our logout only its confirmation is awaited, however full the inbox is.
        if self._inbox.full and connection.protocol.logged_in:
            connection.pause_reading()
            if not self._slow:
                self._slow = True
                self._report_slow()
        self._inbox.wake()

    def _report_slow(self) -> None:
        """A delivery, and a log line too: the delivery stands behind the handler it is about."""
        handler, running_for = self._inbox.current
        waiting = len(self._inbox)
        self.post(MemberSlowHandler(waiting, self._inbox.size, handler, running_for))
        self._write_log(
            _log,
            logging.WARNING,
            self._name,
            "%d deliveries wait, reading stopped; handler %s has been running for %.1f s",
            waiting,
            handler,
            running_for,
        )

    def _on_replay_answered(self, event: ReplayAnswered) -> None:
        if not event.withheld:
            return
        self.withheld += len(event.withheld)
        self.post(MemberGap("sent", event.withheld[0], event.withheld[-1], recoverable=False))
        self._write_log(
            _log,
            logging.WARNING,
            self._name,
            "the exchange asked for what we sent as %s again and did not get it: too old",
            ", ".join(map(str, event.withheld[:20])),
        )

    def on_room(self, connection: Connection | None) -> None:
        """The handlers have caught up: read again."""
        self._slow = False
        if self._resume_due is not None:
            self._resume_due = self._clock() + self._patience
        if connection is not None:
            connection.start_reading()

    def post(self, message: Any) -> None:
        """Deliver an event of the member's life, in order with the frames."""
        name = LIFECYCLE_NAMES[type(message)]
        now = self._clock()
        self._inbox.put(Delivery(self._name, self._member, name, message, None, None, 0, None, False, now))

    def _on_received(self, connection: Connection, received: Received) -> None:
        message = message_of(received.payload)
        number = account_sequence_of(received.name, message)
        if number is not None and not self._admit(connection, number, received):
            return
        if received.is_replay:
            self.replayed += 1
            if self._resuming and number is not None:
                # Progress: a long history may take longer than the patience. Heartbeats are none.
                self._resume_due = received.received_at + self._patience
        # Without handlers an event still passes through: its number becomes the position in its turn.
        if number is not None or self._dispatcher.routes_for(received.name):
            self._inbox.put(
                Delivery(
                    self._name,
                    self._member,
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
            self.end()
            self.sequence.end_resume()
            self._become_up(connection, "login")

    def _admit(self, connection: Connection, number: int, received: Received) -> bool:
        """Judge an event by the account's own numbers; announce what is missing before it."""
        if self.sequence.last_seen is None:
            self.baseline = number - 1
        found = self.sequence.check(number, is_replay=received.is_replay)
        if found.verdict is Verdict.DUPLICATE:
            self.duplicates += 1
            return False
        if found.verdict is Verdict.LOST and self._refetched != found.first:
            # Not delivered: the resume brings it again, behind what is missing now.
            self._refetched = found.first
            connection.disconnect(SequenceGapError(found.first, found.last))
            return False
        if found.verdict is not Verdict.IN_ORDER:
            # A hole; or lost again after a resume from there: the exchange does not have it any more.
            kind = "regressed" if found.verdict is Verdict.REGRESSED else "account"
            self.sequence.last_seen = number
            self.holes += 1
            self.post(MemberGap(kind, found.first, found.last, recoverable=False))
        return True

    def _become_up(self, connection: Connection, cause: str) -> None:
        if self._resuming or self.state is not RECOVERING or connection.protocol.state is not State.UP:
            return  # whatever else is open comes back here when it closes
        self._set_state(UP)
        self.post(MemberUp(cause, self._session_id))

    def _set_state(self, state: MemberState) -> None:
        self.state = state
        self._changed()

    # --- time (hub) ------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When the patience with a resume ends; a full inbox holds it, since we are not listening."""
        return None if self._slow else self._resume_due

    def on_deadline(self, connection: Connection, now: float) -> None:
        """Give the connection up if its resume takes too long."""
        due = self.next_deadline()
        if due is not None and now >= due:
            self._resume_due = None
            connection.disconnect(
                ReceiveTimeout(f"the ping behind the login was not answered within {self._patience} s")
            )


def _error_of(event: TimedOut, connection: Connection) -> Error:
    if event.what == "silence":
        return HeartbeatTimeout(event.waited)
    if event.what == "replay":
        missing = connection.protocol.inseq
        return SequenceGapError(missing, missing, event.waited)
    return ReceiveTimeout(f"the exchange did not confirm our logout within {event.waited:.1f} s")

"""``Peer``: one client's connection as the exchange sees it, without I/O.

The same ``SessionProtocol`` as the client's, in the other role. Bytes come in by ``receive``, what is to
be written is taken by ``data_to_send``; when ``closing`` is set the connection ends once that is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from smarkets_pool.exceptions import FrameTooLarge
from smarkets_pool.exchange.accounts import ExchangeAccount
from smarkets_pool.logs import PlaceLog
from smarkets_pool.protocol import (
    Event,
    Failed,
    GapFound,
    LoginReceived,
    LogoutReceived,
    Received,
    SessionProtocol,
    State,
    TimedOut,
    Timing,
)
from smarkets_pool.wire.payloads import message_name, message_of
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    from smarkets_pool.exchange.exchange import Exchange

__all__ = ["Peer"]

_log = PlaceLog("exchange.peer")

#: Enough of a frame to be its beginning and not its end: a length header and one byte of twenty.
_HALF_A_FRAME = b"\x14\x08"


class Peer:
    """One connection, from accept to close."""

    def __init__(self, exchange: Exchange, number: int, now: float, wake: Callable[[Peer], None]) -> None:
        settings = exchange.settings
        self.number = number
        self.account: ExchangeAccount | None = None
        self.session_id = ""
        self.subscriptions: set[int] = set()
        self.cancel_on_failure = False
        #: Close the connection once everything is written.
        self.closing = False
        #: Close it now, written or not.
        self.aborted = False
        self.protocol = SessionProtocol(
            timing=Timing(
                heartbeat_after=settings.heartbeat_after,
                probe_after=None,
                give_up_after=settings.silence_limit,
                login=settings.login_timeout,
                replay_orders=None,
            ),
            max_frame_size=settings.max_frame_size,
            says_is_replay=True,
        )
        self.protocol.expect_login(now)
        self._exchange = exchange
        self._wake = wake
        self._out: list[bytes] = []
        self._gone = False

    @property
    def username(self) -> str:
        """Whose connection it is, empty before the login."""
        return self.account.username if self.account is not None else ""

    def __repr__(self) -> str:
        who = self.account.username if self.account is not None else "nobody"
        return f"<Peer {self.number} {who} {self.protocol.state.name}>"

    # --- bytes and time --------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes of the client."""
        if self.closing:
            return
        self.protocol.receive_data(data)
        self._pump(now)

    def next_deadline(self) -> float | None:
        """When ``handle_timer`` wants to be called."""
        return None if self.closing else self.protocol.next_deadline()

    def handle_timer(self, now: float) -> None:
        """Heartbeat, and the ends of patience."""
        due = self.next_deadline()
        if due is not None and now >= due:
            self.protocol.handle_timer(now)
            self._pump(now)

    def data_to_send(self) -> bytes:
        """Take the bytes to write next."""
        self._collect()
        data = b"".join(self._out)
        self._out.clear()
        return data

    def wake(self) -> None:
        """Have the server write what there is."""
        self._wake(self)

    def _collect(self) -> None:
        data = self.protocol.data_to_send()
        if data:
            self._out.append(data)

    def _pump(self, now: float) -> None:
        while not self.closing and (event := self.protocol.next_event(now)) is not None:
            self._on_event(event, now)
        self.wake()

    # --- events ----------------------------------------------------------------------------------

    def _on_event(self, event: Event, now: float) -> None:
        if isinstance(event, Received):
            self._on_received(event, now)
        elif isinstance(event, LoginReceived):
            self._on_login(event, now)
        elif isinstance(event, LogoutReceived):
            if self.protocol.state is State.LOGOUT_RECEIVED:
                self.protocol.logout(now, eto.LOGOUT_CONFIRMATION)
            self._end(now, in_order=True)
        elif isinstance(event, GapFound):
            if self._exchange.settings.gap_answer == "logout":
                self._say(f"numbers {event.first} to {event.last} are missing")
                self.log_out(eto.LOGOUT_NONE, now)
        elif isinstance(event, TimedOut):
            self._on_timeout(event, now)
        elif isinstance(event, Failed):
            # There is no payload that says so: close, and leave a line for whoever looks.
            self._say(str(event.error))
            self._end(now, in_order=False)

    def _on_timeout(self, event: TimedOut, now: float) -> None:
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
        if self.protocol.state is State.NEW or received.name == "seto.login":
            # Neither may anything come before a login, nor a second login after it.
            self._say(f"{received.name} where no login was due" if self.account else f"{received.name} first")
            self.log_out(eto.LOGOUT_LOGIN_NOT_FIRST_SEQ, now)
            return
        account, message = self.account, message_of(received.payload)
        if account is None or message is None or not received.name.startswith("seto."):
            return
        if isinstance(message, seto.Settings):
            self._on_settings(message, now)
            return
        if isinstance(message, seto.MarketSubscribe):
            self.subscriptions.add(message.market_id)
        elif isinstance(message, seto.MarketUnsubscribe):
            self.subscriptions.discard(message.market_id)
        self._exchange.request(self, account, message, received.seq, now)

    def _on_settings(self, message: seto.Settings, now: float) -> None:
        """Settings are the session's (choice 35); the answer is the state after it, always."""
        if message.HasField("cancel_all_on_failure"):
            self.cancel_on_failure = message.cancel_all_on_failure
        self.send(seto.SettingsAccepted(cancel_all_on_failure=self.cancel_on_failure), now)

    # --- login -----------------------------------------------------------------------------------

    def _on_login(self, event: LoginReceived, now: float) -> None:
        account = self._exchange.authenticate(event.login)
        refusal: int | None
        if account is None:
            refusal = int(eto.LOGOUT_UNAUTHORISED)
        else:
            refusal = self._exchange.refusal(account, now)
        if refusal is None and event.session is None and not event.first:
            refusal = int(eto.LOGOUT_LOGIN_NOT_FIRST_SEQ)
        if refusal is not None or account is None:
            self.log_out(refusal or 0, now)
            return
        if event.session is None:
            self._open(account, event, now)
        else:
            self._resume(account, event.session, event, now)

    def _open(self, account: ExchangeAccount, event: LoginReceived, now: float) -> None:
        self.session_id = self._exchange.open_session(self, account, now)
        self._enter(account)
        self.protocol.accept_login(self.session_id, now, email=account.username, account_id=account.id)
        self._announce_throttle(now)
        position = _position(event.login)
        if position is not None:
            inclusive = self._exchange.settings.resume_includes_position
            for message in account.history_from(position, inclusive=inclusive):
                self.send(message, now, is_replay=True)

    def _resume(self, account: ExchangeAccount, session_id: str, event: LoginReceived, now: float) -> None:
        session = self._exchange.resume_session(session_id, account, now)
        if session is None:
            self.log_out(eto.LOGOUT_UNKNOWN_SESSION, now)
            return
        self.session_id = session_id
        self.subscriptions = session.subscriptions
        self.cancel_on_failure = session.cancel_on_failure
        self._enter(account)
        self.protocol.accept_login(
            session_id,
            now,
            email=account.username,
            account_id=account.id,
            login_seq=event.seq,
            memory=session.memory,
        )
        self._announce_throttle(now)

    def _enter(self, account: ExchangeAccount) -> None:
        self.account = account
        account.online += 1

    def _announce_throttle(self, now: float) -> None:
        settings = self._exchange.settings
        self.send(
            seto.ThrottleLimitsChanged(
                average_rate_ps=settings.throttle_rate,
                burst_size=settings.throttle_burst,
                tick_ms=settings.throttle_tick_ms,
            ),
            now,
        )

    # --- out -------------------------------------------------------------------------------------

    def send(self, message: Message, now: float, *, is_replay: bool = False) -> None:
        """Send a message, unless a fault has it otherwise; nothing if the session is not up."""
        if not self.protocol.logged_in or self.account is None:
            return
        faults, who = self._exchange.faults, self.account.username
        self.protocol.memory.outseq += faults.takes_skip(who)
        name = message_name(type(message)) or ""
        plan = faults.take_frame(who, name)
        dropped = plan is not None and plan.name == "drop"
        if dropped:
            faults.record("drop", who, name)
        self._collect()
        try:
            self.protocol.send(message, now, is_replay=is_replay)
        except FrameTooLarge as error:
            # Costs this client its connection and nobody else anything.
            self.abort(now, f"cannot be told: {error}")
            return
        if dropped:
            self.protocol.data_to_send()

    def log_out(self, reason: int, now: float) -> None:
        """Send a logout with that reason and close."""
        if self.closing:
            return
        if self.protocol.state not in (State.LOGOUT_SENT, State.CLOSED):
            self.protocol.logout(now, reason)
        self._end(now, in_order=False)
        self.wake()

    def cut(self, now: float, *, inside: bool) -> None:
        """Break the connection without a word, after the beginning of a frame if ``inside``."""
        self._collect()
        self._out.clear()
        if inside:
            self._out.append(_HALF_A_FRAME)
            self._end(now, in_order=False)
            self.wake()
        else:
            self.abort(now, "cut on purpose")

    def abort(self, now: float, why: str) -> None:
        """Close at once, written or not."""
        self._say(why)
        self.aborted = True
        self._end(now, in_order=False)
        self.wake()

    def lost(self, now: float) -> None:
        """The connection is gone; called by the server, again is fine."""
        self._end(now, in_order=False)

    def _end(self, now: float, *, in_order: bool) -> None:
        self.closing = True
        if self._gone:
            return
        self._gone = True
        self._collect()
        if self.protocol.state is not State.CLOSED:
            self.protocol.close()
        self._exchange.left(self, now, in_order=in_order)

    def _say(self, what: str) -> None:
        who = self.account.username if self.account is not None else None
        _log.info(who, "connection %d: %s", self.number, what)


def _position(login: seto.Login) -> int | None:
    """Where to resume: the 64-bit field whenever it is there, since a 0 may stand in the other one."""
    if login.HasField("account_sequence_64"):
        return login.account_sequence_64
    return login.account_sequence if login.HasField("account_sequence") else None

"""``Exchange``: sessions around the engine, still without I/O.

It knows who is logged in where, remembers sessions for resumption by id, and carries the engine's
effects to the peers they are for. Time comes in as ``now`` (seconds, any clock that never goes back)
and ``now_us`` (microseconds since the epoch, for what is printed on executions).
"""

from __future__ import annotations

import dataclasses
import math
import secrets
import string
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

from google.protobuf.message import Message

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.accounts import Accounts, ExchangeAccount
from smarkets_pool.exchange.audiences import Audiences, Interests
from smarkets_pool.exchange.deadlines import Deadlines
from smarkets_pool.exchange.engine import Effect, Engine, ToAccount, ToMarket, ToRequester
from smarkets_pool.exchange.faults import Faults, logout_reason
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.peer import Peer
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.throttle import ThrottleLimits
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.logs import PlaceLog
from smarkets_pool.protocol import SessionMemory
from smarkets_pool.wire.payloads import PreparedMessage
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Chore", "Exchange", "MOST_STRANGE", "RememberedSession"]

_log = PlaceLog("exchange.sessions")

_ID_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 18
#: How many markets and events that there are not a session may follow; they might come to be.
MOST_STRANGE = 10_000


@dataclasses.dataclass(slots=True)
class RememberedSession:
    """What is kept of a session so that it can be resumed by its id."""

    account: ExchangeAccount
    memory: SessionMemory
    interests: Interests
    cancel_on_failure: bool
    left_at: float | None = None


class Chore(Protocol):
    """Something that has its times, as a connection has."""

    def next_deadline(self) -> float | None:
        """When it wants to be called."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""


class Exchange:
    """Accounts, markets, sessions and faults of one embedded exchange.

    Args:
        wall_clock: microseconds since the epoch.
        clock: seconds, the one that every ``now`` comes from; faults that are asked for read it.
        seed: what faults do by chance is the same for the same one.
        faults, truth: those to go on with, instead of new ones.

    Attributes:
        alarm: called when the earliest deadline has become earlier; who serves the timers sets it.
        chores: what the exchange does by itself as time goes by, such as the house traders.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        markets: Iterable[Market],
        wall_clock: Callable[[], int],
        settings: ExchangeSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 0,
        truth: Truth | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.settings = settings if settings is not None else ExchangeSettings()
        self.truth = truth if truth is not None else Truth(self.settings.truth_limit)
        self.accounts = accounts
        self.faults = faults if faults is not None else Faults(self.truth, seed, clock)
        self.faults.ground = self
        self.engine = Engine(self.settings, self.truth, accounts, markets)
        self.audiences = Audiences()
        self.downtime = False
        self.alarm: Callable[[], None] = _nobody
        self.chores: list[Chore] = []
        self._clock = clock
        self._wall_clock = wall_clock
        self._peers: dict[Peer, None] = {}
        self._deadlines = Deadlines()
        self._sessions: dict[str, RememberedSession] = {}
        #: The ids of sessions that were left, in the order of leaving.
        self._left: OrderedDict[str, None] = OrderedDict()
        self._limits = ThrottleLimits.of(self.settings)
        self._account_limits: dict[str, ThrottleLimits] = {}
        self._downtime_at: float | None = None
        self._numbers = 0
        self._to_carry: deque[tuple[Iterable[Effect], Peer | None, float]] = deque()
        self._is_carrying = False
        self._snapshots: dict[int, tuple[Market, object, Sequence[PreparedMessage]]] = {}

    def __repr__(self) -> str:
        return f"<Exchange {len(self._peers)} connections, {self.engine!r}>"

    @property
    def peers(self) -> Sequence[Peer]:
        """Every connection whose session goes on or may begin, oldest first."""
        return list(self._peers)

    def peers_of(self, username: str) -> list[Peer]:
        """The logged-in connections of an account."""
        return self.audiences.of_account(username)

    # --- connections -----------------------------------------------------------------------------

    def connect(self, now: float, wake: Callable[[Peer], None]) -> Peer:
        """A client has connected; ``wake(peer)`` is called when there is something to write to it."""
        self._numbers += 1
        peer = Peer(self, self._numbers, now, wake)
        self._peers[peer] = None
        self.note_deadline(peer)
        return peer

    def entered(self, peer: Peer, account: ExchangeAccount, now: float) -> None:
        """A peer has logged in; in the mode "newest" the account's other sessions end."""
        if self.settings.sessions_per_account == "newest":
            for other in self.audiences.of_account(account.username):
                other.cancel_on_failure = False  # it has not failed: another took its place
                other.log_out(eto.LOGOUT_NONE, now)
        account.online += 1
        self.audiences.enter(peer)

    def left(self, peer: Peer, now: float, *, in_order: bool) -> None:
        """A peer's session is over; ``in_order`` if it had logged out."""
        self._peers.pop(peer, None)
        account = peer.account
        if account is None:
            return
        account.online -= 1
        self.audiences.leave(peer)
        session = self._sessions.get(peer.session_id)
        if session is not None and session.memory is peer.protocol.memory:
            if in_order:
                del self._sessions[peer.session_id]
            else:
                session.left_at = now
                session.cancel_on_failure = peer.cancel_on_failure
                self._left[peer.session_id] = None
                self._forget_old_sessions(now)
        if peer.cancel_on_failure and not in_order:
            of_session = self.settings.cancel_all_scope == "session"
            self.operate(
                "cancel_all",
                now,
                account=account.username,
                session=peer.session_id if of_session else "",
            )

    # --- time ------------------------------------------------------------------------------------

    def note_deadline(self, peer: Peer) -> None:
        """A peer's deadline may have changed."""
        if self._deadlines.note(peer, peer.next_deadline()):
            self.alarm()

    def forget_deadline(self, peer: Peer) -> None:
        """A peer's connection is closed."""
        self._deadlines.forget(peer)

    def next_deadline(self) -> float | None:
        """When ``handle_timers`` has something to do next, on the clock that ``now`` comes from."""
        deadlines = [self._deadlines.earliest(), self._downtime_at]
        due_us = self.engine.due_us()
        if due_us is not None:
            deadlines.append(self._clock() + max(0, due_us - self._wall_clock()) / 1e6)
        deadlines += [chore.next_deadline() for chore in self.chores]
        return min((due for due in deadlines if due is not None), default=None)

    def handle_timers(self, now: float) -> None:
        """Serve whatever is due."""
        due_us = self.engine.due_us()
        if due_us is not None and due_us <= self._wall_clock():
            self._safely(None, "the pending executions", self.operate, "confirm_due", now)
        if self._downtime_at is not None and now >= self._downtime_at:
            self._safely(None, "the downtime", self.begin_downtime, now)
        for chore in self.chores:
            due = chore.next_deadline()
            if due is None or now < due:
                continue
            if not self._safely(None, f"{chore!r}, which is not done any more", chore.handle_timer, now):
                self.chores = [each for each in self.chores if each is not chore]
        for peer in self._deadlines.take_due(now):
            who = f"the timer of connection {peer.number}"
            if not self._safely(peer.username, who, peer.handle_timer, now):
                peer.abort(now, "closed for that")
            self.note_deadline(peer)

    def _safely(self, account: str | None, what: str, do: Callable[..., None], *args: Any) -> bool:
        """Do what is due; whatever it raises, the time of all others goes on."""
        try:
            do(*args)
        except Exception:  # noqa: BLE001 - for the reason above
            _log.exception(account or None, "failed: %s", what)
            return False
        return True

    # --- logins ----------------------------------------------------------------------------------

    def authenticate(self, login: seto.Login) -> ExchangeAccount | None:
        """The account whose credentials these are: a token wins over user name and password."""
        if login.HasField("cookie"):
            return self.accounts.by_token(login.cookie)
        return self.accounts.by_password(login.username, login.password)

    def refusal(self, account: ExchangeAccount, now: float) -> int | None:
        """Why this account may not log in now (a LogoutReason), or None."""
        if self.downtime:
            return int(eto.LOGOUT_DOWNTIME)
        if not account.is_verified:
            return int(eto.LOGOUT_UNVERIFIED)
        return self.faults.refusal(account.username)

    def open_session(self, peer: Peer, account: ExchangeAccount, now: float) -> str:
        """Begin to remember a new session; return its id. Those that are due are forgotten."""
        self._forget_old_sessions(now)
        session_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        if self.settings.session_memory > 0:
            self._sessions[session_id] = RememberedSession(
                account, peer.protocol.memory, peer.interests, peer.cancel_on_failure
            )
        return session_id

    def _forget_old_sessions(self, now: float) -> None:
        """Those that were left too long ago, and the oldest of too many."""
        while self._left:
            session_id = next(iter(self._left))
            session = self._sessions[session_id]
            is_old = session.left_at is not None and now - session.left_at > self.settings.session_memory
            if not is_old and len(self._left) <= self.settings.session_limit:
                return
            self._forget_session(session_id)

    def _forget_session(self, session_id: str) -> None:
        del self._sessions[session_id]
        self._left.pop(session_id, None)

    def resume_session(
        self, session_id: str, account: ExchangeAccount, now: float
    ) -> RememberedSession | None:
        """The session of that id, if it is this account's and not forgotten; who held it is closed."""
        self._forget_old_sessions(now)
        session = self._sessions.get(session_id)
        if session is None or session.account is not account:
            return None
        holder = self.audiences.of_session(session_id)
        if holder is not None:
            asked = holder.cancel_on_failure
            holder.cancel_on_failure = False  # it has not failed: it goes on over there
            holder.abort(now, "its session was resumed over another connection")
            session.cancel_on_failure = asked
            self._sessions[session_id] = session
        session.left_at = None
        self._left.pop(session_id, None)
        return session

    # --- requests and effects --------------------------------------------------------------------

    def request(self, peer: Peer, account: ExchangeAccount, message: Message, seq: int, now: float) -> None:
        """Carry out a request of a logged-in peer."""
        is_new = self.audiences.follow(peer, message)
        if is_new is not None:
            self._after_following(peer, message, now, is_new=is_new)
            if peer.interests.size > MOST_STRANGE + len(self.engine.markets):
                peer.abort(now, f"it follows {peer.interests.size} markets and events, most of them nobody's")
            return
        effects = self.engine.handle(
            account, message, seq=seq, now_us=self._wall_clock(), session=peer.session_id
        )
        self.carry(effects, peer, now)

    def _after_following(self, peer: Peer, message: Message, now: float, *, is_new: bool) -> None:
        """A market is answered with what there is (choices 26, 27), all else with nothing."""
        if isinstance(message, seto.MarketSubscribe):
            if message.market_id not in self.engine.markets:
                _log.info(peer.username, "connection %d: no market %d", peer.number, message.market_id)
            if is_new or self.settings.double_subscribe == "snapshot":
                for part in self._snapshot(message.market_id):
                    peer.send(part, now)
        elif isinstance(message, seto.PriceFeedSubscribe) and self.settings.price_feed_snapshots:
            for market_id in self.engine.markets:
                for part in self._snapshot(market_id):
                    if part.name == "seto.market_quotes":
                        peer.send(part, now)

    def _snapshot(self, market_id: int) -> Sequence[PreparedMessage]:
        """What a new subscriber is told, made once for all who ask before it changes."""
        market, kept = self.engine.markets.get(market_id), self._snapshots.get(market_id)
        if market is not None and kept is not None and kept[:2] == (market, market.version):
            return kept[2]
        parts = [PreparedMessage(part) for part in self.engine.snapshot(market_id)]
        if market is not None:
            self._snapshots[market_id] = market, market.version, parts
        return parts

    def refuse(self, peer: Peer, account: ExchangeAccount, message: Message, seq: int, now: float) -> bool:
        """Refuse a request that is over its session's limit; False if it has no rejection."""
        effects = self.engine.refuse_throttled(
            account, message, seq=seq, now_us=self._wall_clock(), session=peer.session_id
        )
        if effects is None:
            return False
        self.carry(effects, peer, now)
        return True

    def request_without_session(
        self, account: ExchangeAccount, message: Message, seq: int, now: float
    ) -> list[Effect]:
        """Carry out a request of somebody who is not connected (a test, say); return what came of it."""
        effects = self.engine.handle(account, message, seq=seq, now_us=self._wall_clock())
        self.carry(effects, None, now)
        return effects

    def carry(self, effects: Iterable[Effect], requester: Peer | None, now: float) -> None:
        """Bring effects to whom they are for, in order; then have the touched peers written to.

        Being told may cost somebody his connection, and that may have effects of its own: they come behind.
        """
        self._to_carry.append((effects, requester, now))
        if self._is_carrying:
            return
        self._is_carrying = True
        try:
            while self._to_carry:
                self._carry(*self._to_carry.popleft())
        finally:
            self._is_carrying = False

    def _carry(self, effects: Iterable[Effect], requester: Peer | None, now: float) -> None:
        touched: dict[Peer, None] = {}
        for effect in effects:
            audience = self._audience(effect, requester)
            # What goes to many is serialised once.
            message = PreparedMessage(effect.message) if len(audience) > 1 else effect.message
            for peer in audience:
                peer.tell(message, now)
                touched[peer] = None
        for peer in touched:
            peer.wake()

    def _audience(self, effect: Effect, requester: Peer | None) -> list[Peer]:
        if isinstance(effect, ToRequester):
            return [requester] if requester is not None else []
        if isinstance(effect, ToAccount):
            peers = self.audiences.of_account(effect.account.username)
            if self.settings.order_events_to == "session":
                return [peer for peer in peers if peer.session_id in effect.sessions] or peers
            return peers
        assert isinstance(effect, ToMarket)
        return self.audiences.of_market(effect.market_id, effect.message)

    # --- what tests and operators do ---------------------------------------------------------------

    def set_market_state(self, market_id: int, state: seto.MarketStateType, now: float) -> None:
        """Move a market to a state and tell its subscribers.

        Raises:
            UsageError: there is no such market.
        """
        name = seto.MarketStateType.Name(state).removeprefix("MARKET_STATE_")
        self.operate("set_market_state", now, market_id=market_id, state=name)

    def operate(self, verb: str, now: float, **arguments: object) -> None:
        """Carry out a verb of the exchange's staff and tell whom it concerns; see ``engine.VERBS``.

        Raises:
            UsageError: no such verb, wrong arguments, or something they name is not there.
        """
        effects = self.engine.operate(verb, now_us=self._wall_clock(), **arguments)
        if verb == "remove_market":
            market_id = cast("int", arguments["market_id"])
            self.audiences.forget_market(market_id)
            self._snapshots.pop(market_id, None)
        self.carry(effects, None, now)

    def notify_event(
        self,
        event_id: int,
        state: str | int,
        details: str,
        now: float,
        *,
        period: str | int | None = None,
        playtime: int | None = None,
        score_home: int | None = None,
        score_away: int | None = None,
    ) -> int:
        """Tell the subscribers of an event what happens in it; return how many there are.

        States and periods are named without their prefix: SAFE, DANGER, ...; FIRSTHALF, PAUSE, ...

        Raises:
            UsageError: a name or a number that the message cannot carry.
        """
        try:
            notification = seto.RunningballNotification(
                event_id=event_id,
                state=_enum_number(seto.RunningballState, "RUNNINGBALL_STATE_", state),
                details=details,
                playtime=playtime,
                score_home=score_home,
                score_away=score_away,
            )
            if period is not None:
                notification.period = _enum_number(seto.RunningballPeriod, "RUNNINGBALL_PERIOD_", period)
        except (ValueError, TypeError) as error:
            raise UsageError(f"the event cannot be told: {error}") from error
        audience = self.audiences.of_event(event_id)
        prepared = PreparedMessage(notification)
        for peer in audience:
            peer.tell(prepared, now)
            peer.wake()
        return len(audience)

    def limits_for(self, username: str) -> ThrottleLimits:
        """The limits that a session of the account begins with."""
        return self._account_limits.get(username, self._limits)

    def change_limits(
        self,
        now: float,
        *,
        rate: int | None = None,
        burst: int | None = None,
        tick_ms: int | None = None,
        account: str | None = None,
    ) -> ThrottleLimits:
        """Change the throttle's limits, of one account or of all, and tell whom it concerns.

        What is not given stays as it is; a change for all takes those of single accounts back.

        Raises:
            UsageError: no such account, or a figure that the message cannot carry.
        """
        if account is not None:
            self._must_know(account)
        old = self._limits if account is None else self.limits_for(account)
        given = {"rate": rate, "burst": burst, "tick_ms": tick_ms}
        limits = dataclasses.replace(
            old, **{name: figure for name, figure in given.items() if figure is not None}
        )
        if account is None:
            self._limits = limits
            self._account_limits.clear()
        else:
            self._account_limits[account] = limits
        for peer in self.peers if account is None else self.peers_of(account):
            peer.change_limits(limits, now)
        return limits

    def cut(self, username: str, now: float, *, inside: bool = False, away: float | None = None) -> int:
        """Break the account's connections without a word; return how many there were.

        ``inside`` writes the beginning of a frame first. ``away`` refuses its logins for so many
        seconds, so that things can happen while it is gone.
        """
        self._must_know(username)
        if away is not None:
            self.faults.refuse_login(username, until=now + away)
        cut = self.peers_of(username)
        for peer in cut:
            self.truth.record_fault("cut", username, "inside a frame" if inside else "between frames")
            peer.cut(now, inside=inside)
        return len(cut)

    def begin_downtime(self, now: float, *, after: float = 0.0) -> None:
        """Log everybody out with DOWNTIME and refuse logins with it until ``end_downtime``.

        With ``after`` that begins so many seconds from now, and until then only the log tells of it: today's
        schema has no message that announces a downtime.

        Raises:
            UsageError: ``after`` is no length of time.
        """
        if not 0 <= after < math.inf:
            raise UsageError(f"a downtime begins after 0 or more seconds, not {after!r}")
        if after > 0:
            self._downtime_at = now + after
            _log.info(None, "downtime in %g s", after)
            self.alarm()
            return
        self._downtime_at = None
        self.downtime = True
        _log.info(None, "downtime")
        self.log_everybody_out(eto.LOGOUT_DOWNTIME, now)

    @property
    def downtime_at(self) -> float | None:
        """When an announced downtime begins, on the exchange's clock."""
        return self._downtime_at

    def end_downtime(self) -> None:
        """Accept logins again; a downtime that was only announced does not begin."""
        self._downtime_at = None
        self.downtime = False

    def log_out(self, username: str, reason: int | str, now: float) -> int:
        """Log out the account's sessions with a LogoutReason, by number or name; return how many.

        Raises:
            UsageError: no such account or reason.
        """
        self._must_know(username)
        try:
            number = logout_reason(reason)
        except ValueError as error:
            raise UsageError(f"a logout's reason is {error}, not {reason!r}") from None
        peers = self.peers_of(username)
        for peer in peers:
            peer.log_out(number, now)
        return len(peers)

    def log_everybody_out(self, reason: int, now: float) -> None:
        """Send a logout to every peer and close."""
        for peer in self.peers:
            peer.log_out(reason, now)

    def _must_know(self, username: str) -> None:
        if all(account.username != username for account in self.accounts):
            raise UsageError(f"no account here has the user name {username!r}")


def _nobody() -> None:
    """Nobody serves the timers, or somebody who looks at the time himself."""


def _enum_number(enum: Any, prefix: str, value: str | int) -> Any:
    """The number of a name without its prefix; numbers are checked by the message."""
    if isinstance(value, int):
        return value
    names = [name.removeprefix(prefix) for name, _ in enum.items()]
    if value.upper() not in names:
        raise ValueError(f"{value!r} is none of {', '.join(names)}")
    return enum.Value(prefix + value.upper())

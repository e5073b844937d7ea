"""``Exchange``: sessions around the engine, still without I/O.

It knows who is logged in where, remembers sessions for resumption by id, and carries the engine's
effects to the peers they are for. Time comes in as ``now`` (seconds, any clock that never goes back)
and ``now_us`` (microseconds since the epoch, for what is printed on executions).
"""

from __future__ import annotations

import dataclasses
import secrets
import string
import time
from collections.abc import Callable, Iterable

from google.protobuf.message import Message

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.accounts import Accounts, ExchangeAccount
from smarkets_pool.exchange.engine import Effect, Engine, ToAccount, ToMarket, ToRequester
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.peer import Peer
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.protocol import SessionMemory
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Exchange", "RememberedSession"]

_ID_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 18


@dataclasses.dataclass(slots=True)
class RememberedSession:
    """What is kept of a session so that it can be resumed by its id."""

    account: ExchangeAccount
    memory: SessionMemory
    subscriptions: set[int]
    cancel_on_failure: bool
    left_at: float | None = None


class Exchange:
    """Accounts, markets, sessions and faults of one embedded exchange.

    Args:
        wall_clock: microseconds since the epoch.
        clock: seconds, the one that every ``now`` comes from; faults that are asked for read it.
        seed: what faults do by chance is the same for the same one.
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
    ) -> None:
        self.settings = settings if settings is not None else ExchangeSettings()
        self.truth = Truth(self.settings.truth_limit)
        self.accounts = accounts
        self.faults = Faults(self.truth, seed, clock)
        self.faults.ground = self
        self.engine = Engine(self.settings, self.truth, accounts, markets)
        self.peers: list[Peer] = []
        self.downtime = False
        self._wall_clock = wall_clock
        self._sessions: dict[str, RememberedSession] = {}
        self._numbers = 0
        self._sweep_at = 64

    def __repr__(self) -> str:
        return f"<Exchange {len(self.peers)} connections, {self.engine!r}>"

    def peers_of(self, username: str) -> list[Peer]:
        """The logged-in connections of an account."""
        return [peer for peer in self.peers if peer.username == username]

    # --- connections -----------------------------------------------------------------------------

    def connect(self, now: float, wake: Callable[[Peer], None]) -> Peer:
        """A client has connected; ``wake(peer)`` is called when there is something to write to it."""
        self._numbers += 1
        peer = Peer(self, self._numbers, now, wake)
        self.peers.append(peer)
        return peer

    def left(self, peer: Peer, now: float, *, in_order: bool) -> None:
        """A peer's connection is over; ``in_order`` if it had logged out."""
        if peer in self.peers:
            self.peers.remove(peer)
        account = peer.account
        if account is None:
            return
        account.online -= 1
        session = self._sessions.get(peer.session_id)
        if session is not None and session.memory is peer.protocol.memory:
            session.left_at = now
            session.cancel_on_failure = peer.cancel_on_failure
            if in_order:
                del self._sessions[peer.session_id]
        if peer.cancel_on_failure and not in_order:
            self.operate("cancel_all", now, account=account.username)

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
        self._sessions[session_id] = RememberedSession(
            account, peer.protocol.memory, peer.subscriptions, cancel_on_failure=False
        )
        return session_id

    def _forget_old_sessions(self, now: float) -> None:
        """Looks at all of them each time their number has doubled: little work per session."""
        if len(self._sessions) < self._sweep_at:
            return
        for session_id, session in list(self._sessions.items()):
            if session.left_at is not None and now - session.left_at > self.settings.session_memory:
                del self._sessions[session_id]
        self._sweep_at = 2 * len(self._sessions) + 64

    def resume_session(
        self, session_id: str, account: ExchangeAccount, now: float
    ) -> RememberedSession | None:
        """The session of that id, if it is this account's and not forgotten; who held it is closed."""
        session = self._sessions.get(session_id)
        if session is None or session.account is not account:
            return None
        if session.left_at is not None and now - session.left_at > self.settings.session_memory:
            del self._sessions[session_id]
            return None
        for peer in list(self.peers):
            if peer.session_id == session_id:
                peer.cancel_on_failure = False  # it has not failed: it goes on over there
                peer.abort(now, "its session was resumed over another connection")
        session.left_at = None
        return session

    # --- requests and effects --------------------------------------------------------------------

    def request(self, peer: Peer, account: ExchangeAccount, message: Message, seq: int, now: float) -> None:
        """Carry out a request of a logged-in peer."""
        effects = self.engine.handle(
            account, message, seq=seq, now_us=self._wall_clock(), session=peer.session_id
        )
        self.carry(effects, peer, now)

    def request_without_session(
        self, account: ExchangeAccount, message: Message, seq: int, now: float
    ) -> list[Effect]:
        """Carry out a request of somebody who is not connected (a test, say); return what came of it."""
        effects = self.engine.handle(account, message, seq=seq, now_us=self._wall_clock())
        self.carry(effects, None, now)
        return effects

    def carry(self, effects: Iterable[Effect], requester: Peer | None, now: float) -> None:
        """Bring effects to whom they are for, in order; then have the touched peers written to."""
        touched: dict[Peer, None] = {}
        for effect in effects:
            for peer in self._audience(effect, requester):
                peer.send(effect.message, now)
                touched[peer] = None
        for peer in touched:
            peer.wake()

    def _audience(self, effect: Effect, requester: Peer | None) -> list[Peer]:
        if isinstance(effect, ToRequester):
            return [requester] if requester is not None else []
        if isinstance(effect, ToAccount):
            return [peer for peer in self.peers if peer.account is effect.account]
        assert isinstance(effect, ToMarket)
        return [peer for peer in self.peers if effect.market_id in peer.subscriptions]

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
        self.carry(self.engine.operate(verb, now_us=self._wall_clock(), **arguments), None, now)

    def cut(self, username: str, now: float, *, inside: bool = False, away: float | None = None) -> int:
        """Break the account's connections without a word; return how many there were.

        ``inside`` writes the beginning of a frame first. ``away`` refuses its logins for so many
        seconds, so that things can happen while it is gone.
        """
        if all(account.username != username for account in self.accounts):
            raise UsageError(f"no account here has the user name {username!r}")
        if away is not None:
            self.faults.refuse_login(username, until=now + away)
        cut = [peer for peer in self.peers if peer.account is not None and peer.account.username == username]
        for peer in cut:
            self.truth.record_fault("cut", username, "inside a frame" if inside else "between frames")
            peer.cut(now, inside=inside)
        return len(cut)

    def begin_downtime(self, now: float) -> None:
        """Log everybody out with DOWNTIME and refuse logins with it until ``end_downtime``."""
        self.downtime = True
        self.log_everybody_out(eto.LOGOUT_DOWNTIME, now)

    def end_downtime(self) -> None:
        """Accept logins again."""
        self.downtime = False

    def log_everybody_out(self, reason: int, now: float) -> None:
        """Send a logout to every logged-in peer and close."""
        for peer in list(self.peers):
            peer.log_out(reason, now)

    def next_deadline(self) -> float | None:
        """When ``handle_timers`` has something to do next, on the clock that ``now`` comes from."""
        deadlines = (peer.next_deadline() for peer in self.peers)
        return min((due for due in deadlines if due is not None), default=None)

    def handle_timers(self, now: float) -> None:
        """Serve every peer whose deadline has come; called often."""
        for peer in list(self.peers):
            peer.handle_timer(now)

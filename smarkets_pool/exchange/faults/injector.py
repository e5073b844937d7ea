"""``Faults``: what the embedded exchange does wrong on purpose.

A fault is asked for by a method of its name, or by its text form with ``apply``. Some happen at once
(``garbage``, ``half_open``), some wait for what they happen to (``drop`` for frames, ``slow_login`` for a
login). Each is recorded in the truth when it happens, not when it is asked for.
"""

from __future__ import annotations

import difflib
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.accounts import Accounts
from smarkets_pool.exchange.faults.armed import FRAME_FAULTS, Armed, Plan
from smarkets_pool.exchange.faults.table import ANYBODY, Fault, kind_of, parse_fault
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.wire.framing import encode_frame, encode_uleb128
from smarkets_pool.wire.schema import eto_pb2 as eto

if TYPE_CHECKING:
    from smarkets_pool.exchange.peer import Peer

__all__ = ["Faults", "Ground", "House"]

_REPLAYS = frozenset({"replay_late", "replay_wrong", "replay_partial", "replay_never"})
#: The length header of a frame of 16 GiB: above what any side can be told to accept.
_OVERSIZE = encode_uleb128(2**34)
_UNPARSABLE = encode_frame(b"\xff\xff\xff\xff")


class Ground(Protocol):
    """What faults happen to: the exchange."""

    @property
    def accounts(self) -> Accounts:
        """Everybody who could be meant."""

    @property
    def peers(self) -> Sequence[Peer]:
        """Every connection."""

    def peers_of(self, username: str) -> list[Peer]:
        """The logged-in connections of an account."""


class House(Protocol):
    """What is around the exchange: its socket, its certificate, its life."""

    def serve_certificate(self, kind: str) -> None:
        """Show new connections this one."""

    def restart(self, *, keep: str, away: float) -> None:
        """Go, and come again on the same port."""


class Faults:
    """The faults of one exchange.

    Args:
        seed: what happens by chance (``probability``, the bytes of ``garbage``) is the same for the same one.
        clock: seconds, the clock that the exchange is given.

    Attributes:
        ground: the exchange, once there is one. house: its server, if it has one.
    """

    def __init__(self, truth: Truth, seed: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.ground: Ground | None = None
        self.house: House | None = None
        self._truth = truth
        self._clock = clock
        self._armed = Armed(seed)
        self._chance = random.Random(seed)
        self._actions: dict[str, Callable[..., int]] = {
            "refuse_login": self._refuse_login,
            "refuse_connection": self._refuse_connection,
            "cut": self._cut,
            "garbage": self._garbage,
            "oversize": self._oversize,
            "unparsable": self._unparsable,
            "unknown_type": self._unknown_type,
            "half_open": self._half_open,
            "stop_reading": self._stop_reading,
            "ask_replay": self._ask_replay,
            "shorten_history": self._shorten_history,
            "certificate": self._certificate,
            "mass_disconnect": self._mass_disconnect,
            "restart": self._restart,
        }

    def __repr__(self) -> str:
        return f"<Faults {self.waiting()}>"

    # --- asking for one ---------------------------------------------------------------------------

    def apply(self, text: str) -> int:
        """Do what a text such as ``"drop account=ann frames=3"`` says; return how much it hit at once.

        Raises:
            UsageError: it is no fault, its account is nobody's, or this exchange cannot have it.
        """
        return self._do(parse_fault(text))

    def inject(self, name: str, **arguments: Any) -> int:
        """The same for a name and plain data."""
        kind = kind_of(name)
        return self._do(Fault(kind, kind.check(arguments)))

    def waiting(self) -> list[str]:
        """The text forms of what waits for its moment, oldest first."""
        self._armed.expire(self._clock())
        return [str(plan) for plan in self._armed.plans()]

    def clear(self, account: str | None = None) -> int:
        """Take back what waits, for one account or for all; return how much it was."""
        return self._armed.clear(account)

    # --- frames -----------------------------------------------------------------------------------

    def drop(
        self, account: str, frames: int = 1, *, names: Iterable[str] = ("seto.*",), probability: float = 1.0
    ) -> int:
        """Lose the next ``frames`` frames to the account: numbered, but never written."""
        return self.inject("drop", account=account, frames=frames, names=list(names), probability=probability)

    def duplicate(
        self, account: str, frames: int = 1, *, names: Iterable[str] = ("seto.*",), probability: float = 1.0
    ) -> int:
        """Write the next ``frames`` frames twice."""
        return self.inject(
            "duplicate", account=account, frames=frames, names=list(names), probability=probability
        )

    def reorder(self, account: str, frames: int = 1, *, names: Iterable[str] = ("seto.*",)) -> int:
        """Have the next ``frames`` frames follow the one after them."""
        return self.inject("reorder", account=account, frames=frames, names=list(names))

    def delay(
        self, account: str, seconds: float = 1.0, *, frames: int = 1, names: Iterable[str] = ("seto.*",)
    ) -> int:
        """Hold the next ``frames`` frames, and everything behind them, for so long."""
        return self.inject("delay", account=account, seconds=seconds, frames=frames, names=list(names))

    def drip(
        self,
        account: str,
        size: int = 1,
        seconds: float = 0.1,
        *,
        frames: int = 1,
        names: Iterable[str] = ("seto.*",),
    ) -> int:
        """Write the next ``frames`` frames in pieces of ``size`` bytes, ``seconds`` apart."""
        return self.inject(
            "drip", account=account, size=size, seconds=seconds, frames=frames, names=list(names)
        )

    def skip(self, account: str, numbers: int = 1) -> int:
        """Leave ``numbers`` sequence numbers out before the next seto frame to the account."""
        return self.inject("skip", account=account, numbers=numbers)

    # --- bytes that nobody expects ----------------------------------------------------------------

    def garbage(self, account: str, size: int = 64) -> int:
        """Write random bytes between two frames."""
        return self.inject("garbage", account=account, size=size)

    def oversize(self, account: str) -> int:
        """Write a header that announces a frame above any limit."""
        return self.inject("oversize", account=account)

    def unparsable(self, account: str) -> int:
        """Write a frame whose payload is none."""
        return self.inject("unparsable", account=account)

    def unknown_type(self, account: str) -> int:
        """Write a numbered payload of a type newer than the schema."""
        return self.inject("unknown_type", account=account)

    # --- connections ------------------------------------------------------------------------------

    def cut(
        self,
        account: str,
        where: str = "now",
        *,
        names: Iterable[str] = ("seto.*",),
        away: float | None = None,
    ) -> int:
        """Break the account's connections: at once, or before, inside or after the next such frame."""
        return self.inject("cut", account=account, where=where, names=list(names), away=away)

    def half_open(self, account: str, seconds: float | None = None) -> int:
        """Neither read from the account's connections nor write to them; they stay."""
        return self.inject("half_open", account=account, seconds=seconds)

    def stop_reading(self, account: str, seconds: float | None = None) -> int:
        """Read nothing from the account's connections."""
        return self.inject("stop_reading", account=account, seconds=seconds)

    def refuse_connection(self, times: int | None = None, seconds: float | None = None) -> int:
        """Reset the next connections as soon as they are there."""
        return self.inject("refuse_connection", times=times, seconds=seconds)

    def mass_disconnect(self) -> int:
        """Break every connection there is."""
        return self.inject("mass_disconnect")

    def certificate(self, kind: str = "expired") -> int:
        """Show new connections another certificate."""
        return self.inject("certificate", kind=kind)

    def restart(self, keep: str = "all", away: float = 0.0) -> int:
        """Have the exchange go and come again on its port."""
        return self.inject("restart", keep=keep, away=away)

    # --- logins and replays -----------------------------------------------------------------------

    def refuse_login(
        self,
        account: str,
        reason: int | str = eto.LOGOUT_SERVICE_TEMPORARILY_UNAVAILABLE,
        until: float | None = None,
        *,
        seconds: float | None = None,
        times: int | None = None,
    ) -> int:
        """Answer the account's logins with a logout of that reason.

        ``seconds`` from now, ``until`` the exchange's clock says so, or so many ``times``; else for good.
        """
        if until is not None:
            seconds = max(0.0, until - self._clock())
        return self.inject("refuse_login", account=account, reason=reason, seconds=seconds, times=times)

    def admit_login(self, account: str) -> None:
        """Take ``refuse_login`` back, and what a ``cut`` with ``away`` left of it."""
        self._armed.clear(account, {"refuse_login"})

    def slow_login(self, account: str, seconds: float = 1.0, times: int = 1) -> int:
        """Answer the account's next logins late."""
        return self.inject("slow_login", account=account, seconds=seconds, times=times)

    def replay_late(self, account: str, seconds: float = 1.0, times: int = 1) -> int:
        """Answer the account's next replay requests late."""
        return self.inject("replay_late", account=account, seconds=seconds, times=times)

    def replay_wrong(self, account: str, times: int = 1) -> int:
        """Answer them from the number behind the asked one."""
        return self.inject("replay_wrong", account=account, times=times)

    def replay_partial(self, account: str, numbers: int = 1, times: int = 1) -> int:
        """Answer them with the first ``numbers`` frames only."""
        return self.inject("replay_partial", account=account, numbers=numbers, times=times)

    def replay_never(self, account: str, times: int = 1) -> int:
        """Do not answer them."""
        return self.inject("replay_never", account=account, times=times)

    def ask_replay(self, account: str, back: int = 1) -> int:
        """Ask the account's clients for the last ``back`` numbers again."""
        return self.inject("ask_replay", account=account, back=back)

    def shorten_history(self, account: str, events: int = 0) -> int:
        """Forget all but the newest ``events`` events of the account."""
        return self.inject("shorten_history", account=account, events=events)

    # --- asked by who is about to do it -----------------------------------------------------------

    def may_hit_frames(self, account: str) -> bool:
        """Whether frames to the account have to be looked at one by one."""
        return self._armed.may_hit(account)

    def take_frame(self, account: str, frame: str) -> Plan | None:
        """What happens to the frame of that payload name on its way to the account."""
        return self._armed.take(FRAME_FAULTS, account, self._clock(), frame=frame)

    def takes_skip(self, account: str) -> int:
        """How many numbers are left out before the frame that is about to be sent."""
        numbers = 0
        while (plan := self._armed.take({"skip"}, account, self._clock())) is not None:
            numbers += plan["numbers"]
        if numbers:
            self.record("skip", account, f"{numbers} numbers")
        return numbers

    def refusal(self, account: str) -> int | None:
        """The reason with which the login that has come is refused, or None."""
        plan = self._armed.take({"refuse_login"}, account, self._clock())
        if plan is None:
            return None
        reason: int = plan["reason"]
        self.record("refuse_login", account, eto.LogoutReason.Name(reason))
        return reason

    def login_delay(self, account: str) -> float | None:
        """How late the login that has come is answered, or None."""
        plan = self._armed.take({"slow_login"}, account, self._clock())
        if plan is None:
            return None
        seconds: float = plan["seconds"]
        self.record("slow_login", account, f"{seconds:g} s")
        return seconds

    def take_replay(self, account: str, first: int) -> Plan | None:
        """What happens to the answer to a replay request."""
        plan = self._armed.take(_REPLAYS, account, self._clock())
        if plan is not None:
            self.record(plan.name, account, f"asked for {first}")
        return plan

    def refuses_connection(self) -> bool:
        """Whether the connection that has come is reset."""
        if self._armed.take({"refuse_connection"}, ANYBODY, self._clock()) is None:
            return False
        self.record("refuse_connection", "", "")
        return True

    def keep_away(self, account: str, seconds: float) -> None:
        """Refuse the account's logins for so long."""
        self.refuse_login(account, seconds=seconds)

    def record(self, name: str, account: str, detail: str) -> None:
        """Note in the truth that a fault happened."""
        self._truth.record_fault(name, account, detail)

    # --- doing it ---------------------------------------------------------------------------------

    def _do(self, fault: Fault) -> int:
        account = fault.values.get("account")
        if account is not None:
            self._check_account(account)
        action = self._actions.get(fault.kind.name)
        if action is not None:
            return action(fault)
        values = fault.values
        self._armed.add(fault, left=values.get("frames") or values.get("times") or 1)
        return 0

    def _check_account(self, account: str) -> None:
        if account == ANYBODY or self.ground is None:
            return
        names = [known.username for known in self.ground.accounts]
        if account not in names:
            near = difflib.get_close_matches(account, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {len(names)}, {names[0]} the first"
            raise UsageError(f"no account here has the user name {account!r}; {hint}")

    def _peers(self, fault: Fault) -> list[Peer]:
        if self.ground is None:
            return []
        account: str = fault.values["account"]
        if account != ANYBODY:
            return self.ground.peers_of(account)
        return [peer for peer in self.ground.peers if peer.account is not None]

    def _each(self, fault: Fault, detail: str, do: Callable[[Peer, float], object]) -> int:
        """Do something to every connection that is meant; recorded for each."""
        peers, now = self._peers(fault), self._clock()
        for peer in peers:
            self.record(fault.kind.name, peer.username, detail)
            do(peer, now)
        return len(peers)

    def _refuse_login(self, fault: Fault) -> int:
        seconds, times = fault.values["seconds"], fault.values["times"]
        # The newest refusal of an account is the one that counts.
        self._armed.clear(fault.values["account"], {"refuse_login"})
        self._armed.add(fault, left=times, until=None if seconds is None else self._clock() + seconds)
        return 0

    def _refuse_connection(self, fault: Fault) -> int:
        seconds, times = fault.values["seconds"], fault.values["times"]
        until = None if seconds is None else self._clock() + seconds
        self._armed.add(fault, left=1 if times is None and until is None else times, until=until)
        return 0

    def _cut(self, fault: Fault) -> int:
        if fault.values["where"] != "now":
            self._armed.add(fault, left=1)
            return 0
        away = fault.values["away"]
        if away is not None:
            self.keep_away(fault.values["account"], away)
        return self._each(fault, "between frames", lambda peer, now: peer.cut(now, inside=False))

    def _garbage(self, fault: Fault) -> int:
        size = fault.values["size"]
        return self._each(
            fault, f"{size} bytes", lambda peer, now: peer.write_raw(self._chance.randbytes(size), now)
        )

    def _oversize(self, fault: Fault) -> int:
        return self._each(fault, "16 GiB announced", lambda peer, now: peer.write_raw(_OVERSIZE, now))

    def _unparsable(self, fault: Fault) -> int:
        return self._each(fault, "4 bytes of 255", lambda peer, now: peer.write_raw(_UNPARSABLE, now))

    def _unknown_type(self, fault: Fault) -> int:
        return self._each(fault, "type 127", lambda peer, now: peer.send_unknown_type(now))

    def _half_open(self, fault: Fault) -> int:
        seconds = fault.values["seconds"]
        return self._each(fault, _for(seconds), lambda peer, now: peer.half_open(now, seconds))

    def _stop_reading(self, fault: Fault) -> int:
        seconds = fault.values["seconds"]
        return self._each(fault, _for(seconds), lambda peer, now: peer.stop_reading(now, seconds))

    def _ask_replay(self, fault: Fault) -> int:
        back = fault.values["back"]
        return self._each(fault, f"{back} back", lambda peer, now: peer.ask_replay(back, now))

    def _shorten_history(self, fault: Fault) -> int:
        wanted, events = fault.values["account"], fault.values["events"]
        for account in self.ground.accounts if self.ground is not None else ():
            if wanted not in (ANYBODY, account.username):
                continue
            lost = account.shorten_history(events)
            self.record("shorten_history", account.username, f"{lost} events forgotten")
        return 0

    def _mass_disconnect(self, fault: Fault) -> int:
        peers, now = list(self.ground.peers) if self.ground is not None else [], self._clock()
        for peer in peers:
            self.record("mass_disconnect", peer.username, "between frames")
            peer.cut(now, inside=False)
        return len(peers)

    def _certificate(self, fault: Fault) -> int:
        self._housed(fault).serve_certificate(fault.values["kind"])
        return 0

    def _restart(self, fault: Fault) -> int:
        house = self._housed(fault)
        connections = len(self.ground.peers) if self.ground is not None else 0
        self.record("restart", "", f"keeping {fault.values['keep']}")
        house.restart(keep=fault.values["keep"], away=fault.values["away"])
        return connections

    def _housed(self, fault: Fault) -> House:
        if self.house is None:
            raise UsageError(f"this exchange has no socket, and so no {fault.kind.name}")
        return self.house


def _for(seconds: float | None) -> str:
    return "for good" if seconds is None else f"for {seconds:g} s"

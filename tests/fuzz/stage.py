"""``Stage``: an exchange without sockets, honest witnesses, and whoever means it harm.

A ``Witness`` is an honest client that knows the protocol by itself (it shares no code with the exchange but
the generated messages): its numbers must be gapless, its account's events too, every request of its
own must be answered at once, and nothing that others do may cost it the connection. A ``Stranger`` sends
what the case tells him. After each step ``Stage.check`` looks at everything that must hold meanwhile.
"""

from __future__ import annotations

import logging
from typing import Any

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.peer import Peer
from smarkets_pool.wire.payloads import payload_name
from tests.fuzz.frames import Known, framed
from tests.fuzz.invariants import Finding, check_books, check_bounds, check_money, check_time
from tests.rig.ends import cut
from tests.rig.peers import Floor

__all__ = ["Finding", "Stage", "Stranger", "Witness"]

#: Below the shortest silence limit a case may set, so that a witness is never silent for too long.
STEP_SECONDS = 2.0
#: What a log line may have; what a client sent must not make it longer, or begin another one.
LONGEST_LINE = 600
#: What one call may give for the little that a case sends.
MOST_AT_ONCE = 4 << 20
SECRETS = ("pw-", "token-")

_ANSWERS = {
    "order_create": ("order_accepted", "order_rejected", "order_invalid"),
    "order_cancel": ("order_cancelled", "order_cancel_rejected"),
    "order_cancel_all": ("order_cancel_all_accepted", "order_cancel_all_rejected"),
    "order_quantity_reduce": ("order_quantity_reduced", "order_quantity_reduce_rejected"),
    "order_cancel_replace": (
        "order_cancel_replace_accepted",
        "order_cancel_replace_rejected",
        "order_cancel_rejected",
        "order_invalid",
    ),
    "settings": ("settings_accepted",),
    "market_subscribe": ("market_quotes",),
}


class _Lines(logging.Handler):
    """What the exchange has logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.levelno, record.getMessage()))


class _Caller:
    """One connection, whoever it is."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.peer: Peer = stage.exchange.connect(stage.now, lambda peer: None)
        self.bytes_in = self.bytes_out = 0

    def feed(self, data: bytes) -> None:
        """Have the exchange receive this; nothing may leave it but what it writes."""
        self.bytes_in += len(data)
        try:
            self.peer.receive(data, self.stage.now)
        except Exception as error:
            raise Finding(f"receive raised {error!r} for {data[:64].hex(' ')}...") from error

    def take(self) -> bytes:
        """What the exchange has written."""
        data = self.peer.data_to_send()
        self.bytes_out += len(data)
        if len(data) > MOST_AT_ONCE:
            raise Finding(f"{len(data)} bytes at once for {self.bytes_in} bytes in all")
        return data


class Witness(_Caller):
    """An honest client, logged in from the beginning to the end."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(stage)
        self.name = name
        self.account = stage.exchange.accounts[name]
        self.next_in = self.next_out = 1
        self.next_event = self.account.next_account_sequence
        self.orders: list[int] = []
        self.asked = 0
        login = seto.Payload(type=seto.PAYLOAD_LOGIN)
        login.eto_payload.type = eto.PAYLOAD_LOGIN
        login.login.username, login.login.password = name, "pw-" + name
        names = [payload_name(payload) for payload in self._say(login)]
        if names[:2] != ["eto.login_response", "seto.throttle_limits_changed"]:
            raise Finding(f"{name} could not log in: {names}")

    # --- talking ---

    def _say(self, payload: seto.Payload) -> list[seto.Payload]:
        payload.eto_payload.seq = self.next_out
        self.next_out += 1
        self.hear()
        self.feed(framed(payload.SerializeToString()))
        return self.hear()

    def hear(self) -> list[seto.Payload]:
        """What came, each number of it the next one."""
        data = self.take()
        found = [seto.Payload.FromString(body) for body in cut(data)]
        for payload in found:
            if payload.eto_payload.seq != self.next_in:
                raise Finding(f"{self.name} expected number {self.next_in} and got\n{payload}")
            self.next_in += 1
            self._note(payload)
        if self.peer.closing:
            raise Finding(f"{self.name} lost its connection: {self.stage.lines_of(self.peer)}")
        return found

    def _note(self, payload: seto.Payload) -> None:
        name = payload_name(payload).partition(".")[2]
        message: Any = getattr(payload, name, None)
        if name == "order_accepted":
            self.orders = [*self.orders[-7:], message.order_id]
        if getattr(message, "account_sequence_64", 0):
            if message.account_sequence_64 != self.next_event and not self.stage.by_session:
                raise Finding(f"{self.name} expected event {self.next_event} and got\n{payload}")
            self.next_event = message.account_sequence_64 + 1

    # --- requests ---

    def heartbeat(self) -> None:
        """Say that it is there."""
        payload = seto.Payload(type=seto.PAYLOAD_ETO)
        payload.eto_payload.type = eto.PAYLOAD_HEARTBEAT
        self._say(payload)

    def ping(self) -> None:
        """Ping; there is one pong, or it was too much."""
        payload = seto.Payload(type=seto.PAYLOAD_ETO)
        payload.eto_payload.type = eto.PAYLOAD_PING
        self.asked += 1
        names = [payload_name(answer) for answer in self._say(payload)]
        answered = names.count("eto.pong") + names.count("eto.throttle_exceeded")
        if answered != 1 and not self.stage.silently_throttled:
            raise Finding(f"{self.name} pinged and got {names}")

    def ask(self, name: str, message: Any) -> None:
        """Send a request; what answers it must have come."""
        payload = seto.Payload(type=seto.PayloadType.Value(f"PAYLOAD_{name.upper()}"))
        getattr(payload, name).CopyFrom(message)
        number = self.next_out
        self.asked += 1
        found = self._say(payload)
        names = [payload_name(answer).partition(".")[2] for answer in found]
        if not any(self._answers(name, message, number, answer) for answer in found) and not (
            name not in ("order_create", "order_cancel") and self._may_be_silent(name, names)
        ):
            raise Finding(f"{self.name} asked {name} and got {names}")

    def _may_be_silent(self, name: str, names: list[str]) -> bool:
        if "throttle_exceeded" in names or self.stage.silently_throttled:
            return name in ("settings", "market_subscribe")
        return name not in _ANSWERS

    def _answers(self, name: str, message: Any, number: int, answer: seto.Payload) -> bool:
        kind = payload_name(answer).partition(".")[2]
        if kind not in _ANSWERS.get(name, ()):
            return False
        details: Any = getattr(answer, kind)
        if name == "order_create":
            return details.seq == number or not details.HasField("seq")
        if name in ("order_cancel", "order_quantity_reduce"):
            return bool(details.order_id == message.order_id)
        if name == "market_subscribe":
            return bool(details.market_id == message.market_id)
        return True


class Stranger(_Caller):
    """A connection that the case speaks for; ``repeats`` are his last frames."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.repeats: list[bytes] = []
        self.reads = True
        self.hung_up = False

    @property
    def next_seq(self) -> int:
        """The number the exchange expects of him."""
        return self.peer.protocol.inseq

    def say(self, frame: bytes) -> None:
        """Send a frame, and remember it."""
        self.repeats = [*self.repeats[-3:], frame]
        self.feed(frame)

    def listen(self) -> None:
        """Take what was written, if he reads at all."""
        if self.reads:
            self.take()

    def hang_up(self) -> None:
        """The connection is gone."""
        self.hung_up = True
        self.peer.lost(self.stage.now)


class Stage:
    """All of it, with the checks."""

    def __init__(self, **settings: Any) -> None:
        self.floor = Floor(**settings)
        self.exchange = self.floor.exchange
        registry = self.exchange.accounts
        for name in ("eve", "mal"):
            registry.add(name, "pw-" + name, "token-" + name)
        values = self.exchange.settings
        self.by_session = values.order_events_to == "session"
        self.silently_throttled = values.throttle_unanswered == "silence"
        self.total_points = sum(account.cash_points for account in registry)
        self.strangers: list[Stranger] = []
        self.witnesses: list[Witness] = []
        self.known = Known()
        insiders = ("eve", "mal") if values.sessions_per_account == "newest" else ("eve", "mal", "bob")
        self.known.logins = [(name, "pw-" + name, "token-" + name) for name in insiders]
        self.closed = 0
        self._explained: set[int] = set()
        self._lines = _Lines()
        self._logger = logging.getLogger("smarkets_pool")

    def __enter__(self) -> Stage:
        self._before = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        self._logger.addHandler(self._lines)
        self.witnesses = [Witness(self, name) for name in ("ann", "bob")]
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self._lines)
        self._logger.level, self._logger.propagate = self._before

    @property
    def now(self) -> float:
        """The exchange's clock."""
        return self.floor.now

    # --- what happens ---

    def stranger(self) -> Stranger:
        """Somebody new connects."""
        stranger = Stranger(self)
        self.strangers.append(stranger)
        return stranger

    def wait(self, seconds: float) -> None:
        """Time goes by; the witnesses say now and then that they are there."""
        end = self.now + seconds
        while self.now < end:
            self.floor.wait(min(STEP_SECONDS, end - self.now))
            for witness in self.witnesses:
                witness.heartbeat()
            for stranger in self.strangers:
                stranger.listen()

    def operate(self, verb: str, **arguments: object) -> None:
        """The staff does something; what cannot be done is refused and changes nothing."""
        try:
            self.exchange.operate(verb, self.now, **arguments)
        except UsageError:
            return
        except Exception as error:
            raise Finding(f"{verb} {arguments} raised {error!r}") from error

    def inject(self, fault: str, arguments: dict[str, Any]) -> None:
        """Something goes wrong on purpose."""
        try:
            self.exchange.faults.inject(fault, **arguments)
        except UsageError as error:
            raise AssertionError(f"the case asks for a fault that there is not: {error}") from error
        except Exception as error:
            raise Finding(f"fault {fault} {arguments} raised {error!r}") from error

    def lines_of(self, peer: Peer) -> list[str]:
        """What was logged about a connection."""
        mark = f"connection {peer.number}: "
        return [text for _, text in self._lines.records if mark in text]

    # --- what must hold ---

    def check(self) -> None:
        """After a step: everybody else goes on, and the exchange is sound."""
        for witness in self.witnesses:
            witness.hear()
        for stranger in self.strangers:
            stranger.listen()
            self._check_end(stranger)
        self.strangers = [stranger for stranger in self.strangers if not stranger.peer.closing]
        self._check_log()
        check_money(self.exchange, self.total_points)
        check_books(self.exchange)
        check_bounds(self.exchange)
        check_time(self.exchange, self.now)
        self.known.orders = [
            order_id
            for account in self.exchange.accounts
            for order_id in (*list(account.orders)[-2:], *list(account.live_orders)[-2:])
            if account.username in ("eve", "mal")
        ]
        self.known.sessions = [stranger.peer.session_id for stranger in self.strangers[-3:]]

    def _check_end(self, stranger: Stranger) -> None:
        peer = stranger.peer
        if not peer.closing or peer.number in self._explained:
            return
        self._explained.add(peer.number)
        self.closed += 1
        if not stranger.hung_up and not self.lines_of(peer):
            raise Finding(f"{peer} was closed and no log line says why")

    def _check_log(self) -> None:
        for level, text in self._lines.records:
            if level >= logging.ERROR:
                raise Finding(f"logged as an error: {text}")
            if not text.isprintable() or len(text) > LONGEST_LINE:
                raise Finding(f"a log line that a client can forge or stretch: {text[:2000]!r}")
            if any(secret in text for secret in SECRETS):
                raise Finding(f"a secret in the log: {text!r}")
        if len(self._lines.records) > 200:
            del self._lines.records[:100]

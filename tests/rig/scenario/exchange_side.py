"""The exchange under test, without sockets: the script is all its clients, on a clock moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from smarkets_pool.exceptions import Error
from smarkets_pool.exchange import Exchange, ExchangeSettings
from smarkets_pool.exchange.accounts import Accounts
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.peer import Peer
from tests.rig.scenario.framing import FrameCutter
from tests.rig.scenario.language import Connect, Fault, Head, Manner, Operate, Program, Truth
from tests.rig.scenario.matching import compare_plain
from tests.rig.scenario.messages import Scope
from tests.rig.scenario.sides import Heard, Unsaid
from tests.rig.scenario.values import Group, ListOf, Mistake, Value, Word

__all__ = ["ExchangeSide", "exchange_settings", "plain"]

START = 1000.0


def plain(value: Value, scope: Scope) -> Any:
    """A value as the plain data that verbs take: numbers, texts, yes or no, lists."""
    if isinstance(value, ListOf):
        return [plain(item, scope) for item in value.items]
    if isinstance(value, Group):
        return {name: plain(item, scope) for name, item in value.fields.items()}
    if value.capture is not None:
        name, more = value.capture
        if name not in scope:
            raise Mistake(f"${name} was not captured before")
        return scope[name] + more if more else scope[name]
    if value.quoted:
        return value.text
    if value.text in ("none", "None"):
        return None
    try:
        return json.loads(value.text.replace("_", "") if value.text[0].isdigit() else value.text)
    except ValueError:
        return value.text


def exchange_settings(fields: dict[str, Value]) -> ExchangeSettings:
    """The settings that a script's head writes."""
    values = {name: plain(value, {}) for name, value in fields.items()}
    if "opening_balance" in values:
        values["opening_balance"] = Decimal(str(fields["opening_balance"]).replace("_", ""))
    return ExchangeSettings(**values)


#: What the exchange around the engine does itself.
_FRONT_VERBS: dict[str, Callable[..., object]] = {
    "begin_downtime": lambda exchange, now, **arguments: exchange.begin_downtime(now, **arguments),
    "end_downtime": lambda exchange, now: exchange.end_downtime(),
}


def _fault_text(step: Fault, scope: Scope) -> str:
    """The one text form, with what was captured put in."""
    return " ".join(
        [step.name, *(f"{name}={_plain_text(value, scope)}" for name, value in step.fields.items())]
    )


def _plain_text(value: Value, scope: Scope) -> str:
    return str(plain(value, scope)) if isinstance(value, Word) and value.capture else str(value)


class _Client:
    """One connection as the script sees it."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.cutter = FrameCutter()
        self.heard: list[Heard] = []
        self.over = False
        self.held: bytes | None = None
        self.pieces = 0


class ExchangeSide:
    """An exchange with the accounts and markets of the script's head."""

    hears = ">"
    pings_after_login = False

    def __init__(self, head: Head) -> None:
        self._now = START
        settings = exchange_settings(head.settings)
        registry = Accounts(settings)
        for name in head.accounts:
            registry.add(name, "pw-" + name, "token-" + name)
        self.exchange = Exchange(
            accounts=registry,
            markets=[Market(market_id, contract_ids) for market_id, contract_ids in head.markets.items()],
            wall_clock=lambda: int(self._now * 1_000_000),
            settings=settings,
        )
        self._clients: dict[str, _Client] = {}
        self._faults_read = 0

    def now(self) -> float:
        return self._now - START

    def secrets(self) -> Scope:
        return {}

    def begin_login(self, who: str) -> None:
        self.connect(who, None)

    def end_login(self, who: str) -> None:
        """Nothing is left to do."""

    # --- connections ------------------------------------------------------------------------------

    def connect(self, who: str, step: Connect | None) -> None:
        self._clients[who] = _Client(self.exchange.connect(self._now, lambda peer: None))
        self._pump()

    def say(self, who: str, data: bytes) -> None:
        client = self._clients[who]
        if client.over:
            raise Unsaid("the connection is closed already", "nothing can be said")
        if client.held is not None:
            client.held += data
            return
        size = client.pieces or len(data)
        for begin in range(0, len(data), size):
            client.peer.receive(data[begin : begin + size], self._now)
            self._pump()

    def hang_up(self, who: str) -> None:
        client = self._clients[who]
        client.over = True
        client.peer.lost(self._now)
        self._pump()

    def heard(self, who: str) -> list[Heard]:
        client = self._clients[who]
        found, client.heard = client.heard, []
        return found

    def _pump(self) -> None:
        for client in self._clients.values():
            data = client.peer.data_to_send()
            if client.over:
                continue
            client.heard += [Heard(frame) for frame in client.cutter.feed(data)]
            if client.peer.closing:
                client.over = True
                if rest := client.cutter.rest():
                    client.heard.append(Heard.unfinished(rest))
                client.heard.append(Heard(None))
                client.peer.lost(self._now)

    # --- time ---------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Stops at every deadline on the way, as a server that looks at its clock does."""
        end = self._now + seconds
        for _ in range(100_000):
            due = self.exchange.next_deadline()
            if due is None or due >= end:
                break
            self._now = max(self._now, due)
            self._tick()
        else:
            raise Unsaid("a deadline stays due for ever", f"at {self.now()}")
        self._now = end
        self._tick()

    def _tick(self) -> None:
        self.exchange.handle_timers(self._now)
        self._pump()

    # --- everything else ----------------------------------------------------------------------------

    def order(self, step: Fault | Operate | Truth | Manner | Program, scope: Scope) -> str:
        try:
            if isinstance(step, Fault):
                self._fault(step, scope)
            elif isinstance(step, Operate):
                self._operate(step, scope)
            elif isinstance(step, Truth):
                return self._truth(step, scope)
            elif isinstance(step, Manner):
                self._manner(step)
        except Error as error:
            raise Unsaid(f"the exchange refuses: {error}", type(error).__name__) from error
        self._pump()
        return "done"

    def unread(self) -> list[str]:
        return []

    def end(self) -> None:
        """Nothing is left behind."""

    def _manner(self, step: Manner) -> None:
        client = self._clients[step.who]
        if step.manner == "holds back":
            client.held = b""
        elif step.manner == "lets go":
            data, client.held = client.held or b"", None
            self.say(step.who, data)
        elif step.manner == "pieces":
            client.pieces = step.size
        else:
            raise Unsaid("that needs a socket", f"write `over: tcp` in the head for `{step.manner}`")

    def _fault(self, step: Fault, scope: Scope) -> None:
        self.exchange.faults.apply(_fault_text(step, scope))

    def _operate(self, step: Operate, scope: Scope) -> None:
        arguments = {name: plain(value, scope) for name, value in step.fields.items()}
        if step.verb in _FRONT_VERBS:
            _FRONT_VERBS[step.verb](self.exchange, self._now, **arguments)
        else:
            self.exchange.operate(step.verb, self._now, **arguments)

    def _truth(self, step: Truth, scope: Scope) -> str:
        faults = self.exchange.truth.faults
        wanted: dict[str, Value] = {"kind": Word(step.kind), **step.fields}
        for index in range(self._faults_read, len(faults)):
            fault = faults[index]
            found = {"kind": fault.kind, "account": fault.account, "detail": fault.detail}
            if not compare_plain(wanted, found, scope):
                self._faults_read = index + 1
                return f"{fault.kind} account={fault.account} ({fault.detail})"
        told = [
            f"{fault.kind} account={fault.account} ({fault.detail})" for fault in faults[self._faults_read :]
        ]
        raise Unsaid("the exchange's record has no such fault", "; ".join(told) or "no further fault")

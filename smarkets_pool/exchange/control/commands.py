"""``Control``: one table of everything that may be asked of a running exchange.

Four kinds of commands, told apart by what they touch:

* ``reading``: tells and changes nothing (``readings.py``);
* ``fault``: something goes wrong on purpose (``exchange/faults``);
* ``verb``: what the exchange's operators do to markets, orders and accounts (``exchange/engine``);
* ``session``: logouts, downtime, event news, restarts.

A command is a mapping with ``do`` and its arguments, or a text such as ``drop account=ann frames=3``; what
comes back is plain data. How both travel is the caller's matter: HTTP, or lines of JSON over a child's
standard streams.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from smarkets_pool.exceptions import Error, UsageError
from smarkets_pool.exchange.control.arguments import fit, near, parse, shown, signature_text
from smarkets_pool.exchange.control.readings import Readings
from smarkets_pool.exchange.embedded import EmbeddedExchange
from smarkets_pool.exchange.engine import VERBS
from smarkets_pool.exchange.faults import FAULTS, FaultKind, Parameter
from smarkets_pool.wire.schema import eto_pb2 as eto

__all__ = ["Command", "Control", "fault_usage"]


_Kind = Literal["reading", "fault", "verb", "session"]


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One command: how it is written, and what it does in one sentence."""

    name: str
    kind: _Kind
    usage: str
    text: str


class Control:
    """Carries out commands on one exchange."""

    def __init__(self, exchange: EmbeddedExchange) -> None:
        self._front = exchange
        self._readings = _public_methods(Readings(exchange))
        self._sessions = _public_methods(_Sessions(exchange))
        #: Every command by its name.
        self.commands: Mapping[str, Command] = {
            **{name: _of_function("reading", name, method) for name, method in self._readings.items()},
            **{name: Command(name, "fault", fault_usage(kind), kind.text) for name, kind in FAULTS.items()},
            **{name: _of_function("verb", name, method) for name, method in VERBS.items()},
            **{name: _of_function("session", name, method) for name, method in self._sessions.items()},
        }

    def __repr__(self) -> str:
        return f"<Control of {self._front!r}>"

    def do(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Carry a command out and return what it answers.

        A fault answers how many connections it hit at once, a verb nothing.

        Raises:
            UsageError: there is none of that name, its arguments are wrong, or it cannot be done.
        """
        method = self._readings.get(name) or self._sessions.get(name)
        if method is not None:
            return method(**fit(method, name, arguments))
        if name in VERBS:
            return self._front.operate(name, **fit(VERBS[name], name, arguments))
        if name == "cut" and "inside" in arguments:
            return self._cut_at_once(**fit(self._cut_at_once, name, arguments))
        if name in FAULTS:
            return self._front.faults.inject(name, **arguments)
        raise UsageError(f"there is no command {name!r}{near(name, self.commands)}")

    def _cut_at_once(self, account: str, inside: bool, away: float | None = None) -> int:
        """Older than the fault ``cut``: the frame to be inside of is not waited for, but made up."""
        return self._front.cut(account, inside=inside, away=away)

    def do_text(self, text: str) -> Any:
        """The same for a command in writing: ``events account=ann after=7``."""
        name, *_ = text.split() or [""]
        if name in FAULTS:
            return self._front.faults.apply(text)
        return self.do(*parse(text))

    def execute(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a mapping with ``do``; it raises nothing.

        ``{"ok": true, "value": ...}`` or ``{"ok": false, "error": sentence}``.
        """
        try:
            if not isinstance(command, Mapping):
                raise UsageError(f"a command is a table with 'do', not {type(command).__name__}")
            arguments = dict(command)
            name = arguments.pop("do", None)
            if not isinstance(name, str):
                raise UsageError("a command says in 'do' what to do, as a text")
            return {"ok": True, "value": self.do(name, arguments)}
        except Error as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:  # noqa: BLE001 - who asks is told, and the exchange goes on
            return {"ok": False, "error": f"the exchange failed to do this: {type(error).__name__}: {error}"}

    def execute_line(self, line: bytes) -> dict[str, Any]:
        """The same for a command as a line of JSON."""
        try:
            command = json.loads(line)
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"the command is no JSON: {error}"}
        return self.execute(command)


class _Sessions:
    """The commands about logins, connections and the exchange as a whole."""

    def __init__(self, exchange: EmbeddedExchange) -> None:
        self._front = exchange

    def admit(self, account: str) -> None:
        """Let an account log in again that ``cut`` or ``refuse_login`` keeps away."""
        self._front.faults.admit_login(account)

    def clear(self, account: str | None = None) -> int:
        """Take back the faults that wait, of one account or all; answers how many. Verbs stay as they are."""
        return self._front.faults.clear(account)

    def log_out(self, account: str, reason: str = "NONE") -> int:
        """Log an account's sessions out with that reason; answers how many."""
        return self._front.log_out(account, reason)

    def begin_downtime(self, after: float = 0.0) -> None:
        """Log everybody out with DOWNTIME, ``after`` so many seconds, and refuse logins with it."""
        self._front.begin_downtime(after=after)

    def end_downtime(self) -> None:
        """Accept logins again."""
        self._front.end_downtime()

    def change_limits(
        self,
        account: str | None = None,
        rate: int | None = None,
        burst: int | None = None,
        tick_ms: int | None = None,
    ) -> None:
        """Change the throttle's limits of an account, or of all, and tell its sessions."""
        self._front.change_limits(rate=rate, burst=burst, tick_ms=tick_ms, account=account)

    def notify_event(
        self,
        event_id: int,
        state: str,
        details: str = "",
        period: str | None = None,
        playtime: int | None = None,
        score_home: int | None = None,
        score_away: int | None = None,
    ) -> int:
        """Tell the subscribers of an event what happens in it; answers how many there are."""
        return self._front.notify_event(
            event_id,
            state,
            details,
            period=period,
            playtime=playtime,
            score_home=score_home,
            score_away=score_away,
        )


def _public_methods(thing: object) -> dict[str, Callable[..., Any]]:
    return {
        name: getattr(thing, name)
        for name, function in vars(type(thing)).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }


def _of_function(kind: _Kind, name: str, function: Callable[..., Any]) -> Command:
    # The first line of its docstring, if there is one: there is none under ``python -OO``.
    text = (inspect.getdoc(function) or "").partition("\n")[0]
    return Command(name, kind, signature_text(function, name), text.replace("``", "`").rstrip("."))


def fault_usage(kind: FaultKind) -> str:
    """How a fault is written: ``drop account=... [frames=1]``."""
    words = [kind.name]
    for parameter in kind.parameters:
        if parameter.is_required:
            words.append(f"{parameter.name}=...")
        else:
            words.append(f"[{parameter.name}={_default(parameter)}]")
    return " ".join(words)


def _default(parameter: Parameter) -> str:
    """As it would be written."""
    value = parameter.default
    if parameter.kind == "reason":
        return eto.LogoutReason.Name(value).removeprefix("LOGOUT_")
    return ",".join(value) if isinstance(value, tuple) else shown(value)

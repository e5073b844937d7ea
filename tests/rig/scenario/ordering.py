"""What is ordered of an exchange under test: faults, verbs of its staff, looks into its record."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from smarkets_pool.exceptions import Error
from smarkets_pool.exchange import Exchange, ExchangeSettings
from tests.rig.scenario.language import Fault, Manner, Operate, Program, Truth
from tests.rig.scenario.matching import compare_plain
from tests.rig.scenario.messages import Scope
from tests.rig.scenario.sides import Unsaid
from tests.rig.scenario.values import Group, ListOf, Mistake, Value, Word

__all__ = ["OrderedExchange", "exchange_settings", "plain"]


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
    "log_out": lambda exchange, now, account, reason: exchange.log_out(account, reason, now),
    "change_limits": lambda exchange, now, **arguments: exchange.change_limits(now, **arguments),
    "notify_event": lambda exchange, now, event_id, state, details="", **arguments: exchange.notify_event(
        event_id, state, details, now, **arguments
    ),
}


def _fault_text(step: Fault, scope: Scope) -> str:
    """The one text form, with what was captured put in."""
    return " ".join(
        [step.name, *(f"{name}={_plain_text(value, scope)}" for name, value in step.fields.items())]
    )


def _plain_text(value: Value, scope: Scope) -> str:
    return str(plain(value, scope)) if isinstance(value, Word) and value.capture else str(value)


class OrderedExchange:
    """The part of an exchange's side that is not about bytes."""

    def __init__(self) -> None:
        self._faults_read = 0

    @property
    def exchange(self) -> Exchange:
        """The exchange; after a restart it may be another one."""
        raise NotImplementedError

    @property
    def moment(self) -> float:
        """The time on the exchange's clock."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        raise NotImplementedError

    def order(self, step: Fault | Operate | Truth | Manner | Program, scope: Scope) -> str:
        """Do, or check, what is no talk; return what happened."""
        try:
            if isinstance(step, Fault):
                self.exchange.faults.apply(_fault_text(step, scope))
            elif isinstance(step, Operate):
                self._operate(step, scope)
            elif isinstance(step, Truth):
                return self._truth(step, scope)
            elif isinstance(step, Manner):
                self.change_manner(step)
        except Error as error:
            raise Unsaid(f"the exchange refuses: {error}", type(error).__name__) from error
        self.settle()
        return "done"

    def change_manner(self, step: Manner) -> None:
        """A client of the script writes or reads otherwise from now on."""
        raise NotImplementedError

    def clients(self) -> list[str]:
        """The script plays all of them."""
        return []

    def unread(self) -> list[str]:
        """Nothing but what connections say has to be mentioned."""
        return []

    def _operate(self, step: Operate, scope: Scope) -> None:
        arguments = {name: plain(value, scope) for name, value in step.fields.items()}
        if step.verb in _FRONT_VERBS:
            _FRONT_VERBS[step.verb](self.exchange, self.moment, **arguments)
        else:
            self.exchange.operate(step.verb, self.moment, **arguments)

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

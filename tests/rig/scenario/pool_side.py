"""A ``Pool`` under test, each account with an exchange of its own that the script plays."""

from __future__ import annotations

import dataclasses
from typing import Any

import gevent

from smarkets_pool import Account, Backoff, Delivery, Pool, ReconnectPolicy, TimeoutPolicy
from tests.rig.scenario.client_side import HOST, ClientSide, delivered, message_to_send, options_of
from tests.rig.scenario.language import Head, Program
from tests.rig.scenario.matching import compare_plain
from tests.rig.scenario.messages import Scope
from tests.rig.scenario.ordering import plain
from tests.rig.scenario.sides import Unsaid
from tests.rig.scenario.values import Mistake, Word, split_words

__all__ = ["PoolSide"]

#: What a login brings beside what happened while the account was away.
_OF_A_LOGIN = {"member.recovering", "member.up", "seto.throttle_limits_changed"}


@dataclasses.dataclass
class _PoolOptions:
    """What a pool's head may say beside policies; ``given`` are the layers whose deliveries are looked at."""

    given: tuple[str, ...] = ("seto", "member")
    cancel_on_failure: bool = False


class PoolSide(ClientSide):
    """A ``Pool`` of the head's accounts, each with an exchange of its own played by the script."""

    pings_after_login = True

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        kinds: dict[str, type] = {
            "pool": _PoolOptions,
            "timeouts": TimeoutPolicy,
            "reconnect": ReconnectPolicy,
            "backoff": Backoff,
        }
        options = options_of(head, kinds)
        self._layers = tuple(options["pool"].get("given", _PoolOptions.given))
        self.pool = Pool(
            [
                Account(
                    name,
                    username=name,
                    password=f"pw-{name}",
                    host=HOST,
                    port=self.open_door(name).port,
                    ssl=False,
                    cancel_on_failure=options["pool"].get("cancel_on_failure", False),
                )
                for name in head.accounts
            ],
            timeouts=TimeoutPolicy(**options["timeouts"]),
            reconnect=ReconnectPolicy(
                backoff=Backoff(**{"jitter": 0, **options["backoff"]}), **options["reconnect"]
            ),
            runtime=self.clock.runtime,
        )
        self.pool.add_global_handler(self._record)
        self._stopping: gevent.Greenlet[..., Any] | None = None

    def _record(self, delivery: Delivery[Any]) -> None:
        if delivery.name.partition(".")[0] in self._layers:
            self.given[delivery.account].append(delivery)

    def end(self) -> None:
        super().end()
        if self._stopping is None:
            self.pool.stop(timeout=1.0)
        elif not self._stopping.dead:
            self.clock.advance(20.0)

    def end_login(self, who: str) -> None:
        self.clock.settle()
        queue = self.given[who]
        names = [delivery.name for delivery in queue]
        if "member.up" not in names:
            raise Unsaid("it is not up", ", ".join(map(delivered, queue)))
        queue[:] = [delivery for delivery in queue if delivery.name not in _OF_A_LOGIN]

    def _program(self, step: Program, scope: Scope) -> str:
        first = step.words[0]
        if first == "start":
            self.pool.start()
            return "started"
        if first == "stop":
            self._stopping = gevent.spawn(self.pool.stop)
            return "stopping"
        if first == "stopped":
            return self._check_stopped(step, scope)
        if first not in self.given or len(step.words) < 2:
            raise Mistake(f"a pool starts, stops and is stopped, or say which: {', '.join(self.given)}")
        return self._of_member(first, step, scope)

    def _of_member(self, name: str, step: Program, scope: Scope) -> str:
        verb = step.words[1]
        rest = step.rest.split(maxsplit=2)[2] if len(step.rest.split()) > 2 else ""
        member = self.pool[name]
        if verb == "given":
            return self.check_given(name, rest, scope)
        if verb == "is":
            state = member.state.name
            if step.words[2:] != (state,):
                raise Unsaid("it is in another state", state)
            return state
        if verb in ("send", "subscribe", "unsubscribe"):
            text = " ".join(word for word in split_words(rest) if not word.startswith("raises="))
            message = message_to_send(text, self.head, scope)
            return f"number {getattr(member, verb)(message)}"
        if verb == "restart":
            self.pool.restart(name)
            return "restarted"
        if verb == "refused":
            self.doors[name].refusals = int(str(plain(step.fields.get("times", Word("1")), scope)))
            return "its next connections are refused"
        raise Mistake(
            f"a member has no {verb}; it has send, subscribe, unsubscribe, restart, given, is, refused"
        )

    def _check_stopped(self, step: Program, scope: Scope) -> str:
        self.clock.settle()
        if self._stopping is None or not self._stopping.dead:
            raise Unsaid("the pool has not stopped", "still stopping")
        report = self._stopping.get()
        found = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
        differences = compare_plain(step.fields, found, scope)
        if differences:
            raise Unsaid("it stopped otherwise", repr(report), differences)
        return repr(report)

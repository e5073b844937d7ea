"""A client under test, a ``Session`` or a ``Pool``: the script is its exchange, on one end of a socket pair.

The other end is a connection like any other to the client, so that no code of it is left out; the clock is
that of ``smarkets_pool.testing``, which lets the loop run until nothing goes on by itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from typing import Any

from google.protobuf.message import Message as ProtobufMessage

from smarkets_pool.exceptions import ConfigError, Error
from smarkets_pool.testing import FakeClock
from tests.rig.scenario.framing import FrameCutter
from tests.rig.scenario.language import (
    Connect,
    Fault,
    Head,
    Manner,
    Message,
    Operate,
    Program,
    Truth,
    message_of,
)
from tests.rig.scenario.matching import Difference, Expected, compare, compare_plain
from tests.rig.scenario.messages import Scope, build, described, parsed
from tests.rig.scenario.ordering import plain
from tests.rig.scenario.sides import Heard, Unsaid
from tests.rig.scenario.values import Mistake, Word, fields_of, split_words

__all__ = ["ClientSide", "message_to_send", "options_of"]

HOST = "127.0.0.1"
_FIRST_PORT = 20_001


class _Door:
    """Where the connections of one client arrive: to the clock it looks like an exchange."""

    def __init__(self, clock: FakeClock, port: int) -> None:
        self.host = HOST
        self.port = port
        self.refusals = 0
        self.heard: list[Heard] = []
        self._clock = clock
        self._cutter = FrameCutter()
        self._connection: Any = None

    # --- for the clock ---

    def now(self) -> float:
        return self._clock.now()

    def next_deadline(self) -> float | None:
        return None

    def tick(self) -> None:
        """Nothing is ever due here."""

    def adopt(self, connection: Any) -> None:
        """A client has connected."""
        if self.refusals:
            self.refusals -= 1
            self.heard.append(Heard(None, "refused"))
            raise ConfigError("refused by the script")
        self.listen()
        self.close()
        self._connection, self._cutter = connection, FrameCutter()
        self.heard.append(Heard(None, "connects"))

    # --- for the script ---

    def listen(self) -> None:
        """Take what the client has written."""
        connection = self._connection
        if connection is None:
            return
        connection.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while data := connection.recv(65_536):
                self.heard += [Heard(frame) for frame in self._cutter.feed(data)]
            if rest := self._cutter.rest():
                self.heard.append(Heard.unfinished(rest))
            self.heard.append(Heard(None))
            self.close()

    def rest(self) -> bytes:
        """Take what came behind the last whole frame."""
        return self._cutter.rest()

    def say(self, data: bytes) -> None:
        """Write to the client."""
        if self._connection is None:
            raise Unsaid("the connection is closed already", "nothing can be said")
        self._connection.setblocking(True)
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise Unsaid("the connection is closed already", str(error)) from error

    def hang_up(self) -> None:
        """Say that nothing follows; what the client still says is heard."""
        if self._connection is not None:
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close our end."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class ClientSide:
    """What both kinds of client have in common."""

    hears = "<"
    pings_after_login = False

    def __init__(self, head: Head) -> None:
        self.head = head
        self.clock = FakeClock()
        self._began = self.clock.now()
        self.doors: dict[str, _Door] = {}
        self.given: dict[str, list[Any]] = {}
        self._skipping: set[str] = set()

    def open_door(self, name: str) -> _Door:
        door = self.doors[name] = _Door(self.clock, _FIRST_PORT + len(self.doors))
        self.clock.attach(door)  # type: ignore[arg-type]
        self.given[name] = []
        return door

    def now(self) -> float:
        return self.clock.now() - self._began

    def secrets(self) -> Scope:
        return {}

    def begin_login(self, who: str) -> None:
        """Whoever is under test logs in by itself."""

    def end_login(self, who: str) -> None:
        """Whoever is under test is logged in."""

    def connect(self, who: str, step: Connect | None) -> None:
        raise Mistake("the client under test connects by itself; the script can only expect it")

    def say(self, who: str, data: bytes) -> None:
        self.doors[who].say(data)
        self.clock.settle()

    def hang_up(self, who: str) -> None:
        self.doors[who].hang_up()
        self.clock.settle()

    def heard(self, who: str) -> list[Heard]:
        door = self.doors.get(who)
        if door is None:
            raise Mistake(f"nobody called {who} is under test; there are {', '.join(self.doors)}")
        self.clock.settle()
        door.listen()
        found, door.heard = door.heard, []
        return found

    def clients(self) -> list[str]:
        return list(self.doors)

    def rest(self, who: str) -> bytes:
        return self.doors[who].rest()

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def order(self, step: Fault | Operate | Truth | Manner | Program, scope: Scope) -> str:
        if not isinstance(step, Program):
            raise Mistake("that is for the exchange under test")
        try:
            told = self._program(step, scope)
        except Error as error:
            if step.fields.get("raises") == Word(type(error).__name__):
                told = str(error)
            else:
                raise Unsaid(f"it raises {type(error).__name__}: {error}", type(error).__name__) from error
        else:
            if "raises" in step.fields:
                raise Unsaid("it does not raise that", told)
        self.clock.settle()
        return told

    def _program(self, step: Program, scope: Scope) -> str:
        raise NotImplementedError

    def end(self) -> None:
        for door in self.doors.values():
            door.close()
        self.clock.settle()

    def unread(self) -> list[str]:
        self.clock.settle()
        return [
            f"{name} was given {delivered(delivery)}"
            for name, deliveries in self.given.items()
            if name not in self._skipping
            for delivery in deliveries
        ]

    # --- what handlers are given ---

    def check_given(self, name: str, rest: str, scope: Scope) -> str:
        """The next delivery is this one; ``...`` and ``nothing`` as for what is heard."""
        self.clock.settle()
        queue = self.given[name]
        if rest == "...":
            self._skipping.add(name)
            return ""
        if rest == "nothing":
            if queue:
                raise Unsaid("its handlers were given something", delivered(queue[0]))
            return "nothing"
        first: list[Difference] = []
        for index, delivery in enumerate(queue):
            differences = _compare_delivery(delivery, rest, scope)
            if not differences:
                del queue[: index + 1]
                self._skipping.discard(name)
                return delivered(delivery)
            first = first or differences
            if name not in self._skipping:
                break
        happened = delivered(queue[0]) if queue else "its handlers were given nothing"
        raise Unsaid("its handlers were given something else", happened, first)


def delivered(delivery: Any) -> str:
    """A delivery as a script would write it."""
    if delivery.bytes is not None:
        text = described(bytes(delivery.bytes))
        return f"{text} (account_sequence {delivery.account_sequence})" if delivery.account_sequence else text
    fields = dataclasses.asdict(delivery.message)
    return " ".join([delivery.name, *(f"{name}={value!r}" for name, value in fields.items())])


def _compare_delivery(delivery: Any, rest: str, scope: Scope) -> list[Difference]:
    words = split_words(rest)
    if words[0].startswith("member.") or delivery.bytes is None:
        if words[0] != delivery.name:
            return [Difference("delivery", words[0], delivery.name)]
        return compare_plain(fields_of(words[1:])[1], _plain_fields(delivery.message), scope)
    message = message_of(words)
    number = message.number if isinstance(message.number, int) else None
    return compare(
        Expected(message.kind, number, message.is_replay, message.fields), bytes(delivery.bytes), scope
    )


def _plain_fields(message: Any) -> dict[str, Any]:
    found = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    if "error" in found:
        found["error"] = type(found["error"]).__name__
    return found


def message_to_send(text: str, head: Head, scope: Scope) -> ProtobufMessage:
    """The message that a program is to send."""
    message: Message = message_of(split_words(text))
    if message.kind is None:
        raise Mistake("a message of an unknown type cannot be sent by a program")
    defaults = {name: value for name, value in head.defaults.items() if name in message.kind.fields}
    fields = {**defaults, **message.fields}
    payload = parsed(build(message.kind, 1, is_replay=None, fields=fields, scope=scope))
    assert payload is not None
    sent: ProtobufMessage = message.kind.message(payload)
    return sent


def options_of(head: Head, allowed: dict[str, type]) -> dict[str, dict[str, Any]]:
    """The head's ``program:`` by the policy that has a field of that name."""
    found: dict[str, dict[str, Any]] = {name: {} for name in allowed}
    for name, value in head.program.items():
        owner = next((key for key, cls in allowed.items() if name in _names_of(cls)), None)
        if owner is None:
            raise Mistake(f"program: has no {name}")
        found[owner][name] = plain(value, {})
    return found


def _names_of(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}

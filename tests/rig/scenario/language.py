"""The text of a script to its steps. Every mistake is told with its file and line.

A script is a head (``key: value``) and then steps, one a line; ``docs/scenarios.md`` has them all.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.rig.scenario.messages import KINDS, Kind, kind_named
from tests.rig.scenario.values import (
    ANYTHING,
    ListOf,
    Mistake,
    Value,
    Word,
    fields_of,
    parse_value,
    split_words,
    without_comment,
)

__all__ = [
    "Connect",
    "Fault",
    "Head",
    "LogIn",
    "Manner",
    "Mark",
    "Message",
    "Operate",
    "Program",
    "Raw",
    "Script",
    "ScriptError",
    "Step",
    "Talk",
    "Truth",
    "Wait",
    "read_script",
    "script_at",
    "sides_tested",
]

Side = Literal["exchange", "session", "pool"]

_HEAD = re.compile(r"([a-z]+):(?:\s+(.*))?$")
_TALK = re.compile(r"([A-Za-z]\w*)\s+([<>])\s+(.+)$")
_TIMES = re.compile(r"x(\d+)$")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_MARKS = {"close", "nothing", "...", "unreadable"}
_SIDES: dict[str, Side] = {"exchange": "exchange", "session": "session", "pool": "pool"}


class ScriptError(Exception):
    """A line that is no line of this language, or asks for what there is not."""

    def __init__(self, name: str, line: int, what: str) -> None:
        super().__init__(f"{name}, line {line}: {what}")
        self.what = what


# --- steps ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """A message said or expected. ``number`` None is the next one, ``"*"`` any."""

    kind: Kind | None
    number: int | Literal["*"] | None
    is_replay: bool
    fields: dict[str, Value]
    times: int = 1


@dataclass(frozen=True)
class Raw:
    """Bytes; ``framed`` if they are a payload that gets a frame around it."""

    data: bytes
    framed: bool


@dataclass(frozen=True)
class Mark:
    """What is no message: ``close``, ``nothing``, ``...``, ``unreadable``."""

    word: str


@dataclass(frozen=True)
class Step:
    """One line: its number and its text, as written."""

    line: int
    text: str


@dataclass(frozen=True)
class Talk(Step):
    """``ann > ...`` (the client says) or ``ann < ...`` (the exchange says)."""

    who: str
    direction: str
    what: Message | Raw | Mark


@dataclass(frozen=True)
class Connect(Step):
    """``ann connects``; ``words`` and ``fields`` say how."""

    who: str
    words: tuple[str, ...]
    fields: dict[str, Value]


@dataclass(frozen=True)
class LogIn(Step):
    """``ann logs in``: connection, login, response and limits in one line."""

    who: str
    fields: dict[str, Value]


@dataclass(frozen=True)
class Manner(Step):
    """How a client writes: ``holds back``, ``lets go``, ``writes pieces of N``, ``stops reading``."""

    who: str
    manner: str
    size: int = 0


@dataclass(frozen=True)
class Wait(Step):
    """Time passes."""

    seconds: float


@dataclass(frozen=True)
class Fault(Step):
    """A fault is ordered, in the one text form that all places use."""

    name: str
    fields: dict[str, Value]


@dataclass(frozen=True)
class Operate(Step):
    """An operator of the exchange does something."""

    verb: str
    fields: dict[str, Value]


@dataclass(frozen=True)
class Truth(Step):
    """The exchange's own record holds a fault of that kind."""

    kind: str
    fields: dict[str, Value]


@dataclass(frozen=True)
class Program(Step):
    """What the program under test does or is given: ``session ...`` or ``pool ...``.

    ``rest`` is the line behind that word.
    """

    subject: str
    rest: str
    words: tuple[str, ...]
    fields: dict[str, Value]


# --- scripts ----------------------------------------------------------------------------------------


@dataclass
class Head:
    """What stands above the first step."""

    shows: list[str] = field(default_factory=list)
    tests: list[Side] = field(default_factory=lambda: ["exchange"])
    over: str = "memory"
    settings: dict[str, Value] = field(default_factory=dict)
    accounts: list[str] = field(default_factory=lambda: ["ann", "bob"])
    markets: dict[int, list[int]] = field(default_factory=lambda: {100: [200, 201], 300: [400]})
    defaults: dict[str, Value] = field(default_factory=dict)
    program: dict[str, Value] = field(default_factory=dict)


@dataclass
class Script:
    """A script: its name, what it says it is about, its head and its steps."""

    name: str
    title: str
    head: Head
    steps: list[Step]


def script_at(path: pathlib.Path) -> Script:
    """The script in a file."""
    return read_script(path.read_text(), path.name)


def read_script(text: str, name: str = "script") -> Script:
    """The script of a text.

    Raises:
        ScriptError: the first line that cannot be read.
    """
    reader = _Reader(name)
    for number, line in enumerate(text.splitlines(), 1):
        bare = without_comment(line).strip()
        if not bare:
            continue
        try:
            reader.read(number, bare)
        except ValueError as error:
            raise ScriptError(name, number, str(error)) from error
    title = next((line.lstrip("# ").rstrip() for line in text.splitlines() if line.startswith("#")), "")
    return Script(name, title, reader.head, reader.steps)


def sides_tested(text: str) -> list[Side]:
    """What a script says that it tests; of one that cannot be read the default, to fail there."""
    try:
        return read_script(text).head.tests
    except ScriptError:
        return Head().tests


class _Reader:
    """Reads line by line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.head = Head()
        self.steps: list[Step] = []

    def read(self, line: int, text: str) -> None:
        heading = _HEAD.match(text)
        if heading is not None:
            if self.steps:
                raise Mistake(f"{heading[1]}: belongs to the head, above the first step")
            self._read_head(heading[1], heading[2] or "")
            return
        self.steps.append(self._step(line, text))

    # --- the head ---

    def _read_head(self, key: str, value: str) -> None:
        head = self.head
        if key == "shows":
            head.shows += [" ".join(item.split()) for item in value.split(",") if item.strip()]
        elif key == "tests":
            names = [item.strip() for item in value.split(",")]
            wrong = [item for item in names if item not in _SIDES]
            if wrong:
                raise Mistake(f"tests: exchange, session or pool, not {', '.join(wrong)}")
            head.tests = [_SIDES[item] for item in names]
        elif key == "over":
            if value not in ("memory", "sockets", "tls"):
                raise Mistake(f"over: memory, sockets or tls, not {value}")
            head.over = value
        elif key == "accounts":
            head.accounts = [item.strip() for item in value.split(",")]
        elif key == "markets":
            head.markets = {
                int(market): [int(str(item)) for item in _list(contracts).items]
                for market, contracts in _only_fields(value).items()
            }
        elif key in ("settings", "defaults", "program"):
            getattr(head, key).update(_only_fields(value))
        else:
            raise Mistake(
                f"{key}: is no heading; there are shows, tests, over, settings, accounts, markets, defaults "
                "and program"
            )

    # --- steps ---

    def _step(self, line: int, text: str) -> Step:
        talk = _TALK.match(text)
        if talk is not None:
            return Talk(line, text, talk[1], talk[2], self._speech(talk[3]))
        words, fields = fields_of(split_words(text))
        first, rest = words[0] if words else "", tuple(words[1:])
        if first == "wait":
            return Wait(line, text, _seconds(" ".join(rest)))
        if first == "fault" and rest:
            return Fault(line, text, rest[0], fields)
        if first == "exchange" and rest:
            return Operate(line, text, rest[0], fields)
        if first == "truth" and rest:
            return Truth(line, text, rest[0], fields)
        if first in ("session", "pool") and rest and rest[0] not in ("logs", "connects"):
            return Program(line, text, first, text[len(first) :].strip(), rest, fields)
        return self._client_step(line, text, first, rest, fields)

    def _client_step(
        self, line: int, text: str, who: str, rest: tuple[str, ...], fields: dict[str, Value]
    ) -> Step:
        said = " ".join(rest)
        if rest[:1] == ("connects",):
            return Connect(line, text, who, rest[1:], fields)
        if said == "logs in":
            return LogIn(line, text, who, fields)
        if said in ("holds back", "lets go", "stops reading", "reads again"):
            return Manner(line, text, who, said)
        if rest[:3] == ("writes", "pieces", "of") and len(rest) == 4 and rest[3].isdigit():
            return Manner(line, text, who, "pieces", int(rest[3]))
        raise Mistake(
            f"{text!r} is no step; a client connects, logs in, holds back, lets go, writes pieces of N, "
            "stops reading or reads again, and what is said is written NAME > ... or NAME < ..."
        )

    def _speech(self, text: str) -> Message | Raw | Mark:
        if text in _MARKS:
            return Mark(text)
        first, _, rest = text.partition(" ")
        if first in ("hex", "payload"):
            return Raw(bytes.fromhex(rest), framed=first == "payload")
        return message_of(split_words(text))


def message_of(words: list[str]) -> Message:
    """A message as written: number, name, flags, fields.

    Raises:
        Mistake: it is none.
    """
    alone, fields = fields_of(words)
    number: int | Literal["*"] | None = None
    if alone and alone[0] == ANYTHING:
        number = "*"
        del alone[0]
    elif alone and alone[0].isdigit():
        number = int(alone.pop(0))
    if not alone:
        raise Mistake("a message without a name")
    name = alone.pop(0)
    times, is_replay = 1, False
    if name in ("buy", "sell"):
        if len(alone) < 3 or alone[1] != "@":
            raise Mistake(f"write {name} QUANTITY @ PRICE")
        fields = {
            "side": Word(name.upper()),
            "quantity": parse_value(alone[0]),
            "price": parse_value(alone[2]),
            **fields,
        }
        name, alone = "order_create", alone[3:]
    # Before its fields: whoever misspelt the name has made no mistake there.
    kind = None if name == "unknown" else kind_named(name)
    for word in alone:
        repeated = _TIMES.match(word)
        if word == "is_replay":
            is_replay = True
        elif repeated:
            times = int(repeated[1])
        else:
            raise Mistake(f"{word!r} is no field of {name}: write name=value")
    if kind is not None:
        for key in fields:
            if key not in kind.fields and key not in ("is_replay", "eto.type"):
                raise Mistake(f"{kind.short} has no field {key!r}; it has {', '.join(kind.fields) or 'none'}")
    if times > 1 and isinstance(number, int):
        raise Mistake("what is said several times has no one number")
    return Message(kind, number, is_replay, fields, times)


def _seconds(text: str) -> float:
    found = _DURATION.match(text)
    if found is None:
        raise Mistake(f"{text!r} is no length of time: write 5, 5s, 200ms, 3m or 24h")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def _only_fields(text: str) -> dict[str, Value]:
    # Keys may be numbers here, those of markets.
    found: dict[str, Value] = {}
    for word in split_words(text):
        name, sign, value = word.partition("=")
        if not sign or name in found:
            raise Mistake(f"{word!r}: write name=value, each name once")
        found[name] = parse_value(value)
    return found


def _list(value: Value) -> ListOf:
    if not isinstance(value, ListOf):
        raise Mistake(f"{value} is no list: write [{value}]")
    return value


def names_in(script: Script, direction: str) -> Iterator[str]:
    """The names of the messages that a script writes in one direction, with their layer."""
    for step in script.steps:
        if isinstance(step, LogIn):
            yield from (
                ["seto.login"]
                if direction == ">"
                else ["eto.login_response", KINDS["throttle_limits_changed"].name]
            )
        elif isinstance(step, Talk) and step.direction == direction and isinstance(step.what, Message):
            yield "seto.unknown" if step.what.kind is None else step.what.kind.name

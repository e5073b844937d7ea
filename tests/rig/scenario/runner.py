"""Plays a script: says what it has to say, and compares what it hears, line by line."""

from __future__ import annotations

from dataclasses import dataclass, field

from google.protobuf.descriptor import FieldDescriptor

from tests.rig.scenario.framing import framed
from tests.rig.scenario.language import (
    Connect,
    Fault,
    LogIn,
    Manner,
    Mark,
    Message,
    Operate,
    Program,
    Raw,
    Script,
    ScriptError,
    Step,
    Talk,
    Truth,
    Wait,
)
from tests.rig.scenario.matching import Difference, Expected, compare
from tests.rig.scenario.messages import KINDS, Kind, Scope, build, described, parsed
from tests.rig.scenario.report import ScenarioFailed, TalkRecord
from tests.rig.scenario.sides import Heard, Side, Unsaid
from tests.rig.scenario.values import Mistake, Value, Word

__all__ = ["Runner"]

#: What the real exchange was seen to say.
_CAPTURED_LIMITS: dict[str, Value] = {
    "average_rate_ps": Word("500"),
    "burst_size": Word("1000"),
    "tick_ms": Word("200"),
}


@dataclass
class _Line:
    """One connection: what was heard and not read yet, and the next numbers of both directions."""

    queue: list[Heard] = field(default_factory=list)
    skipping: bool = False
    over: bool = False
    next: dict[str, int] = field(default_factory=lambda: {">": 1, "<": 1})

    def begin(self) -> None:
        """A new connection: numbers begin again."""
        self.next = {">": 1, "<": 1}
        self.over = False

    def count(self, direction: str, data: bytes) -> None:
        """Note the number of a frame that passed."""
        payload = parsed(data)
        if payload is not None and payload.eto_payload.HasField("seq"):
            seq = payload.eto_payload.seq
            again = payload.eto_payload.is_replay
            self.next[direction] = max(self.next[direction], seq + 1) if again else seq + 1


class Runner:
    """One playing of one script against one side."""

    def __init__(self, script: Script, side: Side) -> None:
        self.script = script
        self.side = side
        self.scope: Scope = side.secrets()
        self._sessions = 0
        self.record = TalkRecord(script.name)
        self._lines: dict[str, _Line] = {}

    def play(self) -> TalkRecord:
        """Play it to its end.

        Raises:
            ScenarioFailed: with the talk so far and the difference.
            ScriptError: a step asks for what there is not.
        """
        try:
            for step in self.script.steps:
                try:
                    self._play(step)
                except Mistake as error:
                    raise ScriptError(self.script.name, step.line, str(error)) from error
                except Unsaid as error:
                    raise self._failure(
                        step, error.happened, str(error), differences=error.differences
                    ) from error
            self._end()
        finally:
            self.side.end()
        return self.record

    def _end(self) -> None:
        """Everything that was said has to be read."""
        last = self.script.steps[-1]
        unread = self._unread()
        if unread:
            raise self._failure(last, unread[0], "the script ends and this was not read", unread=unread)
        left = self.side.unread()
        if left:
            raise self._failure(last, left[0], "the script ends and this was not read", unread=left)

    def _unread(self) -> list[str]:
        found = []
        for who in dict.fromkeys([*self._lines, *self.side.clients()]):
            line = self._fetch(who)
            if not line.skipping:
                found += [f"{who} {self._other} {heard}" for heard in line.queue]
        return found

    @property
    def _other(self) -> str:
        """The direction that the script hears."""
        return "<" if self._plays_clients else ">"

    def _failure(
        self,
        step: Step,
        happened: str,
        why: str,
        *,
        differences: list[Difference] | None = None,
        unread: list[str] | None = None,
    ) -> ScenarioFailed:
        return self.record.failure(
            self.side.now(), step.line, step.text, happened, why, differences=differences, unread=unread
        )

    def _note(self, step: Step, happened: str) -> None:
        self.record.add(self.side.now(), step.line, step.text, happened)

    # --- steps --------------------------------------------------------------------------------------

    def _play(self, step: Step) -> None:
        if isinstance(step, Talk):
            if step.direction == self.side.hears:
                self._say(step)
            else:
                self._hear(step)
        elif isinstance(step, Connect):
            self._connect(step)
        elif isinstance(step, LogIn):
            self._log_in(step)
        elif isinstance(step, Wait):
            self.side.wait(step.seconds)
            self._note(step, "time passes")
        elif not self._is_for_the_other_end(step):
            self._note(step, self.side.order(step, self.scope))  # type: ignore[arg-type]

    def _is_for_the_other_end(self, step: Step) -> bool:
        """A script for both ends has lines that only one of them understands."""
        if self._plays_clients:
            return isinstance(step, Program)
        both = len(self.script.head.tests) > 1
        return both and isinstance(step, (Fault, Operate, Truth, Manner))

    def _connect(self, step: Connect) -> None:
        """The script's client connects; of a client under test it is expected."""
        if self._plays_clients:
            line = self._new_line(step.who)
            self.side.connect(step.who, step)
            # A connection that was to fail is none.
            line.over = "fails" in step.fields
            self._note(step, "done")
            return
        line = self._fetch(step.who)
        wanted = "refused" if step.words == ("refused",) else "connects"
        if not line.queue or line.queue[0].frame is not None or line.queue[0].word != wanted:
            raise self._failure(
                step, str(line.queue[0]) if line.queue else "nothing came", "it does not connect so"
            )
        line.queue.pop(0)
        line.begin()
        self._note(step, wanted)

    @property
    def _plays_clients(self) -> bool:
        return self.side.hears == ">"

    def _new_line(self, who: str) -> _Line:
        line = self._lines.get(who)
        if line is not None:
            self._fetch(who)
            if not line.over or line.queue:
                left = ", ".join(map(str, line.queue))
                raise Unsaid(f"{who} is still connected, or its end was not read", left)
        self._lines[who] = _Line()
        return self._lines[who]

    def _log_in(self, step: LogIn) -> None:
        who = step.who
        fields = dict(step.fields)
        if "cookie" not in fields:
            user = self.script.head.accounts[0] if who == "session" else who.rstrip("0123456789")
            fields = {"username": Word(user), **fields}
            secret = self.scope.get(f"{fields['username']}.password", f"pw-{fields['username']}")
            fields = {"password": Word(secret, quoted=True), **fields}
        if self._plays_clients:
            self._new_line(who)
        self.side.begin_login(who)
        self.scope.pop(f"{who}.session", None)
        answer: dict[str, Value] = {"session": Word(f"${who}.session")}
        limits: dict[str, Value] = {}
        if not self._plays_clients:
            self._sessions += 1
            self.scope[f"{who}.session"] = f"S{self._sessions}"
            answer |= {"reset": Word("2"), "email": Word(who), "id": Word("1")}
            limits = dict(_CAPTURED_LIMITS)
        lines = [
            (">", "login", fields),
            ("<", "login_response", answer),
            ("<", "throttle_limits_changed", limits),
        ]
        if self.side.pings_after_login:
            lines += [(">", "ping", {}), ("<", "pong", {})]
        for direction, kind, own in lines:
            what = Message(KINDS[kind], None, is_replay=False, fields=own)
            self._play(Talk(step.line, step.text, who, direction, what))
        self.side.end_login(who)

    # --- saying -------------------------------------------------------------------------------------

    def _say(self, step: Talk) -> None:
        line = self._line_to_say(step)
        what = step.what
        if isinstance(what, Mark):
            if what.word in ("nothing", "...") and len(self.script.head.tests) > 1:
                return
            if what.word != "close":
                raise Mistake(f"{what.word!r} cannot be said, only heard")
            # Of a client under test its own end is still to be heard.
            line.over = line.over or self._plays_clients
            self.side.hang_up(step.who)
            self._note(step, "closed")
        elif isinstance(what, Raw):
            data = framed(what.data) if what.framed else what.data
            if what.framed:
                line.count(step.direction, what.data)
            self.side.say(step.who, data)
            self._note(step, f"said {len(data)} bytes")
        else:
            self._say_message(step, what, line)

    def _line_to_say(self, step: Talk) -> _Line:
        """A client of the script connects with its first words."""
        line = self._lines.get(step.who)
        if line is None and self._plays_clients:
            line = self._new_line(step.who)
            self.side.connect(step.who, None)
        elif not self._plays_clients:
            line = self._fetch(step.who)
            self._begin_if_connected(step, line)
        assert line is not None
        return line

    def _say_message(self, step: Talk, what: Message, line: _Line) -> None:
        if what.kind is None:
            raise Mistake("a message of an unknown type is said as a payload of bytes")
        if len(self.script.head.tests) > 1:
            self._invent(what)
        fields = dict(what.fields)
        if step.direction == ">":
            fields = {**_own(what.kind, self.script.head.defaults), **fields}
        for _ in range(what.times):
            number = what.number if isinstance(what.number, int) else line.next[step.direction]
            data = build(what.kind, number, is_replay=what.is_replay or None, fields=fields, scope=self.scope)
            line.count(step.direction, data)
            self.side.say(step.who, framed(data))
            self._note(step, described(data) if what.times == 1 or not _ else "")

    def _invent(self, what: Message) -> None:
        """In a script for both ends, what is captured of one end has to be made up for the other."""
        assert what.kind is not None
        for name, value in what.fields.items():
            capture = value.capture if isinstance(value, Word) else None
            if capture is not None and capture[0] not in self.scope:
                is_text = what.kind.fields[name].type == FieldDescriptor.TYPE_STRING
                self.scope[capture[0]] = capture[0] if is_text else 1000 + len(self.scope)

    # --- hearing ------------------------------------------------------------------------------------

    def _fetch(self, who: str) -> _Line:
        line = self._lines.get(who)
        if line is None:
            line = self._lines[who] = _Line()
        line.queue += self.side.heard(who)
        line.over = line.over or any(heard.frame is None and heard.word == "close" for heard in line.queue)
        return line

    def _hear(self, step: Talk) -> None:
        if self._plays_clients and step.who not in self._lines:
            raise Mistake(f"nobody called {step.who} is connected")
        line = self._fetch(step.who)
        what = step.what
        if what == Mark("..."):
            line.skipping = True
            self._note(step, "")
            return
        if what == Mark("nothing"):
            if line.queue:
                raise self._failure(step, str(line.queue[0]), "something came", unread=self._unread())
            self._note(step, "nothing")
            return
        self._begin_if_connected(step, line)
        if what == Mark("unreadable") and not line.queue and (rest := self.side.rest(step.who)):
            line.queue.append(Heard.unfinished(rest))
        for _ in range(what.times if isinstance(what, Message) else 1):
            self._hear_one(step, line)

    def _begin_if_connected(self, step: Talk, line: _Line) -> None:
        """A client under test may connect without being mentioned."""
        if line.queue and line.queue[0].frame is None and line.queue[0].word == "connects":
            line.queue.pop(0)
            line.begin()
            self.record.add(self.side.now(), step.line, "", f"{step.who} connects")

    def _hear_one(self, step: Talk, line: _Line) -> None:
        skipped: list[Heard] = []
        first: list[Difference] | None = None
        while line.queue:
            heard = line.queue[0]
            found = self._differences(step, heard, line)
            if not found:
                self._pass(step, line, skipped)
                return
            if first is None or (found and found[0].what != "message" and first[0].what == "message"):
                first = found
            if not line.skipping:
                break
            skipped.append(line.queue.pop(0))
            self._count(step, skipped[-1], line)
        line.queue[:0] = skipped
        happened = str(line.queue[0]) if line.queue else "nothing came"
        raise self._failure(
            step,
            happened,
            "nothing like it came" if skipped or not line.queue else "what came is not what is written",
            differences=[] if first is None or skipped else first,
            unread=self._unread()[1:],
        )

    def _pass(self, step: Talk, line: _Line, skipped: list[Heard]) -> None:
        for one in skipped:
            self.record.add(self.side.now(), step.line, "...", str(one))
        heard = line.queue.pop(0)
        self._count(step, heard, line)
        line.skipping = False
        line.over = line.over or heard.frame is None
        self._note(step, str(heard))

    def _count(self, step: Talk, heard: Heard, line: _Line) -> None:
        if heard.frame is not None and heard.frame.payload is not None:
            line.count(step.direction, heard.frame.payload)

    def _differences(self, step: Talk, heard: Heard, line: _Line) -> list[Difference]:
        what, frame = step.what, heard.frame
        if isinstance(what, Mark):
            wanted = {
                "close": frame is None,
                "unreadable": frame is not None and _is_unreadable(frame.payload),
            }
            return [] if wanted[what.word] else [Difference("message", what.word, str(heard))]
        if frame is None:
            return [Difference("message", step.text, heard.word)]
        if isinstance(what, Raw):
            found = frame.payload if what.framed else frame.raw
            told = "" if found is None else found.hex(" ")
            return [] if found == what.data else [Difference("bytes", what.data.hex(" "), told)]
        if frame.payload is None:
            return [Difference("message", step.text, str(heard))]
        return compare(_expected(what, line.next[step.direction]), frame.payload, self.scope)


def _own(kind: Kind, fields: dict[str, Value]) -> dict[str, Value]:
    """Those of the fields that messages of this kind have."""
    return {name: value for name, value in fields.items() if name in kind.fields}


def _is_unreadable(payload: bytes | None) -> bool:
    return payload is None or parsed(payload) is None


def _expected(what: Message, following: int) -> Expected:
    number: int | None
    if what.number == "*":
        number = None
    else:
        number = following if what.number is None else what.number
    fields: dict[str, Value] = what.fields
    return Expected(what.kind, number, what.is_replay, fields)

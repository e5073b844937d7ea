"""A ``Session`` under test, driven by the script's ``session`` lines, its peer by all others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gevent

from smarkets_pool.exceptions import Error
from smarkets_pool.session import Session, SessionSettings, SessionSocket
from tests.rig.scenario.client_side import HOST, ClientSide, message_to_send, options_of
from tests.rig.scenario.language import Head, Program
from tests.rig.scenario.matching import compare_plain
from tests.rig.scenario.messages import Scope
from tests.rig.scenario.sides import Unsaid
from tests.rig.scenario.values import Mistake

__all__ = ["SessionSide"]


@dataclasses.dataclass
class _SessionOptions:
    """What a session's head may say."""

    username: str = ""
    password: str = ""
    token: str = ""
    account_sequence: int = 0


@dataclasses.dataclass
class _Given:
    """A frame as a session gives it, in the form of a delivery."""

    bytes: bytes
    name: str = ""
    message: Any = None
    account_sequence: int | None = None


class SessionSide(ClientSide):
    """One ``Session``, driven by the script's ``session`` lines.

    What waits for bytes goes on in a greenlet of its own while the script says them.
    """

    def __init__(self, head: Head) -> None:
        super().__init__(head)
        name = "session"
        door = self.open_door(name)
        account = head.accounts[0]
        options = options_of(head, {"session": _SessionOptions})["session"]
        resume = options.pop("account_sequence", None)
        credentials = options or {"username": account, "password": f"pw-{account}"}
        settings = SessionSettings(host=HOST, port=door.port, ssl=False, **credentials)
        self.session = Session(
            settings,
            account_sequence=resume,
            clock=self.clock.now,
            socket=SessionSocket(settings, reach=self.clock.reach),
        )
        self._task: gevent.Greenlet[..., Any] | None = None
        self._error: Error | None = None
        self._verbs: dict[str, Callable[[], object]] = {
            "connect": self.session.connect,
            "log_in": self._log_in,
            "read": self._read,
            "flush": self.session.flush,
            "ping": self._ping,
            "logout": self.session.logout,
            "disconnect": self.session.disconnect,
        }

    def unread(self) -> list[str]:
        return super().unread() + ([f"session raises {self._error!r}"] if self._error else [])

    def end(self) -> None:
        self.session.disconnect()
        if self._task is not None:
            self._task.kill()
        super().end()

    def begin_login(self, who: str) -> None:
        self._start(self._verbs["log_in"])

    def _program(self, step: Program, scope: Scope) -> str:
        verb, rest = step.words[0], step.rest.partition(" ")[2].strip()
        if verb == "raises":
            return self._check_error(step, scope)
        if self._error is not None:
            raise Unsaid(f"it has raised {type(self._error).__name__}: {self._error}", "raised")
        if verb == "given":
            return self.check_given("session", rest, scope)
        if verb == "has":
            return self._check_attributes(step, scope)
        if verb == "send":
            self.session.send(message_to_send(rest, self.head, scope))
            self.session.flush()
            return "sent"
        if verb not in self._verbs:
            raise Mistake(
                f"a session has no {verb}; it has {', '.join([*self._verbs, 'send', 'given', 'has'])}"
            )
        self._start(self._verbs[verb])
        return "done" if self._task is None else "waiting"

    def _start(self, verb: Callable[[], object]) -> None:
        if self._task is not None and not self._task.dead:
            raise Unsaid("the session is still waiting for something", "waiting")
        self._task = gevent.spawn(self._run, verb)
        self.clock.settle()

    def _run(self, verb: Callable[[], object]) -> None:
        try:
            verb()
        except Error as error:
            self._error = error

    def _read(self) -> None:
        self.session.read()
        self._take()

    def _log_in(self) -> None:
        for received in self.session.log_in():
            self.given["session"].append(_Given(received.data))

    def _ping(self) -> None:
        self.session.ping()
        self.session.flush()

    def _take(self) -> None:
        while (frame := self.session.next_frame()) is not None:
            self.given["session"].append(_Given(bytes(frame.bytes)))

    def _check_error(self, step: Program, scope: Scope) -> str:
        self.clock.settle()
        error, self._error = self._error, None
        if error is None or len(step.words) < 2 or type(error).__name__ != step.words[1]:
            raise Unsaid("it raised something else", repr(error) if error else "nothing was raised")
        found = {**vars(error), "text": str(error)}
        differences = compare_plain(step.fields, found, scope)
        if differences:
            raise Unsaid("the error is another one", str(error), differences)
        return str(error)

    def _check_attributes(self, step: Program, scope: Scope) -> str:
        names = ("inseq", "outseq", "connected", "logged_in", "logged_out", "session", "output_buffer_size")
        found = {name: getattr(self.session, name) for name in names}
        differences = compare_plain(step.fields, found, scope)
        if differences:
            raise Unsaid("the session is not like that", repr(self.session), differences)
        return repr(self.session)

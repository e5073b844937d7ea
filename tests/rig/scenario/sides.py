"""What the runner asks of a side under test, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tests.rig.scenario.framing import Frame
from tests.rig.scenario.language import Connect, Fault, Manner, Operate, Program, Truth
from tests.rig.scenario.matching import Difference
from tests.rig.scenario.messages import Scope, described

__all__ = ["Heard", "Side", "Unsaid"]


class Unsaid(Exception):
    """A step went wrong, with what happened instead."""

    def __init__(self, why: str, happened: str, differences: list[Difference] | None = None) -> None:
        super().__init__(why)
        self.happened = happened
        self.differences = differences or []


@dataclass(frozen=True)
class Heard:
    """One thing that came over a connection: a frame, or what ``word`` says of the connection itself.

    ``close``: its end. Of a client under test also ``connects``, and ``refused`` for an attempt in vain.
    """

    frame: Frame | None
    word: str = "close"

    @staticmethod
    def unfinished(data: bytes) -> Heard:
        """Bytes behind the last whole frame."""
        return Heard(Frame(None, data))

    def __str__(self) -> str:
        if self.frame is None:
            return self.word
        if self.frame.payload is None:
            return f"unreadable: {len(self.frame.raw)} bytes, {self.frame.raw[:20].hex(' ')}"
        return described(self.frame.payload)


class Side(Protocol):
    """The side under test. Everything it says to a connection is fetched with ``heard``."""

    #: What it hears: ``>`` for an exchange, ``<`` for a client. The script says this, and hears the other.
    hears: str
    #: Whether it asks with a ping for the end of what a login brings.
    pings_after_login: bool

    def now(self) -> float:
        """Seconds since the beginning."""

    def connect(self, who: str, step: Connect | None) -> None:
        """A connection of that name begins."""

    def say(self, who: str, data: bytes) -> None:
        """Bytes reach the side under test."""

    def hang_up(self, who: str) -> None:
        """The script's end of the connection is closed."""

    def heard(self, who: str) -> list[Heard]:
        """What the side under test has said since the last look."""

    def secrets(self) -> Scope:
        """What a script may name without having captured it."""

    def begin_login(self, who: str) -> None:
        """``NAME logs in`` begins."""

    def end_login(self, who: str) -> None:
        """``NAME logs in`` is over.

        Raises:
            Unsaid: the client under test does not think so.
        """

    def clients(self) -> list[str]:
        """The names of the clients under test, whose words have to be mentioned though no line names them."""

    def rest(self, who: str) -> bytes:
        """Take what came behind the last whole frame of a connection."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""

    def order(self, step: Fault | Operate | Truth | Manner | Program, scope: Scope) -> str:
        """Do, or check, what is no talk; return what happened.

        Raises:
            Unsaid: it is not as the step says.
        """

    def unread(self) -> list[str]:
        """What happened and the script has not mentioned, beside what was heard over connections."""

    def end(self) -> None:
        """Clean up; again is fine."""

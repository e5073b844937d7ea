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
    """One thing that came over a connection: a frame, or with ``frame`` None its end."""

    frame: Frame | None

    def __str__(self) -> str:
        if self.frame is None:
            return "close"
        if self.frame.payload is None:
            return f"unreadable: {len(self.frame.raw)} bytes, {self.frame.raw[:20].hex(' ')}"
        return described(self.frame.payload)


class Side(Protocol):
    """The side under test. Everything it says to a connection is fetched with ``heard``."""

    #: What it hears: ``>`` for an exchange, ``<`` for a client. The script says this, and hears the other.
    hears: str

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

    def wait(self, seconds: float) -> None:
        """Let time pass."""

    def order(self, step: Fault | Operate | Truth | Manner | Program, scope: Scope) -> str:
        """Do, or check, what is no talk; return what happened.

        Raises:
            Unsaid: it is not as the step says.
        """

    def end(self) -> list[str]:
        """Clean up; return what the script has left unread."""

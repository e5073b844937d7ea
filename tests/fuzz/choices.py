"""``Choices``: decisions read off a string of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["ABSURD", "Choices"]

T = TypeVar("T")

#: Numbers at which something may turn over: the ends of 7, 8, 16, 31, 32, 63 and 64 bits, and limits of the
#: exchange's own.
ABSURD = (
    *(0, 1, 2, 3, 127, 128, 255, 256, 9_999, 10_000, 10_001, 65_535, 65_536, 10**6),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1),
)


class Choices:
    """The same bytes are the same decisions; when they are used up it is the first possibility each time."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __repr__(self) -> str:
        return f"<Choices {self._at} of {len(self._data)} bytes>"

    @property
    def are_over(self) -> bool:
        """Whether all bytes are used up."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """The next byte, 0 behind the end."""
        if self.are_over:
            return 0
        self._at += 1
        return self._data[self._at - 1]

    def below(self, count: int) -> int:
        """A number from 0 to ``count - 1``, at most 65,535."""
        value = self.byte()
        if count > 256:
            value = value << 8 | self.byte()
        return value % count

    def one_in(self, count: int) -> bool:
        """True for one of ``count`` possibilities, and not for the first."""
        return self.below(count) == count - 1

    def pick(self, things: Sequence[T]) -> T:
        """One of these."""
        return things[self.below(len(things))]

    def blob(self, most: int) -> bytes:
        """Up to so many of the next bytes as they are."""
        size = self.below(most + 1)
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def integer(self) -> int:
        """Any number: a small one, one at an edge, or one beside an edge."""
        kind = self.below(4)
        if kind == 0:
            return self.byte()
        value = ABSURD[self.below(len(ABSURD))]
        return value if kind < 3 else max(0, value + self.below(5) - 2)

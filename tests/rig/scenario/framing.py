"""Frames, made and cut by rules written once more: length in base 128, payload, zeros up to 4 bytes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Frame", "FrameCutter", "framed"]

#: A header that announces more than this is taken for garbage.
_LARGEST = 1 << 24
_SHORTEST_FRAME = 4


def framed(payload: bytes) -> bytes:
    """One frame."""
    digits = [len(payload) % 128]
    rest = len(payload) // 128
    while rest:
        digits[-1] += 128
        digits.append(rest % 128)
        rest //= 128
    whole = bytes(digits) + payload
    return whole + bytes(max(0, _SHORTEST_FRAME - len(whole)))


class Frame(NamedTuple):
    """One frame: its payload, None where no frame can be found, and its bytes as they came."""

    payload: bytes | None
    raw: bytes


class FrameCutter:
    """Cuts the bytes of one direction into frames."""

    def __init__(self) -> None:
        self._data = b""
        self._lost = False

    def feed(self, data: bytes) -> list[Frame]:
        """Add bytes; return the frames that are whole now. After garbage nothing can be cut any more."""
        self._data += data
        found: list[Frame] = []
        while self._data and not self._lost:
            size = header = 0
            ended = False
            while header < len(self._data) and not ended:
                digit = self._data[header]
                size += (digit % 128) * 128**header
                header += 1
                ended = digit < 128 or size > _LARGEST
            if not ended:
                return found
            if size > _LARGEST:
                self._lost = True
                break
            end = max(_SHORTEST_FRAME, header + size)
            if len(self._data) < end:
                return found
            found.append(Frame(self._data[header : header + size], self._data[:end]))
            self._data = self._data[end:]
        if self._lost and self._data:
            found.append(Frame(None, self.rest()))
        return found

    def rest(self) -> bytes:
        """Take what is left of a frame without its end; asked when the connection is over."""
        rest, self._data = self._data, b""
        return rest

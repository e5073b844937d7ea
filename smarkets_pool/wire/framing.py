"""Frames: cutting a byte stream into payloads, and putting payloads on it.

Layout (all sizes in bytes)::

    | length: ULEB128, 1..5 | payload: length | zeros up to 4 in all |

``length`` counts the payload only, neither itself nor the zeros. Several frames may share a read and
a frame may be split anywhere. Source: the vendor's SDK (framing.py) and its documentation.
"""

from __future__ import annotations

from smarkets_pool.exceptions import DecodeError, FrameTooLarge, UsageError

__all__ = [
    "FrameBuffer",
    "MAX_FRAME_SIZE",
    "MIN_FRAME_SIZE",
    "decode_uleb128",
    "encode_frame",
    "encode_uleb128",
]

#: A whole frame is never shorter than this; shorter ones are padded with zeros.
MIN_FRAME_SIZE = 4

#: Default limit on payload bytes. The exchange states none and no known client enforces one; without
#: a limit one bogus length header makes a receiver buffer for ever.
MAX_FRAME_SIZE = 1 << 20

#: Five groups of seven bits hold any length below 2**35, far above every sensible limit.
_MAX_HEADER_SIZE = 5

#: Most lengths are short, and every frame has one.
_ONE_BYTE = tuple(bytes([value]) for value in range(0x80))


def encode_uleb128(value: int) -> bytes:
    """Write ``value`` as unsigned little-endian base 128: seven bits a byte, high bit on all but the last.

    Raises:
        UsageError: ``value`` is negative.
    """
    if 0 <= value < len(_ONE_BYTE):
        return _ONE_BYTE[value]
    if value < 0:
        raise UsageError(f"only numbers from 0 can be written as ULEB128, not {value}")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_uleb128(data: bytes | bytearray, offset: int = 0) -> tuple[int, int] | None:
    """Read the number that starts at ``offset``; return it with the offset behind it, or None if cut short.

    Longer than necessary ("non-canonical") spellings such as ``81 00`` are accepted, as the vendor's
    decoder does, up to five bytes.

    Raises:
        DecodeError: five bytes have gone by and the number goes on.
    """
    value = 0
    for index in range(_MAX_HEADER_SIZE):
        position = offset + index
        if position >= len(data):
            return None
        byte = data[position]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + 1
    raise DecodeError(
        f"a length header goes on after {_MAX_HEADER_SIZE} bytes "
        f"({bytes(data[offset : offset + _MAX_HEADER_SIZE]).hex(' ')}), so this is not a stream of frames"
    )


def encode_frame(payload: bytes, *, max_size: int = MAX_FRAME_SIZE) -> bytes:
    """Put a length header before ``payload`` and pad the result to the smallest legal frame.

    ``b"a"`` becomes ``b"\\x01a\\x00\\x00"``.

    Raises:
        FrameTooLarge: ``payload`` is longer than ``max_size``.
    """
    size = len(payload)
    if size > max_size:
        raise FrameTooLarge(size, max_size)
    frame = encode_uleb128(size) + payload
    return frame if len(frame) >= MIN_FRAME_SIZE else frame.ljust(MIN_FRAME_SIZE, b"\0")


class FrameBuffer:
    """Bytes in, payloads out, in one pass.

    Feed it whatever arrived and take payloads until it has none. It never holds more than one
    unfinished frame of at most ``max_size`` payload bytes beside what the last feed brought.
    Work is linear in the bytes fed, however they are cut.
    """

    __slots__ = ("_data", "_offset", "_max_size")

    def __init__(self, max_size: int = MAX_FRAME_SIZE) -> None:
        self._data = bytearray()
        self._offset = 0
        self._max_size = max_size

    def __len__(self) -> int:
        """Bytes fed and not yet taken as payloads."""
        return len(self._data) - self._offset

    def __repr__(self) -> str:
        return f"<FrameBuffer {len(self)} bytes>"

    def feed(self, data: bytes) -> None:
        """Add bytes to the end."""
        if self._offset:
            # A bytearray gives up its front without moving the rest.
            del self._data[: self._offset]
            self._offset = 0
        self._data += data

    def next_payload(self) -> bytes | None:
        """Take the next whole payload, or None if its last byte has not arrived.

        Raises:
            DecodeError: the bytes are no frame. Everything before them was returned by earlier
                calls; nothing after them can be read, and every further call raises again.
            FrameTooLarge: the length header names more than the limit; none of it was buffered for.
        """
        data = self._data
        start = self._offset
        if len(data) - start < MIN_FRAME_SIZE:
            return None
        header = decode_uleb128(data, start)
        if header is None:
            return None
        size, body = header
        if size > self._max_size:
            raise FrameTooLarge(size, self._max_size)
        end = max(body + size, start + MIN_FRAME_SIZE)
        if len(data) < end:
            return None
        self._offset = end
        return bytes(data[body : body + size])

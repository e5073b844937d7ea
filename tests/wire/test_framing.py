"""Cutting byte streams into payloads and putting payloads on them."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smarkets_pool.exceptions import DecodeError, Error, FrameTooLarge, ProtocolError, UsageError
from smarkets_pool.wire.framing import (
    MAX_FRAME_SIZE,
    MIN_FRAME_SIZE,
    FrameBuffer,
    decode_uleb128,
    encode_frame,
    encode_uleb128,
)

#: Small enough for headers over it to turn up often among arbitrary bytes.
SMALL_LIMIT = 40

payload_lists = st.lists(st.binary(max_size=6) | st.binary(max_size=300), max_size=12)
cut_lists = st.lists(st.integers(min_value=0, max_value=3000), max_size=30)
#: Bytes with more headers of several bytes, short frames and zeros in them than chance would give.
streams = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"\x00", b"\x01", b"\x05", b"\x28", b"\x29", b"\x7f", b"\x80", b"\x81", b"\xff", b"A"])
    | st.binary(max_size=SMALL_LIMIT + 2).map(encode_frame),
    max_size=40,
).map(b"".join)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` cut at these places; places behind its end count as its end."""
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


def take_all(buffer: FrameBuffer) -> list[bytes]:
    """Every payload that is whole."""
    taken = []
    while (payload := buffer.next_payload()) is not None:
        taken.append(payload)
    return taken


def outcome(chunks: Sequence[bytes], limit: int) -> tuple[list[bytes], tuple[type[Error], str] | None, int]:
    """Payloads, error and bytes left after feeding these chunks, taking after each what there is."""
    buffer = FrameBuffer(limit)
    payloads: list[bytes] = []
    failure: tuple[type[Error], str] | None = None
    for chunk in chunks:
        buffer.feed(chunk)
        try:
            while (payload := buffer.next_payload()) is not None:
                # Nothing comes out any more once something was no frame.
                assert failure is None
                payloads.append(payload)
        except DecodeError as error:
            assert failure in (None, (type(error), str(error)))
            failure = type(error), str(error)
    return payloads, failure, len(buffer)


def fed(data: bytes, limit: int | None = None) -> FrameBuffer:
    """A buffer that holds these bytes, with its own limit unless one is given."""
    buffer = FrameBuffer() if limit is None else FrameBuffer(limit)
    buffer.feed(data)
    return buffer


# --- ULEB128 -------------------------------------------------------------------------------------


@given(st.integers(min_value=0, max_value=2**35 - 1))
def test_uleb128_round_trip(value: int) -> None:
    """What is written as at most five bytes is read back, with the offset behind it."""
    encoded = encode_uleb128(value)
    assert decode_uleb128(encoded) == (value, len(encoded))


@given(st.integers(min_value=0, max_value=2**35 - 1), st.binary(max_size=8), st.binary(max_size=8))
def test_uleb128_is_read_at_an_offset(value: int, before: bytes, behind: bytes) -> None:
    """What stands before and behind a number does not matter."""
    encoded = encode_uleb128(value)
    result = decode_uleb128(bytearray(before + encoded + behind), len(before))
    assert result == (value, len(before) + len(encoded))


@given(st.integers(min_value=0, max_value=2**80))
def test_uleb128_is_canonical(value: int) -> None:
    """Seven bits a byte, the high bit on all but the last, and not one byte more than needed."""
    encoded = encode_uleb128(value)
    assert len(encoded) == max(1, -(-value.bit_length() // 7))
    assert all(byte >= 0x80 for byte in encoded[:-1])
    assert encoded[-1] < 0x80
    assert sum((byte & 0x7F) << 7 * index for index, byte in enumerate(encoded)) == value


@given(st.integers(min_value=0, max_value=2**35 - 1), st.data())
def test_uleb128_cut_short_is_none(value: int, data: st.DataObject) -> None:
    """A number whose last byte has not arrived is not there yet."""
    encoded = encode_uleb128(value)
    assert decode_uleb128(encoded[: data.draw(st.integers(0, len(encoded) - 1))]) is None


def test_uleb128_refuses_negative_numbers() -> None:
    """There is no spelling for a number below zero."""
    with pytest.raises(UsageError, match=r"not -1$"):
        encode_uleb128(-1)


@pytest.mark.parametrize("spelling", ["01", "8100", "818000", "81808000", "8180808000"])
def test_uleb128_reads_longer_spellings(spelling: str) -> None:
    """Up to five bytes may spell a number that needs fewer."""
    assert decode_uleb128(bytes.fromhex(spelling)) == (1, len(spelling) // 2)


def test_uleb128_of_five_continuation_bytes() -> None:
    """A number that goes on after five bytes is refused even if the sixth would end it."""
    with pytest.raises(DecodeError, match="81 80 80 80 80"):
        decode_uleb128(bytes.fromhex("818080808000"))


# --- encoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "frame"),
    [(0, "00000000"), (1, "01410000"), (2, "02414100"), (3, "03414141"), (4, "0441414141")],
)
def test_short_frames_are_padded_to_four_bytes(size: int, frame: str) -> None:
    """Zeros fill a frame up to four bytes in all, and none are added from there on."""
    assert encode_frame(b"A" * size) == bytes.fromhex(frame)


@pytest.mark.parametrize(
    ("size", "header"),
    [(127, "7f"), (128, "8001"), (16383, "ff7f"), (16384, "808001"), (MAX_FRAME_SIZE, "808040")],
)
def test_long_frames_are_header_and_payload(size: int, header: str) -> None:
    """The header grows at powers of 128 and counts the payload only."""
    assert encode_frame(b"A" * size) == bytes.fromhex(header) + b"A" * size


def test_header_above_the_default_limit() -> None:
    """A caller's own limit may lie above the default; the header is then four bytes."""
    frame = encode_frame(bytes(2097152), max_size=2097152)
    assert len(frame) == 2097156
    assert frame.startswith(bytes.fromhex("80808001"))


@given(st.binary(max_size=300))
def test_no_frame_is_shorter_than_four_bytes(payload: bytes) -> None:
    """Every frame has at least the smallest legal size."""
    assert len(encode_frame(payload)) >= MIN_FRAME_SIZE == 4


def test_encode_at_the_limit() -> None:
    """A payload of exactly the limit is sent."""
    assert encode_frame(b"A" * 10, max_size=10) == b"\x0a" + b"A" * 10


def test_encode_over_the_limit() -> None:
    """One byte more than the limit is refused with both figures."""
    with pytest.raises(FrameTooLarge, match="11 payload bytes is over the limit of 10") as caught:
        encode_frame(b"A" * 11, max_size=10)
    assert (caught.value.size, caught.value.limit) == (11, 10)


def test_encode_over_the_default_limit() -> None:
    """Without a limit of the caller's own, 1 MiB is the limit."""
    assert MAX_FRAME_SIZE == 1024 * 1024
    with pytest.raises(FrameTooLarge) as caught:
        encode_frame(bytes(MAX_FRAME_SIZE + 1))
    assert (caught.value.size, caught.value.limit) == (MAX_FRAME_SIZE + 1, MAX_FRAME_SIZE)


# --- decoding ------------------------------------------------------------------------------------


@given(payload_lists, cut_lists)
@example([b""] * 3, [1, 2, 3, 5, 6, 7])
@example([b"A" * 128, b"", b"B"], [1, 2, 129, 130, 131])
def test_payloads_survive_any_cutting(payloads: list[bytes], cuts: list[int]) -> None:
    """Any payloads, encoded and cut anywhere, come out the same, in order, with nothing left."""
    stream = b"".join(encode_frame(payload) for payload in payloads)
    assert outcome(pieces(stream, cuts), MAX_FRAME_SIZE) == (payloads, None, 0)


@given(payload_lists, st.integers(min_value=1, max_value=300))
def test_unfinished_frame_waits(payloads: list[bytes], missing: int) -> None:
    """A frame whose end has not arrived keeps nothing back but itself, and comes out once it has."""
    last = b"L" * 300
    frame = encode_frame(last)
    buffer = fed(b"".join(encode_frame(payload) for payload in payloads) + frame[:-missing])
    assert take_all(buffer) == payloads
    assert len(buffer) == len(frame) - missing
    buffer.feed(frame[-missing:])
    assert take_all(buffer) == [last]


@given(streams, cut_lists, st.sampled_from([0, SMALL_LIMIT, MAX_FRAME_SIZE]))
@example(b"\x80\x80\x80\x80\x80", [], MAX_FRAME_SIZE)
@example(b"\x01A\x00\x00\x29", [3], SMALL_LIMIT)
def test_any_bytes_in_any_chunks(data: bytes, cuts: list[int], limit: int) -> None:
    """Whatever arrives gives payloads, None or a DecodeError: the same whole, in chunks and byte by byte."""
    whole = outcome([data], limit)
    assert outcome(pieces(data, cuts), limit) == whole
    assert outcome(pieces(data, range(len(data))), limit) == whole


@given(streams)
def test_payloads_are_never_over_the_limit(data: bytes) -> None:
    """Nothing longer than the limit comes out, whatever went in."""
    payloads, _, _ = outcome([data], SMALL_LIMIT)
    assert all(len(payload) <= SMALL_LIMIT for payload in payloads)


@given(streams)
def test_every_byte_is_accounted_for(data: bytes) -> None:
    """Each payload takes itself, a header of one to five bytes and its padding off the front, no more."""
    buffer = fed(data, SMALL_LIMIT)
    held = len(data)
    try:
        while (payload := buffer.next_payload()) is not None:
            taken = held - len(buffer)
            assert max(MIN_FRAME_SIZE, len(payload) + 1) <= taken <= max(MIN_FRAME_SIZE, len(payload) + 5)
            assert payload in data[len(data) - held :][:taken]
            held -= taken
    except DecodeError:
        pass
    assert len(buffer) == held


def test_payload_is_bytes() -> None:
    """A payload is immutable and stays what it was when the buffer goes on."""
    buffer = fed(b"\x03ABC")
    payload = buffer.next_payload()
    buffer.feed(b"\x03DEF")
    assert type(payload) is bytes
    assert payload == b"ABC"


def test_padding_content_is_ignored() -> None:
    """The filler up to four bytes is skipped whatever it holds."""
    assert take_all(fed(b"\x01A\xff\xff\x03BCD")) == [b"A", b"BCD"]


@pytest.mark.parametrize("size", [0, 1, 2])
def test_padding_has_to_arrive(size: int) -> None:
    """A padded frame is not whole before its padding is."""
    frame = encode_frame(b"A" * size)
    buffer = fed(frame[:3])
    assert buffer.next_payload() is None
    buffer.feed(frame[3:])
    assert buffer.next_payload() == b"A" * size


@pytest.mark.parametrize(
    ("stream", "payload"),
    [("81004100", b"A"), ("80000000", b""), ("81800041", b"A"), ("82004142", b"AB"), ("8080808000", b"")],
)
def test_longer_header_than_necessary(stream: str, payload: bytes) -> None:
    """A header with more bytes than it needs gives one payload, and less or no padding is skipped."""
    buffer = fed(bytes.fromhex(stream))
    assert take_all(buffer) == [payload]
    assert len(buffer) == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_fewer_than_four_bytes_wait(count: int) -> None:
    """No frame is that short, so nothing is read yet."""
    buffer = fed(b"\x00" * count)
    assert buffer.next_payload() is None
    assert len(buffer) == count


def test_fewer_than_four_bytes_are_not_judged() -> None:
    """A header over the limit is refused as soon as a frame could be whole, and not before."""
    buffer = fed(bytes.fromhex("290000"), limit=SMALL_LIMIT)
    assert buffer.next_payload() is None
    buffer.feed(b"\x00")
    with pytest.raises(FrameTooLarge):
        buffer.next_payload()


def test_four_continuation_bytes_wait() -> None:
    """A header of four bytes that goes on may still end with the fifth."""
    buffer = fed(bytes.fromhex("80808080"))
    assert buffer.next_payload() is None
    buffer.feed(bytes.fromhex("00 03414243"))
    assert take_all(buffer) == [b"", b"ABC"]


def test_five_continuation_bytes_are_no_header() -> None:
    """A header that goes on after five bytes is refused, and the text shows them."""
    with pytest.raises(DecodeError, match="ff fe fd fc fb"):
        fed(bytes.fromhex("fffefdfcfb00")).next_payload()


def test_decode_error_is_a_protocol_error() -> None:
    """Both refusals of the decoder are the peer's fault, and one handler catches both."""
    assert issubclass(FrameTooLarge, DecodeError)
    assert issubclass(DecodeError, ProtocolError)


def test_decode_at_the_limit() -> None:
    """A payload of exactly the limit is received."""
    assert fed(b"\x0a" + b"A" * 10, limit=10).next_payload() == b"A" * 10


def test_decode_over_the_limit() -> None:
    """One byte more is refused with both figures."""
    with pytest.raises(FrameTooLarge, match="11 payload bytes is over the limit of 10") as caught:
        fed(b"\x0b" + b"A" * 11, limit=10).next_payload()
    assert (caught.value.size, caught.value.limit) == (11, 10)


def test_decode_at_the_default_limit() -> None:
    """Without a limit of the caller's own, 1 MiB is received."""
    assert fed(encode_frame(bytes(MAX_FRAME_SIZE))).next_payload() == bytes(MAX_FRAME_SIZE)


def test_over_the_limit_is_refused_before_it_arrives() -> None:
    """The header alone is enough to refuse: nothing is waited for."""
    with pytest.raises(FrameTooLarge) as caught:
        fed(bytes.fromhex("81804041")).next_payload()
    assert caught.value.size == MAX_FRAME_SIZE + 1


def test_largest_header_is_too_large() -> None:
    """The largest length that five bytes can spell is a length, and over the limit."""
    with pytest.raises(FrameTooLarge) as caught:
        fed(bytes.fromhex("ffffffff7f")).next_payload()
    assert caught.value.size == 2**35 - 1


@pytest.mark.parametrize(
    ("bad", "error"), [("8080808080", DecodeError), ("ffffff7f", FrameTooLarge)], ids=["header", "size"]
)
def test_frames_before_a_bad_header_are_returned(bad: str, error: type[DecodeError]) -> None:
    """What arrived before the bytes that are no frame is not lost."""
    buffer = fed(b"\x03ABC" + encode_frame(b"") + bytes.fromhex(bad) + b"\x03DEF")
    assert [buffer.next_payload(), buffer.next_payload()] == [b"ABC", b""]
    with pytest.raises(error):
        buffer.next_payload()


@pytest.mark.parametrize(
    ("bad", "error"), [("8080808080", DecodeError), ("ffffff7f", FrameTooLarge)], ids=["header", "size"]
)
def test_error_is_raised_again(bad: str, error: type[DecodeError]) -> None:
    """Once out of step, always out of step: neither calling again nor feeding on helps."""
    buffer = fed(b"\x03ABC" + bytes.fromhex(bad))
    assert buffer.next_payload() == b"ABC"
    texts = set()
    for _ in range(3):
        with pytest.raises(error) as caught:
            buffer.next_payload()
        texts.add((type(caught.value), str(caught.value)))
        buffer.feed(b"\x03DEF")
    assert len(texts) == 1


# --- the buffer itself ---------------------------------------------------------------------------


def test_len_counts_what_is_not_taken() -> None:
    """The length is what was fed less what was taken, padding included."""
    buffer = FrameBuffer()
    assert len(buffer) == 0
    buffer.feed(b"\x01A\x00\x00\x03BC")
    assert len(buffer) == 7
    assert buffer.next_payload() == b"A"
    assert len(buffer) == 3
    assert buffer.next_payload() is None
    assert len(buffer) == 3
    buffer.feed(b"D")
    assert len(buffer) == 4


def test_repr_says_how_much_is_held() -> None:
    """The printed form names the bytes held, not their content."""
    buffer = fed(b"\x03ABC\x03DE")
    buffer.next_payload()
    assert repr(buffer) == "<FrameBuffer 3 bytes>"


def test_feeding_nothing_changes_nothing() -> None:
    """An empty read is no byte."""
    buffer = fed(b"\x03AB")
    buffer.feed(b"")
    assert (len(buffer), buffer.next_payload()) == (3, None)


def test_two_buffers_share_nothing() -> None:
    """Each connection's bytes are its own."""
    one, other = FrameBuffer(), FrameBuffer()
    one.feed(b"\x03ABC")
    assert (len(one), len(other)) == (4, 0)


def test_memory_does_not_grow_with_what_was_taken() -> None:
    """Megabytes through one buffer leave it as small as the unfinished frame it holds."""
    frame = encode_frame(b"x" * 1000)
    buffer = FrameBuffer()
    buffer.feed(frame[:500])
    tracemalloc.start()
    try:
        for _ in range(3000):
            buffer.feed(frame[500:] + frame[:500])
            assert len(buffer) == len(frame) + 500
            assert buffer.next_payload() == b"x" * 1000
            assert buffer.next_payload() is None
            assert len(buffer) == 500
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


class CountingBytes(bytearray):
    """A bytearray that counts the bytes which are read, copied, added or dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.work = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.work += 1 if isinstance(found, int) else len(found)
        return found

    def __delitem__(self, index: Any) -> None:
        self.work += len(self)
        super().__delitem__(index)
        self.work -= len(self)

    def __iadd__(self, data: Any) -> CountingBytes:  # type: ignore[misc]
        self.work += len(data)
        super().__iadd__(data)
        return self


def counted(chunks: Iterable[bytes]) -> tuple[list[bytes], int]:
    """The payloads of these chunks, taken after each, and the work they made."""
    buffer = FrameBuffer()
    # The one look inside: what a buffer does to its bytes cannot be seen from without.
    counter = CountingBytes()
    buffer._data = counter
    payloads = []
    for chunk in chunks:
        buffer.feed(chunk)
        payloads += take_all(buffer)
    assert buffer._data is counter
    return payloads, counter.work


def test_work_is_linear_in_many_frames_of_one_read() -> None:
    """Taking thousands of frames from one read touches every byte a few times, not once per frame."""
    frame = encode_frame(b"x" * 11)
    count = 5000
    payloads, work = counted([frame * count])
    assert payloads == [b"x" * 11] * count
    assert work <= 4 * len(frame) * count


def test_work_is_linear_in_a_frame_of_many_reads() -> None:
    """A frame that arrives byte by byte costs a few steps a byte, not the whole frame a byte."""
    frame = encode_frame(b"x" * 50_000)
    payloads, work = counted(frame[index : index + 1] for index in range(len(frame)))
    assert payloads == [b"x" * 50_000]
    assert work <= 8 * len(frame)


def test_work_is_linear_with_a_backlog() -> None:
    """One frame fed and one taken at a time costs the same before and behind a long unread rest."""
    frame = encode_frame(b"x" * 11)
    buffer = FrameBuffer()
    counter = CountingBytes()
    buffer._data = counter
    buffer.feed(frame * 5000)
    counter.work = 0
    for _ in range(2000):
        buffer.feed(frame)
        assert buffer.next_payload() == b"x" * 11
    assert buffer._data is counter
    assert len(buffer) == 5000 * len(frame)
    assert counter.work <= 6 * 2000 * len(frame)


@pytest.mark.parametrize(("size", "step"), [(1 << 17, 1), (MAX_FRAME_SIZE, 997)])
def test_long_frame_in_small_steps(size: int, step: int) -> None:
    """A long frame in many small reads gives one payload, at the last byte and not before."""
    payload = bytes(range(256)) * (size // 256)
    frame = encode_frame(payload)
    buffer = FrameBuffer()
    early = 0
    for start in range(0, len(frame) - 1, step):
        buffer.feed(frame[start : min(start + step, len(frame) - 1)])
        early += buffer.next_payload() is not None
    assert early == 0
    assert len(buffer) == len(frame) - 1
    buffer.feed(frame[-1:])
    assert take_all(buffer) == [payload]
    assert len(buffer) == 0

"""What a ``Session`` does with what arrives: order, gaps, replays, heartbeats, and its work per frame."""

from __future__ import annotations

import sys

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import (
    ConnectionError,
    DecodeError,
    FrameTooLarge,
    ParseError,
    SequenceGapError,
    SocketDisconnected,
)
from smarkets_pool.protocol import Timing
from smarkets_pool.session import Session, SessionSettings, SessionSocket
from tests.rig.ends import (
    brief,
    cut,
    framed,
    gapfill,
    heartbeat,
    inner,
    login_response,
    logout,
    market,
    order,
    ping,
    pong,
    replay,
    subscribe,
)
from tests.rig.peers import Line, buffered, read_until, session_with

# --- a session on a socket that is no socket: everything it reads is there at once ----------------


class Canned(SessionSocket):
    """A connection whose peer has said everything already; what is written is kept in pieces."""

    def __init__(self, *reads: bytes, takes: int = sys.maxsize) -> None:
        super().__init__(SessionSettings("u@example.com", "pw", ssl=False))
        self.reads = list(reads)
        self.takes = takes
        self.pieces: list[bytes] = []
        self.offered: list[object] = []
        self._open = False

    @property
    def connected(self) -> bool:
        return self._open

    def connect(self) -> bool:
        self._open = True
        return True

    def disconnect(self) -> None:
        self._open = False

    def send(self, data: bytes | bytearray | memoryview) -> int:
        self.offered.append(data.obj if isinstance(data, memoryview) else data)
        piece = bytes(data[: self.takes])
        self.pieces.append(piece)
        return len(piece)

    def sent(self) -> list[seto.Payload]:
        return [seto.Payload.FromString(data) for data in cut(b"".join(self.pieces))]

    def recv(self) -> bytes:
        if not self.reads:
            self.disconnect()
            raise SocketDisconnected
        return self.reads.pop(0)


def canned(*reads: bytes, takes: int = sys.maxsize, **options: object) -> tuple[Session, Canned]:
    """A session that is logged in and whose next reads bring ``reads``."""
    connection = Canned(login_response(), *reads, takes=takes)
    session = Session(connection.settings, socket=connection, **options)  # type: ignore[arg-type]
    session.log_in()
    connection.pieces.clear()
    connection.offered.clear()
    return session, connection


def given(session: Session) -> list[str]:
    """The frames that can be had without another read, in brief."""
    return [brief(frame.protobuf) for frame in buffered(session)]


# --- order ----------------------------------------------------------------------------------------


def test_a_frame_holds_the_payloads_bytes_and_the_same_parsed() -> None:
    """``Frame.bytes`` is the payload without its header."""
    session, _ = canned(ping(2))
    session.read()
    frame = session.next_frame()
    assert frame is not None
    assert framed(frame.bytes) == ping(2)
    assert frame.protobuf == seto.Payload.FromString(frame.bytes)


def test_has_buffered_tells_of_what_was_read_and_not_taken() -> None:
    """A program can ask whether ``next_frame`` is worth a call."""
    session, _ = canned(ping(2))
    buffered(session)
    assert not session.has_buffered
    session.read()
    assert session.has_buffered
    buffered(session)
    assert not session.has_buffered


def test_a_gap_is_asked_for_and_filled_in_order() -> None:
    """4.1 row 5: after a gap the session asks for what is missing and goes on when it has come."""
    heard = []

    def script(line: Line) -> None:
        line.accept()
        line.send(market(2), market(4), market(5))
        heard.extend(line.take(1))
        line.send(market(3, is_replay=True), market(4, is_replay=True), market(5, is_replay=True), ping(6))
        line.until_closed()

    with session_with(script) as session:
        session.log_in()
        assert read_until(session, 5) == [
            "2 market_subscribe",
            "3 market_subscribe replay",
            "4 market_subscribe replay",
            "5 market_subscribe replay",
            "6 ping",
        ]
        assert session.inseq == 7
    assert heard == ["2 replay"]


def test_the_request_for_a_gap_names_the_first_missing_number(caplog: pytest.LogCaptureFixture) -> None:
    """4.1 row 5: one request, for the number that was expected, and a line in the log."""
    session, connection = canned(ping(7) + ping(8) + ping(9))
    session.read()
    assert given(session) == []
    (request,) = connection.sent()
    assert (request.eto_payload.seq, request.eto_payload.replay.seq) == (2, 2)
    assert "payloads 2 to 6 are missing; asked for a replay" in caplog.text


def test_none_never_stands_for_a_duplicate() -> None:
    """4.1 row 6: good frames behind a duplicate are given without another read."""
    session, _ = canned(ping(2) + ping(2) + login_response(1) + pong(3))
    session.read()
    assert given(session) == ["2 ping", "3 pong"]


def test_none_never_stands_for_a_gap() -> None:
    """4.1 row 6: good frames behind an early one are given without another read."""
    session, _ = canned(market(5) + market(2) + market(3) + market(4) + market(5))
    session.read()
    assert given(session) == [f"{seq} market_subscribe" for seq in (2, 3, 4, 5)]


def test_a_gap_may_be_filled_by_gapfills() -> None:
    """4.1 row 5: numbers that stood for heartbeats come back as gapfills and end the gap."""
    session, _ = canned(market(4), gapfill(2) + gapfill(3) + market(4, is_replay=True) + ping(5))
    session.read()
    assert given(session) == []
    session.read()
    assert given(session) == ["2 gapfill replay", "3 gapfill replay", "4 market_subscribe replay", "5 ping"]
    assert session.inseq == 6


def test_a_gap_that_is_not_filled_in_time_closes_the_session() -> None:
    """4.1 row 5: a session whose gap stays open is not silently dead; it says so."""
    now = [0.0]
    session, connection = canned(market(4), market(5), clock=lambda: now[0], timing=Timing(replay=3.0))
    session.read()
    assert given(session) == []
    now[0] = 3.5
    session.read()
    with pytest.raises(SequenceGapError, match="payloads 2 to"):
        session.next_frame()
    assert not session.connected
    assert connection.pieces  # the request did go out


# --- replay requests of the exchange --------------------------------------------------------------


def test_what_the_exchange_asks_for_again_is_sent_again() -> None:
    """4.1 row 7: a replay request is answered, under the old numbers, the login by a gapfill."""
    heard = []

    def script(line: Line) -> None:
        line.accept()
        line.take(2)
        line.send(replay(2, 1))
        heard.extend(line.take(3))
        line.until_closed()

    with session_with(script) as session:
        session.log_in()
        session.send(subscribe())
        session.send(order())
        session.flush()
        assert read_until(session, 1) == ["2 replay"]
        assert given(session) == []
        assert session.outseq == 4
    assert heard == ["1 gapfill replay", "2 market_subscribe replay", "3 order_create replay"]


def test_an_early_replay_request_is_answered_at_once() -> None:
    """4.1 row 7: with gaps on both sides each answers the other instead of waiting for it."""
    session, connection = canned(replay(5, 2))
    session.send(subscribe())
    session.flush()
    connection.pieces.clear()
    session.read()
    assert given(session) == []
    sent = [brief(payload) for payload in connection.sent()]
    assert sent == ["2 market_subscribe replay", "3 replay"]


def test_a_ping_of_the_exchange_is_answered() -> None:
    """The schema lets either side ping; the pong leaves by itself."""
    session, connection = canned(ping(2))
    session.read()
    assert given(session) == ["2 ping"]
    assert connection.pieces == [pong(2)]


# --- heartbeats -----------------------------------------------------------------------------------


def test_a_heartbeat_is_answered_without_a_flush_by_the_user() -> None:
    """4.1 row 9: a program that only reads stays logged in."""
    heard = []

    def script(line: Line) -> None:
        line.accept()
        line.send(heartbeat(2), heartbeat(3))
        heard.extend(line.take(2))
        line.until_closed()

    with session_with(script) as session:
        session.log_in()
        assert read_until(session, 2) == ["2 heartbeat", "3 heartbeat"]
        assert session.next_frame() is None
        assert session.output_buffer_size == 0
    assert heard == ["2 heartbeat", "3 heartbeat"]


def test_only_heartbeats_in_order_are_answered() -> None:
    """4.1 row 9: neither a duplicate nor an early heartbeat has an answer."""
    session, connection = canned(heartbeat(2) + heartbeat(2), heartbeat(9))
    session.read()
    buffered(session)
    assert connection.pieces == [heartbeat(2)]
    session.read()
    buffered(session)
    assert [brief(payload) for payload in connection.sent()] == ["2 heartbeat", "3 replay"]


def test_a_session_with_timers_of_its_own_answers_no_heartbeat() -> None:
    """Two ends that answered each other's answers would never stop: one with timers sends its own."""
    session, connection = canned(heartbeat(2), timing=Timing())
    session.read()
    assert given(session) == ["2 heartbeat"]
    assert connection.pieces == []


# --- frames that are none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\xff\xff\xff\xff\xff\xff", DecodeError),
        (b"\x80\x80\x80\x80\x80\x00", DecodeError),
        (b"\x81\x80\x40", FrameTooLarge),
        (b"\x82\xfe\xff\x7f", FrameTooLarge),
        (b"\x04\xff\xff\xff\xff", ParseError),
        (b"\x00\x00\x00\x00", ParseError),
        (framed(seto.Payload(type=seto.PAYLOAD_ETO)), ParseError),
    ],
    ids=[
        "endless header",
        "long header",
        "1 MiB + 1",
        "the documentation's",
        "no protobuf",
        "empty",
        "no seq",
    ],
)
def test_bytes_that_are_no_frame_close_the_session(data: bytes, error: type[Exception]) -> None:
    """4.1 row 23: a bogus header is refused at once instead of being buffered for ever."""
    session, _ = canned(ping(2) + data.ljust(8, b"\0"))
    session.read()
    frame = session.next_frame()
    assert frame is not None  # what came before it still counts
    assert brief(frame.protobuf) == "2 ping"
    with pytest.raises(error):
        session.next_frame()
    assert not session.connected
    assert session.next_frame() is None


def test_a_frame_that_was_cut_off_is_counted() -> None:
    """A connection that ends inside a frame reports how many bytes of it had come."""

    def script(line: Line) -> None:
        line.accept()
        line.send(ping(2), ping(3)[:4])

    with session_with(script) as session:
        session.log_in()
        assert read_until(session, 1) == ["2 ping"]
        with pytest.raises(SocketDisconnected, match=r"in the middle of a frame \(4 bytes") as caught:
            while True:
                session.read()
                buffered(session)
        assert caught.value.unread == 4
        assert not session.connected


def test_a_connection_that_ends_between_frames_leaves_nothing_unread() -> None:
    """``unread`` is 0 and the text does not speak of a frame."""
    with session_with(lambda line: line.accept()) as session:
        session.log_in()
        buffered(session)
        with pytest.raises(SocketDisconnected) as caught:
            session.read()
        assert caught.value.unread == 0
        assert "middle" not in str(caught.value)


def test_frames_that_came_before_the_end_can_still_be_had() -> None:
    """When the peer closes, what it said before is not lost."""
    session, _ = canned(ping(2) + heartbeat(3))
    session.read()
    with pytest.raises(SocketDisconnected):
        session.read()
    assert given(session) == ["2 ping", "3 heartbeat"]
    assert not session.connected


# --- over connections -----------------------------------------------------------------------------


def test_half_a_frame_does_not_survive_a_disconnect() -> None:
    """4.1 row 16: leftover bytes of one connection are not put before the next one's."""

    def first(line: Line) -> None:
        line.accept()
        line.send(ping(2), ping(3)[:5])

    def second(line: Line) -> None:
        line.accept()
        line.send(pong(2))
        line.until_closed()

    with session_with(first, second) as session:
        session.log_in()
        with pytest.raises(ConnectionError):
            while True:
                session.read()
        assert session.has_buffered
        session.log_in()
        assert read_until(session, 1) == ["2 pong"]


def test_frames_and_messages_do_not_survive_a_disconnect(caplog: pytest.LogCaptureFixture) -> None:
    """4.1 row 16: unread frames and unsent messages belong to their connection; the log says so."""
    session, connection = canned(ping(2))
    session.send(subscribe())
    session.read()
    session.disconnect()
    assert "closed with 11 bytes and 0 messages unsent" in caplog.text
    assert session.output_buffer_size == 0
    assert given(session) == []
    connection.reads = [login_response()]
    session.log_in()
    assert (session.inseq, session.outseq) == (2, 2)
    assert given(session) == []


def test_frames_behind_a_logout_are_no_gap(caplog: pytest.LogCaptureFixture) -> None:
    """4.1 row 17: frames before and behind a logout come in their order and nothing is asked for."""
    session, connection = canned(ping(2) + logout(3, eto.LOGOUT_DOWNTIME) + pong(4))
    session.read()
    assert given(session) == ["2 ping", "3 logout", "4 pong"]
    assert session.inseq == 5
    assert not session.logged_in
    assert "missing" not in caplog.text
    assert connection.pieces == [pong(2)]


def test_an_early_logout_is_acted_on_and_the_gap_reported(caplog: pytest.LogCaptureFixture) -> None:
    """A logout with a number that is too high still ends the session; what is missing is logged."""
    session, _ = canned(logout(5, eto.LOGOUT_DOWNTIME))
    session.read()
    assert given(session) == ["5 logout"]
    assert not session.logged_in
    assert "payloads 2 to 4 never came" in caplog.text


# --- writing --------------------------------------------------------------------------------------


def test_a_socket_that_takes_few_bytes_gets_them_all() -> None:
    """4.1 row 12: flush goes on until everything is written, in order."""
    session, connection = canned(takes=3)
    messages = [subscribe(number) for number in range(1, 6)]
    for message in messages:
        session.send(message)
    session.flush()
    assert session.output_buffer_size == 0
    assert max(len(piece) for piece in connection.pieces) == 3
    markets = [payload.market_subscribe.market_id for payload in connection.sent()]
    assert markets == [1, 2, 3, 4, 5]


def test_a_server_that_reads_slowly_gets_everything() -> None:
    """4.1 row 12: more than the kernel takes at once arrives whole."""
    labels = []

    def script(line: Line) -> None:
        line.accept()
        labels.extend(len(line.payload().order_create.label) for _ in range(12))
        line.until_closed()

    with session_with(script, receive_buffer=4096) as session:
        session.log_in()
        for _ in range(12):
            message = order()
            message.label = "x" * 1_000_000
            session.send(message)
        assert session.output_buffer_size > 12_000_000
        session.flush()
        assert session.output_buffer_size == 0
        with pytest.raises(SocketDisconnected):
            session.raw_socket.shutdown(1)  # type: ignore[union-attr]
            session.read()
    assert labels == [1_000_000] * 12


def test_flush_offers_the_rest_without_copying_it() -> None:
    """4.1 row 22: each partial write is offered a view of one buffer, not a copy of the rest."""
    session, connection = canned(takes=1)
    buffer = session.send_buffer
    for number in range(50):
        session.send(subscribe(number))
    session.flush()
    assert len(connection.offered) == len(b"".join(connection.pieces)) > 500
    assert all(offered is buffer for offered in connection.offered)


class _Counting(bytearray):
    """A buffer that counts the bytes that are read out of it and the times its front is cut off."""

    copied = 0
    cuts = 0

    def __getitem__(self, key):  # type: ignore[no-untyped-def]
        found = super().__getitem__(key)
        type(self).copied += len(found) if isinstance(key, slice) else 1
        return found

    def __delitem__(self, key) -> None:  # type: ignore[no-untyped-def]
        type(self).cuts += 1
        super().__delitem__(key)


def test_work_is_linear_in_the_frames_buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """4.1 row 22: 50,000 buffered frames are dispatched with each byte copied a fixed number of times."""
    monkeypatch.setattr(_Counting, "copied", 0)
    monkeypatch.setattr(_Counting, "cuts", 0)
    count = 50_000
    stream = b"".join(ping(seq) for seq in range(2, count + 2))
    session, _ = canned(stream)
    buffered(session)
    protocol = session._protocol
    protocol._incoming._data = _Counting()
    session.read()
    for left in range(count, 0, -1):
        before = protocol.unread
        assert session.next_frame() is not None
        # One frame is cut out at a time; nothing is copied into a list of pending ones.
        assert before - protocol.unread < 20
        assert len(protocol._events) <= 1, left
    assert session.next_frame() is None
    assert _Counting.copied < 3 * len(stream)
    assert _Counting.cuts <= 1


# --- the rest --------------------------------------------------------------------------------------


def test_read_alone_dispatches_and_answers_nothing() -> None:
    """What is read is kept as it came until ``next_frame`` takes it."""
    session, connection = canned(heartbeat(2) + ping(3))
    session.read()
    assert connection.pieces == []
    assert session.inseq == 2


def test_payloads_newer_than_the_schema_are_given_as_they_are() -> None:
    """An unknown type, outer or inner, takes its number and is handed out with its bytes."""
    outer = framed(b"\x08\x7f\x12\x02\x08\x02")  # type 127, seq 2
    within = framed(b"\x08\x01\x12\x04\x08\x03\x10\x63")  # ETO, seq 3, inner type 99
    session, _ = canned(outer + within + ping(4))
    session.read()
    frames = buffered(session)
    assert [frame.protobuf.eto_payload.seq for frame in frames] == [2, 3, 4]
    assert framed(frames[0].bytes) == outer


def test_a_throttle_warning_is_a_frame_like_others() -> None:
    """eto.throttle_exceeded is given and needs no answer."""
    session, connection = canned(framed(inner(2, eto.PAYLOAD_THROTTLE_EXCEEDED)))
    session.read()
    assert given(session) == ["2 throttle_exceeded"]
    assert connection.pieces == []

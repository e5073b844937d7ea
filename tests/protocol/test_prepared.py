"""Messages that were serialised once and go to many sessions: the same rules as for any other."""

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import FrameTooLarge, UsageError
from smarkets_pool.wire.payloads import PreparedMessage, payload_for
from tests.rig.ends import client_up, exchange_up, framed, new_client, order, replay, subscribe

UPS = pytest.mark.parametrize("up", [client_up, exchange_up], ids=["client", "exchange"])


@UPS
@pytest.mark.parametrize("is_replay", [False, True])
@pytest.mark.parametrize("message", [subscribe(), order(), seto.Login(username="u", password="p")])
def test_send_prepared_is_send(up, message, is_replay):
    """Bytes, number, journal, counters and deadlines are those of send, on either side."""
    plain, prepared = up(), up()
    once = PreparedMessage(message)
    for peer in (plain, prepared):
        peer.now += 3
    for number in (2, 3):
        assert plain.side.send(message, plain.now, is_replay=is_replay) == number
        assert prepared.side.send_prepared(once, prepared.now, is_replay=is_replay) == number
        assert prepared.side.memory.journal.get(number) == plain.side.memory.journal.get(number)
        assert prepared.side.data_to_send() == plain.side.data_to_send() != b""
    assert prepared.side.outseq == plain.side.outseq == 4
    assert prepared.side.frames_sent == plain.side.frames_sent
    assert prepared.side.next_deadline() == plain.side.next_deadline()


def test_one_prepared_message_in_many_sessions():
    """Each session gives it its own number, and shares nothing else of it."""
    once = PreparedMessage(subscribe(7))
    peers = [exchange_up() for _ in range(3)]
    for index, peer in enumerate(peers):
        for _ in range(index):
            peer.side.heartbeat(peer.now)
        peer.sent()
        peer.side.send_prepared(once, peer.now)
    assert [peer.sent() for peer in peers] == [[f"{number} market_subscribe"] for number in (2, 3, 4)]


def test_a_prepared_message_is_replayed():
    """A replay repeats it under its number, marked."""
    peer = exchange_up()
    peer.side.send_prepared(PreparedMessage(subscribe(7)), peer.now)
    peer.sent()
    peer.feed(replay(2, 2))
    expected = payload_for(subscribe(7))
    expected.eto_payload.seq = 2
    expected.eto_payload.is_replay = True
    assert peer.side.data_to_send() == framed(expected)


def test_a_prepared_message_needs_a_login():
    """Before the login nothing is numbered, and the refusal names the message."""
    peer = new_client()
    with pytest.raises(UsageError, match=r"^seto\.market_subscribe cannot be sent: the session is NEW"):
        peer.side.send_prepared(PreparedMessage(subscribe()), peer.now)
    assert peer.side.outseq == 1
    assert peer.side.data_to_send() == b""


@UPS
@pytest.mark.parametrize("is_replay", [False, True])
def test_a_prepared_message_keeps_to_the_limit(up, is_replay):
    """It is refused exactly when send refuses it: with the room that a replay's mark will take."""
    verdicts = []
    for size in range(80, 130):
        message = seto.OrderRejected(seq=1, reason=seto.ORDER_REJECTED_MARKET_HALTED, label="x" * size)
        once = PreparedMessage(message)
        found = []
        for way in ("send", "send_prepared"):
            peer = up(max_frame_size=128)
            try:
                getattr(peer.side, way)(message if way == "send" else once, peer.now, is_replay=is_replay)
            except FrameTooLarge:
                assert peer.side.outseq == 2
                assert peer.side.memory.journal.get(2) is None
                assert peer.side.data_to_send() == b""
                found.append(False)
            else:
                found.append(True)
        assert found[0] == found[1]
        verdicts.append(found[0])
    assert verdicts[0] and not verdicts[-1]
    assert verdicts == sorted(verdicts, reverse=True)


def test_a_prepared_message_after_a_logout_is_refused():
    """Once the session is over nothing is numbered any more."""
    peer = exchange_up()
    peer.side.logout(peer.now, eto.LOGOUT_DOWNTIME)
    before = peer.side.outseq
    with pytest.raises(UsageError, match="cannot be sent: the session is LOGOUT_SENT"):
        peer.side.send_prepared(PreparedMessage(subscribe()), peer.now)
    assert peer.side.outseq == before

"""What breaks the rules: bytes from the peer that do, and sends of ours that cannot be."""

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import (
    DecodeError,
    FrameTooLarge,
    ParseError,
    ProtocolError,
    UsageError,
)
from smarkets_pool.protocol import Failed, LoggedIn, LoginReceived, State
from tests.rig.ends import (
    LOGIN,
    client_up,
    exchange_up,
    framed,
    inner,
    login,
    login_response,
    market,
    new_client,
    new_exchange,
    order,
    ping,
    subscribe,
)

BAD = {
    "a length without end": (b"\xff" * 5, DecodeError),
    "a frame over the limit": (b"\x81\x80\x40" + b"x", FrameTooLarge),
    "no protobuf": (framed(b"\xff\xff\xff"), ParseError),
    "an empty payload": (framed(b""), ParseError),
    "no number": (framed(bytes.fromhex("080112021002")), ParseError),
    "no type": (framed(bytes.fromhex("12020802")), ParseError),
    "a type without its member": (framed(bytes.fromhex("080a12020802")), ParseError),
    "a replay without its member": (framed(inner(2, eto.PAYLOAD_REPLAY)), ParseError),
    "a response without its member": (framed(inner(2, eto.PAYLOAD_LOGIN_RESPONSE)), ParseError),
    "a required field missing": (framed(bytes.fromhex("080a120208025a00")), ParseError),
}


# --- from the peer --------------------------------------------------------------------------------


@pytest.mark.parametrize("up", [client_up, exchange_up])
@pytest.mark.parametrize(("data", "error"), BAD.values(), ids=BAD.keys())
def test_bad_bytes_end_the_session_behind_what_was_good(up, data, error):
    """What came before is delivered, then the failure, then nothing; the state is CLOSED."""
    peer = up()
    seen = peer.feed(market(2), data, market(3))
    assert seen[0] == "2 market_subscribe"
    assert len(seen) == 2
    assert isinstance(seen[1], Failed)
    assert type(seen[1].error) is error
    assert peer.side.state is State.CLOSED
    assert peer.side.close_expected
    assert peer.feed(market(3)) == []
    assert peer.side.next_deadline() is None


@pytest.mark.parametrize(("data", "error"), BAD.values(), ids=BAD.keys())
def test_bad_bytes_in_place_of_a_login(data, error):
    """A peer that does not speak the protocol at all fails the same way."""
    (event,) = new_exchange().feed(data)
    assert isinstance(event, Failed) and type(event.error) is error


def test_the_size_limit_is_a_setting():
    """A payload of exactly the limit passes, one byte more does not, and is not buffered for."""
    size = len(market(2)) - 1
    assert exchange_up(max_frame_size=size + 100).feed(market(2)) == ["2 market_subscribe"]
    peer = new_client(max_frame_size=size)
    assert peer.feed(market(2)) == ["2 market_subscribe"]
    smaller = new_client(max_frame_size=size - 1)
    (event,) = smaller.feed(market(2)[:4])
    assert (event.error.size, event.error.limit) == (size, size - 1)


def test_unread_counts_the_bytes_of_a_frame_without_its_end():
    """So that a closed connection can be told from one that broke in the middle."""
    peer = client_up()
    peer.feed(market(2)[:3])
    assert peer.side.unread == 3
    peer.feed(market(2)[3:])
    assert peer.side.unread == 0


def test_numbers_cannot_be_driven_over_the_edge():
    """A reset to the last number there is must not make a later answer raise."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    seen = peer.feed(login_response(reset=2**64 - 1), ping(2), ping(3), ping(4))
    assert not peer.side.logged_in
    assert isinstance(seen[-1], Failed)


def test_numbers_at_the_edge_do_not_break_the_timer():
    """A heartbeat that has no number left must not raise out of the caller's timer."""
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    peer.feed(login_response(reset=2**64 - 1))
    for _ in range(3):
        peer.wait(5)


def test_names_are_text_whatever_the_bytes():
    """A session id that is no UTF-8 does not turn up as bytes where a text is promised."""
    frame = login_response(session="\x01\x02").replace(b"\x01\x02", b"\xff\xfe")
    peer = new_client()
    peer.side.login(LOGIN, peer.now)
    for event in peer.feed(frame):
        if isinstance(event, LoggedIn):
            assert isinstance(event.session, str)


def test_a_resumed_id_is_text_whatever_the_bytes():
    """The same for the id that a client wants to resume."""
    frame = login(session="\x01\x02").replace(b"\x01\x02", b"\xff\xfe")
    for event in new_exchange().feed(frame):
        if isinstance(event, LoginReceived):
            assert isinstance(event.session, str)


# --- sends that cannot be -------------------------------------------------------------------------


def unchanged(peer, verb, error):
    """Run ``verb``, expect ``error``, and check that nothing else happened."""
    before = (peer.side.state, peer.side.outseq, peer.side.frames_sent, peer.side.next_deadline())
    entries = len(peer.side.memory.journal)
    with pytest.raises(error) as caught:
        verb()
    after = (peer.side.state, peer.side.outseq, peer.side.frames_sent, peer.side.next_deadline())
    assert after == before
    assert len(peer.side.memory.journal) == entries
    assert peer.sent() == []
    return str(caught.value)


@pytest.mark.parametrize("up", [client_up, exchange_up])
def test_a_missing_field_costs_no_number(up):
    """The error names the payload and the fields; the next send has the number this one would have had."""
    peer = up()
    text = unchanged(peer, lambda: peer.side.send(seto.OrderCreate(), peer.now), UsageError)
    assert "order_create" in text and "side" in text and "contract_id" in text
    assert peer.side.send(subscribe(), peer.now) == 2


def test_a_message_that_is_too_large_costs_no_number():
    """FrameTooLarge names both sizes."""
    peer = client_up(max_frame_size=100)
    message = order()
    message.label = "x" * 200
    text = unchanged(peer, lambda: peer.side.send(message, peer.now), FrameTooLarge)
    # Two bytes stay free for the mark of a replay.
    assert "limit of 98" in text
    assert peer.side.ping(peer.now) == 2


@pytest.mark.parametrize("message", [seto.Quote(), eto.Replay(seq=1), eto.Login(session="x")])
def test_a_message_that_no_payload_carries_costs_no_number(message):
    """Parts of messages and messages of the session layer cannot be sent."""
    peer = client_up()
    text = unchanged(peer, lambda: peer.side.send(message, peer.now), UsageError)
    assert type(message).__name__ in text


SENDS = {
    "send": lambda peer: peer.side.send(subscribe(), peer.now),
    "ping": lambda peer: peer.side.ping(peer.now),
    "heartbeat": lambda peer: peer.side.heartbeat(peer.now),
    "throttle_exceeded": lambda peer: peer.side.throttle_exceeded(peer.now),
}


@pytest.mark.parametrize("verb", SENDS.values(), ids=SENDS.keys())
def test_nothing_is_sent_before_the_login(verb):
    """NEW and LOGIN_SENT refuse, and say in which state the session is."""
    peer = new_client()
    assert "NEW" in unchanged(peer, lambda: verb(peer), UsageError)
    peer.side.login(LOGIN, peer.now)
    peer.sent()
    assert "LOGIN_SENT" in unchanged(peer, lambda: verb(peer), UsageError)


@pytest.mark.parametrize("verb", SENDS.values(), ids=SENDS.keys())
def test_nothing_is_sent_after_the_logout(verb):
    """LOGOUT_SENT and CLOSED refuse."""
    peer = client_up()
    peer.side.logout(peer.now)
    peer.sent()
    assert "LOGOUT_SENT" in unchanged(peer, lambda: verb(peer), UsageError)
    peer.side.close()
    assert "CLOSED" in unchanged(peer, lambda: verb(peer), UsageError)


def test_a_second_login_of_ours_costs_no_number():
    """A session logs in once."""
    peer = client_up()
    text = unchanged(peer, lambda: peer.side.login(LOGIN, peer.now), UsageError)
    assert "UP" in text and "login sent" in text


def test_accepting_what_was_not_asked_costs_no_number():
    """Only a received login can be accepted."""
    peer = exchange_up()
    unchanged(peer, lambda: peer.side.accept_login("S", peer.now), UsageError)


def test_a_second_logout_of_ours_costs_no_number():
    """A session logs out once."""
    peer = client_up()
    peer.side.logout(peer.now)
    peer.sent()
    unchanged(peer, lambda: peer.side.logout(peer.now), UsageError)


def test_a_login_that_is_too_large_changes_nothing():
    """The session is still NEW: a shorter login can be sent."""
    peer = new_client(max_frame_size=50)
    unchanged(peer, lambda: peer.side.login(seto.Login(username="x" * 100), peer.now), FrameTooLarge)
    assert peer.side.login(seto.Login(username="x"), peer.now) == 1


def test_a_response_that_is_too_large_changes_nothing():
    """The login is still undecided: a shorter response, or a refusal, can be sent."""
    peer = new_exchange(max_frame_size=100)
    peer.feed(login())
    unchanged(peer, lambda: peer.side.accept_login("x" * 200, peer.now), FrameTooLarge)
    assert peer.side.accept_login("S", peer.now) == 1


def test_a_logout_for_a_reason_that_is_none_changes_nothing():
    """A number that is no LogoutReason is the caller's mistake and leaves the session as it was."""
    peer = client_up()
    unchanged(peer, lambda: peer.side.logout(peer.now, 99), UsageError)
    assert peer.side.state is State.UP


def test_failing_is_the_peers_fault():
    """Every failure is a ProtocolError: none can be mistaken for a mistake of the program."""
    for data, error in BAD.values():
        assert issubclass(error, ProtocolError) and not issubclass(error, UsageError), data


def test_a_received_ping_is_not_ours_to_number_when_it_is_bad():
    """The frame that failed is not counted as received."""
    peer = client_up()
    before = peer.side.frames_received
    peer.feed(ping(2), framed(b""))
    assert peer.side.frames_received == before + 1

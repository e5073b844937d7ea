"""What a received number means, row by row of the design's table; pings and their answers."""

from smarkets_pool import eto, seto
from smarkets_pool.protocol import (
    GapFilled,
    GapFound,
    GapUnfilled,
    LogoutReceived,
    Received,
    ReplayAnswered,
    State,
)
from tests.rig.ends import (
    Ends,
    client_up,
    exchange_up,
    framed,
    heartbeat,
    inner,
    login_response,
    logout,
    market,
    ping,
    pong,
    replay,
    subscribe,
    told,
)


def test_the_expected_number_is_reported_and_counted():
    """IN_ORDER: expected + 1."""
    peer = client_up()
    assert peer.feed(market(2), pong(3)) == ["2 market_subscribe", "3 pong"]
    assert peer.side.inseq == 4
    assert peer.side.frames_received == 3


def test_what_a_received_payload_says():
    """Name, payload, its bytes, number, mark and time are all there."""
    peer = client_up()
    peer.now += 3
    peer.side.receive_data(market(2, 77))
    (event,) = peer.take()
    payload = event.payload
    assert payload.market_subscribe.market_id == 77
    assert event == Received(
        "seto.market_subscribe", payload, payload.SerializeToString(), 2, False, peer.now
    )


def test_a_lower_number_is_counted_and_dropped():
    """DUPLICATE: nobody sees it, and a duplicate ping is not answered."""
    peer = exchange_up()
    peer.feed(ping(2))
    peer.sent()
    assert peer.feed(ping(2), ping(1), market(0)) == []
    assert peer.side.duplicates == 3
    assert peer.side.inseq == 3
    assert peer.sent() == []


def test_a_duplicate_replay_request_is_not_answered_again():
    """A number that was dealt with is dealt with."""
    peer = exchange_up()
    peer.feed(replay(2, 1))
    peer.sent()
    assert peer.feed(replay(2, 1)) == []
    assert peer.sent() == []


def test_a_duplicate_logout_ends_nothing():
    """A number below the expected one is never looked into."""
    peer = client_up()
    assert peer.feed(logout(1)) == []
    assert peer.side.state is State.UP


def test_a_replay_request_in_order():
    """It is reported and answered."""
    peer = exchange_up()
    peer.side.send(subscribe(), peer.now)
    peer.sent()
    assert peer.feed(replay(2, 2)) == ["2 replay", ReplayAnswered(2, 1, 0, ())]
    assert peer.sent() == ["2 market_subscribe replay"]


def test_an_early_replay_request_is_answered_at_once():
    """First the answer, or two sides would wait for each other; then our own request."""
    peer = exchange_up()
    peer.side.send(subscribe(), peer.now)
    peer.sent()
    assert peer.feed(replay(4, 1)) == [ReplayAnswered(1, 1, 1, ()), GapFound(2, 3)]
    assert peer.sent() == ["1 gapfill replay", "2 market_subscribe replay", "3 replay"]
    assert peer.side.state is State.RECOVERING


def test_an_early_replay_request_inside_an_open_gap_is_answered_at_once():
    """Waiting for a replay of our own is no reason to keep the peer waiting."""
    peer = exchange_up()
    peer.feed(market(5))
    peer.sent()
    assert peer.feed(replay(6, 1)) == [ReplayAnswered(1, 0, 2, ())]
    assert peer.sent() == ["1 gapfill replay", "2 gapfill replay"]


def test_an_early_logout_is_acted_on_at_once():
    """Its reason counts now; what is missing before it is announced with its bounds, then the logout."""
    peer = client_up()
    assert peer.feed(logout(5, eto.LOGOUT_DOWNTIME)) == [
        GapUnfilled(2, 4),
        "5 logout",
        LogoutReceived(eto.LOGOUT_DOWNTIME, "LOGOUT_DOWNTIME"),
    ]
    assert peer.side.state is State.LOGOUT_RECEIVED
    assert peer.sent() == []


def test_an_early_logout_inside_an_open_gap():
    """The gap reaches up to the logout: what was lost right before it is missing too."""
    peer = client_up()
    assert peer.feed(market(4)) == [GapFound(2, 3)]
    assert peer.feed(logout(8)) == [
        GapUnfilled(2, 7),
        "8 logout",
        LogoutReceived(eto.LOGOUT_NONE, "LOGOUT_NONE"),
    ]


def test_a_logout_in_order_inside_an_open_gap():
    """What the replay had not brought yet is announced as unfilled."""
    peer = client_up()
    peer.feed(market(5))
    assert peer.feed(logout(2)) == [
        "2 logout",
        GapUnfilled(3, 5),
        LogoutReceived(eto.LOGOUT_NONE, "LOGOUT_NONE"),
    ]


def test_an_early_login_response_while_logged_in_is_like_any_early_payload():
    """Only resumption gives it a meaning of its own."""
    peer = client_up()
    assert peer.feed(login_response(4)) == [GapFound(2, 3)]


def test_any_other_higher_number_is_dropped_and_asked_for():
    """GAP: one replay request from the expected number; nothing early is reported."""
    peer = client_up()
    assert peer.feed(market(4)) == [GapFound(2, 3)]
    (request,) = peer.sent_payloads()
    assert request.eto_payload.type == eto.PAYLOAD_REPLAY
    assert request.eto_payload.seq == 2
    assert request.eto_payload.replay.seq == 2
    assert peer.side.replays_requested == 1
    assert peer.side.state is State.RECOVERING
    assert peer.side.logged_in
    assert peer.side.inseq == 2


def test_an_early_ping_is_answered_when_the_replay_brings_it():
    """A dropped ping gets its pong once, later."""
    peer = exchange_up()
    peer.feed(ping(3))
    assert peer.sent() == ["2 replay"]
    peer.feed(ping(2, is_replay=True), ping(3, is_replay=True))
    assert peer.sent() == ["3 pong", "4 pong"]


def test_a_gap_closes_with_the_number_that_was_early():
    """GapFilled comes when everything up to the highest early number was reported."""
    peer = client_up()
    peer.feed(market(3))
    assert peer.feed(market(2, is_replay=True)) == ["2 market_subscribe replay"]
    assert peer.side.state is State.RECOVERING
    assert peer.feed(market(3, is_replay=True)) == ["3 market_subscribe replay", GapFilled(2, 3)]
    assert peer.side.state is State.UP


def test_a_payload_newer_than_the_schema_has_its_number():
    """An unknown type takes part in the numbering and is reported under its stand-in name."""
    peer = client_up()
    peer.side.receive_data(framed(bytes.fromhex("0863") + bytes.fromhex("12020802")))
    (event,) = peer.take()
    assert (event.name, event.seq) == ("seto.unknown", 2)
    assert peer.side.inseq == 3


def test_a_carrier_with_an_explicit_none_type_is_the_same():
    """Some clients write PAYLOAD_NONE into seto frames and some leave it out."""
    payload = seto.Payload(type=seto.PAYLOAD_MARKET_SUBSCRIBE)
    payload.market_subscribe.market_id = 1
    payload.eto_payload.seq = 2
    payload.eto_payload.type = eto.PAYLOAD_NONE
    peer = exchange_up()
    assert peer.feed(framed(payload)) == ["2 market_subscribe"]


# --- pings ----------------------------------------------------------------------------------------


def test_a_ping_is_answered_with_a_pong():
    """The pong takes the next number and names none."""
    peer = exchange_up()
    assert peer.feed(ping(2)) == ["2 ping"]
    (answer,) = peer.sent_payloads()
    assert answer.eto_payload == eto.Payload(seq=2, type=eto.PAYLOAD_PONG, is_replay=False)


def test_a_client_answers_a_ping_too():
    """The schema lets the exchange ask, so the client answers."""
    peer = client_up()
    peer.feed(ping(2))
    assert peer.sent() == ["2 pong"]


def test_a_thousand_pings():
    """As many pongs, in order, none twice."""
    ends = Ends().login().forget()
    numbers = [ends.client.ping(ends.now) for _ in range(1000)]
    assert numbers == list(range(2, 1002))
    ends.pump()
    assert [told(event) for event in ends.client_events] == [f"{n} pong" for n in numbers]
    assert ends.client.inseq == ends.exchange.inseq == 1002


def test_pongs_tell_what_was_answered_before():
    """A pong comes behind everything that was sent before the ping was read."""
    ends = Ends().login().forget()
    ends.exchange.send(subscribe(), ends.now)
    ends.client.ping(ends.now)
    ends.pump()
    assert [told(event) for event in ends.client_events] == ["2 market_subscribe", "3 pong"]


def test_a_pong_is_answered_by_nobody():
    """Two sides that ping each other come to rest."""
    ends = Ends().login().forget()
    ends.client.ping(ends.now)
    ends.exchange.ping(ends.now)
    ends.pump()
    assert ends.to_exchange.sent == ["2 ping", "3 pong"]
    assert ends.to_client.sent == ["2 ping", "3 pong"]


def test_no_heartbeat_is_answered_with_a_heartbeat():
    """A heartbeat is reported and leads to no sending, on either side."""
    for peer in (client_up(), exchange_up()):
        assert peer.feed(heartbeat(2)) == ["2 heartbeat"]
        assert peer.sent() == []


def test_throttle_exceeded_is_reported():
    """The exchange's warning is an ordinary numbered payload."""
    ends = Ends().login().forget()
    assert ends.exchange.throttle_exceeded(ends.now) == 2
    ends.pump()
    assert [told(event) for event in ends.client_events] == ["2 throttle_exceeded"]


def test_what_each_side_says_about_replays():
    """The exchange always writes is_replay, a client only when it is true."""
    for peer, explicit in ((exchange_up(), True), (client_up(), False)):
        peer.side.heartbeat(peer.now)
        peer.side.send(subscribe(), peer.now)
        for payload in peer.sent_payloads():
            assert payload.eto_payload.HasField("is_replay") is explicit
            assert not payload.eto_payload.is_replay


def test_an_event_of_the_accounts_history_keeps_its_mark():
    """send(is_replay=True) marks a payload that has a new number."""
    ends = Ends().login().forget()
    assert ends.exchange.send(subscribe(), ends.now, is_replay=True) == 2
    ends.pump()
    assert ends.client_events[0].is_replay
    assert ends.client.inseq == 3


def test_a_bare_inner_login_before_login_is_only_reported():
    """An eto login without the seto part is no login."""
    ends = Ends()
    ends.exchange.receive_data(framed(inner(1, eto.PAYLOAD_LOGIN)))
    ends.pump()
    assert [event.name for event in ends.exchange_events] == ["eto.login"]

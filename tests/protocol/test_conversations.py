"""Properties: whatever is lost, repeated or late, and whatever bytes a hostile peer sends."""

import itertools

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smarkets_pool import eto
from smarkets_pool.protocol import (
    Failed,
    GapUnfilled,
    LoginReceived,
    Received,
    SessionProtocol,
    State,
    TimedOut,
    Timing,
)
from smarkets_pool.wire.payloads import payload_for
from tests.rig.ends import (
    LOGIN,
    SESSION,
    START,
    Ends,
    Fault,
    client_up,
    exchange_up,
    framed,
    gapfill,
    heartbeat,
    login,
    login_response,
    logout,
    market,
    new_client,
    new_exchange,
    order,
    ping,
    pong,
    replay,
    subscribe,
    told,
)

PATIENT = Timing(replay_orders=None)
FAST = settings(database=None, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

# --- (a) faults on the way ------------------------------------------------------------------------


def reported(record):
    """Number and bytes of the seto payloads that were reported, without the mark of a replay."""
    found = []
    for event in record:
        if isinstance(event, Received) and event.name.startswith("seto."):
            payload = type(event.payload)()
            payload.CopyFrom(event.payload)
            payload.eto_payload.ClearField("is_replay")
            found.append((event.seq, payload.SerializeToString()))
    return found


class Conversation:
    """Runs the steps of a random conversation and remembers what each side sent."""

    def __init__(self):
        self.ends = Ends(timing=PATIENT).login().forget()
        self.sent = {"client": [], "exchange": []}
        self.count = 0

    def say(self, who, what):
        """One side sends something; seto payloads are remembered as the other should report them."""
        side = getattr(self.ends, who)
        if what == "ping":
            side.ping(self.ends.now)
            return
        self.count += 1
        message = order() if what == "order" else subscribe()
        message.market_id = self.count
        number = side.send(message, self.ends.now)
        payload = payload_for(message)
        payload.eto_payload.seq = number
        self.sent[who].append((number, payload.SerializeToString()))

    def step(self, step):
        """One step: say something, let time pass, carry what is on the way, or let held frames go."""
        kind, *rest = step
        if kind == "say":
            self.say(*rest)
        elif kind == "advance":
            self.ends.advance(*rest)
        elif kind == "pump":
            self.ends.pump()
        else:
            direction, backwards = rest
            getattr(self.ends, direction).release(backwards=backwards)

    def outcome(self):
        """The records by who was to be told, with what they should hold."""
        return [
            (self.ends.exchange_events, self.sent["client"]),
            (self.ends.client_events, self.sent["exchange"]),
        ]


FAULTS = st.lists(st.sampled_from([Fault.PASS, Fault.PASS, *Fault]), min_size=4, max_size=25)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("say"),
            st.sampled_from(["client", "exchange"]),
            st.sampled_from(["order", "market", "ping"]),
        ),
        st.tuples(st.just("pump")),
        st.tuples(st.just("advance"), st.sampled_from([0.5, 2.0, 5.0])),
        st.tuples(st.just("release"), st.sampled_from(["to_client", "to_exchange"]), st.booleans()),
    ),
    min_size=6,
    max_size=30,
)


def run(to_client, to_exchange, steps):
    """A conversation with faults, and then a minute without any."""
    talk = Conversation()
    talk.ends.to_client.next(*to_client)
    talk.ends.to_exchange.next(*to_exchange)
    for step in steps:
        talk.step(step)
    for link in (talk.ends.to_client, talk.ends.to_exchange):
        link.heal()
        link.release()
    talk.ends.pump()
    talk.ends.advance(60)
    return talk


@FAST
@given(FAULTS, FAULTS, STEPS)
def test_everything_is_reported_once_and_in_order_or_the_end_is_announced(to_client, to_exchange, steps):
    """Never twice, never out of order, and never a gap that stays open while everything is quiet."""
    talk = run(to_client, to_exchange, steps)
    everything = [*talk.ends.client_events, *talk.ends.exchange_events]
    ended = [
        e for e in everything if isinstance(e, Failed) or (isinstance(e, TimedOut) and e.what == "replay")
    ]
    assert not [e for e in everything if isinstance(e, Failed)]
    for record, sent in talk.outcome():
        seen = reported(record)
        assert seen == sent[: len(seen)]
        if not ended:
            assert seen == sent
    if not ended:
        assert not [e for e in everything if isinstance(e, GapUnfilled)]
        assert talk.ends.client.state is talk.ends.exchange.state is State.UP
        assert talk.ends.client.inseq == talk.ends.exchange.outseq
        assert talk.ends.exchange.inseq == talk.ends.client.outseq


@FAST
@given(st.lists(st.sampled_from([Fault.PASS, Fault.TWICE]), max_size=25), STEPS)
def test_repeated_frames_are_never_noticed(faults, steps):
    """Frames that arrive twice lead to no gap, no request and no second report."""
    talk = run(faults, faults, steps)
    for record, sent in talk.outcome():
        assert reported(record) == sent
    assert talk.ends.client.replays_requested == talk.ends.exchange.replays_requested == 0
    assert talk.ends.client.duplicates <= faults.count(Fault.TWICE)


@FAST
@given(st.integers(0, 12), st.booleans(), STEPS)
def test_one_lost_frame_is_always_replayed(index, upstream, steps):
    """If a single frame is lost no wait of anybody ends: the replay brings it."""
    faults = [Fault.PASS] * index + [Fault.DROP]
    talk = run([] if upstream else faults, faults if upstream else [], steps)
    for record, sent in talk.outcome():
        assert reported(record) == sent
        assert not [event for event in record if isinstance(event, (TimedOut, Failed, GapUnfilled))]


# --- (b) hostile bytes ----------------------------------------------------------------------------


def logged_out(up):
    """A side that sent its logout."""
    peer = up()
    peer.side.logout(peer.now)
    return peer


def fed(up, frame):
    """A side that received one more frame."""
    peer = up()
    peer.feed(frame)
    return peer


def asking(**options):
    """A client that waits for its answer."""
    peer = new_client(**options)
    peer.side.login(LOGIN, peer.now)
    return peer


def ended():
    """A side that is closed."""
    peer = exchange_up()
    peer.side.close()
    return peer


PLACES = {
    "client NEW": new_client,
    "exchange NEW": new_exchange,
    "client LOGIN_SENT": asking,
    "exchange LOGIN_RECEIVED": lambda: fed(new_exchange, login()),
    "client UP": client_up,
    "exchange UP": exchange_up,
    "client RECOVERING": lambda: fed(client_up, market(4)),
    "exchange RECOVERING": lambda: fed(exchange_up, market(4)),
    "client LOGOUT_SENT": lambda: logged_out(client_up),
    "exchange LOGOUT_SENT": lambda: logged_out(exchange_up),
    "client LOGOUT_RECEIVED": lambda: fed(client_up, logout(2)),
    "exchange LOGOUT_RECEIVED": lambda: fed(exchange_up, logout(2)),
    "CLOSED": ended,
}

HIGHEST = 2**64 - 1
NUMBERS = st.one_of(st.integers(0, 8), st.sampled_from([2**32, HIGHEST - 1, HIGHEST]))
RESETS = st.one_of(st.none(), st.integers(0, 8), st.sampled_from([HIGHEST - 1, HIGHEST]))
FLAGS = st.sampled_from([None, False, True])
FRAMES = st.one_of(
    st.builds(ping, NUMBERS, is_replay=FLAGS),
    st.builds(pong, NUMBERS, is_replay=FLAGS),
    st.builds(market, NUMBERS, is_replay=FLAGS),
    st.builds(heartbeat, NUMBERS),
    st.builds(gapfill, NUMBERS),
    st.builds(replay, NUMBERS, NUMBERS),
    st.builds(login, NUMBERS, session=st.none() | st.just(SESSION)),
    st.builds(login_response, NUMBERS, reset=RESETS),
    st.builds(logout, NUMBERS, st.none() | st.integers(0, 127)),
    # any type, known or not, without the member it names
    st.builds(lambda n, kind: framed(bytes([8, kind, 18, 2, 8, n])), st.integers(0, 8), st.integers(0, 60)),
    st.builds(
        lambda n, kind: framed(bytes([8, 1, 18, 4, 8, n, 16, kind])), st.integers(0, 8), st.integers(0, 20)
    ),
)
BYTES = st.one_of(
    st.binary(max_size=30),
    st.builds(framed, st.binary(max_size=30)),
    # a good frame with one byte changed
    st.builds(
        lambda frame, at, byte: frame[: at % len(frame)] + bytes([byte]) + frame[at % len(frame) + 1 :],
        FRAMES,
        st.integers(0, 60),
        st.integers(0, 255),
    ),
    FRAMES,
    FRAMES,
    FRAMES,
)


@settings(FAST, max_examples=200)
@given(st.sampled_from(list(PLACES)), st.lists(BYTES, max_size=12), st.booleans())
@example("client LOGIN_SENT", [login_response(1, reset=HIGHEST), ping(2), ping(3)], False)
def test_no_bytes_make_reading_raise(place, chunks, accept):
    """Whatever a peer sends, in whatever state we are: it becomes events, and numbers never go back."""
    peer = PLACES[place]()
    failed = False
    for chunk in chunks:
        before = peer.side.inseq
        for event in peer.feed(chunk):
            assert not failed, f"{event} came after the failure"
            failed = isinstance(event, Failed)
            if accept and isinstance(event, LoginReceived):
                peer.side.accept_login(SESSION, peer.now)
        assert peer.side.inseq >= before
        assert not failed or peer.side.state is State.CLOSED
        repr(peer.side)


# --- (c) however the bytes are cut ----------------------------------------------------------------


def listen(side, pieces):
    """Feed the pieces; accept whatever login comes; return all events and all that was sent."""
    events = []
    for piece in pieces:
        side.receive_data(piece)
        while (event := side.next_event(START)) is not None:
            if isinstance(event, LoginReceived):
                side.accept_login(SESSION, START)
            events.append(event if not isinstance(event, Failed) else (type(event.error), str(event.error)))
    return events, side.data_to_send(), side.state, side.inseq, side.outseq


def sides():
    """The three ways a session starts: as a client, as a client that waits, as an exchange."""
    exchange = SessionProtocol(says_is_replay=True)
    exchange.expect_login(START)
    return {"client": SessionProtocol(), "asking": asking().side, "exchange": exchange}


@FAST
@given(
    st.sampled_from(["client", "asking", "exchange"]),
    st.sampled_from([b"", login(), login_response()]),
    st.lists(FRAMES, max_size=8),
    st.binary(max_size=6),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_how_the_bytes_are_cut_changes_nothing(role, first, frames, rest, cuts):
    """Whole, byte by byte, or cut anywhere: the same events, bytes, numbers and state."""
    data = first + b"".join(frames) + rest
    bounds = sorted({0, len(data), *(at for at in cuts if at < len(data))})
    anywhere = [data[a:b] for a, b in itertools.pairwise(bounds)]
    whole = listen(sides()[role], [data])
    assert listen(sides()[role], [bytes([byte]) for byte in data]) == whole
    assert listen(sides()[role], anywhere) == whole


def test_the_captured_bytes_byte_by_byte():
    """What the real exchange sent, in one read and in many: the same session."""
    captured = bytes.fromhex(
        "220801121e08011008180032160a12387a79734242474144366e6239354a44494f1002"
        "140824120408021800aa020908f40310e80718c801"
        "0a08011206080310051800"
        "0a08011206080410051800"
    )
    whole = asking()
    assert whole.feed(captured)[0] == "1 login_response"
    piecewise = asking()
    seen = [event for byte in captured for event in piecewise.feed(bytes([byte]))]
    assert seen[2:] == ["2 throttle_limits_changed", "3 heartbeat", "4 heartbeat"]
    assert piecewise.side.inseq == whole.side.inseq == 5


def test_the_captured_heartbeat_timeout():
    """The real exchange's logout, number 8, after five heartbeats."""
    peer = client_up()
    peer.feed(market(2), *(heartbeat(n) for n in range(3, 8)))
    seen = peer.feed(bytes.fromhex("0e0801120a0808100918003a020802"))
    assert seen[0] == "8 logout"
    assert seen[1].reason == eto.LOGOUT_HEARTBEAT_TIMEOUT


def test_the_rig_itself_loses_and_repeats():
    """The links do what their faults say: a lost, a repeated and a late frame."""
    ends = Ends(timing=Timing(replay=None)).login().forget()
    ends.to_client.next(Fault.TWICE, Fault.HOLD)
    ends.exchange.ping(ends.now)
    ends.exchange.ping(ends.now)
    ends.pump()
    assert [told(event) for event in ends.client_events] == ["2 ping"]
    assert ends.client.duplicates == 1
    assert [frame.brief for frame in ends.to_client.held] == ["3 ping"]
    ends.to_client.release()
    ends.pump()
    assert [told(event) for event in ends.client_events] == ["2 ping", "3 ping"]

"""The bytes of a flood: right for every number, whatever way they were made."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import ConfigError
from smarkets_pool.exchange.flood import BLOCK, MESSAGES, Flood, FloodStream, offset_behind
from smarkets_pool.protocol import AccountSequence, Received, SessionProtocol, Verdict
from smarkets_pool.wire.payloads import account_sequence_of, message_of, payload_name
from tests.rig.ends import LOGIN, START, brief, cut

PLACES = {100_000: (200_000, 200_001), 100_001: (200_002, 200_003), 100_002: ()}
MIXES = [
    "",
    "order_executed=1",
    "order_executed contract_quotes=511",
    "contract_quotes=3 order_executed=5,order_accepted=2 pong heartbeat=1 market_quotes=1",
    "heartbeat",
]
#: Blocks around which some number in them grows by a byte, or no longer fits into 32 bits.
EDGES = sorted(
    {
        max(0, limit // each + near)
        for limit in (*(2 ** (7 * length) for length in range(1, 9)), 2**32)
        for each in (1, 32, 160, 224, BLOCK)
        for near in (-2, -1, 0, 1)
        if limit // each * BLOCK < 2**62
    }
)


def stream(text: str = "") -> FloodStream:
    """A flood over two markets that have contracts."""
    return FloodStream(Flood.parse(text), PLACES)


# --- what is in a block -------------------------------------------------------------------------


@pytest.mark.parametrize("text", MIXES)
def test_a_client_takes_every_frame(text: str) -> None:
    """A real session takes the stream from number 1 on without a gap, and so does an account."""
    flood, client = stream(text), SessionProtocol()
    client.login(LOGIN, START)
    account, names = AccountSequence(), []
    for index in range(5):
        client.receive_data(flood.block(index))
        while (event := client.next_event(START)) is not None:
            if isinstance(event, Received):
                number = account_sequence_of(event.name, message_of(event.payload))
                if number is not None:
                    assert account.check(number, is_replay=event.is_replay).verdict is Verdict.IN_ORDER
                names.append(event.name)
    assert client.inseq == 5 * BLOCK
    assert client.frames_received == len(names) == 5 * BLOCK - 1
    assert names[:5] == [
        "eto.login_response",
        "seto.throttle_limits_changed",
        "eto.pong",
        "seto.market_quotes",
        "seto.market_quotes",
    ]
    assert flood.head == 5


@pytest.mark.parametrize("text", MIXES)
def test_shortcuts_change_nothing(text: str) -> None:
    """A block made of pieces is the block made frame by frame, also where numbers grow."""
    flood = stream(text)
    for index in EDGES:
        assert flood.block(index) == b"".join(flood._frames(index)), index


@settings(max_examples=30)
@given(st.sampled_from(MIXES), st.integers(1, 2**53))
@example("", 1)
def test_any_block_stands_where_it_says(text: str, index: int) -> None:
    """The numbers of a block are those of its index, each once and in order, none of them a replay."""
    payloads = [seto.Payload.FromString(data) for data in cut(stream(text).block(index))]
    assert [p.eto_payload.seq for p in payloads] == list(range(index * BLOCK, (index + 1) * BLOCK))
    assert all(p.eto_payload.HasField("is_replay") and not p.eto_payload.is_replay for p in payloads)


def test_shares_are_kept_and_mixed() -> None:
    """Each message has its share of a block, and comes at even distances."""
    payloads = [
        seto.Payload.FromString(data) for data in cut(stream("contract_quotes=6 pong=1 heartbeat=1").block(3))
    ]
    names = [payload_name(payload) for payload in payloads]
    assert names.count("seto.contract_quotes") == BLOCK * 6 // 8
    assert names.count("eto.pong") == names.count("eto.heartbeat") == BLOCK // 8
    pongs = [at for at, name in enumerate(names) if name == "eto.pong"]
    assert {later - earlier for earlier, later in itertools.pairwise(pongs)} == {8}


def test_a_flood_is_about_every_contract() -> None:
    """Quotes go round all contracts of all markets."""
    payloads = [seto.Payload.FromString(data) for data in cut(stream("contract_quotes").block(1))]
    seen = {(p.contract_quotes.market_id, p.contract_quotes.contract_id) for p in payloads}
    assert seen == {(market_id, contract) for market_id, ids in PLACES.items() for contract in ids}


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_every_message_can_be_flooded(name: str) -> None:
    """Each name of the table gives frames of that name."""
    payloads = [seto.Payload.FromString(data) for data in cut(stream(name).block(1))]
    assert {payload_name(payload).partition(".")[2] for payload in payloads} == {name}


def test_a_logout_has_the_number_it_is_given() -> None:
    """The end of a flood is numbered like everything else."""
    (data,) = cut(stream().logout(5000, eto.LOGOUT_CONFIRMATION))
    payload = seto.Payload.FromString(data)
    assert brief(payload) == "5000 logout"
    assert payload.eto_payload.logout.reason == eto.LOGOUT_CONFIRMATION


def test_offsets_are_ends_of_frames() -> None:
    """Counting frames leads to where a frame ends, and a whole block to its end."""
    data = stream().block(1)
    assert len(cut(data[: offset_behind(data, 0, 10)])) == 10
    middle = offset_behind(data, 0, 10)
    assert len(cut(data[middle : offset_behind(data, middle, 7)])) == 7
    assert offset_behind(data, 0, BLOCK) == len(data)


# --- what it costs -------------------------------------------------------------------------------


def test_a_block_is_made_once_for_all() -> None:
    """Who comes later gets the very same bytes."""
    flood = stream()
    assert flood.block(1) is flood.block(1)
    assert flood.blocks_made == 1


def test_only_the_newest_blocks_are_kept() -> None:
    """However long the flood, what is kept stays small; an old block can be had again."""
    flood = stream()
    first = flood.block(1)
    for index in range(2, 300):
        flood.block(index)
    assert flood.blocks_made == 299
    assert len(flood._kept) == 64
    again = flood.block(1)
    assert flood.blocks_made == 300
    assert again == first
    assert again is not first


# --- the description -----------------------------------------------------------------------------


def test_a_description_is_read() -> None:
    """Names with shares are the mix; frames, rate and start_at are what they say."""
    assert Flood.parse("") == Flood()
    assert Flood.parse("contract_quotes=3,heartbeat frames=1000 rate=2.5 start_at=7 pause=0.5") == Flood(
        mix=(("contract_quotes", 3), ("heartbeat", 1)), frames=1000, rate=2.5, start_at=7, pause=0.5
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("quotes=3", "a flood has no 'quotes'; it can have contract_quotes, market_quotes, "),
        ("heartbeat=x", "'heartbeat=x' in the description of a flood is no name=number"),
        ("frames=", "'frames=' in the description of a flood is no name=number"),
        ("heartbeat=-1", "the share of heartbeat in a flood is -1 and must be from 0 to 512"),
        ("heartbeat=0", "the shares of a flood are 0 together and must be from 1 to 512"),
        ("heartbeat=400 pong=400", "the shares of a flood are 800 together"),
        ("frames=2", "a flood has 2 frames and must have 3 at least"),
        ("rate=0", "the rate of a flood is 0 and must be above 0"),
        ("rate=nan", "the rate of a flood is nan and must be above 0"),
        ("start_at=0", "a flood starts at 0 connections and must start at 1 or more"),
        ("pause=-1", "the pause before a flood is -1 and must be 0 or more"),
        ("heartbeat=1 heartbeat=2", "the mix of a flood has heartbeat twice"),
    ],
)
def test_a_bad_description_is_refused(text: str, sentence: str) -> None:
    """What cannot be is said, with what can."""
    with pytest.raises(ConfigError) as caught:
        Flood.parse(text)
    assert str(caught.value).startswith(sentence)


def test_a_flood_needs_a_contract() -> None:
    """Without anything to quote there is no flood."""
    with pytest.raises(ConfigError, match=r"^a flood needs a market with a contract$"):
        FloodStream(Flood(), {100_000: ()})

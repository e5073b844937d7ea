"""What a client can cost: bounded whatever he sends, and nothing at all to others."""

import logging

import pytest

from smarkets_pool import seto
from smarkets_pool.exchange.exchange import MOST_STRANGE
from smarkets_pool.wire.payloads import message_of, payload_name
from tests.rig.ends import framed, logout, market, ping, replay
from tests.rig.peers import Floor, buy, sell

#: A market so large that its snapshot takes some kilobytes.
LARGE = 50
CONTRACTS = tuple(range(100, 120))


@pytest.fixture
def large():
    """An exchange whose market 50 has twenty contracts with quotes, and an account that asks for them."""
    floor = Floor(visible_depth=0, throttle_enforced=False, out_buffer_limit=1 << 20)
    floor.exchange.operate("add_market", floor.now, market_id=LARGE, contracts=list(CONTRACTS))
    maker = floor.caller(1)
    for contract_id in CONTRACTS:
        for step in range(1, 10):
            maker.send(buy(2000 + step, 1000, market_id=LARGE, contract_id=contract_id))
            maker.send(sell(3000 + step, 1000, market_id=LARGE, contract_id=contract_id))
    return floor


def closed_because(caplog, number):
    """The log lines about a connection."""
    return [
        record.getMessage() for record in caplog.records if f"connection {number}: " in record.getMessage()
    ]


# --- cheap requests with large answers --------------------------------------------------------------


def test_a_flood_of_subscriptions_ends_at_the_out_buffer(large, caplog):
    """What one read asks for is not made once more than the limit waits; the connection is closed for it."""
    caplog.set_level(logging.INFO)
    flooder = large.caller(0)
    flood = b"".join(market(seq, LARGE) for seq in range(2, 2_000))
    flooder.peer.receive(flood, large.now)
    assert flooder.peer.aborted
    waiting = flooder.peer.bytes_waiting
    assert large.exchange.settings.out_buffer_limit < waiting < 1.1 * large.exchange.settings.out_buffer_limit
    assert any("it does not read" in line for line in closed_because(caplog, flooder.peer.number))


def test_a_flood_of_replays_ends_at_the_out_buffer(large):
    """The same for requests for everything again, each a few bytes."""
    flooder = large.caller(0)
    asked = 20
    flooder.feed(*(market(seq, LARGE) for seq in range(2, asked)))
    flooder.peer.receive(b"".join(replay(seq, 1) for seq in range(asked, asked + 200)), large.now)
    assert flooder.peer.aborted
    assert flooder.peer.bytes_waiting < 2 * large.exchange.settings.out_buffer_limit


def test_what_is_kept_for_replays_has_an_end_in_bytes(large):
    """A session that asked for many large messages keeps the last of them, and stands in for the others."""
    reader = large.caller(0)
    for seq in range(2, 400):
        reader.feed(market(seq, LARGE))
    entries = [reader.peer.protocol.memory.journal.get(seq) for seq in range(1, reader.peer.protocol.outseq)]
    assert sum(len(entry.data or b"") for entry in entries if entry is not None) <= 1 << 20
    assert entries[0] is None
    assert entries[-1] is not None
    first = reader.feed(replay(400, 2))[0]
    assert first == "2 gapfill replay"


def test_others_are_served_while_one_floods(large):
    """A flood that is cut off costs another account nothing."""
    other = large.caller(1)
    flooder = large.caller(0)
    flooder.peer.receive(b"".join(market(seq, LARGE) for seq in range(2, 2_000)), large.now)
    assert other.send(buy(1000, 1000)) == ["3 order_accepted"]


def test_a_snapshot_is_made_once_for_all_who_ask_before_it_changes(large, monkeypatch):
    """A flood of subscriptions, or of clients that come back, costs one snapshot."""
    made = []
    make = large.exchange.engine.snapshot
    monkeypatch.setattr(large.exchange.engine, "snapshot", lambda number: made.append(number) or make(number))
    readers = [large.caller(0) for _ in range(3)]
    said = [reader.feed(market(2, LARGE), market(3, LARGE), market(4, 1)) for reader in readers]
    assert made == [LARGE, 1]
    assert said[0] == said[1] == said[2] != []
    assert readers[0].payloads[2:] == readers[2].payloads[2:]


@pytest.mark.parametrize(
    "change",
    [
        lambda floor: floor.caller(0).send(buy(1000, 5, market_id=LARGE, contract_id=100)),
        lambda floor: floor.caller(0).send(buy(3001, 5, market_id=LARGE, contract_id=100)),
        lambda floor: floor.exchange.operate("cancel_all", floor.now, account="bob"),
        lambda floor: floor.exchange.operate("set_market_state", floor.now, market_id=LARGE, state="LIVE"),
        lambda floor: floor.exchange.operate("set_managed", floor.now, market_id=LARGE),
        lambda floor: floor.exchange.operate(
            "set_contract_state", floor.now, market_id=LARGE, contract_id=101, state="LIVE"
        ),
        lambda floor: (
            floor.exchange.operate("void_market", floor.now, market_id=LARGE),
            floor.exchange.operate("remove_market", floor.now, market_id=LARGE),
        ),
    ],
)
def test_whatever_changes_a_market_changes_its_snapshot(large, change):
    """Nobody is told of a market what was true before."""
    reader = large.caller(0)
    reader.feed(market(2, LARGE))
    before = [payload.SerializeToString() for payload in reader.payloads]
    change(large)
    late = large.caller(0)
    late.feed(market(2, LARGE))
    assert [payload.SerializeToString() for payload in late.payloads][2:] != before[2:]
    truth = large.exchange.engine.snapshot(LARGE)
    told = [message_of(payload) for payload in late.payloads[2:]]
    assert told == truth


def test_a_market_that_comes_again_is_another():
    """Though as much has happened to it as to the one before it."""
    floor = Floor()
    maker = floor.caller(1)
    maker.send(buy(1000, 5))
    floor.caller(0).feed(market(2))
    floor.exchange.operate("void_market", floor.now, market_id=1)
    floor.exchange.operate("remove_market", floor.now, market_id=1)
    floor.exchange.operate("add_market", floor.now, market_id=1, contracts=[2])
    maker.send(buy(1001, 5))
    reader = floor.caller(0)
    reader.feed(market(2))
    assert [message_of(payload) for payload in reader.payloads[2:]] == floor.exchange.engine.snapshot(1)


# --- what is kept -----------------------------------------------------------------------------------


def test_markets_that_there_are_not_cannot_be_followed_without_end(caplog):
    """A session follows so many strange markets and events; one more ends it, and a line says why."""
    caplog.set_level(logging.INFO)
    floor = Floor(throttle_enforced=False, unknown_market="silence")
    follower = floor.caller(0)
    most = MOST_STRANGE + len(floor.exchange.engine.markets)
    follower.feed(*(market(seq, 1_000_000 + seq) for seq in range(2, 2 + most)))
    assert not follower.peer.closing
    follower.feed(market(2 + most, 5))
    assert follower.peer.aborted
    assert any(f"it follows {most + 1} markets" in line for line in closed_because(caplog, 1))


def test_markets_that_there_are_do_not_count():
    """However many markets there are, a session may follow them all."""
    floor = Floor(throttle_enforced=False, unknown_market="silence")
    follower = floor.caller(0)
    follower.feed(*(market(seq, 1_000_000 + seq) for seq in range(2, 2 + MOST_STRANGE)))
    follower.feed(market(2 + MOST_STRANGE, 1), market(3 + MOST_STRANGE, 3))
    assert not follower.peer.closing


# --- others -----------------------------------------------------------------------------------------


def test_what_a_lost_session_causes_comes_behind_what_it_was_lost_over():
    """A session dies of an event it is told; what its end causes reaches other sessions after that event."""
    floor = Floor()
    first, second = floor.caller(0), floor.caller(0)
    first.send(seto.Settings(cancel_all_on_failure=True))
    floor.exchange.faults.inject("cut", account="ann", where="inside", names=["seto.order_accepted"])
    second.send(buy())
    assert first.peer.closing
    names = [payload_name(payload) for payload in second.payloads[2:]]
    assert names == ["seto.order_accepted", "seto.order_cancelled"]
    assert second.payloads[2].order_accepted.account_sequence_64 == 1
    assert second.payloads[3].order_cancelled.account_sequence_64 == 2


def test_an_exchange_whose_rules_fail_goes_on_telling(monkeypatch):
    """An error while effects are brought to somebody does not keep later ones back."""
    floor = Floor()
    caller = floor.caller(0)
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(floor.exchange, "_audience", lambda *_: 1 / 0)
        floor.exchange.operate("set_market_state", floor.now, market_id=1, state="HALTED")
    caller.feed(market(2))
    floor.exchange.operate("set_market_state", floor.now, market_id=1, state="OPEN")
    assert caller.heard()[-1].endswith("market_state")


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([ping(1)], "eto.ping first"),
        ([framed(b"\xff" * 9)], "9 bytes that are not a payload"),
        ([b"\xff" * 9], "a length header goes on"),
        ([b"\xff\xff\xff\xff\x0f"], "is over the limit"),
        ([logout(1)], "a logout first"),
        ([framed(seto.Payload(type=seto.PAYLOAD_LOGIN))], "without a sequence number"),
    ],
)
def test_a_connection_that_is_closed_has_a_line_that_says_why(caplog, frames, why):
    """Whatever ends a connection is in the log, with the connection's number."""
    caplog.set_level(logging.INFO)
    floor = Floor()
    caller = floor.caller()
    caller.feed(*frames)
    assert caller.peer.closing
    assert any(why in line for line in closed_because(caplog, 1))


def test_a_refused_login_has_a_line_too(caplog):
    """Wrong credentials, an unknown session, a silent client: each logout is logged with its reason."""
    caplog.set_level(logging.INFO)
    floor = Floor()
    floor.caller().login(0, password="wrong")
    floor.caller().login(0, session="unknown")
    floor.caller(1)
    floor.wait(31)
    for number, reason in ((1, "UNAUTHORISED"), (2, "UNKNOWN_SESSION"), (3, "HEARTBEAT_TIMEOUT")):
        assert f"logged out, LOGOUT_{reason}" in closed_because(caplog, number)[-1]

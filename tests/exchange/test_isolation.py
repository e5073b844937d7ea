"""What one client, one mistake or one large answer costs: nobody else, and not more than it must."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.control import Control
from smarkets_pool.exchange.embedded import EmbeddedExchange
from tests.rig.ends import framed
from tests.rig.peers import Floor, buy, sell


def break_the_line(caller):
    """Let the exchange's end of this connection raise whenever something is written."""

    def write(*_):
        raise RuntimeError("a mistake of ours")

    caller.peer.line.write = write


# --- one mistake -----------------------------------------------------------------------------------


def test_a_mistake_while_one_is_told_costs_nobody_else_an_event(caplog):
    """The broken connection is closed with a line that says why; the others are told, without a gap."""
    floor = Floor()
    ann, broken, bob, asker = floor.caller(0), floor.caller(1), floor.caller(1), floor.caller(1)
    ann.send(buy())
    break_the_line(broken)
    assert asker.send(sell()) == ["3 order_accepted", "4 order_executed"]
    assert bob.exchange_bytes() == ["3 order_accepted", "4 order_executed"]
    assert ann.exchange_bytes() == ["4 order_executed"]
    assert broken.peer.aborted
    assert "could not be told" in caplog.text


def test_a_mistake_at_one_moment_does_not_stop_time(caplog, monkeypatch):
    """Pending executions that cannot be confirmed keep no heartbeat back."""
    floor = Floor(managed_pending_ms=1)
    ann, bob = floor.caller(0), floor.caller(1)
    floor.exchange.operate("set_managed", floor.now, market_id=1)
    ann.send(buy())
    bob.send(sell())

    def operate(*_, **__):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(floor.exchange.engine, "due_us", lambda: 0)
    monkeypatch.setattr(floor.exchange.engine, "operate", operate)
    ann.exchange_bytes()
    floor.now += floor.exchange.settings.heartbeat_after
    floor.exchange.handle_timers(floor.now)
    assert ann.exchange_bytes() == ["5 heartbeat"]
    assert "the pending executions" in caplog.text


# --- large answers ---------------------------------------------------------------------------------


def test_a_long_history_is_no_reason_to_close_on_whoever_resumes():
    """However large the answer to one request is: it is written when its turn comes."""
    floor = Floor(out_buffer_limit=1024)
    first = floor.caller(0)
    for number in range(100):
        first.send(buy(price=1000 + number))
    first.peer.lost(floor.now)
    again = floor.caller()
    again.side.login(seto.Login(username="ann", password="pw-ann", account_sequence_64=1), floor.now)
    said = again.exchange_bytes()
    assert len(said) == 2 + 100
    assert not again.peer.closing


def test_cancelling_many_orders_at_once_is_none_either():
    """Acceptance and every cancellation arrive."""
    floor = Floor(out_buffer_limit=1024)
    ann = floor.caller(0)
    for number in range(100):
        ann.send(buy(price=1000 + number))
    assert len(ann.send(seto.OrderCancelAll())) == 101


def test_what_a_client_leaves_unread_is_bounded(caplog):
    """Bytes that wait behind others that the client does not take end its connection."""
    caplog.set_level(logging.INFO)
    floor = Floor(out_buffer_limit=1024)
    ann = floor.caller(0)
    ann.peer.stuck = 2000
    ann.send(buy())
    assert ann.peer.aborted
    assert "it does not read" in caplog.text


# --- who is answered -------------------------------------------------------------------------------


def test_in_sessions_of_their_own_the_one_that_asks_is_answered():
    """It cancels an order of the other: both hear; a refusal is for the one that asked alone."""
    floor = Floor(order_events_to="session")
    maker, asker = floor.caller(0), floor.caller(0)
    maker.send(buy())
    order_id = maker.payloads[-1].order_accepted.order_id
    assert asker.exchange_bytes() == []
    cancel = seto.OrderCancel(order_id=order_id)
    assert asker.send(cancel) == ["3 order_cancelled"]
    assert maker.exchange_bytes() == ["4 order_cancelled"]
    assert asker.send(cancel) == ["4 order_cancel_rejected"]
    assert maker.exchange_bytes() == []


# --- what is kept ----------------------------------------------------------------------------------


def test_what_is_not_kept_for_replays_is_said_to_be_gone(caplog):
    """Gapfills stand in for it, and the log has a line."""
    caplog.set_level(logging.INFO)
    floor = Floor(replay_limit=2)
    ann = floor.caller(0)
    for number in range(4):
        ann.send(buy(price=1000 + number))
    ann.side.memory.inseq = 3
    request = eto.Payload(type=eto.PAYLOAD_REPLAY, replay=eto.Replay(seq=3))
    payload = seto.Payload(type=seto.PAYLOAD_ETO, eto_payload=request)
    payload.eto_payload.seq = ann.side.outseq
    assert ann.feed(framed(payload)) == [
        "3 gapfill replay",
        "4 gapfill replay",
        "5 order_accepted replay",
        "6 order_accepted replay",
    ]
    assert "2 payloads are not kept any more" in caplog.text


def test_who_followed_a_market_that_is_gone_follows_none():
    """So that following one market after the other never adds up."""
    floor = Floor()
    ann = floor.caller(0)
    ann.send(seto.MarketSubscribe(market_id=1))
    floor.exchange.operate("void_market", floor.now, market_id=1)
    floor.exchange.operate("remove_market", floor.now, market_id=1)
    assert ann.peer.subscriptions == set()


def test_a_market_that_is_gone_leaves_nothing_behind():
    """Neither its books nor the snapshot that was made of them."""
    floor = Floor()
    floor.caller(0).send(seto.MarketSubscribe(market_id=1))
    market = weakref.ref(floor.exchange.engine.markets[1])
    floor.exchange.operate("void_market", floor.now, market_id=1)
    floor.exchange.operate("remove_market", floor.now, market_id=1)
    gc.collect()
    assert market() is None


# --- texts -----------------------------------------------------------------------------------------

HALF_A_CHARACTER = "\ud800"


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("set_market_state", {"market_id": 1, "state": "HALTED", "reason": HALF_A_CHARACTER}),
        ("tell", {"account": "ann", "name": "seto.balance_changed", "fields": {HALF_A_CHARACTER: 1}}),
        (
            "tell",
            {
                "account": "ann",
                "name": "seto.balance_changed",
                "fields": {"reason": HALF_A_CHARACTER, "available_balance": 1},
            },
        ),
    ],
)
def test_a_text_that_cannot_be_sent_changes_nothing(verb, arguments):
    """JSON knows halves of characters, UTF-8 does not."""
    floor = Floor()
    before = floor.exchange.engine.snapshot(1)
    with pytest.raises(UsageError):
        floor.exchange.operate(verb, floor.now, **arguments)
    assert floor.exchange.engine.snapshot(1) == before
    assert floor.caller(0).send(seto.MarketSubscribe(market_id=1)) == ["3 market_quotes", "4 market_state"]


def test_a_command_that_fails_is_answered():
    """Whatever it is: the exchange goes on, and who asked is told."""
    control = Control(EmbeddedExchange(accounts=1, tls=False))
    control.do = lambda *_: 1 / 0
    answer = control.execute({"do": "truth"})
    assert not answer["ok"]
    assert "ZeroDivisionError" in answer["error"]

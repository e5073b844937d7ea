"""What goes to many is serialised once; without sockets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from google.protobuf.message import Message

from smarkets_pool import seto
from smarkets_pool.exchange import exchange as exchange_module
from smarkets_pool.protocol import machine
from smarkets_pool.wire.payloads import PreparedMessage, message_name, payload_name
from tests.rig.ends import subscribe
from tests.rig.peers import Floor, buy


@pytest.fixture
def serialised(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often messages of which name were made bytes, by either way there is."""
    counted: Counter[str] = Counter()

    def prepare(message: Message) -> PreparedMessage:
        counted[message_name(type(message)) or "?"] += 1
        return PreparedMessage(message)

    def serialize(payload: seto.Payload) -> bytes:
        counted[payload_name(payload)] += 1
        return payload.SerializeToString()

    monkeypatch.setattr(exchange_module, "PreparedMessage", prepare)
    monkeypatch.setattr(machine, "serialize", serialize)
    return counted


def subscribed(floor: Floor, count: int) -> list[Any]:
    """So many connections that follow market 1."""
    callers = [floor.caller(number % 2) for number in range(count)]
    for caller in callers:
        caller.send(subscribe())
    return callers


@pytest.mark.parametrize("count", [2, 50])
def test_quotes_are_serialised_once_for_all_subscribers(count: int, serialised: Counter[str]) -> None:
    """However many follow a market, a change of it costs one serialisation, and everybody is told."""
    floor = Floor()
    callers = subscribed(floor, count)
    serialised.clear()
    floor.exchange.request_without_session(floor.accounts[0], buy(), 1, floor.now)
    told = [caller.exchange_bytes() for caller in callers]
    assert serialised["seto.contract_quotes"] == 1
    assert serialised["seto.order_accepted"] == 1
    assert all(any("contract_quotes" in line for line in lines) for lines in told)


def test_a_market_s_state_is_serialised_once(serialised: Counter[str]) -> None:
    """The same goes for what the staff announces."""
    floor = Floor()
    callers = subscribed(floor, 20)
    serialised.clear()
    floor.exchange.operate("set_market_state", floor.now, market_id=1, state="LIVE")
    assert serialised == {"seto.market_state": 1}
    assert all("market_state" in caller.exchange_bytes()[-1] for caller in callers)


def test_an_event_is_serialised_once(serialised: Counter[str]) -> None:
    """And for what happens on the pitch."""
    floor = Floor()
    callers = [floor.caller(number % 2) for number in range(20)]
    for caller in callers:
        caller.send(seto.EventSubscribe(event_id=7))
    serialised.clear()
    floor.exchange.notify_event(7, "SAFE", "", floor.now)
    assert serialised == {"seto.runningball_notification": 1}
    assert all("runningball_notification" in caller.exchange_bytes()[-1] for caller in callers)

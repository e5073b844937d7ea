"""Every row of ``tests/data/golden.tsv``: what each says in words against what its bytes say.

The bytes come from the table alone. ``EXPECTED`` says for each row what it means in terms of this
package; a row that it does not know fails, and so does an entry without a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from google.protobuf.message import Message

from smarkets_pool import eto, seto
from smarkets_pool.wire.framing import FrameBuffer, decode_uleb128, encode_frame, encode_uleb128
from smarkets_pool.wire.payloads import (
    PreparedMessage,
    eto_payload,
    message_of,
    parse_payload,
    payload_for,
    payload_name,
    serialize,
)

GOLDEN_TSV = Path(__file__).parents[1] / "data" / "golden.tsv"

#: What a field holds, by name, with only the fields that are there; a message is again such a dict.
Fields = dict[str, object]


class Row(NamedTuple):
    """One line of the table."""

    direction: str
    meaning: str
    hex: str
    source: str

    @property
    def key(self) -> tuple[str, str]:
        """What ``EXPECTED`` knows the row by."""
        return self.direction, self.meaning

    @property
    def data(self) -> bytes:
        """The bytes the row is about."""
        return bytes.fromhex(self.hex)


def table() -> list[Row]:
    """The rows of the table behind its title line."""
    title, *lines = GOLDEN_TSV.read_text(encoding="utf-8").splitlines()
    assert tuple(title.split("\t")) == Row._fields
    return [Row(*line.split("\t")) for line in lines]


# --- what the rows mean --------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """A row about one frame with this payload."""

    payload: bytes


@dataclass(frozen=True)
class Uleb128:
    """A row about this number."""

    value: int


@dataclass(frozen=True)
class Traffic:
    """A row about one payload: how we build it, and everything it holds once read."""

    build: Callable[[], seto.Payload]
    name: str
    seq: int
    #: The envelope's own fields, without the sequence number and the message.
    envelope: Fields
    #: The message's fields, None if the payload carries no message.
    message: Fields | None


def from_client(payload: seto.Payload, seq: int) -> seto.Payload:
    """Number a payload as clients do: nothing else is written."""
    payload.eto_payload.seq = seq
    return payload


def from_exchange(payload: seto.Payload, seq: int) -> seto.Payload:
    """Number a payload as the exchange does: it always writes ``is_replay``, false too."""
    payload.eto_payload.seq = seq
    payload.eto_payload.is_replay = False
    return payload


def login(message: seto.Login) -> seto.Payload:
    """The one hybrid frame: a seto message whose inner type says login too."""
    payload = payload_for(message)
    payload.eto_payload.type = eto.PAYLOAD_LOGIN
    return from_client(payload, 1)


def logout(reason: eto.LogoutReason) -> seto.Payload:
    """A logout with its reason, not yet numbered."""
    payload = eto_payload(eto.PAYLOAD_LOGOUT)
    payload.eto_payload.logout.reason = reason
    return payload


def login_response() -> seto.Payload:
    """The exchange's answer to a login."""
    payload = eto_payload(eto.PAYLOAD_LOGIN_RESPONSE)
    payload.eto_payload.login_response.session = "8zysBBGAD6nb95JDIO"
    payload.eto_payload.login_response.reset = 2
    return from_exchange(payload, 1)


def order_create() -> seto.OrderCreate:
    """Back 40.00 at 25.00 %."""
    return seto.OrderCreate(
        side=seto.SIDE_BUY, quantity=400000, price=2500, market_id=100000, contract_id=200000
    )


#: As read, an explicit ``is_replay`` of false is present and false.
NOT_REPLAYED: Fields = {"is_replay": False}

EXPECTED: dict[tuple[str, str], Frame | Uleb128 | Traffic] = {
    ("frame", "payload of 0 bytes 0x41"): Frame(b""),
    ("frame", "payload of 1 bytes 0x41"): Frame(b"A"),
    ("frame", "payload of 2 bytes 0x41"): Frame(b"AA"),
    ("frame", "payload of 3 bytes 0x41"): Frame(b"AAA"),
    ("frame", "payload of 4 bytes 0x41"): Frame(b"AAAA"),
    ("frame", "payload of 5 bytes 0x41"): Frame(b"AAAAA"),
    ("uleb128", "0"): Uleb128(0),
    ("uleb128", "127"): Uleb128(127),
    ("uleb128", "128"): Uleb128(128),
    ("uleb128", "16383"): Uleb128(16383),
    ("uleb128", "16384"): Uleb128(16384),
    ("uleb128", "624485"): Uleb128(624485),
    ("uleb128", "2097152"): Uleb128(2097152),
    ("uleb128", "268435202"): Uleb128(268435202),
    ("client->exchange", "login, username u@example.com, password pw, seq 1"): Traffic(
        lambda: login(seto.Login(username="u@example.com", password="pw")),
        name="seto.login",
        seq=1,
        envelope={"type": eto.PAYLOAD_LOGIN},
        message={"username": "u@example.com", "password": "pw"},
    ),
    (
        "client->exchange",
        "login resuming at account sequence 4294967297 (both fields as the SDK sends them), seq 1",
    ): Traffic(
        lambda: login(
            seto.Login(
                username="u@example.com", password="pw", account_sequence=0, account_sequence_64=4294967297
            )
        ),
        name="seto.login",
        seq=1,
        envelope={"type": eto.PAYLOAD_LOGIN},
        message={
            "username": "u@example.com",
            "password": "pw",
            "account_sequence": 0,
            "account_sequence_64": 4294967297,
        },
    ),
    ("client->exchange", 'login by token "token", seq 1'): Traffic(
        lambda: login(seto.Login(cookie=b"token")),
        name="seto.login",
        seq=1,
        envelope={"type": eto.PAYLOAD_LOGIN},
        message={"cookie": b"token"},
    ),
    ("client->exchange", "ping, seq 2"): Traffic(
        lambda: from_client(eto_payload(eto.PAYLOAD_PING), 2),
        name="eto.ping",
        seq=2,
        envelope={"type": eto.PAYLOAD_PING},
        message=None,
    ),
    ("client->exchange", "heartbeat, seq 3"): Traffic(
        lambda: from_client(eto_payload(eto.PAYLOAD_HEARTBEAT), 3),
        name="eto.heartbeat",
        seq=3,
        envelope={"type": eto.PAYLOAD_HEARTBEAT},
        message=None,
    ),
    ("client->exchange", "logout, reason none, seq 4"): Traffic(
        lambda: from_client(logout(eto.LOGOUT_NONE), 4),
        name="eto.logout",
        seq=4,
        envelope={"type": eto.PAYLOAD_LOGOUT},
        message={"reason": eto.LOGOUT_NONE},
    ),
    (
        "client->exchange",
        "order_create buy 40.00 at 25.00%, market 100000, contract 200000, seq 2",
    ): Traffic(
        lambda: from_client(payload_for(order_create()), 2),
        name="seto.order_create",
        seq=2,
        envelope={},
        message={
            "side": seto.SIDE_BUY,
            "quantity": 400000,
            "price": 2500,
            "market_id": 100000,
            "contract_id": 200000,
        },
    ),
    ("client->exchange", "market_subscribe 100000, seq 3"): Traffic(
        lambda: from_client(payload_for(seto.MarketSubscribe(market_id=100000)), 3),
        name="seto.market_subscribe",
        seq=3,
        envelope={},
        message={"market_id": 100000},
    ),
    ("client->exchange", "order_cancel 7, reference 9, seq 5"): Traffic(
        lambda: from_client(payload_for(seto.OrderCancel(order_id=7, reference=9)), 5),
        name="seto.order_cancel",
        seq=5,
        envelope={},
        message={"order_id": 7, "reference": 9},
    ),
    ("exchange->client", "throttle_limits_changed, 500/s, burst 1000, tick 200 ms, seq 2"): Traffic(
        lambda: from_exchange(
            payload_for(seto.ThrottleLimitsChanged(average_rate_ps=500, burst_size=1000, tick_ms=200)), 2
        ),
        name="seto.throttle_limits_changed",
        seq=2,
        envelope=NOT_REPLAYED,
        message={"average_rate_ps": 500, "burst_size": 1000, "tick_ms": 200},
    ),
    ("exchange->client", "heartbeat, seq 3"): Traffic(
        lambda: from_exchange(eto_payload(eto.PAYLOAD_HEARTBEAT), 3),
        name="eto.heartbeat",
        seq=3,
        envelope={"type": eto.PAYLOAD_HEARTBEAT, **NOT_REPLAYED},
        message=None,
    ),
    ("exchange->client", "heartbeat, seq 4"): Traffic(
        lambda: from_exchange(eto_payload(eto.PAYLOAD_HEARTBEAT), 4),
        name="eto.heartbeat",
        seq=4,
        envelope={"type": eto.PAYLOAD_HEARTBEAT, **NOT_REPLAYED},
        message=None,
    ),
    ("exchange->client", "logout UNAUTHORISED, seq 1"): Traffic(
        lambda: from_exchange(logout(eto.LOGOUT_UNAUTHORISED), 1),
        name="eto.logout",
        seq=1,
        envelope={"type": eto.PAYLOAD_LOGOUT, **NOT_REPLAYED},
        message={"reason": eto.LOGOUT_UNAUTHORISED},
    ),
    ("exchange->client", "logout HEARTBEAT_TIMEOUT, seq 8"): Traffic(
        lambda: from_exchange(logout(eto.LOGOUT_HEARTBEAT_TIMEOUT), 8),
        name="eto.logout",
        seq=8,
        envelope={"type": eto.PAYLOAD_LOGOUT, **NOT_REPLAYED},
        message={"reason": eto.LOGOUT_HEARTBEAT_TIMEOUT},
    ),
    ("exchange->client", "login_response, session 8zysBBGAD6nb95JDIO, reset 2, seq 1"): Traffic(
        login_response,
        name="eto.login_response",
        seq=1,
        envelope={"type": eto.PAYLOAD_LOGIN_RESPONSE, **NOT_REPLAYED},
        message={"session": "8zysBBGAD6nb95JDIO", "reset": 2},
    ),
}


# --- the rows, checked ---------------------------------------------------------------------------


def fields_of(message: Message) -> Fields:
    """Name and value of the fields that are there."""
    return {
        field.name: fields_of(cast("Message", value)) if field.message_type is not None else value
        for field, value in message.ListFields()
    }


def check_encoded(row: Row, expected: Frame | Uleb128 | Traffic) -> None:
    """What we write for the row's meaning is what the row has, byte for byte."""
    if isinstance(expected, Frame):
        assert encode_frame(expected.payload).hex() == row.hex
    elif isinstance(expected, Uleb128):
        assert encode_uleb128(expected.value).hex() == row.hex
    else:
        assert encode_frame(serialize(expected.build())).hex() == row.hex


def check_decoded(row: Row, expected: Frame | Uleb128 | Traffic) -> None:
    """What we read from the row's bytes is what the row means, and all of it."""
    if isinstance(expected, Uleb128):
        assert decode_uleb128(row.data) == (expected.value, len(row.data))
        return
    buffer = FrameBuffer()
    buffer.feed(row.data)
    data = buffer.next_payload()
    assert data is not None
    assert len(buffer) == 0
    assert buffer.next_payload() is None
    if isinstance(expected, Frame):
        assert data == expected.payload
        return
    payload = parse_payload(data)
    assert payload_name(payload) == expected.name
    assert payload.eto_payload.seq == expected.seq
    message = message_of(payload)
    assert (None if message is None else fields_of(message)) == expected.message
    # And nothing besides: the whole payload is the envelope, the number and the message.
    layer, _, member = expected.name.partition(".")
    inner: Fields = {"seq": expected.seq, **expected.envelope}
    outer: Fields = {"type": seto.PAYLOAD_ETO if layer == "eto" else payload.type, "eto_payload": inner}
    if expected.message is not None:
        (inner if layer == "eto" else outer)[member] = expected.message
    assert fields_of(payload) == outer


def look_up(row: Row) -> Frame | Uleb128 | Traffic:
    """What the row should mean; a row nobody has thought about fails."""
    expected = EXPECTED.get(row.key)
    if expected is None:
        pytest.fail(f"no expectation for the row {row.key}: add one to EXPECTED")
    return expected


by_row = pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row.direction} {row.meaning}") for row in table()]
)


@by_row
def test_row_encodes(row: Row) -> None:
    """The meaning, written by us, gives the row's bytes."""
    check_encoded(row, look_up(row))


@by_row
def test_row_decodes(row: Row) -> None:
    """The row's bytes, read by us, give the meaning and nothing more."""
    check_decoded(row, look_up(row))


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.meaning)
        for row in table()
        if (expected := EXPECTED.get(row.key)) is not None
        and isinstance(expected, Traffic)
        and expected.name.startswith("seto.")
        and "type" not in expected.envelope
    ],
)
def test_row_is_prepared(row: Row) -> None:
    """A seto message that was serialised ahead of its number gives the row's bytes."""
    expected = look_up(row)
    assert isinstance(expected, Traffic)
    message = message_of(expected.build())
    assert message is not None
    mark = cast("bool | None", expected.envelope.get("is_replay"))
    assert encode_frame(PreparedMessage(message).payload(expected.seq, mark)).hex() == row.hex


def test_rows_and_expectations_are_the_same_set() -> None:
    """No row is without an expectation, no expectation without a row, and no row is there twice."""
    assert sorted(row.key for row in table()) == sorted(EXPECTED)


def test_a_new_row_is_not_forgotten() -> None:
    """A row with a meaning that EXPECTED does not know makes the run fail."""
    with pytest.raises(pytest.fail.Exception, match="no expectation for the row"):
        look_up(Row("exchange->client", "something new, seq 1", "00000000", "invented"))


def test_all_traffic_in_one_stream() -> None:
    """The frames of all rows, one behind the other, are cut where the rows were joined."""
    rows = [row for row in table() if row.direction != "uleb128"]
    buffer = FrameBuffer()
    buffer.feed(b"".join(row.data for row in rows))
    for row in rows:
        single = FrameBuffer()
        single.feed(row.data)
        assert buffer.next_payload() == single.next_payload(), row.meaning
    assert len(buffer) == 0

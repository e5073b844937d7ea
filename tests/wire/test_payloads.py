"""Payloads: what must be there, what things are called, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import example, given
from hypothesis import strategies as st

from smarkets_pool import eto, seto
from smarkets_pool.exceptions import ParseError, ProtocolError, UsageError
from smarkets_pool.wire.payloads import (
    ETO_NAMES,
    MESSAGE_CLASSES,
    PAYLOAD_NAMES,
    SETO_NAMES,
    PreparedMessage,
    account_sequence_of,
    enum_name,
    eto_payload,
    message_name,
    message_of,
    parse_payload,
    payload_for,
    payload_name,
    serialize,
)

SCHEMA_TSV = Path(__file__).parents[1] / "data" / "schema.tsv"


def schema_types(layer: str) -> dict[str, int]:
    """``order_create`` -> 3 and so on, from the table and not from the code under test."""
    rows = [line.split("\t") for line in SCHEMA_TSV.read_text(encoding="utf-8").splitlines()]
    return {
        row[3].removeprefix("PAYLOAD_").lower(): int(row[4])
        for row in rows
        if row[:3] == [layer, "enum", "PayloadType"]
    }


SETO_TYPES = schema_types("seto")
ETO_TYPES = schema_types("eto")
#: The types of payloads that carry a seto message.
SETO_MEMBERS = sorted(set(SETO_TYPES) - {"eto"})
#: The types of eto payloads that have a message, and those of them that must carry it.
ETO_MEMBERS = ["login", "login_response", "logout", "replay"]
ETO_REQUIRED_MEMBERS = ["login_response", "replay"]

SETO_CLASSES: list[type[Message]] = [type(getattr(seto.Payload(), member)) for member in SETO_MEMBERS]
#: Classes of messages with a number of the account, but for login, which asks for one.
SEQUENCED = [
    (f"seto.{member}", cls)
    for member, cls in zip(SETO_MEMBERS, SETO_CLASSES, strict=True)
    if "account_sequence_64" in cls.DESCRIPTOR.fields_by_name and member != "login"
]


def class_name(value: object) -> str | None:
    """Readable test ids for classes."""
    return value.__name__ if isinstance(value, type) else None


def wire(text: str) -> bytes:
    """Bytes from hex with spaces."""
    return bytes.fromhex(text)


def delimited(number: int, content: bytes) -> bytes:
    """A field of the length-delimited kind: number below 2048, content below 128 bytes."""
    tag = number << 3 | 2
    head = bytes([tag]) if tag < 0x80 else bytes([tag & 0x7F | 0x80, tag >> 7])
    return head + bytes([len(content)]) + content


def values_of(field: Any) -> st.SearchStrategy[Any]:
    """What a field may hold."""
    if field.message_type is not None:
        return messages(getattr(seto, field.message_type.name))
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return {
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_BYTES: st.binary(max_size=9),
        FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
        FieldDescriptor.TYPE_STRING: st.text(max_size=9),
        FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
        FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    }[field.type]


def messages(cls: type[Message]) -> st.SearchStrategy[Message]:
    """Any valid instance of a class: required fields always, the others sometimes."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in cls.DESCRIPTOR.fields:
        if field.is_repeated:
            optional[field.name] = st.lists(values_of(field), max_size=2)
        else:
            (required if field.is_required else optional)[field.name] = values_of(field)
    return st.fixed_dictionaries(required, optional=optional).map(lambda filled: cls(**filled))


def minimal(cls: type[Message]) -> Message:
    """The smallest valid instance of a class: required fields only."""
    message = cls()
    for field in cls.DESCRIPTOR.fields:
        if not field.is_required:
            continue
        if field.enum_type is not None:
            setattr(message, field.name, field.enum_type.values[-1].number)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            setattr(message, field.name, "x")
        else:
            setattr(message, field.name, 1)
    assert message.IsInitialized()
    return message


def numbered(payload: seto.Payload, seq: int = 7) -> seto.Payload:
    """The payload with a sequence number."""
    payload.eto_payload.seq = seq
    return payload


def carrying(name: str, message: Message) -> seto.Payload:
    """A payload of this name with this message, put together by hand."""
    layer, _, short = name.partition(".")
    payload = seto.Payload()
    payload.eto_payload.seq = 7
    if layer == "seto":
        payload.type = cast("seto.PayloadType", SETO_TYPES[short])
        holder: Message = payload
    else:
        payload.type = seto.PAYLOAD_ETO
        payload.eto_payload.type = cast("eto.PayloadType", ETO_TYPES[short])
        holder = payload.eto_payload
    getattr(holder, short).CopyFrom(message)
    getattr(holder, short).SetInParent()
    return payload


# --- reading: the envelope -----------------------------------------------------------------------


def test_smallest_payload_parses() -> None:
    """A type and a sequence number are enough for a payload of the session layer."""
    payload = parse_payload(wire("0801 1202 0803"))
    assert payload.type == seto.PAYLOAD_ETO
    assert payload.eto_payload.seq == 3


def test_sequence_number_zero_is_there() -> None:
    """Zero is a number; only absence is refused."""
    assert parse_payload(wire("0801 1202 0800")).eto_payload.seq == 0


@pytest.mark.parametrize(
    "data",
    [wire("1202 0801"), wire("0a01 01 1202 0801"), wire("1202 0801 1a00")],
    ids=["absent", "not a number", "only its member"],
)
def test_payload_without_type(data: bytes) -> None:
    """A payload whose outer type is not there is refused, whatever else it carries."""
    with pytest.raises(ParseError, match=f"^a payload of {len(data)} bytes without a type$"):
        parse_payload(data)


@pytest.mark.parametrize(
    "data",
    [wire("0801"), wire("0801 1200"), wire("0801 1202 1005"), wire("0801 1203 0a01 03"), wire("0863")],
    ids=["no eto_payload", "empty eto_payload", "only an inner type", "not a number", "unknown type"],
)
def test_payload_without_sequence_number(data: bytes) -> None:
    """A payload whose eto_payload or its number is not there is refused."""
    with pytest.raises(ParseError, match=f"^a payload of {len(data)} bytes without a sequence number$"):
        parse_payload(data)


def test_empty_payload() -> None:
    """No bytes at all are a frame, and no payload."""
    with pytest.raises(ParseError, match=r"^a payload of 0 bytes without a type$"):
        parse_payload(b"")


@pytest.mark.parametrize("data", [b"\xff\xff", b"GET / HTTP/1.1\r\n", wire("0801 1204 0803")])
def test_garbage(data: bytes) -> None:
    """Bytes that are not protobuf are refused with their number and protobuf's own reason."""
    with pytest.raises(ParseError, match=f"^{len(data)} bytes that are not a payload: .+") as caught:
        parse_payload(data)
    assert caught.value.__cause__ is not None


def test_parse_error_is_a_protocol_error() -> None:
    """A payload that breaks the schema is the peer's fault."""
    assert issubclass(ParseError, ProtocolError)


@pytest.mark.parametrize("convert", [bytes, bytearray, memoryview], ids=class_name)
def test_any_kind_of_bytes_parses(convert: type) -> None:
    """What is bytes-like is read as bytes."""
    assert parse_payload(convert(wire("0801 1202 0803"))).eto_payload.seq == 3


# --- reading: the member that the type names -----------------------------------------------------


@pytest.mark.parametrize("member", SETO_MEMBERS)
def test_seto_member_missing(member: str) -> None:
    """A seto payload without the member that its type names is refused, and the member is named."""
    data = bytes([0x08, SETO_TYPES[member], 0x12, 0x02, 0x08, 0x05])
    with pytest.raises(ParseError, match=f"^payload 5 says {member} and carries no {member}$"):
        parse_payload(data)


@pytest.mark.parametrize("member", ETO_REQUIRED_MEMBERS)
def test_eto_member_missing(member: str) -> None:
    """A replay request and a login response are nothing without their data."""
    data = bytes([0x08, 0x01, 0x12, 0x04, 0x08, 0x05, 0x10, ETO_TYPES[member]])
    with pytest.raises(ParseError, match=f"^payload 5 says {member} and carries no {member}$"):
        parse_payload(data)


@pytest.mark.parametrize("short", sorted(set(ETO_TYPES) - set(ETO_REQUIRED_MEMBERS)))
def test_eto_payload_needs_no_member(short: str) -> None:
    """All other eto payloads may travel bare, login and logout too."""
    payload = parse_payload(bytes([0x08, 0x01, 0x12, 0x04, 0x08, 0x05, 0x10, ETO_TYPES[short]]))
    assert payload_name(payload) == f"eto.{short}"
    assert message_of(payload) is None


def test_another_member_does_not_stand_in() -> None:
    """The member has to be the one that the type names."""
    payload = carrying("seto.order_cancel", seto.OrderCancel(order_id=1))
    payload.type = seto.PAYLOAD_MARKET_SUBSCRIBE
    with pytest.raises(ParseError, match="says market_subscribe and carries no market_subscribe"):
        parse_payload(payload.SerializeToString())


def test_hybrid_login_is_a_seto_login() -> None:
    """The login frame says login in both layers; its data is in the outer one and gives the name."""
    payload = carrying("seto.login", seto.Login(username="u"))
    payload.eto_payload.type = eto.PAYLOAD_LOGIN
    parsed = parse_payload(payload.SerializeToString())
    assert payload_name(parsed) == "seto.login"
    assert message_of(parsed) == seto.Login(username="u")


# --- reading: required fields of members ---------------------------------------------------------


def test_required_field_missing() -> None:
    """A member without a field that the schema requires is refused, and the path is named."""
    payload = carrying("seto.order_create", seto.OrderCreate(side=seto.SIDE_BUY, quantity=1, contract_id=2))
    with pytest.raises(ParseError) as caught:
        parse_payload(payload.SerializePartialToString())
    assert str(caught.value) == "payload 7 (seto.order_create) lacks order_create.market_id"


def test_all_missing_fields_are_named() -> None:
    """One refusal names everything that is missing."""
    payload = carrying("seto.order_create", seto.OrderCreate(quantity=1))
    with pytest.raises(ParseError) as caught:
        parse_payload(payload.SerializePartialToString())
    assert str(caught.value) == (
        "payload 7 (seto.order_create) lacks "
        "order_create.side, order_create.market_id, order_create.contract_id"
    )


def test_required_field_missing_in_a_repeated_message() -> None:
    """The path leads through lists with their indexes."""
    good = seto.ContractQuotes(market_id=1, contract_id=2, bids=[seto.Quote(price=1, quantity=1)])
    bad = seto.ContractQuotes(
        market_id=1, contract_id=3, bids=[seto.Quote(price=1, quantity=1), seto.Quote(price=2)]
    )
    payload = carrying("seto.market_quotes", seto.MarketQuotes(market_id=1, contract_quotes=[good, bad]))
    with pytest.raises(ParseError) as caught:
        parse_payload(payload.SerializePartialToString())
    assert str(caught.value) == (
        "payload 7 (seto.market_quotes) lacks market_quotes.contract_quotes[1].bids[1].quantity"
    )


def test_required_field_missing_in_an_optional_message() -> None:
    """What is optional may be absent, but not half there."""
    quotes = seto.ContractQuotes(market_id=1, contract_id=2)
    quotes.last_execution.price = 2500
    quotes.last_execution.liquidity = seto.SIDE_SELL
    payload = carrying("seto.contract_quotes", quotes)
    with pytest.raises(ParseError) as caught:
        parse_payload(payload.SerializePartialToString())
    assert str(caught.value) == (
        "payload 7 (seto.contract_quotes) lacks "
        "contract_quotes.last_execution.quantity, contract_quotes.last_execution.microseconds"
    )


def test_required_text_sent_as_a_number_is_missing() -> None:
    """A number where the schema says text is an unknown field, and the text is not there."""
    payload = wire("0827 1202 0803") + delimited(40, wire("0801 11 000000000000f03f"))
    with pytest.raises(ParseError) as caught:
        parse_payload(payload)
    assert str(caught.value) == "payload 3 (seto.balance_changed) lacks balance_changed.reason"


def test_required_field_missing_in_the_session_layer() -> None:
    """The session layer's members are checked like the others."""
    with pytest.raises(ParseError) as caught:
        parse_payload(wire("0801 1206 0803 1006 2200"))
    assert str(caught.value) == "payload 3 (eto.replay) lacks eto_payload.replay.seq"


def test_required_field_missing_in_a_member_nobody_asked_for() -> None:
    """A broken member is refused even if the type names another."""
    payload = numbered(eto_payload(eto.PAYLOAD_HEARTBEAT))
    payload.order_cancel.SetInParent()
    with pytest.raises(ParseError, match=r"\(eto\.heartbeat\) lacks order_cancel\.order_id"):
        parse_payload(payload.SerializePartialToString())


# --- reading: numbers that are newer than the schema ---------------------------------------------


def test_unknown_outer_type() -> None:
    """A payload of a newer type is read, called unknown and carries nothing we know."""
    payload = parse_payload(wire("0863 1202 0803"))
    assert payload_name(payload) == "seto.unknown"
    assert message_of(payload) is None
    assert payload.eto_payload.seq == 3
    assert enum_name(payload, "type") == "UNKNOWN(99)"


def test_unknown_outer_type_with_a_known_member() -> None:
    """A member beside an unknown type is not taken for the payload's message."""
    payload = parse_payload(wire("0863 1202 0803") + delimited(8, wire("1801")))
    assert payload.order_cancel.order_id == 1
    assert payload_name(payload) == "seto.unknown"
    assert message_of(payload) is None


def test_unknown_inner_type() -> None:
    """A session-layer payload of a newer type is read and called unknown."""
    payload = parse_payload(wire("0801 1204 0803 1063"))
    assert payload_name(payload) == "eto.unknown"
    assert message_of(payload) is None
    assert enum_name(payload.eto_payload, "type") == "UNKNOWN(99)"


def test_absent_inner_type_is_none() -> None:
    """An inner type that is not there means PAYLOAD_NONE, as one that says so."""
    assert payload_name(parse_payload(wire("0801 1202 0803"))) == "eto.none"
    assert payload_name(parse_payload(wire("0801 1204 0803 1001"))) == "eto.none"


def test_unknown_reason() -> None:
    """A required reason with a newer number is there, and its number is told."""
    payload = parse_payload(wire("0804 1202 0803") + delimited(5, wire("1063")))
    assert payload_name(payload) == "seto.order_rejected"
    assert enum_name(payload.order_rejected, "reason") == "UNKNOWN(99)"


def test_unknown_number_in_a_repeated_message() -> None:
    """A required enum with a newer number counts as there inside lists too."""
    execution = wire("0801 1001 1863 2001")
    quotes = delimited(5, execution) + wire("4801 5001")
    payload = parse_payload(wire("080d 1202 0803") + delimited(14, quotes))
    assert enum_name(payload.contract_quotes.executions[0], "liquidity") == "UNKNOWN(99)"


def test_unknown_reason_does_not_hide_what_is_missing() -> None:
    """Only what is really absent is named beside an unknown number."""
    data = wire("0808 1202 0803") + delimited(9, wire("1063"))
    with pytest.raises(ParseError) as caught:
        parse_payload(data)
    assert str(caught.value) == "payload 3 (seto.order_cancelled) lacks order_cancelled.order_id"


def test_required_reason_absent() -> None:
    """A required reason that is not there at all is missing."""
    with pytest.raises(ParseError, match=r"\(seto\.order_rejected\) lacks order_rejected\.reason$"):
        parse_payload(wire("0804 1202 0803") + delimited(5, b""))


# --- names of enum values ------------------------------------------------------------------------


def test_enum_name_of_a_known_value() -> None:
    """A value of the schema has its name."""
    reject = seto.OrderRejected(reason=seto.ORDER_REJECTED_THROTTLE_EXCEEDED)
    assert enum_name(reject, "reason") == "ORDER_REJECTED_THROTTLE_EXCEEDED"


def test_enum_name_of_an_absent_value() -> None:
    """A field that is not there is not taken for the first value."""
    assert enum_name(eto.Logout(), "reason") == "ABSENT"


def test_enum_name_does_not_show_the_default() -> None:
    """Nor for its default."""
    assert enum_name(seto.OrderCreate(), "tif") == "ABSENT"


def test_enum_name_of_the_last_unknown_value() -> None:
    """Of several unknown numbers the last counts, as with every field of protobuf."""
    assert enum_name(eto.Logout.FromString(wire("0862 0863")), "reason") == "UNKNOWN(99)"


def test_enum_name_looks_at_its_own_field() -> None:
    """Unknown numbers of other fields are not this field's."""
    reject = seto.OrderCancelRejected.FromString(wire("5863"))
    assert enum_name(reject, "side") == "UNKNOWN(99)"
    assert enum_name(reject, "reason") == "ABSENT"


def test_enum_name_of_a_field_that_is_no_number() -> None:
    """Bytes under the field's number are not a value of it."""
    assert enum_name(eto.Logout.FromString(wire("0a01 63")), "reason") == "ABSENT"


# --- names of payloads ---------------------------------------------------------------------------


def test_names_are_the_vendors_51() -> None:
    """The two layers' names, in the order of their numbers, are the 51 that the vendor's SDK has."""
    assert list(ETO_NAMES) == [f"eto.{short}" for short in ETO_TYPES]
    assert list(SETO_NAMES) == [f"seto.{short}" for short in SETO_TYPES]
    assert len({*ETO_NAMES, *SETO_NAMES}) == len(ETO_NAMES) + len(SETO_NAMES) == 51


def test_payload_names_are_52() -> None:
    """A payload is called one of 52 names: no seto.eto, but an unknown for each layer."""
    assert set(PAYLOAD_NAMES) == {*ETO_NAMES, *SETO_NAMES, "eto.unknown", "seto.unknown"} - {"seto.eto"}
    assert len(PAYLOAD_NAMES) == 52


@pytest.mark.parametrize("member", SETO_MEMBERS)
def test_name_of_every_seto_type(member: str) -> None:
    """A seto payload is called after its outer type, whatever the inner one says."""
    payload = seto.Payload(type=cast("seto.PayloadType", SETO_TYPES[member]))
    payload.eto_payload.type = eto.PAYLOAD_NONE
    assert payload_name(payload) == f"seto.{member}"


@pytest.mark.parametrize("short", sorted(ETO_TYPES))
def test_name_of_every_eto_type(short: str) -> None:
    """A session-layer payload is called after its inner type."""
    assert payload_name(eto_payload(ETO_TYPES[short])) == f"eto.{short}"


def test_name_of_a_payload_without_type() -> None:
    """A payload under construction has no name yet and is not taken for the first type."""
    assert payload_name(seto.Payload()) == "seto.unknown"


# --- messages of payloads ------------------------------------------------------------------------


def test_message_classes_are_complete() -> None:
    """Every seto type but ETO has a class, and of the eto types those with data."""
    expected = [f"seto.{member}" for member in SETO_MEMBERS] + [f"eto.{member}" for member in ETO_MEMBERS]
    assert sorted(MESSAGE_CLASSES) == sorted(expected)


@pytest.mark.parametrize("name", sorted(MESSAGE_CLASSES))
def test_message_of_every_class(name: str) -> None:
    """A payload that carries a message hands it out, of the class that belongs to its name."""
    cls = MESSAGE_CLASSES[name]
    payload = parse_payload(carrying(name, minimal(cls)).SerializeToString())
    message = message_of(payload)
    assert type(message) is cls
    assert message == minimal(cls)
    assert payload_name(payload) == name


@pytest.mark.parametrize("name", sorted(MESSAGE_CLASSES))
def test_message_name_of_every_class(name: str) -> None:
    """From the class one finds the name back."""
    assert message_name(MESSAGE_CLASSES[name]) == name


@pytest.mark.parametrize(
    "cls",
    [seto.Quote, seto.Execution, seto.ContractState, seto.Payload, eto.Payload, eto.Date],
    ids=class_name,
)
def test_message_name_of_a_part(cls: type[Message]) -> None:
    """What only occurs inside other messages has no payload name."""
    assert message_name(cls) is None


def test_message_of_is_the_payloads_own() -> None:
    """The message is not a copy: filling it fills the payload."""
    payload = payload_for(seto.Settings())
    message = cast("seto.Settings", message_of(payload))
    message.cancel_all_on_failure = True
    assert payload.settings.cancel_all_on_failure


@pytest.mark.parametrize("member", SETO_MEMBERS)
def test_message_of_a_payload_that_lacks_it(member: str) -> None:
    """A payload under construction whose member is not there has no message."""
    assert message_of(seto.Payload(type=cast("seto.PayloadType", SETO_TYPES[member]))) is None


def test_executed_void_has_its_own_name() -> None:
    """The one class whose name does not follow from the payload's: OrderExecutedVoid."""
    message = minimal(seto.OrderExecutedVoid)
    payload = payload_for(message)
    assert payload.type == seto.PAYLOAD_ORDER_EXECUTE_VOIDED
    assert payload_name(payload) == "seto.order_execute_voided"
    assert message_name(seto.OrderExecutedVoid) == "seto.order_execute_voided"
    assert message_of(parse_payload(serialize(numbered(payload)))) == message


# --- the account's own numbers -------------------------------------------------------------------


def test_sequenced_messages_are_the_order_events() -> None:
    """Sixteen kinds of message carry a number of the account, in both widths."""
    assert len(SEQUENCED) == 16
    assert [name for name, cls in SEQUENCED if "account_sequence" not in cls.DESCRIPTOR.fields_by_name] == []


@pytest.mark.parametrize(("name", "cls"), SEQUENCED, ids=class_name)
def test_account_sequence_prefers_64_bits(name: str, cls: Any) -> None:
    """With both numbers there, the wide one counts."""
    message = cls(account_sequence=1, account_sequence_64=2**32 + 1)
    assert account_sequence_of(name, message) == 2**32 + 1


@pytest.mark.parametrize(("name", "cls"), SEQUENCED, ids=class_name)
def test_account_sequence_falls_back_to_32_bits(name: str, cls: Any) -> None:
    """With only the narrow number there, that counts."""
    assert account_sequence_of(name, cls(account_sequence=5)) == 5


@pytest.mark.parametrize(("name", "cls"), SEQUENCED, ids=class_name)
def test_account_sequence_absent(name: str, cls: Any) -> None:
    """With neither there, there is none, and not 0."""
    assert account_sequence_of(name, cls()) is None


def test_account_sequence_zero_is_there() -> None:
    """A wide number of 0 is a number and is not passed over for the narrow one."""
    message = seto.OrderAccepted(account_sequence=5, account_sequence_64=0)
    assert account_sequence_of("seto.order_accepted", message) == 0


def test_account_sequence_of_a_login() -> None:
    """A login asks for a number, it does not have one."""
    message = seto.Login(account_sequence=5, account_sequence_64=6)
    assert account_sequence_of("seto.login", message) is None


@pytest.mark.parametrize(
    "name", sorted(set(PAYLOAD_NAMES) - {name for name, _ in SEQUENCED} - {"seto.login"})
)
def test_account_sequence_of_other_messages(name: str) -> None:
    """Quotes, states, answers of the session layer and unknown payloads have no number of the account."""
    cls = MESSAGE_CLASSES.get(name)
    assert account_sequence_of(name, None if cls is None else minimal(cls)) is None


def test_account_sequence_without_message() -> None:
    """Where no message is, no number is."""
    assert account_sequence_of("seto.order_accepted", None) is None


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", SETO_CLASSES, ids=class_name)
def test_payload_for_every_seto_class(cls: type[Message]) -> None:
    """Every message that a payload can carry goes out and comes back the same under its name."""
    message = minimal(cls)
    payload = parse_payload(serialize(numbered(payload_for(message), 9)))
    assert payload_name(payload) == message_name(cls)
    assert payload.eto_payload.seq == 9
    assert message_of(payload) == message


@given(st.one_of([messages(cls) for cls in SETO_CLASSES]), st.integers(0, 2**64 - 1))
def test_payload_for_any_message(message: Message, seq: int) -> None:
    """So does any valid message, with any fields filled."""
    payload = parse_payload(serialize(numbered(payload_for(message), seq)))
    assert payload_name(payload) == message_name(type(message))
    assert payload.eto_payload.seq == seq
    assert message_of(payload) == message


@pytest.mark.parametrize(
    "cls",
    [seto.Quote, seto.Execution, seto.ContractState, seto.Payload, eto.Replay, eto.Logout, eto.Payload],
    ids=lambda cls: cls.DESCRIPTOR.full_name,
)
def test_payload_for_what_no_payload_carries(cls: type[Message]) -> None:
    """Parts of messages, envelopes and the session layer's messages are refused by name."""
    with pytest.raises(UsageError, match=f"^{cls.__name__} is not a message that a payload of its own"):
        payload_for(cls())


def test_payload_for_something_else() -> None:
    """So is what is no message at all."""
    with pytest.raises(UsageError, match=r"^str is not a message"):
        payload_for(cast("Message", "order"))


EMPTY_CLASSES = [cls for cls in SETO_CLASSES if not any(field.is_required for field in cls.DESCRIPTOR.fields)]


@pytest.mark.parametrize("cls", EMPTY_CLASSES, ids=class_name)
def test_empty_message_is_present(cls: type[Message]) -> None:
    """A message without content is still there, as MarketFeedSubscribe always is."""
    payload = payload_for(cls())
    message = message_of(payload)
    assert message == cls()
    assert message_of(parse_payload(serialize(numbered(payload)))) == cls()


def test_empty_message_on_the_wire() -> None:
    """The empty member is a tag and a length of zero."""
    payload = numbered(payload_for(seto.MarketFeedSubscribe()), 2)
    assert serialize(payload) == wire("081b 1202 0802 e201 00")


def test_payload_for_is_not_numbered() -> None:
    """The number comes from whoever sends; wrapping writes nothing of the session layer."""
    assert not payload_for(seto.MarketSubscribe(market_id=1)).HasField("eto_payload")


def test_payload_for_copies() -> None:
    """The caller may use the message again: the payload does not follow it, nor the other way round."""
    message = seto.OrderCancel(order_id=1)
    payload = payload_for(message)
    message.order_id = 2
    assert payload.order_cancel.order_id == 1
    payload.order_cancel.order_id = 3
    assert message.order_id == 2


@pytest.mark.parametrize("short", sorted(ETO_TYPES))
def test_eto_payload_has_types_only(short: str) -> None:
    """A payload of the session layer starts with its two types and nothing else."""
    payload = eto_payload(ETO_TYPES[short])
    assert payload.SerializePartialToString() == bytes([0x08, 0x01, 0x12, 0x02, 0x10, ETO_TYPES[short]])


def test_serialize_without_number() -> None:
    """A payload that was not numbered is not sent, and the number is named."""
    with pytest.raises(UsageError) as caught:
        serialize(eto_payload(eto.PAYLOAD_PING))
    assert str(caught.value) == "eto.ping cannot be sent without eto_payload.seq"


def test_serialize_without_required_fields() -> None:
    """A message without fields that the schema requires is not sent, and they are named."""
    with pytest.raises(UsageError) as caught:
        serialize(numbered(payload_for(seto.OrderCreate(side=seto.SIDE_BUY, quantity=1, market_id=1))))
    assert str(caught.value) == "seto.order_create cannot be sent without order_create.contract_id"


def test_serialize_an_empty_payload() -> None:
    """A payload without anything lacks its type and its envelope."""
    with pytest.raises(UsageError) as caught:
        serialize(seto.Payload())
    assert str(caught.value) == "seto.unknown cannot be sent without type, eto_payload"


def test_serialize_names_fields_in_lists() -> None:
    """The path leads through lists when writing too."""
    quotes = seto.ContractQuotes(market_id=1, contract_id=2, offers=[seto.Quote(quantity=1)])
    with pytest.raises(UsageError, match=r"without contract_quotes\.offers\[0\]\.price$"):
        serialize(numbered(payload_for(quotes)))


# --- prepared once, sent to many -----------------------------------------------------------------

MARKS = [None, False, True]


def marked(message: Message, seq: int, is_replay: bool | None) -> bytes:
    """The payload as protobuf writes it whole."""
    payload = numbered(payload_for(message), seq)
    if is_replay is not None:
        payload.eto_payload.is_replay = is_replay
    return payload.SerializeToString()


@pytest.mark.parametrize("is_replay", MARKS)
@pytest.mark.parametrize("cls", SETO_CLASSES, ids=class_name)
def test_prepared_equals_serialized_for_every_class(cls: type[Message], is_replay: bool | None) -> None:
    """For each class the spliced bytes are those of the whole payload, at every length of the number."""
    prepared = PreparedMessage(minimal(cls))
    assert prepared.name == message_name(cls)
    for bits in range(64):
        for seq in (2**bits - 1, 2**bits, 2 ** (bits + 1) - 1):
            assert prepared.payload(seq, is_replay) == marked(minimal(cls), seq, is_replay)


@given(
    st.sampled_from(SETO_CLASSES).flatmap(messages),
    st.integers(0, 2**64 - 1),
    st.sampled_from(MARKS),
)
def test_prepared_equals_serialized_for_any_message(message: Message, seq: int, mark: bool | None) -> None:
    """Whatever a message holds, the spliced bytes are those of the whole payload."""
    assert PreparedMessage(message).payload(seq, mark) == marked(message, seq, mark)


@pytest.mark.parametrize("size", [0, 1, 100, 110, 127, 128, 16_200, 16_384, 2_097_152])
def test_prepared_of_any_size(size: int) -> None:
    """The message's own length may take one byte or several."""
    message = seto.OrderRejected(seq=1, reason=seto.ORDER_REJECTED_MARKET_HALTED, label="x" * size)
    assert PreparedMessage(message).payload(300, False) == marked(message, 300, False)


def test_prepared_keeps_what_the_schema_does_not_know() -> None:
    """Fields of a newer schema are passed on, in both ways of writing."""
    message = seto.MarketSubscribe.FromString(wire("10a08d06 f87f05"))
    assert wire("f87f05") in PreparedMessage(message).payload(2)
    assert PreparedMessage(message).payload(2) == marked(message, 2, None)


def test_prepared_is_a_copy() -> None:
    """What becomes of the message afterwards changes nothing."""
    message = seto.MarketSubscribe(market_id=1)
    prepared = PreparedMessage(message)
    before = prepared.payload(2)
    message.market_id = 2
    assert prepared.payload(2) == before
    assert repr(prepared) == "<PreparedMessage seto.market_subscribe, 4 bytes>"


@pytest.mark.parametrize("cls", [seto.Quote, eto.Logout, seto.Payload], ids=class_name)
def test_prepared_of_what_no_payload_carries(cls: type[Message]) -> None:
    """What payload_for refuses is refused here in the same words."""
    with pytest.raises(UsageError) as caught:
        PreparedMessage(cls())
    with pytest.raises(UsageError) as wanted:
        payload_for(cls())
    assert str(caught.value) == str(wanted.value)


@pytest.mark.parametrize(
    "message",
    [
        seto.OrderCreate(market_id=1, contract_id=2),
        seto.ContractQuotes(market_id=1, contract_id=2, offers=[seto.Quote(quantity=1)]),
    ],
    ids=class_name,
)
def test_prepared_without_required_fields(message: Message) -> None:
    """What serialize refuses is refused here in the same words, before anything is numbered."""
    with pytest.raises(UsageError) as caught:
        PreparedMessage(message)
    with pytest.raises(UsageError) as wanted:
        serialize(numbered(payload_for(message)))
    assert str(caught.value) == str(wanted.value)


# --- anything at all -----------------------------------------------------------------------------

VALID = [
    carrying("seto.order_create", minimal(seto.OrderCreate)).SerializeToString(),
    carrying("seto.order_rejected", minimal(seto.OrderRejected)).SerializeToString(),
    carrying(
        "seto.market_quotes",
        seto.MarketQuotes(
            market_id=1,
            contract_quotes=[
                seto.ContractQuotes(
                    market_id=1,
                    contract_id=2,
                    bids=[seto.Quote(price=1, quantity=2)],
                    executions=[seto.Execution(price=1, quantity=2, liquidity=seto.SIDE_BUY, microseconds=3)],
                )
            ],
        ),
    ).SerializeToString(),
    carrying("eto.login_response", eto.LoginResponse(session="s", reset=2)).SerializeToString(),
    carrying("eto.logout", eto.Logout(reason=eto.LOGOUT_DOWNTIME)).SerializeToString(),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid payload with some bytes overwritten, put in, taken out or cut off."""
    data = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@st.composite
def tagged(draw: st.DrawFn) -> bytes:
    """An envelope and fields with proper tags and improper content."""
    numbers = st.sampled_from([*SETO_TYPES.values(), 0, 99])
    inner = bytes([0x08, 0x03, 0x10, draw(st.integers(0, 12))])
    data = bytes([0x08, draw(numbers)]) + delimited(2, inner + draw(st.binary(max_size=4)))
    for number in draw(st.lists(st.integers(1, 46), max_size=3)):
        data += delimited(number, draw(st.binary(max_size=12)))
    return data


@given(st.binary(max_size=64) | damaged() | tagged())
@example(b"")
@example(wire("0863 1202 0803"))
@example(wire("0801 1204 0803 1063"))
def test_any_bytes_are_a_payload_or_a_parse_error(data: bytes) -> None:
    """Nothing but a ParseError comes of arbitrary bytes, and what is accepted can be relied upon."""
    try:
        payload = parse_payload(data)
    except ParseError:
        return
    assert payload.eto_payload.HasField("seq")
    name = payload_name(payload)
    assert name in PAYLOAD_NAMES
    message = message_of(payload)
    if name.startswith("seto.") or name.removeprefix("eto.") in ETO_REQUIRED_MEMBERS:
        assert type(message) is MESSAGE_CLASSES.get(name, type(None))
    sequence = account_sequence_of(name, message)
    assert sequence is None or sequence >= 0

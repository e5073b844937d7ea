"""Payloads and their messages: names, parsing, presence.

A frame carries one ``seto.Payload``. It has an outer ``type``, an ``eto_payload`` with the sequence
number, and the member that the type names. Its *payload name* is ``seto.<type>`` or, for outer type
ETO, ``eto.<inner type>``; ``seto.unknown`` and ``eto.unknown`` stand for types newer than our schema.

Presence comes before belief. protobuf reads an absent or unknown enum as its first value: an unknown
outer type would look like PAYLOAD_ETO, an unknown reject reason like INSUFFICIENT_FUNDS, and a payload
without type or number parses without complaint. So nothing here reads a field before ``HasField``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.message import DecodeError as _ProtobufDecodeError
from google.protobuf.message import EncodeError as _ProtobufEncodeError
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from smarkets_pool.exceptions import ParseError, UsageError
from smarkets_pool.wire.framing import encode_uleb128
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

__all__ = [
    "ETO_NAMES",
    "MESSAGE_CLASSES",
    "PAYLOAD_NAMES",
    "PreparedMessage",
    "REQUEST_NAMES",
    "SETO_NAMES",
    "account_sequence_of",
    "enum_name",
    "eto_payload",
    "message_name",
    "message_of",
    "parse_payload",
    "payload_for",
    "payload_name",
    "serialize",
]

_PREFIX = "PAYLOAD_"
# Wire types of protobuf, and the tags of the fields that stand before a message in its payload.
_VARINT = 0
_DELIMITED = 2
_TYPE_TAG = bytes([1 << 3 | _VARINT])
_ETO_TAG = bytes([2 << 3 | _DELIMITED])
_SEQ_TAG = bytes([1 << 3 | _VARINT])
_IS_REPLAY = {None: b"", False: bytes([3 << 3 | _VARINT, 0]), True: bytes([3 << 3 | _VARINT, 1])}


def _short_names(enum: Any) -> dict[int, str]:
    return {value.number: value.name[len(_PREFIX) :].lower() for value in enum.DESCRIPTOR.values}


_SETO_TYPES = _short_names(seto.PayloadType)
_ETO_TYPES = _short_names(eto.PayloadType)

#: The names of eto payloads, in the order of their numbers.
ETO_NAMES: tuple[str, ...] = tuple(f"eto.{name}" for name in _ETO_TYPES.values())
#: The names of seto payloads; ``seto.eto`` is dispatched as ``eto.*`` and exists for the vendor's list.
SETO_NAMES: tuple[str, ...] = tuple(f"seto.{name}" for name in _SETO_TYPES.values())
#: Every name a payload can have here, with the two for types that are newer than the schema.
PAYLOAD_NAMES: tuple[str, ...] = (
    *ETO_NAMES,
    "eto.unknown",
    *(n for n in SETO_NAMES if n != "seto.eto"),
    "seto.unknown",
)

_SETO_FIELDS = cast("Mapping[str, FieldDescriptor]", seto.Payload.DESCRIPTOR.fields_by_name)
_ETO_FIELDS = cast("Mapping[str, FieldDescriptor]", eto.Payload.DESCRIPTOR.fields_by_name)


def _classes() -> Iterator[tuple[str, type[Message]]]:
    for short in _SETO_TYPES.values():
        field = _SETO_FIELDS.get(short)
        if field is not None and field.message_type is not None:
            yield f"seto.{short}", getattr(seto, field.message_type.name)
    for short in _ETO_TYPES.values():
        field = _ETO_FIELDS.get(short)
        if field is not None and field.message_type is not None:
            yield f"eto.{short}", getattr(eto, field.message_type.name)


#: Payload name -> class of the message it carries. ``seto.order_execute_voided`` carries
#: ``OrderExecutedVoid``, the one class whose name does not follow from the payload's.
MESSAGE_CLASSES: dict[str, type[Message]] = dict(_classes())

#: What a client asks of an exchange, so that it never arrives at a client. Source: the fact sheet's tables of
#: directions; a login is a request too, but not one that a program sends by itself.
REQUEST_NAMES = frozenset(
    {
        "seto.order_create",
        "seto.order_cancel",
        "seto.order_cancel_all",
        "seto.order_cancel_replace",
        "seto.order_quantity_reduce",
        "seto.settings",
        *(name for name in SETO_NAMES if name.endswith("subscribe")),
    }
)

_NAMES_BY_CLASS: dict[type[Message], str] = {cls: name for name, cls in MESSAGE_CLASSES.items()}
_SETO_TYPE_BY_NAME: dict[str, int] = {f"seto.{short}": number for number, short in _SETO_TYPES.items()}
_ACCOUNT_SEQUENCED = frozenset(
    name for name, cls in MESSAGE_CLASSES.items() if "account_sequence_64" in cls.DESCRIPTOR.fields_by_name
) - {"seto.login"}


# Labels are read off the descriptors' own protos: their attributes differ between protobuf's versions.
_REQUIRED: dict[str, tuple[tuple[str, int, bool], ...]] = {}
_NESTED: dict[str, tuple[tuple[str, bool], ...]] = {}
_TEXTS: dict[str, tuple[str, ...]] = {}
for _file in (eto, seto):
    for _descriptor in _file.DESCRIPTOR.message_types_by_name.values():
        _proto = DescriptorProto()
        _descriptor.CopyToProto(_proto)
        _REQUIRED[_descriptor.full_name] = tuple(
            (field.name, field.number, field.type == FieldDescriptorProto.TYPE_ENUM)
            for field in _proto.field
            if field.label == FieldDescriptorProto.LABEL_REQUIRED
        )
        _NESTED[_descriptor.full_name] = tuple(
            (field.name, field.label == FieldDescriptorProto.LABEL_REPEATED)
            for field in _proto.field
            if field.type == FieldDescriptorProto.TYPE_MESSAGE
        )
        _TEXTS[_descriptor.full_name] = tuple(
            field.name for field in _proto.field if field.type == FieldDescriptorProto.TYPE_STRING
        )


def message_name(cls: type[Message]) -> str | None:
    """The payload name that carries messages of this class, or None if none does."""
    return _NAMES_BY_CLASS.get(cls)


# --- reading -----------------------------------------------------------------------------------


def _raw_number(message: Message, field_number: int) -> int | None:
    """The last varint that the wire carried for a field whose value the schema does not know."""
    found = None
    for field in cast("Iterable[Any]", UnknownFieldSet(message)):
        if field.field_number == field_number and field.wire_type == _VARINT:
            found = int(field.data)
    return found


def parse_payload(data: bytes) -> seto.Payload:
    """Parse the payload of one frame and check that what the schema requires is there.

    An unknown outer type, inner type or reason number is not an error: it came from a newer schema.

    Raises:
        ParseError: not protobuf, no ``type``, no ``eto_payload.seq``, the member that the type names
            is missing, or a required field of it is, or a text is no UTF-8.
    """
    try:
        payload = seto.Payload.FromString(data)
    except _ProtobufDecodeError as error:
        raise ParseError(f"{len(data)} bytes that are not a payload: {error}") from error
    if not payload.HasField("type") and _raw_number(payload, 1) is None:
        raise ParseError(f"a payload of {len(data)} bytes without a type")
    if not payload.HasField("eto_payload") or not payload.eto_payload.HasField("seq"):
        raise ParseError(f"a payload of {len(data)} bytes without a sequence number")
    if not payload.IsInitialized():
        missing = list(_missing(payload, ""))
        if missing:
            raise ParseError(
                f"payload {payload.eto_payload.seq} ({payload_name(payload)}) lacks {', '.join(missing)}"
            )
    _check_member(payload)
    return payload


def _check_member(payload: seto.Payload) -> None:
    """The member that the type names is there, and its texts are texts."""
    inner = payload.eto_payload
    if not payload.HasField("type"):
        return
    holder: Message
    if payload.type != seto.PAYLOAD_ETO:
        holder, member, required = payload, _SETO_TYPES[payload.type], True
    else:
        # A login or logout may travel without its member: the vendor's login frame has its data in the
        # seto part, and a logout without a reason is an ordinary request.
        holder, member = inner, _ETO_TYPES.get(inner.type, "")
        required = member in ("replay", "login_response")
    if member in holder.DESCRIPTOR.fields_by_name and holder.HasField(member):
        _check_texts(getattr(holder, member), inner.seq, member)
    elif required:
        raise ParseError(f"payload {inner.seq} says {member} and carries no {member}")
    if payload.type == seto.PAYLOAD_LOGIN and inner.HasField("login"):
        _check_texts(inner.login, inner.seq, "login")


def _check_texts(message: Message, seq: int, member: str) -> None:
    """protobuf hands bytes back where a text of an old schema is no UTF-8; nothing here expects that."""
    for name in _TEXTS[message.DESCRIPTOR.full_name]:
        if isinstance(getattr(message, name), bytes):
            raise ParseError(f"payload {seq} ({member}) has a {name} that is no UTF-8 text")


def _missing(message: Message, path: str) -> Iterator[str]:
    """Names of required fields that are absent; an enum whose number is unknown to us is not absent."""
    for name, number, is_enum in _REQUIRED[message.DESCRIPTOR.full_name]:
        if not message.HasField(name) and not (is_enum and _raw_number(message, number) is not None):
            yield path + name
    for name, is_repeated in _NESTED[message.DESCRIPTOR.full_name]:
        if is_repeated:
            for index, item in enumerate(getattr(message, name)):
                yield from _missing(item, f"{path}{name}[{index}].")
        elif message.HasField(name):
            yield from _missing(getattr(message, name), f"{path}{name}.")


def payload_name(payload: seto.Payload) -> str:
    """``seto.order_accepted``, ``eto.heartbeat``, ... or ``seto.unknown`` / ``eto.unknown``."""
    if not payload.HasField("type"):
        return "seto.unknown"
    if payload.type != seto.PAYLOAD_ETO:
        return "seto." + _SETO_TYPES[payload.type]
    inner = payload.eto_payload
    if not inner.HasField("type"):
        # Absent means NONE: the vendor's older schema requires it and its newer one leaves it out.
        return "eto.none" if _raw_number(inner, 2) is None else "eto.unknown"
    return "eto." + _ETO_TYPES[inner.type]


def message_of(payload: seto.Payload) -> Message | None:
    """The message a payload carries; None for eto payloads without one and for unknown types."""
    layer, _, short = payload_name(payload).partition(".")
    holder: Message = payload if layer == "seto" else payload.eto_payload
    field = (_SETO_FIELDS if layer == "seto" else _ETO_FIELDS).get(short)
    if field is None or field.message_type is None or not holder.HasField(short):
        return None
    return cast("Message", getattr(holder, short))


def account_sequence_of(name: str, message: Message | None) -> int | None:
    """The account's own number of an event, from the 64-bit field or else the 32-bit one."""
    if name not in _ACCOUNT_SEQUENCED or message is None:
        return None
    for field in ("account_sequence_64", "account_sequence"):
        if message.HasField(field):
            return cast("int", getattr(message, field))
    return None


def enum_name(message: Message, field: str) -> str:
    """The name of an enum field's value; ``UNKNOWN(n)`` if our schema lacks it, ``ABSENT`` without one.

    >>> enum_name(eto.Logout(reason=eto.LOGOUT_DOWNTIME), "reason")
    'LOGOUT_DOWNTIME'
    """
    descriptor = cast("FieldDescriptor", message.DESCRIPTOR.fields_by_name[field])
    if message.HasField(field):
        enum = cast("EnumDescriptor", descriptor.enum_type)
        return enum.values_by_number[getattr(message, field)].name
    raw = _raw_number(message, descriptor.number)
    return "ABSENT" if raw is None else f"UNKNOWN({raw})"


# --- writing -----------------------------------------------------------------------------------


def _seto_name(message: Message) -> str:
    name = _NAMES_BY_CLASS.get(type(message))
    if name is None or not name.startswith("seto."):
        raise UsageError(
            f"{type(message).__name__} is not a message that a payload of its own carries; "
            "send one such as seto.OrderCreate or seto.MarketSubscribe"
        )
    return name


def payload_for(message: Message) -> seto.Payload:
    """Wrap a seto message into a payload of its type, not yet numbered. The message is copied.

    Raises:
        UsageError: no payload carries messages of this class (``Quote``, for instance).
    """
    name = _seto_name(message)
    payload = seto.Payload()
    payload.type = cast("seto.PayloadType", _SETO_TYPE_BY_NAME[name])
    getattr(payload, name[5:]).CopyFrom(message)
    return payload


def eto_payload(inner_type: eto.PayloadType | int) -> seto.Payload:
    """A payload of the session layer, not yet numbered; fill ``eto_payload``'s member if it has one."""
    payload = seto.Payload()
    payload.type = seto.PAYLOAD_ETO
    payload.eto_payload.type = cast("eto.PayloadType", inner_type)
    return payload


def serialize(payload: seto.Payload) -> bytes:
    """The bytes of a numbered payload.

    Raises:
        UsageError: a field that the schema requires was not filled in.
    """
    try:
        return payload.SerializeToString()
    except _ProtobufEncodeError as error:
        raise _incomplete(payload) from error


def _incomplete(payload: seto.Payload) -> UsageError:
    missing = ", ".join(_missing(payload, "")) or "the values that this schema does not know"
    return UsageError(f"{payload_name(payload)} cannot be sent without {missing}")


class PreparedMessage:
    """A seto message serialised once, for sending to many: only number and mark differ between them.

    ``payload`` gives the very bytes that ``serialize`` makes of ``payload_for(message)`` once it is
    numbered. What becomes of the message afterwards does not matter.

    Raises:
        UsageError: no payload carries messages of this class, or a required field was not filled in.
    """

    __slots__ = ("name", "_behind", "_before")

    def __init__(self, message: Message) -> None:
        name = _seto_name(message)
        try:
            body = message.SerializeToString()
        except _ProtobufEncodeError as error:
            payload = payload_for(message)
            payload.eto_payload.seq = 0
            raise _incomplete(payload) from error
        #: The payload's name, such as ``seto.contract_quotes``.
        self.name = name
        field = _SETO_FIELDS[name[5:]].number
        self._before = _TYPE_TAG + encode_uleb128(_SETO_TYPE_BY_NAME[name]) + _ETO_TAG
        self._behind = encode_uleb128(field << 3 | _DELIMITED) + encode_uleb128(len(body)) + body

    def __repr__(self) -> str:
        return f"<PreparedMessage {self.name}, {len(self._behind)} bytes>"

    def payload(self, seq: int, is_replay: bool | None = None) -> bytes:
        """The bytes of the payload with this number; ``is_replay`` is written unless it is None."""
        inner = _SEQ_TAG + encode_uleb128(seq) + _IS_REPLAY[is_replay]
        return b"%b%c%b%b" % (self._before, len(inner), inner, self._behind)

"""``Forger``: payloads that no honest client would send, and honest ones to spoil.

Everything is written by hand, field by field, from the schema's descriptors and by none of the package's
own code: so required fields may lack, enums may have numbers that nobody knows, and a field may have the
wrong wire type, stand twice, or be one that there is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from smarkets_pool import eto, seto
from tests.fuzz.choices import ABSURD, Choices

__all__ = ["CLIENT_MESSAGES", "Forger", "Known", "field", "framed", "varint"]

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5

#: Payload member -> outer type, for all that the schema has; those that a client may send come first.
_ALL = {
    name.removeprefix("PAYLOAD_").lower(): number
    for name, number in seto.PayloadType.items()
    if name not in ("PAYLOAD_ETO", "PAYLOAD_LOGIN")
}
CLIENT_MESSAGES = (
    *("order_create", "order_cancel", "order_cancel_all", "order_cancel_replace", "order_quantity_reduce"),
    *("settings", "market_subscribe", "market_unsubscribe", "event_subscribe", "event_unsubscribe"),
    *("price_feed_subscribe", "price_feed_unsubscribe", "market_feed_subscribe", "market_feed_unsubscribe"),
)
_OTHERS = tuple(name for name in _ALL if name not in CLIENT_MESSAGES)

_TEXTS = (
    b"",
    b"a",
    b"label",
    b"x" * 1024,
    b"x" * 1025,
    "ü€𝄞".encode(),
    b"\xff\xfe",
    b"\0",
    b"a\nb\x1b[31m\r",
)
_DOUBLES = (bytes(8), b"\xff" * 8, b"\0\0\0\0\0\0\xf8\x7f", b"\0\0\0\0\0\0\xf0\x3f")


# --- writing protobuf -----------------------------------------------------------------------------


def varint(value: int) -> bytes:
    """A number in base 128, lowest digits first."""
    digits = bytearray()
    while value > 127:
        digits.append(value % 128 + 128)
        value //= 128
    return bytes([*digits, value])


def field(number: int, value: int | bytes) -> bytes:
    """One field: a number as a varint, bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    return varint(number << 3 | _DELIMITED) + varint(len(value)) + value


def framed(payload: bytes) -> bytes:
    """One frame: the length, the payload, zeros up to four bytes."""
    return (varint(len(payload)) + payload).ljust(4, b"\0")


def _required() -> frozenset[tuple[str, str]]:
    found = set()
    for module in (eto, seto):
        for thing in vars(module).values():
            descriptor = getattr(thing, "DESCRIPTOR", None)
            if not isinstance(thing, type) or descriptor is None:
                continue
            proto = DescriptorProto()
            descriptor.CopyToProto(proto)
            found |= {
                (descriptor.full_name, part.name)
                for part in proto.field
                if part.label == FieldDescriptorProto.LABEL_REQUIRED
            }
    return frozenset(found)


_REQUIRED = _required()


# --- forging --------------------------------------------------------------------------------------


class Known:
    """What an insider knows, so that some of what he sends makes sense."""

    def __init__(self) -> None:
        self.orders: list[int] = []
        self.sessions: list[str] = []
        #: User name, password and token of accounts that exist.
        self.logins: Sequence[tuple[str, str, str]] = ()


class Forger:
    """Makes payloads as the choices have it."""

    def __init__(self, choices: Choices, known: Known) -> None:
        self._choices = choices
        self._known = known

    # --- payloads ---

    def payload(self, seq: int) -> bytes:
        """Any payload with that number, honest or not."""
        choices = self._choices
        kind = choices.below(32)
        if kind < 12:
            return self._member(choices.pick(("order_create", *CLIENT_MESSAGES[:5])), seq)
        if kind < 25:
            return self._member(choices.pick(CLIENT_MESSAGES), seq)
        if kind < 29:
            return self._session_layer(seq)
        if kind == 29:
            return self._member(choices.pick(_OTHERS), seq)
        if kind == 30:
            return self._mixed(seq)
        return field(1, choices.integer()) + field(2, self._head(seq)) + choices.blob(12)

    def login(self, seq: int, *, insider: bool = True) -> bytes:
        """A login; an insider's is good as it stands, but for what the choices do to it."""
        choices, known = self._choices, self._known
        username, password, token = choices.pick(known.logins)
        kind = choices.below(24) if insider else 7
        body = b""
        if kind == 1:
            body += field(3, token.encode())
        elif kind == 7:
            body += self._message(seto.Login.DESCRIPTOR)
        else:
            body += field(1, username.encode()) + field(2, password.encode())
        resume = choices.below(8)
        if resume in (1, 2):
            body += field(4, 0) + field(5, choices.below(40))
        elif resume == 3:
            body += field(4, choices.integer()) + field(5, choices.integer())
        extra = b""
        if choices.one_in(8) and known.sessions:
            extra = field(5, field(1, choices.pick(known.sessions).encode()))
        elif choices.one_in(24):
            extra = field(5, field(1, choices.pick(_TEXTS)))
        return (
            field(1, seto.PAYLOAD_LOGIN)
            + field(2, self._head(seq, eto.PAYLOAD_LOGIN) + extra)
            + field(3, body)
        )

    def replay_request(self, seq: int, first: int) -> bytes:
        """Ask for everything from a number."""
        head = self._head(seq, eto.PAYLOAD_REPLAY) + field(4, field(1, first))
        return field(1, seto.PAYLOAD_ETO) + field(2, head)

    def ping(self, seq: int) -> bytes:
        """A ping."""
        return field(1, seto.PAYLOAD_ETO) + field(2, self._head(seq, eto.PAYLOAD_PING))

    def _member(self, name: str, seq: int) -> bytes:
        descriptor = seto.Payload.DESCRIPTOR.fields_by_name[name]
        return (
            field(1, _ALL[name])
            + field(2, self._head(seq))
            + field(descriptor.number, self._message(descriptor.message_type))
        )

    def _session_layer(self, seq: int) -> bytes:
        choices = self._choices
        kind = choices.pick((2, 5, 6, 4, 3, 8, 10, 1, 7, 9, 11, 2**31))
        head = self._head(seq, kind)
        if kind == eto.PAYLOAD_REPLAY:
            head += field(4, field(1, choices.integer()))
        elif choices.one_in(2):
            member = choices.pick(("replay", "login", "login_response", "logout"))
            descriptor = eto.Payload.DESCRIPTOR.fields_by_name[member]
            head += field(descriptor.number, self._message(descriptor.message_type))
        return field(1, seto.PAYLOAD_ETO) + field(2, head)

    def _mixed(self, seq: int) -> bytes:
        """The type says one thing and the members others."""
        choices = self._choices
        data = field(1, choices.pick(sorted(_ALL.values()))) + field(2, self._head(seq))
        for _ in range(choices.below(3)):
            name = choices.pick(tuple(_ALL))
            descriptor = seto.Payload.DESCRIPTOR.fields_by_name[name]
            data += field(descriptor.number, self._message(descriptor.message_type))
        return data

    def _head(self, seq: int, kind: int | None = None) -> bytes:
        choices = self._choices
        spoilt = choices.below(96)
        if spoilt == 1:
            return b"" if kind is None else field(2, kind)
        data = field(1, seq)
        if kind is not None:
            data += field(2, kind)
        if spoilt == 2:
            data += field(3, choices.below(3))
        elif spoilt == 3:
            data += field(1, choices.integer())
        elif spoilt == 4:
            data += self._message(eto.Payload.DESCRIPTOR)
        return data

    # --- messages ---

    def _message(self, descriptor: Any, depth: int = 0) -> bytes:
        choices = self._choices
        # Most messages are fit to be obeyed: what is always spoilt gets no further than the parser.
        spoils = choices.one_in(8)
        data = b""
        for part in descriptor.fields:
            needed = (descriptor.full_name, part.name) in _REQUIRED or part.name in ("price", "market_id")
            if (choices.one_in(8) if spoils else False) or (not needed and choices.below(4) < 3):
                continue
            for _ in range(2 if spoils and choices.one_in(16) else 1):
                data += self._field(part, depth, spoils=spoils)
        if spoils and choices.one_in(8):
            data += field(choices.pick((14, 46, 1000, 2**29 - 1)), choices.integer())
        return data

    def _field(self, part: Any, depth: int, *, spoils: bool) -> bytes:
        choices = self._choices
        if spoils and choices.one_in(24):
            return self._wrong_wire_type(part.number)
        if part.type == FieldDescriptor.TYPE_MESSAGE:
            body = choices.blob(16) if depth > 2 else self._message(part.message_type, depth + 1)
            return field(part.number, body)
        if part.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            return field(part.number, choices.pick(_TEXTS) if spoils else self._text(part.name))
        if part.type == FieldDescriptor.TYPE_DOUBLE:
            return varint(part.number << 3 | _FIXED64) + choices.pick(_DOUBLES)
        if spoils and choices.one_in(3):
            return field(part.number, choices.integer())
        if part.type == FieldDescriptor.TYPE_ENUM:
            numbers = [value.number for value in part.enum_type.values]
            return field(part.number, 99 if choices.one_in(48) else choices.pick(numbers))
        return field(part.number, self._number(part.name))

    def _wrong_wire_type(self, number: int) -> bytes:
        choices = self._choices
        kind = choices.pick((_VARINT, _FIXED64, _DELIMITED, 3, 4, _FIXED32, 6, 7))
        return varint(number << 3 | kind) + choices.blob(9)

    def _number(self, name: str) -> int:
        choices, known = self._choices, self._known
        if name == "market_id":
            return choices.pick((1, 1, 1, 1, 3, 5, 5, 9))
        if name == "contract_id":
            return choices.pick((2, 2, 2, 2, 4, 6, 7, 9))
        if name in ("order_id", "orig_order_id"):
            return choices.pick(known.orders) if known.orders else choices.integer()
        if name in ("quantity", "new_quantity", "maq"):
            return choices.pick((1, 10_000, 20_000, 100_000, 400_000, 2**31 - 1, 2**31, 5))
        if name == "price":
            return choices.pick((2498, 2499, 2500, 2501, 2502, 1, 9_999, 10_000))
        if name in ("cancel_all_on_failure", "is_replay"):
            return choices.below(2)
        return choices.pick((1, 7, *ABSURD))

    def _text(self, name: str) -> bytes:
        choices, known = self._choices, self._known
        if name == "session" and known.sessions:
            return choices.pick(known.sessions).encode()
        return choices.pick((b"label", b"", "ü".encode(), b"x" * 40))

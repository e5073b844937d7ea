"""Payloads in the words of a script: names, fields, short names of enums. Only the schema is used."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto
from tests.rig.scenario.values import Group, ListOf, Mistake, Value, Word

__all__ = ["ENUMS", "KINDS", "Kind", "Scope", "build", "described", "kind_named", "name_of", "short_name"]

#: What was captured so far: ``order`` of ``$order`` to its value.
Scope = dict[str, Any]

_PREFIX = "PAYLOAD_"
_INTEGERS = frozenset(
    {
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
    }
)


# --- enums ------------------------------------------------------------------------------------------


def _prefix_of(enum: Any) -> str:
    """What all values of an enum begin with and a script leaves out, as its name tells: ``LOGOUT_``."""
    words = re.findall(r"[A-Z][a-z]*", enum.name)
    for count in range(len(words), 0, -1):
        prefix = "_".join(words[:count]).upper() + "_"
        if all(value.name.startswith(prefix) for value in enum.values):
            return prefix
    return ""


#: Enum -> short name -> number. ``ENUMS["LogoutReason"]["DOWNTIME"]`` is 9.
ENUMS: dict[str, dict[str, int]] = {
    enum.name: {value.name[len(_prefix_of(enum)) :]: value.number for value in enum.values}
    for module in (eto, seto)
    for enum in module.DESCRIPTOR.enum_types_by_name.values()
    if not (module is eto and enum.name == "PayloadType")
}
ENUMS["InnerType"] = {value.name[len(_PREFIX) :]: value.number for value in eto.PayloadType.DESCRIPTOR.values}


def _short_names(field: FieldDescriptor) -> dict[str, int]:
    enum = cast("Any", field.enum_type)
    return ENUMS["InnerType" if enum.full_name.endswith("eto.PayloadType") else enum.name]


def short_name(field: FieldDescriptor, number: int) -> str:
    """``CONFIRMATION`` for the 3 of a logout's reason; the number itself if the schema has no name."""
    return next((name for name, value in _short_names(field).items() if value == number), str(number))


def repeated(field: FieldDescriptor) -> bool:
    """Whether a field is a list."""
    try:
        return bool(field.is_repeated)
    except AttributeError:  # protobuf before 6.31
        return bool(cast("Any", field).label == FieldDescriptor.LABEL_REPEATED)


# --- kinds of payloads ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """One kind of payload: ``name`` is ``seto.order_create``, ``short`` the same without its layer.

    ``member`` is the field that holds its message, in the seto payload or the eto one; empty if none does.
    """

    name: str
    outer: int
    inner: int | None
    member: str

    @property
    def short(self) -> str:
        """Its name in a script."""
        return self.name.partition(".")[2]

    @property
    def is_eto(self) -> bool:
        """Whether it belongs to the session layer."""
        return self.name.startswith("eto.")

    @property
    def fields(self) -> dict[str, FieldDescriptor]:
        """The fields that its message has."""
        descriptor = (eto if self.is_eto else seto).Payload.DESCRIPTOR.fields_by_name
        if not self.member:
            return {}
        found = dict(cast("Any", descriptor[self.member]).message_type.fields_by_name)
        if self.name == "seto.login":
            found["session"] = eto.Login.DESCRIPTOR.fields_by_name["session"]
        return found

    def message(self, payload: seto.Payload) -> Any:
        """Its message in a payload."""
        return getattr(payload.eto_payload if self.is_eto else payload, self.member)


def _kinds() -> list[Kind]:
    found = [
        Kind(f"seto.{short}", number, None, short)
        for short, number in ((name.lower(), number) for name, number in ENUMS["PayloadType"].items())
        if short not in ("eto", "login")
    ]
    # The one hybrid: outer and inner type are both "login", the credentials are in the outer part.
    found.append(Kind("seto.login", seto.PAYLOAD_LOGIN, eto.PAYLOAD_LOGIN, "login"))
    for name, number in ENUMS["InnerType"].items():
        if name != "LOGIN":
            member = name.lower() if name.lower() in eto.Payload.DESCRIPTOR.fields_by_name else ""
            found.append(Kind(f"eto.{name.lower()}", seto.PAYLOAD_ETO, number, member))
    return found


#: Name in a script -> kind. No two layers have one in common, but for the login.
KINDS: dict[str, Kind] = {kind.short: kind for kind in _kinds()}


def kind_named(name: str) -> Kind:
    """The kind of a name, with or without its layer.

    Raises:
        Mistake: there is none; says which are like it.
    """
    kind = KINDS.get(name.partition(".")[2] or name)
    if kind is None or ("." in name and kind.name != name):
        near = difflib.get_close_matches(name, [*KINDS, "buy", "sell"], n=3)
        raise Mistake(f"there is no message {name!r}" + (f"; near it: {', '.join(near)}" if near else ""))
    return kind


# --- building ---------------------------------------------------------------------------------------


def build(
    kind: Kind, seq: int | None, *, is_replay: bool | None, fields: dict[str, Value], scope: Scope
) -> bytes:
    """The bytes of a payload; what the schema requires may be missing, that is the script's matter.

    Raises:
        Mistake: a field that the message does not have, or a value that it cannot take.
    """
    payload = seto.Payload(type=cast("seto.PayloadType", kind.outer))
    inner = payload.eto_payload
    inner.SetInParent()
    if seq is not None:
        inner.seq = seq
    if kind.inner is not None:
        inner.type = cast("eto.PayloadType", kind.inner)
    if is_replay is not None:
        inner.is_replay = is_replay
    own = dict(fields)
    for name in ("eto.type", "is_replay"):
        if name in own:
            _fill(inner, {name.removeprefix("eto."): own.pop(name)}, scope)
    if kind.name == "seto.login" and "session" in own:
        _fill(inner.login, {"session": own.pop("session")}, scope)
    if kind.member:
        message = kind.message(payload)
        if not kind.is_eto or own:
            message.SetInParent()
        _fill(message, own, scope)
    elif own:
        raise Mistake(f"{kind.short} has no fields, and not {', '.join(own)}")
    return payload.SerializePartialToString()


def _fill(message: Any, fields: dict[str, Value], scope: Scope) -> None:
    for name, value in fields.items():
        field = _field(message, name)
        if repeated(field):
            if not isinstance(value, ListOf):
                raise Mistake(f"{name} is a list: write {name}=[{value}]")
            values = value.items
        else:
            values = (value,)
        for item in values:
            _put(message, field, item, scope)


def _put(message: Any, field: FieldDescriptor, value: Value, scope: Scope) -> None:
    if field.message_type is not None:
        part = getattr(message, field.name)
        part = part.add() if repeated(field) else part
        part.SetInParent()
        _fill(part, group_of(field, value).fields, scope)
        return
    plain = plain_value(field, value, scope)
    if field.enum_type is not None and plain not in field.enum_type.values_by_number:
        # What the schema has no name for cannot be assigned; on the wire it is a number like any other.
        message.MergeFromString(_varint(field.number << 3) + _varint(plain))
    elif repeated(field):
        getattr(message, field.name).append(plain)
    else:
        setattr(message, field.name, plain)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 127:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


def _field(message: Any, name: str) -> FieldDescriptor:
    fields = message.DESCRIPTOR.fields_by_name
    if name not in fields:
        raise Mistake(f"{message.DESCRIPTOR.name} has no field {name!r}; it has {', '.join(fields)}")
    return cast("FieldDescriptor", fields[name])


def group_of(field: FieldDescriptor, value: Value) -> Group:
    """The fields of a message inside a message, also where they are written by position.

    Raises:
        Mistake: it is neither a group nor positions.
    """
    if isinstance(value, Group):
        return value
    names = list(cast("Any", field.message_type).fields_by_name)
    if isinstance(value, Word) and not value.quoted:
        parts = value.text.split(":")
        if len(parts) <= len(names):
            return Group(dict(zip(names, (Word(part) for part in parts), strict=False)))
    raise Mistake(f"{field.name} is a message: write {{{names[0]}=...}} or {':'.join(names)}, not {value}")


def plain_value(field: FieldDescriptor, value: Value, scope: Scope) -> Any:
    """What a word means as the value of a field.

    Raises:
        Mistake: it means nothing there, or is something that was not captured.
    """
    if not isinstance(value, Word):
        raise Mistake(f"{field.name} takes one value, not {value}")
    capture = value.capture
    if capture is not None:
        name, more = capture
        if name not in scope:
            raise Mistake(f"${name} was not captured before")
        return scope[name] + more if more else scope[name]
    text = value.text
    try:
        if field.type in _INTEGERS:
            return int(text.replace("_", ""))
        if field.type == FieldDescriptor.TYPE_BOOL:
            return {"true": True, "false": False}[text]
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return float(text.replace("_", ""))
        if field.enum_type is not None:
            return int(text) if text.isdigit() else _short_names(field)[text]
    except (KeyError, ValueError):
        allowed = f"; one of {', '.join(_short_names(field))}" if field.enum_type is not None else ""
        raise Mistake(f"{text!r} is no value of {field.name}{allowed}") from None
    return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text


# --- reading ----------------------------------------------------------------------------------------


def parsed(data: bytes) -> seto.Payload | None:
    """The payload in these bytes, or None if they are none."""
    try:
        return seto.Payload.FromString(data)
    except DecodeError:
        return None


def unknown_number(message: Message, field_number: int) -> int | None:
    """The number that came for an enum whose value the schema does not know."""
    for field in cast("Any", UnknownFieldSet(message)):
        if field.field_number == field_number and field.wire_type == 0:
            return int(field.data)
    return None


def name_of(payload: seto.Payload) -> str:
    """``seto.order_accepted``, ``eto.ping``, ``seto.unknown``, ``eto.unknown``."""
    if not payload.HasField("type"):
        return "seto.unknown"
    if payload.type != seto.PAYLOAD_ETO:
        return "seto." + seto.PayloadType.Name(payload.type)[len(_PREFIX) :].lower()
    if not payload.eto_payload.HasField("type") and unknown_number(payload.eto_payload, 2) is not None:
        return "eto.unknown"
    return "eto." + eto.PayloadType.Name(payload.eto_payload.type)[len(_PREFIX) :].lower()


def described(data: bytes) -> str:
    """A payload as a script would write it."""
    payload = parsed(data)
    if payload is None:
        return f"payload {data.hex()}  (no payload)"
    name = name_of(payload)
    words = [str(payload.eto_payload.seq), name.partition(".")[2]]
    if payload.eto_payload.is_replay:
        words.append("is_replay")
    kind = KINDS.get(words[1])
    if kind is None:
        words.append(f"(type {unknown_number(payload, 1) or unknown_number(payload.eto_payload, 2)})")
    elif kind.member:
        words += _described_fields(kind.message(payload))
        if kind.name == "seto.login":
            words += _described_fields(payload.eto_payload.login)
    return " ".join(words)


def _described_fields(message: Any) -> list[str]:
    words = []
    for field, value in message.ListFields():
        if repeated(field):
            words.append(f"{field.name}=[{', '.join(said(field, item) for item in value)}]")
        else:
            words.append(f"{field.name}={said(field, value)}")
    words += [f"{name}={number}" for name, number in _unknown_enums(message)]
    return words


def _unknown_enums(message: Any) -> list[tuple[str, int]]:
    found = []
    for field in message.DESCRIPTOR.fields:
        number = unknown_number(message, field.number) if field.enum_type is not None else None
        if number is not None:
            found.append((field.name, number))
    return found


def said(field: FieldDescriptor, value: Any) -> str:
    """One value as a script would write it."""
    if field.message_type is not None:
        return _by_position(value) or "{" + " ".join(_described_fields(value)) + "}"
    if field.enum_type is not None:
        return short_name(field, value)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true" if value else "false"
    if field.type == FieldDescriptor.TYPE_STRING:
        return f'"{value}"'
    return repr(value) if field.type == FieldDescriptor.TYPE_BYTES else str(value)


def _by_position(message: Any) -> str:
    """``5000:100000`` if exactly the first fields are set, and are plain; else nothing."""
    found = message.ListFields()
    in_order = [field.number for field in message.DESCRIPTOR.fields][: len(found)]
    if not found or [field.number for field, _ in found] != in_order:
        return ""
    if any(field.message_type is not None or repeated(field) for field, _ in found):
        return ""
    return ":".join(said(field, value) for field, value in found)

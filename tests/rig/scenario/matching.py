"""What came against what was written: the differences, and what was captured on the way.

Only the fields that a line writes are compared, each exactly. A field that is not there is never equal to
its default: proto2 would read an absent reason as the first one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from smarkets_pool.wire.schema import seto_pb2 as seto
from tests.rig.scenario.messages import (
    KINDS,
    Kind,
    Scope,
    group_of,
    name_of,
    parsed,
    plain_value,
    repeated,
    said,
    unknown_number,
)
from tests.rig.scenario.values import ABSENT, ANYTHING, Group, ListOf, Mistake, Value, Word

__all__ = ["Difference", "Expected", "compare"]

REST = "..."
#: Letters up to which a list that is not as written is shown as a whole, and not by what differs in it.
_SHORT = 120


@dataclass(frozen=True)
class Difference:
    """One thing that is not as written."""

    what: str
    expected: str
    found: str


@dataclass(frozen=True)
class Expected:
    """A message as a line writes it. ``number`` None is any; ``is_replay`` None is "not said"."""

    kind: Kind | None
    number: int | None
    is_replay: bool
    fields: dict[str, Value]


def compare(expected: Expected, data: bytes, scope: Scope) -> list[Difference]:
    """The differences of a payload; captures go into ``scope`` only if there is none."""
    payload = parsed(data)
    if payload is None:
        return [Difference("message", _kind_text(expected), f"payload {data.hex()} (no payload)")]
    name = name_of(payload)
    if name.partition(".")[2] != (expected.kind.short if expected.kind else "unknown"):
        return [Difference("message", _kind_text(expected), name.partition(".")[2])]
    trial = dict(scope)
    found = [*_envelope(expected, payload, trial), *_own_fields(expected, payload, trial)]
    if not found:
        scope.update(trial)
    return found


def _kind_text(expected: Expected) -> str:
    return expected.kind.short if expected.kind is not None else "unknown"


def _envelope(expected: Expected, payload: seto.Payload, scope: Scope) -> list[Difference]:
    inner = payload.eto_payload
    found = []
    if expected.number is not None and inner.seq != expected.number:
        found.append(Difference("number", str(expected.number), str(inner.seq)))
    if "is_replay" not in expected.fields and inner.is_replay != expected.is_replay:
        found.append(Difference("is_replay", *(("no", "yes") if inner.is_replay else ("yes", "no"))))
    for name in ("is_replay", "eto.type"):
        if name in expected.fields:
            wanted = {name.removeprefix("eto."): expected.fields[name]}
            found += _differences(inner, wanted, scope, "eto." if name == "eto.type" else "")
    return found


def _own_fields(expected: Expected, payload: seto.Payload, scope: Scope) -> list[Difference]:
    fields = {name: value for name, value in expected.fields.items() if name not in ("is_replay", "eto.type")}
    found = []
    if expected.kind is KINDS["login"] and "session" in fields:
        found += _differences(payload.eto_payload.login, {"session": fields.pop("session")}, scope, "")
    if not fields:
        return found
    if expected.kind is None or not expected.kind.member:
        return [Difference(next(iter(fields)), "a field", f"{_kind_text(expected)} has no fields")]
    return found + _differences(expected.kind.message(payload), fields, scope, "")


def _differences(message: Any, fields: dict[str, Value], scope: Scope, path: str) -> list[Difference]:
    found: list[Difference] = []
    for name, value in fields.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            found.append(Difference(path + name, str(value), f"{message.DESCRIPTOR.name} has no such field"))
        elif repeated(field):
            found += _list_differences(message, field, value, scope, path + name)
        elif not message.HasField(name):
            raw = unknown_number(message, field.number)
            there = ABSENT if raw is None else str(raw)
            if str(value) != there:
                found.append(Difference(path + name, str(value), there))
        elif value == Word(ABSENT):
            found.append(Difference(path + name, ABSENT, said(field, getattr(message, name))))
        else:
            found += _item_differences(field, getattr(message, name), value, scope, path + name)
    return found


def _item_differences(
    field: FieldDescriptor, value: Any, wanted: Value, scope: Scope, path: str
) -> list[Difference]:
    if wanted == Word(ANYTHING):
        return []
    if field.message_type is not None and not _is_new_capture(wanted, scope):
        return _differences(value, group_of(field, wanted).fields, scope, path + ".")
    if _equal(field, value, wanted, scope):
        return []
    return [Difference(path, _resolved(wanted, scope), said(field, value))]


def _is_new_capture(wanted: Value, scope: Scope) -> bool:
    return isinstance(wanted, Word) and wanted.capture is not None and wanted.capture[0] not in scope


def _resolved(wanted: Value, scope: Scope) -> str:
    if isinstance(wanted, Word) and wanted.capture is not None and wanted.capture[0] in scope:
        return f"{wanted} = {scope[wanted.capture[0]] + wanted.capture[1]}"
    return str(wanted)


def _equal(field: FieldDescriptor, value: Any, wanted: Value, scope: Scope) -> bool:
    if isinstance(wanted, Word):
        if _is_new_capture(wanted, scope):
            assert wanted.capture is not None
            scope[wanted.capture[0]] = value
            return True
        if wanted.quoted and "*" in wanted.text:
            return like(str(value), wanted.text)
    plain = plain_value(field, wanted, scope)
    if isinstance(plain, float):
        return math.isclose(value, plain, rel_tol=0, abs_tol=1e-9)
    return bool(value == plain)


def _list_differences(
    message: Any, field: FieldDescriptor, wanted: Value, scope: Scope, path: str
) -> list[Difference]:
    items = list(getattr(message, field.name))
    raw = unknown_number(message, field.number)
    told = f"[{', '.join(said(field, item) for item in items)}]"
    if wanted == Word(ANYTHING):
        return [] if items or raw is not None else [Difference(path, "at least one", "[]")]
    if not isinstance(wanted, ListOf):
        return [Difference(path, f"a list, not {wanted}", told)]
    if _list_fits(field, items, wanted.items, scope):
        return []
    short = max(len(told), len(str(wanted))) <= _SHORT
    if not short and len(items) == len(wanted.items) and REST not in map(str, wanted.items):
        found: list[Difference] = []
        for index, (item, want) in enumerate(zip(items, wanted.items, strict=True)):
            found += _item_differences(field, item, want, scope, f"{path}[{index}]")
        return found
    return [Difference(path, str(wanted), told)]


def _list_fits(field: FieldDescriptor, items: list[Any], wanted: tuple[Value, ...], scope: Scope) -> bool:
    """Whether the items are those written, ``...`` standing for any number of others."""
    if not wanted:
        return not items
    if wanted[0] == Word(REST):
        return any(_list_fits(field, items[skip:], wanted[1:], scope) for skip in range(len(items) + 1))
    if not items:
        return False
    trial = dict(scope)
    if _item_differences(field, items[0], wanted[0], trial, ""):
        return False
    if not _list_fits(field, items[1:], wanted[1:], trial):
        return False
    scope.update(trial)
    return True


def compare_plain(
    wanted: dict[str, Value], found: dict[str, Any], scope: Scope, path: str = ""
) -> list[Difference]:
    """The same for plain data, such as what a handler was given about the life of an account."""
    differences = []
    trial = dict(scope)
    for name, value in wanted.items():
        if name not in found:
            differences.append(Difference(path + name, str(value), f"not there; there is {', '.join(found)}"))
        elif not _plain_equal(found[name], value, trial):
            differences.append(Difference(path + name, _resolved(value, trial), _plain_text(found[name])))
    if not differences:
        scope.update(trial)
    return differences


def _plain_text(value: Any) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _plain_equal(value: Any, wanted: Value, scope: Scope) -> bool:
    if isinstance(wanted, Group):
        raise Mistake(f"{wanted} is a message, and a plain value is expected here")
    if isinstance(wanted, ListOf):
        items = list(value)
        return len(items) == len(wanted.items) and all(
            _plain_equal(item, want, scope) for item, want in zip(items, wanted.items, strict=True)
        )
    if wanted == Word(ANYTHING):
        return value is not None
    if wanted == Word(ABSENT):
        return value is None
    capture = wanted.capture
    if capture is not None and capture[0] not in scope:
        scope[capture[0]] = value
        return True
    if capture is not None:
        return bool(value == (scope[capture[0]] + capture[1] if capture[1] else scope[capture[0]]))
    if isinstance(value, bool):
        return wanted.text == ("true" if value else "false")
    if isinstance(value, (int, float)):
        try:
            return math.isclose(float(wanted.text.replace("_", "")), value, rel_tol=0, abs_tol=1e-6)
        except ValueError:
            return False
    return like(str(value), wanted.text)


def like(text: str, pattern: str) -> bool:
    """Whether a text is a pattern in which ``*`` stands for anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None

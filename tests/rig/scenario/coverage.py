"""What a script shows, and whether it does: the claims of its ``shows:`` lines against its own lines.

=====================  ===================================================================================
``seto.order_create``  the script says or hears such a message
``Side.BUY``           a message in it has that value in a field of that enum
``fault drop``         the fault is ordered, and found in the exchange's record of what happened
anything else          a name of ``CASES``: one conversation has these lines, in this order, perhaps with
                       others between them
=====================  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from tests.rig.scenario.framing import FrameCutter, framed
from tests.rig.scenario.language import (
    Fault,
    LogIn,
    Mark,
    Message,
    Operate,
    Raw,
    Script,
    Step,
    Talk,
    Truth,
    message_of,
)
from tests.rig.scenario.messages import ENUMS, KINDS, group_of, name_of, parsed
from tests.rig.scenario.values import ListOf, Mistake, Value, Word, split_words

__all__ = [
    "CASES",
    "DIRECTIONS",
    "ENUM_VALUES",
    "Said",
    "how_to_see",
    "how_to_see_value",
    "lines_of",
    "shows",
]

#: The names of all enum values: ``LogoutReason.DOWNTIME``; payload types are messages.
ENUM_VALUES = frozenset(
    f"{enum}.{value}"
    for enum, values in ENUMS.items()
    if enum not in ("PayloadType", "InnerType")
    for value in values
)


_FROM_BOTH = {"eto.gapfill", "eto.heartbeat", "eto.replay", "eto.logout"}
_FROM_CLIENTS = {
    "eto.none",
    "eto.ping",
    "seto.login",
    "seto.order_create",
    "seto.order_cancel",
    "seto.order_quantity_reduce",
    "seto.order_cancel_all",
    "seto.order_cancel_replace",
    "seto.settings",
    *(kind.name for kind in KINDS.values() if kind.name.endswith("subscribe")),
}
#: Payload name -> the directions that it has, from the fact sheet's tables 2.2, 3.3 and 3.4.
DIRECTIONS: dict[str, str] = {
    name: "><" if name in _FROM_BOTH else ">" if name in _FROM_CLIENTS else "<"
    for name in (kind.name for kind in KINDS.values())
}


def _rows() -> dict[str, str]:
    """The fact sheet's reference transcripts (2.8) and requests with their answers (3.2)."""
    welcome = "> login; < login_response"
    create = "> order_create; < order_accepted"
    cancelled = "> order_cancel; < order_cancelled reason=MEMBER_REQUESTED"
    followed = "> market_subscribe; < market_quotes; > order_create; < contract_quotes; < order_accepted"
    row_2_8 = {
        "login/logout": f"{welcome}; > logout; < logout reason=CONFIRMATION; < close",
        "ping x10": "> ping x10; < pong x10; > logout; < logout reason=CONFIRMATION",
        "order + cancel": f"{create}; {cancelled}",
        "bad order": "> order_create; < order_invalid reasons=[INVALID_QUANTITY]",
        "rejected": "> order_create; < order_rejected",
        "cancel unknown": "> order_cancel; < order_cancel_rejected reason=NOT_FOUND",
        "cancel twice": (
            f"{cancelled.replace(' reason=MEMBER_REQUESTED', '')}; "
            "> order_cancel; < order_cancel_rejected reason=NOT_LIVE; "
            "> order_cancel; < order_cancel_rejected reason=NOT_LIVE"
        ),
        "subscribe": "> market_subscribe; < market_quotes",
        "subscribe + order": followed,
        "subscribe + order + cancel": f"{followed}; > order_cancel; < contract_quotes; < order_cancelled",
        "match (both users)": f"{create}; < order_executed",
        "unsubscribe": "> market_subscribe; > market_unsubscribe; < nothing",
    }
    row_3_2 = {
        "login accepted": welcome,
        "login refused": "> login; < logout reason=UNAUTHORISED",
        "ping": "> ping; < pong",
        "order_create accepted": create,
        "order_create rejected": "> order_create; < order_rejected",
        "order_create invalid": "> order_create; < order_invalid",
        "order_cancel cancelled": cancelled,
        "order_cancel rejected": "> order_cancel; < order_cancel_rejected",
        "order_quantity_reduce reduced": "> order_quantity_reduce; < order_quantity_reduced",
        "order_quantity_reduce rejected": "> order_quantity_reduce; < order_quantity_reduce_rejected",
        "order_cancel_all accepted": (
            "> order_cancel_all; < order_cancel_all_accepted; < order_cancelled reason=MEMBER_REQUESTED"
        ),
        "order_cancel_all rejected": ("> order_cancel_all; < order_cancel_all_rejected reason=UNKNOWN_ERROR"),
        "order_cancel_replace accepted": (
            "> order_cancel_replace; < order_pending_replace; < order_cancel_replace_accepted"
        ),
        "order_cancel_replace cancel rejected": "> order_cancel_replace; < order_cancel_rejected",
        "order_cancel_replace replace rejected": (
            "> order_cancel_replace; < order_pending_replace; < order_cancel_replace_rejected"
        ),
        "settings": "> settings; < settings_accepted",
        "market_subscribe": "> market_subscribe; < market_quotes",
        "market_unsubscribe": "> market_unsubscribe; < nothing",
        "event_subscribe": "> event_subscribe; < nothing; < runningball_notification",
        "event_unsubscribe": "> event_unsubscribe; < nothing",
        "price_feed_subscribe": "> price_feed_subscribe; < nothing; < contract_quotes",
        "price_feed_unsubscribe": "> price_feed_unsubscribe; < nothing",
        "market_feed_subscribe": "> market_feed_subscribe; < nothing; < market_state",
        "market_feed_unsubscribe": "> market_feed_unsubscribe; < nothing",
    }
    return {
        **{f"row 2.8 {name}": lines for name, lines in row_2_8.items()},
        **{f"row 3.2 {name}": lines for name, lines in row_3_2.items()},
    }


#: Name -> the lines that one conversation of the script must have, in order.
CASES: dict[str, str] = {
    **_rows(),
    # Numbers that are missing, early or there already; both sides in turn.
    "gap client asks": "> replay; < any is_replay",
    "gap exchange asks": "< replay; > any is_replay",
    "gap client repeats": "< replay; > any is_replay",
    "gap both sides": "> replay; < any is_replay; < replay; > any is_replay",
    "gap gapfills": "> replay; < gapfill is_replay; < any is_replay",
    "gap repeated requests": "> replay; > replay; < any is_replay; < any is_replay",
    "gap in a replay": "> replay; < any is_replay; > replay; < any is_replay",
    "gap duplicate": "< any; < any",
    "gap early logout": "any logout",
    "gap ends the session": "< replay; < logout; < close",
    "gap not filled": "any replay; any close",
    "gap login response early": "< login_response; > replay; < gapfill is_replay",
    "gap never sent": "> replay; < gapfill is_replay; < gapfill is_replay",
    "gap replay late": "> replay; < nothing; < any is_replay",
    "gap replay wrong": "> replay; < any is_replay",
    "gap replay partial": "> replay; < any is_replay; < nothing",
    "gap replay never": "> replay; < nothing",
    "gap of the account": "< any; < any; > login; < any is_replay",
    "gap regressed": "< any; < any",
    # Going on after a connection.
    "resume session id": "> login; < login_response; > login; any login_response",
    "resume account sequence": "> login; any login",
    "deltas 3.8": "< market_quotes; " + "; ".join(["< contract_quotes"] * 5),
    # What nobody should send, and what nobody should do.
    "bad input": "any bytes",
    "out buffer full": "< ...; < close",
    "pool unreachable": "any login",
    "pool login timeout": "> login; > close",
}


# --- the lines of a script ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """One thing that was said, by either side; ``name`` is without layer, or a mark's word."""

    who: str
    direction: str
    name: str
    is_replay: bool
    values: frozenset[tuple[str, str]]
    times: int = 1


_OF_LOGIN = ((">", "login"), ("<", "login_response"), ("<", "throttle_limits_changed"))


def lines_of(script: Script) -> Iterator[Said]:
    """All that is said in a script, in order; ``logs in`` and raw bytes as the messages that they are."""
    for step in script.steps:
        if isinstance(step, LogIn):
            yield from (Said(step.who, direction, name, False, frozenset()) for direction, name in _OF_LOGIN)
        elif isinstance(step, Talk):
            yield _said(step)


def _said(step: Talk) -> Said:
    what = step.what
    if isinstance(what, Mark):
        return Said(step.who, step.direction, what.word, False, frozenset())
    if isinstance(what, Raw):
        return _said_in_bytes(step, what)
    name = "unknown" if what.kind is None else what.kind.short
    values: set[tuple[str, str]] = set()
    if what.kind is not None:
        for field, value in what.fields.items():
            values |= _values(what.kind.fields.get(field), field, value)
    return Said(step.who, step.direction, name, what.is_replay, frozenset(values), what.times)


def _said_in_bytes(step: Talk, what: Raw) -> Said:
    frames = FrameCutter().feed(framed(what.data) if what.framed else what.data)
    payload = parsed(frames[0].payload) if frames and frames[0].payload is not None else None
    if payload is None or not payload.eto_payload.HasField("seq"):
        return Said(step.who, step.direction, "bytes", False, frozenset())
    kind = KINDS[name_of(payload).partition(".")[2]]
    values = set()
    if kind.member:
        for field, value in kind.message(payload).ListFields():
            if field.enum_type is not None:
                names = {number: name for name, number in ENUMS[field.enum_type.name].items()}
                values.add((field.enum_type.name, names[value]))
    return Said(step.who, step.direction, kind.short, payload.eto_payload.is_replay, frozenset(values))


def _values(field: FieldDescriptor | None, name: str, value: Value) -> set[tuple[str, str]]:
    """What a field says: its own word under its name, and enums under theirs, also inside of messages."""
    found = {(name, str(value))}
    if field is None:
        return found
    for item in value.items if isinstance(value, ListOf) else (value,):
        if field.message_type is not None:
            try:
                fields = group_of(field, item).fields
            except Mistake:
                continue
            nested: Any = field.message_type
            for key, part in fields.items():
                found |= _values(nested.fields_by_name.get(key), key, part)
        elif field.enum_type is not None and isinstance(item, Word):
            found.add((field.enum_type.name, item.text))
    return found


# --- for documents ------------------------------------------------------------------------------------


def how_to_see(script: Script, direction: str, name: str) -> str | None:
    """The line that says a message, or brings the exchange to say it; None if the script has none."""
    lines = _lines_for(script, lambda said: (said.direction, said.name) == (direction, name), direction, name)
    return lines[-1] if lines else None


def how_to_see_value(script: Script, enum: str, value: str) -> list[str]:
    """The same for a value of an enum, behind what the exchange's staff or a fault did for that."""
    return _lines_for(script, lambda said: (enum, value) in said.values)


def _lines_for(
    script: Script, is_it: Callable[[Said], bool], direction: str = "", name: str = ""
) -> list[str]:
    causes: list[Step] = []
    for step in script.steps:
        if isinstance(step, Talk) and is_it(_said(step)):
            causes += [step] if step.direction == ">" else []
            asked = bool(causes) and isinstance(causes[-1], Talk)
            prepared = [each for each in causes[-2:-1] if asked and isinstance(each, (Operate, Fault))]
            return [each.text for each in [*prepared, *causes[-1:]]]
        if isinstance(step, LogIn) and (direction, name) in _OF_LOGIN:
            return [step.text]
        if not (isinstance(step, Talk) and step.direction == "<") and not isinstance(step, Truth):
            causes.append(step)
    return []


# --- claims -------------------------------------------------------------------------------------------


def shows(script: Script, claim: str) -> bool:
    """Whether the script shows what its head says.

    Raises:
        Mistake: nobody knows such a claim.
    """
    if claim in CASES:
        return any(_has_lines(script, who, CASES[claim]) for who in {said.who for said in lines_of(script)})
    first, _, rest = claim.partition(" ")
    if first == "fault":
        ordered = any(isinstance(step, Fault) and step.name == rest for step in script.steps)
        return ordered and any(isinstance(step, Truth) and step.kind == rest for step in script.steps)
    if claim in ENUM_VALUES:
        enum, _, value = claim.partition(".")
        return any((enum, value) in said.values for said in lines_of(script))
    if claim in {kind.name for kind in KINDS.values()}:
        return any(said.name == claim.partition(".")[2] for said in lines_of(script))
    raise Mistake(f"nobody knows how to show {claim!r}")


def _has_lines(script: Script, who: str, wanted: str) -> bool:
    said = [line for line in lines_of(script) if line.who == who]
    for text in wanted.split("; "):
        direction, _, rest = text.partition(" ")
        index = next((i for i, line in enumerate(said) if _fits(line, direction, rest)), None)
        if index is None:
            return False
        del said[: index + 1]
    return True


def _fits(said: Said, direction: str, text: str) -> bool:
    if direction != "any" and said.direction != direction:
        return False
    name, *_ = text.split()
    if name == "any":
        return ("is_replay" in text) == said.is_replay
    if name in ("nothing", "close", "...", "bytes"):
        return said.name == name
    wanted: Message = message_of(split_words(text))
    assert wanted.kind is not None
    return (
        said.name == wanted.kind.short
        and said.is_replay == wanted.is_replay
        and said.times >= wanted.times
        and all((key, str(value)) in said.values for key, value in wanted.fields.items())
    )

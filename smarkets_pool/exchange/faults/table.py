"""Which faults there are: one table that Python, scripts, command line, control and documents share.

A fault is written ``NAME key=value key=value``, as in ``drop account=ann frames=3``. ``parse_fault`` reads
that and ``FaultKind.check`` takes the same as plain data; both say what is wrong in the words that were
asked, and what there is instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any

from smarkets_pool.exceptions import UsageError
from smarkets_pool.wire.payloads import PAYLOAD_NAMES
from smarkets_pool.wire.schema import eto_pb2 as eto

__all__ = ["ANYBODY", "FAULTS", "Fault", "FaultKind", "Parameter", "logout_reason", "parse_fault"]

#: Stands for every account.
ANYBODY = "*"
_REQUIRED = object()
_YEAR = 366 * 86_400.0
_LOGOUT = "LOGOUT_"
_QUOTED = frozenset(" \t\r\n'\"\\")
_LAYERS = ("seto.*", "eto.*", "*")


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a fault: how it is checked, its default, and what it means.

    ``kind`` is what a user reads: ``account``, ``number``, ``seconds``, ``chance``, ``names``, ``reason``, or
    the choices themselves.
    """

    name: str
    kind: str
    text: str
    default: Any = _REQUIRED
    choices: tuple[str, ...] = ()
    lowest: int = 1
    highest: int = 10**9

    @property
    def is_required(self) -> bool:
        """Whether a fault cannot do without it."""
        return self.default is _REQUIRED

    def check(self, value: Any) -> Any:
        """The value as the fault uses it.

        Raises:
            ValueError: it is none of this kind; the text says what one is.
        """
        if value is None and not self.is_required and self.default is None:
            return None
        return _CHECKS["choice" if self.choices else self.kind](self, value)

    def in_text(self, value: Any) -> str:
        """A value as it stands behind ``name=``."""
        if self.kind == "names":
            return ",".join(value)
        if self.kind == "reason":
            return eto.LogoutReason.Name(value).removeprefix(_LOGOUT)
        text = f"{value:g}" if isinstance(value, float) else str(value)
        # Not for a shell: a plain * stays one.
        return shlex.quote(text) if set(text) & _QUOTED else text


@dataclasses.dataclass(frozen=True, slots=True)
class FaultKind:
    """One fault: its name, what it does in one sentence, its parameters in order."""

    name: str
    text: str
    parameters: tuple[Parameter, ...]

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters with their values, defaults included.

        Raises:
            UsageError: a parameter is unknown, missing, or has a value that it cannot have.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                there = _listed(known) if known else "none"
                raise UsageError(
                    f"{self.name} has no parameter {name!r}{_near(name, known)} (it has {there})"
                )
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            value = given.get(parameter.name, parameter.default)
            if value is _REQUIRED:
                raise UsageError(f"{self.name} lacks {parameter.name}: {parameter.text}")
            try:
                values[parameter.name] = parameter.check(value)
            except ValueError as error:
                raise UsageError(f"{self.name}: {parameter.name} is {value!r} and must be {error}") from None
        return values


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was asked for: its kind, and a value for each parameter."""

    kind: FaultKind
    values: dict[str, Any]

    def __str__(self) -> str:
        """The text form, without what is at its default."""
        words = [self.kind.name]
        for parameter in self.kind.parameters:
            value = self.values[parameter.name]
            if value != parameter.default:
                words.append(f"{parameter.name}={parameter.in_text(value)}")
        return " ".join(words)


# --- values ------------------------------------------------------------------------------------


def _account(parameter: Parameter, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"a user name, or {ANYBODY} for every account")
    return value


def _number(parameter: Parameter, value: Any) -> int:
    with_sentence = ValueError(f"a whole number from {parameter.lowest}")
    if isinstance(value, str):
        if not value.strip().isdecimal():
            raise with_sentence
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise with_sentence
    if not parameter.lowest <= value <= parameter.highest:
        raise ValueError(f"{with_sentence} to {parameter.highest}" if value > 0 else str(with_sentence))
    return value


def _float(value: Any, low: float, high: float, sentence: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(sentence) from None
    # A NaN compares false with everything.
    if isinstance(value, bool) or not low <= number <= high:
        raise ValueError(sentence)
    return number


def _seconds(parameter: Parameter, value: Any) -> float:
    return _float(value, 0.0, _YEAR, f"seconds from 0 to {_YEAR:.0f}")


def _chance(parameter: Parameter, value: Any) -> float:
    return _float(value, 0.0, 1.0, "a number from 0 to 1")


def _names(parameter: Parameter, value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise ValueError("payload names, separated by commas")
    for name in names:
        if name not in _LAYERS and name not in PAYLOAD_NAMES:
            hint = _near(name, PAYLOAD_NAMES)
            raise ValueError(f"payload names such as seto.order_accepted or eto.*; {name!r} is none{hint}")
    return tuple(names)


def logout_reason(value: Any) -> int:
    """The LogoutReason of a number or a name, with or without ``LOGOUT_``.

    Raises:
        ValueError: there is none; the text lists them.
    """
    numbers = {name.removeprefix(_LOGOUT): number for name, number in eto.LogoutReason.items()}
    word = str(value).upper().removeprefix(_LOGOUT)
    if not isinstance(value, bool) and word in numbers:
        return numbers[word]
    if not isinstance(value, bool) and word.isdecimal() and int(word) in numbers.values():
        return int(word)
    raise ValueError(f"one of {', '.join(numbers)}{_near(word, numbers)}")


def _reason(parameter: Parameter, value: Any) -> int:
    return logout_reason(value)


def _choice(parameter: Parameter, value: Any) -> str:
    if value not in parameter.choices:
        raise ValueError(f"{_listed(parameter.choices, 'or')}{_near(value, parameter.choices)}")
    return str(value)


_CHECKS: dict[str, Callable[[Parameter, Any], Any]] = {
    "account": _account,
    "number": _number,
    "seconds": _seconds,
    "chance": _chance,
    "names": _names,
    "reason": _reason,
    "choice": _choice,
}


def _listed(names: Collection[str], word: str = "and") -> str:
    *head, last = names
    return f"{', '.join(head)} {word} {last}" if head else last


def _near(name: Any, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


# --- the table ---------------------------------------------------------------------------------

_ACCOUNT = Parameter("account", "account", f"whose connections: a user name, or {ANYBODY} for everybody's")
_FRAMES = Parameter("frames", "number", "how many frames it hits", 1)
_NAMES = Parameter(
    "names", "names", "which frames count, by payload name; seto.*, eto.* and * are several", ("seto.*",)
)
_CHANCE = Parameter("probability", "chance", "how likely each of them is hit", 1.0)
_TIMES = Parameter("times", "number", "how often", 1)


def _or_for_ever(text: str) -> Parameter:
    return Parameter("seconds", "seconds", f"{text}; for good without it", None)


def _kinds() -> list[FaultKind]:
    return [
        FaultKind(
            "drop", "the frame gets its number and is never written", (_ACCOUNT, _FRAMES, _NAMES, _CHANCE)
        ),
        FaultKind("duplicate", "the frame is written twice", (_ACCOUNT, _FRAMES, _NAMES, _CHANCE)),
        FaultKind(
            "reorder",
            "the frames wait for the first one that is not among them, and follow it",
            (_ACCOUNT, _FRAMES, _NAMES),
        ),
        FaultKind(
            "delay",
            "the frame waits, and everything behind it too",
            (_ACCOUNT, Parameter("seconds", "seconds", "how long", 1.0), _FRAMES, _NAMES),
        ),
        FaultKind(
            "drip",
            "the frame is written in pieces, with a pause after each",
            (
                _ACCOUNT,
                Parameter("size", "number", "bytes of a piece", 1),
                Parameter("seconds", "seconds", "the pause", 0.1),
                _FRAMES,
                _NAMES,
            ),
        ),
        FaultKind(
            "skip",
            "numbers are left out before the next seto frame",
            (_ACCOUNT, Parameter("numbers", "number", "how many", 1)),
        ),
        FaultKind(
            "garbage",
            "random bytes are written between two frames",
            (_ACCOUNT, Parameter("size", "number", "how many bytes", 64, highest=2**20)),
        ),
        FaultKind("oversize", "a header is written that announces a frame above any limit", (_ACCOUNT,)),
        FaultKind("unparsable", "a frame is written whose payload is none", (_ACCOUNT,)),
        FaultKind(
            "unknown_type", "a numbered payload is written whose type is newer than the schema", (_ACCOUNT,)
        ),
        FaultKind(
            "cut",
            "the connection is broken without a word",
            (
                _ACCOUNT,
                Parameter(
                    "where",
                    "choice",
                    "at once, or before, inside or after the next frame that counts",
                    "now",
                    choices=("now", "before", "inside", "after"),
                ),
                _NAMES,
                Parameter("away", "seconds", "how long logins are refused then; not at all without it", None),
            ),
        ),
        FaultKind(
            "half_open",
            "nothing is read or written any more, and the connection stays",
            (_ACCOUNT, _or_for_ever("how long")),
        ),
        FaultKind(
            "stop_reading",
            "nothing is read any more, so that what the client sends piles up",
            (_ACCOUNT, _or_for_ever("how long")),
        ),
        FaultKind(
            "refuse_connection",
            "new connections are accepted and reset at once",
            (
                Parameter("times", "number", "how many; without it, and without seconds, one", None),
                Parameter("seconds", "seconds", "for how long", None),
            ),
        ),
        FaultKind(
            "refuse_login",
            "logins are answered with a logout",
            (
                _ACCOUNT,
                Parameter(
                    "reason",
                    "reason",
                    "its LogoutReason, by name",
                    int(eto.LOGOUT_SERVICE_TEMPORARILY_UNAVAILABLE),
                ),
                _or_for_ever("for how long"),
                Parameter("times", "number", "how many logins; all without it", None),
            ),
        ),
        FaultKind(
            "slow_login",
            "the login is answered late",
            (_ACCOUNT, Parameter("seconds", "seconds", "how late", 1.0), _TIMES),
        ),
        FaultKind(
            "replay_late",
            "a client's replay request is answered late",
            (_ACCOUNT, Parameter("seconds", "seconds", "how late", 1.0), _TIMES),
        ),
        FaultKind(
            "replay_wrong",
            "a replay request is answered from the number behind the asked one, which never comes",
            (_ACCOUNT, _TIMES),
        ),
        FaultKind(
            "replay_partial",
            "of the answer to a replay request only the beginning is sent",
            (_ACCOUNT, Parameter("numbers", "number", "how many frames of it", 1), _TIMES),
        ),
        FaultKind("replay_never", "a replay request is not answered", (_ACCOUNT, _TIMES)),
        FaultKind(
            "ask_replay",
            "the exchange asks the client for what it has had already",
            (_ACCOUNT, Parameter("back", "number", "from how many numbers ago", 1)),
        ),
        FaultKind(
            "shorten_history",
            "older events of the account cannot be resumed any more",
            (_ACCOUNT, Parameter("events", "number", "how many of the newest stay", 0, lowest=0)),
        ),
        FaultKind(
            "certificate",
            "new connections are shown another certificate",
            (
                Parameter(
                    "kind",
                    "choice",
                    "what is wrong with it",
                    "expired",
                    choices=("expired", "not_yet", "wrong_name", "untrusted", "good"),
                ),
            ),
        ),
        FaultKind("mass_disconnect", "every connection there is is broken", ()),
        FaultKind(
            "restart",
            "the exchange goes and comes again on its port",
            (
                Parameter(
                    "keep",
                    "choice",
                    "whether its books, events and sessions come again too",
                    "all",
                    choices=("all", "nothing"),
                ),
                Parameter("away", "seconds", "how long nobody listens", 0.0),
            ),
        ),
    ]


#: Name -> fault, in the order in which they are explained.
FAULTS: Mapping[str, FaultKind] = {kind.name: kind for kind in _kinds()}


def parse_fault(text: str) -> Fault:
    """Read the text form of a fault.

    >>> str(parse_fault("cut account=ann where=inside"))
    'cut account=ann where=inside'

    Raises:
        UsageError: there is no such fault, or something is wrong with its parameters.
    """
    try:
        name, *words = shlex.split(text)
    except ValueError as error:
        what = f"a fault cannot be read: {error}" if text.strip() else "a fault needs a name"
        raise UsageError(f"{what}, in {text!r}; write it as 'drop account=ann frames=3'") from None
    kind = kind_of(name)
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"{name}: {word!r} is no parameter; write key=value, as in account=ann")
        if key in given:
            raise UsageError(f"{name}: {key} is there twice")
        given[key] = value
    return Fault(kind, kind.check(given))


def kind_of(name: str) -> FaultKind:
    """The fault of that name.

    Raises:
        UsageError: there is none; the text has the nearest and all.
    """
    kind = FAULTS.get(name)
    if kind is None:
        raise UsageError(f"there is no fault {name!r}{_near(name, FAULTS)} (there are {_listed(FAULTS)})")
    return kind

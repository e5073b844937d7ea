"""What can be chosen about the embedded exchange: one immutable value, checked once.

Most defaults are our answers to questions the vendor's documentation leaves open; each such field
names the choice in section 6 of the fact sheet. Times are seconds unless the name ends in ``_ms``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.wire.units import MAX_QUANTITY

__all__ = ["ExchangeSettings"]

_UINT32 = 2**32 - 1
_YEAR = 366 * 86_400.0

#: Field -> smallest and largest value. A range of floats takes whole numbers too, not the reverse.
_RANGES: dict[str, tuple[float, float]] = {
    "heartbeat_after": (0.001, _YEAR),
    "silence_limit": (0.001, _YEAR),
    "login_timeout": (0.001, _YEAR),
    "visible_depth": (0, 10_000),
    "history_limit": (0, 10**9),
    "session_memory": (0.0, _YEAR),
    "min_quantity": (1, MAX_QUANTITY),
    "max_quantity": (1, MAX_QUANTITY),
    "max_label": (0, 2**16),
    "throttle_rate": (1, _UINT32),
    "throttle_burst": (1, _UINT32),
    "throttle_tick_ms": (1, _UINT32),
    "max_frame_size": (64, 2**31 - 1),
    "out_buffer_limit": (1024, 2**40),
}
_MAX_BALANCE = Decimal(10**12)
_GAP_ANSWERS = ("replay", "logout")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """The settings of one embedded exchange.

    heartbeat_after: Seconds without sending after which the exchange sends a heartbeat (choices 1 and
        2). At or above a client's idle timeout, clients give the connection up.
    silence_limit: Seconds without a received frame after which the session is logged out with
        HEARTBEAT_TIMEOUT (choice 1).
    login_timeout: Seconds a new connection has for its login; then LOGOUT(LOGIN_TIMEOUT) (choice 3).
    visible_depth: Levels per side that quotes show; 0 = all of them. With a limit, a level that a
        better one pushes out is not reported as gone, as documented, and stays in naive clients (choice
        25).
    history_limit: Events kept per account for resuming clients; older ones cannot be had again (choice
        9).
    resume_includes_position: Whether "resume from N" sends N itself again (choice 8). Clients drop what
        they have already.
    session_memory: Seconds after which an unused session and its subscriptions are forgotten (choice
        11).
    min_quantity: Smallest quantity of a new order; below: INVALID_QUANTITY (choice 18; 1000 was the old
        SDK's).
    max_quantity: Largest quantity of a new order; above: INVALID_QUANTITY (choice 18).
    max_label: Longest label of an order, in bytes; it comes back on every message about the order.
    opening_balance: Currency units every account starts with, up to eight digits after the point.
    throttle_rate: Order messages per second a session may send on average (captured value of the real
        exchange).
    throttle_burst: Order messages a session may send at once after a pause.
    throttle_tick_ms: Milliseconds between two refills of the allowance.
    gap_answer: Answer to a client's number that is too high (choice 7): ask for a ``"replay"``, or
        ``"logout"``, for clients that cannot replay, such as the vendor's SDK 9.4.4.
    max_frame_size: Bytes of payload a received frame may have; above, the connection is closed.
    out_buffer_limit: Bytes that may wait for a client that does not read; above, its connection is
        closed.

    Raises:
        ConfigError: a value of the wrong type or outside its range; names field, value and range.
    """

    heartbeat_after: float = 5.0
    silence_limit: float = 30.0
    login_timeout: float = 10.0
    visible_depth: int = 5
    history_limit: int = 10_000
    resume_includes_position: bool = True
    session_memory: float = 86_400.0
    min_quantity: int = 1
    max_quantity: int = 2**31 - 1
    max_label: int = 1024
    opening_balance: Decimal = Decimal("10000.00")
    throttle_rate: int = 500
    throttle_burst: int = 1000
    throttle_tick_ms: int = 200
    gap_answer: Literal["replay", "logout"] = "replay"
    max_frame_size: int = 1 << 20
    out_buffer_limit: int = 8 << 20

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name in _RANGES:
                self._check_number(field.name, *_RANGES[field.name])
        if not isinstance(self.resume_includes_position, bool):
            raise _wrong("resume_includes_position", self.resume_includes_position, "True or False")
        if self.gap_answer not in _GAP_ANSWERS:
            raise _wrong("gap_answer", self.gap_answer, "'replay' or 'logout'")
        if self.min_quantity > self.max_quantity:
            raise _wrong("min_quantity", self.min_quantity, f"at most max_quantity, {self.max_quantity}")
        self._check_balance()

    def _check_number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        kinds = (int,) if isinstance(low, int) else (int, float)
        # A NaN compares false with everything, so it is outside as well.
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            kind = "a whole number" if kinds == (int,) else "a number"
            raise _wrong(name, value, f"{kind} from {low} to {high}")

    def _check_balance(self) -> None:
        value = self.opening_balance
        if (
            not isinstance(value, Decimal)
            or not value.is_finite()
            or not 0 <= value <= _MAX_BALANCE
            or value != round(value, 8)
        ):
            raise _wrong(
                "opening_balance",
                value,
                f"a Decimal from 0 to {_MAX_BALANCE} with at most 8 digits after the point",
            )


def _wrong(name: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(f"{name} is {value!r} and must be {allowed}")

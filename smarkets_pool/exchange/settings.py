"""What can be chosen about the embedded exchange: one immutable value, checked once.

Most defaults are our answers to questions the vendor's documentation leaves open; each such field
names the choice in section 6 of the fact sheet, and ``docs/exchange.md`` lists them all. Times are seconds
unless the name ends in ``_ms``.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.wire.units import MAX_PRICE, MAX_QUANTITY

__all__ = ["ExchangeSettings", "is_text"]

_UINT32 = 2**32 - 1
_YEAR = 366 * 86_400.0

#: Field -> smallest and largest value. A range of floats takes whole numbers too, not the reverse.
_RANGES: dict[str, tuple[float, float]] = {
    "heartbeat_after": (0.001, _YEAR),
    "silence_limit": (0.001, _YEAR),
    "login_timeout": (0.001, _YEAR),
    "history_limit": (0, 10**9),
    "session_memory": (0.0, _YEAR),
    "session_limit": (0, 10**9),
    "replay_limit": (0, 10**9),
    "balance_decimals": (0, 8),
    "min_quantity": (1, MAX_QUANTITY),
    "max_quantity": (1, MAX_QUANTITY),
    "price_step": (1, MAX_PRICE),
    "max_label": (0, 2**16),
    "max_live_orders": (0, 10**9),
    "finished_orders": (0, 10**9),
    "visible_depth": (0, 10_000),
    "managed_pending_ms": (0, _UINT32),
    "reduce_factor_whole": (1, _UINT32),
    "throttle_rate": (1, _UINT32),
    "throttle_burst": (1, _UINT32),
    "throttle_tick_ms": (1, _UINT32),
    "truth_limit": (0, 10**9),
    "max_frame_size": (64, 2**31 - 1),
    "out_buffer_limit": (1024, 2**40),
}
_MAX_BALANCE = Decimal(10**12)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSettings:
    """The settings of one embedded exchange.

    Sessions:

    heartbeat_after: Seconds after which the exchange sends a heartbeat (choice 1). At or above a
        client's idle timeout, clients give the connection up.
    heartbeat_style: ``"idle"``: counted from the last frame sent; ``"fixed"``: from the last heartbeat,
        whatever else is sent (choice 2).
    silence_limit: Seconds without a received frame after which the session is logged out with
        HEARTBEAT_TIMEOUT (choice 1).
    login_timeout: Seconds a new connection has for its login; then LOGOUT(LOGIN_TIMEOUT) (choice 3).
    login_not_first: Answer to a first frame that is no login, or a new login with another number than 1:
        ``"logout"`` with LOGIN_NOT_FIRST_SEQ, or ``"close"`` without a word (choice 4).
    second_login: Answer to a login on a logged-in connection: ``"logout"`` with LOGIN_NOT_FIRST_SEQ, or
        ``"ignore"`` (choice 5).
    unreadable_frame: Answer to bytes that are no payload: ``"close"``, or ``"logout"`` without a reason
        before it (choice 6).
    gap_answer: Answer to a client's number that is too high (choice 7): ask for a ``"replay"``, or
        ``"logout"``, for clients that cannot replay, such as the vendor's SDK 9.4.4.
    resume_includes_position: Whether "resume from N" sends N itself again (choice 8). Clients drop what
        they have already.
    resume_marks_replay: Whether the events a resuming client gets carry ``is_replay`` (choice 10).
    history_limit: Events kept per account for resuming clients; older ones cannot be had again (choice
        9).
    session_memory: Seconds after which an unused session and its subscriptions are forgotten (choice
        11); with 0 nobody resumes by session id.
    session_limit: How many sessions that were left are remembered in all; the oldest go first.
    replay_limit: Payloads kept per session for a client's replay requests, at most 1 MiB of them; for others
        a gapfill stands in.
    sessions_per_account: ``"many"`` at once, or the ``"newest"``, whose login closes the others (choice
        12).
    order_events_to: All sessions of the ``"account"``, or only the ``"session"`` that made the order,
        while it lasts (choice 12).
    account_sequence_32: Whether the 32-bit number of an event is filled while it fits (choice 14).
    cancel_all_by_default: What a session's ``cancel_all_on_failure`` is before it says so (choice 35).
    cancel_all_scope: Whose orders go when such a session fails: all of the ``"account"``, or those of the
        ``"session"`` (choice 35).

    Orders and money:

    opening_balance: Currency units every account starts with, up to eight digits after the point.
    balance_decimals: Digits after the point of balances on the wire. Inside nothing is rounded; there the
        exposure is rounded up and the available balance down (choice 17).
    exposure_sign: ``"negative"``: what is at risk is told as a number below 0; or ``"positive"`` (choice 15).
    netting: ``"none"``: each order risks for itself; ``"market"``: executed bets of a market are held
        against its worst single winner (choice 16).
    min_quantity: Smallest quantity of a new order; below: INVALID_QUANTITY (choice 18; 1000 was the old
        SDK's).
    max_quantity: Largest quantity of a new order; above: INVALID_QUANTITY (choice 18).
    price_step: Prices of new orders are multiples of it; others: INVALID_PRICE (choice 19).
    unique_references: Whether a reference that one of the account's live orders has is refused with
        ``order_invalid`` (choice 39).
    honours_maq: Whether ``maq`` counts: too little to execute at once is accepted and cancelled (choice 21).
    crossed_self: What happens to an order that would meet one of its own account: ``"reject"`` it, or
        ``"cancel_resting"`` (choice 23).
    gtc_survives_halt: Whether GOOD_TIL_CANCELLED orders stay when a market halts (choice 20).
    reduce_counts_executed: Whether ``order_quantity_reduce.new_quantity`` counts what was executed (choice
        30).
    replace_counts_executed: Whether ``order_cancel_replace.quantity`` does (choice 31).
    cancel_all_accepted_first: Whether ``order_cancel_all_accepted`` comes before the cancellations (choice
        32).
    max_label: Longest label of an order, in bytes; it comes back on every message about the order.
    max_live_orders: Resting orders the exchange has room for; beyond: CAPACITY_REACHED. 0 = any number.
    finished_orders: Ended orders of an account that are remembered (cancelling one is NOT_LIVE, later
        NOT_FOUND); those with unsettled executions stay whatever their number.

    Markets:

    visible_depth: Levels per side that quotes show; 0 = all of them. With a limit, a level that a
        better one pushes out is not reported as gone, as documented, and stays in naive clients (choice
        25).
    reports_leaving_levels: Whether such a level is reported as 0 all the same: no ghosts (choice 25).
    quotes_first: Whether quotes come before the messages about the orders that moved them (choice 24).
    deltas_carry_last_execution: Whether ``last_execution`` is in deltas too (choice 37).
    volume_counts_both_sides: Whether ``executed_volume`` counts a trade twice (choice 38).
    unknown_market: Answer to a subscription to no market: an ``"empty"`` snapshot, or ``"silence"``
        (choice 26).
    double_subscribe: Answer to a second subscription: the ``"snapshot"`` again, or ``"silence"`` (choice
        27).
    state_after_snapshot: Whether the market's state follows its snapshot (choice 28).
    price_feed_snapshots: Whether subscribing to the price feed sends a snapshot of every market (choice
        29).
    managed_pending_ms: Milliseconds for which executions in a managed market are pending.
    pending_timeout_unit: What ``pending_timeout`` counts (choice 33).
    reduce_factor_whole: The ``reduce_factor`` that stands for all, 100 % (choice 34).
    settlement_reason: The reason in ``balance_changed`` after a settlement (choice 36).

    Limits:

    throttle_rate: Messages per second a session may send on average (captured value of the real
        exchange).
    throttle_burst: Messages a session may send at once after a pause.
    throttle_tick_ms: Milliseconds between two refills of the allowance.
    throttle_enforced: Whether those limits are more than announced.
    throttle_unanswered: Answer to a message over the limit that has no rejection of its own: an eto
        ``"throttle_exceeded"``, or ``"silence"`` (choice 13).
    truth_limit: Events kept per account in the record of truth; 0 = all.
    max_frame_size: Bytes of payload a received frame may have; above, the connection is closed.
    out_buffer_limit: Bytes that may wait for a client that does not read; above, its connection is
        closed.

    Raises:
        ConfigError: a value of the wrong type or outside its range; names field, value and range.
    """

    heartbeat_after: float = 5.0
    heartbeat_style: Literal["idle", "fixed"] = "idle"
    silence_limit: float = 30.0
    login_timeout: float = 10.0
    login_not_first: Literal["logout", "close"] = "logout"
    second_login: Literal["logout", "ignore"] = "logout"
    unreadable_frame: Literal["close", "logout"] = "close"
    gap_answer: Literal["replay", "logout"] = "replay"
    resume_includes_position: bool = True
    resume_marks_replay: bool = True
    history_limit: int = 10_000
    session_memory: float = 86_400.0
    session_limit: int = 1_000
    replay_limit: int = 10_000
    sessions_per_account: Literal["many", "newest"] = "many"
    order_events_to: Literal["account", "session"] = "account"
    account_sequence_32: bool = True
    cancel_all_by_default: bool = False
    cancel_all_scope: Literal["account", "session"] = "account"

    opening_balance: Decimal = Decimal("10000.00")
    balance_decimals: int = 4
    exposure_sign: Literal["negative", "positive"] = "negative"
    netting: Literal["none", "market"] = "none"
    min_quantity: int = 1
    max_quantity: int = 2**31 - 1
    price_step: int = 1
    unique_references: bool = False
    honours_maq: bool = True
    crossed_self: Literal["reject", "cancel_resting"] = "reject"
    gtc_survives_halt: bool = False
    reduce_counts_executed: bool = True
    replace_counts_executed: bool = True
    cancel_all_accepted_first: bool = True
    max_label: int = 1024
    max_live_orders: int = 50_000
    finished_orders: int = 10_000

    visible_depth: int = 5
    reports_leaving_levels: bool = False
    quotes_first: bool = True
    deltas_carry_last_execution: bool = False
    volume_counts_both_sides: bool = False
    unknown_market: Literal["empty", "silence"] = "empty"
    double_subscribe: Literal["snapshot", "silence"] = "snapshot"
    state_after_snapshot: bool = True
    price_feed_snapshots: bool = False
    managed_pending_ms: int = 8_000
    pending_timeout_unit: Literal["ms", "s"] = "ms"
    reduce_factor_whole: int = 10_000
    settlement_reason: str = "settlement"

    throttle_rate: int = 500
    throttle_burst: int = 1000
    throttle_tick_ms: int = 200
    throttle_enforced: bool = True
    throttle_unanswered: Literal["throttle_exceeded", "silence"] = "throttle_exceeded"
    truth_limit: int = 0
    max_frame_size: int = 1 << 20
    out_buffer_limit: int = 8 << 20

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            if name in _RANGES:
                self._check_number(name, *_RANGES[name])
            elif kind is bool:
                self._check_choice(name, (True, False))
            elif typing.get_origin(kind) is Literal:
                self._check_choice(name, typing.get_args(kind))
        if self.min_quantity > self.max_quantity:
            raise _wrong("min_quantity", self.min_quantity, f"at most max_quantity, {self.max_quantity}")
        if not is_text(self.settlement_reason):
            raise _wrong("settlement_reason", self.settlement_reason, "a text")
        self._check_balance()

    def _check_number(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        kinds = (int,) if isinstance(low, int) else (int, float)
        # A NaN compares false with everything, so it is outside as well.
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            kind = "a whole number" if kinds == (int,) else "a number"
            raise _wrong(name, value, f"{kind} from {low} to {high}")

    def _check_choice(self, name: str, allowed: tuple[object, ...]) -> None:
        value = getattr(self, name)
        # 1 equals True and is no answer to a yes-or-no question.
        if not any(value == choice and type(value) is type(choice) for choice in allowed):
            raise _wrong(name, value, " or ".join(repr(choice) for choice in allowed))

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


def is_text(value: object) -> bool:
    """Whether it is a text that can be sent: JSON knows halves of characters, UTF-8 does not."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(name: str, value: object, allowed: str) -> ConfigError:
    return ConfigError(f"{name} is {value!r} and must be {allowed}")


_KINDS = typing.get_type_hints(ExchangeSettings)
assert set(_KINDS) == {field.name for field in dataclasses.fields(ExchangeSettings)}

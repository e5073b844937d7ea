"""Credentials, money and the numbered history of accounts; the settings and the record of truth."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.exchange.accounts import Accounts, ExchangeAccount
from smarkets_pool.exchange.money import currency, liability_points, points_from_currency
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth, TruthEvent, TruthFault
from smarkets_pool.wire import units
from smarkets_pool.wire.schema import seto_pb2 as seto


def make_account(**changes: Any) -> ExchangeAccount:
    return ExchangeAccount(
        "ann", "s3cret", b"t0ken", **{"cash_points": 1000, "history_limit": 3, "account_id": 7, **changes}
    )


def cancelled(order_id: int) -> seto.OrderCancelled:
    return seto.OrderCancelled(order_id=order_id, reason=seto.ORDER_CANCELLED_MEMBER_REQUESTED)


# --- credentials -------------------------------------------------------------------------------


def test_an_account_is_found_by_user_name_and_password() -> None:
    """Both must be right."""
    accounts = Accounts()
    ann = accounts.add("ann", "pw-a", b"tok-a")
    accounts.add("bob", "pw-b", b"tok-b")
    assert accounts.by_password("ann", "pw-a") is ann
    assert accounts.by_password("ann", "pw-b") is None
    assert accounts.by_password("eve", "pw-a") is None
    assert accounts["ann"] is ann


def test_an_account_is_found_by_token() -> None:
    """A token identifies its account alone; it can be given as text, as settings files have it."""
    accounts = Accounts()
    ann = accounts.add("ann", "pw", "tök")
    assert accounts.by_token("tök".encode()) is ann
    assert accounts.by_token(b"other") is None


def test_empty_credentials_never_match() -> None:
    """An account without password or token has no login by it, least of all with an empty one."""
    accounts = Accounts()
    ann = accounts.add("ann")
    assert not ann.has_token(b"")
    assert accounts.by_password("ann", "") is None
    assert accounts.by_token(b"") is None


def test_the_registry_iterates_and_counts() -> None:
    """Accounts come in the order they were added, with ids from 1."""
    accounts = Accounts()
    accounts.add("ann")
    accounts.add("bob")
    assert [(account.username, account.id) for account in accounts] == [("ann", 1), ("bob", 2)]
    assert len(accounts) == 2
    assert repr(accounts) == "<Accounts: 2>"


@pytest.mark.parametrize("username", ["", "ann"])
def test_a_user_name_is_not_empty_and_not_taken(username: str) -> None:
    """Otherwise a login could not say whose it is."""
    accounts = Accounts()
    accounts.add("ann")
    with pytest.raises(ConfigError, match="user name"):
        accounts.add(username)


def test_two_accounts_cannot_share_a_token() -> None:
    """The error names the accounts and not the token; the second account is not added."""
    accounts = Accounts()
    accounts.add("ann", token=b"secret-token")
    with pytest.raises(ConfigError, match="'ann' and 'bob' share a token") as caught:
        accounts.add("bob", token=b"secret-token")
    assert "secret-token" not in str(caught.value)
    assert len(accounts) == 1


def test_repr_shows_no_secret() -> None:
    """A repr ends up in logs."""
    text = repr(make_account())
    assert "ann" in text
    assert "s3cret" not in text
    assert "t0ken" not in text


def test_accounts_start_with_the_opening_balance() -> None:
    """10,000.00 currency units unless the settings say otherwise."""
    assert Accounts().add("ann").cash_points == 10_000 * 10**8
    poor = Accounts(ExchangeSettings(opening_balance=Decimal("0.5")))
    assert poor.add("ann").cash_points == 5 * 10**7


# --- money -------------------------------------------------------------------------------------


@given(
    side=st.sampled_from([seto.SIDE_BUY, seto.SIDE_SELL]),
    price=st.integers(1, 9999),
    quantity=st.integers(0, 2**40),
)
@hypothesis_settings(database=None, deadline=None)
def test_points_agree_with_the_units_of_the_wire(side: int, price: int, quantity: int) -> None:
    """The exchange's money and ``wire.units`` are the same sum, written twice."""
    points = liability_points(side, price, quantity)
    assert points_from_currency(units.liability(side, price, quantity)) == points


def test_the_documented_liability() -> None:
    """400000 at 2500: the buyer risks 10.00, the seller 30.00."""
    assert currency(liability_points(seto.SIDE_BUY, 2500, 400_000)) == 10.0
    assert currency(liability_points(seto.SIDE_SELL, 2500, 400_000)) == 30.0


def test_money_finer_than_a_point_is_refused() -> None:
    """Nothing is rounded behind anybody's back."""
    with pytest.raises(UsageError, match="eight digits"):
        points_from_currency(Decimal("0.000000001"))


def test_available_is_cash_plus_exposure() -> None:
    """Exposure is never above 0 (choice 15)."""
    account = make_account()
    assert (account.available_points, account.exposure_points) == (1000, 0)
    account.reserve(300)
    assert (account.available_points, account.exposure_points) == (700, -300)
    account.release(100)
    assert (account.available_points, account.exposure_points) == (800, -200)
    assert account.cash_points == 1000


def test_bookkeeping_refuses_to_go_below_zero() -> None:
    """More reserved than there is, or more released than was reserved, is a bug and says so."""
    account = make_account()
    with pytest.raises(UsageError, match="to reserve"):
        account.reserve(1001)
    account.reserve(1000)
    with pytest.raises(UsageError, match="points reserved"):
        account.release(1001)


# --- history -----------------------------------------------------------------------------------


def test_stamps_count_from_one_and_fill_both_fields() -> None:
    """One counter per account, +1 per event (fact sheet 3.7)."""
    account = make_account()
    first, second = cancelled(1), cancelled(2)
    assert [account.stamp(first), account.stamp(second)] == [1, 2]
    assert (second.account_sequence, second.account_sequence_64) == (2, 2)
    assert account.next_account_sequence == 3


def test_the_narrow_field_is_left_out_when_the_number_outgrows_it() -> None:
    """2**32 - 1 is the last number it carries (choice 14)."""
    account = make_account()
    account.next_account_sequence = 2**32 - 1
    last, beyond = cancelled(1), cancelled(2)
    account.stamp(last)
    account.stamp(beyond)
    assert last.account_sequence == 2**32 - 1
    assert not beyond.HasField("account_sequence")
    assert beyond.account_sequence_64 == 2**32


def test_a_message_without_account_sequence_cannot_be_stamped() -> None:
    """It fails before a number is used up."""
    account = make_account()
    with pytest.raises(AttributeError):
        account.stamp(seto.OrderInvalid(seq=1))
    assert account.next_account_sequence == 1


def test_history_keeps_copies() -> None:
    """What is done to a message after it was stamped does not change what a resuming client gets."""
    account = make_account()
    message = cancelled(1)
    account.stamp(message)
    message.order_id = 99
    (kept,) = account.history_from(1, inclusive=True)
    assert isinstance(kept, seto.OrderCancelled)
    assert kept.order_id == 1


@pytest.mark.parametrize(
    ("position", "inclusive", "numbers"),
    [(3, True, [3, 4]), (3, False, [4]), (0, True, [2, 3, 4]), (4, False, []), (9, True, [])],
)
def test_history_from_a_position(position: int, inclusive: bool, numbers: list[int]) -> None:
    """From the number or after it (choice 8); what left the history is missing (choice 9)."""
    account = make_account()
    for order_id in range(1, 5):
        account.stamp(cancelled(order_id))
    found = account.history_from(position, inclusive=inclusive)
    assert [getattr(message, "account_sequence_64") for message in found] == numbers  # noqa: B009


@pytest.mark.parametrize(("events", "gone", "numbers"), [(2, 1, [3, 4]), (0, 3, []), (9, 0, [2, 3, 4])])
def test_history_can_be_shortened(events: int, gone: int, numbers: list[int]) -> None:
    """The newest stay, and the counter goes on."""
    account = make_account()
    for order_id in range(1, 5):
        account.stamp(cancelled(order_id))
    assert account.shorten_history(events) == gone
    assert [number for number, _message in account.history] == numbers
    assert account.next_account_sequence == 5


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("heartbeat_after", 0, "a number from 0.001 to"),
        ("heartbeat_after", float("nan"), "a number from"),
        ("silence_limit", "30", "a number from"),
        ("login_timeout", True, "a number from"),
        ("visible_depth", -1, "a whole number from 0 to"),
        ("visible_depth", 5.0, "a whole number from 0 to"),
        ("min_quantity", 0, "a whole number from 1 to"),
        ("min_quantity", 2**31, "at most max_quantity, 2147483647"),
        ("max_frame_size", 1, "a whole number from 64 to"),
        ("throttle_tick_ms", 0, "a whole number from 1 to"),
        ("gap_answer", "ignore", "'replay' or 'logout'"),
        ("resume_includes_position", 1, "True or False"),
        ("opening_balance", 100.0, "a Decimal from 0"),
        ("opening_balance", Decimal("NaN"), "a Decimal from 0"),
        ("opening_balance", Decimal("-0.01"), "a Decimal from 0"),
        ("opening_balance", Decimal("1e-9"), "a Decimal from 0"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_range(field: str, value: Any, allowed: str) -> None:
    """Settings are checked once, when they are made."""
    with pytest.raises(ConfigError) as caught:
        ExchangeSettings(**{field: value})
    assert str(caught.value).startswith(f"{field} is {value!r} and must be {allowed}")


def test_settings_take_whole_numbers_for_times() -> None:
    """``heartbeat_after=1`` is as good as ``1.0``."""
    assert ExchangeSettings(heartbeat_after=1).heartbeat_after == 1


# --- truth -------------------------------------------------------------------------------------


def test_truth_records_events_and_counts() -> None:
    """Executions count once per fill and side; those that nobody heard are counted apart."""
    truth = Truth()
    accepted = seto.OrderAccepted(seq=2, order_id=5, quantity=100)
    executed = seto.OrderExecuted(order_id=5, quantity=40)
    truth.record_event("ann", 1, "seto.order_accepted", accepted, away=False)
    truth.record_event("ann", 2, "seto.order_executed", executed, away=False)
    truth.record_event("bob", 1, "seto.order_executed", executed, away=True)
    truth.record_event("bob", 2, "seto.order_cancel_all_accepted", seto.OrderCancelAllAccepted(), away=True)
    assert (truth.orders_accepted, truth.executions, truth.executions_away) == (1, 2, 1)
    assert truth.events("bob") == [
        TruthEvent("bob", 1, "seto.order_executed", 5, 40, True),
        TruthEvent("bob", 2, "seto.order_cancel_all_accepted", 0, 0, True),
    ]
    assert truth.events("eve") == []


def test_truth_as_plain_data_survives_json() -> None:
    """So that another process can compare."""
    truth = Truth()
    truth.record_event("ann", 1, "seto.order_cancelled", cancelled(9), away=True)
    truth.record_fault("cut", "ann", "after 100 bytes")
    assert truth.faults == [TruthFault("cut", "ann", "after 100 bytes")]
    plain = truth.as_plain()
    assert json.loads(json.dumps(plain)) == plain
    assert plain == {
        "accounts": {"ann": [[1, "seto.order_cancelled", 9, 0, True]]},
        "counters": {"orders_accepted": 0, "executions": 0, "executions_away": 0, "forgotten": 0},
        "faults": [{"kind": "cut", "account": "ann", "detail": "after 100 bytes"}],
    }


def test_truth_says_how_much_it_has_seen() -> None:
    """The repr is for failing tests."""
    assert repr(Truth()) == "<Truth of 0 accounts: 0 orders accepted, 0 executions (0 away), 0 faults>"

"""The record of deliveries: finding, waiting, and every difference from what happened."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from smarkets_pool import Delivery, Pool, seto
from smarkets_pool.exceptions import InvalidCallbackError, UsageError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.pool import MemberUp
from smarkets_pool.testing import Counterparty, FakeClock, Record, pool_on

pytestmark = pytest.mark.exchange(accounts=["ann", "ben"])


def buy(pool: Pool, exchange: EmbeddedExchange, account: str = "ann", quantity: int = 10_000) -> None:
    """Send an order that rests at 50 %."""
    market_id = exchange.market_ids[0]
    pool[account].send(
        seto.OrderCreate(
            side=seto.SIDE_BUY,
            price=5000,
            quantity=quantity,
            market_id=market_id,
            contract_id=exchange.contract_ids[market_id][0],
        )
    )


# --- finding and waiting -------------------------------------------------------------------------------


def test_deliveries_are_found_by_name_class_and_account(pool: Pool, record: Record) -> None:
    """In the order in which handlers were given them."""
    with pool:
        pool.wait_until_up(timeout=5)
        first = record.wait(MemberUp, account="ann")
        second = record.wait("member.up", count=2)
    assert {first.account, second.account} <= {"ann", "ben"}
    assert record.of(MemberUp, "ann") == [first]
    assert record.of("member.up") == record.of(MemberUp)
    assert record.names("ann")[:2] == ["member.recovering", "eto.login_response"]
    assert len(record.names()) == len(record.all)
    assert repr(record) == f"<Record of {len(record.all)} deliveries, 0 errors>"


def test_a_record_has_what_handlers_have_handled(pool: Pool, record: Record) -> None:
    """A handler of the name has returned before the record shows the delivery."""
    done: list[str] = []
    pool.on("member.up")(lambda delivery: done.append(delivery.account))
    with pool:
        assert record.wait("member.up", account="ben").account in done


def test_waiting_in_vain_tells_what_came(pool: Pool, record: Record) -> None:
    """What was waited for, what came last, how the accounts are, and which handlers failed."""

    @pool.on("member.up", accounts=["ben"])
    def broken(delivery: Delivery) -> None:
        raise ValueError("no such luck")

    with pool:
        record.wait("member.up", count=2)
        with pytest.raises(AssertionError) as caught:
            record.wait(seto.OrderExecuted, 2, account="ann", timeout=0.05)
    said = str(caught.value)
    assert said.startswith("0 of 2 seto.order_executed of ann came within 0.05 s; the last deliveries: ")
    assert "ann member.up" in said
    assert (
        "the accounts: ann UP, ben UP; ben: a handler of member.up raised ValueError('no such luck')" in said
    )


def test_a_name_that_there_is_not_is_refused(pool: Pool, record: Record) -> None:
    """At once, and with one that is near: it would be waited for in vain."""
    with pytest.raises(InvalidCallbackError, match=r"did you mean seto\.order_executed"):
        record.wait("seto.order_exected")
    with pytest.raises(InvalidCallbackError, match="what we send"):
        record.of(seto.OrderCreate)


def test_a_record_of_a_running_pool_is_refused(pool: Pool, exchange: EmbeddedExchange) -> None:
    """It could not know what was delivered before."""
    with pool:
        pool.wait_until_up(timeout=5)
        with pytest.raises(UsageError, match="make the record first"):
            Record(pool, exchange)


# --- comparing ------------------------------------------------------------------------------------------


def test_without_trouble_nothing_differs(
    pool: Pool, exchange: EmbeddedExchange, record: Record, counterparty: Counterparty
) -> None:
    """Events of several accounts, also of those that happened when nobody was logged in yet."""
    counterparty.buy(4000, 5_000)
    with pool:
        pool.wait_until_up(timeout=5)
        buy(pool, exchange, "ann")
        buy(pool, exchange, "ben")
        record.wait(seto.OrderAccepted, 2)
        counterparty.sell(5000, 15_000)
        record.check()
        assert len(record.of(seto.OrderExecuted)) == 2


def test_what_was_replayed_and_what_is_gone_for_good(
    pool: Pool,
    exchange: EmbeddedExchange,
    record: Record,
    counterparty: Counterparty,
    faults: Faults,
    fake_clock: FakeClock,
) -> None:
    """A hole that was announced is no difference; one that was not is."""
    with pool:
        pool.wait_until_up(timeout=5)
        buy(pool, exchange)
        fake_clock.settle()
        faults.cut("ann", away=10)
        for _ in range(3):
            counterparty.sell(5000, 1_000)
        fake_clock.settle()
        assert record.differences() == [
            f"ann: event {number} was not handled: seto.order_executed, happened while the account was away"
            for number in (2, 3, 4)
        ]
        faults.shorten_history("ann", events=1)
        fake_clock.advance(30)
        assert [delivery.account_sequence for delivery in record.of(seto.OrderExecuted)] == [4]
        assert record.differences() == []
        del record.all[record.all.index(record.of("member.gap")[0])]
        assert record.differences() == [
            f"ann: event {number} was not handled: seto.order_executed, happened while the account was away"
            for number in (2, 3)
        ]


def test_events_from_before_the_first_login_are_not_expected(
    exchange: EmbeddedExchange, counterparty: Counterparty, fake_clock: FakeClock
) -> None:
    """Neither what an earlier pool was given nor what nobody heard; from its own login on everything is."""
    with pool_on(exchange, ["ann"], runtime=fake_clock.runtime) as former:
        former.wait_until_up(timeout=5)
        buy(former, exchange)
        fake_clock.settle()
    counterparty.sell(5000, 1_000)
    pool = pool_on(exchange, ["ann"], runtime=fake_clock.runtime)
    record = Record(pool, exchange)
    counterparty.sell(5000, 2_000)
    assert [event.away for event in exchange.truth.events("ann")] == [False, True, True]
    with pool:
        pool.wait_until_up(timeout=5)
        counterparty.sell(5000, 3_000)
        assert record.differences() == ["ann: event 4 was not handled: seto.order_executed, happened"]
        fake_clock.settle()
    assert [delivery.message.quantity for delivery in record.of(seto.OrderExecuted)] == [3_000]
    assert record.differences() == []


def one_event_each(record: Record, exchange: EmbeddedExchange, pool: Pool) -> Delivery:
    """Have ann's order accepted, and give that delivery."""
    pool.wait_until_up(timeout=5)
    buy(pool, exchange)
    return record.wait(seto.OrderAccepted)


def test_every_kind_of_difference_has_its_sentence(
    pool: Pool, exchange: EmbeddedExchange, record: Record, counterparty: Counterparty
) -> None:
    """Twice, out of order, never happened, other contents: made by changing what the record holds."""
    with pool:
        accepted = one_event_each(record, exchange, pool)
        counterparty.sell(5000, 10_000)
        executed = record.wait(seto.OrderExecuted)
        record.check()
    honest = list(record.all)

    def found(*deliveries: Any) -> list[str]:
        record.all[:] = [*(d for d in honest if d.account_sequence is None), *deliveries]
        return record.differences()

    assert found(accepted, executed) == []
    assert found(accepted, executed, executed) == ["ann: event 2 was handled twice: seto.order_executed"]
    assert found(executed, accepted) == ["ann: event 1 was handled after event 2: seto.order_accepted"]
    assert found(accepted) == ["ann: event 2 was not handled: seto.order_executed, happened"]
    invented = dataclasses.replace(executed, account_sequence=3)
    assert found(accepted, executed, invented) == ["ann: event 3 never happened: seto.order_executed"]
    other = seto.OrderExecuted()
    other.CopyFrom(executed.message)
    other.quantity, other.order_id = 7, 8
    assert found(accepted, dataclasses.replace(executed, message=other)) == [
        f"ann: event 2 had order_id 8 to the handlers and {executed.message.order_id} in truth; "
        "had quantity 7 to the handlers and 10000 in truth"
    ]
    assert found(accepted, dataclasses.replace(accepted, account_sequence=2)) == [
        "ann: event 2 was seto.order_accepted to the handlers and seto.order_executed in truth"
    ]


def test_a_handler_that_raises_is_a_difference(
    pool: Pool, exchange: EmbeddedExchange, record: Record
) -> None:
    """``check`` fails with it, since it would only be logged; ``errors`` has it."""

    @pool.on(seto.OrderAccepted)
    def broken(delivery: Delivery) -> None:
        raise KeyError("sold")

    with pool:
        delivery = one_event_each(record, exchange, pool)
        said = "ann: a handler of seto.order_accepted raised KeyError('sold')"
        with pytest.raises(AssertionError) as caught:
            record.check(timeout=0.05)
    assert str(caught.value) == f"1 differences:\n{said}"
    ((given, error),) = record.errors
    assert (given, str(error)) == (delivery, "'sold'")


def test_check_waits_for_what_is_under_way(
    pool: Pool, exchange: EmbeddedExchange, record: Record, counterparty: Counterparty
) -> None:
    """The exchange has executed, and the frame is not here yet."""
    with pool:
        one_event_each(record, exchange, pool)
        counterparty.sell(5000, 10_000)
        assert record.differences() == ["ann: event 2 was not handled: seto.order_executed, happened"]
        record.check()
        assert record.differences() == []


def test_accounts_that_are_added_are_compared_too(exchange: EmbeddedExchange, fake_clock: FakeClock) -> None:
    """And those that were removed still are."""
    pool = pool_on(exchange, ["ann"], runtime=fake_clock.runtime)
    other = pool_on(exchange, ["ben"], runtime=fake_clock.runtime)
    record = Record(pool, exchange)
    with pool:
        pool.wait_until_up(timeout=5)
        pool.add(other["ben"].account)
        pool.wait_until_up(timeout=5)
        buy(pool, exchange, "ben")
        fake_clock.settle()
        pool.remove("ben")
        assert [delivery.account_sequence for delivery in record.of(seto.OrderAccepted, "ben")] == [1]
        assert record.differences() == []
        record.all.remove(record.of(seto.OrderAccepted, "ben")[0])
        assert record.differences() == ["ben: event 1 was not handled: seto.order_accepted, happened"]


def test_without_an_exchange_there_is_nothing_to_compare_with(pool: Pool) -> None:
    """It says how to make one that can."""
    with pytest.raises(UsageError, match=r"Record\(pool, exchange\)"):
        Record(pool).differences()


@pytest.mark.exchange(settings={"truth_limit": 2})
def test_what_the_truth_has_forgotten_is_not_judged(
    pool: Pool, exchange: EmbeddedExchange, record: Record, fake_clock: FakeClock
) -> None:
    """The record of truth may be short; events before it were handled, and no more can be said."""
    with pool:
        pool.wait_until_up(timeout=5)
        for _ in range(5):
            buy(pool, exchange)
        fake_clock.settle()
        assert len(exchange.truth.events("ann")) == 2
        assert len(record.of(seto.OrderAccepted)) == 5
        assert record.differences() == []

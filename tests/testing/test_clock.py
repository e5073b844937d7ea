"""The fake clock: pool and exchange jump together, in order of time.

That nothing waits in real time shows in that the tests end: what they let pass is more than a test may take.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any

import gevent
import pytest

from smarkets_pool import DOWN, UP, Account, Backoff, Pool, ReconnectPolicy, TimeoutPolicy, seto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.pool import MemberDownEvent, MemberStalled
from smarkets_pool.testing import Counterparty, FakeClock, MakePool, Record, eventually, pool_on

DOUBLING = Backoff(initial=1.0, cap=60.0, jitter=0)


# --- the clock alone ------------------------------------------------------------------------------------


def test_time_stands_still_unless_moved() -> None:
    """All three of its faces begin at a fixed moment and move together, by what is asked for exactly."""
    clock = FakeClock()
    before = clock.now(), clock.time(), clock.time_us()
    gevent.sleep(0.01)
    assert (clock.now(), clock.time(), clock.time_us()) == before
    clock.advance(0.25)
    assert clock.now() == before[0] + 0.25
    assert clock.time() == before[1] + 0.25
    assert clock.time_us() == before[2] + 250_000
    assert repr(clock) == "<FakeClock at 0.250 s>"


def test_timers_fire_in_order_each_at_its_moment() -> None:
    """Also those that are made on the way; a cancelled one does not, nor one that is due later."""
    clock = FakeClock()
    fired: list[tuple[str, float]] = []

    def note(name: str) -> None:
        fired.append((name, clock.now() - 1000.0))
        if name == "b":
            clock.call_later(0.5, lambda: note("from b"))

    for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("a2", 1.0), ("never", 1.5), ("later", 3.01)):
        timer = clock.call_later(seconds, lambda name=name: note(name))
        if name == "never":
            timer.cancel()
    clock.advance(3.0)
    assert fired == [("a", 1.0), ("a2", 1.0), ("b", 2.0), ("from b", 2.5), ("c", 3.0)]


def test_sleepers_wake_in_order_of_time() -> None:
    """``sleep`` in a greenlet of its own waits for the clock; a loop of sleeps has every turn of it."""
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    def every(name: str, seconds: float) -> None:
        while True:
            clock.sleep(seconds)
            woken.append((name, clock.now() - 1000.0))

    greenlets = [gevent.spawn(every, "two", 2.0), gevent.spawn(every, "three", 3.0)]
    clock.advance(6.0)
    # At the sixth second "three" had begun its sleep first.
    assert woken == [("two", 2.0), ("three", 3.0), ("two", 4.0), ("three", 6.0), ("two", 6.0)]
    gevent.killall(greenlets)
    clock.sleep(6.0)  # the test's own sleep moves the time, and who was killed sleeps no more
    assert (clock.now(), len(woken)) == (1012.0, 5)


def test_advance_until_stops_at_the_moment() -> None:
    """It gives the condition's answer; what is not true in time is an error that shows the last answer."""
    clock = FakeClock()
    seen: list[int] = []
    clock.call_later(5.0, lambda: seen.append(7))
    clock.call_later(9.0, lambda: seen.append(8))
    assert clock.advance_until(lambda: seen) == [7]
    assert clock.now() == 1005.0
    with pytest.raises(AssertionError, match=r"not true within 2\.0 s of the fake clock: .*<lambda>; 0"):
        clock.advance_until(lambda: 0, at_most=2.0)
    assert clock.now() == 1007.0


def test_only_the_tests_own_greenlet_moves_time() -> None:
    """Anywhere else it is refused with what to do instead, and so is a call out of a condition."""
    clock = FakeClock()
    found: list[str] = []

    def try_it() -> None:
        try:
            clock.advance(1.0)
        except UsageError as error:
            found.append(str(error))

    gevent.spawn(try_it).join()
    assert len(found) == 1
    assert "advance() is for the greenlet that made the clock; in a handler" in found[0]
    assert found[0].endswith("use sleep()")
    with pytest.raises(UsageError, match="while time is passing already"):
        clock.advance_until(lambda: clock.advance(1.0))
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="time advances by seconds from 0, not by"):
            clock.advance(wrong)
    assert clock.now() == 1000.0


def test_what_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that always comes again at once, and a loop that is never quiet, are errors and no hangs."""
    monkeypatch.setattr("smarkets_pool.testing.clock._AT_ONCE", 50)
    monkeypatch.setattr("smarkets_pool.testing.clock._PATIENCE", 0.1)
    clock = FakeClock()

    def again() -> None:
        clock.call_later(0.0, again)

    clock.call_later(1.0, again)
    with pytest.raises(AssertionError, match=r"what is due at 1\.000000 s never ends"):
        clock.advance(2.0)

    def spin() -> None:
        while True:
            gevent.sleep(1e-6)

    busy = gevent.spawn(spin)
    with pytest.raises(AssertionError, match=r"something has been busy for 0.* real seconds"):
        FakeClock().settle()
    busy.kill()


# --- a pool and an exchange -----------------------------------------------------------------------------


def test_an_hour_of_heartbeats(
    pool: Pool, exchange: EmbeddedExchange, record: Record, fake_clock: FakeClock
) -> None:
    """Both sides send theirs every five seconds, and nobody is taken for dead."""
    with pool:
        pool.wait_until_up(timeout=10)
        sent = [peer.protocol.frames_sent for peer in exchange.exchange.peers]
        fake_clock.advance(3600)
        for name in ("trader-1", "trader-2"):
            assert len(record.of("eto.heartbeat", name)) == 720
            assert pool.stats()["members"][name]["disconnects_total"] == 0
        assert [peer.protocol.frames_sent for peer in exchange.exchange.peers] == [n + 720 for n in sent]
        assert all(member.state is UP for member in pool)
        assert not record.of(MemberStalled)
        assert record.differences() == []


def test_heartbeats_come_at_their_moments(pool: Pool, record: Record, fake_clock: FakeClock) -> None:
    """``received_at`` is on the fake clock, to the last digit."""
    with pool:
        pool.wait_until_up(timeout=10)
        fake_clock.advance(17.5)
        times = [delivery.received_at - 1000.0 for delivery in record.of("eto.heartbeat", "trader-1")]
        assert times == [5.0, 10.0, 15.0]


@pytest.mark.exchange(accounts=1)
def test_a_silent_exchange_is_asked_and_given_up(
    pool: Pool, record: Record, faults: Faults, fake_clock: FakeClock
) -> None:
    """After 15 seconds without a frame a ping, after 30 the connection is given up, no sooner or later."""
    with pool:
        pool.wait_until_up(timeout=10)
        faults.half_open("trader-1")
        fake_clock.advance(14.999)
        assert not record.of(MemberStalled)
        fake_clock.advance(0.001)
        assert [delivery.message.silence for delivery in record.of(MemberStalled)] == [15.0]
        fake_clock.advance(14.999)
        assert pool["trader-1"].state is UP
        fake_clock.advance(0.001)
        assert pool["trader-1"].state is DOWN
        assert "30.0 s" in record.of(MemberDownEvent)[0].message.reason
        fake_clock.advance(60.0)
        assert pool["trader-1"].state is UP


def test_backoff_grows(
    make_pool: MakePool, exchange: EmbeddedExchange, faults: Faults, fake_clock: FakeClock
) -> None:
    """The delays between attempts are those of the policy, and each attempt is made at its very moment."""
    pool = make_pool(["trader-1"], reconnect=ReconnectPolicy(backoff=DOUBLING))
    record = Record(pool, exchange)
    with pool:
        pool.wait_until_up(timeout=10)
        faults.cut("trader-1", away=400)
        fake_clock.advance(399)
        downs = record.of(MemberDownEvent)
        assert [delivery.message.retry_in for delivery in downs] == [
            *(1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
            *[60.0] * 6,
        ]
        gaps = [b.received_at - a.received_at for a, b in itertools.pairwise(downs)]
        assert gaps == [delivery.message.retry_in for delivery in downs[:-1]]
        fake_clock.advance_until(lambda: pool["trader-1"].state is UP)
        assert fake_clock.now() == 1000.0 + 63 + 6 * 60
        assert record.differences() == []


def test_jitter_is_the_same_in_every_run() -> None:
    """It comes from a generator with a fixed seed."""
    first, second = FakeClock().runtime, FakeClock().runtime
    drawn = [first.random() for _ in range(5)]
    assert drawn == [second.random() for _ in range(5)]
    assert len(set(drawn)) == 5


@pytest.mark.exchange(accounts=5)
def test_the_login_governor_keeps_its_pace(
    make_pool: MakePool, exchange: EmbeddedExchange, fake_clock: FakeClock
) -> None:
    """Two logins at once and one a second: the fifth account is up after three seconds."""
    pool = make_pool(reconnect=ReconnectPolicy(login_rate=1.0, login_burst=2))
    with pool:
        ups = []
        for _ in range(4):
            fake_clock.advance(0.0)
            ups.append(sum(member.state is UP for member in pool))
            fake_clock.advance(1.0)
        assert ups == [2, 3, 4, 5]


def test_waiting_for_a_pool_lets_time_pass(make_pool: MakePool, fake_clock: FakeClock) -> None:
    """``wait_until_up`` and ``join`` in the test's greenlet go from deadline to deadline, and no further."""
    pool = make_pool(reconnect=ReconnectPolicy(login_rate=0.1, login_burst=1))
    with pool:
        pool.wait_until_up(timeout=30)
        assert fake_clock.now() == 1010.0
        assert pool.join(timeout=100) is False
        assert fake_clock.now() == 1110.0


@pytest.mark.exchange(accounts=1)
def test_waiting_in_another_greenlet_moves_nothing(pool: Pool, fake_clock: FakeClock) -> None:
    """It waits until the test has moved the time, and ends at its timeout or with the pool."""
    with pool:
        ended: list[tuple[bool, float]] = []

        def join(timeout: float | None) -> None:
            ended.append((pool.join(timeout), fake_clock.now()))

        greenlets = [gevent.spawn(join, 10.0), gevent.spawn(join, None)]
        fake_clock.advance(9.0)
        assert ended == []
        fake_clock.advance(2.0)
        assert ended == [(False, 1010.0)]
    gevent.joinall(greenlets, timeout=5)
    assert ended == [(False, 1010.0), (True, 1011.0)]


@pytest.mark.exchange(accounts=1)
def test_a_wait_without_end_ends(pool: Pool, faults: Faults, fake_clock: FakeClock) -> None:
    """What is waited for without a timeout, in vain, is an error after an hour of the clock."""
    faults.refuse_login("trader-1")
    with pool, pytest.raises(UsageError, match="waited for 3600 s of the fake clock in vain"):
        pool.wait_until_up()


@pytest.mark.exchange(accounts=1)
def test_a_slow_login_is_given_up(
    make_pool: MakePool, exchange: EmbeddedExchange, faults: Faults, fake_clock: FakeClock
) -> None:
    """The limits of connecting and logging in count on the fake clock."""
    pool = make_pool(timeouts=TimeoutPolicy(login=3.0), reconnect=ReconnectPolicy(backoff=DOUBLING))
    record = Record(pool, exchange)
    faults.slow_login("trader-1", seconds=60)
    with pool:
        fake_clock.advance(2.9)
        assert not record.of(MemberDownEvent)
        fake_clock.advance(0.1)
        assert "did not answer the login within 3.0 s" in record.of(MemberDownEvent)[0].message.reason
        fake_clock.advance(1.0)
        assert pool["trader-1"].state is UP


@pytest.mark.exchange(accounts=1)
def test_a_stop_that_is_not_answered_takes_its_time_on_the_clock(
    pool: Pool, faults: Faults, fake_clock: FakeClock
) -> None:
    """The logout's confirmation never comes: the pool waits its five seconds, which are none."""
    with pool:
        pool.wait_until_up(timeout=10)
        faults.half_open("trader-1")
        report = pool.stop()
    assert (report.took, report.cut, report.logged_out) == (5.0, ("trader-1",), ())


@pytest.mark.exchange(accounts=1)
def test_a_handler_that_hangs_is_killed_by_the_clock(pool: Pool, fake_clock: FakeClock) -> None:
    """Stopping waits for handlers on the fake clock too."""
    stuck = gevent.event.Event()

    @pool.on("member.up")
    def hang(delivery: Any) -> None:
        stuck.wait()

    with pool:
        pool.wait_until_up(timeout=10)
        fake_clock.settle()
        report = pool.stop(timeout=20)
    assert report.killed == ("dispatcher of trader-1",)
    assert report.took == 20.0


def test_handlers_sleep_by_the_clock(
    pool: Pool, exchange: EmbeddedExchange, record: Record, counterparty: Counterparty, fake_clock: FakeClock
) -> None:
    """A handler that sleeps holds up its own account until the time has come, and nobody else."""
    slept: list[float] = []

    @pool.on("member.up", accounts=["trader-1"])
    def nap(delivery: Any) -> None:
        fake_clock.sleep(8.0)
        slept.append(fake_clock.now())

    with pool:
        pool.wait_until_up(timeout=10)
        fake_clock.advance(7.0)
        assert (len(record.of("member.up", "trader-1")), len(record.of("member.up", "trader-2"))) == (0, 1)
        assert len(record.of("eto.heartbeat", "trader-2")) == 1
        fake_clock.advance(1.0)
        assert slept == [1008.0]
        assert len(record.of("eto.heartbeat", "trader-1")) == 1


def test_what_is_due_on_both_sides_comes_in_order(
    pool: Pool, exchange: EmbeddedExchange, record: Record, fake_clock: FakeClock
) -> None:
    """Executions of a managed market are confirmed at their time, between heartbeats of both sides."""
    market_id = exchange.market_ids[0]
    contract_id = exchange.contract_ids[market_id][0]
    exchange.operate("set_managed", market_id=market_id, managed=True)

    def order(side: seto.Side) -> seto.OrderCreate:
        return seto.OrderCreate(
            side=side, price=5000, quantity=10_000, market_id=market_id, contract_id=contract_id
        )

    with pool:
        pool.wait_until_up(timeout=10)
        pool["trader-1"].send(order(seto.SIDE_BUY))
        pool["trader-2"].send(order(seto.SIDE_SELL))
        fake_clock.advance(4.0)
        pending = record.of(seto.OrderExecuted, "trader-1")
        assert [delivery.message.pending_timeout for delivery in pending] == [8000]
        assert not record.of(seto.OrderExecuteConfirmed)
        fake_clock.advance(8.0)
        story = [
            (delivery.name, delivery.received_at - 1000.0)
            for delivery in record.all
            if delivery.account == "trader-1" and delivery.received_at > 1000.0
        ]
        assert story == [
            ("eto.heartbeat", 5.0),
            ("seto.order_execute_confirmed", 8.0),
        ]
        assert record.differences() == []


@pytest.mark.exchange(accounts=1)
@pytest.mark.parametrize("keep", ["all", "nothing"])
def test_an_exchange_that_restarts(
    pool: Pool,
    record: Record,
    faults: Faults,
    counterparty: Counterparty,
    exchange: EmbeddedExchange,
    fake_clock: FakeClock,
    keep: str,
) -> None:
    """It is away for its time on the fake clock, connecting is refused meanwhile, and then all goes on."""

    def trade() -> None:
        market_id = exchange.market_ids[0]
        contract_id = exchange.contract_ids[market_id][0]
        pool["trader-1"].send(
            seto.OrderCreate(
                side=seto.SIDE_BUY, price=5000, quantity=10_000, market_id=market_id, contract_id=contract_id
            )
        )
        fake_clock.settle()
        counterparty.sell(5000, 10_000)
        fake_clock.settle()

    with pool:
        pool.wait_until_up(timeout=10)
        trade()
        faults.restart(keep=keep, away=100)
        fake_clock.advance(99.0)
        assert pool["trader-1"].state is DOWN
        assert "no connection to" in pool["trader-1"].why_down
        fake_clock.advance_until(lambda: pool["trader-1"].state is UP)
        assert fake_clock.now() >= 1100.0
        trade()
        assert record.differences() == []
        kinds = [delivery.message.kind for delivery in record.of("member.gap")]
        assert kinds == ([] if keep == "all" else ["regressed"])


def test_delayed_frames_wait_for_the_clock(
    pool: Pool, exchange: EmbeddedExchange, record: Record, faults: Faults, fake_clock: FakeClock
) -> None:
    """A fault that takes time takes it from the fake clock."""
    with pool:
        pool.wait_until_up(timeout=10)
        faults.delay("trader-1", seconds=3.0)
        pool["trader-1"].subscribe(exchange.market_ids[0])
        fake_clock.advance(2.9)
        assert not record.of(seto.MarketQuotes)
        fake_clock.advance(0.1)
        assert [delivery.received_at for delivery in record.of(seto.MarketQuotes)] == [1003.0]


@pytest.mark.exchange(tls=False)
def test_plain_connections_too(pool: Pool, record: Record, faults: Faults, fake_clock: FakeClock) -> None:
    """Without TLS it is the same."""
    with pool:
        pool.wait_until_up(timeout=10)
        faults.cut("*", away=5)
        fake_clock.advance_until(lambda: all(member.state is UP for member in pool))
        assert len(record.of("member.up")) == 4
        assert record.differences() == []


@pytest.mark.exchange(accounts=30)
def test_thirty_accounts_settle_together(pool: Pool, record: Record, fake_clock: FakeClock) -> None:
    """Every ``advance`` returns with everything delivered, over many sockets: nothing is left under way."""
    with pool:
        pool.wait_until_up(timeout=10)
        for second in range(1, 31):
            fake_clock.advance(1.0)
            assert len(record.of("eto.heartbeat")) == 30 * (second // 5)


# --- its edges ------------------------------------------------------------------------------------------


def test_an_exchange_with_another_clock_is_refused() -> None:
    """It would never be served."""
    with EmbeddedExchange(accounts=1) as exchange, pytest.raises(UsageError, match="a clock of its own"):
        FakeClock().attach(exchange)


def test_other_places_are_reached_as_ever(fake_clock: FakeClock) -> None:
    """A pool of the fake clock connects to an exchange that keeps real time by TCP."""
    with EmbeddedExchange(accounts=1) as exchange, pool_on(exchange, runtime=fake_clock.runtime) as pool:
        eventually(lambda: all(member.state is UP for member in pool))
        (peer,) = exchange.exchange.peers
        assert peer.account is not None
        pool.stop()


def test_a_name_for_loopback_is_the_exchange_too(exchange: EmbeddedExchange, fake_clock: FakeClock) -> None:
    """``localhost`` needs no lookup, which would take real time."""
    settings = {**exchange.settings_for(0), "host": "localhost"}
    with Pool([Account("a", **settings)], runtime=fake_clock.runtime) as pool:
        pool.wait_until_up(timeout=10)
        assert pool["a"].state is UP


def test_another_loop_is_refused() -> None:
    """libuv calls what waits for quiet in every turn, so it would be known of nothing that it has ended."""
    code = "from smarkets_pool.testing import FakeClock; FakeClock()"
    environment = {**os.environ, "GEVENT_LOOP": "libuv"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert said.stderr.splitlines()[-1].endswith("this is libuv: GEVENT_LOOP=libev")

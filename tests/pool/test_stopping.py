"""Stopping: one deadline, in order, and whoever had to be cut or killed is named."""

import signal
import subprocess
import sys
import time

import gevent.event
import pytest

from smarkets_pool import DOWN, Account, Pool, TimeoutPolicy, seto
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import EmbeddedExchange
from tests.rig import ends as frames
from tests.rig.pooling import (
    RawServer,
    Record,
    Simulated,
    Talk,
    execution,
    greenlets,
    order,
    pool_on,
    simulated_pool,
)
from tests.rig.waiting import eventually


def never_confirms(talk: Talk) -> None:
    """Logs in, answers the ping, hears the logout and says nothing."""
    talk.until("seto.login")
    talk.send(frames.login_response())
    talk.until("eto.ping")
    talk.send(frames.pong(2))
    talk.to_the_end()


def timed(pool: Pool, timeout: float) -> tuple[object, float]:
    """Stop; the report and how long it really took."""
    started = time.monotonic()
    report = pool.stop(timeout)
    return report, time.monotonic() - started


def test_a_clean_stop_logs_everybody_out():
    """The exchange confirmed it, nothing waits, nothing lives."""
    with EmbeddedExchange(accounts=3) as exchange:
        pool = pool_on(exchange, 3)
        pool.start()
        pool.wait_until_up(timeout=5)
        report, took = timed(pool, 5)
        assert report.clean and report.logged_out == ("alice", "bob", "carol")
        assert took < 1 and greenlets(pool) == []
        eventually(lambda: not exchange.exchange.peers)
        assert [m.state for m in pool] == [DOWN] * 3


def test_what_was_sent_before_the_stop_has_left():
    """Orders first, then the logout."""
    with EmbeddedExchange(accounts=1) as exchange:
        pool = pool_on(exchange)
        with pool:
            pool.wait_until_up(timeout=5)
            for _ in range(100):
                pool["alice"].send(order(exchange))
        assert exchange.truth.orders_accepted == 100


def test_a_server_that_never_confirms_is_cut_at_the_logout_limit():
    """It is not reported as logged out."""
    with RawServer(never_confirms) as server:
        pool = Pool([server.account()], timeouts=TimeoutPolicy(logout=0.1))
        pool.start()
        pool.wait_until_up(timeout=5)
        report, took = timed(pool, 5)
        assert (report.logged_out, report.cut, report.clean) == ((), ("alice",), False)
        assert took >= 0.1


def test_a_server_that_never_confirms_is_cut_at_the_deadline():
    """Which may come before the logout limit."""
    with RawServer(never_confirms) as server:
        pool = Pool([server.account()])
        pool.start()
        pool.wait_until_up(timeout=5)
        report, took = timed(pool, 0.15)
        assert (report.logged_out, report.cut) == ((), ("alice",))
        assert took >= 0.15


def test_a_server_that_closes_instead_of_confirming_is_named():
    """The logout was not confirmed, so what became of it is not known."""

    def closes(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response())
        talk.until("eto.ping")
        talk.send(frames.pong(2))
        talk.until("eto.logout")

    with RawServer(closes) as server:
        pool = Pool([server.account()])
        pool.start()
        pool.wait_until_up(timeout=5)
        assert pool.stop().cut == ("alice",)


def test_an_account_without_a_session_is_neither_logged_out_nor_cut():
    """One still connects, one waits for its next attempt."""
    with RawServer(Talk.to_the_end) as server:
        dead = Account("bob", username="b", password="p", host="127.0.0.1", port=1, ssl=False)
        pool = Pool([server.account(), dead])
        record = Record(pool)
        pool.start()
        record.wait("member.down", account="bob")
        eventually(lambda: server.accepted)
        report, took = timed(pool, 5)
        assert report.clean and report.logged_out == () and took < 1


def test_a_handler_that_never_returns_is_named():
    """What it held up is counted, and its greenlet is killed."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    finally_ran = []

    @pool.on("seto.order_executed")
    def stuck(delivery) -> None:
        try:
            gevent.event.Event().wait()
        finally:
            finally_ran.append(True)

    pool.start()
    runtime.settle()
    runtime.ends[0].say(execution(1), execution(2), execution(3))
    runtime.settle()
    report, took = timed(pool, 0)
    assert report.killed == ("dispatcher of m0",)
    assert report.undelivered["m0"] >= 2
    assert report.logged_out == () or report.logged_out == ("m0",)
    assert finally_ran == [True] and took < 1
    assert pool["m0"].position is None


def test_a_handler_that_swallows_its_kill_does_not_hold_up_the_stop():
    """It is named; after a second nobody waits for it any more."""
    with EmbeddedExchange(accounts=1, tls=False) as exchange:
        pool, go = pool_on(exchange), gevent.event.Event()

        @pool.on("member.up")
        def stubborn(delivery) -> None:
            while not go.is_set():
                try:
                    go.wait()
                except BaseException:
                    continue

        pool.start()
        pool.wait_until_up(timeout=5)
        report, took = timed(pool, 0.1)
        assert report.killed == ("dispatcher of alice",) and took < 1.5
        go.set()
        eventually(lambda: not greenlets(pool))


def test_a_handler_that_needs_a_moment_gets_it():
    """Deliveries that arrived are handled before the pool is gone."""
    with EmbeddedExchange(accounts=1, tls=False) as exchange:
        pool, handled = pool_on(exchange), []

        @pool.on("seto.order_accepted")
        def slow(delivery) -> None:
            gevent.sleep(0.02)
            handled.append(delivery.account_sequence)

        with pool:
            pool.wait_until_up(timeout=5)
            for _ in range(5):
                pool["alice"].send(order(exchange))
            eventually(lambda: handled)
        assert handled == [1, 2, 3, 4, 5]
        assert pool.stop().clean


def test_stopping_again_gives_the_same_report():
    """At once."""
    pool = simulated_pool(Simulated())
    pool.start()
    pool._runtime.settle()
    first = pool.stop()
    assert first.logged_out == ("m0",)
    assert pool.stop() is first


def test_two_who_stop_at_once_both_wait_for_the_end():
    """The second one gets the first one's report."""
    with RawServer(never_confirms) as server:
        pool = Pool([server.account()], timeouts=TimeoutPolicy(logout=0.1))
        pool.start()
        pool.wait_until_up(timeout=5)
        both = [gevent.spawn(pool.stop, 5) for _ in range(2)]
        gevent.joinall(both, timeout=5)
        assert both[0].value is both[1].value
        assert both[0].value.cut == ("alice",)


def test_a_handler_may_stop_the_pool():
    """Its own greenlet is not waited for, and the owner's join returns."""
    with EmbeddedExchange(accounts=2, tls=False) as exchange:
        pool, reports = pool_on(exchange, 2), []

        @pool.on("seto.order_accepted")
        def enough(delivery) -> None:
            reports.append(pool.stop(timeout=5))

        with pool:
            pool.wait_until_up(timeout=5)
            started = time.monotonic()
            pool["alice"].send(order(exchange))
            assert pool.join(timeout=5)
            assert time.monotonic() - started < 1
        eventually(lambda: reports)
        assert reports[0].logged_out == ("alice", "bob") and reports[0].killed == ()
        eventually(lambda: not greenlets(pool))


def test_a_handler_of_another_account_that_stops_too_does_not_wait_for_ever():
    """Two handlers stop at the same time: neither waits for the other's greenlet."""
    with EmbeddedExchange(accounts=2, tls=False) as exchange:
        pool, done = pool_on(exchange, 2), []

        @pool.on("seto.order_accepted")
        def enough(delivery) -> None:
            pool.stop(timeout=5)
            done.append(delivery.account)

        with pool:
            pool.wait_until_up(timeout=5)
            pool["alice"].send(order(exchange))
            pool["bob"].send(order(exchange))
            started = time.monotonic()
            assert pool.join(timeout=5)
            eventually(lambda: "alice" in done or "bob" in done)
            assert time.monotonic() - started < 2


def test_stopping_before_the_start_is_fine():
    """Nothing was open."""
    pool = simulated_pool(Simulated())
    assert pool.stop().clean
    with pytest.raises(UsageError):
        pool.start()


def test_leaving_the_context_by_an_error_stops_as_well():
    """And the error is not hidden."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pytest.raises(ZeroDivisionError), pool:
        runtime.settle()
        raise ZeroDivisionError
    assert pool.stop().logged_out == ("m0",)


def test_no_attempt_is_made_once_stopping():
    """A loss during the stop, and retries that were planned, end there."""
    runtime = Simulated(lambda attempt: None if attempt == 1 else ConnectionRefusedError("no"))
    pool = simulated_pool(runtime, 2)
    pool.start()
    runtime.settle()
    pool.stop()
    made = len(runtime.attempts)
    runtime.advance(1000)
    assert len(runtime.attempts) == made


def test_a_stop_during_a_login_ends_it():
    """The life greenlet is killed and its socket closed; the fixture counts descriptors."""
    with RawServer(Talk.say_nothing) as server:
        pool = Pool([server.account(ssl=True), server.account("bob")])
        pool.start()
        eventually(lambda: server.accepted == 2)
        report, took = timed(pool, 5)
        assert took < 1 and report.clean


def test_a_stop_at_once_after_the_start_leaves_nothing():
    """Greenlets that never ran have neither body nor finally."""
    with EmbeddedExchange(accounts=3) as exchange:
        for _ in range(5):
            pool = pool_on(exchange, 3)
            pool.start()
            report, took = timed(pool, 5)
            assert took < 1 and report.killed == () and greenlets(pool) == []


def test_removing_an_account_whose_server_never_confirms_keeps_to_its_time():
    """The others go on."""
    with RawServer(never_confirms) as server:
        pool = Pool([server.account(), server.account("bob")], timeouts=TimeoutPolicy(logout=0.05))
        with pool:
            pool.wait_until_up(timeout=5)
            started = time.monotonic()
            pool.remove("alice", timeout=0.5)
            assert time.monotonic() - started < 0.4
            assert [m.account.name for m in pool] == ["bob"]
            pool["bob"].send(seto.MarketSubscribe(market_id=1))


def test_a_removed_accounts_stuck_handler_is_killed_with_it():
    """It must not run beside the handlers of a member that takes its place."""
    killed = []

    def stuck(delivery) -> None:
        try:
            gevent.event.Event().wait()
        except gevent.GreenletExit:
            killed.append(delivery.account)
            raise

    with EmbeddedExchange(accounts=1, tls=False) as exchange:
        pool = pool_on(exchange)
        pool.add_handler("member.up", stuck)
        pool.start()
        pool.wait_until_up(timeout=5)
        pool.remove("alice", timeout=0.1)
        assert killed == ["alice"]
        assert pool.stop().killed == ()


def test_an_interrupted_stop_still_closes_everything():
    """A Timeout, or Ctrl-C: no connection stays open, and the report does not call it clean."""
    with RawServer(never_confirms) as server:
        pool = Pool([server.account()])
        pool.start()
        pool.wait_until_up(timeout=5)
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
            pool.stop(30)
        assert pool["alice"].finished
        assert pool.stop().cut == ("alice",) and not pool.stop().clean
        assert pool.join(timeout=1)


def test_ctrl_c_while_a_handler_computes_stops_the_program(tmp_path):
    """It reaches the main greenlet, which leaves the pool's block in order, and is no handler error."""
    program = tmp_path / "program.py"
    program.write_text(
        """
from gevent import monkey; monkey.patch_all()
from smarkets_pool import Account, Pool
from smarkets_pool.exchange import EmbeddedExchange

with EmbeddedExchange(accounts=1, tls=False) as exchange:
    pool = Pool([Account("alice", **exchange.settings_for(0))])

    @pool.on("member.up")
    def computes(delivery):
        print("computing", flush=True)
        while True:
            pass

    try:
        with pool:
            pool.join()
    except KeyboardInterrupt:
        print("left by Ctrl-C", pool.stats()["handler_errors_total"], pool.join(0), flush=True)
"""
    )
    child = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"computing\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == b"left by Ctrl-C 0 True\n"
        assert child.wait(10) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()


def test_a_removed_accounts_handler_that_returns_late_leaves_no_greenlet():
    """Nobody is left to end an idle dispatcher of a member that is forgotten."""
    with EmbeddedExchange(accounts=1, tls=False) as exchange:
        pool, go = pool_on(exchange), gevent.event.Event()
        pool.add_handler("member.up", lambda delivery: go.wait())
        with pool:
            pool.wait_until_up(timeout=5)
            pool.remove("alice", timeout=0.1)
            go.set()
            eventually(lambda: not greenlets(pool))

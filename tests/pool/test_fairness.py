"""One account's handlers, floods and errors are nobody else's trouble."""

import logging

import gevent
import gevent.event
import pytest

from smarkets_pool import DOWN, RECOVERING, UP, TimeoutPolicy, seto
from smarkets_pool.exceptions import SendBufferFull
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.pool import inbox
from smarkets_pool.pool import member as member_module
from smarkets_pool.pool.delivery import MemberSlowHandler
from tests.rig import ends as frames
from tests.rig.pooling import (
    Record,
    Simulated,
    execute,
    execution,
    greenlets,
    pool_on,
    simulated_pool,
)
from tests.rig.waiting import eventually


def sim(accounts: int = 1, **options):
    """A simulated runtime, a pool on it and its record; entered, the members are UP."""
    runtime = Simulated()
    pool = simulated_pool(runtime, accounts, **options)
    record = Record(pool)
    return runtime, pool, record


# --- handlers that block ---------------------------------------------------------------------------


def test_a_handler_that_blocks_for_ever_delays_no_other_account():
    """Each account has a dispatcher greenlet of its own."""
    with EmbeddedExchange(accounts=2, tls=False) as exchange:
        pool = pool_on(exchange, 2)
        never = gevent.event.Event()
        pool.add_handler("seto.order_executed", lambda d: never.wait(), accounts=["alice"])
        record = Record(pool)
        pool.start()
        pool.wait_until_up(timeout=5)
        execute(exchange, 0, 3)
        execute(exchange, 1, 3)
        record.wait("seto.order_executed", 3, account="bob")
        assert record.numbers("alice") == []
        assert pool.stop(timeout=0.2).killed == ("dispatcher of alice",)


def test_a_handler_that_blocks_for_ever_does_not_stop_its_own_heartbeats():
    """The exchange, which gives up a silent client after 0.3 s, hears from it all the time."""
    settings = ExchangeSettings(silence_limit=0.3, heartbeat_after=0.05)
    with EmbeddedExchange(accounts=1, tls=False, settings=settings) as exchange:
        timeouts = TimeoutPolicy(heartbeat_after=0.05, probe_after=0.3, give_up_after=0.6)
        pool = pool_on(exchange, timeouts=timeouts)
        never = gevent.event.Event()
        pool.add_handler("seto.order_executed", lambda d: never.wait())
        pool.start()
        pool.wait_until_up(timeout=5)
        execute(exchange, 0, 3)
        eventually(lambda: pool.stats()["frames_sent_total"] > 20)  # a second of heartbeats
        assert pool["alice"].state is UP
        assert pool.stats()["disconnects_total"] == 0
        pool.stop(timeout=0.2)


def test_a_blocking_handler_may_send_and_hear_the_answer_in_another_account():
    """Sending needs no greenlet but the caller's."""
    runtime, pool, _ = sim(2)
    sent = []

    @pool.on("seto.order_executed", accounts=["m0"])
    def send_elsewhere(delivery) -> None:
        sent.append(pool["m1"].send(frames.order()))
        sent.append(delivery.member.send(seto.OrderCancel(order_id=1)))

    with pool:
        runtime.ends[0].say(execution(1))
        runtime.settle()
        assert sent == [3, 3]


# --- handlers that raise ---------------------------------------------------------------------------


def test_a_handler_that_raises_costs_nobody_else_anything(caplog):
    """Counted, told to ``on_error``, logged with account and name; the others get the delivery."""
    runtime, pool, record = sim(2)
    errors = []
    pool.on_error(lambda delivery, error: errors.append((delivery, error)))

    @pool.on("seto.order_executed", accounts=["m0"])
    def broken(delivery) -> None:
        raise KeyError("on purpose")

    with pool, caplog.at_level(logging.ERROR, logger="smarkets_pool"):
        for end in runtime.ends:
            end.say(execution(1), execution(2))
        runtime.settle()
        assert record.numbers("m0") == record.numbers("m1") == [1, 2]
        assert [d.account_sequence for d, _ in errors] == [1, 2]
        assert all(type(error) is KeyError for _, error in errors)
        assert pool["m0"].stats()["handler_errors_total"] == 2
        assert pool["m1"].stats()["handler_errors_total"] == 0
        assert pool.stats()["handler_errors_total"] == 2
    logged = [r for r in caplog.records if r.exc_info]
    assert len(logged) == 2 and logged[0].exc_info[0] is KeyError
    text = logged[0].getMessage()
    assert "account m0" in text and "broken" in text and "seto.order_executed" in text


@pytest.mark.parametrize("kind", [gevent.Timeout, gevent.GreenletExit, GeneratorExit, BaseException])
def test_whatever_a_handler_raises_leaves_the_member_sound(kind):
    """Its other handlers get this delivery, and all get the next one."""
    runtime, pool, record = sim()

    @pool.on("seto.order_executed")
    def broken(delivery) -> None:
        raise kind

    with pool:
        runtime.ends[0].say(execution(1), execution(2))
        runtime.settle()
        runtime.ends[0].say(execution(3))
        runtime.settle()
        assert record.numbers("m0") == [1, 2, 3]
        assert pool["m0"].position == 3
        assert pool.stats()["handler_errors_total"] == 3
        assert pool.stats()["greenlet_deaths_total"] == 0


def test_a_timeout_that_a_handler_forgot_hits_only_its_own_member():
    """It goes off in whatever the dispatcher does then, an idle one too; nothing is lost."""
    with EmbeddedExchange(accounts=2, tls=False) as exchange:
        pool = pool_on(exchange, 2)
        record = Record(pool)
        forgotten = []

        @pool.on("seto.order_executed", accounts=["alice"])
        def forgetful(delivery) -> None:
            if len(forgotten) < 3:
                forgotten.append(gevent.Timeout.start_new(0.02 * (1 + len(forgotten))))

        with pool:
            pool.wait_until_up(timeout=5)
            for _ in range(10):
                execute(exchange, 0)
                execute(exchange, 1)
                gone = gevent.event.Event()
                pool._runtime.call_later(0.01, gone.set)
                gone.wait()
            record.wait("seto.order_executed", 10)
            record.wait("seto.order_executed", 10, account="bob")
            assert record.numbers("alice") == record.numbers("bob") == list(range(1, 11))
            assert not record.of("member.down") and not record.of("member.down", "bob")
        for timeout in forgotten:
            timeout.close()


@pytest.mark.parametrize("kind", [ValueError, gevent.Timeout])
def test_an_error_handler_that_raises_is_fenced_too(kind):
    """The second one is still told, and the handlers behind the broken one still run."""
    runtime, pool, record = sim()
    told = []

    @pool.on_error
    def broken_too(delivery, error) -> None:
        raise kind

    pool.on_error(lambda delivery, error: told.append(error))

    @pool.on("seto.order_executed")
    def broken(delivery) -> None:
        raise KeyError

    with pool:
        runtime.ends[0].say(execution(1))
        runtime.settle()
        assert len(told) == 1 and record.numbers("m0") == [1]
        assert pool.stats()["greenlet_deaths_total"] == 0


def test_a_kill_from_outside_ends_the_handler_and_not_the_dispatcher():
    """Only the pool's stop ends it by force; what waits is delivered all the same."""
    runtime, pool, record = sim()
    go = gevent.event.Event()
    pool.add_handler("seto.order_executed", lambda d: d.account_sequence == 1 and go.wait())
    with pool:
        runtime.ends[0].say(execution(1), execution(2), execution(3))
        runtime.settle()
        pool["m0"].inbox.greenlet.kill(block=False)
        runtime.settle()
        assert record.numbers("m0") == [1, 2, 3]


# --- floods ----------------------------------------------------------------------------------------


def test_a_flooding_account_does_not_starve_another():
    """Over real sockets: each of the quiet one's events is handled long before the flood is."""
    with EmbeddedExchange(accounts=2, tls=False) as exchange:
        pool = pool_on(exchange, 2)
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=5)
            execute(exchange, 0, 8000)
            execute(exchange, 1)
            record.wait("seto.order_executed", account="bob")
            assert len(record.numbers("alice")) < 8000
            record.wait("seto.order_executed", 8000)
            assert record.numbers("alice") == list(range(1, 8001))


def test_a_backlog_of_quick_handlers_lets_the_loop_turn(monkeypatch):
    """After ``TURN`` deliveries without a pause the dispatcher gives way."""
    monkeypatch.setattr(inbox, "TURN", 10)
    runtime, pool, record = sim()
    breaths = []
    monkeypatch.setattr(runtime, "breathe", lambda: breaths.append(len(record.numbers("m0"))))
    with pool:
        runtime.ends[0].say(*[execution(number) for number in range(1, 36)])
        runtime.settle()
        assert breaths == [10, 20, 30]


# --- a full inbox ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames_limit", "size_limit"), [(20, 1 << 20), (10_000, 1000)])
def test_a_full_inbox_stops_reading_and_resumes_without_loss(monkeypatch, frames_limit, size_limit):
    """By number and by size: announced once, memory bounded, everything handled in order."""
    monkeypatch.setattr(inbox, "MAX_FRAMES", frames_limit)
    monkeypatch.setattr(inbox, "MAX_SIZE", size_limit)
    runtime, pool, record = sim()
    go = gevent.event.Event()
    pool.add_handler("seto.order_executed", lambda delivery: go.wait())
    with pool:
        end = runtime.ends[0]
        end.chunk = 60
        end.say(*[execution(number) for number in range(1, 301)])
        runtime.settle(400)
        waiting = len(pool["m0"].inbox)
        assert waiting < 60 and pool["m0"].inbox.full
        assert end.calls[-1] == "stop_reading"
        runtime.advance(100)  # heartbeats go on, and do not announce it again
        assert len(pool["m0"].inbox) <= waiting + 1
        go.set()
        eventually(lambda: len(record.numbers("m0")) == 300)
        assert record.numbers("m0") == list(range(1, 301))
        assert pool["m0"].state is UP and pool.stats()["disconnects_total"] == 0
        assert pool["m0"].inbox.size == 0
        slow = record.of("member.slow_handler", "m0")
        assert isinstance(slow[0].message, MemberSlowHandler)
        assert slow[0].message.frames >= 20 or slow[0].message.size >= 1000


def test_a_full_inbox_is_announced_once_until_the_handlers_caught_up(monkeypatch):
    """Neither every read nor every heartbeat says it again; the next time it fills, it is news."""
    monkeypatch.setattr(inbox, "MAX_FRAMES", 10)
    runtime, pool, record = sim()
    go = gevent.event.Event()
    pool.add_handler("seto.order_executed", lambda delivery: go.wait())
    with pool:
        for times in (1, 2):
            go.clear()
            first = 1 + 20 * (times - 1)
            runtime.ends[0].say(*[execution(number) for number in range(first, first + 20)])
            runtime.advance(60)
            go.set()
            eventually(lambda last=first + 19: record.numbers("m0")[-1:] == [last])
            assert len(record.of("member.slow_handler", "m0")) == times


def test_the_silence_of_an_exchange_we_do_not_listen_to_is_ours(monkeypatch):
    """A full inbox for an hour is no reason to give the exchange up."""
    monkeypatch.setattr(inbox, "MAX_FRAMES", 10)
    runtime, pool, record = sim()
    go = gevent.event.Event()
    pool.add_handler("seto.order_executed", lambda delivery: go.wait())
    with pool:
        runtime.ends[0].say(*[execution(number) for number in range(1, 21)])
        runtime.advance(3600)
        assert pool["m0"].state is UP
        go.set()
        runtime.settle()
        assert not record.of("member.down", "m0") and not record.of("member.stalled", "m0")


def test_a_full_inbox_over_a_loss_loses_nothing(monkeypatch):
    """The next connection finds it full, waits with reading, and goes on when there is room."""
    monkeypatch.setattr(inbox, "MAX_FRAMES", 10)
    with EmbeddedExchange(accounts=1, tls=False) as exchange:
        pool = pool_on(exchange)
        record, go = Record(pool), gevent.event.Event()
        pool.add_handler("seto.order_executed", lambda delivery: go.wait())
        with pool:
            pool.wait_until_up(timeout=5)
            execute(exchange, 0, 50)
            eventually(lambda: pool["alice"].inbox.full)
            exchange.exchange.log_everybody_out(1, exchange.now())
            pool["alice"]._connection.disconnect(ValueError("lost"))
            execute(exchange, 0, 50)
            eventually(lambda: pool.stats()["logins_total"] >= 2)
            go.set()
            record.wait("seto.order_executed", 100)
            assert record.numbers() == list(range(1, 101))


def test_send_refuses_when_too_much_waits(monkeypatch):
    """Nothing is numbered, the figures are in the error, and room makes it work again."""
    monkeypatch.setattr(member_module, "SEND_LIMIT", 100)
    runtime, pool, _ = sim()
    with pool:
        end = runtime.ends[0]
        end.room = [None]
        while pool["m0"].stats()["out_buffer_bytes"] <= 100:
            last = pool["m0"].send(frames.order())
        with pytest.raises(SendBufferFull) as full:
            pool["m0"].send(frames.order())
        assert (full.value.account, full.value.limit) == ("m0", 100)
        assert full.value.waiting == pool["m0"].stats()["out_buffer_bytes"]
        assert pool["m0"].state is UP
        end.writable()
        assert pool["m0"].send(frames.order()) == last + 1
        assert end.exchange.inseq == last + 2


def test_states_are_words():
    """``str`` of a state is what a log line wants."""
    assert [str(s) for s in (UP, RECOVERING, DOWN)] == ["UP", "RECOVERING", "DOWN"]
    _, pool, _ = sim()
    with pool:
        assert repr(pool["m0"]) == "<Member 'm0' UP>"
    assert greenlets(pool) == []

"""Who owns what: each rule of the design that was measured once stays true."""

import logging

import gevent
import gevent.socket
import gevent.ssl
import pytest

from smarkets_pool import UP, Account, Pool, TimeoutPolicy, eto, seto
from smarkets_pool.exceptions import ConnectTimeout, LoginTimeout, SendBufferFull, SendTimeout
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.certificates import Certificates
from smarkets_pool.pool import inbox
from smarkets_pool.pool.transport import HubTransport
from tests.rig import ends as frames
from tests.rig.pooling import (
    AT_ONCE,
    SILENCE,
    RawServer,
    Record,
    Simulated,
    Talk,
    execute,
    execution,
    greenlets,
    pool_on,
    simulated_pool,
    user,
)
from tests.rig.waiting import eventually


def event(seq: int, number: int) -> bytes:
    """A frame with the account's event of that number."""
    payload = seto.Payload(type=seto.PAYLOAD_ORDER_EXECUTED, order_executed=execution(number))
    payload.eto_payload.seq = seq
    return frames.framed(payload)


@pytest.fixture
def certificates():
    """A throw-away CA."""
    made = Certificates()
    yield made
    made.close()


def drip(talk: Talk, data: bytes) -> None:
    """Send byte by byte, far below every socket timeout."""
    for index in range(len(data)):
        talk.send(data[index : index + 1])
        gevent.sleep(0.02)


# --- connecting and login ---------------------------------------------------------------------------


def test_a_peer_that_drips_during_the_handshake_is_given_up_in_time():
    """Each byte ends a wait of the socket, so only the limit over the whole can end the attempt."""
    with RawServer(lambda talk: drip(talk, b"\x16\x03\x03\x3f\xff" + bytes(500))) as server:
        pool = Pool([server.account(ssl=True)], timeouts=TimeoutPolicy(connect=0.25))
        record = Record(pool)
        started = pool._runtime.now()
        with pool:
            down = record.wait("member.down")
            assert isinstance(down.message.error, ConnectTimeout)
            assert down.received_at - started < 1


def test_a_peer_that_drips_its_answer_to_the_login_is_given_up_in_time():
    """The limit on the login holds however often something arrives."""
    with RawServer(lambda talk: (talk.until("seto.login"), drip(talk, b"\xff\x7f" + bytes(500)))) as server:
        pool = Pool([server.account()], timeouts=TimeoutPolicy(login=0.25))
        record = Record(pool)
        started = pool._runtime.now()
        with pool:
            down = record.wait("member.down")
            assert isinstance(down.message.error, LoginTimeout)
            assert 0.2 < down.received_at - started < 1


def test_a_byte_that_arrives_when_the_login_limit_ends_does_not_change_the_errors_name():
    """The protocol's own deadline of the login may be seen first; it is the same trouble."""
    runtime = Simulated(lambda attempt: SILENCE)
    pool = simulated_pool(runtime, timeouts=TimeoutPolicy(login=5))
    record = Record(pool)
    with pool:
        runtime.clock += 5
        runtime.ends[0].push(b"\xff")
        runtime.settle()
        error = record.of("member.down", "m0")[0].message.error
        assert isinstance(error, LoginTimeout) and str(error) == "no answer to the login within 5.0 s"


def test_the_handshake_has_no_time_of_its_own_beside_the_connect_limit():
    """A server that accepts and says nothing at all ends like a dripping one."""
    with RawServer(Talk.say_nothing) as server:
        pool = Pool([server.account(ssl=True)], timeouts=TimeoutPolicy(connect=0.15))
        record = Record(pool)
        with pool:
            assert isinstance(record.wait("member.down").message.error, ConnectTimeout)


def test_the_socket_timeout_of_an_account_has_no_effect_in_a_pool():
    """``TimeoutPolicy`` wins: a login that takes longer than ``socket_timeout`` succeeds."""

    def late(talk: Talk) -> None:
        talk.until("seto.login")
        gevent.sleep(0.2)
        talk.send(frames.login_response())
        talk.until("eto.ping")
        talk.send(frames.pong(2))
        talk.to_the_end()

    with RawServer(late) as server:
        pool = Pool([server.account(socket_timeout=0.05)], timeouts=TimeoutPolicy(logout=0.05))
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=5)
            assert not record.of("member.down")


def test_the_life_greenlet_is_gone_once_up_and_the_dispatcher_a_second_after_its_last_delivery():
    """An idle pool that is UP owns no greenlet."""
    runtime = Simulated()
    pool = simulated_pool(runtime, 3)
    Record(pool)
    with pool:
        runtime.settle()
        assert greenlets(pool) == ["dispatcher of m0", "dispatcher of m1", "dispatcher of m2"]
        runtime.advance(0.9)
        assert len(greenlets(pool)) == 3
        runtime.advance(0.2)
        assert greenlets(pool) == []
        assert [m.state for m in pool] == [UP] * 3


def test_a_dispatcher_of_a_given_up_account_ends_too():
    """No deadline of a connection is left to end it by accident."""
    runtime = Simulated(lambda attempt: int(eto.LOGOUT_UNAUTHORISED))
    pool = simulated_pool(runtime)
    Record(pool)
    with pool:
        runtime.settle()
        assert greenlets(pool) == ["dispatcher of m0"]
        runtime.advance(1.1)
        assert greenlets(pool) == []


def test_a_delivery_after_the_dispatcher_ended_gets_a_new_one():
    """Ending an idle greenlet loses nothing."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.advance(2)
        assert greenlets(pool) == []
        runtime.ends[0].say(execution(1))
        runtime.settle()
        assert record.numbers("m0") == [1]


def test_traffic_keeps_the_dispatcher():
    """It is ended a second after the last delivery, not after the first."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    Record(pool)
    with pool:
        runtime.settle()
        for number in range(1, 6):
            runtime.advance(0.6)
            runtime.ends[0].say(execution(number))
            runtime.settle()
            assert greenlets(pool) == ["dispatcher of m0"]


def test_a_loss_spawns_a_new_life_greenlet():
    """It lives while it connects, and only then."""
    runtime = Simulated(lambda attempt: SILENCE if attempt == 2 else None)
    pool = simulated_pool(runtime)
    with pool:
        runtime.advance(2)
        assert "life of m0" not in greenlets(pool)
        runtime.ends[0].hang_up()
        runtime.advance(0.6)
        assert "life of m0" in greenlets(pool)


# --- reading ------------------------------------------------------------------------------------------


def test_events_read_along_with_the_login_response_come_before_later_ones():
    """One write carries the response and two events, another one the third."""

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response(), event(2, 1), event(3, 2))
        talk.until("eto.ping")
        talk.send(event(4, 3), frames.pong(5))
        talk.to_the_end()

    with RawServer(script) as server:
        pool = Pool([server.account()], timeouts=TimeoutPolicy(logout=0.05))
        record = Record(pool)
        with pool:
            record.wait("member.up")
            assert record.numbers() == [1, 2, 3]
            assert record.names()[:2] == ["member.recovering", "eto.login_response"]


def test_tls_bytes_left_inside_the_ssl_object_at_hand_over_are_not_stalled(certificates):
    """The login reads a few bytes of a record; nothing more ever comes, and no watcher sees the rest."""

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response() + b"".join(event(n + 1, n) for n in range(1, 101)))
        talk.to_the_end()

    with RawServer(script, context=certificates.server_context()) as server:
        account = server.account(ca_file=certificates.ca_file)
        account.settings.read_chunksize = 8
        pool = Pool([account], timeouts=TimeoutPolicy(logout=0.05))
        record = Record(pool)
        with pool:
            record.wait("seto.order_executed", 100)
            assert record.numbers() == list(range(1, 101))


def test_tls_bytes_are_not_stalled_after_reading_was_resumed(certificates, monkeypatch):
    """A small inbox pauses again and again in a flood; after its end nothing else would wake us."""
    monkeypatch.setattr(inbox, "MAX_FRAMES", 20)
    monkeypatch.setattr(inbox, "TURN", 7)
    count = 4000

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response() + b"".join(event(n + 1, n) for n in range(1, count + 1)))
        talk.to_the_end()

    with RawServer(script, context=certificates.server_context()) as server:
        pool = Pool([server.account(ca_file=certificates.ca_file)], timeouts=TimeoutPolicy(logout=0.05))
        record = Record(pool)
        with pool:
            record.wait("seto.order_executed", count)
            assert record.numbers() == list(range(1, count + 1))
            assert record.of("member.slow_handler")


def test_no_timer_is_made_per_receive():
    """Frames move deadlines away; nobody re-arms for that."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        made = runtime.timers_made
        for number in range(1, 301):
            runtime.ends[0].say(execution(number))
            runtime.settle(3)
        assert len(record.numbers("m0")) == 300
        assert runtime.timers_made == made


def test_steady_traffic_makes_few_timers():
    """With time passing, at most the idle dispatcher's second and the heartbeat are armed anew."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    Record(pool)
    with pool:
        runtime.settle()
        made = runtime.timers_made
        for number in range(1, 201):
            runtime.ends[0].say(execution(number))
            runtime.advance(0.05)
        assert runtime.timers_made - made < 30  # in 10 seconds and 200 frames


# --- writing ------------------------------------------------------------------------------------------


def test_bytes_that_would_block_are_offered_again_as_the_very_same():
    """Nothing is added to, cut from or put before bytes that were offered once."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        end = runtime.ends[0]
        end.wrote.clear()
        end.room = [None, None, None, 7, None, None, 3, None]
        sent = [pool["m0"].send(seto.MarketSubscribe(market_id=n)) for n in range(1, 6)]
        for _ in range(12):
            end.writable()
        refused = []
        offers = list(end.wrote)
        room = [None, None, None, 7, None, None, 3, None]
        for index, took in enumerate(room):
            if took is None:
                refused.append(offers[index])
                assert offers[index + 1] == offers[index]
        assert len(refused) == 6
        assert sent == [3, 4, 5, 6, 7]
        assert end.exchange.inseq == 8
        assert pool.stats()["members"]["m0"]["out_buffer_bytes"] == 0


def test_a_full_socket_is_watched_and_then_left_alone():
    """The write watcher runs only while bytes wait."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        end = runtime.ends[0]
        assert end._on_writable is None
        end.room = [None]
        pool["m0"].send(seto.MarketSubscribe(market_id=1))
        assert end._on_writable is not None
        end.writable()
        assert end._on_writable is None


def test_a_socket_that_stays_full_ends_the_connection():
    """``TimeoutPolicy.send`` counts from the first refusal."""
    runtime = Simulated()
    pool = simulated_pool(runtime, timeouts=TimeoutPolicy(send=2, heartbeat_after=50))
    record = Record(pool)
    with pool:
        runtime.settle()
        end = runtime.ends[0]
        end.room = [None] * 1000
        pool["m0"].send(seto.MarketSubscribe(market_id=1))
        runtime.advance(1.9)
        assert not record.of("member.down", "m0")
        runtime.advance(0.2)
        assert isinstance(record.of("member.down", "m0")[0].message.error, SendTimeout)


@pytest.mark.parametrize("tls", [True, False])
def test_a_burst_to_a_server_that_stops_reading_arrives_intact(tls, certificates):
    """Until ``SendBufferFull``; then the server reads, and every message is there, in order and whole."""
    go, labels = gevent.event.Event(), []

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response())
        talk.until("eto.ping")
        talk.send(frames.pong(2))
        go.wait()
        while (payload := talk.read()) is not None:
            if payload.HasField("order_create"):
                labels.append((payload.eto_payload.seq, payload.order_create.label))

    context = certificates.server_context() if tls else None
    with RawServer(script, context=context) as server:
        account = server.account(ca_file=certificates.ca_file if tls else None)
        pool = Pool([account], timeouts=TimeoutPolicy(logout=0.05))
        with pool:
            pool.wait_until_up(timeout=5)
            sent = []
            with pytest.raises(SendBufferFull) as full:
                while True:
                    label = f"{len(sent)}-" + "x" * 5000
                    message = frames.order()
                    message.label = label
                    sent.append((pool["alice"].send(message), label))
            assert full.value.waiting > full.value.limit == 1 << 20
            go.set()
            eventually(lambda: len(labels) == len(sent))
            assert labels == sent
            pool["alice"].send(frames.order())
            eventually(lambda: len(labels) == len(sent) + 1)


# --- hub callbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["reading", "timer", "writing"])
def test_an_exception_in_a_hub_callback_costs_only_its_own_connection(where, monkeypatch):
    """The member says why, connects again, and its neighbour notices nothing."""
    runtime = Simulated()
    pool = simulated_pool(runtime, 2)
    record = Record(pool)
    with pool:
        runtime.settle()
        end, connection = runtime.ends[0], pool["m0"]._connection

        def broken(*_: object) -> None:
            raise ZeroDivisionError("on purpose")

        if where == "reading":
            monkeypatch.setattr(connection.protocol, "receive_data", broken)
            end.say(execution(1))
        elif where == "timer":
            monkeypatch.setattr(connection.protocol, "handle_timer", broken)
            runtime.advance(5.1)
        else:
            end.room = [None]
            pool["m0"].send(seto.MarketSubscribe(market_id=1))
            monkeypatch.setattr(end, "write", broken)
            end.writable()
        runtime.advance(1)
        assert isinstance(record.of("member.down", "m0")[0].message.error, ZeroDivisionError)
        assert pool["m0"].state is UP
        assert not record.of("member.down", "m1")
        runtime.ends[1].say(execution(1))
        runtime.settle()
        assert record.numbers("m1") == [1]


def test_hub_callbacks_never_log():
    """Logging there can deadlock, so no record is ever made in the hub, whatever happens."""
    hub, seen = gevent.get_hub(), []

    class NotInTheHub(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append((gevent.getcurrent() is hub, record.name, record.getMessage()))

    handler, root = NotInTheHub(), logging.getLogger("smarkets_pool")
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    try:
        with EmbeddedExchange(accounts=3, tls=False) as exchange:
            exchange.faults.refuse_login(user(exchange, 2), eto.LOGOUT_UNAUTHORISED)
            pool = pool_on(exchange, 3)
            record = Record(pool)

            @pool.on("seto.order_executed")
            def broken(delivery):
                raise ValueError("on purpose")

            with pool:
                record.wait("member.up")
                record.wait("member.up", account="bob")
                exchange.faults.drop(user(exchange))
                execute(exchange, 0, 3)
                record.wait("member.up", 2)
                exchange.cut(user(exchange), inside=True)
                exchange.cut(user(exchange, 1))
                record.wait("member.up", 3)
                exchange.exchange.log_everybody_out(eto.LOGOUT_HEARTBEAT_TIMEOUT, exchange.now())
                record.wait("member.up", 4)
                pool._on_clock_error(pool["alice"], ValueError("a clock error"))
                eventually(lambda: any("a clock error" in text for _, _, text in seen))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    said = " ".join(text for _, _, text in seen)
    assert "given up" in said and "next attempt" in said and "failed on" in said
    assert [entry for entry in seen if entry[0]] == []


# --- the end of a connection --------------------------------------------------------------------------


def test_stale_callbacks_of_an_old_connection_do_nothing():
    """A new connection may have the old one's descriptor; late calls must not touch it."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        old, old_end = pool["m0"]._connection, runtime.ends[0]
        old_end.hang_up()
        runtime.advance(1)
        assert pool["m0"].state is UP
        before = record.names("m0")
        old_end._incoming += b"\xff\xff\xff\xff\xff\xff"
        old._on_readable()
        old._on_leftover()
        old._on_writable()
        old.on_deadline(runtime.now() + 1000)
        old.start_reading()
        old.pause_reading()
        old.logout()
        old.disconnect(ValueError("late"))
        runtime.settle()
        assert old.next_deadline() is None
        assert record.names("m0") == before
        assert pool["m0"].state is UP
        assert pool["m0"]._connection.number == 2 and len(runtime.ends) == 2
        assert pool.stats()["disconnects_total"] == 1


def test_disconnecting_twice_tells_once():
    """Anyone may call it; the owner hears of the first reason."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        connection = pool["m0"]._connection
        connection.disconnect(ValueError("first"))
        connection.disconnect(ValueError("second"))
        runtime.settle()
        assert [str(d.message.error) for d in record.of("member.down", "m0")] == ["first"]
        assert runtime.ends[0].calls.count("close") == 1


def test_watchers_stop_and_close_before_the_socket_does():
    """The descriptor is used again as soon as the socket is closed."""
    said = []

    class Watcher:
        def __init__(self, name: str) -> None:
            self.name = name

        def stop(self) -> None:
            said.append(f"{self.name} stop")

        def close(self) -> None:
            said.append(f"{self.name} close")

    class Loop:
        @staticmethod
        def io(fd: int, kind: int) -> Watcher:
            return Watcher({1: "reader", 2: "writer"}[kind])

    class Hub:
        loop = Loop

    here, there = gevent.socket.socketpair()

    class Socket:
        _sock = here._sock
        fileno = here.fileno

        def shutdown(self, how: int) -> None:
            said.append("socket shutdown")
            raise OSError("the peer has gone")

        def close(self) -> None:
            said.append("socket close")

    HubTransport(Hub, Socket()).close()
    here.close()
    there.close()
    assert said == [
        "reader stop",
        "reader close",
        "writer stop",
        "writer close",
        "socket shutdown",
        "socket close",
    ]


def test_many_losses_leave_no_descriptor_and_no_greenlet_behind():
    """The autouse fixture counts both after twenty reconnects over TLS."""
    with EmbeddedExchange(accounts=1) as exchange:
        pool = pool_on(exchange)
        record = Record(pool)
        with pool:
            for count in range(1, 21):
                record.wait("member.up", count)
                exchange.cut(user(exchange))
            record.wait("member.up", 21)
            assert pool["alice"].stats()["connection_number"] == 21


def test_one_read_per_loop_turn_lets_a_quiet_account_through_a_flood():
    """The quiet account's event is handled long before the flood is."""
    runtime = Simulated()
    pool = simulated_pool(runtime, 2)
    record = Record(pool)
    with pool:
        runtime.settle()
        flood, quiet = runtime.ends
        for number in range(1, 5001):
            flood.exchange.send(execution(number), runtime.now())
        flood.flush()
        quiet.say(execution(1))
        eventually(lambda: record.numbers("m1"))
        assert len(record.numbers("m0")) < 5000
        eventually(lambda: len(record.numbers("m0")) == 5000)


def test_an_account_may_be_an_account_of_another_pool_in_the_same_process():
    """Pools share nothing but the hub."""
    with EmbeddedExchange(accounts=2, tls=False) as exchange:
        first = pool_on(exchange)
        second = Pool([Account("bob", **exchange.settings_for(1))], reconnect=AT_ONCE)
        with first, second:
            first.wait_until_up(timeout=5)
            second.wait_until_up(timeout=5)
            second.stop()
            assert first["alice"].state is UP

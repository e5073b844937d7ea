"""One account's life: login, loss, resume, gaps, holes, and what may be sent when."""

import random
import subprocess
import sys

import gevent.event
import pytest

from smarkets_pool import DOWN, RECOVERING, UP, Account, MemoryStore, Pool, TimeoutPolicy, eto, seto
from smarkets_pool.exceptions import (
    ConfigError,
    ConnectionError,
    HeartbeatTimeout,
    LoggedOut,
    MemberDown,
    ReceiveTimeout,
    SequenceGapError,
    UsageError,
)
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.pool import inbox
from smarkets_pool.pool.delivery import MemberGap, MemberRecovering
from smarkets_pool.stores import Position
from tests.rig import ends as frames
from tests.rig.pooling import (
    AT_ONCE,
    DEAF,
    RawServer,
    Record,
    Simulated,
    Talk,
    execute,
    execution,
    order,
    peer_of,
    pool_on,
    simulated_pool,
    user,
)
from tests.rig.waiting import eventually


@pytest.fixture
def exchange():
    """Two accounts, plain TCP."""
    with EmbeddedExchange(accounts=2, tls=False) as made:
        yield made


def frame(seq: int, number: int, *, is_replay: bool = False) -> bytes:
    """A frame with the account's event of that number."""
    payload = seto.Payload(type=seto.PAYLOAD_ORDER_EXECUTED, order_executed=execution(number))
    payload.eto_payload.seq = seq
    payload.eto_payload.is_replay = is_replay
    return frames.framed(payload)


# --- the order of things ------------------------------------------------------------------------------


def test_the_first_login_is_told_in_order(exchange):
    """Recovering, then what the exchange says at a login, then up."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        assert record.names() == [
            "member.recovering",
            "eto.login_response",
            "seto.throttle_limits_changed",
            "eto.pong",
            "member.up",
        ]
        assert record.of("member.recovering")[0].message == MemberRecovering("login", None)
        up = record.of("member.up")[0].message
        assert up.cause == "login" and len(up.session) == 18


def test_a_delivery_carries_everything_about_its_frame(exchange):
    """Account, member, name, typed message, payload, bytes and both numbers."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        pool.wait_until_up(timeout=5)
        execute(exchange)
        found = record.wait("seto.order_executed")
        assert (found.account, found.member, found.name) == ("alice", pool["alice"], "seto.order_executed")
        assert isinstance(found.message, seto.OrderExecuted) and found.message.order_id == 7
        assert seto.Payload.FromString(found.bytes) == found.protobuf
        assert found.protobuf.order_executed == found.message
        assert found.seq == found.protobuf.eto_payload.seq == 4
        assert found.account_sequence == 1 and found.is_replay is False
        assert abs(found.received_at - pool._runtime.now()) < 5


def test_a_cut_is_told_in_order_and_resumed(exchange):
    """Down with reason and delay, recovering from the last handled event, replays, up."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        execute(exchange, times=2)
        record.wait("seto.order_executed", 2)
        record.all.clear()
        exchange.cut(user(exchange))
        execute(exchange, times=2)
        record.wait("member.up")
        assert record.names() == [
            "member.down",
            "member.recovering",
            "eto.login_response",
            "seto.throttle_limits_changed",
            "seto.order_executed",
            "seto.order_executed",
            "eto.pong",
            "member.up",
        ]
        down, recovering = record.all[0].message, record.all[1].message
        assert down.retry_in == 0.01 and not down.final and "closed the connection" in down.reason
        assert recovering == MemberRecovering("login", 2)
        assert [d.is_replay for d in record.of("seto.order_executed")] == [True, True]
        assert record.numbers() == [3, 4]


def test_executions_while_away_arrive_once_and_in_order(exchange):
    """The exchange keeps the account away for a moment, in which things happen."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        execute(exchange)
        record.wait("seto.order_executed")
        exchange.cut(user(exchange), away=0.1)
        execute(exchange, times=50)
        record.wait("member.up", 2)
        assert record.numbers() == list(range(1, 52))
        assert exchange.truth.executions_away == 50
        assert pool["alice"].stats()["duplicates_total"] >= 1  # the position itself came again


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_resume_works_whether_or_not_the_exchange_repeats_the_position(inclusive):
    """Which one the real exchange does is not documented."""
    settings = ExchangeSettings(resume_includes_position=inclusive)
    with EmbeddedExchange(accounts=1, tls=False, settings=settings) as exchange:
        pool = pool_on(exchange)
        record = Record(pool)
        with pool:
            record.wait("member.up")
            execute(exchange, times=3)
            record.wait("seto.order_executed", 3)
            exchange.cut(user(exchange))
            execute(exchange, times=3)
            record.wait("member.up", 2)
            assert record.numbers() == [1, 2, 3, 4, 5, 6]
            assert not record.of("member.gap")
            assert pool["alice"].stats()["duplicates_total"] == int(inclusive)


def test_a_logout_by_the_exchange_is_a_loss_with_its_reason(exchange):
    """The reason is in the error, and the member comes back."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        exchange.exchange.log_everybody_out(eto.LOGOUT_HEARTBEAT_TIMEOUT, exchange.now())
        error = record.wait("member.down").message.error
        assert isinstance(error, LoggedOut) and error.reason == eto.LOGOUT_HEARTBEAT_TIMEOUT
        record.wait("member.up", 2)


def test_a_silent_exchange_is_asked_announced_and_given_up():
    """``member.stalled`` when it was asked, ``HeartbeatTimeout`` when it did not answer."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        runtime.ends[0].deaf = True
        runtime.advance(14.9)
        assert not record.of("member.stalled", "m0")
        runtime.advance(0.2)
        assert record.of("member.stalled", "m0")[0].message.silence == pytest.approx(15, abs=0.1)
        assert pool["m0"].state is UP
        runtime.advance(15)
        error = record.of("member.down", "m0")[0].message.error
        assert isinstance(error, HeartbeatTimeout) and error.silence == pytest.approx(30, abs=0.1)


def test_a_stalled_exchange_that_answers_the_question_stays():
    """The ping's pong is a complete frame, and that is life."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.advance(300)
        assert len(record.of("member.stalled", "m0")) >= 10
        assert not record.of("member.down", "m0")


def test_a_resume_whose_end_never_comes_is_given_up():
    """Without the pong behind the login the member would be RECOVERING for ever, heartbeats or not."""
    runtime = Simulated(lambda attempt: DEAF if attempt == 1 else None)
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        for _ in range(31):
            runtime.ends[0].exchange.heartbeat(runtime.now())
            runtime.ends[0].flush()
            runtime.advance(1)
        assert isinstance(record.of("member.down", "m0")[0].message.error, ReceiveTimeout)
        assert pool["m0"].state is UP


def test_the_wait_for_the_end_of_a_resume_stands_still_while_our_own_inbox_is_full(monkeypatch):
    """The pong waits behind events that we do not read; that is not the exchange's fault."""
    monkeypatch.setattr(inbox, "MAX_FRAMES", 10)
    runtime = Simulated(lambda attempt: DEAF if attempt == 1 else None)
    pool = simulated_pool(runtime)
    record, go = Record(pool), gevent.event.Event()
    pool.add_handler("seto.order_executed", lambda delivery: go.wait())
    with pool:
        runtime.settle()
        end = runtime.ends[0]
        end.chunk = 50
        end.say(*[execution(number) for number in range(1, 101)])
        end.listen()
        runtime.advance(100)
        assert pool["m0"].state is RECOVERING
        assert not record.of("member.down", "m0")
        go.set()
        eventually(lambda: pool["m0"].state is UP)
        eventually(lambda: record.numbers("m0") == list(range(1, 101)))


# --- gaps of the stream -------------------------------------------------------------------------------


def test_a_lost_frame_is_announced_before_anything_later_and_filled(exchange):
    """Gap, recovering, the lost event as a replay, the later ones, up."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        record.all.clear()
        exchange.faults.drop(user(exchange), 2)
        execute(exchange, times=4)
        record.wait("member.up")
        assert record.names() == [
            "member.gap",
            "member.recovering",
            *["seto.order_executed"] * 4,
            "member.up",
        ]
        gap = record.all[0].message
        assert gap == MemberGap("stream", gap.first, gap.first + 1, recoverable=True)
        assert record.all[1].message == MemberRecovering("gap", None)
        assert record.of("member.up")[0].message.cause == "gap"
        assert record.numbers() == [1, 2, 3, 4]
        assert record.of("seto.order_executed")[0].seq == gap.first
        assert not record.of("member.down")


def test_a_skipped_number_is_filled_by_a_gapfill(exchange):
    """Nothing was lost, and the member is up again."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        exchange.faults.skip(user(exchange), 5)
        execute(exchange, times=3)
        record.wait("member.up", 2)
        gap = record.of("member.gap")[0].message
        assert gap.last - gap.first == 4 and gap.recoverable
        assert len(record.of("eto.gapfill")) == 5
        assert record.numbers() == [1, 2, 3]


def test_a_gap_that_is_never_filled_ends_in_a_resume():
    """Announced, announced as unfilled, down with the numbers, and the account's events come by resume."""
    asked = []

    def first(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response())
        talk.until("eto.ping")
        talk.send(frames.pong(2), frame(3, 1), frame(5, 3))
        talk.to_the_end()

    def second(talk: Talk) -> None:
        asked.append(talk.until("seto.login").login)
        talk.send(frames.login_response())
        talk.send(*(frame(n + 1, n, is_replay=True) for n in (1, 2, 3)))
        talk.until("eto.ping")
        talk.send(frames.pong(5))
        talk.to_the_end()

    with RawServer(first, second) as server:
        pool = Pool([server.account()], reconnect=AT_ONCE, timeouts=TimeoutPolicy(replay=0.1, logout=0.05))
        record = Record(pool)
        with pool:
            record.wait("member.up", 2)
            assert record.names(only="member.") == [
                "member.recovering",
                "member.up",
                "member.gap",
                "member.recovering",
                "member.gap",
                "member.down",
                "member.recovering",
                "member.up",
            ]
            assert [d.message for d in record.of("member.gap")] == [
                MemberGap("stream", 4, 4, recoverable=True),
                MemberGap("stream", 4, 5, recoverable=False),
            ]
            error = record.of("member.down")[0].message.error
            assert isinstance(error, SequenceGapError) and error.first == 4
            assert asked[0].account_sequence_64 == 1
            assert record.numbers() == [1, 2, 3]


# --- the account's numbers ----------------------------------------------------------------------------


def test_a_hole_in_the_account_is_announced_with_its_bounds_before_the_next_event():
    """The exchange remembers only two events."""
    with EmbeddedExchange(accounts=1, tls=False, settings=ExchangeSettings(history_limit=2)) as exchange:
        pool = pool_on(exchange)
        record = Record(pool)
        with pool:
            record.wait("member.up")
            execute(exchange, times=3)
            record.wait("seto.order_executed", 3)
            exchange.cut(user(exchange), away=0.05)
            execute(exchange, times=6)
            record.wait("member.up", 2)
            assert record.numbers() == [1, 2, 3, 8, 9]
            gap = record.names().index("member.gap")
            assert record.all[gap].message == MemberGap("account", 4, 7, recoverable=False)
            assert record.all[gap + 1].account_sequence == 8
            assert pool["alice"].stats()["holes_total"] == 1


def test_an_exchange_without_any_history_cannot_keep_the_member_from_going_on():
    """The resume brings nothing, so the second look at the same hole announces it instead of resuming."""
    with EmbeddedExchange(accounts=1, tls=False, settings=ExchangeSettings(history_limit=0)) as exchange:
        pool = pool_on(exchange)
        record = Record(pool)
        with pool:
            record.wait("member.up")
            execute(exchange)
            record.wait("seto.order_executed")
            exchange.cut(user(exchange), away=0.05)
            execute(exchange, times=2)
            record.wait("member.up", 2)
            execute(exchange)  # number 4: asks for 2 and 3 once more, in vain
            record.wait("member.up", 3)
            execute(exchange, times=2)
            record.wait("seto.order_executed", 3)
            assert record.numbers() == [1, 5, 6]
            assert [d.message for d in record.of("member.gap")] == [
                MemberGap("account", 2, 4, recoverable=False)
            ]
            assert len(record.of("member.up")) == 3


def test_an_exchange_that_lost_its_state_is_announced_as_regressed():
    """Its counter is below ours, and the event is live: it is delivered after the announcement."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        runtime.ends[0].say(*[execution(number) for number in range(1, 6)])
        runtime.settle()
        runtime.ends[0].hang_up()
        runtime.advance(1)
        assert runtime.ends[1].logins[0].account_sequence_64 == 5
        runtime.ends[1].say(execution(1))
        runtime.settle()
        assert record.numbers("m0") == [1, 2, 3, 4, 5, 1]
        assert record.all[-2].message == MemberGap("regressed", 1, 5, recoverable=False)
        runtime.ends[1].say(execution(2))
        runtime.settle()
        assert record.numbers("m0")[-1] == 2 and len(record.of("member.gap", "m0")) == 1
        assert pool["m0"].position == 2


def test_a_restarted_exchange_with_the_same_logins_is_served_on(exchange):
    """Real sockets: the exchange goes away, and another without its memory takes its port."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        execute(exchange, times=3)
        record.wait("seto.order_executed", 3)
        exchange.stop()
        record.wait("member.down", 2)
        again = EmbeddedExchange(accounts=0, tls=False, port=exchange.port)
        login = exchange.logins[0]
        again.exchange.accounts.add(login.username, login.password)
        again.logins = exchange.logins
        with again:
            record.wait("member.up", 2)
            execute(again)
            record.wait("seto.order_executed", 4)
            assert record.numbers() == [1, 2, 3, 1]
            assert record.of("member.gap")[0].message == MemberGap("regressed", 1, 3, recoverable=False)


def test_a_live_event_too_far_ahead_is_fetched_by_a_resume():
    """The stream had no gap but the account's numbers do: reconnect, resume, in order."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1), execution(4))
        runtime.advance(1)
        error = record.of("member.down", "m0")[0].message.error
        assert (error.first, error.last) == (2, 3)
        assert runtime.ends[1].logins[0].account_sequence_64 == 1
        assert record.numbers("m0") == [1]


def test_the_position_moves_only_after_the_handlers_returned():
    """Neither on arrival nor when the first of two handlers is done."""
    runtime, store = Simulated(), MemoryStore()
    pool = simulated_pool(runtime, store=store)
    go = gevent.event.Event()
    seen = Record()
    pool.add_handler("seto.order_executed", seen)
    pool.add_handler("seto.order_executed", lambda delivery: go.wait())
    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1), execution(2))
        runtime.settle()
        assert seen.numbers("m0") == [1]
        assert pool["m0"].position is None and store.load("m0") is None
        go.set()
        eventually(lambda: pool["m0"].position == 2)
        eventually(lambda: store.load("m0") == Position(2))


def test_the_position_moves_past_an_event_whose_handler_raised():
    """It was handled, badly; bringing it again would not help."""
    runtime = Simulated()
    pool = simulated_pool(runtime)

    @pool.on(seto.OrderExecuted)
    def broken(delivery):
        raise ValueError

    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1))
        runtime.settle()
        assert pool["m0"].position == 1


def test_the_position_moves_without_any_handler_for_the_event():
    """An account that only sends resumes all the same."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1))
        runtime.settle()
        assert pool["m0"].position == 1


def test_events_that_wait_in_the_inbox_over_a_loss_are_handled_once():
    """The resume asks from the last handled one and brings the waiting ones again; they are dropped."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record, go = Record(pool), gevent.event.Event()
    pool.add_handler("seto.order_executed", lambda d: d.account_sequence == 2 and go.wait())
    with pool:
        runtime.settle()
        runtime.ends[0].say(*[execution(number) for number in (1, 2, 3)])
        runtime.settle()
        runtime.ends[0].hang_up()
        runtime.advance(1)
        again = runtime.ends[1]
        assert again.logins[0].account_sequence_64 == 1
        again.say(*[execution(number) for number in (1, 2, 3, 4)], is_replay=True)
        runtime.settle()
        go.set()
        eventually(lambda: len(record.numbers("m0")) == 4)
        assert record.numbers("m0") == [1, 2, 3, 4]


def test_a_loss_while_the_very_first_event_is_being_handled_misses_nothing():
    """No position yet and nothing ever sent, and still the resume asks from that event, once."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record, go = Record(pool), gevent.event.Event()
    pool.add_handler("seto.order_executed", lambda d: d.account_sequence == 11 and go.wait())
    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(11))
        runtime.settle()
        runtime.ends[0].hang_up()
        runtime.advance(1)
        assert runtime.ends[1].logins[0].account_sequence_64 == 10
        runtime.ends[1].say(execution(11), is_replay=True)
        runtime.ends[1].say(execution(12), is_replay=True)
        go.set()
        eventually(lambda: record.numbers("m0") == [11, 12])


def test_a_member_that_saw_nothing_asks_for_nothing_first_and_for_everything_when_it_comes_back():
    """An order of an earlier program may have been executed while the connection was down."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        runtime.ends[0].hang_up()
        runtime.advance(1)
        assert not runtime.ends[0].logins[0].HasField("account_sequence_64")
        assert runtime.ends[1].logins[0].account_sequence_64 == 1


def test_a_member_that_sent_an_order_and_saw_no_event_asks_from_the_start():
    """The order may have been executed while we were away."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        pool["m0"].send(frames.order())
        runtime.ends[0].hang_up()
        runtime.advance(1)
        assert runtime.ends[1].logins[0].account_sequence_64 == 1


def test_an_order_whose_sending_broke_counts_as_sent():
    """It may have left in part or in whole; not asking would miss its executions."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()

        def broken(data: bytes) -> int:
            raise ConnectionError("reset")

        runtime.ends[0].write = broken
        with pytest.raises(ConnectionError):
            pool["m0"].send(frames.order())
        assert pool["m0"].state is DOWN
        runtime.advance(1)
        assert runtime.ends[1].logins[0].account_sequence_64 == 1


def test_a_restart_keeps_in_mind_that_orders_were_sent():
    """The replaced member had no position, and its orders are out."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        pool["m0"].send(frames.order())
        pool.restart("m0")
        runtime.advance(1)
        assert runtime.ends[1].logins[0].account_sequence_64 == 1


# --- what may be sent when ----------------------------------------------------------------------------


def test_recovering_refuses_creates_and_accepts_cancels():
    """Nothing that could make a new exposure on incomplete knowledge."""
    runtime = Simulated(lambda attempt: DEAF)
    pool = simulated_pool(runtime, timeouts=TimeoutPolicy(logout=0.05))
    with pool:
        runtime.settle()
        member = pool["m0"]
        assert member.state is RECOVERING
        with pytest.raises(MemberDown) as refused:
            member.send(frames.order())
        assert (refused.value.account, refused.value.state) == ("m0", "RECOVERING")
        assert "seto.order_create" in str(refused.value)
        for message in (
            seto.OrderCancelReplace(orig_order_id=1, price=1, quantity=1),
            seto.OrderQuantityReduce(order_id=1, new_quantity=1),
        ):
            with pytest.raises(MemberDown):
                member.send(message)
        numbers = [
            member.send(seto.OrderCancel(order_id=1)),
            member.send(seto.OrderCancelAll()),
            member.send(seto.MarketSubscribe(market_id=1)),
            member.send(seto.Settings(cancel_all_on_failure=True)),
        ]
        assert numbers == [3, 4, 5, 6]
        runtime.ends[0].listen()


def test_down_refuses_everything_and_says_why():
    """At once, and nothing is queued over the reconnect."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        runtime.ends[0].hang_up()
        runtime.settle()
        with pytest.raises(MemberDown, match="closed the connection; nothing was sent") as refused:
            pool["m0"].send(seto.OrderCancel(order_id=1))
        assert (refused.value.account, refused.value.state) == ("m0", "DOWN")
        runtime.advance(1)
        assert runtime.ends[1].exchange.inseq == 3  # a login and a ping


def test_a_message_that_cannot_be_sent_costs_nothing():
    """A required field is missing: the caller hears it, the session goes on without a gap."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        with pytest.raises(UsageError, match="market_id"):
            pool["m0"].send(seto.MarketSubscribe())
        with pytest.raises(UsageError):
            pool["m0"].send(seto.Quote(price=1, quantity=1))
        assert pool["m0"].send(seto.MarketSubscribe(market_id=1)) == 3
        assert runtime.ends[0].exchange.inseq == 4


# --- standing wishes ----------------------------------------------------------------------------------


def test_subscriptions_are_renewed_and_ended_ones_are_not(exchange):
    """Whichever way they were made: by ``subscribe`` or by ``send``."""
    first, second, third = exchange.market_ids
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        member = pool["alice"]
        assert member.subscribe(first) == 3
        member.send(seto.MarketSubscribe(market_id=second))
        member.subscribe(seto.MarketSubscribe(market_id=third))
        eventually(lambda: peer_of(exchange).subscriptions == {first, second, third})
        member.unsubscribe(second)
        member.send(seto.MarketUnsubscribe(market_id=third))
        eventually(lambda: peer_of(exchange).subscriptions == {first})
        exchange.cut(user(exchange))
        record.wait("member.up", 2)
        eventually(lambda: peer_of(exchange).subscriptions == {first})
        record.wait("seto.market_quotes", 4)


def test_subscribing_while_down_is_done_at_the_login(exchange):
    """It is a wish, not a message."""
    pool = pool_on(exchange)
    assert pool["alice"].subscribe(exchange.market_ids[0]) is None
    assert pool["alice"].subscribe(exchange.market_ids[1]) is None
    assert pool["alice"].unsubscribe(exchange.market_ids[1]) is None
    record = Record(pool)
    with pool:
        record.wait("seto.market_quotes")
        assert peer_of(exchange).subscriptions == {exchange.market_ids[0]}


def test_subscribe_refuses_what_is_no_subscription(exchange):
    """And, while down, what lacks a required field."""
    pool = pool_on(exchange)
    with pytest.raises(UsageError, match="OrderCancel is neither"):
        pool["alice"].subscribe(seto.OrderCancel(order_id=1))
    with pytest.raises(UsageError, match="market_id"):
        pool["alice"].subscribe(seto.MarketSubscribe())
    pool.stop()


def test_settings_are_renewed_and_the_last_ones_count():
    """Settings come before subscriptions, so that a session is armed before it does anything."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        member = pool["m0"]
        member.subscribe(5)
        member.send(seto.Settings(cancel_all_on_failure=True))
        member.send(seto.Settings(cancel_all_on_failure=False))
        member.send(seto.Settings(cancel_all_on_failure=True))
        runtime.ends[0].hang_up()
        heard = []
        seen = Simulated.session_socket

        def listening(self, settings):
            end = seen(self, settings)
            take = end._take

            def record_and_take(data: bytes) -> None:
                heard.extend(frames.brief(seto.Payload.FromString(p)) for p in frames.cut(data))
                take(data)

            end._take = record_and_take
            return end

        Simulated.session_socket = listening
        try:
            runtime.advance(1)
        finally:
            Simulated.session_socket = seen
        assert heard == ["1 login", "2 settings", "3 market_subscribe", "4 ping"]


def test_cancel_on_failure_arms_each_session(exchange):
    """A cut then cancels the account's resting orders, and the cancellation arrives by resume."""
    pool = pool_on(exchange, each={"cancel_on_failure": True})
    record = Record(pool)
    with pool:
        record.wait("member.up")
        assert record.wait("seto.settings_accepted").message.cancel_all_on_failure
        pool["alice"].send(order(exchange))
        record.wait("seto.order_accepted")
        exchange.cut(user(exchange))
        assert record.wait("seto.order_cancelled").is_replay
        record.wait("seto.settings_accepted", 2)
        assert peer_of(exchange).cancel_on_failure


def test_without_cancel_on_failure_orders_stay(exchange):
    """The default leaves the exchange's default."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        pool["alice"].send(order(exchange))
        record.wait("seto.order_accepted")
        exchange.cut(user(exchange))
        record.wait("member.up", 2)
        assert not record.of("seto.order_cancelled") and not record.of("seto.settings_accepted")


# --- all of it together -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_event_is_handled_once_and_in_order_whatever_goes_wrong(seed):
    """Cuts, drops, skips and logouts by chance; then the handlers' story is compared with the truth."""
    chance = random.Random(seed)
    with EmbeddedExchange(accounts=3, tls=seed == 1) as exchange:
        pool = pool_on(exchange, 3)
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=5)
            for number in range(3):
                execute(exchange, number)
            for _ in range(150):
                number = chance.randrange(3)
                what = chance.random()
                if what < 0.05:
                    exchange.cut(user(exchange, number), inside=chance.random() < 0.5)
                elif what < 0.12:
                    exchange.faults.drop(user(exchange, number), chance.randint(1, 4))
                elif what < 0.19:
                    exchange.faults.skip(user(exchange, number), chance.randint(1, 4))
                elif what < 0.21:
                    exchange.exchange.log_everybody_out(eto.LOGOUT_NONE, exchange.now())
                execute(exchange, number, chance.randint(0, 3))
                if chance.random() < 0.2:
                    waited = gevent.event.Event()
                    pool._runtime.call_later(chance.random() * 0.01, waited.set)
                    waited.wait()
            for number, name in enumerate(("alice", "bob", "carol")):
                exchange.faults.clear()
                execute(exchange, number)  # shows a loss at the very end
                truth = [event.account_sequence for event in exchange.truth.events(user(exchange, number))]
                eventually(lambda name=name, truth=truth: len(record.numbers(name)) >= len(truth))
                assert record.numbers(name) == truth
                events = [d for d in record.all if d.account == name and d.account_sequence]
                assert all(d.message.quantity == d.account_sequence for d in events)
            pool.wait_until_up(timeout=5)
            assert all(d.member is pool[d.account] for d in record.all)


def test_a_replaced_account_object_is_not_needed_for_its_member():
    """``Account`` is a description: two pools in turn may use the same one."""
    runtime = Simulated()
    account = Account("m0", username="m0", password="pw", host="sim")
    for _ in range(2):
        pool = Pool([account], runtime=runtime)
        with pool:
            runtime.settle()
            assert pool["m0"].state is UP


def test_an_order_that_was_withheld_is_announced():
    """The exchange never got it and we did not repeat it so late: the program must know."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        number = pool["m0"].send(frames.order())
        runtime.settle()
        runtime.advance(3)
        exchange = runtime.ends[0].exchange
        runtime.ends[0].push(frames.replay(exchange.outseq, number))
        exchange.memory.outseq += 1
        runtime.settle()
        gap = record.of("member.gap", "m0")[-1].message
        assert (gap.kind, gap.first, gap.recoverable) == ("sent", number, False)
        assert pool["m0"].stats()["withheld_total"] == 1


def test_a_slow_handler_is_named_in_its_delivery_and_in_the_log_at_once(monkeypatch, caplog):
    """The delivery stands behind the very handler it is about; the log line does not."""
    monkeypatch.setattr(inbox, "MAX_FRAMES", 10)
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record, go = Record(pool), gevent.event.Event()

    @pool.on("seto.order_executed")
    def stuck_here(delivery) -> None:
        go.wait()

    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1))
        runtime.settle()
        runtime.ends[0].say(*[execution(number) for number in range(2, 31)])
        runtime.settle()
        named = any("stuck_here" in line.getMessage() for line in caplog.records)
        go.set()
        assert named
        eventually(lambda: record.of("member.slow_handler", "m0"))
        assert "stuck_here" in record.of("member.slow_handler", "m0")[0].message.handler


def test_a_logout_is_confirmed_even_though_the_inbox_was_full(monkeypatch):
    """Reading had stopped; for the confirmation it goes on."""
    monkeypatch.setattr(inbox, "MAX_FRAMES", 10)
    runtime = Simulated()
    pool = simulated_pool(runtime)
    go = gevent.event.Event()
    pool.add_handler("seto.order_executed", lambda delivery: go.wait())
    with pool:
        runtime.settle()
        runtime.ends[0].say(*[execution(number) for number in range(1, 31)])
        runtime.settle()
        pool["m0"].stop()
        runtime.settle()
        assert pool["m0"].logged_out is True
        go.set()


def test_positions_are_saved_under_steady_load_too(monkeypatch):
    """A queue that is never empty must not keep them in memory for ever."""
    monkeypatch.setattr(inbox, "TURN", 5)
    saved = []

    class Noting(MemoryStore):
        def save_many(self, positions) -> None:
            saved.extend(position.account_sequence for _, position in positions)

    runtime = Simulated()
    pool = simulated_pool(runtime, store=Noting())
    pool.add_handler("seto.order_executed", lambda delivery: None)
    with pool:
        runtime.settle()
        runtime.ends[0].say(*[execution(number) for number in range(1, 31)])
        runtime.settle()
        eventually(lambda: len(saved) > 3)
        assert saved == sorted(saved)


def test_a_removed_member_saves_no_more(monkeypatch):
    """Its account may be somebody else's by then."""
    runtime = Simulated()
    store = MemoryStore()
    pool = simulated_pool(runtime, store=store)
    pool.add_handler("seto.order_executed", lambda delivery: None)
    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1))
        runtime.settle()
        member = pool["m0"]
        pool.remove("m0")
        store.forget("m0")
        member.retire()
        assert store.load("m0") is None


def test_a_life_greenlet_that_is_killed_before_it_ran_is_followed_by_the_next_attempt():
    """Neither its body nor a finally would have run."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        for greenlet in list(pool._supervisor._greenlets):
            greenlet.kill(block=False)
        runtime.settle()
        runtime.advance(1)
        assert pool["m0"].state is UP


def test_a_replaced_member_says_where_the_new_one_is():
    """Whoever kept a member over a restart is told to take it from the pool anew."""
    with simulated_pool(Simulated()) as pool:
        former = pool["m0"]
        pool.restart("m0")
        with pytest.raises(MemberDown, match=r"it was replaced: take it from the pool anew, pool\['m0'\]"):
            former.send(seto.OrderCancel(order_id=1))


def test_a_handler_that_ends_the_program_is_no_death():
    """sys.exit() in a handler leaves no line about a greenlet that died."""
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import logging, sys, gevent\n"
        "logging.basicConfig(level=1, stream=sys.stdout)\n"
        "from smarkets_pool import Account, Pool\n"
        "from smarkets_pool.exchange import EmbeddedExchange\n"
        "with EmbeddedExchange(accounts=1) as exchange:\n"
        "    pool = Pool([Account('alice', **exchange.settings_for(0))])\n"
        "    pool.on('member.up')(lambda delivery: sys.exit(7))\n"
        "    with pool:\n"
        "        pool.join()\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert said.returncode == 7
    assert "died" not in said.stdout + said.stderr


def test_another_customer_under_the_same_name_begins_as_a_new_account():
    """An update to another user name asks the exchange for nothing, and the old position is forgotten."""
    store = MemoryStore()
    runtime = Simulated()
    with simulated_pool(runtime, store=store) as pool:
        runtime.ends[0].say(execution(5))
        runtime.settle()
        assert pool["m0"].position == 5
        pool.update("m0", username="somebody else")
        runtime.settle()
        assert pool["m0"].position is None
        assert not runtime.ends[-1].logins[0].HasField("account_sequence_64")
        assert store.load("m0") is None


def test_a_removed_name_given_to_another_customer_begins_as_a_new_account():
    """The position that was kept under the name is not gone on with."""
    store = MemoryStore()
    runtime = Simulated()
    with simulated_pool(runtime, store=store) as pool:
        runtime.ends[0].say(execution(5))
        runtime.settle()
        old = pool["m0"].account
        pool.remove("m0")
        pool.add(
            Account("m0", username="other", password="pw", host=old.settings.host, port=old.settings.port)
        )
        runtime.settle()
        assert not runtime.ends[-1].logins[0].HasField("account_sequence_64")


def test_the_same_customer_goes_on_where_it_was():
    """A new password or token keeps the position."""
    runtime = Simulated()
    with simulated_pool(runtime) as pool:
        runtime.ends[0].say(execution(5))
        runtime.settle()
        pool.update("m0", password="new")
        runtime.settle()
        assert runtime.ends[-1].logins[0].account_sequence_64 == 5


def test_an_update_that_cannot_work_changes_nothing_in_a_running_pool():
    """A CA file that is not there is refused while the old session goes on."""
    with EmbeddedExchange(accounts=1) as exchange:
        pool = Pool([Account("alice", **exchange.settings_for(0))])
        with pool:
            pool.wait_until_up(5)
            member = pool["alice"]
            with pytest.raises(ConfigError, match=r"ca_file '/no/such\.pem' cannot be read"):
                pool.update("alice", ca_file="/no/such.pem")
            assert pool["alice"] is member
            assert member.state is UP


def test_a_restart_that_is_interrupted_connects_anew():
    """Whoever does not want to wait for a handler has an account that lives all the same."""
    with EmbeddedExchange(accounts=1) as exchange:
        pool = Pool([Account("alice", **exchange.settings_for(0))])
        entered, never = gevent.event.Event(), gevent.event.Event()

        @pool.on("member.up")
        def up(delivery) -> None:
            if not entered.is_set():
                entered.set()
                never.wait()

        with pool:
            assert entered.wait(5)
            with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
                pool.restart("alice")
            pool.wait_until_up(5)


def test_a_login_is_not_taken_while_its_account_is_being_updated():
    """Who comes second is refused, and the update goes through."""
    with EmbeddedExchange(accounts=2) as exchange:
        pool = Pool([Account("a", **exchange.settings_for(0))])
        entered, go_on = gevent.event.Event(), gevent.event.Event()

        @pool.on("member.up")
        def up(delivery) -> None:
            if not entered.is_set():
                entered.set()
                go_on.wait()

        with pool:
            assert entered.wait(5)
            login = exchange.logins[1]
            update = gevent.spawn(lambda: pool.update("a", username=login.username, password=login.password))
            eventually(lambda: pool["a"].state is DOWN)
            with pytest.raises(ConfigError, match="are the same login"):
                pool.add(Account("b", **exchange.settings_for(1)))
            go_on.set()
            update.get(timeout=5)
            pool.wait_until_up(5)
            assert pool["a"].account.settings.username == login.username


def test_a_token_function_that_cannot_be_hashed_is_a_token_function():
    """Any callable will do."""

    class Vault:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            return self is other

        def __call__(self) -> str:
            return "a token"

    assert len(Pool([Account("a", token=Vault()), Account("b", token=Vault())])) == 2

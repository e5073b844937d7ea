"""The pool's verbs: registration, filters, members, waiting, and what can be looked at."""

import functools
import json
import subprocess
import sys
import textwrap

import gevent.event
import pytest

from smarkets_pool import (
    DOWN,
    UP,
    Account,
    MemoryStore,
    Pool,
    ReconnectPolicy,
    StopReport,
    TimeoutPolicy,
    eto,
    seto,
)
from smarkets_pool.exceptions import (
    ConcurrentUseError,
    ConfigError,
    InvalidCallbackError,
    NotPatchedError,
    PoolError,
    StoreError,
    UsageError,
)
from smarkets_pool.exchange import EmbeddedExchange
from tests.rig.pooling import (
    SILENCE,
    RawServer,
    Record,
    Simulated,
    Talk,
    execute,
    execution,
    pool_on,
    simulated_pool,
    user,
)
from tests.rig.waiting import eventually


def good(delivery) -> None:
    """A handler that can be called."""


def two(one, other) -> None:
    """Takes too much."""


def keyword(*, message) -> None:
    """A handler for the vendor's client."""


async def later(delivery) -> None:
    """Would never run."""


def lazily(delivery):
    """Would never run either."""
    yield


class Callable_:
    """An instance that hides an async def."""

    async def __call__(self, delivery) -> None:
        pass


BAD_HANDLERS = [
    (None, "not callable"),
    ("print", "not callable"),
    (two, "two(one, other) -> None cannot be called"),
    (keyword, "cannot be called"),
    (lambda: None, "cannot be called"),
    (later, "an async def"),
    (lazily, "a generator"),
    (Callable_(), "an async def"),
    (functools.partial(later), "an async def"),
]


@pytest.fixture
def exchange():
    """Two accounts, plain TCP."""
    with EmbeddedExchange(accounts=2, tls=False) as made:
        yield made


# --- registration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("handler", "text"), BAD_HANDLERS)
def test_a_handler_that_could_never_be_called_is_refused(handler, text):
    """At the registration, as ``InvalidCallbackError`` and ``ValueError``."""
    pool = Pool()
    with pytest.raises(InvalidCallbackError) as refused:
        pool.add_handler("seto.order_executed", handler)
    assert text in str(refused.value) and isinstance(refused.value, ValueError)
    with pytest.raises(InvalidCallbackError):
        pool.add_global_handler(handler)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seto.order_excuted", "did you mean seto.order_executed"),
        ("member.upp", "did you mean member.up"),
        ("order_executed", "did you mean"),
        (seto.Quote, "Quote is no message that arrives by itself"),
        (eto.Payload, "Payload is no message"),
        (int, "stands where a name belongs"),
        (5, "not for 5"),
    ],
)
def test_an_unknown_name_or_class_is_refused_with_near_ones(name, text):
    """Also with the decorator."""
    with pytest.raises(InvalidCallbackError) as refused:
        Pool().on(name)(good)
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("name", "filters", "text"),
    [
        ("seto.order_accepted", {"accounts": []}, "empty"),
        ("seto.order_accepted", {"market_ids": []}, "empty"),
        ("seto.order_accepted", {"accounts": "alice"}, "is a list"),
        ("seto.order_accepted", {"market_ids": 5}, "is a list"),
        ("seto.order_accepted", {"market_ids": ["5"]}, "no int"),
        ("seto.order_accepted", {"accounts": [5]}, "no str"),
        ("seto.order_rejected", {"market_ids": [5]}, "carries no market id"),
        ("member.up", {"market_ids": [5]}, "carries no market id"),
        ("eto.pong", {"market_ids": [5]}, "carries no market id"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(name, filters, text):
    """An empty one would never let anything through."""
    with pytest.raises(InvalidCallbackError) as refused:
        Pool().on(name, **filters)(good)
    assert text in str(refused.value)


def test_start_reports_every_bad_handler_at_once_and_opens_no_socket():
    """Also those whose refusal was swallowed, and filters for accounts that are not there."""
    with RawServer(Talk.to_the_end) as server:
        pool = Pool([server.account("alice")])
        for handler, _ in BAD_HANDLERS[:4]:
            with pytest.raises(InvalidCallbackError):
                pool.add_handler("seto.order_executed", handler)
        with pytest.raises(InvalidCallbackError):
            pool.add_handler("seto.order_excuted", good)
        pool.add_handler("seto.order_executed", good, accounts=["alise"])
        pool.add_handler("member.up", good, accounts=["alice", "zoe"])
        with pytest.raises(InvalidCallbackError) as refused:
            pool.start()
        assert len(refused.value.problems) == 7
        text = str(refused.value)
        assert text.startswith("7 handlers cannot be used: ")
        assert "'alise', and there is no such account; did you mean 'alice'?" in text
        assert "'zoe'" in text
        assert pool["alice"].state is DOWN
        sound = Pool([server.account("bob")], timeouts=TimeoutPolicy(login=0.1))
        with sound:
            eventually(lambda: server.accepted)
        assert server.accepted == 1  # bob's; nobody knocked for alice


def test_a_refused_handler_may_be_taken_back():
    """Then the pool starts."""
    pool = Pool()
    with pytest.raises(InvalidCallbackError):
        pool.add_handler("seto.order_executed", two)
    with pytest.raises(InvalidCallbackError):
        pool.add_global_handler(two)
    pool.off("seto.order_executed", two)
    pool.del_global_handler(two)
    with pool:
        pass


def test_start_reports_bad_settings_and_opens_no_socket():
    """The first account that cannot work is named."""
    with RawServer(Talk.to_the_end) as server:
        pool = Pool([server.account("alice"), Account("bob", username="bob", host="h")])
        with pytest.raises(ConfigError, match="account 'bob': no password"):
            pool.start()
        assert not server.accepted


def test_a_store_that_cannot_be_read_keeps_the_pool_from_starting():
    """No account is left running behind the error."""

    class Broken(MemoryStore):
        def load(self, account: str):
            if account == "m1":
                raise StoreError("locked")

    runtime = Simulated()
    pool = simulated_pool(runtime, 3, store=Broken())
    with pytest.raises(StoreError, match="locked"):
        pool.start()
    runtime.settle()
    assert not runtime.attempts


# --- who gets what ---------------------------------------------------------------------------------


def test_handlers_are_called_in_the_order_of_registration_and_global_ones_last():
    """Whichever way they were registered."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    called = []
    pool.add_global_handler(lambda d: called.append("everything") if d.account_sequence else None)
    pool.on("seto.order_executed")(lambda d: called.append("name"))
    pool.on(seto.OrderExecuted)(lambda d: called.append("class"))
    pool.add_handler("seto.order_executed", lambda d: called.append("filtered"), accounts=["m0"])
    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1))
        runtime.settle()
    assert called == ["name", "class", "filtered", "everything"]


def test_an_accounts_filter_lets_only_these_through():
    """Lifecycle deliveries too."""
    runtime = Simulated()
    pool = simulated_pool(runtime, 3)
    seen = Record()
    pool.add_handler("seto.order_executed", seen, accounts=["m1", "m2"])
    pool.add_handler("member.up", seen, accounts=["m1"])
    with pool:
        runtime.settle()
        for end in runtime.ends:
            end.say(execution(1))
        runtime.settle()
    assert sorted((d.account, d.name) for d in seen.all) == [
        ("m1", "member.up"),
        ("m1", "seto.order_executed"),
        ("m2", "seto.order_executed"),
    ]


def test_a_market_filter_lets_these_and_absent_ids_through():
    """An optional market id that is absent passes: it may be about any of them."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    seen = Record()
    pool.add_handler("seto.order_cancelled", seen, market_ids=[5, 6])
    with pool:
        runtime.settle()
        for number, market_id in enumerate((4, 5, None, 6, 7), start=1):
            message = seto.OrderCancelled(
                reason=seto.ORDER_CANCELLED_MEMBER_REQUESTED, order_id=1, account_sequence_64=number
            )
            if market_id is not None:
                message.market_id = market_id
            runtime.ends[0].say(message)
        runtime.settle()
    assert seen.numbers("m0") == [2, 3, 4]


def test_void_executions_have_their_own_name():
    """``seto.OrderExecutedVoid`` is ``seto.order_execute_voided``."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    seen = Record()
    pool.on(seto.OrderExecutedVoid)(seen)
    with pool:
        runtime.settle()
        runtime.ends[0].say(seto.OrderExecutedVoid(price=1, quantity=2, order_id=3, account_sequence_64=1))
        runtime.settle()
    assert [(d.name, type(d.message)) for d in seen.all] == [
        ("seto.order_execute_voided", seto.OrderExecutedVoid)
    ]


def test_eto_payloads_without_a_member_have_no_message():
    """A pong, say; and one with a member has it."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    seen = Record()
    pool.on("eto.pong")(seen)
    pool.on("eto.login_response")(seen)
    with pool:
        runtime.settle()
    response, pong = seen.all
    assert isinstance(response.message, eto.LoginResponse) and pong.message is None


def test_handlers_come_and_go_while_the_pool_runs():
    """Also from inside a handler: the delivery under way is not disturbed."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    called = []

    def once(delivery) -> None:
        called.append(("once", delivery.account_sequence))
        pool.off("seto.order_executed", once)
        pool.add_handler("seto.order_executed", after)

    def after(delivery) -> None:
        called.append(("after", delivery.account_sequence))

    pool.add_handler("seto.order_executed", once)
    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1), execution(2))
        runtime.settle()
        pool.del_handler("seto.order_executed", after)
        runtime.ends[0].say(execution(3))
        runtime.settle()
    assert called == [("once", 1), ("after", 2)]
    with pytest.raises(InvalidCallbackError, match="was not registered"):
        pool.off("seto.order_executed", once)


def test_a_dispatcher_may_be_filled_before_there_is_a_pool():
    """``Pool.new_dispatcher()`` knows the same names."""
    dispatcher = Pool.new_dispatcher()
    seen = Record()
    dispatcher.add("member.up", seen)
    runtime = Simulated()
    pool = simulated_pool(runtime, dispatcher=dispatcher)
    with pool:
        runtime.settle()
    assert [d.name for d in seen.all] == ["member.up"]


# --- members ---------------------------------------------------------------------------------------


def test_a_pool_is_a_collection_of_its_members():
    """By name, iteration, length, membership."""
    pool = simulated_pool(Simulated(), 3)
    assert len(pool) == 3 and "m1" in pool and "m9" not in pool
    assert [m.account.name for m in pool] == ["m0", "m1", "m2"]
    with pytest.raises(KeyError, match="no account is called 'm9' in this pool"):
        pool["m9"]
    assert repr(pool) == "<Pool 0 of 3 up>"
    assert repr(pool["m1"]) == "<Member 'm1' DOWN: not started>"


def test_accounts_may_be_added_and_removed_while_the_pool_runs():
    """A new one connects at once, a removed one is logged out and forgotten."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        added = pool.add(Account("new", username="new", password="pw", host="sim"))
        runtime.settle()
        assert added is pool["new"] and added.state is UP
        pool.remove("m0")
        assert list(pool) == [added]
        assert runtime.ends[0].exchange.state.name == "CLOSED"
        runtime.advance(100)
        assert len(runtime.attempts) == 2
        assert record.names("new", only="member.")[:2] == ["member.recovering", "member.up"]
        with pytest.raises(KeyError):
            pool.remove("m0")


def test_a_bad_account_is_not_added_to_a_running_pool():
    """And changes nothing."""
    with simulated_pool(Simulated()) as pool:
        with pytest.raises(ConfigError):
            pool.add(Account("new", username="new", host="sim"))
        with pytest.raises(ConfigError, match="made of Account objects"):
            pool.add("new")
        assert len(pool) == 1


def test_a_name_or_a_login_twice_is_refused():
    """Two sessions of one login would get in each other's way; at another host it is another login."""
    first = Account("alice", username="a", password="1", host="h")
    with pytest.raises(ConfigError, match="two accounts are called 'alice'"):
        Pool([first, Account("alice", username="b", password="1", host="h")])
    with pytest.raises(ConfigError, match="'alice' and 'again' are the same login 'a' at h:3801"):
        Pool([first, Account("again", username="a", password="2", host="h")])
    Pool([first, Account("again", username="a", password="1", host="other")])


def test_update_and_restart_lift_a_quarantine(exchange):
    """A wrong password is final until it is changed; a restart tries the old one again."""
    pool = pool_on(exchange, each={"password": "wrong"})
    record = Record(pool)
    with pool:
        record.wait("member.down")
        pool.restart("alice")
        record.wait("member.down", 2)
        assert pool["alice"].given_up
        pool.update("alice", password=exchange.logins[0].password)
        pool.wait_until_up(timeout=5)
        assert pool["alice"].given_up is None
        assert pool["alice"].account.settings.username == user(exchange)


def test_a_bad_update_leaves_everything_as_it_was():
    """The old settings go on."""
    runtime = Simulated()
    pool = simulated_pool(runtime, 2)
    with pool:
        runtime.settle()
        for changes in ({"port": 0}, {"nonsense": 1}, {"username": "m1", "port": 2}):
            with pytest.raises(ConfigError):
                pool.update("m0", **changes)
        assert pool["m0"].state is UP and len(runtime.attempts) == 2


def test_a_restart_keeps_position_and_subscriptions(exchange):
    """Nothing is missed and nothing comes twice."""
    pool = pool_on(exchange)
    record = Record(pool)
    with pool:
        record.wait("member.up")
        pool["alice"].subscribe(exchange.market_ids[0])
        execute(exchange, times=2)
        record.wait("seto.order_executed", 2)
        pool.restart("alice")
        execute(exchange, times=2)
        record.wait("seto.order_executed", 4)
        assert record.numbers() == [1, 2, 3, 4]
        record.wait("seto.market_quotes", 2)


def test_a_handler_cannot_replace_its_own_account_but_a_greenlet_of_its_can():
    """What it has in hand counts as handled when it returns; the new member begins after that."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record, refused = Record(pool), []

    @pool.on("seto.order_executed")
    def restart(delivery) -> None:
        try:
            pool.restart("m0")
        except UsageError as error:
            refused.append(str(error))
            gevent.spawn(pool.restart, "m0")

    with pool:
        runtime.settle()
        former = pool["m0"]
        runtime.ends[0].say(execution(1))
        runtime.settle()
        eventually(lambda: pool["m0"] is not former and pool["m0"].state is UP)
        assert "gevent.spawn(pool.restart, name)" in refused[0]
        assert record.numbers("m0") == [1]


@pytest.mark.parametrize("second", ["restart", "remove", "update"])
def test_two_changes_of_one_account_at_once_are_refused(second):
    """Two members of one login would be left, and every event handled twice."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.settle()
        first = gevent.spawn(pool.restart, "m0")
        gevent.sleep(0)
        with pytest.raises(ConcurrentUseError, match="'m0' is being removed, updated or restarted"):
            getattr(pool, second)("m0")
        first.get(timeout=5)
        runtime.settle()
        runtime.ends[-1].say(execution(1))
        runtime.settle()
        assert len(pool) == 1 and record.numbers("m0") == [1]


def test_another_threads_call_is_refused_before_anything_is_done(monkeypatch):
    """Sockets and greenlets belong to the hub of the thread that made the pool."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr("smarkets_pool.pool.runtime._thread_id", lambda: -1)
            for call in (lambda: pool.restart("m0"), lambda: pool.remove("m0"), lambda: Pool.stop(pool)):
                with pytest.raises(UsageError, match="belongs to the thread"):
                    call()
        assert pool["m0"].state is UP


def test_on_without_parentheses_is_refused():
    """The function would be taken for a name and silently never be called."""
    pool = simulated_pool(Simulated())
    with pytest.raises(InvalidCallbackError, match="stands where a name belongs"):

        @pool.on
        def handler(delivery) -> None: ...


def test_on_checks_the_name_before_there_is_a_function():
    """A decorator that was never applied is found by start() too."""
    pool = simulated_pool(Simulated())
    with pytest.raises(InvalidCallbackError, match="did you mean seto"):
        pool.on("seto.order_exeucted")
    with pytest.raises(InvalidCallbackError, match="order_exeucted"):
        pool.start()


@pytest.mark.parametrize("name", ["seto.order_create", seto.OrderCreate, "seto.login", seto.MarketSubscribe])
def test_what_only_we_send_is_no_name_to_register_for(name):
    """It never arrives."""
    pool = simulated_pool(Simulated())
    with pytest.raises(InvalidCallbackError, match="is what we send, so it never arrives"):
        pool.on(name)


def test_an_unknown_account_in_a_running_pool_is_refused_at_once():
    """start() is over; nobody else would say it."""
    pool = simulated_pool(Simulated())
    with pool, pytest.raises(InvalidCallbackError, match="there is no such account; did you mean 'm0'"):
        pool.add_handler("member.up", print, accounts=["m00"])


@pytest.mark.parametrize("message", [seto.Login(), seto.OrderAccepted(seq=1, order_id=1)])
def test_what_no_client_asks_of_an_exchange_is_not_sent(message):
    """The exchange would end the session over it."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        with pytest.raises(UsageError, match="not what a client asks"):
            pool["m0"].send(message)


def test_joining_a_pool_that_does_not_run_is_refused():
    """It would wait for ever."""
    with pytest.raises(UsageError, match=r"call start\(\) first"):
        simulated_pool(Simulated()).join()


def test_one_account_is_not_taken_for_a_list():
    """The error shows the list to write."""
    with pytest.raises(ConfigError, match=r"Pool\(\["):
        Pool(Account("m0", username="u", password="p"))


def test_two_pools_in_turn_resume_from_a_shared_store(exchange):
    """The second asks from where the first one's handlers stopped."""
    store = MemoryStore()
    for expected in ([1, 2], [3, 4, 5]):
        pool = pool_on(exchange, store=store)
        record = Record(pool)
        with pool:
            record.wait("member.up")
            execute(exchange, times=2)
            record.wait("seto.order_executed", len(expected))
            assert record.numbers() == expected
        execute(exchange)  # while no pool is there


def test_a_failing_store_costs_neither_deliveries_nor_the_stop():
    """The position is saved as soon as the store works again."""

    class Flaky(MemoryStore):
        broken = True

        def save_many(self, positions) -> None:
            if self.broken:
                raise StoreError("disk full")
            super().save_many(positions)

    runtime, store = Simulated(), Flaky()
    pool = simulated_pool(runtime, store=store)
    record = Record(pool)
    with pool:
        runtime.settle()
        runtime.ends[0].say(execution(1))
        runtime.settle()
        runtime.ends[0].say(execution(2))
        runtime.settle()
        assert record.numbers("m0") == [1, 2]
        assert pool.stats()["greenlet_deaths_total"] == 0
        store.broken = False
    assert store.load("m0").account_sequence == 2


# --- waiting ---------------------------------------------------------------------------------------


def test_wait_until_up_returns_when_all_are_up():
    """And at once when they already are; a pool of nobody is up."""
    runtime = Simulated()
    pool = simulated_pool(runtime, 5)
    with pool:
        pool.wait_until_up(timeout=5)
        pool.wait_until_up(timeout=0)
    empty = Pool()
    with empty:
        empty.wait_until_up()


def test_wait_until_up_names_each_account_and_reason_when_time_is_over(exchange):
    """Those that are up are not named."""
    exchange.faults.refuse_login(user(exchange))
    pool = pool_on(exchange, 2)
    with pool, pytest.raises(PoolError) as failed:
        pool.wait_until_up(timeout=0.2)
    assert list(failed.value.reasons) == ["alice"]
    assert "1 of 2 accounts were not up after 0.2 s" in str(failed.value)
    assert "LOGOUT_SERVICE_TEMPORARILY_UNAVAILABLE" in str(failed.value)


def test_wait_until_up_of_a_pool_that_does_not_run_says_so():
    """Before the start, and after the stop."""
    pool = simulated_pool(Simulated())
    with pytest.raises(PoolError, match="not started and 1 of 1 accounts are not up"):
        pool.wait_until_up()
    with pool:
        pass
    with pytest.raises(PoolError, match="is stopping and 1 of 1"):
        pool.wait_until_up()


def test_many_may_wait_at_once():
    """For UP and for the end; everybody is woken."""
    runtime = Simulated()
    pool = simulated_pool(runtime, 2)
    woken = []
    with pool:
        waiters = [
            gevent.spawn(lambda n=n: (pool.wait_until_up(timeout=5), woken.append(n))) for n in range(10)
        ]
        joiners = [gevent.spawn(lambda: woken.append(pool.join(timeout=5))) for _ in range(3)]
        gevent.joinall(waiters, timeout=5)
        assert sorted(woken) == list(range(10))
    gevent.joinall(joiners, timeout=5)
    assert woken[10:] == [True] * 3


def test_a_stop_wakes_those_who_wait_until_up():
    """With an error, since it will not come."""
    pool = simulated_pool(Simulated(lambda attempt: SILENCE))
    pool.start()
    waiting = gevent.spawn(pool.wait_until_up)
    pool._runtime.settle()
    pool.stop()
    with pytest.raises(PoolError, match="stopping"):
        waiting.get(timeout=5)


def test_join_ends_when_every_account_is_given_up():
    """And not before; a timeout gives False."""
    runtime = Simulated(lambda attempt: int(eto.LOGOUT_UNAUTHORISED) if attempt < 3 else None)
    pool = simulated_pool(runtime, 2)
    with pool:
        assert pool.join(timeout=5)
    running = simulated_pool(Simulated())
    with running:
        running._runtime.settle()
        assert not running.join(timeout=0)


# --- looking ---------------------------------------------------------------------------------------


def test_stats_are_plain_data(exchange):
    """Whatever happened, ``json`` can write it; and sums are sums."""
    pool = pool_on(exchange, 2)
    record = Record(pool)

    @pool.on("seto.order_executed")
    def broken(delivery) -> None:
        raise ValueError

    json.dumps(pool.stats())
    with pool:
        pool.wait_until_up(timeout=5)
        execute(exchange, 0, 2)
        record.wait("seto.order_executed", 2)
        exchange.cut(user(exchange, 1))
        record.wait("member.down", account="bob")
        json.dumps(pool.stats(), allow_nan=False)
        record.wait("member.up", 2, account="bob")
        stats = json.loads(json.dumps(pool.stats()))
        assert (stats["up"], stats["recovering"], stats["down"]) == (2, 0, 0)
        alice, bob = stats["members"]["alice"], stats["members"]["bob"]
        assert (alice["logins_total"], bob["logins_total"], stats["logins_total"]) == (1, 2, 3)
        assert alice["handler_errors_total"] == 2 and alice["position"] == 2
        assert alice["frames_received_total"] >= 5 and alice["last_frame_age_seconds"] >= 0
        assert bob["disconnects_total"] == stats["disconnects_total"] == 1
        assert stats["governor"]["admitted_total"] == 3
    json.dumps(pool.stats())


def test_a_given_up_account_says_so_in_the_stats():
    """With the reason."""
    runtime = Simulated(lambda attempt: int(eto.LOGOUT_UNAUTHORISED))
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        member = pool.stats()["members"]["m0"]
        assert member["state"] == "DOWN" and "UNAUTHORISED" in member["given_up"]
        assert member["retry_in_seconds"] is None and member["login_failures_total"] == 1


# --- an unpatched process --------------------------------------------------------------------------


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_unpatched_process_is_refused():
    """Its sockets would block everybody; the text says what to put where."""
    said = run(
        """
        from smarkets_pool import Account, Pool
        from smarkets_pool.exceptions import NotPatchedError
        pool = Pool([Account("a", username="u", password="p", host="127.0.0.1", port=1, ssl=False)])
        try:
            pool.start()
        except NotPatchedError as error:
            print(error)
        """
    )
    assert "socket.socket is <class 'socket.socket'>" in said
    assert "from gevent import monkey; monkey.patch_all()" in said


def test_a_context_made_before_patching_is_refused():
    """``is_module_patched`` would say yes, and the context would block all the same."""
    said = run(
        """
        import ssl
        early = ssl.create_default_context()
        from gevent import monkey; monkey.patch_all()
        from smarkets_pool import Account, Pool
        from smarkets_pool.exceptions import NotPatchedError
        account = Account("a", username="u", password="p", host="127.0.0.1", port=1, ssl_context=early)
        for begin in (lambda: Pool([account]).start(), lambda: add()):
            try:
                begin()
            except NotPatchedError as error:
                print(error)
            except NameError:
                pool = Pool()
                pool.start()
                try:
                    pool.add(account)
                except NotPatchedError as error:
                    print("added:", error, len(pool))
        """
    )
    first, second = said.splitlines()
    assert "the TLS context for 127.0.0.1 is a ssl.SSLContext, made before monkey-patching" in first
    assert second.startswith("added:") and second.endswith(" 0")


def test_importing_before_patching_is_fine():
    """The front door is lazy, so the first lines of a program may be in either order."""
    said = run(
        """
        import smarkets_pool
        from gevent import monkey; monkey.patch_all()
        from smarkets_pool import Account, Pool
        account = Account("a", username="u", password="p", host="127.0.0.1", port=1)
        with Pool([account]):
            print("started")
        """
    )
    assert said == "started\n"


def test_a_foreign_context_is_refused_in_this_process_too():
    """The class counts, not the time."""

    class Foreign:
        pass

    pool = Pool([Account("a", username="u", password="p", host="h", ssl_context=Foreign())])
    with pytest.raises(NotPatchedError, match="Foreign"):
        pool.start()


# --- settings --------------------------------------------------------------------------------------


def test_settings_are_given_once():
    """Either ready or as single arguments."""
    from smarkets_pool.session.settings import SessionSettings

    ready = SessionSettings("u", "p")
    assert Account("a", settings=ready).settings is ready
    with pytest.raises(ConfigError, match="has settings=, so host must go into them"):
        Account("a", settings=ready, host="h")
    with pytest.raises(ConfigError, match="nonsense"):
        Account("a", nonsense=1)
    for name in ("", None, 5):
        with pytest.raises(ConfigError, match="non-empty text"):
            Account(name, settings=ready)


def test_a_pool_is_not_started_twice():
    """Neither while it runs nor after it stopped."""
    pool = simulated_pool(Simulated())
    with pool, pytest.raises(UsageError):
        pool.start()
    with pytest.raises(UsageError):
        pool.start()
    unborn = simulated_pool(Simulated())
    assert unborn.stop() == StopReport(0.0, (), (), {}, ())
    with pytest.raises(UsageError):
        unborn.start()
    with pytest.raises(UsageError, match="'late' cannot be added"):
        unborn.add(Account("late", username="l", password="p", host="h"))
    assert ReconnectPolicy() == unborn._reconnect

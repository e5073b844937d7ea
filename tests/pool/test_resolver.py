"""A pool's lookups: shared, off the hub, and nobody suffers for another's."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event
import gevent.monkey
import pytest

from smarkets_pool import Account, Pool, TimeoutPolicy
from smarkets_pool.exceptions import ConnectionError, ConnectTimeout
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.pool.resolver import Resolver
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.session.addresses import Address
from tests.rig.pooling import AT_ONCE, Record
from tests.rig.waiting import eventually

HOST, PORT = "exchange.example", 3801
FOUND: list[Address] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", PORT))]


@pytest.fixture(autouse=True)
def in_bounds() -> Iterator[None]:
    """Nobody waits for ever for an answer."""
    with gevent.Timeout(30, AssertionError("somebody still waits")):
        yield


class Directory:
    """Lookups that take until ``answer`` or ``fail``; they are counted, and so are those that ended."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self._answer: gevent.event.AsyncResult[list[Address]] = gevent.event.AsyncResult()

    def look_up(self, host: str, port: int) -> list[Address]:
        self.asked.append((host, port))
        return self._answer.get()

    def answer(self, found: list[Address]) -> None:
        """Answer the lookups under way and all that come."""
        self._answer.set(found)

    def fail(self, error: Exception) -> None:
        """The same with an error."""
        self._answer.set_exception(error)


def all_waiting(
    resolver: Resolver, directory: Directory, count: int
) -> list[gevent.Greenlet[..., list[Address]]]:
    """So many greenlets that have asked for the same name; the first one's lookup is under way."""
    asking = [gevent.spawn(resolver.resolve, HOST, PORT) for _ in range(count)]
    eventually(lambda: directory.asked)
    gevent.sleep(0)
    return asking


def outcomes(greenlets: list[gevent.Greenlet[..., Any]]) -> list[Any]:
    """What each greenlet returned or raised."""
    gevent.joinall(greenlets)
    return [greenlet.value if greenlet.successful() else greenlet.exception for greenlet in greenlets]


# --- shared -----------------------------------------------------------------------------------------


def test_a_thousand_ask_and_one_lookup_is_made() -> None:
    """Whoever comes while a lookup is under way gets its answer."""
    directory = Directory()
    resolver = Resolver(directory.look_up)
    asking = all_waiting(resolver, directory, 1000)
    directory.answer(FOUND)
    assert outcomes(asking) == [FOUND] * 1000
    assert directory.asked == [(HOST, PORT)]


def test_an_answer_is_not_kept() -> None:
    """Who comes later asks again: addresses change, and the system has a cache of its own."""
    directory = Directory()
    resolver = Resolver(directory.look_up)
    directory.answer(FOUND)
    assert resolver.resolve(HOST, PORT) == FOUND
    assert resolver.resolve(HOST, PORT) == FOUND
    assert len(directory.asked) == 2


def test_other_places_are_other_lookups() -> None:
    """Another name or port does not wait for this one."""
    directory = Directory()
    resolver = Resolver(directory.look_up)
    places = [(HOST, PORT), ("other.example", PORT), (HOST, 443)]
    asking = [gevent.spawn(resolver.resolve, *place) for place in places]
    eventually(lambda: len(directory.asked) == 3)
    directory.answer(FOUND)
    outcomes(asking)
    assert sorted(directory.asked) == sorted(places)


@pytest.mark.parametrize(
    "error",
    [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), UnicodeError("label too long")],
    ids=["unknown", "impossible"],
)
def test_an_error_is_everybodys(error: Exception) -> None:
    """A name that does not exist does not exist for any of them; nothing of it stays."""
    directory = Directory()
    resolver = Resolver(directory.look_up)
    asking = all_waiting(resolver, directory, 50)
    directory.fail(error)
    assert outcomes(asking) == [error] * 50
    assert len(directory.asked) == 1
    with pytest.raises(type(error)):
        resolver.resolve(HOST, PORT)
    assert len(directory.asked) == 2


# --- interrupted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [lambda: gevent.Timeout(1), gevent.GreenletExit, KeyboardInterrupt], ids=["timeout", "kill", "^C"]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_leader_that_is_interrupted_takes_nobody_along(
    how: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit is its own: one of the others looks up, and all of them get the answer."""
    monkeypatch.setattr(gevent.get_hub(), "SYSTEM_ERROR", ())  # a Ctrl-C here is not for this process
    directory = Directory()
    resolver = Resolver(directory.look_up)
    leader, *followers = all_waiting(resolver, directory, 100)
    error = how()
    leader.kill(error, block=False)
    eventually(lambda: len(directory.asked) == 2)
    directory.answer(FOUND)
    assert outcomes(followers) == [FOUND] * 99
    assert directory.asked == [(HOST, PORT)] * 2
    assert outcomes([leader]) != [FOUND]


def test_one_leader_after_the_other_may_be_interrupted() -> None:
    """However many leaders end, the rest is served, and by one lookup at a time."""
    directory = Directory()
    resolver = Resolver(directory.look_up)
    asking = all_waiting(resolver, directory, 10)
    for lookups in range(1, 10):
        eventually(lambda count=lookups: len(directory.asked) == count)
        # Whoever waits for the directory itself is the leader now.
        leader = asking[lookups - 1]
        leader.kill(gevent.Timeout(1))
        assert isinstance(leader.exception, gevent.Timeout)
    eventually(lambda: len(directory.asked) == 10)
    directory.answer(FOUND)
    assert outcomes(asking[-1:]) == [FOUND]


def test_a_follower_that_is_interrupted_leaves_the_rest_alone() -> None:
    """Only the one that looks up holds the others' answer."""
    directory = Directory()
    resolver = Resolver(directory.look_up)
    asking = all_waiting(resolver, directory, 3)
    asking[1].kill(gevent.Timeout(1))
    assert isinstance(asking[1].exception, gevent.Timeout)
    directory.answer(FOUND)
    assert outcomes([asking[0], asking[2]]) == [FOUND] * 2
    assert len(directory.asked) == 1


# --- off the hub ------------------------------------------------------------------------------------


class NativeEvent:
    """An event for the operating system's threads, not for greenlets."""

    def __init__(self) -> None:
        self._lock = gevent.monkey.get_original("_thread", "allocate_lock")()
        self._lock.acquire()

    def set(self) -> None:
        """Let every waiter go on."""
        self._lock.release()

    def wait(self) -> bool:
        """Block the thread; whether it was set in time."""
        come = self._lock.acquire(True, 20)
        if come:
            self._lock.release()
        return bool(come)


def blocking(release: NativeEvent, found: list[Address]) -> Callable[..., list[Address]]:
    """A lookup that blocks a real thread, as the system's does, until ``release`` is set."""

    def wait() -> list[Address]:
        assert release.wait()
        return found

    return lambda *_, **__: gevent.get_hub().threadpool.apply(wait)


def test_the_loop_turns_while_a_lookup_blocks() -> None:
    """The system's call waits in a thread; greenlets run meanwhile, timers fire."""
    release = NativeEvent()
    resolver = Resolver(blocking(release, FOUND))
    asking = [gevent.spawn(resolver.resolve, HOST, PORT) for _ in range(20)]
    for _ in range(50):
        gevent.sleep(0.0001)
    assert not any(greenlet.dead for greenlet in asking)
    release.set()
    assert outcomes(asking) == [FOUND] * 20


def test_a_lookup_is_the_hubs_and_not_the_systems_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where ``socket`` was patched without its names, a pool asks gevent's resolver."""
    release = NativeEvent()

    def never(*_: object, **__: object) -> list[Address]:
        raise AssertionError("the system's own call was made")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(gevent.get_hub().resolver, "getaddrinfo", blocking(release, FOUND))
    asking = gevent.spawn(Resolver().resolve, HOST, PORT)
    gevent.sleep(0.001)
    assert not asking.dead
    release.set()
    assert asking.get() == FOUND


def test_a_process_whose_waits_would_block_is_refused() -> None:
    """Patched but for ``select``, every connection attempt of a member would stop all the others."""
    program = """
        from gevent import monkey; monkey.patch_all(select=False)
        from smarkets_pool import Account, Pool
        from smarkets_pool.exceptions import NotPatchedError
        try:
            Pool([Account("a", username="u", password="p", host="127.0.0.1", port=1)]).start()
        except NotPatchedError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "select.poll is <built-in function poll> and would block the process: put " in done.stdout


# --- in a pool --------------------------------------------------------------------------------------


class Resolving(Runtime):
    """The real runtime, except for how names are looked up."""

    def __init__(self, look_up: Callable[[str, int], list[Address]]) -> None:
        super().__init__()
        self._resolver = Resolver(look_up)


def accounts_at(exchange: EmbeddedExchange, count: int, host: str) -> list[Account]:
    """Accounts that find the exchange by a name."""
    return [
        Account(f"m{number}", **{**exchange.settings_for(number), "host": host}) for number in range(count)
    ]


def test_a_pool_connects_to_a_name() -> None:
    """``localhost`` is looked up, raced over its families, and checked against the certificate."""
    with EmbeddedExchange(accounts=3) as exchange, Pool(accounts_at(exchange, 3, "localhost")) as pool:
        pool.wait_until_up(timeout=10)
        assert [member.given_up for member in pool] == [None] * 3


def test_a_whole_pool_makes_one_lookup() -> None:
    """However many members ask together, as at the start or after an outage."""
    count = 60
    with EmbeddedExchange(accounts=count, tls=False) as exchange:
        directory = Directory()
        runtime = Resolving(directory.look_up)
        with Pool(accounts_at(exchange, count, HOST), reconnect=AT_ONCE, runtime=runtime) as pool:
            eventually(lambda: sum(member.stats()["connection_number"] for member in pool) == count)
            directory.answer([(socket.AF_INET, socket.SOCK_STREAM, 6, "", (exchange.host, exchange.port))])
            pool.wait_until_up(timeout=20)
            assert len(directory.asked) == 1


def test_a_hanging_lookup_is_its_own_members_matter() -> None:
    """The limit over connecting holds for the lookup too; members with another host come up meanwhile."""
    with EmbeddedExchange(accounts=3) as exchange:
        release = NativeEvent()
        hangs = blocking(release, [])

        def look_up(host: str, port: int) -> list[Address]:
            if host == "localhost":
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (exchange.host, exchange.port))]
            return hangs(host, port)

        slow = TimeoutPolicy(connect=0.05)
        first, second, third = accounts_at(exchange, 3, "localhost")
        for account in (second, third):
            account.settings.host, account.timeouts = "hanging.example", slow
        pool = Pool([first, second, third], reconnect=AT_ONCE, runtime=Resolving(look_up))
        record = Record(pool)
        try:
            with pool:
                record.wait("member.up", account="m0")
                for name in ("m1", "m2"):
                    down = record.wait("member.down", 3, account=name).message
                    assert isinstance(down.error, ConnectTimeout)
                    assert "no connection to hanging.example" in down.reason
                    assert down.retry_in is not None
                assert record.names("m0", only="member.down") == []
        finally:
            release.set()
        # The threads that were left waiting are given back.
        eventually(lambda: gevent.get_hub().threadpool.task_queue.unfinished_tasks == 0)


def test_a_name_that_does_not_exist_is_tried_again() -> None:
    """DNS fails now and then: that is no reason to give an account up."""
    answers: list[Any] = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")]

    def look_up(host: str, port: int) -> list[Address]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    with EmbeddedExchange(accounts=1, tls=False) as exchange:
        answers.append([(socket.AF_INET, socket.SOCK_STREAM, 6, "", (exchange.host, exchange.port))])
        pool = Pool(accounts_at(exchange, 1, HOST), reconnect=AT_ONCE, runtime=Resolving(look_up))
        record = Record(pool)
        with pool:
            record.wait("member.up", account="m0")
        (down,) = record.of("member.down", "m0")
        assert isinstance(down.message.error, ConnectionError)
        assert "'exchange.example' cannot be resolved" in down.message.reason

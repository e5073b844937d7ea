"""From a host's addresses to one connection: the order, the head start, the losers, what is said."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from smarkets_pool.exceptions import ConnectionError, ConnectTimeout
from smarkets_pool.session import SessionSettings, SessionSocket, addresses
from smarkets_pool.session.addresses import Address, connect_first, in_order
from tests.rig.peers import Scripted, Unanswering, hold, mute
from tests.rig.waiting import eventually

V4, V6 = "127.0.0.1", "::1"
#: Seconds on the clocks of these tests; none of them is waited for.
LONG = 1_000_000.0


def at(host: str, port: int) -> Address:
    """An address as ``getaddrinfo`` gives it."""
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


@contextlib.contextmanager
def listening(host: str = V4) -> Iterator[Address]:
    """An address that takes connections."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        yield at(host, listener.getsockname()[1])


@contextlib.contextmanager
def refusing(host: str = V4) -> Iterator[Address]:
    """An address that refuses: bound, so that nobody else gets it, and not listening."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.bind((host, 0))
        yield at(host, bound.getsockname()[1])


@contextlib.contextmanager
def unanswering(host: str = V4) -> Iterator[Address]:
    """An address that says nothing at all."""
    with Unanswering(host) as place:
        yield at(place.host, place.port)


class Attempts:
    """Every connection attempt, in order: where to, and with which socket."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.places: list[tuple[Any, ...]] = []

    def open(self) -> int:
        """How many of the sockets are open."""
        return sum(connection.fileno() != -1 for connection in self.sockets)

    def to(self) -> list[tuple[str, int]]:
        """Host and port of each attempt."""
        return [place[:2] for place in self.places]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    """Attempts are noted, nothing is known of earlier ones, and none takes for ever."""
    noted = Attempts()

    class Noting(socket.socket):  # type: ignore[misc]
        def connect_ex(self, address: Any) -> int:
            noted.sockets.append(self)
            noted.places.append(address)
            return super().connect_ex(address)  # type: ignore[no-any-return]

    monkeypatch.setattr(socket, "socket", Noting)
    monkeypatch.setattr(addresses, "_winners", {})
    return noted


@pytest.fixture(autouse=True)
def in_bounds() -> Iterator[None]:
    """A race that waits for a clock of ours waits for ever: that is a failure, not a hang."""
    with gevent.Timeout(20, AssertionError("the race does not end")):
        yield


class Hurrying:
    """A clock on which more than one attempt's head start passes between any two looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.2 * addresses.ATTEMPT_DELAY
        return self.now


def standing() -> float:
    """A clock that never moves."""
    return 0.0


def connected(
    *found: Address,
    host: str = "exchange.example",
    port: int = 1,
    timeout: float = LONG,
    clock: Callable[[], float] | None = None,
) -> tuple[str, int]:
    """Race these addresses; return the winner's host and port, its connection closed."""
    with connect_first(
        host, port, resolve=lambda *_: list(found), timeout=timeout, clock=clock or Hurrying()
    ) as winner:
        return tuple(winner.getpeername()[:2])  # type: ignore[return-value]


# --- the order --------------------------------------------------------------------------------------


def _letters(entries: list[Address]) -> str:
    return " ".join(entry[4][0] for entry in entries)


@pytest.mark.parametrize(
    ("found", "first", "order"),
    [
        ("a b c", None, "a b c"),
        ("a b 1 2", None, "a 1 b 2"),
        ("1 2 a b", None, "1 a 2 b"),
        ("1 2 3 a", None, "1 a 2 3"),
        ("a b 1 2", socket.AF_INET6, "1 a 2 b"),
        ("1 2 a b", socket.AF_INET, "a 1 b 2"),
        ("a b", socket.AF_INET6, "a b"),
        ("1 a 1 a a", None, "1 a"),
        ("", socket.AF_INET, ""),
    ],
)
def test_families_take_turns(found: str, first: int | None, order: str) -> None:
    """The system's first family, or the one that won before, leads; within one its order holds."""
    entries: list[Address] = [
        (socket.AF_INET6 if name.isdigit() else socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, 1))
        for name in found.split()
    ]
    assert _letters(in_order(entries, first)) == order


@pytest.mark.parametrize(("dead", "alive"), [(V4, V6), (V6, V4)])
def test_the_family_that_won_leads_next_time(dead: str, alive: str, attempts: Attempts) -> None:
    """A family that leads nowhere costs its delay once per host, not once per connection."""
    with unanswering(dead) as nowhere, listening(alive) as somewhere:
        assert connected(nowhere, somewhere) == somewhere[4][:2]
        assert attempts.to() == [nowhere[4][:2], somewhere[4][:2]]
        del attempts.places[:]
        connected(nowhere, somewhere, clock=standing)
        assert attempts.to() == [somewhere[4][:2]]
        del attempts.places[:]
        connected(nowhere, somewhere, host="another.example")
        assert attempts.to() == [nowhere[4][:2], somewhere[4][:2]]


# --- dead and refusing addresses --------------------------------------------------------------------


@pytest.mark.parametrize("dead", [V4, V6])
@pytest.mark.parametrize("alive", [V4, V6])
def test_a_dead_address_costs_its_head_start_only(dead: str, alive: str, attempts: Attempts) -> None:
    """The second address is tried beside the first, long before the limit, and the first is closed."""
    with unanswering(dead) as first, listening(alive) as second:
        assert connected(first, second) == second[4][:2]
        assert attempts.to() == [first[4][:2], second[4][:2]]
    eventually(lambda: attempts.open() == 0)


def test_the_head_start_is_given(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it lasts the first address has no company, however often the race looks."""
    monkeypatch.setattr(addresses, "ATTEMPT_DELAY", 0.01)
    with unanswering() as first, listening() as second:
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
            connected(first, second, clock=standing)
        assert attempts.to() == [first[4][:2]]
    assert attempts.open() == 0


@pytest.mark.parametrize("host", [V4, V6])
def test_a_refusal_is_followed_at_once(host: str, attempts: Attempts) -> None:
    """No time has to pass: the clock stands still."""
    with refusing(host) as first, refusing(host) as second, listening(host) as third:
        assert connected(first, second, third, clock=standing) == third[4][:2]
        assert attempts.to() == [first[4][:2], second[4][:2], third[4][:2]]


def test_a_refusal_beside_a_dead_address_is_followed_at_once_too(attempts: Attempts) -> None:
    """The dead one's attempt goes on, and does not hold up what comes after the refusal."""
    with unanswering() as first, refusing() as second, listening() as third:

        def clock() -> float:
            return 0.0 if not attempts.places else 1.2 * addresses.ATTEMPT_DELAY

        assert connected(first, second, third, clock=clock) == third[4][:2]
    eventually(lambda: attempts.open() == 0)


def test_a_late_answer_still_wins() -> None:
    """An attempt that has company is not given up: it wins if it answers first."""
    with Unanswering() as slow, unanswering() as never:
        race = gevent.spawn(connected, at(slow.host, slow.port), never)
        gevent.sleep(0)
        # The system asks again after a second; there is room then.
        for queued in slow._queued:
            queued.close()
        slow._listener.accept()[0].close()
        assert race.get(timeout=10) == (slow.host, slow.port)


def test_an_address_found_twice_is_tried_once(attempts: Attempts) -> None:
    """Duplicates of the DNS cost nothing."""
    with unanswering() as dead, listening() as alive:
        connected(dead, dead, dead, alive, dead, alive)
        assert attempts.to() == [dead[4][:2], alive[4][:2]]


def test_the_last_of_many_addresses_has_its_turn(attempts: Attempts) -> None:
    """Dozens of dead ones before it do not use up the time: their head starts are shorter then."""
    with contextlib.ExitStack() as stack:
        dead = [stack.enter_context(unanswering()) for _ in range(59)]
        alive = stack.enter_context(listening())
        now = 0.0

        def clock() -> float:
            nonlocal now
            now += 0.03
            return now

        assert connected(*dead, alive, timeout=10.0, clock=clock) == alive[4][:2]
    eventually(lambda: attempts.open() == 0)


def test_fifty_addresses_leave_one_socket(attempts: Attempts) -> None:
    """However many are under way, those that did not win are closed."""
    with contextlib.ExitStack() as stack:
        dead = [stack.enter_context(unanswering((V4, V6)[number % 2])) for number in range(49)]
        alive = stack.enter_context(listening())
        winner = connect_first(
            "many.example", 1, resolve=lambda *_: [*dead, alive], timeout=LONG, clock=Hurrying()
        )
        assert len(attempts.places) == 50
        eventually(lambda: attempts.open() == 1)
        winner.close()


# --- a winner ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodelay", [True, False])
def test_the_winner_is_ready_for_use(nodelay: bool) -> None:
    """It can be waited on like any other socket, and small frames leave at once if that was asked."""
    with Scripted(mute) as server:
        settings = SessionSettings("u", "p", host=server.host, port=server.port, ssl=False)
        settings.tcp_nodelay, settings.socket_timeout = nodelay, 7
        connection = SessionSocket(settings)
        assert connection.connect() is True
        assert connection.connect() is False
        winner = connection.raw_socket
        assert winner is not None
        assert winner.gettimeout() == 7
        assert bool(winner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is nodelay
        connection.disconnect()


@pytest.mark.parametrize("host", [V4, V6])
def test_an_address_needs_no_lookup(host: str, attempts: Attempts) -> None:
    """A host that is an address already goes to no DNS."""

    def never(*_: object) -> list[Address]:
        raise AssertionError("a lookup was made")

    with listening(host) as place, connect_first(host, place[4][1], resolve=never, timeout=LONG):
        assert attempts.to() == [place[4][:2]]


def test_the_interface_behind_an_address_is_looked_up(attempts: Attempts) -> None:
    """``fe80::1%lo`` names an interface, and its number is what the attempt is made with."""
    asked = []

    def resolve(host: str, port: int) -> list[Address]:
        asked.append(host)
        return addresses.look_up(host, port)

    with pytest.raises(ConnectionError, match=r"no connection to fe80::1%lo:9"):
        connect_first("fe80::1%lo", 9, resolve=resolve, timeout=0.01)
    assert asked == ["fe80::1%lo"]
    assert attempts.places == [("fe80::1", 9, 0, socket.if_nametoindex("lo"))]


# --- nobody wins ------------------------------------------------------------------------------------


def test_every_address_is_named_with_its_reason() -> None:
    """Whoever reads the error knows what each address said."""
    unknown: Address = (12345, socket.SOCK_STREAM, 6, "", ("x", 1))
    with refusing(V4) as first, refusing(V6) as second, pytest.raises(ConnectionError) as caught:
        connected(first, second, unknown, clock=standing)
    refused, unknown_family = os.strerror(errno.ECONNREFUSED), os.strerror(errno.EAFNOSUPPORT)
    # Families in turn: the unknown one is the third of three.
    assert str(caught.value) == (
        f"no connection to exchange.example:1: 127.0.0.1:{first[4][1]}: {refused}; "
        f"[::1]:{second[4][1]}: {refused}; x:1: {unknown_family}"
    )
    assert not isinstance(caught.value, ConnectTimeout)
    assert isinstance(caught.value.__cause__, OSError)


def test_the_limit_is_over_all_attempts() -> None:
    """When it is over it is a ConnectTimeout, and says who refused, who was silent and who was not asked."""
    with refusing() as first, unanswering() as second, unanswering() as third:
        moments = iter([0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 10.0])
        with pytest.raises(ConnectTimeout) as caught:
            connected(first, second, third, timeout=5.0, clock=lambda: next(moments, 10.0))
    assert str(caught.value).startswith("no connection to exchange.example:1 within 5.0 s: ")
    assert f"{first[4][1]}: {os.strerror(errno.ECONNREFUSED)}; " in str(caught.value)
    assert f"{second[4][1]}: no answer; " in str(caught.value)
    assert str(caught.value).endswith(f"{third[4][1]}: not tried yet")


def test_a_host_without_an_address_is_said() -> None:
    """A lookup that finds nothing is an error of its own kind."""
    with pytest.raises(ConnectionError, match=r"exchange\.example:1: it has no address"):
        connected()


def test_out_of_descriptors_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that cannot even be made is a failed attempt like any other."""

    def none_left(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", none_left)
    with pytest.raises(ConnectionError, match=rf"127\.0\.0\.1:1: {os.strerror(errno.EMFILE)}"):
        connected(at(V4, 1))


# --- interrupted ------------------------------------------------------------------------------------


def _time_out(race: gevent.Greenlet[..., Any]) -> type[BaseException]:
    race.kill(gevent.Timeout(1), block=True)
    return gevent.Timeout


def _kill(race: gevent.Greenlet[..., Any]) -> type[BaseException]:
    race.kill(block=True)
    return gevent.GreenletExit


@pytest.mark.parametrize("interrupt", [_time_out, _kill], ids=["timeout", "kill"])
def test_an_interrupted_race_closes_everything(
    interrupt: Callable[[gevent.Greenlet[..., Any]], type[BaseException]], attempts: Attempts
) -> None:
    """A limit or a kill in the middle leaves no socket behind, and passes on as it is."""
    with unanswering(V4) as first, unanswering(V6) as second:
        seen: list[BaseException] = []

        def run() -> None:
            try:
                connected(first, second)
            except BaseException as error:
                seen.append(error)

        race = gevent.spawn(run)
        eventually(lambda: attempts.open() == 2)
        expected = interrupt(race)
        assert [type(error) for error in seen] == [expected]
        eventually(lambda: attempts.open() == 0)


def test_others_run_meanwhile(attempts: Attempts) -> None:
    """A race waits the gevent way: its thread goes on with other greenlets."""
    with unanswering() as dead:
        race = gevent.spawn(connected, dead, clock=standing)
        eventually(lambda: attempts.places)
        turns = 0
        while turns < 100:
            gevent.sleep(0.0001)
            turns += 1
        assert not race.dead
        race.kill(block=True)


# --- without gevent, and with many descriptors ------------------------------------------------------

_PROGRAM = """
    import sys
    if sys.argv[1] == "patched":
        from gevent import monkey; monkey.patch_all()
    import os, resource, select, socket
    from smarkets_pool.session import Session, SessionSettings, SessionSocket

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]

    def resolve(host, port):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))
            for port in sys.argv[2:]
        ]

    settings = SessionSettings("u@example.com", "pw", host="exchange.example", port=1, ssl=False)
    settings.socket_timeout = 10_000_000.0  # months: more than a system's poll takes at once
    session = Session(settings, socket=SessionSocket(settings, resolve=resolve))
    session.log_in()
    high = session.raw_socket.fileno() > 1024
    print(type(select.poll()).__module__, session.logged_in, session.raw_socket.getpeername()[1], high)
    session.disconnect()
"""


@pytest.mark.parametrize(("how", "module"), [("unpatched", "select"), ("patched", "gevent.select")])
def test_any_process_with_any_number_of_descriptors(how: str, module: str) -> None:
    """A plain program races just as well, with descriptors that ``select`` could not hold."""
    with Unanswering() as dead, refusing() as refused, Scripted(hold) as server:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                textwrap.dedent(_PROGRAM),
                how,
                *map(str, (refused[4][1], dead.port, server.port)),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [module, "True", str(server.port), "True"]

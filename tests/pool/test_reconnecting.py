"""When a member tries again, when it does not, and by which name each trouble goes."""

import socket

import gevent.event
import gevent.socket
import pytest

from smarkets_pool import (
    DOWN,
    UP,
    Account,
    Backoff,
    Pool,
    ReconnectPolicy,
    TimeoutPolicy,
    eto,
    seto,
)
from smarkets_pool.exceptions import (
    ConfigError,
    ConnectionError,
    ConnectTimeout,
    DecodeError,
    Error,
    FrameTooLarge,
    LoginError,
    LoginTimeout,
    ParseError,
    PoolError,
    ProtocolError,
    SocketDisconnected,
    TlsError,
)
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.certificates import Certificates
from tests.rig import ends as frames
from tests.rig.peers import Unanswering
from tests.rig.pooling import (
    AT_ONCE,
    DEAF,
    SILENCE,
    RawServer,
    Record,
    Simulated,
    Talk,
    execute,
    pool_on,
    simulated_pool,
    user,
)
from tests.rig.waiting import eventually


def refused(attempt: int) -> Exception:
    """An attempt that fails at once."""
    return ConnectionError("nobody listens")


# --- when ----------------------------------------------------------------------------------------------


def test_delays_grow_up_to_the_cap():
    """Exponential, from half a second to a minute."""
    runtime = Simulated(refused)
    pool = simulated_pool(runtime)
    with pool:
        runtime.advance(400)
        assert runtime.gaps()[:9] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_jitter_is_taken_off_after_the_cap():
    """Chance one half, full jitter: every delay is half of its ceiling, at the cap too."""
    runtime = Simulated(refused, chance=0.5)
    pool = simulated_pool(runtime)
    with pool:
        runtime.advance(200)
        assert runtime.gaps()[:9] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_the_event_tells_the_delay_that_is_kept():
    """``retry_in`` and ``stats()`` speak of the same moment."""
    runtime = Simulated(refused)
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.advance(8)
        assert [d.message.retry_in for d in record.of("member.down", "m0")] == [0.5, 1, 2, 4, 8]
        assert pool["m0"].stats()["retry_in_seconds"] == pytest.approx(7.5)
        assert pool["m0"].stats()["login_failures_total"] == 5


def test_a_session_that_flaps_is_slowed_down():
    """Being UP for less than ``stable_after`` forgets nothing."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        for _ in range(4):
            runtime.advance(20)
            runtime.ends[-1].hang_up()
            runtime.advance(9)
        assert [d.message.retry_in for d in record.of("member.down", "m0")] == [0.5, 1, 2, 4]


def test_being_up_for_long_enough_forgets_the_failures():
    """After ``stable_after`` the next loss counts as the first."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        for _ in range(3):
            runtime.advance(31)
            runtime.ends[-1].hang_up()
            runtime.advance(0.6)
        assert [d.message.retry_in for d in record.of("member.down", "m0")] == [0.5, 0.5, 0.5]


def test_time_that_was_not_up_does_not_count_as_stable():
    """RECOVERING for a minute and lost again is a failure after a failure."""
    runtime = Simulated(lambda attempt: DEAF)
    pool = simulated_pool(runtime, timeouts=TimeoutPolicy(probe_after=100, give_up_after=200, logout=0.05))
    record = Record(pool)
    with pool:
        for _ in range(3):
            runtime.advance(60)
            runtime.ends[-1].hang_up()
            runtime.advance(5)
        assert [d.message.retry_in for d in record.of("member.down", "m0")] == [0.5, 1, 2]
        runtime.ends[-1].hang_up()


@pytest.mark.parametrize("reason", [eto.LOGOUT_UNAUTHORISED, eto.LOGOUT_UNVERIFIED])
def test_a_final_refusal_is_never_retried(reason):
    """Trying again could lock the account."""
    runtime = Simulated(lambda attempt: int(reason))
    pool = simulated_pool(runtime)
    record = Record(pool)
    with pool:
        runtime.advance(100_000)
        assert len(runtime.attempts) == 1
        down = record.of("member.down", "m0")[0].message
        assert down.final and down.retry_in is None and down.error.reason == reason
        assert pool["m0"].state is DOWN and "trying again cannot help" in pool["m0"].given_up
        assert pool.join(timeout=0)


def test_a_final_logout_of_a_running_session_is_never_retried():
    """Not only at the login."""
    runtime = Simulated()
    pool = simulated_pool(runtime)
    with pool:
        runtime.settle()
        runtime.ends[0].log_out(eto.LOGOUT_UNAUTHORISED)
        runtime.advance(1000)
        assert len(runtime.attempts) == 1 and pool["m0"].given_up


@pytest.mark.parametrize(
    "reason",
    [
        eto.LOGOUT_SERVICE_TEMPORARILY_UNAVAILABLE,
        eto.LOGOUT_LOGIN_TIMEOUT,
        eto.LOGOUT_UNKNOWN_SESSION,
        eto.LOGOUT_NONE,
        eto.LOGOUT_CONFIRMATION,
    ],
)
def test_other_refusals_are_retried(reason):
    """Until it is let in."""
    runtime = Simulated(lambda attempt: int(reason) if attempt < 4 else None)
    pool = simulated_pool(runtime)
    with pool:
        runtime.advance(10)
        assert runtime.gaps() == [0.5, 1, 2]
        assert pool["m0"].state is UP


@pytest.mark.parametrize("trouble", [int(eto.LOGOUT_LOGIN_NOT_FIRST_SEQ), ProtocolError("nonsense")])
def test_a_broken_protocol_is_tried_three_times_more(trouble):
    """Chance is excluded then."""
    runtime = Simulated(lambda attempt: trouble)
    pool = simulated_pool(runtime)
    with pool:
        runtime.advance(1000)
        assert len(runtime.attempts) == 4
        assert "the protocol broke 4 times" in pool["m0"].given_up


def test_max_attempts_gives_up():
    """And says after how many, and why the last one failed."""
    runtime = Simulated(refused)
    pool = simulated_pool(runtime, reconnect=ReconnectPolicy(max_attempts=5))
    with pool:
        runtime.advance(1000)
        assert len(runtime.attempts) == 5
        assert pool["m0"].given_up == "5 failures in a row: nobody listens"


def test_an_account_may_have_a_policy_of_its_own():
    """The others keep the pool's."""
    runtime = Simulated(refused)
    patient = ReconnectPolicy(backoff=Backoff(initial=50, jitter=0))
    pool = Pool(
        [
            Account("own", username="own", password="pw", host="h", reconnect=patient),
            Account("other", username="other", password="pw", host="h"),
        ],
        runtime=runtime,
    )
    with pool:
        runtime.advance(10)
        who = [name for _, name in runtime.attempts]
        assert who.count("own") == 1 and who.count("other") == 5


def test_an_account_may_have_waits_of_its_own():
    """One gives up its silent exchange sooner."""
    with RawServer(Talk.to_the_end) as server:
        quick = server.account("alice", timeouts=TimeoutPolicy(login=0.05))
        pool = Pool([quick, server.account("bob")])
        record = Record(pool)
        with pool:
            assert isinstance(record.wait("member.down").message.error, LoginTimeout)
            assert "within 0.05 s" in record.of("member.down")[0].message.reason
            assert not record.of("member.down", "bob")


def test_a_limit_on_connecting_is_not_taken_for_a_trouble_of_one_address(monkeypatch):
    """A name with two silent addresses: the limit holds for both together."""
    with Unanswering() as place:
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (place.host, place.port))
        monkeypatch.setattr(gevent.socket, "getaddrinfo", lambda *_, **__: [address] * 2)
        pool = Pool(
            [Account("alice", username="a", password="b", host="two", ssl=False)],
            timeouts=TimeoutPolicy(connect=0.1),
        )
        record = Record(pool)
        with pool:
            down = record.wait("member.down")
            assert isinstance(down.message.error, ConnectTimeout)
            assert "within 0.1 s" in str(down.message.error)


# --- an outage on purpose ------------------------------------------------------------------------------


def test_downtime_pauses_everybody_and_one_canary_probes():
    """While the canary's login is pending nobody else tries; when it fails the next one is the canary."""
    down = {"now": True}
    runtime = Simulated(lambda attempt: None if attempt <= 8 or not down["now"] else SILENCE)
    pool = simulated_pool(runtime, 8, timeouts=TimeoutPolicy(login=0.05))
    with pool:
        runtime.settle()
        assert len(runtime.ends) == 8
        for end in runtime.ends[:8]:
            end.log_out(eto.LOGOUT_DOWNTIME)
        runtime.advance(3)
        governor = pool.stats()["governor"]
        assert governor["paused"] and governor["canary"] == "m0" and governor["waiting"] == 7
        assert len(runtime.attempts) == 9
        eventually(lambda: pool.stats()["governor"]["canary"] is None)  # m0's login timed out
        runtime.advance(2)  # a probe that failed, for whatever reason, makes the next one wait longer
        assert pool.stats()["governor"]["canary"] == "m1"
        assert len(runtime.attempts) == 10


def test_after_the_downtime_the_others_follow_the_canary():
    """Its success lets everybody in."""
    down = {"now": False}
    runtime = Simulated(lambda attempt: int(eto.LOGOUT_DOWNTIME) if down["now"] else None)
    pool = simulated_pool(runtime, 6)
    with pool:
        runtime.settle()
        down["now"] = True
        for end in list(runtime.ends):
            end.log_out(eto.LOGOUT_DOWNTIME)
        runtime.advance(120)
        assert {m.state for m in pool} == {DOWN}
        assert {m.given_up for m in pool} == {None}
        down["now"] = False
        runtime.advance(61)
        assert {m.state for m in pool} == {UP}
        assert pool.stats()["governor"] == {
            "waiting": 0,
            "paused": False,
            "canary": None,
            "admitted_total": len(runtime.attempts),
        }


def test_the_ramp_after_an_outage_keeps_to_the_rate():
    """A hundred accounts that lost their exchange together come back at the bucket's pace."""
    runtime = Simulated()
    policy = ReconnectPolicy(backoff=Backoff(initial=0.5, jitter=0), login_rate=20, login_burst=5)
    pool = simulated_pool(runtime, 100, reconnect=policy)
    with pool:
        runtime.advance(60)
        assert {m.state for m in pool} == {UP}
        first = runtime.times()
        assert first[:5] == [0] * 5 and first[-1] == pytest.approx(95 / 20, abs=0.01)
        for end in list(runtime.ends):
            end.hang_up()
        runtime.advance(10)
        again = runtime.times()[100:]
        assert len(again) == 100
        assert again[-1] - again[0] == pytest.approx(95 / 20, abs=0.01)
        for index in range(len(again) - 25):
            assert again[index + 25] - again[index] >= 0.99  # never more than burst + rate in a second


def test_downtime_of_a_real_exchange_is_survived():
    """Everybody is logged out with the reason, waits, and comes back."""
    with EmbeddedExchange(accounts=3, tls=False) as exchange:
        pool = pool_on(exchange, 3)
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=5)
            exchange.exchange.begin_downtime(exchange.now())
            for name in ("alice", "bob", "carol"):
                down = record.wait("member.down", account=name).message
                assert down.error.reason == eto.LOGOUT_DOWNTIME and not down.final
            eventually(lambda: pool.stats()["governor"]["paused"])
            exchange.exchange.end_downtime()
            pool.wait_until_up(timeout=5)


# --- secrets that are asked for ------------------------------------------------------------------------


def test_a_callable_password_is_asked_at_each_login():
    """A rotated one is picked up."""
    given = []

    def password() -> str:
        given.append(f"pw-{len(given)}")
        return given[-1]

    runtime = Simulated()
    pool = Pool([Account("m0", username="m0", password=password, host="h")], runtime=runtime)
    with pool:
        runtime.settle()
        for _ in range(2):
            runtime.ends[-1].hang_up()
            runtime.advance(5)
        assert [end.logins[0].password for end in runtime.ends] == given == ["pw-0", "pw-1", "pw-2"]


def test_a_callable_token_is_asked_too():
    """Bytes or text."""
    runtime = Simulated()
    pool = Pool(
        [
            Account("a", token=lambda: "text", host="h"),
            Account("b", token=lambda: b"\xff\x00", host="h"),
        ],
        runtime=runtime,
    )
    with pool:
        runtime.settle()
        assert [end.logins[0].cookie for end in runtime.ends] == [b"text", b"\xff\x00"]
        assert not any(end.logins[0].HasField("password") for end in runtime.ends)


@pytest.mark.parametrize("error", [KeyError("vault"), OSError("vault"), gevent.Timeout(3), SystemError()])
def test_a_callable_that_raises_is_retried_and_reported(error):
    """Whatever it raises, a gevent.Timeout of its own too: the vault may be back at the next attempt."""
    answers = [error, error, "pw"]

    def password() -> str:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    runtime = Simulated()
    pool = Pool([Account("m0", username="m0", password=password, host="h")], runtime=runtime)
    record = Record(pool)
    with pool:
        runtime.advance(10)
        errors = [d.message.error for d in record.of("member.down", "m0")]
        assert [found.__cause__ if isinstance(found, Error) else found for found in errors] == [error, error]
        assert not [found for found in errors if isinstance(found, Error) and "vault" in str(found)]
        assert pool["m0"].state is UP
        assert pool.stats()["greenlet_deaths_total"] == 0


def test_a_canary_whose_password_cannot_be_had_does_not_block_the_others():
    """However its attempt ends, the governor hears of it."""
    armed = []

    def password() -> str:
        if armed:
            raise gevent.Timeout(3)
        return "pw"

    runtime = Simulated()
    pool = Pool(
        [
            Account("m0", username="m0", password=password, host="h"),
            Account("m1", username="m1", password="pw", host="h"),
        ],
        runtime=runtime,
    )
    with pool:
        runtime.settle()
        armed.append(True)
        for end in list(runtime.ends):
            end.log_out(eto.LOGOUT_DOWNTIME)
        runtime.advance(2)
        assert pool["m1"].state is UP


@pytest.mark.parametrize("value", [None, 5, "", b"", ["hunter2"]])
def test_a_callable_that_gives_no_secret_is_the_programs_mistake(value):
    """Final, and what it gave is in no text."""
    runtime = Simulated()
    pool = Pool([Account("m0", username="m0", password=lambda: value, host="h")], runtime=runtime)
    record = Record(pool)
    with pool:
        runtime.advance(100)
        down = record.of("member.down", "m0")[0].message
        assert isinstance(down.error, ConfigError) and down.final
        assert "hunter2" not in repr(down)


@pytest.mark.parametrize(
    "secret",
    [{"password": b"hunter2\xff"}, {"password": "hunter2\ud800"}, {"token": "hunter2\ud800"}],
)
def test_a_secret_that_is_no_text_is_refused_without_quoting_it(secret):
    """The codec's own error would quote it."""
    runtime = Simulated()
    pool = Pool([Account("m0", username="m0", host="h", **secret)], runtime=runtime)
    record = Record(pool)
    with pool:
        runtime.advance(1)
        down = record.of("member.down", "m0")[0].message
        assert isinstance(down.error, ConfigError) and down.final
        seen = down.error
        while seen is not None:
            assert "hunter2" not in repr(seen) + str(seen)
            seen = seen.__cause__ or seen.__context__


# --- each trouble by its name --------------------------------------------------------------------------


class Neighbour:
    """A second account on a sound exchange, which must not notice anything."""

    def __init__(self) -> None:
        self.exchange = EmbeddedExchange(accounts=1, tls=False)

    def __enter__(self) -> "Neighbour":
        self.exchange.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.exchange.stop()

    def with_(self, account: Account, **options: object) -> tuple[Pool, Record]:
        """A pool of the account in trouble and the neighbour, called bob."""
        pool = Pool(
            [account, Account("bob", **self.exchange.settings_for(0))],
            timeouts=TimeoutPolicy(connect=2, logout=0.05),
            **options,
        )
        return pool, Record(pool)

    def check(self, record: Record) -> None:
        """It is up, hears its events and was never down."""
        record.wait("member.up", account="bob")
        execute(self.exchange)
        record.wait("seto.order_executed", account="bob")
        assert not record.of("member.down", "bob")


@pytest.fixture
def neighbour():
    """See ``Neighbour``."""
    with Neighbour() as made:
        yield made


def trouble_of(neighbour: Neighbour, account: Account) -> tuple[BaseException, bool]:
    """The error of the account's first loss, and whether it was given up; the neighbour is checked."""
    pool, record = neighbour.with_(account)
    with pool:
        down = record.wait("member.down").message
        neighbour.check(record)
        assert down.reason == str(down.error)
        assert down.final == (pool["alice"].given_up is not None)
        return down.error, down.final


def test_an_unknown_host(neighbour, monkeypatch):
    """Retried: DNS comes back."""
    import socket

    real = socket.getaddrinfo

    def resolve(host, *rest, **more):
        if host == "no-such-host.invalid":
            raise socket.gaierror(-2, "Name or service not known")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error, final = trouble_of(
        neighbour, Account("alice", username="a", password="b", host="no-such-host.invalid")
    )
    assert isinstance(error, ConnectionError) and not final
    assert "'no-such-host.invalid' cannot be resolved" in str(error)
    assert isinstance(error.__cause__, socket.gaierror)


def test_a_refused_connection(neighbour):
    """Retried, and the address is in the text."""
    with RawServer(Talk.to_the_end) as server:
        port = server.port
    account = Account("alice", username="a", password="b", host="127.0.0.1", port=port, ssl=False)
    error, final = trouble_of(neighbour, account)
    assert isinstance(error, ConnectionError) and not final
    assert f"no connection to 127.0.0.1:{port}" in str(error) and "refused" in str(error)


def test_a_plain_server_behind_a_tls_client(neighbour):
    """The text says what to change."""

    def plain(talk: Talk) -> None:
        talk.socket.recv(1000)
        talk.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(plain) as server:
        error, _ = trouble_of(neighbour, server.account(ssl=True))
    assert isinstance(error, ConnectionError) and "ssl=False" in str(error)


def test_a_plain_client_at_a_tls_port(neighbour):
    """The server cannot understand us and closes."""
    with EmbeddedExchange(accounts=1) as tls:
        account = Account("alice", **{**tls.settings_for(0), "ssl": False, "ca_file": None})
        error, final = trouble_of(neighbour, account)
    assert isinstance(error, (ConnectionError, ProtocolError)) and not final


def test_a_certificate_for_another_name_is_final(neighbour):
    """Somebody else is at the other end."""
    certificates = Certificates("other.example.com")
    try:
        with RawServer(Talk.to_the_end, context=certificates.server_context()) as server:
            error, final = trouble_of(neighbour, server.account(ca_file=certificates.ca_file))
    finally:
        certificates.close()
    assert isinstance(error, TlsError) and final
    assert "127.0.0.1" in str(error)


def test_a_certificate_of_an_unknown_authority_is_final(neighbour):
    """The system's authorities do not know the throw-away one."""
    with EmbeddedExchange(accounts=1) as tls:
        account = Account("alice", **{**tls.settings_for(0), "ca_file": None})
        error, final = trouble_of(neighbour, account)
    assert isinstance(error, TlsError) and final


def test_a_wrong_password_is_final(neighbour):
    """UNAUTHORISED, by the real exchange."""
    with EmbeddedExchange(accounts=1) as tls:
        account = Account("alice", **{**tls.settings_for(0), "password": "wrong"})
        error, final = trouble_of(neighbour, account)
    assert isinstance(error, LoginError) and final
    assert error.reason_msg == "LOGOUT_UNAUTHORISED"


def test_an_unverified_account_is_final(neighbour):
    """UNVERIFIED, by the real exchange."""
    with EmbeddedExchange(accounts=1, tls=False) as plain:
        plain.exchange.accounts[user(plain)].is_verified = False
        error, final = trouble_of(neighbour, Account("alice", **plain.settings_for(0)))
    assert isinstance(error, LoginError) and final
    assert error.reason_msg == "LOGOUT_UNVERIFIED"


@pytest.mark.parametrize("tls", [False, True])
def test_closed_in_the_middle_of_a_frame(neighbour, tls):
    """The number of bytes that had arrived is in the error."""
    with EmbeddedExchange(accounts=1, tls=tls) as exchange:
        pool, record = neighbour.with_(Account("alice", **exchange.settings_for(0)), reconnect=AT_ONCE)
        with pool:
            record.wait("member.up")
            exchange.cut(user(exchange), inside=True)
            error = record.wait("member.down").message.error
            assert isinstance(error, SocketDisconnected)
            assert error.unread == 2 and "in the middle of a frame" in str(error)
            record.wait("member.up", 2)
            neighbour.check(record)


def serving(*data: bytes):
    """A script that logs the client in, sends these bytes and waits."""

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response(), *data)
        talk.to_the_end()

    return script


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"\xff\xff\xff\x7f" + bytes(100), FrameTooLarge, "268435455 payload bytes"),
        (b"\xff\xff\xff\xff\xff\xff", DecodeError, "length header"),
        (b"\x05\xff\xff\xff\xff\xff", ParseError, "not a payload"),
        (frames.framed(b"\x08\x01\x12\x00"), ParseError, "without a sequence number"),
    ],
)
def test_bytes_that_break_the_rules(neighbour, data, kind, text):
    """Each has its own error; a few tries may show that it was chance."""
    with RawServer(serving(data)) as server:
        error, final = trouble_of(neighbour, server.account())
    assert type(error) is kind and text in str(error) and not final


def test_bytes_that_break_the_rules_before_the_login(neighbour):
    """The same during the login, in the life greenlet."""
    with RawServer(lambda talk: (talk.send(b"\x05\xff\xff\xff\xff\xff"), talk.to_the_end())) as server:
        error, _ = trouble_of(neighbour, server.account())
    assert isinstance(error, ParseError)


def test_closed_during_the_login(neighbour):
    """Neither yes nor no."""
    with RawServer(lambda talk: talk.until("seto.login")) as server:
        error, final = trouble_of(neighbour, server.account())
    assert isinstance(error, SocketDisconnected) and not final


def test_an_unknown_payload_type_is_delivered_as_unknown():
    """It came from a newer schema: delivered with its bytes, and the session goes on."""
    unknown = seto.Payload()
    unknown.eto_payload.seq = 2
    data = b"\x08\xe7\x07" + unknown.SerializePartialToString()

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response(), frames.framed(data))
        talk.until("eto.ping")
        talk.send(frames.pong(3))
        talk.to_the_end()

    with RawServer(script) as server:
        pool = Pool([server.account()], timeouts=TimeoutPolicy(logout=0.05))
        seen = Record()
        pool.add_handler("seto.unknown", seen)
        with pool:
            pool.wait_until_up(timeout=5)
            found = seen.wait("seto.unknown")
            assert (found.message, found.bytes, found.seq) == (None, data, 2)


def test_an_unknown_payload_type_without_a_handler_costs_nothing():
    """The same, and nobody asked for it."""
    unknown = seto.Payload()
    unknown.eto_payload.seq = 2

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(
            frames.login_response(), frames.framed(b"\x08\xe7\x07" + unknown.SerializePartialToString())
        )
        talk.until("eto.ping")
        talk.send(frames.pong(3))
        talk.to_the_end()

    with RawServer(script) as server:
        pool = Pool([server.account()], timeouts=TimeoutPolicy(logout=0.05))
        with pool:
            pool.wait_until_up(timeout=5)


def test_wait_until_up_names_a_given_up_account_at_once():
    """Beside one that would come up later."""
    runtime = Simulated(lambda attempt: int(eto.LOGOUT_UNAUTHORISED) if attempt == 1 else SILENCE)
    pool = simulated_pool(runtime, 2)
    with pool, pytest.raises(PoolError) as failed:
        pool.wait_until_up(timeout=100)
    assert list(failed.value.reasons) == ["m0"]
    assert "LOGOUT_UNAUTHORISED" in str(failed.value)

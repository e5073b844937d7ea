"""No secret in any sink: logs of every level, reprs, stats, texts of errors, tracebacks."""

import base64
import gc
import logging
import traceback

import pytest

from smarkets_pool import Account, Pool, TimeoutPolicy, eto
from smarkets_pool.exceptions import PoolError
from smarkets_pool.exchange import EmbeddedExchange
from tests.rig import ends as frames
from tests.rig.pooling import AT_ONCE, RawServer, Record, Talk, execute, user
from tests.rig.waiting import eventually

PASSWORD = "hunter2-horse-battery"
TOKEN = "tok-staple-1234567890"
#: Long enough to be no accident, short enough that a part of the secret counts.
SHORTEST = 8


def spellings(secret: str) -> set[str]:
    """The secret as it is, in base64 at each alignment, and in hex of either case."""
    raw = secret.encode()
    found = {secret, raw.hex(), raw.hex().upper(), raw.hex(" "), repr(raw)[2:-1], secret[::-1]}
    for lead in range(3):
        text = base64.b64encode(b"\0" * lead + raw).decode()
        found.add(text[(lead * 8 + 5) // 6 : -4])
    return {text for text in found if len(text) >= SHORTEST}


class Sink(logging.Handler):
    """Every log line as text, with its traceback and its arguments."""

    def __init__(self) -> None:
        super().__init__(1)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.getMessage()} {record.args!r} {record.__dict__!r}")
        if record.exc_info:
            self.texts.append("".join(traceback.format_exception(*record.exc_info)))


@pytest.fixture
def sink():
    """The root logger at its lowest level."""
    made, root = Sink(), logging.getLogger()
    level = root.level
    root.addHandler(made)
    root.setLevel(1)
    yield made
    root.removeHandler(made)
    root.setLevel(level)


def check(texts: list[str], *secrets: str) -> None:
    """None of the secrets, in no spelling, in none of the texts."""
    whole = "\n".join(texts)
    for secret in secrets:
        for text in spellings(secret):
            assert text not in whole, (
                f"a secret is in a sink: {whole[max(0, whole.index(text) - 200) :][:400]}"
            )


def every_error_text(error: BaseException | None) -> list[str]:
    """Texts of an error, of what it came from, and its traceback with the locals of the package's frames."""
    found = []
    while error is not None:
        found += [str(error), repr(error), repr(error.args)]
        found += traceback.format_exception(error)
        stack = traceback.TracebackException.from_exception(error, capture_locals=True).stack
        found += [f"{f.name}: {f.locals}" for f in stack if "/smarkets_pool/" in f.filename]
        error = error.__cause__ or error.__context__
    return found


def test_no_secret_in_any_sink_of_a_run_full_of_trouble(sink):
    """Cuts, refused logins by password and token, a broken handshake, an exchange that never answers."""
    texts: list[str] = []
    with (
        EmbeddedExchange(accounts=4) as exchange,
        RawServer(Talk.say_nothing) as silent,
        RawServer(lambda talk: talk.send(b"\x05\xff\xff\xff\xff\xff")) as rude,
    ):
        good = exchange.settings_for(0)
        by_token = {**exchange.settings_for(1), "token": exchange.logins[1].token}
        by_token.pop("password")
        by_token.pop("username")
        accounts = [
            Account("good", **good),
            Account("token", **by_token),
            Account(
                "called", **{**exchange.settings_for(2), "password": lambda: exchange.logins[2].password}
            ),
            Account("wrong", **{**exchange.settings_for(3), "password": PASSWORD}),
            Account("badtoken", **{**by_token, "token": TOKEN}),
            silent.account("silent", password=PASSWORD, timeouts=TimeoutPolicy(login=0.05)),
            silent.account("handshake", password=PASSWORD, ssl=True, timeouts=TimeoutPolicy(connect=0.05)),
            rude.account("rude", password=PASSWORD),
            Account("refused", username="r", password=PASSWORD, host="127.0.0.1", port=1, ssl=False),
            Account("untrusted", **{**good, "username": "other", "ca_file": None, "password": PASSWORD}),
            Account("nottext", username="n", password=PASSWORD.encode() + b"\xff", host="127.0.0.1"),
        ]
        secrets = (
            PASSWORD,
            TOKEN,
            *(login.password for login in exchange.logins),
            *(login.token for login in exchange.logins),
        )
        pool = Pool(accounts, reconnect=AT_ONCE)
        record = Record(pool)

        @pool.on("seto.order_executed")
        def broken(delivery) -> None:
            raise ValueError(repr(delivery))

        @pool.on("member.down")
        def broken_too(delivery) -> None:
            raise ValueError(repr(delivery))

        pool.start()
        for name in ("good", "token", "called"):
            record.wait("member.up", account=name)
        for account in accounts[3:]:
            record.wait("member.down", account=account.name)
        for number in range(3):
            execute(exchange, number)
            exchange.faults.drop(user(exchange, number))
            execute(exchange, number)
            exchange.cut(user(exchange, number), inside=True)
        for name in ("good", "token", "called"):
            record.wait("member.up", 2, account=name)
        exchange.exchange.log_everybody_out(eto.LOGOUT_UNAUTHORISED, exchange.now())
        record.wait("member.down", 2, account="good")
        with pytest.raises(PoolError) as failed:
            pool.wait_until_up(timeout=1)
        texts += every_error_text(failed.value)
        texts += [repr(pool), repr(pool.stats()), repr(pool._governor), repr(pool._supervisor)]
        for member in pool:
            texts += [repr(member), repr(member.account), repr(member.account.settings), str(member.why_down)]
            texts += [repr(member._connection), repr(member._connection and member._connection.protocol)]
        for delivery in record.all:
            texts.append(repr(delivery))
            if delivery.name == "member.down":
                texts += every_error_text(delivery.message.error)
        texts.append(repr(pool.stop()))
        assert {d.account for d in record.all if d.name == "member.down"} >= {
            account.name for account in accounts[3:]
        }
    assert len(sink.texts) > 20
    check(texts, *secrets)
    check(sink.texts, *secrets)


def test_the_check_itself_finds_secrets():
    """In plain, in base64 at any alignment, in hex."""
    raw = PASSWORD.encode()
    for text in (
        f"x{PASSWORD}y",
        raw.hex(),
        base64.b64encode(raw).decode(),
        base64.b64encode(b"a" + raw + b"b").decode(),
        base64.b64encode(b"ab" + raw + b"b").decode(),
    ):
        with pytest.raises(AssertionError, match="a secret is in a sink"):
            check([text], PASSWORD)


def test_a_session_that_is_up_keeps_no_login_for_a_replay():
    """The exchange asks for everything again, and the login is not in what it gets."""
    heard: list[bytes] = []

    def script(talk: Talk) -> None:
        talk.until("seto.login")
        talk.send(frames.login_response(), frames.replay(2, 1))
        while data := talk.socket.recv(65_536):
            heard.append(data)

    with RawServer(script) as server:
        pool = Pool([server.account(password=PASSWORD)], timeouts=TimeoutPolicy(logout=0.05))
        with pool:
            eventually(lambda: b"".join(heard).count(b"\x08") >= 2)
            eventually(lambda: pool["alice"].stats()["frames_sent_total"] >= 3)
    assert heard and PASSWORD.encode() not in b"".join(heard)
    gc.collect()

"""One run of a pool in which everything goes wrong, with every log sink open, once for all who look at it."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import http.client
import io
import logging
import os
import pathlib
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.util

import smarkets_pool.exchange
from smarkets_pool import Account, Pool, TimeoutPolicy, eto
from smarkets_pool.config.secrets import EnvSecret, FileSecret, LiteralSecret
from smarkets_pool.exceptions import Error, PoolError
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings, Login
from smarkets_pool.exchange.control import Command, Control
from smarkets_pool.exchange.control.http import ControlServer
from tests.rig.haystack import about, error_texts, variables
from tests.rig.pooling import AT_ONCE, RawServer, Record, Talk, execute, order, user
from tests.rig.waiting import eventually

__all__ = ["CANARY", "Caught", "Trouble", "all_levels", "trouble"]

#: A name that is no secret and comes to every sink: an account's.
CANARY = "canary-7f3a91"
#: Characters that each form of writing has to escape, or not.
_ODD = (
    "plain-and-long",
    "\"double\" and 'single'",
    "back\\slash\\n %s %(x)d {0} {x}",
    "é€ü 日本 <&>;$(x)`",
    "a+b/c=d?e&f",
)
_EXCHANGE = os.path.dirname(smarkets_pool.exchange.__file__) + os.sep


@dataclasses.dataclass(frozen=True)
class Caught:
    """A log record as texts: formatted, its arguments and attributes, its error with variables, and the
    variables of the frames that logged it. Nothing of it keeps an object of the run alive.
    """

    name: str
    account: object
    message: str
    text: str
    attributes: tuple[str, str]
    traceback: str
    stack: str


class _Catch(logging.Handler):
    def __init__(self) -> None:
        super().__init__(1)
        self.caught: list[Caught] = []

    def emit(self, record: logging.LogRecord) -> None:
        stack, frame = "", sys._getframe(1)
        files = []
        while frame is not None:
            files.append(frame.f_code.co_filename)
            frame = frame.f_back
        # The exchange is who a secret is sent to: there it is in what was read.
        if not any(name.startswith(_EXCHANGE) for name in files):
            stack = "\n".join(variables(sys._getframe(1)))
        self.caught.append(
            Caught(
                record.name,
                getattr(record, "account", None),
                record.getMessage(),
                self.format(record),
                (repr(record.args), repr(vars(record))),
                "\n".join(error_texts(record.exc_info[1])) if record.exc_info else "",
                stack,
            )
        )


@contextlib.contextmanager
def all_levels(handler: logging.Handler, *names: str) -> Iterator[None]:
    """A handler at the named loggers (the root one is ""), which let everything through meanwhile."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


@dataclasses.dataclass
class Trouble:
    """What was left of the run. ``names`` are ours of the accounts, ``texts`` is what was shown, by sink."""

    secrets: list[str]
    names: set[str]
    at_root: list[Caught]
    at_package: list[Caught]
    texts: dict[str, list[str]]
    down: set[str]


@functools.cache
def trouble() -> Trouble:
    """The run."""
    root, package = _Catch(), _Catch()
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(pathlib.Path(folder))
        with all_levels(root, ""), all_levels(package, "smarkets_pool"):
            run.go()
    names = {account.name for account in run.accounts}
    return Trouble(run.secrets, names, root.caught, package.caught, run.texts, run.down)


#: How often a login looks into the whole process: in a long run that is dear.
_LOOKS = 2


class _Run:
    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.texts: dict[str, list[str]] = {
            sink: [] for sink in ("objects", "errors", "stats and reports", "dumps", "control")
        }
        self.accounts: list[Account] = []
        self._looks = 0
        self.down: set[str] = set()
        self.passwords = [f"pass{number}-{odd}" for number, odd in enumerate(_ODD)]
        self.tokens = [f"token{number}-{odd}" for number, odd in enumerate(_ODD)]
        self.wrong = [f"wrong{number}-{odd}" for number, odd in enumerate(_ODD)]
        self.secrets = [*self.passwords, *self.tokens, *self.wrong]

    def go(self) -> None:
        """From the first login to the last object."""
        settings = ExchangeSettings(heartbeat_after=0.2)
        with (
            EmbeddedExchange(accounts=1, settings=settings) as exchange,
            RawServer(Talk.say_nothing) as silent,
            RawServer(lambda talk: talk.send(b"\x05\xff\xff\xff\xff\xff")) as rude,
        ):
            logins = [
                Login(f"odd-{number}@example.com", *pair)
                for number, pair in enumerate(zip(self.passwords, self.tokens, strict=True))
            ]
            for login in logins:
                exchange.exchange.accounts.add(login.username, login.password, login.token)
            exchange.logins = logins
            self.accounts = self._good(exchange) + self._bad(exchange, silent, rude)
            pool = Pool(self.accounts, reconnect=AT_ONCE)
            try:
                self._live(exchange, pool)
            finally:
                pool.stop()  # also when time was up: it would trouble every test behind this one

    # --- accounts --------------------------------------------------------------------------------

    def _good(self, exchange: EmbeddedExchange) -> list[Account]:
        """One for each place that a secret can come from."""
        path = self.folder / "secret"
        path.touch(0o600)
        path.write_text(self.passwords[3] + "\n", encoding="utf-8")
        os.environ["TEST_TROUBLE_SECRET"] = self.passwords[4]
        place = {**exchange.settings_for(1)}
        for key in ("username", "password"):
            del place[key]
        return [
            Account(CANARY, **exchange.settings_for(0)),
            Account("token", token=self.tokens[1], **place),
            Account("called", **{**exchange.settings_for(2), "password": self._called}),
            Account("file", **{**exchange.settings_for(3), "password": FileSecret(str(path))}),
            Account("variable", **{**exchange.settings_for(4), "password": EnvSecret("TEST_TROUBLE_SECRET")}),
        ]

    def _called(self) -> str:
        """A password function; asked in the middle of a login, when the process is looked into.

        Only the first times: every look goes through all objects there are, and each login asks.
        """
        self._looks += 1
        if self._looks > _LOOKS:
            return self.passwords[2]
        self.texts["dumps"] += gevent.util.format_run_info()
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            self.texts["dumps"].append(file.read().decode())
        shown = io.StringIO()
        gevent.util.print_run_info(file=shown)
        self.texts["dumps"].append(shown.getvalue())
        return self.passwords[2]

    def _bad(self, exchange: EmbeddedExchange, silent: RawServer, rude: RawServer) -> list[Account]:
        """One for each way in which a login can fail."""
        place = {**exchange.settings_for(1)}
        del place["username"], place["password"]
        short = TimeoutPolicy(login=0.05, connect=0.05)
        wrong = self.wrong
        return [
            Account(
                "wrong", username="odd-3@example.com", password=wrong[0], **{**place, "host": "localhost"}
            ),
            Account("bad-token", token=wrong[1], **place),
            silent.account("silent", password=wrong[2], timeouts=short),
            silent.account("handshake", password=wrong[3], ssl=True, timeouts=short),
            rude.account("rude", password=LiteralSecret(wrong[4])),
            Account("refused", username="r", password=wrong[0], host="127.0.0.1", port=1, ssl=False),
            Account("untrusted", **{**exchange.settings_for(0), "username": "u", "ca_file": None}),
            Account("not-text", username="n", password=wrong[1].encode() + b"\xff", host="127.0.0.1"),
            Account("half-text", username="h", password=wrong[2] + "\udc80", host="127.0.0.1"),
            Account("half-token", token=wrong[3] + "\udc80", host="127.0.0.1"),
            silent.account("endless", password=wrong[4] * 100_000),
            silent.account("no-variable", password=EnvSecret("TEST_TROUBLE_NOT_SET")),
            silent.account("no-file", password=FileSecret(str(self.folder / "missing"))),
            silent.account("raising", password=_raise),
        ]

    # --- the run ---------------------------------------------------------------------------------

    def _live(self, exchange: EmbeddedExchange, pool: Pool) -> None:
        record = Record(pool)
        good = [account.name for account in self.accounts[:5]]

        @pool.on("seto.order_executed")
        @pool.on("member.down")
        @pool.on("member.gap")
        def broken(delivery: Any) -> None:
            raise ValueError(repr(delivery))

        @pool.on_error
        def broken_too(delivery: Any, error: BaseException) -> None:
            raise RuntimeError(repr(error)) from error

        pool.start()
        for name in good:
            record.wait("member.up", account=name)
        for account in self.accounts[5:]:
            record.wait("member.down", account=account.name)
        for number in range(5):
            pool[good[number]].send(order(exchange))
            execute(exchange, number)
            exchange.faults.drop(user(exchange, number))
            execute(exchange, number)
            exchange.cut(user(exchange, number), inside=number % 2 == 0)
        for name in good:
            record.wait("member.up", 2, account=name)
        self._misuse(pool, record, exchange)
        self._show(pool, record, exchange)
        exchange.exchange.log_everybody_out(eto.LOGOUT_UNAUTHORISED, exchange.now())
        record.wait("member.down", 2, account=CANARY)
        self._raises(PoolError, lambda: pool.wait_until_up(timeout=1))
        for delivery in record.all:
            self.texts["objects"] += about(delivery)
            self.texts["objects"] += about(delivery.message)
            if delivery.name == "member.down":
                self.down.add(delivery.account)
                self.texts["errors"] += error_texts(delivery.message.error)
        self.texts["stats and reports"] += [repr(pool.stats()), *about(pool.stop())]

    def _ask(self, server: ControlServer) -> None:
        """Requests over HTTP, with the token of the control and with another; one that fails inside."""
        where = urllib.parse.urlsplit(server.url)
        for token in (server.description()["token"], self.wrong[0]):
            for path in ("/", "/truth", "/connections", f"/{CANARY}", "/fails"):
                connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=10)
                connection.request("GET", path, headers={"Authorization": f"Bearer {token}".encode()})
                answer = connection.getresponse()
                self.texts["control"].append(f"{answer.status} {answer.getheaders()} {answer.read()!r}")
                connection.close()

    def _raises(self, kind: type[BaseException], function: Callable[[], object]) -> None:
        try:
            function()
        except kind as error:
            self.texts["errors"] += error_texts(error)
        else:
            raise AssertionError(f"no {kind.__name__} came")

    def _misuse(self, pool: Pool, record: Record, exchange: EmbeddedExchange) -> None:
        """Every call that takes a secret, with something wrong about it."""
        wrong = self.wrong
        for call in (
            lambda: Account("a", usernme="a", password=wrong[0]),
            lambda: Account("a", username="a", pasword=wrong[1]),
            lambda: Account("a", password=wrong[2], settings=self.accounts[0].settings),
            lambda: Account("", password=wrong[3], token=wrong[4]),
            lambda: Account("a", password=wrong[0]).check(),
            lambda: Account("a", username="a", password=wrong[1], port=0).check(),
            lambda: pool.add(Account("new", username="a", password=wrong[0], port=-1)),
            lambda: pool.add(Account(CANARY, username="b", password=wrong[2])),
            lambda: pool.add(Account("again", **exchange.settings_for(0))),
            lambda: pool.update(CANARY, passwrd=wrong[3]),
            lambda: pool.update(CANARY, password=wrong[4], port=0),
            lambda: pool.update(CANARY, token=wrong[0], settings=self.accounts[1].settings),
            lambda: Pool(Account(CANARY, username="a", password=wrong[0])),
        ):
            self._raises(Error, call)

    def _show(self, pool: Pool, record: Record, exchange: EmbeddedExchange) -> None:
        """Everything there is while it runs."""
        inner = exchange.exchange
        shown: list[Any] = [pool, pool._governor, pool._supervisor, pool._timekeeper, pool.dispatcher]
        shown += [pool._roster, pool._roster._logins, pool._roster._members, pool._runtime]
        shown += [exchange, inner, inner.accounts, inner.peers]
        shown += [inner.truth, inner.faults, inner.engine, *inner.accounts, *inner.peers]
        shown += [peer.protocol for peer in inner.peers]
        for member in pool:
            account = member.account
            shown += [member, account, account.settings]
            for holder in (account.settings._password, account.settings._token, account.settings.password):
                if not isinstance(holder, (str, bytes)):
                    self.texts["objects"] += about(holder, holder=True)
            shown += [member.inbox, member._life, member._intake, member._connection, member._subscriptions]
            if member._connection is not None:
                shown += [member._connection.protocol, member._connection.protocol.memory]
                shown += [member._connection.protocol.memory.journal, member._connection._transport]
        for thing in shown:
            self.texts["objects"] += about(thing)
        self.texts["objects"] += [repr(login) for login in exchange.logins]
        self.texts["stats and reports"].append(repr(pool.stats()))
        control = Control(exchange)
        control._readings["fails"] = _raise
        control.commands = {**control.commands, "fails": Command("fails", "reading", "fails", "fails")}
        for command in ({"do": "truth"}, {"do": CANARY}, {"do": "cut"}, {"do": "cut", "account": "nobody"}):
            self.texts["control"].append(repr(control.execute(command)))
        self.texts["control"].append(repr(control.execute_line(b"{")))
        with ControlServer(control) as server:
            self.secrets.append(server.description()["token"])
            self.texts["control"] += [*about(control), *about(server), *about(server._server)]
            self._ask(server)
        self._raises(AssertionError, lambda: eventually(lambda: False, timeout=0.001))


def _raise() -> str:
    raise KeyError("vault")

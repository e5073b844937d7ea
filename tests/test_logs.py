"""What is logged: by which loggers, about which account, frames by name and size, and what it may cost."""

import ast
import collections
import dataclasses
import functools
import itertools
import logging
import pathlib
import re
import threading
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest

import smarkets_pool
from smarkets_pool import Account, Pool, StopReport, TimeoutPolicy, seto
from smarkets_pool.cli.reload import Reload
from smarkets_pool.cli.watch.figures import Row, Totals
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
from smarkets_pool.logs import PlaceLog
from smarkets_pool.pool import supervisor
from smarkets_pool.pool.delivery import LIFECYCLE
from smarkets_pool.session import Session, SessionSettings
from smarkets_pool.session.framelog import FrameLog
from smarkets_pool.wire.framing import FrameBuffer
from smarkets_pool.wire.payloads import parse_payload, payload_name
from tests.documents.reading import code_in, document
from tests.rig.pooling import RawServer, Record, Talk, execute, order, pool_on, user
from tests.rig.trouble import CANARY, all_levels, trouble
from tests.rig.waiting import eventually

ROOT = pathlib.Path(smarkets_pool.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if not path.name.endswith("_pb2.py"))
WIRE = "smarkets_pool.session.wire"


class Kept(logging.Handler):
    """Keeps records."""

    def __init__(self) -> None:
        super().__init__(1)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def texts(self, logger: str = "") -> list[str]:
        """The messages of one logger."""
        return [record.getMessage() for record in self.records if record.name == logger or not logger]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Everything of the package, at every level."""
    handler = Kept()
    with all_levels(handler, "smarkets_pool"):
        yield handler


# --- how the code logs ------------------------------------------------------------------------------


@functools.cache
def nodes() -> dict[str, list[ast.AST]]:
    """Every module of the package, taken apart."""
    return {str(path.relative_to(ROOT)): list(ast.walk(ast.parse(path.read_text()))) for path in MODULES}


@functools.cache
def places() -> dict[str, set[tuple[str, str]]]:
    """Place -> the modules and variables that log under its name."""
    found: dict[str, set[tuple[str, str]]] = collections.defaultdict(set)
    for module, there in nodes().items():
        for node in there:
            if isinstance(node, ast.Assign) and _makes_a_place(node.value):
                (name,) = node.value.args
                assert isinstance(name, ast.Constant) and isinstance(node.targets[0], ast.Name)
                found[str(name.value)].add((module, node.targets[0].id))
    return found


def _makes_a_place(node: Any) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "PlaceLog"


def test_each_place_logs_from_one_module() -> None:
    """A logger's name leads to its place."""
    assert len(places()) > 10
    assert {place: modules for place, modules in places().items() if len(modules) > 1} == {}


def test_nothing_logs_but_through_a_place() -> None:
    """No ``logging.getLogger``, no function of ``logging``; the command line configures, so it may."""
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    for module, there in nodes().items():
        # Every place has a name of its own, by which the document's table is checked.
        assert sum(map(_makes_a_place, there)) == sum(
            where == module for used in places().values() for where, _ in used
        )
        if module == "logs.py" or module.startswith("cli/"):
            continue
        for node in there:
            if isinstance(node, ast.ImportFrom):
                assert node.module != "logging", f"{module}:{node.lineno}"
            elif isinstance(node, ast.Attribute):
                assert node.attr not in ("getLogger", "logger"), f"{module}:{node.lineno}"
                if getattr(node.value, "id", "") == "logging":
                    assert node.attr in levels, f"{module}:{node.lineno}: logging.{node.attr}"


def said() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call that logs: its place, its level, and the call."""
    named = {where: place for place, used in places().items() for where in used}
    by_method = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "exception": "ERROR"}
    for module, there in nodes().items():
        for node in there:
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                place = named.get((module, node.func.value.id))
                if place is not None and node.func.attr in by_method:
                    yield place, by_method[node.func.attr], node
                    continue
            for log, level in itertools.pairwise(node.args):
                place = named.get((module, getattr(log, "id", "")))
                if place is not None and isinstance(level, ast.Attribute):
                    yield place, level.attr, node


def test_every_place_says_something_and_every_text_gets_what_it_asks_for() -> None:
    """As many arguments as the format has; a text is a literal, so that whoever looks for it finds it."""
    assert {place for place, _, _ in said()} == set(places())
    for place, _, call in said():
        texts = [
            (number, argument)
            for number, argument in enumerate(call.args)
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        ]
        if texts:
            number, text = texts[0]
            rest = call.args[number + 1 :]
            asked = len(re.findall(r"%[^%]", text.value.replace("%%", "")))
            if not any(isinstance(argument, ast.Starred) for argument in rest):
                assert asked == len(rest), f"{place}: {text.value}"
        assert not any(isinstance(argument, ast.JoinedStr) for argument in call.args), place


# --- every record is about an account ---------------------------------------------------------------


def test_every_record_has_the_account_and_begins_with_it() -> None:
    """Of pool, sessions and exchange: a text, empty where it is about none, and the message has it."""
    records = trouble().at_root
    ours = [record for record in records if record.name.split(".")[0] == "smarkets_pool"]
    assert {record.name for record in ours} >= {
        *("smarkets_pool.pool.life", "smarkets_pool.pool.handlers", "smarkets_pool.pool"),
        *("smarkets_pool.session.socket", "smarkets_pool.session.flush", WIRE),
        "smarkets_pool.exchange.peer",
    }
    for record in ours:
        assert isinstance(record.account, str)
        begins = f"account {record.account}: " if record.account else ""
        assert record.message.startswith(begins)
        assert record.account or not record.message.startswith("account ")


def test_records_of_a_pool_have_our_name_of_the_account() -> None:
    """Never the user name, which is the exchange's; also those of the sessions that a pool makes."""
    run = trouble()
    for record in run.at_package:
        if record.account and not record.name.startswith("smarkets_pool.exchange."):
            assert record.account in run.names
        if record.name.startswith("smarkets_pool.session") and record.name != "smarkets_pool.session.tls":
            assert record.account in run.names
    assert CANARY in {record.account for record in run.at_package}


def test_a_session_alone_has_the_user_name(kept: Kept) -> None:
    """Or that it logs in by token."""
    with EmbeddedExchange(accounts=2) as exchange:
        by_token = {**exchange.settings_for(1), "token": exchange.logins[1].token}
        del by_token["username"], by_token["password"]
        for arguments, name in ((exchange.settings_for(0), user(exchange)), (by_token, "(by token)")):
            kept.records.clear()
            session = Session(SessionSettings(**arguments))
            session.log_in()
            session.disconnect()
            names = {r.account for r in kept.records if r.name.startswith("smarkets_pool.session")}
            assert names == {name}


# --- one place --------------------------------------------------------------------------------------

_place = PlaceLog("tests.place")


def test_a_record_points_at_its_caller(kept: Kept) -> None:
    """File, line and function are those of whoever logs, whichever method is used."""
    _place.debug("a", "debug")
    _place.info("a", "info")
    _place.warning("a", "warning")
    try:
        raise ValueError("boom")
    except ValueError:
        _place.exception("a", "exception")
    _place.log(logging.CRITICAL, "a", "log")
    found = [(record.levelname, record.filename, record.funcName) for record in kept.records]
    here = ("test_logs.py", "test_a_record_points_at_its_caller")
    assert found == [(level, *here) for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")]
    lines = pathlib.Path(__file__).read_text().splitlines()
    for record in kept.records:
        assert record.getMessage().removeprefix("account a: ") in lines[record.lineno - 1]
    assert [bool(record.exc_info) for record in kept.records] == [False, False, False, True, False]


def test_an_accounts_name_is_no_format(kept: Kept) -> None:
    """Percent signs and braces of a name or an argument are what they are."""
    _place.info("100%s {0}", "it is %s and %d", "%d", 5)
    assert kept.texts() == ["account 100%s {0}: it is %d and 5"]
    _place.info(None, "50%")
    assert kept.texts()[1] == "50%"


class Raising(logging.Handler):
    """A log handler that does not keep logging's rules."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("the log's disk is full")


def _raising_filter(record: logging.LogRecord) -> bool:
    raise RuntimeError("a filter that fails")


@pytest.mark.parametrize("how", ["handler", "filter", "factory"])
def test_logging_that_fails_raises_nothing(
    how: str, kept: Kept, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told on standard error as logging does it, or not at all if the program wants that."""
    factory = logging.getLogRecordFactory()

    def with_account(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = factory(*args, **kwargs)
        record.account = "mine"
        return record

    raising = Raising()
    if how == "handler":
        _place.logger.addHandler(raising)
    elif how == "filter":
        _place.logger.addFilter(_raising_filter)
    else:
        logging.setLogRecordFactory(with_account)
    try:
        _place.info("a", "first")
        assert "Traceback" in capsys.readouterr().err
        monkeypatch.setattr(logging, "raiseExceptions", False)
        _place.info("a", "second")
        assert capsys.readouterr().err == ""
    finally:
        _place.logger.removeHandler(raising)
        _place.logger.removeFilter(_raising_filter)
        logging.setLogRecordFactory(factory)


# --- whether DEBUG is wanted --------------------------------------------------------------------------


@pytest.fixture
def quiet() -> Iterator[logging.Logger]:
    """The logger of frames, and the package's, as if nothing had been configured."""
    loggers = [logging.getLogger(name) for name in (WIRE, "smarkets_pool.session", "smarkets_pool")]
    before = [(logger.level, logger.disabled) for logger in loggers]
    yield loggers[0]
    for logger, (level, disabled) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.disabled = disabled
    logging.disable(logging.NOTSET)


def test_debugging_follows_every_way_to_switch_it(quiet: logging.Logger) -> None:
    """The logger's own level, that of one above it, ``logging.disable``, a logger that was switched off."""
    log = FrameLog("a")
    package = logging.getLogger("smarkets_pool")
    assert not log.enabled
    for logger in (quiet, logging.getLogger("smarkets_pool.session"), package):
        logger.setLevel(logging.DEBUG)
        assert log.enabled
        logger.setLevel(logging.INFO)
        assert not log.enabled
        logger.setLevel(logging.NOTSET)
    package.setLevel(1)
    assert log.enabled
    for level, wanted in ((logging.INFO, False), (logging.DEBUG, False), (logging.DEBUG - 1, True)):
        logging.disable(level)
        assert log.enabled is wanted
        assert log.enabled is quiet.isEnabledFor(logging.DEBUG)
    logging.disable(logging.NOTSET)
    quiet.disabled = True  # what logging.config does to loggers it was not told of
    assert not log.enabled
    quiet.disabled = False
    assert log.enabled


def test_debugging_waits_for_no_lock(quiet: logging.Logger) -> None:
    """Asked in the hub while a greenlet holds logging's lock, it answers; logging's own way fails there."""
    package = logging.getLogger("smarkets_pool")
    package.setLevel(logging.DEBUG)
    log = FrameLog("a")
    answers: dict[str, Any] = {}
    asked = gevent.event.Event()

    def ask() -> None:
        answers["ours"] = log.enabled
        try:
            answers["logging's"] = quiet.isEnabledFor(logging.DEBUG)
        except BaseException as error:
            answers["logging's"] = error
        asked.set()

    package.setLevel(logging.DEBUG)  # logging forgets what it knew, and has to ask under its lock again
    hold, held = gevent.event.Event(), gevent.event.Event()

    def holder() -> None:
        with logging._lock:
            held.set()
            hold.wait()

    other = gevent.spawn(holder)
    held.wait()
    gevent.get_hub().loop.run_callback(ask)
    asked.wait(5)
    hold.set()
    other.join()
    assert answers["ours"] is True
    assert isinstance(answers["logging's"], BaseException)


# --- frames -------------------------------------------------------------------------------------------


class Relay:
    """Between a client and an exchange without TLS: it passes bytes on and keeps them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.server = RawServer(self._serve)

    def _serve(self, talk: Talk) -> None:
        upstream = gevent.socket.create_connection(("127.0.0.1", self._port))
        try:
            back = gevent.spawn(self._pass, upstream, talk.socket, self.received)
            self._pass(talk.socket, upstream, self.sent)
            back.join(5)
        finally:
            upstream.close()

    @staticmethod
    def _pass(source: Any, target: Any, kept: list[bytes]) -> None:
        while data := source.recv(65_536):
            kept.append(data)
            target.sendall(data)
        target.shutdown(gevent.socket.SHUT_WR)

    def frames(self) -> list[str]:
        """A line per frame as it went over the wire, those sent first."""
        return [
            *(f"out {frame}" for frame in _frames(b"".join(self.sent))),
            *(f"in  {frame}" for frame in _frames(b"".join(self.received))),
        ]


def _frames(data: bytes) -> Iterator[str]:
    buffer = FrameBuffer()
    buffer.feed(data)
    while (payload := buffer.next_payload()) is not None:
        parsed = parse_payload(payload)
        replay = ", a replay" if parsed.eto_payload.is_replay else ""
        yield f"{payload_name(parsed)} seq {parsed.eto_payload.seq}, {len(payload)} bytes{replay}"


def logged_frames(kept: Kept, account: str) -> list[str]:
    """The lines about frames, those sent first; each is exactly of that form and of that account."""
    records = [record for record in kept.records if record.name == WIRE]
    assert all((r.levelno, r.account) == (logging.DEBUG, account) for r in records)
    texts = [record.getMessage().removeprefix(f"account {account}: ") for record in records]
    form = re.compile(r"(out|in ) (seto|eto)\.\w+ seq \d+, \d+ bytes(, a replay)?")
    assert [text for text in texts if not form.fullmatch(text)] == []
    return [text for text in texts if text.startswith("out")] + [t for t in texts if t.startswith("in")]


def test_every_frame_of_a_session_has_its_line(kept: Kept) -> None:
    """Login, answers, heartbeats, an order, logout: name, number and size, as they went over the wire."""
    with EmbeddedExchange(accounts=1, tls=False, settings=ExchangeSettings(heartbeat_after=0.05)) as exchange:
        relay = Relay(exchange.port)
        with relay.server:
            settings = SessionSettings(**{**exchange.settings_for(0), "port": relay.server.port})
            session = Session(settings)
            session.log_in()
            session.send(order(exchange))
            session.send(seto.MarketSubscribe(market_id=exchange.market_ids[0]))
            session.ping()
            session.flush()
            seen: list[str] = []
            while "eto.pong" not in seen or seen.count("eto.heartbeat") < 2:
                session.read()
                while (frame := session.next_frame()) is not None:
                    seen.append(payload_name(frame.protobuf))
            session.logout()
            while not session.logged_out:
                session.read()
                while session.next_frame() is not None:
                    pass
            session.disconnect()
            wired = relay.frames()
    assert logged_frames(kept, user(exchange)) == wired
    assert {line.split()[1] for line in wired} >= {
        *("seto.login", "eto.login_response", "seto.order_create", "seto.order_accepted", "eto.pong"),
        *("eto.ping", "eto.heartbeat", "eto.logout", "seto.market_quotes"),
    }


def test_every_frame_of_a_pool_has_its_line(kept: Kept) -> None:
    """As for a session, over the change from the life greenlet to the hub; resumed events are replays."""
    with EmbeddedExchange(accounts=1, tls=False, settings=ExchangeSettings(heartbeat_after=0.05)) as exchange:
        execute(exchange, times=3)
        relay = Relay(exchange.port)
        with relay.server:
            settings = {**exchange.settings_for(0), "port": relay.server.port}
            pool = Pool([Account("alice", **settings)])
            pool["alice"]._known = True  # it asks for everything there is
            record = Record(pool)
            with pool:
                record.wait("member.up")
                pool["alice"].send(order(exchange))
                record.wait("seto.order_accepted")
                eventually(lambda: len(record.of("eto.heartbeat")) > 1)
            wired = relay.frames()
    assert logged_frames(kept, "alice") == wired
    assert sum("a replay" in line for line in wired) == 3
    assert wired[0].startswith("out seto.login seq 1, ")


def test_frames_are_logged_from_when_it_is_switched_on(quiet: logging.Logger) -> None:
    """In a running pool, without a reconnect, and no longer when it is switched off."""
    handler = Kept()
    quiet.addHandler(handler)
    try:
        with EmbeddedExchange(accounts=1) as exchange:
            pool = pool_on(exchange)
            record = Record(pool)
            with pool:
                record.wait("member.up")
                assert handler.records == []
                quiet.setLevel(logging.DEBUG)
                execute(exchange)
                record.wait("seto.order_executed")
                eventually(lambda: handler.records)
                quiet.setLevel(logging.NOTSET)
                eventually(lambda: not pool._supervisor._lines)
                lines = len(handler.records)
                execute(exchange)
                record.wait("seto.order_executed", 2)
            assert len(handler.records) == lines
        assert any("in  seto.order_executed seq" in text for text in handler.texts())
    finally:
        quiet.removeHandler(handler)


def test_without_debug_nothing_is_formatted_or_queued(
    quiet: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame is looked at, no line waits for the writer: nobody pays for what nobody reads."""
    called: list[str] = []
    for name in ("received", "sent", "_line"):
        monkeypatch.setattr(FrameLog, name, lambda *_, name=name: called.append(name))
    lines: list[Any] = []
    real = supervisor.Supervisor.log
    monkeypatch.setattr(
        supervisor.Supervisor, "log", lambda *args: lines.append(args[1].logger.name) or real(*args)
    )
    with EmbeddedExchange(accounts=1) as exchange:
        pool = pool_on(exchange)
        record = Record(pool)
        with pool:
            record.wait("member.up")
            execute(exchange, times=20)
            record.wait("seto.order_executed", 20)
    assert (called, lines) == ([], [])


# --- the hub's lines ----------------------------------------------------------------------------------


class Blocking(logging.Handler):
    """Waits, as a full pipe or a dead disk would; ``waiting`` says that somebody does."""

    def __init__(self) -> None:
        super().__init__(1)
        self.go_on = gevent.event.Event()
        self.waiting = gevent.event.Event()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.waiting.set()
        self.go_on.wait()
        self.texts.append(record.getMessage())


def test_a_log_handler_that_blocks_costs_no_heartbeat() -> None:
    """The exchange would end a silent session many times over; frames come and go, events are told."""
    handler = Blocking()
    settings = ExchangeSettings(silence_limit=0.2, heartbeat_after=0.05)
    with EmbeddedExchange(accounts=2, settings=settings) as exchange:
        pool = pool_on(exchange, 2, timeouts=TimeoutPolicy(heartbeat_after=0.05))
        record = Record(pool)
        with pool:
            pool.wait_until_up(timeout=10)
            with all_levels(handler, WIRE):
                handler.waiting.wait(5)
                heartbeats = len(record.of("eto.heartbeat"))
                execute(exchange, times=5)
                record.wait("seto.order_executed", 5)
                eventually(lambda: len(record.of("eto.heartbeat")) > heartbeats + 20)
                assert handler.texts == []
                assert len(pool._supervisor._lines) > 20
                handler.go_on.set()
                eventually(lambda: not pool._supervisor._lines)
            stats = pool.stats()
    assert stats["disconnects_total"] == 0 and stats["logins_total"] == 2
    for line in ("out eto.heartbeat", "in  eto.heartbeat", "in  seto.order_executed"):
        assert sum(line in text for text in handler.texts) >= 5


@pytest.mark.parametrize("fails", ["emit", "filter"])
def test_a_log_handler_that_raises_costs_nothing(fails: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the lines behind it, no greenlet, no delivery: also when every line of a pool's life fails."""
    raising = Raising()
    logger = logging.getLogger("smarkets_pool")
    with all_levels(raising if fails == "emit" else Kept(), "smarkets_pool"):
        if fails == "filter":
            for place in places():
                logging.getLogger(f"smarkets_pool.{place}").addFilter(_raising_filter)
        try:
            with EmbeddedExchange(accounts=1) as exchange:
                pool = pool_on(exchange)
                record = Record(pool)

                @pool.on("seto.order_executed")
                def fail(delivery: Any) -> None:
                    raise ValueError("a handler's own")

                with pool:
                    record.wait("member.up")
                    execute(exchange, times=3)
                    record.wait("seto.order_executed", 3)
                    exchange.cut(user(exchange))
                    record.wait("member.up", 2)
                    stats = pool.stats()
                    assert record.numbers() == [1, 2, 3]
        finally:
            for place in places():
                logging.getLogger(f"smarkets_pool.{place}").removeFilter(_raising_filter)
    assert stats["greenlet_deaths_total"] == 0
    assert stats["handler_errors_total"] == 3
    assert logger.handlers == []
    assert "Traceback" in capsys.readouterr().err


def test_lines_of_the_hub_that_are_too_many_are_counted(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that waited are written in order, then how many were dropped; nothing stays behind."""
    monkeypatch.setattr(supervisor, "_LOG_LIMIT", 10)
    pool = Pool()
    for number in range(25):
        pool._supervisor.log(_place, logging.INFO, "a", "line %d", number)
    eventually(lambda: pool._supervisor._writer is None)
    assert kept.texts("smarkets_pool.tests.place") == [f"account a: line {number}" for number in range(10)]
    dropped = "15 log lines of the hub were dropped, too many at once"
    assert kept.texts("smarkets_pool.pool.supervisor") == [dropped]


def test_a_line_that_comes_while_the_loss_is_told_is_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer looks again before it ends."""
    monkeypatch.setattr(supervisor, "_LOG_LIMIT", 1)
    handler = Blocking()
    pool = Pool()
    with (
        all_levels(handler, "smarkets_pool.pool.supervisor"),
        all_levels(Kept(), "smarkets_pool.tests.place"),
    ):
        for number in range(3):
            pool._supervisor.log(_place, logging.INFO, "a", "line %d", number)
        handler.waiting.wait(5)
        late = Kept()
        with all_levels(late, "smarkets_pool.tests.place"):
            pool._supervisor.log(_place, logging.INFO, "a", "late")
            handler.go_on.set()
            eventually(lambda: late.records)
    eventually(lambda: pool._supervisor._writer is None)


def test_a_line_of_the_hub_may_come_from_the_hub(kept: Kept) -> None:
    """It is written by a greenlet, not by the hub, which must not wait for a handler's lock."""
    writers: list[Any] = []

    class Who(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            writers.append(gevent.getcurrent())

    pool = Pool()
    with all_levels(Who(), "smarkets_pool.tests.place"):
        log = pool._supervisor.log
        gevent.get_hub().loop.run_callback(log, _place, logging.INFO, "a", "from the hub")
        eventually(lambda: writers)
    assert isinstance(writers[0], gevent.Greenlet) and writers[0].name == "log writer"
    eventually(lambda: pool._supervisor._writer is None)


def test_a_thread_of_the_users_may_log(kept: Kept) -> None:
    """A job in the threadpool logs like anybody."""
    gevent.get_hub().threadpool.apply(_place.info, ("a", "from a thread"))
    assert kept.texts() == ["account a: from a thread"]
    assert kept.records[0].thread != threading.get_ident()


# --- docs/logging.md ----------------------------------------------------------------------------------


def table(head: str) -> list[list[str]]:
    """The rows of the table of docs/logging.md whose first column is called so."""
    (found,) = (table for table in document("docs/logging.md").tables if table.head[0] == head)
    return found.rows


def test_the_document_lists_every_logger_with_its_levels() -> None:
    """As the places of the code are, and as they are used."""
    used: dict[str, set[str]] = collections.defaultdict(set)
    for place, level, _ in said():
        used[f"smarkets_pool.{place}"].add(level)
    assert {code_in(row[0])[0]: set(row[2].split(", ")) for row in table("logger")} == used


def test_the_document_lists_every_event_of_json_with_its_keys() -> None:
    """As ``demo`` and ``run`` say them."""
    events = {code_in(row[0])[0]: set(code_in(row[2])) for row in table("event")}
    source = "\n".join(path.read_text() for path in sorted((ROOT / "cli").rglob("*.py")))
    in_code = set(re.findall(r'event="(\w+)"|"event": "(\w+)"', source))
    assert set(events) == {name for pair in in_code for name in pair if name} | {
        *("member.up", "member.down", "member.gap", "member.stalled", "member.slow_handler"),
    }
    for name, kind in LIFECYCLE.items():
        if name in events:
            assert events[name] == {"account", *(f.name for f in dataclasses.fields(kind))} - {"error"}
    assert events["figures"] == {*Totals.__slots__, "members", *Row.__slots__}
    assert events["reloaded"] == {field.name for field in dataclasses.fields(Reload)}
    assert events["stopped"] == {"clean", *(field.name for field in dataclasses.fields(StopReport))}


def test_the_documents_figure_of_waiting_lines_is_the_codes() -> None:
    """How many lines of the hub may wait."""
    assert f"most {supervisor._LOG_LIMIT:,} wait" in document("docs/logging.md").text.replace("\n", " ")

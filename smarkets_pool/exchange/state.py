"""``StateFile``: the exchange's books in a file, so that they outlive its process.

The engine is deterministic, so the file has no books but everything that was asked of them, in order: an
append-only log in SQLite. Opening it means asking a new engine the same again. Beside the log stands what
clients know the exchange by (credentials, the CA) and what the log belongs to (accounts, markets, settings,
the version of the rules).

What is noted waits in memory for 20 ms at most and is then written, many changes in one transaction, by a
thread that does nothing else. A transaction of SQLite's write-ahead log is whole or not there, so a killed
process loses what waited and no more; a machine that loses its power may lose a little more.

A file is judged before it is used, and left as it is if it cannot be: it is no state file, a newer version
made it, it is damaged, it belongs to an exchange that was set up differently, another process has it, or it
can be read by others (it holds passwords). When it is closed in order, a fingerprint of the books is left in
it; if asking the same again has ever led to other books than those, that is told too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import gevent
import gevent.event
from gevent.threadpool import ThreadPool
from google.protobuf.message import DecodeError

from smarkets_pool.exceptions import ConfigError, Error, UsageError
from smarkets_pool.exchange.engine import Change, Engine, Operated
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.logs import PlaceLog
from smarkets_pool.wire.payloads import MESSAGE_CLASSES, message_name

__all__ = ["Credentials", "Identity", "Setup", "StateFile", "fingerprint"]

_log = PlaceLog("exchange.state")

#: The layout of the file. A higher number was made by a newer version of this package.
SCHEMA = 1
#: The rules of the engine. To be raised when the same requests lead to other books than before.
RULES = 1
#: Says in the head of an SQLite file whose it is: "smkt".
APPLICATION_ID = 0x736D6B74

_MAGIC = b"SQLite format 3\0"
#: Seconds in which changes gather before they are written together.
_PAUSE = 0.02
#: Changes that may wait. At thousands per second that is a disk which has not answered for a while.
MAX_WAITING = 100_000

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE logins (
    number INTEGER PRIMARY KEY, username TEXT NOT NULL, password TEXT NOT NULL, token TEXT NOT NULL
);
CREATE TABLE changes (
    number INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    now_us INTEGER NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    data BLOB NOT NULL,
    seq TEXT NOT NULL,
    session TEXT NOT NULL
);
"""
_INSERT = "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_NOTE = "INSERT OR REPLACE INTO meta VALUES (?, ?)"

#: The files that this process has open. Closing a second descriptor of one would give up its locks.
_open_here: set[tuple[int, int]] = set()

#: A row of ``changes``, in the order of its columns.
_Row = tuple[int, str, int, str, str, bytes, str, str]


# --- what a file belongs to --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """What an exchange begins with, which has to be the same again for the same log."""

    usernames: Sequence[str]
    contract_ids: Mapping[int, Sequence[int]]
    settings: ExchangeSettings

    def as_plain(self) -> dict[str, Any]:
        """All of it as data that ``json.dumps`` takes."""
        settings = dataclasses.asdict(self.settings)
        settings["opening_balance"] = str(Decimal(settings["opening_balance"]).normalize())
        return {
            "accounts": list(self.usernames),
            "markets": {str(market): list(contracts) for market, contracts in self.contract_ids.items()},
            "settings": settings,
        }

    def differences(self, plain: Mapping[str, Any]) -> list[str]:
        """How that of a file differs from this one, a sentence each."""
        mine = self.as_plain()
        found = []
        if plain["accounts"] != mine["accounts"]:
            found.append(f"it has {_counted(plain['accounts'])} and not {_counted(mine['accounts'])}")
        if plain["markets"] != mine["markets"]:
            found.append(f"it has {_traded(plain['markets'])} and not {_traded(mine['markets'])}")
        defaults = Setup((), {}, ExchangeSettings()).as_plain()["settings"]
        for name, value in mine["settings"].items():
            before = plain["settings"].get(name, defaults[name])
            if before != value:
                found.append(f"its {name} is {before!r} and not {value!r}")
        return found


def _counted(usernames: Sequence[str]) -> str:
    return f"{len(usernames)} accounts ({usernames[0]}, ...)" if usernames else "no accounts"


def _traded(markets: Mapping[str, Sequence[int]]) -> str:
    return f"{len(markets)} markets with {sum(map(len, markets.values()))} contracts"


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """How an account logs in; in no ``repr``."""

    username: str
    password: str = dataclasses.field(repr=False)
    token: str = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What clients know an exchange by: everybody's credentials, and the CA in PEM."""

    logins: Sequence[Credentials]
    ca_certificate: bytes = dataclasses.field(repr=False)
    ca_key: bytes = dataclasses.field(repr=False)


# --- the file ----------------------------------------------------------------------------------


class StateFile:
    """A log of changes in a file that this process alone has; see ``open``.

    First ``replay`` into an engine, then ``keep`` its changes, at the end ``close``.

    Attributes:
        identity: what the exchange was known by when the file was made.
        failure: why nothing is written any more, or None. What is in the file stays good.
    """

    def __init__(self, path: pathlib.Path, connection: sqlite3.Connection, identity: Identity) -> None:
        self.path = path
        self.identity = identity
        self.failure: str | None = None
        self._connection = connection
        self._engine: Engine | None = None
        self._known_accounts = 0
        self._number = 0
        self._waiting: list[_Row] = []
        self._writing = False
        self._wake = gevent.event.Event()
        self._written = gevent.event.Event()
        self._thread: Any = None
        self._greenlet: Any = None
        self._closing = False
        self._place = (0, 0)

    def __repr__(self) -> str:
        return f"<StateFile {str(self.path)!r}, {self._number} changes>"

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], setup: Setup, new_identity: Callable[[], Identity]
    ) -> StateFile:
        """The file of that name, made if there is none.

        Raises:
            ConfigError: it cannot be used; it was left as it is.
        """
        file = pathlib.Path(path)
        try:
            if not file.exists() or not file.stat().st_size:
                _make(file, setup, new_identity())
            place = _judge_from_outside(file)
            connection = sqlite3.connect(
                f"{file.absolute().as_uri()}?mode=rw",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
        except (OSError, sqlite3.Error) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(f"the state file {str(file)!r} cannot be opened: {why}") from error
        try:
            state = cls(file, connection, _take_over(file, connection, setup))
            _open_here.add(place)
            state._place = place
            return state
        except BaseException:
            connection.close()
            raise

    # --- before: what was, again -----------------------------------------------------------------

    def replay(self, engine: Engine) -> int:
        """Ask a new engine everything that was ever asked; return how many changes that were.

        Raises:
            ConfigError: the log cannot be followed, or leads to other books than it did.
        """
        try:
            return self._replay(engine)
        except sqlite3.Error as error:
            raise _damaged(self.path, str(error)) from error

    def _replay(self, engine: Engine) -> int:
        execute = self._connection.execute
        begin = execute("SELECT max(number) FROM changes WHERE kind = 'reset'").fetchone()[0] or 0
        checked = execute("SELECT value FROM meta WHERE name = 'checked'").fetchone()
        checked_at, expected = json.loads(checked[0]) if checked is not None else (-1, "")
        self._number = begin
        for row in execute("SELECT * FROM changes WHERE number >= ? ORDER BY number", (begin,)):
            self._number, kind = row[0], row[1]
            try:
                _REPLAYS[kind](engine, row)
            except (KeyError, ValueError, TypeError, DecodeError, UsageError, AssertionError) as error:
                raise _damaged(
                    self.path, f"change {self._number} ({kind}) cannot be made again: {error!r}"
                ) from error
            if self._number == checked_at and fingerprint(engine) != expected:
                raise ConfigError(
                    f"the state file {str(self.path)!r} was written under other rules of the exchange: the "
                    "same requests lead to other books today; use the version that made it, or another file"
                )
        return self._number - begin

    # --- meanwhile: what is, into the file -------------------------------------------------------

    def keep(self, engine: Engine, *, from_the_beginning: bool = False) -> None:
        """Note every change of this engine from now on, instead of those of another one.

        ``from_the_beginning``: it is a new one, and what was before does not count any more.
        """
        if self._engine is not None:
            self._engine.on_change = None
        self._engine = engine
        self._known_accounts = len(engine.accounts)
        if from_the_beginning:
            self._try(self._add, "reset")
        engine.on_change = self._note

    def start(self) -> None:
        """Write what is noted, in the background, until ``close``; again is fine.

        Raises:
            UsageError: it was closed.
        """
        if self._closing:
            raise UsageError(f"the state file {str(self.path)!r} was let go: make another exchange with it")
        if self._greenlet is None:
            self._thread = ThreadPool(1)
            self._greenlet = gevent.spawn(self._run)

    def flush(self) -> None:
        """Have everything that was noted so far in the file."""
        if self._greenlet is None and not self._closing:
            rows, self._waiting = self._waiting, []
            self._write(rows)
        while self._waiting or self._writing:
            self._wake.set()
            self._written.clear()
            self._written.wait(1.0)

    def close(self) -> None:
        """Write what waits and a fingerprint of the books, and let the file go; again is fine."""
        if self._closing:
            return
        self._closing = True
        if self._engine is not None:
            self._engine.on_change = None
        if self._greenlet is not None:
            self._wake.set()
            self._greenlet.join()
            self._thread.kill()
        try:
            self._write(self._waiting)
            if self.failure is None and self._engine is not None:
                checked = json.dumps([self._number, fingerprint(self._engine)])
                self._connection.execute(_NOTE, ("checked", checked))
        except Exception as error:  # noqa: BLE001 - the same
            self._fail(str(error))
        finally:
            self._connection.close()
            _open_here.discard(self._place)

    # --- in the hub ---

    def _note(self, change: Change) -> None:
        self._try(self._add_change, change)

    def _try(self, add: Callable[..., None], *what: Any) -> None:
        """Nothing is noted behind a change that could not be, and whoever made it goes on."""
        if self.failure is None:
            try:
                add(*what)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end in silence
                self._fail(f"{what[0]!r} cannot be written: {error!r}")

    def _add_change(self, change: Change) -> None:
        self._note_accounts()
        if isinstance(change, Operated):
            data = json.dumps(dict(change.arguments)).encode()
            self._add("operate", change.now_us, "", change.verb, data)
        else:
            kind = "throttled" if change.throttled else "request"
            name = message_name(type(change.message)) or ""
            data = change.message.SerializePartialToString()
            self._add(kind, change.now_us, change.username, name, data, str(change.seq), change.session)

    def _note_accounts(self) -> None:
        """Accounts that were not there at the beginning, such as those of house traders."""
        assert self._engine is not None
        accounts = self._engine.accounts
        if len(accounts) == self._known_accounts:
            return
        for account in list(accounts)[self._known_accounts :]:
            data = json.dumps(account.history.maxlen).encode()
            self._add("account", 0, account.username, "", data)
        self._known_accounts = len(accounts)

    def _add(
        self,
        kind: str,
        now_us: int = 0,
        account: str = "",
        name: str = "",
        data: bytes = b"",
        seq: str = "",
        session: str = "",
    ) -> None:
        if len(self._waiting) >= MAX_WAITING:
            raise Error(f"{MAX_WAITING} others wait for the disk")
        self._number += 1
        self._waiting.append((self._number, kind, now_us, account, name, data, seq, session))
        self._wake.set()

    def _fail(self, why: str) -> None:
        """Note nothing more; what waits is still written if it can be, since a log may end anywhere."""
        self.failure = why
        _log.exception(None, "the state file %s is not kept any more: %s", self.path, why)

    # --- in a greenlet, and in the thread it has ---

    def _run(self) -> None:
        while not self._closing or self._waiting:
            self._wake.wait()
            if not self._closing:
                gevent.sleep(_PAUSE)
            self._wake.clear()
            rows, self._waiting = self._waiting, []
            self._writing = True
            try:
                self._thread.apply(self._write, (rows,))
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end in silence
                self._fail(str(error))
                self._waiting = []
            self._writing = False
            self._written.set()

    def _write(self, rows: Sequence[_Row]) -> None:
        if not rows:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(_INSERT, rows)
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise


# --- making and judging a file -----------------------------------------------------------------


def _make(file: pathlib.Path, setup: Setup, identity: Identity) -> None:
    """A whole new file, or none: made under another name, readable by its owner only."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(descriptor)
    try:
        connection = sqlite3.connect(name, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN")
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            notes = {
                "rules": str(RULES),
                "setup": json.dumps(setup.as_plain()),
                "ca_certificate": identity.ca_certificate.decode(),
                "ca_key": identity.ca_key.decode(),
            }
            connection.executemany(_NOTE, notes.items())
            connection.executemany(
                "INSERT INTO logins VALUES (?, ?, ?, ?)",
                [
                    (number, login.username, login.password, login.token)
                    for number, login in enumerate(identity.logins)
                ],
            )
            connection.execute("COMMIT")
        finally:
            connection.close()
        if file.exists() and not file.stat().st_size:
            os.replace(name, file)
        else:
            # Unlike a renaming it fails if somebody made one at this very moment; then theirs counts.
            with contextlib.suppress(FileExistsError):
                os.link(name, file)
    finally:
        for rest in (name, f"{name}-wal", f"{name}-shm", f"{name}-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(rest)


def _judge_from_outside(file: pathlib.Path) -> tuple[int, int]:
    """What can be known without SQLite, which may write where it only looks; return which file it is."""
    found = file.stat()
    mode, place = found.st_mode, (found.st_dev, found.st_ino)
    if place in _open_here:
        raise _in_use(file)
    if not stat.S_ISREG(mode):
        raise ConfigError(f"the state file {str(file)!r} is no file")
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"the state file {str(file)!r} holds passwords and can be read by others (mode "
            f"{stat.S_IMODE(mode):04o}): chmod 600 it"
        )
    with file.open("rb") as opened:
        head = opened.read(100)
    if head[:16] != _MAGIC or len(head) < 100 or int.from_bytes(head[68:72], "big") != APPLICATION_ID:
        raise ConfigError(f"the file {str(file)!r} is no state file of an exchange: name another one")
    schema = int.from_bytes(head[60:64], "big")
    if schema > SCHEMA:
        raise ConfigError(
            f"the state file {str(file)!r} was made by a newer version of this package (layout {schema}; "
            f"this one knows {SCHEMA}): use that version, or name another file"
        )
    return place


def _take_over(file: pathlib.Path, connection: sqlite3.Connection, setup: Setup) -> Identity:
    """Lock the file, look through it, and see that it belongs to such an exchange."""
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise _damaged(file, found.strip())
        meta = dict(connection.execute("SELECT name, value FROM meta"))
        logins = [
            Credentials(*row)
            for row in connection.execute("SELECT username, password, token FROM logins ORDER BY number")
        ]
        count, last = connection.execute("SELECT count(*), coalesce(max(number), 0) FROM changes").fetchone()
        if count != last:
            raise _damaged(file, f"{last - count} of {last} changes are missing")
        rules, plain = int(meta["rules"]), json.loads(meta["setup"])
        identity = Identity(logins, meta["ca_certificate"].encode(), meta["ca_key"].encode())
        differences = setup.differences(plain)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise _in_use(file) from error
        raise _damaged(file, str(error)) from error
    except (sqlite3.Error, KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(file, str(error)) from error
    if rules != RULES:
        raise ConfigError(
            f"the state file {str(file)!r} was written under rules {rules} of the exchange, and these are "
            f"{RULES}: use the version that made it, or name another file"
        )
    if differences:
        raise ConfigError(
            f"the state file {str(file)!r} belongs to another exchange: {'; '.join(differences)}"
        )
    return identity


def _in_use(file: pathlib.Path) -> ConfigError:
    return ConfigError(f"the state file {str(file)!r} is in use: another exchange keeps its books there")


def _damaged(file: pathlib.Path, why: str) -> ConfigError:
    return ConfigError(f"the state file {str(file)!r} is damaged, and was left as it is: {why}")


# --- changes again -----------------------------------------------------------------------------


def _request_again(engine: Engine, row: _Row) -> None:
    _, kind, now_us, account, name, data, seq, session = row
    message = MESSAGE_CLASSES[name].FromString(data)
    ask = engine.refuse_throttled if kind == "throttled" else engine.handle
    ask(engine.accounts[account], message, seq=int(seq), now_us=now_us, session=session)


def _operate_again(engine: Engine, row: _Row) -> None:
    engine.operate(row[4], now_us=row[2], **json.loads(row[5]))


def _add_account_again(engine: Engine, row: _Row) -> None:
    engine.accounts.add(row[3], remembers=json.loads(row[5]))


def _begin_again(engine: Engine, row: _Row) -> None:
    """A new exchange had begun here; the engine is new anyway."""


_REPLAYS: dict[str, Callable[[Engine, _Row], None]] = {
    "request": _request_again,
    "throttled": _request_again,
    "operate": _operate_again,
    "account": _add_account_again,
    "reset": _begin_again,
}


def fingerprint(engine: Engine) -> str:
    """A short text that is the same for the same books, balances and counters, and for nothing else."""
    found = hashlib.sha256()
    for market in engine.markets.values():
        books = [(number, [o.order_id for o in book.orders()]) for number, book in market.books.items()]
        trades = [(t.trade_id, t.price, t.quantity, t.state) for t in market.trades.values()]
        found.update(repr((market.market_id, market.state, market.managed, books, trades)).encode())
    for account in engine.accounts:
        money = (account.cash_points, account.liability_points, account.exposure_limit, account.stake_limit)
        orders = [
            (o.order_id, o.state, o.side, o.price, o.quantity, o.executed_quantity, o.executed_points)
            for o in account.orders.values()
        ]
        flags = (account.is_suspended, account.trading_suspended, account.next_account_sequence)
        found.update(repr((account.username, money, flags, orders)).encode())
    return found.hexdigest()

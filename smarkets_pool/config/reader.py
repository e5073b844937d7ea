"""From a file to accounts and policies, or to everything that is wrong with it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from smarkets_pool.account import Account
from smarkets_pool.config.keys import ACCOUNT, DEFAULTS, POOL, SUBSCRIPTIONS, TOP, Key, policy_keys
from smarkets_pool.config.kinds import KINDS
from smarkets_pool.config.problems import Path, Problem, Problems, parse, suggestion
from smarkets_pool.config.secrets import LiteralSecret, who_else_reads
from smarkets_pool.exceptions import ConfigError
from smarkets_pool.policies import Backoff, ReconnectPolicy, TimeoutPolicy
from smarkets_pool.session.tls import context_for
from smarkets_pool.stores import store_problem
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["AccountEntry", "PoolConfig", "load", "read", "read_text"]

_P = TypeVar("_P", Backoff, ReconnectPolicy, TimeoutPolicy)


@dataclasses.dataclass(frozen=True, slots=True)
class AccountEntry:
    """One account of a file; two entries are equal if the file says the same about both.

    arguments: what ``Account`` is made with; secrets are callables. subscriptions: market ids and so on, by
    the names of the keys.
    """

    name: str
    arguments: Mapping[str, Any] = dataclasses.field(repr=False)
    subscriptions: Mapping[str, Any]

    def account(self) -> Account:
        """The account, made anew."""
        return Account(self.name, **self.arguments)

    def wishes(self) -> Iterator[Message]:
        """The ``*_subscribe`` messages."""
        for market_id in self.subscriptions.get("markets", ()):
            yield seto.MarketSubscribe(market_id=market_id)
        for event_id in self.subscriptions.get("events", ()):
            yield seto.EventSubscribe(event_id=event_id)
        if self.subscriptions.get("price_feed"):
            yield seto.PriceFeedSubscribe()
        if self.subscriptions.get("market_feed"):
            yield seto.MarketFeedSubscribe()


@dataclasses.dataclass(frozen=True, slots=True)
class PoolConfig:
    """What a file says. With ``problems`` the rest is only what could be understood."""

    path: str
    accounts: Mapping[str, AccountEntry]
    reconnect: ReconnectPolicy
    timeouts: TimeoutPolicy
    store: str
    problems: tuple[Problem, ...]
    #: Every account the file names, also those with problems.
    names: frozenset[str]


def load(path: str | os.PathLike[str]) -> PoolConfig:
    """What a file says.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong: ``problems`` has everything.
    """
    config = read(path)
    if config.problems:
        raise ConfigError([f"{config.path}, {problem}" for problem in config.problems])
    return config


def read(path: str | os.PathLike[str]) -> PoolConfig:
    """What a file says and what is wrong with it; files it names are relative to its folder.

    Raises:
        ConfigError: it cannot be read at all.
    """
    file = pathlib.Path(path)
    try:
        with file.open("rb") as opened:
            others = who_else_reads(os.fstat(opened.fileno()))
            text = opened.read().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"the configuration {str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is {error.object[error.start]:#x}"
        raise ConfigError(f"the configuration {str(file)!r} is no UTF-8 text: {found}") from error
    return read_text(text, path=str(file), folder=file.parent, readable_by=others)


def read_text(
    text: str, *, path: str = "<text>", folder: pathlib.Path = pathlib.Path(), readable_by: str = ""
) -> PoolConfig:
    """The same for a text; ``readable_by`` says who else can read it, which matters for literal secrets."""
    data, broken = parse(text)
    if broken is not None:
        return PoolConfig(path, {}, ReconnectPolicy(), TimeoutPolicy(), "memory", (broken,), frozenset())
    return _Reader(Problems(text), folder, readable_by).config(path, data)


class _Reader:
    """Reads one file's tables; problems are collected, and what has one is left out."""

    def __init__(self, problems: Problems, folder: pathlib.Path, readable_by: str) -> None:
        self._problems = problems
        self._folder = folder
        self._readable_by = readable_by
        self._said_readable = False
        self._logins: dict[tuple[object, ...], str] = {}

    def config(self, path: str, data: Mapping[str, Any]) -> PoolConfig:
        """The whole file."""
        self._unknown((), data, TOP)
        pool = self._values(("pool",), self._table(("pool",), data), POOL)
        if problem := store_problem(pool.get("store", "memory")):
            self._problems.add(("pool", "store"), problem)
        reconnect = self._reconnect(("reconnect",), self._table(("reconnect",), data), ReconnectPolicy())
        timeouts = self._timeouts(("timeouts",), self._table(("timeouts",), data), TimeoutPolicy())
        defaults = self._table(("defaults",), data)
        shared = self._values(("defaults",), defaults, DEFAULTS)
        shared["subscriptions"] = self._subscriptions(("defaults", "subscriptions"), defaults)
        tables = self._table(("accounts",), data)
        if not tables and not isinstance(data.get("accounts"), (str, int, list)):
            self._problems.add(("accounts",), "there are no accounts: each is a table [accounts.NAME]")
        entries = {}
        for name in tables:
            entry = self._account(name, tables, shared, reconnect, timeouts)
            if entry is not None:
                self._check_unique(entry)
                entries[name] = entry
        return PoolConfig(
            path,
            entries,
            reconnect,
            timeouts,
            pool.get("store", "memory"),
            self._problems.in_order(),
            frozenset(tables),
        )

    # --- one account -----------------------------------------------------------------------------

    def _account(
        self,
        name: str,
        tables: Mapping[str, Any],
        shared: Mapping[str, Any],
        reconnect: ReconnectPolicy,
        timeouts: TimeoutPolicy,
    ) -> AccountEntry | None:
        path = ("accounts", name)
        before = len(self._problems.found)
        table = self._table(path, tables)
        own = self._values(path, table, ACCOUNT)
        arguments = {**shared, **own}
        subscriptions = {**shared["subscriptions"], **self._subscriptions((*path, "subscriptions"), table)}
        del arguments["subscriptions"]
        if "reconnect" in table:
            arguments["reconnect"] = self._reconnect(
                (*path, "reconnect"), self._table((*path, "reconnect"), table), reconnect
            )
        if "timeouts" in table:
            arguments["timeouts"] = self._timeouts(
                (*path, "timeouts"), self._table((*path, "timeouts"), table), timeouts
            )
        own_problems = self._problems.found[before:]
        self._check_readers(path, own)
        if any(_may_be_credentials(problem) for problem in own_problems):
            return None  # that the account has none would follow from that
        entry = AccountEntry(name, arguments, subscriptions)
        try:
            account = entry.account()
            account.check()
            if account.settings.ssl:
                context_for(account.settings)
        except ConfigError as error:
            self._problems.add(path, str(error).removeprefix(f"account {name!r}: "))
            return None
        return entry

    def _check_readers(self, path: Path, own: Mapping[str, Any]) -> None:
        """A literal secret in a file that others can read; said once: it is the file that has to change."""
        if not self._readable_by or self._said_readable:
            return
        for key in ("password", "token"):
            if isinstance(own.get(key), LiteralSecret):
                self._said_readable = True
                self._problems.add(
                    (*path, key),
                    f"a secret stands here, and the file can be read by {self._readable_by}: chmod 600 the "
                    'file, or say { env = "NAME" } or { file = "path" } instead',
                )
                return

    def _check_unique(self, entry: AccountEntry) -> None:
        other = self._logins.setdefault(entry.account().login_key, entry.name)
        if other != entry.name:
            self._problems.add(
                ("accounts", entry.name), f"this is the same login as account {other!r}: keep one of them"
            )

    # --- tables ----------------------------------------------------------------------------------

    def _table(self, path: Path, parent: Mapping[str, Any]) -> Mapping[str, Any]:
        table = parent.get(path[-1], {})
        if not isinstance(table, dict):
            self._problems.add(path, f"this is to be a table, not {type(table).__name__}")
            return {}
        return table

    def _unknown(self, path: Path, table: Mapping[str, Any], known: Mapping[str, Key]) -> None:
        for name in table:
            if name in known:
                continue
            if path == ("defaults",) and name in ACCOUNT:
                said = f"{name} is a single account's: put it into [accounts.NAME]"
                if name in ("reconnect", "timeouts"):
                    said = f"for all accounts this is the table [{name}]"
            else:
                said = f"there is no such key{suggestion(name, list(known))}"
            self._problems.add((*path, name), said)

    def _values(self, path: Path, table: Mapping[str, Any], known: Mapping[str, Key]) -> dict[str, Any]:
        """The values of a table's keys, tables left out."""
        self._unknown(path, table, known)
        values = {}
        for name, value in table.items():
            key = known.get(name)
            if key is None or key.kind in ("table", "policy"):
                continue
            try:
                values[name] = KINDS[key.kind](value, self._folder)
            except ValueError as error:
                self._problems.add((*path, name), f"{name} {error}")
        return values

    def _subscriptions(self, path: Path, parent: Mapping[str, Any]) -> dict[str, Any]:
        return self._values(path, self._table(path, parent), SUBSCRIPTIONS)

    # --- policies --------------------------------------------------------------------------------

    def _reconnect(self, path: Path, table: Mapping[str, Any], base: ReconnectPolicy) -> ReconnectPolicy:
        backoff = self._policy(
            (*path, "backoff"), self._table((*path, "backoff"), table), Backoff, base.backoff
        )
        rest = {name: value for name, value in table.items() if name != "backoff"}
        return self._policy(path, rest, ReconnectPolicy, dataclasses.replace(base, backoff=backoff))

    def _timeouts(self, path: Path, table: Mapping[str, Any], base: TimeoutPolicy) -> TimeoutPolicy:
        return self._policy(path, table, TimeoutPolicy, base)

    def _policy(self, path: Path, table: Mapping[str, Any], kind: type[_P], base: _P) -> _P:
        """``base`` with the fields of a table; a field that cannot be is a problem of its own line."""
        self._unknown(path, table, policy_keys(kind))
        fields = {field.name for field in dataclasses.fields(kind)}
        changes = {}
        for name in fields & table.keys():
            try:
                # With nothing else changed, so that each line has its own problem.
                kind.check_field(name, table[name])
            except ConfigError as error:
                self._problems.add((*path, name), _said(error))
            else:
                changes[name] = table[name]
        try:
            return dataclasses.replace(base, **changes)
        except ConfigError as error:
            self._problems.add(path, _said(error))
            return base


def _may_be_credentials(problem: Problem) -> bool:
    """Whether a problem is about a credential, or about a key that may be one misspelt."""
    return "no such key" in problem.text or problem.path.endswith(("username", "password", "token"))


def _said(error: ConfigError) -> str:
    return str(error).partition("(")[2].replace("): ", ": ", 1)

"""From a file to accounts and policies, or to everything that is wrong with it."""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from smarkets_pool.account import Account
from smarkets_pool.config.keys import (
    ACCOUNT,
    DEFAULTS,
    POLICIES,
    POOL,
    SUBSCRIPTIONS,
    TABLES,
    TOP,
    Key,
)
from smarkets_pool.config.kinds import KINDS
from smarkets_pool.config.problems import Path, Problem, Problems, in_toml, in_words, parse, suggestion
from smarkets_pool.config.secrets import LiteralSecret, who_else_reads
from smarkets_pool.exceptions import ConfigError
from smarkets_pool.policies import Backoff, ReconnectPolicy, TimeoutPolicy
from smarkets_pool.session.settings import SettingProblem
from smarkets_pool.session.tls import context_for
from smarkets_pool.stores import store_problem
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["AccountEntry", "PoolConfig", "load", "read", "read_text"]

_P = TypeVar("_P", Backoff, ReconnectPolicy, TimeoutPolicy)

_CREDENTIALS = frozenset({"username", "password", "token"})
#: Settings that are files for TLS; each is a key of its own here.
_TLS = frozenset({"key_file", "cert_file", "ca_file"})


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
    #: Every account the file names, in its order, also those with problems.
    names: tuple[str, ...]

    def check(self) -> None:
        """Refuse a file with problems.

        Raises:
            ConfigError: ``problems`` has everything.
        """
        if self.problems:
            raise ConfigError([f"{self.path}, {problem}" for problem in self.problems])


def load(path: str | os.PathLike[str]) -> PoolConfig:
    """What a file says.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong: ``problems`` has everything.
    """
    config = read(path)
    config.check()
    return config


def read(path: str | os.PathLike[str]) -> PoolConfig:
    """What a file says and what is wrong with it; files it names are relative to its folder.

    Raises:
        ConfigError: it cannot be read at all.
    """
    file = pathlib.Path(path)
    try:
        with file.open("rb") as opened:
            readers, _ = who_else_reads(os.fstat(opened.fileno()))
            data = opened.read()
    except OSError as error:
        raise ConfigError(f"the configuration {str(file)!r} cannot be read: {error.strerror}") from error
    text, broken = _decoded(data)
    if broken is not None:
        return _nothing_read(str(file), broken)
    # Absolute, because secret files are read again at each login, wherever the process is by then.
    return read_text(text, path=str(file), folder=file.absolute().parent, readable_by=readers)


def _decoded(data: bytes) -> tuple[str, Problem | None]:
    # Nothing is raised where the text, which may hold secrets, would be an error's cause.
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return "", Problem(line, "", f"this is no UTF-8 text: there is a byte {data[error.start]:#04x}")


def _nothing_read(path: str, broken: Problem) -> PoolConfig:
    return PoolConfig(path, {}, ReconnectPolicy(), TimeoutPolicy(), "memory", (broken,), ())


def read_text(
    text: str, *, path: str = "<text>", folder: pathlib.Path = pathlib.Path(), readable_by: str = ""
) -> PoolConfig:
    """The same for a text; ``readable_by`` says who else can read it, which matters for literal secrets."""
    data, broken = parse(text)
    if broken is not None:
        return _nothing_read(path, broken)
    return _Reader(Problems(text), folder, readable_by).config(path, data)


class _Reader:
    """Reads one file's tables; problems are collected, and what has one is left out."""

    def __init__(self, problems: Problems, folder: pathlib.Path, readable_by: str) -> None:
        self._problems = problems
        self._folder = folder
        self._readable_by = readable_by
        self._said_readable = False
        self._said_of_defaults: set[tuple[Path, str]] = set()
        self._defaults_lack: frozenset[str] = frozenset()
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
        self._defaults_lack = _TLS & defaults.keys() - shared.keys()
        shared["subscriptions"] = self._subscriptions(("defaults", "subscriptions"), defaults)
        tables = self._accounts(data)
        entries = {}
        for name in tables:
            entry = self._account(name, tables, shared, reconnect, timeouts)
            if entry is not None:
                entries[name] = entry
        return PoolConfig(
            path,
            entries,
            reconnect,
            timeouts,
            pool.get("store", "memory"),
            self._problems.in_order(),
            tuple(name for name, table in tables.items() if isinstance(table, dict)),
        )

    # --- accounts --------------------------------------------------------------------------------

    def _accounts(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        tables = data.get("accounts", {})
        if isinstance(tables, list):
            said = "each account is a table with its name, [accounts.NAME] in single brackets"
            self._problems.add(("accounts",), said)
        elif isinstance(tables, dict) and not tables:
            self._problems.add(("accounts",), "there are no accounts: each is a table [accounts.NAME]")
        else:
            return self._table(("accounts",), data)
        return {}

    def _account(
        self,
        name: str,
        tables: Mapping[str, Any],
        shared: Mapping[str, Any],
        reconnect: ReconnectPolicy,
        timeouts: TimeoutPolicy,
    ) -> AccountEntry | None:
        path = ("accounts", name)
        if name in ACCOUNT and not _is_account(tables[name]):
            self._problems.add(path, f"{name} is a single account's: put it into [accounts.NAME]")
            return None
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
        self._check_readers(path, own)
        entry = AccountEntry(name, arguments, subscriptions)
        return entry if self._works(entry, table, own) else None

    def _works(self, entry: AccountEntry, table: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
        """Whether an account can be made of an entry; tells everything that is against it."""
        in_doubt = _credentials_in_doubt(table, own)
        if in_doubt:
            # That there are none would follow from what was told already; the rest is looked at all the same.
            stand_in = {"password": "?"} if "username" in own else {"token": "?"}
            entry = dataclasses.replace(entry, arguments={**entry.arguments, **stand_in})
        path = ("accounts", entry.name)
        try:
            account = entry.account()
        except ConfigError as error:
            self._problems.add(path, str(error))
            return False
        found = list(account.settings.problems())
        if _TLS & table.keys() - own.keys() or self._defaults_lack:
            # A file that could not be read is missing now; what follows from that is not told.
            found = [problem for problem in found if problem.setting not in _TLS]
        elif account.settings.ssl and not found:
            try:
                context_for(account.settings)
            except ConfigError as error:
                found.append(SettingProblem(error.setting, str(error)))
        for problem in found:
            self._tell_of_settings(path, problem, own)
        if "username" in own or (account.settings.token is not None and not in_doubt):
            self._check_unique(account)
        return not found and not in_doubt

    def _tell_of_settings(self, path: Path, problem: SettingProblem, own: Mapping[str, Any]) -> None:
        """At the key of the file that it is about; if that is in ``[defaults]``, only once."""
        setting, sentence = problem
        if setting in _TLS:
            path = (*path, setting) if setting in own else ("defaults", setting)
            if (path, sentence) in self._said_of_defaults:
                return
            self._said_of_defaults.add((path, sentence))
        self._problems.add(path, sentence)

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

    def _check_unique(self, account: Account) -> None:
        other = self._logins.setdefault(account.login_key, account.name)
        if other != account.name:
            self._problems.add(
                ("accounts", account.name), f"this is the same login as account {other!r}: keep one of them"
            )

    # --- tables ----------------------------------------------------------------------------------

    def _table(self, path: Path, parent: Mapping[str, Any]) -> Mapping[str, Any]:
        table = parent.get(path[-1], {})
        if not isinstance(table, dict):
            # What was found is not told: `alice = "..."` may well be her password.
            heading = f"[{in_words(path)}]"
            self._problems.add(path, f"this is to be a table, such as {heading} with its keys below it")
            return {}
        return table

    def _unknown(self, path: Path, table: Mapping[str, Any], known: Mapping[str, Key]) -> None:
        for name in table:
            if name in known:
                continue
            homes = [heading for heading, keys in TABLES.items() if name in keys]
            if name in TOP:
                said = f"this is a table of its own, [{name}]"
            elif name in ACCOUNT and not path:
                said = f"{name} belongs into {'[accounts.NAME]' if name in _CREDENTIALS else '[defaults]'}"
            elif name in ACCOUNT and path == ("defaults",):
                said = f"{name} is a single account's: put it into [accounts.NAME]"
            elif homes:
                said = f"there is no such key here; it belongs into {homes[0]}"
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
        self._unknown(path, table, POLICIES[kind])
        fields = {field.name: getattr(base, field.name) for field in dataclasses.fields(kind)}
        changes = {}
        for name in fields.keys() & table.keys():
            try:
                # With nothing else changed, so that each line has its own problem.
                kind.check_field(name, table[name])
            except ConfigError:
                said = f"{name} is to be {kind.RULES[name][1]}, not {in_toml(table[name])}"
                self._problems.add((*path, name), said)
            else:
                changes[name] = table[name]
        fields.update(changes)
        misfit = kind.misfit(fields)
        if misfit is not None:
            name, expected = misfit
            self._problems.add(path, f"{name}={fields[name]!r}: expected {expected}")
            return base
        return dataclasses.replace(base, **changes)


def _is_account(table: Any) -> bool:
    """Whether what has a key's name is an account all the same, and not its value in the wrong place."""
    return isinstance(table, dict) and not table.keys().isdisjoint(ACCOUNT)


def _credentials_in_doubt(table: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether something is wrong with a credential already, or with a key that may be one misspelt."""
    if _CREDENTIALS & table.keys() - own.keys():
        return True
    strange = table.keys() - ACCOUNT.keys()
    near = [difflib.get_close_matches(name, ACCOUNT, n=1) for name in strange]
    return any(not names or names[0] in _CREDENTIALS for names in near)

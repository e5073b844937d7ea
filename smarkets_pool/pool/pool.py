"""``Pool``: many accounts in one process."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar, overload

import gevent
import gevent.event

from smarkets_pool.account import Account
from smarkets_pool.config import PoolConfig, load
from smarkets_pool.dispatcher import BY_DELIVERY, Dispatcher, Handler
from smarkets_pool.exceptions import ConfigError, InvalidCallbackError, PoolError, UsageError
from smarkets_pool.logs import PlaceLog
from smarkets_pool.policies import Deadline, ReconnectPolicy, TimeoutPolicy
from smarkets_pool.pool.delivery import (
    DELIVERY_NAMES,
    LIFECYCLE_NAMES,
    MARKET_NAMES,
    NEVER_DELIVERED,
    Delivery,
)
from smarkets_pool.pool.governor import Governor
from smarkets_pool.pool.inbox import ErrorHandler
from smarkets_pool.pool.member import Member, Surroundings
from smarkets_pool.pool.registration import Registrable, Registration
from smarkets_pool.pool.retirement import Retirement
from smarkets_pool.pool.roster import Roster
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.pool.state import UP
from smarkets_pool.pool.supervisor import Supervisor
from smarkets_pool.pool.timekeeper import HasDeadlines, Timekeeper
from smarkets_pool.stores import MemoryStore, SequenceStore, open_store

__all__ = ["Pool", "StopReport"]

_log = PlaceLog("pool")

_H = TypeVar("_H", bound=Callable[[Delivery], object])


@dataclasses.dataclass(frozen=True, slots=True)
class StopReport:
    """What ``stop`` did.

    logged_out: accounts whose session ended in order. cut: accounts whose connection had to be closed
    without the exchange's confirmation. undelivered: account -> deliveries that its handlers did not
    get (they come again after a resume). killed: names of greenlets that had to be killed.
    """

    took: float
    logged_out: tuple[str, ...]
    cut: tuple[str, ...]
    undelivered: dict[str, int]
    killed: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing had to be cut, dropped or killed."""
        return not (self.cut or self.undelivered or self.killed)


class Pool:
    """Keeps accounts logged in and hands what arrives to handlers.

    Args:
        accounts: who; more can be added and removed at any time.
        reconnect, timeouts: policies of all accounts that have none of their own.
        store: where positions are kept: a store, or its address; ``"memory"`` by default.
        dispatcher: handlers registered elsewhere (``Pool.new_dispatcher()``), shared.
        runtime: clock, timers and connections; the real ones by default. For tests: the ``fake_clock`` of
            ``smarkets_pool.testing`` has one whose time is moved by hand.

    Raises:
        ConfigError: a name twice, or one login twice at the same host.
    """

    def __init__(
        self,
        accounts: Iterable[Account] = (),
        *,
        reconnect: ReconnectPolicy | None = None,
        timeouts: TimeoutPolicy | None = None,
        store: SequenceStore | str | None = None,
        dispatcher: Dispatcher | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        self._reconnect = reconnect if reconnect is not None else ReconnectPolicy()
        self._timeouts = timeouts if timeouts is not None else TimeoutPolicy()
        self._store = open_store(store) if isinstance(store, str) else store or MemoryStore()
        self._dispatcher = dispatcher if dispatcher is not None else self.new_dispatcher()
        self._runtime = runtime if runtime is not None else Runtime()
        self._supervisor = Supervisor(self._runtime)
        self._timekeeper = Timekeeper(self._runtime, self._on_clock_error)
        self._governor = Governor(
            self._runtime,
            self._timekeeper,
            rate=self._reconnect.login_rate,
            burst=self._reconnect.login_burst,
            backoff=self._reconnect.backoff,
        )
        self._error_handlers: list[ErrorHandler] = []
        self._changed = gevent.event.Event()
        self._stopped = gevent.event.Event()
        self._started = False
        self._stopping = False
        self._report: StopReport | None = None
        self._retirement = Retirement(self._runtime, self._changed)
        self._roster = Roster(self._surroundings(), self._retirement)
        if isinstance(accounts, Account):
            raise ConfigError(f"a pool is made of a list of accounts: Pool([{accounts!r}])")
        for account in accounts:
            self._roster.enroll(account)

    def _surroundings(self) -> Surroundings:
        """What the members have in common."""
        return Surroundings(
            reconnect=self._reconnect,
            timeouts=self._timeouts,
            runtime=self._runtime,
            supervisor=self._supervisor,
            timekeeper=self._timekeeper,
            governor=self._governor,
            dispatcher=self._dispatcher,
            store=self._store,
            on_change=self._changed.set,
            on_error=self._on_handler_error,
        )

    @classmethod
    def from_toml(
        cls, path: str | os.PathLike[str], *, dispatcher: Dispatcher | None = None, **options: Any
    ) -> Pool:
        """A pool from a configuration file: accounts, policies, store and subscriptions.

        ``options`` are arguments of ``Pool`` that win over the file's. docs/configuration.md has every key.

        Raises:
            ConfigError: the file cannot be read or used; ``problems`` has everything that is wrong with it,
                each with its line.
        """
        return cls.from_config(load(path), dispatcher=dispatcher, **options)

    @classmethod
    def from_config(cls, config: PoolConfig, *, dispatcher: Dispatcher | None = None, **options: Any) -> Pool:
        """The same for a configuration that was read already.

        Raises:
            ConfigError: it has problems.
        """
        config.check()
        said = {"reconnect": config.reconnect, "timeouts": config.timeouts, "store": config.store}
        entries = config.accounts.values()
        pool = cls([entry.account() for entry in entries], dispatcher=dispatcher, **{**said, **options})
        for entry in entries:
            for wish in entry.wishes():
                pool[entry.name].subscribe(wish)
        return pool

    @staticmethod
    def new_dispatcher() -> Dispatcher:
        """An empty dispatcher for deliveries, to register handlers before there is a pool."""
        return Dispatcher(
            DELIVERY_NAMES,
            BY_DELIVERY,
            market_names=MARKET_NAMES,
            classes=LIFECYCLE_NAMES,
            never=NEVER_DELIVERED,
        )

    def __repr__(self) -> str:
        up = sum(member.state is UP for member in self._roster)
        return f"<Pool {up} of {len(self)} up>"

    # --- members ---------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Member:
        return self._roster[name]

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._roster))

    def __len__(self) -> int:
        return len(self._roster)

    def __contains__(self, name: object) -> bool:
        return name in self._roster

    def add(self, account: Account) -> Member:
        """Add an account; in a running pool it connects at once.

        Raises:
            ConfigError: bad settings, its name twice, or its login twice at the same host.
            NotPatchedError: its sockets would block the process.
            UsageError: the pool is stopping.
        """
        self._runtime.check_thread()
        self._roster.check_kind(account)
        if self._stopping:
            raise UsageError(f"the pool is stopping, so account {account.name!r} cannot be added")
        if self._started:
            self._check_usable(account)
        member = self._roster.enroll(account)
        if self._started:
            try:
                member.load()
            except BaseException:
                self._roster.strike_off(account.name)
                raise
            member.start()
        return member

    def remove(self, name: str, *, timeout: float = 10.0) -> None:
        """Log an account out, let its handlers finish, and forget it. Its position stays in the store.

        Handlers that still run when ``timeout`` seconds are over are killed. Interrupted (a
        ``gevent.Timeout``) it leaves the account stopped, and is to be called again.

        Raises:
            KeyError: no such account.
            ConcurrentUseError: it is being removed, updated or restarted already.
        """
        self._roster.remove(name, timeout)
        self._changed.set()

    def update(self, name: str, **changes: Any) -> Member:
        """Replace an account's settings (arguments of ``Account``) and connect anew with them.

        What is not named is kept; a quarantine is lifted. The subscriptions stay, and so does the position,
        unless user name, host or port become others: that is another customer, who begins as a new account.

        Raises:
            KeyError: no such account. ConfigError: bad settings; the old ones go on then.
            ConcurrentUseError, UsageError: as ``restart``.
        """
        old = self[name].account
        settings = old.settings
        kept: dict[str, Any] = {} if "settings" in changes else settings.as_arguments()
        kept.update(reconnect=old.reconnect, timeouts=old.timeouts, cancel_on_failure=old.cancel_on_failure)
        try:
            account = Account(name, **{**kept, **changes})
        finally:
            # They hold secrets, and some show the local variables of where an error passed.
            kept.clear()
            changes.clear()
        if self._started:
            self._check_usable(account)
        else:
            account.check()
        return self._roster.replace(account, self._begin)

    def restart(self, name: str) -> Member:
        """Log an account out and connect anew; a quarantine is lifted.

        Raises:
            KeyError: no such account.
            ConcurrentUseError: it is being removed, updated or restarted already.
            UsageError: called by a handler of this very account; spawn a greenlet that does it.

        Interrupted (a ``gevent.Timeout``) it does not wait for the logout any longer, and connects anew.
        """
        return self._roster.replace(self[name].account, self._begin)

    def _begin(self, member: Member) -> None:
        """A member has taken another one's place."""
        if self._started and not self._stopping:
            member.start()
        self._changed.set()

    def _check_usable(self, account: Account) -> None:
        account.check()
        try:
            self._runtime.check(account.settings)
        except ConfigError as error:
            raise ConfigError(f"account {account.name!r}: {error}", setting=error.setting) from error

    @property
    def dispatcher(self) -> Dispatcher:
        """Where the handlers are registered."""
        return self._dispatcher

    # --- handlers --------------------------------------------------------------------------------

    @overload
    def on(
        self,
        name: type[Registrable],
        *,
        accounts: Iterable[str] | None = None,
        market_ids: Iterable[int] | None = None,
    ) -> Registration[Registrable]: ...

    @overload
    def on(
        self,
        name: str,
        *,
        accounts: Iterable[str] | None = None,
        market_ids: Iterable[int] | None = None,
    ) -> Callable[[_H], _H]: ...

    def on(
        self,
        name: type[Any] | str,
        *,
        accounts: Iterable[str] | None = None,
        market_ids: Iterable[int] | None = None,
    ) -> Any:
        """Decorator: call the function with each delivery of that name or message class.

        Raises:
            InvalidCallbackError: unknown name or class (with near ones), not callable, wrong
                arguments, an ``async def``, or a market filter where there is no market. An unknown
                name raises here already, before the function is decorated.
        """
        self._dispatcher.check_name(name)

        def register(handler: Handler) -> Handler:
            self.add_handler(name, handler, accounts=accounts, market_ids=market_ids)
            return handler

        return register

    @overload
    def off(self, name: type[Registrable], handler: Callable[[Delivery[Registrable]], object]) -> None: ...
    @overload
    def off(self, name: str, handler: Callable[[Delivery], object]) -> None: ...
    def off(self, name: type[Any] | str, handler: Handler) -> None:
        """Stop calling a handler for that name."""
        self.del_handler(name, handler)

    @overload
    def add_handler(
        self,
        name: type[Registrable],
        handler: Callable[[Delivery[Registrable]], object],
        *,
        accounts: Iterable[str] | None = None,
        market_ids: Iterable[int] | None = None,
    ) -> None: ...

    @overload
    def add_handler(
        self,
        name: str,
        handler: Callable[[Delivery], object],
        *,
        accounts: Iterable[str] | None = None,
        market_ids: Iterable[int] | None = None,
    ) -> None: ...

    def add_handler(
        self,
        name: type[Any] | str,
        handler: Handler,
        *,
        accounts: Iterable[str] | None = None,
        market_ids: Iterable[int] | None = None,
    ) -> None:
        """Call ``handler(delivery)`` for each delivery of that name; see ``on``.

        Raises:
            InvalidCallbackError: as ``on``; in a running pool also for an unknown account.
        """
        known = self._roster.names if self._started else None
        self._dispatcher.add(name, handler, accounts=accounts, market_ids=market_ids, known=known)

    @overload
    def del_handler(
        self, name: type[Registrable], handler: Callable[[Delivery[Registrable]], object]
    ) -> None: ...
    @overload
    def del_handler(self, name: str, handler: Callable[[Delivery], object]) -> None: ...
    def del_handler(self, name: type[Any] | str, handler: Handler) -> None:
        """Stop calling a handler for that name.

        Raises:
            InvalidCallbackError: it is not registered for it.
        """
        self._dispatcher.remove(name, handler)

    def add_global_handler(self, handler: Handler) -> None:
        """Call ``handler(delivery)`` for every delivery, after the named handlers."""
        self._dispatcher.add_global(handler)

    def del_global_handler(self, handler: Handler) -> None:
        """Stop calling it."""
        self._dispatcher.remove_global(handler)

    def on_error(self, handler: ErrorHandler) -> ErrorHandler:
        """Call ``handler(delivery, error)`` when another handler raised; usable as a decorator."""
        if not callable(handler):
            raise InvalidCallbackError(f"{handler!r} is not callable")
        self._error_handlers.append(handler)
        return handler

    # --- running ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Check everything, then begin to connect; returns at once.

        Raises:
            InvalidCallbackError: every handler that could not work, all in one; no socket was opened.
            ConfigError, NotPatchedError: the first account that cannot work; no socket was opened.
            UsageError: started already, or stopped.
        """
        if self._started or self._stopping:
            raise UsageError("this pool was started already; a stopped one is not started again")
        if self._dispatcher.is_collecting:
            raise UsageError(
                "handlers are still being registered: leave start() out, whoever asked for them calls it"
            )
        problems = self._dispatcher.problems(self._roster.names)
        if problems:
            raise InvalidCallbackError(problems)
        for member in self._roster:
            self._check_usable(member.account)
        for member in self._roster:
            member.load()
        self._started = True
        for member in self:
            member.start()

    def __enter__(self) -> Pool:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def wait_until_up(self, timeout: float | None = None) -> None:
        """Wait until every account is UP.

        Raises:
            PoolError: naming each account that is not and why: at once if one is given up, and when
                ``timeout`` seconds have passed.
        """
        deadline = Deadline.after(timeout, self._runtime.now())
        while True:
            self._changed.clear()
            waiting = {m.name: m for m in self._roster if m.state is not UP}
            if not waiting:
                return
            final = {name: m.given_up for name, m in waiting.items() if m.given_up is not None}
            if final:
                raise PoolError(f"{len(final)} of {len(self)} accounts are given up", final)
            why = {name: member.why_down for name, member in waiting.items()}
            if self._stopping or not self._started:
                state = "stopping" if self._stopping else "not started"
                raise PoolError(f"the pool is {state} and {len(why)} of {len(self)} accounts are not up", why)
            left = deadline.left(self._runtime.now())
            if left is not None and left <= 0:
                raise PoolError(f"{len(why)} of {len(self)} accounts were not up after {timeout} s", why)
            self._runtime.wait(self._changed, left)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the pool was stopped or every account is given up; False if ``timeout`` came first.

        Raises:
            UsageError: the pool was not started.
        """
        if not self._started:
            raise UsageError("join() waits for a pool that runs: call start() first")
        deadline = Deadline.after(timeout, self._runtime.now())
        while True:
            self._changed.clear()
            members = list(self._roster)
            # Given up and told so: the last member.down has been handled.
            all_final = bool(members) and all(m.given_up is not None and m.inbox.idle for m in members)
            if self._stopped.is_set() or all_final:
                return True
            left = deadline.left(self._runtime.now())
            if left is not None and left <= 0:
                return False
            self._runtime.wait(self._changed, left)

    def stop(self, timeout: float = 10.0) -> StopReport:
        """Log out, let handlers finish, close; all within ``timeout`` seconds. Again is fine.

        Returns what was done, and what had to be cut, dropped or killed.
        """
        if self._stopping:
            if not self._stopped.is_set() and not self._called_by_handler():
                self._runtime.wait(self._stopped, timeout)
            if self._report is not None:
                return self._report
            open_still = tuple(sorted(m.name for m in self._roster if not m.finished))
            return StopReport(0.0, (), open_still, {}, ())
        self._runtime.check_thread()
        self._stopping = True
        began = self._runtime.now()
        deadline = Deadline.after(timeout, began)
        self._changed.set()
        members = list(self)
        try:
            cut, undelivered = self._retirement.in_order(members, deadline)
        except BaseException:
            # Interrupted (a Timeout, Ctrl-C): nothing may stay open all the same.
            cut, undelivered = self._retirement.at_once(members)
            deadline = Deadline.after(0.0, began)
            raise
        finally:
            self._finish(members, cut, undelivered, deadline, began)
        assert self._report is not None
        return self._report

    def _finish(
        self,
        members: list[Member],
        cut: list[str],
        undelivered: dict[str, int],
        deadline: Deadline,
        began: float,
    ) -> None:
        """The last steps of a stop, whether it went as planned or was interrupted."""
        self._timekeeper.stop()
        killed = self._supervisor.close(deadline.left(self._runtime.now()) or 0.0)
        self._store.close()
        self._report = StopReport(
            took=self._runtime.now() - began,
            logged_out=tuple(sorted(m.name for m in members if m.logged_out)),
            cut=tuple(sorted(cut)),
            undelivered=undelivered,
            killed=tuple(killed),
        )
        self._stopped.set()
        self._changed.set()
        if not self._report.clean:
            _log.warning(None, "the pool stopped, not cleanly: %s", self._report)

    def stats(self) -> dict[str, Any]:
        """A snapshot as plain data: members by name, the login governor, and sums of the counters."""
        members = {member.name: member.stats() for member in self._roster}
        totals: dict[str, int] = {}
        for snapshot in members.values():
            for key, value in snapshot.items():
                if key.endswith("_total"):
                    totals[key] = totals.get(key, 0) + value
        states = [snapshot["state"] for snapshot in members.values()]
        return {
            "members": members,
            "up": states.count("UP"),
            "recovering": states.count("RECOVERING"),
            "down": states.count("DOWN"),
            "governor": self._governor.snapshot(),
            "greenlet_deaths_total": self._supervisor.deaths,
            **totals,
        }

    def _called_by_handler(self) -> bool:
        current = gevent.getcurrent()
        return any(member.inbox.greenlet is current for member in self._roster)

    # --- what others report ----------------------------------------------------------------------

    def _on_clock_error(self, client: HasDeadlines, error: BaseException) -> None:
        self._supervisor.log(_log, logging.CRITICAL, None, "a deadline of %r raised %r", client, error)

    def _on_handler_error(self, delivery: Delivery, error: BaseException) -> None:
        for handler in self._error_handlers:
            try:
                handler(delivery, error)
            except gevent.GreenletExit:
                raise
            except BaseException:  # noqa: BLE001 - logged with its traceback, and costs nobody else anything
                _log.exception(delivery.account, "the error handler failed")

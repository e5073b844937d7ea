"""Changing the accounts of a running pool to what a configuration says now."""

from __future__ import annotations

import dataclasses
from typing import Any

import gevent.pool
from google.protobuf.message import Message

from smarkets_pool import Pool, seto
from smarkets_pool.config import AccountEntry, PoolConfig
from smarkets_pool.exceptions import ConfigError, Error

__all__ = ["Reload", "reload_accounts"]

#: How many accounts log out or connect anew at a time.
_AT_ONCE = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Reload:
    """What a reload did, by names of accounts.

    retried: said the same, had been given up, and connect anew (their secret may have been mended).
    failed: name -> why it stayed as it was. ignored: what changed and needs a restart of the process.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    retried: tuple[str, ...]
    failed: dict[str, str]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        said = [
            f"{what} {', '.join(names)}"
            for what, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
                ("retried", self.retried),
            )
            if names
        ]
        said += [f"{name} stays as it was: {why}" for name, why in self.failed.items()]
        said += [f"[{name}] changed too, which needs a restart" for name in self.ignored]
        return "; ".join(said) or "nothing has changed"

    def as_plain(self) -> dict[str, Any]:
        """The same for a program."""
        return dataclasses.asdict(self)


def reload_accounts(pool: Pool, before: PoolConfig, now: PoolConfig) -> Reload:
    """Add, remove, change and retry accounts; waits until the old sessions are logged out.

    Accounts of the pool that were never in the file are left alone.
    """
    failed: dict[str, str] = {}

    def each(names: list[str], action: Any) -> tuple[str, ...]:
        """Many at a time: each may wait for a logout."""
        workers = gevent.pool.Pool(_AT_ONCE)
        outcome = workers.map(lambda name: _tried(name, action, failed), names)
        return tuple(name for name, done in zip(names, outcome, strict=True) if done)

    def update(name: str) -> None:
        account = now.accounts[name].account()
        pool.update(
            name,
            settings=account.settings,
            reconnect=account.reconnect,
            timeouts=account.timeouts,
            cancel_on_failure=account.cancel_on_failure,
        )
        _renew_wishes(pool, before.accounts[name], now.accounts[name])

    def add(name: str) -> None:
        member = pool.add(now.accounts[name].account())
        for wish in now.accounts[name].wishes():
            member.subscribe(wish)

    known = {name for name in before.accounts if name in pool}
    # Those that go, go first: a login may move from one name to another.
    removed = each([name for name in before.accounts if name in known - now.accounts.keys()], pool.remove)
    same = {name for name in known & now.accounts.keys() if before.accounts[name] == now.accounts[name]}
    changed = each([name for name in now.accounts if name in known - same], update)
    retried = each([name for name in now.accounts if name in same and pool[name].given_up], pool.restart)
    added = each([name for name in now.accounts if name not in pool], add)
    ignored = tuple(
        name for name in ("reconnect", "timeouts", "store") if getattr(before, name) != getattr(now, name)
    )
    return Reload(added, removed, changed, retried, failed, ignored)


def _end_of(wish: Message) -> Message:
    """The unsubscription that belongs to a subscription: both have the same fields."""
    cls: type[Message] = getattr(seto, type(wish).__name__.replace("Subscribe", "Unsubscribe"))
    return cls.FromString(wish.SerializeToString())


def _tried(name: str, action: Any, failed: dict[str, str]) -> bool:
    try:
        action(name)
    except (Error, ConfigError, KeyError) as error:
        failed[name] = str(error)
        return False
    return True


def _renew_wishes(pool: Pool, before: AccountEntry, now: AccountEntry) -> None:
    """Subscribe to what is new in the file, and end what is no longer in it."""
    member = pool[now.name]
    old = {(type(wish), wish.SerializeToString()): wish for wish in before.wishes()}
    new = {(type(wish), wish.SerializeToString()): wish for wish in now.wishes()}
    for key in old.keys() - new.keys():
        member.unsubscribe(_end_of(old[key]))
    for key in new.keys() - old.keys():
        member.subscribe(new[key])

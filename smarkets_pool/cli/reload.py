"""Changing the accounts of a running pool to what a configuration says now."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import gevent.pool
from google.protobuf.message import Message

from smarkets_pool import Pool, seto
from smarkets_pool.config import AccountEntry, PoolConfig
from smarkets_pool.exceptions import Error

__all__ = ["Reload", "reload_accounts"]

#: How many accounts log out or connect anew at a time.
_AT_ONCE = 100
#: How many names a sentence has.
_NAMES = 20
#: What counts from the next start of the process, and how it is called in the file.
_FIXED = (("reconnect", "[reconnect]"), ("timeouts", "[timeouts]"), ("store", "store in [pool]"))


@dataclasses.dataclass(frozen=True, slots=True)
class Reload:
    """What a reload did, by names of accounts.

    retried: said the same, had been given up, and connect anew (their secret may have been mended).
    failed: name -> why what the file says of it could not be done. ignored: tables that changed and count
    from the next start of the process.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    retried: tuple[str, ...]
    failed: dict[str, str]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        said = [
            f"{what} {_some(names)}"
            for what, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
                ("retried", self.retried),
            )
            if names
        ]
        said += [f"{name} could not be changed: {why}" for name, why in self.failed.items()]
        said += [f"{name} differs from what the process started with: restart it" for name in self.ignored]
        return "; ".join(said) or "nothing has changed"

    def as_plain(self) -> dict[str, Any]:
        """The same for a program."""
        return dataclasses.asdict(self)

    def in_force(self, before: PoolConfig, now: PoolConfig) -> PoolConfig:
        """What the pool runs by afterwards, to compare the next file with.

        Without what failed and what was ignored: both would never be looked at again.
        """
        accounts = dict(now.accounts)
        accounts.update((name, before.accounts[name]) for name in self.failed if name in before.accounts)
        return dataclasses.replace(
            now,
            accounts=accounts,
            reconnect=before.reconnect,
            timeouts=before.timeouts,
            store=before.store,
        )


def reload_accounts(pool: Pool, before: PoolConfig, now: PoolConfig) -> Reload:
    """Add, remove, change and retry accounts; waits until the old sessions are logged out.

    Accounts of the pool that were never in the file are left alone. Killed, it leaves off where it is.
    """
    work = _Work(pool, before, now)
    known = {name for name in before.accounts if name in pool}
    # Those that go, go first: a login may move from one name to another.
    going = [name for name in before.accounts if name in known - now.accounts.keys()]
    removed = work.each(going, pool.remove)
    same = {name for name in known & now.accounts.keys() if before.accounts[name] == now.accounts[name]}
    changing = [name for name in now.accounts if name in known - same]
    # A login that goes from one changing account to another is nobody's in between.
    moving = work.each(_taking_over(changing, before, now), pool.remove)
    staying = [name for name in changing if name not in moving and name not in work.failed]
    settled = work.each(staying, work.change)
    moved = work.each(moving, work.add)
    hopeless = [name for name in now.accounts if name in same and name in pool and pool[name].given_up]
    retried = work.each(hopeless, pool.restart)
    missing = [name for name in now.accounts if name not in pool and name not in work.failed]
    added = work.each(missing, work.add)
    changed = {*settled, *moved}
    return Reload(
        added=added,
        removed=removed,
        changed=tuple(name for name in changing if name in changed),
        retried=retried,
        failed=work.failed,
        ignored=tuple(said for name, said in _FIXED if getattr(before, name) != getattr(now, name)),
    )


class _Work:
    """What is done to single accounts, from what the file said before to what it says now.

    failed: name -> why it could not be done.
    """

    def __init__(self, pool: Pool, before: PoolConfig, now: PoolConfig) -> None:
        self._pool = pool
        self._before = before.accounts
        self._now = now.accounts
        self.failed: dict[str, str] = {}

    def each(self, names: Collection[str], action: Callable[[str], object]) -> tuple[str, ...]:
        """Do it to many at a time, for each may wait for a logout; return those it could be done to."""
        workers = gevent.pool.Pool(_AT_ONCE)
        try:
            outcome = workers.map(lambda name: self._tried(name, action), names)
        finally:
            workers.kill()
        return tuple(name for name, done in zip(names, outcome, strict=True) if done)

    def _tried(self, name: str, action: Callable[[str], object]) -> bool:
        try:
            action(name)
        except Error as error:
            self.failed[name] = str(error)
            return False
        except KeyError:
            self.failed[name] = "somebody else has just removed it"
            return False
        return True

    def change(self, name: str) -> None:
        """Connect anew if something beside the subscriptions is another, and renew those."""
        before, now = self._before[name], self._now[name]
        if before.arguments != now.arguments:
            account = now.account()
            self._pool.update(
                name,
                settings=account.settings,
                reconnect=account.reconnect,
                timeouts=account.timeouts,
                cancel_on_failure=account.cancel_on_failure,
            )
        _renew_wishes(self._pool, before, now)

    def add(self, name: str) -> None:
        """Add the account with its subscriptions."""
        member = self._pool.add(self._now[name].account())
        for wish in self._now[name].wishes():
            member.subscribe(wish)


def _taking_over(changing: Collection[str], before: PoolConfig, now: PoolConfig) -> list[str]:
    """Those of the changing accounts whose new login is another one's until now."""
    owners = {before.accounts[name].account().login_key: name for name in changing}
    wanted = {name: now.accounts[name].account().login_key for name in changing}
    return [name for name in changing if owners.get(wanted[name], name) != name]


def _end_of(wish: Message) -> Message:
    """The unsubscription that belongs to a subscription: both have the same fields."""
    cls: type[Message] = getattr(seto, type(wish).__name__.replace("Subscribe", "Unsubscribe"))
    return cls.FromString(wish.SerializeToString())


def _renew_wishes(pool: Pool, before: AccountEntry, now: AccountEntry) -> None:
    """Subscribe to what is new in the file, and end what is no longer in it."""
    member = pool[now.name]
    old = {(type(wish), wish.SerializeToString()): wish for wish in before.wishes()}
    new = {(type(wish), wish.SerializeToString()): wish for wish in now.wishes()}
    for key in old.keys() - new.keys():
        member.unsubscribe(_end_of(old[key]))
    for key in new.keys() - old.keys():
        member.subscribe(new[key])


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(names[:_NAMES])}{more}"

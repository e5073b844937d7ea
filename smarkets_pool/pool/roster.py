"""``Roster``: which accounts a pool has, under which names and logins, and how one is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator

import gevent

from smarkets_pool.account import Account, Customer
from smarkets_pool.exceptions import ConcurrentUseError, ConfigError, UsageError
from smarkets_pool.logs import PlaceLog
from smarkets_pool.pool.member import Member, Surroundings
from smarkets_pool.pool.retirement import Retirement

__all__ = ["Roster"]

_log = PlaceLog("pool.roster")

#: Seconds for the logout of a member that another one takes the place of.
_LOGOUT = 10.0


class Roster:
    """The members of a pool by name; the one owner of names and logins.

    A name and a login are one account's from its enrolment until it is struck off; while an account is being
    replaced it has its old login and its new one.

    Args:
        around: what its members have in common.
        retirement: how they end.
    """

    def __init__(self, around: Surroundings, retirement: Retirement) -> None:
        self._around = around
        self._retirement = retirement
        self._members: dict[str, Member] = {}
        #: Who logs in where -> our name for it.
        self._logins: dict[tuple[object, ...], str] = {}
        #: The other way round; two while an account is being replaced.
        self._keys: dict[str, set[tuple[object, ...]]] = {}
        #: Whose position stands under a name in the store; kept when an account is removed.
        self._customers: dict[str, Customer] = {}
        #: Accounts that a call is taking out or replacing; a second one at a time would leave two members.
        self._in_change: set[str] = set()

    def __repr__(self) -> str:
        return f"<Roster of {len(self)}>"

    # --- who is there ----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Member:
        try:
            return self._members[name]
        except KeyError:
            raise KeyError(f"no account is called {name!r} in this pool") from None

    def __iter__(self) -> Iterator[Member]:
        """The members as they are; for a walk that may switch greenlets make a list first."""
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: object) -> bool:
        return name in self._members

    @property
    def names(self) -> Collection[str]:
        """The names of all accounts, as they are at each look."""
        return self._members.keys()

    # --- coming and going ------------------------------------------------------------------------

    @staticmethod
    def check_kind(account: object) -> None:
        """Refuse what is no account.

        Raises:
            ConfigError: it is something else.
        """
        if not isinstance(account, Account):
            raise ConfigError(f"a pool is made of Account objects, not {type(account).__name__}")

    def enroll(self, account: Account) -> Member:
        """A new member.

        Raises:
            ConfigError: no account, its name twice, or its login twice at the same host.
        """
        self.check_kind(account)
        self._check_unique(account)
        member = Member(account, self._around)
        self._members[account.name] = member
        self._reserve(account)
        self._forget_another_customer(account)
        return member

    def strike_off(self, name: str) -> None:
        """Forget an account: its name and its logins are anybody's."""
        del self._members[name]
        for key in self._keys.pop(name):
            self._logins.pop(key, None)

    def remove(self, name: str, timeout: float) -> None:
        """Log an account out, end its handlers, and strike it off; interrupted, it is not struck off.

        Raises:
            KeyError: no such account.
            ConcurrentUseError: it is being changed already.
        """
        with self._changing(name) as member:
            self._retirement.with_handler(member, timeout)
            self.strike_off(name)

    def replace(self, account: Account, begin: Callable[[Member], None]) -> Member:
        """Log out the account of this name, and put another member in its place.

        ``begin`` is called with that one. Interrupted, the logout is waited for no longer, and the rest is
        done all the same: the account is not left behind without anybody who connects it.

        Raises:
            KeyError: no such account.
            ConfigError: its login is another account's.
            ConcurrentUseError: it is being changed already.
            UsageError: called by a handler of this very account.
        """
        name = account.name
        with self._changing(name, inside_handler=False) as former:
            self._check_unique(account, besides=name)
            # Nobody else may take the login while we wait for the logout.
            self._reserve(account)
            try:
                self._retirement.with_handler(former, _LOGOUT)
            except BaseException:
                self._retirement.with_handler_at_once(former)
                raise
            finally:
                self.strike_off(name)
                member = self.enroll(account)
                member.inherit(former)
                begin(member)
            return member

    @contextlib.contextmanager
    def _changing(self, name: str, *, inside_handler: bool = True) -> Iterator[Member]:
        """One change of an account at a time."""
        self._around.runtime.check_thread()
        member = self[name]
        if name in self._in_change:
            raise ConcurrentUseError(f"account {name!r} is being removed, updated or restarted already")
        if not inside_handler and member.inbox.greenlet is gevent.getcurrent():
            # What this handler has in hand counts as handled when it returns; a new member that began
            # before that would be given it again.
            raise UsageError(
                f"a handler of account {name!r} cannot replace it while it runs: "
                "use gevent.spawn(pool.restart, name) and return; for update spawn a function of your own, "
                "since gevent shows the arguments of a greenlet that fails"
            )
        self._in_change.add(name)
        try:
            yield member
        finally:
            self._in_change.discard(name)

    # --- names, logins, customers ----------------------------------------------------------------

    def _check_unique(self, account: Account, *, besides: str | None = None) -> None:
        if account.name in self._members and account.name != besides:
            raise ConfigError(f"two accounts are called {account.name!r}")
        other = self._logins.get(account.login_key)
        if other is not None and other != besides:
            raise ConfigError(
                f"accounts {other!r} and {account.name!r} are the same login "
                f"{account.settings.login_name!r} at {account.settings.host}:{account.settings.port}"
            )

    def _reserve(self, account: Account) -> None:
        """This login is the account's from here, until it is struck off."""
        # As it is now: settings are plain attributes, and somebody may change them later.
        key = account.login_key
        self._logins[key] = account.name
        self._keys.setdefault(account.name, set()).add(key)

    def _forget_another_customer(self, account: Account) -> None:
        """The position that stands under this name may be of somebody who had the name before."""
        before = self._customers.get(account.name)
        self._customers[account.name] = account.customer
        if before is None or account.is_customer(before):
            return
        try:
            self._around.store.forget(account.name)
        except Exception:  # noqa: BLE001 - what is saved next takes its place
            _log.exception(account.name, "the position of the login that had this name was not forgotten")

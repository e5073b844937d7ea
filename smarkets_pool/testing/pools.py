"""Pools on an embedded exchange, with one name per account."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from smarkets_pool.account import Account
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.pool import Pool

__all__ = ["MakePool", "pool_on"]


class MakePool(Protocol):
    """What the fixture ``make_pool`` gives: ``pool_on`` for the test's exchange and clock.

    Every pool that it made is stopped behind the test.
    """

    def __call__(
        self, accounts: Iterable[str] | None = None, *, each: dict[str, Any] | None = None, **options: Any
    ) -> Pool: ...


def pool_on(
    exchange: EmbeddedExchange,
    accounts: Iterable[str] | None = None,
    *,
    each: dict[str, Any] | None = None,
    **options: Any,
) -> Pool:
    """A pool with accounts of an exchange, called by their user names there; not started.

    Args:
        accounts: user names of these; all by default.
        each: further arguments of every ``Account``.
        options: arguments of ``Pool``.

    Raises:
        UsageError: the exchange has no such account.
    """
    numbers = {login.username: number for number, login in enumerate(exchange.logins)}
    wanted = list(numbers) if accounts is None else list(accounts)
    if unknown := [name for name in wanted if name not in numbers]:
        raise UsageError(f"the exchange has no account {', '.join(unknown)}; it has {', '.join(numbers)}")
    return Pool(
        [Account(name, **{**exchange.settings_for(numbers[name]), **(each or {})}) for name in wanted],
        **options,
    )

"""Stores by their address, as it stands in a program or a configuration file."""

from __future__ import annotations

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.stores.base import SequenceStore
from smarkets_pool.stores.memory import MemoryStore

__all__ = ["open_store", "store_problem"]

_STORES = {"memory": MemoryStore}


def store_problem(address: str) -> str | None:
    """Why there is no store at this address, or None if there is."""
    if address in _STORES:
        return None
    return f"there is no store {address!r}; there is {', '.join(map(repr, _STORES))}"


def open_store(address: str) -> SequenceStore:
    """The store at an address.

    Raises:
        ConfigError: there is none of that kind.
    """
    problem = store_problem(address)
    if problem is not None:
        raise ConfigError(problem)
    return _STORES[address]()

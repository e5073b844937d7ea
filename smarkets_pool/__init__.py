"""Many Smarkets accounts in one process.

The names below are loaded on first use, so that ``from gevent import monkey; monkey.patch_all()`` may
come after ``import smarkets_pool`` and still before any socket is touched.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smarkets_pool import eto, seto
    from smarkets_pool.policies import Backoff, ReconnectPolicy, TimeoutPolicy
    from smarkets_pool.pool import DOWN, RECOVERING, UP, Account, Delivery, Member, Pool, StopReport
    from smarkets_pool.stores import MemoryStore

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Backoff",
    "DOWN",
    "Delivery",
    "Member",
    "MemoryStore",
    "Pool",
    "RECOVERING",
    "ReconnectPolicy",
    "StopReport",
    "TimeoutPolicy",
    "UP",
    "eto",
    "seto",
]

_HOMES = {
    "Account": "account",
    "Backoff": "policies",
    "DOWN": "pool",
    "Delivery": "pool",
    "Member": "pool",
    "MemoryStore": "stores",
    "Pool": "pool",
    "RECOVERING": "pool",
    "ReconnectPolicy": "policies",
    "StopReport": "pool",
    "TimeoutPolicy": "policies",
    "UP": "pool",
}


if not TYPE_CHECKING:  # a checker that sees it believes in every name

    def __getattr__(name: str) -> Any:
        if name in ("eto", "seto"):
            return importlib.import_module(f"smarkets_pool.{name}")
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'smarkets_pool' has no attribute {name!r}")
        return getattr(importlib.import_module(f"smarkets_pool.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

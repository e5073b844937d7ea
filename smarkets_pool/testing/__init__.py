"""What you import in your own tests: a fake clock, a record of deliveries, somebody to trade with.

The fixtures are in ``smarkets_pool.testing.plugin``, which monkey-patches the process as soon as it is
imported; see docs/testing.md. The names below are loaded on first use, so that the plugin comes first.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smarkets_pool.testing.clock import FakeClock
    from smarkets_pool.testing.counterparty import Counterparty
    from smarkets_pool.testing.pools import MakePool, pool_on
    from smarkets_pool.testing.record import Record
    from smarkets_pool.testing.waiting import eventually

__all__ = ["Counterparty", "FakeClock", "MakePool", "Record", "eventually", "pool_on"]

_HOMES = {
    "Counterparty": "counterparty",
    "FakeClock": "clock",
    "MakePool": "pools",
    "Record": "record",
    "eventually": "waiting",
    "pool_on": "pools",
}


if not TYPE_CHECKING:  # a checker that sees it believes in every name

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'smarkets_pool.testing' has no attribute {name!r}")
        return getattr(importlib.import_module(f"smarkets_pool.testing.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

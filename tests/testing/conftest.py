"""The plugin's own fixtures, for the tests of them; users load the plugin as docs/testing.md says."""

from smarkets_pool.testing.plugin import (
    counterparty,
    exchange,
    fake_clock,
    faults,
    make_pool,
    pool,
    pytest_configure,
    readings,
    record,
)

__all__ = [
    "counterparty",
    "exchange",
    "fake_clock",
    "faults",
    "make_pool",
    "pool",
    "pytest_configure",
    "readings",
    "record",
]

"""The pytest plugin: an exchange, a pool on it, faults, and a clock that jumps.

Load it with ``-p smarkets_pool.testing.plugin`` in ``addopts`` of your pytest configuration, or with
``pytest_plugins`` in the root ``conftest.py``. Importing it monkey-patches the process, first thing, which is
why no entry point does it for you. docs/testing.md has every fixture and option.
"""

from __future__ import annotations

from smarkets_pool.testing.patching import patch_process

patch_process()

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
from smarkets_pool.exchange.control import Readings
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.pool import Pool
from smarkets_pool.testing.clock import FakeClock
from smarkets_pool.testing.counterparty import Counterparty
from smarkets_pool.testing.pools import MakePool, pool_on
from smarkets_pool.testing.record import Record

__all__ = ["counterparty", "exchange", "fake_clock", "faults", "make_pool", "pool", "readings", "record"]

#: Accounts of an exchange of whose marker nothing is said: trader-1 and trader-2.
_ACCOUNTS = 2
_CLOCKS = {"clock", "wall_clock"}

_RECORD = pytest.StashKey[Record]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "exchange(accounts=2, settings={...}, ...): arguments of the EmbeddedExchange behind the fixture "
        "`exchange`; accounts is a number or user names, settings are fields of ExchangeSettings",
    )


def _options_of(node: pytest.Item) -> dict[str, Any]:
    """What the markers of a test say about its exchange; of one thing the closest to the test counts."""
    possible = [name for name in inspect.signature(EmbeddedExchange).parameters if name not in _CLOCKS]
    options: dict[str, Any] = {"accounts": _ACCOUNTS}
    settings: dict[str, Any] | ExchangeSettings = {}
    for marker in reversed(list(node.iter_markers("exchange"))):
        wrong = [repr(value) for value in marker.args] + [n for n in marker.kwargs if n not in possible]
        if wrong:
            pytest.fail(
                f"pytest.mark.exchange does not take {', '.join(wrong)}; it takes "
                + ", ".join(f"{name}=" for name in possible),
                pytrace=False,
            )
        options.update(marker.kwargs)
        given = marker.kwargs.get("settings")
        if isinstance(given, ExchangeSettings):
            settings = given
        elif given is not None:
            settings = {**(settings if isinstance(settings, dict) else {}), **given}
    if isinstance(options["accounts"], int):
        options["accounts"] = [f"trader-{number}" for number in range(1, options["accounts"] + 1)]
    if isinstance(settings, dict):
        unknown = sorted(settings.keys() - inspect.signature(ExchangeSettings).parameters.keys())
        if unknown:
            near = difflib.get_close_matches(unknown[0], inspect.signature(ExchangeSettings).parameters, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            pytest.fail(f"ExchangeSettings has no {', '.join(unknown)}{hint}", pytrace=False)
        settings = ExchangeSettings(**settings)
    options["settings"] = settings
    return options


@pytest.fixture
def fake_clock(request: pytest.FixtureRequest) -> FakeClock:
    """Time that stands still until ``fake_clock.advance(seconds)``, for ``pool`` and ``exchange`` both."""
    if "fake_clock" not in request.node.fixturenames:
        pytest.fail(
            "the exchange may be there already, with real time: name fake_clock among the test's arguments, "
            "or in pytest.mark.usefixtures",
            pytrace=False,
        )
    return FakeClock()


@pytest.fixture
def exchange(request: pytest.FixtureRequest) -> Iterator[EmbeddedExchange]:
    """An embedded exchange that listens, with accounts trader-1, trader-2; see the marker ``exchange``."""
    options = _options_of(request.node)
    clock: FakeClock | None = None
    if "fake_clock" in request.node.fixturenames:
        clock = request.getfixturevalue("fake_clock")
        options.update(clock=clock.now, wall_clock=clock.time_us)
    with EmbeddedExchange(**options) as made:
        if clock is not None:
            clock.attach(made)
        yield made


@pytest.fixture
def make_pool(request: pytest.FixtureRequest, exchange: EmbeddedExchange) -> Iterator[MakePool]:
    """``make_pool(accounts, each={...}, **options)``: a pool with some accounts and other policies."""
    made: list[Pool] = []

    def make(
        accounts: Iterable[str] | None = None, *, each: dict[str, Any] | None = None, **options: Any
    ) -> Pool:
        if "fake_clock" in request.node.fixturenames:
            options.setdefault("runtime", request.getfixturevalue("fake_clock").runtime)
        made.append(pool_on(exchange, accounts, each=each, **options))
        return made[-1]

    yield make
    for pool in reversed(made):
        pool.stop()


@pytest.fixture
def pool(request: pytest.FixtureRequest, make_pool: MakePool, exchange: EmbeddedExchange) -> Pool:
    """A pool of the exchange's accounts, not started: register handlers, then ``with pool:``."""
    made = make_pool()
    if "record" in request.node.fixturenames:
        # Now: before the record's own turn among the fixtures another one may have started the pool.
        request.node.stash[_RECORD] = Record(made, exchange)
    return made


@pytest.fixture
def record(request: pytest.FixtureRequest, pool: Pool) -> Record:
    """What the handlers of ``pool`` are given, and how it differs from what happened."""
    made: Record = request.node.stash[_RECORD]
    return made


@pytest.fixture
def faults(exchange: EmbeddedExchange) -> Faults:
    """What goes wrong at the exchange, on purpose: ``faults.cut("trader-1")``, ``faults.drop(...)``."""
    return exchange.faults


@pytest.fixture
def readings(exchange: EmbeddedExchange) -> Readings:
    """What the exchange knows, as plain data: ``readings.orders("trader-1", live=True)``, balances, books."""
    return Readings(exchange)


@pytest.fixture
def counterparty(exchange: EmbeddedExchange) -> Counterparty:
    """Somebody at the exchange to trade with, who is in no pool."""
    return Counterparty(exchange)

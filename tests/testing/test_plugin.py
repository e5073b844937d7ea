"""The plugin as users load it, and its fixtures."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import gevent
import pytest

from smarkets_pool import DOWN, UP, Pool, ReconnectPolicy
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import ActivitySettings, EmbeddedExchange, ExchangeSettings
from smarkets_pool.exchange.control import Readings
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.testing import Counterparty, FakeClock, MakePool, Record
from tests.rig.userpytest import QUIET, run_users_tests

# --- loading it -----------------------------------------------------------------------------------------

USERS_TEST = """
import socket
import gevent.socket
import pytest
from smarkets_pool import seto

def test_the_process_is_patched():
    assert issubclass(socket.socket, gevent.socket.socket)

@pytest.mark.exchange(accounts=3, markets=1, settings={"heartbeat_after": 2.0, "silence_limit": 9.0})
class TestMarkers:
    def test_of_the_class(self, exchange):
        assert (len(exchange.logins), len(exchange.market_ids)) == (3, 1)
        assert exchange.exchange.settings.heartbeat_after == 2.0

    @pytest.mark.exchange(accounts=["ann"], settings={"heartbeat_after": 4.0})
    def test_of_the_test_wins(self, exchange):
        assert [login.username for login in exchange.logins] == ["ann"]
        assert len(exchange.market_ids) == 1
        settings = exchange.exchange.settings
        assert (settings.heartbeat_after, settings.silence_limit) == (4.0, 9.0)

def test_all_fixtures(exchange, pool, make_pool, faults, fake_clock, record, counterparty, readings):
    market_id = exchange.market_ids[0]
    contract_id = exchange.contract_ids[market_id][0]
    pool.on("member.up")(lambda delivery: delivery.member.send(seto.OrderCreate(
        side=seto.SIDE_BUY, price=4000, quantity=1000, market_id=market_id, contract_id=contract_id)))
    with pool:
        pool.wait_until_up(timeout=10)
        counterparty.sell(4000, 2000)
        faults.cut("trader-1")
        fake_clock.advance(3600)
        assert len(record.of(seto.OrderExecuted)) == 2
        assert [order["account"] for order in readings.orders(live=True)] == ["trader-1"]
        assert record.differences() == []
"""


def test_loaded_by_addopts(tmp_path: pathlib.Path) -> None:
    """The recommended way: patched before anything else, markers known, nothing warns."""
    said = run_users_tests(tmp_path, {"pytest.ini": QUIET, "test_bot.py": USERS_TEST})
    assert (said.returncode, said.stderr) == (0, ""), said.stdout
    assert "4 passed" in said.stdout


def test_loaded_by_the_root_conftest(tmp_path: pathlib.Path) -> None:
    """The other way; who patched the process already may have imported what they want."""
    conftest = """
from gevent import monkey
monkey.patch_all()
import ssl, urllib.request
pytest_plugins = ["smarkets_pool.testing.plugin"]
"""
    said = run_users_tests(tmp_path, {"conftest.py": conftest, "test_bot.py": USERS_TEST})
    assert (said.returncode, said.stderr) == (0, ""), said.stdout
    assert "4 passed" in said.stdout


def test_loaded_too_late(tmp_path: pathlib.Path) -> None:
    """It names who was first and what to do, and runs no test in a process that would block."""
    conftest = "import urllib.request\npytest_plugins = ['smarkets_pool.testing.plugin']\n"
    said = run_users_tests(tmp_path, {"conftest.py": conftest, "test_bot.py": USERS_TEST})
    assert said.returncode == pytest.ExitCode.USAGE_ERROR, said.stdout
    (line,) = said.stderr.strip().splitlines()
    assert line.startswith(
        "ERROR: smarkets_pool.testing.plugin comes too late to monkey-patch this process: "
    )
    assert "it is used by http.client" in line
    assert "`-p smarkets_pool.testing.plugin` in addopts" in line
    assert "passed" not in said.stdout


def test_a_worker_of_xdist_keeps_its_threads() -> None:
    """It waits for them with locks of threads, which must not become those of greenlets."""
    code = (
        "import smarkets_pool.testing.plugin\nfrom gevent import monkey\n"
        "print([name for name in ('socket', 'ssl', 'select', 'time', 'threading', 'queue')"
        " if monkey.is_module_patched(name)])"
    )
    environment = {**os.environ, "PYTEST_XDIST_WORKER": "gw0"}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "['socket', 'ssl', 'select', 'time']"


def test_importing_the_tools_patches_and_loads_nothing() -> None:
    """``smarkets_pool.testing`` may be imported before the plugin, which is then still in time."""
    code = (
        "import sys, smarkets_pool.testing; dir(smarkets_pool.testing); "
        "print([m for m in ('socket', 'ssl', 'gevent', 'pytest') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_mistakes_in_a_test_are_told_without_a_traceback(tmp_path: pathlib.Path) -> None:
    """A marker's unknown arguments, unknown settings, a clock that comes too late."""
    mistakes = """
import pytest

@pytest.mark.exchange(acounts=2)
def test_argument(exchange): ...

@pytest.mark.exchange(2)
def test_position(exchange): ...

@pytest.mark.exchange(settings={"heartbeat": 1.0})
def test_setting(exchange): ...

def test_clock(exchange, request):
    request.getfixturevalue("fake_clock")
"""
    said = run_users_tests(tmp_path, {"pytest.ini": QUIET, "test_bot.py": mistakes})
    assert "1 failed, 3 errors" in said.stdout, said.stdout
    for sentence in (
        "pytest.mark.exchange does not take acounts; it takes accounts=, markets=, contracts=, ",
        "pytest.mark.exchange does not take 2; it takes accounts=, ",
        "ExchangeSettings has no heartbeat; did you mean heartbeat_",
        "the exchange may be there already, with real time: name fake_clock among the test's arguments",
    ):
        assert f"\n{sentence}" in said.stdout
    assert "plugin.py" not in said.stdout


# --- the fixtures ---------------------------------------------------------------------------------------


def test_an_exchange_listens_and_has_two_accounts(exchange: EmbeddedExchange) -> None:
    """By default trader-1 and trader-2, over TLS, with real time."""
    assert [login.username for login in exchange.logins] == ["trader-1", "trader-2"]
    assert exchange.port
    assert exchange.tls
    before = exchange.now()
    gevent.sleep(0.001)
    assert exchange.now() > before


@pytest.mark.exchange(settings=ExchangeSettings(heartbeat_after=1.5), tls=False)
def test_settings_may_be_a_value(exchange: EmbeddedExchange) -> None:
    """An ExchangeSettings as it is."""
    assert exchange.exchange.settings == ExchangeSettings(heartbeat_after=1.5)
    assert not exchange.tls


def test_the_pool_is_of_the_exchanges_accounts_and_not_started(
    pool: Pool, exchange: EmbeddedExchange
) -> None:
    """One name per account: the pool's is the exchange's. Handlers come first, then ``with pool``."""
    assert [member.name for member in pool] == [login.username for login in exchange.logins]
    assert all(member.state is DOWN for member in pool)
    assert not exchange.exchange.peers
    with pool:
        pool.wait_until_up(timeout=5)
        assert all(member.state is UP for member in pool)


def test_a_pool_that_the_test_leaves_running_is_stopped(make_pool: MakePool) -> None:
    """Behind the test; that nothing is left over is looked at after each test here."""
    pool = make_pool()
    pool.start()
    pool.wait_until_up(timeout=5)


def test_pools_with_some_accounts_and_other_policies(make_pool: MakePool) -> None:
    """``each`` is for every Account, the rest for the Pool."""
    policy = ReconnectPolicy(max_attempts=1)
    one = make_pool(["trader-2"], each={"cancel_on_failure": True}, reconnect=policy)
    other = make_pool(["trader-1"])
    with one, other:
        one.wait_until_up(timeout=5)
        other.wait_until_up(timeout=5)
    assert [member.name for member in one] == ["trader-2"]
    assert one["trader-2"].account.cancel_on_failure
    with pytest.raises(UsageError, match="the exchange has no account bob; it has trader-1, trader-2"):
        make_pool(["bob"])


def test_with_the_fake_clock_pool_and_exchange_keep_its_time(
    exchange: EmbeddedExchange, pool: Pool, make_pool: MakePool, fake_clock: FakeClock
) -> None:
    """Whatever the order of the arguments."""
    assert exchange.now() == fake_clock.now()
    with pool:
        pool.wait_until_up(timeout=5)
        (peer, _) = exchange.exchange.peers
        fake_clock.advance(4.0)
        assert (exchange.now(), peer.protocol.next_deadline()) == (1004.0, 1005.0)


def test_the_record_is_made_with_the_pool(
    request: pytest.FixtureRequest, running: Pool, record: Record
) -> None:
    """Also when another fixture starts the pool before the record has its turn."""
    assert len(record.of("member.up")) == 2


@pytest.fixture
def running(pool: Pool) -> Pool:
    """A user's fixture that has started the pool already."""
    pool.start()
    pool.wait_until_up(timeout=5)
    gevent.idle()
    return pool


def test_faults_are_the_exchanges(
    pool: Pool, exchange: EmbeddedExchange, record: Record, faults: Faults, fake_clock: FakeClock
) -> None:
    """By the same names as the pool's accounts; what happened is in the truth."""
    assert faults is exchange.faults
    with pool:
        pool.wait_until_up(timeout=5)
        faults.cut("trader-2", away=1)
        fake_clock.advance(20)
        assert [delivery.account for delivery in record.of("member.down")][:1] == ["trader-2"]
        assert record.names("trader-1").count("member.up") == 1
    assert ("cut", "trader-2") in [(fault.kind, fault.account) for fault in exchange.truth.faults]


@pytest.mark.exchange(accounts=["ann"])
def test_readings_tell_what_the_exchange_knows(
    exchange: EmbeddedExchange, counterparty: Counterparty, readings: Readings
) -> None:
    """Plain data, money as exact texts."""
    counterparty.buy(4000, 20_000)
    (order,) = readings.orders("counterparty", live=True)
    assert (order["side"], order["price"], order["quantity"]) == ("BUY", 4000, 20_000)
    assert readings.balances("counterparty")[0]["exposure"] == "-0.80"
    assert readings.balances("ann")[0]["available"] == "10000.00"


@pytest.mark.exchange(activity=ActivitySettings(), markets=1)
def test_house_traders_trade_by_the_fake_clock(
    exchange: EmbeddedExchange, pool: Pool, record: Record, fake_clock: FakeClock
) -> None:
    """A market that moves, to try a bot on: whatever the exchange can have, the marker passes on."""
    with pool:
        pool.wait_until_up(timeout=5)
        pool["trader-1"].subscribe(exchange.market_ids[0])
        fake_clock.settle()
        before = len(record.of("seto.contract_quotes"))
        fake_clock.advance(60)
        assert len(record.of("seto.contract_quotes")) > before
        assert record.differences() == []


def test_nothing_is_left_of_a_test(tmp_path: pathlib.Path) -> None:
    """Threads, greenlets and descriptors are as before, after tests that passed and tests that failed."""
    users_test = """
import gc, os
import gevent, pytest

@pytest.fixture(autouse=True)
def leftovers():
    def living():
        return [thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet) and not thing.dead]
    yield
    LEFT.append((len(living()), len(os.listdir("/proc/self/fd"))))

LEFT = []

@pytest.mark.parametrize("number", range(6))
def test_uses_everything(exchange, pool, record, counterparty, number):
    pool.start()
    pool.wait_until_up(timeout=10)
    assert number % 3 < 2

@pytest.mark.parametrize("number", range(6))
def test_uses_the_clock(exchange, pool, record, fake_clock, number):
    pool.start()
    gevent.spawn(fake_clock.advance_until, lambda: False)  # refused, and that ends it
    pool.wait_until_up(timeout=10)
    assert number % 3 < 2

def test_nothing_is_left():
    assert len(set(LEFT[1:])) == 1, LEFT
"""
    said = run_users_tests(tmp_path, {"pytest.ini": QUIET, "test_bot.py": users_test})
    assert "4 failed, 9 passed" in said.stdout, said.stdout

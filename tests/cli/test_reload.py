"""Changing the accounts of a running pool to what a configuration says now, in this process."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.event
import pytest

from smarkets_pool import UP, Pool, seto
from smarkets_pool.cli import reload as module
from smarkets_pool.cli.reload import Reload, reload_accounts
from smarkets_pool.config import PoolConfig, read_text
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import EmbeddedExchange
from tests.cli.running import POLICIES, account, defaults
from tests.rig.pooling import Record, execute, greenlets, peer_of
from tests.rig.waiting import eventually


@pytest.fixture
def exchange() -> Iterator[EmbeddedExchange]:
    """Six accounts, called a to f in the files here."""
    with EmbeddedExchange(accounts=6, tls=False) as served:
        yield served


def config_of(exchange: EmbeddedExchange, *accounts: str, more: str = "") -> PoolConfig:
    """What a good file says."""
    config = read_text(POLICIES + more + defaults(exchange) + "".join(accounts))
    assert config.problems == ()
    return config


def numbers(exchange: EmbeddedExchange, *which: int) -> list[str]:
    """Accounts of these numbers, each with its own name and login."""
    return [account(exchange, number) for number in which]


class Started:
    """A pool from a configuration, with a record, and what is in force."""

    def __init__(self, config: PoolConfig) -> None:
        self.config = config
        self.pool = Pool.from_config(config)
        self.record = Record(self.pool)

    def __enter__(self) -> Started:
        self.pool.start()
        self.pool.wait_until_up(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.stop()

    def reload(self, now: PoolConfig) -> Reload:
        """Change the pool, and keep what it runs by then."""
        change = reload_accounts(self.pool, self.config, now)
        self.config = change.in_force(self.config, now)
        return change

    def users(self) -> dict[str, str | None]:
        """Who each account logs in as."""
        return {member.name: member.account.settings.username for member in self.pool}


def said(**changes: Any) -> Reload:
    """A reload that did this and nothing else."""
    nothing: dict[str, Any] = {
        "added": (),
        "removed": (),
        "changed": (),
        "retried": (),
        "failed": {},
        "ignored": (),
    }
    return Reload(**{**nothing, **changes})


def test_nothing_changed_is_nothing_done(exchange: EmbeddedExchange) -> None:
    """The same file: every connection stays, and it says so."""
    config = config_of(exchange, *numbers(exchange, 0, 1))
    with Started(config) as started:
        peers = [peer_of(exchange, number) for number in (0, 1)]
        change = started.reload(config_of(exchange, *numbers(exchange, 1, 0)))
        assert change == said()
        assert str(change) == "nothing has changed"
        assert [peer_of(exchange, number) for number in (0, 1)] == peers


def test_accounts_come_and_go_with_their_subscriptions(exchange: EmbeddedExchange) -> None:
    """Added ones are up and subscribed, removed ones logged out in order and forgotten."""
    with Started(config_of(exchange, *numbers(exchange, 0, 1))) as started:
        gone = peer_of(exchange, 0)
        change = started.reload(
            config_of(
                exchange, *numbers(exchange, 1), account(exchange, 2, "subscriptions.markets = [100001]")
            )
        )
        assert change == said(added=("c",), removed=("a",))
        started.pool.wait_until_up(10)
        assert [member.name for member in started.pool] == ["b", "c"]
        assert gone not in exchange.exchange.peers
        eventually(lambda: peer_of(exchange, 2).subscriptions == {100001})


def test_changed_accounts_keep_their_place(exchange: EmbeddedExchange) -> None:
    """Position, and what handlers have subscribed to, outlive a change of policy; no event comes twice."""
    with Started(config_of(exchange, *numbers(exchange, 0))) as started:
        execute(exchange, times=3)
        started.record.wait("seto.order_executed", 3, "a")
        started.pool["a"].subscribe(100002)
        change = started.reload(config_of(exchange, account(exchange, 0, "timeouts = { login = 3.0 }")))
        assert change == said(changed=("a",))
        execute(exchange)
        started.record.wait("seto.order_executed", 4, "a")
        assert started.record.numbers("a") == [1, 2, 3, 4]
        eventually(lambda: peer_of(exchange, 0).subscriptions == {100002})
        assert started.pool["a"].account.timeouts.login == 3.0


def test_other_subscriptions_alone_keep_the_connection(exchange: EmbeddedExchange) -> None:
    """Also when they are the defaults'; what handlers subscribed to themselves stays."""

    def saying(markets: str) -> PoolConfig:
        text = POLICIES + defaults(exchange, f"subscriptions = {{ {markets} }}") + account(exchange, 0)
        return read_text(text)

    with Started(saying("markets = [100000], events = [5]")) as started:
        peer = peer_of(exchange, 0)
        started.pool["a"].subscribe(100002)
        eventually(lambda: peer.subscriptions == {100000, 100002})
        assert started.reload(saying("markets = [100001], price_feed = true")) == said(changed=("a",))
        eventually(lambda: peer.subscriptions == {100001, 100002})
        assert peer_of(exchange, 0) is peer
        assert set(map(type, started.pool["a"]._subscriptions)) == {
            seto.MarketSubscribe,
            seto.PriceFeedSubscribe,
        }


def test_given_up_accounts_are_tried_again(exchange: EmbeddedExchange, tmp_path: pathlib.Path) -> None:
    """Those whose entry is the same; one that is changed as well is changed."""
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    secret.chmod(0o600)
    login = exchange.logins[0]
    bad = f'[accounts.a]\nusername = "{login.username}"\npassword = {{ file = "{secret}" }}\n'
    hopeless = account(exchange, 1, password="wrong")
    config = config_of(exchange, bad, hopeless)
    started = Started(config)
    started.pool.start()
    try:
        started.pool.join(10)
        secret.write_text(login.password)
        change = started.reload(config_of(exchange, bad, account(exchange, 1)))
        assert change == said(changed=("b",), retried=("a",))
        started.pool.wait_until_up(10)
    finally:
        started.pool.stop()


def test_a_login_may_go_to_another_name(exchange: EmbeddedExchange) -> None:
    """The old name is removed and the new one added, both with one login: never two at a time."""
    with Started(config_of(exchange, *numbers(exchange, 0))) as started:
        change = started.reload(config_of(exchange, account(exchange, 0, name="renamed")))
        assert change == said(added=("renamed",), removed=("a",))
        started.pool.wait_until_up(10)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 0, "b": 1}, {"a": 1, "b": 0}),
        ({"a": 0, "b": 1, "c": 2}, {"a": 1, "b": 2, "c": 0}),
        ({"a": 0, "b": 1}, {"a": 3, "b": 0}),
        ({"a": 0, "b": 1}, {"a": 1, "b": 3}),
        ({"a": 0, "b": 1}, {"b": 0, "c": 1}),
    ],
    ids=["swapped", "in a ring", "passed on", "taken over", "with one removed"],
)
def test_logins_may_change_places(
    exchange: EmbeddedExchange, before: dict[str, int], after: dict[str, int]
) -> None:
    """However accounts exchange their logins, each has the one of the file in the end."""

    def saying(logins: dict[str, int]) -> PoolConfig:
        return config_of(exchange, *(account(exchange, number, name=name) for name, number in logins.items()))

    with Started(saying(before)) as started:
        change = started.reload(saying(after))
        assert change.failed == {}
        assert set(change.changed) | set(change.added) == set(after)
        started.pool.wait_until_up(10)
        assert started.users() == {name: exchange.logins[number].username for name, number in after.items()}
        assert started.reload(saying(after)) == said()


def test_an_account_that_was_never_in_the_file_is_left_alone(exchange: EmbeddedExchange) -> None:
    """It stays; and whoever wants its login is told, and has it when it is free."""
    config = config_of(exchange, *numbers(exchange, 0))
    with Started(config) as started:
        extra = config_of(exchange, account(exchange, 1, name="extra")).accounts["extra"].account()
        started.pool.add(extra)
        now = config_of(exchange, *numbers(exchange, 0, 1))
        change = started.reload(now)
        assert change == said(failed={"b": change.failed["b"]})
        assert "accounts 'extra' and 'b' are the same login" in change.failed["b"]
        assert str(change).startswith("b could not be changed: accounts 'extra' and 'b' are")
        assert [member.name for member in started.pool] == ["a", "extra"]
        started.pool.remove("extra")
        assert started.reload(now) == said(added=("b",))
        started.pool.wait_until_up(10)


def test_what_failed_is_tried_by_the_next_reload(exchange: EmbeddedExchange) -> None:
    """A change of an account that is just being restarted; and a removal of it."""
    with Started(config_of(exchange, *numbers(exchange, 0, 1))) as started:
        changed = config_of(exchange, account(exchange, 0, "port = 1"), account(exchange, 1))
        started.pool._roster._in_change.add("a")
        change = started.reload(changed)
        assert set(change.failed) == {"a"}
        assert "is being removed, updated or restarted already" in change.failed["a"]
        change = started.reload(config_of(exchange, account(exchange, 1)))
        assert set(change.failed) == {"a"}
        started.pool._roster._in_change.clear()
        assert started.reload(changed) == said(changed=("a",))
        assert started.reload(config_of(exchange, account(exchange, 1))) == said(removed=("a",))


def test_an_account_that_somebody_has_just_removed_fails_alone(
    exchange: EmbeddedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler may take an account out while a reload is about to change it."""
    with Started(config_of(exchange, *numbers(exchange, 0, 1))) as started:
        real = started.pool.update

        def update(name: str, **changes: Any) -> Any:
            if name == "a" and name in started.pool:
                started.pool.remove(name)
            return real(name, **changes)

        monkeypatch.setattr(started.pool, "update", update)
        lines = "timeouts = { login = 3.0 }"
        now = config_of(exchange, *(account(exchange, number, lines) for number in (0, 1)))
        assert started.reload(now) == said(changed=("b",), failed={"a": "somebody else has just removed it"})
        assert started.reload(now) == said(added=("a",))


def test_the_pools_own_policies_need_a_restart(exchange: EmbeddedExchange) -> None:
    """Each is told until the file says again what the process began with; accounts with their own change."""
    own = account(exchange, 0, "timeouts = { login = 3.0 }")
    with Started(config_of(exchange, own, account(exchange, 1))) as started:
        other = config_of(exchange, own, account(exchange, 1), more="[timeouts]\nconnect = 2.5\n")
        change = started.reload(other)
        assert change == said(changed=("a",), ignored=("[timeouts]",))
        assert str(change) == "changed a; [timeouts] differs from what the process started with: restart it"
        assert started.pool["a"].account.timeouts.connect == 2.5
        assert started.reload(other) == said(ignored=("[timeouts]",))
        assert started.reload(config_of(exchange, own, account(exchange, 1))) == said(changed=("a",))


def test_many_accounts_are_changed_side_by_side(
    exchange: EmbeddedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may wait for a logout: they wait together, and never more than so many."""
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    with Started(config_of(exchange, *numbers(exchange, *range(6)))) as started:
        busy, most = 0, 0
        all_in = gevent.event.Event()
        real = started.pool.remove

        def remove(name: str) -> None:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            if busy == 3:
                all_in.set()
            all_in.wait(5)
            real(name)
            busy -= 1

        monkeypatch.setattr(started.pool, "remove", remove)
        assert started.reload(config_of(exchange, *numbers(exchange, 5))).removed == ("a", "b", "c", "d", "e")
        assert most == 3


def test_a_reload_that_is_killed_leaves_nothing_behind(exchange: EmbeddedExchange) -> None:
    """Neither a greenlet nor a lock: what it had not begun is as it was, and the next one does the rest."""
    with Started(config_of(exchange, *numbers(exchange, 0, 1))) as started:
        never = gevent.event.Event()
        started.pool.add_handler("seto.order_executed", lambda delivery: never.wait(), accounts=["a"])
        execute(exchange)
        eventually(lambda: not started.pool["a"].inbox.idle)
        now = config_of(exchange, *numbers(exchange, 1, 2))
        reload = gevent.spawn(started.reload, now)
        eventually(lambda: started.pool["a"].state is not UP)
        reload.kill()
        assert started.pool._roster._in_change == set()
        assert "c" not in started.pool
        never.set()
        assert started.reload(now).added == ("c",)
        assert "a" not in started.pool
        started.pool.wait_until_up(10)
        assert not [name for name in greenlets(started.pool) if name.endswith("of a")]


def test_nothing_is_added_to_a_pool_that_stops(exchange: EmbeddedExchange) -> None:
    """A reload that comes too late is told so, account by account."""
    with Started(config_of(exchange, *numbers(exchange, 0))) as started:
        started.pool.stop()
        change = started.reload(config_of(exchange, *numbers(exchange, 0, 1)))
        assert set(change.failed) == {"b"}
        assert "the pool is stopping" in change.failed["b"]
        with pytest.raises(UsageError):
            started.pool.start()


def test_very_many_names_are_counted() -> None:
    """A sentence has twenty; for a program all of them are there."""
    names = tuple(f"account-{number}" for number in range(1, 5001))
    change = said(added=names, removed=names[:20])
    assert str(change).startswith("added account-1, account-2, ")
    assert "account-20 and 4980 more; removed account-1, " in str(change)
    assert str(change).endswith("account-20")
    assert change.as_plain()["added"] == names

"""A user's typed program: it touches all that a user touches, and a type checker has nothing to say about it.

``check.py`` shows it to mypy and pyright, and runs it: what the types promise has to be so. It needs only
the package and its extras.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import logging
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import gevent.event

import smarkets_pool
from smarkets_pool import (
    DOWN,
    RECOVERING,
    UP,
    Account,
    Backoff,
    Delivery,
    Member,
    MemoryStore,
    Pool,
    ReconnectPolicy,
    StopReport,
    TimeoutPolicy,
    eto,
    exceptions,
    seto,
)
from smarkets_pool.api import SIDE_BID, StreamingAPIClient
from smarkets_pool.config import PoolConfig, load
from smarkets_pool.exceptions import (
    ConfigError,
    Error,
    InvalidCallbackError,
    LoginError,
    MemberDown,
    PoolError,
    SendBufferFull,
    SequenceGapError,
    UsageError,
)
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings, Login, Truth, TruthEvent
from smarkets_pool.pool import (
    MemberDownEvent,
    MemberGap,
    MemberRecovering,
    MemberSlowHandler,
    MemberStalled,
    MemberState,
    MemberUp,
)
from smarkets_pool.session import Frame, Session, SessionSettings
from smarkets_pool.stores import Position, SequenceStore
from smarkets_pool.wire import units

if TYPE_CHECKING:
    # Not installed and not needed: both checkers bring its types. pyright says so each time.
    from typing_extensions import assert_type  # pyright: ignore[reportMissingModuleSource]
else:

    def assert_type(value, kind):
        """The checkers have looked; nothing is left to do."""
        return value


class Journal:
    """A store of the user's own: it has the four methods and inherits nothing."""

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}

    def load(self, account: str) -> Position | None:
        """What was saved."""
        return self.positions.get(account)

    def save_many(self, positions: Iterable[tuple[str, Position]]) -> None:
        """Save these."""
        self.positions.update(positions)

    def forget(self, account: str) -> None:
        """Drop one."""
        self.positions.pop(account, None)

    def close(self) -> None:
        """Nothing is open."""


class Bot:
    """Handlers as methods: each says by its type what it takes."""

    def __init__(self, pool: Pool) -> None:
        self.orders: dict[str, int] = {}
        self.filled: list[Delivery[seto.OrderExecuted]] = []
        self.done = gevent.event.Event()
        pool.on(seto.OrderAccepted)(self.accepted)
        pool.add_handler(seto.OrderExecuted, self.executed, accounts=["buyer", "seller"])
        pool.add_handler(seto.OrderExecuted, self.filled.append)
        pool.add_global_handler(self.anything)

    def accepted(self, delivery: Delivery[seto.OrderAccepted]) -> None:
        """Note the order."""
        self.orders[delivery.account] = assert_type(delivery.message.order_id, int)

    def executed(self, delivery: Delivery[seto.OrderExecuted]) -> None:
        """Note that both sides have it."""
        fill = assert_type(delivery.message, seto.OrderExecuted)
        assert_type(fill.side, seto.Side)
        assert_type(delivery.member, Member)
        assert_type(delivery.protobuf, seto.Payload | None)
        assert_type(delivery.bytes, bytes | None)
        assert_type(delivery.seq, int)
        assert_type(delivery.account_sequence, int | None)
        assert_type(delivery.is_replay, bool)
        assert_type(delivery.received_at, float)
        if {seen.account for seen in self.filled} | {delivery.account} == {"buyer", "seller"}:
            self.done.set()

    def anything(self, delivery: Delivery) -> None:
        """A bare ``Delivery`` is one of anything."""
        assert_type(delivery.name, str)
        assert_type(delivery.message, Any)


def register(pool: Pool, lives: list[str]) -> None:
    """Every way to register a handler."""

    @pool.on(seto.OrderRejected)
    def rejected(delivery: Delivery[seto.OrderRejected]) -> None:
        raise AssertionError(delivery.message.reason)

    assert_type(rejected, Callable[[Delivery[seto.OrderRejected]], None])

    # Two names, two classes, and both kinds: the handler takes whatever comes.
    @pool.on("seto.order_invalid")
    @pool.on("seto.order_cancel_rejected", accounts=["buyer"])
    def refused(delivery: Delivery) -> None:
        raise AssertionError(delivery.message)

    @pool.on(seto.OrderCancelled, market_ids=[1, 2])
    @pool.on(seto.OrderReduced)
    def smaller(delivery: Delivery[seto.OrderCancelled | seto.OrderReduced]) -> int:
        return delivery.message.order_id

    assert_type(smaller, Callable[[Delivery[seto.OrderCancelled | seto.OrderReduced]], int])

    @pool.on("member.up")
    @pool.on(MemberRecovering)
    @pool.on(MemberUp)
    def life(delivery: Delivery[MemberRecovering | MemberUp]) -> None:
        lives.append(assert_type(delivery.message.cause, str))

    @pool.on(MemberDownEvent)
    def down(delivery: Delivery[MemberDownEvent]) -> None:
        assert_type(delivery.message.retry_in, float | None)
        assert_type(delivery.message.error, BaseException)
        assert_type(delivery.message.final, bool)

    @pool.on(MemberGap)
    def gap(delivery: Delivery[MemberGap]) -> None:
        assert_type(delivery.message.first, int)
        assert_type(delivery.message.recoverable, bool)

    @pool.on(MemberStalled)
    def stalled(delivery: Delivery[MemberStalled]) -> None:
        assert_type(delivery.message.silence, float)

    @pool.on(MemberSlowHandler)
    def slow(delivery: Delivery[MemberSlowHandler]) -> None:
        assert_type(delivery.message.handler, str)

    @pool.on(eto.Logout)
    def logout(delivery: Delivery[eto.Logout]) -> None:
        assert_type(delivery.message.reason, eto.LogoutReason)

    # Takes more than it is registered for.
    @pool.on(seto.MarketQuotes)
    @pool.on(seto.ContractQuotes)
    def anything(delivery: object) -> None:
        assert isinstance(delivery, Delivery)

    @pool.on_error
    def failed(delivery: Delivery, error: BaseException) -> None:
        raise AssertionError(delivery.account) from error

    # A lambda learns the type of its argument.
    pool.on(seto.MarketState)(lambda delivery: delivery.message.market_id)
    pool.add_handler(seto.OrderVoided, lambda delivery: delivery.message.order_id)
    pool.add_handler("seto.balance_changed", lambda delivery: delivery.message.whatever)

    # And back out.
    pool.off(seto.OrderCancelled, smaller)
    pool.del_handler(MemberGap, gap)
    pool.off("member.stalled", stalled)
    pool.add_handler("member.stalled", stalled)


def trade(exchange: EmbeddedExchange) -> None:
    """A pool of two accounts from beginning to end."""
    lives: list[str] = []
    store: SequenceStore = Journal()
    pool = Pool(
        [
            Account("buyer", **exchange.settings_for(0)),
            Account("seller", settings=SessionSettings(**exchange.settings_for(1)), cancel_on_failure=True),
        ],
        reconnect=ReconnectPolicy(backoff=Backoff(initial=0.1, cap=5.0), max_attempts=3),
        timeouts=TimeoutPolicy(connect=5.0, login=5.0),
        store=store,
    )
    register(pool, lives)
    bot = Bot(pool)
    market_id = assert_type(exchange.market_ids[0], int)
    contract_id = assert_type(exchange.contract_ids[market_id], tuple[int, ...])[0]
    price = assert_type(units.price_from_percent("25"), int)
    quantity = assert_type(units.quantity_from_stake(10, price), int)

    with pool as running:
        assert_type(running, Pool)
        pool.wait_until_up(timeout=10)
        buyer = assert_type(pool["buyer"], Member)
        assert_type(buyer.state, MemberState)
        assert buyer.state is UP
        assert buyer.state not in (RECOVERING, DOWN)
        assert_type(buyer.subscribe(market_id), int | None)
        buyer.subscribe(seto.MarketSubscribe(market_id=market_id))
        buyer.unsubscribe(market_id)
        for member, side in ((buyer, seto.SIDE_BUY), (pool["seller"], seto.SIDE_SELL)):
            order = seto.OrderCreate(
                side=side,
                price=price,
                quantity=quantity,
                market_id=market_id,
                contract_id=contract_id,
                tif=seto.GOOD_TIL_CANCELLED,
                label="typed",
            )
            assert_type(send(member, order), int | None)
        assert bot.done.wait(10), "the two orders did not meet"
        assert {delivery.message.label for delivery in bot.filled} == {"typed"}
        assert all(isinstance(delivery.message, seto.OrderExecuted) for delivery in bot.filled)
        stats = assert_type(buyer.stats(), dict[str, Any])
        assert stats["state"] == "UP"
        assert_type(pool.stats(), dict[str, Any])
        assert {assert_type(member.name, str) for member in pool} == {"buyer", "seller"}
        assert len(pool) == 2
        assert "buyer" in pool
        added = assert_type(pool.add(Account("third", **exchange.settings_for(2))), Member)
        assert_type(added.position, int | None)
        pool.remove("third", timeout=5.0)
        assert_type(pool.join(timeout=0.01), bool)
        report = assert_type(pool.stop(timeout=10.0), StopReport)
    assert report.clean, report
    assert assert_type(report.logged_out, tuple[str, ...]) == ("buyer", "seller")
    assert_type(report.took, float)
    assert_type(report.undelivered, dict[str, int])
    assert lives[:1] == ["login"]
    truth = assert_type(exchange.truth, Truth)
    events = assert_type(truth.events(exchange.logins[0].username), list[TruthEvent])
    assert [event.name for event in events] == ["seto.order_accepted", "seto.order_executed"]


def send(member: Member, order: seto.OrderCreate) -> int | None:
    """What can go wrong with one order."""
    try:
        return member.send(order)
    except MemberDown as error:
        assert_type(error.state, str)
    except SendBufferFull as error:
        assert_type(error.waiting, int)
    except exceptions.ConnectionError as error:
        assert_type(error, exceptions.ConnectionError)
    return None


def drive(exchange: EmbeddedExchange) -> None:
    """The vendor's client."""
    login = assert_type(exchange.logins[3], Login)
    settings = SessionSettings(
        login.username,
        lambda: login.password,
        host=exchange.host,
        port=exchange.port,
        ca_file=exchange.ca_file,
    )
    assert_type(settings.ssl_kwargs, dict[str, Any])
    session = Session(settings, account_sequence=None)
    client = StreamingAPIClient(session)
    orders: list[int] = []

    def accepted(message: seto.Payload) -> None:
        orders.append(message.order_accepted.order_id)

    def anything(name: str, message: Frame) -> None:
        assert_type(message.bytes, bytes)
        assert_type(message.protobuf, seto.Payload)

    client.add_handler("seto.order_accepted", accepted)
    client.callbacks["seto.order_rejected"] += accepted
    client.add_global_handler(anything)
    client.login()
    assert_type(client.check_login(), bool)
    assert_type(session.session, str | None)
    market_id = exchange.market_ids[0]
    number = client.send(
        seto.OrderCreate(
            side=SIDE_BID,
            price=100,
            quantity=10_000,
            market_id=market_id,
            contract_id=exchange.contract_ids[market_id][0],
        )
    )
    assert_type(number, int | None)
    client.ping()
    client.flush()
    while not orders:
        assert_type(client.read(), int)
    assert_type(client.output_buffer_size, int)
    client.del_handler("seto.order_accepted", accepted)
    client.del_global_handler(anything)
    client.logout()


def refuse(exchange: EmbeddedExchange) -> None:
    """Errors carry figures, each of its own type."""
    settings = assert_type(exchange.settings_for(0), dict[str, Any])
    settings["password"] = "not this one"
    with Pool([Account("wrong", **settings)], store=MemoryStore()) as pool:
        try:
            pool.wait_until_up(timeout=10)
        except PoolError as error:
            assert list(assert_type(error.reasons, dict[str, str])) == ["wrong"]
        else:
            raise AssertionError("a wrong password was let in")
    try:
        pool.on("seto.order_exeucted")
    except InvalidCallbackError as error:
        assert "seto.order_executed" in assert_type(error.problems, tuple[str, ...])[0]
    try:
        raise LoginError(int(eto.LOGOUT_UNAUTHORISED), "LOGOUT_UNAUTHORISED")
    except LoginError as error:
        assert_type(error.reason, int)
        assert_type(error.reason_msg, str)
    try:
        raise SequenceGapError(3, 5)
    except Error as error:
        assert isinstance(error, SequenceGapError)
        assert_type(error.first, int)
    try:
        Account("")
    except ConfigError as error:
        assert isinstance(error, UsageError) and isinstance(error, ValueError)


def configure(folder: pathlib.Path) -> None:
    """A pool from a file, and a file with a mistake."""
    path = folder / "accounts.toml"
    path.write_text('[accounts.alice]\nusername = "alice"\npassword = { env = "TYPED_PASSWORD" }\n')
    os.environ["TYPED_PASSWORD"] = "a secret"
    pool = assert_type(Pool.from_toml(path), Pool)
    assert assert_type(pool["alice"].account, Account).name == "alice"
    config = assert_type(load(path), PoolConfig)
    assert_type(config.reconnect, ReconnectPolicy)
    path.write_text("[acounts]\n")
    try:
        Pool.from_toml(str(path))
    except ConfigError as error:
        assert assert_type(error.problems, tuple[str, ...])
    else:
        raise AssertionError("an unknown table was accepted")


def convert() -> None:
    """Units are whole numbers on the wire and decimals outside."""
    assert assert_type(units.percent(2500), Decimal) == 25
    assert assert_type(units.decimal_odds(2500, places=2), Decimal) == 4
    assert assert_type(units.stake(2500, 400_000), Decimal) == 10
    assert assert_type(units.liability(seto.SIDE_SELL, 2500, 400_000), Decimal) == 30
    assert assert_type(units.quantity_in_currency(400_000), Decimal) == 40
    assert units.price_from_decimal_odds(Decimal(3), rounding="ROUND_FLOOR") == 3333


def main() -> None:
    """Everything, against an exchange of our own."""
    logging.basicConfig(level=logging.CRITICAL)  # a refused login is no news here
    assert assert_type(smarkets_pool.__version__, str)
    convert()
    with tempfile.TemporaryDirectory() as folder:
        configure(pathlib.Path(folder))
    settings = ExchangeSettings(heartbeat_after=1.0, opening_balance=Decimal(1000))
    with EmbeddedExchange(accounts=4, markets=1, settings=settings) as exchange:
        trade(exchange)
        drive(exchange)
        refuse(exchange)
        exchange.faults.drop(exchange.logins[0].username)
        assert_type(exchange.cut(exchange.logins[0].username, away=2), int)
    print("every promise kept")


if __name__ == "__main__":
    main()

"""Mistakes that a type checker has to find: each line that ends in ``# refused`` has one, the others none.

``check.py`` shows it to mypy and pyright. A checker that takes the package's types for ``Any`` accepts it
all, and then the check fails. It is never run.
"""

from __future__ import annotations

import smarkets_pool
from smarkets_pool import Account, Backoff, Delivery, Member, Pool, ReconnectPolicy, StopReport, seto
from smarkets_pool.api import StreamingAPIClient
from smarkets_pool.exceptions import LoginError, MemberDown
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.pool import MemberGap, MemberUp
from smarkets_pool.session import Session, SessionSettings
from smarkets_pool.wire import units


def use(thing: object) -> None:
    """An expression alone would be refused for that."""


def messages(delivery: Delivery[seto.OrderExecuted]) -> None:
    """A message has its own fields, of their own types."""
    use(delivery.message.reference)  # refused
    use(delivery.message.pirce)  # refused
    text: str = delivery.message.quantity  # refused
    other: seto.OrderAccepted = delivery.message  # refused
    delivery.message.quantity = "much"  # refused
    use(delivery.market_id)  # refused
    delivery.seq = 3  # refused
    size: int = delivery.account_sequence  # refused
    raw: bytes = delivery.bytes  # refused
    print(text, other, size, raw)


def lives(gap: Delivery[MemberGap], anything: Delivery) -> None:
    """So have the events of a member's life; a bare delivery has a message of any kind and its own fields."""
    use(gap.message.cause)  # refused
    use(gap.message.first.upper())  # refused
    use(anything.message.whatever.it.may.be)
    use(anything.acount)  # refused


def takes_accepted(delivery: Delivery[seto.OrderAccepted]) -> None:
    """A handler of another type than most below want."""


def takes_two(delivery: Delivery[seto.OrderAccepted], other: int) -> None:
    """A handler that cannot be called with one argument."""


class Bot:
    """Handlers as methods."""

    def up(self, delivery: Delivery[MemberUp]) -> None:
        """A handler of a life's event."""

    def nothing(self) -> None:
        """Not a handler."""


def registrations(pool: Pool, bot: Bot) -> None:
    """A handler takes what it is registered for."""

    @pool.on(seto.OrderExecuted)  # refused
    def executed(delivery: Delivery[seto.OrderAccepted]) -> None: ...

    @pool.on(seto.OrderExecuted)  # refused
    @pool.on(seto.OrderAccepted)
    def only_one_of_two(delivery: Delivery[seto.OrderAccepted]) -> None: ...

    @pool.on(MemberGap)  # refused
    def gap(delivery: Delivery[seto.OrderAccepted]) -> None: ...

    @pool.on(seto.OrderExecuted)  # refused
    def message(message: seto.OrderExecuted) -> None: ...

    @pool.on("seto.order_executed")  # refused
    def no_argument() -> None: ...

    @pool.on("seto.order_executed")  # refused
    def not_a_delivery(delivery: int) -> None: ...

    pool.on(seto.OrderExecuted)(takes_accepted)  # refused
    pool.on(seto.OrderAccepted)(takes_two)  # refused
    pool.on(seto.OrderExecuted)(lambda delivery: delivery.message.reason)  # refused
    pool.on(seto.OrderExecuted)(lambda delivery: delivery.mesage)  # refused
    pool.on(seto.OrderExecuted)(lambda: None)  # refused
    pool.on(seto.OrderExecuted)(7)  # refused
    pool.on(MemberGap)(bot.up)  # refused
    pool.on(MemberUp)(bot.nothing)  # refused
    pool.on(int)  # refused
    pool.on(takes_accepted)  # refused
    pool.on(7)  # refused
    pool.on(seto.OrderExecuted, market_ids=["7"])  # refused
    pool.on(seto.OrderExecuted, accounts=7)  # refused
    pool.on(seto.OrderExecuted, markets=[7])  # refused
    pool.add_handler(seto.OrderExecuted, takes_accepted)  # refused
    pool.add_handler(seto.OrderExecuted, lambda delivery: delivery.message.reason)  # refused
    pool.add_handler(seto.OrderExecuted, bot.up)  # refused
    pool.add_handler("seto.order_executed", bot.nothing)  # refused
    pool.add_handler(seto.OrderExecuted)  # refused
    pool.off(seto.OrderExecuted, takes_accepted)  # refused
    pool.del_handler(seto.OrderExecuted, takes_accepted)  # refused


def decorated(pool: Pool, delivery: Delivery[seto.OrderAccepted]) -> None:
    """A decorated handler keeps its type."""

    @pool.on(seto.OrderExecuted)
    def executed(delivery: Delivery[seto.OrderExecuted]) -> int:
        return delivery.message.quantity

    executed(delivery)  # refused
    pool.add_handler(seto.OrderAccepted, executed)  # refused


def pools(pool: Pool, report: StopReport) -> None:
    """What goes into a pool and what comes out."""
    use(smarkets_pool.Acount)  # refused
    Pool(Account("alice"))  # refused
    Pool(["alice"])  # refused
    Pool([Account("alice")], reconnect=Backoff())  # refused
    Pool.from_toml(3)  # refused
    Pool([Account("alice")], store=7)  # refused
    Account(name=7)  # refused
    Account("alice", port="3801")  # refused
    Account("alice", password=7)  # refused
    ReconnectPolicy(max_attempts="3")  # refused
    ReconnectPolicy(atempts=3)  # refused
    use(pool["alice"].name.port)  # refused
    use(pool[0])  # refused
    pool.wait_until_up(timeout="10")  # refused
    use(pool.stop().logged_out.append("alice"))  # refused
    report.clean = True  # refused
    use(pool.stop(10.0).killd)  # refused


def members(member: Member, market_id: str) -> None:
    """What a member sends."""
    member.send("order")  # refused
    member.send(seto.OrderCreate)  # refused
    member.subscribe(market_id)  # refused
    number: str = member.send(seto.OrderCancelAll())  # refused
    use(member.stats()["state"])
    use(member.stats().state)  # refused
    seto.OrderCreate(price="2500")  # refused
    seto.OrderCreate(pirce=2500)  # refused
    seto.OrderCraete()  # refused
    use(seto.SIDE_BID)  # refused
    print(number)


def clients(client: StreamingAPIClient, session: Session) -> None:
    """The vendor's client."""
    SessionSettings(prot=3801)  # refused
    Session()  # refused
    StreamingAPIClient(SessionSettings())  # refused
    client.add_handler(seto.OrderAccepted, print)  # refused
    client.send(3)  # refused
    client.read(limit="all")  # refused
    use(session.session.upper())  # refused


def errors(down: MemberDown, login: LoginError) -> None:
    """Errors have figures."""
    use(down.reason)  # refused
    use(login.reason.upper())  # refused


def rest(exchange: EmbeddedExchange) -> None:
    """The exchange and the units."""
    EmbeddedExchange(acounts=3)  # refused
    exchange.settings_for("alice")  # refused
    exchange.cut(7)  # refused
    units.percent("2500")  # refused
    units.price_from_percent(25.0)  # refused
    units.stake(2500)  # refused

"""Handlers for ``smarkets-pool run``: it calls ``setup`` with the pool before anything connects.

In two terminals, on the embedded exchange::

    smarkets-pool exchange --port 0 --config-file pool.toml
    smarkets-pool run pool.toml --handlers examples.bot

Every account but the last offers to buy, and the last one sells to whoever does: watch orders and executions
in the table, and what ``print`` says above it. ``accounts.toml`` shows all that a file can say.
"""

from smarkets_pool import UP, Delivery, Member, Pool, seto
from smarkets_pool.pool import MemberUp

#: The first market and contract of an embedded exchange.
MARKET_ID, CONTRACT_ID = 100_000, 200_000
QUANTITY = 20_000  # pays 2.00


def order(member: Member, side: seto.Side, price: int) -> None:
    """Send a limit order."""
    member.send(
        seto.OrderCreate(
            side=side,
            price=price,  # in 1/100 of a percent: 4000 is 40 %, decimal odds 2.5
            quantity=QUANTITY,
            market_id=MARKET_ID,
            contract_id=CONTRACT_ID,
        )
    )


def setup(pool: Pool) -> None:
    """Register handlers; a bad one is reported with all others, and nothing is started."""
    *buyers, seller = [member.name for member in pool]

    @pool.on(MemberUp, accounts=buyers)
    def quote(delivery: Delivery[MemberUp]) -> None:
        """A buyer is complete: after a login, or after what was missing has come."""
        if delivery.message.cause == "login":
            order(delivery.member, seto.SIDE_BUY, 4000)

    @pool.on(MemberUp, accounts=[seller])
    def watch(delivery: Delivery[MemberUp]) -> None:
        """The seller looks at the market; the wish is kept over reconnects."""
        delivery.member.subscribe(MARKET_ID)

    def sell_to(member: Member, quotes: seto.ContractQuotes) -> None:
        if member.state is not UP:
            return  # a reconnect: when it is complete, ``watch`` asks for everything again
        if quotes.contract_id == CONTRACT_ID and any(bid.quantity for bid in quotes.bids):
            order(member, seto.SIDE_SELL, 4000)

    @pool.on(seto.MarketQuotes, accounts=[seller])
    def look(delivery: Delivery[seto.MarketQuotes]) -> None:
        """The whole market, once after each subscription: somebody may have bid before."""
        for quotes in delivery.message.contract_quotes:
            sell_to(delivery.member, quotes)

    @pool.on(seto.ContractQuotes, accounts=[seller])
    def take(delivery: Delivery[seto.ContractQuotes]) -> None:
        """What changed in a contract: somebody bids now."""
        sell_to(delivery.member, delivery.message)

    @pool.on(seto.OrderExecuted)
    def executed(delivery: Delivery[seto.OrderExecuted]) -> None:
        """A fill."""
        fill = delivery.message
        print(f"{delivery.account}: {fill.quantity} at {fill.price}")

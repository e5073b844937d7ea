"""Handlers for ``smarkets-pool run``: it calls ``setup`` with the pool before anything connects.

Try it on the embedded exchange, with the accounts of ``accounts.toml``; ``docs/configuration.md`` has the
commands. It prints what is filled, and quotes once in the first contract of the first market it sees.
"""

from smarkets_pool import Delivery, Pool, seto

_QUANTITY = 100_000  # 10.00 of payout


def setup(pool: Pool) -> None:
    """Register handlers; a bad one is reported with all others, and nothing is started."""
    quoted: set[str] = set()

    @pool.on(seto.MarketQuotes)
    def snapshot(delivery: Delivery[seto.MarketQuotes]) -> None:
        """The full book of a market, after each subscription."""
        quotes = delivery.message
        if delivery.account in quoted or not quotes.contract_quotes:
            return
        quoted.add(delivery.account)
        delivery.member.send(
            seto.OrderCreate(
                side=seto.SIDE_BUY,
                price=4000,  # 40.00 %, decimal odds 2.5
                quantity=_QUANTITY,
                market_id=quotes.market_id,
                contract_id=quotes.contract_quotes[0].contract_id,
            )
        )

    @pool.on(seto.OrderExecuted)
    def executed(delivery: Delivery[seto.OrderExecuted]) -> None:
        """A fill: who, how much, at which price."""
        fill = delivery.message
        print(f"{delivery.account}: {fill.quantity} at {fill.price}")

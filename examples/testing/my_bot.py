"""A bot to be tested: it bids, sells on what it bought, and renews its bids every minute.

``test_my_bot.py`` shows how to test one; this is only something to test. Whoever runs it registers the
handlers by ``Bot(pool, ...)``, starts the pool, and spawns ``renew_bids``.
"""

import collections

import gevent

from smarkets_pool import UP, Delivery, Member, Pool, seto
from smarkets_pool.pool import MemberGap, MemberUp

BID, OFFER = 4000, 4500  # in 1/100 of a percent
QUANTITY = 20_000  # pays 2.00

#: A name of this module, so that a test can put the sleep of its fake clock here.
sleep = gevent.sleep


class Bot:
    """Trades one contract over every account of a pool."""

    def __init__(self, pool: Pool, market_id: int, contract_id: int) -> None:
        self.pool = pool
        self.market_id, self.contract_id = market_id, contract_id
        #: Account -> the id of the bid that rests; None: it was sent.
        self.bids: dict[str, int | None] = {}
        #: Account -> what it bought and has still to sell on.
        self.unsold: collections.Counter[str] = collections.Counter()
        #: Accounts of which events are lost for good: what they hold is not known any more.
        self.halted: set[str] = set()
        pool.on(MemberUp)(self.up)
        pool.on(MemberGap)(self.gap)
        pool.on(seto.OrderAccepted)(self.accepted)
        pool.on(seto.OrderExecuted)(self.executed)
        pool.on(seto.OrderCancelled)(self.cancelled)

    def renew_bids(self) -> None:
        """Every minute: take every bid back; ``cancelled`` bids again."""
        while True:
            sleep(60)
            for account, order_id in self.bids.items():
                if order_id is not None and self.pool[account].state is UP:
                    self.pool[account].send(seto.OrderCancel(order_id=order_id))

    # --- handlers --------------------------------------------------------------------------------

    def up(self, delivery: Delivery[MemberUp]) -> None:
        """Complete: what happened while it was away has been handled."""
        self.trade(delivery.member)

    def gap(self, delivery: Delivery[MemberGap]) -> None:
        if delivery.message.kind == "account":
            self.halted.add(delivery.account)

    def accepted(self, delivery: Delivery[seto.OrderAccepted]) -> None:
        if delivery.message.side == seto.SIDE_BUY:
            self.bids[delivery.account] = delivery.message.order_id

    def executed(self, delivery: Delivery[seto.OrderExecuted]) -> None:
        fill = delivery.message
        if fill.side == seto.SIDE_BUY:
            self.unsold[delivery.account] += fill.quantity
            if fill.available_quantity == 0:
                self.bids.pop(delivery.account, None)
            self.trade(delivery.member)

    def cancelled(self, delivery: Delivery[seto.OrderCancelled]) -> None:
        if self.bids.get(delivery.account) == delivery.message.order_id:
            del self.bids[delivery.account]
            self.trade(delivery.member)

    # --- orders ----------------------------------------------------------------------------------

    def trade(self, member: Member) -> None:
        """Have one bid in the market and nothing unsold; before the account is complete do nothing."""
        if member.state is not UP or member.name in self.halted:
            return
        if member.name not in self.bids:
            self.bids[member.name] = None
            self.place(member, seto.SIDE_BUY, BID, QUANTITY)
        if quantity := self.unsold.pop(member.name, 0):
            self.place(member, seto.SIDE_SELL, OFFER, quantity)

    def place(self, member: Member, side: seto.Side, price: int, quantity: int) -> None:
        member.send(
            seto.OrderCreate(
                side=side,
                price=price,
                quantity=quantity,
                market_id=self.market_id,
                contract_id=self.contract_id,
            )
        )

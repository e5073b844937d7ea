"""``Counterparty``: somebody at an embedded exchange for a bot to trade with."""

from __future__ import annotations

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.wire.payloads import message_name
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["Counterparty"]


class Counterparty:
    """A customer of the exchange whose orders need no session: what it asks for has happened on return.

    What follows from it travels to those who are logged in as everything does: wait for it with
    ``eventually``, ``Record.wait`` or ``FakeClock.advance``.

    Args:
        username: a new customer's name at the exchange, for ``exchange.truth.events``; without password.

    Raises:
        ConfigError: somebody has the name.
    """

    def __init__(self, exchange: EmbeddedExchange, username: str = "counterparty") -> None:
        self.username = username
        self._exchange = exchange
        self._seq = 0
        exchange.exchange.accounts.add(username)

    def __repr__(self) -> str:
        return f"<Counterparty {self.username!r}>"

    def buy(
        self, price: int, quantity: int, *, market_id: int | None = None, contract_id: int | None = None
    ) -> int:
        """Place an order to buy and return its id; market and contract are the exchange's first by default.

        Raises:
            UsageError: the exchange refused it; says why.
        """
        return self._place(seto.SIDE_BUY, price, quantity, market_id, contract_id)

    def sell(
        self, price: int, quantity: int, *, market_id: int | None = None, contract_id: int | None = None
    ) -> int:
        """The same to sell."""
        return self._place(seto.SIDE_SELL, price, quantity, market_id, contract_id)

    def cancel(self, order_id: int) -> None:
        """Take an order back.

        Raises:
            UsageError: the exchange refused: there is no such order of this customer, or it is over.
        """
        self._ask(seto.OrderCancel(order_id=order_id))

    def cancel_all(self) -> None:
        """Take back everything that rests."""
        self._ask(seto.OrderCancelAll())

    def _place(
        self, side: seto.Side, price: int, quantity: int, market_id: int | None, contract_id: int | None
    ) -> int:
        if market_id is None:
            market_id = self._exchange.market_ids[0]
        if contract_id is None:
            contract_ids = self._exchange.contract_ids.get(market_id)
            if not contract_ids:
                raise UsageError(f"which contract of market {market_id} is meant has to be said")
            contract_id = contract_ids[0]
        order = seto.OrderCreate(
            side=side, price=price, quantity=quantity, market_id=market_id, contract_id=contract_id
        )
        return self._ask(order)

    def _ask(self, message: seto.OrderCreate | seto.OrderCancel | seto.OrderCancelAll) -> int:
        """Carry a request out; return the id of the order it made, or 0."""
        self._seq += 1
        inner, now = self._exchange.exchange, self._exchange.now()
        # Anew each time: an exchange that was restarted without its books does not know it any more.
        accounts = {account.username: account for account in inner.accounts}
        account = accounts.get(self.username) or inner.accounts.add(self.username)
        made = 0
        for effect in inner.request_without_session(account, message, self._seq, now):
            name = message_name(type(effect.message)) or ""
            if name.endswith(("_rejected", "_invalid")):
                said = " ".join(str(effect.message).split())
                raise UsageError(f"the exchange refused {type(message).__name__} of {self!r}: {name} {said}")
            if isinstance(effect.message, seto.OrderAccepted):
                made = effect.message.order_id
        return made

"""The exchange's customers: credentials, money, orders, and the numbered history of their events.

The liability of an account is what its orders have open, at their limits, and what its executed bets
risk (``money.py``). Money it may still risk is its cash less its liability; whole points all the way.

Every event of an account gets the next number of the account's own counter, whichever session caused
it (fact sheet 3.7). The last ``history_limit`` events are kept for clients that resume (choice 9).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.exchange.money import Bets, NettedBets, SeparateBets, points_from_currency
from smarkets_pool.exchange.orders import Order, Trade
from smarkets_pool.exchange.settings import ExchangeSettings

if TYPE_CHECKING:
    from smarkets_pool.exchange.market import Market

__all__ = ["Accounts", "ExchangeAccount"]

_MAX_UINT32 = 2**32 - 1


# --- one account -------------------------------------------------------------------------------


def _digest(secret: bytes | str) -> bytes:
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).digest()


class ExchangeAccount:
    """One customer of the exchange.

    ``online`` is the number of logged-in sessions; whoever keeps the sessions keeps it. An account that
    is not ``is_verified`` cannot log in; one that ``is_suspended``, or whose ``trading_suspended``,
    cannot place orders. ``exposure_limit`` and ``stake_limit`` (points, None = none) bound all it risks
    and what one order risks.

    ``live_orders`` are the open orders as they came. ``orders`` has the ended ones too (a dead one must
    be told from an unknown one): all with bets that are still on, and of the others the last
    ``finished_orders``.
    """

    def __init__(
        self,
        username: str,
        password: str,
        token: bytes | str,
        *,
        cash_points: int,
        history_limit: int,
        finished_orders: int | None = None,
        account_id: int = 0,
        settings: ExchangeSettings | None = None,
    ) -> None:
        self.username = username
        self.id = account_id
        self.cash_points = cash_points
        self.open_points = 0
        self.exposure_limit: int | None = None
        self.stake_limit: int | None = None
        self.is_suspended = False
        self.trading_suspended = False
        self.is_verified = True
        self.online = 0
        self.next_account_sequence = 1
        self.history: deque[tuple[int, Message]] = deque(maxlen=history_limit)
        self.orders: dict[int, Order] = {}
        self.live_orders: dict[int, Order] = {}
        self._settings = settings or ExchangeSettings()
        self._finished_orders = self._settings.finished_orders if finished_orders is None else finished_orders
        self._bets: dict[int, Bets] = {}
        self._bets_points = 0
        # Ended orders without bets, oldest first: the next ones to be forgotten.
        self._over: deque[int] = deque()
        # Digests: nothing that shows an exchange's objects shows a secret.
        self._password = _digest(password)
        self._token = _digest(token)

    def __repr__(self) -> str:
        return (
            f"<ExchangeAccount {self.username!r} id={self.id} online={self.online} "
            f"live_orders={len(self.live_orders)} next_account_sequence={self.next_account_sequence}>"
        )

    def has_password(self, password: str) -> bool:
        """Whether this is the account's password; an account without one cannot log in by it."""
        return bool(password) and hmac.compare_digest(self._password, _digest(password))

    def has_token(self, token: bytes) -> bool:
        """Whether this is the account's token; an account without one cannot log in by it."""
        return bool(token) and hmac.compare_digest(self._token, _digest(token))

    # --- events ---

    def stamp(self, message: Message) -> int:
        """Number ``message`` as the account's next event, keep a copy, and return the number.

        The 32-bit field is filled while the number fits (choice 14), the 64-bit field always. Fill
        everything else before: the copy is what a resuming client gets.
        """
        number = self.next_account_sequence
        # The base class declares no fields; a message without this one is refused by protobuf.
        fields: Any = message
        fields.account_sequence_64 = number
        if number <= _MAX_UINT32 and self._settings.account_sequence_32:
            fields.account_sequence = number
        self.next_account_sequence = number + 1
        kept = type(message)()
        kept.CopyFrom(message)
        self.history.append((number, kept))
        return number

    def history_from(self, position: int, *, inclusive: bool) -> list[Message]:
        """The kept events after ``position``, with ``inclusive`` also that one, oldest first.

        Events that have left the history are silently missing: the protocol has no error for it
        (choice 9). The messages are the kept ones; do not change them.
        """
        first = position if inclusive else position + 1
        return [message for number, message in self.history if number >= first]

    def shorten_history(self, events: int) -> int:
        """Keep only the newest ``events`` of the history; return how many went."""
        gone = max(0, len(self.history) - events)
        for _ in range(gone):
            self.history.popleft()
        return gone

    # --- money ---

    @property
    def liability_points(self) -> int:
        """What is at risk: open orders at their limits, and executed bets."""
        return self.open_points + self._bets_points

    @property
    def exposure_points(self) -> int:
        """What is at risk, as a number that is never above 0."""
        return -self.liability_points

    @property
    def available_points(self) -> int:
        """What new orders may risk."""
        return self.cash_points + self.exposure_points

    def reserve(self, points: int) -> None:
        """Set ``points`` aside for an order; the caller has checked that they are available."""
        if points > self.available_points:
            raise UsageError(
                f"{self.username!r} has {self.available_points} points, not {points}, to reserve"
            )
        self.open_points += points

    def release(self, points: int) -> None:
        """Give ``points`` that were reserved back."""
        if points > self.open_points:
            raise UsageError(f"{self.username!r} has {self.open_points} points reserved, not {points}")
        self.open_points -= points

    def bet(self, market: Market, order: Order, price: int, quantity: int) -> None:
        """Count an executed bet of an order, or, with a negative quantity, take one back."""
        bets = self._bets.get(market.market_id)
        if bets is None:
            netted = self._settings.netting == "market"
            bets = NettedBets(market.open_contracts()) if netted else SeparateBets()
            self._bets[market.market_id] = bets
        before = bets.risk
        bets.add(order.contract_id, order.side, price, quantity)
        self._bets_points += bets.risk - before

    def close_bets(self, market_id: int, contract_id: int | None = None) -> None:
        """Bets in a market, or in one contract of it, were paid or given back."""
        bets = self._bets.get(market_id)
        if bets is None:
            return
        before = bets.risk
        if contract_id is None:
            del self._bets[market_id]
            self._bets_points -= before
        else:
            bets.close(contract_id)
            self._bets_points += bets.risk - before

    # --- orders ---

    def admit(self, order: Order) -> None:
        """Take an order that was accepted into the account's orders."""
        self.orders[order.order_id] = order
        self.live_orders[order.order_id] = order

    def retire(self, order: Order) -> None:
        """Note that an order is open no more; it stays known for a while."""
        del self.live_orders[order.order_id]
        if not order.trades:
            self._finish(order)

    def drop_trade(self, order: Order, trade: Trade) -> None:
        """Note that a bet of an order is over, paid or given back."""
        order.trades.remove(trade)
        if not order.trades and order.order_id not in self.live_orders:
            self._finish(order)

    def hand_over(self, original: Order, replacement: Order) -> None:
        """Let ``replacement``, admitted already, go on with the bets of an ended order."""
        replacement.trades, original.trades = original.trades, []
        for trade in replacement.trades:
            if trade.buy is original:
                trade.buy = replacement
            else:
                trade.sell = replacement
        if replacement.trades:
            self._finish(original)

    def _finish(self, order: Order) -> None:
        self._over.append(order.order_id)
        while len(self._over) > self._finished_orders:
            self.orders.pop(self._over.popleft(), None)


# --- all of them -------------------------------------------------------------------------------


class Accounts:
    """The accounts of one exchange, by user name and by token. Iterates over the accounts."""

    def __init__(self, settings: ExchangeSettings | None = None) -> None:
        self._settings = settings or ExchangeSettings()
        self._by_username: dict[str, ExchangeAccount] = {}
        # By digest, so that finding one of many tokens takes no time that depends on their bytes.
        self._by_digest: dict[bytes, ExchangeAccount] = {}

    def __repr__(self) -> str:
        return f"<Accounts: {len(self)}>"

    def __len__(self) -> int:
        return len(self._by_username)

    def __iter__(self) -> Iterator[ExchangeAccount]:
        return iter(self._by_username.values())

    def __getitem__(self, username: str) -> ExchangeAccount:
        return self._by_username[username]

    def add(
        self, username: str, password: str = "", token: bytes | str = b"", *, remembers: int | None = None
    ) -> ExchangeAccount:
        """A new account with the opening balance; without password (or token) there is no login by it.

        ``remembers`` so many events and ended orders, instead of ``history_limit`` and
        ``finished_orders``: for accounts that trade on and on and ask for nothing.

        Raises:
            ConfigError: the user name is empty or taken, or the token is another account's.
        """
        if not username or username in self._by_username:
            raise ConfigError(f"user name {username!r} is {'taken' if username else 'empty'}")
        account = ExchangeAccount(
            username,
            password,
            token,
            cash_points=points_from_currency(self._settings.opening_balance),
            history_limit=self._settings.history_limit if remembers is None else remembers,
            finished_orders=remembers,
            account_id=len(self) + 1,
            settings=self._settings,
        )
        if token:
            self._index_token(account, _digest(token))
        self._by_username[username] = account
        return account

    def _index_token(self, account: ExchangeAccount, digest: bytes) -> None:
        if digest in self._by_digest:
            raise ConfigError(
                f"accounts {self._by_digest[digest].username!r} and {account.username!r} share a token"
            )
        self._by_digest[digest] = account

    def by_password(self, username: str, password: str) -> ExchangeAccount | None:
        """The account with this user name and password, or None."""
        account = self._by_username.get(username)
        return account if account is not None and account.has_password(password) else None

    def by_token(self, token: bytes) -> ExchangeAccount | None:
        """The account with this token, or None."""
        account = self._by_digest.get(_digest(token))
        return account if account is not None and account.has_token(token) else None

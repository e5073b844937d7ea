"""The exchange's customers: credentials, money, orders, and the numbered history of their events.

Money is counted in *points* of 1/10**8 currency unit, the unit of ``quantity * price``; whole numbers
all the way, so nothing is ever rounded. Doubles appear only on the wire, made by :func:`currency`.

* A buyer risks ``quantity * price``, a seller ``quantity * (10000 - price)`` (fact sheet 3.1).
* The liability of an account is the sum over what its orders have executed, at the prices of the
  executions, and what they still have open, at their limits. Nothing is netted (choice 16).
* ``available = cash + exposure`` and ``exposure = -liability`` (choice 15).

Every event of an account gets the next number of the account's own counter, whichever session caused
it (fact sheet 3.7). The last ``history_limit`` events are kept for clients that resume (choice 9).
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from smarkets_pool.exceptions import ConfigError, UsageError
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    from smarkets_pool.exchange.book import Order

__all__ = ["Accounts", "ExchangeAccount", "currency", "liability_points", "points_from_currency"]

_POINTS = 10**8
_PRICE_SCALE = 10_000
_MAX_UINT32 = 2**32 - 1


# --- money -------------------------------------------------------------------------------------


def currency(points: int) -> float:
    """Points as the double that ``available_balance`` and ``exposure`` carry: 10**8 -> 1.0."""
    return points / _POINTS


def points_from_currency(amount: Decimal) -> int:
    """``Decimal("1.50")`` currency units -> 150000000 points.

    Raises:
        UsageError: more than eight digits after the point.
    """
    points = int(amount.scaleb(8))
    if Decimal(points).scaleb(-8) != amount:
        raise UsageError(f"{amount} currency units have more than eight digits after the point")
    return points


def liability_points(side: int, price: int, quantity: int) -> int:
    """What the owner of ``quantity`` at ``price`` risks, in points."""
    return quantity * (price if side == seto.SIDE_BUY else _PRICE_SCALE - price)


# --- one account -------------------------------------------------------------------------------


def _digest(secret: bytes | str) -> bytes:
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).digest()


class ExchangeAccount:
    """One customer of the exchange.

    ``online`` is the number of logged-in sessions; whoever keeps the sessions keeps it. An account that
    is not ``is_verified`` cannot log in, one that ``is_suspended`` cannot trade. ``orders`` has every
    order the account ever had (a dead one must be told from an unknown one), ``live_orders`` the open
    ones in the order they came.
    """

    def __init__(
        self,
        username: str,
        password: str,
        token: bytes | str,
        *,
        cash_points: int,
        history_limit: int,
        account_id: int = 0,
    ) -> None:
        self.username = username
        self.id = account_id
        self.cash_points = cash_points
        self.liability_points = 0
        self.is_suspended = False
        self.is_verified = True
        self.online = 0
        self.next_account_sequence = 1
        self.history: deque[tuple[int, Message]] = deque(maxlen=history_limit)
        self.orders: dict[int, Order] = {}
        self.live_orders: dict[int, Order] = {}
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
        if number <= _MAX_UINT32:
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

    # --- orders and money ---

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
        self.liability_points += points

    def release(self, points: int) -> None:
        """Give ``points`` that were reserved back."""
        if points > self.liability_points:
            raise UsageError(f"{self.username!r} has {self.liability_points} points reserved, not {points}")
        self.liability_points -= points

    def admit(self, order: Order) -> None:
        """Take an order that was accepted into the account's orders."""
        self.orders[order.order_id] = order
        self.live_orders[order.order_id] = order

    def retire(self, order: Order) -> None:
        """Note that an order is filled or cancelled; it stays known."""
        del self.live_orders[order.order_id]


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

    def add(self, username: str, password: str = "", token: bytes | str = b"") -> ExchangeAccount:
        """A new account with the opening balance; without password (or token) there is no login by it.

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
            history_limit=self._settings.history_limit,
            account_id=len(self) + 1,
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

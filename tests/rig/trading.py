"""An engine with three accounts and two markets, ways to read its effects, and a picture of all it knows."""

from __future__ import annotations

import types
from collections.abc import Mapping
from decimal import Decimal
from itertools import count
from typing import Any

from google.protobuf.message import Message

from smarkets_pool.exchange.accounts import Accounts, ExchangeAccount
from smarkets_pool.exchange.engine import Effect, Engine, ToAccount, ToMarket
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.orders import Order, Trade
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth
from smarkets_pool.wire.schema import seto_pb2 as seto

BUY, SELL = seto.SIDE_BUY, seto.SIDE_SELL
GTC, IOC = seto.GOOD_TIL_CANCELLED, seto.IMMEDIATE_OR_CANCEL
KIP, GTH = seto.KEEP_IN_PLAY, seto.GOOD_TILL_HALTED
MARKET, OTHER_MARKET, CONTRACT, OTHER_CONTRACT = 10, 11, 20, 21
NOW = 1_000_000


class Rig:
    """An engine with two markets and the accounts ann, bob and cyd."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ExchangeSettings(**{"balance_decimals": 8, **settings})
        self.truth = Truth(self.settings.truth_limit)
        self.accounts = Accounts(self.settings)
        self.ann, self.bob, self.cyd = (self.accounts.add(name) for name in ("ann", "bob", "cyd"))
        markets = [Market(MARKET, [CONTRACT, OTHER_CONTRACT]), Market(OTHER_MARKET, [CONTRACT])]
        self.engine = Engine(self.settings, self.truth, self.accounts, markets)
        self.market = self.engine.markets[MARKET]
        self.book = self.market.books[CONTRACT]
        self.now_us = NOW

    # --- requests ---

    def handle(
        self, account: ExchangeAccount, message: Message, seq: int = 2, session: str = ""
    ) -> list[Effect]:
        return self.engine.handle(account, message, seq=seq, now_us=self.now_us, session=session)

    def create(
        self,
        account: ExchangeAccount,
        side: seto.Side,
        price: int | None,
        quantity: int,
        seq: int = 2,
        session: str = "",
        **more: Any,
    ) -> list[Effect]:
        terms: dict[str, Any] = {"market_id": MARKET, "contract_id": CONTRACT, "price": price, **more}
        return self.handle(account, seto.OrderCreate(side=side, quantity=quantity, **terms), seq, session)

    def rest(self, account: ExchangeAccount, side: seto.Side, price: int, quantity: int, **more: Any) -> int:
        """Create an order that is accepted; its id."""
        order_id: int = only(self.create(account, side, price, quantity, **more), seto.OrderAccepted).order_id
        return order_id

    def order(
        self, account: ExchangeAccount, side: seto.Side, price: int, quantity: int, **more: Any
    ) -> Order:
        """Create an order that is accepted; the order itself."""
        return account.orders[self.rest(account, side, price, quantity, **more)]

    def cancel(self, account: ExchangeAccount, order_id: int, **more: Any) -> list[Effect]:
        return self.handle(account, seto.OrderCancel(order_id=order_id, **more))

    def reduce(self, account: ExchangeAccount, order_id: int, total: int, **more: Any) -> list[Effect]:
        return self.handle(account, seto.OrderQuantityReduce(order_id=order_id, new_quantity=total, **more))

    def replace(
        self, account: ExchangeAccount, order_id: int, price: int, quantity: int, **more: Any
    ) -> list[Effect]:
        request = seto.OrderCancelReplace(orig_order_id=order_id, price=price, quantity=quantity, **more)
        return self.handle(account, request, seq=5)

    def trade(
        self,
        seller: ExchangeAccount,
        buyer: ExchangeAccount,
        price: int,
        quantity: int,
        **more: Any,
    ) -> Trade:
        """Let ``seller`` rest an order and ``buyer`` take all of it; the trade."""
        self.rest(seller, SELL, price, quantity, **more)
        self.rest(buyer, BUY, price, quantity, **more)
        return list(self.engine.markets[more.get("market_id", MARKET)].trades.values())[-1]

    # --- operators ---

    def operate(self, verb: str, **arguments: object) -> list[Effect]:
        return self.engine.operate(verb, now_us=self.now_us, **arguments)

    def state(self, state: seto.MarketStateType) -> list[Effect]:
        return self.operate("set_market_state", market_id=MARKET, state=short(state))

    # --- figures ---

    def cash(self, *names: str) -> list[int]:
        """What these accounts have gained since the opening, in points."""
        opening = int(self.settings.opening_balance.scaleb(8))
        return [self.accounts[name].cash_points - opening for name in names or ("ann", "bob", "cyd")]

    def risks(self) -> list[int]:
        """What ann, bob and cyd have at risk, in points."""
        return [account.liability_points for account in self.accounts]


def short(state: int) -> str:
    return seto.MarketStateType.Name(state).removeprefix("MARKET_STATE_")


# --- effects -----------------------------------------------------------------------------------


def messages(effects: list[Effect], kind: type[Any], account: ExchangeAccount | None = None) -> list[Any]:
    """The messages of a kind; of one account, if it is given."""
    return [
        effect.message
        for effect in effects
        if isinstance(effect.message, kind)
        and (account is None or (isinstance(effect, ToAccount) and effect.account is account))
    ]


def only(effects: list[Effect], kind: type[Any], account: ExchangeAccount | None = None) -> Any:
    (message,) = messages(effects, kind, account)
    return message


def shape(effects: list[Effect]) -> list[str]:
    """``account:MessageClass``, with ``?`` for the requester and ``*`` for subscribers."""
    names = []
    for effect in effects:
        whom = effect.account.username if isinstance(effect, ToAccount) else "?"
        whom = "*" if isinstance(effect, ToMarket) else whom
        names.append(f"{whom}:{type(effect.message).__name__}")
    return names


def fields(message: Message, *left_out: str) -> dict[str, Any]:
    found = {descriptor.name: value for descriptor, value in message.ListFields()}
    return {name: value for name, value in found.items() if name not in left_out}


#: The two fields of an event that only say which of its account's events it is.
STAMPS = ("account_sequence", "account_sequence_64")


def spoken(effects: list[Effect]) -> list[tuple[str, str, bytes]]:
    """Effects as values that two engines can be compared by."""
    return [
        (whom, getattr(effect, "session", ""), effect.message.SerializeToString(deterministic=True))
        for effect, whom in zip(effects, shape(effects), strict=True)
    ]


# --- everything there is -----------------------------------------------------------------------


def picture(thing: object) -> object:
    """All that hangs on an object, as plain data: the same state of two engines is the same picture.

    It follows every attribute there is, so that nothing kept anywhere can be forgotten here.
    """
    return _picture(thing, {})


_PLAIN = (type(None), bool, int, float, str, bytes, Decimal)


def _picture(thing: Any, seen: dict[int, int]) -> object:
    if isinstance(thing, _PLAIN):
        return thing
    if isinstance(thing, Message):
        return type(thing).__name__, thing.SerializeToString(deterministic=True)
    if isinstance(thing, (type, types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        return thing.__qualname__
    if isinstance(thing, count):
        return repr(thing)
    if id(thing) in seen:
        return "again", seen[id(thing)]
    seen[id(thing)] = len(seen)
    if isinstance(thing, Mapping):
        return [(_picture(key, seen), _picture(value, seen)) for key, value in thing.items()]
    if isinstance(thing, (set, frozenset)):
        return sorted(repr(_picture(each, seen)) for each in thing)
    if not hasattr(thing, "__dict__") and not _slots(thing):
        return [_picture(each, seen) for each in thing]
    names = sorted({*getattr(thing, "__dict__", ()), *_slots(thing)})
    parts = [(name, _picture(getattr(thing, name), seen)) for name in names if hasattr(thing, name)]
    return type(thing).__name__, parts


def _slots(thing: object) -> list[str]:
    return [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]

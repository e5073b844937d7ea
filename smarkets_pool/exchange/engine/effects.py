"""What comes out of the engine: messages and whom they are for, in the order they are to be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from smarkets_pool.exchange.market import Market

if TYPE_CHECKING:
    from smarkets_pool.exchange.accounts import ExchangeAccount

__all__ = ["Effect", "ToAccount", "ToMarket", "ToRequester", "Work"]


@dataclass(frozen=True, slots=True)
class ToRequester:
    """Send to the session that asked."""

    message: Message


@dataclass(frozen=True, slots=True)
class ToAccount:
    """Send to all sessions of ``account``; an event among them is numbered and recorded already.

    ``sessions`` are the one that made the order it is about and the one that asked, as far as there are any;
    those of other accounts are no concern of this one.
    """

    account: ExchangeAccount
    message: Message
    sessions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToMarket:
    """Send to whoever follows a market."""

    market_id: int
    message: Message


Effect = ToRequester | ToAccount | ToMarket


class Work:
    """One request under way: the contracts it touched and the messages it caused, in order."""

    __slots__ = ("announced", "balances", "messages", "now_us", "session", "touched")

    def __init__(self, now_us: int, session: str = "") -> None:
        self.now_us = now_us
        self.session = session
        #: Before the quotes, whatever else: a market's new state.
        self.announced: list[Effect] = []
        self.messages: list[Effect] = []
        # Dicts for their order.
        self.touched: dict[tuple[Market, int], None] = {}
        #: Whose balance is to be told at the end, and why.
        self.balances: dict[ExchangeAccount, str] = {}

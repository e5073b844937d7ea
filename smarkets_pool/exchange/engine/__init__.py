"""The exchange's rules, pure: requests and operators' verbs in, effects out."""

from smarkets_pool.exchange.engine.changes import Change, Operated, Requested
from smarkets_pool.exchange.engine.effects import Effect, ToAccount, ToMarket, ToRequester
from smarkets_pool.exchange.engine.engine import Engine
from smarkets_pool.exchange.engine.operating import VERBS

__all__ = [
    "VERBS",
    "Change",
    "Effect",
    "Engine",
    "Operated",
    "Requested",
    "ToAccount",
    "ToMarket",
    "ToRequester",
]

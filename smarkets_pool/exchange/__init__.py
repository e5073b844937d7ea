"""The embedded exchange: accounts, matching, market data, resume history, faults by name.

It uses ``wire``, ``protocol`` and ``exceptions`` of this package and nothing of the client's side.
"""

try:
    import sortedcontainers  # noqa: F401
    import trustme  # noqa: F401
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f"the embedded exchange needs {_error.name}: install this package with its extra, "
        "pip install '/path/to/smarkets_pool[exchange]'",
        name=_error.name,
    ) from _error

from smarkets_pool.exchange.activity import ActivitySettings
from smarkets_pool.exchange.embedded import EmbeddedExchange, Login
from smarkets_pool.exchange.exchange import Exchange
from smarkets_pool.exchange.flood import Flood
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.truth import Truth, TruthEvent

__all__ = [
    "ActivitySettings",
    "EmbeddedExchange",
    "Exchange",
    "ExchangeSettings",
    "Flood",
    "Login",
    "Truth",
    "TruthEvent",
]

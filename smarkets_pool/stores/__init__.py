"""Where positions are kept: the account number of the last handled event, per account."""

from smarkets_pool.stores.addresses import open_store, store_problem
from smarkets_pool.stores.base import Position, SequenceStore
from smarkets_pool.stores.memory import MemoryStore

__all__ = ["MemoryStore", "Position", "SequenceStore", "open_store", "store_problem"]

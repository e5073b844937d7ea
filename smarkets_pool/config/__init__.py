"""A pool from a TOML file: what may stand in it, where it is wrong, and where its secrets are.

``read`` takes the whole file apart and reports every problem at once, each with its line; ``load`` does
the same and raises them. Nothing is connected to here.
"""

from smarkets_pool.config.keys import TABLES, Key
from smarkets_pool.config.problems import Problem
from smarkets_pool.config.reader import AccountEntry, PoolConfig, load, read, read_text

__all__ = ["AccountEntry", "Key", "PoolConfig", "Problem", "TABLES", "load", "read", "read_text"]

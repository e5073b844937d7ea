"""Faults by name: what the embedded exchange does wrong on purpose.

``table`` says which there are and reads their text form, ``armed`` keeps those that wait for their moment,
``injector`` is what users and peers call. What happens to frames on their way out is in
``smarkets_pool.exchange.line``, what happens to a connection in ``smarkets_pool.exchange.peer``.
"""

from __future__ import annotations

from smarkets_pool.exchange.faults.armed import FRAME_FAULTS, Plan
from smarkets_pool.exchange.faults.injector import Faults, Ground, House
from smarkets_pool.exchange.faults.table import (
    ANYBODY,
    FAULTS,
    Fault,
    FaultKind,
    Parameter,
    logout_reason,
    parse_fault,
)

__all__ = [
    "ANYBODY",
    "FAULTS",
    "FRAME_FAULTS",
    "Fault",
    "FaultKind",
    "Faults",
    "Ground",
    "House",
    "Parameter",
    "Plan",
    "logout_reason",
    "parse_fault",
]

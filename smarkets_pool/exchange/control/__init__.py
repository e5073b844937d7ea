"""What may be asked of a running exchange from outside: readings, faults, operator verbs, as plain data.

``Control`` carries commands out, whichever way they come; ``control.http`` serves it on loopback.
"""

from smarkets_pool.exchange.control.commands import Command, Control, fault_usage
from smarkets_pool.exchange.control.readings import Readings, money_text

__all__ = ["Command", "Control", "Readings", "fault_usage", "money_text"]

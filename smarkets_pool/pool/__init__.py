"""Many accounts in one process: members, their care, and what handlers receive."""

from smarkets_pool.account import Account
from smarkets_pool.pool.delivery import (
    Delivery,
    MemberDownEvent,
    MemberGap,
    MemberRecovering,
    MemberSlowHandler,
    MemberStalled,
    MemberUp,
)
from smarkets_pool.pool.member import Member
from smarkets_pool.pool.pool import Pool, StopReport
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.pool.state import DOWN, RECOVERING, UP, MemberState

__all__ = [
    "Account",
    "DOWN",
    "Delivery",
    "Member",
    "MemberDownEvent",
    "MemberGap",
    "MemberRecovering",
    "MemberSlowHandler",
    "MemberStalled",
    "MemberState",
    "MemberUp",
    "Pool",
    "RECOVERING",
    "Runtime",
    "StopReport",
    "UP",
]

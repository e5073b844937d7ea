"""What a user may assume about an account now."""

from __future__ import annotations

import enum

__all__ = ["DOWN", "MemberState", "RECOVERING", "UP"]


class MemberState(enum.Enum):
    """UP: everything so far is here. RECOVERING: true but incomplete. DOWN: nothing new arrives."""

    UP = "complete"
    RECOVERING = "true but incomplete"
    DOWN = "nothing new arrives"

    def __str__(self) -> str:
        return self.name


UP, RECOVERING, DOWN = MemberState.UP, MemberState.RECOVERING, MemberState.DOWN

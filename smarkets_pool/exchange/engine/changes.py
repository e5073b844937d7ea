"""What was asked of an engine, as values: enough to ask the same of another one.

The engine is deterministic, so whoever keeps its changes in order can have its books again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

__all__ = ["Change", "Operated", "Requested"]


@dataclass(frozen=True, slots=True)
class Requested:
    """A session's request, as ``Engine.handle`` got it; ``throttled`` ones were refused."""

    username: str
    message: Message
    seq: int
    now_us: int
    session: str
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Operated:
    """An operator's verb, as ``Engine.operate`` got it; the arguments are plain data."""

    verb: str
    arguments: Mapping[str, object]
    now_us: int


Change = Requested | Operated

"""The lengths of time a session's rules need, in seconds."""

from __future__ import annotations

import dataclasses

__all__ = ["Timing"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long each wait of one side may be. None switches that wait off.

    heartbeat_after: send a heartbeat when nothing was sent for this long. The exchange wants something
        at least every 10 s; half of that is safe for all known clients.
    probe_after: ask with a ping when no whole frame arrived for this long.
    give_up_after: report ``TimedOut("silence")`` when none arrived for this long.
    login: from the start (or from our login) to the login (or its answer).
    logout: from our logout to its confirmation.
    replay: from the replay request, or the last number it brought, to the next one.
    replay_orders: an order create older than this is not sent again when the peer asks for a replay.
    """

    heartbeat_after: float | None = 5.0
    probe_after: float | None = 15.0
    give_up_after: float | None = 30.0
    login: float | None = 10.0
    logout: float | None = 5.0
    replay: float | None = 5.0
    replay_orders: float | None = 2.0

"""``ExchangeSession``: a session's rules on the exchange's side, where they differ from the shared ones.

Pings and replay requests are handed to the peer instead of being answered at once, since a throttle may have
something against the one and a fault against the other. And it can say what a well-behaved side never
says: a goodbye after bytes that nobody can read, a payload of an unknown type, a replay request for what it
has had already.
"""

from __future__ import annotations

from collections.abc import Callable

from smarkets_pool.protocol import SessionMemory, SessionProtocol, Timing
from smarkets_pool.wire.framing import encode_frame
from smarkets_pool.wire.payloads import eto_payload
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["UNKNOWN_TYPE", "ExchangeSession"]

#: A payload type that no schema has, and the wire's way of writing it.
UNKNOWN_TYPE = 127
_UNKNOWN = bytes([1 << 3, UNKNOWN_TYPE])


class ExchangeSession(SessionProtocol):
    """One session of a client at the exchange.

    Args:
        replay_asked: called with the first number a client wants again; it may call ``answer_replay``.
    """

    def __init__(
        self,
        *,
        timing: Timing,
        memory: SessionMemory,
        max_frame_size: int,
        replay_asked: Callable[[int, float], None],
    ) -> None:
        super().__init__(timing=timing, memory=memory, max_frame_size=max_frame_size, says_is_replay=True)
        self._replay_asked = replay_asked

    def _answer_ping(self, now: float) -> None:
        """Not here: the peer says ``pong`` when it gets the ping, unless that was one too many."""

    def _answer_replay(self, first: int, now: float) -> None:
        if self.logged_in:
            self._replay_asked(first, now)

    def pong(self, now: float) -> int:
        """Answer a ping."""
        self._must_be_logged_in("pong")
        return self._transmit(eto_payload(eto.PAYLOAD_PONG), now)

    def answer_replay(self, first: int, now: float) -> None:
        """Send every number from ``first`` to the latest again."""
        super()._answer_replay(first, now)

    def ask_replay(self, first: int, now: float) -> int:
        """Ask for everything from ``first`` again, missing or not."""
        self._must_be_logged_in("replay")
        request = eto_payload(eto.PAYLOAD_REPLAY)
        request.eto_payload.replay.seq = first
        return self._transmit(request, now)

    def send_unknown_type(self, now: float) -> int:
        """Send a numbered payload of a type newer than the schema; a replay stands in for it."""
        self._must_be_logged_in("a payload of an unknown type")
        seq = self.memory.outseq
        payload = seto.Payload.FromString(_UNKNOWN)
        payload.eto_payload.seq = seq
        payload.eto_payload.is_replay = False
        self._outgoing.append(encode_frame(payload.SerializePartialToString()))
        # In no journal: so a replay stands in for it.
        self.memory.outseq = seq + 1
        self.frames_sent += 1
        self._last_sent = now
        return seq

    def last_words(self, now: float) -> int:
        """A logout without a reason, also when nothing can be read any more."""
        payload = eto_payload(eto.PAYLOAD_LOGOUT)
        payload.eto_payload.logout.SetInParent()
        return self._transmit(payload, now)

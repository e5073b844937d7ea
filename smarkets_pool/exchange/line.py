"""``Line``: the outgoing side of one connection, frame by frame, with what faults do to it on the way.

Without I/O and without a clock of its own: frames go in with ``now``, bytes come out when they are due, in
the order in which they went in unless a fault says otherwise. While no fault waits for the account the
bytes are not even looked at.

=========  =======================================================================================
fault      what becomes of the frame
=========  =======================================================================================
drop       it is gone
duplicate  it comes out twice
reorder    it waits for the first frame that the fault does not take, and follows that one
delay      it waits, and all behind it
drip       it comes out in pieces, with a pause after each, and all behind it waits
cut        before, inside or after it the line ends (``broken``), and nothing comes out any more
=========  =======================================================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from smarkets_pool.exchange.faults import Faults, Plan
from smarkets_pool.wire.framing import MIN_FRAME_SIZE, decode_uleb128
from smarkets_pool.wire.payloads import parse_payload, payload_name

__all__ = ["Line", "frames_in"]


def frames_in(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The frames of ``data``, which holds whole ones, each with its payload."""
    offset = 0
    while offset < len(data):
        header = decode_uleb128(data, offset)
        assert header is not None
        size, body = header
        end = max(body + size, offset + MIN_FRAME_SIZE)
        yield data[offset:end], data[body : body + size]
        offset = end


class Line:
    """What one connection writes.

    Attributes:
        account: whose faults count; empty before the login, when none does.
        broken: a ``cut`` was reached: what came out before is to be written, then the connection ends.
        held: nothing comes out for the time being.
        size: bytes that have not come out.
    """

    def __init__(self, faults: Faults) -> None:
        self.account = ""
        self.broken = False
        self.held = False
        self.size = 0
        self._faults = faults
        self._ready: list[bytes] = []
        #: What is to come out later, in order; None is the line's end.
        self._later: deque[tuple[float, bytes | None]] = deque()
        #: Frames that wait for another to pass them.
        self._reordered: list[bytes] = []
        self._ends = False

    def __repr__(self) -> str:
        state = "broken" if self.broken else "held" if self.held else "open"
        return f"<Line {state}, {self.size} bytes>"

    @property
    def held_back(self) -> int:
        """The bytes that a fault keeps from coming out."""
        return self.size if self.held or self._later else 0

    @property
    def empty(self) -> bool:
        """Whether nothing more comes out unless something goes in."""
        return not self._ready and not self._later

    # --- in --------------------------------------------------------------------------------------

    def write(self, frames: bytes, now: float) -> None:
        """Put in whole frames, to which faults may happen."""
        if not self._reordered and not self._faults.may_hit_frames(self.account):
            self._put(frames, now)
            return
        for frame, payload in frames_in(frames):
            if self._ends:
                return
            self._pass(frame, payload, now)

    def end_with(self, data: bytes) -> None:
        """Put in the last bytes there are, in front of nothing."""
        self._ready.append(data)
        self.size += len(data)
        self._ends = True

    def write_as_is(self, data: bytes, now: float) -> None:
        """Put in bytes, frames or not, to which nothing happens; they keep their place in the order."""
        self._put(data, now)

    def _pass(self, frame: bytes, payload: bytes, now: float) -> None:
        name = payload_name(parse_payload(payload))
        plan = self._faults.take_frame(self.account, name)
        if plan is None:
            self._put(frame, now)
        else:
            self._faults.record(plan.name, self.account, _detail(plan, name))
            if plan.name == "reorder":
                self._reordered.append(frame)
                return
            if plan.name == "cut":
                self._cut(plan, frame, now)
                return
            self._hit(plan, frame, now)
        passed, self._reordered = self._reordered, []
        for waiting in passed:
            self._put(waiting, now)

    def _hit(self, plan: Plan, frame: bytes, now: float) -> None:
        if plan.name == "duplicate":
            self._put(frame + frame, now)
        elif plan.name == "delay":
            self._put(frame, now + plan["seconds"])
        elif plan.name == "drip":
            size, seconds = plan["size"], plan["seconds"]
            begin = max(now, self._later[-1][0]) if self._later else now
            for index, offset in enumerate(range(0, len(frame), size)):
                self._put(frame[offset : offset + size], begin + index * seconds)

    def _cut(self, plan: Plan, frame: bytes, now: float) -> None:
        where, away = plan["where"], plan["away"]
        if where != "before":
            self._put(frame if where == "after" else frame[: max(1, len(frame) // 2)], now)
        if away is not None:
            self._faults.keep_away(self.account, away)
        self._ends = True
        self._later.append((self._later[-1][0] if self._later else now, None))
        self.advance(now)

    def _put(self, data: bytes, due: float) -> None:
        """Behind everything that is there, not before ``due``."""
        if self._ends or not data:
            return
        self.size += len(data)
        if self._later:
            self._later.append((max(due, self._later[-1][0]), data))
        else:
            self._later.append((due, data))

    # --- out -------------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Let out what is due."""
        later = self._later
        while later and later[0][0] <= now:
            _, data = later.popleft()
            if data is None:
                self.broken = True
            else:
                self._ready.append(data)

    def take(self) -> bytes:
        """What has come out; each byte once. Nothing while the line is held."""
        if self.held or not self._ready:
            return b""
        data = b"".join(self._ready)
        self._ready.clear()
        self.size -= len(data)
        return data

    def next_deadline(self) -> float | None:
        """When ``advance`` has something to do."""
        return self._later[0][0] if self._later else None

    def discard(self) -> None:
        """Throw away what has not come out, and take nothing more."""
        self._ready.clear()
        self._later.clear()
        self._reordered.clear()
        self._ends = True
        self.size = 0


def _detail(plan: Plan, name: str) -> str:
    if plan.name == "delay":
        return f"{name} by {plan['seconds']:g} s"
    if plan.name == "drip":
        return f"{name}, {plan['size']} bytes every {plan['seconds']:g} s"
    if plan.name == "cut":
        return f"{plan['where']} {name}"
    return name

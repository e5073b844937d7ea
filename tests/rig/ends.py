"""Both ends of one session in one process: no network, a manual clock, faults on single frames.

Three tools:

* functions that build frames by hand (``ping(2)``, ``logout(3, reason)``), for peers that misbehave;
* ``Alone``: one side under test whose peer is the test itself;
* ``Ends``: a client and an exchange joined by two ``Link`` s that can lose, repeat or hold a frame.

Frames are built and cut by a framing of the rig's own. Both sides share ``smarkets_pool.wire.framing``,
so a mistake that is symmetric in it would pass every test that used it here.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import deque
from collections.abc import Callable, Iterable

from smarkets_pool import eto, seto
from smarkets_pool.protocol import (
    Event,
    LoginReceived,
    Received,
    SessionMemory,
    SessionProtocol,
    Timing,
)

START = 1000.0
SESSION = "9RK4DpIK9HY5FpZKTo"
LOGIN = seto.Login(username="u@example.com", password="pw")


# --- the rig's own framing ------------------------------------------------------------------------


def framed(payload: seto.Payload | bytes) -> bytes:
    """One frame: the length in base 128, the payload, zeros up to four bytes."""
    body = payload if isinstance(payload, bytes) else payload.SerializePartialToString()
    digits = [len(body) % 128]
    rest = len(body) // 128
    while rest:
        digits[-1] += 128
        digits.append(rest % 128)
        rest //= 128
    whole = bytes(digits) + body
    return whole + bytes(max(0, 4 - len(whole)))


def cut(data: bytes) -> list[bytes]:
    """The payloads of the frames in ``data``, which must end with a whole frame."""
    payloads = []
    while data:
        size = header = 0
        while True:
            digit = data[header]
            size += (digit % 128) * 128**header
            header += 1
            if digit < 128:
                break
        assert len(data) >= header + size, "a frame without its end was sent"
        payloads.append(data[header : header + size])
        data = data[max(4, header + size) :]
    return payloads


# --- frames by hand -------------------------------------------------------------------------------


def inner(seq: int, kind: int, *, is_replay: bool | None = None) -> seto.Payload:
    """A payload of the session layer with any number."""
    payload = seto.Payload(type=seto.PAYLOAD_ETO)
    payload.eto_payload.seq = seq
    payload.eto_payload.type = kind
    if is_replay is not None:
        payload.eto_payload.is_replay = is_replay
    return payload


def ping(seq: int, *, is_replay: bool | None = None) -> bytes:
    """A ping."""
    return framed(inner(seq, eto.PAYLOAD_PING, is_replay=is_replay))


def pong(seq: int, *, is_replay: bool | None = None) -> bytes:
    """A pong."""
    return framed(inner(seq, eto.PAYLOAD_PONG, is_replay=is_replay))


def heartbeat(seq: int) -> bytes:
    """A heartbeat."""
    return framed(inner(seq, eto.PAYLOAD_HEARTBEAT))


def gapfill(seq: int) -> bytes:
    """A gapfill, as a replay sends it."""
    return framed(inner(seq, eto.PAYLOAD_GAPFILL, is_replay=True))


def replay(seq: int, first: int) -> bytes:
    """A request for everything from ``first``."""
    payload = inner(seq, eto.PAYLOAD_REPLAY)
    payload.eto_payload.replay.seq = first
    return framed(payload)


def login(seq: int = 1, *, session: str | None = None) -> bytes:
    """A client's login."""
    payload = inner(seq, eto.PAYLOAD_LOGIN)
    payload.type = seto.PAYLOAD_LOGIN
    payload.login.CopyFrom(LOGIN)
    if session is not None:
        payload.eto_payload.login.session = session
    return framed(payload)


def login_response(seq: int = 1, *, reset: int | None = 2, session: str = SESSION) -> bytes:
    """The exchange's yes; ``reset`` None leaves it out."""
    payload = inner(seq, eto.PAYLOAD_LOGIN_RESPONSE)
    payload.eto_payload.login_response.session = session
    if reset is not None:
        payload.eto_payload.login_response.reset = reset
    return framed(payload)


def logout(seq: int, reason: int | None = eto.LOGOUT_NONE) -> bytes:
    """A logout; ``reason`` None leaves it out, and a number that no schema has is written all the same."""
    payload = inner(seq, eto.PAYLOAD_LOGOUT)
    if reason is not None:
        assert 0 <= reason < 128
        payload.eto_payload.logout.MergeFromString(bytes([8, reason]))
    return framed(payload)


def market(seq: int, market_id: int = 1, *, is_replay: bool | None = None) -> bytes:
    """A market subscription: a seto payload that either side's machine only carries."""
    payload = seto.Payload(type=seto.PAYLOAD_MARKET_SUBSCRIBE)
    payload.market_subscribe.market_id = market_id
    payload.eto_payload.seq = seq
    if is_replay is not None:
        payload.eto_payload.is_replay = is_replay
    return framed(payload)


def subscribe(market_id: int = 1) -> seto.MarketSubscribe:
    """A message to send that is always repeated in a replay."""
    return seto.MarketSubscribe(market_id=market_id)


def order() -> seto.OrderCreate:
    """A message to send that is not repeated once it is old."""
    return seto.OrderCreate(side=seto.SIDE_BUY, quantity=400000, price=2500, market_id=1, contract_id=2)


# --- reading what happened ------------------------------------------------------------------------


def brief(payload: seto.Payload) -> str:
    """``"3 ping"``, ``"4 market_subscribe replay"``: number, type, and the mark of a replay."""
    head = payload.eto_payload
    if payload.type == seto.PAYLOAD_ETO:
        name = eto.PayloadType.Name(head.type)
    else:
        name = seto.PayloadType.Name(payload.type)
    return f"{head.seq} {name.removeprefix('PAYLOAD_').lower()}{' replay' if head.is_replay else ''}"


def told(event: Event) -> object:
    """An event as a test compares it: what was received as its ``brief``, everything else as it is."""
    return brief(event.payload) if isinstance(event, Received) else event


class Alone:
    """One side under test; the test plays its peer with frames made by hand."""

    def __init__(self, side: SessionProtocol, now: float = START) -> None:
        self.side = side
        self.now = now

    def feed(self, *frames: bytes) -> list[object]:
        """Let the side receive these bytes and return what it reports."""
        self.side.receive_data(b"".join(frames))
        return self.events()

    def take(self) -> list[Event]:
        """The events as they are."""
        events = []
        while (event := self.side.next_event(self.now)) is not None:
            events.append(event)
        return events

    def events(self) -> list[object]:
        """The events as a test compares them."""
        return [told(event) for event in self.take()]

    def sent_payloads(self) -> list[seto.Payload]:
        """What the side has sent since the last look."""
        return [seto.Payload.FromString(payload) for payload in cut(self.side.data_to_send())]

    def sent(self) -> list[str]:
        """The same, in brief."""
        return [brief(payload) for payload in self.sent_payloads()]

    def wait(self, seconds: float) -> list[object]:
        """Let time pass in one jump, call the timer once and return what is reported."""
        self.now += seconds
        self.side.handle_timer(self.now)
        return self.events()


def new_client(**options: object) -> Alone:
    """A client that has not logged in."""
    return Alone(SessionProtocol(**options))


def new_exchange(**options: object) -> Alone:
    """An exchange that waits for a login."""
    peer = Alone(SessionProtocol(says_is_replay=True, **options))
    peer.side.expect_login(peer.now)
    return peer


def client_up(**options: object) -> Alone:
    """A client that is UP: both numbers are at 2."""
    peer = new_client(**options)
    peer.side.login(LOGIN, peer.now)
    peer.feed(login_response())
    peer.sent()
    return peer


def exchange_up(**options: object) -> Alone:
    """An exchange whose client is logged in: both numbers are at 2."""
    peer = new_exchange(**options)
    peer.feed(login())
    peer.side.accept_login(SESSION, peer.now)
    peer.sent()
    return peer


# --- both ends ------------------------------------------------------------------------------------


class Fault(enum.Enum):
    """What happens to one frame on its way."""

    PASS = "it arrives"
    DROP = "it is lost"
    TWICE = "it arrives twice"
    HOLD = "it waits until released"


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame on its way; ``index`` counts the frames of its direction from 0."""

    index: int
    payload: seto.Payload
    data: bytes

    @property
    def brief(self) -> str:
        """Number, type, and the mark of a replay."""
        return brief(self.payload)


class Link:
    """One direction. ``script`` decides about the next frames; once it is used up, ``hook`` does."""

    def __init__(self) -> None:
        self.script: deque[Fault] = deque()
        self.hook: Callable[[Frame], Fault] = lambda frame: Fault.PASS
        self.sent: list[str] = []
        self.held: list[Frame] = []
        self._count = 0
        self._released: list[bytes] = []

    def next(self, *faults: Fault) -> None:
        """Decide about the next frames, one fault each."""
        self.script.extend(faults)

    def heal(self) -> None:
        """From now on every frame arrives."""
        self.script.clear()
        self.hook = lambda frame: Fault.PASS

    def release(self, *, backwards: bool = False) -> None:
        """Let the held frames arrive at the next pump, before anything newer."""
        frames = [frame.data for frame in self.held]
        self._released += reversed(frames) if backwards else frames
        self.held.clear()

    def carry(self, data: bytes) -> list[bytes]:
        """The frames that arrive now, given what was sent."""
        arriving, self._released = self._released, []
        for body in cut(data):
            payload = seto.Payload.FromString(body)
            frame = Frame(self._count, payload, framed(body))
            self._count += 1
            self.sent.append(frame.brief)
            fault = self.script.popleft() if self.script else self.hook(frame)
            if fault is Fault.HOLD:
                self.held.append(frame)
            else:
                arriving += [frame.data] * {Fault.PASS: 1, Fault.TWICE: 2, Fault.DROP: 0}[fault]
        return arriving


class Ends:
    """A client and an exchange, a link each way and one clock."""

    def __init__(
        self,
        *,
        timing: Timing | None = None,
        exchange_timing: Timing | None = None,
        client_memory: SessionMemory | None = None,
        now: float = START,
    ) -> None:
        self.now = now
        self.client = SessionProtocol(timing=timing, memory=client_memory)
        self.exchange = SessionProtocol(timing=exchange_timing or timing, says_is_replay=True)
        self.to_exchange = Link()
        self.to_client = Link()
        self.client_events: list[Event] = []
        self.exchange_events: list[Event] = []
        self.exchange.expect_login(now)

    def login(
        self,
        login: seto.Login = LOGIN,
        *,
        session: str | None = None,
        memory: SessionMemory | None = None,
    ) -> Ends:
        """Log in and accept it."""
        self.client.login(login, self.now, session=session)
        self.pump()
        asked = self.exchange_events[-1]
        assert isinstance(asked, LoginReceived)
        self.exchange.accept_login(
            session or SESSION,
            self.now,
            login_seq=asked.seq,
            memory=memory,
            email="u@example.com",
            account_id=7,
        )
        self.pump()
        return self

    def forget(self) -> Ends:
        """Start the records of events and frames anew."""
        for record in (self.client_events, self.exchange_events, self.to_client.sent, self.to_exchange.sent):
            record.clear()
        return self

    def pump(self) -> None:
        """Carry bytes both ways until both sides have nothing more to say."""
        moved = True
        while moved:
            moved = self._carry(self.client, self.to_exchange, self.exchange, self.exchange_events)
            moved |= self._carry(self.exchange, self.to_client, self.client, self.client_events)

    def _carry(
        self, sender: SessionProtocol, link: Link, receiver: SessionProtocol, record: list[Event]
    ) -> bool:
        arriving = link.carry(sender.data_to_send())
        for data in [*arriving, b""]:
            receiver.receive_data(data)
            while (event := receiver.next_event(self.now)) is not None:
                record.append(event)
        return bool(arriving)

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline of either side, as a good caller does."""
        end = self.now + seconds
        for _ in range(10_000):
            due = min((d for d in self._deadlines() if d is not None), default=end)
            if due >= end:
                break
            self.now = max(self.now, due)
            self._tick()
        else:
            raise AssertionError(f"at {self.now} a deadline stays due for ever: {list(self._deadlines())}")
        self.now = end
        self._tick()

    def _deadlines(self) -> Iterable[float | None]:
        return self.client.next_deadline(), self.exchange.next_deadline()

    def _tick(self) -> None:
        for side in (self.client, self.exchange):
            due = side.next_deadline()
            if due is not None and due <= self.now:
                side.handle_timer(self.now)
        self.pump()

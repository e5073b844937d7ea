"""What a flood source says: pre-numbered frames from number 1 on, made faster than anybody reads them.

A *flood* measures who reads it, so making it must cost next to nothing, for any length. The frames come
in blocks of 512 (the first one has 511: there is no frame 0). Every block repeats the same 512 messages,
and only the numbers in them grow, so a block is put together from fixed pieces with the numbers in
between: one ``bytes.join``. The pieces hold as long as the numbers keep their length; a block in which one
grows is made frame by frame, as is the first.

Nothing here knows a socket, and a block depends on its index alone. So it does not matter whether one is
kept: the newest few are, for the other connections, and a slow one gets its block made again.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, cast

from google.protobuf.message import Message

from smarkets_pool.exceptions import ConfigError
from smarkets_pool.wire.framing import decode_uleb128, encode_frame, encode_uleb128
from smarkets_pool.wire.payloads import PreparedMessage, eto_payload, serialize
from smarkets_pool.wire.schema import eto_pb2 as eto
from smarkets_pool.wire.schema import seto_pb2 as seto

__all__ = ["BLOCK", "Flood", "FloodStream", "MESSAGES", "offset_behind"]

#: Frames of a block: a multiple of 128, for which the number's first byte runs through all its values.
BLOCK = 512
_GROUP = 128
#: Blocks that are kept for connections that come later; some 40 KB each.
_KEPT = 64
#: Snapshots in front of the flood, one per market, for programs that keep a book.
_SNAPSHOTS = 64
_MAX_UINT32 = 2**32 - 1
_FIRST_ORDER = 1_000_000_000_001
_SESSION = "FloodOfThisProcess"
#: Position of the number in a payload: behind the type and the head of the eto part.
_SEQ_AT = 5


# --- what can be asked for ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where the message at one position of a block plays."""

    index: int
    market_id: int
    contract_id: int

    @property
    def price(self) -> int:
        """Some price, with room around it."""
        return 500 + self.index * 17 % 9000

    @property
    def quantity(self) -> int:
        """Some quantity."""
        return 10_000 * (1 + self.index % 97)


def _contract_quotes(place: _Place) -> Message:
    return seto.ContractQuotes(
        market_id=place.market_id,
        contract_id=place.contract_id,
        bids=[
            seto.Quote(price=place.price, quantity=place.quantity),
            seto.Quote(price=place.price - 10, quantity=place.quantity),
        ],
        offers=[
            seto.Quote(price=place.price + 20, quantity=place.quantity),
            seto.Quote(price=place.price + 30, quantity=0),
        ],
    )


def _market_quotes(place: _Place) -> Message:
    quotes = seto.ContractQuotes(market_id=place.market_id, contract_id=place.contract_id)
    for level in range(5):
        quotes.bids.add(price=place.price - 10 * level, quantity=place.quantity)
        quotes.offers.add(price=place.price + 20 + 10 * level, quantity=place.quantity)
    return seto.MarketQuotes(market_id=place.market_id, contract_quotes=[quotes])


def _order_accepted(place: _Place) -> Message:
    return seto.OrderAccepted(
        seq=2 + place.index,
        order_id=_FIRST_ORDER + place.index,
        market_id=place.market_id,
        contract_id=place.contract_id,
        side=seto.SIDE_BUY,
        price=place.price,
        quantity=place.quantity,
        available_balance=9990.0,
        exposure=-10.0,
    )


def _order_executed(place: _Place) -> Message:
    return seto.OrderExecuted(
        order_id=_FIRST_ORDER + place.index,
        market_id=place.market_id,
        contract_id=place.contract_id,
        side=seto.SIDE_SELL,
        price=place.price,
        quantity=place.quantity,
        total_executed_quantity=place.quantity,
        executed_avg_price=place.price,
        available_quantity=0,
        orig_price=place.price,
        available_balance=9990.0,
        exposure=-10.0,
    )


#: What a mix may have: the message for a place, or the type of an eto payload that carries none.
MESSAGES: Mapping[str, Callable[[_Place], Message] | int] = {
    "contract_quotes": _contract_quotes,
    "market_quotes": _market_quotes,
    "order_accepted": _order_accepted,
    "order_executed": _order_executed,
    "heartbeat": eto.PAYLOAD_HEARTBEAT,
    "pong": eto.PAYLOAD_PONG,
}
_DEFAULT_MIX = (("contract_quotes", 14), ("order_executed", 1), ("heartbeat", 1))


@dataclasses.dataclass(frozen=True, slots=True)
class Flood:
    """What a flood source sends to each connection that has logged in.

    mix: Names of messages (``MESSAGES``) with their shares.
    frames: How many frames there are before a logout ends the session; None: for ever.
    rate: Frames per second to each connection; None: as fast as its socket takes them.
    start_at: The flood begins for all at once when so many connections are logged in; before that each has
        only the first frames of a session.
    pause: Seconds that it waits then, so that clients have done with their logins.

    Raises:
        ConfigError: an unknown message, or a number out of range.

    >>> Flood.parse("contract_quotes=3 heartbeat=1 frames=1000")
    Flood(mix=(('contract_quotes', 3), ('heartbeat', 1)), frames=1000, rate=None, start_at=1, pause=0.0)
    """

    mix: tuple[tuple[str, int], ...] = _DEFAULT_MIX
    frames: int | None = None
    rate: float | None = None
    start_at: int = 1
    pause: float = 0.0

    def __post_init__(self) -> None:
        for position, (name, share) in enumerate(self.mix):
            if name not in MESSAGES:
                raise ConfigError(f"a flood has no {name!r}; it can have {', '.join(MESSAGES)}")
            if name in dict(self.mix[:position]):
                raise ConfigError(f"the mix of a flood has {name} twice")
            if not 0 <= share <= BLOCK:
                raise ConfigError(f"the share of {name} in a flood is {share} and must be from 0 to {BLOCK}")
        shares = sum(share for _, share in self.mix)
        if not 1 <= shares <= BLOCK:
            raise ConfigError(f"the shares of a flood are {shares} together and must be from 1 to {BLOCK}")
        if self.frames is not None and self.frames < 3:
            raise ConfigError(f"a flood has {self.frames} frames and must have 3 at least: those of a login")
        if self.rate is not None and not 0 < self.rate < 1e9:
            raise ConfigError(f"the rate of a flood is {self.rate:g} and must be above 0, frames per second")
        if self.start_at < 1:
            raise ConfigError(f"a flood starts at {self.start_at} connections and must start at 1 or more")
        if not 0 <= self.pause < 1e6:
            raise ConfigError(f"the pause before a flood is {self.pause:g} and must be 0 or more, in seconds")

    @classmethod
    def parse(cls, text: str) -> Flood:
        """The flood that a text of ``name=number`` asks for; an empty one is the default flood.

        Raises:
            ConfigError: a part that cannot be read, or see above.
        """
        mix: list[tuple[str, int]] = []
        others: dict[str, Any] = {}
        for part in text.replace(",", " ").split():
            name, separator, number = part.partition("=")
            try:
                if name in ("frames", "start_at"):
                    others[name] = int(number)
                elif name in ("rate", "pause"):
                    others[name] = float(number)
                else:
                    mix.append((name, int(number) if separator else 1))
            except ValueError as error:
                raise ConfigError(
                    f"{part!r} in the description of a flood is no name=number such as contract_quotes=14"
                ) from error
        return cls(mix=tuple(mix) or _DEFAULT_MIX, **others)


# --- single frames -----------------------------------------------------------------------------


class _EtoPart:
    """A message of the session layer at some position."""

    __slots__ = ("_payload",)

    sequenced = False

    def __init__(self, payload: seto.Payload) -> None:
        self._payload = payload
        payload.eto_payload.is_replay = False

    def frame(self, number: int, account: int = 0) -> bytes:
        """Its frame with that number."""
        self._payload.eto_payload.seq = number
        return encode_frame(serialize(self._payload))


class _SetoPart:
    """A seto message at some position; ``sequenced`` if it carries the account's number too."""

    __slots__ = ("_fields", "_message", "sequenced")

    def __init__(self, message: Message) -> None:
        self._message: Any = message
        self._fields = message.DESCRIPTOR.fields_by_name
        self.sequenced = "account_sequence_64" in self._fields

    def frame(self, number: int, account: int = 0) -> bytes:
        """Its frame with that number, and the account's."""
        if account:
            self._message.account_sequence_64 = account
            self._message.ClearField("account_sequence")
            if account <= _MAX_UINT32:
                self._message.account_sequence = account
        return encode_frame(PreparedMessage(self._message).payload(number, False))

    def cut(self, number: int, length: int, is_small: bool) -> tuple[bytes, ...]:
        """Its frame in pieces, without the account's number of so many bytes that stands between them."""
        names = ("account_sequence", "account_sequence_64") if is_small else ("account_sequence_64",)
        for account in _numbers_of(length, is_small):
            frame, mark = self.frame(number, account), encode_uleb128(account)
            tags = [encode_uleb128(self._fields[name].number << 3) for name in names]
            if all(frame.count(tag + mark) == 1 for tag in tags):
                break
        pieces = []
        for tag in tags:
            before, _, frame = frame.partition(tag + mark)
            pieces.append(before + tag)
        return (*pieces, frame)


_Part = _EtoPart | _SetoPart


def _numbers_of(length: int, is_small: bool) -> range:
    """Some numbers of so many bytes, on the right side of 32 bits."""
    low = max(1 << 7 * (length - 1), 0 if is_small else _MAX_UINT32 + 1)
    high = min(1 << 7 * length, _MAX_UINT32 + 1 if is_small else 1 << 63)
    return range(low, high, max(1, (high - low) // 1009))


_LOWER = tuple(bytes([0x80 | lower]) for lower in range(_GROUP))


def _encoded(numbers: range) -> Iterator[bytes]:
    """Numbers that follow each other, as varints."""
    upper, behind = -1, b""
    for number in numbers:
        if number >> 7 != upper:
            upper = number >> 7
            behind = encode_uleb128(upper)
        yield _LOWER[number & 0x7F] + behind if upper else bytes([number])


def _part(name: str, place: _Place) -> _Part:
    kind = MESSAGES[name]
    return _SetoPart(kind(place)) if callable(kind) else _EtoPart(eto_payload(kind))


def _session_head() -> list[_Part]:
    response = eto_payload(eto.PAYLOAD_LOGIN_RESPONSE)
    response.eto_payload.login_response.session = _SESSION
    response.eto_payload.login_response.reset = 2
    limits = seto.ThrottleLimitsChanged(average_rate_ps=500, burst_size=1000, tick_ms=200)
    return [_EtoPart(response), _SetoPart(limits), _EtoPart(eto_payload(eto.PAYLOAD_PONG))]


def _spread(mix: Iterable[tuple[str, int]]) -> Iterator[str]:
    """``BLOCK`` names in the shares of the mix, each as evenly as it goes."""
    shares = dict(mix)
    due = dict.fromkeys(shares, 0)
    for _ in range(BLOCK):
        for name, share in shares.items():
            due[name] += share
        chosen = max(due, key=lambda name: due[name])
        due[chosen] -= sum(shares.values())
        yield chosen


# --- blocks of frames --------------------------------------------------------------------------


def offset_behind(data: bytes, offset: int, frames: int) -> int:
    """The offset behind so many frames, the first of which starts at ``offset``."""
    for _ in range(frames):
        header = decode_uleb128(data, offset)
        assert header is not None
        offset = sum(header)
    return offset


class _Template:
    """A block whose numbers have certain lengths: pieces, and which number stands behind each.

    Behind the last piece stands nothing.
    """

    __slots__ = ("_fills", "_parts")

    def __init__(self, pieces: Iterable[bytes], fills: list[int]) -> None:
        self._fills = fills
        self._parts = [part for piece in pieces for part in (piece, b"")][:-1]

    def filled(self, numbers: list[bytes]) -> bytes:
        """The block with these numbers."""
        parts = self._parts
        parts[1::2] = [numbers[fill] for fill in self._fills]
        return b"".join(parts)


class FloodStream:
    """The bytes of a flood, the same for every connection.

    It begins with what every login is answered with: the login response, the throttle limits, the pong for
    the ping that a resuming client sends, and a snapshot per market.

    Raises:
        ConfigError: no market has a contract.
    """

    def __init__(self, flood: Flood, contract_ids: Mapping[int, Iterable[int]]) -> None:
        self.flood = flood
        places = [(market_id, contract) for market_id, ids in contract_ids.items() for contract in ids]
        if not places:
            raise ConfigError("a flood needs a market with a contract")
        self._parts = [
            _part(name, _Place(index, *places[index % len(places)]))
            for index, name in enumerate(_spread(flood.mix))
        ]
        snapshots = {market_id: _Place(index, market_id, c) for index, (market_id, c) in enumerate(places)}
        self._head = _session_head()
        self._head += [_part("market_quotes", place) for place in snapshots.values()][:_SNAPSHOTS]
        # Block 0 has the head in the place of its first messages, and no frame 0.
        self._first = [*self._head, *self._parts[len(self._head) + 1 :]]
        self._sequenced = [sum(part.sequenced for part in parts) for parts in (self._first, self._parts)]
        self._templates: dict[tuple[int, int, bool], _Template] = {}
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        #: How often a block was made.
        self.blocks_made = 0

    def __repr__(self) -> str:
        return f"<FloodStream {self.flood}>"

    @property
    def head(self) -> int:
        """How many frames come before the flood itself."""
        return len(self._head)

    def block(self, index: int) -> bytes:
        """The frames with the numbers from ``index * BLOCK`` (but at least 1) to ``BLOCK`` behind that."""
        data = self._kept.get(index)
        if data is not None:
            self._kept.move_to_end(index)
            return data
        data = self._kept[index] = self._make(index)
        self.blocks_made += 1
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return data

    def logout(self, number: int, reason: int) -> bytes:
        """A logout with that number."""
        payload = eto_payload(eto.PAYLOAD_LOGOUT)
        payload.eto_payload.logout.reason = cast("eto.LogoutReason", reason)
        return _EtoPart(payload).frame(number)

    # --- making a block ---

    def _make(self, index: int) -> bytes:
        first = index * BLOCK
        groups = [encode_uleb128(number >> 7) for number in range(first, first + BLOCK, _GROUP)]
        numbers = self._accounts_in(index)
        accounts = list(_encoded(numbers))
        is_small = numbers.stop - 1 <= _MAX_UINT32
        shape = (len(groups[-1]), len(accounts[-1]) if accounts else 0, is_small)
        begins = (len(groups[0]), len(accounts[0]) if accounts else 0, numbers.start <= _MAX_UINT32)
        if index == 0 or shape != begins:
            return b"".join(self._frames(index))
        if shape not in self._templates:
            self._templates[shape] = self._template(*shape)
        return self._templates[shape].filled(groups + accounts)

    def _accounts_in(self, index: int) -> range:
        """The account's numbers in a block."""
        first, each = self._sequenced
        return (
            range(1 + first + (index - 1) * each, 1 + first + index * each) if index else range(1, 1 + first)
        )

    def _frames(self, index: int) -> Iterator[bytes]:
        """A block frame by frame: the plain way, which ``_make`` avoids where it can."""
        accounts = iter(self._accounts_in(index))
        for number, part in enumerate(self._parts if index else self._first, index * BLOCK or 1):
            yield part.frame(number, next(accounts) if part.sequenced else 0)

    def _template(self, seq_length: int, account_length: int, is_small: bool) -> _Template:
        """The template for numbers whose upper part, that of 128 frames, has ``seq_length`` bytes."""
        upper = 1 << 7 * seq_length
        pieces, fills, accounts = [b""], [], count(BLOCK // _GROUP)
        for position, part in enumerate(self._parts):
            number = upper | position % _GROUP
            if isinstance(part, _SetoPart) and part.sequenced:
                first, *others = part.cut(number, account_length, is_small)
            else:
                first, others = part.frame(number), []
            header = decode_uleb128(first)
            assert header is not None
            lower = header[1] + _SEQ_AT + 1
            pieces[-1] += first[:lower]
            pieces += [first[lower + seq_length :], *others]
            fills += [position // _GROUP, *[next(accounts)] * len(others)] if others else [position // _GROUP]
        return _Template(pieces, fills)

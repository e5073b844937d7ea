"""Who is told what: the logged-in connections by account and session, and by what they follow.

Everything is kept in dicts for their order, so that the same calls reach the same connections in the same
order, and finding an audience takes no look at anybody else.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message

from smarkets_pool.wire.schema import seto_pb2 as seto

if TYPE_CHECKING:
    from smarkets_pool.exchange.peer import Peer

__all__ = ["Audiences", "Interests"]

_Key = TypeVar("_Key")


@dataclasses.dataclass(slots=True)
class Interests:
    """What a session follows; it outlives the connection, for who resumes the session by its id."""

    markets: set[int] = dataclasses.field(default_factory=set)
    events: set[int] = dataclasses.field(default_factory=set)
    price_feed: bool = False
    market_feed: bool = False

    @property
    def size(self) -> int:
        """How many markets and events that is."""
        return len(self.markets) + len(self.events)


class Audiences:
    """The logged-in connections of one exchange."""

    def __init__(self) -> None:
        self._accounts: dict[str, dict[Peer, None]] = {}
        self._sessions: dict[str, Peer] = {}
        self._markets: dict[int, dict[Peer, None]] = {}
        self._events: dict[int, dict[Peer, None]] = {}
        self._price_feed: dict[Peer, None] = {}
        self._market_feed: dict[Peer, None] = {}

    def __repr__(self) -> str:
        return f"<Audiences of {len(self._accounts)} accounts and {len(self._markets)} markets>"

    # --- coming and going ------------------------------------------------------------------------

    def enter(self, peer: Peer) -> None:
        """A connection has logged in, with the interests it resumes if it resumes any."""
        _add(self._accounts, peer.username, peer)
        self._sessions[peer.session_id] = peer
        interests = peer.interests
        for market_id in interests.markets:
            _add(self._markets, market_id, peer)
        for event_id in interests.events:
            _add(self._events, event_id, peer)
        if interests.price_feed:
            self._price_feed[peer] = None
        if interests.market_feed:
            self._market_feed[peer] = None

    def leave(self, peer: Peer) -> None:
        """A connection is gone; what it followed stays in its interests."""
        _remove(self._accounts, peer.username, peer)
        if self._sessions.get(peer.session_id) is peer:
            del self._sessions[peer.session_id]
        for market_id in peer.interests.markets:
            _remove(self._markets, market_id, peer)
        for event_id in peer.interests.events:
            _remove(self._events, event_id, peer)
        self._price_feed.pop(peer, None)
        self._market_feed.pop(peer, None)

    # --- following -------------------------------------------------------------------------------

    def follow(self, peer: Peer, message: Message) -> bool | None:
        """Note what a subscription or its end changes; whether it changed anything, None if it is neither."""
        interests = peer.interests
        if isinstance(message, seto.MarketSubscribe):
            return _begin(interests.markets, self._markets, message.market_id, peer)
        if isinstance(message, seto.MarketUnsubscribe):
            return _end(interests.markets, self._markets, message.market_id, peer)
        if isinstance(message, seto.EventSubscribe):
            return _begin(interests.events, self._events, message.event_id, peer)
        if isinstance(message, seto.EventUnsubscribe):
            return _end(interests.events, self._events, message.event_id, peer)
        if isinstance(message, seto.PriceFeedSubscribe | seto.PriceFeedUnsubscribe):
            was, interests.price_feed = interests.price_feed, isinstance(message, seto.PriceFeedSubscribe)
            return _switch(self._price_feed, peer, was, interests.price_feed)
        if isinstance(message, seto.MarketFeedSubscribe | seto.MarketFeedUnsubscribe):
            was, interests.market_feed = interests.market_feed, isinstance(message, seto.MarketFeedSubscribe)
            return _switch(self._market_feed, peer, was, interests.market_feed)
        return None

    def forget_market(self, market_id: int) -> None:
        """There is no such market any more: nobody follows it."""
        for peer in self._markets.pop(market_id, ()):
            peer.interests.markets.discard(market_id)

    # --- asking ----------------------------------------------------------------------------------

    def of_account(self, username: str) -> list[Peer]:
        """The connections of an account."""
        return list(self._accounts.get(username, ()))

    def of_session(self, session_id: str) -> Peer | None:
        """The connection that has this session, if one has."""
        return self._sessions.get(session_id)

    def of_event(self, event_id: int) -> list[Peer]:
        """Who follows an event."""
        return list(self._events.get(event_id, ()))

    def of_market(self, market_id: int, message: Message) -> list[Peer]:
        """Who is told this of a market: its subscribers, and the feed that the message belongs to."""
        feed = self._market_feed
        if isinstance(message, seto.ContractQuotes | seto.MarketQuotes):
            feed = self._price_feed
        subscribers = self._markets.get(market_id)
        if not feed:
            return list(subscribers or ())
        # A dict of both: who is in both is told once.
        return list({**(subscribers or {}), **feed})


def _add(index: dict[_Key, dict[Peer, None]], key: _Key, peer: Peer) -> None:
    index.setdefault(key, {})[peer] = None


def _remove(index: dict[_Key, dict[Peer, None]], key: _Key, peer: Peer) -> None:
    peers = index.get(key)
    if peers is not None:
        peers.pop(peer, None)
        if not peers:
            del index[key]


def _begin(followed: set[int], index: dict[int, dict[Peer, None]], key: int, peer: Peer) -> bool:
    if key in followed:
        return False
    followed.add(key)
    _add(index, key, peer)
    return True


def _end(followed: set[int], index: dict[int, dict[Peer, None]], key: int, peer: Peer) -> bool:
    if key not in followed:
        return False
    followed.discard(key)
    _remove(index, key, peer)
    return True


def _switch(feed: dict[Peer, None], peer: Peer, was: bool, now: bool) -> bool:
    if now:
        feed[peer] = None
    else:
        feed.pop(peer, None)
    return was is not now

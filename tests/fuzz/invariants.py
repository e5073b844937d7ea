"""What must hold in an exchange at any time, whatever was sent to it."""

from __future__ import annotations

from smarkets_pool import seto
from smarkets_pool.exchange import Exchange, ExchangeSettings
from smarkets_pool.exchange.peer import Peer

__all__ = ["Finding", "check_books", "check_bounds", "check_money", "check_time"]

#: Of a frame that has not arrived whole, beside what a frame may have: its header.
HEADER = 5


class Finding(AssertionError):
    """Something that must hold does not."""


def _must(holds: object, *what: object) -> None:
    if not holds:
        raise Finding(" ".join(map(str, what)))


def check_money(exchange: Exchange, total_points: int) -> None:
    """No point appears or vanishes, and nobody risks what he has not."""
    accounts = list(exchange.accounts)
    cash = sum(account.cash_points for account in accounts)
    _must(cash == total_points, f"there were {total_points} points and there are {cash}")
    for account in accounts:
        reserved = sum(order.open_liability for order in account.live_orders.values())
        _must(account.open_points == reserved, account, f"reserved {account.open_points}, needs {reserved}")
        _must(account.available_points >= 0, account, f"has {account.available_points} points available")
        _must(account.liability_points >= 0, account, f"risks {account.liability_points} points")


def check_books(exchange: Exchange) -> None:
    """Books hold the accounts' live orders, add up, and are not crossed."""
    resting = {}
    for market in exchange.engine.markets.values():
        for contract_id, book in market.books.items():
            best_bid, best_offer = book.best(seto.SIDE_BUY), book.best(seto.SIDE_SELL)
            crossed = best_bid is not None and best_offer is not None and best_bid >= best_offer
            _must(not crossed, f"crossed: {book}")
            levels: dict[tuple[int, int], int] = {}
            for order in book.orders():
                _must(order.state == "live" and order.available_quantity > 0, f"in the book: {order}")
                _must((order.market_id, order.contract_id) == (market.market_id, contract_id), order)
                resting[order.order_id] = order
                key = order.side, order.price
                levels[key] = levels.get(key, 0) + order.available_quantity
            for side in (seto.SIDE_BUY, seto.SIDE_SELL):
                told = {(side, price): quantity for price, quantity in book.levels(side, 0)}
                summed = {key: quantity for key, quantity in levels.items() if key[0] == side}
                _must(told == summed, f"levels {told}, orders {summed}")
        for trade in market.trades.values():
            _must(trade.buy.account is not trade.sell.account, f"with himself: {trade}")
    live = {number for account in exchange.accounts for number in account.live_orders}
    _must(live == set(resting), f"live {live ^ set(resting)} and not in a book, or the reverse")


def check_bounds(exchange: Exchange) -> None:
    """What is kept for a client has an end."""
    settings = exchange.settings
    for account in exchange.accounts:
        _must(len(account.history) <= settings.history_limit, account, "history")
        kept = len(account.live_orders) + settings.finished_orders
        kept += sum(1 for order in account.orders.values() if order.trades)
        _must(len(account.orders) <= kept, account, f"{len(account.orders)} orders")
    for peer in exchange.peers:
        _check_peer(peer, settings)


def _check_peer(peer: Peer, settings: ExchangeSettings) -> None:
    protocol = peer.protocol
    _must(protocol.unread <= settings.max_frame_size + HEADER, peer, f"{protocol.unread} bytes of a frame")
    _must(len(protocol.memory.journal) <= settings.replay_limit, peer, "journal")


def check_time(exchange: Exchange, now: float) -> None:
    """Nobody's deadline lies in the past once the timers were served: a server would spin."""
    exchange.handle_timers(now)
    for peer in exchange.peers:
        due = peer.next_deadline()
        _must(due is None or due > now, peer, f"is still due at {due}, now is {now}")
    due = exchange.next_deadline()
    _must(due is None or due > now, f"the exchange is still due at {due}, now is {now}")

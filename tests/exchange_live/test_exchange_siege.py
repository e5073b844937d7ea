"""A short siege: hostile visits over real connections beside good accounts, a part of ``make fuzz``."""

import pytest
from gevent.monkey import get_original

from smarkets_pool import eto, seto
from smarkets_pool.exchange import EmbeddedExchange
from tests.fuzz.invariants import Finding
from tests.fuzz.siege import GOOD, Siege
from tests.fuzz.visitors import KINDS
from tests.rig.ends import framed, inner, ping
from tests.rig.peers import dialled
from tests.rig.waiting import eventually


def test_good_accounts_notice_nothing_of_a_siege():
    """One visit of each hostile kind costs the good accounts no event, no order and no connection."""
    with Siege() as siege:
        siege.trade()
        siege.assault(0)
        siege.settle_accounts()
    assert dict(siege.tally.visits) == {kind.__name__: 1 for kind in KINDS}
    assert siege.tally.orders > GOOD
    assert siege.tally.events >= 2 * siege.tally.executions > 0
    assert siege.tally.lines > 0


def test_a_siege_sees_what_happens_to_the_good():
    """It fails if a good account loses its connection."""
    with Siege() as siege:
        siege.exchange.cut(siege.exchange.logins[0].username)
        with pytest.raises(Finding, match="a good account noticed"):
            siege.assault(0, ("plain_text",))


def test_a_siege_sees_what_is_missing():
    """It fails if a good account was not told everything in order."""
    with Siege() as siege:
        siege.trade()
        siege.assault(0, ("plain_text",))
        siege.heard["good-0"][:2] = reversed(siege.heard["good-0"][:2])
        with pytest.raises(Finding, match="was not told everything in order"):
            siege.settle_accounts()


def test_a_crowd_at_the_door_keeps_nobody_waiting():
    """Whoever is logged in is answered before all of those are let in who connected at once."""
    crowd = 300
    with EmbeddedExchange(accounts=1, tls=False) as exchange, dialled(exchange.host, exchange.port) as line:
        login = inner(1, eto.PAYLOAD_LOGIN)
        login.type = seto.PAYLOAD_LOGIN
        login.login.username, login.login.password = exchange.logins[0].username, exchange.logins[0].password
        line.send(framed(login))
        line.take(2)
        # Sockets that gevent does not know: the exchange has no turn before all of them are connected.
        outside = [get_original("socket", "socket")() for _ in range(crowd)]
        try:
            for waiting in outside:
                waiting.connect((exchange.host, exchange.port))
            line.send(ping(2))
            assert line.take(1) == ["3 pong"]
            let_in = len(exchange._server._connections)
            eventually(lambda: len(exchange.exchange.peers) == crowd + 1)
        finally:
            for waiting in outside:
                waiting.close()
        assert let_in < crowd / 2
        eventually(lambda: len(exchange.exchange.peers) == 1)

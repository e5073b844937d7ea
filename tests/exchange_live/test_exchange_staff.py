"""The operators' verbs as methods, on a whole exchange."""

from __future__ import annotations

from typing import Any

import pytest

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import EmbeddedExchange
from smarkets_pool.exchange.engine import VERBS
from smarkets_pool.exchange.staff import Staff
from smarkets_pool.wire.schema import seto_pb2 as seto


def test_every_verb_is_a_method() -> None:
    """But for the one that only the clock says."""
    methods = {name for name in vars(Staff) if not name.startswith("_")}
    assert methods == set(VERBS) - {"confirm_due"}
    assert all(vars(Staff)[name].__doc__ == VERBS[name].__doc__ for name in methods)


def test_the_staff_works_on_the_exchange() -> None:
    """A market is halted and settled; what is not there is refused."""
    exchange = EmbeddedExchange(accounts=1, markets=1, tls=False)
    market_id = exchange.market_ids[0]
    market = exchange.exchange.engine.markets[market_id]
    exchange.staff.set_market_state(market_id, "HALTED", reason="a goal")
    assert (market.state, market.reason) == (seto.MARKET_STATE_HALTED, "a goal")
    exchange.staff.settle(market_id, winners=[exchange.contract_ids[market_id][0]])
    assert market.is_over
    with pytest.raises(UsageError, match="over already"):
        exchange.staff.void_market(market_id)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"activity": True}, r"activity is True .* such as activity=ActivitySettings\(\)"),
        ({"settings": {"netting": "market"}}, r"such as settings=ExchangeSettings\(\*\*settings\)"),
        ({"flood": "heartbeat=1"}, r"flood is 'heartbeat=1' .* such as flood=Flood\(\)"),
    ],
)
def test_what_is_no_object_of_settings_is_refused_in_words(given: dict[str, Any], sentence: str) -> None:
    """Where it is given, and not by an error from the depth later."""
    with pytest.raises(UsageError, match=sentence):
        EmbeddedExchange(tls=False, **given)


def test_the_staff_can_tell_anything_that_an_exchange_says() -> None:
    """An event is numbered and kept; what is no message, or not whole, is refused."""
    exchange = EmbeddedExchange(accounts=1, tls=False)
    name = exchange.logins[0].username
    account = exchange.exchange.accounts[name]
    fields = {"order_id": 7, "price": 5000, "quantity": 3, "label": "x"}
    exchange.staff.tell(name, "seto.order_execute_confirmed", fields)
    assert [type(message) for _, message in account.history] == [seto.OrderExecuteConfirmed]
    assert account.history[0][1].account_sequence_64 == 1
    exchange.staff.tell(name, "seto.balance_changed", {"reason": "a gift", "available_balance": 1.5})
    assert account.next_account_sequence == 2
    for message, wrong in [
        ("seto.order_create", {}),
        ("seto.nothing", {}),
        ("seto.order_voided", {"order_id": 1}),
        ("seto.order_voided", {"order": 1}),
    ]:
        with pytest.raises(UsageError, match=message):
            exchange.staff.tell(name, message, wrong)
    assert account.next_account_sequence == 2

"""``Staff``: the operator's verbs as methods, typed, for programs in Python.

The same verbs travel as plain data through the command line, the control and scenarios; what each does
is said where it is done, in ``engine/operating.py``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, cast

from smarkets_pool.exchange.engine.effects import Work
from smarkets_pool.exchange.engine.operating import Operating

__all__ = ["Staff"]

_P = ParamSpec("_P")


def _verb(
    method: Callable[Concatenate[Operating, Work, _P], None],
) -> Callable[Concatenate[Staff, _P], None]:
    """The method of ``Operating`` without the work under way, which is the engine's own matter."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def carry_out(self: Staff, *args: _P.args, **kwargs: _P.kwargs) -> None:
        arguments = signature.bind(None, None, *args, **kwargs).arguments
        own = list(signature.parameters)[:2]
        self.operate(method.__name__, **{name: value for name, value in arguments.items() if name not in own})

    # The types of functools.wraps keep the name of ``self``, which nobody passes by name.
    return cast("Callable[Concatenate[Staff, _P], None]", carry_out)


class Staff:
    """What the exchange's own people do: open, halt and settle markets, suspend accounts, refuse requests.

    Every method raises ``UsageError`` for what there is not, and changes nothing then.

    >>> exchange.staff.settle(100_000, winners=[200_000])    # doctest: +SKIP
    """

    def __init__(self, operate: Callable[..., Any]) -> None:
        #: Carries out a verb by its name, with arguments of plain data.
        self.operate = operate

    add_market = _verb(Operating.add_market)
    remove_market = _verb(Operating.remove_market)
    set_market_state = _verb(Operating.set_market_state)
    set_contract_state = _verb(Operating.set_contract_state)
    set_managed = _verb(Operating.set_managed)
    reduce = _verb(Operating.reduce)
    settle = _verb(Operating.settle)
    settle_contract = _verb(Operating.settle_contract)
    void_market = _verb(Operating.void_market)
    void_contract = _verb(Operating.void_contract)
    void_trade = _verb(Operating.void_trade)
    void_order = _verb(Operating.void_order)
    confirm_trade = _verb(Operating.confirm_trade)
    cancel_order = _verb(Operating.cancel_order)
    cancel_all = _verb(Operating.cancel_all)
    suspend_account = _verb(Operating.suspend_account)
    restore_account = _verb(Operating.restore_account)
    suspend_trading = _verb(Operating.suspend_trading)
    resume_trading = _verb(Operating.resume_trading)
    set_backend = _verb(Operating.set_backend)
    set_limits = _verb(Operating.set_limits)
    refuse_next = _verb(Operating.refuse_next)
    deposit = _verb(Operating.deposit)
    tell = _verb(Operating.tell)

"""The types of handlers: from what a handler is registered for follows what it is given.

For checkers only; at run time ``Dispatcher`` looks at what is registered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, overload

from google.protobuf.message import Message

from smarkets_pool.pool.delivery import (
    Delivery,
    M_co,
    MemberDownEvent,
    MemberGap,
    MemberRecovering,
    MemberSlowHandler,
    MemberStalled,
    MemberUp,
)

__all__ = ["LifecycleEvent", "Registrable", "Registration"]

LifecycleEvent = MemberRecovering | MemberUp | MemberDownEvent | MemberGap | MemberStalled | MemberSlowHandler
#: What a handler can be registered for by class.
Registrable = TypeVar("Registrable", bound=Message | LifecycleEvent)

_Wanted_contra = TypeVar("_Wanted_contra", contravariant=True)
_Taken_contra = TypeVar("_Taken_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", covariant=True)
#: What a handler really takes, which may be more than it is registered for.
_Taken = TypeVar("_Taken", bound=Any)
_Result = TypeVar("_Result")


class Takes(Protocol[_Wanted_contra, _Taken_contra, _Result_co]):
    """A callable of one argument: it takes what is wanted, and it says what it takes."""

    @overload
    def __call__(self, delivery: _Wanted_contra, /) -> _Result_co: ...
    @overload
    def __call__(self, delivery: _Taken_contra, /) -> _Result_co: ...


class Registration(Protocol[M_co]):
    """What ``pool.on`` with a class gives: a decorator for handlers that take ``Delivery`` of that class.

    It gives the handler back with its own type, so that decorators can be stacked. A checker has no word for
    "any type that takes at least this", hence the union: the first half is for functions and what was
    decorated already, and from the second one a lambda learns the type of its argument.
    """

    def __call__(
        self,
        handler: Takes[Delivery[M_co], _Taken, _Result] | Callable[[Delivery[M_co] | _Taken], _Result],
        /,
    ) -> Callable[[_Taken], _Result]:
        """Register the handler and return it."""

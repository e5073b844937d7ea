"""Names to handlers: registration that refuses what could never work, and order.

Two callers use this: ``StreamingAPIClient`` calls ``handler(message=payload)`` and global ones
``handler(name=..., message=frame)``, as the vendor's SDK does; the pool calls ``handler(delivery)``.
What differs is a ``Calling``: which arguments a handler must be able to take.

Handlers of one name are called in the order of their registration, global ones after them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import enum
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, cast

from google.protobuf.message import Message

from smarkets_pool.exceptions import InvalidCallbackError
from smarkets_pool.wire.payloads import message_name

__all__ = ["BY_DELIVERY", "BY_KEYWORD", "Calling", "Dispatcher", "Handler", "HandlerList", "Route"]

Handler = Callable[..., object]


@dataclasses.dataclass(frozen=True, slots=True)
class Calling:
    """How handlers are called: positional argument count, and keywords of named and global ones."""

    positional: int
    keywords: tuple[str, ...]
    global_keywords: tuple[str, ...]

    def describe(self, is_global: bool) -> str:
        """The call as a program would write it."""
        keywords = self.global_keywords if is_global else self.keywords
        return f"handler({', '.join(['delivery'] * self.positional + [f'{word}=...' for word in keywords])})"


BY_DELIVERY = Calling(1, (), ())
BY_KEYWORD = Calling(0, ("message",), ("name", "message"))


#: Stands for the handler of a name that was refused before there was one.
_NAME_ALONE = object()


def describe_handler(handler: object) -> str:
    """A handler's name, fit for a sentence."""
    name = getattr(handler, "__qualname__", None) or repr(handler)
    module = getattr(handler, "__module__", None)
    return f"{module}.{name}" if module else str(name)


def _place(handler: object) -> str:
    """File and line of a handler, as the end of a sentence; nothing if it has none."""
    inner = inspect.unwrap(getattr(handler, "func", handler))  # type: ignore[arg-type]
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    return f" ({code.co_filename}, line {code.co_firstlineno})" if code is not None else ""


def problem_with(handler: object, calling: Calling, *, is_global: bool = False) -> str | None:
    """Why this handler could never be called as ``calling`` says, or None if it can."""
    if not callable(handler):
        return f"{handler!r} is not callable"
    name = describe_handler(handler)
    # An instance may hide its kind behind __call__, a partial behind func.
    inner = getattr(handler, "func", handler)
    call = inner if inspect.isroutine(inner) or inspect.isclass(inner) else type(inner).__call__
    for kind, word in (
        (inspect.iscoroutinefunction, "an async def"),
        (inspect.isasyncgenfunction, "an async generator"),
        (inspect.isgeneratorfunction, "a generator"),
    ):
        if kind(call):
            return (
                f"{name} is {word}: calling it runs none of its body; "
                "use a plain function, it may block because it runs in a greenlet"
            )
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return None  # written in C and does not say: the call will tell
    keywords = calling.global_keywords if is_global else calling.keywords
    try:
        signature.bind(*[None] * calling.positional, **dict.fromkeys(keywords))
    except TypeError as error:
        return f"{name}{signature} cannot be called as {calling.describe(is_global)}: {error}"
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A handler with its filters; an empty filter lets everything through."""

    handler: Handler
    accounts: frozenset[str] = frozenset()
    market_ids: frozenset[int] = frozenset()

    def wants(self, account: str, message: object) -> bool:
        """Whether the filters let this through; a message without its optional market id passes."""
        if self.accounts and account not in self.accounts:
            return False
        if not self.market_ids or not isinstance(message, Message):
            return True
        return not message.HasField("market_id") or cast("Any", message).market_id in self.market_ids


class _Against(enum.Enum):
    """What is held against a registration that was refused."""

    PROGRAM = "as it stands in the program it could never work"
    NO_ACCOUNTS = "its list of accounts is empty, which may follow from there being none"


@dataclasses.dataclass(frozen=True, slots=True)
class _Refusal:
    """A registration that was refused: by which name, of which handler, what was said, and what kind of
    trouble that is.
    """

    name: str
    handler: object
    sentence: str
    kind: _Against = _Against.PROGRAM

    def is_of(self, name: str, handler: object) -> bool:
        """Whether it was this one; by equality: a bound method is a new object at each look."""
        return bool(self.name == name and self.handler == handler)


class HandlerList:
    """Handlers of one name in the order of registration, each once.

    ``+=`` and ``-=``, ``add``/``handle``, ``remove``, ``fire``, calling, ``len`` and iteration work as on
    the vendor's Signal. Iterating sees a fixed tuple: a handler may add or remove others.
    """

    __slots__ = ("_check", "_routes")

    def __init__(self, check: Callable[[object], None]) -> None:
        self._check = check
        self._routes: tuple[Route, ...] = ()

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[Handler]:
        return iter([route.handler for route in self._routes])

    def __repr__(self) -> str:
        return f"<HandlerList {[describe_handler(handler) for handler in self]}>"

    @property
    def routes(self) -> tuple[Route, ...]:
        """The handlers with their filters."""
        return self._routes

    def add(self, handler: Handler) -> None:
        """Add a handler at the end; one that is here already stays where it is."""
        self._check(handler)
        self.add_route(Route(handler))

    def add_route(self, route: Route) -> None:
        """Add a checked handler with filters; the same handler with other filters is one more."""
        if route not in self._routes:
            self._routes = (*self._routes, route)

    def remove(self, handler: Handler) -> None:
        """Remove a handler with whatever filters.

        Raises:
            InvalidCallbackError: it is not here.
        """
        kept = tuple(route for route in self._routes if route.handler != handler)
        if len(kept) == len(self._routes):
            raise InvalidCallbackError(f"{describe_handler(handler)} was not registered here")
        self._routes = kept

    def __iadd__(self, handler: Handler) -> HandlerList:
        self.add(handler)
        return self

    def __isub__(self, handler: Handler) -> HandlerList:
        self.remove(handler)
        return self

    handle = add

    def fire(self, **keywords: Any) -> None:
        """Call every handler; the first error is raised after all of them ran."""
        first: Exception | None = None
        for route in self._routes:
            try:
                route.handler(**keywords)
            except Exception as error:  # noqa: BLE001 - raised below, when the others had their turn
                first = first or error
        if first is not None:
            raise first

    call = __call__ = fire


class Dispatcher:
    """Handlers by payload or lifecycle name.

    Args:
        names: every name that can be registered.
        calling: how handlers are called.
        market_names: names whose message has a market id, so that a market filter makes sense.
        classes: further classes that stand for a name, beside those of messages.
        never: names that exist and never arrive, each with what to register for instead.

    A registration that is refused is also remembered: ``problems`` keeps it until the same handler is
    deleted, so that a program that swallowed the error cannot start with a handler less than it thinks.
    """

    def __init__(
        self,
        names: Iterable[str],
        calling: Calling,
        *,
        market_names: Collection[str] = frozenset(),
        classes: Mapping[type, str] | None = None,
        never: Collection[str] = frozenset(),
    ) -> None:
        self._calling = calling
        self._market_names = market_names
        self._classes = classes or {}
        self._never = never
        self.handlers: dict[str, HandlerList] = {name: HandlerList(self._checker(name)) for name in names}
        self.global_handlers = HandlerList(self._checker(None))
        self._refused: list[_Refusal] = []
        self._collecting = False

    def __repr__(self) -> str:
        used = {name: len(handlers) for name, handlers in self.handlers.items() if len(handlers)}
        return f"<Dispatcher {used}, {len(self.global_handlers)} global>"

    # --- registration ----------------------------------------------------------------------------

    def resolve(self, name: object) -> str:
        """The name behind a name or a message class.

        Raises:
            InvalidCallbackError: there is none; the text suggests near ones.
        """
        if isinstance(name, type) and name in self._classes:
            return self._classes[name]
        if isinstance(name, type) and issubclass(name, Message):
            found = message_name(name)
            if found is None:
                raise InvalidCallbackError(
                    f"{name.__name__} is no message that arrives by itself; "
                    "register for the one that carries it, such as seto.MarketQuotes"
                )
            name = found
        if isinstance(name, str):
            if name in self.handlers:
                return name
            if name in self._never:
                raise InvalidCallbackError(
                    f"{name} is what we send, so it never arrives; "
                    "register for its answer, such as seto.order_accepted"
                )
            near = difflib.get_close_matches(name, self.handlers, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise InvalidCallbackError(f"nothing is called {name!r}{hint}")
        if callable(name):
            raise InvalidCallbackError(
                f"{describe_handler(name)} stands where a name belongs: write "
                "@pool.on('seto.order_executed') or @pool.on(seto.OrderExecuted) above it"
            )
        raise InvalidCallbackError(
            f"a handler is registered for a name such as 'seto.order_executed' "
            f"or a class such as seto.OrderExecuted, not for {name!r}"
        )

    def check_name(self, name: object) -> None:
        """Refuse a name or class that nothing is registered for; remembered, like a refused handler.

        Raises:
            InvalidCallbackError: as ``resolve``.
        """
        try:
            self.resolve(name)
        except InvalidCallbackError as error:
            # A function where the name belongs is the handler itself, and tells where that is.
            handler = name if callable(name) and not isinstance(name, type) else _NAME_ALONE
            self._refused.append(_Refusal(str(name), handler, str(error)))
            if not self._collecting:
                raise

    def add(
        self,
        name: object,
        handler: Handler,
        *,
        accounts: Iterable[str] | None = None,
        market_ids: Iterable[int] | None = None,
        known: Collection[str] | None = None,
    ) -> None:
        """Register a handler, with filters if wanted; ``known`` are the accounts, if they stand already.

        Raises:
            InvalidCallbackError: unknown name or class, not callable, wrong arguments, an ``async def``
                or generator, or a market filter on a name without market ids.
        """
        kind = _Against.PROGRAM
        try:
            found = self.resolve(name)
            self._check(found, handler)
            names = _values(accounts, str, "accounts")
            if names == []:
                kind = _Against.NO_ACCOUNTS
            wanted = _filter(names, "accounts")
            route = Route(handler, wanted, _filter(_values(market_ids, int, "market_ids"), "market_ids"))
            if route.market_ids and found not in self._market_names:
                raise InvalidCallbackError(
                    f"{found} carries no market id, so {describe_handler(handler)} "
                    "cannot be registered with market_ids"
                )
            unknown = _unknown_accounts(found, route, _Hints(known)) if known is not None else []
            if unknown:
                raise InvalidCallbackError(unknown)
        except InvalidCallbackError as error:
            # ``check_name`` may have said the same, not knowing of which handler.
            self._forget_refused(str(name), _NAME_ALONE)
            self._refused.append(_Refusal(str(name), handler, str(error), kind))
            if self._collecting:
                return
            raise
        self.handlers[found].add_route(route)

    def remove(self, name: object, handler: Handler) -> None:
        """Remove a handler; one that was refused is forgotten.

        Raises:
            InvalidCallbackError: unknown name, or the handler is not registered for it.
        """
        forgotten = self._forget_refused(str(name), handler)
        try:
            self.handlers[self.resolve(name)].remove(handler)
        except InvalidCallbackError:
            if not forgotten:
                raise

    def add_global(self, handler: Handler) -> None:
        """Register a handler for everything.

        Raises:
            InvalidCallbackError: as ``add``.
        """
        try:
            self.global_handlers.add(handler)
        except InvalidCallbackError as error:
            self._refused.append(_Refusal("", handler, str(error)))
            if not self._collecting:
                raise

    def remove_global(self, handler: Handler) -> None:
        """Remove a global handler; one that was refused is forgotten."""
        forgotten = self._forget_refused("", handler)
        try:
            self.global_handlers.remove(handler)
        except InvalidCallbackError:
            if not forgotten:
                raise

    def _forget_refused(self, name: str, handler: object) -> bool:
        kept = [refusal for refusal in self._refused if not refusal.is_of(name, handler)]
        found = len(kept) < len(self._refused)
        self._refused = kept
        return found

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Raise nothing about registrations: ``problems`` has all of them afterwards.

        Meanwhile no pool starts with these handlers.
        """
        self._collecting = True
        try:
            yield
        finally:
            self._collecting = False

    @property
    def is_collecting(self) -> bool:
        """Whether somebody has handlers registered here and will look at all of them afterwards."""
        return self._collecting

    # --- checks ----------------------------------------------------------------------------------

    def problems(self, accounts: Collection[str] | None) -> list[str]:
        """Everything that keeps these handlers from working, given the accounts there are.

        None if nothing is known about them; then nothing is held against a filter's.
        """
        told = [
            refusal
            for refusal in self._refused
            if accounts is not None or refusal.kind is not _Against.NO_ACCOUNTS
        ]
        found = [f"{refusal.sentence}{_place(refusal.handler)}" for refusal in told]
        if accounts is None:
            return found
        hints = _Hints(accounts)
        for name, handlers in (*self.handlers.items(), ("everything", self.global_handlers)):
            for route in handlers.routes:
                found += _unknown_accounts(name, route, hints)
        return found

    def _check(self, name: str | None, handler: object) -> None:
        problem = problem_with(handler, self._calling, is_global=name is None)
        if problem is not None:
            raise InvalidCallbackError(f"handler for {name or 'everything'}: {problem}")

    def _checker(self, name: str | None) -> Callable[[object], None]:
        return lambda handler: self._check(name, handler)

    # --- dispatch --------------------------------------------------------------------------------

    def routes_for(self, name: str) -> tuple[Route, ...]:
        """The handlers of a name and then the global ones, in the order in which they are called."""
        handlers = self.handlers.get(name)
        return (handlers.routes if handlers is not None else ()) + self.global_handlers.routes


def _values(values: Iterable[Any] | None, kind: type, what: str) -> list[Any] | None:
    """The values of a filter, or None if there is no filter."""
    if values is None:
        return None
    if isinstance(values, (str, bytes, int)) or not isinstance(values, Iterable):
        raise InvalidCallbackError(f"{what} is a list, such as [{values!r}], not {values!r}")
    chosen = list(values)
    wrong = [value for value in chosen if not isinstance(value, kind)]
    if wrong:
        raise InvalidCallbackError(f"{what} holds {wrong[0]!r}, which is no {kind.__name__}")
    return chosen


def _filter(values: list[Any] | None, what: str) -> frozenset[Any]:
    if values == []:
        raise InvalidCallbackError(f"{what} is an empty list, so the handler would never be called")
    return frozenset(values or ())


class _Hints:
    """Near names of unknown accounts: for a few, because each is compared with all there are."""

    def __init__(self, accounts: Collection[str], limit: int = 10) -> None:
        self.accounts = frozenset(accounts)
        self._in_order = accounts
        self._left = limit

    def for_unknown(self, account: str) -> str:
        """The end of a sentence."""
        if not self._left:
            return ""
        self._left -= 1
        near = difflib.get_close_matches(account, self._in_order, n=1)
        return f"; did you mean {near[0]!r}?" if near else ""


def _unknown_accounts(name: str, route: Route, hints: _Hints) -> list[str]:
    return [
        f"{describe_handler(route.handler)} is registered for {name} of account {account!r}, "
        f"and there is no such account{hints.for_unknown(account)}{_place(route.handler)}"
        for account in sorted(route.accounts - hints.accounts)
    ]

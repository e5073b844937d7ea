"""Names to handlers: what registration refuses, what is remembered of it, and the order of calls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from smarkets_pool import seto
from smarkets_pool.dispatcher import BY_DELIVERY, BY_KEYWORD, Dispatcher, HandlerList, Route
from smarkets_pool.exceptions import InvalidCallbackError, UsageError

NAMES = ["eto.pong", "seto.order_executed", "seto.order_accepted", "seto.contract_quotes", "member.up"]
MARKET_NAMES = frozenset({"seto.order_executed", "seto.order_accepted", "seto.contract_quotes"})


def pool_dispatcher() -> Dispatcher:
    """A dispatcher as the pool makes one: handler(delivery)."""
    return Dispatcher(NAMES, BY_DELIVERY, market_names=MARKET_NAMES)


def client_dispatcher() -> Dispatcher:
    """A dispatcher as the vendor's client needs one: handler(message=...)."""
    return Dispatcher(NAMES, BY_KEYWORD)


def good(delivery: object) -> None:
    """A handler that can be called."""


def _refuses(*arguments: Any, **filters: Any) -> str:
    with pytest.raises(InvalidCallbackError) as caught:
        pool_dispatcher().add(*arguments, **filters)
    return str(caught.value)


# --- names ----------------------------------------------------------------------------------------


def test_a_handler_is_registered_by_name() -> None:
    """What was added is what will be called."""
    dispatcher = pool_dispatcher()
    dispatcher.add("seto.order_executed", good)
    assert list(dispatcher.handlers["seto.order_executed"]) == [good]
    assert "'seto.order_executed': 1" in repr(dispatcher)


def test_a_handler_is_registered_by_message_class() -> None:
    """``seto.OrderExecuted`` stands for "seto.order_executed"."""
    dispatcher = pool_dispatcher()
    dispatcher.add(seto.OrderExecuted, good)
    assert list(dispatcher.handlers["seto.order_executed"]) == [good]
    dispatcher.remove(seto.OrderExecuted, good)
    assert len(dispatcher.handlers["seto.order_executed"]) == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("seto.order_excuted", "did you mean seto.order_executed"),
        ("order_executed", "did you mean seto.order_executed"),
        ("member.pu", "did you mean member.up"),
        ("zzz", "nothing is called 'zzz'"),
        ("", "nothing is called ''"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(name: str, hint: str) -> None:
    """The text quotes the name and suggests what exists."""
    assert hint in _refuses(name, good)


def test_a_message_that_does_not_arrive_by_itself_is_refused() -> None:
    """A quote comes inside market_quotes, so nobody can register for it."""
    assert "Quote is no message that arrives by itself" in _refuses(seto.Quote, good)


def test_a_message_class_without_a_name_here_is_refused() -> None:
    """A class that has a payload of its own is refused where that name is not offered."""
    assert "nothing is called 'seto.order_create'" in _refuses(seto.OrderCreate, good)


@pytest.mark.parametrize("name", [None, 6, seto.OrderExecuted(), ["eto.pong"], b"eto.pong"])
def test_what_is_neither_name_nor_class_is_refused(name: object) -> None:
    """The text says what a registration looks like."""
    assert "such as 'seto.order_executed'" in _refuses(name, good)


# --- handlers -------------------------------------------------------------------------------------


async def asynchronous(delivery: object) -> None:
    pass


def generator(delivery: object) -> Any:
    yield delivery


async def async_generator(delivery: object) -> Any:
    yield delivery


class Plain:
    """Handlers of every kind in one class."""

    def method(self, delivery: object) -> None:
        pass

    async def async_method(self, delivery: object) -> None:
        pass

    def generator_method(self, delivery: object) -> Any:
        yield

    @classmethod
    def class_method(cls, delivery: object) -> None:
        pass

    @staticmethod
    def static_method(delivery: object) -> None:
        pass

    def takes_nothing(self) -> None:
        pass


class Callable1:
    def __call__(self, delivery: object) -> None:
        pass


class CallableAsync:
    async def __call__(self, delivery: object) -> None:
        pass


class CallableGenerator:
    def __call__(self, delivery: object) -> Any:
        yield


class Instance:
    def __init__(self, delivery: object) -> None:
        pass


class TakesTwo:
    def __init__(self, delivery: object, other: object) -> None:
        pass


@functools.wraps(asynchronous)
def wrapped_but_plain(delivery: object) -> None:
    pass


@pytest.mark.parametrize(
    "handler",
    [
        good,
        lambda delivery: None,
        lambda anything: None,
        lambda *args: None,
        lambda delivery, extra=None, *, more=None: None,
        Plain().method,
        Plain.class_method,
        Plain().static_method,
        Callable1(),
        Instance,
        functools.partial(good),
        functools.partial(lambda first, delivery: None, 1),
        functools.partial(lambda delivery, flag: None, flag=True),
        functools.partial(Plain().method),
        functools.partial(Callable1()),
        print,
        [].append,
        set().add,
        {}.update,
        str,
        wrapped_but_plain,
        functools.lru_cache(good),
    ],
)
def test_what_takes_one_delivery_is_accepted(handler: Callable[..., object]) -> None:
    """Functions, methods, objects, classes, partials and builtins can all be handlers."""
    dispatcher = pool_dispatcher()
    dispatcher.add("eto.pong", handler)
    dispatcher.add_global(handler)
    assert dispatcher.problems([]) == []


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (None, "is not callable"),
        (7, "is not callable"),
        ("good", "is not callable"),
        (Plain(), "is not callable"),
        (lambda: None, "cannot be called as handler(delivery)"),
        (lambda one, two: None, "cannot be called as handler(delivery)"),
        (lambda delivery, *, must: None, "cannot be called as handler(delivery)"),
        (lambda *, delivery: None, "cannot be called as handler(delivery)"),
        (Plain.method, "cannot be called as handler(delivery)"),
        (Plain().takes_nothing, "cannot be called as handler(delivery)"),
        (Plain, "cannot be called as handler(delivery)"),
        (TakesTwo, "cannot be called as handler(delivery)"),
        (functools.partial(good, 1), "cannot be called as handler(delivery)"),
        (functools.partial(good, delivery=1), "cannot be called as handler(delivery)"),
        ([].sort, "cannot be called as handler(delivery)"),
        (asynchronous, "is an async def"),
        (Plain().async_method, "is an async def"),
        (CallableAsync(), "is an async def"),
        (functools.partial(asynchronous), "is an async def"),
        (functools.partial(CallableAsync()), "is an async def"),
        (functools.partial(functools.partial(asynchronous)), "is an async def"),
        (generator, "is a generator"),
        (Plain().generator_method, "is a generator"),
        (CallableGenerator(), "is a generator"),
        (functools.partial(generator), "is a generator"),
        (async_generator, "is an async generator"),
    ],
)
def test_what_could_never_be_called_is_refused(handler: Any, why: str) -> None:
    """Wrong arguments, async and generators are refused at registration, named and global alike."""
    assert why in _refuses("eto.pong", handler)
    with pytest.raises(InvalidCallbackError) as caught:
        pool_dispatcher().add_global(handler)
    assert why in str(caught.value)
    assert "everything" in str(caught.value)


def test_a_refusal_names_handler_and_event() -> None:
    """Whoever reads the error finds the function."""
    text = _refuses("eto.pong", asynchronous)
    assert "test_dispatcher.asynchronous" in text
    assert "handler for eto.pong" in text


def test_a_refusal_is_a_value_error() -> None:
    """InvalidCallbackError is a UsageError and a ValueError, with the sentence in ``problems``."""
    with pytest.raises(ValueError) as caught:
        pool_dispatcher().add("eto.pong", None)  # type: ignore[arg-type]
    assert isinstance(caught.value, UsageError)
    assert caught.value.problems == (str(caught.value),)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "handler",
    [
        lambda message: None,
        lambda **keywords: None,
        lambda message, other=1: None,
        functools.partial(lambda what, message: None, 1),
        {}.update,
    ],
)
def test_what_takes_message_by_keyword_is_accepted(handler: Callable[..., object]) -> None:
    """The client calls handler(message=...)."""
    client_dispatcher().add("eto.pong", handler)


@pytest.mark.parametrize(
    "handler", [good, len, [].append, lambda message, /: None, lambda message, name: None, lambda: None]
)
def test_what_does_not_take_message_by_keyword_is_refused(handler: Callable[..., object]) -> None:
    """A handler whose argument has another name could never be called by the client."""
    with pytest.raises(InvalidCallbackError, match=r"cannot be called as handler\(message=\.\.\.\)"):
        client_dispatcher().add("eto.pong", handler)


def test_the_clients_global_handlers_take_name_and_message() -> None:
    """The client calls global ones handler(name=..., message=...)."""
    client_dispatcher().add_global(lambda name, message: None)
    with pytest.raises(InvalidCallbackError, match=r"handler\(name=\.\.\., message=\.\.\.\)"):
        client_dispatcher().add_global(lambda message: None)


# --- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        ({"accounts": "alice"}, "accounts is a list, such as ['alice']"),
        ({"accounts": b"alice"}, "accounts is a list"),
        ({"accounts": [1]}, "accounts holds 1, which is no str"),
        ({"accounts": []}, "accounts is an empty list"),
        ({"accounts": 1.5}, "accounts is a list"),
        ({"accounts": [["alice"]]}, "accounts"),
        ({"market_ids": 5}, "market_ids is a list, such as [5]"),
        ({"market_ids": ["5"]}, "market_ids holds '5', which is no int"),
        ({"market_ids": ()}, "market_ids is an empty list"),
        ({"market_ids": object()}, "market_ids is a list"),
    ],
)
def test_filters_that_make_no_sense_are_refused(filters: dict[str, Any], why: str) -> None:
    """A text for a list, the wrong kind inside, an empty one: each would never match."""
    assert why in _refuses("seto.order_executed", good, **filters)


def test_a_market_filter_needs_a_name_with_market_ids() -> None:
    """A pong belongs to no market."""
    assert "eto.pong carries no market id" in _refuses("eto.pong", good, market_ids=[1])


@pytest.mark.parametrize("values", [["alice"], ("alice",), {"alice"}, iter(["alice"]), {"alice": 1}])
def test_a_filter_is_any_iterable(values: Any) -> None:
    """Lists, tuples, sets and iterators filter the same."""
    dispatcher = pool_dispatcher()
    dispatcher.add("eto.pong", good, accounts=values)
    assert dispatcher.routes_for("eto.pong") == (Route(good, frozenset({"alice"})),)


def test_an_account_filter_lets_its_accounts_through() -> None:
    """Other accounts' events do not reach the handler."""
    route = Route(good, accounts=frozenset({"alice"}))
    assert route.wants("alice", None)
    assert not route.wants("bob", None)


def test_a_market_filter_lets_its_markets_through() -> None:
    """Other markets' messages do not reach the handler."""
    route = Route(good, market_ids=frozenset({5}))
    assert route.wants("alice", seto.MarketState(market_id=5))
    assert not route.wants("alice", seto.MarketState(market_id=6))


def test_a_message_without_its_optional_market_id_passes() -> None:
    """Rather one delivery too many than one too few."""
    assert Route(good, market_ids=frozenset({5})).wants("alice", seto.OrderAccepted(order_id=1))


def test_what_is_no_message_passes_a_market_filter() -> None:
    """Lifecycle events and payloads without a message have no market to filter by."""
    route = Route(good, market_ids=frozenset({5}))
    assert route.wants("alice", None)
    assert route.wants("alice", object())


def test_both_filters_must_agree() -> None:
    """Account and market are checked together."""
    route = Route(good, frozenset({"alice"}), frozenset({5}))
    assert route.wants("alice", seto.MarketState(market_id=5))
    assert not route.wants("bob", seto.MarketState(market_id=5))
    assert not route.wants("alice", seto.MarketState(market_id=6))


def test_the_same_handler_with_another_filter_is_one_more() -> None:
    """The same registration twice is one; removing takes all of a handler's."""
    dispatcher = pool_dispatcher()
    for accounts in (["alice"], ["bob"], ["bob"]):
        dispatcher.add("eto.pong", good, accounts=accounts)
    assert len(dispatcher.routes_for("eto.pong")) == 2
    dispatcher.remove("eto.pong", good)
    assert dispatcher.routes_for("eto.pong") == ()


# --- problems -------------------------------------------------------------------------------------


def test_nothing_wrong_is_no_problem() -> None:
    """Good handlers for accounts that exist leave nothing to say."""
    dispatcher = pool_dispatcher()
    dispatcher.add("eto.pong", good, accounts=["alice"])
    dispatcher.add_global(good)
    assert dispatcher.problems(["alice", "bob"]) == []


def test_unknown_accounts_in_filters_are_problems() -> None:
    """Each is named with handler and event, and with what may have been meant."""
    dispatcher = pool_dispatcher()
    dispatcher.add("eto.pong", good, accounts=["alcie", "zed", "bob"])
    first, second = dispatcher.problems(["alice", "bob"])
    assert "registered for eto.pong of account 'alcie', and there is no such account" in first
    assert "did you mean 'alice'?" in first
    assert "'zed'" in second
    assert "did you mean" not in second


def test_refused_handlers_are_remembered() -> None:
    """A program that swallowed the error still finds it in ``problems``, named and global ones."""
    dispatcher = pool_dispatcher()
    for name, handler in (("eto.pong", asynchronous), ("no.such.name", good), ("eto.pong", None)):
        with pytest.raises(InvalidCallbackError):
            dispatcher.add(name, handler)  # type: ignore[arg-type]
    with pytest.raises(InvalidCallbackError):
        dispatcher.add_global(generator)
    found = dispatcher.problems([])
    assert len(found) == 4
    assert "async def" in found[0]
    assert "no.such.name" in found[1]
    assert "generator" in found[3]


def test_an_empty_list_of_accounts_is_no_problem_while_nothing_is_known_of_accounts() -> None:
    """It may be empty because a configuration could not be read; all other refusals are told."""
    dispatcher = pool_dispatcher()
    for filters in ({"accounts": []}, {"market_ids": []}, {"accounts": "alice"}):
        with pytest.raises(InvalidCallbackError):
            dispatcher.add("seto.order_executed", good, **filters)  # type: ignore[arg-type]
    for handler, filters in ((None, {"accounts": []}), (good, {"accounts": ["bob"]})):
        with pytest.raises(InvalidCallbackError):
            dispatcher.add("eto.pong", handler, known=["alice"], **filters)  # type: ignore[arg-type]
    said = [found.partition(" (")[0] for found in dispatcher.problems([])]
    assert [text.partition(",")[0] for text in said[:3]] == [
        "accounts is an empty list",
        "market_ids is an empty list",
        "accounts is a list",
    ]
    assert "None is not callable" in said[3]
    assert "there is no such account" in said[4]
    assert [found.partition(" (")[0] for found in dispatcher.problems(None)] == said[1:]


@pytest.mark.parametrize(
    ("name", "handler"),
    [
        ("eto.pong", asynchronous),
        ("no.such.name", good),
        (seto.Quote, good),
        ("eto.pong", Plain().async_method),
        ("eto.pong", None),
    ],
)
def test_deleting_a_refused_handler_forgets_it(name: object, handler: Any) -> None:
    """After the mistake is taken back nothing stands in the way."""
    dispatcher = pool_dispatcher()
    with pytest.raises(InvalidCallbackError):
        dispatcher.add(name, handler)
    dispatcher.remove(name, handler)
    assert dispatcher.problems([]) == []


def test_a_refused_bound_method_is_forgotten_as_well() -> None:
    """Each look at a method makes a new object; it is the same handler all the same."""
    dispatcher = pool_dispatcher()
    plain = Plain()
    with pytest.raises(InvalidCallbackError):
        dispatcher.add("eto.pong", plain.async_method)
    with pytest.raises(InvalidCallbackError):
        dispatcher.add_global(plain.async_method)
    dispatcher.remove("eto.pong", plain.async_method)
    dispatcher.remove_global(plain.async_method)
    assert dispatcher.problems([]) == []


def test_deleting_forgets_the_refusal_and_removes_the_registration() -> None:
    """A handler that was refused once and then registered properly is gone after one deletion."""
    dispatcher = pool_dispatcher()
    with pytest.raises(InvalidCallbackError):
        dispatcher.add("eto.pong", good, accounts="alice")
    dispatcher.add("eto.pong", good, accounts=["alice"])
    dispatcher.remove("eto.pong", good)
    assert dispatcher.problems(["alice"]) == []
    assert dispatcher.routes_for("eto.pong") == ()


def test_deleting_what_was_never_there_is_refused() -> None:
    """Unknown names and absent handlers are mistakes too."""
    dispatcher = pool_dispatcher()
    with pytest.raises(InvalidCallbackError, match="good was not registered here"):
        dispatcher.remove("eto.pong", good)
    with pytest.raises(InvalidCallbackError, match="nothing is called"):
        dispatcher.remove("eto.pnog", good)
    with pytest.raises(InvalidCallbackError, match="was not registered here"):
        dispatcher.remove_global(good)
    assert dispatcher.problems([]) == []


# --- lists of handlers ----------------------------------------------------------------------------


def _list() -> HandlerList:
    return client_dispatcher().handlers["eto.pong"]


def test_handlers_are_called_in_the_order_they_were_added() -> None:
    """4.1 row 20: order is that of registration."""
    calls: list[int] = []
    handlers = _list()
    for number in (3, 1, 2):
        handlers.add(functools.partial(lambda number, message: calls.append(number), number))
    handlers.fire(message=None)
    assert calls == [3, 1, 2]


def test_the_vendors_names_for_the_same_things_work() -> None:
    """add, handle and +=, remove and -=, fire and calling, len and iteration, as on its Signal."""
    calls: list[object] = []
    handlers = _list()

    def first(message: object) -> None:
        calls.append(1)

    def second(message: object) -> None:
        calls.append(2)

    def third(message: object) -> None:
        calls.append(3)

    handlers.add(first)
    handlers.handle(second)
    handlers += third
    assert list(handlers) == [first, second, third]
    handlers.call(message=None)
    handlers -= third
    handlers.remove(second)
    handlers.fire(message=None)
    handlers(message=None)
    assert calls == [1, 2, 3, 1, 1]
    assert len(handlers) == 1
    assert "first" in repr(handlers)


def test_a_handler_is_in_a_list_once() -> None:
    """Adding it again leaves it where it is."""
    handlers = _list()

    def first(message: object) -> None:
        pass

    def second(message: object) -> None:
        pass

    for handler in (first, second, first):
        handlers += handler
    assert list(handlers) == [first, second]


def test_a_list_checks_what_is_added() -> None:
    """``callbacks[name] += handler`` refuses what add_handler refuses."""
    handlers = _list()
    with pytest.raises(InvalidCallbackError, match=r"handler for eto\.pong"):
        handlers += good
    assert len(handlers) == 0


def test_removing_what_is_not_in_a_list_is_refused() -> None:
    """4.1 row 20: not a KeyError."""
    handlers = _list()
    with pytest.raises(InvalidCallbackError, match="was not registered here"):
        handlers -= good


def test_a_bound_method_can_be_removed() -> None:
    """Bound methods are compared by object and function."""

    class Bot:
        def on_pong(self, message: object) -> None:
            pass

    bot = Bot()
    handlers = _list()
    handlers.add(bot.on_pong)
    handlers.add(bot.on_pong)
    assert len(handlers) == 1
    handlers.remove(bot.on_pong)
    assert len(handlers) == 0


def test_all_handlers_run_and_the_first_error_is_raised() -> None:
    """4.1 row 19: one handler's error costs the others nothing."""
    calls: list[int] = []

    def fails(message: object) -> None:
        calls.append(1)
        raise KeyError("first")

    def fails_too(message: object) -> None:
        calls.append(2)
        raise RuntimeError("second")

    def works(message: object) -> None:
        calls.append(3)

    handlers = _list()
    for handler in (fails, fails_too, works):
        handlers += handler
    with pytest.raises(KeyError, match="first"):
        handlers.fire(message=None)
    assert calls == [1, 2, 3]


def test_a_list_that_changes_while_it_is_called_is_called_as_it_was() -> None:
    """A handler may add and remove others; that counts from the next time."""
    calls: list[str] = []
    handlers = _list()

    def late(message: object) -> None:
        calls.append("late")

    def changes(message: object) -> None:
        calls.append("changes")
        handlers.remove(changes)
        handlers.add(late)

    handlers.add(changes)
    handlers.fire(message=None)
    assert calls == ["changes"]
    handlers.fire(message=None)
    assert calls == ["changes", "late"]


def test_routes_are_the_named_ones_and_then_the_global_ones() -> None:
    """Named handlers come first, whenever they were added."""
    dispatcher = pool_dispatcher()

    def everything(delivery: object) -> None:
        pass

    dispatcher.add_global(everything)
    dispatcher.add("eto.pong", good)
    assert [route.handler for route in dispatcher.routes_for("eto.pong")] == [good, everything]
    assert [route.handler for route in dispatcher.routes_for("member.up")] == [everything]
    assert [route.handler for route in dispatcher.routes_for("newer.than.us")] == [everything]

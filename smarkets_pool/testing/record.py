"""``Record``: what a pool's handlers were given, to look at and to compare with what really happened."""

from __future__ import annotations

from typing import Any, overload

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import EmbeddedExchange, TruthEvent
from smarkets_pool.pool import DOWN, Delivery, Member, Pool
from smarkets_pool.pool.registration import Registrable
from smarkets_pool.testing.waiting import eventually

__all__ = ["Record"]


class Record:
    """Keeps every delivery of a pool, in order, and every error of a handler.

    It is a global handler: what it has, the handlers before it have been given, and have returned.

    Args:
        pool: whose; make the record before the pool starts.
        exchange: where its accounts are, to compare with; without one there is no ``differences``.

    Raises:
        UsageError: the pool is running already.

    Attributes:
        all: every delivery. errors: each delivery of which a handler raised, with the error.
    """

    def __init__(self, pool: Pool, exchange: EmbeddedExchange | None = None) -> None:
        self.all: list[Delivery] = []
        self.errors: list[tuple[Delivery, BaseException]] = []
        self._pool = pool
        self._exchange = exchange
        #: Account -> its user name at the exchange; kept of accounts that were removed.
        self._users: dict[str, str] = {}
        #: Account -> the number of the last event that had happened when the record was made, and when the
        #: account first logged in.
        self._made: dict[str, int] = {}
        self._begun: dict[str, int] = {}
        if any(member.state is not DOWN for member in pool):
            raise UsageError(
                "the pool is running, and what its handlers were given is gone: make the record first"
            )
        for member in pool:
            self._users[member.name] = member.account.settings.login_name
            self._made[member.name] = self._last_number(member.name)
        pool.add_global_handler(self._note)
        pool.on_error(self._note_error)

    def __repr__(self) -> str:
        return f"<Record of {len(self.all)} deliveries, {len(self.errors)} errors>"

    def _note(self, delivery: Delivery) -> None:
        name = delivery.account
        if name not in self._users:
            self._users[name] = delivery.member.account.settings.login_name
            self._made[name] = self._last_number(name)
        if name not in self._begun:
            self._begun[name] = self._last_number(name)
        self.all.append(delivery)

    def _last_number(self, name: str) -> int:
        events = self._exchange.truth.events(self._users[name]) if self._exchange is not None else []
        return events[-1].account_sequence if events else 0

    def _note_error(self, delivery: Delivery, error: BaseException) -> None:
        self.errors.append((delivery, error))

    # --- looking ---------------------------------------------------------------------------------

    @overload
    def of(self, what: type[Registrable], account: str | None = None) -> list[Delivery[Registrable]]: ...
    @overload
    def of(self, what: str, account: str | None = None) -> list[Delivery]: ...
    def of(self, what: type[Any] | str, account: str | None = None) -> list[Delivery]:
        """The deliveries of a name or message class, of one account or of all.

        Raises:
            InvalidCallbackError: there is no such name or class; says which is near.
        """
        name = self._pool.dispatcher.resolve(what)
        return [d for d in self.all if d.name == name and account in (None, d.account)]

    def names(self, account: str | None = None) -> list[str]:
        """The names of all deliveries, in order."""
        return [delivery.name for delivery in self.all if account in (None, delivery.account)]

    # --- waiting ---------------------------------------------------------------------------------

    @overload
    def wait(
        self,
        what: type[Registrable],
        count: int = 1,
        *,
        account: str | None = None,
        timeout: float = 5.0,
    ) -> Delivery[Registrable]: ...
    @overload
    def wait(
        self, what: str, count: int = 1, *, account: str | None = None, timeout: float = 5.0
    ) -> Delivery: ...
    def wait(
        self,
        what: type[Any] | str,
        count: int = 1,
        *,
        account: str | None = None,
        timeout: float = 5.0,
    ) -> Delivery:
        """Wait for the ``count``-th delivery of a name or message class and return it.

        Those that are there already count: the third is the third since the pool began. ``timeout`` is
        in real seconds; with a fake clock let its time pass first.

        Raises:
            AssertionError: it did not come in time; names what came instead.
            InvalidCallbackError: there is no such name or class.
        """
        found = self._pool.dispatcher.resolve(what)
        try:
            return eventually(lambda: self.of(what, account)[count - 1 : count], timeout)[0]
        except AssertionError:
            whose = f" of {account}" if account is not None else ""
            came = len(self.of(what, account))
            raise AssertionError(
                f"{came} of {count} {found}{whose} came within {timeout} s; {self._summary()}"
            ) from None

    def _summary(self) -> str:
        """What there is: the end of the record, the states of the accounts, errors of handlers."""
        last = ", ".join(f"{d.account} {d.name}" for d in self.all[-8:]) or "nothing"
        states = ", ".join(_state(member) for member in self._pool)
        errors = "; ".join(_sentence(delivery, error) for delivery, error in self.errors)
        return f"the last deliveries: {last}; the accounts: {states}" + (f"; {errors}" if errors else "")

    # --- comparing -------------------------------------------------------------------------------

    def differences(self) -> list[str]:
        """How what handlers were given differs from what happened at the exchange, a sentence each.

        Every event of every account since its first login (of this pool) is to have been handled once, in
        order and with its contents, or announced by ``member.gap`` as gone for good; and no handler raised.
        """
        found = [_sentence(delivery, error) for delivery, error in self.errors]
        for name, user in self._users.items():
            found += self._differences_of(name, self._truth(user))
        return found

    def check(self, timeout: float = 5.0) -> None:
        """Wait until handlers were given everything that happened.

        Raises:
            AssertionError: ``timeout`` real seconds later there are ``differences``; it has them all.
        """
        try:
            eventually(lambda: not self.differences(), timeout)
        except AssertionError:
            said = self.differences()
            if said:
                raise AssertionError("\n".join([f"{len(said)} differences:", *said])) from None

    def _truth(self, user: str) -> list[TruthEvent]:
        if self._exchange is None:
            raise UsageError("there is nothing to compare with: make it with Record(pool, exchange)")
        return self._exchange.truth.events(user)

    def _differences_of(self, name: str, truth: list[TruthEvent]) -> list[str]:
        """An exchange that forgot its books counts from 1 again: each count is compared with its own."""
        given = [delivery for delivery in self.all if delivery.account == name]
        deliveries_of, events_of = _counts_given(given), _counts_in(truth)
        found = []
        for index in range(max(len(deliveries_of), len(events_of))):
            deliveries = deliveries_of[index] if index < len(deliveries_of) else []
            events = events_of[index] if index < len(events_of) else []
            made, begun = self._made[name], self._begun.get(name)
            if index > 0:
                made, begun = 0, _before_first(deliveries)
            found += _compare(name, deliveries, events, made, begun)
        return found


def _compare(
    name: str, deliveries: list[Delivery], truth: list[TruthEvent], made: int, begun: int | None
) -> list[str]:
    """What is wrong with the deliveries.

    Expected are events behind ``made``; those that happened while the account was away only behind ``begun``
    (None: none of them), for of what was before its first login an account hears only if it asks for it.
    """
    found: list[str] = []
    real = {event.account_sequence: event for event in truth}
    handled: set[int] = set()
    lost: set[int] = set()
    for delivery in deliveries:
        number = delivery.account_sequence
        if number is None:
            lost |= _gone(delivery)
            continue
        if number in handled:
            found.append(f"{name}: event {number} was handled twice: {delivery.name}")
        elif handled and number < max(handled):
            found.append(f"{name}: event {number} was handled after event {max(handled)}: {delivery.name}")
        handled.add(number)
        event = real.get(number)
        if event is not None:
            if said := _unlike(event, delivery):
                found.append(f"{name}: event {number} {said}")
        elif not truth or number > truth[0].account_sequence:  # older ones the truth may have forgotten
            found.append(f"{name}: event {number} never happened: {delivery.name}")
    for event in truth:
        number = event.account_sequence
        expected = number > made and (not event.away or (begun is not None and number > begun))
        if expected and number not in handled and number not in lost:
            away = " while the account was away" if event.away else ""
            found.append(f"{name}: event {number} was not handled: {event.name}, happened{away}")
    return found


def _counts_given(deliveries: list[Delivery]) -> list[list[Delivery]]:
    """Split where the pool was told that the exchange has lost its state."""
    counts: list[list[Delivery]] = [[]]
    for delivery in deliveries:
        if delivery.name == "member.gap" and delivery.message.kind == "regressed":
            counts.append([])
        counts[-1].append(delivery)
    return counts


def _counts_in(truth: list[TruthEvent]) -> list[list[TruthEvent]]:
    """Split where numbers begin again."""
    counts: list[list[TruthEvent]] = [[]]
    for event in truth:
        if counts[-1] and event.account_sequence <= counts[-1][-1].account_sequence:
            counts.append([])
        counts[-1].append(event)
    return counts


def _before_first(deliveries: list[Delivery]) -> int | None:
    """The number before the first event that was handled, or None."""
    numbers = [delivery.account_sequence for delivery in deliveries if delivery.account_sequence is not None]
    return numbers[0] - 1 if numbers else None


def _gone(delivery: Delivery) -> set[int]:
    """The numbers that this delivery announces as gone for good."""
    message = delivery.message
    if delivery.name != "member.gap" or message.kind != "account":
        return set()
    return set(range(message.first, message.last + 1))


def _unlike(event: TruthEvent, delivery: Delivery) -> str:
    """What is other than it happened, or nothing."""
    pairs: list[tuple[str, object, object]] = [("was", delivery.name, event.name)]
    for field in ("order_id", "quantity"):
        if field in delivery.message.DESCRIPTOR.fields_by_name:
            pairs.append((f"had {field}", getattr(delivery.message, field), getattr(event, field)))
    return "; ".join(
        f"{what} {given} to the handlers and {real} in truth" for what, given, real in pairs if given != real
    )


def _sentence(delivery: Delivery, error: BaseException) -> str:
    return f"{delivery.account}: a handler of {delivery.name} raised {error!r}"


def _state(member: Member) -> str:
    why = f" ({member.why_down})" if member.state.name == "DOWN" else ""
    return f"{member.name} {member.state.name}{why}"

"""``EmbeddedExchange``: a whole exchange on a loopback port, ready to log in to.

The demo, the examples and the tests all run on it, and users test their bots on it. It imitates what is
publicly known about the real exchange; nobody here has ever spoken to that one.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import time
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import gevent.socket
import gevent.ssl

from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange.accounts import Accounts
from smarkets_pool.exchange.activity import ActivitySettings, HouseTraders
from smarkets_pool.exchange.certificates import Certificates
from smarkets_pool.exchange.exchange import Exchange
from smarkets_pool.exchange.faults import Faults
from smarkets_pool.exchange.flood import Flood
from smarkets_pool.exchange.floodserver import FloodServer
from smarkets_pool.exchange.market import Market
from smarkets_pool.exchange.server import ExchangeServer
from smarkets_pool.exchange.settings import ExchangeSettings
from smarkets_pool.exchange.staff import Staff
from smarkets_pool.exchange.state import Credentials, Identity, Setup, StateFile
from smarkets_pool.exchange.truth import Truth

__all__ = ["EmbeddedExchange", "Login"]

_FIRST_MARKET = 100_000
_FIRST_CONTRACT = 200_000


#: Credentials of one account of an embedded exchange; throw-away, and in no ``repr`` all the same.
Login = Credentials


def _new_logins(usernames: Sequence[str]) -> tuple[Login, ...]:
    return tuple(
        Login(username, secrets.token_urlsafe(18), secrets.token_urlsafe(24)) for username in usernames
    )


def _check(name: str, given: object, wanted: type) -> None:
    """A table, or True, is what one tries first."""
    if given is not None and not isinstance(given, wanted):
        example = f"{wanted.__name__}(**{name})" if isinstance(given, dict) else f"{wanted.__name__}()"
        raise UsageError(
            f"{name} is {given!r} and must be an object of {wanted.__name__}, such as {name}={example}"
        )


class EmbeddedExchange:
    """An exchange on a free loopback port; use it as a context manager or call ``start`` and ``stop``.

    Args:
        accounts: how many, or their user names; each has a password, a token and 10,000.00
            (``settings.opening_balance``).
        markets, contracts: how many, all open; contracts per market.
        tls: with a throw-away CA, whose certificate is in ``ca_file``; otherwise plain TCP.
        host, port: where to listen.
        settings: see ``ExchangeSettings``.
        context: another TLS context to serve with, for tests of certificates.
        clock: seconds that never go back, for all that takes time; ``wall_clock``: microseconds since the
            epoch, for what is printed on executions. Both are for tests, see ``smarkets_pool.testing``.
        seed: what faults and house traders do by chance is the same for the same one.
        activity: house traders that make the markets move; see ``ActivitySettings``. Nobody trades without.
        flood: answer logins with a flood of frames instead, for measuring who reads it; see ``Flood``.
        state: a file that keeps the books, and the credentials and the CA, for the next exchange that is
            made with it, also after this process was killed; see ``StateFile``. The CA's certificate is
            put beside it, as ``FILE.ca.pem``.

    Raises:
        UsageError: ``settings``, ``activity`` or ``flood`` is something else than an object of its class.
        ConfigError: ``state`` cannot be used: another exchange has it, it is damaged, or it belongs to an
            exchange with other accounts, markets or settings. It was left as it is.

    Attributes:
        logins: the accounts' credentials. market_ids, contract_ids: what is traded.
        truth: what really happened. faults: what is to go wrong. staff: opens, halts, settles.
        exchange: everything else.
    """

    def __init__(
        self,
        *,
        accounts: int | Sequence[str] = 4,
        markets: int = 3,
        contracts: int = 2,
        tls: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: ExchangeSettings | None = None,
        context: gevent.ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        seed: int = 0,
        activity: ActivitySettings | None = None,
        flood: Flood | None = None,
        state: str | os.PathLike[str] | None = None,
    ) -> None:
        _check("settings", settings, ExchangeSettings)
        _check("activity", activity, ActivitySettings)
        _check("flood", flood, Flood)
        if flood is not None and state is not None:
            raise UsageError("a flood has no books to keep: give flood or state, not both")
        if isinstance(accounts, int):
            accounts = [f"trader-{number}@example.com" for number in range(1, accounts + 1)]
        self.market_ids: Sequence[int] = tuple(range(_FIRST_MARKET, _FIRST_MARKET + markets))
        self.contract_ids: dict[int, tuple[int, ...]] = {
            market_id: tuple(_FIRST_CONTRACT + index * contracts + number for number in range(contracts))
            for index, market_id in enumerate(self.market_ids)
        }
        self._settings = settings
        self._wall_clock = wall_clock
        self._clock = clock
        self._seed = seed
        self._activity = activity
        self._certificates: Certificates | None = None
        #: What is wrong with the certificate that is shown, empty while nothing is.
        self._certificate_fault = ""
        self._state = None if state is None else self._open_state(state, accounts)
        self.logins: Sequence[Login] = (
            _new_logins(accounts) if self._state is None else tuple(self._state.identity.logins)
        )
        try:
            if tls and context is None:
                self._certificates = self._new_certificates()
                context = self._certificates.server_context()
            self.tls = context is not None
            self.exchange = self._new_exchange()
            where: dict[str, Any] = {"host": host, "port": port, "context": context, "clock": clock}
            self._flood_server = (
                None if flood is None else FloodServer(self.exchange, flood, self.contract_ids, **where)
            )
            self._server = self._flood_server or ExchangeServer(self.exchange, **where)
        except BaseException:
            self._let_files_go()
            raise
        self._server.on_handshake = self._note_certificate
        self.exchange.faults.house = self

    def _open_state(self, path: str | os.PathLike[str], accounts: Sequence[str]) -> StateFile:
        setup = Setup(accounts, self.contract_ids, self._settings or ExchangeSettings())
        return StateFile.open(
            path, setup, lambda: Identity(_new_logins(accounts), *Certificates.new_authority())
        )

    def _new_certificates(self) -> Certificates:
        if self._state is None:
            return Certificates()
        identity = self._state.identity
        return Certificates(
            authority=(identity.ca_certificate, identity.ca_key), ca_file=f"{self._state.path}.ca.pem"
        )

    def _let_files_go(self) -> None:
        if self._state is not None:
            self._state.close()
        if self._certificates is not None:
            self._certificates.close()

    def _new_exchange(self, before: Exchange | None = None) -> Exchange:
        """One with the books of the state file, or new ones; ``before`` hands its record and faults over."""
        registry = Accounts(self._settings)
        for login in self.logins:
            registry.add(login.username, login.password, login.token)
        exchange = Exchange(
            accounts=registry,
            markets=[
                Market(market_id, contract_ids) for market_id, contract_ids in self.contract_ids.items()
            ],
            wall_clock=self._wall_clock,
            settings=self._settings,
            clock=self._clock,
            seed=self._seed,
            truth=before.truth if before is not None else None,
            faults=before.faults if before is not None else None,
        )
        if self._state is not None:
            if before is None:
                self._state.replay(exchange.engine)
            self._state.keep(exchange.engine, from_the_beginning=before is not None)
        # Behind that: the house's accounts of another time are there already.
        if self._activity is not None:
            exchange.chores.append(HouseTraders(exchange, self._activity, self._seed))
        return exchange

    def __repr__(self) -> str:
        return f"<EmbeddedExchange {'tls' if self.tls else 'tcp'}://{self.host}:{self.port}>"

    # --- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        if not issubclass(socket.socket, gevent.socket.socket):
            warnings.warn(
                "this process is not monkey-patched: a client in it that waits for the exchange would keep "
                "the exchange waiting too; put `from gevent import monkey; monkey.patch_all()` first",
                RuntimeWarning,
                stacklevel=2,
            )
        if self._state is not None:
            self._state.start()
        self._server.start()

    def stop(self) -> None:
        """Close every connection and stop listening; the CA's file is removed, a state file is complete.

        With a state file this is the end: make another exchange with the file to go on.
        """
        self._server.stop()
        self._let_files_go()

    def __enter__(self) -> EmbeddedExchange:
        try:
            self.start()
        except BaseException:
            self.stop()  # there will be no __exit__ to remove the CA's file
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def flood_server(self) -> FloodServer:
        """The source of the flood, which counts what it sends.

        Raises:
            UsageError: this exchange floods nobody.
        """
        if self._flood_server is None:
            raise UsageError("this exchange has no flood: make it with EmbeddedExchange(flood=Flood())")
        return self._flood_server

    @property
    def state(self) -> StateFile | None:
        """The file that keeps the books, or None."""
        return self._state

    # --- what clients need -----------------------------------------------------------------------

    @property
    def host(self) -> str:
        """Where it listens."""
        return self._server.host

    @property
    def port(self) -> int:
        """Its port, known once it listens."""
        return self._server.port

    @property
    def ca_file(self) -> str | None:
        """The PEM file to trust, or None without TLS of our own."""
        return self._certificates.ca_file if self._certificates is not None else None

    def settings_for(self, number: int) -> dict[str, Any]:
        """Arguments for ``Account`` or ``SessionSettings`` that log in as ``logins[number]``.

        Raises:
            UsageError: no such number, or the exchange does not listen yet.
        """
        if not 0 <= number < len(self.logins):
            raise UsageError(f"there are logins 0 to {len(self.logins) - 1} at this exchange, not {number}")
        if not self.port:
            raise UsageError("the exchange has no port yet: use it in a with statement, or call start()")
        login = self.logins[number]
        return {
            "username": login.username,
            "password": login.password,
            "host": self.host,
            "port": self.port,
            "ssl": self.tls,
            "ca_file": self.ca_file,
        }

    # --- what happened and what shall ------------------------------------------------------------

    @property
    def truth(self) -> Truth:
        """What really happened, to compare with what handlers saw."""
        return self.exchange.truth

    @property
    def faults(self) -> Faults:
        """What is to go wrong: a method for each fault, and ``apply`` for the text form."""
        return self.exchange.faults

    @property
    def staff(self) -> Staff:
        """What the exchange's own people do: open, halt and settle markets, suspend accounts, ..."""
        return Staff(self.operate)

    def operate(self, verb: str, **arguments: object) -> None:
        """Carry out a verb of the staff by its name, with plain arguments; see ``Exchange.operate``."""
        self.exchange.operate(verb, self._server.now(), **arguments)

    def cut(self, username: str, *, inside: bool = False, away: float | None = None) -> int:
        """Break the account's connections; see ``Exchange.cut``."""
        return self.exchange.cut(username, self._server.now(), inside=inside, away=away)

    def log_out(self, username: str, reason: int | str = "NONE") -> int:
        """Log the account's sessions out with a LogoutReason; return how many there were."""
        return self.exchange.log_out(username, reason, self._server.now())

    def begin_downtime(self, after: float = 0.0) -> None:
        """Log everybody out with DOWNTIME, ``after`` so many seconds, and refuse logins with it."""
        self.exchange.begin_downtime(self._server.now(), after=after)

    def end_downtime(self) -> None:
        """Accept logins again."""
        self.exchange.end_downtime()

    def change_limits(
        self,
        *,
        rate: int | None = None,
        burst: int | None = None,
        tick_ms: int | None = None,
        account: str | None = None,
    ) -> None:
        """Change the throttle's limits of one account or of all; clients are told."""
        self.exchange.change_limits(
            self._server.now(), rate=rate, burst=burst, tick_ms=tick_ms, account=account
        )

    def notify_event(
        self,
        event_id: int,
        state: str | int,
        details: str = "",
        *,
        period: str | int | None = None,
        playtime: int | None = None,
        score_home: int | None = None,
        score_away: int | None = None,
    ) -> int:
        """Tell the subscribers of an event what happens in it; see ``Exchange.notify_event``."""
        return self.exchange.notify_event(
            event_id,
            state,
            details,
            self._server.now(),
            period=period,
            playtime=playtime,
            score_home=score_home,
            score_away=score_away,
        )

    def serve_certificate(self, kind: str) -> None:
        """Show new connections a certificate of this kind; the fault ``certificate`` does it."""
        if self._certificates is None:
            shown = "plain TCP" if not self.tls else "a TLS context of the caller's"
            raise UsageError(f"this exchange serves {shown}, so it has no certificate to replace")
        self._server.context = self._certificates.server_context(kind)
        self._certificate_fault = "" if kind == "good" else kind

    def _note_certificate(self) -> None:
        if self._certificate_fault:
            self.faults.record("certificate", "", self._certificate_fault)

    def restart(self, *, keep: str = "all", away: float = 0.0) -> None:
        """Go, and come again ``away`` seconds later; the fault ``restart`` does it and records it.

        Credentials, certificate, port, the record of truth and the faults that wait are the same afterwards;
        with ``keep="nothing"`` books, balances, histories and sessions are as at the beginning.
        """
        self._server.go_away(away)
        if keep == "nothing":
            self.exchange = self._server.exchange = self._new_exchange(self.exchange)

    def now(self) -> float:
        """The exchange's clock, for the methods of ``exchange`` that take ``now``."""
        return self._server.now()

    def tick(self) -> None:
        """Serve what is due now; see ``ExchangeServer.tick``."""
        self._server.tick()

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do next."""
        return self._server.next_deadline()

    def adopt(self, connection: Any) -> None:
        """Serve a connected stream socket; see ``ExchangeServer.adopt``."""
        self._server.adopt(connection)

    def description(self) -> dict[str, Any]:
        """What a client has to know, as plain data; it holds the passwords."""
        return {
            "host": self.host,
            "port": self.port,
            "tls": self.tls,
            "ca_file": self.ca_file,
            "accounts": [dataclasses.asdict(login) for login in self.logins],
            "markets": [
                {"market_id": market_id, "contract_ids": list(contract_ids)}
                for market_id, contract_ids in self.contract_ids.items()
            ],
        }

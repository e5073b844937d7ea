"""``Life``: wanting to be connected, waiting for it, connecting, and coming back.

The steps, and who runs them::

    wanted --timekeeper--> queued --governor--> life greenlet: connect, login --> handed to the member
      ^                                                 |                              |
      +------------- backoff, by the policy <-----------+---------- lost <-------------+

The life greenlet exists only while it connects: a parked one costs 7 KB, and most members are up.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any, Protocol

import gevent

from smarkets_pool.account import Account
from smarkets_pool.exceptions import ConnectTimeout, Error, LoginTimeout
from smarkets_pool.logs import PlaceLog
from smarkets_pool.policies import Attempts, Decision, ReconnectPolicy, TimeoutPolicy, Trouble
from smarkets_pool.pool.governor import Governor
from smarkets_pool.pool.runtime import Runtime
from smarkets_pool.pool.supervisor import Supervisor
from smarkets_pool.protocol import Received
from smarkets_pool.session import Session

__all__ = ["Life", "LifeOwner"]

_log = PlaceLog("pool.life")


class LifeOwner(Protocol):
    """Whose life it is."""

    account: Account

    def position_to_resume(self) -> int | None:
        """The account number the next login names, or None to ask for nothing."""

    def take_over(self, session: Session, frames: list[Received], asked: int | None) -> None:
        """A session is logged in; it is the owner's from here. Must not switch greenlets."""

    def down(self, error: BaseException, decision: Decision | None) -> None:
        """An attempt failed or the connection was lost; None: no further attempt was wanted."""


class Life:
    """One account's attempts; ends with ``stop`` or when the policy gives up.

    Args:
        changed: called when the life greenlet has ended.
    """

    def __init__(
        self,
        owner: LifeOwner,
        *,
        reconnect: ReconnectPolicy,
        timeouts: TimeoutPolicy,
        runtime: Runtime,
        supervisor: Supervisor,
        governor: Governor,
        changed: Callable[[], None],
    ) -> None:
        self._account = owner.account
        self._owner = owner
        self._reconnect = reconnect
        self._timeouts = timeouts
        self._runtime = runtime
        self._supervisor = supervisor
        self._governor = governor
        self._changed = changed
        self._greenlet: gevent.Greenlet[..., Any] | None = None
        self._history = Attempts()
        self._up_since: float | None = None
        self.stopping = False
        #: How many connections were attempted; the number of the present one.
        self.attempts = 0
        self.failures = 0
        self.retry_at: float | None = None
        #: Why there will be no further attempt, or None.
        self.given_up: str | None = None
        #: The last reason for being down, a sentence.
        self.why_down = "not started"

    @property
    def connecting(self) -> bool:
        """Whether an attempt is under way."""
        return self._greenlet is not None

    def start(self) -> None:
        """Want to be connected from now on."""
        self.why_down = "connecting for the first time"
        self._queue()

    def stop(self) -> None:
        """Want to be connected no longer; an attempt under way is ended."""
        self.stopping = True
        self.retry_at = None
        self._governor.withdraw(self._owner)
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def is_up(self) -> None:
        """The member became complete: from now on the time counts that makes it stable."""
        if self._up_since is None:
            self._up_since = self._runtime.now()

    def lost(self, error: BaseException) -> None:
        """The connection is lost, or an attempt failed: decide what comes next, and tell."""
        if self.stopping:
            self.why_down = "it was stopped"
            self._owner.down(error, None)
            return
        self.why_down = str(error) or repr(error)
        if self._up_since is not None:
            if self._runtime.now() - self._up_since >= self._reconnect.stable_after:
                self._history = Attempts()
            self._up_since = None
        self._history = self._history.after(self._reconnect.classify(error))
        decision = self._reconnect.decide(error, self._history, self._runtime.random)
        self._governor.failed(self._owner, downtime=decision.trouble is Trouble.DOWNTIME)
        if decision.delay is None:
            self.given_up = decision.give_up_because
        else:
            self.retry_at = self._runtime.now() + decision.delay
        self._log(decision)
        self._owner.down(error, decision)

    # --- time (hub) ------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When the next attempt is due."""
        return self.retry_at

    def on_deadline(self, now: float) -> None:
        """Queue for the next attempt if it is due."""
        if self.retry_at is not None and now >= self.retry_at:
            self._queue()

    # --- one attempt -----------------------------------------------------------------------------

    def _queue(self) -> None:
        self.retry_at = None
        if not self.stopping:
            self._governor.ask(self._owner, self._begin)

    def _begin(self) -> None:
        if not self.stopping and self._greenlet is None:
            self._greenlet = self._supervisor.spawn(f"life of {self._account.name}", self._attempt)
            self._greenlet.link(self._ended)

    def _ended(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        # A link, because a greenlet killed before it ran executes neither its body nor a finally.
        if self._greenlet is greenlet:
            self._greenlet = None
            if not self.stopping:
                self.lost(Error("the attempt to connect was killed from outside"))
            self._changed()

    def _attempt(self) -> None:
        """Connect and log in; ends with a session handed over or the next attempt planned."""
        self.attempts += 1
        asked = self._owner.position_to_resume()
        session = self._new_session(asked)
        try:
            frames = self._log_in(session)
        except BaseException as error:  # a secret's callable may raise anything, a Timeout for one
            session.disconnect()
            if self.stopping and isinstance(error, gevent.GreenletExit):
                raise
            self.failures += 1
            self._greenlet = None
            self.lost(error)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
        else:
            self._greenlet = None
            self._governor.succeeded(self._owner)
            self._owner.take_over(session, frames, asked)

    def _new_session(self, asked: int | None) -> Session:
        settings = copy.copy(self._account.settings)
        settings.account = self._account.name
        # Per wait; the two limits of ``_log_in`` are for the whole and come first.
        settings.socket_timeout = self._timeouts.connect + self._timeouts.login
        return Session(
            settings,
            account_sequence=asked,
            timing=self._timeouts.timing(),
            clock=self._runtime.now,
            socket=self._runtime.session_socket(settings),
        )

    def _log_in(self, session: Session) -> list[Received]:
        """Both waits are bounded as a whole: a socket's own timeout starts anew with every byte."""
        limits, settings = self._timeouts, session.settings
        where = f"{settings.host}:{settings.port}"
        no_connection = ConnectTimeout(f"no connection to {where} within {limits.connect} s")
        with self._runtime.limit(limits.connect, no_connection):
            session.connect()
        no_answer = LoginTimeout(f"{where} did not answer the login within {limits.login} s")
        with self._runtime.limit(limits.login, no_answer):
            return session.log_in()

    def _log(self, decision: Decision) -> None:
        name = self._account.name
        if decision.delay is None:
            self._supervisor.log(_log, logging.ERROR, name, "given up, %s", decision.give_up_because)
        else:
            text = "down, next attempt in %.2f s: %s"
            self._supervisor.log(_log, logging.WARNING, name, text, decision.delay, self.why_down)

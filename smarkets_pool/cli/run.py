"""``smarkets-pool run``: a pool from a file, with the user's handlers, until a signal or the end of hope.

Signals: SIGTERM and Ctrl-C stop in order, a second one stops at once; SIGHUP reads the accounts again.
"""

from __future__ import annotations

import logging
import logging.handlers
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
import gevent
import gevent.event

from smarkets_pool import Account, Delivery, Pool, StopReport
from smarkets_pool.cli.handlers import Setup, find_setup, register
from smarkets_pool.cli.reload import reload_accounts
from smarkets_pool.cli.signals import Signals, ignore_hangup
from smarkets_pool.cli.watch import Figures, View, open_view
from smarkets_pool.config import PoolConfig, load, read
from smarkets_pool.dispatcher import Dispatcher
from smarkets_pool.exceptions import ConfigError, Error
from smarkets_pool.logs import PlaceLog
from smarkets_pool.session.settings import DEFAULT_HOST

__all__ = ["run"]

_log = PlaceLog("run")

LIVE = " (the vendor's live exchange)"

#: How many accounts a sentence gives reasons for.
_REASONS = 10

#: Exit statuses.
CLEAN, FAILED, UNUSABLE = 0, 1, 2


@click.command()
@click.argument("config", type=click.Path(path_type=pathlib.Path, dir_okay=False))
@click.option(
    "--handlers",
    metavar="MODULE[:OBJECT]",
    required=True,
    help="A function that takes the pool and registers handlers; OBJECT is 'setup' if not named.",
)
@click.option("--check", is_flag=True, help="Check the file and the handlers, connect to nothing.")
@click.option("--json", "how", flag_value="json", help="One JSON object per line on standard output.")
@click.option("--lines", "how", flag_value="lines", help="Plain lines, also on a terminal.")
@click.option(
    "--log-file",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    help="Write the log there too, as with -v at least.",
)
@click.option(
    "--stop-timeout",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.0),
    help="Seconds for stopping in order.",
)
def run(
    config: pathlib.Path,
    handlers: str,
    check: bool,
    how: str | None,
    log_file: pathlib.Path | None,
    stop_timeout: float,
) -> None:
    """Run the accounts of the file CONFIG with your handlers, until SIGTERM or Ctrl-C.

    The first signal stops in order: log out, let handlers finish, save positions. A second one stops at once.
    SIGHUP reads the accounts again: new ones are added, missing ones removed, changed ones connect anew.

    Exit status: 0 if everything ended in order, 1 if not (or every account was given up), 2 if the file or
    the handlers cannot be used.
    """
    ignore_hangup()
    if log_file is not None:
        _log_to(log_file)
    path = config.absolute()  # the user's code may change the process's folder
    pool, read_config, said = _made(config, handlers)
    if check:
        click.echo(f"{config}: {said}, at {_places(pool)}; nothing was connected to")
        sys.exit(CLEAN)
    with open_view(how) as view:
        view.say(f"{said} from {config}", event="configured", accounts=len(pool))
        story = _Run(read_config, path, pool, view, stop_timeout)
        with Signals(
            stop=story.ask_to_stop, stop_now=story.stop_now, reload=story.ask_to_reload, status=FAILED
        ):
            status = story.until_over()
    sys.exit(status)


def _log_to(path: pathlib.Path) -> None:
    """What happens goes into the file, even if standard error is only told of errors."""
    try:
        # Watched: whoever rotates logs puts a new file in its place.
        handler = logging.handlers.WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        said = f"the log file {str(path)!r} cannot be written: {error.strerror}"
        raise click.ClickException(said) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, package = logging.getLogger(), logging.getLogger("smarkets_pool")
    for other in root.handlers:
        other.setLevel(root.level)
    package.setLevel(min(root.level, logging.INFO))
    package.addHandler(handler)


# --- what is to run --------------------------------------------------------------------------------


def _made(path: pathlib.Path, handlers: str) -> tuple[Pool, PoolConfig, str]:
    """The pool with its handlers and words about it; ends the program with every problem there is."""
    problems: list[str] = []
    config: PoolConfig | None = None
    setup: Setup | Dispatcher | None = None
    try:
        config = read(path)
        problems += [f"{path}, {problem}" for problem in config.problems]
    except ConfigError as error:
        problems += error.problems
    try:
        setup = find_setup(handlers)
    except ConfigError as error:
        problems += [f"--handlers {handlers}: {problem}" for problem in error.problems]
    dispatcher = setup if isinstance(setup, Dispatcher) else Pool.new_dispatcher()
    names = config.names if config is not None else ()
    if config is not None and not config.problems:
        pool = Pool.from_config(config, dispatcher=dispatcher)
    else:
        # Never started. The handlers are to see the accounts' names, however broken the file is.
        pool = Pool(
            [Account(name, username=name, password="-") for name in names if name], dispatcher=dispatcher
        )
    if callable(setup):
        failure = register(setup, pool)
        if failure and names:  # without any accounts it may have failed for that alone
            problems.append(f"--handlers {handlers}: {failure}")
    problems += [f"handlers: {problem}" for problem in dispatcher.problems(names or None)]
    if problems or config is None:
        _give_up(problems)
    registered = sum(len(entry) for entry in dispatcher.handlers.values()) + len(dispatcher.global_handlers)
    return pool, config, f"{_counted(len(pool), 'account')}, {_counted(registered, 'handler')}"


def _places(pool: Pool) -> str:
    """Where the accounts would log in; the live exchange by name, for a file without ``host`` means it."""
    places = dict.fromkeys((member.account.settings.host, member.account.settings.port) for member in pool)
    said = [f"{host}:{port}{LIVE if host == DEFAULT_HOST else ''}" for host, port in places]
    return ", ".join(said[:5]) + (f" and {len(said) - 5} more" if len(said) > 5 else "")


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _give_up(problems: list[str]) -> NoReturn:
    click.echo(f"{_counted(len(problems), 'problem')}, nothing was started:", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
    sys.exit(UNUSABLE)


# --- running ---------------------------------------------------------------------------------------


class _AtOnce(BaseException):
    """A second signal: stop now. No ``Exception``, so that nothing on the way takes it for its own."""


class _Run:
    """One run: the main greenlet waits here for what signals and the pool want of it."""

    def __init__(
        self, config: PoolConfig, path: pathlib.Path, pool: Pool, view: View, stop_timeout: float
    ) -> None:
        self._config = config
        self._path = path
        self._pool = pool
        self._view = view
        self._stop_timeout = stop_timeout
        self._main = gevent.getcurrent()
        self._wake = gevent.event.Event()
        self._reload_asked = False
        self._reloading: gevent.Greenlet[..., None] | None = None
        self._stop_asked = False
        self._over = False
        for name in ("member.up", "member.down", "member.gap", "member.stalled", "member.slow_handler"):
            pool.add_handler(name, self._note)

    def until_over(self) -> int:
        """Start, wait, stop; return the exit status."""
        figures = Figures(self._pool)
        try:
            self._pool.start()
        except Error as error:
            self._tell(f"not started: {error}", event="failed")
            return UNUSABLE
        self._view.watch(figures)
        try:
            self._wait()
            return self._stop()
        except _AtOnce:
            self._pool.stop(0.0)
            self._tell("a second signal: stopped at once", event="stopped", clean=False)
            return FAILED
        finally:
            self._over = True
            if self._reloading is not None:
                # Not earlier: a handler that it waits for has the stop's time to finish, like all others.
                self._reloading.kill()
            self._view.unwatch()

    def _wait(self) -> None:
        """Until a signal asks to stop, or there is nothing left to run; serves reloads meanwhile."""
        watcher = gevent.spawn(self._watch_pool)
        try:
            while not self._stop_asked:
                self._wake.wait()
                self._wake.clear()
                if self._reloading is not None and not self._reloading.dead:
                    continue  # what is asked for meanwhile comes after it
                if self._reload_asked:
                    self._reload_asked = False
                    self._reloading = gevent.spawn(self._reload)
                    self._reloading.link(lambda _: self._wake.set())
                elif watcher.dead:
                    if self._pool.join(0):
                        return
                    watcher = gevent.spawn(self._watch_pool)  # a reload has brought new life
        finally:
            watcher.kill()

    def _watch_pool(self) -> None:
        """Ends when every account is given up, or a handler has stopped the pool."""
        self._pool.join()
        self._wake.set()

    def _stop(self) -> int:
        given_up = {member.name: member.given_up for member in self._pool if member.given_up is not None}
        if not self._stop_asked and len(given_up) == len(self._pool):
            said = "; ".join(f"{name}: {why}" for name, why in list(given_up.items())[:_REASONS])
            more = f"; and {len(given_up) - _REASONS} more" if len(given_up) > _REASONS else ""
            self._tell(f"every account is given up: {said}{more}", event="given_up", accounts=given_up)
            least = FAILED
        else:
            least = CLEAN
        self._tell(f"stopping, within {self._stop_timeout:g} s", event="stopping")
        report = self._pool.stop(self._stop_timeout)
        self._tell(_in_words(report), event="stopped", clean=report.clean, **_plain(report))
        return least if report.clean else FAILED

    def _reload(self) -> None:
        try:
            fresh = load(self._path)
        except ConfigError as error:
            self._tell("not reloaded, everything goes on as it was:", event="reload_failed")
            for problem in error.problems:
                self._tell(f"  {problem}", event="problem")
            return
        change = reload_accounts(self._pool, self._config, fresh)
        self._config = change.in_force(self._config, fresh)
        self._tell(f"reloaded: {change}", event="reloaded", **change.as_plain())
        if change.added or change.removed:
            # No reason to stop, but somebody may have given an account another name.
            for problem in self._pool.dispatcher.problems([member.name for member in self._pool]):
                self._tell(f"  handlers: {problem}", event="problem")

    # --- what signals ask for (in the hub) -------------------------------------------------------

    def ask_to_stop(self) -> None:
        """Stop in order."""
        self._stop_asked = True
        self._wake.set()

    def stop_now(self) -> None:
        """Leave whatever the main greenlet waits for; too late is nothing."""
        if not self._over:
            # From here at once, and not in the loop's next turn: by then it may be over.
            self._main.throw(_AtOnce)

    def ask_to_reload(self) -> None:
        """Read the accounts again."""
        self._reload_asked = True
        self._wake.set()

    # --- what is told ----------------------------------------------------------------------------

    def _note(self, delivery: Delivery[Any]) -> None:
        words: Callable[[Any], str] = _WORDS[delivery.name]
        message = delivery.message
        data = {name: getattr(message, name) for name in message.__slots__ if name != "error"}
        text = words(message)
        if delivery.name != "member.down":  # that has a line in the log already
            _log.info(delivery.account, "%s", text)
        account = delivery.account
        self._view.say(f"{account}: {text}", event=delivery.name, account=account, **data)

    def _tell(self, text: str, **data: Any) -> None:
        """What happens to the run as a whole: shown, and in the log."""
        _log.info(None, "%s", text)
        self._view.say(text, **data)


_WORDS: dict[str, Callable[[Any], str]] = {
    "member.up": lambda message: f"up, after {message.cause}",
    "member.down": lambda message: (
        f"down, {message.reason}"
        + (f"; next attempt in {message.retry_in:.1f} s" if message.retry_in is not None else "; given up")
    ),
    "member.gap": lambda message: (
        f"{message.kind} numbers {message.first} to {message.last} are missing, "
        + ("asked for" if message.recoverable else "and cannot be had")
    ),
    "member.stalled": lambda message: f"silent for {message.silence:.1f} s, asked with a ping",
    "member.slow_handler": lambda message: f"{message.frames} deliveries wait for handler {message.handler}",
}


def _in_words(report: StopReport) -> str:
    left = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("cut without the exchange's confirmation", report.cut),
            ("not everything delivered", sorted(report.undelivered)),
            ("killed", report.killed),
        )
        if names
    ]
    how = "; ".join(left) if left else "in order"
    return f"stopped in {report.took:.2f} s, {len(report.logged_out)} logged out, {how}"


def _plain(report: StopReport) -> dict[str, Any]:
    return {name: getattr(report, name) for name in report.__slots__}

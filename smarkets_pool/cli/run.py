"""``smarkets-pool run``: a pool from a file, with the user's handlers, until a signal or the end of hope.

Signals: SIGTERM and Ctrl-C stop in order, a second one stops at once; SIGHUP reads the accounts again.
"""

from __future__ import annotations

import logging
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import click
import gevent
import gevent.event

from smarkets_pool import Delivery, Pool, StopReport
from smarkets_pool.cli.handlers import Setup, find_setup
from smarkets_pool.cli.reload import reload_accounts
from smarkets_pool.cli.watch import Figures, View, open_view
from smarkets_pool.config import PoolConfig, load, read
from smarkets_pool.dispatcher import Dispatcher
from smarkets_pool.exceptions import ConfigError, Error, InvalidCallbackError

__all__ = ["run"]

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
    if log_file is not None:
        _log_to(log_file)
    pool, read_config, said = _made(config, handlers)
    if check:
        click.echo(f"{config}: {said}; nothing was connected to")
        sys.exit(CLEAN)
    with open_view(how) as view:
        view.say(f"{said} from {config}", event="configured", accounts=len(pool))
        status = _Run(read_config, pool, view, stop_timeout).until_over()
    sys.exit(status)


def _log_to(path: pathlib.Path) -> None:
    """What happens goes into the file, even if standard error is only told of errors."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
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
    except (ConfigError, InvalidCallbackError) as error:
        problems += [f"--handlers {handlers}: {problem}" for problem in error.problems]
    except Exception:  # noqa: BLE001 - the user's module: its own traceback says most
        _give_up([*problems, f"--handlers {handlers}: importing it failed:\n{traceback.format_exc()}"])
    dispatcher = setup if isinstance(setup, Dispatcher) else Pool.new_dispatcher()
    usable = config if config is not None and not config.problems else None
    pool = Pool.from_config(usable, dispatcher=dispatcher) if usable else Pool(dispatcher=dispatcher)
    if callable(setup):
        problems += _register(setup, pool, handlers, certain=usable is not None)
    names = config.names if config is not None else frozenset(_accounts_meant(dispatcher))
    problems += [f"handlers: {problem}" for problem in dispatcher.problems(names)]
    if problems or config is None:
        _give_up(problems)
    registered = sum(len(entry) for entry in dispatcher.handlers.values()) + len(dispatcher.global_handlers)
    return pool, config, f"{len(pool)} accounts, {registered} handlers"


def _register(setup: Setup, pool: Pool, handlers: str, *, certain: bool) -> list[str]:
    """Have the user's function register; every bad registration is left to the dispatcher to tell."""
    try:
        with pool.dispatcher.collecting():
            setup(pool)
    except InvalidCallbackError as error:
        return [f"handlers: {problem}" for problem in error.problems]
    except Exception:  # noqa: BLE001 - the user's function: its own traceback says most
        # Without the accounts of a broken file it may have failed for that alone.
        return [f"--handlers {handlers}: it failed:\n{traceback.format_exc()}"] if certain else []
    return []


def _accounts_meant(dispatcher: Dispatcher) -> set[str]:
    """Every account a filter names: nothing is known against them when there is no file."""
    lists = (*dispatcher.handlers.values(), dispatcher.global_handlers)
    return {name for handlers in lists for route in handlers.routes for name in route.accounts}


def _give_up(problems: list[str]) -> NoReturn:
    count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
    click.echo(f"{count}, nothing was started:", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
    sys.exit(UNUSABLE)


# --- running ---------------------------------------------------------------------------------------


class _AtOnce(BaseException):
    """A second signal: stop now. No ``Exception``, so that nothing on the way takes it for its own."""


class _Run:
    """One run: the main greenlet waits here for what signals and the pool want of it."""

    def __init__(self, config: PoolConfig, pool: Pool, view: View, stop_timeout: float) -> None:
        self._config = config
        self._pool = pool
        self._view = view
        self._stop_timeout = stop_timeout
        self._main = gevent.getcurrent()
        self._wake = gevent.event.Event()
        self._reload_asked = False
        self._stop_asked = False
        for name in ("member.up", "member.down", "member.gap", "member.stalled", "member.slow_handler"):
            pool.add_handler(name, self._note)

    def until_over(self) -> int:
        """Start, wait, stop; return the exit status."""
        signals = [gevent.signal_handler(number, self._on_stop) for number in (signal.SIGTERM, signal.SIGINT)]
        signals.append(gevent.signal_handler(signal.SIGHUP, self._on_reload))
        try:
            return self._run()
        finally:
            for handler in signals:
                handler.cancel()

    def _run(self) -> int:
        figures = Figures(self._pool)
        try:
            self._pool.start()
        except Error as error:
            self._view.say(f"not started: {error}", event="failed")
            return UNUSABLE
        self._view.watch(figures)
        watcher = gevent.spawn(self._watch_pool)
        try:
            while not self._stop_asked and not watcher.dead:
                self._wake.wait()
                self._wake.clear()
                if self._reload_asked:
                    self._reload_asked = False
                    self._reload()
            given_up = not self._stop_asked
            return self._stop() or (FAILED if given_up else CLEAN)
        except _AtOnce:
            self._view.say("a second signal: stopped at once", event="stopped", clean=False)
            return FAILED
        finally:
            watcher.kill()
            self._view.unwatch()

    def _watch_pool(self) -> None:
        """Ends when every account is given up: then there is nothing left to run."""
        self._pool.join()
        self._wake.set()

    def _stop(self) -> int:
        self._view.say(f"stopping, within {self._stop_timeout:g} s", event="stopping")
        report = self._pool.stop(self._stop_timeout)
        self._view.say(_in_words(report), event="stopped", clean=report.clean, **_plain(report))
        return CLEAN if report.clean else FAILED

    def _reload(self) -> None:
        try:
            fresh = load(self._config.path)
        except ConfigError as error:
            self._view.say("not reloaded, everything goes on as it was:", event="reload_failed")
            for problem in error.problems:
                self._view.say(f"  {problem}", event="problem")
            return
        change = reload_accounts(self._pool, self._config, fresh)
        self._config = fresh
        self._view.say(f"reloaded: {change}", event="reloaded", **change.as_plain())

    # --- signals (each in a greenlet of its own) -------------------------------------------------

    def _on_stop(self) -> None:
        if self._stop_asked:
            gevent.kill(self._main, _AtOnce)
            return
        self._stop_asked = True
        self._wake.set()

    def _on_reload(self) -> None:
        self._reload_asked = True
        self._wake.set()

    # --- what is told ----------------------------------------------------------------------------

    def _note(self, delivery: Delivery[Any]) -> None:
        words: Callable[[Any], str] = _WORDS[delivery.name]
        message = delivery.message
        data = {name: getattr(message, name) for name in message.__slots__ if name != "error"}
        text = f"{delivery.account}: {words(message)}"
        self._view.say(text, event=delivery.name, account=delivery.account, **data)


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

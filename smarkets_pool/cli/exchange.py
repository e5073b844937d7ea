"""``smarkets-pool exchange``: the embedded exchange as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import gevent
import gevent.event
from gevent.fileobject import FileObject

from smarkets_pool.cli.assignments import assigned
from smarkets_pool.cli.choices import list_faults, list_settings, read_faults
from smarkets_pool.exceptions import ConfigError, Error, UsageError
from smarkets_pool.exchange import EmbeddedExchange, ExchangeSettings
from smarkets_pool.exchange.activity import ActivitySettings
from smarkets_pool.exchange.control import Control
from smarkets_pool.exchange.faults import ANYBODY, parse_fault
from smarkets_pool.exchange.flood import Flood

if TYPE_CHECKING:
    from smarkets_pool.exchange.control.http import ControlServer

__all__ = ["exchange"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=3801, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--no-tls", is_flag=True, help="Plain TCP instead of TLS with a throw-away CA.")
@click.option(
    "--accounts", default=4, show_default=True, type=click.IntRange(1), help="How many accounts there are."
)
@click.option("--markets", default=3, show_default=True, type=click.IntRange(1), help="How many, all open.")
@click.option("--contracts", default=2, show_default=True, type=click.IntRange(1), help="Per market.")
@click.option(
    "--heartbeat", default=5.0, show_default=True, type=float, help="Seconds of silence before a heartbeat."
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    help="Written, mode 0600, once it listens, and removed at the end: where, and everybody's credentials, "
    "as JSON. One that a killed exchange left is removed at the start.",
)
@click.option(
    "--config-file",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    help="The same as a configuration for the command 'run'. A file that is there already is left alone, "
    "and what you wrote into it meanwhile stays.",
)
@click.option(
    "--state",
    type=click.Path(path_type=pathlib.Path, dir_okay=False),
    help="Keep books, credentials and CA in this file, for the next exchange that is given it, also after a "
    "crash. Made if it is not there; accounts, markets and settings have to be the same each time.",
)
@click.option(
    "--depth",
    type=click.IntRange(0),
    help="Price levels per side that quotes show, 0 all of them; short for --setting visible_depth=N",
)
@click.option(
    "--setting",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="How the exchange behaves where its documentation leaves it open, its limits and its money; again "
    "for each. --list-settings shows all.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=int,
    help="What happens by chance is the same for the same one.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    callback=read_faults,
    metavar="'NAME KEY=VALUE ...'",
    help="Something that goes wrong on purpose, at once or after=SECONDS; again for each. As in 'drop "
    "account=trader-1@example.com frames=3 after=10'. --list-faults shows all.",
)
@click.option(
    "--activity", is_flag=True, help="House traders: markets move, go live, halt, settle, and new ones open."
)
@click.option(
    "--rate",
    "rates",
    multiple=True,
    metavar="NAME=VALUE",
    help="How lively, as in quotes=10 or live_seconds=60; again for each. It means --activity, and "
    "--list-settings shows all.",
)
@click.option(
    "--flood",
    is_flag=False,
    flag_value="",
    metavar="['NAME=SHARE ...']",
    help="Answer every login with endless frames, as fast as they are read: for measuring who reads them, "
    "and nothing else. As in 'contract_quotes=14 order_executed=1 heartbeat=1', which is the mix of "
    "--flood alone; frames=, rate=, start_at= and pause= can be in it.",
)
@click.option(
    "--control",
    "control_port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Take commands over HTTP on this loopback port, 0 a free one. --ready-file tells its address and "
    "token, which 'smarkets-pool control' uses.",
)
@click.option(
    "--list-settings",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=list_settings,
    help="Show every --setting and --rate, and exit.",
)
@click.option(
    "--list-faults",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=list_faults,
    help="Show every --fault, and exit.",
)
@click.option(
    "--control-stdin", is_flag=True, hidden=True, help="Take commands on standard input, as JSON lines."
)
def exchange(
    host: str,
    port: int,
    no_tls: bool,
    accounts: int,
    markets: int,
    contracts: int,
    heartbeat: float,
    ready_file: pathlib.Path | None,
    config_file: pathlib.Path | None,
    state: pathlib.Path | None,
    depth: int | None,
    settings: tuple[str, ...],
    seed: int,
    faults: list[tuple[str, float]],
    activity: bool,
    rates: tuple[str, ...],
    flood: str | None,
    control_port: int | None,
    control_stdin: bool,
) -> None:
    """Serve the embedded exchange until SIGTERM or Ctrl-C.

    It imitates what is publicly known about the real exchange; nothing here ever speaks to that one.
    """
    if control_port is not None and ready_file is None:
        raise click.UsageError("--control needs --ready-file: its token is told nowhere else")
    if flood is not None and (activity or rates):
        raise click.UsageError("--flood and --activity are two different things: nobody trades in a flood")
    over = gevent.event.Event()
    written: dict[pathlib.Path, str] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, over.set)
    try:
        if config_file is not None and config_file.exists():
            raise _is_there_already(config_file)
        if ready_file is not None:
            _remove_stale(ready_file)
        served = EmbeddedExchange(
            accounts=accounts,
            markets=markets,
            contracts=contracts,
            tls=not no_tls,
            host=host,
            port=port,
            settings=_settings(settings, heartbeat_after=heartbeat, visible_depth=depth),
            seed=seed,
            activity=_activity(rates) if activity or rates else None,
            flood=Flood.parse(flood) if flood is not None else None,
            state=state,
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(served)
            where = served.description()
            if control_port is not None:
                where["control"] = stack.enter_context(_control_server(served, control_port)).description()
            for text, after in faults:
                _ask_for(served, text, after)
            for path, text in ((ready_file, json.dumps(where, indent=2)), (config_file, _as_toml(where))):
                if path is not None:
                    _write_private(path, text)
                    written[path] = text
            click.echo(f"listening on {served.host}:{served.port} ({'plain' if no_tls else 'TLS'})", err=True)
            if not written and not control_stdin:
                made_up = "are in the state file" if state is not None else "are made up anew"
                click.echo(f"passwords {made_up}: --ready-file or --config-file tells them", err=True)
            if control_stdin:
                gevent.spawn(_serve_commands, Control(served), over)
            over.wait()
    except Error as error:
        problems = error.problems if isinstance(error, ConfigError) else (str(error),)
        raise click.ClickException("\n  ".join(problems)) from error
    finally:
        for path, text in written.items():
            _remove_unchanged(path, text)


def _settings(texts: Sequence[str], **short: Any) -> ExchangeSettings:
    """What ``--setting`` says, over the options that are short for one."""
    given = {name: value for name, value in short.items() if value is not None}
    return ExchangeSettings(**{**given, **assigned(ExchangeSettings, texts, "--setting")})


def _activity(texts: Sequence[str]) -> ActivitySettings:
    return ActivitySettings(**assigned(ActivitySettings, texts, "--rate"))


def _control_server(served: EmbeddedExchange, port: int) -> ControlServer:
    try:
        # Here, so that who does not ask for it needs no Flask.
        from smarkets_pool.exchange.control.http import ControlServer
    except ModuleNotFoundError as error:
        raise ConfigError(str(error)) from error
    return ControlServer(Control(served), port=port)


def _ask_for(served: EmbeddedExchange, text: str, after: float) -> None:
    if not after:
        served.faults.apply(text)
        return
    account = parse_fault(text).values.get("account")
    if account not in (None, ANYBODY, *(login.username for login in served.logins)):
        raise UsageError(f"--fault {text!r}: no account here has the user name {account!r}")
    gevent.spawn_later(after, served.faults.apply, text)


def _as_toml(where: dict[str, Any]) -> str:
    """A configuration for ``run``; JSON's texts and numbers are TOML's too."""
    lines = ["[defaults]", f"host = {json.dumps(where['host'])}", f"port = {where['port']}"]
    if where["tls"]:
        lines.append(f"ca_file = {json.dumps(where['ca_file'])}")
    else:
        lines.append("ssl = false")
    for number, login in enumerate(where["accounts"], 1):
        lines += ["", f"[accounts.account-{number}]"]
        lines += [f"{key} = {json.dumps(login[key])}" for key in ("username", "password")]
    return "\n".join(lines) + "\n"


def _write_private(path: pathlib.Path, text: str) -> None:
    """Whole or not at all, and readable by its owner only: it holds passwords."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"the file {str(path)!r} cannot be written: {error.strerror}") from error


def _remove_stale(path: pathlib.Path) -> None:
    """Whoever waits for the ready file must not find that of an exchange that was killed.

    An empty file holds nothing to lose; any other that is no ready file is somebody's own.
    """
    try:
        text = path.read_bytes()
    except OSError:
        # There is none; or writing it will say what is wrong.
        return
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        raise _is_there_already(path) from None
    if text and not (isinstance(found, dict) and {"host", "port", "accounts"} <= found.keys()):
        raise _is_there_already(path)
    path.unlink(missing_ok=True)


def _is_there_already(path: pathlib.Path) -> ConfigError:
    return ConfigError(f"the file {str(path)!r} is there already: remove it, or name another")


def _remove_unchanged(path: pathlib.Path, text: str) -> None:
    """Passwords that are good for nothing any more go; what somebody has written stays."""
    with contextlib.suppress(OSError):
        if path.read_bytes() == text.encode():
            path.unlink()


def _serve_commands(control: Control, over: gevent.event.Event) -> None:
    """A line in, a line out; the end of the input (a parent that died) ends the exchange."""
    lines = FileObject(sys.stdin.fileno(), "rb", close=False)
    try:
        for line in lines:
            answer = control.execute_line(line)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        over.set()

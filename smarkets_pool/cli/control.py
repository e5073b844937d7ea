"""``smarkets-pool control``: reads a running exchange, and has something go wrong or change in it."""

from __future__ import annotations

import dataclasses
import http.client
import json
import pathlib
import urllib.parse
from collections.abc import Mapping
from typing import Any

import click

from smarkets_pool.exceptions import Error

__all__ = ["control"]

_TITLES = {
    "reading": "Readings: tell and change nothing",
    "fault": "Faults: go wrong on purpose",
    "verb": "Verbs: what the exchange's staff does",
    "session": "Sessions, and the rest",
}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("ready_file", type=click.Path(path_type=pathlib.Path, dir_okay=False))
@click.argument("command", nargs=-1)
@click.option(
    "--timeout", default=30.0, show_default=True, type=click.FloatRange(0.1), help="Seconds for an answer."
)
def control(ready_file: pathlib.Path, command: tuple[str, ...], timeout: float) -> None:
    """Ask a running exchange something, or have something happen in it.

    READY_FILE is what 'smarkets-pool exchange --control PORT --ready-file READY_FILE' wrote. COMMAND is a
    name and its arguments as KEY=VALUE; without one, everything that can be asked is listed. The answer is
    printed as JSON.

    \b
    smarkets-pool control ready.json balances account=trader-1@example.com
    smarkets-pool control ready.json books market_id=100000 depth=3
    smarkets-pool control ready.json cut account=trader-1@example.com away=5
    smarkets-pool control ready.json drop account=trader-1@example.com frames=3 probability=0.5
    smarkets-pool control ready.json set_market_state market_id=100000 state=LIVE
    smarkets-pool control ready.json settle market_id=100000 winners=[200000]
    """
    try:
        place = _place(ready_file)
        if not command:
            _show_commands(_ask(place, "GET", None, timeout))
        else:
            value = _ask(place, "POST", {"command": " ".join(command)}, timeout)
            click.echo(json.dumps(value, indent=2))
    except Error as error:
        raise click.ClickException(str(error)) from error


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a control is, and what opens it."""

    host: str
    port: int
    token: str = dataclasses.field(repr=False)


def _place(path: pathlib.Path) -> _Place:
    try:
        described = json.loads(path.read_text())
        place = described.get("control") if isinstance(described, dict) else None
        if not isinstance(place, dict) or not {"url", "token"} <= place.keys():
            raise Error(f"the exchange of {str(path)!r} has no control: start it with --control PORT")
        where = urllib.parse.urlsplit(str(place["url"]))
        return _Place(where.hostname or "", where.port or 80, str(place["token"]))
    except OSError as error:
        raise Error(
            f"the ready file {str(path)!r} cannot be read ({error.strerror}): does the exchange run, "
            "and was it given --ready-file?"
        ) from error
    except ValueError as error:
        # Not what stands there: it holds passwords.
        raise Error(f"the file {str(path)!r} is no ready file of an exchange") from error


def _ask(place: _Place, method: str, body: Mapping[str, Any] | None, timeout: float) -> Any:
    connection = http.client.HTTPConnection(place.host, place.port, timeout=timeout)
    try:
        connection.request(
            method,
            "/",
            body=None if body is None else json.dumps(body),
            headers={
                "Authorization": f"Bearer {place.token}".encode(),
                "Content-Type": "application/json",
            },
        )
        answer = json.loads(connection.getresponse().read())
        if not isinstance(answer, dict) or len(answer.keys() & {"value", "error"}) != 1:
            raise ValueError("another program's answer")
    except TimeoutError as error:
        raise Error(f"the exchange gave no answer within {timeout:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Error(
            f"the control at {place.host}:{place.port} cannot be reached ({type(error).__name__}): "
            "does the exchange still run?"
        ) from error
    finally:
        connection.close()
    if "error" in answer:
        raise Error(answer["error"])
    return answer["value"]


def _show_commands(commands: list[dict[str, str]]) -> None:
    for kind, title in _TITLES.items():
        click.secho(title, bold=True)
        for command in commands:
            if command["kind"] == kind:
                click.echo(f"  {command['usage']}")
                click.echo(f"      {command['text']}")
        click.echo()

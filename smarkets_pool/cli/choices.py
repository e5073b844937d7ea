"""Choices of ``smarkets-pool exchange`` with a language of their own: faults, and lists of what there is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from smarkets_pool.cli.assignments import described
from smarkets_pool.exceptions import UsageError
from smarkets_pool.exchange import ExchangeSettings
from smarkets_pool.exchange.activity import ActivitySettings
from smarkets_pool.exchange.control import fault_usage
from smarkets_pool.exchange.faults import FAULTS, parse_fault

__all__ = ["list_faults", "list_settings", "read_faults"]

_YEAR = 366 * 86_400.0
_AFTER = re.compile(r"(?:^|\s)after=(\S+)")


def read_faults(
    context: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> list[tuple[str, float]]:
    """Faults in writing, checked, each with the seconds after which it is asked for."""
    try:
        return [_read_fault(text) for text in texts]
    except UsageError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _read_fault(text: str) -> tuple[str, float]:
    """``drop account=ann after=5`` -> ``("drop account=ann", 5.0)``."""
    found = _AFTER.findall(text)
    fault = _AFTER.sub("", text)
    parse_fault(fault)
    try:
        after = float(found[0]) if found else 0.0
    except ValueError:
        after = -1.0
    if len(found) > 1 or not 0.0 <= after <= _YEAR:
        raise UsageError(f"{text!r}: after is a number of seconds from 0, once")
    return fault, after


def list_settings(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Show every setting of the exchange and of its house traders, and exit."""
    if not asked or context.resilient_parsing:
        return
    for title, settings in (("--setting", ExchangeSettings), ("--rate", ActivitySettings)):
        click.secho(f"{title} NAME=VALUE, with its default:", bold=True)
        _show(described(settings))
    context.exit()


def list_faults(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
    """Show every fault with its parameters, and exit."""
    if not asked or context.resilient_parsing:
        return
    for kind in FAULTS.values():
        click.secho(fault_usage(kind), bold=True)
        click.echo(f"  {kind.text}")
        _show([(f"    {each.name}", each.text) for each in kind.parameters])
    context.exit()


def _show(rows: Sequence[tuple[str, str]]) -> None:
    formatter = click.HelpFormatter(width=100)
    if rows:
        formatter.write_dl(rows)
    click.echo(formatter.getvalue(), nl=False)

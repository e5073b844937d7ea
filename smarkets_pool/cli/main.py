"""The commands, gathered."""

from __future__ import annotations

import importlib
import logging
from typing import cast

import click

from smarkets_pool import __version__

__all__ = ["cli"]

#: In ``smarkets_pool.cli`` each has a module of its name.
_NAMES = ("control", "demo", "exchange", "run")


class _Commands(click.Group):
    """Imports a command when it is asked for: ``control`` needs no exchange, and no demo."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(_NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, or None."""
        if cmd_name not in _NAMES:
            return None
        home = importlib.import_module(f"smarkets_pool.cli.{cmd_name}")
        return cast("click.Command", getattr(home, cmd_name))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="smarkets-pool")
@click.option("-v", "--verbose", count=True, help="Log more than errors: -v what happens, -vv every frame.")
def cli(verbose: int) -> None:
    """Many Smarkets streaming-API accounts in one process, and an exchange to try them on."""
    levels = {0: logging.ERROR, 1: logging.INFO}
    logging.basicConfig(
        level=levels.get(verbose, logging.DEBUG), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )

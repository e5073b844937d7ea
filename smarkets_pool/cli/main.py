"""The commands, gathered."""

from __future__ import annotations

import logging

import click

from smarkets_pool import __version__
from smarkets_pool.cli.control import control
from smarkets_pool.cli.demo import demo
from smarkets_pool.cli.exchange import exchange
from smarkets_pool.cli.run import run

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="smarkets-pool")
@click.option("-v", "--verbose", count=True, help="Log more than errors: -v what happens, -vv every frame.")
def cli(verbose: int) -> None:
    """Many Smarkets streaming-API accounts in one process, and an exchange to try them on."""
    levels = {0: logging.ERROR, 1: logging.INFO}
    logging.basicConfig(
        level=levels.get(verbose, logging.DEBUG), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


cli.add_command(control)
cli.add_command(demo)
cli.add_command(exchange)
cli.add_command(run)

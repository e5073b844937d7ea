"""``PlaceLog``: the log of one place of the code, with the account on every record.

Everything here logs through one of these. A record has the attribute ``account`` (our name of the account
in a pool, the login's name for a ``Session`` alone, empty where it is about no account), and its text begins
with the same, so that a program with the plainest configuration sees it too. Loggers are named
``smarkets_pool.<place>``; docs/logging.md lists them.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

__all__ = ["PlaceLog"]


class PlaceLog:
    """Writes records of the logger ``smarkets_pool.<place>``."""

    __slots__ = ("logger",)

    def __init__(self, place: str) -> None:
        self.logger = logging.getLogger(f"smarkets_pool.{place}" if place else "smarkets_pool")

    def __repr__(self) -> str:
        return f"<PlaceLog {self.logger.name}>"

    @property
    def debugging(self) -> bool:
        """Whether DEBUG records are wanted; callable from the hub.

        ``Logger.isEnabledFor`` may wait for logging's lock, which a hub callback must not do.
        """
        logger = self.logger
        return not logger.disabled and logger.getEffectiveLevel() <= logging.DEBUG > logger.manager.disable

    def debug(self, account: str | None, text: str, *args: Any) -> None:
        """A record for whoever looks for a fault."""
        self.log(logging.DEBUG, account, text, *args, above=1)

    def info(self, account: str | None, text: str, *args: Any) -> None:
        """A record of what happens."""
        self.log(logging.INFO, account, text, *args, above=1)

    def warning(self, account: str | None, text: str, *args: Any) -> None:
        """A record of what should not be, and is dealt with."""
        self.log(logging.WARNING, account, text, *args, above=1)

    def exception(self, account: str | None, text: str, *args: Any) -> None:
        """An ERROR record with the traceback of the error being handled."""
        self.log(logging.ERROR, account, text, *args, above=1, exc_info=True)

    def log(
        self,
        level: int,
        account: str | None,
        text: str,
        *args: Any,
        above: int = 0,
        exc_info: bool = False,
    ) -> None:
        """A record of any level; ``above`` is how many callers up its line number is taken.

        It never raises: what a program's handlers and filters do wrong is printed, as logging itself does
        it, and costs no session.
        """
        if account:
            text, args = f"account %s: {text}", (account, *args)
        extra = {"account": account or ""}
        try:
            self.logger.log(level, text, *args, extra=extra, exc_info=exc_info, stacklevel=2 + above)
        except Exception:  # noqa: BLE001 - see the docstring
            if logging.raiseExceptions and sys.stderr is not None:
                traceback.print_exc()

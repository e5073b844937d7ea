"""``Control``: what may be asked of a running exchange from outside, as plain data.

A command is a mapping with ``do`` and its arguments, an answer a mapping with ``ok``. How they travel is
the caller's matter: the command line carries them as lines of JSON over a child's standard streams.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from smarkets_pool.exceptions import Error, UsageError
from smarkets_pool.exchange.embedded import EmbeddedExchange

__all__ = ["Control"]


class Control:
    """Carries out commands on one exchange; none of them raises."""

    def __init__(self, exchange: EmbeddedExchange) -> None:
        self._exchange = exchange
        self._commands: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "cut": self._cut,
            "drop": self._drop,
            "skip": self._skip,
            "admit": self._admit,
            "truth": self._truth,
        }

    def execute_line(self, line: bytes) -> dict[str, Any]:
        """The same for a command as a line of JSON."""
        try:
            command = json.loads(line)
        except ValueError as error:
            return {"ok": False, "error": f"the command is no JSON: {error}"}
        return self.execute(command)

    def execute(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The answer: ``{"ok": true, "value": ...}`` or ``{"ok": false, "error": sentence}``."""
        try:
            name = command.get("do")
            action = self._commands.get(str(name))
            if action is None:
                raise UsageError(f"there is no command {name!r}; there are {', '.join(self._commands)}")
            return {"ok": True, "value": action(command)}
        except KeyError as error:
            return {"ok": False, "error": f"the command lacks {error}, or that is not known here"}
        except (TypeError, ValueError, AttributeError) as error:
            return {"ok": False, "error": f"the command cannot be read: {error}"}
        except Error as error:
            return {"ok": False, "error": str(error)}

    def _cut(self, command: Mapping[str, Any]) -> int:
        return self._exchange.cut(
            command["account"], inside=bool(command.get("inside")), away=command.get("away")
        )

    def _drop(self, command: Mapping[str, Any]) -> None:
        self._exchange.faults.drop(command["account"], int(command.get("frames", 1)))

    def _skip(self, command: Mapping[str, Any]) -> None:
        self._exchange.faults.skip(command["account"], int(command.get("numbers", 1)))

    def _admit(self, command: Mapping[str, Any]) -> None:
        self._exchange.faults.admit_login(command["account"])

    def _truth(self, command: Mapping[str, Any]) -> dict[str, Any]:
        return self._exchange.truth.as_plain()

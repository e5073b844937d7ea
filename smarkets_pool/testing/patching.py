"""Monkey-patching for the pytest plugin, or a clear word when it is too late for it."""

from __future__ import annotations

import os
import sys

import pytest
from gevent import monkey

__all__ = ["patch_process"]

#: Modules named in one sentence.
_NAMED = 5


def patch_process() -> None:
    """Patch everything; a process that is patched already stays as it is.

    Raises:
        pytest.UsageError: ``ssl`` was imported before: whoever did so may have kept its classes.
    """
    ssl = sys.modules.get("ssl")
    if ssl is not None and not monkey.is_module_patched("ssl"):
        holders = sorted(
            name
            for name, module in list(sys.modules.items())
            if getattr(module, "ssl", None) is ssl and not name.startswith("gevent")
        )
        by = f" (it is used by {', '.join(holders[:_NAMED])})" if holders else ""
        raise pytest.UsageError(
            "smarkets_pool.testing.plugin comes too late to monkey-patch this process: ssl was imported "
            f"before{by}. Load it before all other plugins, with `-p smarkets_pool.testing.plugin` in "
            "addopts of the pytest configuration, or call gevent.monkey.patch_all() where the process begins"
        )
    # A worker of pytest-xdist has had threads since before pytest began, and waits for them: those stay real.
    threads = "PYTEST_XDIST_WORKER" not in os.environ
    monkey.patch_all(thread=threads, queue=threads)

"""What ``demo`` and ``run`` show while they work: a live table, plain lines, or JSON lines."""

from smarkets_pool.cli.watch.choice import open_view
from smarkets_pool.cli.watch.figures import Figures, Row
from smarkets_pool.cli.watch.output import Output
from smarkets_pool.cli.watch.views import View

__all__ = ["Figures", "Output", "Row", "View", "open_view"]

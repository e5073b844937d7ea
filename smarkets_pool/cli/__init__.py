"""The command line: ``demo`` and ``exchange``."""

"""``python -m smarkets_pool`` and the ``smarkets-pool`` command: patch first, then everything else."""

import sys


def main() -> None:
    """Run the command line."""
    from gevent import monkey

    monkey.patch_all()
    try:
        from smarkets_pool.cli.main import cli
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("smarkets_pool"):
            raise
        sys.exit(
            f"the command line needs {error.name}, which is not installed: "
            "pip install '/path/to/smarkets_pool[cli,exchange]'"
        )
    cli(prog_name="smarkets-pool")


if __name__ == "__main__":
    main()

"""The `flock` command. It needs the extra `flock[cli]`; importing this package does not."""

from __future__ import annotations

import sys

_EXTRA = {"click", "rich", "shellingham", "typer"}


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        from flock.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        sys.exit(
            f"The flock command needs {error.name!r}, which is not installed. "
            "Install it with: pip install 'flock[cli]'"
        )
    app()

"""`flock version`: which Flock this is."""

from __future__ import annotations

import platform
from importlib import metadata

import typer


def version() -> None:
    """Show the version of Flock, and of the Python that runs it."""
    typer.echo(f"flock {metadata.version('flock')} (Python {platform.python_version()})")


def print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    """Show the version and end, if `--version` was given."""
    if wanted:
        version()
        raise typer.Exit

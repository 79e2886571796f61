"""`python -m flock.cli` is the `flock` command."""

from flock.cli import main

main()

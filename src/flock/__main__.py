"""`python -m flock`: the command line."""

from __future__ import annotations

from flock.cli import main

if __name__ == "__main__":
    main()

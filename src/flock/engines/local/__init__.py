"""Language models inside the process, on llama.cpp. Needs the extra `flock[local]`."""

from __future__ import annotations

"""What a docstring in Google style says to a model.

The style: https://google.github.io/styleguide/pyguide.html#38-comments-and-docstrings.
"""

from __future__ import annotations

import inspect
import re
from typing import Final

_SECTION: Final = re.compile(
    r"^(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Returns?|Yields?|Raises|"
    r"Examples?|Notes?|Attributes|Warnings?|Warns|See Also|References|Todo):\s*$"
)
_ARGUMENTS: Final = {
    "Args", "Arguments", "Parameters", "Params", "Keyword Args", "Keyword Arguments",
}  # fmt: skip
_ENTRY: Final = re.compile(r"^\*{0,2}(?P<name>\w+)\s*(?:\([^)]*\))?\s*:\s*(?P<text>.*)$")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """Return what a docstring says before its first section, and about each argument.

    Args:
        text: The docstring; None for none.
    """
    description: list[str] = []
    arguments: dict[str, list[str]] = {}
    section: str | None = None
    indent: int | None = None
    current: list[str] = []
    for line in inspect.cleandoc(text or "").splitlines():
        heading = _SECTION.match(line)
        if heading is not None:
            section, indent = heading.group(1), None
        elif section is None:
            description.append(line)
        elif section in _ARGUMENTS and line.strip():
            depth = len(line) - len(line.lstrip())
            if depth == 0:  # text after the section
                section = ""
                continue
            indent = depth if indent is None else indent
            entry = _ENTRY.match(line.strip()) if depth <= indent else None
            if entry is not None:
                current = arguments.setdefault(entry.group("name"), [])
                current.append(entry.group("text"))
            else:
                current.append(line.strip())
    about = {name: " ".join(filter(None, lines)) for name, lines in arguments.items()}
    return "\n".join(description).strip(), about

"""Tools of the user's own making."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flock.tools.guarded import GuardedTool, Prepared, checked_name

if TYPE_CHECKING:
    from flock.core.context import Context
    from flock.core.tool import Tool


class GivenTool(GuardedTool):
    """An object that is a `Tool`, approved, bounded and told to observers like all others.

    Args:
        tool: The object. It checks its arguments, and gets them as a dict.
    """

    def __init__(self, tool: Tool) -> None:
        self.name = checked_name(tool.name)
        self.description = tool.description
        self.parameters = tool.parameters
        self._tool = tool

    def _prepare(self, given: dict[str, Any], ctx: Context | None) -> Prepared:
        return Prepared(lambda: self._tool.call(given, ctx), given)


def is_tool(given: object) -> bool:
    """Return whether an object has what a `Tool` has."""
    has_all = all(hasattr(given, name) for name in ("name", "description", "parameters"))
    return has_all and callable(getattr(given, "call", None)) and not isinstance(given, type)

"""What lies in groups of exceptions."""

from __future__ import annotations

from typing import cast


def root_cause(error: BaseException) -> BaseException:
    """Return the first exception of a group, of groups in groups, or the exception itself."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error

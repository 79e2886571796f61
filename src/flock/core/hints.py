"""The annotations of a user's function, with names written as text found where they live."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

_LOCALS = ".<locals>"


def innermost(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - whatever was decorated
    """Return what decorators that say so (`functools.wraps`) and partials were put around."""
    return without_partials(inspect.unwrap(without_partials(function)))


def without_partials(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """Return what partials were made of."""
    target: Any = function
    while isinstance(target, functools.partial | functools.partialmethod):
        target = target.func
    return target


def read_hints(
    function: Callable[..., Any], names: Mapping[str, Any], frame: FrameType | None
) -> dict[str, Any]:
    """Return a function's annotations; those that cannot be evaluated as they are.

    A name is looked up where the function was written: in its closure, in the calls under way
    of the functions around it, in its module. Only what is nowhere there is looked up in
    `names` and then in the other calls under way, from the nearest outwards.

    Args:
        function: What may be decorated, partial or a callable object.
        names: Names that may be used besides.
        frame: The nearest call under way.
    """
    target = innermost(function)
    if not (inspect.isfunction(target) or inspect.ismethod(target) or inspect.isbuiltin(target)):
        target = getattr(target, "__call__", target)  # noqa: B004 - its annotations are looked at
    plain: Any = getattr(target, "__func__", target)
    raw: dict[str, Any] = dict(getattr(plain, "__annotations__", {}))
    if all(isinstance(annotation, type) for annotation in raw.values()):
        return raw
    space: dict[str, Any] = getattr(plain, "__globals__", {})
    local = {**_around(plain, frame, space), **_closure(plain)}

    def find(name: str | None) -> bool:
        if name is None or name in local:
            return False
        if name in names:
            local[name] = names[name]
            return True
        call = frame
        while call is not None:
            if call.f_locals is not call.f_globals and name in call.f_locals:
                local[name] = call.f_locals[name]
                return True
            call = call.f_back
        return False

    return {name: _evaluated(annotation, space, local, find) for name, annotation in raw.items()}


def _evaluated(
    annotation: Any,  # noqa: ANN401 - an annotation can be anything
    space: dict[str, Any],
    local: dict[str, Any],
    find: Callable[[str | None], bool],
) -> Any:  # noqa: ANN401
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    while True:
        try:
            return typing.get_type_hints(holder, space, local, include_extras=True)["it"]
        except NameError as error:
            if not find(error.name):
                return annotation
        except (TypeError, AttributeError, SyntaxError):
            return annotation


def _closure(plain: Any) -> dict[str, Any]:  # noqa: ANN401
    code = getattr(plain, "__code__", None)
    cells = getattr(plain, "__closure__", None) or ()
    found: dict[str, Any] = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _around(plain: Any, frame: FrameType | None, space: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """Return the locals of the functions that a function was written in, while they run."""
    found: dict[str, Any] = {}
    place: str = getattr(plain, "__qualname__", "").rpartition(_LOCALS)[0]
    while place:
        call = frame
        while call is not None:
            if call.f_globals is space and call.f_code.co_qualname == place:
                found = {**call.f_locals, **found}
                break
            call = call.f_back
        place = place.rpartition(_LOCALS)[0]
    return found

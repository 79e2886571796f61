"""Which attributes a user's function surely reads of its arguments, without calling it.

Its bytecode is looked at, from the beginning to the first branch: what stands there is read
whenever the function is called. So a function that asks for the type of what it got, or catches
errors, is taken to know what it does. Functions that are not written in Python, or wrap others,
tell nothing, but for `operator.attrgetter`.
"""

from __future__ import annotations

import dis
import functools
import inspect
import operator
from collections.abc import Callable
from types import CodeType, FunctionType, MethodType
from typing import cast

from pydantic import BaseModel

_LOADS = {"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"}
_READS = {"LOAD_ATTR", "LOAD_METHOD"}
_SKIPPED = {"RESUME", "NOP", "CACHE", "EXTENDED_ARG", "PRECALL", "COPY_FREE_VARS", "MAKE_CELL"}


def surely_read(function: Callable[..., object], position: int = 0) -> tuple[str, ...]:
    """Return the attributes that a function reads of a positional argument in every call.

    Args:
        function: What is looked at; it is not called.
        position: Which argument, from 0.

    Returns:
        Their names in the order in which they are read; none where that cannot be told.
    """
    paths = _paths_of(function)
    if paths:
        return (
            tuple(dict.fromkeys(path.partition(".")[0] for path in paths)) if not position else ()
        )
    if isinstance(function, functools.partial) or hasattr(function, "__wrapped__"):
        return ()
    if isinstance(function, MethodType):
        return surely_read(cast("Callable[..., object]", function.__func__), position + 1)
    if not isinstance(function, FunctionType):
        return ()
    code = function.__code__
    if position >= code.co_argcount or _may_not_finish(code):
        return ()
    return _read_of(code, code.co_varnames[position])


def only_read(function: Callable[..., object]) -> str | None:
    """Return the attribute that a function of one argument returns, if it does nothing else."""
    paths = _paths_of(function)
    if paths:
        return paths[0] if len(paths) == 1 and "." not in paths[0] else None
    read = surely_read(function)
    if len(read) != 1 or not isinstance(function, FunctionType):
        return None
    steps = [step.opname for step in dis.get_instructions(function.__code__)]
    is_plain = set(steps) <= {*_SKIPPED, *_LOADS, "LOAD_ATTR", "RETURN_VALUE"}
    return read[0] if is_plain and steps.count("LOAD_ATTR") == 1 else None


def is_missing(cls: type[BaseModel], name: str) -> bool:
    """Whether instances of a model class surely have no attribute of this name."""
    if name in cls.model_fields or name in cls.__private_attributes__:
        return False
    if cls.model_config.get("extra") == "allow":
        return False
    for hook in ("__getattr__", "__getattribute__"):
        if getattr(cls, hook, None) is not getattr(BaseModel, hook, None):
            return False
    return inspect.getattr_static(cls, name, _NOTHING) is _NOTHING and name not in _ON_INSTANCES


_NOTHING = object()
_ON_INSTANCES = {"__dict__", "__class__"}


def _paths_of(function: object) -> tuple[str, ...]:
    """Return the dotted paths that an `attrgetter` reads; none of anything else."""
    if type(function) is not operator.attrgetter:
        return ()
    return cast("tuple[str, ...]", function.__reduce__()[1])


def _may_not_finish(code: CodeType) -> bool:
    """Whether calling it does not run its code, or runs it with errors caught."""
    lazy = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR | inspect.CO_COROUTINE
    return bool(code.co_flags & lazy or getattr(code, "co_exceptiontable", b""))


def _read_of(code: CodeType, parameter: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    is_loaded = False
    for step in dis.get_instructions(code):
        if step.opname in _SKIPPED:
            continue
        if step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            break
        if step.opname.startswith(("STORE_FAST", "DELETE_FAST")) and parameter in _names(step):
            break
        if is_loaded and step.opname in _READS:
            found[str(step.argval)] = None
        loads = step.opname in _LOADS or step.opname.startswith("LOAD_FAST_")
        is_loaded = loads and _names(step)[-1:] == (parameter,)
    return tuple(found)


def _names(step: dis.Instruction) -> tuple[str, ...]:
    """Return the variables of an instruction; from Python 3.13 on one may have two."""
    value: object = step.argval
    if isinstance(value, tuple):
        return tuple(map(str, cast("tuple[object, ...]", value)))
    return (str(value),)

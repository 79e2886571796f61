"""The public surface is what the snapshot says it is.

Changing it is a deliberate diff: `make surface` (or `python -m tests.unit.test_public_surface`)
writes `public_surface.txt` anew, and the diff is reviewed with the change that caused it.
"""

import dataclasses
import enum
import importlib
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_origin

from pydantic import BaseModel

MODULES = ("flock", "flock.testing")
SNAPSHOT = Path(__file__).with_name("public_surface.txt")
ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]+>|<factory>")
PUBLIC = {
    getattr(module, name)
    for module in map(importlib.import_module, MODULES)
    for name in module.__all__
    if isinstance(getattr(module, name), type)
}


class Words:
    """An annotation that is shown as it is written, without quotes around it."""

    def __init__(self, annotation: object) -> None:
        written = getattr(annotation, "__forward_arg__", annotation)
        text = written if isinstance(written, str) else inspect.formatannotation(annotation)
        self.text = text.replace("typing.", "").replace("collections.abc.", "")

    def __repr__(self) -> str:
        return self.text


def _signature(function: Any, *, bound: bool = False) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [
        it if it.annotation is it.empty else it.replace(annotation=Words(it.annotation))
        for it in signature.parameters.values()
    ]
    returns = signature.return_annotation
    signature = signature.replace(
        parameters=parameters[1:] if bound else parameters,
        return_annotation=returns if returns is inspect.Signature.empty else Words(returns),
    )
    return ADDRESS.sub("...", str(signature))


def _ours(cls: type) -> list[type]:
    """The class and its bases in Flock, without those that are public names of their own."""
    return [
        base
        for base in cls.__mro__
        if base.__module__.split(".")[0] == "flock" and (base is cls or base not in PUBLIC)
    ]


def _functions(name: str, member: object, *, bound: bool = True) -> Iterator[str]:
    if isinstance(member, property):
        yield f"property {name}"
        return
    kind = ""
    if isinstance(member, classmethod):
        kind, member = "classmethod ", cast("Any", member).__func__
    elif isinstance(member, staticmethod):
        kind, member, bound = "staticmethod ", cast("Any", member).__func__, False
    if not isinstance(member, types.FunctionType):
        return
    inner = inspect.unwrap(member)
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        kind = f"async {kind}"
    yield f"{kind}def {name}{_signature(member, bound=bound)}"


def _members(cls: type) -> Iterator[str]:
    seen = set[str]()
    is_suite = cls.__name__.endswith("Contract")  # its tests come and go with what stores promise
    for base in _ours(cls):
        for name, member in sorted(vars(base).items()):
            if name.startswith("_") or name in seen or (is_suite and name.startswith("test_")):
                continue
            seen.add(name)
            yield from _functions(name, member)


def _fields(cls: type[Any]) -> Iterator[str]:
    if issubclass(cls, enum.Enum):
        yield from (f"{member.name} = {member.value!r}" for member in cls)
    elif issubclass(cls, BaseModel):
        for name, field in cls.model_fields.items():
            default = "" if field.is_required() else " = ..."
            yield f"{name}: {Words(field.annotation)}{default}"
    elif not dataclasses.is_dataclass(cls):
        for base in _ours(cls):
            for name, annotation in vars(base).get("__annotations__", {}).items():
                if not name.startswith("_"):
                    yield f"{name}: {Words(annotation)}"


def _class(name: str, cls: type[Any]) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    yield f"class {name}({bases})" if bases else f"class {name}"
    plain = not issubclass(cls, BaseException | enum.Enum | BaseModel)
    if plain and (dataclasses.is_dataclass(cls) or "__init__" in vars(cls)):
        yield f"    {name}{_signature(cls)}".replace(" -> None", "")
    yield from (f"    {line}" for line in [*_fields(cls), *sorted(_members(cls))])


def _module(module_name: str) -> Iterator[str]:
    module = importlib.import_module(module_name)
    yield f"# {module_name}"
    for name in sorted(module.__all__):
        value = getattr(module, name)
        if isinstance(value, type) and get_origin(value) is None:
            yield from _class(name, cast("type[Any]", value))
        elif isinstance(value, types.FunctionType):
            yield from _functions(name, value, bound=False)
        else:
            yield f"{name} = {value!r}" if isinstance(value, str | int | float) else name


def surface() -> str:
    """Describe everything public, one line each."""
    return "\n".join(line for name in MODULES for line in (*_module(name), "")).strip() + "\n"


def test_the_public_surface_is_the_one_of_the_snapshot() -> None:
    assert surface().splitlines() == SNAPSHOT.read_text().splitlines(), (
        "The public surface changed. If that is meant, run: make surface"
    )


def test_every_public_name_can_be_imported() -> None:
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        assert len(set(module.__all__)) == len(module.__all__)
        assert not [name for name in module.__all__ if not hasattr(module, name)]


if __name__ == "__main__":
    SNAPSHOT.write_text(surface())

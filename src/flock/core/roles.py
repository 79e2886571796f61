"""What an annotation of a user's parameter asks for."""

from __future__ import annotations

import types
import typing
from collections.abc import (
    Collection,
    Iterable,
    MutableSequence,
    Reversible,
    Sequence,
)
from enum import Enum
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.context import Context, EvalInputs


class Role(Enum):
    """What a parameter is given."""

    CONTEXT = "context"
    INPUTS = "inputs"
    MODEL = "model"
    MODELS = "models"
    ARTIFACT = "artifact"
    ARTIFACTS = "artifacts"
    ANYTHING = "anything"
    DEFAULT = "default"


class Filling(NamedTuple):
    """What an annotation asks for."""

    role: Role
    models: tuple[type[BaseModel], ...] = ()
    optional: bool = False
    is_tuple: bool = False


_SIMPLE: Final = {Context: Role.CONTEXT, EvalInputs: Role.INPUTS, Artifact: Role.ARTIFACT}

_SEQUENCES: Final = {list, tuple, Sequence, MutableSequence, Iterable, Collection, Reversible}


def filling_of(hint: Any) -> Filling | None:  # noqa: ANN401
    """Return what an annotation asks for; None if nothing on the board is that."""
    members = members_of(plain_hint(hint))
    rest = [member for member in members if member is not type(None)]
    optional = len(rest) < len(members)
    models = models_of(rest)
    if models is not None:
        return Filling(Role.MODEL, models, optional)
    found = _single(rest[0]) if len(rest) == 1 else None
    return found._replace(optional=optional) if found is not None else None


def _single(hint: Any) -> Filling | None:  # noqa: ANN401
    if _is_anything(hint):
        return Filling(Role.ANYTHING)
    if isinstance(hint, type) and hint in _SIMPLE:
        return Filling(_SIMPLE[hint])
    origin = hint if hint is list or hint is tuple else get_origin(hint)
    if origin not in _SEQUENCES:
        return None
    is_tuple = origin is tuple
    inner = list(dict.fromkeys(plain_hint(a) for a in get_args(hint) if a is not Ellipsis))
    if not inner or (len(inner) == 1 and _is_anything(inner[0])):
        return Filling(Role.MODELS, is_tuple=is_tuple)
    if len(inner) > 1:
        return None
    if inner[0] is Artifact:
        return Filling(Role.ARTIFACTS, is_tuple=is_tuple)
    models = models_of(members_of(inner[0]))
    return Filling(Role.MODELS, models, is_tuple=is_tuple) if models is not None else None


def _is_anything(hint: object) -> bool:
    return hint is Any or hint is object or hint is BaseModel


def plain_hint(hint: Any) -> Any:  # noqa: ANN401
    """Return an annotation without `Annotated` and aliases."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if isinstance(hint, typing.TypeVar):
        return hint.__bound__ or Any
    value = getattr(hint, "__value__", None)  # a `type X = ...` alias
    return plain_hint(value) if value is not None and not isinstance(hint, type) else hint


def members_of(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Return the members of a union, or the annotation as the only one."""
    if get_origin(hint) in {Union, types.UnionType}:
        return tuple(plain_hint(arg) for arg in get_args(hint))
    return (hint,)


def models_of(members: Iterable[Any]) -> tuple[type[BaseModel], ...] | None:
    """Return members, without None, if all of them are model classes."""
    classes = [m for m in members if m is not type(None)]
    if classes and all(
        isinstance(m, type) and issubclass(m, BaseModel) and m is not BaseModel for m in classes
    ):
        return tuple(classes)
    return None

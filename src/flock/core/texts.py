"""The text in a model: which of it is compared with queries, and in what passages."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

MAX_PASSAGE: Final = 500
"""Characters of a passage: about the 128 word pieces that the default model was trained on."""

MAX_PASSAGES: Final = 64
"""Passages of one artifact, which bounds what one huge text may cost."""

_TEXTLESS: Final = (
    bool, int, float, complex, bytes, bytearray, type(None),
    datetime, date, time, timedelta, UUID, Decimal,
)  # fmt: skip

Path = tuple[str, ...]


def passages(model: BaseModel, fields: Sequence[str] | None) -> tuple[list[str], int]:
    """Return the text of a model in passages, and how many characters were left out.

    The texts are joined by newlines in the order of the fields, and cut at white space into
    passages of at most `MAX_PASSAGE` characters, of which there are at most `MAX_PASSAGES`.

    Args:
        model: What the text is in.
        fields: Field names or dotted paths; None for all.
    """
    if fields is None:
        text = "\n".join(strings(model))
    else:
        values = (value for path in fields for value in _follow(model, tuple(path.split("."))))
        text = "\n".join(found for value in values for found in strings(value))
    found, rest = _cut(text.strip())
    return found, rest


def strings(value: object) -> Iterator[str]:
    """Yield the texts in a value that are not blank, in a fixed order.

    Of a model its fields as declared, without excluded ones; of dicts the values; of sets in
    alphabetical order. Dates, ids, numbers and bytes are no texts; enums of texts are.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, set | frozenset):
        members = cast("Iterable[object]", value)
        yield from sorted(text for member in members for text in strings(member))
    else:
        for part in _parts(value):
            yield from strings(part)


def unreadable(cls: type[BaseModel], fields: Sequence[str] | None) -> str | None:
    """Return why no text can ever be found in models of a class; None if it can.

    Args:
        cls: The class.
        fields: Field names or dotted paths; None for all.
    """
    if fields is None:
        return None if _may_hold_text(cls, set()) else "has no text to compare with a query"
    for path in fields:
        at: list[object] = [cls]
        for name in path.split("."):
            found, known = _annotations(at, name)
            if not found:
                return f"has no field {path!r}; at {name!r} there are: {', '.join(known) or 'none'}"
            at = found
        if not any(_may_hold_text(annotation, set()) for annotation in at):
            return f"has no text in its field {path!r} to compare with a query"
    return None


# --- values ---


def _parts(value: object) -> Iterable[object]:
    """Return what a value consists of, in order."""
    if isinstance(value, list | tuple):
        return cast("Iterable[object]", value)
    return _named(value).values()


def _named(value: object) -> Mapping[Any, object]:
    """Return what a model, a dict or a dataclass consists of, by name and in order."""
    if isinstance(value, BaseModel):
        kept = [name for name, info in type(value).model_fields.items() if not info.exclude]
        return {name: getattr(value, name) for name in kept} | (value.model_extra or {})
    if isinstance(value, Mapping):
        return cast("Mapping[object, object]", value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: getattr(value, part.name) for part in dataclasses.fields(value)}
    return {}


def _follow(value: object, path: Path) -> Iterator[object]:
    """Yield what lies at the end of a path, going into every member of a collection."""
    if not path:
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        for member in cast("Iterable[object]", value):
            yield from _follow(member, path)
    else:
        members = _named(value)
        if path[0] in members:
            yield from _follow(members[path[0]], path[1:])


def _cut(text: str) -> tuple[list[str], int]:
    found: list[str] = []
    start = 0
    while start < len(text) and len(found) < MAX_PASSAGES:
        end = start + MAX_PASSAGE
        if end < len(text):
            spaces = (text.rfind(space, start, end + 1) for space in ("\n", " ", "\t"))
            last = next((at for at in spaces if at > start + MAX_PASSAGE // 2), end)
            end = last
        passage = text[start:end].strip()
        if passage:
            found.append(passage)
        start = end
    return found, len(text[start:].strip())


# --- annotations ---


def _leaves(annotation: object, *, through_dicts: bool = True) -> Iterator[object]:
    """Yield the types that an annotation is made of, without its containers.

    Args:
        annotation: The annotation.
        through_dicts: Whether to look at the values of dicts, too.
    """
    origin = get_origin(annotation)
    if origin is None:
        alias = getattr(annotation, "__value__", None)  # `type X = ...`
        if alias is not None:
            yield from _leaves(alias, through_dicts=through_dicts)
        else:
            yield annotation
    elif origin is Annotated:
        yield from _leaves(get_args(annotation)[0], through_dicts=through_dicts)
    elif origin is Literal:
        yield from (type(value) for value in get_args(annotation))
    elif hasattr(origin, "__value__"):
        yield Any  # `type X[T] = ...`: what T is put into is not looked up
    elif _is_dict(origin):
        if through_dicts:
            yield from _leaves(get_args(annotation)[-1])
        else:
            yield annotation
    else:
        for arg in get_args(annotation):
            if arg is not Ellipsis:
                yield from _leaves(arg, through_dicts=through_dicts)


def _is_model(kind: object) -> typing.TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_dict(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Mapping)


def _fields(cls: type[BaseModel]) -> dict[str, Any]:
    """Return the annotations of a model's fields that lie on the board."""
    return {name: info.annotation for name, info in cls.model_fields.items() if not info.exclude}


def _may_hold_text(annotation: object, seen: set[object]) -> bool:
    for leaf in _leaves(annotation):
        if _is_model(leaf):
            if leaf in seen:
                continue
            seen.add(leaf)
            if leaf.model_config.get("extra") == "allow":
                return True
            if any(_may_hold_text(kind, seen) for kind in _fields(leaf).values()):
                return True
        elif isinstance(leaf, type) and issubclass(leaf, Enum):
            if any(isinstance(member.value, str) for member in leaf):
                return True
        elif not (isinstance(leaf, type) and issubclass(leaf, _TEXTLESS)):
            return True  # a text, or something that may hold one
    return False


def _annotations(at: Iterable[object], name: str) -> tuple[list[object], list[str]]:
    """Return what a name leads to from some annotations, and which names there are."""
    found: list[object] = []
    known: list[str] = []
    for leaf in (leaf for kind in at for leaf in _leaves(kind, through_dicts=False)):
        if _is_dict(get_origin(leaf)):
            found.append(get_args(leaf)[-1])  # any key may be there
        elif _is_model(leaf):
            fields = _fields(leaf)
            known.extend(map(repr, fields))
            if name in fields:
                found.append(fields[name])
            elif leaf.model_config.get("extra") == "allow":
                found.append(Any)
        elif not (isinstance(leaf, type) and issubclass(leaf, (str, Enum, *_TEXTLESS))):
            found.append(Any)  # a dict, a dataclass: known only when it is there
    return found, known

"""The texts in an artifact's content: found by the types of its model, and replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

from pydantic import BaseModel, RootModel

from flock.core.media.file import File
from flock.core.media.image import Image

_NO_TEXT: Final = (
    bool, int, float, bytes, bytearray, Enum, date, time, timedelta, Decimal, UUID, Image,
)  # fmt: skip
"""What JSON may write as a text, and is none."""

_UNKNOWN: Final = object()
"""Stands for what cannot be told: every text in it counts."""

Change = Callable[[str, str, str], str]
"""Gets a text, its place such as `notes[0].body`, and the name of the field or key that it stands
under, `body`; returns what becomes of the text."""

Show = Callable[[str], str]
"""Gets a key, and returns how it may be told in places."""


class KeyCollision(ValueError):
    """Two keys of a mapping would become one."""


def changed(model: BaseModel, payload: Any, change: Change, show: Show) -> Any:  # noqa: ANN401 - JSON
    """Return an artifact's payload with its texts changed.

    Texts are the values of text fields, nested ones, items, keys and values of mappings, and the
    names and contents of text files. Numbers, dates, ids, enums, bytes and images are none.

    Args:
        model: The artifact's content as an instance.
        payload: The same as JSON, by field names.
        change: Called with each text.
        show: Called with each key of a mapping; places name what it returns.

    Raises:
        KeyCollision: Two keys of a mapping would become one.
    """
    return _Walk(change, show).value(model, payload, "", "")


def changed_json(data: Any, change: Callable[[str, str], str]) -> Any:  # noqa: ANN401
    """Return plain values with all their texts changed, keys as well.

    Args:
        data: JSON, also with tuples and keys that are no texts.
        change: Called with each text and the key that it stands under.

    Raises:
        KeyCollision: Two keys of a mapping would become one.
    """
    walk = _Walk(lambda text, _, name: change(text, name), lambda key: change(key, ""))
    return walk.value(_UNKNOWN, data, "", "")


class _Walk:
    def __init__(self, change: Change, show: Show) -> None:
        self._change = change
        self._show = show

    def value(self, value: object, data: Any, path: str, name: str) -> Any:  # noqa: ANN401
        if isinstance(value, RootModel):
            value = cast("RootModel[object]", value).root
        if isinstance(data, str):
            return data if isinstance(value, _NO_TEXT) else self._change(data, path, name)
        if isinstance(value, File):
            return self._file(value, data, path)
        if isinstance(data, dict):
            return self._entries(value, cast("dict[str, Any]", data), path)
        if isinstance(data, list | tuple):
            items = list(cast("Sequence[Any]", data))
            made = [
                self.value(part, item, f"{path}[{number}]", name)
                for number, (part, item) in enumerate(zip(_items(value, items), items, strict=True))
            ]
            return made if isinstance(data, list) else tuple(made)
        return data

    def _file(self, file: File, data: Any, path: str) -> Any:  # noqa: ANN401
        name = self._change(file.name, _below(path, "name"), "")
        if file.is_text:
            text = file.text()
            after = self._change(text, _below(path, "text"), "")
            if after != text:
                return {"name": name, "text": after}
        return data if name == file.name else {**data, "name": name}

    def _entries(self, value: object, data: dict[str, Any], path: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        parts = _parts(value, data)
        for (name, part, is_text), item in zip(parts, data.values(), strict=True):
            if not (is_text and isinstance(name, str)):
                made[name] = self.value(part, item, _below(path, name), name)
                continue
            after = self._change(name, f"{path}[key]", "")
            if after in made:
                msg = f"two keys of {path or 'it'} would both become {after!r}"
                raise KeyCollision(msg)
            made[after] = self.value(part, item, f"{path}[{self._show(name)!r}]", name)
        return made


def _parts(value: object, data: dict[str, Any]) -> Iterable[tuple[str, object, bool]]:
    """Return for each entry of a JSON object its key, its value, and whether its key is a text."""
    if isinstance(value, BaseModel):
        held = {**value.__dict__, **(value.__pydantic_extra__ or {})}
        extra = value.__pydantic_extra__ or {}
        return [(name, held.get(name, _UNKNOWN), name in extra) for name in data]
    if dataclasses.is_dataclass(value):
        return [(name, getattr(value, name, _UNKNOWN), False) for name in data]
    if isinstance(value, Mapping):
        held = cast("Mapping[object, object]", value)
        if len(held) == len(data):
            return [
                (name, part, not isinstance(key, _NO_TEXT))
                for name, (key, part) in zip(data, held.items(), strict=True)
            ]
    return [(name, _UNKNOWN, True) for name in data]


def _items(value: object, data: list[Any]) -> Iterator[object]:
    """Yield what each item of a JSON array is made of. Sets have no order to tell it by."""
    if isinstance(value, AbstractSet):
        parts = cast("AbstractSet[object]", value)
        kinds = {isinstance(part, _NO_TEXT) for part in parts}
        return iter([next(iter(parts)) if kinds == {True} else _UNKNOWN] * len(data))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        parts = cast("Sequence[object]", value)
        if len(parts) == len(data):
            return iter(parts)
    return iter([_UNKNOWN] * len(data))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name

"""Which images and files a model holds, and how it reads with placeholders in their place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import cast

from pydantic import BaseModel

from flock.core.media.file import File
from flock.core.media.image import Image
from flock.core.media.placeholders import PLACEHOLDERS, Placeholders


def media_parts(model: BaseModel) -> list[tuple[str, Image | File]]:
    """Return the images and files that a model holds, nested ones too, with their places.

    Args:
        model: An instance of any model.

    Returns:
        Pairs of a path such as `pages[0].picture` and what is there, in the order of the fields.
        Excluded fields are left out.
    """
    return list(_found(model, ""))


def text_without_media(model: BaseModel, placeholders: Placeholders) -> str:
    """Return a model's JSON as a language model reads it: `"<image 1>"` instead of the image.

    It goes by the names and serializers that the model has for JSON.

    Args:
        model: An instance of any model.
        placeholders: Numbers the media, over several models where it is given again.
    """
    context = {PLACEHOLDERS: placeholders}
    serializer = model.__pydantic_serializer__
    return serializer.to_json(model, warnings=False, context=context).decode()


def _found(value: object, path: str) -> Iterator[tuple[str, Image | File]]:
    if isinstance(value, Image | File):
        yield path, value
        return
    for step, part in _parts(value):
        yield from _found(part, path + step if path else step.removeprefix("."))


def _parts(value: object) -> Iterable[tuple[str, object]]:
    """Return what a value consists of, each part with the step that leads to it."""
    if isinstance(value, BaseModel):
        return _fields(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return [(f"[{key!r}]", item) for key, item in items]
    if isinstance(value, str | bytes | bytearray):
        return ()
    if isinstance(value, AbstractSet | Sequence):
        return [(f"[{n}]", item) for n, item in enumerate(cast("Iterable[object]", value))]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value)]
    return ()


def _fields(model: BaseModel) -> Iterator[tuple[str, object]]:
    for name, info in type(model).model_fields.items():
        if not info.exclude:
            yield f".{name}", model.__dict__.get(name)
    for name, extra in (model.__pydantic_extra__ or {}).items():
        yield f".{name}", extra

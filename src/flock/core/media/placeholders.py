"""Placeholders: how media stand in the JSON that a language model reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from flock.core.media.file import File
    from flock.core.media.image import Image

PLACEHOLDERS: Final = "flock_media_placeholders"
"""Key of the serialization context under which media look for the `Placeholders`."""


class Placeholders:
    """Numbers media as they are written: `<image 1>`, `<file 1>`. Equal ones share a number.

    Attributes:
        media: The media by their placeholders, in the order of their numbers.
    """

    def __init__(self) -> None:
        self.media: dict[str, Image | File] = {}
        self._names: dict[Image | File, str] = {}
        self._counts: dict[str, int] = {}

    def name(self, media: Image | File, kind: str) -> str:
        """Return the placeholder of an image or a file."""
        known = self._names.get(media)
        if known is None:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            known = self._names[media] = f"<{kind} {number}>"
            self.media[known] = media
        return known


def placeholder(media: Image | File, kind: str, context: object) -> str | None:
    """Return how a medium is written in this context: None for its content."""
    if not isinstance(context, dict):
        return None
    found = cast("dict[object, object]", context).get(PLACEHOLDERS)
    return found.name(media, kind) if isinstance(found, Placeholders) else None

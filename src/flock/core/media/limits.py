"""How large the images and files of a field may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flock.errors import DeclarationError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large an image may be, for one field: `Annotated[Image, ImageLimits(max_edge=1024)]`.

    Attributes:
        max_bytes: Of the file, as it comes and as it is kept.
        max_pixels: Width times height. It is checked before anything is unpacked, so that a
            small file cannot unpack to gigabytes.
        max_edge: Pixels of the longer side; a larger image is made smaller. None for any.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    max_edge: int | None = None

    def __post_init__(self) -> None:
        """Check that the limits are limits.

        Raises:
            DeclarationError: One is no whole number from 1.
        """
        _check(self, "max_bytes", self.max_bytes)
        _check(self, "max_pixels", self.max_pixels)
        if self.max_edge is not None:
            _check(self, "max_edge", self.max_edge)

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401 - whatever is annotated
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """Let Pydantic validate an image field within these limits."""
        from flock.core.media.image import Image, image_schema

        del handler
        if source is not Image:
            raise DeclarationError(_misplaced(self, "Image", source))
        return image_schema(self)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe an image for JSON Schema."""
        from flock.core.media.image import image_json_schema

        del schema, handler
        return image_json_schema()


@dataclass(frozen=True, slots=True)
class FileLimits:
    """What a file may be, for one field: `Annotated[File, FileLimits(max_bytes=100_000)]`.

    Attributes:
        max_bytes: Of its content.
        media_types: Of which types its content may be: `("application/pdf", "text/*")`. Empty
            for any.
    """

    max_bytes: int = 20 * 1024 * 1024
    media_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that the limits are limits.

        Raises:
            DeclarationError: `max_bytes` is no whole number from 1, or a type is no text.
        """
        _check(self, "max_bytes", self.max_bytes)
        if isinstance(self.media_types, str) or not all("/" in kind for kind in self.media_types):
            msg = f"media_types is a tuple of types such as ('text/*',), not {self.media_types!r}"
            raise DeclarationError(msg)

    def allows(self, media_type: str) -> bool:
        """Return whether a file may be of a media type."""
        family = f"{media_type.partition('/')[0]}/*"
        return not self.media_types or bool({media_type, family, "*/*"} & {*self.media_types})

    def __get_pydantic_core_schema__(
        self,
        source: Any,  # noqa: ANN401 - whatever is annotated
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """Let Pydantic validate a file field within these limits."""
        from flock.core.media.file import File, file_schema

        del handler
        if source is not File:
            raise DeclarationError(_misplaced(self, "File", source))
        return file_schema(self)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe a file for JSON Schema."""
        from flock.core.media.file import file_json_schema

        del schema
        return file_json_schema(handler.mode)


def _check(limits: object, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"{name} of {type(limits).__name__} is a whole number from 1, not {value!r}"
        raise DeclarationError(msg)


def _misplaced(limits: object, kind: str, source: object) -> str:
    word = type(limits).__name__
    return (
        f"{word} belongs on {kind} itself, not on {source!r}: write "
        f"Annotated[{kind}, {word}(...)], and put optional or list around that"
    )

"""Images as fields of artifacts."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from pydantic_core import PydanticCustomError, core_schema

from flock.core.media.container import BrokenContainer, read_container
from flock.core.media.limits import ImageLimits
from flock.core.media.pictures import BrokenPicture, finished
from flock.core.media.placeholders import placeholder

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

_Shape = tuple[str, int, int]
"""Media type, width and height."""

Octets = bytes
"""`bytes`, where a class has an attribute of that name."""

IMAGE_FORMAT: Final = "data-url"
"""The `format` of images in JSON Schema."""

_DATA_URL: Final = re.compile(r"data:[\w.+/-]{0,100}(?:;[\w=.+-]{1,100}){0,8};base64,", re.ASCII)
"""The start of a data URL with base64 (RFC 2397)."""

_STANDARD: Final = ImageLimits()

_EXAMPLES: Final = [
    # One pixel: red, green, blue.
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNg+M8AAAICAQB7CYF4AAAAAElFTkSuQmCC",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYPgPAAEDAQAIicLsAAAAAElFTkSuQmCC",
]


class _Proved:
    """Images that were decoded once: readers of an artifact do not pay for it again.

    Two generations, of which the older is dropped when the younger is full: no step is more
    than one store or look-up, so that threads need no lock.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[bytes, _Shape] = {}
        self._old: dict[bytes, _Shape] = {}

    def get(self, digest: bytes) -> _Shape | None:
        found = self._young.get(digest)
        if found is None and (found := self._old.get(digest)) is not None:
            self.add(digest, found)
        return found

    def add(self, digest: bytes, shape: _Shape) -> None:
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[digest] = shape


_proved: Final = _Proved(2048)


class Image:
    """A picture, as a field of any model: PNG, JPEG, WebP or the first frame of a GIF.

    It is clean from the start: what it is was told by its content, its pixels were decoded
    once, EXIF and all other metadata, colour profiles and further frames are gone, and it stands
    upright. It never changes; images are equal when their bytes are. On the board it is a data
    URL. Pillow does the work: `pip install 'flock[images]'`.

    ```python
    from pydantic import BaseModel
    from flock import Image


    class Scan(BaseModel):
        picture: Image


    pixel = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4"
        "z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
    )
    scan = Scan(picture=Image.from_data_url(pixel))
    print(scan.picture)  # -> Image(image/png, 1 x 1, 69 bytes)
    ```

    Attributes:
        bytes: The file.
        media_type: `"image/png"`, `"image/jpeg"`, `"image/webp"` or `"image/gif"`.
        width: Pixels from left to right.
        height: Pixels from top to bottom.
    """

    __slots__ = ("_digest", "bytes", "height", "media_type", "width")

    bytes: Octets
    media_type: str
    width: int
    height: int
    _digest: Octets

    def __init__(self, data: Octets, *, limits: ImageLimits | None = None) -> None:
        """Make an image of a file's bytes; the same as `from_bytes`."""
        _fill(self, data, limits or _STANDARD)

    @classmethod
    def from_bytes(cls, data: Octets, *, limits: ImageLimits | None = None) -> Self:
        """Make an image of a file's bytes.

        Args:
            data: A PNG, JPEG, WebP or GIF file.
            limits: How large it may be, and to what it is made smaller.

        Raises:
            ValueError: It is none of these, is damaged, or is larger than it may be.
            DeclarationError: Pillow is not installed.
        """
        return cls(data, limits=limits)

    @classmethod
    def from_path(cls, path: str | Path, *, limits: ImageLimits | None = None) -> Self:
        """Make an image of a file. No more of it is read than it may have.

        Raises:
            OSError: It cannot be read.
            ValueError: It is no image, is damaged, or is larger than it may be.
        """
        bound = (limits or _STANDARD).max_bytes
        with Path(path).open("rb") as file:
            data = file.read(bound + 1)
        try:
            return cls(data, limits=limits)
        except ValueError as error:
            if len(data) > bound:
                msg = f"{str(path)!r} is larger than the {bound:,} bytes that an image may have"
                raise ValueError(msg) from None
            raise type(error)(f"{str(path)!r}: {error}") from error

    @classmethod
    def from_data_url(cls, url: str, *, limits: ImageLimits | None = None) -> Self:
        """Make an image of a data URL with base64 (RFC 2397). Its media type is not trusted.

        Raises:
            ValueError: It is no such URL, or its content is no image, damaged or too large.
        """
        return cls(_from_url(url, limits or _STANDARD), limits=limits)

    def fitted(self, max_edge: int) -> Image:
        """Return the image so small that its longer side has at most that many pixels."""
        size = len(self.bytes)
        limits = ImageLimits(max(size, _STANDARD.max_bytes), self.width * self.height, max_edge)
        return Image(self.bytes, limits=limits)

    def data_url(self) -> str:
        """Return it as a data URL (RFC 2397), which any chat API takes."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.bytes).decode()}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Image):
            return NotImplemented
        return self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        return f"Image({self.media_type}, {self.width} x {self.height}, {len(self.bytes):,} bytes)"

    def __setattr__(self, name: str, value: object) -> None:
        msg = f"an image never changes; {name!r} cannot be set, make a new one instead"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> None:
        msg = f"an image never changes; {name!r} cannot be deleted"
        raise AttributeError(msg)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        del memo
        return self

    def __reduce__(self) -> tuple[object, ...]:
        limits = ImageLimits(len(self.bytes), self.width * self.height)
        return _unpickled, (self.bytes, limits)

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        source: Any,  # noqa: ANN401 - the annotation
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """Let Pydantic validate and write images, within the standard limits."""
        del source, handler
        return image_schema(_STANDARD)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe an image for JSON Schema."""
        del schema, handler
        return image_json_schema()


def _unpickled(data: bytes, limits: ImageLimits) -> Image:
    return Image(data, limits=limits)


def image_schema(limits: ImageLimits) -> CoreSchema:
    """Return the Pydantic schema of an image field with these limits."""

    def validate(value: object) -> Image:
        return _validated(value, limits)

    return core_schema.no_info_plain_validator_function(
        validate,
        json_schema_input_schema=core_schema.str_schema(
            metadata={"pydantic_js_updates": {"examples": list(_EXAMPLES)}}
        ),
        serialization=core_schema.plain_serializer_function_ser_schema(
            _written, info_arg=True, when_used="json"
        ),
    )


def image_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an image field."""
    return {
        "type": "string",
        "format": IMAGE_FORMAT,
        "description": "An image (PNG, JPEG, WebP or GIF) as a data URL",
        "examples": list(_EXAMPLES[:1]),
    }


def _written(image: Image, info: core_schema.SerializationInfo[Any]) -> str:
    return placeholder(image, "image", info.context) or image.data_url()


def _validated(value: object, limits: ImageLimits) -> Image:
    try:
        if isinstance(value, Image):
            fits = limits.max_edge is None or max(value.width, value.height) <= limits.max_edge
            is_small = value.width * value.height <= limits.max_pixels
            if fits and is_small and len(value.bytes) <= limits.max_bytes:
                return value
            return Image(value.bytes, limits=limits)
        if isinstance(value, bytes | bytearray | memoryview):
            return Image(bytes(cast("bytes", value)), limits=limits)
        if isinstance(value, str):
            return Image.from_data_url(value, limits=limits)
    except ValueError as error:
        raise PydanticCustomError("image", "{why}", {"why": str(error)}) from error
    msg = (
        f"an image is an Image, the bytes of a file, or a data URL, not a {type(value).__name__}; "
        "read a file with Image.from_path"
    )
    raise PydanticCustomError("image", "{why}", {"why": msg})


def _fill(image: Image, data: bytes, limits: ImageLimits) -> None:
    if not isinstance(data, bytes | bytearray | memoryview):
        msg = f"an image is made of bytes, not of a {type(data).__name__}"
        raise ValueError(msg)
    data = bytes(data)
    if len(data) > limits.max_bytes:
        msg = f"this image has {len(data):,} bytes and may have {limits.max_bytes:,}"
        raise ValueError(msg)
    digest = sha256(data).digest()
    shape = _proved.get(digest)
    edge = limits.max_edge
    if shape is not None:
        _check_pixels(shape[1], shape[2], limits)
        if edge is None or max(shape[1:]) <= edge:
            return _set(image, data, digest, shape)
    try:
        found = read_container(data)
        _check_pixels(found.width, found.height, limits)
        found = finished(data, found, edge, limits.max_pixels)
    except (BrokenContainer, BrokenPicture) as error:
        msg = f"these {len(data):,} bytes are no image that can be used: {error}"
        raise ValueError(msg) from error
    if len(found.data) > limits.max_bytes:
        msg = f"this image comes to {len(found.data):,} bytes and may have {limits.max_bytes:,}"
        raise ValueError(msg)
    digest = sha256(found.data).digest()
    shape = found.media_type, found.width, found.height
    _proved.add(digest, shape)
    return _set(image, found.data, digest, shape)


def _set(image: Image, data: bytes, digest: bytes, shape: tuple[str, int, int]) -> None:
    put = object.__setattr__
    put(image, "bytes", data)
    put(image, "_digest", digest)
    put(image, "media_type", shape[0])
    put(image, "width", shape[1])
    put(image, "height", shape[2])


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        msg = (
            f"this image has {width:,} x {height:,} pixels, and may have {limits.max_pixels:,} in "
            "all; make it smaller, or raise max_pixels of its ImageLimits"
        )
        raise ValueError(msg)


def _from_url(url: str, limits: ImageLimits) -> bytes:
    if not isinstance(url, str):
        msg = f"a data URL is text, not a {type(url).__name__}"
        raise ValueError(msg)
    start = _DATA_URL.match(url)
    if start is None:
        shown = url if len(url) <= 40 else f"{url[:37]}..."
        msg = (
            f"{shown!r} is no data URL of an image (data:image/png;base64,...); read a file with "
            "Image.from_path"
        )
        raise ValueError(msg)
    return decoded(url[start.end() :], limits.max_bytes, "image")


def decoded(text: str, max_bytes: int, kind: str) -> bytes:
    """Return the bytes that base64 stands for.

    Raises:
        ValueError: It is no base64, or stands for more than `max_bytes`.
    """
    size = len(text) * 3 // 4
    if size > max_bytes + 2:
        msg = f"this {kind} has about {size:,} bytes and may have {max_bytes:,}"
        raise ValueError(msg)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"the content of this {kind} is no valid base64: {error}"
        raise ValueError(msg) from error

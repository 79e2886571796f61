"""Pillow: decoding an image to prove it, and drawing it anew where it has to change."""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from flock.core.media.container import Container, read_container
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from types import ModuleType

    from PIL import Image as Pillow

_FORMATS: Final = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
}
_ORIENTATION: Final = 0x0112
"""The EXIF tag that says how a picture has to be turned (CIPA DC-008, 4.6.5.1.6)."""
_QUALITY: Final = 90


class BrokenPicture(ValueError):
    """A file whose container is that of an image, but whose pixels cannot be read."""


@cache
def _pillow(module: str) -> ModuleType:
    try:
        return import_module(f"PIL.{module}")
    except ImportError as error:
        msg = f"images need Pillow: pip install 'flock[images]' ({error})"
        raise DeclarationError(msg) from error


def finished(original: bytes, found: Container, max_edge: int | None, max_pixels: int) -> Container:
    """Return an image that is upright, without profile and frames, and within its bounds.

    The pixels are decoded once to prove that the file is whole. They are drawn anew only where
    something has to change, so that most files keep their quality.

    Args:
        original: The file as it came, whose metadata says how it is turned.
        found: The same without metadata.
        max_edge: Pixels of the longer side; larger pictures are made smaller. None for any.
        max_pixels: How many pixels there may be; a decoder that finds more stops.

    Raises:
        BrokenPicture: The pixels cannot be decoded.
        DeclarationError: Pillow is not installed.
    """
    bomb: type[Exception] = _pillow("Image").DecompressionBombError
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; the bounds are checked here
            return _finished(original, found, max_edge, max_pixels)
    except BrokenPicture:
        raise
    except (*_UNREADABLE, bomb) as error:
        raise BrokenPicture(f"its pixels cannot be read: {error}") from error


_UNREADABLE: Final = (
    OSError, ValueError, SyntaxError, TypeError, EOFError, IndexError, KeyError, OverflowError,
    struct.error,
)  # fmt: skip
"""What Pillow raises on damaged files."""


def _finished(
    original: bytes, found: Container, max_edge: int | None, max_pixels: int
) -> Container:
    is_film = found.is_animated and found.media_type == "image/webp"  # still whole
    picture = _decoded(found, max_pixels)
    told = _opened(original, found.media_type)
    turn = _turn(told)
    profile = told.info.get("icc_profile") if found.has_profile else None
    is_large = max_edge is not None and max(picture.size) > max_edge
    if turn == 1 and not (profile or is_film or is_large or picture.mode == "CMYK"):
        return found
    picture = _fitted(_turned(_in_srgb(picture, profile), turn), max_edge)
    return read_container(_encoded(picture, found.media_type))


def _turn(picture: Pillow.Image) -> int:
    """Return the orientation that EXIF tells, 1 to 8; 1 where it tells nothing that can be read."""
    with suppress(*_UNREADABLE):
        turn: object = picture.getexif().get(_ORIENTATION)
        if isinstance(turn, int) and 1 <= turn <= 8:
            return turn
    return 1


def _opened(data: bytes, media_type: str) -> Pillow.Image:
    opened: Pillow.Image = _pillow("Image").open(io.BytesIO(data), formats=[_FORMATS[media_type]])
    return opened


def _decoded(found: Container, max_pixels: int) -> Pillow.Image:
    picture = _opened(found.data, found.media_type)
    if picture.width * picture.height > max_pixels:
        msg = f"it unpacks to {picture.width} x {picture.height} pixels"
        raise BrokenPicture(msg)
    if (picture.width, picture.height) != (found.width, found.height):
        msg = (
            f"it says to be {found.width} x {found.height} and holds {picture.width} x "
            f"{picture.height} pixels"
        )
        raise BrokenPicture(msg)
    picture.load()
    return picture


def _in_srgb(picture: Pillow.Image, profile: bytes | None) -> Pillow.Image:
    """Return a picture with the colours that it shows on a usual screen."""
    has_alpha = picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info
    mode = "RGBA" if has_alpha else "L" if picture.mode in {"1", "L", "I;16", "I", "F"} else "RGB"
    if profile and picture.mode in {"RGB", "RGBA", "CMYK", "L"}:
        colours = _pillow("ImageCms")
        with suppress(colours.PyCMSError, OSError):  # a broken profile says nothing
            here = colours.ImageCmsProfile(io.BytesIO(profile))
            there = colours.createProfile("sRGB")
            into = "RGBA" if picture.mode == "RGBA" else "RGB"
            made: Pillow.Image = colours.profileToProfile(picture, here, there, outputMode=into)
            return made
    return picture if picture.mode == mode else picture.convert(mode)


def _turned(picture: Pillow.Image, turn: int) -> Pillow.Image:
    """Return a picture upright (CIPA DC-008, table 6)."""
    ways = _pillow("Image").Transpose
    way = {
        2: ways.FLIP_LEFT_RIGHT,
        3: ways.ROTATE_180,
        4: ways.FLIP_TOP_BOTTOM,
        5: ways.TRANSPOSE,
        6: ways.ROTATE_270,
        7: ways.TRANSVERSE,
        8: ways.ROTATE_90,
    }.get(turn)
    return picture if way is None else picture.transpose(way)


def _fitted(picture: Pillow.Image, max_edge: int | None) -> Pillow.Image:
    if max_edge is None or max(picture.size) <= max_edge:
        return picture
    scale = max_edge / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, _pillow("Image").Resampling.LANCZOS)


def _encoded(picture: Pillow.Image, media_type: str) -> bytes:
    picture.info.clear()  # or its comments and profile would be written again
    if media_type == "image/jpeg" and picture.mode not in {"L", "RGB"}:
        picture = picture.convert("RGB")
    options: dict[str, Any] = {
        "image/png": {"optimize": False},
        "image/jpeg": {"quality": _QUALITY},
        "image/webp": {"quality": _QUALITY, "method": 4},
        "image/gif": {},
    }[media_type]
    out = io.BytesIO()
    picture.save(out, _FORMATS[media_type], **options)
    return out.getvalue()

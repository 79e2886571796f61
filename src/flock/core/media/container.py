"""The containers of images: what kind one is, how large, and its bytes without metadata.

Nothing is decoded here. The walk follows the formats' own specifications: PNG (W3C, third
edition), JPEG (ITU-T T.81, annex B), WebP (RFC 9649) and GIF (GIF89a). It keeps what is
needed to show the first picture and leaves out all else: metadata, further frames, thumbnails,
private chunks and whatever follows the end of the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flock.core.media.sniffing import UNKNOWN, sniffed


@dataclass(frozen=True, slots=True)
class Container:
    """An image file without its metadata.

    Attributes:
        media_type: What it is, by its content.
        width: Pixels from left to right, as stored: an orientation is not applied.
        height: Pixels from top to bottom.
        data: The file without metadata; the same bytes if there was none.
        has_profile: Whether a colour profile was left out.
        is_animated: Whether further frames are still in `data`, or were left out.
    """

    media_type: str
    width: int
    height: int
    data: bytes
    has_profile: bool = False
    is_animated: bool = False


class BrokenContainer(ValueError):
    """Bytes that are no image, or one that is cut or damaged."""


def read_container(data: bytes) -> Container:
    """Return the container of an image file.

    Raises:
        BrokenContainer: It is none of PNG, JPEG, WebP and GIF, or is damaged.
    """
    read = _reader(data)
    if read is not None:
        found = read(_Bytes(data))
        if not (found.width and found.height):
            raise BrokenContainer("it is an image of no pixels")
        return found
    if not data:
        raise BrokenContainer("it is empty")
    kind = sniffed(data)
    if kind != UNKNOWN:
        raise BrokenContainer(f"it is {kind}; make it a PNG, JPEG, WebP or GIF file")
    raise BrokenContainer(f"it is no PNG, JPEG, WebP or GIF file; it begins with {data[:8]!r}")


class _Bytes:
    """Bytes that are read from front to back, and never past the end."""

    __slots__ = ("data", "place")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        end = self.place + count
        if end > len(self.data):
            msg = f"it is cut: {end - len(self.data):,} bytes are missing at its end"
            raise BrokenContainer(msg)
        taken = self.data[self.place : end]
        self.place = end
        return taken

    def number(self, count: int, order: str = "big") -> int:
        return int.from_bytes(self.take(count), "little" if order == "little" else "big")

    @property
    def rest(self) -> int:
        return len(self.data) - self.place


_PNG_KEPT: Final = frozenset(b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB sBIT bKGD hIST cICP".split())


def _png(source: _Bytes) -> Container:
    kept = [source.take(8)]
    width = height = 0
    has_profile = is_animated = has_pixels = False
    while True:
        start = source.place
        length, kind = source.number(4), source.take(4)
        body = source.take(length)
        source.take(4)
        if not width:
            if kind != b"IHDR" or length != 13:
                raise BrokenContainer("it is a PNG file without a header")
            width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
        has_profile = has_profile or kind == b"iCCP"
        is_animated = is_animated or kind == b"acTL"
        has_pixels = has_pixels or kind == b"IDAT"
        if kind in _PNG_KEPT:
            kept.append(source.data[start : source.place])
        elif kind[:1].isupper():
            raise BrokenContainer(f"it is a PNG file with an unknown chunk {kind!r}")
        if kind == b"IEND":
            break
    if not has_pixels:
        raise BrokenContainer("it is a PNG file without pixels")
    return Container("image/png", width, height, b"".join(kept), has_profile, is_animated)


_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame of a JPEG file."""
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length."""
_TABLES: Final = frozenset({0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF}) | _FRAMES


_MAX_SCANS: Final = 100
"""Scans of a JPEG file; encoders make about ten. Each takes a pass over all pixels, even one of a
few bytes, so that a small file could keep a decoder busy for hours (libjpeg-turbo, LJT-01-004)."""


def _jpeg(source: _Bytes) -> Container:
    kept = [source.take(2)]
    width = height = scans = 0
    has_profile = False
    while (marker := _marker(source)) != 0xD9:
        length = source.number(2)
        if length < 2:
            raise BrokenContainer("it is a damaged JPEG file: a segment has no length")
        body = source.take(length - 2)
        has_profile = has_profile or (marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"))
        if marker in _FRAMES and not width:
            if length < 8:
                raise BrokenContainer("it is a damaged JPEG file: its frame has no size")
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        if marker in _TABLES or _is_needed(marker, body):
            kept.append(bytes((0xFF, marker)) + length.to_bytes(2, "big") + body)
        if marker == 0xDA:
            scans += 1
            if scans > _MAX_SCANS:
                msg = f"it is a JPEG file of more than {_MAX_SCANS} scans; save it anew"
                raise BrokenContainer(msg)
            kept.append(_scan(source))
    if not width:
        raise BrokenContainer("it is a JPEG file without a picture")
    return Container("image/jpeg", width, height, b"".join(kept) + b"\xff\xd9", has_profile)


def _marker(source: _Bytes) -> int:
    """Return the next marker that has a segment, or ends the picture."""
    while True:
        if source.take(1) != b"\xff":
            raise BrokenContainer("it is a damaged JPEG file: a marker is missing")
        marker = source.number(1)
        while marker == 0xFF:  # fill bytes
            marker = source.number(1)
        if marker not in _ALONE:
            return marker


def _is_needed(marker: int, body: bytes) -> bool:
    """Whether an application segment says how to read colours: JFIF and Adobe do."""
    if marker == 0xE0:
        return body.startswith(b"JFIF\0") and len(body) == 14  # longer: with a thumbnail
    return marker == 0xEE and body.startswith(b"Adobe") and len(body) == 12


def _scan(source: _Bytes) -> bytes:
    """Return the compressed data of a scan, up to the marker behind it."""
    start = place = source.place
    while True:
        place = source.data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(source.data):
            raise BrokenContainer("it is a JPEG file that is cut: its end is missing")
        following = source.data[place + 1]
        if following == 0 or 0xD0 <= following <= 0xD7:
            place += 2
        elif following == 0xFF:
            place += 1
        else:
            source.place = place
            return source.data[start:place]


_WEBP_KEPT: Final = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_WEBP_ALPHA: Final = 0x10


def _webp(source: _Bytes) -> Container:
    source.take(4)
    size = source.number(4, "little")
    if size > source.rest:
        msg = f"it is a WebP file that is cut: {size - source.rest:,} bytes are missing"
        raise BrokenContainer(msg)
    source.take(4)
    end = source.place + size - 4
    canvas: tuple[int, int] | None = None
    extended: bytes | None = None
    kept: list[bytes] = []
    pixels: tuple[bytes, bytes] | None = None
    has_profile = is_animated = False
    while source.place + 8 <= end:
        kind, length = source.take(4), source.number(4, "little")
        body = source.take(length)
        if length % 2 and source.place < end:
            source.take(1)
        if kind == b"VP8X" and length == 10:
            extended = body
            canvas = _three(body, 4) + 1, _three(body, 7) + 1
        elif kind in _WEBP_KEPT:
            kept.append(_riff(kind, body))
            if kind != b"ALPH":
                pixels = kind, body
                break  # the first picture: no more is needed but its profile
        has_profile = has_profile or kind == b"ICCP"
        is_animated = is_animated or kind in {b"ANIM", b"ANMF"}
    if is_animated and canvas is not None:
        return Container("image/webp", *canvas, source.data, has_profile, is_animated)
    if pixels is None:
        raise BrokenContainer("it is a WebP file without a picture")
    size_of = _lossless_size if pixels[0] == b"VP8L" else _lossy_size
    width, height = size_of(pixels[1])
    head: list[bytes] = []
    if extended is not None and len(kept) > 1:  # only with transparency beside the pixels
        head = [_riff(b"VP8X", bytes([extended[0] & _WEBP_ALPHA]) + b"\0\0\0" + extended[4:])]
    content = b"WEBP" + b"".join([*head, *kept])
    whole = b"RIFF" + len(content).to_bytes(4, "little") + content
    return Container("image/webp", width, height, whole, has_profile)


def _riff(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def _three(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 3], "little")


def _lossy_size(body: bytes) -> tuple[int, int]:
    if body[3:6] != b"\x9d\x01\x2a" or len(body) < 10:
        raise BrokenContainer("it is a damaged WebP file: its picture has no header")
    mask = 0x3FFF
    return _two(body, 6) & mask, _two(body, 8) & mask


def _lossless_size(body: bytes) -> tuple[int, int]:
    if body[:1] != b"\x2f" or len(body) < 5:
        raise BrokenContainer("it is a damaged WebP file: its picture has no header")
    bits = int.from_bytes(body[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _gif(source: _Bytes) -> Container:
    kept = [source.take(6)]
    screen = source.take(7)
    width, height = _two(screen, 0), _two(screen, 2)
    kept += [screen, source.take(_table(screen[4]))]
    control = b""
    while True:
        block = source.number(1)
        if block == 0x21:
            label = source.take(1)
            body = _blocks(source)
            if label == b"\xf9":
                control = b"\x21\xf9" + body
        elif block == 0x2C:
            frame = source.take(9)
            left, top, wide, high = (_two(frame, place) for place in (0, 2, 4, 6))
            if not (wide and high):
                raise BrokenContainer("it is a GIF file with an empty picture")
            width, height = max(width, left + wide), max(height, top + high)
            table, size = source.take(_table(frame[8])), source.take(1)
            kept += [control, b"\x2c", frame, table, size, _blocks(source), b"\x3b"]
            break
        else:
            raise BrokenContainer("it is a GIF file without a picture")
    is_animated = source.rest > 0 and source.data[source.place] != 0x3B
    return Container("image/gif", width, height, b"".join(kept), is_animated=is_animated)


def _two(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 2], "little")


def _table(flags: int) -> int:
    """Return how many bytes a colour table has."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks(source: _Bytes) -> bytes:
    """Return a chain of sub-blocks, its end included."""
    start = source.place
    while size := source.number(1):
        source.take(size)
    return source.data[start : source.place]


def _reader(data: bytes) -> Callable[[_Bytes], Container] | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp
    return _gif if data.startswith((b"GIF87a", b"GIF89a")) else None

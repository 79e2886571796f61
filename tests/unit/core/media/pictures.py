"""Real image files, made by Pillow."""

import io
from typing import Any

from PIL import Image as Pillow
from PIL import ImageCms

FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
}
RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(media_type: str, width: int = 40, height: int = 20, **options: Any) -> bytes:
    """Return a file whose left half is red and whose right half is blue."""
    made = Pillow.new("RGB", (width, height), RED)
    made.paste(BLUE, (width // 2, 0, width, height))
    return saved(made, media_type, **options)


def saved(made: Pillow.Image, media_type: str, **options: Any) -> bytes:
    out = io.BytesIO()
    if media_type == "image/webp":
        options = {"lossless": True, **options}
    made.save(out, FORMATS[media_type], **options)
    return out.getvalue()


def exif(turn: int = 1) -> Any:
    made = Pillow.Exif()
    made[0x0112] = turn
    made[0x010E] = "taken at home"
    return made


def srgb() -> bytes:
    module: Any = ImageCms
    return module.ImageCmsProfile(module.createProfile("sRGB")).tobytes()


def colours(data: bytes) -> list[str]:
    """Return whether the corners are red or blue: top left, top right, bottom left and right."""
    with Pillow.open(io.BytesIO(data)) as opened:
        shown = opened.convert("RGB")
    right, bottom = shown.width - 1, shown.height - 1
    corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)]
    found: list[str] = []
    for corner in corners:
        pixel = shown.getpixel(corner)
        assert isinstance(pixel, tuple)
        found.append("red" if pixel[0] > pixel[2] else "blue")
    return found

"""Images and files as fields of artifacts."""

from __future__ import annotations

from flock.core.media.file import File
from flock.core.media.image import Image
from flock.core.media.limits import FileLimits, ImageLimits
from flock.core.media.placeholders import Placeholders
from flock.core.media.walk import media_parts, text_without_media

__all__ = [
    "File",
    "FileLimits",
    "Image",
    "ImageLimits",
    "Placeholders",
    "media_parts",
    "text_without_media",
]

"""What a file is, by its content: the name that somebody gave it is not trusted.

The signatures are those of the WHATWG MIME Sniffing Standard (https://mimesniff.spec.whatwg.org/)
and, for containers, of the formats' own specifications (OPC, OpenDocument, EPUB).
"""

from __future__ import annotations

import codecs
import io
import json
import lzma
import re
import struct
import zipfile
import zlib
from typing import Final

UNKNOWN: Final = "application/octet-stream"
PLAIN: Final = "text/plain"

_SIGNATURES: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBPVP8", "image/webp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"\xfd7zXZ\x00", "application/x-xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (257, b"ustar", "application/x-tar"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (0, b"\x7fELF", "application/x-elf"),
    (0, b"\x00asm", "application/wasm"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS\x00", "application/ogg"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
)

_WEAK: Final[tuple[tuple[bytes, str], ...]] = (
    (b"BM", "image/bmp"),
    (b"BZh", "application/x-bzip2"),
    (b"ID3", "audio/mpeg"),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"PAR1", "application/vnd.apache.parquet"),
)
"""Signatures with which a text may begin as well."""

_OFFICE: Final = (
    ("word/", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
)

_REFINED: Final = {
    ".css": "text/css",
    ".csv": "text/csv",
    ".ics": "text/calendar",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".py": "text/x-python",
    ".rst": "text/x-rst",
    ".toml": "application/toml",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
"""What plain text is more exactly, by its name: nothing but text either way."""

_MEDIA_TYPE: Final = re.compile(r"application/[a-z0-9][a-z0-9.+-]{0,100}")

_TEXT_TYPES: Final = frozenset(
    {"application/json", "application/xml", "image/svg+xml", *_REFINED.values()}
)

_JSON_TRIED: Final = 1 << 20
"""Up to this many bytes, text is read to see whether it is JSON."""

_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def sniffed(data: bytes, name: str = "") -> str:
    """Return the media type of a file's content.

    Args:
        data: The content.
        name: Its name, which tells kinds of plain text apart (`.csv`, `.md`), and no more.
    """
    for place, magic, kind in _SIGNATURES:
        if data.startswith(magic, place) and (place != 8 or data.startswith(b"RIFF")):
            return kind
    if data.startswith(b"PK\x03\x04"):
        return _zipped(data)
    text = certain_text(data)
    if text is not None:
        return _textual(text, name)
    return next((kind for magic, kind in _WEAK if data.startswith(magic)), UNKNOWN)


def is_text_type(media_type: str) -> bool:
    """Return whether files of a media type are text."""
    return media_type.startswith("text/") or media_type in _TEXT_TYPES


def certain_text(data: bytes) -> str | None:
    """Return the text that bytes are for certain, or None.

    Certain is a byte order mark, or valid UTF-8 without control characters other than those
    of lines and pages. No other encoding can be told from the bytes.
    """
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if text.translate(_KEPT) != text else text


_KEPT: Final = {code: None for code in (*range(0x20), 0x7F) if code not in {9, 10, 12, 13, 27}}


def _textual(text: str, name: str) -> str:
    start = text.lstrip()[:512].lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body", "<script")):
        return "text/html"
    if start.startswith("<svg") or (start.startswith("<?xml") and "<svg" in start):
        return "image/svg+xml"
    if start.startswith("<?xml"):
        return "application/xml"
    if start.startswith(("{", "[")) and len(text) <= _JSON_TRIED and _is_json(text):
        return "application/json"
    dot = name.rfind(".")
    return _REFINED.get(name[dot:].lower(), PLAIN) if dot > 0 else PLAIN


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


_UNREADABLE: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, NotImplementedError,
    RuntimeError, OSError, EOFError, ValueError, OverflowError, IndexError,
)  # fmt: skip
"""What `zipfile` raises on damaged archives."""


def _zipped(data: bytes) -> str:
    """Return what a ZIP archive is, by the names of its members; none is unpacked but one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            first = members[0] if members else None
            if first is not None and first.filename == "mimetype" and first.file_size <= 128:
                told = archive.read(first).decode("ascii").strip()
                return told if _MEDIA_TYPE.fullmatch(told) else "application/zip"
            names = [member.filename for member in members]
    except _UNREADABLE:
        return "application/zip"
    if "[Content_Types].xml" in names:
        for folder, kind in _OFFICE:
            if any(name.startswith(folder) for name in names):
                return kind
    return "application/zip"

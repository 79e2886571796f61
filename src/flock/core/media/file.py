"""Files as fields of artifacts."""

from __future__ import annotations

import base64
import re
import unicodedata
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from pydantic_core import PydanticCustomError, core_schema

from flock.core.media.image import Octets, decoded
from flock.core.media.limits import FileLimits
from flock.core.media.placeholders import placeholder
from flock.core.media.sniffing import certain_text, is_text_type, sniffed

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

_STANDARD: Final = FileLimits()

NAMELESS: Final = "file"
"""What a file is called of whose name nothing is left."""

MAX_NAME: Final = 200
"""How many bytes of UTF-8 a name may have: less than any file system takes."""

_REFUSED: Final = re.compile(r'[<>:"|?*\\/]')
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Kinds of characters that are not seen, or turn the direction of writing."""
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.DOTALL)
"""What Windows takes for a device."""


def clean_name(name: str) -> str:
    """Return a file name that is safe on any system: no folders, no hidden characters.

    It is the same for its own result.

    Args:
        name: A name that somebody gave, perhaps with folders.
    """
    name = unicodedata.normalize("NFC", name)
    name = re.split(r"[\\/]", name)[-1]
    name = "".join(c for c in name if unicodedata.category(c) not in _HIDDEN)
    name = _REFUSED.sub("_", name)
    name = " ".join(name.split()).strip(" .")
    name = unicodedata.normalize("NFC", name)
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    if len(name.encode()) > MAX_NAME:
        name = _shortened(name)
    return name or NAMELESS


def _shortened(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > 16 or not ending.isascii() or " " in ending:
        stem, dot, ending = name, "", ""
    room = MAX_NAME - len(ending) - len(dot)
    stem = stem.encode()[:room].decode(errors="ignore").strip(" .")
    return f"{stem}{dot}{ending}"


class File:
    r"""A file, as a field of any model: its content, a safe name, and what it is by its content.

    It never changes; files are equal when their names and contents are. On the board its content
    is base64. Where a model of language fills it, or a dict makes it, text will do:
    `{"name": "notes.md", "text": "..."}`.

    ```python
    from flock import File

    file = File.from_bytes(b"id,price\n1,9.5\n", "../orders.csv")
    print(file)  # -> File('orders.csv', text/csv, 15 bytes)
    print(file.text().splitlines()[0])  # -> id,price
    ```

    Attributes:
        name: Its name, without folders and without characters that are unsafe somewhere.
        bytes: Its content.
        media_type: What the content is; `"application/octet-stream"` where nothing tells.
    """

    __slots__ = ("_digest", "bytes", "media_type", "name")

    name: str
    bytes: Octets
    media_type: str
    _digest: Octets

    def __init__(self, data: Octets, name: str, *, limits: FileLimits | None = None) -> None:
        """Make a file of its content; the same as `from_bytes`."""
        if not isinstance(data, bytes | bytearray | memoryview):
            msg = f"a file is made of bytes, not of a {type(data).__name__}"
            raise ValueError(msg)
        if not isinstance(name, str):
            msg = f"a file's name is text, not a {type(name).__name__}"
            raise ValueError(msg)
        limits = limits or _STANDARD
        data = Octets(data)
        name = clean_name(name)
        if len(data) > limits.max_bytes:
            raise ValueError(_too_large(name, len(data), limits))
        media_type = sniffed(data, name)
        if not limits.allows(media_type):
            msg = (
                f"file {name!r} is {media_type} by its content, and may be "
                f"{', '.join(limits.media_types)}"
            )
            raise ValueError(msg)
        put = object.__setattr__
        put(self, "name", name)
        put(self, "bytes", data)
        put(self, "media_type", media_type)
        put(self, "_digest", sha256(data).digest())

    @classmethod
    def from_bytes(cls, data: Octets, name: str, *, limits: FileLimits | None = None) -> Self:
        """Make a file of its content.

        Args:
            data: The content.
            name: Its name, which is made safe.
            limits: What it may be.

        Raises:
            ValueError: It is larger, or something else, than it may be.
        """
        return cls(data, name, limits=limits)

    @classmethod
    def from_text(cls, text: str, name: str, *, limits: FileLimits | None = None) -> Self:
        """Make a file of text, in UTF-8."""
        return cls(text.encode(), name, limits=limits)

    @classmethod
    def from_path(cls, path: str | Path, *, limits: FileLimits | None = None) -> Self:
        """Make a file of one on disk, by its own name. No more of it is read than it may have.

        Raises:
            OSError: It cannot be read.
            ValueError: It is larger, or something else, than it may be.
        """
        limits, path = limits or _STANDARD, Path(path)
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
        if len(data) > limits.max_bytes:
            msg = f"{str(path)!r} is larger than the {limits.max_bytes:,} bytes a file may have"
            raise ValueError(msg)
        return cls(data, path.name, limits=limits)

    @property
    def is_text(self) -> bool:
        """Whether its content is text for certain."""
        return is_text_type(self.media_type)

    def text(self, encoding: str | None = None) -> str:
        """Return its content as text.

        Args:
            encoding: The encoding, where you know it. Without it only what is certain is read:
                a byte order mark, or valid UTF-8.

        Raises:
            ValueError: It is not certain what the text is, or it is not in that encoding.
        """
        if encoding is not None:
            return self.bytes.decode(encoding)
        found = certain_text(self.bytes)
        if found is None:
            msg = (
                f"file {self.name!r} ({self.media_type}) is no text for certain: it has no byte "
                "order mark and is not UTF-8; name its encoding, as in file.text('latin-1')"
            )
            raise ValueError(msg)
        return found

    def data_url(self) -> str:
        """Return its content as a data URL (RFC 2397)."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.bytes).decode()}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return self._digest == other._digest and self.name == other.name

    def __hash__(self) -> int:
        return hash((self._digest, self.name))

    def __repr__(self) -> str:
        return f"File({self.name!r}, {self.media_type}, {len(self.bytes):,} bytes)"

    def __setattr__(self, name: str, value: object) -> None:
        msg = f"a file never changes; {name!r} cannot be set, make a new one instead"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> None:
        msg = f"a file never changes; {name!r} cannot be deleted"
        raise AttributeError(msg)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        del memo
        return self

    def __reduce__(self) -> tuple[object, ...]:
        limits = FileLimits(max_bytes=max(1, len(self.bytes)))
        return _unpickled, (self.bytes, self.name, limits)

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        source: Any,  # noqa: ANN401 - the annotation
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """Let Pydantic validate and write files, within the standard limits."""
        del source, handler
        return file_schema(_STANDARD)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe a file for JSON Schema."""
        del schema
        return file_json_schema(handler.mode)


def _unpickled(data: bytes, name: str, limits: FileLimits) -> File:
    return File(data, name, limits=limits)


def file_schema(limits: FileLimits) -> CoreSchema:
    """Return the Pydantic schema of a file field with these limits."""

    def validate(value: object) -> File:
        try:
            return _validated(value, limits)
        except ValueError as error:
            raise PydanticCustomError("file", "{why}", {"why": str(error)}) from error

    examples = [{"name": f"notes-{n}.txt", "text": f"text {n}"} for n in range(1, 9)]
    return core_schema.no_info_plain_validator_function(
        validate,
        json_schema_input_schema=core_schema.dict_schema(
            metadata={"pydantic_js_updates": {"examples": examples}}
        ),
        serialization=core_schema.plain_serializer_function_ser_schema(
            _written, info_arg=True, when_used="json"
        ),
    )


def file_json_schema(mode: str) -> dict[str, Any]:
    """Return the JSON Schema of a file field.

    Args:
        mode: `"serialization"`: as it is written, with its content as base64. Otherwise as a
            language model can make one: of text.
    """
    text = {"type": "string"}
    if mode == "serialization":
        fields = {"name": text, "media_type": text, "data": {**text, "contentEncoding": "base64"}}
        about = "A file: its name, media type and content"
    else:
        fields = {
            "name": {**text, "description": "File name with its ending"},
            "text": {**text, "description": "The whole content"},
        }
        about = "A text file"
    return {
        "type": "object",
        "description": about,
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _written(file: File, info: core_schema.SerializationInfo[Any]) -> dict[str, str] | str:
    named = placeholder(file, "file", info.context)
    if named is not None:
        return named
    content = base64.b64encode(file.bytes).decode()
    return {"name": file.name, "media_type": file.media_type, "data": content}


def _validated(value: object, limits: FileLimits) -> File:
    if isinstance(value, File):
        if len(value.bytes) <= limits.max_bytes and limits.allows(value.media_type):
            return value
        return File(value.bytes, value.name, limits=limits)
    if not isinstance(value, dict):
        msg = (
            f"a file is a File, or an object with 'name' and 'data' (base64) or 'text', not a "
            f"{type(value).__name__}; read a file with File.from_path"
        )
        raise ValueError(msg)
    parts = cast("dict[object, object]", value)
    name, data, text = parts.get("name"), parts.get("data"), parts.get("text")
    unknown = parts.keys() - {"name", "media_type", "data", "text"}
    content = data if text is None else text
    is_one = data is None or text is None
    if unknown or not is_one or not isinstance(name, str) or not isinstance(content, str):
        msg = (
            "a file is an object with 'name' and either 'data' (base64) or 'text', all of them "
            f"text; this one has {sorted(map(str, parts))}"
        )
        raise ValueError(msg)
    if text is not None:
        return File(content.encode(), name, limits=limits)
    return File(decoded(content, limits.max_bytes, "file"), name, limits=limits)


def _too_large(name: str, size: int, limits: FileLimits) -> str:
    return (
        f"file {name!r} has {size:,} bytes and may have {limits.max_bytes:,}; raise max_bytes of "
        "its FileLimits, or publish a reference to it"
    )

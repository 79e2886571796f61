"""Images and files in a prompt, as parts of a chat message.

The shapes are those of the OpenAI chat completions API, which providers and servers speak:
https://platform.openai.com/docs/guides/images and .../guides/pdf-files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flock.core.media.file import File
from flock.core.media.image import IMAGE_FORMAT, Image
from flock.core.media.placeholders import Placeholders
from flock.core.media.walk import media_parts, text_without_media
from flock.engines.spotlight import spotlit
from flock.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

_READ_AS_FILES: Final = frozenset({"application/pdf"})


class PromptMedia:
    """What a prompt shows besides text: gathers it while models are written as JSON.

    ```python
    from pydantic import BaseModel
    from flock import File
    from flock.engines.media import PromptMedia


    class Report(BaseModel):
        title: str
        table: File


    media = PromptMedia(agent="analyst", model="openai/gpt-4.1", takes_images=True)
    text = media.json(Report(title="May", table=File.from_text("a,b", "may.csv")))
    print(text)  # -> {"title":"May","table":"<file 1>"}
    [part] = media.parts()
    print(part["text"].splitlines()[0])  # -> <file 1> is 'may.csv' (text/csv):
    ```

    Args:
        agent: Whose prompt it is, for errors.
        model: The model string, for errors.
        takes_images: Whether the model's messages may hold images.
        takes_files: Whether they may hold PDF files, as a `file` part.
    """

    def __init__(
        self, *, agent: str, model: str, takes_images: bool, takes_files: bool = False
    ) -> None:
        self._agent = agent
        self._model = model
        self._takes_images = takes_images
        self._takes_files = takes_files
        self._placeholders = Placeholders()

    def json(self, model: BaseModel) -> str:
        """Return a model's JSON with placeholders for its media, which it remembers.

        Raises:
            EngineError: The language model cannot be shown one of them.
        """
        text = text_without_media(model, self._placeholders)
        if self._placeholders.media:
            for path, media in media_parts(model):
                self._check(path, media, type(model).__name__)
        return text

    def parts(self, *, spotlight: bool = False) -> list[dict[str, Any]]:
        """Return what to put behind the text of the message: each medium after its name.

        Args:
            spotlight: Whether the text of files stands between delimiters that it cannot hold.
        """
        parts: list[dict[str, Any]] = []
        for name, media in self._placeholders.media.items():
            if isinstance(media, Image):
                parts.append({"type": "text", "text": f"{name}:"})
                parts.append({"type": "image_url", "image_url": {"url": media.data_url()}})
            elif media.is_text:
                about = f"{name} is {media.name!r} ({media.media_type}):"
                shown = f"{about}\n{media.text()}"
                if spotlight:
                    marked = spotlit(shown)
                    shown = f"{name}: {marked.instruction}\n\n{marked.text}"
                parts.append({"type": "text", "text": shown})
            else:
                about = f"{name} is {media.name!r} ({media.media_type}):"
                content = {"filename": media.name, "file_data": media.data_url()}
                parts.append({"type": "text", "text": about})
                parts.append({"type": "file", "file": content})
        return parts

    def content(self, text: str, *, spotlight: bool = False) -> str | list[dict[str, Any]]:
        """Return the content of a message: the text alone where there is nothing else.

        Args:
            text: The text before the media, marked already if it is to be.
            spotlight: As in `parts`.
        """
        parts = self.parts(spotlight=spotlight)
        return [{"type": "text", "text": text}, *parts] if parts else text

    def _check(self, path: str, media: Image | File, kind: str) -> None:
        if isinstance(media, Image):
            if self._takes_images:
                return
            why = "it takes no images"
            remedy = "use a model that does, or exclude the field"
        elif media.is_text or (self._takes_files and media.media_type in _READ_AS_FILES):
            return
        else:
            why = "it takes no files other than text"
            remedy = "publish the file's text, or compute the agent with calls(fn)"
        msg = (
            f"agent {self._agent!r}: model {self._model!r} cannot be shown {media!r} in field "
            f"{path!r} of {kind!r}, since {why}; {remedy}"
        )
        raise EngineError(msg)


def images_asked(model: type[BaseModel]) -> list[str]:
    """Return which fields of an output type have to be images, which no language model makes.

    Args:
        model: A model class.

    Returns:
        Their places, such as `pages[].picture`; empty if a language model can fill the type.
        Fields that may be left out, or be something else, are not among them.
    """
    schema = model.model_json_schema(by_alias=False)
    return list(_images(schema, schema.get("$defs", {}), "", frozenset()))


def _images(
    schema: Mapping[str, Any], types: Mapping[str, Any], path: str, begun: frozenset[str]
) -> Iterator[str]:
    if (ref := schema.get("$ref")) is not None:
        name = str(ref).rpartition("/")[2]
        if name not in begun:
            yield from _images(types[name], types, path, begun | {name})
        return
    if schema.get("format") == IMAGE_FORMAT:
        yield path
    for name in schema.get("required", ()):
        step = f"{path}.{name}" if path else str(name)
        yield from _images(schema["properties"][name], types, step, begun)
    if schema.get("minItems") and isinstance(schema.get("items"), dict):
        yield from _images(schema["items"], types, f"{path}[]", begun)

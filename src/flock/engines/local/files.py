"""Where models lie on disk, and which name means which file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flock.engines.local.catalogue import CATALOGUE, CatalogueModel
from flock.errors import DeclarationError, EngineError

PREFIX: Final = "local/"
CACHE_VARIABLE: Final = "FLOCK_CACHE"
_MAGIC: Final = b"GGUF"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's file.

    Attributes:
        name: The model string, as the user wrote it.
        path: Where the file is, or will be once it is pulled.
        entry: What the catalogue says of it; None for a file of the user's own.
    """

    name: str
    path: Path
    entry: CatalogueModel | None

    def check(self) -> None:
        """Find out whether the file is there and is a model, without loading it.

        Raises:
            EngineError: There is no such file, or it cannot be read, or is no model. Asking again
                does not help.
        """
        try:
            with self.path.open("rb") as file:
                magic = file.read(len(_MAGIC))
        except FileNotFoundError:
            raise EngineError(self._absence()) from None
        except OSError as error:
            msg = f"the model {self.name!r} cannot be read from {str(self.path)!r}: {error}"
            raise EngineError(msg) from error
        if magic != _MAGIC:
            msg = (
                f"{str(self.path)!r} is no model of llama.cpp: it does not begin with GGUF. "
                + self._again()
            )
            raise EngineError(msg)

    def damage(self) -> str:
        """Say what to do about a file that llama.cpp does not load."""
        return (
            f"llama.cpp could not load {str(self.path)!r}: the file may be damaged, of an "
            "architecture this version does not know, or larger than the memory. " + self._again()
        )

    def _absence(self) -> str:
        if self.entry is None:
            return f"the model {self.name!r} names a file that is not there: {str(self.path)!r}"
        return (
            f"the model {self.name!r} has not been pulled ({self.entry.size_text} once). "
            f"Run: flock models pull {self.entry.name}"
        )

    def _again(self) -> str:
        if self.entry is None:
            return "Give the path of a .gguf file."
        return f"Run: flock models remove {self.entry.name}; flock models pull {self.entry.name}"


def find_model(name: str, *, cache: Path | None = None) -> ModelFile:
    """Return which file a model string means.

    Args:
        name: `"local/NAME"` of the catalogue, or `"local/"` and the path of a `.gguf` file:
            `"local//srv/model.gguf"`, `"local/~/model.gguf"`, `"local/./model.gguf"`.
        cache: The folder of pulled models; Flock's own if None.

    Raises:
        DeclarationError: The catalogue has no such name.
    """
    rest = name.removeprefix(PREFIX)
    if (entry := CATALOGUE.get(rest)) is not None:
        return ModelFile(name, model_folder(entry, cache) / entry.file, entry)
    if rest.endswith(".gguf") or rest.startswith(("/", "./", "../", "~")):
        return ModelFile(name, Path(rest).expanduser(), None)
    msg = (
        f"there is no local model {rest!r}. Known are {', '.join(map(repr, CATALOGUE))}; a file "
        f"of your own is named by its path: 'local//path/to/model.gguf'"
    )
    raise DeclarationError(msg)


def cache_folder() -> Path:
    """Return where Flock keeps what can be fetched again, shared by all its programs.

    The environment's `FLOCK_CACHE`, or else the platform's cache folder.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).expanduser()
    try:
        from platformdirs import user_cache_path
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    return user_cache_path("flock", appauthor=False)


def model_folder(entry: CatalogueModel, cache: Path | None = None) -> Path:
    """Return where a model of the catalogue lies, with what is left of a broken-off pull."""
    return (cache_folder() if cache is None else cache) / "models" / entry.name


def missing_extra(error: ModuleNotFoundError) -> DeclarationError:
    """Return the error for a package of the extra that is not installed."""
    return DeclarationError(
        f"local models need {error.name!r}, which is not installed. "
        "Install it with: pip install 'flock[local]'"
    )

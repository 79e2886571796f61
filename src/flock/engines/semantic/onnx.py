"""The embedder inside the process: a sentence model as an ONNX file, on the CPU."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, Self

from flock.engines.semantic.files import ModelFiles, default_files, files_of, require_libraries
from flock.engines.threads import ThreadPool
from flock.errors import DeclarationError, EngineError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Pooling = Literal["mean", "cls"]

_MAX_TOKENS: Final = 512
"""Tokens that one call of the model takes, padding included: bounds its memory, and how long it
cannot be given up. More are hardly faster per text."""


class OnnxEmbedder:
    """Embeds texts with a sentence model in the process, on the CPU, without network.

    Without arguments it is all-MiniLM-L6-v2 with 8-bit weights, which the extra `semantic`
    brings along: English, 384 numbers for a text. The model is loaded at the first text, in
    a thread, and computes in a thread, one call at a time. The texts of a call are put
    through the model in groups of similar length.

    A text's vector is that of the model card: the mean of the vectors of its tokens, of
    length 1 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).

    Args:
        model: A folder with `model.onnx` (or `onnx/model.onnx`) and `tokenizer.json`, as
            sentence-transformers exports them, or the `.onnx` file itself; the default model
            unless said.
        pooling: How a text's vector is made of its tokens' if the model does not do it: their
            mean, or the first one's (`"cls"`).
        max_tokens: How many tokens of a text the model reads; the rest is cut off.
        threads: How many threads the model computes with.

    Raises:
        DeclarationError: A library or the model is not installed, or an argument makes no
            sense.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        pooling: Pooling = "mean",
        max_tokens: int = 512,
        threads: int = 1,
    ) -> None:
        if pooling not in ("mean", "cls"):
            msg = f"OnnxEmbedder: pooling is 'mean' or 'cls', not {pooling!r}"
            raise DeclarationError(msg)
        for option, number, least in (("max_tokens", max_tokens, 3), ("threads", threads, 1)):
            if type(number) is not int or number < least:
                msg = f"OnnxEmbedder: {option} is a whole number from {least}, not {number!r}"
                raise DeclarationError(msg)
        require_libraries()
        self._files = default_files() if model is None else files_of(Path(model))
        self._pooling: Pooling = pooling
        self._max_tokens = max_tokens
        self._threads = threads
        self._pool = ThreadPool()
        self._lock = threading.Lock()
        self._model: _Model | None = None

    def __repr__(self) -> str:
        return f"OnnxEmbedder({str(self._files.model)!r})"

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector of length 1 for each text, in their order.

        Cancelling it ends the computation after the group of texts that it is at.

        Raises:
            EngineError: The model cannot be loaded, or is no sentence model.
        """
        is_given_up = threading.Event()
        self._pool.open()
        try:
            return await self._pool.call(self._embed, list(texts), is_given_up)
        except asyncio.CancelledError:
            is_given_up.set()
            raise

    async def close(self) -> None:
        """Let the model go. It is loaded again when there is something to embed."""
        self._model = None
        self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    # --- in a thread ---

    def _embed(self, texts: list[str], is_given_up: threading.Event) -> list[list[float]]:
        with self._lock:
            if is_given_up.is_set():
                return []
            model = self._model
            if model is None:
                model = self._model = _load(self._files, self._max_tokens, self._threads)
            tokens = [model.tokenizer.encode(text).ids for text in texts]
            vectors: list[list[float]] = [[]] * len(texts)
            for group in _groups(tokens):
                if is_given_up.is_set():
                    return []
                found = _run(model, [tokens[at] for at in group], self._pooling)
                for at, vector in zip(group, found, strict=True):
                    vectors[at] = vector
            return vectors


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class _Session(Protocol):
    """What is used of `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> Sequence[_Named]: ...
    def get_outputs(self) -> Sequence[_Named]: ...
    def run(self, output_names: list[str], input_feed: dict[str, Any]) -> Sequence[Any]: ...


class _Model(NamedTuple):
    session: _Session
    tokenizer: Tokenizer
    inputs: frozenset[str]
    output: str
    """The output that is read: the text's vector where there is one, else the tokens'."""


def _load(files: ModelFiles, max_tokens: int, threads: int) -> _Model:
    """Load a model.

    Raises:
        EngineError: It cannot be loaded.
    """
    import onnxruntime

    library: Any = onnxruntime  # it has no types
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it would keep the most that was ever needed
    options.log_severity_level = 3  # errors; they are raised, too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        files.verify()
        session: _Session = library.InferenceSession(
            str(files.model), sess_options=options, providers=["CPUExecutionProvider"]
        )
        tokenizer = files.tokenizer()
    except Exception as error:
        msg = f"the sentence model {str(files.model)!r} cannot be loaded: {error}"
        raise EngineError(msg) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)  # pyright: ignore[reportUnknownMemberType]
    inputs = frozenset(given.name for given in session.get_inputs())
    outputs = [out.name for out in session.get_outputs()]
    if not {"input_ids", "attention_mask"} <= inputs <= {*_INPUTS}:
        msg = (
            f"{str(files.model)!r} is no sentence model: it takes {', '.join(sorted(inputs))}, "
            "and not input_ids and attention_mask"
        )
        raise EngineError(msg)
    output = "sentence_embedding" if "sentence_embedding" in outputs else outputs[0]
    return _Model(session, tokenizer, inputs, output)


_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")


def _groups(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the positions of texts that go through the model together, by ascending length."""
    group: list[int] = []
    for at in sorted(range(len(tokens)), key=lambda at: len(tokens[at])):
        if group and (len(group) + 1) * len(tokens[at]) > _MAX_TOKENS:
            yield group
            group = []
        group.append(at)
    if group:
        yield group


def _run(model: _Model, tokens: Sequence[Sequence[int]], pooling: Pooling) -> list[list[float]]:
    """Return the vectors of a group of texts.

    Args:
        model: What computes them.
        tokens: Of each text its token ids.
        pooling: How a text's vector is made of its tokens'.

    Raises:
        EngineError: The model's output has another shape than a sentence model's.
    """
    import numpy as np

    shape = (len(tokens), max(map(len, tokens)))
    ids = np.zeros(shape, np.int64)
    mask = np.zeros(shape, np.int64)
    for row, text in enumerate(tokens):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    fed = {name: given[name] for name in model.inputs}
    out = np.asarray(model.session.run([model.output], fed)[0], np.float32)
    if out.ndim == 3 and out.shape[:2] == shape:
        if pooling == "cls":
            out = out[:, 0]
        else:
            weights = mask[..., None].astype(np.float32)
            out = (out * weights).sum(axis=1) / weights.sum(axis=1)
    if out.ndim != 2 or len(out) != shape[0]:
        msg = f"the model's output {model.output!r} has the shape {out.shape} for texts of {shape}"
        raise EngineError(msg)
    lengths = np.linalg.norm(out, axis=1, keepdims=True)
    vectors: list[list[float]] = (out / np.maximum(lengths, 1e-12)).tolist()
    return vectors

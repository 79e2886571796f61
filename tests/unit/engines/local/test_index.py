"""Which index is asked is what pip and uv are set to; both kinds of its pages are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from flock.engines.local.catalogue import CATALOGUE
from flock.engines.local.index import PYPI, PackageIndex, hub_url, index_urls, redacted

SETTINGS = (
    "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE", "XDG_CONFIG_DIRS",
)  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any settings."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "xdg"))
    monkeypatch.setattr("sys.prefix", str(tmp_path / "venv"))
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_environment_goes_before_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://file.example/simple\n")

    assert index_urls()[0] == "https://file.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    assert index_urls()[0] == "https://pip.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "mine=https://uv.example/simple")
    assert index_urls()[0] == "https://uv.example/simple"


def test_extra_indexes_follow_and_folders_are_left_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / "xdg/pip/pip.conf", "[install]\nextra-index-url = file:///srv https://b.example\n")
    monkeypatch.setenv("PIP_INDEX_URL", "https://a.example")

    assert index_urls() == ["https://a.example", "https://b.example"]


def test_uvs_file_names_a_default_index(home: Path) -> None:
    index = '[[index]]\nurl = "https://uv.example/simple"\ndefault = true\n'
    write(home / ".config/uv/uv.toml", index)

    assert index_urls()[0] == "https://uv.example/simple"


def test_broken_settings_are_passed_over(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "no section\n")
    write(home / ".config/uv/uv.toml", "[[[\n")

    assert [url for url in index_urls() if str(home) in url] == []


JSON: dict[str, Any] = {
    "files": [
        {"filename": "a_b-1.0.tar.gz", "url": "a_b-1.0.tar.gz", "hashes": {}},
        {
            "filename": "a_b-1.0-py3-none-any.whl",
            "url": "/files/a_b-1.0-py3-none-any.whl",
            "hashes": {"sha256": "abc"},
            "size": 7,
        },
    ]
}
HTML = (
    "<html><a href='a_b-1.0.tar.gz'>a_b-1.0.tar.gz</a> "
    "<a href='/files/a_b-1.0-py3-none-any.whl#sha256=abc'>a_b-1.0-py3-none-any.whl</a></html>"
)


def answering(*answers: httpx.Response | Exception) -> PackageIndex:
    """Indexes that answer in order."""
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/simple/a-b/"
        given = waiting.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    http = httpx.Client(transport=httpx.MockTransport(answer))
    return PackageIndex(http, [f"https://{n}.example/simple" for n in range(len(answers))])


@pytest.mark.parametrize(
    "page",
    [
        httpx.Response(
            200, json=JSON, headers={"Content-Type": "application/vnd.pypi.simple.v1+json"}
        ),
        httpx.Response(200, html=HTML),
    ],
    ids=["json", "html"],
)
def test_a_wheel_is_found_with_its_address_and_checksum(page: httpx.Response) -> None:
    found = answering(page).find("A_b", "1.0")

    assert found is not None
    assert found.url == "https://0.example/files/a_b-1.0-py3-none-any.whl"
    assert (found.sha256, found.host) == ("abc", "0.example")


def test_the_next_index_is_asked_where_the_first_does_not_have_it() -> None:
    found = answering(httpx.Response(404), httpx.Response(200, html=HTML)).find("a.b", "1.0")

    assert found is not None
    assert found.host == "1.example"


def test_another_release_is_not_taken() -> None:
    assert answering(httpx.Response(200, html=HTML)).find("a-b", "2.0") is None


def test_an_index_that_cannot_be_reached_is_an_error_only_if_no_other_has_it() -> None:
    down = httpx.ConnectError("down")

    assert answering(down, httpx.Response(200, html=HTML)).find("a-b", "1.0") is not None
    with pytest.raises(httpx.ConnectError):
        answering(httpx.ConnectError("down"), httpx.Response(404)).find("a-b", "1.0")


def test_credentials_are_never_told() -> None:
    assert (
        redacted("https://me:secret@a.example/simple/x/?token=1") == "https://a.example/simple/x/"
    )


def test_the_hub_may_be_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    file = CATALOGUE["qwen2.5-coder-1.5b"].hub
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")

    assert hub_url(file).startswith("https://mirror.example/Qwen/")
    monkeypatch.delenv("HF_ENDPOINT")
    assert hub_url(file).startswith("https://huggingface.co/Qwen/")


@pytest.mark.usefixtures("home")
def test_without_settings_it_is_pypi() -> None:
    system = [url for url in index_urls() if url != PYPI]

    assert index_urls()[0] == PYPI or system  # the machine's own settings may name another


@pytest.mark.parametrize("page", ["<html>", "[]", '{"files": [{}]}'])
def test_an_index_that_answers_with_something_else_does_not_hide_the_next(page: str) -> None:
    kind = "application/vnd.pypi.simple.v1+json"
    files = '{"files": [{"filename": "m-1-py3-none-any.whl", "url": "m.whl"}]}'

    def answer(request: httpx.Request) -> httpx.Response:
        text = page if request.url.host == "bad.example" else files
        return httpx.Response(200, text=text, headers={"Content-Type": kind})

    http = httpx.Client(transport=httpx.MockTransport(answer))
    found = PackageIndex(http, ["https://bad.example", "https://good.example"]).find("m", "1")
    assert found is not None
    assert found.url == "https://good.example/m/m.whl"
    with pytest.raises(httpx.HTTPError, match="no page of an index"):
        PackageIndex(http, ["https://bad.example"]).find("m", "1")

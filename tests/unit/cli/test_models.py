"""`flock models` as its user meets it: what it prints, where, and the exit codes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from flock.cli.app import app
from flock.cli.models import show_pull
from flock.engines.local.catalogue import CATALOGUE
from flock.engines.local.download import Progress

SMOLLM2 = CATALOGUE["smollm2-135m"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setenv("FLOCK_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9")
    for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


def put(cache: Path, *, size: int = SMOLLM2.size) -> Path:
    """Lay a file of the right size, without content, where a pulled model lies."""
    path = cache / "models" / SMOLLM2.name / SMOLLM2.file
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(size)
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["models", *words])


@pytest.mark.usefixtures("cache")
def test_an_empty_list_shows_what_there_is_and_how_to_get_it() -> None:
    shown = run("list")

    assert shown.exit_code == 0
    assert "smollm2-135m\tnot pulled\t98 MB\tApache-2.0" in shown.stdout
    assert "qwen2.5-coder-1.5b\tnot pulled\t1.12 GB\tApache-2.0" in shown.stdout
    assert "flock models pull smollm2-135m" in shown.stderr


def test_a_pulled_model_is_listed_as_such_and_the_hint_is_gone(cache: Path) -> None:
    put(cache)

    shown = run("list")

    assert "smollm2-135m\tpulled" in shown.stdout
    assert shown.stderr == ""


def test_a_pull_that_broke_off_is_listed_with_what_is_there(cache: Path) -> None:
    partial = cache / "models/smollm2-135m/hub/model.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(2_000_000))

    assert "smollm2-135m\t2 MB of it" in run("list").stdout


def test_the_list_comes_as_json(cache: Path) -> None:
    path = put(cache)

    first, second = json.loads(run("list", "--json").stdout)

    assert first["model"] == "local/smollm2-135m"
    assert (first["pulled"], first["path"]) == (True, str(path))
    assert (second["pulled"], second["bytes_on_disk"]) == (False, 0)
    assert second["sha256"] == CATALOGUE["qwen2.5-coder-1.5b"].sha256


def test_pulling_what_is_there_prints_its_path(cache: Path) -> None:
    path = put(cache)

    pulled = run("pull", "local/smollm2-135m")

    assert (pulled.exit_code, pulled.stdout) == (0, f"{path}\n")


@pytest.mark.usefixtures("cache")
def test_pulling_without_a_network_fails_with_the_remedy() -> None:
    failed = run("pull", "smollm2-135m")

    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert "could not be fetched" in failed.stderr
    assert "what has been fetched is kept" in failed.stderr


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("command", ["pull", "remove"])
def test_an_unknown_name_is_a_misuse_that_lists_the_known_ones(command: str) -> None:
    failed = run(command, "smollm9")

    assert failed.exit_code == 2
    assert "'smollm2-135m', 'qwen2.5-coder-1.5b'" in failed.stderr


def test_removing_says_what_is_free_again(cache: Path) -> None:
    path = put(cache)

    removed, again = run("remove", "smollm2-135m"), run("remove", "smollm2-135m")

    assert "98 MB are free again" in removed.stdout
    assert not path.exists()
    assert (again.exit_code, "nothing of smollm2-135m" in again.stdout) == (0, True)


STEPS = (
    Progress("waiting", "", 0, 0),
    Progress("downloading", "example.org", 1_000_000, 4_000_000),
    Progress("downloading", "example.org", 1_100_000, 4_000_000),
    Progress("checking", "", 4_000_000, 4_000_000),
)


def show(console: Console, *, wanted: bool = True) -> None:
    with show_pull(console, wanted=wanted) as shown:
        for step in STEPS:
            shown(step)


def test_without_a_terminal_a_pull_is_a_line_for_each_stage() -> None:
    written = io.StringIO()
    show(Console(file=written, width=100))

    assert written.getvalue().splitlines() == [
        "waiting for another process that pulls it ...",
        "from example.org 25% of 4 MB ...",
        "checking 100% of 4 MB ...",
    ]


def test_on_a_terminal_a_pull_is_a_bar_that_is_gone_at_the_end() -> None:
    written = io.StringIO()
    show(Console(file=written, width=100, force_terminal=True))

    assert "example.org" in written.getvalue() or "checking" in written.getvalue()
    assert written.getvalue().rstrip().endswith("\x1b[2K")


def test_a_pull_can_be_silent() -> None:
    written = io.StringIO()
    show(Console(file=written), wanted=False)

    assert written.getvalue() == ""

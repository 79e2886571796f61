"""`flock demo` with models: a made-up one, a real small one, and such as cannot be asked."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flock.cli.app import app
from flock.cli.demo import readiness
from flock.errors import DeclarationError, ModelUnavailable
from tests.models import SMOLLM2, pulled

BAD = '"""Bad."""\n\nimport pickle\n\nload = eval("pickle" + ".loads")\nload(b"")\n'
OPENAI = "openai/gpt-4.1"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to review, seen from the folder that it lies in."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "tree"
    root.mkdir()
    (root / "bad.py").write_text(BAD)
    (root / "good.py").write_text('"""Good."""\n')
    return root


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def demo(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, ["demo", *arguments], env={"COLUMNS": "100"} | environment)


def report(tree: Path) -> str:
    text = (tree.parent / "flock-report.md").read_text()
    return re.sub(r"\nWritten by `flock demo`: .*\n", "\n", text)


def without_thoughts(text: str) -> str:
    """The report without the lines that a model wrote."""
    lines = [line for line in text.splitlines() if not line.startswith("  - *")]
    if "## Verdict" in lines:
        start = lines.index("## Verdict")
        end = next(i for i, line in enumerate(lines) if re.match(r"\d+ files?, ", line))
        del lines[start:end]
    return "\n".join(lines) + "\n"


def test_a_model_adds_to_the_report_and_changes_nothing_of_it(tree: Path) -> None:
    assert demo("tree", "--no-model").exit_code == 0
    plain = report(tree)
    assert "Verdict" not in plain
    result = demo("tree", "--model", "test")
    assert result.exit_code == 0, result.stderr
    text = report(tree)
    assert text.startswith("# Review of tree\n\n## Verdict\n")
    assert "- `bad.py:5` **high** eval: eval() runs text as code (CWE-95)\n  - *Why:*" in text
    assert without_thoughts(text) == plain
    assert result.stdout.startswith("Verdict (by test)")
    assert "test: 2 calls, 0 tokens" in result.stdout
    assert "Explained bad.py:5 (1 of 1)." in result.stderr


def test_json_has_what_the_model_said(tree: Path) -> None:
    found = json.loads(demo("tree", "--model", "test", "--json").stdout)["model"]
    assert (found["name"], found["missing"], found["calls"]) == ("test", [], 2)
    assert set(found["verdict"]) == {"summary", "first_step"}
    [explanation] = found["explanations"]
    assert (explanation["path"], explanation["line"]) == ("bad.py", 5)
    assert explanation["problem"]
    assert "model" not in json.loads(demo("tree", "--no-model", "--json").stdout)


def test_a_clean_file_has_a_verdict_and_nothing_to_explain(tree: Path) -> None:
    result = demo("tree/good.py", "--model", "test")
    assert result.exit_code == 0
    assert "The model writes 0 explanations and the verdict." in result.stderr
    assert "## Verdict" in report(tree)


def test_a_tree_without_files_asks_no_model(tree: Path) -> None:
    result = demo("tree", "-x", "*", "--model", "test")
    assert result.exit_code == 2
    assert "There is no Python file" in result.stderr
    assert "verdict" not in result.stderr


def test_a_model_that_cannot_be_reached_costs_its_part_of_the_report_alone(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert demo("tree", "--no-model").exit_code == 0
    plain = report(tree)
    result = demo(
        *("tree", "--model", OPENAI),
        OPENAI_API_BASE=f"http://127.0.0.1:{port}/v1",
    )
    assert result.exit_code == 0
    [line] = [line for line in result.stderr.splitlines() if "lacks" in line]
    assert line.startswith("The report lacks the verdict and 1 explanation: ModelUnavailable: ")
    assert f"127.0.0.1:{port}" in line
    assert report(tree) == plain


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("load_dspy", DeclarationError("pip install 'flock[dspy]'")),
        ("require", DeclarationError("pip install 'flock[local]'")),
        ("pull", ModelUnavailable("no network")),
    ],
)
def test_what_keeps_a_model_from_being_asked_is_said_in_a_line(
    tree: Path, monkeypatch: pytest.MonkeyPatch, part: str, error: Exception
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    place = readiness.download if part == "pull" else readiness
    monkeypatch.setattr(place, part, fail)
    result = demo("tree", "--model", SMOLLM2, FLOCK_CACHE=str(tree.parent / "cache"))
    assert result.exit_code == 0
    assert f"Goes on without a verdict: {error}\n" in result.stderr
    assert "## Verdict" not in report(tree)


def test_an_interrupted_pull_ends_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(readiness.download, "pull", interrupt)
    result = demo("tree", "--model", SMOLLM2, FLOCK_CACHE=str(tree.parent / "cache"))
    assert result.exit_code == 130
    assert "what has been pulled is kept" in result.stderr
    assert not (tree.parent / "flock-report.md").exists()


def test_a_name_that_is_no_model_is_refused_before_the_work(tree: Path) -> None:
    for name, message in (("local/gpt-9", "no local model 'gpt-9'"), ("openai/", "names no model")):
        result = demo("tree", "--model", name)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "reviewed" not in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_an_interrupt_while_the_model_writes_keeps_the_report(
    tree: Path, silent_server: str
) -> None:
    command = [sys.executable, "-m", "flock.cli", "demo", "tree", "--model", OPENAI]
    process = subprocess.Popen(
        command,
        cwd=tree.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENAI_API_BASE": silent_server},
        # a shell that started the tests in the background has had it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    while "The model writes" not in (line := process.stderr.readline()):
        assert line, "it ended before the model was asked"
    process.send_signal(signal.SIGINT)
    shown, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "The report lacks the verdict and 1 explanation: interrupted" in rest
    assert "Traceback" not in rest
    assert "The whole report: flock-report.md" in shown
    assert "- `bad.py:5` **high** eval" in report(tree)


@pytest.mark.local_model
def test_a_small_model_writes_a_verdict_and_an_explanation(tree: Path) -> None:
    result = demo("tree", "--model", pulled(), "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["model"]
    assert found["missing"] == []
    assert len(found["verdict"]["summary"]) >= 10
    assert len(found["explanations"]) == 1
    assert found["calls"] == 2
    assert found["output_tokens"] > 20
    assert found["usd"] == 0

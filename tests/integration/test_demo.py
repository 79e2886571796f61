"""`flock demo` as its user meets it: exit codes, messages, files, on real source trees."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flock.cli.app import app
from flock.cli.demo import pipeline
from flock.cli.demo.security import review_security
from flock.cli.demo.types import SecurityReview, SourceFile

BAD = """\
import pickle


def load(data, kind):
    \"\"\"Load it.

    Args:
        data: What to load.
    \"\"\"
    return eval(kind)(pickle.loads(data))
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to review, seen from the folder that it lies in."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "bad.py").write_text(BAD)
    (root / "sub" / "good.py").write_text('"""Good."""\n')
    return root


def demo(*arguments: str, model: str | None = None) -> Result:
    thinker = ("--no-model",) if model is None else ("--model", model)
    return CliRunner().invoke(app, ["demo", *arguments, *thinker], env={"COLUMNS": "100"})


def test_the_report_names_files_and_lines(tree: Path) -> None:
    result = demo("tree")
    assert result.exit_code == 0, result.output
    text = (tree.parent / "flock-report.md").read_text()
    assert "# Review of tree\n\n2 files, 11 lines, 1 function: 4 findings." in text
    assert "- `bad.py:10` **high** eval: eval() runs text as code (CWE-95)" in text
    assert "- `bad.py:10` **medium** unsafe-load: pickle.loads() can run code" in text
    assert "- `bad.py:4` **low** undescribed-argument: load() does not describe its" in text
    assert "- `bad.py:1` **low** no-docstring: bad.py has no docstring" in text
    assert "1 file, 1 line. Nothing found." in text
    assert re.search(r": 11 runs, 0 failed, in \d+\.\d s\.", text)


def test_the_terminal_shows_what_to_open(tree: Path) -> None:
    result = demo("tree")
    assert "tree/bad.py:10 eval() runs text as code (CWE-95)" in result.stdout
    assert "11 runs in" in result.stdout
    assert "The whole report: flock-report.md" in result.stdout
    assert "2 of 2 files reviewed." in result.stderr
    assert demo("tree", "--no-progress").stderr == ""


def test_the_same_tree_gives_the_same_report(tree: Path) -> None:
    for number in range(60):
        (tree / f"module{number}.py").write_text(BAD)
    texts: list[str] = []
    for name in ("one.md", "two.md"):
        assert demo("tree", "-o", name).exit_code == 0
        text = (tree.parent / name).read_text()
        texts.append(re.sub(r"in \d+\.\d s\.\n$", "", text))
    assert texts[0] == texts[1]
    assert "62 files," in texts[0]


@pytest.mark.parametrize("count", [1, 24, 25, 26, 51])
def test_there_is_one_report_whatever_the_number_of_files(tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"module{number}.py").touch()
    report = tmp_path / "report.md"
    assert demo(str(tmp_path), "--output", str(report)).exit_code == 0
    assert f"\n{count} file" in report.read_text()


def test_json_is_for_programs(tree: Path) -> None:
    result = demo("tree", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["tree"], report["failed"]) == ("tree", 0)
    assert [file["path"] for file in report["files"]] == ["bad.py", "sub/good.py"]
    assert report["files"][0]["findings"][0]["line"] == 1


def test_the_files_can_be_chosen(tree: Path) -> None:
    assert demo("tree", "--exclude", "bad.py").exit_code == 0
    assert "bad.py" not in (tree.parent / "flock-report.md").read_text()
    assert demo("tree", "--max-files", "1").exit_code == 0
    assert "good.py" not in (tree.parent / "flock-report.md").read_text()
    assert demo("tree/sub/good.py").exit_code == 0
    assert "# Review of good.py\n\n1 file," in (tree.parent / "flock-report.md").read_text()


def test_files_that_nobody_can_read_are_in_the_report(tree: Path) -> None:
    (tree / "empty.py").touch()
    (tree / "old.py").write_text("print 'hello'\n")
    (tree / "latin.py").write_bytes(b"a = '\xe4'\n")
    (tree / "null.py").write_bytes(b"a = 1\0\n")
    (tree / "deep.py").write_text("a = " + "(" * 1000)
    (tree / "escape.py").write_text("a = '\\d'\n")
    (tree / "loop.py").symlink_to("loop.py")
    (tree / "sub" / "up").symlink_to(tree)
    result = demo("tree")
    assert result.exit_code == 0, result.output
    text = (tree.parent / "flock-report.md").read_text()
    for line in (
        "`old.py:1` **high** syntax-error",
        "`latin.py:1` **medium** wrong-encoding",
        "`null.py:1` **high** syntax-error",
        "`deep.py:1` **high** syntax-error",
        "`loop.py:1` **medium** unreadable-file",
        "`sub/up:1` **info** symbolic-link",
    ):
        assert line in text
    assert "8 of 8 files" not in result.stderr
    assert "7 of 7 files reviewed, 3 could not be read" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no file or folder 'nowhere'."),
        (["tree/notes.txt"], "'tree/notes.txt' is no Python file."),
        (["tree/empty"], "There is no Python file to review in 'tree/empty'."),
        (["tree", "-x", "*"], "There is no Python file to review in 'tree'."),
        (["tree", "-o", "tree"], "--output 'tree' is a folder."),
        (["tree", "-o", "no/where.md"], "there is no folder 'no'."),
        (["tree/bad.py", "-o", "tree/bad.py"], "--output 'tree/bad.py' is source code"),
        (["tree/script", "-o", "tree/script"], "--output 'tree/script' is source code"),
        (["tree", "-o", "tree/new.py"], "--output 'tree/new.py' is source code"),
        (["tree", "--max-files", "0"], "Invalid value for '--max-files'"),
        (["tree", "--nonsense"], "No such option: --nonsense"),
    ],
)
def test_what_is_of_no_use_is_said(tree: Path, arguments: list[str], message: str) -> None:
    (tree / "notes.txt").touch()
    (tree / "empty").mkdir()
    (tree / "script").write_text(BAD)
    result = demo(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "reviewed" not in result.stderr
    assert result.stdout == ""
    assert (tree / "bad.py").read_text() == (tree / "script").read_text() == BAD
    assert not (tree.parent / "flock-report.md").exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything"
)
def test_what_this_user_may_not_read_or_write_is_said_before_the_work(tree: Path) -> None:
    (tree / "bad.py").chmod(0)
    (tree / "sub").chmod(0o500)
    for arguments, message in (
        (["tree/bad.py"], "not readable"),  # as typer says it
        (["tree", "-o", "tree/sub/report.md"], "--output 'tree/sub/report.md' may not be written"),
    ):
        result = demo(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "reviewed" not in result.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_no_file_to_review(tree: Path) -> None:
    os.mkfifo(tree / "pipe.py")
    result = demo("tree/pipe.py")
    assert result.exit_code == 2
    assert "'tree/pipe.py' is no Python file." in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk at hand")
def test_a_report_that_cannot_be_written_is_shown_all_the_same(tree: Path) -> None:
    result = demo("tree", "-o", "/dev/full")
    assert result.exit_code == 2
    assert "could not be written to '/dev/full': No space left on device." in result.stderr
    assert "tree/bad.py:10 eval() runs text as code (CWE-95)" in result.stdout
    assert "The whole report" not in result.stdout


def test_a_reviewer_that_fails_on_a_file_leaves_the_others_their_report(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(file: SourceFile) -> SecurityReview:
        if file.path == "bad.py":
            raise KeyError("no such luck")
        return review_security(file)

    monkeypatch.setattr(pipeline, "review_security", fragile)
    result = demo("tree")
    assert result.exit_code == 1
    assert "1 run failed:" in result.stderr
    assert "security on bad.py: KeyError: 'no such luck'" in result.stderr
    text = (tree.parent / "flock-report.md").read_text()
    assert "## Not reviewed" in text
    assert "- `bad.py`" in text
    assert "# Review of tree\n\n1 file," in text


def test_flocks_own_source_is_reviewed_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = demo()
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "flock-report.md").read_text()
    assert "# Review of flock\n" in text
    assert "## `cli/demo/`" in text
    assert "syntax-error" not in text


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_an_interrupt_ends_it_at_once_and_says_how_far_it_was(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"module{number}.py").write_text(BAD * 20)
    command = [sys.executable, "-m", "flock.cli", "demo", ".", "--no-model"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that started the tests in the background has had it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, first + rest
    assert "Interrupted: " in rest
    assert "No report was written." in rest
    assert "Traceback" not in rest
    assert not (tmp_path / "flock-report.md").exists()


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    runner = CliRunner()
    for arguments in (["--version"], ["version"]):
        assert runner.invoke(app, arguments).stdout.startswith("flock ")
    text = runner.invoke(app, ["demo", "--help"]).stdout
    for option in (
        "--output",
        "--exclude",
        "--max-files",
        "--no-progress",
        "--json",
        "--model",
        "--no-model",
    ):
        assert option in text


def test_without_its_extra_the_command_says_what_to_install() -> None:
    block = "import sys; sys.modules['typer'] = None; from flock.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'flock[cli]'" in done.stderr
    assert "Traceback" not in done.stderr

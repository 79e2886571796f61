"""`flock board` as its user meets it, on real files, beside real processes that hold them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flock import Flock
from flock.cli.app import app
from flock.errors import StoreCorrupt, StoreError
from flock.store.exchange import export_board
from flock.store.protocol import Commit, LogEntry
from flock.store.sqlite.inspection import inspect_board
from flock.store.sqlite.store import SQLiteBlackboardStore
from flock.testing import ManualClock
from tests.unit.support import T0, A, artifact

PROGRAM = dedent(
    """
    import asyncio
    import sys

    from pydantic import BaseModel

    from flock import Context, Flock, PrivateVisibility


    class Scan(BaseModel):
        patient: str


    class XRay(BaseModel):
        patient: str


    class Labs(BaseModel):
        patient: str


    class Diagnosis(BaseModel):
        text: str


    flock = Flock(store="sqlite:///board.db", name="clinic")
    broken = {"p3"} if "--mended" not in sys.argv else set()


    @flock.agent("radiologist").calls
    async def look(scan: Scan) -> XRay:
        return XRay(patient=scan.patient)


    @flock.agent("lab").calls
    async def measure(ctx: Context, scan: Scan) -> Labs:
        sample = await ctx.step("draw", lambda: "tube " + scan.patient)
        if scan.patient in broken:
            raise ValueError("no blood sample \\x1b[31m")
        return Labs(patient=scan.patient + sample[:0])


    @flock.agent("physician").calls
    async def conclude(xray: XRay, labs: Labs) -> Diagnosis:
        return Diagnosis(text=labs.patient)


    async def main():
        async with flock:
            for patient in sys.argv[1].split(",") if sys.argv[1] else ():
                seen_by = PrivateVisibility(agents={"radiologist", "lab"})
                await flock.publish(
                    Scan(patient=patient),
                    correlation_id=patient,
                    tags={"urgent"} if patient == "p2" else (),
                    visibility=seen_by if patient == "p1" else None,
                )
            await flock.run_until_idle()
            if "--hold" in sys.argv:
                print("held", flush=True)
                await asyncio.to_thread(sys.stdin.readline)


    asyncio.run(main())
    """
)


def program(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "clinic.py", *arguments], cwd=folder, check=True, timeout=60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a board that a program left, whose classes nobody has here."""
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "clinic.py").write_text(PROGRAM)
    program(folder, "p1,p2,p3")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where the commands are given."""
    for file in ("clinic.py", "board.db"):
        shutil.copy(made / file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["board", *words], input=stdin, env={"COLUMNS": "200"})


def data(*words: str) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*words: str) -> str:
    """Return what a command says that exits with 2 and says nothing else."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def set_up(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# --- looking ---


@pytest.mark.usefixtures("folder")
def test_info_tells_the_board_in_numbers() -> None:
    shown = run("info", "board.db")

    assert shown.exit_code == 0
    assert "artifacts     11 in 3 workflows" in shown.stdout
    assert "clinic.Scan 3" in shown.stdout
    assert "runs          7 finished, 0 open" in shown.stdout
    assert "open work     1 delivery" in shown.stdout
    assert "dead letters  1" in shown.stdout
    assert "no; last by board 'clinic' in process" in shown.stdout
    about = data("info", "sqlite:///board.db")
    assert (about["schema"], about["position"], about["is_open"]) == (2, 11, False)
    assert about["producers"] == {"external": 3, "lab": 3, "radiologist": 3, "physician": 2}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (("--type", "Scan"), "Scan p3, Scan p2, Scan p1"),
        (("-t", "clinic.Scan", "-w", "p2", "-t", "XRay"), "XRay p2, Scan p2"),
        (("-w", "p2", "--oldest", "--limit", "1"), "Scan p2"),
        (("--type", "Scan", "--oldest"), "Scan p1, Scan p2, Scan p3"),
        (("--by", "external", "--workflow", "p2"), "Scan p2"),
        (("--by", "physician", "--by", "external", "-w", "p1"), "Diagnosis p1, Scan p1"),
        (("--tag", "urgent"), "Scan p2"),
        (("--tag", "urgent", "--tag", "other"), ""),
        (("--visibility", "private", "--type", "Scan"), "Scan p1"),
        (("--visibility", "Public", "--type", "Scan"), "Scan p3, Scan p2"),
        (
            ("--visibility", "public", "--visibility", "private", "-w", "p2", "-t", "Scan"),
            "Scan p2",
        ),
        (("--type", "Scan", "--since", "1h", "--limit", "1", "--offset", "1"), "Scan p2"),
        (("--until", "1h"), ""),
        (("--until", "2999-01-01", "--type", "Scan", "--limit", "1"), "Scan p3"),
        (("--type", "Nope"), ""),
        (("--limit", "0"), ""),
    ],
)
def test_artifacts_are_filtered_and_paged(filters: tuple[str, ...], found: str) -> None:
    listed = data("artifacts", "board.db", *filters)

    names = [f"{a['type'].removeprefix('clinic.')} {a['correlation_id']}" for a in listed]
    assert ", ".join(names) == found


@pytest.mark.usefixtures("folder")
def test_the_newest_artifacts_come_first_unless_said() -> None:
    newest, oldest = data("artifacts", "board.db"), data("artifacts", "board.db", "--oldest")

    assert [a["seq"] for a in newest] == [*range(11, 0, -1)]
    assert oldest == newest[::-1]


@pytest.mark.usefixtures("folder")
def test_an_artifact_is_listed_on_a_line_and_told_in_full() -> None:
    listed = run("artifacts", "board.db", "--type", "Scan", "--limit", "1", "--oldest")

    assert listed.stdout.startswith("1\tclinic.Scan\texternal\t20")
    assert listed.stdout.endswith('\tp1\t{"patient":"p1"}\n')
    assert "1 of 3: see more with --limit and --offset" in listed.stderr
    [one] = data("artifacts", "board.db", "--tag", "urgent")
    assert one["payload"] == {"patient": "p2"}
    assert (one["correlation_id"], one["tags"], one["depth"]) == ("p2", ["urgent"], 0)
    assert one["visibility"] == {"kind": "Public"}


@pytest.mark.usefixtures("folder")
def test_show_tells_what_made_an_artifact_and_what_became_of_it() -> None:
    [xray] = data("artifacts", "board.db", "--type", "XRay", "--workflow", "p2")

    told = data("show", "board.db", xray["id"])

    assert told["made_by"]["agent"] == "radiologist"
    assert told["made_by"]["attempt"] == 1
    [scan] = told["made_of"]
    assert (scan["type"], scan["produced_by"]) == ("clinic.Scan", "external")
    [use] = told["used_by"]
    assert use["agent"] == "physician"
    assert [each["type"] for each in use["made"]] == ["clinic.Diagnosis"]
    assert told["open_for"] == []
    text = run("show", "board.db", str(xray["seq"])).stdout
    assert f"artifact    {xray['id']} at position {xray['seq']}" in text
    assert f"made of     {scan['seq']} clinic.Scan by external" in text
    assert "used by     physician (run " in text
    assert text.endswith('{\n  "patient": "p2"\n}\n')


@pytest.mark.usefixtures("folder")
def test_show_tells_what_an_artifact_waits_for_and_which_run_failed_over_it() -> None:
    [xray] = data("artifacts", "board.db", "--type", "XRay", "--workflow", "p3")
    [scan] = data("artifacts", "board.db", "--type", "Scan", "--workflow", "p3")
    [letter] = data("dead-letters", "board.db")

    assert data("show", "board.db", xray["id"])["open_for"] == [
        {"agent": "physician", "subscription": 0}
    ]
    assert data("show", "board.db", scan["id"])["dead_letters"] == [letter["id"]]
    assert "open for    physician[0]" in run("show", "board.db", xray["id"]).stdout


@pytest.mark.usefixtures("folder")
def test_workflows_are_counted() -> None:
    found = {row["correlation_id"]: row for row in data("workflows", "board.db")}

    assert {
        key: (row["artifacts"], row["runs"], row["open"], row["dead_letters"])
        for key, row in found.items()
    } == {
        "p1": (4, 3, 0, 0),
        "p2": (4, 3, 0, 0),
        "p3": (3, 1, 1, 1),
    }
    assert data("workflows", "board.db", "--oldest")[0]["correlation_id"] == "p1"
    assert len(data("workflows", "board.db", "--limit", "1", "--offset", "2")) == 1
    assert {(row["is_paused"], row["deadline"]) for row in found.values()} == {(False, None)}


async def test_workflows_show_what_is_paused_and_until_when(tmp_path: Path) -> None:
    path = tmp_path / "steered.db"
    clock = ManualClock()
    async with Flock(store=SQLiteBlackboardStore(path), clock=clock) as board:
        for workflow in ("free", "held"):
            await board.publish(A(), correlation_id=workflow)
        await board.pause("held")
        await board.set_deadline("held", 60)
    found = {row["correlation_id"]: row for row in data("workflows", str(path))}
    assert (found["held"]["is_paused"], found["free"]["is_paused"]) == (True, False)
    assert found["held"]["deadline"] == "2026-01-01T00:01:00+00:00"
    assert found["free"]["deadline"] is None
    held, free = run("workflows", str(path)).stdout.splitlines()[-2:]
    assert held.split("\t")[-2:] == ["yes", "2026-01-01 00:01:00Z"]
    assert free.split("\t")[-2:] == ["-", "-"]


@pytest.mark.usefixtures("folder")
def test_runs_that_finished_and_what_waits_are_listed() -> None:
    found = data("runs", "board.db")

    assert found["open"] == []
    assert len(found["finished"]) == 7
    assert [(w["agent"], w["deliveries"]) for w in found["waiting"]] == [("physician", 1)]
    assert len(data("runs", "board.db", "--agent", "lab")["finished"]) == 2
    assert len(data("runs", "board.db", "--workflow", "p1", "--limit", "2")["finished"]) == 2
    assert data("runs", "board.db", "--open")["finished"] == []
    assert "physician has 1 artifact waiting" in run("runs", "board.db").stderr


def test_a_run_that_waits_for_its_next_attempt_is_listed_with_it(folder: Path) -> None:
    set_up(
        folder / "board.db",
        "INSERT INTO open_runs VALUES (x'00112233445566778899aabbccddeeff', 'physician', 0, 0,"
        " 2, 1767225600.0, 0, json_array((SELECT seq FROM deliveries)), NULL)",
    )

    found = data("runs", "board.db", "--open")

    [one] = found["open"]
    assert (one["state"], one["attempt"], one["correlation_id"]) == ("retrying", 2, "p3")
    assert one["due_at"] == "2026-01-01T00:00:00+00:00"
    assert found["waiting"] == []
    assert "due 2026-01-01 00:00:00Z" in run("runs", "board.db", "--open").stdout


@pytest.mark.usefixtures("folder")
def test_dead_letters_are_listed_without_what_a_terminal_would_obey() -> None:
    listed = run("dead-letters", "board.db")

    assert "\x1b" not in listed.stdout
    assert "lab\t1\tp3\t" in listed.stdout
    assert "ValueError: no blood sample \\x1b[31m" in listed.stdout
    assert "flock board redrive" in listed.stderr
    assert data("dead-letters", "board.db", "--agent", "physician") == []


def test_an_empty_board_says_so_everywhere(folder: Path) -> None:
    store = SQLiteBlackboardStore(folder / "empty.db")

    async def make() -> None:
        await store.open()
        await store.close()

    asyncio.run(make())

    for command in ("artifacts", "workflows", "runs", "dead-letters", "questions"):
        shown = run(command, "empty.db")
        assert (shown.exit_code, shown.stdout) == (0, "")
        assert len(shown.stderr) > 10
        assert data(command, "empty.db") in ([], {"open": [], "finished": [], "waiting": []})
    assert data("info", "empty.db")["earliest"] is None
    assert "0 in 0 workflows" in run("info", "empty.db").stdout


@pytest.mark.usefixtures("folder")
def test_a_filter_that_finds_nothing_says_what_there_is() -> None:
    shown = run("artifacts", "board.db", "--type", "Nope")

    assert (shown.exit_code, shown.stdout) == (0, "")
    assert "clinic.Scan (3)" in shown.stderr
    shown = run("artifacts", "board.db", "--offset", "50")
    assert "There are 11 such artifacts, and none after the first 50" in shown.stderr


# --- what goes wrong ---

LOOKING = [
    ("info",),
    ("artifacts",),
    ("show", "1"),
    ("workflows",),
    ("runs",),
    ("dead-letters",),
    ("questions",),
    ("export",),
]
CHANGING = [
    ("redrive", "0197a6d2-7c1e-7b52-8f0a-6f1d2c3b4a59"),
    ("prune", "--keep", "1"),
    ("vacuum",),
    ("migrate",),
]


def on(board: str, command: tuple[str, ...]) -> tuple[str, ...]:
    return (command[0], board, *command[1:])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", LOOKING + CHANGING, ids=" ".join)
def test_a_board_that_is_not_there_is_not_made(command: tuple[str, ...]) -> None:
    assert "there is no board at 'nope.db'" in refused(*on("nope.db", command))
    assert not list(Path().glob("nope.db*"))
    assert "is a folder" in refused(*on(".", command))
    assert "in the memory of a program" in refused(*on("memory:", command))
    assert "later version" in refused(*on("postgresql://host/db", command))


@pytest.mark.parametrize("command", LOOKING + CHANGING, ids=" ".join)
def test_what_is_no_board_is_refused_and_left_as_it_was(
    command: tuple[str, ...], folder: Path
) -> None:
    set_up(folder / "other.db", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
    (folder / "text.db").write_text("This is no database at all, but it is long enough. " * 99)
    before = (folder / "other.db").read_bytes()

    assert "no board of Flock's" in refused(*on("other.db", command))
    assert "is no board, or its beginning is damaged" in refused(*on("text.db", command))

    assert (folder / "other.db").read_bytes() == before


@pytest.mark.parametrize("command", LOOKING + CHANGING, ids=" ".join)
def test_a_board_of_a_newer_flock_asks_for_it(command: tuple[str, ...], folder: Path) -> None:
    set_up(folder / "board.db", "PRAGMA user_version = 999")

    text = refused(*on("board.db", command))

    assert "has schema version 999" in text
    assert "upgrade Flock" in text


@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_an_older_or_empty_file_asks_to_be_migrated(command: tuple[str, ...], folder: Path) -> None:
    (folder / "new.db").touch()

    assert "flock board migrate" in refused(*on("new.db", command))


def test_migrate_brings_a_file_up_to_date(folder: Path) -> None:
    (folder / "new.db").touch()

    first, second = run("migrate", "new.db"), run("migrate", "new.db")

    assert first.stdout.startswith("Applied 0001_board")
    assert second.stdout == "The board is up to date.\n"
    assert data("info", "new.db")["artifacts"] == 0


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("show", "board.db", "99"), "there is no artifact '99'"),
        (("show", "board.db", "some"), "an artifact has an id such as"),
        (("redrive", "board.db", "some"), "a dead letter has an id such as"),
        (("artifacts", "board.db", "--since", "soon"), "--since takes a date"),
        (("artifacts", "board.db", "--since", "999999999w"), "beginning of time"),
        (("artifacts", "board.db", "--visibility", "secret"), "--visibility takes public"),
        (("prune", "board.db"), "one of --before, --older-than and --keep"),
        (("prune", "board.db", "--keep", "1", "--older-than", "1d"), "one of --before"),
        (("prune", "board.db", "--older-than", "yesterday"), "takes a span such as 30d"),
        (("export", "board.db", "-o", "no/where"), "cannot be used: No such file"),
        (("import", "nope.jsonl", "board.db"), "'nope.jsonl' cannot be used"),
        (("import", "board.db", "new.db"), "board.db is no export of a board"),
        (("info", "sqlite:///board.db?colour=red"), "has no options"),
        (("info", "mysql://board"), "names no store"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(words: tuple[str, ...], why: str) -> None:
    assert why in refused(*words)
    assert not Path("new.db").exists()


def test_a_truncated_file_is_told_as_damaged(folder: Path) -> None:
    whole = (folder / "board.db").read_bytes()
    (folder / "board.db").write_bytes(whole[: len(whole) // 3])

    assert "is damaged" in refused("artifacts", "board.db")


def test_what_is_damaged_can_be_left_out_of_an_export(folder: Path) -> None:
    """With the dead letter whose input is among it, which would be of no use."""
    [labs] = data("artifacts", "board.db", "--type", "Labs", "-w", "p2")
    [scan] = data("artifacts", "board.db", "--type", "Scan", "-w", "p3")
    set_up(
        folder / "board.db",
        f"UPDATE artifacts SET payload = '{{}}' WHERE seq = {labs['seq']}",
        f"UPDATE artifacts SET tags = '[' WHERE seq = {scan['seq']}",
    )

    assert "damaged" in refused("export", "board.db", "-o", "x.jsonl")
    assert not (folder / "x.jsonl").exists()
    kept = run("export", "board.db", "-o", "x.jsonl", "--skip-damaged")

    assert kept.exit_code == 0
    assert "Exported 9 artifacts, 7 runs, 0 dead letters" in kept.stderr
    assert "3 that are damaged were left out" in kept.stderr
    imported = run("import", "x.jsonl", "new.db")
    assert (
        imported.stdout == "Imported 9 artifacts, 7 runs, 0 dead letters; 0 were there already.\n"
    )
    assert "3 that were damaged are not in it" in imported.stderr
    assert "DAMAGED" in run("show", "board.db", str(labs["seq"])).stdout
    assert data("info", "new.db")["artifacts"] == 9


def test_pages_that_are_overwritten_cost_only_what_lay_on_them(folder: Path) -> None:
    store = SQLiteBlackboardStore(folder / "big.db")

    async def make() -> None:
        await store.open()
        await store.commit(Commit([artifact(A(n=n, key="x" * 500)) for n in range(1000)]))
        await store.close()

    asyncio.run(make())
    with closing(sqlite3.connect(store.path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = (
            connection.execute(
                "SELECT pageno FROM dbstat WHERE name = 'artifacts' AND pagetype = 'leaf'"
                " ORDER BY pageno LIMIT 1 OFFSET 20"
            ).fetchone()
            if _has_dbstat(connection)
            else (40,)
        )
    raw = bytearray(store.path.read_bytes())
    raw[(page - 1) * size : page * size] = b"\xff" * size
    store.path.write_bytes(raw)

    with pytest.raises(StoreCorrupt):
        asyncio.run(export_board(store, folder / "x.jsonl"))
    report = asyncio.run(export_board(store, folder / "x.jsonl", skip_damaged=True))

    assert report.damaged > 0
    assert report.artifacts > 900
    assert report.artifacts + report.damaged <= 1000
    run("import", "x.jsonl", "saved.db")
    assert data("info", "saved.db")["artifacts"] == report.artifacts


def _has_dbstat(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1 FROM dbstat LIMIT 1")
    except sqlite3.OperationalError:
        return False
    return True


# --- changing ---


def test_a_dead_letter_that_is_redriven_runs_when_the_board_opens_next(folder: Path) -> None:
    [letter] = data("dead-letters", "board.db")

    told = run("redrive", "board.db", letter["id"])

    assert told.exit_code == 0
    assert f"Run {letter['run']} of lab over 1 input is open again" in told.stdout
    assert data("dead-letters", "board.db") == []
    [queued] = data("runs", "board.db", "--open")["open"]
    assert (queued["id"], queued["state"], queued["attempt"]) == (letter["run"], "queued", 0)
    assert "there is no dead letter" in refused("redrive", "board.db", letter["id"])
    with closing(sqlite3.connect("board.db")) as connection:
        assert connection.execute("SELECT name, value FROM steps").fetchall() == [
            ("draw", '{"$value": "tube p3"}')
        ]

    program(folder, "", "--mended")

    found = data("runs", "board.db", "--workflow", "p3")
    assert found["open"] == found["waiting"] == []
    assert {(r["agent"], r["attempt"]) for r in found["finished"]} == {
        ("radiologist", 1),
        ("lab", 1),
        ("physician", 1),
    }
    assert letter["run"] in {r["id"] for r in found["finished"]}


def test_a_dead_letter_of_a_direct_call_cannot_be_redriven(folder: Path) -> None:
    set_up(folder / "board.db", "UPDATE dead_letters SET subscription = NULL")
    [letter] = data("dead-letters", "board.db")

    assert "call it again, as in flock.arun" in refused("redrive", "board.db", letter["id"])
    assert data("dead-letters", "board.db") == [letter]


def test_pruning_spares_what_is_open_and_vacuum_makes_the_file_smaller(folder: Path) -> None:
    store = SQLiteBlackboardStore(folder / "big.db")

    async def make() -> None:
        await store.open()
        made = [artifact(A(n=n, key="x" * 900), created=T0 + n) for n in range(1000)]
        await store.commit(Commit(made))
        await store.close()

    asyncio.run(make())
    before = data("info", "big.db")["size"]

    assert run("prune", "big.db", "--before", "2026-01-01", "--dry-run").stdout == (
        "Would delete 0 artifacts.\n"
    )
    cut = "2026-01-01T00:15:00+00:00"
    dry = data("prune", "big.db", "--before", cut, "--dry-run")
    assert dry == {"deleted": 0, "chosen": 900}
    assert data("info", "big.db")["artifacts"] == 1000
    assert data("prune", "big.db", "--before", cut) == {"deleted": 900, "chosen": 900}
    assert data("info", "big.db")["artifacts"] == 100
    assert "Gave back" in run("vacuum", "big.db").stdout
    assert data("info", "big.db")["size"] < before / 3
    assert "nothing to give back" in run("vacuum", "big.db").stdout

    kept = run("prune", "board.db", "--keep", "0")
    assert kept.stdout == "Deleted 9 artifacts.\n"
    assert {a["type"] for a in data("artifacts", "board.db")} == {"clinic.Scan", "clinic.XRay"}
    program(folder, "", "--mended")  # and it goes on
    assert data("prune", "board.db", "--older-than", "1d") == {"deleted": 0, "chosen": 0}


def test_an_export_is_imported_whole_and_only_once(folder: Path) -> None:
    first = run("export", "board.db", "-o", "x.jsonl")
    assert first.stdout == ""
    assert "Exported 11 artifacts, 7 runs, 1 dead letter to x.jsonl" in first.stderr

    new = data("import", "x.jsonl", "sub.db")
    again = data("import", "x.jsonl", "sub.db")

    assert new == {"artifacts": 11, "runs": 7, "dead_letters": 1, "skipped": 0, "damaged": 0}
    assert again == {"artifacts": 0, "runs": 0, "dead_letters": 0, "skipped": 19, "damaged": 0}
    for command in ("artifacts", "workflows", "dead-letters"):
        mine, other = data(command, "board.db"), data(command, "sub.db")
        for row in mine:
            row.pop("open", None)
        for row in other:
            assert row.pop("open", 0) == 0
        assert mine == other
    assert data("runs", "sub.db") == {**data("runs", "board.db"), "waiting": []}
    assert list(folder.glob("*.partial")) == []


@pytest.mark.usefixtures("folder")
def test_a_workflow_goes_through_a_pipe_to_a_board_that_has_others() -> None:
    exported = run("export", "board.db", "-w", "p3", "-o", "-")
    lines = exported.stdout.splitlines()
    assert json.loads(lines[0])["correlation_id"] == "p3"
    assert len(lines) == 1 + 3 + 1 + 1 + 1
    run("export", "board.db", "-w", "p1", "-o", "p1.jsonl")
    run("import", "p1.jsonl", "new.db")

    told = run("import", "-", "new.db", stdin=exported.stdout_bytes)

    assert told.stdout == "Imported 3 artifacts, 1 run, 1 dead letter; 0 were there already.\n"
    by_workflow = {row["correlation_id"]: row for row in data("workflows", "new.db")}
    assert {key: row["artifacts"] for key, row in by_workflow.items()} == {"p1": 4, "p3": 3}
    seqs = [each["seq"] for each in data("artifacts", "new.db", "--oldest", "-w", "p3")]
    assert seqs == sorted(seqs)
    assert min(seqs) == data("info", "new.db")["position"] - 2
    assert data("runs", "new.db")["open"] == data("runs", "new.db")["waiting"] == []


def test_an_imported_dead_letter_can_be_redriven(folder: Path) -> None:
    run("export", "board.db", "-o", "x.jsonl")
    os.replace("board.db", "old.db")
    run("import", "x.jsonl", "board.db")
    [letter] = data("dead-letters", "board.db")
    run("redrive", "board.db", letter["id"])

    program(folder, "", "--mended")

    finished = data("runs", "board.db", "-w", "p3")["finished"]
    assert letter["run"] in {r["id"] for r in finished}


def test_a_broken_line_leaves_the_board_as_it_was(folder: Path) -> None:
    run("export", "board.db", "-o", "x.jsonl")
    lines = (folder / "x.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "y.jsonl").write_bytes(b"".join([*lines[:8], b'{"kind": "artifact"}\n']))
    (folder / "z.jsonl").write_bytes(b"".join(lines[:8]))

    assert "line 9 of y.jsonl cannot be imported" in refused("import", "y.jsonl", "new.db")
    assert "line 9 of z.jsonl cannot be imported: the file ends" in refused(
        "import", "z.jsonl", "new.db"
    )
    assert [path.name for path in folder.glob("new.db*")] == ["new.db.lock"]

    run("import", "x.jsonl", "other.db")
    refused("import", "y.jsonl", "other.db")
    assert data("info", "other.db")["position"] == 11


def test_an_artifact_with_another_content_is_refused(folder: Path) -> None:
    run("export", "board.db", "-o", "x.jsonl")
    text = (folder / "x.jsonl").read_text().replace('{"patient":"p2"}', '{"patient":"p9"}', 1)
    (folder / "x.jsonl").write_text(text)

    told = refused("import", "x.jsonl", "board.db")

    assert "line 3 of x.jsonl" in told
    assert "on the board already, with another content" in told


# --- beside another process ---


@contextmanager
def held(folder: Path) -> Generator[subprocess.Popen[str]]:
    """Let another process hold the board open, with a workflow of its own."""
    process = subprocess.Popen(
        [sys.executable, "clinic.py", "p4", "--hold"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.communicate("over\n", timeout=60)


def test_a_board_that_is_open_elsewhere_is_looked_at_and_not_changed(folder: Path) -> None:
    run("export", "board.db", "-o", "x.jsonl")
    [letter] = data("dead-letters", "board.db")
    with held(folder) as process:
        about = data("info", "board.db")
        assert about["is_open"] is True
        assert about["holder"]["pid"] == process.pid
        assert about["holder"]["name"] == "board 'clinic'"
        assert "yes, by board 'clinic' in process" in run("info", "board.db").stdout
        for command in LOOKING:
            assert run(*on("board.db", command)).exit_code == 0
        assert len(data("artifacts", "board.db", "-w", "p4")) == 4  # it is in `-wal`
        assert data("prune", "board.db", "--keep", "1", "--dry-run")["chosen"] > 5
        for command in (
            ("redrive", "board.db", letter["id"]),
            ("prune", "board.db", "--keep", "1"),
            ("vacuum", "board.db"),
            ("migrate", "board.db"),
            ("import", "x.jsonl", "board.db"),
        ):
            told = refused(*command)
            assert f"is open already, by board 'clinic' in process {process.pid}" in told
        assert data("dead-letters", "board.db") == [letter]

    about = data("info", "board.db")
    assert about["is_open"] is False
    assert about["holder"]["pid"] == process.pid


def test_a_board_whose_process_was_killed_is_shown_with_all_that_was_committed(
    folder: Path,
) -> None:
    with held(folder) as process:
        process.kill()
        process.wait()

        about = data("info", "board.db")

        assert (about["is_open"], about["artifacts"]) == (False, 15)
        assert (folder / "board.db-wal").stat().st_size > 0


def test_the_command_runs_as_a_program_and_ends_quietly_when_nobody_reads_on(
    folder: Path,
) -> None:
    command = [sys.executable, "-m", "flock.cli", "board"]
    done = subprocess.run(
        [*command, "runs", "board.db", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(json.loads(done.stdout)["finished"]) == 7
    failed = subprocess.run(
        [*command, "info", "nope.db"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "Traceback" not in failed.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="folders have other permissions there")
def test_a_board_on_a_medium_that_cannot_be_written_is_looked_at(folder: Path) -> None:
    (folder / "medium").mkdir()
    shutil.copy("board.db", "medium/board.db")
    (folder / "medium/board.db").chmod(0o444)
    (folder / "medium").chmod(0o555)
    script = dedent(
        """
        import os, sys
        from typer.testing import CliRunner
        from flock.cli.app import app

        def run(*words):
            return CliRunner().invoke(app, ["board", *words])

        run("info", "board.db"), run("vacuum", "board.db")  # imports what is needed
        if os.getuid() == 0:
            os.setgid(65534), os.setuid(65534)
        looked = run("info", "medium/board.db")
        changed = run("vacuum", "medium/board.db")
        print(looked.exit_code, changed.exit_code, "11 in 3 workflows" in looked.stdout)
        print(changed.stderr)
        """
    )
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o055)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    finally:
        (folder / "medium").chmod(0o755)
    assert done.stdout.startswith("0 2 True\n"), done.stdout + done.stderr
    assert "its folder has to exist and be writable" in done.stdout


def test_a_thousand_artifacts_are_paged_and_exported_in_order(folder: Path) -> None:
    store = SQLiteBlackboardStore(folder / "big.db")

    async def make() -> None:
        await store.open()
        for start in range(0, 1000, 100):
            made = [artifact(A(n=n), workflow=f"w{n % 7}") for n in range(start, start + 100)]
            await store.commit(Commit(made))
        await store.close()

    asyncio.run(make())

    assert data("info", "big.db")["workflows"] == 7
    page = data("artifacts", "big.db", "--limit", "100", "--offset", "250")
    assert [row["seq"] for row in page] == [*range(750, 650, -1)]
    assert [row["payload"]["n"] for row in page] == [*range(749, 649, -1)]
    lines = run("export", "big.db").stdout.splitlines()
    assert [json.loads(line)["payload"]["n"] for line in lines[1:-1]] == [*range(1000)]
    assert len(run("export", "big.db", "-w", "w3").stdout.splitlines()) == 143 + 2


def test_an_export_that_is_cancelled_leaves_no_part_of_a_file(folder: Path) -> None:
    store = SQLiteBlackboardStore(folder / "board.db", read_only=True)

    async def cancelled() -> None:
        exporting = asyncio.ensure_future(export_board(store, folder / "x.jsonl"))
        await asyncio.sleep(0)
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting

    asyncio.run(cancelled())

    assert list(folder.glob("x.jsonl.*")) == []
    whole = folder / "x.jsonl"  # is there if it was cancelled too late
    assert not whole.exists() or '"kind":"end"' in whole.read_text().splitlines()[-1]


def test_inspecting_sees_one_moment(folder: Path) -> None:
    with inspect_board(folder / "board.db") as board:
        assert board.count() == 11
        program(folder, "p5")
        assert board.count() == 11
        assert len(list(board.artifacts())) == 11
    with inspect_board(folder / "board.db") as board:
        assert board.count() == 15


def test_a_path_that_is_no_board_names_the_remedy(folder: Path) -> None:
    with pytest.raises(StoreError, match="there is no board at"), inspect_board(folder / "x.db"):
        pass


# --- events -----------------------------------------------------------------------------------


async def _filled(path: Path) -> None:
    store = SQLiteBlackboardStore(path)
    await store.open()
    try:
        entry = LogEntry("run_cancelled", T0, "w", b'{"version":1,"agent":"amy","run_id":"r"}')
        await store.commit(Commit([artifact(A(), workflow="w")]))
        await store.commit(Commit([artifact(A(), workflow="v")], logged=[entry]))
    finally:
        await store.close()


def test_events_are_listed_in_order_and_go_on_after_a_position(tmp_path: Path) -> None:
    path = tmp_path / "told.db"
    asyncio.run(_filled(path))

    def on_it(*options: str) -> Result:
        return CliRunner().invoke(app, ["board", "events", str(path), *options])

    listed = on_it("--json")
    assert [each["position"] for each in json.loads(listed.stdout)] == ["1.0.0", "2.0.0", "2.0.1"]
    assert [each["kind"] for each in json.loads(on_it("--workflow", "w", "--json").stdout)] == [
        "artifact_published",
        "run_cancelled",
    ]
    assert on_it("--after", "2.0.0").stdout.split("\t")[0] == "2.0.1"
    assert "amy" in on_it("-k", "run-cancelled").stdout
    assert "go on with --after 1.0.0" in on_it("-n", "1").stderr
    assert "Nothing happened after 2.0.1" in on_it("--after", "2.0.1").stderr
    assert "Nothing like that" in on_it("-w", "none").stderr
    for wrong in (("--after", "x"), ("-k", "x")):
        assert on_it(*wrong).exit_code == 2


def test_a_board_on_which_nothing_happened_says_so(tmp_path: Path) -> None:
    path = tmp_path / "new.db"

    async def made() -> None:
        store = SQLiteBlackboardStore(path)
        await store.open()
        await store.close()

    asyncio.run(made())
    told = CliRunner().invoke(app, ["board", "events", str(path)])
    assert "Nothing happened on this board yet" in told.stderr

"""The commands that only look at a board, also while a program has it open."""

from __future__ import annotations

import asyncio
import json
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flock.cli.board import views
from flock.cli.board.arguments import (
    AsJson,
    BoardArgument,
    Limit,
    Offset,
    Oldest,
    Workflow,
    board_path,
    board_store,
    condition_of,
    explained,
    identity_of,
    say,
)
from flock.errors import NotFound
from flock.store.exchange import export_board
from flock.store.sqlite.inspection import (
    Inspection,
    OpenRun,
    StoredArtifact,
    StoredQuestion,
    inspect_board,
)

if TYPE_CHECKING:
    from uuid import UUID


def info(board: BoardArgument, *, as_json: AsJson = False) -> None:
    """Show a board in numbers: what is on it, what is open, who has it open."""
    with explained(), inspect_board(board_path(board)) as found:
        about = found.info()
    if as_json:
        views.print_json(views.info_data(about))
        return
    for label, value in views.info_lines(about):
        typer.echo(f"{label:<13} {views.plain(value)}")


def artifacts(
    board: BoardArgument,
    *,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", "-t", metavar="NAME", help="Only of this type; short names do."),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(metavar="AGENT", help="Only what this agent made.")
    ] = None,
    workflow: Workflow = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="TAG", help="Only what has this tag.")
    ] = None,
    visibility: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only of this kind of visibility.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on: 2026-01-31, or 36h ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to then.")] = None,
    oldest: Oldest = False,
    limit: Limit = 50,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List artifacts, the newest first.

    Of `--type`, `--by` and `--visibility` several mean any of them, of `--tag` all of them.
    """
    with explained(), inspect_board(board_path(board)) as found:
        where = condition_of(
            found,
            types=type_ or [],
            producers=by or [],
            workflow=workflow,
            tags=tag or [],
            visibility=visibility or [],
            since=since,
            until=until,
        )
        total = found.count(where)
        page = found.artifacts(where, newest_first=not oldest, limit=limit, offset=offset)
        if as_json:
            views.print_json([views.artifact_data(artifact) for artifact in page])
            return
        rows = [views.artifact_cells(artifact) for artifact in page]
        everything = found.counts("type")
    if rows:
        views.print_rows(views.ARTIFACT_COLUMNS, rows)
        if len(rows) < total:
            say(f"{len(rows)} of {total}: see more with --limit and --offset.")
    elif total:
        say(f"There are {total} such artifacts, and none after the first {offset}.")
    elif everything:
        types = ", ".join(f"{name} ({count})" for name, count in everything.items())
        say(f"No artifact is like that. On this board there are: {types}")
    else:
        say("This board is empty: nothing was published on it yet.")


def show(
    board: BoardArgument,
    artifact: Annotated[str, typer.Argument(metavar="ID", help="Its id, or its position (seq).")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one artifact: what it holds, what it was made of, and what became of it."""
    with explained(), inspect_board(board_path(board)) as found:
        one = found.artifact(_wanted(artifact))
        if one is None:
            msg = f"there is no artifact {artifact!r} on this board; `flock board artifacts` lists"
            raise NotFound(f"{msg} them")
        data = _with_lineage(found, one)
    if as_json:
        views.print_json(data)
        return
    for label, value in _told(one, data):
        typer.echo(f"{label:<11} {views.plain(value)}")
    typer.echo(json.dumps(data["payload"], indent=2, ensure_ascii=False))


def workflows(
    board: BoardArgument,
    *,
    oldest: Oldest = False,
    limit: Limit = 50,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List workflows, those with the newest artifacts first."""
    with explained(), inspect_board(board_path(board)) as found:
        rows = found.workflows(newest_first=not oldest, limit=limit, offset=offset)
    if as_json:
        views.print_json([views.workflow_data(row) for row in rows])
        return
    if not rows:
        say("There is no workflow: one begins with whatever is published.")
        return
    columns = (
        *("workflow", "artifacts", "runs", "open", "dead letters", "first", "last"),
        *("paused", "deadline"),
    )
    views.print_rows(
        columns,
        (
            (
                row.correlation_id,
                row.artifacts,
                row.runs,
                row.open,
                row.dead_letters,
                views.time_text(row.first),
                views.time_text(row.last),
                "yes" if row.is_paused else "-",
                views.time_text(row.deadline),
            )
            for row in rows
        ),
    )


def runs(
    board: BoardArgument,
    *,
    workflow: Workflow = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this agent.")] = None,
    only_open: Annotated[
        bool, typer.Option("--open", help="Only those that have not ended.")
    ] = False,
    oldest: Oldest = False,
    limit: Limit = 50,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List runs: what is open with attempt and due time, then what finished, the newest first.

    Runs that failed for good are listed by `flock board dead-letters`.
    """
    with explained(), inspect_board(board_path(board)) as found:
        opened = found.open_runs(workflow=workflow, agent=agent)
        asked = {each.run: each for each in found.questions(workflow=workflow, agent=agent)}
        ended = (
            []
            if only_open
            else found.runs(
                workflow=workflow,
                agent=agent,
                newest_first=not oldest,
                limit=limit,
                offset=offset,
            )
        )
        waiting = [] if workflow is not None else found.waiting()
    waiting = [each for each in waiting if agent in {None, each.agent}]
    if as_json:
        views.print_json(
            {
                "open": [views.open_data(run, asked) for run in opened],
                "finished": [views.finished_data(run) for run in ended],
                "waiting": [
                    {
                        "agent": each.agent,
                        "subscription": each.subscription,
                        "deliveries": each.deliveries,
                        "oldest": each.oldest,
                    }
                    for each in waiting
                ],
            }
        )
        return
    rows: list[tuple[object, ...]] = [
        (
            views.state_of(run, asked),
            run.agent,
            run.attempt,
            run.correlation_id,
            views.many(len(run.deliveries), "input"),
            _due(run, asked.get(run.id)),
            run.id.hex,
        )
        for run in opened
    ]
    rows += [
        (
            "finished",
            run.agent,
            run.attempt,
            run.correlation_id,
            views.many(run.inputs, "input"),
            views.time_text(run.committed),
            run.id.hex,
        )
        for run in ended
    ]
    if rows:
        views.print_rows(("state", "agent", "attempt", "workflow", "of", "when", "run"), rows)
    else:
        say("There is no such run.")
    for each in waiting:
        what = views.many(each.deliveries, "artifact")
        say(f"{views.plain(each.agent)} has {what} waiting, the oldest at position {each.oldest}.")


def _due(run: OpenRun, question: StoredQuestion | None) -> str:
    if question is not None:
        return f"due {views.time_text(question.due)}" if question.due else "until answered"
    return f"due {views.time_text(run.due)}" if run.due else "due at once"


def dead_letters(
    board: BoardArgument,
    *,
    workflow: Workflow = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this agent.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the runs that failed for good, the oldest first."""
    with explained(), inspect_board(board_path(board)) as found:
        chosen = (
            letter
            for letter in found.dead_letters()
            if agent in {None, letter.agent} and workflow in {None, letter.correlation_id}
        )
        letters = list(islice(chosen, offset, offset + limit))
    if as_json:
        views.print_json([views.dead_letter_data(letter) for letter in letters])
        return
    if not letters:
        say("There is no such dead letter: no run failed for good.")
        return
    views.print_rows(
        ("dead letter", "agent", "attempts", "workflow", "given up", "error"),
        (
            (
                letter.id,
                letter.agent,
                letter.attempt,
                letter.correlation_id,
                views.time_text(letter.created),
                f"{letter.error_type}: {letter.error_message}",
            )
            for letter in letters
        ),
    )
    say("Run one again with: flock board redrive BOARD ID")


def questions(
    board: BoardArgument,
    *,
    workflow: Workflow = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this agent.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    as_json: AsJson = False,
) -> None:
    """List the questions that wait for a person's answer, the oldest first."""
    with explained(), inspect_board(board_path(board)) as found:
        waiting = found.questions(workflow=workflow, agent=agent)
    page = waiting[offset : offset + limit]
    if as_json:
        views.print_json([views.question_data(question) for question in page])
        return
    if not page:
        say("There is no such question: nobody's answer is waited for.")
        return
    views.print_rows(
        ("question", "agent", "asks", "inputs", "workflow", "asked at", "due"),
        (
            (
                question.run.hex,
                question.agent,
                question.question,
                " ".join(map(str, question.deliveries)),
                question.correlation_id,
                views.time_text(question.asked),
                views.time_text(question.due),
            )
            for question in page
        ),
    )
    if len(page) < len(waiting):
        say(f"{len(page)} of {len(waiting)}: see more with --limit and --offset.")


def export(
    board: BoardArgument,
    *,
    workflow: Workflow = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to; `-` is the output.")
    ] = "-",
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Leave out what cannot be read, and count it.")
    ] = False,
) -> None:
    """Write a board, or one workflow, as JSON lines, which `flock board import` reads.

    A file appears once all of it is written.
    """
    with explained():
        report = asyncio.run(
            export_board(
                board_store(board),
                typer.get_binary_stream("stdout") if output == "-" else output,
                correlation_id=workflow,
                skip_damaged=skip_damaged,
            )
        )
    what = ", ".join(
        (
            views.many(report.artifacts, "artifact"),
            views.many(report.runs, "run"),
            views.many(report.dead_letters, "dead letter"),
        )
    )
    say(f"Exported {what}." if output == "-" else f"Exported {what} to {output}.")
    if report.damaged:
        say(f"{report.damaged} that are damaged were left out.")


def _wanted(text: str) -> UUID | int:
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    return identity_of(text, "an artifact")


def _with_lineage(board: Inspection, one: StoredArtifact) -> dict[str, Any]:
    """Return an artifact for scripts, with what it was made of and what became of it."""
    maker = None if one.run is None else board.run(one.run)
    return {
        **views.artifact_data(one),
        "made_by": None if maker is None else views.finished_data(maker),
        "made_of": [
            _short(parent) if parent is not None else {"id": str(wanted), "is_deleted": True}
            for wanted in one.parents
            for parent in [board.artifact(wanted)]
        ],
        "used_by": [
            {
                **views.finished_data(run),
                "made": [_short(made) for made in board.made_by(run.id, run.correlation_id)],
            }
            for run in board.consumers(one.seq)
        ],
        "open_for": [
            {"agent": agent, "subscription": index} for agent, index in board.open_for(one.seq)
        ],
        "dead_letters": [str(letter) for letter in board.dead_letters_of(one.seq)],
    }


def _short(artifact: StoredArtifact) -> dict[str, object]:
    return {
        "seq": artifact.seq,
        "id": str(artifact.id),
        "type": artifact.type,
        "produced_by": artifact.produced_by,
    }


def _told(one: StoredArtifact, data: dict[str, Any]) -> list[tuple[str, object]]:
    """Return an artifact with its lineage for people."""
    maker = data["made_by"]
    by = one.produced_by
    if maker is not None:
        by += f" (run {maker['id']}, attempt {maker['attempt']})"
    elif one.run is not None:
        by += f" (run {one.run.hex})"
    found: list[tuple[str, object]] = [
        ("artifact", f"{one.id} at position {one.seq}"),
        ("type", f"{one.type}, version {one.version}"),
        ("by", by),
        ("workflow", one.correlation_id),
        ("published", views.time_text(one.created)),
        ("visibility", one.kind),
        ("depth", one.depth),
    ]
    if one.tags:
        found.append(("tags", ", ".join(one.tags)))
    if one.partition_key is not None:
        found.append(("about", one.partition_key))
    if one.is_damaged:
        found.append(("DAMAGED", "its checksum does not fit; restore the board from a copy"))
    found += [("made of", _named(parent)) for parent in data["made_of"]]
    for run in data["used_by"]:
        made = ", ".join(map(_named, run["made"])) or "nothing"
        found.append(("used by", f"{run['agent']} (run {run['id']}), which made {made}"))
    found += [("open for", f"{each['agent']}[{each['subscription']}]") for each in data["open_for"]]
    found += [("failed in", f"dead letter {letter}") for letter in data["dead_letters"]]
    return found


def _named(short: dict[str, Any]) -> str:
    if "is_deleted" in short:
        return f"{short['id']}, which was deleted"
    return f"{short['seq']} {short['type']} by {short['produced_by']}"

"""Whether a board that was steered while it was killed kept all that it had promised."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.chaos.check import Board, attempts, differ, left_over, run_ids, whole
from benchmarks.chaos.steering import SHARDS, is_cancelled, workflow_of


def faults(file: Path, journal: Path, seed: int, orders: int) -> list[str]:
    """Return what is wrong with a board on which everything is done; nothing if it is right."""
    del seed
    board = Board(file, journal)
    return [
        *whole(board),
        *_results(board, orders),
        *_questions(board, orders),
        *_held(board),
        *_beats(board),
        *_told(board),
        *left_over(board, ()),
        *run_ids(board, {"judge", "passer-by"}),
        *attempts(board),
    ]


def _results(board: Board, orders: int) -> Iterator[str]:
    """What was not cancelled has its results once; what was has none twice."""
    every = [*range(orders)]
    yield from differ("requests", Counter(a.payload["n"] for a in board.of("Request")), every)
    going_on = [n for n in every if not is_cancelled(n)]
    for name in ("Worked", "Sent", "Verdict"):
        counts = Counter(a.payload["n"] for a in board.of(name))
        yield from differ(name, _of_those(counts, going_on), going_on)
        yield from _once(name, counts)
    for name in ("Shard", "Swept"):
        wanted = [(n, i) for n in going_on for i in range(SHARDS)]
        parts = Counter((a.payload["n"], a.payload["i"]) for a in board.of(name))
        yield from differ(name, Counter({p: c for p, c in parts.items() if p in wanted}), wanted)
        yield from _once(name, parts)


def _questions(board: Board, orders: int) -> Iterator[str]:
    """What somebody answered stays answered so; who is not answered in time is told of once."""
    verdicts = {a.payload["n"]: a.payload["value"] for a in board.of("Verdict")}
    for line in board.journal:
        if line["what"] == "answered" and verdicts.get(line["n"]) != line["value"]:
            there = verdicts.get(line["n"])
            yield f"request {line['n']} was answered {line['value']}, and the board says {there}"
    going_on = [n for n in range(orders) if not is_cancelled(n)]
    late = Counter(board.at[seqs[0]].payload["n"] for _, _, seqs, _ in board.letters)
    yield from differ("questions that nobody answered", _of_those(late, going_on), going_on)
    yield from _once("dead letters of questions", late)
    agents = {agent for agent, *_ in board.letters} - {"passer-by"}
    if agents:
        yield f"there are dead letters of {agents}"


def _held(board: Board) -> Iterator[str]:
    """Nothing began in a workflow while it was paused, or after it was cancelled."""
    held: dict[str, str] = {}
    published: set[int] = set()
    for line in board.journal:
        match line["what"]:
            case "published":
                published.add(line["n"])
            case "cancelled" if line["n"] not in published:
                held.pop(workflow_of(line["n"]), None)  # what is published afterwards runs
            case "paused" | "cancelled":
                held[workflow_of(line["n"])] = line["what"]
            case "resumed" if held.get(workflow_of(line["n"])) == "paused":
                del held[workflow_of(line["n"])]
            case "begun" if line["workflow"] in held:
                how = held[line["workflow"]]
                yield f"{line['agent']} began in {line['workflow']}, which was {how}"
            case _:
                pass


def _beats(board: Board) -> Iterator[str]:
    """A schedule fires as often as it says, one after the other, in a workflow of its own."""
    beats = [a.payload for a in board.of("Beat")]
    numbers = [beat["iteration"] for beat in beats]
    if numbers != [*range(1, len(numbers) + 1)]:
        yield f"the beats are numbered {numbers}"
    wanted = {line["beats"] for line in board.journal if line["what"] == "beats"}
    if {len(numbers)} != wanted:
        yield f"there are {len(numbers)} beats, and should be {wanted}"


def _told(board: Board) -> Iterator[str]:
    """Whoever watches is told of each artifact and each run once, in board order."""
    artifacts = [line["artifact"] for line in board.journal if line.get("artifact")]
    there = [a.id for a in board.artifacts]
    if artifacts != there:
        yield from differ("artifacts that were told of", Counter(artifacts), there)
        if sorted(artifacts) == sorted(there):
            yield "artifacts were told of in another order than they have on the board"
    runs = [line["run"] for line in board.journal if line["what"] == "told" and "run" in line]
    newest = {run for run in board.runs if run not in runs}
    if len(newest) > 1:  # the last run may end without an artifact, after the watcher has gone
        yield f"{len(newest)} runs were not told of"
    yield from _once("runs that were told of", Counter(runs))
    unknown = set(runs) - set(board.runs)
    if unknown:
        yield f"{len(unknown)} runs were told of that are not on record"


def _of_those(counts: Counter[int], wanted: list[int]) -> Counter[int]:
    return Counter({n: count for n, count in counts.items() if n in set(wanted)})


def _once(what: str, counts: Mapping[Any, int]) -> Iterator[str]:
    twice: dict[str, list[object]] = defaultdict(list)
    for thing, count in counts.items():
        if count > 1:
            twice[what].append(thing)
    for name, things in twice.items():
        yield f"{name}: {len(things)} are there twice, such as {things[0]!r}"

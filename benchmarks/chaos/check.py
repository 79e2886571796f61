"""Whether a board on which everything is done holds each result once, and nothing is left over."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.chaos.gates import PIECES, TICKS, is_late, is_poisoned
from benchmarks.chaos.journal import lines


class Put(NamedTuple):
    """An artifact as it lies on the board."""

    seq: int
    id: str
    type: str
    payload: dict[str, Any]
    parents: list[str]
    run: str | None


class Board:
    """All that a board's file and its journal say."""

    def __init__(self, file: Path, journal: Path) -> None:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as c:
            self.damage = [row[0] for row in c.execute("PRAGMA integrity_check")]
            self.artifacts = [
                Put(
                    seq,
                    i.hex(),
                    t.rsplit(".", 1)[-1],
                    json.loads(p),
                    _ids(above),
                    run and run.hex(),
                )
                for seq, i, t, p, above, run in c.execute(
                    "SELECT seq, id, type, payload, parents, run FROM artifacts ORDER BY seq"
                )
            ]
            self.deliveries = c.execute("SELECT agent, seq FROM deliveries").fetchall()
            self.open_runs = c.execute("SELECT agent, hex(id) FROM open_runs").fetchall()
            self.steps = {row[0].lower() for row in c.execute("SELECT hex(run) FROM steps")}
            self.runs = {
                i.lower(): (agent, attempt)
                for i, agent, attempt in c.execute("SELECT hex(id), agent, attempt FROM runs")
            }
            self.used = [
                (agent, i.lower(), seq)
                for agent, i, seq in c.execute(
                    "SELECT r.agent, hex(r.id), c.seq FROM consumptions AS c"
                    " JOIN runs AS r ON r.number = c.run ORDER BY c.run, c.place"
                )
            ]
            self.letters = [
                (agent, run.lower(), json.loads(seqs), attempt)
                for agent, run, seqs, attempt in c.execute(
                    "SELECT agent, hex(run), deliveries, attempt FROM dead_letters"
                )
            ]
            self.keys = dict(c.execute("SELECT key, seq FROM idempotency_keys").fetchall())
        self.at = {a.seq: a for a in self.artifacts}
        self.journal = [*lines(journal)]

    def of(self, name: str) -> list[Put]:
        """Return the artifacts of a type."""
        return [a for a in self.artifacts if a.type == name]


def faults(file: Path, journal: Path, seed: int, orders: int) -> list[str]:
    """Return what is wrong with a board on which everything is done; nothing if it is right."""
    board = Board(file, journal)
    return [
        *whole(board),
        *_published(board, orders),
        *_results(board, seed, orders),
        *_gathered(board),
        *_parents(board),
        *left_over(board, {"meet"}),
        *run_ids(board),
        *attempts(board),
        *_steps(board),
    ]


def whole(board: Board) -> Iterator[str]:
    """The file is sound."""
    if board.damage != ["ok"]:
        yield f"the file is damaged: {board.damage[:3]}"


def _published(board: Board, orders: int) -> Iterator[str]:
    ids: dict[int, set[str]] = defaultdict(set)
    for order in board.of("Order"):
        ids[order.payload["n"]].add(order.id)
    for line in board.journal:
        if line["what"] == "published" and ids[line["n"]] != {line["id"]}:
            there = ids[line["n"]]
            yield f"order {line['n']} was published as {line['id']}, and is there as {there}"
    yield from differ("orders", Counter(o.payload["n"] for o in board.of("Order")), range(orders))
    for n in range(orders):
        seq = board.keys.get(f"order {n}")
        if seq is None or board.at[seq].payload != {"n": n}:
            yield f"the key of order {n} leads to {seq}"


def _results(board: Board, seed: int, orders: int) -> Iterator[str]:
    """Each input has its results, once."""
    every = [*range(orders)]
    on_time = [n for n in every if is_late(n)]
    sound = [n for n in every if not is_poisoned(seed, n)]
    for name, wanted in {
        "Left": every,
        "Right": every,
        "Early": every,
        "Late": on_time,
        "Pair": every,
        "Marked": every,
        "Tried": sound,
    }.items():
        yield from differ(name, Counter(a.payload["n"] for a in board.of(name)), wanted)
    for name, count, field in (("Piece", PIECES, "Total"), ("Tick", TICKS, "Pack")):
        wanted = [(n, i) for n in every for i in range(count)]
        yield from differ(
            name, Counter((a.payload["n"], a.payload["i"]) for a in board.of(name)), wanted
        )
        lists = (a.payload[f"{name.lower()}s"] for a in board.of(field))
        yield from differ(field, Counter(tuple(x) for each in lists for x in each), wanted)
    joined = Counter(n for a in board.of("Joined") for n in a.payload["ns"])
    yield from differ("Joined", joined, every)
    failed = [n for n in every if is_poisoned(seed, n)]
    lost = Counter(board.at[seqs[0]].payload["n"] for _, _, seqs, _ in board.letters)
    yield from differ("dead letters", lost, failed)
    told = {a.payload["run_id"].replace("-", "") for a in board.of("WorkflowError")}
    runs = {run for _, run, _, _ in board.letters}
    if told != runs:
        yield f"failures are told of {told ^ runs} more or less than there are dead letters"
    # a group of the fan-out is made by one run, in one piece
    makers = Counter(a.run for a in board.of("Piece"))
    if set(makers.values()) - {PIECES}:
        yield f"a fan-out is not whole: {makers.most_common(2)}"


def _gathered(board: Board) -> Iterator[str]:
    """What came to a join was used once, or expired once."""
    uses = used(board)
    for agent, seqs in uses.items():
        twice = {seq: count for seq, count in seqs.items() if count > 1}
        if twice:
            yield f"{agent} used artifacts in several runs: {twice}"
    expired = _expired(board)
    waiting = {(agent, seq) for agent, seq in board.deliveries}
    for artifact in [*board.of("Early"), *board.of("Late")]:
        seq = artifact.seq
        met = uses["meet"][seq] + expired["meet"][artifact.id] + (("meet", seq) in waiting)
        if met != 1:
            yield f"meet used {artifact.type} {artifact.payload} {met} times"
        if uses["wait"][seq] != 1:
            yield f"wait used {artifact.type} {artifact.payload} {uses['wait'][seq]} times"
    parts = Counter(run for agent, run, _ in board.used if agent == "wait")
    alone = Counter(
        board.at[seq].id for agent, run, seq in board.used if agent == "wait" and parts[run] == 1
    )
    yield from differ("records of groups that ran when they expired", expired["wait"], alone)


def _parents(board: Board) -> Iterator[str]:
    """What a run made follows from what it used."""
    inputs: dict[str | None, list[str]] = defaultdict(list)
    for _, run, seq in board.used:
        inputs[run].append(board.at[seq].id)
    for made in board.artifacts:
        if made.run in inputs and sorted(inputs[made.run]) != sorted(made.parents):
            yield f"{made.type} {made.payload} has parents that its run did not use"


def used(board: Board) -> dict[str, Counter[int]]:
    """Return how often each agent used which artifact."""
    used: dict[str, Counter[int]] = defaultdict(Counter)
    for agent, _, seq in board.used:
        used[agent][seq] += 1
    return used


def _expired(board: Board) -> dict[str, Counter[str]]:
    """Return how often each agent's joins recorded that they waited for an artifact in vain."""
    expired: dict[str, Counter[str]] = defaultdict(Counter)
    for record in board.of("GroupExpired"):
        for i in record.payload["artifact_ids"]:
            expired[record.payload["agent"]][i.replace("-", "")] += 1
    return expired


def left_over(board: Board, may_wait: Container[str]) -> Iterator[str]:
    """Nothing is open but what may wait for ever."""
    left = [(agent, board.at[seq]) for agent, seq in board.deliveries if agent not in may_wait]
    if left:
        yield f"{len(left)} deliveries are open, such as {left[0]}"
    if board.open_runs:
        yield f"{len(board.open_runs)} runs are open, such as {board.open_runs[0]}"
    stale = board.steps - {run for _, run, _, _ in board.letters}
    if stale:
        yield f"steps of {len(stale)} runs are left, such as {stale.pop()}"


def run_ids(board: Board, unheard: Container[str] = ()) -> Iterator[str]:
    """A run has the same inputs in each process, and an input is in one run of an agent."""
    inputs: dict[str, tuple[str, list[str]]] = {}
    run_of: dict[tuple[str, str], str] = {}
    for line in board.journal:
        if line["what"] != "begun":
            continue
        run, agent = line["run"].replace("-", ""), line["agent"]
        before = inputs.setdefault(run, (agent, line["inputs"]))
        if before != (agent, line["inputs"]):
            yield f"run {run} was over {before}, and then over {agent}, {line['inputs']}"
        for i in line["inputs"]:
            other = run_of.setdefault((agent, i), run)
            if other != run:
                yield f"{agent} saw {i} in run {other}, and then in run {run}"
    for agent, run, seq in board.used:
        if agent not in unheard and run_of.get((agent, board.at[seq].id)) != run:
            yield f"run {run} of {agent} used {seq} without having begun over it"


def attempts(board: Board) -> Iterator[str]:
    """Attempts count up; only one that nobody had to wait for counts the same again."""
    seen: dict[str, list[int]] = defaultdict(list)
    for line in board.journal:
        if line["what"] == "begun":
            seen[line["run"].replace("-", "")].append(line["attempt"])
        elif line["what"] == "redriven":  # they are counted anew
            seen[line["run"].replace("-", "")].clear()
    for run, attempts in seen.items():
        if any(b < a for a, b in pairwise(attempts)):
            yield f"the attempts of run {run} do not count up: {attempts}"
        again = [a for a, count in Counter(attempts).items() if count > 1 and a > 1]
        if again or attempts.count(1) > 2:
            yield f"attempts of run {run} were counted twice: {attempts}"
        ended = board.runs.get(run) if attempts else None
        if ended is not None and ended[1] != attempts[-1]:
            yield f"run {run} ended in attempt {ended[1]}, and had {attempts}"


def _steps(board: Board) -> Iterator[str]:
    returned: dict[tuple[str, str], int] = {}
    for line in board.journal:
        if line["what"] not in {"step", "returned"}:
            continue
        key = (line["run"].replace("-", ""), line["name"])
        if line["what"] == "step" and key in returned:
            yield f"step {key} was taken again after it had returned"
        if line["what"] == "returned" and returned.setdefault(key, line["value"]) != line["value"]:
            yield f"step {key} returned {returned[key]}, and then {line['value']}"
    values = {a.run: a.payload["value"] for a in board.of("Marked")}
    for run, value in values.items():
        if run is not None and value != sum(returned.get((run, s), 0) for s in ("first", "second")):
            yield f"run {run} published another value than its steps returned"


def differ(what: str, found: Counter[Any], wanted: Iterable[Any]) -> Iterator[str]:
    """Yield what there is too little or too much of."""
    expected: Counter[Any] = Counter(wanted)
    if lacking := expected - found:
        yield f"{what}: lost {sum(lacking.values())}, such as {next(iter(lacking))}"
    if surplus := found - expected:
        yield f"{what}: {sum(surplus.values())} too many, such as {next(iter(surplus))}"


def _ids(joined: bytes | None) -> list[str]:
    return [joined[at : at + 16].hex() for at in range(0, len(joined), 16)] if joined else []

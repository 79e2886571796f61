"""Several steps of one workflow, with an engine that reads the workflow's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.floor import IN_FLIGHT
from benchmarks.measurement import Measurement, Target
from benchmarks.models import TEXT, Answer, Note, Request
from benchmarks.scenarios.boards import add_echo, new_board
from benchmarks.tally import Tally, total
from flock import Agent, Context, EngineComponent, EvalInputs, EvalResult

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Beside
    from benchmarks.measurement import Counts, Figure
    from flock import Flock

RUNS = 3


class HistoryReader(EngineComponent):
    """Answers with the length of the history it was given."""

    name: str | None = "history"
    enable_context: bool = True

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: object
    ) -> EvalResult:
        """Look at every artifact of the history."""
        answer = inputs.first_as(Answer)
        assert answer is not None
        known = sum(1 for artifact in ctx.artifacts if artifact.depth == 0)
        return EvalResult.from_object(Note(number=answer.number, history=known))


class Chain:
    """Three runs per input, the one in the middle with history."""

    name = "chain"
    what = "A→B→C and a reader of C; the engine in the middle reads the history"
    target = Target(text="≥ 0.9 of young", at_least=0.9)

    async def run(self, bench: Bench) -> Measurement:
        """On a young board and an old one; a workflow per input, then one for all."""
        old = bench.size(100_000, 6_000, 30)
        count = bench.size(3_000, 1_000, 10)
        counts: list[Counts] = []
        figures = [
            figure
            for workflow, name in ((None, "own workflows"), ("all", "one workflow"))
            for figure in await self._flatness(bench, workflow, name, old, count, counts)
        ]
        return Measurement(scenario=self.name, figures=tuple(figures), counts=total(counts))

    async def _flatness(
        self,
        bench: Bench,
        workflow: str | None,
        name: str,
        old: int,
        count: int,
        counts: list[Counts],
    ) -> tuple[Figure, Figure]:
        young, grown = bench.beside_floor(), bench.beside_floor()
        counts += [
            await _stretch(young, workflow, filling=count // 3, count=count)
            for _ in range(bench.repeats)
        ]
        counts.append(
            await _stretch(grown, workflow, filling=old, count=count, repeats=bench.repeats)
        )
        return (
            young.figure(f"chain, {name}, young"),
            grown.figure(
                f"chain, {name}, after {old:,}", self.target, value=grown.ratio / young.ratio
            ),
        )


async def _stretch(
    beside: Beside, workflow: str | None, *, filling: int, count: int, repeats: int = 1
) -> Counts:
    numbers = filling + count * repeats
    first, last = Tally(numbers), Tally(numbers)
    board = new_board()
    add_echo(board, first.seen, "first")
    middle = board.agent("middle").consumes(Answer).publishes(Note)
    middle.with_engines(HistoryReader()).max_concurrency(IN_FLIGHT)
    _add_reader(board, last.seen)
    async with board:
        runs = await _publish(board, workflow, 0, filling)

        async def work(start: int) -> None:
            nonlocal runs
            runs += await _publish(board, workflow, start, count)

        for turn in range(repeats):
            await beside.stretch(count * RUNS, work(filling + turn * count))
    whole = first.counts(runs // RUNS), last.counts(runs // RUNS)
    return total(list(whole))


def _add_reader(board: Flock, seen: list[int]) -> None:
    async def read(note: Note) -> None:
        seen[note.number] += 1

    board.agent("last").consumes(Note).calls(read).max_concurrency(IN_FLIGHT)


async def _publish(board: Flock, workflow: str | None, first: int, count: int) -> int:
    for number in range(first, first + count):
        await board.publish(Request(number=number, text=TEXT), correlation_id=workflow)
    report = await board.run_until_idle()
    return report.runs

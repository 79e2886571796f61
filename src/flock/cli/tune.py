"""`flock tune`: improve an agent's prompt by the board's own history."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import typer
from rich.console import Console

from flock.cli.loading import load_named, make_board
from flock.cli.tuning_report import as_data, lines, table, tuning_bar
from flock.engines.dspy.tuning.examples import TuningExample, read_examples, write_examples
from flock.engines.dspy.tuning.history import past_runs
from flock.engines.dspy.tuning.tuner import HOWS, engine_of
from flock.engines.dspy.tuning.tuner import tune as tune_agent
from flock.errors import DeclarationError, FlockError, StoreLocked
from flock.orchestrator.flock import Flock

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.engines.dspy.tuning.metric import Metric
    from flock.engines.dspy.tuning.report import TuningReport

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
_FEEDBACK: Final = "feedback"


@dataclass(frozen=True, slots=True)
class _Order:
    """What the user asked for."""

    agent: str
    board: str
    metric: str
    examples: Path | None
    export: Path | None
    output: Path
    how: str
    model: str | None
    writer: str | None
    candidates: int
    max_examples: int
    max_calls: int | None
    max_usd: float | None
    held_out: float
    good: float
    seed: int
    concurrency: int


def tune(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")],
    board: Annotated[
        str,
        typer.Option(
            metavar="MODULE:ATTRIBUTE",
            help="The board: a Flock, or a function that returns one, also async.",
        ),
    ],
    *,
    metric: Annotated[
        str,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="metric(inputs, output, expected) -> 0..1; or `feedback`: agreement with what "
            "people approved or corrected.",
        ),
    ] = _FEEDBACK,
    examples: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Past runs from a file, beside the board's own."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the past runs to a file, and tune nothing."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to save the prompt. [default: AGENT.tuned.json]",
        ),
    ] = None,
    how: Annotated[
        str, typer.Option(metavar="|".join(HOWS), help="What to change of the prompt.")
    ] = "examples",
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model to tune for. [default: the agent's]"),
    ] = None,
    writer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The model that writes instructions. [default: the same]"
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=1, help="How many prompts to try of each kind.")
    ] = 8,
    max_examples: Annotated[int, typer.Option(min=1, help="Most examples in a prompt.")] = 4,
    max_calls: Annotated[
        int | None, typer.Option(min=1, help="Most model calls. [default: as many as it takes]")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(min=0.0, help="Most US dollars. [default: no bound]")
    ] = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the runs that only measures before and after.")
    ] = 0.3,
    good: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="From which score on a run counts as right.")
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="Another one splits and draws otherwise.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="How many runs to try at once.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    progress: Annotated[bool, typer.Option(help="Show the progress.")] = True,
) -> None:
    """Improve an agent's prompt by the board's own history.

    Past runs of the agent, with the `Feedback` that people published about their outputs, are
    split into three parts: what teaches, what candidates are compared on, and what is held out.
    The best prompt is saved as a file that `DSPyEngine(tuned="FILE")` uses, unless it does worse
    on the held-out part.

    The agent's model is really called: bound it with `--max-calls` or `--max-usd`. Ctrl-C ends
    the search and saves the best so far; pressed twice, it ends at once.

    Exits with 0 when a better prompt was saved; 1 when there is none, or a model failed; 2 when
    it cannot be done as asked; 130 when it was interrupted.

    *Examples*

    `flock tune router --board app:board`

    `flock tune router --board app:board --metric app:is_right --how both --max-calls 500`

    `flock tune router --board app:board --export runs.jsonl`
    """
    order = _Order(
        agent,
        board,
        metric,
        examples,
        export,
        output or Path(f"{agent}.tuned.json".replace("/", "-")),
        how,
        model,
        writer,
        candidates,
        max_examples,
        max_calls,
        max_usd,
        held_out,
        good,
        seed,
        concurrency,
    )
    problems = Console(stderr=True)
    with _explained(problems):
        if export is not None:
            count = asyncio.run(_export(order))
            _say(Console(), f"{count} past runs of {agent!r} are in {export}.")
            return
        _check_output(order.output)
        report = asyncio.run(_tune(order, problems, shows=progress and not as_json))
        saved = report.is_worth_keeping and report.prompt is not None
        if saved and report.prompt is not None:
            report.prompt.save(order.output)
    path = order.output if saved else None
    console = Console()
    if as_json:
        import json

        typer.echo(json.dumps(as_data(report, path), indent=2))
    elif console.is_terminal:
        console.print(table(report))
    for line in () if as_json else lines(report, path, told=console.is_terminal):
        typer.echo(line)
    if report.stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if not saved:
        raise typer.Exit(FAILED)


def _check_output(path: Path) -> None:
    """Make sure that a prompt can be saved before a model is paid for finding one.

    Raises:
        DeclarationError: It cannot.
    """
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        msg = f"no prompt can be saved to {str(path)!r}; name a file in a folder that is there (-o)"
        raise DeclarationError(msg)


async def _export(order: _Order) -> int:
    assert order.export is not None
    async with _opened(order.board) as flock:
        agent = flock.get_agent(order.agent)
        return write_examples(await _runs(order, flock, agent), order.export)


async def _tune(order: _Order, problems: Console, *, shows: bool) -> TuningReport:
    metric: Any = order.metric
    if metric != _FEEDBACK:
        metric = load_named(order.metric, "--metric")
        if not callable(metric):
            msg = f"--metric {order.metric!r} is no function: {metric!r}"
            raise DeclarationError(msg)
    async with _opened(order.board) as flock:
        agent = flock.get_agent(order.agent)
        engine = engine_of(agent)
        runs = await _runs(order, flock, agent)
        stop = asyncio.Event()
        with tuning_bar(problems, wanted=shows) as show, _interruptible(stop, problems):
            return await tune_agent(
                agent,
                runs,
                cast("Metric | Literal['feedback']", metric),
                how=cast("Literal['examples', 'instructions', 'both']", order.how),
                model=order.model or (flock.model if engine.model is None else None),
                writer=order.writer,
                candidates=order.candidates,
                max_examples=order.max_examples,
                max_calls=order.max_calls,
                max_usd=order.max_usd,
                held_out=order.held_out,
                good=order.good,
                seed=order.seed,
                concurrency=order.concurrency,
                on_progress=show,
                stop=stop,
            )


async def _runs(order: _Order, flock: Flock, agent: Agent) -> list[TuningExample]:
    """Return the runs that the board's store holds, and those of the file; each once."""
    found = {run.id: run for run in await past_runs(flock.store, agent)}
    if order.examples is not None:
        found |= {run.id: run for run in read_examples(order.examples)}
    return list(found.values())


@asynccontextmanager
async def _opened(name: str) -> AsyncGenerator[Flock]:
    """Make the board, and open its store to read; its agents run nothing."""
    made = await make_board(name, "--board")
    opened = False
    try:
        with suppress(StoreLocked):  # by this very board, which its factory left open
            await made.store.open("flock tune")
            opened = True
        yield made
    finally:
        if opened:
            await made.store.close()
        await made.shutdown(grace=0)


@contextmanager
def _interruptible(stop: asyncio.Event, problems: Console) -> Generator[None]:
    """Let the first Ctrl-C end the search, and the second one everything."""
    loop = asyncio.get_running_loop()

    def on_interrupt() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)
        _say(problems, "Ending the search; the best prompt so far is kept. Ctrl-C again ends now.")

    try:
        loop.add_signal_handler(signal.SIGINT, on_interrupt)
    except (NotImplementedError, RuntimeError, ValueError):
        yield  # where there are no signals, Ctrl-C ends at once
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _explained(problems: Console) -> Generator[None]:
    """Turn errors into their message and an exit code."""
    try:
        yield
    except DeclarationError as error:
        _say(problems, str(error))
        raise typer.Exit(MISUSED) from None
    except FlockError as error:
        _say(problems, str(error))
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        _say(problems, "Interrupted; nothing was saved.")
        raise typer.Exit(INTERRUPTED) from None


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)

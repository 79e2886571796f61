"""What `flock tune` shows: its progress, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from flock.engines.dspy.tuning.report import TuningProgress, TuningReport


@contextmanager
def tuning_bar(
    console: Console, *, wanted: bool = True
) -> Generator[Callable[[TuningProgress], None] | None]:
    """Show how far tuning is: a bar on a terminal, a line for each stage elsewhere."""
    if not wanted:
        yield None
        return
    if not console.is_terminal or console.is_dumb_terminal:
        last = ""

        def tell(progress: TuningProgress) -> None:
            nonlocal last
            if progress.stage != last:
                last = progress.stage
                best = "" if progress.best is None else f", best so far {progress.best:.3f}"
                text = f"{last} ({progress.calls} of about {progress.expected} calls{best}) ..."
                console.print(text, markup=False, highlight=False, soft_wrap=True)

        yield tell
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("", total=None)

        def show(progress: TuningProgress) -> None:
            best = "" if progress.best is None else f" (best {progress.best:.3f})"
            bars.update(
                bar,
                description=f"{progress.stage}{best}",
                completed=progress.calls,
                total=progress.expected,
            )

        yield show


def table(report: TuningReport) -> Table:
    """Return the scores as a table for a terminal."""
    made = Table(box=box.SIMPLE_HEAD, title=f"{report.agent} on {report.model}")
    for name in ("part", "runs", "before", "after", "change"):
        made.add_column(name, justify="left" if name == "part" else "right")
    for part, runs, before, after in _rows(report):
        made.add_row(part, str(runs), _score(before), _score(after), _change(before, after))
    return made


def lines(report: TuningReport, path: Path | None, *, told: bool = False) -> list[str]:
    """Return what there is to say, in plain lines.

    Args:
        report: What came of it.
        path: Where the prompt was saved; None if it was not.
        told: Whether the scores have been shown already.
    """
    said: list[str] = []
    if not told:
        for part, runs, before, after in _rows(report):
            said.append(
                f"{part}\t{runs} runs\t{_score(before)} -> {_score(after)}\t"
                f"{_change(before, after)}"
            )
    usage = report.usage
    money = "price unknown" if usage.usd is None else f"{usage.usd:.4f} USD"
    said.append(
        f"{usage.calls} model calls, {usage.tokens:,} tokens, {money}, {report.seconds:.1f} s; "
        f"metric {report.metric}, {report.examples} runs ({report.train} taught), "
        f"{report.left_out} left out, seed {report.seed}"
    )
    if report.stopped is not None:
        said.append(f"The search ended early: {report.stopped}.")
    if path is not None:
        said.append(f"Saved in {path}. Use it: DSPyEngine(tuned={str(path)!r})")
    elif report.prompt is not None:
        said.append(
            "Nothing was saved: what did better on the validation part does worse on the held-out "
            "one. More runs, or another seed, tell more."
        )
    elif report.validation_before is not None and report.validation_before >= 1:
        said.append("Nothing was saved: the prompt as it is makes no mistake. Nothing to improve.")
    else:
        said.append(
            "Nothing was saved: no candidate did better. Try --how instructions, more "
            "--candidates or --max-examples, or more Feedback."
        )
    return said


def as_data(report: TuningReport, path: Path | None) -> dict[str, object]:
    """Return the report for `--json`."""
    data = {name: getattr(report, name) for name in type(report).__dataclass_fields__}
    data["candidates"] = [asdict(one) for one in report.candidates]
    data["usage"] = asdict(report.usage)
    prompt = report.prompt
    data["prompt"] = None if prompt is None else prompt.model_dump(mode="json", by_alias=True)
    data["saved"] = None if path is None else str(path)
    return data


def _rows(
    report: TuningReport,
) -> list[tuple[str, int, float | None, float | None]]:
    after = report.after if report.prompt is not None else report.before
    return [
        ("validation", report.validation, report.validation_before, report.validation_after),
        ("held out", report.held_out, report.before, after),
    ]


def _score(score: float | None) -> str:
    return "not measured" if score is None else f"{score:.3f}"


def _change(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{after - before:+.3f}"

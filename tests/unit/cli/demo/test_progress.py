from __future__ import annotations

import asyncio
import io
import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from rich.console import Console

from flock import (
    Context,
    DeadLettered,
    Event,
    EventsMissed,
    Flock,
    RunCancelled,
    RunEmitted,
    RunStarted,
    RunSucceeded,
)
from flock.cli.demo.progress import Bars, Lines, Tally, choose_display, follow
from flock.cli.demo.types import ComplexityReview, ReviewedFile, SourceFile, SourceTree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def succeeded(agent: str, run: str = "1", at: datetime = NOW) -> RunSucceeded:
    return RunSucceeded(at, None, agent, run, 1, (), 0.1, {})


def tally_of(*events: Event) -> Tally:
    tally = Tally()
    for event in events:
        tally.count(event)
    return tally


async def collect(tree: SourceTree, ctx: Context) -> AsyncIterator[SourceFile | ReviewedFile]:
    ctx.emit(3)
    yield SourceFile(path="a.py", text=tree.root)
    yield SourceFile(path="b.py", text=tree.root)
    yield ReviewedFile(path="c.py")


async def review(file: SourceFile) -> ComplexityReview:
    if file.path == "b.py":
        raise ValueError(file.path)
    return ComplexityReview(path=file.path)


async def test_a_tally_is_taken_from_what_the_board_tells() -> None:
    flock, tally, seen = Flock(), Tally(), set[str]()
    flock.agent("collector").calls(collect)
    flock.agent("complexity").calls(review)
    async with asyncio.TaskGroup() as tasks, flock:
        events = flock.events()

        async def watch() -> None:
            async for event in events:
                tally.count(event)
                seen.update(tally.now.values())

        tasks.create_task(watch())
        await flock.publish(SourceTree(root="."))
        await flock.run_until_idle()
    assert (tally.found, tally.unreadable, tally.to_review) == (3, 1, 2)
    assert tally.done == {"collector": 1, "complexity": 1}
    assert (tally.failed, tally.now) == (1, {})
    assert seen == {"a.py", "b.py"}


def test_the_sentence_says_how_far_it_is() -> None:
    tally = tally_of(RunEmitted(NOW, None, "collector", "0", 2000), succeeded("binder"))
    assert tally.sentence() == "1 of 2,000 files reviewed"
    tally.count(DeadLettered(NOW, None, "security", uuid4(), "ValueError", ""))
    tally.count(EventsMissed(NOW, None, 7))
    tally.unreadable = 1
    assert tally.sentence() == (
        "1 of 1,999 files reviewed, 1 could not be read, 1 run failed, "
        "7 events were missed, so this is too low"
    )


def test_a_review_of_nothing_says_nothing() -> None:
    tally = tally_of(RunEmitted(NOW, None, "collector", "0", 0))
    assert tally.sentence() == "No file reviewed"
    for is_terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=is_terminal, _environ={"TERM": "xterm"})
        with choose_display(tally, console, wanted=True) as display:
            display.show(NOW)
        shown = out.getvalue()
        assert shown == "" or shown.endswith("\x1b[1A\x1b[2K"), "what was drawn is taken back"


def test_what_is_cancelled_is_not_going_on() -> None:
    started = RunStarted(NOW, None, "security", "1", 1, (uuid4(),))
    assert list(tally_of(started).now) == ["1"]
    assert not tally_of(started, RunCancelled(NOW, None, "security", "1")).now


def test_lines_are_printed_every_two_seconds_and_at_the_end() -> None:
    out = io.StringIO()
    tally = tally_of(RunEmitted(NOW, None, "collector", "0", 9))
    with Lines(tally, Console(file=out)) as lines:
        for tenths in range(45):
            tally.count(succeeded("binder"))
            lines.show(NOW + timedelta(seconds=tenths / 10))
    assert out.getvalue().splitlines() == [
        "21 of 9 files reviewed ...",
        "41 of 9 files reviewed ...",
        "45 of 9 files reviewed.",
    ]


def test_bars_show_each_stage_and_what_is_going_on() -> None:
    out = io.StringIO()
    started = RunStarted(NOW, None, "security", "7", 1, (uuid4(),))
    tally = tally_of(
        RunEmitted(NOW, None, "collector", "0", 4), started, succeeded("complexity"), started
    )
    tally.now["7"] = "pkg/slow.py"
    console = Console(file=out, force_terminal=True, width=80, _environ={"TERM": "xterm"})
    with Bars(tally, console) as bars:
        bars.show(NOW)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "complexity" in text
    assert "1/4" in text
    assert "0 of 4 files reviewed · now pkg/slow.py" in text


@pytest.mark.parametrize(
    ("is_terminal", "wanted", "kind"),
    [(True, True, Bars), (False, True, Lines), (True, False, nullcontext)],
)
def test_the_display_fits_where_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, wanted: bool, kind: type
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    console = Console(file=io.StringIO(), force_terminal=is_terminal)
    assert isinstance(choose_display(Tally(), console, wanted=wanted), kind)


async def test_following_ends_with_the_events() -> None:
    async def events() -> AsyncIterator[Event]:
        yield succeeded("binder")

    tally = Tally()
    display = choose_display(tally, Console(file=io.StringIO()), wanted=False)
    await follow(events(), tally, display)
    assert tally.done["binder"] == 1

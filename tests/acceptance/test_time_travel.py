"""What happened on a board can be seen again, and tried again with other agents."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from flock import (
    ABSENT,
    AfterVisibility,
    Artifact,
    BatchSpec,
    Context,
    DeclarationError,
    Flock,
    JoinSpec,
    NotFound,
    OrchestratorComponent,
    PrivateVisibility,
    Replay,
    TenantVisibility,
)
from flock.testing import ManualClock, ScriptedEngine

from .support import engine, ids


class Ask(BaseModel):
    text: str = ""


class Draft(BaseModel):
    text: str = ""
    score: float = 0
    notes: list[str] = []


class Final(BaseModel):
    text: str = ""


class Extra(BaseModel):
    text: str = ""


def draft(ask: Ask) -> Draft:
    return Draft(text=ask.text.upper(), score=1)


def final(made: Draft) -> Final:
    return Final(text=f"{made.text}!")


def two_steps(**options: Any) -> Flock:
    flock = Flock(**options)
    flock.agent("drafter").calls(draft)
    flock.agent("finisher").calls(final)
    return flock


async def lived(flock: Flock, *asks: str) -> Replay:
    async with flock:
        for text in asks:
            await flock.publish(Ask(text=text), correlation_id="w")
            await flock.run_until_idle()
    return await flock.replay("w")


# --- replay -------------------------------------------------------------------------------------


async def test_a_replay_shows_what_each_run_was_given_saw_and_made() -> None:
    replay = await lived(two_steps(), "a", "b")
    assert [a.seq for a in replay.artifacts] == [1, 2, 3, 4, 5, 6]
    assert [(r.agent, ids(r.inputs), ids(r.outputs)) for r in replay.runs] == [
        (agent, [replay.artifacts[n].id], [replay.artifacts[n + 1].id])
        for n, agent in ((0, "drafter"), (1, "finisher"), (3, "drafter"), (4, "finisher"))
    ]
    first, _ = replay.of("drafter")
    assert (first.attempt, first.seen, first.position, first.made) == (1, 1, 2, 1)
    assert first.succeeded
    assert first.began_at is not None
    assert first.began_at <= first.ended_at
    made = replay.artifacts[1]
    assert replay.maker_of(made) is replay.run(first.run_id) is first
    assert [user.agent for user in replay.users_of(made)] == ["finisher"]
    assert replay.maker_of(replay.artifacts[0]) is None
    assert "'finisher' over 2, which saw 2: -> 3" in str(replay)


async def test_a_replay_until_a_position_is_the_board_as_it_lay_then() -> None:
    flock = two_steps()
    replay = await lived(flock, "a", "b")
    past = await flock.replay("w", until=4)
    assert past.position == 4
    assert ids(past.artifacts) == ids(replay.artifacts[:4])
    assert [run.agent for run in past.runs] == ["drafter", "finisher"]
    assert ids(replay.at(4).artifacts) == ids(past.artifacts)
    assert str(replay.at(4)) == str(past)
    assert (await flock.replay("w", until=0)).artifacts == ()


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "3"])
async def test_a_position_is_a_seq(wrong: Any) -> None:
    flock = two_steps()
    replay = await lived(flock, "a")
    for call in (flock.replay("w", until=wrong), flock.fork("w", at=wrong)):
        with pytest.raises(DeclarationError, match="seq of an artifact"):
            await call
    with pytest.raises(DeclarationError, match="seq of an artifact"):
        replay.at(wrong)


async def test_an_unknown_workflow_or_run_is_named() -> None:
    flock = two_steps()
    replay = await lived(flock, "a")
    with pytest.raises(NotFound, match="workflow 'nowhere'"):
        await flock.replay("nowhere")
    with pytest.raises(NotFound, match="workflow 'nowhere'"):
        await flock.fork("nowhere")
    with pytest.raises(NotFound, match="no run 'f00'"):
        replay.run("f00")


async def test_a_run_that_failed_shows_why_what_it_saw_and_what_its_steps_had_returned() -> None:
    async def answer(ask: Ask, ctx: Context) -> Draft:
        await ctx.step("look up", lambda: {"found": ask.text})
        msg = "no such thing"
        raise ValueError(msg)

    flock = Flock(clock=ManualClock(autojump=True))
    flock.agent("drafter").calls(answer).retry(3)
    replay = await lived(flock, "a")
    [run] = replay.failed
    assert (run.agent, run.attempt, run.seen) == ("drafter", 3, 1)
    assert run.error == "ValueError: no such thing"
    assert run.steps == {"look up": {"found": "a"}}
    assert ids(run.inputs) == [replay.artifacts[0].id]
    assert await run.history() == ()
    [letter] = await flock.dead_letters()
    assert run.run_id == letter.run_id


async def test_a_history_is_what_the_agent_could_see_at_that_time() -> None:
    clock = ManualClock(autojump=True)
    flock = Flock(clock=clock)
    seen: list[Context] = []
    late = engine(lambda inputs: Draft(), context=True, seen=seen)
    flock.agent("drafter").tenant("acme").consumes(Ask).publishes(Draft).with_engines(late)
    hour = timedelta(hours=1)
    async with flock:
        for visibility in (
            None,
            PrivateVisibility(agents={"somebody"}),
            TenantVisibility(tenant_id="acme"),
            AfterVisibility(ttl=hour),
        ):
            await flock.publish(Extra(), correlation_id="w", visibility=visibility)
        await flock.publish(Ask(), correlation_id="w")
        await flock.run_until_idle()
        await clock.advance(2 * hour)
        await flock.publish(Ask(), correlation_id="w")
        await flock.run_until_idle()
        await flock.publish(Extra(), correlation_id="w")
    histories = [await run.history() for run in (await flock.replay("w")).runs]
    assert [ids(history) for history in histories] == [ids(ctx.artifacts) for ctx in seen]
    assert [[a.seq for a in history] for history in histories] == [[1, 3], [1, 3, 4, 5, 6]]


async def test_an_engine_sees_the_board_as_of_the_beginning_of_its_run() -> None:
    flock = Flock()
    going, published = asyncio.Event(), asyncio.Event()

    async def provider(request: Any) -> list[Artifact]:
        going.set()
        await published.wait()
        return [*await request.query(limit=9), *await flock.store.list_by_type(Extra)]

    seen: list[Context] = []
    looks = engine(lambda inputs: Draft(), context=True, seen=seen)
    agent = flock.agent("drafter").consumes(Ask).publishes(Draft).with_engines(looks)
    agent.with_context(provider)
    async with flock:
        await flock.publish(Ask(), correlation_id="w")
        await going.wait()
        await flock.publish(Extra(), correlation_id="w")
        published.set()
        await flock.run_until_idle()
    assert [a.seq for a in seen[0].artifacts] == [1]
    [run] = (await flock.replay("w")).runs
    assert [a.seq for a in await run.history()] == [1]


async def test_what_was_deleted_is_named() -> None:
    clock = ManualClock(autojump=True)
    flock = Flock(clock=clock)
    flock.agent("both").consumes(Ask, Extra).calls(lambda ask, extra: Final())
    async with flock:
        old = await flock.publish(Ask(), correlation_id="w")
        await clock.advance(60)
        new = await flock.publish(Extra(), correlation_id="w")
        await flock.run_until_idle()
        assert await flock.store.delete_before(new.created_at) == 1
    replay = await flock.replay("w")
    [run] = replay.runs
    assert (ids(run.inputs), run.missing) == ([new.id], (old.id,))
    assert replay.missing == {old.id}
    assert "over 2, ?" in str(replay)


APP = """
from pydantic import BaseModel
from flock import Flock, flock_type

@flock_type(name="tt.Ask")
class Ask(BaseModel):
    text: str = ""

@flock_type(name="tt.Draft")
class Draft(BaseModel):
    text: str = ""

def draft(ask: Ask) -> Draft:
    return Draft(text=ask.text.upper())

flock = Flock(store="sqlite:///board.db")
flock.agent("drafter").calls(draft)
"""
LIVE = """
import asyncio
from app import Ask, flock

async def main():
    async with flock:
        await flock.publish(Ask(text="a"), correlation_id="w")
        await flock.run_until_idle()
        {then}

asyncio.run(main())
"""
LOOK = """
import asyncio
from app import Draft, flock

async def main():
    replay = await flock.replay("w")
    [run] = replay.runs
    print(run.agent, run.seen, [a.seq for a in run.outputs], await run.history())
    fork = await flock.fork("w", agents={"drafter": lambda ask: Draft(text="b")})
    print(*fork.comparison.changed[0].changes)

asyncio.run(main())
"""
LOOKED = 'drafter 1 [2] ()\ntext: "A" -> "b"\n'


def program(folder: Path, source: str) -> str:
    path = folder / f"run_{uuid4().hex}.py"
    path.write_text(source)
    done = subprocess.run(
        [sys.executable, path.name], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


async def test_another_process_replays_and_forks_a_board_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    await asyncio.to_thread(program, tmp_path, LIVE.format(then="pass"))
    assert await asyncio.to_thread(program, tmp_path, LOOK) == LOOKED


async def test_a_board_that_another_process_has_open_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "look.py").write_text(LOOK)
    then = (
        "import subprocess, sys; "
        "print(subprocess.run([sys.executable, 'look.py'], capture_output=True, text=True).stdout,"
        " end='')"
    )
    assert await asyncio.to_thread(program, tmp_path, LIVE.format(then=then)) == LOOKED


# --- fork ---------------------------------------------------------------------------------------


async def test_a_fork_without_changes_is_the_same_and_leaves_the_board_alone() -> None:
    flock = two_steps()
    before = await lived(flock, "a", "b")
    fork = await flock.fork("w")
    assert fork.comparison.is_same
    assert len(fork.comparison.same) == 4
    assert [a.payload for a in fork.after.artifacts] == [a.payload for a in before.artifacts]
    assert ids(fork.given) == [before.artifacts[0].id, before.artifacts[3].id]
    assert set(ids(fork.outputs)).isdisjoint(ids(before.artifacts))
    assert str(await flock.replay("w")) == str(before)
    assert await fork.store.get_by_type(Final) == await flock.store.get_by_type(Final)


async def test_a_changed_function_shows_field_by_field_what_it_comes_to() -> None:
    flock = two_steps()
    await lived(flock, "a")

    def other(ask: Ask) -> Draft:
        return Draft(text="x", score=2, notes=["new"])

    comparison = (await flock.fork("w", agents={"drafter": other})).comparison
    drafted, finished = comparison.changed
    found = [(c.path, c.before, c.after) for c in drafted.changes]
    assert found == [
        ("text", "A", "x"),
        ("score", 1.0, 2.0),
        ("notes[0]", ABSENT, "new"),
    ]
    assert [str(change) for change in finished.changes] == ['text: "A!" -> "x!"']
    assert str(comparison).startswith("0 same, 2 changed, 0 missing, 0 added\n")


async def test_a_fork_from_a_position_makes_only_what_came_after_anew() -> None:
    called: list[str] = []

    def counted(ask: Ask) -> Draft:
        called.append(ask.text)
        return draft(ask)

    flock = Flock()
    flock.agent("drafter").calls(counted)
    flock.agent("finisher").calls(final)
    before = await lived(flock, "a", "b")
    called.clear()
    run = before.of("finisher")[0]
    fork = await flock.fork("w", at=run.seen, agents={"finisher": lambda made: Final(text="?")})
    assert called == ["b"], "the first draft is given, the second root comes again"
    assert ids(fork.given) == [before.artifacts[n].id for n in (0, 1, 3)]
    assert [pair.after.payload for pair in fork.comparison.changed] == [{"text": "?"}] * 2
    assert [pair.after.payload for pair in fork.comparison.same] == [before.artifacts[4].payload]

    fork = await flock.fork("w", at=before.position)
    assert (fork.outputs, fork.comparison.is_same) == ((), True)


async def test_an_agent_can_be_an_engine_left_out_or_declared_anew() -> None:
    flock = two_steps()
    await lived(flock, "a")
    scripted = ScriptedEngine(answers=[Draft(text="z")])
    fork = await flock.fork("w", agents={"drafter": scripted, "finisher": None})
    assert [a.payload["text"] for a in fork.outputs] == ["z"]
    assert [a.type for a in fork.comparison.missing] == [f"{__name__}.Final"]

    def declare(board: Flock) -> None:
        board.agent("finisher").calls(lambda made: Final(text="declared")).consumes(Draft)
        board.agent("more").calls(lambda made: Extra(text="more")).consumes(Final)

    fork = await flock.fork("w", agents=declare)
    assert [a.payload["text"] for a in fork.outputs] == ["A", "declared", "more"]
    assert [a.produced_by for a in fork.comparison.added] == ["more"]
    assert flock.get_agent("finisher").function is not None
    assert [agent.name for agent in flock.agents] == ["drafter", "finisher"]

    fork = await flock.fork("w", agents={"finisher": "test"})
    assert [pair.before.type for pair in fork.comparison.changed] == [f"{__name__}.Final"]


async def test_an_agent_that_is_not_declared_cannot_be_changed() -> None:
    flock = two_steps()
    await lived(flock, "a")
    with pytest.raises(NotFound, match="no agent 'typo'"):
        await flock.fork("w", agents={"typo": draft})
    wrong: Any = "drafter"
    with pytest.raises(DeclarationError, match="by their names"):
        await flock.fork("w", agents=wrong)


async def test_recorded_agents_answer_as_they_did_where_they_are_asked_the_same() -> None:
    called: list[str] = []

    def counted(ask: Ask) -> Draft:
        called.append(ask.text)
        return Draft(text=f"{ask.text}{len(called)}")

    flock = Flock()
    flock.agent("drafter").calls(counted)
    flock.agent("finisher").calls(final)
    await lived(flock, "a", "b")
    assert len(called) == 2
    assert not (await flock.fork("w")).comparison.is_same
    assert len(called) == 4
    fork = await flock.fork("w", recorded=True, agents={"finisher": lambda made: Final()})
    assert len(called) == 4
    assert [pair.before.produced_by for pair in fork.comparison.same] == ["drafter"] * 2
    assert [pair.before.produced_by for pair in fork.comparison.changed] == ["finisher"] * 2


async def test_a_run_that_failed_can_be_tried_with_a_mended_agent() -> None:
    def broken(made: Draft) -> Final:
        raise ValueError(made.text)

    flock = Flock()
    flock.agent("drafter").calls(draft)
    flock.agent("finisher").calls(broken)
    replay = await lived(flock, "a")
    [failed] = replay.failed
    fork = await flock.fork("w", at=failed.seen, agents={"finisher": final})
    assert (fork.failed, [a.payload for a in fork.outputs]) == ((), [{"text": "A!"}])
    assert [a.type for a in fork.comparison.missing] == ["flock.WorkflowError"]

    fork = await flock.fork("w", at=failed.seen)
    assert fork.comparison.is_same, "it fails again: when, and under which id, does not count"
    assert [run.error for run in fork.failed] == ["ValueError: A"]
    assert "! 'finisher' failed: ValueError: A" in str(fork)


async def test_half_filled_gates_go_on_and_batches_end_when_they_had() -> None:
    async def pair(ask: Ask, extra: Extra) -> Final:  # in no thread, and so in order
        return Final(text=ask.text + extra.text)

    flock = Flock(clock=ManualClock(autojump=True))
    flock.agent("pairs").consumes(Ask, Extra).calls(pair)
    heap = flock.agent("heap").consumes(Final, batch=BatchSpec(size=9, timeout=60))
    heap.calls(lambda finals: Draft(notes=[f.text for f in finals]))
    async with flock:
        await flock.publish(Ask(text="a"), correlation_id="w")
        await flock.publish(Extra(text="b"), correlation_id="w")
        await flock.publish(Ask(text="c"), correlation_id="w")
        await flock.publish(Extra(text="d"), correlation_id="w")
        await flock.run_until_idle()
    replay = await flock.replay("w")
    assert replay.artifacts[-1].payload["notes"] == ["ab", "cd"]
    for at in range(replay.position + 1):
        fork = await flock.fork("w", at=at)
        assert fork.comparison.is_same, (at, str(fork))


async def test_agents_that_were_called_directly_are_called_again() -> None:
    flock = Flock()
    flock.agent("drafter").consumes(Ask, mode="direct").calls(draft)
    flock.agent("finisher").calls(final)
    async with flock:
        [made] = await flock.arun("drafter", Ask(text="a"))
        await flock.run_until_idle()
    fork = await flock.fork(made.correlation_id)
    assert (fork.comparison.is_same, len(fork.outputs)) == (True, 2)

    def broken(ask: Ask) -> Draft:
        raise ValueError(ask.text)

    fork = await flock.fork(made.correlation_id, agents={"drafter": broken})
    assert [str(error) for error in fork.errors] == ["a"]
    assert len(fork.comparison.missing) == 2


async def test_what_a_join_took_of_other_workflows_is_given_to_it_alone() -> None:
    flock = Flock()
    join = JoinSpec(by="text", within=timedelta(hours=1))
    flock.agent("join").consumes(Ask, Extra, join=join).calls(lambda a, e: Final(text=a.text))
    seen: list[str] = []
    flock.agent("watcher").calls(lambda extra: seen.append(extra.text)).consumes(Extra)
    async with flock:
        await flock.publish(Ask(text="k"), correlation_id="mine")
        await flock.publish(Extra(text="k"), correlation_id="other")
        await flock.run_until_idle()
    assert seen == ["k"]
    fork = await flock.fork("mine")
    assert (fork.comparison.is_same, len(fork.outputs)) == (True, 1)
    assert seen == ["k"]
    other = await flock.fork("other")
    assert (other.waiting, seen) == (1, ["k", "k"])


async def test_an_agent_that_publishes_by_itself_cannot_reach_the_board_from_a_fork() -> None:
    flock = Flock()

    async def publishes(ask: Ask) -> Draft:
        await flock.publish(Extra(text=ask.text))
        return Draft()

    flock.agent("drafter").calls(publishes)
    await lived(flock, "a")
    fork = await flock.fork("w")
    [failed] = fork.failed
    assert "runs on a fork of this board" in str(failed.error)
    assert len(await flock.store.get_by_type(Extra)) == 1


async def test_components_go_on_deciding_but_are_not_told_of_the_scratch_board() -> None:
    told: list[str] = []

    class Shouts(OrchestratorComponent):
        async def on_initialize(self, orchestrator: Any) -> None:
            told.append("open")

        async def on_shutdown(self, orchestrator: Any) -> None:
            told.append("closed")

        async def on_artifact_published(self, orchestrator: Any, artifact: Artifact) -> Artifact:
            told.append(artifact.type.rpartition(".")[2])
            return artifact

    flock = two_steps()
    flock.add_component(Shouts())
    await lived(flock, "a")
    assert told == ["open", "Ask", "Draft", "Final", "closed"]
    await flock.fork("w")
    assert told[5:] == ["Draft", "Final"]


async def test_a_fork_that_takes_too_long_says_so() -> None:
    flock = Flock(clock=ManualClock(autojump=True))
    flock.agent("drafter").calls(draft)
    never = asyncio.Event()

    async def waits(ask: Ask) -> Draft:
        await never.wait()
        return Draft()

    await lived(flock, "a")
    fork = await flock.fork("w", agents={"drafter": waits}, timeout=timedelta(seconds=5))
    assert fork.timed_out
    assert len(fork.comparison.missing) == 1
    assert "ran out" in str(fork)


async def test_the_clock_of_a_fork_goes_on_from_what_is_given() -> None:
    clock = ManualClock(autojump=True)
    flock = Flock(clock=clock)
    flock.agent("drafter").calls(draft)
    before = await lived(flock, "a")
    await clock.advance(timedelta(days=7))
    fork = await flock.fork("w")
    assert fork.outputs[0].created_at == before.artifacts[1].created_at

"""Past runs of an agent, read from a board's store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from flock.core.artifacts import Artifact
from flock.core.feedback import Feedback
from flock.core.filters import FilterConfig
from flock.engines.dspy.tuned import Content
from flock.engines.dspy.tuning.examples import TuningExample, write_examples
from flock.errors import PublishError, TuningError

if TYPE_CHECKING:
    from uuid import UUID

    from flock.core.agent import Agent
    from flock.store.protocol import BlackboardStore, ConsumptionRecord

_PAGE: Final = 500


async def past_runs(store: BlackboardStore, agent: Agent) -> list[TuningExample]:
    """Return the runs of an agent that succeeded, oldest first, with what people thought of them.

    A run is known by its consumption records, and its outputs by their producer and parents.
    Runs whose inputs have been deleted are left out, as are runs that declined.

    Args:
        store: The board's store.
        agent: Whose runs.

    Raises:
        TuningError: A correction does not fit the type of what it corrects.
    """
    feedback = await _feedback(store)
    outputs: dict[tuple[UUID, ...], list[Artifact]] = {}
    async for artifact in _all(store, FilterConfig(produced_by=[agent.name])):
        outputs.setdefault(artifact.parents, []).append(artifact)
    runs: list[TuningExample] = []
    for parents, made in outputs.items():
        inputs = [artifact for key in parents if (artifact := await store.get(key)) is not None]
        if not inputs or len(inputs) < len(parents):
            continue
        records = [
            record
            for record in await store.consumptions(inputs[0].id)
            if record.consumer == agent.name
        ]
        for run_id, group in _by_run(made, records).items():
            runs.append(_example(agent, run_id, inputs, group, feedback))
    return runs


async def export_examples(
    store: BlackboardStore, agent: Agent, path: str | os.PathLike[str]
) -> int:
    """Write the past runs of an agent to a file that `flock tune --examples` reads.

    Returns:
        How many runs there were.

    Raises:
        TuningError: The file cannot be written, or a correction does not fit its type.
    """
    return write_examples(await past_runs(store, agent), path)


def _by_run(
    made: Sequence[Artifact], records: Sequence[ConsumptionRecord]
) -> dict[str, list[Artifact]]:
    """Return outputs of the same parents by run.

    Nearly always there is one. Where an agent ran several times over the same inputs, an output
    belongs to the run that was committed first after it was made.
    """
    if len(records) < 2:
        run_id = records[0].run_id if records else str(made[0].id)
        return {run_id: list(made)}
    groups: dict[str, list[Artifact]] = {}
    last = records[-1]
    for artifact in made:
        later = (record for record in records if record.consumed_at >= artifact.created_at)
        groups.setdefault(next(later, last).run_id, []).append(artifact)
    return groups


def _example(
    agent: Agent,
    run_id: str,
    inputs: Sequence[Artifact],
    outputs: Sequence[Artifact],
    feedback: dict[UUID, Feedback],
) -> TuningExample:
    given = [feedback[a.id] for a in outputs if a.id in feedback]
    corrected = None
    if any(each.corrected is not None for each in given):
        corrected = tuple(_corrected(artifact, feedback.get(artifact.id)) for artifact in outputs)
    return TuningExample(
        id=run_id,
        agent=agent.name,
        inputs=tuple(map(Content.of, inputs)),
        outputs=tuple(map(Content.of, outputs)),
        score=sum(each.score for each in given) / len(given) if given else None,
        comment="\n".join(each.comment for each in given if each.comment),
        corrected=corrected,
    )


def _corrected(artifact: Artifact, feedback: Feedback | None) -> Content:
    """Return what an output should have been: as it is, where nobody corrected it."""
    if feedback is None or feedback.corrected is None:
        return Content.of(artifact)
    try:
        return Content.of_model(artifact.entry.current.parse(feedback.corrected))
    except PublishError as error:
        msg = (
            f"the feedback about artifact {artifact.id} corrects it to something that is no valid "
            f"{artifact.type!r}: {error}; publish it again with Feedback.about(artifact, "
            "corrected=...), of which the latest counts"
        )
        raise TuningError(msg) from error


async def _feedback(store: BlackboardStore) -> dict[UUID, Feedback]:
    """Return the latest feedback about each artifact."""
    found: dict[UUID, Feedback] = {}
    async for artifact in _all(store, FilterConfig(type_names=[Feedback])):
        feedback = artifact.as_model(Feedback)
        found[feedback.of] = feedback
    return found


async def _all(store: BlackboardStore, where: FilterConfig) -> AsyncIterator[Artifact]:
    offset = 0
    while True:
        page, _ = await store.query_artifacts(where, limit=_PAGE, offset=offset)
        for artifact in page:
            yield artifact
        if len(page) < _PAGE:
            return
        offset += len(page)

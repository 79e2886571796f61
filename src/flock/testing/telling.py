"""What is on a board, in words for whoever reads a failed assertion: bounded, in board order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from flock.core.artifacts import Artifact
    from flock.orchestrator.flock import Flock
    from flock.store.protocol import DeadLetter, RunRecord

SHOWN: Final = 10
"""How many artifacts or failures one message shows."""
_WIDTH: Final = 160
"""Characters that a value is shown with."""
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Record:
    """What a board holds.

    Attributes:
        artifacts: All artifacts, oldest first.
        runs: The runs that succeeded, in the order in which they ended.
        failures: The runs that failed for good, oldest first.
    """

    artifacts: Sequence[Artifact]
    runs: Sequence[RunRecord]
    failures: Sequence[DeadLetter]

    def ended(self) -> Counter[str]:
        """Return how many runs of each agent ended, failed ones included."""
        names = [run.agent for run in self.runs]
        return Counter([*names, *(letter.agent for letter in self.failures)])


async def record_of(flock: Flock) -> Record:
    """Read what is on a board."""
    runs: list[RunRecord] = []
    while page := await flock.store.runs(None, limit=_PAGE, after=runs[-1].number if runs else 0):
        runs += page
    return Record(await flock.store.list(), runs, await flock.dead_letters())


def short(name: str) -> str:
    """Return the last part of a type's stable name."""
    return name.rpartition(".")[2]


def clipped(text: str) -> str:
    """Return a text on one line, of bounded length."""
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def shown(artifact: Artifact) -> str:
    """Return an artifact as one line: where it lies, what it is and says, who made it."""
    fields = ", ".join(f"{name}={value!r}" for name, value in artifact.payload.items())
    about = f"#{artifact.seq} {clipped(f'{short(artifact.type)}({fields})')}"
    tags = f", tagged {', '.join(sorted(artifact.tags))}" if artifact.tags else ""
    return f"{about} by {artifact.produced_by!r}{tags}"


def bounded(lines: Sequence[str], limit: int = SHOWN) -> Iterator[str]:
    """Yield lines, and how many were left out."""
    yield from lines[:limit]
    if len(lines) > limit:
        yield f"... and {len(lines) - limit} more"


def contents(record: Record) -> str:
    """Return what types lie on the board, and what failed, as indented lines."""
    counts = Counter(artifact.type for artifact in record.artifacts)
    names = Counter(short(name) for name in counts)
    held = [
        f"{short(name) if names[short(name)] == 1 else name} {count}"
        for name, count in sorted(counts.items())
    ]
    total = len(record.artifacts)
    lines = [
        f"On the board: {', '.join(bounded(held, 20))} ({total} in all)."
        if held
        else "Nothing is on the board."
    ]
    ran = [f"{name} {count}" for name, count in sorted(record.ended().items())]
    lines.append(f"Runs: {', '.join(bounded(ran, 20))}." if ran else "No agent ran.")
    if record.failures:
        lines += ["Failed:", *(f"  {line}" for line in bounded(failures(record)))]
    return "\n".join(lines)


def failures(record: Record) -> list[str]:
    """Return the runs that failed for good, one line each."""
    return [
        f"{letter.agent!r} over "
        f"{', '.join(f'#{a.seq} {short(a.type)}' for a in letter.run.artifacts)}: "
        f"{letter.error_type}: {clipped(letter.error_message)}"
        + (f" (after {letter.attempt} attempts)" if letter.attempt > 1 else "")
        for letter in record.failures
    ]


def timeline(record: Record) -> list[str]:
    """Return artifacts and the ends of runs in board order, one line each."""
    begin = min((artifact.created for artifact in record.artifacts), default=0.0)
    seqs = {artifact.id: artifact.seq for artifact in record.artifacts}

    def at(seconds: float) -> str:
        return f"{max(0.0, seconds - begin):9.3f} s "

    lines: list[tuple[tuple[int, int, float], str]] = [
        ((a.seq, 0, a.created), at(a.created) + shown(a)) for a in record.artifacts
    ]
    for run in record.runs:
        used = ", ".join(f"#{seqs[i]}" if i in seqs else "?" for i in run.inputs) or "-"
        made = ", ".join(f"#{seqs[i]}" for i in run.outputs if i in seqs) or "nothing"
        text = f"{at(run.committed)}{run.agent!r} ran over {used} and published {made}"
        lines.append(((run.position, 1, run.committed), text))
    for letter, text in zip(record.failures, failures(record), strict=True):
        key = (letter.position, 2, letter.created)
        lines.append((key, f"{at(letter.created)}FAILED {text}"))
    return [text for _, text in sorted(lines, key=lambda line: line[0])]


def why_not(where: Callable[[Any], object], model: object) -> str | None:
    """Return why a model does not pass a predicate; None if it does."""
    try:
        return None if where(model) else "where is false"
    except Exception as error:  # noqa: BLE001 - the test's own function, whose error is shown
        return f"where raised {clipped(repr(error))}"


def named(where: object) -> str:
    """Return how a predicate is shown."""
    name = cast("str", getattr(where, "__name__", type(where).__name__))
    return "where ..." if name == "<lambda>" else f"where {name}"


def joined(parts: Iterable[str]) -> str:
    """Return the parts of a sentence that say something."""
    return " ".join(part for part in parts if part)

"""What a language model had to say about a report, and what of it is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from flock import Artifact, DeadLetter, Flock, Usage
from flock.cli.demo.report import counted
from flock.cli.demo.thinking import EXPLAINER, JUDGE, PICKER, THINKERS
from flock.cli.demo.types import Concern, Explanation, Finding, Report, Verdict


class Thoughts(NamedTuple):
    """What the thinking agents published.

    Attributes:
        model: The model string.
        verdict: The verdict, if there is one.
        explanations: What was explained, with the explanation.
        missing: What is not there and why, in sentences without a full stop.
        usage: What the model calls took.
        seconds: From the report to the last thought.
    """

    model: str
    verdict: Verdict | None = None
    explanations: Sequence[tuple[Concern, Explanation]] = ()
    missing: Sequence[str] = ()
    usage: Usage = Usage()
    seconds: float = 0.0

    def on(self, finding: Finding) -> Explanation | None:
        """Return the explanation of a finding, if there is one."""
        explained = (each for concern, each in self.explanations if concern.is_about(finding))
        return next(explained, None)

    def sentence(self) -> str:
        """Say what the model calls took; nothing if there were none."""
        usage = self.usage
        if not usage.calls:
            return ""
        if usage.usd is None:
            price = ", at a price that is not known"
        else:
            price = f", ${usage.usd:.4f}" if usage.usd else ""
        tokens = f"{counted(usage.tokens, 'token')} ({usage.output_tokens:,} of them written)"
        calls = counted(usage.calls, "call")
        return f"{self.model}: {calls}, {tokens} in {self.seconds:.1f} s{price}."

    def as_data(self) -> dict[str, object]:
        """Return all of it for programs."""
        place = {"path", "line", "rule", "message"}
        return {
            "name": self.model,
            "verdict": None if self.verdict is None else self.verdict.model_dump(),
            "explanations": [
                concern.model_dump(include=place) | explanation.model_dump()
                for concern, explanation in self.explanations
            ],
            "missing": list(self.missing),
            "calls": self.usage.calls,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "usd": self.usage.usd,
            "seconds": self.seconds,
        }


async def thoughts_on(flock: Flock, model: str, *, is_interrupted: bool = False) -> Thoughts:
    """Gather from a board, open or closed, what was thought there.

    Args:
        flock: The board of a review, with its thinkers.
        model: Their model.
        is_interrupted: Whether they were kept from going on.
    """
    store = flock.store
    reports = await store.list_by_type(Report)
    verdicts = await store.list_by_type(Verdict)
    explanations = await store.list_by_type(Explanation)
    concerns = {each.id: each.as_model(Concern) for each in await store.list_by_type(Concern)}
    explained = {each.parents[0]: each.as_model(Explanation) for each in explanations}
    letters = [each for each in await store.dead_letters() if each.agent in THINKERS]
    missing = list(_failed(letters))
    if is_interrupted and reports:
        lacks_verdict = not verdicts and not any(each.agent == JUDGE for each in letters)
        failed = sum(each.agent == EXPLAINER for each in letters)
        missing += _unfinished(len(concerns) - len(explained) - failed, lacks_verdict=lacks_verdict)
    return Thoughts(
        model=model,
        verdict=verdicts[0].as_model(Verdict) if verdicts else None,
        explanations=[(concerns[key], each) for key, each in explained.items()],
        missing=missing,
        usage=(await store.spent()).total,
        seconds=_seconds(reports, [*verdicts, *explanations], letters),
    )


def _failed(letters: Iterable[DeadLetter]) -> Iterator[str]:
    """Say what is missing for which reason; those that share one are told together."""
    parts: dict[str, Counter[str]] = {}
    for letter in letters:
        why = f"{letter.error_type}: {' '.join(letter.error_message.split())}"
        parts.setdefault(why, Counter())[letter.agent] += 1
    for why, agents in parts.items():
        yield f"{_named(agents)}: {why}"


def _unfinished(explanations: int, *, lacks_verdict: bool) -> Iterator[str]:
    agents = Counter({JUDGE: int(lacks_verdict), EXPLAINER: explanations})
    if agents.total():
        yield f"{_named(+agents)}: interrupted"


def _named(agents: Mapping[str, int]) -> str:
    names = {JUDGE: "the verdict", PICKER: "the verdict and all explanations"}
    found = [name for agent, name in names.items() if agent in agents]
    if number := agents.get(EXPLAINER, 0):
        found.append(counted(number, "explanation"))
    return " and ".join(found)


def _seconds(
    reports: Sequence[Artifact], thoughts: Sequence[Artifact], letters: Sequence[DeadLetter]
) -> float:
    ends = [each.created_at.timestamp() for each in thoughts] + [each.created for each in letters]
    return max(ends) - reports[0].created_at.timestamp() if reports and ends else 0.0

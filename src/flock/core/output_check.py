"""Whether a run's outputs are what its agent declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flock.core.artifacts import Artifact, is_visibility
from flock.core.visibility import PUBLIC, Visibility, as_public
from flock.errors import OutputContractError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flock.core.outputs import OutputGroup, OutputSpec


class OutputCheck:
    """Takes the outputs of one run one by one and says which are published, and how.

    Counts are those before `where`. Inputs that an engine only passed through are left
    out. A group of which nothing came was declined, which is no failure.
    """

    __slots__ = ("_agent", "_counts", "_groups", "_input_keys")

    def __init__(
        self, agent: str, groups: Sequence[OutputGroup], inputs: Iterable[Artifact]
    ) -> None:
        self._agent = agent
        self._groups = groups
        self._input_keys = {artifact.key for artifact in inputs}
        self._counts: list[dict[str, int]] = [{} for _ in groups]

    def accept(self, artifact: Artifact) -> Artifact | None:
        """Return the artifact as it is to be published, or None if it is not.

        Raises:
            OutputContractError: Its type is undeclared, there are too many of it, or it
                fails a validation.
        """
        if artifact.seq or artifact.key in self._input_keys:
            return None
        group = self._group_for(artifact)
        if not all(_ask(p, artifact, self._agent, "where") for p in group.where):
            return None
        for predicate, message in group.validate:
            if not _ask(predicate, artifact, self._agent, "validate"):
                what = f"agent {self._agent!r} returned a {artifact.type!r}"
                msg = f"{what} that is not valid: {message}"
                raise OutputContractError(msg)
        visibility = artifact.visibility
        if group.visibility is not None and visibility is PUBLIC:
            visibility = _visibility(group, artifact, self._agent)
        if visibility is not artifact.visibility or not group.tags <= artifact.tags:
            return artifact.replace(tags=artifact.tags | group.tags, visibility=visibility)
        return artifact

    def close(self) -> None:
        """Check that each group is complete, or was declined.

        Raises:
            OutputContractError: There are too few of a type.
        """
        for group, counts in zip(self._groups, self._counts, strict=True):
            if not counts:
                continue
            for spec in group.outputs:
                count = counts.get(spec.entry.name, 0)
                if count < spec.minimum:
                    raise OutputContractError(self._miscount(spec, f"{count}"))

    def _group_for(self, artifact: Artifact) -> OutputGroup:
        name = artifact.entry.name
        full: OutputSpec | None = None
        for group, counts in zip(self._groups, self._counts, strict=True):
            spec = group.spec_of(name)
            if spec is None:
                if group.is_open:
                    return group
                continue
            count = counts.get(name, 0) + 1
            if spec.maximum is None or count <= spec.maximum:
                counts[name] = count
                return group
            full = spec
        if full is not None:
            raise OutputContractError(self._miscount(full, "more"))
        declared = ", ".join(sorted(s.entry.name for g in self._groups for s in g.outputs))
        msg = (
            f"agent {self._agent!r} returned a {name!r}, which it does not declare; it publishes "
            f"{declared or 'nothing'}; add the type to publishes(), or return what is declared"
        )
        raise OutputContractError(msg)

    def _miscount(self, spec: OutputSpec, count: str) -> str:
        bounds = (
            f"at least {spec.minimum}"
            if spec.maximum is None
            else f"{spec.minimum}"
            if spec.minimum == spec.maximum
            else f"{spec.minimum} to {spec.maximum}"
        )
        return (
            f"agent {self._agent!r} declares {bounds} of {spec.entry.name!r} and returned {count}; "
            "say fan_out=(min, max) if the number varies, or return nothing at all to decline"
        )


def _ask(predicate: object, artifact: Artifact, agent: str, word: str) -> bool:
    assert callable(predicate)
    try:
        return bool(predicate(artifact.take(artifact.entry)))
    except Exception as error:
        msg = f"the {word} predicate of agent {agent!r} raised on a {artifact.type!r}: {error!r}"
        raise OutputContractError(msg) from error


def _visibility(group: OutputGroup, artifact: Artifact, agent: str) -> Visibility:
    if not callable(group.visibility):
        assert group.visibility is not None
        return group.visibility
    try:
        found: object = group.visibility(artifact.take(artifact.entry))
    except Exception as error:
        msg = f"the visibility function of agent {agent!r} raised on a {artifact.type!r}: {error!r}"
        raise OutputContractError(msg) from error
    if not is_visibility(found):
        msg = (
            f"the visibility function of agent {agent!r} returned {found!r} for a "
            f"{artifact.type!r}; return a Visibility such as PublicVisibility()"
        )
        raise OutputContractError(msg)
    return as_public(found)

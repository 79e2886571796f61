"""What somebody thinks of an output: published like anything else, used to improve agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from flock.core.types import flock_type, registry
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from flock.core.artifacts import Artifact


@flock_type(name="flock.Feedback")
class Feedback(BaseModel):
    """How good an artifact is, and what it should have been.

    Anybody may publish it: a person through a form, a test, another agent. Of several about one
    artifact the latest counts. `flock tune` learns from it.

    Attributes:
        of: Id of the artifact.
        score: From 0.0, useless, to 1.0, as it should be.
        comment: Why.
        corrected: What its content should have been, by field names.
    """

    of: UUID
    score: float = Field(ge=0, le=1)
    comment: str = ""
    corrected: dict[str, Any] | None = None

    @classmethod
    def about(
        cls,
        artifact: Artifact,
        *,
        score: float,
        comment: str = "",
        corrected: BaseModel | dict[str, Any] | None = None,
    ) -> Self:
        """Make feedback about an artifact.

        Args:
            artifact: An output that lies on the board.
            score: From 0.0, useless, to 1.0, as it should be.
            comment: Why.
            corrected: What it should have been: a model of its type, or that one's fields.

        Raises:
            DeclarationError: The correction is of another type than the artifact.
            PublishError: The correction is not valid for the artifact's type.
        """
        payload: dict[str, Any] | None = None
        if corrected is not None:
            entry = artifact.entry.current
            if isinstance(corrected, BaseModel):
                if registry.entry(type(corrected)).name != entry.name:
                    msg = (
                        f"a correction of a {entry.name!r} is one, too, not a "
                        f"{registry.entry(type(corrected)).name!r}"
                    )
                    raise DeclarationError(msg)
                model = corrected
            else:
                model = entry.parse(corrected)
            payload = model.model_dump(mode="json", round_trip=True)
        return cls(of=artifact.id, score=score, comment=comment, corrected=payload)

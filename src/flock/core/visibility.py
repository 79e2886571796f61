"""Who may read an artifact, and from when."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """Who asks to read: an agent's name, labels and tenant."""

    name: str
    labels: frozenset[str] = frozenset()
    tenant_id: str | None = None


Names = Annotated[AbstractSet[str], AfterValidator(frozenset[str])]
"""A set of names, given as any set and kept frozen."""


class _Visibility(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def delay_for(self, agent: AgentIdentity) -> float | None:
        """Return how many seconds after its creation an artifact opens for an agent.

        Zero means at once, None means never.
        """


class PublicVisibility(_Visibility):
    """Everybody may read it; what an artifact has unless something else is said."""

    kind: Literal["Public"] = "Public"

    def delay_for(self, agent: AgentIdentity) -> float | None:
        """Open at once."""
        del agent
        return 0.0


class PrivateVisibility(_Visibility):
    """Only the named agents may read it.

    Example:
        ```python
        from flock import AgentIdentity, PrivateVisibility

        secret = PrivateVisibility(agents={"auditor"})
        print(secret.delay_for(AgentIdentity("auditor")))  # -> 0.0
        print(secret.delay_for(AgentIdentity("clerk")))  # -> None
        ```
    """

    kind: Literal["Private"] = "Private"
    agents: Names

    def delay_for(self, agent: AgentIdentity) -> float | None:
        """Open at once for the named agents."""
        return 0.0 if agent.name in self.agents else None


class LabelledVisibility(_Visibility):
    """Only agents that carry all of these labels may read it.

    Example:
        ```python
        from flock import AgentIdentity, LabelledVisibility

        for_chiefs = LabelledVisibility(required_labels={"doctor", "chief"})
        chief = AgentIdentity("a", labels=frozenset({"doctor", "chief", "night"}))
        print(for_chiefs.delay_for(chief))  # -> 0.0
        print(for_chiefs.delay_for(AgentIdentity("b", labels=frozenset({"doctor"}))))  # -> None
        ```
    """

    kind: Literal["Labelled"] = "Labelled"
    required_labels: Names

    def delay_for(self, agent: AgentIdentity) -> float | None:
        """Open at once for agents with all labels."""
        return 0.0 if self.required_labels <= agent.labels else None


class TenantVisibility(_Visibility):
    """Only agents of this tenant may read it."""

    kind: Literal["Tenant"] = "Tenant"
    tenant_id: str

    def delay_for(self, agent: AgentIdentity) -> float | None:
        """Open at once for the tenant's agents."""
        return 0.0 if agent.tenant_id == self.tenant_id else None


class AfterVisibility(_Visibility):
    """Nobody may read it until `ttl` has passed since its creation; then as `then` says.

    Attributes:
        ttl: A `timedelta`, or a number of seconds.
        then: Who may read it from then on; everybody unless said.

    Example:
        ```python
        from flock import AfterVisibility, AgentIdentity, TenantVisibility

        embargo = AfterVisibility(ttl=3600, then=TenantVisibility(tenant_id="acme"))
        print(embargo.delay_for(AgentIdentity("a", tenant_id="acme")))  # -> 3600.0
        print(embargo.delay_for(AgentIdentity("b", tenant_id="other")))  # -> None
        ```
    """

    kind: Literal["After"] = "After"
    ttl: timedelta
    then: Visibility = Field(default_factory=PublicVisibility)

    @field_validator("ttl")
    @classmethod
    def _no_way_back(cls, ttl: timedelta) -> timedelta:
        if ttl < timedelta(0):
            msg = "ttl must not be negative"
            raise ValueError(msg)
        return ttl

    def delay_for(self, agent: AgentIdentity) -> float | None:
        """Open once `ttl` has passed, and what `then` adds to it, for those it lets in."""
        inner = self.then.delay_for(agent)
        return None if inner is None else self.ttl.total_seconds() + inner


Visibility = Annotated[
    PublicVisibility | PrivateVisibility | LabelledVisibility | TenantVisibility | AfterVisibility,
    Field(discriminator="kind"),
]

AfterVisibility.model_rebuild()

PUBLIC: Final = PublicVisibility()


def as_public(visibility: Visibility | None) -> Visibility:
    """Return the visibility, and the one instance `PUBLIC` for everything public."""
    return PUBLIC if visibility is None or visibility.kind == "Public" else visibility


def remaining(visibility: Visibility, age: float) -> Visibility:
    """Return what a visibility still asks for, so many seconds after the creation."""
    if not isinstance(visibility, AfterVisibility):
        return visibility
    rest = visibility.ttl.total_seconds() - age
    if rest <= 0:
        return remaining(visibility.then, -rest)
    return AfterVisibility(ttl=timedelta(seconds=rest), then=visibility.then)


def narrowest(visibilities: Iterable[Visibility], agents: Iterable[AgentIdentity]) -> Visibility:
    """Return a visibility that lets nobody in whom one of the given ones keeps out.

    One distinct visibility is returned as it is. Several are resolved over the agents
    that exist: those whom all of them let in, from when the last one does.
    """
    distinct = list(dict.fromkeys(v for v in visibilities if v.kind != "Public"))
    if not distinct:
        return PUBLIC
    if len(distinct) == 1:
        return distinct[0]
    admitted: set[str] = set()
    latest = 0.0
    for agent in agents:
        delays = [v.delay_for(agent) for v in distinct]
        known = [d for d in delays if d is not None]
        if len(known) == len(delays):
            admitted.add(agent.name)
            latest = max(latest, *known)
    private = PrivateVisibility(agents=frozenset(admitted))
    return AfterVisibility(ttl=timedelta(seconds=latest), then=private) if latest else private

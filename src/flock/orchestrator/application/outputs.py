"""The outputs of one request, read from its board page by page."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from flock.core.filters import FilterConfig

if TYPE_CHECKING:
    from flock.core.artifacts import Artifact
    from flock.store.protocol import BlackboardStore

PAGE: Final = 256
"""How many artifacts are read at once."""


class Outputs:
    """What a workflow has published of some types, but for the input that began it."""

    def __init__(
        self, store: BlackboardStore, workflow: str, types: Collection[str], input_key: int
    ) -> None:
        self._store = store
        self._workflow = workflow
        self._types = types
        self._input_key = input_key
        self._whole: tuple[Artifact, ...] | None = None

    @staticmethod
    def kept(outputs: tuple[Artifact, ...]) -> Outputs:
        """Return outputs that were read, for when their board is gone."""
        return _KeptOutputs(outputs)

    async def page(self, offset: int) -> tuple[list[Artifact], int]:
        """Return the outputs behind so many artifacts, and how many there are behind then."""
        where = FilterConfig(correlation_id=self._workflow, type_names=self._types)
        page, _ = await self._store.query_artifacts(where, limit=PAGE, offset=offset)
        return [it for it in page if it.key != self._input_key], offset + len(page)

    async def all(self) -> tuple[Artifact, ...]:
        """Return all outputs, in board order."""
        if self._whole is not None:
            return self._whole
        found: list[Artifact] = []
        offset, before = 0, -1
        while offset > before:
            before = offset
            page, offset = await self.page(offset)
            found += page
        return tuple(found)

    async def types(self) -> set[str]:
        """Return of which types there is an output, once nothing follows any more."""
        page, count = await self.page(0)
        if count < PAGE:
            self._whole = tuple(page)
        seen = {artifact.type for artifact in page}
        for name in set(self._types) - seen if count == PAGE else ():
            where = FilterConfig(correlation_id=self._workflow, type_names=[name])
            found, _ = await self._store.query_artifacts(where, limit=2)
            if any(artifact.key != self._input_key for artifact in found):
                seen.add(name)
        return seen

    async def last(self) -> Artifact | None:
        """Return the newest output."""
        where = FilterConfig(correlation_id=self._workflow, type_names=self._types)
        newest = await self._store.latest(where, limit=2)
        return next((it for it in newest if it.key != self._input_key), None)


class _KeptOutputs(Outputs):
    def __init__(self, outputs: tuple[Artifact, ...]) -> None:
        self._outputs = outputs

    async def page(self, offset: int) -> tuple[list[Artifact], int]:
        page = self._outputs[offset : offset + PAGE]
        return [*page], offset + len(page)

    async def all(self) -> tuple[Artifact, ...]:
        return self._outputs

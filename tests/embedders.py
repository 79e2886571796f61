"""Embedders whose answers a test knows beforehand."""

import asyncio
from collections.abc import Sequence


class WordCounts:
    """Counts how often each of some words is in a text; so the cosine is known exactly.

    Attributes:
        calls: The texts of each call.
    """

    def __init__(self, *words: str) -> None:
        self._words = words
        self.calls: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        await asyncio.sleep(0)
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        return [float(text.split().count(word)) for word in self._words]

    @property
    def asked(self) -> list[str]:
        """All texts that were asked for, in order."""
        return [text for call in self.calls for text in call]


class Failing(WordCounts):
    """Raises `error` for every call that has `poison` among its texts, for all if it is None."""

    def __init__(self, error: BaseException, *words: str, poison: str | None = None) -> None:
        super().__init__(*words)
        self.error: BaseException | None = error
        self._poison = poison

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        answer = await super().embed(texts)
        if self.error is not None and (self._poison is None or self._poison in texts):
            raise self.error
        return answer


class Hanging(WordCounts):
    """Answers only once it is let go.

    Attributes:
        is_asked: Set when a call hangs.
        go: Lets the calls answer.
        cancelled: How many calls were cancelled.
    """

    def __init__(self, *words: str) -> None:
        super().__init__(*words)
        self.is_asked = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = 0

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.is_asked.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().embed(texts)

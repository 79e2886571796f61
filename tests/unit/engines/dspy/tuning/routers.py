"""A chat model that routes tickets by what its prompt tells it, and by nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from flock import ChatAnswer, ChatRequest, Usage
from tests.tickets import RIGHT

USAGE = Usage(calls=1, input_tokens=100, output_tokens=10, usd=0.01, latency=0.1)
TEAMS = {text: team for team, texts in RIGHT.items() for text in texts}
RULE = "Parcels go to jade, bugs to cobalt, money to amber."


class Router:
    """Knows the teams that examples show it, all of them by `RULE`, and amber else.

    Asked to write instructions, it answers with `RULE`.
    """

    name = "router-model"
    calls_tools = False
    keeps_schema = True
    takes_images = False

    def __init__(self, *, written: str = RULE, usd_per_call: float | None = 0.01) -> None:
        self.requests: list[ChatRequest] = []
        self.written: list[str] = []
        self.on_chat: Callable[[int], None] | None = None
        self.strip = ""  # what was added to the tickets that it knows
        self._answer = written
        self._usd = usd_per_call

    def price(self, input_tokens: int, output_tokens: int) -> float | None:
        return self._usd

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        self.requests.append(request)
        if self.on_chat is not None:
            self.on_chat(len(self.requests))
        first, last = request.messages[0]["content"], request.messages[-1]["content"]
        if "write a new instruction" in first:
            self.written.append(first)
            return ChatAnswer(f"```\n{self._answer}\n```", USAGE)
        shown = "\n".join(m["content"] for m in request.messages if m["role"] == "assistant")
        known = {"amber"} | {team for team in RIGHT if team in shown}
        if RULE in first:
            known = set(RIGHT)
        found = re.search(r'"text":("(?:[^"\\]|\\.)*")', last)
        assert found is not None
        right = TEAMS[json.loads(found[1]).removesuffix(self.strip)]
        team = right if right in known else "amber"
        return ChatAnswer(json.dumps({"route": {"team": team}}), USAGE)

    async def aclose(self) -> None:
        raise AssertionError("a model that is given is its owner's to close")

"""Providers that only LiteLLM reaches, in a process of their own: importing it takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

PROGRAM = """
import asyncio

from pydantic import BaseModel, Field

from flock import DSPyEngine, EngineError, Flock, ModelCalled, Patience, RateLimited, RunEmitted
from flock import Token
from tests.integration.engines.chat_server import ChatServer, failing


class Ask(BaseModel):
    text: str = "?"


class Say(BaseModel):
    text: str = Field(min_length=3)


def asked(server: ChatServer) -> Flock:
    engine = DSPyEngine("together_ai/any", api_base=server.url, api_key="another key")
    board = Flock()
    board.agent("a").consumes(Ask).publishes(Say).with_engines(engine)
    return board


async def main() -> None:
    async with ChatServer(Say) as server:
        engine = DSPyEngine(
            "together_ai/any",
            api_base=server.url,
            api_key="a key of some kind",
            patience=Patience(attempts=1),
        )
        board = Flock()
        board.agent("a").consumes(Ask).publishes(Say).with_engines(engine)
        async with board:
            [said] = await board.arun("a", Ask())
            print("whole:", said.payload)
            events = board.events()
            [said] = await board.arun("a", Ask())
            server.acts = [failing(429, "busy, a key of some kind", headers={"retry-after": "3"})]
            try:
                await board.arun("a", Ask())
            except RateLimited as error:
                print("error:", "busy" in str(error), "some kind" in str(error))
        deltas = [event.delta async for event in events if isinstance(event, RunEmitted)]
        print("streamed:", any(isinstance(delta, Token) for delta in deltas))
        [called] = [delta for delta in deltas if isinstance(delta, ModelCalled)]
        print("usage:", called.usage.input_tokens, called.usage.output_tokens)
        other = DSPyEngine(
            "openai/any",
            api_base=server.url,
            lm_kwargs={"headers": {"x-gateway-token": "open sesame", "x-team": "judges"}},
        )
        board = Flock()
        board.agent("a").consumes(Ask).publishes(Say).with_engines(other)
        async with board:
            server.acts = [failing(400, "not with open sesame, judges")]
            try:
                await board.arun("a", Ask())
            except EngineError as error:
                print("headers:", "judges" in str(error), "sesame" in str(error))
            async with asked(server) as another:  # closing one leaves the other's alone
                await another.arun("a", Ask())
            await board.arun("a", Ask())
        print("sent:", server.headers[-1]["x-gateway-token"])
        board = Flock("nonsense/any")
        board.agent("a").consumes(Ask).publishes(Say)
        async with board:
            try:
                await board.arun("a", Ask())
            except EngineError as error:
                print("nonsense:", "names no provider" in str(error))
        print("key:", server.headers[0]["authorization"])
    print("tasks:", len(asyncio.all_tasks()))


asyncio.run(main())
"""


def test_a_provider_of_litellm_answers_streams_and_fails_by_name_without_a_warning() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.stdout.splitlines() == [
        "whole: {'text': 'text'}",
        "error: True False",
        "streamed: True",
        "usage: 11 7",
        "headers: True False",
        "sent: open sesame",
        "nonsense: True",
        "key: Bearer a key of some kind",
        "tasks: 1",
    ], ran.stdout + ran.stderr
    assert ran.returncode == 0

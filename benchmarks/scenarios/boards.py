"""Boards and loads that several scenarios share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.floor import IN_FLIGHT
from benchmarks.models import TEXT, Answer, Request
from flock import Flock

if TYPE_CHECKING:
    from flock import AgentBuilder

# Publishing and running take turns as they do in a program that reads its input from
# somewhere, instead of piling up one long queue first.
PENDING = 200


def new_board() -> Flock:
    """A board that makes publishers wait while much is open."""
    return Flock(max_pending=PENDING)


def add_echo(board: Flock, seen: list[int], name: str = "echo") -> AgentBuilder:
    """Declare the simplest agent there is: one input, one output, no waiting."""

    async def echo(request: Request) -> Answer:
        seen[request.number] += 1
        return Answer(number=request.number, text=request.text)

    return (
        board.agent(name).consumes(Request).publishes(Answer).calls(echo).max_concurrency(IN_FLIGHT)
    )


async def publish_requests(board: Flock, first: int, count: int) -> int:
    """Publish ``count`` requests one by one, wait for idle; the number of runs this made."""
    for number in range(first, first + count):
        await board.publish(Request(number=number, text=TEXT))
    report = await board.run_until_idle()
    return report.runs

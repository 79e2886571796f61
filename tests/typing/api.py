"""What a type checker knows about what users write. basedpyright has to accept this file.

A line that is wrong on purpose carries the rule that must report it; a needless `ignore` is an
error itself, so each of them is a test. Nothing here is run.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel

from flock import (
    Activation,
    Agent,
    AgentBuilder,
    Application,
    Artifact,
    BatchSpec,
    Board,
    Condition,
    Context,
    EngineComponent,
    EvalInputs,
    EvalResult,
    Event,
    FilterConfig,
    Flock,
    IdleReport,
    JoinSpec,
    OnnxEmbedder,
    OrchestratorComponent,
    OutputGroup,
    PrivateVisibility,
    Result,
    SemanticMatch,
    ToolAnswer,
    Until,
    When,
    WorkflowStatus,
    flock_tool,
    flock_type,
    upcasts,
)
from flock.testing import ManualClock, ScriptedEngine


@flock_type
class Order(BaseModel):
    total: float = 0.0
    customer: str = ""


@flock_type(name="payment", version=2)
class Payment(BaseModel):
    amount: float = 0.0
    customer: str = ""


class Receipt(BaseModel):
    text: str = ""


flock = Flock("test")
Flock(embedder=OnnxEmbedder())
Flock(embedder=ScriptedEngine(answers=[]))  # pyright: ignore[reportArgumentType]
agent = flock.agent("shop")
assert_type(agent, AgentBuilder)
assert_type(Order, type[Order])
assert_type(Payment, type[Payment])


@upcasts(Payment, from_version=1)
def lifted(payload: dict[str, object]) -> dict[str, object]:
    return payload


# --- consumes: a predicate knows its models ---------------------------------------------------

agent.consumes(Order, where=lambda o: o.total > 100)
agent.consumes(Order, where=lambda o: assert_type(o, Order).total > 100)
agent.consumes(Order, where=lambda o: o.totl > 100)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType]
agent.consumes(Order, where=[lambda o: o.total > 100, lambda o: o.customer != ""])
agent.consumes(Order, where=[lambda o: o.none])  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType]


def is_large(order: Order) -> bool:
    return order.total > 100


def is_paid(payment: Payment) -> bool:
    return payment.amount > 0


agent.consumes(Order, where=is_large)
agent.consumes(Order, where=is_paid)  # pyright: ignore[reportArgumentType, reportCallIssue]

# Of two types a predicate takes each one, or the complete group.
agent.consumes(Order, Payment, where=lambda o, p: o.total == p.amount)
agent.consumes(Order, Payment, where=lambda it: it.customer != "")
agent.consumes(Order, Payment, where=lambda o, p: o.amount == p.total)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType]
agent.consumes(Order, Payment, where=lambda it: it.total > 0)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType]
agent.consumes(Order, Order, where=lambda one, two: one.total < two.total)

# More types, names, and everything else.
agent.consumes(Order, Payment, Receipt)
agent.consumes("Order", from_agents="till", tags=["new"], mode="events", priority=3)
agent.consumes(Order, Payment, join=JoinSpec(by=lambda it: it.customer, within=timedelta(hours=1)))
agent.consumes(Order, batch=BatchSpec(size=3, timeout=5.0))
agent.consumes(Order, where=lambda o: o.total > 100, semantic_match="urgent")
agent.consumes(Order, Payment, semantic_match=["urgent", SemanticMatch("billing", 0.5)])
agent.consumes(Order, semantic_match=SemanticMatch(["a", "b"], fields="customer"))
agent.consumes(Order, semantic_match=3)  # pyright: ignore[reportArgumentType, reportCallIssue]
agent.consumes(Order, mode="sometimes")  # pyright: ignore[reportArgumentType, reportCallIssue]
agent.consumes(int)  # pyright: ignore[reportArgumentType, reportCallIssue]
agent.consumes(Order, batch=3)  # pyright: ignore[reportArgumentType, reportCallIssue]

# --- publishes --------------------------------------------------------------------------------

agent.publishes(Receipt, where=lambda r: r.text != "")
agent.publishes(Receipt, where=lambda r: assert_type(r, Receipt).text != "")
agent.publishes(Receipt, where=lambda r: r.txt)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType]
agent.publishes(Receipt, validate=lambda r: len(r.text) > 3)
agent.publishes(Receipt, validate=[(lambda r: len(r.text) > 3, "too short")])
agent.publishes(Receipt, validate=lambda r: r.txt)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownLambdaType]
agent.publishes(Receipt, visibility=lambda r: PrivateVisibility(agents=frozenset({r.text})))
agent.publishes(Receipt, fan_out=3)
agent.publishes(Receipt, fan_out=(1, 3), tags=["x"], description="What was bought")
agent.publishes(Receipt, fan_out="3")  # pyright: ignore[reportArgumentType, reportCallIssue]
agent.publishes(Order, Payment)

# --- every word returns the builder -----------------------------------------------------------


async def serve(order: Order, ctx: Context) -> Receipt:
    ctx.emit("working")
    assert_type(await ctx.step("charge", is_large, order), bool)
    return Receipt(text=order.customer)


async def stream(order: Order) -> AsyncIterator[Receipt]:
    yield Receipt(text=order.customer)


async def provider(request: object) -> list[Artifact]:
    del request
    return []


def score(result: EvalResult) -> int:
    return len(result.artifacts)


assert_type(agent.consumes(Order), AgentBuilder)
assert_type(agent.consumes(Order, Payment), AgentBuilder)
assert_type(agent.consumes(Order, Payment, Receipt), AgentBuilder)
assert_type(agent.publishes(Receipt), AgentBuilder)
assert_type(agent.publishes(Receipt, Order), AgentBuilder)
assert_type(agent.calls(serve), AgentBuilder)
assert_type(agent.calls(stream), AgentBuilder)
assert_type(agent.with_engines(ScriptedEngine([Receipt()])), AgentBuilder)
assert_type(agent.with_context(provider), AgentBuilder)
assert_type(agent.best_of(3, score=score), AgentBuilder)
assert_type(agent.description("sells"), AgentBuilder)
assert_type(agent.labels("a", "b"), AgentBuilder)
assert_type(agent.tenant("t"), AgentBuilder)
assert_type(agent.prevent_self_trigger(False), AgentBuilder)
assert_type(agent.max_concurrency(4), AgentBuilder)
assert_type(agent.retry(3, timedelta(seconds=1), on=(OSError, TimeoutError)), AgentBuilder)
assert_type(agent.retry(3, on=lambda error: "busy" in str(error)), AgentBuilder)
assert_type(agent.timeout(5), AgentBuilder)
assert_type(agent.agent, Agent)
assert_type(flock.get_agent("shop"), Agent)


class Shop(AgentBuilder):
    """A builder of one's own stays one."""


def own(builder: Shop) -> None:
    assert_type(builder.consumes(Order).publishes(Receipt).calls(serve).timeout(5), Shop)


# --- engines ----------------------------------------------------------------------------------


class Echo(EngineComponent):
    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> EvalResult:
        assert_type(inputs.first_as(Order), Order | None)
        assert_type(inputs.all_as(Order), list[Order])
        return EvalResult.from_object(Receipt())


# --- tools ---


@flock_tool
def halve(n: int) -> float:
    return n / 2


@flock_tool(name="other", timeout=timedelta(seconds=1))
async def wait(n: int, *, text: str = "") -> str:
    return text * n


assert_type(halve(3), float)
halve("3")  # pyright: ignore[reportArgumentType]
assert_type(agent.with_tools([halve, wait, len], max_calls=3), AgentBuilder)
agent.with_tools([3])  # pyright: ignore[reportArgumentType]


async def use_tools() -> None:
    assert_type(await wait(3, text="x"), str)
    assert_type(await halve.call('{"n": 3}'), ToolAnswer)


# --- the board --------------------------------------------------------------------------------


async def conditions(board: Flock) -> None:
    done = Until.artifact_count(Receipt, tags="paid").at_least(3) & ~Until.idle()
    assert_type(done, Condition)
    assert_type(await board.run_until(done | Until.workflow_error("w"), timeout=5), bool)
    board.run_until(Until.artifact_count(Receipt))  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
    board.run_until(When.correlation(Receipt).exists())  # pyright: ignore[reportArgumentType, reportUnusedCoroutine]
    ready = When.correlation(Receipt).exists() | When.correlation("Order").count_at_most(2)
    assert_type(ready, Activation)
    assert_type(board.agent("waits").consumes(Order, activation=ready), AgentBuilder)
    board.agent("x").consumes(Order, activation=done)  # pyright: ignore[reportArgumentType, reportCallIssue]


async def use(board: Flock) -> None:
    async with board as opened:
        assert_type(opened, Flock)
        published = await board.publish(Order())
        assert_type(published, Artifact)
        assert_type(published.as_model(Order), Order)
        assert_type(published.replace(tags=["x"]), Artifact)
        assert_type(Artifact.of(Order()), Artifact)
        assert_type(await board.publish_many([Order(), Payment()]), list[Artifact])
        assert_type(await board.run_until_idle(timeout=timedelta(seconds=1)), IdleReport)
        assert_type(await board.arun(agent, Order()), list[Artifact])
        assert_type(await board.arun("shop", Order()), list[Artifact])
        assert_type(await board.invoke(agent, Order()), list[Artifact])
        assert_type(await board.store.get_by_type(Order), list[Order])
        assert_type(await board.store.get_by_type(Order, correlation_id="w"), list[Order])
        assert_type(await board.store.list_by_type(Order), list[Artifact])
        assert_type(await board.store.get(published.id), Artifact | None)
        where = FilterConfig(type_names=[Order, "Payment"], tags=["x"])
        assert_type(await board.store.query_artifacts(where, limit=5), tuple[list[Artifact], int])
        async for output in board.stream(agent, Order()):
            assert_type(output, Artifact)
        async for event in board.events():
            assert_type(event, Event)
        await board.publish(Order)  # pyright: ignore[reportArgumentType]
        await board.publish(Order(), idempotent="x")  # pyright: ignore[reportCallIssue]
    await ManualClock().advance(timedelta(minutes=5))


class Audit(OrchestratorComponent):
    """Hooks know what the board can do, whether or not their argument is annotated."""

    async def on_idle(self, orchestrator):  # pyright: ignore[reportMissingParameterType]
        assert_type(orchestrator, Board)
        assert_type(await orchestrator.publish(Receipt(), tags=["audit"]), Artifact)
        assert_type(await orchestrator.arun("shop", Order()), list[Artifact])
        assert_type(await orchestrator.status("w"), WorkflowStatus)
        assert_type(await orchestrator.store.get_by_type(Order), list[Order])
        orchestrator.shutdown  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018

    async def on_shutdown(self, orchestrator: Board) -> None:
        await orchestrator.publish(5)  # pyright: ignore[reportArgumentType]


board: Board = flock
flock.add_component(Audit())


async def asks() -> None:
    """Results give models of the type that is asked for."""
    app = Application(lambda: Flock(), input_type=Order, output_types=[Receipt, Payment])
    async with app:
        result = await app.run(Order(), id="x", timeout=timedelta(seconds=1))
        assert_type(result, Result)
        assert_type(result.one(Receipt), Receipt)
        assert_type(result.of(Payment), list[Payment])
        assert_type(result.raise_for_status(), Result)
        async for appeared in app.stream({"n": 1}):
            assert_type(appeared, Artifact)
        await app.run(3)  # pyright: ignore[reportArgumentType]
    Application(flock, input_type=Order, output_types=Receipt, isolation="one")  # pyright: ignore[reportArgumentType]

"""What waits of one workflow is found without looking at the others."""

from datetime import timedelta

import pytest

from flock.core.delivery import Delivery
from flock.core.subscription import BatchSpec, JoinSpec
from flock.orchestrator.gates.all_of import AllOf
from flock.orchestrator.gates.batch import Batch
from flock.orchestrator.gates.by_workflow import ByWorkflow
from flock.orchestrator.gates.join import Join
from tests.unit.support import T0, A, B, artifact, subscription

PAIR = subscription(A, B)
JOIN = subscription(A, B, join=JoinSpec(by="n", within=timedelta(hours=1)))
BATCH = subscription(A, batch=BatchSpec(size=3))


def of(workflow: str, obj: A | B) -> Delivery:
    return Delivery(artifact(obj, workflow=workflow), PAIR)


def test_it_gives_a_workflows_deliveries_in_order_and_keeps_no_empty_workflow() -> None:
    index = ByWorkflow()
    first, second, other = of("w", A()), of("w", A()), of("x", A())
    for delivery in (first, second, other):
        index.add(delivery)
    assert index.of("w") == [first, second]
    index.remove(first)
    assert (index.of("w"), index.of("x"), index.of("y")) == ([second], [other], [])
    index.remove(second)
    index.remove(other)
    assert not index._deliveries


def test_a_join_knows_what_waits_of_a_workflow_through_all_that_happens() -> None:
    join = Join(JOIN)
    mine, other, late = of("w", A(n=1)), of("x", A(n=2)), of("w", A(n=3))
    for delivery in (mine, other, late):
        join.add(delivery, delivery.artifact.payload["n"], T0)
    assert join.of("w") == [mine, late]
    partner = of("x", B(n=1))
    completed, _ = join.add(partner, 1, T0)
    assert completed is not None
    assert (join.of("w"), join.of("x")) == ([late], [other])
    assert join.take_out(join.of("x")) == [other]
    assert join.of("x") == []
    join.expire(T0 + 3600)
    assert join.of("w") == []
    assert not join._by_workflow._deliveries


def test_a_batch_knows_what_waits_of_a_workflow_through_all_that_happens() -> None:
    batch = Batch(BATCH)
    mine, other = of("w", A()), of("x", A())
    batch.add([mine, other], T0)
    assert (batch.of("w"), batch.of("x")) == ([mine], [other])
    assert batch.take_out(batch.of("w")) == [mine, other], "a complete group goes whole"
    assert batch.of("x") == []
    for n in range(3):
        batch.add([of("w", A(n=n))], T0)
    assert batch.of("w") == []
    assert not batch._by_workflow._deliveries


@pytest.mark.parametrize("workflow", ["w", None])
def test_an_and_gate_knows_what_waits_of_a_workflow(workflow: str | None) -> None:
    gate = AllOf(PAIR)
    mine, other = Delivery(artifact(A(), workflow=workflow), PAIR), of("x", A())
    gate.add(mine)
    gate.add(other)
    name = mine.artifact.correlation_id
    assert gate.of(name) == [mine]
    assert gate.take_out(gate.of(name)) == [mine]
    assert (gate.of(name), gate.of("x"), gate.of("y")) == ([], [other], [])

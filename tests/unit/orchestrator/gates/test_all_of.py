"""An AND gate pairs what belongs together, first come, first served."""

from pydantic import BaseModel

from flock.core.delivery import Delivery
from flock.orchestrator.gates.all_of import AllOf
from tests.unit.support import A, B, C, delivery, subscription

BOTH = subscription(A, B)


def came(model: BaseModel, **options: object) -> Delivery:
    return delivery(BOTH, model, **options)


def test_a_group_is_complete_when_each_type_is_there() -> None:
    gate = AllOf(BOTH)
    a, b = came(A()), came(B())
    assert gate.add(a) is None
    assert gate.add(b) == [a, b]
    assert len(gate) == 0


def test_inputs_come_in_declared_order_whatever_the_order_of_arrival() -> None:
    declared = subscription(B, A, C, A)
    gate = AllOf(declared)
    c, first, b, second = (delivery(declared, m) for m in (C(), A(n=1), B(), A(n=2)))
    assert [gate.add(it) for it in (c, first, b)] == [None] * 3
    assert gate.add(second) == [b, first, c, second]


def test_a_repeated_type_asks_for_that_many() -> None:
    gate = AllOf(subscription(A, A, A))
    three = [came(A(n=n)) for n in range(3)]
    assert gate.add(three[0]) is None
    assert gate.add(three[1]) is None
    assert gate.add(three[2]) == three


def test_surplus_waits_and_is_served_in_the_order_it_came() -> None:
    gate = AllOf(BOTH)
    several = [came(A(n=n)) for n in range(4)]
    for a in several:
        assert gate.add(a) is None
    for a in several:
        b = came(B())
        assert gate.add(b) == [a, b]


def test_two_thousand_of_one_and_one_of_the_other_are_one_pair() -> None:
    gate = AllOf(BOTH)
    several = [came(A(n=n)) for n in range(2000)]
    assert all(gate.add(a) is None for a in several)
    b = came(B())
    assert gate.add(b) == [several[0], b]
    assert list(gate) == several[1:]


def test_named_workflows_do_not_mix() -> None:
    gate = AllOf(BOTH)
    assert gate.add(came(A(), workflow="one")) is None
    assert gate.add(came(B(), workflow="two")) is None
    assert gate.add(came(B())) is None, "nor with a loose root"
    match = came(B(), workflow="one")
    group = gate.add(match)
    assert group is not None
    assert {it.artifact.correlation_id for it in group} == {"one"}
    assert len(gate) == 2


def test_a_root_waits_also_for_what_follows_from_it() -> None:
    gate = AllOf(BOTH)
    root, other = came(A(n=1)), came(A(n=2))
    gate.add(root)
    gate.add(other)
    workflow = other.artifact.correlation_id
    follows = came(B(), workflow=workflow, parents=[other.artifact])
    assert gate.add(follows) == [other, follows]
    assert list(gate) == [root]


def test_what_follows_from_two_roots_does_not_pair() -> None:
    gate = AllOf(BOTH)
    one, two = came(C()).artifact, came(C()).artifact
    assert gate.add(came(A(), workflow=one.correlation_id, parents=[one])) is None
    assert gate.add(came(B(), workflow=two.correlation_id, parents=[two])) is None
    assert len(gate) == 2


def test_a_root_that_was_used_with_another_is_gone_for_its_own_workflow() -> None:
    gate = AllOf(BOTH)
    root = came(A())
    gate.add(root)
    assert gate.add(came(B())) is not None
    follows = came(B(), workflow=root.artifact.correlation_id, parents=[root.artifact])
    assert gate.add(follows) is None
    assert list(gate) == [follows]


def test_discarding_takes_out_what_is_chosen_and_nothing_else() -> None:
    gate = AllOf(BOTH)
    one, two, three = came(A(n=1)), came(A(n=2), workflow="w"), came(A(n=3))
    for it in (one, two, three):
        gate.add(it)
    assert gate.discard(lambda it: it in {one, two}) == [one, two]
    b = came(B())
    assert gate.add(b) == [three, b]
    assert gate.discard(lambda _: True) == []


def test_an_empty_gate_keeps_nothing_of_what_went_through_it() -> None:
    gate = AllOf(BOTH)
    for _ in range(100):
        gate.add(came(A()))
        gate.add(came(B()))
    assert not gate._pools
    assert not list(gate)

"""A batch is full at its size, or due its timeout after the first of what it holds."""

from flock.core.delivery import Delivery
from flock.core.subscription import BatchSpec
from flock.orchestrator.gates.batch import Batch
from tests.unit.support import A, delivery, subscription


def batch_of(size: int | None = None, timeout: float | None = None) -> Batch:
    return Batch(subscription(A, batch=BatchSpec(size=size, timeout=timeout)))


def group(count: int = 1) -> list[Delivery]:
    sub = subscription(A)
    return [delivery(sub) for _ in range(count)]


def test_it_is_full_at_its_size_and_begins_anew() -> None:
    batch = batch_of(size=2)
    one, two, three = group(), group(), group()
    assert batch.add(one, 0) is None
    assert batch.add(two, 1) == [one, two]
    assert len(batch) == 0
    assert batch.add(three, 2) is None
    assert list(batch) == three


def test_it_counts_groups_and_holds_deliveries() -> None:
    batch = batch_of(size=3)
    pair, trio = group(2), group(3)
    assert batch.add(pair, 0) is None
    assert batch.add(trio, 0) is None
    assert len(batch) == 5
    assert list(batch) == [*pair, *trio]
    assert batch.add(last := group(), 0) == [pair, trio, last]


def test_it_is_due_its_timeout_after_the_first() -> None:
    batch = batch_of(timeout=10)
    assert batch.next_due is None
    batch.add(group(), 5)
    batch.add(group(), 14)
    assert batch.next_due == 15
    batch.take()
    assert batch.next_due is None
    batch.add(group(), 20)
    assert batch.next_due == 30


def test_without_a_timeout_it_is_never_due() -> None:
    batch = batch_of(size=2)
    batch.add(group(), 5)
    assert batch.next_due is None


def test_taking_from_an_empty_one_gives_nothing() -> None:
    assert batch_of(size=2).take() == []


def test_discarding_takes_a_group_whole() -> None:
    batch = batch_of(size=9)
    pair, single, trio = group(2), group(), group(3)
    for each in (pair, single, trio):
        batch.add(each, 0)
    assert batch.discard(lambda it: it in {pair[1], trio[0]}) == [*pair, *trio]
    assert list(batch) == single


def test_what_stays_is_due_after_its_own_first() -> None:
    batch = batch_of(timeout=60)
    first, second = group(), group()
    batch.add(first, 0)
    batch.add(second, 50)
    batch.discard(lambda it: it in first)
    assert batch.next_due == 110

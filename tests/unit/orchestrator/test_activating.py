"""What is asked about workflows is let go of when they come to rest."""

from flock import Flock, InMemoryBlackboardStore, StoreUnavailable, When
from flock.core.filters import FilterConfig
from flock.orchestrator.activating import Activating
from flock.testing import ManualClock
from tests.unit.support import A, B


def board(store: InMemoryBlackboardStore | None = None) -> tuple[Flock, Activating, list[int]]:
    clock = ManualClock(autojump=True)
    flock = Flock(store=store, clock=clock)
    seen: list[int] = []

    async def note(a: A) -> None:
        seen.append(a.n)

    flock.agent("worker").consumes(A, activation=When.correlation(B).exists()).calls(note)
    return flock, flock._parts.gathering.activating, seen


async def test_nothing_is_asked_about_a_workflow_in_which_nothing_waits() -> None:
    flock, activating, seen = board()
    async with flock:
        for n in range(50):
            await flock.publish(A(n=n), correlation_id=f"w{n}")
            await flock.run_until_idle()
        assert len(activating._asked) == 50
        for n in range(50):
            await flock.publish(B(), correlation_id=f"w{n}")
            await flock.run_until_idle()
        assert seen == [*range(50)]
        assert not activating.is_used
        await flock.publish_many([B(), A(n=50)], correlation_id="w")
        await flock.publish(A(n=51), correlation_id="v")
        await flock.run_until_idle()
        assert [*activating._asked] == ["v"]
        await flock.cancel("v")
        assert not activating.is_used
        assert not flock._parts.lookout._by_workflow
    assert seen == [*range(51)]


async def test_a_store_that_is_out_of_order_for_a_while_is_waited_for() -> None:
    failures = [3]

    class Flaky(InMemoryBlackboardStore):
        async def count(
            self, where: FilterConfig | None = None, *, until: int | None = None
        ) -> int:
            if failures[0]:
                failures[0] -= 1
                raise StoreUnavailable("the disk")
            return await super().count(where, until=until)

    flock, _, seen = board(Flaky())
    async with flock:
        await flock.publish_many([B(), A(n=1)], correlation_id="w")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([1], 0)
        failures[0] = 1000
        await flock.publish_many([B(), A(n=2)], correlation_id="v")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([1], 1)
        failures[0] = 0
        await flock.publish(A(n=3), correlation_id="v")
        report = await flock.run_until_idle()
        assert (sorted(seen), report.waiting) == ([1, 2, 3], 0)

"""Artifacts answer to each other by type, producer and lineage, and else by content."""

from collections.abc import Sequence

from flock.clock import as_datetime
from flock.core.artifacts import Artifact
from flock.core.system import WorkflowError
from flock.core.visibility import PrivateVisibility
from flock.orchestrator.comparison import ABSENT, Comparison, compare
from tests.unit.support import T0, A, B, artifact

ROOT = artifact(A(), workflow="w", seq=1)


def made(
    n: int, *parents: Artifact, seq: int, by: str = "amy", key: str = "k", tags: Sequence[str] = ()
) -> Artifact:
    return artifact(
        B(n=n, key=key),
        workflow="w",
        produced_by=by,
        parents=parents or (ROOT,),
        seq=seq,
        tags=tags,
    )


def numbers(
    comparison: Comparison,
) -> tuple[list[int], list[tuple[int, int]], list[int], list[int]]:
    return (
        [pair.before.payload["n"] for pair in comparison.same],
        [(pair.before.payload["n"], pair.after.payload["n"]) for pair in comparison.changed],
        [a.payload["n"] for a in comparison.missing],
        [a.payload["n"] for a in comparison.added],
    )


def test_nothing_is_the_same_as_nothing() -> None:
    assert compare([], []) == Comparison()
    assert compare([], []).is_same


def test_of_several_from_one_run_equal_ones_go_together_and_the_rest_in_order() -> None:
    before = [made(n, seq=2 + n) for n in (1, 2, 3)]
    after = [made(n, seq=2 + place) for place, n in enumerate((3, 7, 1))]
    comparison = compare(before, after)
    assert numbers(comparison) == ([1, 3], [(2, 7)], [], [])
    assert not comparison.is_same


def test_what_has_no_answer_is_missing_or_added() -> None:
    before = [made(1, seq=2), made(2, seq=3), made(5, seq=4, by="bob")]
    after = [made(1, seq=2), made(6, seq=3, by="cay")]
    assert numbers(compare(before, after)) == ([1], [], [2, 5], [6])


def test_children_answer_to_each_other_through_parents_that_changed() -> None:
    one, other = made(1, seq=2), made(9, seq=2)
    before = [one, made(3, one, seq=3, by="bob")]
    after = [other, made(3, other, seq=3, by="bob")]
    comparison = compare(before, after)
    assert numbers(comparison) == ([3], [(1, 9)], [], [])
    assert comparison.same[0].has_same_lineage


def test_the_same_content_of_other_inputs_answers_too_and_says_so() -> None:
    x, y = made(1, seq=2), made(2, seq=3)
    x2, y2 = made(1, seq=2), made(2, seq=3)
    comparison = compare(
        [x, y, made(3, x, y, seq=4, by="bob")], [x2, y2, made(3, y2, x2, seq=4, by="bob")]
    )
    assert comparison.is_same
    assert [pair.has_same_lineage for pair in comparison.same] == [True, True, False]


def test_changes_name_the_field_down_to_the_item() -> None:
    one = artifact(A(key="x"), workflow="w", produced_by="amy", parents=[ROOT], seq=2)
    other = artifact(
        A(key="y"),
        workflow="w",
        produced_by="amy",
        parents=[ROOT],
        seq=2,
        tags=["red"],
        visibility=PrivateVisibility(agents={"bob"}),
    )
    [pair] = compare([one], [other]).changed
    assert [(c.path, c.before, c.after) for c in pair.changes] == [
        ("key", "x", "y"),
        ("(tags)", [], ["red"]),
        (
            "(visibility)",
            {"kind": "Public"},
            {"kind": "Private", "agents": ["bob"]},
        ),
    ]
    assert str(pair.changes[0]) == 'key: "x" -> "y"'
    assert repr(ABSENT) == "(absent)"


def test_when_and_under_which_id_a_run_failed_does_not_count() -> None:
    def failure(at: float, run: str, message: str = "no") -> Artifact:
        error = WorkflowError(
            failed_agent="amy",
            error_type="ValueError",
            error_message=message,
            timestamp=as_datetime(at),
            task_id=f"{run}.1",
            run_id=run,
            attempt=1,
        )
        return artifact(error, workflow="w", produced_by="amy", parents=[ROOT], seq=2)

    assert compare([failure(T0, "a")], [failure(T0 + 9, "b")]).is_same
    [pair] = compare([failure(T0, "a")], [failure(T0 + 9, "b", "other")]).changed
    assert [change.path for change in pair.changes] == ["error_message"]


def test_it_reads_as_a_table() -> None:
    before = [made(1, seq=2), made(5, seq=3, by="bob")]
    after = [made(2, seq=2), made(6, seq=3, by="cay")]
    name = "tests.unit.support.B"
    assert str(compare(before, after)).splitlines() == [
        "0 same, 1 changed, 1 missing, 1 added",
        f"  ~ {name} by 'amy'",
        "      n: 1 -> 2",
        f"""  - {name} by 'bob'  {{"n": 5, "key": "k"}}""",
        f"""  + {name} by 'cay'  {{"n": 6, "key": "k"}}""",
    ]

"""A run's outputs are what its agent declared, or the run fails and says why."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.output_check import OutputCheck
from flock.core.outputs import OutputGroup, OutputSpec
from flock.core.types import registry
from flock.core.visibility import PUBLIC, PrivateVisibility
from flock.errors import OutputContractError
from tests.unit.support import A, B, C, artifact

PRIVATE = PrivateVisibility(agents=frozenset({"amy"}))


def above(least: int) -> Callable[[A], bool]:
    return lambda a: a.n > least


def never(model: A) -> bool:
    del model
    return False


def group(*specs: tuple[type[BaseModel], int, int | None], **options: Any) -> OutputGroup:
    outputs = tuple(OutputSpec(registry.entry(m), low, high) for m, low, high in specs)
    return OutputGroup(outputs=outputs, **options)


def checked(
    groups: Sequence[OutputGroup], made: Sequence[Artifact], inputs: Sequence[Artifact] = ()
) -> list[Artifact]:
    check = OutputCheck("amy", groups, inputs)
    accepted = [output for it in made if (output := check.accept(it)) is not None]
    check.close()
    return accepted


def test_what_was_declared_is_published_in_order() -> None:
    made = [artifact(B()), artifact(A())]
    assert checked([group((A, 1, 1), (B, 1, 1))], made) == made


def test_nothing_at_all_is_a_declined_run() -> None:
    assert checked([group((A, 2, 2)), group((B, 1, 1))], []) == []


def test_one_group_may_decline_while_another_answers() -> None:
    assert len(checked([group((A, 1, 1)), group((B, 1, 1))], [artifact(B())])) == 1


def test_a_type_that_was_not_declared_fails_and_names_agent_type_and_choices() -> None:
    with pytest.raises(OutputContractError) as caught:
        checked([group((A, 1, 1))], [artifact(C())])
    for part in ("'amy'", ".C'", ".UnitA;", "publishes()"):
        assert part in str(caught.value)


def test_an_agent_that_publishes_nothing_says_so() -> None:
    with pytest.raises(OutputContractError, match="publishes nothing"):
        checked([], [artifact(A())])


def test_an_open_group_takes_any_type_in_any_number() -> None:
    made = [artifact(A()), artifact(B()), artifact(A())]
    assert checked([OutputGroup(is_open=True)], made) == made


@pytest.mark.parametrize(
    ("low", "high", "count", "said"),
    [
        (1, 1, 2, "declares 1 of"),
        (2, 2, 1, "declares 2 of .* returned 1"),
        (2, 3, 4, "declares 2 to 3 of .* returned more"),
        (2, 3, 1, "declares 2 to 3 of .* returned 1"),
        (2, None, 1, "declares at least 2 of .* returned 1"),
    ],
)
def test_another_number_fails_the_run_and_is_named(
    low: int, high: int | None, count: int, said: str
) -> None:
    with pytest.raises(OutputContractError, match=said):
        checked([group((A, low, high))], [artifact(A()) for _ in range(count)])


@pytest.mark.parametrize(("low", "high", "count"), [(2, 3, 2), (2, 3, 3), (0, None, 50), (1, 1, 1)])
def test_a_number_in_bounds_is_published(low: int, high: int | None, count: int) -> None:
    assert len(checked([group((A, low, high))], [artifact(A()) for _ in range(count)])) == count


def test_a_type_of_a_group_that_answered_must_not_be_missing() -> None:
    with pytest.raises(OutputContractError, match=r"\.B' and returned 0"):
        checked([group((A, 1, 1), (B, 1, 1))], [artifact(A())])


def test_a_type_of_two_groups_fills_the_first_and_then_the_second() -> None:
    groups = [group((A, 1, 1), tags=frozenset({"first"})), group((A, 1, 2), tags=frozenset({"x"}))]
    accepted = checked(groups, [artifact(A(n=n)) for n in range(3)])
    assert [set(it.tags) for it in accepted] == [{"first"}, {"x"}, {"x"}]
    with pytest.raises(OutputContractError):
        checked(groups, [artifact(A()) for _ in range(4)])


# --- where and validate -----------------------------------------------------------------------


def test_where_drops_without_failing() -> None:
    def below_four(a: A) -> bool:
        return a.n < 4

    groups = [group((A, 0, None), where=(above(1), below_four))]
    accepted = checked(groups, [artifact(A(n=n)) for n in range(6)])
    assert [it.payload["n"] for it in accepted] == [2, 3]


def test_counts_are_those_before_where() -> None:
    groups = [group((A, 2, 2), where=(above(0),))]
    assert len(checked(groups, [artifact(A(n=0)), artifact(A(n=1))])) == 1
    with pytest.raises(OutputContractError):
        checked(groups, [artifact(A(n=n)) for n in range(3)])


def test_validate_fails_the_run_with_its_message() -> None:
    groups = [group((A, 1, 1), validate=((above(0), "n must be positive"),))]
    assert len(checked(groups, [artifact(A(n=1))])) == 1
    with pytest.raises(OutputContractError, match=r"'amy'.*n must be positive"):
        checked(groups, [artifact(A(n=0))])


def test_what_where_drops_is_not_validated() -> None:
    groups = [group((A, 1, 1), where=(never,), validate=((never, "never asked"),))]
    assert checked(groups, [artifact(A())]) == []


def broken(model: A) -> bool:
    raise KeyError(model.key)


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("where", {"where": (broken,)}),
        ("validate", {"validate": ((broken, "message"),)}),
        ("visibility", {"visibility": broken}),
    ],
)
def test_a_raising_function_fails_the_run_and_is_named(word: str, options: dict[str, Any]) -> None:
    with pytest.raises(OutputContractError, match=rf"{word}.*'amy'.*KeyError") as caught:
        checked([group((A, 1, 1), **options)], [artifact(A())])
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_predicate_cannot_change_the_output() -> None:
    def meddle(model: A) -> bool:
        model.n = 99
        return True

    (accepted,) = checked([group((A, 1, 1), where=(meddle,))], [artifact(A(n=1))])
    assert accepted.payload["n"] == 1


# --- how it is published ----------------------------------------------------------------------


def test_the_groups_tags_are_added_to_the_outputs_own() -> None:
    groups = [group((A, 1, 1), tags=frozenset({"x"}))]
    (accepted,) = checked(groups, [artifact(A(), tags=["own"])])
    assert accepted.tags == {"own", "x"}


def test_the_groups_visibility_holds_unless_the_output_has_its_own() -> None:
    other = PrivateVisibility(agents=frozenset({"bob"}))
    groups = [group((A, 2, 2), visibility=PRIVATE)]
    accepted = checked(groups, [artifact(A()), artifact(A(), visibility=other)])
    assert [it.visibility for it in accepted] == [PRIVATE, other]


def test_a_visibility_can_be_a_function_of_the_model() -> None:
    def secret(model: A) -> PrivateVisibility:
        return PrivateVisibility(agents=frozenset({model.key}))

    (accepted,) = checked([group((A, 1, 1), visibility=secret)], [artifact(A(key="bob"))])
    assert accepted.visibility == PrivateVisibility(agents=frozenset({"bob"}))


def test_without_any_the_output_stays_public() -> None:
    (accepted,) = checked([group((A, 1, 1))], [artifact(A())])
    assert accepted.visibility is PUBLIC


def test_inputs_that_only_passed_through_are_left_out() -> None:
    given, on_board, output = artifact(A()), artifact(A(), seq=3), artifact(A())
    groups = [group((A, 1, 1))]
    assert checked(groups, [given, on_board, output], inputs=[given]) == [output]

"""How many outputs a declaration asks for."""

from typing import Any

import pytest

from flock.core.outputs import OutputGroup, OutputSpec, fan_out_range
from flock.core.types import registry
from tests.unit.support import A, B


@pytest.mark.parametrize(
    ("fan_out", "bounds"),
    [
        (None, (1, 1)),
        (1, (1, 1)),
        (3, (3, 3)),
        ((2, 5), (2, 5)),
        ((0, 1), (0, 1)),
        ([2, 2], (2, 2)),
    ],
)
def test_fan_out_is_a_count_or_a_range(fan_out: Any, bounds: tuple[int, int]) -> None:
    assert fan_out_range(fan_out) == bounds


@pytest.mark.parametrize(
    "fan_out",
    [
        0,
        -1,
        (3, 1),
        (0, 0),
        (-1, 2),
        (1,),
        (1, 2, 3),
        (),
        (1.0, 2),
        (True, 2),
        True,
        "12",
        ("1", 2),
    ],
)
def test_a_senseless_fan_out_is_refused(fan_out: Any) -> None:
    with pytest.raises(ValueError, match="fan_out"):
        fan_out_range(fan_out)


@pytest.mark.parametrize(("maximum", "several"), [(1, False), (2, True), (None, True)])
def test_an_output_is_a_list_when_there_may_be_several(maximum: int | None, several: bool) -> None:
    assert OutputSpec(registry.entry(A), 0, maximum).is_list is several


def test_a_group_knows_its_types_in_order() -> None:
    group = OutputGroup(outputs=(OutputSpec(registry.entry(B)), OutputSpec(registry.entry(A))))
    assert group.types == (B, A)
    found = group.spec_of(registry.entry(A).name)
    assert found is not None
    assert found.model is A
    assert group.spec_of("Other") is None

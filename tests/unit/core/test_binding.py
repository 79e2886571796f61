"""Each parameter of a function is given the inputs that it is annotated with."""

import functools
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Sequence,
)
from typing import (  # noqa: UP035 - users still write them
    Annotated,
    Any,
    Generic,
    List,
    Optional,
    Tuple,
    TypeAlias,
    TypeVar,
    Union,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.binding import Binding, left_without
from flock.core.context import Context, EvalInputs
from flock.core.roles import Role
from flock.core.signature import FunctionSignature, Parameter, read_signature
from flock.core.types import registry
from flock.errors import EngineError
from tests.unit.support import A, B, artifact

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
AOrB: TypeAlias = A | B


class Child(A):
    pass


class Box(BaseModel, Generic[T]):
    content: T


def call(function: Callable[..., Any], *models: BaseModel, is_batch: bool = False) -> Any:
    """Call a function as an agent's would be, over these inputs."""
    signature = read_signature(function)
    inputs = EvalInputs([artifact(model) for model in models])
    args, kwargs = Binding(signature).arguments(inputs, Context("w", is_batch=is_batch))
    return function(*args, **kwargs)


def takes_model(a: A) -> object:
    return a


def takes_annotated(a: Annotated[A, "words"]) -> object:
    return a


def takes_string(a: "A") -> object:
    return a


def takes_keyword(*, a: A) -> object:
    return a


def takes_positional(a: A, /) -> object:
    return a


def takes_optional(a: A | None) -> object:
    return a


def takes_old_optional(a: Optional[A]) -> object:  # noqa: UP045
    return a


def takes_union(a: A | B) -> object:
    return a


def takes_old_union(a: Union[A, B]) -> object:  # noqa: UP007
    return a


def takes_alias(a: AOrB) -> object:
    return a


def takes_bound(a: M) -> M:
    return a


def takes_nothing_said(a: Any) -> Any:
    return a


def take_nothing_said(a: Any, b: Any) -> Any:
    return a, b


takes_nothing_said.__annotations__.clear()
take_nothing_said.__annotations__.clear()


def takes_anything(a: Any) -> object:
    return a


def takes_any_model(a: BaseModel) -> object:
    return a


def takes_object(a: object) -> object:
    return a


@pytest.mark.parametrize(
    "function",
    [
        takes_model,
        takes_annotated,
        takes_string,
        takes_keyword,
        takes_positional,
        takes_optional,
        takes_old_optional,
        takes_union,
        takes_old_union,
        takes_alias,
        takes_bound,
        takes_nothing_said,
        takes_anything,
        takes_any_model,
        takes_object,
    ],
)
def test_a_parameter_gets_the_model(function: Callable[..., Any]) -> None:
    assert call(function, A(n=1)) == A(n=1)


def takes_list(a: list[A]) -> object:
    return a


def takes_old_list(a: List[A]) -> object:  # noqa: UP006
    return a


def takes_sequence(a: Sequence[A]) -> object:
    return a


def takes_iterable(a: Iterable[A]) -> object:
    return a


def takes_collection(a: Collection[A]) -> object:
    return a


def takes_list_of_union(a: list[A | B]) -> object:
    return a


def takes_bare_list(a: Any) -> object:
    return a


takes_bare_list.__annotations__["a"] = list


def takes_list_of_anything(a: list[Any]) -> object:
    return a


def takes_list_of_models(a: list[BaseModel]) -> object:
    return a


def takes_annotated_list(a: Annotated[list[Annotated[A, 1]], 2]) -> object:
    return a


LISTS: list[Callable[..., Any]] = [
    takes_list,
    takes_old_list,
    takes_sequence,
    takes_iterable,
    takes_collection,
    takes_list_of_union,
    takes_bare_list,
    takes_list_of_anything,
    takes_list_of_models,
    takes_annotated_list,
]


@pytest.mark.parametrize("function", LISTS)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("is_batch", [True, False])
def test_a_list_gets_all_of_them(function: Callable[..., Any], count: int, is_batch: bool) -> None:
    models = [A(n=n) for n in range(count)]
    assert call(function, *models, is_batch=is_batch) == models


def takes_tuple(a: tuple[A, ...]) -> object:
    return a


def takes_old_tuple(a: Tuple[A, ...]) -> object:  # noqa: UP006
    return a


@pytest.mark.parametrize("function", [takes_tuple, takes_old_tuple])
def test_a_tuple_of_any_length_gets_all_of_them_as_a_tuple(function: Callable[..., Any]) -> None:
    assert call(function, A(n=1), A(n=2)) == (A(n=1), A(n=2))


def test_the_models_of_a_join_are_bound_by_type_in_any_order() -> None:
    def joined(b: B, a: A, ctx: Context, second: A) -> object:
        return b, a, ctx.correlation_id, second

    assert call(joined, A(n=1), B(n=2), A(n=3)) == (B(n=2), A(n=1), "w", A(n=3))


def test_lists_of_a_batch_of_groups_are_bound_by_type() -> None:
    def grouped(bs: list[B], many: list[A]) -> object:
        return bs, many

    found = call(grouped, A(n=1), B(n=1), A(n=2), B(n=2), is_batch=True)
    assert found == ([B(n=1), B(n=2)], [A(n=1), A(n=2)])


def test_a_model_before_a_list_takes_the_first() -> None:
    def split(first: A, rest: list[A]) -> object:
        return first, rest

    assert call(split, A(n=1), A(n=2), A(n=3)) == (A(n=1), [A(n=2), A(n=3)])


def test_unannotated_parameters_get_one_model_each() -> None:
    assert call(take_nothing_said, A(n=1), B(n=2)) == (A(n=1), B(n=2))


def test_a_single_unannotated_parameter_gets_the_list_of_a_batch() -> None:
    assert call(takes_nothing_said, A(n=1), A(n=2), is_batch=True) == [A(n=1), A(n=2)]
    assert call(takes_nothing_said, A(n=1), is_batch=True) == [A(n=1)]


def test_a_single_unannotated_parameter_gets_the_list_of_a_group() -> None:
    assert call(takes_nothing_said, A(n=1), B(n=2)) == [A(n=1), B(n=2)]


def test_inputs_context_and_artifacts_are_given_as_they_are() -> None:
    def everything(
        ctx: Context, inputs: EvalInputs, one: Artifact, several: list[Artifact]
    ) -> object:
        assert several == inputs.artifacts
        return ctx.correlation_id, one.payload["n"], len(several)

    assert call(everything, A(n=1), A(n=2)) == ("w", 1, 2)


def test_a_function_of_nothing_gets_nothing() -> None:
    assert call(lambda: "called", A()) == "called"


def test_a_subclass_is_given_to_a_parameter_of_its_parent() -> None:
    assert call(takes_model, Child(n=1)) == Child(n=1)


def test_parameterised_models_are_models() -> None:
    def boxed(box: Box[int]) -> object:
        return box

    assert call(boxed, Box[int](content=1)) == Box[int](content=1)


def test_each_call_gets_instances_of_its_own() -> None:
    signature = read_signature(takes_model)
    inputs = EvalInputs([artifact(A(n=1))])
    (first,), _ = Binding(signature).arguments(inputs, Context())
    first.n = 9
    (second,), _ = Binding(signature).arguments(inputs, Context())
    assert second == A(n=1)
    assert inputs.artifacts, "binding takes nothing away"


@pytest.mark.parametrize("function", [takes_optional, takes_old_optional])
def test_an_optional_parameter_may_go_without(function: Callable[..., Any]) -> None:
    assert call(function, B()) is None


def test_a_parameter_with_a_default_may_go_without_an_input() -> None:
    def with_default(b: B, a: A = A(n=7)) -> object:  # noqa: B008
        return b, a

    assert call(with_default, B(n=1), A(n=2)) == (B(n=1), A(n=2))
    assert call(with_default, B(n=1)) == (B(n=1), A(n=7))


def test_other_parameters_keep_their_defaults() -> None:
    def configured(a: A, factor: int = 3, *args: int, label: str = "x", **options: int) -> object:
        return a.n * factor, args, label, options

    assert call(configured, A(n=2)) == (6, (), "x", {})


def test_parameters_that_keep_their_defaults_do_not_shift_the_others() -> None:
    def shifted(factor: int = 3, a: A | None = None) -> object:
        return factor, a

    assert call(shifted, A(n=2)) == (3, A(n=2))


def test_the_rest_gets_all_that_is_left() -> None:
    def first(a: A, *rest: A) -> object:
        return a, rest

    def anything(*models: Any) -> object:
        return models

    assert call(first, A(n=1), B(n=2), A(n=3)) == (A(n=1), (A(n=3),))
    assert call(anything, A(n=1), B(n=2)) == (A(n=1), B(n=2))


def test_context_inputs_and_artifact_may_be_optional() -> None:
    def relaxed(
        ctx: Context | None = None, inputs: EvalInputs | None = None, it: Artifact | None = None
    ) -> object:
        return ctx is not None, inputs is not None, it is not None

    assert call(relaxed, A()) == (True, True, True)
    assert call(relaxed) == (True, True, False)


def test_a_missing_input_is_an_error_that_names_parameter_and_inputs() -> None:
    with pytest.raises(EngineError, match=r"'a'; the inputs are: .*\.B"):
        call(takes_model, B())
    with pytest.raises(EngineError, match="the inputs are: nothing"):
        call(takes_model)


def with_factor(factor: int, a: A) -> B:
    return B(n=a.n * factor)


def test_a_builtin_without_annotations_gets_the_model() -> None:
    assert call(repr, A(n=1)) == repr(A(n=1))


def test_a_partial_is_called_with_the_rest() -> None:
    assert call(functools.partial(with_factor, 3), A(n=2)) == B(n=6)
    assert call(functools.partial(with_factor, factor=3), A(n=2)) == B(n=6)


def test_a_callable_that_does_not_say_what_it_takes_gets_the_model() -> None:
    class Silent:
        @property
        def __signature__(self) -> None:
            raise ValueError("a builtin from elsewhere says nothing")

        def __call__(self, model: Any) -> Any:
            return model

    assert call(Silent(), A(n=3)) == A(n=3)


def test_what_has_a_default_is_not_given_an_empty_list() -> None:
    def relaxed(a: A, bs: Sequence[B] = (), rest: Any = None) -> object:
        return a, bs, rest

    assert call(relaxed, A(n=1)) == (A(n=1), (), None)
    assert call(relaxed, A(n=1), is_batch=True) == (A(n=1), (), None)
    assert call(relaxed, A(n=1), B(n=2), A(n=3)) == (A(n=1), [B(n=2)], A(n=3))


# --- before there are inputs ------------------------------------------------------------------


def ignored() -> None: ...


ASKED = st.tuples(
    st.sampled_from(
        [
            (Role.MODEL, (A,)),
            (Role.MODEL, (B,)),
            (Role.MODEL, (A, B)),
            (Role.MODELS, (A,)),
            (Role.MODELS, ()),
            (Role.ARTIFACT, ()),
            (Role.ARTIFACTS, ()),
            (Role.ANYTHING, ()),
            (Role.CONTEXT, ()),
            (Role.INPUTS, ()),
        ]
    ),
    st.booleans(),
)


@given(
    asked=st.lists(ASKED, max_size=5),
    types=st.lists(st.sampled_from([A, B, Child]), min_size=1, max_size=5),
    is_batch=st.booleans(),
)
def test_a_parameter_is_left_without_an_input_exactly_if_binding_says_so(
    asked: list[tuple[tuple[Role, tuple[type[BaseModel], ...]], bool]],
    types: list[type[BaseModel]],
    is_batch: bool,
) -> None:
    parameters = tuple(
        Parameter(f"p{place}", role, models, optional=optional, keyword=True)
        for place, ((role, models), optional) in enumerate(asked)
    )
    signature = FunctionSignature(ignored, "sync", parameters, ())

    missed = left_without(signature, map(registry.entry, types), is_batch=is_batch)

    inputs = EvalInputs([artifact(model()) for model in types])
    failure = ""
    given_to: dict[str, Any] = {}
    try:
        _, given_to = Binding(signature).arguments(inputs, Context("w", is_batch=is_batch))
    except EngineError as error:
        failure = str(error)
    bare = [p.name for p in parameters if p.role is Role.ANYTHING]
    if missed is None:
        assert not failure
        assert all(given_to[name] != [] for name in bare)
    elif missed.name in bare:
        assert failure or given_to[missed.name] == []
    else:
        assert f"no input is left for parameter {missed.name!r}" in failure

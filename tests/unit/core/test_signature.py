"""A function's parameters are bound, and its outputs read, by what it is annotated with."""

import functools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
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
from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.binding import bind
from flock.core.context import Context, EvalInputs, EvalResult
from flock.core.signature import FunctionSignature, Role, read_signature, yielded_models
from flock.errors import DeclarationError, EngineError
from tests.unit.support import A, B, C, artifact

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
    args, kwargs = bind(signature, inputs, Context("w", is_batch=is_batch))
    return function(*args, **kwargs)


def outputs(function: Callable[..., Any]) -> list[tuple[type[BaseModel], bool, bool]]:
    return [(o.model, o.many, o.optional) for o in read_signature(function).outputs]


# --- parameters -------------------------------------------------------------------------------


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
    (first,), _ = bind(signature, inputs, Context())
    first.n = 9
    (second,), _ = bind(signature, inputs, Context())
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


@pytest.mark.parametrize("hint", [int, str, dict[str, A], list[int], A | int, Callable[[], A]])
def test_a_parameter_that_nothing_can_fill_is_refused(hint: Any) -> None:
    def unfillable(a: Any) -> None:
        del a

    unfillable.__annotations__["a"] = hint
    with pytest.raises(DeclarationError, match=r"'a' of .*unfillable"):
        read_signature(unfillable)


def test_a_name_that_is_not_found_is_refused() -> None:
    def lost(a: Any) -> None:
        del a

    lost.__annotations__["a"] = "Nowhere"
    with pytest.raises(DeclarationError, match=r"'a' of .*lost .*'Nowhere'"):
        read_signature(lost)


def test_names_written_as_text_are_found_in_closure_and_sight() -> None:
    class Local(BaseModel):
        n: int = 1

    def near(a: "Local") -> object:
        return a

    def far(a: Any) -> object:
        return a

    far.__annotations__["a"] = "Distant"
    assert read_signature(near, {"Local": Local}).input_models == [Local]
    assert read_signature(far, {"Distant": Local}).input_models == [Local]


@pytest.mark.parametrize("thing", [None, 3, "name", A(), A, int])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(DeclarationError, match="takes a function"):
        read_signature(thing)


# --- kinds of functions -----------------------------------------------------------------------


async def is_async(a: A) -> B:
    return B(n=a.n)


def is_generator(a: A) -> Iterator[B]:
    yield B(n=a.n)


async def is_async_generator(a: A) -> AsyncIterator[B]:
    yield B(n=a.n)


class Holder:
    def method(self, a: A) -> B:
        return B(n=a.n)

    async def async_method(self, a: A) -> B:
        return B(n=a.n)

    @classmethod
    def class_method(cls, a: A) -> B:
        return B(n=a.n)

    @staticmethod
    def static_method(a: A) -> B:
        return B(n=a.n)


class Caller:
    def __call__(self, a: A) -> B:
        return B(n=a.n)


class AsyncCaller:
    async def __call__(self, a: A) -> B:
        return B(n=a.n)


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def wrapped_async(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def with_factor(factor: int, a: A) -> B:
    return B(n=a.n * factor)


async def async_with_factor(factor: int, a: A) -> B:
    return B(n=a.n * factor)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (with_factor.__get__(1), "sync"),
        (is_async, "async"),
        (is_generator, "generator"),
        (is_async_generator, "async generator"),
        (Holder().method, "sync"),
        (Holder().async_method, "async"),
        (Holder.class_method, "sync"),
        (Holder.static_method, "sync"),
        (Caller(), "sync"),
        (AsyncCaller(), "async"),
        (functools.partial(with_factor, 2), "sync"),
        (functools.partial(async_with_factor, 2), "async"),
        (functools.partial(Holder().async_method), "async"),
        (wrapped(is_async), "sync"),
        (wrapped_async(with_factor.__get__(1)), "async"),
        (wrapped(is_generator), "generator"),
        (functools.lru_cache(takes_model), "sync"),
    ],
)
def test_every_kind_of_callable_is_read(function: Callable[..., Any], kind: str) -> None:
    signature = read_signature(function)
    assert signature.kind == kind
    assert signature.input_models == [A]
    assert signature.streams is (kind in {"generator", "async generator"})


def test_a_builtin_without_annotations_gets_the_model() -> None:
    assert call(repr, A(n=1)) == repr(A(n=1))


def test_a_partial_is_called_with_the_rest() -> None:
    assert call(functools.partial(with_factor, 3), A(n=2)) == B(n=6)
    assert call(functools.partial(with_factor, factor=3), A(n=2)) == B(n=6)


# --- outputs ----------------------------------------------------------------------------------


def gives_one() -> A: ...
def gives_text() -> "A": ...
def gives_none() -> None: ...
def gives_optional() -> A | None: ...
def gives_either() -> A | B: ...
def gives_list() -> list[A]: ...
def gives_mixed() -> list[A | B]: ...
def gives_sequence() -> Sequence[A]: ...
def gives_several() -> tuple[A, ...]: ...
def gives_pair() -> tuple[A, B]: ...
def gives_twice() -> tuple[A, A]: ...
def gives_annotated() -> Annotated[A, 1]: ...
def gives_anything() -> Any: ...
def gives_result() -> EvalResult: ...
def gives_any_model() -> BaseModel: ...
def streams_sync() -> Iterator[A]:
    yield A()


def streams_generator() -> Generator[A, None, None]:
    yield A()


async def streams_async() -> AsyncGenerator[A, None]:
    yield A()


def streams_either() -> Iterator[A | B]:
    yield A()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (gives_one, [(A, False, False)]),
        (gives_text, [(A, False, False)]),
        (gives_annotated, [(A, False, False)]),
        (gives_optional, [(A, False, True)]),
        (gives_either, [(A, False, True), (B, False, True)]),
        (gives_list, [(A, True, False)]),
        (gives_sequence, [(A, True, False)]),
        (gives_several, [(A, True, False)]),
        (gives_mixed, [(A, True, False), (B, True, False)]),
        (gives_pair, [(A, False, False), (B, False, False)]),
        (streams_sync, [(A, True, False)]),
        (streams_generator, [(A, True, False)]),
        (streams_async, [(A, True, False)]),
        (streams_either, [(A, True, True), (B, True, True)]),
        (gives_none, []),
        (gives_anything, []),
        (gives_result, []),
        (gives_any_model, []),
        (takes_object, []),
    ],
)
def test_outputs_are_read_from_the_return_annotation(
    function: Callable[..., Any], expected: list[tuple[type[BaseModel], bool, bool]]
) -> None:
    assert outputs(function) == expected


def test_a_pair_of_one_type_is_several_of_it() -> None:
    assert [model for model, *_ in outputs(gives_twice)] == [A]
    assert read_signature(gives_twice).outputs[0].many


# --- answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (None, 0),
        (A(), 1),
        ([A(), B()], 2),
        ((A(), [B(), None, (C(),)]), 3),
        ([], 0),
        (EvalResult.from_objects(A(), B()), 2),
    ],
)
def test_models_are_taken_out_of_any_answer(answer: Any, count: int) -> None:
    assert len(yielded_models(answer)) == count


def test_artifacts_are_answers_too() -> None:
    made = artifact(A())
    assert yielded_models([made, A(n=1)]) == [made, A(n=1)]


@pytest.mark.parametrize("answer", [1, "text", {"type": "A"}, [A(), 3], True, A, b"x", iter([A()])])
def test_anything_else_is_no_answer(answer: Any) -> None:
    with pytest.raises(TypeError, match="no model"):
        yielded_models(answer)


def test_roles_are_those_of_the_docstring() -> None:
    def all_roles(
        ctx: Context,
        inputs: EvalInputs,
        a: A,
        bs: list[B],
        it: Artifact,
        its: list[Artifact],
        x: Any,
    ) -> None: ...

    signature: FunctionSignature = read_signature(all_roles)
    assert [p.role for p in signature.parameters] == [
        *(Role.CONTEXT, Role.INPUTS, Role.MODEL, Role.MODELS),
        *(Role.ARTIFACT, Role.ARTIFACTS, Role.ANYTHING),
    ]

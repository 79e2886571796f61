"""What a function takes, and what it yields, is read from what it is annotated with."""

import functools
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
    Sequence,
)
from typing import (
    Annotated,
    Any,
)

import pytest
from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.context import Context, EvalInputs, EvalResult
from flock.core.signature import FunctionSignature, Role, read_signature, yielded_models
from flock.errors import DeclarationError
from tests.unit.support import A, B, C, artifact


def takes_model(a: A) -> object:
    return a


def outputs(function: Callable[..., Any]) -> list[tuple[type[BaseModel], bool, bool]]:
    return [(o.model, o.many, o.optional) for o in read_signature(function).outputs]


# --- parameters -------------------------------------------------------------------------------


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
        (takes_model, []),
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

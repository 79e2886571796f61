"""What a function takes becomes a JSON schema, and what a model writes is checked against it."""

import functools
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from flock import Context, DeclarationError, flock_tool
from flock.tools.arguments import Arguments, Refused, parse_arguments


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Filter(BaseModel):
    color: Color
    tags: list[str] = Field(default=[], max_length=3)


def arguments(function: Any) -> Arguments:
    return Arguments("search", function)


def refusal(function: Any, given: dict[str, object]) -> str:
    with pytest.raises(Refused) as caught:
        arguments(function).bind(given, None)
    return str(caught.value)


def test_the_schema_says_what_signature_docstring_and_fields_say() -> None:
    def search(
        query: Annotated[str, Field(description="Words.", min_length=1)],
        where: Filter,
        limit: int = 10,
        order: Literal["up", "down"] = "up",
        page: int = Field(default=1, ge=1, description="From 1."),
    ) -> None:
        """Search.

        Args:
            query: Not this one: the field says it.
            where: What to leave out.
            limit: How many.
        """

    read = arguments(search)
    assert read.description == "Search."
    assert read.schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["query", "where"],
        "properties": {
            "query": {"type": "string", "minLength": 1, "description": "Words."},
            "where": {"$ref": "#/$defs/Filter", "description": "What to leave out."},
            "limit": {"type": "integer", "default": 10, "description": "How many."},
            "order": {"type": "string", "enum": ["up", "down"], "default": "up"},
            "page": {"type": "integer", "minimum": 1, "default": 1, "description": "From 1."},
        },
        "$defs": {
            "Color": {"type": "string", "enum": ["red", "blue"], "title": "Color"},
            "Filter": {
                "title": "Filter",
                "type": "object",
                "required": ["color"],
                "properties": {
                    "color": {"$ref": "#/$defs/Color"},
                    "tags": {
                        "type": "array",
                        "items": {"type": "string"},
                        "default": [],
                        "maxItems": 3,
                    },
                },
            },
        },
    }


def test_a_function_without_parameters_takes_an_empty_object() -> None:
    read = arguments(lambda: None)
    assert read.schema == {"type": "object", "properties": {}, "additionalProperties": False}
    assert read.bind({}, None) == ([], {}, {})


def test_arguments_arrive_as_the_annotations_say() -> None:
    def search(where: Filter, day: date, price: Decimal, limit: int, free: Any) -> None: ...

    _, by_name, read = arguments(search).bind(
        {
            "where": {"color": "red"},
            "day": "2026-02-03",
            "price": "1.10",
            "limit": "3",
            "free": {"a": [1]},
        },
        None,
    )
    assert by_name == {
        "where": Filter(color=Color.RED),
        "day": date(2026, 2, 3),
        "price": Decimal("1.10"),
        "limit": 3,
        "free": {"a": [1]},
    }
    assert read == {
        "where": {"color": "red", "tags": []},
        "day": "2026-02-03",
        "price": "1.10",
        "limit": 3,
        "free": {"a": [1]},
    }


def test_names_that_mean_something_to_pydantic_are_names_like_others() -> None:
    def search(schema: int, json: int, model_config: int, copy: int, _private: int) -> None: ...

    given: dict[str, object] = {
        "schema": 1, "json": 2, "model_config": 3, "copy": 4, "_private": 5,
    }  # fmt: skip
    read = arguments(search)
    assert read.bind(given, None) == ([], given, given)
    assert list(read.schema["properties"]) == list(given)


def test_what_is_left_out_keeps_the_default_of_the_function() -> None:
    marker = object()

    def search(
        query: str = "all", sink: object = marker, limit: int = Field(default=7)
    ) -> None: ...

    _, by_name, read = arguments(search).bind({}, None)
    assert by_name == {"limit": 7}
    assert read == {"query": "all", "limit": 7}  # the sink has no JSON
    assert "default" not in arguments(search).schema["properties"].get("sink", {})


def test_a_parameter_whose_type_has_no_json_keeps_its_default() -> None:
    class Client:
        pass

    def search(query: str, client: Client = Client()) -> None: ...  # noqa: B008

    assert list(arguments(search).schema["properties"]) == ["query"]
    assert "there is no such argument" in refusal(search, {"query": "x", "client": {}})


def test_a_context_is_given_by_the_run_and_not_by_the_model() -> None:
    def search(ctx: Context, query: str, again: Context | None = None) -> None: ...

    run = Context()
    read = arguments(search)
    assert list(read.schema["properties"]) == ["query"]
    assert read.bind({"query": "x"}, run)[1] == {"ctx": run, "again": run, "query": "x"}
    assert "there is no such argument" in refusal(search, {"query": "x", "ctx": {}})


def test_parameters_by_place_arrive_in_their_places() -> None:
    def search(
        first: int, ctx: Context, second: int = 2, third: int = 3, /, *, last: int
    ) -> None: ...

    run = Context()
    assert arguments(search).bind({"first": 1, "third": 30, "last": 4}, run) == (
        [1, run, 2, 30],
        {"last": 4},
        {"first": 1, "second": 2, "third": 30, "last": 4},
    )


def test_methods_partials_and_objects_are_read_like_functions() -> None:
    class Shop:
        def search(self, query: str) -> None:
            """Search the shop."""

        def __call__(self, number: int) -> None: ...

    def find(place: str, query: str) -> None: ...

    assert list(arguments(Shop().search).schema["properties"]) == ["query"]
    assert arguments(Shop().search).description == "Search the shop."
    assert list(arguments(Shop()).schema["properties"]) == ["number"]
    assert list(arguments(functools.partial(find, "here")).schema["properties"]) == ["query"]


def test_every_mistake_is_named_with_its_path() -> None:
    def search(query: str, where: Filter, limit: int = 3) -> None: ...

    words = refusal(
        search, {"where": {"color": "green", "tags": ["a", 5]}, "limit": "many", "wrong": 1}
    )
    assert "The arguments of 'search' are not valid" in words
    assert "- query: it is missing" in words
    assert "- where.color: Input should be 'red' or 'blue', not 'green'" in words
    assert "- where.tags[1]: Input should be a valid string, not 5" in words
    assert "- limit: Input should be a valid integer" in words
    assert "- wrong: there is no such argument; there are: 'query', 'where', 'limit'" in words
    assert "https://" not in words
    assert "argument_" not in words


def test_a_wrong_value_is_shown_in_short() -> None:
    def search(limit: int) -> None: ...

    assert len(refusal(search, {"limit": "x" * 100_000})) < 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": 1}),
        (" {} \n", {}),
        ("", {}),
        ("  ", {}),
        ("null", {}),
        ({"a": date(2026, 1, 2)}, {"a": "2026-01-02"}),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_arguments_are_one_json_object_or_none(text: Any, expected: dict[str, object]) -> None:
    assert parse_arguments(text) == expected


@pytest.mark.parametrize("text", ["{", '{"a": 1} x', "[1]", "3", '"text"', "{'a': 1}", "[" * 5000])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="JSON object"):
        parse_arguments(text)


def no_star(*args: int) -> None: ...
def no_stars(**options: int) -> None: ...


class Opaque:
    pass


def opaque(thing: Opaque) -> None: ...


class Shop:
    def method(self, query: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (no_star, r"\*args.*take a list"),
        (no_stars, r"\*\*options.*take a dict"),
        (opaque, "'thing'.*cannot write as JSON"),
        (Shop.method, "a method without its object"),
    ],
)
def test_what_a_model_cannot_fill_is_refused(function: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        arguments(function)


def test_annotations_written_as_text_are_found_where_the_function_is_decorated() -> None:
    class Local(BaseModel):
        n: int

    def search(it: "Local") -> int:
        return it.n

    made = flock_tool(search)
    assert made.parameters["properties"] == {"it": {"$ref": "#/$defs/Local"}}


def test_a_name_that_is_nowhere_is_named() -> None:
    def search(it: "Nowhere") -> None: ...  # pyright: ignore  # noqa: F821, PGH003

    with pytest.raises(DeclarationError, match=r"'it'.*'Nowhere'.*import it at run time"):
        _ = flock_tool(search).parameters  # pyright: ignore[reportUnknownArgumentType]

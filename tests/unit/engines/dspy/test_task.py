"""A task: names, schema, and answers read."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import dspy
import pytest
from pydantic import BaseModel, Field, create_model

from flock.core.outputs import OutputGroup, OutputSpec
from flock.core.types import registry
from flock.engines.dspy.sample import sample
from flock.engines.dspy.signature import signature_of
from flock.engines.dspy.task import _RESERVED, BadAnswer, Task, name_of
from flock.errors import EngineError
from tests.integration.engines.schemas import EVERY, Address, Aliased, Asked
from tests.unit.engines.dspy.json_schemas import satisfies
from tests.unit.support import artifact


class Money(BaseModel):
    amount: Decimal


class Price(BaseModel):
    """What it costs."""

    value: int = Field(ge=0)


def task_of(
    *models: type[BaseModel], minimum: int = 1, maximum: int | None = 1, **rest: Any
) -> Task:
    specs = tuple(OutputSpec(registry.entry(model), minimum, maximum) for model in models)
    return Task.of(OutputGroup(specs), [(registry.entry(Asked), False)], **rest)


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.__name__)
def test_a_schema_is_valid_closed_and_takes_what_the_type_takes(model: type[BaseModel]) -> None:
    task = task_of(model)
    [output] = task.outputs
    dumped = json.loads(sample(model).model_dump_json(by_alias=True, exclude_computed_fields=True))
    text = json.dumps({output.name: dumped})
    assert satisfies(task.schema, json.loads(text)) or model is Aliased
    assert [type(found) for found in task.read(text)] == [model]
    for schema in [task.schema, *task.schema.get("$defs", {}).values()]:
        assert "properties" not in schema or "additionalProperties" in schema


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.__name__)
def test_every_type_makes_a_dspy_signature(model: type[BaseModel]) -> None:
    signature = signature_of(task_of(model, instructions="Do it."))
    assert list(signature.input_fields) == ["asked"]
    assert len(signature.output_fields) == 1
    assert signature.instructions == "Do it."


def test_counts_stand_in_the_schema() -> None:
    schema = task_of(Price, minimum=2, maximum=5).schema
    prices = schema["properties"]["price"]
    assert (prices["type"], prices["minItems"], prices["maxItems"]) == ("array", 2, 5)
    assert "maxItems" not in task_of(Price, minimum=0, maximum=None).schema["properties"]["price"]


def test_an_output_that_may_be_missing_may_be_null() -> None:
    task = task_of(Price, minimum=0)
    assert task.read('{"price": null}') == []
    assert task.read("{}") == []
    assert satisfies(task.schema, {"price": None})


def test_types_of_one_name_get_names_of_their_own() -> None:
    other = create_model("Price", __module__="elsewhere", value=(str, ...))
    task = task_of(Price, other)
    assert [output.name for output in task.outputs] == ["price", "price_2"]
    first, second = task.read('{"price": {"value": 1}, "price_2": {"value": "one"}}')
    assert (type(first), type(second)) == (Price, other)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("BugReport", "bug_report"),
        ("HTTPError", "http_error"),
        ("Schema", "the_schema"),
        ("Import", "the_import"),
        ("Box[int]", "box_int"),
        ("Étage", "étage"),
    ],
)
def test_names_are_identifiers_that_shadow_nothing(name: str, key: str) -> None:
    model = create_model(name, __module__=f"names_{len(name)}", x=(int, 1))
    assert name_of(registry.entry(model), set()) == key


def test_no_name_of_a_dspy_signature_is_left_out() -> None:
    taken = {n for n in {*dir(dspy.Signature), *dir(type(dspy.Signature))} if n[0] != "_"}
    assert taken <= _RESERVED


def test_decimals_keep_all_their_digits() -> None:
    [money] = task_of(Money).read('{"money": {"amount": "1.100000000000000000001"}}')
    assert money == Money(amount=Decimal("1.100000000000000000001"))


def test_aliases_and_names_are_both_read() -> None:
    task = task_of(Aliased)
    for text in (
        '{"givenName": "A", "familyName": "B", "years": 3}',
        '{"givenName": "A", "surname": "B", "years": 3}',
        '{"given_name": "A", "family": "B", "age": 3}',
    ):
        [found] = task.read(f'{{"aliased": {text}}}')
        assert found.model_dump() == {"given_name": "A", "family": "B", "age": 3}


def test_reasons_name_the_place_and_what_stands_there_bounded() -> None:
    bad = {"price": [{"value": -1}, {"value": "x" * 1000}, {}]}
    with pytest.raises(BadAnswer) as failure:
        task_of(Price, minimum=0, maximum=None).read(json.dumps(bad))
    low, wrong, missing = failure.value.reasons
    assert low == "price[0].value: Input should be greater than or equal to 0 (got -1)"
    assert wrong.startswith("price[1].value: Input should be a valid integer")
    assert len(wrong) < 300
    assert missing == "price[2].value: Field required"


def test_no_more_than_twenty_reasons_are_told() -> None:
    bad = json.dumps({"price": [{}] * 100})
    with pytest.raises(BadAnswer) as failure:
        task_of(Price, minimum=0, maximum=None).read(bad)
    assert len(failure.value.reasons) == 21
    assert failure.value.reasons[-1] == "and 80 more"


def test_a_type_without_a_schema_is_named() -> None:
    class Odd:
        pass

    model = create_model("Oddity", __config__={"arbitrary_types_allowed": True}, odd=(Odd, ...))
    with pytest.raises(EngineError, match=r"Oddity.*has no JSON Schema.*WithJsonSchema"):
        _ = task_of(model).schema


def test_inputs_are_told_as_json_one_by_one_or_as_lists() -> None:
    entry = registry.entry(Address)
    group = OutputGroup((OutputSpec(registry.entry(Price)),))
    one = artifact(Address(street="Via 1", city='"Rome"'))
    two = artifact(Address(street="Via 2", city="Oslo"))
    assert Task.of(group, [(entry, False)]).value_texts([one]) == {
        "address": '{"street":"Via 1","city":"\\"Rome\\""}'
    }
    listed = Task.of(group, [(entry, True)], reads_history=True).value_texts([one, two], [two])
    assert [item["city"] for item in json.loads(listed["address"])] == ['"Rome"', "Oslo"]
    [remembered] = json.loads(listed["history"])
    assert remembered["type"] == "Address"
    assert remembered["content"]["city"] == "Oslo"


def test_a_sole_output_that_may_be_missing_is_not_lost_where_its_key_is() -> None:
    task = task_of(Price, minimum=0)
    assert task.read('{"value": 3}') == [Price(value=3)]
    with pytest.raises(BadAnswer, match=r"price\.value: Field required"):
        task.read('{"valeu": 3}')


class Pet(BaseModel):
    pet: Price


def test_a_sole_output_may_come_without_its_key_where_a_field_has_that_name() -> None:
    task = task_of(Pet)
    assert task.read('{"pet": {"value": 1}}') == [Pet(pet=Price(value=1))]
    assert task.read('{"pet": {"pet": {"value": 1}}}') == [Pet(pet=Price(value=1))]

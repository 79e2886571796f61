"""Flock's own way of asking as a DSPy adapter, for DSPy's modules and optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import to_json

from flock.engines.dspy.loading import load_dspy
from flock.engines.dspy.task import BadAnswer

if TYPE_CHECKING:
    import dspy

    from flock.engines.dspy.signature import Form


def adapter_of(form: Form) -> dspy.Adapter:
    """Return the DSPy adapter that makes the messages of a form and reads its answers.

    A DSPy module with the form's signature (`dspy.Predict(form.signature)`) asks with it as the
    engine does; instructions and examples that an optimizer found are used.
    """
    made: dspy.Adapter = _adapter_class()(form)
    return made


@cache
def _adapter_class() -> Any:  # noqa: ANN401 - a class that exists only once DSPy is imported
    dspy: Any = load_dspy()
    exceptions: Any = import_module("dspy.utils.exceptions")

    class TaskAdapter(dspy.Adapter):
        """Asks for one JSON object."""

        def __init__(self, form: Form) -> None:
            dspy.Adapter.__init__(self)
            self._form = form

        def format(
            self,
            signature: type[dspy.Signature],
            demos: Sequence[Mapping[str, Any]],
            inputs: Mapping[str, Any],
        ) -> list[dict[str, Any]]:
            form = self._form
            examples = [
                (_texts(signature.input_fields, demo), _text(_part(signature.output_fields, demo)))
                for demo in demos
            ]
            return form.conversation(
                _texts(signature.input_fields, inputs),
                examples=examples,
                instructions=signature.instructions,
            )

        def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
            task = self._form.task
            try:
                models = iter(task.read(completion))
            except BadAnswer as bad:
                raise exceptions.AdapterParseError(
                    adapter_name="Flock",
                    signature=signature,
                    lm_response=completion,
                    message=str(bad),
                ) from None
            return task.by_name(models)

    return TaskAdapter


def _part(fields: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in fields if name in values}


def _texts(fields: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in _part(fields, values).items()}


def _text(value: object) -> str:
    """Return a value of an example or an input as JSON; a text that was JSON already stays."""
    if isinstance(value, str):
        return value
    if isinstance(value, BaseModel):
        return value.__pydantic_serializer__.to_json(value, warnings=False).decode()
    return to_json(value, by_alias=True, fallback=str).decode()

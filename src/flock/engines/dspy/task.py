"""What a model has to fill: named inputs, named outputs, their schema, and answers read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from keyword import iskeyword
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PydanticUserError,
    ValidationError,
    create_model,
)
from pydantic_core import from_json, to_json

from flock.engines.dspy.answer_schema import AnswerSchema
from flock.engines.dspy.json_schema import JsonSchema, closed
from flock.errors import EngineError

if TYPE_CHECKING:
    from flock.core.artifacts import Artifact
    from flock.core.outputs import OutputGroup, OutputSpec
    from flock.core.types import TypeEntry

Dump: TypeAlias = Callable[[BaseModel], str]
"""Writes a model as JSON."""

HISTORY: Final = "history"
"""Name of the input that holds what lay on the board before."""

MAX_REASONS: Final = 20
"""Of how many mistakes in one answer the model is told."""

_RESERVED: Final = frozenset(dir(BaseModel)) | {
    "append",
    "append_instructions",
    "delete",
    "dump_state",
    "equals",
    "fields",
    "input_fields",
    "insert",
    "instructions",
    "load_state",
    "mro",
    "output_fields",
    "prepend",
    "register",
    "signature",
    "tool_calls",
    "with_instructions",
    "with_updated_fields",
}
"""Names that no field of a DSPy signature may have, and the key of wishes to call tools."""

_SHOWN: Final = 120
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_THOUGHT: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE: Final = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL)


class BadAnswer(Exception):
    """An answer that is not what was asked for.

    Attributes:
        reasons: What is wrong, a line each, as the model is told.
    """

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class TaskInput:
    """One input: all artifacts of a type.

    Attributes:
        name: Its key, a Python identifier.
        entry: The type.
        is_list: Whether there may be more than one.
    """

    name: str
    entry: TypeEntry
    is_list: bool

    def text(self, artifacts: Iterable[Artifact], dump: Dump) -> str:
        """Return the value for a model to read: JSON by field names, computed fields included."""
        name = self.entry.name
        values = [dump(a.take(self.entry)) for a in artifacts if a.entry.name == name]
        return f"[{', '.join(values)}]" if self.is_list else "".join(values[:1])


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """One output: the artifacts of a type.

    Attributes:
        name: Its key in the answer, a Python identifier.
        spec: The type and how many of it.
    """

    name: str
    spec: OutputSpec

    @property
    def is_optional(self) -> bool:
        """Whether it is one that may be left out."""
        return self.spec.minimum == 0 and not self.spec.is_list

    @property
    def annotation(self) -> Any:  # noqa: ANN401 - whatever the value has to be
        """The type of the value, with its count."""
        model = self.spec.model
        if self.spec.is_list:
            bounds = Field(min_length=self.spec.minimum, max_length=self.spec.maximum)
            many = Annotated[list[model], bounds]
            return Annotated[many, BeforeValidator(_none)] if not self.spec.minimum else many
        return model | None if self.is_optional else model

    def allows(self, count: int) -> bool:
        """Return whether there may be so many."""
        high = self.spec.maximum
        return self.spec.minimum <= count and (high is None or count <= high)

    @property
    def count(self) -> str:
        """How many there have to be, in words."""
        low, high = self.spec.minimum, self.spec.maximum
        if not self.spec.is_list:
            return "null if there is nothing to say" if self.is_optional else ""
        if high is None:
            return f"at least {low} of them" if low else "any number of them, also none"
        return f"exactly {low} of them" if low == high else f"{low} to {high} of them"


@dataclass(frozen=True)
class Task:
    """What one model call has to answer, made of the types of an agent's output group.

    Attributes:
        inputs: What it is given.
        outputs: What it is asked for.
        reads_history: Whether it is given what lay on the board before, as a further input.
        instructions: What to do, in the words of the agent's author.
    """

    inputs: tuple[TaskInput, ...]
    outputs: tuple[TaskOutput, ...]
    reads_history: bool = False
    instructions: str = ""
    _takes_bare: bool = field(default=False, repr=False)

    @classmethod
    def of(
        cls,
        group: OutputGroup,
        inputs: Sequence[tuple[TypeEntry, bool]],
        *,
        reads_history: bool = False,
        instructions: str = "",
    ) -> Task:
        """Make the task of an output group.

        Args:
            group: What the agent publishes.
            inputs: The types of the inputs in order, and of which there may be several.
            reads_history: Whether the history is a further input.
            instructions: What to do.
        """
        taken = {HISTORY} if reads_history else set[str]()
        named = tuple(TaskInput(name_of(e, taken), e, is_list) for e, is_list in inputs)
        outputs = tuple(TaskOutput(name_of(spec.entry, taken), spec) for spec in group.outputs)
        return cls(named, outputs, reads_history, instructions, len(outputs) == 1)

    @cached_property
    def _answer(self) -> type[BaseModel]:
        """The model of the whole answer. Aliases carry the names: any name is a good one."""
        fields: dict[str, Any] = {}
        for number, output in enumerate(self.outputs):
            model = output.spec.model
            if not model.__pydantic_complete__:
                model.model_rebuild()
            default = None if output.is_optional else ...
            about = " ".join(filter(None, [purpose(model), output.count.capitalize()]))
            fields[f"output_{number}"] = (
                output.annotation,
                Field(default, alias=output.name, description=about or None),
            )
        config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
        return create_model("Answer", __config__=config, **fields)

    @cached_property
    def schema(self) -> JsonSchema:
        """JSON Schema of the answer, by aliases: closed, with the counts and all constraints.

        Raises:
            EngineError: A type has no JSON Schema.
        """
        try:
            schema = closed(self._answer.model_json_schema(schema_generator=AnswerSchema))
        except PydanticUserError as error:
            names = ", ".join(repr(output.spec.entry.name) for output in self.outputs)
            msg = (
                f"no model can fill {names}, which has no JSON Schema: {error.message}; give the "
                "field a type that JSON can carry, a default and `exclude`, or annotate it with "
                "pydantic.WithJsonSchema"
            )
            raise EngineError(msg) from error
        schema["required"] = [output.name for output in self.outputs]
        return schema

    def value_texts(
        self,
        artifacts: Sequence[Artifact],
        history: Sequence[Artifact] = (),
        dump: Dump | None = None,
    ) -> dict[str, str]:
        """Return the inputs for a model to read, by name."""
        dump = dump or dumped
        values = {part.name: part.text(artifacts, dump) for part in self.inputs}
        if self.reads_history:
            values[HISTORY] = f"[{', '.join(_remembered(each, dump) for each in history)}]"
        return values

    def read(self, text: str) -> list[BaseModel]:
        """Return the outputs that an answer holds, in the order they were declared.

        The answer may stand in a code fence, after a `<think>` block or between other words,
        and a sole output may come without its key.

        Raises:
            BadAnswer: It does not hold them.
        """
        first: ValidationError | None = None
        for candidate in _candidates(text):
            try:
                return self._values(candidate)
            except ValidationError as error:
                if first is None or _is_no_json(first):
                    first = error
                if not _is_no_json(error):
                    break
        assert first is not None
        raise BadAnswer(*self._reasons(first)) from None

    def by_name(self, models: Iterable[BaseModel]) -> dict[str, Any]:
        """Return outputs by the names of the answer, as lists where there may be several."""
        found: dict[str, Any] = {
            output.name: [] if output.spec.is_list else None for output in self.outputs
        }
        names = {output.spec.model: output for output in self.outputs}
        for model in models:
            output = names[type(model)]
            if output.spec.is_list:
                found[output.name].append(model)
            else:
                found[output.name] = model
        return found

    def _values(self, text: str) -> list[BaseModel]:
        try:
            made = self._validated(text)
        except ValidationError as error:
            if not self._takes_bare or not self._may_be_bare(error):
                raise
            try:
                made = self._validated(self._keyed(text))
            except ValidationError:
                raise error from None
        else:
            # One that may be left out is not left out by an answer that holds something else.
            if self._takes_bare and not made.model_fields_set and from_json(text):
                made = self._validated(self._keyed(text))
        return self.flat([getattr(made, name) for name in type(made).model_fields])

    def _validated(self, text: str) -> BaseModel:
        return self._answer.model_validate_json(text, by_alias=True, by_name=True)

    def _keyed(self, text: str) -> str:
        """Return the answer for a sole output that came without its key."""
        return f'{{"{self.outputs[0].name}": {text}}}'

    def _may_be_bare(self, error: ValidationError) -> bool:
        """Whether an answer may be the sole output itself: its key is missing, or a field's."""
        output = self.outputs[0]
        return _lacks(error, output.name) or output.name in output.spec.model.model_fields

    def flat(self, values: Iterable[object]) -> list[BaseModel]:
        """Return the models of the outputs' values: of lists and of single ones."""
        found: list[BaseModel] = []
        for value in values:
            if isinstance(value, list):
                found.extend(cast("list[BaseModel]", value))
            elif isinstance(value, BaseModel):
                found.append(value)
        return found

    def _reasons(self, error: ValidationError) -> list[str]:
        errors = error.errors(include_url=False)
        reasons: list[str] = []
        for problem in errors[:MAX_REASONS]:
            place = _place(problem["loc"])
            got = repr(problem["input"])
            got = got if len(got) <= _SHOWN else f"{got[: _SHOWN - 3]}..."
            seen = "" if problem["type"] in {"missing", "json_invalid"} else f" (got {got})"
            reasons.append(f"{place}: {problem['msg']}{seen}" if place else problem["msg"])
        if len(errors) > MAX_REASONS:
            reasons.append(f"and {len(errors) - MAX_REASONS} more")
        return reasons


def _none(value: object) -> object:
    """Return the empty list for what models also write for it."""
    return [] if value is None else value


def purpose(model: type[BaseModel]) -> str:
    """Return what the author of a model class wrote about it: its docstring, if it has one."""
    return inspect.cleandoc(model.__dict__.get("__doc__") or "").strip()


def layout(artifacts: Iterable[Artifact], repeated: Iterable[str]) -> list[tuple[str, bool]]:
    """Return which types inputs are of, in order, and which of them come as lists.

    Args:
        artifacts: The inputs of a run.
        repeated: Names of the types that may always come more than once.
    """
    always = set(repeated)
    counts: dict[str, int] = {}
    for artifact in artifacts:
        counts[artifact.entry.name] = counts.get(artifact.entry.name, 0) + 1
    return [(name, count > 1 or name in always) for name, count in counts.items()]


def name_of(entry: TypeEntry, taken: set[str]) -> str:
    """Return a name for a type that is not taken: its class's, in small letters."""
    words = _HUMP.sub("_", entry.cls.__name__).lower()
    base = re.sub(r"\W+", "_", words).strip("_") or "value"
    if base[0].isdigit():
        base = f"value_{base}"
    if base in _RESERVED or iskeyword(base):
        base = f"the_{base}"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    taken.add(name)
    return name


def dumped(model: BaseModel) -> str:
    """Return a model's JSON for a language model to read, computed fields included."""
    return model.__pydantic_serializer__.to_json(model, warnings=False).decode()


def _remembered(artifact: Artifact, dump: Dump) -> str:
    """Return an earlier artifact as JSON: its type, who made it, and its content."""
    entry = artifact.entry
    kind, by = to_json(entry.cls.__name__).decode(), to_json(artifact.produced_by).decode()
    return f'{{"type": {kind}, "by": {by}, "content": {dump(artifact.take(entry))}}}'


def _candidates(text: str) -> list[str]:
    """Return what may be the JSON of an answer, the likeliest first."""
    whole = _THOUGHT.sub("", text).strip()
    found = [whole]
    found.extend(fenced.strip() for fenced in _FENCE.findall(whole))
    for opening, closing in ("{}", "[]"):
        start, end = whole.find(opening), whole.rfind(closing)
        if 0 <= start < end:
            found.append(whole[start : end + 1])
    return list(dict.fromkeys(found))


def _is_no_json(error: ValidationError) -> bool:
    return any(e["type"] == "json_invalid" for e in error.errors(include_url=False))


def _lacks(error: ValidationError, name: str) -> bool:
    """Whether the answer has no key of that name: it may be the value itself."""
    return any(
        e["loc"] in {(), (name,)} and e["type"] in {"missing", "model_type"}
        for e in error.errors(include_url=False)
    )


def _place(location: tuple[int | str, ...]) -> str:
    """Return where in the answer something is: `report.items[2].price`."""
    place = ""
    for step in location:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else step
    return place

"""A prompt that was tuned: a file of JSON, checked against its agent, which holds no code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flock.core.artifacts import Artifact
from flock.core.types import registry
from flock.engines.dspy.json_schema import JsonSchema, closed, rewritten
from flock.errors import FlockError, TuningError

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.outputs import OutputGroup
    from flock.core.types import TypeEntry

FORMAT: Final = 1
"""The version of the file; raised when older versions of Flock could misread it."""

MAX_BYTES: Final = 4_000_000
"""How large a file may be: far more than any model reads."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Content(_Part):
    """One artifact's content.

    Attributes:
        type: Stable name of its type.
        version: Version of the type that the payload was written in.
        payload: The content by field names.
    """

    type: str
    version: int = Field(ge=1)
    payload: dict[str, Any]

    @classmethod
    def of(cls, artifact: Artifact) -> Content:
        """Return the content of an artifact."""
        return cls(type=artifact.type, version=artifact.version, payload=artifact.payload)

    @classmethod
    def of_model(cls, model: BaseModel) -> Content:
        """Return a model as content."""
        return cls.of(Artifact.of(model))

    def model(self) -> BaseModel:
        """Return the content as a new instance of its class.

        Raises:
            TypeRegistryError: No class goes by that type name.
            UpcastError: It does not fit the class, and has no way up to its version.
        """
        entry = registry.resolve(self.type)
        return entry.load(json.dumps(self.payload).encode(), self.version)

    def artifact(self) -> Artifact:
        """Return the content as an artifact that is on no board."""
        return Artifact.of(self.model())


class PromptExample(_Part):
    """What the model is shown as done right.

    Attributes:
        inputs: What was given.
        outputs: What was right to answer.
    """

    inputs: tuple[Content, ...]
    outputs: tuple[Content, ...]


class TypeShape(_Part):
    """A type as it was when the prompt was tuned.

    Attributes:
        name: Its stable name.
        version: Its version.
        shape: A digest of its fields, their types and constraints; descriptions do not count.
    """

    name: str
    version: int
    shape: str

    @classmethod
    def of(cls, entry: TypeEntry) -> TypeShape:
        """Return the shape of a type."""
        schema = rewritten(closed(entry.cls.model_json_schema()), _undescribed)
        text = json.dumps(schema, sort_keys=True, ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return cls(name=entry.name, version=entry.version, shape=digest)


class Provenance(_Part):
    """Where a tuned prompt comes from.

    Attributes:
        made: When, in UTC.
        flock: By which version of Flock.
        model: The model that it was tuned for.
        metric: What was measured.
        how: What was changed: the examples, the instructions, or both.
        seed: What the choices and the split were drawn with.
        examples: How many past runs there were in all.
        train: From how many of them it was made.
        validation: With how many the candidates were compared.
        held_out: On how many that nothing was chosen by it was measured.
        before: Mean score on those, with the prompt as it was; None if that was not measured.
        after: The same with the tuned prompt.
        validation_before: Mean score on the validation part, as it was.
        validation_after: The same with the tuned prompt.
        calls: How many model calls that took.
    """

    made: datetime
    flock: str
    model: str
    metric: str
    how: str
    seed: int
    examples: int
    train: int
    validation: int
    held_out: int
    before: float | None
    after: float | None
    validation_before: float
    validation_after: float
    calls: int


class TunedPrompt(_Part):
    """Instructions and examples that were found to help an agent. `DSPyEngine(tuned=...)` uses it.

    Attributes:
        kind: Tells the file from others.
        schema_version: The version of the file's form, `schema` in JSON.
        agent: Name of the agent that it was tuned for.
        inputs: The types that the agent consumed.
        outputs: The types that it published.
        instructions: What to do, instead of the agent's description and the engine's
            instructions; None to keep those.
        examples: What the model is shown as done right, in this order.
        provenance: Where it comes from; None for one written by hand.
    """

    kind: Literal["flock.tuned-prompt"] = "flock.tuned-prompt"
    schema_version: Literal[1] = Field(default=FORMAT, alias="schema")
    agent: str
    inputs: tuple[TypeShape, ...]
    outputs: tuple[TypeShape, ...]
    instructions: str | None = None
    examples: tuple[PromptExample, ...] = ()
    provenance: Provenance | None = None

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)

    @classmethod
    def for_agent(
        cls,
        agent: Agent,
        *,
        instructions: str | None = None,
        examples: Iterable[PromptExample] = (),
    ) -> TunedPrompt:
        """Make a prompt for an agent, with its types as they are."""
        return cls(
            agent=agent.name,
            inputs=_shapes(_consumed(agent)),
            outputs=_shapes(_published(agent)),
            instructions=instructions,
            examples=tuple(examples),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TunedPrompt:
        """Read a file. It is parsed as JSON and validated; nothing in it is executed.

        Raises:
            TuningError: There is none, or it is too large, newer than this version of Flock,
                or no tuned prompt.
        """
        name = str(path)
        try:
            with Path(path).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            msg = (
                f"the tuned prompt {name!r} cannot be read: {error.strerror or error}; make one "
                "with `flock tune`, or leave `tuned` out"
            )
            raise TuningError(msg) from error
        if len(data) > MAX_BYTES:
            msg = (
                f"the tuned prompt {name!r} is larger than {MAX_BYTES:,} bytes, more than a model "
                "could read; tune again with fewer examples"
            )
            raise TuningError(msg)
        return cls._parsed(name, data)

    @classmethod
    def _parsed(cls, name: str, data: bytes) -> TunedPrompt:
        try:
            raw: Any = json.loads(data)
        except (ValueError, RecursionError) as error:
            msg = f"the tuned prompt {name!r} is no JSON ({error}); tune again"
            raise TuningError(msg) from error
        version = cast("dict[str, Any]", raw).get("schema") if isinstance(raw, dict) else None
        if type(version) is int and version > FORMAT:
            msg = (
                f"the tuned prompt {name!r} has schema {version}, and this version of Flock reads "
                f"up to {FORMAT}; update Flock, or tune again with this one"
            )
            raise TuningError(msg)
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            places = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}"
                for e in error.errors(include_url=False, include_input=False)[:5]
            )
            msg = f"{name!r} is no tuned prompt of Flock: {places}; tune again"
            raise TuningError(msg) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file: whole, or not at all; one that is there is replaced.

        Raises:
            TuningError: It cannot be written.
        """
        target = Path(path)
        text = self.model_dump_json(indent=2, by_alias=True) + "\n"
        try:
            draft = target.with_name(f".{target.name}.{uuid4().hex}")
            try:
                with draft.open("x", encoding="utf-8") as file:
                    file.write(text)
                if target.exists():
                    shutil.copymode(target, draft)
                draft.replace(target)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            msg = f"the tuned prompt cannot be written to {str(path)!r}: {error.strerror or error}"
            raise TuningError(msg) from error

    def check(self, agent: Agent) -> None:
        """Make sure that the prompt is for this agent as it is declared now.

        Raises:
            TuningError: It is another's, its types changed, or an example does not fit them.
        """
        remedy = f"tune again: flock tune {agent.name}"
        if self.agent != agent.name:
            msg = (
                f"the tuned prompt is for agent {self.agent!r}, not for {agent.name!r}; name the "
                f"file of this agent, or {remedy}"
            )
            raise TuningError(msg)
        for verb, then, now in (
            ("consumes", self.inputs, _shapes(_consumed(agent))),
            ("publishes", self.outputs, _shapes(_published(agent))),
        ):
            if changes := _changes(then, now):
                msg = (
                    f"agent {agent.name!r} {verb} other types than when its prompt was tuned: "
                    f"{'; '.join(changes)}; {remedy}"
                )
                raise TuningError(msg)
        for number, example in enumerate(self.examples, start=1):
            try:
                _check_contents(example.inputs, self.inputs, "given")
                _check_contents(example.outputs, self.outputs, "answered")
            except (FlockError, ValueError) as error:
                msg = (
                    f"example {number} of the tuned prompt of agent {agent.name!r} is not valid: "
                    f"{error}; correct the file, or {remedy}"
                )
                raise TuningError(msg) from error


def _check_contents(contents: Iterable[Content], shapes: Sequence[TypeShape], what: str) -> None:
    """Make sure that an example holds what the agent knows; what it does not is never shown.

    Raises:
        ValueError: There is nothing, or something of another type.
        FlockError: It does not fit its type.
    """
    known = {shape.name for shape in shapes}
    names = [registry.entry(type(content.model())).current.name for content in contents]
    if not names:
        msg = f"nothing is {what}"
        raise ValueError(msg)
    others = sorted({name for name in names if known and name not in known})
    if others:
        msg = f"it is {what} {', '.join(map(repr, others))}, and may be {', '.join(sorted(known))}"
        raise ValueError(msg)


def only_group(agent: Agent) -> OutputGroup:
    """Return the one output group of an agent.

    Raises:
        TuningError: It has none, or several.
    """
    groups = [group for group in agent.output_groups if group.outputs]
    if len(groups) != 1:
        msg = (
            f"agent {agent.name!r} has {len(groups)} output groups, and one prompt can be tuned at "
            "a time; declare all its types in one publishes(), or split it into several agents"
        )
        raise TuningError(msg)
    return groups[0]


def _consumed(agent: Agent) -> list[TypeEntry]:
    return [entry for subscription in agent.subscriptions for entry in subscription.types]


def _published(agent: Agent) -> list[TypeEntry]:
    return [spec.entry for group in agent.output_groups for spec in group.outputs]


def _shapes(entries: Iterable[TypeEntry]) -> tuple[TypeShape, ...]:
    unique = {entry.current.name: entry.current for entry in entries}
    return tuple(TypeShape.of(unique[name]) for name in sorted(unique))


def _changes(then: Iterable[TypeShape], now: Iterable[TypeShape]) -> list[str]:
    old, new = {t.name: t for t in then}, {t.name: t for t in now}
    changes = [f"{name!r} is gone" for name in old if name not in new]
    changes += [f"{name!r} is new" for name in new if name not in old]
    for name in old.keys() & new.keys():
        if old[name].version != new[name].version:
            changes.append(
                f"{name!r} had version {old[name].version} and has {new[name].version} now"
            )
        elif old[name].shape != new[name].shape:
            changes.append(f"the fields of {name!r} are others")
    return sorted(changes)


def _undescribed(part: JsonSchema) -> JsonSchema:
    for key in ("description", "title", "examples"):
        part.pop(key, None)
    return part

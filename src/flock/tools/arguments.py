"""The arguments of a tool: their JSON schema, and their check in words that a model understands."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import (
    PydanticSerializationError,
    PydanticUndefined,
    from_json,
    to_json,
    to_jsonable_python,
)

from flock.core.context import Context
from flock.core.hints import read_hints
from flock.errors import DeclarationError
from flock.tools.docstring import read_docstring

if TYPE_CHECKING:
    from types import FrameType

    from pydantic_core import CoreSchema, ErrorDetails

_EMPTY: Final = inspect.Parameter.empty
_SHOWN: Final = 80
"""Characters of a wrong value that are shown to the model."""


class Refused(Exception):
    """A call that is not made. The message is for the model."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter of the function that a model fills.

    Attributes:
        name: Its name in the function and in the schema.
        field: Its name in the model that checks it.
        is_positional: Whether it can only be passed by its place.
        default: What the function takes without it.
        is_field: Whether the default is a Pydantic `Field`, whose default counts.
    """

    name: str
    field: str
    is_positional: bool
    default: object
    is_field: bool


class Bound(NamedTuple):
    """The checked arguments of one call.

    Attributes:
        args: Those passed by place.
        kwargs: Those passed by name.
        read: What the function gets, as JSON: `true` where the model wrote `"yes"`, and the default
            where it wrote nothing. What has no JSON is as the model wrote it, or left out.
    """

    args: list[Any]
    kwargs: dict[str, Any]
    read: dict[str, Any]


class Arguments:
    """What a function takes from a model, read from its signature and docstring.

    Attributes:
        description: What the docstring says the function does.
        schema: JSON Schema of the object of arguments.
    """

    def __init__(
        self,
        tool: str,
        function: Callable[..., Any],
        frame: FrameType | None = None,
    ) -> None:
        """Read a function.

        Args:
            tool: Names the tool in errors.
            function: The function, method, partial or callable object.
            frame: The call under way in which names of annotations may be found.

        Raises:
            DeclarationError: A parameter cannot be filled from JSON.
        """
        self._tool = tool
        self.description, about = read_docstring(inspect.getdoc(function))
        hints = read_hints(function, {}, frame)
        self._arguments: list[Argument] = []
        self._contexts: list[tuple[str, bool]] = []
        fields: dict[str, Any] = {}
        for parameter in _parameters(tool, function):
            hint = hints.get(parameter.name, parameter.annotation)
            if isinstance(hint, str):
                msg = (
                    f"tool {tool!r}: parameter {parameter.name!r} is annotated with {hint!r}, and "
                    "no such name was found; import it at run time, not only for type checking"
                )
                raise DeclarationError(msg)
            if _is_context(hint):
                is_positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
                self._contexts.append((parameter.name, is_positional))
                continue
            argument = Argument(
                parameter.name,
                f"argument_{len(fields)}",
                parameter.kind is inspect.Parameter.POSITIONAL_ONLY,
                parameter.default,
                isinstance(parameter.default, FieldInfo),
            )
            field = _field(hint, parameter, about.get(parameter.name))
            trial = _try_model(tool, {argument.field: field})
            if isinstance(trial, Exception):
                if parameter.default is not _EMPTY:
                    continue  # the model leaves it at its default
                msg = (
                    f"tool {tool!r}: parameter {parameter.name!r} is annotated with {hint!r}, "
                    "which a model cannot write as JSON; take a type that Pydantic knows, a "
                    f"Context, or give it a default ({_first_line(trial)})"
                )
                raise DeclarationError(msg)
            fields[argument.field] = field
            self._arguments.append(argument)
        model = _try_model(tool, fields)
        if isinstance(model, Exception):
            msg = f"tool {tool!r}: {_first_line(model)}"
            raise DeclarationError(msg)
        self._model, self.schema = model
        self._order = [parameter.name for parameter in _parameters(tool, function)]

    def bind(self, given: Mapping[str, object], ctx: Context | None) -> Bound:
        """Check the arguments of one call.

        Raises:
            Refused: They do not fit the schema; the message names each mistake.
        """
        try:
            made = self._model.__pydantic_validator__.validate_json(to_json(given))
        except ValidationError as error:
            known = ", ".join(repr(a.name) for a in self._arguments) or "none"
            lines = [_in_words(details, known) for details in error.errors(include_url=False)]
            msg = f"The arguments of {self._tool!r} are not valid:\n" + "\n".join(lines)
            raise Refused(msg) from None
        by_place: dict[str, Any] = {}
        by_name: dict[str, Any] = {}
        for name, is_positional in self._contexts:
            (by_place if is_positional else by_name)[name] = ctx if ctx is not None else Context()
        read: dict[str, Any] = {}
        for argument in self._arguments:
            is_given = argument.field in made.model_fields_set
            value = argument.default
            if is_given or argument.is_field:
                value = getattr(made, argument.field)
            with suppress(PydanticSerializationError, ValueError):
                read[argument.name] = to_jsonable_python(value)
            if is_given and argument.name not in read:
                read[argument.name] = given[argument.name]
            if not (is_given or argument.is_field or argument.is_positional):
                continue  # the function has its default
            (by_place if argument.is_positional else by_name)[argument.name] = value
        args = [by_place[name] for name in self._order if name in by_place]
        return Bound(args, by_name, read)


def parse_arguments(arguments: str | Mapping[str, object]) -> dict[str, Any]:
    """Return the arguments of a call as plain JSON values.

    Args:
        arguments: JSON text as a model wrote it, or a mapping. Nothing at all, or `null`, is
            no arguments.

    Raises:
        Refused: It is no JSON object.
    """
    try:
        text = arguments.strip().encode() if isinstance(arguments, str) else to_json(arguments)
        value: object = from_json(text) if text else {}
    except ValueError as error:
        msg = f"The arguments are no JSON ({error}). Write one JSON object."
        raise Refused(msg) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        msg = f"The arguments are {_short(value)}, and have to be one JSON object."
        raise Refused(msg)
    return cast("dict[str, Any]", value)


def _parameters(tool: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        msg = f"tool {tool!r}: {function!r} does not say what it takes; wrap it in a function"
        raise DeclarationError(msg) from None
    for parameter in parameters:
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            instead = "a list" if stars == "*" else "a dict"
            msg = (
                f"tool {tool!r}: a model cannot see what {stars}{parameter.name} takes; name the "
                f"parameters, or take {instead}"
            )
            raise DeclarationError(msg)
    first = parameters[0] if parameters else None
    if (
        first is not None
        and first.name in {"self", "cls"}
        and first.annotation is _EMPTY
        and first.default is _EMPTY
    ):
        msg = f"tool {tool!r} is a method without its object; give the bound method, obj.method"
        raise DeclarationError(msg)
    return parameters


def _is_context(hint: object) -> bool:
    members = typing.get_args(hint) or (hint,)
    return Context in members


def _field(hint: Any, parameter: inspect.Parameter, about: str | None) -> tuple[Any, FieldInfo]:  # noqa: ANN401
    """Return a parameter as a field of the model that checks it."""
    annotation = Any if hint is _EMPTY else hint
    default = parameter.default
    if isinstance(default, FieldInfo):
        annotation = typing.Annotated[annotation, default]
        is_described = default.description is not None
        default = default.default
    else:
        is_described = any(
            isinstance(part, FieldInfo) and part.description is not None
            for part in getattr(hint, "__metadata__", ())
        )
    options: dict[str, Any] = {"alias": parameter.name}
    if about and not is_described:
        options["description"] = about
    if default is _EMPTY or default is PydanticUndefined:
        return annotation, Field(**options)
    return annotation, Field(default=default, **options)


class _Schema(GenerateJsonSchema):
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401 - a core schema
        del schema
        return False

    def generate(
        self, schema: CoreSchema, mode: Literal["validation", "serialization"] = "validation"
    ) -> dict[str, Any]:
        made = super().generate(schema, mode)
        made.pop("title", None)
        made.pop("$schema", None)
        made.setdefault("properties", {})
        return made


def _try_model(
    tool: str, fields: dict[str, Any]
) -> tuple[type[BaseModel], dict[str, Any]] | Exception:
    """Return a model of these fields with its schema, or why there is none."""
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=False, protected_namespaces=())
    try:
        model = create_model(f"Arguments of {tool}", __config__=config, **fields)
        schema = model.model_json_schema(by_alias=True, schema_generator=_Schema)
    except (PydanticUserError, PydanticInvalidForJsonSchema, TypeError, NameError) as error:
        return error
    return model, schema


def _in_words(details: ErrorDetails, known: str) -> str:
    path = ""
    for part in details["loc"]:
        path += f"[{part}]" if isinstance(part, int) else (f".{part}" if path else str(part))
    match details["type"]:
        case "missing":
            return f"- {path}: it is missing"
        case "extra_forbidden" if len(details["loc"]) == 1:
            return f"- {path}: there is no such argument; there are: {known}"
        case _:
            return f"- {path}: {details['msg']}, not {_short(details['input'])}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

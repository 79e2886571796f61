"""Sample: a valid instance of any Pydantic model, without a language model.

The offline model `"test"` answers with these. An instance is found by reading the schema
that the model validates with and proved by that validator; nothing in it comes from the
clock, from randomness or from the order of a hash, so it is the same in every process.
"""

from typing import TypeVar

from pydantic import BaseModel
from pydantic.errors import PydanticUndefinedAnnotation

from flock.engines.dspy.sample.record import FIELD_REMEDY
from flock.engines.dspy.sample.schema import source_of
from flock.engines.dspy.sample.source import DeadEnd

__all__ = ["SampleError", "sample"]

ModelT = TypeVar("ModelT", bound=BaseModel)


class SampleError(ValueError):
    """No valid instance of a model was found.

    The message names the model, the field or validator that stands in the way, and what the
    author of the model can do about it.
    """


def sample(model: type[ModelT], *, seed: int = 0) -> ModelT:
    """Return a valid instance of a model.

    Required fields get readable values: strings their own name (`text`, then `text 2`),
    numbers their lower bound or 1, optional values a value, recursive types their shortest
    end. Fields with a default keep it; only a factory whose result may differ from call to
    call, such as `uuid4`, is replaced by a fixed value. Examples that the author of the model
    gave come first: `Field(examples=[...])`, also for a field with a default, or a model's
    `json_schema_extra={"examples": [...]}`.

    Where a validator refuses these values, others are tried: the values after them, those in
    well-known formats (an e-mail address, a currency code), combinations with optional fields
    filled in.

    Args:
        model: the model class.
        seed: which of the instances, from 0 on. Different seeds give different instances as
            far as the type has them; the same seed always gives the same one.

    Returns:
        The instance, as the model's own validator made it.

    Raises:
        SampleError: no value that was tried is valid.
        ValueError: the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed!r}")
    title = model.__name__
    try:
        if not model.__pydantic_complete__:
            model.model_rebuild()
        instance = source_of(model).pick(seed)
    except PydanticUndefinedAnnotation as error:
        raise SampleError(
            f"cannot sample {title!r}: {error.message}; "
            f"call {title}.model_rebuild() where the name is defined"
        ) from error
    except DeadEnd as end:
        where = "" if end.where in {"", title} else f" at {end.where!r}"
        raise SampleError(
            f"cannot sample {title!r}{where}: {end.why}; {end.remedy or FIELD_REMEDY}"
        ) from None
    if not isinstance(instance, model):
        raise SampleError(
            f"cannot sample {title!r}: its validators make "
            f"{type(instance).__name__!r} of it; return the instance from them"
        )
    return instance

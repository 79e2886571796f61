"""Checked: a source whose values one validator has accepted; and that validator's verdict."""

from collections.abc import Callable
from functools import cached_property
from typing import Final

from pydantic import ValidationError
from pydantic_core import CoreConfig, CoreSchema, ErrorDetails, SchemaValidator

from flock.engines.dspy.sample.source import DeadEnd, Source, nth_accepted

ATTEMPTS: Final = 250
"""How many unusual values are tried: every well-known format several times."""
_PATIENCE: Final = 40


class Refusal(DeadEnd):
    """A validator did not accept a value.

    Attributes:
        why: the first complaint, in the validator's words.
        errors: all complaints of a `ValidationError`.
    """

    def __init__(self, why: str, errors: list[ErrorDetails]) -> None:
        super().__init__(why)
        self.why = why
        self.errors = errors


def judged(make: Callable[[], object]) -> object:
    """Return what `make` validates.

    Raises:
        Refusal: it does not accept the value. User code that raises something else than
            pydantic expects of a validator was not made for this value: that refuses it, too.
    """
    try:
        return make()
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        raise Refusal(errors[0]["msg"], errors) from None
    except Exception as error:  # noqa: BLE001 - user code, tried with values it may not expect
        raise Refusal(f"{type(error).__name__}: {error}", []) from None


class Checked(Source):
    """The values of a source that its validator accepts.

    Usual values are counted by acceptance, so that different numbers give different values;
    where none is accepted, the source's unusual ones are tried.

    Args:
        inner: the source.
        schema: what the values have to satisfy.
        config: the configuration of the model that the schema is part of.
        final: whether the validator has the last word. One that also looks at the other
            fields of its model can be judged only with them; its refusal is ignored here.
    """

    def __init__(
        self, inner: Source, schema: CoreSchema, config: CoreConfig, *, final: bool
    ) -> None:
        self._inner = inner
        self._schema = schema
        self._config = config
        self._final = final
        self._last = ""
        self._hopeless = False

    @cached_property
    def _validator(self) -> SchemaValidator:
        return SchemaValidator(self._schema, self._config)

    @property
    def count(self) -> int:
        """As many as the inner source has; some of them may be refused."""
        return self._inner.count

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return accepted value number `n`."""
        if self._hopeless:
            return self._inner.pick(n, attempt)
        if not attempt:
            try:
                number = nth_accepted(n, self.count, int, self._accepts, patience=_PATIENCE)
            except DeadEnd:
                pass
            else:
                return self._inner.pick(number)
        for unusual in range(attempt, attempt + ATTEMPTS):
            if self._accepts(n, unusual):
                return self._inner.pick(n, unusual)
        if self._final:
            raise DeadEnd(f"its validator refused every value tried ({self._last})")
        self._hopeless = True
        return self._inner.pick(n, attempt)

    def _accepts(self, n: int, attempt: int = 0) -> bool:
        validator = self._validator
        # The value picked here is not the one given out: a validator may change it.
        try:
            value = self._inner.pick(n, attempt)
            judged(lambda: validator.validate_python(value))
        except (Refusal, DeadEnd) as refusal:
            self._last = refusal.why
            return False
        return True

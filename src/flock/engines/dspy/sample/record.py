"""Records: sources of models, dataclasses, typed dicts and named tuples."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from random import Random
from typing import Any, Final, Literal, TypeAlias

from pydantic_core import SchemaValidator, to_json

from flock.engines.dspy.sample.checked import ATTEMPTS, Refusal, judged
from flock.engines.dspy.sample.source import DeadEnd, Source, product, spread

_ARRANGEMENTS: Final = 80
"""How many combinations of field values a model's validators are shown."""
_NEAR: Final = 45
"""Up to this arrangement, random ones stay close to the usual values."""
_BUDGET: Final = 1_000
"""How often one model is validated at most before it is given up."""

Order: TypeAlias = Literal["usual", "further", "rising", "falling", "equal"]

_FURTHER: Final = 100
"""How far on the usual values are looked for that a model's validators accept.

A stride, because the next value is the usual one of the next number.
"""
_ORDERS: Final[Sequence[tuple[Order, bool]]] = (
    ("usual", False),
    ("further", False),
    ("rising", False),
    ("falling", False),
    ("usual", True),
    ("rising", True),
    ("falling", True),
    ("equal", False),
    ("equal", True),
)
"""The first arrangements of a model's fields, and whether they give the optional ones too."""

FIELD_REMEDY: Final = "give the field an example: Field(examples=[...])"
MODEL_REMEDY: Final = (
    "give the model an example: model_config = ConfigDict(json_schema_extra={'examples': [{...}]})"
)

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Slot:
    """One field of a record.

    Attributes:
        name: its name.
        path: where its value stands in the input; empty for the value of a root model.
        read: reads the field's schema, when its values are first asked for.
        required: whether it is always given.
        settable: whether it may be given.
        pinned: the default that tells it apart in a union, if there is one: a mapping that
            leaves it out would fit no branch.
    """

    name: str
    path: Path
    read: Callable[[], Source]
    required: bool
    settable: bool = True
    pinned: Sequence[object] = ()

    @cached_property
    def source(self) -> Source:
        """The field's values."""
        return self.read()


Numbers: TypeAlias = Mapping[Slot, tuple[int, int]]
"""For each given field which value it has: its number and its attempt."""


class Record(Source):
    """Values of several fields, as what the record is validated from.

    Args:
        title: the record's name for messages.
        slots: its fields.
        make: builds the input from the fields' values; a mapping if left out.
    """

    def __init__(
        self,
        title: str,
        slots: Sequence[Slot],
        make: Callable[[Mapping[Slot, object]], object] | None = None,
    ) -> None:
        self._title = title
        self._slots = slots
        self._make = make or placed
        self._required = [slot for slot in slots if slot.required]
        self._settable = [slot for slot in slots if slot.settable]

    @property
    def count(self) -> int:
        """The product of the required fields."""
        return product(slot.source.count for slot in self._required)

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return input number `n`; every other attempt gives what may be left out as well."""
        inner, everything = divmod(attempt, 2)
        slots = self._settable if everything else self._required
        values = self._values(self._numbered(slots, n, inner))
        return judged(lambda: self._make(values))

    def _numbered(self, slots: Sequence[Slot], n: int, attempt: int) -> dict[Slot, tuple[int, int]]:
        numbers = spread(n, [slot.source.count for slot in slots])
        return {slot: (number, attempt) for slot, number in zip(slots, numbers, strict=True)}

    def _values(self, numbers: Numbers) -> dict[Slot, object]:
        values: dict[Slot, object] = {}
        for slot in self._slots:
            if slot in numbers:
                try:
                    values[slot] = slot.source.pick(*numbers[slot])
                except DeadEnd as end:
                    end.where = end.where or self._named(slot)
                    end.remedy = end.remedy or FIELD_REMEDY
                    raise
            elif slot.pinned:
                values[slot] = slot.pinned[0]
        return values

    def _named(self, slot: Slot) -> str:
        return f"{self._title}.{slot.name}" if slot.path else self._title


class ValidatedRecord(Record):
    """Instances of a model or a dataclass that its own validator has accepted.

    Args:
        title: the record's name for messages.
        slots: its fields.
        validator: the validator.
        examples: inputs that the model's author gave; they come before generated ones.
        make: builds the input from the fields' values; a mapping if left out.
    """

    def __init__(
        self,
        title: str,
        slots: Sequence[Slot],
        validator: SchemaValidator,
        examples: Sequence[object] = (),
        make: Callable[[Mapping[Slot, object]], object] | None = None,
    ) -> None:
        super().__init__(title, slots, make)
        self._validator = validator
        self._examples = examples

    @property
    def count(self) -> int:
        """The number of examples, or the product of the required fields."""
        return len(self._examples) or super().count

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return instance number `n`; odd attempts give the input it is validated from."""
        more, raw = divmod(attempt, 2)
        n += more
        for turn in range(len(self._examples)):
            example = self._examples[(n + turn) % len(self._examples)]
            try:
                instance = judged(lambda example=example: self._validated_example(example))
            except Refusal:
                continue
            return deepcopy(example) if raw else instance
        numbers, instance = self._found(n)
        # Made anew: a validator may have changed the one that it saw.
        return self._make(self._values(numbers)) if raw else instance

    def _validated(self, values: Mapping[Slot, object]) -> object:
        return self._validator.validate_python(self._make(values))

    def _validated_example(self, example: object) -> object:
        try:
            return self._validator.validate_python(deepcopy(example))
        except ValueError:
            # Examples are written as JSON as well: "2024-01-01" for a date of a strict model.
            return self._validator.validate_json(to_json(example))

    def _found(self, n: int) -> tuple[Numbers, object]:
        """Return a combination of values that is accepted, and the instance made of it.

        A complaint about a field moves that field to its next value, any other one moves to
        the next arrangement of all of them.
        """
        arrangement = 0
        moved: dict[Slot, int] = {}
        last = DeadEnd("it accepts nothing", where=self._title, remedy=MODEL_REMEDY)
        for _ in range(_BUDGET):
            numbers = self._arranged(n, arrangement, moved)
            values = self._values(numbers)
            try:
                return numbers, judged(lambda values=values: self._validated(values))
            except Refusal as refusal:
                blamed = self._blamed(refusal)
                last = self._dead_end(refusal, blamed)
            for slot in blamed:
                moved[slot] = moved.get(slot, -1 if slot not in numbers else 0) + 1
            if not blamed or max(moved.values()) > ATTEMPTS >> min(arrangement, 3):
                moved.clear()
                arrangement += 1
            if arrangement >= _ARRANGEMENTS:
                break
        raise last

    def _arranged(self, n: int, arrangement: int, moved: Mapping[Slot, int]) -> Numbers:
        """Return the values of an arrangement: as usual, rising, falling, equal, random."""
        numbers: dict[Slot, tuple[int, int]]
        if arrangement >= len(_ORDERS):
            numbers = self._shuffled(n, arrangement, moved)
        else:
            order, everything = _ORDERS[arrangement]
            slots = [s for s in self._settable if s.required or everything or s in moved]
            match order:
                case "usual":
                    numbers = self._numbered(slots, n, 0)
                case "further":
                    numbers = self._numbered(slots, n + _FURTHER, 0)
                case "rising":
                    numbers = {slot: (n + place, 0) for place, slot in enumerate(slots)}
                case "falling":
                    numbers = {slot: (n + place, 0) for place, slot in enumerate(reversed(slots))}
                case "equal":
                    numbers = dict.fromkeys(slots, (n, 1))
        for slot, steps in moved.items():
            number, attempt = numbers[slot]
            numbers[slot] = (number, attempt + steps)
        return numbers

    def _shuffled(
        self, n: int, arrangement: int, moved: Mapping[Slot, int]
    ) -> dict[Slot, tuple[int, int]]:
        # Seeded with a string, which hashes the same in every process.
        chance = Random(f"{n}/{arrangement}")
        reach = 8 if arrangement < _NEAR else 200
        return {
            slot: (n * reach + chance.randrange(reach), chance.choice((0, 0, 1, 2, 3, 5, 8)))
            for slot in self._settable
            if slot.required or slot in moved or chance.random() < 0.5
        }

    def _blamed(self, refusal: Refusal) -> list[Slot]:
        """Return the fields that the complaint is about; none if it is about the whole."""
        places = {error["loc"][0] for error in refusal.errors if error["loc"]}
        return [
            slot
            for slot in self._settable
            if (slot.path and (slot.name in places or slot.path[0] in places))
            or (not slot.path and refusal.errors)
        ]

    def _dead_end(self, refusal: Refusal, blamed: Sequence[Slot]) -> DeadEnd:
        if blamed and blamed[0].path:
            return DeadEnd(
                f"it refused every value tried: {refusal.why}",
                where=self._named(blamed[0]),
                remedy=FIELD_REMEDY,
            )
        return DeadEnd(
            f"its validators refused every combination tried: {refusal.why}",
            where=self._title,
            remedy=MODEL_REMEDY,
        )


def placed(values: Mapping[Slot, object]) -> object:
    """Return the mapping in which each value stands at its field's path."""
    whole: dict[str | int, Any] = {}
    for slot, value in values.items():
        if not slot.path:
            return value
        here: Any = whole
        for step, following in pairwise((*slot.path, None)):
            if isinstance(step, int):
                here.extend([None] * (step + 1 - len(here)))
            if following is None:
                here[step] = value
            elif (isinstance(step, int) and here[step] is None) or step not in here:
                here[step] = _container(following)
            here = here[step]
    return whole


def _container(following: str | int) -> dict[str, Any] | list[Any]:
    return [] if isinstance(following, int) else {}

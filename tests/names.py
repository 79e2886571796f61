"""A task small enough for the smallest model: write names as the house does, surname first."""

from __future__ import annotations

from pydantic import BaseModel, Field

from flock import DSPyEngine, Flock, TuningExample, flock_type
from flock.engines.dspy.tuned import Content


@flock_type(name="names.Person")
class Person(BaseModel):
    """Somebody."""

    name: str


@flock_type(name="names.Entry")
class Entry(BaseModel):
    """An entry of the catalogue."""

    heading: str = Field(max_length=40)


NAMES = (
    "Ada Lovelace", "Alan Turing", "Grace Hopper", "Emmy Noether", "Kurt Goedel", "Marie Curie",
    "Niels Bohr", "Isaac Newton", "Leonhard Euler", "Carl Gauss", "Max Planck", "Lise Meitner",
    "Edsger Dijkstra", "Barbara Liskov", "Donald Knuth", "Tony Hoare", "John Backus",
    "Robin Milner", "Rosalind Franklin", "Charles Darwin", "Jane Goodall", "Rachel Carson",
    "Louis Pasteur", "Gregor Mendel",
)  # fmt: skip


def board(model: str | None = None) -> Flock:
    """Make the board, whose one agent writes entries."""
    flock = Flock()
    flock.agent("clerk").description("Write the heading for this person.").consumes(
        Person
    ).publishes(Entry).with_engines(DSPyEngine(model, temperature=0.0, max_tokens=40))
    return flock


def examples() -> list[TuningExample]:
    """Make past runs: the names as they are, corrected to the surname first."""
    return [
        TuningExample(
            id=name,
            agent="clerk",
            inputs=(Content.of_model(Person(name=name)),),
            outputs=(Content.of_model(Entry(heading=name)),),
            score=0.0,
            comment="The surname comes first, then a comma.",
            corrected=(Content.of_model(Entry(heading=", ".join(name.split()[::-1]))),),
        )
        for name in NAMES
    ]

"""The small models every scenario and the floor work on."""

from __future__ import annotations

from pydantic import BaseModel


class Request(BaseModel):
    """A small input."""

    number: int
    text: str


class Answer(BaseModel):
    """A small output."""

    number: int
    text: str


class Note(BaseModel):
    """What the end of a chain reads."""

    number: int
    history: int


class Left(BaseModel):
    """One half of a keyed pair."""

    key: str
    number: int


class Right(BaseModel):
    """The other half of a keyed pair."""

    key: str
    number: int


class Pair(BaseModel):
    """What a join makes of two halves."""

    key: str
    number: int


TEXT = "a short line of text"

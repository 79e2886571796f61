"""What media a model holds, and how it reads without them."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, computed_field

from flock import File, Image
from flock.core.media import Placeholders, media_parts, text_without_media
from tests.unit.core.media.pictures import picture

ONE, TWO = Image(picture("image/png", 1, 1)), Image(picture("image/png", 2, 2))
TEXT = File(b"x", "a.txt")


@dataclass
class Note:
    file: File


class Page(BaseModel):
    model_config = ConfigDict(extra="allow")
    picture: Image


class Book(BaseModel):
    title: str
    pages: list[Page]
    by_name: dict[str, Image] = {}
    notes: tuple[Note, ...] = ()
    cover: Image | None = None
    hidden: Image | None = Field(default=None, exclude=True)

    @computed_field
    @property
    def first(self) -> Image:
        return self.pages[0].picture


def test_media_are_found_with_their_places():
    book = Book(
        title="t",
        pages=[Page(picture=ONE), Page.model_validate({"picture": TWO, "scrap": TEXT})],
        by_name={"x": TWO},
        notes=(Note(TEXT),),
        hidden=ONE,
    )
    assert media_parts(book) == [
        ("pages[0].picture", ONE),
        ("pages[1].picture", TWO),
        ("pages[1].scrap", TEXT),
        ("by_name['x']", TWO),
        ("notes[0].file", TEXT),
    ]


def test_a_model_reads_with_placeholders_that_go_on_over_models():
    placeholders = Placeholders()
    first = text_without_media(Book(title="<image 1>", pages=[Page(picture=ONE)]), placeholders)
    assert first == (
        '{"title":"<image 1>","pages":[{"picture":"<image 1>"}],"by_name":{},"notes":[],'
        '"cover":null,"first":"<image 1>"}'
    )
    again = text_without_media(Page(picture=TWO), placeholders)
    assert again == '{"picture":"<image 2>"}'
    assert placeholders.media == {"<image 1>": ONE, "<image 2>": TWO}
    assert "base64" in Page(picture=TWO).model_dump_json()

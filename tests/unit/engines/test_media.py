"""Images and files in a prompt."""

import pytest
from pydantic import BaseModel, Field

from flock import EngineError, File, Image
from flock.engines.media import PromptMedia, images_asked
from tests.unit.core.media.pictures import picture


class Scan(BaseModel):
    pictures: list[Image] = []
    report: File | None = None


IMAGE = Image(picture("image/png"))


def media(*, takes_images: bool = True, takes_files: bool = False) -> PromptMedia:
    return PromptMedia(
        agent="doctor", model="m", takes_images=takes_images, takes_files=takes_files
    )


def test_a_prompt_without_media_is_its_text():
    shown = media(takes_images=False)
    assert shown.json(Scan()) == '{"pictures":[],"report":null}'
    assert shown.content("text") == "text"


def test_an_image_follows_its_name():
    shown = media()
    assert shown.json(Scan(pictures=[IMAGE, IMAGE])).count("<image 1>") == 2
    assert shown.content("text") == [
        {"type": "text", "text": "text"},
        {"type": "text", "text": "<image 1>:"},
        {"type": "image_url", "image_url": {"url": IMAGE.data_url()}},
    ]


def test_a_text_file_is_text_for_any_model():
    shown = media(takes_images=False)
    shown.json(Scan(report=File(b"a,b", "t.csv")))
    assert shown.parts() == [{"type": "text", "text": "<file 1> is 't.csv' (text/csv):\na,b"}]


def test_a_pdf_is_a_file_for_models_that_take_files():
    shown = media(takes_files=True)
    file = File(b"%PDF-1.7", "t.pdf")
    shown.json(Scan(report=file))
    assert shown.parts()[1] == {
        "type": "file",
        "file": {"filename": "t.pdf", "file_data": file.data_url()},
    }


def test_what_a_model_cannot_be_shown_is_refused_with_its_place():
    with pytest.raises(EngineError, match=r"'doctor'.*'m'.*'pictures\[0\]' of 'Scan'.*no images"):
        media(takes_images=False).json(Scan(pictures=[IMAGE]))
    with pytest.raises(EngineError, match=r"'report' of 'Scan'.*no files other than text"):
        media().json(Scan(report=File(b"\0", "x")))


class Page(BaseModel):
    picture: Image
    text: str
    next: "Page | None" = None


class Book(BaseModel):
    cover: Page
    pages: list[Page]
    spreads: list[Page] = Field(min_length=1)
    back: Image | None
    index: File


def test_it_is_told_which_outputs_no_language_model_makes():
    assert images_asked(Book) == ["cover.picture", "spreads[].picture"]
    assert images_asked(Page) == ["picture"]
    assert images_asked(Scan) == []

"""Files have safe names, are what their content says, and give text only where that is certain."""

import copy
import io
import pickle
import zipfile
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from flock import Artifact, DeclarationError, File, FileLimits
from flock.core.media.file import clean_name
from flock.engines.dspy.sample import sample
from tests.unit.core.media.pictures import picture


class Report(BaseModel):
    file: File


class Small(BaseModel):
    file: Annotated[File, FileLimits(max_bytes=10, media_types=("text/*", "application/pdf"))]


def archive(*names: str, first: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in names:
            made.writestr(name, first if name == "mimetype" else b"")
    return out.getvalue()


COMPRESSIONS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_damaged_archive_is_a_file_like_others(compression: int):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as made:
        made.writestr("mimetype", b"application/epub+zip" * 3)
    whole = out.getvalue()
    for place in range(4, len(whole)):
        for value in (0x00, 0x5A, 0xFF):
            damaged = whole[:place] + bytes([value]) + whole[place + 1 :]
            assert File(damaged, "x").media_type.startswith("application/")


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ("a\0b\n.txt", "ab.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("what?*.txt", "what__.txt"),
        (".. .", "file"),
        ("", "file"),
        ("CON.txt", "_CON.txt"),
        ("u\u0308.txt", "\u00fc.txt"),
        ("a" * 300 + ".txt", "a" * 196 + ".txt"),
        ("ä" * 300, "ä" * 100),
        ("  two   words ", "two words"),
    ],
)
def test_a_name_is_safe_anywhere(given: str, safe: str):
    assert File.from_bytes(b"", given).name == safe
    assert clean_name(safe) == safe


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (b"", "x.bin", "text/plain"),
        (b"plain", "x.png", "text/plain"),
        (b"BMW and MZ", "x", "text/plain"),
        (b"a,b\n", "x.CSV", "text/csv"),
        (b"# T", "x.md", "text/markdown"),
        (b'{"a": 1}', "x.txt", "application/json"),
        (b"{a}", "x.txt", "text/plain"),
        (b" <!DOCTYPE html>", "x.txt", "text/html"),
        (b"<?xml version='1.0'?><a/>", "x", "application/xml"),
        (b"<svg/>", "x", "image/svg+xml"),
        (b"%PDF-1.7", "x.txt", "application/pdf"),
        (b"BM\0\0", "x", "image/bmp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "x", "audio/wav"),
        (b"\0\1\2", "x.csv", "application/octet-stream"),
        (picture("image/png"), "x.pdf", "image/png"),
        (archive("a.txt"), "x.docx", "application/zip"),
        (
            archive("[Content_Types].xml", "word/a.xml"),
            "x",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ),
        (archive("mimetype", first=b"application/epub+zip"), "x", "application/epub+zip"),
        (archive("mimetype", first=b"text/html\r\nX: y"), "x", "application/zip"),
        (b"PK\x03\x04broken", "x", "application/zip"),
    ],
)
def test_a_file_is_what_its_content_says(data: bytes, name: str, media_type: str):
    assert File(data, name).media_type == media_type


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_where_it_is_certain(encoding: str):
    file = File("Grüße, 世界".encode(encoding), "a.txt")
    assert file.is_text
    assert file.text() == "Grüße, 世界"


def test_text_that_is_not_certain_needs_its_encoding():
    file = File("Grüße".encode("latin-1"), "a.txt")
    assert not file.is_text
    with pytest.raises(ValueError, match=r"'a.txt'.*no text for certain.*encoding"):
        file.text()
    assert file.text("latin-1") == "Grüße"
    with pytest.raises(ValueError, match="for certain"):
        File(b"a\0b", "b").text()


def test_files_are_equal_by_name_and_content_and_never_change():
    file = File.from_text("x", "a.txt")
    assert file == File(b"x", "b/a.txt")
    assert file != File(b"x", "b.txt")
    assert file != File(b"y", "a.txt")
    assert len({file, File(b"x", "a.txt")}) == 1
    assert copy.copy(file) is file
    assert pickle.loads(pickle.dumps(file)) == file
    assert repr(file) == "File('a.txt', text/plain, 1 bytes)"
    with pytest.raises(AttributeError, match="never changes"):
        file.name = "c"


@pytest.mark.parametrize("data", [b"", b"text", bytes(range(256)), picture("image/jpeg")])
def test_a_file_survives_the_board(data: bytes):
    report = Report(file=File(data, "a.bin"))
    artifact = Artifact.of(report)
    assert artifact.as_model(Report) == report
    assert set(artifact.payload["file"]) == {"name", "media_type", "data"}


def test_a_file_is_made_of_text_as_well():
    made = Report.model_validate({"file": {"name": "a.md", "text": "# Ä"}}).file
    assert (made.text(), made.media_type) == ("# Ä", "text/markdown")


@pytest.mark.parametrize(
    "wrong",
    [
        "a.txt",
        b"x",
        {},
        {"name": "a"},
        {"name": "a", "text": "x", "data": "eA=="},
        {"name": 1, "text": "x"},
        {"name": "a", "text": 1},
        {"name": "a", "text": "x", "path": "/etc/passwd"},
    ],
)
def test_what_makes_no_file_is_named(wrong: Any):
    with pytest.raises(ValidationError, match="a file is"):
        Report.model_validate({"file": wrong})


def test_a_media_type_that_is_given_is_not_trusted():
    given = {"name": "a", "media_type": "image/png", "data": "eA=="}
    assert Report.model_validate({"file": given}).file.media_type == "text/plain"


def test_a_field_has_limits_of_its_own():
    Small(file=File(b"0123456789", "a"))
    with pytest.raises(ValidationError, match="has 11 bytes and may have 10"):
        Small(file=File(b"0123456789a", "a"))
    with pytest.raises(ValidationError, match="about 30 bytes"):
        Small.model_validate({"file": {"name": "a", "data": "A" * 40}})
    with pytest.raises(ValidationError, match="may be text/"):
        Small(file=File(b"\0", "a"))
    with pytest.raises(DeclarationError, match=r"write Annotated\[File, FileLimits"):

        class Wrong(BaseModel):  # pyright: ignore[reportUnusedClass]
            file: Annotated[list[File], FileLimits()]

    with pytest.raises(DeclarationError, match="media_types"):
        FileLimits(media_types="text/*")  # pyright: ignore[reportArgumentType]


def test_the_offline_model_makes_files():
    made = [sample(Report, seed=n).file for n in range(5)]
    assert len(set(made)) == 5
    assert sample(Small).file.is_text


def test_a_model_is_asked_for_text_and_a_reader_told_of_base64():
    asked = Report.model_json_schema()["properties"]["file"]
    assert asked["required"] == ["name", "text"]
    told = Report.model_json_schema(mode="serialization")["properties"]["file"]
    assert told["required"] == ["name", "media_type", "data"]

"""Media survive what they are made of: any bytes, any name, any picture."""

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydantic import BaseModel

from flock import Artifact, File, Image
from flock.core.media.container import BrokenContainer, read_container
from flock.core.media.file import MAX_NAME, clean_name
from tests.unit.core.media.pictures import FORMATS, exif, picture, saved

NAMES = st.text(alphabet=st.characters(exclude_categories=()), max_size=300)
TYPES = st.sampled_from(sorted(FORMATS))
SEEDS = [picture(kind) for kind in FORMATS] + [
    picture(kind, exif=exif(6)) for kind in ("image/png", "image/jpeg", "image/webp")
]


class Held(BaseModel):
    file: File


@given(NAMES)
def test_a_clean_name_is_safe_and_stays_as_it_is(name: str):
    clean = clean_name(name.encode("utf-8", "replace").decode())
    assert clean_name(clean) == clean
    assert 0 < len(clean.encode()) <= MAX_NAME
    assert not set(clean) & set('/\\<>:"|?*\0\n')
    assert clean.strip(" .") == clean


@given(st.binary(max_size=500), NAMES)
def test_any_file_survives_the_board(data: bytes, name: str):
    held = Held(file=File(data, name.encode("utf-8", "replace").decode()))
    assert Artifact.of(held).as_model(Held) == held
    assert held.file.bytes == data


@given(TYPES, st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**24 - 1))
def test_a_picture_is_clean_once_for_all(kind: str, width: int, height: int, colour: int):
    made = Pillow.new("RGB", (width, height), tuple(colour.to_bytes(3, "big")))
    image = Image(saved(made, kind))
    assert (image.width, image.height) == (width, height)
    assert read_container(image.bytes).data == image.bytes


@given(st.sampled_from(SEEDS), st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_an_image_or_an_error_of_value(seed: bytes, place: int, damage: bytes):
    place %= len(seed)
    data = seed[:place] + damage + seed[place + len(damage) :]
    try:
        image = Image(data)
    except ValueError:
        return
    assert Image(image.bytes).bytes == image.bytes


@given(
    st.binary(max_size=200),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF"]),
)
def test_any_bytes_are_read_or_refused(data: bytes, start: bytes):
    try:
        found = read_container(start + data)
    except BrokenContainer:
        return
    assert read_container(found.data).data == found.data

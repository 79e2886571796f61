"""Images are clean from the start, survive the board, and are refused with the reason."""

import base64
import copy
import io
import pickle
import struct
import sys
import zlib
from typing import Annotated

import pytest
from PIL import Image as Pillow
from pydantic import BaseModel, ValidationError

from flock import Artifact, DeclarationError, Image, ImageLimits
from flock.core.media import pictures as pillow
from flock.engines.dspy.sample import sample
from tests.unit.core.media.pictures import FORMATS, colours, exif, picture, saved, srgb

TYPES = sorted(FORMATS)


class Scan(BaseModel):
    picture: Image
    more: list[Image] = []


class Small(BaseModel):
    picture: Annotated[Image, ImageLimits(max_edge=10, max_bytes=5_000, max_pixels=10_000)]
    other: Annotated[Image, ImageLimits(max_bytes=100)] | None = None


@pytest.mark.parametrize("media_type", TYPES)
def test_an_image_is_what_its_content_says(media_type: str):
    image = Image.from_bytes(picture(media_type))
    assert (image.media_type, image.width, image.height) == (media_type, 40, 20)
    url = f"data:text/html;base64,{base64.b64encode(image.bytes).decode()}"
    assert Image.from_data_url(url) == image
    assert image.data_url().startswith(f"data:{media_type};base64,")
    assert repr(image) == f"Image({media_type}, 40 x 20, {len(image.bytes):,} bytes)"


@pytest.mark.parametrize("media_type", TYPES)
def test_an_image_without_metadata_keeps_its_bytes(media_type: str):
    data = picture(media_type)
    image = Image(data)
    assert Image(image.bytes).bytes == image.bytes
    if media_type != "image/gif":  # whose GIF87a has nothing to lose, but a trailer of its own
        assert image.bytes == data


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_metadata_is_gone_and_the_pixels_are_not_drawn_anew(media_type: str):
    data = picture(media_type, exif=exif())
    assert b"taken at home" in data
    image = Image(data)
    assert image.bytes == picture(media_type)
    with Pillow.open(io.BytesIO(image.bytes)) as opened:
        assert not opened.getexif()
        assert not {"exif", "icc_profile", "comment", "xmp"} & opened.info.keys()


def test_comments_texts_and_what_follows_the_end_are_gone():
    jpeg = picture("image/jpeg", comment=b"secret one") + b"secret two"
    gif = picture("image/gif", comment=b"secret one") + b"secret two"
    head, body = picture("image/png")[:33], picture("image/png")[33:]
    text = b"tEXtComment\0secret one"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    for data in (jpeg, gif, head + chunk + body + b"secret two"):
        assert b"secret one" in data
        assert b"secret" not in Image(data).bytes


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
@pytest.mark.parametrize(
    ("turn", "corners"),
    [
        (1, ["red", "blue", "red", "blue"]),
        (2, ["blue", "red", "blue", "red"]),
        (3, ["blue", "red", "blue", "red"]),
        (4, ["red", "blue", "red", "blue"]),
        (5, ["red", "red", "blue", "blue"]),
        (6, ["red", "red", "blue", "blue"]),
        (7, ["blue", "blue", "red", "red"]),
        (8, ["blue", "blue", "red", "red"]),
    ],
)
def test_an_image_stands_upright(media_type: str, turn: int, corners: list[str]):
    image = Image(picture(media_type, exif=exif(turn)))
    assert (image.width, image.height) == ((40, 20) if turn < 5 else (20, 40))
    assert colours(image.bytes) == corners
    assert b"taken" not in image.bytes


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_a_colour_profile_is_applied_and_gone(media_type: str):
    data = picture(media_type, icc_profile=srgb())
    image = Image(data)
    with Pillow.open(io.BytesIO(image.bytes)) as opened:
        assert "icc_profile" not in opened.info
    assert colours(image.bytes) == ["red", "blue", "red", "blue"]
    assert Image(image.bytes).bytes == image.bytes


@pytest.mark.parametrize("media_type", ["image/png", "image/webp", "image/gif"])
def test_of_an_animation_the_first_frame_is_left(media_type: str):
    frames = [Pillow.new("RGB", (9, 7), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    data = saved(frames[0], media_type, save_all=True, append_images=frames[1:])
    with Pillow.open(io.BytesIO(data)) as opened:
        assert getattr(opened, "n_frames", 1) == 2
    image = Image(data)
    with Pillow.open(io.BytesIO(image.bytes)) as opened:
        assert getattr(opened, "n_frames", 1) == 1
    assert set(colours(image.bytes)) == {"red"}
    assert Image(image.bytes).bytes == image.bytes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_any_mode_can_be_made_smaller(mode: str):
    image = Image(saved(Pillow.new(mode, (64, 32)), "image/png"), limits=ImageLimits(max_edge=8))
    assert (image.width, image.height) == (8, 4)


def test_a_transparent_webp_stays_transparent():
    made = Pillow.new("RGBA", (12, 6), (255, 0, 0, 7))
    image = Image(saved(made, "image/webp", lossless=False, exif=exif()))
    assert (image.width, image.height) == (12, 6)
    with Pillow.open(io.BytesIO(image.bytes)) as opened:
        assert opened.mode == "RGBA"
        assert opened.getchannel("A").getextrema() == (7, 7)
        assert not opened.getexif()


def test_a_printers_jpeg_becomes_one_of_a_screen():
    image = Image(saved(Pillow.new("CMYK", (8, 8), (0, 255, 255, 0)), "image/jpeg"))
    with Pillow.open(io.BytesIO(image.bytes)) as opened:
        assert opened.mode == "RGB"
    assert set(colours(image.bytes)) == {"red"}


def test_fitted_makes_it_smaller_and_never_larger():
    image = Image(picture("image/jpeg", 400, 100))
    assert (image.fitted(100).width, image.fitted(100).height) == (100, 25)
    assert image.fitted(4000) == image
    assert Image(picture("image/png", 500, 1)).fitted(10).height == 1


def test_images_are_equal_by_content_and_never_change():
    image = Image(picture("image/png"))
    same = Image(picture("image/png"))
    assert image == same
    assert len({image, same}) == 1
    assert image != Image(picture("image/png", 2, 2))
    assert image != "image"
    assert copy.deepcopy(image) is image
    assert pickle.loads(pickle.dumps(image)) == image
    with pytest.raises(AttributeError, match="never changes"):
        image.width = 3
    with pytest.raises(AttributeError, match="never changes"):
        del image.bytes


@pytest.mark.parametrize("media_type", TYPES)
def test_an_image_survives_the_board(media_type: str):
    image = Image(
        picture(media_type, exif=exif(6)) if media_type != "image/gif" else picture(media_type)
    )
    scan = Scan(picture=image, more=[image, Image(picture("image/png", 3, 3))])
    artifact = Artifact.of(scan)
    assert artifact.as_model(Scan) == scan
    assert artifact.payload["picture"] == image.data_url()


def test_a_field_takes_bytes_and_data_urls_and_nothing_else():
    data = picture("image/png")
    assert Scan.model_validate({"picture": data}).picture == Image(data)
    assert Scan.model_validate({"picture": memoryview(data)}).picture == Image(data)
    assert Scan.model_validate_json(f'{{"picture": "{Image(data).data_url()}"}}').picture == Image(
        data
    )
    for wrong, why in (("/etc/passwd", "no data URL"), (7, "not a int"), (None, "NoneType")):
        with pytest.raises(ValidationError, match=why):
            Scan.model_validate({"picture": wrong})


def test_a_field_has_limits_of_its_own():
    small = Small.model_validate({"picture": picture("image/png", 50, 25)})
    assert (small.picture.width, small.picture.height) == (10, 5)
    assert Artifact.of(small).as_model(Small) == small
    whole = Image(picture("image/png", 50, 25))
    assert Small(picture=whole).picture == small.picture
    with pytest.raises(ValidationError, match="may have 10,000"):
        Small.model_validate({"picture": picture("image/png", 101, 100)})
    with pytest.raises(ValidationError, match="may have 100"):
        Small(picture=whole, other=Image(picture("image/jpeg")))


def test_limits_stand_on_the_image_itself():
    with pytest.raises(DeclarationError, match=r"write Annotated\[Image, ImageLimits"):

        class Wrong(BaseModel):  # pyright: ignore[reportUnusedClass]
            picture: Annotated[Image | None, ImageLimits(max_edge=3)]

    for wrong in ({"max_bytes": 0}, {"max_pixels": True}, {"max_edge": -1}):
        with pytest.raises(DeclarationError, match="whole number from 1"):
            ImageLimits(**wrong)


def test_a_file_of_endless_scans_is_refused_before_it_is_decoded():
    """Each scan is a pass over all pixels: 20 MB of them would take hours."""
    whole = picture("image/jpeg", progressive=True)
    start = whole.rindex(b"\xff\xda")
    scan = whole[start:-2]
    again = whole[:start] + scan * 50 + b"\xff\xd9"
    assert Image(again).width == 40
    with pytest.raises(ValueError, match="a JPEG file of more than 100 scans"):
        Image(whole[:start] + scan * 101 + b"\xff\xd9")


def test_a_bomb_is_refused_before_it_is_unpacked():
    rows = zlib.compress(b"\0" * 10_000)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="100,000 x 100,000 pixels"):
        Image(bomb)


def test_a_frame_that_says_more_than_its_container_is_refused():
    data = bytearray(picture("image/webp", 40, 20, exif=exif()))
    assert data[12:16] == b"VP8X"
    data[24:30] = bytes(6)  # a canvas of one pixel
    with pytest.raises(ValueError, match="40 x 20 pixels"):
        Image(bytes(data), limits=ImageLimits(max_pixels=100))


def test_a_gif_is_as_large_as_its_frame():
    data = bytearray(picture("image/gif", 40, 20))
    data[6:10] = bytes((1, 0, 1, 0))  # a screen of one pixel
    image = Image(bytes(data))
    assert (image.width, image.height) == (40, 20)
    with pytest.raises(ValueError, match="40 x 20 pixels"):
        Image(bytes(data), limits=ImageLimits(max_pixels=100))


def test_a_canvas_that_is_not_that_of_the_pixels_is_refused():
    made = Pillow.new("RGBA", (12, 6), (255, 0, 0, 7))
    data = bytearray(saved(made, "image/webp", lossless=False))
    assert data[12:16] == b"VP8X"
    assert data[30:34] == b"ALPH"
    data[24:30] = bytes(6)
    with pytest.raises(ValueError, match="no image that can be used"):
        Image(bytes(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"hello", "it is text/plain"),
        (b"%PDF-1.7\n", "it is application/pdf"),
        (b"\0\0\0\x18ftypheic\0\0", "it is image/heic"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is image/svg"),
        (b"\x93\0\xff\xfe", "it begins with"),
        (b"\xff\xd8\xff\xe0\0\x01", "segment has no length"),
        (b"RIFF\x04\0\0\0WEBP", "without a picture"),
        (b"GIF89a\x01\0\x01\0\0\0\0;", "without a picture"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\0\0\0\0", "without a header"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, why: str):
    with pytest.raises(ValueError, match=why):
        Image(data)


@pytest.mark.parametrize("media_type", TYPES)
def test_an_image_that_is_cut_anywhere_is_refused(media_type: str):
    data = picture(media_type)
    for end in range(0, len(data) - 2, 7):
        with pytest.raises(ValueError, match="no image that can be used"):
            Image(data[:end])


def test_pixels_that_are_damaged_are_refused():
    data = bytearray(picture("image/png"))
    place = data.index(b"IDAT") + 8
    data[place] ^= 0xFF
    with pytest.raises(ValueError, match="pixels cannot be read"):
        Image(bytes(data))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("data:image/png,abc", "no data URL"),
        ("http://example.com/a.png", "no data URL"),
        ("data:image/png;base64,a$b=", "no valid base64"),
        ("data:image/png;base64," + "A" * 40_000_000, "may have 20,971,520"),
    ],
)
def test_what_is_no_data_url_is_named(url: str, why: str):
    with pytest.raises(ValueError, match=why):
        Image.from_data_url(url)


def test_without_pillow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    pillow._pillow.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DeclarationError, match=r"flock\[images\]"):
        Image(picture("image/png", 31, 3))
    pillow._pillow.cache_clear()


def test_the_offline_model_makes_images():
    made = [sample(Scan, seed=n).picture for n in range(3)]
    assert len(set(made)) == 3
    assert sample(Small).picture.width == 1


def test_the_schema_describes_an_image():
    schema = Small.model_json_schema()
    assert schema["properties"]["picture"]["type"] == "string"
    assert "data URL" in schema["properties"]["picture"]["description"]

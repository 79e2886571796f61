"""Images and files from disk, over the board."""

import base64
from pathlib import Path

import pytest
from pydantic import BaseModel

from flock import File, FileLimits, Flock, Image, ImageLimits, PublishError, flock_type
from tests.unit.core.media.pictures import exif, picture


@flock_type(name="MediaFilesScan")
class Scan(BaseModel):
    picture: Image
    report: File


class Copy(BaseModel):
    picture: Image
    report: File


async def test_media_come_from_disk_and_go_over_the_board(tmp_path: Path):
    (tmp_path / "scan.png").write_bytes(picture("image/jpeg", exif=exif(6)))
    (tmp_path / "report.md").write_text("# Report")
    scan = Scan(
        picture=Image.from_path(tmp_path / "scan.png"),
        report=File.from_path(tmp_path / "report.md"),
    )
    assert scan.picture.media_type == "image/jpeg"

    def copied(scan: Scan) -> Copy:
        return Copy(picture=scan.picture.fitted(10), report=scan.report)

    flock = Flock()
    flock.agent("copier").calls(copied)
    async with flock:
        await flock.publish(scan)
        await flock.run_until_idle(raise_on_error=True)
        [copy] = await flock.store.get_by_type(Copy)
        [kept] = await flock.store.get_by_type(Scan)
    assert kept == scan
    assert copy.report == scan.report
    assert (copy.picture.width, copy.picture.height) == (5, 10)


async def test_a_dict_from_outside_makes_clean_media_or_is_refused():
    flock = Flock()
    url = f"data:image/png;base64,{base64.b64encode(picture('image/jpeg', exif=exif(6))).decode()}"
    report = {"name": "../a.md", "text": "# A"}
    async with flock:
        artifact = await flock.publish({"type": "MediaFilesScan", "picture": url, "report": report})
        with pytest.raises(PublishError, match="no image that can be used"):
            await flock.publish({"type": "MediaFilesScan", "picture": url[:-400], "report": report})
        assert len(await flock.store.list()) == 1
    scan = artifact.as_model(Scan)
    assert (scan.picture.width, scan.picture.height) == (20, 40)
    assert b"taken at home" not in scan.picture.bytes
    assert scan.report.name == "a.md"


def test_no_more_is_read_than_may_be(tmp_path: Path):
    path = tmp_path / "large"
    path.write_bytes(picture("image/png") + b"\0" * 10_000)
    with pytest.raises(ValueError, match=r"'.*large' is larger than the 900 bytes"):
        Image.from_path(path, limits=ImageLimits(max_bytes=900))
    with pytest.raises(ValueError, match=r"'.*large' is larger than the 900 bytes"):
        File.from_path(path, limits=FileLimits(max_bytes=900))
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="large': these 8 bytes"):
        Image.from_path(path)
    with pytest.raises(FileNotFoundError):
        Image.from_path(tmp_path / "missing")

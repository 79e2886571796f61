"""Images and files from disk, over the board."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from flock import File, FileLimits, Flock, Image, ImageLimits
from tests.unit.core.media.pictures import exif, picture


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

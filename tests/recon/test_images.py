"""Pictures of every mode against the values that were written."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon.errors import UserError
from recon.images import examine, has_many_colors, read_image, read_mask, read_numbers

ORIENTATION = 0x0112


def gradient(channels: int = 3) -> np.ndarray:
    """20 x 30 pixels of 8 bits that differ everywhere."""
    return np.random.default_rng(0).integers(0, 256, (20, 30, channels), np.uint8)


def png16(pixels: np.ndarray) -> bytes:
    """A PNG of three 16-bit channels, by the specification."""
    height, width, _ = pixels.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_rgb_and_alpha_as_they_are(tmp_path: Path) -> None:
    for channels in (3, 4):
        Image.fromarray(gradient(channels)).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), gradient(channels))


def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(png16(pixels))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels // 256)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(pixels[..., :1] // 256, 3, axis=2))


def test_palettes_grey_and_cmyk_become_rgb(tmp_path: Path) -> None:
    palette = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    palette.save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png")[0, 1].tolist() == [40, 50, 60]
    palette.save(tmp_path / "t.png", transparency=1)
    assert read_image(tmp_path / "t.png")[0, 1, 3] == 0
    Image.new("L", (4, 3), 77).save(tmp_path / "l.png")
    assert (read_image(tmp_path / "l.png") == 77).all()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "c.jpg")[4, 4].astype(int) - (255, 0, 0)).max() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)  # red in the upper left corner
    upright[8:, 16:] = (0, 0, 255)
    stored = {  # what is stored so that a reader who follows EXIF's table sees it upright
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    facts = examine(tmp_path / "a.png")
    assert facts == (*stored.shape[1::-1], orientation)
    assert facts.upright == (24, 16)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), stored)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", upright=True), upright)


def test_reduced_pictures_keep_their_means_and_weigh_colours_by_alpha(tmp_path: Path) -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[..., 0] = 255  # red where nothing is seen
    pixels[10:30, 10:30] = (0, 255, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    small = read_image(tmp_path / "a.png", (13, 13))
    assert small.shape == (13, 13, 4)
    assert (small[small[..., 3] > 20][:, 0] < 10).all()
    assert small[..., 3].mean() == pytest.approx(255 / 4, rel=0.02)


def test_masks_of_every_kind(tmp_path: Path) -> None:
    truth = np.zeros((12, 16), bool)
    truth[3:9, 4:8] = True
    alpha = np.dstack([np.full((12, 16, 3), 255, np.uint8), truth * np.uint8(255)])
    written = {
        "grey": truth * np.uint8(255),
        "ones": truth * np.uint8(1),
        "colour": np.repeat(truth[..., None] * np.uint8(255), 3, axis=2),
        "bits": truth,
        "wide": truth * np.uint16(65535),
        "alpha": alpha,
        "opaque": np.dstack([*[truth * np.uint8(255)] * 3, np.full((12, 16), 255, np.uint8)]),
    }
    for name, values in written.items():
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), truth, err_msg=name)
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png", (8, 6)), truth[1::2, ::2][:, :] | truth[::2, ::2])


def test_numbers_stay_what_they_are(tmp_path: Path) -> None:
    depth = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(depth).save(tmp_path / "d.png")
    np.testing.assert_array_equal(read_numbers(tmp_path / "d.png"), depth)
    np.testing.assert_array_equal(read_numbers(tmp_path / "d.png", (8, 6)), depth.repeat(2, 0).repeat(2, 1))
    metres = np.linspace(0, 3, 12, dtype=np.float32).reshape(3, 4)
    Image.fromarray(metres).save(tmp_path / "f.tif")
    np.testing.assert_array_equal(read_numbers(tmp_path / "f.tif"), metres)
    Image.fromarray(gradient()).save(tmp_path / "c.png")
    with pytest.raises(UserError, match="holds colours"):
        read_numbers(tmp_path / "c.png")


def test_broken_pictures_are_one_sentence(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    Image.fromarray(gradient()).save(tmp_path / "a.jpg")
    for name in ("a.png", "a.jpg"):
        whole = (tmp_path / name).read_bytes()
        for length in (0, 4, 20, len(whole) // 2):
            (tmp_path / name).write_bytes(whole[:length])
            with pytest.raises(UserError, match=name) as caught:
                read_image(tmp_path / name)
            assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be read"):
        examine(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match="is no picture that can be read"):
        examine(tmp_path / "text.png")


def test_a_picture_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    content = bytearray(png16(np.zeros((2, 2, 3), np.uint16)))
    for sides in ((60000, 60000), (17850, 10000), (16000, 12000)):
        content[16:24] = struct.pack(">II", *sides)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (tmp_path / "bomb.png").write_bytes(content)
        with pytest.raises(UserError, match="bomb.png: has more pixels than are read of a picture, 178,000,000"):
            read_image(tmp_path / "bomb.png")


def test_photos_are_told_from_label_maps(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)).save(tmp_path / "photo.png")
    Image.new("RGB", (90, 90), (3, 4, 5)).save(tmp_path / "flat.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 9000, (90, 90)).astype(np.uint16)).save(tmp_path / "grey.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    found = {name: has_many_colors(tmp_path / f"{name}.png") for name in ("photo", "flat", "grey", "broken")}
    assert found == {"photo": True, "flat": False, "grey": False, "broken": False}

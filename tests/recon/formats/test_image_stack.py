"""Image stacks written by Pillow and tifffile: ids, colours, order, spacing, and pictures that are no labels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from recon.errors import UserError
from recon.formats import SliceOptions, read
from recon.inputs import CrossSections, Photos

SLICES = np.zeros((3, 4, 6), np.uint8)  # slice, row, column
SLICES[:, 1:3, 2:5] = 2
SLICES[1, 1, 3] = 9


def folder_of(path: Path, slices: np.ndarray, names: str = "slice{}.png") -> Path:
    path.mkdir(exist_ok=True)
    for k, pixels in enumerate(slices):
        Image.fromarray(pixels).save(path / names.format(k))
    return path


def sections_of(path: Path, **options: object) -> CrossSections:
    return read(path, SliceOptions(**options))


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        sections_of(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_grey_values_are_labels_at_column_row_slice(tmp_path: Path):
    sections = sections_of(folder_of(tmp_path / "s", SLICES), spacing=(0.5, 0.25, 2), unit="mm")
    volume = sections.volume
    assert volume.labels[3, 1, 1] == 9 and volume.labels[4, 2, 0] == 2 and volume.labels.shape == (6, 4, 3)
    assert (volume.affine @ (3, 1, 2, 1))[:3] == pytest.approx([1.5, 0.25, 4])
    assert [(label.id, label.name) for label in sections.labels] == [(2, "label 2"), (9, "label 9")]
    assert volume.axis == 2 and sections.unit == "mm" and sections.notes == ()


def test_files_follow_in_natural_order(tmp_path: Path):
    slices = np.zeros((12, 5, 5), np.uint8)
    for k in range(12):
        slices[k, 1:3, 1:3] = k + 1
    volume = sections_of(folder_of(tmp_path / "s", slices, "z{}.tif")).volume
    assert volume.labels[1, 1].tolist() == list(range(1, 13))


def test_a_black_and_white_mask_is_one_object(tmp_path: Path):
    for name, pixels in {"255": (SLICES > 0) * np.uint8(255), "bits": SLICES > 0}.items():
        sections = sections_of(folder_of(tmp_path / name, pixels))
        assert [label.name for label in sections.labels] == ["object"]
        assert (sections.volume.labels > 0).sum() == 18


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i4", "f4", "bool"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_of_a_tiff(tmp_path: Path, dtype: str, compression: str | None):
    tifffile.imwrite(tmp_path / "a.tif", SLICES.astype(dtype), photometric="minisblack", compression=compression)
    volume = sections_of(tmp_path / "a.tif").volume
    np.testing.assert_array_equal(volume.labels.transpose(2, 1, 0), SLICES.astype(dtype).astype(int))


def test_spacing_of_imagej(tmp_path: Path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        SLICES.astype("u2"),
        imagej=True,
        resolution=(1 / 0.5, 1 / 0.25),
        metadata={"spacing": 3.0, "unit": "um", "axes": "ZYX"},
    )
    sections = sections_of(tmp_path / "a.tif")
    assert sections.volume.spacing == pytest.approx([0.5e-3, 0.25e-3, 3e-3])
    assert sections.unit == "mm" and "from the TIFF's resolution" in sections.notes[0]


def test_resolution_in_centimetres_tells_nothing_of_the_slices(tmp_path: Path):
    tifffile.imwrite(
        tmp_path / "a.tif", SLICES, photometric="minisblack", resolution=(20, 40), resolutionunit="CENTIMETER"
    )
    sections = sections_of(tmp_path / "a.tif")
    assert sections.volume.spacing == pytest.approx([0.5, 0.25, 0.5])
    assert "says nothing of the step between slices" in sections.notes[0]
    assert sections_of(tmp_path / "a.tif", spacing=(1, 2, 3)).volume.spacing == pytest.approx([1, 2, 3])


def test_no_spacing_is_said(tmp_path: Path):
    sections = sections_of(folder_of(tmp_path / "s", SLICES))
    assert sections.volume.spacing == pytest.approx([1, 1, 1])
    assert "state no spacing" in sections.notes[0] and sections.unit == "unknown"


def test_palette_indices_are_labels_in_the_palettes_colours(tmp_path: Path):
    (tmp_path / "s").mkdir()
    for k, pixels in enumerate(SLICES):
        image = Image.fromarray(pixels)
        image.putpalette([0, 0, 0, 9, 9, 9, 255, 0, 51] + [0, 0, 0] * 6 + [0, 255, 0])
        image.save(tmp_path / "s" / f"{k}.png")
    labels = sections_of(tmp_path / "s").labels
    assert [(label.id, label.color) for label in labels] == [(2, (1, 0, 0.2)), (9, (0, 1, 0))]
    image.putpalette([0, 0, 0, 1, 2, 3])
    image.save(tmp_path / "s" / "3.png")
    assert "its palette differs from the first image's" in refusal(tmp_path / "s")


def test_flat_colours_are_labels_and_transparent_is_background(tmp_path: Path):
    colors = np.array([[0, 0, 0, 255], [255, 128, 0, 255], [255, 128, 0, 0], [0, 0, 9, 255]], np.uint8)
    index = np.zeros((3, 4, 6), int)
    index[:, 1:3, 2:5], index[1, 1, 3], index[:, 0, 0] = 1, 3, 2
    sections = sections_of(folder_of(tmp_path / "s", colors[index]))
    assert [label.name for label in sections.labels] == ["#000009", "#ff8000"]
    assert sections.labels[1].color == pytest.approx((1, 128 / 255, 0))
    assert sections.volume.labels[2, 1].tolist() == [2, 2, 2] and sections.volume.labels[0, 0].tolist() == [0, 0, 0]


def test_smoothed_edges_and_photographs_are_refused(tmp_path: Path):
    from scipy.ndimage import gaussian_filter

    y, x = np.mgrid[:60, :60]
    disc = gaussian_filter(np.hypot(x - 30, y - 30 + 0.3) < 20, 1.5, output=float)
    grey = np.stack([np.round(255 * disc).astype(np.uint8)] * 3)
    assert "a mask with blurred edges" in refusal(folder_of(tmp_path / "grey", grey))
    photo = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "photo.tif", photo, photometric="rgb")
    assert "more than 256 colours: a picture" in refusal(tmp_path / "photo.tif")
    assert isinstance(read(folder_of(tmp_path / "photo", photo)), Photos)


def test_stacks_that_do_not_fit_together(tmp_path: Path):
    folder = folder_of(tmp_path / "s", SLICES)
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(folder / "slice3.png")
    assert "slice3.png: its size differs from the first image's ((6, 5) against (6, 4))" in refusal(folder)
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(folder / "slice3.png")
    assert "slice3.png: its mode differs" in refusal(folder)
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(folder / "slice3.tif")
    assert "holds PNG and TIFF files" in refusal(folder)
    assert "holds one image" in refusal(folder_of(tmp_path / "one", SLICES[:1]))
    tifffile.imwrite(tmp_path / "one" / "a.tif", SLICES, photometric="minisblack")
    (tmp_path / "one" / "slice0.png").unlink()
    folder_of(tmp_path / "one", SLICES[:1], "slice{}.tif")
    assert "in a folder every image is one slice" in refusal(tmp_path / "one")


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, -1, 1), (1, float("nan"), 1)])
def test_spacing_must_be_positive(tmp_path: Path, spacing: tuple[float, float, float]):
    assert "the three steps must be positive" in refusal(folder_of(tmp_path / "s", SLICES), spacing=spacing)


def png(width: int, height: int, data: bytes) -> bytes:
    """A grey PNG by the standard: signature, IHDR, IDAT, IEND, each with its length and checksum."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_broken_files_are_one_sentence(tmp_path: Path):
    (tmp_path / "ok").mkdir()
    for k in range(2):
        (tmp_path / "ok" / f"{k}.png").write_bytes(png(3, 2, b"\0\1\1\0\0\1\1\0"))
    np.testing.assert_array_equal(sections_of(tmp_path / "ok").volume.labels[:, :, 0].T, [[1, 1, 0], [1, 1, 0]])
    for content, says in {
        b"": "is damaged or cut short",
        b"garbage" * 9: "is damaged or cut short",
        png(3, 2, b"\0\1"): "is damaged or cut short",
        png(9000, 9000, b"\0" * 99): "promises 81000000 bytes of voxels",
        png(40000, 40000, b"\0" * 99): "decompression bomb",
    }.items():
        (tmp_path / "bad").mkdir(exist_ok=True)
        for k in range(2):
            (tmp_path / "bad" / f"{k}.png").write_bytes(content)
        assert says in refusal(tmp_path / "bad")
    (tmp_path / "bad.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    assert "bad.tif: " in refusal(tmp_path / "bad.tif")

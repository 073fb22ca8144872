"""NRRD label maps: bytes written by hand from the format's definition, by SimpleITK, and a real one."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest

from recon.errors import UserError
from recon.formats import SliceOptions, nrrd
from recon.inputs import CrossSections

VOXELS = np.zeros((5, 4, 3), np.uint16)
VOXELS[1:4, 1:3, 1:] = 7
VOXELS[2, 2, 2] = 300
FIELDS = {
    "type": "unsigned short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "5 4 3",
    "space directions": "(0,2,0) (-1.5,0,0.5) (0,0,4)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(10,-20,30)",
}


def header(magic: str = "NRRD0004", keys: str = "", **changes: str | None) -> bytes:
    fields = FIELDS | {name.replace("_", " "): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\n".join([magic, "# a comment", *lines, *keys.splitlines(), "", ""]).encode()


def samples(voxels: np.ndarray = VOXELS, dtype: str = "<u2") -> bytes:
    return voxels.astype(dtype).tobytes(order="F")


def read(tmp_path: Path, content: bytes, name: str = "labels.nrrd", **options: object) -> CrossSections:
    path = tmp_path / name
    path.write_bytes(content)
    return nrrd.read(path, SliceOptions(**options))


def refusal(tmp_path: Path, content: bytes, name: str = "labels.nrrd") -> str:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_coordinates_stay_in_the_headers_space(tmp_path: Path):
    sections = read(tmp_path, header() + samples())
    affine = sections.volume.affine
    assert (affine @ (1, 2, 1, 1))[:3] == pytest.approx([10 - 3, -20 + 2, 30 + 1 + 4])
    np.testing.assert_array_equal(sections.volume.labels, VOXELS)
    assert [label.id for label in sections.labels] == [7, 300]
    assert sections.unit == "mm" and sections.notes == ("The header states no unit; millimetres are assumed.",)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (header(encoding="gzip") + gzip.compress(samples()), "gzip"),
        (header(encoding="GZ") + gzip.compress(samples()[:50]) + gzip.compress(samples()[50:]), "gzip of two members"),
        (header(encoding="bzip2") + bz2.compress(samples()), "bzip2"),
        (header(encoding="ascii", endian=None) + " ".join(map(str, VOXELS.ravel("F"))).encode(), "text"),
        (header(endian="big") + samples(dtype=">u2"), "big endian"),
        (header(type="int64") + samples(dtype="<i8"), "long"),
        (header(type="float") + samples(dtype="<f4"), "float"),
        (header(magic="NRRD0001\r") + samples(), "a line end of two letters after the magic"),
        (header(byte_skip="-1") + b"filler" + samples(), "samples at the file's end"),
        (header(line_skip="2", byteskip="3") + b"one\ntwo\nabc" + samples(), "lines and bytes skipped"),
        (header(dimension="4", sizes="1 5 4 3", space_directions="none (1,0,0) (0,1,0) (0,0,1)") + samples(),
         "a list axis of one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_every_encoding_gives_the_same_labels(tmp_path: Path, content: bytes, name: str):
    np.testing.assert_array_equal(read(tmp_path, content).volume.labels, VOXELS)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
@pytest.mark.parametrize("compress", [True, False])
def test_simpleitk_and_this_reader_agree(tmp_path: Path, suffix: str, compress: bool):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(VOXELS.transpose(2, 1, 0))
    image.SetSpacing((0.5, 1.5, 3))
    image.SetOrigin((-7, 8, 9))
    image.SetDirection((0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"itk{suffix}"), useCompression=compress)
    sections = nrrd.read(tmp_path / f"itk{suffix}", SliceOptions())
    for index in ((0, 0, 0), (4, 1, 2), (1, 3, 1)):
        expected = image.TransformIndexToPhysicalPoint(index)
        assert (sections.volume.affine @ (*index, 1))[:3] == pytest.approx(expected)
    np.testing.assert_array_equal(sections.volume.labels, VOXELS)


def test_names_and_colours_of_3d_slicers_segments(tmp_path: Path):
    keys = """Segment0_ID:=Segment_1
Segment0_Name:=left kidney: cortex
Segment0_LabelValue:=7
Segment0_Color:=0.5 0.25 1
Segment1_Name:=tumour
Segment1_LabelValue:=300"""
    first, second = read(tmp_path, header(keys=keys) + samples(), "a.seg.nrrd").labels
    assert (first.id, first.name, first.color) == (7, "left kidney: cortex", (0.5, 0.25, 1.0))
    assert (second.id, second.name) == (300, "tumour")


def test_spacings_without_directions(tmp_path: Path):
    content = header(space=None, space_directions=None, space_origin=None, spacings="0.5 NaN 2") + samples()
    sections = read(tmp_path, content)
    assert sections.volume.spacing == pytest.approx([0.5, 1, 2])
    assert sections.unit == "unknown" and len(sections.notes) == 2
    assert read(tmp_path, content, unit="m").unit == "m"


@pytest.mark.parametrize(
    ("space_units", "unit"), [('"mm" "mm" "mm"', "mm"), ('"m" "m" "m"', "m"), ('"um" "um" "um"', "unknown")]
)
def test_units(tmp_path: Path, space_units: str, unit: str):
    assert read(tmp_path, header(space_units=space_units) + samples()).unit == unit


def test_a_real_mask(data_dir: Path):
    sections = nrrd.read(data_dir / "slices" / "brain.nrrd", SliceOptions())
    volume = sections.volume
    assert volume.labels.shape == (160, 232, 160) and volume.axis == 0
    assert (volume.affine @ (2, 3, 4, 1))[:3] == pytest.approx(
        [229.26 + 2, -126.419 + 3 * 0.898437, 405.421 + 4 * 0.898437]
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not NRRD"),
        (b"NRRD", "is not NRRD"),
        (b"garbage" * 99, "is not NRRD"),
        (b"NRRD0004\nwhat is this\n\n", "line 2: a header line reads"),
        (b"NRRD0004\n" + b"# long\n" * 200_000, "header does not end within 1 MB"),
        (header(sizes=None), "lacks the field 'sizes'"),
        (header(type=None) + samples(), "lacks the field 'type'"),
        (header(sizes="5 4 three") + samples(), "the field 'sizes' should hold whole numbers"),
        (header(sizes="5 4 0") + samples(), "every axis needs at least one sample"),
        (header(sizes="5 4") + samples(), "'dimension' should be 2"),
        (header(dimension="2", sizes="5 12") + samples(), "a label volume has three axes"),
        (header(dimension="4", sizes="2 5 4 3") + samples(), "has 4 axes"),
        (header(sizes="50000 40000 30000") + samples(), "are more than the 1,000,000,000 that fit"),
        (header(sizes="500 400 300") + samples(), "promises 120000000 bytes of voxels, more than the 120 bytes"),
        (header(encoding="gzip", sizes="500 400 300") + gzip.compress(samples()), "can expand to"),
        (header(encoding="bzip2", sizes="500 400 300") + bz2.compress(samples()), "the data end after 60"),
        (header(encoding="gzip") + gzip.compress(samples())[:-20], "cannot be read to its end"),
        (header(encoding="gzip") + samples(), "cannot be read to its end"),
        (header(encoding="bzip2") + samples(), "cannot be read to its end"),
        (header(encoding="hex") + samples(), "its encoding is 'hex'"),
        (header(encoding="text") + b"1 2 3" * 50, "its header promises 60 voxels, but"),
        (header(encoding="text") + b"1 x " * 60, "not all samples are numbers"),
        (header(type="block") + samples(), "samples are of type 'block'"),
        (header(endian=None) + samples(), "'endian' should say little or big"),
        (header(space_directions="(1,0,0) (0,1,0)") + samples(), "should hold 3 vectors"),
        (header(space_directions="(1,0,0) none (0,0,1)") + samples(), "should give three numbers"),
        (header(space_directions="(1,0,0) (2,0,0) (0,0,1)") + samples(), "orientation is not usable"),
        (header(space_origin="(nan,0,0)") + samples(), "orientation is not usable"),
        (header(byteskip="99999999999") + samples(), "'byte skip' should each hold one number"),
        (header(byteskip="") + samples(), "'byte skip' should each hold one number"),
        (header(data_file="../secret.raw"), "lies outside the header's folder"),
        (header(data_file="/etc/passwd"), "lies outside the header's folder"),
        (header(data_file="missing.raw"), "does not stand beside it"),
        (header(data_file="LIST"), "spread over several files"),
        (header(data_file="slice%03d.raw 1 3 1"), "spread over several files"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: bytes, says: str):
    assert says in refusal(tmp_path, content)


def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(samples())
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    assert "lies outside" in refusal(folder, header(data_file="link.raw"), "labels.nhdr")
    (folder / "own.raw").write_bytes(samples())
    assert read(folder, header(data_file="own.raw"), "labels.nhdr").volume is not None

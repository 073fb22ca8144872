"""NIfTI label maps: bytes written by hand from the standard, by SimpleITK and by nibabel, and real ones."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from recon.errors import UserError
from recon.formats import SliceOptions, nifti
from recon.inputs import CrossSections

VOXELS = np.zeros((5, 4, 3), np.uint8)
VOXELS[1:4, 1:3, 1:] = 7
VOXELS[2, 2, 2] = 9


def nifti1_bytes(voxels: np.ndarray = VOXELS, order: str = "<", **fields: object) -> bytes:
    """A single NIfTI-1 file, field by field at the offsets of nifti1.h."""
    codes = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "u2": 512, "u4": 768, "i8": 1024}
    header = bytearray(348)

    def put(offset: int, kind: str, *values: object) -> None:
        struct.pack_into(order + kind, header, offset, *values)

    put(0, "i", 348)
    put(40, "8h", *fields.get("dim", (voxels.ndim, *voxels.shape, *[1] * (7 - voxels.ndim))))
    put(70, "h", fields.get("datatype", codes[voxels.dtype.str[1:]]))
    put(72, "h", 8 * voxels.dtype.itemsize)
    put(76, "8f", fields.get("qfac", 1.0), *fields.get("pixdim", (1, 1, 1)), 0, 0, 0, 0)
    put(108, "f", fields.get("vox_offset", 352.0))
    put(112, "2f", *fields.get("scale", (0, 0)))
    put(123, "B", fields.get("units", 2))
    put(252, "2h", fields.get("qform_code", 0), fields.get("sform_code", 0))
    put(256, "6f", *fields.get("quaternion", (0, 0, 0)), *fields.get("offset", (0, 0, 0)))
    put(280, "12f", *np.ravel(fields.get("sform", np.eye(4)[:3])))
    header[344:348] = b"n+1\0"
    data = voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")
    return bytes(header) + bytes(fields.get("extension", b"\0\0\0\0")) + data


def read(tmp_path: Path, content: bytes, name: str = "labels.nii", **options: object) -> CrossSections:
    path = tmp_path / name
    path.write_bytes(content)
    return nifti.read(path, SliceOptions(**options))


def refusal(tmp_path: Path, content: bytes, name: str = "labels.nii", **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def position(sections: CrossSections, *index: int) -> np.ndarray:
    return (sections.volume.affine @ (*index, 1))[:3]


def test_sform_places_voxels_in_ras_millimetres(tmp_path: Path):
    sform = [[0, -2, 0, 10], [1.5, 0, 0.5, -20], [0, 0, 4, 30]]
    sections = read(tmp_path, nifti1_bytes(sform_code=1, qform_code=1, sform=sform))
    assert position(sections, 1, 2, 1) == pytest.approx([10 - 4, -20 + 1.5 + 0.5, 34])
    assert sections.unit == "mm" and sections.notes == ()
    assert sections.volume.labels.dtype == np.uint16
    np.testing.assert_array_equal(sections.volume.labels, VOXELS)


def test_qform_turns_scales_and_mirrors(tmp_path: Path):
    """A quarter turn about z (b = c = 0, d = sin 45 deg) maps i to y and j to -x; qfac -1 mirrors k."""
    fields = {"qform_code": 1, "quaternion": (0, 0, 0.5**0.5), "offset": (5, 6, 7), "pixdim": (2, 3, 4), "qfac": -1.0}
    sections = read(tmp_path, nifti1_bytes(**fields))
    assert position(sections, 1, 0, 0) == pytest.approx([5, 8, 7], abs=1e-5)
    assert position(sections, 0, 1, 0) == pytest.approx([2, 6, 7], abs=1e-5)
    assert position(sections, 0, 0, 1) == pytest.approx([5, 6, 3], abs=1e-5)


def test_oblique_qform_against_the_quaternion_formula(tmp_path: Path):
    b, c, d = 0.1, -0.2, 0.3
    a = (1 - b * b - c * c - d * d) ** 0.5
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    content = nifti1_bytes(qform_code=1, quaternion=(b, c, d), offset=(1, 2, 3), pixdim=(0.5, 0.7, 2))
    expected = turn @ (0.5 * 3, 0.7 * 2, 2 * 1) + (1, 2, 3)
    assert position(read(tmp_path, content), 3, 2, 1) == pytest.approx(expected, abs=1e-5)


def test_simpleitk_and_this_reader_agree_but_for_the_sign_of_x_and_y(tmp_path: Path):
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(VOXELS.transpose(2, 1, 0))
    image.SetSpacing((0.5, 1.5, 3))
    image.SetOrigin((-7, 8, 9))
    image.SetDirection((0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / "itk.nii.gz"))
    sections = nifti.read(tmp_path / "itk.nii.gz", SliceOptions())
    for index in ((0, 0, 0), (4, 1, 2), (1, 3, 1)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        assert position(sections, *index) == pytest.approx([-x, -y, z], abs=1e-4)
    np.testing.assert_array_equal(sections.volume.labels, VOXELS)


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "u4", "f4", "f8", "i8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_plain_type_in_both_byte_orders(tmp_path: Path, kind: str, order: str):
    sections = read(tmp_path, nifti1_bytes(VOXELS.astype(kind), order))
    np.testing.assert_array_equal(sections.volume.labels, VOXELS)


def test_scaled_values_and_trailing_axes(tmp_path: Path):
    content = nifti1_bytes(VOXELS.astype("i2"), scale=(2.0, 0.0), dim=(5, 5, 4, 3, 1, 1, 1, 1))
    np.testing.assert_array_equal(read(tmp_path, content).volume.labels, 2 * VOXELS)


def test_nifti2_of_nibabel(tmp_path: Path):
    nib.save(nib.Nifti2Image(VOXELS, np.diag([1.0, 2, 3, 1])), tmp_path / "two.nii.gz")
    sections = nifti.read(tmp_path / "two.nii.gz", SliceOptions())
    assert position(sections, 1, 1, 1) == pytest.approx([1, 2, 3])


@pytest.mark.parametrize(("units", "factor", "note"), [(1, 1000, "times 1000"), (3, 1e-3, "times 0.001"), (2, 1, "")])
def test_other_units_become_millimetres(tmp_path: Path, units: int, factor: float, note: str):
    sections = read(tmp_path, nifti1_bytes(sform_code=1, units=units, sform=np.diag([1, 2, 3, 1])[:3]))
    assert sections.volume.spacing == pytest.approx(factor * np.array([1, 2, 3]))
    assert sections.unit == "mm" and note in "".join(sections.notes)


def test_what_is_assumed_is_said(tmp_path: Path):
    sections = read(tmp_path, nifti1_bytes(units=0))
    assert len(sections.notes) == 2 and "no orientation" in sections.notes[0] and "no unit" in sections.notes[1]
    assert sections.unit == "mm"
    assert read(tmp_path, nifti1_bytes(units=0), unit="m").unit == "m"


def test_slices_run_along_the_coarsest_axis_or_the_third(tmp_path: Path):
    def axis(*spacing: float, **options: object) -> int:
        sform = np.diag([*spacing, 1])[:3]
        return read(tmp_path, nifti1_bytes(sform_code=1, sform=sform), **options).volume.axis

    assert [axis(3, 1, 1), axis(1, 3, 1), axis(1, 1, 3), axis(2, 2, 2), axis(2, 2, 1)] == [0, 1, 2, 2, 1]
    assert axis(1, 1, 1.0000001) == 2 and axis(1.0000001, 1, 1) == 2
    assert axis(3, 1, 1, axis=1) == 1


def test_keep_every_takes_slices_from_the_first_on(tmp_path: Path):
    voxels = np.ones((4, 3, 10), np.uint8)
    volume = read(tmp_path, nifti1_bytes(voxels), keep_every=4).volume
    assert volume.kept.tolist() == [0, 4, 8] and volume.left_out.tolist() == [1, 2, 3, 5, 6, 7]


def test_labels_that_no_kept_slice_shows_are_noted(tmp_path: Path):
    voxels = VOXELS.copy()
    voxels[:, :, 1] = 3
    sections = read(tmp_path, nifti1_bytes(voxels), keep_every=2)
    assert [label.id for label in sections.labels] == [7, 9]
    assert any("left-out slices only, not reconstructed: 1" in note for note in sections.notes)


def test_large_ids_are_renumbered_and_kept_in_the_names(tmp_path: Path):
    voxels = VOXELS.astype("u4")
    voxels[voxels == 7] = 614_454_277
    sections = read(tmp_path, nifti1_bytes(voxels))
    assert [(label.id, label.name) for label in sections.labels] == [(1, "label 9"), (2, "label 614454277")]
    assert sections.volume.labels[1, 1, 1] == 2 and sections.volume.labels[2, 2, 2] == 1


def test_names_and_colours_of_the_extension(data_dir: Path):
    sections = nifti.read(data_dir / "slices" / "ct_abdomen.nii.gz", SliceOptions())
    assert len(sections.labels) == 41
    assert sections.labels[0].name == "spleen" and sections.labels[0].color == pytest.approx((0, 1, 0))
    assert position(sections, 0, 0, 0) == pytest.approx([-177.95632935, 11.31900024, 94.30175781])


def test_names_and_colours_of_the_json_beside_it(real_data: Path):
    sections = nifti.read(real_data / "slices/bigbrain_nuclei/bigbrain.nii.gz", SliceOptions())
    assert len(sections.labels) == 22
    assert (sections.labels[14].id, sections.labels[14].name) == (15, "Left-thalamus")
    assert sections.labels[14].color == pytest.approx((0, 118 / 255, 14 / 255))


@pytest.mark.parametrize("table", ['{"R": [0], "G": [0], "B": [0], "labels": 3}', "{", '["a"]'])
def test_a_sidecar_that_is_no_table_does_not_stop_the_reader(tmp_path: Path, table: str):
    (tmp_path / "labels.json").write_text(table)
    assert [label.name for label in read(tmp_path, nifti1_bytes()).labels] == ["label 7", "label 9"]


def test_an_extension_with_entities_is_left_out(tmp_path: Path):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><LabelTable><Label Key="7">&a;</Label></LabelTable>'
    block = bomb.ljust((len(bomb) + 8 + 15) // 16 * 16 - 8, b"\0")
    extension = b"\1\0\0\0" + struct.pack("<2i", len(block) + 8, 0) + block
    sections = read(tmp_path, nifti1_bytes(extension=extension, vox_offset=348.0 + len(extension)))
    assert sections.labels[0].name == "label 7" and any("entities" in note for note in sections.notes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not NIfTI"),
        (b"garbage" * 100, "is not NIfTI"),
        (nifti1_bytes()[:200], "ends within its header"),
        (nifti1_bytes()[:-1], "promises 60 voxels, but the data end after 59"),
        (nifti1_bytes(dim=(3, 2000, 1000, 400, 1, 1, 1, 1)), "promises 800000000 bytes of voxels"),
        (nifti1_bytes(dim=(3, 30000, 30000, 30000, 1, 1, 1, 1)), "are more than the 1,000,000,000 that fit"),
        (nifti1_bytes(dim=(3, -5, 4, 3, 1, 1, 1, 1)), "a label volume has three axes"),
        (nifti1_bytes(dim=(2, 5, 12, 1, 1, 1, 1, 1)), "a label volume has three axes"),
        (nifti1_bytes(dim=(4, 5, 4, 1, 3, 1, 1, 1)), "a label volume has three axes"),
        (nifti1_bytes(vox_offset=1e30), "voxels start at byte 1e+30"),
        (nifti1_bytes(vox_offset=float("nan")), "voxels start at byte nan"),
        (nifti1_bytes(datatype=128), "not plain numbers"),
        (nifti1_bytes(datatype=4242), "unknown type 4242"),
        (nifti1_bytes(VOXELS * 0.5), "holds fractions such as 3.5: an image"),
        (nifti1_bytes(np.where(VOXELS, np.nan, 0.0)), "holds NaN or infinite voxels"),
        (nifti1_bytes(VOXELS.astype("i2") - 5), "holds negative values such as -5: an image"),
        (nifti1_bytes(VOXELS * 0), "holds no label: every voxel is 0"),
        (nifti1_bytes(sform_code=1, sform=np.zeros((3, 4))), "orientation is not usable"),
        (nifti1_bytes(sform_code=1, sform=np.full((3, 4), np.nan)), "orientation is not usable"),
        (nifti1_bytes(qform_code=1, quaternion=(1, 1, 1)), "qform is not usable"),
        (nifti1_bytes(qform_code=1, pixdim=(-1, 1, 1)), "qform is not usable"),
        (nifti1_bytes(VOXELS[:, :, :1].copy()), "keeps 1; a shape between slices needs at least two"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: bytes, says: str):
    assert says in refusal(tmp_path, content)


def test_options_that_do_not_fit(tmp_path: Path):
    assert "--axis 3: a volume has the array axes 0, 1 and 2" in refusal(tmp_path, nifti1_bytes(), axis=3)
    assert "--keep-every 3 of 3 slice(s)" in refusal(tmp_path, nifti1_bytes(), keep_every=3)
    only_between = np.zeros((3, 3, 3), np.uint8)
    only_between[:, :, 1] = 1
    assert "holds no label on the slices kept" in refusal(tmp_path, nifti1_bytes(only_between), keep_every=2)


def test_an_image_is_not_taken_for_a_label_map(tmp_path: Path, real_data: Path):
    noise = np.random.default_rng(0).integers(0, 200, (20, 20, 4)).astype(np.uint8)
    assert "a picture (CT, MRI" in refusal(tmp_path, nifti1_bytes(noise))
    ct = np.asarray(nib.load(real_data / "slices/ct_heart_seg/ct_cropped.nii.gz").dataobj)[:, :, :8]
    window = np.clip((ct + 200) / 2, 0, 255).astype(np.uint8)
    assert "a picture (CT, MRI" in refusal(tmp_path, nifti1_bytes(window))


def test_thousands_of_labels_are_kept(tmp_path: Path):
    cells = np.kron(np.arange(1, 4097).reshape(16, 16, 16), np.ones((3, 3, 3), int)).astype(np.uint16)
    assert len(read(tmp_path, nifti1_bytes(cells)).labels) == 4096


def peak_of_reading(path: Path) -> tuple[int, str]:
    """The most memory that reading takes, and the refusal if there is one."""
    tracemalloc.start()
    try:
        nifti.read(path, SliceOptions())
        said = ""
    except UserError as error:
        said = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, said


def test_a_gzip_bomb_takes_no_memory(tmp_path: Path):
    """One file that promises little and expands to 300 MB, and one that promises 900 MB and holds 10 kB."""
    bomb = tmp_path / "bomb.nii.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as stream:
        stream.write(nifti1_bytes())
        for _ in range(300):
            stream.write(bytes(1 << 20))
    peak, said = peak_of_reading(bomb)
    assert said == "" and peak < 40e6
    liar = tmp_path / "liar.nii.gz"
    content = nifti1_bytes(dim=(3, 3000, 3000, 100, 1, 1, 1, 1)) + np.random.default_rng(0).bytes(10_000)
    liar.write_bytes(gzip.compress(content))
    peak, said = peak_of_reading(liar)
    assert "promises 900000000 bytes" in said and "can expand to" in said and peak < 5e6


def test_a_damaged_gzip_stream(tmp_path: Path):
    whole = gzip.compress(nifti1_bytes(np.random.default_rng(0).integers(0, 3, (30, 30, 30)).astype(np.uint8)))
    assert "cut short" in refusal(tmp_path, whole[: len(whole) // 2], "labels.nii.gz")
    damaged = whole[:100] + bytes(200) + whole[300:]
    assert "damaged" in refusal(tmp_path, damaged, "labels.nii.gz")

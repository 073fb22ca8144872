"""The choice of the format, options that do not fit, and damaged files of every format."""

from __future__ import annotations

import importlib
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from recon.errors import UserError
from recon.formats import FORMATS, SliceOptions, format_of, read
from recon.inputs import CrossSections

FOREIGN = Path(__file__).parent / "foreign"


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(path, SliceOptions(**options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("a.csl", "csl"),
        ("A.CSL", "csl"),
        ("a.nii", "nifti"),
        ("a.b.nii.gz", "nifti"),
        ("a.seg.nrrd", "nrrd"),
        ("a.nhdr", "nrrd"),
        ("a.dcm", "dicom"),
        ("a.TIFF", "image_stack"),
        ("a.geojson", "geojson"),
        ("a.json", "geojson"),
    ],
)
def test_a_file_is_known_by_its_suffix(tmp_path: Path, name: str, module: str):
    (tmp_path / name).touch()
    assert format_of(tmp_path / name).module == f"recon.formats.{module}"


def test_what_cannot_be_known_is_refused(tmp_path: Path):
    assert "there is no such file" in refusal(tmp_path / "missing.csl")
    (tmp_path / "a.gz").touch()
    assert "its format is not known by its name; the formats of slices are .csl, .nii" in refusal(tmp_path / "a.gz")


def test_a_folder_is_known_by_its_files(tmp_path: Path):
    assert "holds neither DICOM files (.dcm) nor images" in refusal(tmp_path)
    (tmp_path / "a.csl").touch()
    assert "holds files of CSL contours; name one of them" in refusal(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / ".b.dcm").touch()
    assert format_of(tmp_path).name == "image stack"
    (tmp_path / "b.dcm").touch()
    assert "holds files of DICOM RTSTRUCT or SEG and image stack" in refusal(tmp_path)


def test_options_that_do_not_fit_are_refused(data_dir: Path):
    contours, volume = data_dir / "slices" / "eight_parallel12.csl", data_dir / "slices" / "brain.nrrd"
    assert "--keep-every and --axis choose slices of a label volume" in refusal(contours, keep_every=2)
    assert "--keep-every and --axis choose slices of a label volume" in refusal(contours, axis=1)
    assert "the option is for image stacks" in refusal(volume, spacing=(1, 1, 1))
    assert "--keep-every 0" in refusal(volume, keep_every=0)
    assert "--unit furlong: the unit of length is mm or m" in refusal(volume, unit="furlong")


def test_the_unit_of_the_option_yields_to_the_files(data_dir: Path, tmp_path: Path):
    assert read(data_dir / "slices" / "eight_parallel12.csl", SliceOptions(unit="m")).unit == "m"
    sections = read(FOREIGN / "highdicom_binary.dcm", SliceOptions(unit="m"))
    assert sections.unit == "mm" and "The file states its unit, mm; --unit m is not used." in sections.notes


def test_slices_stand_upright_where_the_user_says_how(data_dir: Path):
    path = data_dir / "slices" / "eight_parallel12.csl"
    plain, turned = read(path), read(path, SliceOptions(up="-z"))
    assert isinstance(plain, CrossSections) and plain.up == (0, 0, 1) and turned.up == (0, 0, -1)
    assert all(np.array_equal(a.origin, b.origin) for a, b in zip(plain.planes, turned.planes, strict=True))


def test_a_folder_of_the_right_suffix_is_no_file(tmp_path: Path):
    (tmp_path / "a.csl").mkdir()
    assert "holds neither" in refusal(tmp_path / "a.csl")


@pytest.mark.parametrize("module", ["csl", "nifti", "nrrd", "geojson"])
def test_what_the_system_refuses_is_said(tmp_path: Path, module: str):
    reader = importlib.import_module(f"recon.formats.{module}")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)$"):
        reader.read(tmp_path, SliceOptions())


def test_no_format_loads_before_it_is_met():
    """The registry costs nothing: neither the readers nor what they need is imported with it."""
    code = (
        "import recon.formats, sys; print(*(m for m in sys.modules if m.startswith(('recon', 'nibabel', 'pydicom'))))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) == {
        "recon",
        "recon.errors",
        "recon.formats",
        "recon.formats.options",
        "recon.formats.untrusted",
        "recon.inputs",
        "recon.slices",
        "recon.tracing",
    }


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One sound file of each format, small."""
    import nibabel
    import tifffile

    data = Path(__file__).resolve().parents[3] / "data" / "slices"
    folder = tmp_path_factory.mktemp("whole")
    cut = nibabel.load(data / "ct_abdomen.nii.gz").slicer[40:60, 40:60, 10:16]
    nibabel.save(cut, folder / "part.nii")
    nibabel.save(cut, folder / "part.nii.gz")
    voxels = np.asarray(cut.dataobj)
    header = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 20 20 6\nencoding: raw\nspacings: 1 1 3\n\n"
    (folder / "part.nrrd").write_bytes(header + voxels.tobytes(order="F"))
    tifffile.imwrite(folder / "part.tif", voxels.transpose(2, 1, 0), photometric="minisblack")
    shutil.copy(data / "eight_parallel12.csl", folder)
    shutil.copy(FOREIGN / "highdicom_binary.dcm", folder)
    shutil.copy(FOREIGN / "highdicom_labelmap_rle.dcm", folder)
    (folder / "lines.geojson").write_bytes(
        (data / "st_helens.geojson").read_bytes()[:8000].rpartition(b',{"type"')[0] + b"]}"
    )
    return sorted(folder.iterdir())


def truncated(content: bytes) -> Iterator[bytes]:
    """The file cut short within its first 400 bytes, at 30 places over the whole, and at its end."""
    ends = {*range(0, min(400, len(content)), 20), *np.linspace(0, len(content) - 1, 30).astype(int).tolist()}
    for end in sorted({*ends, len(content) - 1, len(content) - 2}):
        yield content[:end]


def damaged(content: bytes, rng: random.Random) -> Iterator[bytes]:
    """Bytes changed, taken out and put in, half of them near the start."""
    for trial in range(60):
        broken = bytearray(content)
        reach = len(broken) if trial % 2 else min(600, len(broken))
        start = rng.randrange(reach)
        if trial % 3 == 0:
            broken[start : start + 3] = rng.randbytes(3)
        elif trial % 3 == 1:
            del broken[start : start + rng.randrange(1, 50)]
        else:
            broken[start:start] = rng.randbytes(rng.randrange(1, 20))
        yield bytes(broken)


@pytest.mark.filterwarnings("error")
def test_damaged_files_are_read_or_refused_in_one_sentence(whole_files: list[Path], tmp_path: Path):
    rng = random.Random(0)
    assert {format_of(path).name for path in whole_files} == {
        row.name for row in FORMATS if row.options is SliceOptions
    }
    for whole in whole_files:
        assert read(whole, SliceOptions()).planes
        content = whole.read_bytes()
        refused = 0
        for broken in (*truncated(content), *damaged(content, rng)):
            path = tmp_path / whole.name
            path.write_bytes(broken)
            try:
                assert read(path, SliceOptions()).planes
            except UserError as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error)
                refused += 1
        assert refused > 30


@pytest.mark.parametrize(
    "name", ["rtstruct_breast/rtss.dcm", "seg3d_brain/Skull.nrrd", "bigbrain_nuclei/bigbrain.nii.gz"]
)
@pytest.mark.slow
def test_real_files_cut_short(real_data: Path, tmp_path: Path, name: str):
    content = (real_data / "slices" / name).read_bytes()
    path = tmp_path / Path(name).name
    for end in np.linspace(0, len(content) - 1000, 40).astype(int).tolist():
        path.write_bytes(content[:end])
        assert refusal(path).startswith(str(path))

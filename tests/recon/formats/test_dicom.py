"""RTSTRUCT and SEG: objects built attribute by attribute from the standard, files of other programs, and a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from recon.errors import UserError
from recon.formats import SliceOptions, dicom, read
from recon.inputs import CrossSections
from recon.slices import Plane

FOREIGN = Path(__file__).parent / "foreign"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
SQUARE = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], float)


def save(path: Path, dataset: Dataset, sop_class: str) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    FileDataset(path, dataset, preamble=bytes(128), file_meta=meta).save_as(path, enforce_file_format=True)
    return path


def item(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def at(outline: np.ndarray, z: float) -> np.ndarray:
    """An outline of (x, y) in the axial plane of height z."""
    return np.column_stack([outline, np.full(len(outline), z)])


def rtstruct(path: Path, rois: dict[str, list], kinds: dict[str, str] | None = None) -> Path:
    """A structure set with ROIs numbered 10, 20, ... ; the k-th is drawn in the colour (k, 0, 255)."""
    dataset = Dataset()
    dataset.Modality = "RTSTRUCT"
    numbered = {name: 10 * (k + 1) for k, name in enumerate(rois)}
    dataset.StructureSetROISequence = [item(ROINumber=number, ROIName=name) for name, number in numbered.items()]
    dataset.ROIContourSequence = []
    for k, (name, contours) in enumerate(rois.items()):
        drawn = []
        for contour in contours:
            points = np.asarray(contour)
            written = [f"{value:.10g}"[:16] for value in points.ravel()]
            kind = (kinds or {}).get(name, "CLOSED_PLANAR")
            drawn.append(item(ContourGeometricType=kind, NumberOfContourPoints=len(points), ContourData=written))
        dataset.ROIContourSequence.append(
            item(ReferencedROINumber=numbered[name], ROIDisplayColor=[k, 0, 255], ContourSequence=drawn)
        )
    return save(path, dataset, RTSTRUCT)


def sections_of(path: Path, **options: object) -> CrossSections:
    return dicom.read(path, SliceOptions(**options))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        sections_of(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def area(plane: Plane, label: int) -> float:
    """The area of a label on a plane, holes taken off."""
    from shapely import Polygon

    return sum((-1) ** r.hole * Polygon(r.vertices).area for r in plane.rings if r.label == label)


def test_contours_keep_lps_coordinates_names_and_colours(tmp_path: Path):
    path = rtstruct(tmp_path / "a.dcm", {"Heart": [at(SQUARE, 3), at(SQUARE, 0)], "Lung": [at(SQUARE + 20, 3)]})
    sections = sections_of(path)
    assert [(label.id, label.name, label.color) for label in sections.labels] == [
        (1, "Heart", (0, 0, 1)),
        (2, "Lung", (1 / 255, 0, 1)),
    ]
    assert not sections.partition and sections.unit == "mm"
    low, high = sections.planes
    assert [ring.label for ring in low.rings] == [1] and [ring.label for ring in high.rings] == [1, 2]
    np.testing.assert_allclose(high.to_world(high.rings[1].vertices), at(SQUARE + 20, 3), atol=1e-9)
    assert sections.notes == ("ROIs drawn on a single plane: 1 (Lung).",)


def test_oblique_contours_are_grouped_by_their_plane(tmp_path: Path):
    u, v = np.array([0.8, 0.6, 0]), np.array([0, 0, 1.0])
    n = np.cross(u, v)
    contours = [5 * k * n + (SQUARE + shift) @ np.array([u, v]) for k in range(3) for shift in (0, 30)]
    planes = sections_of(rtstruct(tmp_path / "a.dcm", {"a": contours})).planes
    assert [len(plane.rings) for plane in planes] == [2, 2, 2]
    for plane in planes:
        assert abs(plane.normal @ n) == pytest.approx(1, abs=1e-9)
    heights = sorted(abs(float(plane.origin @ n)) for plane in planes)
    assert heights == pytest.approx([0, 5, 10], abs=1e-6)


def test_contours_in_one_plane_combine_by_even_odd(tmp_path: Path):
    """A ring in a ring is a hole and one in that an island; a keyhole's seam vanishes; XOR contours are the same."""
    hole, island = SQUARE * 0.6 + 2, SQUARE * 0.2 + 4
    nested = [at(SQUARE, 0), at(island, 0), at(hole, 0), at(SQUARE, 2)]
    keyhole = np.vstack([SQUARE, SQUARE[:1], hole[:1], hole[::-1], SQUARE[:1]])
    path = rtstruct(
        tmp_path / "a.dcm",
        {"nested": nested, "keyhole": [at(keyhole, 0), at(SQUARE, 2)], "xor": nested},
        kinds={"xor": "CLOSEDPLANAR_XOR"},
    )
    plane = sections_of(path).planes[0]
    assert [area(plane, label) for label in (1, 2, 3)] == pytest.approx([100 - 36 + 4, 100 - 36, 100 - 36 + 4])
    assert sum(ring.hole for ring in plane.rings if ring.label == 2) == 1
    assert len([ring for ring in plane.rings if ring.label == 2]) == 2


def test_contours_that_cross_are_resolved_and_noted(tmp_path: Path):
    sections = sections_of(rtstruct(tmp_path / "a.dcm", {"a": [at(SQUARE, 0), at(SQUARE + 5, 0), at(SQUARE, 2)]}))
    assert area(sections.planes[0], 1) == pytest.approx(100 + 100 - 2 * 25)
    assert any("cross themselves or each other" in note for note in sections.notes)


def test_what_encloses_nothing_is_left_out_with_a_note(tmp_path: Path):
    rois = {
        "a": [at(SQUARE, 0), at(SQUARE, 2), at(SQUARE[:2], 1)],
        "isocentre": [[[1, 2, 3]]],
        "line": [at(SQUARE, 1)],
        "empty": [],
    }
    sections = sections_of(rtstruct(tmp_path / "a.dcm", rois, kinds={"isocentre": "POINT", "line": "OPEN_NONPLANAR"}))
    assert [label.name for label in sections.labels] == ["a"] and len(sections.planes) == 2
    told = " ".join(sections.notes)
    assert "type POINT, which enclose nothing, left out: 1 (isocentre)" in told
    assert "type OPEN_NONPLANAR, which enclose nothing, left out: 1 (line)" in told
    assert "ROIs without closed contours, left out: 3 (isocentre, line, empty)" in told
    assert "Contours without area, left out: 1 (a)" in told


def test_a_plane_is_silent_about_rois_that_are_drawn_between_its_neighbours(tmp_path: Path):
    """`every` is drawn on all planes z = 0..8, `second` on 2, 4, 6, `coronal` on planes of constant y."""
    coronal = [np.column_stack([SQUARE[:, 0], np.full(4, y), SQUARE[:, 1]]) for y in (20.0, 23.0)]
    rois = {
        "every": [at(SQUARE, z) for z in range(9)],
        "second": [at(SQUARE, z) for z in (2, 4, 6)],
        "coronal": coronal,
    }
    sections = sections_of(rtstruct(tmp_path / "a.dcm", rois))
    axial = {round(plane.origin[2]): plane for plane in sections.planes if abs(plane.normal[2]) > 0.9}
    assert sorted(z for z, plane in axial.items() if 2 in plane.silent_about) == [1, 3, 5, 7]
    assert all(3 in plane.silent_about and 1 not in plane.silent_about for plane in axial.values())
    other = [plane for plane in sections.planes if abs(plane.normal[1]) > 0.9]
    assert len(other) == 2 and all(plane.silent_about == {1, 2} for plane in other)


@pytest.mark.parametrize(
    ("rois", "says"),
    [
        ({}, "none of its 0 ROIs has a closed contour"),
        ({"a": [at(SQUARE, 0), at(SQUARE + 30, 0)]}, "all its contours lie in one plane"),
        ({"a": [at(SQUARE, 0) + [[0, 0, 5], [0, 0, 0], [0, 0, 0], [0, 0, 0]], at(SQUARE, 9)]}, "ROI a: a contour lies"),
        ({"a": [at(SQUARE, 0), np.full((4, 3), np.nan)]}, "ROI a, contour 2: its coordinates should be finite"),
        ({"a": [at(SQUARE, 0), [[1.0, 2.0]] * 4 + [[3.0, 4.0]]]}, "10 coordinates are no whole number of points"),
    ],
)  # fmt: skip
def test_wrong_contours_are_one_sentence(tmp_path: Path, rois: dict, says: str):
    assert says in refusal(rtstruct(tmp_path / "a.dcm", rois))


def test_the_real_structure_set(real_data: Path):
    """Its folder holds the RTSTRUCT beside a CT slice; the contours end at the slice's height (168.5593)."""
    sections = read(real_data / "slices" / "rtstruct_breast", SliceOptions())
    names = ["BODY", "Borders", "Breast", "Heart", "Lt Lung", "Nodes", "Scar", "Tumor Bed", "Tumor Bed Block"]
    assert [label.name for label in sections.labels] == names
    assert sections.labels[3].color == pytest.approx((1, 128 / 255, 0))
    assert "ROIs without closed contours, left out: 1 (Areola)." in sections.notes
    heights = [float(plane.origin @ plane.normal) for plane in sections.planes]
    assert len(heights) == 98 and np.diff(heights) == pytest.approx(3)
    assert heights[-1] == pytest.approx(168.5593, abs=0.01)
    assert all(not plane.silent_about for plane in sections.planes)


def seg(path: Path, frames: dict[tuple[int, int], np.ndarray], **changes: object) -> Path:
    """A BINARY segmentation: {(segment, slice): (rows, columns) mask}; slices 2 mm apart along x cross y."""
    x, y, origin = np.array([0, 1.0, 0]), np.array([0, 0, -1.0]), np.array([-5, 6, 7.0])
    rows, columns = next(iter(frames.values())).shape
    dataset = Dataset()
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = rows, columns, len(frames)
    dataset.BitsAllocated = dataset.BitsStored = dataset.SamplesPerPixel = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.PhotometricInterpretation, dataset.SegmentationType = "MONOCHROME2", "BINARY"
    dataset.SegmentSequence = [
        item(SegmentNumber=number, SegmentLabel=f"segment {number}") for number in sorted({key[0] for key in frames})
    ]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[*x, *y])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25], SliceThickness=2)],
    )
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=list(origin + 2 * index * np.cross(x, y)))],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
        )
        for number, index in frames
    ]
    bits = np.concatenate([mask.ravel() for mask in frames.values()]).astype(np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    dataset.PixelData = packed + bytes(len(packed) % 2)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return save(path, dataset, SEGMENTATION)


MASK = np.zeros((5, 7), bool)
MASK[1:4, 2:6] = True


def test_segments_stand_at_their_frames_positions(tmp_path: Path):
    """Frames out of order, and a slice between them that no frame names."""
    volume = sections_of(seg(tmp_path / "a.dcm", {(1, 3): MASK, (1, 0): MASK, (2, 1): ~MASK})).volume
    assert volume.labels.shape == (7, 5, 4) and volume.labels.dtype == np.uint16
    # pixel (row 2, column 6) of slice 3: (-5, 6, 7) + 6 * .25 (0, 1, 0) + 2 * .5 (0, 0, -1) + 3 * 2 (-1, 0, 0)
    assert (volume.affine @ (6, 2, 3, 1))[:3] == pytest.approx([-11, 7.5, 6])
    np.testing.assert_array_equal(volume.labels[:, :, 3].T, MASK)
    np.testing.assert_array_equal(volume.labels[:, :, 1].T, np.where(MASK, 0, 2))
    assert not volume.labels[:, :, 2].any()


def test_overlapping_segments_are_noted(tmp_path: Path):
    frames = {(1, 0): MASK, (1, 1): MASK, (2, 1): MASK, (2, 2): MASK}
    sections = sections_of(seg(tmp_path / "a.dcm", frames))
    assert sections.notes == (f"Voxels in more than one segment, given to the later one: {MASK.sum()}.",)
    assert set(np.unique(sections.volume.labels[:, :, 1])) == {0, 2}


@pytest.mark.parametrize("name", ["highdicom_binary", "highdicom_labelmap_rle", "highdicom_fractional"])
def test_files_of_highdicom(name: str):
    sections = sections_of(FOREIGN / f"{name}.dcm")
    expected = np.zeros((9, 6, 5), np.uint16)
    expected[2:7, 1:4, 1:4] = 1
    expected[6:9, 3:6, 2:4] = 2
    np.testing.assert_array_equal(sections.volume.labels, expected[:, :, 1:4])  # slices without a segment have no frame
    x, y, origin = np.array([0.8, 0.6, 0]), np.array([0, 0, -1.0]), np.array([10, 20, 30.0])
    point = origin + 3 * 0.7 * x + 2 * 0.5 * y + 2 * 2.0 * np.cross(x, y)
    assert (sections.volume.affine @ (3, 2, 1, 1))[:3] == pytest.approx(point)
    assert [label.name for label in sections.labels] == ["liver", "tumour"]
    assert sections.labels[1].color == pytest.approx((1, 0, 0), abs=0.04)  # CIELab (53, 80, 67)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Rows": 30000, "Columns": 30000}, "promises"),
        ({"Rows": 60000, "Columns": 60000}, "are more than the 1,000,000,000 that fit"),
        ({"Rows": 0}, "a label volume has three axes"),
        ({"NumberOfFrames": 50000}, "promises 50000 frames and describes 2"),
        ({"SegmentationType": "SURFACE"}, "its segmentation type is SURFACE"),
        ({"SharedFunctionalGroupsSequence": []}, "a frame lacks ImageOrientationPatient"),
        ({"PerFrameFunctionalGroupsSequence": None}, "promises 2 frames and describes 0"),
        ({"PixelData": b"\0\0"}, "is not sound DICOM"),
        ({"BitsAllocated": 8}, "less than expected (10 vs 70 bytes)"),
    ],
)
def test_a_segmentation_that_lies_is_one_sentence(tmp_path: Path, changes: dict, says: str):
    frames = {(1, 0): MASK, (1, 1): MASK}
    assert says in refusal(seg(tmp_path / "a.dcm", frames, **changes))


def test_uneven_frames_are_refused(tmp_path: Path):
    frames = {(1, 0): MASK, (1, 2): MASK, (1, 5): MASK}
    assert "not evenly spaced" in refusal(seg(tmp_path / "a.dcm", frames))


def test_other_kinds_and_garbage(tmp_path: Path):
    ct = save(tmp_path / "ct.dcm", item(Modality="CT"), CTImageStorage)
    assert "is DICOM of the kind CT Image Storage; regions come as RTSTRUCT or SEG" in refusal(ct)
    (tmp_path / "b.dcm").write_bytes(b"garbage" * 100)
    assert "is not a DICOM file" in refusal(tmp_path / "b.dcm")
    (tmp_path / "c.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 60)
    assert "c.dcm: " in refusal(tmp_path / "c.dcm")
    (tmp_path / "d.dcm").write_bytes(b"")
    assert "is not a DICOM file" in refusal(tmp_path / "d.dcm")


def test_a_folder_holds_one_region_file_beside_images(tmp_path: Path):
    save(tmp_path / "ct.dcm", item(Modality="CT"), CTImageStorage)
    assert "none of its 1 .dcm files is an RTSTRUCT or SEG" in refusal(tmp_path)
    rtstruct(tmp_path / "rt.dcm", {"a": [at(SQUARE, 0), at(SQUARE, 2)]})
    assert len(read(tmp_path, SliceOptions()).planes) == 2
    seg(tmp_path / "seg.dcm", {(1, 0): MASK, (1, 1): MASK})
    assert "holds 2 RTSTRUCT or SEG files (rt.dcm, seg.dcm)" in refusal(tmp_path)


def test_a_file_deflated_as_a_whole_is_refused_unread(tmp_path: Path):
    path = rtstruct(tmp_path / "rt.dcm", {"a": [at(SQUARE, 0), at(SQUARE, 2)]})
    content = path.read_bytes()
    plain, deflated = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    start = content.index(plain) - 2
    swapped = content[:start] + len(deflated).to_bytes(2, "little") + deflated + content[start + 2 + len(plain) :]
    group_length = int.from_bytes(swapped[140:144], "little") + len(deflated) - len(plain)
    path.write_bytes(swapped[:140] + group_length.to_bytes(4, "little") + swapped[144:])
    assert "is deflated as a whole" in refusal(path)

"""DICOM SEG: segments painted as frames (PS3.3 C.8.20), placed in LPS millimetres by each frame's position.

Pixel (column i, row j) of a frame at position p stands at p + i sx x + j sy y, with the directions x, y of the image
orientation and the pixel spacing (sy, sx). Frames are stacked into one volume; slices that no frame names are empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Shaped, UInt16
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels

from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.dicom_parsing import parsing
from recon.formats.label_map import MAX_LABEL, check_shape, label_sections
from recon.formats.labels import Color, color_from_cielab
from recon.formats.untrusted import check_promise, plain
from recon.inputs import CrossSections

UNEVEN = 0.02
"""Frame positions may be off an even spacing by this part of it: they are written as rounded decimals."""


@dataclass(frozen=True)
class _Frames:
    """What the file says of its frames: their size and kind, and for each its place and its segment's number.

    `orientations` are the directions along a row and down a column, `spacings` the distances between rows and between
    columns, `positions` the centres of the first pixels. In a label map the pixels are segment numbers themselves.
    """

    rows: int
    columns: int
    kind: str
    largest_value: int
    orientations: Float64[np.ndarray, "frames 6"]
    spacings: Float64[np.ndarray, "frames 2"]
    positions: Float64[np.ndarray, "frames 3"]
    segments: Int[np.ndarray, " frames"]


def read(path: Path, options: SliceOptions) -> CrossSections:
    """The segments as one label volume, ids their segment numbers; where segments overlap, the later one holds.

    Raises:
        UserError: the frames are not one stack of evenly spaced parallel slices, or are less than the header promises.
    """
    with parsing(path):
        header = dcmread(path, stop_before_pixels=True)
        frames = _frames(path, header)
        names, colors = _segments(header)
    affine, slice_of_frame = _stack(path, frames)
    voxels, shared = _paint(path, frames, slice_of_frame)
    notes: tuple[str, ...] = ()
    if shared:
        notes += (f"Voxels in more than one segment, given to the later one: {shared}.",)
    if frames.kind == "FRACTIONAL":
        notes += ("Fractional segments are cut at one half.",)
    return label_sections(path, voxels, affine, options, names=names, colors=colors, unit="mm", notes=notes)


def _frames(path: Path, header: Dataset) -> _Frames:
    """The frames, as many and as large as the header promises and the file can hold."""
    kind = plain(_required(path, header, "SegmentationType"))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise UserError(f"{path}: its segmentation type is {kind}; BINARY, FRACTIONAL and LABELMAP can be read")
    rows, columns, count = (int(_required(path, header, size)) for size in ("Rows", "Columns", "NumberOfFrames"))
    check_shape(path, (columns, rows, 1))
    if int(header.get("SamplesPerPixel", 1)) != 1:
        raise UserError(f"{path}: its pixels are colours; those of a segmentation are single numbers")
    groups = _required(path, header, "PerFrameFunctionalGroupsSequence")
    if count != len(groups) or count < 1:
        raise UserError(f"{path}: its header promises {count} frames and describes {len(groups)}")
    if not header.file_meta.TransferSyntaxUID.is_compressed:
        check_promise(path, count * rows * columns * int(header.BitsAllocated) // 8, path.stat().st_size)

    def of_each(group: str, keyword: str) -> list[Any]:
        return [_functional_group(path, header, frame, group, keyword) for frame in groups]

    segments = np.zeros(count, np.int64)
    if kind != "LABELMAP":
        segments[:] = of_each("SegmentIdentificationSequence", "ReferencedSegmentNumber")
    return _Frames(
        rows,
        columns,
        kind,
        int(header.get("MaximumFractionalValue", 1)),
        np.array(of_each("PlaneOrientationSequence", "ImageOrientationPatient"), np.float64).reshape(count, 6),
        np.array(of_each("PixelMeasuresSequence", "PixelSpacing"), np.float64).reshape(count, 2),
        np.array(of_each("PlanePositionSequence", "ImagePositionPatient"), np.float64).reshape(count, 3),
        segments,
    )


def _required(path: Path, dataset: Dataset, keyword: str) -> Any:
    value = dataset.get(keyword)
    if value is None or value == "":
        raise UserError(f"{path}: lacks the attribute {keyword}, which a segmentation needs")
    return value


def _functional_group(path: Path, header: Dataset, frame: Dataset, group: str, keyword: str) -> Any:
    """An attribute of a frame, from its own functional groups or the shared ones."""
    for groups in (frame, *header.get("SharedFunctionalGroupsSequence", [])[:1]):
        for item in groups.get(group, None) or []:
            if item.get(keyword) is not None:
                return item[keyword].value
    raise UserError(f"{path}: a frame lacks {keyword}; frames of slices state position, orientation and spacing")


def _stack(path: Path, frames: _Frames) -> tuple[Float64[np.ndarray, "4 4"], Int[np.ndarray, " frames"]]:
    """The volume's affine and each frame's slice in it. The step between slices is the least distance of two frames."""
    if np.ptp(frames.orientations, axis=0).max() > 1e-4 or np.ptp(frames.spacings, axis=0).max() > 1e-4:
        raise UserError(f"{path}: its frames differ in orientation or pixel spacing; they should be one stack")
    x, y = frames.orientations[0].reshape(2, 3)
    row_step, column_step = frames.spacings[0]
    depths = frames.positions @ np.cross(x, y)
    first, last = np.argmin(depths), np.argmax(depths)
    gaps = np.diff(np.sort(depths))
    gaps = gaps[gaps > 1e-3 * min(row_step, column_step)]
    if not np.isfinite(depths).all() or not len(gaps):
        raise UserError(f"{path}: its frames lie in one plane; a shape between slices needs at least two")
    slices = np.rint((depths - depths[first]) / gaps.min())
    check_shape(path, (frames.columns, frames.rows, int(slices.max()) + 1))
    step = (frames.positions[last] - frames.positions[first]) / slices.max()
    strays = np.linalg.norm(frames.positions - frames.positions[first] - np.outer(slices, step), axis=1)
    if strays.max() > UNEVEN * np.linalg.norm(step):
        raise UserError(f"{path}: its frames are not evenly spaced (off by {strays.max():.3g} mm); resample them first")
    affine = np.eye(4)
    affine[:3] = np.stack([x * column_step, y * row_step, step, frames.positions[first]], axis=1)
    return affine, slices.astype(np.int64)


def _paint(
    path: Path, frames: _Frames, slice_of_frame: Int[np.ndarray, " frames"]
) -> tuple[UInt16[np.ndarray, "nx ny nz"], int]:
    """The label volume, and how many voxels more than one segment claims."""
    if frames.segments.min() < 0 or frames.segments.max() > MAX_LABEL:
        raise UserError(f"{path}: a frame names segment {frames.segments.max()}; numbers run from 1 to {MAX_LABEL}")
    voxels = np.zeros((frames.columns, frames.rows, int(slice_of_frame.max()) + 1), np.uint16, order="F")
    shared = 0
    stored = _pixels(path)
    for number, index in zip(frames.segments, slice_of_frame, strict=True):
        pixels = next(stored, None)
        if pixels is None:
            raise UserError(f"{path}: its pixels end before the last of its {len(frames.segments)} frames")
        slice_ = voxels[:, :, index].T
        if frames.kind == "LABELMAP":
            slice_[:] = np.where(pixels > 0, pixels, slice_)
            continue
        inside = pixels >= max(frames.largest_value / 2, 1)
        shared += int((inside & (slice_ > 0) & (slice_ != number)).sum())
        slice_[inside] = number
    return voxels, shared


def _pixels(path: Path) -> Iterator[Shaped[np.ndarray, "rows columns"]]:
    """The frames one after the other. Frames of single bits follow each other without padding (PS3.5 8.1.1), lowest bit
    first, so that a frame may start within a byte; pydicom reads those wrong and is asked for the other kinds only."""
    with parsing(path):
        dataset = dcmread(path)
        if dataset.BitsAllocated != 1 or dataset.file_meta.TransferSyntaxUID.is_compressed:
            yield from iter_pixels(dataset, raw=True)
            return
        packed = np.frombuffer(dataset.PixelData, np.uint8)
        size = dataset.Rows * dataset.Columns
        for start in range(0, dataset.NumberOfFrames * size, size):
            bits = np.unpackbits(packed[start // 8 : (start + size + 7) // 8], bitorder="little")
            yield bits[start % 8 :][:size].reshape(dataset.Rows, dataset.Columns)


def _segments(header: Dataset) -> tuple[dict[int, str], dict[int, Color]]:
    names: dict[int, str] = {}
    colors: dict[int, Color] = {}
    for segment in header.get("SegmentSequence", []):
        number = int(segment.SegmentNumber)
        names[number] = str(segment.get("SegmentLabel", ""))
        color = segment.get("RecommendedDisplayCIELabValue")
        if color is not None and len(color) == 3:
            colors[number] = color_from_cielab(color)
    return names, colors

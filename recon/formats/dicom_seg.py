"""DICOM SEG: segments painted as frames (PS3.3 C.8.20), placed in LPS millimetres by each frame's position.

Pixel (column i, row j) of a frame at position p stands at p + i sx x + j sy y, with the directions x, y of the image
orientation and the pixel spacing (sy, sx). Frames are stacked into one volume; slices that no frame names are empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Shaped, UInt16
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels

from recon.errors import UserError
from recon.formats import ReadOptions
from recon.formats.label_map import MAX_LABEL, check_shape, label_sections
from recon.formats.labels import Color, color_from_cielab
from recon.formats.untrusted import check_promise
from recon.inputs import CrossSections

UNEVEN = 0.02
"""Frame positions may be off an even spacing by this part of it: they are written as rounded decimals."""


@dataclass(frozen=True)
class _Stack:
    """Where the frames stand: `affine` of the volume, its number of slices, and each frame's slice."""

    affine: Float64[np.ndarray, "4 4"]
    slices: int
    slice_of_frame: Int[np.ndarray, " frames"]


def read(path: Path, options: ReadOptions) -> CrossSections:
    """The segments as one label volume, ids their segment numbers; where segments overlap, the later one holds.

    Raises:
        UserError: the frames are not one stack of evenly spaced parallel slices, or are less than the header promises.
    """
    header = dcmread(path, stop_before_pixels=True)
    kind = str(_required(path, header, "SegmentationType"))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise UserError(f"{path}: its segmentation type is {kind}; BINARY, FRACTIONAL and LABELMAP can be read")
    frames = _frames(path, header)
    stack = _stack(path, header, frames)
    numbers = [0 if kind == "LABELMAP" else _segment_number(path, header, frame) for frame in frames]
    voxels, shared = _paint(path, header, stack, numbers)
    notes: tuple[str, ...] = ()
    if shared:
        notes += (f"Voxels in more than one segment, given to the later one: {shared}.",)
    if kind == "FRACTIONAL":
        notes += ("Fractional segments are cut at one half.",)
    names, colors = _segments(header)
    return label_sections(path, voxels, stack.affine, options, names=names, colors=colors, unit="mm", notes=notes)


def _required(path: Path, dataset: Dataset, keyword: str) -> Any:
    value = dataset.get(keyword)
    if value is None or value == "":
        raise UserError(f"{path}: lacks the attribute {keyword}, which a segmentation needs")
    return value


def _frames(path: Path, header: Dataset) -> Sequence[Dataset]:
    """The per-frame functional groups, one for each frame that the header promises; sizes checked against the file."""
    frames = _required(path, header, "PerFrameFunctionalGroupsSequence")
    rows, columns = int(_required(path, header, "Rows")), int(_required(path, header, "Columns"))
    count = int(_required(path, header, "NumberOfFrames"))
    check_shape(path, (columns, rows, 1))
    if count != len(frames):
        raise UserError(f"{path}: its header promises {count} frames and describes {len(frames)}")
    if not header.file_meta.TransferSyntaxUID.is_compressed:
        check_promise(path, count * rows * columns * int(header.BitsAllocated) // 8, path.stat().st_size)
    return frames


def _functional_group(path: Path, header: Dataset, frame: Dataset, group: str, keyword: str) -> Any:
    """An attribute of a frame, from its own functional groups or the shared ones."""
    for groups in (frame, *header.get("SharedFunctionalGroupsSequence", [])[:1]):
        for item in groups.get(group, None) or []:
            if item.get(keyword) is not None:
                return item[keyword].value
    raise UserError(
        f"{path}: a frame lacks {keyword}; a segmentation of slices gives position, orientation and spacing"
    )


def _segment_number(path: Path, header: Dataset, frame: Dataset) -> int:
    number = int(_functional_group(path, header, frame, "SegmentIdentificationSequence", "ReferencedSegmentNumber"))
    if not 1 <= number <= MAX_LABEL:
        raise UserError(f"{path}: a frame names segment {number}; numbers run from 1 to {MAX_LABEL}")
    return number


def _stack(path: Path, header: Dataset, frames: Sequence[Dataset]) -> _Stack:
    """Places the frames on evenly spaced slices: the step is the least distance between two of them."""

    def vectors(group: str, keyword: str, length: int) -> Float64[np.ndarray, "frames length"]:
        values = [_functional_group(path, header, frame, group, keyword) for frame in frames]
        if any(len(value) != length for value in values):
            raise UserError(f"{path}: a frame's {keyword} should hold {length} numbers")
        return np.array(values, np.float64)

    orientation = vectors("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = vectors("PixelMeasuresSequence", "PixelSpacing", 2)
    positions = vectors("PlanePositionSequence", "ImagePositionPatient", 3)
    if np.ptp(orientation, axis=0).max() > 1e-4 or np.ptp(spacing, axis=0).max() > 1e-4 * spacing.max():
        raise UserError(f"{path}: its frames differ in orientation or pixel spacing; they should be one stack")
    x, y = orientation[0].reshape(2, 3)
    row_step, column_step = spacing[0]
    depths = positions @ np.cross(x, y)
    first, last = np.argmin(depths), np.argmax(depths)
    gaps = np.diff(np.sort(depths))
    gaps = gaps[gaps > 1e-3 * min(row_step, column_step)]
    index = np.rint((depths - depths[first]) / gaps.min()).astype(int) if len(gaps) else np.zeros(len(frames), int)
    check_shape(path, (int(header.Columns), int(header.Rows), int(index.max()) + 1))
    step = (positions[last] - positions[first]) / max(int(index.max()), 1) if index.max() else np.cross(x, y)
    strays = np.linalg.norm(positions - positions[first] - np.outer(index, step), axis=1)
    if strays.max() > UNEVEN * np.linalg.norm(step):
        raise UserError(f"{path}: its frames are not evenly spaced (off by {strays.max():.3g} mm); resample them first")
    affine = np.eye(4)
    affine[:3] = np.stack([x * column_step, y * row_step, step, positions[first]], axis=1)
    return _Stack(affine, int(index.max()) + 1, index)


def _paint(
    path: Path, header: Dataset, stack: _Stack, numbers: Sequence[int]
) -> tuple[UInt16[np.ndarray, "nx ny nz"], int]:
    """The label volume, and how many voxels more than one segment claims. Number 0 takes the frame's own values."""
    voxels = np.zeros((int(header.Columns), int(header.Rows), stack.slices), np.uint16, order="F")
    threshold = int(header.get("MaximumFractionalValue", 1)) / 2
    shared = 0
    for pixels, number, index in zip(_pixels(path), numbers, stack.slice_of_frame, strict=True):
        slice_ = voxels[:, :, index].T
        if number == 0:
            slice_[:] = np.where(pixels > 0, pixels, slice_)
            continue
        inside = pixels >= max(threshold, 1)
        shared += int((inside & (slice_ > 0) & (slice_ != number)).sum())
        slice_[inside] = number
    return voxels, shared


def _pixels(path: Path) -> Iterator[Shaped[np.ndarray, "rows columns"]]:
    """The frames one after the other. Frames of single bits follow each other without padding (PS3.5 8.1.1), lowest bit
    first, so that a frame may start within a byte; pydicom reads those wrong and is asked for the other kinds only."""
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

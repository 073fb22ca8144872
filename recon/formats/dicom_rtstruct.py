"""DICOM RTSTRUCT: regions of interest as planar contours (PS3.3 C.8.8.5 and C.8.8.6), in LPS millimetres.

ROIs overlap as they like (a body and its organs), so each is a region of its own. Several contours of an ROI in one
plane combine by the even-odd rule: side by side they are parts, one in another it is a hole, and a hole drawn through
a seam (a keyhole) comes out as one. Contours are grouped to planes by geometry, for they need not be axial.

An ROI may be drawn on every second slice only. A plane between two of its contours, nearer to them than they are to
each other, is silent about it; other planes of the same direction say that it is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from pydicom import Dataset, dcmread

from recon.errors import UserError
from recon.formats import SliceOptions
from recon.formats.dicom_parsing import parsing
from recon.formats.labels import Color, color_from_bytes, label_table
from recon.formats.outlines import Remarks, combine_outlines, fit_plane, in_plane_axes
from recon.formats.untrusted import are_coordinates, plain
from recon.inputs import CrossSections
from recon.slices import Plane

SAME_PLANE = 0.05  # mm; contours are written to .01 or finer, slices stand .1 or more apart
OFF_PLANE_REFUSED = 1e-2  # of the extent
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


@dataclass
class _Slice:
    """A plane normal @ x = offset, with the contours drawn in it by label."""

    normal: Float64[np.ndarray, "3"]
    offset: float
    contours: dict[int, list[Float64[np.ndarray, "_ 3"]]] = field(default_factory=dict)


def read(path: Path, options: SliceOptions) -> CrossSections:
    """All ROIs that have closed contours, with their names and colours; ids follow the order of the structure set.

    Raises:
        UserError: no closed contour, all on one plane, a contour that is not planar or not finite, or a damaged file.
    """
    remarks = Remarks(path)
    with parsing(path):
        names, colors, drawn = _structure_set(dcmread(path), remarks)
    for label in sorted(names.keys() - {label for label, _ in drawn}):
        remarks.add("ROIs without closed contours, left out", names[label])
    planes = _planes(drawn, names, remarks)
    used = {ring.label for plane in planes for ring in plane.rings}
    if not used:
        raise UserError(f"{path}: none of its {len(names)} ROIs has a closed contour with an area")
    if len(planes) < 2:
        raise UserError(f"{path}: all its contours lie in one plane; a shape between planes needs at least two")
    for label in sorted(used):
        if sum(any(ring.label == label for ring in plane.rings) for plane in planes) == 1:
            remarks.add("ROIs drawn on a single plane", names[label])
    return CrossSections(
        label_table(used, names, colors), tuple(planes), partition=False, unit="mm", notes=remarks.sentences()
    )


def _structure_set(
    dataset: Dataset, remarks: Remarks
) -> tuple[dict[int, str], dict[int, Color], list[tuple[int, Float64[np.ndarray, "_ 3"]]]]:
    """Names and colours of the ROIs by label, and the closed contours with the label of each."""
    rois = dataset.get("StructureSetROISequence", [])
    names = {label: plain(roi.get("ROIName", "")) for label, roi in enumerate(rois, start=1)}
    by_number = {int(roi.ROINumber): label for label, roi in enumerate(rois, start=1)}
    colors: dict[int, Color] = {}
    drawn = []
    for item in dataset.get("ROIContourSequence", []):
        label = by_number.get(int(item.ReferencedROINumber))
        if label is None:
            remarks.add("Contours of an ROI that the structure set does not list", f"ROI {item.ReferencedROINumber}")
            continue
        if item.get("ROIDisplayColor") is not None and len(item.ROIDisplayColor) == 3:
            colors[label] = color_from_bytes(map(float, item.ROIDisplayColor))
        drawn += [(label, points) for points in _closed_contours(item, names[label], remarks)]
    return names, colors, drawn


def _closed_contours(item: Dataset, roi: str, remarks: Remarks) -> Iterator[Float64[np.ndarray, "_ 3"]]:
    """The vertices of an ROI's closed contours."""
    for number, contour in enumerate(item.get("ContourSequence", None) or [], start=1):
        kind = plain(contour.get("ContourGeometricType", ""))
        if kind not in CLOSED:
            remarks.add(f"Contours of type {kind or 'unknown'}, which enclose nothing, left out", roi)
            continue
        points = _coordinates(contour, f"ROI {roi}, contour {number}", remarks)
        if contour.get("NumberOfContourPoints") not in (None, len(points)):
            remarks.add("Contours with another number of points than they state", roi)
        if len(points):
            yield points


def _coordinates(contour: Dataset, place: str, remarks: Remarks) -> Float64[np.ndarray, "n 3"]:
    """ContourData as points. The decimal strings are parsed at once: pydicom makes an object of each."""
    element = contour.get_item("ContourData")
    stored = element.value if element is not None else b""
    words = stored.split(b"\\") if isinstance(stored, bytes) else list(stored or [])
    try:
        numbers = np.array([word for word in words if word not in (b"", b" ")], np.float64)
    except ValueError:
        raise remarks.wrong(place, "its coordinates should be decimal numbers") from None
    if len(numbers) % 3:
        raise remarks.wrong(place, f"{len(numbers)} coordinates are no whole number of points")
    if not are_coordinates(numbers):
        raise remarks.wrong(place, "its coordinates should be finite millimetres, no NaN or infinity")
    return numbers.reshape(-1, 3)


def _planes(
    drawn: Sequence[tuple[int, Float64[np.ndarray, "_ 3"]]], names: dict[int, str], remarks: Remarks
) -> list[Plane]:
    """The planes that hold the contours, each region's outlines combined; ordered by direction, then along it."""
    if not drawn:
        return []
    extent = float(np.ptp(np.concatenate([points for _, points in drawn]), axis=0).max())
    slices: list[_Slice] = []
    for label, points in sorted(drawn, key=lambda contour: -np.ptp(contour[1], axis=0).max()):
        if _flat(points):
            remarks.add("Contours without area, left out", names[label])
            continue
        _slice_of(points, slices, extent, names[label], remarks).contours.setdefault(label, []).append(points)
    slices.sort(key=lambda slice_: (*slice_.normal.tolist(), slice_.offset))
    silences = _silences(slices)
    planes = []
    for slice_, silent in zip(slices, silences, strict=True):
        plane = Plane(slice_.normal * slice_.offset, in_plane_axes(slice_.normal), silent_about=silent)
        rings = []
        for label, contours in sorted(slice_.contours.items()):
            outlines = [plane.to_plane(points) for points in contours]
            rings += combine_outlines(outlines, label, extent, remarks, names[label])
        planes.append(replace(plane, rings=tuple(rings)))
    return planes


def _flat(points: Float64[np.ndarray, "n 3"]) -> bool:
    """Whether the points lie on one line."""
    if len(points) < 3:
        return True
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(spread[1] <= 1e-9 * spread[0])


def _slice_of(
    points: Float64[np.ndarray, "n 3"], slices: list[_Slice], extent: float, roi: str, remarks: Remarks
) -> _Slice:
    """The slice that the contour lies in; a new one, added, takes a known direction where that fits."""
    for slice_ in slices:
        if np.abs(points @ slice_.normal - slice_.offset).max() <= SAME_PLANE:
            return slice_
    for normal in {tuple(slice_.normal): slice_.normal for slice_ in slices}.values():
        if np.ptp(points @ normal) <= SAME_PLANE:
            break
    else:
        fit = fit_plane(points)
        if fit.deviation > OFF_PLANE_REFUSED * extent:
            raise remarks.wrong(
                f"ROI {roi}", f"a contour lies up to {fit.deviation:.3g} mm off any plane; it must be planar"
            )
        normal = fit.normal * np.sign(fit.normal[np.argmax(np.abs(fit.normal))])
    slices.append(_Slice(normal, float((points @ normal).mean())))
    return slices[-1]


def _silences(slices: Sequence[_Slice]) -> list[frozenset[int]]:
    """For each slice the labels that it says nothing about: those drawn in other directions only, and those whose gaps
    it falls into (it is nearer to one of the label's slices than those are to each other, by the median)."""
    offsets = np.array([slice_.offset for slice_ in slices])
    directions = np.unique([slice_.normal for slice_ in slices], axis=0, return_inverse=True)[1].ravel()
    silent: list[set[int]] = [set() for _ in slices]
    for label in {label for slice_ in slices for label in slice_.contours}:
        holds = np.array([label in slice_.contours for slice_ in slices])
        for index in np.flatnonzero(~holds):
            own = np.sort(offsets[holds & (directions == directions[index])])
            gap = np.median(np.diff(own)) if len(own) > 1 else 0.0
            if not len(own) or np.abs(own - offsets[index]).min() < 0.9 * gap:
                silent[index].add(label)
    return [frozenset(labels) for labels in silent]

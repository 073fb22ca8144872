"""Smooth signed distances of the labels of one slice, and how thick its parts are.

A painted outline has stairs. With G a small Gaussian, 2 G - G G takes away what is as short as a pixel and leaves the
rest (Taubin's low pass); from parts of one pixel it takes too much, which is given back. Distances are in units of the
smaller side of a pixel, negative inside, each known in its label's own box; beyond, they grow by the distance to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt16
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter, label, maximum, maximum_filter

SMOOTHING = 0.7
THIN_SHIFT = np.float32(0.15)
THIN_WINDOW = 5
MARGIN = 4
ALL_NEIGHBOURS = np.ones((3, 3), bool)
FAR = np.float32(1e3)
"""The distance to what is not there, and of what is everywhere to its border."""


@dataclass(frozen=True)
class Region:
    """One label on one slice: its signed distances in a box whose first pixel is `corner`, and its area in pixels."""

    distance: Float32[np.ndarray, "rows columns"]
    corner: tuple[int, int]
    area: int

    @property
    def present(self) -> bool:
        """Whether the label is on the slice."""
        return self.area > 0


ABSENT = Region(np.full((1, 1), FAR, np.float32), (0, 0), 0)


@dataclass(frozen=True)
class SliceFields:
    """One kept slice: what was painted, its labels' regions (the background's too), and for each pixel the half
    thickness (inradius) of the connected part of its label that it belongs to."""

    painted: UInt16[np.ndarray, "rows columns"]
    regions: dict[int, Region]
    thickness: Float32[np.ndarray, "rows columns"]

    def region(self, label_id: int) -> Region:
        """The label's region; where it is not on this slice, one that is far from everywhere."""
        return self.regions.get(label_id, ABSENT)


def slice_fields(painted: UInt16[np.ndarray, "rows columns"], pixel: Float64[np.ndarray, "2"]) -> SliceFields:
    """The fields of one slice; `pixel` is the size of its rows and columns, in units of the smaller."""
    areas = np.bincount(painted.ravel())
    ids = np.flatnonzero(areas)
    numbers = np.zeros(len(areas), np.int32)
    numbers[ids] = np.arange(1, len(ids) + 1)
    thickness = np.zeros(painted.shape, np.float32)
    regions = {}
    for label_id, box in zip(ids.tolist(), find_objects(numbers[painted]), strict=True):
        padded = tuple(slice(max(side.start - MARGIN, 0), side.stop + MARGIN) for side in box)
        mask = painted[padded] == label_id
        distance = signed_distance(mask, pixel)
        thickness[padded][mask] = _half_thickness(mask, distance)
        corner = padded[0].start, padded[1].start
        regions[label_id] = Region(_without_stairs(distance), corner, int(areas[label_id]))
    return SliceFields(painted, regions, thickness)


def signed_distance(
    mask: Bool[np.ndarray, "rows columns"], pixel: Float64[np.ndarray, "2"]
) -> Float32[np.ndarray, "rows columns"]:
    """Distance from pixel centres to the mask's outline, half a pixel off the nearest pixel of the other side."""
    if mask.all():
        return np.full(mask.shape, -FAR, np.float32)
    outside, inside = (np.asarray(distance_transform_edt(part, sampling=pixel)) for part in (~mask, mask))
    away = outside - inside
    return (away - 0.5 * np.sign(away)).astype(np.float32)


def _half_thickness(
    mask: Bool[np.ndarray, "rows columns"], distance: Float32[np.ndarray, "rows columns"]
) -> Float32[np.ndarray, " pixels"]:
    """For each pixel of the mask the greatest depth in its connected part."""
    parts = np.zeros(mask.shape, np.int32)
    label(mask, ALL_NEIGHBOURS, output=parts)
    deepest = maximum(-distance, parts, np.arange(1, parts.max() + 1))
    return np.asarray(deepest, np.float32)[parts[mask] - 1]


def _without_stairs(distance: Float32[np.ndarray, "rows columns"]) -> Float32[np.ndarray, "rows columns"]:
    """Taubin's low pass, with `THIN_SHIFT` for lines of one pixel, falling to nothing for those of three."""
    once = gaussian_filter(distance, SMOOTHING, mode="nearest", truncate=3.0)
    twice = gaussian_filter(once, SMOOTHING, mode="nearest", truncate=3.0)
    half_width = maximum_filter(-distance, THIN_WINDOW, mode="nearest")
    return 2 * once - twice - THIN_SHIFT * np.clip(1.5 - half_width, 0, 1)

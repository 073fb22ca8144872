"""The label map between two kept slices: distances interpolated along the paths of the outlines.

Take a point at the share t of the gap between the slices A and B. The path through it is a cubic through its places on
A and B, whose velocities there are those of the gaps on both sides together; the next places, on the slice before A
and the slice after B, are found by going on. Along the path each label's distance is interpolated by a monotone cubic
(Fritsch & Butland 1984). The label of least distance owns the point.

Two rules hold where cubics alone go wrong:

- What has no counterpart ends halfway. Where a path leads through a part of half thickness r on one of A and B, and
  through something thicker on the other, distances on the latter and beyond are held within 2 r of those on the former:
  then the part's deepest point changes its owner at t = 1/2, and the others before it, as on a rounded cap.
- Areas change steadily. Paths that do not quite meet cost a thin part its width. What a label's area falls short of
  a monotone cubic through the square roots of its areas on the four slices is given back by a shift of its distances,
  of `LARGEST_SHIFT` pixels at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt16
from numba import njit

from recon.methods.morphing.distances import Region, SliceFields
from recon.methods.morphing.motion import on_slice, sample, sample_region
from recon.slices import BACKGROUND

LARGEST_SHIFT = 0.4
SHIFT_ROUNDS = 3
LEAST_LEAD = np.float32(0.25)
NOBODY = np.float32(1e6)
BESIDE = 4


class Layer(NamedTuple):
    """Who owns each pixel of a layer, and by how many pixels of distance that label leads the next best."""

    owner: UInt16[np.ndarray, "rows columns"]
    lead: Float32[np.ndarray, "rows columns"]


class LabelDistance(NamedTuple):
    """A label's distances in a box of a layer whose first pixel is `corner`."""

    label: int
    distance: Float32[np.ndarray, "rows columns"]
    corner: tuple[int, int]


def painted_layer(fields: SliceFields) -> Layer:
    """A kept slice as it is."""
    everyone = [LabelDistance(label, r.distance, r.corner) for label, r in sorted(fields.regions.items())]
    return _as_painted(_contest(everyone, fields.painted.shape).layer(), fields.painted)


def _as_painted(layer: Layer, painted: UInt16[np.ndarray, "rows columns"]) -> Layer:
    """The layer with its painted owners; where the smoothed distances name another, they lead by little."""
    lead = np.where(layer.owner == painted, layer.lead, np.float32(0))
    return Layer(painted, np.maximum(lead, LEAST_LEAD))


@dataclass
class _Contest:
    """The least and second least distance at each pixel, and whose the least is."""

    least: Float32[np.ndarray, "rows columns"]
    second: Float32[np.ndarray, "rows columns"]
    owner: UInt16[np.ndarray, "rows columns"]

    def layer(self) -> Layer:
        return Layer(self.owner, self.second - self.least)


def _contest(everyone: Iterable[LabelDistance], shape: tuple[int, ...]) -> _Contest:
    standing = _Contest(np.full(shape, NOBODY), np.full(shape, NOBODY), np.full(shape, BACKGROUND, np.uint16))
    for one in everyone:
        _enter(one.distance, one.corner, one.label, standing.least, standing.second, standing.owner)
    return standing


class Gap:
    """The space between the slices A and B.

    `slices` are the slice before A, A, B, and the slice after B, `displacements` and `widths` those of the three gaps
    between them. Before the first and after the last slice stands None.
    """

    def __init__(
        self,
        slices: Sequence[SliceFields | None],
        displacements: Sequence[Float32[np.ndarray, "rows columns 2"] | None],
        widths: Sequence[float | None],
    ) -> None:
        before, here, after = displacements
        assert slices[1] is not None and slices[2] is not None and here is not None and widths[1] is not None
        self.a, self.b, self.slices = slices[1], slices[2], tuple(slices)
        self.here = here
        self.before_on_a = on_slice(here if before is None else before, -1)
        self.after_on_b = on_slice(here if after is None else after, 1)
        self.widths = np.array([w or widths[1] for w in widths], np.float64)
        self.labels = sorted(self.a.regions.keys() | self.b.regions.keys())

    def layer(self, t: float) -> Layer:
        """The label map at the share t of the gap, 0 on A and 1 on B.

        There the owners are the painted ones, but their leads are those of the interpolation, which are small where
        a label ends between the slices.
        """
        paths = _paths(self.here, self.before_on_a, self.after_on_b, self.widths, t)
        limit = _thinner_end(self.a.thickness, self.b.thickness, paths)
        everyone = [self._interpolated(label, paths, limit, t) for label in self.labels]
        if t in (0, 1):
            return _as_painted(_contest(everyone, limit.shape).layer(), (self.a if t == 0 else self.b).painted)
        self._give_back_areas(everyone, t)
        return _contest(everyone, limit.shape).layer()

    def _interpolated(self, label: int, paths: np.ndarray, limit: np.ndarray, t: float) -> LabelDistance:
        """The label's distances at t, around where it is on A or B."""
        regions = [(self.a if fields is None else fields).region(label) for fields in self.slices]
        corner, shape = _box_around(regions[1:3], limit.shape)
        distance = np.empty(shape, np.float32)
        known = self.slices[0] is not None, self.slices[3] is not None
        distances = tuple(region.distance for region in regions)
        corners = tuple(region.corner for region in regions)
        _interpolate(distance, corner, distances, corners, known, paths, limit, self.widths, t)
        return LabelDistance(label, distance, corner)

    def _give_back_areas(self, everyone: list[LabelDistance], t: float) -> None:
        """Shifts the distances, in place, of labels that have lost area."""
        wanted = [self._area(one.label, t) for one in everyone]
        shifts = np.zeros(len(everyone))
        for _ in range(SHIFT_ROUNDS):
            c = _contest(everyone, self.here.shape[:2])
            for n, one in enumerate(everyone):
                if one.label == BACKGROUND:
                    continue
                area, growth = _soft_area(one.distance, one.corner, one.label, c.least, c.second, c.owner)
                shift = np.clip(shifts[n] + (wanted[n] - area) / max(growth, 1.0), 0.0, LARGEST_SHIFT)
                one.distance[:] -= np.float32(shift - shifts[n])
                shifts[n] = shift

    def _area(self, label: int, t: float) -> float:
        """The area in pixels that the label should have at t."""
        roots = np.array([np.nan if fields is None else np.sqrt(fields.region(label).area) for fields in self.slices])
        roots[0], roots[3] = _continued(roots, (self.slices[0] is not None, self.slices[3] is not None), self.widths)
        return _monotone_cubic(roots, self.widths, t) ** 2


def _box_around(regions: Sequence[Region], shape: tuple[int, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First pixel and shape of a box around those of the regions that are there, with room for what moves."""
    there = [region for region in regions if region.present]
    low = np.min([region.corner for region in there], axis=0) - BESIDE
    high = np.max([np.add(region.corner, region.distance.shape) for region in there], axis=0) + BESIDE
    low, high = np.maximum(low, 0), np.minimum(high, shape)
    return (int(low[0]), int(low[1])), (int(high[0] - low[0]), int(high[1] - low[1]))


@njit(cache=True, fastmath=True)
def _paths(
    here: Float32[np.ndarray, "rows columns 2"],
    before_on_a: Float32[np.ndarray, "rows columns 2"],
    after_on_b: Float32[np.ndarray, "rows columns 2"],
    widths: Float64[np.ndarray, "3"],
    t: float,
):
    """(rows, columns, 4, 2): where the path through each pixel at t is on the four slices.

    `here` is known halfway: the pixel's path passes there at about p + (1/2 - t) u(p).
    """
    rows, columns = here.shape[:2]
    w0, w1, w2 = widths
    paths = np.empty((rows, columns, 4, 2), np.float32)
    for i in range(rows):
        for j in range(columns):
            halfway_i, halfway_j = i + (0.5 - t) * here[i, j, 0], j + (0.5 - t) * here[i, j, 1]
            ui, uj = sample(here[:, :, 0], halfway_i, halfway_j), sample(here[:, :, 1], halfway_i, halfway_j)
            for d in range(2):
                u = ui if d == 0 else uj
                past = sample(before_on_a[:, :, d], i - t * ui, j - t * uj) * w1 / w0
                coming = sample(after_on_b[:, :, d], i + (1 - t) * ui, j + (1 - t) * uj) * w1 / w2
                start = (w0 * u + w1 * past) / (w0 + w1)
                end = (w2 * u + w1 * coming) / (w2 + w1)
                off_the_chord = (start - u) * t * (1 - t) ** 2 - (end - u) * t * t * (1 - t)
                place = (i if d == 0 else j) - off_the_chord
                paths[i, j, 1, d] = place - t * u
                paths[i, j, 2, d] = place + (1 - t) * u
            a, b = paths[i, j, 1], paths[i, j, 2]
            for d in range(2):
                paths[i, j, 0, d] = a[d] - sample(before_on_a[:, :, d], a[0], a[1])
                paths[i, j, 3, d] = b[d] + sample(after_on_b[:, :, d], b[0], b[1])
    return paths


@njit(cache=True, fastmath=True)
def _thinner_end(thickness_a, thickness_b, paths):
    """(rows, columns): the half thickness at the thinner of each path's ends, negative where that is B's."""
    rows, columns = paths.shape[:2]
    limit = np.empty((rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            a = sample(thickness_a, paths[i, j, 1, 0], paths[i, j, 1, 1])
            b = sample(thickness_b, paths[i, j, 2, 0], paths[i, j, 2, 1])
            limit[i, j] = a if a <= b else -b
    return limit


@njit(cache=True, fastmath=True)
def _interpolate(distance, corner, f, c, known, paths, limit, widths, t):
    """Fills a label's distances at t in a box from those, f, on the four slices, whose boxes start at c; `known` says
    whether the outer two slices are there."""
    values = np.empty(4)
    for i in range(distance.shape[0]):
        for j in range(distance.shape[1]):
            places, r = paths[i + corner[0], j + corner[1]], limit[i + corner[0], j + corner[1]]
            for n in range(4):
                if (n > 0 or known[0]) and (n < 3 or known[1]):
                    values[n] = sample_region(f[n], c[n], places[n, 0], places[n, 1])
            values[0], values[3] = _continued(values, known, widths)
            held = min(max(values[2], values[1] - 2 * r), values[1] + 2 * r)
            if r >= 0 and held != values[2]:
                values[2] = values[3] = held
            held = min(max(values[1], values[2] + 2 * r), values[2] - 2 * r)
            if r < 0 and held != values[1]:
                values[0] = values[1] = held
            distance[i, j] = _monotone_cubic(values, widths, t)


@njit(cache=True, fastmath=True)
def _continued(values, known, widths):
    """The two outer values, continued in a straight line where they are not known."""
    slope = (values[2] - values[1]) / widths[1]
    first = values[0] if known[0] else values[1] - slope * widths[0]
    last = values[3] if known[1] else values[2] + slope * widths[2]
    return first, last


@njit(cache=True, fastmath=True)
def _monotone_cubic(values, widths, t):
    """The value at the share t of the middle one of three gaps of the given widths."""
    before = (values[1] - values[0]) / widths[0]
    here = (values[2] - values[1]) / widths[1]
    after = (values[3] - values[2]) / widths[2]
    start = _monotone_slope(before, here, widths[0], widths[1]) * widths[1]
    end = _monotone_slope(here, after, widths[1], widths[2]) * widths[1]
    s = 1 - t
    return values[1] * s * s * (1 + 2 * t) + values[2] * t * t * (1 + 2 * s) + start * t * s * s - end * t * t * s


@njit(cache=True, fastmath=True)
def _monotone_slope(before, after, width_before, width_after):
    """The weighted harmonic mean of the slopes on both sides; 0 at an extremum."""
    if before * after <= 0:
        return 0.0
    w_before, w_after = 2 * width_after + width_before, width_after + 2 * width_before
    return (w_before + w_after) / (w_before / before + w_after / after)


@njit(cache=True, fastmath=True)
def _enter(distance, corner, label, least, second, owner):
    """Enters a label's distances into the contest."""
    for i in range(distance.shape[0]):
        for j in range(distance.shape[1]):
            m, n, f = i + corner[0], j + corner[1], distance[i, j]
            if f < least[m, n]:
                second[m, n] = least[m, n]
                least[m, n] = f
                owner[m, n] = label
            elif f < second[m, n]:
                second[m, n] = f


@njit(cache=True, fastmath=True)
def _soft_area(distance, corner, label, least, second, owner):
    """A label's area in pixels, those that its outline crosses counted in part, and how it grows with a shift."""
    area, growth = 0.0, 0.0
    for i in range(distance.shape[0]):
        for j in range(distance.shape[1]):
            m, n = i + corner[0], j + corner[1]
            rival = second[m, n] if owner[m, n] == label else least[m, n]
            lead = rival - distance[i, j]
            if lead >= 1:
                area += 1
            elif lead > -1:
                area += (1 + lead) / 2
                growth += 0.5
    return area, growth

"""The distance to the sheet nearest to a point, signed along an axis of the sheet's own: a locally aligned implicit
moving-least-squares field.

Samples p_i of sheets have unit axes n_i whose signs mean nothing. At a query x the sample r nearest to it names the
sheet; the axes of its neighbours are turned to agree with n_r, those of other sheets are left out, and

    d(x) = sum w_i n_i . (x - p_i) / sum w_i,   n(x) = sum w_i n_i / |sum w_i n_i|,   foot = x - d n,

with Gaussian weights w_i around the foot, so the three are found by a few fixed-point passes (compare Kolluri 2005,
Oeztireli et al. 2009). A sheet on both sides of x, or one that cannot be oriented, is no obstacle: nothing is assumed
beyond the neighbourhood.

A mean of tangent planes lies outside a sphere of radius R, by sum w_i |p_i - foot|^2 / 2 R sum w_i. The chord from foot
to p_i is perpendicular to n_i + n there, so

    d(x) = (x - foot) . n + sum w_i (n_i + n) / 2 . (foot - p_i) / sum w_i

has no such error. It is taken where the axes around the foot are nearly one: at a crease nothing is a sphere. Samples
that have been noisy keep d(x) from above, since what curvature adds to it is far below what noise has left in n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit, prange
from scipy.spatial import KDTree

from recon.fields.local_fits import Sheets
from recon.fields.neighbourhoods import distinct_along_curve

WIDTH = 0.7  # of the Gaussian, in spacings
PASSES = 3
SHEET_SLOPE, SHEET_GAP = 0.5, 0.5  # a sample is of the sheet within slope * distance + gap * spacing of its plane
LEAST_AGREEMENT = 0.3  # |cos| between the axes of samples of one sheet
BENT = 0.1  # 1 - |sum w_i n_i| / sum w_i, from which there is a crease and no sphere
NEIGHBOURS = 20
SIDEWAYS = 1.0  # how much more a step along the sheet counts than one off it, where a sheet is chosen


class Local(NamedTuple):
    """The sheet nearest to each query: d (n,), its axis (n, 3), the foot (n, 3), the sample that names it (n,), and how
    far the nearest sample is, in its spacings (n,)."""

    distance: Float64[np.ndarray, "n"]
    axis: Float64[np.ndarray, "n 3"]
    foot: Float64[np.ndarray, "n 3"]
    reference: Int64[np.ndarray, "n"]
    gap: Float64[np.ndarray, "n"]


@dataclass(frozen=True)
class SheetField:
    """Samples with axes and spacing, their neighbours (n, k; the sample itself first), a tree of them, and the noise
    that the points had before they were moved onto their sheets: along the sheets they still have it."""

    points: Float64[np.ndarray, "n 3"]
    axes: Float64[np.ndarray, "n 3"]
    spacing: Float64[np.ndarray, "n"]
    neighbours: Int64[np.ndarray, "n k"]
    tree: KDTree
    noise: float = 0.0

    @classmethod
    def of(cls, sheets: Sheets) -> SheetField:
        """The field of a cloud's sheets, sorted along a curve so that neighbours are near in memory as well."""
        order = distinct_along_curve(sheets.points)
        points = sheets.points[order]
        tree = KDTree(points)
        _, neighbours = tree.query(points, min(NEIGHBOURS, len(points)))
        return cls(points, sheets.normals[order], sheets.spacing[order], np.asarray(neighbours), tree, sheets.noise)

    def at(self, queries: Float64[np.ndarray, "m 3"]) -> Local:
        """The sheet nearest to each query."""
        distance, nearest = self.tree.query(queries)
        reference = _references(queries, nearest, self.points, self.axes, self.neighbours)
        return self.on(reference, queries)._replace(gap=distance / self.spacing[nearest])

    def support(self, places: Float64[np.ndarray, "m 3"]) -> Float64[np.ndarray, "m"]:
        """How far the nearest sample is, in its spacings."""
        distance, nearest = self.tree.query(places)
        return distance / self.spacing[nearest]

    def on(self, reference: Int64[np.ndarray, "m"], queries: Float64[np.ndarray, "m 3"]) -> Local:
        """The sheet of the reference sample, seen from each query."""
        found = _local(queries, reference, self.points, self.axes, self.spacing, self.neighbours, self.noise == 0)
        return Local(*found, np.zeros(len(queries)))


@njit(cache=True, parallel=True)
def _references(queries, nearest, points, axes, neighbours):
    """The sample that names the sheet: near, and seen along its axis. Beside a crease the nearest sample may lie on
    the face that the query is beside, not on the one it is above."""
    reference = np.empty(len(queries), np.int64)
    for q in prange(len(queries)):
        least = np.inf
        for j in neighbours[nearest[q]]:
            square = along = 0.0
            for k in range(3):
                step = queries[q, k] - points[j, k]
                square += step * step
                along += step * axes[j, k]
            score = square + SIDEWAYS * (square - along * along)
            if score < least:
                least = score
                reference[q] = j
    return reference


@njit(cache=True, parallel=True)
def _local(queries, reference, points, axes, spacing, neighbours, curved):
    """d, n, foot and reference of every query."""
    count = len(queries)
    distance, axis, foot = np.empty(count), np.empty((count, 3)), np.empty((count, 3))
    named = np.empty(count, np.int64)
    for q in prange(count):
        distance[q], named[q] = _one(
            queries[q], reference[q], points, axes, spacing, neighbours, curved, axis[q], foot[q]
        )
    return distance, axis, foot, named


@njit(cache=True)
def _one(x, r, points, axes, spacing, neighbours, curved, axis, foot):
    """d and the sample nearest to the foot; fills axis and foot."""
    x0, x1, x2 = x[0], x[1], x[2]
    f0, f1, f2 = x0, x1, x2  # the running foot
    n0, n1, n2 = axes[r, 0], axes[r, 1], axes[r, 2]
    d = 0.0
    for k in range(PASSES):
        p0, p1, p2 = points[r, 0], points[r, 1], points[r, 2]
        r0, r1, r2 = axes[r, 0], axes[r, 1], axes[r, 2]
        if r0 * n0 + r1 * n1 + r2 * n2 < 0:  # a reference that moved keeps the side
            r0, r1, r2 = -r0, -r1, -r2
        gap = SHEET_GAP * spacing[r]
        narrow = -0.5 / (WIDTH * spacing[r]) ** 2
        base = (p0 - x0) ** 2 + (p1 - x1) ** 2 + (p2 - x2) ** 2 if k == 0 else 0.0
        weight, along = 1e-150, 0.0  # far from all samples it is the reference that counts; its square is no zero
        s0, s1, s2 = 1e-150 * r0, 1e-150 * r1, 1e-150 * r2
        m0, m1, m2 = 1e-150 * (f0 - p0), 1e-150 * (f1 - p1), 1e-150 * (f2 - p2)
        closest, closest_at = np.inf, r
        for j in neighbours[r]:
            a0, a1, a2 = points[j, 0] - p0, points[j, 1] - p1, points[j, 2] - p2
            off = a0 * r0 + a1 * r1 + a2 * r2
            if abs(off) > SHEET_SLOPE * np.sqrt(a0 * a0 + a1 * a1 + a2 * a2) + gap:
                continue
            cos = axes[j, 0] * r0 + axes[j, 1] * r1 + axes[j, 2] * r2
            if abs(cos) < LEAST_AGREEMENT:
                continue
            square = (points[j, 0] - f0) ** 2 + (points[j, 1] - f1) ** 2 + (points[j, 2] - f2) ** 2
            w = np.exp(max(square - base, 0.0) * narrow) * cos * cos
            turned = w if cos > 0 else -w
            e = axes[j, 0] * (x0 - points[j, 0]) + axes[j, 1] * (x1 - points[j, 1]) + axes[j, 2] * (x2 - points[j, 2])
            weight += w
            along += turned * e
            m0 += w * (f0 - points[j, 0])
            m1 += w * (f1 - points[j, 1])
            m2 += w * (f2 - points[j, 2])
            s0 += turned * axes[j, 0]
            s1 += turned * axes[j, 1]
            s2 += turned * axes[j, 2]
            if square < closest:
                closest, closest_at = square, j
        d = along / weight
        length = np.sqrt(s0 * s0 + s1 * s1 + s2 * s2)
        n0, n1, n2 = s0 / length, s1 / length, s2 / length
        if curved:
            ahead = (x0 - f0) * n0 + (x1 - f1) * n1 + (x2 - f2) * n2
            d += _curvature(d, ahead, length / weight, (m0 * n0 + m1 * n1 + m2 * n2) / weight)
        f0, f1, f2 = x0 - d * n0, x1 - d * n1, x2 - d * n2
        if k < PASSES - 1:
            r = closest_at if k > 0 else _nearest(points, neighbours[r], r, f0, f1, f2, r0, r1, r2, gap)
    axis[0], axis[1], axis[2] = n0, n1, n2
    foot[0], foot[1], foot[2] = f0, f1, f2
    return d, r


@njit(cache=True)
def _curvature(d, ahead, together, chord):
    """What curvature adds to d: `ahead` is (x - foot) . n, `together` the length of the axes' mean, and `chord` the
    mean of n . (foot - p_i)."""
    smooth = max(0.0, 1 - (1 - together) / BENT)
    return smooth * (ahead * (2 - together) + chord - d) / 2


@njit(cache=True)
def _nearest(points, neighbours, r, f0, f1, f2, r0, r1, r2, gap):
    """The neighbour of r on its sheet that is nearest to the foot."""
    closest, closest_at = np.inf, r
    for j in neighbours:
        a0, a1, a2 = points[j, 0] - points[r, 0], points[j, 1] - points[r, 1], points[j, 2] - points[r, 2]
        if abs(a0 * r0 + a1 * r1 + a2 * r2) > SHEET_SLOPE * np.sqrt(a0 * a0 + a1 * a1 + a2 * a2) + gap:
            continue
        square = (points[j, 0] - f0) ** 2 + (points[j, 1] - f1) ** 2 + (points[j, 2] - f2) ** 2
        if square < closest:
            closest, closest_at = square, j
    return closest_at

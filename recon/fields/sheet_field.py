"""The distance to the sheet nearest to a point, signed along an axis of the sheet's own: a locally aligned implicit
moving-least-squares field.

Samples p_i of sheets have unit axes n_i whose signs mean nothing. At a query x the sample r nearest to it names the
sheet; the axes of its neighbours are turned to agree with n_r, those of other sheets are left out, and

    d(x) = sum w_i n_i . (x - p_i) / sum w_i,   n(x) = sum w_i n_i / |sum w_i n_i|,   foot = x - d n,

with Gaussian weights w_i around the foot, so the three are found by a few fixed-point passes (compare Kolluri 2005,
Oeztireli et al. 2009). A sheet on both sides of x, or one that cannot be oriented, is no obstacle: nothing is assumed
beyond the neighbourhood.

Two samples are of one sheet if the chord between them hardly leaves it: on an arc of a circle it is across the mean of
their axes, however strong the bend, while between parallel sheets it is along it. Of parallel sheets near x the one
whose tangent plane is nearest counts, not the one whose samples are: those may happen to stand beside x.

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
TOLERANCE, MOST_TOLERANCE = 0.25, 0.5  # of length + spacing is what a chord leaves its sheet by; more under noise
PARALLEL = 0.7  # |cos| between the axes of parallel sheets
BESIDE = 1.7  # spacings along a sheet: a place with no sample nearer than this is not on it
LEAST_AGREEMENT = 0.3  # |cos| between the axes of samples of one sheet
BENT = 0.1  # 1 - |sum w_i n_i| / sum w_i, from which there is a crease and no sphere
NEIGHBOURS = 20
SIDEWAYS = 1.0  # how much more a step along the sheet counts than one off it, where a sheet is chosen


class Local(NamedTuple):
    """The sheet nearest to each query: d (n,), its axis (n, 3), the foot (n, 3), the sample that names it (n,), and how
    far the nearest sample is, in its spacings (n,): from the query, or, where a sheet was named, from the foot to the
    nearest sample of that sheet."""

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

    @property
    def tolerance(self) -> float:
        """How far a chord may leave its sheet, in its length and the spacing: axes that were found in noise are less
        sure."""
        return min(TOLERANCE + self.noise / (2 * float(np.median(self.spacing))), MOST_TOLERANCE)

    def at(self, queries: Float64[np.ndarray, "m 3"]) -> Local:
        """The sheet nearest to each query."""
        distance, nearest = self.tree.query(queries)
        samples = self.points, self.axes, self.spacing, self.neighbours
        reference = _references(queries, nearest, *samples, self.tolerance)
        return self.on(reference, queries)._replace(gap=distance / self.spacing[nearest])

    def support(self, places: Float64[np.ndarray, "m 3"]) -> Float64[np.ndarray, "m"]:
        """How far the nearest sample is, in its spacings."""
        distance, nearest = self.tree.query(places)
        return distance / self.spacing[nearest]

    def on(self, reference: Int64[np.ndarray, "m"], queries: Float64[np.ndarray, "m 3"]) -> Local:
        """The sheet of the reference sample, seen from each query."""
        samples = self.points, self.axes, self.spacing, self.neighbours
        return Local(*_local(queries, reference, *samples, self.noise == 0, self.tolerance))


@njit(cache=True, parallel=True)
def _references(queries, nearest, points, axes, spacing, neighbours, tolerance):
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
        near = neighbours[nearest[q]]
        reference[q] = _of_parallel_sheets(queries[q], reference[q], near, points, axes, spacing, tolerance)
    return reference


@njit(cache=True)
def _of_parallel_sheets(x, r, near, points, axes, spacing, tolerance):
    """Of sample r and those near x that are of sheets parallel to its own, the one whose tangent plane is nearest."""
    height = 0.0
    for k in range(3):
        height += (x[k] - points[r, k]) * axes[r, k]
    least, best = abs(height), r
    for j in near:
        square = height = cosine = 0.0
        for k in range(3):
            step = x[k] - points[j, k]
            square += step * step
            height += step * axes[j, k]
            cosine += axes[r, k] * axes[j, k]
        if abs(height) >= least or abs(cosine) < PARALLEL or square - height * height > (BESIDE * spacing[j]) ** 2:
            continue
        if not one_sheet(points[r], axes[r], points[j], axes[j], tolerance, tolerance * spacing[j]):
            least, best = abs(height), j
    return best


@njit(cache=True)
def one_sheet(p, m, q, n, slope, gap):
    """Whether places p and q with axes m and n may be on one sheet: the chord between them leaves it by no more than
    slope * length + gap."""
    x, y, z = q[0] - p[0], q[1] - p[1], q[2] - p[2]
    cosine = m[0] * n[0] + m[1] * n[1] + m[2] * n[2]
    if abs(cosine) < LEAST_AGREEMENT:
        return False
    sign = 1.0 if cosine > 0 else -1.0
    off = x * (m[0] + sign * n[0]) + y * (m[1] + sign * n[1]) + z * (m[2] + sign * n[2])
    return abs(off) <= 2 * (slope * np.sqrt(x * x + y * y + z * z) + gap)


@njit(cache=True, parallel=True)
def _local(queries, reference, points, axes, spacing, neighbours, curved, tolerance):
    """d, n, foot, reference and gap of every query."""
    count = len(queries)
    distance, axis, foot = np.empty(count), np.empty((count, 3)), np.empty((count, 3))
    named, gap = np.empty(count, np.int64), np.empty(count)
    for q in prange(count):
        distance[q], named[q], gap[q] = _one(
            queries[q], reference[q], points, axes, spacing, neighbours, curved, tolerance, axis[q], foot[q]
        )
    return distance, axis, foot, named, gap


@njit(cache=True)
def _one(x, r, points, axes, spacing, neighbours, curved, tolerance, axis, foot):
    """d, the sample nearest to the foot and how far it is; fills axis and foot."""
    x0, x1, x2 = x[0], x[1], x[2]
    f0, f1, f2 = x0, x1, x2  # the running foot
    n0, n1, n2 = axes[r, 0], axes[r, 1], axes[r, 2]
    d = 0.0
    for k in range(PASSES):
        p0, p1, p2 = points[r, 0], points[r, 1], points[r, 2]
        r0, r1, r2 = axes[r, 0], axes[r, 1], axes[r, 2]
        if r0 * n0 + r1 * n1 + r2 * n2 < 0:  # a reference that moved keeps the side
            r0, r1, r2 = -r0, -r1, -r2
        gap = tolerance * spacing[r]
        narrow = -0.5 / (WIDTH * spacing[r]) ** 2
        base = (p0 - x0) ** 2 + (p1 - x1) ** 2 + (p2 - x2) ** 2 if k == 0 else 0.0
        weight, along = 1e-150, 0.0  # far from all samples it is the reference that counts; its square is no zero
        s0, s1, s2 = 1e-150 * r0, 1e-150 * r1, 1e-150 * r2
        m0, m1, m2 = 1e-150 * (f0 - p0), 1e-150 * (f1 - p1), 1e-150 * (f2 - p2)
        closest, closest_at = np.inf, r
        for j in neighbours[r]:
            if not one_sheet(points[r], axes[r], points[j], axes[j], tolerance, gap):
                continue
            cos = axes[j, 0] * r0 + axes[j, 1] * r1 + axes[j, 2] * r2
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
            r = closest_at if k > 0 else _nearest(points, axes, neighbours[r], r, f0, f1, f2, gap, tolerance)
    axis[0], axis[1], axis[2] = n0, n1, n2
    foot[0], foot[1], foot[2] = f0, f1, f2
    square = (points[closest_at, 0] - f0) ** 2 + (points[closest_at, 1] - f1) ** 2 + (points[closest_at, 2] - f2) ** 2
    return d, r, np.sqrt(square) / spacing[closest_at]


@njit(cache=True)
def _curvature(d, ahead, together, chord):
    """What curvature adds to d: `ahead` is (x - foot) . n, `together` the length of the axes' mean, and `chord` the
    mean of n . (foot - p_i)."""
    smooth = max(0.0, 1 - (1 - together) / BENT)
    return smooth * (ahead * (2 - together) + chord - d) / 2


@njit(cache=True)
def _nearest(points, axes, neighbours, r, f0, f1, f2, gap, tolerance):
    """The neighbour of r on its sheet that is nearest to the foot."""
    closest, closest_at = np.inf, r
    for j in neighbours:
        if not one_sheet(points[r], axes[r], points[j], axes[j], tolerance, gap):
            continue
        square = (points[j, 0] - f0) ** 2 + (points[j, 1] - f1) ** 2 + (points[j, 2] - f2) ** 2
        if square < closest:
            closest, closest_at = square, j
    return closest_at

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
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64
from numba import njit, prange

from recon.fields.local_fits import Sheets
from recon.fields.neighbourhoods import distinct_along_curve, nearest
from recon.fields.point_tree import PointTree

WIDTH = 0.7  # of the Gaussian, in spacings
PASSES = 3
TOLERANCE, MOST_TOLERANCE = 0.25, 0.5  # of length + spacing is what a chord leaves its sheet by; more under noise
PARALLEL = 0.7  # |cos| between the axes of parallel sheets
BESIDE = 1.7  # spacings along a sheet: a place with no sample nearer than this is not on it
LEAST_AGREEMENT = 0.3  # |cos| between the axes of samples of one sheet
BENT = 0.1  # 1 - |sum w_i n_i| / sum w_i, from which there is a crease and no sphere
NEIGHBOURS = 20
BLOCK = 128  # queries that a thread takes at once
GATHERED, COSINE, SQUARE = 8, 6, 7  # numbers kept of a sample asked: place, axis, cos^2, squared distance
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
    """Samples with axes and spacing, their neighbours (n, k; the sample itself first), a tree of them, the noise that
    the points had before they were moved onto their sheets (along the sheets they still have it), and how many samples
    the cloud has, of which these may be those of one block."""

    points: Float64[np.ndarray, "n 3"]
    axes: Float64[np.ndarray, "n 3"]
    spacing: Float64[np.ndarray, "n"]
    neighbours: Int32[np.ndarray, "n k"]
    tree: PointTree
    noise: float
    total: int

    @classmethod
    def of(cls, sheets: Sheets, total: int | None = None) -> SheetField:
        """The field of a cloud's sheets, or of some of its `total` samples, sorted along a curve so that neighbours are
        near in memory as well."""
        order = distinct_along_curve(sheets.points)
        points = sheets.points[order]
        tree = PointTree(points)
        neighbours = nearest(points, NEIGHBOURS, tree)
        normals, spacing = sheets.normals[order], sheets.spacing[order]
        return cls(points, normals, spacing, neighbours, tree, sheets.noise, total or len(points))

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
        samples = self.points, self.axes, self.spacing, self._company
        return Local(*_local(queries, reference, *samples, self.noise == 0))

    @cached_property
    def _company(self) -> Int32[np.ndarray, "n k"]:
        """The neighbours of each sample that are of its sheet."""
        return _companies(self.points, self.axes, self.spacing, self.neighbours, self.tolerance)


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
def _companies(points, axes, spacing, neighbours, tolerance):
    """The neighbours of each sample that are of its sheet, itself among them, and then -1."""
    company = np.full(neighbours.shape, np.int32(-1))
    for r in prange(len(points)):
        count, gap = 0, tolerance * spacing[r]
        for j in neighbours[r]:
            if one_sheet(points[r], axes[r], points[j], axes[j], tolerance, gap):
                company[r, count] = j
                count += 1
    return company


@njit(cache=True, parallel=True)
def _local(queries, reference, points, axes, spacing, company, curved):
    """d, n, foot, reference and gap of every query."""
    count = len(queries)
    distance, axis, foot = np.empty(count), np.empty((count, 3)), np.empty((count, 3))
    named, gap = np.empty(count, np.int64), np.empty(count)
    for block in prange((count + BLOCK - 1) // BLOCK):
        near = np.empty((GATHERED, company.shape[1]))
        for q in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
            distance[q], named[q], gap[q] = _one(
                queries[q], reference[q], points, axes, spacing, company, curved, near, axis[q], foot[q]
            )
    return distance, axis, foot, named, gap


@njit(cache=True)
def _one(x, r, points, axes, spacing, company, curved, near, axis, foot):
    """d, the sample r whose company says it, and how far the nearest of these is from the foot; fills axis and foot.
    The sample nearest to the foot takes the place of r, as soon as there is one and once more."""
    x0, x1, x2 = x[0], x[1], x[2]
    f0, f1, f2 = x0, x1, x2  # the running foot
    n0, n1, n2 = axes[r, 0], axes[r, 1], axes[r, 2]
    d, gathered, count, nearest = 0.0, np.int64(-1), 0, 0
    for k in range(PASSES):
        if r != gathered:
            count = _gather(r, n0, n1, n2, points, axes, company, near)
            gathered = r
        nearest = _squares(near, count, f0, f1, f2)
        base = near[SQUARE, nearest if k > 0 else 0]  # r is the first of its company
        weight, along, p0, p1, p2, s0, s1, s2 = _sums(near, count, base, 0.5 / (WIDTH * spacing[r]) ** 2, x0, x1, x2)
        d = along / weight
        length = np.sqrt(s0 * s0 + s1 * s1 + s2 * s2)
        n0, n1, n2 = s0 / length, s1 / length, s2 / length
        if curved:
            ahead = (x0 - f0) * n0 + (x1 - f1) * n1 + (x2 - f2) * n2
            chord = (f0 - p0 / weight) * n0 + (f1 - p1 / weight) * n1 + (f2 - p2 / weight) * n2
            d += _curvature(d, ahead, length / weight, chord)
        f0, f1, f2 = x0 - d * n0, x1 - d * n1, x2 - d * n2
        if k == 0:
            nearest = _squares(near, count, f0, f1, f2)
        if k < PASSES - 1:
            r = company[r, nearest]
    axis[0], axis[1], axis[2] = n0, n1, n2
    foot[0], foot[1], foot[2] = f0, f1, f2
    a, b, c = near[0, nearest] - f0, near[1, nearest] - f1, near[2, nearest] - f2
    return d, r, np.sqrt(a * a + b * b + c * c) / spacing[company[r, nearest]]


@njit(cache=True)
def _gather(r, n0, n1, n2, points, axes, company, near):
    """Places of r's company, axes turned to agree with r's, which is on the side of n, and the squares of their
    cosines; gives how many these are."""
    r0, r1, r2 = axes[r, 0], axes[r, 1], axes[r, 2]
    if r0 * n0 + r1 * n1 + r2 * n2 < 0:
        r0, r1, r2 = -r0, -r1, -r2
    count = 0
    for j in company[r]:
        if j < 0:
            break
        cosine = axes[j, 0] * r0 + axes[j, 1] * r1 + axes[j, 2] * r2
        sign = 1.0 if cosine > 0 else -1.0
        for k in range(3):
            near[k, count] = points[j, k]
            near[3 + k, count] = sign * axes[j, k]
        near[COSINE, count] = cosine * cosine
        count += 1
    return count


@njit(cache=True, fastmath=True)
def _squares(near, count, f0, f1, f2):
    """Fills in the squared distances from the foot; gives which is the least."""
    least = np.inf
    for j in range(count):
        a, b, c = near[0, j] - f0, near[1, j] - f1, near[2, j] - f2
        square = a * a + b * b + c * c
        near[SQUARE, j] = square
        least = min(least, square)
    for j in range(count):
        if near[SQUARE, j] == least:
            return j
    return 0


@njit(cache=True, fastmath=True)
def _sums(near, count, base, narrow, x0, x1, x2):
    """Sums of w, w n . (x - p), w p and w n over the company.

    w is the Gaussian over its value at the distance sqrt(base), and 1 for all that is nearer: far from all samples the
    nearest counts. exp(t) is exp(t / 64)^64, by a series; below t = -40 it stays as it is there. Without branches the
    loop is done several samples at a time.
    """
    weight = along = p0 = p1 = p2 = s0 = s1 = s2 = 0.0
    for j in range(count):
        t = min(max((base - near[SQUARE, j]) * narrow, -40.0), 0.0) / 64
        w = 1 + t * (1 + t / 2 * (1 + t / 3 * (1 + t / 4 * (1 + t / 5 * (1 + t / 6)))))
        w *= w
        w *= w
        w *= w
        w *= w
        w *= w
        w *= w
        w *= near[COSINE, j]
        weight += w
        along += w * (near[3, j] * (x0 - near[0, j]) + near[4, j] * (x1 - near[1, j]) + near[5, j] * (x2 - near[2, j]))
        p0 += w * near[0, j]
        p1 += w * near[1, j]
        p2 += w * near[2, j]
        s0 += w * near[3, j]
        s1 += w * near[4, j]
        s2 += w * near[5, j]
    return weight, along, p0, p1, p2, s0, s1, s2


@njit(cache=True)
def _curvature(d, ahead, together, chord):
    """What curvature adds to d: `ahead` is (x - foot) . n, `together` the length of the axes' mean, and `chord` the
    mean of n . (foot - p_i)."""
    smooth = max(0.0, 1 - (1 - together) / BENT)
    return smooth * (ahead * (2 - together) + chord - d) / 2

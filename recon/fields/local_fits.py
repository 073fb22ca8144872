"""From raw points, noisy and without normals, to clean samples of the sheets that they were taken from.

Around each point p_i the sheet is a height over a plane, a quadric patch (`recon.fields.quadrics`). Where the cloud has
no noise its points stay where they are and the patch over 16 neighbours gives the normal. Where it has, the patch
gives the place as well, and its size decides: a small one follows the noise, a large one cuts off detail. The size is
chosen per point, from local evidence. With f_m the height at p_i of the patch of size m, f_0 that of the smallest, and
l_m, l_0 their leverages (variances in units of the noise's variance s^2), the expected squared error of f_m is, but for
the bias of f_0,

    risk(m) = E (f_m - f_0)^2 - s^2 (l_0 - l_m) + s^2 l_m

because nested patches have Var(f_m - f_0) = s^2 (l_0 - l_m). The expectation is a mean over the points around p_i (an
unbiased estimate of the risk, in the spirit of Mallows 1973 and of Goldenshluger and Lepski 2011), and the least risk
wins. The points are moved onto their patches, then once more onto patches of half that size over the moved points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import KDTree

from recon.fields.quadrics import fit_patches, mean_over, principal_axes, tangents

NORMAL_SIZE = 16
NOISE_QUANTILE = 0.10
LEAST_NOISE = 0.06  # in spacings: below this, a cloud has no noise; the roughest clean clouds have 0.04
MOST_NOISE = 0.45  # in spacings: blobs of points have 0.35; more is two sheets within a spacing of each other
ITERATIONS = 2
PILOT_SIZE = 60
MOST_NEIGHBOURS = 192
LADDER = np.array([1, 1.4, 2, 2.8, 4])
SIZE_OF_NOISE = 60
LEAST_SIZE = 18
CHUNK = 100_000
EVIDENCE_SIZE = 50  # points whose fits are averaged to choose a size


@dataclass(frozen=True)
class Sheets:
    """Samples of surfaces, in no particular order of sheets.

    `points` (n, 3) are the input's, moved onto the local sheet where the cloud has noise; `normals` (n, 3) are unit, of
    arbitrary sign; `spacing` (n,) is the local distance between samples, sqrt(area per sample); `noise` is the standard
    deviation of the input's points across their sheets, 0 where the cloud is clean. All in the input's coordinates.
    `kept` (n,) are the indices of the input's points, ascending; the others coincide with kept ones or are outliers.
    """

    points: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]
    spacing: Float64[np.ndarray, " n"]
    noise: float
    kept: Int64[np.ndarray, " n"]


def fit_sheets(points: Float64[np.ndarray, "n 3"]) -> Sheets:
    """Estimates the noise of a cloud, moves its points onto their sheets and gives their normals.

    Raises:
        ValueError: coordinates that are not finite, fewer than 3 different points, or all points on one line.
    """
    center, size = _extent(points)
    order = _distinct(points)
    unit = (points[order] - center) / size
    neighbours = _nearest(unit, NORMAL_SIZE)
    spacing = _spacing(unit, neighbours, 8)
    sizes = np.full(len(unit), neighbours.shape[1])
    axes = principal_axes(unit, neighbours, sizes)
    if LEAST_NOISE < _roughness(unit, axes, neighbours, spacing) < MOST_NOISE:
        unit, normals, noise = _denoise(unit)
        spacing = _spacing(unit, _nearest(unit, NORMAL_SIZE), 8)
    else:
        patches, _, _ = fit_patches(unit, axes, neighbours, sizes[:, None], ITERATIONS)
        normals, noise = _moved(unit, axes, patches[:, 0])[1], 0.0
    back = np.argsort(order)
    return Sheets(
        unit[back] * size + center, normals[back], spacing[back] * size, noise * size, order[back].astype(np.int64)
    )


def _roughness(points, axes, neighbours, spacing):
    """A low quantile, over the cloud, of the scatter about quadrics (not robust ones: they would fit a few points)."""
    sizes = np.full((len(points), 1), neighbours.shape[1])
    _, leverage, scale = fit_patches(points, axes, neighbours, sizes, 1)
    return np.quantile(scale / np.sqrt(1 - leverage[:, 0]) / spacing, NOISE_QUANTILE)


def _extent(points):
    """The centre of the points' box, and half its longest side."""
    if not np.isfinite(points).all():
        raise ValueError("the points have coordinates that are not finite")
    if len(points) < 3:
        raise ValueError(f"a surface takes at least 3 points, here are {len(points)}")
    low, high = points.min(0), points.max(0)
    size = float((high - low).max()) / 2
    if size == 0:
        raise ValueError("all points coincide: no surface passes through one point")
    centered = (points - (low + high) / 2) / size
    if np.linalg.svd(centered - centered.mean(0), compute_uv=False)[1] < 1e-9 * math.sqrt(len(points)):
        raise ValueError("all points lie on one line: no surface passes through them alone")
    return (low + high) / 2, size


def _distinct(points):
    """Indices of the points in the order of a space-filling curve (Morton's), one of each set of coinciding points."""
    low, high = points.min(0), points.max(0)
    cells = ((points - low) * ((2**20 - 1) / (high - low).max())).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        code |= _spread_bits(cells[:, axis]) << np.uint64(axis)
    order = np.lexsort((*points.T, code))
    ordered = points[order]
    return order[np.r_[True, (ordered[1:] != ordered[:-1]).any(1)]]


def _spread_bits(x):
    """Moves bit k of 21-bit numbers to bit 3 k."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        x = (x | (x << np.uint64(shift))) & np.uint64(mask)
    return x


def _nearest(points, size):
    """The `size` nearest neighbours (or all) of every point, itself the first."""
    tree = KDTree(points, leafsize=24, balanced_tree=False)
    size = min(size, len(points))
    neighbours = np.empty((len(points), size), np.int32)
    for start in range(0, len(points), CHUNK):
        neighbours[start : start + CHUNK] = tree.query(points[start : start + CHUNK], size)[1]
    return neighbours


def _spacing(points, neighbours, size, around=9):
    """sqrt(area per sample) from the disc out to the size-th neighbour, by the median over points around."""
    size = min(size, neighbours.shape[1] - 1)
    radius = np.linalg.norm(points[neighbours[:, size]] - points, axis=1)
    spacing = math.sqrt(math.pi / size) * radius
    return np.median(spacing[neighbours[:, :around]], axis=1)


def _denoise(points):
    """Moved points, their normals, and the noise's standard deviation."""
    neighbours = _nearest(points, MOST_NEIGHBOURS)
    most = neighbours.shape[1]
    pilot = np.full(len(points), min(PILOT_SIZE, most))
    axes = principal_axes(points, neighbours, pilot)
    variance = _local_variance(points, axes, neighbours, pilot * 2 // 3)
    relative = np.sqrt(variance) / _spacing(points, neighbours, PILOT_SIZE)
    base = np.clip(SIZE_OF_NOISE * relative, min(LEAST_SIZE, most), most / LADDER[-1])
    axes = principal_axes(points, neighbours, (1.5 * base).astype(int))
    sizes = (base[:, None] * LADDER).astype(int)
    patches, leverage, scale = fit_patches(points, axes, neighbours, sizes, ITERATIONS)
    variance = _pooled(scale, leverage, neighbours)
    change = np.minimum((patches[:, :, 0] - patches[:, :1, 0]) ** 2, 9 * variance[:, None])
    risk = mean_over(change + 2 * variance[:, None] * leverage, neighbours, EVIDENCE_SIZE)
    chosen = np.arange(len(points)), risk.argmin(1)
    moved, normals = _moved(points, axes, patches[chosen])
    half = np.maximum(sizes[chosen] // 2, min(LEAST_SIZE // 2, most))
    patches, _, _ = fit_patches(moved, normals, neighbours, half[:, None], ITERATIONS)
    moved, normals = _moved(moved, normals, patches[:, 0])
    return moved, normals, math.sqrt(float(np.median(variance)))


def _local_variance(points, axes, neighbours, sizes):
    _, leverage, scale = fit_patches(points, axes, neighbours, sizes[:, None], ITERATIONS)
    return _pooled(scale, leverage, neighbours)


def _pooled(scale, leverage, neighbours):
    """The noise's variance around each point, from the residuals of patches that have spent leverage on it."""
    return np.median((scale**2 / (1 - leverage[:, 0]))[neighbours[:, :EVIDENCE_SIZE]], axis=1)


def _moved(points, axes, patches):
    """Points moved onto their patches, and the patches' unit normals there."""
    along, across = tangents(axes)
    normals = axes - patches[:, 1:2] * along - patches[:, 2:3] * across
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return points + patches[:, :1] * axes, normals

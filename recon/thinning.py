"""Which points of a cloud to take: classes, a box, one a cube, no outliers, a random sample; in this order.

Thinning stands before the search for outliers because it evens out the density that the search takes for granted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int

from recon.errors import UserError
from recon.formats.options import PointOptions
from recon.inputs import PointCloud

FEWEST = 4  # points that can span a surface with a curvature
NEIGHBORS = 16
CELLS_A_SIDE = 1 << 21  # three such numbers fit in 63 bits
POINTS_A_QUERY = 200_000  # neighbours are looked up for so many at a time: memory stays linear and small
COLLINEAR = 1e-7  # of the extent


def chosen(cloud: PointCloud, options: PointOptions, path: Path) -> PointCloud:
    """The points that the options choose, with a note for every step that left some out and one about duplicates.

    Raises:
        UserError: an option is malformed or needs what the file does not have, or the points that are left cannot span
            a surface: fewer than four different ones, or all on a line.
    """
    if options.classes is not None:
        classes = whole_numbers(options.classes, "--classes")
        if cloud.classification is None:
            raise UserError(f"--classes {options.classes}: the points of {path} have no classes")
        cloud = _keeping(cloud, np.isin(cloud.classification, classes), f"--classes {options.classes}", path)
    if options.crop is not None:
        low, high = box_of(options.crop)
        inside = np.all((cloud.points >= low) & (cloud.points <= high), axis=1)
        cloud = _keeping(cloud, inside, f"--crop {options.crop}", path)
    if options.thin is not None:
        cloud = _keeping(cloud, nearest_to_middle(cloud.points, options.thin), f"--thin {options.thin:g}", path)
    if options.drop_outliers is not None:
        sound = isolation(cloud.points) <= options.drop_outliers
        cloud = _keeping(cloud, sound, f"--drop-outliers {options.drop_outliers:g}", path)
    if options.sample is not None and options.sample < len(cloud.points):
        random = np.random.default_rng(0)
        taken = np.sort(random.choice(len(cloud.points), options.sample, replace=False, shuffle=False))
        cloud = _keeping(cloud, taken, f"--sample {options.sample}", path)
    repeated = len(cloud.points) - count_distinct(cloud.points)
    _check_spread(cloud.points, repeated, path)
    if repeated:
        return replace(cloud, notes=(*cloud.notes, f"{repeated:,} points repeat the coordinates of another one."))
    return cloud


def nearest_to_middle(points: Float64[np.ndarray, "n 3"], side: float) -> Int[np.ndarray, "m"]:
    """From each cube of this side that holds points, the index of the one nearest to the mean of those in it.

    The cubes are counted from the lowest corner of the cloud. A point that was measured stands for them, not the mean:
    edges stay sharp, and its colour and normal are its own.

    Raises:
        UserError: there would be more than two million cubes along a side.
    """
    low, extent = points.min(0), np.ptp(points, axis=0)
    if not side > 0 or (extent / side).max() >= CELLS_A_SIDE:
        raise UserError(
            f"--thin {side:g}: is too little for points that extend over {extent.max():g}; "
            f"{extent.max() / CELLS_A_SIDE:.2g} is the least"
        )
    cell = ((points - low) / side).astype(np.int64)
    key = (cell[:, 0] * CELLS_A_SIDE + cell[:, 1]) * CELLS_A_SIDE + cell[:, 2]
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    count = np.diff(first, append=len(key))
    near = points[order] - low
    near -= np.repeat(np.add.reduceat(near, first) / count[:, None], count, axis=0)
    distance = np.square(near).sum(1)
    least = np.repeat(np.minimum.reduceat(distance, first), count)
    nearest = np.flatnonzero(distance == least)
    group = np.repeat(np.arange(len(first)), count)[nearest]
    return np.sort(order[nearest[np.diff(group, prepend=-1) > 0]])  # the first of several at the same distance


def isolation(points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n"]:
    """Mean distance of each point to its 16 nearest neighbours, over the median of all: about 1 on an evenly sampled
    surface, large for points that stand alone (the statistical outlier removal of Rusu et al. 2008, with a median).
    """
    mean = nearest_neighbors(points, min(NEIGHBORS, len(points) - 1))[0].mean(1)
    median = np.median(mean)
    return mean / median if median > 0 else np.where(mean > 0, np.inf, 0.0)


def nearest_neighbors(
    points: Float64[np.ndarray, "n 3"], count: int, of: Int[np.ndarray, "m"] | None = None
) -> tuple[Float64[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    """Distances to the `count` nearest other points, ascending, and their indices, for all points or those of these
    indices."""
    from scipy.spatial import KDTree

    middle = points.mean(0)
    inner = _by_block(points)
    tree = KDTree(points[inner] - middle, balanced_tree=False)
    asked = points if of is None else points[of]
    order = _by_block(asked)
    distances, indices = np.empty((len(asked), count)), np.empty((len(asked), count), np.int64)
    for start in range(0, len(asked), POINTS_A_QUERY):
        piece = order[start : start + POINTS_A_QUERY]
        found, which = tree.query(asked[piece] - middle, count + 1, workers=-1)
        distances[piece], indices[piece] = np.asarray(found)[:, 1:], inner[which][:, 1:]  # not the point itself
    return distances, indices


def _by_block(points: Float64[np.ndarray, "n 3"]) -> Int[np.ndarray, "n"]:
    """An order in which points of one of 128^3 blocks follow each other: a tree is searched three times as fast."""
    blocks = ((points - points.min(0)) / (np.ptp(points, axis=0).max() or 1.0) * 127).astype(np.int32)
    return np.lexsort(blocks.T)


def count_distinct(points: Float64[np.ndarray, "n 3"]) -> int:
    """How many different points there are, by a 64-bit hash of their coordinates (10^7 points: one in 10^5 clouds has
    two that are mistaken for one)."""
    bits = (points + 0.0).view(np.uint64)  # + 0.0 makes one zero of both
    mixed = np.zeros(len(points), np.uint64)
    for column in bits.T:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    mixed.sort()
    return int(np.count_nonzero(np.diff(mixed))) + 1 if len(mixed) else 0


def box_of(text: str) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """The lowest and highest corner that --crop names.

    Raises:
        UserError: it does not name two corners.
    """
    try:
        low, high = np.array([float(word) for word in text.split(",")]).reshape(2, 3)
    except ValueError as problem:
        raise UserError(f"--crop {text}: needs six numbers: xmin,ymin,zmin,xmax,ymax,zmax") from problem
    if not (low < high).all():
        raise UserError(f"--crop {text}: each of xmin,ymin,zmin must be less than its partner in xmax,ymax,zmax")
    return low, high


def whole_numbers(text: str, option: str) -> list[int]:
    """Whole numbers from 0 to 255, with commas between.

    Raises:
        UserError: it is something else; the sentence names the option.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) <= 255 for word in words):
        raise UserError(f"{option} {text}: needs whole numbers from 0 to 255 with commas between them")
    return [int(word) for word in words]


def _keeping(
    cloud: PointCloud, which: Bool[np.ndarray, "n"] | Int[np.ndarray, "m"], option: str, path: Path
) -> PointCloud:
    """The subset, with a note of how many the option left."""
    kept = cloud.subset(which)
    if not len(kept.points):
        raise UserError(f"{option}: leaves none of the {len(cloud.points):,} points of {path}")
    note = f"{option} keeps {len(kept.points):,} of {len(cloud.points):,} points."
    return replace(kept, notes=(*cloud.notes, note))


def _check_spread(points: Float64[np.ndarray, "n 3"], repeated: int, path: Path) -> None:
    """Refuses points that cannot span a surface."""
    if len(points) - repeated < FEWEST:
        raise UserError(f"{path}: has {len(points) - repeated} different points; a surface needs at least {FEWEST}")
    spread = np.linalg.svd(np.cov((points - points.mean(0)).T), compute_uv=False)
    if spread[1] <= COLLINEAR**2 * spread[0]:
        raise UserError(f"{path}: all of its {len(points):,} points lie on one line; a surface needs points beside it")

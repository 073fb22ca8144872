"""Who is next to whom in a cloud of points: the order to keep them in, the nearest ones, the distance between them."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64
from numba import njit

from recon.fields.point_tree import PointTree
from recon.morton import morton_codes

CHUNK = 100_000  # queries answered at once: bounds the memory that their distances take
SPACING_NEIGHBOUR = 8


def distinct_along_curve(points: Float64[np.ndarray, "n 3"]) -> Int64[np.ndarray, " m"]:
    """Indices of the points, one of each set of coinciding ones, along a space-filling curve (Morton's).

    Neighbours in space are then mostly neighbours in memory, which everything that gathers them gains from.
    """
    order = np.lexsort((*points.T, morton_codes(points)))
    ordered = points[order]
    return order[np.r_[True, (ordered[1:] != ordered[:-1]).any(1)]]


def nearest(points: Float64[np.ndarray, "n 3"], size: int, tree: PointTree | None = None) -> Int32[np.ndarray, "n k"]:
    """The `size` nearest neighbours of every point (or all points, if there are fewer), itself the first; the points'
    tree is grown unless it stands already."""
    return _nearest_to(points, tree or PointTree(points), min(size, len(points)))


def nearest_left(
    points: Float64[np.ndarray, "n 3"],
    neighbours: Int32[np.ndarray, "n k"],
    kept: Bool[np.ndarray, " n"],
    size: int,
) -> Int32[np.ndarray, "m size"]:
    """The same of the points that are kept, among them, from the neighbours that they had before: those that were left
    too few are asked again."""
    left = points[kept]
    size = min(size, len(left))
    found, lacking = _left(neighbours, kept, size)
    if lacking.any():
        found[lacking] = _nearest_to(left[lacking], PointTree(left), size)
    return found


def _nearest_to(places: Float64[np.ndarray, "m 3"], tree: PointTree, size: int) -> Int32[np.ndarray, "m k"]:
    neighbours = np.empty((len(places), size), np.int32)
    for start in range(0, len(places), CHUNK):
        found = tree.query(places[start : start + CHUNK], size)[1]
        neighbours[start : start + CHUNK] = found.reshape(-1, size)
    return neighbours


@njit(cache=True)
def _left(neighbours, kept, size):
    """The first `size` neighbours that are kept of each point that is, by their new numbers, and which lack some."""
    number = np.cumsum(kept) - 1
    found = np.zeros((kept.sum(), size), np.int32)
    lacking = np.zeros(len(found), np.bool_)
    for n in range(len(neighbours)):
        if kept[n]:
            count = 0
            for j in neighbours[n]:
                if kept[j] and count < size:
                    found[number[n], count] = number[j]
                    count += 1
            lacking[number[n]] = count < size
    return found, lacking


def local_spacing(
    points: Float64[np.ndarray, "n 3"], neighbours: Int32[np.ndarray, "n k"], size: int = SPACING_NEIGHBOUR
) -> Float64[np.ndarray, " n"]:
    """sqrt(area per point): from the disc out to the size-th neighbour, and the median of that over 9 points."""
    size = min(size, neighbours.shape[1] - 1)
    radius = np.linalg.norm(points[neighbours[:, size]] - points, axis=1)
    return median_over(math.sqrt(math.pi / size) * radius, neighbours[:, :9])


@njit(cache=True)
def median_over(values: Float64[np.ndarray, " n"], neighbours: Int32[np.ndarray, "n k"]) -> Float64[np.ndarray, " n"]:
    """The median of the values at each point's neighbours."""
    count = neighbours.shape[1]
    middle = count // 2
    medians, least = np.empty(len(neighbours)), np.empty(middle + 1)  # the lower half, ascending
    for n in range(len(neighbours)):
        for m in range(count):
            value, at = values[neighbours[n, m]], min(m, middle + 1)
            if at > middle:
                if value >= least[middle]:
                    continue
                at = middle
            while at > 0 and least[at - 1] > value:
                least[at] = least[at - 1]
                at -= 1
            least[at] = value
        medians[n] = (least[(count - 1) // 2] + least[middle]) / 2
    return medians

"""Who is next to whom in a cloud of points: the order to keep them in, the nearest ones, the distance between them."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float64, Int32, Int64
from scipy.spatial import KDTree

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


def nearest(points: Float64[np.ndarray, "n 3"], size: int) -> Int32[np.ndarray, "n k"]:
    """The `size` nearest neighbours of every point (or all points, if there are fewer), itself the first."""
    tree = KDTree(points, leafsize=24, balanced_tree=False)
    size = min(size, len(points))
    neighbours = np.empty((len(points), size), np.int32)
    for start in range(0, len(points), CHUNK):
        neighbours[start : start + CHUNK] = tree.query(points[start : start + CHUNK], size)[1]
    return neighbours


def local_spacing(
    points: Float64[np.ndarray, "n 3"], neighbours: Int32[np.ndarray, "n k"], size: int = SPACING_NEIGHBOUR
) -> Float64[np.ndarray, " n"]:
    """sqrt(area per point): from the disc out to the size-th neighbour, and the median of that over 9 points."""
    size = min(size, neighbours.shape[1] - 1)
    radius = np.linalg.norm(points[neighbours[:, size]] - points, axis=1)
    return np.median((math.sqrt(math.pi / size) * radius)[neighbours[:, :9]], axis=1)

"""Where the network is taught: random points around the cloud, each with its nearest point of the cloud.

A query of the point p is p + s sigma e with e from the normal distribution and sigma the distance to p's 50th
neighbour. The spread s is 1/4 for up to 20,000 points and grows with the root of their number, since sigma shrinks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64
from scipy.spatial import KDTree

QUERIES = 1_000_000
NEIGHBOR = 50
SPREAD = 0.25
USUAL = 20_000  # points up to which the spread is as it was asked for


class Queries(NamedTuple):
    """Points, and the index of the cloud's point that is nearest to each."""

    points: Float32[np.ndarray, "m 3"]
    nearest: Int64[np.ndarray, " m"]


def draw_queries(
    cloud: Float64[np.ndarray, "n 3"], spread: float, rng: np.random.Generator, count: int = QUERIES
) -> Queries:
    """About `count` queries, equally many for each point of the cloud, at least one."""
    tree = KDTree(cloud)
    reach = deviations(cloud, spread, tree)
    per_point = max(1, count // len(cloud))
    points = (cloud + reach[:, None] * rng.standard_normal((per_point, *cloud.shape))).reshape(-1, 3)
    return Queries(points.astype(np.float32), np.asarray(tree.query(points)[1], np.int64))


def deviations(cloud: Float64[np.ndarray, "n 3"], spread: float, tree: KDTree) -> Float64[np.ndarray, " n"]:
    """s sigma of each point: the standard deviation of its queries along each axis."""
    rank = min(NEIGHBOR + 1, len(cloud))
    sigma = np.asarray(tree.query(cloud, rank)[0])[:, -1]
    return spread * max(1.0, (len(cloud) / USUAL) ** 0.5) * sigma

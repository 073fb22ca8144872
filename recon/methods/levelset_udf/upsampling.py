"""What the trained field says about points: where on the surface they belong, normals, more points than there were."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from recon.methods.levelset_udf.field import DistanceField
from recon.methods.levelset_udf.queries import deviations

NEAR = 0.01  # points for the surface start closer than this to it
PULLS = 2
BATCH = 50_000
MOST_BATCHES = 1000


def pulled(
    field: DistanceField, points: Float64[np.ndarray, "n 3"]
) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
    """The points moved onto the zero set, and unit normals there; to which side those point means nothing."""
    for _ in range(PULLS):
        distance, gradient = field.evaluate(points)
        points = points - distance[:, None] * directions(gradient)
    return points, normals_at(field, points)


def normals_at(field: DistanceField, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Unit gradients of the field; to which side they point means nothing."""
    return directions(field.evaluate(points)[1])


def upsampled(
    field: DistanceField, cloud: Float64[np.ndarray, "n 3"], spread: float, count: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "m 3"], Float64[np.ndarray, "m 3"]]:
    """`count` points on the zero set with normals: points of the cloud, moved at random as queries are, and pulled.

    Those that start farther than 0.01 from the surface are left out. Fewer than `count` where the field is nowhere so
    small.
    """
    reach = deviations(cloud, spread, KDTree(cloud))
    found = [(np.empty((0, 3)), np.empty((0, 3)))]
    missing = count
    for _ in range(MOST_BATCHES):
        start = rng.integers(0, len(cloud), min(BATCH, 2 * missing))
        points = cloud[start] + reach[start, None] * rng.standard_normal((len(start), 3))
        near = points[field.evaluate(points)[0] < NEAR]
        found.append(pulled(field, near))
        missing -= len(near)
        if missing <= 0:
            break
    points, normals = (np.concatenate(parts)[:count] for parts in zip(*found, strict=True))
    return points, normals


def directions(gradient: np.ndarray) -> Float64[np.ndarray, "n 3"]:
    """The gradients, of unit length."""
    gradient = gradient.astype(np.float64)
    return gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), np.finfo(float).tiny)

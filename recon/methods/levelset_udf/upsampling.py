"""What the trained field says about points: normals, and more points than there were."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from recon.methods.levelset_udf.field import DistanceField
from recon.methods.levelset_udf.queries import deviations

NEAR = 0.01  # pulled points start closer than this to the surface
PULLS = 2
BATCH = 50_000
MOST_BATCHES = 1000


def normals_at(field: DistanceField, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Unit gradients of the field; to which side they point means nothing."""
    return _directions(field.evaluate(points)[1])


def upsampled(
    field: DistanceField, cloud: Float64[np.ndarray, "n 3"], spread: float, count: int, rng: np.random.Generator
) -> Float64[np.ndarray, "m 3"]:
    """`count` points on the zero set: points of the cloud, moved at random as queries are, and pulled to the surface.

    Those that start farther than 0.01 from it are left out. Fewer than `count` where the field is nowhere so small.
    """
    reach = deviations(cloud, spread, KDTree(cloud))
    found = [np.empty((0, 3))]
    for _ in range(MOST_BATCHES):
        missing = count - sum(map(len, found))
        if missing <= 0:
            break
        start = rng.integers(0, len(cloud), min(BATCH, 2 * missing))
        points = cloud[start] + reach[start, None] * rng.standard_normal((len(start), 3))
        distance, gradient = field.evaluate(points)
        near = distance < NEAR
        points, distance, gradient = points[near], distance[near], gradient[near]
        for pull in range(PULLS):
            if pull:
                distance, gradient = field.evaluate(points)
            points = points - distance[:, None] * _directions(gradient)
        found.append(points)
    return np.concatenate(found)[:count]


def _directions(gradient: np.ndarray) -> Float64[np.ndarray, "n 3"]:
    """The gradients, of unit length."""
    gradient = gradient.astype(np.float64)
    return gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), np.finfo(float).tiny)

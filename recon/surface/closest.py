"""The closest point of a triangle mesh, and which side of it a point lies on, exact (Embree through Open3D)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from render.raycasting import import_open3d


class Closest(NamedTuple):
    """For each query point the closest point, how far it is, and the triangle that holds it."""

    points: Float64[np.ndarray, "n 3"]
    distances: Float64[np.ndarray, " n"]
    triangles: Int64[np.ndarray, " n"]


class TriangleIndex:
    """Answers queries against `triangles`, at least one, on one thread unless told otherwise.

    Embree works in float32. Triangles and queries are first shifted and scaled, in float64, so that the triangles' box
    is centred and one unit long: an answer is off by about 1e-7 of the box's diagonal wherever the mesh stands.
    """

    def __init__(self, triangles: Float64[np.ndarray, "f 3 3"], threads: int = 1) -> None:
        open3d = import_open3d()
        low, high = triangles.min((0, 1)), triangles.max((0, 1))
        self._center = (low + high) / 2
        self._size = float(np.linalg.norm(high - low)) or 1.0
        self._threads = threads
        self._scene = open3d.t.geometry.RaycastingScene(nthreads=threads)
        corners = self._unit(triangles.reshape(-1, 3))
        self._scene.add_triangles(corners, np.arange(len(corners), dtype=np.uint32).reshape(-1, 3))

    @classmethod
    def of_segments(cls, segments: Float64[np.ndarray, "s 2 3"], threads: int = 1) -> TriangleIndex:
        """An index of line segments: a triangle with two equal corners is one."""
        return cls(segments[:, [0, 1, 1]], threads)

    def closest(self, points: Float64[np.ndarray, "n 3"]) -> Closest:
        """The closest points."""
        queries = self._unit(points)
        found = self._scene.compute_closest_points(queries, nthreads=self._threads)
        at = found["points"].numpy().astype(np.float64)
        distances = np.linalg.norm(at - queries, axis=1) * self._size
        return Closest(at * self._size + self._center, distances, found["primitive_ids"].numpy().astype(np.int64))

    def contains(self, points: Float64[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
        """Whether the points are inside closed triangles: rays from them cross an odd number (majority of three)."""
        return self._scene.compute_occupancy(self._unit(points), nthreads=self._threads, nsamples=3).numpy() > 0.5

    def _unit(self, points: Float64[np.ndarray, "n 3"]) -> np.ndarray:
        return np.ascontiguousarray((points - self._center) / self._size, np.float32)

"""How far a cloud's points lie from the surface that was made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from jaxtyping import Float64

from recon.surface.closest import TriangleIndex

if TYPE_CHECKING:
    import trimesh


class Deviation(msgspec.Struct, frozen=True):
    """Distances of points from a surface, in their unit: the mean, what half of them and 95 % of them are within, and
    the greatest. `diagonal` is that of the points' bounding box."""

    mean: float
    median: float
    quantile_95: float
    greatest: float
    diagonal: float

    @classmethod
    def of(cls, distances: Float64[np.ndarray, " n"], points: Float64[np.ndarray, "n 3"]) -> Deviation:
        """The figures of distances that are known."""
        median, quantile = np.quantile(distances, [0.5, 0.95])
        diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
        return cls(float(distances.mean()), float(median), float(quantile), float(distances.max()), diagonal)

    def percent(self) -> dict[str, float]:
        """The distances in percent of the diagonal."""
        values = {name: getattr(self, name) for name in ("mean", "median", "quantile_95", "greatest")}
        return {name: 100 * value / (self.diagonal or 1.0) for name, value in values.items()}


def point_distances(mesh: trimesh.Trimesh, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
    """The exact distance of each point from the mesh, both in the same coordinates."""
    return TriangleIndex(np.asarray(mesh.triangles, np.float64)).closest(points).distances

"""What cross-sections consist of: planes with rings of labels, or the slices of a label volume.

Coordinates are the user's own (float64).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, UInt16

BACKGROUND = 0


@dataclass(frozen=True)
class Label:
    """A named region of space. `id` is positive (0 is the background); `color` is sRGB in [0, 1]."""

    id: int
    name: str
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Ring:
    """A closed polygon in its plane, `vertices` (n, 2), the first vertex not repeated.

    A hole takes its label away from the region that it lies in; its orientation means nothing.
    """

    vertices: Float64[np.ndarray, "n 2"]
    label: int
    hole: bool = False


@dataclass(frozen=True)
class Plane:
    """A plane with the contours cut by it; a plane without contours says that nothing is there.

    `origin` (3,) lies in the plane; `axes` (2, 3) are its orthonormal in-plane directions u and v: a ring's vertex
    (a, b) stands at origin + a u + b v. `lines` are open polylines (elevation contours), (n, 2) each.
    `silent_about` are labels that this plane says nothing about, not even that they are absent: they were drawn on
    other planes only.
    """

    origin: Float64[np.ndarray, "3"]
    axes: Float64[np.ndarray, "2 3"]
    rings: tuple[Ring, ...] = ()
    lines: tuple[Float64[np.ndarray, "_ 2"], ...] = ()
    silent_about: frozenset[int] = frozenset()

    @property
    def normal(self) -> Float64[np.ndarray, "3"]:
        """u x v, of unit length."""
        return np.cross(self.axes[0], self.axes[1])

    def to_world(self, points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 3"]:
        """In-plane coordinates to the user's."""
        return self.origin + points @ self.axes

    def to_plane(self, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2"]:
        """The user's coordinates, projected to in-plane ones."""
        return (points - self.origin) @ self.axes.T


@dataclass(frozen=True)
class LabelVolume:
    """A dense label map: `labels[i, j, k]` is the label id of the voxel centred at `affine @ (i, j, k, 1)`.

    Slices run along array axis `axis`; `kept` are the indices of the slices that a method may see, ascending. The rest
    are left out to be compared with (`--keep-every`).
    """

    labels: UInt16[np.ndarray, "nx ny nz"]
    affine: Float64[np.ndarray, "4 4"]
    axis: int
    kept: Int[np.ndarray, "k"]

    @property
    def spacing(self) -> Float64[np.ndarray, "3"]:
        """Distance between neighbouring voxel centres along each array axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def left_out(self) -> Int[np.ndarray, "m"]:
        """Indices of the slices that a method must not see and that lie between kept ones."""
        every = np.arange(self.kept[0], self.kept[-1] + 1)
        return np.setdiff1d(every, self.kept)

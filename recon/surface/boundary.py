"""Where a surface ends: the edges that have one face only, chained to loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from recon.surface.topology import Topology

if TYPE_CHECKING:
    import trimesh


class Boundary(NamedTuple):
    """The boundary's `segments` in the mesh's coordinates, and the number of the `loop` that each belongs to, the
    longest loop first."""

    segments: Float64[np.ndarray, "s 2 3"]
    loop: Int64[np.ndarray, " s"]

    @property
    def lengths(self) -> Float64[np.ndarray, " loops"]:
        """How long each loop is."""
        return np.bincount(self.loop, np.linalg.norm(self.segments[:, 1] - self.segments[:, 0], axis=1))

    @property
    def loops(self) -> list[Float64[np.ndarray, "_ 2 3"]]:
        """The segments of each loop, the longest loop first."""
        if len(self.loop) == 0:
            return []
        return np.split(self.segments[np.argsort(self.loop, kind="stable")], np.cumsum(np.bincount(self.loop))[:-1])


def boundary_of(mesh: trimesh.Trimesh) -> Boundary:
    """The boundary of a mesh; nothing where it is closed."""
    vertices = np.asarray(mesh.vertices, np.float64)
    return boundary_in(Topology(np.asarray(mesh.faces, np.int64), len(vertices)), vertices)


def boundary_in(topology: Topology, vertices: Float64[np.ndarray, "v 3"]) -> Boundary:
    """The boundary of a mesh whose topology is known."""
    faces, sides = topology.faces, topology.boundary_sides
    ends = np.stack([faces[sides // 3, sides % 3], faces[sides // 3, (sides + 1) % 3]], axis=1)
    found = Boundary(vertices[ends], topology.loop_of_boundary_side)
    rank = np.argsort(np.argsort(-found.lengths, kind="stable"))
    return Boundary(found.segments, rank[found.loop])


def in_words(loops: int, length: str) -> str:
    """A boundary as a sentence says it: "1 boundary loop, 6.28 m long"."""
    return f"1 boundary loop, {length} long" if loops == 1 else f"{loops} boundary loops, {length} long together"

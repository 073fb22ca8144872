"""What is true about a mesh: closed or not, of how many parts and handles, clean or not, how large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from recon.surface.boundary import boundary_in
from recon.surface.intersections import count_self_intersections
from recon.surface.topology import Topology

if TYPE_CHECKING:
    import trimesh

LARGEST_INTERSECTION_TEST = 2_000_000


class MeshFacts(msgspec.Struct, frozen=True):
    """Facts from the mesh's own indices: vertices that merely stand at one position are different vertices."""

    vertices: int
    faces: int
    watertight: bool
    """Every edge has exactly two faces, which face the same way."""
    euler_number: int
    """Vertices - edges + faces: 2 - 2 genus for each closed part, one less for each hole in it."""
    components: int
    """Parts connected through edges; the wall of a cavity is one of its own."""
    boundary_loops: int
    boundary_lengths: tuple[float, ...]
    """The length of each of these loops, the longest first."""
    non_manifold_edges: int
    """Edges with more than two faces."""
    non_manifold_vertices: int
    """Vertices at which several fans of faces meet."""
    self_intersections: int | None
    """Pairs of faces without a common edge that pass through each other; None above 2 million faces: not counted."""
    area: float
    volume: float | None
    """Enclosed volume, None where the mesh is not watertight; negative where the faces look inward."""
    bounds: tuple[tuple[float, float, float], tuple[float, float, float]] | None
    """Lowest and highest coordinates; None for an empty mesh."""


def mesh_facts(mesh: trimesh.Trimesh) -> MeshFacts:
    """The facts about a mesh, in its own units."""
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    topology = Topology(faces, len(vertices))
    used = vertices[topology.vertex_in_use]
    triangles = vertices[faces] - (used.mean(0) if len(used) else 0.0)  # large coordinates would cost digits
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    small_enough = len(faces) <= LARGEST_INTERSECTION_TEST
    return MeshFacts(
        vertices=len(vertices),
        faces=len(faces),
        watertight=topology.is_watertight,
        euler_number=topology.euler_number,
        components=topology.parts,
        boundary_loops=topology.boundary_loops,
        boundary_lengths=tuple(boundary_in(topology, vertices).lengths.tolist()),
        non_manifold_edges=topology.non_manifold_edges,
        non_manifold_vertices=topology.non_manifold_vertices,
        self_intersections=count_self_intersections(vertices, faces) if small_enough else None,
        area=float(np.linalg.norm(normals, axis=1).sum() / 2),
        volume=float((triangles[:, 0] * normals).sum() / 6) if topology.is_watertight else None,
        bounds=(tuple(used.min(0).tolist()), tuple(used.max(0).tolist())) if len(used) else None,
    )

"""Cracks in a mesh against borders, on a grid with a slit and a hole."""

import numpy as np
import trimesh

from recon.surface.sheets.borders import Mesh
from recon.surface.sheets.cracks import with_cracks_closed
from recon.surface.sheets.tiles import everywhere
from recon.surface.topology import Topology

SIDE = 20  # squares


def grid_without(squares: list[tuple[int, int]]) -> Mesh:
    """A square of side 20 in the plane z = 0, in unit squares, without some of them."""
    x, y = np.meshgrid(np.arange(SIDE + 1.0), np.arange(SIDE + 1.0), indexing="ij")
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    faces = []
    for i, j in {(i, j) for i in range(SIDE) for j in range(SIDE)} - set(squares):
        a, b = i * (SIDE + 1) + j, (i + 1) * (SIDE + 1) + j
        faces += [[a, b, b + 1], [a, b + 1, a + 1]]
    return Mesh(vertices, np.array(faces))


def test_a_slit_among_samples_is_closed_and_a_hole_without_samples_stays():
    hole = [(i, j) for i in range(3, 6) for j in range(3, 6)]
    slit = [(i, 12) for i in range(5, 15)] + [(14, 13), (14, 14)]
    mesh = grid_without(hole + slit)
    beyond = np.where((mesh.vertices[:, :2].max(1) < 8) | (mesh.vertices[:, :2].min(1) == 0), 1.3, 0.2)
    beyond[mesh.vertices[:, :2].max(1) == SIDE] = 1.3
    found = with_cracks_closed(mesh, beyond, everywhere)
    topology = Topology(found.faces, len(found.vertices))
    assert (topology.boundary_loops, topology.non_manifold_edges) == (2, 0)
    assert topology.is_consistently_oriented
    assert np.isclose(trimesh.Trimesh(*found, process=False).area, SIDE**2 - len(hole))

"""Dual contouring of Hermite data (Ju, Losasso, Schaefer, Warren 2002): an isosurface that keeps edges and corners.

On each lattice edge that the surface crosses, the crossing p_i comes from the values and the unit normal n_i from the
field's gradient. The vertex of a cell minimises

    E(x) = sum_i (n_i . (x - p_i))^2 + s^2 |x - c|^2,    c = mean of the p_i,

within the cell: the first term puts it on all tangent planes at once, hence on the edge or corner where they differ;
the weak pull s places it where they leave it free. The cells' quads, and several vertices where several sheets pass a
cell, are those of `recon.surface.dual_cells` with the labels 1 inside and 0 outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, Int32
from numba import njit

from recon.surface.dual_cells import DualMesh, dual_mesh

if TYPE_CHECKING:
    import trimesh


def dual_contouring(
    values: Float[np.ndarray, "nx ny nz"],
    gradient_at: Callable[[Float64[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]],
    level: float = 0.0,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
    pull: float = 0.01,
) -> trimesh.Trimesh:
    """The surface between the nodes with values below `level` (inside) and the others, with sharp features.

    Node (i, j, k) stands at origin + (i, j, k) * spacing. `gradient_at` gives the field's gradient, of any length, at
    points in the same coordinates; it is called once, with all crossings. `pull` is s of the module's formula: 0.01
    reproduces edges; a noisy gradient wants 0.1; a large one gives surface nets. Faces are counter-clockwise from
    outside. The mesh is manifold, and watertight when all nodes on the border are outside; where they are not it is
    open there. Values are finite.
    """
    import trimesh

    mesh = dual_mesh((values < level).astype(np.uint16))
    crossings = _crossings(values, level, mesh)
    gradients = np.asarray(gradient_at(crossings * spacing + origin), np.float64)
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    normals = np.divide(gradients, lengths, out=np.zeros_like(gradients), where=lengths > 0)
    crossings *= spacing
    corner = np.stack(np.unravel_index(mesh.vertex_cell, values.shape), 1) * np.asarray(spacing)
    vertices = _fit_vertices(mesh.quads, crossings, normals, corner, np.asarray(spacing, np.float64), float(pull))
    faces = _triangles(mesh, vertices, crossings, normals)
    surface = trimesh.Trimesh(vertices + origin, faces, process=False)
    surface.remove_unreferenced_vertices()
    return surface


def _crossings(values: Float[np.ndarray, "nx ny nz"], level: float, mesh: DualMesh) -> Float64[np.ndarray, "q 3"]:
    """Where the field crosses the level on each quad's lattice edge, in node coordinates, by linear interpolation."""
    points = np.stack(np.unravel_index(mesh.edge_node, values.shape), 1).astype(np.float64)
    strides = np.array([values.shape[1] * values.shape[2], values.shape[2], 1])
    flat = values.ravel()
    here = flat[mesh.edge_node].astype(np.float64)
    there = flat[mesh.edge_node + strides[mesh.edge_axis]].astype(np.float64)
    points[np.arange(len(points)), mesh.edge_axis] += (level - here) / (there - here)
    return points


@njit(cache=True)
def _fit_vertices(quads, points, normals, corner, size, pull):
    """(v, 3): for each vertex the minimiser of E within its cell, the box of `size` at `corner[v]`."""
    count = len(corner)
    mean, crossings = np.zeros((count, 3)), np.zeros(count)
    for q in range(len(quads)):
        for v in quads[q]:
            if v >= 0:
                mean[v] += points[q]
                crossings[v] += 1
    for v in range(count):
        mean[v] /= crossings[v]
    # With y = x - c, E is y'Ay - 2b'y + constant.
    matrix, target = np.zeros((count, 3, 3)), np.zeros((count, 3))
    for q in range(len(quads)):
        for v in quads[q]:
            if v < 0:
                continue
            along = 0.0
            for d in range(3):
                along += normals[q, d] * (points[q, d] - mean[v, d])
            for d in range(3):
                target[v, d] += normals[q, d] * along
                for e in range(3):
                    matrix[v, d, e] += normals[q, d] * normals[q, e]
    for v in range(count):
        for d in range(3):
            matrix[v, d, d] += pull**2
        mean[v] += _minimise_in_box(matrix[v], target[v], corner[v] - mean[v], corner[v] + size - mean[v])
    return mean


@njit(cache=True)
def _minimise_in_box(a, b, low, high):
    """The y of least y'ay - 2b'y between low and high, `a` symmetric positive definite.

    Each coordinate is free, at its lower or at its upper bound: 27 states, of which the best feasible one wins, at once
    if it is the one with all free.
    """
    best, least = np.zeros(3), np.inf
    m, y = np.empty((3, 3)), np.empty(3)
    for state in range(27):
        for d in range(3):
            bound = state // 3**d % 3
            for e in range(3):
                m[d, e] = a[d, e] if bound == 0 else 1.0 * (d == e)
            y[d] = b[d] if bound == 0 else low[d] if bound == 1 else high[d]
        for d in range(3):  # Gaussian elimination; the pivots are positive
            for e in range(3):
                if e != d:
                    ratio = m[e, d] / m[d, d]
                    y[e] -= ratio * y[d]
                    for f in range(d, 3):
                        m[e, f] -= ratio * m[d, f]
        feasible, energy = True, 0.0
        for d in range(3):
            y[d] /= m[d, d]
            slack = 1e-12 * (high[d] - low[d])
            feasible &= low[d] - slack <= y[d] <= high[d] + slack
        for d in range(3):
            energy -= 2 * b[d] * y[d]
            for e in range(3):
                energy += y[d] * a[d, e] * y[e]
        if feasible and energy < least:
            least = energy
            best[:] = y
            if state == 0:
                break
    return best


def _triangles(
    mesh: DualMesh,
    vertices: Float64[np.ndarray, "v 3"],
    points: Float64[np.ndarray, "q 3"],
    normals: Float64[np.ndarray, "q 3"],
) -> Int32[np.ndarray, "f 3"]:
    """Each complete quad in two triangles, cut by the diagonal whose middle is nearer to its crossing's tangent plane.

    A diagonal along an edge of the body lies in the tangent planes of both sides, the other in none.
    """
    complete = (mesh.quads >= 0).all(1)
    quads, points, normals = mesh.quads[complete], points[complete], normals[complete]
    off = [
        np.abs((((vertices[quads[:, n]] + vertices[quads[:, n + 2]]) / 2 - points) * normals).sum(1)) for n in (0, 1)
    ]
    quads = np.where((off[1] < off[0])[:, None], quads[:, [1, 2, 3, 0]], quads)
    from_outside = mesh.sides[complete, 0] == 0
    quads[from_outside] = quads[from_outside][:, [0, 3, 2, 1]]
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)

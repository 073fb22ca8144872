"""The joint surface of a label map (surface nets): every label closed, neighbours without a gap or an overlap.

One quad stands between every two neighbouring voxels of different labels (`recon.surface.dual_cells`); its corners
are the means of the places where the labels change on the edges of a cell. Labels that touch share the quad, hence
its corners' positions and its cut into triangles: what one label's surface encloses is exactly what the others leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt16
from numba import njit

from recon.surface.dual_cells import DualMesh, dual_mesh

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True)
class LabelSurfaces:
    """All surfaces between labels, in one set of vertices.

    Quad n, cut into the triangles (0, 1, 2) and (0, 2, 3) of its corners, stands between the labels `sides[n]`; it is
    counter-clockwise seen from the second. `crossings[n]` is where these labels change on the quad's lattice edge.
    `splits` is that of `recon.surface.dual_cells.DualMesh`.
    """

    vertices: Float64[np.ndarray, "v 3"]
    quads: Int32[np.ndarray, "q 4"]
    sides: UInt16[np.ndarray, "q 2"]
    crossings: Float64[np.ndarray, "q 3"]
    splits: Int64[np.ndarray, "s 4"]

    def of(self, label: int) -> trimesh.Trimesh:
        """The surface of one label: closed and manifold, counter-clockwise from outside; empty if it has no voxel.

        Where the label touches itself along a seam of other labels, vertices coincide in position: merging them by
        position would make the mesh non-manifold there.
        """
        import trimesh

        second = self.sides[:, 1] == label
        rows = np.flatnonzero(second | (self.sides[:, 0] == label))
        corners = self.quads[rows]
        quad, slot, _, fan = self.splits[self.splits[:, 2] == label].T
        at = np.searchsorted(rows, quad)
        origin, copy = np.unique(corners[at, slot] * np.int64(12) + fan, return_inverse=True)
        corners[at, slot] = len(self.vertices) + copy
        corners[second[rows]] = corners[second[rows]][:, [0, 3, 2, 1]]
        used = np.zeros(len(self.vertices) + len(origin), bool)
        used[corners] = True
        renumbered = np.cumsum(used) - 1
        vertices = np.concatenate([self.vertices, self.vertices[origin // 12]])[used]
        faces = renumbered[corners[:, [0, 1, 2, 0, 2, 3]]].reshape(-1, 3)
        return trimesh.Trimesh(vertices, faces, process=False)


def label_surfaces(
    labels: UInt16[np.ndarray, "nx ny nz"],
    crossings: tuple[Float32[np.ndarray, "mx ny nz"], Float32[np.ndarray, "nx my nz"], Float32[np.ndarray, "nx ny mz"]]
    | None = None,
    *,
    affine: Float64[np.ndarray, "4 4"] | None = None,
    smooth: bool = False,
) -> LabelSurfaces:
    """The surfaces between the labels of a lattice, with background (0) assumed all around it.

    `crossings[axis]` gives for the edge from each node to the next along the axis the fraction in (0, 1) at which the
    label changes, where it does; 0.5 without them and beyond the border. Node (i, j, k) stands at
    `affine @ (i, j, k, 1)`; at (i, j, k) without it.

    `smooth` takes away the stairs of painted voxels, and moves no vertex more than a fifth of a voxel along an axis:
    on a painted ball of radius 20.3 the normals' mean error falls from 11.7 to 3.3 degrees, and the volume changes by
    less than 0.1 %.
    """
    low, high = _foreground_box(labels)
    mesh = dual_mesh(np.pad(labels[tuple(map(slice, low, high))], 1))
    points = _crossing_points(mesh, tuple((high - low + 2).tolist()), low - 1, crossings)
    vertices = mean_of_crossings(mesh.quads, points, len(mesh.vertex_cell))
    if smooth:
        vertices = _smooth(vertices, mesh.quads, _labels_meeting(mesh.quads, mesh.sides, len(vertices)))
    sides = mesh.sides
    if affine is not None:
        vertices, points = (at @ affine[:3, :3].T + affine[:3, 3] for at in (vertices, points))
        if np.linalg.det(affine[:3, :3]) < 0:
            sides = sides[:, ::-1]
    quads, splits = _cut_along_shorter_diagonal(vertices, mesh.quads, mesh.splits)
    return LabelSurfaces(vertices, quads, sides, points, splits)


def _foreground_box(labels: UInt16[np.ndarray, "nx ny nz"]) -> tuple[Int64[np.ndarray, "3"], Int64[np.ndarray, "3"]]:
    """The first index with a label and the one after the last, along each axis; empty at 0 without labels."""
    low, high = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for axis in range(3):
        found = np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis})))
        if len(found):
            low[axis], high[axis] = found[0], found[-1] + 1
    return low, high


def _crossing_points(
    mesh: DualMesh,
    shape: tuple[int, ...],
    low: Int64[np.ndarray, "3"],
    crossings: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
) -> Float64[np.ndarray, "q 3"]:
    """Where the labels change on each quad's lattice edge, in the whole lattice's node coordinates.

    The mesh's own lattice is of `shape` and starts at node `low` of the whole.
    """
    node = np.stack(np.unravel_index(mesh.edge_node, shape), 1) + low
    points = node.astype(np.float64)
    for axis in range(3):
        rows = np.flatnonzero(mesh.edge_axis == axis)
        fraction = np.full(len(rows), 0.5)
        if crossings is not None:
            within = ((node[rows] >= 0) & (node[rows] < crossings[axis].shape)).all(1)
            fraction[within] = crossings[axis][tuple(node[rows[within]].T)]
        points[rows, axis] += fraction
    return points


@njit(cache=True)
def mean_of_crossings(quads, points, vertex_count):
    """(v, 3): for each vertex the mean of the points (q, 3) of the quads at it."""
    total, count = np.zeros((vertex_count, 3)), np.zeros(vertex_count)
    for q in range(len(quads)):
        for corner in range(4):
            vertex = quads[q, corner]
            count[vertex] += 1
            for d in range(3):
                total[vertex, d] += points[q, d]
    return total / count.reshape(-1, 1)


def _cut_along_shorter_diagonal(
    vertices: Float64[np.ndarray, "v 3"], quads: Int32[np.ndarray, "q 4"], splits: Int64[np.ndarray, "s 4"]
) -> tuple[Int32[np.ndarray, "q 4"], Int64[np.ndarray, "s 4"]]:
    """The quads turned so that corners 0 and 2 are the ends of the shorter diagonal."""
    first, second = (vertices[quads[:, a]] - vertices[quads[:, a + 2]] for a in range(2))
    turned = (second**2).sum(1) < (first**2).sum(1)
    quads = np.where(turned[:, None], quads[:, [1, 2, 3, 0]], quads)
    splits = splits.copy()
    splits[:, 1] = (splits[:, 1] - turned[splits[:, 0]]) % 4
    return quads, splits


SMOOTHING_STEPS, SMOOTHING_ROUNDS = 12, 4
LARGEST_MOVE = 0.2


def _smooth(
    vertices: Float64[np.ndarray, "v 3"], quads: Int32[np.ndarray, "q 4"], meeting: Int64[np.ndarray, " v"]
) -> Float64[np.ndarray, "v 3"]:
    """Vertices (in voxels) without stairs: smoothed, then given back the smooth part of what that took from them.

    With S some steps of averaging with the neighbours, each round adds S(x0 - x) to x: I - (I - S)^rounds keeps the
    long waves, hence the volume, that S alone would shrink. No vertex moves more than `LARGEST_MOVE` voxels along an
    axis, so that the two sides of a label one voxel thick stay apart.
    """
    smoothed = np.zeros_like(vertices)
    for _ in range(SMOOTHING_ROUNDS):
        lost = vertices - smoothed
        for _ in range(SMOOTHING_STEPS):
            lost = _average(lost, quads, meeting)
        smoothed += lost
    return np.clip(smoothed, vertices - LARGEST_MOVE, vertices + LARGEST_MOVE)


@njit(cache=True)
def _average(values, quads, meeting):
    """Half of each vertex's value and half of its neighbours' mean.

    Only neighbours count at which at least as many labels meet: a seam between three labels moves along with itself
    alone, and is not torn by the sheets that it bounds.
    """
    total, count = np.zeros_like(values), np.zeros(len(values))
    for q in range(len(quads)):
        for corner in range(4):
            a, b = quads[q, corner], quads[q, (corner + 1) % 4]
            if meeting[b] >= meeting[a]:
                count[a] += 1
                for d in range(3):
                    total[a, d] += values[b, d]
            if meeting[a] >= meeting[b]:
                count[b] += 1
                for d in range(3):
                    total[b, d] += values[a, d]
    for a in range(len(values)):
        for d in range(3):
            total[a, d] = (values[a, d] + total[a, d] / count[a]) / 2 if count[a] else values[a, d]
    return total


@njit(cache=True)
def _labels_meeting(quads, sides, vertex_count):
    """(v,): how many labels meet at each vertex, counted up to 4."""
    known, count = np.empty((vertex_count, 4), np.uint16), np.zeros(vertex_count, np.int64)
    for q in range(len(quads)):
        for corner in range(4):
            vertex = quads[q, corner]
            for side in range(2):
                fresh = count[vertex] < 4
                for n in range(count[vertex]):
                    fresh &= known[vertex, n] != sides[q, side]
                if fresh:
                    known[vertex, count[vertex]] = sides[q, side]
                    count[vertex] += 1
    return count

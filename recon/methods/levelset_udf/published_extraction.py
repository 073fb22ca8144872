"""The published rule that makes triangles of an unsigned distance: signs by gradients, cell by cell.

On a lattice of equally many nodes along each side of the cloud's box, enlarged by 0.05, a cell is looked at where the
least distance at its corners is at most 0.005 (or half its diagonal, if that is more). Its corner 0 is taken as
outside; a corner is inside where its gradient points away from that of corner 0; marching cubes cuts the cell where the
distance, with these signs, is zero. Faces whose corners are on average `far` or more from the cloud are dropped.

Neighbouring cells name different corners 0 and may disagree about the edges that they share: cracks and double skins
are the rule's, not this module's. What differs: vertices on one lattice edge are one, and the field is asked only
where faces can survive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64
from scipy.ndimage import maximum_filter
from scipy.spatial import KDTree

from recon.surface.cells import EDGES
from recon.surface.marching import triangle_table

if TYPE_CHECKING:
    import trimesh

MARGIN = 0.05  # around the cloud, whose longest side is 1
LARGEST_MINIMUM = 0.005
FAR_OF_OBJECT, FAR_OF_SCENE = 0.015, 0.01
CORNERS = np.array([[c & 1, c >> 1 & 1, c >> 2] for c in range(8)])

Evaluate = Callable[[Float64[np.ndarray, "n 3"]], tuple[np.ndarray, np.ndarray]]


def published_surface(
    evaluate: Evaluate, cloud: Float64[np.ndarray, "n 3"], resolution: int, far: float = FAR_OF_OBJECT
) -> trimesh.Trimesh:
    """The surface by the published rule, `resolution` nodes along each axis.

    `evaluate` gives distances (n,) and gradients (n, 3); the cloud's longest side is 1.
    """
    import trimesh

    low, high = cloud.min(0) - MARGIN, cloud.max(0) + MARGIN
    step = (high - low) / (resolution - 1)
    tree = KDTree(cloud)
    cells = _cells_near(cloud, tree, low, step, resolution, far)
    corners = (cells[:, None] + CORNERS) @ [1, resolution, resolution**2]
    nodes, of_cell = np.unique(corners, return_inverse=True)
    distance, gradient = evaluate(low + step * _unpacked(nodes, resolution))
    of_cell = of_cell.reshape(-1, 8)
    of_cell = of_cell[distance[of_cell].min(1) <= max(LARGEST_MINIMUM, np.linalg.norm(step) / 2)]
    edges, faces = _cut(of_cell, gradient)
    # where |f| would be zero if it changed its sign along the edge
    ends, weights = low + step * _unpacked(nodes[edges], resolution), distance[edges].astype(np.float64)
    share = weights[:, :1] / np.maximum(weights.sum(1, keepdims=True), np.finfo(float).tiny)
    vertices = ends[:, 0] + share * (ends[:, 1] - ends[:, 0])
    near = np.asarray(tree.query(vertices)[0])[faces].mean(1) < far if len(faces) else np.zeros(0, bool)
    mesh = trimesh.Trimesh(vertices, faces[near], process=False)
    mesh.remove_unreferenced_vertices()
    return mesh


def _unpacked(nodes: Int64[np.ndarray, "*n"], resolution: int) -> Int64[np.ndarray, "*n 3"]:
    """The lattice coordinates of numbered nodes."""
    return np.stack([nodes % resolution, nodes // resolution % resolution, nodes // resolution**2], -1)


def _cells_near(
    cloud: Float64[np.ndarray, "n 3"],
    tree: KDTree,
    low: Float64[np.ndarray, "3"],
    step: Float64[np.ndarray, "3"],
    resolution: int,
    far: float,
) -> Int64[np.ndarray, "c 3"]:
    """The cells that reach within `far` of the cloud."""
    holding = np.zeros([resolution - 1] * 3, bool)
    holding[tuple(((cloud - low) / step).astype(int).T)] = True
    reach = np.ceil(far / step).astype(int)
    cells = np.argwhere(maximum_filter(holding, size=tuple(2 * reach + 1)))
    to_cloud = np.asarray(tree.query(low + step * (cells + 0.5), distance_upper_bound=2 * far)[0])
    return cells[to_cloud < far + np.linalg.norm(step) / 2]


def _cut(
    of_cell: Int64[np.ndarray, "c 8"], gradient: np.ndarray
) -> tuple[Int64[np.ndarray, "e 2"], Int64[np.ndarray, "f 3"]]:
    """The crossed edges, as pairs of nodes, and triangles between them."""
    aligned = np.einsum("ci,cki->ck", gradient[of_cell[:, 0]], gradient[of_cell])
    pattern = (aligned < 0) @ (1 << np.arange(8))
    triangles, counts = triangle_table()
    count = counts[pattern].astype(np.int64)
    cell = np.repeat(np.arange(len(of_cell)), count)
    which = np.arange(len(cell)) - np.repeat(np.cumsum(count) - count, count)
    crossed = triangles[pattern[cell], which]  # numbers of edges in the cell
    starts = np.array([corner for _, corner in EDGES])
    ends = np.array([corner | 1 << axis for axis, corner in EDGES])
    pairs = np.stack([of_cell[cell[:, None], starts[crossed]], of_cell[cell[:, None], ends[crossed]]], -1)
    edges, faces = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    return edges, faces.reshape(-1, 3)

"""Normals of a point cloud that agree about which side is outside, for methods that need them.

Hoppe, DeRose, Duchamp, McDonald, Stuetzle, "Surface reconstruction from unorganized points", 1992: each point's tangent
plane is that of its nearest points; planes of near points are turned to agree with each other along the spanning tree
of the graph of near points that makes the fewest sharp turns; the highest point of each part faces up.
"""

from __future__ import annotations

import numba
import numpy as np
from jaxtyping import Float64, Int64
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import KDTree

from recon.errors import UserError
from recon.inputs import PointCloud

NEIGHBORS = 30  # of a tangent plane
GRAPH_NEIGHBORS = 10
CHUNK = 100_000
FEWEST = 4
ON_A_LINE = 1e-6  # breadth over length


def distinct(cloud: PointCloud) -> PointCloud:
    """The cloud without points that stand where an earlier one does.

    Raises:
        UserError: fewer than four points are left, or all lie on one line: no surface goes through those alone.
    """
    _, first = np.unique(cloud.points, axis=0, return_index=True)
    if len(first) < FEWEST:
        raise UserError(f"the cloud has {len(first)} distinct points; a surface needs at least {FEWEST}")
    kept = cloud if len(first) == len(cloud.points) else cloud.subset(np.sort(first))
    offsets = kept.points - kept.points.mean(0)
    extents = np.sqrt(np.linalg.eigvalsh(offsets.T @ offsets).clip(0))
    if extents[1] < ON_A_LINE * extents[2]:
        raise UserError("the cloud's points lie on one line; a surface needs points beside it")
    return kept


def spacing(points: Float64[np.ndarray, "n 3"], neighbors: int = 10) -> float:
    """The side of the square of surface that the median point has to itself: sqrt(pi / k) times the distance of the
    k-th neighbour."""
    k = min(neighbors, len(points) - 1)
    distances = np.asarray(KDTree(points).query(points, k + 1)[0])
    return float(np.sqrt(np.pi / k) * np.median(distances[:, k]))


def oriented_normals(points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """A unit normal for each point, all of one side as far as the cloud is dense enough to tell."""
    k = min(NEIGHBORS, len(points))
    tree = KDTree(points)
    normals = np.empty_like(points)
    near = np.empty((len(points), min(GRAPH_NEIGHBORS + 1, k)), np.int64)
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        index = np.asarray(tree.query(points[part], k)[1])
        near[part] = index[:, : near.shape[1]]
        offsets = points[index] - points[index].mean(1, keepdims=True)
        normals[part] = np.linalg.eigh(offsets.transpose(0, 2, 1) @ offsets)[1][:, :, 0]
    return normals * _agreeing_signs(points, normals, near)[:, None]


def _agreeing_signs(
    points: Float64[np.ndarray, "n 3"], normals: Float64[np.ndarray, "n 3"], near: Int64[np.ndarray, "n k"]
) -> Float64[np.ndarray, " n"]:
    """+1 or -1 for each normal, carried from the highest point of each part to its neighbours on the tree."""
    count = len(points)
    start, end = np.repeat(np.arange(count), near.shape[1] - 1), near[:, 1:].ravel()
    turn = 1 - np.abs((normals[start] * normals[end]).sum(1))
    graph = csr_array((turn + 1e-6, (start, end)), (count, count))
    graph = graph.maximum(graph.T)
    tree = minimum_spanning_tree(graph)
    parts, part = connected_components(tree, directed=False)
    # one more node above all, joined to the highest point of each part, makes one tree of them
    by_height = np.lexsort((points[:, 2], part))
    highest = by_height[np.append(np.flatnonzero(np.diff(part[by_height])), count - 1)]
    tree = tree.tocoo()
    rows, columns = np.append(tree.row, np.full(parts, count)), np.append(tree.col, highest)
    joined = csr_array((np.ones(len(rows)), (rows, columns)), (count + 1, count + 1))
    order, before = breadth_first_order(joined, count, directed=False)
    above = np.vstack([normals, [0.0, 0.0, 1.0]])
    return _carried(above, order.astype(np.int64), before.astype(np.int64))[:count]


@numba.njit(cache=True)
def _carried(normals, order, before):
    """The sign of each normal that makes it agree with the one before it on the tree."""
    signs = np.ones(len(normals))
    for node in order[1:]:
        parent = before[node]
        cosine = 0.0
        for k in range(3):
            cosine += normals[node, k] * normals[parent, k]
        signs[node] = signs[parent] if cosine >= 0 else -signs[parent]
    return signs

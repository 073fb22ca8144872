"""Unwraps a mesh onto a square: charts that face one way each, side by side without overlap.

A face belongs to one of six directions, that of the axis which its smoothed normal is nearest to; faces of one
direction that hang together are a chart, laid flat along that axis. Lengths shrink to 1 / sqrt(3) at worst where the
smoothing changed nothing. What is baked from points needs room for every face and no true angles; charts of least
distortion (xatlas) take minutes for what takes a second here. A chart that would cover itself, as a winding stair does,
is cut.

Charts are packed on shelves, the highest first, at the largest scale that fits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from recon.surface.topology import Topology

PADDING = 2  # texels around each chart
STEEPEST = 0.2  # the least cosine between a face and the direction that it is laid along
SMOOTHINGS = 4
VOTES = 4
MOST_CUTS = 8
DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3)])


class Unwrapped(NamedTuple):
    """The mesh with a vertex for each chart that it is in: `vertex` names the former vertices, `faces` index the new
    ones, `texels` are their places on the square in texels, x to the right and y down."""

    vertex: Int64[np.ndarray, " m"]
    faces: Int64[np.ndarray, "f 3"]
    texels: Float64[np.ndarray, "m 2"]


def unwrapped(vertices: Float64[np.ndarray, "v 3"], faces: Int64[np.ndarray, "f 3"], size: int) -> Unwrapped:
    """The mesh laid out on a square of `size` texels.

    Raises:
        ValueError: there are more charts than the square has room for.
    """
    topology = Topology(faces, len(vertices))
    direction = _directions(vertices, faces, topology)
    corners = _flat(vertices[faces], direction)
    chart = _charts(topology, direction)
    for _ in range(MOST_CUTS):
        placed = _packed(corners, chart, size)
        clashing = _clashes(placed, chart, size)
        if not clashing.any():
            break
        chart = _charts(topology, 2 * chart + clashing)
    pairs, index = np.unique(faces * (chart.max() + 1) + chart[:, None], return_inverse=True)
    index = index.reshape(-1, 3)
    texels = np.empty((len(pairs), 2))
    texels[index] = placed
    return Unwrapped(pairs // (chart.max() + 1), index, texels)


def _directions(
    vertices: Float64[np.ndarray, "v 3"], faces: Int64[np.ndarray, "f 3"], topology: Topology
) -> Int64[np.ndarray, " f"]:
    """For each face the number of the direction that it is laid along, alike among neighbours where it can be."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    smooth = normal
    for _ in range(SMOOTHINGS):
        around = np.stack(
            [np.bincount(faces.ravel(), np.repeat(column, 3), len(vertices)) for column in smooth.T], axis=1
        )
        smooth = around[faces].sum(1)
    allowed = unit @ DIRECTIONS.T > STEEPEST
    direction = np.where(allowed, smooth @ DIRECTIONS.T, -np.inf).argmax(1)
    neighbours = topology.pairs // 3
    for _ in range(VOTES):
        votes = np.zeros((len(faces), len(DIRECTIONS)), np.int64)
        np.add.at(votes, (neighbours[:, 0], direction[neighbours[:, 1]]), 1)
        np.add.at(votes, (neighbours[:, 1], direction[neighbours[:, 0]]), 1)
        wanted = np.where(allowed, votes, 0)
        direction = np.where(wanted.max(1) >= 2, wanted.argmax(1), direction)
    return direction


def _flat(corners: Float64[np.ndarray, "f 3 3"], direction: Int64[np.ndarray, " f"]) -> Float64[np.ndarray, "f 3 2"]:
    """The corners without the coordinate along their face's direction."""
    axis = direction % 3
    others = np.stack([(axis + 1) % 3, (axis + 2) % 3], axis=1)
    return np.take_along_axis(corners, others[:, None, :], axis=2)


def _charts(topology: Topology, kind: Int64[np.ndarray, " f"]) -> Int64[np.ndarray, " f"]:
    """For each face the number of its chart: faces of one kind that are connected through edges."""
    a, b = (topology.pairs // 3).T
    alike = kind[a] == kind[b]
    links = coo_array((np.ones(alike.sum()), (a[alike], b[alike])), (len(kind), len(kind)))
    return connected_components(links, directed=False)[1].astype(np.int64)


def _packed(
    corners: Float64[np.ndarray, "f 3 2"], chart: Int64[np.ndarray, " f"], size: int
) -> Float64[np.ndarray, "f 3 2"]:
    """The corners moved and scaled, all charts alike, to their places on the square."""
    count = int(chart.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart, corners.min(1))
    np.maximum.at(high, chart, corners.max(1))
    extent = high - low
    scale = size / float(np.sqrt(extent.prod(1).sum()) or 1.0)
    while (places := _shelved(np.ceil(extent * scale).astype(np.int64) + 2 * PADDING + 1, size)) is None:
        scale *= 0.96
        if extent.max() * scale < 1:
            raise ValueError(f"{count} charts do not fit on {size} x {size} texels")
    return (corners - low[chart, None]) * scale + (places + PADDING + 0.5)[chart, None]


def _shelved(boxes: Int64[np.ndarray, "c 2"], size: int) -> Int64[np.ndarray, "c 2"] | None:
    """Lower corners at which boxes of this width and height lie side by side on shelves; None where they do not fit."""
    order = np.argsort(-boxes[:, 1], kind="stable")
    places = np.zeros_like(boxes)
    return places if _shelve(boxes, order, size, places) else None


@njit(cache=True)
def _shelve(boxes, order, size, places):
    x, y, height = 0, 0, 0
    for box in order:
        if boxes[box, 0] > size:
            return False
        if x + boxes[box, 0] > size:
            x, y, height = 0, y + height, 0
        if y + boxes[box, 1] > size:
            return False
        places[box, 0], places[box, 1] = x, y
        x += boxes[box, 0]
        height = max(height, boxes[box, 1])
    return True


def _clashes(placed: Float64[np.ndarray, "f 3 2"], chart: Int64[np.ndarray, " f"], size: int) -> Bool[np.ndarray, " f"]:
    """The faces that cover a texel's centre which another face of their chart covered before."""
    owner, clashing = np.full((size, size), -1), np.zeros(len(placed), np.bool_)
    _cover(placed, owner, clashing)
    return clashing


def covered(placed: Float64[np.ndarray, "f 3 2"], size: int) -> Int64[np.ndarray, "size size"]:
    """For each texel the face that covers its centre, -1 where none does."""
    owner = np.full((size, size), -1)
    _cover(placed, owner, np.zeros(len(placed), np.bool_))
    return owner


@njit(cache=True)
def _cover(placed, owner, clashing):
    """Marks the texels whose centres lie in each triangle; inner ones met twice are clashes."""
    size = len(owner)
    for face in range(len(placed)):
        (ax, ay), (bx, by), (cx, cy) = placed[face]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0:
            continue
        for row in range(max(0, int(min(ay, by, cy) - 0.5)), min(size, int(max(ay, by, cy) + 0.5) + 1)):
            for column in range(max(0, int(min(ax, bx, cx) - 0.5)), min(size, int(max(ax, bx, cx) + 0.5) + 1)):
                x, y = column + 0.5, row + 0.5
                u = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
                v = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
                least = min(u, v, 1 - u - v)
                if least < 0:
                    continue
                if owner[row, column] < 0:
                    owner[row, column] = face
                elif least > 1e-6:
                    clashing[face] = True

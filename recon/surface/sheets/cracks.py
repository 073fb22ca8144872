"""Cracks: loops in a mesh that are no borders, because there are samples on all sides of a part of them.

Where two sheets come closer than they can be told apart, or noise leaves samples that contradict each other, the
polygons do not close. A crack is long and narrow, or bent, more often than round: it is closed by the triangles between
its own vertices that have the least area together (Barequet and Sharir 1995).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numba import njit

from recon.surface.sheets.borders import Mesh
from recon.surface.sheets.tiles import Region
from recon.surface.topology import Topology

INSIDE = 0.45  # of the border measure: less has samples on all sides
LEAST_INSIDE = 0.1  # of a crack's length
MOST_SIDES = 300  # the work grows with their cube


class Loops(NamedTuple):
    """The boundary loops of a manifold mesh: its boundary sides, the vertices that each leads from and to, and the
    number of its loop."""

    side: Int64[np.ndarray, " b"]
    start: Int64[np.ndarray, " b"]
    end: Int64[np.ndarray, " b"]
    number: Int64[np.ndarray, " b"]

    @classmethod
    def of(cls, mesh: Mesh) -> Loops:
        """Those of a mesh."""
        topology = Topology(mesh.faces, len(mesh.vertices))
        side = topology.boundary_sides
        start, end = mesh.faces.ravel()[side], np.roll(mesh.faces, -1, 1).ravel()[side]
        return cls(side, start, end, topology.loop_of_boundary_side)

    def closable(self, mesh: Mesh, within: Region) -> Bool[np.ndarray, " l"]:
        """Which loops lie wholly `within` a region and have few enough sides for a patch."""
        closable = np.bincount(self.number) <= MOST_SIDES
        closable[self.number[~within(mesh.vertices[self.start])]] = False
        return closable

    def patches(self, mesh: Mesh, which: Int64[np.ndarray, " n"]) -> Iterator[Int64[np.ndarray, "f 3"]]:
        """The triangles of least area across each of some loops, but for those that have none."""
        edges = np.sort(_edge_keys(mesh.faces.ravel(), np.roll(mesh.faces, -1, 1).ravel(), len(mesh.vertices)))
        for n in which:
            on_loop = self.number == n
            patch = _least_patch(mesh.vertices, _chained(self.start[on_loop], self.end[on_loop]), edges)
            if len(patch):
                yield patch


def with_cracks_closed(mesh: Mesh, measure: Float64[np.ndarray, "v"], within: Region) -> Mesh:
    """The manifold mesh with its cracks closed, but for those that are not wholly `within` a region."""
    vertices, faces = mesh
    loops = Loops.of(mesh)
    length = np.linalg.norm(vertices[loops.start] - vertices[loops.end], axis=1)
    inside = np.bincount(loops.number, length * (measure[loops.start] < INSIDE))
    crack = loops.closable(mesh, within) & (inside > LEAST_INSIDE * np.bincount(loops.number, length))
    return Mesh(vertices, np.concatenate([faces, *loops.patches(mesh, np.flatnonzero(crack))]))


def _edge_keys(a: Int64[np.ndarray, " e"], b: Int64[np.ndarray, " e"], vertex_count: int) -> Int64[np.ndarray, " e"]:
    """One number for both ends of an edge, whichever comes first."""
    return np.minimum(a, b) * vertex_count + np.maximum(a, b)


def _chained(start: Int64[np.ndarray, " n"], end: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """The vertices of a loop in order, in the direction of its first side; the others may run either way."""
    sides_at: dict[int, list[int]] = {}
    for side, ends in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        for vertex in ends:
            sides_at.setdefault(vertex, []).append(side)
    ring, side = [int(start[0])], 0
    while len(ring) < len(start):
        here = ring[-1]
        ring.append(int(end[side] if start[side] == here else start[side]))
        first, second = sides_at[ring[-1]]
        side = second if first == side else first
    return np.array(ring)


@njit(cache=True)
def _least_patch(vertices, ring, edges):
    """The triangles of least area between the vertices of a ring, facing against it, that repeat none of the edges
    (ascending keys) of the mesh; no triangles where there are no such.

    cost[i, j] is the least area of triangles between the ring's vertices i to j, apex[i, j] the third vertex of the one
    at the side i j.
    """
    size = len(ring)
    cost, apex = np.zeros((size, size)), np.empty((size, size), np.int64)
    for width in range(2, size):
        for i in range(size - width):
            j = i + width
            cost[i, j] = np.inf
            if width < size - 1 and _is_there(edges, ring[i], ring[j], len(vertices)):
                continue
            for m in range(i + 1, j):
                if cost[i, m] + cost[m, j] < cost[i, j]:
                    area = _area(vertices[ring[i]], vertices[ring[j]], vertices[ring[m]])
                    if cost[i, m] + cost[m, j] + area < cost[i, j]:
                        cost[i, j], apex[i, j] = cost[i, m] + cost[m, j] + area, m
    faces, made = np.empty((size, 3), np.int64), 0
    if not np.isfinite(cost[0, size - 1]):
        return faces[:0]
    spans = [(0, size - 1)]
    while len(spans) > 0:
        i, j = spans.pop()
        if j - i > 1:
            m = apex[i, j]
            faces[made] = ring[i], ring[j], ring[m]
            made += 1
            spans.append((i, m))
            spans.append((m, j))
    return faces[:made]


@njit(cache=True)
def _is_there(edges, a, b, vertex_count):
    key = min(a, b) * vertex_count + max(a, b)
    at = np.searchsorted(edges, key)
    return at < len(edges) and edges[at] == key


@njit(cache=True)
def _area(a, b, c):
    p0, p1, p2 = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    q0, q1, q2 = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    x, y, z = p1 * q2 - p2 * q1, p2 * q0 - p0 * q2, p0 * q1 - p1 * q0
    return np.sqrt(x * x + y * y + z * z) / 2

"""Edges, fans and parts of a triangle mesh, from its indices alone.

An *edge* is an unordered pair of vertices; its faces are those that contain both. A *corner* is a face at one of its
vertices, numbered 3 face + n. Corners are neighbours where two faces share an edge that has no third; the connected
sets of corners are the *fans*: a manifold mesh has one around every vertex.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int64
from numba import njit

from recon.disjoint_sets import join, root


class Topology:
    """What follows from the faces (f, 3) of a mesh with `vertex_count` vertices."""

    def __init__(self, faces: Int64[np.ndarray, "f 3"], vertex_count: int) -> None:
        self.faces = np.asarray(faces, np.int64)
        self.vertex_count = vertex_count
        # Side 3 face + n of a face leads from its vertex n to the next one.
        self._start, self._end = self.faces.ravel(), np.roll(self.faces, -1, 1).ravel()
        self.edge_of_side, self.faces_of_edge, self._sides_of_edge = _number_edges(self._start, self._end, vertex_count)

    @property
    def pairs(self) -> Int64[np.ndarray, "p 2"]:
        """The two sides at each edge that has two."""
        return self._sides_of_edge[self.faces_of_edge == 2]

    @cached_property
    def vertex_in_use(self) -> Bool[np.ndarray, " v"]:
        """Whether a face has the vertex."""
        in_use = np.zeros(self.vertex_count, bool)
        in_use[self.faces] = True
        return in_use

    @property
    def boundary_sides(self) -> Int64[np.ndarray, " b"]:
        """The sides whose edge has no second face."""
        return np.flatnonzero(self.faces_of_edge[self.edge_of_side] == 1)

    @property
    def non_manifold_edges(self) -> int:
        """How many edges have more than two faces."""
        return int((self.faces_of_edge > 2).sum())

    @property
    def crowding_faces(self) -> Int64[np.ndarray, " e"]:
        """The first face of each edge that has more than two."""
        return self._sides_of_edge[self.faces_of_edge > 2, 0] // 3

    @property
    def is_consistently_oriented(self) -> bool:
        """Whether the two faces of every edge that has two run along it in opposite directions."""
        a, b = self.pairs.T
        return bool((self._start[a] == self._end[b]).all())

    @property
    def is_watertight(self) -> bool:
        """Whether every edge has exactly two faces, which face the same way; an empty mesh is not."""
        return len(self.faces) > 0 and bool((self.faces_of_edge == 2).all()) and self.is_consistently_oriented

    @property
    def euler_number(self) -> int:
        """Vertices in use - edges + faces: 2 - 2 genus for each closed part."""
        return int(self.vertex_in_use.sum()) - len(self.faces_of_edge) + len(self.faces)

    @cached_property
    def part_of_face(self) -> Int64[np.ndarray, " f"]:
        """For each face the number of the part that it is connected to through edges."""
        face, edge = np.arange(len(self.edge_of_side)) // 3, self.edge_of_side + len(self.faces)
        count = len(self.faces) + len(self.faces_of_edge)
        return _connected(face, edge, count)[: len(self.faces)]

    @property
    def parts(self) -> int:
        """How many connected parts there are."""
        return int(self.part_of_face.max(initial=-1)) + 1

    @cached_property
    def fan_of_corner(self) -> Int64[np.ndarray, " c"]:
        """For each corner the number of its fan."""
        return fans(self.faces, self.pairs)

    @property
    def non_manifold_vertices(self) -> int:
        """How many vertices have more than one fan."""
        fan = self.fan_of_corner
        vertex_of_fan = np.empty(int(fan.max(initial=-1)) + 1, np.int64)
        vertex_of_fan[fan] = self._start
        return int((np.bincount(vertex_of_fan, minlength=1) > 1).sum())

    @cached_property
    def loop_of_boundary_side(self) -> Int64[np.ndarray, " b"]:
        """For each boundary side the number of its loop; one side passes on to the next around a fan."""
        sides = self.boundary_sides
        ends = self.fan_of_corner[np.stack([sides, _next(sides)])]
        ends = np.unique(ends, return_inverse=True)[1].reshape(ends.shape)  # numpy 1 gives it flat
        return _connected(ends[0], ends[1], int(ends.max(initial=-1)) + 1)[ends[0]]

    @property
    def boundary_loops(self) -> int:
        """How many closed curves the boundary consists of."""
        return int(self.loop_of_boundary_side.max(initial=-1)) + 1


def fans(faces: Int64[np.ndarray, "f 3"], pairs: Int64[np.ndarray, "p 2"]) -> Int64[np.ndarray, " c"]:
    """For each corner the number of its fan, where the faces of a pair of sides are neighbours."""
    start = faces.ravel()
    a, b = pairs.T
    same_way = start[a] == start[b]
    at_start, at_end = np.where(same_way, b, _next(b)), np.where(same_way, _next(b), b)
    return _connected(np.concatenate([a, _next(a)]), np.concatenate([at_start, at_end]), faces.size)


def _next(side: Int64[np.ndarray, " s"]) -> Int64[np.ndarray, " s"]:
    """The side that follows a side in its face."""
    return 3 * (side // 3) + (side + 1) % 3


@njit(cache=True)
def _number_edges(start, end, vertex_count):
    """For each side its edge's number; for each edge how many sides it has, and the first and the last of them."""
    sides = len(start)
    first = np.zeros(vertex_count + 1, np.int64)  # where the sides of each lower vertex begin in `order`
    for side in range(sides):
        first[min(start[side], end[side]) + 1] += 1
    for vertex in range(vertex_count):
        first[vertex + 1] += first[vertex]
    order, filled = np.empty(sides, np.int64), first[:-1].copy()
    for side in range(sides):
        low = min(start[side], end[side])
        order[filled[low]] = side
        filled[low] += 1
    edge_of_side = np.empty(sides, np.int64)
    count, sides_of_edge = np.zeros(sides, np.int64), np.empty((sides, 2), np.int64)
    met_by, edge_to = np.full(vertex_count, -1), np.empty(vertex_count, np.int64)
    edges = 0
    for low in range(vertex_count):
        for side in order[first[low] : first[low + 1]]:
            high = max(start[side], end[side])
            if met_by[high] != low:
                met_by[high], edge_to[high] = low, edges
                sides_of_edge[edges, 0] = side
                edges += 1
            edge = edge_to[high]
            edge_of_side[side] = edge
            sides_of_edge[edge, 1] = side
            count[edge] += 1
    return edge_of_side, count[:edges].copy(), sides_of_edge[:edges].copy()


@njit(cache=True)
def _connected(a, b, count):
    """For each of `count` nodes the number of its connected component, with a link from a[i] to b[i] for every i."""
    parent = np.arange(count)
    for i in range(len(a)):
        join(parent, a[i], b[i])
    component, components = np.empty(count, np.int64), 0
    for node in range(count):  # a root is the lowest node of its component
        if parent[node] == node:
            component[node] = components
            components += 1
        else:
            component[node] = component[root(parent, node)]
    return component

"""Edges, fans and parts of a triangle mesh, from its indices alone.

An *edge* is an unordered pair of vertices; its faces are those that contain both. A *corner* is a face at one of its
vertices, numbered 3 face + n. Corners are neighbours where two faces share an edge that has no third; the connected
sets of corners are the *fans*: a manifold mesh has one around every vertex.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


class Topology:
    """What follows from the faces (f, 3) of a mesh with `vertex_count` vertices."""

    def __init__(self, faces: Int64[np.ndarray, "f 3"], vertex_count: int) -> None:
        self.faces = np.asarray(faces, np.int64)
        self.vertex_count = vertex_count
        # Side 3 face + n of a face leads from its vertex n to the next one.
        self._start, self._end = self.faces.ravel(), np.roll(self.faces, -1, 1).ravel()
        low, high = np.minimum(self._start, self._end), np.maximum(self._start, self._end)
        _, self.edge_of_side, self.faces_of_edge = np.unique(
            low * vertex_count + high, return_inverse=True, return_counts=True
        )

    @cached_property
    def pairs(self) -> Int64[np.ndarray, "p 2"]:
        """The two sides at each edge that has two."""
        sides = np.flatnonzero(self.faces_of_edge[self.edge_of_side] == 2)
        return sides[np.argsort(self.edge_of_side[sides], kind="stable")].reshape(-1, 2)

    @property
    def boundary_sides(self) -> Int64[np.ndarray, " b"]:
        """The sides whose edge has no second face."""
        return np.flatnonzero(self.faces_of_edge[self.edge_of_side] == 1)

    @property
    def non_manifold_edges(self) -> int:
        """How many edges have more than two faces."""
        return int((self.faces_of_edge > 2).sum())

    @property
    def is_consistently_oriented(self) -> bool:
        """Whether the two faces of every edge that has two run along it in opposite directions."""
        return bool((self._start[self.pairs[:, 0]] == self._end[self.pairs[:, 1]]).all())

    @property
    def is_watertight(self) -> bool:
        """Whether every edge has exactly two faces, which face the same way; an empty mesh is not."""
        return len(self.faces) > 0 and bool((self.faces_of_edge == 2).all()) and self.is_consistently_oriented

    @property
    def euler_number(self) -> int:
        """Vertices in use - edges + faces: 2 - 2 genus for each closed part."""
        return len(np.unique(self.faces)) - len(self.faces_of_edge) + len(self.faces)

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
        _, first = np.unique(self.fan_of_corner, return_index=True)
        return int((np.bincount(self._start[first], minlength=1) > 1).sum())

    @cached_property
    def loop_of_boundary_side(self) -> Int64[np.ndarray, " b"]:
        """For each boundary side the number of its loop; one side passes on to the next around a fan."""
        sides = self.boundary_sides
        ends = self.fan_of_corner[np.stack([sides, _next(sides)])]
        _, ends = np.unique(ends, return_inverse=True)
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


def _connected(a: Int64[np.ndarray, " e"], b: Int64[np.ndarray, " e"], count: int) -> Int64[np.ndarray, " n"]:
    """For each of `count` nodes the number of its connected component, with a link from a[i] to b[i] for every i."""
    if count == 0:
        return np.empty(0, np.int64)
    links = coo_array((np.ones(len(a), bool), (a, b)), (count, count))
    return connected_components(links, directed=False)[1]

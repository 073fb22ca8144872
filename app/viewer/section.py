"""Cuts a triangle mesh by a plane: the part below it, the outline in the plane, and the region that the outline bounds.

The plane is given by the vertices' signed heights h above it; what has h < 0 is kept. An edge (i, j) whose ends lie on
different sides is crossed at

    x = x_i + t (x_j - x_i),    t = h_i / (h_i - h_j).

There is one point per crossed edge, whichever face asks for it: neighbouring faces share it, and the segments of a
closed surface join to closed loops. A vertex with h = 0 counts as above: no case is degenerate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from recon.regions import even_odd_region, triangulated


class Triangles(NamedTuple):
    """Bare triangles: `vertices` (n, 3) and `faces` (m, 3), counter-clockwise seen from outside."""

    vertices: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "m 3"]


class Outline(NamedTuple):
    """Where a mesh meets a plane: `segments` (m, 2) index `points` (n, 3)."""

    points: Float[np.ndarray, "n 3"]
    segments: Int[np.ndarray, "m 2"]


@dataclass(frozen=True)
class SectionPlane:
    """The plane where coordinate `axis` equals `position`; what lies below it is kept, or what lies above."""

    axis: int
    position: float
    keeps_above: bool = False

    def height(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
        """Heights of points over the plane, negative on the side that is kept."""
        height = points[..., self.axis] - self.position
        return -height if self.keeps_above else height

    def lift(self, distance: float) -> Float[np.ndarray, "3"]:
        """The vector of that length toward the side that is cut away."""
        return np.eye(3)[self.axis] * (-distance if self.keeps_above else distance)


def part_below(mesh: Triangles, height: Float[np.ndarray, "n"]) -> Triangles:
    """The part of the mesh with `height` < 0, its crossed faces cut at the plane; open there."""
    below = height < 0
    kept_corners = below[mesh.faces].sum(1)
    points, lone, edge_points = _crossed_edges(mesh, height, _crossed(kept_corners))
    ab, ac = edge_points.T + len(mesh.vertices)
    a, b, c = lone.T
    tip = below[a]
    tips = np.column_stack([a, ab, ac])[tip]
    bases = np.column_stack([ab, b, c, ab, c, ac])[~tip].reshape(-1, 3)
    faces = np.concatenate([mesh.faces[kept_corners == 3], tips, bases])
    return without_unused(Triangles(np.concatenate([mesh.vertices, points]), faces))


def outline(mesh: Triangles, height: Float[np.ndarray, "n"]) -> Outline:
    """The curve in which the mesh meets the plane `height` = 0, one segment per crossed face."""
    kept_corners = (height < 0)[mesh.faces].sum(1)
    points, _, segments = _crossed_edges(mesh, height, _crossed(kept_corners))
    return Outline(points, segments)


def section_filling(curve: Outline, plane: SectionPlane) -> Triangles:
    """The region that the closed loops of a section's outline bound by the even-odd rule."""
    u, v = (plane.axis + 1) % 3, (plane.axis + 2) % 3
    loops = [curve.points[loop][:, [u, v]] for loop in closed_loops(curve.segments)]
    flat, faces = triangulated(even_odd_region(loops))
    vertices = np.full((len(flat), 3), plane.position)
    vertices[:, [u, v]] = flat
    return Triangles(vertices, faces)


def closed_loops(segments: Int[np.ndarray, "m 2"]) -> list[Int[np.ndarray, "k"]]:
    """Chains segments end to end; gives each closed chain's points in order and leaves open ones out.

    Where more than two segments meet, which of them are joined is arbitrary: by the even-odd rule the loops bound the
    same region either way.
    """
    ends = segments.ravel()
    order = np.argsort(ends, kind="stable")
    first = np.arange(len(order)) - np.searchsorted(ends[order], ends[order])  # rank among the ends at the same point
    paired = first % 2 == 1
    partner = np.full(len(ends), -1)
    left, right = order[:-1][paired[1:]], order[1:][paired[1:]]
    partner[left], partner[right] = right, left
    return [ends[chain] for chain in _cycles(partner.tolist())]


def _cycles(partner: list[int]) -> list[list[int]]:
    """Walks segment, joint, segment, ... from every unvisited end; the ends of segment s are 2s and 2s + 1."""
    visited = [False] * len(partner)
    cycles = []
    unpaired_first = sorted(range(len(partner)), key=lambda end: partner[end] >= 0)
    for start in unpaired_first:
        chain, end = [], start
        while end >= 0 and not visited[end]:
            chain.append(end)
            visited[end] = visited[end ^ 1] = True
            end = partner[end ^ 1]
        if chain and end == start:
            cycles.append(chain)
    return cycles


def without_unused(mesh: Triangles) -> Triangles:
    """The same triangles without the vertices that no face names."""
    used: Bool[np.ndarray, "n"] = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    return Triangles(mesh.vertices[used], (np.cumsum(used) - 1)[mesh.faces])


def _crossed(kept_corners: Int[np.ndarray, "m"]) -> Int[np.ndarray, "k"]:
    return np.flatnonzero((kept_corners == 1) | (kept_corners == 2))


def _crossed_edges(
    mesh: Triangles, height: Float[np.ndarray, "n"], crossed: Int[np.ndarray, "k"]
) -> tuple[Float[np.ndarray, "p 3"], Int[np.ndarray, "k 3"], Int[np.ndarray, "k 2"]]:
    """The points in which crossed faces' edges meet the plane (p, 3); those faces' corners abc, turned so that a is
    alone on its side (k, 3); for each face the indices of the points on its edges ab and ac (k, 2)."""
    corners = mesh.faces[crossed]
    below = height[corners] < 0
    lone_is_below = below.sum(1, keepdims=True) == 1
    lone = np.argmax(below == lone_is_below, axis=1)
    corners = np.take_along_axis(corners, (lone[:, None] + np.arange(3)) % 3, axis=1)

    edges = np.sort(corners[:, [[0, 1], [0, 2]]], axis=2).reshape(-1, 2).astype(np.int64)
    keys, index = np.unique(edges[:, 0] * len(mesh.vertices) + edges[:, 1], return_inverse=True)
    i, j = keys // len(mesh.vertices), keys % len(mesh.vertices)
    t = (height[i] / (height[i] - height[j]))[:, None]
    points = mesh.vertices[i] + t * (mesh.vertices[j] - mesh.vertices[i])
    return points, corners, index.reshape(-1, 2)

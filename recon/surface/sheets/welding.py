"""The pieces of a surface that was made tile by tile, welded without a seam.

Faces are joined side by side, not vertex by vertex, so that sheets which were parted where they touch stay parted. Each
part of a piece is turned to look the same way as those it is joined to, and what is left open along a seam is closed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64
from numba import njit
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import KDTree

from recon.surface.cleaning import parted_fans
from recon.surface.sheets.borders import FEWEST_SAMPLES, Mesh, compact
from recon.surface.sheets.tiles import Tile
from recon.surface.topology import Topology

SAME_PLACE = 1e-6  # of the lattice's step


class _Sides(NamedTuple):
    """Sides of faces that have no neighbour in their piece: from vertex to vertex, and their face, part and piece."""

    start: Int64[np.ndarray, " s"]
    end: Int64[np.ndarray, " s"]
    face: Int64[np.ndarray, " s"]
    part: Int64[np.ndarray, " s"]
    piece: Int64[np.ndarray, " s"]

    def of(self, which: np.ndarray) -> _Sides:
        """Some of them."""
        return _Sides(*(values[which] for values in self))


def piece_in(tile: Tile, mesh: Mesh) -> Mesh:
    """The faces of a mesh with their centres in the tile's block."""
    return compact(Mesh(mesh.vertices, mesh.faces[tile.owns(mesh.vertices[mesh.faces].mean(1))]))


def welded(pieces: list[Mesh], step: float, closed: bool) -> Mesh:
    """One mesh of the pieces that tiles kept, each with its faces oriented. `step` is that of the lattice.

    Loops that are left open are closed by fans: all of them where the thing is closed, else small ones along a seam.
    """
    vertices = np.concatenate([piece.vertices for piece in pieces])
    faces, part, sides = _joined(pieces)
    here, there = _matches(sides, vertices, SAME_PLACE * step)
    same_way = _run_alike(sides, vertices, here, there)
    group, turned, agrees = _turns(int(part.max(initial=-1)) + 1, sides.part[here], sides.part[there], same_way)
    here, there, same_way = here[agrees], there[agrees], same_way[agrees]
    name = _names(len(vertices), sides, here, there, same_way)
    faces = np.where(turned[part][:, None], name[faces][:, [0, 2, 1]], name[faces])
    start, end, back = name[sides.start], name[sides.end], turned[sides.part]
    sides = sides._replace(start=np.where(back, end, start), end=np.where(back, start, end))
    alone = sides.of(np.setdiff1d(np.arange(len(sides.start)), np.concatenate([here, there])))
    ends = np.cumsum([len(piece.faces) for piece in pieces])
    surplus = _surplus(faces, ends, sides.of(here))
    alone = _without(surplus, faces, alone, part, ends)
    kept = np.delete(np.arange(len(faces)), surplus)
    touching = np.concatenate([sides.start, sides.end, faces[surplus].ravel()])
    faces, part = faces[kept], part[kept]
    centers, caps, part_of_cap = _fans(alone, sides.of(here), vertices, closed)
    vertices, faces = np.concatenate([vertices, centers]), np.concatenate([faces, caps])
    if closed:
        group = group[np.concatenate([part, part_of_cap])]
        inward = (_volumes(vertices, faces, group) < 0)[group]
        faces = np.where(inward[:, None], faces[:, [0, 2, 1]], faces)
    return _without_loose_vertices(*_parted_at(vertices, faces, touching))


def _joined(pieces: list[Mesh]) -> tuple[Int32[np.ndarray, "f 3"], Int32[np.ndarray, " f"], _Sides]:
    """The faces of all pieces, the part that each is of, and the sides at the pieces' ends."""
    faces, parts, sides = [], [], []
    vertex = face = part = 0
    for n, piece in enumerate(pieces):
        topology = Topology(piece.faces, len(piece.vertices))
        faces.append((topology.faces + vertex).astype(np.int32))
        parts.append((topology.part_of_face + part).astype(np.int32))
        side = topology.boundary_sides
        start, end = faces[-1].ravel()[side], np.roll(faces[-1], -1, 1).ravel()[side]
        sides.append((start, end, face + side // 3, parts[-1][side // 3], np.full(len(side), n)))
        vertex, face, part = vertex + len(piece.vertices), face + len(piece.faces), part + topology.parts
    return np.concatenate(faces), np.concatenate(parts), _Sides(*(np.concatenate(x) for x in zip(*sides, strict=True)))


def _matches(
    sides: _Sides, vertices: Float64[np.ndarray, "v 3"], tolerance: float
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """The sides of two pieces that lie in the same place, where there are just two."""
    ends, at = np.unique(np.stack([sides.start, sides.end]), return_inverse=True)
    pairs = KDTree(vertices[ends]).query_pairs(tolerance, output_type="ndarray") if len(ends) else np.empty((0, 2), int)
    place = _components(len(ends), pairs[:, 0], pairs[:, 1])[at.reshape(2, -1)]  # numpy 1 gives `at` flat
    low, high = place.min(0), place.max(0)
    order = np.lexsort((high, low))
    order = order[low[order] != high[order]]
    edge = np.stack([low, high])[:, order]
    first = np.flatnonzero(np.r_[True, (edge[:, 1:] != edge[:, :-1]).any(0)]) if len(order) else np.empty(0, int)
    first = first[np.diff(np.r_[first, len(order)]) == 2]
    here, there = order[first], order[first + 1]
    across = sides.piece[here] != sides.piece[there]
    return here[across], there[across]


def _run_alike(
    sides: _Sides, vertices: Float64[np.ndarray, "v 3"], here: Int64[np.ndarray, " m"], there: Int64[np.ndarray, " m"]
) -> Bool[np.ndarray, " m"]:
    """Whether matching sides run the same way."""
    along, other = (vertices[sides.end[of]] - vertices[sides.start[of]] for of in (here, there))
    return (along * other).sum(1) > 0


class _Turns(NamedTuple):
    """For each part the surface it belongs to and whether its faces are turned, so that matching sides run opposite
    ways; for each match whether it agrees with most of those between the same two parts."""

    group: Int32[np.ndarray, " p"]
    turned: Bool[np.ndarray, " p"]
    agrees: Bool[np.ndarray, " m"]


def _turns(
    count: int, here: Int64[np.ndarray, " m"], there: Int64[np.ndarray, " m"], same_way: Bool[np.ndarray, " m"]
) -> _Turns:
    """How to turn `count` parts, given both parts of every match: along a spanning forest of the longest seams, on a
    double cover, in which every part stands twice, as it is and turned."""
    low, high = np.minimum(here, there), np.maximum(here, there)
    pairs, pair = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    a, b = pairs
    votes = np.bincount(pair.ravel(), np.where(same_way, 1.0, -1.0), len(a))
    seams = coo_array((1 / (1 + np.abs(votes)), (a, b)), (count, count)).tocsr()
    forest = minimum_spanning_tree(seams).tocoo()
    taken = np.isin(_edge_keys(a, b), _edge_keys(forest.row, forest.col))
    other = np.where(votes > 0, count, 0)
    start, end = np.concatenate([a, a + count]), np.concatenate([b + other, b + count - other])
    cover = _components(2 * count, start[np.tile(taken, 2)], end[np.tile(taken, 2)])
    group, turned = np.minimum(cover[:count], cover[count:]), cover[:count] > cover[count:]
    return _Turns(group, turned, same_way == (votes > 0)[pair.ravel()])


def _names(
    count: int,
    sides: _Sides,
    here: Int64[np.ndarray, " m"],
    there: Int64[np.ndarray, " m"],
    same_way: Bool[np.ndarray, " m"],
) -> Int32[np.ndarray, " v"]:
    """For each vertex the one that it becomes: the ends of sides that match are one."""
    start = np.where(same_way, sides.start[there], sides.end[there])
    end = np.where(same_way, sides.end[there], sides.start[there])
    a, b = np.concatenate([sides.start[here], sides.end[here]]), np.concatenate([start, end])
    met, at = np.unique(np.stack([a, b]), return_inverse=True)
    together = _components(len(met), *at.reshape(2, -1))
    name = np.arange(count, dtype=np.int32)
    name[met] = met[np.unique(together, return_index=True)[1][together]]
    return name


def _surplus(faces: Int32[np.ndarray, "f 3"], ends: Int64[np.ndarray, " p"], seam: _Sides) -> Int64[np.ndarray, " r"]:
    """Faces that lie on those of another piece, where two tiles did not come to the same surface: of more than two at
    an edge of the seam, those of the piece that has the fewest there, until no edge has more."""
    on_seam = np.zeros(int(faces.max(initial=-1)) + 1, bool)
    on_seam[seam.start] = on_seam[seam.end] = True
    near = np.flatnonzero(on_seam[faces].sum(1) >= 2)
    surplus = np.empty(0, np.int64)
    while True:
        topology = Topology(faces[near], len(on_seam))
        sides = np.flatnonzero((topology.faces_of_edge > 2)[topology.edge_of_side])
        if len(sides) == 0:
            return np.unique(surplus)
        face, edge = near[sides // 3], topology.edge_of_side[sides]
        piece = np.searchsorted(ends, face, side="right")
        group, count = np.unique(edge * len(ends) + piece, return_inverse=True, return_counts=True)[1:]
        few = count[group.ravel()] * len(ends) - piece  # the later piece where there are as many
        order = np.lexsort((few, edge))
        fewest = order[np.r_[True, np.diff(edge[order]) > 0]]
        found = face[np.isin(group.ravel(), group.ravel()[fewest])]
        surplus, near = np.concatenate([surplus, found]), np.setdiff1d(near, found)


def _without(
    surplus: Int64[np.ndarray, " r"],
    faces: Int32[np.ndarray, "f 3"],
    alone: _Sides,
    part: Int32[np.ndarray, " f"],
    ends: Int64[np.ndarray, " p"],
) -> _Sides:
    """The sides without a neighbour when the surplus faces are gone: those of their neighbours are among them."""
    start, end = faces[surplus].ravel(), np.roll(faces[surplus], -1, 1).ravel()
    face = np.repeat(surplus, 3)
    gone = np.isin(alone.face, surplus)
    was_alone = np.isin(_edge_keys(start, end), _edge_keys(alone.start[gone], alone.end[gone]))
    keys, count = np.unique(_edge_keys(start, end), return_counts=True)
    opened = ~was_alone & np.isin(_edge_keys(start, end), keys[count == 1])
    found = _Sides(end, start, face, part[face], np.searchsorted(ends, face, side="right")).of(opened)
    return _Sides(*(np.concatenate(pair) for pair in zip(alone.of(~gone), found, strict=True)))


def _edge_keys(a: np.ndarray, b: np.ndarray) -> Int64[np.ndarray, " e"]:
    """One number for both ends of an edge, whichever comes first."""
    return (np.minimum(a, b).astype(np.int64) << 32) + np.maximum(a, b)


def _fans(
    alone: _Sides, seam: _Sides, vertices: Float64[np.ndarray, "v 3"], closed: bool
) -> tuple[Float64[np.ndarray, "l 3"], Int32[np.ndarray, "c 3"], Int32[np.ndarray, " c"]]:
    """Centres and faces of the fans that close loops of the sides `alone`, and the part that each face is joined to."""
    met, at = np.unique(np.stack([alone.start, alone.end]), return_inverse=True)
    first, second = at.reshape(2, -1)  # numpy 1 gives it flat
    loop = _simple_loops(first, second, len(met))
    start, end, _, part, _ = alone.of(loop >= 0)
    loop = loop[loop >= 0]
    loops = int(loop.max(initial=-1)) + 1
    length = np.maximum(np.bincount(loop, minlength=loops), 1)
    centers = np.stack([np.bincount(loop, vertices[start, axis], loops) for axis in range(3)], 1) / length[:, None]
    spans = np.zeros((loops, 3))
    np.add.at(spans, loop, np.cross(vertices[start] - centers[loop], vertices[end] - centers[loop]) / 2)
    side_length = np.bincount(loop, np.linalg.norm(vertices[end] - vertices[start], axis=1), loops) / length
    along_seam = np.zeros(loops, bool)
    along_seam[loop[np.isin(start, seam.start) | np.isin(start, seam.end)]] = True
    small = np.linalg.norm(spans, axis=1) < FEWEST_SAMPLES * side_length**2
    filled = (np.ones(loops, bool) if closed else small & along_seam) & (length > 2)  # two sides are one edge already
    number, which = np.cumsum(filled) - 1, filled[loop]
    caps = np.stack([end[which], start[which], len(vertices) + number[loop[which]]], 1)
    return centers[filled], caps.astype(np.int32), part[which].astype(np.int32)


def _parted_at(
    vertices: Float64[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"], touching: Int64[np.ndarray, " t"]
) -> Mesh:
    """The mesh with sheets parted where they touch, at some of the vertices and the ends of edges there; where three
    faces meet in an edge that cannot be parted, one of them goes."""
    asked = np.zeros(len(vertices), bool)
    asked[touching] = True
    asked[faces[asked[faces].any(1)]] = True
    while True:
        near = np.flatnonzero(asked[faces].any(1))
        fan = parted_fans(vertices, faces[near].astype(np.int64))
        vertex = faces[near].ravel()[np.unique(fan, return_index=True)[1]]
        new = asked[vertex]
        new[np.unique(vertex, return_index=True)[1]] = False  # one fan keeps the vertex
        vertices, asked = (np.concatenate([values, values[vertex[new]]]) for values in (vertices, asked))
        vertex[new] = len(vertices) - new.sum() + np.arange(new.sum())
        faces[near] = vertex[fan].reshape(-1, 3)
        surplus = near[Topology(faces[near], len(vertices)).crowding_faces]
        if len(surplus) == 0:
            return Mesh(vertices, faces)
        asked[faces[surplus]] = True
        faces = np.delete(faces, surplus, axis=0)


@njit(cache=True)
def _simple_loops(start, end, count):
    """For each side the loop that it is part of, -1 for none. A loop comes through each of its vertices once: where it
    touches itself there are two. Which way the sides run does not matter."""
    first = np.zeros(count + 1, np.int64)  # where the sides at each vertex begin in `order`
    for side in range(len(start)):
        first[start[side] + 1] += 1
        first[end[side] + 1] += 1
    for vertex in range(count):
        first[vertex + 1] += first[vertex]
    order, following = np.empty(2 * len(start), np.int64), first[:-1].copy()
    for side in range(len(start)):
        for vertex in (start[side], end[side]):
            order[following[vertex]] = side
            following[vertex] += 1
    following = first[:-1].copy()
    loop, loops = np.full(len(start), np.int64(-1)), 0
    used, on_path = np.zeros(len(start), np.bool_), np.zeros(count, np.bool_)
    path, left, length = np.empty(len(start), np.int64), np.empty(len(start), np.int64), 0
    for seed in range(count):
        vertex = seed
        while following[vertex] < first[vertex + 1]:
            side = order[following[vertex]]
            following[vertex] += 1
            if used[side]:
                continue
            used[side], on_path[vertex] = True, True
            path[length], left[length] = side, vertex
            length += 1
            vertex = end[side] if start[side] == vertex else start[side]
            if on_path[vertex]:  # back at it: what lies between is a loop
                closing = np.int64(-1)
                while closing != vertex:
                    length -= 1
                    closing = left[length]
                    loop[path[length]] = loops
                    on_path[closing] = False
                loops += 1
        while length > 0:  # an end: these sides are of no loop
            length -= 1
            on_path[left[length]] = False
    return loop


@njit(cache=True)
def _volumes(vertices, faces, group):
    """The signed volume of each group of faces."""
    volumes = np.zeros(group.max() + 1 if len(group) else 0)
    middle = vertices[0]
    for n in range(len(faces)):
        p, q, r = vertices[faces[n, 0]] - middle, vertices[faces[n, 1]] - middle, vertices[faces[n, 2]] - middle
        volumes[group[n]] += (
            p[0] * (q[1] * r[2] - q[2] * r[1]) + p[1] * (q[2] * r[0] - q[0] * r[2]) + p[2] * (q[0] * r[1] - q[1] * r[0])
        )
    return volumes


def _components(count: int, a: Int64[np.ndarray, " e"], b: Int64[np.ndarray, " e"]) -> Int32[np.ndarray, " n"]:
    """For each of `count` nodes the number of its connected component, numbered by their first nodes."""
    return connected_components(coo_array((np.ones(len(a), bool), (a, b)), (count, count)), directed=False)[1]


def _without_loose_vertices(vertices: Float64[np.ndarray, "v 3"], faces: Int32[np.ndarray, "f 3"]) -> Mesh:
    """The mesh with only those vertices that a face uses."""
    used = np.zeros(len(vertices), bool)
    used[faces] = True
    return Mesh(vertices[used], (np.cumsum(used, dtype=np.int32) - 1)[faces])

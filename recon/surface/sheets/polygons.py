"""From crossings to polygons: dual contouring for surfaces without an inside.

Each crossing is surrounded by a polygon of vertices in the leaves around its edge. A leaf has as many vertices as
sheets pass through it: two crossings on a face of the leaf that belong together (paired on the face alone, so that the
leaves on both sides decide alike) share its vertex. Two pairs on one face that meet the same two vertices would make
an edge with four polygons; each gets a vertex of its own on the face, and the edge is parted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from recon.surface.sheets.crossings import Crossings
from recon.surface.sheets.lattice import BITS, Lattice, find, pack

MOST_ON_A_FACE = 16
PARALLEL, SLOPE = 0.7, 0.7  # crossings with parallel axes whose offset is more than slope * distance are of two sheets


class Polygons(NamedTuple):
    """Vertices with the crossings they are the mean of, and triangles."""

    vertices: Float64[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]
    vertex_of: Int64[np.ndarray, "m 4"]
    """The vertex of each crossing in the four quadrants around its edge, -1 where there is no leaf."""


def polygons(lattice: Lattice, found: Crossings) -> Polygons:
    """The triangles around all crossings that have leaves on all sides."""
    first = np.searchsorted(found.edge, np.arange(len(lattice.edges) + 1))
    used = np.unique(lattice.edge_cells[found.edge])
    used = used[used >= 0]
    pairs = _pairs(
        used,
        lattice.cells,
        lattice.levels.astype(np.int64),
        lattice.edges,
        lattice.edge_at,
        lattice.edge_axis,
        lattice.corners,
        *lattice.corner_table,
        *lattice.cell_table,
        first,
        found.place,
        found.axis,
    )
    around = lattice.edge_cells[found.edge]
    vertex_of, vertices, beside = _grouped(around, found.place, *pairs)
    faces = _triangles(vertex_of, beside, vertices)
    return Polygons(vertices, faces, vertex_of)


@njit(cache=True)
def _pairs(
    used,
    cells,
    levels,
    edges,
    edge_at,
    edge_axis,
    corners,
    corner_keys,
    corner_places,
    cell_keys,
    cell_places,
    first,
    place,
    axis,
):
    """Crossings that belong together on a minimal face: pairs (n, 2), and the leaves on both sides (n, 2)."""
    pairs, sides = np.empty((4 * len(place) + 16, 2), np.int64), np.empty((4 * len(place) + 16, 2), np.int64)
    count = 0
    on_face = np.empty(MOST_ON_A_FACE, np.int64)
    top = levels.max() if len(levels) else 0
    for c in used:
        side = np.int64(1) << levels[c]
        for direction in range(6):
            normal, far = direction // 2, direction % 2
            x, y, z = cells[c]
            if far:
                n0, n1, n2 = x + side * (normal == 0), y + side * (normal == 1), z + side * (normal == 2)
            else:
                n0, n1, n2 = x - (normal == 0), y - (normal == 1), z - (normal == 2)
            beside = np.int64(-1)
            for size in range(levels[c], top + 1):
                key = pack((n0 >> size) << size, (n1 >> size) << size, (n2 >> size) << size)
                beside = find(cell_keys, cell_places, key + (np.int64(size) << (3 * BITS)))
                if beside >= 0:
                    break
            if beside >= 0 and levels[beside] == levels[c] and far == 0:
                continue  # the leaf on the other side does it
            if beside < 0 and _is_divided(n0, n1, n2, levels[c], cell_keys, cell_places):
                continue  # the smaller leaves on the other side do it
            total = _crossings_on_face(
                x + (side if normal == 0 and far else 0),
                y + (side if normal == 1 and far else 0),
                z + (side if normal == 2 and far else 0),
                normal,
                side,
                edges,
                edge_at,
                corners,
                corner_keys,
                corner_places,
                first,
                on_face,
            )
            while total >= 2:
                p, q = _best_pair(on_face, total, place, axis)
                if p < 0:
                    break
                pairs[count, 0], pairs[count, 1] = on_face[p], on_face[q]
                sides[count, 0], sides[count, 1] = c, beside
                count += 1
                on_face[q] = on_face[total - 1]
                on_face[p] = on_face[total - 2] if p != total - 1 else on_face[q]
                if q == total - 2:
                    on_face[p] = on_face[total - 1] if p != total - 1 else on_face[p]
                total -= 2
    return pairs[:count], sides[:count]


@njit(cache=True)
def _is_divided(x, y, z, level, cell_keys, cell_places):
    """Whether a leaf one level smaller stands at the place."""
    if level == 0:
        return False
    size = level - 1
    key = pack((x >> size) << size, (y >> size) << size, (z >> size) << size)
    return find(cell_keys, cell_places, key + (np.int64(size) << (3 * BITS))) >= 0


@njit(cache=True)
def _crossings_on_face(x, y, z, normal, side, edges, edge_at, corners, corner_keys, corner_places, first, on_face):
    """Collects the crossings of the edges of a face with its lowest corner at (x, y, z); gives how many."""
    total = 0
    for along in range(3):
        if along == normal:
            continue
        other = 3 - along - normal
        for far in range(2):
            sx = x + (side if other == 0 and far else 0)
            sy = y + (side if other == 1 and far else 0)
            sz = z + (side if other == 2 and far else 0)
            corner = find(corner_keys, corner_places, pack(sx, sy, sz))
            covered = np.int64(0)
            while covered < side:  # one minimal edge, or the two halves that a smaller leaf makes of it
                e = edge_at[corner, along]
                for crossing in range(first[e], first[e + 1]):
                    if total < len(on_face):
                        on_face[total] = crossing
                        total += 1
                end = edges[e, 1]
                covered += corners[end, along] - corners[corner, along]
                corner = end
    return total


@njit(cache=True)
def _best_pair(on_face, total, place, axis):
    """The two crossings whose line lies best in both their sheets, (-1, -1) where no two belong together."""
    best, best_p, best_q = np.inf, -1, -1
    for p in range(total):
        for q in range(p + 1, total):
            a, b = on_face[p], on_face[q]
            off_a = off_b = cosine = square = 0.0
            for k in range(3):
                step = place[b, k] - place[a, k]
                square += step * step
                off_a += step * axis[a, k]
                off_b += step * axis[b, k]
                cosine += axis[a, k] * axis[b, k]
            distance = np.sqrt(square)
            if abs(cosine) > PARALLEL and max(abs(off_a), abs(off_b)) > SLOPE * distance and total > 2:
                continue
            cost = abs(off_a) + abs(off_b) + 0.3 * distance
            if cost < best:
                best, best_p, best_q = cost, p, q
    return best_p, best_q


@njit(cache=True)
def _grouped(around, place, pairs, sides):
    """The vertex of each crossing in each quadrant, the vertices, and for each crossing the vertex between quadrant i
    and the next where the edge between them had to be parted (-1 elsewhere)."""
    count = len(around)
    parent = np.arange(4 * count)
    for n in range(count):
        for i in range(4):
            for j in range(i):
                if around[n, i] == around[n, j]:
                    parent[4 * n + i] = parent[4 * n + j]
    for n in range(len(pairs)):
        for s in range(2):
            if sides[n, s] >= 0:
                _join(
                    parent, _incidence(around, pairs[n, 0], sides[n, s]), _incidence(around, pairs[n, 1], sides[n, s])
                )
    number = np.full(4 * count, np.int64(-1))
    vertex_of = np.full((count, 4), np.int64(-1))
    vertices, weight = np.zeros((4 * count + len(pairs), 3)), np.zeros(4 * count + len(pairs))
    total = 0
    for n in range(count):
        for i in range(4):
            if around[n, i] < 0:
                continue
            root = _top(parent, 4 * n + i)
            if number[root] < 0:
                number[root] = total
                total += 1
            vertex_of[n, i] = number[root]
            seen = False
            for j in range(i):
                seen = seen or around[n, j] == around[n, i]
            if not seen:
                vertices[number[root]] += place[n]
                weight[number[root]] += 1
    for v in range(total):
        vertices[v] /= weight[v]
    beside = np.full((count, 4), np.int64(-1))
    n = 0
    while n < len(pairs):  # pairs on one face stand together
        last = n + 1
        while last < len(pairs) and sides[last, 0] == sides[n, 0] and sides[last, 1] == sides[n, 1]:
            last += 1
        for k in range(n, last):
            for m in range(n, last):
                if m != k and sides[n, 1] >= 0 and _share_edge(around, vertex_of, pairs, sides, k, m):
                    vertices[total] = (place[pairs[k, 0]] + place[pairs[k, 1]]) / 2
                    for end in range(2):
                        beside[pairs[k, end], _between(around, pairs[k, end], sides[k, 0], sides[k, 1])] = total
                    total += 1
                    break
        n = last
    return vertex_of, vertices[:total].copy(), beside


@njit(cache=True)
def _share_edge(around, vertex_of, pairs, sides, k, m):
    """Whether two pairs on a face lead to the same two vertices."""
    for s in range(2):
        a = vertex_of[pairs[k, 0], _incidence(around, pairs[k, 0], sides[k, s]) - 4 * pairs[k, 0]]
        b = vertex_of[pairs[m, 0], _incidence(around, pairs[m, 0], sides[m, s]) - 4 * pairs[m, 0]]
        if a != b:
            return False
    return True


@njit(cache=True)
def _incidence(around, crossing, cell):
    """The number of (crossing, first quadrant with that leaf)."""
    for i in range(4):
        if around[crossing, i] == cell:
            return 4 * crossing + i
    return np.int64(-1)


@njit(cache=True)
def _between(around, crossing, cell, other):
    """The quadrant i with one leaf whose next quadrant holds the other."""
    for i in range(4):
        a, b = around[crossing, i], around[crossing, (i + 1) % 4]
        if (a == cell and b == other) or (a == other and b == cell):
            return i
    return 0


@njit(cache=True)
def _join(parent, a, b):
    if a < 0 or b < 0:
        return
    a, b = _top(parent, a), _top(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@njit(cache=True)
def _top(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True)
def _triangles(vertex_of, beside, vertices):
    """The polygons around the crossings, cut into triangles along their shortest inner diagonals."""
    faces = np.empty((6 * len(vertex_of), 3), np.int64)
    count = 0
    ring = np.empty(8, np.int64)
    for n in range(len(vertex_of)):
        size = 0
        complete = True
        for i in range(4):
            v = vertex_of[n, i]
            if v < 0:
                complete = False
                break
            if size == 0 or ring[size - 1] != v:
                ring[size] = v
                size += 1
            if beside[n, i] >= 0:
                ring[size] = beside[n, i]
                size += 1
        if size > 1 and ring[0] == ring[size - 1]:
            size -= 1
        if not complete:
            continue
        while size > 3:
            ear, shortest = 0, np.inf
            for i in range(size):
                a, b = ring[(i - 1) % size], ring[(i + 1) % size]
                square = 0.0
                for k in range(3):
                    square += (vertices[a, k] - vertices[b, k]) ** 2
                if square < shortest and a != b:
                    ear, shortest = i, square
            faces[count] = ring[(ear - 1) % size], ring[ear], ring[(ear + 1) % size]
            count += 1
            for i in range(ear, size - 1):
                ring[i] = ring[i + 1]
            size -= 1
        if size == 3:
            faces[count] = ring[0], ring[1], ring[2]
            count += 1
    return faces[:count].copy()

"""From crossings to polygons: dual contouring for surfaces without an inside.

Each crossing is surrounded by a polygon of vertices in the leaves around its edge. A leaf has as many vertices as
sheets pass through it: two crossings on a face of the leaf that belong together (paired on the face alone, so that the
leaves on both sides decide alike) share its vertex. Two pairs on one face that meet the same two vertices would make
an edge with four polygons; each gets a vertex of its own on the face, and the edge is parted.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from recon.disjoint_sets import join, root
from recon.surface.sheets.borders import Mesh
from recon.surface.sheets.crossings import Crossings
from recon.surface.sheets.lattice import QUADRANT, TOWARDS, Lattice

MOST_ON_A_FACE = 16
PARALLEL, SLOPE = 0.7, 0.7  # crossings with parallel axes whose offset is more than slope * distance are of two sheets


def polygons(lattice: Lattice, found: Crossings) -> Mesh:
    """The triangles around all crossings that have leaves on all sides; a vertex is the mean of its crossings."""
    first = np.searchsorted(found.edge, np.arange(len(lattice.edges) + 1))
    used = np.unique(lattice.edge_cells[found.edge])
    used = used[used >= 0]
    pairs = _pairs(
        used,
        lattice.levels,
        lattice.cell_corners,
        lattice.edges,
        lattice.edge_at,
        lattice.edge_cells,
        first,
        found.place,
        found.axis,
        found.behind,
    )
    around = lattice.edge_cells[found.edge]
    vertex_of, vertices, beside = _grouped(around, found.place, *pairs)
    return Mesh(vertices, _triangles(vertex_of, beside, vertices, found.behind))


@njit(cache=True)
def _pairs(used, levels, cell_corners, edges, edge_at, edge_cells, first, place, axis, behind):
    """Crossings that belong together on a minimal face: pairs (n, 2), and the leaves on both sides (n, 2)."""
    pairs, sides = np.empty((6 * len(place) + 16, 2), np.int64), np.empty((6 * len(place) + 16, 2), np.int64)
    count = 0
    on_face, enters = np.empty(MOST_ON_A_FACE, np.int64), np.empty(MOST_ON_A_FACE, np.bool_)
    for c in used:
        for normal in range(3):
            for far in range(2):
                low = far * TOWARDS[normal]
                at_low = edge_at[cell_corners[c, low], (normal + 1) % 3]
                beside = edge_cells[at_low, QUADRANT[0, 1 - far]]
                if beside >= 0 and (levels[beside] < levels[c] or (levels[beside] == levels[c] and not far)):
                    continue  # the leaves on the other side do it
                total = _crossings_on_face(cell_corners[c], low, normal, edges, edge_at, first, behind, on_face, enters)
                while total >= 2:
                    p, q = _best_pair(on_face, enters, total, place, axis)
                    if p < 0:
                        break
                    pairs[count, 0], pairs[count, 1] = on_face[p], on_face[q]
                    sides[count, 0], sides[count, 1] = c, beside
                    count += 1
                    total = _without(on_face, enters, total, p, q)
    return pairs[:count], sides[:count]


@njit(cache=True)
def _crossings_on_face(corners, low, normal, edges, edge_at, first, behind, on_face, enters):
    """Collects the crossings of the edges of a leaf's face, whose lowest corner has the number `low`, and whether a
    walk around the face enters the side of +1 there; gives how many."""
    total = 0
    for turn in range(2):
        along, other = (normal + 1 + turn) % 3, (normal + 2 - turn) % 3
        for far in range(2):
            start = low + far * TOWARDS[other]
            forward = (turn == 0) == (far == 0)
            corner, end = corners[start], corners[start + TOWARDS[along]]
            while corner != end:  # one minimal edge, or the two halves that a smaller leaf makes of it
                e = edge_at[corner, along]
                for crossing in range(first[e], first[e + 1]):
                    if total < len(on_face):
                        on_face[total], enters[total] = crossing, behind[crossing] == forward
                        total += 1
                corner = edges[e, 1]
    return total


@njit(cache=True)
def _best_pair(on_face, enters, total, place, axis):
    """The two crossings whose line lies best in both their sheets, (-1, -1) where no two belong together.

    One enters the side of +1 and the other leaves it, unless only crossings that contradict the sides are left."""
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
            contradict = enters[p] == enters[q]
            of_two = abs(cosine) > PARALLEL and max(abs(off_a), abs(off_b)) > SLOPE * distance
            if contradict and of_two and total > 2:
                continue
            cost = abs(off_a) + abs(off_b) + 0.3 * distance
            cost += 1e3 * distance if contradict else 0.0
            if cost < best:
                best, best_p, best_q = cost, p, q
    return best_p, best_q


@njit(cache=True)
def _without(on_face, enters, total, p, q):
    """Takes two out of a list, keeping the order; gives how many are left."""
    kept = 0
    for n in range(total):
        if n not in (p, q):
            on_face[kept], enters[kept] = on_face[n], enters[n]
            kept += 1
    return kept


@njit(cache=True)
def _grouped(around, place, pairs, sides):
    """The vertex of each crossing in each quadrant, the vertices, and for each crossing the vertex between quadrant i
    and the next where the edge between them had to be parted (-1 elsewhere)."""
    count = len(around)
    parent = _joined(around, pairs, sides)
    number = np.full(4 * count, np.int64(-1))
    vertex_of = np.full((count, 4), np.int64(-1))
    vertices, weight = np.zeros((4 * count + len(pairs), 3)), np.zeros(4 * count + len(pairs))
    total = 0
    for n in range(count):
        for i in range(4):
            if around[n, i] < 0:
                continue
            top = root(parent, 4 * n + i)
            if number[top] < 0:
                number[top] = total
                total += 1
            vertex_of[n, i] = number[top]
            seen = False
            for j in range(i):
                seen = seen or around[n, j] == around[n, i]
            if not seen:
                vertices[number[top]] += place[n]
                weight[number[top]] += 1
    for v in range(total):
        vertices[v] /= weight[v]
    beside, total = _parted(around, place, pairs, sides, vertex_of, vertices, total)
    return vertex_of, vertices[:total].copy(), beside


@njit(cache=True)
def _joined(around, pairs, sides):
    """A forest of the incidences 4 crossing + quadrant: those of one tree share a vertex."""
    parent = np.arange(4 * len(around))
    for n in range(len(around)):
        for i in range(4):
            for j in range(i):
                if around[n, i] == around[n, j]:
                    parent[4 * n + i] = parent[4 * n + j]
    for n in range(len(pairs)):
        for s in range(2):
            if sides[n, s] >= 0:
                a, b = pairs[n]
                at_a, at_b = _incidence(around, a, sides[n, s]), _incidence(around, b, sides[n, s])
                if at_a >= 0 and at_b >= 0:
                    join(parent, at_a, at_b)
    return parent


@njit(cache=True)
def _parted(around, place, pairs, sides, vertex_of, vertices, total):
    """Gives each of several pairs on a face that meet the same two vertices a vertex of its own.

    Its number stands for both of its crossings at the quadrant before the face; also, how many vertices there are then.
    """
    beside = np.full(vertex_of.shape, np.int64(-1))
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
    return beside, total


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
def _triangles(vertex_of, beside, vertices, behind):
    """The polygons around the crossings, ears cut off along their shortest diagonals; they look to the side of +1."""
    faces = np.empty((6 * len(vertex_of), 3), np.int64)
    count = 0
    ring = np.empty(8, np.int64)
    for n in range(len(vertex_of)):
        size = _ring(vertex_of[n], beside[n], ring)
        if not behind[n]:
            ring[:size] = ring[:size][::-1].copy()
        while size > 3:
            ear, shortest = 0, np.inf
            for i in range(size):
                a, c = ring[(i - 1) % size], ring[(i + 1) % size]
                square = 0.0
                for k in range(3):
                    square += (vertices[a, k] - vertices[c, k]) ** 2
                if square < shortest and a != c:
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


@njit(cache=True)
def _ring(vertex_of, beside, ring):
    """Collects a polygon's vertices, each once in a row; gives how many, 0 where a leaf is missing."""
    size = 0
    for i in range(4):
        v = vertex_of[i]
        if v < 0:
            return 0
        if size == 0 or ring[size - 1] != v:
            ring[size] = v
            size += 1
        if beside[i] >= 0:
            ring[size] = beside[i]
            size += 1
    if size > 1 and ring[0] == ring[size - 1]:
        size -= 1
    return size

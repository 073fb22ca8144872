"""The dual surface of a labelled lattice: one quad across every edge whose ends differ, with vertices in the cells.

Nodes of the lattice carry labels; a cell is a cube of eight nodes. The quad of an edge joins the four cells around
it, so the quads of two edges meet across the cell *face* that contains both. All that is to be decided is which meet.
A label's crossings of a face are two, which meet, or four, where it stands at two opposite corners and others at the
other two. Those four are

    joined:     they meet around each of the others' corners, so that the label goes on between its own two, or
    separated:  they meet around each of the label's own corners.

The crossings of a cell chain into closed *fans*. Each fan of a label gets a vertex of its own: a closed surface, whose
vertices have one fan each. Still one thing can go wrong: where all four crossings of a face run into one fan on both
its sides, the mesh edge between the two vertices has four quads. Such a face is decided the other way. Since the fans
are oriented loops, this cuts the fan in two on both sides, and cutting fans brings no other face into that state: one
pass over the faces leaves every label's surface manifold (compare Wenger, Isosurfaces, 2013, chapter 3).

Labels share the positions of their common quads' corners. A *joint* vertex is a set of crossings of a cell that the
fans of all labels connect. Where a label has two fans in one joint vertex (it touches itself along a seam of other
labels), `splits` says which corners of its quads belong to the second: a copy at the same position.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8, UInt16
from numba import njit

from recon.surface.cells import EDGES, FACE_CORNERS, FACE_EDGES


class DualMesh(NamedTuple):
    """The quads of a labelled lattice and the joint vertices that they stand on.

    Quad n crosses the edge that leaves node `edge_node[n]` (flat index) along `edge_axis[n]`, from the label
    `sides[n, 0]` to `sides[n, 1]`. Its corners go counter-clockwise seen from the latter; a corner in a cell beyond the
    lattice is -1. `vertex_cell` is the flat index of the lowest node of a vertex's cell. Rows of `splits` are
    (quad, corner, label, fan): there the label's surface takes a copy of the joint vertex, one for each fan.
    """

    quads: Int32[np.ndarray, "q 4"]
    edge_node: Int64[np.ndarray, " q"]
    edge_axis: UInt8[np.ndarray, " q"]
    sides: UInt16[np.ndarray, "q 2"]
    vertex_cell: Int64[np.ndarray, " v"]
    splits: Int64[np.ndarray, "s 4"]


def dual_mesh(labels: UInt16[np.ndarray, "nx ny nz"]) -> DualMesh:
    """The dual surface between all differing labels of a lattice, closed where the lattice's border is one label."""
    labels = np.ascontiguousarray(labels, np.uint16)
    count = _crossing_count(labels)
    quads = np.full((count, 4), -1, np.int32)
    edge_node = np.empty(count, np.int64)
    edge_axis = np.empty(count, np.uint8)
    sides = np.empty((count, 2), np.uint16)
    vertex_cell = np.empty(4 * count // 3, np.int64)  # a fan has three crossings or more
    flipped = _flipped_faces(labels)
    vertex_count, splits = _connect(labels, flipped, quads, edge_node, edge_axis, sides, vertex_cell)
    return DualMesh(quads, edge_node, edge_axis, sides, vertex_cell[:vertex_count].copy(), splits)


@njit(cache=True)
def _crossing_count(labels):
    """The number of lattice edges whose ends differ."""
    nx, ny, nz = labels.shape
    count = 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                label = labels[i, j, k]
                count += i + 1 < nx and labels[i + 1, j, k] != label
                count += j + 1 < ny and labels[i, j + 1, k] != label
                count += k + 1 < nz and labels[i, j, k + 1] != label
    return count


@njit(cache=True)
def _flipped_faces(labels):
    """A bit for each decision that has to be the other one than preferred.

    At node n, bit 2 axis is for the face whose lowest node is n, across the axis, and for the label at n and at the
    opposite corner; bit 2 axis + 1 for the label at the two other corners.
    """
    flipped = np.zeros(labels.shape, np.uint8)
    corners, member = np.empty(8, labels.dtype), np.empty(12, np.int64)
    for i in range(labels.shape[0] - 1):
        for j in range(labels.shape[1] - 1):
            for k in range(labels.shape[2] - 1):
                if not _gather(labels, (i, j, k), corners):
                    continue
                for axis in range(3):
                    below = i - (axis == 0), j - (axis == 1), k - (axis == 2)
                    for first in range(2 if min(below) >= 0 else 0):
                        if (
                            _alternates(corners, 2 * axis, first)
                            and _one_fan(labels, flipped, (i, j, k), 2 * axis, first, member)
                            and _one_fan(labels, flipped, below, 2 * axis + 1, first, member)
                        ):
                            flipped[i, j, k] |= 1 << 2 * axis + first
    return flipped


@njit(cache=True)
def _alternates(corners, face, first):
    """Whether one label stands at corners `first` and `first + 2` of a face's ring and not at the other two."""
    ring = FACE_CORNERS[face]
    label = corners[ring[first]]
    return (
        corners[ring[(first + 2) % 4]] == label
        and corners[ring[first + 1]] != label
        and corners[ring[(first + 3) % 4]] != label
    )


@njit(cache=True)
def _one_fan(labels, flipped, cell, face, first, member):
    """Whether the four crossings of a cell's face, of the label at `first` of its ring, are in one fan of the cell."""
    corners = np.empty(8, labels.dtype)
    _gather(labels, cell, corners)
    _chain(flipped, cell, corners, corners[FACE_CORNERS[face][first]], member)
    a, b, c, d = FACE_EDGES[face]
    return member[a] == member[b] and member[a] == member[c] and member[a] == member[d]


@njit(cache=True)
def _connect(labels, flipped, quads, edge_node, edge_axis, sides, vertex_cell):
    """Fills the arrays of `DualMesh`, one layer of nodes and the slab of cells behind it at a time.

    `on_edge[axis, i & 1, j, k]` is the quad of the edge that leaves node (i, j, k) along the axis; two layers are all
    that a slab of cells looks at. A cell's crossings are numbered as its edges; `joint[e]` is one of the crossings in
    the set of crossing e, `fans[c, e]` one in its fan of the label at corner c.
    """
    nx, ny, nz = labels.shape
    on_edge = np.empty((3, 2, ny, nz), np.int64)
    corners = np.empty(8, labels.dtype)
    joint, fans = np.empty(12, np.int64), np.empty((8, 12), np.int64)
    splits = [(0, 0, 0, 0) for _ in range(0)]
    quad, vertex = 0, 0
    for i in range(nx):
        quad = _cross_layer(labels, i, quad, on_edge, edge_node, edge_axis, sides)
        for j in range(ny - 1 if i else 0):
            for k in range(nz - 1):
                cell = (i - 1, j, k)
                if not _gather(labels, cell, corners):
                    continue
                for e in range(12):
                    joint[e] = e
                for c in range(8):
                    if _first_of_its_label(corners, c):
                        _chain(flipped, cell, corners, corners[c], fans[c])
                        for e in range(12):
                            _merge(joint, e, fans[c, e])
                before = vertex
                vertex = _take_vertices(cell, corners, joint, on_edge, quads, vertex)
                vertex_cell[before:vertex] = ((i - 1) * ny + j) * nz + k
                for c in range(8):
                    if _first_of_its_label(corners, c):
                        _note_splits(cell, corners, corners[c], joint, fans[c], on_edge, splits)
    rows = np.empty((len(splits), 4), np.int64)
    for n in range(len(splits)):
        rows[n, 0], rows[n, 1], rows[n, 2], rows[n, 3] = splits[n]
    return vertex, rows


@njit(cache=True)
def _take_vertices(cell, corners, joint, on_edge, quads, vertex):
    """Gives each joint set of a cell's crossings the next vertex, and that to the corners of their quads."""
    vertex_of = np.empty(12, np.int64)
    vertex_of[:] = -1
    for e in range(12):
        axis, corner = EDGES[e]
        if corners[corner] == corners[corner | 1 << axis]:
            continue
        if vertex_of[joint[e]] < 0:
            vertex_of[joint[e]] = vertex
            vertex += 1
        quad, slot = _corner_of_quad(on_edge, cell, axis, corner)
        quads[quad, slot] = vertex_of[joint[e]]
    return vertex


@njit(cache=True)
def _note_splits(cell, corners, label, joint, fan, on_edge, splits):
    """Appends the corners of the label's quads that belong to a second or further fan of a joint vertex."""
    first_fan = np.empty(12, np.int64)
    first_fan[:] = -1
    for e in range(12):
        axis, corner = EDGES[e]
        if (corners[corner] == label) == (corners[corner | 1 << axis] == label):
            continue
        if first_fan[joint[e]] < 0:
            first_fan[joint[e]] = fan[e]
        elif first_fan[joint[e]] != fan[e]:
            quad, slot = _corner_of_quad(on_edge, cell, axis, corner)
            splits.append((quad, slot, np.int64(label), fan[e]))


@njit(cache=True)
def _cross_layer(labels, i, quad, on_edge, edge_node, edge_axis, sides):
    """Numbers the quads of the edges that leave the nodes of layer i, from `quad` on."""
    nx, ny, nz = labels.shape
    for j in range(ny):
        for k in range(nz):
            for axis in range(3):
                upper_i, upper_j, upper_k = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                if upper_i == nx or upper_j == ny or upper_k == nz:
                    continue
                if labels[i, j, k] == labels[upper_i, upper_j, upper_k]:
                    continue
                on_edge[axis, i & 1, j, k] = quad
                edge_node[quad] = (i * ny + j) * nz + k
                edge_axis[quad] = axis
                sides[quad, 0] = labels[i, j, k]
                sides[quad, 1] = labels[upper_i, upper_j, upper_k]
                quad += 1
    return quad


@njit(cache=True)
def _gather(labels, cell, corners):
    """Takes the cell's eight labels; whether they differ."""
    i, j, k = cell
    mixed = False
    for c in range(8):
        corners[c] = labels[i + (c & 1), j + (c >> 1 & 1), k + (c >> 2)]
        mixed |= corners[c] != corners[0]
    return mixed


@njit(cache=True)
def _first_of_its_label(corners, c):
    """Whether no corner before c has its label."""
    for earlier in range(c):
        if corners[earlier] == corners[c]:
            return False
    return True


@njit(cache=True)
def _corner_of_quad(on_edge, cell, axis, corner):
    """The quad of a cell's edge, and which of the quad's corners lies in this cell.

    The corners 0, 1, 2, 3 lie on the sides (+u, +v), (-u, +v), (-u, -v), (+u, -v) of the edge, (axis, u, v) cyclic.
    """
    i, j, k = cell[0] + (corner & 1), cell[1] + (corner >> 1 & 1), cell[2] + (corner >> 2)
    below_u, below_v = corner >> (axis + 1) % 3 & 1, corner >> (axis + 2) % 3 & 1
    return on_edge[axis, i & 1, j, k], 2 * below_v + (below_u ^ below_v)


@njit(cache=True)
def _chain(flipped, cell, corners, label, member):
    """Makes `member[e]` one of the crossings in the fan of a label's crossing e of a cell (e itself where none is).

    Around a face, every second crossing meets the one before. If four, counting starts so that those meet that enclose
    one of the label's own corners (separated) or one of the others (joined).
    """
    for e in range(12):
        member[e] = e
    for face in range(6):
        ring, edges = FACE_CORNERS[face], FACE_EDGES[face]
        start = 0
        for first in range(2):
            if corners[ring[first]] == label and _alternates(corners, face, first):
                start = first + (0 if _joined(flipped, cell, corners, face, first) else 3)
        waiting = -1
        for m in range(4):
            n = (start + m) % 4
            if (corners[ring[n]] == label) == (corners[ring[(n + 1) % 4]] == label):
                continue
            if waiting < 0:
                waiting = edges[n]
            else:
                _merge(member, waiting, edges[n])
                waiting = -1


@njit(cache=True)
def _joined(flipped, cell, corners, face, first):
    """How a face is decided for the label at corners `first` and `first + 2` of its ring.

    Joined is preferred where the others differ (the label passes between them), and for the higher of two labels: a
    background of 0 gives way.
    """
    ring, axis = FACE_CORNERS[face], face // 2
    label, beside, other = corners[ring[first]], corners[ring[first + 1]], corners[ring[(first + 3) % 4]]
    preferred = beside != other or label > beside
    node = cell[0] + (face == 1), cell[1] + (face == 3), cell[2] + (face == 5)
    return preferred != (flipped[node] >> 2 * axis + first & 1)


@njit(cache=True)
def _merge(member, a, b):
    """Joins the sets of a and b."""
    old, new = member[a], member[b]
    if old != new:
        for e in range(12):
            if member[e] == old:
                member[e] = new

"""An adaptive lattice around points: cubes whose size follows the local spacing, and the edges and faces between them.

Leaves are cubes of side 2^level in units of the finest step. They cover the points and one cube around each. Where
sizes meet they differ by one level at most, and all eight children of a divided cube are there. An edge of a leaf is
*minimal* if no smaller leaf divides it; a surface is cut out edge by edge, around each of which three or four leaves
stand (Ju et al., Dual Contouring of Hermite Data, 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int8, Int32, Int64
from numba import njit

MOST_LEVELS = 6
COORDINATE_BITS = 19  # a lattice has at most 2^19 steps a side
BITS = np.int64(COORDINATE_BITS)
OFFSET = np.int64(8)  # coordinates are at least this, so that neighbours are never negative
AXIS_STEPS = tuple(np.int64(1) << (n * BITS) for n in range(3))  # between the keys of neighbours along each axis
CUBE = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.int64)
TOWARDS = np.array([4, 2, 1])  # between the numbers in CUBE of the two ends of an edge along each axis
QUADRANT = np.array([[0, 3], [1, 2]])  # of an edge in which a leaf lies that has it low or high, along the other axes


@dataclass(frozen=True)
class Lattice:
    """Leaves, corners and minimal edges. Integer coordinates count steps of the finest leaf from `origin`.

    `edge_cells` are the leaves around an edge in cyclic order, -1 where there is none; a coarse leaf that spans two of
    the four quadrants stands there twice. `edge_at` gives the minimal edge that starts at a corner along an axis, and
    `cell_corners` the corners of each leaf, in the order of CUBE. Corners ascend, as do the leaves of one level.
    """

    origin: Float64[np.ndarray, "3"]
    step: float
    cells: Int64[np.ndarray, "c 3"]
    levels: Int8[np.ndarray, "c"]
    corners: Int64[np.ndarray, "k 3"]
    edges: Int32[np.ndarray, "e 2"]
    edge_axis: Int8[np.ndarray, "e"]
    edge_cells: Int32[np.ndarray, "e 4"]
    edge_at: Int32[np.ndarray, "k 3"]
    cell_corners: Int32[np.ndarray, "c 8"]

    @cached_property
    def corner_positions(self) -> Float64[np.ndarray, "k 3"]:
        """The corners in the points' coordinates."""
        return self.origin + self.step * self.corners

    @property
    def edge_lengths(self) -> Float64[np.ndarray, "e"]:
        """In the points' coordinates."""
        return self.step * _edge_sides(self.corners, self.edges)


def lattice_around(
    points: Float64[np.ndarray, "n 3"], steps: Float64[np.ndarray, "n"], base: float, origin: Float64[np.ndarray, "3"]
) -> Lattice:
    """The lattice around the points. `steps` is the leaf size wished for at each point, rounded to a power of two
    times `base`; the origin lies below all points.

    Raises:
        ValueError: the extent is more than 2^19 of the smallest steps.
    """
    level = np.clip(np.round(np.log2(steps / base)), -MOST_LEVELS // 2, MOST_LEVELS // 2).astype(np.int64)
    finest = int(level.min())
    level -= finest
    step = base * 2.0**finest
    at = np.floor((points - origin) / step).astype(np.int64) + (OFFSET << MOST_LEVELS)
    if at.max() >= 1 << COORDINATE_BITS:
        raise ValueError(f"the extent is more than {1 << COORDINATE_BITS} steps of {step:.3g}")
    seeds = [_dilated(np.unique(_packed(at[level == n] >> n))) for n in range(int(level.max()) + 1)]
    return _with_leaves(*_leaves(seeds), step, origin - step * float(OFFSET << MOST_LEVELS))


def extended(lattice: Lattice, crossed: Int64[np.ndarray, "m"]) -> Lattice:
    """The lattice with leaves all around the edges `crossed`, where some were missing; the corners that stood keep
    their order among themselves, but not their numbers."""
    edge, quadrant = np.nonzero(lattice.edge_cells[crossed] < 0)
    edge = crossed[edge]
    length = (lattice.corners[lattice.edges[edge, 1]] - lattice.corners[lattice.edges[edge, 0]]).sum(1)
    level = np.round(np.log2(length)).astype(np.int64)
    missing = lattice.corners[lattice.edges[edge, 0]].copy()
    axis = lattice.edge_axis[edge].astype(np.int64)
    back_u, back_v = np.isin(quadrant, (1, 2)), quadrant >= 2
    rows = np.arange(len(edge))
    missing[rows, (axis + 1) % 3] -= back_u
    missing[rows, (axis + 2) % 3] -= back_v
    seeds = []
    for n in range(int(lattice.levels.max()) + 1):
        old, new = lattice.cells[lattice.levels == n] >> n, missing[level == n] >> n
        seeds.append(_merged(_packed(old), np.unique(_packed(new))))
    return _with_leaves(*_leaves(seeds), lattice.step, lattice.origin)


def standing(lattice: Lattice, earlier: Lattice) -> Int32[np.ndarray, "e"]:
    """The number that each edge has in the lattice that this one was extended from, -1 where it did not stand there."""
    start, end = _places(_packed(earlier.corners), _packed(lattice.corners))[lattice.edges].T
    edge = np.where(start >= 0, earlier.edge_at[start, lattice.edge_axis], -1)
    return np.where((end >= 0) & (earlier.edges[edge, 1] == end), edge, -1)


def _with_leaves(
    cells: Int64[np.ndarray, "c 3"], levels: Int8[np.ndarray, "c"], step: float, origin: Float64[np.ndarray, "3"]
) -> Lattice:
    """The lattice of these leaves."""
    keys = _packed(cells)
    corner_keys = _corner_keys(keys, levels)
    cell_corners = np.empty((len(cells), 8), np.int32)
    for level in range(int(levels.max(initial=-1)) + 1):
        here = levels == level
        for n, towards in enumerate(_packed(CUBE << level)):
            cell_corners[here, n] = _places(corner_keys, keys[here] + towards)
    corners = _unpacked(corner_keys)
    edges, axis, edge_at = _minimal_edges(cell_corners, len(corners))
    around = _cells_around(cell_corners, edges, edge_at)
    return Lattice(origin, step, cells, levels, corners, edges, axis, around, edge_at, cell_corners)


def _leaves(seeds: list[Int64[np.ndarray, "_"]]) -> tuple[Int64[np.ndarray, "c 3"], Int8[np.ndarray, "c"]]:
    """From the finest level up: the cubes that must stand at a level are its seeds and those beside divided ones (so
    that sizes differ by one level at most) with all their siblings; those that smaller ones divide are no leaves."""
    cells, levels = [], []
    divided = np.empty(0, np.int64)
    for level, seed in enumerate(seeds):
        parents = np.empty(0, np.int64)
        wanted = _merged(seed, _dilated(divided)) if level else seed
        if level < len(seeds) - 1:
            parents = np.unique(_packed(_unpacked(wanted) >> 1))
            wanted = np.sort(((parents << 1)[:, None] + _packed(CUBE)).ravel())
        leaves = wanted[_places(divided, wanted) < 0]
        cells.append(_unpacked(leaves) << level)
        levels.append(np.full(len(leaves), level, np.int8))
        divided = parents
    return np.concatenate(cells), np.concatenate(levels)


def _dilated(keys: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "m"]:
    """The cubes with all their neighbours, ascending like the keys: along one axis after the other."""
    for step in AXIS_STEPS:
        keys = _merged(_merged(keys - step, keys), keys + step)
    return keys


def _packed(coordinates: Int64[np.ndarray, "n 3"]) -> Int64[np.ndarray, "n"]:
    """One number for three coordinates; sums of coordinates are sums of numbers."""
    return (coordinates[:, 0] << (2 * BITS)) + (coordinates[:, 1] << BITS) + coordinates[:, 2]


def _unpacked(keys: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n 3"]:
    mask = (1 << COORDINATE_BITS) - 1
    return np.stack([keys >> (2 * BITS), (keys >> BITS) & mask, keys & mask], axis=1)


def _corner_keys(cells: Int64[np.ndarray, "c"], levels: Int8[np.ndarray, "c"]) -> Int64[np.ndarray, "k"]:
    """The corners of all leaves, ascending, from the leaves' own keys."""
    found = np.empty(0, np.int64)
    for level in range(int(levels.max(initial=-1)) + 1):
        keys = cells[levels == level]
        for step in AXIS_STEPS:
            keys = _merged(keys, keys + (step << level))
        found = _merged(found, keys)
    return found


@njit(cache=True)
def _merged(a, b):
    """The keys of two ascending arrays, each once, ascending."""
    found = np.empty(len(a) + len(b), np.int64)
    i = j = count = 0
    while i < len(a) or j < len(b):
        if j == len(b) or (i < len(a) and a[i] <= b[j]):
            key = a[i]
            i += 1
        else:
            key = b[j]
            j += 1
        if count == 0 or found[count - 1] != key:
            found[count] = key
            count += 1
    return found[:count].copy()


@njit(cache=True)
def _places(keys, wanted):
    """Where the wanted keys stand among others, -1 where they do not; both ascend."""
    places, at = np.empty(len(wanted), np.int32), 0
    for n in range(len(wanted)):
        while at < len(keys) and keys[at] < wanted[n]:
            at += 1
        places[n] = at if at < len(keys) and keys[at] == wanted[n] else -1
    return places


@njit(cache=True)
def _edge_sides(corners, edges):
    """How many of the finest steps every edge is long."""
    sides = np.zeros(len(edges), np.int64)
    for e in range(len(edges)):
        for k in range(3):
            sides[e] += corners[edges[e, 1], k] - corners[edges[e, 0], k]
    return sides


@njit(cache=True)
def _minimal_edges(cell_corners, corner_count):
    """Both ends and axis of every minimal edge, and the edge that starts at each corner along each axis (-1: none)."""
    end_at = np.full((corner_count, 3), np.int32(-1))
    for c in range(len(cell_corners) - 1, -1, -1):  # smaller leaves later: their edges are the ones that count
        for axis in range(3):
            u, v = TOWARDS[(axis + 1) % 3], TOWARDS[(axis + 2) % 3]
            for start in (0, u, v, u + v):
                end_at[cell_corners[c, start], axis] = cell_corners[c, start + TOWARDS[axis]]
    count = (end_at >= 0).sum()
    edge_at = np.full((corner_count, 3), np.int32(-1))
    edges, axes = np.empty((count, 2), np.int32), np.empty(count, np.int8)
    e = 0
    for corner in range(corner_count):
        for axis in range(3):
            if end_at[corner, axis] >= 0:
                edge_at[corner, axis] = e
                edges[e, 0], edges[e, 1], axes[e] = corner, end_at[corner, axis], axis
                e += 1
    return edges, axes, edge_at


@njit(cache=True)
def _cells_around(cell_corners, edges, edge_at):
    """The leaves in the four quadrants around each edge, counter-clockwise seen against the axis."""
    around = np.full((len(edges), 4), np.int32(-1))
    for c in range(len(cell_corners)):
        for axis in range(3):
            for u in range(2):
                for v in range(2):
                    start = u * TOWARDS[(axis + 1) % 3] + v * TOWARDS[(axis + 2) % 3]
                    corner, end = cell_corners[c, start], cell_corners[c, start + TOWARDS[axis]]
                    while corner != end:  # one minimal edge, or the two halves that a smaller leaf makes of it
                        e = edge_at[corner, axis]
                        around[e, QUADRANT[u, v]] = c
                        corner = edges[e, 1]
            for far in range(2):
                _enter_across_face(c, axis, far, cell_corners[c], edges, edge_at, around)
    return around


@njit(cache=True)
def _enter_across_face(c, normal, far, corners, edges, edge_at, around):
    """Enters leaf c around the four edges that smaller leaves put on its face, where there are such."""
    low = far * TOWARDS[normal]
    for turn in range(2):
        along, other = (normal + 1 + turn) % 3, (normal + 2 - turn) % 3
        middle = edges[edge_at[corners[low], other], 1]
        e = edge_at[middle, along]
        if middle == corners[low + TOWARDS[other]] or e < 0:
            return
        for _ in range(2):
            for side in range(2):
                around[e, QUADRANT[far, side] if turn else QUADRANT[side, far]] = c
            e = edge_at[edges[e, 1], along]

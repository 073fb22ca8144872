"""An adaptive lattice around points: cubes whose size follows the local spacing, and the edges and faces between them.

Leaves are cubes of side 2^level in units of the finest step. They cover the points and one cube around each. Where
sizes meet they differ by one level at most, and all eight children of a divided cube are there. An edge of a leaf is
*minimal* if no smaller leaf divides it; a surface is cut out edge by edge, around each of which three or four leaves
stand (Ju et al., Dual Contouring of Hermite Data, 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int8, Int64
from numba import njit

MOST_LEVELS = 6
COORDINATE_BITS = 19  # a lattice has at most 2^19 steps a side
BITS = np.int64(COORDINATE_BITS)
OFFSET = np.int64(8)  # coordinates are at least this, so that neighbours are never negative
AXIS_STEPS = tuple(np.int64(1) << (n * BITS) for n in range(3))  # between the keys of neighbours along each axis
CUBE = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.int64)


@dataclass(frozen=True)
class Lattice:
    """Leaves, corners and minimal edges. Integer coordinates count steps of the finest leaf from `origin`.

    `edge_cells` are the leaves around an edge in cyclic order, -1 where there is none; a coarse leaf that spans two of
    the four quadrants stands there twice. `edge_at` gives the minimal edge that starts at a corner along an axis.
    """

    origin: Float64[np.ndarray, "3"]
    step: float
    cells: Int64[np.ndarray, "c 3"]
    levels: Int8[np.ndarray, "c"]
    corners: Int64[np.ndarray, "k 3"]
    edges: Int64[np.ndarray, "e 2"]
    edge_axis: Int8[np.ndarray, "e"]
    edge_cells: Int64[np.ndarray, "e 4"]
    edge_at: Int64[np.ndarray, "k 3"]
    corner_table: tuple[Int64[np.ndarray, "t"], Int64[np.ndarray, "t"]]
    cell_table: tuple[Int64[np.ndarray, "u"], Int64[np.ndarray, "u"]]

    @property
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
    seeds = [_dilated(_distinct(_packed(at[level == n] >> n))) for n in range(int(level.max()) + 1)]
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
        seeds.append(_distinct(_packed(np.concatenate([old, new]))))
    return _with_leaves(*_leaves(seeds), lattice.step, lattice.origin)


def _with_leaves(
    cells: Int64[np.ndarray, "c 3"], levels: Int8[np.ndarray, "c"], step: float, origin: Float64[np.ndarray, "3"]
) -> Lattice:
    """The lattice of these leaves."""
    cell_keys = _cell_keys(cells, levels)
    cell_table = hash_table(cell_keys)
    corner_keys = _corner_keys(cells, levels)
    corner_table = hash_table(corner_keys)
    corners = _unpacked(corner_keys)
    edges, axis, edge_at = _minimal_edges(cells, levels, len(corners), *corner_table)
    around = _cells_around(corners, edges, axis, int(levels.max()), *cell_table)
    return Lattice(origin, step, cells, levels, corners, edges, axis, around, edge_at, corner_table, cell_table)


def _leaves(seeds: list[Int64[np.ndarray, "_"]]) -> tuple[Int64[np.ndarray, "c 3"], Int8[np.ndarray, "c"]]:
    """From the finest level up: the cubes that must stand at a level are its seeds and those beside divided ones (so
    that sizes differ by one level at most) with all their siblings; those that smaller ones divide are no leaves."""
    cells, levels = [], []
    divided = np.empty(0, np.int64)
    for level, seed in enumerate(seeds):
        parents = np.empty(0, np.int64)
        wanted = _distinct(np.concatenate([seed, _dilated(divided)])) if level else seed
        if level < len(seeds) - 1:
            parents = _distinct(_packed(_unpacked(wanted) >> 1))
            wanted = _packed(((_unpacked(parents) << 1)[:, None] + CUBE).reshape(-1, 3))
        leaves = np.setdiff1d(wanted, divided, assume_unique=True) if level else wanted
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


def _cell_keys(cells: Int64[np.ndarray, "c 3"], levels: Int8[np.ndarray, "c"]) -> Int64[np.ndarray, "c"]:
    return _packed(cells) + (levels.astype(np.int64) << (3 * BITS))


def _corner_keys(cells: Int64[np.ndarray, "c 3"], levels: Int8[np.ndarray, "c"]) -> Int64[np.ndarray, "k"]:
    """The corners of all leaves, ascending."""
    found = np.empty(0, np.int64)
    for level in range(int(levels.max(initial=-1)) + 1):
        keys = np.sort(_packed(cells[levels == level]))
        for step in AXIS_STEPS:
            keys = _merged(keys, keys + (step << level))
        found = _merged(found, keys)
    return found


@njit(cache=True)
def _distinct(keys):
    """Each key once, ascending."""
    table, places = hash_table(keys)
    count = 0
    found = np.empty(len(keys), np.int64)
    for key in table:
        if key >= 0:
            found[count] = key
            count += 1
    found = found[:count].copy()
    found.sort()
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
def _edge_sides(corners, edges):
    """How many of the finest steps every edge is long."""
    sides = np.zeros(len(edges), np.int64)
    for e in range(len(edges)):
        for k in range(3):
            sides[e] += corners[edges[e, 1], k] - corners[edges[e, 0], k]
    return sides


@njit(cache=True)
def hash_table(keys):
    """An open-addressing table from keys (not negative) to their places; `find` looks them up."""
    size = 16
    while size < 2 * len(keys):
        size *= 2
    table, places = np.full(size, np.int64(-1)), np.empty(size, np.int64)
    for n in range(len(keys)):
        slot = _slot(keys[n], size)
        while table[slot] >= 0 and table[slot] != keys[n]:
            slot = (slot + 1) & (size - 1)
        table[slot], places[slot] = keys[n], n
    return table, places


@njit(cache=True)
def _slot(key, size):
    """Fibonacci hashing."""
    return np.int64((np.uint64(key) * np.uint64(11400714819323198485)) >> np.uint64(20)) & (size - 1)


@njit(cache=True)
def find(table, places, key):
    """The place of a key, -1 where it is not in the table."""
    slot = _slot(key, len(table))
    while table[slot] >= 0:
        if table[slot] == key:
            return places[slot]
        slot = (slot + 1) & (len(table) - 1)
    return np.int64(-1)


@njit(cache=True)
def pack(x, y, z):
    """The key of a corner."""
    return (x << (2 * BITS)) + (y << BITS) + z


@njit(cache=True)
def _minimal_edges(cells, levels, corner_count, table, places):
    """Both ends and axis of every minimal edge, and the edge that starts at each corner along each axis (-1: none)."""
    side_at = np.zeros((corner_count, 3), np.int64)
    for c in range(len(cells)):
        side = np.int64(1) << levels[c]
        for axis in range(3):
            for u in range(2):
                for v in range(2):
                    x, y, z = _edge_start(cells[c], axis, u * side, v * side)
                    start = find(table, places, pack(x, y, z))
                    if side_at[start, axis] == 0 or side < side_at[start, axis]:
                        side_at[start, axis] = side
    edge_at = np.full((corner_count, 3), np.int64(-1))
    count = 0
    for corner in range(corner_count):
        for axis in range(3):
            if side_at[corner, axis] > 0:
                edge_at[corner, axis] = count
                count += 1
    edges, axes = np.empty((count, 2), np.int64), np.empty(count, np.int8)
    steps = np.array([pack(1, 0, 0), pack(0, 1, 0), pack(0, 0, 1)])
    for slot in range(len(table)):
        if table[slot] < 0:
            continue
        corner = places[slot]
        for axis in range(3):
            if edge_at[corner, axis] >= 0:
                end = find(table, places, table[slot] + side_at[corner, axis] * steps[axis])
                edges[edge_at[corner, axis], 0], edges[edge_at[corner, axis], 1] = corner, end
                axes[edge_at[corner, axis]] = axis
    return edges, axes, edge_at


@njit(cache=True)
def _edge_start(cell, axis, u, v):
    """Where the edge along an axis starts, u and v off the cell's lowest corner along the two other axes (cyclic)."""
    if axis == 0:
        return cell[0], cell[1] + u, cell[2] + v
    if axis == 1:
        return cell[0] + v, cell[1], cell[2] + u
    return cell[0] + u, cell[1] + v, cell[2]


@njit(cache=True)
def _cells_around(corners, edges, axes, top, table, places):
    """The leaves in the four quadrants around each edge, counter-clockwise seen against the axis."""
    around = np.full((len(edges), 4), np.int64(-1))
    for e in range(len(edges)):
        start, end = corners[edges[e, 0]], corners[edges[e, 1]]
        side = end[0] - start[0] + end[1] - start[1] + end[2] - start[2]
        level = 0
        while (np.int64(1) << level) < side:
            level += 1
        for quadrant in range(4):
            u = np.int64(-1) if quadrant in (1, 2) else np.int64(0)
            v = np.int64(-1) if quadrant >= 2 else np.int64(0)
            x, y, z = _edge_start(start, axes[e], u, v)
            for size in range(level, top + 1):
                key = pack((x >> size) << size, (y >> size) << size, (z >> size) << size)
                found = find(table, places, key + (np.int64(size) << (3 * BITS)))
                if found >= 0:
                    around[e, quadrant] = found
                    break
    return around

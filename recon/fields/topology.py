"""The simplest topology that a field allows: which of its tunnels and gaps are so shallow that it hardly meant them.

The inside is {f < 0}. Raising the level to c > 0 closes tunnels and joins parts whose separation is nowhere worth more
than c. Thinning what was won back to {f < 0}, voxel by voxel and highest f first, but only where a voxel is *simple*
(taking it away changes no topology: Bertrand & Malandain 1994), leaves a set with the topology of {f < c}: {f < 0} and
a few thin remainders. A remainder that spans a tunnel is a membrane, one that joins two parts a thread, one that makes
a new loop a handle nobody wants. Each is judged by what filling it does to the Betti numbers

    b0 (parts) + b1 (tunnels) + b2 (cavities),      chi = b0 - b1 + b2

and filled if their sum falls. The same on -f cuts handles and opens what encloses nothing.
Compare Zhou, Ju, Hu: Topology repair of solid models using skeletons, TVCG 2007.
"""

from __future__ import annotations

import heapq

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from numba import njit
from scipy.ndimage import binary_dilation, find_objects, label

DETOUR = 8
TOUCHING = np.ones((3, 3, 3), bool)  # 26 neighbours, for what is inside; 6 for what is outside


def connected_parts(
    mask: Bool[np.ndarray, "*shape"], touching: Bool[np.ndarray, "*three"] | None = None
) -> tuple[Int32[np.ndarray, "*shape"], int]:
    """The number of the part that each True belongs to, from 1, and how many there are; parts hang together through
    faces, or through what `touching` says."""
    parts = np.zeros(mask.shape, np.int32)
    return parts, int(label(mask, touching, output=parts))  # type: ignore[arg-type]


def simplifications(
    field: Float32[np.ndarray, "nx ny nz"],
    known_inside: Bool[np.ndarray, "nx ny nz"],
    known_outside: Bool[np.ndarray, "nx ny nz"],
    depths: tuple[float, ...],
) -> tuple[Bool[np.ndarray, "nx ny nz"], Bool[np.ndarray, "nx ny nz"]]:
    """The nodes outside that should be filled, and those inside that should be cut, for fewer parts, tunnels and
    cavities in all.

    `depths` are the levels c to try, ascending and in the field's unit: the smallest that helps is taken. Nodes known
    to be outside are never filled, nodes known to be inside never cut.
    """
    fills = _fills(field, known_outside, depths)
    filled = np.where(fills, np.float32(-0.5 * depths[0]), field)
    return fills, _fills(-filled, known_inside, depths)


def _fills(
    field: Float32[np.ndarray, "nx ny nz"], forbidden: Bool[np.ndarray, "nx ny nz"], depths: tuple[float, ...]
) -> Bool[np.ndarray, "nx ny nz"]:
    inside = field < 0
    before = inside.copy()
    for depth in depths:
        raised = inside | ((field < depth) & ~forbidden)
        _thin(raised.view(np.uint8), inside.view(np.uint8), -field.astype(np.float64))
        remainders, _ = connected_parts(raised & ~inside, TOUCHING)
        parts, cavities = connected_parts(inside, TOUCHING)[0], connected_parts(~inside)[1]
        for n, box in enumerate(find_objects(remainders), 1):
            around = tuple(slice(max(side.start - 2, 0), side.stop + 2) for side in box)
            remainder = remainders[around] == n
            beside = np.asarray(binary_dilation(remainder, TOUCHING), bool) & inside[around]
            touched = np.unique(parts[around][beside])
            if not len(touched) or not _simplifies(inside, remainder, around, len(touched), cavities):
                continue
            inside[around] |= remainder
            parts[around][remainder] = touched[0]
            parts[np.isin(parts, touched[1:])] = touched[0]
    return inside & ~before


def _simplifies(
    inside: Bool[np.ndarray, "nx ny nz"],
    remainder: Bool[np.ndarray, "mx my mz"],
    around: tuple[slice, ...],
    touched: int,
    cavities: int,
) -> bool:
    """Whether b0 + b1 + b2 falls when the remainder, which lies in the box `around` and touches so many parts, is
    filled; the outside has `cavities` parts before."""
    here = inside[around]
    chi_change = _euler_number(here | remainder) - _euler_number(here)
    b0_change = 1 - touched
    if 2 * b0_change - chi_change >= 0:  # without a new cavity b1 changes by b0_change - chi_change
        return False
    filled = inside.copy()
    filled[around] |= remainder
    b2_change = 0 if _outside_stays_connected(filled, remainder, around) else connected_parts(~filled)[1] - cavities
    return 2 * (b0_change + b2_change) - chi_change < 0


def _outside_stays_connected(
    filled: Bool[np.ndarray, "nx ny nz"], remainder: Bool[np.ndarray, "mx my mz"], around: tuple[slice, ...]
) -> bool:
    """Whether a short way shows that all of the outside beside a filled remainder hangs together: within DETOUR nodes.
    False says nothing."""
    wide = tuple(slice(max(side.start - DETOUR, 0), side.stop + DETOUR) for side in around)
    here = np.zeros(filled[wide].shape, bool)
    within = tuple(
        slice(side.start - outer.start, side.start - outer.start + n)
        for side, outer, n in zip(around, wide, remainder.shape, strict=True)
    )
    here[within] = remainder
    parts, _ = connected_parts(~filled[wide])
    beside = np.unique(parts[np.asarray(binary_dilation(here), bool)])
    return np.count_nonzero(beside) == 1


def _euler_number(inside: Bool[np.ndarray, "nx ny nz"]) -> int:
    """Vertices - edges + faces - cells of the union of closed unit cubes."""
    covered = np.pad(inside, 1)
    total = -int(covered.sum())
    once = [_joined(covered, axis) for axis in range(3)]
    total += sum(int(faces.sum()) for faces in once)
    edges = [_joined(once[0], 1), _joined(once[1], 2), _joined(once[2], 0)]
    total -= sum(int(edge.sum()) for edge in edges)
    return total + int(_joined(edges[0], 2).sum())


def _joined(covered: Bool[np.ndarray, "nx ny nz"], axis: int) -> Bool[np.ndarray, "mx my mz"]:
    """Whether either of two neighbours along the axis is covered."""
    moved = np.moveaxis(covered, axis, 0)
    return np.moveaxis(moved[:-1] | moved[1:], 0, axis)


@njit(cache=True)
def _thin(raised, inside, rank):
    """Takes simple voxels that are not inside away from `raised`, those of least rank first, until none is left."""
    nx, ny, nz = raised.shape
    heap = [(0.0, 0, 0, 0)]
    heap.pop()
    for i in range(1, nx - 1):
        for j in range(1, ny - 1):
            for k in range(1, nz - 1):
                if raised[i, j, k] and not inside[i, j, k]:
                    heap.append((rank[i, j, k], i, j, k))
    heapq.heapify(heap)
    around = np.empty((3, 3, 3), np.uint8)
    while heap:
        least, i, j, k = heapq.heappop(heap)
        if not raised[i, j, k]:
            continue
        around[:] = raised[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2]
        if not _is_simple(around):
            continue
        raised[i, j, k] = 0
        for x in range(max(i - 1, 1), min(i + 2, nx - 1)):
            for y in range(max(j - 1, 1), min(j + 2, ny - 1)):
                for z in range(max(k - 1, 1), min(k + 2, nz - 1)):
                    again = rank[x, y, z]
                    if raised[x, y, z] and not inside[x, y, z] and again <= least:
                        heapq.heappush(heap, (again, x, y, z))


@njit(cache=True)
def _is_simple(around: UInt8[np.ndarray, "3 3 3"]):
    """Whether the centre touches exactly one 26-connected part of its neighbourhood inside, and exactly one 6-connected
    part of the outside among its 18 neighbours."""
    seen = np.zeros((3, 3, 3), np.bool_)
    seen[1, 1, 1] = True
    parts = 0
    for x in range(3):
        for y in range(3):
            for z in range(3):
                if around[x, y, z] and not seen[x, y, z]:
                    parts += 1
                    _flood(around, seen, x, y, z, 1)
    if parts != 1:
        return False
    parts = 0
    for x, y, z in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, 0), (1, 1, 2)):
        if not around[x, y, z] and not seen[x, y, z]:
            parts += 1
            _flood(around, seen, x, y, z, 0)
    return parts == 1


@njit(cache=True)
def _flood(around, seen, x, y, z, value):
    """Marks the part of `value` that holds (x, y, z): through 26 neighbours for 1, for 0 through 6, without corners."""
    stack = [(x, y, z)]
    seen[x, y, z] = True
    while stack:
        x, y, z = stack.pop()
        for a in range(max(x - 1, 0), min(x + 2, 3)):
            for b in range(max(y - 1, 0), min(y + 2, 3)):
                for c in range(max(z - 1, 0), min(z + 2, 3)):
                    if seen[a, b, c] or (around[a, b, c] != 0) != (value != 0):
                        continue
                    if value == 0 and (abs(a - x) + abs(b - y) + abs(c - z) != 1 or (a != 1 and b != 1 and c != 1)):
                        continue
                    seen[a, b, c] = True
                    stack.append((a, b, c))

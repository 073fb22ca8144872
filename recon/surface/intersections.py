"""Which triangles of a mesh pass through each other.

Candidates come from a tree of boxes: triangles sorted along a Morton curve (so that neighbours in the order are
neighbours in space), four to a leaf, each box the union of its two children. Node n has the children 2n and 2n + 1.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64, UInt64
from numba import njit

_LEAF = 4


def count_self_intersections(vertices: Float64[np.ndarray, "v 3"], faces: Int64[np.ndarray, "f 3"]) -> int:
    """How many pairs of faces that share no edge pass through each other.

    Vertices at one position count as one. Touching without passing through does not count, nor do faces that overlap
    in one plane.
    """
    if len(faces) == 0:
        return 0
    triangles = np.asarray(vertices, np.float64)[faces]
    triangles -= triangles[0, 0]
    a, b, c = triangles.transpose(1, 0, 2)
    triangles = triangles[np.argsort(_morton_codes(a + b + c), kind="stable")]
    return int(_count_pairs(triangles, *_box_tree(triangles)))


def _morton_codes(points: Float64[np.ndarray, "n 3"]) -> UInt64[np.ndarray, " n"]:
    """The points' places along a curve through the 2^16 x 2^16 x 2^16 cells of their box: coordinates' bits in turn."""
    low = points.min(0)
    cells = ((points - low) * (65535 / max(float((points.max(0) - low).max()), 1e-300))).astype(np.uint64)
    codes = np.zeros(len(points), np.uint64)
    for bit in range(16):
        for axis in range(3):
            codes |= (cells[:, axis] >> np.uint64(bit) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return codes


def _box_tree(triangles: Float64[np.ndarray, "f 3 3"]) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
    """Lower and upper corners of the tree's boxes; box 1 is the root, box 0 is not in use."""
    leaves = 1 << max(int(np.ceil(np.log2(len(triangles) / _LEAF))), 0)
    low, high = np.full((2 * leaves, 3), np.inf), np.full((2 * leaves, 3), -np.inf)
    first = np.arange(0, len(triangles), _LEAF)
    a, b, c = triangles.transpose(1, 0, 2)
    low[leaves : leaves + len(first)] = np.minimum.reduceat(np.minimum(np.minimum(a, b), c), first)
    high[leaves : leaves + len(first)] = np.maximum.reduceat(np.maximum(np.maximum(a, b), c), first)
    while leaves > 1:
        leaves //= 2
        low[leaves : 2 * leaves] = low[2 * leaves : 4 * leaves].reshape(leaves, 2, 3).min(1)
        high[leaves : 2 * leaves] = high[2 * leaves : 4 * leaves].reshape(leaves, 2, 3).max(1)
    return low, high


@njit(cache=True)
def _count_pairs(triangles, low, high):
    """How many pairs intersect: the tree against itself, from pairs of overlapping boxes to pairs of their children."""
    leaves = len(low) // 2
    pending = np.empty((256, 2), np.int64)
    pending[0] = 1
    waiting, found = 1, 0
    while waiting:
        waiting -= 1
        a, b = pending[waiting]
        if a >= leaves:
            found += _count_between_leaves(triangles, a - leaves, b - leaves)
            continue
        for child_a in (2 * a, 2 * a + 1):
            for child_b in (2 * b, 2 * b + 1):
                if child_a <= child_b and not _apart(low[child_a], high[child_a], low[child_b], high[child_b]):
                    pending[waiting, 0], pending[waiting, 1] = child_a, child_b
                    waiting += 1
    return found


@njit(cache=True)
def _count_between_leaves(triangles, a, b):
    """How many pairs intersect with one triangle in leaf a and the other, after it, in leaf b."""
    found = 0
    for n in range(_LEAF * a, min(_LEAF * a + _LEAF, len(triangles))):
        low, high = _bounds(triangles[n])
        for m in range(max(_LEAF * b, n + 1), min(_LEAF * b + _LEAF, len(triangles))):
            other_low, other_high = _bounds(triangles[m])
            if not _apart(low, high, other_low, other_high):
                found += _intersect(triangles[n], triangles[m])
    return found


@njit(cache=True)
def _bounds(t):
    """Lower and upper corner of a triangle's box."""
    return (
        (min(t[0, 0], t[1, 0], t[2, 0]), min(t[0, 1], t[1, 1], t[2, 1]), min(t[0, 2], t[1, 2], t[2, 2])),
        (max(t[0, 0], t[1, 0], t[2, 0]), max(t[0, 1], t[1, 1], t[2, 1]), max(t[0, 2], t[1, 2], t[2, 2])),
    )


@njit(cache=True)
def _apart(low, high, other_low, other_high):
    """Whether two boxes have no point in common."""
    return (
        low[0] > other_high[0]
        or other_low[0] > high[0]
        or low[1] > other_high[1]
        or other_low[1] > high[1]
        or low[2] > other_high[2]
        or other_low[2] > high[2]
    )


@njit(cache=True)
def _intersect(a, b):
    """Whether two triangles pass through each other: an edge of one through the other.

    With one corner in common only the edges opposite to it can; with two they are neighbours.
    """
    common, at_a, at_b = 0, -1, -1
    for m in range(3):
        for n in range(3):
            if a[m, 0] == b[n, 0] and a[m, 1] == b[n, 1] and a[m, 2] == b[n, 2]:
                common, at_a, at_b = common + 1, m, n
    if common > 1:
        return False
    for n in range(3):
        if (common == 0 or n == (at_a + 1) % 3) and _pierces(a[n], a[(n + 1) % 3], b):
            return True
        if (common == 0 or n == (at_b + 1) % 3) and _pierces(b[n], b[(n + 1) % 3], a):
            return True
    return False


@njit(cache=True)
def _pierces(p, q, t):
    """Whether the segment from p to q crosses the triangle's plane within the triangle."""
    from_p, from_q = _volume(p, t[0], t[1], t[2]), _volume(q, t[0], t[1], t[2])
    size = 0.0
    for d in range(3):
        size = max(size, abs(p[d] - q[d]), abs(t[0, d] - t[1, d]), abs(t[0, d] - t[2, d]), abs(p[d] - t[0, d]))
    rounding = 1e-13 * size**3
    if min(from_p, from_q) > -rounding or max(from_p, from_q) < rounding:
        return False
    u, v, w = _volume(p, q, t[0], t[1]), _volume(p, q, t[1], t[2]), _volume(p, q, t[2], t[0])
    return min(u, v, w) >= -rounding or max(u, v, w) <= rounding


@njit(cache=True)
def _volume(a, b, c, d):
    """Six times the signed volume of a tetrahedron."""
    bx, by, bz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    cx, cy, cz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    dx, dy, dz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    return bx * (cy * dz - cz * dy) + by * (cz * dx - cx * dz) + bz * (cx * dy - cy * dx)
